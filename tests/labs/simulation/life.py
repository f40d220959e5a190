"""One application's life on one calendar, driven synchronously: the process, its clocks, its roll and its people.

It does what the package's driver does (look, begin the roll that is due, write what waits in the ledger, tell, cancel
what takes too long) with the driver's own hosts and ledgers, but is told when to look instead of sleeping, and carries
the roll out itself. Faults are armed for a place in the protocol, or written into the script that the rolls follow;
each strikes when the life comes there.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from random import Random
from typing import Any, TypeVar

from session_lifecycle import (
    Entry,
    Event,
    IllegalTransition,
    JournalMismatch,
    JournalWriteFailed,
    LifecycleError,
    Record,
    RollNotOwedError,
    RollStarted,
    RollSucceeded,
    RollTimeoutError,
    Session,
    SessionAdopted,
    SessionLifecycle,
    StateChanged,
)
from session_lifecycle._core.rolls import RollRound
from session_lifecycle._model.clock import Reading
from session_lifecycle._model.config import Resolution
from session_lifecycle._runtime.host import Host
from session_lifecycle._runtime.host_state import RUNNING
from session_lifecycle._runtime.ledger import Ledger, LedgerEntry
from session_lifecycle.testing import SimulatedClock
from tests.labs.simulation.checker import Checker
from tests.labs.simulation.faults import (
    DAY,
    DECISIONS,
    HOUR,
    MARGIN,
    MINUTE,
    SECOND,
    ZERO,
    draw_config,
)
from tests.labs.simulation.hours import Hours
from tests.labs.simulation.torn import Crash, TornJournal

T = TypeVar("T")


class LifeLedger(Ledger):
    """The package's ledger, whose appends neither wait nor are repeated by themselves: there is no event loop."""

    __slots__ = ("acknowledged",)

    acknowledged: Callable[[], None]
    """Called when an append has succeeded or failed, before anybody knows."""

    async def _append(self, records: Sequence[Record]) -> None:
        if not records:
            return
        try:
            await self._journal.append(records)
        finally:
            self.acknowledged()


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise AssertionError(coroutine)


@dataclass(slots=True)
class Attempt:
    """An attempt at the roll under way: what comes of it, and when, on the monotonic clock."""

    turn: RollRound
    ends_at: timedelta | None  # None: when it is cancelled
    error: BaseException | None
    when_cancelled: str = "obeys"
    effect: bool = True  # whether what it is to bring about is brought about


