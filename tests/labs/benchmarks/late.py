"""How late boundaries are, on each event loop, beside what a bare sleep is there."""

import gc
import statistics
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio

from session_lifecycle import FixedSchedule, LifecycleConfig, Session, SessionBoundaryManager, StateChanged
from tests.labs.benchmarks.many import MANY, group_of, hours, no_roll
from tests.labs.benchmarks.rows import Row

BOUNDARIES = 100
SPACING = timedelta(milliseconds=25)
BACKENDS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("asyncio", "asyncio", {"use_uvloop": False}),
    ("uvloop", "asyncio", {"use_uvloop": True}),
    ("trio", "trio", {}),
)


def lateness(backend: str, options: dict[str, Any], members: int) -> tuple[list[float], list[float]]:
    """Return the lateness, in seconds, of a manager's boundaries and of bare sleeps, from the least to the greatest.

    As many members of a group are idle meanwhile, in the same event loop, and the garbage collector is on. The sleeps
    end midway between the boundaries: a loop that is kept awake is punctual for everybody.
    """

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
            await anyio.sleep(max(0.0, (instant - datetime.now(UTC)).total_seconds()))  # past, on a busy machine
            late.append(abs((datetime.now(UTC) - instant).total_seconds()))  # uvloop is early as often
        return late

    async def both() -> tuple[list[float], list[float]]:
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
            slept.extend(await by_sleep([instant + SPACING / 2 for instant in instants[:BOUNDARIES]]))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            tasks.start_soon(second)
        return sorted(managed), sorted(slept)

    async def among_others() -> tuple[list[float], list[float]]:
        async with group_of(members, hours(datetime.now(UTC) - timedelta(hours=1))):
            return await both()

    gc.collect()
    return anyio.run(among_others if members else both, backend=backend, backend_options=options)


def of_lateness() -> Iterator[Row]:
    """Measure one manager alone, and among ten thousand."""
    against = "anyio.sleep to instants in between"
    for name, backend, options in BACKENDS:
        late, slept = lateness(backend, options, 0)
        median, floor = statistics.median(late), statistics.median(slept)
        yield Row(f"lateness of a boundary, median, {name}", median, against, floor, 0.1)
    for name, backend, options in BACKENDS:
        late, slept = lateness(backend, options, MANY)
        for what, at in (("median", BOUNDARIES // 2), ("p99", BOUNDARIES - 2), ("maximum", BOUNDARIES - 1)):
            yield Row(f"the same among {MANY:,} members, {what}, {name}", late[at], against, slept[at])
