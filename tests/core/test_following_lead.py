"""Alarms of a standby, and the lead gained and lost."""

from datetime import timedelta

from session_lifecycle import (
    Alarm,
    AlarmFired,
    AlarmInterrupted,
    AlarmSkipped,
    Closure,
    Entry,
    Misfire,
    Record,
    RollFailed,
    RollFollowed,
    StateChanged,
)
from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._model.clock import Reading
from session_lifecycle.testing import assert_legal
from tests.helpers.builders import MONDAY, at, weekdays
from tests.helpers.harness import (
    ACTIVE,
    DEAF,
    ENDED,
    ERROR,
    HOUR,
    MINUTE,
    THURSDAY,
    TUESDAY,
    WEDNESDAY,
    of,
)
from tests.helpers.replicas import (
    FLATTEN,
    NOON,
    SCHEDULE,
    Replica,
    follow,
    pair,
)

# ---- alarms ----


def test_a_standby_fires_no_alarm() -> None:
    """It waits for no alarm either: no deadline is one. What the leader fires is over, and the rest is the heir's."""
    quarter, half = FLATTEN, Alarm("close", -30 * MINUTE)
    leader, standby = pair(at(MONDAY, (20, 0)), alarms=[quarter, half])
    assert standby.core.deadlines[0] == at(MONDAY, (21, 0))
    leader.pass_to(at(MONDAY, (20, 30)))
    follow(leader, standby)
    standby.pass_to(at(MONDAY, (20, 50)))
    assert not standby.alarms
    standby.lead()
    (fired,) = of(AlarmFired, standby.log)
    assert (fired.alarm, fired.catch_up, fired.lateness) == (quarter, True, 5 * MINUTE)


def test_an_alarm_that_is_too_late_by_the_hand_over_is_skipped() -> None:
    """By its `misfire`, as after a restart."""
    alarms = [FLATTEN, Alarm("close", -20 * MINUTE, Misfire.RUN_ONCE)]
    _, standby = pair(at(MONDAY, (20, 0)), alarms=alarms)
    standby.pass_to(at(MONDAY, (21, 10)))
    standby.lead()
    assert [event.alarm for event in of(AlarmSkipped, standby.log)] == [alarms[0]]
    assert [event.alarm for event in of(AlarmFired, standby.log)] == [alarms[1]]


def test_alarms_of_sessions_that_were_left_are_over() -> None:
    """A week on a standby, with alarms that the leader does not have, is not caught up with at the hand-over."""
    leader, _ = pair()
    mine = [Alarm("close", -45 * MINUTE, Misfire.RUN_ONCE), Alarm("end", 5 * HOUR)]
    standby = Replica(SCHEDULE, NOON, records=leader.records, alarms=mine, leads=False)
    for day in (MONDAY, TUESDAY, WEDNESDAY):
        leader.pass_to(at(day, (21, 30)))
        leader.roll()
        follow(leader, standby)
    standby.lead()
    assert not standby.alarms
    standby.pass_to(at(THURSDAY, (2, 30)))
    assert [(event.session, event.alarm) for event in of(AlarmFired, standby.log)] == [(WEDNESDAY, mine[1])]


def test_alarms_of_a_session_that_was_called_off_or_ended_are_over() -> None:
    """The heir fires none of them, as after a restart, though the session was left before they were due."""
    for closed in (True, False):
        leader, standby = pair(alarms=[FLATTEN])
        if closed:
            leader.apply(Closure(MONDAY))
        else:
            leader.end()
        leader.roll()
        follow(leader, standby)
        standby.lead()
        standby.pass_to(at(MONDAY, (20, 46)))
        assert standby.core.session.date == TUESDAY
        assert not standby.alarms
        standby.pass_to(at(TUESDAY, (20, 46)))
        assert [event.session for event in of(AlarmFired, standby.log)] == [TUESDAY]


def test_an_interrupted_alarm_is_reported_by_the_heir() -> None:
    """A standby says nothing: the leader may be at it. Once it leads, it reports it and does not fire it."""
    leader, standby = pair(at(MONDAY, (20, 0)), alarms=[FLATTEN])
    leader.finishes_alarms = False
    leader.pass_to(at(MONDAY, (20, 45)))
    assert not [event for event in follow(leader, standby) if isinstance(event, AlarmInterrupted)]
    standby.lead()
    assert of(AlarmInterrupted, standby.log) == [AlarmInterrupted(FLATTEN.key, MONDAY, standby.wall)]
    assert not of(AlarmFired, standby.log)


