"""The hours that Interactive Brokers sends: real strings of both forms, their trade dates, and what is refused."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from session_lifecycle import FixedSchedule, InvalidSession, ScheduleExhausted, Session, VenueDataRefused
from session_lifecycle.venues import ibkr_sessions
from tests.helpers.builders import DAY, utc

MONDAY, TUESDAY, FRIDAY = date(2024, 12, 2), date(2024, 12, 3), date(2024, 11, 29)
NEW_YORK, CHICAGO, HONG_KONG = "America/New_York", "America/Chicago", "Asia/Hong_Kong"

# Sent in December 2018 for an index future in Hong Kong. Friday's night comes after the closed Saturday.
HONG_KONG_FUTURE = (
    "20181206:1715-20181207:0100;20181207:0915-20181207:1200;20181207:1300-20181207:1630;20181208:CLOSED;"
    "20181207:1715-20181208:0100;20181210:0915-20181210:1200;20181210:1300-20181210:1630;20181210:1715-20181211:0100;"
    "20181211:0915-20181211:1200;20181211:1300-20181211:1630;20181211:1715-20181212:0100;20181212:0915-20181212:1200;"
    "20181212:1300-20181212:1630;20181212:1715-20181213:0100;20181213:0915-20181213:1200;20181213:1300-20181213:1630;"
    "20181213:1715-20181214:0100;20181214:0915-20181214:1200;20181214:1300-20181214:1630;20181215:CLOSED;"
    "20181216:CLOSED;20181214:1715-20181215:0100;20181217:0915-20181217:1200;20181217:1300-20181217:1630"
)
# Sent in March 2018 for EURUSD: the trade date first, the open on the evening before.
CURRENCY = "20180322:1715-1700;20180323:1715-1700;20180324:CLOSED;20180325:CLOSED;20180326:1715-1700"
# Sent in December 2018 for USDGBP: the same in the long form, over the turn of the year.
CURRENCY_LONG = (
    "20181227:1715-20181228:1700;20181229:CLOSED;20181230:1715-20181231:1700;20181231:1715-20190101:1700;"
    "20190101:1715-20190102:1700"
)
# Sent on Monday, 14 January 2013, for the S&P future.
INDEX_FUTURE = "20130114:1700-1515,1530-1615;20130115:1700-1515,1530-1615"
# Sent in March 2024 for a US stock: `tradingHours` and `liquidHours`.
STOCK = (
    "20240314:0400-20240314:2000;20240315:0400-20240315:2000;20240316:CLOSED;20240317:CLOSED;"
    "20240318:0400-20240318:2000"
)
STOCK_LIQUID = (
    "20240314:0930-20240314:1600;20240315:0930-20240315:1600;20240316:CLOSED;20240317:CLOSED;"
    "20240318:0930-20240318:1600"
)


def hours(sessions: tuple[Session, ...], zone: str) -> list[str]:
    """Return the sessions in local time, a line each."""

    def text(t: datetime) -> str:
        return f"{t.astimezone(ZoneInfo(zone)):%a %H:%M}"

    return [
        f"{each.date:%a %d}: {text(each.open)} to {text(each.close)}"
        + "".join(f", break {text(start)} to {text(end)}" for start, end in each.breaks)
        for each in sessions
    ]


# ---- what was really sent ----


def test_a_friday_night_in_hong_kong_counts_for_monday() -> None:
    """By the dates on which it trades by day; so no trade of Friday 22:00 is booked on a Saturday."""
    sessions = ibkr_sessions(HONG_KONG_FUTURE, "Hongkong")
    assert [each.date.day for each in sessions] == [7, 10, 11, 12, 13, 14, 17]
    assert hours(sessions, HONG_KONG)[1] == (
        "Mon 10: Fri 17:15 to Mon 16:30, break Sat 01:00 to Mon 09:15, break Mon 12:00 to Mon 13:00"
    )
    assert FixedSchedule(sessions).session_at(utc(2018, 12, 7, 14)).date == date(2018, 12, 10)


def test_the_short_form_has_the_trade_date_first() -> None:
    """An open that is later than its close is of the evening before: Sunday's, for Monday."""
    assert hours(ibkr_sessions(CURRENCY, "EST5EDT"), NEW_YORK) == [
        "Thu 22: Wed 17:15 to Thu 17:00",
        "Fri 23: Thu 17:15 to Fri 17:00",
        "Mon 26: Sun 17:15 to Mon 17:00",
    ]
    assert hours(ibkr_sessions(INDEX_FUTURE, "US/Central"), CHICAGO) == [
        "Mon 14: Sun 17:00 to Mon 16:15, break Mon 15:15 to Mon 15:30",
        "Tue 15: Mon 17:00 to Tue 16:15, break Tue 15:15 to Tue 15:30",
    ]


