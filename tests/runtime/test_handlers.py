"""Handlers: the application's own functions, called with the events they are for, and never in the machine's way."""

import asyncio
import functools
import logging
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, get_args
from unittest.mock import AsyncMock

import anyio
import anyio.lowlevel
import pytest

from session_lifecycle import (
    AlarmFired,
    AlarmSkipped,
    BreakEnded,
    BreakStarted,
    ClockFailed,
    ClockStepped,
    ConfigurationError,
    Event,
    FeedResumed,
    FeedStale,
    FixedSchedule,
    Halted,
    HandlerFailed,
    HandlerTimeoutError,
    HorizonNear,
    LifecycleConfig,
    ManagerStopped,
    MissedSessions,
    ReentrancyError,
    Resolution,
    Resumed,
    RetryPolicy,
    RollFailed,
    RollStarted,
    RollSucceeded,
    ScheduleChanged,
    ScheduleExhausted,
    Session,
    SessionBoundaryManager,
    SessionState,
    SpecialHours,
    StateChanged,
    SubscriberOverrun,
    SystemClock,
    UnexpectedData,
)
from session_lifecycle._runtime.subscriptions import LIMIT
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at, session, week
from tests.helpers.harness import (
    ACTIVE,
    DEAF,
    ENDED,
    ERROR,
    FRIDAY,
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    POST_MARKET,
    PRE_MARKET,
    SECOND,
    THURSDAY,
    TIMEOUT,
    TUESDAY,
    WEDNESDAY,
    changes,
    make,
    make_rolling,
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

LUNCH = FixedSchedule([session(MONDAY, breaks=(((17, 0), (18, 0)),)), session(TUESDAY)])
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


# ---- what a handler is called with ----


async def test_every_state_calls_its_handlers_with_each_entry():
    """Through a day with a silence, a failure and a roll, each state's handler gets the entries into it alone."""
    manager, clock = make(MORNING, config=LifecycleConfig(data_timeout=5 * MINUTE))
    heard = {state: listen(manager, state) for state in SessionState}
    async with running(manager) as log:
        await clock.advance_to(OPEN + 6 * MINUTE)
        manager.record_data_received()
        await clock.advance(MINUTE)
        manager.fail("sunspots")
        await clock.advance(MINUTE)
        await manager.recover()
        await clock.advance_to(at(MONDAY, (22, 0)))
        assert {event.dest for event in changes(log)} == set(SessionState)
        for state, calls in heard.items():
            entries = [event for event in changes(log) if event.dest is state]
            holds = [event for event in entries if not event.catch_up or state is ACTIVE]  # ACTIVE is where a walk ends
            assert calls.events == holds
            assert calls.instants == [event.observed_at for event in holds]


async def test_every_class_of_event_calls_its_handlers():
    """A day with everything in it: each class's handler gets all events of the class, in order, and no other."""
    config = LifecycleConfig(data_timeout=5 * MINUTE, roll_retry=RetryPolicy(attempts=2))
    fails = [Boom("first attempt")]

    async def roll(next_date: date) -> None:
        if fails:
            raise fails.pop()

    manager, clock = make(at(MONDAY, (10, 0)), schedule=LUNCH, config=config, roll_session=roll)
    heard = {kind: listen(manager, kind, missed=True) for kind in get_args(Event)}
    manager.at("pre_market_start", -30 * MINUTE)(Calls())
    manager.at("open", MINUTE)(Calls())

    @manager.on(ACTIVE)
    async def fail(event: StateChanged) -> None:
        raise Boom

    feed = manager.add_feed("trades")
    async with running(manager) as log:
        await clock.advance_to(OPEN + 6 * MINUTE)
        feed.record()
        manager.halt("news pending")
        manager.resume()
        await clock.advance(SECOND)
        clock.step(2 * SECOND)
        manager.apply(SpecialHours(TUESDAY, close=time(20)))
        await clock.advance_to(at(TUESDAY, (2, 0)))
        feed.record()
        await clock.advance(NOW)
        assert {type(event) for event in log} == set(get_args(Event)) == set(heard)
        for kind, calls in heard.items():
            assert calls.events == of(kind, log)


KINDS = {
    StateChanged,
    BreakStarted,
    BreakEnded,
    RollStarted,
    RollSucceeded,
    RollFailed,
    ClockStepped,
    HorizonNear,
    AlarmFired,
    AlarmSkipped,
    HandlerFailed,
    FeedStale,
    FeedResumed,
    Halted,
    Resumed,
    ScheduleChanged,
    UnexpectedData,
}


async def test_every_class_of_event_may_be_asked_for():
    """`on` takes each class that is part of `Event`, and this list is all of them."""
    assert set(get_args(Event)) == KINDS
    manager, _ = make(MORNING)
    for kind in KINDS:
        manager.on(kind)(roll_nothing)


async def test_states_of_zero_width_are_told_on_time():
    """On a venue that never sleeps the close, the end and the next open are one instant, and each handler is called."""
    days = [MONDAY + n * DAY for n in range(3)]
    always = FixedSchedule([Session(day, at(day, (0, 0)), at(day + DAY, (0, 0))) for day in days])
    manager, clock = make(at(MONDAY, (12, 0)), schedule=always)
    heard = {state: listen(manager, state) for state in SessionState}
    async with running(manager):
        await clock.advance_to(at(TUESDAY, (12, 0)))
        midnight = at(TUESDAY, (0, 0))
        for state in (POST_MARKET, ENDED, NOT_STARTED, PRE_MARKET, ACTIVE):
            (event,) = [event for event in heard[state].events if event.observed_at == midnight]
            assert not event.catch_up
            assert midnight in heard[state].instants


async def test_a_handler_is_called_for_all_it_is_registered_for():
    """One function may be registered for several things, and twice for one, and is called for each registration."""
    manager, clock = make(MORNING)
    calls = Calls(clock)
    for what in (PRE_MARKET, PRE_MARKET, ACTIVE, StateChanged):
        assert manager.on(what)(calls) is calls
    async with running(manager):
        await clock.advance_to(OPEN)
        assert calls.states == [PRE_MARKET] * 3 + [ACTIVE] * 2


# ---- order ----


async def test_handlers_of_one_event_start_in_order_up_to_their_first_wait():
    """Handlers of one event start in the order of their registration, each up to its first wait, before any goes on."""
    manager, clock = make(MORNING)
    order: list[str] = []

    def register(number: int) -> None:
        @manager.on(PRE_MARKET if number % 2 else StateChanged, timeout=HOUR if number % 3 else None)
        async def handler(event: StateChanged) -> None:
            order.append(f"start {number}")
            await clock.sleep(SECOND)
            order.append(f"end {number}")

    for number in range(20):
        register(number)
    async with running(manager):
        await clock.advance_to(at(MONDAY, (9, 0)))
        assert order == [f"start {number}" for number in range(20)]
        await clock.advance(SECOND)
        assert sorted(order[20:]) == sorted(f"end {number}" for number in range(20))


async def test_a_handler_gets_events_in_order_one_after_the_other():
    """A handler slower than the day is called for each event in turn, never twice at a time, and misses none."""
    manager, clock = make(MORNING)
    begun: list[StateChanged] = []
    busy = [0]
    most = [0]

    @manager.on(StateChanged)
    async def slow(event: StateChanged) -> None:
        begun.append(event)
        busy[0] += 1
        most[0] = max(most[0], busy[0])
        await clock.sleep(7 * HOUR)
        busy[0] -= 1

    async with running(manager) as log:
        await clock.advance_to(at(THURSDAY, (0, 0)))
        assert len(begun) < len(changes(log)) == 15
        await clock.advance_to(at(FRIDAY, (8, 0)))
        assert begun == changes(log)[: len(begun)]
        assert len(begun) >= 14
        assert most == [1]


async def test_a_slow_handler_delays_neither_the_machine_nor_others():
    """While a handler sleeps for days, each boundary is met on time, and so is every other handler."""
    manager, clock = make(MORNING)

    @manager.on(PRE_MARKET)
    async def slow(event: StateChanged) -> None:
        await clock.sleep(30 * DAY)

    others = listen(manager, StateChanged)
    async with running(manager) as log:
        await clock.advance_to(at(FRIDAY, (8, 0)))
        assert len(changes(log)) == 20
        assert {event.lateness for event in changes(log)} == {NOW}
        assert others.events == changes(log)
        assert others.instants == [event.scheduled_at for event in changes(log)]


async def test_handlers_follow_the_roll_in_order():
    """Handlers of the roll's events are called as it goes: begun, failed, begun anew, done, and the session rolled."""
    manager, clock, _ = make_rolling(at(MONDAY, (21, 0)), Boom(), MINUTE)
    calls = Calls(clock)
    for kind in (RollStarted, RollFailed, RollSucceeded, NOT_STARTED):
        manager.on(kind)(calls)
    async with running(manager):
        await clock.advance(HOUR)
        end = at(MONDAY, (21, 30))
        assert [(type(event), when - end) for event, when in zip(calls.events, calls.instants, strict=True)] == [
            (RollStarted, NOW),
            (RollFailed, NOW),
            (RollStarted, SECOND),
            (RollSucceeded, SECOND + MINUTE),
            (StateChanged, SECOND + MINUTE),
        ]


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
    """A handler of HandlerFailed that fails itself is logged, and not told again, or it would never end."""
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
        assert of(HandlerFailed, log) == tries == third.events
        assert [str(event.error) for event in tries] == ["first"]
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


# ---- what may be registered ----


def unwritable(event: object) -> None:
    """Be no handler: it is not async."""


class Desk:
    """Handlers in all the forms that methods have."""

    heard: list[str]

    def __init__(self) -> None:
        self.heard = []

    async def method(self, event: StateChanged) -> None:
        self.heard.append(f"method {event.dest.name}")

    async def named(self, name: str, event: StateChanged, *, also: str) -> None:
        self.heard.append(f"{name} {also} {event.dest.name}")

    async def __call__(self, event: StateChanged) -> None:
        self.heard.append(f"object {event.dest.name}")

    @staticmethod
    async def static(event: StateChanged) -> None:
        raise Boom

    def blocking(self, event: StateChanged) -> None:
        """Be no handler."""


class Blocking:
    """An object that is called, and not async."""

    def __call__(self, event: object) -> None:
        """Be no handler."""


async def test_all_that_is_async_and_callable_will_do():
    """Bound and static methods, callable objects, partials of those and mocks are handlers, and are given back."""
    manager, clock = make(MORNING)
    desk, mock = Desk(), AsyncMock()
    for handler in (
        desk.method,
        desk,
        functools.partial(desk.named, "partial", also="of a method"),
        functools.partial(functools.partial(desk.named, "partial"), also="of a partial"),
        functools.partial(desk),
        Desk.static,
        mock,
    ):
        assert manager.on(PRE_MARKET)(handler) is handler
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (9, 0)))
        assert desk.heard == [
            "method PRE_MARKET",
            "object PRE_MARKET",
            "partial of a method PRE_MARKET",
            "partial of a partial PRE_MARKET",
            "object PRE_MARKET",
        ]
        mock.assert_awaited_once_with(changes(log)[0])
        assert [event.handler for event in of(HandlerFailed, log)] == [f"{__name__}.Desk.static"]


