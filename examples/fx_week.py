"""A week of the currency market, by rule: no calendar, no holidays but those that are given, in simulated time.

Run it from anywhere, with the package installed:

    python examples/fx_week.py

Expect the trading days of a week in New York time. The market opens on Sunday at 17:00 and is open until Friday at
17:00; each day at 17:00 the trade date ends, the books are rolled, and the next one begins without a pause. Thursday is
Christmas, which this desk does not trade, and so it closes early on Wednesday.

Shortcomings: the desk's closures are made up; the market itself has no single calendar of them.
"""

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import anyio

from session_lifecycle import (
    Closure,
    LifecycleConfig,
    SessionBoundaryManager,
    SessionState,
    SpecialHours,
    StateChanged,
    WeeklySchedule,
)
from session_lifecycle.testing import SimulatedClock

NEW_YORK = ZoneInfo("America/New_York")
SUNDAY = datetime(2025, 12, 21, 16, 0, tzinfo=NEW_YORK)
SATURDAY = datetime(2025, 12, 27, 12, 0, tzinfo=NEW_YORK)
WEEK = WeeklySchedule(
    "FX",
    NEW_YORK,
    "Sun 17:00-Fri 17:00",
    daily_roll=time(17),
    overrides=[SpecialHours(date(2025, 12, 24), close=time(13)), Closure(date(2025, 12, 25))],
)
AT_ONCE = LifecycleConfig(pre_market=timedelta(0), post_market_roll_delay=timedelta(0), data_timeout=None)


async def main() -> None:
    """Run the week."""
    clock = SimulatedClock(SUNDAY)

    def say(text: str) -> None:
        print(f"{clock.now().astimezone(NEW_YORK):%a %H:%M}  {text}")

    async def roll_books(next_date: date) -> None:
        say(f"books roll to {next_date:%a %d}")

    market = SessionBoundaryManager(WEEK, roll_books, config=AT_ONCE, clock=clock)

    @market.on(StateChanged)
    async def show(event: StateChanged) -> None:
        if event.dest in (SessionState.ACTIVE, SessionState.POST_MARKET):
            say(f"{event.dest.name} in session {event.session:%a %d}")

    async with market:
        await clock.advance_to(SATURDAY)
        opens = market.session.open.astimezone(NEW_YORK)
        say(f"closed until {opens:%a %H:%M}")


if __name__ == "__main__":
    anyio.run(main)
