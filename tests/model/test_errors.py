"""Every error: what it says, what it carries, what it is."""

import copy
import inspect
import pickle
import re
from datetime import UTC, datetime

import pytest

import session_lifecycle
from session_lifecycle import SessionState
from session_lifecycle._journal import errors as journal_errors
from session_lifecycle._model import errors, home_errors
from tests.helpers.builders import DAY, MONDAY

NAIVE = datetime(2024, 3, 4, 17)  # noqa: DTZ001 -- no time zone is the point
TUESDAY, FRIDAY, SATURDAY = MONDAY + DAY, MONDAY + 4 * DAY, MONDAY + 5 * DAY
ACTIVE, ENDED, ERROR = SessionState.ACTIVE, SessionState.ENDED, SessionState.ERROR

# The error's type, its arguments by name (kept as attributes), and the phrases of its message: what was tried, what is
# to be done next.
CASES: list[tuple[str, dict[str, object], list[str]]] = [
    (
        "NaiveDatetimeError",
        {"what": "timestamp", "value": NAIVE},
        ["timestamp is 2024-03-04T17:00:00, which has no time zone", "pass an aware datetime"],
    ),
    (
        "ConfigurationError",
        {"field": "pre_market", "value": -3, "rule": "must be positive"},
        ["pre_market = -3 is refused", "must be positive"],
    ),
    (
        "IllegalTransition",
        {"state": ACTIVE, "trigger": "roll", "allowed": ("fail", "close_market")},
        ["'roll' is not possible in ACTIVE", "from here: fail, close_market", "Nothing was changed"],
    ),
    (
        "IllegalTransition",
        {"state": ERROR, "trigger": "end_session", "allowed": ()},
        ["'end_session' is not possible in ERROR. Nothing was changed"],
    ),
    (
        "CalendarUnavailable",
        {"name": "XNYs", "near": ("XNYS", "XNAS"), "reason": None, "source": "exchange_calendars"},
        ["no calendar is called 'XNYs'", "did you mean XNYS or XNAS?"],
    ),
    (
        "CalendarUnavailable",
        {"name": None, "near": (), "reason": None, "source": "exchange_calendars"},
        ["no calendar is called None", "see exchange_calendars.get_calendar_names()"],
    ),
    (
        "CalendarUnavailable",
        {"name": "XNYS", "near": (), "reason": "KeyError: 3", "source": "exchange_calendars"},
        ["the calendar 'XNYS' could not be built: KeyError: 3"],
    ),
    (
        "CalendarUnavailable",
        {"name": "COMEX", "near": (), "reason": None, "source": "pandas_market_calendars"},
        ["no calendar is called 'COMEX'", "see pandas_market_calendars.get_calendar_names()"],
    ),
    (
        "ScheduleExhausted",
        {"schedule": "XHKG", "wanted": FRIDAY, "first": MONDAY, "last": TUESDAY, "remedy": "Update the calendar"},
        [
            "XHKG knows sessions from 2024-03-04 to 2024-03-05 only, and was asked for 2024-03-08",
            "does not mean that the market is closed",
            "Update the calendar",
        ],
    ),
    (
        "NotASession",
        {"schedule": "XNYS", "day": SATURDAY, "near": (FRIDAY, MONDAY + 7 * DAY)},
        ["2024-03-09 (Saturday) is not a session of XNYS", "the nearest are 2024-03-08 and 2024-03-11"],
    ),
    (
        "NotASession",
        {"schedule": "XNYS", "day": SATURDAY, "near": ()},
        ["2024-03-09 (Saturday) is not a session of XNYS"],
    ),
    (
        "ReentrancyError",
        {"call": "recover()"},
        ["recover() was called from inside a roll or handler", "call it from a task of its own"],
    ),
    (
        "NotRunningError",
        {"call": "stop()"},
        ["stop() needs a running manager", "`async with manager:` or `await tg.start(manager.run)` first"],
    ),
    (
        "AlreadyStartedError",
        {"kind": "SessionBoundaryManager"},
        [
            "this SessionBoundaryManager has been started already, and runs once only",
            "create a new SessionBoundaryManager",
        ],
    ),
    ("GroupStopped", {"call": "add()"}, ["the group has stopped", "add()", "a new SessionGroup"]),
    (
        "NotAMember",
        {"manager": "<the manager>"},
        ["<the manager> is not a member of this group", "Call remove() on its own group"],
    ),
    (
        "ManagerStopped",
        {"call": "roll()", "state": ENDED},
        ["the manager has stopped, in ENDED", "roll() has no effect any more", "create a new one"],
    ),
    (
        "RollNotOwedError",
        {"state": ERROR, "why": "`await manager.recover()` first"},
        ["there is no roll to act on in ERROR", "`await manager.recover()` first"],
    ),
    (
        "RollFailedError",
        {"session": MONDAY, "next_session": TUESDAY, "attempts": 3, "reason": "KeyError(7)"},
        [
            "the roll from 2024-03-04 to 2024-03-05 did not complete after 3 attempts: KeyError(7)",
            "still owed",
            "`await manager.recover()`",
        ],
    ),
    (
        "RollFailedError",
        {"session": MONDAY, "next_session": None, "attempts": 0, "reason": "no calendar"},
        ["the roll from 2024-03-04 did not complete", "no calendar", "`await manager.recover()`"],
    ),
    (
        "RollTimeoutError",
        {"timeout_seconds": 1.5},
        ["took longer than roll_timeout (1.5 s) and was cancelled"],
    ),
    (
        "HandlerTimeoutError",
        {"handler": "desk.flatten", "seconds": 2.5},
        ["desk.flatten did not return within its timeout of 2.5 s", "was cancelled"],
    ),
    (
        "FeedNameTaken",
        {"name": "trades"},
        ["a feed 'trades' is registered already", "use it, call its remove() first, or choose another name"],
    ),
    (
        "FeedRemoved",
        {"name": "trades", "call": "halt()"},
        ["feed 'trades' has been removed", "halt() has no effect", "call add_feed() to register it again"],
    ),
    (
        "OverrideRefused",
        {"day": MONDAY, "why": "it closed at noon"},
        ["the override for 2024-03-04 is refused: it closed at noon", "Nothing was changed"],
    ),
    (
        "OverrideRefused",
        {"day": None, "why": "hours.toml: 'opening' is not understood"},
        ["the override is refused: hours.toml: 'opening' is not understood"],
    ),
    (
        "SnapshotRefused",
        {"path": "hours.toml", "place": "line 7", "why": "the close is missing", "remedy": "mend that line"},
        ["hours.toml, line 7: the close is missing. Nothing was changed; mend that line"],
    ),
    (
        "SnapshotRefused",
        {"path": "hours.toml", "place": None, "why": "it has no session", "remedy": "make it anew"},
        ["hours.toml: it has no session. Nothing was changed; make it anew"],
    ),
    (
        "HaltRefused",
        {"state": ENDED},
        ["halt() was called in ENDED", "no trading to halt", "from PRE_MARKET to the close", "in ERROR"],
    ),
    (
        "TooManySessionsMissed",
        {"session": MONDAY, "owner": FRIDAY, "limit": 3},
        ["more than 3 sessions", "2024-03-04 and 2024-03-08", "Check the clock", "`await manager.recover()`"],
    ),
    (
        "JournalLocked",
        {"journal": "/data/j", "pid": 42, "since": datetime(2026, 1, 5, 14, 30, tzinfo=UTC)},
        [
            "the journal /data/j is held by process 42 since 2026-01-05 14:30:00 UTC",
            "Stop the other one",
            "a journal of its own",
        ],
    ),
    (
        "JournalLocked",
        {"journal": "/data/j", "pid": None, "since": None},
        ["the journal /data/j is held by another manager", "Stop the other one"],
    ),
    (
        "JournalCorrupt",
        {"journal": "/data/j", "seq": 99, "why": "a bit has flipped"},
        ["/data/j is damaged at record 99: a bit has flipped", "Nothing was started", "Restore it from a copy"],
    ),
    (
        "JournalCorrupt",
        {"journal": "/data/j", "seq": 0, "why": "the file is no database"},
        ["/data/j is damaged: the file is no database", "Nothing was started"],
    ),
    (
        "NotLeadingError",
        {"what": "halt()", "journal": "desk/XNYS", "term": 7},
        ["halt() was refused", "does not lead the journal desk/XNYS", "term is 7", "Nothing was written", "that leads"],
    ),
    (
        "NoTransactionError",
        {"call": "roll_transaction()", "why": "the manager has no journal"},
        ["roll_transaction() was refused: the manager has no journal", "Nothing was written"],
    ),
    (
        "WrongThreadError",
        {"call": "halt()"},
        ["halt() was called in another thread", "Nothing was changed", "loop.call_soon_threadsafe", "run_sync_soon"],
    ),
    (
        "WrongLoopError",
        {"call": "halt()"},
        ["halt() was called in another event loop", "Nothing was changed", "call_soon_threadsafe", "run_sync_soon"],
    ),
    (
        "WrongTaskError",
        {"kind": "SessionGroup"},
        ["left in another task than it was entered in", "the SessionGroup has been stopped", "`await aclose()`"],
    ),
    (
        "DriverCancelled",
        {"kind": "SessionGroup"},
        ["the task that drives the SessionGroup was cancelled from outside", "make a new SessionGroup"],
    ),
    (
        "CancelledBeforeStart",
        {"task": "roll to 2024-03-05"},
        ["'roll to 2024-03-05' was cancelled natively before its first step", "none of its code ran"],
    ),
    (
        "JournalMismatch",
        {"what": "the calendar", "found": "XNYS", "wanted": "XLON"},
        ["the calendar of the journal is XNYS, and XLON was asked for", "Nothing was started", "its own journal"],
    ),
    (
        "JournalUnavailable",
        {"journal": "/data/j", "reason": "no such directory"},
        ["the journal /data/j cannot be opened or read: no such directory", "Nothing was recorded", "Check the path"],
    ),
    (
        "JournalWriteFailed",
        {"journal": "/data/j", "entry": "intent", "reason": "disk full", "uncertain": False},
        ["'intent' could not be written to the journal /data/j: disk full", "fix the disk", "manager.recover()"],
    ),
    (
        "JournalWriteFailed",
        {"journal": "/data/j", "entry": "done", "reason": "no answer", "uncertain": True},
        ["whether 'done' was written to the journal /data/j is uncertain: no answer", "manager.recover()"],
    ),
    (
        "SubscriberOverrun",
        {"limit": 10_000},
        ["left 10000 events unread", "later ones were dropped", "then call events() again"],
    ),
    ("ClockFailed", {"reason": "OSError(5)"}, ["the clock failed: OSError(5)"]),
    (
        "NegativeAdvanceError",
        {"seconds": -2.0},
        ["time cannot pass backwards (-2 s)", "call step(delta) to move the wall clock back"],
    ),
    (
        "ConcurrentAdvanceError",
        {},
        ["another task is advancing this clock", "from one task only"],
    ),
    (
        "NeverSettledError",
        {"task": "Task-7", "passes": 100},
        ["Task-7 was still running after 100 passes of the event loop", "make it wait on something"],
    ),
]
EVERY = {
    cls.__name__: cls
    for module in (errors, home_errors, journal_errors)
    for _, cls in inspect.getmembers(module, inspect.isclass)
    if issubclass(cls, errors.LifecycleError)
}
ALSO = {
    "NotAMember": LookupError,
    "NaiveDatetimeError": ValueError,
    "ConfigurationError": ValueError,
    "InvalidSession": ValueError,
    "NotASession": ValueError,
    "OverrideRefused": ValueError,
    "SnapshotRefused": ValueError,
    "FeedNameTaken": ValueError,
    "NegativeAdvanceError": ValueError,
    "CalendarUnavailable": LookupError,
    "RollTimeoutError": TimeoutError,
    "HandlerTimeoutError": TimeoutError,
}
INSTANCES = [EVERY[name](**arguments) for name, arguments, _ in CASES] + [errors.InvalidSession("no hours")]


