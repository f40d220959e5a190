"""One life of an application: it runs a manager by a plan, keeps books of what it did, and dies where it is told to.

A folder holds all of it: `plan`, `journal`, `effects` (what the rolls did to the world), `announcements` (what the
manager said), `killed` (the point at which the last life ended). Lines of the books are JSON, each synced at once,
numbered by life and by place within it, so that the order of all that happened can be told afterwards.

What a roll is for is kept elsewhere, as lines "commit" of the effects, or in the journal's own database, as rows of the
table BOOK, written in the roll's own transaction.

Shortcomings: a kill loses nothing that has been written, synced or not; that the journal syncs is the business of its
own tests.
"""

import argparse
import json
import logging
import os
import signal
import sqlite3
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import anyio

from session_lifecycle import (
    Entry,
    Event,
    FixedSchedule,
    LifecycleConfig,
    MissedSessions,
    Record,
    Resolution,
    RetryPolicy,
    RollSucceeded,
    Session,
    SessionBoundaryManager,
    SessionState,
    SqliteJournal,
    StateChanged,
)
from session_lifecycle._journal import sqlite_tables
from session_lifecycle._journal.sqlite_lock import OwnerLock
from session_lifecycle._runtime.host import Host
from session_lifecycle.testing import SimulatedClock

ROLL_DELAY = timedelta(minutes=30)
LONGEST_SECONDS = 30
"""How many real seconds a life may take: one that hangs is a finding."""

RECORDED = (Entry.ADOPTED, Entry.ENDED, Entry.INTENT, Entry.DONE, Entry.SKIPPED, Entry.FAILED, Entry.RECOVERED)
"""The kinds of records that a life writes."""

BOOK = "lab_book"
IN_TRANSACTION = ("block.begun", "block.written", "block.committed")
"""Points in and after the block of a roll's own transaction."""

POINTS = (
    *(f"{entry.value}.{when}" for entry in RECORDED for when in ("before", "after")),
    *("append.begun", "append.written", "append.committed", "append.counted", "lock.counted"),
    *("open.locked", "open.introduced", "open.written", "open.committed", "open.counted", "open.loaded"),
    *("roll.begun", "roll.middle", "roll.committed"),
    *IN_TRANSACTION,
    *("tell.before", "tell.after"),
)
"""Where a life can be ended: around each kind of record, between an append's steps, in the roll, around the news."""


@dataclass(frozen=True)
class Plan:
    """What every life of one application goes by."""

    sessions: tuple[Session, ...]
    policy: MissedSessions = MissedSessions.EACH
    asks: bool = False
    """Whether the application answers `was_rolled`, out of its effects."""
    outages: dict[date, Resolution] = field(default_factory=dict)
    """Rolls that fail until a person steps in, and what the person decides."""
    cut_short: frozenset[date] = frozenset()
    """Sessions that are ended by hand."""
    in_transaction: bool = False
    """Whether the roll's work is in the journal's database, and committed in the roll's own transaction."""

    def save(self, folder: Path) -> None:
        value = {
            "sessions": [[f"{s.date}", s.open.isoformat(), s.close.isoformat()] for s in self.sessions],
            "policy": self.policy.value,
            "asks": self.asks,
            "outages": {f"{day}": resolution.value for day, resolution in self.outages.items()},
            "cut_short": [f"{day}" for day in sorted(self.cut_short)],
            "in_transaction": self.in_transaction,
        }
        (folder / "plan").write_text(json.dumps(value))

    @classmethod
    def load(cls, folder: Path) -> "Plan":
        value = json.loads((folder / "plan").read_text())
        return cls(
            tuple(
                Session(date.fromisoformat(day), datetime.fromisoformat(opened), datetime.fromisoformat(closed))
                for day, opened, closed in value["sessions"]
            ),
            MissedSessions(value["policy"]),
            value["asks"],
            {date.fromisoformat(day): Resolution(name) for day, name in value["outages"].items()},
            frozenset(map(date.fromisoformat, value["cut_short"])),
            value["in_transaction"],
        )


class Points:
    """The named points, counted; at the nth passage of one of them the process gets a signal, and that is that."""

    def __init__(self, folder: Path, at: tuple[str, int] | None = None, number: int = signal.SIGKILL) -> None:
        if at is not None and at[0] not in POINTS:
            raise ValueError(at[0])
        self.hits: Counter[str] = Counter()
        self._folder = folder
        self._at = at
        self._number = number

    def hit(self, name: str) -> None:
        self.hits[name] += 1
        if self._at == (name, self.hits[name]):
            (self._folder / "killed").write_text(name)
            os.kill(os.getpid(), self._number)


