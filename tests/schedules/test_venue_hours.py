"""Every data file of venues' hours against its format, its sources and the installed exchange_calendars."""

from datetime import UTC, date, timedelta
from functools import cache
from importlib.metadata import version
from zoneinfo import ZoneInfo

import pytest

from session_lifecycle import ExchangeSchedule
from session_lifecycle._schedules.calendars import known_days
from session_lifecycle._schedules.local_hours import hours_from, parse_fields
from session_lifecycle._schedules.venue_hours import (
    KINDS,
    Row,
    file_name,
    hours_of,
    local_key,
    parsed_hours,
    row_key,
    sessions_of,
)
from tests.helpers.calendars import calendars_with_hours, with_years
from tests.labs.simulation.hours import NAMES

CALENDARS = sorted(calendars_with_hours())
ROWS = [(name, number) for name in CALENDARS for number in range(len(hours_of(name).rows))]
LAST = date(2027, 12, 31)
DAY = timedelta(days=1)


@cache
def schedule_of(name: str, *, corrections: bool) -> ExchangeSchedule:
    """Return a calendar with the years that its rows are about, up to `LAST`; without a row, with that year."""
    first = min((row.ends[0] for row in hours_of(name).rows), default=LAST)
    return with_years(name, first, LAST, corrections=corrections)


def days_of(name: str, row: Row) -> list[date]:
    """Return the days that a row is about, up to `LAST` and to the end of the calendar."""
    schedule = schedule_of(name, corrections=False)
    first, last = row.ends
    first, last = max(first, schedule._first_day), min(last, LAST, schedule.known_until)
    days = [first + n * DAY for n in range((last - first).days + 1)]
    return [day for day in days if row.includes(day, schedule.timezone)]


@pytest.mark.parametrize(("name", "number"), ROWS, ids=lambda each: f"{each}")
def test_every_row_still_acts(name, number):
    """The installed calendar has the wrong hours on days of the row; where this fails, take the row out."""
    row, schedule = hours_of(name).rows[number], schedule_of(name, corrections=False)
    wrong = {row_key(hours) for hours in row.was}
    days = days_of(name, row)
    sessions = {each.date: each for each in schedule.sessions(min(days), max(days))}
    keys = {day: local_key(sessions[day], schedule.timezone) if day in sessions else None for day in days}
    if row.days:
        assert {day for day, key in keys.items() if key not in wrong} == set()
        assert set(row.days) == set(keys), "a day lies outside the calendar's known days"
    else:
        assert wrong & set(keys.values())
    assert row.first_fixed is None or version("exchange-calendars") < row.first_fixed


def test_every_calendar_has_a_file():
    assert sorted(NAMES) == CALENDARS


@pytest.mark.parametrize("name", CALENDARS)
def test_what_is_vouched_for_has_been_compared_with_a_publication(name):
    """Its address is on record, and it reaches that day."""
    content = hours_of(name)
    for each in content.compared:
        assert each.source.startswith("http"), each.source
        assert each.first <= each.last
        assert each.on >= date(2026, 1, 1)
    if content.vouched_until is not None:
        assert max(each.last for each in content.compared) >= content.vouched_until


@pytest.mark.parametrize("name", CALENDARS)
def test_every_file_is_in_order(name):
    """It is named after its calendar, its rows have sources, and no row hides another one of its kind completely."""
    content = hours_of(name)
    assert content.calendar == name in NAMES
    assert known_days(name) is not None
    assert content.means.endswith("."), "say what open and close stand for"
    assert [row.kind for row in content.rows] == sorted((row.kind for row in content.rows), key=KINDS.index)
    for row in content.rows:
        assert all(each.startswith("http") for each in row.source.split()), row.source
    if content.known_until is not None and content.vouched_until is not None:
        assert content.vouched_until <= content.known_until
    single = [day for row in content.rows for day in row.days]
    assert len(single) == len(set(single)), "two rows are about the same day"


@pytest.mark.sampled
@pytest.mark.parametrize("name", CALENDARS)
def test_every_corrected_session_is_a_row_of_the_file(name):
    """Each day that differs from the raw calendar does so because of a row; joined hours also change the next one."""
    schedule = schedule_of(name, corrections=True)
    sources = {row.source for row in hours_of(name).rows}
    assert {each.source for each in schedule.corrections} <= sources
    for each in schedule.corrections:
        assert each.before != each.after


