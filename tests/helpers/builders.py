"""Short ways to write down instants, sessions and schedules."""

from datetime import UTC, date, datetime, time, timedelta
from functools import cache

from session_lifecycle import FixedSchedule, Session

MONDAY = date(2024, 3, 4)
"""A day with no change of clocks near it."""
MICROSECOND = timedelta(microseconds=1)
DAY = timedelta(days=1)

Clock = tuple[int, int]


def utc(*fields: int) -> datetime:
    """Return an aware instant: year, month, day, and as much of the time as matters."""
    return datetime(*fields, tzinfo=UTC)


def at(day: date, clock: Clock) -> datetime:
    """Return the instant of an hour and minute, UTC, on a day."""
    return datetime.combine(day, time(*clock), UTC)


def session(
    day: date = MONDAY,
    open: Clock = (14, 30),  # noqa: A002 -- reads like the field that it sets
    close: Clock = (21, 0),
    breaks: tuple[tuple[Clock, Clock], ...] = (),
    *,
    pre_market_start: datetime | None = None,
    post_market_end: datetime | None = None,
) -> Session:
    """Return a session of one day, with its hours in UTC; by default those of New York in winter."""
    pauses = tuple((at(day, start), at(day, end)) for start, end in breaks)
    return Session(day, at(day, open), at(day, close), pauses, pre_market_start, post_market_end)


@cache
def weekdays(first: date = MONDAY, n: int = 5, *, name: str = "fixed") -> FixedSchedule:
    """Return a schedule of `n` sessions, one on each weekday from `first` on."""
    days: list[date] = []
    day = first
    while len(days) < n:
        if day.weekday() < 5:
            days.append(day)
        day += DAY
    return FixedSchedule(map(session, days), name=name)


def week() -> FixedSchedule:
    """Return a schedule of Monday to Friday."""
    return weekdays()