async def test_failures_name_the_handler_whatever_it_is():
    """A failure names a partial's function, and an object's class."""
    manager, clock = make(MORNING)

    class Failing:
        async def __call__(self, event: StateChanged) -> None:
            raise Boom

    manager.on(PRE_MARKET)(functools.partial(Desk.static))
    manager.on(PRE_MARKET)(Failing())
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (9, 0)))
        assert [event.handler for event in of(HandlerFailed, log)] == [
            f"{__name__}.Desk.static",
            f"{__name__}.{Failing.__qualname__}",
        ]


@pytest.mark.parametrize(
    "function",
    [unwritable, lambda event: None, functools.partial(unwritable), Blocking(), Desk().blocking, 42, None, "flatten"],
    ids=["function", "lambda", "partial", "object", "method", "number", "None", "str"],
)
async def test_what_is_not_async_is_refused(function):
    """A handler that would block the event loop, or cannot be called, is a TypeError when it is registered."""
    manager, _ = make(MORNING)
    with pytest.raises(TypeError, match=r"a handler must be.* async"):
        manager.on(ACTIVE)(function)
    assert manager._host.handlers == ()


async def test_what_only_shows_at_the_call_is_a_failure():
    """A callable that cannot be seen not to be async, and returns nothing to await, fails when it is called."""
    manager, clock = make(MORNING)
    seen: list[Event] = []
    manager.on(PRE_MARKET)(seen.append)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (9, 0)))
        (failed,) = of(HandlerFailed, log)
        assert isinstance(failed.error, TypeError)
        assert "returned None, which cannot be awaited: make it async" in str(failed.error)
        assert seen == [log[0]]


