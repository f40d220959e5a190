"""Rolls on a disk that fails, in processes that end at any point, through power cuts: what a journal promises holds.

The promises, held by `Life` over all the runs of an application together: a roll that was announced as completed is
never begun again; before the application's roll is called, its intent is safe from a power cut; the session told never
moves back; and under EACH the application has completed a roll to every session that it is said to be in, or a person
has decided on it.
"""

import asyncio
import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from session_lifecycle import (
    FileJournal,
    JournalUnavailable,
    JournalWriteFailed,
    LifecycleConfig,
    LifecycleError,
    MissedSessions,
    Record,
    Resolution,
    RetryPolicy,
    RollFailed,
    RollStarted,
    RollSucceeded,
    SessionBoundaryManager,
    SessionLifecycle,
    StateChanged,
)
from session_lifecycle._model.clock import Reading
from session_lifecycle._runtime.host import Host
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MONDAY, at, weekdays
from tests.helpers.disk import (
    DEATHS,
    ERRORS,
    Choose,
    Disk,
    Fault,
    Process,
    ProcessEnds,
    least,
    most,
)
from tests.helpers.harness import (
    ACTIVE,
    ERROR,
    HOUR,
    MINUTE,
    NOW,
    THURSDAY,
    TUESDAY,
    WEDNESDAY,
    Rolls,
    changes,
    make,
    of,
    running,
)

EACH, LATEST = MissedSessions.EACH, MissedSessions.LATEST
EVENING = at(MONDAY, (21, 15))
END = at(MONDAY, (21, 30))
SCHEDULE = weekdays(n=120)
DATES = [each.date for each in SCHEDULE.sessions(MONDAY, MONDAY + 365 * DAY)]
JOURNAL = "rolls.journal"


