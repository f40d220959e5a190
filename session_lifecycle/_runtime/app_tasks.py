"""Tasks of the application's code: rolls, handlers and probes of all hosts, in the driver's task group.

An exception or a timeout of such code becomes an event or a failed attempt. The driver's own cancellation propagates.
"""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final, Protocol

import anyio

from session_lifecycle._core.feeds import FeedState
from session_lifecycle._core.rolls import RollRound
from session_lifecycle._journal.base import SharedJournal
from session_lifecycle._journal.errors import NotLeadingError
from session_lifecycle._model.clock import Clock, Reading
from session_lifecycle._model.errors import (
    CancelledBeforeStart,
    HandlerTimeoutError,
    RollTimeoutError,
    SubscriberOverrun,
    describe,
)
from session_lifecycle._model.events import Event
from session_lifecycle._runtime.callbacks import CallbackScope, absorb_foreign_cancellation, in_asyncio, run_callback
from session_lifecycle._runtime.event_log import LOGGER
from session_lifecycle._runtime.feed import Feed
from session_lifecycle._runtime.handlers import Handler
from session_lifecycle._runtime.host import Host
from session_lifecycle._runtime.subscriptions import LIMIT
from session_lifecycle._runtime.sure_start import start_once


class Scheduler(Protocol):
    """What the application's tasks need of the driver."""

    @property
    def clock(self) -> Clock:
        """The clock of all hosts."""
        ...

    def observe_or_last(self) -> Reading:
        """Read the clock; where it fails, return the last reading."""
        ...

    def emit(self, host: Host) -> None:
        """Emit the events that a host's lifecycle holds."""
        ...

    def publish(self, events: Sequence[Event]) -> None:
        """Publish events to the subscribers of all hosts."""
        ...

    def wake(self, host: Host) -> None:
        """Poll a host in the next iteration."""
        ...

    def roll_ended(self) -> None:
        """Free the slot of a roll that is not awaited any more."""
        ...

    def wake_waiting_roll(self) -> None:
        """Poll the host whose roll waits longest for a slot."""
        ...

    def tasks_ended(self, host: Host) -> None:
        """React to the end of a host's last task."""
        ...