@pytest.mark.parametrize(
    "what", ["ACTIVE", 2, None, object, Event, Boom, SessionState, [ACTIVE], roll_nothing, StateChanged | RollFailed]
)
async def test_what_is_neither_a_state_nor_an_event_is_refused(what):
    """`on` takes a SessionState or a class of event, and says so."""
    manager, _ = make(MORNING)
    with pytest.raises(TypeError, match="SessionState or an event class"):
        manager.on(what)


@pytest.mark.parametrize("limit", [NOW, -SECOND, 5, 5.0, "5"])
async def test_a_bad_timeout_is_refused(limit):
    """A timeout is a timedelta above zero."""
    manager, _ = make(MORNING)
    with pytest.raises(ConfigurationError, match="timeout"):
        manager.on(ACTIVE, timeout=limit)


# ---- when it is registered ----


async def test_a_handler_registered_while_running_hears_what_comes():
    """A handler registered while the manager runs is called from the next event on, not for the present state."""
    manager, clock = make(at(MONDAY, (10, 0)))
    async with running(manager):
        calls = [listen(manager, what, missed=True) for what in (PRE_MARKET, ACTIVE, StateChanged)]
        await clock.advance_to(OPEN)
        assert [each.states for each in calls] == [[], [ACTIVE], [ACTIVE]]


async def test_a_handler_registered_from_inside_a_handler_hears_what_comes():
    """A handler may register another, which is called from the next event on."""
    manager, clock = make(MORNING)
    inner: list[Calls] = []

    @manager.on(PRE_MARKET)
    async def outer(event: StateChanged) -> None:
        inner.append(listen(manager, StateChanged))

    async with running(manager):
        await clock.advance_to(at(MONDAY, (21, 0)))
        assert [calls.states for calls in inner] == [[ACTIVE, POST_MARKET]]


