"""Read what a manager emits in the moment of it, and find in it what the application's own code asserted in vain."""

from collections.abc import Callable, Sequence
from typing import Final, cast

from session_lifecycle._model.events import Event
from session_lifecycle._runtime.manager import SessionBoundaryManager
from session_lifecycle._runtime.subscriptions import Subscription


class Recorder(Subscription):
    """A subscription that calls `take` with each event at once, and `ended` at its end. No task reads it."""

    __slots__ = ("_end", "_take")

    def __init__(self, take: Callable[[Event], None], ended: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._take: Final = take
        self._end: Final = ended

    def put(self, event: Event) -> None:
        """Take an event."""
        self._take(event)

    def put_all(self, events: Sequence[Event]) -> None:
        """Take events, in their order."""
        for event in events:
            self._take(event)

    def end(self) -> None:
        """Report the end."""
        self._end()


def record(manager: SessionBoundaryManager, recorder: Recorder) -> None:
    """Add a recorder to a manager's subscriptions, which hold it weakly."""
    manager._host.broadcast.add(recorder)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] -- the kit and the manager are of one piece


def assertion_in(error: BaseException | None) -> AssertionError | None:
    """Return an AssertionError, or the first one of a group at any depth; None where there is none."""
    if isinstance(error, AssertionError):
        return error
    if isinstance(error, BaseExceptionGroup):
        inner = map(assertion_in, cast("BaseExceptionGroup[BaseException]", error).exceptions)
        return next((each for each in inner if each is not None), None)
    return None
