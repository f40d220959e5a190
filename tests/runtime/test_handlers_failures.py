"""Handlers that fail, take too long or fall behind: the failure is reported, and ends that call only."""

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from session_lifecycle import (
    ClockFailed,
    Halted,
    HandlerFailed,
    HandlerTimeoutError,
    SessionBoundaryManager,
    SessionState,
    StateChanged,
    SubscriberOverrun,
)
from session_lifecycle._runtime import app_tasks, handlers
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at
from tests.helpers.handlers import MORNING, NOON, OPEN, Boom, halted, listen
from tests.helpers.harness import (
    ACTIVE,
    DEAF,
    ENDED,
    ERROR,
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    POST_MARKET,
    PRE_MARKET,
    SECOND,
    TUESDAY,
    changes,
    make,
    need_asyncio,
    of,
    path,
    roll_nothing,
    run,
    running,
    season,
    states,
)

pytestmark = pytest.mark.anyio


# ---- failure ----


async def test_a_failure_is_told_and_nothing_else_breaks(caplog):
    """What a handler raises is a HandlerFailed and an ERROR with its traceback; others, and its next call, go on."""
    manager, clock = make(MORNING, name="desk")
    error = Boom("no broker")
    tries: list[SessionState] = []

    @manager.on(StateChanged)
    async def flatten(event: StateChanged) -> None:
        tries.append(event.dest)
        if event.dest is ACTIVE:
            await clock.sleep(MINUTE)
            raise error

    others = listen(manager, StateChanged)
    failures = listen(manager, HandlerFailed)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (22, 0)))
        (failed,) = of(HandlerFailed, log)
        opened = next(event for event in changes(log) if event.dest is ACTIVE)
        label = f"{__name__}.{flatten.__qualname__}"
        assert failed == HandlerFailed(label, error, opened, MONDAY, OPEN + MINUTE, name="desk")
        assert failures.events == [failed]
        assert failures.instants == [OPEN + MINUTE]
        assert tries == others.states == states(log)
        assert {event.lateness for event in changes(log)} == {NOW}
        assert path(log)[-1] == "roll"
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info[1] is error
    assert label in record.getMessage()
    assert "on StateChanged" in record.getMessage()
    assert "no broker" in caplog.text
    assert "in flatten" in caplog.text  # the traceback


async def test_a_handler_that_fails_before_its_first_wait_does_not_keep_the_next_from_starting():
    """A handler that raises at once leaves the order of the others as it is."""
    manager, clock = make(MORNING)

    @manager.on(PRE_MARKET)
    async def fail(event: StateChanged) -> None:
        raise Boom

    other = listen(manager, PRE_MARKET)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (9, 0)))
        assert other.states == [PRE_MARKET]
        assert [type(event.error) for event in of(HandlerFailed, log)] == [Boom]


async def test_a_handler_that_fails_on_failures_does_not_loop(caplog):
    """A handler of HandlerFailed that fails itself is logged and emitted, but no handler is called with that."""
    manager, clock = make(MORNING)
    tries: list[HandlerFailed] = []

    @manager.on(PRE_MARKET)
    async def first(event: StateChanged) -> None:
        raise Boom("first")

    @manager.on(HandlerFailed)
    async def second(event: HandlerFailed) -> None:
        tries.append(event)
        raise Boom("second")

    third = listen(manager, HandlerFailed)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (9, 0)))
        assert [str(event.error) for event in of(HandlerFailed, log)] == ["first", "second"]
        assert of(HandlerFailed, log)[:1] == tries == third.events
        assert path(log) == ["start_pre_market"]
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [str(record.exc_info[1]) for record in errors] == ["first", "second"]


async def test_a_group_of_errors_is_one_failure():
    """What a task group inside a handler raises is told as it is, an ExceptionGroup, and nothing else breaks."""
    manager, clock = make(MORNING)

    async def child() -> None:
        raise Boom

    @manager.on(PRE_MARKET)
    async def handler(event: StateChanged) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)
            tasks.start_soon(child)
            await anyio.sleep_forever()

    async with running(manager) as log:
        await clock.advance_to(OPEN)
        (failed,) = of(HandlerFailed, log)
        assert isinstance(failed.error, ExceptionGroup)
        assert {type(error) for error in failed.error.exceptions} == {Boom}
        assert manager.state is ACTIVE


async def test_an_error_that_counts_as_false_is_a_failure():
    """An exception that is falsy, as one with a length of zero is, is told like any other."""

    class Empty(Exception):
        def __len__(self) -> int:
            return 0

    manager, clock = make(MORNING)

    @manager.on(PRE_MARKET, timeout=HOUR)
    async def handler(event: StateChanged) -> None:
        raise Empty

    async with running(manager) as log:
        await clock.advance_to(OPEN)
        assert [type(event.error) for event in of(HandlerFailed, log)] == [Empty]


