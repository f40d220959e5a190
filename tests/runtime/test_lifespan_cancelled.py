"""Native cancellations of what starts, runs and ends a manager, at the wrong moment too."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import date
from typing import Any

import anyio
import pytest

from session_lifecycle import (
    DriverCancelled,
    GroupStopped,
    ManagerStopped,
    MemoryJournal,
    SessionBoundaryManager,
    StateChanged,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import MONDAY, at
from tests.helpers.harness import (
    ACTIVE,
    DEAF,
    MINUTE,
    make,
    need_asyncio,
    roll_nothing,
    season,
)
from tests.helpers.lifespan import (
    END,
    NOON,
    make_group,
    others,
    sweep,
)

pytestmark = pytest.mark.anyio


# ---- native cancellations ----


@pytest.mark.parametrize("kind", ["manager", "group"])
async def test_fault_60_a_sweep_of_all_other_tasks_ends_the_body_loudly(anyio_backend, kind):
    """An application that cancels every task but its own gets an error that says so, and is not cancelled itself."""
    need_asyncio(anyio_backend)
    clock = SimulatedClock(NOON)
    subject = make_group(clock) if kind == "group" else make(NOON)[0]
    with pytest.raises(DriverCancelled, match="cancels tasks that are not its own"):  # noqa: PT012 -- leaving is what raises
        async with subject:
            sweep()
            await asyncio.sleep(10)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert others() == []
    await asyncio.sleep(0)


async def test_fault_60_a_sweep_ends_the_background_loudly(anyio_backend):
    """aclose() raises it, and it is the cause of what calls raise."""
    need_asyncio(anyio_backend)
    manager, _ = make(NOON)
    await manager.start()
    sweep()
    async with asyncio.timeout(5):
        while not manager._host.stopped:  # noqa: ASYNC110 -- there is nothing else to wait for
            await asyncio.sleep(0)
    with pytest.raises(ManagerStopped) as stopped:
        manager.halt("late")
    assert isinstance(stopped.value.__cause__, DriverCancelled)
    with pytest.raises(DriverCancelled):
        await manager.aclose()


@pytest.mark.parametrize("how", ["async with", "start"])
@pytest.mark.parametrize("turns", range(6))
async def test_fault_60_a_sweep_during_the_start_is_loud(anyio_backend, how, turns):
    """Even before the driver's first step: it starts, or it raises; nothing hangs, and readers end."""
    need_asyncio(anyio_backend)
    manager, clock = make(NOON)
    events = manager.events()
    loop, mine = asyncio.get_running_loop(), asyncio.current_task()

    def sweep_later(left: int) -> None:
        if left:
            loop.call_soon(sweep_later, left - 1)
            return
        for task in asyncio.all_tasks():
            if task is not mine and "driver" in task.get_name():
                task.cancel()

    loop.call_soon(sweep_later, turns)
    async with asyncio.timeout(5):
        try:
            if how == "start":
                await manager.start()
                await clock.advance(MINUTE)
                await manager.aclose()
            else:
                async with manager:
                    await clock.advance(MINUTE)
                    await asyncio.sleep(0.01)
        except DriverCancelled:
            pass
        assert isinstance([event async for event in events], list)
    assert mine is not None
    assert mine.cancelling() == 0


async def test_fault_60_a_child_of_the_driver_that_ends_cancelled_ends_it_loudly(anyio_backend):
    """anyio then cancels the group as if that had been asked for; also with run() in the application's own group."""
    need_asyncio(anyio_backend)
    manager, _ = make(NOON)
    with pytest.raises(ExceptionGroup) as group:  # noqa: PT012 -- leaving is what raises
        async with anyio.create_task_group() as tasks:
            await tasks.start(manager.run)
            assert manager._driver is not None
            manager._driver._app._group.cancel_scope.cancel()
            await asyncio.sleep(10)
    assert [type(error) for error in group.value.exceptions] == [DriverCancelled]


async def test_a_native_cancellation_of_run_is_the_applications_own(anyio_backend):
    """The task that awaits run() is its own to cancel."""
    need_asyncio(anyio_backend)
    manager, clock = make(NOON)
    task = asyncio.create_task(manager.run(), name="mine")
    await clock.advance(MINUTE)
    assert manager.state is ACTIVE
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_fault_59_a_native_cancellation_of_run_in_any_turn_is_raised_as_such(anyio_backend):
    """Also in the turn in which the driver is woken, where anyio takes the one for the other."""
    need_asyncio(anyio_backend)
    for turns in range(12):
        manager, clock = make(NOON, journal=MemoryJournal())
        run = asyncio.create_task(manager.run())
        await clock.advance(MINUTE)
        assert manager.state is ACTIVE
        end = asyncio.create_task(manager.end_session("enough"))
        for _ in range(turns):
            await asyncio.sleep(0)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        await asyncio.wait([end])
        assert run.cancelled(), f"cancelled after {turns} turns"


