"""Alarms through the manager: handlers and iterators, at exact instants, missed ones, rolls, hands, and real time."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import anyio
import pytest

from session_lifecycle import (
    Alarm,
    AlarmFired,
    AlarmSkipped,
    ClockFailed,
    ConfigurationError,
    Event,
    FixedSchedule,
    HandlerFailed,
    HandlerTimeoutError,
    LifecycleConfig,
    ManagerStopped,
    Misfire,
    MissedSessions,
    Session,
    SessionBoundaryManager,
    SessionState,
    StateChanged,
    SystemClock,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at, session, weekdays
from tests.helpers.harness import (
    ACTIVE,
    DEAF,
    ERROR,
    FRIDAY,
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    POST_MARKET,
    SECOND,
    THURSDAY,
    TUESDAY,
    WEDNESDAY,
    changes,
    make,
    of,
    roll_nothing,
    running,
    season,
)
from tests.helpers.manager_alarms import QUARTER, RUN_ONCE, ZERO, CountedClock, register, sleepless, told

pytestmark = pytest.mark.anyio


def fired(log: list[Event]) -> list[tuple[date, datetime]]:
    """Return the session and the instant of every alarm that went off."""
    return [(each.session, each.scheduled_at) for each in of(AlarmFired, log)]


def lunching() -> FixedSchedule:
    """Return two weeks with two breaks a day; Wednesday is a half day, without the second."""
    pauses = (((16, 0), (16, 30)), ((18, 0), (19, 0)))
    days = [each.date for each in weekdays(n=10).sessions(MONDAY, MONDAY + 14 * DAY)]
    return FixedSchedule(
        session(day, close=(17, 30), breaks=pauses[:1]) if day == WEDNESDAY else session(day, breaks=pauses)
        for day in days
    )


# ---- at their instants ----


INSTANTS = {
    "pre_market_start": {MONDAY: [(9, 0)], TUESDAY: [(9, 0)], WEDNESDAY: [(9, 0)]},
    "open": {MONDAY: [(14, 30)], TUESDAY: [(14, 30)], WEDNESDAY: [(14, 30)]},
    "break_start": {MONDAY: [(16, 0), (18, 0)], TUESDAY: [(16, 0), (18, 0)], WEDNESDAY: [(16, 0)]},
    "break_end": {MONDAY: [(16, 30), (19, 0)], TUESDAY: [(16, 30), (19, 0)], WEDNESDAY: [(16, 30)]},
    "close": {MONDAY: [(21, 0)], TUESDAY: [(21, 0)], WEDNESDAY: [(17, 30)]},
    "end": {MONDAY: [(21, 30)], TUESDAY: [(21, 30)], WEDNESDAY: [(18, 0)]},
}


@pytest.mark.parametrize("anchor", INSTANTS)
@pytest.mark.parametrize("offset", [-20 * MINUTE, ZERO, 20 * MINUTE, MICROSECOND, -12 * HOUR, 15 * HOUR])
async def test_every_anchor_and_offset(anchor, offset):
    """Handler, iterator and events tell the same: each instant of each session once, exactly, half days included."""
    manager, clock = make(at(MONDAY, (0, 0)), schedule=lunching())
    calls = register(manager, anchor, offset)
    alarms = manager.alarms(anchor, offset)
    async with running(manager) as log:
        await clock.advance_to(at(THURSDAY, (8, 59)))
    expected = [
        (day, at(day, each) + offset)
        for day, clocks in INSTANTS[anchor].items()
        for each in clocks
        if at(MONDAY, (0, 0)) <= at(day, each) + offset <= at(THURSDAY, (8, 59))
    ]
    missed = {("pre_market_start", -12 * HOUR): 1}.get((anchor, offset), 0)
    early = [each for each in of(AlarmFired, log) if each.catch_up]
    mine = [pair for pair in fired(log) if pair[0] <= WEDNESDAY]
    assert mine == [(each.session, each.scheduled_at) for each in early if each.session <= WEDNESDAY] + expected
    assert len(early) == missed
    assert all(each.observed_at == each.scheduled_at for each in of(AlarmFired, log) if not each.catch_up)
    assert calls == [each async for each in alarms] == of(AlarmFired, log)
    assert of(AlarmSkipped, log) == []


async def test_a_handler_is_called_at_the_very_instant():
    """At a quarter of an hour before the close the handler runs, with an event that says all about it."""
    manager, clock = make(at(MONDAY, (15, 0)), name="desk")
    instants = []

    @manager.at("close", -QUARTER)
    async def flatten(event: AlarmFired) -> None:
        instants.append((event, clock.now(), manager.state))

    async with manager:
        await clock.advance_to(at(TUESDAY, (0, 0)))
    due = at(MONDAY, (20, 45))
    assert instants == [(AlarmFired(Alarm("close", -QUARTER), MONDAY, due, due, ACTIVE, name="desk"), due, ACTIVE)]


async def test_an_alarm_while_the_session_before_is_still_on():
    """Where the market never sleeps, an hour before the open lies in the session before, and is met there."""
    manager, clock = make(at(MONDAY, (12, 0)), schedule=sleepless())
    calls = register(manager, "open", -HOUR)
    async with running(manager) as log:
        await clock.advance_to(at(WEDNESDAY, (12, 0)))
        assert manager.session.date == WEDNESDAY
    assert [(each.session, each.scheduled_at, each.state, each.lateness) for each in calls] == [
        (TUESDAY, at(MONDAY, (23, 0)), ACTIVE, ZERO),
        (WEDNESDAY, at(TUESDAY, (23, 0)), ACTIVE, ZERO),
    ]
    assert [(each.session, each.scheduled_at) for each in of(AlarmSkipped, log)] == [
        (MONDAY, at(MONDAY, (0, 0)) - HOUR)  # missed before the start
    ]


async def test_before_the_pre_market_and_after_the_end():
    """Offsets lead out of the session: before its pre-market the state is NOT_STARTED, and after its end too."""
    manager, clock = make(at(MONDAY, (0, 0)))
    before, after = register(manager, "pre_market_start", -HOUR), register(manager, "end", HOUR)
    in_session_before = register(manager, "pre_market_start", -12 * HOUR)
    async with manager:
        await clock.advance_to(at(TUESDAY, (9, 0)))
    assert [(each.session, each.scheduled_at, each.state) for each in before] == [
        (day, at(day, (8, 0)), NOT_STARTED) for day in (MONDAY, TUESDAY)
    ]
    assert [(each.session, each.scheduled_at, each.state) for each in after] == [
        (MONDAY, at(MONDAY, (22, 30)), NOT_STARTED)
    ]
    assert [(each.session, each.state) for each in in_session_before if not each.catch_up] == [(TUESDAY, POST_MARKET)]


async def test_started_after_the_end_what_is_still_to_come_comes():
    """Started between a session's end and its alarm, that alarm is not lost, though the next session has come."""
    manager, clock = make(at(MONDAY, (22, 0)))
    calls = register(manager, "close", 2 * HOUR)
    async with manager:
        assert manager.session.date == TUESDAY
        await clock.advance_to(at(TUESDAY, (0, 0)))
    assert [(each.session, each.scheduled_at, each.catch_up) for each in calls] == [
        (MONDAY, at(MONDAY, (23, 0)), False)
    ]


