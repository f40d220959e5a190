"""Journals for tests: a record of each kind, and what histories add up to by the rules in words."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta

from msgspec.structs import replace

from session_lifecycle import Entry, Record
from session_lifecycle._journal.records import ChangedHours, JournalState, changed
from tests.helpers.builders import DAY, MONDAY, at, utc

NOTED = utc(2024, 3, 4, 21, 30, 0, 123456)
"""When the records of tests are written, where that does not matter."""


def hours(day: date) -> dict[str, datetime]:
    """Return the hours of a session, as a record notes them."""
    return {"open": at(day, (14, 30)), "close": at(day, (21, 0))}


def adopted(day: date = MONDAY) -> Record:
    return Record(Entry.ADOPTED, day, NOTED, **hours(day))


def intent(day: date = MONDAY, target: date | None = None) -> Record:
    target = day + DAY if target is None else target
    skipped = tuple(day + n * DAY for n in range(1, (target - day).days))
    return Record(Entry.INTENT, day, NOTED, target, skipped, **hours(target))


def done(day: date = MONDAY, target: date | None = None) -> Record:
    return Record(Entry.DONE, day, NOTED, day + DAY if target is None else target)


def failed(day: date = MONDAY, note: str = "the disk is full") -> Record:
    return Record(Entry.FAILED, day, NOTED, note=note)


def rolls(n: int) -> list[Record]:
    """Return the journal of an application that was rolled `n` times, one day at a time."""
    days = [MONDAY + k * DAY for k in range(n)]
    return numbered([adopted(), *(record for day in days for record in (intent(day), done(day)))])


def numbered(records: Iterable[Record], first: int = 1) -> list[Record]:
    """Return records with the `seq` that a manager gives them."""
    return [replace(record, seq=seq) for seq, record in enumerate(records, first)]


ONE_OF_EACH = numbered(
    [
        adopted(),
        Record(Entry.ENDED, MONDAY, NOTED, note="the desk goes home"),
        intent(MONDAY, MONDAY + 3 * DAY),
        failed(note="the roll failed:\n\tTimeoutError('naïve ☃ 😀')"),
        Record(Entry.RECOVERED, MONDAY, NOTED),
        Record(Entry.SKIPPED, MONDAY, NOTED, MONDAY + 3 * DAY, (MONDAY + DAY,), note="by recover()"),
        Record(Entry.HALTED, MONDAY, NOTED, note="news"),
        Record(Entry.HALTED, MONDAY, NOTED, note="no data", subject="prices \udcff"),
        Record(Entry.RESUMED, MONDAY, NOTED, subject="prices \udcff"),
        changed(MONDAY + 7 * DAY, None, MONDAY, NOTED),
        Record(Entry.ALARM_BEGUN, MONDAY, NOTED, subject="flatten"),
        Record(Entry.ALARM_ENDED, MONDAY, NOTED, subject="flatten"),
        Record(Entry.ENDED, MONDAY, NOTED, note="too late"),
        Record(Entry.WITHDRAWN, MONDAY, NOTED, subject="13", note="the session had ended"),
        intent(MONDAY, MONDAY + 4 * DAY),
        done(MONDAY, MONDAY + 4 * DAY),
    ]
)
"""A legal journal in which every kind of record occurs."""


def summed_up(records: list[Record]) -> JournalState:
    """Return what a history adds up to, told by looking back from its end; written apart from the code under test."""
    entered = max(n for n, record in enumerate(records) if record.entry in (Entry.ADOPTED, Entry.DONE))
    entry, since = records[entered], records[entered + 1 :]
    intents = [record for record in records[:entered] if record.entry is Entry.INTENT]
    begun = [record for record in records[:entered] if record.entry in (Entry.ADOPTED, Entry.DONE, Entry.SKIPPED)]
    if entry.entry is Entry.DONE and intents and records.index(intents[-1]) > records.index(begun[-1]):
        hours_from = intents[-1]
    else:
        hours_from = entry
    kinds = [record.entry for record in since]
    open_intent = abandoned_target = None
    for record in since:
        if record.entry is Entry.INTENT:
            open_intent = record
        elif record.entry is Entry.SKIPPED:
            open_intent, abandoned_target = None, record.target
    error = None
    for record in reversed(since):
        if record.entry in (Entry.RECOVERED, Entry.SKIPPED):
            break
        if record.entry is Entry.FAILED:
            error = record.note
            break
    day = entry.session if entry.entry is Entry.ADOPTED else entry.target
    assert day is not None
    kept_after = day - timedelta(days=15)
    alarms = {
        (record.session, record.subject): record.entry is Entry.ALARM_ENDED
        for record in records
        if record.entry in (Entry.ALARM_BEGUN, Entry.ALARM_ENDED) and record.session > kept_after
    }
    skipped: list[date] = []
    pursued = None
    for record in records:
        if record.entry is Entry.DONE:
            skipped += (pursued or record).skipped
        if record.entry in (Entry.ADOPTED, Entry.INTENT, Entry.SKIPPED, Entry.DONE):
            pursued = record if record.entry is Entry.INTENT else None
    return JournalState(
        day,
        hours_from.open,
        hours_from.close,
        ended=any(kind in (Entry.ENDED, Entry.INTENT, Entry.SKIPPED) for kind in kinds),
        intent=open_intent,
        abandoned_target=abandoned_target,
        error=error,
        halts={
            feed: note
            for feed, note in {
                record.subject: record.note if record.entry is Entry.HALTED else None
                for record in since
                if record.entry in (Entry.HALTED, Entry.RESUMED)
            }.items()
            if note is not None
        },
        skipped=tuple(day for day in skipped if day > kept_after),
        changes=tuple(
            ChangedHours(record.target, None)
            for record in records
            if record.entry is Entry.CHANGED and record.target is not None and record.target > kept_after
        ),
        alarms=alarms,
        closed=Entry.ENDED in kinds
        or any(record.entry is Entry.CHANGED and record.target == day for record in records),
    )
