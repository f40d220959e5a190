"""The application's own functions that are called when something happens: which event is meant for which of them.

A handler is called for one event after the other, in their order, never twice at a time, and never in the machine's
way. Handlers of the same event start in the order of their registration, each up to its first wait.
"""

import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final, cast

from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._core.machine import ACTIVE, TIMEOUT
from session_lifecycle._model.alarm import Alarm
from session_lifecycle._model.events import AlarmFired, BreakEnded, BreakStarted, Event, StateChanged
from session_lifecycle._model.states import SessionState
from session_lifecycle._runtime.subscriptions import LIMIT, Subscription

Wanted = Callable[[Event], bool]


class Handler(Subscription):
    """One registered function: a reader that, where it is idle, puts itself among those that are ready to be called."""

    __slots__ = (
        "_dropping",
        "_idle",
        "_lifecycle",
        "_missed",
        "_ready",
        "_running",
        "function",
        "label",
        "overrun",
        "timeout",
    )

    def __init__(
        self,
        function: Callable[[Any], Awaitable[object]],
        wanted: Wanted,
        ready: deque["Handler"],
        lifecycle: SessionLifecycle,
        *,
        missed: bool,
        timeout: timedelta | None,
    ) -> None:
        super().__init__(wanted)
        self.function: Final = function
        self.timeout: Final = timeout
        self.label: Final = _label(function)
        self.overrun: bool = False
        self._missed = missed
        self._ready = ready
        self._lifecycle = lifecycle
        self._idle = True
        self._running = False
        self._dropping = False

    def put(self, event: Event) -> None:
        """Have the function called for an event, after those that wait already; too many of them are dropped.

        Events are handed out where a catch-up pauses, so what holds now is what holds then. Were it judged at the call,
        it would depend on how soon the roll that is awaited meanwhile returns.
        """
        if not self._wanted(event) or (not self._missed and _has_passed(event, self._lifecycle)):
            return
        if len(self._events) < LIMIT:
            self._events.append(event)
        elif not self._dropping:
            self._dropping = self.overrun = True  # once until the next call: this may be what listens to HandlerFailed
            self._ready.append(self)
        if self._idle:
            self._idle = False
            self._ready.append(self)

    def end(self) -> None:
        """Go on: what has been told may be seen to."""

    def take(self) -> Event | None:
        """Return the next event to call the function for; None, and be idle, where there is none."""
        if self._events:
            self._dropping = False
            return self._events.popleft()
        self._idle, self._running = True, False
        return None

    def begin(self) -> bool:
        """Take note that a task sees to the handler from now on; return False where one does already."""
        running, self._running = self._running, True
        return not running


def on_state(state: SessionState) -> Wanted:
    """Want the entries into a state."""
    return lambda event: isinstance(event, StateChanged) and event.dest is state


def on_kind(kind: type[Event]) -> Wanted:
    """Want the events of one class."""
    return lambda event: isinstance(event, kind)


def on_alarm(alarm: Alarm) -> Wanted:
    """Want one alarm's going off."""
    return lambda event: isinstance(event, AlarmFired) and event.alarm == alarm


def require_async(what: str, takes: str, function: object) -> None:
    """Refuse a callable that can be seen not to be async; what cannot be seen is found out at the first call.

    Raises:
        TypeError: it is none.
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
    if inspect.iscoroutinefunction(called):
        return
    if inspect.isfunction(called) or inspect.ismethod(called):
        msg = f"{what} must be async (`async def`), and {function!r} is not: it would block the event loop"
        raise TypeError(msg)


def _has_passed(event: Event, lifecycle: SessionLifecycle) -> bool:
    """Tell whether an event of a catch-up is over: the state that it led to does not hold any more."""
    match event:
        case StateChanged(catch_up=True):
            return lifecycle.state is not event.dest or lifecycle.session.date != event.session
        case BreakStarted(catch_up=True):
            return not lifecycle.on_break or lifecycle.session.date != event.session
        case BreakEnded(catch_up=True):
            open_now = lifecycle.state is ACTIVE or lifecycle.state is TIMEOUT
            return not open_now or lifecycle.on_break or lifecycle.session.date != event.session
        case _:
            return False


def _label(function: object) -> str:
    inner = function
    while isinstance(inner, partial):
        inner = cast("Callable[..., object]", inner.func)
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    return f"{getattr(inner, '__module__', '?')}.{name}"
