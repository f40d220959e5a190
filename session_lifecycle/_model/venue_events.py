"""Events of what a venue reports of itself."""

from datetime import date, datetime

from session_lifecycle._model.event_base import UNSET, WARNING, TaggedEvent
from session_lifecycle._model.states import SessionState
from session_lifecycle._model.venue_status import VenueStatus


class CalendarContradicted(TaggedEvent, frozen=True):
    """The venue reported its close before the calendar's, or trading while the calendar has it closed.

    `state` is the calendar's at `reported_at`, the venue's own instant, and lasts until `until`. With `halted`, trading
    has been halted in consequence. Emitted once for each session and status.
    """

    __module__ = "session_lifecycle"
    _level = WARNING

    status: VenueStatus
    session: date
    state: SessionState
    reported_at: datetime
    until: datetime | None = None
    halted: bool = False
    observed_at: datetime = UNSET
    name: str | None = None

    def _text(self) -> str:
        until = "" if self.until is None else f" until {self.until.isoformat()}"
        then = "trading is halted" if self.halted else "nothing has changed"
        return (
            f"{self.session} the venue reported {self.status.name} at {self.reported_at.isoformat()}, where the "
            f"calendar says {self.state.name}{until}; {then}: check its hours, and apply() an override"
        )
