"""The pytest plugin, as a project of somebody's sees it."""

import subprocess
import sys

import hypothesis  # noqa: F401 -- what is imported here is not imported once more by each run inside of a test
import pytest

from session_lifecycle.testing import pytest_plugin
from tests.helpers import harness  # noqa: F401 -- likewise

pytest_plugins = ["pytester"]

PLUGIN = "session_lifecycle.testing.pytest_plugin"
USE = f'pytest_plugins = ["{PLUGIN}"]\n'
QUIET = ("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:asyncio")

CLOCKED = """
import pytest
from datetime import UTC, datetime

def test_default(simulated_clock):
    assert simulated_clock.now() == datetime(2024, 3, 4, 14, 0, tzinfo=UTC)
    assert simulated_clock.monotonic() == 0.0

@pytest.mark.parametrize("simulated_start", [datetime(2024, 7, 5, tzinfo=UTC)])
def test_one(simulated_clock):
    assert simulated_clock.now() == datetime(2024, 7, 5, tzinfo=UTC)

class TestSeveral:
    @pytest.fixture
    def simulated_start(self):
        return datetime(2024, 11, 29, 17, 0, tzinfo=UTC)

    def test_that_one(self, simulated_clock):
        assert simulated_clock.now() == datetime(2024, 11, 29, 17, 0, tzinfo=UTC)
"""

MANAGED = """
from datetime import date, datetime, timedelta
import pytest
from session_lifecycle import LifecycleConfig, SessionState
from tests.helpers.harness import season

MARK

async def test_it_rolls(session_manager, simulated_clock):
    async with session_manager(season()) as manager:
        assert manager.clock is simulated_clock is session_manager.clock
        await simulated_clock.advance(timedelta(hours=9))
        assert manager.state is SessionState.NOT_STARTED
        assert manager.session.date == date(2024, 3, 5)
    assert session_manager.rolled_to == [date(2024, 3, 5)]

async def test_it_takes_what_a_manager_takes(session_manager, simulated_clock):
    rolled = []

    async def roll(next_date):
        rolled.append(next_date)

    config = LifecycleConfig(post_market_roll_delay=timedelta(0), data_timeout=None)
    async with session_manager(season(), roll, config=config, name="equities") as manager:
        assert manager.status().name == "equities"
        await simulated_clock.advance(timedelta(hours=7))
    assert rolled == session_manager.rolled_to == [date(2024, 3, 5)]

async def test_each_test_has_its_own(session_manager):
    assert session_manager.rolled_to == []
"""

FAILING = """
from datetime import date
import anyio
import pytest
from hypothesis import given, strategies as st
from session_lifecycle import SessionState
from session_lifecycle.testing import Script
from tests.helpers.builders import MONDAY
from tests.helpers.harness import roll_nothing, season

def play(script):
    return anyio.run(script.run, lambda manager_class: manager_class("XNYS", roll_nothing))

def test_it_fails():
    result = play(Script(season(), MONDAY).halt("15:00"))
    again = result
    assert result.state_at("16:00") is SessionState.ERROR

@given(st.booleans())
def test_it_fails_in_two_ways(either):
    result = play(Script(season(), MONDAY).halt("15:00"))
    if either:
        raise ValueError
    raise KeyError

def test_it_fails_without_a_day():
    assert not "ok"

def test_it_passes():
    result = play(Script(season(), MONDAY))
"""


def test_the_clock_starts_where_a_fixture_says(pytester: pytest.Pytester) -> None:
    """By default half an hour before the open of a Monday; overridden for a class, or by parameters for a test."""
    pytester.makepyfile(USE + CLOCKED)
    pytester.runpytest_inprocess(*QUIET).assert_outcomes(passed=3)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_manager_is_a_factory_under_anyio_s_plugin(pytester: pytest.Pytester, backend: str) -> None:
    """On each backend; what it makes is entered and left by the test."""
    mark = "pytestmark = pytest.mark.anyio\n\n@pytest.fixture\ndef anyio_backend():\n    return " + repr(backend)
    pytester.makepyfile(USE + MANAGED.replace("MARK", mark))
    pytester.runpytest_inprocess(*QUIET).assert_outcomes(passed=3)


