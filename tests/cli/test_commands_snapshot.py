"""`snapshot`: a file of hours made, checked, and taken in a calendar's place by the other commands."""

import json
from datetime import date
from pathlib import Path

import pytest

from session_lifecycle import SnapshotSchedule, write_snapshot
from session_lifecycle._cli.commands.snapshot import SnapshotReport
from tests.helpers.builders import DAY, MONDAY, at, utc, week
from tests.helpers.command_line import as_json, hold_schema, hold_shape, printed, python_without_pandas, refused, run

NOW = utc(2026, 11, 25, 17)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where to write."""
    return tmp_path / "hours.toml"


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The text of a snapshot of New York in 2026."""
    file = tmp_path_factory.mktemp("year") / "hours.toml"
    printed("snapshot", "XNYS", "--from", "2026", "--to", "2026", "--out", str(file), now=NOW)
    return file.read_text(encoding="utf-8")


def test_it_writes_years_and_days(file: Path) -> None:
    """A year is meant as a whole; by default from the last to the next; an alias is its calendar."""
    said = printed("snapshot", "XNAS", "--from", "2025", "--to", "2026-03-31", "--out", str(file), now=NOW)
    assert said == f"{file}: XNYS, 311 sessions from 2025-01-01 to 2026-03-31\n"
    loaded = SnapshotSchedule.load(file)
    assert (loaded.head.corrections, loaded.head.extended_hours) == (True, False)
    printed("snapshot", "XNYS", "--out", str(file), "--extended-hours", now=NOW)
    loaded = SnapshotSchedule.load(file)
    assert (loaded.head.first, loaded.head.last) == (date(2025, 1, 1), date(2027, 12, 31))
    assert loaded.head.extended_hours


def test_where_the_calendar_ends_so_does_the_file(file: Path) -> None:
    """A note says so; the command fails only where more was asked for."""
    result = run("snapshot", "XSHG", "--from", "2026", "--out", str(file), now=NOW)
    assert result.exit_code == 0
    assert result.stderr == "note: XSHG is known until 2026-12-31, where the snapshot ends\n"
    assert SnapshotSchedule.load(file).known_until == date(2026, 12, 31)
    assert "XSHG knows sessions from" in refused("snapshot", "XSHG", "--to", "2027", "--out", str(file), now=NOW)


def test_overrides_and_raw_hours(file: Path, tmp_path: Path) -> None:
    """A file of overrides names the calendar; corrections can be left out; a check can be given the overrides."""
    hours = tmp_path / "overrides.toml"
    hours.write_text('calendar = "CMES"\n[[closure]]\ndate = 2026-03-11\nreason = "a storm"\n')
    args = ("--from", "2026", "--to", "2026", "--out", str(file))
    printed("snapshot", *args, "--hours", str(hours), "--no-corrections", now=NOW)
    head = SnapshotSchedule.load(file).head
    assert (head.calendar, head.corrections, head.overrides) == ("CMES", False, ("2026-03-11 closed: a storm",))
    said = printed("snapshot", "--check", str(file))
    assert said.splitlines() == [
        f"{file} agrees with the installed calendar: CMES, 257 sessions from 2026-01-01 to 2026-12-31",
        "not compared, because overrides are in force: 2026-03-11; --hours compares them too",
    ]
    assert "not compared" not in printed("snapshot", "--check", str(file), "--hours", str(hours))
    both = refused("snapshot", "XNYS", "--hours", str(hours), "--out", str(file))
    assert "a snapshot is of one calendar, not of XNYS and CMES" in both
    hours.write_text('calendar = "XNYS"\n')
    assert f"{hours} is for XNYS, and the snapshot is of CMES" in refused(
        "snapshot", "--check", str(file), "--hours", str(hours)
    )


def test_a_snapshot_can_be_shortened_or_turned_into_json(file: Path, year: str) -> None:
    """Its own days are the default, and the copy says what the first one was made from."""
    file.write_text(year.replace("exchange_calendars = ", 'exchange_calendars = "1.0" # '))
    said = printed("snapshot", str(file), "--from", "2026-07-01", "--out", str(file.with_suffix(".json")), now=NOW)
    assert said.endswith("hours.json: XNYS, 128 sessions from 2026-07-01 to 2026-12-31\n")
    copy = SnapshotSchedule.load(file.with_suffix(".json"))
    assert (copy.head.corrections, copy.head.made_from["exchange_calendars"]) == (True, "1.0")


