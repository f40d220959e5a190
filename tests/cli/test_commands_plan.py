"""`plan`: every boundary is in it, what is odd is called out, and a calendar app can read it."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import vobject
from exchange_calendars import get_calendar
from msgspec import ValidationError

from session_lifecycle import ExchangeSchedule, replay
from session_lifecycle._cli.views.planned import PlanReport, clock_changes
from session_lifecycle._cli.views.usual import WeeklyPattern
from tests.helpers.builders import utc
from tests.helpers.command_line import as_json, hold_shape, printed, refused, run

NOW = utc(2026, 11, 25, 15, 56)


def rows(*args: str) -> list[str]:
    """Return the lines of a plan, with single blanks."""
    return [" ".join(line.split()) for line in printed("plan", *args, now=NOW).splitlines()]


def test_a_plan_lists_every_boundary_in_three_zones() -> None:
    """With the holiday, the half day, and the session that each roll leads to; within 80 columns."""
    text = printed("plan", "XNYS", "--from", "2026-11-25", "--days", "4", "--zone", "Europe/Berlin", now=NOW)
    assert text == (
        "XNYS, 2026-11-25 to 2026-11-28, America/New_York\n"
        "session                      New York  Berlin  UTC\n"
        "Wed 2026-11-25  pre-market~  04:00     10:00   09:00\n"
        "                open         09:30     15:30   14:30\n"
        "                close        16:00     22:00   21:00\n"
        "                end~         16:30     22:30   21:30  roll to 2026-11-27\n"
        "Thu 2026-11-26  closed                                holiday\n"
        "Fri 2026-11-27  pre-market~  04:00     10:00   09:00\n"
        "                open         09:30     15:30   14:30\n"
        "                close        13:00     19:00   18:00  half day\n"
        "                end~         13:30     19:30   18:30  roll to 2026-11-30\n"
        "2026-11-27 half day: 09:30 to 13:00, usually 09:30 to 16:00\n"
        "~ XNYS: by configuration; the venue's own are on record: --extended-hours\n"
    )


def test_what_the_configuration_makes_is_marked_and_a_fact_of_the_venue_is_not() -> None:
    """With the venue's own hours the pre-market is a fact; JSON says so for each boundary."""
    days = ("--from", "2026-11-25", "--days", "1")
    own = printed("plan", "XNYS", *days, "--extended-hours", now=NOW)
    assert "pre-market  04:00" in own
    assert "~" not in own
    for options, configured in (((), ["pre_market_start", "end"]), (("--extended-hours",), [])):
        [plan] = as_json("plan", "XNYS", *days, *options, now=NOW)
        (session,) = plan["sessions"]
        assert [moment["boundary"] for moment in session["moments"] if moment["configured"]] == configured


def test_the_widest_plan_fits_80_columns() -> None:
    """Breaks, days of the week beside most times, and a roll in the same table."""
    text = printed("plan", "XTKS", "--days", "3", "--zone", "America/New_York", now=NOW, width=80)
    assert text == printed("plan", "XTKS", "--days", "3", "--zone", "America/New_York", now=NOW)
    assert "break        11:30  Wed 21:30  02:30" in text


def test_by_default_it_is_a_week_from_the_present_day_of_the_venue() -> None:
    """In Tokyo it is Thursday already."""
    first, last = ([each["first"], each["last"]] for each in as_json("plan", "XNYS", "XTKS", now=NOW))
    assert first == ["2026-11-25", "2026-12-01"]
    assert last == ["2026-11-26", "2026-12-02"]


@pytest.mark.parametrize("calendar", ["XHKG", "CMES", "24/7"])
def test_the_instants_are_those_that_the_lifecycle_would_act_at(calendar: str) -> None:
    """The boundaries of a month are the edges of `replay`, session by session, and the breaks those of the session."""
    [value] = as_json("plan", calendar, "--from", "2026-10-20", "--to", "2026-11-20", now=NOW)
    hold_shape(value, PlanReport)
    schedule = ExchangeSchedule(calendar, near=NOW)
    sessions = schedule.sessions(date(2026, 10, 20), date(2026, 11, 20))
    start, end = sessions[0].open - timedelta(days=2), sessions[-1].close + timedelta(days=2)
    edges: dict[str, list[str]] = {session.date.isoformat(): [] for session in sessions}
    for edge in replay(schedule, start, end):
        if edge.trigger != "roll" and edge.session.isoformat() in edges:
            edges[edge.session.isoformat()].append(edge.scheduled_at.isoformat())
    breaks = ("break_start", "break_end")
    planned = {each["session"]: each["moments"] for each in value["sessions"]}
    assert {day: [m["at"] for m in moments if m["boundary"] not in breaks] for day, moments in planned.items()} == edges
    for session in sessions:
        pauses = [m["at"] for m in planned[session.date.isoformat()] if m["boundary"] in breaks]
        assert pauses == [at.isoformat() for pause in session.breaks for at in pause]


