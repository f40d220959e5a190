"""One log line for each event, under the logger `session_lifecycle`, with the event's fields as structured extras.

`extra` holds: `event` (the class's name), `calendar`, `manager`, `session`, and the event's other fields by their
names. Nothing is configured here and nothing is logged at import.
"""

import logging
from collections.abc import Mapping
from typing import Final, assert_never

from session_lifecycle._core.machine import ERROR, TIMEOUT
from session_lifecycle._model.errors import describe
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
from session_lifecycle._model.session import Session
from session_lifecycle._schedules.base import Schedule

LOGGER: Final = logging.getLogger("session_lifecycle")


def is_logged(event: Event) -> bool:
    """Tell whether an event's line is wanted."""
    return LOGGER.isEnabledFor(_level(event))


def log_event(event: Event, schedule: Schedule) -> None:
    """Log one event: INFO for the ordinary, WARNING for what someone should see, ERROR for what stops the day."""
    level = _level(event)
    if not LOGGER.isEnabledFor(level):
        return
    calendar = schedule.name
    names: tuple[str, ...] = event.__match_args__
    fields = {field: getattr(event, field) for field in names if field != "name"}
    extra = {"event": type(event).__name__, "calendar": calendar, "manager": event.name, **fields}
    # A failure that is tried again is a line; the last one shows where it comes from.
    cause = None
    if isinstance(event, HandlerFailed) or (isinstance(event, RollFailed) and event.retry_at is None):
        cause = event.error
    LOGGER.log(level, "%s: %s", event.name or calendar, summarize(event), extra=extra, exc_info=cause)


_LEVELS: Final[Mapping[type[Event], int]] = {
    RollStarted: logging.DEBUG,
    RollFailed: logging.WARNING,
    ClockStepped: logging.WARNING,
    HorizonNear: logging.WARNING,
    AlarmSkipped: logging.WARNING,
    HandlerFailed: logging.ERROR,
    FeedStale: logging.WARNING,
    Halted: logging.WARNING,
    UnexpectedData: logging.WARNING,
    ScheduleChanged: logging.WARNING,
}
"""The levels of what is not logged at INFO, and does not depend on more than its kind."""


def _level(event: Event) -> int:
    """Return an event's level: found before its line is written, because most lines are not wanted."""
    if isinstance(event, StateChanged):
        if event.dest is ERROR:
            return logging.ERROR
        return logging.WARNING if event.dest is TIMEOUT else logging.INFO
    if isinstance(event, RollSucceeded):
        return logging.WARNING if event.skipped or event.overrun else logging.DEBUG
    return _LEVELS.get(type(event), logging.INFO)


def summarize(event: Event) -> str:  # noqa: C901, PLR0911, PLR0912 -- one return for each kind of event
    """Return an event in words."""
    match event:
        case StateChanged():
            return _change_in_words(event)
        case RollStarted():
            again = " (resumed)" if event.resumed else ""
            return f"roll {event.session} → {event.next_session}, attempt {event.attempt}{again}"
        case RollSucceeded():
            notes = [f"skipped {', '.join(map(str, event.skipped))}"] if event.skipped else []
            notes += ["overran roll_timeout"] if event.overrun else []
            tail = f" ({'; '.join(notes)})" if notes else ""
            return f"roll {event.session} → {event.next_session} completed{tail}"
        case RollFailed():
            then = f"next attempt at {event.retry_at}" if event.retry_at else "no further attempt"
            why = "" if event.error is None else f": {describe(event.error)}"
            return f"roll {event.session} → {event.next_session}, attempt {event.attempt} failed{why}; {then}"
        case ClockStepped():
            return f"the wall clock stepped by {event.delta.total_seconds():+g} s"
        case HorizonNear():
            return f"the calendar knows no session after {event.known_until}: update its source"
        case BreakStarted():
            return f"{event.session} break started"
        case BreakEnded():
            return f"{event.session} break ended"
        case AlarmFired():
            late = f", {event.lateness} late" if event.catch_up else ""
            return f"{event.session} alarm {event.alarm}{late}, in {event.state.name}"
        case AlarmSkipped():
            return f"{event.session} alarm {event.alarm} of {event.scheduled_at} was skipped: {event.reason}"
        case HandlerFailed():
            on = "" if event.cause is None else f" on {type(event.cause).__name__}"
            return f"handler {event.handler} failed{on}: {describe(event.error)}"
        case FeedStale():
            return f"{event.session} feed {event.feed} is stale: {event.reason}"
        case FeedResumed():
            return f"{event.session} feed {event.feed} is back after {event.silent_for}"
        case Halted():
            return f"{event.session} {_halted(event.feed)} halted: {event.reason}"
        case Resumed():
            how = " at the close" if event.lapsed else ""
            return f"{event.session} {_halted(event.feed)} resumed{how}"
        case UnexpectedData():
            source = "" if event.feed is None else f" from feed {event.feed}"
            return (
                f"data{source} while the calendar says that the venue is closed, before session {event.session}: "
                "check its hours, and pre_market and post_market_roll_delay"
            )
        case ScheduleChanged():
            return f"{event.day} changed ({event.reason}): was {_hours(event.before)}, is {_hours(event.after)}"
        case _:
            assert_never(event)


def _hours(session: Session | None) -> str:
    return "no session" if session is None else f"{session.open.isoformat()} to {session.close.isoformat()}"


def _halted(feed: str | None) -> str:
    return "trading" if feed is None else f"feed {feed}"


def _change_in_words(event: StateChanged) -> str:
    notes = [event.reason] if event.reason else []
    notes += ["catch-up"] if event.catch_up else []
    tail = f" ({'; '.join(notes)})" if notes else ""
    return f"{event.session} {event.source.name} → {event.dest.name} by {event.trigger}{tail}"
