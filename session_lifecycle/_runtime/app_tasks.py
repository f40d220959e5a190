"""Tasks of the application's code: rolls, handlers and probes of all hosts, in the driver's task group.

An exception or a timeout of such code becomes an event or a failed attempt. The driver's own cancellation propagates.
"""

import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from functools import partial
from math import inf
from typing import Any, Final, Protocol

import anyio
import msgspec

from session_lifecycle._core.feeds import FeedState
from session_lifecycle._core.rolls import RollRound
from session_lifecycle._journal.base import SharedJournal
from session_lifecycle._journal.errors import NotLeadingError
from session_lifecycle._model.clock import Clock, Reading
from session_lifecycle._model.errors import (
    CancelledBeforeStart,
    ClockFailed,
    HandlerTimeoutError,
    RollTimeoutError,
    SubscriberOverrun,
    describe,
)
from session_lifecycle._model.events import AlarmFired, Event
from session_lifecycle._runtime.call_scope import CallScope, oversee
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

    On asyncio anybody can cancel a task natively, even before its first step: then none of its code runs, and the task
    group would be cancelled for it. So there `watch` starts every task and waits for its first step; one that takes
    none is reported as failed. It also repeats cancellations that are swallowed, see `call_scope`.
    """

    __slots__ = ("_calls", "_event", "_group", "_in_asyncio", "_queue", "_running", "_scheduler", "_stopping")

    def __init__(self, scheduler: Scheduler, group: "anyio.abc.TaskGroup") -> None:
        self._scheduler: Final = scheduler
        self._group: Final = group
        self._in_asyncio: Final = in_asyncio()
        self._queue: deque[_Task] = deque()  # to be started
        self._calls: dict[CallScope, tuple[Host, str]] = {}  # calls that have not ended, and what each is
        self._running = 0
        self._stopping = False
        self._event = anyio.Event()

    async def watch(self, *, task_status: "anyio.abc.TaskStatus[None]") -> None:
        """Start tasks until `stop` and the end of the last one. Where it is cancelled, oversee the end of all calls."""
        task_status.started()
        while not (self._stopping and not self._running):
            try:
                await self._event.wait()
                self._event = anyio.Event()
                while self._queue:
                    await self._start(self._queue.popleft())
            except anyio.get_cancelled_exc_class():
                if not absorb_foreign_cancellation():
                    while self._queue:
                        self._queue.popleft().dropped()
                    await self._oversee_all()
                    raise
                self._event.set()

    async def _start(self, task: "_Task") -> None:
        begun = False

        async def run() -> None:
            nonlocal begun
            begun = True
            await task.run()

        try:
            if not await start_once(self._group, run, task.name):
                task.lost(CancelledBeforeStart(task.name))
        except anyio.get_cancelled_exc_class():
            if not begun:
                task.dropped()
            raise

    def stop(self) -> None:
        """Have `watch` return once the last task has ended: no other is started after that."""
        self._stopping = True
        self._event.set()

    # ---- the roll ----

    def start_roll(self, host: Host, roll: RollRound) -> None:
        """Await the application's roll once, in a task of its own. Cancel `host.attempt` to end it."""
        name = f"roll to {roll.target.date}"
        host.attempt, host.rolling = self._open_call(host, f"the {name}"), roll
        self._spawn(
            host,
            self._attempt_roll,
            roll,
            host.attempt,
            name=name,
            lost=lambda error: self._end_attempt(host, roll, error),
            dropped=lambda: self._free_attempt(host),
        )

    async def _attempt_roll(self, host: Host, roll: RollRound, scope: CallScope) -> None:
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
        if host.attempt is not None:
            self._close_call(host.attempt)
        host.attempt = host.rolling = None
        self._scheduler.roll_ended()

    def _end_attempt(self, host: Host, roll: RollRound, error: BaseException | None) -> None:
        """Report the outcome of an attempt; with None it has returned. Where the driver is cancelled, none follows."""
        self._free_attempt(host)
        if anyio.current_effective_deadline() == -inf:  # whichever of the driver's tasks gets its cancellation first
            host.lifecycle.stop()
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
                busy_for, handler.busy_for = handler.busy_for, None
                if busy_for is not None:
                    now = self._scheduler.observe_or_last()
                    self._scheduler.publish(host.report_busy(handler.label, busy_for, now))
                if handler.claim():
                    await self._start_drain(host, handler)
        finally:
            host.dispatching = False

    async def _start_drain(self, host: Host, handler: Handler) -> None:
        """Start the task of a handler. An event whose task never takes its first step counts as failed."""
        begun = False

        async def drain() -> None:
            nonlocal begun
            begun = True
            try:
                await self._drain(host, handler)
            finally:
                self._task_ended(host)

        name = f"handler {handler.label}"
        self._task_begins(host)
        try:
            while not await start_once(self._group, drain, name):
                event = handler.take()
                if event is None:
                    break
                self._report_failure(host, handler, CancelledBeforeStart(name), event)
        finally:
            if not begun:
                self._task_ended(host)

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
        """Call a handler, unless the call has waited behind an earlier one and what it is about is over by now."""
        argument = self._judge_again(host, handler, event) if handler.waited else event
        if argument is None:
            return
        scope = self._open_call(host, f"handler {handler.label}")
        try:
            error = await run_callback(
                handler,
                handler.label,
                handler.timeout,
                partial(host.call_handler, handler, event, argument),
                clock=self._scheduler.clock,
                observe=self._scheduler.observe_or_last,
                scope=scope,
            )
        finally:
            self._close_call(scope)
        if error is not None:
            self._report_failure(host, handler, error, event)
            self._scheduler.wake(host)

    def _judge_again(self, host: Host, handler: Handler, event: Event) -> Event | None:
        """Return a waiting event as of now, None where what it is about is over."""
        now = self._scheduler.observe_or_last()
        if not isinstance(event, AlarmFired):
            return handler.judge_again(event, now)
        verdict = host.lifecycle.judge_alarm(event, now)
        if isinstance(verdict, AlarmFired):
            return verdict
        self._scheduler.publish(host.skip_alarm(event, verdict))
        return None

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

        label = f"the probe of feed {feed.name}"
        scope = self._open_call(host, label)
        try:
            error = await run_callback(
                feed,
                label,
                feed.probe_timeout,
                ask,
                clock=self._scheduler.clock,
                observe=self._scheduler.observe_or_last,
                scope=scope,
            )
        finally:
            self._close_call(scope)
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

    # ---- cancelled calls that do not end ----

    def _open_call(self, host: Host, label: str) -> CallScope:
        """Return the scope for a call of the application's code, until `_close_call`."""
        scope = CallScope(self._oversee)
        self._calls[scope] = host, label
        return scope

    def _close_call(self, scope: CallScope) -> None:
        scope.left = True  # where its task was lost, it has not been entered
        self._calls.pop(scope, None)

    def _oversee(self, scope: CallScope) -> None:
        """Oversee the end of a call that was cancelled, in a task of its own."""
        self._running += 1
        self._launch(_Task("overseer", partial(self._overseeing, scope), self._overseer_lost, self._one_less))

    def _overseer_lost(self, error: CancelledBeforeStart) -> None:  # noqa: ARG002 -- nothing else was lost
        self._one_less()

    async def _overseeing(self, scope: CallScope) -> None:
        try:
            while not scope.left:
                try:
                    await oversee(scope, partial(self._report_overdue, scope))
                except anyio.get_cancelled_exc_class():
                    if not absorb_foreign_cancellation():
                        raise
        finally:
            self._one_less()

    async def _oversee_all(self) -> None:
        """Oversee the end of every call: all of them were cancelled."""
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as tasks:
                for scope in tuple(self._calls):
                    tasks.start_soon(oversee, scope, partial(self._report_overdue, scope))

    def _report_overdue(self, scope: CallScope, seconds: float) -> None:
        call = self._calls.get(scope)
        if call is not None:
            host, label = call
            waited = timedelta(seconds=seconds)
            self._scheduler.publish(host.report_overdue(label, waited, self._scheduler.observe_or_last()))

    # ---- starting and counting ----

    def _spawn(
        self,
        host: Host,
        function: Callable[..., Awaitable[None]],
        *args: object,
        name: str,
        lost: Callable[[CancelledBeforeStart], None],
        dropped: Callable[[], None] = lambda: None,
    ) -> None:
        """Start a task of a host, which is not stopped before all its tasks have ended.

        Instead `lost` is called where the task was cancelled before its first step, `dropped` where the driver was.
        """
        self._task_begins(host)

        async def run() -> None:
            try:
                await function(host, *args)
            finally:
                self._task_ended(host)

        def report_lost(error: CancelledBeforeStart) -> None:
            lost(error)
            self._task_ended(host)

        def drop() -> None:
            dropped()
            self._task_ended(host)

        self._launch(_Task(name, run, report_lost, drop))

    def _launch(self, task: "_Task") -> None:
        if self._in_asyncio:
            self._queue.append(task)
            self._event.set()
        else:
            self._group.start_soon(task.run, name=task.name)

    def _task_begins(self, host: Host) -> None:
        host.tasks += 1
        self._running += 1

    def _task_ended(self, host: Host) -> None:
        host.tasks -= 1
        self._one_less()
        if not host.tasks:
            self._scheduler.tasks_ended(host)

    def _one_less(self) -> None:
        self._running -= 1
        if self._stopping:
            self._event.set()


class _Task(msgspec.Struct, frozen=True, eq=False):
    """A task to be started."""

    name: str
    run: Callable[[], Coroutine[Any, Any, None]]
    lost: Callable[[CancelledBeforeStart], None]
    """Called where it was cancelled before its first step."""
    dropped: Callable[[], None]
    """Called where the driver was cancelled before that."""


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
    if isinstance(host.journal, SharedJournal) and not host.lifecycle.pursues(roll):
        return NotLeadingError("the roll", repr(host.journal), host.journal.term)
    if not roll.expired:
        return ClockFailed("how long the roll takes is not known, so it was not waited for")
    return RollTimeoutError(_timeout_seconds(roll))


def _timeout_seconds(roll: RollRound) -> float:
    assert roll.expires_at is not None
    assert roll.started_at is not None
    return (roll.expires_at - roll.started_at).total_seconds()
