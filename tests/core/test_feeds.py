"""Many feeds watched at once, sans I/O: every deadline to the microsecond, and next to nothing done for it."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import pairwise
from math import floor

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from session_lifecycle import AdaptiveTimeout, StaleWhen
from session_lifecycle._core import feeds as feeds_module
from session_lifecycle._core.feeds import FeedState, FeedTable, GapEstimator
from tests.helpers.builders import MICROSECOND

ALL, ANY = StaleWhen.ALL, StaleWhen.ANY


def s(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


TEN, FIVE = s(10), s(5)
PACED = AdaptiveTimeout(s(1), s(60), factor=3, half_life=s(20))


def watching(*timeouts: timedelta | AdaptiveTimeout, rule: StaleWhen | int = ALL) -> tuple[FeedTable, list[FeedState]]:
    """Return feeds named a, b, c, ... with those timeouts, of which data is expected from second 0 on."""
    feeds = FeedTable(rule)
    feed_states = [FeedState(chr(ord("a") + n), timeout) for n, timeout in enumerate(timeouts)]
    for watch in feed_states:
        feeds.add(watch, s(0))
    feeds.open(s(0))
    return feeds, feed_states


def found(feeds: FeedTable, now: timedelta) -> list[tuple[str, timedelta]]:
    """Return the feeds that one look finds stale, each with the instant at which it was."""
    stale = []
    while (due := feeds.due(now)) is not None:
        stale.append((due[0].name, due[1]))
    return stale


def driven(feeds: FeedTable, until: timedelta) -> list[tuple[str, timedelta, timedelta]]:
    """Look at every deadline up to an instant; return what was found: the name, when it was stale, and when found."""
    stale = []
    while (deadline := feeds.deadline) is not None and deadline <= until:
        stale += [(name, due, deadline) for name, due in found(feeds, deadline)]
    return stale


# ---- the pace of one feed ----


def test_without_a_gap_the_timeout_is_the_ceiling() -> None:
    """Nothing is known yet, so the feed gets all the time there is."""
    assert GapEstimator(PACED).timeout == s(60)


@pytest.mark.parametrize(
    ("gap", "timeout"), [(5.0, 15.0), (0.25, 1.0), (0.0, 1.0), (19.9, 59.7), (20.5, 60.0), (1e9, 60.0)]
)
def test_the_timeout_is_a_multiple_of_the_gap_within_bounds(gap: float, timeout: float) -> None:
    """Three times the gap, but never below the floor nor above the ceiling."""
    pace = GapEstimator(PACED)
    pace.add(gap, 100.0)
    assert pace.timeout == s(timeout)


def test_the_longest_gap_counts_until_it_has_faded() -> None:
    """A long gap counts half after its half-life, and shorter ones do not hide it before they are the longer."""
    pace = GapEstimator(PACED)
    pace.add(16.0, 100.0)
    pace.add(1.0, 101.0)
    assert s(46) < pace.timeout < s(48)
    pace.add(1.0, 120.0)
    assert abs(pace.timeout - s(24)) <= MICROSECOND
    pace.add(9.0, 121.0)
    assert pace.timeout == s(27)


def test_a_silence_counts_as_the_ceiling_at_most() -> None:
    """After an outage of hours the timeout is back to usual in minutes, not in half-lives of hours."""
    pace = GapEstimator(PACED)
    pace.add(36_000.0, 36_000.0)
    pace.add(0.5, 36_000.0 + 7 * 20)
    assert pace.timeout <= s(1.5)


def test_no_factor_is_too_large() -> None:
    """A product that no timedelta can hold is the ceiling."""
    pace = GapEstimator(AdaptiveTimeout(s(1), s(60), factor=1e300))
    pace.add(50.0, 50.0)
    assert pace.timeout == s(60)


@settings(max_examples=100, derandomize=True, database=None, deadline=None)
@given(st.lists(st.floats(0, 30), min_size=1, max_size=12))
def test_the_pace_is_the_longest_of_all_faded_gaps(gaps: list[float]) -> None:
    """However many gaps there were, the timeout follows from the one that counts most by now."""
    pace, now, ends = GapEstimator(PACED), 0.0, []
    for gap in gaps:
        now += gap
        pace.add(gap, now)
        ends.append((gap, now))
    longest = max(gap * 0.5 ** ((now - end) / 20) for gap, end in ends)
    assert abs(pace.timeout - min(max(s(3 * longest), s(1)), s(60))) <= 2 * MICROSECOND


# ---- deadlines ----


def test_without_feeds_nothing_is_due() -> None:
    """An empty set has no deadline, expects nothing, and says nothing."""
    feeds = FeedTable(ANY)
    feeds.open(s(0))
    assert (len(feeds), feeds.deadline, feeds.due(s(1e6)), feeds.says_timeout) == (0, None, None, False)
    assert (feeds.stale, feeds.since, feeds.halted, "a" in feeds) == ((), None, (), False)


def test_nothing_is_due_before_data_is_expected() -> None:
    """A feed that was added before the open is timed from the open."""
    feeds = FeedTable(ALL)
    watch = FeedState("a", TEN)
    feeds.add(watch, s(0))
    assert (feeds.deadline, feeds.due(s(1e6))) == (None, None)
    feeds.open(s(500))
    assert driven(feeds, s(1e6)) == [("a", s(510), s(510))]


def test_a_feed_is_stale_at_its_deadline_and_not_before() -> None:
    """A microsecond before the timeout is over nothing is found; at that instant it is."""
    feeds, _ = watching(TEN)
    assert feeds.deadline == TEN
    assert found(feeds, TEN - MICROSECOND) == []
    assert found(feeds, TEN) == [("a", TEN)]
    assert (feeds.stale, feeds.deadline, feeds.due(s(1e6))) == (("a",), None, None)


def test_a_feed_is_timed_from_its_newest_data() -> None:
    """Data puts the deadline off by itself; older data that comes later does not put it back."""
    feeds, (watch,) = watching(TEN)
    watch.arrival = 4.0
    feeds.record(watch, 7.25)
    feeds.record(watch, 6.0)
    assert watch.arrival == 7.25
    assert driven(feeds, s(100)) == [("a", s(17.25), s(17.25))]


def test_feeds_of_different_timeouts_each_have_their_own() -> None:
    """Each feed is found at its own deadline, whatever the others do."""
    feeds, (_, b, _) = watching(TEN, FIVE, s(7))
    b.arrival = 3.5
    assert driven(feeds, s(100)) == [("c", s(7), s(7)), ("b", s(8.5), s(8.5)), ("a", s(10), s(10))]
    assert feeds.stale == ("c", "b", "a")


def test_a_late_look_finds_them_in_the_order_of_their_deadlines() -> None:
    """What one late look finds is what many looks would have found one by one, in the same order."""
    feeds, (a, b, c) = watching(TEN, TEN, TEN)
    a.arrival, b.arrival, c.arrival = 8.0, 2.0, 5.0
    assert found(feeds, TEN) == []
    b.arrival = 9.0
    assert found(feeds, s(60)) == [("c", s(15)), ("a", s(18)), ("b", s(19))]


def test_a_feed_added_while_data_is_expected_is_timed_from_then() -> None:
    """A latecomer has its whole timeout, before the first deadline of the others as well as after it."""
    feeds, _ = watching(TEN)
    feeds.add(FeedState("short", s(1)), s(2))
    assert feeds.deadline == s(3)
    assert driven(feeds, s(5)) == [("short", s(3), s(3))]
    feeds.add(FeedState("late", s(30)), s(5))
    feeds.add(FeedState("shorter", s(2)), s(6))
    assert driven(feeds, s(100)) == [("shorter", s(8), s(8)), ("a", TEN, TEN), ("late", s(35), s(35))]


def test_a_break_suspends_and_its_end_begins_anew() -> None:
    """While no data is expected nothing is due, and afterwards every live feed has its whole timeout."""
    feeds, (a, _) = watching(TEN, s(4))
    assert driven(feeds, s(5)) == [("b", s(4), s(4))]
    feeds.suspend()
    assert (feeds.deadline, feeds.due(s(1000)), feeds.since) == (None, None, None)
    assert feeds.stale == ("b",)
    a.arrival = 800.0
    feeds.expect(s(1000))
    assert driven(feeds, s(2000)) == [("a", s(1010), s(1010))]
    assert feeds.stale == ("b", "a")


def test_data_before_data_is_expected_again_does_not_shorten_the_wait() -> None:
    """The end of the break counts, where it is later than the newest data."""
    feeds, (watch,) = watching(TEN)
    feeds.suspend()
    watch.arrival = 99.0
    feeds.expect(s(100))
    assert driven(feeds, s(200)) == [("a", s(110), s(110))]


def test_the_close_forgets_who_was_stale() -> None:
    """After the end nobody is stale, no question is open, and the next session begins afresh."""
    feeds, (a, _) = watching(s(4), TEN)
    a.probe_timeout = s(1)
    found(feeds, s(10))
    assert feeds.stale == ("b",)
    assert len(feeds.questions) == 1
    feeds.end()
    assert (feeds.stale, feeds.deadline, feeds.says_timeout, feeds.questions) == ((), None, False, [])
    feeds.open(s(1000))
    a.probe_timeout = None
    assert driven(feeds, s(2000)) == [("a", s(1004), s(1004)), ("b", s(1010), s(1010))]


def test_data_revives_a_feed_that_is_stale() -> None:
    """A feed that is back is watched again from its newest data on, and it tells how long it was silent."""
    feeds, (watch,) = watching(TEN)
    feeds.record(watch, 2.0)
    assert driven(feeds, s(20)) == [("a", s(12), s(12))]
    assert (watch.stale, watch.inspect_all, watch.is_fresh) == (True, True, False)
    feeds.record(watch, 1.0)
    assert not watch.is_fresh
    feeds.record(watch, 29.0)
    assert watch.is_fresh
    assert feeds.revive(watch, s(30)) == s(28)
    assert (watch.stale, watch.inspect_all, feeds.stale) == (False, False, ())
    assert driven(feeds, s(100)) == [("a", s(39), s(39))]


def test_a_feed_revived_on_a_break_is_watched_from_its_end() -> None:
    """Data on a break ends the staleness, and arms nothing."""
    feeds, (watch,) = watching(TEN)
    found(feeds, TEN)
    feeds.suspend()
    feeds.record(watch, 50.0)
    feeds.revive(watch, s(50))
    assert feeds.deadline is None
    feeds.expect(s(100))
    assert driven(feeds, s(200)) == [("a", s(110), s(110))]


def test_only_while_it_matters_is_a_record_inspected() -> None:
    """The mark that has records inspected is set while a feed is stale, or while all data is news; not after that."""
    feeds, (a, b) = watching(TEN, s(20))
    assert (a.inspect_all, b.inspect_all) == (False, False)
    feeds.inspect_all_data(inspect=True)
    late = FeedState("late", TEN)
    feeds.add(late, s(0))
    assert {watch.inspect_all for watch in feeds.all} == {True}
    found(feeds, TEN)
    feeds.inspect_all_data(inspect=False)
    assert [watch.inspect_all for watch in (a, b, late)] == [True, False, True]
    feeds.remove(a, TEN)
    assert not a.inspect_all
    feeds.inspect_all_data(inspect=True)
    feeds.remove(b, TEN)
    feeds.inspect_all_data(inspect=False)
    assert not b.inspect_all


# ---- adaptive timeouts ----


def test_an_adaptive_timeout_shrinks_in_time() -> None:
    """A feed that was slow and is quick by now is found when its present timeout is over, not when an old one was."""
    feeds, (watch,) = watching(PACED)
    for second in range(1, 201):
        found(feeds, s(second))
        feeds.record(watch, float(second))
    assert watch.timeout == s(3)
    assert driven(feeds, s(500)) == [("a", s(203), s(203))]


def test_a_shrinking_timeout_is_exact_to_the_microsecond() -> None:
    """The hot path arms nothing, yet a deadline that a single message has brought near is not missed."""
    feeds, (watch,) = watching(AdaptiveTimeout(s(2), s(60), factor=2, half_life=s(1)))
    assert driven(feeds, s(40)) == []
    for arrival in (40.0, 59.0, 59.5):
        feeds.learn(watch, arrival)
        watch.arrival = arrival
    # Of the gap of 40 s, which has begun to fade at 40 s, next to nothing is left by then; 19 s ago becomes 13.4 s.
    longest = max(40 * 0.5**19.5, 19 * 0.5**0.5, 0.5)
    assert driven(feeds, s(200)) == [("a", s(59.5) + s(2 * longest), s(59.5) + s(2 * longest))]


def test_nothing_is_learnt_while_no_data_is_expected() -> None:
    """Gaps on a break, in a halt and before the open are not the feed's pace."""
    feeds = FeedTable(ALL)
    watch = FeedState("a", PACED)
    feeds.add(watch, s(0))
    feeds.record(watch, 1.0)
    feeds.record(watch, 2.0)
    assert watch.timeout == s(60)
    feeds.open(s(100))
    feeds.record(watch, 102.0)
    assert watch.timeout == s(6)  # from the open, not from the data before it
    feeds.suspend()
    feeds.record(watch, 112.0)
    assert watch.timeout == s(6)
    feeds.expect(s(120))
    feeds.record(watch, 121.0)
    assert watch.timeout < s(6)
    feeds.halt(watch, "why not", s(121))
    feeds.record(watch, 131.0)
    assert watch.timeout < s(6)
    feeds.resume(watch, s(140))
    feeds.record(watch, 139.5)  # of before it was resumed
    assert watch.timeout < s(6)


