"""The trading session as a state machine: exchange hours, exact boundaries, one roll a day, stale data.

Start with `SessionBoundaryManager`; the README shows how. `session_lifecycle.testing` holds simulated time.
"""

from session_lifecycle.clock import Clock, SystemClock
from session_lifecycle.config import LifecycleConfig, MissedSessions, Resolution, RetryPolicy
from session_lifecycle.errors import (
    AlreadyStartedError,
    CalendarUnavailable,
    ClockFailed,
    ConcurrentAdvanceError,
    ConfigurationError,
    IllegalTransition,
    InvalidSession,
    JournalCorrupt,
    JournalLocked,
    JournalMismatch,
    JournalUnavailable,
    JournalWriteFailed,
    LifecycleError,
    ManagerStopped,
    NaiveDatetimeError,
    NegativeAdvanceError,
    NeverSettledError,
    NotASession,
    NotRunningError,
    ReentrancyError,
    RollFailedError,
    RollNotOwedError,
    RollTimeoutError,
    ScheduleExhausted,
    SubscriberOverrun,
    TooManySessionsMissed,
)
from session_lifecycle.events import (
    BreakEnded,
    BreakStarted,
    ClockStepped,
    Event,
    HorizonNear,
    RollFailed,
    RollStarted,
    RollSucceeded,
    StateChanged,
)
from session_lifecycle.exchange import ExchangeSchedule
from session_lifecycle.file_journal import FileJournal
from session_lifecycle.journal import Entry, Journal, MemoryJournal, Record
from session_lifecycle.lifecycle import SessionLifecycle
from session_lifecycle.machine import SessionMachine
from session_lifecycle.manager import SessionBoundaryManager
from session_lifecycle.schedule import Boundaries, FixedSchedule, Schedule, Session, boundaries
from session_lifecycle.states import SessionState
from session_lifecycle.status import Status
from session_lifecycle.stream import Subscription
from session_lifecycle.timeline import replay

__all__ = [
    "AlreadyStartedError",
    "Boundaries",
    "BreakEnded",
    "BreakStarted",
    "CalendarUnavailable",
    "Clock",
    "ClockFailed",
    "ClockStepped",
    "ConcurrentAdvanceError",
    "ConfigurationError",
    "Entry",
    "Event",
    "ExchangeSchedule",
    "FileJournal",
    "FixedSchedule",
    "HorizonNear",
    "IllegalTransition",
    "InvalidSession",
    "Journal",
    "JournalCorrupt",
    "JournalLocked",
    "JournalMismatch",
    "JournalUnavailable",
    "JournalWriteFailed",
    "LifecycleConfig",
    "LifecycleError",
    "ManagerStopped",
    "MemoryJournal",
    "MissedSessions",
    "NaiveDatetimeError",
    "NegativeAdvanceError",
    "NeverSettledError",
    "NotASession",
    "NotRunningError",
    "Record",
    "ReentrancyError",
    "Resolution",
    "RetryPolicy",
    "RollFailed",
    "RollFailedError",
    "RollNotOwedError",
    "RollStarted",
    "RollSucceeded",
    "RollTimeoutError",
    "Schedule",
    "ScheduleExhausted",
    "Session",
    "SessionBoundaryManager",
    "SessionLifecycle",
    "SessionMachine",
    "SessionState",
    "StateChanged",
    "Status",
    "SubscriberOverrun",
    "Subscription",
    "SystemClock",
    "TooManySessionsMissed",
    "boundaries",
    "replay",
]
