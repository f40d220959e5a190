"""What other sources say of a calendar's days: pandas_market_calendars, QuantLib and holidays.

A difference is an error of one side, or the two stand for something else. `other_data/calendars.toml` says what each
calendar is held against, and `other_data/judged.toml` which differences were judged, with the reason. The only module
that imports QuantLib and holidays, which no extra installs.
"""

import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any, Final, NamedTuple

from session_lifecycle._model.errors import CalendarUnavailable
from session_lifecycle._model.session import Date, Session
from session_lifecycle._schedules.base import Schedule
from session_lifecycle._schedules.calendars import calendar_errors
from session_lifecycle._schedules.comparison import compare
from session_lifecycle._schedules.market_calendar import MarketCalendarSchedule

DAY: Final = timedelta(days=1)
_PACKAGE: Final = "session_lifecycle._schedules"
# The share of a year's Mondays, and so on, that are sessions where Mondays are trading days.
_USUAL: Final = 0.3
# How much shorter than the most frequent sessions a half day is, at least.
_SHORTER: Final = timedelta(hours=1)


class Found(NamedTuple):
    """A difference: `ours` is "open", "closed" or "other hours", `theirs` what the source says."""

    calendar: str
    source: str
    date: Date
    ours: str
    theirs: str

    def __str__(self) -> str:
        return f"{self.calendar} {self.date:%Y-%m-%d %a}: ours {self.ours}; {self.source}: {self.theirs}"


class Judged(NamedTuple):
    """A row of the table: which differences it is about, why they are none of ours, and the evidence."""

    calendars: frozenset[str]
    against: frozenset[str]
    ours: str
    days: frozenset[str]
    theirs: frozenset[str]
    why: str
    source: tuple[str, ...]

    def includes(self, found: Found) -> bool:
        """Whether the row is about this difference."""
        return (
            found.calendar in self.calendars
            and found.source in self.against
            and found.ours == self.ours
            and (not self.days or bool({f"{found.date}", f"{found.date:%m-%d}"} & self.days))
            and (not self.theirs or any(part in found.theirs for part in self.theirs))
        )


@cache
def calendars() -> dict[str, dict[str, str]]:
    """Return what each calendar is held against, by source."""
    found: dict[str, dict[str, str]] = _content("calendars.toml")["calendars"]
    return found


@cache
def span() -> tuple[date, date]:
    """Return the first and the last day of the comparison that `python -m tests.compared` makes, both inclusive.

    The last one holds where a calendar's data file has no `vouched_until`.
    """
    content = _content("calendars.toml")
    return content["first"], content["last"]


@cache
def judged() -> tuple[Judged, ...]:
    """Return the differences that were judged."""
    return tuple(
        Judged(
            frozenset(row["calendars"]),
            frozenset(row["against"]),
            row["ours"],
            frozenset(map(str, row.get("days", ()))),
            frozenset(row.get("theirs", ())),
            row["why"],
            tuple(row["source"]),
        )
        for row in _content("judged.toml")["judged"]
    )


def differences(schedule: Schedule, source: str, first: date, last: date) -> list[Found]:
    """Return where a schedule and one of `SOURCES` differ, from `first` to `last`, both inclusive; ascending.

    Days are compared, and hours or half days where the source has some. Empty where the schedule's calendar, by its
    name, is not held against this source.

    Raises:
        CalendarUnavailable: the source is not installed, or its calendar cannot be built.
        ScheduleExhausted: part of the range lies outside the schedule's known days.
    """
    other = calendars().get(schedule.name, {}).get(source)
    if other is None:
        return []
    with calendar_errors(other):  # an earlier release of a source may lack the calendar
        return [Found(schedule.name, source, *each) for each in sorted(READERS[source](schedule, other, first, last))]


_Row = tuple[date, str, str]


def against_market(ours: Schedule, other: str, first: date, last: date) -> Iterator[_Row]:
    """Yield where a calendar of pandas_market_calendars has other sessions, or other hours."""
    theirs = MarketCalendarSchedule(other, near=datetime(last.year, 7, 1, tzinfo=UTC))
    for each in compare(ours, theirs, first, min(last, theirs.known_until)):
        if each.a is None or each.b is None:
            yield each.date, "closed" if each.a is None else "open", "open" if each.a is None else "closed"
        elif fields := [name for name in each.fields if name in ("open", "close", "breaks")]:
            yield each.date, "other hours", f"{each.in_words(ours.timezone)} ({' '.join(fields)})"


