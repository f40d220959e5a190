"""The parent of many lives: it kills them, has them live again, and in the end audits the books.

The journal is read here by a reader of its own, and added up by rules of its own, so that the package is not its own
witness.
"""

import json
import multiprocessing
import os
import random
import select
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from session_lifecycle import MissedSessions, Resolution, Session
from tests.labs.crashlab import child
from tests.labs.crashlab.child import BOOK, IN_TRANSACTION, POINTS, ROLL_DELAY, Life, Plan, Points, read_book

ROOT = Path(__file__).parents[3]
FIRST_DAY = date(2024, 3, 4)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MEMORY = Path("/dev/shm")
"""Where there is a file system in memory, folders lie there: a kill loses nothing written, the disk only costs time."""

ONCE_A_LIFE = tuple(point for point in POINTS if point.startswith("open"))
"""Points that a life passes once at most, in opening its journal."""
ESSENTIAL = (
    *("intent.before", "intent.after", "append.begun", "append.written", "append.committed"),
    *("roll.middle", "roll.committed", "done.after", "tell.after", "recovered.before"),
    *("block.begun", "block.written", "block.committed"),
    *("lock.counted", "append.counted", "open.locked", "open.introduced", "open.written", "open.committed"),
)
"""The points at which the order of things decides: those that the tests kill at in processes of their own."""


# ---- one life, and how it ended ----


@dataclass(frozen=True)
class Order:
    """One life that is to be lived, and what is to end it before its time, if anything."""

    folder: Path
    run: int
    start: datetime
    at: tuple[str, int] | None = None
    calls: int | None = None
    after: float | None = None
    """Real seconds until the parent kills it."""


@dataclass(frozen=True)
class Ending:
    """How a life ended: killed, and where if that was a named point; else its exit status, 0 for a plan fulfilled."""

    killed: bool
    point: str | None
    status: int
    seconds: float

    @property
    def finished(self) -> bool:
        return not self.killed and self.status == 0


def fork(order: Order) -> Ending:
    """Live in a fork of this process, which has imported everything already. It must have one thread only."""
    begun = time.perf_counter()
    (order.folder / "killed").unlink(missing_ok=True)
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:  # pragma: no cover -- it ends without a trace
        status = 1
        try:
            status = child.live(order.folder, order.run, order.start, Points(order.folder, order.at), order.calls)
        finally:
            os._exit(status)
    os.close(theirs)
    try:
        if order.after is not None and not select.select([ours], [], [], order.after)[0]:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(ours)
    return _ending(order, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), begun)


def spawn(order: Order) -> Ending:
    """Live in a process that has done nothing but import; a life that nothing is to end, in this one."""
    begun = time.perf_counter()
    (order.folder / "killed").unlink(missing_ok=True)
    if order.at is None:
        Life(order.folder, order.run, order.start, Points(order.folder)).live()
        return _ending(order, 0, begun)
    process = NURSERY.Process(target=_live, args=(order,))
    process.start()
    process.join()
    assert process.exitcode is not None
    return _ending(order, process.exitcode, begun)


NURSERY = multiprocessing.get_context("forkserver") if hasattr(os, "fork") else multiprocessing.get_context()
"""A process of one thread that imports all that a life needs, once, and of which lives are forked; see `spawn`."""
NURSERY.set_forkserver_preload([__name__])


def _live(order: Order) -> None:
    sys.exit(child.live(order.folder, order.run, order.start, Points(order.folder, order.at)))


def command(order: Order, *more: str) -> list[str]:
    """Return the command line of a life."""
    line = [sys.executable, "-m", "tests.labs.crashlab.child", str(order.folder)]
    line += ["--run", f"{order.run}", "--start", order.start.isoformat()]
    if order.at is not None:
        line += ["--at", f"{order.at[0]}:{order.at[1]}"]
    return [*line, *more]


def _ending(order: Order, status: int, begun: float) -> Ending:
    note = order.folder / "killed"
    killed = status == -signal.SIGKILL
    return Ending(killed, note.read_text() if killed and note.exists() else None, status, time.perf_counter() - begun)


