"""The anyio driver: ask the core, sleep, act, tell. It decides nothing.

One task drives any number of members off two heaps of deadlines, one for each clock; a manager run alone is the case of
one. Rolls run in child tasks, so that the driver stays responsive meanwhile. Whoever changes a member from outside
(always on the loop's own thread) calls `wake`, which ends the driver's sleep.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Final

import anyio
import anyio.abc
import anyio.lowlevel

from session_lifecycle._core.clock_state import ClockState
from session_lifecycle._core.feeds import FeedState
from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._core.rolls import RollRound
from session_lifecycle._core.view import Cohort
from session_lifecycle._model.clock import Clock, Reading, read
from session_lifecycle._model.errors import (
    ClockFailed,
    HandlerTimeoutError,
    RollTimeoutError,
    SubscriberOverrun,
    describe,
)
from session_lifecycle._model.events import Event
from session_lifecycle._runtime.callbacks import CallbackScope, run_callback, takes_back_cancellation
from session_lifecycle._runtime.cohorts import advance_cohorts
from session_lifecycle._runtime.event_log import LOGGER
from session_lifecycle._runtime.feed import Feed
from session_lifecycle._runtime.handlers import Handler
from session_lifecycle._runtime.host import RUNNING, STOPPING, Host
from session_lifecycle._runtime.subscriptions import LIMIT, Broadcast, in_time_order
from session_lifecycle._runtime.timer_queue import TimerQueue

_BROKEN_CLOCK_SECONDS: Final = 1.0
"""How long to wait, by the event loop's own time, before a clock that has failed is asked again."""

_MOST_COHORTS: Final = 1_000


