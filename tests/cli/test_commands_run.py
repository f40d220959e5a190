"""`run`: a command starts and ends with the market, and its exit status is that of `run`."""

import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import Process

from session_lifecycle import SessionState
from session_lifecycle._cli.commands import run as command
from session_lifecycle._cli.venues import open_venues
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import utc
from tests.helpers.command_line import refused, run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM, and no sh")

ROOT = Path(__file__).parents[2]
FRIDAY = utc(2026, 11, 27, 14)
"""Half an hour before the open of a half day in New York, which closes at 18:00."""
OPEN, CLOSE = utc(2026, 11, 27, 14, 30), utc(2026, 11, 27, 18)
PRE_MARKET, ACTIVE, POST_MARKET = SessionState.PRE_MARKET, SessionState.ACTIVE, SessionState.POST_MARKET
STUBBORN = 'trap "echo ended >> {0}; exit 9" TERM; echo begun >> {0}; while :; do sleep 0.02; done'


def written(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split() if path.exists() else []


async def until_begun(path: Path) -> None:
    with anyio.fail_after(20):
        while written(path) != ["begun"]:  # noqa: ASYNC110 -- by another process
            await anyio.sleep(0.01)


@pytest.mark.parametrize(
    ("calendar", "start", "states", "hours"),
    [
        ("XNYS", FRIDAY, [ACTIVE], (OPEN, CLOSE)),
        ("XNYS", utc(2026, 11, 26, 12), [ACTIVE], (OPEN, CLOSE)),  # a holiday
        ("XNYS", utc(2026, 11, 27, 15), [ACTIVE], (utc(2026, 11, 27, 15), CLOSE)),
        ("XNYS", FRIDAY, [ACTIVE, POST_MARKET], (OPEN, utc(2026, 11, 27, 18, 30))),
        ("XNYS", utc(2026, 11, 27, 16), [PRE_MARKET], (utc(2026, 11, 30, 9), utc(2026, 11, 30, 14, 30))),
        ("XHKG", utc(2026, 11, 27, 1), [ACTIVE], (utc(2026, 11, 27, 1, 30), utc(2026, 11, 27, 8))),  # over its break
        ("24/7", utc(2026, 11, 27, 1), [ACTIVE], (utc(2026, 11, 27, 1), utc(2026, 11, 28))),  # the next session's open
    ],
)
def test_it_starts_and_ends_with_the_state(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    calendar: str,
    start: datetime,
    states: list[SessionState],
    hours: tuple[datetime, datetime],
) -> None:
    """Not a moment earlier or later; the command has handled the SIGTERM, and its status is returned."""
    path, (begins, ends) = tmp_path / "log", hours
    moments: list[datetime] = []
    clock = SimulatedClock(start)
    open_process, terminate = anyio.open_process, command._terminate

    async def open_then(*args: Any, **options: Any) -> Process:
        moments.append(clock.now())
        return await open_process(*args, **options)

    def terminate_then(process: Process) -> None:
        moments.append(clock.now())
        terminate(process)

    async def main() -> None:
        (venue,) = open_venues([calendar], start)
        statuses: list[int] = []

        async def follow() -> None:
            shell = ["sh", "-c", STUBBORN.format(path)]
            statuses.append(await command._run(venue, frozenset(states), shell, clock))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            if begins > start:
                await clock.advance_to(begins - timedelta(microseconds=1))
                assert (moments, written(path)) == ([], [])
                await clock.advance_to(begins)
            await until_begun(path)
            await clock.advance_to(ends - timedelta(microseconds=1))
            assert (moments, written(path)) == ([begins], ["begun"])
            await clock.advance_to(ends)
        assert (statuses, written(path)) == ([9], ["begun", "ended"])

    monkeypatch.setattr(anyio, "open_process", open_then)
    monkeypatch.setattr(command, "_terminate", terminate_then)
    anyio.run(main)
    assert moments == [begins, ends]


@pytest.mark.parametrize(
    ("shell", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 137), ("kill -TERM $$", 143)]
)
def test_a_command_that_ends_by_itself_ends_it_too(shell: str, status: int) -> None:
    """With its status, as a shell would have it."""
    assert run("run", "24/7", "--", "sh", "-c", shell).exit_code == status


def test_what_cannot_be_run_has_the_status_of_a_shell(tmp_path: Path) -> None:
    """And one line."""
    result = run("run", "24/7", "--", "no-such-command-here")
    assert (result.exit_code, result.stdout) == (127, "")
    assert result.stderr == "there is no command no-such-command-here: give its path, or one that is on the PATH\n"
    file = tmp_path / "plain"
    file.touch()
    result = run("run", "24/7", "--", str(file))
    assert (result.exit_code, result.stderr) == (126, f"cannot run {file}: Permission denied\n")


def test_a_command_that_does_not_exist_is_found_out_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """And not at the open, when it is too late."""

    async def main() -> int:
        (venue,) = open_venues(["XNYS"], FRIDAY)
        with anyio.fail_after(5):
            return await command._run(venue, frozenset([ACTIVE]), ["no-such-command-here"], SimulatedClock(FRIDAY))

    assert anyio.run(main) == 127
    assert capsys.readouterr().err.startswith("there is no command no-such-command-here")


def test_bad_input_is_refused_before_anything_is_run(tmp_path: Path) -> None:
    """A state that cannot be run in, an unknown calendar, two calendars, and no command."""
    assert "give one of pre-market, active, post-market" in refused("run", "--when", "ended", "XNYS", "--", "true")
    assert "NOWHERE" in refused("run", "NOWHERE", "--", "true")
    assert "COMMAND" in refused("run", "XNYS")
    hours = tmp_path / "hours.toml"
    hours.write_text('calendar = "XLON"\n', encoding="utf-8")
    assert "run follows one calendar" in refused("run", "XNYS", "--hours", str(hours), "--", "true")


def test_while_it_waits_it_says_for_what(capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr, in the exchange's time."""

    async def main() -> None:
        (venue,) = open_venues(["XNYS"], FRIDAY)
        clock, statuses = SimulatedClock(FRIDAY), list[int]()

        async def follow() -> None:
            statuses.append(await command._run(venue, frozenset([ACTIVE]), ["true"], clock))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            await clock.advance_to(OPEN)
        assert statuses == [0]

    anyio.run(main)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "XNYS is active from Fri 2026-11-27 09:30 EST on\n")


def test_a_sigterm_is_passed_on_and_the_command_is_waited_for(tmp_path: Path) -> None:
    """By a real process: what it prints while it ends is not lost, and its status is the process's."""
    path = tmp_path / "log"
    process = subprocess.Popen(
        [sys.executable, "-m", "session_lifecycle", "run", "24/7", "--", "sh", "-c", STUBBORN.format(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        deadline = time.monotonic() + 30
        while written(path) != ["begun"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)  # as a terminal does, which sends it to the command as well
        time.sleep(0.2)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 9
    finally:
        process.kill()
    assert written(path) == ["begun", "ended"]
