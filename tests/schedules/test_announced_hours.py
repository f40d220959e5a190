"""Days that were special, and hours that have changed, each as its exchange announced it.

A row is one fact, with its source above it. Hours are the exchange's own. What a source does not tell is not asserted;
of London's half days the sources tell that the closing process commences at 12:30, which is where its calendar ends.
"""

from datetime import UTC, date, datetime, timedelta

import pytest

from session_lifecycle import ExchangeSchedule, NotASession, Session

CLOSED = None
NEW_YORK, NEW_YORK_HALF = "09:30-16:00", "09:30-13:00"
LONDON, LONDON_HALF = "08:00-16:30", "08:00-12:30"
HONG_KONG = "09:30-12:00 13:00-16:00"

FACTS = [
    # https://www.ir-impact.com/2012/10/nyse-and-nasdaq-close-hurricane-sandy-threatens-pummel-northeastern-us-floods-and-rains/
    ("XNYS", "2012-10-29", CLOSED),
    # https://valdostaceo.com/news/2012/10/markets-closed-due-weather-consecutive-days-first-time-1888
    ("XNYS", "2012-10-30", CLOSED),
    # The day of mourning for G. H. W. Bush. https://www.tmcnet.com/usubmit/2018/12/01/8860763.htm
    ("XNYS", "2018-12-05", CLOSED),
    # The day of mourning for J. Carter. https://marketsmedia.com/exchanges-honor-jimmy-carter
    ("XNYS", "2025-01-09", CLOSED),
    # The announcement of NYSE Group for 2022 to 2024.
    # https://mondovisione.com/media-and-resources/news/nyse-group-announces-2022-2023-and-2024-holiday-and-early-closings-calendar/
    ("XNYS", "2024-07-03", NEW_YORK_HALF),
    # https://www.sakshipost.com/news/nri/us-stock-market-holiday-schedule-2024-thanksgiving-and-christmas-closures-announced-353664
    ("XNYS", "2024-11-29", NEW_YORK_HALF),
    # https://www.livemint.com/market/stock-market-news/wall-street-holiday-nasdaq-nyse-to-remain-closed-on-these-days-in-december-11733039558027.html
    ("XNYS", "2024-12-24", NEW_YORK_HALF),
    # The announcement of NYSE Group for 2025 to 2027.
    # https://mondovisione.com/media-and-resources/news/nyse-group-announces-2025-2026-and-2027-holiday-and-early-closings-calendar/
    ("XNYS", "2025-07-03", NEW_YORK_HALF),
    # The same announcement.
    ("XNYS", "2025-11-28", NEW_YORK_HALF),
    # https://www.ndtvprofit.com/markets/us-stock-market-holiday-2025-are-us-stock-exchanges-open-or-closed-on-december-25-for-christmas
    ("XNYS", "2025-12-24", NEW_YORK_HALF),
    # From here to 2026-12-25 the announcement of NYSE Group for 2026 to 2028. New Year's Day:
    # https://mondovisione.com/media-and-resources/news/nyse-group-announces-2026-2027-and-2028-holiday-and-early-closings-calendar-20251223/
    ("XNYS", "2026-01-01", CLOSED),
    # The same: Martin Luther King, Jr. Day.
    ("XNYS", "2026-01-19", CLOSED),
    # The same: Washington's Birthday.
    ("XNYS", "2026-02-16", CLOSED),
    # The same: Good Friday.
    ("XNYS", "2026-04-03", CLOSED),
    # The same: Memorial Day.
    ("XNYS", "2026-05-25", CLOSED),
    # The same: Juneteenth National Independence Day.
    ("XNYS", "2026-06-19", CLOSED),
    # The same: no early close before Independence Day, which is observed on a Friday.
    ("XNYS", "2026-07-02", NEW_YORK),
    # The same: Independence Day, observed.
    ("XNYS", "2026-07-03", CLOSED),
    # The same: Labor Day.
    ("XNYS", "2026-09-07", CLOSED),
    # The same: Thanksgiving Day.
    ("XNYS", "2026-11-26", CLOSED),
    # The same: "close early at 1:00 p.m. ... on Friday, November 27, 2026".
    ("XNYS", "2026-11-27", NEW_YORK_HALF),
    # https://www.armstrongeconomics.com/uncategorized/trump-grants-5-day-holiday-to-federal-employees
    ("XNYS", "2026-12-24", NEW_YORK_HALF),
    # The announcement for 2026 to 2028 again: Christmas Day.
    ("XNYS", "2026-12-25", CLOSED),
    # The last day of the old trading hours. https://www.nippon.com/en/news/yjj2024110500956/tse-extends-stock-trading-hours-by-30-minutes.html
    ("XTKS", "2024-11-01", "09:00-11:30 12:30-15:00"),
    # The first one of the new. https://market-news-insights-jpx.com/tse/article005790/
    ("XTKS", "2024-11-05", "09:00-11:30 12:30-15:30"),
    # https://holidaystracker.com/stock-market/london-stock-exchange-holidays-2012/
    ("XLON", "2012-12-24", LONDON_HALF),
    # https://ryt9.com/en/hol/205628
    ("XLON", "2018-12-24", LONDON_HALF),
    # A Sunday's Christmas Eve is kept on the Friday before. https://prosperplanetpulse.com/?p=31676
    ("XLON", "2023-12-22", LONDON_HALF),
    # https://ts2.tech/en/uk-stock-market-holiday-schedule-london-stock-exchange-hours-for-christmas-2025-and-new-years-day-2026
    ("XLON", "2025-12-24", LONDON_HALF),
    # The same.
    ("XLON", "2025-12-26", CLOSED),
    # The same.
    ("XLON", "2025-12-31", LONDON_HALF),
    # The last closure for the weather, typhoon Yagi.
    # https://mondovisione.com/media-and-resources/news/hkex-no-trading-today-in-securities-and-derivatives-markets-due-to-issuance-of-9/
    ("XHKG", "2024-09-06", CLOSED),
    # The first day of trading through a typhoon, Toraji.
    # http://mondovisione.com/media-and-resources/news/hkex-completes-first-severe-weather-trading-day
    ("XHKG", "2024-11-14", HONG_KONG),
    # Typhoon Ragasa came in the afternoon of the 23rd, and markets stayed open.
    # https://sc.hkex.com.hk/TuniS/www.hkex.com.hk/Services/Trading-hours-and-Severe-Weather-Arrangements/Severe-Weather-Arrangements/Overview
    ("XHKG", "2025-09-23", HONG_KONG),
    # https://www.livemint.com/companies/news/hong-kong-bankers-pack-luxury-hotels-near-offices-for-typhoon-trading-11758675607096.html
    ("XHKG", "2025-09-24", HONG_KONG),
]

