"""The manager against a naive model, under random advances, steps, silences, failures, rolls and restarts.

The model is written from the rules in words. A session is a script of instants that is read from top to bottom; time
passes from one instant that matters to the next; what it says is compared with what the manager says, event by event,
timeouts and retries included. A ledger holds the events by rules of its own that need no model.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import product
from typing import Any, Literal

import anyio
import anyio.abc
import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from session_lifecycle import (
    BreakEnded,
    BreakStarted,
    ClockStepped,
    Event,
    FixedSchedule,
    HorizonNear,
    LifecycleConfig,
    LifecycleError,
    MissedSessions,
    RetryPolicy,
    RollFailed,
    RollStarted,
    RollSucceeded,
    Session,
    SessionBoundaryManager,
    SessionState,
    StateChanged,
    UnexpectedData,
)
from session_lifecycle.testing import SimulatedClock, assert_legal
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at

ZERO = timedelta(0)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

NOT_STARTED, PRE_MARKET, ACTIVE = SessionState.NOT_STARTED, SessionState.PRE_MARKET, SessionState.ACTIVE
POST_MARKET, ENDED = SessionState.POST_MARKET, SessionState.ENDED
TIMEOUT, ERROR = SessionState.TIMEOUT, SessionState.ERROR


# ---- what is drawn ----


@dataclass(frozen=True)
class World:
    """What a run begins with."""

    sessions: tuple[Session, ...]
    config: LifecycleConfig
    start: datetime
    session: date | None
    attempts: "tuple[Roll, ...]" = ()


@dataclass(frozen=True)
class Roll:
    """What one attempt of the application's roll does, and after how long.

    `hangs` waits to be cancelled, `yields` returns when it is, `shields` does not notice; `foreign` awaits a task that
    somebody else has cancelled.
    """

    kind: Literal["returns", "raises", "hangs", "yields", "shields", "foreign"]
    after: timedelta = ZERO


@dataclass(frozen=True)
class Near:
    """An instant that matters to data, to the roll or to anything, the `number`th, or `off` microseconds beside it."""

    to: Literal["anything", "silence", "roll"]
    number: int
    off: int


@dataclass(frozen=True)
class Advance:
    """Time passes."""

    by: timedelta | Near


@dataclass(frozen=True)
class Step:
    """The wall clock steps; then, before anybody has had a look, a call may be made."""

    by: timedelta | Near
    call: "Data | Call | None" = None


@dataclass(frozen=True)
class Data:
    """Data arrives: with a timestamp so old, or with none."""

    age: timedelta | None


@dataclass(frozen=True)
class Call:
    """Somebody calls the manager."""

    name: Literal["fail", "recover", "end_session", "roll", "naive"]


@dataclass(frozen=True)
class Plan:
    """What the next attempts at the roll will do, over and over."""

    attempts: tuple[Roll, ...]


@dataclass(frozen=True)
class Restart:
    """The manager leaves, in one of four ways, and a new one begins with its session."""

    how: Literal["stop", "return", "raise", "cancel"]


Op = Advance | Step | Data | Call | Plan | Restart

# Rolls never last exactly `roll_timeout`: which of two wakers at one instant comes first is nobody's promise.
TIMEOUTS = (None, 40 * SECOND, 20 * MINUTE)
LASTING = (ZERO, SECOND, 40 * SECOND - MICROSECOND, 40 * SECOND + MICROSECOND, 10 * MINUTE, 10 * MINUTE, 3 * HOUR)
SILENCES = (None, 30 * SECOND, 4 * MINUTE)


# One draw for each session, rather than five: drawing is what the time goes into.
SHAPES = st.sampled_from(
    list(
        product(
            [2 * HOUR, 30 * MINUTE, 5 * MINUTE, MINUTE, ZERO, 3 * DAY],  # after the session before
            [6 * MINUTE, 3 * MINUTE, MINUTE],  # a tenth of its length
            [(), ((4, 5),), ((1, 3), (6, 9))],  # its breaks, in tenths
            [None, ZERO, 10 * MINUTE, 4 * HOUR],  # the facts of the venue, where it gives any
            [None, ZERO, 4 * MINUTE, 4 * HOUR],
        )
    )
)


@st.composite
def sessions(draw: st.DrawFn) -> tuple[Session, ...]:
    """Draw five to eight sessions: whole and half days, breaks, no gap at all, long gaps, facts of the venue."""
    drawn: list[Session] = []
    opens = at(MONDAY, (9, 0))
    for number in range(draw(st.integers(5, 8))):
        gap, tenth, breaks, early, late = draw(SHAPES)
        opens += gap
        closes = opens + 10 * tenth
        drawn.append(
            Session(
                MONDAY + number * DAY,
                opens,
                closes,
                tuple((opens + begin * tenth, opens + end * tenth) for begin, end in breaks),
                None if early is None else opens - early,
                None if late is None else closes + late,
            )
        )
        opens = closes
    return tuple(drawn)


configs = st.builds(
    LifecycleConfig,
    auto_roll=st.sampled_from([True, True, True, False]),
    data_timeout=st.sampled_from((*SILENCES, *SILENCES[1:])),
    error_after_timeout=st.sampled_from([None, MINUTE, 10 * MINUTE]),
    pre_market=st.sampled_from([ZERO, 5 * MINUTE, HOUR]),
    post_market_roll_delay=st.sampled_from([ZERO, 3 * MINUTE, 30 * MINUTE]),
    roll_timeout=st.sampled_from(TIMEOUTS),
    roll_retry=st.sampled_from(
        [
            RetryPolicy(attempts=1),
            RetryPolicy(attempts=2),
            RetryPolicy(attempts=4, initial=10 * SECOND, factor=3, maximum=MINUTE),
        ]
    ),
    missed_sessions=st.sampled_from(MissedSessions),
    max_catch_up_sessions=st.sampled_from([1, 2, 10]),
)


def attempts(kinds: tuple[str, ...]) -> st.SearchStrategy[tuple[Roll, ...]]:
    """Draw what the next attempts at the roll will do."""
    lasting = st.builds(
        Roll, st.sampled_from(("returns", "returns", "returns", "raises", "shields")), st.sampled_from(LASTING)
    )
    waiting = st.builds(Roll, st.sampled_from(kinds))
    return st.lists(st.one_of(lasting, lasting, lasting, waiting), min_size=1, max_size=3).map(tuple)


portable = ("hangs", "yields")
asyncios = (*portable, "foreign")  # trio has no tasks that somebody else could cancel


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Draw sessions, a configuration, and where in them a run begins."""
    drawn, config = draw(sessions()), draw(configs)
    first = draw(st.integers(0, 2))
    edge = draw(st.sampled_from([drawn[first].open, drawn[first].close, *sum(drawn[first].breaks, ())]))
    start = edge + draw(st.sampled_from([ZERO, MICROSECOND, -MICROSECOND, -HOUR, -MINUTE, MINUTE, HOUR]))
    start = min(start, drawn[-1].close - MICROSECOND)
    known = st.sampled_from([session.date for session in drawn[:4]])
    return World(drawn, config, start, draw(st.none() | known), draw(attempts(portable)))


