"""Exchange hours from exchange_calendars, as plain sessions, with corrections and overrides applied.

Building a calendar takes 0.1 to 4 seconds, for a month as for four years. So years are loaded on demand, a few at a
time, and kept as `Session`s; the calendar itself is dropped.

One schedule may be used in several threads. A loaded year is an immutable tuple, which is read without a lock; loading
is done by one thread at a time. A query that has to load blocks for the build anyway, so the lock adds no cost to the
event loop.
"""

import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import groupby
from operator import attrgetter
from threading import RLock
from typing import Final, Self

from session_lifecycle._model.clock import as_utc
from session_lifecycle._model.errors import (
    ConfigurationError,
    LifecycleError,
    NotASession,
    OverrideRefused,
    ScheduleExhausted,
)
from session_lifecycle._model.overrides import Override, applied, by_date
from session_lifecycle._model.session import Session, require_date
from session_lifecycle._schedules.calendars import (
    all_sessions,
    calendar_between,
    calendar_errors,
    canonical_name,
    default_calendar,
    known_days,
    time_zone,
)
from session_lifecycle._schedules.corrections import Correction, corrected, reach
from session_lifecycle._schedules.extended_hours import TABLE as EXTENDED_HOURS
from session_lifecycle._schedules.extended_hours import extended
from session_lifecycle._schedules.overrides_file import read_overrides

_DAY: Final = timedelta(days=1)
# Wider than the longest gap between two sessions (37 days: Athens in 2015) and than a month's look-ahead.
_AROUND: Final = timedelta(days=45)
# No session closes this long after its label; the first one to close after an instant is not labelled earlier.
_CLOSE_LAG: Final = timedelta(days=7)
_MOST_YEARS_AHEAD: Final = 5
# A year takes about 55 kB, and to build one again up to a second: keep more than a backtest goes through repeatedly.
_MOST_YEARS: Final = 40

# One lock for all schedules: it is held only while a calendar is built, which no second thread would speed up, and a
# schedule without a lock of its own can be copied and pickled.
_LOADING: Final = RLock()

_BY_DATE: Final = attrgetter("date")
_BY_CLOSE: Final = attrgetter("close")


