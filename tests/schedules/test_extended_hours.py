"""The pre-market and post-market hours that venues publish."""

from datetime import UTC, date, datetime, time

import pytest

from session_lifecycle import ConfigurationError, ExchangeSchedule
from tests.helpers.builders import utc


@pytest.mark.parametrize(
    ("calendar", "day", "start", "end"),
    [
        ("XNYS", date(2026, 11, 25), utc(2026, 11, 25, 9), utc(2026, 11, 26, 1)),
        ("XNAS", date(2026, 11, 27), utc(2026, 11, 27, 9), utc(2026, 11, 27, 22)),
        ("XNYS", date(2026, 7, 2), utc(2026, 7, 2, 8), utc(2026, 7, 3)),
        ("XNYS", date(2012, 7, 2), None, None),  # before the hours on record
        ("XETR", date(2026, 1, 5), utc(2026, 1, 5, 7), utc(2026, 1, 5, 21)),
        ("XETR", date(2025, 11, 28), None, None),
        ("XETR", date(2025, 12, 30), utc(2025, 12, 30, 7), None),  # a short day: its evening is not on record
        ("XTSE", date(2026, 1, 5), None, utc(2026, 1, 5, 22)),
    ],
)
def test_extended_hours_are_those_that_the_venue_publishes(calendar, day, start, end):
    schedule = ExchangeSchedule(calendar, extended_hours=True, near=datetime.combine(day, time(12), UTC))
    found = schedule.session_on(day)
    assert (found.pre_market_start, found.post_market_end) == (start, end)
    plain = ExchangeSchedule(calendar, near=datetime.combine(day, time(12), UTC)).session_on(day)
    assert (plain.pre_market_start, plain.post_market_end) == (None, None)
    assert (plain.open, plain.close, plain.breaks) == (found.open, found.close, found.breaks)


def test_extended_hours_of_a_venue_without_an_entry():
    with pytest.raises(ConfigurationError, match="none are on record for XLON, only for XETR, XNYS, XTSE"):
        ExchangeSchedule("XLON", extended_hours=True)
