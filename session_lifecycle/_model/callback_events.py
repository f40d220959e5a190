"""Events of the application's own callbacks: what keeps a handler busy, and what does not end when it is cancelled."""

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

from session_lifecycle._model.event_base import ERROR, UNSET, WARNING, EventBase, TaggedEvent

if TYPE_CHECKING:
    from session_lifecycle._model.events import Event

    _Cause: TypeAlias = "Event"
else:
    # An annotation that names the union would have to be quoted, and resolved in whichever module asks for it.
    _Cause = EventBase


class HandlerBusy(TaggedEvent, frozen=True):
    """A handler's next event is due while a call of it has not ended. Emitted once until it has caught up.

    `handler` is the function's qualified name, `cause` the event that waits. When its turn comes it is judged again:
    a state or a break that is over is not handled, and an alarm that is too late becomes `AlarmSkipped`.
    """

    __module__ = "session_lifecycle"
    _level = WARNING

    handler: str
    cause: _Cause | None = None
    session: date | None = None
    observed_at: datetime = UNSET
    name: str | None = None

    def _text(self) -> str:
        what = "an event" if self.cause is None else type(self.cause).__name__
        return f"handler {self.handler} is still busy, and {what} waits for it"


class CallbackOverdue(TaggedEvent, frozen=True):
    """Code of the application has not ended although it was cancelled `waited` ago, in real time.

    It swallows its cancellation, waits behind a shield, or blocks. It is cancelled again once a second; what waits for
    it goes on waiting. `callback` is a handler's or function's qualified name, or says which roll, probe or block it
    is. Emitted once for each cancellation.
    """

    __module__ = "session_lifecycle"
    _level = ERROR

    callback: str
    waited: timedelta = timedelta(0)
    session: date | None = None
    observed_at: datetime = UNSET
    name: str | None = None

    def _text(self) -> str:
        return (
            f"{self.callback} has not ended {self.waited.total_seconds():.0f} s after its cancellation: let "
            "CancelledError pass, and bound what waits behind a shield"
        )
