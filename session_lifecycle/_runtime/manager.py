"""`SessionBoundaryManager`: the public face of one lifecycle.

Its calls are synchronous where they can be: each checks its arguments, has the core decide, makes the record durable,
and then emits what has happened and wakes the driver.
"""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any, TypeVar, cast, overload

import anyio
from msgspec.structs import replace

from session_lifecycle._core.decision import NOTHING, Decision
from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._journal.base import Journal
from session_lifecycle._model.alarm import Alarm, Misfire
from session_lifecycle._model.clock import Clock, Reading, as_utc, read
from session_lifecycle._model.config import AdaptiveTimeout, LifecycleConfig, Resolution, require_duration
from session_lifecycle._model.errors import ManagerStopped, NotRunningError, ReentrancyError, RollFailedError
from session_lifecycle._model.events import AlarmFired, Event, RollFailed, RollSucceeded, StateChanged
from session_lifecycle._model.journal_events import LeadershipLost
from session_lifecycle._model.legs import Anchor
from session_lifecycle._model.overrides import Override
from session_lifecycle._model.session import Session
from session_lifecycle._model.states import SessionState
from session_lifecycle._model.status import Status
from session_lifecycle._model.venue_status import VenueStatus
from session_lifecycle._runtime import scopes
from session_lifecycle._runtime.arguments import (
    require_async,
    require_clock,
    require_condition,
    require_config,
    require_journal,
    require_name,
    require_reason,
    require_resolution,
    require_session,
    require_states,
    require_status,
    require_was_rolled,
)
from session_lifecycle._runtime.callbacks import inside
from session_lifecycle._runtime.driver import Driver
from session_lifecycle._runtime.event_log import LOGGER
from session_lifecycle._runtime.feed import Feed, Probe
from session_lifecycle._runtime.feed_registry import FeedRegistry
from session_lifecycle._runtime.handlers import Handler, filter_for, label_of, on_alarm
from session_lifecycle._runtime.home import Home, at_home
from session_lifecycle._runtime.host import Host, RollSession, WasRolled
from session_lifecycle._runtime.lifespan import Lifespan
from session_lifecycle._runtime.roll_transaction import done_statement, roll_transaction
from session_lifecycle._runtime.subscriptions import EventFilter, Subscription
from session_lifecycle._runtime.system_clock import SystemClock
from session_lifecycle._runtime.unknown_phases import warn_of_unknown_phase
from session_lifecycle._schedules.base import Schedule, require_schedule

E = TypeVar("E", bound=Event)
StateHandler = TypeVar("StateHandler", bound=Callable[[StateChanged], Awaitable[object]])
AlarmHandler = TypeVar("AlarmHandler", bound=Callable[[AlarmFired], Awaitable[object]])

_system_clock = cache(SystemClock)  # it has no state but its settings, so managers with the same ones share it
_PROBE_TIMEOUT = timedelta(seconds=5)
_ON_TIME = timedelta(seconds=1)


