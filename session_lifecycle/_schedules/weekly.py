"""Hours by rule: a week that repeats without end in the clocks of one zone, with closures and special hours on top.

The rule is held in local time, as the stretches of each trade date, and is converted date by date. A stretch that the
clocks skip entirely does not exist; one that they skip partly is shorter by that.
"""

import re
from collections.abc import Iterable, Iterator
from copy import copy
from datetime import date, datetime, time, timedelta, tzinfo
from itertools import pairwise
from operator import attrgetter
from typing import Final, NamedTuple, NoReturn, Self

from session_lifecycle._model.clock import as_utc
from session_lifecycle._model.errors import ConfigurationError, NotASession, OverrideRefused, ScheduleExhausted
from session_lifecycle._model.overrides import Override, applied, by_date, of_seasons
from session_lifecycle._model.session import Session, require_date
from session_lifecycle._schedules.html import schedule_html
from session_lifecycle._schedules.local_time import instant_of, zone_of

_NAMES: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY: Final = 86_400
_WEEK: Final = 7 * _DAY
_ONE_DAY: Final = timedelta(days=1)
_BY_DATE: Final = attrgetter("date")

# The years of `datetime`, without those at either end, in which a neighbour or another zone's date does not exist.
_FIRST: Final = date(2, 1, 1)
_LAST: Final = date(9998, 12, 31)

_MOST_SESSIONS: Final = 4_096
"""How many dates a schedule keeps: eleven years."""

_WEEKDAY: Final = f"(?:{'|'.join(_NAMES)})"
_CLOCK: Final = r"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d)?|24:00(?::00)?"
_SPAN: Final = re.compile(rf"({_WEEKDAY}) +({_CLOCK}) *- *({_WEEKDAY}) +({_CLOCK})", re.ASCII)
_DAILY: Final = re.compile(rf"({_WEEKDAY}[^ ]*) +(\S.*)", re.ASCII)
_RANGE: Final = re.compile(rf"\s*({_CLOCK}) *- *({_CLOCK})\s*", re.ASCII)
_DAYS: Final = re.compile(rf"({_WEEKDAY})(?:-({_WEEKDAY}))?")


class _Stretch(NamedTuple):
    """An interval of local time, in seconds: `start` ≤ t < `end`, from Monday's midnight or from a trade date's."""

    start: int
    end: int


