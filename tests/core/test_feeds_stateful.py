"""Feeds, halts, breaks, steps and data in any order, against a model that looks at every feed every time.

The model is written from the rules in words and keeps no heap, arms nothing and puts nothing off. The lifecycle is run
twice beside it: one copy is looked at only when it asks for it, the other also at any odd moment. All three must tell
the same, at the same instants.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from session_lifecycle import (
    AdaptiveTimeout,
    Event,
    FeedResumed,
    FeedStale,
    Halted,
    HaltRefused,
    LifecycleConfig,
    MissedSessions,
    Resumed,
    StaleWhen,
    StateChanged,
)
from session_lifecycle._core.feeds import FeedState
from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._model.clock import Reading
from session_lifecycle._model.config import Resolution
from tests.helpers.builders import MICROSECOND
from tests.helpers.feed_model import (
    FIRST,
    HOUR,
    MINUTE,
    POST,
    PRE,
    SCHEDULE,
    SECOND,
    SESSIONS,
    ZERO,
    Model,
    Policy,
    Said,
)

# ---- the lifecycle, beside it ----


class Run:
    """A lifecycle, driven as a driver does, by hand; rolls succeed at once."""

    def __init__(self, config: LifecycleConfig, wall: datetime) -> None:
        self.lifecycle = SessionLifecycle(SCHEDULE, config=config, session=SESSIONS[0].date)
        self.wall, self.mono = wall, ZERO
        self.feed_states: dict[str, FeedState] = {}
        self.log: list[Event] = []
        self.lifecycle.begin(self.now)
        self.serve()

    @property
    def now(self) -> Reading:
        return Reading(self.wall, self.mono)

    def serve(self) -> None:
        """Look, and look again at whatever that has brought about; it must come to rest."""
        self.lifecycle.poll(self.now)
        while (turn := self.lifecycle.due_roll(self.now)) is not None:
            self.lifecycle.begin_roll(turn, self.now, journalled=False).apply(self.now)
            self.lifecycle.roll_succeeded(turn, self.now).apply(self.now)
        self.log += self.lifecycle.take_events()
        wait = self.wait
        assert wait is None or wait > ZERO, "it asks for a look that changes nothing"

    @property
    def wait(self) -> timedelta | None:
        """How long until the next look that it asks for."""
        wall, mono = self.lifecycle.deadlines
        waits = [] if wall is None else [wall - self.wall]
        waits += [] if mono is None else [mono - self.mono]
        return min(waits, default=None)

    def pass_time(self, by: timedelta, peeks: Sequence[timedelta] = ()) -> None:
        """Let time pass, with a look at every deadline, and at odd moments."""
        until = self.mono + by
        moments = sorted({self.mono + peek for peek in peeks if peek < by} | {until})
        for moment in moments:
            while self.mono < moment:
                step = moment - self.mono
                step = step if self.wait is None else min(step, self.wait)
                self.wall, self.mono = self.wall + step, self.mono + step
                if self.mono < moment or moment < until or self.wait == ZERO:
                    self.serve()

    def data(self, stamp: datetime | None) -> None:
        if stamp is None and not self.lifecycle.progress.clock_state.inspect_all:
            self.lifecycle.staleness.arrival = self.mono.total_seconds()
        else:
            self.lifecycle.record_data(self.now, stamp)
            self.serve()

    def feed_data(self, name: str, stamp: datetime | None) -> None:
        watch = self.feed_states[name]
        if stamp is None and not watch.inspect_all:
            if watch.gaps is not None:
                self.lifecycle.feeds.learn(watch, self.mono.total_seconds())
            watch.arrival = self.mono.total_seconds()
        else:
            self.lifecycle.record_feed(watch, self.now, stamp)
            self.log += self.lifecycle.take_events()

    def add(self, name: str, policy: Policy) -> None:
        self.feed_states[name] = FeedState(name, policy)
        self.lifecycle.add_feed(self.feed_states[name], self.now)
        self.serve()

    def remove(self, name: str) -> None:
        self.lifecycle.remove_feed(self.feed_states.pop(name), self.now)
        self.serve()

    def halt(self, name: str | None) -> bool:
        try:
            self.lifecycle.halt("why not", self.now, None if name is None else self.feed_states[name])
        except HaltRefused:
            return False
        finally:
            self.serve()
        return True

    def resume(self, name: str | None) -> None:
        decision = self.lifecycle.resume(self.now, None if name is None else self.feed_states[name])
        if decision is not None:
            decision.apply(self.now)
        self.serve()

    def fail(self) -> None:
        self.lifecycle.fail("sunspots", self.now)
        self.serve()

    def recover(self) -> None:
        self.lifecycle.recover(Resolution.RETRY, self.now).apply(self.now)
        self.serve()

    @property
    def said(self) -> list[Said]:
        """Return what the model says too. Of feeds stale at one instant, which is told first is nobody's promise."""
        said = [each for each in map(_said, self.log) if each is not None]
        return in_order(said)


