"""Start and stop from any task, `async with` across tasks, and drivers and applications that are cancelled natively."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

import anyio
import pytest

from session_lifecycle import (
    AlreadyStartedError,
    DriverCancelled,
    GroupStopped,
    JournalLocked,
    LifecycleConfig,
    LifecycleError,
    ManagerStopped,
    MemoryJournal,
    NotRunningError,
    ReentrancyError,
    SessionBoundaryManager,
    SessionGroup,
    StateChanged,
    WrongTaskError,
)
from session_lifecycle._runtime.callbacks import _scopes
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import MONDAY, at
from tests.helpers.harness import (
    ACTIVE,
    DEAF,
    HOUR,
    MINUTE,
    POST_MARKET,
    TUESDAY,
    cancelled_once_it_waits,
    make,
    need_asyncio,
    roll_nothing,
    run,
    season,
)

pytestmark = pytest.mark.anyio

NOON = at(MONDAY, (17, 0))
END = at(MONDAY, (21, 30))


async def in_a_task(call: Callable[[], Awaitable[object]]) -> BaseException | None:
    """Await a call in a task of its own, and return what it raises."""
    raised: list[BaseException] = []

    async def work() -> None:
        try:
            await call()
        except Exception as error:  # noqa: BLE001 -- returned
            raised.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
    return raised[0] if raised else None


def other_tasks() -> list[asyncio.Task[Any]]:
    """Return all tasks of asyncio but the calling one and pytest's, which has no name of its own.

    (Python 3.13.0 calls an eager task without a name "None".)
    """
    mine = asyncio.current_task()
    return [
        task
        for task in asyncio.all_tasks()
        if task is not mine and task.get_name() != "None" and not task.get_name().startswith("Task-")
    ]


def others() -> list[str]:
    """Return the names of all tasks of asyncio but the calling one and pytest's."""
    return [task.get_name() for task in other_tasks()]


def sweep() -> None:
    """Cancel every task but the calling one and pytest's own, as applications do with asyncio.all_tasks()."""
    for task in other_tasks():
        task.cancel()


def make_group(clock: SimulatedClock) -> SessionGroup:
    """Return a group of two."""
    managers = [SessionBoundaryManager(season(), roll_nothing, config=DEAF, clock=clock, name=name) for name in "ab"]
    return SessionGroup(managers)


# ---- start() and aclose() ----


async def test_fault_54_start_and_aclose_work_from_any_task():
    """Each in a task of its own, as fixtures and hooks of frameworks call them; the journal is free afterwards."""
    journal = MemoryJournal()
    manager, clock = make(NOON, journal=journal)
    log: list[object] = []
    events = manager.events()
    assert await in_a_task(manager.start) is None
    assert manager.state is ACTIVE  # it has caught up
    await clock.advance_to(END + HOUR)
    assert manager.session.date == TUESDAY
    assert await in_a_task(manager.aclose) is None
    async for event in events:
        log.append(event)  # noqa: PERF401 -- it ends, with all of them
    assert len(log) > 4
    assert not journal._held
    await manager.aclose()  # a second call does nothing
    with pytest.raises(AlreadyStartedError):
        await manager.start()
    with pytest.raises(ManagerStopped):
        manager.halt("late")


async def test_start_and_aclose_of_a_group():
    """Its members run with it."""
    clock = SimulatedClock(NOON)
    group = make_group(clock)
    assert await in_a_task(group.start) is None
    await clock.advance_to(END + HOUR)
    assert [manager.session.date for manager in group.managers] == [TUESDAY, TUESDAY]
    one = group.managers[0]
    with pytest.raises(NotRunningError):
        await one.aclose()
    assert await in_a_task(group.aclose) is None
    assert group.managers == ()
    with pytest.raises(GroupStopped):
        await group.add(SessionBoundaryManager(season(), roll_nothing, clock=clock))


async def test_a_manager_that_runs_by_other_means_is_closed_too():
    """aclose() stops what `async with` or run() runs, and waits for its end."""
    manager, _ = make(NOON)
    async with manager:
        await manager.aclose()
        assert manager._host.stopped
    other, _ = make(NOON)
    async with anyio.create_task_group() as tasks:
        await tasks.start(other.run)
        await other.aclose()
        assert other._host.stopped


async def test_aclose_before_the_start_is_refused():
    """There is nothing to close, and it may still be started."""
    manager, _ = make(NOON)
    with pytest.raises(NotRunningError, match=r"aclose\(\) needs a running manager"):
        await manager.aclose()
    await manager.start()
    await manager.aclose()


