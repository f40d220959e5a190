"""Measure the paths that matter, each beside its floor in the same run, and print the ratios and the goals.

Run it as `python -m tests.labs.benchmarks`, with `--json` for programs, or with the names of some paths; with
`--calendars` it prints what calendars cost instead. Each path is measured in a process of its own, the two sides in
turn, and once more in one process for all of them that has had ten thousand tasks and holds a million objects: that is
the second ratio. Compare the ratios, not the figures, between machines. Nothing here passes or fails: a goal that is
missed in either process says so.
"""

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from pathlib import Path

import anyio
import msgspec
from msgspec.structs import replace

from session_lifecycle import (
    Entry,
    ExchangeSchedule,
    LifecycleConfig,
    Record,
    SessionBoundaryManager,
    SessionState,
    SqliteJournal,
    StateChanged,
    Timeline,
    replay,
)
from session_lifecycle.testing import SimulatedClock
from tests.labs.benchmarks import late, many, postgres, simulated, starts
from tests.labs.benchmarks.rows import Row, interleaved, timed
from tests.labs.benchmarks.simulated import no_roll, xnys


class Bare:
    """The floor of the hot path: one method that stores the monotonic time."""

    def __init__(self) -> None:
        self.arrival = 0.0

    def record(self) -> None:
        """Store it."""
        self.arrival = time.monotonic()


class Attribute:
    """The floor of reading a state: a property that returns an attribute."""

    def __init__(self) -> None:
        self._state = 1

    @property
    def state(self) -> int:
        """Return it."""
        return self._state


def each(statement: str, **names: object) -> Callable[[], float]:
    """Return what measures the seconds that a statement takes, in code of its own: shared code would be specialised."""
    count = 200_000
    timer = timeit.Timer(statement, globals=names)
    return lambda: timer.timeit(count) / count


def hot_paths(schedule: ExchangeSchedule) -> list[Row]:
    """Measure what is called for every message, or read at will."""
    manager = SessionBoundaryManager(schedule, no_roll)
    ours, feed, floor = interleaved(
        each("call()", call=manager.record_data_received),
        each("call()", call=manager.add_feed("one").record),
        each("call()", call=Bare().record),
    )
    state, attribute = interleaved(each("m.state", m=manager), each("a.state", a=Attribute()))
    store = "a bare method storing monotonic()"
    return [
        Row("record_data_received()", ours, store, floor, 1.3),
        Row("feed.record()", feed, store, floor, 1.3),
        Row("manager.state", state, "a property returning an attribute", attribute, 1.2),
    ]


@dataclass(frozen=True, slots=True)
class PlainEvent:
    """The fields of a `StateChanged`, in a dataclass of the standard library."""

    source: SessionState
    dest: SessionState
    trigger: str
    session: date
    scheduled_at: datetime
    observed_at: datetime
    catch_up: bool = False
    reason: str | None = None
    name: str | None = None


def events_made() -> Row:
    """Measure what it takes to make an event."""
    due = datetime(2024, 11, 29, 14, 30, tzinfo=UTC)
    fields = (SessionState.PRE_MARKET, SessionState.ACTIVE, "open_market", due.date(), due, due, False, None, "one")
    ours, floor = interleaved(
        each("make(*fields)", make=StateChanged, fields=fields), each("make(*fields)", make=PlainEvent, fields=fields)
    )
    return Row("a StateChanged made", ours, "a frozen slotted dataclass of its fields", floor, 0.25)


FEEDS = 10_000


