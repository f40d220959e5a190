"""Restore a lifecycle from the journal of an earlier run, or of the replica that leads."""

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Final

from msgspec.structs import replace

from session_lifecycle._core.machine import ACTIVE, ENDED, ERROR
from session_lifecycle._core.progress import Progress
from session_lifecycle._core.rolls import RollRound, Rolls
from session_lifecycle._core.schedule_change import hours_on, with_session
from session_lifecycle._core.timeline import Timeline
from session_lifecycle._journal.records import JournalState
from session_lifecycle._model.clock import Reading
from session_lifecycle._model.errors import NotASession, OverrideRefused, ScheduleExhausted
from session_lifecycle._model.journal_events import AlarmInterrupted, OverrideLost
from session_lifecycle._model.session import Session
from session_lifecycle._schedules.base import Schedule

LOST: Final = "the schedule has no such session any more"
"""Why a session of the journal is called off that the schedule has lost since."""


def restore_hours(journal_state: JournalState, progress: Progress, rolls: Rolls, now: Reading) -> None:
    """Follow the hours that were changed by `apply()`. Those that are impossible now are emitted as `OverrideLost`."""
    schedule, lost = progress.timeline.schedule, dict[date, OverrideLost]()
    for day, session in journal_state.changes:
        lost.pop(day, None)
        try:
            if hours_on(schedule, day) != session:
                schedule = with_session(schedule, day, session)
        except (OverrideRefused, ScheduleExhausted) as error:
            lost[day] = OverrideLost(day, session, journal_state.session, str(error), now.wall, name=progress.name)
    for event in lost.values():
        progress.emit(event)
    if schedule is not progress.timeline.schedule:
        progress.timeline = rolls.timeline = Timeline(schedule, progress.config)


def restore(journal_state: JournalState, progress: Progress, rolls: Rolls) -> tuple[Session, bool]:
    """Adopt the state, and the roll that was begun. Return the session, and whether the schedule has lost it since.

    Raises:
        NotASession: the schedule has lost a session whose hours the journal does not hold.
    """
    session, lost = recorded_session(journal_state, progress.timeline.schedule)
    progress.ended = journal_state.ended
    restore_roll(journal_state, session, rolls)
    if journal_state.error is not None:
        progress.restore(ERROR, journal_state.error)
    elif journal_state.ended:
        progress.restore(ENDED, None)
    return session, lost


def restore_roll(journal_state: JournalState, session: Session, rolls: Rolls) -> None:
    """Adopt the roll from `session` that was begun, and the one that was abandoned."""
    rolls.abandoned_target = journal_state.abandoned_target
    intent, unfinished = journal_state.intent, rolls.unfinished
    if intent is None or intent.target is None:
        rolls.unfinished = None
    elif unfinished is None or (unfinished.ended.date, unfinished.target.date) != (intent.session, intent.target):
        target, gone = _recorded(rolls.timeline.schedule, intent.target, intent.open, intent.close)
        rolls.unfinished = RollRound.resumed_from(session, target, rolls.timeline)
        if gone:
            rolls.unfinished.called_off, rolls.unfinished.stayed_open = LOST, False


def restore_halts(journal_state: JournalState, progress: Progress, now: Reading) -> None:
    """Adopt the halts that last, and that the market is open where the session has ended and it has not closed."""
    keep_open(journal_state, progress, now)
    halts = restored_halts(journal_state, progress.session, progress.timeline, now)
    progress.data.restore_halts(halts, progress.clock_state)


def keep_open(journal_state: JournalState, progress: Progress, now: Reading) -> None:
    """Adopt that the market is open where the session has ended and it has not closed."""
    ended = journal_state.ended and progress.clock_state.carried is None
    if ended and _is_open(journal_state, progress.session, progress.timeline, now):
        progress.clock_state = replace(progress.clock_state, carried=ACTIVE)


def restored_halts(
    journal_state: JournalState, session: Session, timeline: Timeline, now: Reading
) -> Mapping[str, str]:
    """Return the halts that last: none outlasts the market's close. A session that is replayed ends them itself."""
    return journal_state.halts if _is_open(journal_state, session, timeline, now) else {}


def _is_open(journal_state: JournalState, session: Session, timeline: Timeline, now: Reading) -> bool:
    """Return whether the market has not closed: the session is on, or the next one opens at its very close."""
    if not journal_state.ended and (journal_state.error is None or now.wall < session.close):
        return True
    following = timeline.following(session)
    return following is not None and following.open == session.close and not journal_state.closed


def interrupted(journal_state: JournalState, now: Reading, name: str | None) -> Iterator[AlarmInterrupted]:
    """Yield the alarms that have begun and have not ended."""
    for (day, key), ended in journal_state.alarms.items():
        if not ended:
            yield AlarmInterrupted(key, day, now.wall, name=name)


def recorded_session(journal_state: JournalState, schedule: Schedule) -> tuple[Session, bool]:
    """Return the session of a journal, and whether the schedule has lost it: then it has the journal's hours.

    Raises:
        NotASession: the schedule has lost it, and the journal does not hold its hours.
    """
    return _recorded(schedule, journal_state.session, journal_state.open, journal_state.close)


def _recorded(schedule: Schedule, day: date, opened: datetime | None, closed: datetime | None) -> tuple[Session, bool]:
    try:
        return schedule.session_on(day), False
    except NotASession:
        if opened is None or closed is None:
            raise
        return Session(day, opened, closed), True
