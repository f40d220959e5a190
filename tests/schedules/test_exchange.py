"""`ExchangeSchedule`: names, hours, what it loads and when, and where its knowledge ends."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import exchange_calendars
import pandas as pd
import pandas_market_calendars
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_lifecycle._model.errors import (
    CalendarUnavailable,
    NaiveDatetimeError,
    NotASession,
    ScheduleExhausted,
)
from session_lifecycle._model.session import Session
from session_lifecycle._schedules.base import Schedule
from session_lifecycle._schedules.exchange import ExchangeSchedule

DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    """Return an instant in UTC."""
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


def hours(session: Session) -> tuple[str, str]:
    """Return open and close as text, to the minute."""
    return session.open.strftime("%Y-%m-%d %H:%M"), session.close.strftime("%Y-%m-%d %H:%M")


@pytest.fixture(scope="module")
def xnys() -> ExchangeSchedule:
    """Return New York, loaded around mid-2024."""
    return ExchangeSchedule("XNYS", near=utc(2024, 7, 1))


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Record the window of every calendar that is built from here on."""
    windows: list[tuple[str, str]] = []
    get_calendar = exchange_calendars.get_calendar

    def counted(name: str, start: str | None = None, end: str | None = None) -> Any:
        windows.append((str(start), str(end)))
        return get_calendar(name, start=start, end=end)

    monkeypatch.setattr(exchange_calendars, "get_calendar", counted)
    return windows


@pytest.fixture
def own_type() -> Iterator[None]:
    """Register a calendar type of one's own, OWN: New York until New Year 2026, shut for all of 2022."""
    xnys = type(exchange_calendars.get_calendar("XNYS", start="2024-01-01", end="2024-12-31"))
    members = {
        "bound_min": staticmethod(lambda: pd.Timestamp("2020-01-01")),
        "bound_max": staticmethod(lambda: pd.Timestamp("2026-01-01")),
        "adhoc_holidays": property(lambda _: list(pd.date_range("2022-01-01", "2022-12-31"))),
    }
    exchange_calendars.register_calendar_type("OWN", type("Own", (xnys,), members))
    yield
    exchange_calendars.deregister_calendar("OWN")


# Names


