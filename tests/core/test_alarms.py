"""Alarms decided without I/O: which goes off, when, in which order, and what becomes of one that was missed."""

from collections import Counter
from datetime import date, datetime, timedelta

import pytest

from session_lifecycle import (
    Alarm,
    AlarmFired,
    AlarmSkipped,
    ClockStepped,
    FixedSchedule,
    LifecycleConfig,
    Misfire,
    MissedSessions,
    Resolution,
    RollSucceeded,
    Session,
    SpecialHours,
    StateChanged,
)
from session_lifecycle._journal.records import Entry, JournalState, Record
from session_lifecycle._model.alarm import FURTHEST
from tests.helpers.alarm_scheduler import EACH, LATEST, RUN_ONCE, ZERO, Counting, Life
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at, session, weekdays
from tests.helpers.harness import (
    ACTIVE,
    ERROR,
    FRIDAY,
    HOUR,
    MINUTE,
    NOT_STARTED,
    POST_MARKET,
    SECOND,
    THURSDAY,
    TUESDAY,
    WEDNESDAY,
    of,
)


def policy(missed: MissedSessions) -> LifecycleConfig:
    return LifecycleConfig(data_timeout=None, missed_sessions=missed)


def sleepless(n: int = 10) -> FixedSchedule:
    """Return a market that never sleeps: each session is a day, from midnight to midnight."""
    opens = at(MONDAY, (0, 0))
    return FixedSchedule(Session(MONDAY + i * DAY, opens + i * DAY, opens + (i + 1) * DAY) for i in range(n))


# ---- when ----


def test_it_goes_off_at_its_instant_in_every_session() -> None:
    """An alarm before the close goes off once for each session, on time, in ACTIVE, and nothing else is told of it."""
    alarm = Alarm("close", -15 * MINUTE)
    life = Life(weekdays(), at(MONDAY, (0, 0)), [alarm])
    life.run_to(at(FRIDAY, (21, 0)))
    expected = [
        AlarmFired(alarm, day, at(day, (20, 45)), at(day, (20, 45)), ACTIVE)
        for day in (MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY)
    ]
    assert life.alarms == expected
    assert all(each.lateness == ZERO for each in of(AlarmFired, life.log))


def test_the_next_alarm_is_a_deadline() -> None:
    """The next wall deadline is that of the alarm where no boundary comes before it."""
    life = Life(weekdays(), at(MONDAY, (15, 0)), [Alarm("open", 2 * HOUR), Alarm("open", HOUR)])
    assert life.core.deadlines[0] == at(MONDAY, (15, 30))
    life.run_to(at(MONDAY, (15, 30)))
    assert life.core.deadlines[0] == at(MONDAY, (16, 30))
    life.run_to(at(MONDAY, (16, 30)))
    assert life.core.deadlines[0] == at(MONDAY, (21, 0))


def test_a_microsecond_before_is_too_early() -> None:
    """A look one microsecond before its instant finds nothing due."""
    due = at(MONDAY, (20, 45))
    life = Life(weekdays(), at(MONDAY, (15, 0)), [Alarm("close", -15 * MINUTE)])
    life.sleep_to(due - MICROSECOND)
    assert life.alarms == []
    life.sleep_to(due)
    assert life.fired == [(MONDAY, due)]


@pytest.mark.parametrize(
    ("lateness", "catch_up"), [(ZERO, False), (SECOND, False), (SECOND + MICROSECOND, True), (HOUR, True)]
)
def test_grace_ends_after_its_last_microsecond(lateness: timedelta, catch_up: bool) -> None:
    """Seen exactly as late as its grace an alarm is on time, and one microsecond later it is missed."""
    due = at(MONDAY, (16, 0))
    life = Life(weekdays(), at(MONDAY, (15, 0)), [Alarm("open", 90 * MINUTE)])
    life.sleep_to(due + lateness)
    (told,) = of(AlarmFired, life.log)
    assert (told.scheduled_at, told.lateness, told.catch_up) == (due, lateness, catch_up)


