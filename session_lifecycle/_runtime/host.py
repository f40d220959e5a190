"""The host of one lifecycle: the application's roll, the journal, and the subscribers to its events.

Everything here is synchronous. A record that must be durable before something else happens is written here, in that
order.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import date, datetime, timedelta
from enum import Enum, unique
from typing import Final

import anyio

from session_lifecycle._core.decision import Decision
from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._core.machine import ERROR
from session_lifecycle._core.rolls import RollRound
from session_lifecycle._core.view import Cohort
from session_lifecycle._journal.base import Journal
from session_lifecycle._journal.records import (
    Entry,
    JournalState,
    Record,
    adoption,
    completion,
    journal_state_after,
)
from session_lifecycle._model.clock import Reading
from session_lifecycle._model.events import Event, HandlerFailed, StateChanged
from session_lifecycle._runtime.callbacks import inside
from session_lifecycle._runtime.event_log import LOGGER, log_event
from session_lifecycle._runtime.handlers import Handler
from session_lifecycle._runtime.subscriptions import Broadcast

RollSession = Callable[[date], Awaitable[object]]
"""The application's roll: an async callable that takes the next session's date."""

WasRolled = Callable[[date], Awaitable[bool] | bool]
"""Returns whether the application has rolled to a date already; sync or async."""


@unique
class HostState(Enum):
    """The progress of a host under its driver, in the order in which it passes these states."""

    NEW = "new"
    """It has not begun."""
    RUNNING = "running"
    """It has begun, and is driven."""
    STOPPING = "stopping"
    """It is driven until its attempt to roll, if one is under way, has ended."""
    DRAINING = "draining"
    """It is not driven any more, and its handlers finish the events in their queues."""
    STOPPED = "stopped"
    """None of its tasks runs, and its journal is closed."""


NEW: Final = HostState.NEW
RUNNING: Final = HostState.RUNNING
STOPPING: Final = HostState.STOPPING
DRAINING: Final = HostState.DRAINING
STOPPED: Final = HostState.STOPPED


class Host:
    """One lifecycle under a driver: the core, the application's roll, the journal, and the subscribers."""

    __slots__ = (
        "attempt",
        "cohort",
        "declared_session",
        "dispatching",
        "handlers",
        "holds_journal",
        "journal",
        "lifecycle",
        "monotonic",
        "progress",
        "ready",
        "roll_session",
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
        self.attempt: anyio.CancelScope | None = None
        """The scope of the attempt to roll that is under way."""
        self.wall: datetime | None = None
        """The deadline that the driver's queue of wall timers holds for it."""
        self.monotonic: timedelta | None = None
        """The deadline that the driver's queue of monotonic timers holds for it."""

    def begin(self, now: Reading) -> None:
        """Begin the lifecycle in its session, the journal's where that has one.

        A session that an empty journal adopts is recorded before any event is emitted.

        Raises:
            LifecycleError: the schedule does not know the present, or the journal cannot be used.
        """
        if self.journal is None:
            self.lifecycle.begin(now)
            return
        records = self.journal.open(self.lifecycle.schedule.name)
        self.holds_journal = True
        journal_state = journal_state_after(records)
        if journal_state is not None:
            record = completion(journal_state, self.declared_session, now.wall)
            if record is not None:
                journal_state = self._complete_intent(journal_state, record)
        self.lifecycle.begin(now, journal_state)
        if journal_state is None:
            self.write(adoption(self.lifecycle.session, now.wall))
        elif journal_state.error is not None:
            LOGGER.error(
                "%s: still in ERROR since an earlier run: %s", self.lifecycle.schedule.name, journal_state.error
            )

    def _complete_intent(self, journal_state: JournalState, record: Record) -> JournalState:
        """Journal the open intent as done, because the application declares to be in its target. An ERROR stays."""
        skipped = journal_state.intent.skipped if journal_state.intent is not None else ()
        added = [record]
        if journal_state.error is not None and record.target is not None:
            added.append(Record(Entry.FAILED, record.target, record.at, note=journal_state.error))
        for each in added:
            self.write(each)
            journal_state = journal_state.after(each)
        LOGGER.warning(
            "%s: the roll to %s counts as done, because session= names its target; sessions skipped: %s",
            self.lifecycle.schedule.name,
            record.target,
            ", ".join(map(str, skipped)) or "none",
        )
        return journal_state

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

    def end(self) -> None:
        """End every subscription, close the journal, and be STOPPED. A second call does nothing."""
        self.close()
        self.state = STOPPED
        if self.journal is not None and self.holds_journal:
            self.holds_journal = False
            try:
                self.journal.close()
            except Exception:  # the journal may be the application's own code
                LOGGER.exception("%s: the journal could not be closed", self.lifecycle.schedule.name)

    @property
    def in_callback(self) -> bool:
        """Whether the calling task runs inside its roll, or inside one of its handlers or probes."""
        owners = (self, *self.handlers, *self.lifecycle.feed_states)
        return any(map(inside, owners))

    def write(self, record: Record) -> None:
        """Make a record durable, where there is a journal. The journal's exceptions propagate."""
        if self.journal is not None:
            self.journal.append(record)

    def execute(self, decision: Decision) -> bool:
        """Make a decision durable, then apply it. Nothing is awaited in between.

        Return False where the record could not be made durable and the decision has been abandoned instead. A decision
        that cannot be abandoned raises what the journal raised, and nothing has changed.
        """
        if decision.record is not None:
            try:
                self.write(decision.record)
            except Exception as error:  # the journal may be the application's own code
                if decision.abandon is None:
                    raise
                decision.abandon(error)
                return False
        decision.apply()
        return True

    def emit(self) -> Sequence[Event]:
        """Log, publish and return the events that the lifecycle holds. An ERROR is journalled first, if possible."""
        events = self.lifecycle.take_events()
        self.dispatch(events)
        return events

    def dispatch(self, events: Sequence[Event]) -> None:
        """Log events, and publish them to their subscribers."""
        for event in events:
            if isinstance(event, StateChanged) and event.dest is ERROR:
                try:
                    self.write(Record(Entry.FAILED, event.session, event.observed_at, note=event.reason or ""))
                except Exception:  # the journal may be the application's own code
                    LOGGER.exception("%s: ERROR could not be journalled", self.lifecycle.schedule.name)
            log_event(event, self.lifecycle.schedule)
            if self.subscribers is not None:
                self.subscribers.publish(event)

    def handler_failed(
        self, handler: Handler, error: BaseException, cause: Event | None, now: Reading
    ) -> tuple[Event, ...]:
        """Emit that a handler has failed. One that fails on a `HandlerFailed` is logged only, to end the chain."""
        session = self.lifecycle.session.date
        event = HandlerFailed(handler.label, error, cause, session, now.wall, name=self.lifecycle.name)
        log_event(event, self.lifecycle.schedule)
        if isinstance(cause, HandlerFailed):
            return ()
        self.broadcast.publish(event)
        return (event,)

    def begin_roll(self, roll: RollRound, now: Reading) -> bool:
        """Make the intent durable and begin the attempt. Where the journal fails, go to ERROR and return False."""
        return self.execute(self.lifecycle.begin_roll(roll, now, journalled=self.journal is not None))

    def end_roll(self, roll: RollRound, error: BaseException | None, now: Reading) -> None:
        """Make a completed roll durable, and report the outcome to the core. Nothing is awaited in between."""
        if error is not None:
            self.lifecycle.roll_failed(roll, error, now)
        else:
            self.execute(self.lifecycle.roll_succeeded(roll, now))
