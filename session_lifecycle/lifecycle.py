"""The core that decides, sans I/O: told instants, data and roll outcomes, it never awaits, logs or reads a clock.

Every input carries a `Reading` of both clocks. Each first brings the machine up to that reading, edge by edge, in the
order of the boundaries, and then acts; so an answer never depends on how often somebody looked. What came of it is
read off afterwards: events from `take_events`, the roll that is due from `take_roll`, the next instants at which a look
is needed from `deadlines`.
"""

from datetime import date, datetime, timedelta
from typing import Final

from session_lifecycle.clock import Reading, as_utc
from session_lifecycle.config import LifecycleConfig, Resolution
from session_lifecycle.errors import (
    IllegalTransition,
    LifecycleError,
    NotASession,
    RollNotOwedError,
    ScheduleExhausted,
    in_words,
)
from session_lifecycle.events import (
    Event,
    HorizonNear,
)
from session_lifecycle.journal import Entry, Record, Standing
from session_lifecycle.machine import (
    ACTIVE,
    ENDED,
    ERROR,
    NOT_STARTED,
    POST_MARKET,
    TIMEOUT,
)
from session_lifecycle.roll import Rolls, Round
from session_lifecycle.schedule import Schedule, Session
from session_lifecycle.silence import Silence
from session_lifecycle.states import SessionState
from session_lifecycle.status import Status
from session_lifecycle.timeline import Timeline
from session_lifecycle.walk import Walk

HORIZON: Final = timedelta(days=30)
"""How far ahead of the end of the schedule's knowledge its end is told."""