def _said(event: Event) -> Said | None:
    match event:
        case StateChanged():
            edge = (event.source, event.dest, event.trigger, event.session)
            return ("state", *edge, event.scheduled_at, event.observed_at)
        case FeedStale():
            return ("stale", event.feed, event.scheduled_at, event.observed_at, event.never)
        case FeedResumed():
            return ("back", event.feed, event.silent_for, event.observed_at)
        case Halted():
            return ("halted", event.feed, event.reason, event.observed_at)
        case Resumed():
            return ("resumed", event.feed, event.lapsed, event.observed_at)
        case _:
            return None


def in_order(said: list[Said]) -> list[Said]:
    """Return the same with the feeds that went stale at one instant in the order of their names."""
    ordered = list(said)
    start = 0
    while start < len(said):
        stop = start
        while stop < len(said) and said[stop][-2 if said[stop][0] == "stale" else -1] == _observed(said[start]):
            stop += 1
        places = [n for n in range(start, stop) if said[n][0] == "stale"]
        for place, told in zip(places, sorted(said[n] for n in places), strict=True):
            ordered[place] = told
        start = max(stop, start + 1)
    return ordered


def _observed(told: Said) -> datetime:
    return told[-2] if told[0] == "stale" else told[-1]


# ---- what happens ----

PACED = AdaptiveTimeout(20 * SECOND, 6 * MINUTE, factor=3, half_life=2 * MINUTE)
policies = st.sampled_from(
    [3 * MINUTE, 3 * MINUTE, 4 * MINUTE, 7 * MINUTE, 20 * SECOND, 25 * MINUTE, 2 * HOUR, PACED, PACED]
)
configs = st.builds(
    LifecycleConfig,
    data_timeout=st.sampled_from([None, 4 * MINUTE, 4 * MINUTE]),
    error_after_timeout=st.sampled_from([None, None, 6 * MINUTE]),
    stale_when=st.sampled_from([StaleWhen.ALL, StaleWhen.ALL, StaleWhen.ANY, 2, 3]),
    require_first_tick=st.sampled_from([True, True, False]),
    pre_market=st.just(PRE),
    post_market_roll_delay=st.just(POST),
    missed_sessions=st.just(MissedSessions.EACH),
    max_catch_up_sessions=st.just(10_000),
)
durations = st.sampled_from([MICROSECOND, SECOND, 15 * SECOND, MINUTE, 3 * MINUTE, 4 * MINUTE, 10 * MINUTE, HOUR])
ages = st.sampled_from(
    [None, None, None, -HOUR, ZERO, SECOND, MINUTE, 3 * MINUTE - MICROSECOND, 3 * MINUTE, 4 * MINUTE]
)
steps = st.sampled_from([SECOND, MINUTE, 20 * MINUTE, HOUR, 3 * HOUR]).flatmap(
    lambda delta: st.sampled_from([delta, -delta])
)
fractions = st.lists(st.floats(0, 1, exclude_max=True), max_size=4)


