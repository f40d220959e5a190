"""Measure the paths that matter, each beside its floor in the same run, and print the ratios.

Run it as `python -m tests.benchmarks`; with `--calendars` it prints what each calendar costs instead. Medians of
interleaved repeats; compare the ratios, not the figures, between machines. Nothing here passes or fails.
"""

import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import anyio

from session_lifecycle import (
    Entry,
    ExchangeSchedule,
    FileJournal,
    FixedSchedule,
    LifecycleConfig,
    Record,
    Session,
    SessionBoundaryManager,
    StateChanged,
    replay,
)
from session_lifecycle.testing import SimulatedClock
from tests.simulation.hours import NAMES

REPEATS = 5
BOUNDARIES = 40
SPACING = timedelta(milliseconds=50)


def interleaved(*arms: Callable[[], float]) -> list[float]:
    """Run the arms in turn, `REPEATS` times, and return each one's median."""
    rounds = [[arm() for arm in arms] for _ in range(REPEATS)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


async def no_roll(_: date) -> None:
    """Roll nothing."""


def lateness(backend: str) -> tuple[float, float]:
    """Return the median lateness, in seconds, of a manager's boundaries and of bare sleeps to the same instants."""

    async def by_manager(schedule: FixedSchedule) -> list[float]:
        late: list[float] = []
        config = LifecycleConfig(pre_market=timedelta(0), post_market_roll_delay=timedelta(0), data_timeout=None)
        manager = SessionBoundaryManager(schedule, no_roll, config=config)
        events = manager.events()
        async with manager:
            async for event in events:
                if isinstance(event, StateChanged) and event.trigger in ("open_market", "close_market"):
                    late.append(event.lateness.total_seconds())
                    if len(late) == BOUNDARIES:
                        break
        return late

    async def by_sleep(instants: list[datetime]) -> list[float]:
        late: list[float] = []
        for instant in instants:
            await anyio.sleep((instant - datetime.now(UTC)).total_seconds())
            late.append((datetime.now(UTC) - instant).total_seconds())
        return late

    async def both() -> tuple[float, float]:
        start = datetime.now(UTC) + timedelta(milliseconds=200)
        instants = [start + SPACING * number for number in range(BOUNDARIES + 2)]
        sessions = [
            Session(start.date() + timedelta(days=number), opened, closed)
            for number, (opened, closed) in enumerate(zip(instants[::2], instants[1::2], strict=True))
        ]
        managed: list[float] = []
        slept: list[float] = []

        async def first() -> None:
            managed.extend(await by_manager(FixedSchedule(sessions)))

        async def second() -> None:
            slept.extend(await by_sleep(instants[:BOUNDARIES]))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            tasks.start_soon(second)
        return statistics.median(managed), statistics.median(slept)

    return anyio.run(both, backend=backend)


class Bare:
    """The floor of the hot path: one method that stores the monotonic time."""

    def __init__(self) -> None:
        self.arrival = 0.0

    def record(self) -> None:
        """Store it."""
        self.arrival = time.monotonic()


def hot_paths(schedule: ExchangeSchedule) -> tuple[float, float, float]:
    """Return the seconds for one `record_data_received()`, one `feed.record()` and one bare store."""
    manager = SessionBoundaryManager(schedule, no_roll)
    bare = Bare().record
    count = 200_000

    def loop(call: Callable[[], None]) -> Callable[[], float]:
        def run() -> float:
            began = time.perf_counter()
            for _ in range(count):
                call()
            return (time.perf_counter() - began) / count

        return run

    ours, feed, floor = interleaved(
        loop(manager.record_data_received), loop(manager.add_feed("one").record), loop(bare)
    )
    return ours, feed, floor


FEEDS = 10_000


def lively_feeds(schedule: ExchangeSchedule) -> tuple[float, float]:
    """Return the seconds for a million messages, one a second from each of 10,000 feeds, and for as many bare stores.

    With everything that the manager does meanwhile, in simulated time.
    """

    async def run(watched: int) -> float:
        clock = SimulatedClock(datetime(2024, 6, 3, 14, 0, tzinfo=UTC))
        manager = SessionBoundaryManager(schedule, no_roll, clock=clock)
        records = [manager.add_feed(f"{n}", timeout=timedelta(seconds=30)).record for n in range(watched)]
        records += [Bare().record for _ in range(FEEDS - watched)]
        async with manager:
            began = time.perf_counter()
            for _ in range(1_000_000 // FEEDS):
                await clock.advance(timedelta(seconds=1))
                for record in records:
                    record()
            return time.perf_counter() - began

    ours, floor = interleaved(lambda: anyio.run(run, FEEDS), lambda: anyio.run(run, 0))
    return ours, floor


def quiet_feeds(schedule: ExchangeSchedule) -> tuple[float, float]:
    """Return the seconds that a minute costs in which 10,000 feeds say nothing, and one in which there are none."""

    async def run(watched: int) -> float:
        clock = SimulatedClock(datetime(2024, 6, 3, 14, 0, tzinfo=UTC))
        manager = SessionBoundaryManager(schedule, no_roll, clock=clock)
        feeds = [manager.add_feed(f"{n}", timeout=timedelta(seconds=90)) for n in range(watched)]
        async with manager:
            await clock.advance(timedelta(minutes=1))
            for feed in feeds:
                feed.record()
            began = time.perf_counter()
            await clock.advance(timedelta(minutes=1))  # at 90 seconds, their deadlines are looked at
            return time.perf_counter() - began

    ours, floor = interleaved(lambda: anyio.run(run, FEEDS), lambda: anyio.run(run, 0))
    return ours, floor


def year(schedule: ExchangeSchedule) -> int:
    """Run XNYS through 2024 with a manager in simulated time, and return the number of transitions."""

    async def run() -> int:
        clock = SimulatedClock(datetime(2024, 1, 1, tzinfo=UTC))
        manager = SessionBoundaryManager(schedule, no_roll, clock=clock)
        events = manager.events()
        async with manager:
            await clock.advance_to(datetime(2025, 1, 1, tzinfo=UTC))
        return sum([1 async for event in events if isinstance(event, StateChanged)])

    return anyio.run(run)


def imported(*statements: str) -> list[float]:
    """Return the seconds that each statement takes in a fresh interpreter, less the interpreter's own start."""
    code = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"

    def arm(statement: str) -> Callable[[], float]:
        command = [sys.executable, "-c", code.format(statement)]
        return lambda: float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    return interleaved(*map(arm, statements))


_STATE = """
from datetime import UTC, datetime, timedelta
from session_lifecycle import ExchangeSchedule, SessionLifecycle
from session_lifecycle.clock import Reading
core = SessionLifecycle(ExchangeSchedule({name!r}))
core.begin(Reading(datetime.now(UTC), timedelta(0)))
core.state
"""
_CALENDAR = "import exchange_calendars; exchange_calendars.get_calendar({name!r})"


def started(name: str) -> tuple[float, float]:
    """Return the seconds from a fresh interpreter to the first state of a calendar, and to the bare calendar."""
    ours, floor = imported(*(f"exec({text.format(name=name)!r})" for text in (_STATE, _CALENDAR)))
    return ours, floor


def extensions() -> None:
    """Print what it costs to make a schedule for this year, and to extend it by the next, for each calendar."""
    now = datetime.now(UTC)
    for name in NAMES:
        made = timed(lambda name=name: ExchangeSchedule(name, near=now))
        schedule = ExchangeSchedule(name, near=now)
        ahead = min(date(now.year + 2, 1, 1), schedule.known_until)
        extended = timed(lambda schedule=schedule, ahead=ahead: schedule.sessions(ahead, ahead))
        print(f"{name:<8} made {_scaled(made):>12}   extended by a year {_scaled(extended):>12}")


def journal() -> tuple[float, float]:
    """Return the seconds for one append to a journal, and for writing and syncing the same bytes."""
    at = datetime(2024, 11, 29, 21, 30, tzinfo=UTC)
    record = Record(Entry.FAILED, date(2024, 11, 29), at, note="as long as a reason usually is: " + "x" * 60)
    with tempfile.TemporaryDirectory() as folder:
        ours = FileJournal(Path(folder) / "journal")
        ours.open("XNYS")
        ours.append(Record(Entry.ADOPTED, date(2024, 11, 29), at))
        before = ours.path.stat().st_size
        ours.append(record)
        line = b"x" * (ours.path.stat().st_size - before)
        fd = os.open(Path(folder) / "plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def written() -> None:
            os.write(fd, line)
            os.fsync(fd)

        # One call of each in turn: what a disk takes drifts within milliseconds.
        pairs = [(timed(lambda: ours.append(record)), timed(written)) for _ in range(300)]
        os.close(fd)
        ours.close()
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def row(path: str, ours: float, against: str, floor: float) -> None:
    """Print one comparison."""
    print(f"{path:<42} {_scaled(ours):>12}   {against:<34} {_scaled(floor):>12}   {ours / floor:8.2f} ×")


def _scaled(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if abs(seconds) * scale >= 1:
            return f"{seconds * scale:.2f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def main() -> None:
    """Print the table."""
    # Log records are made, as in an application, but not shown.
    logger = logging.getLogger("session_lifecycle")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    schedule = ExchangeSchedule("XNYS", near=datetime(2024, 6, 1, tzinfo=UTC))
    schedule.sessions(date(2004, 12, 1), date(2025, 2, 1))
    for backend in ("asyncio", "trio"):
        row(
            f"lateness of a boundary, median, {backend}",
            *_between(lateness(backend), "anyio.sleep to the same instants"),
        )
    ours, feed, floor = hot_paths(schedule)
    row("record_data_received()", ours, "a bare method storing monotonic()", floor)
    row("feed.record()", feed, "a bare method storing monotonic()", floor)
    row("feed.record()", feed, "record_data_received()", ours)
    row("1,000,000 messages over 10,000 feeds", *_between(lively_feeds(schedule), "1,000,000 bare stores"))
    row("a quiet minute with 10,000 feeds", *_between(quiet_feeds(schedule), "a quiet minute with none"))
    row("an append to a FileJournal", *_between(journal(), "write and fsync of the same bytes"))
    edges = list(replay(schedule, datetime(2005, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)))

    def built() -> None:
        for e in edges:
            StateChanged(e.source, e.dest, e.trigger, e.session, e.scheduled_at, e.observed_at)

    def replayed() -> None:
        for _ in replay(schedule, datetime(2005, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)):
            pass

    ours, floor = interleaved(lambda: timed(replayed), lambda: timed(built))
    row(f"replay of 20 years of XNYS, {len(edges)} edges", ours, "building the same event objects", floor)
    ours, floor = imported("from session_lifecycle import SessionBoundaryManager", "import anyio, transitions")
    row("import of the package", ours, "import anyio, transitions", floor)
    for name in ("XNYS", "CMES", "XHKG", "XKRX"):
        row(f"cold start to the first state, {name}", *_between(started(name), "exchange_calendars.get_calendar()"))
    transitions = year(schedule)
    (ours,) = interleaved(lambda: timed(lambda: year(schedule)))
    print(f"{'a year of XNYS, manager and simulated clock':<42} {_scaled(ours):>12}   ({transitions} transitions)")


def _between(pair: tuple[float, float], against: str) -> tuple[float, str, float]:
    return pair[0], against, pair[1]


if __name__ == "__main__":
    extensions() if "--calendars" in sys.argv else main()