def lively_feeds(schedule: ExchangeSchedule) -> tuple[float, float]:
    """Return the seconds for a million messages, one a second from each of 10,000 feeds, and for as many bare stores.

    With everything that the manager does meanwhile, in simulated time.
    """

    async def run(watched: int) -> float:
        clock = SimulatedClock(datetime(2024, 6, 3, 14, 0, tzinfo=UTC))
        manager = SessionBoundaryManager(schedule, no_roll, clock=clock)
        records = [manager.add_feed(f"{n}", timeout=timedelta(seconds=30)).record for n in range(watched)]
        records += [Bare().record for _ in range(FEEDS - watched)]
        async with manager:
            began = time.perf_counter()
            for _ in range(1_000_000 // FEEDS):
                await clock.advance(timedelta(seconds=1))
                for record in records:
                    record()
            return time.perf_counter() - began

    ours, floor = interleaved(lambda: anyio.run(run, FEEDS), lambda: anyio.run(run, 0))
    return ours, floor


def quiet_feeds(schedule: ExchangeSchedule) -> tuple[float, float]:
    """Return the seconds that a minute costs in which 10,000 feeds say nothing, and one in which there are none."""

    async def run(watched: int) -> float:
        clock = SimulatedClock(datetime(2024, 6, 3, 14, 0, tzinfo=UTC))
        manager = SessionBoundaryManager(schedule, no_roll, clock=clock)
        feeds = [manager.add_feed(f"{n}", timeout=timedelta(seconds=90)) for n in range(watched)]
        async with manager:
            await clock.advance(timedelta(minutes=1))
            for feed in feeds:
                feed.record()
            began = time.perf_counter()
            await clock.advance(timedelta(minutes=1))  # at 90 seconds, their deadlines are looked at
            return time.perf_counter() - began

    ours, floor = interleaved(lambda: anyio.run(run, FEEDS), lambda: anyio.run(run, 0))
    return ours, floor


async def appends() -> tuple[float, float, float]:
    """Return the seconds for one append to a journal in SQLite, for writing and syncing the same bytes, and for SQLite.

    The last is the barest transaction that is as durable, with the same bytes in one row: no journal in SQLite can take
    less.
    """
    at = datetime(2024, 11, 29, 21, 30, tzinfo=UTC)
    record = Record(Entry.FAILED, date(2024, 11, 29), at, note="as long as a reason usually is: " + "x" * 60, seq=1)
    line = json.dumps(record.as_dict()).encode()
    ours: list[float] = []
    floor: list[float] = []
    bare: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        journal = SqliteJournal(Path(folder) / "journal")
        await journal.open("XNYS")
        await journal.append([Record(Entry.ADOPTED, date(2024, 11, 29), at, seq=1)])
        fd = os.open(Path(folder) / "plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        books = sqlite3.connect(Path(folder) / "bare", isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 64"):  # as the journal's
            books.execute(f"PRAGMA {pragma}")
        books.execute("CREATE TABLE line (seq INTEGER PRIMARY KEY, content TEXT)")
        # One call of each in turn, in any order: what a disk takes drifts within milliseconds, and the first sync
        # after a pause may pay for what others have written.
        arms = [ours, floor, bare]
        for seq in range(2, 402):
            for which in arms[seq % 3 :] + arms[: seq % 3]:
                began = time.perf_counter()
                if which is ours:
                    await journal.append([replace(record, seq=seq)])
                elif which is bare:
                    books.execute("INSERT INTO line VALUES (?, ?)", (seq, line))
                else:
                    os.write(fd, line)
                    os.fsync(fd)
                which.append(time.perf_counter() - began)
        books.close()
        os.close(fd)
        await journal.close()
    return statistics.median(ours), statistics.median(floor), statistics.median(bare)


def replays(schedule: ExchangeSchedule) -> Row:
    """Measure `replay` over twenty years."""
    start, end = datetime(2005, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
    edges = list(replay(schedule, start, end))
    walk = [(edge.trigger, edge.session, edge.scheduled_at) for edge in edges]
    table = {(edge.source, edge.trigger): edge.dest for edge in edges}

    def looped() -> None:
        state = edges[0].source
        for trigger, session, due in walk:
            dest = table[state, trigger]
            StateChanged(state, dest, trigger, session, due, due)
            state = dest

    def replayed() -> None:
        for _ in replay(schedule, start, end):
            pass

    ours, floor = interleaved(lambda: timed(replayed), lambda: timed(looped))
    return Row(
        f"replay of 20 years of XNYS, {len(edges)} transitions", ours, "a dict table, the same event objects", floor, 2
    )


def phases(schedule: ExchangeSchedule) -> Row:
    """Measure what phase it is at an instant, and until when, over a year of instants that have been asked before."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    timeline = Timeline(schedule, LifecycleConfig())
    asked = [start + timedelta(hours=7 * number) for number in range(1_250)]
    positions = sorted({timeline.at(instant) for instant in asked}, key=lambda position: position.since)
    since, state = [position.since for position in positions], [position.state for position in positions]
    until = [position.until for position in positions]

    def plain(instant: datetime) -> tuple[SessionState, datetime | None]:
        number = bisect_right(since, instant) - 1
        return state[number], until[number]

    def each_of(call: Callable[[datetime], object]) -> float:
        began = time.perf_counter()
        for instant in asked:
            call(instant)
        return (time.perf_counter() - began) / len(asked)

    ours, floor = interleaved(lambda: each_of(timeline.at), lambda: each_of(plain))
    return Row("phase and next boundary for an instant", ours, "a bisection over plain instants", floor, 3)


def of_postgres() -> Iterator[Row]:
    """Measure a journal in PostgreSQL, where there is a server."""
    found = postgres.figures()
    if found is None:
        return
    append, bare, handed, late = found
    yield Row("an append to a PostgresJournal", append, "a bare fenced INSERT by psycopg", bare, 1.3)
    yield Row("a hand-over to a standby", handed, "100 ms", 0.1, 1)
    yield Row("a take-over, less the ttl", late, "200 ms", 0.2, 1)


def of_calls() -> Iterator[Row]:
    """Measure what is called for every message or event, or read at will."""
    schedule = xnys()
    yield from hot_paths(schedule)
    yield events_made()
    yield phases(schedule)
    yield replays(schedule)


def of_feeds() -> Iterator[Row]:
    """Measure ten thousand feeds."""
    schedule = xnys()
    ours, floor = lively_feeds(schedule)
    yield Row("1,000,000 messages over 10,000 feeds", ours, "1,000,000 bare stores", floor)
    ours, floor = quiet_feeds(schedule)
    yield Row("a quiet minute with 10,000 feeds", ours, "a quiet minute with none", floor)


def of_sqlite() -> Iterator[Row]:
    """Measure a journal in SQLite."""
    ours, floor, bare = anyio.run(appends)
    yield Row("an append to a SqliteJournal", ours, "write and fsync of the same bytes", floor, 2)
    yield Row("an append to a SqliteJournal", ours, "SQLite's transaction of one such row", bare)


Measure = Callable[[], Iterator[Row]]

IN_ANY_PROCESS: dict[str, Measure] = {
    "late": late.of_lateness,
    "calls": of_calls,
    "feeds": of_feeds,
    "sqlite": of_sqlite,
    "bars": simulated.of_bars,
    "messages": simulated.of_messages,
    "script": simulated.of_script,
    "year": simulated.of_year,
    "crossing": many.of_crossing,
    "idle": many.of_idle,
    "memory": many.of_memory,
}
OF_FRESH_PROCESSES: dict[str, Measure] = {
    "postgres": of_postgres,
    "tasks": simulated.of_year_after_tasks,
    "imports": starts.of_imports,
    "starts": starts.of_starts,
}
PATHS = IN_ANY_PROCESS | OF_FRESH_PROCESSES


def measured(*arguments: str) -> Iterator[Row]:
    """Measure paths in a process of their own."""
    command = [sys.executable, "-m", "tests.labs.benchmarks", "--here", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield msgspec.json.decode(line, type=Row)
    if process.returncode:
        raise SystemExit(process.returncode)


def rows(paths: Iterable[str]) -> Iterator[Row]:
    """Measure the paths, each in a process of its own, after those that can be have been so in one that is crowded."""
    paths = list(paths)
    shared = [path for path in paths if path in IN_ANY_PROCESS]
    crowded = {(row.path, row.against): row.ratio for row in measured("--crowded", *shared)} if shared else {}
    for path in paths:
        for row in measured(path):
            yield replace(row, crowded=crowded.get((row.path, row.against)))


def main() -> None:
    """Print the table, or what each calendar costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", metavar="PATH", help=f"of {', '.join(PATHS)} (default: all)")
    parser.add_argument("--json", action="store_true", help="print JSON, a row a line")
    parser.add_argument("--calendars", action="store_true", help="print what calendars cost instead")
    parser.add_argument("--here", action="store_true", help="measure the paths in this process, and print JSON")
    parser.add_argument("--crowded", action="store_true", help="after ten thousand tasks, beside a million objects")
    options = parser.parse_args()
    paths = options.paths or [*PATHS]
    if not {*paths} <= {*PATHS}:
        parser.error(f"the paths are {', '.join(PATHS)}")
    simulated.quiet_logs()
    held = simulated.crowd() if options.crowded else []
    if options.calendars:
        starts.extensions()
    else:
        found = chain.from_iterable(PATHS[path]() for path in paths) if options.here else rows(paths)
        for row in found:
            shown = {**msgspec.structs.asdict(row), "ratio": row.ratio, "holds": row.holds}
            print(msgspec.json.encode(shown).decode() if options.here or options.json else row, flush=True)
    del held


if __name__ == "__main__":
    main()
