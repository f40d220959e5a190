"""Feeds, halts and silence by the rules in words: no heap, nothing armed, every feed looked at every time."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from session_lifecycle import (
    AdaptiveTimeout,
    FixedSchedule,
    LifecycleConfig,
    Session,
    SessionState,
    StaleWhen,
)
from tests.helpers.builders import DAY, MONDAY, at

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
