"""The lifespan of a manager or a group: in a task group of its own, in one of the application's, or in the background.

`async with` has the driver in a task group around the body, `run()` in the calling task, and `start()` in a host task
that belongs to no task group, so that `aclose()` may be called in any task.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, cast

import anyio

from session_lifecycle._model.errors import AlreadyStartedError, LifecycleError, NotRunningError, ReentrancyError
from session_lifecycle._model.home_errors import DriverCancelled, WrongTaskError
from session_lifecycle._model.uncopyable import Uncopyable
from session_lifecycle._runtime.callbacks import (
    cancelled_natively,
    context_outside_callbacks,
    in_asyncio,
    native_cancellations,
    redeliver_cancellation,
    sole_of,
)
from session_lifecycle._runtime.event_log import LOGGER
from session_lifecycle._runtime.home import Home, at_home, current_task, spawn_in_background

if TYPE_CHECKING:
    import asyncio


class Lifespan(Uncopyable, ABC):
    """Runs with `async with`, with `await task_group.start(self.run)`, or from `start()` to `aclose()`; once only."""

    __slots__ = ("__weakref__", "_block", "_home", "_run_of_driver", "_started")

    def __init__(self) -> None:
        self._started = False
        self._home: Home | None = None
        """Where it was started; None before that."""
        self._run_of_driver: _Run | None = None
        self._block: _Block | None = None

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

    @abstractmethod
    def _abandon(self) -> None:
        """End every subscription: the task that was to drive it was cancelled before its first step."""

    @abstractmethod
    def _refusal(self, call: str) -> LifecycleError:
        """Return the error of a call that comes after the end."""

    @abstractmethod
    def _in_own_callback(self) -> bool:
        """Return whether the calling task runs inside a roll, handler or probe of its own."""

    def _mark_started(self, call: str, home: Home | None = None) -> None:  # noqa: ARG002 -- a manager names it when it refuses to wait for itself
        """Mark it as started by `call`, at home or here, or refuse a second start."""
        if self._started:
            raise AlreadyStartedError(type(self).__name__)
        self._home = Home() if home is None else home
        self._started = True

    # ---- `async with` ----

    async def __aenter__(self) -> Self:
        """Start, and catch up to the first roll that is due."""
        self._mark_started("`async with`")
        self._block = block = _Block(anyio.create_task_group())
        self._run_of_driver = run = self._new_run(block)
        coroutine = run.in_block()
        await block.tasks.__aenter__()
        try:
            block.tasks.start_soon(lambda: coroutine, name=run.name)
            await run.ready.wait()
        except BaseException as error:
            await self._close(block, run, error)
            raise
        finally:
            if not run.begun:
                coroutine.close()  # it will not be awaited
        if run.failure is not None:
            await self._close(block, run, run.failure)
            raise run.failure
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop: let a roll under way finish, or, on an exception or a cancellation, cancel it.

        Raises:
            WrongTaskError: left in another task than it was entered in. It has stopped.
            DriverCancelled: its driver was cancelled from outside, and the body with it.
        """
        block, run = self._block, self._run_of_driver
        assert block is not None
        assert run is not None
        if block.task is current_task():
            await self._close(block, run, error)
            return
        block.abandoned = True  # its task group can be left in the task that has entered it only
        if error is not None:
            run.cancel("`async with` was left with an exception")
        await self._end(run)
        raise WrongTaskError(type(self).__name__) from run.failure

    async def _close(self, block: "_Block", run: "_Run", error: BaseException | None) -> None:
        """Close the task group. The body's exception is raised as it is, not wrapped in a group.

        Neither an exception nor a native cancellation is lost: beside an exception, that is delivered again.
        """
        body_cancelled = isinstance(error, anyio.get_cancelled_exc_class())
        before = 0 if body_cancelled else native_cancellations()
        arrived: BaseException | None = None
        failure: BaseException | None = None
        if run.begun:
            self.stop() if error is None else run.cancel(f"`async with` was left with {type(error).__name__}")
            arrived = await run.wait_or_cancel()
        else:
            block.tasks.cancel_scope.cancel("`async with` has failed")
        try:
            await block.tasks.__aexit__(None, None, None)
        except BaseExceptionGroup as group:
            failure = sole_of(group)
        except anyio.get_cancelled_exc_class() as cancelled:
            arrived = cancelled
        if not run.begun:
            failure = run.abandon()
        if native_cancellations() > before:
            if body_cancelled and (failure is None or isinstance(failure, DriverCancelled)):
                return  # the body leaves with that very cancellation, of which the driver's may be a part
            if error is not None or failure is not None:
                redeliver_cancellation()
        if failure is not None:
            raise failure from failure.__cause__
        if error is None and arrived is not None:
            raise arrived

    # ---- in a task of the application's ----

    @at_home
    async def run(self, *, task_status: "anyio.abc.TaskStatus[None] | None" = None) -> None:
        """Run until `stop()`: for `await task_group.start(manager.run)`, which returns once it has caught up.

        Raises:
            AlreadyStartedError: it has been started before.
            ClockFailed: the clock cannot be read. Nothing was started.
            ScheduleExhausted: the schedule does not know the present.
            NotASession: the schedule has lost the journal's session, whose hours the journal does not hold either.
            JournalLocked, JournalCorrupt, JournalMismatch, JournalUnavailable, JournalWriteFailed: nothing was started.
            DriverCancelled: a part of it was cancelled from outside.
        """
        self._mark_started("run()")
        run = self._run_of_driver = self._new_run()
        await run.in_caller(anyio.TASK_STATUS_IGNORED if task_status is None else task_status)

    # ---- in the background ----

    @at_home
    async def start(self) -> None:
        """Start in the background, and catch up to the first roll that is due; end it with `await aclose()`.

        For fixtures, exit stacks and frameworks that call start and stop in tasks of their own. It runs in a task that
        belongs to no task group: no cancel scope around this call reaches it, and where it fails, the readers of
        `events()` end, calls raise `ManagerStopped` from the cause, and `aclose()` raises it.

        Raises:
            ManagerStopped, GroupStopped: `aclose()` was called meanwhile.
            Exception: as raised by `run()`. Nothing was started.
        """
        self._mark_started("start()")
        run = self._run_of_driver = self._new_run()
        context = context_outside_callbacks()
        run.task = spawn_in_background(run.in_background, run.name, context, run.task_ended)
        try:
            await run.ready.wait()
        except BaseException:
            run.cancel("start() was cancelled")
            await run.wait_until_over()
            raise
        if run.failure is not None:
            run.reported = True
            raise run.failure
        if not run.caught_up:
            raise self._refusal("start()")

    @at_home
    async def aclose(self) -> None:
        """Stop, from any task: let a roll under way finish; return once the driver has ended and the journal is free.

        A second call does nothing. Where this call is cancelled, so is the roll.

        Raises:
            NotRunningError: it has not started, or runs in a `SessionGroup`, whose `remove()` stops it.
            ReentrancyError: called from inside a roll or a handler of its own, which it would wait for.
            Exception: the driver has failed, and this is why. It has stopped.
        """
        call = "aclose()"
        run = self._run_of_driver
        if run is None:
            raise NotRunningError(call)
        if self._in_own_callback():
            raise ReentrancyError(call)
        await self._end(run)
        if run.failure is not None and not run.reported:
            raise run.failure

    def _new_run(self, block: "_Block | None" = None) -> "_Run":
        return _Run(type(self).__name__, self._drive, self._abandon, block)

    async def _end(self, run: "_Run") -> None:
        """Stop, and wait until the driver has ended; where that is cancelled, cancel the driver."""
        if run.over.is_set():
            await anyio.lowlevel.checkpoint()
            return
        if run.caught_up:
            self.stop()
        else:
            run.cancel("it was left before it had started")
        try:
            await run.over.wait()
        except BaseException:
            run.cancel("the wait for its end was cancelled")
            await run.wait_until_over()
            raise


