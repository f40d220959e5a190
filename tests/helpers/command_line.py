"""How the tests run a command: in this process, at an instant of their choice, on a terminal of a given width."""

import json
import subprocess
import sys
from contextlib import ExitStack
from datetime import datetime
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any

import msgspec
import time_machine
import typer.testing
from jsonschema import Draft202012Validator, FormatChecker
from typer.main import get_command
from typer.testing import CliRunner, Result

from session_lifecycle.__main__ import assemble
from session_lifecycle._model.plain import plain

typer.testing._get_command = cache(get_command)  # else it makes the commands anew for each run, which takes a while
APP = assemble()
PROGRAM = "python -m session_lifecycle"
JSON_COMMANDS = [
    command.callback.__name__
    for command in APP.registered_commands
    if command.callback and "json" in signature(command.callback).parameters
]


def run(*args: str, now: datetime | None = None, width: int | None = None, **env: str | None) -> Result:
    """Run a command to its exit status; `env` adds to the environment, or with None takes away."""
    size = {"COLUMNS": None if width is None else str(width)}
    with ExitStack() as stack:
        if now is not None:
            stack.enter_context(time_machine.travel(now, tick=False))
        return CliRunner(env={**size, **env}).invoke(APP, args, prog_name=PROGRAM)


def printed(*args: str, now: datetime | None = None, width: int | None = None) -> str:
    """Return what a command prints, when all is well."""
    result = run(*args, now=now, width=width)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def as_json(*args: str, now: datetime | None = None) -> Any:
    """Return the JSON that a command prints, as values that have the shape which the command declares."""
    value = json.loads(printed(*args, "--json", now=now))
    hold_schema(args[0], value)
    return value


@cache
def json_schema(command: str) -> Any:
    """Return the JSON Schema that a command prints for its `--json`."""
    return json.loads(printed(command, "--json-schema"))


def hold_schema(command: str, value: object) -> None:
    """Raise ValidationError unless a value of JSON is what the command's `--json-schema` declares."""
    Draft202012Validator(json_schema(command), format_checker=FormatChecker()).validate(value)


def hold_shape(value: object, shape: Any) -> None:
    """Raise ValidationError unless values of JSON are what the type's own values become: no more, no less, in order."""
    again = plain(msgspec.convert(value, type=shape, strict=True))
    if json.dumps(again) != json.dumps(value):
        msg = f"{value} becomes {again}"
        raise msgspec.ValidationError(msg)


def refused(*args: str, now: datetime | None = None, width: int | None = None) -> str:
    """Return the one line that a command says to bad input."""
    result = run(*args, now=now, width=width)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1, result.stderr
    assert len(result.stderr) > 20
    return result.stderr


_LIGHT = """
import sys
for heavy in ("pandas", "numpy", "exchange_calendars"):
    sys.modules[heavy] = None  # to import it is an error
from session_lifecycle.__main__ import main
main()
"""


def python_without_pandas(*args: str) -> str:
    """Return what a command prints in a process of its own that cannot import pandas, when all is well."""
    done = subprocess.run(
        [sys.executable, "-c", _LIGHT, *args],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
