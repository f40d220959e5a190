"""Handlers that call the manager, that run while it stops, and what they cost."""

import logging
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from session_lifecycle import (
    FixedSchedule,
    Halted,
    HandlerFailed,
    HandlerTimeoutError,
    LifecycleConfig,
    ManagerStopped,
    ReentrancyError,
    Resolution,
    RollSucceeded,
    Session,
    SessionBoundaryManager,
    SessionState,
    StateChanged,
    SystemClock,
)
from tests.helpers.builders import DAY, MONDAY, at
from tests.helpers.handlers import MORNING, NOON, OPEN, Boom, halted, listen
from tests.helpers.harness import (
    ACTIVE,
    ENDED,
    ERROR,
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    POST_MARKET,
    PRE_MARKET,
    SECOND,
    TIMEOUT,
    TUESDAY,
    make,
    make_rolling,
    of,
    path,
    roll_nothing,
    running,
)

pytestmark = pytest.mark.anyio


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
        await manager.end_session("nobody is here")
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


# ---- what it costs ----


async def test_no_task_stands_by_for_an_idle_handler():
    """A hundred idle handlers take no task, before their first call and after it, and none is left at the end."""

    def count() -> int:
        return len(anyio.get_running_tasks())

    before = count()
    manager, clock = make(MORNING)
    async with manager:
        await clock.advance(NOW)
        alone = count()
        calls = [listen(manager, ACTIVE, timeout=HOUR if n % 2 else None) for n in range(100)]
        await clock.advance(NOW)
        assert count() == alone
        await clock.advance_to(OPEN)
        assert all(each.states == [ACTIVE] for each in calls)
        await clock.advance(NOW)
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


async def test_a_thousand_calls_leave_nothing_behind():
    """A handler called a thousand times keeps no event that it has been called with."""
    manager, clock = make(NOON)
    seen = [0]

    @manager.on(Halted)
    async def count(event: Halted) -> None:
        seen[0] += 1

    async with manager:
        await clock.advance(NOW)
        (handler,) = manager._host.handlers
        for _ in range(10):
            for number in range(100):
                manager._host.broadcast.publish(halted(number))
            manager._driver.wake(manager._host)
            await clock.advance(NOW)
        assert seen == [1000]
        assert len(handler._events) == 0
        assert len(manager._host.ready) == 0


# ---- by the real clock ----


@pytest.mark.costly
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