def test_the_long_form_has_the_date_of_its_close() -> None:
    """Over the turn of the year as on any day."""
    assert hours(ibkr_sessions(CURRENCY_LONG, NEW_YORK), NEW_YORK) == [
        "Fri 28: Thu 17:15 to Fri 17:00",
        "Mon 31: Sun 17:15 to Mon 17:00",
        "Tue 01: Mon 17:15 to Tue 17:00",
        "Wed 02: Tue 17:15 to Wed 17:00",
    ]


def test_trading_hours_and_liquid_hours_have_one_form() -> None:
    """One string is the stock with its extended hours, the other its regular ones, over the change of the clocks."""
    assert hours(ibkr_sessions(STOCK, "US/Eastern"), NEW_YORK)[0] == "Thu 14: Thu 04:00 to Thu 20:00"
    assert [each.open for each in ibkr_sessions(STOCK_LIQUID, "US/Eastern")] == [
        utc(2024, 3, day, 13, 30) for day in (14, 15, 18)
    ]
    swiss = "20180501:CLOSED;20180502:0900-20180502:1732;20180503:0900-20180503:1732"
    assert [each.close for each in ibkr_sessions(swiss, "MET")] == [utc(2018, 5, day, 15, 32) for day in (2, 3)]
    currency = "20111015:CLOSED;20111017:1800-1715"
    assert hours(ibkr_sessions(currency, NEW_YORK), NEW_YORK) == ["Mon 17: Sun 18:00 to Mon 17:15"]


def test_a_range_that_is_given_twice_counts_once() -> None:
    """As it was sent in November 2011."""
    (only,) = ibkr_sessions("20111119:CLOSED;20111120:0015-2355,0015-2355", "UTC")
    assert only == Session(date(2011, 11, 20), utc(2011, 11, 20, 0, 15), utc(2011, 11, 20, 23, 55))


def test_an_empty_zone_needs_the_argument() -> None:
    """A warrant's details came with neither a zone nor hours."""
    with pytest.raises(VenueDataRefused, match="Pass the exchange's as `zone`"):
        ibkr_sessions(STOCK, "")
    for zone in (NEW_YORK, ZoneInfo(NEW_YORK)):
        assert ibkr_sessions(STOCK, "", zone=zone) == ibkr_sessions(STOCK, "US/Eastern")
    assert ibkr_sessions(STOCK, "Hongkong", zone=NEW_YORK) == ibkr_sessions(STOCK, NEW_YORK)
    for nothing in ("", None):
        with pytest.raises(VenueDataRefused, match="has no day"):
            ibkr_sessions(nothing, "", zone=NEW_YORK)


@pytest.mark.parametrize("zone", ["EST", "MST", "JST (Japan Standard Time)", "Mars/Olympus", "/etc/localtime", None])
def test_a_zone_that_says_too_little_is_refused(zone: str) -> None:
    """EST is in the time zone database, as five hours behind UTC in summer too."""
    with pytest.raises(VenueDataRefused, match="it names no zone with its summer time") as caught:
        ibkr_sessions(STOCK, zone)
    assert (caught.value.source, caught.value.value) == ("the IBKR timeZoneId", zone)
    with pytest.raises(VenueDataRefused, match="it must be a zone") as caught:
        ibkr_sessions(STOCK, NEW_YORK, zone="Mars/Olympus")
    assert (caught.value.source, caught.value.value) == ("the argument `zone`", "Mars/Olympus")


# ---- trade dates ----


def test_a_night_whose_trade_date_is_not_in_the_string_is_left_out() -> None:
    """Friday's night is Monday's, of which nothing is known yet; open is not a guess."""
    until_friday = "20241206:0915-20241206:1630;20241206:1715-20241207:0300;20241208:CLOSED"
    assert [each.date.day for each in ibkr_sessions(until_friday, HONG_KONG)] == [6]


def test_a_contract_that_never_trades_by_day_has_the_dates_of_its_closes() -> None:
    """The overnight session of US stocks, 20:00 to 03:50."""
    overnight = "20241201:2000-20241202:0350;20241202:2000-20241203:0350;20241207:CLOSED"
    assert hours(ibkr_sessions(overnight, NEW_YORK), NEW_YORK) == [
        "Mon 02: Sun 20:00 to Mon 03:50",
        "Tue 03: Mon 20:00 to Tue 03:50",
    ]