def rehearse(order: Order) -> Counter[str]:
    """Live in this very process, on a copy and without being killed: how often is each point passed?"""
    with scratch_folder() as scratch:
        copy = shutil.copytree(order.folder, Path(scratch, "copy"))
        points = Points(copy)
        Life(copy, order.run, order.start, points).live()
    return points.hits


# ---- the journal, read by somebody else ----


@dataclass(frozen=True)
class View:
    """A journal as it lies on the disk after a life."""

    records: tuple[dict[str, Any], ...]
    session: str
    intent: str | None
    error: bool
    rows: tuple[tuple[str, str], ...] = ()
    """Of the application's own table, where its work is in the same database: the date, and how it was rolled to."""


def read_journal(path: Path) -> View | None:
    """Read a journal, None where there is none yet.

    Raises:
        ValueError: the database or a record of it is damaged.
    """
    if not path.exists():
        return None
    # Where a life was killed, its log is there; where it has ended in order, nothing may be left behind by a reader.
    how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
    connection = sqlite3.connect(f"{path.as_uri()}?{how}", uri=True)
    try:
        if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            msg = f"{path}: the database is damaged"
            raise ValueError(msg)
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        if "session_lifecycle_record" not in tables:
            return None
        book = connection.execute(f"SELECT date, how FROM {BOOK}").fetchall() if BOOK in tables else []
        rows = connection.execute("SELECT * FROM session_lifecycle_record ORDER BY seq").fetchall()
    finally:
        connection.close()
    records: list[dict[str, Any]] = []
    for number, row in enumerate(rows, 1):
        if row[2] != number or zlib.crc32("\0".join(map(str, row[:-1])).encode()) != row[-1]:
            msg = f"{path}: record {row[1]} is damaged"
            raise ValueError(msg)
        records.append({**json.loads(row[5]), "seq": row[1], "entry": row[3], "session": row[4]})
    session = intent = None
    error = False
    for record in records:
        match record["entry"]:
            case "adopted":
                session = record["session"]
            case "intent":
                intent = record["target"]
            case "done":
                session, intent, error = record["target"], None, False
            case "skipped":
                intent, error = None, False
            case "failed":
                error = True
            case "recovered":
                error = False
    return None if session is None else View(tuple(records), session, intent, error, tuple(book))


# ---- the audit ----


@dataclass
class Audit:
    """What the books say. Every complaint is a broken promise."""

    rolls: int = 0
    resumed: int = 0
    doubled: int = 0
    """Rolls whose work was done twice: it may be, where it is done elsewhere, and then each time is flagged."""
    skipped: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    @property
    def complaints(self) -> list[str]:
        return [*self.skipped, *self.repeated, *self.others]


def audit(
    plan: Plan, effects: list[dict[str, Any]], announcements: list[dict[str, Any]], views: list[View | None]
) -> Audit:
    """Compare the effects, the announcements and the journal as it was after each life, the last of which finished."""
    result = Audit()
    book = sorted(effects + announcements, key=_place)
    _audit_repeats(result, plan, book, views)
    _audit_order(result, plan, book, views)
    done = [line["date"] for line in book if line["what"] in ("commit", "by hand")]
    if plan.in_transaction:
        done = [day for day, _ in views[-1].rows] if views[-1] is not None else []
        _audit_transactions(result, views)
    _audit_gaps(result, plan, book, views, set(done))
    result.rolls, result.doubled = len(set(done)), len(done) - len(set(done))
    result.resumed = sum(line["what"] == "started" and line["resumed"] for line in book)
    return result


def _place(line: dict[str, Any]) -> tuple[int, int]:
    return line["run"], line["seq"]