def test_the_shape_of_the_json_is_checked_to_the_last_item() -> None:
    """A state that does not exist, or a field that is missing, is found wherever it is."""
    [value] = as_json("plan", "XNYS", "--days", "8", now=NOW)
    hold_shape(value, PlanReport)
    value["sessions"][-1]["moments"][-1]["boundary"] = "closing"
    with pytest.raises(ValidationError, match="boundary"):
        hold_shape(value, PlanReport)
    value["sessions"].pop()
    del value["sessions"][-1]["oddities"]
    with pytest.raises(ValidationError, match="oddities"):
        hold_shape(value, PlanReport)


def test_the_half_days_and_holidays_of_a_year_are_those_of_the_exchange() -> None:
    """https://www.nyse.com/markets/hours-calendars, for 2026."""
    [value] = as_json("plan", "XNYS", "--from", "2026-01-01", "--to", "2026-12-31", now=NOW)
    odd = {each["session"]: each["oddities"] for each in value["sessions"] if each["oddities"]}
    assert odd == {"2026-11-27": ["half_day"], "2026-12-24": ["half_day"]}
    assert value["holidays"] == [
        "2026-01-01",
        "2026-01-19",
        "2026-02-16",
        "2026-04-03",
        "2026-05-25",
        "2026-06-19",
        "2026-07-03",
        "2026-09-07",
        "2026-11-26",
        "2026-12-25",
    ]
    assert (value["sessions"][-1]["session"], value["sessions"][-1]["next_session"]) == ("2026-12-31", "2027-01-04")


@pytest.mark.parametrize("calendar", ["XHKG", "BVMF"])
def test_what_is_odd_is_what_the_calendar_lists(calendar: str) -> None:
    """Ten years of half days and late opens are those that exchange_calendars itself counts as such, and no others."""
    first, last = date(2016, 1, 1), date(2025, 12, 31)
    raw = get_calendar(calendar, start="2016-01-01", end="2025-12-31")
    schedule = ExchangeSchedule(calendar, corrections=False, near=utc(2020, 1, 1))
    pattern, odd = WeeklyPattern(schedule, first, last), dict[str, set[date]](half_day=set(), late_open=set())
    for session in schedule.sessions(first, last):
        for oddity in pattern.oddities(session):
            odd[oddity].add(session.date)
    assert odd["half_day"] == {day.date() for day in raw.early_closes}
    assert odd["late_open"] == {day.date() for day in raw.late_opens}
    assert odd["half_day"] or odd["late_open"]


def test_a_weekend_is_no_holiday_and_a_session_on_it_is_an_extra_one() -> None:
    """Bombay traded on the Sunday of the budget, 2026-02-01."""
    text = rows("XBOM", "--from", "2026-01-31", "--days", "2")
    assert [row for row in text if "2026-01-31" in row] == ["XBOM, 2026-01-31 to 2026-02-01, Asia/Kolkata"]
    assert "open 09:15 03:45 extra session, corrected" in text
    assert "2026-02-01 extra session: 09:15 to 15:30, usually none on a Sunday" in text


def test_hours_that_have_changed_for_good_are_no_half_days() -> None:
    """Tokyo closes at 15:30 since 2024-11-05, and closed at 15:00 before."""
    [value] = as_json("plan", "XTKS", "--from", "2024-09-01", "--to", "2025-01-31", now=NOW)
    assert len(value["sessions"]) > 90
    assert [each for each in value["sessions"] if each["oddities"]] == []


