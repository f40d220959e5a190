"""A journal in memory that fails when told to, and that outlasts the crashes of those who write in it."""

from collections.abc import Callable

from session_lifecycle import JournalLocked, JournalWriteFailed, Record
from session_lifecycle._journal.records import journal_state_after

MOST, KEPT = 60, 20


class Crash(BaseException):
    """The process dies here. Nothing of it can be caught by what it was running."""


class TornJournal:
    """What is on the disk, and the record of a failed append that may or may not have come there.

    `strike` is asked at each append and answers "" for nothing, "fails", "in doubt" (it fails, but a crash before the
    next append finds the record on the disk), "lost" or "kept" (a crash in mid-append).
    """

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.in_doubt: Record | None = None
        self.held = False
        self.strike: Callable[[Record], str] = lambda _: ""
        self.wrote: Callable[[Record], None] = lambda _: None
        self.refused: Callable[[Record], None] = lambda _: None
        self.surfaced: Callable[[Record], None] = lambda _: None

    def open(self, calendar: str) -> tuple[Record, ...]:
        """Take hold of it, summing up the distant past as a file's journal does."""
        if self.held:
            journal = f"torn journal of {calendar}"
            raise JournalLocked(journal, None)
        self.held = True
        if len(self.records) > MOST:
            past = self.records[:-KEPT]
            journal_state = journal_state_after(past)
            assert journal_state is not None
            self.records[:-KEPT] = journal_state.records(past[-1].at)
        return tuple(self.records)

    def append(self, record: Record) -> None:
        """Add a record, unless struck."""
        how = self.strike(record)
        if how in ("fails", "in doubt"):
            if how == "in doubt":
                self.in_doubt = record
            self.refused(record)
            raise JournalWriteFailed("in memory", record.entry.value, "no space left on device")
        if how == "lost":
            raise Crash
        self.in_doubt = None
        self.records.append(record)
        if how == "kept":
            self.surfaced(record)
            raise Crash
        self.wrote(record)

    def close(self) -> None:
        """Let go of it."""
        self.held = False

    def crash(self) -> None:
        """Lose whoever holds it; a record in doubt turns out to have been written."""
        self.held = False
        if self.in_doubt is not None:
            self.records.append(self.in_doubt)
            self.surfaced(self.in_doubt)
            self.in_doubt = None
