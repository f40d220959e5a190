"""Alarms through the manager: handlers and iterators, at exact instants, missed ones, rolls, hands, and real time."""

import logging
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import anyio
import pytest

from session_lifecycle import (
    Alarm,
    AlarmFired,
    AlarmSkipped,
    BreakStarted,
    ClockStepped,
    ConfigurationError,
    Event,
    FixedSchedule,
    HandlerFailed,
    HandlerTimeoutError,
    LifecycleConfig,
    ManagerStopped,
    MemoryJournal,
    Misfire,
    MissedSessions,
    Resolution,
    RetryPolicy,
    RollFailed,
    RollSucceeded,
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
    TUESDAY,
    WEDNESDAY,
    changes,
    make,
    make_rolling,
    of,
    path,
    roll_nothing,
    running,
    season,
)

pytestmark = pytest.mark.anyio

ZERO = timedelta(0)
RUN_ONCE = Misfire.RUN_ONCE
QUARTER = timedelta(minutes=15)


class CountedClock:
    """A simulated clock that counts how often it is looked at."""

    def __init__(self, start: datetime) -> None:
        self.time = SimulatedClock(start)
        self.asked = 0
        self.monotonic = self.time.monotonic
        self.sleep_until = self.time.sleep_until
        self.sleep = self.time.sleep
        self.jumping = self.time.jumping

    def now(self) -> datetime:
        self.asked += 1
        return self.time.now()


def fired(log: list[Event]) -> list[tuple[date, datetime]]:
    """Return the session and the instant of every alarm that went off."""
    return [(each.session, each.scheduled_at) for each in of(AlarmFired, log)]


def told(log: list[Event]) -> list[str]:
    """Return edges by their trigger, breaks as such, alarms by their text; skipped ones in brackets."""
    names: list[str] = []
    for each in log:
        match each:
            case StateChanged():
                names.append(each.trigger)
            case BreakStarted():
                names.append("break")
            case AlarmFired():
                names.append(str(each.alarm))
            case AlarmSkipped():
                names.append(f"({each.alarm})")
    return names


def register(manager: SessionBoundaryManager, *arguments: Any, **options: Any) -> list[AlarmFired]:
    """Register a handler for an alarm that notes what it is called with."""
    calls: list[AlarmFired] = []

    @manager.at(*arguments, **options)
    async def note(event: AlarmFired) -> None:
        calls.append(event)

    return calls


def lunching() -> FixedSchedule:
    """Return two weeks with two breaks a day; Wednesday is a half day, without the second."""
    pauses = (((16, 0), (16, 30)), ((18, 0), (19, 0)))
    days = [each.date for each in weekdays(n=10).sessions(MONDAY, MONDAY + 14 * DAY)]
    return FixedSchedule(
        session(day, close=(17, 30), breaks=pauses[:1]) if day == WEDNESDAY else session(day, breaks=pauses)
        for day in days
    )


def sleepless(n: int = 30) -> FixedSchedule:
    """Return a market that never sleeps: each session is a day, from midnight to midnight."""
    opens = at(MONDAY, (0, 0))
    return FixedSchedule(Session(MONDAY + i * DAY, opens + i * DAY, opens + (i + 1) * DAY) for i in range(n))


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


# ---- missed: asleep ----


@pytest.mark.parametrize("misfire", Misfire)
async def test_suspended_over_it_within_its_state(misfire):
    """Woken while the state still holds, it goes off late, whatever the misfire."""
    manager, clock = make(at(MONDAY, (15, 0)))
    calls = register(manager, "open", HOUR, misfire=misfire)
    async with running(manager) as log:
        clock.step(5 * HOUR)
        await clock.advance(NOW)
        assert len(of(ClockStepped, log)) == 1
    assert [(each.catch_up, each.lateness, each.state) for each in calls] == [(True, 4 * HOUR + 30 * MINUTE, ACTIVE)]
    assert of(AlarmSkipped, log) == []


