"""What the README and the guide list is so: their tables and the diagram are the code's own, and leave nothing out."""

import inspect
import logging
import re
from datetime import timedelta
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest

import session_lifecycle
from session_lifecycle import (
    EarlyClose,
    Entry,
    Event,
    JournalCorrupt,
    JournalLocked,
    JournalMismatch,
    JournalUnavailable,
    JournalWriteFailed,
    LifecycleConfig,
    MissedSessions,
    Resolution,
    RetryPolicy,
    SessionBoundaryManager,
    SessionMachine,
    SessionState,
    StaleWhen,
    VenueStatus,
    venues,
)
from session_lifecycle._cli.findings import Level
from session_lifecycle._cli.views.planned import ChangeKind
from session_lifecycle._cli.views.usual import Oddity
from session_lifecycle._model.event_base import Scheduled
from session_lifecycle._model.events import EventBase
from session_lifecycle._model.legs import Anchor, StateValue
from session_lifecycle.testing import Script, SimulatedClock
from tests import hours_table
from tests.helpers.command_line import APP, JSON_COMMANDS, json_schema
from tests.helpers.documents import EVERYTHING, README, TEXTS, page, rows_after, section, table, ticked

COMMANDS = page("command-line")
JSON_OBJECTS = rows_after(COMMANDS, r"(?=\n\| object \|)")
JSON_VALUES = rows_after(COMMANDS, r"(?=\n\| field \| one of \|)")


def test_every_command_is_in_the_guide() -> None:
    """By its name, and three of them with a sample of what they print."""
    names = [command.callback.__name__ for command in APP.registered_commands if command.callback]
    assert len(names) >= 5
    assert [name for name in names if f"`{name}`" not in COMMANDS] == []
    assert COMMANDS.count("```console") >= 3


def test_every_command_is_in_the_readme() -> None:
    """By its name, beside the sample or in it."""
    shown = section(TEXTS[README], "The command line")
    names = [command.callback.__name__ for command in APP.registered_commands if command.callback]
    assert [name for name in names if f"`{name}`" not in shown and f"session_lifecycle {name} " not in shown] == []


def test_the_json_tables_have_every_field_of_every_object() -> None:
    """In the order of their declarations, with the values that a field may have."""
    listed = [(ticked(name)[0], ticked(fields)) for name, _, fields in JSON_OBJECTS]
    declared = {
        name: list(each["properties"])
        for command in JSON_COMMANDS
        for name, each in json_schema(command)["$defs"].items()
        if "properties" in each
    }
    # A cell may also say in code how a field comes about; such a call is no field.
    listed = [(name, [field for field in fields if not field.endswith("()")]) for name, fields in listed]
    assert sorted(listed) == sorted(declared.items())
    values = {ticked(field)[0]: tuple(ticked(cell)) for field, cell in JSON_VALUES}
    assert values == {
        "state": get_args(StateValue),
        "boundary": get_args(Anchor),
        "oddities": get_args(Oddity),
        "kind": get_args(ChangeKind),
        "level": get_args(Level),
        "entry": tuple(entry.value for entry in Entry),
    }


def test_the_diagram_is_the_machine_s_own() -> None:
    """The mermaid block is what the machine draws, to the letter."""
    [drawn] = re.findall(r"```mermaid\n(.*?)```", EVERYTHING, re.DOTALL)
    assert drawn == SessionMachine.mermaid()


def test_the_table_of_states_has_every_state_in_order() -> None:
    """As the enumeration declares them."""
    rows = rows_after(TEXTS[README], r"\n## The states\n")
    assert [ticked(cells[0])[0] for cells in rows] == [state.name for state in SessionState]


def test_the_configuration_table_has_every_field_with_its_default() -> None:
    """The defaults are in the table as Python, in the order of the fields."""
    known = {kind.__name__: kind for kind in (timedelta, RetryPolicy, MissedSessions, StaleWhen, EarlyClose)}
    rows = table("reference", "Configuration")
    listed = {ticked(field)[0]: eval(ticked(default)[0], dict(known)) for field, default, *_ in rows}
    config = LifecycleConfig()
    assert list(listed.items()) == [(name, getattr(config, name)) for name in LifecycleConfig.__struct_fields__]