@pytest.mark.parametrize("misfire", Misfire)
def test_a_missed_alarm_belongs_to_its_state_up_to_the_boundary(misfire: Misfire) -> None:
    """Missed by more than its grace it goes off late up to the end of its state; from there on the misfire decides."""
    alarm = Alarm("close", -15 * MINUTE, misfire)
    for seen, holds in ((at(MONDAY, (21, 0)) - MICROSECOND, True), (at(MONDAY, (21, 0)), False)):
        life = Life(weekdays(), at(MONDAY, (15, 0)), [alarm])
        life.sleep_to(seen)
        (told,) = life.alarms
        if holds or misfire is RUN_ONCE:
            assert told == AlarmFired(alarm, MONDAY, at(MONDAY, (20, 45)), seen, ACTIVE, catch_up=True)
        else:
            assert isinstance(told, AlarmSkipped)
            assert told.reason == "0:15:00 late, and the state that it belongs to has gone"


def test_at_a_boundary_an_alarm_belongs_to_what_begins() -> None:
    """An alarm at the close belongs to POST_MARKET: seen late in it, it goes off, and seen after it, it is skipped."""
    alarm = Alarm("close")
    life = Life(weekdays(), at(MONDAY, (15, 0)), [alarm])
    life.sleep_to(at(MONDAY, (21, 29)))
    (told,) = of(AlarmFired, life.log)
    assert (told.state, told.catch_up) == (POST_MARKET, True)
    life = Life(weekdays(), at(MONDAY, (15, 0)), [alarm])
    life.sleep_to(at(MONDAY, (21, 30)))
    assert (life.fired, life.skipped) == ([], [(MONDAY, at(MONDAY, (21, 0)))])


def test_a_break_is_no_state() -> None:
    """ACTIVE holds through a break: an alarm of the morning that was missed goes off late on the break, and after."""
    schedule = FixedSchedule([session(MONDAY, breaks=(((16, 0), (17, 0)),)), session(TUESDAY)])
    for seen in ((16, 30), (18, 0)):
        life = Life(schedule, at(MONDAY, (15, 0)), [Alarm("open", HOUR)])
        life.sleep_to(at(MONDAY, seen))
        assert life.fired == [(MONDAY, at(MONDAY, (15, 30)))]


@pytest.mark.parametrize("day", [MONDAY, TUESDAY])
def test_a_break_that_comes_to_be_at_run_time_has_its_alarms(day: date) -> None:
    """The session had none, or the alarms of those that it had have gone off already."""
    life = Life(weekdays(), at(MONDAY, (15, 0)), [Alarm("break_start"), Alarm("break_end", -5 * MINUTE)])
    breaks: list[tuple[datetime, datetime]] = []
    for hour in (16, 18):
        breaks.append((at(day, (hour, 0)), at(day, (hour, 30))))
        decision = life.core.change_schedule(SpecialHours(day, breaks=tuple(breaks)), life.now)
        assert decision is not None
        decision.apply(life.now)
        life.run_to(at(day, (hour + 1, 0)))
    assert life.fired == [(day, at(day, instant)) for instant in ((16, 0), (16, 25), (18, 0), (18, 25))]
    assert [event.number for event in of(AlarmFired, life.log)] == [1, 1, 2, 2]
    assert not life.skipped


# ---- order ----


