"""What thousands of managers in one group cost: to cross a boundary together, when nothing happens, and to keep."""

import gc
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
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
)
from session_lifecycle.testing import SimulatedClock

MANY = 10_000
AHEAD = timedelta(seconds=2)
IDLE_SECONDS = 5.0


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


def idle() -> float:
    """Return the seconds of processor time that as many managers take in a second in which nothing happens."""

    async def run() -> float:
        async with group_of(MANY, hours(datetime.now(UTC) - timedelta(hours=1))):
            gc.collect()
            await anyio.sleep(0.5)
            before = time.process_time()
            await anyio.sleep(IDLE_SECONDS)
            return (time.process_time() - before) / IDLE_SECONDS

    return anyio.run(run)


def kept() -> float:
    """Return the bytes that one more member of a running group takes, its name included."""
    schedule = hours(datetime.now(UTC) - timedelta(hours=1))

    async def run(number: int) -> int:
        async with group_of(number, schedule):
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

    anyio.run(run, 10)
    tracemalloc.start()
    try:
        few, many = anyio.run(run, 1_000), anyio.run(run, 3_000)
    finally:
        tracemalloc.stop()
    return (many - few) / 2_000
