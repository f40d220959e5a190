"""`status`: the board says where each venue stands, and fits the screen."""

import re
from datetime import timedelta

import pytest

from session_lifecycle._cli.views.board import HEADER, StatusReport
from session_lifecycle._cli.views.moments import countdown
from tests.helpers.builders import utc
from tests.helpers.command_line import as_json, hold_shape, printed, run

HALF_DAY = utc(2026, 11, 27, 17, 30)


def test_the_board_says_state_session_local_time_and_what_comes_next() -> None:
    """A half day is marked, and said in words below."""
    assert printed("status", "XNYS", "XLON", "XHKG", "CMES", now=HALF_DAY) == (
        "market  state        session      local time     next                         in\n"
        "XNYS    active       2026-11-27*  Fri 12:30 EST  close 13:00             0:30:00\n"
        "XLON    not started  2026-11-30   Fri 17:30 GMT  pre-market~ Mon 02:30  2 d  9 h\n"
        "XHKG    not started  2026-11-30   Sat 01:30 HKT  pre-market~ Mon 04:00  2 d  2 h\n"
        "CMES    active       2026-11-27*  Fri 11:30 CST  close 12:15             0:45:00\n"
        "* XNYS 2026-11-27 half day: 09:30 to 13:00, usually 09:30 to 16:00\n"
        "* CMES 2026-11-27 half day: 17:00 to 12:15, usually 17:00 to 16:00\n"
        "~ XLON: by configuration; the venue's own are not on record\n"
        "~ XHKG: by configuration; the venue's own are not on record\n"
    )


@pytest.mark.parametrize(
    ("minute", "text"),
    [
        (239, ["active", "break 12:00", "0:01:00"]),
        (240, ["break", "resume 13:00", "1:00:00"]),
        (299, ["break", "resume 13:00", "0:01:00"]),
        (300, ["active", "close 16:00", "3:00:00"]),
    ],
)
def test_a_break_is_shown(minute: int, text: list[str]) -> None:
    """Hong Kong's lunch begins at 12:00 on the dot, which is 04:00 UTC, and ends likewise."""
    row = printed("status", "XHKG", now=utc(2026, 11, 26) + timedelta(minutes=minute)).splitlines()[1]
    cells = re.split(r"  +", row)
    assert [cells[1], *cells[-2:]] == text


def test_as_json_it_has_the_documented_shape() -> None:
    """Instants are ISO 8601 in UTC, the state is a value of `SessionState`, an alias keeps its own name."""
    values = as_json("status", "XNAS", now=HALF_DAY)
    assert values == [
        {
            "calendar": "XNAS",
            "schedule": "XNYS",
            "timezone": "America/New_York",
            "state": "active",
            "configured": False,
            "session": "2026-11-27",
            "open": "2026-11-27T14:30:00+00:00",
            "close": "2026-11-27T18:00:00+00:00",
            "on_break": False,
            "oddities": ["half_day"],
            "next": {"boundary": "close", "at": "2026-11-27T18:00:00+00:00", "configured": False},
            "observed_at": "2026-11-27T17:30:00+00:00",
            "phase": None,
        }
    ]
    hold_shape(values, list[StatusReport])


def test_where_the_calendar_ends_it_does_not_say_closed() -> None:
    """Past the last known session nothing is known, and the board says so."""
    board = printed("status", "XBOM", now=utc(2027, 1, 4, 12))
    assert "not known" in board
    assert "XBOM ends with 2026-12-31, which does not mean that the market is closed" in board
    assert "update exchange_calendars and session_lifecycle, or add the days" in board
    [value] = as_json("status", "XBOM", now=utc(2027, 1, 4, 12))
    assert (value["state"], value["next"]) == ("ended", None)
    hold_shape([value], list[StatusReport])


def test_the_raw_calendar_can_be_had() -> None:
    """Without corrections CMES closes an hour late, as exchange_calendars 4.13.2 says."""
    now = utc(2026, 11, 25, 15)
    assert "close 16:00" in printed("status", "CMES", now=now)
    assert "close 17:00" in printed("status", "CMES", "--no-corrections", now=now)


def test_where_the_table_does_not_fit_there_is_a_list() -> None:
    """Nothing is cut off or wrapped: every cell of the table is in the list, which is narrower."""
    table = printed("status", "XNYS", "us_futures", now=HALF_DAY, width=80)
    listed = printed("status", "XNYS", "us_futures", now=HALF_DAY, width=30)
    assert max(map(len, listed.splitlines())) <= 30 < max(map(len, table.splitlines())) <= 80
    for row in table.splitlines()[1:3]:
        for cell in re.split(r"  +", row):
            assert cell in listed


@pytest.mark.parametrize(("width", "left_out"), [(64, {"local time"}), (50, {"local time", "session"})])
def test_a_narrower_terminal_gets_a_table_of_fewer_columns(width: int, left_out: set[str]) -> None:
    """What is next stays the longest; no line is wider than the terminal."""
    lines = printed("status", "XNYS", "XLON", "CMES", now=HALF_DAY, width=width).splitlines()
    header = set(re.split(r"  +| (?=next|in|state|session)", lines[0].strip()))
    assert header & set(HEADER) == set(HEADER) - left_out
    assert max(map(len, lines[:4])) <= width


def test_a_pipe_gets_neither_colours_nor_cut_tables() -> None:
    """Where there is no screen the table is as wide as it needs to be."""
    text = printed("status", "XNYS", "us_futures", now=HALF_DAY)
    assert text == printed("status", "XNYS", "us_futures", now=HALF_DAY, width=200)
    assert "\x1b" not in text


def test_a_terminal_gets_colours_unless_no_color_is_set() -> None:
    """With NO_COLOR the text is the same, and no character has a colour. (Older versions of rich heed an empty one.)"""
    coloured, plain = (
        run("status", "XNYS", "XHKG", now=HALF_DAY, width=80, FORCE_COLOR="1", **env).stdout
        for env in ({"NO_COLOR": None}, {"NO_COLOR": "1"})
    )
    colour = re.compile(r"\x1b\[(?:\d;)?3\d")
    assert colour.search(coloured)
    assert not colour.search(plain)
    escapes = re.compile(r"\x1b\[[\d;]*m")
    assert escapes.sub("", coloured) == escapes.sub("", plain)
    expected = [line.rstrip() for line in escapes.sub("", plain).splitlines()]
    assert expected == printed("status", "XNYS", "XHKG", now=HALF_DAY).splitlines()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00:00"),
        (0.2, "0:00:01"),
        (59, "0:00:59"),
        (3661, "1:01:01"),
        (86_399, "23:59:59"),
        (86_400, "1 d  0 h"),
        (12 * 86_400 + 82_925, "12 d 23 h"),
        (-1, "0:00:00"),
    ],
)
def test_a_countdown_reaches_nothing_only_when_it_is_due(seconds: float, text: str) -> None:
    """It rounds up, and never goes below zero."""
    assert countdown(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize("calendar", ["XASX", "us_futures"])
def test_the_board_is_a_table_within_80_columns_at_any_time(calendar: str) -> None:
    """Also over a weekend, when the countdown is long, and where the zone's name is."""
    for hours in range(0, 24 * 7, 11):
        lines = printed("status", calendar, now=HALF_DAY + timedelta(hours=hours), width=80).splitlines()
        assert lines[0].startswith("market")
        assert max(map(len, lines[:2])) <= 80
