"""A manager under observation: a scripted roll, and a log of every event, start and end included."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from typing import Any, TypeVar

import anyio

from session_lifecycle import (
    Event,
    FixedSchedule,
    LifecycleConfig,
    SessionBoundaryManager,
    SessionState,
    StateChanged,
    SystemClock,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MONDAY, weekdays

E = TypeVar("E")

NOW = timedelta(0)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
TUESDAY, WEDNESDAY, THURSDAY, FRIDAY = (MONDAY + n * DAY for n in range(1, 5))

NOT_STARTED, PRE_MARKET, ACTIVE, POST_MARKET, ENDED, TIMEOUT, ERROR = SessionState

DEAF = LifecycleConfig(data_timeout=None)
"""For tests in which silence does not matter."""


class Rolls:
    """A roll that notes what it is asked for and when, and follows a script: an error is raised, a timedelta waited."""

    def __init__(self, clock: SimulatedClock, *script: BaseException | timedelta | None) -> None:
        self.clock = clock
        self.script = list(script)
        self.begun: list[tuple[date, datetime]] = []
        self.done: list[date] = []

    @property
    def dates(self) -> list[date]:
        """What it was asked for, attempt by attempt."""
        return [day for day, _ in self.begun]

    @property
    def instants(self) -> list[datetime]:
        """When."""
        return [instant for _, instant in self.begun]

    async def __call__(self, next_date: date) -> None:
        self.begun.append((next_date, self.clock.now()))
        step = self.script.pop(0) if self.script else None
        if isinstance(step, BaseException):
            raise step
        if step is not None:
            await self.clock.sleep(step)
        self.done.append(next_date)


class ShiftedClock(SystemClock):
    """A system clock whose wall time can be shifted, as a suspend or an operator would."""

    shift = NOW

    def now(self) -> datetime:
        return super().now() + self.shift


def season() -> FixedSchedule:
    """Return a schedule of twelve weeks: the end of its knowledge is far away."""
    return weekdays(n=60)


async def roll_nothing(next_date: date) -> None:
    """Succeed at once."""


def make(start: datetime, **options: Any) -> tuple[SessionBoundaryManager, SimulatedClock]:
    """Return a manager with a simulated clock, by default for a season, with a roll that succeeds, and deaf."""
    clock = SimulatedClock(start)
    options = {"schedule": season(), "roll_session": roll_nothing, "config": DEAF} | options
    return SessionBoundaryManager(clock=clock, **options), clock


def make_rolling(
    start: datetime, *script: BaseException | timedelta | None, session: date | None = None, **settings: Any
) -> tuple[SessionBoundaryManager, SimulatedClock, Rolls]:
    """Return a deaf manager whose roll follows a script, with settings for its configuration."""
    clock = SimulatedClock(start)
    rolls = Rolls(clock, *script)
    config = LifecycleConfig(**({"data_timeout": None} | settings))
    return SessionBoundaryManager(season(), rolls, session=session, config=config, clock=clock), clock, rolls


@asynccontextmanager
async def running(manager: SessionBoundaryManager) -> AsyncIterator[list[Event]]:
    """Run the manager, and keep a log of its events, complete whenever simulated time has settled."""
    log: list[Event] = []
    events = manager.events()

    async def read() -> None:
        async for event in events:
            log.append(event)  # noqa: PERF401 -- each is to be seen as soon as it has come

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            async with manager:
                if isinstance(manager.clock, SimulatedClock):
                    await manager.clock.advance(NOW)
                yield log
    except BaseExceptionGroup as group:  # of our own task group: show a failing test's error as it is
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from group.exceptions[0].__cause__
        raise


async def cancelled_once_it_waits(function: Callable[..., Awaitable[object]], *args: object) -> bool:
    """Await a call, cancel it once every task is blocked, and return whether that is how it has ended."""

    async def cancel() -> None:
        await anyio.wait_all_tasks_blocked()
        scope.cancel()

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            tasks.start_soon(cancel)
            await function(*args)
    return scope.cancelled_caught


def of(kind: type[E], log: Sequence[Event]) -> list[E]:
    """Return the events of one kind."""
    return [event for event in log if isinstance(event, kind)]


def changes(log: Sequence[Event]) -> list[StateChanged]:
    """Return the changes of state."""
    return of(StateChanged, log)


def path(log: Sequence[Event]) -> list[str]:
    """Return the triggers, in order."""
    return [event.trigger for event in changes(log)]


def states(log: Sequence[Event]) -> list[SessionState]:
    """Return the states entered, in order."""
    return [event.dest for event in changes(log)]


def need_asyncio(anyio_backend: tuple[str, dict[str, Any]]) -> None:
    """Skip the test on trio."""
    if anyio_backend[0] != "asyncio":
        import pytest  # not for the processes that tests start, in which nothing is skipped

        pytest.skip("native cancellation is asyncio's")


def run(main: Callable[[], Awaitable[None]], anyio_backend: tuple[str, dict[str, Any]]) -> None:
    """Run in an event loop of its own. (The one that pytest's plugin runs on trio polls in a thread.)"""
    name, options = anyio_backend
    anyio.run(main, backend=name, backend_options=options)