@pytest.mark.parametrize("misfire", Misfire)
@pytest.mark.parametrize("grace", [SECOND, 2 * HOUR])
async def test_suspended_over_it_and_past_its_state(misfire, grace):
    """Woken when the state has gone, the grace decides, then the misfire: on time, late, or skipped with a reason."""
    manager, clock = make(at(MONDAY, (15, 0)))
    alarm = Alarm("close", -QUARTER, misfire, grace)
    calls = register(manager, "close", -QUARTER, misfire=misfire, grace=grace)
    woken = at(MONDAY, (21, 10))
    async with running(manager) as log:
        clock.step(woken - clock.now())
        await clock.advance(NOW)
        assert manager.state is POST_MARKET
    due = at(MONDAY, (20, 45))
    if grace == 2 * HOUR:
        assert calls == [AlarmFired(alarm, MONDAY, due, woken, ACTIVE)]
    elif misfire is RUN_ONCE:
        assert calls == [AlarmFired(alarm, MONDAY, due, woken, ACTIVE, catch_up=True)]
    else:
        assert calls == []
        reason = "0:25:00 late, and the state that it belongs to has gone"
        assert of(AlarmSkipped, log) == [AlarmSkipped(alarm, MONDAY, due, woken, reason)]
    assert len(of(AlarmFired, log)) + len(of(AlarmSkipped, log)) == 1


async def test_a_skipped_alarm_is_logged(caplog):
    """What is survived is never silent: a skipped alarm is an event, and a warning in the log."""
    manager, clock = make(at(MONDAY, (15, 0)))
    register(manager, "close", -QUARTER)
    with caplog.at_level(logging.INFO, logger="session_lifecycle"):
        async with manager:
            clock.step(7 * HOUR)
            await clock.advance(NOW)
    lines = [(each.levelno, each.getMessage()) for each in caplog.records if "alarm" in each.getMessage()]
    ((level, message),) = lines
    assert level == logging.WARNING
    assert "close - 0:15:00" in message
    assert "skipped" in message


@pytest.mark.parametrize(
    ("policy", "days"),
    [(MissedSessions.EACH, [MONDAY, TUESDAY, WEDNESDAY, THURSDAY]), (MissedSessions.LATEST, [MONDAY, THURSDAY])],
)
async def test_suspended_over_several_sessions(policy, days):
    """Under EACH every session has its alarms, late; under LATEST the sessions that are skipped have none."""
    manager, clock, _ = make_rolling(at(MONDAY, (15, 0)), missed_sessions=policy)
    calls = register(manager, "open", HOUR, misfire=RUN_ONCE)
    skips = register(manager, "open", HOUR)
    async with running(manager) as log:
        clock.step(at(THURSDAY, (16, 0)) - clock.now())
        await clock.advance(NOW)
        assert manager.session.date == THURSDAY
    assert [each.session for each in calls] == days
    assert [each.session for each in skips] == [THURSDAY]
    assert [each.session for each in of(AlarmSkipped, log)] == days[:-1]
    order = [each.scheduled_at for each in log if isinstance(each, StateChanged | AlarmFired | AlarmSkipped)]
    assert order == sorted(order)


async def test_sessions_that_are_skipped_lose_their_early_alarms_too():
    """Under LATEST an alarm that lies before its own session, in one that was missed, is not made up for."""
    manager, clock = make(at(MONDAY, (12, 0)), schedule=sleepless())
    calls = register(manager, "open", -HOUR, misfire=RUN_ONCE)
    async with running(manager) as log:
        clock.step(at(THURSDAY, (12, 0)) - clock.now())
        await clock.advance(NOW)
    (roll,) = of(RollSucceeded, log)
    assert roll.skipped == (TUESDAY, WEDNESDAY)
    assert [each.session for each in calls] == [MONDAY, THURSDAY]