class Life:
    """One life. `log` gets each line of what happens, as (what, arguments...)."""

    def __init__(
        self,
        seed: int,
        calendar: str,
        sessions: tuple[Session, ...],
        log: Callable[[tuple[Any, ...]], None] | None = None,
        storms: float = 0.4,
    ) -> None:
        self.rng = rng = Random(f"{seed} {calendar}")  # seeded by text, it is the same anywhere
        self.config = config = draw_config(rng)
        self.hours = Hours(calendar, sessions, config)
        self.journal = TornJournal() if rng.random() < 0.9 else None
        self.checker = Checker(self.hours, config, journal=self.journal is not None)
        self.log = log
        self.storms = storms  # how many of the spells are
        self.recent: deque[tuple[Any, ...]] = deque(maxlen=40)
        self.asks_first = rng.random() < 0.2  # whether the application says which rolls it has done (was_rolled)
        self.faults: Counter[str] = Counter()
        self.figures: Counter[str] = Counter()
        self.armed: dict[str, int] = {}
        self.script: list[str] = []
        self.stormy = False
        self.drift = ZERO  # by how much the wall clock is wrong
        self.effects: set[date] = set()
        self.announced: set[date] = set()
        self.listed: set[date] = set()
        self.entered: set[date] = set()
        self.first = rng.randrange(2, 6)
        self.last = len(sessions) - MARGIN
        self.wall = self.hours.edges[self.first][1] + rng.random() * (
            self.hours.edges[self.first + 1][1] - self.hours.edges[self.first][1]
        )
        self.mono = timedelta(seconds=rng.randrange(1000))
        self.attempt: Attempt | None = None
        self.away = 0  # how many appends more will fail
        self.crashed = self.requested = self.has_told = False
        self.member: Host
        if self.journal is not None:
            self.journal.strike = self._strike
            self.journal.wrote = self._wrote
            self.journal.refused = lambda record, how: self.note("refused", record, how)
            self.journal.surfaced = lambda record: (self._list(record), self.note("surfaced", record))

    # ---- what is noted ----

    def note(self, *line: Any) -> None:
        """Note what happens, and hold it."""
        self.recent.append(line)
        if self.log is not None:
            self.log(line)
        getattr(self.checker, line[0])(*line[1:])

    def _hear(self, event: Event) -> bool:
        self.note("told", event)
        if isinstance(event, StateChanged):
            if event.trigger == "roll":
                self.entered.add(event.session)
            elif event.trigger == "data_timeout" and self.stormy:
                self.faults["silence"] += 1
        elif isinstance(event, RollSucceeded):
            self.figures["rolls"] += 1
            self.has_told = True
            self.announced.add(event.next_session)
            self.listed.update(event.skipped)
        elif isinstance(event, SessionAdopted):
            self.figures["adopted anew"] += 1
            self.has_told = True
            self._leave_out(event.session, event.next_session)
        elif isinstance(event, RollStarted):
            self.figures["attempts"] += 1
            self.figures["resumed"] += event.resumed
            self.figures["repeated"] += event.next_session in self.announced
        return False

    def _wrote(self, record: Record) -> None:
        self._list(record)
        self.note("wrote", record)

    def _list(self, record: Record) -> None:
        """Note what the journal tells of sessions, for those who come after a crash."""
        self.listed.update(record.skipped)
        if record.entry is Entry.DONE:
            self.entered.add(record.target)
        elif record.entry is Entry.ADOPTED:
            self.entered.add(record.session)
            if self.checker.kept is not None:  # another one than at the start
                self._leave_out(self.hours.sessions[self.checker.kept].date, record.session)
        elif record.entry is Entry.SKIPPED:
            self.listed.add(record.target)

    def _leave_out(self, before: date, adopted: date) -> None:
        """Note that another session was adopted: it names both, and so those in between."""
        index = self.hours.index
        self.listed.update(each.date for each in self.hours.sessions[index[before] + 1 : index[adopted]])

    # ---- what goes wrong inside the protocol ----

    def _hit(self, fault: str) -> bool:
        """Tell whether a fault is armed for this place, and spend it."""
        if fault not in self.armed:
            return False
        del self.armed[fault]
        self.faults[fault] += 1
        return True

    def _may_crash(self, fault: str) -> None:
        if self.armed and self._hit(fault):
            self.crashed = True
            raise Crash

    def _strike(self, records: Sequence[Record]) -> str:
        """Say what happens to an append."""
        if self.away and self.stormy:
            self.away -= 1
            self.faults["journal stays away"] += 1
            return self.rng.choice(("fails", "in doubt, kept", "in doubt, lost"))
        if not self.armed:
            return ""
        for entry in {record.entry: None for record in records}:
            how = self._strike_at(entry)
            if how:
                return how
        return ""

    def _strike_at(self, entry: Entry) -> str:
        what = "intent" if entry is Entry.INTENT else "done" if entry is Entry.DONE else "record"
        for fault in ("refused", "in doubt"):
            if self._hit(f"{what} {fault}"):
                self.away = self.rng.choice((0, 0, 1, 2, 4))
                return "fails" if fault == "refused" else self.rng.choice(("in doubt, kept", "in doubt, lost"))
        place = "in the intent" if what == "intent" else "in done" if what == "done" else "in the decision"
        if what != "record" or entry in DECISIONS:
            for how in ("lost", "kept"):
                if self._hit(f"crash {place}, {how}"):
                    self.crashed = True
                    return how
        return ""

    def _written(self, records: Sequence[Record]) -> None:
        """Records are durable, and their continuations come next."""
        if any(record.entry is Entry.DONE for record in records):
            self._may_crash("crash after done")

    def _acknowledged(self) -> None:
        """The journal answers, or has taken its time."""
        if self.member.state is RUNNING and self.armed and not self.crashed and self._hit("journal is slow"):
            self.pass_time(self.rng.random() * self.rng.choice((SECOND, 10 * MINUTE, 12 * HOUR)))
            self.note("look", self.wall, self.mono)

    # ---- the process ----

    def start(self, session: date | None = None) -> None:
        """Start a process on what the last one has left."""
        while True:
            self.crashed = self.requested = self.has_told = False
            self.note("starting", self.wall, self.mono, session)
            self.figures["starts"] += 1
            lifecycle = SessionLifecycle(self.hours.schedule, config=self.config, session=session)
            self.member = Host(lifecycle, _never, None, self.journal, session)
            self.ears = self.member.broadcast.subscribe(self._hear)
            self.attempt = None
            self._open_journal()
            try:
                entry = self.member.begin(self.now)
            except JournalMismatch:
                self._leave()
                kept, intent = self.checker.kept, self.checker.kept_intent
                if self.hours.index.get(session) in (kept, intent and intent[0]):
                    raise
                session = None
                continue
            self.write()
            if entry is None or entry._error is None:
                break
            self._leave()
        self.note("started")
        self.member.state = RUNNING
        self.tell()
        self.serve()

    def _open_journal(self) -> None:
        """Open the journal as a host does, with a ledger that needs no event loop."""
        member, journal = self.member, self.journal
        if journal is None:
            return
        at_once(member.open_journal(SimulatedClock(self.wall), self._request))
        ledger = LifeLedger(
            journal, repr(journal), MINUTE, SimulatedClock(self.wall), request=self._request, written=self._written
        )
        ledger.acknowledged = self._acknowledged
        ledger.adopt(journal.records)
        member.ledger = ledger

    def _request(self) -> None:
        self.requested = True

    def _leave(self) -> None:
        self.note("gone")
        self.member.end()
        if self.journal is not None:
            self.journal.leave()

    def leave(self, *, crash: bool) -> None:
        """End the process; what it has not told, nobody hears."""
        if self.attempt is not None and self.rng.random() < 0.5 and self.attempt.effect:
            self.effects.add(self.attempt.turn.target.date)
        self.attempt = None
        self.crashed = crash
        self._leave()

    def restart(self) -> None:
        """Start again: at once or days later, without or with a reboot, or with a clock that is wrong."""
        rng = self.rng
        while True:
            kind = rng.random()
            if kind < 0.15:
                self.pass_time(rng.random() * 4 * DAY)
                self.faults["restart days later"] += 1
            elif kind < 0.5:
                self.pass_time(rng.random() * HOUR)
            elif kind < 0.7 and self.step(-rng.choice((MINUTE, HOUR, 5 * HOUR, DAY, 7 * DAY)) * rng.random()):
                self.faults["restart with the clock before the journal"] += 1
            if rng.random() < 0.3:
                self.mono = timedelta(seconds=rng.randrange(100))
            try:
                self.start(self._known_session())
            except Crash:
                self.leave(crash=True)
            else:
                return

    def _known_session(self) -> date | None:
        """Return the session that the application says it is in."""
        if self.journal is None:
            return self.hours.sessions[self.checker.i].date
        draw = self.rng.random()
        intent = self.checker.kept_intent
        if intent is not None and draw < 0.3 and self.hours.sessions[intent[0]].date in self.effects:
            return self.hours.sessions[intent[0]].date
        if draw > 0.97:
            self.faults["a session that is not the journal's"] += 1
            return self.hours.sessions[self.checker.i - 1].date
        return None

    # ---- time ----

    def pass_time(self, delta: timedelta) -> None:
        """Let time pass on both clocks."""
        self.wall += delta
        self.mono += delta

    def step(self, delta: timedelta) -> bool:
        """Step the wall clock, unless that leads away from the sessions; return whether it did."""
        wall = self.wall + delta
        if not self.hours.edges[self.first][1] < wall < self.hours.edges[self.last][0]:
            return False
        self.wall = wall
        self.drift += delta
        return True

    def due(self) -> timedelta:
        """Return how long it is until somebody has to look."""
        wall, mono = self.member.lifecycle.deadlines
        assert wall is not None, "the sessions known reach further"
        left = wall - self.wall
        if mono is not None and mono - self.mono < left:
            left = mono - self.mono
        attempt = self.attempt
        if attempt is not None and attempt.ends_at is not None and attempt.ends_at - self.mono < left:
            left = attempt.ends_at - self.mono
        return max(left, ZERO)

    @property
    def now(self) -> Reading:
        return Reading(self.wall, self.mono)

    # ---- what the driver does ----

    def tell(self) -> None:
        """Emit what has happened. After a crash there is nobody who could."""
        if self.crashed or self.member.state is not RUNNING:
            return
        self.member.emit()
        if self.has_told:
            self.has_told = False
            self._may_crash("crash after telling")

    def write(self) -> None:
        """Write what waits in the ledger, as the driver's task does."""
        ledger = self.member.ledger
        while ledger is not None and self.requested:
            self.requested = False
            error = at_once(ledger.flush(lambda: self.now, self.tell))
            if error is not None:
                self.member.journal_failed(error, self.now)
                self.tell()

    def serve(self) -> None:
        """Bring the host up to date, and all that comes of it."""
        lifecycle = self.member.lifecycle
        self.figures["looks"] += 1
        self.note("look", self.wall, self.mono)
        while True:
            attempt = self.attempt
            if attempt is not None and attempt.ends_at is not None and attempt.ends_at <= self.mono:
                self._finish(attempt)
            lifecycle.poll(self.now)
            adoption = lifecycle.due_adoption(self.now)
            if adoption is not None:
                self.member.execute(adoption, self.now)
            turn = lifecycle.due_roll(self.now)
            if turn is not None:
                self._may_crash("crash before the intent")
                self._begin_roll(turn)
            self.tell()
            self.write()
            attempt = self.attempt
            if attempt is not None and attempt.ends_at is None and lifecycle.roll_expired:
                self._cancel(attempt)
            lifecycle.poll(self.now)
            if attempt is not None and attempt.ends_at is not None and attempt.ends_at <= self.mono:
                continue
            if not lifecycle.has_events and lifecycle.due_roll(self.now) is None and not self.requested:
                break
        self.note(
            "settled",
            lifecycle.state,
            lifecycle.session.date,
            lifecycle.scheduled_state,
            lifecycle.next_boundary,
            lifecycle.on_break,
            lifecycle.roll_owed,
            lifecycle.roll_expired,
        )

    def _begin_roll(self, turn: RollRound) -> None:
        """Begin the attempt that is due once its intent is durable."""
        ledger = self.member.ledger
        records, apply, abandon = self.member.lifecycle.begin_roll(turn, self.now, journalled=ledger is not None)

        def begin(now: Reading) -> None:
            self._may_crash("crash after the intent")
            apply(now)
            if turn.started_at is not None:
                self.tell()
                self.attempt = self._begin(turn)

        if records and ledger is not None:
            ledger.submit(records, begin, abandon)
        else:
            begin(self.now)

    def _begin(self, turn: RollRound) -> Attempt:  # noqa: PLR0911 -- one return for each kind of fault
        """Begin what the application does for its roll."""
        day, mono, rng = turn.target.date, self.mono, self.rng
        if turn.resumed and self.asks_first and day in self.effects:
            return Attempt(turn, mono, None)
        kind = self.script.pop() if self.script else ""
        if not kind:
            return Attempt(turn, mono, None)
        self.faults[kind] += 1
        match kind:
            case "roll raises" | "roll fails for good":
                return Attempt(turn, mono, OSError(5, "the database is away"), effect=rng.random() < 0.3)
            case "roll raises late":
                error = ExceptionGroup("two", [ValueError(1), KeyError("x")])
                return Attempt(turn, mono + rng.random() * 4 * MINUTE, error, effect=rng.random() < 0.3)
            case "roll cancelled from elsewhere":
                return Attempt(turn, mono + rng.random() * MINUTE, asyncio.CancelledError(), effect=False)
            case "roll is slow":
                return self._lasting(turn, rng.random() * 30 * MINUTE, "obeys")
            case "roll outlasts the next open":
                return self._lasting(turn, rng.random() * 3 * DAY, rng.choice(("obeys", "does not notice")))
            case "roll hangs":
                return self._lasting(turn, None, "obeys")
            case "roll swallows its timeout":
                return self._lasting(turn, None, "returns")
            case _:
                return self._lasting(turn, rng.random() * 6 * HOUR, "does not notice")

    def _lasting(self, turn: RollRound, length: timedelta | None, when_cancelled: str) -> Attempt:
        timeout = self.config.roll_timeout
        if timeout is None:
            length = HOUR if length is None else length
        elif when_cancelled != "does not notice" and (length is None or length >= timeout):
            return Attempt(turn, None, None, when_cancelled)
        return Attempt(turn, self.mono + length, None, when_cancelled)

    def _cancel(self, attempt: Attempt) -> None:
        """Cancel an attempt that takes too long."""
        attempt.ends_at = self.mono
        if attempt.when_cancelled == "obeys":
            timeout = self.config.roll_timeout
            assert timeout is not None
            attempt.error, attempt.effect = RollTimeoutError(timeout.total_seconds()), self.rng.random() < 0.3

    def _finish(self, attempt: Attempt) -> None:
        """End an attempt whose time has come, as the driver does: at once, with nothing awaited in between."""
        if attempt.effect:
            self.effects.add(attempt.turn.target.date)
        self._may_crash("crash in the roll")
        self.attempt = None
        if attempt.error is None:
            self.note("returned")
            self._may_crash("crash after the roll")
        self.member.end_roll(attempt.turn, attempt.error, self.now)
        self.tell()
        self.write()

    # ---- what people do ----

    def ask_roll(self) -> bool:
        """Roll by hand; return whether one could be begun."""
        try:
            self.member.lifecycle.request_roll(self.now)
        except RollNotOwedError:
            return False
        self.note("asked", "roll")
        self.serve()
        return True

    def recover(self, resolution: Resolution) -> None:
        """Leave ERROR, once it is known what the journal holds, as the manager does."""
        if self.member.ledger is not None:
            doubt = self.member.ledger.submit(())
            self.write()
            if doubt._error is not None:
                self.serve()
                return
        try:
            decision = self.member.lifecycle.recover(resolution, self.now)
        except IllegalTransition:  # a decision that was in doubt has left ERROR
            self.serve()
            return
        (record,) = decision.records
        self.note("asked", "recover", record.entry, record.target)
        if self._carry_out(self.member.execute(decision, self.now)):
            self.figures[f"recovered by {resolution.value}"] += 1
        self.serve()

    def _carry_out(self, entry: LedgerEntry | None) -> bool:
        """Wait for a decision; return whether it has been carried out."""
        self.tell()
        self.write()
        if entry is not None and entry._error is not None:
            assert isinstance(entry._error, JournalWriteFailed | LifecycleError)
            return False
        return True

    def end_session(self) -> bool:
        """End the session now, where it is one that can be."""
        self.note("look", self.wall, self.mono)
        try:
            decision = self.member.lifecycle.end_session("trading is over", self.now)
        except IllegalTransition:
            self.serve()
            return False
        self.note("asked", "end")
        self._carry_out(self.member.execute(decision, self.now))
        self.serve()
        return True

    def fail(self) -> None:
        """Fail."""
        self.note("look", self.wall, self.mono)
        self.note("asked", "fail")
        self.member.lifecycle.fail("somebody says so", self.now)
        self.tell()
        self.serve()

    def hear_data(self, stamp: datetime | None = None) -> None:
        """Receive data."""
        lifecycle = self.member.lifecycle
        self.note("look", self.wall, self.mono)
        self.note("data", self.wall, self.mono, stamp)
        lifecycle.record_data(self.now, stamp)
        self.tell()
        self.serve()


async def _never(next_date: date) -> None:
    raise AssertionError(next_date)  # the world carries rolls out by itself