def scanned(
    policies: Sequence[timedelta | AdaptiveTimeout], arrivals: Sequence[tuple[timedelta, int]]
) -> Iterator[tuple[str, timedelta]]:
    """Find out by looking at every feed before every arrival who was stale, and when."""
    heard: list[list[float]] = [[0.0] for _ in policies]  # data is expected from second 0 on
    stale: set[int] = set()

    def deadline(n: int) -> timedelta:
        policy, times = policies[n], heard[n]
        if isinstance(policy, timedelta):
            return s(times[-1]) + policy
        ceiling, half = policy.ceiling.total_seconds(), policy.half_life.total_seconds()
        gaps = [(min(end - begin, ceiling), end) for begin, end in pairwise(times)]
        faded = [gap * 0.5 ** ((times[-1] - end) / half) for gap, end in gaps]
        longest = min(max(faded) * policy.factor, ceiling) if faded else ceiling
        return s(times[-1]) + max(s(longest), policy.floor)

    for now, which in arrivals:
        passed = [(deadline(n), n) for n in range(len(policies)) if n not in stale]
        for due, n in sorted(passed):
            if due <= now:
                stale.add(n)
                yield chr(ord("a") + n), due
        heard[which].append(now.total_seconds())
        stale.discard(which)


policies = st.sampled_from([s(2), s(7), s(7), s(30), PACED, AdaptiveTimeout(s(0.5), s(9), factor=1.5, half_life=s(3))])
pauses = st.sampled_from([0, 1, 100_000, 500_000, 999_999, 1_000_000, 2_000_000, 6_999_999, 7_000_000, 31_000_000])


