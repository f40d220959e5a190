"""Exchange hours from exchange_calendars, as plain sessions: put right where it is known to be wrong, and overridden.

The only module that imports exchange_calendars (and, through it, pandas and numpy), and it does so when a schedule is
made, not when it is imported itself. Building a calendar costs 0.1 to 4 seconds, whether for a month or for four years,
so years are loaded when somebody asks about them, a few at a time, and kept as `Session`s; the calendar is dropped.
"""

import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from copy import copy
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, Self

from session_lifecycle._model.clock import as_utc
from session_lifecycle._model.errors import (
    CalendarUnavailable,
    ConfigurationError,
    InvalidSession,
    NotASession,
    OverrideRefused,
    ScheduleExhausted,
)
from session_lifecycle._model.overrides import (
    Override,
    applied,
    by_date,
)
from session_lifecycle._model.session import Session, require_date
from session_lifecycle._schedules.corrections import Correction, corrected, reach
from session_lifecycle._schedules.extended_hours import TABLE as EXTENDED_HOURS
from session_lifecycle._schedules.extended_hours import extended
from session_lifecycle._schedules.overrides_file import read_overrides

# Where a calendar's class names no bounds, the holiday rules do: pandas.tseries.holiday.AbstractHolidayCalendar has
# start_date 1970-01-01 and end_date 2200-12-31, and outside them every weekday silently becomes a session.
_RULES_START: Final = date(1970, 1, 1)
_RULES_END: Final = date(2200, 12, 31)

_DAY: Final = timedelta(days=1)
# Wider than the longest gap between two sessions (37 days: Athens in 2015) and than a month's look-ahead.
_AROUND: Final = timedelta(days=45)
# No session closes this long after its label; the first one to close after an instant is not labelled earlier.
_CLOSE_LAG: Final = timedelta(days=7)
_MOST_YEARS_AHEAD: Final = 5

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAT_NANOS: Final = -(2**63)  # pandas' "no time", as an integer
_BY_DATE: Final = attrgetter("date")
_BY_CLOSE: Final = attrgetter("close")


