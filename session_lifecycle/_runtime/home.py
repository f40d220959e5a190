"""The home of what runs: the thread and the event loop that it was started in, and the way there from other threads.

Nothing here is locked but what is handed over: every call that changes something is refused elsewhere before it begins.
"""

import inspect
import sys
from collections.abc import Callable
from contextvars import Context
from datetime import datetime
from functools import wraps
from threading import Lock, get_ident
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from session_lifecycle._model.home_errors import WrongLoopError, WrongThreadError
from session_lifecycle._runtime.event_log import LOGGER

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R", bound="Resident")

Take = Callable[[datetime | None], object]
"""Takes the timestamp of data that was handed over; None is data of now."""


class Home:
    """The thread and the event loop in which it is made.

    Raises:
        RuntimeError: no event loop runs.
    """

    __slots__ = ("_lock", "_loop", "_pending", "_post", "_thread")

    def __init__(self) -> None:
        self._thread: Final = get_ident()
        self._loop, self._post = _present_loop()
        self._pending: dict[object, tuple[Take, datetime | None]] = {}
        self._lock: Final = Lock()

    @property
    def here(self) -> bool:
        """Whether its event loop runs in the calling thread now."""
        return self._loop is _asyncio_loop() or self._loop is _trio_loop()

    @property
    def elsewhere(self) -> bool:
        """Whether the calling thread is another one."""
        return get_ident() != self._thread

    def require(self, call: str) -> None:
        """Refuse a call from another thread or another event loop; between two runs of the loop it is allowed.

        Raises:
            WrongThreadError: another thread.
            WrongLoopError: another event loop, in whatever thread.
        """
        if self.here:
            return
        if _asyncio_loop() is not None or _trio_loop() is not None:
            raise WrongLoopError(call)
        if self.elsewhere:
            raise WrongThreadError(call)

    def post(self, function: Callable[[], object]) -> None:
        """Have the event loop call a function in its next turn, from any thread; after its end, do nothing."""
        try:
            self._post(function)
        except RuntimeError:  # the loop is closed; trio's RunFinishedError is one too
            self._pending.clear()

    def hand_over(self, key: object, take: Take, timestamp: datetime | None) -> None:
        """Have `take` called with a timestamp in the loop's next turn.

        Of several for the same `key` that wait for it, only the freshest is taken, and None is fresher than any. One
        call waits in the loop at a time, however many threads hand over.
        """
        with self._lock:
            first = not self._pending
            _, waiting = self._pending.get(key, (take, timestamp))
            freshest = None if waiting is None or timestamp is None else max(waiting, timestamp)
            self._pending[key] = take, freshest
        if first:
            self.post(self._take_pending)

    def _take_pending(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, {}
        for take, timestamp in pending.values():
            try:
                take(timestamp)
            except Exception:  # the caller has gone on; on trio it would end the event loop
                LOGGER.exception("data that another thread has handed over could not be recorded")


class Resident(Protocol):
    """What has a home once it has been started."""

    @property
    def _home(self) -> Home | None: ...


def at_home(method: Callable[Concatenate[R, P], T]) -> Callable[Concatenate[R, P], T]:
    """Decorate a method that may be called in its object's own event loop only, once that is known.

    An async method is refused at the call, before it is awaited.
    """
    call = f"{method.__name__}()"

    @wraps(method)
    def checked(resident: R, /, *args: P.args, **kwargs: P.kwargs) -> T:
        home = resident._home  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] -- the decorator is of one piece with its classes
        if home is not None:
            home.require(call)
        return method(resident, *args, **kwargs)

    if sys.version_info >= (3, 12) and inspect.iscoroutinefunction(method):
        inspect.markcoroutinefunction(checked)
    return checked


def current_task() -> object:
    """Return the calling task of asyncio or trio."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        return trio.lowlevel.current_task()
    import asyncio

    return asyncio.current_task()


def spawn_in_background(
    function: Callable[[], Any], name: str, context: Context, on_end: Callable[[], object]
) -> object:
    """Start a task that belongs to no task group, and return it: hold it for as long as it shall run.

    `on_end` is called at its end, also where it was cancelled before its first step and none of its code has run. On
    trio it is a system task, which must not raise an Exception.
    """
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():

        async def run() -> None:
            try:
                await function()
            finally:
                on_end()

        return trio.lowlevel.spawn_system_task(run, name=name, context=context)
    import asyncio

    task = asyncio.get_running_loop().create_task(function(), name=name, context=context)
    task.add_done_callback(lambda _: on_end())
    return task


def _present_loop() -> tuple[object, Callable[[Callable[[], object]], object]]:
    """Return the event loop of the calling task, and its function that calls another one in its next turn."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        token = trio.lowlevel.current_trio_token()
        return token, token.run_sync_soon
    import asyncio

    loop = asyncio.get_running_loop()
    return loop, loop.call_soon_threadsafe


def _asyncio_loop() -> object | None:
    """Return the event loop of asyncio that runs in the calling thread; one of trio may be its guest."""
    asyncio = sys.modules.get("asyncio")
    return None if asyncio is None else asyncio._get_running_loop()  # noqa: SLF001 -- documented, for those who implement loops


def _trio_loop() -> object | None:
    """Return the token of the event loop of trio that runs in the calling thread."""
    trio = sys.modules.get("trio")
    return trio.lowlevel.current_trio_token() if trio is not None and trio.lowlevel.in_trio_run() else None
