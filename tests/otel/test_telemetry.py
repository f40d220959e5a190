"""Traces and metrics of a manager, read from the SDK's own in-memory exporter and reader."""

import sys
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from typing import Any

import anyio
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from session_lifecycle import LifecycleConfig, RetryPolicy, SessionBoundaryManager, SessionState
from session_lifecycle.otel import SessionTelemetry
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import MONDAY, at, week

pytestmark = pytest.mark.anyio
CONFIG = LifecycleConfig(data_timeout=None, roll_retry=RetryPolicy(attempts=2))


class Desk:
    """A manager in simulated time whose rolls fail as often as is said, and what OpenTelemetry has of it."""

    def __init__(self, failures: int) -> None:
        self.clock = SimulatedClock(at(MONDAY, (9, 0)))
        self.left = failures
        self.manager = SessionBoundaryManager(week(), self.roll, config=CONFIG, clock=self.clock, name="desk")
        self.spans = InMemorySpanExporter()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.reader = InMemoryMetricReader()
        self.telemetry = SessionTelemetry(
            self.manager, tracer_provider=tracers, meter_provider=MeterProvider([self.reader])
        )

    async def roll(self, _: date) -> None:
        """Take two seconds, and fail while there are failures left."""
        await self.clock.sleep(timedelta(seconds=2))
        if self.left:
            self.left -= 1
            raise ConnectionError("the database is restarting")

    async def run(self, until: datetime) -> None:
        """Run the day."""
        async with self.manager, anyio.create_task_group() as tasks:
            tasks.start_soon(self.telemetry.run)
            await self.clock.advance_to(until)
            self.metrics = self.collected()
            tasks.cancel_scope.cancel()

    def collected(self) -> dict[str, list[Any]]:
        """Return the data points of each metric, with its unit."""
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: [metric.unit, *metric.data.data_points]
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


async def test_a_roll_is_one_span_with_its_attempts_as_events() -> None:
    """From the first attempt to the end, in the manager's time; the failure between them is an exception event."""
    desk = Desk(failures=1)
    await desk.run(at(MONDAY, (23, 0)))
    [span] = desk.spans.get_finished_spans()
    assert (span.name, span.status.status_code) == ("session.roll", StatusCode.OK)
    assert [event.name for event in span.events] == ["attempt", "exception", "attempt"]
    assert span.attributes is not None
    assert (span.attributes["session.manager"], span.attributes["session.date"]) == ("desk", str(MONDAY))
    failed = span.events[1].attributes
    assert failed is not None
    assert failed["exception.type"] == "ConnectionError"
    assert failed["exception.message"] == "the database is restarting"
    assert span.start_time is not None
    assert span.end_time is not None
    assert datetime.fromtimestamp(span.start_time / 1e9, UTC) == desk.manager.schedule.session_on(
        MONDAY
    ).close + timedelta(minutes=30)
    assert timedelta(seconds=4) < timedelta(microseconds=(span.end_time - span.start_time) / 1e3) < timedelta(minutes=1)


async def test_a_roll_that_fails_for_good_is_a_span_with_an_error() -> None:
    """It ends at the last attempt, and a roll that `recover()` starts is a span of its own."""
    desk = Desk(failures=2)
    await desk.run(at(MONDAY, (23, 0)))
    [span] = desk.spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert "no further attempt" in (span.status.description or "")
    assert (span.attributes or {})["error.type"] == "ConnectionError"
    assert [event.name for event in span.events] == ["attempt", "exception"] * 2


async def test_a_roll_that_is_left_unfinished_has_no_status() -> None:
    """The manager was left in the middle of it."""
    desk = Desk(failures=0)
    await desk.run(desk.manager.schedule.session_on(MONDAY).close + timedelta(minutes=30, seconds=1))
    spans = desk.spans.get_finished_spans()
    assert [span.status.status_code for span in spans] == [StatusCode.UNSET]


async def test_the_metrics_have_units_and_say_what_has_happened() -> None:
    """Names are lower case and dotted, durations in seconds, counts in braces; failures have `error.type`."""
    desk = Desk(failures=1)
    await desk.run(at(MONDAY, (23, 0)))
    units = {name: unit for name, (unit, *_) in desk.metrics.items()}
    assert units == {
        "session.roll.duration": "s",
        "session.roll.failures": "{attempt}",
        "session.transitions": "{transition}",
        "session.transition.lateness": "s",
        "session.feeds.stale": "{feed}",
        "session.can_trade": "1",
    }
    [failures] = desk.metrics["session.roll.failures"][1:]
    assert (failures.value, failures.attributes["error.type"]) == (1, "ConnectionError")
    durations = {point.attributes.get("error.type"): point.sum for point in desk.metrics["session.roll.duration"][1:]}
    assert durations == {"ConnectionError": 2, None: 2}
    states = {point.attributes["session.state"] for point in desk.metrics["session.transitions"][1:]}
    assert states == {state.value for state in SessionState} - {"timeout", "error"}
    [tradable] = desk.metrics["session.can_trade"][1:]
    assert tradable.value == 0


def test_without_the_extra_it_says_which_one_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not only which module is missing."""
    monkeypatch.delitem(sys.modules, "session_lifecycle.otel")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ImportError, match=r"pip install 'session_lifecycle\[otel\]'"):
        import_module("session_lifecycle.otel")
