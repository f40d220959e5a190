"""`check_journal`: every rule of a journal that is broken is named."""

from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio.lowlevel
import pytest
from msgspec.structs import replace

from session_lifecycle import Entry, JournalLocked, JournalMismatch, JournalWriteFailed, MemoryJournal, Record
from session_lifecycle.testing.journals import check_journal
from tests.helpers.journals import rolls

pytestmark = pytest.mark.anyio


async def broken(journal: MemoryJournal) -> str:
    """Return the rule that a journal breaks."""
    with pytest.raises(AssertionError) as caught:
        await check_journal(lambda: journal)
    return str(caught.value)


class Sound(MemoryJournal):
    """A journal in memory with transactions: one may be open at a time, and appends wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = anyio.Lock()

    async def append(self, records: Sequence[Record]) -> None:
        async with self.lock:
            await super().append(records)

    async def find_done(self, session: object) -> Record | None:
        return next((each for each in self.records if each.entry is Entry.DONE and each.session == session), None)

    @asynccontextmanager
    async def transaction(self, session: object, done: Callable[[], Record]) -> Any:
        async with self.lock:
            if await self.find_done(session) is not None:
                yield None
                return
            yield self
            await MemoryJournal.append(self, (done(),))


async def test_a_sound_journal_passes() -> None:
    """With transactions and without, and under another calendar's name."""
    for make in (MemoryJournal, Sound):
        journal = make()
        await check_journal(lambda journal=journal: journal, calendar="XLON")
        assert len(journal.records) > 25
        assert {record.entry for record in journal.records} == set(Entry)


async def test_a_journal_that_is_not_new_is_refused() -> None:
    """The check writes to the journal, and knows what must be in it."""
    journal = MemoryJournal()
    journal.records.extend(rolls(0))
    assert "a journal without records returns none: 1 records are there, not 0" in await broken(journal)


class Forgetful(MemoryJournal):
    async def append(self, records: Sequence[Record]) -> None:
        await super().append(record for record in records if record.entry is not Entry.ALARM_ENDED)


class Shortening(MemoryJournal):
    async def append(self, records: Sequence[Record]) -> None:
        await super().append([replace(record, note=record.note[:1_000]) for record in records])


class Doubling(MemoryJournal):
    async def append(self, records: Sequence[Record]) -> None:
        self.records.extend(records)


class Skipping(MemoryJournal):
    """Takes a batch for appended where its first record is."""

    async def append(self, records: Sequence[Record]) -> None:
        if records[0] not in self.records:
            await super().append(records)


class Unordered(MemoryJournal):
    async def open(self, calendar: str) -> tuple[Record, ...]:
        return tuple(reversed(await super().open(calendar)))


class InParts(MemoryJournal):
    async def append(self, records: Sequence[Record]) -> None:
        for record in records:
            await super().append([record])
            await anyio.lowlevel.checkpoint()


class Shared(MemoryJournal):
    async def open(self, calendar: str) -> tuple[Record, ...]:
        self._held = False
        return await super().open(calendar)


class Anybodys(MemoryJournal):
    async def open(self, calendar: str) -> tuple[Record, ...]:
        self._calendar = calendar
        return await super().open(calendar)


class HeldByMistake(MemoryJournal):
    async def open(self, calendar: str) -> tuple[Record, ...]:
        try:
            return await super().open(calendar)
        except JournalMismatch:
            self._held = True
            raise


class AlwaysOpen(MemoryJournal):
    async def append(self, records: Sequence[Record]) -> None:
        held, self._held = self._held, True
        await super().append(records)
        self._held = held


class Leaking(MemoryJournal):
    async def open(self, calendar: str) -> tuple[Record, ...]:
        try:
            return await super().open(calendar)
        except JournalLocked as error:
            raise OSError from error


class Early(Sound):
    @asynccontextmanager
    async def transaction(self, session: object, done: Callable[[], Record]) -> Any:
        record = done()
        async with super().transaction(session, lambda: record) as value:
            yield value


class Eager(Sound):
    @asynccontextmanager
    async def transaction(self, session: object, done: Callable[[], Record]) -> Any:
        async with self.lock:
            yield self
            await MemoryJournal.append(self, (done(),))


class Committing(Sound):
    @asynccontextmanager
    async def transaction(self, session: object, done: Callable[[], Record]) -> Any:
        async with self.lock:
            if await self.find_done(session) is not None:
                yield None
                return
            try:
                yield self
            finally:
                await MemoryJournal.append(self, (done(),))


class Swallowing(Sound):
    @asynccontextmanager
    async def transaction(self, session: object, done: Callable[[], Record]) -> Any:
        async with super().transaction(session, done) as value:
            try:
                yield value
            except KeyError as error:
                raise JournalWriteFailed("mine", "done", "it raised") from error


class ByTheLast(Sound):
    """Takes every record below the last one for appended."""

    async def append(self, records: Sequence[Record]) -> None:
        async with self.lock:
            last = self.records[-1].seq if self.records else 0
            await MemoryJournal.append(self, [record for record in records if record.seq > last])


class Blind(Sound):
    async def find_done(self, session: object) -> Record | None:
        return None


class Narrow(MemoryJournal):
    """Keeps its notes as ASCII."""

    async def append(self, records: Sequence[Record]) -> None:
        await super().append([replace(record, note=record.note.encode("ascii").decode()) for record in records])


class Once(MemoryJournal):
    """Cannot be closed a second time."""

    async def close(self) -> None:
        if not self._held:
            raise OSError("it is closed")
        await super().close()


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (Forgetful, "records are returned by the next opening as they were appended, of every kind"),
        (Shortening, "records are returned by the next opening as they were appended, of every kind"),
        (Doubling, "counts as appended, and is not appended again"),
        (Skipping, "counts as appended, and is not appended again"),
        (Unordered, "records are returned by the next opening as they were appended"),
        (InParts, "an append that is cancelled leaves all of its records or none"),
        (Shared, "a journal that is open is JournalLocked for everybody else: nothing was raised"),
        (Leaking, r"a journal that is open is JournalLocked for everybody else: OSError\(\) was raised instead"),
        (Anybodys, "for another calendar it is a JournalMismatch, or another journal, which is new: "),
        (HeldByMistake, "another calendar changes nothing, and leaves the journal free: the opening raised"),
        (AlwaysOpen, "an append to a journal that is not open is a JournalWriteFailed"),
        (Early, "`done` is called at the end of the block, not before"),
        (Eager, r"the value of a transaction is None where \*done\* is in the journal"),
        (Committing, "a block that raises, or is cancelled, leaves nothing"),
        (Swallowing, "a block that raises, or is cancelled, leaves nothing, and its exception propagates: Journal"),
        (
            ByTheLast,
            r"a record that was to be appended during the block is kept, also with a seq below that of \*done\*",
        ),
        (Blind, "find_done returns the record of the transaction, not None"),
        (Narrow, r"every record comes back: UnicodeEncodeError\(.* was raised"),
        (Once, r"it has one holder: OSError\('it is closed'\) was raised"),
    ],
)
async def test_a_broken_rule_is_named(make: Callable[[], MemoryJournal], rule: str) -> None:
    """Whatever is wrong with a journal, the message says which rule it is."""
    journal = make()
    with pytest.raises(AssertionError, match=rule):
        await check_journal(lambda: journal)