def test_the_configuration_table_names_variables_that_are_read() -> None:
    """Each variable, set to something impossible, is refused by its name: so it is read."""
    variables = [ticked(cells[3])[0] for cells in table("reference", "Configuration") if ticked(cells[3])]
    assert len(variables) == 4
    for variable in variables:
        with pytest.raises(session_lifecycle.ConfigurationError, match=variable):
            LifecycleConfig.from_env({variable: "impossible"})


def test_the_events_table_has_every_event_with_its_fields() -> None:
    """In the order of the union; `name` is listed once above the table."""
    listed = [(ticked(event)[0], ticked(fields)) for event, _, fields in table("reference", "Events")]
    events = [(e.__name__, [name for name in e.__struct_fields__ if name != "name"]) for e in get_args(Event)]
    assert sorted(listed) == sorted(events)


def in_short(hint: Any) -> str:
    """Return a type as the guide writes it."""
    return "None" if hint is type(None) else str(hint) if get_origin(hint) else hint.__name__


def types_in_short(hint: Any) -> set[str]:
    """Return the members of a union; the base of all events stands for any of them."""
    members = set(get_args(hint)) if isinstance(hint, UnionType) else {hint}
    return {"Event" if each is EventBase else in_short(each) for each in members}


def test_the_table_of_levels_has_every_event_that_is_no_info() -> None:
    """Those of which the level is a property say so in the row, and are in more than one."""
    listed = {level: ticked(cell) for level, cell in table("operating", "Logging")}
    depends = {event.__name__ for event in get_args(Event) if isinstance(vars(event).get("level"), property)}
    assert listed.pop("INFO") == []
    for level, names in listed.items():
        number = getattr(logging, level)
        fixed = {event.__name__ for event in get_args(Event) if event._level == number} - depends
        assert set(names) - depends == fixed, level
    assert depends <= {name for names in listed.values() for name in names}


def test_the_table_of_extras_has_every_field_of_a_log_record() -> None:
    """By name, with its type, and in just the events that have it; beside those, what is said of every event."""
    events = get_args(Event)
    types: dict[str, set[str]] = {"session_event": {"str"}, "calendar": {"str"}, "lateness_seconds": {"float"}}
    carriers: dict[str, list[str]] = {"session_event": ["all"], "calendar": ["all"]}
    carriers["lateness_seconds"] = [event.__name__ for event in events if issubclass(event, Scheduled)]
    for event in events:
        for name, hint in get_type_hints(event).items():
            field = "manager" if name == "name" else name
            types[field] = types.get(field, set()) | {each.replace("datetime.", "") for each in types_in_short(hint)}
            carriers.setdefault(field, []).append(event.__name__)
            if hint is timedelta:
                types[f"{field}_seconds"] = {"float"}
                carriers.setdefault(f"{field}_seconds", []).append(event.__name__)
    rows = rows_after(page("operating"), r"(?=\n\| field \| type \|)")
    listed = {ticked(name)[0]: (set(ticked(kind)), ticked(cell) or [cell]) for name, kind, cell, _ in rows}
    assert listed == {
        field: (kinds, ["all"] if len(carriers[field]) == len(events) else carriers[field])
        for field, kinds in types.items()
    }


def test_the_errors_table_has_every_public_error() -> None:
    """An error that is exported and not explained is half an error."""
    public = {name: getattr(session_lifecycle, name) for name in session_lifecycle.__all__}
    errors = {name for name, value in public.items() if isinstance(value, type) and issubclass(value, Exception)}
    listed = [ticked(cells[0])[0] for cells in table("reference", "Errors")]
    assert sorted(listed) == sorted(errors)


def test_the_errors_table_names_built_in_kinds_truly() -> None:
    """Where a row says "also a `ValueError`", it is one; where it says nothing, it is none."""
    kinds = (ValueError, LookupError, TimeoutError)
    for name, when, _ in table("reference", "Errors"):
        error = getattr(session_lifecycle, ticked(name)[0])
        listed = re.findall(r"also a `(\w+)`", when)
        assert listed == [kind.__name__ for kind in kinds if issubclass(error, kind)], name


def test_every_error_of_a_journal_is_explained_for_the_operator() -> None:
    """What has happened, and what to do."""
    kinds = (JournalLocked, JournalCorrupt, JournalMismatch, JournalUnavailable, JournalWriteFailed)
    public = {name for name in session_lifecycle.__all__ if re.fullmatch(r"Journal[A-Z]\w+", name)}
    listed = [ticked(cells[0])[0] for cells in table("operating", "What each journal error means")]
    assert listed == [kind.__name__ for kind in kinds]
    assert set(listed) == public