@settings(max_examples=200, derandomize=True, database=None, deadline=None)
@given(st.lists(policies, min_size=1, max_size=5), st.lists(st.tuples(pauses, st.integers(0, 4)), max_size=40))
def test_laziness_changes_nothing(policies: list[timedelta | AdaptiveTimeout], steps: list[tuple[int, int]]) -> None:
    """Looking at deadlines alone finds the same feeds at the same instants as scanning all of them all the time."""
    feeds, feed_states = watching(*policies)
    now, arrivals, stale = s(0), [], []
    for pause, which in steps:
        now += pause * MICROSECOND
        stale += driven(feeds, now)
        watch = feed_states[which % len(feed_states)]
        arrivals.append((now, which % len(feed_states)))
        feeds.record(watch, now.total_seconds())
        if watch.stale:
            feeds.revive(watch, now)
    stale += driven(feeds, now + s(100))
    arrivals.append((now + s(100), 0))
    assert all(due == seen for _, due, seen in stale)
    # Faded gaps are sums of floats, which a microsecond may separate; feeds of one instant have no order.
    expected = sorted((due, name) for name, due in scanned(policies, arrivals))
    got = sorted((due, name) for name, due, _ in stale)
    assert len(got) == len(expected)
    assert sorted(name for _, name in got) == sorted(name for _, name in expected)
    assert all(abs(one[0] - other[0]) <= 2 * MICROSECOND for one, other in zip(got, expected, strict=True))


