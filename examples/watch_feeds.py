"""Two hundred feeds, three of which die in different ways, at the New York Stock Exchange, in simulated time.

Run it from anywhere, with the package installed:

    python examples/watch_feeds.py

Expect a timeline in New York time. SYM007 never says a word. SYM042 dies at 10:00, for good. SYM099 dies at 11:00 and
is back at 11:20. THIN trades seldom, and its probe knows that the connection lives. The session goes on, because only
ten stale feeds or more would make it a TIMEOUT; at 14:00 the whole line is cut for three minutes, and they do. At 15:00
trading is halted for five minutes, and no feed goes stale for the silence.

Shortcomings: the messages are made up, three a minute from each feed, and the probe only counts.
"""

import logging
from collections.abc import AsyncIterator
from datetime import date, datetime, time, timedelta
from itertools import count
from zoneinfo import ZoneInfo

import anyio

from session_lifecycle import (
    Event,
    Feed,
    FeedResumed,
    FeedStale,
    Halted,
    LifecycleConfig,
    Resumed,
    SessionBoundaryManager,
    StateChanged,
)
from session_lifecycle.testing import SimulatedClock

NEW_YORK = ZoneInfo("America/New_York")
DAY = date(2024, 12, 2)
START = datetime.combine(DAY, time(9, 25), NEW_YORK)
FINISH = datetime.combine(DAY, time(16, 5), NEW_YORK)
SYMBOLS = [f"SYM{number:03}" for number in range(200)]
CONFIG = LifecycleConfig(data_timeout=timedelta(minutes=2), stale_when=10)
STEP = timedelta(seconds=1)
PACE = 20  # each feed has a message every so many seconds
SHOWN = 3  # of the feeds that go stale at the same time


def is_silent(symbol: str, at: time) -> bool:
    """Tell what is wrong with the line at a time of the day."""
    if time(14, 0) <= at < time(14, 3) or time(15, 0) <= at < time(15, 5):
        return True  # the whole line is cut; trading is halted
    match symbol:
        case "SYM007":
            return True
        case "SYM042":
            return at >= time(10, 0)
        case "SYM099":
            return time(11, 0) <= at < time(11, 20)
        case _:
            return False


async def deliver(feeds: list[Feed], clock: SimulatedClock) -> None:
    """Deliver messages, second by second."""
    for second in count():
        await clock.sleep(STEP)
        at = clock.now().astimezone(NEW_YORK).time()
        for feed in feeds[second % PACE :: PACE]:
            if not is_silent(feed.name, at):
                feed.record()


async def print_timeline(events: AsyncIterator[Event]) -> None:
    """Print what happens, in New York time; of many feeds at once only the first."""
    stale: list[str] = []
    async for event in events:
        at = f"{event.observed_at.astimezone(NEW_YORK):%H:%M:%S}"
        match event:
            case FeedStale():
                stale.append(event.feed)
                if len(stale) <= SHOWN:
                    print(f"{at}  {event.feed} is stale: {event.reason}{', never a word' if event.never else ''}")
            case FeedResumed():
                stale.remove(event.feed)
                if len(stale) < SHOWN:
                    print(f"{at}  {event.feed} is back")
            case StateChanged():
                print(f"{at}  {event.source.name} → {event.dest.name}")
            case Halted():
                print(f"{at}  halted: {event.reason}")
            case Resumed():
                print(f"{at}  resumed")
            case _:
                pass


async def roll_session(next_date: date) -> None:
    """Roll nothing."""


async def main() -> None:
    """Watch the feeds for a day."""
    clock = SimulatedClock(START)
    manager = SessionBoundaryManager("XNYS", roll_session, config=CONFIG, clock=clock)
    feeds = [manager.add_feed(symbol) for symbol in SYMBOLS]
    asked: list[str] = []

    async def is_connected(feed: Feed) -> bool:
        asked.append(feed.name)
        return True  # a heartbeat has come

    manager.add_feed("THIN", timeout=timedelta(minutes=30), probe=is_connected)
    timeline = manager.events()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(print_timeline, timeline)
        async with manager:
            tasks.start_soon(deliver, feeds, clock)
            await clock.advance_to(datetime.combine(DAY, time(15, 0), NEW_YORK))
            manager.halt("market-wide circuit breaker")
            await clock.advance(timedelta(minutes=5))
            manager.resume()
            await clock.advance_to(datetime.combine(DAY, time(15, 59), NEW_YORK))
            print(
                f"{len(asked)} questions about THIN; a minute before the close, stale: {', '.join(manager.stale_feeds)}"
            )
            await clock.advance_to(FINISH)
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    # The timeline tells everything already; without this, Python would print the library's warnings once more.
    logging.getLogger("session_lifecycle").addHandler(logging.NullHandler())
    anyio.run(main)