class Driver:
    """Runs members in one task until the last has left, or until cancelled.

    Args:
        clock: what all of them go by.
        lasting: go on where no member is left, until `stop`: others may come.
        max_concurrent_rolls: so many rolls are awaited at a time, at most; the others wait their turn. None: all.
        broadcast: whoever hears of the events of all members.
        left: called when a member has left, and is over.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        lasting: bool = False,
        max_concurrent_rolls: int | None = None,
        broadcast: Broadcast | None = None,
        left: Callable[[Host], None] | None = None,
    ) -> None:
        self._clock = clock
        self._lasting = lasting
        self._most_rolls = max_concurrent_rolls
        self._broadcast = broadcast
        self._left = left
        self._hosts: dict[Host, None] = {}
        self._ending: dict[Host, None] = {}  # they have left, and something of theirs still runs
        self._dirty: dict[Host, None] = {}  # a dict, because it keeps its order
        self._wall_timers: TimerQueue[Host, datetime] = TimerQueue(attrgetter("wall"))
        self._monotonic_timers: TimerQueue[Host, timedelta] = TimerQueue(attrgetter("monotonic"))
        self._cohorts: dict[Cohort, tuple[Cohort, ClockState]] = {}
        self._rolls = 0  # so many are awaited
        self._queue: dict[Host, None] = {}  # whose rolls are due, and wait their turn
        self._unpublished: list[Sequence[Event]] | None = (
            None  # what members have told in this turn; None between turns
        )
        self._sleep_scope: anyio.CancelScope | None = None
        self._stopping = False
        self._broken = False
        self._last_reading: Reading
        self._tasks: anyio.abc.TaskGroup

    async def run(self, hosts: Iterable[Host], task_status: "anyio.abc.TaskStatus[None]") -> None:
        """Drive members from their beginning until they have left, or, where it is to last, until `stop`.

        Raises:
            LifecycleError: a member cannot begin. All of them have ended then.
        """
        hosts = tuple(hosts)
        try:
            self.observe()
            for host in hosts:
                self._begin(host)
            with ExitStack() as leaving:
                async with anyio.create_task_group() as self._tasks:
                    self._poll_due(self._last_reading)
                    task_status.started()
                    try:
                        while not self._stopping:
                            await self._iterate()
                    finally:
                        leaving.enter_context(self.passing_time())
                    while self._hosts:
                        await self._iterate()
        finally:
            for host in dict.fromkeys((*hosts, *self._hosts, *self._ending)):
                self._end(host)

    def add(self, host: Host) -> None:
        """Take in a member while running. On return it has caught up as far as that goes without a roll.

        Raises:
            LifecycleError: it cannot begin. It has ended then, and nothing else is affected.
        """
        try:
            self.observe()
            self._begin(host)
        except BaseException:
            host.end()
            raise
        self.wake(host)

    def stop(self) -> None:
        """Have all leave, and do not last any longer."""
        self._stopping = True
        for host in self._hosts:
            self.leave(host)
        self._wake_driver()

    def leave(self, host: Host) -> None:
        """Have a member leave as soon as its attempt under way, if any, has ended; begin no other."""
        if not host.running:
            return
        if not self._lasting:
            self._stopping = True
        host.state = STOPPING
        host.lifecycle.stop()
        self.wake(host)

    def wake(self, host: Host) -> None:
        """Look at a member that was changed from outside."""
        self._dirty[host] = None
        self._wake_driver()

    @property
    def stopping(self) -> bool:
        """Whether all are leaving, so that nobody can come any more."""
        return self._stopping

    def observe(self) -> Reading:
        """Read the clock; where it fails, raise `ClockFailed`."""
        self._last_reading = read(self._clock)
        return self._last_reading

    def observe_or_last(self) -> Reading:
        """Read the clock; where it fails, go by the last time that it did not."""
        try:
            return self.observe()
        except ClockFailed:
            return self._last_reading

    def emit(self, host: Host) -> None:
        """Log and hand out what has happened to a member."""
        self._broadcast_later(host.emit())

    def passing_time(self) -> AbstractContextManager[object]:
        """Let a simulated clock jump by itself while somebody is leaving: nobody may advance it meanwhile."""
        jumping: Callable[[], AbstractContextManager[object]] | None = getattr(self._clock, "jumping", None)
        return nullcontext() if jumping is None else jumping()

    # ---- turns ----

    def _begin(self, host: Host) -> None:
        host.begin(self._last_reading)
        host.state = RUNNING
        self._hosts[host] = self._dirty[host] = None
        self.emit(host)

    async def _iterate(self) -> None:
        """Sleep until something is due, then see to it."""
        before = self._last_reading  # a step since then is news to everybody, whoever looks meanwhile
        try:
            if not self._dirty:
                await self._sleep()
            now = self.observe()
        except ClockFailed as error:
            self._fail_all(error)
            return
        self._broken = False
        for host in self._monotonic_timers.pop_due(now.monotonic):
            host.monotonic = None
            self._dirty[host] = None
        cohort_members: list[Host] = []
        for host in self._wall_timers.pop_due(now.wall):
            host.wall = None
            if host.cohort is None or host in self._dirty:
                self._dirty[host] = None
            else:
                cohort_members.append(host)
        if now.step_since(before) is not None or not (self._dirty or cohort_members):
            # The clock stepped, or woke early for a reason of its own: everybody has a look.
            self._dirty.update(self._hosts)
            cohort_members = []
        self._poll_due(now, cohort_members)

    def _poll_due(self, now: Reading, cohort_members: Iterable[Host] = ()) -> None:
        """Bring members up to date, begin the rolls that are due, and file the new deadlines."""
        self._unpublished = []
        self._advance_cohorts(now, cohort_members)
        while self._dirty:
            dirty, self._dirty = self._dirty, {}
            for host in dirty:
                if host.running:
                    self._poll_host(host, now)
        unpublished, self._unpublished = self._unpublished, None
        if unpublished and self._broadcast is not None:
            self._broadcast.publish_all(in_time_order(unpublished))

    def _advance_cohorts(self, now: Reading, cohort_members: Iterable[Host]) -> None:
        """See to members that may be alike, cohort by cohort; whoever is not is left to be seen to by himself."""
        for lead in advance_cohorts(cohort_members, now):
            self._broadcast_later(lead.events)
            self._dirty.update(dict.fromkeys(lead.apart))
            for host in lead.observed:
                self._call_handlers(host)
            if lead.wall is not None:
                self._wall_timers.schedule_all(lead.wall, lead.followers)
            if lead.monotonic is not None:
                self._monotonic_timers.schedule_all(lead.monotonic, lead.moved)

    def _poll_host(self, host: Host, now: Reading) -> None:
        lifecycle = host.lifecycle
        lifecycle.poll(now)
        roll = lifecycle.due_roll(now)
        if roll is None:
            self._queue.pop(host, None)
        elif not (self._may_roll(host) and host.begin_roll(roll, now)):
            roll = None
        if lifecycle.has_events:
            self.emit(host)
        if host.ready:
            self._call_handlers(host)
        for feed, asked in lifecycle.take_questions():
            self._spawn(host, self._probe, feed, asked, name=f"probe of feed {feed.name}")
        if roll is not None:
            host.attempt = anyio.CancelScope()
            self._rolls += 1
            self._spawn(host, self._attempt, roll, host.attempt, name=f"roll to {roll.target.date}")
        elif host.attempt is not None and lifecycle.roll_expired:
            host.attempt.cancel()
        if self._queue:
            self._admit_next_roll()
        if host.state is STOPPING and host.attempt is None:
            self._remove(host)
        else:
            self._schedule(host)

    def _may_roll(self, host: Host) -> bool:
        """Tell whether a roll that is due may begin. Otherwise it waits its turn: first come, first served."""
        queue = self._queue
        if self._most_rolls is None:
            return True
        if self._rolls < self._most_rolls and next(iter(queue), host) is host:
            queue.pop(host, None)
            return True
        queue[host] = None
        return False

    def _admit_next_roll(self) -> None:
        """Have a look at the first of those that wait to roll, where there is room for it."""
        if self._queue and self._most_rolls is not None and self._rolls < self._most_rolls:
            self._dirty[next(iter(self._queue))] = None

    def _schedule(self, host: Host) -> None:
        host.cohort = self._shared(host.lifecycle)
        wall, monotonic = host.lifecycle.deadlines
        if wall != host.wall:
            host.wall = wall
            if wall is not None:
                self._wall_timers.schedule(wall, host)
        if host in self._queue:
            monotonic = None  # its attempt has been due for long
        if monotonic != host.monotonic:
            host.monotonic = monotonic
            if monotonic is not None:
                self._monotonic_timers.schedule(monotonic, host)

    def _shared(self, lifecycle: SessionLifecycle) -> Cohort | None:
        """Return one object for equal cohorts, and share equal clock states: thousands hold them."""
        cohort = lifecycle.cohort
        if cohort is None:
            return None
        if len(self._cohorts) > _MOST_COHORTS:
            self._cohorts.clear()  # sessions come and go
        shared, clock_state = self._cohorts.get(cohort, (cohort, None))
        if not lifecycle.progress.share(clock_state):
            self._cohorts[shared] = shared, lifecycle.progress.clock_state
        return shared

    def _remove(self, host: Host) -> None:
        """Have a member leave; its handlers may see to what they have been told, but nothing more comes."""
        del self._hosts[host]
        self._queue.pop(host, None)
        host.wall = host.monotonic = None
        host.close()
        if host.tasks:
            self._ending[host] = None
        else:
            self._end(host)

    def _end(self, host: Host) -> None:
        host.end()
        if self._left is not None:
            self._left(host)

    async def _sleep(self) -> None:
        """Sleep to the earliest deadline, or until woken. A clock that has failed is given a second to get well."""
        wall, elapsed = self._wall_timers.next_deadline(), self._monotonic_timers.next_deadline()
        monotonic = None if elapsed is None else elapsed.total_seconds()
        with anyio.CancelScope() as scope:
            self._sleep_scope = scope
            try:
                if self._broken:
                    await anyio.sleep(_BROKEN_CLOCK_SECONDS)
                    return
                await self._clock.sleep_until(wall, monotonic)
            except ClockFailed:
                raise
            except Exception as error:  # the clock may be the application's own code
                raise ClockFailed(describe(error)) from error
            finally:
                self._sleep_scope = None

    def _wake_driver(self) -> None:
        if self._sleep_scope is not None:
            self._sleep_scope.cancel()

    def _fail_all(self, error: ClockFailed) -> None:
        """Put every member in ERROR: without a clock, nothing can be known."""
        self._broken = True
        self._dirty.clear()
        for host in tuple(self._hosts):
            host.lifecycle.fail(str(error), self._last_reading)
            self.emit(host)
            self._call_handlers(host)  # whoever is to be called in ERROR needs that most of all
            if host.state is STOPPING:
                if host.attempt is not None:
                    host.attempt.cancel()  # nobody could tell when its timeout has passed
                else:
                    self._remove(host)

    def _broadcast_later(self, events: Sequence[Event]) -> None:
        """Tell those who hear of all members: at the end of the turn, so that they hear in the order of time."""
        if self._broadcast is None or not events:
            return
        if self._unpublished is not None:
            self._unpublished.append(events)
        else:
            for event in events:
                self._broadcast.publish(event)

    # ---- the application's code ----

    def _spawn(self, host: Host, function: Callable[..., Awaitable[None]], *args: object, name: str) -> None:
        """Run something of a member in a task of its own. The member has not ended before that has."""
        host.tasks += 1
        self._tasks.start_soon(self._counted, host, function, args, name=name)

    async def _counted(self, host: Host, function: Callable[..., Awaitable[None]], args: Sequence[object]) -> None:
        try:
            await function(host, *args)
        finally:
            self._done(host)

    def _done(self, host: Host) -> None:
        """Count down the tasks of a member; the last one ends a member that has left."""
        host.tasks -= 1
        if not host.tasks and host in self._ending:
            del self._ending[host]
            self._end(host)

    async def _attempt(self, host: Host, roll: RollRound, scope: "anyio.CancelScope") -> None:
        """Await the application's roll once and report what came of it."""
        error: BaseException | None = None
        try:
            with scope, CallbackScope(host):
                if not await self._was_rolled(host, roll):
                    outcome = host.roll_session(roll.target.date)
                    if inspect.isawaitable(outcome):
                        await outcome
                    else:
                        error = TypeError(f"roll_session returned {outcome!r}, which cannot be awaited: make it async")
        except Exception as failure:  # the application's own code
            error = failure
        except anyio.get_cancelled_exc_class() as cancelled:
            if not takes_back_cancellation():
                raise
            error = cancelled
        finally:
            host.attempt = None
            self._rolls -= 1
        if error is None and scope.cancelled_caught:
            error = RollTimeoutError(_seconds(roll))
        host.end_roll(roll, error, self.observe_or_last())
        self.emit(host)
        self.wake(host)
        if self._queue:
            self.wake(next(iter(self._queue)))
        try:
            # Whoever cancelled this very task after its last await, natively, must not end the group by that.
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class():
            if not takes_back_cancellation():
                raise

    async def _was_rolled(self, host: Host, roll: RollRound) -> bool:
        """Ask the application whether a roll that an earlier run may have completed has in fact happened."""
        if not roll.resumed or host.was_rolled is None:
            return False
        answer = host.was_rolled(roll.target.date)
        return bool(await answer if inspect.isawaitable(answer) else answer)

    def _call_handlers(self, host: Host) -> None:
        """Have the handlers called that are ready, if nobody sees to that already."""
        if host.ready and not host.dispatching:
            host.dispatching = True
            self._spawn(host, self._dispatch, name="handlers")

    async def _dispatch(self, host: Host) -> None:
        """Start the handlers that are ready, one after the other, each up to its first wait."""
        ready = host.ready
        try:
            while ready:
                handler = ready.popleft()
                if handler.overrun:
                    handler.overrun = False
                    self._handler_failed(host, handler, SubscriberOverrun(LIMIT), None)
                if handler.begin():
                    host.tasks += 1
                    await self._tasks.start(self._handle, host, handler, name=f"handler {handler.label}")
        finally:
            host.dispatching = False

    async def _handle(self, host: Host, handler: Handler, *, task_status: "anyio.abc.TaskStatus[None]") -> None:
        """Call a handler for all the events that wait for it."""
        try:
            task_status.started()
            while (event := handler.take()) is not None:
                await anyio.lowlevel.checkpoint_if_cancelled()
                await self._call_handler(host, handler, event)
        finally:
            self._done(host)

    async def _call_handler(self, host: Host, handler: Handler, event: Event) -> None:
        """Call a handler once; its failure is told, and concerns nobody else."""
        error = await run_callback(
            handler,
            handler.label,
            handler.timeout,
            lambda: handler.function(event),
            clock=self._clock,
            observe=self.observe_or_last,
        )
        if error is not None:
            self._handler_failed(host, handler, error, event)
            self.wake(host)

    def _handler_failed(self, host: Host, handler: Handler, error: BaseException, cause: Event | None) -> None:
        self._broadcast_later(host.handler_failed(handler, error, cause, self.observe_or_last()))

    async def _probe(self, host: Host, watch: FeedState, asked: timedelta) -> None:
        """Ask the application whether a feed is alive; whatever goes wrong means that it is not."""
        assert isinstance(watch, Feed)
        feed, probe, answer = watch, watch.probe, False
        assert probe is not None

        async def ask() -> None:
            nonlocal answer
            answer = bool(await probe(feed))

        error = await run_callback(
            feed,
            f"the probe of feed {feed.name}",
            feed.probe_timeout,
            ask,
            clock=self._clock,
            observe=self.observe_or_last,
        )
        denied = None if answer else "its probe says that it is dead"
        if error is not None:
            LOGGER.warning(
                "%s: the probe of feed %s failed: %s", host.lifecycle.schedule.name, feed.name, describe(error)
            )
            denied = (
                describe(error) if isinstance(error, HandlerTimeoutError) else f"its probe failed: {describe(error)}"
            )
        host.lifecycle.answer_probe(feed, asked, denied, self.observe_or_last())
        self.emit(host)
        self.wake(host)


def _seconds(roll: RollRound) -> float:
    assert roll.expires_at is not None
    assert roll.started_at is not None
    return (roll.expires_at - roll.started_at).total_seconds()
