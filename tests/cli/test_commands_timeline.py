"""`timeline`: the bands fill the time, the text fits the screen, the picture is a picture."""

import re
import struct
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from session_lifecycle import ExchangeSchedule, LifecycleConfig
from session_lifecycle._cli.views.bands import TimelineReport
from session_lifecycle._core.timeline import Timeline
from tests.helpers.builders import utc
from tests.helpers.command_line import APP, as_json, hold_shape, printed, refused

NOW = utc(2026, 11, 25, 15, 56)
WEEK = ("timeline", "XNYS", "XLON", "XTKS", "XHKG")


def test_the_text_shows_a_row_for_each_venue_and_marks_the_present() -> None:
    """It can be read without colours: each state has a character of its own, and the legend says which."""
    assert printed(*WEEK, now=NOW, width=80) == (
        "Wed 2026-11-25 to Sun 2026-11-29, UTC\n"
        "      |Wed 25       |Thu 26        |Fri 27        |Sat 28        |Sun 29\n"
        "XNYS  ······░░░████▒·····················░░░░█▒·································\n"
        "XLON  ··░░░█████▒·····░░░░█████▒·····░░░░████▒··································\n"
        "XTKS  █─██▒······░░░░█─█▒·······░░░░█─█▒·····································░░░\n"
        "XHKG  ░█─██▒······░░░░█─█▒·······░░░░█─█▒·····································░░\n"
        "               ▲ now, Wed 15:56\n"
        "░ pre-market   █ active   ─ break   ▒ post-market   · not started\n"
        "~ pre-market and post-market by configuration: XNYS, XLON, XTKS, XHKG\n"
    )


@pytest.mark.parametrize(("width", "days"), [(40, 1), (40, 34), (80, 5), (80, 74), (120, 5), (233, 60)])
def test_the_text_fits_the_screen(width: int, days: int) -> None:
    """Rows end at the right edge, and nothing is longer than the title and the legend need."""
    lines = printed(*WEEK, f"--days={days}", now=NOW, width=width).splitlines()
    assert {len(line) for line in lines[2:6]} == {width}
    assert len(lines[1]) <= width
    assert len(lines[6]) <= width


def test_a_day_that_is_narrower_than_a_character_is_not_drawn() -> None:
    """It says what to ask for instead."""
    assert "75 days do not fit into 74 characters" in refused(*WEEK, "--days=75", now=NOW, width=80)


@pytest.mark.parametrize("days", [5, 74])
def test_no_session_is_lost_to_the_width(days: int) -> None:
    """However narrow a day is, its session has a block."""
    args = ("timeline", "XNYS", "--from=2026-11-02", f"--days={days}")
    row = printed(*args, now=NOW, width=80).splitlines()[2]
    [value] = as_json(*args, now=NOW)
    assert sum(band["state"] == "active" for band in value["bands"]) <= row.count("█")


def test_where_blocks_cannot_be_shown_there_are_plain_characters() -> None:
    """An old terminal, or a pipe into something that reads ASCII."""
    result = CliRunner(charset="ascii", env={"COLUMNS": "80"}).invoke(APP, [*WEEK, "--from=2026-11-25"])
    assert result.exit_code == 0
    assert result.stdout.splitlines()[4] == (
        "XTKS  #=##+......----#=#+.......----#=#+.....................................---"
    )