def test_at_one_instant_boundaries_come_first_and_alarms_by_registration() -> None:
    """At the same instant edges and breaks come before alarms, and alarms come in the order of their registration."""
    schedule = FixedSchedule([session(MONDAY, breaks=(((16, 0), (17, 0)),)), session(TUESDAY)])
    alarms = [
        Alarm("close", -5 * HOUR),
        Alarm("break_start"),
        Alarm("open", 90 * MINUTE),
        Alarm("open"),
        Alarm("close"),
    ]
    life = Life(schedule, at(MONDAY, (14, 0)), alarms)
    life.log.clear()
    life.run_to(at(MONDAY, (16, 0)))
    told = [type(each).__name__ for each in life.log]
    assert told == [
        "StateChanged",
        "AlarmFired",
        "BreakStarted",
        "AlarmFired",
        "AlarmFired",
        "AlarmFired",
    ]
    assert [each.alarm for each in of(AlarmFired, life.log)] == [alarms[3], *alarms[:3]]


def test_one_look_tells_everything_in_the_order_of_time() -> None:
    """A look that comes late tells edges and alarms as they were due, each alarm in the state that it was due in."""
    alarms = [
        Alarm("close", -MICROSECOND, grace=HOUR),
        Alarm("close", grace=HOUR),
        Alarm("close", MICROSECOND, grace=HOUR),
    ]
    life = Life(weekdays(), at(MONDAY, (20, 59)), alarms)
    life.log.clear()
    life.sleep_to(at(MONDAY, (21, 30)))
    assert life.story[:6] == [
        "close - 0:00:00.000001",
        "close_market",
        "close",
        "close + 0:00:00.000001",
        "end_session",
        "roll",
    ]
    assert [each.state for each in of(AlarmFired, life.log)] == [ACTIVE, POST_MARKET, POST_MARKET]
    assert not any(each.catch_up for each in of(AlarmFired, life.log))


def test_at_an_instant_of_many_edges_an_alarm_comes_last() -> None:
    """Where a market never sleeps, alarms at midnight go off after all five edges, in the session that has begun."""
    life = Life(
        sleepless(), at(MONDAY, (23, 0)), [Alarm("close"), Alarm("pre_market_start"), Alarm("end"), Alarm("open")]
    )
    life.log.clear()
    life.run_to(at(TUESDAY, (0, 0)))
    edges = ["close_market", "end_session", "roll", "start_pre_market", "open_market"]
    assert life.story == [*edges, "close", "pre_market_start", "end", "open"]
    told = of(AlarmFired, life.log)
    assert [each.session for each in told] == [MONDAY, TUESDAY, MONDAY, TUESDAY]
    assert {each.state for each in told} == {ACTIVE}


# ---- waiting for a roll ----


def test_while_a_roll_is_owed_alarms_of_the_next_session_wait() -> None:
    """An alarm in the hours of a session that is yet to be rolled into waits for that, and costs no look."""
    late, open_ = Alarm("close", 2 * HOUR, grace=HOUR), Alarm("open", MINUTE)
    life = Life(weekdays(), at(MONDAY, (21, 0)), [late, open_])
    life.holds = True
    life.log.clear()
    life.looks = 0
    life.run_to(at(TUESDAY, (15, 0)))
    assert life.looks < 10
    assert life.alarms == []
    life.holds = False
    life.look()
    first, second = life.alarms
    assert isinstance(first, AlarmSkipped)
    assert (first.alarm, first.session) == (late, MONDAY)
    assert second == AlarmFired(open_, TUESDAY, at(TUESDAY, (14, 31)), at(TUESDAY, (15, 0)), ACTIVE, catch_up=True)
    assert [each for each in life.story if each != "end_session"][-4:] == [
        "roll",
        "start_pre_market",
        "open_market",
        "open + 0:01:00",
    ]


def test_the_ended_sessions_own_alarms_do_not_wait() -> None:
    """What is due in the hours of the session whose roll is owed goes off, however long that roll takes."""
    life = Life(weekdays(), at(MONDAY, (20, 0)), [Alarm("end", -MICROSECOND, RUN_ONCE)])
    life.holds = True
    life.sleep_to(at(MONDAY, (22, 0)))
    assert life.fired == [(MONDAY, at(MONDAY, (21, 30)) - MICROSECOND)]


