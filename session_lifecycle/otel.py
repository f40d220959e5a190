"""Traces and metrics of a manager for OpenTelemetry: one span a roll, and metrics named as its conventions ask.

It needs the extra `otel`, which brings OpenTelemetry's API alone. The SDK and its exporters are the application's.
"""

from datetime import datetime
from importlib.util import find_spec
from typing import Final

from session_lifecycle._model.events import (
    ClockStepped,
    Event,
    FeedStale,
    RollFailed,
    RollStarted,
    RollSucceeded,
    StateChanged,
)
from session_lifecycle._runtime.manager import SessionBoundaryManager

if find_spec("opentelemetry") is None:
    raise ImportError("session_lifecycle.otel needs OpenTelemetry's API: pip install 'session_lifecycle[otel]'")

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter_provider
from opentelemetry.trace import Span, Status, StatusCode, TracerProvider, get_tracer_provider

__all__ = ["SessionTelemetry"]

_SCOPE: Final = "session_lifecycle"
_NANOSECONDS: Final = 1_000


class SessionTelemetry:
    """Makes a manager's events spans and metrics. Run it as a task beside the manager; it ends with it.

    A roll is one span `session.roll`, from its first attempt to its end, with an event for each attempt and each
    failure. The span's times are those of the manager's clock. Metrics, in seconds where they are durations:
    `session.roll.duration`, `session.roll.failures`, `session.transitions`, `session.transition.lateness`,
    `session.feed.silences`, `session.clock.step`, `session.feeds.stale` and `session.can_trade`.

    Args:
        manager: its events count from now on; make this before the start, and the start's are among them.
        tracer_provider: by default the global one.
        meter_provider: by default the global one.
    """

    def __init__(
        self,
        manager: SessionBoundaryManager,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        self._manager = manager
        self._attributes = {"session.calendar": manager.schedule.name}
        self._events = manager.events()
        self._roll: Span | None = None
        self._tracer = (tracer_provider or get_tracer_provider()).get_tracer(_SCOPE)
        meter = (meter_provider or get_meter_provider()).get_meter(_SCOPE)
        self._duration = meter.create_histogram("session.roll.duration", "s", "How long the attempts at a roll took")
        self._failures = meter.create_counter("session.roll.failures", "{attempt}", "Attempts at a roll that failed")
        self._transitions = meter.create_counter("session.transitions", "{transition}", "Changes of the state")
        self._lateness = meter.create_histogram(
            "session.transition.lateness", "s", "From the instant of a transition to its observation"
        )
        self._silences = meter.create_counter("session.feed.silences", "{silence}", "How often a feed went stale")
        self._steps = meter.create_histogram("session.clock.step", "s", "Steps of the wall clock, negative back")
        meter.create_observable_gauge("session.feeds.stale", [self._stale], "{feed}", "Feeds that are stale")
        meter.create_observable_gauge("session.can_trade", [self._can_trade], "1", "1 while one can trade")

    async def run(self) -> None:
        """Record the manager's events until it ends; a roll that it leaves unfinished is a span without a status."""
        try:
            async for event in self._events:
                self.record(event)
        finally:
            if self._roll is not None:
                self._roll.end(_nanoseconds(self._manager.clock.now()))
                self._roll = None

    def record(self, event: Event) -> None:
        """Record one event."""
        if event.name is not None:
            self._attributes["session.manager"] = event.name
        match event:
            case RollStarted():
                self._begin(event)
            case RollSucceeded():
                self._duration.record(event.duration.total_seconds(), self._attributes)
                self._end(event.observed_at, Status(StatusCode.OK))
            case RollFailed():
                self._fail(event)
            case StateChanged():
                state = {**self._attributes, "session.state": event.dest.value}
                self._transitions.add(1, {**state, "session.trigger": event.trigger})
                if not event.catch_up and event.trigger != "roll":  # which is as late as the roll took
                    self._lateness.record(event.lateness.total_seconds(), state)
            case FeedStale():
                self._silences.add(1, {**self._attributes, "session.feed": event.feed})
            case ClockStepped():
                self._steps.record(event.delta.total_seconds(), self._attributes)
            case _:
                pass

    def _begin(self, event: RollStarted) -> None:
        at = _nanoseconds(event.observed_at)
        if self._roll is None:
            dates = {"session.date": str(event.session), "session.next_date": str(event.next_session)}
            self._roll = self._tracer.start_span(
                "session.roll",
                attributes={**self._attributes, **dates, "session.resumed": event.resumed},
                start_time=at,
            )
        self._roll.add_event("attempt", {"session.attempt": event.attempt}, at)

    def _fail(self, event: RollFailed) -> None:
        kind = "_OTHER" if event.error is None else _full_name(type(event.error))
        failed = {**self._attributes, "error.type": kind}
        self._failures.add(1, failed)
        self._duration.record(event.duration.total_seconds(), failed)
        if self._roll is not None:
            described = {"exception.type": kind, "exception.message": str(event.error or "")}
            self._roll.add_event(
                "exception", {**described, "session.attempt": event.attempt}, _nanoseconds(event.observed_at)
            )
        if event.retry_at is None:
            if self._roll is not None:
                self._roll.set_attribute("error.type", kind)
            self._end(event.observed_at, Status(StatusCode.ERROR, event.summary()))

    def _end(self, at: datetime, status: Status) -> None:
        if self._roll is not None:
            self._roll.set_status(status)
            self._roll.end(_nanoseconds(at))
            self._roll = None

    def _stale(self, _: CallbackOptions) -> list[Observation]:
        return [Observation(len(self._manager.stale_feeds), self._attributes)]

    def _can_trade(self, _: CallbackOptions) -> list[Observation]:
        return [Observation(int(self._manager.can_trade), self._attributes)]


def _nanoseconds(instant: datetime) -> int:
    """Return an instant as nanoseconds since 1970, as OpenTelemetry has them, without a float's rounding."""
    seconds = int(instant.replace(microsecond=0).timestamp())
    return (seconds * 1_000_000 + instant.microsecond) * _NANOSECONDS


def _full_name(kind: type[BaseException]) -> str:
    """Return a class's name as the conventions ask for it: with its module, but for a built-in one."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