async def test_a_handler_cannot_be_registered_after_the_end():
    """Once the manager has stopped, registering a handler is a ManagerStopped."""
    manager, _ = make(NOON)
    decorate = manager.on(ACTIVE)
    async with manager:
        pass
    for register in (decorate, manager.on(ACTIVE), manager.on(StateChanged)):
        with pytest.raises(ManagerStopped, match=r"on\(\)"):
            register(roll_nothing)


async def test_a_start_that_fails_calls_nobody():
    """Where the manager cannot be started, no handler is called."""
    manager, _ = make(at(FRIDAY, (22, 0)), schedule=week())
    calls = [listen(manager, kind) for kind in get_args(Event)]
    with pytest.raises(ScheduleExhausted):
        async with manager:
            pytest.fail("the body must not run")
    assert [each.events for each in calls if each.events] == []


# ---- catching up ----


async def test_a_late_start_calls_handlers_only_for_what_holds():
    """At 11:00 in New York the handler of PRE_MARKET is called with `missed` only, and that of ACTIVE, as catch-up."""
    manager, _ = make(NOON)
    passed, asked = listen(manager, PRE_MARKET), listen(manager, PRE_MARKET, missed=True)
    holds, every = listen(manager, ACTIVE), listen(manager, StateChanged)
    each = listen(manager, StateChanged, missed=True)
    async with running(manager) as log:
        before, opened = changes(log)
        assert passed.events == []
        assert asked.events == [before]
        assert holds.events == every.events == [opened]
        assert each.events == [before, opened]
        assert before.catch_up
        assert opened.catch_up


async def test_a_suspend_calls_handlers_only_for_what_holds():
    """After a night's suspend handlers are called for where the catch-up pauses: at the roll, and at its end."""
    manager, clock = make(MORNING)
    heard, every = listen(manager, StateChanged), listen(manager, StateChanged, missed=True)
    async with running(manager) as log:
        await clock.advance_to(NOON)
        heard.events.clear()
        every.events.clear()
        clock.step(DAY)
        await clock.advance(NOW)
        assert [(event.session, event.dest) for event in heard.events] == [(MONDAY, ENDED), (TUESDAY, ACTIVE)]
        assert every.events == changes(log)[2:]
        assert [event.dest for event in every.events] == [POST_MARKET, ENDED, NOT_STARTED, PRE_MARKET, ACTIVE]
        assert all(event.catch_up for event in every.events)


@pytest.mark.parametrize("roll_time", [None, SECOND])
async def test_a_catch_up_over_several_sessions_calls_handlers_only_for_what_holds(roll_time):
    """Under EACH no handler is called for an open long over; each ENDED holds while its roll is awaited, if briefly."""
    manager, clock, rolls = make_rolling(
        at(THURSDAY, (16, 0)), *[roll_time] * 3, session=MONDAY, missed_sessions=MissedSessions.EACH
    )
    heard = {state: listen(manager, state) for state in SessionState}
    every = {state: listen(manager, state, missed=True) for state in SessionState}
    async with running(manager):
        await clock.advance(MINUTE)
        assert rolls.done == [TUESDAY, WEDNESDAY, THURSDAY]
        days = {state: [event.session for event in calls.events] for state, calls in heard.items() if calls.events}
        assert days == {ENDED: [MONDAY, TUESDAY, WEDNESDAY], ACTIVE: [THURSDAY]}
        walked = [MONDAY, TUESDAY, WEDNESDAY, THURSDAY]
        missed = {state: [event.session for event in calls.events] for state, calls in every.items() if calls.events}
        assert missed == {
            NOT_STARTED: walked[1:],
            PRE_MARKET: walked,
            ACTIVE: walked,
            POST_MARKET: walked[:-1],
            ENDED: walked[:-1],
        }


@pytest.mark.parametrize(
    ("start", "held"),
    [
        ((16, 59), []),
        ((17, 1), [BreakStarted]),
        ((18, 1), [BreakEnded]),
        ((21, 1), []),
    ],
)
async def test_breaks_in_a_catch_up(start, held):
    """In a catch-up a break's start is told to handlers while it lasts, its end while the market is open after it."""
    manager, _ = make(at(MONDAY, start), schedule=LUNCH)
    heard = Calls()
    for kind in (BreakStarted, BreakEnded):
        manager.on(kind)(heard)
    missed = Calls()
    for kind in (BreakStarted, BreakEnded):
        manager.on(kind, missed=True)(missed)
    async with running(manager) as log:
        assert [type(event) for event in heard.events] == held
        assert all(event.catch_up for event in heard.events)
        assert missed.events == [event for event in log if isinstance(event, BreakStarted | BreakEnded)]


async def test_the_breaks_of_a_day_on_time():
    """A break's start and end call their handlers on time."""
    manager, clock = make(MORNING, schedule=LUNCH)
    starts, ends = listen(manager, BreakStarted), listen(manager, BreakEnded)
    async with running(manager):
        await clock.advance_to(at(MONDAY, (20, 0)))
        assert (starts.instants, ends.instants) == ([at(MONDAY, (17, 0))], [at(MONDAY, (18, 0))])