nears = st.builds(
    Near, st.sampled_from(["anything", "silence", "roll"]), st.integers(0, 5), st.sampled_from([0, 0, -1, 1])
)
deltas = st.sampled_from([MICROSECOND, SECOND, 20 * SECOND, 5 * MINUTE, HOUR, 5 * HOUR]) | st.timedeltas(ZERO, 2 * HOUR)
steps = st.sampled_from([MICROSECOND, SECOND - MICROSECOND, SECOND, MINUTE, HOUR, 6 * HOUR, 2 * DAY]).flatmap(
    lambda delta: st.sampled_from([delta, -delta])
)
ages = st.sampled_from([None, None, ZERO, -HOUR, SECOND, 20 * SECOND, DAY]) | st.builds(
    lambda timeout, off: timeout + off * MICROSECOND, st.sampled_from(SILENCES[1:]), st.sampled_from([-1, 0, 1])
)

advances = st.builds(Advance, st.one_of(nears, nears, deltas))
data = st.builds(Data, ages)
calls = st.builds(Call, st.sampled_from(["fail", "recover", "recover", "end_session", "roll", "roll", "naive"]))
plans = st.builds(Plan, attempts(portable))
clock_steps = st.builds(Step, st.one_of(steps, nears), st.none() | data | calls)
restarts = st.builds(Restart, st.sampled_from(["stop", "return", "raise", "cancel"]))


# ---- what should happen ----


Said = tuple[Any, ...]


