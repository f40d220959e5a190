"""What the tests of test_scopes share."""

import contextlib
from datetime import datetime
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from session_lifecycle import (
    ManagerStopped,
    Session,
    SessionBoundaryManager,
    SessionState,
)
from tests.helpers.builders import MONDAY, at
from tests.helpers.harness import (
    HOUR,
)

MORNING = at(MONDAY, (8, 0))
OPEN = at(MONDAY, (14, 30))
NOON = at(MONDAY, (16, 0))
CLOSE = at(MONDAY, (21, 0))
EITHER = pytest.mark.parametrize("grace", [None, HOUR], ids=["at once", "with grace"])


class Boom(Exception):
    """What a body of these tests fails with."""


class Life:
    """A body that notes when it began and when it ended, and whether it was cancelled."""

    def __init__(self, manager: SessionBoundaryManager, *states: SessionState, **options: Any) -> None:
        self.manager = manager
        self.states = states
        self.options = options
        self.began: list[tuple[Session, datetime]] = []
        self.ended: list[datetime] = []
        self.left: list[datetime] = []

    async def __call__(self) -> None:
        """Live once, until cancelled."""
        clock = self.manager.clock
        async with self.manager.during(*self.states, **self.options) as current:
            self.began.append((current, clock.now()))
            try:
                await anyio.sleep_forever()
            finally:
                self.ended.append(clock.now())
        self.left.append(clock.now())

    async def again_and_again(self) -> None:
        """Live in every session, until the manager stops."""
        with contextlib.suppress(ManagerStopped):
            while True:
                await self()


def readers(manager: SessionBoundaryManager) -> int:
    """Count those that the manager tells of its events."""
    return len(manager._host.broadcast._subscriptions)
