"""What the tests of test_group share."""

from typing import Any

from session_lifecycle import (
    FixedSchedule,
    SessionBoundaryManager,
    SessionGroup,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import MONDAY, at, session
from tests.helpers.harness import (
    DEAF,
    TUESDAY,
    roll_nothing,
    season,
)

MORNING, NOON, EVENING = at(MONDAY, (8, 0)), at(MONDAY, (16, 0)), at(MONDAY, (21, 10))
LONDON = FixedSchedule([session(MONDAY, (8, 0), (16, 30)), session(TUESDAY, (8, 0), (16, 30))], name="london")


class Desk:
    """A clock, and a way to make managers on it."""

    def __init__(self, start: Any, **options: Any) -> None:
        self.clock = SimulatedClock(start)
        self.options = {"schedule": season(), "roll_session": roll_nothing, "config": DEAF} | options

    def manager(self, name: str, **options: Any) -> SessionBoundaryManager:
        """Return a new manager."""
        return SessionBoundaryManager(clock=self.clock, name=name, **(self.options | options))

    def managers(self, *names: str) -> list[SessionBoundaryManager]:
        """Return managers that are alike."""
        return [self.manager(name) for name in names]


async def told(group: SessionGroup, clock: SimulatedClock, until: Any) -> list[Any]:
    """Run a group to an instant and return all that it has told."""
    events = group.events()
    async with group:
        await clock.advance_to(until)
    return [event async for event in events]