class WeeklySchedule:
    """Hours by rule, without end: the same week again and again, in the local time of one zone.

    An entry of `hours` is `"Sun 17:00-Fri 17:00"`, from one day to another, or `"Mon-Thu 09:30-12:00, 13:00-16:00"`,
    the same ranges on each of these days (`"Mon,Wed"` and `"Fri-Mon"` are days too). A range that does not end after
    its start ends on the next day; `24:00` is the end of a day. Ranges that touch are one.

    A session has the date on which it closes, a close at midnight being that of the day before. With `daily_roll` the
    trading day ends at that local time: what is open is cut there, and everything between two rolls is one session,
    with breaks. `trade_days` are the weekdays that can be trade dates: what ends on another day counts for the next of
    them, as a Friday night does for Monday.

    Hours follow the zone's clocks. A local time that occurs twice is its first occurrence, and one that is skipped is
    the instant of the change; a session of which nothing is left is none.

    Args:
        name: the name in messages.
        timezone: the zone whose clocks the hours follow, or its name, such as `"America/New_York"`.
        hours: one entry, or several.
        daily_roll: the local time at which a trading day ends and the next begins; by default each stretch of at most
            a day is a session, together with those that close on the same date.
        trade_days: such as `"Mon-Fri"`; by default every day.
        overrides: closures and special hours, at most one for each date. A `Closure` removes the whole session of its
            date, the night before included.

    Raises:
        ConfigurationError: an argument is refused; names it.
        OverrideRefused: an override contradicts the rule or another override, or its hours are not in order.
        ScheduleExhausted: an override is of the year 1 or 9999, whose days lie at the end of time.
        TypeError: an override is neither a `Closure` nor a `SpecialHours`.
    """

    __module__ = "session_lifecycle"

    def __init__(
        self,
        name: str,
        timezone: str | tzinfo,
        hours: str | Iterable[str],
        *,
        daily_roll: time | None = None,
        trade_days: str | None = None,
        overrides: Iterable[Override] = (),
    ) -> None:
        if not isinstance(name, str) or not name:
            raise ConfigurationError("name", name, "must be a text, such as 'FX'")
        zone = zone_of(timezone)
        if zone is None:
            rule = "must be a tzinfo, or a name in the time zone database, such as 'America/New_York'"
            raise ConfigurationError("timezone", timezone, rule)
        roll = None if daily_roll is None else _roll_seconds(daily_roll)
        days = set(range(7) if trade_days is None else _weekdays("trade_days", trade_days, trade_days))
        entries = (hours,) if isinstance(hours, str) else tuple(hours) if isinstance(hours, Iterable) else ()
        self._name = name
        self._timezone: tzinfo = zone
        self._stretches = _by_weekday(_week(hours, entries), hours, roll, days)
        self._kept: dict[date, Session | None] = {}
        self._replaced: dict[date, Session | None] = {}
        singles, seasons = by_date(overrides)
        for day in (*singles, *(season.date for season in seasons), *(season.until for season in seasons)):
            if day is not None:
                _require_known(name, day)
        changes = of_seasons(seasons, self.sessions, zone) | singles
        self._overrides: tuple[Override, ...] = tuple(sorted((*singles.values(), *seasons), key=_BY_DATE))
        for day, override in changes.items():
            self._replaced[day] = applied(override, self._regular(day), zone)
        self._kept = {}
        for day in changes:
            self._require_apart(day)

    def __repr__(self) -> str:
        return f"<WeeklySchedule {self._name!r} in {self._timezone}>"

    def _repr_html_(self) -> str:
        return schedule_html(self)

    @property
    def name(self) -> str:
        """The name passed to the constructor."""
        return self._name

    @property
    def timezone(self) -> tzinfo:
        """The zone whose clocks the hours follow."""
        return self._timezone

    @property
    def overrides(self) -> tuple[Override, ...]:
        """The overrides passed to the constructor, by their dates; a season has that of its first day."""
        return self._overrides

    def session_at(self, t: datetime) -> Session:
        """Return the first session whose `close` is after `t`.

        Raises:
            ScheduleExhausted: `t` lies before the year 2 or after the year 9998.
            NaiveDatetimeError: `t` has no time zone.
        """
        instant = as_utc("t", t)
        day = instant.date()
        _require_known(self._name, day, t)
        # Sessions do not overlap, so their closes have the order of their dates: search from one that is near.
        found = self._on(day) or self._near(day, _ONE_DAY)
        if found is not None and found.close <= instant:
            while found is not None and found.close <= instant:
                found = self._near(found.date, _ONE_DAY)
        elif found is not None:
            while (earlier := self._near(found.date, -_ONE_DAY)) is not None and earlier.close > instant:
                found = earlier
        if found is None:
            raise ScheduleExhausted(self._name, t, _FIRST, _LAST)
        return found

    def session_on(self, day: date) -> Session:
        """Return the session labelled `day`.

        Raises:
            NotASession: there is none; names the nearest session on either side.
            ScheduleExhausted: `day` lies before the year 2 or after the year 9998.
        """
        require_date("day", day)
        _require_known(self._name, day)
        session = self._on(day)
        if session is None:
            near = [self._near(day, -_ONE_DAY), self._near(day, _ONE_DAY)]
            raise NotASession(self._name, day, [each.date for each in near if each is not None])
        return session

    def next_session(self, day: date) -> Session:
        """Return the first session labelled after `day`, or raise `ScheduleExhausted`. `day` need not be a session."""
        return self._beside(day, _ONE_DAY, "after")

    def previous_session(self, day: date) -> Session:
        """Return the last session labelled before `day`, or raise `ScheduleExhausted`. `day` need not be a session."""
        return self._beside(day, -_ONE_DAY, "before")

    def sessions(self, first: date, last: date) -> tuple[Session, ...]:
        """Return the sessions labelled from `first` to `last`, both inclusive. Empty where `first` is after `last`.

        Raises:
            ScheduleExhausted: part of the range lies before the year 2 or after the year 9998.
        """
        require_date("first", first)
        require_date("last", last)
        if first > last:
            return ()
        for day in (first, last):
            _require_known(self._name, day)
        days = (first + number * _ONE_DAY for number in range((last - first).days + 1))
        return tuple(session for day in days if (session := self._on(day)) is not None)

    def with_session(self, day: date, session: Session | None) -> Self:
        """Return a copy of this schedule with another session on one date, or with none.

        Raises:
            ScheduleExhausted: `day` lies before the year 2 or after the year 9998.
            OverrideRefused: the session would overlap a neighbour.
        """
        require_date("day", day)
        _require_known(self._name, day)
        other = copy(self)
        for field, value in (("_replaced", {**self._replaced, day: session}), ("_kept", {})):
            setattr(other, field, value)
        other._require_apart(day)  # noqa: SLF001 -- a copy of self
        return other

    def _on(self, day: date) -> Session | None:
        """Return the session labelled `day`, or None."""
        try:
            return self._kept[day]
        except KeyError:
            pass
        session = self._replaced[day] if day in self._replaced else self._regular(day)
        if len(self._kept) >= _MOST_SESSIONS:
            self._kept = {}  # a new one, since another thread may be reading
        self._kept[day] = session
        return session

    def _regular(self, day: date) -> Session | None:
        """Return the session of a day by the rule alone, or None."""
        ranges: list[tuple[datetime, datetime]] = []
        for start, end in self._stretches[day.weekday()]:
            opened, closed = (instant_of(day, seconds, self._timezone) for seconds in (start, end))
            if ranges and ranges[-1][1] == opened:  # the clocks have skipped what lay between
                opened = ranges.pop()[0]
            if opened < closed:
                ranges.append((opened, closed))
        if not ranges:
            return None
        breaks = tuple((closed, opened) for (_, closed), (opened, _) in pairwise(ranges))
        return Session(day, ranges[0][0], ranges[-1][1], breaks)

    def _near(self, day: date, step: timedelta) -> Session | None:
        """Return the nearest session before or after a day; None where the years of `datetime` end."""
        day += step
        while _FIRST <= day <= _LAST:
            session = self._on(day)
            if session is not None:
                return session
            day += step
        return None

    def _beside(self, day: date, step: timedelta, where: str) -> Session:
        require_date("day", day)
        within = _FIRST <= day <= _LAST
        session = self._near(day, step) if within else None
        if session is None:
            raise ScheduleExhausted(self._name, f"the session {where} {day}", _FIRST, _LAST)
        return session

    def _require_apart(self, day: date) -> None:
        """Raise `OverrideRefused` where the session labelled `day` overlaps a neighbour."""
        session = self._on(day)
        if session is None:
            return
        for earlier, later in ((self._near(day, -_ONE_DAY), session), (session, self._near(day, _ONE_DAY))):
            if earlier is not None and later is not None and earlier.close > later.open:
                raise OverrideRefused(day, f"{earlier} would overlap {later}")


