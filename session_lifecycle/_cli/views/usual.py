"""The usual hours of a venue, and how a session differs from them.

A schedule does not say what a venue's regular hours are on a date, so they are taken from the six weeks on either side:
the hours that most sessions of the same weekday have, and any hours that a quarter of all sessions have, which
distinguishes a permanent change of the hours from a half day. A half day closes earlier than usual, and the hours of a
season in a file of hours are usual in it. A holiday is a date without a session on a weekday that usually has one.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Final, Literal, NamedTuple

from session_lifecycle._model.errors import ScheduleExhausted
from session_lifecycle._model.session import Session
from session_lifecycle._schedules.base import Schedule

Oddity = Literal["half_day", "late_open", "extra_session"]
"""How a session differs from what is usual for the venue on that day of the week."""

ODDITIES: Final[dict[Oddity, str]] = {
    "half_day": "half day",
    "late_open": "late open",
    "extra_session": "extra session",
}
_WEEK: Final = timedelta(weeks=1)
_WEEKS: Final = 6
_AROUND: Final = _WEEKS * _WEEK


class UsualHours(NamedTuple):
    """An open and a close by the exchange's clock, counted from the midnight that begins the session's date."""

    open: timedelta
    close: timedelta

    def __str__(self) -> str:
        minutes = (each // timedelta(minutes=1) % 1440 for each in self)
        return " to ".join(f"{minute // 60:02}:{minute % 60:02}" for minute in minutes)


class WeeklyPattern:
    """The hours that are usual for a venue on each weekday, for dates from `first` to `last`, both inclusive."""

    def __init__(self, schedule: Schedule, first: date, last: date) -> None:
        self._zone = schedule.timezone
        self._first, self._last = first - _AROUND, last + _AROUND
        known_until: date = getattr(schedule, "known_until", self._last)
        self._last = min(self._last, known_until)
        try:
            sessions = schedule.sessions(self._first, self._last)
        except ScheduleExhausted as error:
            self._first, self._last = max(self._first, error.first), min(self._last, error.last)
            sessions = schedule.sessions(self._first, self._last)
        self._hours = {session.date: self._hours_of(session) for session in sessions}
        self._seasonal: frozenset[date] = getattr(schedule, "seasonal", frozenset())

    def _hours_of(self, session: Session) -> UsualHours:
        midnight = datetime.combine(session.date, time())
        opened, closed = (each.astimezone(self._zone).replace(tzinfo=None) for each in (session.open, session.close))
        return UsualHours(opened - midnight, closed - midnight)

    def on(self, day: date) -> UsualHours | None:
        """Return the hours that most sessions have on this weekday; None where the venue usually has no session."""
        weeks = (day + n * _WEEK for n in range(-_WEEKS, _WEEKS + 1))
        known = [each for each in weeks if self._first <= each <= self._last]
        hours = [self._hours[each] for each in known if each in self._hours]
        return Counter(hours).most_common(1)[0][0] if 2 * len(hours) > len(known) else None

    def _recurs(self, day: date, hours: UsualHours) -> bool:
        days = (day + timedelta(days=n) for n in range(-_AROUND.days, _AROUND.days + 1))
        around = [self._hours[each] for each in days if each in self._hours]
        return 4 * around.count(hours) >= len(around)

    def oddities(self, session: Session) -> tuple[Oddity, ...]:
        """Return how a session differs from what is usual."""
        usual, hours = self.on(session.date), self._hours_of(session)
        if usual is None:
            return ("extra_session",)
        if session.date in self._seasonal or self._recurs(session.date, hours):
            return ()
        late: tuple[Oddity, ...] = ("late_open",) if hours.open > usual.open else ()
        early: tuple[Oddity, ...] = ("half_day",) if hours.close < usual.close else ()
        return late + early

    def describe(self, session: Session) -> Iterator[str]:
        """Yield a line for each oddity of a session, by the exchange's clock."""
        usual = self.on(session.date)
        for oddity in self.oddities(session):
            text = f"usually {usual}" if usual else f"usually none on a {session.date:%A}"
            yield f"{session.date} {ODDITIES[oddity]}: {self._hours_of(session)}, {text}"