NATIVE = ["before its next wait", "after its last wait", "by awaiting a cancelled task", "from elsewhere"]


@pytest.mark.parametrize("how", NATIVE)
@pytest.mark.parametrize("limit", [None, HOUR])
async def test_a_native_cancellation_is_a_failure_of_that_call_alone(anyio_backend, how, limit):
    """A handler whose own task is cancelled natively has failed with CancelledError, and is called again next time."""
    need_asyncio(anyio_backend)
    manager, clock = make(MORNING)
    began: list[SessionState] = []

    async def sleep() -> None:
        await asyncio.sleep(60)

    @manager.on(StateChanged, timeout=limit)
    async def handler(event: StateChanged) -> None:
        began.append(event.dest)
        task = asyncio.current_task()
        if event.dest is not PRE_MARKET:
            return
        if how == "before its next wait":
            task.cancel()
            await asyncio.sleep(60)
        elif how == "after its last wait":
            await asyncio.sleep(0)
            task.cancel()
        elif how == "by awaiting a cancelled task":
            other = asyncio.ensure_future(sleep())
            await asyncio.sleep(0)
            other.cancel()
            await other
        else:
            asyncio.get_running_loop().call_soon(task.cancel)
            await asyncio.sleep(60)

    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (22, 0)))
        (failed,) = of(HandlerFailed, log)
        assert isinstance(failed.error, asyncio.CancelledError)
        assert failed.cause == changes(log)[0]
        assert began == states(log)
        assert path(log)[-1] == "roll"


async def test_a_native_cancellation_that_a_handler_swallows_does_not_spoil_its_timeout(anyio_backend):
    """A handler that was cancelled natively, went on, and then takes too long, is told as one that takes too long."""
    need_asyncio(anyio_backend)
    manager, clock = make(MORNING)

    @manager.on(PRE_MARKET, timeout=MINUTE)
    async def handler(event: StateChanged) -> None:
        asyncio.current_task().cancel()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await clock.sleep(HOUR)

    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (22, 0)))
        assert len(of(HandlerFailed, log)) == 1
        assert path(log)[-1] == "roll"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("limit", [None, HOUR])
def test_what_ends_the_program_propagates(anyio_backend, error, limit):
    """KeyboardInterrupt and SystemExit in a handler come out as themselves."""
    told: list[Any] = []

    async def main() -> None:
        manager, clock = make(MORNING)
        told.append(manager.events())

        @manager.on(PRE_MARKET, timeout=limit)
        async def handler(event: StateChanged) -> None:
            await anyio.lowlevel.checkpoint()
            raise error("stop everything")

        async with manager:
            await clock.advance(DAY)
            pytest.fail("the body must not go on")

    with pytest.raises(error):
        run(main, anyio_backend)
    assert not any(isinstance(event, HandlerFailed) for event in told[0]._events)


# ---- timeouts ----


async def test_a_handler_that_takes_too_long_is_cancelled_at_its_timeout(caplog):
    """At exactly its timeout, by the manager's clock, a call is cancelled, and told as HandlerTimeoutError."""
    manager, clock = make(MORNING)
    ends: list[datetime] = []

    @manager.on(PRE_MARKET, timeout=90 * SECOND)
    async def handler(event: StateChanged) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ends.append(clock.now())

    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (9, 1)) + 30 * SECOND - MICROSECOND)
        assert ends == []
        assert of(HandlerFailed, log) == []
        await clock.advance(MICROSECOND)
        due = at(MONDAY, (9, 0)) + 90 * SECOND
        assert ends == [due]
        (failed,) = of(HandlerFailed, log)
        assert isinstance(failed.error, HandlerTimeoutError)
        assert isinstance(failed.error, TimeoutError)
        assert (failed.error.handler, failed.error.seconds) == (failed.handler, 90.0)
        assert failed.observed_at == due
        assert failed.cause == log[0]
    assert "timeout of 90 s" in caplog.text


async def test_the_timeout_is_for_each_call():
    """Events that wait for a slow handler do not use up its timeout, which begins with the call."""
    manager, clock = make(at(MONDAY, (20, 59)))
    done: list[SessionState] = []

    @manager.on(StateChanged, timeout=50 * MINUTE, missed=True)
    async def handler(event: StateChanged) -> None:
        await clock.sleep(49 * MINUTE)
        done.append(event.dest)

    async with running(manager) as log:
        await clock.advance_to(at(TUESDAY, (8, 0)))
        assert done == [PRE_MARKET, ACTIVE, POST_MARKET, ENDED, NOT_STARTED]
        assert of(HandlerFailed, log) == []


