"""What Prometheus can know about two managers: states, lateness, stale feeds, rolls and steps of the clock.

Run it from anywhere, with the package and prometheus_client installed:

    python examples/prometheus_metrics.py                 # until Ctrl-C
    python examples/prometheus_metrics.py --seconds 60

Expect an address on this machine, at a port of the system's choosing; open it in a browser, or have Prometheus scrape
it. New York and London have gone from Friday to Monday in simulated time by then: AAPL fell silent on both days, the
wall clock was stepped across London's close, and New York's roll failed once before it was done.

The metrics are made from the events, where the manager tells them, and read from it at the scrape, where it always
knows. No thread is started: the event loop that runs the managers answers the scrapes.

Shortcomings: the days are simulated, and so are the messages. The server answers every request with the metrics, and
knows no more of HTTP; an application that has a web server mounts `prometheus_client.make_asgi_app()` there instead.
"""

import argparse
import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from datetime import UTC, date, datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from session_lifecycle import (
    ClockStepped,
    Event,
    Feed,
    FeedStale,
    LifecycleConfig,
    RollFailed,
    RollSucceeded,
    SessionBoundaryManager,
    SessionState,
    StateChanged,
)
from session_lifecycle.testing import SimulatedClock

FRIDAY = datetime(2024, 11, 29, 14, 25, tzinfo=UTC)  # five minutes before New York opens, for half a day
LONDON_CLOSES = datetime(2024, 11, 29, 16, 30, tzinfo=UTC)
MONDAY = datetime(2024, 12, 2, 15, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
LATENESS = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10, 60, 600)
ROLL = (0.1, 0.5, 1, 5, 10, 30, 60, 120, 300)


class SessionMetrics:
    """The metrics of any number of managers, distinguished by the names that they were given."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        by, registry = ["manager"], self.registry
        self.state = Enum(
            "session_state",
            "The state of the session",
            by,
            states=[state.name for state in SessionState],
            registry=registry,
        )
        self.tradable = Gauge("session_can_trade", "1 while one can trade", by, registry=registry)
        self.lateness = Histogram(
            "session_lateness_seconds",
            "From the instant of a transition to its observation",
            by,
            buckets=LATENESS,
            registry=registry,
        )
        self.caught_up = Counter("session_catch_ups", "Transitions made after their time", by, registry=registry)
        self.stale = Gauge("session_stale_feeds", "Feeds that are stale", by, registry=registry)
        self.silences = Counter(
            "session_feed_silences", "How often a feed went stale", [*by, "feed"], registry=registry
        )
        self.roll = Histogram(
            "session_roll_seconds", "How long a roll took that completed", by, buckets=ROLL, registry=registry
        )
        self.roll_failures = Counter("session_roll_failures", "Attempts at a roll that failed", by, registry=registry)
        self.steps = Counter("session_clock_steps", "Steps of the wall clock", [*by, "direction"], registry=registry)

    def follow(self, name: str, manager: SessionBoundaryManager) -> Coroutine[Any, Any, None]:
        """Return what is to run as a task as long as the manager does. Nothing is missed from this call on."""
        self.state.labels(name).state(manager.state.name)
        self.tradable.labels(name).set_function(lambda: manager.can_trade)
        self.stale.labels(name).set_function(lambda: len(manager.stale_feeds))
        self.roll_failures.labels(name)  # there from the first scrape on, as zero
        return self._read(name, manager.events())

    async def _read(self, name: str, events: AsyncIterator[Event]) -> None:
        async for event in events:
            self.observe(name, event)

    def observe(self, name: str, event: Event) -> None:
        """Count one event."""
        match event:
            case StateChanged():
                self.state.labels(name).state(event.dest.name)
                if event.catch_up:  # after a start, a step or a suspend: no fault of the event loop's
                    self.caught_up.labels(name).inc()
                elif event.trigger != "roll":  # which is as late as the roll took
                    self.lateness.labels(name).observe(event.lateness.total_seconds())
            case FeedStale():
                self.silences.labels(name, event.feed).inc()
            case RollSucceeded():
                self.roll.labels(name).observe(event.duration.total_seconds())
            case RollFailed():
                self.roll_failures.labels(name).inc()
            case ClockStepped():
                self.steps.labels(name, "forward" if event.delta > timedelta(0) else "back").inc()
            case _:
                pass


async def serve(metrics: SessionMetrics) -> asyncio.Server:
    """Serve the metrics on this machine only, at a free port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            body = generate_latest(metrics.registry)
            head = f"HTTP/1.1 200 OK\r\nContent-Type: {CONTENT_TYPE_LATEST}\r\nContent-Length: {len(body)}\r\n"
            writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
            await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # not a scrape, or it has gone away
        finally:
            writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


async def deliver(manager: SessionBoundaryManager, feeds: list[Feed]) -> None:
    """Deliver a message of each feed, twice a minute, while the market is open; AAPL's line dies after half an hour."""
    async for session in manager.sessions():
        async with manager.during(SessionState.ACTIVE, SessionState.TIMEOUT):
            while True:
                for feed in feeds:
                    if feed.name != "AAPL" or manager.clock.now() < session.open + 20 * MINUTE:
                        feed.record()
                await manager.clock.sleep(30 * SECOND)


async def main(seconds: float | None) -> None:
    """Have a weekend go by, then serve what it left in the metrics."""
    clock = SimulatedClock(FRIDAY)
    metrics = SessionMetrics()
    attempts = 0

    async def roll_books(_: date) -> None:
        nonlocal attempts
        attempts += 1
        await clock.sleep(20 * SECOND)
        if attempts == 1:
            msg = "the database is restarting"
            raise ConnectionError(msg)

    async def roll_london(_: date) -> None:
        await clock.sleep(2 * SECOND)

    new_york = SessionBoundaryManager("XNYS", roll_books, clock=clock, name="new-york")
    deaf = LifecycleConfig(data_timeout=None)
    london = SessionBoundaryManager("XLON", roll_london, clock=clock, config=deaf, name="london")
    feeds = [new_york.add_feed(symbol, timeout=MINUTE) for symbol in ("AAPL", "MSFT")]
    async with asyncio.TaskGroup() as tasks, new_york, london:
        following = [
            tasks.create_task(metrics.follow(name, manager))
            for name, manager in (("new-york", new_york), ("london", london))
        ]
        delivery = tasks.create_task(deliver(new_york, feeds))
        await clock.advance_to(LONDON_CLOSES - MINUTE)
        clock.step(3 * MINUTE)
        await clock.advance_to(MONDAY)
        server = await serve(metrics)
        async with server:
            host, port = server.sockets[0].getsockname()
            print(f"metrics of new-york and london: http://{host}:{port}/metrics", flush=True)
            try:
                await asyncio.sleep(seconds) if seconds is not None else await server.serve_forever()
            finally:
                for task in (delivery, *following):
                    task.cancel()


if __name__ == "__main__":
    # The metrics tell everything; without this, Python would print the library's warnings as well.
    logging.getLogger("session_lifecycle").addHandler(logging.NullHandler())
    parser = argparse.ArgumentParser(description="Serve metrics of two managers, for Prometheus.")
    parser.add_argument("--seconds", type=float, help="how long to serve; by default until Ctrl-C")
    try:
        asyncio.run(main(parser.parse_args().seconds))
    except KeyboardInterrupt:
        print("stopped by Ctrl-C")