def test_changes_of_the_clocks_are_called_out_for_both_zones() -> None:
    """Berlin changes a week before New York; in between the hours are an hour off."""
    text = rows("XNYS", "--from", "2026-10-23", "--to", "2026-11-02", "--zone", "Europe/Berlin")
    changes = [row for row in text if "clocks" in row]
    assert changes == [
        "Sun 2026-10-25 clocks −1 h Sat 21:00 02:00 01:00 Berlin",
        "Sun 2026-11-01 clocks −1 h 01:00 07:00 06:00 New York",
    ]
    opens = [row for row in text if row.startswith("open")]
    assert opens[0] == "open 09:30 15:30 13:30"
    assert opens[1] == "open 09:30 14:30 13:30"
    assert opens[-1] == "open 09:30 15:30 14:30"


@pytest.mark.parametrize(
    ("zone", "year", "changes"),
    [
        ("Europe/Berlin", 2026, [("2026-03-29T01:00", 60), ("2026-10-25T01:00", -60)]),
        ("Australia/Lord_Howe", 2026, [("2026-04-04T15:00", -30), ("2026-10-03T15:30", 30)]),
        ("Pacific/Apia", 2011, [("2011-04-02T14:00", -60), ("2011-09-24T14:00", 60), ("2011-12-30T10:00", 24 * 60)]),
        ("Asia/Tokyo", 2026, []),
    ],
)
def test_clock_changes_are_found_to_the_minute(zone: str, year: int, changes: list[tuple[str, int]]) -> None:
    """The half hour of Lord Howe, and the day that Samoa left out; by the tz database."""
    found = clock_changes(ZoneInfo(zone), date(year, 1, 1), date(year, 12, 31))
    text = [(f"{each.at:%Y-%m-%dT%H:%M}", each.shift_minutes) for each in found]
    assert text == changes


def test_corrections_are_called_out_where_they_bite() -> None:
    """A typhoon day that exchange_calendars lists as a session, and a close that it has an hour late."""
    text = rows("XHKG", "--from", "2023-08-31", "--to", "2023-09-01")
    assert text[-3:] == [
        "Fri 2023-09-01 closed corrected",
        "2023-09-01 corrected: no session, not 09:30 HKT to 16:00 HKT",
        "~ XHKG: by configuration; the venue's own are not on record",
    ]
    text = rows("CMES", "--from", "2026-11-24", "--to", "2026-11-25")
    assert [row for row in text if "corrected" in row] == [
        "close 16:00 22:00 corrected",
        "close 16:00 22:00 corrected",
        "2 sessions from 2026-11-24 on corrected: close 16:00 CST, not 17:00 CST",
    ]
    [plan] = as_json("plan", "CMES", "--from", "2026-11-24", "--days", "1", now=NOW)
    [change] = plan["changes"]
    assert change["kind"] == "corrected"
    assert change["why"].startswith("http")
    assert rows("CMES", "--from", "2026-11-24", "--days", "1", "--no-corrections")[4] == "close 17:00 23:00"


def test_overrides_are_called_out_where_they_bite(tmp_path: Path) -> None:
    """A closure, an early close, and a late open, with their reasons."""
    file = tmp_path / "hours.toml"
    file.write_text(
        'calendar = "XNYS"\n'
        '[[closure]]\ndate = 2026-11-24\nreason = "state funeral"\n'
        "[[special_hours]]\ndate = 2026-11-23\nopen = 10:30:00\n"
        '[[special_hours]]\ndate = 2026-11-25\nclose = 14:00:00\nreason = "our broker"\n'
    )
    text = rows(f"--hours={file}", "--from", "2026-11-23", "--days", "3")
    assert [row for row in text if "override" in row] == [
        "open 10:30 15:30 late open, override",
        "Tue 2026-11-24 closed override",
        "close 14:00 19:00 half day, override",
        "2026-11-23 override: open 10:30 EST, not 09:30 EST (special hours)",
        "2026-11-24 override: no session, not 09:30 EST to 16:00 EST (closed: state funeral)",
        "2026-11-25 override: close 14:00 EST, not 16:00 EST (special hours: our broker)",
    ]
    [plan] = as_json("plan", f"--hours={file}", "--from", "2026-11-23", "--days", "3", now=NOW)
    hold_shape(plan, PlanReport)
    assert [each["why"] for each in plan["changes"]] == [
        "special hours",
        "closed: state funeral",
        "special hours: our broker",
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('calendar = "XNYZ"', "no calendar is called 'XNYZ'"),
        ('calendar = "XNYS"\n[[closure]]\ndate = 2026-11-28', "on which the calendar has no session"),
        ('calendar = "XNYS"\nnight = "MOON"\nphases = true', "'MOON'"),
    ],
)
def test_of_several_files_of_hours_the_one_that_is_wrong_is_named(tmp_path: Path, text: str, why: str) -> None:
    """It is named as well where its entries are understood, and the calendar is what refuses them."""
    right, wrong = tmp_path / "right.toml", tmp_path / "wrong.toml"
    right.write_text('calendar = "XLON"\n[[closure]]\ndate = 2026-11-24\n')
    wrong.write_text(text)
    said = refused("plan", f"--hours={right}", f"--hours={wrong}", now=NOW)
    assert why in said
    assert f"{wrong}: " in said
    assert str(right) not in said