class Venue(RuleBasedStateMachine):
    """A lifecycle that is looked at when it asks for it, one that is looked at more often, and the model."""

    @initialize(config=configs, start=st.integers(-20, 40), feeds=st.lists(policies, max_size=4))
    def begin(self, config: LifecycleConfig, start: int, feeds: list[Policy]) -> None:
        wall = FIRST + start * MINUTE
        self.model = Model(config, wall)
        self.model.look()
        self.runs = [Run(config, wall), Run(config, wall)]
        self.numbers = count()
        self.compared = (0, 0, 0)
        self.known = 0
        for policy in feeds:
            self.a_feed_is_added(policy)

    def pass_time(self, by: timedelta, peeks: Sequence[float] = ()) -> None:
        self.model.pass_time(by)
        self.runs[0].pass_time(by)
        self.runs[1].pass_time(by, [fraction * by for fraction in peeks])

    def everybody(self, call: str, *args: Any) -> None:
        answers = [getattr(each, call)(*args) for each in (self.model, *self.runs)]
        assert answers == answers[:1] * 3

    def pick(self, number: int) -> str | None:
        names = list(self.model.sources)
        return names[number % len(names)] if names else None

    @rule(by=durations, peeks=fractions)
    def time_passes(self, by: timedelta, peeks: list[float]) -> None:
        self.pass_time(by, peeks)

    @rule(number=st.integers(0, 3), off=st.sampled_from([0, 0, -1, 1]), peeks=fractions)
    def time_passes_to_a_deadline(self, number: int, off: int, peeks: list[float]) -> None:
        waits = [wait for wait in self.model.waits if wait > MICROSECOND]
        if waits:
            self.pass_time(waits[number % len(waits)] + off * MICROSECOND, peeks)

    @precondition(lambda self: not self.model.in_market and not self.model.failed)
    @rule(then=durations)
    def the_market_opens(self, then: timedelta) -> None:
        for _ in range(6):
            if not self.model.in_market:
                self.pass_time(max(self.model.waits[0], MICROSECOND))
        self.pass_time(min(then, 10 * MINUTE))

    @rule(number=st.integers(0, 9), age=ages)
    def a_feed_speaks(self, number: int, age: timedelta | None) -> None:
        name = self.pick(number)
        if name is None:
            return
        if isinstance(self.model.sources[name].policy, AdaptiveTimeout) and age is not None:
            age = min(age, ZERO)
        stamp = None if age is None else self.model.wall - age
        self.model.feed_data(name, age or ZERO)
        for run in self.runs:
            run.feed_data(name, stamp)

    @rule(n=st.integers(1, 6), gap=st.sampled_from([SECOND, 15 * SECOND, MINUTE]), number=st.integers(0, 9))
    def a_feed_goes_on_speaking(self, n: int, gap: timedelta, number: int) -> None:
        for _ in range(n):
            self.a_feed_speaks(number, None)
            self.pass_time(gap)

    @precondition(lambda self: self.model.in_market and bool(self.model.sources))
    @rule(number=st.integers(0, 9), age=ages, then=st.sampled_from([ZERO, MICROSECOND, 3 * MINUTE]))
    def a_feed_falls_silent_and_speaks_again(self, number: int, age: timedelta | None, then: timedelta) -> None:
        name = self.pick(number)
        assert name is not None
        source = self.model.sources[name]
        if source in self.model.watched:
            self.pass_time(max(self.model.silent_from(source) + source.timeout - self.model.mono, ZERO))
        self.pass_time(then)
        self.a_feed_speaks(number, age)

    @rule(age=ages)
    def the_manager_hears(self, age: timedelta | None) -> None:
        self.model.data(age or ZERO)
        for run in self.runs:
            run.data(None if age is None else run.wall - age)

    @precondition(lambda self: len(self.model.sources) < 6)
    @rule(policy=policies)
    def a_feed_is_added(self, policy: Policy) -> None:
        self.everybody("add", f"feed {next(self.numbers)}", policy)

    @rule(number=st.integers(0, 9))
    def a_feed_is_removed(self, number: int) -> None:
        name = self.pick(number)
        if name is not None:
            self.everybody("remove", name)

    @rule(number=st.integers(0, 9) | st.none())
    def something_is_halted(self, number: int | None) -> None:
        name = None if number is None else self.pick(number)
        if name is not None or number is None:
            self.everybody("halt", name)

    @rule(number=st.integers(0, 9) | st.none())
    def something_is_resumed(self, number: int | None) -> None:
        halted = [name for name, source in self.model.sources.items() if source.halted]
        name = None if number is None or not halted else halted[number % len(halted)]
        self.everybody("resume", name)

    @rule(delta=steps)
    def the_wall_clock_steps(self, delta: timedelta) -> None:
        if self.model.wall + delta > FIRST - HOUR:
            self.model.wall += delta
            self.model.look()
            for run in self.runs:
                run.wall += delta
                run.serve()

    @precondition(lambda self: not self.model.failed)
    @rule(after=st.sampled_from([ZERO, ZERO, MINUTE, None]))
    def somebody_fails(self, after: timedelta | None) -> None:
        self.everybody("fail")
        if after is not None:
            self.pass_time(after)
            self.everybody("recover")

    @precondition(lambda self: self.model.failed)
    @rule()
    def somebody_recovers(self) -> None:
        self.everybody("recover")

    @invariant()
    def all_say_the_same(self) -> None:
        if not hasattr(self, "model"):
            return
        model, (run, looked_at) = self.model, self.runs
        told = (len(run.log), len(looked_at.log), len(model.said))
        if told != self.compared:  # what has been told does not change
            assert run.log == looked_at.log
            assert run.said == in_order(model.said)
            self.compared = told
        for each in self.runs:
            lifecycle = each.lifecycle
            assert (each.wall, each.mono) == (model.wall, model.mono)
            assert (lifecycle.state, lifecycle.on_break, lifecycle.halted) == (
                model.state,
                model.on_break,
                model.halted,
            )
            assert (lifecycle.can_trade, lifecycle.market_open) == (model.may_trade, model.market_open)
            assert {name: lifecycle.feed_can_trade(feed) for name, feed in each.feed_states.items()} == {
                name: model.may_trade_on(source) for name, source in model.sources.items()
            }
            assert sorted(lifecycle.feeds.stale) == sorted(model.stale)
            assert {watch.name for watch in lifecycle.feeds.halted} == {
                name for name, source in model.sources.items() if source.halted
            }


