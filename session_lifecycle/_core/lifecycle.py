"""The core of one lifecycle, sans I/O: it takes instants, data and outcomes of rolls, and decides what happens.

Every input carries a `Reading` of both clocks. Each first brings the machine up to that reading, transition by
transition, in the order of the boundaries, and then acts; so an answer never depends on how often it was polled. The
outcome is read afterwards: events from `take_events`, the roll that is due from `due_roll`, the next instants at which
`poll` is needed from `deadlines`. What must be durable before it happens is returned as a `Decision`.
"""

from datetime import date
from functools import partial

from session_lifecycle._core.alarms import AlarmScheduler
from session_lifecycle._core.data_calls import DataLifecycle
from session_lifecycle._core.decision import NOTHING, Decision
from session_lifecycle._core.halting import HaltingLifecycle
from session_lifecycle._core.horizon import horizon_near
from session_lifecycle._core.machine import ENDED, ERROR, NOT_STARTED
from session_lifecycle._core.progress import Progress
from session_lifecycle._core.restore import LOST, restore, restore_halts, restore_hours
from session_lifecycle._core.rolls import RollRound, Rolls
from session_lifecycle._core.schedule_change import Change, plan_change
from session_lifecycle._core.timeline import SharedTimelines, Timeline
from session_lifecycle._journal.records import Entry, JournalState, Record, adoption, changed, intent
from session_lifecycle._model.alarm import Alarm
from session_lifecycle._model.clock import Reading
from session_lifecycle._model.config import LifecycleConfig, Resolution
from session_lifecycle._model.errors import (
    IllegalTransition,
    RollNotOwedError,
    TooManySessionsMissed,
    describe,
)
from session_lifecycle._model.events import SessionAdopted
from session_lifecycle._model.overrides import Closure, Override, SpecialHours
from session_lifecycle._model.session import Session
from session_lifecycle._schedules.base import Schedule


