"""One lifecycle with all that belongs to it: the application's roll, the journal, and the readers of its events.

Everything here is synchronous. What must be durable before something else happens is written here, in that order.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import date, datetime, timedelta
from enum import Enum, unique
from typing import Final

import anyio

from session_lifecycle._core.decision import Decision
from session_lifecycle._core.lifecycle import Cohort, SessionLifecycle
from session_lifecycle._core.machine import ERROR
from session_lifecycle._core.rolls import RollRound
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
"""The application's own roll: an async callable that takes the next session's date."""

WasRolled = Callable[[date], Awaitable[bool] | bool]
"""The application's answer to the question whether it has rolled to a date already."""


@unique
class HostState(Enum):
    """How far a member has come with its driver."""

    NEW = "ahead"
    RUNNING = "running"
    STOPPING = "leaving"
    DRAINING = "gone"
    STOPPED = "stopped"


NEW: Final = HostState.NEW
RUNNING: Final = HostState.RUNNING
STOPPING: Final = HostState.STOPPING
DRAINING: Final = HostState.DRAINING
STOPPED: Final = HostState.STOPPED


class Host:
    """One lifecycle under a driver: the core, the application's roll, and the readers of its events."""

    __slots__ = (
        "attempt",
        "cohort",
        "dispatching",
        "first",
        "handlers",
        "holds_journal",
        "journal",
        "lifecycle",
        "monotonic",
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
        first: date | None = None,
    ) -> None:
        self.lifecycle: Final = lifecycle
        self.roll_session: Final = roll_session
        self.was_rolled: Final = was_rolled
        self.journal: Final = journal
        self.first: Final = first
        """The session that the application says that it is in."""
        self.holds_journal: bool = False
        self.subscribers: Broadcast | None = None
        """The broadcast, where there has been a reader."""
        self.handlers: tuple[Handler, ...] = ()  # held here: the broadcast does not hold its readers
        self.ready: deque[Handler] | None = None
        """The handlers that have events to be called for; None until there is a handler at all."""
        self.dispatching: bool = False
        self.cohort: Cohort | None = None
        """What it shared with others when it was last seen to; None where it goes its own way."""
        self.state: HostState = NEW
        self.tasks: int = 0
        """How many tasks run something of it."""
        self.attempt: anyio.CancelScope | None = None
        self.wall: datetime | None = None  # the deadlines that the driver's heaps hold for it
        self.monotonic: timedelta | None = None

    def begin(self, now: Reading) -> None:
        """Take up the session, the journal's where it has one; the journal tells of it before anybody else hears."""
        if self.journal is None:
            self.lifecycle.begin(now)
            return
        records = self.journal.open(self.lifecycle.schedule.name)
        self.holds_journal = True
        journal_state = journal_state_after(records)
        if journal_state is not None:
            record = completion(journal_state, self.first, now.wall)
            if record is not None:
                journal_state = self._complete(journal_state, record)
        self.lifecycle.begin(now, journal_state)
        if journal_state is None:
            self.journal.append(adoption(self.lifecycle.session, now.wall))
        elif journal_state.error is not None:
            LOGGER.error(
                "%s: still in ERROR since an earlier run: %s", self.lifecycle.schedule.name, journal_state.error
            )

    def _complete(self, journal_state: JournalState, record: Record) -> JournalState:
        """Count the open intent as done, because the application says that it is in its target; an ERROR stays."""
        skipped = journal_state.intent.skipped if journal_state.intent is not None else ()
        added = [record]
        if journal_state.error is not None and record.target is not None:
            added.append(Record(Entry.FAILED, record.target, record.at, note=journal_state.error))
        for each in added:
            self.write(each)
            journal_state = journal_state.after(each)
        LOGGER.warning(
            "%s: the roll to %s counts as done, since session= says so; skipped on the way: %s",
            self.lifecycle.schedule.name,
            record.target,
            ", ".join(map(str, skipped)) or "none",
        )
        return journal_state

    @property
    def broadcast(self) -> Broadcast:
        """What hands its events to their readers."""
        if self.subscribers is None:
            self.subscribers = Broadcast()
            if self.state is DRAINING or self.state is STOPPED:
                self.subscribers.close()
        return self.subscribers

    @property
    def running(self) -> bool:
        """Whether a driver sees to it: from its beginning until it has left."""
        return self.state is RUNNING or self.state is STOPPING

    @property
    def stopped(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.state is STOPPED

    def close(self) -> None:
        """Leave, and end every reader's events; handlers may see to what they have been told."""
        self.state = DRAINING
        if self.subscribers is not None:
            self.subscribers.close()

    def end(self) -> None:
        """End every reader's events, let go of the journal, and be over. A second call does nothing."""
        self.close()
        self.state = STOPPED
        if self.journal is not None and self.holds_journal:
            self.holds_journal = False
            try:
                self.journal.close()
            except Exception:  # the journal may be the application's own code
                LOGGER.exception("%s: the journal could not be closed", self.lifecycle.schedule.name)

    @property
    def runs_here(self) -> bool:
        """Whether the calling task is inside its roll, or one of its handlers or probes."""
        owners = (self, *self.handlers, *self.lifecycle.feed_states)
        return any(map(inside, owners))

    def write(self, record: Record) -> None:
        """Make a record durable, where there is a journal; what a journal raises is passed on."""
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
        """Log, hand out and return what has happened. An ERROR is written down first, if it can be."""
        events = self.lifecycle.take_events()
        self.dispatch(events)
        return events

    def dispatch(self, events: Sequence[Event]) -> None:
        """Log events, and hand them to their readers."""
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
        """Tell that a handler has failed. One that fails on that very event is logged only, or it would never end."""
        session = self.lifecycle.session.date
        event = HandlerFailed(handler.label, error, cause, session, now.wall, name=self.lifecycle.name)
        log_event(event, self.lifecycle.schedule)
        if isinstance(cause, HandlerFailed):
            return ()
        self.broadcast.publish(event)
        return (event,)

    def begin_roll(self, roll: RollRound, now: Reading) -> bool:
        """Make the intent durable and begin the attempt; where that cannot be, go to ERROR and return False."""
        return self.execute(self.lifecycle.begin_roll(roll, now, journalled=self.journal is not None))

    def end_roll(self, roll: RollRound, error: BaseException | None, now: Reading) -> None:
        """Make a completed roll durable and enter the next session, or report why the attempt has failed."""
        if error is not None:
            self.lifecycle.roll_failed(roll, error, now)
        else:
            self.execute(self.lifecycle.roll_succeeded(roll, now))
