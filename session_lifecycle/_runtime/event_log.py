"""One log line for each event, under the logger `session_lifecycle`, with the event's fields as structured extras.

`extra` holds: `session_event` (the class's name; structlog and others keep the message under `event`), `calendar`,
`manager`, `session`, and the event's other fields by their names. A duration stands there twice, as a timedelta and,
with `_seconds` after its name, as a number. Nothing is configured here and nothing is logged at import.
"""

from datetime import timedelta
from typing import Any, Final

from session_lifecycle._model import log
from session_lifecycle._model.event_base import Scheduled
from session_lifecycle._model.events import Event, HandlerFailed, RollFailed
from session_lifecycle._schedules.base import Schedule

LOGGER: Final = log.LOGGER


def is_logged(event: Event) -> bool:
    """Return whether the logger is enabled for an event's level."""
    return LOGGER.isEnabledFor(event.level)


def log_event(event: Event, schedule: Schedule) -> Exception | None:
    """Log one event at its level: INFO for the ordinary, WARNING for what needs attention, ERROR for what stops.

    Return the exception of a filter or handler of the application's logging that failed on it.
    """
    level = event.level
    if not LOGGER.isEnabledFor(level):
        return None
    calendar = schedule.name
    extra: dict[str, Any] = {"session_event": type(event).__name__, "calendar": calendar, "manager": event.name}
    for field in event.__struct_fields__:
        if field != "name":
            extra[field] = value = getattr(event, field)
            if isinstance(value, timedelta):
                extra[f"{field}_seconds"] = value.total_seconds()
    if isinstance(event, Scheduled):
        extra["lateness_seconds"] = event.lateness.total_seconds()
    # A failure that is tried again is one line; the last one has its traceback.
    cause = None
    if isinstance(event, HandlerFailed) or (isinstance(event, RollFailed) and event.retry_at is None):
        cause = event.error
    return LOGGER.try_log(level, "%s: %s", event.name or calendar, event.summary(), extra=extra, exc_info=cause)