class SessionBoundaryManager(Lifespan):
    """Keeps the state of a trading session by schedule and clock, and rolls to the next one at its end.

    Run it with `async with manager:`, with `await task_group.start(manager.run)`, or with `await manager.start()` and
    `await manager.aclose()`; once only. Once it has started, its methods are for that event loop alone: from another
    thread they raise `WrongThreadError`, from another loop `WrongLoopError`, and change nothing. What is read, and
    `record_data_received`, is for every thread. It cannot be copied or pickled.

    Args:
        schedule: a `Schedule`, or the name of an exchange_calendars calendar, aliases included.
        roll_session: async callable, awaited in the application's own loop at the end of each session with the date of
            the next one. Make it idempotent by that date.
        session: the date of the session that the application is in. Where the clock is past it, rolls are owed. By
            default the session of the present.
        config: the policy.
        clock: the source of time; by default a `SystemClock` with the configuration's `check_interval`.
        journal: where rolls are recorded, so that a restart neither skips nor repeats one; by default nowhere. The
            manager begins in the journal's session, and `session` must agree with it.
        was_rolled: sync or async callable that takes a date. It is called before a roll that an earlier run may have
            completed is awaited again; where it returns True, the roll counts as done.
        name: put on every event, for applications with several managers.

    Raises:
        CalendarUnavailable: there is no calendar of that name, or building it failed.
        NotASession: the schedule has no session of the date `session`.
        TypeError: an argument is of the wrong kind, such as a `roll_session` that is not async.
        ClockFailed: (with a calendar's name) the clock cannot be read.
    """

    __module__ = "session_lifecycle"

    __slots__ = ("_clock", "_driver", "_feed_registry", "_host", "_lifecycle", "_monotonic", "_progress", "_staleness")

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
        require_config(config)
        require_clock(clock)
        require_session(session)
        require_name(name)
        require_journal(journal)
        require_was_rolled(was_rolled)
        self._clock: Clock = _system_clock(config.check_interval) if clock is None else clock
        if isinstance(schedule, type):
            require_schedule(schedule)
        if not isinstance(schedule, Schedule):
            from session_lifecycle._schedules.exchange import ExchangeSchedule  # loads slowly

            schedule = ExchangeSchedule(schedule, near=read(self._clock).wall)
        self._lifecycle = SessionLifecycle(schedule, config=config, session=session, name=name)
        self._host = Host(self._lifecycle, roll_session, was_rolled, journal, session)
        self._driver: Driver | None = None
        self._feed_registry: FeedRegistry | None = None
        self._progress = self._lifecycle.progress
        self._staleness = self._lifecycle.staleness
        self._monotonic = self._clock.monotonic

    def __repr__(self) -> str:
        phase = "stopped" if self._host.stopped else "running" if self._started else "not started"
        return f"<SessionBoundaryManager {self._lifecycle.schedule.name} {self.state.name}, {phase}>"

    # ---- running ----

    def _mark_started(self, call: str, home: Home | None = None) -> None:
        self._refuse_inside(call)
        super()._mark_started(call, home)

    async def _drive(self, task_status: "anyio.abc.TaskStatus[None]") -> None:
        assert self._home is not None
        driver = self._driver = Driver(self._clock, self._home)
        await driver.run([self._host], task_status)

    def _abandon(self) -> None:
        self._host.end()

    def _in_own_callback(self) -> bool:
        return self._host.in_callback

    def _attach(self, driver: Driver, call: str) -> Host:
        """Mark the manager as started by `call`, and return its host for a driver that drives others too."""
        self._mark_started(call, driver.home)
        self._driver = driver
        return self._host

    @at_home
    def stop(self) -> None:
        """Stop: a roll under way may finish within its timeout, and is not retried. A second call does nothing.

        In a `SessionGroup`, the other managers go on.

        Raises:
            NotRunningError: the manager has not started.
        """
        if self._driver is None:
            raise NotRunningError("stop()")
        self._driver.stop_host(self._host)

    # ---- reading: attribute reads only; before the start some raise NotRunningError ----

    @property
    def state(self) -> SessionState:
        """The state of the machine. NOT_STARTED before the manager has run."""
        return self._progress.clock_state.state

    @property
    def scheduled_state(self) -> SessionState:
        """The state that schedule and clock alone imply, whatever the state of the machine."""
        return self._require_begun("scheduled_state").scheduled_state

    @property
    def session(self) -> Session:
        """The session that the application is in."""
        return self._require_begun("session").session

    @property
    def on_break(self) -> bool:
        """Whether the session is on a break, such as a lunch."""
        return self._lifecycle.on_break

    @property
    def phase(self) -> str | None:
        """The name of the venue's phase by the clock, such as "overnight"; None where none is on, or before the start.

        It may belong to another session than the application's: an after-market outlasts the roll.
        """
        return self._lifecycle.phase

    @property
    def phase_tradable(self) -> bool:
        """Whether a phase is on in which orders can trade, whatever the state. `can_trade` is about ACTIVE alone."""
        return self._lifecycle.phase_tradable

    @property
    def can_trade(self) -> bool:
        """Whether the state is ACTIVE, without a break or a halt, and data has come since.

        With `LifecycleConfig.require_first_tick`, the default, it is False until data has come since the open, or since
        the end of the break or halt.
        """
        return self._lifecycle.can_trade

    @property
    def market_open(self) -> bool:
        """Whether the market is open by the schedule, off breaks: in TIMEOUT and ERROR too, and whatever data does.

        False once `end_session` has ended the session. For what must happen while orders can be sent at all, such as
        closing positions.
        """
        return self._require_begun("market_open").market_open

    @property
    def halted(self) -> str | None:
        """The reason of the halt; None where trading is not halted."""
        return self._lifecycle.halted

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """The registered feeds, in the order of registration."""
        return cast("tuple[Feed, ...]", self._lifecycle.feed_states)

    @property
    def stale_feeds(self) -> tuple[str, ...]:
        """The names of the stale feeds, the longest stale first."""
        return self._lifecycle.stale_feeds

    @property
    def halted_feeds(self) -> tuple[str, ...]:
        """The names of the feeds that are halted by themselves, in the order of registration."""
        return self._lifecycle.halted_feeds

    @property
    def next_boundary(self) -> datetime | None:
        """The instant of the next change of the scheduled state, in UTC; None where the schedule knows no further."""
        return self._require_begun("next_boundary").next_boundary

    @property
    def clock(self) -> Clock:
        """The manager's clock."""
        return self._clock

    @property
    def alive_at(self) -> datetime | None:
        """When the manager's driver has last turned, in UTC; None before the start. For a watchdog.

        On a `SystemClock` it turns at least every `check_interval`, so an older instant means that the event loop is
        blocked, the machine was asleep, or the manager has stopped.
        """
        return None if self._driver is None else self._driver.alive_at

    @property
    def schedule(self) -> Schedule:
        """The schedule, with the changes of `apply()`."""
        return self._lifecycle.schedule

    def status(self) -> Status:
        """Return a snapshot of everything above, as of the manager's last reading of the clock.

        It may be read at any time, on a standby too. Before the start the clock is read, and what a journal holds is
        not known yet: the session is that of the schedule, or `session=`; `running`, `leads` and `can_trade` are False.

        Raises:
            ScheduleExhausted, ClockFailed: (before the start) the schedule does not know the present, or the clock
                cannot be read.
        """
        if not self._lifecycle.begun:
            return self._lifecycle.status_before_start(read(self._clock).wall)
        status = self._lifecycle.status
        return replace(status, running=False) if self._host.stopped else status

    @property
    def leads(self) -> bool:
        """Whether it rolls, fires alarms and may trade; False while another replica leads the shared journal."""
        return self._lifecycle.leading

    @property
    def term(self) -> int | None:
        """The term of the shared journal's leader, a number that grows; None where the journal is not shared."""
        replica = self._host.replica
        return None if replica is None else replica.journal.term

    # ---- data ----

    def record_data_received(self, timestamp: datetime | None = None) -> None:
        """Record that market data has arrived. Call it once for each message: it only stores the arrival.

        `timestamp` is the data's own time; its age is taken once, at the call. Old data does not refresh the watch, and
        a timestamp in the future counts as now. In TIMEOUT, fresh data makes the state ACTIVE before this returns.
        Where feeds are registered, they alone decide about TIMEOUT.

        It may be called in any thread. In another one than the event loop's, what is more than a store takes effect in
        the loop's next turn, and is dropped once the manager has stopped.

        Raises:
            NaiveDatetimeError: `timestamp` has no time zone. Nothing is recorded.
            ClockFailed: (with `timestamp`) the clock cannot be read.
        """
        if timestamp is None and not self._progress.clock_state.inspect_all:
            monotonic = self._monotonic  # a local, because to call an attribute that is no method is slower
            self._staleness.arrival = monotonic()
        elif self._home is not None and self._home.elsewhere:
            self._home.hand_over(self, self._take_data, None if timestamp is None else as_utc("timestamp", timestamp))
        else:
            self._record_data(timestamp)

    def _take_data(self, timestamp: datetime | None) -> None:
        if not self._host.stopped:
            self._record_data(timestamp)

    def _record_data(self, timestamp: datetime | None) -> None:
        self._lifecycle.record_data(self._observe_for(timestamp), timestamp)
        if self._lifecycle.has_events:
            self._emit()

    @at_home
    def add_feed(
        self,
        name: str,
        *,
        timeout: timedelta | AdaptiveTimeout | None = None,
        probe: Probe | None = None,
        probe_timeout: timedelta = _PROBE_TIMEOUT,
    ) -> Feed:
        """Register a source of market data that is watched for silence on its own; call `record()` on the result.

        It is watched from now on, and may be registered before the start too. With feeds registered, the state is
        TIMEOUT when `LifecycleConfig.stale_when` says so of them.

        Args:
            name: the feed's name in events and messages; unique among the feeds.
            timeout: the silence, while data is expected, after which the feed is stale; by default `data_timeout`.
            probe: async callable that takes the feed, called before it is found stale. True means that the feed is
                alive and the market idle, and its silence is timed anew. An error or a timeout means False.
            probe_timeout: how long the probe may take, by the manager's clock.

        Raises:
            ConfigurationError: a value is out of range, or `timeout` is missing and `data_timeout` is None.
            FeedNameTaken: a feed of that name is registered.
            TypeError: an argument is of the wrong kind.
            ClockFailed: the clock cannot be read.
            ManagerStopped: the manager has stopped.
        """
        if self._host.stopped:
            raise self._refusal("add_feed()")
        if self._feed_registry is None:
            self._feed_registry = FeedRegistry(
                self._host,
                self._clock,
                emit=self._emit,
                observe_for=self._observe_for,
                require_running=self._require_leading,
                home=lambda: self._home,
            )
        return self._feed_registry.add(name, timeout, probe=probe, probe_timeout=probe_timeout)

    # ---- decisions of the application ----

    @at_home
    def halt(self, reason: str) -> None:
        """Halt trading: `can_trade` is False and no data is expected, until `resume()` or the close.

        The state is not affected. With a journal a restart remembers the halt. While trading is halted already the call
        has no effect, and is logged as a warning.

        Raises:
            HaltRefused: the state is none of PRE_MARKET, ACTIVE, TIMEOUT and ERROR.
            TypeError: the reason is not a string, or blank.
            ClockFailed: the clock cannot be read.
            NotLeadingError: another replica leads.
            NotRunningError, ManagerStopped: the manager does not run.
        """
        now = self._require_leading("halt()").observe()
        if not self._host.halt(require_reason(reason), now):
            LOGGER.warning("%r: halt(%r) has no effect: trading is halted already (%s)", self, reason, self.halted)
        self._emit()

    @at_home
    def resume(self) -> None:
        """End the halt: data is expected again, and silence is timed from now on.

        With a journal it ends once that is durable. Where it could not be recorded, that is logged, and trading is
        halted still: call it again. Without a halt the call has no effect, and is logged as a warning.

        Raises:
            ClockFailed: the clock cannot be read.
            NotLeadingError: another replica leads.
            NotRunningError, ManagerStopped: the manager does not run.
        """
        now = self._require_leading("resume()").observe()
        if not self._host.resume(now):
            LOGGER.warning("%r: resume() has no effect: there is no halt", self)
        self._emit()

    @at_home
    def record_status(self, status: VenueStatus, at: datetime | None = None) -> None:
        """Record what the venue itself reports of its trading, and hold it against the calendar.

        HALT, PAUSE and, in the market's hours, PRE_OPEN and QUOTING halt trading; TRADING and RESUME end that halt, and
        no halt of the application. A close before the calendar's, and trading while the calendar has the market closed,
        is emitted as `CalendarContradicted`; the session's hours do not change. After an early close trading is halted,
        unless `LifecycleConfig.early_close` is CALENDAR.

        A status that comes late, repeatedly or out of order, or is of an earlier session, changes nothing. Call it with
        the statuses of the market, or of the one instrument that is traded. A halt by status is journalled, as every
        halt is. While another replica leads, the status is only remembered.

        Args:
            status: what is reported; `session_lifecycle.venues` translates the codes of feeds.
            at: the venue's own instant of it, by default the present. One in the future counts as now.

        Raises:
            NaiveDatetimeError: `at` has no time zone. Nothing is recorded.
            TypeError: `status` is no `VenueStatus`.
            ClockFailed: the clock cannot be read.
            NotRunningError, ManagerStopped: the manager does not run.
        """
        driver = self._require_running("record_status()")
        require_status(status)
        now = driver.observe()
        self._host.record_status(status, now.wall if at is None else at, now)
        self._emit()

    @at_home
    async def end_session(self, reason: str) -> None:
        """End an open session now: take its remaining transitions, and roll.

        Raises:
            IllegalTransition: the state is none of ACTIVE, TIMEOUT and POST_MARKET.
            JournalWriteFailed: the end could not be recorded. Nothing has changed.
            TypeError: the reason is not a string, or blank.
            ClockFailed: the clock cannot be read.
            ReentrancyError: called inside the block of `roll_transaction`, for which it would wait.
            NotLeadingError: another replica leads.
            NotRunningError, ManagerStopped: the manager does not run.
        """
        now = self._require_writable("end_session()").observe()
        await self._execute(self._lifecycle.end_session(require_reason(reason), now), now)

    @at_home
    def fail(self, reason: str) -> None:
        """Go to ERROR, until `recover()`. During a roll this happens once the attempt under way has ended.

        In ERROR the call is logged as a warning. It has no effect, but where a `recover()` is under way: once that is
        durable, the state is ERROR again, for this reason, and neither a roll nor the session begins in between.

        Raises:
            TypeError: the reason is not a string, or blank.
            NotLeadingError: another replica leads.
            NotRunningError, ManagerStopped: the manager does not run.
        """
        driver = self._require_leading("fail()")
        if not self._lifecycle.fail(require_reason(reason), driver.observe_or_last()):
            self._lifecycle.fail_again(reason)
            if self._host.ledger is not None:
                self._host.ledger.submit(())  # a recovery in doubt is found out about, for this to follow it
            text = "%r: fail(%r) has no effect in ERROR (%s), but on a recover() that is under way"
            LOGGER.warning(text, self, reason, self._lifecycle.reason)
        self._emit()

    @at_home
    async def apply(self, override: Override) -> None:
        """Change the hours of a date from now on: an early close announced at 11:00 takes effect today.

        The past is never rewritten. A `Closure` of the present session ends that now, in any state: its remaining
        transitions are taken with `catch_up=True` and the reason, and the next session is rolled to. A `Closure`
        announced before the open leaves no session on that date. The change is emitted as `ScheduleChanged`; where the
        date has those hours already, nothing happens. A journal keeps the change over a restart.

        Raises:
            OverrideRefused: the override contradicts the schedule or the past, its hours are impossible, or the
                schedule has no `with_session`. Nothing has changed.
            ScheduleExhausted: the date lies outside the schedule's range.
            JournalWriteFailed: the end of the session could not be recorded. Nothing has changed.
            TypeError: `override` is neither a `Closure` nor a `SpecialHours`.
            ClockFailed: the clock cannot be read.
            ReentrancyError: called inside the block of `roll_transaction`, for which it would wait.
            NotLeadingError: another replica leads, or the lead was lost while the call waited. Nothing was written.
            NotRunningError, ManagerStopped: the manager does not run.
        """
        driver = self._require_writable("apply()")
        async with self._deciding("apply()"):
            now = driver.observe()
            decision = self._lifecycle.change_schedule(override, now)
            await self._execute(decision or NOTHING, now)

    @at_home
    async def recover(self, resolution: Resolution = Resolution.RETRY) -> None:
        """Leave ERROR: begin the roll that is owed again, or else replay the session from its start.

        `MARK_DONE` and `SKIP` resolve a roll that is owed: it has been done, or it is abandoned. Returns when the
        trigger has fired, not after the roll. The decision is journalled before it takes effect, and the cap on missed
        sessions does not apply to the roll that it starts. A call for the same that comes while another one's decision
        is being written returns with that; one for another resolution is refused. A `fail()` that comes meanwhile is
        the last word.

        Raises:
            IllegalTransition: the state is not ERROR, or was not at the call.
            RollNotOwedError: no roll is owed that could be marked as done or skipped, or another call has decided
                otherwise meanwhile. Nothing has changed.
            ScheduleExhausted: the schedule knows no session that could be marked as done or skipped.
            JournalWriteFailed: the decision could not be recorded. Nothing has changed.
            JournalUnavailable: whether an earlier attempt was committed could not be read. Nothing has changed.
            TypeError: `resolution` is not a `Resolution`.
            ClockFailed: the clock cannot be read.
            ReentrancyError: called from inside this manager's own roll.
            NotLeadingError: another replica leads, or the lead was lost while the call waited. Nothing was written.
            NotRunningError, ManagerStopped: the manager does not run.
        """
        self._refuse_inside("recover()")
        driver = self._require_writable("recover()")
        require_resolution(resolution)
        error = self._lifecycle.require_error(driver.observe())
        self._emit()  # an ERROR that has been found just now is recorded before what leaves it
        async with self._deciding("recover()", self._host.resolve_doubt):
            now = driver.observe()
            await self._execute(self._lifecycle.recover(resolution, now, error), now)

    @at_home
    async def roll(self) -> RollSucceeded:
        """Roll manually, where `auto_roll` is off; return once the roll has completed.

        Cancelling this call does not cancel the roll.

        Raises:
            RollNotOwedError: the session has not ended, or the roll is automatic or under way.
            RollFailedError: the last attempt failed; the state is ERROR.
            NotLeadingError: another replica leads, or began to before the roll had completed. That one completes a roll
                whose intent is in the journal, and `RollFollowed` says so here.
            ClockFailed: the clock cannot be read.
            ReentrancyError: called from inside this manager's own roll.
            NotRunningError, ManagerStopped: the manager does not run, or stopped first.
        """
        self._refuse_inside("roll()")
        driver = self._require_leading("roll()")
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
            elif isinstance(event, LeadershipLost) and self._host.replica is not None:
                rest = f"completing the roll from {ended}"
                raise self._host.replica.refusal(rest)
        raise self._refusal("roll()")

    @at_home
    def roll_transaction(self) -> AbstractAsyncContextManager[Any]:
        """Return an async context manager: the transaction of the roll's own writes, inside `roll_session` only.

        The block's value is a connection to write with: the `sqlite3.Connection` of a `SqliteJournal`, the
        `psycopg.AsyncConnection` of a `PostgresJournal`. The journal's *done* is its last statement, and commits with
        the writes, or neither does. The value is None where an earlier attempt has committed: write nothing then.

        Once the block has committed, the roll is done: what `roll_session` does afterwards cannot fail it, and an
        exception or a timeout is emitted as `HandlerFailed`. The next session is entered when the function has ended.
        The block holds the database's write lock, so do what has to be waited for before it.

        Raises:
            NoTransactionError: (on entering) called outside of this manager's own roll, or the journal is no database.
            ReentrancyError: (on entering) called inside the block of another one.
            JournalWriteFailed: (on leaving) neither was committed; where it is `uncertain`, the next attempt finds out.
            NotLeadingError: another replica leads, or the lead was lost in this attempt. Neither was committed.
            NotRunningError, ManagerStopped: the manager does not run.
        """
        return roll_transaction(self._host, self._require_running("roll_transaction()"))

    @at_home
    def done_statement(self) -> tuple[str, tuple[object, ...]]:
        """Return the statement that writes the journal's *done*, and its parameters, inside `roll_session` only.

        For a transaction of another PostgreSQL driver than psycopg, on the database of the manager's `PostgresJournal`.
        Placeholders are `$1`, `$2` and so on. Run it last in the transaction of the roll's own writes: both commit or
        neither does. It raises in the server where the roll is done already, or another replica leads.

        Raises:
            NoTransactionError: called outside of this manager's own roll, or the journal is no `PostgresJournal`.
            ReentrancyError: called inside the block of `roll_transaction`.
            NotRunningError, ManagerStopped: the manager does not run.
        """
        return done_statement(self._host, self._require_running("done_statement()"))

    # ---- events ----

    @at_home
    def events(self) -> Subscription:
        """Return an async iterator over all events from this call on; it ends with the manager.

        Called before the start, it includes the events of the start. Each call returns an iterator of its own. A slow
        reader never delays the machine: after 10,000 unread events it gets those, then `SubscriberOverrun`.
        """
        return self._host.broadcast.subscribe()

    @at_home
    async def wait_for(self, *states: SessionState) -> SessionState:
        """Wait until one of `states` is entered, however briefly, and return it; at once where it is the present one.

        Raises:
            TypeError: no state is given, or an argument is not a `SessionState`.
            ReentrancyError: called from inside this manager's own roll.
            NotRunningError: the manager has not started.
            ManagerStopped: the manager stopped first.
        """
        self._refuse_inside("wait_for()")
        require_states("wait_for()", states)
        self._require_begun("wait_for()")
        if self.state in states:
            await anyio.lowlevel.checkpoint()
            return self.state
        broadcast = self._host.broadcast
        entered = broadcast.subscribe(lambda event: isinstance(event, StateChanged) and event.dest in states)
        try:
            async for event in entered:
                return cast("StateChanged", event).dest
        finally:
            broadcast.remove(entered)
        raise self._refusal("wait_for()")

    # ---- handlers, alarms and scopes ----

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
        """Decorate an async function, a handler, that is called with each event of a class or each entry into a state.

        It runs in the manager's own tasks and never delays the machine. A handler is called with one event after the
        other, in their order; handlers of the same event start in the order of their registration. An exception of a
        handler is emitted as `HandlerFailed`, and affects nothing else. When the manager stops, a handler may finish
        the events in its queue.

        Args:
            what: a `SessionState`, or one of the event classes.
            missed: call it with every event of a catch-up; by default only with one whose state or break still lasts.
            timeout: how long one call may take, by the manager's clock, before it is cancelled. None: indefinitely.

        Raises:
            TypeError: `what` is neither, or the function is not async.
            ConfigurationError: the timeout is out of range.
            ManagerStopped: the manager has stopped.
        """
        state = what if isinstance(what, SessionState) else None
        return self._handler_decorator("on()", filter_for(what), missed=missed, timeout=timeout, state=state)

    def at(
        self,
        anchor: Anchor | str,
        offset: timedelta = timedelta(0),
        *,
        misfire: Misfire = Misfire.SKIP,
        grace: timedelta = _ON_TIME,
        timeout: timedelta | None = None,
        recurring_after_restart: bool = False,
    ) -> Callable[[AlarmHandler], AlarmHandler]:
        """Decorate an async function that is called at an instant of every session; see `Alarm`.

        `anchor` is a boundary, or a phase: "closing_auction" is its start, "closing_auction.end" its end. A phase that
        no session of the coming thirty days has is a warning in the log, here or at the start.

        It is called with the `AlarmFired`, as handlers are. An alarm fires at most once for a session (with a break as
        its anchor, once for each break), in ERROR too. While a roll is owed, it fires after the roll. An instant before
        the registration does not fire; at the start, the session's earlier instants count as missed, but for those that
        the journal holds as fired; with `recurring_after_restart`, those too.

        Raises:
            ConfigurationError: a value is out of range.
            TypeError: the function is not async.
            ClockFailed: the clock cannot be read.
            ManagerStopped: the manager has stopped.
        """
        alarm = Alarm(anchor, offset, misfire, grace, recurring_after_restart)
        register = self._handler_decorator("at()", on_alarm(alarm), missed=True, timeout=timeout)

        def decorate(function: AlarmHandler) -> AlarmHandler:
            now = read(self._clock)
            register(function)
            self._add_alarm(alarm, now)
            return function

        return decorate

    @at_home
    def alarms(
        self,
        anchor: Anchor | str,
        offset: timedelta = timedelta(0),
        *,
        misfire: Misfire = Misfire.SKIP,
        grace: timedelta = _ON_TIME,
        recurring_after_restart: bool = False,
    ) -> AsyncIterator[AlarmFired]:
        """Return an async iterator over the `AlarmFired` of an alarm, from this call on; it ends with the manager.

        The arguments are those of `at()`.

        Raises:
            ConfigurationError: a value is out of range.
            ClockFailed: the clock cannot be read.
            ManagerStopped: the manager has stopped.
        """
        if self._host.stopped:
            raise self._refusal("alarms()")
        alarm = Alarm(anchor, offset, misfire, grace, recurring_after_restart)
        now = read(self._clock)
        fired = self._host.broadcast.subscribe(on_alarm(alarm))
        self._add_alarm(alarm, now)
        return cast("AsyncIterator[AlarmFired]", fired)

    @at_home
    def during(
        self, *states: SessionState, phase: str | None = None, grace: timedelta | None = None
    ) -> AbstractAsyncContextManager[Session]:
        """Return an async context manager whose body runs while the state is one of `states`, and is then cancelled.

        With `phase`, the body runs while the venue is in that phase, such as "overnight", and is given the session that
        the phase counts for; no roll ends it. With states too, it runs while both hold. A phase that no session of the
        coming thirty days has is waited for, with a warning in the log: its name may be misspelt.

        Entering waits until the state is one of them, and gives the session. As soon as the state is none of them, or
        the manager stops, the body is cancelled, and the block is left without an error.
        `during(SessionState.ACTIVE, SessionState.TIMEOUT)` is "while the market is open".

        Where the manager stops before such a state was entered, the body is entered all the same, and cancelled at its
        first wait: Python cannot skip a body. So it is in a loop over `sessions()` of a manager that has stopped.
        `run_while` calls nothing then.

        Args:
            states: one or more; none are needed with a phase.
            phase: the name of a phase.
            grace: how long the body may go on after that, by the manager's clock, before it is cancelled: time to
                finish for a body that reads `manager.state`. None: no time at all.

        Raises:
            TypeError, ConfigurationError: an argument is of the wrong kind, or out of range.
            InvalidSession: `phase` cannot be the name of a phase.
            ReentrancyError: (on entering) called from inside this manager's own roll.
            NotRunningError: (on entering) the manager has not started.
            ManagerStopped: (on entering) the manager has stopped already, outside of a loop over its `sessions()`.
        """
        require_condition("during()", states, phase)
        require_duration("grace", grace, never=True)
        return scopes.during(scopes.While(states, phase), grace, around=self._surroundings, wait_for=self.wait_for)

    @at_home
    async def run_while(
        self, function: Callable[[Session], Awaitable[object]], *states: SessionState, phase: str | None = None
    ) -> None:
        """Await `function(session)` once for each time that the state is one of `states`; cancel it when it is none.

        With `phase`, it is awaited once for each time that the venue is in that phase, such as "overnight", with the
        session that the phase counts for; no roll ends such a call. With states too, while both hold. A phase that no
        session of the coming thirty days has is waited for, with a warning in the log: its name may be misspelt.

        Return when the manager stops, which cancels the call. A new session always ends the call, and another one
        begins where the state is one of `states` then. A state of no width, such as the POST_MARKET of a market that is
        open around the clock, neither ends a call nor begins one. A function that returns early is not called again
        until the state has been another, or the session is a new one. `run_while(trade, ACTIVE, TIMEOUT)` is "trade
        while the market is open, every day".

        Raises:
            BaseException: what the function raises, and a cancellation of this call.
            TypeError: the function is not async, neither a state nor a phase is given, or an argument is not a
                `SessionState`.
            InvalidSession: `phase` cannot be the name of a phase.
            ReentrancyError: called from inside this manager's own roll.
            NotRunningError: the manager has not started.
        """
        self._refuse_inside("run_while()")
        require_async("the function of run_while()", "a session", function)
        require_condition("run_while()", states, phase)
        self._require_begun("run_while()")
        await scopes.run_while(function, scopes.While(states, phase), label_of(function), around=self._surroundings)

    @at_home
    def sessions(self) -> AsyncIterator[Session]:
        """Return an async iterator over the present session, unless it has ended, and each that is rolled into.

        Sessions that are rolled into meanwhile are queued for a slow body. It ends with the manager, in every state.

        Raises:
            NotRunningError: the manager has not started.
        """
        return scopes.sessions(lifecycle=self._require_begun("sessions()"), broadcast=self._host.broadcast)

    @property
    def _surroundings(self) -> scopes.Surroundings:
        return scopes.Surroundings(self._lifecycle, self._host.broadcast, self._clock, self._report_overdue)

    def _report_overdue(self, callback: str, seconds: float) -> None:
        driver = self._driver
        assert driver is not None, "without one nothing is cancelled"
        waited = timedelta(seconds=seconds)
        driver.publish(self._host.report_overdue(callback, waited, driver.observe_or_last()))

    def _handler_decorator(
        self,
        call: str,
        event_filter: EventFilter,
        *,
        missed: bool,
        timeout: timedelta | None,
        state: SessionState | None = None,
    ) -> Callable[[Any], Any]:
        if self._home is not None:
            self._home.require(call)
        require_duration("timeout", timeout, never=True)

        def register(function: Any) -> Any:  # noqa: ANN401 -- the public signatures have the types
            require_async("a handler", "one event", function)
            if self._host.stopped:
                raise self._refusal(call)
            host = self._host
            if host.ready is None:
                host.ready = deque()
            handler = Handler(
                function, event_filter, host.ready, self._lifecycle, missed=missed, timeout=timeout, state=state
            )
            host.handlers += (handler,)
            host.broadcast.add(handler)
            return function

        return register

    def _add_alarm(self, alarm: Alarm, now: Reading) -> None:
        self._lifecycle.add_alarm(alarm, now)
        if alarm.phase is not None and self._lifecycle.begun:
            warn_of_unknown_phase(self._lifecycle, f"the alarm at {alarm}", alarm.phase)
        self._emit()

    # ---- helpers ----

    def _emit(self) -> None:
        """Emit the events of a call, and wake the driver."""
        if self._driver is None:
            self._host.emit()
        else:
            self._driver.emit(self._host)
            self._driver.wake(self._host)

    @asynccontextmanager
    async def _deciding(self, call: str, prepare: Callable[[], Awaitable[None]] | None = None) -> AsyncGenerator[None]:
        """Wait for the decisions before, and for `prepare`.

        Raises:
            NotLeadingError: the lead was lost meanwhile. What the call is about may not be any more.
            ManagerStopped: the manager has stopped meanwhile.
        """
        replica = self._host.replica
        tenure = None if replica is None else replica.tenure
        async with self._host.deciding():
            if prepare is not None:
                await prepare()
            self._require_leading(call)
            if replica is not None and replica.tenure != tenure:
                waited = f"{call}, in whose wait the lead was lost and gained again,"
                raise replica.refusal(waited)
            yield

    async def _execute(self, decision: Decision, now: Reading) -> None:
        """Wait until a decision is durable and has been applied."""
        entry = self._host.execute(decision, now)
        self._emit()
        if entry is None or self._host.ledger is None:
            await anyio.lowlevel.checkpoint()
        else:
            await self._host.ledger.wait(entry)

    def _observe_for(self, timestamp: datetime | None) -> Reading:
        """Read the clock for data. Data without a timestamp is recorded even where the clock fails."""
        if timestamp is None and self._driver is not None and self._lifecycle.begun:
            return self._driver.observe_or_last()
        return read(self._clock)

    def _require_begun(self, call: str) -> SessionLifecycle:
        if not self._lifecycle.begun:
            raise NotRunningError(call)
        return self._lifecycle

    def _require_running(self, call: str) -> Driver:
        if self._driver is None or not self._lifecycle.begun:
            raise NotRunningError(call)
        if self._host.stopped:
            raise self._refusal(call)
        return self._driver

    def _refusal(self, call: str) -> ManagerStopped:
        """Return the refusal of a call after the end, from what has ended the driver."""
        error = ManagerStopped(call, self.state)
        error.__cause__ = None if self._driver is None else self._driver.failure
        return error

    def _require_writable(self, call: str) -> Driver:
        """Return the driver; raise where the manager does not run, or what is to be written would wait for itself."""
        if self._host.in_transaction and inside(self._host):
            raise ReentrancyError(call)
        return self._require_leading(call)

    def _require_leading(self, call: str) -> Driver:
        driver = self._require_running(call)
        if self._host.replica is not None:
            self._host.replica.require_lead(call)
        return driver

    def _refuse_inside(self, call: str) -> None:
        if inside(self._host):
            raise ReentrancyError(call)


def _is_outcome(event: Event) -> bool:
    match event:
        case RollSucceeded() | RollFailed() | LeadershipLost():
            return True
        case StateChanged():
            return event.dest is SessionState.ERROR
        case _:
            return False