async def test_what_the_handler_is_too_busy_for_at_the_time_is_not_lost():
    """What held when a catch-up paused is told to a handler that was busy then, once it is free."""
    manager, clock = make(MORNING)
    heard: list[tuple[date, SessionState, bool]] = []

    @manager.on(StateChanged)
    async def slow(event: StateChanged) -> None:
        heard.append((event.session, event.dest, event.catch_up))
        await clock.sleep(10 * HOUR)

    async with running(manager):
        await clock.advance_to(at(MONDAY, (10, 0)))
        clock.step(6 * HOUR)
        await clock.advance(2 * DAY)
        assert heard[:3] == [(MONDAY, PRE_MARKET, False), (MONDAY, ACTIVE, True), (MONDAY, POST_MARKET, False)]


async def test_a_walk_after_recover_calls_handlers_as_a_catch_up_does():
    """recover() walks the session anew: handlers are called for the state that it leads to, again."""
    manager, clock = make(MORNING)
    passed, holds = listen(manager, PRE_MARKET), listen(manager, ACTIVE)
    every = listen(manager, PRE_MARKET, missed=True)
    started = listen(manager, NOT_STARTED)
    async with running(manager):
        await clock.advance_to(NOON)
        manager.fail("sunspots")
        await clock.advance(MINUTE)
        await manager.recover()
        await clock.advance(NOW)
        assert [event.catch_up for event in passed.events] == [False]
        assert [event.catch_up for event in every.events] == [False, True]
        assert [event.catch_up for event in holds.events] == [False, True]
        assert started.states == [NOT_STARTED]  # the edge of recover() is its own, and on time


# ---- calls from inside ----


async def test_everything_can_be_read_inside_a_handler():
    """Inside a handler all reads work, and tell of the event's own state where it is called at once."""
    manager, clock = make(MORNING)
    found: list[Any] = []

    @manager.on(ACTIVE)
    async def handler(event: StateChanged) -> None:
        found.extend(
            (
                manager.state,
                manager.scheduled_state,
                manager.session.date,
                manager.can_trade,
                manager.on_break,
                manager.halted,
                manager.next_boundary,
                manager.status().state,
                manager.clock.now(),
            )
        )

    async with running(manager):
        await clock.advance_to(OPEN)
    assert found == [ACTIVE, ACTIVE, MONDAY, True, False, None, at(MONDAY, (21, 0)), ACTIVE, OPEN]


async def test_data_inside_a_handler_ends_the_silence():
    """A handler of TIMEOUT may record data, and the session is ACTIVE before that call returns."""
    manager, clock = make(MORNING, config=LifecycleConfig(data_timeout=5 * MINUTE))
    found: list[SessionState] = []

    @manager.on(TIMEOUT)
    async def reconnect(event: StateChanged) -> None:
        manager.record_data_received()
        found.append(manager.state)

    async with running(manager) as log:
        await clock.advance_to(OPEN + 6 * MINUTE)
        assert found == [ACTIVE]
        assert path(log)[2:] == ["data_timeout", "data_resumed"]


async def test_fail_and_recover_inside_handlers_work():
    """A handler may fail the manager, and another recover it."""
    manager, clock = make(MORNING)
    recovered: list[datetime] = []
    tries = Counter[SessionState]()

    @manager.on(ACTIVE)
    async def check(event: StateChanged) -> None:
        tries[ACTIVE] += 1
        if tries[ACTIVE] == 1:
            manager.fail("no permissions")
            assert manager.state is ERROR

    @manager.on(ERROR)
    async def mend(event: StateChanged) -> None:
        assert event.reason == "no permissions"
        await clock.sleep(MINUTE)
        await manager.recover(Resolution.RETRY)
        recovered.append(clock.now())

    async with running(manager) as log:
        await clock.advance_to(NOON)
        assert path(log)[1:] == ["open_market", "fail", "recover", "start_pre_market", "open_market"]
        assert recovered == [OPEN + MINUTE]
        assert tries[ACTIVE] == 2
        assert of(HandlerFailed, log) == []


async def test_end_session_inside_a_handler_works():
    """A handler may end the session, which is rolled while that handler goes on."""
    manager, clock = make(MORNING)
    found: list[date] = []

    @manager.on(ACTIVE)
    async def holiday(event: StateChanged) -> None:
        manager.end_session("nobody is here")
        await clock.sleep(SECOND)
        found.append(manager.session.date)

    async with running(manager) as log:
        await clock.advance_to(NOON)
        assert path(log) == ["start_pre_market", "open_market", "close_market", "end_session", "roll"]
        assert found == [TUESDAY]