def _audit_repeats(result: Audit, plan: Plan, book: list[dict[str, Any]], views: list[View | None]) -> None:
    """What was announced, or durably done, is not done again; what may have been done is done again with a flag."""
    begun: set[str] = set()
    committed: set[str] = set()
    announced: set[str] = set()
    started: dict[str, Any] = {}
    failed: set[tuple[int, str]] = set()
    for line in book:
        day, run, where = line["date"], line["run"], f"life {line['run']}, place {line['seq']}"
        match line["what"]:
            case "started":
                started = line
                before = views[run - 1] if run else None
                if line["resumed"] and (before is None or before.intent != day):
                    result.others.append(f"{where}: the roll to {day} is called resumed, without an earlier intent")
            case "begin":
                before = views[run - 1] if run else None
                if day in announced:
                    result.repeated.append(f"{where}: the roll to {day} was announced, and is repeated")
                if before is not None and before.session >= day:
                    result.repeated.append(f"{where}: the roll to {day} was durably done, and is repeated")
                if started.get("run") != run or started.get("date") != day:
                    result.others.append(f"{where}: the roll to {day} began without an announcement")
                elif day in begun and (run, day) not in failed and not started["resumed"]:
                    result.others.append(f"{where}: the roll to {day} is repeated without a flag")
                after = views[run]
                if after is None or (after.intent != day and after.session < day and not _given_up(after, day)):
                    result.others.append(f"{where}: the roll to {day} began without a durable intent")
                begun.add(day)
            case "failed":
                failed.add((run, day))
            case "commit":
                if plan.asks and day in committed:
                    result.repeated.append(f"{where}: the roll to {day} was committed, and was_rolled said so")
                committed.add(day)
            case "by hand":
                committed.add(day)
            case "succeeded":
                after = views[run]
                if after is None or after.session < day:
                    result.others.append(f"{where}: the roll to {day} was announced before it was durably done")
                if line["by"] == "log" and day in announced:
                    result.repeated.append(f"{where}: the roll to {day} was announced twice")
                announced.add(day)


def _audit_transactions(result: Audit, views: list[View | None]) -> None:
    """After each life the work of a roll is in the books if, and only if, its *done* is in the journal; and once."""
    for run, view in enumerate(views):
        if view is None:
            continue
        worked = sorted(day for day, how in view.rows if how == "roll")
        done = sorted(
            record["target"]
            for record in view.records
            if record["entry"] == "done" and "transaction" in record.get("note", "")
        )
        result.repeated += [
            f"life {run}: the work of {day} is done twice" for day in {*worked} if worked.count(day) > 1
        ]
        if worked != done:
            result.others.append(f"life {run}: the books have {worked}, the journal {done}")


def _given_up(view: View, day: str) -> bool:
    return any(record["entry"] == "skipped" and record["target"] == day for record in view.records)


def _audit_order(result: Audit, plan: Plan, book: list[dict[str, Any]], views: list[View | None]) -> None:
    """Rolls go forward, none before its session's end, and an open intent comes first."""
    ends = {
        f"{session.date}": min(session.close + ROLL_DELAY, following.open)
        for session, following in zip(plan.sessions, plan.sessions[1:], strict=False)
    }
    latest = ""
    first: dict[int, dict[str, Any]] = {}
    decided: set[int] = set()
    for line in book:
        day, run, where = line["date"], line["run"], f"life {line['run']}, place {line['seq']}"
        if line["what"] == "decided":
            decided.add(run)
        if line["what"] != "started":
            continue
        before = views[run - 1] if run else None
        if before is not None and before.error and run not in decided:
            result.others.append(f"{where}: the roll to {day} began in ERROR, without anybody's decision")
        if day < latest:
            result.others.append(f"{where}: the roll to {day} comes after that to {latest}")
        latest = max(day, latest)
        by_hand = date.fromisoformat(line["session"]) in plan.cut_short
        if run not in first and not line["resumed"] and not by_hand:
            end = ends[line["session"]]
            given_up = before is not None and any(record["entry"] == "skipped" for record in before.records)
            if datetime.fromisoformat(line["at"]) < end and not given_up and not (before and before.error):
                result.others.append(f"{where}: the roll to {day} comes before the end of {line['session']}")
        first.setdefault(run, line)
    for run, before in enumerate(views[:-1], start=1):
        line = first.get(run)
        if before is None or before.intent is None or before.error or line is None:
            continue
        if line["date"] != before.intent or not line["resumed"]:
            result.others.append(f"life {run}: the open intent to {before.intent} does not come first, as resumed")
    stands = ""
    for run, view in enumerate(views):
        if view is None and stands:
            result.others.append(f"life {run}: the journal is gone")
        elif view is not None:
            if view.session < stands:
                result.others.append(f"life {run}: the journal went back from {stands} to {view.session}")
            stands = view.session