async def test_aclose_lets_a_roll_under_way_finish():
    """As leaving `async with` does."""
    done: list[date] = []

    async def roll(day: date) -> None:
        await clock.sleep(MINUTE)
        done.append(day)

    manager, clock = make(at(MONDAY, (21, 0)), roll_session=roll)
    await manager.start()
    await clock.advance_to(END)
    await manager.aclose()
    assert done == [TUESDAY]


async def test_aclose_that_is_cancelled_cancels_the_roll():
    """And still waits until the journal is free."""
    journal = MemoryJournal()

    cancelled = 0

    async def roll(_: date) -> None:
        nonlocal cancelled
        try:
            await anyio.sleep_forever()
        finally:
            cancelled += 1

    manager, clock = make(
        at(MONDAY, (21, 0)),
        roll_session=roll,
        journal=journal,
        config=LifecycleConfig(data_timeout=None, roll_timeout=None),
    )
    await manager.start()
    await clock.advance_to(END)
    assert await cancelled_once_it_waits(manager.aclose)
    assert (cancelled, manager._host.stopped, journal._held) == (1, True, False)


async def test_a_start_that_fails_raises_and_leaves_nothing():
    """And aclose() in a `finally` does not raise it again."""
    journal = MemoryJournal()
    await journal.open("fixed")
    manager, _ = make(NOON, journal=journal)
    with pytest.raises(JournalLocked):
        await manager.start()
    await manager.aclose()


async def test_a_start_that_is_cancelled_leaves_nothing():
    """Such as by a timeout around it: the driver has ended, and the journal is free."""

    class Slow(MemoryJournal):
        opening = False

        async def open(self, calendar: str) -> Any:
            self.opening = True
            await anyio.sleep_forever()

    journal = Slow()
    manager, _ = make(NOON, journal=journal)
    assert await cancelled_once_it_waits(manager.start)
    assert (manager._host.stopped, journal.opening, journal._held) == (True, True, False)
    await manager.aclose()


@pytest.mark.parametrize("how", ["start", "with", "group"])
async def test_fault_59_a_start_that_is_cancelled_in_any_turn_leaves_the_journal_free(how):
    """Also in the turn in which the task that closes journals is told to go on whatever is cancelled."""
    for turns in range(12):
        journal = MemoryJournal()
        manager, _ = make(NOON, journal=journal)

        async def enter(manager: SessionBoundaryManager = manager) -> None:
            if how == "start":
                await manager.start()
            else:
                async with SessionGroup([manager]) if how == "group" else manager:
                    await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(enter)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        if manager.started and how == "start":
            await manager.aclose()
        assert not journal._held, f"cancelled after {turns} turns"


async def test_aclose_during_the_start_ends_both():
    """The start says that it has been stopped."""

    class Slow(MemoryJournal):
        async def open(self, calendar: str) -> Any:
            opening.set()
            await anyio.sleep_forever()

    opening = anyio.Event()
    manager, _ = make(NOON, journal=Slow())
    raised: list[BaseException | None] = []

    async def start() -> None:
        raised.append(await in_a_task(manager.start))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(start)
        await opening.wait()
        await manager.aclose()
    assert [type(error) for error in raised] == [ManagerStopped]


async def test_aclose_from_inside_its_own_code_is_refused():
    """It would wait for the handler that calls it."""
    manager, clock = make(NOON)
    raised: list[BaseException] = []

    @manager.on(POST_MARKET)
    async def close(_: object) -> None:
        try:
            await manager.aclose()
        except ReentrancyError as error:
            raised.append(error)

    await manager.start()
    await clock.advance_to(END)
    await manager.aclose()
    assert len(raised) == 1


async def test_another_managers_handler_may_start_and_close_one():
    """What runs in the background is not inside the handler that has started it."""
    manager, clock = make(NOON)
    inner = SessionBoundaryManager(season(), roll_nothing, config=DEAF, clock=clock)
    told: list[object] = []

    @inner.on(POST_MARKET)
    async def count(_: object) -> None:
        told.append(len(_scopes.get()))

    @manager.on(POST_MARKET)
    async def hand_over(_: object) -> None:
        await inner.start()
        await inner.aclose()

    await manager.start()
    await clock.advance_to(END)
    await manager.aclose()
    assert inner._host.stopped
    assert told == [1]  # its own


class Fatal(BaseException):
    """Not an Exception: it ends the driver."""