async def test_wait_for_inside_a_handler_works():
    """A handler may wait for a later state, which the manager enters all the same, and for other readers' events."""
    manager, clock = make(MORNING)
    waited: list[tuple[SessionState, datetime]] = []

    @manager.on(PRE_MARKET)
    async def handler(event: StateChanged) -> None:
        waited.append((await manager.wait_for(POST_MARKET), clock.now()))
        events = manager.events()
        async for other in events:
            if isinstance(other, RollSucceeded):
                break
        waited.append((manager.state, clock.now()))

    async with running(manager):
        await clock.advance_to(at(MONDAY, (22, 0)))
        assert waited == [(POST_MARKET, at(MONDAY, (21, 0))), (NOT_STARTED, at(MONDAY, (21, 30)))]


async def test_roll_inside_a_handler_works():
    """Where the roll is by hand, a handler of ENDED may await it."""
    manager, clock, rolls = make_rolling(at(MONDAY, (21, 0)), MINUTE, auto_roll=False)
    done: list[RollSucceeded] = []

    @manager.on(ENDED)
    async def roll(event: StateChanged) -> None:
        done.append(await manager.roll())

    async with running(manager) as log:
        await clock.advance(HOUR)
        assert rolls.dates == [TUESDAY]
        assert done == of(RollSucceeded, log)


@pytest.mark.parametrize("call", ["advance", "advance_to"])
async def test_advancing_simulated_time_inside_a_handler_is_refused(call):
    """Simulated time waits for handlers, so one that advances it would wait for itself: a ReentrancyError at once."""
    manager, clock = make(MORNING)

    @manager.on(PRE_MARKET)
    async def handler(event: StateChanged) -> None:
        await (clock.advance(HOUR) if call == "advance" else clock.advance_to(NOON))

    async with running(manager) as log:
        await clock.advance_to(OPEN)
        assert [type(event.error) for event in of(HandlerFailed, log)] == [ReentrancyError]


async def test_advance_returns_only_when_handlers_have_done_what_is_due():
    """When `advance` returns, handlers have gone as far as they can by then, chains of them included."""
    manager, clock = make(MORNING)
    done: list[str] = []

    @manager.on(PRE_MARKET)
    async def first(event: StateChanged) -> None:
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
        await clock.sleep(MINUTE)
        manager.fail("by the first")

    @manager.on(ERROR)
    async def second(event: StateChanged) -> None:
        await anyio.lowlevel.checkpoint()
        done.append(event.reason)

    async with running(manager):
        await clock.advance_to(at(MONDAY, (9, 1)))
        assert done == ["by the first"]


# ---- leaving ----


async def test_stop_inside_a_handler_ends_the_manager_after_it():
    """stop() from inside a handler ends the manager once the handlers have done what they have been told."""
    manager, clock = make(MORNING)
    done: list[str] = []

    @manager.on(PRE_MARKET)
    async def handler(event: StateChanged) -> None:
        manager.stop()
        await clock.sleep(MINUTE)
        done.append("first")

    @manager.on(PRE_MARKET)
    async def other(event: StateChanged) -> None:
        await clock.sleep(2 * MINUTE)
        done.append("second")

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            await tasks.start(manager.run)
            await clock.advance_to(at(MONDAY, (9, 0)))
    assert done == ["first", "second"]
    assert clock.now() == at(MONDAY, (9, 2))
    assert manager.state is PRE_MARKET


async def test_leaving_lets_handlers_finish_what_they_were_told():
    """On leaving, a handler finishes its call, and is called for all that had been told, though time must pass."""
    manager, clock = make(MORNING)
    done: list[tuple[SessionState, datetime]] = []

    @manager.on(StateChanged)
    async def slow(event: StateChanged) -> None:
        await clock.sleep(20 * HOUR)
        done.append((event.dest, clock.now()))

    async with running(manager):
        await clock.advance_to(NOON)
        manager.fail("the last thing")
    first = at(MONDAY, (9, 0)) + 20 * HOUR
    assert done == [(PRE_MARKET, first), (ACTIVE, first + 20 * HOUR), (ERROR, first + 40 * HOUR)]


async def test_leaving_at_once_calls_the_handlers_of_the_start():
    """A manager that is left before anything else ran has told what it caught up with, and its handlers are called."""
    manager, _ = make(NOON)
    calls = listen(manager, StateChanged, missed=True)
    last = listen(manager, ERROR)
    async with manager:
        manager.fail("in the same breath")
    assert calls.states == [PRE_MARKET, ACTIVE, ERROR]
    assert last.states == [ERROR]


async def test_leaving_waits_for_the_handlers_of_the_last_roll():
    """A roll under way on leaving ends, and the handlers of what it brings about are called."""
    manager, clock, _ = make_rolling(at(MONDAY, (21, 0)), MINUTE)
    calls = listen(manager, RollSucceeded)
    async with running(manager):
        await clock.advance_to(at(MONDAY, (21, 30)))
    assert [event.next_session for event in calls.events] == [TUESDAY]


