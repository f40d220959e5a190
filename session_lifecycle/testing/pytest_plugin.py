"""Fixtures for pytest; and in the report of a failing test, the diary of its scripted day, and values by their fields.

It is opt-in: `pytest_plugins = ["session_lifecycle.testing.pytest_plugin"]` in a test module or the topmost conftest,
or `pytest -p session_lifecycle.testing.pytest_plugin`. The fixtures are plain ones that await nothing, so they serve
tests under anyio's plugin, pytest-asyncio, pytest-trio, and tests that call `anyio.run`.
"""

import traceback
from collections.abc import Generator, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, cast

import msgspec
import pytest

from session_lifecycle._model.errors import describe
from session_lifecycle._model.events import Event, HandlerFailed, RollFailed
from session_lifecycle._runtime.host import RollSession
from session_lifecycle._runtime.manager import SessionBoundaryManager
from session_lifecycle._schedules.base import Schedule
from session_lifecycle.testing.clock import SimulatedClock
from session_lifecycle.testing.recorder import Recorder, assertion_in, record
from session_lifecycle.testing.result import Result

__all__ = ["ManagerFactory", "session_manager", "simulated_clock", "simulated_start"]

DIARY: Final = "diary of the scripted day"
"""The heading under which a report shows it."""

_SHORT: Final = 120
"""How many characters of a whole value stand above the fields that differ."""


class ManagerFactory:
    """Creates managers in simulated time: call it like `SessionBoundaryManager`, and enter the manager it returns.

    The default `schedule` is New York's, the default `roll_session` succeeds at once. `rolled_to` has the target date
    of each attempt at a roll. An AssertionError in a roll or a handler, which a manager survives, fails the test.
    """

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock: Final = clock
        self.rolled_to: Final[list[date]] = []
        self._failed: list[AssertionError] = []
        self._recorders: list[Recorder] = []

    def __call__(
        self,
        schedule: Schedule | str = "XNYS",
        roll_session: RollSession | None = None,
        **options: Any,  # noqa: ANN401 -- the class has the types
    ) -> SessionBoundaryManager:
        """Return a manager with the simulated clock; the options are those of `SessionBoundaryManager`."""

        async def recorded(next_date: date) -> None:
            self.rolled_to.append(next_date)
            if roll_session is not None:
                await roll_session(next_date)

        options["clock"] = self.clock
        manager = SessionBoundaryManager(schedule, recorded, **options)
        self._recorders.append(Recorder(self._take))
        record(manager, self._recorders[-1])
        return manager

    def _take(self, event: Event) -> None:
        if isinstance(event, HandlerFailed | RollFailed):
            failed = assertion_in(event.error)
            if failed is not None:
                self._failed.append(failed)

    def take_assertions(self) -> list[AssertionError]:
        """Return each AssertionError of a roll or a handler since the last call."""
        failed, self._failed = self._failed, []
        return failed

    def raise_assertion(self) -> None:
        """Raise the first AssertionError of a roll or a handler since the last call; nothing where there was none."""
        for failed in self.take_assertions():
            raise failed


@pytest.fixture
def simulated_start() -> datetime:
    """Return the start of `simulated_clock`: a Monday, half an hour before the open in New York.

    Override it by a fixture of the same name in a conftest, a module or a class, or for one test by
    `@pytest.mark.parametrize("simulated_start", [...])`.
    """
    return datetime(2024, 3, 4, 14, 0, tzinfo=UTC)


@pytest.fixture
def simulated_clock(simulated_start: datetime) -> SimulatedClock:
    """Return a `SimulatedClock` at `simulated_start`."""
    return SimulatedClock(simulated_start)


@pytest.fixture
def session_manager(simulated_clock: SimulatedClock) -> Generator[ManagerFactory]:
    """Return a factory of managers with `simulated_clock`. Enter a manager with `async with`."""
    factory = ManagerFactory(simulated_clock)
    yield factory
    factory.raise_assertion()  # of what ran on after the test, in the teardown of another fixture


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Fail a test that has passed, where a roll or a handler under `session_manager` has asserted in vain."""
    factories = [each for each in getattr(item, "funcargs", {}).values() if isinstance(each, ManagerFactory)]
    try:
        yield
    except BaseException as error:
        for failed in (failed for factory in factories for failed in factory.take_assertions()):
            error.add_note(f"a roll or a handler has failed before: {describe(failed)}")
        raise
    for factory in factories:
        factory.raise_assertion()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report of a failing test the diaries of the results that it holds."""
    report = yield
    if report.failed and call.excinfo is not None:
        results = {id(result): result for result in _held(call.excinfo.value)}
        report.sections += [(DIARY, repr(result)) for result in results.values()]
    return report


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Explain why two events, or two other values, are not equal: the fields that differ, left and right.

    Of two lists or tuples of them, the first place that differs is explained.
    """
    if op != "==" or type(left) is not type(right):
        return None
    both, lines = (left, right), list[str]()
    if isinstance(left, msgspec.Struct):
        lines += _differences("", left, right)
    elif isinstance(left, list | tuple):
        lines += _first_difference(cast("Sequence[object]", left), cast("Sequence[object]", right))
    return [" == ".join(map(_shortened, both)), *lines] if lines else None


def _first_difference(left: Sequence[object], right: Sequence[object]) -> list[str]:
    """Return the lines about the first place at which two sequences differ; none where no Struct stands there."""
    if not any(isinstance(each, msgspec.Struct) for each in (*left, *right)):
        return []  # the elements may be of kinds whose comparison has no truth value, such as arrays
    at = next((n for n, (ours, theirs) in enumerate(zip(left, right, strict=False)) if ours != theirs), None)
    if at is None:
        at = min(len(left), len(right))
    ours, theirs = left[at : at + 1], right[at : at + 1]
    if not any(isinstance(each, msgspec.Struct) for each in (*ours, *theirs)):
        return []
    where = f"[{at}]"
    lines = [f"lengths: {len(left)} != {len(right)}"] if len(left) != len(right) else []
    if not ours or not theirs:
        return [*lines, f"{where}: only the {'right' if theirs else 'left'} has {_shortened((*ours, *theirs)[0])}"]
    return [*lines, f"first difference at {where}", *_differences(where, ours[0], theirs[0])]


def _differences(path: str, left: object, right: object) -> Iterator[str]:
    """Yield a line for each field that differs, also of Structs that are fields."""
    if not isinstance(left, msgspec.Struct) or type(left) is not type(right):
        yield f"{path}: {left!r} != {right!r}"
        return
    for name in left.__struct_fields__:
        ours, theirs = getattr(left, name), getattr(right, name)
        if ours != theirs:
            yield from _differences(f"{path}.{name}" if path else name, ours, theirs)


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 3]}..."


def _held(error: BaseException) -> Iterator[Result[object]]:
    """Yield the results in the frames that an error has passed; of a group, as Hypothesis raises, those of each."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        yield from (value for value in frame.f_locals.values() if isinstance(value, Result))
    if isinstance(error, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _held(inner)
