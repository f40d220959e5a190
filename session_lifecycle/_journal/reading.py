"""What a journal holds, as it is read without being opened: for commands, also while a manager holds it."""

from typing import NamedTuple

from session_lifecycle._journal.records import Record


class Damage(NamedTuple):
    """The first damage of a journal. `seq` is the damaged record's, 0 where the damage is not one record's."""

    seq: int
    why: str


class JournalReading(NamedTuple):
    """The records of a journal, in the order of `seq` and up to its first damage.

    `calendar` is None where the damage hides it.
    """

    name: str
    calendar: str | None
    records: tuple[Record, ...]
    damage: Damage | None