def test_one_that_may_recur_fires_on_the_heir_too() -> None:
    """`recurring_after_restart` holds for a hand-over as for a restart."""
    harmless = Alarm("close", -15 * MINUTE, recurring_after_restart=True)
    leader, standby = pair(at(MONDAY, (20, 0)), alarms=[harmless])
    leader.pass_to(at(MONDAY, (20, 45)))
    follow(leader, standby)
    standby.lead()
    assert [event.alarm for event in of(AlarmFired, standby.log)] == [harmless]


def test_an_alarm_registered_on_a_standby_waits_as_the_others_do() -> None:
    """The first one, too; what the journal holds of it is over."""
    leader, standby = pair(at(MONDAY, (20, 0)), alarms=[FLATTEN])
    late = Replica(SCHEDULE, at(MONDAY, (20, 0)), records=leader.records, leads=False)
    late.core.add_alarm(FLATTEN, late.now)
    leader.pass_to(at(MONDAY, (20, 45)))
    for replica in (standby, late):
        follow(leader, replica)
        assert not replica.alarms
        replica.lead()
        assert not replica.alarms


# ---- the lead ----


def test_the_heir_finishes_the_open_roll() -> None:
    """Flagged as resumed, and for its own date, whatever the clock says; nothing of it was begun before."""
    leader, standby = pair()
    leader.pass_to(at(MONDAY, (22, 0)))
    leader.begin_roll()
    follow(leader, standby)
    standby.pass_to(at(WEDNESDAY, (12, 0)))
    assert standby.due is None
    standby.lead()
    roll = standby.core.due_roll(standby.now)
    assert roll is not None
    assert (roll.ended.date, roll.target.date, roll.resumed, roll.intended) == (MONDAY, TUESDAY, True, True)


def test_the_heir_begins_the_roll_that_the_leader_had_not_begun() -> None:
    """A roll that is owed by the clock is due, and is nobody's repetition."""
    leader, standby = pair()
    for replica in (leader, standby):
        replica.pass_to(at(MONDAY, (21, 30)))
    standby.lead()
    roll = standby.core.due_roll(standby.now)
    assert roll is not None
    assert (roll.target.date, roll.resumed, roll.intended) == (TUESDAY, False, False)


def test_the_heir_may_trade_at_once() -> None:
    """In ACTIVE, without a halt, from the call on; a halt of the leader's holds."""
    leader, standby = pair()
    follow(leader, standby)
    standby.lead()
    assert standby.core.can_trade
    leader, standby = pair()
    leader.halt()
    follow(leader, standby)
    standby.lead()
    assert not standby.core.can_trade


def test_an_error_of_the_standby_alone_is_left_by_the_heir() -> None:
    """It is not in the journal, and a restart would not be in it; one that the leader recorded stays."""
    for recorded in (False, True):
        leader, standby = pair()
        (leader if recorded else standby).core.fail("no clock", leader.now)
        leader._record(leader.take())
        standby.take()
        follow(leader, standby)
        standby.lead()
        assert standby.core.state is (ERROR if recorded else ACTIVE)
        assert_legal(standby.log)


def test_an_error_is_left_by_the_heir_of_an_empty_journal() -> None:
    """There is no record of it, nor of anything else."""
    standby = Replica(weekdays(), at(MONDAY, (16, 0)), leads=False)
    standby.core.fail("a typo", standby.now)
    standby.lead()
    assert standby.core.state is ACTIVE


def test_a_leader_that_stands_by_gives_up_its_attempt() -> None:
    """The attempt under way has failed with the reason; what it returns later changes nothing, and no other begins."""
    leader, _ = pair()
    leader.pass_to(at(MONDAY, (21, 30)))
    leader.begin_roll()
    roll = leader.rolling
    assert roll is not None
    (failed,) = leader.stand_by()
    assert isinstance(failed, RollFailed)
    assert (failed.retry_at, str(failed.error)) == (None, "the lease was over")
    leader.core.roll_failed(roll, TimeoutError(), leader.now)
    leader._carry_out(leader.core.roll_succeeded(roll, leader.now))
    assert (leader.core.session.date, leader.core.state) == (MONDAY, ENDED)
    assert not leader.take()
    leader.pass_to(at(MONDAY, (23, 0)))
    assert leader.due is None


