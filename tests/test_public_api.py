"""What the package offers: its names, their docstrings and annotations, and what importing it costs."""

import ast
import importlib
import inspect
import json
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import pytest

import session_lifecycle
import session_lifecycle.testing
import session_lifecycle.venues

MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(session_lifecycle.__path__, "session_lifecycle.")
    if not module.name.endswith(".__main__")
]

COMMANDS = [module for module in MODULES if module.__name__.startswith("session_lifecycle._cli")]


def short(module: ModuleType) -> str:
    return module.__name__.partition(".")[2] or module.__name__


def defined(module: ModuleType) -> set[str]:
    """Return the public classes and functions that a module's source defines at its top."""
    tree = ast.parse(inspect.getsource(module))
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")}


def callables() -> Iterator[tuple[str, Any]]:
    """Yield every public class, function, method and property, by its full name."""
    for module in MODULES:
        for name in sorted(defined(module)):
            value = getattr(module, name)
            yield f"{short(module)}.{name}", value
            if inspect.isclass(value):
                for member, raw in vars(value).items():
                    inner = getattr(raw, "fget", None) or getattr(raw, "__func__", raw)
                    ours = (
                        inspect.isfunction(inner) and inner.__module__ != "typing"
                    )  # which gives protocols an __init__
                    if ours and (not member.startswith("_") or member == "__init__"):
                        yield f"{short(module)}.{name}.{member}", inner


EVERYTHING = dict(callables())


def test_names_are_sorted() -> None:
    """`__all__` is sorted, names nothing twice, and everything in it can be had."""
    assert session_lifecycle.__all__ == sorted(set(session_lifecycle.__all__))
    assert all(hasattr(session_lifecycle, name) for name in session_lifecycle.__all__)


def test_what_is_no_part_of_the_api_is_private_by_its_path() -> None:
    """Every module below the top is in an underscored package, in the public kit, or adapts feeds or telemetry."""
    below = {module.__name__.split(".")[1] for module in MODULES}
    assert {name for name in below if not name.startswith("_")} == {"otel", "testing", "venues"}


def test_every_public_name_says_that_it_is_the_package_s() -> None:
    """Tracebacks, reprs and pickles do not depend on where a file lives, nor on what was imported first."""
    aliases = {"Event", "Override"}
    public = {name: getattr(session_lifecycle, name) for name in session_lifecycle.__all__ if name not in aliases}
    assert {name for name, value in public.items() if value.__module__ != "session_lifecycle"} == set()
    kit = session_lifecycle.testing
    assert {name for name in kit.__all__ if getattr(kit, name).__module__ != kit.__name__} <= {"LocalTime"}
    adapters = session_lifecycle.venues
    assert {getattr(adapters, name).__module__ for name in adapters.__all__} == {adapters.__name__}


def test_no_class_name_exists_twice() -> None:
    """One word, one meaning: a name in a traceback or a search leads to one class."""
    places: dict[str, list[str]] = {}
    for module in MODULES:
        for name in re.findall(r"(?m)^ *class (\w+)", inspect.getsource(module)):
            places.setdefault(name, []).append(module.__name__)
    assert len(places) > 100
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


def test_the_commands_are_for_the_command_line_only() -> None:
    """Nothing that a module of the commands defines is exported."""
    assert len(COMMANDS) > 2
    assert not set[str]().union(*map(defined, COMMANDS)) & set(session_lifecycle.__all__)


@pytest.mark.parametrize("name", ["testing", "testing.strategies", "testing.pytest_plugin", "venues"])
def test_the_kit_s_names_are_sorted(name: str) -> None:
    """Each `__all__` of it is sorted, and names what is there."""
    kit = importlib.import_module(f"session_lifecycle.{name}")
    assert kit.__all__ == sorted(set(kit.__all__))
    assert all(hasattr(kit, each) for each in kit.__all__)


def test_nothing_else_is_at_the_top() -> None:
    """Beside its modules, the package shows the names of `__all__` and no others."""
    shown = {name for name in dir(session_lifecycle) if not isinstance(getattr(session_lifecycle, name), ModuleType)}
    assert {name for name in shown if not name.startswith("_")} == set(session_lifecycle.__all__)