class SessionLifecycle(DataLifecycle, HaltingLifecycle):
    """Decides the sessions of one venue, without I/O. Drive it with `begin`, then `poll` at its `deadlines`.

    Args:
        schedule: where sessions come from.
        config: the policy.
        session: the date of the session that the application is in; by default the one that owns the present.
        name: put on every event.

    Raises:
        NotASession: `session` is none of the schedule's.
    """

    __module__ = "session_lifecycle"

    __slots__ = ("_fresh", "_left", "_readopts")

    def __init__(
        self,
        schedule: Schedule,
        *,
        config: LifecycleConfig = LifecycleConfig(),
        session: date | None = None,
        name: str | None = None,
    ) -> None:
        self._declared_session = None if session is None else schedule.session_on(session)
        timeline = Timeline(schedule, config)
        self._progress = Progress(timeline, config, name)
        self._rolls = Rolls(timeline, config, name)
        self._alarms: AlarmScheduler | None = None  # until there is an alarm
        self._venue = None  # until there is a status of the venue
        self._unrecorded = None
        self._resuming = None
        self._cut = None
        self._fresh = False  # whether this very run has adopted its session from the clock, and no roll has begun
        self._readopts: bool | None = False  # whether it is to adopt another one; None while that is being recorded
        self._failing: str | None = None  # fail() was called during an attempt, which ends first
        self._failed_again = ""  # why fail() was called in ERROR
        self._left: tuple[int, Resolution] | None = None  # the ERROR that recover() has left last, and how
        self.error_number: int = 0
        """The number of the ERROR that lasts, or comes next. In ERROR, `fail_again` begins another one."""
        self.begun: bool = False
        self.leading: bool = True
        """Whether this replica leads; without replicas it always does."""
        self._given = schedule
        self._restored = None
        self._follower = None

    # ---- its beginning ----

    def begin(self, now: Reading, journal_state: JournalState | None = None) -> None:
        """Adopt the session and catch up with the clock, to the first roll that is due.

        With a `journal_state`, adopt what a journal holds of an earlier run: its session, an ERROR that was not
        recovered from, a roll that was begun, halts that last, changed hours, and alarms that have fired. Halts and
        hours are not emitted again. Hours that are impossible now are emitted as `OverrideLost`, alarms that have begun
        and not ended as `AlarmInterrupted`, by the replica that leads.

        Raises:
            ScheduleExhausted: the schedule does not know the present.
            NotASession: the schedule has lost the journal's session, whose hours the journal does not hold either.
        """
        if journal_state is not None:
            restore_hours(journal_state, self._progress, self._rolls, now)
        alone = journal_state is None and self._declared_session is None
        timeline = self._progress.timeline
        position = timeline.at_start(now.wall) if alone else timeline.at(now.wall)
        if position.state is ENDED:
            self.schedule.session_at(now.wall)  # raises, and says where the knowledge ends
        session, lost = self._declared_session or position.session, False
        if journal_state is not None:
            session, lost = restore(journal_state, self._progress, self._rolls)
        self._progress.begin(session, now, position)
        self._progress.watch_closed_market()
        if journal_state is not None:
            restore_halts(journal_state, self._progress, now)
        self._restored = journal_state
        self._fresh = alone and self.leading
        if self._alarms is not None:
            self._begin_alarms(self._alarms)
        if lost and journal_state is not None and not journal_state.ended:
            self._call_off(LOST)
        if self.leading:
            self._take_up(journal_state, now)
        else:
            self._stand_by()
        self.begun = True
        self._report_horizon()
        self.poll(now)

    def _call_off(self, why: str) -> None:
        """End the machine's session by now: the venue does not hold it, or no longer."""
        now = self._progress.last_reading.wall
        if now < self._progress.bounds.end:
            self._cut_short(now, f"called off ({why})")
        self._progress.call_off(why)

    # ---- time ----

    def poll(self, now: Reading) -> None:
        """Bring the machine up to `now`."""
        progress, alarms = self._progress, self._alarms
        position, phases = progress.position, progress.clock_state.phases
        try:
            progress.observe(now)
            while (alarms is not None and self._fire_alarm(alarms)) or progress.take_transition():
                pass
            if self._venue is not None:
                self._follow_venue(self._venue, now)
            if progress.state is ENDED:
                self._pursue_roll(now)
        except Exception as error:  # the schedule is the application's own code
            self._fail(self._blame(error))
        if progress.state is not ENDED:
            progress.catching_up = False
        if progress.position is not position or progress.clock_state.phases is not phases:
            progress.watch_closed_market()

    def share_timeline(self, timelines: SharedTimelines) -> None:
        """Follow, before the beginning, the one timeline of all that have the same schedule and durations."""
        if not self.begun:
            self._progress.timeline = self._rolls.timeline = timelines.shared(self._progress.timeline)
            if self._alarms is not None:
                self._alarms.timeline = self._progress.timeline

    def _fire_alarm(self, alarms: AlarmScheduler) -> bool:
        """Fire the one alarm that is due before the next transition is; return False where there is none."""
        clock = self._progress.clock_state
        due, transition = alarms.due(clock.last_reading.wall, clock.position), self._progress.next_due
        if due is None or (transition is not None and transition <= due):
            return False
        self._progress.emit(alarms.fire(clock.state, clock.last_reading))
        return True

    # ---- alarms ----

    def add_alarm(self, alarm: Alarm, now: Reading) -> None:
        """Register an alarm; instants that are past by now are over for it."""
        self._poll_once_begun(now)
        progress, alarms = self._progress, self._alarms
        if alarms is None:
            alarms = self._alarms = AlarmScheduler(progress.timeline, self.config.missed_sessions, self.name)
            if self.begun:
                self._begin_alarms(alarms)
            if self._cut is not None:
                alarms.cut(self._cut)
        alarms.add(alarm, now.wall)
        self._poll_once_begun(now)

    # ---- decisions ----

    def change_schedule(self, override: Override, now: Reading) -> Decision | None:
        """Decide to follow other hours from now on; None where the hours are those already.

        Raises:
            OverrideRefused: it contradicts the schedule or what has passed, or its hours are impossible.
            ScheduleExhausted: its date lies outside of what the schedule knows.
            TypeError: it is neither a `Closure` nor a `SpecialHours`.
        """
        self.poll(now)
        if not isinstance(override, Closure | SpecialHours):
            msg = f"apply() takes a Closure or SpecialHours, not {override!r}"
            raise TypeError(msg)
        change = plan_change(override, self._progress, self._rolls.rounds, now)
        if change is None:
            return None
        day = self._progress.session.date
        records: tuple[Record, ...] = (changed(change.day, change.after, day, now.wall),)
        if change.ends:
            records = (*records, Record(Entry.ENDED, day, now.wall, note=change.why))

        def apply(now: Reading) -> None:
            self.poll(now)
            still = plan_change(override, self._progress, self._rolls.rounds, now)
            if still is not None:  # else it has become too late
                self._change_schedule(change.at(now, ends=still.ends), now)

        return Decision(records, apply)

    def _change_schedule(self, change: Change, now: Reading) -> None:
        progress, new = self._progress, change.timeline
        progress.emit(change.event(progress.session.date, now, self.name))
        progress.timeline = self._rolls.timeline = new
        if self._alarms is not None:
            self._alarms.timeline = new
        if change.ends:
            progress.session = change.hours_of(progress.session)
            self._call_off(change.why)
        elif not progress.ended and progress.called_off is None:
            progress.adopt_hours(mine := change.hours_of(progress.session), new.boundaries(mine))
        elif self.leading:
            self._hold_end(now)
        progress.relocate(change.position)
        change.retarget((*self._rolls.rounds, *self._rolls.planned))
        if self._alarms is not None:
            self._alarms.reschedule(change.old, change.touched)
        progress.watch_closed_market()
        self.poll(now)

    def end_session(self, reason: str, now: Reading) -> Decision:
        """Decide to end an open session now.

        Raises:
            IllegalTransition: the session is not ACTIVE, TIMEOUT or POST_MARKET. Nothing has changed.
        """
        self.poll(now)
        if not self._progress.has_opened:
            raise IllegalTransition(self.state, "end_session", self._progress.allowed)
        session = self._progress.session.date

        def apply(now: Reading) -> None:
            self.poll(now)
            if self._progress.session.date != session:
                return
            if self._progress.ended:  # by the clock, meanwhile: where that has left the market open, it closes
                self._progress.close()
                return
            if not self._progress.has_opened:
                raise IllegalTransition(self.state, "end_session", self._progress.allowed)
            self._cut_short(now.wall)
            self._progress.finish(now.wall, reason)
            self.poll(now)

        return Decision((Record(Entry.ENDED, session, now.wall, note=reason),), apply)

    def recover(self, resolution: Resolution, now: Reading, error: int | None = None) -> Decision:
        """Decide to leave ERROR: to the roll where one is owed, else to the start of the session, which is replayed.

        `error` is the `error_number` as of the call, by default the present one. An ERROR is left once: a call about
        one that another call has left as well decides nothing. Where `fail_again` has begun another ERROR since, that
        follows at once.

        Raises:
            IllegalTransition: the state is not ERROR.
            RollNotOwedError: no roll is owed that could be marked as done or skipped; or another call has left that
                ERROR by another resolution.
            ScheduleExhausted: no session is known that could be.
        """
        self.poll(now)
        error = self.error_number if error is None else error
        if self._left is not None and self._left[0] == error:
            if self._left[1] is resolution:
                return NOTHING
            why = f"another call of recover() came first, with {self._left[1]}; look at the state, and decide again"
            raise RollNotOwedError(self.state, why)
        if self.state is not ERROR:
            raise IllegalTransition(self.state, "recover", self._progress.allowed)
        roll = self._rolls.unfinished
        if resolution is Resolution.RETRY or (roll is not None and roll.recorded):
            resolved, record = None, Record(Entry.RECOVERED, self._progress.session.date, now.wall)
        elif not self.roll_owed:
            why = "none is owed, so none can be marked as done or skipped; use Resolution.RETRY"
            raise RollNotOwedError(ERROR, why)
        else:
            self._rolls.waive_cap(self._progress.position)
            resolved = self._rolls.plan(self._progress.session, self._progress.position)
            record = resolved.settled(resolution, now)
        return Decision((record,), partial(self._recover, record, resolved, (error, resolution)))

    def _recover(self, record: Record, roll: RollRound | None, left: tuple[int, Resolution], now: Reading) -> None:
        self.poll(now)
        if self.state is not ERROR:
            return  # left meanwhile, by another call
        if roll is not None and not self.roll_owed:
            why = f"the clock has stepped back to before the end of session {roll.ended.date}; use Resolution.RETRY"
            raise RollNotOwedError(ERROR, why)
        unfinished = self._rolls.unfinished
        self._progress.catching_up = True
        self._progress.fire("recover", now.wall, roll_owed=self.roll_owed)
        self._rolls.waive_cap(self._progress.position)
        if unfinished is not None and unfinished.recorded:
            self._complete(unfinished, now)
        elif roll is not None and record.entry is Entry.DONE:
            self._complete(roll, now)
        elif roll is not None:
            self._rolls.skip(roll)
        self._left = left
        if self.error_number == left[0]:
            self.error_number += 1
        else:
            self._fail(self._failed_again)  # before anything else happens
        self.poll(now)

    def request_roll(self, now: Reading) -> None:
        """Begin the round of attempts that `auto_roll=False` leaves to the application.

        Raises:
            RollNotOwedError: no roll is owed, or it is under way or automatic already.
        """
        self.poll(now)
        self._rolls.require_owed(self.state, self._progress.session)
        self._rolls.waive_cap(self._progress.position)
        try:
            self._rolls.open(self._progress.session, self._progress.position, now.monotonic)
        except Exception as error:  # the schedule is the application's own code
            self._fail(self._blame(error))

    def stop(self) -> None:
        """Begin no further attempt at a roll."""
        self._rolls.stopping = True

    @property
    def unfinished_roll(self) -> RollRound | None:
        """The roll that may have been done although the state is ERROR; None where there is none."""
        return self._rolls.unfinished

    # ---- the roll ----

    def due_roll(self, now: Reading) -> RollRound | None:
        """Return the round whose next attempt is due; None where none is, and while another replica leads."""
        return self._rolls.due(now) if self.leading else None

    def begin_roll(self, roll: RollRound, now: Reading, *, journalled: bool) -> Decision:
        """Decide to begin the attempt that is due; its intent is recorded first where there is a journal.

        Without the record the attempt is not begun, and the state is ERROR.
        """
        self._fresh = False
        if not journalled or roll.intended:
            return Decision((), partial(self._begin_attempt, roll))
        roll.pending = True

        def begin(now: Reading) -> None:
            self.poll(now)
            if self._rolls.intent_written(roll):
                self._begin_attempt(roll, now)

        record = intent(roll.ended, roll.target, roll.skipped, now.wall)
        return Decision((record,), begin, partial(self._not_begun, roll))

    def _begin_attempt(self, roll: RollRound, now: Reading) -> None:
        self._progress.emit(self._rolls.begin(roll, now))

    def _not_begun(self, roll: RollRound, error: Exception, now: Reading) -> None:
        roll.pending = False  # where the intent is in doubt, ERROR is not left before that is known
        if roll is self._rolls.round:  # else another replica leads since
            self.fail(f"the roll to {roll.target.date} was not begun: {describe(error)}", now)

    def roll_succeeded(self, roll: RollRound, now: Reading) -> Decision:
        """Decide to enter the next session: the attempt under way has returned.

        Where that cannot be made durable, the state is ERROR, since success must not be reported.
        """
        roll.returned = now

        def enter(now: Reading) -> None:
            self.poll(now)
            if self._rolls.round is roll:
                self._complete(roll, now)
                self.poll(now)
            elif self._rolls.unfinished is roll:
                roll.recorded = True  # it was in doubt, and is certain now: it is completed on the way out of ERROR

        record = Record(Entry.DONE, roll.ended.date, now.wall, roll.target.date)
        return Decision((record,), enter, partial(self._leave_uncertain, roll))

    def _leave_uncertain(self, roll: RollRound, error: Exception, now: Reading) -> None:
        self.poll(now)
        if roll is not self._rolls.round:
            return  # another replica leads since, and what it has recorded is followed
        roll.resumed = True
        self._progress.emit(self._rolls.failed(roll, error, now, retry=False))
        self._fail(
            f"uncertain: the roll from {roll.ended.date} to {roll.target.date} returned, but {describe(error)}. "
            "If its effects are there, `await manager.recover(Resolution.MARK_DONE)`, else `recover(Resolution.RETRY)`"
        )

    def _complete(self, roll: RollRound, now: Reading) -> None:
        succeeded = self._rolls.succeeded(roll, now)
        self._progress.enter(roll.target, roll.bounds, succeeded, stayed_open=roll.stayed_open)
        if roll.skipped and roll.stayed_open:
            self._record_halts(now)
        if self._alarms is not None:
            self._alarms.enter(roll.target, roll.bounds, roll.skipped)
        if roll.called_off is not None:
            self._call_off(roll.called_off)
        if self._progress.position.state is not NOT_STARTED:
            self._progress.catching_up = True  # the roll has outlasted the beginning of the session
        if self._failing is not None:
            self._fail(self._failing)
        self._report_horizon()

    def pursues(self, roll: RollRound) -> bool:
        """Return whether a round is still pursued; it is not where another replica has gained the lead since."""
        return self._rolls.round is roll

    def roll_failed(self, roll: RollRound, error: BaseException, now: Reading) -> None:
        """Record that the attempt under way has failed: wait for the next one, or go to ERROR after the last."""
        self.poll(now)
        if roll is not self._rolls.round:
            return  # another replica leads since
        self._progress.emit(self._rolls.failed(roll, error, now, retry=self._failing is None))
        if self._failing is not None:
            self._fail(self._failing)
        elif self._rolls.is_spent(roll):
            self._fail(
                f"the roll from {roll.ended.date} to {roll.target.date} failed at attempt {roll.attempt}, the last: "
                f"{describe(error)}"
            )

    def _pursue_roll(self, now: Reading) -> None:
        """Open the round that is owed, or find out whether its attempt takes too long."""
        if self._rolls.round is not None:
            self._rolls.expire(now)
        elif self.config.auto_roll and self.leading and not self._rolls.stopping:
            if self._readopts is None:
                return
            try:
                self._rolls.open(self._progress.session, self._progress.position, now.monotonic)
                self._readopts = False
            except TooManySessionsMissed:
                if not self._fresh or self._progress.position.until is None:  # past the end of all knowledge
                    raise
                self._readopts = True

    # ---- a session adopted anew ----

    def due_adoption(self, now: Reading) -> Decision | None:
        """Decide to adopt the present's session instead of one that the clock was wrong about; None where it was not.

        A machine without a battery boots with a clock of years ago, and its session is adopted; then the clock is
        stepped to the present. Nothing is owed by an application that has just started and has not rolled.
        """
        if not self._readopts:
            return None
        self._readopts = None
        session = self._progress.position.session

        def give_up(error: Exception, _: Reading) -> None:
            self._readopts = self._fresh = False
            if self.state is not ERROR:
                self._fail(f"session {session.date} was not adopted: {describe(error)}")

        return Decision((adoption(session, now.wall),), partial(self._adopt_anew, session), give_up)

    def _adopt_anew(self, session: Session, now: Reading) -> None:
        progress = self._progress
        self.poll(now)
        self._readopts = False
        reason = progress.reason if progress.state is ERROR else None
        if progress.state is ERROR:
            progress.fire("recover", now.wall, roll_owed=True)
        adopted = SessionAdopted(progress.session.date, session.date, now.wall, name=self.name)
        progress.enter(session, progress.timeline.boundaries(session), adopted, stayed_open=False)
        progress.catching_up = True
        if self._alarms is not None:
            self._begin_alarms(self._alarms)
        if reason is not None:
            self._fail(reason)
        self._report_horizon()
        self.poll(now)

    def _report_horizon(self) -> None:
        """Report that the schedule ends soon, or that the session lies beyond the published hours."""
        try:
            near = horizon_near(self.schedule, self._progress.session.date, self._progress.last_reading.wall, self.name)
        except Exception as error:  # the schedule is the application's own code
            self._fail(self._blame(error))
        else:
            if near is not None:
                self._progress.emit(near)