def test_what_becomes_of_an_attempt_is_not_asked_where_the_lead_is_gained_again_either() -> None:
    """The roll is the same, and a new attempt is due; the earlier one neither fails nor completes that."""
    leader, _ = pair()
    leader.pass_to(at(MONDAY, (21, 30)))
    leader.begin_roll()
    earlier = leader.rolling
    assert earlier is not None
    leader.stand_by()
    assert leader.core._rolls.planned == ()  # no record about it is on its way any more
    leader.lead()
    assert leader.due == (MONDAY, SCHEDULE.session_on(TUESDAY), (), True)
    leader.begin_roll()
    leader.take()
    leader.core.roll_failed(earlier, TimeoutError(), leader.now)
    leader.core.roll_succeeded(earlier, leader.now).apply(leader.now)
    assert (leader.core.session.date, leader.core.pursues(earlier), leader.take()) == (MONDAY, False, [])
    leader.end_roll()
    assert leader.core.session.date == TUESDAY


def test_a_leader_that_could_not_write_is_no_error_of_the_standby() -> None:
    """An intent or a *done* that is refused because another replica leads ends in no ERROR here."""
    for begun in (False, True):
        leader, _ = pair()
        leader.pass_to(at(MONDAY, (21, 30)))
        roll = leader.core.due_roll(leader.now)
        assert roll is not None
        decision = leader.core.begin_roll(roll, leader.now, journalled=True)
        if begun:
            leader._carry_out(decision)
            decision = leader.core.roll_succeeded(roll, leader.now)
        leader.stand_by()
        assert decision.abandon is not None
        decision.abandon(RuntimeError("another replica leads"), leader.now)
        assert leader.core.state is ENDED
        assert not leader.take()


def test_a_failure_called_during_the_attempt_is_not_lost() -> None:
    """Standing by ends the attempt, and with it comes the ERROR that was waiting for its end."""
    leader, _ = pair()
    leader.pass_to(at(MONDAY, (21, 30)))
    leader.begin_roll()
    leader.core.fail("the disk is full", leader.now)
    leader.wall += MINUTE
    log = leader.stand_by()
    assert (leader.core.state, leader.core.reason) == (ERROR, "the disk is full")
    assert {event.observed_at for event in log} == {leader.wall}


def test_a_leader_follows_its_successor_and_leads_again() -> None:
    """There and back: the roll that it had begun is done by the other, and the next one is its own."""
    leader, other = pair(alarms=[FLATTEN])
    leader.pass_to(at(MONDAY, (21, 30)))
    leader.begin_roll()
    follow(leader, other)
    leader.stand_by()
    other.lead()
    roll = other.core.due_roll(other.now)
    assert roll is not None
    other.core.begin_roll(roll, other.now, journalled=True).apply(other.now)
    other.core.roll_succeeded(roll, other.now).apply(other.now)
    done = Record(Entry.DONE, MONDAY, other.wall, TUESDAY, seq=leader.standing.last_seq + 1)
    (followed, _) = [event for event in leader.follow(done, term=2) if isinstance(event, RollFollowed | StateChanged)]
    assert isinstance(followed, RollFollowed)
    leader.pass_to(at(TUESDAY, (21, 30)))
    assert leader.due is None
    leader.lead()
    assert leader.due == (TUESDAY, SCHEDULE.session_on(WEDNESDAY), (), False)


def test_while_it_leads_nothing_is_followed() -> None:
    """A record that comes late, of a leader before, changes nothing; nor does gaining the lead twice."""
    leader, standby = pair()
    standby.stand_by()
    standby.lead()
    before = standby.reflected
    standby.lead()
    leader.end()
    standby.follow(*leader.records[1:])
    assert standby.reflected == before
    assert not standby.take()


def test_before_its_beginning_it_only_takes_note() -> None:
    """A lifecycle may be made a standby, and a leader again, before it begins."""
    core = SessionLifecycle(SCHEDULE, config=DEAF)
    now = Reading(NOON, timedelta(0))
    core.stand_by(now)
    core.lead(now)
    core.begin(now)
    assert core.can_trade
    core = SessionLifecycle(SCHEDULE, config=DEAF)
    core.stand_by(now)
    core.begin(now)
    assert not core.can_trade