class ExchangeSchedule:
    """The sessions of a calendar of exchange_calendars.

    It knows the days between its calendar's `bound_min()` and `bound_max()`; where there is none, from 1970 to 2200,
    beyond which the holiday rules do not reach. A calendar registered as an instance is known as far as it was built.
    Every question may build a calendar, which blocks, and raises `CalendarUnavailable` where that fails.

    Args:
        name: a name or alias known to exchange_calendars, in its exact case; registered calendars count.
        overrides: what differs from the calendar, at most one for each date. Their years are loaded at once, so that
            what cannot be is refused here.
        corrections: put right what exchange_calendars is known to have wrong; see `corrections`.
        extended_hours: give sessions the pre-market and post-market hours that the venue publishes, where its regular
            hours are the usual ones. Overrides come after that: what they do not mention stays.
        near: an instant around which questions will come; its year is loaded at once. By default the present. Only
            a hint: every answer is the same without it.

    Raises:
        CalendarUnavailable: there is no such calendar, or building it failed (chained to the cause).
        OverrideRefused: an override contradicts the calendar or another one, or its hours cannot be.
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
        self._name = _canonical(name)
        if extended_hours and self._name not in EXTENDED_HOURS:
            known = ", ".join(sorted(EXTENDED_HOURS))
            raise ConfigurationError(
                "extended_hours", extended_hours, f"none are on record for {self._name}, only for {known}"
            )
        self._extended = EXTENDED_HOURS[self._name] if extended_hours else None
        self._corrects = corrections
        self._corrections: list[Correction] = []
        self._years: dict[int, tuple[Session, ...]] = {}
        with _told_as_unavailable(name):
            bounds = _bounds(self._name)
            if bounds is None:
                calendar = _library().get_calendar(self._name)
                sessions, zone = _converted(calendar), _zone(calendar)
                self._first_day, self._last_day = sessions[0].date, sessions[-1].date
                self._keep(self._first_day.year, self._last_day.year, sessions, zone)
            else:
                self._first_day, self._last_day = bounds
                # Where there is no session around that day, the time zone comes from the default window.
                zone = self._load_around(self._clipped(day)) or _zone(_library().get_calendar(self._name))
        self._timezone: tzinfo = zone
        for override in self._overrides.values():
            self._put(override.date, applied(override, self._on(override.date), zone))
        for override in self._overrides.values():
            self._hold_apart(override.date)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, near: datetime | None = None) -> Self:
        """Return the schedule that a TOML file describes.

        `calendar = "XNYS"`, and where wanted `corrections = false` or `extended_hours = true`; then tables
        `[[closure]]` and `[[special_hours]]` with the fields of `Closure` and `SpecialHours`: a date, times of the
        exchange's own day (`13:00:00`), or datetimes with an offset; `breaks` is an array of pairs of them.

        Raises:
            OverrideRefused: something in the file is not understood, or it is refused as by the constructor.
            OSError, tomllib.TOMLDecodeError: the file cannot be read, or is no TOML.
            CalendarUnavailable, ConfigurationError: as by the constructor.
        """
        content = read_overrides(path)
        return cls(content.calendar, overrides=content.overrides, near=near, **content.options)

    def __repr__(self) -> str:
        return f"<ExchangeSchedule {self._name!r}, knows {self._first_day} to {self._last_day}>"

    @property
    def name(self) -> str:
        """The calendar's canonical name in exchange_calendars: XNYS, where XNAS was asked for."""
        return self._name

    @property
    def timezone(self) -> tzinfo:
        """The exchange's time zone, for showing local times."""
        return self._timezone

    @property
    def known_until(self) -> date:
        """The last day that the schedule can know about, a session or not; beyond it lies `ScheduleExhausted`."""
        return self._last_day

    @property
    def corrects(self) -> bool:
        """Whether it puts right what exchange_calendars is known to have wrong."""
        return self._corrects

    @property
    def extends(self) -> bool:
        """Whether it gives sessions the pre-market and post-market hours that the venue publishes."""
        return self._extended is not None

    @property
    def overrides(self) -> tuple[Override, ...]:
        """The overrides that it was made with, by date."""
        return tuple(self._overrides[day] for day in sorted(self._overrides))

    @property
    def corrections(self) -> tuple[Correction, ...]:
        """What was put right, by date: all that is known of the past, and of what has been loaded of the future.

        The years that corrections are known for are loaded first, which may build the calendar.
        """
        span = reach(self._name) if self._corrects else None
        if span is not None:
            first, last = self._clipped(span[0]), self._clipped(min(span[1], date(max(self._years), 12, 31)))
            self.sessions(first, max(first, last))
        return tuple(sorted(self._corrections, key=_BY_DATE))

    def with_session(self, day: date, session: Session | None) -> Self:
        """Return a schedule that is like this one, but for one date: that has this session, or none.

        Raises:
            ScheduleExhausted: `day` lies outside the known days.
            OverrideRefused: the session would run into a neighbour.
        """
        self._on(day)
        other = copy(self)
        other._years, other._corrections = self._years.copy(), self._corrections.copy()  # noqa: SLF001 -- a copy of self
        other._put(day, session)  # noqa: SLF001
        other._hold_apart(day)  # noqa: SLF001
        return other

    def session_at(self, t: datetime) -> Session:
        """Return the first session whose `close` is after `t`.

        Raises:
            ScheduleExhausted: the last known session has closed by `t` (`last` is that session's date); or `t` lies
                before the first known day, in UTC, where an earlier session that is not known may be the answer.
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
            NotASession: there is none; the nearest on either side are named.
            ScheduleExhausted: `day` lies outside the known days.
        """
        require_date("day", day)
        self._require_known(day, day)
        session = self._forward(day, lambda year: bisect_left(year, day, key=_BY_DATE))
        if session is not None and session.date == day:
            return session
        raise NotASession(self._name, day, [near.date for near in (self._before(day), session) if near])

    def next_session(self, day: date) -> Session:
        """Return the first session labelled after `day` (itself a session or not); else raise `ScheduleExhausted`."""
        require_date("day", day)
        session = self._after(day)
        if session is None or day < self._first_day - _DAY:
            wanted = f"the session after {day}"
            raise self._exhausted(wanted, ahead=session is None)
        return session

    def previous_session(self, day: date) -> Session:
        """Return the last session labelled before `day` (itself a session or not); else raise `ScheduleExhausted`."""
        require_date("day", day)
        session = self._before(day)
        if session is None or day > self._last_day + _DAY:
            wanted = f"the session before {day}"
            raise self._exhausted(wanted, ahead=session is not None)
        return session

    def sessions(self, first: date, last: date) -> tuple[Session, ...]:
        """Return the sessions labelled from `first` to `last`, both inclusive; none where `first` is after `last`.

        Raises:
            ScheduleExhausted: a part of the range lies outside the known days.
        """
        require_date("first", first)
        require_date("last", last)
        if first > last:
            return ()
        self._require_known(first, last)
        for number in range(first.year, last.year + 1):
            if number not in self._years:
                end = number
                while end < last.year and end + 1 not in self._years:
                    end += 1
                self._load(number, end)
        years = (self._years[number] for number in range(first.year, last.year + 1))
        return tuple(session for year in years for session in year if first <= session.date <= last)

    def _on(self, day: date) -> Session | None:
        """Return the session labelled `day`, None where there is none, and see to it that its year is loaded."""
        try:
            return self.session_on(day)
        except NotASession:
            return None

    def _put(self, day: date, session: Session | None) -> None:
        """Replace what there is on a day of a year that is loaded."""
        others = [each for each in self._years[day.year] if each.date != day]
        added = [] if session is None else [session]
        self._years[day.year] = tuple(sorted(others + added, key=_BY_DATE))

    def _hold_apart(self, day: date) -> None:
        """Raise `OverrideRefused` where the session labelled `day` runs into a neighbour."""
        session = self._on(day)
        if session is None:
            return
        for earlier, later in ((self._before(day), session), (session, self._after(day))):
            if earlier is not None and later is not None and earlier.close > later.open:
                raise OverrideRefused(day, f"{earlier} would run into {later}")

    def _clipped(self, day: date) -> date:
        return min(max(day, self._first_day), self._last_day)

    def _require_known(self, first: date, last: date) -> None:
        if first < self._first_day:
            raise self._exhausted(first, ahead=False)
        if last > self._last_day:
            raise self._exhausted(last, ahead=True)

    def _exhausted(self, wanted: object, *, ahead: bool) -> ScheduleExhausted:
        """Build the error. The end that was hit is told by its session, the far one by its day, to spare a build."""
        first, last = self._first_day, self._last_day
        if ahead and (session := self._before(last + _DAY)):
            last = session.date
        if not ahead and (session := self._after(first - _DAY)):
            first = session.date
        return ScheduleExhausted(self._name, wanted, first, last)

    def _after(self, day: date) -> Session | None:
        year = self._years.get(day.year, ())
        at = bisect_right(year, day, key=_BY_DATE)
        if 0 < at < len(year):  # between two sessions of a year that is loaded, as nearly always
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
        self._load_around(asked if asked.year == number else self._clipped(date(number, 7, 1)))
        return self._years[number]

    def _load_around(self, day: date) -> tzinfo | None:
        """Load a known day's year if it is missing, and its neighbour if that is near. Return the zone, if it built.

        Beside years that are loaded already it loads as many more (five at most), so that walking on needs few builds.
        """
        if day.year in self._years:
            return None
        near = (day, self._clipped(day - _AROUND), self._clipped(day + _AROUND))
        missing = [each.year for each in near if each.year not in self._years]
        first, last = min(missing), max(missing)
        if first - 1 in self._years:
            last = max(last, first - 1 + self._run(first - 1, -1))
        elif last + 1 in self._years:
            first = min(first, last + 1 - self._run(last + 1, 1))
        return self._load(max(first, self._first_day.year), min(last, self._last_day.year))

    def _run(self, number: int, step: int) -> int:
        length = 1
        while length < _MOST_YEARS_AHEAD and number + length * step in self._years:
            length += 1
        return length

    def _load(self, first_year: int, last_year: int) -> tzinfo | None:
        """Build the calendar once and keep those years of it. Return its zone, or None where there is no session."""
        start = max(date(first_year, 1, 1), self._first_day)
        end = min(date(last_year, 12, 31), self._last_day)
        if start == end:  # exchange_calendars builds no calendar of a single day
            start, end = max(start - _DAY, self._first_day), min(end + _DAY, self._last_day)
        library = _library()
        with _told_as_unavailable(self._name):
            try:
                calendar = library.get_calendar(self._name, start=start.isoformat(), end=end.isoformat())
            except library.errors.NoSessionsError:
                self._keep(first_year, last_year, (), None)
                return None
            zone = _zone(calendar)
            self._keep(first_year, last_year, _converted(calendar), zone)
            return zone

    def _keep(self, first_year: int, last_year: int, sessions: Iterable[Session], zone: tzinfo | None) -> None:
        """Keep those years, unless they are there already, with what is known to be wrong put right."""
        if self._corrects and zone is not None:
            first, last = date(first_year, 1, 1), date(last_year, 12, 31)
            sessions, made = corrected(self._name, sessions, zone, first, last)
            self._corrections += [each for each in made if each.date.year not in self._years]
        if self._extended is not None and zone is not None:
            sessions = extended(self._extended, sessions, zone)
        by_year = {number: tuple(group) for number, group in groupby(sessions, key=lambda session: session.date.year)}
        for number in range(first_year, last_year + 1):
            self._years.setdefault(number, by_year.get(number, ()))