@pytest.fixture(autouse=True)
def small_journals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compact after a few records, so that faults come in the middle of it."""
    monkeypatch.setattr("session_lifecycle._journal.file.MOST_RECORDS", 6)
    monkeypatch.setattr("session_lifecycle._journal.file.KEPT_RECORDS", 3)


@contextmanager
def quiet() -> Iterator[None]:
    """Log nothing: thousands of failures are meant here."""
    logger = logging.getLogger("session_lifecycle")
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False


class Boom(Exception):
    pass


@dataclass
class Life:
    """An application's life: any number of runs on one disk, and what was promised to hold throughout.

    Wall time goes on from run to run. `flops` are how many of the next calls of the application's roll fail.
    """

    folder: Path
    policy: MissedSessions = EACH
    now: datetime = EVENING
    flops: int = 0

    def __post_init__(self) -> None:
        self.disk = Disk()
        self.announced: set[date] = set()
        self.completed: set[date] = set()
        self.decided: set[date] = set()  # a person marked them as done, or skipped them
        self.called: list[tuple[date, bool]] = []
        self.errors: list[str] = []
        self.first: date | None = None
        self.last = MONDAY
        self.resumed = False
        self.config = LifecycleConfig(
            data_timeout=None,
            missed_sessions=self.policy,
            roll_retry=RetryPolicy(attempts=2),
            max_catch_up_sessions=1000,
        )

    # ---- what is held ----

    def tell(self, event: object) -> None:
        """Hold an event against what was told before, and take note of it."""
        if isinstance(event, RollStarted):
            assert event.next_session not in self.announced, f"{event} after it was announced"
            self.resumed = event.resumed
            self.enter(event.session)
        elif isinstance(event, RollSucceeded):
            assert event.next_session not in self.announced, f"{event} is told twice"
            assert event.next_session in self.completed | self.decided, event
            self.announced.add(event.next_session)
            if self.policy is LATEST:
                self.decided.update(event.skipped)
            self.enter(event.next_session)
        elif isinstance(event, StateChanged):
            self.enter(event.session)
            if event.dest is ERROR:
                self.errors.append(event.reason or "")

    def enter(self, session: date) -> None:
        """Hold that the session moves forward, past those alone that were rolled to or decided on."""
        assert session >= self.last, f"back from {self.last} to {session}"
        self.last = session
        if self.policy is EACH:
            if self.first is None:
                self.first = session
            passed = DATES[DATES.index(self.first) + 1 : DATES.index(session) + 1]
            assert set(passed) <= self.completed | self.decided, f"in {session}, but no roll to {passed}"

    def call(self, target: date) -> bool:
        """Be the application's roll: hold that it may be called, and return whether it succeeds."""
        assert target not in self.announced, f"the roll to {target} is called after it was announced"
        assert (target not in self.completed) or self.resumed, f"{target} again, without a word"
        for content in self.disk.outcomes(JOURNAL):
            assert content is not None, f"the roll to {target} is called with no journal on the disk"
            entry = last_step(content)
            assert entry is not None
            assert (entry["entry"], entry.get("target")) == ("intent", f"{target}"), f"called without intent: {entry}"
        self.called.append((target, self.resumed))
        if self.flops:
            self.flops -= 1
            return False
        self.completed.add(target)
        return True

    def decide(self, record: Record) -> None:
        if record.target is not None:
            self.decided.update({record.target, *record.skipped})

    # ---- runs ----

    def run(self, process: Process, until: datetime, resolutions: Iterable[Resolution] = ()) -> LifecycleError | None:
        """Run until an instant, or the process's end, or for as long as it goes; return what it refused to start with.

        In ERROR the disk is mended and a person decides.
        """
        journal = FileJournal(self.folder / JOURNAL, files=process)
        member = Host(SessionLifecycle(SCHEDULE, config=self.config), nothing, None, journal)
        self.reader = member.broadcast.subscribe()
        monotonic = timedelta(0)
        turns = 0
        decisions = iter(resolutions)
        try:
            try:
                member.begin(Reading(self.now, monotonic))
                self.tell_all(member)
            except (JournalUnavailable, JournalWriteFailed) as refused:
                member.end()
                assert process.open_files == 0
                return refused
            self.enter(member.lifecycle.session.date)
            while self.now < until:
                turns += 1
                assert turns < 1_000, "this never ends"
                now = Reading(self.now, monotonic)
                member.lifecycle.poll(now)
                turn = member.lifecycle.due_roll(now)
                begun = turn is not None and member.begin_roll(turn, now)
                self.tell_all(member)
                if begun and turn is not None:
                    member.end_roll(turn, None if self.call(turn.target.date) else Boom(), now)
                    self.tell_all(member)
                elif member.lifecycle.state is ERROR:
                    process.mend()
                    decision = member.lifecycle.recover(self.resolve(member, decisions), now)
                    assert decision.record is not None
                    member.execute(decision)
                    self.decide(decision.record)
                    self.tell_all(member)
                else:
                    wall, elapsed = member.lifecycle.deadlines
                    due = [until, *([] if wall is None else [wall])]
                    due += [] if elapsed is None else [self.now + (elapsed - monotonic)]
                    step = max(min(due) - self.now, timedelta(0))
                    self.now, monotonic = self.now + step, monotonic + step
            member.end()
            assert process.open_files == 0
        except ProcessEnds:
            self.read()
        return None

    def resolve(self, member: Host, resolutions: Iterator[Resolution]) -> Resolution:
        """Decide as a person would who knows the application: MARK_DONE where that is true alone."""
        wanted = next(resolutions, Resolution.RETRY)
        if wanted is Resolution.RETRY or not member.lifecycle.roll_owed:
            return Resolution.RETRY
        return wanted

    def tell_all(self, member: Host) -> None:
        try:
            member.emit()
        finally:
            self.read()

    def read(self) -> None:
        """Take what the last run has published, up to its end."""
        while self.reader._events:
            self.tell(self.reader._events.popleft())

    def settle(self, until: datetime) -> None:
        """Run without faults, and hold that all is well at the end."""
        process = Process(self.disk)
        assert self.run(process, until) is None
        assert self.last == next(day for day in DATES if at(day, (21, 30)) > until)


def last_step(content: bytes) -> dict[str, Any] | None:
    """Return the last whole line that tells of where the application is, by the file alone."""
    last = None
    for line in content.split(b"\n")[1:-1]:
        value: dict[str, Any] = json.loads(line[:-9])
        if value["entry"] not in {"failed", "recovered", "ended"}:
            last = value
    return last


