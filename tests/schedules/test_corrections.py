"""The table of known errors against exchange_calendars itself: it shrinks when upstream puts one right."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from session_lifecycle import Correction, ExchangeSchedule, ScheduleExhausted, compare
from session_lifecycle._schedules.corrections import corrected
from session_lifecycle._schedules.local_hours import hours_from, parse_fields
from session_lifecycle._schedules.venue_hours import Row, Season, VenueHours, hours_of
from tests.helpers.builders import DAY, utc, weekdays
from tests.helpers.calendars import calendars_with_hours, with_years
from tests.labs.simulation.hours import NAMES

FIRST, LAST = date(2010, 1, 1), date(2026, 12, 31)
CORRECTED = sorted(name for name in calendars_with_hours() if hours_of(name).rows)


def local(calendar: str, day: date) -> tuple[str, str] | None:
    """Return a session's hours in the exchange's own time, None where there is no session."""
    schedule = ExchangeSchedule(calendar, near=datetime.combine(day, time(12), UTC))
    found = schedule.sessions(day, day)
    if not found:
        return None
    return tuple(f"{each.astimezone(schedule.timezone):%d %H:%M}" for each in (found[0].open, found[0].close))


@pytest.mark.parametrize(
    ("calendar", "day", "hours"),
    [
        # cmegroup.com, E-mini S&P 500 contract specifications: Sunday to Friday 17:00 to 16:00 Chicago
        ("CMES", date(2024, 6, 3), ("02 17:00", "03 16:00")),
        ("CMES", date(2015, 9, 21), ("20 17:00", "21 16:00")),
        # CME's e-mail of 2012 (eminiroom.com/better-trader.php?id=35): from 19 November 2012 the day ends at 16:15
        ("CMES", date(2012, 11, 19), ("18 17:00", "19 16:15")),
        ("CMES", date(2015, 9, 18), ("17 17:00", "18 16:15")),
        # A US holiday is no trade date: what trades until noon belongs to the next one (CME's holiday tables)
        ("CMES", date(2025, 6, 19), None),
        ("CMES", date(2025, 6, 20), ("18 17:00", "20 16:00")),
        ("CMES", date(2026, 11, 26), None),
        ("CMES", date(2026, 11, 27), ("25 17:00", "27 12:15")),
        ("CMES", date(2027, 1, 19), ("17 17:00", "19 16:00")),
        ("CMES", date(2013, 7, 5), ("03 17:00", "05 16:15")),
        ("CMES", date(2026, 4, 3), ("02 17:00", "03 08:15")),
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
    true, wrong = (with_years(name, FIRST, LAST, corrections=each) for each in (True, False))
    first = max(FIRST, wrong._first_day)
    last = min(LAST, wrong.known_until)
    found = [(each.date, each.a, each.b) for each in compare(wrong, true, first, last)]
    listed = [(each.date, each.before, each.after) for each in true.corrections if first <= each.date <= last]
    assert found == listed
    assert wrong.corrections == ()
    return found


@pytest.mark.sampled
@pytest.mark.parametrize("name", CORRECTED)
def test_the_differences_are_the_table(name):
    """2010 to 2026, each session: what differs from the raw calendar is what `corrections` lists, to the field."""
    days = {day for row in hours_of(name).rows if not row.joins_next for day in row.days if FIRST <= day <= LAST}
    assert {day for day, _, _ in differences(name)} >= days


@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_other_calendar_is_as_it_is():
    """No calendar without a row differs anywhere from 2010 to 2026."""
    assert len(NAMES) == 71
    for name in NAMES:
        assert name in CORRECTED or differences(name) == [], name


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


def test_corrections_of_some_days_load_their_years_alone():
    """Both days are inclusive; the first days of a year know the last ones of the year before."""
    spans = [(date(2025, 1, 9), date(2025, 6, 19)), (date(2023, 12, 31), date(2024, 1, 15))]
    found = []
    for first, last in spans:
        schedule = ExchangeSchedule("CMES", near=utc(2026, 6, 1))
        loaded = {*schedule._years}
        found.append(schedule.corrections_on(first, last))
        assert {*schedule._years} == loaded | {first.year, last.year}
    listed = ExchangeSchedule("CMES", near=utc(2026, 6, 1)).corrections
    assert found == [tuple(each for each in listed if first <= each.date <= last) for first, last in spans]
    assert [(each[0].date, each[-1].date) for each in found] == [spans[0], (date(2024, 1, 2), spans[1][1])]
    assert ExchangeSchedule("CMES", corrections=False, near=utc(2025, 6, 1)).corrections_on(*spans[0]) == ()
    with pytest.raises(ScheduleExhausted):
        schedule.corrections_on(date(2025, 1, 1), date.max)


def hours(text):
    return None if text == "none" else hours_from(parse_fields(text))


def row(was, true, *days, kind="special", **fields):
    return Row(kind, (hours(was),), hours(true), "https://x", days, **fields)


def apply(rows, sessions, first, last, zone=UTC):
    return corrected(VenueHours("test", rows=tuple(rows)), sessions, zone, first, last)


REGULAR = "open=14:30 close=21:00"


def test_nothing_is_touched_where_upstream_says_something_else():
    """A release that has put a day right, or says yet something else of it, is left alone."""
    schedule = weekdays(n=3)
    days = schedule.sessions(date(2024, 1, 1), date(2024, 12, 31))
    monday, tuesday, wednesday = (each.date for each in days)
    rows = (
        row(REGULAR, "none", tuesday),
        row("open=14:00 close=21:00", "none", monday),
        row("none", REGULAR, wednesday),
        row(REGULAR, "none", wednesday + DAY),
        row("none", REGULAR, wednesday + 2 * DAY),
    )
    found, made = apply(rows, days, monday, wednesday + timedelta(days=30))
    assert [each.date for each in found] == [monday, wednesday, wednesday + 2 * DAY]
    assert [each.date for each in made] == [tuesday, wednesday + 2 * DAY]
    found, made = apply(rows, days, monday, monday)
    assert made == []


def test_a_day_is_before_a_rule_and_the_first_of_two_rules_is_the_one():
    days = weekdays(n=3).sessions(date(2024, 1, 1), date(2024, 12, 31))
    monday, tuesday, wednesday = (each.date for each in days)
    rows = (
        row(REGULAR, "open=14:30 close=18:00", tuesday),
        row(REGULAR, "open=14:30 close=20:00", kind="regular", weekdays=frozenset({0})),
        row(REGULAR, "open=14:30 close=20:30", kind="regular"),
    )
    found, _ = apply(rows, days, monday, wednesday)
    assert [each.close for each in found] == [
        utc(2024, 3, 4, 20),
        utc(2024, 3, 5, 18),
        utc(2024, 3, 6, 20, 30),
    ]


def test_hours_that_count_for_the_next_session_are_its_beginning():
    """A holiday's hours, and then those of a weekend, with breaks between; the holiday is no session any more."""
    days = weekdays(n=3).sessions(date(2024, 1, 1), date(2024, 12, 31))
    monday, tuesday, wednesday = (each.date for each in days)
    weekend = row("none", "open=10:00 close=12:00", kind="session", first=monday - 2 * DAY, joins_next=True)
    holiday = row(REGULAR, "open=14:30 close=18:00", tuesday, kind="session", joins_next=True)
    found, made = apply((holiday, weekend), days, monday - 2 * DAY, wednesday + DAY)
    assert [each.date for each in found] == [monday, wednesday]
    assert found[0].open == utc(2024, 3, 2, 10)
    assert found[0].breaks == (
        (utc(2024, 3, 2, 12), utc(2024, 3, 3, 10)),
        (utc(2024, 3, 3, 12), utc(2024, 3, 4, 14, 30)),
    )
    assert (found[1].open, found[1].breaks) == (
        utc(2024, 3, 5, 14, 30),
        ((utc(2024, 3, 5, 18), utc(2024, 3, 6, 14, 30)),),
    )
    assert [(each.date, each.after is None) for each in made] == [(monday, False), (tuesday, True), (wednesday, False)]


