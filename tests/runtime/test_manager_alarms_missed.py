"""Alarms whose instants pass while the process sleeps, is down, rolls, or after the session was ended early."""

import logging
from datetime import timedelta

import pytest

from session_lifecycle import (
    Alarm,
    AlarmFired,
    AlarmSkipped,
    ClockStepped,
    LifecycleConfig,
    MemoryJournal,
    Misfire,
    MissedSessions,
    Resolution,
    RetryPolicy,
    RollFailed,
    RollSucceeded,
    SessionBoundaryManager,
    StateChanged,
)
from tests.helpers.builders import MONDAY, at
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
    THURSDAY,
    TUESDAY,
    WEDNESDAY,
    make,
    make_rolling,
    of,
    path,
    roll_nothing,
    running,
    season,
)
from tests.helpers.manager_alarms import QUARTER, RUN_ONCE, ZERO, CountedClock, register, sleepless, told

pytestmark = pytest.mark.anyio


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
    """After a restart in the next session's hours what has fired is over, but for alarms that recur after a restart.

    What the earlier run did not have is made up for, once the session has been rolled into.
    """
    journal = MemoryJournal()

    def registered(manager: SessionBoundaryManager) -> tuple[list[AlarmFired], list[AlarmFired]]:
        once = register(manager, "open", HOUR, misfire=RUN_ONCE)
        return once, register(manager, "open", HOUR + MINUTE, misfire=RUN_ONCE, recurring_after_restart=True)

    manager, clock = make(at(MONDAY, (15, 0)), journal=journal)
    first = registered(manager)
    async with manager:
        await clock.advance_to(at(MONDAY, (16, 0)))
    assert [len(calls) for calls in first] == [1, 1]
    manager, clock = make(at(TUESDAY, (16, 0)), journal=journal)
    once, recurring = registered(manager)
    late = register(manager, "open", 2 * HOUR)
    before_close = register(manager, "close", -QUARTER, misfire=RUN_ONCE)
    async with running(manager) as log:
        await clock.advance_to(at(TUESDAY, (21, 0)))
    assert [(each.session, each.catch_up) for each in once] == [(TUESDAY, True)]
    assert [(each.session, each.catch_up) for each in recurring] == [(MONDAY, True), (TUESDAY, True)]
    assert [(each.session, each.catch_up) for each in late] == [(TUESDAY, False)]
    assert [(each.session, each.state, each.catch_up) for each in before_close] == [
        (MONDAY, ACTIVE, True),
        (TUESDAY, ACTIVE, False),
    ]
    assert [(each.alarm.offset, each.session) for each in of(AlarmSkipped, log)] == [(2 * HOUR, MONDAY)]


async def test_restarted_after_a_session_was_ended_by_hand():
    """The journal knows that the session was ended by hand: after a restart its alarms stay void."""
    journal = MemoryJournal()
    manager, clock, _ = make_rolling(at(MONDAY, (15, 0)))
    manager = SessionBoundaryManager(
        season(), roll_nothing, clock=clock, journal=journal, config=LifecycleConfig(auto_roll=False, data_timeout=None)
    )
    async with manager:
        await clock.advance(NOW)
        await manager.end_session("fire drill")
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
        await manager.end_session("fire drill")
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
