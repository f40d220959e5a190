"""The records that survive a restart: a short history of rolls and decisions.

A session is recorded by its date. Times are for people to read. The hours of the session that is entered are recorded
in case the calendar loses that session later.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from enum import Enum, unique
from typing import Final, NamedTuple, Self

import msgspec
from msgspec.structs import replace

from session_lifecycle._journal.errors import (
    JournalMismatch,
)
from session_lifecycle._model.clock import as_utc
from session_lifecycle._model.plain import Plain, struct_as_dict
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

    HALTED = "halted"
    """Trading was halted by `halt()`, for the reason in `note`; with a `subject`, the feed of that name was."""

    RESUMED = "resumed"
    """The halt was ended by `resume()`; with a `subject`, that of the feed of that name."""

    CHANGED = "changed"
    """The hours of the date `target` were changed by `apply()`: `note` is the session as JSON, or null for none."""

    ALARM_BEGUN = "alarm_begun"
    """The alarm `subject` of `session` fires: its handlers are about to be called."""

    ALARM_ENDED = "alarm_ended"
    """The handlers of the alarm `subject` of `session` have returned."""

    WITHDRAWN = "withdrawn"
    """The record whose `seq` is the `subject` does not count: by the time it was durable, it was too late for it."""


class Record(msgspec.Struct, frozen=True):
    """One record of a journal. `at` is when it was written, by the wall clock, for people to read.

    `open` and `close` are the hours of the session that is entered: of `session` for ADOPTED, of `target` for INTENT.
    `seq` is the manager's own count, ascending and above zero in a journal, with gaps where a record was not written.
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
    subject: str = ""
    seq: int = 0

    def as_dict(self) -> dict[str, Plain]:
        """Return the record as plain JSON values: dates and instants are ISO 8601, instants in UTC."""
        return struct_as_dict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, object]) -> Self:
        """Return the record that `as_dict` has made plain.

        Raises:
            ValueError: a field is missing, unknown, or not of its kind; an instant has no time zone.
        """
        unknown = content.keys() - set(cls.__struct_fields__)
        if unknown:
            msg = f"a record has no field {', '.join(sorted(map(str, unknown)))}"
            raise ValueError(msg)
        record = msgspec.convert(content, cls)  # its ValidationError is a ValueError
        as_utc("at", record.at)
        for name in ("open", "close"):
            instant: datetime | None = getattr(record, name)
            if instant is not None:
                as_utc(name, instant)
        return record


class ChangedHours(NamedTuple):
    """Hours that `apply()` has changed: the session of a date from then on, None for no session."""

    day: date
    session: Session | None


