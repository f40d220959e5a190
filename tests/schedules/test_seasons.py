"""Special hours of a range of days: which sessions they are for, and what is refused."""

from datetime import date, time

import pytest

from session_lifecycle import Closure, ExchangeSchedule, OverrideRefused, SpecialHours
from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._model.clock import Reading
from tests.helpers.builders import DAY, utc

NEAR = utc(2026, 7, 1)
FIRST, LAST = date(2026, 11, 2), date(2026, 12, 31)


def closes(schedule: ExchangeSchedule) -> dict[date, time]:
    """Return the closes in the schedule's own time that are not the regular one."""
    found = {
        each.date: each.close.astimezone(schedule.timezone).time() for each in schedule.sessions(FIRST - 7 * DAY, LAST)
    }
    return {day: hour for day, hour in found.items() if hour != time(16)}


def test_a_season_is_for_each_session_but_those_with_hours_of_their_own() -> None:
    """Half days of the calendar stay, overrides of single dates come first, and holidays stay holidays."""
    overrides = [
        SpecialHours(FIRST, until=LAST, weekdays=("thu", "fri"), close=time(15), reason="a season"),
        SpecialHours(date(2026, 12, 3), close=time(14)),
        Closure(date(2026, 12, 10)),
    ]
    schedule = ExchangeSchedule("XNYS", overrides=overrides, near=NEAR)
    found = closes(schedule)
    assert found.pop(date(2026, 11, 27)) == found.pop(date(2026, 12, 24)) == time(13)
    assert found.pop(date(2026, 12, 3)) == time(14)
    assert date(2026, 12, 10) not in {each.date for each in schedule.sessions(FIRST, LAST)}
    assert set(found.values()) == {time(15)}
    assert {day.weekday() for day in found} == {3, 4}
    assert schedule.seasonal == set(found)
    in_force = {each.date: each for each in schedule.overrides}
    assert in_force[date(2026, 11, 5)] == SpecialHours(date(2026, 11, 5), close=time(15), reason="a season")
    assert len(in_force) == len(found) + 2


def test_a_season_of_all_days_in_a_file(tmp_path) -> None:
    path = tmp_path / "hours.toml"
    path.write_text('calendar = "XNYS"\n[[special_hours]]\nfrom = 2026-11-02\nuntil = 2026-11-06\nclose = 15:00:00\n')
    schedule = ExchangeSchedule.from_file(path, near=NEAR)
    assert list(closes(schedule).items())[:5] == [(FIRST + n * DAY, time(15)) for n in range(5)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("date = 2026-11-02\nuntil = 2026-11-06", "needs `date`, or `from` and `until`"),
        ("from = 2026-11-02", "needs `date`, or `from` and `until`"),
        ("date = 2026-11-02\nfrom = 2026-11-02\nuntil = 2026-11-06", "needs `date`, or `from` and `until`"),
        ("until = 2026-11-06", "needs `date`, or `from` and `until`"),
        ("from = 2026-11-06\nuntil = 2026-11-02", "before it begins"),
        ("date = 2026-11-02\nweekdays = ['mon']", "`weekdays` need `until`"),
        ("from = 2026-11-02\nuntil = 2026-11-06\nweekdays = ['monday']", "'monday' is not a weekday"),
        ("from = 2026-11-07\nuntil = 2026-11-08", "has no session"),
    ],
)
def test_a_season_in_a_file_that_cannot_be_is_refused(tmp_path, text, why) -> None:
    path = tmp_path / "hours.toml"
    path.write_text(f'calendar = "XNYS"\n[[special_hours]]\nclose = 15:00:00\n{text}\n')
    with pytest.raises(OverrideRefused, match=why):
        ExchangeSchedule.from_file(path, near=NEAR)


def test_seasons_that_cannot_be_are_refused() -> None:
    with pytest.raises(TypeError, match=r"SpecialHours.until must be a datetime\.date"):
        SpecialHours(FIRST, until="2026-12-31", close=time(15))
    with pytest.raises(OverrideRefused, match="hours of a season are times without a date"):
        SpecialHours(FIRST, until=LAST, close=utc(2026, 11, 2, 20))
    overlapping = [
        SpecialHours(FIRST, until=LAST, close=time(15)),
        SpecialHours(date(2026, 12, 1), until=LAST, close=time(14)),
    ]
    with pytest.raises(OverrideRefused, match="of two seasons, contradict each other"):
        ExchangeSchedule("XNYS", overrides=overlapping, near=NEAR)


def test_a_season_is_not_applied_to_a_running_lifecycle() -> None:
    """It would be of many dates, of which some have passed."""
    core = SessionLifecycle(ExchangeSchedule("XNYS", near=NEAR))
    now = Reading(utc(2026, 11, 2, 12), DAY)
    core.begin(now)
    with pytest.raises(OverrideRefused, match=r"is a season\. Apply an override of each date"):
        core.change_schedule(SpecialHours(FIRST, until=LAST, close=time(15)), now)
