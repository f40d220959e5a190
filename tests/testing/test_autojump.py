"""A clock that passes time by itself, always or while a driver leaves."""

import asyncio
from datetime import timedelta

import anyio
import pytest

from session_lifecycle._model.errors import NeverSettledError
from session_lifecycle.testing import SimulatedClock
from session_lifecycle.testing import clock as clock_module
from tests.helpers.harness import cancelled_once_it_waits
from tests.helpers.sleepers import DAY, HOUR, T0, Log, names, sleeper, until

pytestmark = pytest.mark.anyio


# ---- autojump ----


async def test_with_autojump_time_passes_by_itself() -> None:
    """A lone sleeper just sees its time pass, exactly."""
    clock = SimulatedClock(T0, autojump=True)
    await clock.sleep(HOUR)
    assert (clock.now(), clock.monotonic()) == (T0 + HOUR, 3600.0)
    await clock.sleep_until(T0 + DAY, None)
    assert clock.now() == T0 + DAY


async def test_with_autojump_many_tasks_wake_in_order(log: Log) -> None:
    """Whoever does the jumping, the order is that of the deadlines, and of registration among equals."""
    clock = SimulatedClock(T0, autojump=True)

    async def ticker(name: str, delta: timedelta) -> None:
        for _ in range(3):
            await sleeper(clock, log, name, delta)

    async def starter() -> None:
        async with anyio.create_task_group() as tg:
            for name, delta in (("c", 3 * HOUR), ("b", 2 * HOUR), ("a", HOUR)):
                tg.start_soon(ticker, name, delta)
                with anyio.CancelScope(shield=True):
                    await anyio.lowlevel.checkpoint()

    await starter()
    assert [(name, seconds / 3600) for name, _, seconds in log] == [
        ("a", 1.0),
        ("b", 2.0),
        ("a", 2.0),
        ("c", 3.0),
        ("a", 3.0),
        ("b", 4.0),
        ("c", 6.0),
        ("b", 6.0),
        ("c", 9.0),
    ]


async def test_with_autojump_time_stands_still_while_anybody_works(log: Log) -> None:
    """Time jumps only when every task is blocked."""
    clock = SimulatedClock(T0, autojump=True)

    async def worker() -> None:
        for _ in range(200):
            await anyio.lowlevel.checkpoint()
            assert clock.monotonic() == 0.0
        log.append(("worker", clock.now(), clock.monotonic()))

    async with anyio.create_task_group() as tg:
        tg.start_soon(sleeper, clock, log, "sleeper", HOUR)
        tg.start_soon(worker)
    assert names(log) == ["worker", "sleeper"]


async def test_with_autojump_and_no_deadline_it_waits(log: Log) -> None:
    """Nothing to jump to; a deadline that comes up later is jumped to."""
    clock = SimulatedClock(T0, autojump=True)
    async with anyio.create_task_group() as tg:
        tg.start_soon(until, clock, log, "never", None, None)
        await anyio.wait_all_tasks_blocked()
        assert clock.monotonic() == 0.0
        await clock.sleep(HOUR)
        assert (clock.monotonic(), log) == (3600.0, [])
        tg.cancel_scope.cancel()


@pytest.mark.parametrize("first", [HOUR, 3 * HOUR])
async def test_with_autojump_a_cancelled_jumper_hands_over(log: Log, first: timedelta) -> None:
    """Whichever sleeper is cancelled, time goes on passing for the others."""
    clock = SimulatedClock(T0, autojump=True)
    scope = anyio.CancelScope()

    async def cancelled() -> None:
        with scope:
            await clock.sleep(first)

    async def busy() -> None:
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        scope.cancel()

    async with anyio.create_task_group() as tg:
        tg.start_soon(cancelled)
        tg.start_soon(busy)
        tg.start_soon(sleeper, clock, log, "other", 2 * HOUR)
    assert scope.cancelled_caught
    assert log == [("other", T0 + 2 * HOUR, 7200.0)]


async def test_with_autojump_an_advance_takes_the_lead(log: Log) -> None:
    """While an advance is under way it alone passes time; afterwards time jumps again."""
    clock = SimulatedClock(T0, autojump=True)
    async with anyio.create_task_group() as tg:
        tg.start_soon(sleeper, clock, log, "first", HOUR)
        tg.start_soon(sleeper, clock, log, "second", 3 * HOUR)
        await clock.advance(2 * HOUR)
        assert names(log) == ["first"]
        assert clock.now() == T0 + 2 * HOUR
    assert log[1:] == [("second", T0 + 3 * HOUR, 3 * 3600.0)]


async def test_with_autojump_an_advance_ends_a_jump_under_way(log: Log) -> None:
    """A jumper that is waiting for others to block gives way, and is not taken for a busy task."""
    clock = SimulatedClock(T0, autojump=True)
    async with anyio.create_task_group() as tg:
        tg.start_soon(sleeper, clock, log, "it", HOUR)
        for _ in range(3):  # by now the sleeper looks for others that are busy
            await anyio.lowlevel.checkpoint()
        await clock.advance(HOUR / 2)
        assert (clock.monotonic(), log) == (1800.0, [])
    assert log == [("it", T0 + HOUR, 3600.0)]


async def test_with_autojump_a_step_wakes_the_jumper(log: Log) -> None:
    """The jumper heeds a step like any other sleeper."""
    clock = SimulatedClock(T0, autojump=True)
    async with anyio.create_task_group() as tg:
        tg.start_soon(until, clock, log, "it", T0 + DAY, None)
        for _ in range(2):
            await anyio.lowlevel.checkpoint()
        clock.step(HOUR)
    assert log == [("it", T0 + HOUR, 0.0)]


