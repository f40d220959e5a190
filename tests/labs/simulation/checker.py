"""The invariants, held as a run goes: `Checker` is told what the world does and what the package tells, in order.

Each method is a line of the log, so a log can be held again by itself, or doctored. It knows sessions, the clocks, the
durable records and what the application and its people do, and reckons from these, by the promises in words, what may
be told next and what must have been told by the end of a look.
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any, NoReturn

from session_lifecycle import (
    BreakEnded,
    BreakStarted,
    ClockStepped,
    Entry,
    Event,
    HorizonNear,
    LifecycleConfig,
    MissedSessions,
    Record,
    RollFailed,
    RollStarted,
    RollSucceeded,
    SessionAdopted,
    SessionState,
    StateChanged,
    UnexpectedData,
    replay,
)
from tests.labs.simulation.hours import Hours

NOT_STARTED, PRE_MARKET, ACTIVE, POST_MARKET, ENDED, TIMEOUT, ERROR = SessionState
LEGAL = {
    "start_pre_market": {(NOT_STARTED, PRE_MARKET)},
    "open_market": {(PRE_MARKET, ACTIVE)},
    "close_market": {(ACTIVE, POST_MARKET), (TIMEOUT, POST_MARKET)},
    "end_session": {(POST_MARKET, ENDED)},
    "roll": {(ENDED, NOT_STARTED)},
    "data_timeout": {(ACTIVE, TIMEOUT)},
    "data_resumed": {(TIMEOUT, ACTIVE)},
    "fail": {(state, ERROR) for state in SessionState if state is not ERROR},
    "recover": {(ERROR, ENDED), (ERROR, NOT_STARTED)},
}
EDGES = {"start_pre_market": 0, "open_market": 1, "close_market": 2, "end_session": 3}
BY_SCHEDULE = frozenset((*EDGES, "roll"))
MICROSECOND = timedelta(microseconds=1)
STEP = timedelta(seconds=1)
ZERO = timedelta(0)


class Violation(BaseException):
    """A promise that was not kept. Not an Exception: what is being held survives those of a journal."""

    def __init__(self, invariant: str, message: str) -> None:
        super().__init__(f"{invariant}: {message}")
        self.invariant = invariant


class Checker:
    """Holds one application's life, its restarts included. Nothing here is read from the package but its events."""

    def __init__(self, hours: Hours, config: LifecycleConfig, *, journal: bool) -> None:
        self.hours, self.config, self.journal = hours, config, journal
        # What outlasts a restart: the durable records, and what has been announced.
        self.kept: int | None = None  # the session that the records say the application is in
        self.kept_ended = self.kept_error = False
        self.kept_intent: tuple[int, tuple[date, ...]] | None = None
        self.kept_beyond: int | None = None
        self.kept_before: int | None = None  # the session before that one, of which an ERROR may still be recorded
        self.lately: list[tuple[Record, tuple[Any, ...]]] = []  # the last records, and all of that before each
        self.announced = -1
        self.given_up: set[date] = set()
        self.latest: datetime | None = None  # the latest wall time of any run
        self.running = False
        # What a run is in.
        self.wall: datetime
        self.mono: timedelta
        self.state: SessionState
        self.i = -1
        self.calm: tuple[datetime, date] | None = None
        self.walked: list[StateChanged] = []

    def hold(self, log: Iterable[tuple[Any, ...]]) -> None:
        """Hold a log: of each line the method, then its arguments."""
        for name, *args in log:
            getattr(self, name)(*args)

    def wrong(self, invariant: str, message: str) -> NoReturn:
        """Raise the finding."""
        now = f"{self.wall:%Y-%m-%d %H:%M:%S.%f} ({self.mono})" if self.running else "not running"
        raise Violation(invariant, f"{message} [{self.hours.schedule.name}, {now}]")

    # ---- what the world does ----

    def starting(self, wall: datetime, mono: timedelta, session: date | None) -> None:
        """A process starts: nothing is left of the last one but the records."""
        self.running = True
        self.wall, self.mono = wall, mono
        self.latest = wall if self.latest is None else max(self.latest, wall)
        self.first = session
        self.stepped: timedelta | None = None
        self.high = wall
        self.ended = self.on_break = self.stopping = self.begun = False
        self.marks_passed = 0
        self.abandoned_target: int | None = None
        self.waived = -1
        self.uncertain = self.must_fail = self.fails_later = False
        self.asked_for: tuple[Any, ...] | None = None
        self.began: tuple[int, timedelta] | None = None  # the attempt under way: target and when
        self.round: int | None = None
        self.attempts = 0
        self.retry_at: timedelta | None = None
        self.has_returned = self.done_written = self.marked = False
        self.returned_at: timedelta | None = None
        self.to_note = 0  # how many ERRORs have been told that nobody has tried to write down
        self.noted: set[int] = set()
        self.doubted: set[int] = set()  # the records that are, or were, in doubt
        self.refused_for_good: set[int] = set()
        self.decisions: set[tuple[Any, ...] | None] = set()  # what was asked for, and is not durable
        self.succeeded: int | None = None
        self.since: timedelta | None = None
        self.carried: bool | None = None  # since a close at which the next session opens: whether data was missing
        self.newest: timedelta | None = None
        self.heard_before: timedelta | None = None
        self.warned: date | None = None  # for that session it was last told that data came before it
        self.watchful = False  # by the last look the venue is closed, and no data was told of yet
        self.unexpected: date | None = None  # such data has come just now, before that session
        self.fresh = session is None and self.kept is None  # nothing is owed from before, and no roll has begun
        self.adopts: int | None = None  # the present's session, which is adopted without a roll
        self.must_warn = False
        self.calm = None

    def started(self) -> None:
        """The run has taken up its session, which the records determine."""
        if self.journal:
            if self.kept is None:
                self.wrong("durable", "started without a record of the session")
            self.i, self.ended, self.abandoned_target = self.kept, self.kept_ended, self.kept_beyond
            self.uncertain = self.kept_intent is not None
            self.round = None if self.kept_intent is None else self.kept_intent[0]
            self.state = ERROR if self.kept_error else ENDED if self.ended else NOT_STARTED
        else:
            self.i = self.hours.owner(self.wall) if self.first is None else self.hours.index[self.first]
            self.state = NOT_STARTED
        self.announced = max(self.announced, self.i)
        self.begun = True

    def gone(self) -> None:
        """The process is gone."""
        self.running = False
        self.calm = None

    def look(self, wall: datetime, mono: timedelta) -> None:
        """The clocks are read."""
        delta = (wall - self.wall) - (mono - self.mono)
        if delta >= STEP or delta <= -STEP:
            self.stepped = delta
        self.wall, self.mono = wall, mono
        self.high = max(self.high, wall)
        self.latest = max(self.latest, wall)

    def data(self, wall: datetime, mono: timedelta, stamp: datetime | None) -> None:
        """Data arrives; its age is taken once, and what is stamped in the future counts as of now."""
        arrival = mono if stamp is None or stamp >= wall else mono - (wall - stamp)
        if self.newest is None or arrival > self.newest:
            self.newest = arrival
        before = self._closed_before(wall)
        late = before is not None and stamp is not None and stamp < self.hours.since(wall)
        self.unexpected = before if before != self.warned and not late else None
        self.must_warn = self.unexpected is not None and self.watchful

    def asked(self, what: str, *details: Any) -> None:
        """Somebody calls: fail, end, recover (with the record's entry and target), roll, stop."""
        if what == "stop":
            self.stopping = True
        elif what == "fail":
            if self.began is not None:
                self.fails_later = True
            elif self.state is not ERROR:
                self.must_fail = True
        elif what == "roll":
            self.waived = self.hours.owner(self.wall)
        else:
            if self.journal:
                self.decisions.add((what, *details))
            else:
                self.asked_for = (what, *details)
            if what == "recover" and details[0] is not Entry.RECOVERED:
                self.waived = self.hours.owner(self.wall)
                wanted = self._target()
                if details[1] != self.hours.sessions[wanted].date:
                    self.wrong("target", f"recover() decides on {details[1]}, not {self.hours.sessions[wanted].date}")

    def returned(self) -> None:
        """The application's roll has returned, or says that it has happened."""
        self.has_returned, self.returned_at = True, self.mono

    def wrote(self, record: Record) -> None:
        """A record is durable; what was in doubt comes to be so with the next append."""
        if record.seq in self.refused_for_good:
            self.wrong("durable", f"it was refused, and is written later: {record}")
        if record.seq not in self.doubted:
            self._plan(record)
        self._noted(record)
        self._keep(record)
        decision = self._decision_of(record)
        if decision in self.decisions:
            self.decisions.remove(decision)
            self.asked_for = decision
        elif record.entry is Entry.ADOPTED and self.begun:
            self.adopts = self.hours.index[record.session]
        elif record.entry is Entry.DONE:
            self.done_written = True
            # Where the attempt has been given up as uncertain, the roll counts as done once ERROR is left.
            self.marked = self.marked or (self.began is None and record.seq in self.doubted)
        elif record.entry is Entry.INTENT:
            self.round = self.hours.index[record.target]
        self.done_written = self.done_written or record.entry is Entry.DONE

    def _decision_of(self, record: Record) -> tuple[Any, ...] | None:
        """Return what somebody has asked for that the record is of; None for one that comes of a roll that returned."""
        if record.entry is Entry.ENDED:
            return ("end",)
        if record.entry is Entry.DONE and self.has_returned:
            return None
        return "recover", record.entry, record.target

    def refused(self, record: Record, how: str) -> None:
        """A record was not made durable, as far as is known: "for good", "together" with others, or "in doubt"."""
        self._noted(record)
        decision = self._decision_of(record)
        if how == "together" or record.seq in self.doubted:
            return  # it may come again
        if how == "for good" and decision in self.decisions:
            self.decisions.remove(decision)
        self._plan(record)
        entry, is_roll = record.entry, decision is None
        (self.doubted if how == "in doubt" else self.refused_for_good).add(record.seq)
        if entry is Entry.INTENT or (entry is Entry.DONE and is_roll) or (entry is Entry.ADOPTED and self.begun):
            self.must_fail = True
            self.uncertain = self.uncertain or entry is Entry.DONE
        elif how == "in doubt" and entry is not Entry.FAILED and self.begun and self.state is not ERROR:
            self.must_fail = True

    def _noted(self, record: Record) -> None:
        """An ERROR is written down, or that is tried. What comes of an earlier run is before this one has begun."""
        if record.entry is not Entry.FAILED or record.seq in self.noted or not self.begun:
            return
        if not self.to_note:
            self.wrong("durable", f"an ERROR is written down that was not told: {record}")
        self.to_note -= 1
        self.noted.add(record.seq)

    def surfaced(self, record: Record) -> None:
        """A record turns out to be durable after a crash, whatever the run before had been told of it."""
        self._keep(record)

    def _plan(self, record: Record) -> None:
        if record.entry is Entry.INTENT:
            if self.kept_intent is not None:
                self.wrong("unfinished", f"an intent for {record.target} while {self.kept_intent} is open")
            self._hold_target(record.target, record.skipped)

    def _keep(self, record: Record) -> None:
        entry, index = record.entry, self.hours.index
        if entry is Entry.WITHDRAWN:
            self._withdraw(record)
            return
        before = (
            self.kept, self.kept_ended, self.kept_error, self.kept_intent, self.kept_beyond, self.kept_before,
            self.given_up,
        )  # fmt: skip
        self.lately = [*self.lately[-9:], (record, before)]
        if entry is Entry.ADOPTED:
            self.kept = index[record.session]
            return
        session = index[record.session]
        late = entry in (Entry.FAILED, Entry.RECOVERED) and session == self.kept_before
        if self.kept is None or (session != self.kept and not late):
            self.wrong("durable", f"{record} does not belong to session {self.kept}")
        if entry is Entry.ENDED:
            self.kept_ended = True
        elif entry is Entry.INTENT:
            self.kept_ended, self.kept_intent = True, (index[record.target], record.skipped)
        elif entry is Entry.DONE:
            target = index[record.target]
            if target <= self.kept or (self.kept_intent is not None and self.kept_intent[0] != target):
                self.wrong("durable", f"{record} after {self.kept_intent}")
            self.kept_before, self.kept, self.kept_ended, self.kept_error = self.kept, target, False, False
            self.kept_intent = self.kept_beyond = None
        elif entry is Entry.SKIPPED:
            self.kept_ended, self.kept_error, self.kept_intent = True, False, None
            self.kept_beyond = index[record.target]
            self.given_up = self.given_up | {*record.skipped, record.target}
        else:
            self.kept_error = entry is Entry.FAILED

    def _withdraw(self, record: Record) -> None:
        """Do not count a record any more, nor what it has led to: only that of a decision which came too late."""
        place = next((n for n, (each, _) in enumerate(self.lately) if str(each.seq) == record.subject), None)
        gone = None if place is None else self.lately[place][0]
        if place is None or gone is None or gone.entry not in {Entry.ENDED, Entry.DONE, Entry.SKIPPED}:
            self.wrong("durable", f"{record} withdraws {gone}")
        later = [each for each, _ in self.lately[place + 1 :]]
        (
            self.kept, self.kept_ended, self.kept_error, self.kept_intent, self.kept_beyond, self.kept_before,
            self.given_up,
        ) = self.lately[place][1]  # fmt: skip
        del self.lately[place:]
        self.done_written = False
        for each in later:
            self._keep(each)

    def _closed_before(self, wall: datetime) -> date | None:
        """Return the session that comes next, where the venue is closed by the clock alone."""
        owner = self.hours.owner(wall)
        return self.hours.sessions[owner].date if self.hours.stage(owner, wall) is NOT_STARTED else None

    # ---- where a roll has to go ----

    def _target(self) -> int:
        """Return the session to roll to: the one begun before, else by policy."""
        if self.round is not None:
            return self.round
        following = (self.i if self.abandoned_target is None else self.abandoned_target) + 1
        if self.config.missed_sessions is MissedSessions.EACH:
            return following
        return max(following, self.hours.owner(self.wall))

    def _backlog(self) -> int:
        following = (self.i if self.abandoned_target is None else self.abandoned_target) + 1
        return max(self.hours.owner(self.wall) - following + 1, 1)

    def _is_capped(self) -> bool:
        owner = self.hours.owner(self.wall)
        return owner > self.waived and self._backlog() > self.config.max_catch_up_sessions

    def _between(self, target: int) -> tuple[date, ...]:
        return tuple(session.date for session in self.hours.sessions[self.i + 1 : target])

    def _hold_target(self, day: date, skipped: tuple[date, ...] | None) -> None:
        target = self._target()
        if self.hours.sessions[target].date != day:
            self.wrong("target", f"rolls to {day}, not {self.hours.sessions[target].date}")
        if self.round is None and self._is_capped():
            self.wrong("cap", f"{self._backlog()} sessions were missed, and nobody has decided")
        if skipped is not None:
            self._hold_skipped(target, skipped)

    def _hold_skipped(self, target: int, skipped: tuple[date, ...]) -> None:
        if skipped != self._between(target):
            self.wrong("skipped silently", f"lists {skipped}, not {self._between(target)}")
        if self.config.missed_sessions is MissedSessions.EACH and not self.given_up.issuperset(skipped):
            self.wrong("skipped under EACH", f"{skipped}, of which {sorted(self.given_up)} were given up")
        for day in skipped:
            if self.hours.ends[self.hours.index[day]] > self.latest and day not in self.given_up:
                self.wrong("skipped early", f"{day} has not ended")

    # ---- what the package tells ----

    def told(self, event: Event) -> None:
        """Hold one event."""
        if isinstance(event, StateChanged):
            self._changed(event)
            return
        if event.observed_at != self.wall:
            self.wrong("instants", f"{event} was not observed now")
        if isinstance(event, RollStarted):
            self._roll_started(event)
        elif isinstance(event, RollSucceeded):
            self._roll_succeeded(event)
        elif isinstance(event, RollFailed):
            self._roll_failed(event)
        elif isinstance(event, SessionAdopted):
            self._adopted_anew(event)
        elif isinstance(event, BreakStarted | BreakEnded):
            self._break(event)
        elif isinstance(event, ClockStepped):
            if event.delta != self.stepped:
                self.wrong("steps", f"{event}, but the clock stepped by {self.stepped}")
            self.stepped = None
        elif isinstance(event, UnexpectedData):
            self._warned(event)
        elif not isinstance(event, HorizonNear):
            self.wrong("legal", f"no such event: {event}")

    def _changed(self, event: StateChanged) -> None:
        trigger, source, dest = event.trigger, event.source, event.dest
        if (source, dest) not in LEGAL.get(trigger, ()):
            self.wrong("legal", f"{event}")
        by_hand = self.asked_for is not None and self.asked_for[0] == "recover"
        if source is ERROR and not by_hand and self.adopts is None:
            self.wrong("ERROR holds", f"left without a recover(): {event}")
        if source is not self.state:
            self.wrong("chained", f"the state was {self.state}: {event}")
        if event.observed_at != self.wall:
            self.wrong("instants", f"not observed now: {event}")
        if trigger == "roll":
            self._entered(event)
        elif event.session != self.hours.sessions[self.i].date:
            self.wrong("chained", f"the session is {self.hours.sessions[self.i].date}: {event}")
        if trigger in EDGES:
            self._crossed(event)
        elif trigger == "data_timeout":
            self._went_quiet(event)
        elif trigger == "data_resumed":
            self._came_back(event)
        elif trigger == "fail":
            self._broke(event)
        elif trigger == "recover":
            self._recovered(event)
        self.state = dest
        if self.calm is not None and trigger in BY_SCHEDULE:
            self.walked.append(event)

    def _crossed(self, event: StateChanged) -> None:
        due = self.hours.edges[self.i][EDGES[event.trigger]]
        if event.reason is not None:
            if self.asked_for is None or self.asked_for[0] != "end" or event.scheduled_at != self.wall:
                self.wrong("early end", f"nobody asked for it: {event}")
        elif event.scheduled_at != due or event.observed_at < due:
            self.wrong("instants", f"due at {due}: {event}")
        elif event.catch_up if due == self.wall else not event.catch_up and due < self.hours.since(self.wall):
            self.wrong(
                "catch-up", f"by the clock it is {self.hours.stage(self.hours.owner(self.wall), self.wall)}: {event}"
            )
        if event.dest is ACTIVE:
            self._opened()
        elif event.dest is POST_MARKET:
            self._closed(event)
        elif event.dest is ENDED:
            self.ended = True

    def _opened(self) -> None:
        """Expect data from now on; where the market has not closed before, silence goes on as it was."""
        self.marks_passed, self.on_break = 0, False
        if self.carried is None or self.since is None:
            self.since = self.mono
        elif self.carried and self._is_fresh():
            self.since, self.carried = self.mono, False
        if not self.carried:
            self.carried = None

    def _closed(self, event: StateChanged) -> None:
        """Expect no data, unless the next session opens at this very instant, by the schedule."""
        self.on_break = False
        if event.reason is None and self._abuts(self.i):
            self.carried = event.source is TIMEOUT or bool(self.carried)
        else:
            self.since = self.carried = None

    def _abuts(self, i: int) -> bool:
        return self.hours.edges[i][3] <= self.hours.edges[i][2] == self.hours.edges[i + 1][1]

    def _went_quiet(self, event: StateChanged) -> None:
        if self.carried:
            self.carried = None  # it was TIMEOUT at the close, and nothing has come since
            return
        if self.since is None or self.on_break or self.high >= self.hours.edges[self.i][2]:
            self.wrong("TIMEOUT", f"no data is expected: {event}")
        due = self._silent_at()
        if due is None or self.mono < due:
            self.wrong("TIMEOUT", f"before {due}: {event}")
        self.since, self.heard_before = self.mono, self.newest

    def _came_back(self, event: StateChanged) -> None:
        if not self._is_fresh():
            self.wrong("TIMEOUT", f"no fresh data: {event}")
        if not self.on_break:
            self.since = self.mono

    def _silent_at(self) -> timedelta | None:
        if self.since is None or self.config.data_timeout is None:
            return None
        return self.config.data_timeout + (self.since if self.newest is None else max(self.since, self.newest))

    def _is_fresh(self) -> bool:
        timeout = self.config.data_timeout
        if timeout is None or self.newest is None or self.newest == self.heard_before:
            return False
        return self.newest + timeout > self.mono

    def _break(self, event: BreakStarted | BreakEnded) -> None:
        marks = self.hours.marks[self.i]
        if self.state not in (ACTIVE, TIMEOUT) or self.marks_passed >= len(marks):
            self.wrong("breaks", f"{event} in {self.state}")
        if event.scheduled_at != marks[self.marks_passed] or event.observed_at < event.scheduled_at:
            self.wrong("breaks", f"due at {marks[self.marks_passed]}: {event}")
        self.marks_passed += 1
        self.on_break = self.marks_passed % 2 == 1
        if self.on_break is not isinstance(event, BreakStarted):
            self.wrong("breaks", f"out of turn: {event}")
        self.since = None if self.on_break else self.mono

    def _warned(self, event: UnexpectedData) -> None:
        if event.session != self.unexpected or event.feed is not None:
            self.wrong("unexpected data", f"{self.unexpected} comes next, {self.warned} was told: {event}")
        self.warned, self.unexpected, self.must_warn = event.session, None, False

    def _broke(self, event: StateChanged) -> None:
        if self.began is not None:
            self.wrong("ERROR", f"while an attempt is under way: {event}")
        if "max_catch_up_sessions" in (event.reason or "") and (self.round is not None or not self._is_capped()):
            self.wrong("cap", f"only {self._backlog()} sessions were missed: {event}")
        self.must_fail = False
        self.to_note += self.journal
        self.on_break, self.retry_at = False, None
        if self.carried is None or event.source in (ACTIVE, TIMEOUT):
            self.since = self.carried = None
        if not self.journal:
            self.round = None

    def _recovered(self, event: StateChanged) -> None:
        owed = self.ended or self.wall >= self.hours.ends[self.i]
        if event.dest is not (ENDED if owed else NOT_STARTED):
            self.wrong("recover", f"a roll is {'' if owed else 'not '}owed: {event}")
        if self.asked_for is None:
            return  # another session is adopted at once, and the ERROR is told again
        if owed and not self.ended and not self._abuts(self.i):
            self.since = self.carried = None
        self.ended, self.high, self.attempts = owed, self.wall, 0
        self.waived = self.hours.owner(self.wall)
        _, entry, target = self.asked_for
        self.asked_for = None
        if entry is Entry.DONE:
            self.marked, self.round = True, self.hours.index[target]
        elif entry is Entry.SKIPPED:
            self.abandoned_target, self.round, self.uncertain = self.hours.index[target], None, False
            self.given_up = self.given_up | {*self._between(self.abandoned_target), target}

    def _adopted_anew(self, event: SessionAdopted) -> None:
        target = self.hours.index[event.next_session]
        if not self.fresh or self.state is not ENDED or self.round is not None:
            self.wrong("adopted", f"in {self.state}, where a roll may be owed: {event}")
        if event.session != self.hours.sessions[self.i].date:
            self.wrong("chained", f"the session is {self.hours.sessions[self.i].date}: {event}")
        if self._backlog() <= self.config.max_catch_up_sessions:
            self.wrong("adopted", f"only {self._backlog()} sessions were missed: {event}")
        if target != (self.adopts if self.journal else self.hours.owner(self.wall)):
            self.wrong("adopted", f"not the present's session, or not a durable one: {event}")
        self.adopts = None
        self.announced = self.succeeded = target

    def _entered(self, event: StateChanged) -> None:
        if self.succeeded is None or self.hours.index[event.session] != self.succeeded:
            self.wrong("chained", f"no roll to it has succeeded: {event}")
        if self.succeeded <= self.i:
            self.wrong("entered twice", f"the session was {self.hours.sessions[self.i].date}: {event}")
        if not all(self.hours.edges[i][2] == self.hours.edges[i + 1][1] for i in range(self.i, self.succeeded)):
            self.since = self.carried = None  # the market has closed in between
        self.i, self.succeeded = self.succeeded, None
        self.ended, self.high = False, self.wall
        self.abandoned_target = self.round = None
        self.attempts, self.retry_at, self.uncertain = 0, None, False

    def _roll_started(self, event: RollStarted) -> None:
        target = self.hours.index[event.next_session]
        if self.state is ERROR:
            self.wrong("ERROR holds", f"{event}")
        if self.state is not ENDED or self.began is not None:
            self.wrong("rolls", f"in {self.state}, with {self.began} under way: {event}")
        if event.session != self.hours.sessions[self.i].date:
            self.wrong("chained", f"the session is {self.hours.sessions[self.i].date}: {event}")
        if target <= self.announced:
            self.wrong("announced and repeated", f"{event}")
        if event.resumed is not self.uncertain:
            self.wrong("resumed", f"an earlier attempt {'may' if self.uncertain else 'cannot'} have completed: {event}")
        if self.journal and (self.kept_intent is None or self.kept_intent[0] != target):
            self.wrong("durable", f"no intent of it is durable: {event}")
        if event.attempt != self.attempts + 1 or event.attempt > self.config.roll_retry.attempts:
            self.wrong("rolls", f"after attempt {self.attempts}: {event}")
        if self.retry_at is not None and self.mono < self.retry_at:
            self.wrong("rolls", f"before {self.retry_at}: {event}")
        self._hold_target(event.next_session, None)
        self.began, self.round, self.attempts = (target, self.mono), target, event.attempt
        self.fresh = False
        self.retry_at, self.has_returned, self.done_written = None, False, False

    def _roll_succeeded(self, event: RollSucceeded) -> None:
        target = self.hours.index[event.next_session]
        if target <= self.announced:
            self.wrong("announced and repeated", f"{self.hours.sessions[self.announced].date} was announced: {event}")
        if not (self.marked if self.began is None else self.has_returned and self.began[0] == target):
            self.wrong("rolls", f"no attempt at it has returned: {event}")
        if self.journal and (not self.done_written or self.kept != target):
            self.wrong("durable", f"told before it was durable: {event}")
        if event.session != self.hours.sessions[self.i].date:
            self.wrong("chained", f"the session is {self.hours.sessions[self.i].date}: {event}")
        self._hold_skipped(target, event.skipped)
        timeout = self.config.roll_timeout
        if self.began is not None and event.overrun is not (
            timeout is not None and self.returned_at - self.began[1] >= timeout
        ):
            self.wrong("rolls", f"begun at {self.began[1]}: {event}")
        self.announced = self.succeeded = target
        self.began = None
        self.has_returned = self.done_written = self.marked = False
        self._attempt_ended()

    def _attempt_ended(self) -> None:
        """A fail() in mid-attempt takes effect now, and no retry follows."""
        self.must_fail, self.fails_later = self.must_fail or self.fails_later, False

    def _roll_failed(self, event: RollFailed) -> None:
        if self.began is None or self.hours.index[event.next_session] != self.began[0]:
            self.wrong("rolls", f"{self.began} is under way: {event}")
        if event.attempt != self.attempts or event.resumed is not self.uncertain:
            self.wrong("rolls", f"attempt {self.attempts} is under way: {event}")
        policy = self.config.roll_retry
        if event.retry_at is None:
            self.must_fail = self.must_fail or event.attempt == policy.attempts
        else:
            delay = min(policy.initial * policy.factor ** (event.attempt - 1), policy.maximum)
            if (
                event.attempt >= policy.attempts
                or self.stopping
                or self.fails_later
                or event.retry_at != self.wall + delay
            ):
                self.wrong("rolls", f"to be tried again after {delay}, of {policy.attempts} attempts: {event}")
            self.retry_at = self.mono + delay
        self.began, self.has_returned = None, False
        self._attempt_ended()

    # ---- what must hold whenever everybody has had a look ----

    def settled(  # noqa: PLR0917 -- all that can be read, as one line of the log
        self,
        state: SessionState,
        session: date,
        scheduled: SessionState,
        boundary: datetime | None,
        on_break: bool,
        owed: bool,
        expired: bool,
    ) -> None:
        """Everything due has been told: hold what can be read to be what must be."""
        hours, wall, i = self.hours, self.wall, self.i
        owner = hours.owner(wall)
        if scheduled is not hours.stage(owner, wall) or boundary != hours.until(owner, wall):
            self.wrong("scheduled state", f"{scheduled} until {boundary}")
        if state is not self.state or session != hours.sessions[i].date:
            self.wrong(
                "chained", f"{state} of {session} was never told; told was {self.state} of {hours.sessions[i].date}"
            )
        if self.stepped is not None:
            self.wrong("steps", f"{self.stepped} was not told")
        if self.must_warn:
            self.wrong("unexpected data", f"it came before {self.unexpected}, and was not told")
        before, self.unexpected = self._closed_before(wall), None
        self.watchful = before is not None and before != self.warned
        if self.to_note:
            self.wrong("durable", "an ERROR was told, and nobody tried to write it down")
        if self.must_fail:
            self.wrong("ERROR", f"{state}, although a record was refused or the last attempt has failed")
        if owed is not (self.ended or wall >= hours.ends[i]):
            self.wrong("owed", f"a roll is {'' if owed else 'not '}said to be owed in {state} of {session}")
        if self.succeeded is not None:
            self.wrong("chained", f"a roll succeeded, but {hours.sessions[self.succeeded].date} was not entered")
        self.asked_for = None
        if state is ERROR:
            return
        expected = ENDED if self.ended else hours.stage(i, self.high)
        if state is not expected and not (state is TIMEOUT and expected is ACTIVE):
            self.wrong("on schedule", f"{state} of {session}, which should be {expected}")
        if state is ACTIVE or state is TIMEOUT:
            self._hold_watch(state, on_break)
        elif on_break:
            self.wrong("breaks", f"on a break in {state}")
        elif state is ENDED and not self.stopping:
            self._hold_pursuit(expired)

    def _hold_watch(self, state: SessionState, on_break: bool) -> None:
        marks = self.hours.marks[self.i]
        passed = sum(mark <= self.high for mark in marks) if marks else 0
        if passed != self.marks_passed or on_break is not (passed % 2 == 1):
            self.wrong("breaks", f"{self.marks_passed} instants told of {passed}, on_break {on_break}")
        if state is TIMEOUT:
            if self._is_fresh():
                self.wrong("TIMEOUT", "there is fresh data")
            return
        if self.carried:
            self.wrong("TIMEOUT", "data was missing when the last session closed, and it was not told")
        due = self._silent_at()
        if due is not None and self.mono >= due:
            self.wrong("TIMEOUT", f"silent since {due}, and it was not told")

    def _hold_pursuit(self, expired: bool) -> None:
        if self.began is None:
            if self.config.auto_roll and (self.retry_at is None or self.mono >= self.retry_at):
                self.wrong("liveness", "a roll is owed and nobody pursues it")
            return
        timeout = self.config.roll_timeout
        if expired is not (timeout is not None and self.mono >= self.began[1] + timeout):
            self.wrong("rolls", f"expired: {expired}, begun at {self.began[1]}")

    # ---- stretches without faults ----

    def furthest(self) -> int:
        """Return the latest session that the clock, the machine, or the roll that is owed has to do with."""
        abandoned_target = -1 if self.abandoned_target is None else self.abandoned_target + 1
        round_ = -1 if self.round is None else self.round
        return max(self.i, round_, abandoned_target, self.hours.owner(self.high))

    def calm_begins(self) -> None:
        """From here on there are no faults: the edges must be those of `replay`."""
        self.calm, self.walked = (self.wall, self.hours.sessions[self.i].date), []

    def calm_ends(self) -> None:
        """Up to here there were none."""
        assert self.calm is not None
        (start, day), self.calm = self.calm, None
        edges = [
            (edge.trigger, edge.dest, edge.session, edge.scheduled_at, edge.observed_at, edge.catch_up)
            for edge in replay(self.hours.schedule, start, self.wall + MICROSECOND, config=self.config, session=day)
            if edge.scheduled_at > start
        ]
        walked = [
            (edge.trigger, edge.dest, edge.session, edge.scheduled_at, edge.observed_at, edge.catch_up)
            for edge in self.walked
        ]
        if edges != walked:
            differing = next((pair for pair in zip(edges, walked, strict=False) if pair[0] != pair[1]), "their number")
            self.wrong("replay", f"{len(edges)} edges, walked {len(walked)}; first to differ: {differing}")

    def overdue(self, state: SessionState, session: date) -> None:
        """A session has passed since the last fault, and the machine is not where the clock is."""
        self.wrong("liveness", f"still {state} of {session}")
