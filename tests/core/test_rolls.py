"""Which session a roll leads to, and a round of attempts, against plain counting."""

from collections.abc import Sequence
from datetime import date, timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import assume, example, given

from session_lifecycle import (
    FixedSchedule,
    LifecycleConfig,
    MissedSessions,
    RetryPolicy,
    RollFailed,
    RollStarted,
    RollSucceeded,
    ScheduleExhausted,
    Session,
    SessionState,
    TooManySessionsMissed,
)
from session_lifecycle._core.rolls import Rolls, choose_target
from session_lifecycle._core.timeline import Position, Timeline
from session_lifecycle._model.clock import Reading
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at, weekdays

LATEST, EACH = MissedSessions.LATEST, MissedSessions.EACH
SECOND, ZERO = timedelta(seconds=1), timedelta(0)
SCHEDULE = weekdays(n=20)
SESSIONS = SCHEDULE.sessions(MONDAY, date(2025, 1, 1))
DAYS = [each.date for each in SESSIONS]
LAST = len(SESSIONS) - 1
TIMELINE = Timeline(SCHEDULE, LifecycleConfig())
OOPS = ValueError("oops")


def position_in(owner: int, *, known: bool = True) -> Position:
    """Return a position in a session, or past the last one."""
    if known:
        return TIMELINE.at(SESSIONS[owner].open)
    return TIMELINE.at(SESSIONS[LAST].close + DAY)


# ---- choose_target ----


@given(
    ended=st.integers(0, LAST),
    owner=st.integers(0, LAST),
    known=st.booleans(),
    policy=st.sampled_from(MissedSessions),
    limit=st.none() | st.integers(1, LAST + 2),
)
@example(0, 3, True, LATEST, 3)  # exactly the limit
@example(0, 4, True, EACH, 3)  # one past it
@example(0, LAST, False, LATEST, None)
def test_the_target_is_what_counting_gives(
    ended: int, owner: int, known: bool, policy: MissedSessions, limit: int | None
) -> None:
    """The next session if none was missed or by EACH, else the present's; none past the limit or past knowledge."""
    owner = owner if known else LAST
    missed = owner - ended

    def choose() -> tuple[Session, tuple[date, ...]]:
        return choose_target(TIMELINE, SESSIONS[ended], position_in(owner, known=known), policy, limit)

    if ended == LAST:
        with pytest.raises(ScheduleExhausted):
            choose()
    elif limit is not None and missed > limit:
        with pytest.raises(TooManySessionsMissed) as caught:
            choose()
        assert (caught.value.session, caught.value.owner, caught.value.limit) == (DAYS[ended], DAYS[owner], limit)
    elif policy is EACH or missed <= 0:
        assert choose() == (SESSIONS[ended + 1], ())
    elif known:
        assert choose() == (SESSIONS[owner], tuple(DAYS[ended + 1 : owner]))
    else:
        with pytest.raises(ScheduleExhausted, match="the session that owns the present") as exhausted:
            choose()
        assert exhausted.value.last == DAYS[LAST]


@pytest.mark.parametrize("policy", MissedSessions)
@pytest.mark.parametrize(("missed", "limit", "allowed"), [(3, 3, True), (4, 3, False), (1, 1, True), (2, 1, False)])
def test_the_limit_is_inclusive(policy: MissedSessions, missed: int, limit: int, allowed: bool) -> None:
    """So many sessions as the limit says may be rolled or skipped together, and not one more."""
    if allowed:
        target, skipped = choose_target(TIMELINE, SESSIONS[0], position_in(missed), policy, limit)
        assert (target, len(skipped)) == ((SESSIONS[missed], missed - 1) if policy is LATEST else (SESSIONS[1], 0))
    else:
        with pytest.raises(TooManySessionsMissed):
            choose_target(TIMELINE, SESSIONS[0], position_in(missed), policy, limit)


@pytest.mark.parametrize("state", SessionState)
def test_the_state_of_the_present_does_not_matter(state: SessionState) -> None:
    """Whatever the market does, the session that owns the present is the target; only past knowledge there is none."""
    position = position_in(4)._replace(state=state)
    if state is SessionState.ENDED:
        with pytest.raises(ScheduleExhausted):
            choose_target(TIMELINE, SESSIONS[0], position, LATEST, None)
    else:
        assert choose_target(TIMELINE, SESSIONS[0], position, LATEST, None)[0] == SESSIONS[4]


def test_fault_23_too_many_are_found_without_counting_them_all() -> None:
    """A present ten years ahead is refused after no more questions than the limit."""
    asked: list[str] = []

    class Counting(FixedSchedule):
        def next_session(self, day: date) -> Session:
            asked.append("next")
            return super().next_session(day)

        def sessions(self, first: date, last: date) -> tuple[Session, ...]:
            asked.append("all")
            return super().sessions(first, last)

    decade = weekdays(n=2600).sessions(MONDAY, date(2040, 1, 1))
    timeline = Timeline(Counting(decade), LifecycleConfig())
    present = timeline.at(decade[-2].open)
    asked.clear()
    with pytest.raises(TooManySessionsMissed):
        choose_target(timeline, decade[0], present, LATEST, 10)
    assert asked == ["next"] * 10


