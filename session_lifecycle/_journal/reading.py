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


def only_name(names: list[str]) -> str:
    """Return the name of the one journal of a database; raise ValueError where there is none, or are several."""
    if len(names) == 1:
        return names[0]
    if not names:
        raise ValueError("it is a database without a journal")
    msg = f"it holds several journals; give one with --name: {', '.join(names)}"
    raise ValueError(msg)
