"""One log line for each event, under the logger `session_lifecycle`, with the event's fields as structured extras.

`extra` holds: `event` (the class's name), `calendar`, `manager`, `session`, and the event's other fields by their
names. Nothing is configured here and nothing is logged at import.
"""

import logging
from typing import Final

from session_lifecycle._model.events import Event, HandlerFailed, RollFailed
from session_lifecycle._model.text import one_line
from session_lifecycle._schedules.base import Schedule

LOGGER: Final = logging.getLogger("session_lifecycle")


def is_logged(event: Event) -> bool:
    """Return whether the logger is enabled for an event's level."""
    return LOGGER.isEnabledFor(event.level)


def log_event(event: Event, schedule: Schedule) -> None:
    """Log one event at its level: INFO for the ordinary, WARNING for what needs attention, ERROR for what stops."""
    level = event.level
    if not LOGGER.isEnabledFor(level):
        return
    calendar = schedule.name
    fields = {field: getattr(event, field) for field in event.__struct_fields__ if field != "name"}
    extra = {"event": type(event).__name__, "calendar": calendar, "manager": event.name, **fields}
    # A failure that is tried again is one line; the last one has its traceback.
    cause = None
    if isinstance(event, HandlerFailed) or (isinstance(event, RollFailed) and event.retry_at is None):
        cause = event.error
    LOGGER.log(level, "%s: %s", one_line(event.name or calendar), event.summary(), extra=extra, exc_info=cause)