def test_an_extra_session_that_is_called_off_is_a_row_too(tmp_path: Path) -> None:
    """Though the day is no holiday: on a Sunday the venue usually has none."""
    file = tmp_path / "hours.toml"
    file.write_text('calendar = "XBOM"\n[[closure]]\ndate = 2026-02-01\n')
    assert "Sun 2026-02-01 closed override" in rows(f"--hours={file}", "--from", "2026-02-01", "--days", "1")
    [plan] = as_json("plan", f"--hours={file}", "--from", "2026-02-01", "--days", "1", now=NOW)
    assert plan["holidays"] == []


def test_hours_around_the_market_are_called_out_too(tmp_path: Path) -> None:
    """Breaks, a pre-market and a post-market of one's own, on a venue that has none on record."""
    file = tmp_path / "hours.toml"
    file.write_text(
        'calendar = "XLON"\n[[special_hours]]\ndate = 2026-11-24\npre_market_start = 07:00:00\n'
        "post_market_end = 18:00:00\nbreaks = [[12:00:00, 12:30:00]]\n"
    )
    text = rows(f"--hours={file}", "XNYS", "--from", "2026-11-24", "--days", "1")
    assert [row for row in text if "override" in row][:4] == [
        "Tue 2026-11-24 pre-market 07:00 07:00 override",
        "break 12:00 12:00 override",
        "resume 12:30 12:30 override",
        "end 18:00 18:00 override, roll to 2026-11-25",
    ]
    assert [row.partition(",")[0] for row in text if ", 2026" in row] == ["XNYS", "XLON"]
    assert text[text.index("XLON, 2026-11-24 to 2026-11-24, Europe/London") - 1] == ""


def test_beyond_what_the_calendar_knows_it_says_until_when() -> None:
    """Never "closed": it shows the days that it knows, and then where they end."""
    lines = printed("plan", "XBOM", "--from", "2026-12-30", "--to", "2027-01-02", now=NOW).splitlines()
    assert lines[0] == "XBOM, 2026-12-30 to 2027-01-02, Asia/Kolkata"
    assert [line.split()[1] for line in lines if line[:3] in ("Wed", "Thu")] == ["2026-12-30", "2026-12-31"]
    assert not any("2027-01-01" in line for line in lines)
    assert lines[-1].startswith("known until 2026-12-31: later days are not known, which does not mean closed")
    assert "a file of hours with `until`" in lines[-1]
    said = refused("plan", "XBOM", "--from", "2027-01-01", "--to", "2027-01-02", now=NOW)
    assert "knows sessions from 1997-01-01 to 2026-12-31 only" in said
    assert "an hours file with `until`" in said


def test_hours_by_rule_are_said_to_be() -> None:
    """Only where the plan has such a session."""
    line = "after 2028-12-31 by rule, not published"
    assert printed("plan", "XNYS", "--from", "2028-12-28", "--to", "2028-12-31", now=NOW).count(line) == 0
    assert printed("plan", "XNYS", "--from", "2028-12-28", "--to", "2029-01-03", now=NOW).splitlines()[-1] == line
    [value] = as_json("plan", "XNYS", "--from", "2028-12-28", "--to", "2029-01-03", now=NOW)
    assert (value["vouched_until"], value["known_until"]) == ("2028-12-31", "2200-12-31")


