"""The base of all events, and what their texts share."""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from session_lifecycle._model.plain import Plain, struct_as_dict
from session_lifecycle._model.session import Session
from session_lifecycle._model.text import one_line

UNSET: Final = datetime.min.replace(tzinfo=UTC)
"""The default of `observed_at`, in events that are made without one; those of the library always have an instant."""

# The levels of `logging`, which a value has no need to import.
DEBUG: Final = 10
INFO: Final = 20
WARNING: Final = 30
ERROR: Final = 40


class EventBase(msgspec.Struct, frozen=True):
    """The base of all events. It has no fields, so that each event orders its own, and `name` comes last."""

    _level = INFO

    @property
    def level(self) -> int:
        """The level of its log line, as a number of `logging`: 10 DEBUG, 20 INFO, 30 WARNING, 40 ERROR."""
        return self._level

    def summary(self) -> str:
        """Return it in one line of text, without control characters: those of names and reasons are escaped."""
        return one_line(self._text())

    def as_dict(self) -> dict[str, Plain]:
        """Return it as plain JSON values: `event`, the class's name, then the fields in their order.

        Instants are ISO 8601 in UTC, durations seconds, states their values, and an error its type and message.
        """
        return struct_as_dict(self)

    def _text(self) -> str:
        raise NotImplementedError


class TaggedEvent(EventBase, frozen=True, tag_field="event"):
    """An event, tagged with its class's name wherever it is written as JSON."""


class Scheduled:
    """What was due at an instant of its own."""

    __slots__ = ()
    scheduled_at: datetime
    observed_at: datetime

    @property
    def lateness(self) -> timedelta:
        """How long after its scheduled instant it was observed; never below zero."""
        return max(self.observed_at - self.scheduled_at, timedelta(0))


def in_brackets(notes: list[str]) -> str:
    """Return notes for the end of a text; nothing where there are none."""
    return f" ({'; '.join(notes)})" if notes else ""


def hours_text(session: Session | None) -> str:
    """Return the hours of a session for a text."""
    return "no session" if session is None else f"{session.open.isoformat()} to {session.close.isoformat()}"
