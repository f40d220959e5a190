"""The table of known errors against exchange_calendars itself: it shrinks when upstream puts one right."""

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from importlib.metadata import version

import pytest

from session_lifecycle import Correction, ExchangeSchedule, compare
from session_lifecycle._schedules.corrections import TABLE, CorrectedHours, Row, corrected
from tests.helpers.builders import DAY, session, utc, weekdays
from tests.labs.simulation.hours import NAMES

FIRST, LAST = date(2010, 1, 1), date(2026, 12, 31)
ROWS = [(calendar, row) for calendar, rows in TABLE.items() for row in rows]


def local(calendar: str, day: date) -> tuple[str, str] | None:
    """Return a session's hours in the exchange's own time, None where there is no session."""
    schedule = ExchangeSchedule(calendar, near=datetime.combine(day, time(12), UTC))
    found = schedule.sessions(day, day)
    if not found:
        return None
    return tuple(f"{each.astimezone(schedule.timezone):%d %H:%M}" for each in (found[0].open, found[0].close))


@cache
def raw(calendar: str) -> ExchangeSchedule:
    """Return a calendar as exchange_calendars has it, with every year that the table is about loaded at once."""
    schedule = ExchangeSchedule(calendar, corrections=False, near=utc(2026, 6, 1))
    schedule.sessions(max(FIRST, schedule._first_day), LAST)
    return schedule


@pytest.mark.parametrize(("calendar", "row"), ROWS, ids=lambda each: each if isinstance(each, str) else "")
def test_every_row_is_still_needed(calendar, row):
    """Upstream still has the wrong hours, on every date of the row; where this fails, take the row out of the table."""
    schedule = raw(calendar)
    days = row.dates
    if row.since is not None:
        days = [each.date for each in schedule.sessions(row.since, min(row.until, LAST))][::50]
        days = [day for day in days if not any(day in other.dates for other in TABLE[calendar])]
        regular = [day for day in days if schedule.session_on(day) == row.was.on(day, schedule.timezone)]
        assert len(regular) > len(days) * 0.9
        days = regular
    for day in days:
        found = schedule.sessions(day, day)
        assert found == (() if row.was is None else (row.was.on(day, schedule.timezone),)), day
    assert row.true != row.was
    assert row.source.startswith("http")
    assert row.first_fixed is None or version("exchange-calendars") < row.first_fixed


@pytest.mark.parametrize(
    ("calendar", "day", "hours"),
    [
        # cmegroup.com, E-mini S&P 500 contract specifications: Sunday to Friday 17:00 to 16:00 Chicago
        ("CMES", date(2024, 6, 3), ("02 17:00", "03 16:00")),
        ("CMES", date(2015, 9, 21), ("20 17:00", "21 16:00")),
        # CME's e-mail of 2012 (eminiroom.com/better-trader.php?id=35): from 19 November 2012 the day ends at 16:15
        ("CMES", date(2012, 11, 19), ("18 17:00", "19 16:15")),
        ("CMES", date(2015, 9, 18), ("17 17:00", "18 16:15")),
        ("CMES", date(2025, 6, 19), ("18 17:00", "19 12:00")),
        # mondovisione.com, CME Group 2024-12-30: US equity markets open until 8:30 a.m. on 9 January
        ("CMES", date(2025, 1, 9), ("08 17:00", "09 08:30")),
        ("CMES", date(2023, 4, 7), ("06 17:00", "07 08:15")),
        ("CMES", date(2024, 3, 29), None),  # a Good Friday on which it was closed
        # hkex.com.hk/News/Market-Communications/2023/2309012news, 2309083news
        ("XHKG", date(2023, 9, 1), None),
        ("XHKG", date(2023, 9, 8), None),
        ("XHKG", date(2023, 10, 9), ("09 14:00", "09 16:00")),
        # github.com/gerrymanoim/exchange_calendars/pull/574 and 583
        ("XKRX", date(2026, 6, 3), None),
        ("XKRX", date(2026, 7, 17), None),
        ("XKRX", date(2024, 11, 14), ("14 10:00", "14 16:30")),
        ("XBOM", date(2026, 2, 1), ("01 09:15", "01 15:30")),
        ("XIDX", date(2026, 12, 24), None),
    ],
)
def test_what_is_true_is_what_one_gets(calendar, day, hours):
    assert local(calendar, day) == hours