class _Block:
    """An `async with` that has been entered: its task group, and the task that has entered it."""

    __slots__ = ("abandoned", "task", "tasks")

    def __init__(self, tasks: "anyio.abc.TaskGroup") -> None:
        self.tasks: Final = tasks
        self.task: Final = current_task()
        self.abandoned = False
        """Whether it was left in another task."""

    @property
    def lost(self) -> bool:
        """Whether its task group will not be left any more, so that no exception may go there."""
        return self.abandoned or (in_asyncio() and cast("asyncio.Task[object]", self.task).done())


class _Run:
    """One run of the driver, in whichever task: its scope, and how it has ended."""

    __slots__ = (
        "_abandon",
        "_block",
        "_drive",
        "_kind",
        "_scope",
        "begun",
        "caught_up",
        "failure",
        "over",
        "ready",
        "reported",
        "task",
    )

    def __init__(
        self,
        kind: str,
        drive: "Callable[[anyio.abc.TaskStatus[None]], Awaitable[None]]",
        abandon: Callable[[], None],
        block: _Block | None,
    ) -> None:
        self._kind: Final = kind
        self._drive: Final = drive
        self._abandon: Final = abandon
        self._block: Final = block
        self._scope: Final = anyio.CancelScope()
        self.begun = False
        """Whether its task has taken its first step."""
        self.caught_up = False
        """Whether it has started."""
        self.ready: Final = anyio.Event()
        """Set once it has started, or has ended before that."""
        self.over: Final = anyio.Event()
        """Set once it has ended."""
        self.failure: BaseException | None = None
        """What it has failed with; None where it was stopped or cancelled."""
        self.reported = False
        """Whether the failure has been raised where it was started."""
        self.task: object = None
        """The host task, which would not live without a reference."""

    @property
    def name(self) -> str:
        """The name of its task."""
        return f"driver of a {self._kind}"

    def started(self, value: object = None) -> None:  # noqa: ARG002 -- of anyio's TaskStatus
        """Report the start, as a task status does."""
        self.caught_up = True
        self.ready.set()

    def cancel(self, reason: str) -> None:
        """Cancel the driver. A second call does nothing."""
        self._scope.cancel(reason)

    async def wait_or_cancel(self) -> BaseException | None:
        """Wait until it has ended. A cancellation that arrives meanwhile cancels it, and is returned.

        Not in the task group: a scope that is cancelled around nested ones of another task takes over their counts, and
        anyio 4.16 then takes back more cancellations of this task than it has made, native ones too.
        """
        arrived: BaseException | None = None
        while not self.over.is_set():
            try:
                with anyio.CancelScope(shield=arrived is not None):
                    await self.over.wait()
            except anyio.get_cancelled_exc_class() as cancelled:
                arrived = cancelled
                self.cancel("the wait for its end was cancelled")
        return arrived

    async def wait_until_over(self) -> None:
        """Wait until it has ended, though scopes are cancelled meanwhile; a native cancellation ends the wait."""
        with anyio.CancelScope(shield=True):
            await self.over.wait()

    def abandon(self) -> BaseException:
        """Be over: its task was cancelled before its first step. Return the failure."""
        self._abandon()
        self.failure = DriverCancelled(self._kind)
        self.over.set()
        return self.failure

    async def in_block(self) -> None:
        """Run in the task group of `async with`: a failure cancels the body, and is raised where that is left."""
        try:
            await self._run(self)
        except anyio.get_cancelled_exc_class():
            if not cancelled_natively():
                raise
            self.failure = DriverCancelled(self._kind)
            if self._raises_in_block:
                raise self.failure from None
        except Exception:
            if self._raises_in_block:
                raise
        finally:
            self.ready.set()
            self.over.set()

    @property
    def _raises_in_block(self) -> bool:
        """Whether the task group takes its failure; else entering or leaving the block raises it."""
        assert self._block is not None
        return self.caught_up and not self._block.lost

    async def in_caller(self, task_status: "anyio.abc.TaskStatus[None]") -> None:
        """Run in the calling task."""
        try:
            await self._run(_Both(self, task_status))
        finally:
            self.ready.set()
            self.over.set()

    async def in_background(self) -> None:
        """Run in a host task: what ends the driver is kept, for `aclose()`."""
        try:
            await self._run(self)
        except anyio.get_cancelled_exc_class():
            if cancelled_natively():
                self.failure = DriverCancelled(self._kind)
            raise
        except BaseException as failure:
            if self.caught_up:
                LOGGER.error("the %s has failed and ended; `await aclose()` raises why", self.name, exc_info=failure)
            # These two end the loop of asyncio, from any task. On trio a system task that raises anything would end it
            # with a TrioInternalError.
            if in_asyncio() and isinstance(failure, KeyboardInterrupt | SystemExit):
                raise

    def task_ended(self) -> None:
        """React to the end of the host task."""
        if not self.begun:
            self.abandon()
        self.ready.set()
        self.over.set()

    async def _run(self, task_status: "anyio.abc.TaskStatus[None]") -> None:
        """Drive until stopped or cancelled, and keep a failure. Of a group with one exception, raise that one."""
        self.begun = True
        try:
            with self._scope:
                try:
                    await self._drive(task_status)
                finally:
                    self._seal()
            await anyio.lowlevel.checkpoint_if_cancelled()
        except BaseException as error:
            failure = sole_of(error)
            if not isinstance(failure, anyio.get_cancelled_exc_class()):
                self.failure = failure
            if failure is error:
                raise
            raise failure from failure.__cause__

    def _seal(self) -> None:
        """Have the scope take back its own cancellations of this task, and hand none up.

        Where a scope around is cancelled, anyio 4.16 adds them to the count of that scope, which may be of another
        task: it would then take back more cancellations of that task than it has made, native ones too.
        """
        self._scope.shield = True
        self._scope.cancel("the driver has ended")


class _Both:
    """A task status that reports the start to two others."""

    __slots__ = ("_statuses",)

    def __init__(self, *statuses: "anyio.abc.TaskStatus[None]") -> None:
        self._statuses: Final = statuses

    def started(self, value: None = None) -> None:
        """Report the start."""
        for status in self._statuses:
            status.started(value)
