"""The trading session as a state machine: exchange hours, exact boundaries, one roll a day, stale data.

Start with `SessionBoundaryManager`; the README shows how. `session_lifecycle.testing` holds simulated time.
"""

import importlib
import typing

from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._core.machine import SessionMachine
from session_lifecycle._core.timeline import (
    Position,
    Timeline,
)
from session_lifecycle._journal.base import Journal, SharedJournal, TransactionalJournal
from session_lifecycle._journal.errors import (
    JournalCorrupt,
    JournalLocked,
    JournalMismatch,
    JournalUnavailable,
    JournalWriteFailed,
    NotLeadingError,
    NoTransactionError,
)
from session_lifecycle._journal.records import (
    Entry,
    Record,
)
from session_lifecycle._model.alarm import Alarm, Misfire
from session_lifecycle._model.callback_events import CallbackOverdue, HandlerBusy
from session_lifecycle._model.clock import Clock
from session_lifecycle._model.config import (
    AdaptiveTimeout,
    LifecycleConfig,
    MissedSessions,
    Resolution,
    RetryPolicy,
    StaleWhen,
)
from session_lifecycle._model.errors import (
    AlreadyStartedError,
    CalendarUnavailable,
    CancelledBeforeStart,
    ClockFailed,
    ConcurrentAdvanceError,
    ConfigurationError,
    FeedNameTaken,
    FeedRemoved,
    GroupStopped,
    HaltRefused,
    HandlerTimeoutError,
    IllegalTransition,
    InvalidSession,
    LifecycleError,
    ManagerStopped,
    NaiveDatetimeError,
    NegativeAdvanceError,
    NeverSettledError,
    NotAMember,
    NotASession,
    NotRunningError,
    OverrideRefused,
    ReentrancyError,
    RollFailedError,
    RollNotOwedError,
    RollTimeoutError,
    ScheduleExhausted,
    SnapshotRefused,
    SubscriberOverrun,
    TooManySessionsMissed,
)
from session_lifecycle._model.events import (
    AlarmFired,
    AlarmSkipped,
    BreakEnded,
    BreakStarted,
    ClockStepped,
    Event,
    FeedResumed,
    FeedStale,
    Halted,
    HandlerFailed,
    HorizonNear,
    Resumed,
    RollFailed,
    RollStarted,
    RollSucceeded,
    ScheduleChanged,
    SessionAdopted,
    StateChanged,
    UnexpectedData,
)
from session_lifecycle._model.home_errors import DriverCancelled, WrongLoopError, WrongTaskError, WrongThreadError
from session_lifecycle._model.journal_events import (
    AlarmInterrupted,
    ClockSkew,
    LeadershipGained,
    LeadershipLost,
    OverrideLost,
    RollFollowed,
)
from session_lifecycle._model.overrides import Closure, Override, SpecialHours
from session_lifecycle._model.phase_events import DataStale, PhaseEnded, PhaseStarted
from session_lifecycle._model.session import (
    Boundaries,
    Phase,
    Session,
    boundaries,
)
from session_lifecycle._model.states import SessionState
from session_lifecycle._model.status import Status
from session_lifecycle._model.venue_events import CalendarContradicted
from session_lifecycle._model.venue_status import EarlyClose, VenueDataRefused, VenueStatus
from session_lifecycle._runtime.feed import Feed
from session_lifecycle._runtime.manager import SessionBoundaryManager
from session_lifecycle._runtime.subscriptions import Subscription
from session_lifecycle._runtime.system_clock import SystemClock
from session_lifecycle._schedules.base import (
    AdjustableSchedule,
    Schedule,
)
from session_lifecycle._schedules.fixed import FixedSchedule

if typing.TYPE_CHECKING:
    from session_lifecycle._core.replay import replay
    from session_lifecycle._journal.memory import MemoryJournal
    from session_lifecycle._journal.postgres import PostgresJournal
    from session_lifecycle._journal.sqlite import SqliteJournal
    from session_lifecycle._runtime.group import SessionGroup
    from session_lifecycle._runtime.run_due import run_due
    from session_lifecycle._schedules.comparison import Difference, compare, overlap
    from session_lifecycle._schedules.corrections import Correction
    from session_lifecycle._schedules.exchange import ExchangeSchedule
    from session_lifecycle._schedules.market_calendar import MarketCalendarSchedule
    from session_lifecycle._schedules.snapshot import SnapshotCheck, SnapshotSchedule, write_snapshot
    from session_lifecycle._schedules.weekly import WeeklySchedule
