"""Closures and special hours as values: what they make of a session, and what is refused."""

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest

from session_lifecycle import Closure, NaiveDatetimeError, OverrideRefused, Session, SpecialHours
from session_lifecycle._model.overrides import applied
from tests.helpers.builders import MONDAY, at, session, utc

NEW_YORK, LONDON = ZoneInfo("America/New_York"), ZoneInfo("Europe/London")
LUNCH = session(breaks=(((16, 0), (17, 0)),))


def test_an_hour_of_the_day_is_the_exchanges_own():
    hours = SpecialHours(date(2024, 11, 29), open=time(10), close=time(13))
    assert applied(hours, None, NEW_YORK) == Session(date(2024, 11, 29), utc(2024, 11, 29, 15), utc(2024, 11, 29, 18))


def test_an_aware_hour_is_that_instant():
    evening = datetime(2024, 11, 28, 17, tzinfo=NEW_YORK)
    hours = SpecialHours(date(2024, 11, 29), open=evening, close=time(13))
    after = applied(hours, None, NEW_YORK)
    assert after is not None
    assert (after.open, after.open.tzinfo) == (utc(2024, 11, 28, 22), UTC)


def test_what_is_not_given_stays():
    before = session(post_market_end=at(MONDAY, (23, 0)), pre_market_start=at(MONDAY, (9, 0)))
    after = applied(SpecialHours(MONDAY, close=time(18)), before, UTC)
    assert after == session(close=(18, 0), post_market_end=at(MONDAY, (23, 0)), pre_market_start=at(MONDAY, (9, 0)))


def test_a_pre_market_and_a_post_market_that_no_longer_fit_are_gone():
    before = session(post_market_end=at(MONDAY, (22, 0)), pre_market_start=at(MONDAY, (9, 0)))
    later = applied(SpecialHours(MONDAY, open=time(22), close=time(23)), before, UTC)
    assert later == session(open=(22, 0), close=(23, 0), pre_market_start=at(MONDAY, (9, 0)))
    earlier = applied(SpecialHours(MONDAY, open=time(8)), before, UTC)
    assert earlier == session(open=(8, 0), post_market_end=at(MONDAY, (22, 0)))


@pytest.mark.parametrize(
    ("hours", "breaks"),
    [
        (SpecialHours(MONDAY, close=time(16)), ()),
        (SpecialHours(MONDAY, open=time(17)), ()),
        (SpecialHours(MONDAY, close=time(17, 1)), LUNCH.breaks),
        (SpecialHours(MONDAY, breaks=()), ()),
        (SpecialHours(MONDAY, breaks=((time(15), time(15, 30)),)), ((at(MONDAY, (15, 0)), at(MONDAY, (15, 30))),)),
    ],
)
def test_breaks_stay_as_far_as_they_lie_within_the_hours(hours, breaks):
    after = applied(hours, LUNCH, UTC)
    assert after is not None
    assert after.breaks == breaks


@pytest.mark.parametrize(
    ("override", "before", "why"),
    [
        (Closure(MONDAY), None, "no session"),
        (SpecialHours(MONDAY, close=time(18)), None, "Give `open` and `close`"),
        (SpecialHours(MONDAY, close=time(14)), LUNCH, "open 2024-03-04T14:30:00+00:00 must come before"),
        (SpecialHours(MONDAY, close=time(16, 30)), LUNCH, "break end 2024-03-04T17:00:00+00:00 must come before close"),
        (SpecialHours(MONDAY, post_market_end=time(20)), LUNCH, "must come before post_market_end"),
    ],
)
def test_hours_that_cannot_be_name_both(override, before, why):
    with pytest.raises(OverrideRefused) as caught:
        applied(override, before, UTC)
    assert why in str(caught.value)
    assert repr(override) in str(caught.value)


def test_an_hour_that_the_clocks_leave_out_is_refused():
    with pytest.raises(OverrideRefused, match="01:30:00 does not exist in Europe/London on that day"):
        applied(SpecialHours(date(2024, 3, 31), open=time(1, 30), close=time(9)), None, LONDON)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: SpecialHours(MONDAY), OverrideRefused),
        (lambda: SpecialHours(MONDAY, open=datetime(2024, 3, 4, 9)), NaiveDatetimeError),  # noqa: DTZ001 -- that is what is refused
        (lambda: SpecialHours(MONDAY, open=time(9, tzinfo=UTC)), TypeError),
        (lambda: SpecialHours(MONDAY, open="09:00"), TypeError),
        (lambda: SpecialHours(MONDAY, breaks=((time(9), "10:00"),)), TypeError),
        (lambda: SpecialHours(utc(2024, 3, 4), open=time(9)), TypeError),
        (lambda: Closure("2024-03-04"), TypeError),
    ],
)
def test_bad_values_are_refused_at_once(make, error):
    with pytest.raises(error):
        make()
