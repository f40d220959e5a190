"""The driver: sleeps until a lifecycle is due, polls it, and emits what has happened. It decides nothing.

One task drives any number of hosts from two timer queues, one for each clock; a manager run alone is the case of one.
The application's code runs in tasks of its own (`app_tasks`), so the driver stays responsive meanwhile. A call that
changes a host, always on the event loop's own thread, calls `wake`, which ends the driver's sleep.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from datetime import datetime, timedelta
from functools import partial
from operator import attrgetter
from typing import Final

import anyio

from session_lifecycle._core.rolls import RollRound
from session_lifecycle._journal.errors import NotLeadingError
from session_lifecycle._model.clock import Clock, Reading, read
from session_lifecycle._model.errors import ClockFailed, GroupStopped, describe
from session_lifecycle._model.events import Event
from session_lifecycle._model.home_errors import DriverCancelled
from session_lifecycle._runtime.app_tasks import AppTasks
from session_lifecycle._runtime.callbacks import cancel_natively, cancelled_natively, sole_of
from session_lifecycle._runtime.cohorts import SharedCohorts, advance_cohorts
from session_lifecycle._runtime.home import Home
from session_lifecycle._runtime.host import Host
from session_lifecycle._runtime.host_state import RUNNING, STOPPING
from session_lifecycle._runtime.journal_tasks import JournalTasks
from session_lifecycle._runtime.roll_slots import RollSlots
from session_lifecycle._runtime.subscriptions import Broadcast, in_time_order
from session_lifecycle._runtime.sure_start import start_surely
from session_lifecycle._runtime.system_clock import SystemClock
from session_lifecycle._runtime.timer_queue import TimerQueue

_BROKEN_CLOCK_SECONDS: Final = 1.0
"""How long to wait, by the event loop's own time, before a clock that has failed is read again."""


