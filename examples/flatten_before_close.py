"""Flatten all positions a quarter of an hour before the close, at the New York Stock Exchange, in simulated time.

Run it from anywhere, with the package installed:

    python examples/flatten_before_close.py

Expect three runs, in New York time. The first goes through 2024-11-27, a full day, and 2024-11-29, a half day: the
positions are flattened at 15:45 and at 12:45. The second is started at 12:50 on the half day, too late for the alarm;
the market is still open, so it goes off at once, five minutes late. The third is started at 13:05, when the market has
closed: the alarm is skipped, and the positions are left alone.

Shortcomings: the broker is a stand-in that fills everything at once, and what is bought in the quarter of an hour
before the close stays.
"""

import asyncio
import logging
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from session_lifecycle import (
    AlarmFired,
    AlarmSkipped,
    Clock,
    LifecycleConfig,
    SessionBoundaryManager,
    SessionState,
    StateChanged,
)
from session_lifecycle.testing import SimulatedClock

NEW_YORK = ZoneInfo("America/New_York")
BEFORE_THE_CLOSE = timedelta(minutes=-15)
QUIET = LifecycleConfig(data_timeout=None)  # there is no market data here


class Desk:
    """The application: it holds positions, and says what it does with them."""

    def __init__(self, clock: Clock, **positions: int) -> None:
        """Begin with what the broker reports."""
        self.clock = clock
        self.positions = positions

    def say(self, text: str) -> None:
        """Print a line with the time in New York."""
        print(f"{self.clock.now().astimezone(NEW_YORK):%a %H:%M:%S}  {text}")

    async def flatten(self, alarm: AlarmFired) -> None:
        """Sell what is there."""
        late = f", {alarm.lateness} late" if alarm.catch_up else ""
        self.say(f"flatten before the close of {alarm.session}{late}: {self.positions or 'nothing to do'}")
        await self.clock.sleep(timedelta(seconds=1))  # the broker's answer
        self.positions.clear()

    async def skipped(self, event: AlarmSkipped) -> None:
        """Leave positions alone that cannot be sold any more."""
        self.say(f"not flattened before the close of {event.session}: {event.reason}; left: {self.positions}")

    async def buy(self, event: StateChanged) -> None:
        """Buy at each open."""
        self.positions["AAPL"] = 100
        self.say(f"bought at the open of {event.session}")

    async def roll_session(self, next_date: date) -> None:
        """Move the books to the next trade date."""
        self.say(f"books are on {next_date}")


async def run(start: datetime, finish: datetime, **positions: int) -> None:
    """Run the desk from one instant to another."""
    print(f"---- started at {start:%a %H:%M}")
    clock = SimulatedClock(start)
    desk = Desk(clock, **positions)
    manager = SessionBoundaryManager("XNYS", desk.roll_session, config=QUIET, clock=clock)
    manager.at("close", BEFORE_THE_CLOSE, timeout=timedelta(minutes=10))(desk.flatten)
    manager.on(AlarmSkipped)(desk.skipped)
    if not positions:
        manager.on(SessionState.ACTIVE)(desk.buy)
    async with manager:
        await clock.advance_to(finish)


async def main() -> None:
    """Run the desk three times."""
    half_day = datetime(2024, 11, 29, tzinfo=NEW_YORK)
    finish = half_day.replace(hour=14)
    await run(datetime(2024, 11, 27, 9, 0, tzinfo=NEW_YORK), finish)
    await run(half_day.replace(hour=12, minute=50), finish, AAPL=100)
    await run(half_day.replace(hour=13, minute=5), finish, AAPL=100)


if __name__ == "__main__":
    # The lines above tell everything already; without this, Python would print the library's warnings once more.
    logging.getLogger("session_lifecycle").addHandler(logging.NullHandler())
    asyncio.run(main())