# ---- order ----


async def test_at_one_instant_boundaries_come_first():
    """At the close the edge comes before the alarm, and of alarms at one instant the first registered is the first."""
    manager, clock = make(at(MONDAY, (20, 0)))
    register(manager, "end", -30 * MINUTE)
    register(manager, "close")
    register(manager, "close", -MICROSECOND)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (21, 0)))
    assert told(log)[2:] == ["close - 0:00:00.000001", "close_market", "end - 0:30:00", "close"]


async def test_one_look_that_covers_both_keeps_their_order():
    """Seen after the close within its grace, an alarm of a microsecond before it still comes before it."""
    manager, clock = make(at(MONDAY, (20, 0)))
    calls = register(manager, "close", -MICROSECOND)
    async with running(manager) as log:
        clock.step(HOUR + SECOND - MICROSECOND)
        await clock.advance(NOW)
    assert told(log)[2:] == ["close - 0:00:00.000001", "close_market"]
    (call,) = calls
    assert (call.state, call.catch_up, call.lateness) == (ACTIVE, False, SECOND)


async def test_an_alarm_at_the_start_of_a_break():
    """At the start of a break the break is told first, and the handler finds the session on it."""
    manager, clock = make(at(MONDAY, (15, 0)), schedule=lunching())
    found = []

    @manager.at("break_start")
    async def lunch(event: AlarmFired) -> None:
        found.append((manager.on_break, manager.can_trade))

    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (16, 0)))
    assert told(log)[2:] == ["break", "break_start"]
    assert found == [(True, False)]


async def test_handlers_of_one_alarm_start_in_the_order_of_registration():
    """Two handlers of equal alarms share one event, and start one after the other."""
    manager, clock = make(at(MONDAY, (20, 0)))
    order = []

    @manager.at("close")
    async def first(event: AlarmFired) -> None:
        order.append("first")

    @manager.at("close", timedelta(0))
    async def second(event: AlarmFired) -> None:
        order.append("second")

    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (21, 0)))
    assert order == ["first", "second"]
    assert len(of(AlarmFired, log)) == 1


