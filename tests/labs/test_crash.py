"""An application with a journal is killed at every point, and comes back: nothing is skipped, nothing told repeats."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from session_lifecycle import JournalLocked, MissedSessions, Record, Resolution, SqliteJournal
from tests.labs.crashlab.child import POINTS, Plan, open_book, read_book
from tests.labs.crashlab.lab import (
    DAY,
    ESSENTIAL,
    HOUR,
    ROOT,
    Order,
    Story,
    audit,
    command,
    days,
    kill_at,
    read_journal,
    scratch_folder,
    spawn,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="lives are forked")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder for a story, in memory where that can be had."""
    with scratch_folder() as name:
        yield Path(name)


def laboratory(*options: str) -> dict[str, str]:
    """Run the laboratory from its command line, and return its closing block."""
    line = [sys.executable, "-m", "tests.labs.crashlab", *options]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {line[:24].strip(): line[24:] for line in done.stdout.splitlines()}


def started(story: Story, run: int | None = None) -> list[tuple[str, str, bool]]:
    """Return the rolls that were begun: from, to, and whether resumed."""
    return [
        (line["session"], line["date"], line["resumed"])
        for line in read_book(story.folder / "announcements")
        if line["what"] == "started" and run in (None, line["run"])
    ]


def labels(plan: Plan) -> list[str]:
    return [f"{session.date}" for session in plan.sessions]


def killed_at(point: str, number: int, plan: Plan, folder: Path) -> Story:
    """Begin a story whose first life is killed."""
    story = Story(folder, plan, spawn)
    order = replace(story.order(), at=(point, number))
    assert story.live(order).point == point
    return story


# ---- killed at every point ----


@pytest.mark.parametrize("point", ESSENTIAL)
def test_fault_40_killed_at_each_point_that_matters(point: str, folder: Path) -> None:
    """A process of its own is killed there half-way through the schedule; nothing is skipped, nothing told repeats."""
    story = kill_at(point, folder, spawn, ["middle"])
    assert story.findings == []
    assert story.endings[-2].point == point
    assert story.audit().complaints == []


@pytest.mark.parametrize("point", ["append.written", "append.committed", "lock.counted", "roll.committed"])
def test_fault_40_killed_around_the_commit_of_a_rolls_own_transaction(point: str, folder: Path) -> None:
    """The books and *done* are in one database: after each life both have the roll, or neither, and none is twice."""
    story = kill_at(point, folder, spawn, ["middle"], in_transaction=True)
    assert story.findings == []
    assert story.endings[-2].point == point
    audited = story.audit()
    assert (audited.complaints, audited.doubled) == ([], 0)


@pytest.mark.long
def test_fault_40_killed_at_every_point_there_is() -> None:
    """The first, the second, the middle and the last time, in forks, which start faster."""
    figures = laboratory("--points")
    assert figures["at named points"].endswith(f", {len(POINTS)} of {len(POINTS)} points")
    assert int(figures["kills"]) > 4 * len(POINTS) - 10


@pytest.mark.parametrize("books", ["transaction", "elsewhere"])
def test_fault_40_killed_at_random(books: str) -> None:
    """Killed at random instants, points and calls, on clocks that go on, jump ahead or go back."""
    figures = laboratory("--kills", "15", "--seed", "7", "--books", books)
    assert int(figures["kills"]) >= 15
    assert figures["skipped"] == figures["announced and repeated"] == figures["other findings"] == "0"
    assert books == "elsewhere" or figures["doubled"] == "0"


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("books", "kills"), [("transaction", 400), ("elsewhere", 200)])
def test_fault_40_killed_at_random_for_minutes(books: str, kills: int) -> None:
    """Killed hundreds of times, so that rare combinations come up; elsewhere a roll may be done twice, flagged."""
    figures = laboratory("--kills", str(kills), "--seed", "8", "--books", books)
    assert int(figures["kills"]) >= kills
    assert figures["skipped"] == figures["announced and repeated"] == figures["other findings"] == "0"
    assert (int(figures["doubled"]) > 0) is (books == "elsewhere")  # so the count can tell


def test_two_jobs_share_the_kills() -> None:
    """The work can be shared among processes, each with a seed of its own."""
    assert int(laboratory("--kills", "4", "--jobs", "2")["kills"]) >= 4


def test_a_line_that_a_kill_has_torn_spoils_no_other(folder: Path) -> None:
    """A write across two pages may end between them; the next life adds its lines after the last whole one."""
    (folder / "book").write_bytes(b'{"run": 1}\n{"run": 1, "wh')
    assert read_book(folder / "book") == [{"run": 1}]
    book = open_book(folder / "book")
    os.write(book, b'{"run": 2}\n')
    os.close(book)
    assert read_book(folder / "book") == [{"run": 1}, {"run": 2}]


