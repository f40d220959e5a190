"""The object that an application holds: `SessionBoundaryManager`."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any, TypeVar, cast, get_args, overload

import anyio.abc
import anyio.lowlevel

from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._journal.base import Journal
from session_lifecycle._model.alarm import Alarm, Misfire
from session_lifecycle._model.clock import (
    Clock,
    Reading,
    read,
)
from session_lifecycle._model.config import AdaptiveTimeout, LifecycleConfig, Resolution, require_duration
from session_lifecycle._model.errors import (
    ConfigurationError,
    ManagerStopped,
    NotRunningError,
    ReentrancyError,
    RollFailedError,
)
from session_lifecycle._model.events import AlarmFired, Event, RollFailed, RollSucceeded, StateChanged
from session_lifecycle._model.legs import Anchor
from session_lifecycle._model.overrides import Override
from session_lifecycle._model.session import Session
from session_lifecycle._model.states import SessionState
from session_lifecycle._model.status import Status
from session_lifecycle._runtime import scopes
from session_lifecycle._runtime.callbacks import inside
from session_lifecycle._runtime.driver import Driver
from session_lifecycle._runtime.event_log import LOGGER
from session_lifecycle._runtime.feed import AdaptiveFeed, Feed, FeedCalls, Probe
from session_lifecycle._runtime.handlers import Handler, Wanted, on_alarm, on_kind, on_state, require_async
from session_lifecycle._runtime.host import Host, RollSession, WasRolled
from session_lifecycle._runtime.lifespan import Lifespan
from session_lifecycle._runtime.subscriptions import Subscription
from session_lifecycle._runtime.system_clock import SystemClock
from session_lifecycle._schedules.base import Schedule

E = TypeVar("E", bound=Event)
StateHandler = TypeVar("StateHandler", bound=Callable[[StateChanged], Awaitable[object]])
AlarmHandler = TypeVar("AlarmHandler", bound=Callable[[AlarmFired], Awaitable[object]])

_system_clock = cache(SystemClock)  # it knows nothing but its settings, so one of a kind serves thousands
_PROBE_TIMEOUT = timedelta(seconds=5)
_ON_TIME = timedelta(seconds=1)


class SessionBoundaryManager(Lifespan):
    """Knows which trading session this is and which state it is in, and rolls the day.

    Run it with `async with manager:` or with `await task_group.start(manager.run)`; once only. All calls belong on the
    event loop's own thread.

    Args:
        schedule: a `Schedule`, or the name of an exchange_calendars calendar, aliases included.
        roll_session: async callable, awaited in the application's own loop at the end of each session with the date of
            the next one. Make it idempotent by that date.
        session: the date of the session that the application is in. Where the clock is past it, rolls are owed. By
            default the session that owns the present.
        config: the policy.
        clock: where time comes from; by default a `SystemClock` with the configuration's `check_interval`.
        journal: where rolls are written down, so that a restart neither skips nor repeats one; by default nowhere. The
            session that it tells of is taken up, and `session` must agree with it.
        was_rolled: asked with the date, before a roll that an earlier run may have completed is awaited again; where it
            answers True, sync or async, the roll counts as done.
        name: put on every event, for applications with several managers.

    Raises:
        CalendarUnavailable: no calendar of that name can be had.
        NotASession: `session` is none of the schedule's.
        TypeError: an argument is of the wrong kind; a `roll_session` that is not async, for one.
    """

    __module__ = "session_lifecycle"

    __slots__ = ("_clock", "_driver", "_feed_calls", "_host", "_lifecycle", "_monotonic", "_progress", "_staleness")

    def __init__(
        self,
        schedule: Schedule | str,
        roll_session: RollSession,
        *,
        session: date | None = None,
        config: LifecycleConfig = LifecycleConfig(),
        clock: Clock | None = None,
        journal: Journal | None = None,
        was_rolled: WasRolled | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        require_async("roll_session", "a date", roll_session)
        if not isinstance(config, LifecycleConfig):
            msg = f"config must be a LifecycleConfig, not {config!r}"
            raise TypeError(msg)
        if journal is not None and not isinstance(journal, Journal):
            msg = f"journal must be a Journal, such as FileJournal(path), not {journal!r}"
            raise TypeError(msg)
        if was_rolled is not None and not callable(was_rolled):
            msg = f"was_rolled must be a callable that takes a date, not {was_rolled!r}"
            raise TypeError(msg)
        self._clock: Clock = _system_clock(config.check_interval) if clock is None else clock
        if not isinstance(schedule, Schedule):
            from session_lifecycle._schedules.exchange import ExchangeSchedule  # not needed for hours of one's own

            schedule = ExchangeSchedule(schedule, near=read(self._clock).wall)
        self._lifecycle = SessionLifecycle(schedule, config=config, session=session, name=name)
        self._host = Host(self._lifecycle, roll_session, was_rolled, journal, session)
        self._driver: Driver | None = None
        self._feed_calls: FeedCalls | None = None
        self._progress = self._lifecycle.progress
        self._staleness = self._lifecycle.staleness
        self._monotonic = self._clock.monotonic

    def __repr__(self) -> str:
        phase = "stopped" if self._host.stopped else "running" if self._started else "not started"
        return f"<SessionBoundaryManager {self._lifecycle.schedule.name} {self.state.name}, {phase}>"

    # ---- running ----

    def _claim(self, call: str) -> None:
        self._refuse_inside(call)
        super()._claim(call)

    async def _drive(self, task_status: "anyio.abc.TaskStatus[None]") -> None:
        driver = self._driver = Driver(self._clock)
        await driver.run([self._host], task_status)

    def _join(self, driver: Driver, call: str) -> Host:
        """Be seen to from now on by a driver that sees to others too."""
        self._claim(call)
        self._driver = driver
        return self._host

    def stop(self) -> None:
        """Stop: a roll under way may finish within its timeout, none is retried. A second call does nothing.

        In a `SessionGroup`, the others go on.

        Raises:
            NotRunningError: it was never started.
        """
        if self._driver is None:
            raise NotRunningError("stop()")
        self._driver.leave(self._host)

    # ---- reading: attribute reads only, at any time once started ----

    @property
    def state(self) -> SessionState:
        """The state of the machine. NOT_STARTED before the manager has run."""
        return self._progress.clock_state.state

    @property
    def scheduled_state(self) -> SessionState:
        """The state that schedule and clock alone imply, whatever the machine is in."""
        return self._begun("scheduled_state").scheduled_state

    @property
    def session(self) -> Session:
        """The session that the application is in."""
        return self._begun("session").session

    @property
    def on_break(self) -> bool:
        """Whether the session is on a break, such as a lunch."""
        return self._lifecycle.on_break

    @property
    def can_trade(self) -> bool:
        """Whether the session is ACTIVE, on no break, and not halted."""
        return self._lifecycle.can_trade

    @property
    def halted(self) -> str | None:
        """Why trading is halted; None where it is not."""
        return self._lifecycle.halted

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """The feeds that are registered, in the order in which they were."""
        return cast("tuple[Feed, ...]", self._lifecycle.feed_states)

    @property
    def stale_feeds(self) -> tuple[str, ...]:
        """The names of the feeds that are stale, the longest stale first."""
        return self._lifecycle.stale_feeds

    @property
    def next_boundary(self) -> datetime | None:
        """The instant at which the scheduled state changes next, in UTC; None where the calendar's knowledge ends."""
        return self._begun("next_boundary").next_boundary

    @property
    def clock(self) -> Clock:
        """The clock that it runs on."""
        return self._clock

    @property
    def schedule(self) -> Schedule:
        """The schedule that it runs by, with what `apply()` has changed."""
        return self._lifecycle.schedule

    def status(self) -> Status:
        """Return a snapshot of all that can be read, as of the manager's last look at the clock."""
        return self._begun("status()").status

    # ---- telling ----

    def record_data_received(self, timestamp: datetime | None = None) -> None:
        """Record that market data has arrived. Call it once for each message: it only stores the arrival.

        `timestamp` is the data's own time: its age is taken now, once. Old data does not refresh, data from the future
        counts as of now. In TIMEOUT, fresh data makes the session ACTIVE before this returns. Where feeds are
        registered, they alone decide about TIMEOUT.

        Raises:
            NaiveDatetimeError: `timestamp` has no time zone. Nothing is recorded.
        """
        if timestamp is None and not self._progress.clock_state.inspect_all:
            monotonic = self._monotonic  # a local, because to call an attribute that is no method is slower
            self._staleness.arrival = monotonic()
        else:
            self._lifecycle.record_data(self._look_for(timestamp), timestamp)
            if self._lifecycle.has_events:
                self._emit()

    def add_feed(
        self,
        name: str,
        *,
        timeout: timedelta | AdaptiveTimeout | None = None,
        probe: Probe | None = None,
        probe_timeout: timedelta = _PROBE_TIMEOUT,
    ) -> Feed:
        """Watch a source of market data by itself, from now on; call `record()` on what this returns.

        From the first feed on, the session is TIMEOUT when the feeds say so, by `LifecycleConfig.stale_when`. At any
        time, before the start too.

        Args:
            name: what events and messages call it; unique among the feeds.
            timeout: silence, while data is expected, after which it is stale; by default the `data_timeout`.
            probe: async callable that takes the feed, asked once it has been silent for so long: True means that the
                feed is alive and the market quiet, and its silence is timed anew. An error or no answer means False.
            probe_timeout: how long the probe may take, by the manager's clock.

        Raises:
            ConfigurationError: a value is out of range, or there is no `data_timeout` to go by.
            FeedNameTaken: there is one of that name.
            TypeError: an argument is of the wrong kind.
            ManagerStopped: the manager does not run any more.
        """
        if not isinstance(name, str) or not name.strip():
            msg = f"a feed needs a name in words, not {name!r}"
            raise TypeError(msg)
        policy = self._lifecycle.config.data_timeout if timeout is None else timeout
        if policy is None:
            raise ConfigurationError("timeout", None, "must be given for a feed where data_timeout is None")
        if probe is not None:
            require_async("probe", "the feed", probe)
        require_duration("probe_timeout", probe_timeout)
        if self._host.stopped:
            raise ManagerStopped("add_feed()", self.state)
        if self._feed_calls is None:
            self._feed_calls = FeedCalls(self._feed_heard, self._feed_halt, self._feed_resume, self._feed_remove)
        if isinstance(policy, AdaptiveTimeout):
            learn = self._lifecycle.feeds.learn
            feed: Feed = AdaptiveFeed(
                name,
                policy,
                probe=probe,
                probe_timeout=probe_timeout,
                monotonic=self._monotonic,
                calls=self._feed_calls,
                learn=learn,
            )
        else:
            require_duration("timeout", policy)
            feed = Feed(
                name,
                policy,
                probe=probe,
                probe_timeout=probe_timeout,
                monotonic=self._monotonic,
                calls=self._feed_calls,
            )
        self._lifecycle.add_feed(feed, read(self._clock))
        self._emit()
        return feed

    def halt(self, reason: str) -> None:
        """Halt trading: `can_trade` is False and no data is expected, until `resume()` or the close.

        The state stays what it is. A halt is not journalled: a restart forgets it. Where trading is halted already,
        that changes nothing and logs a line.

        Raises:
            HaltRefused: the session is not open, nor about to be.
            NotRunningError, ManagerStopped: the manager does not run.
        """
        self._halt("halt()", reason)

    def resume(self) -> None:
        """End the halt: data is expected again, and its silence is timed from here. Without one, a line is logged.

        Raises:
            NotRunningError, ManagerStopped: the manager does not run.
        """
        self._resume("resume()")

    def _halt(self, call: str, reason: str, feed: Feed | None = None) -> None:
        driver = self._running(call)
        if not self._lifecycle.halt(_reason(reason), driver.observe(), feed):
            LOGGER.warning("%r: %s changes nothing, it is halted already (now: %s)", feed or self, call, reason)
        self._emit()

    def _resume(self, call: str, feed: Feed | None = None) -> None:
        driver = self._running(call)
        if not self._lifecycle.resume(driver.observe(), feed):
            LOGGER.warning("%r: %s changes nothing, there is no halt", feed or self, call)
        self._emit()

    def _feed_heard(self, feed: Feed, timestamp: datetime | None) -> None:
        self._lifecycle.record_feed(feed, self._look_for(timestamp), timestamp)
        if self._lifecycle.has_events:
            self._emit()

    def _feed_halt(self, feed: Feed, reason: str) -> None:
        self._halt("feed.halt()", reason, feed)

    def _feed_resume(self, feed: Feed) -> None:
        self._resume("feed.resume()", feed)

    def _feed_remove(self, feed: Feed) -> None:
        self._lifecycle.remove_feed(feed, read(self._clock))
        self._emit()

    def end_session(self, reason: str) -> None:
        """End an open session now: walk the remaining edges, and roll.

        Raises:
            IllegalTransition: the session is not ACTIVE, TIMEOUT or POST_MARKET.
            JournalWriteFailed: it could not be written down. Nothing has changed.
            NotRunningError, ManagerStopped: the manager does not run.
        """
        now = self._running("end_session()").observe()
        self._host.execute(self._lifecycle.end_session(_reason(reason), now))
        self._emit()

    def fail(self, reason: str) -> None:
        """Go to ERROR and stay there until `recover()`. During a roll, once the attempt under way has ended.

        In ERROR it changes nothing and logs a line.

        Raises:
            NotRunningError, ManagerStopped: the manager does not run.
        """
        driver = self._running("fail()")
        if not self._lifecycle.fail(_reason(reason), driver.observe_or_last()):
            LOGGER.warning("%r: fail(%r) changes nothing in ERROR (%s)", self, reason, self._lifecycle.reason)
        self._emit()

    def apply(self, override: Override) -> None:
        """Change the hours of a date from now on: an early close announced at 11:00 takes effect today.

        What has passed is never rewritten. A `Closure` of the session that the application is in ends it now, in any
        state: what is left of it is walked with `catch_up=True` and the reason, and the next session is rolled to. One
        that is announced before the open leaves no session on that date. Told as `ScheduleChanged`; where the hours are
        those already, nothing happens. An override is not journalled: give it to the schedule on a restart.

        Raises:
            OverrideRefused: it contradicts the schedule or what has passed, or its hours cannot be; or the schedule has
                no `with_session`. Nothing has changed.
            ScheduleExhausted: its date lies outside of what the schedule knows.
            JournalWriteFailed: the end of the session could not be written down. Nothing has changed.
            NotRunningError, ManagerStopped: the manager does not run.
        """
        now = self._running("apply()").observe()
        decision = self._lifecycle.change_schedule(override, now)
        if decision is not None:
            self._host.execute(decision)
        self._emit()

    async def recover(self, resolution: Resolution = Resolution.RETRY) -> None:
        """Leave ERROR. Where a roll is owed it is begun again, else the session is walked anew from its start.

        `MARK_DONE` and `SKIP` are for a roll that is owed: it has happened, or it is given up. Returns when the trigger
        has fired, not after the roll. It is a person's decision: it is journalled before it acts, and the cap on missed
        sessions does not bind what it starts.

        Raises:
            IllegalTransition: the state is not ERROR.
            RollNotOwedError: no roll is owed that could be marked as done or skipped.
            ScheduleExhausted: the schedule knows no session that could be marked as done or skipped.
            JournalWriteFailed: the decision could not be written down. Nothing has changed.
            ReentrancyError: called from inside this manager's own roll.
            NotRunningError, ManagerStopped: the manager does not run.
        """
        self._refuse_inside("recover()")
        now = self._running("recover()").observe()
        if not isinstance(resolution, Resolution):
            msg = f"recover() takes a Resolution, not {resolution!r}"
            raise TypeError(msg)
        self._host.execute(self._lifecycle.recover(resolution, now))
        self._emit()
        await anyio.lowlevel.checkpoint()

    async def roll(self) -> RollSucceeded:
        """Roll by hand, where `auto_roll` is off, and return once it has completed.

        Cancelling the wait does not cancel the roll.

        Raises:
            RollNotOwedError: the session has not ended, or the roll is automatic or under way.
            RollFailedError: the last attempt has failed; the state is ERROR.
            ReentrancyError: called from inside this manager's own roll.
            NotRunningError, ManagerStopped: the manager does not run, or stopped first.
        """
        self._refuse_inside("roll()")
        driver = self._running("roll()")
        ended = self._lifecycle.session.date
        outcomes = self._host.broadcast.subscribe(_is_outcome)
        self._lifecycle.request_roll(driver.observe())
        self._emit()
        failed: RollFailed | None = None
        async for event in outcomes:
            if isinstance(event, RollSucceeded):
                return event
            if isinstance(event, RollFailed):
                failed = event
            elif isinstance(event, StateChanged):
                target, attempts = (None, 0) if failed is None else (failed.next_session, failed.attempt)
                cause = None if failed is None else failed.error
                raise RollFailedError(ended, target, attempts, event.reason or "") from cause
        raise ManagerStopped("roll()", self.state)

    # ---- listening ----

    def events(self) -> Subscription:
        """Return an async iterator over all events from this call on; it ends with the manager.

        Call it before starting to see the start too. Each call is a reader of its own. A slow one never delays the
        machine: after 10,000 unread events it gets those, then `SubscriberOverrun`.
        """
        return self._host.broadcast.subscribe()

    async def wait_for(self, *states: SessionState) -> SessionState:
        """Return the first of `states` that is entered, however briefly; at once where it is the present one.

        Raises:
            TypeError: no state is given, or something that is none.
            ReentrancyError: called from inside this manager's own roll.
            NotRunningError: the manager has not started.
            ManagerStopped: it stopped first.
        """
        self._refuse_inside("wait_for()")
        _require_states("wait_for()", states)
        self._begun("wait_for()")
        if self.state in states:
            await anyio.lowlevel.checkpoint()
            return self.state
        broadcast = self._host.broadcast
        entered = broadcast.subscribe(lambda e: isinstance(e, StateChanged) and e.dest in states)
        try:
            async for event in entered:
                return cast("StateChanged", event).dest
        finally:
            broadcast.remove(entered)
        raise ManagerStopped("wait_for()", self.state)

    # ---- acting on time ----

    @overload
    def on(
        self, what: SessionState, *, missed: bool = ..., timeout: timedelta | None = ...
    ) -> Callable[[StateHandler], StateHandler]: ...
    @overload
    def on(
        self, what: type[E], *, missed: bool = ..., timeout: timedelta | None = ...
    ) -> Callable[[Callable[[E], Awaitable[object]]], Callable[[E], Awaitable[object]]]: ...
    def on(
        self, what: SessionState | type[Any], *, missed: bool = False, timeout: timedelta | None = None
    ) -> Callable[[Any], Any]:
        """Decorate an async function that is to be called with each event of a kind, or each entry into a state.

        It runs in the manager's own tasks and never delays the machine. A handler is called for one event after the
        other, in their order; handlers of the same event start in the order of their registration. What it raises is
        told as `HandlerFailed`, and nothing else breaks. On leaving, a handler may finish what it has been told.

        Args:
            what: a `SessionState`, or one of the event classes.
            missed: call it for every event of a catch-up too; else only where what the event led to still holds.
            timeout: how long one call may take, by the manager's clock, before it is cancelled. None: for ever.

        Raises:
            TypeError: `what` is neither, or the function is not async.
            ConfigurationError: the timeout is out of range.
            ManagerStopped: the manager does not run any more.
        """
        if isinstance(what, SessionState):
            wanted = on_state(what)
        elif isinstance(what, type) and what in get_args(Event):
            wanted = on_kind(what)
        else:
            msg = f"on() takes a SessionState or an event class, not {what!r}"
            raise TypeError(msg)
        return self._registering("on()", wanted, missed=missed, timeout=timeout)

    def at(
        self,
        anchor: Anchor,
        offset: timedelta = timedelta(0),
        *,
        misfire: Misfire = Misfire.SKIP,
        grace: timedelta = _ON_TIME,
        timeout: timedelta | None = None,
    ) -> Callable[[AlarmHandler], AlarmHandler]:
        """Decorate an async function that is to be called at an instant of every session; see `Alarm`.

        It is called with the `AlarmFired`, as handlers are. An alarm goes off at most once for a session (and for each
        of its breaks, where those are the anchor), in ERROR too. While a roll is owed, it waits for that. What was over
        when the alarm was registered is over; at the start, the session's earlier alarms count as missed.

        Raises:
            ConfigurationError: a value is out of range.
            TypeError: the function is not async.
            ManagerStopped: the manager does not run any more.
        """
        alarm = Alarm(anchor, offset, misfire, grace)
        register = self._registering("at()", on_alarm(alarm), missed=True, timeout=timeout)

        def decorate(function: AlarmHandler) -> AlarmHandler:
            register(function)
            self._add_alarm(alarm)
            return function

        return decorate

    def alarms(
        self,
        anchor: Anchor,
        offset: timedelta = timedelta(0),
        *,
        misfire: Misfire = Misfire.SKIP,
        grace: timedelta = _ON_TIME,
    ) -> AsyncIterator[AlarmFired]:
        """Return an async iterator over the goings-off of an alarm, from this call on; it ends with the manager.

        Raises:
            ConfigurationError: a value is out of range.
            ManagerStopped: the manager does not run any more.
        """
        if self._host.stopped:
            raise ManagerStopped("alarms()", self.state)
        alarm = Alarm(anchor, offset, misfire, grace)
        fired = self._host.broadcast.subscribe(on_alarm(alarm))
        self._add_alarm(alarm)
        return cast("AsyncIterator[AlarmFired]", fired)

    def during(self, *states: SessionState, grace: timedelta | None = None) -> AbstractAsyncContextManager[Session]:
        """Return an async context manager whose body lasts as long as the state is one of `states`.

        Entering waits until the state is one of them, and gives the session. The moment it is none of them any more, or
        the manager stops, the body is cancelled, and the block is left without an error.
        `during(SessionState.ACTIVE, SessionState.TIMEOUT)` is "while the market is open".

        Args:
            states: one or more.
            grace: how long the body may go on after that moment, by the manager's clock, before it is cancelled: time
                to finish for a body that looks at `manager.state`.

        Raises:
            TypeError, ConfigurationError: an argument is of the wrong kind, or out of range.
            ReentrancyError: (on entering) called from inside this manager's own roll.
            NotRunningError: (on entering) the manager has not started.
            ManagerStopped: (on entering) it stopped before the state came.
        """
        _require_states("during()", states)
        require_duration("grace", grace, never=True)
        host = self._host
        return scopes.during(
            states,
            grace,
            lifecycle=self._lifecycle,
            broadcast=host.broadcast,
            clock=self._clock,
            wait_for=self.wait_for,
        )

    def sessions(self) -> AsyncIterator[Session]:
        """Return an async iterator: the present session, unless it has ended, and then each that is rolled into.

        A body that takes longer than a session finds the next one waiting. It ends with the manager.

        Raises:
            NotRunningError: the manager has not started.
        """
        return scopes.sessions(lifecycle=self._begun("sessions()"), broadcast=self._host.broadcast)

    def _registering(
        self, call: str, wanted: Wanted, *, missed: bool, timeout: timedelta | None
    ) -> Callable[[Any], Any]:
        require_duration("timeout", timeout, never=True)

        def register(function: Any) -> Any:  # noqa: ANN401 -- the public signatures have the types
            require_async("a handler", "one event", function)
            if self._host.stopped:
                raise ManagerStopped(call, self.state)
            host = self._host
            if host.ready is None:
                host.ready = deque()
            handler = Handler(function, wanted, host.ready, self._lifecycle, missed=missed, timeout=timeout)
            host.handlers += (handler,)
            host.broadcast.add(handler)
            return function

        return register

    def _add_alarm(self, alarm: Alarm) -> None:
        self._lifecycle.add_alarm(alarm, read(self._clock))
        self._emit()

    # ---- helpers ----

    def _emit(self) -> None:
        """Hand out what a call has brought about, and have the driver look at it."""
        if self._driver is None:
            self._host.emit()
        else:
            self._driver.emit(self._host)
            self._driver.wake(self._host)

    def _look_for(self, timestamp: datetime | None) -> Reading:
        """Look at the clock; data without a stamp is not refused because that has failed."""
        if timestamp is None and self._driver is not None and self._lifecycle.begun:
            return self._driver.observe_or_last()
        return read(self._clock)

    def _begun(self, call: str) -> SessionLifecycle:
        if not self._lifecycle.begun:
            raise NotRunningError(call)
        return self._lifecycle

    def _running(self, call: str) -> Driver:
        if self._driver is None or not self._lifecycle.begun:
            raise NotRunningError(call)
        if self._host.stopped:
            raise ManagerStopped(call, self.state)
        return self._driver

    def _refuse_inside(self, call: str) -> None:
        if inside(self._host):
            raise ReentrancyError(call)


def _is_outcome(event: Event) -> bool:
    match event:
        case RollSucceeded() | RollFailed():
            return True
        case StateChanged():
            return event.dest is SessionState.ERROR
        case _:
            return False


def _reason(reason: object) -> str:
    if not isinstance(reason, str) or not reason.strip():
        msg = f"a reason in words is needed, not {reason!r}"
        raise TypeError(msg)
    return reason


def _require_states(call: str, states: tuple[object, ...]) -> None:
    if not states or not all(isinstance(state, SessionState) for state in states):
        msg = f"{call} takes one or more SessionState members, not {states!r}"
        raise TypeError(msg)