async def test_a_handler_just_within_its_timeout_is_on_time():
    """A call that returns a microsecond before its timeout is no failure."""
    manager, clock = make(MORNING)
    done: list[datetime] = []

    @manager.on(PRE_MARKET, timeout=MINUTE)
    async def handler(event: StateChanged) -> None:
        await clock.sleep(MINUTE - MICROSECOND)
        done.append(clock.now())

    async with running(manager) as log:
        await clock.advance_to(OPEN)
        assert done == [at(MONDAY, (9, 1)) - MICROSECOND]
        assert of(HandlerFailed, log) == []


@pytest.mark.parametrize("waits", [0, 1, 5])
async def test_a_handler_that_ends_at_exactly_its_timeout_has_taken_too_long(waits):
    """Intervals are half-open: a call that lasts for exactly its timeout is told, whoever wakes first."""
    manager, clock = make(MORNING)

    @manager.on(PRE_MARKET, timeout=MINUTE)
    async def handler(event: StateChanged) -> None:
        for _ in range(waits):
            await anyio.lowlevel.checkpoint()
        await clock.sleep(MINUTE)

    async with running(manager) as log:
        await clock.advance_to(OPEN)
        (failed,) = of(HandlerFailed, log)
        assert isinstance(failed.error, HandlerTimeoutError)
        assert failed.observed_at == at(MONDAY, (9, 1))


async def test_a_handler_that_swallows_its_cancellation_is_told_all_the_same():
    """A handler that returns in spite of its cancellation was too late: told once it has returned, and called again."""
    manager, clock = make(MORNING)
    began: list[SessionState] = []

    @manager.on(StateChanged, timeout=MINUTE)
    async def handler(event: StateChanged) -> None:
        began.append(event.dest)
        if event.dest is PRE_MARKET:
            try:
                await clock.sleep(HOUR)
            except anyio.get_cancelled_exc_class():
                with anyio.CancelScope(shield=True):
                    await clock.sleep(MINUTE)

    async with running(manager) as log:
        await clock.advance_to(OPEN)
        (failed,) = of(HandlerFailed, log)
        assert isinstance(failed.error, HandlerTimeoutError)
        assert failed.observed_at == at(MONDAY, (9, 2))
        assert began == [PRE_MARKET, ACTIVE]


async def test_what_a_handler_raises_on_being_cancelled_is_told():
    """A handler that answers its cancellation with an error of its own has failed with that error."""
    manager, clock = make(MORNING)

    @manager.on(PRE_MARKET, timeout=MINUTE)
    async def handler(event: StateChanged) -> None:
        try:
            await clock.sleep(HOUR)
        except anyio.get_cancelled_exc_class() as cancelled:
            raise Boom from cancelled

    async with running(manager) as log:
        await clock.advance_to(OPEN)
        assert [type(event.error) for event in of(HandlerFailed, log)] == [Boom]


async def test_an_error_in_a_task_of_a_handler_on_being_cancelled_is_told():
    """Where one of a handler's own tasks fails on being cancelled, that is told, and does not end the manager."""
    manager, clock = make(MORNING)

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise Boom

    @manager.on(PRE_MARKET, timeout=MINUTE)
    async def handler(event: StateChanged) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)
            await anyio.sleep_forever()

    async with running(manager) as log:
        await clock.advance_to(OPEN)
        (failed,) = of(HandlerFailed, log)
        assert isinstance(failed.error, ExceptionGroup)
        assert [type(error) for error in failed.error.exceptions] == [Boom]
        assert manager.state is ACTIVE


async def test_a_handlers_own_timeout_error_is_told_as_it_is():
    """A TimeoutError of the handler's own making is not taken for the manager's."""
    manager, clock = make(MORNING)

    @manager.on(PRE_MARKET, timeout=MINUTE)
    async def handler(event: StateChanged) -> None:
        with anyio.fail_after(0):
            await anyio.sleep_forever()

    async with running(manager) as log:
        await clock.advance_to(OPEN)
        assert [type(event.error) for event in of(HandlerFailed, log)] == [TimeoutError]


async def test_without_a_timeout_a_handler_may_take_for_ever():
    """By default nothing is ever cancelled."""
    manager, clock = make(MORNING)
    done: list[datetime] = []

    @manager.on(PRE_MARKET)
    async def handler(event: StateChanged) -> None:
        await clock.sleep(30 * DAY)
        done.append(clock.now())

    async with running(manager) as log:
        await clock.advance(31 * DAY)
        assert done[0] == at(MONDAY, (9, 0)) + 30 * DAY
        assert of(HandlerFailed, log) == []


class BrokenSleep(SimulatedClock):
    """A clock whose `sleep` can be made to fail."""

    broken = False

    async def sleep(self, delta: timedelta) -> None:
        if self.broken:
            raise OSError("no such clock")
        await super().sleep(delta)