async def test_a_step_back_repeats_nothing():
    """Stepped back before an alarm that has gone off, the clock passes it again, and it stays silent."""
    manager, clock = make(at(MONDAY, (15, 0)))
    calls = register(manager, "open", HOUR)
    late = register(manager, "open", 3 * HOUR)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (16, 0)))
        clock.step(-2 * HOUR)
        await clock.advance(NOW)
        assert [each.delta for each in of(ClockStepped, log)] == [-2 * HOUR]
        await clock.advance_to(at(TUESDAY, (0, 0)))
    assert [each.scheduled_at for each in calls] == [at(MONDAY, (15, 30))]
    assert [(each.scheduled_at, each.lateness) for each in late] == [(at(MONDAY, (17, 30)), ZERO)]


# ---- missed: down ----


async def test_started_in_mid_session():
    """At the start, what the session has had counts as missed: late within its state, skipped beyond, unless once."""
    manager, clock = make(at(MONDAY, (16, 0)))
    early, once = register(manager, "pre_market_start", HOUR), register(manager, "open", misfire=RUN_ONCE)
    held, before = register(manager, "open", MINUTE), register(manager, "open", -MINUTE, misfire=RUN_ONCE)
    async with running(manager) as log:
        await clock.advance(NOW)
    assert told(log) == [
        "start_pre_market",
        "(pre_market_start + 1:00:00)",
        "open - 0:01:00",
        "open_market",
        "open",
        "open + 0:01:00",
    ]
    assert [len(each) for each in (early, once, held, before)] == [0, 1, 1, 1]
    assert before[0].state is PRE_MARKET
    assert all(each.catch_up for each in of(AlarmFired, log))


async def test_restarted_with_a_journal():
    """A restart in the next session's hours rolls first, then makes up for that session's alarms."""
    journal = MemoryJournal()
    manager, clock = make(at(MONDAY, (15, 0)), journal=journal)
    calls = register(manager, "open", HOUR)
    async with manager:
        await clock.advance_to(at(MONDAY, (16, 0)))
    assert len(calls) == 1
    manager, clock = make(at(TUESDAY, (16, 0)), journal=journal)
    calls = register(manager, "open", HOUR)
    before_close = register(manager, "close", -QUARTER, misfire=RUN_ONCE)
    async with running(manager) as log:
        await clock.advance_to(at(TUESDAY, (21, 0)))
    assert [(each.session, each.catch_up) for each in calls] == [(TUESDAY, True)]
    assert [(each.session, each.state, each.catch_up) for each in before_close] == [
        (MONDAY, ACTIVE, True),
        (TUESDAY, ACTIVE, False),
    ]
    assert [each.session for each in of(AlarmSkipped, log)] == [MONDAY]


async def test_restarted_after_a_session_was_ended_by_hand():
    """The journal knows that the session was ended by hand: after a restart its alarms stay void."""
    journal = MemoryJournal()
    manager, clock, _ = make_rolling(at(MONDAY, (15, 0)))
    manager = SessionBoundaryManager(
        season(), roll_nothing, clock=clock, journal=journal, config=LifecycleConfig(auto_roll=False, data_timeout=None)
    )
    async with manager:
        await clock.advance(NOW)
        manager.end_session("fire drill")
    manager, clock = make(
        at(MONDAY, (16, 0)), journal=journal, config=LifecycleConfig(auto_roll=False, data_timeout=None)
    )
    calls = register(manager, "close", -QUARTER, misfire=RUN_ONCE)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (21, 0)))
        assert manager.state is ENDED
    assert calls == []
    assert [each.reason for each in of(AlarmSkipped, log)] == ["its session was ended manually in an earlier run"]


# ---- rolls ----


