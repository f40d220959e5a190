"""The regular week of a venue, continued beyond the days that its calendar knows."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

from session_lifecycle._model.session import Session
from session_lifecycle._schedules.venue_hours import local_key

_DAY: Final = timedelta(days=1)
YEAR: Final = timedelta(days=364)
"""Fifty-two weeks: how much of the known days the regular week is taken from."""

_RECENT: Final = 12
_Hours = tuple[timedelta, ...]


def continued(sessions: Sequence[Session], zone: tzinfo, end: date, until: date) -> list[Session]:
    """Return a session for each day after `end`, up to `until` inclusive, on which a venue usually has one.

    A weekday is regular if more than half of those in the year up to `end` are sessions. Its hours are the most
    frequent ones of the last dozen. No holiday is known among these days: the caller closes them.
    """
    by_weekday = defaultdict[int, list[_Hours]](list)
    for session in sessions:
        if end - YEAR < session.date <= end:
            by_weekday[session.date.weekday()].append(local_key(session, zone))
    week = {
        weekday: Counter(hours[-_RECENT:]).most_common(1)[0][0]
        for weekday, hours in by_weekday.items()
        if 2 * len(hours) > YEAR.days // 7
    }
    days = (end + n * _DAY for n in range(1, (until - end).days + 1))
    return [_session(day, week[day.weekday()], zone) for day in days if day.weekday() in week]


def _session(day: date, hours: _Hours, zone: tzinfo) -> Session:
    midnight = datetime.combine(day, time())
    opened, closed, *edges = ((midnight + hour).replace(tzinfo=zone).astimezone(UTC) for hour in hours)
    return Session(day, opened, closed, tuple(zip(edges[::2], edges[1::2], strict=True)))