class Model:
    """The rules in words, simulated from one instant that matters to the next."""

    def __init__(self, world: World) -> None:
        self.sessions, self.config = world.sessions, world.config
        self.wall, self.mono = world.start, ZERO
        self.plan, self.planned = world.attempts, 0
        self.scripts = [self._script(i) for i in range(len(self.sessions))]
        self.said: list[Said] = []

    # The schedule, and where the clock says that the venue is.

    def _end(self, i: int) -> datetime:
        session = self.sessions[i]
        end = session.close + self.config.post_market_roll_delay
        if session.post_market_end is not None:
            end = session.post_market_end
        return min(end, self.sessions[i + 1].open) if i + 1 < len(self.sessions) else end

    def _script(self, i: int) -> list[tuple[datetime, str]]:
        """Return all that a session has to go through, in order."""
        session = self.sessions[i]
        begin = session.open - self.config.pre_market
        if session.pre_market_start is not None:
            begin = session.pre_market_start
        if i > 0:
            begin = max(begin, self._end(i - 1))
        script = [(begin, "start_pre_market"), (session.open, "open_market")]
        for start, end in session.breaks:
            script += [(start, "break starts"), (end, "break ends")]
        return [*script, (session.close, "close_market"), (self._end(i), "end_session")]

    @property
    def edges(self) -> list[tuple[datetime, int, SessionState]]:
        """Every boundary of the timeline, with the session and the state that end there by the clock."""
        ends = {
            "start_pre_market": NOT_STARTED, "open_market": PRE_MARKET, "close_market": ACTIVE,
            "end_session": POST_MARKET,
        }  # fmt: skip
        return [(due, i, ends[what]) for i, script in enumerate(self.scripts) for due, what in script if what in ends]

    @property
    def by_the_clock(self) -> tuple[int, SessionState, datetime | None]:
        """The session that owns the present, the scheduled state, and when that changes."""
        for due, i, state in self.edges:
            if self.wall < due:
                return i, state, due
        return len(self.sessions) - 1, ENDED, None

    @property
    def closed_before(self) -> date | None:
        """The session that the venue is closed before by the clock; past the last one, that."""
        i, state, _ = self.by_the_clock
        return self.sessions[i].date if state in (NOT_STARTED, ENDED) else None

    @property
    def last_edge(self) -> datetime:
        """The last boundary of the timeline that is past; where there is none, the beginning of time."""
        passed = (due for due, _, _ in self.edges if due <= self.wall)
        return max(passed, default=datetime.min.replace(tzinfo=UTC))

    # The machine.

    def start(self, session: int | None) -> bool:
        """Begin anew. Return False where the schedule does not know the present."""
        owner, state, _ = self.by_the_clock
        if state is ENDED:
            return False
        self.i = owner if session is None else session
        self.read = 0  # how much of the script
        self.over = False  # the session has been ENDED, and not rolled since
        self.failed = self.quiet = self.stopping = self.fail_later = False
        self.quiet_for = ZERO
        self.expected_from = ZERO
        self.newest: timedelta | None = None
        self.warned: date | None = None  # for that session it was last told that data came before it
        self.wary_of: date | None = None  # by the last look, data before that session is to be told of
        self.attempt = 0
        self.target: int | None = None  # of the round of attempts, if there is one
        self.begun: timedelta | None = None  # the attempt under way
        self.finish: tuple[timedelta, str | None] | None = None  # when it ends, and by which error
        self.due: timedelta | None = None  # the next attempt
        self.waived = -1  # the last session that the cap does not bind for
        self.by_hand: str | None = None
        self.skew = self.wall - self.mono
        self.walking = True
        self.look()
        return True

    @property
    def date(self) -> date:
        return self.sessions[self.i].date

    @property
    def on_break(self) -> bool:
        return not self.failed and self.read > 0 and self.scripts[self.i][self.read - 1][1] == "break starts"

    @property
    def in_market(self) -> bool:
        return self.state in (ACTIVE, TIMEOUT)

    @property
    def expecting(self) -> bool:
        return self.in_market and not self.on_break

    @property
    def state(self) -> SessionState:
        if self.failed:
            return ERROR
        match self.scripts[self.i][self.read - 1][1] if self.read else "nothing":
            case "nothing":
                return NOT_STARTED
            case "start_pre_market":
                return PRE_MARKET
            case "close_market":
                return POST_MARKET
            case "end_session":
                return ENDED
            case _:
                return TIMEOUT if self.quiet else ACTIVE

    @property
    def owed(self) -> bool:
        return self.over or self.wall >= self.scripts[self.i][-1][0]

    def say(self, source: SessionState, trigger: str, due: datetime) -> None:
        self.said.append(("state", source, self.state, trigger, self.date, due, self.wall, self._late(due)))

    def _late(self, due: datetime) -> bool | None:
        """Tell whether an edge is one of catching up; None where that is a matter of taste."""
        if due == self.wall:
            return False
        passed = [edge for edge, _, _ in self.edges if edge <= self.wall]
        return True if self.walking or due < max(passed) else None

    def look(self) -> None:
        """Do all that is due, short of beginning and ending attempts at the roll."""
        stepped, self.skew = self.wall - self.mono - self.skew, self.wall - self.mono
        if abs(stepped) >= SECOND:
            self.said.append(("stepped", stepped, self.date, self.wall))
            self.walking = self.walking or stepped > ZERO
        while not self.failed and self._do_one_thing():
            pass
        self.walking = False
        self._be_wary()

    def _be_wary(self) -> None:
        self.wary_of = None if self.closed_before == self.warned else self.closed_before

    def _do_one_thing(self) -> bool:
        script, config = self.scripts[self.i], self.config
        if self.read < len(script) and script[self.read][0] <= self.wall:
            self._read_on(*script[self.read])
            return True
        if self.expecting and not self.quiet and self._silent_at is not None and self.mono >= self._silent_at:
            self.quiet, self.quiet_for = True, ZERO
            self.say(ACTIVE, "data_timeout", self.wall)
            return True
        limit = config.error_after_timeout
        if self.expecting and self.quiet and limit is not None and self.quiet_for >= limit:
            self.break_down()
            return True
        if self.state is ENDED and self.target is None and config.auto_roll and not self.stopping:
            self._begin_round()
            return True
        return False

    def _read_on(self, due: datetime, what: str) -> None:
        source = self.state
        self.read += 1
        if what in ("open_market", "break ends"):
            self.expected_from = self.mono
        if what == "close_market":
            self.quiet = False
        self.over = self.over or what == "end_session"
        if what.startswith("break"):
            self.said.append((what, self.date, due, self.wall, self._late(due)))
        else:
            self.say(source, what, due)

    @property
    def _silent_at(self) -> timedelta | None:
        timeout = self.config.data_timeout
        if timeout is None:
            return None
        return (self.expected_from if self.newest is None else max(self.expected_from, self.newest)) + timeout

    def break_down(self) -> None:
        source = self.state
        self.failed, self.quiet, self.fail_later, self.target, self.due = True, False, False, None, None
        self.say(source, "fail", self.wall)
        if self.by_hand == "waiting":
            self.by_hand = "RollFailedError"

    # The roll.

    def _begin_round(self) -> None:
        """Choose where to roll to; where that cannot be, break down."""
        owner, state, _ = self.by_the_clock
        following, each = self.i + 1, self.config.missed_sessions is MissedSessions.EACH
        nobody_knows = following == len(self.sessions) or (state is ENDED and not each)
        too_many = owner - self.i > self.config.max_catch_up_sessions and owner > self.waived
        if nobody_knows or too_many:
            self.break_down()
            return
        self.target = following if each else max(following, owner)
        self.attempt, self.due = 0, self.mono

    def _begin_attempt(self) -> None:
        assert self.target is not None
        what = self.plan[self.planned % len(self.plan)]
        self.planned += 1
        self.attempt += 1
        self.begun, self.due = self.mono, None
        self.said.append(("started", self.date, self.sessions[self.target].date, self.attempt, self.wall))
        lasts, timeout = self.mono + what.after, self.config.roll_timeout
        cut = None if timeout is None else self.mono + timeout
        if what.kind in ("hangs", "yields"):
            self.finish = None if cut is None else (cut, "RollTimeoutError" if what.kind == "hangs" else None)
        elif what.kind == "foreign":
            self.finish = (self.mono, "CancelledError")
        elif what.kind != "shields" and cut is not None and cut < lasts:
            self.finish = (cut, "RollTimeoutError")
        else:
            self.finish = (lasts, "RuntimeError" if what.kind == "raises" else None)

    def end_attempt(self, error: str | None) -> None:
        assert self.begun is not None
        assert self.target is not None
        self.look()
        ended, target, lasted = self.date, self.sessions[self.target].date, self.mono - self.begun
        overrun = self.config.roll_timeout is not None and lasted >= self.config.roll_timeout
        self.begun = self.finish = None
        if error is None:
            skipped = tuple(session.date for session in self.sessions[self.i + 1 : self.target])
            self.said.append(("succeeded", ended, target, self.attempt, skipped, overrun, self.wall, lasted))
            due = min(self.scripts[self.i][-1][0], self.wall)
            self.i, self.target, self.read, self.over = self.target, None, 0, False
            self.say(ENDED, "roll", due)
            if self.by_hand == "waiting":
                self.by_hand = "RollSucceeded"
            if self.fail_later:
                self.break_down()
        else:
            policy = self.config.roll_retry
            wait = min(policy.initial * policy.factor ** (self.attempt - 1), policy.maximum)
            last = self.attempt == policy.attempts
            again = not (last or self.stopping or self.fail_later)
            self.due = self.mono + wait if again else None
            retry_at = self.wall + wait if again else None
            self.said.append(("failed", ended, target, self.attempt, error, retry_at, self.wall, lasted))
            if last or self.fail_later:
                self.break_down()
        self.look()

    def settle(self) -> None:
        """Do all that is due, attempts at the roll included."""
        self.look()
        while True:
            if self.begun is not None and self.finish is not None and self.finish[0] <= self.mono:
                self.end_attempt(self.finish[1])
            elif self.due is not None and self.due <= self.mono and not self.stopping:
                self._begin_attempt()
            else:
                return

    # Time.

    @property
    def turns(self) -> list[timedelta]:
        """When, on the monotonic clock, an attempt at the roll ends or is due."""
        found = [None if self.finish is None else self.finish[0], self.due]
        return [instant for instant in found if instant is not None and instant > self.mono]

    @property
    def silences(self) -> list[timedelta]:
        """When, on the monotonic clock, the silence will have lasted too long."""
        if not self.expecting:
            return []
        if not self.quiet:
            return [] if self._silent_at is None else [self._silent_at]
        limit = self.config.error_after_timeout
        return [] if limit is None else [self.mono + limit - self.quiet_for]

    @property
    def deadline(self) -> timedelta | None:
        """When, on the monotonic clock, something happens next."""
        found = [*self.turns, *self.silences]
        if not self.failed and self.read < len(self.scripts[self.i]):
            found.append(self.mono + (self.scripts[self.i][self.read][0] - self.wall))
        return min(found, default=None)

    def advance(self, delta: timedelta) -> None:
        end = self.mono + delta
        self.settle()
        while self.mono < end:
            self._pass(min(end, self.deadline or end) - self.mono)
            self.settle()

    def _pass(self, delta: timedelta) -> None:
        if self.quiet and self.expecting:
            self.quiet_for += delta
        self.mono += delta
        self.wall += delta

    # The calls; each returns the name of the error that it raises.

    def record_data(self, age: timedelta | None) -> None:
        age = max(age or ZERO, ZERO)
        heard = self.mono - age
        self.newest = heard if self.newest is None else max(self.newest, heard)
        wary = self.wary_of is not None
        if wary or self.state is TIMEOUT:
            self.look()
            self._resume(heard)
        if wary and self.wary_of is not None and self.wall - age >= self.last_edge:
            self.said.append(("unexpected", self.wary_of, None, self.wall))
            self.warned = self.wary_of
            self._be_wary()

    def _resume(self, heard: timedelta) -> None:
        timeout = self.config.data_timeout
        if self.state is TIMEOUT and timeout is not None and self.mono - heard < timeout:
            self.quiet = False
            if not self.on_break:
                self.expected_from = self.mono
            self.say(TIMEOUT, "data_resumed", self.wall)

    def call(self, name: str) -> str | None:
        if name == "naive":
            return "NaiveDatetimeError"
        self.look()
        match name:
            case "fail":
                if self.begun is not None:
                    self.fail_later = True
                elif not self.failed:
                    self.break_down()
            case "recover":
                if not self.failed:
                    return "IllegalTransition"
                self.failed, self.walking = False, True
                self.over = self.over or self.owed
                self.read = len(self.scripts[self.i]) if self.over else 0
                self.waived = self.by_the_clock[0]
                self.say(ERROR, "recover", self.wall)
            case "end_session":
                if not self.in_market and self.state is not POST_MARKET:
                    return "IllegalTransition"
                for trigger in ["close_market", "end_session"][self.state is POST_MARKET :]:
                    source = self.state
                    self.quiet = False
                    self.read = [what for _, what in self.scripts[self.i]].index(trigger) + 1
                    self.say(source, trigger, self.wall)
                self.over = True
            case _:
                if self.config.auto_roll or self.state is not ENDED or self.target is not None:
                    return "RollNotOwedError"
                self.waived, self.by_hand = self.by_the_clock[0], "waiting"
                self._begin_round()
        self.look()
        return None

    # Leaving.

    @property
    def never_ends(self) -> bool:
        """Whether the attempt under way does not end by itself."""
        return self.begun is not None and self.finish is None

    def stop(self) -> None:
        """Leave as one should: what is under way may end."""
        self.stopping = True
        while self.begun is not None:
            assert self.finish is not None
            self.advance(self.finish[0] - self.mono)
        self._left()

    def crash(self) -> None:
        """Leave by an exception or a cancellation: what can be cancelled is."""
        if self.begun is not None:
            kind = self.plan[(self.planned - 1) % len(self.plan)].kind
            if kind == "shields":  # nobody has a look meanwhile
                assert self.finish is not None
                self._pass(self.finish[0] - self.mono)
            if kind in ("shields", "yields"):
                self.end_attempt(None)
        self._left()

    def _left(self) -> None:
        if self.by_hand == "waiting":
            self.by_hand = "ManagerStopped"