def test_a_night_lasts_until_eight_at_most() -> None:
    """That of Sydney's index futures ends at 08:00 on Saturday in summer; a minute later it is a day of its own."""
    for closes, day in (("0800", 8), ("0801", 6)):
        text = f"20240405:0950-20240405:1630;20240405:1710-20240406:{closes};20240408:0950-20240408:1630"
        assert FixedSchedule(ibkr_sessions(text, "Australia/Sydney")).session_at(utc(2024, 4, 5, 12)).date.day == day
    for opens, day in (("1800", 8), ("1759", 7)):
        text = f"20240406:1800-20240407:0200;20240407:{opens}-20240407:2300;20240408:0950-20240408:1630"
        assert FixedSchedule(ibkr_sessions(text, "Australia/Sydney")).session_at(utc(2024, 4, 6, 10)).date.day == day


def test_an_hour_in_the_evening_is_of_its_own_date() -> None:
    """Mumbai's session on the evening of Diwali."""
    diwali = "20241031:0915-20241031:1530;20241101:1800-20241101:1900;20241104:0915-20241104:1530"
    assert [each.date.day for each in ibkr_sessions(diwali, "Asia/Kolkata")] == [31, 1, 4]


def test_an_evening_counts_for_no_earlier_date_than_the_night_before_it() -> None:
    """Sunday's evening after a Saturday night that counts for Monday is Monday's too."""
    text = "20240406:1800-20240407:0200;20240407:1800-20240407:2300;20240408:0950-20240408:1630"
    assert hours(ibkr_sessions(text, "Australia/Sydney"), "Australia/Sydney") == [
        "Mon 08: Sat 18:00 to Mon 16:30, break Sun 02:00 to Sun 18:00, break Sun 23:00 to Mon 09:50"
    ]


def test_a_morning_session_is_of_its_own_date() -> None:
    """Equity index futures on a Good Friday with an employment report close at 08:15."""
    good_friday = "20260401:1700-20260402:1600;20260402:1700-20260403:0815;20260405:1700-20260406:1600"
    assert [each.date.day for each in ibkr_sessions(good_friday, CHICAGO)] == [2, 3, 6]


def test_a_session_over_midnight_has_the_date_of_its_close() -> None:
    """A future opens on the evening before, pauses in the afternoon, and is closed on Saturdays."""
    text = (
        "20241201:1700-20241202:1515;20241202:1530-20241202:1600;"
        "20241202:1700-20241203:1515;20241203:1530-20241203:1600;20241207:CLOSED"
    )
    monday, tuesday = ibkr_sessions(text, CHICAGO)
    pause = (utc(2024, 12, 2, 21, 15), utc(2024, 12, 2, 21, 30))
    assert monday == Session(MONDAY, utc(2024, 12, 1, 23), utc(2024, 12, 2, 22), (pause,))
    assert (tuesday.date, tuesday.open) == (TUESDAY, utc(2024, 12, 2, 23))


def test_trading_up_to_midnight_belongs_to_the_day_that_ends() -> None:
    """A market that never sleeps has a session for each day."""
    sessions = ibkr_sessions("20241202:0000-20241203:0000;20241203:0000-20241204:0000", "UTC")
    assert [each.date for each in sessions] == [MONDAY, TUESDAY]
    assert FixedSchedule(sessions).session_at(utc(2024, 12, 3)).date == TUESDAY


# ---- ranges ----


@pytest.mark.parametrize(
    "text",
    [
        "20241129:0930-1300;20241202:0930-1600",
        "20241129:0930-20241129:1300;20241202:0930-20241202:1600",
        "20241129:0930-20241129:1300;20241130:CLOSED;20241201:CLOSED;20241202:0930-1600",
        ";20241129:0930-20241129:1300;;20241202:0930-20241202:1600;",
        "20241202:0930-20241202:1600;20241129:0930-20241129:1300",
    ],
    ids=["short", "long", "mixed and closed", "empty entries", "unsorted"],
)
def test_both_forms_say_the_same(text: str) -> None:
    """A day and its hours, with one date or two; days that are closed or empty have no session."""
    assert ibkr_sessions(text, NEW_YORK) == (
        Session(FRIDAY, utc(2024, 11, 29, 14, 30), utc(2024, 11, 29, 18)),
        Session(MONDAY, utc(2024, 12, 2, 14, 30), utc(2024, 12, 2, 21)),
    )


@pytest.mark.parametrize(
    "text",
    [
        "20241202:0930-1200,1300-1600",
        "20241202:0930-20241202:1200,20241202:1300-20241202:1600",
        "20241202:0930-20241202:1200;20241202:1300-20241202:1600",
        "20241202:1300-20241202:1600;20241202:0930-20241202:1200",
    ],
)
def test_several_ranges_of_a_day_are_one_session_with_breaks(text: str) -> None:
    """However they are separated, and in whatever order they come."""
    (only,) = ibkr_sessions(text, HONG_KONG)
    lunch = (utc(2024, 12, 2, 4), utc(2024, 12, 2, 5))
    assert only == Session(MONDAY, utc(2024, 12, 2, 1, 30), utc(2024, 12, 2, 8), (lunch,))