@pytest.mark.parametrize("what", ["wait_for", "events", "during"])
async def test_a_handler_that_waits_for_the_manager_does_not_keep_it_from_leaving(what):
    """A handler that waits for what will not come is told on leaving that the manager has stopped."""
    manager, clock = make(MORNING)
    ended: list[str] = []

    @manager.on(PRE_MARKET)
    async def handler(event: StateChanged) -> None:
        if what == "wait_for":
            with pytest.raises(ManagerStopped):
                await manager.wait_for(ENDED)
        elif what == "events":
            async for _ in manager.events():
                pass
        else:
            async with manager.during(PRE_MARKET):
                await anyio.sleep_forever()
            with pytest.raises(ManagerStopped):
                async with manager.during(ACTIVE):
                    pytest.fail("the manager has stopped")
        ended.append(what)

    with anyio.fail_after(30):
        async with running(manager):
            await clock.advance_to(at(MONDAY, (10, 0)))
            assert ended == []
    assert ended == [what]


async def test_a_failure_while_leaving_is_logged(caplog):
    """A handler that fails on the way out is logged, and leaving goes on."""
    manager, clock = make(MORNING)
    done: list[str] = []

    @manager.on(PRE_MARKET)
    async def fail(event: StateChanged) -> None:
        await manager.wait_for(ENDED)

    @manager.on(PRE_MARKET)
    async def last(event: StateChanged) -> None:
        await clock.sleep(DAY)
        done.append("last")

    async with running(manager):
        await clock.advance_to(at(MONDAY, (10, 0)))
    assert done == ["last"]
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert isinstance(record.exc_info[1], ManagerStopped)


@pytest.mark.parametrize("how", ["error", "cancellation"])
async def test_an_error_of_the_body_cancels_handlers(how):
    """Leaving by an error or a cancellation cancels handlers, and calls none for what still waits."""
    manager, clock = make(MORNING)
    began: list[SessionState] = []
    ended: list[str] = []

    @manager.on(StateChanged)
    async def slow(event: StateChanged) -> None:
        began.append(event.dest)
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")

    async def body() -> None:
        async with manager:
            await clock.advance_to(NOON)
            assert (manager.state, ended) == (ACTIVE, [])
            if how == "error":
                raise Boom
            scope.cancel()
            await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        if how == "error":
            with pytest.raises(Boom):
                await body()
        else:
            await body()
    assert scope.cancelled_caught == (how == "cancellation")
    assert (began, ended) == ([PRE_MARKET], ["cancelled"])


async def test_an_error_of_the_body_is_not_hidden_by_a_handler_that_fails_on_being_cancelled(caplog):
    """The body's own error comes out, where a handler fails on being cancelled by it; that is logged, and all ends."""
    manager, clock = make(MORNING)
    began: list[SessionState] = []

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise Boom("the handler's")

    @manager.on(StateChanged)
    async def slow(event: StateChanged) -> None:
        began.append(event.dest)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)
            await anyio.sleep_forever()

    async def body() -> None:
        async with manager:
            await clock.advance_to(NOON)
            raise Boom("the body's")

    with pytest.raises(Boom, match="the body's"):
        await body()
    assert began == [PRE_MARKET]
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert isinstance(record.exc_info[1], ExceptionGroup)


async def test_a_handler_with_a_timeout_does_not_hold_up_leaving():
    """On leaving, a handler that would never return is cancelled at its timeout, and time passes by itself."""
    manager, clock = make(MORNING)
    ends: list[datetime] = []

    @manager.on(PRE_MARKET, timeout=3 * HOUR)
    async def stuck(event: StateChanged) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ends.append(clock.now())

    async with running(manager):
        await clock.advance_to(at(MONDAY, (10, 0)))
    assert ends == [at(MONDAY, (12, 0))]


# ---- too many events ----


def halted(number: int) -> Halted:
    return Halted(f"number {number}", MONDAY)


async def test_a_handler_that_cannot_keep_up_is_told(caplog):
    """A handler that leaves 10,000 events waiting is told as failed while it is still busy, and gets those 10,000."""
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
        for number in range(LIMIT + 5):
            manager._host.broadcast.publish(halted(number))
        manager.resume()
        await clock.advance(NOW)
        (failed,) = failures.events
        assert isinstance(failed.error, SubscriberOverrun)
        assert (failed.cause, failed.handler) == (None, f"{__name__}.{slow.__qualname__}")
        assert heard == ["the first"]
        released.set()
        await clock.advance(NOW)
        assert heard == ["the first", *(f"number {number}" for number in range(LIMIT))]
        assert len(failures.events) == 1
        manager.halt("it is called again")
        await clock.advance(NOW)
        assert heard[-1] == "it is called again"
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