@pytest.mark.usefixtures("asyncio_only")
async def test_with_autojump_a_task_that_never_blocks_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the sleep that raises, since nobody else passes the time."""
    monkeypatch.setattr(clock_module, "_MAX_PASSES", 500)
    clock = SimulatedClock(T0, autojump=True)

    async def spin() -> None:
        while True:  # noqa: ASYNC110 -- the bad manners are the subject
            await asyncio.sleep(0)

    task = asyncio.create_task(spin(), name="spinner")
    with pytest.raises(NeverSettledError, match="spinner"):
        await clock.sleep(HOUR)
    task.cancel()
    await clock.sleep(HOUR)
    assert clock.monotonic() == 3600.0


# ---- a driver that leaves ----


async def test_jumping_passes_time_inside_the_block_only(clock: SimulatedClock, log: Log) -> None:
    """Inside, a sleep just sees its time pass; outside, it waits for an advance."""
    with clock.jumping():
        await clock.sleep(HOUR)
        assert clock.monotonic() == 3600.0
    async with anyio.create_task_group() as tg:
        tg.start_soon(sleeper, clock, log, "outside", HOUR)
        await anyio.wait_all_tasks_blocked()
        assert (clock.monotonic(), log) == (3600.0, [])
        await clock.advance(HOUR)
    assert clock.monotonic() == 7200.0


async def test_jumping_gets_those_going_who_sleep_already(clock: SimulatedClock, log: Log) -> None:
    """A driver that leaves need not sleep itself."""
    async with anyio.create_task_group() as tg:
        tg.start_soon(until, clock, log, "never", None, None)
        async with anyio.create_task_group() as inner:
            inner.start_soon(sleeper, clock, log, "late", 2 * HOUR)
            inner.start_soon(sleeper, clock, log, "early", HOUR)
            await anyio.wait_all_tasks_blocked()
            context = clock.jumping()
            context.__enter__()
        context.__exit__(None, None, None)
        tg.cancel_scope.cancel()
    assert names(log) == ["early", "late"]


async def test_jumping_may_be_nested(clock: SimulatedClock) -> None:
    """It is in force until the outermost block ends, on a clock with autojump for ever."""
    with clock.jumping():
        with clock.jumping():
            await clock.sleep(HOUR)
        await clock.sleep(HOUR)
    assert await cancelled_once_it_waits(clock.sleep, HOUR)
    assert clock.monotonic() == 7200.0
    always = SimulatedClock(T0, autojump=True)
    with always.jumping():
        pass
    await always.sleep(HOUR)


async def test_jumping_ends_when_the_block_raises(clock: SimulatedClock) -> None:
    """An error on the way out leaves no clock that runs by itself."""
    with pytest.raises(ZeroDivisionError), clock.jumping():
        raise ZeroDivisionError
    assert await cancelled_once_it_waits(clock.sleep, HOUR)


async def test_jumping_ends_while_somebody_is_jumping(clock: SimulatedClock, log: Log) -> None:
    """A jumper still looking for busy tasks stops, and time with it."""
    async with anyio.create_task_group() as tg:
        tg.start_soon(sleeper, clock, log, "it", HOUR)
        await anyio.wait_all_tasks_blocked()
        with clock.jumping():
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        assert (clock.monotonic(), log) == (0.0, [])
        await clock.advance(HOUR)
    assert log == [("it", T0 + HOUR, 3600.0)]


async def test_jumping_during_an_advance_leaves_the_lead_to_it(clock: SimulatedClock, log: Log) -> None:
    """A driver may leave in the middle of an advance; what is due after its end is then jumped to."""

    async def leaver() -> None:
        await clock.sleep(HOUR)
        with clock.jumping():
            await sleeper(clock, log, "leaver", 5 * HOUR)

    async with anyio.create_task_group() as tg:
        tg.start_soon(leaver)
        await clock.advance(2 * HOUR)
        assert (clock.monotonic(), log) == (7200.0, [])
    assert log == [("leaver", T0 + 6 * HOUR, 6 * 3600.0)]


async def test_a_step_wakes_a_jumper_that_waits_for_something_real() -> None:
    """Time is held, and a step takes none: it is not the end of the hold that wakes the sleeper."""
    clock = SimulatedClock(T0, autojump=True)
    awake = anyio.Event()

    async def sleep_on() -> None:
        await clock.sleep_until(T0 + DAY, None)
        awake.set()

    async with anyio.create_task_group() as tg:
        with clock.holding(), anyio.fail_after(5):
            tg.start_soon(sleep_on)
            for _ in range(2):  # on trio the jumper waits for the same
                await anyio.wait_all_tasks_blocked()
            clock.step(2 * DAY)
            await awake.wait()
    assert (clock.now(), clock.monotonic()) == (T0 + 2 * DAY, 0.0)


async def test_the_end_of_a_hold_sends_the_jumper_on(log: Log) -> None:
    """Also one that was kicked before, and looks again whether time is still held."""
    clock = SimulatedClock(T0, autojump=True)
    async with anyio.create_task_group() as tg:
        with clock.holding():
            tg.start_soon(sleeper, clock, log, "it", HOUR)
            await anyio.wait_all_tasks_blocked()
            with clock.holding():
                await anyio.wait_all_tasks_blocked()
            await anyio.wait_all_tasks_blocked()
            assert log == []
    assert log == [("it", T0 + HOUR, 3600.0)]