def test_ranges_that_touch_have_no_break_between_them() -> None:
    """The broker's own example of the short form."""
    (only,) = ibkr_sessions("20090507:0700-1830,1830-2330;20090508:CLOSED", NEW_YORK)
    assert only == Session(date(2009, 5, 7), utc(2009, 5, 7, 11), utc(2009, 5, 8, 3, 30))


def test_hours_follow_the_clocks_of_their_zone() -> None:
    """An hour is that of the place, before and after its clocks change; the broker's old zone names will do."""
    sessions = ibkr_sessions("20241101:0930-20241101:1600;20241104:0930-20241104:1600", "US/Eastern")
    assert [each.open for each in sessions] == [utc(2024, 11, 1, 13, 30), utc(2024, 11, 4, 14, 30)]


def test_a_string_of_closed_days_has_no_session() -> None:
    """Which a schedule refuses: there is nothing to run on."""
    assert ibkr_sessions("20241130:CLOSED;20241201:CLOSED", NEW_YORK) == ()
    with pytest.raises(InvalidSession, match="has no sessions"):
        FixedSchedule(ibkr_sessions("20241130:CLOSED", NEW_YORK))


# ---- what is refused ----


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'' is not understood: it has no day"),
        (";;", "';;' is not understood: it has no day"),
        ("CLOSED", "'CLOSED' is not understood: it does not begin with a day, such as 20241129:"),
        ("2024129:0930-1600", "'2024129:0930-1600' is not understood: it does not begin with a day"),
        ("20241129", "it does not begin with a day"),
        ("20241129:", "'' is neither CLOSED nor a range such as 0930-1600 or 0930-20241129:1600"),
        ("20241129:closed", "'closed' is neither CLOSED nor a range"),
        ("20241129:9:30-16:00", "'9:30-16:00' is neither CLOSED nor a range"),
        ("20241129:0930-1200,", "'' is neither CLOSED nor a range"),
        ("20241129:0930", "'0930' is neither CLOSED nor a range"),
        ("20241129:0930-1600 20241202:0930-1600", "'0930-1600 20241202:0930-1600' is neither CLOSED nor a range"),
        ("20241129:٠٩٣٠-١٦٠٠", "is neither CLOSED nor a range"),
        ("20241129:0930-2400", "20241129 2400 is no day and time"),
        ("20241129:0960-1600", "20241129 0960 is no day and time"),
        ("20241131:0930-1600", "20241131 0930 is no day and time"),
        ("20241129:0930-0930", "'0930-0930' does not close after it opens"),
        ("20241129:1600-20241129:0930", "'1600-20241129:0930' does not close after it opens"),
        ("20241129:0930-20241128:1600", "'0930-20241128:1600' does not close after it opens"),
        ("00010101:1700-1515", "00010101 is not in the years 1000 to 8999"),
        ("99991230:1800-99991231:0300;99991231:0930-1600", "99991230 is not in the years 1000 to 8999"),
        ("20241129:0930-89991231:1600", "'0930-89991231:1600' is longer than 31 days"),
        ("20241129:0930-1200,1100-1600", "on 2024-11-29 a range opens at 2024-11-29 11:00:00 before another one"),
    ],
)
def test_a_string_that_is_wrong_is_refused_and_it_is_said_what_is(text: str, words: str) -> None:
    """Nothing is guessed: a day that was read wrongly would be a day on which the application trades wrongly."""
    with pytest.raises(VenueDataRefused) as caught:
        ibkr_sessions(text, NEW_YORK)
    assert caught.value.source == "the IBKR string of hours"
    assert words in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_sessions_that_overlap_make_no_schedule() -> None:
    """A session that opens before the one before has closed is refused as in any schedule."""
    sessions = ibkr_sessions("20241201:1700-20241202:1600;20241202:1500-20241203:1600", CHICAGO)
    with pytest.raises(InvalidSession, match=r"session 2024-12-02 .* must lie wholly before session 2024-12-03"):
        FixedSchedule(sessions)


def test_what_lies_beyond_the_string_is_unknown() -> None:
    """Not closed: the schedule of the sessions ends there."""
    schedule = FixedSchedule(ibkr_sessions("20241129:0930-1300;20241130:CLOSED", NEW_YORK))
    with pytest.raises(ScheduleExhausted):
        schedule.session_at(datetime(2024, 11, 30, tzinfo=UTC) + 30 * DAY)