def test_what_is_lazy_is_what_type_checkers_see() -> None:
    """The names that are imported on demand come from the very modules that type checkers are shown."""
    (block,) = (node for node in ast.parse(inspect.getsource(session_lifecycle)).body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert len(imports) == len(block.body) > 0
    shown = {alias.name: node.module for node in imports for alias in node.names}
    assert shown == {name: f"session_lifecycle.{module}" for name, module in session_lifecycle._LAZY.items()}


def test_everything_public_is_documented() -> None:
    """Every public class, function, method and property has a docstring of its own."""
    assert len(EVERYTHING) > 150
    for name, value in EVERYTHING.items():
        text = vars(value).get("__doc__", value.__doc__)
        generated = text and text.startswith(f"{value.__name__}(")  # as dataclass and NamedTuple do
        assert name.endswith("__init__") or (text and not generated), name


@pytest.mark.parametrize("module", [session_lifecycle, *MODULES], ids=short)
def test_every_module_says_why_it_exists(module: ModuleType) -> None:
    """Every module opens with a docstring."""
    assert module.__doc__


def test_everything_public_is_annotated() -> None:
    """Every public function and method has annotations for all its parameters and its result."""
    functions = {name: inspect.signature(value) for name, value in EVERYTHING.items() if inspect.isfunction(value)}
    assert len(functions) > 100
    for name, signature in functions.items():
        taken = [p for p in signature.parameters.values() if p.name not in {"self", "cls"}]
        assert inspect.Signature.empty not in {signature.return_annotation, *(p.annotation for p in taken)}, name


def test_annotations_can_be_read() -> None:
    """The annotations of every public function and method can be resolved, those that are given as text too."""
    functions = {
        name: value
        for name, value in EVERYTHING.items()
        if inspect.isfunction(value) and sys.modules[value.__module__] not in COMMANDS  # rich may be missing there
    }
    assert sum(isinstance(hint, str) for value in functions.values() for hint in value.__annotations__.values()) > 5
    for name, function in functions.items():
        assert set(get_type_hints(function)) == set(function.__annotations__), name


def test_types_are_shipped() -> None:
    """The marker that tells type checkers to read the annotations is in the package."""
    assert files("session_lifecycle").joinpath("py.typed").is_file()


IMPORT = """
import json, logging, sys, threading

class Kept(logging.Handler):
    def emit(self, record):
        records.append(record.getMessage())

records = []
logging.basicConfig(level=0, handlers=[Kept()])
import session_lifecycle, session_lifecycle.testing
loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
print(json.dumps({
    "modules": sorted({name.partition(".")[0] for name in sys.modules}),
    "records": records,
    "configured": [log.name for log in loggers if "session" in log.name and (log.handlers or log.level)],
    "threads": threading.active_count(),
}))
"""


def test_importing_costs_little() -> None:
    """Importing loads no calendar, no event loop of trio's and no test tool, logs nothing and starts no thread."""
    where = str(Path(session_lifecycle.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT],
        env={**os.environ, "PYTHONPATH": where},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    heavy = {"pandas", "numpy", "exchange_calendars", "trio", "pytest", "hypothesis", "graphviz", "uvloop"}
    heavy |= {"typer", "rich", "matplotlib", "icalendar"}
    assert not heavy & set(told["modules"])
    assert {"session_lifecycle", "anyio", "transitions"} <= set(told["modules"])
    assert (told["records"], told["configured"], told["threads"], done.stderr) == ([], [], 1, "")


ON_DEMAND = """
import sys
import anyio, transitions
theirs = {*sys.modules}  # some of their versions bring zlib
from session_lifecycle import SessionBoundaryManager
print(*{*sys.modules} - theirs)
import session_lifecycle
before = dir(session_lifecycle)
try:
    session_lifecycle.Nonsense
except AttributeError as error:
    print(error)
from session_lifecycle import *
print({*session_lifecycle.__all__} <= {*globals()}, {*session_lifecycle.__all__} <= {*before})
print(ExchangeSchedule is session_lifecycle._schedules.exchange.ExchangeSchedule, "pandas" in sys.modules)
"""


def test_what_a_manager_does_not_need_is_imported_on_demand() -> None:
    """Importing the manager loads no calendar, journal or table of hours; every name can be had all the same."""
    where = str(Path(session_lifecycle.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ON_DEMAND],
        env={**os.environ, "PYTHONPATH": where},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded, refused, complete, ours = done.stdout.splitlines()
    lazy = {
        f"_schedules.{name}"
        for name in ("corrections", "exchange", "extended_hours", "comparison", "snapshot", "weekly", "market_calendar")
    }
    lazy |= {"_core.replay", "_journal.memory", "_journal.postgres", "_journal.sqlite", "_runtime.group"}
    lazy |= {"_runtime.run_due", "_model.html", "_schedules.html"}
    assert {*session_lifecycle._LAZY.values()} <= lazy
    unwanted = {"exchange_calendars", "json", "numpy", "pandas", "psycopg", "sqlite3", "tomllib", "zlib"}
    assert not set(loaded.split()) & (unwanted | {f"session_lifecycle.{module}" for module in lazy})
    assert refused == "module 'session_lifecycle' has no attribute 'Nonsense'"
    assert (complete, ours) == ("True True", "True False")


def test_without_psycopg_every_name_is_there_and_only_the_use_of_its_journal_is_refused() -> None:
    """`import *` is for those without the extra too; the message names it."""
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from session_lifecycle import *\n"
        "for call in (lambda: PostgresJournal('', 'desk'), lambda: PostgresJournal.create_tables('')):\n"
        "    try:\n"
        "        call()\n"
        "    except ModuleNotFoundError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (
        done.stdout.splitlines()
        == ["PostgresJournal needs the extra `postgres`: pip install 'session_lifecycle[postgres]'"] * 2
    )