def test_the_fixtures_belong_to_no_loop(pytester: pytest.Pytester) -> None:
    """They await nothing, so a plain test, and any plugin for async ones, may run what it gets in a loop of its own."""
    plain = MANAGED.replace("MARK", "import asyncio").replace("async def test_it_rolls", "async def rolls")
    call = "\ndef test_it(session_manager, simulated_clock): asyncio.run(rolls(session_manager, simulated_clock))\n"
    pytester.makepyfile(USE + plain.partition("async def test_it_takes")[0] + call)
    pytester.runpytest_inprocess(*QUIET).assert_outcomes(passed=1)


def test_a_failing_test_shows_the_diary_of_its_day(pytester: pytest.Pytester) -> None:
    """Once for each day, those of both failures where it is a group; a test without one shows nothing more."""
    pytester.makepyfile(USE + FAILING)
    result = pytester.runpytest_inprocess(*QUIET)
    result.assert_outcomes(failed=3, passed=1)
    text = result.stdout.str()
    assert text.count(f"- {pytest_plugin.DIARY} -") == 3
    assert text.count("  15:00:00  script: halt('halted by the script')") == 3


ASSERTING = """
from datetime import timedelta
import anyio
import pytest
from session_lifecycle import HandlerFailed, SessionState
from session_lifecycle.testing import SimulatedClock
from tests.helpers.harness import season

pytestmark = pytest.mark.anyio

@pytest.fixture
def anyio_backend():
    return BACKEND

async def day(session_manager, clock, roll=None, handler=None, failures=None):
    manager = session_manager(season(), roll)
    if handler is not None:
        manager.on(SessionState.ACTIVE)(handler)
    if failures is not None:
        manager.on(HandlerFailed)(failures)
    async with manager:
        await clock.advance(timedelta(hours=9))

async def test_roll(session_manager, simulated_clock):
    async def roll(next_date):
        assert len(session_manager.rolled_to) == 2, "the first attempt"

    await day(session_manager, simulated_clock, roll)

async def test_group_in_a_roll(session_manager, simulated_clock):
    async def wrong():
        assert session_manager is None, "in a group"

    async def roll(next_date):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wrong)

    await day(session_manager, simulated_clock, roll)

async def test_handler(session_manager, simulated_clock):
    async def handler(event):
        assert event is None, "in a handler"

    await day(session_manager, simulated_clock, handler=handler)

async def test_handler_of_failures(session_manager, simulated_clock):
    async def handler(event):
        raise ValueError

    async def failures(event):
        assert event is None, "in a handler of failures"

    await day(session_manager, simulated_clock, handler=handler, failures=failures)

async def test_own_failure_comes_first(session_manager, simulated_clock):
    async def handler(event):
        assert event is None, "in a handler, too"

    await day(session_manager, simulated_clock, handler=handler)
    raise KeyError("the test's own")

async def test_other_errors_fail_nothing(session_manager, simulated_clock):
    async def handler(event):
        raise ValueError

    await day(session_manager, simulated_clock, handler=handler)

@pytest.fixture
async def running(session_manager, simulated_clock):
    async def handler(event):
        assert event is None, "in a teardown"

    yield lambda: None
    await day(session_manager, simulated_clock, handler=handler)

async def test_teardown(running):
    running()
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_a_roll_or_a_handler_asserts_fails_its_test(pytester: pytest.Pytester, backend: str) -> None:
    """Though the manager survives it; the test's own failure is shown where it has one, and other errors are events."""
    pytester.makepyfile(USE + ASSERTING.replace("BACKEND", repr(backend)))
    result = pytester.runpytest_inprocess(*QUIET)
    result.assert_outcomes(failed=5, passed=2, errors=1)
    text = result.stdout.str()
    for said in ("the first attempt", "in a group", "in a handler", "in a handler of failures", "in a teardown"):
        assert f"AssertionError: {said}" in text
    assert 'KeyError: "the test\'s own"' in text
    assert "a roll or a handler has failed before: AssertionError('in a handler, too" in text.replace('"in', "'in")


