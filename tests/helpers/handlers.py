"""A handler that records its calls, and the schedule that its tests run on."""

from datetime import datetime
from typing import Any

from session_lifecycle import (
    Event,
    Halted,
    SessionBoundaryManager,
    SessionState,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import MONDAY, at

MORNING = at(MONDAY, (8, 0))
OPEN = at(MONDAY, (14, 30))
NOON = at(MONDAY, (16, 0))


class Boom(Exception):
    """What a handler of these tests fails with."""


class Calls:
    """A handler that notes each event it is called with, and when."""

    def __init__(self, clock: SimulatedClock | None = None) -> None:
        self.clock = clock
        self.events: list[Any] = []
        self.instants: list[datetime] = []

    async def __call__(self, event: Event) -> None:
        self.events.append(event)
        if self.clock is not None:
            self.instants.append(self.clock.now())

    @property
    def states(self) -> list[SessionState]:
        """The states that it was called for."""
        return [event.dest for event in self.events]


def listen(manager: SessionBoundaryManager, what: Any, **options: Any) -> Calls:
    """Register a handler that notes its calls."""
    return manager.on(what, **options)(Calls(manager.clock))


def halted(number: int) -> Halted:
    return Halted(f"number {number}", MONDAY)