# ---- removal and halts ----


def test_a_feed_that_is_removed_is_never_found() -> None:
    """Whether it was waiting, stale, or halted: after its removal it is not there."""
    feeds, (a, b, c) = watching(TEN, s(2), s(20))
    found(feeds, s(2))
    feeds.halt(c, "for now", s(3))
    for watch in (a, b, c):
        feeds.remove(watch, s(4))
        assert watch.removed
        assert watch.name not in feeds
    assert (len(feeds), feeds.stale, feeds.halted, feeds.says_timeout) == (0, (), (), False)
    assert (feeds.deadline, feeds.due(s(1e6))) == (None, None)


def test_without_its_last_feed_a_set_has_no_deadline() -> None:
    """A driver that nobody's silence concerns any more is not woken for it, again and again."""
    feeds, (watch,) = watching(TEN)
    feeds.remove(watch, s(4))
    assert feeds.deadline is None
    feeds.add(FeedState("b", s(20)), s(50))
    assert driven(feeds, s(100)) == [("b", s(70), s(70))]


def test_a_name_is_free_again_after_removal() -> None:
    """A new feed of the same name is a feed of its own, with its own deadline."""
    feeds, (old,) = watching(TEN)
    found(feeds, s(5))
    feeds.remove(old, s(5))
    new = FeedState("a", TEN)
    feeds.add(new, s(6))
    assert driven(feeds, s(100)) == [("a", s(16), s(16))]
    assert (new.stale, old.stale) == (True, False)


