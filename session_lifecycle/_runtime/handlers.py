"""Handlers: the application's functions that are called with events, and the filters that select those events.

A handler is called with one event after the other, in their order, never twice at a time, and it never delays the
machine. Handlers of the same event start in the order of their registration, each up to its first wait.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final, cast, get_args

from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._core.machine import ACTIVE, TIMEOUT
from session_lifecycle._model.alarm import Alarm
from session_lifecycle._model.events import AlarmFired, BreakEnded, BreakStarted, Event, HandlerFailed, StateChanged
from session_lifecycle._model.states import SessionState
from session_lifecycle._runtime.subscriptions import LIMIT, EventFilter, Subscription


class Handler(Subscription):
    """A registered function with the events that it is to be called with.

    A handler that is idle appends itself to `ready` with its next event; the driver's task calls it from there.
    """

    __slots__ = (
        "_claimed",
        "_dropping",
        "_idle",
        "_lifecycle",
        "_missed",
        "_ready",
        "function",
        "label",
        "overrun",
        "timeout",
    )

    def __init__(
        self,
        function: Callable[[Any], Awaitable[object]],
        event_filter: EventFilter,
        ready: deque["Handler"],
        lifecycle: SessionLifecycle,
        *,
        missed: bool,
        timeout: timedelta | None,
    ) -> None:
        super().__init__(event_filter)
        self.function: Final = function
        self.timeout: Final = timeout
        self.label: Final = _label(function)
        self.overrun: bool = False
        """Whether events were dropped, and `HandlerFailed` is still to be emitted for that."""
        self._missed = missed
        self._ready = ready
        self._lifecycle = lifecycle
        self._idle = True
        self._claimed = False
        self._dropping = False

    def put(self, event: Event) -> None:
        """Queue an event that the filter takes, unless the queue is full or, without `missed`, the event has passed.

        Events are dispatched where a catch-up pauses, so the state of now is the state at that pause. Were an event
        judged at the call, the outcome would depend on how soon the roll that is awaited meanwhile returns.
        """
        if not self._filter(event) or (not self._missed and _has_passed(event, self._lifecycle)):
            return
        if len(self._events) < LIMIT:
            self._events.append(event)
        elif not self._dropping:
            self._dropping = self.overrun = True  # once until the next call: this may be the handler of HandlerFailed
            self._ready.append(self)
        if self._idle:
            self._idle = False
            self._ready.append(self)

    def takes(self, event: Event) -> bool:
        """Return whether the filter takes an event."""
        return self._filter(event)

    def end(self) -> None:
        """Do nothing: the events in the queue are still handled."""

    def take(self) -> Event | None:
        """Return the next event of the queue; None, and be idle, where there is none."""
        if self._events:
            self._dropping = False
            return self._events.popleft()
        self._idle, self._claimed = True, False
        return None

    def claim(self) -> bool:
        """Claim the handler for the calling task; return False where another task has claimed it already."""
        claimed, self._claimed = self._claimed, True
        return not claimed


def filter_for(what: object) -> EventFilter:
    """Return the filter for `manager.on(what)`.

    Raises:
        TypeError: `what` is neither a `SessionState` nor an event class.
    """
    if isinstance(what, SessionState):
        return on_state(what)
    if isinstance(what, type) and what in get_args(Event):
        return on_kind(cast("type[Event]", what))
    msg = f"on() takes a SessionState or an event class, not {what!r}"
    raise TypeError(msg)


def on_state(state: SessionState) -> EventFilter:
    """Select the entries into a state."""
    return lambda event: isinstance(event, StateChanged) and event.dest is state


def on_kind(kind: type[Event]) -> EventFilter:
    """Select the events of one class; of failures, not those of a handler of failures, which would fail on and on."""
    if kind is HandlerFailed:
        return lambda event: isinstance(event, HandlerFailed) and not isinstance(event.cause, HandlerFailed)
    return lambda event: isinstance(event, kind)


def on_alarm(alarm: Alarm) -> EventFilter:
    """Select the events of one alarm."""
    return lambda event: isinstance(event, AlarmFired) and event.alarm == alarm


def _has_passed(event: Event, lifecycle: SessionLifecycle) -> bool:
    """Return whether an event belongs to a catch-up, and the state or break that it led to is over by now."""
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