def _audit_gaps(
    result: Audit, plan: Plan, book: list[dict[str, Any]], views: list[View | None], done: set[str]
) -> None:
    """From the first session to the last, each was rolled to, or was told to be skipped and for a reason."""
    labels = [f"{session.date}" for session in plan.sessions]
    steps: dict[str, tuple[str, list[str]]] = {}
    for view in views:
        for record in view.records if view is not None else ():
            if record["entry"] in ("intent", "done") and (
                record["entry"] == "intent" or record["session"] not in steps
            ):
                steps[record["session"]] = record["target"], record.get("skipped", [])
    for line in book:
        if line["what"] == "succeeded":
            steps[line["session"]] = line["date"], line["skipped"]
    last = views[-1]
    if last is None or last.session != labels[-1] or last.intent is not None or last.error:
        result.others.append(f"the last life left the journal as {last}")
    at = next((line["session"] for line in book if line["what"] == "started"), labels[-1])
    while at != labels[-1]:
        if at not in steps:
            result.skipped.append(f"nothing tells what came after {at}")
            return
        target, skipped = steps[at]
        between = labels[labels.index(at) + 1 : labels.index(target)]
        if skipped != between:
            result.skipped.append(f"from {at} to {target} it skipped {between} and told {skipped}")
        for day in between:
            given_up = plan.outages.get(date.fromisoformat(day)) is Resolution.SKIP
            if plan.policy is MissedSessions.EACH and not given_up:
                result.skipped.append(f"{day} was skipped under EACH")
        if target not in done:
            result.skipped.append(f"{target} was entered without its roll")
        at = target


# ---- an application from its first life to its last ----


class Story:
    """One application: its folder, its lives so far, and the journal after each."""

    def __init__(self, folder: Path, plan: Plan, start: Callable[[Order], Ending]) -> None:
        self.folder = folder
        self.plan = plan
        self.endings: list[Ending] = []
        self.views: list[View | None] = []
        self.findings: list[str] = []
        self._start = start
        plan.save(folder)

    @property
    def kills(self) -> int:
        return sum(ending.killed for ending in self.endings)

    def order(self, now: datetime | None = None) -> Order:
        """Return the order for the next life, by default from the instant at which the last one ended."""
        return Order(self.folder, len(self.endings), self.last_instant() if now is None else now)

    def last_instant(self) -> datetime:
        """Return the last instant in the books; at first, the evening before."""
        books = read_book(self.folder / "effects") + read_book(self.folder / "announcements")
        if not books:
            return self.plan.sessions[0].open - 6 * HOUR
        return datetime.fromisoformat(max(books, key=_place)["at"])

    def live(self, order: Order) -> Ending:
        """Have a life lived."""
        ending = self._start(order)
        self.endings.append(ending)
        try:
            self.views.append(read_journal(self.folder / "journal"))
        except ValueError as error:
            self.findings.append(f"life {order.run}: {error}")
            self.views.append(None)
        if not ending.killed and ending.status != 0:
            error = self.folder / "error"
            self.findings.append(f"life {order.run}: {error.read_text() if error.exists() else ending}")
        return ending

    def audit(self) -> Audit:
        """Audit the books; the last life must have finished."""
        if self.findings:
            return Audit(others=list(self.findings))
        effects, announcements = read_book(self.folder / "effects"), read_book(self.folder / "announcements")
        return audit(self.plan, effects, announcements, self.views)


def days(count: int, first: date = FIRST_DAY) -> tuple[Session, ...]:
    """Return a session of one hour on each of as many days."""
    opens = [datetime(first.year, first.month, first.day, 14, tzinfo=UTC) + n * DAY for n in range(count)]
    return tuple(Session(opened.date(), opened, opened + HOUR) for opened in opens)


