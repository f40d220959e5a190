"""A command prints the same, byte by byte, whether or not the answers of exchange_calendars were kept.

Most of the time of a process that asks is the import of pandas. So by default commands that ask run in the process of
the tests, as if nothing were imported there, and in the long run also in processes of their own.
"""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from session_lifecycle._schedules import calendar_cache, calendars
from session_lifecycle._schedules.calendar_cache import ANSWERS
from tests.helpers.command_line import run

Ask = Callable[..., list[Any]]

ROOT = Path(__file__).parents[2]
HALF_DAY = "2026-11-27T17:30"

IN_TURN = """
import json, os, sys
from datetime import UTC, datetime
from session_lifecycle._schedules import calendars
from session_lifecycle._schedules.calendar_cache import ANSWERS, folder_in
from tests.helpers.command_line import run

asked = json.loads(sys.argv[1])
ANSWERS.keep_in(folder_in(os.environ))
if "unsafe" in sys.argv:
    calendars.unsafe_pandas = lambda: "this pandas is not safe"
found = []
for now, *args in asked:
    result = run(*args, now=datetime.fromisoformat(now).replace(tzinfo=UTC))
    heavy = bool({"pandas", "numpy", "exchange_calendars"} & sys.modules.keys())
    found.append([result.exit_code, result.stdout, result.stderr, heavy])
print(json.dumps(found))
"""