# ---- a round of attempts ----


def after(elapsed: timedelta, step: timedelta = ZERO) -> Reading:
    """Return a look at the clocks so long after the first session's end, the wall clock having stepped."""
    return Reading(at(MONDAY, (21, 30)) + elapsed + step, 7 * SECOND + elapsed)


def rolls(**settings: object) -> Rolls:
    """Return rolls with a round open since the first session's end."""
    config = LifecycleConfig(**settings)
    opened = Rolls(TIMELINE, config, "desk")
    opened.open(SESSIONS[0], position_in(1), after(ZERO).monotonic)
    return opened


def take(rolls: Rolls, now: Reading) -> RollStarted | None:
    """Begin the attempt that is due, if one is."""
    turn = rolls.due(now)
    return None if turn is None else rolls.begin(turn, now)


def test_at_first_there_is_no_round() -> None:
    """Before a roll is owed nothing is due, and nothing runs or can be begun."""
    none = Rolls(TIMELINE, LifecycleConfig(), None)
    assert (none.round, none.running, none.expired, none.deadline, take(none, after(ZERO))) == (
        None,
        False,
        False,
        None,
        None,
    )
    none.expire(after(DAY))
    assert not none.expired


def test_an_open_round_is_due_at_once() -> None:
    """The first attempt is due when the round is opened, for the target with its boundaries, and begins once."""
    opened = rolls()
    assert opened.deadline == after(ZERO).monotonic
    turn = opened.round
    assert turn is not None
    assert (turn.ended, turn.target, turn.skipped, turn.resumed) == (SESSIONS[0], SESSIONS[1], (), False)
    assert turn.bounds == TIMELINE.boundaries(SESSIONS[1])
    assert not opened.running
    assert take(opened, after(ZERO)) == RollStarted(DAYS[0], DAYS[1], 1, False, after(ZERO).wall, "desk")
    assert opened.running
    assert take(opened, after(DAY)) is None


@pytest.mark.parametrize(("taken", "overrun"), [(5 * SECOND - MICROSECOND, False), (5 * SECOND, True)])
def test_an_attempt_may_take_less_than_its_timeout(taken: timedelta, overrun: bool) -> None:
    """At exactly `roll_timeout` an attempt has taken too long: it is to be cancelled, and if it succeeds it overran."""
    opened = rolls(roll_timeout=5 * SECOND)
    take(opened, after(ZERO))
    turn = opened.round
    assert turn is not None
    assert opened.deadline == after(5 * SECOND).monotonic
    opened.expire(after(taken))
    assert opened.expired is overrun
    assert opened.deadline == (None if overrun else after(5 * SECOND).monotonic)
    now = after(taken)
    assert opened.succeeded(turn, now) == RollSucceeded(
        DAYS[0], DAYS[1], 1, False, (), overrun, now.wall, taken, "desk"
    )
    assert (opened.round, opened.running, opened.expired, opened.deadline) == (None, False, False, None)


def test_without_a_timeout_an_attempt_may_take_for_ever() -> None:
    """None means that an attempt is never cancelled and never overruns."""
    opened = rolls(roll_timeout=None)
    take(opened, after(ZERO))
    turn = opened.round
    assert turn is not None
    opened.expire(after(400 * DAY))
    assert (opened.expired, opened.deadline) == (False, None)
    assert not opened.succeeded(turn, after(400 * DAY)).overrun


def test_the_longest_timeout_is_no_trouble() -> None:
    """An attempt with the longest `roll_timeout` there is can be begun."""
    assert take(rolls(roll_timeout=timedelta(days=3650)), after(ZERO)) is not None


@given(
    attempts=st.integers(1, 6),
    durations=st.lists(st.timedeltas(ZERO, 10 * SECOND), min_size=6, max_size=6),
    step=st.timedeltas(-7 * DAY, 7 * DAY),
)
def test_fault_30_failures_are_followed_by_waits(
    attempts: int, durations: Sequence[timedelta], step: timedelta
) -> None:
    """Each failure but the last is followed by its wait, on the monotonic clock, whatever the wall clock does."""
    policy = RetryPolicy(attempts=attempts, initial=SECOND, factor=3, maximum=20 * SECOND)
    opened = rolls(roll_retry=policy, roll_timeout=None)
    turn = opened.round
    assert turn is not None
    elapsed = ZERO
    for number in range(1, attempts + 1):
        assert opened.deadline == after(elapsed).monotonic
        assert take(opened, after(elapsed - MICROSECOND)) is None
        started = take(opened, after(elapsed, step))
        assert started is not None
        assert started.attempt == number
        elapsed += durations[number - 1]
        failed = opened.failed(turn, OOPS, after(elapsed, step), retry=True)
        wait = policy.delay_after(number)
        last = number == attempts
        assert failed == RollFailed(
            DAYS[0],
            DAYS[1],
            number,
            False,
            OOPS,
            None if last else after(elapsed + wait, step).wall,
            after(elapsed, step).wall,
            durations[number - 1],
            "desk",
        )
        assert opened.is_spent(turn) is last
        assert not opened.running
        elapsed += wait
    assert opened.deadline is None
    assert take(opened, after(elapsed + DAY)) is None


