"""Schedules with overrides, and with another session on a date."""

from datetime import UTC, date, time

import pytest

from session_lifecycle import (
    Closure,
    ExchangeSchedule,
    InvalidSession,
    OverrideRefused,
    ScheduleExhausted,
    Session,
    SpecialHours,
)
from tests.helpers.builders import DAY, MONDAY, at, session, utc, weekdays

TUESDAY, WEDNESDAY = MONDAY + DAY, MONDAY + 2 * DAY


def test_a_fixed_schedule_with_another_session():
    schedule = weekdays(n=3, name="desk")
    early = session(TUESDAY, close=(18, 0))
    changed = schedule.with_session(TUESDAY, early)
    assert changed.sessions(MONDAY, WEDNESDAY) == (session(), early, session(WEDNESDAY))
    assert (changed.name, changed.timezone) == ("desk", UTC)
    assert changed.with_session(TUESDAY, None).next_session(MONDAY).date == WEDNESDAY
    assert schedule.session_on(TUESDAY) == session(TUESDAY)
    with pytest.raises(InvalidSession, match="must lie wholly before"):
        schedule.with_session(TUESDAY, session(TUESDAY).__class__(TUESDAY, at(MONDAY, (20, 0)), at(TUESDAY, (21, 0))))


def test_overrides_of_an_exchange_schedule():
    near = utc(2024, 11, 25)
    overrides = [
        SpecialHours(date(2024, 11, 27), close=time(14), reason="an election"),
        Closure(date(2024, 11, 26)),
        SpecialHours(date(2024, 11, 30), open=time(10), close=time(12)),
    ]
    schedule = ExchangeSchedule("XNYS", overrides=overrides, near=near)
    days = [each.date.day for each in schedule.sessions(date(2024, 11, 25), date(2024, 11, 30))]
    assert days == [25, 27, 29, 30]
    assert schedule.session_on(date(2024, 11, 27)).close == utc(2024, 11, 27, 19)
    assert schedule.session_at(utc(2024, 11, 27, 19)).date == date(2024, 11, 29)
    assert schedule.session_on(date(2024, 11, 30)).open == utc(2024, 11, 30, 15)
    assert [each.date.day for each in schedule.overrides] == [26, 27, 30]
    assert ExchangeSchedule("XNYS", near=near).session_on(date(2024, 11, 26)).date.day == 26


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        ([Closure(date(2024, 11, 29)), SpecialHours(date(2024, 11, 29), close=time(12))], "contradict each other"),
        ([Closure(date(2024, 11, 28))], "no session"),
        ([SpecialHours(date(2024, 11, 29), open=utc(2024, 11, 27, 20))], "would overlap"),
        ([SpecialHours(date(2024, 12, 31), close=utc(2025, 1, 2, 15))], "would overlap"),
        ([SpecialHours(date(2024, 11, 29), close=time(9))], "must come before"),
    ],
)
def test_overrides_that_cannot_be_are_refused_at_construction(overrides, why):
    with pytest.raises(OverrideRefused, match=why):
        ExchangeSchedule("XNYS", overrides=overrides, near=utc(2024, 11, 25))


def test_overrides_of_other_kinds_and_times_are_refused():
    with pytest.raises(TypeError, match="an override must be a Closure or SpecialHours"):
        ExchangeSchedule("XNYS", overrides=["closed"])
    with pytest.raises(ScheduleExhausted):
        ExchangeSchedule("XNYS", overrides=[Closure(date(2300, 1, 1))])


def test_an_exchange_schedule_with_another_session_leaves_the_original_alone():
    schedule = ExchangeSchedule("XNYS", near=utc(2024, 11, 25))
    changed = schedule.with_session(date(2024, 11, 29), None)
    assert changed.next_session(date(2024, 11, 27)).date == date(2024, 12, 2)
    assert schedule.next_session(date(2024, 11, 27)).date == date(2024, 11, 29)
    assert changed.session_on(date(2029, 11, 28)) == schedule.session_on(date(2029, 11, 28))
    late = Session(date(2024, 11, 29), utc(2024, 11, 29, 15), utc(2024, 12, 2, 15))
    with pytest.raises(OverrideRefused, match="would overlap"):
        schedule.with_session(date(2024, 11, 29), late)
