"""The records that survive a restart: a short history of the rolls, written before the action that it records.

A session is recorded by its date. Times are for people to read. The hours of the session that is entered are recorded
in case the calendar loses that session later.
"""

from collections.abc import Iterable
from datetime import date, datetime
from enum import Enum, unique

import msgspec
from msgspec.structs import replace

from session_lifecycle._journal.errors import (
    JournalMismatch,
)
from session_lifecycle._model.session import Session


@unique
class Entry(Enum):
    """The kind of a journal's record."""

    __module__ = "session_lifecycle"

    ADOPTED = "adopted"
    """The application is in `session`. This is the first record of a journal."""

    ENDED = "ended"
    """`session` was ended by `end_session()`."""

    INTENT = "intent"
    """The roll from `session` to `target` is about to be awaited. From now on it may have happened."""

    DONE = "done"
    """The roll has completed, or was marked as done: the application is in `target`."""

    SKIPPED = "skipped"
    """The roll to `target` was abandoned by `recover(Resolution.SKIP)`. The next roll goes to a later session."""

    FAILED = "failed"
    """The state became ERROR, for the reason in `note`."""

    RECOVERED = "recovered"
    """ERROR was left by `recover()`."""


class Record(msgspec.Struct, frozen=True):
    """One record of a journal. `at` is when it was written, by the wall clock, for people to read.

    `open` and `close` are the hours of the session that is entered: of `session` for ADOPTED, of `target` for INTENT.
    """

    __module__ = "session_lifecycle"

    entry: Entry
    session: date
    at: datetime
    target: date | None = None
    skipped: tuple[date, ...] = ()
    open: datetime | None = None
    close: datetime | None = None
    note: str = ""


class JournalState(msgspec.Struct, frozen=True):
    """The state that the records add up to: the application's session, and the roll or recovery that is owed.

    With `ended`, the session was ended by `end_session()` or its roll was begun. `intent` is the roll that may or may
    not have happened. `abandoned_target` is the last session whose roll was abandoned: the next roll goes past it.
    `error` is the reason of an ERROR without a recovery.
    """

    session: date
    open: datetime | None = None
    close: datetime | None = None
    ended: bool = False
    intent: Record | None = None
    abandoned_target: date | None = None
    error: str | None = None

    def after(self, record: Record) -> "JournalState":  # noqa: PLR0911 -- one return for each kind of record
        """Return the state after one more record.

        Raises:
            ValueError: the record does not follow from the state; the message says how.
        """
        if record.session != self.session and record.entry is not Entry.ADOPTED:
            msg = f"{record.entry.value} for session {record.session}, while the session is {self.session}"
            raise ValueError(msg)
        match record.entry:
            case Entry.ADOPTED:
                return JournalState(record.session, record.open, record.close)
            case Entry.ENDED:
                return replace(self, ended=True)
            case Entry.INTENT:
                return replace(self, ended=True, intent=record)
            case Entry.DONE:
                intent = self.intent
                if record.target is None or (intent is not None and intent.target != record.target):
                    msg = f"done to {record.target} does not match the intent {intent and intent.target}"
                    raise ValueError(msg)
                hours = record if intent is None else intent
                return JournalState(record.target, hours.open, hours.close)
            case Entry.SKIPPED:
                return replace(self, ended=True, intent=None, abandoned_target=record.target, error=None)
            case Entry.FAILED:
                return replace(self, error=record.note)
            case Entry.RECOVERED:
                return replace(self, error=None)

    def records(self, at: datetime) -> tuple[Record, ...]:
        """Return the shortest journal that adds up to this state: what compaction keeps of the distant past."""
        kept = [Record(Entry.ADOPTED, self.session, at, open=self.open, close=self.close)]
        if self.abandoned_target is not None:
            kept.append(Record(Entry.SKIPPED, self.session, at, self.abandoned_target))
        elif self.ended and self.intent is None:
            kept.append(Record(Entry.ENDED, self.session, at))
        if self.intent is not None:
            kept.append(self.intent)
        if self.error is not None:
            kept.append(Record(Entry.FAILED, self.session, at, note=self.error))
        return tuple(kept)


def journal_state_after(records: Iterable[Record]) -> JournalState | None:
    """Return the state that the records add up to, None without records.

    Raises:
        ValueError: a record does not follow from those before it, or the first is not ADOPTED.
    """
    journal_state: JournalState | None = None
    for record in records:
        if journal_state is None:
            if record.entry is not Entry.ADOPTED:
                msg = f"the first record is {record.entry.value}, not {Entry.ADOPTED.value}"
                raise ValueError(msg)
            journal_state = JournalState(record.session)
        journal_state = journal_state.after(record)
    return journal_state


def adoption(session: Session, at: datetime) -> Record:
    """Return the first record of a journal: the application is in `session`."""
    return Record(Entry.ADOPTED, session.date, at, open=session.open, close=session.close)


def intent(ended: Session, target: Session, skipped: tuple[date, ...], at: datetime) -> Record:
    """Return the record that is written before the first attempt at a roll."""
    return Record(Entry.INTENT, ended.date, at, target.date, skipped, target.open, target.close)


def completion(journal_state: JournalState, session: date | None, at: datetime) -> Record | None:
    """Return the record that brings the journal to the session that the application passed as `session=`.

    None where the two agree, or without `session=`. An application in the target of the open intent has completed that
    roll.

    Raises:
        JournalMismatch: the two contradict each other.
    """
    if session is None or session == journal_state.session:
        return None
    if journal_state.intent is None or session != journal_state.intent.target:
        raise JournalMismatch("the session", journal_state.session, session)
    return Record(Entry.DONE, journal_state.session, at, session, note="by session=")