# ---- what does happen ----


class Crash(Exception):
    """The application breaks down."""


@dataclass
class Run:
    """One manager, from its beginning to its end."""

    manager: SessionBoundaryManager
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    up: anyio.Event = field(default_factory=anyio.Event)
    leave: anyio.Event = field(default_factory=anyio.Event)
    gone: anyio.Event = field(default_factory=anyio.Event)
    crashing: bool = False
    entered: tuple[SessionState, date] | None = None
    refused: str | None = None
    by_hand: "Outcome | None" = None


@dataclass
class Outcome:
    """What came of a roll by hand, so far."""

    name: str = "waiting"


class Ledger:
    """Rules for the events of any run, whatever the model says."""

    LEGAL: tuple[str, ...] = (
        "NOT_STARTED start_pre_market PRE_MARKET", "PRE_MARKET open_market ACTIVE", "ACTIVE close_market POST_MARKET",
        "TIMEOUT close_market POST_MARKET", "POST_MARKET end_session ENDED", "ENDED roll NOT_STARTED",
        "ACTIVE data_timeout TIMEOUT", "TIMEOUT data_resumed ACTIVE", "ERROR recover ENDED",
        "ERROR recover NOT_STARTED", *(f"{state.name} fail ERROR" for state in SessionState if state is not ERROR),
    )  # fmt: skip

    def __init__(self, dates: list[date]) -> None:
        self.dates = dates
        self.state, self.on_break = NOT_STARTED, False
        self.session: date | None = None
        self.passed: Counter[tuple[date, object]] = Counter()
        self.seen: datetime | None = None
        self.rolling: tuple[date, date, int] | None = None
        self.stepped_back = False
        self.unexpected: date | None = None

    def take(self, event: Event) -> None:
        if self.seen is not None and not self.stepped_back:
            assert event.observed_at >= self.seen
        self.seen, self.stepped_back = event.observed_at, False
        match event:
            case StateChanged():
                self._state_changed(event)
            case BreakStarted() | BreakEnded():
                assert self.state in (ACTIVE, TIMEOUT)
                assert self.on_break is isinstance(event, BreakEnded)
                self.on_break = isinstance(event, BreakStarted)
                self._once(event.session, (type(event), event.scheduled_at))
                self._lateness(event)
            case RollStarted():
                attempt = 1 if self.rolling is None else self.rolling[2] + 1
                assert (self.state, event.session, event.attempt) == (ENDED, self.session, attempt)
                if self.rolling is not None:
                    assert event.next_session == self.rolling[1]
                self.rolling = (event.session, event.next_session, event.attempt)
            case RollFailed():
                assert (event.session, event.next_session, event.attempt) == self.rolling
                assert event.error is not None
            case RollSucceeded():
                assert (event.session, event.next_session, event.attempt) == self.rolling
                assert event.session < event.next_session
                between = (day for day in self.dates if event.session < day < event.next_session)
                assert event.skipped == tuple(between)
            case ClockStepped():
                assert abs(event.delta) >= SECOND
            case HorizonNear():
                self._once(event.session or MONDAY, HorizonNear)
            case UnexpectedData():
                assert event.session in self.dates
                assert event.session != self.unexpected
                self.unexpected = event.session

    def _state_changed(self, event: StateChanged) -> None:
        assert f"{event.source.name} {event.trigger} {event.dest.name}" in self.LEGAL
        assert event.source is self.state
        self._lateness(event)
        match event.trigger:
            case "roll":
                assert self.rolling is not None
                assert (self.session, event.session) == self.rolling[:2]
                self.rolling = None
            case "recover":
                for key in list(self.passed):  # a recovery walks its session again
                    if key[0] == event.session and key[1] is not HorizonNear:
                        del self.passed[key]
            case "data_timeout":
                assert not self.on_break
            case "start_pre_market" | "open_market" | "close_market" | "end_session":
                self._once(event.session, event.trigger)
        if event.trigger != "roll":
            assert self.session in (None, event.session)
        if event.dest in (POST_MARKET, ERROR):
            self.on_break = False
        if event.dest is ERROR:
            self.rolling = None
        self.state, self.session = event.dest, event.session

    def _once(self, session: date, what: object) -> None:
        self.passed[session, what] += 1
        assert self.passed[session, what] == 1

    def _lateness(self, event: StateChanged | BreakStarted | BreakEnded) -> None:
        assert event.lateness == event.observed_at - event.scheduled_at >= ZERO
        assert event.lateness > ZERO or not event.catch_up


