"""The journal port. Its calls are awaited by the manager's ledger, in a task that runs no code of the application."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date, timedelta
from typing import Any, Protocol, runtime_checkable

from session_lifecycle._journal.records import Record


@runtime_checkable
class Journal(Protocol):
    """A durable list of records. One manager holds a journal at a time."""

    async def open(self, calendar: str) -> tuple[Record, ...]:
        """Acquire the journal of this calendar, and return its records in the order of `seq`; a new one has none.

        Raises:
            JournalLocked: another manager holds it.
            JournalMismatch: it is another calendar's, or of an unknown version.
            JournalCorrupt: it is damaged.
            JournalUnavailable: it cannot be opened, created or read.
        """
        ...

    async def append(self, records: Sequence[Record]) -> None:
        """Append records, in the order of their `seq`: all or none. They are durable when this returns.

        A record whose `seq` the journal holds already counts as appended, so an append may be repeated. A call that is
        cancelled, takes too long, or raises anything but what is named here is in doubt: the same records come again.

        Raises:
            JournalWriteFailed: none of them is in the journal; or it is in doubt for good, where it is `uncertain`.
            NotLeadingError: another replica leads. None of them is in the journal.
        """
        ...

    async def close(self) -> None:
        """Release the journal. A second call has no effect."""
        ...


@runtime_checkable
class SharedJournal(Journal, Protocol):
    """A journal that several replicas have open, of which one at a time leads and may append.

    `open` does not wait: where another replica leads, it returns the records so far, and `leads` is False.
    """

    @property
    def leads(self) -> bool:
        """Whether this replica leads; False too once it cannot know. Does no I/O."""
        ...

    @property
    def term(self) -> int:
        """The term of the present leader, as far as it is known here; each change of leader begins a new one."""
        ...

    @property
    def skew(self) -> timedelta | None:
        """The server's time minus this machine's, as last measured; None where it is not known. Does no I/O."""
        ...

    async def keep(self) -> str | None:
        """Wait until the lead is to be renewed, and renew it; return None then, to be called again.

        Return the reason instead once this replica does not lead any more.
        """
        ...

    async def follow(self) -> tuple[Record, ...]:
        """Wait for records of the leader that have not been returned yet, or until this replica leads itself.

        The records are returned in the order of `seq`; none where nothing was missed before the lead was gained.
        What it raises is logged, and it is called again.
        """
        ...


@runtime_checkable
class TransactionalJournal(Journal, Protocol):
    """A journal in the application's own database, so that a roll's writes and its *done* commit together."""

    def transaction(self, session: date, done: Callable[[], Record]) -> AbstractAsyncContextManager[Any]:
        """Open a transaction for the writes of the roll from `session`; its value is what the application writes with.

        The value is None where *done* of that session is in the journal already. `done` is called at the end of the
        block; its record is appended as the last statement, and committed with the application's writes, or neither.
        An exception of the block rolls back, and propagates.

        Raises:
            JournalWriteFailed: neither is in the database; or that is not known, where it is `uncertain`.
            NotLeadingError: another replica leads. Neither is in the database.
        """
        ...

    async def find_done(self, session: date) -> Record | None:
        """Return the record *done* of the roll from `session`; None where the journal does not hold it.

        Raises:
            JournalUnavailable: it cannot be read.
        """
        ...


for _port in (Journal, SharedJournal, TransactionalJournal):
    _port.__module__ = "session_lifecycle"
