"""Start and stop from any task, `async with` across tasks, and drivers and applications that are cancelled natively."""

import asyncio
import contextlib
import time
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
from tests.helpers.lifespan import (
    END,
    NOON,
    in_a_task,
    make_group,
    others,
    sweep,
)

pytestmark = pytest.mark.anyio


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