HEAD = 'calendar = "XNYS"\nmeans = "x."\n'
CLOSED = HEAD + '[[closed]]\nsource = ["https://x"]\n'
WAS = 'was = "open=09:30 close=16:00"\n'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "`calendar` is missing"),
        ("calendar = 5", "`calendar` cannot be 5"),
        (HEAD + "known_until = 2026-12-31T00:00:00", "`known_until` cannot be"),
        (HEAD + 'zone = "Europe/Nowhere"', "Nowhere"),
        (HEAD + "holidays = []", "'holidays' is not understood; there can be calendar, means"),
        (HEAD + 'compared = [{with = "x"}]', "`first` is missing"),
        (CLOSED, "x.toml, [[closed]] 1: `was` is missing"),
        (CLOSED + WAS, "give either `days` or `from`"),
        (CLOSED + WAS + "days = [2026-01-02]\nfrom = 2026-01-02", "give either `days` or `from`"),
        (CLOSED + WAS + 'days = [2026-01-02]\nweekdays = ["mon"]', "exclude each other"),
        (CLOSED + WAS + 'days = ["2026-01-02"]', "must be an array of dates"),
        (CLOSED + WAS + "days = [2026-01-02, 2026-01-02]", "`days` has a day twice"),
        (CLOSED + WAS + 'days = [2026-01-02]\nhours = "open=1:00"', "`hours` are not possible"),
        (CLOSED + WAS + "days = [2026-01-02]\nday = 3", "'day' is not understood"),
        (CLOSED + 'was = "09:30-16:00"\ndays = [2026-01-02]', "'09:30-16:00' is not understood"),
        (CLOSED + 'was = "none"\ndays = [2026-01-02]', "are among the hours that are wrong"),
        (CLOSED + WAS + 'from = 2026-01-02\nbetween = ["12-24"]', "`between` needs two days"),
        (CLOSED + WAS + 'from = 2026-01-02\nweekdays = ["monday"]', "monday"),
        (CLOSED + WAS + "from = 2026-01-02\nuntil = 2025-01-01", "lies after `until`"),
        (CLOSED + WAS + 'days = [2026-01-02]\ncounts_for = "next"', "'counts_for' is not understood"),
        (HEAD + '[[closed]]\nsource = ["a letter"]\ndays = [2026-01-02]\n' + WAS, "needs the address"),
        (HEAD + '[[regular]]\nsource = ["https://x"]\ndays = [2026-01-02]\n' + WAS, "`hours` is missing"),
        (HEAD + '[[season]]\nsource = ["https://x"]\nhours = "none"\n' + WAS, "`from` is missing"),
        (HEAD + '[[special]]\nsource = ["https://x"]\ndays = [2026-01-02]\nhours = "none"\n' + WAS, "need an open"),
        (
            HEAD + '[[session]]\nsource = ["https://x"]\ndays = [2026-01-02]\ncounts_for = "last"\n'
            'hours = "open=09:30 close=13:00"\n' + WAS,
            '`counts_for` can only be "next"',
        ),
    ],
)
def test_what_a_file_cannot_say_is_refused_with_its_place(text, why):
    with pytest.raises(ValueError, match=r"x\.toml") as caught:
        parsed_hours("x.toml", text)
    assert why in str(caught.value)


def test_a_season_is_a_difference_of_two_clocks():
    """Sao Paulo is one hour ahead of New York in New York's summer, and two in its winter."""
    content = parsed_hours(
        "x.toml",
        HEAD + '[[season]]\nfrom = 2020-01-01\nzone = "America/New_York"\nahead = 1\nsource = ["https://x"]\n'
        'was = "open=10:00 close=18:00"\nhours = "open=10:00 close=17:00"\n',
    )
    zone = ZoneInfo("America/Sao_Paulo")
    days = (date(2026, 3, 6), date(2026, 3, 9), date(2026, 10, 30), date(2026, 11, 2), date(2019, 7, 1))
    assert [content.rows[0].includes(day, zone) for day in days] == [False, True, True, False, False]


def test_a_rule_takes_weekdays_parts_of_a_year_and_exceptions():
    content = parsed_hours(
        "x.toml",
        CLOSED + WAS + 'from = 2020-01-01\nweekdays = ["fri"]\nbetween = ["11-23", "11-29"]\nexcept = [2025-11-28]\n',
    )
    days = [date(2026, 11, 20) + n * DAY for n in range(11)]
    assert [day for day in days if content.rows[0].includes(day, UTC)] == [date(2026, 11, 27)]
    assert not content.rows[0].includes(date(2025, 11, 28), UTC)


def test_a_calendar_without_a_file_and_one_with_a_name_that_is_no_file():
    assert hours_of("no such calendar").rows == ()
    assert hours_of("../../etc/passwd").rows == ()
    assert file_name("24/7") == "24-7.toml"


def test_hours_are_compared_by_the_venues_clock():
    hours = hours_from(parse_fields("open=17:00-1d close=16:00 breaks=02:00/02:30"))
    zone = ZoneInfo("America/Chicago")
    session = hours.on(date(2026, 3, 9), zone)
    assert local_key(session, zone) == row_key(hours)
    assert sessions_of(hours, zone)(session.date) == session
    assert row_key(None) is None


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", "Australia/Sydney", "Africa/Casablanca", "UTC"])
def test_hours_by_day_are_made_as_exactly_as_others(zone):
    """On every day of years with changes of the clock, what is made from the noon is what is made from each hour."""
    hours = hours_from(parse_fields("open=06:00 close=21:59 breaks=11:30/12:30,15:00/15:05 pre_market_start=06:00"))
    venue = ZoneInfo(zone)
    make = sessions_of(hours, venue)
    for day in (date(2025, 1, 1) + n * DAY for n in range(730)):
        session = hours.on(day, venue)
        assert make(day) == session
        assert local_key(session, venue) == row_key(hours)