def test_every_public_name_is_in_one_table() -> None:
    """Of the events, the errors, or what each name is for: each export is listed once, with what it is for."""
    tables = ("Events", "Errors")
    listed = [name for heading in tables for cells in table("reference", heading) for name in ticked(cells[0])]
    listed += [name for cells in table("reference", "What each name is for") for name in ticked(cells[0])]
    assert sorted(listed) == session_lifecycle.__all__


def test_the_adapters_table_has_every_adapter_with_its_arguments() -> None:
    """As they are called, in any order."""
    calls = [ticked(cells[0])[0] for cells in table("hours", "What brokers and venues send")]
    names = {call.partition("(")[0]: re.findall(r"[(,] ?(\w+)", call) for call in calls}
    assert names == {name: list(inspect.signature(getattr(venues, name)).parameters) for name in venues.__all__}


def test_the_table_of_statuses_has_every_status_in_order() -> None:
    """As the enumeration declares them."""
    rows = rows_after(page("hours"), r"(?=\n\| `VenueStatus` \|)")
    assert [ticked(cells[0])[0] for cells in rows] == [status.name for status in VenueStatus]


def test_the_manager_s_arguments_are_those_of_its_signature() -> None:
    """Each in its place."""
    listed = [ticked(cells[0])[0] for cells in table("reference", "The manager")]
    assert listed == list(inspect.signature(SessionBoundaryManager).parameters)


def test_the_manager_s_tables_leave_nothing_out() -> None:
    """Everything public on the manager is in one of the two tables or beside them."""
    text = section(page("reference"), "The manager")
    public = {name for name in vars(SessionBoundaryManager) if not name.startswith("_")}
    assert {name for name in public if not re.search(rf"`[^`]*\b{name}\b", text)} == set()


def test_the_resolutions_table_has_every_resolution_the_default_first() -> None:
    """What an operator can decide, and what holds without a decision."""
    listed = [cells[0] for cells in table("concepts", "ERROR and recover")]
    assert [ticked(cell)[0] for cell in listed] == [str(resolution) for resolution in Resolution]
    default = inspect.signature(SessionBoundaryManager.recover).parameters["resolution"].default
    assert [cell for cell in listed if "default" in cell] == [f"`{default}`, the default"]


def test_everything_on_a_script_is_in_the_guide() -> None:
    """And everything on what comes of it, but for what its docstring says."""
    text = section(page("testing"), "A scripted day")
    methods = {name for name in vars(Script) if not name.startswith("_")} - {"schedule", "sessions"}
    assert len(methods) > 10
    assert {name for name in methods if not re.search(rf"\b{name}\b", text)} == set()


@pytest.mark.parametrize(
    ("variable", "owner"),
    [("manager", SessionBoundaryManager), ("clock", SimulatedClock), ("SessionMachine", SessionMachine)],
)
def test_what_the_prose_calls_exists(variable: str, owner: type) -> None:
    """`manager.something` anywhere in the README or the guide is there."""
    called = set(re.findall(rf"\b{variable}\.([a-z_]+)", EVERYTHING))
    assert called
    assert {name for name in called if not hasattr(owner, name)} == set()


def test_the_vocabulary_has_ten_words_and_concepts_defines_each() -> None:
    """No more than a reader keeps in mind."""
    words = [cells[0].strip("*") for cells in table("concepts", "Ten words")]
    assert len(words) == len(set(words)) == 10
    assert {word for word in words if word not in page("concepts").split("\n## Ten words\n")[1].lower()} == set()


def test_the_table_of_calendars_is_that_of_the_data() -> None:
    """Where this fails, `python -m tests.hours_table` writes it anew."""
    text = hours_table.PAGE.read_text(encoding="utf-8")
    assert hours_table.written(text) == text
    rows = table("hours", hours_table.HEADING)
    assert ["|".join(row) for row in rows] == [
        "|".join(c.strip() for c in each.strip("|").split("|")) for each in list(hours_table.lines())[2:]
    ]
    assert len(rows) == 71
    assert sum(bool(vouched) for _, _, vouched, _ in rows) >= 20
