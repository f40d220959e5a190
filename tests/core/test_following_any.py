"""Whatever a leader does: a replica that followed its records reflects what a restart from them reflects."""

from contextlib import suppress
from datetime import timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from session_lifecycle import (
    Alarm,
    Closure,
    Entry,
    LifecycleConfig,
    LifecycleError,
    Misfire,
    MissedSessions,
    Resolution,
    RetryPolicy,
    SpecialHours,
)
from session_lifecycle._journal.records import journal_state_after
from session_lifecycle.testing import assert_legal
from tests.helpers.builders import DAY, MONDAY, at, weekdays
from tests.helpers.harness import HOUR, MINUTE
from tests.helpers.replicas import Leader, Replica

SCHEDULE = weekdays(n=60)
ALARMS = (
    Alarm("close", -15 * MINUTE),
    Alarm("open", 30 * MINUTE, Misfire.RUN_ONCE),
    Alarm("end", 2 * HOUR, Misfire.RUN_ONCE),
    Alarm("open", -20 * HOUR),
)
STEPS = st.sampled_from([timedelta(0), MINUTE, 20 * MINUTE, HOUR, 3 * HOUR, 7 * HOUR, DAY, 2 * DAY])
ACTS = st.sampled_from(
    [
        *("pass", "pass", "roll", "roll", "begin roll", "end roll", "fail roll", "halt", "resume", "fail", "end"),
        *("retry", "mark done", "skip", "early close", "close today", "close tomorrow", "interrupt alarms"),
        *(Entry.ENDED, Entry.INTENT, Entry.RESUMED, Entry.RECOVERED, Entry.CHANGED, Entry.ALARM_BEGUN),
    ]
)


def act(leader: Leader, what: str | Entry) -> None:
    """Do what an application may do; what is refused changes nothing. An entry is recorded, and withdrawn."""
    day = leader.core.session.date
    match what:
        case Entry():
            leader.withdraw(what)
        case "roll":
            leader.roll()
        case "begin roll":
            leader.begin_roll()
        case "end roll":
            leader.end_roll()
        case "fail roll":
            leader.end_roll(TimeoutError("the database is down"))
        case "halt":
            leader.halt(f"halt {len(leader.records)}")
        case "resume":
            leader.resume()
        case "fail":
            leader.fail()
        case "end":
            leader.end()
        case "retry" | "mark done" | "skip":
            leader.recover(Resolution[what.upper().replace(" ", "_")])
        case "early close":
            leader.apply(SpecialHours(day, close=(leader.wall + 30 * MINUTE).time()))
        case "close today":
            leader.apply(Closure(day))
        case "close tomorrow":
            leader.apply(Closure(leader.core.schedule.next_session(day).date))
        case "interrupt alarms":
            leader.finishes_alarms = not leader.finishes_alarms


def hold_alike(acts: list[tuple[timedelta, str | Entry]], missed: MissedSessions, lag: int) -> None:
    """Whatever the acts: a replica, prompt or late, reflects what a restart reflects, and leads as it does."""
    config = LifecycleConfig(
        data_timeout=None, missed_sessions=missed, roll_retry=RetryPolicy(attempts=1), max_catch_up_sessions=30
    )
    leader = Leader(SCHEDULE, at(MONDAY, (9, 0)), alarms=ALARMS, config=config)
    prompt, late = (
        Replica(SCHEDULE, leader.wall, records=leader.records, alarms=ALARMS, config=config, leads=False)
        for _ in range(2)
    )
    followed = {prompt: len(leader.records), late: len(leader.records)}

    def bring_up(replica: Replica, lag: int) -> None:
        until = max(followed[replica], len(leader.records) - lag)
        replica.pass_to(leader.wall)
        replica.follow(*leader.records[followed[replica] : until])
        followed[replica] = until

    for step, what in acts:
        leader.pass_to(leader.wall + step)
        with suppress(LifecycleError):
            act(leader, what)
        bring_up(prompt, 0)
        bring_up(late, lag)
        assert prompt.core.session.date == leader.core.session.date
        assert not prompt.core.can_trade
    assert_legal(leader.log)
    bring_up(late, 0)
    state = journal_state_after(leader.records)
    assert prompt.standing.state == late.standing.state == state
    standing_by = Replica(SCHEDULE, leader.wall, records=leader.records, alarms=ALARMS, config=config, leads=False)
    restarted = Replica(SCHEDULE, leader.wall, records=leader.records, alarms=ALARMS, config=config)
    assert prompt.reflected == late.reflected == standing_by.reflected
    for replica in (prompt, late, standing_by):
        assert not replica.alarms
        assert replica.due is None
        replica.lead()
        assert replica.reflected == restarted.reflected
        assert replica.due == restarted.due
        assert replica.alarms == restarted.alarms
        assert_legal(replica.log)
    for hours in range(0, 72, 3):  # whatever comes later, too
        for replica in (restarted, prompt, late, standing_by):
            replica.pass_to(leader.wall + hours * HOUR)
            assert replica.alarms == restarted.alarms


WHATEVER = (st.lists(st.tuples(STEPS, ACTS), max_size=25), st.sampled_from(MissedSessions), st.integers(0, 3))


@settings(deadline=None, max_examples=60)
@given(*WHATEVER)
@example(  # the session is called off as it is entered, which an alarm before its close must not survive
    [(7 * HOUR, "end"), (timedelta(0), "close tomorrow"), (timedelta(0), "roll")], MissedSessions.LATEST, 0
)
@example(  # the closure of a session that the roll skips is recorded, and withdrawn: it is skipped again
    [(timedelta(days=2), "begin roll"), (timedelta(0), Entry.CHANGED)], MissedSessions.LATEST, 0
)
def test_a_follower_reflects_what_a_restart_reflects(
    acts: list[tuple[timedelta, str | Entry]], missed: MissedSessions, lag: int
) -> None:
    """One that follows at once, one that lags, and one that has read all of it at its start: they reflect the same.

    So it is before the lead is gained and after, with the same roll due and the same alarms, and each follower's events
    are those of one run.
    """
    hold_alike(acts, missed, lag)


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(deadline=None, max_examples=1500)
@given(*WHATEVER)
def test_a_follower_reflects_what_a_restart_reflects_at_length(
    acts: list[tuple[timedelta, str | Entry]], missed: MissedSessions, lag: int
) -> None:
    """The same holds for many more lives of a leader."""
    hold_alike(acts, missed, lag)
