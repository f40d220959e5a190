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
from session_lifecycle._journal.base import Journal
from session_lifecycle._journal.errors import (
    JournalCorrupt,
    JournalLocked,
    JournalMismatch,
    JournalUnavailable,
    JournalWriteFailed,
)
from session_lifecycle._journal.records import (
    Entry,
    Record,
)
from session_lifecycle._model.alarm import Alarm, Misfire
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
    StateChanged,
    UnexpectedData,
)
from session_lifecycle._model.overrides import Closure, Override, SpecialHours
from session_lifecycle._model.session import (
    Boundaries,
    Session,
    boundaries,
)
from session_lifecycle._model.states import SessionState
from session_lifecycle._model.status import Status
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
    from session_lifecycle._journal.file import FileJournal
    from session_lifecycle._journal.memory import MemoryJournal
    from session_lifecycle._runtime.group import SessionGroup
    from session_lifecycle._schedules.comparison import Difference, compare, overlap
    from session_lifecycle._schedules.corrections import Correction
    from session_lifecycle._schedules.exchange import ExchangeSchedule
    from session_lifecycle._schedules.market_calendar import MarketCalendarSchedule
    from session_lifecycle._schedules.snapshot import SnapshotCheck, SnapshotSchedule, write_snapshot
else:
    # What a manager with hours of its own never needs is imported when it is first asked for. Type checkers read the
    # imports above, and no `__getattr__`, which would make every name right.
    _LAZY = {
        "Correction": "_schedules.corrections",
        "Difference": "_schedules.comparison",
        "ExchangeSchedule": "_schedules.exchange",
        "FileJournal": "_journal.file",
        "MarketCalendarSchedule": "_schedules.market_calendar",
        "MemoryJournal": "_journal.memory",
        "SessionGroup": "_runtime.group",
        "SnapshotCheck": "_schedules.snapshot",
        "SnapshotSchedule": "_schedules.snapshot",
        "compare": "_schedules.comparison",
        "overlap": "_schedules.comparison",
        "replay": "_core.replay",
        "write_snapshot": "_schedules.snapshot",
    }

    def __getattr__(name: str) -> object:
        if name not in _LAZY:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        value = getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
        globals()[name] = value  # the next look-up finds it there
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "AdaptiveTimeout",
    "AdjustableSchedule",
    "Alarm",
    "AlarmFired",
    "AlarmSkipped",
    "AlreadyStartedError",
    "Boundaries",
    "BreakEnded",
    "BreakStarted",
    "CalendarUnavailable",
    "Clock",
    "ClockFailed",
    "ClockStepped",
    "Closure",
    "ConcurrentAdvanceError",
    "ConfigurationError",
    "Correction",
    "Difference",
    "Entry",
    "Event",
    "ExchangeSchedule",
    "Feed",
    "FeedNameTaken",
    "FeedRemoved",
    "FeedResumed",
    "FeedStale",
    "FileJournal",
    "FixedSchedule",
    "GroupStopped",
    "HaltRefused",
    "Halted",
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
    "NotAMember",
    "NotASession",
    "NotRunningError",
    "Override",
    "OverrideRefused",
    "Position",
    "Record",
    "ReentrancyError",
    "Resolution",
    "Resumed",
    "RetryPolicy",
    "RollFailed",
    "RollFailedError",
    "RollNotOwedError",
    "RollStarted",
    "RollSucceeded",
    "RollTimeoutError",
    "Schedule",
    "ScheduleChanged",
    "ScheduleExhausted",
    "Session",
    "SessionBoundaryManager",
    "SessionGroup",
    "SessionLifecycle",
    "SessionMachine",
    "SessionState",
    "SnapshotCheck",
    "SnapshotRefused",
    "SnapshotSchedule",
    "SpecialHours",
    "StaleWhen",
    "StateChanged",
    "Status",
    "SubscriberOverrun",
    "Subscription",
    "SystemClock",
    "Timeline",
    "TooManySessionsMissed",
    "UnexpectedData",
    "boundaries",
    "compare",
    "overlap",
    "replay",
    "write_snapshot",
]