def told(event: Event) -> Said | None:  # noqa: PLR0911 -- one for each kind of event
    """Put an event in the model's words; None for one that the model knows nothing of."""
    match event:
        case StateChanged(source, dest, trigger, session, due, seen, late, _):
            return "state", source, dest, trigger, session, due, seen, late
        case BreakStarted(session, due, seen, late):
            return "break starts", session, due, seen, late
        case BreakEnded(session, due, seen, late):
            return "break ends", session, due, seen, late
        case RollStarted(ended, target, attempt, False, seen):
            return "started", ended, target, attempt, seen
        case RollSucceeded(ended, target, attempt, False, skipped, overrun, seen, lasted):
            return "succeeded", ended, target, attempt, skipped, overrun, seen, lasted
        case RollFailed(ended, target, attempt, False, error, retry_at, seen, lasted):
            name = "RuntimeError" if isinstance(error, ExceptionGroup) else type(error).__name__
            return "failed", ended, target, attempt, name, retry_at, seen, lasted
        case ClockStepped(delta, session, seen):
            return "stepped", delta, session, seen
        case UnexpectedData(session, feed, seen):
            return "unexpected", session, feed, seen
        case HorizonNear():
            return None
    raise AssertionError(event)


class Bench:
    """A manager in simulated time beside its model. `do` acts on both, and compares them in everything."""

    def __init__(self, world: World, tasks: anyio.abc.TaskGroup) -> None:
        self.world, self.tasks = world, tasks
        self.model = Model(world)
        self.clock = SimulatedClock(world.start)
        self.plan, self.planned = self.model.plan, 0
        self.completed: list[date] = []
        self.log: list[Event] = []
        self.compared = self.begun = 0

    @property
    def manager(self) -> SessionBoundaryManager:
        return self.run.manager

    async def roll(self, day: date) -> None:
        """Be the application's roll."""
        what = self.plan[self.planned % len(self.plan)]
        self.planned += 1
        match what.kind:
            case "returns" if not what.after:
                return
            case "returns":
                await self.clock.sleep(what.after)
            case "raises":
                await self.clock.sleep(what.after)
                error = RuntimeError(f"no roll to {day}")
                raise error if what.after else ExceptionGroup("at once", [error])
            case "hangs":
                await anyio.Event().wait()
            case "yields":
                try:
                    await anyio.Event().wait()
                except anyio.get_cancelled_exc_class():
                    return
            case "shields":
                with anyio.CancelScope(shield=True):
                    await self.clock.sleep(what.after)
            case "foreign":
                other = asyncio.ensure_future(asyncio.Event().wait())
                other.cancel()
                await other

    # Beginning and leaving.

    async def start(self, session: date | None) -> None:
        """Have a new manager begin, at `session` where one is given."""
        dates = [each.date for each in self.world.sessions]
        known = self.model.start(None if session is None else dates.index(session))
        run = await self._begin(session)
        if not known:
            # Where nothing is known about the present, it says so and does not begin.
            assert run.refused == "ScheduleExhausted"
            await run.gone.wait()
            back = self.world.start - self.clock.now()
            self.clock.step(back)
            self.model.wall += back
            assert self.model.start(None if session is None else dates.index(session))
            run = await self._begin(session)
        self.run, self.ledger = run, Ledger(dates)
        assert run.refused is None
        before = (self.model.state, self.model.date)
        await self.settle()
        # A roll that is owed may have been awaited by then; nothing else may be open.
        assert run.entered == before or before[0] is ENDED
        self.compare()

    async def _begin(self, session: date | None) -> Run:
        schedule = FixedSchedule(self.world.sessions)
        manager = SessionBoundaryManager(
            schedule, self.roll, session=session, config=self.world.config, clock=self.clock
        )
        run, self.begun = Run(manager), len(self.log)
        self.tasks.start_soon(self._listen, manager.events())
        self.tasks.start_soon(self._host, run)
        await run.up.wait()
        return run

    async def _listen(self, events: Any) -> None:
        async for event in events:
            self.log.append(event)

    async def _host(self, run: Run) -> None:
        try:
            with run.scope:
                async with run.manager:
                    run.entered = (run.manager.state, run.manager.session.date)
                    run.up.set()
                    await run.leave.wait()
                    if run.crashing:
                        raise Crash  # noqa: TRY301 -- out of the body of `async with`, which is the point
        except Crash:
            pass
        except LifecycleError as error:
            run.refused = type(error).__name__
        finally:
            run.up.set()
            run.gone.set()

    async def _leave(self, how: str) -> None:
        run = self.run
        if how == "stop":
            run.manager.stop()
        if how == "cancel":
            run.scope.cancel()
        run.crashing = how == "raise"
        run.leave.set()
        with anyio.move_on_after(5):  # simulated time passes by itself while a manager leaves, so this is ample
            await run.gone.wait()
        assert run.gone.is_set(), "it leaves without anybody's advance"

    async def close(self) -> None:
        """Leave nothing behind, whatever has gone wrong."""
        with self.clock.jumping():
            self.run.scope.cancel()
            await self.run.gone.wait()
        self.tasks.cancel_scope.cancel()

    # Acting.

    async def settle(self) -> None:
        self.model.settle()
        await self.clock.advance(ZERO)

    async def do(self, op: Op) -> None:
        """Act on the manager and on its model alike, and compare them."""
        match op:
            case Advance(by):
                delta = by if isinstance(by, timedelta) else self._up_to(by)
                self.model.advance(delta)
                await self.clock.advance(delta)
            case Step(by, call):
                delta = by if isinstance(by, timedelta) else self._onto(by)
                self.ledger.stepped_back |= delta < ZERO
                self.model.wall += delta
                self.clock.step(delta)
                if call is not None:
                    await self._act(call)
                await self.settle()
            case Data() | Call():
                await self._act(op)
                await self.settle()
            case Plan(attempts):
                if self.model.begun is None:
                    self.plan = self.model.plan = attempts
                    self.planned = self.model.planned = 0
            case Restart(how):
                await self._restart(how)
        self.compare()

    def _up_to(self, near: Near) -> timedelta:
        """Return how long it is to one of the next instants that matter."""
        model = self.model
        choice = {"silence": model.silences, "roll": model.turns}.get(near.to, [])
        if not choice:
            script = [model.mono + (due - model.wall) for script in model.scripts for due, _ in script]
            choice = sorted({instant for instant in script if instant > model.mono})[:4]
        if not choice:
            return HOUR
        return max(choice[near.number % len(choice)] - model.mono + near.off * MICROSECOND, ZERO)

    def _onto(self, near: Near) -> timedelta:
        """Return how far it is, either way, to one of the boundaries nearest to the present."""
        model = self.model
        instants = sorted({due for script in model.scripts for due, _ in script}, key=lambda due: abs(due - model.wall))
        return instants[near.number % len(instants)] - model.wall + near.off * MICROSECOND

    async def _act(self, op: Data | Call) -> None:
        match op:
            case Data(age):
                was_quiet = self.model.state is TIMEOUT
                self.model.record_data(age)
                self.manager.record_data_received(None if age is None else self.clock.now() - age)
                if was_quiet:  # fresh data has ended that before the call returns
                    assert self.manager.state is self.model.state
            case Call(name):
                expected = self.model.call(name)
                assert await self._call(name) == expected
                if expected is None and name in ("fail", "end_session"):
                    assert self.manager.state is self.model.state

    async def _call(self, name: str) -> str | None:
        """Make the call, and return the name of the error that it raises."""
        manager = self.manager
        try:
            match name:
                case "fail":
                    manager.fail("told to")
                case "end_session":
                    manager.end_session("told to")
                case "recover":
                    await manager.recover()
                case "naive":
                    manager.record_data_received(datetime(2024, 3, 4, 12))  # noqa: DTZ001 -- which is the point
                case _:
                    outcome = Outcome()
                    self.tasks.start_soon(self._roll_by_hand, outcome)
                    await self.clock.advance(ZERO)
                    if outcome.name == "RollNotOwedError":
                        return outcome.name
                    self.run.by_hand = outcome
        except LifecycleError as error:
            return type(error).__name__
        return None

    async def _roll_by_hand(self, outcome: Outcome) -> None:
        try:
            outcome.name = type(await self.manager.roll()).__name__
        except LifecycleError as error:
            outcome.name = type(error).__name__

    async def _restart(self, how: str) -> None:
        model = self.model
        if how in ("stop", "return") and not model.never_ends:
            model.stop()
        else:
            how = "raise" if how == "return" else "cancel" if how == "stop" else how
            model.crash()
        await self._leave(how)
        await anyio.lowlevel.checkpoint()
        await self.clock.advance(ZERO)
        self.compare()
        await self.start(self.manager.session.date)

    # Comparing.

    def compare(self) -> None:
        """Hold the manager against the model in everything that it says."""
        model, manager = self.model, self.manager
        if self.compared < len(self.log):
            assert_legal(self.log[self.begun :])
        for event in self.log[self.compared :]:
            self.ledger.take(event)
            if isinstance(event, RollSucceeded):  # over all restarts, the application's days only ever go up
                assert not self.completed or self.completed[-1] <= event.session < event.next_session
                self.completed.append(event.next_session)
        said = [words for event in self.log[self.compared :] if (words := told(event)) is not None]
        assert [_as_far_as_known(*pair) for pair in zip(said, model.said, strict=False)] == model.said[: len(said)]
        assert len(said) == len(model.said), (said, model.said)
        self.compared = len(self.log)
        model.said.clear()

        assert (self.clock.now(), self.clock.monotonic()) == (model.wall, model.mono.total_seconds())
        owner, scheduled, until = model.by_the_clock
        assert (manager.state, manager.session) == (model.state, self.world.sessions[model.i])
        assert (manager.scheduled_state, manager.next_boundary) == (scheduled, until)
        assert manager.on_break is (model.in_market and model.on_break)
        assert manager.can_trade is (model.state is ACTIVE and not model.on_break)
        assert self.planned == model.planned
        by_hand = None if self.run.by_hand is None else self.run.by_hand.name
        assert by_hand == model.by_hand
        status = manager.status()
        assert (status.state, status.session, status.roll_owed) == (model.state, model.date, model.owed)
        assert owner >= 0
        # For each message nothing is done but to note it, unless it can matter by itself.
        assert manager._progress.clock_state.inspect_all is (model.state is TIMEOUT or model.wary_of is not None)


