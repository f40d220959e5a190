"""`journal`: what it shows, whether the journal is sound, and a decision that a restart follows."""

import json
import os
import sqlite3
from datetime import date, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from session_lifecycle import (
    MissedSessions,
    Record,
    RetryPolicy,
    RollSucceeded,
    SessionBoundaryManager,
    SessionState,
    SnapshotSchedule,
    SqliteJournal,
    write_snapshot,
)
from session_lifecycle._cli.commands.journal import JournalReport
from session_lifecycle._model.config import LifecycleConfig
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MONDAY, at, week, weekdays
from tests.helpers.command_line import as_json, hold_shape, printed, refused, run
from tests.helpers.harness import FRIDAY, TUESDAY, WEDNESDAY
from tests.helpers.journals import ONE_OF_EACH, adopted, done, failed, intent, numbered, rolls
from tests.helpers.sqlite import HOLD, line_of, lock_of, program

LATE = at(MONDAY, (22, 0))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "journal"


@pytest.fixture
def hours(tmp_path: Path) -> str:
    """A snapshot of the week, which stands for the journal's calendar."""
    path = tmp_path / "hours.toml"
    write_snapshot(week(), path, MONDAY, FRIDAY)
    return str(path)


def write(file: Path, *records: Record, calendar: str = "fixed", name: str | None = None) -> None:
    """Append records to a journal."""

    async def append() -> None:
        journal = SqliteJournal(file, name)
        held = await journal.open(calendar)
        await journal.append(numbered(records, len(held) + 1))
        await journal.close()

    anyio.run(append)


def remove(file: Path) -> None:
    """Remove a journal with everything that is beside it."""
    for each in file.parent.glob(f"{file.name}*"):
        each.unlink()


def change(file: Path, statement: str) -> None:
    """Change what is in the tables."""
    connection = sqlite3.connect(file)
    connection.execute(statement)
    connection.commit()
    connection.close()


# ---- reading ----


def test_it_shows_what_happened_and_what_is_owed(file: Path) -> None:
    """A line for each record, then what they add up to."""
    write(file, adopted(), intent(MONDAY, WEDNESDAY), failed(note="no route\nto the database"))
    assert printed("journal", str(file)) == (
        "journal fixed, sound: 3 records\n"
        "written (UTC)        entry    session     to\n"
        "2024-03-04 21:30:00  adopted  2024-03-04\n"
        "2024-03-04 21:30:00  intent   2024-03-04  2024-03-06  skipping 2024-03-05\n"
        "2024-03-04 21:30:00  failed   2024-03-04              no route to the database\n"
        "the application is in session 2024-03-04, which closes at 2024-03-04 21:00 UTC\n"
        "the roll to 2024-03-06 was begun and may have happened: it is owed, and finished first\n"
        "ERROR: no route to the database\n"
        "it lasts until recover(), or `journal FILE --resolve retry|mark-done|skip` while no manager runs\n"
    )


@pytest.mark.parametrize(
    ("records", "text"),
    [
        (ONE_OF_EACH[:2], "the session was ended manually: a roll is owed"),
        (ONE_OF_EACH[:7], "trading is halted: news"),
        (ONE_OF_EACH[:8], "feed prices \\udcff is halted: no data"),
        (ONE_OF_EACH[:6], "the roll to 2024-03-07 was given up: one to a later session is owed"),
        (ONE_OF_EACH, "the application is in session 2024-03-08, which closes at 2024-03-08 21:00 UTC"),
        ([], "no session yet: the next start adopts one"),
    ],
)
def test_what_the_records_add_up_to(file: Path, records: list[Record], text: str) -> None:
    """The last line says it."""
    write(file, *records)
    assert printed("journal", str(file)).splitlines()[-1] == text