async def nothing(next_date: date) -> None:
    """Never called: the test is the application's roll."""
    raise AssertionError


def calls_of(folder: Path, until: datetime) -> list[str]:
    """Return the calls on the disk that a run without faults makes."""
    life = Life(folder)
    process = Process(life.disk)
    life.run(process, until)
    assert [target for target, _ in life.called] == DATES[1 : 1 + len(life.called)]
    return process.calls


Spared = tuple[Choose, Choose]
"""What a power cut spares of changed names and of written contents."""


def named(spared: Spared) -> str:
    """Return what a test of it is called."""
    return "-".join(choose.__name__ for choose in spared)


FOUR_DAYS = EVENING + 4 * DAY
"""Four rolls, two compactions."""


def test_what_the_calls_are(tmp_path: Path):
    """Every kind of call occurs among those that the faults below are spread over, compaction's in the middle."""
    calls = calls_of(tmp_path, FOUR_DAYS)
    assert set(calls) == {"open", "write", "sync", "replace", "sync_folder"}
    assert calls.count("replace") >= 2
    assert len(calls) == len(calls_of(tmp_path, FOUR_DAYS))


# ---- one fault ----


@pytest.mark.parametrize("policy", MissedSessions)
@pytest.mark.parametrize("fault", DEATHS)
def test_fault_40_killed_at_every_call(tmp_path: Path, fault: Fault, policy: MissedSessions):
    """Killed before, within or after any call, the next run goes on; nothing announced repeats, none is skipped."""
    with quiet():
        for number in range(1, len(calls_of(tmp_path, FOUR_DAYS)) + 1):
            life = Life(tmp_path, policy)
            life.run(Process(life.disk, {number: fault}), FOUR_DAYS)
            life.settle(FOUR_DAYS + DAY)


@pytest.mark.parametrize("spared", list(product([least, most], repeat=2)), ids=named)
@pytest.mark.parametrize("fault", DEATHS)
def test_fault_41_power_cut_at_every_call(tmp_path: Path, fault: Fault, spared: Spared):
    """Whatever a power cut takes of what was not synced, the next run goes on, and all promises hold."""
    with quiet():
        for number in range(1, len(calls_of(tmp_path, FOUR_DAYS)) + 1):
            life = Life(tmp_path)
            life.run(Process(life.disk, {number: fault}), FOUR_DAYS)
            life.disk.cut_power(*spared)
            life.settle(FOUR_DAYS + DAY)


@pytest.mark.parametrize("until_mended", [False, True])
@pytest.mark.parametrize("fault", ERRORS)
def test_faults_44_45_an_error_at_every_call(tmp_path: Path, fault: Fault, until_mended: bool):
    """Whichever call fails, once or until the disk is mended, all promises hold, and `recover` or a new start mends."""
    refused = 0
    with quiet():
        for number in range(1, len(calls_of(tmp_path, FOUR_DAYS)) + 1):
            life = Life(tmp_path)
            process = Process(life.disk, {number: fault}, until_mended=until_mended)
            if life.run(process, FOUR_DAYS) is not None:
                refused += 1
                assert life.called == []
                process.mend()
            life.settle(FOUR_DAYS + DAY)
            assert len(life.errors) <= 1
    assert (refused > 0) == (fault is not Fault.HALF)


@pytest.mark.parametrize("fault", ERRORS)
@pytest.mark.parametrize("resolution", [Resolution.MARK_DONE, Resolution.SKIP])
def test_a_persons_decision_after_an_error_at_every_call(tmp_path: Path, fault: Fault, resolution: Resolution):
    """Whichever call fails, a person's decision on the roll holds: done or given up, that roll is not begun again."""
    with quiet():
        for number in range(1, len(calls_of(tmp_path, FOUR_DAYS)) + 1):
            life = Life(tmp_path)
            life.run(Process(life.disk, {number: fault}), FOUR_DAYS, [resolution])
            before = len(life.called)
            life.settle(FOUR_DAYS + DAY)
            assert not {day for day, _ in life.called[before:]} & life.decided


# ---- two faults ----