async def test_alarms_that_differ_in_their_policy_are_two():
    """Same instant, another misfire: both go off, each for its own handler."""
    manager, clock = make(at(MONDAY, (20, 0)))
    plain, once = register(manager, "close"), register(manager, "close", misfire=RUN_ONCE)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (21, 0)))
    assert [each.alarm.misfire for each in of(AlarmFired, log)] == [Misfire.SKIP, RUN_ONCE]
    assert (len(plain), len(once)) == (1, 1)


# ---- registering, and ending ----


async def test_registered_while_it_runs():
    """Instants up to the registration are over, the present one included; the next is met, without another wake."""
    manager, clock = make(at(MONDAY, (15, 0)))
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (15, 30)))
        over, next_ = register(manager, "open", HOUR, misfire=RUN_ONCE), register(manager, "open", HOUR + MICROSECOND)
        await clock.advance_to(at(MONDAY, (15, 31)))
        assert (len(over), len(next_)) == (0, 1)
        await clock.advance_to(at(TUESDAY, (15, 30)))
    assert [each.scheduled_at for each in over] == [at(TUESDAY, (15, 30))]
    assert of(AlarmSkipped, log) == []


async def test_registered_by_a_handler():
    """A handler may register an alarm of the same session, which then goes off in it."""
    manager, clock = make(at(MONDAY, (14, 0)))
    calls = []

    @manager.on(SessionState.ACTIVE)
    async def opened(event: StateChanged) -> None:
        if not calls:
            calls.append(register(manager, "open", MINUTE))

    async with manager:
        await clock.advance_to(at(MONDAY, (14, 31)))
    assert [each.scheduled_at for each in calls[0]] == [at(MONDAY, (14, 31))]


async def test_an_iterator_ends_with_the_manager():
    """`alarms()` yields each going-off once, on time, and ends when the manager does."""
    manager, clock = make(at(MONDAY, (15, 0)))
    seen = []

    async def read() -> None:
        async for alarm in manager.alarms("close", -QUARTER):
            seen.append((alarm.session, clock.now()))  # noqa: PERF401 -- the instant of each matters
        seen.append("ended")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        async with manager:
            await clock.advance_to(at(WEDNESDAY, (0, 0)))
    assert seen == [(MONDAY, at(MONDAY, (20, 45))), (TUESDAY, at(TUESDAY, (20, 45))), "ended"]


async def test_an_iterator_sees_nothing_from_before_it():
    """An iterator begun later shares the alarm, and does not hear what went off before."""
    manager, clock = make(at(MONDAY, (15, 0)))
    register(manager, "open", HOUR)
    async with manager:
        await clock.advance_to(at(MONDAY, (16, 0)))
        alarms = manager.alarms("open", HOUR)
        await clock.advance_to(at(TUESDAY, (16, 0)))
    assert [each.session async for each in alarms] == [TUESDAY]


async def test_a_slow_reader_delays_nothing():
    """A reader that is busy finds what has gone off meanwhile waiting, in order."""
    manager, clock = make(at(MONDAY, (15, 0)))
    alarms = manager.alarms("close")
    async with manager:
        await clock.advance_to(at(FRIDAY, (21, 0)))
        assert manager.state is POST_MARKET
        assert [(await anext(alarms)).session for _ in range(5)] == [MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY]


async def test_after_the_end_nothing_can_be_registered():
    """Once the manager has stopped, `at` and `alarms` say so."""
    manager, clock = make(at(MONDAY, (15, 0)))
    async with manager:
        await clock.advance(NOW)
    with pytest.raises(ManagerStopped):
        register(manager, "close")
    with pytest.raises(ManagerStopped):
        manager.alarms("close")


@pytest.mark.parametrize(
    ("arguments", "options", "field"),
    [
        (("noon",), {}, "anchor"),
        (("close", 15), {}, "offset"),
        (("close", 8 * DAY), {}, "offset"),
        (("close",), {"misfire": "skip"}, "misfire"),
        (("close",), {"grace": -SECOND}, "grace"),
    ],
)
async def test_fault_03_bad_values_are_refused_by_the_call(arguments, options, field):
    """`at` and `alarms` refuse a bad value at once, and register nothing."""
    manager, clock = make(at(MONDAY, (20, 0)))
    for call in (manager.at, manager.alarms):
        with pytest.raises(ConfigurationError) as caught:
            call(*arguments, **options)
        assert caught.value.field == field
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (22, 0)))
    assert of(AlarmFired, log) == []