def test_a_long_one_is_shown_from_its_end(file: Path) -> None:
    """Twenty records, unless all are asked for; on a narrow screen notes are wrapped, not cut."""
    write(file, *rolls(30), failed(MONDAY + 30 * DAY, note="word " * 40))
    short, long = printed("journal", str(file)), printed("journal", str(file), "--all")
    assert "42 earlier records; --all shows them" in short
    assert (short.count("\n2024-"), long.count("\n2024-")) == (20, 62)
    narrow = printed("journal", str(file), width=80)
    assert max(map(len, narrow.splitlines()[:-3])) <= 80
    assert narrow.count("word") == 80


def test_as_json_it_has_the_documented_shape(file: Path) -> None:
    """Of a sound one, of one in ERROR, and of one that is damaged."""
    for content in (ONE_OF_EACH, [adopted(), failed()], []):
        write(file, *content)
        value = as_json("journal", str(file))
        hold_shape(value, JournalReport)
        remove(file)
    write(file, *ONE_OF_EACH, name="desk")
    value = as_json("journal", str(file))
    assert (value["name"], value["calendar"], value["sound"]) == ("desk", "fixed", True)
    assert (value["standing"]["session"], value["standing"]["halts"]) == ("2024-03-08", {})
    assert value["records"][2]["skipped"] == ["2024-03-05", "2024-03-06"]
    assert [record["seq"] for record in value["records"]] == list(range(1, len(ONE_OF_EACH) + 1))
    assert value["records"][10]["subject"] == "flatten"
    change(file, "UPDATE session_lifecycle_record SET entry = 'done' WHERE seq = 3")
    result = run("journal", str(file), "--json")
    assert result.exit_code == 1
    value = json.loads(result.stdout)
    hold_shape(value, JournalReport)
    assert (value["sound"], value["damage"]["seq"], len(value["records"])) == (False, 3, 2)


def test_several_in_one_database_are_told_apart_by_name(file: Path) -> None:
    """With one, its name need not be given; with several, the message lists them."""
    write(file, *ONE_OF_EACH)
    write(file, adopted(), failed(note="the desk's"), name="desk", calendar="XNYS")
    said = refused("journal", str(file))
    assert f"cannot read {file}: it holds several journals; give one with --name: desk, fixed" in said
    assert printed("journal", str(file), "--name", "fixed", "--check") == f"sound: {len(ONE_OF_EACH)} records\n"
    text = printed("journal", str(file), "--name", "desk")
    assert text.startswith("journal desk of XNYS, sound: 2 records\n")
    assert "ERROR: the desk's" in text
    said = refused("journal", str(file), "--name", "XNYS")
    assert "it holds no journal of the name 'XNYS'; the journals in it: 'desk', 'fixed'" in said


def test_a_reason_may_hold_anything(file: Path) -> None:
    """Escape sequences do nothing to the terminal, and bytes of a name break nothing; JSON has all as it is."""
    reason = "no file \udcff\x1b[2J\nhere ☃"
    write(file, adopted(), failed(note=reason))
    text = printed("journal", str(file))
    assert text.count("no file \\udcff\\x1b[2J here ☃") == 2
    assert as_json("journal", str(file))["standing"]["error"] == reason


def contents(file: Path) -> dict[str, bytes]:
    """Return the content of each file beside the journal but the logs' indexes, which are no part of what it holds."""
    return {each.name: each.read_bytes() for each in file.parent.iterdir() if not each.name.endswith("-shm")}


@pytest.mark.parametrize("died", [False, True])
def test_reading_takes_no_lock_and_changes_nothing(file: Path, died: bool) -> None:
    """A manager may hold it meanwhile; nor is anything changed that a process has left which was killed."""
    write(file, adopted(), calendar="XNYS")
    with program(HOLD, file) as holder:
        assert line_of(holder) == "held"
        if died:
            holder.kill()
            holder.wait()
        before = contents(file)
        assert len(before) == 4
        assert printed("journal", str(file), "--check") == "sound: 1 records\n"
        assert "the application is in session 2024-03-04" in printed("journal", str(file))
        assert contents(file) == before


