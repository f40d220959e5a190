"""A journal in memory, without durability."""

from collections.abc import Sequence

from session_lifecycle._journal.errors import JournalLocked, JournalMismatch, JournalWriteFailed
from session_lifecycle._journal.records import Record
from session_lifecycle._model.uncopyable import Uncopyable


class MemoryJournal(Uncopyable):
    """A journal that lives as long as the process: for tests, and for restarting a manager within one process."""

    __module__ = "session_lifecycle"

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._calendar: str | None = None
        self._held = False

    async def open(self, calendar: str) -> tuple[Record, ...]:
        """Acquire the journal, and return its records."""
        if self._held:
            raise JournalLocked("in memory", None)
        if self._calendar not in (None, calendar):
            raise JournalMismatch("the calendar", self._calendar, calendar)
        self._calendar = calendar
        self._held = True
        return tuple(sorted(self.records, key=lambda record: record.seq))

    async def append(self, records: Sequence[Record]) -> None:
        """Append records; those whose `seq` it holds already count as appended."""
        if not self._held:
            raise JournalWriteFailed("in memory", _names(records), "the journal is not open")
        last = self.records[-1].seq if self.records else 0
        held = {record.seq for record in self.records} if any(record.seq <= last for record in records) else set[int]()
        self.records.extend([record for record in records if record.seq not in held])

    async def close(self) -> None:
        """Release the journal."""
        self._held = False


def _names(records: Sequence[Record]) -> str:
    return ", ".join(record.entry.value for record in records)