def test_importing_the_module_imports_no_calendar_library() -> None:
    """Importing the adapter costs neither pandas nor numpy nor exchange_calendars; making a schedule does."""
    code = (
        "import sys, session_lifecycle._schedules.exchange\n"
        "print(sorted({'pandas', 'numpy', 'exchange_calendars'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_it_is_a_schedule(xnys: ExchangeSchedule) -> None:
    """It has everything that the port asks for."""
    assert isinstance(xnys, Schedule)
    assert xnys.name == "XNYS"
    assert xnys.timezone == ZoneInfo("America/New_York")
    assert repr(xnys) == "<ExchangeSchedule 'XNYS', knows 1970-01-01 to 2200-12-31>"


def test_an_alias_has_the_canonical_name_and_sessions(xnys: ExchangeSchedule) -> None:
    """XNAS is XNYS, and is called so."""
    xnas = ExchangeSchedule("XNAS", near=utc(2024, 7, 1))
    assert xnas.name == "XNYS"
    assert xnas.sessions(date(2024, 7, 1), date(2024, 7, 31)) == xnys.sessions(date(2024, 7, 1), date(2024, 7, 31))


MISLEADING = ("CBOT", "CME", "COMEX", "NYMEX")


@pytest.mark.parametrize("alias", MISLEADING)
def test_an_alias_that_says_more_than_its_calendar_is_refused(alias: str) -> None:
    """Gold does not have the hours of the E-mini: the names to use are in the message."""
    assert exchange_calendars.resolve_alias(alias) == "CMES"
    with pytest.raises(CalendarUnavailable, match=f"the name '{alias}' is refused") as caught:
        ExchangeSchedule(alias)
    assert caught.value.near[0] == "CMES"
    for name in caught.value.near[1:]:
        assert f"MarketCalendarSchedule({name!r})" in str(caught.value)
        assert name in pandas_market_calendars.get_calendar_names()


@pytest.mark.parametrize("alias", sorted({*exchange_calendars.aliases_to_names()} - {*MISLEADING}))
def test_every_alias_is_accepted(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every alias of exchange_calendars leads to the canonical calendar that it stands for."""
    asked: list[str] = []
    one = exchange_calendars.get_calendar("XSES", start="2024-01-01", end="2024-12-31")  # the quickest to build

    def noted(name: str, **_: Any) -> Any:
        asked.append(name)
        return one

    monkeypatch.setattr(exchange_calendars, "get_calendar", noted)
    schedule = ExchangeSchedule(alias, near=utc(2024, 7, 1))
    assert asked == [schedule.name] == [exchange_calendars.resolve_alias(alias)]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("xnys", "XNYS"),
        ("nyse", "NYSE"),
        ("US_FUTURES", "us_futures"),
        ("XNYSE", "XNYS"),
        ("XLOM", "XLON"),
    ],
)
def test_fault_01_a_misspelt_name_is_refused_with_the_nearest_ones(name: str, near: str) -> None:
    """A wrong case or a slip is refused at construction, and the name that was meant comes first."""
    with pytest.raises(CalendarUnavailable, match=near) as caught:
        ExchangeSchedule(name)
    assert caught.value.name == name
    assert caught.value.near[0] == near


@pytest.mark.parametrize("name", [None, 7, b"XNYS", ["XNYS"], "", "no such exchange at all"])
def test_fault_01_what_is_no_name_is_refused(name: Any) -> None:
    """None, a number or nonsense is refused the same way, with nothing to suggest."""
    with pytest.raises(CalendarUnavailable, match="no calendar is called") as caught:
        ExchangeSchedule(name)
    assert caught.value.near == ()


class Mute(Exception):
    """An error whose message cannot be had, as some of exchange_calendars'."""

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("bad rule"), "ValueError: bad rule"),
        (RecursionError("deep"), "RecursionError: deep"),
        (AttributeError("pandas moved on"), "AttributeError: pandas moved on"),
        (Mute(), "Mute, which has no message"),
    ],
)
def test_fault_02_a_constructor_that_throws_is_told_with_its_cause(
    error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever building a calendar raises comes out as `CalendarUnavailable` at construction, chained."""

    def broken(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(exchange_calendars, "get_calendar", broken)
    with pytest.raises(CalendarUnavailable) as caught:
        ExchangeSchedule("XNAS")
    assert caught.value.__cause__ is error
    assert (caught.value.name, caught.value.reason) == ("XNYS", reason)


def test_fault_02_a_build_that_fails_later_is_told_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A year that cannot be loaded later on raises the same, and what was loaded still answers."""
    schedule = ExchangeSchedule("XNYS", near=utc(2024, 7, 1))
    with monkeypatch.context() as patch:
        patch.setattr(exchange_calendars, "get_calendar", lambda *_, **__: 1 / 0)
        with pytest.raises(CalendarUnavailable, match="ZeroDivisionError"):
            schedule.session_on(date(2030, 7, 1))
        assert schedule.session_on(date(2024, 7, 1)).date == date(2024, 7, 1)
    assert schedule.session_on(date(2030, 7, 1)).date == date(2030, 7, 1)


def test_fault_02_hours_that_cannot_be_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A calendar whose sessions overlap, or close before they open, is unavailable, and says which session."""
    calendar = exchange_calendars.get_calendar("24/7", start="2024-01-01", end="2024-12-31")
    monkeypatch.setattr(exchange_calendars, "get_calendar", lambda *_, **__: calendar)
    monkeypatch.setattr(calendar, "closes_nanos", calendar.closes_nanos + 1000)
    with pytest.raises(CalendarUnavailable, match="2024-01-02 opens before session 2024-01-01 has closed"):
        ExchangeSchedule("24/7", near=utc(2024, 7, 1))
    monkeypatch.setattr(calendar, "closes_nanos", calendar.opens_nanos)
    with pytest.raises(CalendarUnavailable, match=r"session 2024-01-01: open .* must come before close"):
        ExchangeSchedule("24/7", near=utc(2024, 7, 1))


@pytest.mark.usefixtures("own_type")
def test_a_registered_type_is_known_within_its_bounds() -> None:
    """A calendar type of one's own works like any other, up to a bound that is a year's first day."""
    schedule = ExchangeSchedule("OWN", near=utc(2024, 7, 1))
    assert schedule.session_on(date(2024, 7, 3)).close == utc(2024, 7, 3, 17)
    assert schedule.next_session(date(2020, 1, 1)).date == date(2020, 1, 2)
    assert schedule.session_on(date(2025, 7, 3)).close == utc(2025, 7, 3, 17)
    with pytest.raises(ScheduleExhausted) as caught:
        schedule.next_session(date(2025, 12, 31))  # of 2026 a single day is known, and it is a holiday
    assert caught.value.last == date(2025, 12, 31)


@pytest.mark.usefixtures("own_type")
def test_a_year_without_any_session_is_no_error() -> None:
    """A venue that was shut for a year has no session in it, and the next one is the next one."""
    schedule = ExchangeSchedule("OWN", near=utc(2022, 7, 1))
    assert schedule.timezone == ZoneInfo("America/New_York")
    assert schedule.sessions(date(2022, 1, 1), date(2022, 12, 31)) == ()
    assert schedule.session_at(utc(2022, 7, 1)).date == date(2023, 1, 3)
    assert schedule.previous_session(date(2022, 7, 1)).date == date(2021, 12, 31)


def test_a_registered_instance_is_known_as_far_as_it_was_built(builds: list[tuple[str, str]]) -> None:
    """A calendar registered as an instance is taken whole; its first and last sessions are the ends."""
    built = exchange_calendars.get_calendar("XLON", start="2023-03-01", end="2024-06-30")
    exchange_calendars.register_calendar("WHOLE", built)
    try:
        schedule = ExchangeSchedule("WHOLE", near=utc(2031, 7, 1))
        builds.clear()
        assert schedule.sessions(date(2023, 3, 1), date(2024, 6, 28))[-1].date == date(2024, 6, 28)
        for beyond in (date(2023, 2, 28), date(2024, 6, 29)):
            with pytest.raises(ScheduleExhausted) as caught:
                schedule.session_on(beyond)
            assert (caught.value.first, caught.value.last) == (date(2023, 3, 1), date(2024, 6, 28))
        assert builds == []
    finally:
        exchange_calendars.deregister_calendar("WHOLE")


# Hours


def test_half_days_close_early(xnys: ExchangeSchedule) -> None:
    """The day after Thanksgiving and Christmas Eve close at 13:00 in New York, which is 18:00 UTC."""
    assert xnys.session_on(date(2024, 11, 29)).close == utc(2024, 11, 29, 18)
    assert xnys.session_on(date(2024, 12, 24)).close == utc(2024, 12, 24, 18)
    assert xnys.session_on(date(2024, 11, 27)).close == utc(2024, 11, 27, 21)


def test_fault_17_the_open_moves_in_utc_with_daylight_saving(xnys: ExchangeSchedule) -> None:
    """09:30 in New York is 14:30 UTC on 2024-03-08 and 13:30 on 2024-03-11, and back again in November."""
    assert xnys.session_on(date(2024, 3, 8)).open == utc(2024, 3, 8, 14, 30)
    assert xnys.session_on(date(2024, 3, 11)).open == utc(2024, 3, 11, 13, 30)
    assert xnys.session_on(date(2024, 11, 1)).open == utc(2024, 11, 1, 13, 30)
    assert xnys.session_on(date(2024, 11, 4)).open == utc(2024, 11, 4, 14, 30)


def test_fault_17_two_zones_out_of_step_are_each_exact(xnys: ExchangeSchedule) -> None:
    """From 2024-03-11 to 03-28 New York opens five and a half hours after London, and six and a half outside it."""
    xlon = ExchangeSchedule("XLON", near=utc(2024, 3, 15))
    for day, apart_hours in (
        (date(2024, 3, 8), 6.5),
        (date(2024, 3, 11), 5.5),
        (date(2024, 3, 28), 5.5),
        (date(2024, 4, 2), 6.5),
    ):
        assert xnys.session_on(day).open - xlon.session_on(day).open == timedelta(hours=apart_hours)


def test_the_hong_kong_lunch_is_a_break_of_the_session() -> None:
    """Hong Kong lunches from 12:00 to 13:00, is in the same session meanwhile, and has no lunch on a half day."""
    xhkg = ExchangeSchedule("XHKG", near=utc(2024, 7, 2))
    session = xhkg.session_on(date(2024, 7, 2))
    assert session.breaks == ((utc(2024, 7, 2, 4), utc(2024, 7, 2, 5)),)
    assert xhkg.session_at(utc(2024, 7, 2, 4, 30)) == session
    assert xhkg.session_on(date(2024, 12, 24)).breaks == ()


def test_cmes_opens_on_the_evening_before_and_never_sleeps_midweek() -> None:
    """A session of the raw CMES is labelled by the day on which it closes, and opens at the instant the last closes."""
    cmes = ExchangeSchedule("CMES", near=utc(2024, 7, 1), corrections=False)
    monday, tuesday = cmes.session_on(date(2024, 7, 8)), cmes.session_on(date(2024, 7, 9))
    assert hours(monday) == ("2024-07-07 22:00", "2024-07-08 22:00")
    assert monday.close == tuesday.open
    assert cmes.session_at(monday.close - MICROSECOND) == monday
    assert cmes.session_at(monday.close) == tuesday


def test_24_7_closes_as_it_opens() -> None:
    """24/7 has a session for every day, each from midnight to midnight, over the turn of the year too."""
    always = ExchangeSchedule("24/7", near=utc(2024, 12, 31))
    last, first = always.sessions(date(2024, 12, 31), date(2025, 1, 1))
    assert last.close == first.open == utc(2025, 1, 1)
    assert always.session_at(utc(2025, 1, 1)) == first


def test_a_saturday_session_is_there() -> None:
    """Bombay traded on Saturday 2025-02-01, the day of the budget."""
    session = ExchangeSchedule("XBOM", near=utc(2025, 2, 1)).session_on(date(2025, 2, 1))
    assert session.date.strftime("%A") == "Saturday"


# Questions


def test_no_session_names_the_nearest(xnys: ExchangeSchedule) -> None:
    """A holiday is refused, and the sessions on either side are named, over the turn of the year too."""
    with pytest.raises(NotASession, match=r"2024-07-04 .Thursday. is not a session of XNYS") as caught:
        xnys.session_on(date(2024, 7, 4))
    assert caught.value.near == (date(2024, 7, 3), date(2024, 7, 5))
    with pytest.raises(NotASession) as caught:
        xnys.session_on(date(2025, 1, 1))
    assert caught.value.near == (date(2024, 12, 31), date(2025, 1, 2))


def test_neighbours_of_a_day_that_is_no_session(xnys: ExchangeSchedule) -> None:
    """The next and the previous session can be asked for from any day."""
    assert xnys.next_session(date(2024, 7, 4)).date == date(2024, 7, 5)
    assert xnys.previous_session(date(2024, 7, 4)).date == date(2024, 7, 3)
    assert xnys.next_session(date(2024, 12, 31)).date == date(2025, 1, 2)
    assert xnys.previous_session(date(2024, 1, 1)).date == date(2023, 12, 29)


def test_a_range_is_inclusive_and_may_be_empty(xnys: ExchangeSchedule) -> None:
    """Both ends count; a range of holidays, or one that ends before it starts, is empty."""
    labels = [session.date for session in xnys.sessions(date(2024, 7, 3), date(2024, 7, 8))]
    assert labels == [date(2024, 7, 3), date(2024, 7, 5), date(2024, 7, 8)]
    assert xnys.sessions(date(2024, 7, 4), date(2024, 7, 4)) == ()
    assert xnys.sessions(date(2024, 7, 8), date(2024, 7, 3)) == ()


def test_any_zone_will_do_for_an_instant(xnys: ExchangeSchedule) -> None:
    """An instant is the same instant whatever zone it is written in."""
    eastwards = timezone(timedelta(hours=14))
    assert xnys.session_at(utc(2024, 7, 3, 17).astimezone(eastwards)).date == date(2024, 7, 5)


def test_fault_03_a_naive_instant_is_refused(xnys: ExchangeSchedule) -> None:
    """An instant without a zone is refused, also as the hint at construction."""
    naive = datetime(2024, 7, 1)  # noqa: DTZ001 -- the fault under test
    with pytest.raises(NaiveDatetimeError):
        xnys.session_at(naive)
    with pytest.raises(NaiveDatetimeError):
        ExchangeSchedule("XNYS", near=naive)


@pytest.mark.parametrize("day", [utc(2024, 7, 1), "2024-07-01", None])
def test_a_date_must_be_a_date(day: Any, xnys: ExchangeSchedule) -> None:
    """An instant is no label, and neither is text."""
    for ask in (xnys.session_on, xnys.next_session, xnys.previous_session):
        with pytest.raises(TypeError, match=r"must be a datetime\.date"):
            ask(day)
    with pytest.raises(TypeError, match="first must be"):
        xnys.sessions(day, date(2024, 7, 1))
    with pytest.raises(TypeError, match="last must be"):
        xnys.sessions(date(2024, 7, 1), day)


# What is loaded, and when


def test_today_costs_one_build_of_two_years_at_most(builds: list[tuple[str, str]]) -> None:
    """Construction, the present session, its neighbours and a month's look-ahead take one build."""
    today = datetime.now(UTC)
    schedule = ExchangeSchedule("XSWX")
    session = schedule.session_at(today)
    schedule.previous_session(session.date)
    schedule.next_session(session.date)
    schedule.sessions(today.date(), today.date() + 30 * DAY)
    [(start, end)] = builds
    assert date.fromisoformat(end) - date.fromisoformat(start) <= 731 * DAY


@pytest.mark.parametrize(
    ("day", "window"),
    [
        (utc(2024, 1, 3), ("2023-01-01", "2024-12-31")),
        (utc(2024, 7, 1), ("2024-01-01", "2024-12-31")),
        (utc(2024, 11, 16), ("2024-01-01", "2024-12-31")),
        (utc(2024, 11, 17), ("2024-01-01", "2025-12-31")),
    ],
)
def test_the_neighbouring_year_comes_along_when_it_is_near(
    day: datetime, window: tuple[str, str], builds: list[tuple[str, str]]
) -> None:
    """Forty-five days to either side are loaded in the same build."""
    schedule = ExchangeSchedule("24/5", near=day)
    schedule.next_session(schedule.session_at(day).date)
    assert builds == [window]


def test_walking_on_for_twenty_years_takes_few_builds(builds: list[tuple[str, str]]) -> None:
    """Each build of a walk loads as many years as there are already, up to five, and none is loaded twice."""
    schedule = ExchangeSchedule("24/5", near=utc(2024, 7, 1))
    session = schedule.session_at(utc(2024, 7, 1))
    while session.date.year < 2044:
        session = schedule.next_session(session.date)
    assert [f"{start[:4]}-{end[:4]}" for start, end in builds] == [
        "2024-2024",
        "2025-2025",
        "2026-2027",
        "2028-2031",
        "2032-2036",
        "2037-2041",
        "2042-2046",
    ]


def test_walking_back_takes_few_builds_too(builds: list[tuple[str, str]]) -> None:
    """The same holds backwards, down to the first known day and not beyond."""
    schedule = ExchangeSchedule("XSHG", near=utc(1997, 7, 1))
    day = date(1997, 7, 1)
    while day > date(1990, 12, 3):
        day = schedule.previous_session(day).date
    with pytest.raises(ScheduleExhausted):
        schedule.previous_session(day)
    assert [f"{start}-{end[:4]}" for start, end in builds] == [
        "1997-01-01-1997",
        "1996-01-01-1996",
        "1994-01-01-1995",
        "1990-12-03-1993",
    ]


def test_a_range_takes_one_build_for_each_run_of_missing_years(builds: list[tuple[str, str]]) -> None:
    """A range loads what is missing of it, and no year twice."""
    schedule = ExchangeSchedule("24/5", near=utc(2024, 7, 1))
    schedule.sessions(date(2020, 5, 1), date(2027, 5, 1))
    assert builds[1:] == [("2020-01-01", "2023-12-31"), ("2025-01-01", "2027-12-31")]
    schedule.sessions(date(2020, 1, 1), date(2027, 12, 31))
    assert len(builds) == 3


VARIED = ("24/7", "XNYS", "XSES", "XSHG")  # without a night, with early closes, without rules, with breaks


@pytest.fixture(scope="module")
def wide() -> dict[str, tuple[Session, ...]]:
    """Eleven years of each calendar out of one build, and the twelfth."""
    schedules = {name: ExchangeSchedule(name, near=utc(2006, 7, 1)) for name in VARIED}
    return {name: each.sessions(date(2006, 1, 1), date(2017, 12, 31)) for name, each in schedules.items()}


@settings(max_examples=10, deadline=None)  # each example may build calendars
@given(name=st.sampled_from(VARIED), near=st.dates(date(2007, 1, 1), date(2016, 12, 31)), data=st.data())
def test_a_narrow_window_gives_the_sessions_of_a_wide_one(
    name: str, near: date, data: st.DataObject, wide: dict[str, tuple[Session, ...]]
) -> None:
    """Whatever is loaded first, and in whichever order, the answers are the same."""
    expected = wide[name]
    narrow = ExchangeSchedule(name, near=datetime(near.year, near.month, near.day, tzinfo=UTC))
    for day in data.draw(st.lists(st.dates(date(2007, 1, 1), date(2016, 12, 31)), max_size=3)):
        instant = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        assert narrow.session_at(instant) == next(each for each in expected if each.close > instant)
        assert narrow.next_session(day) == next(each for each in expected if each.date > day)
        assert narrow.previous_session(day) == next(each for each in reversed(expected) if each.date < day)
    first, last = near - 200 * DAY, near + 200 * DAY
    assert narrow.sessions(first, last) == tuple(each for each in expected if first <= each.date <= last)


# Where knowledge ends


@pytest.mark.parametrize("name", ["XBOM", "XSES", "XSHG"])
def test_fault_18_the_end_names_the_last_known_session(name: str) -> None:
    """Three calendars end with 2026: beyond, every question says so and names a session that can be asked for."""
    schedule = ExchangeSchedule(name, near=utc(2031, 1, 1))
    last = schedule.session_at(utc(2026, 12, 31, 1))
    assert last.date == date(2026, 12, 31)
    assert schedule.session_at(last.close - MICROSECOND) == last
    for ask in (
        lambda: schedule.session_at(last.close),
        lambda: schedule.session_at(datetime.max.replace(tzinfo=UTC)),
        lambda: schedule.session_on(date(2027, 1, 4)),
        lambda: schedule.next_session(last.date),
        lambda: schedule.next_session(date.max),
        lambda: schedule.previous_session(date(2027, 6, 1)),
        lambda: schedule.sessions(date(2026, 12, 1), date(2027, 1, 1)),
    ):
        with pytest.raises(ScheduleExhausted, match="does not mean that the market is closed") as caught:
            ask()
        assert schedule.session_on(caught.value.last) == last
    assert schedule.previous_session(date(2027, 1, 1)) == last


@pytest.mark.parametrize(
    ("name", "known", "first_label"),
    [("XSHG", date(1990, 12, 3), date(1990, 12, 3)), ("XTKS", date(1997, 1, 1), date(1997, 1, 6))],
)
def test_fault_18_the_start_is_an_end_too(name: str, known: date, first_label: date) -> None:
    """Before the first known day, a session or not, every question says so and names the first session."""
    schedule = ExchangeSchedule(name, near=utc(1980, 1, 1))
    midnight = datetime(known.year, known.month, known.day, tzinfo=UTC)
    first = schedule.next_session(known - DAY)
    assert first.date == first_label
    assert schedule.session_at(midnight) == first
    for ask in (
        lambda: schedule.session_at(midnight - MICROSECOND),
        lambda: schedule.session_at(datetime.min.replace(tzinfo=UTC)),
        lambda: schedule.session_on(known - DAY),
        lambda: schedule.previous_session(first.date),
        lambda: schedule.previous_session(date.min),
        lambda: schedule.next_session(known - 2 * DAY),
        lambda: schedule.sessions(known - DAY, known + 30 * DAY),
    ):
        with pytest.raises(ScheduleExhausted) as caught:
            ask()
        assert schedule.session_on(caught.value.first) == first


def test_fault_18_at_the_start_only_the_later_neighbour_is_named() -> None:
    """Tokyo's first known day is a holiday: the session after it is the only near one that is known."""
    with pytest.raises(NotASession) as caught:
        ExchangeSchedule("XTKS", near=utc(1997, 1, 1)).session_on(date(1997, 1, 1))
    assert caught.value.near == (date(1997, 1, 6),)


@pytest.mark.parametrize("day", [date(1969, 12, 31), date(2201, 1, 1)])
def test_fault_18_no_weekday_beyond_the_holiday_rules_is_made_up(day: date) -> None:
    """Outside 1970 to 2200, where every weekday would count as a session, nothing is known."""
    with pytest.raises(ScheduleExhausted):
        ExchangeSchedule("24/5", near=utc(2024, 7, 1)).session_on(day)


def test_an_error_at_one_end_builds_nothing_at_the_other(builds: list[tuple[str, str]]) -> None:
    """To say that the future is not known, the far past is not built."""
    schedule = ExchangeSchedule("XSHG", near=utc(2026, 7, 1))
    with pytest.raises(ScheduleExhausted) as caught:
        schedule.next_session(date(2026, 12, 31))
    assert caught.value.first == date(1990, 12, 3)
    assert builds == [("2026-01-01", "2026-12-31")]


def test_known_until_is_the_last_day_that_can_be_known() -> None:
    """The bound of the calendar, or the end of the holiday rules."""
    assert ExchangeSchedule("XSHG").known_until == date(2026, 12, 31)
    assert ExchangeSchedule("XNYS").known_until == date(2200, 12, 31)