def test_a_halted_feed_is_not_watched_until_it_is_resumed() -> None:
    """Its silence is timed from the end of its halt; that of the others is not touched."""
    feeds, (a, b) = watching(TEN, TEN)
    feeds.halt(a, "auction", s(1))
    assert [watch.name for watch in feeds.halted] == ["a"]
    b.arrival = 2.0
    assert driven(feeds, s(50)) == [("b", s(12), s(12))]
    feeds.resume(a, s(50))
    assert feeds.halted == ()
    assert driven(feeds, s(100)) == [("a", s(60), s(60))]


def test_a_halt_ends_the_staleness_of_a_feed() -> None:
    """A halted feed is not stale, and has its whole timeout when it is resumed."""
    feeds, (a, _) = watching(TEN, s(100))
    found(feeds, TEN)
    feeds.halt(a, "auction", s(11))
    assert (feeds.stale, a.stale, a.inspect_all) == ((), False, False)
    feeds.resume(a, s(20))
    assert driven(feeds, s(50)) == [("a", s(30), s(30))]


def test_a_halt_spans_a_break() -> None:
    """The end of a break does not end a feed's halt, nor does the end of a halt end the break."""
    feeds, (a, b) = watching(TEN, TEN)
    feeds.halt(a, "auction", s(1))
    feeds.suspend()
    feeds.expect(s(100))
    assert driven(feeds, s(200)) == [("b", s(110), s(110))]
    feeds.suspend()
    feeds.resume(a, s(210))
    assert (feeds.deadline, feeds.due(s(300))) == (None, None)
    feeds.expect(s(300))
    assert driven(feeds, s(400)) == [("a", s(310), s(310))]
    assert b.stale


# ---- the rule ----


@pytest.mark.parametrize(
    ("rule", "stale", "live", "halted", "verdict"),
    [
        (ALL, 0, 3, 0, False),
        (ALL, 2, 1, 0, False),
        (ALL, 3, 0, 0, True),
        (ALL, 2, 0, 1, True),  # a halted feed does not count
        (ALL, 0, 0, 2, False),
        (ALL, 1, 1, 5, False),
        (ANY, 0, 3, 0, False),
        (ANY, 1, 9, 0, True),
        (ANY, 0, 0, 2, False),
        (2, 1, 5, 0, False),
        (2, 2, 5, 0, True),
        (5, 2, 0, 0, True),  # a quorum of more than there are means all of them
        (5, 2, 0, 7, True),
        (5, 2, 1, 0, False),
        (1, 1, 5, 0, True),
        (3, 0, 0, 0, False),
    ],
)
def test_how_many_stale_feeds_are_a_timeout(
    rule: StaleWhen | int, stale: int, live: int, halted: int, verdict: bool
) -> None:
    """All of them, any of them, or so many, of those that are watched."""
    feeds, feed_states = watching(*[FIVE] * stale, *[s(1000)] * live, *[FIVE] * halted, rule=rule)
    for watch in feed_states[stale + live :]:
        feeds.halt(watch, "closed", s(0))
    found(feeds, s(100))
    assert len(feeds.stale) == stale
    assert feeds.says_timeout is verdict