async def test_an_overrun_before_the_first_call_is_told_too():
    """Events that come faster than anything can run are told as an overrun, and those that fit are seen to."""
    manager, clock = make(NOON)
    calls = listen(manager, Halted)
    failures = listen(manager, HandlerFailed)
    async with manager:
        await clock.advance(NOW)
        for number in range(LIMIT + 5):
            manager._host.broadcast.publish(halted(number))
        manager.halt("and one more")
        await clock.advance(NOW)
        assert [event.reason for event in calls.events] == [f"number {number}" for number in range(LIMIT)]
        assert [type(event.error) for event in failures.events] == [SubscriberOverrun]


async def test_an_overrun_of_what_listens_to_failures_does_not_loop():
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
            for number in range(LIMIT // 2 + 5):
                manager._host.broadcast.publish(HandlerFailed(f"{batch} {number}", Boom()))
            manager.halt("to be looked at")
            manager.resume()
            await clock.advance(NOW)
        assert len(heard) == 1
        assert [event for event in other.events if isinstance(event.error, SubscriberOverrun)] == [other.events[-1]]
        released.set()
        await clock.advance(NOW)
        assert len(heard) == 1 + LIMIT


# ---- what it costs ----


async def test_no_task_stands_by_for_an_idle_handler():
    """A thousand idle handlers take no task, before their first call and after it, and none is left at the end."""

    def count() -> int:
        return len(anyio.get_running_tasks())

    before = count()
    manager, clock = make(MORNING)
    async with manager:
        await clock.advance(NOW)
        alone = count()
        calls = [listen(manager, ACTIVE, timeout=HOUR if n % 2 else None) for n in range(1000)]
        await clock.advance(NOW)
        assert count() == alone
        await clock.advance_to(OPEN)
        assert all(each.states == [ACTIVE] for each in calls)
        await anyio.wait_all_tasks_blocked()
        assert count() == alone
    assert count() == before


async def test_no_task_is_left_whatever_handlers_did():
    """After handlers that failed, timed out, and were cancelled by leaving, no task is left."""
    before = len(anyio.get_running_tasks())
    manager, clock = make(MORNING)

    @manager.on(PRE_MARKET)
    async def fail(event: StateChanged) -> None:
        raise Boom

    @manager.on(PRE_MARKET, timeout=MINUTE)
    async def late(event: StateChanged) -> None:
        await anyio.sleep_forever()

    @manager.on(PRE_MARKET)
    async def stuck(event: StateChanged) -> None:
        await anyio.sleep_forever()

    async def body() -> None:
        async with manager:
            await clock.advance_to(OPEN)
            raise Boom

    with pytest.raises(Boom):
        await body()
    await anyio.wait_all_tasks_blocked()
    assert len(anyio.get_running_tasks()) == before


async def test_ten_thousand_calls_leave_nothing_behind():
    """A handler called ten thousand times keeps no event that it has been called with."""
    manager, clock = make(NOON)
    seen = [0]

    @manager.on(Halted)
    async def count(event: Halted) -> None:
        seen[0] += 1

    async with manager:
        await clock.advance(NOW)
        (handler,) = manager._host.handlers
        for _ in range(100):
            for number in range(100):
                manager._host.broadcast.publish(halted(number))
            manager._driver.wake(manager._host)
            await clock.advance(NOW)
        assert seen == [10_000]
        assert len(handler._events) == 0
        assert len(manager._host.ready) == 0


# ---- by the real clock ----


async def test_handlers_by_the_real_clock():
    """On the machine's own clock a session of some 100 ms calls each handler once, and never before its time."""
    now = datetime.now(UTC)
    milliseconds = timedelta(milliseconds=1)
    today = Session(now.date(), now + 150 * milliseconds, now + 300 * milliseconds)
    tomorrow = Session(now.date() + DAY, now + DAY, now + DAY + HOUR)
    config = LifecycleConfig(data_timeout=None, pre_market=50 * milliseconds, post_market_roll_delay=50 * milliseconds)
    clock = SystemClock(10 * milliseconds)
    # A machine so slow that the session is over by the start catches up with it: `session` says so.
    manager = SessionBoundaryManager(
        FixedSchedule([today, tomorrow]), roll_nothing, session=today.date, config=config, clock=clock
    )
    called: list[tuple[SessionState, bool]] = []
    late: list[HandlerFailed] = []
    done, told = anyio.Event(), anyio.Event()

    @manager.on(StateChanged, missed=True)
    async def note(event: StateChanged) -> None:
        called.append((event.dest, datetime.now(UTC) >= event.scheduled_at))
        if event.trigger == "roll":
            done.set()

    @manager.on(POST_MARKET, missed=True, timeout=10 * milliseconds)
    async def stuck(event: StateChanged) -> None:
        await anyio.sleep_forever()

    @manager.on(HandlerFailed)
    async def failed(event: HandlerFailed) -> None:
        late.append(event)
        told.set()

    async with manager:
        with anyio.fail_after(60):
            await done.wait()
            await told.wait()
    assert called == [(state, True) for state in (PRE_MARKET, ACTIVE, POST_MARKET, ENDED, NOT_STARTED)]
    assert [type(event.error) for event in late] == [HandlerTimeoutError]