@pytest.mark.parametrize("spared", [(least, least), (most, least)], ids=named)
def test_fault_41_a_power_cut_soon_after_a_kill(tmp_path: Path, spared: Spared):
    """What a killed process wrote and did not sync counts in the next run only once that has made sure of it."""
    check_two_faults(tmp_path, (Fault.DEAD_BEFORE,), (Fault.DEAD_AFTER,), spared, second=(2, 5, 8))


def test_fault_41_a_power_cut_soon_after_an_error(tmp_path: Path):
    """What could not be synced does not count, whichever later call succeeds, until a power cut and beyond."""
    check_two_faults(tmp_path, (Fault.REFUSED,), (Fault.DEAD_AFTER,), (least, least), second=(2, 5, 8), restart=True)


def check_two_faults(
    folder: Path,
    first: tuple[Fault, ...],
    then: tuple[Fault, ...],
    spared: Spared,
    second: Iterable[int],
    *,
    restart: bool = False,
) -> None:
    """Hold the promises through a first fault at every call, another run with a second, and a power cut."""
    calls = len(calls_of(folder, FOUR_DAYS))
    with quiet():
        for number, fault, later, end in product(range(1, calls + 1), first, second, then):
            life = Life(folder)
            process = Process(life.disk, {number: fault}, until_mended=restart)
            if restart:
                # A person restarts the process instead of recovering it.
                process.mend = process.end  # type: ignore[method-assign]
            life.run(process, FOUR_DAYS)
            process.end()
            life.run(Process(life.disk, {later: end}), FOUR_DAYS + 3 * DAY)
            life.disk.cut_power(*spared)
            life.settle(FOUR_DAYS + 5 * DAY)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("spared", [(least, least), (most, least)], ids=named)
@pytest.mark.parametrize("restart", [False, True])
def test_fault_41_any_two_faults_and_a_power_cut(tmp_path: Path, spared: Spared, restart: bool):
    """Every fault at every call, then an end of the next run at any of its first calls, then a power cut."""
    check_two_faults(tmp_path, (*ERRORS, *DEATHS), (Fault.DEAD_AFTER,), spared, second=(2, 5, 8), restart=restart)


# ---- any faults ----

AN_HOUR_TO_A_WEEK = st.sampled_from([HOUR, DAY, 3 * DAY, 7 * DAY])


@st.composite
def faults(draw: st.DrawFn) -> dict[int, Fault]:
    return draw(st.dictionaries(st.integers(1, 40), st.sampled_from(Fault), max_size=3))


def live(folder: Path, data: st.DataObject, runs: int) -> None:
    """Live through some runs with any faults, power cuts, failing rolls and decisions, then settle."""
    life = Life(folder, data.draw(st.sampled_from(MissedSessions), "policy"))
    for _ in range(data.draw(st.integers(1, runs), "runs")):
        process = Process(life.disk, data.draw(faults(), "faults"), until_mended=data.draw(st.booleans(), "mend"))
        life.flops = data.draw(st.integers(0, 3), "flops")
        resolutions = data.draw(st.lists(st.sampled_from(Resolution), max_size=3), "resolutions")
        try:
            life.run(process, life.now + data.draw(AN_HOUR_TO_A_WEEK, "length"), resolutions)
        except JournalWriteFailed:  # of a decision: the person gives up, and restarts
            life.read()
        process.end()
        if data.draw(st.booleans(), "power cut"):
            spared = data.draw(st.lists(st.integers(0, 200), min_size=1, max_size=6), "spared")
            again = iter(spared * 100)
            life.disk.cut_power(*[lambda n, again=again: next(again) % n] * 2)
        life.now += data.draw(AN_HOUR_TO_A_WEEK, "pause")
        life.flops = 0
    assert life.run(Process(life.disk), life.now + 2 * DAY) is None
    assert life.last >= life.now.date() - 4 * DAY


whole_lives = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)


@settings(whole_lives, max_examples=30)
@given(data=st.data())
def test_fault_41_any_faults(tmp_path: Path, data: st.DataObject):
    """Through any faults, power cuts, failed rolls and decisions, over several runs, all promises hold."""
    with quiet():
        live(tmp_path, data, 4)


