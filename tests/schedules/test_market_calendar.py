"""`MarketCalendarSchedule`: every name of pandas_market_calendars, its trade dates, breaks, horizon and refusals."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pandas_market_calendars
import pytest
from pandas_market_calendars.calendars.mirror import TradingCalendar
from pandas_market_calendars.market_calendar import MarketCalendar

from session_lifecycle import (
    AdjustableSchedule,
    CalendarUnavailable,
    Closure,
    InvalidSession,
    MarketCalendarSchedule,
    NaiveDatetimeError,
    NotASession,
    OverrideRefused,
    Schedule,
    ScheduleExhausted,
    SpecialHours,
    compare,
)
from session_lifecycle._schedules import market_calendar
from session_lifecycle._schedules.calendars import known_days
from tests.helpers.builders import utc

NEAR = utc(2026, 7, 1)
CHICAGO = ZoneInfo("America/Chicago")
NAMES: list[str] = pandas_market_calendars.get_calendar_names()
CLASSES = {MarketCalendar._regmeta_class_registry[name]: name for name in reversed(NAMES)}
"""Each calendar once, by the first of its names."""
WITHOUT_CLOSES = {"XSGO"}
TAKEN_OVER, OWN = (
    sorted(
        name
        for name in CLASSES.values()
        if issubclass(MarketCalendar._regmeta_class_registry[name], TradingCalendar) is taken_over
    )
    for taken_over in (True, False)
)
"""The calendars that pandas_market_calendars takes over from exchange_calendars, all in the same way, and its own."""
SAMPLE = {"24/7", "us_futures", "XHKG", *WITHOUT_CLOSES, *TAKEN_OVER[::20], *OWN[::4]}
"""Which are looked at by default: two that never close, one with lunch, each twentieth, and a quarter of its own."""
CME = ("CME_Equity", "CME_Rate", "CMEGlobex_Gold", "CME Globex Equity", "CMEGlobex_FX", "CME Globex Fixed Income")


def local(instant: datetime) -> str:
    """Return an instant in Chicago's time."""
    return f"{instant.astimezone(CHICAGO):%m-%d %H:%M}"


# ---- every name ----


def test_every_name_is_known_however_it_is_spelled() -> None:
    """The 211 names of release 5.5 and more: as registered, and without regard to case, spaces and underscores."""
    assert len(NAMES) >= 211
    for name in NAMES:
        assert market_calendar._registered(name) == name
        for spelled in (name.lower(), name.replace("_", " "), name.replace("CMEGlobex_", "CME Globex ")):
            found = market_calendar._registered(spelled)
            assert MarketCalendar._regmeta_class_registry[found] is MarketCalendar._regmeta_class_registry[name]


def hold_to_its_rules(name: str, first_year: int) -> None:
    """Hold a calendar from a year to 2026 to be in order, apart, and each query consistent with the others."""
    if name in WITHOUT_CLOSES:
        with pytest.raises(CalendarUnavailable, match=rf"without its closes: use ExchangeSchedule\('{name}'\)"):
            MarketCalendarSchedule(name, near=NEAR)
        return
    schedule = MarketCalendarSchedule(name, near=NEAR)
    assert isinstance(schedule, Schedule)
    assert isinstance(schedule, AdjustableSchedule)
    sessions = schedule.sessions(date(first_year, 1, 1), min(date(2026, 12, 31), schedule.known_until))
    assert len(sessions) > (2027 - first_year) * 230
    assert all(a.date < b.date and a.close <= b.open for a, b in pairwise(sessions))
    for before, session in list(pairwise(sessions))[::50]:
        assert schedule.session_on(session.date) == session
        assert schedule.session_at(session.open) == schedule.next_session(before.date) == session
        assert schedule.session_at(session.close - timedelta(microseconds=1)) == session
        assert schedule.previous_session(session.date) == before
    zone = schedule.timezone
    for session in sessions:
        assert session.open.astimezone(zone).date() <= session.date <= session.close.astimezone(zone).date(), session