async def test_fault_60_a_sweep_that_takes_the_applications_task_too_cancels_that(anyio_backend):
    """As at the end of asyncio.run: the task that is in the body is cancelled, and raises nothing else."""
    need_asyncio(anyio_backend)
    manager, _ = make(NOON)

    entered = asyncio.Event()

    async def app() -> None:
        async with manager:
            entered.set()
            await asyncio.sleep(10)

    task = asyncio.create_task(app(), name="app")
    await entered.wait()
    sweep()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert manager._host.stopped


def stubborn(cancelled: Callable[[], object] = lambda: None) -> tuple[SessionBoundaryManager, SimulatedClock]:
    """Return a manager whose roll takes a moment of real time to be cancelled, and calls `cancelled` before."""

    async def roll(_: date) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled()
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.02)

    return make(at(MONDAY, (21, 0)), roll_session=roll)


async def leave_with(error: Exception, left: list[BaseException], leaving: asyncio.Event) -> None:
    """Leave a body with an error while a roll takes its time, of which `leaving` tells, and go on after that."""
    manager, clock = stubborn(leaving.set)
    try:
        async with manager:
            await clock.advance_to(END)
            raise error
    except ValueError as caught:
        left.append(caught)
    await asyncio.sleep(10)


async def test_fault_59_a_native_cancellation_while_leaving_with_an_error_loses_neither(anyio_backend):
    """The error leaves the body, and the cancellation arrives at the next wait."""
    need_asyncio(anyio_backend)
    oops, left, leaving = ValueError("the body's"), list[BaseException](), asyncio.Event()
    task = asyncio.create_task(leave_with(oops, left, leaving), name="app")
    await leaving.wait()
    assert left == []
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), 5)
    assert task.cancelled()
    assert left == [oops]


async def test_fault_59_a_timeout_while_leaving_with_an_error_leaves_no_stray_cancellation(anyio_backend):
    """asyncio.timeout takes its cancellation back where another exception leaves it."""
    need_asyncio(anyio_backend)
    oops = ValueError("the body's")
    with pytest.raises(ValueError, match="the body's") as caught:  # noqa: PT012 -- leaving is what raises
        async with asyncio.timeout(None) as limit:
            manager, clock = stubborn(lambda: limit.reschedule(asyncio.get_running_loop().time()))
            async with manager:
                await clock.advance_to(END)
                raise oops
    assert caught.value is oops
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0.01)  # is not cancelled


async def test_fault_59_a_task_group_that_is_cancelled_while_a_body_leaves_with_an_error_ends(anyio_backend):
    """Both are in it: the sibling's error and the body's."""
    need_asyncio(anyio_backend)
    oops, left, leaving = ValueError("the body's"), list[BaseException](), asyncio.Event()

    async def fail() -> None:
        await leaving.wait()
        msg = "the sibling's"
        raise KeyError(msg)

    with pytest.raises(ExceptionGroup) as group:  # noqa: PT012 -- leaving is what raises
        async with asyncio.timeout(5):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(leave_with(oops, left, leaving), name="app")
                tasks.create_task(fail(), name="sibling")
    assert [type(error) for error in group.value.exceptions] == [KeyError]
    assert left == [oops]


async def test_fault_59_a_scope_that_is_cancelled_while_a_body_leaves_with_an_error_loses_neither():
    """anyio delivers its own cancellation again."""
    oops = ValueError("the body's")
    left: list[BaseException] = []
    with anyio.CancelScope() as scope:
        manager, clock = stubborn(scope.cancel)
        try:
            async with manager:
                await clock.advance_to(END)
                raise oops
        except ValueError as error:
            left.append(error)
        await anyio.sleep(10)
    assert left == [oops]
    assert scope.cancelled_caught


async def test_fault_59_a_native_cancellation_while_leaving_without_an_error_is_raised(anyio_backend):
    """It cancels the roll that leaving waits for."""
    need_asyncio(anyio_backend)
    leaving = asyncio.Event()
    manager, clock = stubborn(leaving.set)

    async def app() -> None:
        async with manager:
            await clock.advance_to(END)

    task = asyncio.create_task(app(), name="app")
    await leaving.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), 5)
    assert task.cancelled()
    assert manager._host.stopped