def test_at_the_very_end_an_alarm_belongs_to_the_next_session() -> None:
    """At exactly `end` the clock says that the next session has come, so the alarm waits for its roll."""
    life = Life(weekdays(), at(MONDAY, (20, 0)), [Alarm("end")])
    life.holds = True
    life.run_to(at(MONDAY, (21, 40)))
    assert life.alarms == []
    life.holds = False
    life.look()
    (told,) = of(AlarmFired, life.log)
    assert (told.session, told.state, told.catch_up) == (MONDAY, NOT_STARTED, True)


@pytest.mark.parametrize("misfire", Misfire)
def test_sessions_that_are_skipped_have_no_alarms(misfire: Misfire) -> None:
    """Under LATEST nothing is told of the sessions between, of alarms that lie before their own session either."""
    alarms = [
        Alarm("open", -HOUR, misfire),
        Alarm("close", -HOUR, misfire),
        Alarm("open", timedelta(hours=-30), misfire),
    ]
    life = Life(sleepless(), at(MONDAY, (12, 0)), alarms, config=policy(LATEST))
    life.log.clear()
    life.sleep_to(at(FRIDAY, (12, 0)), suspended=True)
    assert of(RollSucceeded, life.log)[0].skipped == (TUESDAY, WEDNESDAY, THURSDAY)
    assert {each.session for each in life.alarms} == {MONDAY, FRIDAY, FRIDAY + DAY}
    expected = Counter(
        (alarm, day)
        for day, which in ((MONDAY, alarms[1:2]), (FRIDAY, [alarms[0], alarms[2]]), (FRIDAY + DAY, [alarms[2]]))
        for alarm in which
    )
    assert Counter((each.alarm, each.session) for each in life.alarms) == expected
    assert len(life.fired) == (4 if misfire is RUN_ONCE else 0) or life.fired == [(FRIDAY + DAY, at(FRIDAY, (18, 0)))]


def test_under_each_every_session_has_its_alarms() -> None:
    """Under EACH the alarms of every missed session are told in the order of time, each after its own roll."""
    alarms = [Alarm("open", -HOUR, RUN_ONCE), Alarm("close", -HOUR, RUN_ONCE)]
    life = Life(sleepless(), at(MONDAY, (12, 0)), alarms, config=policy(EACH))
    life.sleep_to(at(THURSDAY, (12, 0)), suspended=True)
    assert [each.session for each in of(AlarmFired, life.log) if each.alarm == alarms[1]] == [
        MONDAY,
        TUESDAY,
        WEDNESDAY,
    ]
    told = [each.scheduled_at for each in life.log if isinstance(each, AlarmFired | StateChanged)]
    assert told == sorted(told)


def test_two_skips_within_the_reach_of_one_alarm() -> None:
    """An alarm that is still to come days after its session goes on in the right one, past all that was skipped."""
    alarm = Alarm("close", 6 * DAY)
    life = Life(sleepless(20), at(MONDAY, (12, 0)), [alarm])
    life.log.clear()
    for days in (2, 4):
        life.sleep_to(at(MONDAY, (12, 0)) + days * DAY, suspended=True)
    life.run_to(at(MONDAY, (12, 0)) + 14 * DAY)
    skipped = {day for roll in of(RollSucceeded, life.log) for day in roll.skipped}
    assert skipped == {TUESDAY, THURSDAY}
    assert [day for day, _ in life.fired if day >= MONDAY] == [MONDAY + n * DAY for n in (0, 2, 4, 5, 6, 7)]