def eventful(*, in_transaction: bool = False) -> Plan:
    """Return a plan in which every point is passed: failing rolls with each way out, and sessions cut short."""
    sessions = days(10)
    outages = {
        sessions[2].date: Resolution.RETRY,
        sessions[4].date: Resolution.MARK_DONE,
        sessions[5].date: Resolution.SKIP,
        sessions[7].date: Resolution.RETRY,
        sessions[8].date: Resolution.SKIP,
    }
    cut_short = frozenset({sessions[3].date, sessions[7].date})
    return Plan(sessions, outages=outages, cut_short=cut_short, in_transaction=in_transaction)


PASSAGES = ("first", "second", "middle", "last")


def kill_at(
    point: str,
    folder: Path,
    start: Callable[[Order], Ending],
    passages: Iterable[str] = PASSAGES,
    *,
    in_transaction: bool = False,
) -> Story:
    """Kill one application at the first, the second, the middle and the last passage of a point, life after life.

    A point that is passed once a life, in opening the journal, is met in the first life, soon after, in the middle of
    the schedule and near its end; in between, lives are killed before a commit, so that the log has a tail.
    """
    story = Story(folder, eventful(in_transaction=in_transaction or point in IN_TRANSACTION), start)
    try:
        for which in passages:
            _kill_once(story, point, which)
        if not story.live(story.order()).finished:
            story.findings.append("the last life did not fulfil the plan")
    except Exception:  # noqa: BLE001 -- whatever a rehearsal raises is a finding
        story.findings.append(traceback.format_exc())
    return story


def _kill_once(story: Story, point: str, which: str) -> None:
    order = story.order()
    hits = rehearse(order) if order.run else rehearse_eventful(in_transaction=story.plan.in_transaction)
    if point in ONCE_A_LIFE and (not hits[point] or which != "first"):
        number = max(2, _passage(which, hits["append.written"] - 1))
        _expect_kill(story, _at(order, "append.written", number), "append.written")
        order = story.order()
        hits = rehearse(order)
    if hits[point]:
        _expect_kill(story, _at(order, point, _passage(which, hits[point])), point)


@cache
def rehearse_eventful(*, in_transaction: bool) -> Counter[str]:
    """Rehearse the first life of the eventful plan, which is the same whichever point it is then killed at."""
    with scratch_folder() as scratch:
        return rehearse(Story(Path(scratch), eventful(in_transaction=in_transaction), fork).order())


