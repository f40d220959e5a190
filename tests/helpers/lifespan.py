"""The tasks of the application, and sweeping them away."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from session_lifecycle import (
    SessionBoundaryManager,
    SessionGroup,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import MONDAY, at
from tests.helpers.harness import (
    DEAF,
    roll_nothing,
    season,
)

NOON = at(MONDAY, (17, 0))
END = at(MONDAY, (21, 30))


async def in_a_task(call: Callable[[], Awaitable[object]]) -> BaseException | None:
    """Await a call in a task of its own, and return what it raises."""
    raised: list[BaseException] = []

    async def work() -> None:
        try:
            await call()
        except Exception as error:  # noqa: BLE001 -- returned
            raised.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
    return raised[0] if raised else None


def other_tasks() -> list[asyncio.Task[Any]]:
    """Return all tasks of asyncio but the calling one and pytest's, which has no name of its own.

    (Python 3.13.0 calls an eager task without a name "None".)
    """
    mine = asyncio.current_task()
    return [
        task
        for task in asyncio.all_tasks()
        if task is not mine and task.get_name() != "None" and not task.get_name().startswith("Task-")
    ]


def others() -> list[str]:
    """Return the names of all tasks of asyncio but the calling one and pytest's."""
    return [task.get_name() for task in other_tasks()]


def sweep() -> None:
    """Cancel every task but the calling one and pytest's own, as applications do with asyncio.all_tasks()."""
    for task in other_tasks():
        task.cancel()


def make_group(clock: SimulatedClock) -> SessionGroup:
    """Return a group of two."""
    managers = [SessionBoundaryManager(season(), roll_nothing, config=DEAF, clock=clock, name=name) for name in "ab"]
    return SessionGroup(managers)
