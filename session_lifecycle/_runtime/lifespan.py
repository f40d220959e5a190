"""The lifespan of a manager or a group: in a task group of its own, or in one of the application's."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self, cast

import anyio

from session_lifecycle._model.errors import AlreadyStartedError


class Lifespan(ABC):
    """Runs with `async with`, or with `await task_group.start(self.run)`; once only."""

    __slots__ = ("__weakref__", "_started", "_tasks")

    def __init__(self) -> None:
        self._started = False
        self._tasks: anyio.abc.TaskGroup | None = None

    @property
    def started(self) -> bool:
        """Whether it has started; it stays True after the stop."""
        return self._started

    @abstractmethod
    def stop(self) -> None:
        """Stop: a roll under way may finish, and no other begins."""

    @abstractmethod
    async def _drive(self, task_status: "anyio.abc.TaskStatus[None]") -> None:
        """Run until stopped; report the start by `task_status.started()`."""

    def _mark_started(self, call: str) -> None:  # noqa: ARG002 -- a manager names it when it refuses to wait for itself
        """Mark it as started by `call`, or refuse a second start."""
        if self._started:
            raise AlreadyStartedError(type(self).__name__)
        self._started = True

    async def __aenter__(self) -> Self:
        """Start, and catch up to the first roll that is due."""
        self._mark_started("`async with`")
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        try:
            await self._tasks.start(self._run)
        except BaseException as error:
            await self._close(error)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop: let a roll under way finish, or, on an exception or a cancellation, cancel it."""
        await self._close(error)

    async def _close(self, error: BaseException | None) -> None:
        """Close the task group. The body's exception is raised as it is, not wrapped in a group."""
        assert self._tasks is not None
        if error is None:
            self.stop()
        else:
            self._tasks.cancel_scope.cancel()
        try:
            await self._tasks.__aexit__(None, None, None)
        except BaseExceptionGroup as group:
            sole = _sole(group)
            raise sole from sole.__cause__
        except anyio.get_cancelled_exc_class():
            # A cancellation on the way out must not hide the error that the body is leaving with.
            if error is None or isinstance(error, anyio.get_cancelled_exc_class()):
                raise

    async def run(self, *, task_status: "anyio.abc.TaskStatus[None] | None" = None) -> None:
        """Run until `stop()`: for `await task_group.start(manager.run)`, which returns once it has caught up.

        Raises:
            AlreadyStartedError: it has been started before.
            ClockFailed: the clock cannot be read. Nothing was started.
            ScheduleExhausted: the schedule does not know the present.
            NotASession: the schedule has lost the journal's session, whose hours the journal does not hold either.
            JournalLocked, JournalCorrupt, JournalMismatch, JournalUnavailable, JournalWriteFailed: nothing was started.
        """
        self._mark_started("run()")
        await self._run(task_status=anyio.TASK_STATUS_IGNORED if task_status is None else task_status)

    async def _run(self, *, task_status: "anyio.abc.TaskStatus[None]") -> None:
        try:
            await self._drive(task_status)
        except BaseExceptionGroup as group:
            sole = _sole(group)
            raise sole from sole.__cause__


def _sole(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the only exception of a group, at any depth, or the group where it has several."""
    while len(group.exceptions) == 1:
        inner = group.exceptions[0]
        if not isinstance(inner, BaseExceptionGroup):
            return inner
        group = cast("BaseExceptionGroup[BaseException]", inner)
    return group
