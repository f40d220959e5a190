"""What the tests of test_manager_journal share."""

import logging
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import date

import anyio
import anyio.lowlevel
import pytest
from msgspec.structs import replace

from session_lifecycle import (
    Entry,
    Journal,
    JournalLocked,
    JournalWriteFailed,
    LifecycleConfig,
    MemoryJournal,
    Record,
    RetryPolicy,
    SessionBoundaryManager,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import MONDAY, at
from tests.helpers.harness import (
    TUESDAY,
    Rolls,
    season,
)

EVENING = at(MONDAY, (21, 15))
"""Shortly before Monday's session ends."""
END = at(MONDAY, (21, 30))
ONCE = RetryPolicy(attempts=1)
ADOPTED, INTENT, DONE = Entry.ADOPTED, Entry.INTENT, Entry.DONE
FAILED, RECOVERED, SKIPPED = Entry.FAILED, Entry.RECOVERED, Entry.SKIPPED


class Refusing(MemoryJournal):
    """A journal that refuses some entries for as long as they stand in `refused`, with an error of one's choice."""

    def __init__(self, *refused: Entry, records: tuple[Record, ...] = (), error: Exception | None = None) -> None:
        super().__init__()
        self.refused = set(refused)
        self.records.extend(numbered(records))
        self.error = error

    async def append(self, records: Sequence[Record]) -> None:
        for record in records:
            if record.entry in self.refused:
                raise self.error or JournalWriteFailed("in memory", record.entry.value, "no space left")
        await super().append(records)


def begin(start, journal, *script, session=None, was_rolled=None, schedule=None, **settings):
    """Return a deaf manager on a journal, its clock, and its roll, which follows a script."""
    clock = SimulatedClock(start)
    rolls = Rolls(clock, *script)
    config = LifecycleConfig(**({"data_timeout": None} | settings))
    manager = SessionBoundaryManager(
        schedule or season(),
        rolls,
        session=session,
        config=config,
        clock=clock,
        journal=journal,
        was_rolled=was_rolled,
    )
    return manager, clock, rolls


def holding(*records: Record) -> MemoryJournal:
    """Return a journal in which an earlier run has left these records, numbered as it would have."""
    journal = MemoryJournal()
    journal.records.extend(numbered(records))
    return journal


def numbered(records: Sequence[Record]) -> list[Record]:
    """Return records with the count of the manager that has written them one after the other."""
    return [replace(record, seq=number) for number, record in enumerate(records, 1)]


def adopted(day: date = MONDAY) -> Record:
    """Return the first record of a journal."""
    return Record(ADOPTED, day, at(day, (14, 0)))


def intent(target: date = TUESDAY, *skipped: date, source: date = MONDAY) -> Record:
    """Return the record of a roll that was begun."""
    opened, closed = at(target, (14, 30)), at(target, (21, 0))
    return Record(INTENT, source, at(source, (21, 30)), target, skipped, opened, closed)


def failed(reason: str = "out of order", day: date = MONDAY) -> Record:
    """Return the record of an ERROR."""
    return Record(FAILED, day, at(day, (21, 40)), note=reason)


def entries(journal: MemoryJournal) -> list[tuple[Entry, date, date | None]]:
    """Return what a journal says, without times."""
    return [(record.entry, record.session, record.target) for record in journal.records]


async def refused(manager: SessionBoundaryManager, error: type[Exception]) -> str:
    """Start a manager that must not start; return what it says."""
    with pytest.raises(error) as caught:
        async with manager:
            pytest.fail("the body must not be entered")
    return str(caught.value)


async def is_free(journal: Journal, calendar: str = "fixed") -> bool:
    """Return whether the next manager could open the journal."""
    try:
        await journal.open(calendar)
    except JournalLocked:
        return False
    await journal.close()
    return True


@contextmanager
def errors_logged(caplog: pytest.LogCaptureFixture):
    """Collect the ERROR lines of the block."""
    lines: list[str] = []
    with caplog.at_level(logging.ERROR, logger="session_lifecycle"):
        caplog.clear()
        yield lines
        lines.extend(record.getMessage() for record in caplog.records if record.levelno == logging.ERROR)


def answering(asked: list[date], answer: object, *, sync: bool):
    """Return a `was_rolled` of either kind, that gives or raises the answer."""

    def now(day: date) -> bool:
        asked.append(day)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def later(day: date) -> bool:
        await anyio.lowlevel.checkpoint()
        return now(day)

    return now if sync else later


FAILED_IN_MID_ROLL = (adopted(), intent(), failed())
FAILED_BEFORE_THE_ROLL = (adopted(), Record(Entry.ENDED, MONDAY, END), failed())


async def fail_the_roll(journal: MemoryJournal, **settings):
    """Return a manager whose roll to Tuesday is about to fail, its clock, and its roll."""
    return begin(EVENING, journal, OSError("no disk"), roll_retry=ONCE, **settings)