async def test_a_bad_timeout_or_a_handler_that_is_not_async_is_refused():
    """A timeout of nothing, or a plain function, is refused, and no alarm is registered by it."""
    manager, clock = make(at(MONDAY, (20, 0)))
    with pytest.raises(ConfigurationError):
        manager.at("close", timeout=ZERO)
    with pytest.raises(TypeError, match="async"):
        manager.at("close")(lambda event: None)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (22, 0)))
    assert of(AlarmFired, log) == []


# ---- handlers that fail ----


async def test_a_handler_that_takes_too_long():
    """After its timeout, by the manager's clock, the handler is cancelled and that is told; the next call is made."""
    manager, clock = make(at(MONDAY, (20, 0)))
    begun = []

    @manager.at("close", -QUARTER, timeout=MINUTE)
    async def hang(event: AlarmFired) -> None:
        begun.append(clock.now())
        await clock.sleep(DAY)

    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (21, 0)))
        (failure,) = of(HandlerFailed, log)
        assert isinstance(failure.error, HandlerTimeoutError)
        assert failure.observed_at == at(MONDAY, (20, 46))
        assert isinstance(failure.cause, AlarmFired)
        assert manager.state is POST_MARKET
        await clock.advance_to(at(TUESDAY, (21, 0)))
    assert begun == [at(MONDAY, (20, 45)), at(TUESDAY, (20, 45))]


async def test_a_handler_that_raises():
    """What a handler raises is told, and neither the machine nor the other handlers nor the next alarm mind."""
    manager, clock = make(at(MONDAY, (20, 0)))

    @manager.at("close")
    async def broken(event: AlarmFired) -> None:
        raise RuntimeError("no broker")

    calls = register(manager, "close")
    async with running(manager) as log:
        await clock.advance_to(at(TUESDAY, (21, 0)))
        assert manager.state is POST_MARKET
    assert [str(each.error) for each in of(HandlerFailed, log)] == ["no broker"] * 2
    assert [each.session for each in calls] == [MONDAY, TUESDAY]


async def test_a_missed_alarm_that_was_told_reaches_its_handler():
    """A late alarm is for its handler even when, by the time it runs, the state has moved on."""
    manager, clock = make(at(MONDAY, (15, 0)))
    calls = register(manager, "close", -QUARTER, misfire=RUN_ONCE)
    async with manager:
        clock.step(20 * HOUR)
        await clock.advance(NOW)
        assert manager.session.date == TUESDAY
    assert [each.catch_up for each in calls] == [True]


# ---- clocks and schedules that fail, and what it costs ----


@pytest.mark.parametrize("started", [True, False])
async def test_an_alarm_that_is_refused_leaves_no_handler(started):
    """Neither before the start nor later: with an equal alarm, it would be called."""

    class Failing(SimulatedClock):
        broken = False

        def now(self) -> datetime:
            if self.broken:
                raise OSError("no clock")
            return super().now()

    async def refused(event: AlarmFired) -> None:
        pytest.fail("it is no handler")

    clock = Failing(at(MONDAY, (8, 0)))
    manager = SessionBoundaryManager(season(), roll_nothing, clock=clock, config=DEAF)

    def register_with_a_broken_clock() -> None:
        clock.broken = True
        with pytest.raises(ClockFailed, match="no clock"):
            manager.at("open")(refused)
        clock.broken = False

    if not started:
        register_with_a_broken_clock()
    async with running(manager) as log:
        if started:
            register_with_a_broken_clock()
        calls = register(manager, "open")
        await clock.advance_to(at(MONDAY, (15, 0)))
    assert len(calls) == 1
    assert of(HandlerFailed, log) == []


class Fickle(FixedSchedule):
    """A schedule that counts what it is asked, and can be made to raise."""

    asked = 0
    broken = False

    def _get(self, at: int, wanted: object) -> Session:
        self.asked += 1
        if self.broken:
            raise ConnectionError("no calendar")
        return super()._get(at, wanted)


def fickle() -> Fickle:
    return Fickle(season().sessions(MONDAY, date(2025, 1, 1)))