class MortalJournal(SqliteJournal):
    """The journal in SQLite, with points around its opening, around each record, and between its steps."""

    def __init__(self, path: Path, points: Points) -> None:
        super().__init__(path)
        self._points = points
        self._why = "append"

    def hit(self, step: str) -> None:
        self._points.hit(f"{self._why}.{step}")

    async def open(self, calendar: str) -> tuple[Record, ...]:
        self._why = "open"
        records = await super().open(calendar)
        self.hit("loaded")
        self._why = "append"
        return records

    async def _acquire(self, connection: sqlite3.Connection, lock: OwnerLock) -> None:
        await super()._acquire(connection, lock)
        self.hit("locked")

    async def append(self, records: Sequence[Record]) -> None:
        for record in records:
            self._points.hit(f"{record.entry.value}.before")
        await super().append(records)
        for record in records:
            self._points.hit(f"{record.entry.value}.after")

    async def _begin(self, connection: sqlite3.Connection, what: str) -> None:
        await super()._begin(connection, what)
        self.hit("begun")

    async def _raise_counter(self, connection: sqlite3.Connection, lock: OwnerLock, number: int) -> None:
        self.hit("committed")
        await super()._raise_counter(connection, lock, number)
        self.hit("counted")


@contextmanager
def mortal_steps(points: Points) -> Iterator[None]:
    """Have points within the steps of the journal: where its rows are written, and where its lock is free."""

    def after(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def mortal(*args: Any) -> Any:
            result = call(*args)
            points.hit(name)
            return result

        return mortal

    with ExitStack() as stack:
        for owner, function, name in (
            (OwnerLock, "introduce", "open.introduced"),
            (OwnerLock, "count", "lock.counted"),
            (sqlite_tables, "note_opening", "open.written"),
            (sqlite_tables, "insert", "append.written"),
        ):
            stack.enter_context(mock.patch.object(owner, function, after(name, getattr(owner, function))))
        yield


class Life(logging.Handler):
    """An application from its start until its schedule is through, unless something comes between.

    Its own log handler is the first to hear what the manager announces, before any reader of the events.
    """

    def __init__(self, folder: Path, run: int, start: datetime, points: Points) -> None:
        super().__init__()
        self.folder = folder
        self.plan = Plan.load(folder)
        self.run = run
        self.clock = SimulatedClock(start, autojump=True)
        self.points = points
        self._seq = 0
        self._effects = open_book(folder / "effects")
        self._announcements = open_book(folder / "announcements")
        self._past = read_book(folder / "effects")
        self.manager: SessionBoundaryManager
        if self.plan.in_transaction:
            self.write_row(f"CREATE TABLE IF NOT EXISTS {BOOK} (date TEXT, how TEXT)")

    def write_row(self, statement: str, *values: str) -> None:
        """Write to the application's own table from a connection of its own."""
        with closing(sqlite3.connect(self.folder / "journal")) as connection, connection:
            connection.execute(statement, values)

    def note(self, book: int, what: str, day: date | None = None, **fields: object) -> None:
        """Add a line to a book, durably."""
        self._seq += 1
        line = {"run": self.run, "seq": self._seq, "at": self.clock.now().isoformat(), "what": what}
        line |= {"date": None if day is None else f"{day}"} | fields
        os.write(book, json.dumps(line).encode() + b"\n")
        os.fsync(book)
        if book == self._effects:
            self._past.append(line)

    def emit(self, record: logging.LogRecord) -> None:
        match getattr(record, "session_event", None):
            case "RollStarted" | "RollSucceeded" as name:
                self.announce("log", name, record)
            case "StateChanged":
                self.note(
                    self._announcements,
                    "state",
                    record.session,
                    trigger=record.trigger,
                )

    def announce(self, by: str, name: str, event: Any) -> None:
        skipped = [f"{day}" for day in getattr(event, "skipped", ())]
        self.note(
            self._announcements,
            "started" if name == "RollStarted" else "succeeded",
            event.next_session,
            by=by,
            session=f"{event.session}",
            resumed=event.resumed,
            skipped=skipped,
        )

    async def roll(self, day: date) -> None:
        """Roll the application: two steps, the second of which is what counts."""
        self.note(self._effects, "begin", day)
        self.points.hit("roll.begun")
        await self.clock.sleep(timedelta(seconds=20))
        self.points.hit("roll.middle")
        await self.clock.sleep(timedelta(seconds=20))
        if self.plan.in_transaction:
            async with self.manager.roll_transaction() as tx:
                self.points.hit("block.begun")
                if tx is not None:
                    tx.execute(f"INSERT INTO {BOOK} VALUES (?, 'roll')", (f"{day}",))
                    self.points.hit("block.written")
                    self.fail_in_outage(day)
            self.points.hit("block.committed")
        else:
            self.fail_in_outage(day)
        self.note(self._effects, "commit", day)
        self.points.hit("roll.committed")

    def fail_in_outage(self, day: date) -> None:
        if day in self.plan.outages and not (self.folder / f"repaired-{day}").exists():
            self.note(self._effects, "failed", day)
            raise ConnectionError("down")

    def was_rolled(self, day: date) -> bool:
        if self.plan.in_transaction:
            return any(row[0] == f"{day}" for row in read_rows(self.folder / "journal"))
        return any(line["date"] == f"{day}" and line["what"] in ("commit", "by hand") for line in self._past)

    async def main(self) -> None:
        last = self.plan.sessions[-1].date
        manager = self.manager = SessionBoundaryManager(
            FixedSchedule(self.plan.sessions, name="lab"),
            self.roll,
            config=LifecycleConfig(
                data_timeout=None,
                post_market_roll_delay=ROLL_DELAY,
                roll_retry=RetryPolicy(attempts=2),
                missed_sessions=self.plan.policy,
                max_catch_up_sessions=1000,
            ),
            clock=self.clock,
            journal=MortalJournal(self.folder / "journal", self.points),
            was_rolled=self.was_rolled if self.plan.asks else None,
        )
        events = manager.events()
        async with manager:
            await self.watch(manager)
            if manager.session.date == last:
                return
            async for event in events:
                if isinstance(event, RollSucceeded):
                    self.announce("event", "RollSucceeded", event)
                if isinstance(event, StateChanged):
                    await self.watch(manager)
                    if manager.session.date == last:
                        return

    async def watch(self, manager: SessionBoundaryManager) -> None:
        """Do what a person would: step in where a roll keeps failing, and end the sessions that are to be cut short."""
        if manager.state is SessionState.ACTIVE and manager.session.date in self.plan.cut_short:
            await manager.end_session("cut short")
        if manager.state is not SessionState.ERROR:
            return
        failed = [line["date"] for line in self._past if line["what"] == "failed"]
        if "ConnectionError" not in (manager.status().reason or "") or not failed:
            raise AssertionError(manager.status())
        day = date.fromisoformat(failed[-1])
        resolution = self.plan.outages[day]
        self.note(self._announcements, "decided", day)
        if resolution is Resolution.RETRY:  # in vain the first time
            seen = self.folder / f"seen-{day}"
            (self.folder / f"repaired-{day}" if seen.exists() else seen).touch()
        elif resolution is Resolution.MARK_DONE and not self.was_rolled(day):
            if self.plan.in_transaction:
                self.write_row(f"INSERT INTO {BOOK} VALUES (?, 'by hand')", f"{day}")
            self.note(self._effects, "by hand", day)
        await manager.recover(resolution)

    def live(self) -> None:
        """Run until the schedule is through."""
        logger = logging.getLogger("session_lifecycle")
        before = logger.level, logger.propagate
        logger.addHandler(self)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        try:
            with mock.patch.object(Host, "emit", _mortal_tell(self.points)), mortal_steps(self.points):
                anyio.run(self.main)
        finally:
            logger.removeHandler(self)
            logger.setLevel(before[0])
            logger.propagate = before[1]
            os.close(self._effects)
            os.close(self._announcements)


def _mortal_tell(points: Points) -> Callable[[Host], Sequence[Event]]:
    """Return `Member.tell` with a point before and after the news of a completed roll."""
    tell = Host.emit

    def mortal(member: Host) -> Sequence[Event]:
        big_news = any(isinstance(event, RollSucceeded) for event in member.lifecycle._progress.events or ())
        if big_news:
            points.hit("tell.before")
        told = tell(member)
        if big_news:
            points.hit("tell.after")
        return told

    return mortal


def open_book(path: Path) -> int:
    """Open a book for more lines, without the one that a kill has torn: the next would be read as the rest of it."""
    book = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.truncate(book, path.read_bytes().rfind(b"\n") + 1)
    return book


def read_book(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a book; one that a kill has torn does not count."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def read_rows(path: Path) -> list[tuple[str, str]]:
    """Return the rows of the application's own table: the date that was rolled to, and how."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT date, how FROM {BOOK} ORDER BY rowid").fetchall()


def kill_at_call(number: int) -> None:
    """End the process at the nth call of a function from now on, whichever that is."""
    left = number

    def count(_frame: FrameType, _event: str, _argument: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)


def live(folder: Path, run: int, start: datetime, points: Points, calls: int | None = None) -> int:
    """Live in this process; return its exit status. What goes wrong is written to the file `error`."""
    signal.alarm(LONGEST_SECONDS)
    try:
        life = Life(folder, run, start, points)
        if calls is not None:
            kill_at_call(calls)
        life.live()
    except BaseException:  # noqa: BLE001 -- whatever it is, the parent shall read of it
        (folder / "error").write_text(traceback.format_exc())
        return 1
    return 0


def point_and_number(text: str) -> tuple[str, int]:
    """Read "roll.middle:3"."""
    name, _, number = text.partition(":")
    return name, int(number)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--run", type=int, required=True, help="which life this is")
    parser.add_argument("--start", type=datetime.fromisoformat, required=True, help="what the wall clock says")
    parser.add_argument("--at", type=point_and_number, metavar="POINT:N", help="the passage at which it gets a signal")
    parser.add_argument("--signal", default="KILL", help="which signal: KILL, STOP, INT")
    parser.add_argument("--calls", type=int, help="the function call at which it is killed")
    options = parser.parse_args()
    points = Points(options.folder, options.at, getattr(signal, f"SIG{options.signal}"))
    return live(options.folder, options.run, options.start, points, options.calls)


if __name__ == "__main__":
    sys.exit(main())
