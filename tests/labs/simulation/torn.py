"""A journal in memory that fails when told to, and that outlasts the crashes of those who write in it."""

from collections.abc import Callable, Sequence

from session_lifecycle import Entry, JournalLocked, JournalWriteFailed, Record

MOST, KEPT = 60, 20


class Crash(BaseException):
    """The process dies here. Nothing of it can be caught by what it was running."""


class TornJournal:
    """What is on the disk, and the records of failed appends that may or may not have come there.

    `strike` is asked at each append and answers "" for nothing, "fails", "in doubt, kept" (it fails, and the records
    are on the disk all the same), "in doubt, lost" (they are not, which the caller cannot know), "lost" or "kept" (a
    crash in mid-append). `write` is an append without an event loop.
    """

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.doubted: dict[int, Record] = {}
        """Records on the disk, by `seq`, whose append has failed."""
        self.held = self.dead = False
        self.strike: Callable[[Sequence[Record]], str] = lambda _: ""
        self.wrote: Callable[[Record], None] = lambda _: None
        self.refused: Callable[[Record, str], None] = lambda _, __: None
        self.surfaced: Callable[[Record], None] = lambda _: None

    def __repr__(self) -> str:
        return "a torn journal"

    async def open(self, calendar: str) -> tuple[Record, ...]:
        """Take hold of it, with the distant past summed up: a long life starts often, and reads all of it."""
        if self.held:
            journal = f"torn journal of {calendar}"
            raise JournalLocked(journal, None)
        self.held, self.dead = True, False
        if len(self.records) > MOST:
            self._sum_up()
        return tuple(self.records)

    def _sum_up(self) -> None:
        past = self.records[:-KEPT]
        entered = max((n for n, record in enumerate(past) if record.entry is Entry.DONE), default=None)
        if entered is not None:
            done = past[entered]
            assert done.target is not None
            self.records[: entered + 1] = [Record(Entry.ADOPTED, done.target, done.at, seq=done.seq)]

    async def append(self, records: Sequence[Record]) -> None:
        """Append records, unless struck."""
        self.write(records)

    def write(self, records: Sequence[Record]) -> None:
        """Append records, all or none, unless struck. Those that are on the disk count as appended."""
        if self.dead:
            raise Crash
        how = self.strike(records)
        if how == "fails" and any(record.seq in self.doubted for record in records):
            how = "in doubt, lost"  # of the new ones; "none of them is in the journal" would not be true
        if how in {"fails", "in doubt, kept", "in doubt, lost"}:
            if how == "in doubt, kept":
                self.doubted.update((record.seq, record) for record in records)
            # Several that are refused together come again one by one.
            told = "in doubt" if how != "fails" else "for good" if len(records) == 1 else "together"
            for record in records:
                self.refused(record, told)
            names = ", ".join(record.entry.value for record in records)
            raise JournalWriteFailed("in memory", names, "no space left on device", uncertain=how != "fails")
        if how == "lost":
            self.dead = True
            raise Crash
        for record in records:
            self.doubted.pop(record.seq, None)
        self.records.extend(records)
        if how == "kept":
            self.dead = True
            for record in records:
                self.surfaced(record)
            raise Crash
        for record in records:
            self.wrote(record)

    async def close(self) -> None:
        """Let go of it."""
        self.held = False

    def leave(self) -> None:
        """Lose whoever holds it, crashed or not; records in doubt turn out to have been written, or not."""
        self.held = False
        doubted, self.doubted = self.doubted, {}
        self.records.extend(doubted.values())
        for record in doubted.values():
            self.surfaced(record)
