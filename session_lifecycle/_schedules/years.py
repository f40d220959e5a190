"""Sessions kept by year, for the calendars of any library.

Building a calendar takes 0.1 to 4 seconds, for a month as for four years. So years are loaded on demand, a few at a
time, and kept as `Session`s; the calendar itself is dropped.

One schedule may be used in several threads. A loaded year is an immutable tuple, which is read without a lock; loading
is done by one thread at a time. A query that has to load blocks for the build anyway, so the lock adds no cost to the
event loop.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import groupby
from operator import attrgetter
from threading import RLock
from typing import ClassVar, Final, Self

from session_lifecycle._model.clock import as_utc
from session_lifecycle._model.errors import NotASession, OverrideRefused, ScheduleExhausted
from session_lifecycle._model.overrides import Override, applied, by_date, of_seasons
from session_lifecycle._model.session import Session, require_date

DAY: Final = timedelta(days=1)
# Wider than the longest gap between two sessions (37 days: Athens in 2015) and than a month's look-ahead.
_AROUND: Final = timedelta(days=45)
# No session closes this long after its label; the first one to close after an instant is not labelled earlier.
_CLOSE_LAG: Final = timedelta(days=7)
_MOST_YEARS_AHEAD: Final = 5
# A year takes about 55 kB, and to build one again up to a second: keep more than a backtest goes through repeatedly.
_MOST_YEARS: Final = 40

# One lock for all schedules: it is held only while a calendar is built, which no second thread would speed up, and a
# schedule without a lock of its own can be copied and pickled.
LOADING: Final = RLock()
"""Held while a calendar is built."""

BY_DATE: Final = attrgetter("date")
_BY_CLOSE: Final = attrgetter("close")


class KeptYears:
    """The queries of a `Schedule` whose sessions are kept by year.

    A subclass sets `_name`, `_timezone`, `_first_day` and `_last_day`, the known days, and `_remedy`, what to do beyond
    them, and defines `_load`. Attributes that are dictionaries belong to one schedule alone: a copy has its own.
    """

    _name: str
    _timezone: tzinfo
    _first_day: date
    _last_day: date
    _remedy: ClassVar[str]

    def __init__(self, overrides: Iterable[Override]) -> None:
        self._overrides, self._seasons = by_date(overrides)
        self._seasonal: frozenset[date] = frozenset()
        self._replaced: dict[date, Session | None] = {}
        self._years: dict[int, tuple[Session, ...]] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name!r}, knows {self._first_day} to {self._last_day}>"

    @property
    def timezone(self) -> tzinfo:
        """The exchange's time zone, for displaying local times."""
        return self._timezone

    @property
    def known_until(self) -> date:
        """The last day that the schedule covers, a session or not. Later days raise `ScheduleExhausted`."""
        return self._last_day

    @property
    def overrides(self) -> tuple[Override, ...]:
        """The overrides in force, by date: of a season, one for each session in it."""
        return tuple(self._overrides[day] for day in sorted(self._overrides))

    @property
    def seasonal(self) -> frozenset[date]:
        """The dates whose hours are those of a season, `SpecialHours` with `until`."""
        return self._seasonal

    def with_session(self, day: date, session: Session | None) -> Self:
        """Return a copy of this schedule with another session on one date, or with none.

        Raises:
            ScheduleExhausted: `day` lies outside the known days.
            OverrideRefused: the session would overlap a neighbour.
        """
        with LOADING:
            self._on(day)
            other = copy(self)
            for name, content in vars(self).items():
                if isinstance(content, dict):
                    setattr(other, name, content.copy())
            other._replace(day, session)
        other._require_apart(day)  # noqa: SLF001 -- a copy of self
        return other

    def session_at(self, t: datetime) -> Session:
        """Return the first session whose `close` is after `t`.

        Raises:
            ScheduleExhausted: the last known session has closed by `t` (`last` is that session's date), or `t` lies
                before the first known day, in UTC, where the answer may be an earlier session that is not known.
            NaiveDatetimeError: `t` has no time zone.
        """
        instant = as_utc("t", t)
        day = self._clipped(instant.date())
        self._load_around(day)
        session = self._forward(
            max(self._first_day, day - _CLOSE_LAG), lambda year: bisect_right(year, instant, key=_BY_CLOSE)
        )
        if session is None:
            raise self._exhausted(t, ahead=True)
        if instant < session.open and instant < datetime.combine(self._first_day, time(), UTC):
            raise self._exhausted(t, ahead=False)
        return session

    def session_on(self, day: date) -> Session:
        """Return the session labelled `day`.

        Raises:
            NotASession: there is none; names the nearest session on either side.
            ScheduleExhausted: `day` lies outside the known days.
        """
        require_date("day", day)
        self._require_known(day, day)
        session = self._forward(day, lambda year: bisect_left(year, day, key=BY_DATE))
        if session is not None and session.date == day:
            return session
        raise NotASession(self._name, day, [near.date for near in (self._before(day), session) if near])

    def next_session(self, day: date) -> Session:
        """Return the first session labelled after `day`, or raise `ScheduleExhausted`. `day` need not be a session."""
        require_date("day", day)
        session = self._after(day)
        if session is None or day < self._first_day - DAY:
            wanted = f"the session after {day}"
            raise self._exhausted(wanted, ahead=session is None)
        return session

    def previous_session(self, day: date) -> Session:
        """Return the last session labelled before `day`, or raise `ScheduleExhausted`. `day` need not be a session."""
        require_date("day", day)
        session = self._before(day)
        if session is None or day > self._last_day + DAY:
            wanted = f"the session before {day}"
            raise self._exhausted(wanted, ahead=session is not None)
        return session

    def sessions(self, first: date, last: date) -> tuple[Session, ...]:
        """Return the sessions labelled from `first` to `last`, both inclusive. Empty where `first` is after `last`.

        Raises:
            ScheduleExhausted: part of the range lies outside the known days.
        """
        require_date("first", first)
        require_date("last", last)
        if first > last:
            return ()
        self._require_known(first, last)
        numbers = range(first.year, last.year + 1)
        with LOADING:
            for number in numbers:
                if number not in self._years:
                    end = number
                    while end < last.year and end + 1 not in self._years:
                        end += 1
                    self._load(number, end)
            found = [session for number in numbers for session in self._years[number]]
        return tuple(found[bisect_left(found, first, key=BY_DATE) : bisect_right(found, last, key=BY_DATE)])

    def _on(self, day: date) -> Session | None:
        """Load the year of `day` and return the session labelled `day`, or None."""
        try:
            return self.session_on(day)
        except NotASession:
            return None

    def _replace(self, day: date, session: Session | None) -> None:
        """Replace the session of a day, whose year must be loaded, by another one or by none."""
        self._replaced[day] = session
        self._years[day.year] = self._with_replaced(day.year, self._years[day.year])

    def _with_replaced(self, number: int, year: tuple[Session, ...]) -> tuple[Session, ...]:
        replaced = {day: session for day, session in self._replaced.items() if day.year == number}
        if not replaced:
            return year
        others = [each for each in year if each.date not in replaced]
        added = [each for each in replaced.values() if each is not None]
        return tuple(sorted(others + added, key=BY_DATE))

    def _require_apart(self, day: date) -> None:
        """Raise `OverrideRefused` where the session labelled `day` overlaps a neighbour."""
        session = self._on(day)
        if session is None:
            return
        for earlier, later in ((self._before(day), session), (session, self._after(day))):
            if earlier is not None and later is not None and earlier.close > later.open:
                raise OverrideRefused(day, f"{earlier} would overlap {later}")

    def _clipped(self, day: date) -> date:
        return min(max(day, self._first_day), self._last_day)

    def _require_known(self, first: date, last: date) -> None:
        if first < self._first_day:
            raise self._exhausted(first, ahead=False)
        if last > self._last_day:
            raise self._exhausted(last, ahead=True)

    def _exhausted(self, wanted: object, *, ahead: bool) -> ScheduleExhausted:
        """Build the error. It names the end that was hit by its session, the far one by its day, to save a build."""
        first, last = self._first_day, self._last_day
        if ahead and (session := self._before(last + DAY)):
            last = session.date
        if not ahead and (session := self._after(first - DAY)):
            first = session.date
        return ScheduleExhausted(self._name, wanted, first, last, *((self._remedy,) if ahead else ()))

    def _after(self, day: date) -> Session | None:
        year = self._years.get(day.year, ())
        at = bisect_right(year, day, key=BY_DATE)
        if 0 < at < len(year):  # the common case: between two sessions of a loaded year
            return year[at]
        return self._forward(self._clipped(day), lambda year: bisect_right(year, day, key=BY_DATE))

    def _forward(self, start: date, find: Callable[[Sequence[Session]], int]) -> Session | None:
        for number in range(start.year, self._last_day.year + 1):
            year = self._year(number, start)
            at = find(year)
            if at < len(year):
                return year[at]
        return None

    def _before(self, day: date) -> Session | None:
        start = self._clipped(day)
        for number in range(start.year, self._first_day.year - 1, -1):
            year = self._year(number, start)
            at = bisect_left(year, day, key=BY_DATE)
            if at > 0:
                return year[at - 1]
        return None

    def _year(self, number: int, asked: date) -> tuple[Session, ...]:
        year = self._years.get(number)
        if year is None:
            with LOADING:
                self._load_around(asked if asked.year == number else self._clipped(date(number, 7, 1)))
                year = self._years[number]
        return year

    def _load_around(self, day: date) -> tzinfo | None:
        """Load the year of a known day, and a neighbouring year if that is near. Return the zone if this built.

        Next to loaded years it loads as many more (five at most), so that reading on needs few builds. The years that
        are furthest away are dropped, so that a process of decades does not grow.
        """
        if day.year in self._years:
            return None
        with LOADING:
            near = (day, self._clipped(day - _AROUND), self._clipped(day + _AROUND))
            missing = [each.year for each in near if each.year not in self._years]
            if day.year not in missing:
                return None  # another thread has just loaded it
            first, last = min(missing), max(missing)
            if first - 1 in self._years:
                last = max(last, first - 1 + self._run(first - 1, -1))
            elif last + 1 in self._years:
                first = min(first, last + 1 - self._run(last + 1, 1))
            zone = self._load(max(first, self._first_day.year), min(last, self._last_day.year))
            for number in sorted(self._years, key=lambda number: abs(number - day.year))[_MOST_YEARS:]:
                del self._years[number]
            return zone

    def _run(self, number: int, step: int) -> int:
        length = 1
        while length < _MOST_YEARS_AHEAD and number + length * step in self._years:
            length += 1
        return length

    def _load(self, first_year: int, last_year: int) -> tzinfo | None:
        """Build the calendar once and keep its sessions of those years. Return its zone, or None without a session."""
        raise NotImplementedError

    def _apply_overrides(self, skip: Callable[[Override], bool] = lambda _: False) -> None:
        """Replace the sessions of the days that have an override; an invalid one is refused.

        An override of a day without a session is left out where `skip` says so.
        """
        of_days = of_seasons(self._seasons, self.sessions, self._timezone)
        self._seasonal = frozenset(of_days.keys() - self._overrides.keys())
        self._overrides = {**of_days, **self._overrides}
        ascending = sorted(self._overrides.values(), key=BY_DATE)  # so that each year is loaded once
        for override in ascending:
            session = self._on(override.date)
            if session is not None or not skip(override):
                self._replace(override.date, applied(override, session, self._timezone))
        for override in ascending:
            self._require_apart(override.date)

    def _keep_years(self, first_year: int, last_year: int, sessions: Iterable[Session]) -> None:
        """Keep the sessions of those years, with the days replaced that are. A year that is loaded stays."""
        by_year = {number: tuple(group) for number, group in groupby(sessions, key=lambda session: session.date.year)}
        for number in range(first_year, last_year + 1):
            if number not in self._years:
                self._years[number] = self._with_replaced(number, by_year.get(number, ()))