def test_since_when_so_many_are_stale() -> None:
    """It is the deadline of the last feed found, or the instant at which a feed ceased to count, if that was later."""
    feeds, (_, b, c) = watching(TEN, s(20), s(90))
    assert feeds.since is None
    driven(feeds, s(20))
    assert (feeds.since, feeds.says_timeout) == (s(20), False)
    feeds.remove(c, s(30))
    assert (feeds.since, feeds.says_timeout) == (s(30), True)
    feeds.halt(b, "auction", s(40))
    assert (feeds.since, feeds.says_timeout) == (s(40), True)
    feeds.suspend()
    assert feeds.since is None
    feeds.expect(s(50))
    assert feeds.since == s(50)  # what nobody expected data for does not count


def test_a_feed_is_mute_until_its_first_word_since_the_open() -> None:
    """What it said before the open does not count; where a session is walked anew, its first open does."""
    feeds, (a, b) = watching(TEN, TEN)
    assert feeds.all_mute
    feeds.record(a, 1.0)
    assert (feeds.is_mute(a), feeds.is_mute(b), feeds.all_mute) == (False, True, False)
    feeds.end(over=False)
    feeds.open(s(50))
    assert not feeds.is_mute(a)
    feeds.end()
    feeds.open(s(100))
    assert feeds.is_mute(a)


# ---- questions and answers ----


def asked(timeout: timedelta = TEN, patience: timedelta = s(3)) -> tuple[FeedTable, FeedState]:
    """Return a feed whose probe has just been asked, at its deadline."""
    feeds, (watch,) = watching(timeout)
    watch.probe_timeout = patience
    assert found(feeds, timeout) == []
    assert feeds.questions == [(watch, timeout)]
    feeds.questions = []
    return feeds, watch


def test_a_probe_is_asked_before_a_feed_is_stale() -> None:
    """At its deadline the question is put, once, however often somebody looks, and answered by silence it is stale."""
    feeds, watch = asked()
    for second in (10, 11, 12.999999):
        assert found(feeds, s(second)) == []
    assert (feeds.questions, feeds.deadline, watch.stale) == ([], s(13), False)
    assert found(feeds, s(13)) == [("a", TEN)]
    assert watch.denied is None


def test_a_probe_that_says_yes_begins_the_silence_anew() -> None:
    """A quiet market is no dead feed: the next question comes a whole timeout after the answer."""
    feeds, watch = asked()
    feeds.answer(watch, TEN, None, s(11))
    assert feeds.deadline == s(21)
    assert found(feeds, s(20.999999)) == []
    assert feeds.questions == []
    assert found(feeds, s(21)) == []
    assert feeds.questions == [(watch, s(21))]


def test_a_probe_that_says_no_makes_it_stale_at_once() -> None:
    """The feed is found with its own deadline, and the probe's word is kept."""
    feeds, watch = asked()
    feeds.answer(watch, TEN, "the socket is closed", s(11))
    assert feeds.deadline == s(11)
    assert found(feeds, s(11)) == [("a", TEN)]
    assert watch.denied == "the socket is closed"


def test_data_settles_the_question() -> None:
    """Data that comes while the probe is asked counts, whatever the probe says after that."""
    feeds, watch = asked()
    watch.arrival = 11.0
    feeds.answer(watch, TEN, "no", s(12))
    assert found(feeds, s(13)) == []
    assert found(feeds, s(20.999999)) == []
    assert found(feeds, s(21)) == []
    assert feeds.questions == [(watch, s(21))]


@pytest.mark.parametrize("how", ["removed", "halted", "suspended", "ended", "stale", "another"])
def test_an_answer_that_nobody_waits_for_changes_nothing(how: str) -> None:
    """After a removal, a halt, a break, a close, a verdict or a newer question, an old answer is not heard."""
    feeds, watch = asked()
    match how:
        case "removed":
            feeds.remove(watch, s(11))
        case "halted":
            feeds.halt(watch, "auction", s(11))
            feeds.resume(watch, s(11))
        case "suspended":
            feeds.suspend()
        case "ended":
            feeds.end()
        case "stale":
            found(feeds, s(13))
        case _:
            watch.arrival = 11.0
            found(feeds, s(21))
    before = (feeds.deadline, feeds.stale, watch.since, watch.denied)
    feeds.answer(watch, TEN, "no", s(22))
    feeds.answer(watch, TEN, None, s(22))
    assert (feeds.deadline, feeds.stale, watch.since, watch.denied) == before