else:
    # What a manager with hours of its own never needs is imported when it is first asked for. Type checkers read the
    # imports above, and no `__getattr__`, which would make every name right.
    _LAZY = {
        "Correction": "_schedules.corrections",
        "Difference": "_schedules.comparison",
        "ExchangeSchedule": "_schedules.exchange",
        "MarketCalendarSchedule": "_schedules.market_calendar",
        "MemoryJournal": "_journal.memory",
        "PostgresJournal": "_journal.postgres",
        "SessionGroup": "_runtime.group",
        "SnapshotCheck": "_schedules.snapshot",
        "SnapshotSchedule": "_schedules.snapshot",
        "SqliteJournal": "_journal.sqlite",
        "WeeklySchedule": "_schedules.weekly",
        "compare": "_schedules.comparison",
        "overlap": "_schedules.comparison",
        "replay": "_core.replay",
        "run_due": "_runtime.run_due",
        "write_snapshot": "_schedules.snapshot",
    }

    def __getattr__(name: str) -> object:
        if name not in _LAZY:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        try:
            value = getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
        except ModuleNotFoundError as error:
            if error.name != "psycopg":
                raise
            value = _without_psycopg(name)  # `import *` asks for every name: what is refused is to use it
        globals()[name] = value  # the next look-up finds it there
        return value

    def _without_psycopg(name: str) -> type:
        def refuse(*_: object, **__: object) -> object:
            msg = f"{name} needs the extra `postgres`: pip install 'session_lifecycle[postgres]'"
            raise ModuleNotFoundError(msg, name="psycopg")

        return type(name, (), {"__new__": refuse, "create_tables": staticmethod(refuse), "__module__": __name__})

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "AdaptiveTimeout",
    "AdjustableSchedule",
    "Alarm",
    "AlarmFired",
    "AlarmInterrupted",
    "AlarmSkipped",
    "AlreadyStartedError",
    "Boundaries",
    "BreakEnded",
    "BreakStarted",
    "CalendarContradicted",
    "CalendarUnavailable",
    "CallbackOverdue",
    "CancelledBeforeStart",
    "Clock",
    "ClockFailed",
    "ClockSkew",
    "ClockStepped",
    "Closure",
    "ConcurrentAdvanceError",
    "ConfigurationError",
    "Correction",
    "DataStale",
    "Difference",
    "DriverCancelled",
    "EarlyClose",
    "Entry",
    "Event",
    "ExchangeSchedule",
    "Feed",
    "FeedNameTaken",
    "FeedRemoved",
    "FeedResumed",
    "FeedStale",
    "FixedSchedule",
    "GroupStopped",
    "HaltRefused",
    "Halted",
    "HandlerBusy",
    "HandlerFailed",
    "HandlerTimeoutError",
    "HorizonNear",
    "IllegalTransition",
    "InvalidSession",
    "Journal",
    "JournalCorrupt",
    "JournalLocked",
    "JournalMismatch",
    "JournalUnavailable",
    "JournalWriteFailed",
    "LeadershipGained",
    "LeadershipLost",
    "LifecycleConfig",
    "LifecycleError",
    "ManagerStopped",
    "MarketCalendarSchedule",
    "MemoryJournal",
    "Misfire",
    "MissedSessions",
    "NaiveDatetimeError",
    "NegativeAdvanceError",
    "NeverSettledError",
    "NoTransactionError",
    "NotAMember",
    "NotASession",
    "NotLeadingError",
    "NotRunningError",
    "Override",
    "OverrideLost",
    "OverrideRefused",
    "Phase",
    "PhaseEnded",
    "PhaseStarted",
    "Position",
    "PostgresJournal",
    "Record",
    "ReentrancyError",
    "Resolution",
    "Resumed",
    "RetryPolicy",
    "RollFailed",
    "RollFailedError",
    "RollFollowed",
    "RollNotOwedError",
    "RollStarted",
    "RollSucceeded",
    "RollTimeoutError",
    "Schedule",
    "ScheduleChanged",
    "ScheduleExhausted",
    "Session",
    "SessionAdopted",
    "SessionBoundaryManager",
    "SessionGroup",
    "SessionLifecycle",
    "SessionMachine",
    "SessionState",
    "SharedJournal",
    "SnapshotCheck",
    "SnapshotRefused",
    "SnapshotSchedule",
    "SpecialHours",
    "SqliteJournal",
    "StaleWhen",
    "StateChanged",
    "Status",
    "SubscriberOverrun",
    "Subscription",
    "SystemClock",
    "Timeline",
    "TooManySessionsMissed",
    "TransactionalJournal",
    "UnexpectedData",
    "VenueDataRefused",
    "VenueStatus",
    "WeeklySchedule",
    "WrongLoopError",
    "WrongTaskError",
    "WrongThreadError",
    "boundaries",
    "compare",
    "overlap",
    "replay",
    "run_due",
    "write_snapshot",
]