def _library() -> Any:
    """Import exchange_calendars, which takes half a second, and give it up to Any: it has no types."""
    import exchange_calendars  # type: ignore[import-untyped]  # late on purpose; see the module's docstring

    return exchange_calendars


def _canonical(name: object) -> str:
    """Return the name that an alias stands for; else raise `CalendarUnavailable`, with the nearest names."""
    library = _library()
    names: list[str] = library.get_calendar_names()
    if not isinstance(name, str) or name not in names:
        from difflib import get_close_matches  # needed for nothing else

        folded = {known.casefold(): known for known in names}
        near = get_close_matches(name.casefold(), folded) if isinstance(name, str) else []
        raise CalendarUnavailable(name, near=[folded[each] for each in near])
    canonical: str = library.resolve_alias(name)
    return canonical


def _bounds(canonical: str) -> tuple[date, date] | None:
    """Return the first and last day that a calendar can be built for, or None where it is registered as an instance."""
    # There is no public way to a calendar's class short of building it, for which these bounds are needed.
    dispatcher = _library().calendar_utils.global_calendar_dispatcher
    factory = getattr(dispatcher, "_calendar_factories", {}).get(canonical)
    if factory is None:
        return None
    earliest = getattr(factory, "bound_min", lambda: None)()
    latest = getattr(factory, "bound_max", lambda: None)()
    return (
        _RULES_START if earliest is None else earliest.date(),
        _RULES_END if latest is None else latest.date(),
    )