def _as_far_as_known(said: Said, expected: Said) -> Said:
    """Leave out of what was said whether it was catching up, where the model does not know."""
    knows = said[0] == expected[0] and expected[-1] is None
    return (*said[:-1], None) if knows else said


# ---- the tests ----


@pytest.fixture(scope="module", autouse=True)
def _staleness() -> Iterator[None]:
    """Have nothing logged: a log of thousands of lives takes longer than the lives do."""
    logger = logging.getLogger("session_lifecycle")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


# An example is a life, with an event loop of its own: how long it takes says nothing about it.
SHORT = settings(derandomize=True, database=None, deadline=None)
# Whoever runs it by hand looks where nobody has looked yet. Where CI is set, Hypothesis draws the same for the same
# code, because the verdict of a gate must not depend on luck.
LONG = settings(database=None, deadline=None, print_blob=True)


late = st.sampled_from([0, 0, 0, -1])
pauses = st.sampled_from([ZERO, 10 * SECOND])
meddling = st.builds(Call, st.sampled_from(["fail", "fail", "recover", "roll", "end_session"])) | restarts


class Life(RuleBasedStateMachine):
    """A manager's life on asyncio: one event loop, which runs only while a rule does."""

    @initialize(world=worlds())
    def begin(self, world: World) -> None:
        self.runner = asyncio.Runner()
        self.runner.run(self._begin(world))

    async def _begin(self, world: World) -> None:
        up = asyncio.Event()

        async def hold() -> None:
            async with anyio.create_task_group() as tasks:
                self.bench = Bench(world, tasks)
                up.set()
                await anyio.Event().wait()

        self.holder = asyncio.create_task(hold())
        await up.wait()
        await self.bench.start(world.session)

    def do(self, op: Op) -> None:
        self.runner.run(self.bench.do(op))
        assert not self.holder.done()

    @rule(op=advances)
    def time_passes(self, op: Advance) -> None:
        self.do(op)

    @rule(op=st.builds(Advance, nears), then=data | calls)
    def something_happens_near_a_deadline(self, op: Advance, then: Data | Call) -> None:
        self.do(op)
        self.do(then)

    @precondition(lambda self: self.bench.model.state not in (ENDED, ERROR))
    @rule(before=st.lists(data, max_size=2), off=late, then=data, pauses=st.tuples(pauses, pauses), again=st.booleans())
    def data_arrives_late(
        self, before: list[Data], off: int, then: Data, pauses: tuple[timedelta, timedelta], again: bool
    ) -> None:
        for _ in range(3):
            if not self.bench.model.silences:  # go on to where data is expected, if that is not far
                self.do(Advance(Near("anything", 0, 0)))
        silence = Advance(Near("silence", 0, off))
        ops: list[Op] = [Advance(pauses[0]), *before, silence, Advance(pauses[1]), then, *[silence] * again]
        for op in ops:
            self.do(op)

    @precondition(lambda self: self.bench.model.state in (ACTIVE, TIMEOUT, POST_MARKET, ENDED))
    @rule(op=meddling, number=st.integers(0, 1), off=late)
    def somebody_meddles_with_a_roll(self, op: Call | Restart, number: int, off: int) -> None:
        if self.bench.model.state is not ENDED:
            self.do(Call("end_session"))
        self.do(op)
        self.do(Advance(Near("roll", number, off)))

    @precondition(lambda self: self.bench.model.failed)
    @rule()
    def somebody_mends_it(self) -> None:
        self.do(Call("recover"))

    @rule(op=clock_steps)
    def the_clock_steps(self, op: Step) -> None:
        self.do(op)

    @rule(op=data)
    def data_arrives(self, op: Data) -> None:
        self.do(op)

    @precondition(lambda self: self.bench.model.closed_before is not None)
    @rule(off=st.sampled_from([0, 0, -1, 1]), then=data, step=clock_steps | st.none())
    def data_arrives_that_is_as_old_as_the_close(self, off: int, then: Data, step: Step | None) -> None:
        if step is not None:  # so that nobody has had a look at where the clock is
            self.do(replace(step, call=then))
        model = self.bench.model
        age = model.wall - model.last_edge
        if age < 30 * DAY:
            self.do(Data(age + off * MICROSECOND))
        self.do(then)

    @rule(op=calls)
    def somebody_calls(self, op: Call) -> None:
        self.do(op)

    @rule(op=st.builds(Plan, attempts(asyncios)) | restarts)
    def it_starts_again_or_rolls_go_otherwise(self, op: Plan | Restart) -> None:
        self.do(op)

    def teardown(self) -> None:
        if hasattr(self, "holder"):
            with self.runner:
                self.runner.run(self.bench.close())


