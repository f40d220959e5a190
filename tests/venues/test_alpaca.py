"""Alpaca's calendar, both versions: answers as the service gives them, and what is refused."""

import json
from datetime import date
from typing import Any

import pytest

from session_lifecycle import FixedSchedule, InvalidSession, Session, VenueDataRefused
from session_lifecycle.venues import alpaca_sessions
from tests.helpers.builders import utc

# `GET /v2/calendar` over Thanksgiving 2026.
V2 = json.loads(
    '[{"close":"16:00","date":"2026-11-25","open":"09:30","session_close":"2000","session_open":"0400",'
    '"settlement_date":"2026-11-27"},{"close":"13:00","date":"2026-11-27","open":"09:30","session_close":"1700",'
    '"session_open":"0400","settlement_date":"2026-11-30"}]'
)
# `GET /v3/calendar/NYSE` on 2 January 2025.
V3 = json.loads(
    '{"market": {"acronym": "NYSE", "name": "New York Stock Exchange", "timezone": "America/New_York", "mic": "XNYS"},'
    '"calendar": [{"date": "2025-01-02", "pre_start": "2025-01-02T04:00:00-05:00", "pre_end": '
    '"2025-01-02T09:30:00-05:00", "core_start": "2025-01-02T09:30:00-05:00", "core_end": "2025-01-02T16:00:00-05:00",'
    '"post_start": "2025-01-02T16:00:00-05:00", "post_end": "2025-01-02T20:00:00-05:00",'
    '"settlement_date": "2025-01-03"}]}'
)
# `GET /v3/calendar/OPRA?timezone=UTC`: no hours but the core's.
V3_UTC = json.loads(
    '{"market": {"acronym": "OPRA", "name": "Options Price Reporting Authority", "timezone": "America/New_York"},'
    '"calendar": [{"date": "2025-01-02", "core_start": "2025-01-02T14:30:00Z", "core_end": "2025-01-02T21:00:00Z",'
    '"settlement_date": "2025-01-03"}]}'
)
DAY = V3["calendar"][0]


def test_days_of_version_2_are_new_york_s() -> None:
    """With the extended hours, which are shorter on a half day."""
    sessions = alpaca_sessions(V2)
    assert sessions == (
        Session(
            date(2026, 11, 25),
            utc(2026, 11, 25, 14, 30),
            utc(2026, 11, 25, 21),
            (),
            utc(2026, 11, 25, 9),
            utc(2026, 11, 26, 1),
        ),
        Session(
            date(2026, 11, 27),
            utc(2026, 11, 27, 14, 30),
            utc(2026, 11, 27, 18),
            (),
            utc(2026, 11, 27, 9),
            utc(2026, 11, 27, 22),
        ),
    )
    assert FixedSchedule(sessions).next_session(date(2026, 11, 25)).date == date(2026, 11, 27)


def test_days_of_earlier_years_have_no_extended_hours() -> None:
    """The example of the first documentation; and the times with a colon, as some clients write them."""
    (session,) = alpaca_sessions([{"date": "2018-01-03", "open": "09:30", "close": "16:00"}])
    assert (session.open, session.pre_market_start, session.post_market_end) == (utc(2018, 1, 3, 14, 30), None, None)
    row = {"date": "2026-07-13", "open": "09:30", "close": "16:00", "session_open": "04:00", "session_close": "20:00"}
    assert alpaca_sessions([row])[0].pre_market_start == utc(2026, 7, 13, 8)


def test_days_of_version_3_have_instants() -> None:
    """With an offset, or in UTC; hours that are missing are not known."""
    (session,) = alpaca_sessions(V3)
    assert session == Session(
        date(2025, 1, 2), utc(2025, 1, 2, 14, 30), utc(2025, 1, 2, 21), (), utc(2025, 1, 2, 9), utc(2025, 1, 3, 1)
    )
    assert alpaca_sessions(V3_UTC) == (Session(date(2025, 1, 2), session.open, session.close),)
    assert alpaca_sessions({"calendar": []}) == alpaca_sessions([]) == ()