def test_reading_what_is_closed_leaves_no_file_behind(file: Path) -> None:
    """Not even those that SQLite itself would create, and in a folder that cannot be written to."""
    write(file, *ONE_OF_EACH)
    before = contents(file)
    file.parent.chmod(0o500)
    for args in ((), ("--check",), ("--json",)):
        assert run("journal", str(file), *args).exit_code == 0
    file.parent.chmod(0o700)
    assert contents(file) == before
    assert {each.name for each in file.parent.iterdir()} == {file.name, lock_of(file, "fixed").name}


# ---- is it sound ----


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        (
            "UPDATE session_lifecycle_record SET content = replace(content, 'goes home', 'goes away')",
            "record 2: its checksum does not match",
        ),
        ("DELETE FROM session_lifecycle_record WHERE seq = 3", "record 4: 1 records before it are missing"),
        ("DELETE FROM session_lifecycle_record WHERE seq = 16", "it holds 15 records, and 16 had been appended."),
    ],
)
def test_damage_is_reported_by_record(file: Path, statement: str, text: str) -> None:
    """Exit status 1; what adds up before it is shown."""
    write(file, *ONE_OF_EACH)
    change(file, statement)
    result = run("journal", str(file), "--check")
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout.startswith(f"not sound: {text}")
    shown = run("journal", str(file))
    assert shown.exit_code == 1
    assert text in shown.stdout
    assert "only the records before the damage are shown; restore the journal from a copy" in shown.stdout


def test_the_whole_database_is_checked(file: Path) -> None:
    """`--check` reads what the records do not need: here the application's own table."""
    change(file, "CREATE TABLE books (day TEXT, note TEXT)")
    change(file, "CREATE INDEX days ON books (day)")
    change(file, "INSERT INTO books VALUES ('2024-03-04', 'precious')")
    write(file, adopted())
    content = file.read_bytes()
    assert content.count(b"2024-03-04precious") == 1
    file.write_bytes(content.replace(b"2024-03-04precious", b"2024-03-05precious"))
    assert run("journal", str(file)).exit_code == 0
    result = run("journal", str(file), "--check")
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout.startswith("not sound: the database is damaged: ")


def test_what_cannot_be_read_is_no_verdict(file: Path) -> None:
    """Exit status 2, which is neither sound nor not."""
    assert f"cannot read {file}: No such file or directory" in refused("journal", str(file), "--check")
    assert "it is a directory" in refused("journal", str(file.parent))
    text = file.with_name("text")
    text.write_text("hello\n" * 1_000)
    assert f"cannot read {text}: file is not a database" in refused("journal", str(text))
    change(file, "CREATE TABLE books (day TEXT)")
    assert "it is a database without a journal" in refused("journal", str(file))
    write(file, adopted())
    change(file, "UPDATE session_lifecycle_journal SET version = 2")
    assert "is a journal of version 2, and this release reads version 1" in refused("journal", str(file), "--check")


# ---- deciding ----


class Killed(BaseException):
    """Stands in for a power cut."""


async def application(
    file: Path, hours: str, start: datetime, *failures: BaseException, missed: MissedSessions = MissedSessions.LATEST
) -> tuple[list[date], list[RollSucceeded], SessionState, date]:
    """Run a manager for an hour; return what it rolled to, the events of that, and where it ended up."""
    rolled: list[date] = []
    script = list(failures)

    async def roll(next_date: date) -> None:
        rolled.append(next_date)
        if script:
            raise script.pop(0)

    clock = SimulatedClock(start)
    config = LifecycleConfig(data_timeout=None, roll_retry=RetryPolicy(attempts=1), missed_sessions=missed)
    schedule = SnapshotSchedule.load(hours)
    manager = SessionBoundaryManager(schedule, roll, clock=clock, config=config, journal=SqliteJournal(file))
    events = manager.events()
    async with manager:
        await clock.advance(timedelta(hours=1))
        state, session = manager.state, manager.session.date
    return rolled, [event async for event in events if isinstance(event, RollSucceeded)], state, session