def test_a_slow_probe_does_not_date_the_verdict_back() -> None:
    """Where the feed found last was silent first, so many are stale only since the other was."""
    feeds, (slow, _) = watching(s(8), TEN)
    slow.probe_timeout = s(5)
    assert driven(feeds, s(100)) == [("b", s(10), s(10)), ("a", s(8), s(13))]
    assert (feeds.says_timeout, feeds.since) == (True, s(10))


# ---- the cost ----


class Costs:
    """Counts the operations on heaps; a heapify of n counts n."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.operations = 0
        for name in ("heappush", "heappop", "heapify"):
            monkeypatch.setattr(feeds_module, name, self._counting(getattr(feeds_module, name)))

    def _counting(self, function):
        def counted(heap, *item):
            self.operations += 1 if item or function.__name__ == "heappop" else len(heap)
            return function(heap, *item)

        return counted


@pytest.mark.parametrize(
    ("policy", "gap", "looks", "operations"),
    [
        (s(5), 0.1, 60, 30_000),  # a feed is looked at every four seconds or so
        (s(60), 0.1, 2, 4_000),
        (s(0.5), 0.05, 500, 700_000),  # twice in half a second
        (AdaptiveTimeout(s(1), s(30)), 0.1, 250, 350_000),
        (AdaptiveTimeout(s(5), s(30)), 1.5, 70, 70_000),
    ],
)
def test_thousands_of_lively_feeds_cost_next_to_nothing(
    monkeypatch: pytest.MonkeyPatch, policy: timedelta | AdaptiveTimeout, gap: float, looks: int, operations: int
) -> None:
    """A minute of a thousand feeds takes about a look a second, not one for each of their messages or deadlines."""
    feeds, feed_states = watching(*[policy] * 1000)
    costs, looked = Costs(monkeypatch), 0
    while (deadline := feeds.deadline) is not None and deadline <= s(60):
        looked += 1
        assert looked <= looks
        for n, watch in enumerate(feed_states):  # everyone speaks every `gap` seconds, each at its own moments
            beat = floor((deadline.total_seconds() - n * gap / 1000) / gap) * gap + n * gap / 1000
            if beat > (watch.arrival or 0.0):
                feeds.record(watch, beat)
        assert feeds.due(deadline) is None
    assert costs.operations <= operations


@pytest.mark.parametrize("spread", [0.0, 0.5, 30.0])
def test_when_thousands_die_at_once_each_costs_little(monkeypatch: pytest.MonkeyPatch, spread: float) -> None:
    """Ten thousand feeds that fall silent cost a few operations each, at one instant or at ten thousand."""
    feeds, feed_states = watching(*[TEN] * 10_000)
    for n, watch in enumerate(feed_states):
        watch.arrival = 1 + n * spread / 10_000
    costs = Costs(monkeypatch)
    assert len(driven(feeds, s(100))) == 10_000
    assert feeds.says_timeout
    assert costs.operations <= 6 * 10_000


def test_when_half_of_them_die_the_living_do_not_look_at_the_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand that fall silent among a thousand that speak are not looked at once for each of those."""
    feeds, feed_states = watching(*[TEN] * 2000)
    for n, watch in enumerate(feed_states):
        watch.arrival = 1 + n / 2000
    costs, stale = Costs(monkeypatch), 0
    while (deadline := feeds.deadline) is not None and deadline <= s(60):
        for watch in feed_states[::2]:
            watch.arrival = deadline.total_seconds() - 0.05
        stale += len(found(feeds, deadline))
        if stale == 1000 and deadline > s(30):
            break
    assert stale == 1000
    assert costs.operations <= 15 * 2000


def test_coming_and_going_leaves_nothing_behind() -> None:
    """What feeds that were removed, halted or revived have left in the heap is gone at their deadlines."""
    feeds, (watch, other) = watching(TEN, s(1000))
    found(feeds, TEN)
    feeds.record(watch, 10.5)
    feeds.revive(watch, s(10.5))
    for n in range(1000):
        feeds.halt(watch, "flicker", s(11 + n / 1000))
        feeds.resume(watch, s(11 + n / 1000))
    feeds.remove(watch, s(12))
    assert driven(feeds, s(100)) == []
    assert (feeds.deadline, len(feeds._heap)) == (s(1000), 1)
    feeds.remove(other, s(100))
    assert (feeds.deadline, len(feeds._heap)) == (None, 0)
