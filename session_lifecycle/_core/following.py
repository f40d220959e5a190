"""Follow the replica that leads: keep a lifecycle in line with what the journal's records add up to.

A lifecycle that stands by goes on by the clock, but begins no roll and fires no alarm. What the leader has recorded is
compared with what it reflects, and the difference is carried out by the machine's own transitions. So what it reflects
already changes nothing, and a record that was withdrawn leads back to where the others lead.
"""

from collections.abc import Callable, Mapping
from datetime import date
from itertools import chain

from session_lifecycle._core.data_watch import CLOSED
from session_lifecycle._core.machine import ENDED, ERROR, NOT_STARTED
from session_lifecycle._core.progress import Progress
from session_lifecycle._core.restore import LOST, keep_open, recorded_session, restore_roll, restored_halts
from session_lifecycle._core.rolls import Rolls, skipped_between, stays_open
from session_lifecycle._core.schedule_change import Change, hours_on, recorded_change
from session_lifecycle._journal.records import Entry, JournalState, Record
from session_lifecycle._model.clock import Reading
from session_lifecycle._model.errors import OverrideRefused, ScheduleExhausted
from session_lifecycle._model.journal_events import OverrideLost, RollFollowed
from session_lifecycle._model.session import Session
from session_lifecycle._schedules.base import Schedule


class Follower:
    """Keeps one lifecycle in line with its journal.

    Args:
        progress: the lifecycle's.
        rolls: the lifecycle's.
        given: the schedule as the application has given it, without changes.
        change_schedule: carries out a change of hours.
        known: what the lifecycle reflects so far, None where the journal had no record.
    """

    __slots__ = ("_change_schedule", "_given", "_known", "_progress", "_rolls")

    def __init__(
        self,
        progress: Progress,
        rolls: Rolls,
        given: Schedule,
        change_schedule: Callable[[Change, Reading], None],
        known: JournalState | None,
    ) -> None:
        self._progress = progress
        self._rolls = rolls
        self._given = given
        self._change_schedule = change_schedule
        self._known = known

    def follow(self, journal_state: JournalState, record: Record | None, now: Reading, term: int) -> None:
        """Bring the lifecycle in line with a journal whose last record is `record`, where that is known.

        Raises:
            NotASession: the schedule has lost a session whose hours the journal does not hold.
        """
        known, self._known = self._known, journal_state
        if known is None or known.changes != journal_state.changes:
            self._follow_hours(journal_state, known, now)
        if self._progress.session.date != journal_state.session:
            self._enter(journal_state, now, term)
        restore_roll(journal_state, self._progress.session, self._rolls)
        self._follow_state(journal_state, record, now)
        self._follow_halts(journal_state, now)

    def _follow_hours(self, journal_state: JournalState, known: JournalState | None, now: Reading) -> None:
        wanted: dict[date, Session | None] = {}
        for change in () if known is None else known.changes:
            if journal_state.session <= change.day:
                wanted[change.day] = hours_on(self._given, change.day)  # unless that change holds
        wanted.update(journal_state.changes)
        progress = self._progress
        for day, session in wanted.items():
            try:
                recorded = recorded_change(day, session, progress, now)
            except (OverrideRefused, ScheduleExhausted) as error:
                here = progress.session.date
                progress.emit(OverrideLost(day, session, here, str(error), now.wall, name=progress.name))
                continue
            if recorded is None:
                continue
            if session is None or day != progress.session.date:
                self._change_schedule(recorded, now)
                if progress.called_off is None:  # where it has ended here, too
                    progress.adopt_hours(progress.session, progress.timeline.boundaries(progress.session))
            else:
                progress.called_off = None  # its closure was withdrawn
                if progress.clock_state.on_break and session.close <= now.wall:  # that break has no end any more
                    progress.fire("close_market", now.wall, recorded.why)
                crossed = _crossed(progress, now)
                progress.adopt_hours(session, recorded.timeline.boundaries(session))  # where it has ended here, too
                self._change_schedule(recorded, now)
                if _crossed(progress, now) < crossed and not progress.ended and progress.state is not ERROR:
                    progress.fire("fail", now.wall, "what has passed here is still to come for the leader")

    def _enter(self, journal_state: JournalState, now: Reading, term: int) -> None:
        """Enter the session that the leader is in: from any state, by way of ENDED."""
        progress = self._progress
        session, lost = recorded_session(journal_state, progress.timeline.schedule)
        bounds = progress.timeline.boundaries(session)
        schedule, ended = progress.timeline.schedule, progress.session
        left = ended.date
        skipped = skipped_between(schedule, left, session.date)
        if progress.state is ERROR:
            progress.fire("recover", now.wall, roll_owed=True)
        progress.finish(now.wall, "the leader has rolled")
        followed = RollFollowed(left, session.date, term, skipped, now.wall, name=progress.name)
        stayed_open = not lost and stays_open(schedule, ended, session, skipped)
        progress.enter(session, bounds, followed, stayed_open=stayed_open)
        if lost:
            progress.call_off(LOST)
        progress.catching_up = progress.catching_up or progress.position.state is not NOT_STARTED

    def _follow_state(self, journal_state: JournalState, record: Record | None, now: Reading) -> None:
        """Follow the end of the session, and ERROR."""
        progress = self._progress
        withdrawn = progress.ended and not journal_state.ended and now.wall < progress.bounds.end
        if withdrawn and progress.state is ENDED:
            progress.fire("fail", now.wall, "the session has ended here, and goes on for the leader")
        if withdrawn or journal_state.ended:
            progress.ended = journal_state.ended or progress.state is ENDED
        if journal_state.error is not None:
            if progress.state is not ERROR:
                progress.fire("fail", now.wall, journal_state.error)
            progress.reason = journal_state.error
            return
        if progress.state is ERROR:
            progress.catching_up = True
            owed = progress.ended or now.wall >= progress.bounds.end
            progress.fire("recover", now.wall, roll_owed=owed)
        if journal_state.ended:
            ended = record is not None and record.entry is Entry.ENDED
            progress.finish(now.wall, record.note if ended and record is not None else "the leader has ended it")

    def _follow_halts(self, journal_state: JournalState, now: Reading) -> None:
        progress = self._progress
        halts: Mapping[str, str] = journal_state.halts
        if progress.ended or progress.state in CLOSED:
            if journal_state.closed:
                progress.close()
            keep_open(journal_state, progress, now)
            halts = restored_halts(journal_state, progress.session, progress.timeline, now)
            if progress.state is ERROR and not halts:  # ended in ERROR, without a close that lifts them
                for lifted in progress.data.lift_halts(progress.clock_state, progress.session.date):
                    progress.emit(lifted)
            if progress.clock_state.carried is None:
                return  # none outlasts the close
        registered = () if progress.data.feeds is None else tuple(progress.data.feeds.all)
        progress.data.absent_halts = {
            name: reason for name, reason in halts.items() if name and all(name != feed.name for feed in registered)
        }
        for feed in (None, *registered):
            reason = halts.get("" if feed is None else feed.name)
            was = progress.data.halted if feed is None else feed.halted
            if was is not None and was != reason:
                progress.resume(feed)
            if reason is not None and was != reason:
                progress.halt(reason, feed)


def _crossed(progress: Progress, now: Reading) -> int:
    """Return how many instants of the session have passed, by its hours."""
    instants = (*progress.bounds, *chain.from_iterable(progress.session.breaks))
    return sum(instant <= now.wall for instant in instants)