def left_in_error(file: Path, hours: str) -> None:
    """Leave a journal as a service does whose roll of Monday evening has failed."""
    start = at(MONDAY, (21, 0))
    *_, state, _ = anyio.run(application, file, hours, start, ConnectionError("no route"))
    assert state is SessionState.ERROR
    *_, state, _ = anyio.run(application, file, hours, LATE)
    assert state is SessionState.ERROR, "a restart alone changes nothing"


@pytest.mark.parametrize(
    ("resolution", "text", "rolled"),
    [
        ("retry", "rolls from 2024-03-04 to 2024-03-05, which may have happened", [TUESDAY]),
        ("mark-done", "is NOT_STARTED in session 2024-03-05", []),
        ("skip", "rolls from 2024-03-04 to 2024-03-06", [WEDNESDAY]),
    ],
)
def test_a_restart_follows_the_decision(file: Path, hours: str, resolution: str, text: str, rolled: list[date]) -> None:
    """As it does after `manager.recover()`: the roll again, or its target entered without it, or the session after."""
    left_in_error(file, hours)
    said = printed("journal", str(file), "--resolve", resolution, "--calendar", hours, now=LATE)
    assert said.splitlines()[1].startswith(f"a manager that is started now {text}")
    session = rolled[0] if rolled else TUESDAY
    assert anyio.run(application, file, hours, LATE)[::3] == (rolled, session)
    whole = as_json("journal", str(file))
    assert (whole["standing"]["session"], whole["standing"]["error"], whole["sound"]) == (f"{session}", None, True)
    notes = [record["note"] for record in whole["records"] if record["entry"] in ("skipped", "done")]
    assert ("by `journal --resolve`" in notes) == (resolution != "retry")


def test_the_restart_s_roll_says_that_it_is_resumed(file: Path, hours: str) -> None:
    """Where it may have happened; a session that was given up is reported as skipped."""
    for resolution, resumed, skipped in (("retry", True, ()), ("skip", False, (TUESDAY,))):
        left_in_error(file, hours)
        printed("journal", str(file), "--resolve", resolution, "--calendar", hours, now=LATE)
        [event] = anyio.run(application, file, hours, LATE)[1]
        assert (event.resumed, event.skipped) == (resumed, skipped)
        remove(file)


def test_an_error_without_a_roll_can_only_be_retried(file: Path, hours: str) -> None:
    """There is nothing that could be marked as done; refused, the journal is as it was."""
    write(file, adopted(), failed())
    before, noon = contents(file), at(MONDAY, (17, 0))
    for resolution in ("mark-done", "skip"):
        said = refused("journal", str(file), "--resolve", resolution, "--calendar", hours, now=noon)
        assert "there is no roll to act on in ERROR: none is owed" in said
        assert contents(file) == before
    said = printed("journal", str(file), "--resolve", "retry", "--calendar", hours, now=noon)
    assert said == (
        "recorded: ERROR is left, in session 2024-03-04\n"
        "a manager that is started now is ACTIVE in session 2024-03-04\n"
    )
    assert anyio.run(application, file, hours, noon)[2:] == (SessionState.ACTIVE, MONDAY)


def test_several_missed_sessions_are_decided_by_the_manager_s_policy(file: Path, hours: str) -> None:
    """Where no roll was begun, the one that is marked as done is the one that the manager would begin."""
    for policy, target in (("latest", FRIDAY), ("each", TUESDAY)):
        write(file, adopted(), failed())
        args = ("--resolve", "mark-done", "--calendar", hours, "--missed-sessions", policy)
        said = printed("journal", str(file), *args, now=at(FRIDAY, (17, 0)))
        assert f"the roll from 2024-03-04 to {target} is done" in said
        remove(file)


