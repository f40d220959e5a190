"""The public API as type checkers see it: checked by them in strict mode, and never run."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import assert_never, assert_type

import anyio

from session_lifecycle import (
    Boundaries,
    BreakEnded,
    BreakStarted,
    Clock,
    ClockStepped,
    Event,
    ExchangeSchedule,
    FixedSchedule,
    HorizonNear,
    IllegalTransition,
    LifecycleConfig,
    MissedSessions,
    NotASession,
    RetryPolicy,
    RollFailed,
    RollStarted,
    RollSucceeded,
    Schedule,
    Session,
    SessionBoundaryManager,
    SessionMachine,
    SessionState,
    StateChanged,
    Status,
    Subscription,
    SystemClock,
    boundaries,
    replay,
)
from session_lifecycle.testing import SimulatedClock

NOW = datetime(2024, 3, 4, tzinfo=UTC)


async def roll_session(next_date: date) -> None:
    """Roll nothing."""


async def roll_with_a_result(next_date: date) -> int:
    """Return something, which nobody minds."""
    return next_date.year


def check_machine() -> None:
    """A machine is moved by triggers, and its state is read-only."""
    machine = SessionMachine()
    assert_type(machine.state, SessionState)
    assert_type(machine.fire("recover", roll_owed=True), SessionState)
    assert_type(SessionMachine.mermaid(), str)
    SessionMachine("active")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] -- not a member
    machine.state = SessionState.ACTIVE  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue] -- read-only
    try:
        machine.fire("roll")
    except IllegalTransition as error:
        assert_type(error.state, SessionState)
        assert_type(error.allowed, tuple[str, ...])


def check_schedules(day: date) -> None:
    """Both schedules, and any object with the protocol's members, are a Schedule."""
    session = Session(day, NOW, NOW, ((NOW, NOW),))
    assert_type(session.breaks, tuple[tuple[datetime, datetime], ...])
    assert_type(session.pre_market_start, datetime | None)
    schedule: Schedule = FixedSchedule([session], name="mine", timezone=UTC)
    schedule = ExchangeSchedule("XNYS", near=NOW)
    assert_type(schedule.session_at(NOW), Session)
    assert_type(schedule.session_on(day), Session)
    assert_type(schedule.next_session(day), Session)
    assert_type(schedule.sessions(day, day), tuple[Session, ...])
    found = boundaries(session, None, session, pre_market=timedelta(), post_market_roll_delay=timedelta())
    assert_type(found, Boundaries)
    assert_type(found.end, datetime)
    try:
        schedule.session_on(day)
    except NotASession as error:
        assert_type(error.near, tuple[date, ...])


def check_config() -> LifecycleConfig:
    """Settings are typed, and a bare number is no duration."""
    assert_type(LifecycleConfig.from_env(), LifecycleConfig)
    assert_type(LifecycleConfig.from_env({"SESSION_AUTO_ROLL": "no"}), LifecycleConfig)
    assert_type(LifecycleConfig().data_timeout, timedelta | None)
    assert_type(LifecycleConfig().pre_market, timedelta)
    assert_type(RetryPolicy().delay_after(1), timedelta)
    LifecycleConfig(data_timeout=300)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] -- no unit
    return LifecycleConfig(
        data_timeout=None,
        roll_timeout=None,
        roll_retry=RetryPolicy(attempts=1, factor=1.5),
        missed_sessions=MissedSessions.EACH,
    )


def check_replay(schedule: Schedule) -> None:
    """A replay iterates over changes of state."""
    edges = replay(schedule, NOW, NOW, config=LifecycleConfig(), session=NOW.date())
    assert_type(edges, Iterator[StateChanged])
    for edge in edges:
        assert_type(edge.lateness, timedelta)
        assert_type(edge.reason, str | None)


async def check_manager(schedule: Schedule, clock: Clock) -> None:
    """A manager takes a schedule or a name, any async roll, and tells events."""
    SessionBoundaryManager(schedule, roll_with_a_result)
    SessionBoundaryManager("XNYS", lambda day: anyio.sleep(day.day))
    SessionBoundaryManager("XNYS", print)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] -- not async
    manager = SessionBoundaryManager("XNYS", roll_session, session=NOW.date(), config=check_config(), clock=clock)
    async with manager as entered:
        assert_type(entered, SessionBoundaryManager)
        assert_type(manager.state, SessionState)
        assert_type(manager.scheduled_state, SessionState)
        assert_type(manager.session, Session)
        assert_type(manager.can_trade, bool)
        assert_type(manager.on_break, bool)
        assert_type(manager.next_boundary, datetime | None)
        assert_type(manager.clock, Clock)
        assert_type(manager.status(), Status)
        assert_type(manager.status().as_dict(), dict[str, str | int | bool | None])
        assert_type(await manager.wait_for(SessionState.ACTIVE, SessionState.TIMEOUT), SessionState)
        assert_type(await manager.roll(), RollSucceeded)
        manager.record_data_received()
        manager.record_data_received(NOW)
        manager.end_session("early close")
        manager.fail("by hand")
        await manager.recover()
        assert_type(manager.events(), Subscription)
        async for event in manager.events():
            assert_type(tell(event), str)
        manager.stop()
    async with anyio.create_task_group() as tasks:
        await tasks.start(manager.run)


def check_outcomes(succeeded: RollSucceeded, failed: RollFailed) -> None:
    """The outcomes of a roll carry what was skipped and what went wrong."""
    assert_type(succeeded.skipped, tuple[date, ...])
    assert_type(failed.error, BaseException | None)
    assert_type(failed.retry_at, datetime | None)


def tell(event: Event) -> str:
    """Every kind of event can be told from the others, and there are no more."""
    match event:
        case StateChanged():
            return f"{event.source} {event.dest} {event.lateness}"
        case BreakStarted() | BreakEnded():
            return f"{event.session} {event.lateness}"
        case RollStarted():
            return f"{event.next_session}"
        case RollSucceeded() | RollFailed():
            return f"{event.duration}"
        case ClockStepped():
            return f"{event.delta}"
        case HorizonNear():
            return f"{event.known_until}"
        case _:
            assert_never(event)


async def check_clocks() -> None:
    """Both clocks are a Clock."""
    clock: Clock = SystemClock(timedelta(seconds=1))
    assert_type(clock.now(), datetime)
    assert_type(clock.monotonic(), float)
    simulated = SimulatedClock(NOW, autojump=True)
    clock = simulated
    await clock.sleep_until(NOW, None)
    await simulated.advance(timedelta(days=1))
    await simulated.advance_to(NOW)
    simulated.step(-timedelta(hours=1))