def in_turn(cache: Path | None, asked: list[list[str]], *options: str) -> list[Any]:
    """Run commands in a process of their own: what each prints, and whether slow libraries are imported by then."""
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN, json.dumps(asked), *options],
        cwd=ROOT,
        env={**os.environ, "SESSION_LIFECYCLE_CACHE": "" if cache is None else str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[Any] = json.loads(done.stdout)
    return found


def here(cache: Path | None, asked: list[list[str]], *options: str) -> list[Any]:
    """Run commands in this process: what each prints, and whether exchange_calendars is asked by then."""
    found: list[Any] = []
    library, is_asked = calendars._library, False

    def imported() -> Any:
        nonlocal is_asked
        is_asked = True
        patch.setattr(calendar_cache, "_ASKED", "sys")  # imported, that is
        return library()

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as shown:
        warnings.filterwarnings("default", category=UserWarning)  # once in each process
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        patch.setattr(calendar_cache, "_ASKED", "imported_by_nobody")
        patch.setattr(calendars, "_library", imported)
        patch.setattr(ANSWERS, "_folder", cache)
        if "unsafe" in options:
            patch.setattr(calendars, "unsafe_pandas", lambda: "this pandas is not safe")
        for now, *args in asked:
            result = run(*args, now=datetime.fromisoformat(now).replace(tzinfo=UTC))
            warned = [f"{each.filename}:{each.lineno}: {each.message}\n" for each in shown]
            shown.clear()
            found.append([result.exit_code, result.stdout, result.stderr + "".join(warned), is_asked])
    return found


@pytest.fixture(params=[here, pytest.param(in_turn, marks=pytest.mark.long)], ids=["here", "in processes of their own"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Return how commands are run one after the other."""
    how: Ask = request.param
    return how


ASKED = [
    [HALF_DAY, "status", "XNYS", "XHKG", "CMES"],
    [HALF_DAY, "status", "XNYS", "--extended-hours"],
    [HALF_DAY, "status", "XNAS", "XETR", "--phases", "--json"],
    ["2026-11-26T04:30", "status", "XHKG"],  # its lunch
    ["2026-12-30T12:00", "status", "XNYS", "24/7"],  # the next year is near
    ["2024-11-01T12:45", "status", "XBOM"],  # a session that is a correction
    ["2024-11-01T12:45", "status", "XBOM", "--no-corrections"],
    ["2027-01-04T12:00", "status", "XBOM"],  # beyond the days that are known
    ["2026-12-31T06:00", "status", "XBOM", "--json"],
    [HALF_DAY, "plan", "XNYS", "--days", "40"],
    [HALF_DAY, "timeline", "XHKG", "--days", "3"],
    [HALF_DAY, "plan", "CMES", "--hours", "{hours}", "--days", "9"],
    ["1965-06-01T12:00", "status", "XNYS"],  # before them
    ["2027-11-20T12:00", "plan", "XIDX", "--days", "30"],  # beyond its lists of feasts
    ["2027-02-01T12:00", "plan", "XBOM", "--days", "9"],
]
UNKNOWN = [[HALF_DAY, "status", name] for name in ("XNYZ", "CME", "xnys")]
HOURS = 'calendar = "CMES"\n[[closure]]\ndate = 2026-12-02\nreason = "a trial"\n'


def test_it_prints_the_same_with_and_without(tmp_path: Path, ask: Ask) -> None:
    """What is kept serves later processes, which import none of the slow libraries for it."""
    hours = tmp_path / "hours.toml"
    hours.write_text(HOURS)
    asked = [[each.replace("{hours}", str(hours)) for each in args] for args in [*ASKED, *UNKNOWN]]
    kept = tmp_path / "kept"
    without, first = ask(None, asked), ask(kept, asked)
    later = [*in_turn(kept, asked[: len(ASKED)]), *ask(kept, asked[len(ASKED) :])]
    printed = [each[:3] for each in without]
    assert [each[0] for each in printed] == [0] * (len(ASKED) - 3) + [2] * (3 + len(UNKNOWN))
    assert "a trial" in printed[-len(UNKNOWN) - 4][1]
    assert [each[:3] for each in first] == printed
    assert [each[:3] for each in later] == printed
    assert all(each[3] for each in first)
    assert [each[3] for each in later] == [False] * len(ASKED) + [True] * len(UNKNOWN)


def test_an_unsafe_pandas_is_warned_of_each_time(tmp_path: Path, ask: Ask) -> None:
    """Nothing is kept of what it built."""
    asked = [[HALF_DAY, "status", "XNYS"]]
    without = ask(None, asked, "unsafe")
    assert "this pandas is not safe" in without[0][2]
    for _ in range(2):
        assert ask(tmp_path / "kept", asked, "unsafe") == without
    assert not [path for path in tmp_path.glob("kept/*") if "sessions between" in path.read_text()]


@pytest.mark.parametrize("command", [["doctor", "24/7"], ["snapshot", "24/7", "--out", "{folder}/hours.toml"]])
def test_what_checks_or_pins_a_calendar_asks_it(tmp_path: Path, command: list[str], ask: Ask) -> None:
    """It neither uses what was kept nor keeps anything."""
    kept = tmp_path / "kept"
    ask(kept, [[HALF_DAY, "status", "24/7"]])
    before = {path: path.stat().st_mtime_ns for path in kept.iterdir()}
    [[_, _, _, heavy]] = ask(kept, [[HALF_DAY, *(each.format(folder=tmp_path) for each in command)]])
    assert heavy
    assert {path: path.stat().st_mtime_ns for path in kept.iterdir()} == before


def test_the_command_itself_uses_the_folder_of_the_environment(tmp_path: Path) -> None:
    """Its import time tells which libraries a process has imported."""
    kept = tmp_path / "session_lifecycle"
    environment = {name: text for name, text in os.environ.items() if name != "SESSION_LIFECYCLE_CACHE"}
    own, xdg = {"SESSION_LIFECYCLE_CACHE": str(kept)}, {"XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-X", "importtime", "-m", "session_lifecycle", "status", "24/7"]
    imported: list[bool] = []
    for variable in (own, own, xdg):
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**environment, **variable},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "24/7" in done.stdout
        imported.append("| exchange_calendars" in done.stderr)
    assert imported == [True, False, False]
    assert len([*kept.glob("*.json")]) == 3