@pytest.mark.parametrize("offset", [-HOUR, 5 * HOUR, -3 * DAY])
async def test_a_schedule_that_raises_while_alarms_look_ahead(offset):
    """Looking ahead on a schedule that fails is an ERROR with that reason, costs few looks, and is made up for."""
    schedule, clock = fickle(), CountedClock(at(MONDAY, (15, 0)))
    manager = SessionBoundaryManager(schedule, roll_nothing, clock=clock, config=DEAF)
    calls = register(manager, "close", offset, misfire=RUN_ONCE)
    async with running(manager):
        await clock.time.advance(NOW)
        schedule.broken = True
        before = clock.asked
        await clock.time.advance_to(at(TUESDAY, (16, 0)))
        assert manager.state is ERROR
        assert "no calendar" in manager.status().reason
        assert clock.asked - before < 60
        schedule.broken = False
        await manager.recover()
        await clock.time.advance_to(at(WEDNESDAY, (20, 30)))
        assert manager.session.date == WEDNESDAY
    sessions = [each.session for each in calls]
    assert sessions == sorted(set(sessions))
    due = [at(day, (21, 0)) + offset for day in (MONDAY, TUESDAY, WEDNESDAY)]
    assert [each.scheduled_at for each in calls][: sum(each <= at(WEDNESDAY, (20, 30)) for each in due)] == [
        each for each in due if each <= at(WEDNESDAY, (20, 30))
    ]


async def test_a_break_that_never_comes_is_not_searched_for():
    """Alarms of breaks, in sessions without any, do not have the schedule walked: a month costs a month's questions."""
    asked = []
    for anchors in ((), ("break_start", "break_end")):
        schedule, clock = (
            Fickle(weekdays(n=1000).sessions(MONDAY, date(2030, 1, 1))),
            SimulatedClock(at(MONDAY, (15, 0))),
        )
        manager = SessionBoundaryManager(schedule, roll_nothing, clock=clock, config=DEAF)
        for anchor in anchors:
            register(manager, anchor)
        async with manager:
            await clock.advance(NOW)
            begun = schedule.asked
            await clock.advance(28 * DAY)
            asked.append((begun, schedule.asked - begun))
    (plain, plain_month), (begun, month) = asked
    assert begun - plain < 100
    assert month - plain_month < 20 * 2 * 8


async def test_many_alarms_and_nothing_to_do():
    """Fifty alarms cost no look between their instants."""
    clock = CountedClock(at(MONDAY, (15, 0)))
    manager = SessionBoundaryManager(season(), roll_nothing, clock=clock, config=DEAF)
    calls = [register(manager, "close", -n * SECOND) for n in range(50)]
    async with manager:
        await clock.time.advance(NOW)
        before = clock.asked
        await clock.time.advance_to(at(MONDAY, (20, 59)))
        assert clock.asked - before <= 6
        await clock.time.advance_to(at(MONDAY, (21, 0)))
    assert all(len(each) == 1 for each in calls)


# ---- on the real clock ----


def soon(then: datetime, clocks: list[int]) -> FixedSchedule:
    """Return sessions of some tenths of a second, from a number of milliseconds after `then`."""
    sessions = []
    for n, start in enumerate(clocks):
        opens = then + timedelta(milliseconds=start)
        sessions.append(Session(date(2000, 1, 1) + n * DAY, opens, opens + timedelta(milliseconds=150)))
    return FixedSchedule(sessions)


@pytest.mark.costly
async def test_on_the_real_clock():
    """In real time an alarm goes off in its session, never early, once, and after the edge of the same instant."""
    then = datetime.now(UTC)
    schedule = soon(then, [100, 350, 3_600_000])
    config = LifecycleConfig(
        data_timeout=None, pre_market=ZERO, post_market_roll_delay=ZERO, missed_sessions=MissedSessions.EACH
    )
    clock = SystemClock(timedelta(milliseconds=50))
    manager = SessionBoundaryManager(schedule, roll_nothing, session=date(2000, 1, 1), config=config, clock=clock)
    generous: Callable[..., list[AlarmFired]] = lambda *args: register(manager, *args, misfire=RUN_ONCE)  # noqa: E731 -- a short word for it
    before, opened = generous("close", timedelta(milliseconds=-50)), generous("open")
    events = manager.events()
    with anyio.fail_after(60):
        async with manager:
            async for alarm in manager.alarms("close", timedelta(milliseconds=-50), misfire=RUN_ONCE):
                if alarm.session == date(2000, 1, 2):
                    break
            await manager.wait_for(SessionState.NOT_STARTED)
    log = [event async for event in events]
    for calls, offset in ((before, timedelta(milliseconds=100)), (opened, ZERO)):
        assert [(each.session, each.scheduled_at) for each in calls] == [
            (date(2000, 1, 1), then + timedelta(milliseconds=100) + offset),
            (date(2000, 1, 2), then + timedelta(milliseconds=350) + offset),
        ]
        assert all(each.observed_at >= each.scheduled_at for each in calls)
    names = told(log)
    assert names.index("open_market") < names.index("open")
    assert len(changes(log)) >= 10
