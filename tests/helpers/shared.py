"""A journal in memory that another replica leads, or this one does, as the test says."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

import anyio
from msgspec.structs import replace

from session_lifecycle import MemoryJournal, NotLeadingError, Record


class SharedInMemory(MemoryJournal):
    """A journal of which this replica is one of several: `lose` and `gain` move the lead, `lead_elsewhere` records."""

    def __init__(self, records: Iterable[Record] = (), *, leads: bool = True, skew: timedelta | None = None) -> None:
        super().__init__()
        self.leads = leads
        self.term = 1
        self.skew = skew
        self._lost: str | None = None
        self._followed = 0
        self._changed = anyio.Event()
        self.lead_elsewhere(*records)

    def lose(self, reason: str) -> None:
        """Let another replica lead from now on."""
        self.leads, self._lost = False, reason
        self._followed = len(self.records)
        self._wake()

    def gain(self) -> None:
        """Let this replica lead from now on."""
        self.leads = True
        self.term += 1
        self._wake()

    def lead_elsewhere(self, *records: Record) -> None:
        """Append records as the replica that leads does."""
        self.records += [replace(record, seq=n) for n, record in enumerate(records, len(self.records) + 1)]
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def open(self, calendar: str) -> tuple[Record, ...]:
        records = await super().open(calendar)
        self._followed = len(records)
        return records

    async def append(self, records: Sequence[Record]) -> None:
        if not self.leads:
            raise NotLeadingError("append()", "in memory", self.term)
        await super().append(records)

    async def keep(self) -> str | None:
        while self._lost is None:
            await self._changed.wait()
        reason, self._lost = self._lost, None
        return reason

    async def follow(self) -> tuple[Record, ...]:
        while not self.leads and self._followed == len(self.records):
            await self._changed.wait()
        followed, self._followed = self.records[self._followed :], len(self.records)
        return tuple(followed)