class AppTasks:
    """Runs the application's code of all hosts in one task group, and reports its outcome to the driver.

    On asyncio anybody can cancel a task natively, even before its first step: then none of its code runs. `watch` finds
    such tasks and reports them as failed.
    """

    __slots__ = ("_event", "_group", "_running", "_scheduler", "_stopping", "_unseen")

    def __init__(self, scheduler: Scheduler, group: "anyio.abc.TaskGroup") -> None:
        self._scheduler: Final = scheduler
        self._group: Final = group
        self._unseen: list[_Task] = []  # spawned, and not yet checked for their first step
        self._running = 0
        self._stopping = False
        self._event = anyio.Event()

    async def watch(self, *, task_status: "anyio.abc.TaskStatus[None]") -> None:
        """Report tasks that were cancelled before their first step, until `stop` and the end of the last task."""
        task_status.started()
        while not (self._stopping and not self._running):
            try:
                await self._event.wait()
                self._event = anyio.Event()
                unseen = self._unseen.copy()
                await anyio.lowlevel.checkpoint()
            except anyio.get_cancelled_exc_class():
                if not absorb_foreign_cancellation():
                    raise
                self._event.set()
                continue
            del self._unseen[: len(unseen)]
            # Every task that was queued before the checkpoint has taken its first step by now, or never will; on trio,
            # where the order is arbitrary, there is no such cancellation.
            for task in unseen if in_asyncio() else ():
                if not task.started:
                    task.lost(CancelledBeforeStart(task.name))
                    self._task_ended(task.host)

    def stop(self) -> None:
        """Have `watch` return once the last task has ended: no other is started after that."""
        self._stopping = True
        self._event.set()

    # ---- the roll ----

    def start_roll(self, host: Host, roll: RollRound) -> None:
        """Await the application's roll once, in a task of its own. Cancel `host.attempt` to end it."""
        host.attempt, host.rolling = anyio.CancelScope(), roll
        self._spawn(
            host,
            self._attempt_roll,
            roll,
            host.attempt,
            name=f"roll to {roll.target.date}",
            lost=lambda error: self._end_attempt(host, roll, error),
        )

    async def _attempt_roll(self, host: Host, roll: RollRound, scope: "anyio.CancelScope") -> None:
        try:
            with scope, CallbackScope(host):
                error = await _roll(host, roll)
        except Exception as failure:  # the application's own code
            error = failure
        except anyio.get_cancelled_exc_class() as cancelled:
            if not absorb_foreign_cancellation():
                self._leave_attempt(host, roll)
                raise
            error = cancelled
        except BaseException:
            self._free_attempt(host)
            raise
        if scope.cancelled_caught:
            error = _why_cancelled(host, roll)
        self._end_attempt(host, roll, error)
        try:
            # A native cancellation of this very task after its last await must not end the driver's task group.
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class():
            if not absorb_foreign_cancellation():
                raise

    def _leave_attempt(self, host: Host, roll: RollRound) -> None:
        """Leave an attempt that is cancelled because the manager is: it is done only where it has committed."""
        if host.committed is roll:
            self._end_attempt(host, roll, None)
        else:
            self._free_attempt(host)

    def _free_attempt(self, host: Host) -> None:
        host.attempt = host.rolling = None
        self._scheduler.roll_ended()

    def _end_attempt(self, host: Host, roll: RollRound, error: BaseException | None) -> None:
        """Report the outcome of an attempt; with None it has returned."""
        self._free_attempt(host)
        host.end_roll(roll, error, self._scheduler.observe_or_last())
        self._scheduler.emit(host)
        self._scheduler.wake(host)
        self._scheduler.wake_waiting_roll()

    # ---- handlers ----

    def call_handlers(self, host: Host) -> None:
        """Call the handlers that are ready, unless a task does so already."""
        if host.ready and not host.dispatching:
            host.dispatching = True
            self._spawn(host, self._dispatch, name="handlers", lost=lambda _: self._dispatch_anew(host))

    def _dispatch_anew(self, host: Host) -> None:
        host.dispatching = False
        self.call_handlers(host)

    async def _dispatch(self, host: Host) -> None:
        """Start the handlers that are ready, one after the other, each up to its first wait."""
        ready = host.ready
        try:
            while ready:
                handler = ready.popleft()
                if handler.overrun:
                    handler.overrun = False
                    self._report_failure(host, handler, SubscriberOverrun(LIMIT), None)
                if handler.claim():
                    await self._start_drain(host, handler)
        finally:
            host.dispatching = False

    async def _start_drain(self, host: Host, handler: Handler) -> None:
        """Start the task of a handler. An event whose task never takes its first step counts as failed."""

        async def drain() -> None:
            try:
                await self._drain(host, handler)
            finally:
                self._task_ended(host)

        name = f"handler {handler.label}"
        self._task_begins(host)
        while not await start_once(self._group, drain, name):
            event = handler.take()
            if event is None:
                self._task_ended(host)
                return
            self._report_failure(host, handler, CancelledBeforeStart(name), event)

    async def _drain(self, host: Host, handler: Handler) -> None:
        """Call a handler for each event in its queue, until that is empty."""
        while (event := handler.take()) is not None:
            try:
                await anyio.lowlevel.checkpoint_if_cancelled()
            except anyio.get_cancelled_exc_class() as cancelled:
                if not absorb_foreign_cancellation():
                    raise
                self._report_failure(host, handler, cancelled, event)
                continue
            await self._call_handler(host, handler, event)

    async def _call_handler(self, host: Host, handler: Handler, event: Event) -> None:
        error = await run_callback(
            handler,
            handler.label,
            handler.timeout,
            lambda: host.call_handler(handler, event),
            clock=self._scheduler.clock,
            observe=self._scheduler.observe_or_last,
        )
        if error is not None:
            self._report_failure(host, handler, error, event)
            self._scheduler.wake(host)

    def _report_failure(self, host: Host, handler: Handler, error: BaseException, cause: Event | None) -> None:
        self._scheduler.publish(host.report_failure(handler.label, error, cause, self._scheduler.observe_or_last()))

    # ---- probes ----

    def start_probe(self, host: Host, feed: FeedState, asked: timedelta) -> None:
        """Call a feed's probe in a task of its own; an error or a timeout counts as the answer False.

        `asked` is the monotonic deadline of the feed that the probe is about.
        """
        assert isinstance(feed, Feed)
        self._spawn(
            host,
            self._probe,
            feed,
            asked,
            name=f"probe of feed {feed.name}",
            lost=lambda error: self._answer(host, feed, asked, error, answer=False),
        )

    async def _probe(self, host: Host, feed: Feed, asked: timedelta) -> None:
        probe, answer = feed.probe, False
        assert probe is not None

        async def ask() -> None:
            nonlocal answer
            answer = bool(await probe(feed))

        error = await run_callback(
            feed,
            f"the probe of feed {feed.name}",
            feed.probe_timeout,
            ask,
            clock=self._scheduler.clock,
            observe=self._scheduler.observe_or_last,
        )
        self._answer(host, feed, asked, error, answer=answer)

    def _answer(self, host: Host, feed: Feed, asked: timedelta, error: BaseException | None, *, answer: bool) -> None:
        """Report the answer of a probe, or that it failed."""
        denied = None if answer else "its probe says that it is dead"
        if error is not None:
            LOGGER.warning(
                "%s: the probe of feed %s failed: %s", host.lifecycle.schedule.name, feed.name, describe(error)
            )
            timed_out = isinstance(error, HandlerTimeoutError)
            denied = describe(error) if timed_out else f"its probe failed: {describe(error)}"
        host.lifecycle.answer_probe(feed, asked, denied, self._scheduler.observe_or_last())
        self._scheduler.emit(host)
        self._scheduler.wake(host)

    # ---- counting ----

    def _spawn(
        self,
        host: Host,
        function: Callable[..., Awaitable[None]],
        *args: object,
        name: str,
        lost: Callable[[CancelledBeforeStart], None],
    ) -> None:
        """Start a task of a host, which is not stopped before all its tasks have ended.

        `lost` is called instead where the task was cancelled before its first step.
        """
        self._task_begins(host)
        task = _Task(host, name, lost)
        self._group.start_soon(self._counted, task, function, args, name=name)
        self._unseen.append(task)
        self._event.set()

    async def _counted(self, task: "_Task", function: Callable[..., Awaitable[None]], args: Sequence[object]) -> None:
        task.started = True
        try:
            await function(task.host, *args)
        finally:
            self._task_ended(task.host)

    def _task_begins(self, host: Host) -> None:
        host.tasks += 1
        self._running += 1

    def _task_ended(self, host: Host) -> None:
        host.tasks -= 1
        self._running -= 1
        if self._stopping:
            self._event.set()
        if not host.tasks:
            self._scheduler.tasks_ended(host)


