"""A journal in memory, without durability."""

from session_lifecycle._journal.errors import (
    JournalLocked,
    JournalMismatch,
    JournalWriteFailed,
)
from session_lifecycle._journal.records import Record


class MemoryJournal:
    """A journal that lives as long as the process: for tests, and for restarting a manager within one process."""

    __module__ = "session_lifecycle"

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._calendar: str | None = None
        self._held = False

    def open(self, calendar: str) -> tuple[Record, ...]:
        """Acquire the journal, and return its records."""
        if self._held:
            raise JournalLocked("in memory", None)
        if self._calendar not in (None, calendar):
            raise JournalMismatch("the calendar", self._calendar, calendar)
        self._calendar = calendar
        self._held = True
        return tuple(self.records)

    def append(self, record: Record) -> None:
        """Append a record."""
        if not self._held:
            raise JournalWriteFailed("in memory", record.entry.value, "the journal is not open")
        self.records.append(record)

    def close(self) -> None:
        """Release the journal."""
        self._held = False