class ExchangeSchedule:
    """The sessions of a calendar of exchange_calendars.

    It covers the days between its calendar's `bound_min()` and `bound_max()`. A missing bound is 1970 or 2200, where
    the holiday rules end. A calendar registered as an instance covers the days that it was built for. Every query may
    build a calendar, which blocks, and raises `CalendarUnavailable` where that fails.

    Args:
        name: a name or alias of exchange_calendars, in its exact case. Registered calendars are included.
        overrides: hours that differ from the calendar's, at most one override for each date. Their years are loaded
            at once, so that an invalid override is refused here.
        corrections: fix the known errors of exchange_calendars; see the property `corrections`.
        extended_hours: give sessions the pre-market and post-market hours that the venue publishes, where its regular
            hours are the usual ones. Overrides are applied afterwards; hours that they do not mention stay.
        near: an instant near which queries are expected, by default the present. Its year is loaded at once. Only
            a hint: every answer is the same without it.

    Raises:
        CalendarUnavailable: there is no such calendar, or building it failed (chained to the cause).
        OverrideRefused: an override contradicts the calendar or another override, or its hours are not in order.
        ConfigurationError: no extended hours are on record for this venue.
        NaiveDatetimeError: `near` has no time zone.
    """

    __module__ = "session_lifecycle"

    def __init__(
        self,
        name: str,
        *,
        overrides: Iterable[Override] = (),
        corrections: bool = True,
        extended_hours: bool = False,
        near: datetime | None = None,
    ) -> None:
        self._overrides = by_date(overrides)
        day = (datetime.now(UTC) if near is None else as_utc("near", near)).date()
        self._name = canonical_name(name)
        if extended_hours and self._name not in EXTENDED_HOURS:
            known = ", ".join(sorted(EXTENDED_HOURS))
            raise ConfigurationError(
                "extended_hours", extended_hours, f"none are on record for {self._name}, only for {known}"
            )
        self._extended = EXTENDED_HOURS[self._name] if extended_hours else None
        self._corrects = corrections
        self._corrections: dict[date, Correction] = {}
        self._replaced: dict[date, Session | None] = {}
        self._years: dict[int, tuple[Session, ...]] = {}
        with calendar_errors(name):
            bounds = known_days(self._name)
            if bounds is None:
                calendar = default_calendar(self._name)
                sessions, zone = all_sessions(calendar), time_zone(calendar)
                self._first_day, self._last_day = sessions[0].date, sessions[-1].date
                self._keep(self._first_day.year, self._last_day.year, sessions, zone)
            else:
                self._first_day, self._last_day = bounds
                # Where there is no session around that day, the time zone comes from the default window.
                zone = self._load_around(self._clipped(day)) or time_zone(default_calendar(self._name))
        self._timezone: tzinfo = zone
        ascending = sorted(self._overrides.values(), key=_BY_DATE)  # so that each year is loaded once
        for override in ascending:
            self._replace(override.date, applied(override, self._on(override.date), zone))
        for override in ascending:
            self._require_apart(override.date)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, near: datetime | None = None) -> Self:
        """Return the schedule that a TOML file describes.

        The file has `calendar = "XNYS"` and optionally `corrections = false` or `extended_hours = true`, then tables
        `[[closure]]` and `[[special_hours]]` with the fields of `Closure` and `SpecialHours`. Hours are local times of
        the exchange (`13:00:00`) or datetimes with an offset; `breaks` is an array of pairs of them.

        Raises:
            OverrideRefused: the file cannot be read, is not TOML, or has an unknown or invalid entry; or the
                constructor refuses it, of which that error is the cause. Names the file.
        """
        content = read_overrides(path)
        try:
            return cls(content.calendar, overrides=content.overrides, near=near, **content.options)
        except OverrideRefused as error:
            raise OverrideRefused(error.date, f"{os.fspath(path)}: {error.why}") from error
        except (LifecycleError, OverflowError) as error:
            raise OverrideRefused(None, f"{os.fspath(path)}: {error}") from error

    def __repr__(self) -> str:
        return f"<ExchangeSchedule {self._name!r}, knows {self._first_day} to {self._last_day}>"

    @property
    def name(self) -> str:
        """The calendar's canonical name in exchange_calendars: XNYS for the alias XNAS."""
        return self._name

    @property
    def timezone(self) -> tzinfo:
        """The exchange's time zone, for displaying local times."""
        return self._timezone

    @property
    def known_until(self) -> date:
        """The last day that the schedule covers, a session or not. Later days raise `ScheduleExhausted`."""
        return self._last_day

    @property
    def corrects(self) -> bool:
        """Whether it fixes the known errors of exchange_calendars."""
        return self._corrects

    @property
    def extends(self) -> bool:
        """Whether it gives sessions the pre-market and post-market hours that the venue publishes."""
        return self._extended is not None

    @property
    def overrides(self) -> tuple[Override, ...]:
        """The overrides passed to the constructor, by date."""
        return tuple(self._overrides[day] for day in sorted(self._overrides))

    @property
    def corrections(self) -> tuple[Correction, ...]:
        """The corrections applied so far, by date: all of the past, and those of the future years that are loaded.

        Loads the years that have known corrections first, which may build the calendar.
        """
        span = reach(self._name) if self._corrects else None
        with _LOADING:
            if span is not None:
                first, last = self._clipped(span[0]), self._clipped(min(span[1], date(max(self._years), 12, 31)))
                self.sessions(first, max(first, last))
            return tuple(sorted(self._corrections.values(), key=_BY_DATE))

    def with_session(self, day: date, session: Session | None) -> Self:
        """Return a copy of this schedule with another session on one date, or with none.

        Raises:
            ScheduleExhausted: `day` lies outside the known days.
            OverrideRefused: the session would overlap a neighbour.
        """
        with _LOADING:
            self._on(day)
            other = copy(self)
            for name in ("_years", "_corrections", "_replaced"):
                setattr(other, name, getattr(self, name).copy())
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
        session = self._forward(day, lambda year: bisect_left(year, day, key=_BY_DATE))
        if session is not None and session.date == day:
            return session
        raise NotASession(self._name, day, [near.date for near in (self._before(day), session) if near])

    def next_session(self, day: date) -> Session:
        """Return the first session labelled after `day`, or raise `ScheduleExhausted`. `day` need not be a session."""
        require_date("day", day)
        session = self._after(day)
        if session is None or day < self._first_day - _DAY:
            wanted = f"the session after {day}"
            raise self._exhausted(wanted, ahead=session is None)
        return session

    def previous_session(self, day: date) -> Session:
        """Return the last session labelled before `day`, or raise `ScheduleExhausted`. `day` need not be a session."""
        require_date("day", day)
        session = self._before(day)
        if session is None or day > self._last_day + _DAY:
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
        with _LOADING:
            for number in numbers:
                if number not in self._years:
                    end = number
                    while end < last.year and end + 1 not in self._years:
                        end += 1
                    self._load(number, end)
            found = [session for number in numbers for session in self._years[number]]
        return tuple(found[bisect_left(found, first, key=_BY_DATE) : bisect_right(found, last, key=_BY_DATE)])

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
        return tuple(sorted(others + added, key=_BY_DATE))

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
        if ahead and (session := self._before(last + _DAY)):
            last = session.date
        if not ahead and (session := self._after(first - _DAY)):
            first = session.date
        return ScheduleExhausted(self._name, wanted, first, last)

    def _after(self, day: date) -> Session | None:
        year = self._years.get(day.year, ())
        at = bisect_right(year, day, key=_BY_DATE)
        if 0 < at < len(year):  # the common case: between two sessions of a loaded year
            return year[at]
        return self._forward(self._clipped(day), lambda year: bisect_right(year, day, key=_BY_DATE))

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
            at = bisect_left(year, day, key=_BY_DATE)
            if at > 0:
                return year[at - 1]
        return None

    def _year(self, number: int, asked: date) -> tuple[Session, ...]:
        year = self._years.get(number)
        if year is None:
            with _LOADING:
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
        with _LOADING:
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
        start = max(date(first_year, 1, 1), self._first_day)
        end = min(date(last_year, 12, 31), self._last_day)
        if start == end:  # exchange_calendars builds no calendar of a single day
            start, end = max(start - _DAY, self._first_day), min(end + _DAY, self._last_day)
        with calendar_errors(self._name):
            calendar = calendar_between(self._name, start, end)
            if calendar is None:
                self._keep(first_year, last_year, (), None)
                return None
            zone = time_zone(calendar)
            self._keep(first_year, last_year, all_sessions(calendar), zone)
            return zone

    def _keep(self, first_year: int, last_year: int, sessions: Iterable[Session], zone: tzinfo | None) -> None:
        """Correct, extend and replace the sessions of those years, and keep them. A year that is loaded stays."""
        if self._corrects and zone is not None:
            first, last = date(first_year, 1, 1), date(last_year, 12, 31)
            sessions, made = corrected(self._name, sessions, zone, first, last)
            self._corrections.update((each.date, each) for each in made)
        if self._extended is not None and zone is not None:
            sessions = extended(self._extended, sessions, zone)
        by_year = {number: tuple(group) for number, group in groupby(sessions, key=lambda session: session.date.year)}
        for number in range(first_year, last_year + 1):
            if number not in self._years:
                self._years[number] = self._with_replaced(number, by_year.get(number, ()))