class _Task:
    """A task that was spawned, and whether it has taken its first step."""

    __slots__ = ("host", "lost", "name", "started")

    def __init__(self, host: Host, name: str, lost: Callable[[CancelledBeforeStart], None]) -> None:
        self.host: Final = host
        self.name: Final = name
        self.lost: Final = lost
        self.started = False


async def _roll(host: Host, roll: RollRound) -> BaseException | None:
    """Await the application's roll, unless it has been completed already. Return why it counts as failed."""
    if not await _already_rolled(host, roll):
        outcome = host.roll_session(roll.target.date)
        if not inspect.isawaitable(outcome):
            return TypeError(f"roll_session returned {outcome!r}, which cannot be awaited: make it async")
        await outcome
    return None


async def _already_rolled(host: Host, roll: RollRound) -> bool:
    """Return whether the journal or `was_rolled` knows that an earlier attempt, or an earlier run, has completed it."""
    if await host.find_done(roll):
        return True
    if not roll.resumed or host.was_rolled is None:
        return False
    answer = host.was_rolled(roll.target.date)
    return bool(await answer if inspect.isawaitable(answer) else answer)


def _why_cancelled(host: Host, roll: RollRound) -> Exception:
    if isinstance(host.journal, SharedJournal) and not host.lifecycle.leading:
        return NotLeadingError("the roll", repr(host.journal), host.journal.term)
    return RollTimeoutError(_timeout_seconds(roll))


def _timeout_seconds(roll: RollRound) -> float:
    assert roll.expires_at is not None
    assert roll.started_at is not None
    return (roll.expires_at - roll.started_at).total_seconds()