def test_a_lunch_is_a_break() -> None:
    """As its fields are documented; null stands for none."""
    row = {
        "date": "2025-01-02",
        "core_start": "2025-01-02T09:30:00+08:00",
        "core_end": "2025-01-02T16:00:00+08:00",
        "lunch_start": "2025-01-02T12:00:00+08:00",
        "lunch_end": "2025-01-02T13:00:00+08:00",
        "pre_start": None,
    }
    (session,) = alpaca_sessions({"calendar": [row]})
    assert session.breaks == ((utc(2025, 1, 2, 4), utc(2025, 1, 2, 5)),)
    for missing in ("lunch_start", "lunch_end"):
        with pytest.raises(VenueDataRefused, match="a lunch must have its start and its end") as caught:
            alpaca_sessions({"calendar": [{**row, missing: None}]})
        assert f"`{missing}`" in caught.value.source


@pytest.mark.parametrize(
    ("row", "field", "words"),
    [
        ({**V2[0], "date": None}, "date", "it must be like 2024-11-29"),
        ({**V2[0], "date": "25 November"}, "date", "it must be like 2024-11-29"),
        ({**V2[0], "open": None}, "open", "every day must have it"),
        ({**V2[0], "close": None}, "close", "every day must have it"),
        ({**V2[0], "open": "9:30"}, "open", "it must be like 09:30 or 0930"),
        ({**V2[0], "open": 930}, "open", "it must be like 09:30 or 0930"),
        ({**V2[0], "close": "24:00"}, "close", "it must be like 09:30 or 0930"),
        ({**V2[0], "session_open": ""}, "session_open", "it must be like 09:30 or 0930"),
    ],
)
def test_a_day_of_version_2_that_is_wrong_is_refused(row: dict[str, object], field: str, words: str) -> None:
    """With its date, the field and what that holds."""
    with pytest.raises(VenueDataRefused, match=words) as caught:
        alpaca_sessions([row])
    assert caught.value.source == f"the `{field}` of Alpaca's day {row['date']}"
    assert caught.value.value == row[field]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("core_start", None, "every day must have it"),
        ("core_end", None, "every day must have it"),
        ("core_start", "2025-01-02T09:30:00", "an instant with an offset"),
        ("core_start", "09:30", "an instant with an offset"),
        ("pre_start", 5, "an instant with an offset"),
        ("date", "", "it must be like 2024-11-29"),
    ],
)
def test_a_day_of_version_3_that_is_wrong_is_refused(field: str, value: object, words: str) -> None:
    """Likewise; an instant without an offset is none."""
    with pytest.raises(VenueDataRefused, match=words) as caught:
        alpaca_sessions({"calendar": [{**DAY, field: value}]})
    assert caught.value.value == value


@pytest.mark.parametrize("answer", [{}, {"calendar": None}, {"message": "forbidden."}, None, 404, "[]", b"[]"])
def test_an_answer_that_is_no_calendar_is_refused(answer: Any) -> None:
    """An error of the service is not an empty calendar, and the text of an answer is not its content."""
    with pytest.raises(VenueDataRefused, match="it is neither a list of days, nor has it one in `calendar`"):
        alpaca_sessions(answer)


def test_a_day_that_is_no_object_is_refused() -> None:
    """In either version."""
    for answer in (["2025-01-02"], {"calendar": ["2025-01-02"]}):
        with pytest.raises(VenueDataRefused, match="it is no object with a date and hours"):
            alpaca_sessions(answer)


def test_hours_in_the_wrong_order_are_refused_as_in_any_session() -> None:
    """A close before the open."""
    with pytest.raises(InvalidSession):
        alpaca_sessions([{"date": "2025-01-02", "open": "16:00", "close": "09:30"}])
