"""What it takes to start: the import, and the first state from a calendar or from a file."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

from session_lifecycle import ExchangeSchedule, write_snapshot
from tests.labs.benchmarks.rows import Row, interleaved, scaled, timed
from tests.labs.simulation.hours import NAMES


def imported(*statements: str) -> list[float]:
    """Return the seconds that each statement takes in a fresh interpreter, less the interpreter's own start.

    With bytecode that is there already, as for an installed package, and with the files in the system's cache.
    """
    code = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def arm(statement: str) -> Callable[[], float]:
            command = [sys.executable, "-c", code.format(statement)]
            return lambda: float(
                subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
            )

        arms = [arm(statement) for statement in statements]
        for each_arm in arms:
            each_arm()
        return interleaved(*arms, repeats=3)


_STATE = """
from datetime import UTC, datetime, timedelta
from session_lifecycle import ExchangeSchedule, SessionLifecycle
from session_lifecycle._model.clock import Reading
core = SessionLifecycle(ExchangeSchedule({name!r}))
core.begin(Reading(datetime.now(UTC), timedelta(0)))
core.state
"""
_CALENDAR = "import exchange_calendars; exchange_calendars.get_calendar({name!r})"


def started(name: str) -> tuple[float, float]:
    """Return the seconds from a fresh interpreter to the first state of a calendar, and to the bare calendar."""
    ours, floor = imported(*(f"exec({text.format(name=name)!r})" for text in (_STATE, _CALENDAR)))
    return ours, floor


_PINNED = """
from datetime import UTC, datetime, timedelta
from session_lifecycle import SessionLifecycle, SnapshotSchedule
from session_lifecycle._model.clock import Reading
core = SessionLifecycle(SnapshotSchedule.load({path!r}))
core.begin(Reading(datetime.now(UTC), timedelta(0)))
core.state
"""


def pinned() -> tuple[float, float]:
    """Return the seconds from a fresh interpreter to the first state, by twenty years in a file and by the calendar."""
    this_year = datetime.now(UTC).year
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "hours.toml")
        write_snapshot(ExchangeSchedule("XNYS"), path, date(this_year - 18, 1, 1), date(this_year + 1, 12, 31))
        ours, floor = imported(*(f"exec({text!r})" for text in (_PINNED.format(path=path), _STATE.format(name="XNYS"))))
    return ours, floor


def commanded(*args: str) -> tuple[float, float]:
    """Return the seconds of a command, its whole process: with what an earlier one has kept, and with nothing kept."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PYTHONPYCACHEPREFIX": f"{folder}/compiled"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def run(cache: str) -> None:
            command = [sys.executable, "-m", "session_lifecycle", *args]
            subprocess.run(
                command, check=True, stdout=subprocess.DEVNULL, env=environment | {"SESSION_LIFECYCLE_CACHE": cache}
            )

        run(f"{folder}/kept")
        ours, floor = interleaved(lambda: timed(lambda: run(f"{folder}/kept")), lambda: timed(lambda: run("")))
    return ours, floor


def extensions() -> None:
    """Print what it costs to make a schedule for this year, and to extend it by the next, for each calendar."""
    now = datetime.now(UTC)
    for name in NAMES:
        made = timed(lambda name=name: ExchangeSchedule(name, near=now))
        schedule = ExchangeSchedule(name, near=now)
        ahead = min(date(now.year + 2, 1, 1), schedule.known_until)
        extended = timed(lambda schedule=schedule, ahead=ahead: schedule.sessions(ahead, ahead))
        print(f"{name:<8} made {scaled(made):>12}   extended by a year {scaled(extended):>12}")


def of_imports() -> Iterator[Row]:
    """Measure the import."""
    ours, floor = imported("from session_lifecycle import SessionBoundaryManager", "import anyio, transitions")
    yield Row("import of the package", ours, "import anyio, transitions", floor, 2.2)


def of_starts() -> Iterator[Row]:
    """Measure from the start of the interpreter to the first state."""
    for name in ("XNYS", "CMES", "XHKG", "XKRX"):
        ours, floor = started(name)
        yield Row(f"cold start to the first state, {name}", ours, "exchange_calendars.get_calendar()", floor)
    ours, floor = pinned()
    yield Row("cold start to the first state, a snapshot", ours, "ExchangeSchedule of the same", floor, 0.5)
    ours, floor = commanded("status", "XNYS")
    yield Row("status XNYS, the whole process", ours, "without what an earlier one kept", floor, 0.4)
