"""An application for scripts, and what is read of a result."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import anyio

from session_lifecycle import (
    FixedSchedule,
    LifecycleConfig,
    SessionBoundaryManager,
    StateChanged,
)
from session_lifecycle.testing import Result, Script, assert_legal
from tests.helpers.builders import DAY, MONDAY, session
from tests.helpers.harness import (
    MINUTE,
    SECOND,
)

NEW_YORK = ZoneInfo("America/New_York")
LUNCH = (((17, 0), (18, 0)),)  # noon in New York
WEEK = FixedSchedule([session(MONDAY + n * DAY, breaks=LUNCH) for n in range(60)], name="days", timezone=NEW_YORK)
SCRIPT = Script(WEEK, MONDAY)
QUOTES = SCRIPT.data_every(MINUTE)


class App:
    """The least that can be run: a manager, a roll that takes a second, and what it has seen."""

    config = LifecycleConfig()

    def __init__(self, manager_class: type[SessionBoundaryManager]) -> None:
        self.manager = manager_class("XLON", self.roll, config=self.config)
        self.rolled: list[date] = []
        self.seen: list[datetime] = []

    async def roll(self, next_date: date) -> None:
        await self.manager.clock.sleep(SECOND)
        self.rolled.append(next_date)

    def quote(self) -> None:
        self.seen.append(self.manager.clock.now())


def play(script: Script, factory: Callable[[type[SessionBoundaryManager]], Any] = App, **backend: Any) -> Result[Any]:
    """Play a script, and hold its events."""
    result = anyio.run(script.run, factory, **backend)
    for run in result.runs:
        assert_legal(run)
    return result


def edges(result: Result[Any]) -> list[str]:
    """Return what has happened to the state, in the exchange's time."""
    return [f"{e.observed_at.astimezone(NEW_YORK):%H:%M:%S} {e.dest.name}" for e in result.of(StateChanged)]
