"""A check of a journal of one's own: that it keeps the rules of `Journal` which the manager relies on.

async def test_my_journal(tmp_path):
    await check_journal(lambda: MyJournal(tmp_path / "journal"))
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, TypeVar

import anyio
import anyio.lowlevel

from session_lifecycle._journal.base import Journal, SharedJournal, TransactionalJournal
from session_lifecycle._journal.errors import JournalLocked, JournalMismatch, JournalWriteFailed
from session_lifecycle._journal.records import Entry, Record

__all__ = ["check_journal"]

_AT: Final = datetime(2024, 3, 4, 21, 30, 0, 123456, tzinfo=UTC)
_DAYS: Final = [date(2024, 3, 4) + timedelta(days=n) for n in range(12)]
_T = TypeVar("_T")
_INTERRUPTIONS: Final = 6
"""At how many points an append is cancelled."""


async def check_journal(factory: Callable[[], Journal], calendar: str = "XNYS") -> None:
    """Run a journal through every rule of its port, one after the other.

    `factory` returns a handle to the same journal at each call, which may be the same object; the journal is new when
    this begins, and closed when it ends. A journal whose handles have `transaction` is held to `TransactionalJournal`
    as well; what the application writes in a transaction is the journal's own to test. One that is shared may open a
    second time, and must not lead then.

    Raises:
        AssertionError: a rule is broken; the message names it.
    """
    check = _Check(factory, calendar)
    rules = [
        check.a_new_one_is_empty,
        check.every_record_comes_back,
        check.an_append_can_be_repeated,
        check.a_cancelled_append_is_all_or_none,
        check.it_has_one_holder,
        check.it_is_one_calendar_s,
        check.only_what_is_open_can_be_appended_to,
    ]
    if isinstance(factory(), TransactionalJournal):
        rules += [
            check.a_transaction_commits_done,
            check.a_block_that_raises_leaves_nothing,
            check.what_was_recorded_during_the_block_is_kept,
        ]
    for rule in rules:
        try:
            await rule()
        except AssertionError:
            raise
        except Exception as error:  # of the journal, where nothing is to be raised
            msg = f"{rule.__name__.replace('_', ' ')}: {error!r} was raised"
            raise AssertionError(msg) from error


class _Check:
    """The rules, and what the journal must hold by now."""

    def __init__(self, factory: Callable[[], Journal], calendar: str) -> None:
        self._factory = factory
        self._calendar = calendar
        self._held: list[Record] = []
        self._seq = 0

    # ---- records ----

    async def a_new_one_is_empty(self) -> None:
        for _ in range(2):
            await self._reopened("a journal without records returns none")

    async def every_record_comes_back(self) -> None:
        journal = await self._opened("a journal that was closed can be opened")
        for record in self._one_of_each():
            await self._append(journal, record)
        await self._closed(journal, "records are returned by the next opening as they were appended, of every kind")

    async def an_append_can_be_repeated(self) -> None:
        journal = await self._opened("a journal that was closed can be opened")
        first, second = self._failure(), self._failure()
        await self._append(journal, first)
        rule = "a record whose seq the journal holds counts as appended, and is not appended again"
        await self._append(journal, first, again=True)
        await journal.append((first, second))
        self._held.append(second)
        await journal.append((first, second))
        await journal.close()
        journal = await self._opened(rule)
        await self._append(journal, second, again=True)
        await self._closed(journal, f"{rule}, also in an earlier opening")
        gap = self._failure()
        self._seq += 10
        journal = await self._opened(rule)
        await journal.append((gap, last := self._failure()))
        self._held += [gap, last]
        await self._closed(journal, "seq may have gaps, and records are returned in its order")

    async def a_cancelled_append_is_all_or_none(self) -> None:
        rule = "an append that is cancelled leaves all of its records or none"
        for steps in range(_INTERRUPTIONS):
            journal = await self._opened(rule)
            batch = tuple(self._failure() for _ in range(3))
            await _cancelled(journal, batch, steps)
            await journal.close()
            journal, records = await self._records(rule)
            found = tuple(record for record in records if record not in self._held)
            assert found in ((), batch), f"{rule}: {len(found)} of {len(batch)} are there"
            await journal.append(batch)
            self._held += batch
            await self._closed(journal, "an append that was in doubt can be repeated after the next opening")

    # ---- who holds it ----

    async def it_has_one_holder(self) -> None:
        rule = "a journal that is open is JournalLocked for everybody else"
        journal, second = await self._opened(rule), self._factory()
        if isinstance(second, SharedJournal):
            await second.open(self._calendar)
            assert not second.leads, "a journal that is shared has one leader: the second handle must not lead"
            await second.close()
        else:
            await _raises(JournalLocked, rule, second.open, self._calendar)
        await self._append(journal, self._failure())
        await journal.close()
        await journal.close()  # has no effect
        await self._reopened("the holder goes on where a second one is refused, and its close releases the journal")

    async def it_is_one_calendar_s(self) -> None:
        rule = "for another calendar it is a JournalMismatch, or another journal, which is new"
        other = self._factory()
        try:
            records = await other.open(f"{self._calendar}, another")
        except JournalMismatch:
            pass
        else:
            await other.close()
            assert records == (), f"{rule}: {len(records)} records were returned"
        await self._reopened("another calendar changes nothing, and leaves the journal free")

    async def only_what_is_open_can_be_appended_to(self) -> None:
        rule = "an append to a journal that is not open is a JournalWriteFailed"
        record = self._failure()
        await _raises(JournalWriteFailed, rule, self._factory().append, (record,))
        await self._factory().close()
        journal = await self._opened(rule)
        await journal.close()
        await _raises(JournalWriteFailed, rule, journal.append, (record,))
        await self._reopened(f"{rule}, and the record does not count")

    # ---- transactions ----

    async def a_transaction_commits_done(self) -> None:
        rule = "the transaction of a roll appends `done()` at the end of its block"
        journal = await self._transactional(rule)
        session, record = self._done()
        missing = await journal.find_done(session)
        assert missing is None, f"find_done is None before the roll is done, not {missing}"
        called: list[Record] = []

        def done() -> Record:
            called.append(record)
            return record

        async with journal.transaction(session, done) as connection:
            assert connection is not None, "the value of a transaction is what the application writes with"
            assert not called, "`done` is called at the end of the block, not before"
        assert called == [record], f"`done` is called once, not {len(called)} times"
        self._held.append(record)
        found = await journal.find_done(session)
        assert found == record, f"find_done returns the record of the transaction, not {found}"
        async with journal.transaction(session, done) as connection:
            assert connection is None, "the value of a transaction is None where *done* is in the journal"
        assert len(called) == 1, "`done` is not called where it is in the journal"
        await self._closed(journal, rule)
        journal = await self._transactional(rule)
        assert await journal.find_done(session) == record, "find_done finds what an earlier opening has committed"
        await journal.close()

    async def a_block_that_raises_leaves_nothing(self) -> None:
        rule = "a block that raises, or is cancelled, leaves nothing, and its exception propagates"
        journal = await self._transactional(rule)
        session, record = self._done()
        for error in (KeyError("of the block"), KeyboardInterrupt("of the block")):
            raised: BaseException | None = None
            try:
                async with journal.transaction(session, lambda: record):
                    raise error  # noqa: TRY301 -- out of the block of the journal
            except BaseException as caught:  # whatever the journal makes of it
                raised = caught
            assert raised is error, f"{rule}: {raised!r} instead of {error!r}"
        with anyio.CancelScope() as scope:
            async with journal.transaction(session, lambda: record):
                scope.cancel()
                await anyio.lowlevel.checkpoint()
        assert await journal.find_done(session) is None, rule
        await journal.close()
        journal = await self._transactional(rule)
        async with journal.transaction(session, lambda: record) as connection:
            assert connection is not None, f"{rule}: the roll can be done after that"
        self._held.append(record)
        await self._closed(journal, "a transaction succeeds after one that did not")

    async def what_was_recorded_during_the_block_is_kept(self) -> None:
        rule = "a record that was to be appended during the block is kept, also with a seq below that of *done*"
        journal = await self._transactional(rule)
        halt = self._failure()
        session, record = self._done()
        async with anyio.create_task_group() as tasks, journal.transaction(session, lambda: record):
            tasks.start_soon(journal.append, (halt,))
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
        self._held += [halt, record]
        await self._closed(journal, rule)

    # ---- steps ----

    async def _records(self, rule: str) -> tuple[Journal, tuple[Record, ...]]:
        journal = self._factory()
        try:
            return journal, await journal.open(self._calendar)
        except Exception as error:
            msg = f"{rule}: the opening raised {error!r}"
            raise AssertionError(msg) from error

    async def _opened(self, rule: str) -> Journal:
        """Open the journal, which must hold what was appended."""
        journal, records = await self._records(rule)
        assert records == tuple(self._held), f"{rule}: {_difference(self._held, records)}"
        return journal

    async def _transactional(self, rule: str) -> TransactionalJournal:
        journal = await self._opened(rule)
        assert isinstance(journal, TransactionalJournal), "every handle of a journal is of one kind"
        return journal

    async def _closed(self, journal: Journal, rule: str) -> None:
        """Close the journal, and read what it holds by another opening."""
        await journal.close()
        await self._reopened(rule)

    async def _reopened(self, rule: str) -> None:
        await (await self._opened(rule)).close()

    async def _append(self, journal: Journal, record: Record, *, again: bool = False) -> None:
        await journal.append((record,))
        if not again:
            self._held.append(record)

    # ---- records to append ----

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    def _failure(self) -> Record:
        """Return a record that is legal at any time."""
        return Record(Entry.FAILED, _DAYS[-1], _AT, note=f"the record {self._seq + 1}", seq=self._next())

    def _done(self) -> tuple[date, Record]:
        """Return the next session, and the record of its roll."""
        session = max(
            record.target for record in self._held if record.entry is Entry.DONE and record.target is not None
        )
        target = session + timedelta(days=1)
        return session, Record(Entry.DONE, session, _AT, target, open=_AT, close=_AT, seq=self._next())

    def _one_of_each(self) -> list[Record]:
        """Return a history in which every kind of record occurs, with texts that are hard to keep."""
        first, second, third = _DAYS[0], _DAYS[1], _DAYS[3]
        hours = {"open": _AT, "close": _AT + timedelta(hours=6)}
        awkward = "no file '\udcff'\x00\n\"naïve\\ ☃ 😀" + 3_000 * "x"
        session = '{"date":"2024-03-09","open":"2024-03-09T14:30:00Z","close":"2024-03-09T21:00:00Z"}'
        history: list[tuple[Entry, dict[str, Any]]] = [
            (Entry.ADOPTED, hours),
            (Entry.HALTED, {"note": awkward}),
            (Entry.HALTED, {"note": "no data", "subject": awkward}),
            (Entry.RESUMED, {"subject": awkward}),
            (Entry.CHANGED, {"target": _DAYS[5], "note": session}),
            (Entry.CHANGED, {"target": _DAYS[6], "note": "null"}),
            (Entry.ALARM_BEGUN, {"subject": "flatten"}),
            (Entry.ALARM_ENDED, {"subject": "flatten"}),
            (Entry.ENDED, {"note": "the desk goes home"}),
            (Entry.WITHDRAWN, {"subject": f"{self._seq + 2}"}),
            (Entry.INTENT, {"target": second, **hours}),
            (Entry.FAILED, {"note": awkward}),
            (Entry.RECOVERED, {}),
            (Entry.FAILED, {"note": "again"}),
            (Entry.SKIPPED, {"target": second, "skipped": (second,), "note": "by recover()"}),
            (Entry.INTENT, {"target": third, "skipped": (second, _DAYS[2]), **hours}),
            (Entry.DONE, {"target": third}),
        ]
        return [Record(entry, first, _AT, **fields, seq=self._next()) for entry, fields in history]


async def _cancelled(journal: Journal, batch: tuple[Record, ...], steps: int) -> None:
    """Append in a task that is cancelled after so many steps of the event loop."""
    scope = anyio.CancelScope()

    async def append() -> None:
        with scope:
            await journal.append(batch)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(append)
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
        scope.cancel()


async def _raises(error: type[Exception], rule: str, call: Callable[[_T], Awaitable[object]], argument: _T) -> None:
    """Await a call that must raise."""
    try:
        await call(argument)
    except error:
        return
    except Exception as other:
        msg = f"{rule}: {other!r} was raised instead"
        raise AssertionError(msg) from other
    msg = f"{rule}: nothing was raised"
    raise AssertionError(msg)


def _difference(wanted: Sequence[Record], found: Sequence[Record]) -> str:
    for number, (one, other) in enumerate(zip(wanted, found, strict=False)):
        if one != other:
            return f"record {number} is {other}, not {one}"
    return f"{len(found)} records are there, not {len(wanted)}"