@pytest.mark.parametrize("name", sorted(SAMPLE))
def test_a_calendar_builds_or_is_refused_with_a_sentence(name: str) -> None:
    """A year of each of the sample."""
    hold_to_its_rules(name, 2026)


@pytest.mark.long
@pytest.mark.parametrize("name", CLASSES.values())
def test_every_calendar_builds_or_is_refused_with_a_sentence(name: str) -> None:
    """Three years of each."""
    hold_to_its_rules(name, 2024)


def test_what_is_taken_over_is_not_built_by_exchange_calendars(monkeypatch: pytest.MonkeyPatch) -> None:
    """That would take up to two seconds more, and nothing of it is needed but its rules."""
    monkeypatch.setattr(TradingCalendar, "ec", property(lambda _: 1 / 0))
    schedule = MarketCalendarSchedule("XHKG", near=NEAR)
    assert (schedule._first_day, schedule.known_until) == known_days("XHKG")


# ---- trade dates ----


@pytest.mark.parametrize("name", CME)
def test_what_opens_in_the_evening_counts_for_the_next_trade_date(name: str) -> None:
    """Monday's session opens on Sunday at 17:00 in Chicago, and Friday has no evening."""
    schedule = MarketCalendarSchedule(name, near=NEAR)
    for session in schedule.sessions(date(2026, 10, 5), date(2026, 10, 9)):
        opened = session.open.astimezone(CHICAGO)
        assert (opened.date(), opened.time()) == (session.date - timedelta(days=1), time(17))
        assert schedule.session_at(session.open) == session
    assert schedule.session_at(datetime(2026, 10, 9, 17, tzinfo=CHICAGO)).date == date(2026, 10, 12)


@pytest.mark.parametrize(
    ("name", "holiday", "next_day", "hours"),
    [  # from the first open through the halt of the holiday to the close of the next trade date
        ("CMEGlobex_Gold", (2026, 9, 7), (2026, 9, 8), ("09-06 17:00", "09-07 13:30", "09-07 17:00", "09-08 16:00")),
        ("CME Globex Equity", (2026, 2, 16), (2026, 2, 17),
            ("02-15 17:00", "02-16 12:00", "02-16 17:00", "02-17 16:00")),
        ("CME Globex Equity", (2026, 7, 3), (2026, 7, 6), ("07-02 17:00", "07-03 12:00", "07-05 17:00", "07-06 16:00")),
        ("CME_Rate", (2026, 5, 25), (2026, 5, 26), ("05-24 17:00", "05-25 12:00", "05-25 17:00", "05-26 16:00")),
        ("CME Globex Crypto", (2026, 1, 19), (2026, 1, 20),
            ("01-18 17:00", "01-19 16:00", "01-19 17:00", "01-20 16:00")),
    ],
)  # fmt: skip
def test_a_us_holiday_counts_for_the_next_trade_date(
    name: str, holiday: tuple[int, int, int], next_day: tuple[int, int, int], hours: tuple[str, str, str, str]
) -> None:
    """CME's holidays are no trade dates: one session with a break from the halt to the next open.

    https://www.cmegroup.com/tools-information/holiday-calendar.html
    """
    schedule = MarketCalendarSchedule(name, near=NEAR)
    with pytest.raises(NotASession):
        schedule.session_on(date(*holiday))
    session = schedule.session_on(date(*next_day))
    [(halt, resumed)] = session.breaks
    assert (local(session.open), local(halt), local(resumed), local(session.close)) == hours


def test_gold_on_the_day_after_thanksgiving() -> None:
    """The day after Thanksgiving of 2026 ends at 13:45, with what traded on Thanksgiving before its halt."""
    session = MarketCalendarSchedule("CME Globex Gold", near=NEAR).session_on(date(2026, 11, 27))
    assert (local(session.open), local(session.close)) == ("11-25 17:00", "11-27 13:45")
    assert [tuple(map(local, pause)) for pause in session.breaks] == [("11-26 13:30", "11-26 17:00")]


