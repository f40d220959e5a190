"""When a source counts as quiet, against a model that adds up every second by hand."""

from datetime import timedelta
from typing import cast

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from session_lifecycle._core.staleness import StalenessTimer

TIMEOUT, LIMIT = 300, 1000


def s(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


class Timed:
    """A timer with what moves with the clock: since when data is expected, and whether the source is stale."""

    def __init__(self, timer: StalenessTimer) -> None:
        self.timer, self.since, self.stale = timer, cast("timedelta | None", None), False

    @property
    def arrival(self) -> float | None:
        return self.timer.arrival

    @property
    def deadline(self) -> timedelta | None:
        return self.timer.deadline(self.since, stale=self.stale)

    def heard(self, arrival: float) -> None:
        self.timer.record(arrival)

    def is_fresh(self, now: timedelta) -> bool:
        return self.timer.is_fresh(now)

    def expect(self, now: timedelta) -> None:
        self.since = now

    def suspend(self, now: timedelta) -> None:
        if self.stale and self.since is not None:
            self.timer.add_stale_time(now - self.since)
        self.since = None

    def go_stale(self, now: timedelta) -> None:
        self.timer.go_stale()
        self.stale, self.since = True, now

    def go_live(self, now: timedelta) -> None:
        self.stale, self.since = False, None if self.since is None else now

    def end(self) -> None:
        self.stale, self.since = False, None


def watch(*, timeout: int | None = TIMEOUT, limit: int | None = LIMIT, since: int | None = None) -> Timed:
    """Return a watch, expecting data since some second, if given."""
    timer = StalenessTimer(None if timeout is None else s(timeout), None if limit is None else s(limit))
    silence = Timed(timer)
    if since is not None:
        silence.expect(s(since))
    return silence


def stale(at: int = 1000, **options: int | None) -> Timed:
    """Return a watch that has been found quiet at a second."""
    silence = watch(since=at - TIMEOUT, **options)
    silence.go_stale(s(at))
    return silence


def test_nothing_is_due_while_no_data_is_expected() -> None:
    """Before the open there is no deadline, though data comes or does not."""
    silence = watch()
    assert (silence.deadline, silence.stale, silence.arrival) == (None, False, None)
    silence.heard(5.0)
    assert (silence.deadline, silence.arrival) == (None, 5.0)


def test_a_source_that_never_said_a_word_is_watched() -> None:
    """Without any data, the silence counts from when data is expected."""
    assert watch(since=100).deadline == s(100 + TIMEOUT)


@pytest.mark.parametrize(("heard", "newest"), [(99.0, 100), (100.0, 100), (100.5, 100.5), (250.0, 250)])
def test_silence_counts_from_the_latest_of_all(heard: float, newest: float) -> None:
    """Data from before the open does not shorten the wait, data after it moves the deadline."""
    silence = watch(since=100)
    silence.heard(heard)
    assert silence.deadline == s(newest + TIMEOUT)


@given(st.lists(st.integers(0, 10**6), min_size=1))
def test_fault_08_the_newest_data_counts(arrivals: list[int]) -> None:
    """In whatever order data arrives, the newest decides."""
    silence = watch(since=0)
    for arrival in arrivals:
        silence.heard(arrival / 100)
    assert silence.arrival == max(arrivals) / 100
    assert silence.deadline == s(max(arrivals) / 100 + TIMEOUT)


def test_the_end_of_a_break_starts_the_timer_anew() -> None:
    """During a break nothing is due, and after it a full timeout has to pass."""
    silence = watch(since=0)
    silence.suspend(s(200))
    assert silence.deadline is None
    silence.expect(s(5000))
    assert silence.deadline == s(5000 + TIMEOUT)


def test_without_a_timeout_nothing_is_ever_due() -> None:
    """None means never: no deadline, and no data that could end what cannot begin."""
    silence = watch(timeout=None, since=0)
    assert silence.deadline is None
    silence.go_stale(s(10))
    silence.heard(11.0)
    assert not silence.is_fresh(s(11))


@pytest.mark.parametrize(
    ("arrival", "now", "fresh"),
    [
        (None, 1001, False),  # nothing at all
        (1001.0, 1001, True),
        (1001.0, 1001 + TIMEOUT - 1, True),
        (1001.0, 1001 + TIMEOUT, False),  # heard, but only seen when too old again
        (701.0, 1000, True),  # stamped before it went quiet, and just young enough
        (700.0, 1000, False),
        (10.0, 1000, False),
    ],
)
def test_fault_09_only_young_data_ends_it(arrival: float | None, now: int, fresh: bool) -> None:
    """Data ends the silence while it is younger than the timeout; older data, freshly arrived, does not."""
    silence = stale(1000)
    if arrival is not None:
        silence.heard(arrival)
    assert silence.is_fresh(s(now)) is fresh
    assert silence.stale


def test_data_from_before_the_silence_does_not_end_it() -> None:
    """The data after which it went quiet is no sign of life, however long the timeout."""
    silence = watch(since=0)
    silence.heard(50.0)
    silence.go_stale(s(340))  # earlier than the deadline: the newest arrival is still young
    assert not silence.is_fresh(s(341))
    silence.heard(49.0)
    assert not silence.is_fresh(s(341))
    silence.heard(51.0)
    assert silence.is_fresh(s(341))


def test_data_ends_the_silence_and_rearms_it() -> None:
    """Once data is back, the next silence counts from then, however old that data was."""
    silence = stale(1000)
    silence.heard(1200.0)
    silence.go_live(s(1250))
    assert (silence.stale, silence.deadline) == (False, s(1250 + TIMEOUT))


def test_data_that_comes_back_in_a_break_rearms_nothing() -> None:
    """In a break no silence is timed; its end does that."""
    silence = stale(1000)
    silence.suspend(s(1100))
    silence.heard(1200.0)
    silence.go_live(s(1200))
    assert (silence.stale, silence.deadline) == (False, None)


def test_the_limit_counts_expected_time_only() -> None:
    """A lasting silence is fatal after its limit, in which breaks do not count."""
    silence = stale(1000)
    assert silence.deadline == s(1000 + LIMIT)
    silence.suspend(s(1400))
    assert (silence.deadline, silence.stale) == (None, True)
    silence.expect(s(5000))
    assert silence.deadline == s(5000 + LIMIT - 400)
    silence.suspend(s(5100))
    silence.expect(s(9000))
    assert silence.deadline == s(9000 + LIMIT - 500)


def test_the_limit_starts_anew_with_each_silence() -> None:
    """A second silence is not blamed for the first one."""
    silence = stale(1000)
    silence.suspend(s(1900))
    silence.expect(s(2000))
    silence.go_live(s(2000))
    silence.go_stale(s(3000))
    assert silence.deadline == s(3000 + LIMIT)


def test_without_a_limit_silence_may_last() -> None:
    """None means that a silence, once told, is never fatal."""
    assert stale(1000, limit=None).deadline is None


def test_the_end_of_the_session_forgets_it() -> None:
    """After the close nothing is due and nothing is quiet, and the next session begins afresh."""
    silence = stale(1000)
    silence.end()
    assert (silence.stale, silence.deadline) == (False, None)
    silence.expect(s(90_000))
    assert silence.deadline == s(90_000 + TIMEOUT)


class Watched(RuleBasedStateMachine):
    """A watch, and a diary of every second since it began: was data expected, was it quiet, what was heard when."""

    def __init__(self) -> None:
        super().__init__()
        self.staleness = watch()
        self.now = 0
        self.expected = False
        self.began = 0  # when data was last begun to be expected, or a silence was found
        self.heard_at: list[int] = []
        self.heard_before: int | None = None  # the newest, when it went quiet
        self.quiet_seconds: int | None = None  # how long it has been quiet while data was expected

    @rule(seconds=st.integers(0, 700))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds
        if self.quiet_seconds is not None and self.expected:
            self.quiet_seconds += seconds

    @rule(age=st.integers(0, 600))
    def hear(self, age: int) -> None:
        self.staleness.heard(float(self.now - age))
        self.heard_at.append(self.now - age)

    @precondition(lambda self: not self.expected)
    @rule()
    def begin(self) -> None:
        self.staleness.expect(s(self.now))
        self.expected, self.began = True, self.now

    @precondition(lambda self: self.expected)
    @rule()
    def pause(self) -> None:
        self.staleness.suspend(s(self.now))
        self.expected = False

    @rule()
    def end(self) -> None:
        self.staleness.end()
        self.expected, self.quiet_seconds = False, None

    @precondition(lambda self: self.expected)
    @rule()
    def judge(self) -> None:
        """Do what the lifecycle does with a watch: take it for quiet, or for live again, where that is due."""
        silence = self.staleness
        if silence.stale:
            newest = max(self.heard_at, default=None)
            fresh = newest is not None and newest != self.heard_before and self.now - newest < TIMEOUT
            assert silence.is_fresh(s(self.now)) is fresh
            if fresh:
                silence.go_live(s(self.now))
                self.quiet_seconds, self.began = None, self.now
        elif silence.deadline is not None and s(self.now) >= silence.deadline:
            silence.go_stale(s(self.now))
            self.quiet_seconds, self.began = 0, self.now
            self.heard_before = max(self.heard_at, default=None)

    @invariant()
    def agree(self) -> None:
        silence = self.staleness
        assert silence.stale is (self.quiet_seconds is not None)
        assert silence.arrival == max(self.heard_at, default=None)
        if not self.expected:
            assert silence.deadline is None
        elif self.quiet_seconds is not None:
            assert silence.deadline == s(self.now + LIMIT - self.quiet_seconds)
        else:
            assert silence.deadline == s(max([self.began, *self.heard_at]) + TIMEOUT)


class TestWatched(Watched.TestCase):
    """Whatever happens in whatever order, the deadline is the one that the diary gives."""

    settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
