"""Checks of the arguments that applications pass: each raises before anything has changed."""

import inspect
from collections.abc import Callable
from datetime import date, datetime
from functools import partial
from typing import Final, cast

from session_lifecycle._journal.base import Journal
from session_lifecycle._model.config import LifecycleConfig, Resolution
from session_lifecycle._model.session import require_phase_name
from session_lifecycle._model.states import SessionState
from session_lifecycle._model.venue_status import VenueStatus

_OF_A_CLOCK: Final = ("now", "monotonic", "sleep_until", "sleep")


def require_async(what: str, takes: str, function: object) -> None:
    """Refuse a callable that is evidently not async; any other is found out at its first call.

    Raises:
        TypeError: it is not callable, or not async.
    """
    inner = function
    while isinstance(inner, partial):
        inner = cast("Callable[..., object]", inner.func)
    if not callable(inner):
        msg = f"{what} must be an async callable that takes {takes}, not {function!r}"
        raise TypeError(msg)
    if inspect.iscoroutinefunction(inner):
        return
    called = inner if inspect.isroutine(inner) else inner.__call__
    if inspect.iscoroutinefunction(inspect.unwrap(called)):  # a decorated one most likely returns what it is given
        return
    if inspect.isfunction(called) or inspect.ismethod(called):
        msg = f"{what} must be async (`async def`), and {function!r} is not: it would block the event loop"
        raise TypeError(msg)


def require_config(config: object) -> None:
    """Refuse a configuration that is not a `LifecycleConfig`."""
    if not isinstance(config, LifecycleConfig):
        msg = f"config must be a LifecycleConfig, not {config!r}"
        raise TypeError(msg)


def require_clock(clock: object) -> None:
    """Refuse a clock that does not fulfil `Clock`, or a class of clocks; None is allowed."""
    if clock is None:
        return
    if isinstance(clock, type) or not all(callable(getattr(clock, name, None)) for name in _OF_A_CLOCK):
        msg = f"clock must be a Clock, such as SystemClock(), not {clock!r}"
        raise TypeError(msg)
    for name in ("sleep_until", "sleep"):
        require_async(f"{type(clock).__name__}.{name}", "what `Clock` says", getattr(clock, name))


def require_session(session: object) -> None:
    """Refuse a session that is not named by its date, without a time; None is allowed."""
    if session is not None and (not isinstance(session, date) or isinstance(session, datetime)):
        msg = f"session= must be the date of a session, such as date(2026, 3, 2), not {session!r}"
        raise TypeError(msg)


def require_name(name: object) -> None:
    """Refuse a manager's name that is not a string, or blank; None is allowed."""
    if name is not None and (not isinstance(name, str) or not name.strip()):
        msg = f"name= must be a string that is not blank, or None, not {name!r}"
        raise TypeError(msg)


def require_journal(journal: object) -> None:
    """Refuse what does not fulfil `Journal`, a class of journals, and one whose calls are not async; None may be."""
    if journal is None:
        return
    if isinstance(journal, type) or not isinstance(journal, Journal):
        msg = f"journal must be a Journal, such as SqliteJournal(path), not {journal!r}"
        raise TypeError(msg)
    for name in ("open", "append", "close"):
        require_async(f"{type(journal).__name__}.{name}", "what `Journal` says", getattr(journal, name))


def require_was_rolled(was_rolled: object) -> None:
    """Refuse a `was_rolled` that cannot be called; None is allowed."""
    if was_rolled is not None and not callable(was_rolled):
        msg = f"was_rolled must be a callable that takes a date, not {was_rolled!r}"
        raise TypeError(msg)


def require_feed_name(name: object) -> None:
    """Refuse a feed's name that is not a string, or blank."""
    if not isinstance(name, str) or not name.strip():
        msg = f"a feed's name must be a string that is not blank, not {name!r}"
        raise TypeError(msg)


def require_reason(reason: object) -> str:
    """Return the reason; refuse one that is not a string, or blank."""
    if not isinstance(reason, str) or not reason.strip():
        msg = f"a reason must be a string that is not blank, not {reason!r}"
        raise TypeError(msg)
    return reason


def require_resolution(resolution: object) -> None:
    """Refuse a resolution that is not a `Resolution`."""
    if not isinstance(resolution, Resolution):
        msg = f"recover() takes a Resolution, not {resolution!r}"
        raise TypeError(msg)


def require_status(status: object) -> None:
    """Refuse a status that is not a `VenueStatus`, such as a feed's own code."""
    if not isinstance(status, VenueStatus):
        msg = f"record_status() takes a VenueStatus, not {status!r}: session_lifecycle.venues translates codes of feeds"
        raise TypeError(msg)


def require_states(call: str, states: tuple[object, ...], *, or_else: str = "") -> None:
    """Refuse an empty tuple, and anything in it that is not a `SessionState`. `or_else` is what the call takes too."""
    if not states or not all(isinstance(state, SessionState) for state in states):
        msg = f"{call} takes one or more SessionState members{or_else}; not {states!r}"
        raise TypeError(msg)


def require_condition(call: str, states: tuple[object, ...], phase: object) -> None:
    """Refuse anything in `states` that is not a `SessionState`, what cannot be a phase's name, and neither of both."""
    if states or phase is None:
        require_states(call, states, or_else=", or a phase by its name, as in phase='overnight'")
    if phase is not None:
        require_phase_name(phase)