def test_a_session_that_a_person_gives_up_has_no_alarms() -> None:
    """A session skipped by `recover(SKIP)` has none of its own; the one rolled to after it has."""
    life = Life(weekdays(), at(MONDAY, (20, 0)), [Alarm("open", MINUTE, RUN_ONCE)], config=policy(EACH))
    life.log.clear()
    life.holds = True
    life.run_to(at(TUESDAY, (16, 0)))
    assert life.core.fail("by hand", life.now)
    life.core.recover(Resolution.SKIP, life.now).apply(life.now)
    life.holds = False
    life.look()
    assert of(RollSucceeded, life.log)[0].skipped == (TUESDAY,)
    life.run_to(at(WEDNESDAY, (15, 0)))
    assert life.fired == [(WEDNESDAY, at(WEDNESDAY, (14, 31)))]


def test_marked_as_done_the_session_is_entered_with_its_alarms() -> None:
    """After `recover(MARK_DONE)` the alarms that waited for the roll are told."""
    life = Life(weekdays(), at(MONDAY, (20, 0)), [Alarm("open", MINUTE)])
    life.holds = True
    life.run_to(at(TUESDAY, (16, 0)))
    life.core.fail("by hand", life.now)
    life.core.recover(Resolution.MARK_DONE, life.now).apply(life.now)
    life.look()
    assert (TUESDAY, at(TUESDAY, (14, 31))) in life.fired


# ---- where it begins ----


def test_at_the_start_earlier_alarms_of_the_session_are_missed() -> None:
    """Started in mid-session, what was due in a state that still holds goes off late; the rest is skipped."""
    alarms = [Alarm("pre_market_start", HOUR), Alarm("open", MINUTE), Alarm("close", -MINUTE)]
    life = Life(weekdays(), at(MONDAY, (16, 0)), alarms)
    assert [(type(each), each.alarm) for each in life.alarms] == [(AlarmSkipped, alarms[0]), (AlarmFired, alarms[1])]
    assert of(AlarmFired, life.log)[0].catch_up


@pytest.mark.parametrize(
    "start", [at(MONDAY, (21, 15)), at(MONDAY, (21, 30)), at(MONDAY, (22, 0)), at(MONDAY, (23, 0))]
)
def test_an_alarm_after_the_end_does_not_depend_on_when_one_starts(start: datetime) -> None:
    """Started when its session has ended, an alarm that is still to come goes off all the same, at its instant too."""
    life = Life(weekdays(), start, [Alarm("close", 2 * HOUR)])
    life.run_to(at(TUESDAY, (23, 30)))
    assert life.fired == [(MONDAY, at(MONDAY, (23, 0))), (TUESDAY, at(TUESDAY, (23, 0)))]
    assert life.skipped == []


def test_what_earlier_sessions_have_missed_is_over() -> None:
    """Alarms of sessions before the one that is begun in are over where they were due before the start."""
    life = Life(weekdays(), at(TUESDAY, (10, 0)), [Alarm("close", 2 * HOUR, RUN_ONCE)])
    assert life.alarms == []


def test_several_sessions_may_have_alarms_still_to_come() -> None:
    """With an offset of days, every session that is over has its own still to come, in their order."""
    life = Life(weekdays(n=10), at(FRIDAY, (0, 0)), [Alarm("close", 3 * DAY)])
    life.run_to(at(FRIDAY, (12, 0)) + 4 * DAY)
    assert life.fired == [(day, at(day, (21, 0)) + 3 * DAY) for day in (TUESDAY, WEDNESDAY, THURSDAY, FRIDAY)]


def test_after_a_session_of_a_long_post_market() -> None:
    """The session before may have closed long ago and ended just now: its alarm is still to come."""
    config = LifecycleConfig(data_timeout=None, post_market_roll_delay=20 * DAY)
    schedule = FixedSchedule([session(MONDAY), session(MONDAY + 30 * DAY)])
    end = at(MONDAY, (21, 0)) + 20 * DAY
    life = Life(schedule, end + MINUTE, [Alarm("end", HOUR)], config=config)
    life.run_to(end + DAY)
    assert life.fired == [(MONDAY, end + HOUR)]