def _require_known(name: str, day: date, wanted: object = None) -> None:
    if not _FIRST <= day <= _LAST:
        raise ScheduleExhausted(name, day if wanted is None else wanted, _FIRST, _LAST)


def _roll_seconds(daily_roll: object) -> int:
    """Return the roll in seconds after midnight."""
    if not isinstance(daily_roll, time) or daily_roll.tzinfo is not None or daily_roll.microsecond:
        rule = "must be a time of the zone's day, in whole seconds and without a time zone of its own, such as time(17)"
        raise ConfigurationError("daily_roll", daily_roll, rule)
    return (daily_roll.hour * 60 + daily_roll.minute) * 60 + daily_roll.second


# ---- the text of the hours ----


def _week(hours: object, entries: Iterable[object]) -> list[_Stretch]:
    """Return the stretches of the week in ascending order, those that touch as one, the last perhaps into the next."""
    found = sorted(stretch for entry in entries for stretch in _entry(hours, entry))
    if not found:
        _refuse("hours", hours, "must have an entry, such as 'Mon-Fri 09:30-16:00' or 'Sun 17:00-Fri 17:00'")
    joined = found[:1]
    for stretch in found[1:]:
        if stretch.start < joined[-1].end:
            _refuse("hours", hours, f"{_text(joined[-1])} and {_text(stretch)} overlap")
        if stretch.start == joined[-1].end:
            stretch = _Stretch(joined.pop().start, stretch.end)  # noqa: PLW2901 -- the two of them are one
        joined.append(stretch)
    over = joined[-1].end - _WEEK - joined[0].start
    if over > 0:
        _refuse("hours", hours, f"{_text(joined[-1])} and {_text(joined[0])} overlap")
    if over == 0 and len(joined) > 1:
        first = joined.pop(0)
        joined[-1] = _Stretch(joined[-1].start, first.end + _WEEK)
    return joined