@pytest.mark.long
@pytest.mark.timeout(600)
@settings(whole_lives, max_examples=1_000)
@given(data=st.data())
def test_fault_41_any_faults_at_length(tmp_path: Path, data: st.DataObject):
    """Through any faults, power cuts, failed rolls and decisions, over many runs, all promises hold."""
    with quiet():
        live(tmp_path, data, 8)


# ---- the same with the whole manager ----


class Watched:
    """The application's roll in a manager, held to the promises of its `Life`. What is broken shows afterwards."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.broken: list[AssertionError] = []
        self.then = noop

    async def __call__(self, next_date: date) -> None:
        try:
            self.life.read()
            succeeds = self.life.call(next_date)
        except AssertionError as error:
            self.broken.append(error)
            raise
        self.then()
        if not succeeds:
            raise Boom

    def hold(self) -> None:
        if self.broken:
            raise self.broken[0]


def noop() -> None:
    """Do nothing."""


async def run_managed(life: Life, process: Process, until: datetime) -> None:
    """Run a manager until an instant, or its process's end; in ERROR mend the disk, and recover."""
    clock = SimulatedClock(life.now)
    rolls = Watched(life)
    manager = SessionBoundaryManager(
        SCHEDULE, rolls, config=life.config, clock=clock, journal=FileJournal(life.folder / JOURNAL, files=process)
    )
    life.reader = manager.events()
    try:
        async with manager:
            life.read()
            life.enter(manager.session.date)
            while clock.now() < until:
                await clock.advance(min(6 * HOUR, until - clock.now()))
                life.read()
                rolls.hold()
                if manager.state is ERROR:
                    process.mend()
                    await manager.recover()
    except (ProcessEnds, JournalUnavailable, JournalWriteFailed):
        pass
    life.read()
    rolls.hold()
    life.now = clock.now()
    assert process.dead or process.open_files == 0


@pytest.mark.parametrize("fault", [*DEATHS, Fault.REFUSED, Fault.HALF_REFUSED])
def test_a_manager_with_a_fault_at_every_call(tmp_path: Path, fault: Fault):
    """Whatever befalls any call of a manager's journal, the next manager goes on, and all promises hold."""

    async def main() -> None:
        for number in range(1, 24):
            life = Life(tmp_path)
            process = Process(life.disk, {number: fault})
            await run_managed(life, process, EVENING + 2 * DAY)
            process.end()
            life.disk.cut_power(least, least)
            await run_managed(life, Process(life.disk), EVENING + 3 * DAY)
            assert life.last == THURSDAY

    with quiet():
        anyio.run(main)


@pytest.fixture
def disk() -> Disk:
    return Disk()


def on(disk: Disk, folder: Path, faults: dict[int, Fault] | None = None) -> tuple[FileJournal, Process]:
    """Return a journal on a disk, and its process."""
    process = Process(disk, faults)
    return FileJournal(folder / JOURNAL, files=process), process


def safe_records(disk: Disk) -> list[dict[str, Any]]:
    """Return the records that no power cut can take."""
    contents = set(disk.outcomes(JOURNAL))
    assert len(contents) == 1
    content = contents.pop()
    assert content is not None
    return [json.loads(line[:-9]) for line in content.split(b"\n")[1:-1]]


def entries(disk: Disk) -> list[str]:
    return [record["entry"] for record in safe_records(disk)]


INTENT_FAULTS = [{1: Fault.REFUSED}, {1: Fault.HALF_REFUSED}, {2: Fault.REFUSED}, {2: Fault.LATE}]
FAULT_NAMES = ["no space", "short write, no space", "not synced", "synced, but an error"]


@pytest.mark.anyio
@pytest.mark.parametrize("faults_then", INTENT_FAULTS, ids=FAULT_NAMES)
async def test_fault_44_an_intent_that_cannot_be_written(disk: Disk, tmp_path: Path, faults_then: dict[int, Fault]):
    """Without a durable intent the roll is not called, and ERROR says why; once the disk is mended, `recover` rolls."""
    journal, process = on(disk, tmp_path)
    manager, clock = make(EVENING, journal=journal)
    manager._host.roll_session = rolls = Rolls(clock)  # type: ignore[misc]
    async with running(manager) as log:
        base = len(process.calls)
        process.faults = {base + n: fault for n, fault in faults_then.items()}
        await clock.advance_to(END + HOUR)
        assert (manager.state, manager.session.date) == (ERROR, MONDAY)
        assert rolls.dates == []
        assert not of(RollStarted, log)
        reason = changes(log)[-1].reason
        assert reason is not None
        assert "the roll to 2024-03-05 was not begun" in reason
        assert "'intent' could not be written" in reason
        assert entries(disk) == ["adopted", "failed"]
        await manager.recover()
        await clock.advance(NOW)
        assert rolls.dates == [TUESDAY]
        assert [event.resumed for event in of(RollStarted, log)] == [False]
        assert manager.session.date == TUESDAY
        assert entries(disk)[-1] == "done"