async def test_while_the_roll_takes_its_time_the_alarm_waits():
    """An alarm in the next session's hours waits for the roll that is under way, and then goes off, late or in time."""
    manager, clock, _ = make_rolling(at(MONDAY, (21, 0)), 12 * HOUR, timedelta(0), roll_timeout=None)
    patient, pressed = (
        register(manager, "pre_market_start", MINUTE, grace=HOUR),
        register(manager, "pre_market_start", MINUTE),
    )
    late = register(manager, "close", HOUR)
    async with running(manager) as log:
        await clock.advance_to(at(TUESDAY, (9, 29)))
        assert [each for each in of(AlarmFired, log) if each.session == TUESDAY] == []
        assert late == []
        await clock.advance_to(at(TUESDAY, (9, 30)))
        assert manager.session.date == TUESDAY
    assert [(each.session, each.catch_up) for each in patient] == [(TUESDAY, False)]
    assert [(each.session, each.catch_up) for each in pressed] == [(TUESDAY, True)]
    assert [each.session for each in late] == []
    assert [each.session for each in of(AlarmSkipped, log) if each.alarm.anchor == "close"] == [MONDAY]


async def test_a_failing_roll_error_and_recovery():
    """In ERROR with a roll owed, alarms of the next session wait; after recover() they are told, once."""
    error = OSError("no database")
    manager, clock, _ = make_rolling(
        at(MONDAY, (21, 0)), error, error, roll_retry=RetryPolicy(attempts=2, initial=SECOND)
    )
    opened, closing = register(manager, "open", MINUTE), register(manager, "close", -QUARTER)
    ended = register(manager, "end")
    async with running(manager) as log:
        await clock.advance_to(at(TUESDAY, (15, 0)))
        assert manager.state is ERROR
        assert len(of(RollFailed, log)) == 2
        known = len(log)
        assert not [each for each in of(AlarmFired, log) if each.session == TUESDAY]
        await manager.recover()
        await clock.advance(NOW)
        assert manager.state is ACTIVE
        assert told(log[known:]) == [
            "recover",
            "roll",
            "(end)",
            "start_pre_market",
            "open_market",
            "open + 0:01:00",
        ]
        await clock.advance_to(at(TUESDAY, (21, 0)))
    assert [(each.session, each.catch_up) for each in opened if each.session == TUESDAY] == [(TUESDAY, True)]
    assert [each.session for each in closing] == [TUESDAY]
    assert ended == []


async def test_rolled_by_hand_alarms_wait_for_the_hand():
    """With `auto_roll` off, the next session's alarms wait until somebody has rolled."""
    manager, clock, _ = make_rolling(at(MONDAY, (21, 0)), auto_roll=False)
    calls = register(manager, "pre_market_start", HOUR)
    async with running(manager):
        await clock.advance_to(at(TUESDAY, (11, 0)))
        assert calls == []
        await manager.roll()
        await clock.advance(NOW)
    assert [(each.session, each.state, each.catch_up) for each in calls] == [(TUESDAY, PRE_MARKET, True)]


async def test_a_waiting_alarm_costs_no_looks():
    """While an alarm waits for a roll the driver sleeps from boundary to boundary: no spin, on any event loop."""
    clock = CountedClock(at(MONDAY, (21, 0)))
    config = LifecycleConfig(auto_roll=False, data_timeout=None)
    manager = SessionBoundaryManager(season(), roll_nothing, clock=clock, config=config)
    for n in range(10):
        register(manager, "end", n * MINUTE)
    async with manager:
        await clock.time.advance_to(at(MONDAY, (21, 29)))
        before = clock.asked
        await clock.time.advance_to(at(TUESDAY, (20, 0)))
        assert manager.state is ENDED
    assert clock.asked - before < 60


# ---- by hand ----


async def test_ended_by_hand():
    """What a session ended by hand still had before its scheduled end is skipped; what lies after that goes off."""
    manager, clock = make(at(MONDAY, (15, 0)))
    earlier, closing = register(manager, "open", HOUR), register(manager, "close", -QUARTER, misfire=RUN_ONCE)
    ended, later = register(manager, "end"), register(manager, "end", HOUR)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (16, 0)))
        manager.end_session("fire drill")
        await clock.advance_to(at(TUESDAY, (16, 0)))
    assert [each.session for each in earlier] == [MONDAY, TUESDAY]
    assert [each.session for each in closing] == []
    assert [each.session for each in ended] == []
    assert [(each.session, each.state) for each in later] == [(MONDAY, NOT_STARTED)]
    assert [(each.alarm.anchor, each.observed_at) for each in of(AlarmSkipped, log)] == [
        ("close", at(MONDAY, (20, 45))),
        ("end", at(MONDAY, (21, 30))),
    ]
    assert {each.reason for each in of(AlarmSkipped, log)} == {
        "its session was ended manually at 2024-03-04T16:00:00+00:00"
    }