@pytest.mark.timeout(600)  # where it fails, most of the time goes into finding a short way to fail
def test_a_manager_does_what_the_model_says() -> None:
    """Whatever happens, in whatever order, a manager says and is what the rules in words imply."""
    run_state_machine_as_test(Life, settings=settings(SHORT, max_examples=80, stateful_step_count=30))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_manager_does_what_the_model_says_at_length() -> None:
    """The same holds for ten times as many lives, new ones on each run by hand."""
    run_state_machine_as_test(Life, settings=settings(LONG, max_examples=1600, stateful_step_count=50))


async def live(world: World, ops: list[Op]) -> str:
    """Return all events of a life."""
    async with anyio.create_task_group() as tasks:
        bench = Bench(world, tasks)
        try:
            await bench.start(world.session)
            for op in ops:
                await bench.do(op)
        finally:
            await bench.close()
    return "\n".join(map(repr, bench.log))


WEEK = tuple(
    Session(day, at(day, (9, 0)), at(day, (10, 0)), ((at(day, (9, 20)), at(day, (9, 30))),))
    for day in (MONDAY + i * DAY for i in range(5))
)
TO_SILENCE = Advance(Near("silence", 0, 0))
TO_FIRST_ROLL: tuple[Op, ...] = (Advance(90 * MINUTE + SECOND),)  # a second into it
PATIENT = LifecycleConfig(data_timeout=4 * MINUTE, roll_timeout=20 * MINUTE)
IMPATIENT = msgspec.structs.replace(PATIENT, error_after_timeout=10 * MINUTE)

