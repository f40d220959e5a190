"""Hold every calendar against three other sources, and print what differs: `python -m tests.compared [CALENDAR ...]`.

The sources are pandas_market_calendars, QuantLib and holidays; `compared_calendars.toml` says which calendar is held
against what. A difference is an error of one side, or the two stand for something else. Each one is either fixed, by a
row in `session_lifecycle/_schedules/hours_data`, or judged, by a row of `compared_judged.toml` with the reason. Exit
status 1: a difference is neither.
"""

import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from session_lifecycle import ExchangeSchedule, MarketCalendarSchedule, Session, compare

FIRST: Final = date(2024, 1, 1)
PUBLISHED: Final = date(2026, 12, 31)
"""The last day of the last year that exchanges have published, where a calendar's data file names no other one."""
DAY: Final = timedelta(days=1)
FOLDER: Final = Path(__file__).parent
SOURCES: Final = ("markets", "quantlib", "holidays")
_USUAL: Final = 0.3  # of the days of a year that are a Monday, and so on, are sessions where Mondays are trading days


class Found(NamedTuple):
    """A difference: `ours` is "open", "closed" or "other hours", `theirs` what the source says."""

    calendar: str
    source: str
    date: date
    ours: str
    theirs: str

    def __str__(self) -> str:
        return f"{self.calendar} {self.date:%Y-%m-%d %a}: ours {self.ours}; {self.source}: {self.theirs}"


class Judged(NamedTuple):
    """A row of the table: which differences it is about, and why they are none of ours."""

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


def calendars() -> dict[str, dict[str, str]]:
    """Return what each calendar is held against."""
    return tomllib.loads((FOLDER / "compared_calendars.toml").read_text(encoding="utf-8"))["calendars"]


def judged() -> list[Judged]:
    """Return the differences that were judged."""
    content = tomllib.loads((FOLDER / "compared_judged.toml").read_text(encoding="utf-8"))
    return [
        Judged(
            frozenset(row["calendars"]),
            frozenset(row["against"]),
            row["ours"],
            frozenset(map(str, row.get("days", ()))),
            frozenset(row.get("theirs", ())),
            row["why"],
            tuple(row["source"]),
        )
        for row in content["judged"]
    ]


def last_day(schedule: ExchangeSchedule) -> date:
    """Return the last day to compare: the last that is vouched for, else the end of the published year."""
    return min(schedule.vouched_until or PUBLISHED, schedule.known_until)


def against_market(ours: ExchangeSchedule, other: str, first: date, last: date) -> Iterator[tuple[date, str, str]]:
    """Yield where a calendar of pandas_market_calendars has other sessions, or other hours."""
    theirs = MarketCalendarSchedule(other, near=datetime(last.year, 7, 1, tzinfo=UTC))
    last = min(last, theirs.known_until)
    for each in compare(ours, theirs, first, last):
        if each.a is None or each.b is None:
            yield each.date, "closed" if each.a is None else "open", "open" if each.a is None else "closed"
        elif fields := [name for name in each.fields if name in ("open", "close", "breaks")]:
            yield each.date, "other hours", f"{each.in_words(ours.timezone)} ({' '.join(fields)})"


def against_quantlib(ours: ExchangeSchedule, other: str, first: date, last: date) -> Iterator[tuple[date, str, str]]:
    """Yield where a calendar of QuantLib has other business days."""
    import QuantLib  # slow

    name, _, market = other.partition(".")
    kind: Any = getattr(QuantLib, name)
    calendar = kind(getattr(kind, market)) if market else kind()

    def is_open(day: date) -> bool:
        return calendar.isBusinessDay(QuantLib.Date(day.day, day.month, day.year))

    yield from _days(ours.sessions(first, last), is_open, lambda _: "a holiday", first, last)


def against_holidays(ours: ExchangeSchedule, other: str, first: date, last: date) -> Iterator[tuple[date, str, str]]:
    """Yield where a market or country of the package holidays has others, on the ordinary days of the week."""
    import holidays  # slow

    years = range(first.year, last.year + 1)
    kind, _, country = other.rpartition(" ")
    of: Any = holidays.country_holidays if kind else holidays.financial_holidays
    found: Any = of(country, years=years)
    if getattr(found, "default_language", None):  # names in English, where there are translations
        found = of(country, years=years, language="en_US")
    sessions = ours.sessions(first, last)
    traded = Counter((session.date.year, session.date.weekday()) for session in sessions)
    all_days = Counter(((first + n * DAY).year, (first + n * DAY).weekday()) for n in range((last - first).days + 1))
    known_from = max(first, date(getattr(found, "start_year", first.year), 1, 1))

    def is_open(day: date) -> bool:
        kind = (day.year, day.weekday())
        return day not in found and traded[kind] > _USUAL * all_days[kind]

    for day, mine, theirs in _days(sessions, is_open, lambda day: found.get(day, "weekend"), first, last):
        if day >= known_from:
            yield day, mine, theirs


def _days(
    sessions: Iterable[Session],
    is_open: Callable[[date], bool],
    name: Callable[[date], str],
    first: date,
    last: date,
) -> Iterator[tuple[date, str, str]]:
    ours = {session.date for session in sessions}
    for n in range((last - first).days + 1):
        day = first + n * DAY
        if (day in ours) != is_open(day):
            yield (day, "open", name(day)) if day in ours else (day, "closed", "open")


READERS: Final[dict[str, Callable[[ExchangeSchedule, str, date, date], Iterator[tuple[date, str, str]]]]] = {
    "markets": against_market,
    "quantlib": against_quantlib,
    "holidays": against_holidays,
}


def differences(name: str, sources: Iterable[str] = SOURCES, *, corrections: bool = True) -> list[Found]:
    """Return where a calendar differs from the sources that it is held against."""
    ours = ExchangeSchedule(name, corrections=corrections, near=datetime(2026, 1, 1, tzinfo=UTC))
    last = last_day(ours)
    found: list[Found] = []
    for source in sources:
        other = calendars()[name].get(source)
        if other is not None:
            found += [Found(name, source, *each) for each in READERS[source](ours, other, FIRST, last)]
    return found


def main(names: list[str]) -> int:
    """Print the differences that nobody has judged, and a line for each calendar."""
    rows, table = judged(), calendars()
    used: set[Judged] = set()
    unjudged = 0
    for name in names or table:
        if "not_compared" in table[name]:
            print(f"{name}: not compared, since {table[name]['not_compared']}")
            continue
        why: dict[Found, Judged] = {}
        found = differences(name)
        for each in found:
            row = next((row for row in rows if row.includes(each)), None)
            if row is not None:
                why[each] = row
        used |= {*why.values()}
        left = [each for each in found if each not in why]
        unjudged += len(left)
        last = last_day(ExchangeSchedule(name, near=datetime(2026, 1, 1, tzinfo=UTC)))
        sources = ", ".join(f"{source} {other}" for source, other in table[name].items())
        print(f"{name}, {FIRST} to {last}, with {sources}: {len(left)} differences, and {len(why)} that were judged")
        for each in left:
            print(f"    {each}")
    if not names:
        for row in rows:
            if row not in used:
                print(f"no such difference any more: {', '.join(sorted(row.calendars))}: {row.why}")
    print(f"{unjudged} differences are neither fixed nor judged")
    return 1 if unjudged else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
