"""Tasks of the application's code that are cancelled natively before their first step, and removals in a circle."""

import asyncio
from typing import Any

import anyio
import pytest

from session_lifecycle import (
    CancelledBeforeStart,
    FeedStale,
    FixedSchedule,
    HandlerFailed,
    LifecycleConfig,
    ReentrancyError,
    RollFailed,
    RollSucceeded,
    SessionBoundaryManager,
    SessionGroup,
    StateChanged,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import MONDAY, at
from tests.helpers.harness import (
    ACTIVE,
    DEAF,
    HOUR,
    MINUTE,
    POST_MARKET,
    TUESDAY,
    make,
    make_rolling,
    need_asyncio,
    of,
    roll_nothing,
    running,
    season,
)

pytestmark = pytest.mark.anyio
NOON, CLOSE = at(MONDAY, (16, 0)), at(MONDAY, (21, 0))


class Sweep:
    """Cancels the first tasks of a name that have not taken a step, as a sweep over `asyncio.all_tasks()` does."""

    def __init__(self, prefix: str, count: int = 1) -> None:
        self.prefix = prefix
        self.left = count
        self.victims: list[asyncio.Task[Any]] = []
        self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._look)

    def _look(self) -> None:
        for task in asyncio.all_tasks():
            if self.left and task.get_name().startswith(self.prefix) and task not in self.victims:
                task.cancel()
                self.victims.append(task)
                self.left -= 1
        if self.left:
            self._loop.call_soon(self._look)


@pytest.mark.parametrize("lost", [1, 2])
async def test_fault_58_the_task_of_a_roll_is_cancelled_before_its_first_step(lost, anyio_backend):
    """A failed attempt that says so; the next one rolls, and nothing is left counted: leaving does not hang."""
    need_asyncio(anyio_backend)
    manager, clock, rolls = make_rolling(CLOSE)
    with anyio.fail_after(10):
        async with running(manager) as log:
            sweep = Sweep("roll to", lost)
            await clock.advance(HOUR)
            await clock.advance(HOUR)
            assert len(sweep.victims) == lost
            assert [type(event.error) for event in of(RollFailed, log)] == [CancelledBeforeStart] * lost
            assert [event.attempt for event in of(RollSucceeded, log)] == [lost + 1]
            assert rolls.dates == [TUESDAY]
            assert manager.session.date == TUESDAY
            assert manager._host.tasks == 0


async def test_fault_58_the_task_of_a_handler_is_cancelled_before_its_first_step(anyio_backend):
    """A handler that has failed on that event; it and the others are called for the next ones."""
    need_asyncio(anyio_backend)
    manager, clock = make(CLOSE)
    heard: list[list[str]] = [[], []]
    for calls in heard:

        @manager.on(StateChanged, missed=True)
        async def note(event: StateChanged, calls: list[str] = calls) -> None:
            calls.append(event.trigger)

    with anyio.fail_after(10):
        async with running(manager) as log:
            sweep = Sweep("handler ")
            await clock.advance(2 * HOUR)
            assert len(sweep.victims) == 1
            (failed,) = of(HandlerFailed, log)
            assert isinstance(failed.error, CancelledBeforeStart)
            assert isinstance(failed.cause, StateChanged)
            changes = [event.trigger for event in of(StateChanged, log)]
            lost = changes.index(failed.cause.trigger)
            assert sorted(heard, key=len) == [changes[:lost] + changes[lost + 1 :], changes]
            assert manager._host.tasks == 0


async def test_fault_58_the_task_of_a_probe_is_cancelled_before_its_first_step(anyio_backend):
    """The probe has failed: the feed is stale."""
    need_asyncio(anyio_backend)
    manager, clock = make(NOON, config=LifecycleConfig(data_timeout=HOUR))
    asked: list[str] = []

    async def probe(feed: Any) -> bool:
        asked.append(feed.name)
        return True

    manager.add_feed("a", timeout=MINUTE, probe=probe)
    with anyio.fail_after(10):
        async with running(manager) as log:
            sweep = Sweep("probe of")
            await clock.advance(2 * MINUTE)
            assert len(sweep.victims) == 1
            assert asked == []
            (stale,) = of(FeedStale, log)
            assert "its probe" in stale.reason
            assert manager._host.tasks == 0


# ---- removals in a circle ----


@pytest.mark.parametrize("members", [2, 3])
async def test_fault_70_handlers_that_remove_each_others_manager(members):
    """The call that would close the circle is refused; the others are carried out."""
    clock = SimulatedClock(NOON)
    schedule: FixedSchedule = season()
    managers = [
        SessionBoundaryManager(schedule, roll_nothing, config=DEAF, clock=clock, name=str(number))
        for number in range(members)
    ]
    group = SessionGroup(managers)
    refused: list[str] = []
    for number, manager in enumerate(managers):

        @manager.on(POST_MARKET)
        async def remove(_: StateChanged, other: SessionBoundaryManager = managers[number - 1]) -> None:
            try:
                await group.remove(other)
            except ReentrancyError as error:
                refused.append(str(error))

    with anyio.fail_after(5):
        async with group:
            await clock.advance(6 * HOUR)
            assert len(refused) == 1
            assert "remove" in refused[0]
            assert len(group.managers) == 1


async def test_fault_70_removals_that_do_not_meet_wait_for_each_other():
    """A chain is no circle: one handler removes a manager whose handler removes a third."""
    clock = SimulatedClock(NOON)
    schedule = season()
    one, two, three = (
        SessionBoundaryManager(schedule, roll_nothing, config=DEAF, clock=clock, name=name) for name in "abc"
    )
    group = SessionGroup([one, two, three])
    done: list[str] = []
    for manager, other in ((one, two), (two, three)):

        @manager.on(POST_MARKET)
        async def remove(_: StateChanged, manager: Any = manager, other: SessionBoundaryManager = other) -> None:
            await group.remove(other)
            done.append(repr(manager))

    with anyio.fail_after(5):
        async with group:
            await clock.advance(6 * HOUR)
            assert group.managers == (one,)
            assert len(done) == 2
            assert one.state is not ACTIVE
