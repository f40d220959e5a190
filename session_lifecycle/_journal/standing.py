"""What the records of a journal add up to, kept up to date record by record."""

from collections.abc import Iterable
from typing import Final

from session_lifecycle._journal.records import Entry, JournalState, Record, folded

_MOST_RECENT: Final = 1_000
"""How many records are kept at least, so that one of them can be withdrawn."""


class Standing:
    """The state that a journal's records add up to: `state`, None without records.

    Add each record once it is durable, one's own as well as those of another replica that leads.
    """

    __slots__ = ("_base", "_recent", "last_seq", "state")

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._base: JournalState | None = None  # before the recent records
        self._recent: list[Record] = []
        self.last_seq: int = 0
        """The highest `seq` of the records so far."""
        self.state: JournalState | None = None
        for record in records:
            self.add(record)

    def add(self, record: Record) -> JournalState | None:
        """Add the next record, and return the state after it. A `seq` that is known already changes nothing.

        Raises:
            ValueError: the record does not follow from those before it; the message says how. Nothing has changed.
        """
        if record.seq and record.seq <= self.last_seq:
            self._insert(record)
            return self.state
        if record.entry is Entry.WITHDRAWN:
            recent = [each for each in self._recent if str(each.seq) != record.subject]
            if len(recent) == len(self._recent):
                msg = f"record {record.subject} is withdrawn, and is not among the last {len(recent)}"
                raise ValueError(msg)
            self.state, self._recent = folded(self._base, recent), recent
        else:
            self.state = folded(self.state, [record])
            self._recent.append(record)
        self.last_seq = max(self.last_seq, record.seq)
        if len(self._recent) >= 2 * _MOST_RECENT:
            self._base = folded(self._base, self._recent[:_MOST_RECENT])
            del self._recent[:_MOST_RECENT]
        return self.state

    def _insert(self, record: Record) -> None:
        """Insert a *done* that was found only after later records; nothing else that is known comes again."""
        place = next((n for n, each in enumerate(self._recent) if each.seq >= record.seq), len(self._recent))
        known = place < len(self._recent) and self._recent[place].seq == record.seq
        if record.entry is Entry.DONE and not known and (place or self._base is None):
            recent = [*self._recent[:place], record, *self._recent[place:]]
            self.state, self._recent = folded(self._base, recent), recent