def test_grains_pause_in_the_morning_and_do_not_trade_on_holidays() -> None:
    """Nothing trades on Labor Day, and nothing of it is joined to the day after."""
    grains = MarketCalendarSchedule("CMEGlobex_Grains", near=NEAR)
    assert [each.date.day for each in grains.sessions(date(2026, 9, 4), date(2026, 9, 8))] == [4, 8]
    session = grains.session_on(date(2026, 9, 8))
    assert (local(session.open), local(session.close)) == ("09-07 19:00", "09-08 13:20")
    assert [tuple(map(local, pause)) for pause in session.breaks] == [("09-08 07:45", "09-08 08:30")]


def test_the_week_of_foreign_exchange_begins_on_sunday_evening() -> None:
    """There is no session labelled Sunday, which would be open from Saturday evening on."""
    forex = MarketCalendarSchedule("FOREX", near=NEAR)
    assert [each.date.weekday() for each in forex.sessions(date(2026, 10, 4), date(2026, 10, 12))] == [0, 1, 2, 3, 4, 0]
    new_york = ZoneInfo("America/New_York")
    assert forex.session_at(datetime(2026, 10, 9, 17, tzinfo=new_york)).open == datetime(
        2026, 10, 11, 17, tzinfo=new_york
    )


# ---- breaks ----


def test_an_interruption_is_a_break() -> None:
    """The National Stock Exchange of India halted on 2021-02-24 from 11:40 to 15:45, and closed at 17:00."""
    session = MarketCalendarSchedule("NSE", near=utc(2021, 2, 1)).session_on(date(2021, 2, 24))
    assert session.breaks == ((utc(2021, 2, 24, 6, 10), utc(2021, 2, 24, 10, 15)),)
    assert session.close == utc(2021, 2, 24, 11, 30)


def test_a_break_that_was_abolished_is_none() -> None:
    """Korea has had no lunch break since 2000-05-22, and its table still shows one."""
    korea = MarketCalendarSchedule("XKRX", near=utc(2000, 7, 1))
    assert korea.session_on(date(2000, 5, 19)).breaks != ()
    assert korea.session_on(date(2000, 5, 22)).breaks == ()
    assert all(each.breaks == () for each in korea.sessions(date(2000, 5, 22), date(2000, 12, 31)))


def test_breaks_lie_in_the_session_in_order() -> None:
    """Those that touch are one, and one that reaches the close or has no width is none."""

    def hour(n: int) -> datetime:
        return utc(2026, 7, 1, n)

    pauses = [
        (hour(14), hour(15)),
        (hour(11), hour(12)),
        (hour(12), hour(13)),
        (hour(10), hour(10)),
        (hour(16), hour(17)),
    ]
    found = market_calendar._breaks(hour(9), hour(17), pauses)
    assert found == ((hour(11), hour(13)), (hour(14), hour(15)))


# ---- the horizon ----


@pytest.mark.parametrize(
    ("name", "last"),
    [("BSE", 2026), ("NSE", 2026), ("SSE", 2026), ("TASE", 2027), ("XSES", 2026), ("XHKG", 2049), ("NYSE", 2200)],
)
def test_knowledge_ends_where_the_holidays_do(name: str, last: int) -> None:
    """Lists of holidays end with their year; rules reach to 2200; what is taken over ends where it does there."""
    schedule = MarketCalendarSchedule(name, near=NEAR)
    assert schedule.known_until == date(last, 12, 31)
    schedule.sessions(date(last, 12, 1), schedule.known_until)
    beyond = date(last + 1, 1, 4)
    for query in (
        lambda: schedule.session_on(beyond),
        lambda: schedule.next_session(beyond),
        lambda: schedule.sessions(date(last, 12, 1), beyond),
        lambda: schedule.session_at(datetime.combine(beyond, time(), UTC)),
    ):
        with pytest.raises(ScheduleExhausted, match="does not mean that the market is closed"):
            query()
    with pytest.raises(ScheduleExhausted):
        schedule.previous_session(date(1900, 1, 1))