async def test_a_driver_that_dies_in_the_background_is_raised_by_aclose(caplog, anyio_backend):
    """Readers end, calls raise ManagerStopped from the cause, and the log has it."""
    broken = RuntimeError("a bug of the driver")
    manager, _ = make(NOON, journal=(journal := MemoryJournal()))
    await manager.start()
    events = manager.events()
    waiting: list[BaseException | None] = []

    async def wait() -> None:
        waiting.append(await in_a_task(lambda: manager.wait_for(POST_MARKET)))

    def fail(*_: object) -> None:
        raise broken

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        manager._driver._poll_due = fail
        manager._driver.wake(manager._host)
        assert [event async for event in events] == []
    for call in (lambda: manager.halt("late"), lambda: manager.add_feed("late"), lambda: manager.on(ACTIVE)(fail)):
        with pytest.raises((ManagerStopped, TypeError)) as stopped:
            call()
        assert isinstance(stopped.value, TypeError) or stopped.value.__cause__ is broken
    (waited,) = waiting
    assert isinstance(waited, ManagerStopped)
    assert waited.__cause__ is broken
    assert not journal._held
    for _ in range(2):
        with pytest.raises(RuntimeError, match="a bug of the driver"):
            await manager.aclose()
    assert any("has failed and ended; `await aclose()` raises why" in record.message for record in caplog.records)


@pytest.mark.parametrize("kind", [Fatal, SystemExit])
def test_a_base_exception_in_the_background_is_raised_by_aclose_or_ends_the_loop(anyio_backend, kind):
    """On asyncio, SystemExit ends the loop as from any task. What aclose() raises is not in the driver's task, too."""
    drivers: list[asyncio.Task[Any]] = []

    async def roll(_: date) -> None:
        raise kind

    async def main() -> None:
        manager, clock = make(at(MONDAY, (21, 0)), roll_session=roll)
        await manager.start()
        if anyio_backend[0] == "asyncio":
            drivers.extend(each for each in asyncio.all_tasks() if each.get_name().startswith("driver of "))
            assert len(drivers) == 1
        with contextlib.suppress(LifecycleError):
            await clock.advance_to(END)
        await manager.aclose()

    with pytest.raises(kind):
        run(main, anyio_backend)
    assert [type(each.exception()) for each in drivers] == [SystemExit if kind is SystemExit else type(None)] * len(
        drivers
    )


def test_a_loop_that_ends_without_aclose_ends_the_driver(anyio_backend):
    """The journal is free, and nothing is reported as unhandled."""
    journal = MemoryJournal()
    manager, _ = make(NOON, journal=journal)
    run(manager.start, anyio_backend)
    assert (manager._host.stopped, journal._held) == (True, False)


# ---- `async with`, and tasks ----


async def test_fault_54_async_with_left_in_another_task_is_an_error_of_its_own(anyio_backend):
    """The driver has ended, the journal is free, no task is left, and no CPU is spent."""
    need_asyncio(anyio_backend)
    for finished in (True, False):
        journal = MemoryJournal()
        manager, clock = make(NOON, journal=journal)
        stack = contextlib.AsyncExitStack()
        if finished:
            await asyncio.create_task(stack.enter_async_context(manager), name="enter")
        else:
            await stack.enter_async_context(manager)
        await clock.advance_to(END + HOUR)
        with pytest.raises(WrongTaskError, match=r"`await start\(\)` and `await aclose\(\)` instead"):
            await asyncio.create_task(stack.aclose(), name="leave")
        assert (manager._host.stopped, journal._held, others()) == (True, False, [])
        begun = time.process_time()
        await asyncio.sleep(0.2)
        assert time.process_time() - begun < 0.1


async def test_fault_54_an_error_that_leaves_in_another_task_shows_too(anyio_backend):
    """The driver is cancelled then; with a group it is the same."""
    need_asyncio(anyio_backend)
    group = make_group(SimulatedClock(NOON))
    await asyncio.create_task(group.__aenter__(), name="enter")
    oops = ValueError("the body's")

    async def leave() -> None:
        try:
            raise oops
        except ValueError as error:
            await group.__aexit__(ValueError, error, None)

    with pytest.raises(WrongTaskError, match="the SessionGroup has been stopped") as wrong:
        await asyncio.create_task(leave(), name="leave")
    assert wrong.value.__context__ is oops
    assert others() == []


async def test_fault_54_a_driver_that_dies_after_its_block_was_lost_is_told_on_leaving(anyio_backend):
    """The task that has entered is over, so nothing can be raised there."""
    need_asyncio(anyio_backend)

    async def roll(_: date) -> None:
        await clock.sleep(MINUTE)

    manager, clock = make(NOON, roll_session=roll)
    await asyncio.create_task(manager.__aenter__(), name="enter")
    sweep()
    for _ in range(50):
        await asyncio.sleep(0)
    assert manager._host.stopped
    with pytest.raises(WrongTaskError) as wrong:
        await manager.__aexit__(None, None, None)
    assert isinstance(wrong.value.__cause__, DriverCancelled)
    assert others() == []


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