def test_ahead_of_the_clock_only_what_lies_after_the_end_is_left() -> None:
    """An application that is in a later session has left the present one: of its alarms, those after its end remain."""
    alarms = [Alarm("close", -MINUTE, RUN_ONCE), Alarm("close", 2 * HOUR), Alarm("end", 3 * HOUR)]
    life = Life(weekdays(), at(MONDAY, (18, 0)), alarms, session=WEDNESDAY)
    life.run_to(at(WEDNESDAY, (21, 0)))
    assert life.fired == [
        (MONDAY, at(MONDAY, (23, 0))),
        (MONDAY, at(TUESDAY, (0, 30))),
        (WEDNESDAY, at(WEDNESDAY, (20, 59))),
    ]
    assert life.skipped == []


def test_far_ahead_of_the_clock_nothing_is_searched() -> None:
    """An application that is a year ahead of the clock does not have that year's sessions looked through."""
    schedule = Counting(weekdays(n=300).sessions(MONDAY, date(2026, 1, 1)))
    days = [each.date for each in schedule.sessions(MONDAY, date(2026, 1, 1))]
    life = Life(schedule, at(TUESDAY, (18, 0)), [Alarm("close", FURTHEST)], session=days[-20])
    life.run_to(at(TUESDAY, (18, 0)) + 10 * DAY)
    assert schedule.asked < 150
    assert [day for day, _ in life.fired] == [MONDAY, TUESDAY]


# ---- registered while it runs ----


def test_registered_while_it_runs_what_was_due_is_over() -> None:
    """Instants up to the very moment of registration are over, without a word; the next one counts."""
    for clock, days in (((15, 29), [MONDAY, TUESDAY]), ((15, 30), [TUESDAY]), ((16, 0), [TUESDAY])):
        life = Life(weekdays(), at(MONDAY, (15, 0)), [])
        life.run_to(at(MONDAY, clock))
        life.add(Alarm("open", HOUR, RUN_ONCE))
        life.run_to(at(TUESDAY, (16, 0)))
        assert [day for day, _ in life.fired] == days
        assert life.skipped == []


def test_registered_while_it_runs_is_a_deadline_at_once() -> None:
    """The answer to `deadlines` is right from the registration on."""
    life = Life(weekdays(), at(MONDAY, (15, 0)), [])
    life.core.add_alarm(Alarm("open", HOUR), life.now)
    assert life.core.deadlines[0] == at(MONDAY, (15, 30))


def test_registered_after_the_end_of_a_session() -> None:
    """An alarm of the session before that is still to come goes off too; one that is due right now is over."""
    for clock, days in (((22, 59), [MONDAY, TUESDAY]), ((23, 0), [TUESDAY])):
        life = Life(weekdays(), at(MONDAY, (15, 0)), [])
        life.run_to(at(MONDAY, clock))
        life.add(Alarm("close", 2 * HOUR))
        life.run_to(at(TUESDAY, (23, 0)))
        assert [day for day, _ in life.fired] == days


def test_registered_while_rolls_are_owed() -> None:
    """Registered when the machine is a week behind, nothing that was due before is told as the sessions are walked."""
    life = Life(weekdays(n=20), at(MONDAY, (20, 0)), [], config=policy(EACH))
    life.holds = True
    now = at(MONDAY, (16, 0)) + 14 * DAY
    life.sleep_to(now, suspended=True)
    life.add(Alarm("open", HOUR, RUN_ONCE))
    life.holds = False
    life.run_to(now + DAY)
    assert life.fired == [(MONDAY + 15 * DAY, at(MONDAY, (15, 30)) + 15 * DAY)]
    assert life.skipped == []


def test_registered_twice_it_is_one() -> None:
    """Equal alarms share their goings-off, whenever the second is registered."""
    life = Life(weekdays(), at(MONDAY, (14, 0)), [Alarm("open", HOUR), Alarm("open", HOUR)])
    life.add(Alarm("open", HOUR))
    life.run_to(at(TUESDAY, (15, 0)))
    life.add(Alarm("open", HOUR))
    life.run_to(at(TUESDAY, (16, 0)))
    assert [day for day, _ in life.fired] == [MONDAY, TUESDAY]