def _entry(hours: object, entry: object) -> Iterator[_Stretch]:
    """Yield the stretches of one entry."""
    text = entry.strip() if isinstance(entry, str) else ""
    if span := _SPAN.fullmatch(text):
        first, opens, last, closes = span.groups()
        start = _NAMES.index(first) * _DAY + _seconds(opens)
        yield _stretch(start, _NAMES.index(last) * _DAY + _seconds(closes), _WEEK)
        return
    daily = _DAILY.fullmatch(text)
    ranges = [_RANGE.fullmatch(each) for each in daily[2].split(",")] if daily else [None]
    for found in ranges:
        if daily is None or found is None:
            _refuse("hours", hours, f"{entry!r} is not of the form 'Mon-Fri 09:30-16:00' or 'Sun 17:00-Fri 17:00'")
        for weekday in _weekdays("hours", hours, daily[1]):
            midnight = weekday * _DAY
            yield _stretch(midnight + _seconds(found[1]), midnight + _seconds(found[2]), _DAY)


def _stretch(start: int, end: int, repeat: int) -> _Stretch:
    """Return the stretch of these ends, the end being the next one after the start, which lies in the week."""
    if end <= start:
        end += repeat
    return _Stretch(start % _WEEK, start % _WEEK + end - start)


def _weekdays(argument: str, value: object, text: object) -> Iterator[int]:
    """Yield the numbers of the weekdays in a text such as `Mon-Fri` or `Sun,Tue-Thu`, Monday being 0."""
    for part in text.split(",") if isinstance(text, str) else [""]:
        found = _DAYS.fullmatch(part.strip())
        if found is None:
            _refuse(argument, value, f"{text!r} is not a list of days such as 'Mon-Fri' or 'Sun,Tue,Thu'")
        first, last = _NAMES.index(found[1]), _NAMES.index(found[2] or found[1])
        yield from (day % 7 for day in range(first, last + 1 if last >= first else last + 8))


def _seconds(clock: str) -> int:
    hour, minute, *second = map(int, clock.split(":"))
    return (hour * 60 + minute) * 60 + sum(second)


def _text(stretch: _Stretch) -> str:
    """Return a stretch as an entry of the hours."""
    ends = (f"{_NAMES[at // _DAY % 7]} {at % _DAY // 3600:02}:{at % 3600 // 60:02}" for at in stretch)
    return "-".join(ends)


def _refuse(argument: str, value: object, rule: str) -> NoReturn:
    raise ConfigurationError(argument, value, rule)


# ---- the trade dates of the hours ----


def _by_weekday(
    week: list[_Stretch], hours: object, roll: int | None, trade_days: set[int]
) -> tuple[tuple[_Stretch, ...], ...]:
    """Return for each weekday the stretches of a session with that trade date, counted from its midnight."""
    found: list[list[_Stretch]] = [[] for _ in _NAMES]
    for stretch in week:
        if roll is None and stretch.end - stretch.start > _DAY:
            rule = f"{_text(stretch)} is longer than a day: give `daily_roll`, the time at which a trading day ends"
            raise ConfigurationError("hours", hours, rule)
        for start, end in [stretch] if roll is None else _cut(stretch, roll):
            # The instant at which its trading day ends; a trading day that ends at midnight is that of the day before.
            ends = end if roll is None else end + (roll - end) % _DAY
            label = (ends - 1) // _DAY
            while label % 7 not in trade_days:
                label += 1
            found[label % 7].append(_Stretch(start - label * _DAY, end - label * _DAY))
    return tuple(map(_joined, found))


def _joined(stretches: list[_Stretch]) -> tuple[_Stretch, ...]:
    """Return the stretches of a session in ascending order, those that touch as one."""
    joined: list[_Stretch] = []
    for stretch in sorted(stretches):
        touches = joined and joined[-1].end == stretch.start
        joined.append(_Stretch(joined.pop().start, stretch.end) if touches else stretch)
    return tuple(joined)


def _cut(stretch: _Stretch, roll: int) -> Iterator[_Stretch]:
    """Yield the parts of a stretch between the daily rolls within it."""
    start, end = stretch
    for at in range(start + ((roll - start) % _DAY or _DAY), end, _DAY):
        yield _Stretch(start, at)
        start = at
    yield _Stretch(start, end)
