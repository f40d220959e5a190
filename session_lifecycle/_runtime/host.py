"""The host of one lifecycle: the application's roll, the journal with its ledger, and the subscribers to its events.

What must be durable before something else happens goes through the ledger here, in the order of the decisions.
"""

import inspect
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from typing import Final

import anyio

from session_lifecycle._core.decision import Decision
from session_lifecycle._core.feeds import FeedState
from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._core.machine import ERROR
from session_lifecycle._core.rolls import RollRound
from session_lifecycle._core.view import Cohort
from session_lifecycle._journal.base import Journal, SharedJournal, TransactionalJournal
from session_lifecycle._journal.errors import JournalCorrupt, NotLeadingError
from session_lifecycle._journal.records import Entry, JournalState, Record, adoption, completion, journal_state_after
from session_lifecycle._model.callback_events import CallbackOverdue, HandlerBusy
from session_lifecycle._model.clock import Clock, Reading
from session_lifecycle._model.events import AlarmFired, AlarmSkipped, Event, HandlerFailed, StateChanged
from session_lifecycle._model.venue_status import VenueStatus
from session_lifecycle._runtime.alarm_calls import AlarmCalls
from session_lifecycle._runtime.call_scope import CallScope
from session_lifecycle._runtime.callbacks import CallbackScope, open_scopes
from session_lifecycle._runtime.event_log import LOGGER, log_event
from session_lifecycle._runtime.handlers import Handler
from session_lifecycle._runtime.host_state import DRAINING, NEW, RUNNING, STOPPED, STOPPING, HostState
from session_lifecycle._runtime.ledger import Ledger, LedgerEntry, close_for_good
from session_lifecycle._runtime.replica import Replica
from session_lifecycle._runtime.subscriptions import Broadcast
from session_lifecycle._runtime.unknown_phases import warn_of_unknown_phases

RollSession = Callable[[date], Awaitable[object]]
"""The application's roll: an async callable that takes the next session's date."""

WasRolled = Callable[[date], Awaitable[bool] | bool]
"""Returns whether the application has rolled to a date already; sync or async."""


