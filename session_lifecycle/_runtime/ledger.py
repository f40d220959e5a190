"""The ledger of one host: records that are to become durable, in order, each with what happens once it is.

An entry is made synchronously, in the step in which something was decided; from then on no cancellation of the
application's tasks reaches it. A task that runs no code of the application writes the entries that wait in one append,
and carries out their continuations with no `await` in between.

All of this is timed by the event loop's own clock. A simulated clock does not move while there is something to write.
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from datetime import timedelta
from typing import Final

import anyio
from msgspec.structs import replace

from session_lifecycle._journal.base import Journal
from session_lifecycle._journal.errors import JournalWriteFailed, NotLeadingError
from session_lifecycle._journal.records import Entry, Record
from session_lifecycle._model.clock import Clock, Reading
from session_lifecycle._model.errors import LifecycleError, describe
from session_lifecycle._runtime.callbacks import absorb_foreign_cancellation, native_cancellations
from session_lifecycle._runtime.event_log import LOGGER

_TRIES: Final = 3
"""How often records that are in doubt are appended again before they are in doubt for good."""

_PAUSE_SECONDS: Final = 0.05


class LedgerEntry:
    """Records that are to become durable, all or none, and the continuation.

    `apply` is called once they are; `abandon` with the error once they could not be, or that is not known.
    """

    __slots__ = ("_error", "_settled", "abandon", "apply", "begun", "records")

    def __init__(
        self,
        records: tuple[Record, ...],
        apply: Callable[[Reading], None] | None,
        abandon: Callable[[Exception, Reading], None] | None,
    ) -> None:
        self.records = records
        self.apply: Final = apply
        self.abandon: Callable[[Exception, Reading], None] | None = abandon
        self.begun: bool = False
        """Whether an append has begun: from then on it cannot be withdrawn."""
        self._settled = anyio.Event()
        self._error: Exception | None = None

    @property
    def in_doubt(self) -> bool:
        """Whether it has failed, and its records may be in the journal."""
        return self.begun and self._settled.is_set()

    def settle(self, error: Exception | None) -> None:
        """Wake those who wait for the outcome."""
        if not self._settled.is_set():
            self._error = error
            self._settled.set()

    async def outcome(self) -> None:
        """Wait until the continuation has been carried out; raise why it was not."""
        await self._settled.wait()
        if self._error is not None:
            raise self._error


class Ledger:
    """The records of one host that wait to become durable.

    Args:
        journal: where they are written.
        label: the journal's name in messages.
        timeout: how long one append may take before it is in doubt, by the event loop's own time.
        clock: the host's; a simulated one is held while there is something to write.
        request: called when there is something to write.
        written: called with records once they are durable.
    """

    __slots__ = (
        "_clock",
        "_entries",
        "_hold",
        "_journal",
        "_label",
        "_paused",
        "_request",
        "_seq",
        "_singly",
        "_timeout",
        "_writing",
        "_written",
    )

    def __init__(
        self,
        journal: Journal,
        label: str,
        timeout: timedelta,
        clock: Clock,
        *,
        request: Callable[[], None],
        written: Callable[[Sequence[Record]], None],
    ) -> None:
        self._journal: Final = journal
        self._label: Final = label
        self._timeout: Final = timeout.total_seconds()
        self._clock: Final = clock
        self._request: Final = request
        self._written: Final = written
        self._entries: deque[LedgerEntry] = deque()
        self._seq = 0
        self._singly = 0  # how many entries are appended one by one, because together they were refused
        self._paused = False
        self._writing = False
        self._hold: AbstractContextManager[object] | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is being written, and nothing waits to be: what is left, if anything, is in doubt."""
        return not self._writing and all(entry.in_doubt for entry in self._entries)

    def adopt(self, records: Sequence[Record]) -> None:
        """Continue the count of the records that a journal holds."""
        self._seq = max([self._seq, *(record.seq for record in records)])

    def numbered(self, record: Record) -> Record:
        """Return the record with the next number of the count."""
        self._seq += 1
        return replace(record, seq=self._seq)

    def submit(
        self,
        records: tuple[Record, ...],
        apply: Callable[[Reading], None] | None = None,
        abandon: Callable[[Exception, Reading], None] | None = None,
    ) -> LedgerEntry:
        """Add an entry. One without records is settled once everything before it is."""
        entry = LedgerEntry(records, apply, abandon)
        self._entries.append(entry)
        self._wake()
        return entry

    async def wait(self, entry: LedgerEntry) -> None:
        """Wait for the outcome of an entry. A cancellation withdraws it, where its append has not begun.

        Raises:
            JournalWriteFailed, NotLeadingError: its records could not be made durable, or that is not known.
            LifecycleError: by the time they were durable, it was too late for it.
        """
        try:
            await entry.outcome()
        except anyio.get_cancelled_exc_class():
            if not entry.begun and entry in self._entries:
                self._entries.remove(entry)
                entry.settle(None)
                self._release()
            raise

    @asynccontextmanager
    async def paused(self) -> AsyncGenerator[None]:
        """Write what waits, then nothing within the block: a transaction of the application is open."""
        await self.wait(self.submit(()))
        self._paused = True
        self._release()
        try:
            yield
        finally:
            self._paused = False
            if self._entries:
                self._wake()

    def holding_clock(self) -> AbstractContextManager[object]:
        """Hold a simulated clock within the block, which waits for real I/O."""
        holding: Callable[[], AbstractContextManager[object]] | None = getattr(self._clock, "holding", None)
        return nullcontext() if holding is None else holding()

    def discard(self, error: NotLeadingError, now: Reading) -> None:
        """Refuse every entry: another replica leads. What one of them was about is known from the journal alone."""
        self._fail(tuple(self._entries), error, now, keep=False)
        self._release()

    # ---- what the task that writes calls ----

    async def flush(self, observe: Callable[[], Reading], settled: Callable[[], None]) -> Exception | None:
        """Make the entries durable in their order, and carry out each continuation; stop where they are in doubt.

        `settled` is called after each step, so that events are emitted. Return the error of records that are in doubt
        for good, or were refused because another replica leads.
        """
        self._writing = True
        try:
            while self._entries and not self._paused:
                error = await self._write_next(observe)
                settled()
                if error is not None:
                    return error
            return None
        finally:
            self._writing = False
            self._release()
            settled()

    async def _write_next(self, observe: Callable[[], Reading]) -> Exception | None:
        batch = tuple(self._entries) if not self._singly else (self._entries[0],)
        self._singly = max(0, self._singly - 1)
        for entry in batch:
            if not entry.begun:
                entry.begun = True
                entry.records = tuple(map(self.numbered, entry.records))
        records = [record for entry in batch for record in entry.records]
        try:
            await self._append(records)
        except JournalWriteFailed as error:
            if not error.uncertain and len(batch) > 1:
                self._singly = len(batch)
                return None
            if error.uncertain:
                # What was refused together with them comes after them, so it is kept, and settled, like them.
                batch, self._singly = tuple(entry for entry in self._entries if entry.begun), 0
            return self._fail(batch, error, observe(), keep=error.uncertain)
        except NotLeadingError as error:
            return self._fail(tuple(self._entries), error, observe(), keep=False)
        now = observe()
        self._written(records)
        for entry in batch:
            if entry in self._entries:  # else it was discarded meanwhile
                self._entries.remove(entry)
                self._apply(entry, now)
        return None

    async def _append(self, records: Sequence[Record]) -> None:
        """Append records, again where that is in doubt.

        Raises:
            JournalWriteFailed: they are not in the journal; or that is not known, where it is `uncertain`.
            NotLeadingError: another replica leads.
        """
        if not records:
            return
        failure: BaseException = TimeoutError()
        for tried in range(_TRIES):
            if tried:
                await _pause()
            try:
                with anyio.fail_after(self._timeout):
                    await self._journal.append(records)
            except (JournalWriteFailed, NotLeadingError):
                raise
            except Exception as error:  # the journal may be the application's own code
                failure = error
            except anyio.get_cancelled_exc_class() as cancelled:
                if not absorb_foreign_cancellation():
                    raise
                failure = cancelled
            else:
                return
        names = ", ".join(record.entry.value for record in records)
        why = f"it took longer than {self._timeout:g} s" if isinstance(failure, TimeoutError) else describe(failure)
        raise JournalWriteFailed(self._label, names, why, uncertain=True) from failure

    def _apply(self, entry: LedgerEntry, now: Reading) -> None:
        """Carry out an entry's continuation; where it comes too late, withdraw its records first."""
        try:
            if entry.apply is not None:
                entry.apply(now)
        except LifecycleError as error:
            late = error  # bound here, because `error` is not bound any more when the record is durable
            first = entry.records[0]
            withdrawn = tuple(
                Record(Entry.WITHDRAWN, first.session, now.wall, note=describe(late), subject=str(record.seq))
                for record in entry.records
            )
            self.submit(withdrawn, lambda _: entry.settle(late), lambda _, __: entry.settle(late))
        else:
            entry.settle(None)

    def _fail(self, batch: Sequence[LedgerEntry], error: Exception, now: Reading, *, keep: bool) -> Exception | None:
        """Settle entries with an error. Where they are in doubt, keep those with records: the next append has them."""
        for entry in batch:
            if not (keep and entry.records) and entry in self._entries:
                self._entries.remove(entry)
            abandon, entry.abandon = entry.abandon, None  # once, however often it stays in doubt
            if abandon is not None:
                abandon(error, now)
            entry.settle(error)
        return error if keep or isinstance(error, NotLeadingError) else None

    # ---- helpers ----

    def _wake(self) -> None:
        if not self._paused:
            if self._hold is None:
                self._hold = self.holding_clock()
                self._hold.__enter__()
            self._request()

    def _release(self) -> None:
        """Let a simulated clock go on, unless something waits that will be written."""
        if self._hold is not None and (self._paused or self.idle):
            hold, self._hold = self._hold, None
            hold.__exit__(None, None, None)


async def _pause() -> None:
    try:
        await anyio.sleep(_PAUSE_SECONDS)
    except anyio.get_cancelled_exc_class():
        if not absorb_foreign_cancellation():
            raise


async def close_for_good(journal: Journal, timeout: float, name: str) -> bool:  # noqa: ASYNC109 -- of each try
    """Close a journal, whatever cancels the calling task; each try takes at most `timeout` seconds.

    What it raises is logged. A native cancellation is absorbed; return whether there was one.
    """
    absorbed = False
    try:
        with anyio.CancelScope(shield=True):
            while not await _try_to_close(journal, timeout):
                absorbed = True
    except Exception:  # the journal may be the application's own code
        LOGGER.exception("%s: the journal could not be closed", name)
    return absorbed


async def _try_to_close(journal: Journal, timeout: float) -> bool:  # noqa: ASYNC109 -- of each try
    """Close a journal; return False where a native cancellation, which is absorbed, has come between."""
    before = native_cancellations()
    try:
        with anyio.move_on_after(timeout):
            await journal.close()
    except anyio.get_cancelled_exc_class():
        native = native_cancellations() > before
        if not absorb_foreign_cancellation():
            raise
        return not native
    return True