@pytest.mark.timeout(600)  # where it fails, most of the time goes into finding a short way to fail
def test_feeds_do_what_the_model_says() -> None:
    """Whatever happens, in whatever order and however often anybody looks, what is told is what the model tells."""
    short = settings(derandomize=True, database=None, deadline=None, max_examples=100, stateful_step_count=40)
    run_state_machine_as_test(Venue, settings=short)


def test_what_a_feed_learns_does_not_depend_on_the_uptime() -> None:
    """A gap is of whole microseconds: the difference of two floats once put a deadline one microsecond off."""
    venue = Venue()
    config = LifecycleConfig(
        data_timeout=None, pre_market=PRE, post_market_roll_delay=POST, missed_sessions=MissedSessions.EACH
    )
    venue.begin(config=config, start=-17, feeds=[])
    for policy in (3 * MINUTE, 3 * MINUTE):
        venue.a_feed_is_added(policy=policy)
    venue.the_market_opens(then=MICROSECOND)
    venue.a_feed_goes_on_speaking(gap=15 * SECOND, n=1, number=0)
    for policy in (PACED, 3 * MINUTE, 3 * MINUTE):
        venue.a_feed_is_added(policy=policy)
    venue.time_passes_to_a_deadline(number=0, off=0, peeks=[])
    venue.a_feed_goes_on_speaking(gap=MINUTE, n=3, number=2)
    venue.a_feed_is_added(policy=3 * MINUTE)
    venue.time_passes_to_a_deadline(number=1, off=0, peeks=[])
    assert any(told[:2] == ("stale", "feed 2") for told in venue.runs[0].said)
    venue.all_say_the_same()


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_feeds_do_what_the_model_says_at_length() -> None:
    """The same holds for many more venues and days, new ones on each run by hand."""
    long = settings(database=None, deadline=None, print_blob=True, max_examples=2500, stateful_step_count=60)
    run_state_machine_as_test(Venue, settings=long)
