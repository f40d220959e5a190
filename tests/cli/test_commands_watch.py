"""`watch`: it keeps up with the clock, and leaves the terminal as it was."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from datetime import timedelta
from io import StringIO
from pathlib import Path

import anyio
import pytest
from rich.console import Console

from session_lifecycle._cli.commands import watch as command
from session_lifecycle._cli.venues import open_venues
from session_lifecycle._cli.views.board import Board, StatusReport
from session_lifecycle._cli.views.rows import FirstLines
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import utc
from tests.helpers.command_line import hold_schema, hold_shape, refused

ROOT = Path(__file__).parents[2]
NOON = utc(2026, 11, 27, 4)
"""Where Hong Kong goes to lunch."""


def test_where_there_is_no_terminal_it_says_what_to_use() -> None:
    """A pipe gets JSON or nothing."""
    assert "`status`, or `watch --json`" in refused("watch", "XNYS")


def test_as_json_it_prints_every_change_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each venue, then one at each boundary and break, at its instant."""

    async def a_day() -> None:
        clock = SimulatedClock(NOON - timedelta(minutes=1))
        board = Board(open_venues(["XHKG", "XNYS"], NOON))
        async with anyio.create_task_group() as group:
            group.start_soon(command._print_changes, board, clock)
            await clock.advance(timedelta(hours=6))
            group.cancel_scope.cancel()

    anyio.run(a_day)
    value = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for each in value:
        hold_schema("watch", each)
        hold_shape(each, StatusReport)
    assert [(each["calendar"], each["observed_at"][11:16], each["state"], each["on_break"]) for each in value] == [
        ("XHKG", "03:59", "active", False),
        ("XNYS", "03:59", "not_started", False),
        ("XHKG", "04:00", "active", True),
        ("XHKG", "05:00", "active", False),
        ("XHKG", "08:00", "post_market", False),
        ("XHKG", "08:30", "not_started", False),
        ("XNYS", "09:00", "pre_market", False),
    ]
    assert value[0]["next"] == {"boundary": "break_start", "at": "2026-11-27T04:00:00+00:00", "configured": False}


def test_a_board_that_is_observed_again_queries_the_calendar_only_when_something_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second costs no query, and answers what a new board would."""
    venues = open_venues(["XHKG"], NOON)
    board, asked = Board(venues), list[object]()
    at = type(venues[0].timeline).at
    monkeypatch.setattr(type(venues[0].timeline), "at", lambda self, t: asked.append(t) or at(self, t))
    for hours in range(72):
        t = NOON + timedelta(hours=hours)
        assert board.at(t) == Board(venues).at(t)
    assert len(asked) == 72 + 5  # one each for the new boards, and one for each state of this one


@pytest.mark.parametrize(("height", "missing"), [(7, 0), (6, 2), (2, 6), (1, 7)])
def test_what_the_window_is_too_low_for_is_counted_in_its_last_line(height: int, missing: int) -> None:
    """Nothing is missing in silence, and as many rows as there is room for are there."""
    console = Console(width=120, height=height, file=(screen := StringIO()))
    console.print(FirstLines("\n".join(f"row {n}" for n in range(7))), end="")
    told = [f"{missing} more lines: make the window higher, or name fewer calendars"] if missing else []
    assert screen.getvalue().splitlines() == [f"row {n}" for n in range(7 - missing)] + told


def test_it_leaves_the_terminal_clean() -> None:
    """It redraws, and Ctrl-C ends it with 130, the cursor shown and no other screen left behind."""
    pty = pytest.importorskip("pty", reason="needs a POSIX terminal")
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "session_lifecycle", "watch", "XNYS"],
        cwd=ROOT,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"},
    )
    os.close(terminal)
    seen = b""
    deadline = time.monotonic() + 60
    try:
        while seen.count(b"XNYS") < 3:
            assert time.monotonic() < deadline, seen
            if select.select([controller], [], [], 1)[0]:
                seen += os.read(controller, 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
    finally:
        process.kill()
        process.wait()
    while select.select([controller], [], [], 0)[0]:
        try:
            seen += os.read(controller, 4096)
        except OSError:  # the other end is closed
            break
    os.close(controller)
    assert seen.rfind(b"\x1b[?25h") > seen.rfind(b"\x1b[?25l") > -1
    assert b"\x1b[?1049h" not in seen
    assert b"Traceback" not in seen
