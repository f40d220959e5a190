"""Measure the paths that matter, each beside its floor in the same run, and print the ratios and the goals.

Run it as `python -m tests.labs.benchmarks`, with `--json` for programs; with `--calendars` it prints what calendars
cost instead. Medians of interleaved repeats; compare the ratios, not the figures, between machines. Nothing here
passes or fails: a goal that is missed says so.
"""

import json
import logging
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import anyio
from msgspec.structs import replace

from session_lifecycle import (
    Entry,
    ExchangeSchedule,
    FixedSchedule,
    LifecycleConfig,
    Phase,
    Record,
    Schedule,
    Session,
    SessionBoundaryManager,
    SessionState,
    SqliteJournal,
    StateChanged,
    Timeline,
    replay,
    write_snapshot,
)
from session_lifecycle.testing import SimulatedClock
from tests.labs.benchmarks import many, postgres
from tests.labs.simulation.hours import NAMES

REPEATS = 5
BOUNDARIES = 40
SPACING = timedelta(milliseconds=50)
BACKENDS = (
    ("asyncio", "asyncio", {"use_uvloop": False}),
    ("uvloop", "asyncio", {"use_uvloop": True}),
    ("trio", "trio", {}),
)


class Row(NamedTuple):
    """One comparison, in seconds, or in another unit, and the ratio that is the goal."""

    path: str
    ours: float
    against: str
    floor: float
    goal: float | None = None
    unit: str = "s"

    @property
    def ratio(self) -> float:
        """How many times the floor it takes."""
        return self.ours / self.floor

    @property
    def holds(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        return None if self.goal is None else self.ratio <= self.goal

    def __str__(self) -> str:
        goal = "" if self.goal is None else f"{self.goal:>6.4g} × {'yes' if self.holds else 'NO':<3}"
        ours, floor = _scaled(self.ours, self.unit), _scaled(self.floor, self.unit)
        left = f"{self.path:<52} {ours:>11}   {self.against:<36} {floor:>11}"
        ratio = f"{self.ratio:.2f}" if self.ratio >= 0.01 else f"{self.ratio:.5f}"
        return f"{left} {ratio:>8} ×  {goal}".rstrip()


def interleaved(*arms: Callable[[], float]) -> list[float]:
    """Run the arms in turn, `REPEATS` times, and return each one's median."""
    rounds = [[arm() for arm in arms] for _ in range(REPEATS)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


async def no_roll(_: date) -> None:
    """Roll nothing."""


def lateness(backend: str, options: dict[str, Any] | None = None) -> tuple[float, float]:
    """Return the median lateness, in seconds, of a manager's boundaries and of bare sleeps.

    The sleeps end midway between the boundaries: a loop that is kept awake is punctual for everybody.
    """

    async def by_manager(schedule: FixedSchedule) -> list[float]:
        late: list[float] = []
        config = LifecycleConfig(pre_market=timedelta(0), post_market_roll_delay=timedelta(0), data_timeout=None)
        manager = SessionBoundaryManager(schedule, no_roll, config=config)
        events = manager.events()
        async with manager:
            async for event in events:
                if isinstance(event, StateChanged) and event.trigger in ("open_market", "close_market"):
                    late.append(event.lateness.total_seconds())
                    if len(late) == BOUNDARIES:
                        break
        return late

    async def by_sleep(instants: list[datetime]) -> list[float]:
        late: list[float] = []
        for instant in instants:
            await anyio.sleep(max(0.0, (instant - datetime.now(UTC)).total_seconds()))  # past, on a busy machine
            late.append(abs((datetime.now(UTC) - instant).total_seconds()))  # uvloop is early as often
        return late

    async def both() -> tuple[float, float]:
        start = datetime.now(UTC) + timedelta(milliseconds=200)
        instants = [start + SPACING * number for number in range(BOUNDARIES + 2)]
        sessions = [
            Session(start.date() + timedelta(days=number), opened, closed)
            for number, (opened, closed) in enumerate(zip(instants[::2], instants[1::2], strict=True))
        ]
        managed: list[float] = []
        slept: list[float] = []

        async def first() -> None:
            managed.extend(await by_manager(FixedSchedule(sessions)))

        async def second() -> None:
            slept.extend(await by_sleep([instant + SPACING / 2 for instant in instants[:BOUNDARIES]]))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            tasks.start_soon(second)
        return statistics.median(managed), statistics.median(slept)

    return anyio.run(both, backend=backend, backend_options=options or {})


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


def year(schedule: Schedule) -> int:
    """Run XNYS through 2024 with a manager in simulated time, and return the number of transitions."""

    async def run() -> int:
        clock = SimulatedClock(datetime(2024, 1, 1, tzinfo=UTC))
        manager = SessionBoundaryManager(schedule, no_roll, clock=clock)
        events = manager.events()
        async with manager:
            await clock.advance_to(datetime(2025, 1, 1, tzinfo=UTC))
        return sum([1 async for event in events if isinstance(event, StateChanged)])

    return anyio.run(run)


def with_six_phases(schedule: ExchangeSchedule) -> FixedSchedule:
    """Return two years of a schedule with a night, a pre-market, two auctions, trading, and an after-market."""
    hour = timedelta(hours=1)

    def session(each: Session) -> Session:
        opened, closed, minutes = each.open, each.close, timedelta(minutes=10)
        edges = (
            ("overnight", opened - 13.5 * hour, opened - 5.5 * hour),
            ("pre_market", opened - 5.5 * hour, opened - minutes),
            ("opening_auction", opened - minutes, opened),
            ("continuous", opened, closed - minutes),
            ("closing_auction", closed - minutes, closed),
            ("post_market", closed, closed + 2 * hour),
        )
        return replace(each, phases=tuple(Phase(*edge, tradable=True) for edge in edges))

    return FixedSchedule(map(session, schedule.sessions(date(2023, 6, 1), date(2025, 6, 1))))


def imported(*statements: str) -> list[float]:
    """Return the seconds that each statement takes in a fresh interpreter, less the interpreter's own start.

    With bytecode that is there already, as for an installed package, and with the files in the system's cache.
    """
    code = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def arm(statement: str) -> Callable[[], float]:
            command = [sys.executable, "-c", code.format(statement)]
            return lambda: float(
                subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
            )

        arms = [arm(statement) for statement in statements]
        for each_arm in arms:
            each_arm()
        return interleaved(*arms)


_STATE = """
from datetime import UTC, datetime, timedelta
from session_lifecycle import ExchangeSchedule, SessionLifecycle
from session_lifecycle._model.clock import Reading
core = SessionLifecycle(ExchangeSchedule({name!r}))
core.begin(Reading(datetime.now(UTC), timedelta(0)))
core.state
"""
_CALENDAR = "import exchange_calendars; exchange_calendars.get_calendar({name!r})"


def started(name: str) -> tuple[float, float]:
    """Return the seconds from a fresh interpreter to the first state of a calendar, and to the bare calendar."""
    ours, floor = imported(*(f"exec({text.format(name=name)!r})" for text in (_STATE, _CALENDAR)))
    return ours, floor


_PINNED = """
from datetime import UTC, datetime, timedelta
from session_lifecycle import SessionLifecycle, SnapshotSchedule
from session_lifecycle._model.clock import Reading
core = SessionLifecycle(SnapshotSchedule.load({path!r}))
core.begin(Reading(datetime.now(UTC), timedelta(0)))
core.state
"""


def pinned() -> tuple[float, float]:
    """Return the seconds from a fresh interpreter to the first state, by twenty years in a file and by the calendar."""
    this_year = datetime.now(UTC).year
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "hours.toml")
        write_snapshot(ExchangeSchedule("XNYS"), path, date(this_year - 18, 1, 1), date(this_year + 1, 12, 31))
        ours, floor = imported(*(f"exec({text!r})" for text in (_PINNED.format(path=path), _STATE.format(name="XNYS"))))
    return ours, floor


def extensions() -> None:
    """Print what it costs to make a schedule for this year, and to extend it by the next, for each calendar."""
    now = datetime.now(UTC)
    for name in NAMES:
        made = timed(lambda name=name: ExchangeSchedule(name, near=now))
        schedule = ExchangeSchedule(name, near=now)
        ahead = min(date(now.year + 2, 1, 1), schedule.known_until)
        extended = timed(lambda schedule=schedule, ahead=ahead: schedule.sessions(ahead, ahead))
        print(f"{name:<8} made {_scaled(made):>12}   extended by a year {_scaled(extended):>12}")


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


def _scaled(value: float, unit: str = "s") -> str:
    if unit != "s":
        return f"{value:,.0f} {unit}"
    for name, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if abs(value) * scale >= 1:
            return f"{value * scale:.2f} {name}"
    return f"{value * 1e9:.0f} ns"


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


def of_many() -> Iterator[Row]:
    """Measure what ten thousand managers in one group cost."""
    ours, heap = interleaved(many.crossing_simulated, many.heap_of_callbacks)
    path = f"{many.MANY:,} managers crossing one boundary"
    yield Row(path, ours, "as many callbacks through a heap", heap, 2)
    ours, tasks = interleaved(many.crossing, many.sleeping_tasks)
    yield Row(f"{path}, real clock", ours, "as many sleeping anyio tasks", tasks, 0.2)
    yield Row(f"{many.MANY:,} managers, idle, for a second", many.idle(), "one core", 1.0, 0.001)
    yield Row("memory for one more member of a group", many.kept(), "1 KiB", 1024, 1, unit="B")


def of_postgres() -> Iterator[Row]:
    """Measure a journal in PostgreSQL, where there is a server."""
    found = postgres.figures()
    if found is None:
        return
    append, bare, handed, late = found
    yield Row("an append to a PostgresJournal", append, "a bare fenced INSERT by psycopg", bare, 1.3)
    yield Row("a hand-over to a standby", handed, "100 ms", 0.1, 1)
    yield Row("a take-over, less the ttl", late, "200 ms", 0.2, 1)


def rows() -> Iterator[Row]:
    """Measure everything, one comparison after the other."""
    schedule = ExchangeSchedule("XNYS", near=datetime(2024, 6, 1, tzinfo=UTC))
    schedule.sessions(date(2004, 12, 1), date(2025, 2, 1))
    for name, backend, options in BACKENDS:
        ours, floor = lateness(backend, options)
        yield Row(f"lateness of a boundary, median, {name}", ours, "anyio.sleep to instants in between", floor, 0.1)
    yield from hot_paths(schedule)
    yield events_made()
    ours, floor = lively_feeds(schedule)
    yield Row("1,000,000 messages over 10,000 feeds", ours, "1,000,000 bare stores", floor)
    ours, floor = quiet_feeds(schedule)
    yield Row("a quiet minute with 10,000 feeds", ours, "a quiet minute with none", floor)
    ours, floor, bare = anyio.run(appends)
    yield Row("an append to a SqliteJournal", ours, "write and fsync of the same bytes", floor, 2)
    yield Row("an append to a SqliteJournal", ours, "SQLite's transaction of one such row", bare)
    yield from of_postgres()
    yield from of_many()
    yield phases(schedule)
    yield replays(schedule)
    ours, floor = imported("from session_lifecycle import SessionBoundaryManager", "import anyio, transitions")
    yield Row("import of the package", ours, "import anyio, transitions", floor, 2.2)
    yield Row("import of the package", ours, "50 ms", 0.05, 1)
    for name in ("XNYS", "CMES", "XHKG", "XKRX"):
        ours, floor = started(name)
        yield Row(f"cold start to the first state, {name}", ours, "exchange_calendars.get_calendar()", floor)
    ours, floor = pinned()
    yield Row("cold start to the first state, a snapshot", ours, "ExchangeSchedule of the same", floor, 0.5)
    (ours,) = interleaved(lambda: timed(lambda: year(schedule)))
    yield Row(f"a year of XNYS, {year(schedule)} transitions", ours, "half a second", 0.5, 1)
    phased = with_six_phases(schedule)
    bare = FixedSchedule(replace(each, phases=()) for each in phased.sessions(date.min, date.max))
    ours, floor = interleaved(lambda: timed(lambda: year(phased)), lambda: timed(lambda: year(bare)))
    yield Row("a year with six phases a session", ours, "the same year without them", floor, 1.3)


def main() -> None:
    """Print the table, or what each calendar costs."""
    # Log records are made, as in an application, but not shown.
    logger = logging.getLogger("session_lifecycle")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    if "--calendars" in sys.argv:
        extensions()
    elif "--json" in sys.argv:
        print(json.dumps([row._asdict() | {"ratio": row.ratio, "holds": row.holds} for row in rows()], indent=1))
    else:
        for row in rows():
            print(row, flush=True)


if __name__ == "__main__":
    main()
