"""What the README says is so: its programs run and print what it shows, its tables and diagram are the code's own."""

import ast
import dataclasses
import importlib
import inspect
import re
import shlex
import tomllib
from collections import Counter
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

import pytest
from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

import session_lifecycle
from session_lifecycle import (
    Event,
    LifecycleConfig,
    MissedSessions,
    Resolution,
    RetryPolicy,
    SessionBoundaryManager,
    SessionMachine,
    StaleWhen,
)
from session_lifecycle._cli import shapes
from session_lifecycle._runtime.event_log import LOGGER
from session_lifecycle.testing import Script, SimulatedClock
from tests.helpers.builders import utc
from tests.helpers.command_line import APP, PROGRAM, printed

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")
RUN = "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/python examples/trading_day.py"
TEST = "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest"


def blocks() -> list[Example]:
    """Return the README's blocks of Python and of output, in order."""
    parsers = [CodeBlockParser("python", PythonEvaluator()), CodeBlockParser("text", lambda _: None)]
    return list(Sybil(parsers, encoding="utf-8").parse(README))


BLOCKS = blocks()
PROGRAMS = [
    (block, following if following is not None and following.region.lexemes["arguments"] == "text" else None)
    for block, following in zip(BLOCKS, [*BLOCKS[1:], None], strict=True)
    if block.region.lexemes["arguments"] == "python"
]


def table(heading: str) -> list[list[str]]:
    """Return the rows of the first table after a heading, each a list of cells."""
    return rows_after(rf"\n##+ {heading}\n")


def rows_after(pattern: str) -> list[list[str]]:
    """Return the rows of the first table after a text, each a list of cells."""
    rows: list[list[str]] = []
    for line in re.split(pattern, TEXT, maxsplit=1)[1].splitlines():
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            break
    return rows[2:]


JSON_OBJECTS = rows_after(r"(?=\n\| object \|)")
JSON_VALUES = rows_after(r"(?=\n\| field \| one of \|)")


def ticked(cell: str) -> list[str]:
    """Return what stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


@pytest.fixture
def logger_as_it_was() -> Generator[None]:
    """Undo what a program does to the library's logger."""
    handlers, level = LOGGER.handlers[:], LOGGER.level
    yield
    LOGGER.handlers[:] = handlers
    LOGGER.setLevel(level)