async def test_walked_anew_after_recover_no_alarm_is_repeated():
    """fail() and recover() walk the session from its start again; its alarms have gone off, and stay so."""
    manager, clock = make(at(MONDAY, (14, 0)))
    calls = register(manager, "open")
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (16, 0)))
        manager.fail("by hand")
        await manager.recover()
        await clock.advance_to(at(MONDAY, (20, 0)))
        assert path(log).count("open_market") == 2
    assert len(calls) == len(of(AlarmFired, log)) == 1


async def test_an_alarm_in_error():
    """ERROR does not silence an alarm: it goes off on time, and says in which state."""
    manager, clock = make(at(MONDAY, (15, 0)))
    calls = register(manager, "close", -QUARTER)
    async with running(manager):
        manager.fail("by hand")
        await clock.advance_to(at(MONDAY, (21, 0)))
        assert manager.state is ERROR
    assert [(each.state, each.catch_up, each.lateness) for each in calls] == [(ERROR, False, ZERO)]


async def test_skipped_in_recovery_the_session_has_no_alarms():
    """A session that a person gives up by `recover(SKIP)` has no alarms; the next one has."""
    manager, clock, _ = make_rolling(
        at(MONDAY, (21, 0)), OSError(), roll_retry=RetryPolicy(attempts=1), missed_sessions=MissedSessions.EACH
    )
    calls = register(manager, "open", misfire=RUN_ONCE)
    async with running(manager):
        await clock.advance_to(at(TUESDAY, (15, 0)))
        await manager.recover(Resolution.SKIP)
        await clock.advance_to(at(WEDNESDAY, (15, 0)))
    assert [each.session for each in calls] == [MONDAY, WEDNESDAY]


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


# ---- schedules that fail, and what it costs ----


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
        sessions.append(Session(date(2000, 1, 1) + n * DAY, opens, opens + timedelta(milliseconds=300)))
    return FixedSchedule(sessions)


async def test_on_the_real_clock():
    """In real time an alarm goes off in its session, never early, once, and after the edge of the same instant."""
    then = datetime.now(UTC)
    schedule = soon(then, [200, 700, 3_600_000])
    config = LifecycleConfig(
        data_timeout=None, pre_market=ZERO, post_market_roll_delay=ZERO, missed_sessions=MissedSessions.EACH
    )
    clock = SystemClock(timedelta(milliseconds=50))
    manager = SessionBoundaryManager(schedule, roll_nothing, session=date(2000, 1, 1), config=config, clock=clock)
    generous: Callable[..., list[AlarmFired]] = lambda *args: register(manager, *args, misfire=RUN_ONCE)  # noqa: E731
    before, opened = generous("close", timedelta(milliseconds=-100)), generous("open")
    events = manager.events()
    with anyio.fail_after(60):
        async with manager:
            async for alarm in manager.alarms("close", timedelta(milliseconds=-100), misfire=RUN_ONCE):
                if alarm.session == date(2000, 1, 2):
                    break
            await manager.wait_for(SessionState.NOT_STARTED)
    log = [event async for event in events]
    for calls, offset in ((before, timedelta(milliseconds=200)), (opened, ZERO)):
        assert [(each.session, each.scheduled_at) for each in calls] == [
            (date(2000, 1, 1), then + timedelta(milliseconds=200) + offset),
            (date(2000, 1, 2), then + timedelta(milliseconds=700) + offset),
        ]
        assert all(each.observed_at >= each.scheduled_at for each in calls)
    names = told(log)
    assert names.index("open_market") < names.index("open")
    assert len(changes(log)) >= 10
