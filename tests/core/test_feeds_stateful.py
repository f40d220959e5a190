"""Feeds, halts, breaks, steps and data in any order, against a model that looks at every feed every time.

The model is written from the rules in words and keeps no heap, arms nothing and puts nothing off. The lifecycle is run
twice beside it: one copy is looked at only when it asks for it, the other also at any odd moment. All three must tell
the same, at the same instants.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
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
    FixedSchedule,
    Halted,
    HaltRefused,
    LifecycleConfig,
    MissedSessions,
    Resumed,
    Session,
    SessionState,
    StaleWhen,
    StateChanged,
)
from session_lifecycle._core.feeds import FeedState
from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._model.clock import Reading
from session_lifecycle._model.config import Resolution
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at

ZERO, SECOND, MINUTE, HOUR = timedelta(0), timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
NOT_STARTED, PRE_MARKET, ACTIVE = SessionState.NOT_STARTED, SessionState.PRE_MARKET, SessionState.ACTIVE
POST_MARKET, ENDED = SessionState.POST_MARKET, SessionState.ENDED
TIMEOUT, ERROR = SessionState.TIMEOUT, SessionState.ERROR

FIRST = at(MONDAY, (0, 0))
BREAKS = ((), ((10, 15),), ((5, 10), (20, 24)), ((1, 3), (4, 6)))


def _session(n: int) -> Session:
    """Return the `n`th session: one each hour, every fourth without a gap to the next, with breaks of four kinds."""
    opens = FIRST + n * HOUR
    pauses = tuple((opens + begin * MINUTE, opens + end * MINUTE) for begin, end in BREAKS[n % 4])
    return Session(MONDAY + n * DAY, opens, opens + (60 if n % 4 == 3 else 30) * MINUTE, pauses)


SESSIONS = [_session(n) for n in range(600)]
SCHEDULE = FixedSchedule(SESSIONS)
PRE, POST = 10 * MINUTE, 5 * MINUTE

Said = tuple[Any, ...]
Policy = timedelta | AdaptiveTimeout


# ---- the model ----


@dataclass
class Source:
    """One feed, and all that is known about it."""

    name: str
    policy: Policy
    since: timedelta
    newest: timedelta | None = None
    stale: bool = False
    halted: bool = False
    resumed: timedelta = ZERO
    silent_from: timedelta = ZERO
    newest_then: timedelta | None = None
    longest: float | None = None
    learnt_at: float = 0.0

    @property
    def timeout(self) -> timedelta:
        if isinstance(self.policy, timedelta):
            return self.policy
        if self.longest is None:
            return self.policy.ceiling
        learnt = timedelta(seconds=min(self.longest * self.policy.factor, self.policy.ceiling.total_seconds()))
        return max(learnt, self.policy.floor)

    def learn(self, gap: float, now: float) -> None:
        if isinstance(self.policy, timedelta):
            return
        gap = min(gap, self.policy.ceiling.total_seconds())
        if self.longest is not None:
            half_lives = (now - self.learnt_at) / self.policy.half_life.total_seconds()
            gap = max(gap, self.longest * 0.5**half_lives)
        self.longest, self.learnt_at = gap, now


@cache
def script_of(i: int) -> list[tuple[datetime, str]]:
    """Return all that a session has to go through, in order."""
    session, following = SESSIONS[i], SESSIONS[i + 1]
    begin, end = session.open - PRE, min(session.close + POST, following.open)
    if i > 0:
        begin = max(begin, min(SESSIONS[i - 1].close + POST, session.open))
    script = [(begin, "start_pre_market"), (session.open, "open_market")]
    for start, stop in session.breaks:
        script += [(start, "break starts"), (stop, "break ends")]
    return [*script, (session.close, "close_market"), (end, "end_session")]


@dataclass
class Model:
    """The rules in words, simulated from one instant that matters to the next; every feed is looked at every time."""

    config: LifecycleConfig
    wall: datetime
    mono: timedelta = ZERO
    i: int = 0
    read: int = 0  # how much of the session's script
    failed: bool = False
    quiet: bool = False  # the session is TIMEOUT
    quiet_for: timedelta = ZERO
    halted: str | None = None
    newest: timedelta | None = None  # the manager's own data
    newest_then: timedelta | None = None  # ... when the session became TIMEOUT
    listening_from: timedelta = ZERO  # the manager's own silence counts from here at the earliest
    expected_from: timedelta = ZERO  # that of the feeds, likewise
    opened: timedelta | None = None
    awaited_from: timedelta = ZERO  # one may trade on data as of then
    found: timedelta = ZERO  # since when as many feeds are stale as are
    carried: bool = False  # the session has closed, the market has not: until the next open
    carried_quiet: bool = False  # ... and it was TIMEOUT, which the next session is to be again
    kept: bool = False  # ... and all that is known of the data goes on
    sources: dict[str, Source] = field(default_factory=dict)
    said: list[Said] = field(default_factory=list)

    # Where it stands.

    def script(self) -> list[tuple[datetime, str]]:
        return script_of(self.i)

    @property
    def last_read(self) -> str:
        return self.script()[self.read - 1][1] if self.read else "nothing"

    @property
    def state(self) -> SessionState:
        if self.failed:
            return ERROR
        names = {"nothing": NOT_STARTED, "start_pre_market": PRE_MARKET, "close_market": POST_MARKET}
        if self.last_read == "end_session":
            return ENDED
        return names.get(self.last_read, TIMEOUT if self.quiet else ACTIVE)

    @property
    def in_market(self) -> bool:
        return self.state in (ACTIVE, TIMEOUT)

    @property
    def on_break(self) -> bool:
        return not self.failed and self.last_read == "break starts"

    @property
    def expecting(self) -> bool:
        return self.in_market and not self.on_break and self.halted is None

    @property
    def abuts(self) -> bool:
        return SESSIONS[self.i + 1].open == SESSIONS[self.i].close

    @property
    def follows_data(self) -> bool:
        """Whether the market is open, though the session may not be."""
        return self.expecting or (self.carried and self.kept and self.halted is None)

    def has_tick(self, source: Source) -> bool:
        return source.newest is not None and source.newest >= max(self.awaited_from, source.resumed)

    def may_trade_on(self, source: Source) -> bool:
        ticked = not self.config.require_first_tick or self.has_tick(source)
        return self.may_trade and ticked and not source.stale and not source.halted

    @property
    def may_trade(self) -> bool:
        if self.state is not ACTIVE or self.on_break or self.halted is not None:
            return False
        if not self.config.require_first_tick:
            return True
        if not self.sources:
            return self.config.data_timeout is None or (self.newest is not None and self.newest >= self.awaited_from)
        ticked = [self.has_tick(source) for source in self.sources.values() if not source.halted]
        match self.config.stale_when:
            case StaleWhen.ANY:
                return all(ticked)
            case StaleWhen.ALL:
                return any(ticked) or not ticked
            case quorum:
                return ticked.count(False) < min(quorum, len(ticked)) or not ticked

    @property
    def market_open(self) -> bool:
        session = next((each for each in SESSIONS[self.i :] if each.open <= self.wall < each.close), None)
        return session is not None and not any(start <= self.wall < end for start, end in session.breaks)

    @property
    def stale(self) -> list[str]:
        return [source.name for source in self.sources.values() if source.stale]

    @property
    def verdict(self) -> bool:
        counted = [source for source in self.sources.values() if not source.halted]
        stale = len(self.stale)
        if self.config.stale_when is StaleWhen.ANY:
            return stale > 0
        if self.config.stale_when is StaleWhen.ALL:
            return 0 < stale == len(counted)
        return 0 < stale >= min(self.config.stale_when, len(counted))

    def silent_from(self, source: Source) -> timedelta:
        return max(source.since, self.expected_from, ZERO if source.newest is None else source.newest)

    def is_mute(self, source: Source) -> bool:
        return source.newest is None or (self.opened is not None and source.newest < self.opened)

    @property
    def watched(self) -> list[Source]:
        return [each for each in self.sources.values() if not each.stale and not each.halted] if self.expecting else []

    @property
    def own_deadline(self) -> timedelta | None:
        if not self.expecting or self.sources or self.quiet or self.config.data_timeout is None:
            return None
        return max(self.listening_from, self.newest or ZERO) + self.config.data_timeout

    # Time.

    @property
    def waits(self) -> list[timedelta]:
        """How long until each thing that may come next."""
        waits = [due - self.wall for due, _ in self.script()[self.read : self.read + 1]] if not self.failed else []
        waits += [self.silent_from(source) + source.timeout - self.mono for source in self.watched]
        if self.own_deadline is not None:
            waits.append(self.own_deadline - self.mono)
        if self.expecting and self.quiet and self.config.error_after_timeout is not None:
            waits.append(self.config.error_after_timeout - self.quiet_for)
        return sorted(waits)

    def pass_time(self, by: timedelta) -> None:
        until = self.mono + by
        while self.mono < until:
            left = until - self.mono
            step = min([left, *self.waits[:1]])
            if (self.expecting and self.quiet) or (self.follows_data and self.carried_quiet):
                self.quiet_for += step
            self.wall, self.mono = self.wall + step, self.mono + step
            self.look()

    def look(self) -> None:
        while not self.failed and self._do_one_thing():
            pass

    def _do_one_thing(self) -> bool:
        script = self.script()
        if self.read == len(script):
            end = script[-1][0]
            self.i, self.read = self.i + 1, 0
            self._say(ENDED, "roll", min(end, self.wall))
            return True
        if script[self.read][0] <= self.wall:
            self._read_on(*script[self.read])
            return True
        return self.in_market and self._listen()

    def _read_on(self, due: datetime, what: str) -> None:
        source = self.state
        if what == "open_market":
            self._open()
        self.read += 1
        if what == "break ends" and self.halted is None:
            self.listening_from = self.expected_from = self.awaited_from = self.mono
        if what.startswith("break"):
            return
        closes = what == "close_market" or (what == "end_session" and not self.carried)
        if closes:
            self._close()
        self._say(source, what, due)
        if closes and not self.carried:
            self._lift()

    def _open(self) -> None:
        anew = not (self.carried and self.kept)
        self.carried, self.quiet = False, False
        if self.carried_quiet and not self._missing:
            self.carried_quiet = False
            self.listening_from = self.mono
        if anew and self.halted is None:
            self.listening_from = self.expected_from = self.awaited_from = self.mono
        self.opened = self.mono if self.opened is None else self.opened

    def _close(self) -> None:
        self.carried = self.kept = self.last_read in ("open_market", "break ends", "close_market") and self.abuts
        self.carried_quiet = self.carried and (self.quiet or self.carried_quiet)
        self.quiet = False
        if not self.carried:
            self._forget()

    @property
    def _missing(self) -> bool:
        """Whether data is missing still, once the session is TIMEOUT."""
        if self.sources:
            return self.verdict
        timeout = self.config.data_timeout
        fresh = self.newest is not None and self.newest != self.newest_then
        return timeout is not None and not (fresh and self.newest is not None and self.newest + timeout > self.mono)

    def _due_by(self, late: timedelta) -> datetime:
        """Return when something was due so long ago; in this session, nothing is due before its open."""
        return max(self.wall - late, min(self.wall, SESSIONS[self.i].open))

    def _listen(self) -> bool:
        if self.carried_quiet:
            self.quiet, self.carried_quiet = True, False
            self._say(ACTIVE, "data_timeout", min(self.wall, SESSIONS[self.i].open))
            return True
        late = ZERO
        if self.sources:
            if self.quiet or not self.verdict:
                passed = [(self.silent_from(each) + each.timeout, each) for each in self.watched]
                passed = [(due, each) for due, each in passed if due <= self.mono]
                if passed:
                    self._find_stale(*min(passed, key=lambda found: found[0]))
                    return True
            give_up = self.verdict and self.expecting
            late = self.mono - max(self.found, self.expected_from)
        else:
            give_up = self.own_deadline is not None and self.own_deadline <= self.mono
            late = ZERO if self.own_deadline is None else self.mono - self.own_deadline
        if not self.quiet:
            if give_up:
                self.quiet, self.quiet_for, self.newest_then = True, ZERO, self.newest
                self._say(ACTIVE, "data_timeout", self._due_by(late))
            return give_up
        if not self._missing:
            self.quiet = False
            self.listening_from = self.mono
            self._say(TIMEOUT, "data_resumed", self.wall)
            return True
        limit = self.config.error_after_timeout
        if self.expecting and limit is not None and self.quiet_for >= limit:
            self._break_down(self._due_by(self.quiet_for - limit))
            return True
        return False

    def _find_stale(self, due: timedelta, source: Source) -> None:
        source.stale, source.silent_from, source.newest_then = True, self.silent_from(source), source.newest
        self.found = max(self.found, due)
        # Last in the order of those that are stale.
        self.sources[source.name] = source
        self.said.append(("stale", source.name, self.wall - (self.mono - due), self.wall, self.is_mute(source)))

    def _say(self, source: SessionState, trigger: str, due: datetime) -> None:
        self.said.append(("state", source, self.state, trigger, SESSIONS[self.i].date, due, self.wall))

    def _forget(self) -> None:
        self.quiet, self.opened = False, None
        for source in self.sources.values():
            source.stale = False

    def _lift(self) -> None:
        if self.halted is not None:
            self.halted = None
            self.said.append(("resumed", None, True, self.wall))
        for source in self.sources.values():
            if source.halted:
                source.halted, source.since, source.resumed = False, self.mono, self.mono
                self.said.append(("resumed", source.name, True, self.wall))

    def _break_down(self, due: datetime | None = None) -> None:
        source = self.state
        opened = self.opened
        if not self.carried:
            self._forget()
        self.failed, self.opened = True, opened
        self._say(source, "fail", due or self.wall)

    # What it is told.

    def data(self, age: timedelta) -> None:
        arrival = self.mono - max(age, ZERO)
        self.newest = arrival if self.newest is None else max(arrival, self.newest)
        self.look()

    def feed_data(self, name: str, age: timedelta) -> None:
        source = self.sources[name]
        arrival = self.mono - max(age, ZERO)
        if source.newest is None or arrival > source.newest:
            gap = (arrival - self.silent_from(source)).total_seconds()
            if self.follows_data and not source.halted and gap >= 0:
                source.learn(gap, arrival.total_seconds())
            source.newest = arrival
        fresh = source.newest != source.newest_then and source.newest + source.timeout > self.mono
        if source.stale and fresh:
            source.stale = False
            self.said.append(("back", name, self.mono - source.silent_from, self.wall))
        self.look()

    def add(self, name: str, policy: Policy) -> None:
        self.sources[name] = Source(name, policy, self.mono)
        self.look()

    def remove(self, name: str) -> None:
        del self.sources[name]
        self.found = self.mono
        if not self.sources and not self.quiet and not self.carried_quiet:
            self.listening_from = self.mono
        self.look()

    def halt(self, name: str | None) -> bool:
        """Return False where that is refused."""
        if self.state not in (PRE_MARKET, ACTIVE, TIMEOUT, ERROR) and not self.carried:
            return False
        if name is None and self.halted is None:
            self.halted = "why not"
            self.said.append(("halted", None, "why not", self.wall))
        elif name is not None and not self.sources[name].halted:
            self.sources[name].halted, self.sources[name].stale = True, False
            self.found = self.mono
            self.said.append(("halted", name, "why not", self.wall))
        self.look()
        return True

    def resume(self, name: str | None) -> None:
        if name is None and self.halted is not None:
            self.halted = None
            self.listening_from = self.expected_from = self.awaited_from = self.mono
            self.kept = self.opened is not None
            self.said.append(("resumed", None, False, self.wall))
        elif name is not None and self.sources[name].halted:
            self.sources[name].halted, self.sources[name].since = False, self.mono
            self.sources[name].resumed = self.mono
            self.said.append(("resumed", name, False, self.wall))
        self.look()

    def fail(self) -> None:
        if not self.failed:
            self._break_down()

    def recover(self) -> None:
        over = self.wall >= self.script()[-1][0]
        self.failed, self.read = False, len(self.script()) if over else 0
        if over:
            self.kept = self.carried and self.kept
            self.carried = self.abuts
            self.carried_quiet = self.carried and self.carried_quiet
            if not self.carried:
                self._forget()
        self._say(ERROR, "recover", self.wall)
        if over and not self.carried:
            self._lift()
        self.look()


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
