"""Handlers: the application's functions that are called with events, and the filters that select those events.

A handler is called with one event after the other, in their order, never twice at a time, and it never delays the
machine. Handlers of the same event start in the order of their registration, each up to its first wait.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, cast, get_args

from msgspec.structs import replace

from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._core.machine import ACTIVE, TIMEOUT
from session_lifecycle._model.alarm import Alarm
from session_lifecycle._model.clock import Reading
from session_lifecycle._model.event_base import Scheduled
from session_lifecycle._model.events import AlarmFired, BreakEnded, BreakStarted, Event, HandlerFailed, StateChanged
from session_lifecycle._model.phase_events import PhaseEnded, PhaseStarted
from session_lifecycle._model.states import SessionState
from session_lifecycle._runtime.event_log import LOGGER
from session_lifecycle._runtime.subscriptions import LIMIT, EventFilter, Subscription

_ON_TIME: Final = timedelta(seconds=1)
_CAUGHT_UP: Final = (StateChanged, BreakStarted, BreakEnded, PhaseStarted, PhaseEnded)


class Handler(Subscription):
    """A registered function with the events that it is to be called with.

    A handler that is idle appends itself to `ready` with its next event; the driver's task calls it from there.
    """

    __slots__ = (
        "_called",
        "_claimed",
        "_dropping",
        "_idle",
        "_lifecycle",
        "_missed",
        "_ready",
        "_reported",
        "_state",
        "busy_for",
        "function",
        "label",
        "overrun",
        "timeout",
        "waited",
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
        state: SessionState | None = None,
    ) -> None:
        super().__init__(event_filter)
        self._state: Final = state  # the one whose entries it is called with; None where it is called with other events
        self.function: Final = function
        self.timeout: Final = timeout
        self.label: Final = label_of(function)
        self.overrun: bool = False
        """Whether events were dropped, and `HandlerFailed` is still to be emitted for that."""
        self.busy_for: Event | None = None
        """The event that is due while a call has not ended, where `HandlerBusy` is still to be emitted for that."""
        self.waited: bool = False
        """Whether the event that was taken last has waited behind an earlier call."""
        self._called: datetime | None = None  # when what it was called with last was observed; None since it is idle
        self._reported = False  # whether `HandlerBusy` has been emitted since
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
        if not self._filter(event) or (not self._missed and _is_missed(event, self._lifecycle)):
            return
        if len(self._events) < LIMIT:
            self._events.append(event)
        elif not self._dropping:
            self._dropping = self.overrun = True  # once until the next call: this may be the handler of HandlerFailed
            self._ready.append(self)
        if self._idle:
            self._idle = False
            self._ready.append(self)
        elif self._called is not None and not self._reported and event.observed_at - self._called > _ON_TIME:
            self._reported = True
            self.busy_for = event
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
            event = self._events.popleft()
            self.waited, self._called = self._called is not None, event.observed_at
            return event
        self._idle, self._claimed = True, False
        self._called, self._reported = None, False
        return None

    def judge_again(self, event: Event, now: Reading) -> Event | None:
        """Return an event that has waited behind an earlier call, as of now; None where what it is about is over.

        One that has waited for a second at most is on time, as an alarm is by default: it is returned as it is. A
        state is judged for a handler on that state alone, since another one is called with what has happened.
        """
        if now.wall - event.observed_at <= _ON_TIME:
            return event
        on_state = self._state is not None or isinstance(event, BreakStarted | BreakEnded)
        if on_state and not self._missed and has_passed(event, self._lifecycle):
            LOGGER.warning(
                "%s: handler %s is not called for %r: it was busy until that had passed",
                self._lifecycle.schedule.name,
                self.label,
                event.summary(),
            )
            return None
        return replace(event, observed_at=now.wall) if isinstance(event, Scheduled) else event

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


def _is_missed(event: Event, lifecycle: SessionLifecycle) -> bool:
    """Return whether an event belongs to a catch-up, and what it led to is over by now."""
    caught_up = isinstance(event, _CAUGHT_UP) and event.catch_up
    return caught_up and has_passed(event, lifecycle)


def has_passed(event: Event, lifecycle: SessionLifecycle) -> bool:
    """Return whether the state, break or phase that an event led to is over by now."""
    match event:
        case StateChanged():
            return lifecycle.state is not event.dest or lifecycle.session.date != event.session
        case BreakStarted():
            return not lifecycle.on_break or lifecycle.session.date != event.session
        case BreakEnded():
            open_now = lifecycle.state is ACTIVE or lifecycle.state is TIMEOUT
            return not open_now or lifecycle.on_break or lifecycle.session.date != event.session
        case PhaseStarted():
            counts_for = lifecycle.phase_session
            return lifecycle.phase != event.phase or counts_for is None or counts_for.date != event.session
        case PhaseEnded():
            return lifecycle.phase is not None
        case _:
            return False


def label_of(function: object) -> str:
    """Return a function's qualified name."""
    inner = function
    while isinstance(inner, partial):
        inner = cast("Callable[..., object]", inner.func)
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    return f"{getattr(inner, '__module__', '?')}.{name}"