# ---- what is refused ----


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CME Globex Golf", "did you mean .*CMEGlobex_Gold"),
        ("nothing like it", "see pandas_market_calendars.get_calendar_names()"),
        (7, "no calendar is called 7"),
    ],
)
def test_a_name_that_is_unknown_is_refused_with_those_near_to_it(name: str, words: str) -> None:
    """The message names what the library has, or how to list it."""
    with pytest.raises(CalendarUnavailable, match=words):
        MarketCalendarSchedule(name, near=NEAR)


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else of the package needs it."""
    monkeypatch.setitem(sys.modules, "pandas_market_calendars", None)
    with pytest.raises(CalendarUnavailable, match=r"pip install 'session_lifecycle\[markets\]'"):
        MarketCalendarSchedule("NYSE")


def test_a_calendar_that_fails_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it raises, and later too: nothing of a failed year is kept."""
    schedule = MarketCalendarSchedule("NYSE", near=NEAR)
    with monkeypatch.context() as patch:
        patch.setattr(pandas_market_calendars, "get_calendar", lambda _: 1 / 0)
        for query in (lambda: MarketCalendarSchedule("NYSE"), lambda: schedule.session_on(date(2020, 7, 1))):
            with pytest.raises(CalendarUnavailable, match="ZeroDivisionError") as caught:
                query()
            assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert schedule.session_on(date(2020, 7, 1)).close == utc(2020, 7, 1, 20)


def test_sessions_that_overlap_are_refused() -> None:
    """They would make the state depend on the order in which they are asked for."""
    sessions = MarketCalendarSchedule("NYSE", near=NEAR).sessions(date(2026, 7, 1), date(2026, 7, 2))
    with pytest.raises(InvalidSession, match="2026-07-01 opens before session 2026-07-02 has closed"):
        list(market_calendar._apart(reversed(sessions)))


def test_a_naive_instant_is_refused() -> None:
    """As everywhere."""
    with pytest.raises(NaiveDatetimeError):
        MarketCalendarSchedule("NYSE", near=datetime(2026, 7, 1))  # noqa: DTZ001 -- the point


# ---- what it shares with ExchangeSchedule ----


def test_overrides_replace_its_hours() -> None:
    """They are checked against the calendar, and listed."""
    closed, short = Closure(date(2026, 7, 1)), SpecialHours(date(2026, 7, 2), close=time(12))
    gold = MarketCalendarSchedule("CMEGlobex_Gold", overrides=[short, closed], near=NEAR)
    assert gold.overrides == (closed, short)
    assert local(gold.session_on(date(2026, 7, 2)).close) == "07-02 12:00"
    with pytest.raises(NotASession):
        gold.session_on(date(2026, 7, 1))
    with pytest.raises(OverrideRefused):
        MarketCalendarSchedule("CMEGlobex_Gold", overrides=[Closure(date(2026, 7, 4))], near=NEAR)


def test_a_copy_and_a_pickle_are_their_own() -> None:
    """`manager.apply()` works with it, and leaves the schedule that it was given as it is."""
    gold = MarketCalendarSchedule("CMEGlobex_Gold", near=NEAR)
    day = date(2026, 7, 1)
    without = gold.with_session(day, None)
    assert [each.date for each in compare(gold, without, day, date(2026, 12, 31))] == [day]
    assert pickle.loads(pickle.dumps(without)).sessions(day, day) == ()
    assert repr(gold) == "<MarketCalendarSchedule 'CMEGlobex_Gold', knows 1970-01-01 to 2200-12-31>"


def test_threads_get_the_answers_of_one() -> None:
    """Years load under one lock."""
    schedule, alone = (MarketCalendarSchedule("CMEGlobex_Gold", near=NEAR) for _ in range(2))
    days = [date(year, 7, 1) for year in range(2020, 2030)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(schedule.next_session, days * 4))
    assert found == [alone.next_session(day) for day in days] * 4


def test_nothing_is_imported_before_a_calendar_is_requested() -> None:
    """Neither the library nor pandas."""
    program = (
        "import sys; from session_lifecycle import MarketCalendarSchedule; "
        "print({'pandas', 'pandas_market_calendars'} & {*sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
