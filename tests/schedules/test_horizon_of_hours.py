"""How far hours are known: where lists of feasts end, and what a desk adds beyond."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import pytest

from session_lifecycle import (
    Closure,
    ExchangeSchedule,
    HorizonNear,
    OverrideRefused,
    ScheduleExhausted,
    SnapshotSchedule,
    SpecialHours,
    replay,
    write_snapshot,
)
from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._model.clock import Reading
from session_lifecycle._schedules.calendars import RULES_END, known_days
from session_lifecycle._schedules.regular_week import continued
from session_lifecycle._schedules.venue_hours import hours_of
from tests.helpers.builders import DAY, MONDAY, utc, weekdays
from tests.helpers.calendars import calendars_with_hours
from tests.labs.simulation.hours import NAMES

NEAR = utc(2026, 11, 1)
NEW_YEAR = date(2027, 1, 1)
END = date(2027, 12, 31)


@pytest.mark.parametrize("name", sorted(name for name in calendars_with_hours() if hours_of(name).known_until))
def test_fault_77_a_calendar_ends_where_its_lists_of_feasts_end(name: str) -> None:
    """The last listed day is known, and the next one is unknown, not a session."""
    schedule = ExchangeSchedule(name, near=NEAR)
    assert schedule.known_until == hours_of(name).known_until
    assert schedule.previous_session(schedule.known_until + DAY).date <= schedule.known_until
    with pytest.raises(ScheduleExhausted, match="an hours file with `until`"):
        schedule.session_on(schedule.known_until + DAY)
    with pytest.raises(ScheduleExhausted, match="does not mean that the market is closed"):
        schedule.next_session(schedule.known_until)


ENDING = sorted(
    name
    for name in NAMES
    if (days := known_days(name)) and min(days[1], hours_of(name).known_until or RULES_END) < RULES_END
)


def test_the_calendars_that_end_are_those_with_lists() -> None:
    assert {"XIDX", "XKAR", "XKLS", "XBKK", "XBOM", "XSHG", "XSES"} <= {*ENDING}


@pytest.mark.parametrize("name", ENDING)
def test_fault_77_a_manager_warns_thirty_days_before_a_list_ends(name: str) -> None:
    """Of every calendar that ends: within thirty days one with the last session, before that none about the end."""
    end = ExchangeSchedule(name, near=NEAR).known_until
    midnight = datetime.combine(end, time(), UTC)
    schedule = ExchangeSchedule(name, near=midnight)
    with pytest.raises(ScheduleExhausted):
        schedule.session_on(end + DAY)
    with pytest.raises(ScheduleExhausted):
        schedule.session_at(midnight + 2 * DAY)
    warnings: list[list[HorizonNear]] = []
    for days in (45, 29):
        core = SessionLifecycle(schedule)
        core.begin(Reading(midnight - days * DAY, timedelta(0)))
        warnings.append([event for event in core.take_events() if isinstance(event, HorizonNear)])
    early, late = warnings
    assert all(event.vouched_until is not None for event in early), "it is about what is published"
    assert [event.known_until for event in late] == [schedule.previous_session(end + DAY).date]


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("corrections", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_every_calendar_replays_legally(name: str, corrections: bool) -> None:
    """2024 to 2027, or up to its end: each transition begins where the one before it has led to, and never earlier."""
    schedule = ExchangeSchedule(name, corrections=corrections, near=NEAR)
    last = min(schedule.known_until, date(2027, 12, 31))
    sessions = schedule.sessions(date(2024, 1, 1), last)
    for before, after in pairwise(sessions):
        assert before.close <= after.open
    events = list(replay(schedule, sessions[0].open - DAY, sessions[-2].close))
    assert {event.session for event in events} >= {session.date for session in sessions[1:-2]}
    for earlier, later in pairwise(events):
        assert earlier.dest is later.source
        assert earlier.scheduled_at <= later.scheduled_at
        assert later.session > earlier.session if later.trigger == "roll" else later.session == earlier.session


def test_what_is_vouched_for_is_on_record_or_not() -> None:
    assert ExchangeSchedule("XNYS", near=NEAR).vouched_until == date(2028, 12, 31)
    assert ExchangeSchedule("24/7", near=NEAR).vouched_until is None
    assert ExchangeSchedule("XNYS", near=NEAR).means.startswith("The core trading session")
    assert ExchangeSchedule("24/7", near=NEAR).means.endswith("It stands for no exchange.")


def test_a_year_that_a_desk_adds_has_the_regular_week_and_its_closures() -> None:
    """Each weekday is a session with the regular hours, corrected like those before, except as the overrides say."""
    overrides = [
        Closure(date(2027, 1, 26), "Republic Day"),
        Closure(date(2027, 8, 15), "of a Sunday"),
        SpecialHours(date(2027, 10, 29), open=time(18), close=time(19)),
    ]
    schedule = ExchangeSchedule("XBOM", overrides=overrides, until=END, near=NEAR)
    assert (schedule.known_until, schedule.vouched_until) == (END, END)
    sessions = schedule.sessions(NEW_YEAR, END)
    days = [NEW_YEAR + n * DAY for n in range(365)]
    assert [each.date for each in sessions] == [day for day in days if day.weekday() < 5 and day != date(2027, 1, 26)]
    assert (sessions[0].open, sessions[0].close) == (utc(2027, 1, 1, 3, 45), utc(2027, 1, 1, 9, 45))
    assert schedule.session_on(date(2027, 10, 29)).open == utc(2027, 10, 29, 12, 30)
    assert schedule.sessions(date(2026, 1, 1), date(2026, 12, 31)) == ExchangeSchedule("XBOM", near=NEAR).sessions(
        date(2026, 1, 1), date(2026, 12, 31)
    )
    assert schedule.session_at(utc(2026, 12, 31, 12)).date == NEW_YEAR
    with pytest.raises(ScheduleExhausted):
        schedule.session_on(END + DAY)


def test_what_a_desk_adds_is_the_same_whichever_year_is_loaded_first() -> None:
    early = ExchangeSchedule("XBOM", until=END, near=NEAR)
    late = ExchangeSchedule("XBOM", until=END, near=utc(2027, 6, 1))
    span = (date(2025, 1, 1), END)
    assert early.sessions(*span) == late.sessions(*span)


def test_a_calendar_that_caps_itself_is_continued_too() -> None:
    """XIDX has rules beyond its lists, and a desk that adds a year says all of its holidays itself."""
    schedule = ExchangeSchedule("XIDX", overrides=[Closure(NEW_YEAR)], until=END, near=NEAR)
    assert len(schedule.sessions(NEW_YEAR, END)) == 260
    friday = schedule.session_on(date(2027, 1, 8))
    assert friday.breaks == ((utc(2027, 1, 8, 4, 30), utc(2027, 1, 8, 7)),)


def test_until_within_the_known_days_changes_nothing() -> None:
    """A file stays good after an update that knows its year, and what it closes may be closed already."""
    christmas = Closure(date(2026, 12, 25))
    with pytest.raises(OverrideRefused, match="no session"):
        ExchangeSchedule("XNYS", overrides=[christmas], near=NEAR)
    schedule = ExchangeSchedule("XNYS", overrides=[christmas], until=END, near=NEAR)
    assert schedule.known_until == ExchangeSchedule("XNYS", near=NEAR).known_until
    assert schedule.vouched_until == date(2028, 12, 31)
    with pytest.raises(TypeError, match=r"until must be a datetime\.date"):
        ExchangeSchedule("XNYS", until=NEAR)
    with pytest.raises(OverrideRefused, match="cannot be later than 2200-12-31"):
        ExchangeSchedule("XBOM", until=date.max)


def test_a_file_of_hours_adds_a_year(tmp_path) -> None:
    path = tmp_path / "hours.toml"
    path.write_text('calendar = "XBOM"\nuntil = 2027-12-31\n[[closure]]\ndate = 2027-01-26\n')
    schedule = ExchangeSchedule.from_file(path, near=NEAR)
    assert schedule.known_until == END
    assert schedule.next_session(date(2027, 1, 25)).date == date(2027, 1, 27)
    path.write_text('calendar = "XBOM"\nuntil = "next year"\n')
    with pytest.raises(OverrideRefused, match="until must be a date, such as 2027-12-31, not 'next year'"):
        ExchangeSchedule.from_file(path)
    season = "[[special_hours]]\nfrom = 2026-12-01\nuntil = 2026-12-04\nweekdays = []\nclose = 13:00:00\n"
    path.write_text(f'calendar = "XBOM"\n{season}')
    with pytest.raises(OverrideRefused, match="`weekdays` names none"):
        ExchangeSchedule.from_file(path)
    path.write_text('calendar = "XBOM"\n[[closure]]\ndate = 2027-01-26\n')
    with pytest.raises(OverrideRefused, match="an hours file with `until`") as refused:
        ExchangeSchedule.from_file(path)
    assert isinstance(refused.value.__cause__, ScheduleExhausted)


def test_the_regular_week_has_the_latest_hours_and_the_regular_days_only() -> None:
    """A weekday that is a session now and then, such as a Saturday, is none."""
    sessions = list(weekdays(MONDAY, 260).sessions(MONDAY, MONDAY + timedelta(days=400)))
    end = sessions[-1].date
    added = continued(sessions, utc(2024, 1, 1).tzinfo, end, end + 7 * DAY)
    assert [each.date.weekday() for each in added] == [0, 1, 2, 3, 4]
    assert {(each.open.hour, each.close.hour) for each in added} == {(14, 21)}
    assert continued([], utc(2024, 1, 1).tzinfo, end, end + 7 * DAY) == []


def test_a_manager_warns_once_a_session_beyond_what_is_vouched_for() -> None:
    """On the last vouched day nothing, from the next session on one warning each."""
    core = SessionLifecycle(ExchangeSchedule("XNYS", near=utc(2028, 12, 28)))
    start = utc(2028, 12, 28, 12)
    core.begin(Reading(start, timedelta(0)))
    log = list(core.take_events())
    for hour in range(1, 24 * 7):
        now = Reading(start + timedelta(hours=hour), timedelta(hours=hour))
        core.poll(now)
        while (turn := core.due_roll(now)) is not None:
            core.begin_roll(turn, now, journalled=False).apply(now)
            core.roll_succeeded(turn, now).apply(now)
        log += core.take_events()
    found = [event for event in log if isinstance(event, HorizonNear)]
    assert [event.session for event in found] == [date(2029, 1, 2), date(2029, 1, 3), date(2029, 1, 4)]
    assert {(event.vouched_until, event.known_until) for event in found} == {(date(2028, 12, 31), date(2200, 12, 31))}


def test_a_snapshot_beyond_the_installed_calendar_says_what_was_not_compared(tmp_path) -> None:
    overrides = [Closure(date(2027, 1, 26))]
    schedule = ExchangeSchedule("XBOM", overrides=overrides, until=END, near=NEAR)
    path = tmp_path / "hours.toml"
    write_snapshot(schedule, path, date(2026, 12, 1), END)
    loaded = SnapshotSchedule.load(path)
    assert loaded.vouched_until == loaded.head.vouched_until == END
    found = loaded.check()
    assert (found, found.not_compared) == ((), (NEW_YEAR, END))
    with_overrides = loaded.check(overrides)
    assert (with_overrides, with_overrides.not_compared) == ((), None)
    assert [each.date for each in loaded.check([])] == [date(2027, 1, 26)]
    write_snapshot(schedule, path, NEW_YEAR, END)
    assert SnapshotSchedule.load(path).check().not_compared == (NEW_YEAR, END)


def test_a_snapshot_keeps_whether_its_hours_were_published(tmp_path) -> None:
    path = tmp_path / "hours.json"
    write_snapshot(ExchangeSchedule("24/7", near=NEAR), path, date(2026, 12, 1), date(2026, 12, 31))
    assert SnapshotSchedule.load(path).vouched_until is None
    assert "vouched_until" not in path.read_text()
    write_snapshot(ExchangeSchedule("XNYS", near=NEAR), path, date(2026, 12, 1), date(2026, 12, 31))
    assert SnapshotSchedule.load(path).vouched_until == date(2028, 12, 31)
