"""What survives a restart: a short history of the rolls, written ahead of what it records.

Sessions are remembered by their label. Times are written for people to read, and the hours of the session that was
entered for the case that the calendar no longer has it.
"""

from collections.abc import Iterable
from datetime import date, datetime
from enum import Enum, unique

import msgspec
from msgspec.structs import replace

from session_lifecycle._model.errors import JournalMismatch
from session_lifecycle._model.session import Session


@unique
class Entry(Enum):
    """What a record of the journal says."""

    __module__ = "session_lifecycle"

    ADOPTED = "adopted"
    """The application is in `session`: where a journal begins."""

    ENDED = "ended"
    """`session` was ended by hand."""

    INTENT = "intent"
    """The roll from `session` to `target` is about to be awaited; from now on it may have happened."""

    DONE = "done"
    """The roll has completed, or a person says so: the application is in `target`."""

    SKIPPED = "skipped"
    """A person has given up the roll to `target`: the next one goes to a later session."""

    FAILED = "failed"
    """ERROR, for the reason in `note`."""

    RECOVERED = "recovered"
    """ERROR was left by a person's decision to go on."""


class Record(msgspec.Struct, frozen=True):
    """One line of the journal. `at` is when it was written, by the wall clock, for people to read.

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
    """What the records add up to: where the application is, and what is owed.

    `ended` tells that the session was ended by hand or its roll was begun. `intent` is the roll that may or may not
    have happened. `beyond` is the last session that a person gave up: the next roll goes past it. `error` is the reason
    of an ERROR that nobody has recovered from.
    """

    session: date
    open: datetime | None = None
    close: datetime | None = None
    ended: bool = False
    intent: Record | None = None
    abandoned_target: date | None = None
    error: str | None = None

    def after(self, record: Record) -> "JournalState":  # noqa: PLR0911 -- one return for each kind of record
        """Return the standing once `record` is added.

        Raises:
            ValueError: the record does not fit what came before; the message says how.
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
        """Return the shortest journal that adds up to this standing: what compaction keeps of the distant past."""
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
    """Return what the records add up to, None where there are none.

    Raises:
        ValueError: a record does not fit what came before, or the first is not ADOPTED.
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
    """Return the record that goes before the first attempt at a roll."""
    return Record(Entry.INTENT, ended.date, at, target.date, skipped, target.open, target.close)


def completion(journal_state: JournalState, session: date | None, at: datetime) -> Record | None:
    """Return the record that makes the standing agree with the session that the application says it is in.

    None where it agrees already, or where the application says nothing. An application in the target of the open intent
    has completed that roll.

    Raises:
        JournalMismatch: the two contradict each other.
    """
    if session is None or session == journal_state.session:
        return None
    if journal_state.intent is None or session != journal_state.intent.target:
        raise JournalMismatch("the session", journal_state.session, session)
    return Record(Entry.DONE, journal_state.session, at, session, note="by session=")
