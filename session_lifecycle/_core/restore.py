"""Restore a lifecycle from the journal of an earlier run."""

from datetime import date, datetime
from typing import Final

from session_lifecycle._core.machine import ENDED, ERROR
from session_lifecycle._core.progress import Progress
from session_lifecycle._core.rolls import RollRound, Rolls
from session_lifecycle._journal.records import JournalState
from session_lifecycle._model.errors import NotASession
from session_lifecycle._model.session import Session
from session_lifecycle._schedules.base import Schedule

LOST: Final = "the schedule has no such session any more"
"""Why a session of the journal is called off that the schedule has lost since."""


def restore(journal_state: JournalState, progress: Progress, rolls: Rolls) -> tuple[Session, bool]:
    """Adopt the state, and the roll that was begun. Return the session, and whether the schedule has lost it since.

    Raises:
        NotASession: the schedule has lost a session whose hours the journal does not hold.
    """
    schedule = progress.timeline.schedule
    session, lost = _remembered(schedule, journal_state.session, journal_state.open, journal_state.close)
    progress.ended = journal_state.ended
    rolls.abandoned_target = journal_state.abandoned_target
    intent = journal_state.intent
    if intent is not None and intent.target is not None:
        target, gone = _remembered(schedule, intent.target, intent.open, intent.close)
        rolls.unfinished = RollRound.resumed_from(session, target, progress.timeline)
        rolls.unfinished.called_off = LOST if gone else None
    if journal_state.error is not None:
        progress.restore(ERROR, journal_state.error)
    elif journal_state.ended:
        progress.restore(ENDED, None)
    return session, lost


def _remembered(
    schedule: Schedule, day: date, opened: datetime | None, closed: datetime | None
) -> tuple[Session, bool]:
    """Return a session of the journal, with the journal's hours where the schedule has lost it since."""
    try:
        return schedule.session_on(day), False
    except NotASession:
        if opened is None or closed is None:
            raise
        return Session(day, opened, closed), True
