"""A service under systemd: readiness, watchdog, health on loopback, logs as JSON, and an exit status that says why.

Run it from anywhere, with the package installed:

    python examples/systemd_service.py 24/7 --seconds 2                         # on its own
    python examples/systemd_service.py XNYS --journal books.db --port 8080      # until SIGTERM or Ctrl-C

Expect one JSON object a line on stdout: first where the health checks listen, then each event of the manager. `/live`,
`/ready` and `/status` answer on 127.0.0.1. Where systemd has set NOTIFY_SOCKET, the service reports that it is ready,
what its state is and, where WATCHDOG_USEC is set, that its event loop and its manager are alive. The unit is in
`examples/deploy/session.service`. Exit status: 0 after a signal, 75 while another process holds the journal, 78 where
a restart would find the same: a wrong calendar, setting or journal.

Shortcomings: the roll only logs, and no market data arrives. The server reads one request line and knows no more of
HTTP; an application that has a web server answers there, as `examples/web_app.py` does.
"""

import argparse
import json
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from datetime import date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.abc import SocketStream, TaskStatus

from session_lifecycle import (
    CalendarUnavailable,
    ConfigurationError,
    JournalCorrupt,
    JournalLocked,
    JournalMismatch,
    JournalUnavailable,
    LifecycleConfig,
    NotASession,
    ScheduleExhausted,
    SessionBoundaryManager,
    SessionState,
    SqliteJournal,
    StateChanged,
)

TRY_AGAIN: Final = 75  # EX_TEMPFAIL of sysexits.h
DECIDE: Final = 78  # EX_CONFIG
LOG: Final = logging.getLogger("service")
_OF_EVERY_RECORD: Final = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonLines(logging.Formatter):
    """One JSON object a line: what every record has, and the extras, which the library fills with an event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        extras = {name: value for name, value in vars(record).items() if name not in _OF_EVERY_RECORD}
        line: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **extras,
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=lambda value: value.value if isinstance(value, Enum) else str(value))


def notify(text: str) -> None:
    """Send a line to systemd, where it has asked for that: sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel, suppress(BlockingIOError):
            channel.settimeout(0)  # a systemd that does not read must not stop the event loop
            channel.connect(f"\0{address[1:]}" if address[0] == "@" else address)
            channel.send(text.encode())


async def roll_books(next_date: date) -> None:
    """Move the books to the next trade date."""
    LOG.info("the books move to %s", next_date)


def alive_at(manager: SessionBoundaryManager) -> datetime:
    """Return when the manager's driver has last run."""
    return manager.clock.now() if manager.alive_at is None else manager.alive_at


async def feed_watchdog(manager: SessionBoundaryManager) -> None:
    """Report three times in WATCHDOG_USEC that this loop runs, and no more once the manager's driver has stopped."""
    microseconds = int(os.environ.get("WATCHDOG_USEC", "0"))
    while microseconds:
        silence = manager.clock.now() - alive_at(manager)
        if silence < timedelta(microseconds=microseconds):
            notify("WATCHDOG=1")
        else:
            LOG.error("the manager has not run for %s", silence)
        await anyio.sleep(microseconds / 3e6)


async def report_states(manager: SessionBoundaryManager) -> None:
    """Show the state in `systemctl status`."""
    async for event in manager.events():
        if isinstance(event, StateChanged):
            notify(f"STATUS={event.dest.name} in session {event.session}")


def health(manager: SessionBoundaryManager, path: str) -> tuple[str, dict[str, Any]]:
    """Return the status line and the body for a path.

    A process in ERROR is alive, since a restart would find the same ERROR, and it is not ready. A standby is ready to
    take over; who may trade is in `can_trade`.
    """
    status = manager.status()  # before the start too
    ready = status.running and status.state is not SessionState.ERROR
    match path:
        case "/live":
            return "200 OK", {"alive": True}
        case "/ready":
            return "200 OK" if ready else "503 Service Unavailable", {"ready": ready, "reason": status.reason}
        case "/status":
            return "200 OK", status.as_dict()
        case _:
            return "404 Not Found", {"paths": ["/live", "/ready", "/status"]}


async def serve(manager: SessionBoundaryManager, port: int, *, task_status: TaskStatus[int]) -> None:
    """Answer health checks on loopback; port 0 is any that is free."""

    async def answer(stream: SocketStream) -> None:
        async with stream:
            try:
                with anyio.fail_after(5):
                    request = await stream.receive(2000)
                    path = request.split(b" ", 2)[1].decode("ascii")
                    line, content = health(manager, path)
                    body = json.dumps(content).encode()
                    head = f"HTTP/1.1 {line}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                    await stream.send(f"{head}Connection: close\r\n\r\n".encode() + body)
            except (TimeoutError, IndexError, UnicodeDecodeError, anyio.EndOfStream, anyio.BrokenResourceError):
                pass  # no request, or it has gone away

    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port) as listener:
        task_status.started(listener.extra(anyio.abc.SocketAttribute.local_port))  # noqa: S610 -- an attribute of anyio, not Django
        await listener.serve(answer)


async def run(calendar: str, journal: Path | None, port: int, seconds: float | None) -> None:
    """Run until SIGINT or SIGTERM; a roll under way is finished first."""
    manager = SessionBoundaryManager(
        calendar,
        roll_books,
        config=LifecycleConfig(data_timeout=None),  # no market data in this program
        journal=None if journal is None else SqliteJournal(journal),
    )
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as checks:
            port = await checks.start(serve, manager, port)
            LOG.info("health checks on http://127.0.0.1:%d", port)
            async with manager, anyio.create_task_group() as tasks:
                tasks.start_soon(report_states, manager)
                tasks.start_soon(feed_watchdog, manager)
                notify(f"READY=1\nSTATUS={manager.state.name} in session {manager.session.date}")
                with anyio.move_on_after(seconds):
                    async for number in signals:
                        LOG.info("%s in %s", signal.Signals(number).name, manager.state.name)
                        break
                notify("STOPPING=1")
                tasks.cancel_scope.cancel()  # the application's own tasks end first, then the manager is left
            checks.cancel_scope.cancel()


def main() -> int:
    """Run the service, and return its exit status."""
    parser = argparse.ArgumentParser(description="Run a session as a service.")
    parser.add_argument("calendar")
    parser.add_argument("--journal", type=Path, help="a SQLite database; by default nothing is remembered")
    parser.add_argument("--port", type=int, default=0, help="of the health checks; by default any that is free")
    parser.add_argument("--seconds", type=float, help="how long to run; by default until a signal")
    given = parser.parse_args()
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    exit_status = 0
    try:
        anyio.run(run, given.calendar, given.journal, given.port, given.seconds)
    except* (JournalLocked, JournalUnavailable) as errors:
        LOG.error("%s", errors.exceptions[0])
        exit_status = TRY_AGAIN
    except* (
        CalendarUnavailable, ConfigurationError, JournalCorrupt, JournalMismatch, NotASession, ScheduleExhausted
    ) as errors:  # fmt: skip
        LOG.error("%s", errors.exceptions[0])
        exit_status = DECIDE
    return exit_status


if __name__ == "__main__":
    sys.exit(main())
