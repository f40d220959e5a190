"""The schedules held against pandas_market_calendars, which keeps its own calendars of the same venues."""

from datetime import date

import pytest

from session_lifecycle import ExchangeSchedule, compare
from tests import compared
from tests.helpers.builders import utc


@pytest.mark.parametrize("name", ["XNYS", "XLON", "XTKS"])
def test_on_new_york_london_and_tokyo_both_agree(name: str) -> None:
    """Three years without a difference: holidays, half days, breaks, changes of clocks, and Tokyo's later close."""
    schedule = compared.pandas_market_schedule(compared.PAIRS[name], compared.FIRST, compared.LAST)
    assert len(schedule.sessions(compared.FIRST, compared.LAST)) > 700
    assert compared.differences(name) == ()


def test_on_hong_kong_the_other_one_lacks_what_the_exchange_announced() -> None:
    """The closure for a typhoon, and half days on the eves of holidays; see also test_announced_hours.py.

    The eves: https://www.cmschina.com.hk/en/CS/holidayTable
    """
    new_years = {date(2024, 2, 9), date(2025, 1, 28), date(2026, 2, 16)}
    eves = new_years | {date(year, 12, day) for year in (2024, 2025, 2026) for day in (24, 31)}
    for each in compared.differences("XHKG"):
        if each.fields == ("session",):
            assert (each.date, each.a) == (date(2024, 9, 6), None), each.in_words()
        else:
            assert each.date in eves, each.in_words()
            assert each.a is not None
            assert each.a.close == utc(each.date.year, each.date.month, each.date.day, 4), each.in_words()


def test_on_chicago_both_open_together_and_differ_on_us_holidays_and_in_the_close_only() -> None:
    """Which days have a session is disputed for Good Fridays, a day of mourning and US holidays.

    What trades on a holiday begins our next session. Beyond that, nothing differs but the close.
    """
    begun: set[date] = set()
    disputed = {date(2024, 3, 29), date(2025, 4, 18), date(2026, 4, 3), date(2025, 1, 9)}
    for each in compared.differences("CMES"):
        if each.fields == ("session",):
            holiday = each.a is None and each.b is not None and each.b.close.hour in (17, 18)
            assert holiday or each.date in disputed, each.in_words()
        elif each.a is not None and each.b is not None and "open" in each.fields:
            assert each.a.open < each.b.open, each.in_words()
            assert each.a.breaks[-1][1] == each.b.open, each.in_words()
            begun.add(each.date)
        else:
            assert each.fields == ("close",), each.in_words()
    assert {date(2026, 1, 20), date(2026, 6, 22), date(2026, 11, 27)} <= begun


def test_a_session_that_one_of_them_lacks_is_found() -> None:
    """The comparison sees a difference at all: take a half day away, and it is told with both sides."""
    first, last, half_day = date(2026, 11, 2), date(2026, 11, 30), date(2026, 11, 27)
    without = compared.pandas_market_schedule("NYSE", first, last).with_session(half_day, None)
    (only,) = compare(ExchangeSchedule("XNYS", near=utc(2026, 7, 1)), without, first, last)
    assert only.in_words(without.timezone) == "2026-11-27: 09:30 EST to 13:00 EST / no session"


def test_a_break_is_taken_over_where_there_is_one() -> None:
    """Tokyo has a lunch; Chicago's pause has no width on a day that ends before it."""
    day = date(2026, 7, 1)
    (tokyo,) = compared.pandas_market_schedule("JPX", day, day).sessions(day, day)
    assert tokyo.breaks == ((utc(2026, 7, 1, 2, 30), utc(2026, 7, 1, 3, 30)),)
    day = date(2019, 11, 29)
    (chicago,) = compared.pandas_market_schedule("CME_Equity", day, day).sessions(day, day)
    assert chicago.breaks == ()


def test_the_table_names_every_pair(capsys: pytest.CaptureFixture[str]) -> None:
    """Each pair has a line with what differs, and long lists are cut."""
    compared.main()
    lines = capsys.readouterr().out.splitlines()
    heads = [line for line in lines if not line.startswith(" ")]
    assert [line.split(",")[0] for line in heads] == [f"{name} / {other}" for name, other in compared.PAIRS.items()]
    assert [line.endswith("differences none") for line in heads[:3]] == [True] * 3
    assert len(lines) <= len(heads) * (compared.MOST_SHOWN + 2)