@pytest.mark.anyio
@pytest.mark.parametrize("faults_then", INTENT_FAULTS, ids=FAULT_NAMES)
@pytest.mark.parametrize("resolution", Resolution)
async def test_fault_45_a_completion_that_cannot_be_written(
    disk: Disk, tmp_path: Path, faults_then: dict[int, Fault], resolution: Resolution
):
    """A roll that has returned without a durable *done* is ERROR, called uncertain, and not told as a success; a
    person's decision runs it again as resumed, takes it as done without running it, or goes past it."""
    journal, process = on(disk, tmp_path)
    manager, clock = make(EVENING, journal=journal)
    asked: list[date] = []

    async def roll(next_date: date) -> None:
        asked.append(next_date)
        if len(asked) == 1:
            process.faults = {len(process.calls) + n: fault for n, fault in faults_then.items()}

    manager._host.roll_session = roll  # type: ignore[misc]
    async with running(manager) as log:
        await clock.advance_to(END + HOUR)
        assert (manager.state, manager.session.date) == (ERROR, MONDAY)
        assert asked == [TUESDAY]
        assert not of(RollSucceeded, log)
        (failure,) = of(RollFailed, log)
        assert isinstance(failure.error, JournalWriteFailed)
        assert failure.retry_at is None
        reason = changes(log)[-1].reason
        assert reason is not None
        assert reason.startswith("uncertain: the roll from 2024-03-04 to 2024-03-05 returned")
        assert "Resolution.MARK_DONE" in reason
        assert "Resolution.RETRY" in reason
        assert entries(disk) == ["adopted", "intent", "failed"]
        log.clear()
        await manager.recover(resolution)
        await clock.advance(NOW)
        started = [(event.next_session, event.resumed) for event in of(RollStarted, log)]
        if resolution is Resolution.RETRY:
            assert started == [(TUESDAY, True)]
        elif resolution is Resolution.MARK_DONE:
            assert started == []
        else:
            assert started == [(WEDNESDAY, False)]
        target = WEDNESDAY if resolution is Resolution.SKIP else TUESDAY
        assert [event.next_session for event in of(RollSucceeded, log)] == [target]
        assert manager.session.date == target
        assert asked[1:] == [day for day, _ in started]
    assert safe_records(disk)[-1]["entry"] == "done"
    assert safe_records(disk)[-1]["target"] == str(target)


@pytest.mark.anyio
@pytest.mark.parametrize("still_broken", [False, True])
async def test_fault_45_a_restart_after_it(disk: Disk, tmp_path: Path, still_broken: bool):
    """A restart remembers the ERROR where it could be written; where not even that could, the roll is resumed."""
    journal, process = on(disk, tmp_path)
    process.until_mended = still_broken
    manager, clock = make(EVENING, journal=journal)

    async def roll(next_date: date) -> None:
        process.faults = {len(process.calls) + 1: Fault.REFUSED}

    manager._host.roll_session = roll  # type: ignore[misc]
    async with running(manager):
        await clock.advance_to(END + HOUR)
        assert manager.state is ERROR
    disk.cut_power(least, least)
    journal, _ = on(disk, tmp_path)
    manager, clock = make(END + 2 * HOUR, journal=journal)
    manager._host.roll_session = rolls = Rolls(clock)  # type: ignore[misc]
    async with running(manager) as log:
        if not still_broken:
            assert manager.state is ERROR
            assert (manager.status().reason or "").startswith("uncertain")
            assert rolls.dates == []
            await manager.recover()
            await clock.advance(NOW)
        assert rolls.dates == [TUESDAY]
        assert [event.resumed for event in of(RollStarted, log)] == [True]
        assert manager.session.date == TUESDAY