SEVERE_WEATHER_TRADING = date(2024, 9, 23)
"""From here on HKEX trades in any weather.

https://mondovisione.com/media-and-resources/news/hkex-to-implement-severe-weather-trading-in-securities-and-derivatives-markets-f
"""

HONG_KONG_HOLIDAYS = {
    # https://www.dimsumdaily.hk/hk-government-gazettes-list-of-general-holidays-for-2024/
    "2024": "10-01 10-11 12-25 12-26",
    # https://lovehklife.com/2025-xiangganggongzhongjiaqi.html
    "2025": "01-01 01-29 01-30 01-31 04-04 04-18 04-21 05-01 05-05 07-01 10-01 10-07 10-29 12-25 12-26",
    # http://sc.isd.gov.hk/TuniS//www.info.gov.hk/gia/general/202505/16/P2025051300354.htm
    "2026": "01-01 02-17 02-18 02-19 04-03 04-06 04-07 05-01 05-25 06-19 07-01 10-01 10-19 12-25",
}
"""The general holidays on weekdays, as the government of Hong Kong gazetted them."""


@pytest.fixture(scope="module")
def schedules() -> dict[str, ExchangeSchedule]:
    """Each exchange's schedule, built once."""
    return {name: ExchangeSchedule(name, near=datetime(2025, 7, 1, tzinfo=UTC)) for name, *_ in FACTS}


def in_local_time(schedule: ExchangeSchedule, session: Session) -> str:
    """Return the hours of a session that lies within its date."""
    edges = [session.open, *(edge for pause in session.breaks for edge in pause), session.close]
    local = [edge.astimezone(schedule.timezone) for edge in edges]
    assert {each.date() for each in local} == {session.date}
    hours = iter(f"{each:%H:%M}" for each in local)
    return " ".join(f"{opened}-{closed}" for opened, closed in zip(hours, hours, strict=True))


@pytest.mark.parametrize(("name", "day", "hours"), FACTS, ids=[f"{name}-{day}" for name, day, _ in FACTS])
def test_the_calendar_says_what_the_exchange_said(
    schedules: dict[str, ExchangeSchedule], name: str, day: str, hours: str | None
) -> None:
    """A closure has no session, and a session has the hours that were announced."""
    if hours is CLOSED:
        with pytest.raises(NotASession):
            schedules[name].session_on(date.fromisoformat(day))
    else:
        session = schedules[name].session_on(date.fromisoformat(day))
        assert in_local_time(schedules[name], session) == hours


def test_new_york_has_no_other_holiday_and_no_other_half_day_in_2026(schedules: dict[str, ExchangeSchedule]) -> None:
    """The announcement for 2026 is complete: ten holidays, two early closes."""
    told = {day: hours for name, day, hours in FACTS if name == "XNYS" and day.startswith("2026") and hours != NEW_YORK}
    sessions = {each.date: each for each in schedules["XNYS"].sessions(date(2026, 1, 1), date(2026, 12, 31))}
    found: dict[str, str | None] = {}
    for day in (date(2026, 1, 1) + timedelta(days=n) for n in range(365)):
        hours = in_local_time(schedules["XNYS"], sessions[day]) if day in sessions else CLOSED
        if hours != NEW_YORK and day.weekday() < 5:
            found[day.isoformat()] = hours
    assert found == told
    assert sorted(map(str, told.values())) == [NEW_YORK_HALF] * 2 + [str(CLOSED)] * 10


def test_hong_kong_closes_for_holidays_only_since_it_trades_in_any_weather(
    schedules: dict[str, ExchangeSchedule],
) -> None:
    """From 2024-09-23 to the end of 2026 the weekdays without a session are the general holidays, and no others."""
    last = date(2026, 12, 31)
    sessions = {each.date for each in schedules["XHKG"].sessions(SEVERE_WEATHER_TRADING, last)}
    days = (SEVERE_WEATHER_TRADING + timedelta(days=n) for n in range((last - SEVERE_WEATHER_TRADING).days + 1))
    without = [day.isoformat() for day in days if day.weekday() < 5 and day not in sessions]
    assert without == [f"{year}-{day}" for year, listed in HONG_KONG_HOLIDAYS.items() for day in listed.split()]