LIVES: dict[str, tuple[Roll, tuple[Op, ...]]] = {
    "data that is not quite stale ends the silence": (
        Roll("returns"),
        (TO_SILENCE, Advance(10 * SECOND), Data(230 * SECOND), TO_SILENCE, Advance(HOUR)),
    ),
    "data is just too old, and then just not": (
        Roll("returns"),
        (TO_SILENCE, Data(4 * MINUTE), Data(4 * MINUTE - MICROSECOND), TO_SILENCE),
    ),
    "the silence has lasted too long at a break's start, and at the close": (
        Roll("returns"),
        (Advance(16 * MINUTE), Data(None), Advance(40 * MINUTE), Data(None), Advance(HOUR)),
    ),
    "data comes out of order": (
        Roll("returns"),
        (Advance(MINUTE), Data(None), Data(30 * SECOND), TO_SILENCE),
    ),
    "data comes while the venue is closed": (
        Roll("returns"),
        (Advance(2 * HOUR), Data(None), Data(ZERO), Advance(DAY), Data(-HOUR), Restart("return"), Data(None)),
    ),
    "data of before the close comes while the venue is closed": (
        Roll("returns"),
        (
            Advance(90 * MINUTE),
            Data(MICROSECOND),
            Data(ZERO),
            Data(None),
            Advance(DAY),
            Advance(SECOND),
            Data(HOUR),
            Data(SECOND + MICROSECOND),
            Data(SECOND),
            Data(None),
        ),
    ),
    "data comes before the open and after the close": (
        Roll("returns"),
        (Advance(70 * MINUTE), Data(None), Advance(19 * HOUR), Data(None), Advance(4 * HOUR), Data(None)),
    ),
    "data comes before anybody has seen that the venue has opened": (
        Roll("returns"),
        (Advance(2 * HOUR), Step(22 * HOUR + 30 * MINUTE, Data(None)), Advance(2 * HOUR), Data(None)),
    ),
    "data comes before anybody has seen that it is another day": (
        Roll("returns"),
        (Advance(2 * HOUR), Step(DAY, Data(2 * HOUR)), Step(DAY, Data(None)), Step(MINUTE, Data(None)), Advance(DAY)),
    ),
    "data comes before anybody has seen that the venue has closed": (
        Roll("returns"),
        (Step(2 * HOUR, Data(None)), Data(None), Step(DAY, Data(None)), Step(-DAY, Data(None)), Advance(HOUR)),
    ),
    "data comes while the venue is closed, in ERROR and while a roll is owed": (
        Roll("raises", 10 * MINUTE),
        (Call("fail"), Advance(2 * HOUR), Data(None), Call("recover"), Advance(DAY), Data(None), Advance(DAY)),
    ),
    "data comes once nothing is known any more": (
        Roll("returns"),
        (
            Advance(4 * DAY + 90 * MINUTE - MICROSECOND),
            Data(None),
            Advance(MICROSECOND),
            Data(MICROSECOND),
            Data(ZERO),
            Advance(DAY),
            Data(None),
        ),
    ),
    "a silence outlasts a break, which does not count": (
        Roll("returns"),
        (Advance(13 * MINUTE), Data(None), Advance(HOUR), Call("recover"), Advance(HOUR)),
    ),
    "data comes on a break": (
        Roll("returns"),
        (Advance(13 * MINUTE), Data(None), Advance(10 * MINUTE), Data(None), Advance(HOUR)),
    ),
    "a failure is told of during an attempt that fails": (
        Roll("raises", 10 * MINUTE),
        (*TO_FIRST_ROLL, Call("fail"), Advance(HOUR), Call("recover"), Advance(HOUR)),
    ),
    "a failure is told of during an attempt that succeeds": (
        Roll("returns", 10 * MINUTE),
        (*TO_FIRST_ROLL, Call("fail"), Advance(HOUR), Call("recover"), Advance(DAY)),
    ),
    "it stops during an attempt that fails": (Roll("raises", MINUTE), (*TO_FIRST_ROLL, Restart("stop"))),
    "it stops during an attempt that hangs": (Roll("hangs"), (*TO_FIRST_ROLL, Restart("return"), Advance(DAY))),
    "it breaks down during an attempt that hangs": (Roll("hangs"), (*TO_FIRST_ROLL, Restart("raise"))),
    "it breaks down during an attempt that returns then": (Roll("yields"), (*TO_FIRST_ROLL, Restart("raise"))),
    "it breaks down during an attempt that is shielded": (Roll("shields", HOUR), (*TO_FIRST_ROLL, Restart("cancel"))),
    "the clock steps over two sessions during a roll": (
        Roll("returns", MINUTE),
        (*TO_FIRST_ROLL, Step(2 * DAY), Advance(HOUR), Step(-DAY), Advance(DAY), Advance(DAY)),
    ),
}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("missed", MissedSessions)
@pytest.mark.parametrize("config", [PATIENT, IMPATIENT], ids=["patient", "impatient"])
@pytest.mark.parametrize("name", LIVES)
def test_what_chance_seldom_finds(name: str, config: LifecycleConfig, missed: MissedSessions, backend: str) -> None:
    """The model is right about happenings that take several coincidences, too."""
    roll, ops = LIVES[name]
    world = World(WEEK, msgspec.structs.replace(config, missed_sessions=missed), WEEK[0].open, None, (roll,))
    anyio.run(live, world, list(ops), backend=backend)


def hold_reproducible(world: World, ops: list[Op]) -> None:
    lives = [anyio.run(live, world, ops, backend=backend) for backend in ("asyncio", "trio") * 2]
    assert lives == lives[:1] * 4


whole_lives = st.lists(
    st.one_of(advances, advances, clock_steps, data, calls, plans, restarts), min_size=5, max_size=20
)


@pytest.mark.timeout(600)
@settings(SHORT, max_examples=30)
@given(world=worlds(), ops=whole_lives)
def test_a_life_can_be_lived_again(world: World, ops: list[Op]) -> None:
    """The same happenings give the same events, to the byte, on asyncio and on trio, at every run."""
    hold_reproducible(world, ops)


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(LONG, max_examples=300)
@given(world=worlds(), ops=whole_lives)
def test_many_lives_can_be_lived_again(world: World, ops: list[Op]) -> None:
    """The same holds for ten times as many lives, new ones on each run by hand."""
    hold_reproducible(world, ops)