# ---- cancelled at the wrong moment ----


def cancel_when(condition: Callable[[], object], task: "asyncio.Task[Any]") -> None:
    """Cancel a task natively in the first turn of the loop in which the condition holds."""
    if condition():
        task.cancel()
    elif not task.done():
        asyncio.get_running_loop().call_soon(cancel_when, condition, task)


async def test_fault_59_an_application_that_is_cancelled_as_a_roll_is_about_to_begin_ends(anyio_backend):
    """The roll's task has not been started, so nobody waits for its end."""
    need_asyncio(anyio_backend)
    manager, clock = make(NOON)

    async def app() -> None:
        async with manager:
            await clock.advance_to(END)
            await asyncio.sleep(10)

    task = asyncio.create_task(app(), name="app")
    cancel_when(lambda: manager._host.attempt, task)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), 5)
    assert task.cancelled()
    assert (manager._host.stopped, manager._host.tasks) == (True, 0)
    assert others() == []


async def test_fault_59_an_application_that_is_cancelled_as_a_handler_is_about_to_be_called_ends(anyio_backend):
    """None of its tasks is left counted."""
    need_asyncio(anyio_backend)
    manager, clock = make(NOON)

    @manager.on(StateChanged, missed=True)
    async def handler(_: StateChanged) -> None:
        await asyncio.sleep(0)

    async def app() -> None:
        async with manager:
            await clock.advance_to(END)

    task = asyncio.create_task(app(), name="app")
    cancel_when(lambda: manager._host.tasks == 2, task)  # the one that calls handlers, and that handler's
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), 5)
    assert (manager._host.stopped, manager._host.tasks) == (True, 0)


@pytest.mark.parametrize("turns", range(8))
async def test_fault_59_a_native_cancellation_after_that_of_a_scope_is_not_lost(anyio_backend, turns):
    """A scope around the manager takes back its own cancellations only."""
    need_asyncio(anyio_backend)
    manager, clock = stubborn()
    scope, left = anyio.CancelScope(), list[int]()

    async def app() -> None:
        with scope:
            async with manager:
                await clock.advance_to(END)
                scope.cancel()
                await asyncio.sleep(10)
        await asyncio.sleep(10)

    def is_due() -> bool:
        left.append(0)
        if not scope.cancel_called:
            left.clear()
        return len(left) > turns

    task = asyncio.create_task(app(), name="app")
    cancel_when(is_due, task)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), 5)
    assert task.cancelled()


@pytest.mark.parametrize("how", ["stopped", "swept"])
@pytest.mark.parametrize("turns", range(1, 8))
async def test_fault_60_a_group_that_ends_while_a_manager_is_added(anyio_backend, turns, how):
    """It is added and stopped, or refused: the group ends, and so does the manager, with its journal."""
    need_asyncio(anyio_backend)
    clock, journal = SimulatedClock(NOON), MemoryJournal()
    group = make_group(clock)
    manager = SessionBoundaryManager(season(), roll_nothing, config=DEAF, clock=clock, journal=journal)
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def end(left: int) -> None:
        if left:
            loop.call_soon(end, left - 1)
            return
        ended.set()
        if how == "stopped":
            group.stop()
        else:
            for task in asyncio.all_tasks():
                if task.get_name().startswith("driver"):
                    task.cancel()

    async with asyncio.timeout(5):
        await group.start()
        loop.call_soon(end, turns)
        with contextlib.suppress(GroupStopped):
            await group.add(manager)
        await ended.wait()
        await asyncio.sleep(0.01)
        with contextlib.suppress(DriverCancelled):
            await group.aclose()
    assert (manager._host.stopped, journal._held) == (True, False)


async def test_fault_60_a_native_cancellation_of_what_closes_a_journal(anyio_backend):
    """It is closed all the same."""
    need_asyncio(anyio_backend)

    class Slow(MemoryJournal):
        closing = False

        async def close(self) -> None:
            self.closing = True
            await asyncio.sleep(0)
            await super().close()

    journal = Slow()
    for victim in ("_close", "run"):
        manager, _ = make(NOON, journal=journal)
        journal.closing = False

        def sweep_one(victim: str = victim) -> None:
            named = [task for task in asyncio.all_tasks() if task.get_name() == victim]
            if journal.closing and named:
                named[0].cancel()
            else:
                asyncio.get_running_loop().call_soon(sweep_one)

        async with asyncio.timeout(5), manager:
            asyncio.get_running_loop().call_soon(sweep_one)
        assert not journal._held
