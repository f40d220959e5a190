"""The public API as type checkers see it: checked by them in strict mode, and never run."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, date, datetime, time, timedelta
from typing import assert_never, assert_type

import anyio
from hypothesis.strategies import SearchStrategy

from session_lifecycle import (
    AdaptiveTimeout,
    AdjustableSchedule,
    Alarm,
    AlarmFired,
    AlarmInterrupted,
    AlarmSkipped,
    Boundaries,
    BreakEnded,
    BreakStarted,
    CalendarContradicted,
    CallbackOverdue,
    Clock,
    ClockSkew,
    ClockStepped,
    Closure,
    DataStale,
    Difference,
    Event,
    ExchangeSchedule,
    Feed,
    FeedNameTaken,
    FeedRemoved,
    FeedResumed,
    FeedStale,
    FixedSchedule,
    Halted,
    HaltRefused,
    HandlerBusy,
    HandlerFailed,
    HandlerTimeoutError,
    HorizonNear,
    IllegalTransition,
    LeadershipGained,
    LeadershipLost,
    LifecycleConfig,
    Misfire,
    MissedSessions,
    NotASession,
    OverrideLost,
    PhaseEnded,
    PhaseStarted,
    Resumed,
    RetryPolicy,
    RollFailed,
    RollFollowed,
    RollStarted,
    RollSucceeded,
    Schedule,
    ScheduleChanged,
    Session,
    SessionAdopted,
    SessionBoundaryManager,
    SessionMachine,
    SessionState,
    SnapshotCheck,
    SnapshotRefused,
    SnapshotSchedule,
    StaleWhen,
    StateChanged,
    Status,
    Subscription,
    SystemClock,
    UnexpectedData,
    VenueStatus,
    boundaries,
    replay,
    run_due,
    write_snapshot,
)
from session_lifecycle.testing import (
    LocalTime,
    Refused,
    Result,
    RollAttempt,
    Script,
    SimulatedClock,
    assert_legal,
)
from session_lifecycle.testing.pytest_plugin import ManagerFactory
from session_lifecycle.testing.strategies import (
    Firing,
    days,
    durations,
    fault_scripts,
    schedules,
    trigger_sequences,
)

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
    assert_type(LifecycleConfig().stale_when, StaleWhen | int)
    LifecycleConfig(stale_when=StaleWhen.ANY)
    LifecycleConfig(stale_when=2)
    LifecycleConfig(stale_when="any")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] -- not its name
    learnt = AdaptiveTimeout(timedelta(seconds=1), timedelta(minutes=5), factor=2.5, half_life=timedelta(hours=1))
    assert_type(learnt.floor, timedelta)
    assert_type(learnt.factor, float)
    AdaptiveTimeout(floor=1, ceiling=learnt.ceiling)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AdaptiveTimeout(learnt.floor)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue] -- no ceiling
    LifecycleConfig(data_timeout=learnt)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] -- a feed's
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
    soon = Alarm("close", timedelta(minutes=-15), misfire=Misfire.RUN_ONCE, grace=timedelta(0))
    with_alarms = replay(schedule, NOW, NOW, config=LifecycleConfig(), session=NOW.date(), alarms=[soon])
    assert_type(with_alarms, Iterator[StateChanged | AlarmFired])
    assert_type(replay(schedule, NOW, NOW, alarms=(soon, soon)), Iterator[StateChanged | AlarmFired])
    for event in with_alarms:
        assert_type(event.lateness, timedelta)
        if isinstance(event, AlarmFired):
            assert_type(event.alarm, Alarm)
            assert_type(event.state, SessionState)
        else:
            assert_type(event, StateChanged)
    Alarm("closing_auction.end")
    Alarm("close", -15)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] -- no unit
    Alarm("open", misfire="skip")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] -- not its name
    replay(schedule, NOW, NOW, alarms=["close"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


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
        assert_type(manager.market_open, bool)
        assert_type(manager.on_break, bool)
        assert_type(manager.next_boundary, datetime | None)
        assert_type(manager.clock, Clock)
        assert_type(manager.status(), Status)
        assert_type(manager.status().as_dict(), dict[str, str | int | bool | list[str] | None])
        assert_type(await manager.wait_for(SessionState.ACTIVE, SessionState.TIMEOUT), SessionState)
        assert_type(await manager.roll(), RollSucceeded)
        assert_type(await run_due(manager), tuple[RollSucceeded, ...])
        manager.record_data_received()
        manager.record_data_received(NOW)
        assert_type(manager.record_status(VenueStatus.HALT, at=NOW), None)
        assert_type(await manager.end_session("early close"), None)
        assert_type(await manager.apply(Closure(NOW.date())), None)
        manager.end_session("never awaited")  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine] -- it does nothing
        manager.fail("by hand")
        await manager.recover()
        assert_type(manager.events(), Subscription)
        async for event in manager.events():
            assert_type(tell(event), str)
        manager.stop()
    async with anyio.create_task_group() as tasks:
        await tasks.start(manager.run)


async def check_handlers(manager: SessionBoundaryManager) -> None:
    """Handlers are async functions of the one event that they ask for, and stay what they are."""

    @manager.on(SessionState.ACTIVE)
    async def opened(event: StateChanged) -> None:
        """Take the event of the state."""

    @manager.on(SessionState.ENDED, missed=True, timeout=timedelta(seconds=30))
    async def ended(event: StateChanged) -> int:
        """Return something, which nobody minds."""
        return event.session.year

    @manager.on(RollFailed, timeout=None)
    async def failed(event: RollFailed) -> None:
        """Take the event of that very kind."""

    @manager.on(UnexpectedData, missed=True)
    async def of_anything(event: Event) -> None:
        """Take any event."""

    @manager.at("close", timedelta(minutes=-15))
    async def flatten(event: AlarmFired) -> bool:
        """Take the going-off of an alarm."""
        return event.catch_up

    @manager.at("break_start", misfire=Misfire.RUN_ONCE, grace=timedelta(minutes=1), timeout=timedelta(seconds=5))
    async def pause(event: AlarmFired) -> None:
        """Take an alarm with everything said about it."""

    changed = StateChanged(SessionState.ACTIVE, SessionState.POST_MARKET, "close_market", NOW.date(), NOW, NOW)
    assert_type(await opened(changed), None)
    assert_type(await ended(changed), int)
    fired = AlarmFired(Alarm("open"), NOW.date(), NOW, NOW, SessionState.ACTIVE)
    assert_type(await flatten(fired), bool)
    assert_type(await pause(fired), None)
    await failed(RollFailed(NOW.date(), NOW.date(), 1))
    await of_anything(UnexpectedData(NOW.date()))

    def sync(event: StateChanged) -> None:
        """Be no coroutine function."""

    manager.on(SessionState.ACTIVE)(sync)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType] -- not async
    manager.on(RollFailed)(opened)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] -- another event's
    manager.on(SessionState.ACTIVE)(flatten)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType] -- likewise
    manager.at("close")(opened)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType] -- no alarm's
    manager.on("active")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue] -- not its name
    manager.at("closing_auction.end")
    manager.at("close", -15)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] -- no unit


async def check_alarms_and_scopes(manager: SessionBoundaryManager) -> None:
    """Alarms and sessions come as iterators, and the body of `during` gets its session."""
    alarms = manager.alarms("open", timedelta(hours=1), misfire=Misfire.SKIP, grace=timedelta(seconds=1))
    assert_type(alarms, AsyncIterator[AlarmFired])
    async for fired in manager.alarms("end"):
        assert_type(fired, AlarmFired)
    assert_type(manager.sessions(), AsyncIterator[Session])
    async for session in manager.sessions():
        assert_type(session, Session)
    scope = manager.during(SessionState.ACTIVE, SessionState.TIMEOUT)
    assert_type(scope, AbstractAsyncContextManager[Session])
    async with manager.during(SessionState.ACTIVE, grace=timedelta(minutes=1)) as session:
        assert_type(session, Session)
    manager.during("active")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] -- not its name
    manager.during(SessionState.ACTIVE, grace=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] -- no unit
    manager.alarms("closing_auction.end")


async def check_feeds_and_halts(manager: SessionBoundaryManager) -> None:
    """A feed is made by its manager; what is read of it is typed, and a bare number is no timeout."""

    async def is_alive(feed: Feed) -> bool:
        """Say that it is."""
        return not feed.removed

    def cannot_wait(feed: Feed) -> bool:
        """Be no coroutine function."""
        return not feed.removed

    feed = manager.add_feed("trades")
    assert_type(feed, Feed)
    learnt = AdaptiveTimeout(timedelta(seconds=1), timedelta(minutes=5))
    assert_type(manager.add_feed("quotes", timeout=learnt, probe=is_alive), Feed)
    manager.add_feed("news", timeout=timedelta(hours=1), probe=is_alive, probe_timeout=timedelta(seconds=1))
    manager.add_feed("depth", timeout=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] -- no unit
    manager.add_feed("index", probe=cannot_wait)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] -- not async
    assert_type(feed.name, str)
    assert_type(feed.stale, bool)
    assert_type(feed.removed, bool)
    assert_type(feed.can_trade, bool)
    assert_type(feed.last_data_at, datetime | None)
    assert_type(feed.halted, str | None)
    assert_type(feed.timeout, timedelta)
    feed.record()
    feed.record(NOW)
    feed.halt("a gap")
    feed.resume()
    feed.remove()
    manager.halt("news pending")
    manager.resume()
    manager.halt()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue] -- no reason
    assert_type(manager.halted, str | None)
    assert_type(manager.feeds, tuple[Feed, ...])
    assert_type(manager.stale_feeds, tuple[str, ...])
    assert_type(manager.halted_feeds, tuple[str, ...])
    manager.halted = "by hand"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue] -- read-only
    assert_type(manager.status().halted, str | None)
    assert_type(manager.status().feeds, int)
    assert_type(manager.status().stale_feeds, tuple[str, ...])


def check_errors(error: Exception) -> None:
    """What an error is about can be read off it, and is typed."""
    match error:
        case HandlerTimeoutError():
            assert_type(error.handler, str)
            assert_type(error.seconds, float)
        case FeedNameTaken():
            assert_type(error.name, str)
        case FeedRemoved():
            assert_type(error.call, str)
        case HaltRefused():
            assert_type(error.state, SessionState)
        case _:
            pass


def check_outcomes(succeeded: RollSucceeded, failed: RollFailed) -> None:
    """The outcomes of a roll carry what was skipped and what went wrong."""
    assert_type(succeeded.skipped, tuple[date, ...])
    assert_type(failed.error, BaseException | None)
    assert_type(failed.retry_at, datetime | None)


def tell(event: Event) -> str:  # noqa: PLR0911 -- one for each kind of event
    """Every kind of event can be told from the others, and there are no more."""
    match event:
        case StateChanged():
            return f"{event.source} {event.dest} {event.lateness}"
        case BreakStarted() | BreakEnded():
            return f"{event.session} {event.lateness}"
        case PhaseStarted():
            return f"{event.phase} {event.tradable} {event.data_expected} {event.lateness}"
        case PhaseEnded():
            return f"{event.phase} {event.session} {event.lateness}"
        case DataStale():
            assert_type(event.last_data_at, datetime | None)
            return f"{event.phase} {event.timeout}"
        case RollStarted():
            return f"{event.next_session}"
        case RollSucceeded() | RollFailed():
            return f"{event.duration}"
        case ClockStepped():
            return f"{event.delta}"
        case HorizonNear():
            return f"{event.known_until}"
        case AlarmFired():
            return f"{event.key} {event.number} {event.state} {event.lateness}"
        case AlarmSkipped():
            return f"{event.alarm} {event.scheduled_at} {event.reason}"
        case HandlerFailed():
            assert_type(event.cause, Event | None)
            return f"{event.handler} {event.error}"
        case FeedStale():
            assert_type(event.last_data_at, datetime | None)
            return f"{event.feed} {event.never} {event.lateness} {event.reason}"
        case FeedResumed():
            assert_type(event.silent_for, timedelta)
            return event.feed
        case Halted():
            return event.reason
        case Resumed():
            return f"{event.lapsed}"
        case UnexpectedData():
            assert_type(event.feed, str | None)
            return f"{event.session}"
        case CalendarContradicted():
            assert_type(event.status, VenueStatus)
            assert_type(event.until, datetime | None)
            return f"{event.state} {event.reported_at} {event.halted}"
        case ScheduleChanged():
            assert_type(event.after, Session | None)
            return f"{event.day} {event.reason}"
        case OverrideLost():
            assert_type(event.after, Session | None)
            return f"{event.day} {event.reason}"
        case AlarmInterrupted():
            return f"{event.key} {event.session}"
        case RollFollowed():
            assert_type(event.skipped, tuple[date, ...])
            return f"{event.next_session} {event.term}"
        case LeadershipGained() | LeadershipLost():
            return f"{event.term}"
        case ClockSkew():
            return f"{event.skew}"
        case SessionAdopted():
            return f"{event.session} {event.next_session}"
        case HandlerBusy():
            return f"{event.handler} {event.cause}"
        case CallbackOverdue():
            return f"{event.callback} {event.waited}"
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


def check_snapshot() -> None:
    """A snapshot is a schedule that can be adjusted, and is made from any."""
    loaded: AdjustableSchedule = SnapshotSchedule.load("hours.toml")
    snapshot = SnapshotSchedule.load("hours.toml")
    assert_type(snapshot.with_session(NOW.date(), None), SnapshotSchedule)
    differences: tuple[Difference, ...] = snapshot.check()
    assert_type(differences[0].fields, tuple[str, ...])
    assert_type(snapshot.check(), SnapshotCheck)
    assert_type(snapshot.check().not_compared, tuple[date, date] | None)
    assert_type(snapshot.vouched_until, date | None)
    assert_type(snapshot.head.first, date)
    write_snapshot(loaded, "again.json", snapshot.head.first, snapshot.head.last)
    SnapshotSchedule.load(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] -- not a path
    assert_type(SnapshotRefused("hours.toml", None, "it is empty", "make it anew").place, str | None)


class Desk:
    """An application whose manager is made of the class that it is given."""

    def __init__(self, manager_class: type[SessionBoundaryManager] = SessionBoundaryManager) -> None:
        self.manager = manager_class("XNYS", roll_session)
        self.position = 0


async def check_script(at: LocalTime) -> None:
    """A script is played with any application, which its result has."""
    script = Script("XNYS", NOW.date(), days=2).data_every(timedelta(seconds=1)).silence("10:15", time(10, 25))
    script = script.halt(NOW, at).roll_fails(2, after=True).slow_roll(timedelta(minutes=1)).restart(at)
    script = script.call("12:46", lambda desk: desk.position).apply("11:00", Closure(NOW.date())).on(NOW.date())
    result = await script.run(Desk)
    assert_type(result, Result[Desk])
    assert_type(result.app.position, int)
    assert_type(result.manager, SessionBoundaryManager)
    assert_type(result.of(FeedStale), tuple[FeedStale, ...])
    assert_type(result.state_at("10:20"), SessionState)
    assert_type(result.rolls, tuple[RollAttempt, ...])
    assert_type(result.refused, tuple[Refused, ...])
    assert_legal(result.events)
    await Script(ExchangeSchedule("XNYS"), NOW.date(), strict=False).run(lambda made: made("XNYS", roll_session))
    await script.run(Session)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] -- takes no class
    script.data_every(60)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] -- no unit


async def check_kit(factory: ManagerFactory) -> None:
    """Strategies say what they draw; the fixture makes managers."""
    assert_type(schedules(min_sessions=1), SearchStrategy[FixedSchedule])
    assert_type(days("XNYS"), SearchStrategy[date])
    assert_type(durations(), SearchStrategy[timedelta])
    assert_type(fault_scripts(schedules(), day=days(), faults=["silence"]), SearchStrategy[Script])
    assert_type(trigger_sequences("legal"), SearchStrategy[list[Firing]])
    trigger_sequences("any")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] -- no such kind
    async with factory("XNYS", roll_session, config=LifecycleConfig()) as manager:
        assert_type(manager, SessionBoundaryManager)
    assert_type(factory.rolled_to, list[date])
