"""What the tests of test_manager_alarms share."""

from datetime import datetime, timedelta
from typing import Any

from session_lifecycle import (
    AlarmFired,
    AlarmSkipped,
    BreakStarted,
    Event,
    FixedSchedule,
    Misfire,
    Session,
    SessionBoundaryManager,
    StateChanged,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MONDAY, at

ZERO = timedelta(0)
RUN_ONCE = Misfire.RUN_ONCE
QUARTER = timedelta(minutes=15)


class CountedClock:
    """A simulated clock that counts how often it is looked at."""

    def __init__(self, start: datetime) -> None:
        self.time = SimulatedClock(start)
        self.asked = 0
        self.monotonic = self.time.monotonic
        self.sleep_until = self.time.sleep_until
        self.sleep = self.time.sleep
        self.jumping = self.time.jumping

    def now(self) -> datetime:
        self.asked += 1
        return self.time.now()


def told(log: list[Event]) -> list[str]:
    """Return edges by their trigger, breaks as such, alarms by their text; skipped ones in brackets."""
    names: list[str] = []
    for each in log:
        match each:
            case StateChanged():
                names.append(each.trigger)
            case BreakStarted():
                names.append("break")
            case AlarmFired():
                names.append(str(each.alarm))
            case AlarmSkipped():
                names.append(f"({each.alarm})")
    return names


def register(manager: SessionBoundaryManager, *arguments: Any, **options: Any) -> list[AlarmFired]:
    """Register a handler for an alarm that notes what it is called with."""
    calls: list[AlarmFired] = []

    @manager.at(*arguments, **options)
    async def note(event: AlarmFired) -> None:
        calls.append(event)

    return calls


def sleepless(n: int = 30) -> FixedSchedule:
    """Return a market that never sleeps: each session is a day, from midnight to midnight."""
    opens = at(MONDAY, (0, 0))
    return FixedSchedule(Session(MONDAY + i * DAY, opens + i * DAY, opens + (i + 1) * DAY) for i in range(n))