@pytest.mark.anyio
async def test_a_decision_that_cannot_be_written_changes_nothing(disk: Disk, tmp_path: Path):
    """`recover` on a broken disk raises, stays in ERROR and tells nothing; once the disk is mended it recovers."""
    journal, process = on(disk, tmp_path)
    process.until_mended = True
    manager, clock = make(EVENING, journal=journal)
    manager._host.roll_session = rolls = Rolls(clock)  # type: ignore[misc]
    async with running(manager) as log:
        process.faults = {len(process.calls) + 1: Fault.REFUSED}
        await clock.advance_to(END + MINUTE)
        before = list(log)
        for resolution in Resolution:
            with pytest.raises(JournalWriteFailed):
                await manager.recover(resolution)
            await clock.advance(NOW)
            assert (manager.state, rolls.dates, log) == (ERROR, [], before)
        process.mend()
        await manager.recover()
        await clock.advance(NOW)
        assert rolls.dates == [TUESDAY]


@pytest.mark.anyio
async def test_an_ending_that_cannot_be_written_changes_nothing(disk: Disk, tmp_path: Path):
    """`end_session` on a broken disk raises, and the session stays open."""
    journal, process = on(disk, tmp_path)
    manager, clock = make(at(MONDAY, (15, 0)), journal=journal)
    async with running(manager) as log:
        process.faults = {len(process.calls) + 1: Fault.HALF_REFUSED}
        before = list(log)
        with pytest.raises(JournalWriteFailed):
            manager.end_session("the desk goes home")
        await clock.advance(NOW)
        assert (manager.state, log) == (ACTIVE, before)
        manager.end_session("the desk goes home")
        await clock.advance(NOW)
        assert manager.session.date == TUESDAY
    assert entries(disk) == ["adopted", "ended", "intent", "done"]


# ---- cancelled just after the roll returned ----


class Hooked(Process):
    """A process that does something of the test's at its next sync."""

    at_sync = staticmethod(noop)

    def sync(self, fd: int) -> None:
        super().sync(fd)
        self.at_sync()


@pytest.mark.parametrize("moment", ["before it returns", "while done is synced"])
@pytest.mark.parametrize("victim", ["the roll's task", "the host task"])
def test_fault_38_cancelled_just_after_the_roll_returned(disk: Disk, tmp_path: Path, moment: str, victim: str):
    """A native cancellation in the very step in which the roll returns cannot come before its durable *done*: the roll
    is announced, and a restart does not repeat it."""
    process = Hooked(disk)
    manager, clock = make(EVENING, journal=FileJournal(tmp_path / JOURNAL, files=process))
    asked: list[date] = []
    events = manager.events()

    async def main() -> None:
        host = asyncio.current_task()
        assert host is not None

        async def roll(next_date: date) -> None:
            asked.append(next_date)
            if len(asked) > 1:
                return
            task = asyncio.current_task() if victim == "the roll's task" else host
            assert task is not None
            if moment == "before it returns":
                task.cancel()
            else:
                process.at_sync = task.cancel  # type: ignore[method-assign, assignment]

        manager._host.roll_session = roll  # type: ignore[misc]
        async with manager:
            await clock.advance_to(END + MINUTE)
            process.at_sync = noop  # type: ignore[method-assign]
            await clock.advance_to(END + DAY + MINUTE)

    if victim == "the host task":
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(main())
        done_by_now = [TUESDAY]
    else:
        asyncio.run(main())
        done_by_now = [TUESDAY, WEDNESDAY]
    assert asked == done_by_now
    assert [event.next_session for event in of(RollSucceeded, list(events._events))] == done_by_now
    disk.cut_power(least, least)
    assert safe_records(disk)[-1]["target"] == str(done_by_now[-1])

    async def again() -> None:
        manager, clock = make(END + HOUR, journal=on(disk, tmp_path)[0])
        manager._host.roll_session = rolls = Rolls(clock)  # type: ignore[misc]
        async with running(manager):
            assert rolls.dates == []
            assert manager.session.date == done_by_now[-1]

    asyncio.run(again())
