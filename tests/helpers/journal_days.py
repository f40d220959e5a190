"""Days and records of a journal that is rolled a day at a time."""

from datetime import UTC, date, datetime, timedelta

from session_lifecycle import Entry, Record
from session_lifecycle._journal.base import SharedJournal

FIRST = date(2024, 1, 1)
AT = datetime(2024, 1, 1, 21, tzinfo=UTC)
DAY = timedelta(days=1)


def adopted(seq: int = 1) -> Record:
    return Record(Entry.ADOPTED, FIRST, AT, seq=seq)


def failed(seq: int, note: str = "the disk is full", subject: str = "") -> Record:
    return Record(Entry.FAILED, FIRST, AT, note=note, subject=subject, seq=seq)


def intent(day: date, seq: int) -> Record:
    opened = datetime(day.year, day.month, day.day, 14, 30, tzinfo=UTC) + DAY
    return Record(Entry.INTENT, day, AT, day + DAY, (), opened, opened + timedelta(hours=6), seq=seq)


def done(day: date, seq: int) -> Record:
    return Record(Entry.DONE, day, AT, day + DAY, seq=seq)


def halted(day: date, seq: int, note: str = "a halt") -> Record:
    return Record(Entry.HALTED, day, AT, note=note, seq=seq)


async def kept(journal: SharedJournal) -> str:
    """Keep the lead; return the reason once it is over."""
    while True:
        reason = await journal.keep()
        if reason is not None:
            return reason
