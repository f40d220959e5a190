"""A journal in memory with transactions, for tests of the roll's own: a database of one table of the application's."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import date

import anyio

from session_lifecycle import Entry, JournalWriteFailed, MemoryJournal, Record


class Writes:
    """What the application writes with; what it has written counts once the transaction has committed."""

    def __init__(self) -> None:
        self.rows: list[object] = []

    def write(self, row: object) -> None:
        """Write a row."""
        self.rows.append(row)


class Transactional(MemoryJournal):
    """A journal beside the application's `books`: both are behind one lock, and a transaction commits both or neither.

    `locking` is awaited before a transaction has the lock, `committing` before it commits. With `failure`, that is
    raised in place of the commit; with `lost_answer`, after it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.books: list[object] = []
        self.lock = anyio.Lock()
        self.trace: list[str] = []
        self.locking: Callable[[], object] | None = None
        self.committing: Callable[[], object] | None = None
        self.failure: Exception | None = None
        self.lost_answer: Exception | None = None

    @property
    def written(self) -> list[Entry]:
        """The entries that it holds."""
        return [record.entry for record in self.records]

    async def append(self, records: Sequence[Record]) -> None:
        async with self.lock:
            await super().append(records)
            self.trace.extend(record.entry.value for record in records)

    async def find_done(self, session: date) -> Record | None:
        """Return *done* of a session."""
        await anyio.sleep(0.001)
        return self._done(session)

    def _done(self, session: date) -> Record | None:
        found = (record for record in self.records if record.entry is Entry.DONE and record.session == session)
        return next(found, None)

    @asynccontextmanager
    async def transaction(self, session: date, done: Callable[[], Record]) -> AsyncGenerator[Writes | None]:
        """Open a transaction."""
        if self.locking is not None:
            await self.locking()
        async with self.lock:
            if self._done(session) is not None:
                yield None
                return
            self.trace.append("begin")
            writes = Writes()
            try:
                yield writes
            except BaseException:
                self.trace.append("rollback")
                raise
            record = done()
            if self.committing is not None:
                await self.committing()
            if self.failure is not None:
                self.trace.append("rollback")
                raise self.failure
            await super().append([record])
            self.books.extend(writes.rows)
            self.trace.append("commit")
            if self.lost_answer is not None:
                raise self.lost_answer


def refusal(*, uncertain: bool = False) -> JournalWriteFailed:
    """Return the error of a commit that has failed, or whose answer was lost."""
    return JournalWriteFailed("in memory", "done", "no space left", uncertain=uncertain)