class Driver:
    """Drives hosts in one task until all have stopped, or until cancelled.

    Args:
        clock: the clock of all hosts.
        home: the event loop that it runs in.
        keep_running: go on without hosts, until `stop`: more may be added.
        max_concurrent_rolls: how many rolls are awaited at a time. None: any number.
        broadcast: takes the events of all hosts, for their common subscribers.
        on_stopped: called with each host once it has stopped.
    """

    def __init__(
        self,
        clock: Clock,
        home: Home,
        *,
        keep_running: bool = False,
        max_concurrent_rolls: int | None = None,
        broadcast: Broadcast | None = None,
        on_stopped: Callable[[Host], None] | None = None,
    ) -> None:
        self.clock: Final = clock
        self.home: Final = home
        self.failure: BaseException | None = None
        """What has ended it; None while it runs, and where it was stopped or cancelled with a scope around it."""
        self._keep_running = keep_running
        self._broadcast = broadcast
        self._on_stopped = on_stopped
        self._hosts: dict[Host, None] = {}
        self._draining: dict[Host, None] = {}  # removed, with tasks that have not ended
        self._dirty: dict[Host, None] = {}  # to be polled; a dict, because it keeps its order
        self._wall_timers: TimerQueue[Host, datetime] = TimerQueue(attrgetter("wall"))
        self._monotonic_timers: TimerQueue[Host, timedelta] = TimerQueue(attrgetter("monotonic"))
        self._cohorts = SharedCohorts()
        self._roll_slots = RollSlots(max_concurrent_rolls)
        self._unpublished: list[Sequence[Event]] | None = None  # the events of this iteration; None between two
        self._sleep_scope: anyio.CancelScope | None = None
        self._stopping = False
        self._clock_failed = False
        self._done = False
        self._cancelled_natively = False
        self.alive_at: datetime | None = None
        """When it has last turned, by the wall clock; None before it runs."""
        self._additions: set[anyio.CancelScope] = set()
        self._journals = JournalTasks(self, self._stopped)
        self._last_reading: Reading
        self._app: AppTasks

    # ---- running ----

    async def run(self, hosts: Iterable[Host], task_status: "anyio.abc.TaskStatus[None]") -> None:
        """Drive hosts from their beginning until they have stopped or, with `keep_running`, until `stop`.

        Raises:
            LifecycleError: a host cannot begin. All of them have stopped then.
            DriverCancelled: one of its tasks was cancelled from outside, which has ended it.
        """
        hosts = tuple(hosts)
        try:
            async with anyio.create_task_group() as journals:
                await start_surely(journals, self._journals.run, absorb=False)
                self._journals.hold()
                try:
                    await self._begin(hosts)
                    await self._drive(task_status)
                except BaseException as error:
                    self._keep_failure(error)
                    raise
                finally:
                    self._cancel_additions()
                    for host in dict.fromkeys((*hosts, *self._hosts, *self._draining)):
                        self._end(host)
                    self._journals.stop()
            self._require_done()
        finally:
            for host in hosts:
                host.end()  # also where the task that closes journals was lost

    async def _drive(self, task_status: "anyio.abc.TaskStatus[None]") -> None:
        """Drive the hosts that have begun."""
        with ExitStack() as exit_stack:
            async with anyio.create_task_group() as group:
                self._app = AppTasks(self, group)
                await start_surely(group, self._app.watch, absorb=False)
                self._poll_due(self._last_reading)
                task_status.started()
                try:
                    while not self._stopping:
                        await self._iterate()
                except BaseException as error:
                    self._keep_failure(error)
                    for host in self._hosts:
                        host.lifecycle.stop()  # an intent that becomes durable from now on begins no attempt
                    raise
                finally:
                    exit_stack.enter_context(self.let_clock_jump())
                while self._hosts:
                    await self._iterate()
                self._app.stop()
                self._done = True
        self._require_done()

    def _keep_failure(self, error: BaseException) -> None:
        """Keep what has ended the driver, as the cause of calls that are refused from now on."""
        if not isinstance(error, anyio.get_cancelled_exc_class()):
            self.failure = sole_of(error)
        elif cancelled_natively():
            self.failure = DriverCancelled(self._kind)
            self._cancelled_natively = True

    def _require_done(self) -> None:
        """Raise where a task group has ended early.

        Either a task in it ended cancelled, and anyio then cancels the group; or this very task was cancelled natively
        in the turn in which it was woken by the cancellation of a scope, and anyio has taken both for the scope's.
        """
        if not self._done:
            raise anyio.get_cancelled_exc_class() if self._cancelled_natively else DriverCancelled(self._kind)

    @property
    def _kind(self) -> str:
        return "SessionGroup" if self._keep_running else "SessionBoundaryManager"

    async def add(self, host: Host) -> None:
        """Add a host while running. On return it has caught up, up to the first roll that is due.

        Raises:
            GroupStopped: the driver has stopped meanwhile.
            LifecycleError: it cannot begin. It has stopped then, and nothing else is affected.
        """
        try:
            with anyio.CancelScope() as scope:
                self._additions.add(scope)
                try:
                    await self._begin((host,))
                finally:
                    self._additions.discard(scope)
        except BaseException:
            await self._give_up(host)
            raise
        if scope.cancel_called:  # also where it had begun just before that
            await self._give_up(host)
            call = "add()"
            raise GroupStopped(call)
        self.wake(host)

    async def _give_up(self, host: Host) -> None:
        """End a host that was not added, in the calling task; a native cancellation meanwhile is delivered after it."""
        self._hosts.pop(host, None)
        if await host.close_journal():
            cancel_natively()

    def _cancel_additions(self) -> None:
        for scope in self._additions:
            scope.cancel("the group stops")

    def stop(self) -> None:
        """Stop all hosts, and do not keep running without hosts any longer."""
        self._stopping = True
        self._cancel_additions()
        for host in self._hosts:
            self.stop_host(host)
        self._wake_driver()

    def stop_host(self, host: Host) -> None:
        """Stop a host: its attempt under way, if any, may end; no other begins. A second call does nothing."""
        if not host.running:
            return
        if not self._keep_running:
            self._stopping = True
        host.state = STOPPING
        host.lifecycle.stop()
        self.wake(host)

    @property
    def stopping(self) -> bool:
        """Whether all hosts are stopping, so that none can be added any more."""
        return self._stopping

    def let_clock_jump(self) -> AbstractContextManager[object]:
        """Have a simulated clock jump by itself while a host stops: the application may not advance it meanwhile."""
        jumping: Callable[[], AbstractContextManager[object]] | None = getattr(self.clock, "jumping", None)
        return nullcontext() if jumping is None else jumping()

    # ---- what hosts and the application's tasks call ----

    def observe(self) -> Reading:
        """Read the clock.

        Raises:
            ClockFailed: it cannot be read.
        """
        self._last_reading = read(self.clock)
        return self._last_reading

    def observe_or_last(self) -> Reading:
        """Read the clock; where it fails, return the last reading."""
        try:
            return self.observe()
        except ClockFailed:
            return self._last_reading

    def wake(self, host: Host) -> None:
        """Poll a host in the next iteration, and begin that now."""
        self._dirty[host] = None
        self._wake_driver()

    def emit(self, host: Host) -> None:
        """Emit the events that a host's lifecycle holds: log them, and publish them to all subscribers."""
        self.publish(host.emit())

    def publish(self, events: Sequence[Event]) -> None:
        """Publish events to the subscribers of all hosts: within an iteration at its end, in the order of time."""
        if self._broadcast is None or not events:
            return
        if self._unpublished is not None:
            self._unpublished.append(events)
        else:
            for event in events:
                self._broadcast.publish(event)

    def roll_ended(self) -> None:
        """Free the slot of a roll that is not awaited any more."""
        self._roll_slots.free()

    def wake_waiting_roll(self) -> None:
        """Poll the host whose roll waits longest, where there is a slot for it."""
        waiting = self._roll_slots.next_host
        if waiting is not None:
            self.wake(waiting)

    def tasks_ended(self, host: Host) -> None:
        """End a host that was draining: its last task has ended."""
        if host in self._draining:
            del self._draining[host]
            self._end(host)

    # ---- iterating ----

    async def _begin(self, hosts: Sequence[Host]) -> None:
        """Open the journals of hosts and begin them; emit once what they adopt is durable."""
        for host in hosts:
            await host.open_journal(self.clock, partial(self._journals.request, host))
        self.alive_at = self.observe().wall
        adopted = [(host.ledger, host.begin(self._last_reading)) for host in hosts]
        for ledger, entry in adopted:
            if ledger is not None and entry is not None:
                await ledger.wait(entry)
        for host in hosts:
            host.state = RUNNING
            self._hosts[host] = self._dirty[host] = None
            self.emit(host)
            if host.replica is not None:
                self._journals.share(host)

    async def _iterate(self) -> None:
        """Sleep until something is due, and poll the hosts that it concerns."""
        before = self._last_reading  # a step since then concerns every host, also where a call has read the clock since
        try:
            if not self._dirty:
                before = await self._sleep(before)
            now = self.observe()
        except ClockFailed as error:
            self._fail_all(error)
            return
        self._clock_failed, self.alive_at = False, now.wall
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
        early = not (self._dirty or cohort_members) and not isinstance(self.clock, SystemClock)
        if early or now.step_since(before) is not None:
            # The clock stepped, or returned early for a reason of its own: poll every host.
            self._dirty.update(self._hosts)
            cohort_members = []
        if self._dirty or cohort_members:
            self._poll_due(now, cohort_members)

    async def _sleep(self, last: Reading) -> Reading:
        """Sleep until the next deadline, or until woken, and return the last reading before the end of that.

        By the machine's own clock, note each `check_interval` that the driver is alive. After a failure of the clock,
        wait a second of the loop's.
        """
        wall, elapsed = self._wall_timers.next_deadline(), self._monotonic_timers.next_deadline()
        check_interval = self.clock.check_interval if isinstance(self.clock, SystemClock) else None
        with anyio.CancelScope() as scope:
            self._sleep_scope = scope
            try:
                if self._clock_failed:
                    await anyio.sleep(_BROKEN_CLOCK_SECONDS)
                    return last
                while check_interval is not None:
                    alive = last.monotonic + check_interval
                    if elapsed is not None and elapsed <= alive:
                        break
                    await self.clock.sleep_until(wall, alive.total_seconds())
                    now = self.observe()
                    if now.step_since(last) is not None or (wall is not None and now.wall >= wall):
                        return last
                    last, self.alive_at = now, now.wall
                await self.clock.sleep_until(wall, None if elapsed is None else elapsed.total_seconds())
            except ClockFailed:
                raise
            except Exception as error:  # the clock may be the application's own code
                raise ClockFailed(describe(error)) from error
            finally:
                self._sleep_scope = None
        return last

    def _wake_driver(self) -> None:
        if self._sleep_scope is None:
            return
        if self.home.here:
            self._sleep_scope.cancel("woken by a call")
        else:  # a cancellation that cannot be delivered would leave the scope marked, and every later one void
            self.home.post(self._wake_driver)

    def _poll_due(self, now: Reading, cohort_members: Iterable[Host] = ()) -> None:
        """Poll hosts, start the rolls that are due, and schedule the next deadlines."""
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
        """Advance hosts cohort by cohort; those that cannot follow theirs are polled one by one."""
        for result in advance_cohorts(cohort_members, now):
            self.publish(result.events)
            self._dirty.update(dict.fromkeys(result.apart))
            for host in result.subscribed:
                self._app.call_handlers(host)
            if result.wall is not None:
                self._wall_timers.schedule_all(result.wall, result.followers)
            if result.monotonic is not None:
                self._monotonic_timers.schedule_all(result.monotonic, result.moved)

    def _poll_host(self, host: Host, now: Reading) -> None:
        lifecycle = host.lifecycle
        lifecycle.poll(now)
        adoption = lifecycle.due_adoption(now)
        if adoption is not None:
            host.execute(adoption, now)
        roll = lifecycle.due_roll(now)
        if roll is None:
            self._roll_slots.withdraw(host)
        elif self._roll_slots.request(host):
            self._begin_roll(host, roll, now)
        if lifecycle.has_events:
            self.emit(host)
        if host.ready:
            self._app.call_handlers(host)
        for feed, asked in lifecycle.take_questions():
            self._app.start_probe(host, feed, asked)
        if host.attempt is not None and lifecycle.roll_expired:
            host.attempt.cancel("the roll is over its roll_timeout")
        self._poll_waiting_roll()
        if host.state is STOPPING and host.at_rest:
            self._remove(host)
        else:
            self._schedule(host)

    def _begin_roll(self, host: Host, roll: RollRound, now: Reading) -> None:
        """Take a slot, and begin the attempt that is due once its intent is durable."""
        self._roll_slots.take()
        records, apply, abandon = host.lifecycle.begin_roll(roll, now, journalled=host.ledger is not None)

        def begin(now: Reading) -> None:
            if host.leads:  # read before each attempt: the lease may be over, and another replica may roll
                apply(now)
            if roll.started_at is not None:
                self.emit(host)  # readers and handlers hear of it first
                self._app.call_handlers(host)
                self._app.start_roll(host, roll)
            else:  # it is not wanted any more, or another replica leads
                self.roll_ended()
                self.wake_waiting_roll()

        def give_up(error: Exception, now: Reading) -> None:
            self.roll_ended()
            self.wake_waiting_roll()
            if abandon is not None and not isinstance(error, NotLeadingError):
                abandon(error, now)

        if records and host.ledger is not None:
            host.ledger.submit(records, begin, give_up)
        else:
            begin(now)

    def _poll_waiting_roll(self) -> None:
        """Poll the host whose roll waits longest in this iteration too, where there is a slot for it."""
        waiting = self._roll_slots.next_host
        if waiting is not None:
            self._dirty[waiting] = None

    def _schedule(self, host: Host) -> None:
        """Schedule the deadlines of a host that have changed."""
        host.cohort = self._cohorts.shared(host.lifecycle)
        wall, monotonic = host.lifecycle.deadlines
        if wall != host.wall:
            host.wall = wall
            if wall is not None:
                self._wall_timers.schedule(wall, host)
        if host in self._roll_slots:
            monotonic = host.lifecycle.phase_deadline  # its roll is due already, and waits for a slot
        if monotonic != host.monotonic:
            host.monotonic = monotonic
            if monotonic is not None:
                self._monotonic_timers.schedule(monotonic, host)

    def _fail_all(self, error: ClockFailed) -> None:
        """Put every lifecycle in ERROR: without a clock its state cannot be known."""
        self._clock_failed = True
        self._dirty.clear()
        for host in tuple(self._hosts):
            host.lifecycle.fail(str(error), self._last_reading)
            self.emit(host)
            self._app.call_handlers(host)  # handlers of ERROR are needed now most of all
            if host.state is STOPPING:
                if host.attempt is not None:
                    host.attempt.cancel("the clock has failed")  # its timeout cannot be observed any more
                elif host.at_rest:
                    self._remove(host)

    # ---- stopping ----

    def _remove(self, host: Host) -> None:
        """Remove a host: its handlers may finish the events in their queues, but no more are emitted."""
        del self._hosts[host]
        self._roll_slots.withdraw(host)
        host.wall = host.monotonic = None
        host.close()
        if host.tasks:
            self._draining[host] = None
        else:
            self._end(host)

    def _end(self, host: Host) -> None:
        """Close the journal of a host, which has stopped after that."""
        if host.holds_journal:
            self._journals.close(host)  # its subscriptions end after that, with what is still being written
        else:
            host.end()
            self._stopped(host)

    def _stopped(self, host: Host) -> None:
        if self._on_stopped is not None:
            self._on_stopped(host)
