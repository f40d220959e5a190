"""The port to a journal.

A journal is synchronous on purpose. Between the return of the application's roll and its durable *done* there is no
`await`, since a native `task.cancel()` breaks through every shield and would come exactly there.
"""

from typing import Protocol, runtime_checkable

from session_lifecycle._journal.records import Record


@runtime_checkable
class Journal(Protocol):
    """Where records are kept. One manager holds a journal at a time."""

    def open(self, calendar: str) -> tuple[Record, ...]:
        """Take hold of the journal of this calendar, and return its records, oldest first; none where it is new.

        Raises:
            JournalLocked: somebody else holds it.
            JournalMismatch: it is another calendar's, or of a version that is not known.
            JournalCorrupt: it has been damaged.
        """
        ...

    def append(self, record: Record) -> None:
        """Add a record. It is durable when this returns; where this raises, it does not count.

        Raises:
            JournalWriteFailed: it could not be made durable.
        """
        ...

    def close(self) -> None:
        """Let go of the journal. A second call does nothing."""
        ...


Journal.__module__ = "session_lifecycle"