def test_hours_that_nobody_has_compared_are_said_to_be() -> None:
    """As `doctor` does: to say nothing would be to say that they are published."""
    line = "no comparison with what the exchange has published is on record"
    assert printed("plan", "XSTO", "--from", "2027-01-04", "--to", "2027-01-08", now=NOW).splitlines()[-1] == line
    assert line not in printed("plan", "XSTO", "--from", "2027-01-06", "--to", "2027-01-06", now=NOW)  # a holiday
    assert line not in printed("plan", "XNYS", "--from", "2028-12-28", "--to", "2029-01-03", now=NOW)


def test_a_season_is_no_row_of_half_days(tmp_path: Path) -> None:
    """What a season says is usual in it; half days of the calendar stay, and are called so."""
    file = tmp_path / "hours.toml"
    file.write_text(
        'calendar = "XNYS"\n[[special_hours]]\nfrom = 2026-11-16\nuntil = 2026-12-04\n'
        'weekdays = ["mon", "tue", "fri"]\nclose = 15:00:00\nreason = "a season"\n'
    )
    text = printed("plan", "--hours", str(file), "--from", "2026-11-09", "--to", "2026-12-11", now=NOW)
    assert text.count("half day") == 2  # in the table and below it: the day after Thanksgiving
    assert "8 sessions from 2026-11-16 on override: close 15:00 EST, not 16:00 EST (special hours: a season)" in text


def read_back(*args: str) -> list[Any]:
    """Return the events of a calendar file, as an independent library reads them."""
    result = run("plan", *args, "--ics", now=NOW)
    assert (result.exit_code, result.stderr) == (0, "")
    text = result.stdout_bytes.decode()
    assert text.count("\r\n") == text.count("\n") > 10
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n"))
    calendar = vobject.readOne(text)
    calendar.validate()
    events: list[Any] = calendar.vevent_list
    return events


def test_a_calendar_app_can_read_the_sessions() -> None:
    """One event for each session, from open to close, with all of its boundaries in the description."""
    events = read_back("XNYS", "XHKG", "--from", "2026-11-26", "--to", "2026-11-27")
    assert [(each.summary.value, each.dtstart.value, each.dtend.value) for each in events] == [
        ("XNYS half day", utc(2026, 11, 27, 14, 30), utc(2026, 11, 27, 18)),
        ("XHKG", utc(2026, 11, 26, 1, 30), utc(2026, 11, 26, 8)),
        ("XHKG", utc(2026, 11, 27, 1, 30), utc(2026, 11, 27, 8)),
    ]
    assert events[0].description.value.splitlines() == [
        "session 2026-11-27 of XNYS",
        "2026-11-27 half day: 09:30 to 13:00, usually 09:30 to 16:00",
        "pre-market (by configuration): Fri 04:00 EST (Fri 09:00 UTC)",
        "open: Fri 09:30 EST (Fri 14:30 UTC)",
        "close: Fri 13:00 EST (Fri 18:00 UTC)",
        "end (by configuration): Fri 13:30 EST (Fri 18:30 UTC)",
        "then the roll to 2026-11-30",
    ]
    assert "break: Thu 12:00 HKT (Thu 04:00 UTC)" in events[1].description.value


def test_importing_a_later_file_updates_the_events(tmp_path: Path) -> None:
    """The same session has the same UID, also where its hours are others by now; two names have two."""
    file = tmp_path / "hours.toml"
    file.write_text('calendar = "XNYS"\n[[special_hours]]\ndate = 2026-11-27\nclose = 12:00:00\n')
    [before] = read_back("XNYS", "--from", "2026-11-27", "--days", "1")
    [after] = read_back("XNYS", "--from", "2026-11-27", "--days", "1", f"--hours={file}")
    assert before.uid.value == after.uid.value
    assert before.dtend.value != after.dtend.value
    assert "override: close 12:00 EST, not 13:00 EST" in after.description.value
    events = read_back("XNYS", "XNAS", "--days", "20")
    assert len({each.uid.value for each in events}) == len(events) == 26
    assert all(each.dtstamp.value == NOW for each in events)


def test_two_results_at_once_are_refused() -> None:
    """stdout has room for one."""
    assert "--json and --ics are two results" in refused("plan", "XNYS", "--json", "--ics")