def against_quantlib(ours: Schedule, other: str, first: date, last: date) -> Iterator[_Row]:
    """Yield where a calendar of QuantLib has other business days."""
    try:
        import QuantLib  # type: ignore[import-untyped]  # slow, and optional
    except ImportError as error:
        raise CalendarUnavailable(other, reason="QuantLib is not installed: pip install QuantLib") from error
    library: Any = QuantLib
    name, _, market = other.partition(".")
    kind = getattr(library, name)
    calendar = kind(getattr(kind, market)) if market else kind()

    def is_open(day: date) -> bool:
        return bool(calendar.isBusinessDay(library.Date(day.day, day.month, day.year)))

    yield from _days(ours.sessions(first, last), is_open, lambda _: "a holiday", first, last)


def against_holidays(ours: Schedule, other: str, first: date, last: date) -> Iterator[_Row]:
    """Yield where a market or country of the package holidays has others, on the ordinary days of the week.

    The half days of markets are compared too, where it has them; those of countries are the hours of offices. Ours are
    the sessions that are an hour or more shorter than the most frequent ones.
    """
    try:
        import holidays  # slow, and optional
    except ImportError as error:
        raise CalendarUnavailable(other, reason="holidays is not installed: pip install holidays") from error
    library: Any = holidays
    kind, _, place = other.rpartition(" ")
    of: Any = library.country_holidays if kind else library.financial_holidays
    options: dict[str, Any] = {"years": range(first.year, last.year + 1)}
    found: Any = of(place, **options)
    if found.default_language is not None:  # names in English, where there are translations
        options["language"] = "en_US"
        found = of(place, **options)
    # Which days of the week are ordinary ones, a year tells; a range may be short.
    begin = date(first.year, 1, 1)
    year = [session for session in ours.sessions(begin, last) if session.date >= begin]
    traded = Counter((session.date.year, session.date.weekday()) for session in year)
    all_days = Counter((day.year, day.weekday()) for day in _range(begin, last))

    def is_open(day: date) -> bool:
        kind = (day.year, day.weekday())
        return day not in found and traded[kind] > _USUAL * all_days[kind]

    known_from = date(found.start_year, 1, 1)
    sessions = [session for session in year if session.date >= first]
    for day, mine, theirs in _days(sessions, is_open, lambda day: found.get(day, "weekend"), first, last):
        if day >= known_from:
            yield day, mine, theirs
    if not kind and library.HALF_DAY in found.supported_categories:
        ours_half, half_days = _half_days(year), of(place, categories=library.HALF_DAY, **options)
        for day in (session.date for session in sessions if is_open(session.date)):
            if day >= known_from and (day in ours_half) != (day in half_days):
                yield day, "other hours", f"a half day: {half_days[day]}" if day in half_days else "a whole day"


READERS: Final[dict[str, Callable[[Schedule, str, date, date], Iterator[_Row]]]] = {
    "markets": against_market,
    "quantlib": against_quantlib,
    "holidays": against_holidays,
}
SOURCES: Final = tuple(READERS)
"""The sources: pandas_market_calendars (the extra `markets`), QuantLib and holidays."""


def _days(
    sessions: Iterable[Session],
    is_open: Callable[[date], bool],
    name: Callable[[date], str],
    first: date,
    last: date,
) -> Iterator[_Row]:
    ours = {session.date for session in sessions}
    for day in _range(first, last):
        if (day in ours) != is_open(day):
            yield (day, "open", name(day)) if day in ours else (day, "closed", "open")


def _half_days(sessions: Iterable[Session]) -> set[date]:
    lengths = {session.date: session.close - session.open for session in sessions}
    counts = Counter(lengths.values())
    usual = max(counts, key=counts.__getitem__, default=timedelta(0))
    return {day for day, length in lengths.items() if usual - length >= _SHORTER}


def _range(first: date, last: date) -> Iterator[date]:
    for n in range((last - first).days + 1):
        yield first + n * DAY


def _content(name: str) -> dict[str, Any]:
    from importlib.resources import files  # slow to import

    return tomllib.loads(files(_PACKAGE).joinpath("other_data", name).read_text(encoding="utf-8"))