def test_a_child_is_quick_to_start() -> None:
    """A life needs neither pandas nor exchange_calendars, whose import would take longer than the life."""
    code = "import sys, tests.labs.crashlab.lab; print('pandas' in sys.modules, 'exchange_calendars' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


# ---- the audit itself ----


@pytest.fixture(scope="module")
def books(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Plan, list[dict[str, Any]], list[dict[str, Any]], list[Any]]:
    """The books of a short story with one kill, in the middle of the second roll; nothing is wrong with them."""
    story = killed_at("roll.middle", 2, Plan(days(4)), tmp_path_factory.mktemp("books"))
    assert story.live(story.order()).finished
    assert story.audit().complaints == []
    return story.plan, read_book(story.folder / "effects"), read_book(story.folder / "announcements"), story.views


def is_about(what: str, **fields: object) -> Callable[[dict[str, Any]], bool]:
    return lambda line: line["what"] == what and all(line[name] == value for name, value in fields.items())


def test_the_audit_finds_a_roll_that_is_missing(books: Any) -> None:
    plan, effects, announcements, views = books
    gone = is_about("commit", date=labels(plan)[1])
    assert audit(plan, [line for line in effects if not gone(line)], announcements, views).skipped != []


def test_the_audit_finds_a_roll_that_is_repeated(books: Any) -> None:
    plan, effects, announcements, views = books
    again = [line | {"run": 1, "seq": 1000} for line in effects if is_about("begin", date=labels(plan)[1])(line)]
    assert audit(plan, effects + again, announcements, views).repeated != []


def test_the_audit_finds_a_flag_that_is_missing(books: Any) -> None:
    plan, effects, announcements, views = books
    mute = [line | {"resumed": False} if "resumed" in line else line for line in announcements]
    assert audit(plan, effects, mute, views).others != []


def test_the_audit_finds_a_journal_behind_the_announcements(books: Any) -> None:
    plan, effects, announcements, views = books
    behind = [replace(views[0], session=labels(plan)[0]), *views[1:]]
    assert audit(plan, effects, announcements, behind).others != []


@pytest.fixture(scope="module")
def shared_books(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Any, Any, list[Any]]:
    """The same, of an application whose books are in the journal's database."""
    story = killed_at("block.written", 2, Plan(days(4), in_transaction=True), tmp_path_factory.mktemp("shared"))
    assert story.live(story.order()).finished
    assert story.audit().complaints == []
    return story.plan, read_book(story.folder / "effects"), read_book(story.folder / "announcements"), story.views


def test_the_audit_finds_work_that_is_done_twice(shared_books: Any) -> None:
    plan, effects, announcements, views = shared_books
    again = [*views[:-1], replace(views[-1], rows=(*views[-1].rows, views[-1].rows[0]))]
    result = audit(plan, effects, announcements, again)
    assert (result.repeated != [], result.doubled) == (True, 1)


def test_the_audit_finds_one_half_of_a_transaction(shared_books: Any) -> None:
    plan, effects, announcements, views = shared_books
    half = [replace(views[0], rows=(*views[0].rows, (labels(plan)[2], "roll"))), *views[1:]]
    assert audit(plan, effects, announcements, half).others != []
    half = [*views[:-1], replace(views[-1], rows=views[-1].rows[:-1])]
    assert audit(plan, effects, announcements, half).skipped != []


# ---- the holder's lock ----


def test_fault_46_the_lock_of_a_killed_holder_is_free(folder: Path) -> None:
    """While the holder lives, even stopped, its process is named; once killed, its journal can be opened."""
    story = Story(folder, Plan(days(4)), spawn)
    order = replace(story.order(), at=("roll.middle", 1))
    journal = SqliteJournal(folder / "journal")
    with subprocess.Popen(command(order, "--signal", "STOP"), cwd=ROOT) as holder:
        try:
            os.waitpid(holder.pid, os.WUNTRACED)
            with pytest.raises(JournalLocked) as caught:
                anyio.run(journal.open, "lab")
            assert caught.value.pid == holder.pid
        finally:
            holder.kill()

    async def reopened() -> tuple[Record, ...]:
        records = await journal.open("lab")
        await journal.close()
        return records

    assert len(anyio.run(reopened)) > 0


