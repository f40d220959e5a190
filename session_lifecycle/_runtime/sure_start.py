"""Start a task whose first step is waited for, also where it is cancelled natively before that."""

import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import anyio

from session_lifecycle._runtime.callbacks import absorb_foreign_cancellation

_TURNS: Final = 10
"""How many turns of the event loop a task may take to its first step, which comes in the next one."""


async def start_once(group: "anyio.abc.TaskGroup", function: Callable[[], Awaitable[object]], name: str) -> bool:
    """Start a task, and wait for its first step; return False where it was cancelled before that.

    A native cancellation of the calling task is absorbed.
    """
    started = False

    async def run(*, task_status: "anyio.abc.TaskStatus[None]") -> None:
        nonlocal started
        started = True
        task_status.started()
        await function()

    await _start(group, run, (), name)
    return started


async def start_surely(
    group: "anyio.abc.TaskGroup", function: Callable[..., Awaitable[object]], *args: object, absorb: bool = True
) -> None:
    """Start a task of a function that reports its start.

    Where a native cancellation, of the new task before its first step or of the calling one, has ended the new task,
    the function is called again in another. With `absorb` off, one of the calling task is raised.
    """
    while not await _start(group, function, args, getattr(function, "__name__", None), absorb=absorb):
        pass


async def _start(
    group: "anyio.abc.TaskGroup",
    function: Callable[..., Awaitable[object]],
    args: tuple[object, ...],
    name: str | None,
    *,
    absorb: bool = True,
) -> bool:
    """Start a task; return False where a native cancellation has ended it."""
    started = cancelled = over = lost = False
    coroutine: Coroutine[Any, Any, None] | None = None

    async def run(task_status: "anyio.abc.TaskStatus[None]") -> None:
        nonlocal started, cancelled
        started = True
        try:
            await function(*args, task_status=task_status)
        except anyio.get_cancelled_exc_class():
            cancelled = True
            raise

    def make(*, task_status: "anyio.abc.TaskStatus[None]") -> Coroutine[Any, Any, None]:
        nonlocal coroutine
        coroutine = run(task_status)
        return coroutine

    def is_lost() -> None:
        nonlocal lost
        lost = True

    _wake_unless(lambda: started or over, is_lost)
    try:
        await group.start(make, name=name)
    except RuntimeError:
        if started:
            raise
    except anyio.get_cancelled_exc_class():
        if not (absorb and absorb_foreign_cancellation()) and not (lost and _take_back_cancellation()):
            raise
    finally:
        over = True
        if coroutine is not None and not started:
            coroutine.close()  # it will not be awaited
    return started and not cancelled


def _take_back_cancellation() -> bool:
    """Take back the native cancellation of `_wake_unless`; return whether there was no other."""
    task = sys.modules["asyncio"].current_task()
    return bool(task.uncancel() == 0)


def _wake_unless(started: Callable[[], bool], lost: Callable[[], None]) -> None:
    """Cancel the calling task natively, and call `lost`, where a task has not made its first step within a few turns.

    `TaskGroup.start` of anyio 4.16 waits indefinitely for the end of a task that was cancelled before its first step.
    A step that was scheduled earlier runs earlier, so one that has not run by then never will.
    """
    asyncio = sys.modules.get("asyncio")  # not imported here: an application on trio need not load it
    try:
        task = None if asyncio is None else asyncio.current_task()
    except RuntimeError:  # trio, where no task can be cancelled natively
        return
    if asyncio is None or task is None:
        return
    loop = asyncio.get_running_loop()

    def check(turns: int) -> None:
        if started():
            return
        if turns:
            loop.call_soon(check, turns - 1)
        else:
            lost()
            task.cancel()

    loop.call_soon(check, _TURNS)
