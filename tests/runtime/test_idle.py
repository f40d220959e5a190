"""A manager that has nothing to do holds on to nothing more: no tasks, no descriptors, no memory.

The bounds on memory are those of the interpreter's own free lists, some kilobytes, and far below what would come of one
object kept for each wake, call or wait. What is counted is the whole process, and another thread of the test runner may
fill a cache of its own meanwhile: so a span that has grown too much is run again, twice at most. What is kept for each
wake is kept in every span.
"""

import asyncio
import gc
import logging
import os
import tracemalloc
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio
import pytest
import trio

from session_lifecycle import Journal, LifecycleConfig, SessionBoundaryManager, SessionState, SystemClock
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import MONDAY, at, weekdays
from tests.helpers.harness import (
    ACTIVE,
    DEAF,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    make,
    roll_nothing,
)

pytestmark = pytest.mark.anyio

DESCRIPTORS = Path("/proc/self/fd")
KIB = 1024
NUDGE = timedelta(milliseconds=1)


def tasks_now() -> int:
    """Return how many tasks there are."""
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:  # trio
        return trio.lowlevel.current_statistics().tasks_living


def descriptors_now() -> int:
    """Return how many files and sockets the process has open; nothing to go by where there is no /proc."""
    return len(os.listdir(DESCRIPTORS)) if DESCRIPTORS.exists() else 0  # noqa: PTH208 -- iterating opens one


class Held:
    """What the process holds, from the construction on, and how much more of it there is by now."""

    def __init__(self) -> None:
        gc.collect()  # what an earlier test has left, and will be closed with it
        self.tasks, self.descriptors = tasks_now(), descriptors_now()

    @property
    def growth(self) -> tuple[int, int]:
        """Tasks and descriptors."""
        return tasks_now() - self.tasks, descriptors_now() - self.descriptors


async def growth_in_bytes(span: Callable[[], Awaitable[object]], bound: int) -> int:
    """Return how much memory Python has allocated in a span and not freed: of the first of three that is in bounds."""
    grown = bound
    for _ in range(3):
        gc.collect()
        tracemalloc.start()
        await span()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        if grown < bound:
            break
    return grown


@pytest.fixture(autouse=True)
def _nothing_else_is_kept(caplog):
    """Keep pytest from collecting log records, and stop counting allocations in the end."""
    caplog.set_level(logging.CRITICAL, logger="session_lifecycle")
    yield
    tracemalloc.stop()


def make_idle(clock: SimulatedClock | SystemClock, journal: Journal) -> SessionBoundaryManager:
    """Return a manager in mid-session, with its journal open and a watch for silence that will not run out."""
    config = LifecycleConfig(data_timeout=timedelta(days=1), check_interval=timedelta(milliseconds=10))
    return SessionBoundaryManager("24/7", roll_nothing, clock=clock, config=config, journal=journal)


@pytest.mark.costly
async def test_an_idle_hour_in_simulated_time(journals):
    """Woken every five seconds for nothing, by a nudge to the wall clock, an hour leaves nothing behind."""
    clock = SimulatedClock(at(MONDAY, (15, 0)))
    async with make_idle(clock, journals()) as manager:

        async def idle_minute() -> None:
            for number in range(12):
                clock.step(NUDGE if number % 2 else -NUDGE)
                await clock.advance(5 * SECOND)

        async def idle_hour() -> None:
            for _ in range(60):
                await idle_minute()
                assert held.growth == (0, 0)

        await idle_minute()  # caches fill, once
        held = Held()
        assert await growth_in_bytes(idle_hour, 16 * KIB) < 16 * KIB
        assert manager.state is ACTIVE
        assert manager.status().observed_at > at(MONDAY, (16, 0))


@pytest.mark.costly
async def test_an_hour_of_reading_and_recording():
    """Reads, data and snapshots, thousands of them, are forgotten as soon as they are made."""
    manager, clock = make(at(MONDAY, (15, 0)), config=LifecycleConfig())
    async with manager:

        async def busy_minute() -> None:
            for _ in range(40):
                manager.record_data_received()
                manager.status().as_dict()
                assert manager.can_trade
            await clock.advance(MINUTE)

        async def busy_minutes(count: int = 60) -> None:
            for _ in range(count):
                await busy_minute()

        await busy_minutes(25)
        held = Held()
        # 14 bytes for each read: less than the smallest object that could be kept
        assert await growth_in_bytes(busy_minutes, 32 * KIB) < 32 * KIB
        assert held.growth == (0, 0)


@pytest.mark.costly
async def test_waits_that_are_given_up_leave_nothing_behind():
    """A `wait_for` that is cancelled, and a reader that is dropped, are not kept for the manager's lifetime."""
    manager, clock = make(at(MONDAY, (15, 0)), config=DEAF)
    async with manager:

        async def give_up() -> None:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(manager.wait_for, SessionState.ERROR)
                    await clock.advance(NOW)
                    scope.cancel()
            manager.events()

        async def give_up_often(times: int = 1000) -> None:
            for _ in range(times):
                await give_up()

        await give_up_often(200)  # as many as fill every free list
        held = Held()
        # 65 bytes for each: less than the smallest object that could be kept
        assert await growth_in_bytes(give_up_often, 64 * KIB) < 64 * KIB
        assert held.growth == (0, 0)


@pytest.mark.costly
async def test_weeks_of_sessions_grow_no_heap(monkeypatch):
    """Sessions, deadlines and rolls that are over are let go of. What is kept by number of them fills up before."""
    for bounded in ("_core.timeline._MOST_BOUNDS", "_core.timeline._MOST_POSITIONS", "_runtime.cohorts._MAX_COHORTS"):
        monkeypatch.setattr(f"session_lifecycle.{bounded}", 5)
    manager, clock = make(at(MONDAY, (15, 0)), schedule=weekdays(n=450), config=LifecycleConfig())
    async with manager:
        await clock.advance(timedelta(weeks=4))
        held = Held()
        # 63 bytes for each boundary: less than the smallest object that could be kept
        assert await growth_in_bytes(partial(clock.advance, timedelta(weeks=26)), 32 * KIB) < 32 * KIB
        assert held.growth == (0, 0)
        assert manager.session.date >= MONDAY + timedelta(weeks=30)


async def test_a_manager_that_has_ended_leaves_nothing_open(journals):
    """Its tasks have ended, and its journal is closed."""
    clock = SimulatedClock(at(MONDAY, (15, 0)))
    async with make_idle(clock, journals()):
        await clock.advance(HOUR)
    held = Held()
    for _ in range(5):
        async with make_idle(clock, journals()):
            await clock.advance(MINUTE)
    assert held.growth == (0, 0)


@pytest.mark.long
async def test_ten_idle_seconds_on_the_real_clock(journals):
    """A thousand looks at the clock, at its shortest sensible interval, cost no task, descriptor or memory."""
    async with make_idle(SystemClock(timedelta(milliseconds=10)), journals()) as manager:

        async def ten_seconds() -> None:
            for _ in range(10):
                await anyio.sleep(1)
                assert held.growth == (0, 0)

        await anyio.sleep(1)
        held = Held()
        assert await growth_in_bytes(ten_seconds, 16 * KIB) < 16 * KIB
        assert manager.state is ACTIVE