@pytest.mark.parametrize("number", [1, 2])
def test_fault_37_an_interrupt_during_the_roll_keeps_the_intent(folder: Path, number: int) -> None:
    """Ctrl-C ends the process in the middle of the roll; the next life finishes that roll first, flagged."""
    plan = Plan(days(4))
    story = Story(folder, plan, spawn)
    order = replace(story.order(), at=("roll.middle", number))
    status = subprocess.run(command(order, "--signal", "INT"), cwd=ROOT, check=False).returncode
    assert status == 1
    assert "KeyboardInterrupt" in (folder / "error").read_text()
    view = read_journal(folder / "journal")
    assert view is not None
    assert (view.session, view.intent) == (labels(plan)[number - 1], labels(plan)[number])
    spawn(Order(folder, 1, story.last_instant()))
    assert started(story, run=1)[0] == (labels(plan)[number - 1], labels(plan)[number], True)


# ---- another calendar at the restart ----


def change_calendar(story: Story, plan: Plan, start: datetime | None = None) -> None:
    """Have the story go on, and end, by another calendar."""
    plan.save(story.folder)
    ending = story.live(story.order(start))
    assert ending.finished, story.findings


def committed(story: Story) -> list[str]:
    return [line["date"] for line in read_book(story.folder / "effects") if line["what"] == "commit"]


@pytest.mark.parametrize("policy", MissedSessions)
def test_fault_20_a_completed_session_is_gone_from_the_calendar(folder: Path, policy: MissedSessions) -> None:
    """It stays completed; the rolls go on from where they were."""
    plan = Plan(days(6), policy)
    day = labels(plan)
    story = killed_at("tell.after", 2, plan, folder)
    change_calendar(story, replace(plan, sessions=plan.sessions[:1] + plan.sessions[2:]))
    assert committed(story) == day[1:]
    assert started(story, run=1) == [(day[n], day[n + 1], False) for n in (2, 3, 4)]


@pytest.mark.parametrize("policy", MissedSessions)
def test_fault_20_a_session_is_inserted_before_the_current_one(folder: Path, policy: MissedSessions) -> None:
    """Nobody rolls back to it: what has been passed is passed."""
    full = Plan(days(6), policy)
    day = labels(full)
    story = killed_at("tell.after", 1, replace(full, sessions=full.sessions[:1] + full.sessions[2:]), folder)
    change_calendar(story, full)
    assert committed(story) == day[2:]
    assert day[1] not in {target for _, target, _ in started(story)}


@pytest.mark.parametrize("policy", MissedSessions)
def test_fault_20_the_current_session_is_gone_from_the_calendar(folder: Path, policy: MissedSessions) -> None:
    """What is left of it is called off: the next session of the new calendar is rolled to at once."""
    plan = Plan(days(6), policy)
    day = labels(plan)
    story = killed_at("tell.after", 2, plan, folder)
    restart = story.last_instant()
    assert restart < plan.sessions[2].close
    change_calendar(story, replace(plan, sessions=plan.sessions[:2] + plan.sessions[3:]))
    assert committed(story) == day[1:]
    assert started(story, run=1)[0] == (day[2], day[3], False)
    first = next(line for line in read_book(folder / "effects") if line["run"] == 1)
    assert first["at"] == restart.isoformat()


@pytest.mark.parametrize("policy", MissedSessions)
@pytest.mark.parametrize("later", [timedelta(0), 2 * DAY])
def test_fault_20_the_target_of_a_roll_is_gone_from_the_calendar(
    folder: Path, policy: MissedSessions, later: timedelta
) -> None:
    """A roll that was begun is finished for its own date, whatever the calendar and the clock say now."""
    plan = Plan(days(6), policy)
    day = labels(plan)
    story = killed_at("roll.middle", 2, plan, folder)
    change_calendar(story, replace(plan, sessions=plan.sessions[:2] + plan.sessions[3:]), story.last_instant() + later)
    assert started(story, run=1)[0] == (day[1], day[2], True)
    assert committed(story)[:2] == [day[1], day[2]]
    assert committed(story) == sorted(set(committed(story)))


# ---- another time at the restart ----


@pytest.mark.parametrize("back", [HOUR, 2 * DAY, 30 * DAY])
def test_fault_48_restarted_before_the_journal_it_holds(folder: Path, back: timedelta) -> None:
    """The session of the journal is waited for: no roll is repeated, and none comes early."""
    plan = Plan(days(6))
    day = labels(plan)
    story = killed_at("tell.after", 3, plan, folder)
    assert story.live(story.order(story.last_instant() - back)).finished
    assert story.audit().complaints == []
    first = next(line for line in read_book(folder / "effects") if line["run"] == 1)
    assert (first["date"], first["at"]) == (day[4], (plan.sessions[3].close + HOUR / 2).isoformat())
    assert committed(story) == day[1:]