DIFFERING = """
from datetime import date, timedelta
from msgspec.structs import replace
from session_lifecycle import Alarm, AlarmFired, Halted, HandlerFailed, Session, SessionState
from tests.helpers.builders import DAY, MONDAY, utc

NOON = utc(2024, 3, 4, 12)
FIRED = AlarmFired(Alarm("open"), MONDAY, NOON, NOON, SessionState.ACTIVE)
HALTED = Halted("news", MONDAY)

def test_fields():
    assert FIRED == replace(FIRED, alarm=Alarm("open", DAY), catch_up=True)

def test_place():
    assert [HALTED, FIRED, HALTED] == [HALTED, replace(FIRED, state=SessionState.ERROR), FIRED]

def test_kinds():
    assert (FIRED, HALTED) == (FIRED, FIRED)

def test_length():
    assert [FIRED] == [FIRED, HALTED, HALTED]

def test_others():
    assert [1, 2] == [1, 3]

def test_plain():
    assert HALTED == 5

def test_order():
    assert [HALTED] != [HALTED]
"""


def test_two_values_are_compared_by_their_fields(pytester: pytest.Pytester) -> None:
    """What differs stands there, left and right, and of two lists the first place; anything else is left to pytest."""
    pytester.makepyfile(USE + DIFFERING)
    result = pytester.runpytest_inprocess(*QUIET, "-vv")
    result.assert_outcomes(failed=7)
    lines = [line[1:].strip() for line in result.stdout.lines if line.startswith("E ")]
    alarm = "datetime.timedelta(days=1)"
    assert f"alarm.offset: datetime.timedelta(0) != {alarm}" in lines
    assert "catch_up: False != True" in lines
    assert not [line for line in lines if line.startswith(("session:", "name:", "alarm:"))]
    at = lines.index("first difference at [1]")
    assert lines[at + 1].startswith("[1].state: <SessionState.ACTIVE: 'active'> != <SessionState.ERROR: 'error'>")
    assert [line for line in lines if line.startswith("[1]: Halted(reason='news'")]
    at = lines.index("lengths: 1 != 3")
    assert lines[at + 1].startswith("[1]: only the right has Halted(reason='news'")
    assert "At index 1 diff: 2 != 3" in lines


def test_it_is_opt_in(pytester: pytest.Pytester) -> None:
    """Without asking for it there is no such fixture; `-p` is the other way to ask."""
    pytester.makepyfile("def test_default(simulated_clock):\n    pass\n")
    pytester.runpytest_inprocess(*QUIET).assert_outcomes(errors=1)
    pytester.runpytest_inprocess(*QUIET, "-p", PLUGIN).assert_outcomes(passed=1)


WITHOUT = """
import sys
sys.modules.update(dict.fromkeys({missing}))
import session_lifecycle.testing
import {module}
"""


@pytest.mark.parametrize(
    ("module", "missing"),
    [("session_lifecycle.testing", ["hypothesis", "pytest", "_pytest"]), (PLUGIN, ["hypothesis"])],
)
def test_hypothesis_is_needed_by_the_strategies_alone(module: str, missing: list[str]) -> None:
    """The kit imports without it, and the plugin too."""
    subprocess.run([sys.executable, "-c", WITHOUT.format(module=module, missing=missing)], check=True)


def test_strategies_without_hypothesis_say_what_is_missing() -> None:
    """In one line."""
    code = WITHOUT.format(module="session_lifecycle.testing.strategies", missing=["hypothesis"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ImportError: session_lifecycle.testing.strategies needs Hypothesis: pip install 'session_lifecycle[testing]'"
    )