def test_where_there_is_no_error_there_is_nothing_to_resolve(file: Path, hours: str) -> None:
    """A crash in mid-roll is no ERROR: the next start finishes the roll, or is given that it has happened."""
    with pytest.raises(Killed):
        anyio.run(application, file, hours, at(MONDAY, (21, 0)), Killed())
    before = contents(file)
    said = refused("journal", str(file), "--resolve", "retry", "--calendar", hours)
    assert "the next start finishes the roll to 2024-03-05, or counts it as done where it is given session=2024" in said
    assert contents(file) == before
    for records, why in (([], "no session was adopted yet"), ([adopted()], "the next start goes on by itself")):
        remove(file)
        write(file, *records)
        assert why in refused("journal", str(file), "--resolve", "retry", "--calendar", hours)


def test_a_retry_that_the_cap_forbids_is_reported(file: Path, hours: str) -> None:
    """A running manager waives it for its own `recover()`, the next start does not; to mark it as done leads on."""
    write_snapshot(weekdays(n=20), hours, MONDAY, MONDAY + 30 * DAY)
    args, late = ("--calendar", hours), at(MONDAY + 21 * DAY, (17, 0))
    write(file, adopted(), failed(note="too many"))
    result = run("journal", str(file), "--resolve", "retry", *args, now=late)
    assert result.exit_code == 0
    assert "is in ERROR again: more than 10 sessions (max_catch_up_sessions)" in result.stderr
    write(file, failed(note="too many, again"))
    said = printed("journal", str(file), "--resolve", "mark-done", *args, now=late)
    assert said.splitlines()[1] == "a manager that is started now is ACTIVE in session 2024-03-25"


def test_a_decision_that_leads_nowhere_is_reported(file: Path, hours: str) -> None:
    """By the default configuration: what the service itself allows may be more."""
    write(file, adopted(), intent(MONDAY, FRIDAY), failed())
    result = run("journal", str(file), "--resolve", "skip", "--calendar", hours, now=at(FRIDAY, (17, 0)))
    assert "knows sessions from 2024-03-04 to 2024-03-08 only" in result.stderr


@pytest.mark.skipif(
    int(version("time-machine").split(".")[0]) < 3,
    reason="time-machine 2 stops the clock that it waits by",
)
def test_a_journal_that_is_held_is_left_alone(file: Path, hours: str) -> None:
    """It says by which process; so are a damaged one, one that is not there, and another calendar's."""
    write(file, adopted(), failed())
    args = ("--resolve", "retry", "--calendar", hours)

    async def held() -> str:
        holder = SqliteJournal(file)
        await holder.open("fixed")
        said = await anyio.to_thread.run_sync(
            partial(refused, "journal", str(file), *args, now=LATE)
        )  # a stopped clock would not let it wait
        await holder.close()
        return said

    said = anyio.run(held)
    assert f"is held by process {os.getpid()}" in said

    write_snapshot(type(week())(week().sessions(MONDAY, FRIDAY), name="another"), hours, MONDAY, FRIDAY)
    assert "the calendar of the journal is fixed, and another was asked for" in refused(
        "journal", str(file), *args, now=LATE
    )
    assert "no calendar is called 'fixed'" in refused("journal", str(file), "--resolve", "retry", now=LATE)

    change(file, "UPDATE session_lifecycle_record SET content = replace(content, 'full', 'void')")
    assert "is damaged at record 2" in refused("journal", str(file), *args, now=LATE)
    nowhere = file.with_name("nowhere")
    assert "No such file" in refused("journal", str(nowhere), *args, now=LATE)
    assert not nowhere.exists()
    assert "goes with neither --check nor --json" in refused("journal", str(file), *args, "--check")


def test_done_is_the_calendar_s_own_where_no_snapshot_is_given(tmp_path: Path) -> None:
    """The journal's calendar is built; `done` of an open intent needs its target only."""
    file = tmp_path / "journal"
    write(file, adopted(), intent(), failed(), calendar="XNYS")
    said = printed("journal", str(file), "--resolve", "mark-done", now=LATE)
    assert "the roll from 2024-03-04 to 2024-03-05 is done" in said
    assert done().target == TUESDAY