@pytest.mark.parametrize("calendar", ["XHKG", "CMES", "24/7"])
def test_the_bands_fill_the_time_and_say_where_the_clock_would_be(calendar: str) -> None:
    """They touch each other, the ends included, and any instant within one has its state and session."""
    [values] = as_json("timeline", calendar, "--from", "2026-11-20", "--to", "2026-12-01", now=NOW)
    hold_shape(values, TimelineReport)
    bands = values["bands"]
    assert (bands[0]["start"], bands[-1]["end"]) == ("2026-11-20T00:00:00+00:00", "2026-12-02T00:00:00+00:00")
    assert all(before["end"] == after["start"] for before, after in pairwise(bands))
    timeline = Timeline(ExchangeSchedule(calendar, near=NOW), LifecycleConfig())
    for band in bands:
        start, end = datetime.fromisoformat(band["start"]), datetime.fromisoformat(band["end"])
        for at in (start, start + (end - start) / 2, end - timedelta(microseconds=1)):
            position = timeline.at(at)
            paused = any(a <= at < b for a, b in position.session.breaks)
            expected = (position.session.date.isoformat(), position.state.value, paused)
            assert (band["session"], band["state"], band["on_break"]) == expected


def test_days_are_those_of_the_zone() -> None:
    """The day on which Berlin's clocks go forward has 23 hours."""
    args = ("timeline", "XNYS", "--zone", "Europe/Berlin", "--from", "2026-03-29", "--days", "1")
    [value] = as_json(*args, now=NOW)
    assert (value["bands"][0]["start"], value["bands"][-1]["end"]) == (
        "2026-03-28T23:00:00+00:00",
        "2026-03-29T22:00:00+00:00",
    )
    assert printed(*args, now=NOW, width=60).startswith("Sun 2026-03-29, Europe/Berlin\n")


def test_beyond_what_the_calendar_knows_nothing_is_drawn() -> None:
    """A gap in the picture would look like "closed"."""
    assert "to 2026-12-31 only" in refused("timeline", "XBOM", "--from", "2026-12-30", now=NOW)


def test_a_png_is_a_picture(tmp_path: Path) -> None:
    """Of a size that fits a page; what was drawn is said on one line."""
    file = tmp_path / "week.png"
    assert re.fullmatch(rf"{file}: XNYS.*, \w+ \S+ to \w+ \S+, UTC\n", printed(*WEEK, f"--output={file}", now=NOW))
    content = file.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    assert (width, height) == (1800, 630)


def test_an_svg_is_a_picture_with_every_state(tmp_path: Path) -> None:
    """Each colour of the legend is in it, for the bands too."""
    file = tmp_path / "week.svg"
    assert re.fullmatch(rf"{file}: XNYS.*, \w+ \S+ to \w+ \S+, UTC\n", printed(*WEEK, f"--output={file}", now=NOW))
    assert ET.parse(file).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    text = file.read_text()
    for colour in ("#56b4e9", "#009e73", "#f0e442", "#e69f00", "#e8e8e8"):
        assert text.count(colour) >= 3, colour
    assert text.count("#d55e00") >= 2  # the present, and what it says


def test_a_picture_of_another_time_has_no_present(tmp_path: Path) -> None:
    """There is nothing to mark, neither in the picture nor in the text."""
    file = tmp_path / "past.svg"
    args = ("timeline", "XNYS", "--from=2026-06-01", "--days=12")
    assert re.fullmatch(rf"{file}: XNYS.*, \w+ \S+ to \w+ \S+, UTC\n", printed(*args, f"--output={file}", now=NOW))
    assert "#d55e00" not in file.read_text()
    assert "now" not in printed(*args, now=NOW)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("week.jpg", "name a file that ends in .svg or .png"),
        ("nowhere/week.svg", "create it first"),
        ("folder.svg", "Is a directory"),
    ],
)
def test_a_picture_that_cannot_be_written_is_one_line(tmp_path: Path, name: str, text: str) -> None:
    """It names the file."""
    (tmp_path / "folder.svg").mkdir()
    line = refused("timeline", "XNYS", f"--output={tmp_path / name}", now=NOW)
    assert f"{tmp_path / name}: " in line
    assert text in line


def test_two_results_at_once_are_refused(tmp_path: Path) -> None:
    """A picture is one, JSON is another."""
    assert "--json and --output" in refused("timeline", "XNYS", "--json", f"--output={tmp_path / 'week.svg'}")