def test_fault_48_an_open_intent_is_finished_whatever_the_clock_says(folder: Path) -> None:
    """It may have happened already, so it cannot wait for its time to come again."""
    plan = Plan(days(6))
    story = killed_at("roll.committed", 3, plan, folder)
    start = story.last_instant() - 2 * DAY
    assert story.live(story.order(start)).finished
    assert story.audit().complaints == []
    first = next(line for line in read_book(folder / "effects") if line["run"] == 1)
    assert (first["date"], first["at"]) == (labels(plan)[3], start.isoformat())


@pytest.mark.parametrize("policy", MissedSessions)
def test_restarted_days_later_it_catches_up_by_its_policy(folder: Path, policy: MissedSessions) -> None:
    """EACH rolls into every session, LATEST tells those that it skips; what was begun comes first under both."""
    plan = Plan(days(8), policy)
    day = labels(plan)
    story = killed_at("roll.middle", 1, plan, folder)
    assert story.live(story.order(plan.sessions[5].open)).finished
    assert story.audit().complaints == []
    expected = [day[1], *day[2:]] if policy is MissedSessions.EACH else [day[1], day[5], day[6], day[7]]
    assert committed(story) == expected


@pytest.mark.parametrize("resolution", Resolution)
def test_killed_in_error_it_comes_back_in_error(folder: Path, resolution: Resolution) -> None:
    """What a person has to decide is still to be decided after a restart."""
    sessions = days(5)
    plan = Plan(sessions, outages={sessions[2].date: resolution})
    story = killed_at("failed.after", 1, plan, folder)
    view = story.views[0]
    assert view is not None
    assert view.error
    assert story.live(story.order()).finished
    assert story.audit().complaints == []


def test_an_application_that_can_tell_what_it_did_is_not_asked_twice(folder: Path) -> None:
    """With was_rolled, a crash between the roll and its record repeats nothing."""
    plan = Plan(days(4), asks=True)
    story = killed_at("roll.committed", 2, plan, folder)
    assert story.live(story.order()).finished
    assert story.audit().complaints == []
    assert committed(story) == labels(plan)[1:]


# ---- stopped, on the real clock ----

NAPPER = """
import asyncio, os, signal
from datetime import UTC, datetime, timedelta
from session_lifecycle import FixedSchedule, LifecycleConfig, Session, SessionBoundaryManager, SessionState
from tests.helpers.ledger import napping

async def roll(day): ...

async def stopped_before_the_open():
    opened = datetime.now(UTC) + timedelta(seconds=0.5)
    session = Session(opened.date(), opened, opened + timedelta(hours=1))
    config = LifecycleConfig(check_interval=timedelta(seconds=0.5))
    async with SessionBoundaryManager(FixedSchedule([session]), roll, config=config) as manager:
        if manager.state is SessionState.ACTIVE:  # the machine was too busy to start it before the open
            return False
        print(opened.timestamp(), flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)  # with no await since: the manager has looked at no clock meanwhile
        async with napping() as naps:
            await manager.wait_for(SessionState.ACTIVE)
            print(datetime.now(UTC).timestamp(), sum(naps), flush=True)
        return True

async def main():
    while not await stopped_before_the_open():
        pass

asyncio.run(main())
"""


def test_fault_24_stopped_across_a_boundary() -> None:
    """A process that was stopped over the open is ACTIVE within one check_interval of going on."""
    with subprocess.Popen([sys.executable, "-c", NAPPER], cwd=ROOT, stdout=subprocess.PIPE, text=True) as napper:
        try:
            assert napper.stdout is not None
            opened = float(napper.stdout.readline())
            os.waitpid(napper.pid, os.WUNTRACED)  # until it has stopped itself
            time.sleep(max(0.0, opened + 0.5 - time.time()))
            resumed = time.time()
            napper.send_signal(signal.SIGCONT)
            noticed, naps = napper.stdout.readline().split()
        finally:
            napper.kill()
    assert float(noticed) >= resumed
    assert float(naps) <= 0.5


def test_a_story_can_be_told_again(folder: Path) -> None:
    """Stories are drawn from seed and number: the same plan comes out each time."""
    plans: list[Plan] = []
    for name in ("one", "two"):
        laboratory("--seed", "3", "--kills", "1", "--story", "4", "--keep", str(folder / name))
        plans.append(Plan.load(folder / name / "3-4"))
    assert plans[0] == plans[1]
