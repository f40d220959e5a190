"""`--json-schema`: what it declares is what `--json` prints, of every command that has one."""

import inspect
import json
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from jsonschema import Draft202012Validator, ValidationError

from tests.helpers.builders import utc
from tests.helpers.command_line import (
    APP,
    JSON_COMMANDS,
    as_json,
    hold_schema,
    json_schema,
    printed,
    python_without_pandas,
    run,
)
from tests.helpers.journals import ONE_OF_EACH
from tests.helpers.sqlite import keep

NOW = utc(2026, 11, 27, 4, 30)
"""Where Hong Kong is on its break."""


def objects(schema: Any) -> dict[str, Any]:
    """Return the objects that a schema declares, by name."""
    return {name: each for name, each in schema["$defs"].items() if each.get("type") == "object"}


def test_every_command_with_json_has_a_schema() -> None:
    """The two options come together; `diagram` prints a text only."""
    with_schema = [
        command.callback.__name__
        for command in APP.registered_commands
        if command.callback and "_json_schema" in inspect.signature(command.callback).parameters
    ]
    assert with_schema == JSON_COMMANDS
    assert set(JSON_COMMANDS) == {"status", "plan", "timeline", "watch", "snapshot", "journal", "doctor"}


@pytest.mark.parametrize("command", JSON_COMMANDS)
def test_it_is_a_schema_of_the_dialect_that_it_names(command: str) -> None:
    """Every object and every set of values says what it is, and an object names all of its fields as required."""
    schema = json_schema(command)
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    Draft202012Validator.check_schema(schema)
    assert objects(schema)
    for each in schema["$defs"].values():
        assert each["description"].endswith(".")
        assert "  " not in each["description"]
    for each in objects(schema).values():
        assert each["required"] == list(each["properties"])


@pytest.mark.parametrize("command", JSON_COMMANDS)
def test_it_needs_no_other_argument(command: str) -> None:
    """Not even those without which the command does nothing; those that are given make no difference."""
    assert json.loads(printed(command, "--json-schema")) == json_schema(command)
    assert run(command, "no such thing", "--json-schema").exit_code == 0


def test_it_loads_no_calendar() -> None:
    """A generator of types runs where pandas is not installed."""
    assert json.loads(python_without_pandas("plan", "--json-schema")) == json_schema("plan")


def test_what_is_printed_is_what_is_declared(tmp_path: Path) -> None:
    """Of every command, with its fields in the order of the schema; `as_json` holds it against the schema."""
    journal, hours = tmp_path / "journal", tmp_path / "hours.toml"
    anyio.run(partial(keep, journal, ONE_OF_EACH, calendar="fixed"))
    printed("snapshot", "XHKG", "--from", "2026", "--to", "2026", f"--out={hours}", now=NOW)
    for args in (
        ("status", "XHKG", "XNYS"),
        ("plan", "CMES", "--from", "2026-10-30", "--days", "30"),
        ("timeline", "XHKG"),
        ("journal", str(journal)),
        ("snapshot", "--check", str(hours)),
    ):
        value = as_json(*args, now=NOW)
        [first, *_] = value if isinstance(value, list) else [value]
        schema = json_schema(args[0])
        reference = schema.get("$ref") or schema["items"]["$ref"]
        assert list(first) == schema["$defs"][reference.rpartition("/")[2]]["required"]


def test_what_is_not_declared_is_refused() -> None:
    """A state that does not exist, a date that is none, a field that is missing."""
    [status] = as_json("status", "XHKG", now=NOW)
    for wrong in ({"state": "error"}, {"session": "tomorrow"}, {"next": {}}, {"oddities": None}):
        with pytest.raises(ValidationError):
            hold_schema("status", [status | wrong])
    del status["timezone"]
    with pytest.raises(ValidationError, match="timezone"):
        hold_schema("status", [status])