# ---- at most once ----


def test_a_step_back_repeats_nothing() -> None:
    """Whatever has gone off or been skipped stays so when the wall clock steps back before it."""
    alarms = [Alarm("open", HOUR), Alarm("pre_market_start", HOUR), Alarm("close", -MINUTE)]
    life = Life(weekdays(), at(MONDAY, (16, 0)), alarms)
    assert len(life.alarms) == 2
    life.wall -= 8 * HOUR
    life.look()
    assert of(ClockStepped, life.log)
    life.run_to(at(MONDAY, (21, 0)))
    assert len(life.alarms) == 3
    assert life.fired[-1] == (MONDAY, at(MONDAY, (20, 59)))


def test_a_session_walked_anew_repeats_nothing() -> None:
    """After fail and recover a session is walked from its start again, with no alarm that it has had."""
    life = Life(weekdays(), at(MONDAY, (14, 0)), [Alarm("open"), Alarm("open", HOUR), Alarm("open", 2 * HOUR)])
    life.run_to(at(MONDAY, (16, 0)))
    life.core.fail("by hand", life.now)
    life.core.recover(Resolution.RETRY, life.now).apply(life.now)
    life.run_to(at(MONDAY, (17, 0)))
    assert life.story.count("open_market") == 2
    assert [due for _, due in life.fired] == [at(MONDAY, clock) for clock in ((14, 30), (15, 30), (16, 30))]


def test_in_error_alarms_go_off() -> None:
    """ERROR stops no alarm of the session, and the alarm says in which state it found the machine."""
    life = Life(weekdays(), at(MONDAY, (14, 0)), [Alarm("open", HOUR), Alarm("close")])
    life.core.fail("by hand", life.now)
    life.run_to(at(MONDAY, (21, 10)))
    assert [(each.scheduled_at, each.state) for each in of(AlarmFired, life.log)] == [
        (at(MONDAY, (15, 30)), ERROR),
        (at(MONDAY, (21, 0)), ERROR),
    ]


def test_an_alarm_does_not_wait_behind_one_of_a_session_that_may_be_skipped() -> None:
    """Thursday may be skipped, so its alarm waits for the roll; that of Friday, due in Wednesday's time, does not."""
    wednesday, thursday, friday = (MONDAY + n * DAY for n in (2, 3, 4))
    alarm = Alarm("open", -2 * DAY, Misfire.RUN_ONCE)
    life = Life(weekdays(), at(MONDAY, (21, 30)), [alarm], config=policy(LATEST), session=wednesday)
    life.core.fail("by hand", life.now)
    life.sleep_to(at(thursday, (21, 30)))
    assert life.fired == [(wednesday, at(MONDAY, (14, 30))), (friday, at(wednesday, (14, 30)))]
    life.core.recover(Resolution.RETRY, life.now).apply(life.now)
    life.look()
    assert life.core.session.date == friday
    assert life.fired == [(wednesday, at(MONDAY, (14, 30))), (friday, at(wednesday, (14, 30)))]
    assert life.skipped == []


# ---- ended manually ----


