"""The object that an application holds: `SessionBoundaryManager`."""

import inspect
from collections.abc import Callable
from datetime import date, datetime
from functools import partial
from types import TracebackType
from typing import Self, cast

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup, TaskStatus

from session_lifecycle.clock import Clock, SystemClock, read
from session_lifecycle.config import LifecycleConfig, Resolution
from session_lifecycle.driver import Driver
from session_lifecycle.errors import (
    AlreadyStartedError,
    ManagerStopped,
    NotRunningError,
    ReentrancyError,
    RollFailedError,
)
from session_lifecycle.events import Event, RollFailed, RollSucceeded, StateChanged
from session_lifecycle.exchange import ExchangeSchedule
from session_lifecycle.journal import Journal
from session_lifecycle.lifecycle import SessionLifecycle
from session_lifecycle.logs import LOGGER
from session_lifecycle.member import Member, RollSession, WasRolled
from session_lifecycle.reentrancy import inside
from session_lifecycle.schedule import Schedule, Session
from session_lifecycle.states import SessionState
from session_lifecycle.status import Status
from session_lifecycle.stream import Subscription


class SessionBoundaryManager:
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
        _require_async(roll_session)
        if not isinstance(config, LifecycleConfig):  # pyright: ignore[reportUnnecessaryIsInstance] -- callers may be untyped
            msg = f"config must be a LifecycleConfig, not {config!r}"
            raise TypeError(msg)
        if journal is not None and not isinstance(journal, Journal):  # pyright: ignore[reportUnnecessaryIsInstance] -- callers may be untyped
            msg = f"journal must be a Journal, such as FileJournal(path), not {journal!r}"
            raise TypeError(msg)
        if was_rolled is not None and not callable(was_rolled):
            msg = f"was_rolled must be a callable that takes a date, not {was_rolled!r}"
            raise TypeError(msg)
        self._clock: Clock = SystemClock(config.check_interval) if clock is None else clock
        if not isinstance(schedule, Schedule):
            schedule = ExchangeSchedule(schedule, near=read(self._clock).wall)
        self._lifecycle = SessionLifecycle(schedule, config=config, session=session, name=name)
        self._first = session
        self._member = Member(self._lifecycle, roll_session, was_rolled, journal)
        self._driver: Driver | None = None
        self._started = False
        self._stopped = False
        self._tasks: TaskGroup | None = None
        self._silence = self._lifecycle.silence
        self._monotonic = self._clock.monotonic

    def __repr__(self) -> str:
        phase = "stopped" if self._stopped else "running" if self._started else "not started"
        return f"<SessionBoundaryManager {self._lifecycle.schedule.name} {self.state.name}, {phase}>"

    # ---- running ----

    async def __aenter__(self) -> Self:
        """Start, and catch up as far as that goes without awaiting a roll."""
        self._claim("`async with`")
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        try:
            await self._tasks.start(self._run)
        except BaseException as error:
            await self._leave(error)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop: let a roll under way finish, or, on an exception or a cancellation, cancel it."""
        await self._leave(error)

    async def _leave(self, error: BaseException | None) -> None:
        """Close the task group. What the body raised stays as it is, not wrapped in a group."""
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

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run until `stop()`: for `await task_group.start(manager.run)`, which returns once it has caught up.

        Raises:
            AlreadyStartedError: it has run before.
            ScheduleExhausted: the schedule does not know the present.
            JournalLocked, JournalCorrupt, JournalMismatch, JournalUnavailable, JournalWriteFailed: nothing was started.
        """
        self._claim("run()")
        await self._run(task_status=task_status)

    def _claim(self, call: str) -> None:
        self._refuse_inside(call)
        if self._started:
            raise AlreadyStartedError
        self._started = True

    async def _run(self, *, task_status: TaskStatus[None]) -> None:
        self._driver = Driver(self._clock)
        try:
            await self._driver.run(self._member, self._first, task_status)
        except BaseExceptionGroup as group:
            sole = _sole(group)
            raise sole from sole.__cause__
        finally:
            self._stopped = True

    def stop(self) -> None:
        """Stop: a roll under way may finish within its timeout, none is retried. A second call does nothing.

        Raises:
            NotRunningError: it was never started.
        """
        if self._driver is None:
            raise NotRunningError("stop()")
        self._driver.stop()

    # ---- reading: attribute reads only, at any time once started ----

    @property
    def state(self) -> SessionState:
        """The state of the machine. NOT_STARTED before the manager has run."""
        return self._lifecycle.state

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
        """Whether the session is ACTIVE and on no break."""
        return self._lifecycle.can_trade

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
        """The schedule that it runs by."""
        return self._lifecycle.schedule

    def status(self) -> Status:
        """Return a snapshot of all that can be read, as of the manager's last look at the clock."""
        return self._begun("status()").status

    # ---- telling ----

    def record_data_received(self, timestamp: datetime | None = None) -> None:
        """Record that market data has arrived. Call it once for each message: it only stores the arrival.

        `timestamp` is the data's own time: its age is taken now, once. Old data does not refresh, data from the future
        counts as of now. In TIMEOUT, fresh data makes the session ACTIVE before this returns.

        Raises:
            NaiveDatetimeError: `timestamp` has no time zone. Nothing is recorded.
        """
        silence = self._silence
        if timestamp is None and not silence.quiet:
            silence.arrival = self._monotonic()
        else:
            self._lifecycle.record_data(read(self._clock), timestamp)
            self._told()

    def end_session(self, reason: str) -> None:
        """End an open session now: walk the remaining edges, and roll.

        Raises:
            IllegalTransition: the session is not ACTIVE, TIMEOUT or POST_MARKET.
            JournalWriteFailed: it could not be written down. Nothing has changed.
            NotRunningError, ManagerStopped: the manager does not run.
        """
        now = self._running("end_session()").look()
        record = self._lifecycle.plan_end(_reason(reason), now)
        self._member.write(record)
        self._lifecycle.end_session(reason, now)
        self._told()

    def fail(self, reason: str) -> None:
        """Go to ERROR and stay there until `recover()`. During a roll, once the attempt under way has ended.

        In ERROR it changes nothing and logs a line.

        Raises:
            NotRunningError, ManagerStopped: the manager does not run.
        """
        driver = self._running("fail()")
        if not self._lifecycle.fail(_reason(reason), driver.look_or_last()):
            LOGGER.warning("%r: fail(%r) changes nothing in ERROR (%s)", self, reason, self._lifecycle.reason)
        self._told()

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
        now = self._running("recover()").look()
        if not isinstance(resolution, Resolution):  # pyright: ignore[reportUnnecessaryIsInstance] -- callers may be untyped
            msg = f"recover() takes a Resolution, not {resolution!r}"
            raise TypeError(msg)
        record = self._lifecycle.plan_recovery(resolution, now)
        self._member.write(record)
        self._lifecycle.recover(record, now)
        self._told()
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
        outcomes = self._member.broadcast.subscribe(_is_outcome)
        self._lifecycle.request_roll(driver.look())
        self._told()
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
        return self._member.broadcast.subscribe()

    async def wait_for(self, *states: SessionState) -> SessionState:
        """Return the first of `states` that is entered, however briefly; at once where it is the present one.

        Raises:
            TypeError: no state is given, or something that is none.
            ReentrancyError: called from inside this manager's own roll.
            NotRunningError: the manager has not started.
            ManagerStopped: it stopped first.
        """
        self._refuse_inside("wait_for()")
        if not states or not all(isinstance(state, SessionState) for state in states):  # pyright: ignore[reportUnnecessaryIsInstance] -- callers may be untyped
            msg = f"wait_for() takes one or more SessionState members, not {states!r}"
            raise TypeError(msg)
        self._begun("wait_for()")
        if self.state in states:
            await anyio.lowlevel.checkpoint()
            return self.state
        entered = self._member.broadcast.subscribe(lambda e: isinstance(e, StateChanged) and e.dest in states)
        async for event in entered:
            return cast("StateChanged", event).dest
        raise ManagerStopped("wait_for()", self.state)

    # ---- helpers ----

    def _told(self) -> None:
        """Hand out what a call has brought about, and have the driver look at it."""
        self._member.tell()
        if self._driver is not None:
            self._driver.wake(self._member)

    def _begun(self, call: str) -> SessionLifecycle:
        if not self._lifecycle.begun:
            raise NotRunningError(call)
        return self._lifecycle

    def _running(self, call: str) -> Driver:
        if self._driver is None or not self._lifecycle.begun:
            raise NotRunningError(call)
        if self._stopped:
            raise ManagerStopped(call, self.state)
        return self._driver

    def _refuse_inside(self, call: str) -> None:
        if inside(self._member):
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


def _require_async(roll_session: object) -> None:
    """Refuse a roll that can be seen not to be async; what cannot be seen is found out at the first attempt."""
    function = roll_session
    while isinstance(function, partial):
        function = cast("Callable[..., object]", function.func)
    if not callable(function):
        msg = f"roll_session must be an async callable that takes a date, not {roll_session!r}"
        raise TypeError(msg)
    if inspect.iscoroutinefunction(function):
        return
    called = function if inspect.isroutine(function) else function.__call__
    if inspect.iscoroutinefunction(called):
        return
    if inspect.isfunction(called) or inspect.ismethod(called):
        msg = f"roll_session must be async (`async def`), and {roll_session!r} is not: it would block the event loop"
        raise TypeError(msg)


def _sole(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one exception that a task group of ours has wrapped, or the group where there are several."""
    while len(group.exceptions) == 1:
        inner = group.exceptions[0]
        if not isinstance(inner, BaseExceptionGroup):
            return inner
        group = cast("BaseExceptionGroup[BaseException]", inner)
    return group
