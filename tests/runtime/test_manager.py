"""The manager as an application holds it: starting, reading, listening, telling it things, and leaving."""

import asyncio
import functools
import os
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from unittest.mock import AsyncMock

import anyio
import pytest

from session_lifecycle import (
    AlreadyStartedError,
    FixedSchedule,
    LifecycleConfig,
    ManagerStopped,
    NotASession,
    NotRunningError,
    RetryPolicy,
    RollFailed,
    RollSucceeded,
    ScheduleExhausted,
    Session,
    SessionBoundaryManager,
    SessionState,
    StateChanged,
    SystemClock,
    replay,
)
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at, session, week
from tests.helpers.harness import (
    ACTIVE,
    ENDED,
    ERROR,
    FRIDAY,
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    POST_MARKET,
    PRE_MARKET,
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
from tests.helpers.manager import Oops

pytestmark = pytest.mark.anyio


# ---- starting ----


async def test_starting_in_mid_session_walks_the_legal_path_before_the_body_runs():
    """A start after the open walks every edge up to the present, as catch-up, before the body's first line."""
    manager, _ = make(at(MONDAY, (16, 0)))
    events = manager.events()
    async with manager:
        assert manager.state is ACTIVE
        assert manager.session == session(MONDAY)
        walked = [await anext(events), await anext(events)]
    assert walked == [
        StateChanged(
            NOT_STARTED, PRE_MARKET, "start_pre_market", MONDAY, at(MONDAY, (9, 0)), at(MONDAY, (16, 0)), catch_up=True
        ),
        StateChanged(
            PRE_MARKET, ACTIVE, "open_market", MONDAY, at(MONDAY, (14, 30)), at(MONDAY, (16, 0)), catch_up=True
        ),
    ]
    assert walked[0].lateness == 7 * HOUR


EXACT = [
    ((9, 0), -MICROSECOND, NOT_STARTED, []),
    ((9, 0), NOW, PRE_MARKET, [False]),
    ((14, 30), -MICROSECOND, PRE_MARKET, [True]),
    ((14, 30), NOW, ACTIVE, [True, False]),
    ((21, 0), -MICROSECOND, ACTIVE, [True, True]),
    ((21, 0), NOW, POST_MARKET, [True, True, False]),
    ((21, 30), -MICROSECOND, POST_MARKET, [True, True, True]),
]


@pytest.mark.parametrize(("clock_time", "offset", "state", "flags"), EXACT)
async def test_starting_around_each_boundary(clock_time, offset, state, flags):
    """A start at exactly a boundary is in the state that begins there; only edges due earlier are catch-up."""
    start = at(MONDAY, clock_time) + offset
    manager, _ = make(start)
    async with running(manager) as log:
        assert manager.state is state is manager.scheduled_state
        assert [event.catch_up for event in changes(log)] == flags
        assert log == list(replay(season(), start, start + MICROSECOND))


async def test_starting_at_the_end_of_a_session_starts_in_the_next_and_owes_nothing():
    """A start at exactly a session's end takes up the next session, and without `session=` no roll is owed."""
    manager, clock = make(at(MONDAY, (21, 30)), roll_session=(roll := AsyncMock()))
    async with running(manager) as log:
        assert manager.state is NOT_STARTED
        assert manager.session.date == TUESDAY
        await clock.advance(HOUR)
        assert log == []
    roll.assert_not_awaited()


async def test_running_in_a_task_group_of_ones_own():
    """`await tg.start(manager.run)` returns caught up, and `stop()` lets the task group end."""
    manager, _ = make(at(MONDAY, (16, 0)))
    async with anyio.create_task_group() as tasks:
        await tasks.start(manager.run)
        assert manager.state is ACTIVE
        manager.stop()
    with pytest.raises(ManagerStopped):
        manager.fail("too late")


async def test_run_returns_when_stopped_from_elsewhere():
    """`stop()` from any task ends the manager; the body of `async with` goes on."""
    manager, clock = make(at(MONDAY, (16, 0)))
    async with running(manager) as log:
        manager.stop()
        await clock.advance(DAY)
        assert manager.state is ACTIVE  # nobody drives it any more
        assert path(log) == ["start_pre_market", "open_market"]


async def test_a_present_that_the_schedule_does_not_know_fails_the_start():
    """A start past the schedule's knowledge raises ScheduleExhausted itself, and ends the readers."""
    manager, _ = make(at(FRIDAY, (22, 0)), schedule=week())
    events = manager.events()
    with pytest.raises(ScheduleExhausted, match="2024-03-08"):
        async with manager:
            pytest.fail("the body must not run")
    assert [event async for event in events] == []


async def test_a_failed_start_in_ones_own_task_group_raises_from_start():
    """`tg.start(manager.run)` raises the error of the start itself."""
    manager, _ = make(at(FRIDAY, (22, 0)), schedule=week())
    async with anyio.create_task_group() as tasks:
        with pytest.raises(ScheduleExhausted):
            await tasks.start(manager.run)


# ---- misuse ----


async def test_fault_51_started_twice():
    """A second start, nested, by run() or after the end, is an AlreadyStartedError that leaves the first alone."""
    manager, _ = make(at(MONDAY, (16, 0)))
    async with manager:
        with pytest.raises(AlreadyStartedError, match="create a new"):
            async with manager:
                pytest.fail("the body must not run")
        with pytest.raises(AlreadyStartedError):
            await manager.run()
        assert manager.state is ACTIVE
        await manager.end_session("still in use")
    with pytest.raises(AlreadyStartedError):
        await manager.run()
    with pytest.raises(AlreadyStartedError):
        await manager.__aenter__()


TWO_AT_ONCE = """
import sys
import anyio
from tests.helpers.builders import MONDAY, at
from tests.helpers.harness import make
from session_lifecycle import AlreadyStartedError

async def enter(manager):
    try:
        async with manager:
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            manager.end_session("it runs")
            print("ran")
    except AlreadyStartedError:
        print("refused")

async def main():
    manager, _ = make(at(MONDAY, (16, 0)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(enter, manager)
        tasks.start_soon(enter, manager)

anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_fault_51_started_by_two_tasks_at_once(backend):
    """Of two tasks that enter one manager at the same moment one gets it, and the other an AlreadyStartedError."""
    # In a process of its own: what goes wrong here takes the event loop with it.
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", TWO_AT_ONCE, backend],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert sorted(done.stdout.split()) == ["ran", "refused"]
    assert done.returncode == 0


async def test_fault_51_used_before_start():
    """Before the start whatever needs a running manager says so; the rest of the reads are those of a fresh machine."""
    manager, _ = make(at(MONDAY, (16, 0)))
    for read in ("scheduled_state", "session", "next_boundary"):
        with pytest.raises(NotRunningError, match=read):
            getattr(manager, read)
    for call in (manager.stop, lambda: manager.fail("x")):
        with pytest.raises(NotRunningError, match="async with"):
            call()
    for call in (manager.recover, manager.roll, lambda: manager.wait_for(ACTIVE), lambda: manager.end_session("x")):
        with pytest.raises(NotRunningError, match="async with"):
            await call()
    manager.record_data_received()
    manager.record_data_received(at(MONDAY, (15, 0)))
    assert manager.state is NOT_STARTED
    assert (manager.can_trade, manager.on_break) == (False, False)
    assert "not started" in repr(manager)
    async with manager:  # and none of that has spoilt it
        assert manager.state is ACTIVE
        assert "running" in repr(manager)
    assert "stopped" in repr(manager)


async def test_the_status_can_be_read_before_the_start_and_after_the_end():
    """Before the start it is what the schedule says; a health check needs no other case, and nothing has begun."""
    manager, _ = make(at(MONDAY, (16, 0)))
    before = manager.status()
    assert (before.running, before.leads, before.can_trade, before.market_open) == (False, False, False, True)
    assert (before.state, before.scheduled_state, before.session) == (NOT_STARTED, ACTIVE, MONDAY)
    assert before.observed_at == at(MONDAY, (16, 0))
    async with manager:
        during = manager.status()
        assert (during.running, during.leads, during.state) == (True, True, ACTIVE)
        assert (during.open, during.close, during.next_boundary) == (before.open, before.close, before.next_boundary)
    assert not manager.status().running


async def test_fault_51_used_after_stop():
    """After the end reads give the last state, stop() does nothing, and what needs a driver is a ManagerStopped."""
    manager, _ = make(at(MONDAY, (16, 0)))
    async with manager:
        pass
    manager.stop()
    manager.stop()
    manager.record_data_received()
    assert manager.state is ACTIVE
    assert manager.status().state is ACTIVE
    assert [event async for event in manager.events()] == []
    assert await manager.wait_for(ACTIVE) is ACTIVE
    with pytest.raises(ManagerStopped, match="ACTIVE"):
        manager.fail("x")
    for call in (manager.recover, manager.roll, lambda: manager.wait_for(ENDED), lambda: manager.end_session("x")):
        with pytest.raises(ManagerStopped, match="ACTIVE"):
            await call()
    assert manager.state is ACTIVE


# ---- leaving ----


async def test_the_bodys_exception_comes_out_as_it_is():
    """What the body raises leaves `async with` as the very same object, wrapped in no group."""
    for error in (ValueError("boom"), Oops(), ExceptionGroup("mine", [ValueError("a")]), KeyError("k")):
        manager, _ = make(at(MONDAY, (16, 0)))
        with pytest.raises(type(error)) as info:
            async with manager:
                raise error
        assert info.value is error
        with pytest.raises(ManagerStopped):
            manager.fail("it has ended")


async def test_an_error_of_the_body_does_not_wait_for_the_roll():
    """With an exception in the body a roll under way is cancelled, and no time passes."""
    cancelled: list[date] = []

    async def roll(next_date: date) -> None:
        try:
            await clock.sleep(HOUR)
        except anyio.get_cancelled_exc_class():
            cancelled.append(next_date)
            raise

    manager, clock = make(at(MONDAY, (21, 0)), roll_session=roll)
    events = manager.events()
    with pytest.raises(Oops):  # noqa: PT012 -- leaving is what raises
        async with manager:
            await clock.advance(30 * MINUTE)
            assert manager.state is ENDED
            raise Oops
    assert cancelled == [TUESDAY]
    assert clock.now() == at(MONDAY, (21, 30))
    assert manager.state is ENDED
    assert path([event async for event in events])[-1] == "end_session"


async def test_a_cancel_scope_around_the_manager_is_obeyed():
    """Cancelling a scope around `async with` ends the manager, and the scope has caught it."""
    manager, _ = make(at(MONDAY, (16, 0)))
    with anyio.CancelScope() as scope:
        async with manager:
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    with pytest.raises(ManagerStopped):
        manager.fail("it has ended")


async def test_an_error_of_the_body_is_not_hidden_by_a_cancellation():
    """A body that raises while a scope around it is being cancelled leaves with its own error."""
    manager, _ = make(at(MONDAY, (16, 0)))
    with anyio.CancelScope() as scope, pytest.raises(Oops):  # noqa: PT012 -- leaving is what raises
        async with manager:
            scope.cancel()
            raise Oops


async def test_a_task_group_around_the_manager_is_cancelled_as_usual():
    """A sibling's failure cancels the manager's body, and only that failure comes out."""
    manager, _ = make(at(MONDAY, (16, 0)))

    async def fail() -> None:
        raise Oops

    with pytest.raises(ExceptionGroup) as info:  # noqa: PT012 -- leaving is what raises
        async with anyio.create_task_group() as tasks, manager:
            tasks.start_soon(fail)
            await anyio.sleep_forever()
    assert [type(error) for error in info.value.exceptions] == [Oops]


async def test_native_cancellation_of_the_body_comes_out_as_such(anyio_backend):
    """`task.cancel()` on the task in the body ends it as cancelled, and the manager with it."""
    need_asyncio(anyio_backend)
    manager, _ = make(at(MONDAY, (16, 0)))
    entered = asyncio.Event()

    async def main() -> None:
        async with manager:
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(main())
    await entered.wait()
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    with pytest.raises(ManagerStopped):
        manager.fail("it has ended")


async def test_asyncio_timeout_around_the_manager(anyio_backend):
    """`asyncio.timeout()` around the manager raises its TimeoutError, and leaves the task not cancelled."""
    need_asyncio(anyio_backend)
    manager, _ = make(at(MONDAY, (16, 0)))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), manager:
            await asyncio.sleep(60)
    assert asyncio.current_task().cancelling() == 0


async def test_leaving_by_return_or_break_stops():
    """Leaving the body early by `return` or `break` stops the manager like its end does."""
    manager, _ = make(at(MONDAY, (16, 0)))

    async def main() -> SessionState:
        async with manager:
            return manager.state

    assert await main() is ACTIVE
    with pytest.raises(ManagerStopped):
        manager.fail("it has ended")


# ---- arguments ----


def plain(next_date: date) -> None: ...


class Desk:
    async def roll(self, next_date: date) -> None: ...

    def roll_plainly(self, next_date: date) -> None: ...

    @staticmethod
    async def roll_statically(next_date: date) -> None: ...


class CallableDesk:
    async def __call__(self, next_date: date) -> None: ...


class PlainCallableDesk:
    def __call__(self, next_date: date) -> None: ...


async def two_arguments(desk: str, next_date: date) -> None: ...


@pytest.mark.parametrize(
    "roll",
    [
        plain,
        lambda next_date: None,
        functools.partial(plain),
        functools.partial(functools.partial(plain)),
        Desk().roll_plainly,
        PlainCallableDesk(),
        None,
        "roll",
        3,
    ],
)
def test_fault_06_a_roll_that_is_not_async_is_refused_at_construction(roll):
    """A roll_session that can be seen not to be async is a TypeError before anything runs."""
    with pytest.raises(TypeError, match=r"roll_session must be .*async"):
        SessionBoundaryManager(season(), roll)


@pytest.mark.parametrize(
    "roll",
    [
        roll_nothing,
        functools.partial(two_arguments, "desk"),
        functools.partial(functools.partial(two_arguments), "desk"),
        Desk().roll,
        Desk.roll_statically,
        CallableDesk(),
        functools.partial(CallableDesk()),
        AsyncMock(),
    ],
    ids=lambda roll: type(roll).__name__,
)
async def test_fault_06_every_form_of_an_async_roll_is_awaited(roll):
    """Functions, methods, partials, callable objects and mocks will do, as long as what they return can be awaited."""
    manager, clock = make(at(MONDAY, (21, 0)), roll_session=roll)
    async with running(manager):
        await clock.advance(HOUR)
        assert manager.session.date == TUESDAY


async def test_fault_06_a_result_that_cannot_be_awaited_is_a_failed_attempt():
    """A roll that turns out to return no awaitable fails like any other, with a TypeError that says so."""
    config = LifecycleConfig(data_timeout=None, roll_retry=RetryPolicy(attempts=1))
    manager, clock = make(at(MONDAY, (21, 0)), roll_session=str, config=config)
    async with running(manager) as log:
        await clock.advance(HOUR)
        (failed,) = of(RollFailed, log)
        assert isinstance(failed.error, TypeError)
        assert "'2024-03-05', which cannot be awaited" in str(failed.error)
        assert manager.state is ERROR
        assert "cannot be awaited" in manager.status().reason


async def test_fault_06_a_roll_that_takes_no_date_is_a_failed_attempt():
    """A roll with the wrong signature fails like any other."""

    async def roll() -> None: ...

    config = LifecycleConfig(data_timeout=None, roll_retry=RetryPolicy(attempts=1))
    manager, clock = make(at(MONDAY, (21, 0)), roll_session=roll, config=config)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert isinstance(of(RollFailed, log)[0].error, TypeError)
        assert manager.state is ERROR


@pytest.mark.parametrize("config", [None, {}, LifecycleConfig, 3])
def test_a_config_of_another_kind_is_refused(config):
    """Anything but a LifecycleConfig is a TypeError at construction."""
    with pytest.raises(TypeError, match="config must be a LifecycleConfig"):
        SessionBoundaryManager(season(), roll_nothing, config=config)


def test_a_date_that_is_no_session_is_refused_at_construction():
    """`session=` with a date that is none of the schedule's is NotASession, naming near ones."""
    with pytest.raises(NotASession, match="Saturday"):
        SessionBoundaryManager(season(), roll_nothing, session=date(2024, 3, 9))


@pytest.mark.parametrize("value", ["2024-03-04", datetime(2024, 3, 4, tzinfo=UTC), 3])
def test_a_session_that_is_no_date_is_refused_at_construction(value):
    """`session=` takes a date; a datetime or a string is a TypeError."""
    with pytest.raises(TypeError, match="date"):
        SessionBoundaryManager(season(), roll_nothing, session=value)


def test_the_default_clock_follows_the_configuration():
    """Without `clock=` the manager runs on a SystemClock with the configuration's check_interval."""
    manager = SessionBoundaryManager(
        season(), roll_nothing, config=LifecycleConfig(check_interval=timedelta(milliseconds=20))
    )
    assert isinstance(manager.clock, SystemClock)
    assert manager.clock._slice_seconds == 0.02


# ---- no threads ----


@pytest.fixture
def no_threads(monkeypatch):
    """Let any start of a thread fail, and see that none has come to be. What an earlier test left may end meanwhile."""

    def start(self: threading.Thread) -> None:
        msg = f"{self} was started"
        raise AssertionError(msg)

    before = set(threading.enumerate())
    monkeypatch.setattr(threading.Thread, "start", start)
    yield
    assert set(threading.enumerate()) <= before


@pytest.mark.usefixtures("no_threads")
def test_no_thread_is_started_in_simulated_time(anyio_backend):
    """Start, a whole day, a retried roll and the end take place in the application's own thread."""
    rolled_in: list[threading.Thread] = []

    async def roll(next_date: date) -> None:
        rolled_in.append(threading.current_thread())
        if len(rolled_in) == 1:
            raise Oops

    async def main() -> None:
        manager, clock = make(at(MONDAY, (16, 0)), roll_session=roll)
        async with running(manager):
            await clock.advance(DAY)
            assert manager.session.date == TUESDAY

    run(main, anyio_backend)
    assert rolled_in == [threading.current_thread()] * 2


@pytest.mark.usefixtures("no_threads")
def test_no_thread_is_started_on_the_real_clock(anyio_backend):
    """On the real clock, across a close and a roll, there is no thread but the application's own."""

    async def main() -> None:
        now = datetime.now(UTC)
        today = Session(now.date(), now - HOUR, now + timedelta(milliseconds=20))
        tomorrow = Session(now.date() + DAY, now + HOUR, now + 2 * HOUR)
        config = LifecycleConfig(data_timeout=None, post_market_roll_delay=timedelta(milliseconds=10))
        # A machine so slow that the session is over by the start catches up with it: `session` says so.
        manager = SessionBoundaryManager(
            FixedSchedule([today, tomorrow]), roll_nothing, session=today.date, config=config
        )
        events = manager.events()
        log = []
        async with manager:
            with anyio.fail_after(5):
                async for event in events:
                    log.append(event)
                    if isinstance(event, RollSucceeded):
                        break
        assert "close_market" in path(log)

    run(main, anyio_backend)


async def test_events_of_a_quiet_week_are_what_replay_says():
    """Day by day the manager takes the very edges that replay() lists, each on time."""
    start = at(MONDAY, (8, 0))
    manager, clock = make(start)
    async with running(manager) as log:
        await clock.advance_to(at(FRIDAY, (21, 15)))
        assert changes(log) == list(replay(season(), start, clock.now()))
        assert states(log).count(ACTIVE) == 5
        assert {event.lateness for event in changes(log)} == {NOW}