def test_ended_by_hand_its_alarms_before_the_end_are_void() -> None:
    """Between the moment and the scheduled end its alarms are skipped, under either misfire; what lies after is not."""
    alarms = [
        Alarm("open", HOUR),
        Alarm("close", -HOUR, RUN_ONCE),
        Alarm("close", MINUTE),
        Alarm("end"),
        Alarm("end", MICROSECOND),
        Alarm("open", -20 * HOUR),
    ]
    life = Life(weekdays(), at(MONDAY, (15, 0)), alarms)
    life.log.clear()
    life.run_to(at(MONDAY, (16, 0)))
    life.core.end_session("fire drill", life.now).apply(life.now)
    life.look()
    life.run_to(at(TUESDAY, (14, 0)))
    assert [(type(each), each.alarm, each.session) for each in life.alarms] == [
        (AlarmFired, alarms[0], MONDAY),
        (AlarmFired, alarms[5], TUESDAY),
        (AlarmSkipped, alarms[1], MONDAY),
        (AlarmSkipped, alarms[2], MONDAY),
        (AlarmSkipped, alarms[3], MONDAY),
        (AlarmFired, alarms[4], MONDAY),
    ]
    assert {each.reason for each in of(AlarmSkipped, life.log)} == {
        "its session was ended manually at 2024-03-04T16:00:00+00:00"
    }
    assert of(AlarmFired, life.log)[1].state is NOT_STARTED


@pytest.mark.parametrize("restart", [at(MONDAY, (17, 0)), at(MONDAY, (23, 0))])
def test_ended_by_hand_in_an_earlier_run(restart: datetime) -> None:
    """A session that a journal tells to have been ended by hand has no alarms before its end, even if made up for."""
    alarms = [Alarm("close", -HOUR, RUN_ONCE), Alarm("close", 3 * HOUR)]
    life = Life(weekdays(), restart, alarms, journal_state=JournalState(MONDAY, ended=True))
    life.run_to(at(TUESDAY, (1, 0)))
    assert life.fired == [(MONDAY, at(TUESDAY, (0, 0)))]
    (told,) = of(AlarmSkipped, life.log)
    assert (told.alarm, told.reason) == (alarms[0], "its session was ended manually in an earlier run")


def test_a_roll_begun_by_the_clock_in_an_earlier_run_voids_nothing() -> None:
    """An open intent after the scheduled end says nothing about hands: its session's alarms are missed, not void."""
    journal_state = JournalState(MONDAY, ended=True, intent=Record(Entry.INTENT, MONDAY, at(MONDAY, (21, 30)), TUESDAY))
    life = Life(weekdays(), at(MONDAY, (22, 0)), [Alarm("close", -HOUR, RUN_ONCE)], journal_state=journal_state)
    assert life.fired == [(MONDAY, at(MONDAY, (20, 0)))]


def test_restarted_in_the_session_after_one_ended_by_hand() -> None:
    """Rolled already by an earlier run, and ahead of the clock: the ended session has left what lies after its end."""
    alarms = [Alarm("close", -HOUR, RUN_ONCE), Alarm("close", 2 * HOUR)]
    life = Life(weekdays(), at(MONDAY, (17, 0)), alarms, journal_state=JournalState(TUESDAY))
    life.run_to(at(TUESDAY, (22, 0)))
    assert life.fired == [(MONDAY, at(MONDAY, (23, 0))), (TUESDAY, at(TUESDAY, (20, 0)))]
    assert life.skipped == []


def test_a_session_that_the_schedule_has_lost_has_its_alarms() -> None:
    """A session that only the journal remembers is called off: what it still had before its end is void, not late."""
    schedule = FixedSchedule([session(MONDAY), session(WEDNESDAY)])
    journal_state = JournalState(TUESDAY, at(TUESDAY, (14, 30)), at(TUESDAY, (18, 0)))
    life = Life(
        schedule,
        at(TUESDAY, (12, 0)),
        [Alarm("close", -HOUR), Alarm("close", timedelta(hours=16))],
        journal_state=journal_state,
    )
    life.run_to(at(WEDNESDAY, (20, 30)))
    assert life.fired == [
        (MONDAY, at(TUESDAY, (13, 0))),
        (TUESDAY, at(WEDNESDAY, (10, 0))),
        (WEDNESDAY, at(WEDNESDAY, (20, 0))),
    ]
    assert life.skipped == [(TUESDAY, at(TUESDAY, (17, 0)))]
