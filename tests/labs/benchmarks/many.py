"""What thousands of managers in one group cost: to cross a boundary together, when nothing happens, and to keep."""

import gc
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from heapq import heappop, heappush

import anyio

from session_lifecycle import (
    Clock,
    Event,
    FixedSchedule,
    LifecycleConfig,
    Session,
    SessionBoundaryManager,
    SessionGroup,
    StateChanged,
    SystemClock,
)
from session_lifecycle.testing import SimulatedClock
from tests.labs.benchmarks.rows import Row, interleaved

MANY = 10_000
AHEAD = timedelta(seconds=2)
IDLE_SECONDS = 10.0


async def no_roll(_: date) -> None:
    """Roll nothing."""


def hours(opening: datetime) -> FixedSchedule:
    """Return sixty days' sessions of six hours, the first of which opens then: no horizon is near."""
    days = [timedelta(days=number) for number in range(60)]
    return FixedSchedule(
        [Session(opening.date() + day, opening + day, opening + day + timedelta(hours=6)) for day in days]
    )


def group_of(number: int, schedule: FixedSchedule, clock: Clock | None = None) -> SessionGroup:
    """Return a group of managers with names of their own, by default on the real clock."""
    config = LifecycleConfig()
    return SessionGroup(
        [SessionBoundaryManager(schedule, no_roll, config=config, clock=clock, name=f"{n}") for n in range(number)]
    )


async def last_opened(events: AsyncIterator[Event]) -> None:
    """Read until every manager has told that it has opened."""
    opened = 0
    async for event in events:
        if isinstance(event, StateChanged) and event.trigger == "open_market":
            opened += 1
            if opened == MANY:
                return
    raise AssertionError(opened)


def crossing() -> float:
    """Return how long after the open the last of as many managers' events has come to a reader of the group."""

    async def run() -> float:
        opening = datetime.now(UTC) + AHEAD
        group = group_of(MANY, hours(opening))
        events = group.events()
        async with group:
            gc.collect()
            await last_opened(events)
            return (datetime.now(UTC) - opening).total_seconds()

    return anyio.run(run)


def crossing_simulated() -> float:
    """Return the same by a simulated clock: what it takes, without the waking up."""

    async def run() -> float:
        opening = datetime(2024, 11, 27, 14, 30, tzinfo=UTC)
        clock = SimulatedClock(opening - timedelta(hours=1))
        group = group_of(MANY, hours(opening), clock)
        events = group.events()
        took = 0.0

        async def read() -> None:
            nonlocal took
            await last_opened(events)
            took = time.perf_counter() - began

        async with group, anyio.create_task_group() as tasks:
            began = time.perf_counter()
            tasks.start_soon(read)
            await clock.advance(timedelta(0))
            gc.collect()
            began = time.perf_counter()
            await clock.advance_to(opening)
        return took

    return anyio.run(run)


def sleeping_tasks() -> float:
    """Return how long after an instant the last of as many anyio tasks that slept until then has run."""

    async def run() -> float:
        instant = datetime.now(UTC) + AHEAD
        last = instant

        async def sleep() -> None:
            nonlocal last
            await anyio.sleep(max(0.0, (instant - datetime.now(UTC)).total_seconds()))
            last = max(last, datetime.now(UTC))

        async with anyio.create_task_group() as tasks:
            for _ in range(MANY):
                tasks.start_soon(sleep)
        return (last - instant).total_seconds()

    gc.collect()
    return anyio.run(run)


def heap_of_callbacks() -> float:
    """Return the seconds to put as many callbacks into a heap, by instant and number, and to pop and call each."""
    due = datetime(2024, 11, 27, 14, 30, tzinfo=UTC)
    called: list[datetime] = []
    heap: list[tuple[datetime, int, Callable[[datetime], None]]] = []
    gc.collect()
    began = time.perf_counter()
    for number in range(MANY):
        heappush(heap, (due, number, called.append))
    while heap and heap[0][0] <= due:
        heappop(heap)[2](due)
    return time.perf_counter() - began


def idle(members: int) -> float:
    """Return the seconds of processor time of ten seconds in which nothing happens to as many members.

    With no member, a bare program sleeps in the same slices.
    """

    async def doze() -> None:
        while True:  # noqa: ASYNC110 -- the poll is the subject
            await anyio.sleep(SystemClock().check_interval.total_seconds())

    async def counted() -> float:
        gc.collect()
        await anyio.sleep(0.5)
        before = time.process_time()
        await anyio.sleep(IDLE_SECONDS)
        return time.process_time() - before

    async def run() -> float:
        if members:
            async with group_of(members, hours(datetime.now(UTC) - timedelta(hours=1))):
                return await counted()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(doze)
            took = await counted()
            tasks.cancel_scope.cancel()
        return took

    return anyio.run(run)


def kept() -> tuple[float, float]:
    """Return what one more member of a running group takes, its name included.

    In bytes, and in objects that the garbage collector walks.
    """
    schedule = hours(datetime.now(UTC) - timedelta(hours=1))

    async def run(number: int) -> tuple[int, int]:
        async with group_of(number, schedule):
            gc.collect()
            return tracemalloc.get_traced_memory()[0], len(gc.get_objects())

    anyio.run(run, 10)
    tracemalloc.start()
    try:
        few, many = anyio.run(run, 1_000), anyio.run(run, 3_000)
    finally:
        tracemalloc.stop()
    return (many[0] - few[0]) / 2_000, (many[1] - few[1]) / 2_000


def of_crossing() -> Iterator[Row]:
    """Measure ten thousand managers that cross a boundary together."""
    path = f"{MANY:,} managers crossing one boundary"
    ours, heap = interleaved(crossing_simulated, heap_of_callbacks)
    yield Row(path, ours, "as many callbacks through a heap", heap, 1.6)
    ours, tasks = interleaved(crossing, sleeping_tasks, repeats=3)
    yield Row(f"{path}, real clock", ours, "as many sleeping anyio tasks", tasks, 0.12)


def of_idle() -> Iterator[Row]:
    """Measure ten thousand managers to which nothing happens."""
    ours, bare = interleaved(lambda: idle(MANY), lambda: idle(0), repeats=1)
    yield Row(f"{MANY:,} managers, idle, for ten seconds", ours, "a bare program that sleeps likewise", bare, 1.3)


def of_memory() -> Iterator[Row]:
    """Measure what one more member takes."""
    size, objects = kept()
    yield Row("memory for one more member of a group", size, "700 B", 700, 1, unit="B")
    yield Row("its objects that the collector walks", objects, "6", 6, 1, unit="objects")