class Host:
    """One lifecycle under a driver: the core, the application's roll, the journal, and the subscribers."""

    __slots__ = (
        "_decision",
        "_records",
        "alarms",
        "attempt",
        "cohort",
        "committed",
        "declared_session",
        "dispatching",
        "handlers",
        "holds_journal",
        "in_transaction",
        "journal",
        "ledger",
        "lifecycle",
        "monotonic",
        "progress",
        "ready",
        "replica",
        "reported_logging",
        "roll_session",
        "rolling",
        "state",
        "subscribers",
        "tasks",
        "wall",
        "was_rolled",
    )

    def __init__(
        self,
        lifecycle: SessionLifecycle,
        roll_session: RollSession,
        was_rolled: WasRolled | None = None,
        journal: Journal | None = None,
        declared_session: date | None = None,
    ) -> None:
        self.lifecycle: Final = lifecycle
        self.progress: Final = lifecycle.progress
        """The lifecycle's progress, held here too: a boundary that thousands cross reads it of each."""
        self.roll_session: Final = roll_session
        self.was_rolled: Final = was_rolled
        self.journal: Final = journal
        self.declared_session: Final = declared_session
        """The session that the application declares to be in (`session=`); None where it declares none."""
        self.holds_journal: bool = False
        """Whether its journal is open."""
        self.ledger: Ledger | None = None
        """What waits to become durable; None without a journal, and until that is open."""
        self.in_transaction: bool = False
        """Whether the transaction of its roll is open."""
        self.rolling: RollRound | None = None
        """The roll whose attempt is under way: the application's code runs."""
        self.committed: RollRound | None = None
        """The roll whose *done* has been committed in its own transaction."""
        self.replica: Replica | None = None
        """Its part among the replicas that share its journal; None where no other does, and until that is open."""
        self.alarms: AlarmCalls | None = None
        """The alarms that have fired; None without a journal, and until that is open."""
        self._decision: anyio.Lock | None = None
        self._records: tuple[Record, ...] = ()  # of the journal, until the lifecycle begins
        self.subscribers: Broadcast | None = None
        """The broadcast of its events; None until there is a subscriber."""
        self.handlers: tuple[Handler, ...] = ()  # held here: a broadcast holds its subscribers weakly
        self.ready: deque[Handler] | None = None
        """The handlers that have events in their queues; None until there is a handler at all."""
        self.dispatching: bool = False
        """Whether a task starts the handlers that are ready."""
        self.cohort: Cohort | None = None
        """The cohort that it belonged to when it was last polled; None where it is driven alone."""
        self.state: HostState = NEW
        self.tasks: int = 0
        """How many tasks run application code of it."""
        self.reported_logging: bool = False
        """Whether it has emitted that the application's logging fails."""
        self.attempt: CallScope | None = None
        """The scope of the attempt to roll that is under way."""
        self.wall: datetime | None = None
        """The deadline that the driver's queue of wall timers holds for it."""
        self.monotonic: timedelta | None = None
        """The deadline that the driver's queue of monotonic timers holds for it."""

    async def open_journal(self, clock: Clock, request: Callable[[], None]) -> None:
        """Open the journal, where there is one, and make the ledger, which calls `request` when it has entries.

        Raises:
            LifecycleError: the journal cannot be used.
        """
        journal = self.journal
        if journal is None:
            return
        lifecycle = self.lifecycle
        timeout = lifecycle.config.journal_timeout
        ledger = Ledger(journal, repr(journal), timeout, clock, request=request, written=self.record_written)
        with ledger.holding_clock():
            self._records = await journal.open(lifecycle.schedule.name)
        self.holds_journal, self.ledger, self.alarms = True, ledger, AlarmCalls(self.note)
        ledger.adopt(self._records)
        if isinstance(journal, SharedJournal):
            self.replica = Replica(journal, lifecycle, ledger)

    def begin(self, now: Reading) -> LedgerEntry | None:
        """Begin the lifecycle in its session, the journal's where that has one.

        Return the entry that must be durable before any event is emitted, such as the session that an empty journal
        adopts; None where there is none.

        Raises:
            LifecycleError: the schedule does not know the present, or the journal contradicts the application.
        """
        entry = None
        if self.ledger is None:
            self.lifecycle.begin(now)
        else:
            entry = self._begin_from_journal(now, self.ledger)
        warn_of_unknown_phases(self.lifecycle)
        return entry

    def _begin_from_journal(self, now: Reading, ledger: Ledger) -> LedgerEntry | None:
        records, self._records = self._records, ()
        try:
            journal_state = journal_state_after(records)
        except ValueError as error:
            raise JournalCorrupt(repr(self.journal), 0, f"its records contradict each other: {error}") from error
        self.record_written(records)
        if not self.leads:
            self.lifecycle.stand_by(now)
            self.lifecycle.begin(now, journal_state)
            return None
        added: tuple[Record, ...] = ()
        if journal_state is not None:
            record = completion(journal_state, self.declared_session, now.wall)
            if record is not None:
                journal_state, added = self._complete_intent(journal_state, record)
        self.lifecycle.begin(now, journal_state)
        if self.replica is not None:
            self.replica.report_lead(now)
        if journal_state is None:
            added = (adoption(self.lifecycle.session, now.wall),)
        elif journal_state.error is not None:
            LOGGER.error(
                "%s: still in ERROR since an earlier run: %s", self.lifecycle.schedule.name, journal_state.error
            )
        return ledger.submit(added) if added else None

    def _complete_intent(self, journal_state: JournalState, record: Record) -> tuple[JournalState, tuple[Record, ...]]:
        """Count the open intent as done, because the application declares to be in its target. An ERROR stays."""
        skipped = journal_state.intent.skipped if journal_state.intent is not None else ()
        added = [record]
        if journal_state.error is not None and record.target is not None:
            added.append(Record(Entry.FAILED, record.target, record.at, note=journal_state.error))
        for each in added:
            journal_state = journal_state.after(each)
        LOGGER.warning(
            "%s: the roll to %s counts as done, because session= names its target; sessions skipped: %s",
            self.lifecycle.schedule.name,
            record.target,
            ", ".join(map(str, skipped)) or "none",
        )
        return journal_state, tuple(added)

    @property
    def broadcast(self) -> Broadcast:
        """The broadcast of its events, made on first use."""
        if self.subscribers is None:
            self.subscribers = Broadcast()
            if self.state is DRAINING or self.state is STOPPED:
                self.subscribers.close()
        return self.subscribers

    @property
    def running(self) -> bool:
        """Whether it is driven: RUNNING or STOPPING."""
        return self.state is RUNNING or self.state is STOPPING

    @property
    def stopped(self) -> bool:
        """Whether it is STOPPED: none of its tasks runs."""
        return self.state is STOPPED

    def close(self) -> None:
        """End every subscription. Handlers may finish the events in their queues."""
        self.state = DRAINING
        if self.subscribers is not None:
            self.subscribers.close()

    @property
    def at_rest(self) -> bool:
        """Whether no attempt to roll is under way, and nothing waits to be made durable."""
        return self.attempt is None and (self.ledger is None or self.ledger.idle)

    async def close_journal(self) -> bool:
        """Close the journal, where it is open, and be STOPPED, whatever cancels the calling task meanwhile.

        A native cancellation is absorbed; return whether there was one.
        """
        try:
            if self.journal is None or not self.holds_journal:
                return False
            self.holds_journal = False
            timeout = self.lifecycle.config.journal_timeout.total_seconds()
            return await close_for_good(self.journal, timeout, self.lifecycle.schedule.name)
        finally:
            self.end()

    def end(self) -> None:
        """End every subscription, and be STOPPED. A second call does nothing."""
        self.close()
        self.state = STOPPED

    @property
    def in_callback(self) -> bool:
        """Whether the calling task runs inside its roll, or inside one of its handlers or probes."""
        return self.awaits(open_scopes())

    def awaits(self, scopes: Iterable[CallbackScope]) -> bool:
        """Return whether one of the scopes is open, and is of its roll, or of one of its handlers or probes."""
        owners = (self, *self.handlers, *self.lifecycle.feed_states)
        return any(scope.holds(owner) for scope in scopes for owner in owners)

    def execute(self, decision: Decision, now: Reading) -> LedgerEntry | None:
        """Make a decision durable, then apply it; at once, where nothing needs to be durable or there is no journal.

        Return the entry of the ledger whose outcome is the decision's; None where it has been applied.
        """
        if self.ledger is None or not decision.records:
            decision.apply(now)
            return None
        self._note_halts()
        abandon = decision.abandon
        if abandon is None:
            return self.ledger.submit(decision.records, decision.apply)

        def unless_fenced(error: Exception, now: Reading) -> None:
            if not isinstance(error, NotLeadingError):  # else the leader decides, and this replica follows
                abandon(error, now)

        return self.ledger.submit(decision.records, decision.apply, unless_fenced)

    def note(self, record: Record) -> LedgerEntry | None:
        """Have something that has happened already recorded, where there is a journal, and no other replica leads."""
        if self.ledger is None or not self.lifecycle.leading:
            return None

        return self.ledger.submit((record,), abandon=self._not_journalled(record))

    def _note_halts(self) -> None:
        """Have the halts recorded that no call of `halt` has begun, before what was decided after them."""
        for record in self.lifecycle.take_records():
            self.note(record)

    def _not_journalled(
        self, record: Record, abandon: Callable[[Exception, Reading], None] | None = None
    ) -> Callable[[Exception, Reading], None]:
        def report(error: Exception, now: Reading) -> None:
            if abandon is not None:
                abandon(error, now)
            LOGGER.error(
                "%s: %r of session %s could not be journalled, and a restart does not know of it: %s",
                self.lifecycle.schedule.name,
                record.entry.value,
                record.session,
                error,
            )

        return report

    def halt(self, reason: str, now: Reading, feed: FeedState | None = None) -> bool:
        """Halt trading, or one feed, at once; the record follows. Return False where it is halted already."""
        if not self.lifecycle.halt(reason, now, feed):
            return False
        subject = "" if feed is None else feed.name
        self._note_halts()
        self.note(Record(Entry.HALTED, self.lifecycle.session.date, now.wall, note=reason, subject=subject))
        return True

    def resume(self, now: Reading, feed: FeedState | None = None) -> bool:
        """End a halt once that is durable. Return False where there is none."""
        return self._resume(self.lifecycle.resume(now, feed), now)

    def _resume(self, decision: Decision | None, now: Reading) -> bool:
        if decision is not None:
            abandon = self._not_journalled(decision.records[0], decision.abandon)
            self.execute(decision._replace(abandon=abandon), now)
        return decision is not None

    def record_status(self, status: VenueStatus, at: datetime, now: Reading) -> None:
        """Take a status of the venue: halt at once, the record follows; resume once that is durable."""
        self._resume(self.lifecycle.record_status(status, at, now), now)

    @asynccontextmanager
    async def deciding(self) -> AsyncGenerator[None]:
        """Wait until no other change of hours or recovery is being written: each is planned on what the last did."""
        if self.ledger is None:
            yield
            return
        if self._decision is None:
            self._decision = anyio.Lock()
        async with self._decision:
            yield

    async def resolve_doubt(self) -> None:
        """Find out about records that are in doubt, by appending them again, and about a roll's own transaction.

        Raises:
            JournalWriteFailed: that is not known still, where it is `uncertain`.
            JournalUnavailable: the journal cannot be read.
        """
        if self.ledger is not None:
            await self.ledger.wait(self.ledger.submit(()))
        roll = self.lifecycle.unfinished_roll
        if roll is not None:
            await self._look_for_done(roll)
            roll.recorded = roll.recorded or self.committed is roll

    async def find_done(self, roll: RollRound) -> bool:
        """Return whether the journal holds *done* of a roll, which an earlier attempt has committed in a transaction.

        Raises:
            JournalUnavailable: the journal cannot be read.
        """
        if roll.attempt > 1:
            await self._look_for_done(roll)
        return self.committed is roll

    async def _look_for_done(self, roll: RollRound) -> None:
        if self.committed is not roll and self.ledger is not None and isinstance(self.journal, TransactionalJournal):
            with self.ledger.holding_clock():
                found = await self.journal.find_done(roll.ended.date)
            if found is not None:
                self.committed = roll
                self.record_written((found,))

    def journal_failed(self, error: Exception, now: Reading) -> None:
        """Go to ERROR where records are in doubt for good; where another replica leads, stand by."""
        if isinstance(error, NotLeadingError) or not self.leads:
            self.lose_lead(str(error), now)
        else:
            self.lifecycle.fail(str(error), now)

    def emit(self) -> Sequence[Event]:
        """Log, publish and return the events that the lifecycle holds. An ERROR is journalled too."""
        events = self.lifecycle.take_events()
        self._note_halts()
        failed = self.dispatch(events)
        return [*events, *failed] if failed else events

    def dispatch(self, events: Sequence[Event]) -> Sequence[Event]:
        """Log events, and publish them to their subscribers. Return another one, where logging has failed."""
        failed: Sequence[Event] = ()
        for event in events:
            if isinstance(event, StateChanged) and event.dest is ERROR:
                self.note(Record(Entry.FAILED, event.session, event.observed_at, note=event.reason or ""))
            elif self.alarms is not None:
                self.alarms.observe(event, self.handlers)
            error = log_event(event, self.lifecycle.schedule)
            if self.subscribers is not None:
                self.subscribers.publish(event)
            if error is not None and not self.reported_logging:
                self.reported_logging = True
                failed = self._publish_failure("logging", error, event, event.observed_at)
        return failed

    async def call_handler(self, handler: Handler, event: Event, argument: Event) -> None:
        """Await a handler; that of an alarm, once it is durable that the alarm fires.

        It is called with `argument`: the event, as of now.

        Raises:
            TypeError: it is not async.
            Exception: as raised by the handler.
        """
        if self.alarms is not None and isinstance(event, AlarmFired):
            async with self.alarms.recorded(event):
                await _awaited(handler, argument)
        else:
            await _awaited(handler, argument)

    @property
    def leads(self) -> bool:
        """Whether it may roll and write: it shares its journal with no other replica, or leads."""
        return self.replica is None or self.replica.leads

    def record_written(self, records: Sequence[Record]) -> None:
        """Count records that have become durable, where the journal is shared."""
        if self.replica is not None:
            self.replica.add(records)

    def lose_lead(self, reason: str, now: Reading) -> None:
        """Stand by: another replica leads, or this one cannot know. An attempt under way is cancelled."""
        if self.replica is not None and self.lifecycle.leading:
            self.replica.lose_lead(reason, now)
            if self.ledger is not None:
                self.ledger.discard(self.replica.refusal("a record"), now)
            if self.attempt is not None:
                self.attempt.cancel("the lead of the journal is lost")

    def report_failure(self, label: str, error: BaseException, cause: Event | None, now: Reading) -> tuple[Event, ...]:
        """Emit that a handler has failed. No handler takes that of a handler of failures, to end the chain."""
        return self._publish_failure(label, error, cause, now.wall)

    def _publish_failure(
        self, label: str, error: BaseException, cause: Event | None, observed_at: datetime
    ) -> tuple[Event, ...]:
        session = self.lifecycle.session.date
        event = HandlerFailed(label, error, cause, session, observed_at, name=self.lifecycle.name)
        log_event(event, self.lifecycle.schedule)
        self.broadcast.publish(event)
        return (event,)

    def report_busy(self, label: str, cause: Event, now: Reading) -> tuple[Event, ...]:
        """Emit that a handler is still busy when its next event is due."""
        session = self.lifecycle.session.date
        return self._report(HandlerBusy(label, cause, session, now.wall, name=self.lifecycle.name))

    def report_overdue(self, label: str, waited: timedelta, now: Reading) -> tuple[Event, ...]:
        """Emit that code which was cancelled has not ended."""
        session = self.lifecycle.session.date
        return self._report(CallbackOverdue(label, waited, session, now.wall, name=self.lifecycle.name))

    def skip_alarm(self, event: AlarmFired, skipped: AlarmSkipped) -> tuple[Event, ...]:
        """Emit that an alarm's handler was busy for too long; its call counts as ended."""
        if self.alarms is not None:
            self.alarms.call_ended(event)
        return self._report(skipped)

    def _report(self, event: Event) -> tuple[Event, ...]:
        log_event(event, self.lifecycle.schedule)
        self.broadcast.publish(event)
        return (event,)

    def end_roll(self, roll: RollRound, error: BaseException | None, now: Reading) -> None:
        """Have the outcome of an attempt made durable, and report it to the core."""
        if not self.lifecycle.pursues(roll):
            return  # another replica leads since, and decides what becomes of it
        if self.committed is roll:
            # *done* is in the journal, committed in the roll's own transaction: nothing can fail the roll any more.
            if error is not None:
                self.report_failure("roll_session", error, None, now)
            self.lifecycle.roll_succeeded(roll, now).apply(now)
        elif error is not None:
            self.lifecycle.roll_failed(roll, error, now)
        else:
            self.execute(self.lifecycle.roll_succeeded(roll, now), now)


async def _awaited(handler: Handler, event: Event) -> None:
    outcome = handler.function(event)
    if not inspect.isawaitable(outcome):
        msg = f"{handler.label} returned {outcome!r}, which cannot be awaited: make it async"
        raise TypeError(msg)
    await outcome