def test_every_error_is_held() -> None:
    """Every error has a case below and can be imported from the package's top."""
    assert {name for name, *_ in CASES} | {"LifecycleError", "InvalidSession"} == set(EVERY)
    assert all(getattr(session_lifecycle, name) is cls for name, cls in EVERY.items())


@pytest.mark.parametrize(("name", "arguments", "phrases"), CASES)
def test_an_error_says_and_carries(name: str, arguments: dict[str, object], phrases: list[str]) -> None:
    """An error says what was tried and what to do next, in this order, and keeps its arguments as attributes."""
    error = EVERY[name](**arguments)
    assert re.search(".*".join(map(re.escape, phrases)), str(error)), str(error)
    assert "\n" not in str(error)
    assert {{"date": "day"}.get(key, key): value for key, value in vars(error).items()} == arguments


@pytest.mark.parametrize("name", EVERY)
def test_every_error_is_a_lifecycle_error(name: str) -> None:
    """Every error has the one root, and some are of a built-in kind as well; each says in a docstring what it means."""
    assert issubclass(EVERY[name], errors.LifecycleError)
    kinds = {kind for kind in (ValueError, LookupError, TimeoutError, RuntimeError) if issubclass(EVERY[name], kind)}
    assert kinds == ({ALSO[name]} if name in ALSO else set())
    assert vars(EVERY[name])["__doc__"]


@pytest.mark.parametrize("error", INSTANCES, ids=lambda error: type(error).__name__)
def test_an_error_survives_copying(error: Exception) -> None:
    """An error pickled by any protocol, or copied, has the same type, arguments, attributes, notes and message."""
    error.add_note("seen on a Monday")
    copies = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for other in (*copies, copy.copy(error), copy.deepcopy(error)):
        assert type(other) is type(error)
        assert (other.args, str(other), vars(other)) == (error.args, str(error), vars(error))