def test_hours_that_touch_the_next_session_need_no_break_and_those_that_overlap_one_are_left_out():
    days = weekdays(n=3).sessions(date(2024, 1, 1), date(2024, 12, 31))
    monday, _, wednesday = (each.date for each in days)
    joined = row("none", "open=10:00 close=14:30+1d", monday - DAY, kind="session", joins_next=True)
    found, _ = apply((joined,), days, monday - DAY, wednesday)
    assert (found[0].open, found[0].breaks) == (utc(2024, 3, 3, 10), ())
    too_long = row("none", "open=10:00 close=14:31+1d", monday - DAY, kind="session", joins_next=True)
    assert apply((too_long,), days, monday - DAY, wednesday) == (list(days), [])
    too_early = row("none", "open=20:00-1d close=12:00", wednesday + DAY, kind="session", joins_next=True)
    later = weekdays(n=5).sessions(date(2024, 1, 1), date(2024, 12, 31))
    without = [each for each in later if each.date != wednesday + DAY]
    assert apply((too_early,), without, monday, wednesday + 2 * DAY) == (without, [])


def test_a_session_after_new_year_has_what_traded_before_it():
    """Hours at the end of one year begin the first session of the next, whichever year is loaded first."""
    schedule = ExchangeSchedule("XMOS", near=utc(2026, 6, 1))
    again = ExchangeSchedule("XMOS", near=utc(2024, 6, 1))
    span = (date(2025, 12, 1), date(2026, 1, 31))
    assert schedule.sessions(*span) == again.sessions(*span)


def test_a_season_applies_on_its_days():
    days = weekdays(date(2024, 3, 8), n=2).sessions(date(2024, 1, 1), date(2024, 12, 31))
    rows = (
        row(
            REGULAR,
            "open=14:30 close=20:00",
            kind="season",
            season=Season(ZoneInfo("America/New_York"), timedelta(hours=4)),
        ),
    )
    found, _ = apply(rows, days, date(2024, 3, 8), date(2024, 3, 12))
    assert [each.close.hour for each in found] == [21, 20]


def test_an_empty_range_is_left_alone():
    assert apply((row(REGULAR, "none", date(2024, 3, 4)),), (), date(2024, 3, 5), date(2024, 3, 4)) == ([], [])