def test_the_exchange_of_jakarta_has_as_many_days_as_it_says():
    """239 trading days in 2026, by its own count."""
    assert len(ExchangeSchedule("XIDX").sessions(date(2026, 1, 1), LAST)) == 239


def differences(name: str) -> list[tuple[object, ...]]:
    true, wrong = ExchangeSchedule(name, near=utc(2026, 6, 1)), raw(name)
    first = max(FIRST, wrong._first_day)
    last = min(LAST, wrong.known_until)
    found = [(each.date, each.a, each.b) for each in compare(wrong, true, first, last)]
    listed = [(each.date, each.before, each.after) for each in true.corrections if first <= each.date <= last]
    assert found == listed
    assert wrong.corrections == ()
    return found


@pytest.mark.parametrize("name", sorted(TABLE))
def test_the_differences_are_the_table(name):
    """2010 to 2026, each session: what differs from the raw calendar is what `corrections` lists, to the field."""
    assert len(differences(name)) >= len([day for row in TABLE[name] for day in row.dates])


@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_other_calendar_is_as_it_is():
    """No calendar without a row differs anywhere from 2010 to 2026."""
    assert len(NAMES) == 71
    for name in NAMES:
        assert name in TABLE or differences(name) == [], name


def test_corrections_are_listed_whatever_has_been_loaded():
    """Those of the past, though nobody has asked about those years; of a rule without an end, what is loaded."""
    schedule = ExchangeSchedule("CMES", near=utc(2026, 6, 1))
    listed = schedule.corrections
    assert (listed[0].date, listed[-1].date) == (date(2012, 10, 29), date(2026, 12, 31))
    schedule.session_on(date(2028, 6, 1))
    assert schedule.corrections[-1].date == date(2028, 12, 29)
    assert [each.date for each in listed] == sorted({each.date for each in listed})
    mourning = next(each for each in listed if each.date == date(2025, 1, 9))
    assert isinstance(mourning, Correction)
    assert (mourning.before, mourning.first_wrong, mourning.first_fixed) == (None, "4.7", None)
    assert "mondovisione.com" in mourning.source


def test_nothing_is_touched_where_upstream_says_something_else():
    """A release that has put a day right, or says yet something else of it, is left alone."""
    schedule = weekdays(n=3)
    days = schedule.sessions(date(2024, 1, 1), date(2024, 12, 31))
    monday, tuesday, wednesday = (each.date for each in days)
    was = CorrectedHours(time(14, 30), time(21))
    rows = (
        Row(was, None, "https://x", (str(tuesday),)),
        Row(CorrectedHours(time(14), time(21)), None, "https://x", (str(monday),)),
        Row(None, was, "https://x", (str(wednesday),)),
        Row(was, None, "https://x", (str(wednesday + DAY),)),
        Row(None, was, "https://x", (str(wednesday + 2 * DAY),)),
    )
    found, made = apply(rows, days, monday, wednesday + timedelta(days=30))
    assert [each.date for each in found] == [monday, wednesday, wednesday + 2 * DAY]
    assert [each.date for each in made] == [tuesday, wednesday + 2 * DAY]
    found, made = apply(rows, days, monday, monday)
    assert made == []


def apply(rows, days, first, last):
    TABLE["test"] = rows
    try:
        return corrected("test", days, UTC, first, last)
    finally:
        del TABLE["test"]


def test_an_open_that_is_not_before_the_close_is_of_the_evening_before():
    assert CorrectedHours(time(17), time(16)).on(date(2024, 3, 4), UTC).open == utc(2024, 3, 3, 17)
    assert CorrectedHours(time(14, 30), time(21)).on(date(2024, 3, 4), UTC) == session()
