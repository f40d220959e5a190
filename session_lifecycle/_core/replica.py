"""The part of a lifecycle that gains and loses the lead, and follows the replica that has it."""

from abc import ABC, abstractmethod
from datetime import datetime

from session_lifecycle._core.alarms import AlarmScheduler, Cut
from session_lifecycle._core.following import Follower
from session_lifecycle._core.machine import ERROR
from session_lifecycle._core.restore import interrupted
from session_lifecycle._core.schedule_change import Change
from session_lifecycle._core.view import LifecycleView
from session_lifecycle._journal.records import JournalState, Record
from session_lifecycle._model.clock import Reading
from session_lifecycle._model.errors import LifecycleError
from session_lifecycle._schedules.base import Schedule


class ReplicaLifecycle(LifecycleView, ABC):
    """A lifecycle of which one replica at a time leads; the others follow its records. Without replicas it leads.

    `_given` is the schedule as the application has given it, without changes, `_restored` what was adopted last of a
    journal. `_follower` is there while another replica leads. `_cut` is the session that was ended early, if it was.
    """

    __slots__ = ("_cut", "_follower", "_given", "_restored")

    _cut: Cut | None
    _follower: Follower | None
    _given: Schedule
    _restored: JournalState | None

    @abstractmethod
    def poll(self, now: Reading) -> None:
        """Bring the machine up to `now`."""

    @abstractmethod
    def _change_schedule(self, change: Change, now: Reading) -> None: ...

    @abstractmethod
    def _fail(self, reason: str) -> None: ...

    @abstractmethod
    def _blame(self, error: Exception) -> str: ...

    @abstractmethod
    def _report_horizon(self) -> None: ...

    def stand_by(self, now: Reading, error: Exception | None = None) -> None:
        """Lead no more: begin no roll, fire no alarm, and follow the leader's records. Call it before `begin`, too.

        An attempt under way has failed, with `error`; what becomes of it later is not asked, also where the lead is
        gained again. Where its intent is in the journal, the next leader finishes that roll.
        """
        if not self.leading:
            return
        self.leading: bool = False
        if not self.begun:
            return
        if self._alarms is not None:
            self._alarms.stand_by()
        roll, failing = self._rolls.round, self._failing
        if roll is not None and self._rolls.running:
            why = LifecycleError("this replica does not lead any more") if error is None else error
            self._progress.emit(self._rolls.failed(roll, why, now, retry=False))
        self._rolls.drop()
        self._rolls.disown()
        self._stand_by()
        self.poll(now)
        if failing is not None:
            self._fail(failing)
            self.poll(now)

    def _stand_by(self) -> None:
        self._follower = Follower(self._progress, self._rolls, self._given, self._change_schedule, self._restored)
        self._progress.escalate(escalates=False)

    def follow(self, record: Record, journal_state: JournalState, now: Reading, *, term: int = 0) -> None:
        """Follow the next record of the leader; `journal_state` is what all records up to it add up to.

        What is reflected already changes nothing. A roll is emitted as `RollFollowed`, with the leader's `term`. While
        this replica leads itself, nothing is followed.
        """
        if self._follower is not None:
            self._follow(self._follower, record, journal_state, now, term)
            self.poll(now)

    def _follow(
        self, follower: Follower, record: Record | None, journal_state: JournalState, now: Reading, term: int
    ) -> None:
        self.poll(now)
        session = self._progress.session
        try:
            follower.follow(journal_state, record, now, term)
        except Exception as error:  # the schedule is the application's own code
            self._fail(self._blame(error))
        self._restored = journal_state
        if self._progress.session is not session:
            self._report_horizon()

    def lead(self, now: Reading, journal_state: JournalState | None = None) -> None:
        """Lead from now on, and take up what the journal adds up to, as a restart does.

        A roll whose intent is open is finished first, flagged as resumed. An ERROR that is not in the journal is left.
        Alarms that are due and that the journal does not hold are late: their `misfire` decides.
        """
        if self.leading:
            return
        follower, self._follower = self._follower, None
        if follower is not None and journal_state is not None:
            self._follow(follower, None, journal_state, now, 0)
        self.leading = True
        if not self.begun:
            return
        self._cut = None
        if self._alarms is not None:
            self._begin_alarms(self._alarms)
            self._alarms.cut(None)
        progress = self._progress
        if progress.called_off is not None and now.wall < progress.planned.end:
            self._cut_short(now.wall, f"called off ({progress.called_off})")
        if self._rolls.unfinished is not None:
            self._rolls.unfinished.resumed = True  # whoever began it
        self._take_up(journal_state, now)
        self._progress.escalate(escalates=True)
        if self.state is ERROR and (journal_state is None or journal_state.error is None):
            self._progress.catching_up = True
            self._progress.fire("recover", now.wall, roll_owed=self.roll_owed)
        self.poll(now)

    def _begin_alarms(self, alarms: AlarmScheduler) -> None:
        """Have alarms follow the machine's session, but for those that the journal holds."""
        progress, restored = self._progress, self._restored
        alarms.timeline = progress.timeline
        held, skipped = ({}, ()) if restored is None else (restored.alarms, restored.skipped)
        now = progress.last_reading.wall
        alarms.begin(
            progress.session,
            progress.planned,
            progress.position,
            now,
            held=held,
            skipped=skipped,
            leading=self.leading,
        )

    def _take_up(self, journal_state: JournalState | None, now: Reading) -> None:
        """Take up what leading replicas alone do: report interrupted alarms, and void those of a session cut short."""
        if journal_state is None:
            return
        for event in interrupted(journal_state, now, self.name):
            self._progress.emit(event)
        by_clock = journal_state.intent is not None or journal_state.abandoned_target is not None
        over = by_clock and now.wall >= self._progress.planned.end
        if journal_state.closed or (journal_state.ended and not over):
            self._cut_short(None)

    def _cut_short(self, at: datetime | None, why: str = "ended manually") -> None:
        """Record that the machine's session ends early: the alarms that it still has before its end are void."""
        self._cut = Cut(self._progress.session.date, at, self._progress.planned.end, why)
        if self._alarms is not None:
            self._alarms.cut(self._cut)