def test_an_attempt_that_expired_can_be_tried_again() -> None:
    """After a timeout the next attempt has a full timeout of its own."""
    opened = rolls(roll_timeout=5 * SECOND)
    take(opened, after(ZERO))
    opened.expire(after(5 * SECOND))
    turn = opened.round
    assert turn is not None
    opened.failed(turn, OOPS, after(6 * SECOND), retry=True)
    assert take(opened, after(7 * SECOND)) is not None
    assert (opened.expired, opened.deadline) == (False, after(12 * SECOND).monotonic)


@pytest.mark.parametrize("stopping", [False, True])
def test_no_attempt_follows_when_none_is_wanted(stopping: bool) -> None:
    """When stopping, or when told not to retry, a failure is the last, and no attempt begins."""
    opened = rolls()
    take(opened, after(ZERO))
    opened.stopping = stopping
    turn = opened.round
    assert turn is not None
    failed = opened.failed(turn, OOPS, after(SECOND), retry=stopping)
    assert (failed.retry_at, opened.deadline, take(opened, after(DAY))) == (None, None, None)
    assert not opened.is_spent(turn)


def test_stopping_keeps_a_due_attempt_from_beginning() -> None:
    """A round that is open when the driver stops waits for the next run."""
    opened = rolls()
    opened.stopping = True
    assert (opened.deadline, take(opened, after(DAY))) == (None, None)
    assert opened.round is not None


def test_a_round_can_be_given_up() -> None:
    """A round that is dropped leaves nothing due."""
    opened = rolls()
    opened.drop()
    assert (opened.round, opened.deadline, take(opened, after(DAY))) == (None, None, None)


def test_a_person_may_waive_the_cap() -> None:
    """A waiver holds as far as the session that owned the present when it was given, and no further."""
    waiving = Rolls(TIMELINE, LifecycleConfig(max_catch_up_sessions=2), None)
    now = after(ZERO).monotonic
    with pytest.raises(TooManySessionsMissed):
        waiving.open(SESSIONS[0], position_in(5), now)
    assert waiving.round is None
    waiving.waive_cap(position_in(5))
    with pytest.raises(TooManySessionsMissed):
        waiving.open(SESSIONS[0], position_in(6), now)
    waiving.open(SESSIONS[0], position_in(5), now)
    assert waiving.round is not None
    assert (waiving.round.target, waiving.round.skipped) == (SESSIONS[5], tuple(DAYS[1:5]))


def test_a_round_that_was_intended_comes_first() -> None:
    """A round given up after its intent was written is taken up again for its own target, whatever the clock says."""
    opened = rolls()
    turn = opened.round
    assert turn is not None
    take(opened, after(ZERO))
    turn.intended = True
    opened.drop()
    assert (opened.round, opened.unfinished) == (None, turn)
    opened.open(SESSIONS[0], position_in(9), after(DAY).monotonic)
    assert (opened.round, opened.unfinished, turn.target) == (turn, None, SESSIONS[1])
    started = take(opened, after(DAY))
    assert started is not None
    assert (started.attempt, started.next_session) == (1, DAYS[1])


@pytest.mark.parametrize(("policy", "target"), [(LATEST, 5), (EACH, 2)])
def test_a_roll_that_was_skipped_is_not_offered_again(policy: MissedSessions, target: int) -> None:
    """After a person gave up a target, the next roll goes past it, and tells what it leaves out."""
    opened = rolls(missed_sessions=policy)
    turn = opened.round
    assert turn is not None
    opened.drop()
    opened.skip(turn)
    opened.open(SESSIONS[0], position_in(5), after(ZERO).monotonic)
    assert opened.round is not None
    assert (opened.round.target, opened.round.skipped) == (SESSIONS[target], tuple(DAYS[1:target]))


@given(st.integers(0, LAST), st.integers(0, LAST), st.integers(0, LAST), st.sampled_from(MissedSessions))
def test_the_target_lies_beyond_what_was_skipped(ended: int, skipped: int, owner: int, policy: MissedSessions) -> None:
    """The target is the first session past what was skipped, or by LATEST the present's where that is later."""
    first = max(ended, skipped) + 1
    assume(ended < skipped < LAST)
    found = choose_target(TIMELINE, SESSIONS[ended], position_in(owner), policy, None, abandoned_target=DAYS[skipped])
    target = max(first, owner) if policy is LATEST else first
    assert found == (SESSIONS[target], tuple(DAYS[ended + 1 : target]))


def test_a_failure_to_open_leaves_no_round() -> None:
    """Where there is no session to roll to, the error passes through and no round is open."""
    none = Rolls(TIMELINE, LifecycleConfig(), None)
    with pytest.raises(ScheduleExhausted):
        none.open(SESSIONS[LAST], position_in(LAST), ZERO)
    assert (none.round, none.deadline) == (None, None)