def test_a_check_says_where_they_differ(file: Path, year: str) -> None:
    """In words and as JSON; exit status 1. What it was made from is shown where that has changed since."""
    file.write_text(year)
    assert printed("snapshot", "--check", str(file)).startswith(f"{file} agrees with the installed calendar: XNYS, 251")
    version = year.partition('exchange_calendars = "')[2].partition('"')[0]
    year = year.replace("2026-11-27 close=13:00", "2026-11-27").replace("2026-12-23\n", "").replace(version, "4.9")
    file.write_text(year)
    result = run("snapshot", "--check", str(file))
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout.splitlines() == [
        f"{file} differs from the installed calendar (first the file, then the calendar):",
        "2026-11-27: close 16:00 EST / 13:00 EST",
        "2026-12-23: no session / 09:30 EST to 16:00 EST",
        f"made from exchange_calendars 4.9, now {version}",
    ]
    result = run("snapshot", "--check", str(file), "--json")
    value = json.loads(result.stdout)
    hold_schema("snapshot", value)
    hold_shape(value, SnapshotReport)
    assert (result.exit_code, value["agrees"]) == (1, False)
    assert [(each["session"], each["fields"]) for each in value["differences"]] == [
        ("2026-11-27", ["close"]),
        ("2026-12-23", ["session"]),
    ]


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["XNYS"], "give --out FILE to write a snapshot, or --check FILE"),
        (["XNYS", "--out", "x.toml", "--json"], "give --out FILE to write a snapshot, or --check FILE"),
        (["--out", "x.toml"], "name at least one CALENDAR"),
        (["XNYS", "--out", "x.txt"], "use the suffix .toml or .json"),
        (["XNYS", "--out", "/nowhere/x.toml"], "cannot be written (No such file or directory)"),
        (["XNYS", "--out", "x.toml", "--from", "26"], "'26' is no date"),
        (["XNYS", "--out", "x.toml", "--from", "2026", "--to", "2025"], "--to 2025-12-31 lies before the first day"),
        (["XNYS", "--check", "x.toml"], "leave out CALENDAR, --out, --from and --to"),
        (["--check", "x.toml", "--no-corrections"], "leave out --extended-hours, --phases and --no-corrections"),
        (["--check", "nowhere.toml"], "nowhere.toml: it cannot be read"),
        (["XNYs", "--out", "x.toml"], "did you mean XNYS"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    args: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is written."""
    monkeypatch.chdir(tmp_path)
    assert text in refused("snapshot", *args, now=NOW)
    assert list(tmp_path.iterdir()) == []


# ---- in a calendar's place ----


def test_other_commands_take_it_in_a_calendar_s_place(file: Path, year: str) -> None:
    """With what it says, and nothing else: `status`, `plan` and `timeline`."""
    file.write_text(year.replace("2026-11-25\n", "2026-11-25 close=12:15 # a power cut\n"))
    [value] = as_json("status", str(file), now=NOW)
    assert (value["calendar"], value["schedule"], value["state"]) == ("hours.toml", "XNYS", "active")
    assert value["next"] == {"boundary": "close", "at": "2026-11-25T17:15:00+00:00", "configured": False}
    [value] = as_json("plan", str(file), "--days", "3", now=NOW)
    assert [each["session"] for each in value["sessions"]] == ["2026-11-25", "2026-11-27"]
    assert (value["holidays"], value["changes"]) == (["2026-11-26"], [])
    [value] = as_json("timeline", str(file), now=NOW)
    assert value["bands"][0]["session"] == "2026-11-25"


def test_where_it_ends_the_board_and_the_plan_say_to_recreate_it(tmp_path: Path) -> None:
    """Its end is not that of exchange_calendars."""
    file = tmp_path / "short.json"
    write_snapshot(week(), file, MONDAY, MONDAY + 4 * DAY)
    board = printed("status", str(file), now=at(MONDAY + 6 * DAY, (12, 0)))
    assert "ends with 2024-03-08, which does not mean that the market is closed: recreate the snapshot" in board
    plan = printed("plan", str(file), "--from", "2024-03-08", "--days", "9", now=NOW)
    assert "later days are not known, which does not mean closed: recreate the snapshot" in plan
    assert "knows sessions from 2024-03-04 to 2024-03-08 only" in refused("plan", str(file), now=NOW)


@pytest.mark.parametrize("command", ["status", "plan"])
def test_hours_around_the_market_that_a_snapshot_has_not_are_not_said_to_be_unknown(
    command: str, file: Path, year: str
) -> None:
    """New York's own are on record, and the file was made without them."""
    file.write_text(year)
    said = printed(command, str(file), now=NOW.replace(hour=6)).splitlines()
    assert "~ hours.toml: by configuration; the venue's own are not in the snapshot" in said


def test_options_that_a_snapshot_settles_itself(file: Path, year: str, tmp_path: Path) -> None:
    """It has corrections and extended hours or not; with a file of overrides for its calendar it is not clear."""
    file.write_text(year)
    result = run("status", str(file), "--extended-hours", now=NOW)
    assert result.exit_code == 0
    assert (
        result.stderr
        == f"note: {file} is a snapshot, which --extended-hours, --phases and --no-corrections do not change\n"
    )
    hours = tmp_path / "overrides.toml"
    hours.write_text('calendar = "XNYS"\n')
    said = refused("status", str(file), "--hours", str(hours), now=NOW)
    assert f"both {file} and a file of --hours are for XNYS" in said
    assert "`format` is missing" in refused("status", str(hours), now=NOW)


def test_from_a_snapshot_the_board_needs_no_pandas(file: Path, year: str) -> None:
    """That is what it is for."""
    file.write_text(year)
    assert python_without_pandas("status", str(file)).startswith("market")