def _zone(calendar: Any) -> tzinfo:
    zone: tzinfo = calendar.tz
    return zone


def _converted(calendar: Any) -> list[Session]:
    """Return a calendar's sessions as plain values.

    Raises:
        InvalidSession: its hours cannot be, or overlap.
    """
    columns = (calendar.opens_nanos, calendar.break_starts_nanos, calendar.break_ends_nanos, calendar.closes_nanos)
    sessions: list[Session] = []
    for label, *nanos in zip(calendar.sessions, *(column.tolist() for column in columns), strict=True):
        opened, break_start, break_end, closed = nanos
        breaks = () if break_start == _NAT_NANOS else ((_instant(break_start), _instant(break_end)),)
        session = Session(label.date(), _instant(opened), _instant(closed), breaks)
        if sessions and sessions[-1].close > session.open:
            msg = f"session {session.date} opens before session {sessions[-1].date} has closed"
            raise InvalidSession(msg)
        sessions.append(session)
    return sessions


def _instant(nanos: int) -> datetime:
    return _EPOCH + timedelta(microseconds=nanos // 1000)


@contextmanager
def _told_as_unavailable(name: str) -> Generator[None, None, None]:
    """Turn whatever building a calendar raises into `CalendarUnavailable`."""
    try:
        yield
    except (CalendarUnavailable, OverrideRefused, ScheduleExhausted):
        raise
    except Exception as error:  # a calendar's constructor is somebody else's code
        raise CalendarUnavailable(name, reason=_described(error)) from error


def _described(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # some errors of exchange_calendars raise from their own __str__
        return f"{type(error).__name__}, which has no message"