@pytest.mark.usefixtures("logger_as_it_was")
@pytest.mark.parametrize(("program", "output"), PROGRAMS, ids=[f"line {program.line}" for program, _ in PROGRAMS])
def test_each_program_is_complete_and_prints_what_the_readme_shows(
    program: Example, output: Example | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reader may paste any one block into a file and run it."""
    program.namespace.clear()
    program.namespace["__name__"] = "__main__"
    program.evaluate()
    printed = capsys.readouterr()
    assert printed.out == ("" if output is None else output.parsed)
    assert printed.err == ""


def test_there_are_programs_with_output() -> None:
    """The pairing above would not notice if it found nothing."""
    assert len(PROGRAMS) >= 10
    assert sum(output is not None for _, output in PROGRAMS) == TEXT.count("\n```text\n") >= 9


@pytest.mark.parametrize("command", [RUN, TEST])
def test_the_first_screen_holds_the_two_commands_literally(command: str) -> None:
    """They are what a newcomer pastes."""
    assert command in TEXT.splitlines()[:24]


CONSOLE = re.findall(r"```console\n\$ ([^\n]*)\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize(("command", "output"), CONSOLE, ids=[command for command, _ in CONSOLE])
def test_each_command_prints_what_the_readme_shows(command: str, output: str) -> None:
    """On a terminal of 80 columns, at the instant that the README names."""
    assert "The samples are of Friday 2026-11-27 at 04:30 UTC" in TEXT
    assert command.startswith(f"{PROGRAM} ")
    args = shlex.split(command.removeprefix(PROGRAM))
    assert printed(*args, now=utc(2026, 11, 27, 4, 30), width=80) == output
    assert max(map(len, output.splitlines())) <= 80


def test_every_command_is_in_the_readme() -> None:
    """By its name, and three of them with a sample of what they print."""
    section = TEXT.split("\n## Command line\n", 1)[1].split("\n## ", 1)[0]
    names = [command.callback.__name__ for command in APP.registered_commands if command.callback]
    assert len(names) >= 5
    assert [name for name in names if f"`{name}`" not in section] == []
    assert len(CONSOLE) == TEXT.count("```console") >= 3


def test_the_json_tables_have_every_field_of_every_object() -> None:
    """In the order of their declarations, with the values that a field may have."""
    told = [(ticked(name)[0], ticked(fields)) for name, _, fields in JSON_OBJECTS]
    kinds = {name: kind for name, kind in vars(shapes).items() if is_typeddict(kind)}
    assert sorted(told) == sorted((name, list(get_type_hints(kind))) for name, kind in kinds.items())
    values = {ticked(field)[0]: tuple(ticked(cell)) for field, cell in JSON_VALUES}
    assert values == {
        "state": get_args(shapes.State),
        "boundary": get_args(shapes.BoundaryName),
        "oddities": get_args(shapes.Oddity),
        "kind": get_args(shapes.ChangeKind),
        "level": get_args(shapes.Level),
    }


def test_the_diagram_is_the_machine_s_own() -> None:
    """The mermaid block is what the machine draws, to the letter."""
    [drawn] = re.findall(r"```mermaid\n(.*?)```", TEXT, re.DOTALL)
    assert drawn == SessionMachine.mermaid()


def drawn(picture: Path) -> tuple[list[str], Counter[str]]:
    """Return what is written in a picture, and how many shapes there are of each colour."""
    svg = picture.read_text(encoding="utf-8")
    return re.findall(r"<!-- (.*?) -->", svg), Counter(re.findall(r"fill: (#\w+)", svg))


def test_the_picture_is_what_the_command_beside_it_draws(tmp_path: Path) -> None:
    """The same labels, and as many bars of each colour: more would depend on matplotlib's version."""
    [(options, name)] = re.findall(r"`python -m session_lifecycle (timeline [^`]*) --output ([^`]*)`", TEXT)
    assert f"]({name})" in TEXT
    again = tmp_path / "again.svg"
    assert printed(*options.split(), "--output", str(again)) == ""
    assert drawn(again) == drawn(README.parent / name)
    assert "XTKS" in drawn(again)[0]


def test_the_configuration_table_has_every_field_with_its_default() -> None:
    """The defaults stand in the table as Python, in the order of the fields."""
    known = {kind.__name__: kind for kind in (timedelta, RetryPolicy, MissedSessions, StaleWhen)}
    told = {ticked(field)[0]: eval(ticked(default)[0], dict(known)) for field, default, *_ in table("Configuration")}
    config = LifecycleConfig()
    assert list(told.items()) == [(field.name, getattr(config, field.name)) for field in dataclasses.fields(config)]


def test_the_configuration_table_names_variables_that_are_read() -> None:
    """Each variable, set to something impossible, is refused by its name: so it is read."""
    variables = [ticked(cells[3])[0] for cells in table("Configuration") if ticked(cells[3])]
    assert len(variables) == 4
    for variable in variables:
        with pytest.raises(session_lifecycle.ConfigurationError, match=variable):
            LifecycleConfig.from_env({variable: "impossible"})


def test_the_events_table_has_every_event_with_its_fields() -> None:
    """In the order of the union; `name` is told once above the table."""
    told = [(ticked(event)[0], ticked(fields)) for event, _, fields in table("Events")]
    events = [(e.__name__, [f.name for f in dataclasses.fields(e) if f.name != "name"]) for e in get_args(Event)]
    assert sorted(told) == sorted(events)


def summary(hint: Any) -> str:
    """Return a type as the README writes it."""
    return "None" if hint is type(None) else str(hint) if get_origin(hint) else hint.__name__


def types_in_short(hint: Any) -> set[str]:
    """Return the members of a union, with all events told as one."""
    kinds = set(get_args(Event))
    members = set(get_args(hint)) if isinstance(hint, UnionType) else {hint}
    every = kinds <= members
    return {summary(each) for each in (members - kinds if every else members)} | ({"Event"} if every else set())


def test_the_table_of_extras_has_every_field_of_a_log_record() -> None:
    """By name, with its type, and in just the events that have it; beside those, what is said of every event."""
    events = get_args(Event)
    types: dict[str, set[str]] = {"event": {"str"}, "calendar": {"str"}}
    carriers: dict[str, list[str]] = {"event": ["all"], "calendar": ["all"]}
    for event in events:
        for name, hint in get_type_hints(event).items():
            field = "manager" if name == "name" else name
            types[field] = types.get(field, set()) | {each.replace("datetime.", "") for each in types_in_short(hint)}
            carriers.setdefault(field, []).append(event.__name__)
    told = {ticked(name)[0]: (set(ticked(kind)), ticked(cell) or [cell]) for name, kind, cell, _ in table("Logging")}
    assert told == {
        field: (kinds, ["all"] if len(carriers[field]) == len(events) else carriers[field])
        for field, kinds in types.items()
    }


def test_the_errors_table_has_every_public_error() -> None:
    """An error that is exported and not explained is half an error."""
    public = {name: getattr(session_lifecycle, name) for name in session_lifecycle.__all__}
    errors = {name for name, value in public.items() if isinstance(value, type) and issubclass(value, Exception)}
    told = [ticked(cells[0])[0] for cells in table("Errors")]
    assert sorted(told) == sorted(errors)


def test_the_errors_table_tells_built_in_kinds_truly() -> None:
    """Where a row says "also a `ValueError`", it is one; where it says nothing, it is none."""
    kinds = (ValueError, LookupError, TimeoutError)
    for name, when, _ in table("Errors"):
        error = getattr(session_lifecycle, ticked(name)[0])
        told = re.findall(r"also a `(\w+)`", when)
        assert told == [kind.__name__ for kind in kinds if issubclass(error, kind)], name


def test_every_public_name_is_in_one_table() -> None:
    """Of the events, the errors, or what each name is for: what is exported is told once, with what it is for."""
    told = [name for heading in ("Events", "Errors") for cells in table(heading) for name in ticked(cells[0])]
    told += [name for cells in table("What each name is for") for name in ticked(cells[0])]
    assert sorted(told) == session_lifecycle.__all__


def test_the_manager_s_arguments_are_those_of_its_signature() -> None:
    """Each in its place."""
    told = [ticked(cells[0])[0] for cells in table("The manager")]
    assert told == list(inspect.signature(SessionBoundaryManager).parameters)


def test_the_resolutions_table_has_every_resolution_the_default_first() -> None:
    """What a person can decide, and what happens if they say nothing."""
    told = [cells[0] for cells in table("ERROR and recover")]
    assert [ticked(cell)[0] for cell in told] == [str(resolution) for resolution in Resolution]
    default = inspect.signature(SessionBoundaryManager.recover).parameters["resolution"].default
    assert [cell for cell in told if "default" in cell] == [f"`{default}`, the default"]


def test_programs_import_public_names_only() -> None:
    """What a reader copies must not break with a private name."""
    for program, _ in PROGRAMS:
        for node in ast.walk(ast.parse(program.parsed)):
            if isinstance(node, ast.ImportFrom) and node.module == "session_lifecycle":
                assert {alias.name for alias in node.names} <= set(session_lifecycle.__all__)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("session_lifecycle"):
                kit = importlib.import_module(node.module or "")
                assert kit.__name__ in ("session_lifecycle.testing", "session_lifecycle.testing.strategies")
                assert {alias.name for alias in node.names} <= set(kit.__all__)


def test_everything_on_a_script_is_in_the_readme() -> None:
    """And everything on what comes of it, but for what its docstring tells."""
    section = TEXT.split("\n### A scripted day\n", 1)[1].split("\n### ", 1)[0]
    methods = {name for name in vars(Script) if not name.startswith("_")} - {"schedule", "sessions"}
    assert len(methods) > 10
    assert {name for name in methods if not re.search(rf"\b{name}\b", section)} == set()


@pytest.mark.parametrize(
    ("variable", "owner"),
    [("manager", SessionBoundaryManager), ("clock", SimulatedClock), ("SessionMachine", SessionMachine)],
)
def test_what_the_prose_calls_exists(variable: str, owner: type) -> None:
    """`manager.something` anywhere in the README is there."""
    called = set(re.findall(rf"\b{variable}\.([a-z_]+)", TEXT))
    assert called
    assert {name for name in called if not hasattr(owner, name)} == set()


def test_the_manager_s_tables_leave_nothing_out() -> None:
    """Everything public on the manager is in one of the two tables or told beside them."""
    section = TEXT.split("\n## The manager\n", 1)[1].split("\n## ", 1)[0]
    public = {name for name in vars(SessionBoundaryManager) if not name.startswith("_")}
    assert {name for name in public if not re.search(rf"`[^`]*\b{name}\b", section)} == set()


def anchor(heading: str) -> str:
    """Return what a heading is linked by."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def prose() -> str:
    """Return the README without its blocks of code, where a line may begin with a # too."""
    return re.sub(r"(?ms)^```.*?^```$", "", TEXT)


def test_the_contents_list_every_section_in_order() -> None:
    """Whoever adds a section adds it there, by its own name."""
    contents, rest = prose().split("\n## Contents\n", 1)[1].split("\n## ", 1)
    told = re.findall(r"\[([^\]]+)\]\(#([^)]+)\)", contents)
    headings = re.findall(r"^## (.*)$", f"## {rest}", re.MULTILINE)
    assert told == [(heading, anchor(heading)) for heading in headings]


def test_links_within_the_readme_lead_to_a_heading() -> None:
    """No two headings have the same name, and no link leads nowhere."""
    anchors = [anchor(heading) for heading in re.findall(r"^#+ (.*)$", prose(), re.MULTILINE)]
    assert len(set(anchors)) == len(anchors)
    assert {target for target in re.findall(r"\]\(#([^)]+)\)", TEXT) if target not in anchors} == set()


def test_what_the_readme_links_to_is_there() -> None:
    """Relative links lead to files of this project."""
    for target in re.findall(r"\]\((?!https?://|#)([^)]+)\)", TEXT):
        assert (README.parent / target).exists(), target


def test_the_changelog_opens_with_the_version_that_is_built() -> None:
    """A release stands there under its number and day; what is being worked on says which release it is to be."""
    project = tomllib.loads((README.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (README.parent / "CHANGELOG.md").read_text(encoding="utf-8")
    heading, first, *_ = re.split(r"\n{2,}", changelog[changelog.index("\n## ") + 1 :])
    release, _, being_worked_on = project["version"].partition(".dev")
    if being_worked_on:
        assert (heading, first.startswith(f"To be {release}")) == ("## [Unreleased]", True)
    else:
        assert re.fullmatch(rf"## \[{re.escape(release)}\] - \d{{4}}-\d\d-\d\d", heading)