class SessionLifecycle:
    """One venue's trading day, decided. Drive it with `begin`, then `poll` at its `deadlines`.

    Args:
        schedule: where sessions come from.
        config: the policy.
        session: the date of the session that the application is in; by default the one that owns the present.
        name: put on every event.

    Raises:
        NotASession: `session` is none of the schedule's.
    """

    def __init__(
        self,
        schedule: Schedule,
        *,
        config: LifecycleConfig = LifecycleConfig(),
        session: date | None = None,
        name: str | None = None,
    ) -> None:
        self.schedule = schedule
        self.config = config
        self.name = name
        self._first = None if session is None else schedule.session_on(session)
        self._timeline = Timeline(schedule, config)
        self._walk = Walk(self._timeline, config, name)
        self._rolls = Rolls(self._timeline, config, name)
        self._failing: str | None = None  # fail() was called during an attempt, which ends first
        self.begun = False

    # ---- what it says ----

    @property
    def state(self) -> SessionState:
        """The machine's state."""
        return self._walk.state

    @property
    def session(self) -> Session:
        """The machine's session."""
        return self._walk.session

    @property
    def scheduled_state(self) -> SessionState:
        """The state that schedule and clock alone imply, as of the last look."""
        return self._walk.position.state

    @property
    def next_boundary(self) -> datetime | None:
        """When the scheduled state changes next; None where the schedule's knowledge ends."""
        return self._walk.position.until

    @property
    def can_trade(self) -> bool:
        """Whether the session is ACTIVE and on no break."""
        return self._walk.state is ACTIVE and not self._walk.on_break

    @property
    def on_break(self) -> bool:
        """Whether the session is on a break."""
        return self._walk.on_break

    @property
    def reason(self) -> str | None:
        """Why the state is ERROR or TIMEOUT."""
        return self._walk.reason

    @property
    def silence(self) -> Silence:
        """The watch over the data."""
        return self._walk.silence

    @property
    def roll_owed(self) -> bool:
        """Whether the machine's session has ended, by clock or by hand, and its roll is not done."""
        return self._walk.ended or self._walk.seen.wall >= self._walk.bounds.end

    @property
    def roll_expired(self) -> bool:
        """Whether an attempt under way has taken longer than `roll_timeout`, and is to be cancelled."""
        return self._rolls.expired

    @property
    def status(self) -> Status:
        """A snapshot, as of the last look."""
        arrival, seen = self.silence.arrival, self._walk.seen
        return Status(
            name=self.name,
            schedule=self.schedule.name,
            state=self.state,
            scheduled_state=self.scheduled_state,
            session=self._walk.session.date,
            open=self._walk.session.open,
            close=self._walk.session.close,
            next_boundary=self.next_boundary,
            on_break=self.on_break,
            can_trade=self.can_trade,
            roll_owed=self.roll_owed,
            roll_attempt=0 if self._rolls.round is None else self._rolls.round.attempt,
            last_data_at=None if arrival is None else seen.wall - (seen.monotonic - timedelta(seconds=arrival)),
            reason=self.reason,
            observed_at=seen.wall,
        )

    @property
    def deadlines(self) -> tuple[datetime | None, timedelta | None]:
        """The next wall and the next monotonic instant at which `poll` is needed; None where there is none."""
        wall, state = self._walk.position.until, self.state
        edge = self._walk.next_edge
        if edge is not None and (wall is None or edge < wall):
            wall = edge
        return wall, self._rolls.deadline if state is ENDED else self.silence.deadline

    def take_events(self) -> list[Event]:
        """Return what has happened since the last call, oldest first."""
        events, self._walk.events = self._walk.events, []
        return events

    # ---- what it is told ----

    def begin(self, now: Reading, standing: Standing | None = None) -> None:
        """Take up the session and catch up with the clock as far as that goes without a roll.

        With a `standing`, take up what a journal tells of an earlier run: its session, an ERROR that nobody has
        recovered from, a roll that was begun.

        Raises:
            ScheduleExhausted: the schedule does not know the present.
            NotASession: the schedule has lost the standing's session, whose hours are not known either.
        """
        position = self._timeline.at(now.wall)
        if position.state is ENDED:
            self.schedule.session_at(now.wall)  # raises, and says where the knowledge ends
        first = position.session if self._first is None else self._first
        if standing is not None:
            first = self._take_up(standing)
        self._walk.begin(first, now, position)
        self.begun = True
        self._tell_horizon()
        self.poll(now)

    def _take_up(self, standing: Standing) -> Session:
        session = self._remembered(standing.session, standing.open, standing.close)
        self._walk.ended = standing.ended
        self._rolls.beyond = standing.beyond
        intent = standing.intent
        if intent is not None and intent.target is not None:
            target = self._remembered(intent.target, intent.open, intent.close)
            self._rolls.unfinished = Round.resumed_from(session, target, self._timeline)
        if standing.error is not None:
            self._walk.stand_in(ERROR, standing.error)
        elif standing.ended:
            self._walk.stand_in(ENDED, None)
        return session

    def _remembered(self, day: date, opened: datetime | None, closed: datetime | None) -> Session:
        """Return a session of the journal, by the hours noted there where the schedule has lost it since."""
        try:
            return self.schedule.session_on(day)
        except NotASession:
            if opened is None or closed is None:
                raise
            return Session(day, opened, closed)

    def poll(self, now: Reading) -> None:
        """Bring the machine up to `now`."""
        try:
            self._walk.look(now)
            while self._walk.take_edge():
                pass
            if self.state is ENDED:
                self._pursue_roll(now)
        except Exception as error:  # the schedule is the application's own code
            self._fail(self._blame(error))
        if self.state is not ENDED:
            self._walk.catching_up = False

    def record_data(self, now: Reading, timestamp: datetime | None = None) -> None:
        """Take note of data; where the session is TIMEOUT, data that is fresh ends that.

        Raises:
            NaiveDatetimeError: `timestamp` has no time zone. Nothing is recorded.
        """
        age = timedelta(0)
        if timestamp is not None:
            age = max(now.wall - as_utc("timestamp", timestamp), age)
        self.silence.heard((now.monotonic - age).total_seconds())
        if self.state is TIMEOUT:
            self.poll(now)

    def plan_end(self, reason: str, now: Reading) -> Record:
        """Return the record to be written before `end_session`.

        Raises:
            IllegalTransition: the session is not ACTIVE, TIMEOUT or POST_MARKET. Nothing has changed.
        """
        self.poll(now)
        state = self.state
        if state is not ACTIVE and state is not TIMEOUT and state is not POST_MARKET:
            raise IllegalTransition(state, "end_session", self._walk.allowed)
        return Record(Entry.ENDED, self._walk.session.date, now.wall, note=reason)

    def end_session(self, reason: str, now: Reading) -> None:
        """Walk the remaining edges of an open session now, as planned."""
        if self.state is not POST_MARKET:
            self._walk.fire("close_market", now.wall, reason)
        self._walk.fire("end_session", now.wall, reason)
        self.poll(now)

    def fail(self, reason: str, now: Reading) -> bool:
        """Go to ERROR; during an attempt at the roll, as soon as that has ended. Return False where it is ERROR."""
        self.poll(now)
        if self.state is ERROR:
            return False
        self._fail(reason)
        return True

    def plan_recovery(self, resolution: Resolution, now: Reading) -> Record:
        """Return the record to be written before `recover`.

        Raises:
            IllegalTransition: the state is not ERROR.
            RollNotOwedError: no roll is owed that could be marked as done or skipped.
            ScheduleExhausted: no session is known that could be.
        """
        self.poll(now)
        if self.state is not ERROR:
            raise IllegalTransition(self.state, "recover", self._walk.allowed)
        session = self._walk.session.date
        if resolution is Resolution.RETRY:
            return Record(Entry.RECOVERED, session, now.wall)
        if not self.roll_owed:
            raise RollNotOwedError(
                ERROR, "none is owed, so none can be marked as done or skipped; use Resolution.RETRY"
            )
        self._rolls.waive_cap(self._walk.position)
        turn = self._rolls.plan(self._walk.session, self._walk.position)
        entry = Entry.DONE if resolution is Resolution.MARK_DONE else Entry.SKIPPED
        target = turn.target
        return Record(entry, session, now.wall, target.date, turn.skipped, target.open, target.close, "by recover()")

    def recover(self, record: Record, now: Reading) -> None:
        """Leave ERROR, as planned: to the roll where one is owed, else to the session's start, to walk it again."""
        self._walk.catching_up = True
        self._walk.fire("recover", now.wall, roll_owed=self.roll_owed)
        self._rolls.waive_cap(self._walk.position)
        if record.entry is not Entry.RECOVERED:
            turn = self._rolls.plan(self._walk.session, self._walk.position)
            if record.entry is Entry.DONE:
                self._complete(turn, now)
            else:
                self._rolls.skip(turn)
        self.poll(now)

    def request_roll(self, now: Reading) -> None:
        """Begin the round of attempts that `auto_roll=False` leaves to a person.

        Raises:
            RollNotOwedError: no roll is owed, or it is under way or automatic already.
        """
        self.poll(now)
        state = self.state
        if self.config.auto_roll:
            raise RollNotOwedError(state, "auto_roll is on, so the roll is awaited by itself")
        if state is ERROR:
            raise RollNotOwedError(state, "`await manager.recover()` first")
        if state is not ENDED:
            raise RollNotOwedError(state, f"session {self._walk.session.date} has not ended; end_session() ends it now")
        if self._rolls.round is not None:
            raise RollNotOwedError(state, f"the roll to {self._rolls.round.target.date} is under way")
        self._rolls.waive_cap(self._walk.position)
        try:
            self._rolls.open(self._walk.session, self._walk.position, now.monotonic)
        except Exception as error:  # the schedule is the application's own code
            self._fail(self._blame(error))

    def stop(self) -> None:
        """Begin no further attempt at a roll."""
        self._rolls.stopping = True

    # ---- the roll ----

    def due_roll(self, now: Reading) -> Round | None:
        """Return the round whose next attempt is due; None where none is."""
        return self._rolls.due(now)

    def begin_roll(self, turn: Round, now: Reading) -> None:
        """Count the attempt that is due as begun. Where there is a journal, the intent is durable by now."""
        self._walk.events.append(self._rolls.begin(turn, now))

    def roll_unrecorded(self, turn: Round, error: BaseException, now: Reading) -> None:
        """Go to ERROR: the attempt has returned, but that could not be made durable, so it must not be told."""
        self.poll(now)
        turn.resumed = True
        self._walk.events.append(self._rolls.failed(turn, error, now, retry=False))
        self._fail(
            f"uncertain: the roll from {turn.ended.date} to {turn.target.date} returned, but {in_words(error)}. "
            "If its effects are there, `await manager.recover(Resolution.MARK_DONE)`, else `recover(Resolution.RETRY)`"
        )

    def roll_succeeded(self, turn: Round, now: Reading) -> None:
        """Enter the next session: the attempt under way has returned."""
        self.poll(now)
        self._complete(turn, now)
        self.poll(now)

    def _complete(self, turn: Round, now: Reading) -> None:
        self._walk.events.append(self._rolls.succeeded(turn, now))
        self._walk.enter(turn.target, turn.bounds)
        if self._walk.position.state is not NOT_STARTED:
            self._walk.catching_up = True  # the roll has outlasted the beginning of the session
        if self._failing is not None:
            self._fail(self._failing)
        self._tell_horizon()

    def roll_failed(self, turn: Round, error: BaseException, now: Reading) -> None:
        """Take the failure of the attempt under way: wait for the next one, or go to ERROR after the last."""
        self.poll(now)
        self._walk.events.append(self._rolls.failed(turn, error, now, retry=self._failing is None))
        if self._failing is not None:
            self._fail(self._failing)
        elif self._rolls.is_spent(turn):
            self._fail(
                f"the roll from {turn.ended.date} to {turn.target.date} failed at attempt {turn.attempt}, the last: "
                f"{in_words(error)}"
            )

    # ---- how it decides ----

    def _pursue_roll(self, now: Reading) -> None:
        """Open the round that is owed, or see whether its attempt takes too long."""
        if self._rolls.round is not None:
            self._rolls.expire(now)
        elif self.config.auto_roll and not self._rolls.stopping:
            self._rolls.open(self._walk.session, self._walk.position, now.monotonic)

    def _fail(self, reason: str, due: datetime | None = None) -> None:
        """Go to ERROR, once an attempt under way has ended; what was the reason before that is told too."""
        if self._rolls.running:
            self._failing = self._failing or reason
            return
        if self._failing is not None and self._failing != reason:
            reason = f"{self._failing}; and {reason}"
        self._failing = None
        if self.state is not ERROR:
            self._rolls.drop()
            self._walk.fire("fail", self._walk.seen.wall if due is None else due, reason)

    def _blame(self, error: Exception) -> str:
        """Return the reason for ERROR where the schedule has raised."""
        return in_words(error) if isinstance(error, LifecycleError) else f"{self.schedule.name}: {in_words(error)}"

    def _tell_horizon(self) -> None:
        """Look thirty days ahead, which also has the schedule load what it will need, at a quiet moment."""
        try:
            self.schedule.session_at(self._walk.seen.wall + HORIZON)
        except ScheduleExhausted as error:
            if error.last >= self._walk.session.date:
                self._walk.events.append(
                    HorizonNear(error.last, self._walk.session.date, self._walk.seen.wall, name=self.name)
                )
        except Exception as error:  # the schedule is the application's own code
            self._fail(self._blame(error))