class JournalState(msgspec.Struct, frozen=True):
    """The state that the records add up to: the application's session, and the roll or recovery that is owed.

    With `ended`, the session was ended by `end_session()` or its roll was begun. `intent` is the roll that may or may
    not have happened. `abandoned_target` is the last session whose roll was abandoned: the next roll goes past it.
    `error` is the reason of an ERROR without a recovery. `halts` are the reasons of the halts that last, by feed; the
    key "" is the manager's own. `changes` are the changed hours, in the order in which they were applied, and `alarms`
    those that have fired, with the date of their session, and whether they have ended. `skipped` are the sessions that
    rolls have skipped. All three go back two weeks. With `stayed_open`, the market has not closed since the session
    before. With `closed`, the application has ended the session, or called it off: the market has closed, even where
    the next session opens at the very close.
    """

    session: date
    open: datetime | None = None
    close: datetime | None = None
    ended: bool = False
    intent: Record | None = None
    abandoned_target: date | None = None
    error: str | None = None
    halts: dict[str, str] = {}
    changes: tuple[ChangedHours, ...] = ()
    alarms: dict[tuple[date, str], bool] = {}
    skipped: tuple[date, ...] = ()
    stayed_open: bool = False
    closed: bool = False

    def after(self, record: Record) -> "JournalState":  # noqa: C901, PLR0911, PLR0912 -- one return for each kind of record
        """Return the state after one more record.

        Raises:
            ValueError: the record does not follow from the state; the message says how.
        """
        entry = record.entry
        if record.session != self.session and entry in _OF_THE_SESSION:
            msg = f"{entry.value} for session {record.session}, while the session is {self.session}"
            raise ValueError(msg)
        match entry:
            case Entry.ADOPTED:
                return self._in(record.session, record.open, record.close)
            case Entry.ENDED:
                return replace(self, ended=True, closed=True)
            case Entry.INTENT:
                return replace(self, ended=True, intent=record)
            case Entry.DONE:
                return self._entered(record)
            case Entry.SKIPPED:
                return replace(self, ended=True, intent=None, abandoned_target=record.target, error=None)
            case Entry.FAILED:
                return replace(self, error=record.note)
            case Entry.RECOVERED:
                return replace(self, error=None)
            case Entry.HALTED:
                if record.session != self.session and not self.stayed_open:
                    return self  # it has ended with its session, whose roll was being written as it began
                return replace(self, halts={**self.halts, record.subject: record.note})
            case Entry.RESUMED:
                return replace(self, halts={k: v for k, v in self.halts.items() if k != record.subject})
            case Entry.CHANGED:
                return self._changed(changed_hours(record))
            case Entry.ALARM_BEGUN | Entry.ALARM_ENDED:
                key = record.session, record.subject
                return replace(self, alarms={**self.alarms, key: entry is Entry.ALARM_ENDED})
            case Entry.WITHDRAWN:
                return self

    def _entered(self, record: Record) -> "JournalState":
        """Return the state in which the roll to `record.target` is done."""
        intent, target = self.intent, record.target
        if target is None or (intent is not None and intent.target != target):
            msg = f"done to {target} does not match the intent {intent and intent.target}"
            raise ValueError(msg)
        hours = record if intent is None else intent
        entered = self._in(target, hours.open, hours.close, hours.skipped)
        # Where the next session opens as this one closes, the market has not closed, and a halt goes on.
        abut = self.close is not None and self.close == entered.open
        stayed_open = abut and not self.closed and not entered.closed
        return replace(entered, halts=self.halts, stayed_open=True) if stayed_open else entered

    def _in(
        self, session: date, opened: datetime | None, closed: datetime | None, skipped: tuple[date, ...] = ()
    ) -> "JournalState":
        """Return the state at the start of another session; its hours may have been changed since they were noted."""
        changes = tuple(change for change in self.changes if change.day > session - _KEPT)
        called_off = False
        for day, changed_session in changes:
            if day == session:
                called_off = changed_session is None
                if changed_session is not None:
                    opened, closed = changed_session.open, changed_session.close
        alarms = {key: ended for key, ended in self.alarms.items() if key[0] > session - _KEPT}
        skipped = tuple(day for day in (*self.skipped, *skipped) if day > session - _KEPT)
        return JournalState(session, opened, closed, changes=changes, alarms=alarms, skipped=skipped, closed=called_off)

    def _changed(self, change: ChangedHours) -> "JournalState":
        """Return the state with the hours of a date changed."""
        changes = (*self.changes, change)
        if change.day != self.session:
            return replace(self, changes=changes)
        if change.session is None:
            return replace(self, changes=changes, closed=True)
        return replace(self, changes=changes, open=change.session.open, close=change.session.close)


_OF_THE_SESSION: Final = frozenset({Entry.ENDED, Entry.INTENT, Entry.DONE, Entry.SKIPPED})
"""The entries that are legal for the present session only."""

_KEPT: Final = timedelta(days=15)
"""No alarm fires this long after its session (seven days at most, and a week of holidays), nor is that the present."""


def journal_state_after(records: Iterable[Record]) -> JournalState | None:
    """Return the state that the records add up to, None without records.

    Raises:
        ValueError: a record does not follow from those before it, or the first is not ADOPTED.
    """
    records = tuple(records)
    withdrawn = {record.subject for record in records if record.entry is Entry.WITHDRAWN}
    return folded(None, (record for record in records if not record.seq or str(record.seq) not in withdrawn))


def folded(journal_state: JournalState | None, records: Iterable[Record]) -> JournalState | None:
    """Return the state after more records, none of which is withdrawn; None where there is none at all.

    Raises:
        ValueError: a record does not follow from those before it, or the first is not ADOPTED.
    """
    for record in records:
        if journal_state is None:
            if record.entry is not Entry.ADOPTED:
                msg = f"the first record is {record.entry.value}, not {Entry.ADOPTED.value}"
                raise ValueError(msg)
            journal_state = JournalState(record.session)
        journal_state = journal_state.after(record)
    return journal_state


def changed(day: date, session: Session | None, present: date, at: datetime) -> Record:
    """Return the record of changed hours: from now on `day` has this session, or None. `present` is the machine's."""
    return Record(Entry.CHANGED, present, at, day, note=msgspec.json.encode(session).decode())


def changed_hours(record: Record) -> ChangedHours:
    """Return the changed hours that a record of `changed` holds.

    Raises:
        ValueError: it holds none.
    """
    if record.target is None:
        msg = "changed hours without a date"
        raise ValueError(msg)
    return ChangedHours(record.target, msgspec.json.decode(record.note, type=Session | None))


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
