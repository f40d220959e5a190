"""Awaiting the application's own code: what it raises, takes too long for, or is cancelled by, concerns it alone."""

import inspect
import sys
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, Token
from datetime import timedelta
from math import inf
from types import TracebackType
from typing import Self

import anyio

from session_lifecycle._model.clock import Clock, Reading
from session_lifecycle._model.errors import ClockFailed, HandlerTimeoutError, LifecycleError, describe


class CallbackScope:
    """A stretch of application code that `owner` is awaiting. Enter it in the task that runs the code."""

    __slots__ = ("_open", "_owner", "_token")

    def __init__(self, owner: object) -> None:
        self._owner = owner
        self._open = False
        self._token: Token[tuple[CallbackScope, ...]] | None = None

    def __enter__(self) -> Self:
        self._token = _sections.set((*_sections.get(), self))
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        if self._token is not None:
            _sections.reset(self._token)

    def holds(self, owner: object | None) -> bool:
        """Tell whether this section still lasts and is `owner`'s (None: anybody's)."""
        return self._open and (owner is None or owner is self._owner)


_sections: ContextVar[tuple[CallbackScope, ...]] = ContextVar("session_lifecycle_sections", default=())


def inside(owner: object | None = None) -> bool:
    """Tell whether the calling task runs inside application code that `owner` (None: anybody) is awaiting."""
    return any(section.holds(owner) for section in _sections.get())


async def run_callback(
    owner: object,
    label: str,
    limit: timedelta | None,
    call: Callable[[], Awaitable[object]],
    *,
    clock: Clock,
    observe: Callable[[], Reading],
) -> BaseException | None:
    """Await the application's code, for less than `limit` by the clock; return what it raised, or its timeout."""
    failure: BaseException | None = None
    late: LifecycleError | None = None
    done = False
    began = observe().monotonic if limit is not None else timedelta(0)

    async def expire(limit: timedelta) -> None:
        nonlocal late
        try:
            await clock.sleep(limit)
        except Exception as error:  # the clock may be the application's own code
            verdict: LifecycleError = ClockFailed(describe(error))  # nobody can tell when the time has passed
        else:
            verdict = HandlerTimeoutError(label, limit.total_seconds())
        if not done:
            late = verdict
            scope.cancel()

    try:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                if limit is not None:
                    tasks.start_soon(expire, limit)
                failure = await _outcome_of(owner, label, call)
                done = True
                tasks.cancel_scope.cancel()
    except anyio.get_cancelled_exc_class() as cancelled:
        # Whoever cancelled this very task after its last await, natively, must not end the group by that.
        if not takes_back_cancellation():
            raise
        failure = cancelled if failure is None else failure
    if failure is None and late is None and limit is not None and observe().monotonic - began >= limit:
        late = HandlerTimeoutError(label, limit.total_seconds())  # it has blocked the event loop, for one
    return late if failure is None else failure


async def _outcome_of(owner: object, label: str, call: Callable[[], Awaitable[object]]) -> BaseException | None:
    """Await the application's code and return what it raised; a cancellation that is the manager's own goes on."""
    try:
        with CallbackScope(owner):
            outcome = call()
            if inspect.isawaitable(outcome):
                await outcome
                return None
            return TypeError(f"{label} returned {outcome!r}, which cannot be awaited: make it async")
    except Exception as error:  # the application's own code
        return error
    except anyio.get_cancelled_exc_class() as cancelled:
        if not takes_back_cancellation():
            raise
        return cancelled
    except BaseExceptionGroup as group:
        # On trio a task group hands on errors and cancellations together. The latter will come again.
        ours, errors = group.split(anyio.get_cancelled_exc_class())
        if ours is None or not isinstance(errors, Exception):
            raise
        return errors


def takes_back_cancellation() -> bool:
    """Tell whether a cancellation just caught ends the attempt alone, and if so, take it back.

    The roll may have awaited a task that was cancelled elsewhere, or its own task may have been cancelled natively by
    somebody who found it. On asyncio that CancelledError would end the task group, and the manager, without a word. The
    manager is meant only where a scope around this task is cancelled: the driver's group is, once its host task is.
    """
    asyncio = sys.modules.get("asyncio")  # not imported here: who runs on trio need not load it
    try:
        task = None if asyncio is None else asyncio.current_task()
    except RuntimeError:  # trio, where nobody else's cancellation can arrive here
        return False
    if task is None or anyio.current_effective_deadline() == -inf:
        return False
    while task.cancelling():
        task.uncancel()
    return True
