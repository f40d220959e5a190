"""What all tests share: every kind of event loop that the package promises to run on."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from typing import Any
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import none

from tests.helpers import grouped
from tests.helpers.grouped import COMPANION, Grouped

# The tests start hundreds of processes: what they import of the package is compiled once, and not by each of them.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["SESSION_LIFECYCLE_CACHE"] = ""  # no command reads or writes the user's own cache

pytest_plugins = ["session_lifecycle.testing.pytest_plugin"]  # two events that differ are shown by their fields

# How long an example takes says more of what else the machine does than of the package. The gate draws the same
# examples each time, as Hypothesis' own profile for it does: what fails there fails again. Elsewhere they are new ones.
settings.register_profile(
    "unhurried", deadline=None, derandomize="CI" in os.environ, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")

Backend = tuple[str, dict[str, Any]]

NO_OPTIONS: dict[str, Any] = {}
PLAIN: Backend = ("asyncio", NO_OPTIONS)
TRIO: Backend = ("trio", NO_OPTIONS)
BACKENDS = [pytest.param(PLAIN, id="asyncio"), pytest.param(TRIO, id="trio")]
UVLOOP: Backend = ("asyncio", {"use_uvloop": True})
if find_spec("uvloop"):  # there is none for Windows
    BACKENDS.append(pytest.param(UVLOOP, id="uvloop"))
COSTLY_ON = [PLAIN, TRIO]
if sys.version_info >= (3, 12):

    def eager_loop() -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        return loop

    EAGER: Backend = ("asyncio", {"loop_factory": eager_loop})
    BACKENDS.append(pytest.param(EAGER, id="eager"))
    COSTLY_ON = [EAGER, TRIO]


@pytest.fixture(scope="module", params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Backend:
    """Run the async tests of a module on each of the event loops."""
    backend: Backend = request.param
    return backend


@pytest.fixture(scope="session", autouse=True)
def children_can_be_interrupted() -> None:
    """Give SIGINT its usual meaning: a shell has its background jobs ignore it, and a child would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def collections_are_short() -> Iterator[None]:
    """Leave out what has been loaded by now when tests have garbage collected, hundreds of times."""
    given(none())(lambda _: None)()  # at its first example Hypothesis looks for who refers to its random numbers
    gc.collect()
    gc.freeze()  # what is frozen is not seen to refer to anything
    yield
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def calendars_are_built_once() -> Iterator[None]:
    """Build a calendar of exchange_calendars once for each window. It is a value, and takes up to two seconds.

    Most of that are the holidays from 1970 to 2200, which are the same for each window.
    """
    library: Any = sys.modules.get("exchange_calendars")  # where no test needs it, half a second is saved
    if library is None:
        yield
        return
    get_calendar, built_in = library.get_calendar, set(library.get_calendar_names())

    @cache
    def built(name: str, start: str, end: str) -> Any:
        return get_calendar(name, start=start, end=end)

    def get(name: str, start: str | None = None, end: str | None = None) -> Any:
        if name in built_in and start is not None and end is not None:
            return built(name, start, end)
        return get_calendar(name, start=start, end=end)  # what a test has registered lives as long as that test

    def once_for_its_class(day: Callable[[Any], Any]) -> property:
        days: dict[type, Any] = {}

        def found(calendar: Any) -> Any:
            kind = type(calendar)
            if kind not in days:
                days[kind] = day(calendar)
            return days[kind]

        return property(found)

    factories = library.calendar_utils.global_calendar_dispatcher._calendar_factories.values()
    kinds = {kind for factory in factories for kind in factory.__mro__ if "day" in vars(kind)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "get_calendar", get)
        for kind in kinds:
            patch.setattr(kind, "day", once_for_its_class(vars(kind)["day"].func))
        yield


@pytest.fixture(scope="session", autouse=True)
def market_calendars_are_made_once() -> Iterator[None]:
    """Make a calendar of pandas_market_calendars once: it keeps its holidays, which take a fifth of a second."""
    library: Any = sys.modules.get("pandas_market_calendars")
    if library is None:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "get_calendar", cache(library.get_calendar))
        yield


IN_A_GROUP_TOO = ("test_handlers", "test_manager", "test_scopes")
"""How the modules begin whose tests run with managers that are alone, and once more with members of a group."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the manager's tests in both kinds of company."""
    name = metafunc.module.__name__.rpartition(".")[2]
    if name.startswith(IN_A_GROUP_TOO) and "company" in metafunc.fixturenames:
        metafunc.parametrize("company", ["alone", "grouped"], indirect=True, scope="function")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put off to the long run what says little more than what is run by default."""
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and _is_put_off(item, item.callspec.params):
            item.add_marker(pytest.mark.long)


def _is_put_off(item: pytest.Function, values: dict[str, Any]) -> bool:
    backend, company = values.get("anyio_backend", PLAIN), values.get("company", "alone")
    if company == "grouped" and backend != PLAIN:
        return True
    if item.get_closest_marker("costly") is not None and company == "alone":
        return backend not in COSTLY_ON
    if item.get_closest_marker("sampled") is not None and crc32(item.callspec.id.encode()) % 4 != 0:
        return True
    if "company" in values and "real_clock" not in item.name:
        # In simulated time, a test that runs on uvloop by default does not do so in a group, and the other way round.
        on_uvloop = crc32(f"{item.module.__name__}.{item.originalname}".encode()) % 2 == 0
        return (backend == UVLOOP and not on_uvloop) or (company == "grouped" and on_uvloop)
    return False


@pytest.fixture(autouse=True)
def company(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have the managers of a test run alone, or each as a member of a group."""
    kind: str = getattr(request, "param", "alone")
    if kind == "grouped":
        helpers = [module for name, module in sys.modules.items() if name.startswith("tests.helpers.")]
        for module in (request.module, *helpers):
            if module is not grouped and hasattr(module, "SessionBoundaryManager"):
                monkeypatch.setattr(module, "SessionBoundaryManager", Grouped)
    return kind


def _is_ours(record: logging.LogRecord) -> bool:
    ours = record.name.split(".")[0] == "session_lifecycle"
    return ours and getattr(record, "manager", None) != COMPANION


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Capture the library's own lines alone: asyncio may complain of an earlier test's task at any moment."""
    caplog.handler.addFilter(_is_ours)
    yield caplog
    caplog.handler.removeFilter(_is_ours)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """Run one PostgreSQL server for all tests of the process."""
    postgres = pytest.importorskip("tests.helpers.postgres", reason="psycopg is not installed")
    if postgres.binaries() is None:
        why = "no PostgreSQL server is installed, neither from a wheel of the test extra nor by the system"
        if "REQUIRE_POSTGRES" in os.environ:  # the gate has one
            pytest.fail(why)
        pytest.skip(why)
    with postgres.running_server() as server:
        yield server


@pytest.fixture(scope="session")
def _database(postgres_server: Any) -> Any:
    from tests.helpers.postgres import Database

    return Database(postgres_server)


@pytest.fixture
def database(_database: Any) -> Iterator[Any]:
    """Return a database with a journal's empty tables; creating one for each test would take a second."""
    yield _database
    _database.clear()
