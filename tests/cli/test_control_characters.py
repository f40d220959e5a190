"""No terminal escape of a file, a name or an argument reaches the terminal, from any command."""

import io
import json
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table
from rich.text import Text

from session_lifecycle import SqliteJournal
from session_lifecycle._cli.output import Printable
from session_lifecycle._journal.records import Entry, Record, adoption
from session_lifecycle._model.errors import LifecycleError
from tests.helpers.builders import MONDAY, utc, weekdays
from tests.helpers.command_line import run

ESCAPE = "\x1b[2J\x1b]0;owned\x07\x9b\u202e\u2028\x08"
RAW = set(ESCAPE) - set("[2J]0;owned")
NOW = utc(2030, 1, 2, 17)
COMMANDS = (
    ("status",),
    ("status", "--json"),
    ("plan",),
    ("plan", "--json"),
    ("plan", "--ics"),
    ("timeline",),
    ("timeline", "--json"),
    ("doctor",),
    ("snapshot", "--check"),
)


def shown(*args: object) -> str:
    """Return all that a command prints; it must not fail in a way of its own, nor print a raw control character."""
    result = run(*map(str, args), now=NOW)
    assert result.exception is None or isinstance(result.exception, SystemExit | LifecycleError), result.exception
    text = result.stdout + result.stderr
    assert not RAW & set(text), ascii(text)
    assert text
    return text


def snapshot(path: Path, **changes: object) -> Path:
    head = {
        "format": 1,
        "calendar": f"X{ESCAPE}\nfake",
        "timezone": "UTC",
        "first": "2029-11-01",
        "last": "2030-12-31",
        "corrections": False,
        "extended_hours": False,
        "overrides": [f"2030-01-02 closed: {ESCAPE}\nfake"],
        "made_from": {f"pandas{ESCAPE}": "1", "pandas": f"1{ESCAPE}\nfake"},
        "regular": "open=09:30 close=16:00",
        "sessions": ["2029-12-31", "2030-01-01", "2030-01-02", "2030-01-03", "2030-02-04", "2030-03-04"],
    }
    path.write_text(json.dumps({**head, **changes}))
    return path


@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_fault_67_a_snapshot_s_names_are_shown_escaped(tmp_path: Path, args: tuple[str, ...]) -> None:
    """In a file whose own name has escapes too; a newline forges no line."""
    text = shown(*args, snapshot(tmp_path / f"hours{ESCAPE}\nfake.json"))
    assert "\nfake" not in text


@pytest.mark.parametrize(
    "changes",
    [
        {"sessions": [f"2030-01-02 open=x{ESCAPE}"]},
        {"first": f"2030-01-0{ESCAPE}"},
        {"timezone": f"X/{ESCAPE}"},
        {"timezone": "America"},
        {f"k{ESCAPE}": 1},
    ],
)
def test_fault_67_a_bad_snapshot_is_refused_in_one_line(tmp_path: Path, changes: dict[str, object]) -> None:
    """Which has the reason, and no escape of the file."""
    assert shown("status", snapshot(tmp_path / "hours.json", **changes)).count("\n") == 1


@pytest.mark.parametrize("command", ["status", "plan", "timeline", "doctor"])
def test_fault_67_arguments_are_shown_escaped(tmp_path: Path, command: str) -> None:
    """Names of calendars, of files that are not there, and of options."""
    assert shown(command, f"X{ESCAPE}").count("\n") == 1
    assert shown(command, tmp_path / f"none{ESCAPE}.json").count("\n") == 1
    assert shown(command, f"--{ESCAPE}").count("\n") == 1


def test_fault_67_the_reason_of_an_override_is_shown_escaped(tmp_path: Path) -> None:
    """As a line of the plan."""
    hours = tmp_path / f"hours{ESCAPE}.toml"
    hours.write_text('calendar = "XNYS"\n[[closure]]\ndate = 2030-01-02\nreason = "\\u001b[2J\\u202e\\nfake"\n')
    text = shown("plan", "--hours", hours, "--from", "2030-01-01", "--to", "2030-01-05")
    assert r"closed: \x1b[2J\u202e\nfake" in text
    out = tmp_path / f"out{ESCAPE}.json"
    shown("snapshot", "--hours", hours, "--from", "2030", "--to", "2030", "--out", out)
    assert "agrees with" in shown("snapshot", "--check", out, "--hours", hours)
    hours.write_text(f'calendar = "XNYS{ESCAPE}"')
    assert shown("status", "--hours", hours).count("\n") == 1


@pytest.mark.parametrize("options", [(), ("--all",), ("--check",), ("--json",)])
def test_fault_67_a_journal_s_notes_are_shown_escaped(tmp_path: Path, options: tuple[str, ...]) -> None:
    """The calendar's name, the journal's, and the reason of an ERROR, lone surrogates included."""
    path = tmp_path / f"journal{ESCAPE}"

    async def write() -> None:
        journal = SqliteJournal(path, f"desk{ESCAPE}")
        await journal.open(f"XNYS{ESCAPE}")
        session = weekdays().session_on(MONDAY)
        await journal.append([replace(adoption(session, NOW), seq=1)])
        await journal.append([Record(Entry.FAILED, MONDAY, NOW, note=f"disk{ESCAPE}\udcff\nfake", seq=2)])
        await journal.close()

    anyio.run(write)
    assert "\nfake" not in shown("journal", path, *options)


def test_fault_67_colours_stay_and_escapes_of_the_content_do_not() -> None:
    """On a terminal, in a table's cells and in texts."""
    stream = io.StringIO()
    table = Table(box=None)
    table.add_column(f"head{ESCAPE}")
    table.add_row(Text(f"cell{ESCAPE}", "bold red"))
    console = Console(file=stream, force_terminal=True, color_system="standard", markup=False, width=200)
    console.print(Printable(table))
    text = stream.getvalue()
    assert "\x1b[1;31m" in text
    assert "\x1b]0;owned" not in text
    assert "\x1b[2J" not in text
    assert r"cell\x1b[2J" in text
