"""The journal port.

A journal is synchronous on purpose. There is no `await` between the return of the application's roll and its durable
*done*, where a native `task.cancel()`, which no shield stops, would separate the two.
"""

from typing import Protocol, runtime_checkable

from session_lifecycle._journal.records import Record


@runtime_checkable
class Journal(Protocol):
    """A durable list of records. One manager holds a journal at a time."""

    def open(self, calendar: str) -> tuple[Record, ...]:
        """Acquire the journal of this calendar, and return its records, oldest first; a new journal has none.

        Raises:
            JournalLocked: another manager holds it.
            JournalMismatch: it is another calendar's, or of an unknown version.
            JournalCorrupt: it is damaged.
        """
        ...

    def append(self, record: Record) -> None:
        """Append a record. It is durable when this returns; if this raises, it does not count.

        Raises:
            JournalWriteFailed: it could not be made durable.
        """
        ...

    def close(self) -> None:
        """Release the journal. A second call has no effect."""
        ...


Journal.__module__ = "session_lifecycle"
