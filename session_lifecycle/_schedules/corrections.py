"""Apply what is known about a venue's hours to the sessions that exchange_calendars gives.

The rows are data: see `venue_hours`. A row acts only on a session with exactly the hours that it names as wrong: a day
that a later release fixes, or changes otherwise, stays as it is.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, timedelta, tzinfo
from typing import Final

import msgspec
from msgspec.structs import replace

from session_lifecycle._model.session import Date, Session
from session_lifecycle._schedules.venue_hours import Row, VenueHours, hours_of, local_key, row_key, sessions_of

_DAY: Final = timedelta(days=1)


class Correction(msgspec.Struct, frozen=True):
    """One corrected session. None means "no session".

    `source` has the addresses of the evidence, separated by spaces. `first_wrong` and `first_fixed` are releases of
    exchange_calendars, None where they are unknown.
    """

    __module__ = "session_lifecycle"

    date: Date
    before: Session | None
    after: Session | None
    source: str
    first_wrong: str | None = None
    first_fixed: str | None = None


def corrected(
    known: VenueHours, sessions: Iterable[Session], zone: tzinfo, first: date, last: date
) -> tuple[list[Session], list[Correction]]:
    """Return the sessions of a calendar from `first` to `last` with corrections applied, and those corrections.

    Args:
        known: what is known about the calendar's hours.
        sessions: all its sessions in that range, ascending.
        zone: the venue's time zone.
        first: the first day of the range.
        last: the last day of the range, inclusive.
    """
    before = {session.date: session for session in sessions}
    if not known.rows or first > last:
        return list(before.values()), []
    after, rows = dict(before), dict[date, Row]()
    joining: list[Session] = []
    make: dict[int, Callable[[date], Session]] = {}
    for day, row in _acting(known, before, zone, first, last):
        rows[day] = row
        after.pop(day, None)
        if row.hours is None:
            continue
        if id(row) not in make:
            make[id(row)] = sessions_of(row.hours, zone)
        session = make[id(row)](day)
        if row.joins_next:
            joining.append(session)
        else:
            after[day] = session
    days = sorted(after)
    for session in reversed(joining):
        _join(session, days, after, rows)
    made = [
        Correction(day, before.get(day), after.get(day), row.source, row.first_wrong, row.first_fixed)
        for day, row in rows.items()
        if before.get(day) != after.get(day)
    ]
    made.sort(key=lambda correction: correction.date)
    return [after[day] for day in sorted(after)], made


def _acting(
    known: VenueHours, before: dict[date, Session], zone: tzinfo, first: date, last: date
) -> Iterator[tuple[date, Row]]:
    """Yield the days on which a row acts, ascending, each with its row."""
    acts: dict[tuple[timedelta, ...] | None, list[Row]] = {}
    days = {*before}
    for row in known.rows:
        start, end = row.ends
        if start <= last and end >= first:
            for hours in row.was:
                acts.setdefault(row_key(hours), []).append(row)
            if None in row.was:
                days.update(_span(row, first, last))
    for day in sorted(days):
        session = before.get(day)
        key = None if session is None else local_key(session, zone)
        for row in acts.get(key, ()):
            if row.includes(day, zone):
                yield day, row
                break


def _span(row: Row, first: date, last: date) -> Iterator[date]:
    """Yield every day that a row which adds sessions can be about: there is none on it."""
    if row.days:
        return (day for day in row.days if first <= day <= last)
    start, end = max(first, row.first), min(last, row.last)
    return (start + n * _DAY for n in range((end - start).days + 1))


def _join(session: Session, days: Sequence[date], after: dict[date, Session], rows: dict[date, Row]) -> None:
    """Make hours the beginning of the session that follows, the first of `days` after theirs.

    Where none follows in this range, they belong to the session of another range. They are left out where they would
    overlap a session.
    """
    at = bisect_right(days, session.date)
    if at == len(days):
        return
    later = after[days[at]]
    if session.close > later.open or (at > 0 and after[days[at - 1]].close > session.open):
        return
    pause = ((session.close, later.open),) if session.close < later.open else ()
    after[days[at]] = replace(later, open=session.open, breaks=(*session.breaks, *pause, *later.breaks))
    rows.setdefault(days[at], rows[session.date])


def reach(name: str) -> tuple[date, date] | None:
    """Return the first and the last day that a calendar has rows for (`date.max`: no end), or None without rows."""
    ends = [row.ends for row in hours_of(name).rows]
    return (min(start for start, _ in ends), max(end for _, end in ends)) if ends else None
