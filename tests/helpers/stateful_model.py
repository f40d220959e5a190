"""What should happen, by the rules in words: the model of the stateful tests."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from session_lifecycle import (
    MissedSessions,
    SessionState,
)
from tests.helpers.stateful import ACTIVE, ENDED, ERROR, NOT_STARTED, POST_MARKET, PRE_MARKET, SECOND, TIMEOUT, ZERO
from tests.helpers.stateful_plans import World

Said = tuple[Any, ...]


class Model:
    """The rules in words, simulated from one instant that matters to the next."""

    def __init__(self, world: World) -> None:
        self.sessions, self.config = world.sessions, world.config
        self.wall, self.mono = world.start, ZERO
        self.plan, self.planned = world.attempts, 0
        self.scripts = [self._script(i) for i in range(len(self.sessions))]
        self.edges = self._edges()
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

    def _edges(self) -> list[tuple[datetime, int, SessionState]]:
        """Return every boundary of the timeline, with the session and the state that end there by the clock."""
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
        self.fresh = session is None  # nothing is owed from before the start, and no roll has begun
        self.adopts = False  # it is about to be in the present's session
        self.read = 0  # how much of the script
        self.over = False  # the session has been ENDED, and not rolled since
        self.failed = self.quiet = self.stopping = self.fail_later = False
        self.quiet_for = ZERO
        self.expected_from = ZERO
        self.awaited_from = ZERO  # one may trade once there is data as of then
        self.carried = False  # the session has closed, the market has not: until the next open
        self.carried_quiet = False  # ... and it was TIMEOUT, which the next session is to be again
        self.kept = False  # ... and all that is known of the data goes on
        self.newest: timedelta | None = None
        self.newest_then: timedelta | None = None  # when it became TIMEOUT
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
        if self.in_market and self.carried_quiet and self.wall < self.sessions[self.i].close:
            self.quiet, self.carried_quiet = True, False
            self.say(ACTIVE, "data_timeout", min(self.wall, script[1][0]))
            return True
        if self.read < len(script) and script[self.read][0] <= self.wall:
            self._read_on(*script[self.read])
            return True
        if self.expecting and not self.quiet and self._silent_at is not None and self.mono >= self._silent_at:
            self.quiet, self.quiet_for, self.newest_then = True, ZERO, self.newest
            self.say(ACTIVE, "data_timeout", self._due_by(self.mono - self._silent_at))
            return True
        limit = config.error_after_timeout
        if self.expecting and self.quiet and limit is not None and self.quiet_for >= limit:
            self.break_down(self._due_by(self.quiet_for - limit))
            return True
        if self.state is ENDED and self.target is None and config.auto_roll and not (self.stopping or self.adopts):
            self._begin_round()
            return True
        return False

    def _due_by(self, late: timedelta) -> datetime:
        """Return when something was due so long ago; in this session, nothing is due before its open."""
        return max(self.wall - late, min(self.wall, self.scripts[self.i][1][0]))

    def abut(self, i: int) -> bool:
        """Whether the market does not close at the close of a session, since the next one opens at that instant."""
        return i + 1 < len(self.sessions) and self.sessions[i + 1].open == self.sessions[i].close

    def _open(self) -> None:
        if self.carried and self.kept:
            timeout = self.config.data_timeout
            newer = self.newest is not None and self.newest != self.newest_then
            fresh = newer and timeout is not None and self.newest is not None and self.newest + timeout > self.mono
            if self.carried_quiet and (fresh or timeout is None):
                self.carried_quiet, self.expected_from = False, self.mono
        else:
            self.expected_from = self.awaited_from = self.mono
        self.carried = False

    def _close(self, *, by_the_clock: bool) -> None:
        goes_on = by_the_clock and self.abut(self.i)
        self.carried = self.kept = goes_on
        self.carried_quiet = goes_on and (self.quiet or self.carried_quiet)
        self.quiet = False

    @property
    def has_first_tick(self) -> bool:
        """Whether there is data as of the open, or as of the last break's end; where none is watched, it needs none."""
        if self.config.data_timeout is None or not self.config.require_first_tick:
            return True
        return self.newest is not None and self.newest >= self.awaited_from

    def _read_on(self, due: datetime, what: str) -> None:
        source = self.state
        self.read += 1
        if what == "open_market":
            self._open()
        if what == "break ends":
            self.expected_from = self.awaited_from = self.mono
        if what == "close_market":
            self._close(by_the_clock=True)
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

    def break_down(self, due: datetime | None = None) -> None:
        source = self.state
        if self.in_market:
            self.carried = self.carried_quiet = False
        self.failed, self.quiet, self.fail_later, self.target, self.due = True, False, False, None, None
        self.say(source, "fail", due or self.wall)
        if self.by_hand == "waiting":
            self.by_hand = "RollFailedError"

    # The roll.

    def _begin_round(self) -> None:
        """Choose where to roll to; where that cannot be, break down."""
        owner, state, _ = self.by_the_clock
        following, each = self.i + 1, self.config.missed_sessions is MissedSessions.EACH
        nobody_knows = following == len(self.sessions) or (state is ENDED and not each)
        too_many = owner - self.i > self.config.max_catch_up_sessions and owner > self.waived
        if too_many and not nobody_knows and self.fresh and state is not ENDED:
            self.adopts = True
            return
        if nobody_knows or too_many:
            self.break_down()
            return
        self.target = following if each else max(following, owner)
        self.attempt, self.due = 0, self.mono

    def _adopt(self) -> None:
        """Be in the present's session, without a roll: the clock of the start was wrong. An ERROR stays one."""
        owner, was_failed = self.by_the_clock[0], self.failed
        self.adopts = self.failed = False
        if was_failed:
            self.say(ERROR, "recover", self.wall)
        self.said.append(("adopted", self.date, self.sessions[owner].date, self.wall))
        due = min(self.scripts[self.i][-1][0], self.wall)
        self.carried = self.carried_quiet = False
        self.i, self.read, self.over, self.walking = owner, 0, False, True
        self.say(ENDED, "roll", due)
        if was_failed:
            self.break_down()
        self.look()

    def _begin_attempt(self) -> None:
        assert self.target is not None
        self.fresh = False
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
            if not all(map(self.abut, range(self.i, self.target))):
                self.carried = self.carried_quiet = False
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
            elif self.adopts:
                self._adopt()
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
        if (self.quiet and self.expecting) or self.carried_quiet:
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
                if self.owed and not self.over:
                    kept = self.carried and self.kept
                    self._close(by_the_clock=True)
                    self.kept = kept
                self.over = self.over or self.owed
                self.read = len(self.scripts[self.i]) if self.over else 0
                self.waived = self.by_the_clock[0]
                self.say(ERROR, "recover", self.wall)
            case "end_session":
                if not self.in_market and self.state is not POST_MARKET:
                    return "IllegalTransition"
                for trigger in ["close_market", "end_session"][self.state is POST_MARKET :]:
                    source = self.state
                    if trigger == "close_market":
                        self._close(by_the_clock=False)
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
        """Leave by an exception or a cancellation: what can be cancelled is, and no other roll is pursued."""
        self.stopping = True
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
