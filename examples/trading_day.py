"""A half day at the New York Stock Exchange and the Monday after it, in simulated time.

Run it from anywhere, with the package installed:

    python examples/trading_day.py

Expect a timeline in New York time. The application starts at 09:00 on 2024-11-29, the day after Thanksgiving, and
finds itself in the pre-market. Minute bars arrive from the open on. At 10:30 the feed goes mute for six minutes:
TIMEOUT after five of them, ACTIVE again with the next bar. The market closes at 13:00, since this is a half day. Half
an hour later the books are rolled; the database refuses the first attempt and accepts the second. The last thing to
happen is Monday's open. The three days take about a second, most of which goes into importing pandas.

Shortcomings: the feed and the database are stand-ins, a bar is no more than the time at which it ends, and the consumer
only counts. With `SystemClock()` for the clock, and a wait of your own in place of `advance_to`, the same tasks run on
the real clock.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from session_lifecycle import (
    Clock,
    Event,
    LifecycleConfig,
    RollFailed,
    RollStarted,
    RollSucceeded,
    Schedule,
    SessionBoundaryManager,
    SessionState,
    StateChanged,
)
from session_lifecycle.testing import SimulatedClock

NEW_YORK = ZoneInfo("America/New_York")
START = datetime(2024, 11, 29, 9, 0, tzinfo=NEW_YORK)
MUTE_FROM = datetime(2024, 11, 29, 10, 30, tzinfo=NEW_YORK)
MUTE_UNTIL = datetime(2024, 11, 29, 10, 36, tzinfo=NEW_YORK)
FINISH = datetime(2024, 12, 2, 9, 35, tzinfo=NEW_YORK)
MINUTE = timedelta(minutes=1)

Bars = asyncio.Queue[datetime]


class Desk:
    """The application: it counts bars, and keeps its books on one trade date."""

    def __init__(self, clock: Clock) -> None:
        """Begin on the Friday, with the database down."""
        self.clock = clock
        self.trade_date = date(2024, 11, 29)
        self.bars = 0
        self.database_is_up = False

    async def consume(self, bars: Bars, manager: SessionBoundaryManager) -> None:
        """Take bars off the queue, and tell the manager that there was one."""
        while True:
            await bars.get()
            manager.record_data_received()
            self.bars += 1

    async def roll_session(self, next_date: date) -> None:
        """Move the books to the next trade date. Done twice for one date, it would do no harm."""
        await self.clock.sleep(timedelta(seconds=2))
        if not self.database_is_up:
            self.database_is_up = True
            msg = "the database is restarting"
            raise ConnectionError(msg)
        self.trade_date = next_date


async def feed(bars: Bars, schedule: Schedule, clock: Clock) -> None:
    """Deliver a bar at the end of each minute of each session, but for the mute ones."""
    while True:
        session = schedule.session_at(clock.now())
        end_of_bar = session.open + MINUTE
        while end_of_bar <= session.close:
            await clock.sleep(end_of_bar - clock.now())
            if not MUTE_FROM < end_of_bar < MUTE_UNTIL:
                await bars.put(end_of_bar)
            end_of_bar += MINUTE


async def print_timeline(events: AsyncIterator[Event], zone: tzinfo) -> list[Event]:
    """Print each event as it comes, in the exchange's time; return all of them once the manager has stopped."""
    seen: list[Event] = []
    async for event in events:
        print(f"{event.observed_at.astimezone(zone):%a %H:%M:%S}  {describe(event)}")
        seen.append(event)
    return seen


def describe(event: Event) -> str:
    """Return an event in words."""
    match event:
        case StateChanged():
            notes = [note for note in (event.reason, "catch-up" if event.catch_up else None) if note]
            tail = f"  ({'; '.join(notes)})" if notes else ""
            return f"{event.source.name} → {event.dest.name}, session {event.session}{tail}"
        case RollStarted():
            return f"roll to {event.next_session}: attempt {event.attempt} begins"
        case RollFailed():
            return f"roll to {event.next_session}: attempt {event.attempt} failed: {event.error}"
        case RollSucceeded():
            return f"roll to {event.next_session}: done at attempt {event.attempt}"
        case _:
            return str(event)


def summarise(events: list[Event], desk: Desk, manager: SessionBoundaryManager) -> str:
    """Return the days in one line."""
    changes = [event for event in events if isinstance(event, StateChanged)]
    timeouts = [change for change in changes if change.dest is SessionState.TIMEOUT]
    attempts = [event for event in events if isinstance(event, RollStarted)]
    rolls = [event for event in events if isinstance(event, RollSucceeded)]
    return (
        f"{len(changes)} transitions, {desk.bars} bars, {len(timeouts)} timeout, "
        f"{len(rolls)} roll ({len(attempts)} attempts), books on {desk.trade_date}, "
        f"now {manager.state.name} in session {manager.session.date}"
    )


async def main() -> None:
    """Run the application from Friday morning to Monday's open."""
    clock = SimulatedClock(START)
    desk = Desk(clock)
    config = LifecycleConfig(data_timeout=timedelta(minutes=5))
    manager = SessionBoundaryManager("XNYS", desk.roll_session, config=config, clock=clock)
    bars = Bars()
    async with asyncio.TaskGroup() as tasks:
        # Called before the manager starts, events() misses nothing.
        timeline = tasks.create_task(print_timeline(manager.events(), manager.schedule.timezone))
        async with manager:
            workers = [
                tasks.create_task(feed(bars, manager.schedule, clock)),
                tasks.create_task(desk.consume(bars, manager)),
            ]
            await clock.advance_to(FINISH)
            for worker in workers:
                worker.cancel()
    print(summarise(timeline.result(), desk, manager))


if __name__ == "__main__":
    # The timeline tells everything already; without this, Python would print the library's warnings once more.
    logging.getLogger("session_lifecycle").addHandler(logging.NullHandler())
    asyncio.run(main())