def _passage(which: str, last: int) -> int:
    return {"first": 1, "second": min(2, last), "middle": (last + 1) // 2, "last": last}[which]


def _at(order: Order, point: str, number: int) -> Order:
    return Order(order.folder, order.run, order.start, at=(point, number))


def _expect_kill(story: Story, order: Order, point: str) -> None:
    ending = story.live(order)
    if not ending.killed or ending.point != point:
        story.findings.append(f"life {order.run}: not killed at {order.at}: {ending}")


# ---- at random ----


@dataclass
class Figures:
    """What a long run adds up to."""

    kills: int = 0
    restarts: int = 0
    rolls: int = 0
    resumed: int = 0
    doubled: int = 0
    skipped: int = 0
    repeated: int = 0
    others: int = 0
    points: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, story: Story, result: Audit, name: str) -> None:
        self.kills += story.kills
        self.restarts += len(story.endings) - 1
        self.rolls += result.rolls
        self.resumed += result.resumed
        self.doubled += result.doubled
        self.skipped += len(result.skipped)
        self.repeated += len(result.repeated)
        self.others += len(result.others)
        self.points.update(ending.point for ending in story.endings if ending.point is not None)
        self.failures += [f"{name}: {complaint}" for complaint in result.complaints]

    def merge(self, other: "Figures") -> None:
        for name in ("kills", "restarts", "rolls", "resumed", "doubled", "skipped", "repeated", "others"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.points.update(other.points)
        self.failures += other.failures


def random_plan(rng: random.Random, books: str | None = None) -> Plan:
    """Draw a plan; with `books`, one whose books are there: "transaction" or "elsewhere"."""
    sessions = days(rng.randint(4, 14))
    inner = [session.date for session in sessions[1:-1]]
    outages = {day: rng.choice(list(Resolution)) for day in inner if rng.random() < 0.2}
    cut_short = frozenset(day for day in inner if rng.random() < 0.15)
    policy = MissedSessions.LATEST if rng.random() < 0.25 else MissedSessions.EACH
    asks, drawn = rng.random() < 0.25, rng.random() < 0.5
    return Plan(sessions, policy, asks, outages, cut_short, drawn if books is None else books == "transaction")


def random_start(rng: random.Random, story: Story) -> datetime:
    """Draw what the wall clock says at a restart: the instant of the kill, hours or days later, or days before."""
    now, sessions = story.last_instant(), story.plan.sessions
    draw = rng.random()
    if draw < 0.25:
        now += timedelta(hours=rng.uniform(0, 100))
    elif draw < 0.4:
        now -= timedelta(hours=rng.uniform(0, 100))
    return min(now, sessions[-1].open)


def random_story(seed: str, folder: Path, kills: int, books: str | None = None) -> Story:
    """Tell one application's story: lives killed by the clock, at a point or at any call, then one in peace."""
    rng = random.Random(seed)
    story = Story(folder, random_plan(rng, books), fork)
    typical, killed = 0.03, False
    for _ in range(min(kills, rng.randint(1, 10))):
        order = story.order(random_start(rng, story) if story.endings else None)
        draw = rng.random()
        if draw < 0.4:
            order = Order(order.folder, order.run, order.start, after=rng.uniform(0.1, 1) * typical)
        elif draw < 0.8:
            point = rng.choice(ONCE_A_LIFE if killed else POINTS)
            order = _at(order, point, 1 if point in ONCE_A_LIFE else rng.randint(1, 4))
        else:
            order = Order(order.folder, order.run, order.start, calls=rng.randint(25_000, 100_000))
        ending = story.live(order)
        typical = max(typical, ending.seconds)
        if not ending.killed:
            break
        killed = rng.random() < 0.2  # in opening what a kill has left, more often than such points come up
    lives = 0
    while not story.findings and not story.endings[-1].finished:
        story.live(story.order(random_start(rng, story)))
        lives += 1
        if lives > 3:
            story.findings.append("lives in peace did not fulfil the plan")
    return story


def many(seed: int, kills: int, keep: Path | None = None, only: int | None = None, books: str | None = None) -> Figures:
    """Tell stories until there are enough kills, or the one numbered `only`."""
    figures = Figures()
    number = 0 if only is None else only
    while figures.kills < kills:
        name = f"{seed}/{number}"
        with _folder(keep, name) as folder:
            limit = kills if only is not None else kills - figures.kills
            story = random_story(name, folder, limit, books)
            figures.add(story, story.audit(), f"story {name}")
        if only is not None or len(figures.failures) > 4:
            break
        number += 1
    return figures


def scratch_folder() -> "tempfile.TemporaryDirectory[str]":
    """Return a new folder, in memory where that can be had."""
    return tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None)


class _folder:  # noqa: N801 -- read as a function
    """A folder for one story: a temporary one, or one that is kept."""

    def __init__(self, keep: Path | None, name: str) -> None:
        self._temporary = scratch_folder() if keep is None else None
        self._kept = None if keep is None else keep / name.replace("/", "-")

    def __enter__(self) -> Path:
        if self._temporary is not None:
            return Path(self._temporary.name)
        assert self._kept is not None
        shutil.rmtree(self._kept, ignore_errors=True)
        self._kept.mkdir(parents=True)
        return self._kept

    def __exit__(self, *_: object) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()


def every_point(points: Iterable[str] = POINTS) -> Figures:
    """Kill at each point four times, in forks."""
    figures = Figures()
    for point in points:
        with scratch_folder() as name:
            story = kill_at(point, Path(name), fork)
            figures.add(story, story.audit(), f"point {point}")
    return figures