async def test_a_clock_that_cannot_time_a_handler_does_not_end_the_manager():
    """Where the clock's `sleep` fails, the call that it should have timed is cancelled and told as ClockFailed."""
    clock = BrokenSleep(MORNING)
    manager = SessionBoundaryManager(season(), roll_nothing, config=DEAF, clock=clock)
    clock.broken = True

    @manager.on(PRE_MARKET, timeout=MINUTE)
    async def handler(event: StateChanged) -> None:
        await anyio.sleep_forever()

    async with running(manager) as log:
        await clock.advance_to(OPEN)
        (failed,) = of(HandlerFailed, log)
        assert isinstance(failed.error, ClockFailed)
        assert manager.state is ACTIVE


async def test_a_failing_clock_calls_the_handlers_of_error_at_once():
    """Where the clock fails the state is ERROR, and the handlers of ERROR are called while it still fails."""

    class Fragile(SimulatedClock):
        failing = False

        def now(self) -> datetime:
            if self.failing:
                raise OSError("no such clock")
            return super().now()

    clock = Fragile(MORNING)
    manager = SessionBoundaryManager(season(), roll_nothing, config=DEAF, clock=clock)
    heard: list[SessionState] = []
    called = anyio.Event()

    @manager.on(ERROR)
    async def handler(event: StateChanged) -> None:
        heard.append(event.dest)
        called.set()

    async with manager:
        clock.failing = True
        manager.record_data_received()
        manager._driver.wake(manager._host)
        with anyio.fail_after(30):
            await called.wait()
        assert heard == [ERROR]
        clock.failing = False


# ---- too many events ----


@pytest.fixture
def limit(monkeypatch) -> int:
    """Have a handler fall behind at a hundred waiting events instead of ten thousand, and return that number."""
    few = 100
    for module in (handlers, app_tasks):
        assert module.LIMIT == 10_000
        monkeypatch.setattr(module, "LIMIT", few)
    return few


async def test_a_handler_that_cannot_keep_up_is_told(caplog, limit):
    """A handler that leaves too many events waiting is told as failed while it is still busy, and gets that many."""
    manager, clock = make(NOON)
    heard: list[str] = []
    released = anyio.Event()

    @manager.on(Halted)
    async def slow(event: Halted) -> None:
        heard.append(event.reason)
        if len(heard) == 1:
            await released.wait()

    failures = listen(manager, HandlerFailed)
    async with manager:
        await clock.advance(NOW)
        manager.halt("the first")
        await clock.advance(NOW)
        assert heard == ["the first"]
        for number in range(limit + 5):
            manager._host.broadcast.publish(halted(number))
        manager.resume()
        await clock.advance(NOW)
        (failed,) = failures.events
        assert isinstance(failed.error, SubscriberOverrun)
        assert (failed.cause, failed.handler) == (None, f"{__name__}.{slow.__qualname__}")
        assert heard == ["the first"]
        released.set()
        await clock.advance(NOW)
        assert heard == ["the first", *(f"number {number}" for number in range(limit))]
        assert len(failures.events) == 1
        manager.halt("it is called again")
        await clock.advance(NOW)
        assert heard[-1] == "it is called again"
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


async def test_an_overrun_before_the_first_call_is_told_too(limit):
    """Events that come faster than anything can run are told as an overrun, and those that fit are seen to."""
    manager, clock = make(NOON)
    calls = listen(manager, Halted)
    failures = listen(manager, HandlerFailed)
    async with manager:
        await clock.advance(NOW)
        for number in range(limit + 5):
            manager._host.broadcast.publish(halted(number))
        manager.halt("and one more")
        await clock.advance(NOW)
        assert [event.reason for event in calls.events] == [f"number {number}" for number in range(limit)]
        assert [type(event.error) for event in failures.events] == [SubscriberOverrun]


async def test_an_overrun_of_what_listens_to_failures_does_not_loop(limit):
    """A handler of HandlerFailed that cannot keep up is told of once, which it cannot be told itself."""
    manager, clock = make(NOON)
    released = anyio.Event()
    heard: list[HandlerFailed] = []

    @manager.on(HandlerFailed)
    async def slow(event: HandlerFailed) -> None:
        heard.append(event)
        await released.wait()

    other = listen(manager, HandlerFailed)
    async with manager:
        await clock.advance(NOW)
        for batch in range(2):
            for number in range(limit // 2 + 5):
                manager._host.broadcast.publish(HandlerFailed(f"{batch} {number}", Boom()))
            manager.halt("to be looked at")
            manager.resume()
            await clock.advance(NOW)
        assert len(heard) == 1
        assert [event for event in other.events if isinstance(event.error, SubscriberOverrun)] == [other.events[-1]]
        released.set()
        await clock.advance(NOW)
        assert len(heard) == 1 + limit
