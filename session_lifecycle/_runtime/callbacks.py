"""Run application callbacks in isolation, and detect calls from inside one.

An exception, a timeout or a stray cancellation ends that callback only. A call from inside a callback that would wait
for the callback itself is refused, so that it does not deadlock; `inside` detects this across tasks and nested
callbacks.
"""

import inspect
import sys
from collections.abc import Awaitable, Callable
from contextvars import Context, ContextVar, Token, copy_context
from datetime import timedelta
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, cast

import anyio

from session_lifecycle._model.clock import Clock, Reading
from session_lifecycle._model.errors import ClockFailed, HandlerTimeoutError, LifecycleError, describe
from session_lifecycle._runtime.call_scope import CallScope

if TYPE_CHECKING:
    import asyncio

_scopes: Final[ContextVar[tuple["CallbackScope", ...]]] = ContextVar("session_lifecycle_callback_scopes", default=())
"""The scopes that the calling task was started in, the outermost first; some may have ended since."""


TRANSACTION: Final = object()
"""The owner of the block of a roll's transaction, in which a simulated clock is held."""


class CallbackScope:
    """A stretch of application code that `owner` awaits. Enter it in the task that runs the code."""

    __slots__ = ("_open", "_owner", "_token")

    def __init__(self, owner: object) -> None:
        self._owner: Final = owner
        self._open = False
        self._token: Token[tuple[CallbackScope, ...]] | None = None

    def __enter__(self) -> Self:
        self._token = _scopes.set((*_scopes.get(), self))
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        if self._token is not None:
            _scopes.reset(self._token)

    def holds(self, owner: object | None) -> bool:
        """Return whether the scope is open and belongs to `owner`; None stands for any owner."""
        return self._open and (owner is None or owner is self._owner)


def inside(owner: object | None = None) -> bool:
    """Return whether the calling task runs inside a callback that `owner` awaits; None stands for any owner."""
    return any(scope.holds(owner) for scope in _scopes.get())


def open_scopes() -> tuple[CallbackScope, ...]:
    """Return the scopes that the calling task runs inside of."""
    return tuple(scope for scope in _scopes.get() if scope.holds(None))


async def run_callback(
    owner: object,
    label: str,
    limit: timedelta | None,
    call: Callable[[], Awaitable[object]],
    *,
    clock: Clock,
    observe: Callable[[], Reading],
    scope: CallScope,
) -> BaseException | None:
    """Await a callback for less than `limit` of monotonic time; return its exception or timeout, None on success.

    It is awaited in `scope`, which is cancelled at the limit.
    """
    failure: BaseException | None = None
    late: LifecycleError | None = None
    done = False
    began = observe().monotonic if limit is not None else timedelta(0)

    async def expire(after: timedelta) -> None:
        nonlocal late
        try:
            await clock.sleep(after)
        except Exception as error:  # the clock may be the application's own code
            verdict: LifecycleError = ClockFailed(describe(error))  # without a clock the limit cannot be kept
        else:
            verdict = HandlerTimeoutError(label, after.total_seconds())
        if not done:
            late = verdict
            scope.cancel(f"{label} is over its time")

    try:
        async with anyio.create_task_group() as tasks:
            if limit is not None:
                tasks.start_soon(expire, limit)
            with scope:
                failure = await _outcome_of(owner, label, call, scope)
            done = True
            tasks.cancel_scope.cancel(f"{label} has returned")
    except anyio.get_cancelled_exc_class() as cancelled:
        # A native cancellation of this very task after its last await must not end the driver's task group.
        if not absorb_foreign_cancellation():
            raise
        failure = cancelled if failure is None else failure
    if failure is None and late is None and limit is not None and observe().monotonic - began >= limit:
        late = HandlerTimeoutError(label, limit.total_seconds())  # a callback that blocked the event loop, for one
    return late if failure is None else failure


async def _outcome_of(
    owner: object, label: str, call: Callable[[], Awaitable[object]], scope: CallScope
) -> BaseException | None:
    """Await a callback and return its exception; the driver's own cancellation passes through."""
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
        scope.expose()  # so that the driver's own is known as such
        if not absorb_foreign_cancellation():
            raise
        return cancelled
    except BaseExceptionGroup as group:
        # On trio a task group raises errors and cancellations together. The cancellation is delivered again.
        ours, errors = group.split(anyio.get_cancelled_exc_class())
        if ours is None or not isinstance(errors, Exception):
            raise
        return errors


def absorb_foreign_cancellation() -> bool:
    """Absorb the cancellation just caught if it is not the driver's own, and return whether it was absorbed.

    A callback may have awaited a task that was cancelled elsewhere, or its own task may have been cancelled natively.
    On asyncio that CancelledError would end the task group, and with it the manager, without an error. The driver's own
    cancellation is one of a scope around this task: the driver's task group is cancelled once its host task is.
    """
    task = _asyncio_task()
    if task is None or anyio.current_effective_deadline() == -inf:
        return False
    while task.cancelling():
        task.uncancel()
    return True


def cancelled_natively() -> bool:
    """Return whether the cancellation just caught is native: no cancel scope around this task has been cancelled."""
    return in_asyncio() and anyio.current_effective_deadline() != -inf


def native_cancellations() -> int:
    """Return how many native cancellations the calling task has received; 0 where a scope around it is cancelled."""
    task = _asyncio_task()
    return 0 if task is None or anyio.current_effective_deadline() == -inf else task.cancelling()


def cancel_natively() -> None:
    """Cancel the calling task, on asyncio: a native cancellation that was absorbed arrives at its next wait."""
    task = _asyncio_task()
    if task is not None:
        task.cancel()


def redeliver_cancellation() -> None:
    """Have the native cancellation of the calling task delivered again, where another exception has replaced it.

    As in `asyncio.TaskGroup` of Python 3.13. It comes in the loop's next turn, unless `asyncio.timeout`, or whatever
    has cancelled the task, has taken it back by then.
    """
    task = _asyncio_task()
    if task is not None:
        task.get_loop().call_soon(_cancel_again, task)


def _cancel_again(task: "asyncio.Task[object]") -> None:
    if task.cancelling() and not task.done():
        task.uncancel()  # so that the count stays as it is
        task.cancel()


def context_outside_callbacks() -> Context:
    """Return a copy of the present context in which no callback is under way, for a task that outlives it."""
    context = copy_context()
    context.run(_scopes.set, ())
    return context


def in_asyncio() -> bool:
    """Return whether the calling task is one of asyncio."""
    return _asyncio_task() is not None


def _asyncio_task() -> "asyncio.Task[object] | None":
    """Return the calling task, None on trio, where no foreign cancellation can arrive."""
    loaded = sys.modules.get("asyncio")  # not imported here: an application on trio need not load it
    try:
        return None if loaded is None else loaded.current_task()
    except RuntimeError:
        return None


def sole_of(error: BaseException) -> BaseException:
    """Return the only exception of a group, at any depth; anything else, or a group of several, as it is."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return sole_of(group.exceptions[0]) if len(group.exceptions) == 1 else group
