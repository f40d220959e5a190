"""The journal in SQLite: what is written comes back, one holder at a time, and the application writes beside it."""

import copy
import json
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta, timezone
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

from session_lifecycle import (
    Journal,
    JournalLocked,
    JournalMismatch,
    JournalUnavailable,
    JournalWriteFailed,
    MemoryJournal,
    SqliteJournal,
)
from session_lifecycle._journal import sqlite, sqlite_tables
from session_lifecycle._journal.base import TransactionalJournal
from session_lifecycle.testing.journals import check_journal
from tests.helpers.harness import cancelled_once_it_waits
from tests.helpers.journals import ONE_OF_EACH
from tests.helpers.ledger import until
from tests.helpers.sqlite import HOLD, answer, history, keep, kept, line_of, lock_of, program

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "books.db"


# ---- what is written comes back ----


@pytest.mark.costly
async def test_it_keeps_the_rules_of_the_port(path: Path) -> None:
    """Every rule of a journal, and of one with transactions; under a name, another calendar is a mismatch."""
    assert isinstance(SqliteJournal(path), Journal)
    assert isinstance(SqliteJournal(path), TransactionalJournal)
    await check_journal(lambda: SqliteJournal(path))
    await check_journal(lambda: SqliteJournal(path, "desk"))


async def test_the_journal_in_memory_keeps_the_rules_of_the_port() -> None:
    """It is one handle, which is closed and opened again."""
    journal = MemoryJournal()
    assert not isinstance(journal, TransactionalJournal)
    await check_journal(lambda: journal)


async def test_every_kind_of_record_comes_back(path: Path) -> None:
    """Each kind of record is read again as it was written, texts of any characters included."""
    await keep(path, ONE_OF_EACH)
    assert await kept(path) == ONE_OF_EACH


async def test_a_person_can_read_it(path: Path) -> None:
    """Two tables with a prefix; kinds and dates are columns, the rest is JSON."""
    await keep(path, ONE_OF_EACH)
    connection = sqlite3.connect(path)
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    rows = connection.execute("SELECT entry, session, content FROM session_lifecycle_record").fetchall()
    connection.close()
    assert tables == [("session_lifecycle_journal",), ("session_lifecycle_record",)]
    assert rows[1] == (
        "ended",
        "2024-03-04",
        '{"at": "2024-03-04T21:30:00.123456+00:00", "note": "the desk goes home"}',
    )


def test_the_content_of_a_row_is_what_the_record_says() -> None:
    """Each field that has a value and no column, as plain JSON values, in the record's order."""
    west = timezone(timedelta(hours=-5))
    abroad = ("at", "open", "close")
    for record in ONE_OF_EACH:
        instants = {name: instant.astimezone(west) for name in abroad if (instant := getattr(record, name))}
        plain = {name: value for name, value in record.as_dict().items() if value}
        content = json.dumps({name: plain[name] for name in plain if name not in ("entry", "session", "seq")})
        for each in (record, replace(record, **instants)):
            assert sqlite_tables.row_of("XNYS", 1, each)[5] == content


@pytest.mark.parametrize("calendar", ["XNYS", "", "a desk's own, 24/7 ☃\n", "../../etc/passwd", "x" * 500])
async def test_any_name_of_a_calendar(path: Path, calendar: str) -> None:
    """The calendar's name may have any characters; its lock stands beside the database all the same."""
    await keep(path, history(2), calendar=calendar)
    assert await kept(path, calendar=calendar) == history(2)
    assert {file.parent for file in path.parent.iterdir()} == {path.parent}
    assert lock_of(path, calendar).is_file()


async def test_several_journals_in_one_database(path: Path) -> None:
    """One for each name, by default the calendar's; they are held at the same time, and know nothing of each other."""
    first, second, third = SqliteJournal(path), SqliteJournal(path), SqliteJournal(path, "desk")
    assert await first.open("XNYS") == await second.open("XLON") == await third.open("XNYS") == ()
    await first.append(history(3))
    await second.append(history(2))
    await third.append(history(1))
    for journal in (first, second, third):
        await journal.close()
    assert await kept(path) == history(3)
    assert await kept(path, calendar="XLON") == history(2)
    assert await kept(path, name="desk") == history(1)


async def test_names_that_look_alike_have_locks_of_their_own(path: Path) -> None:
    """Characters that a file's name should not have are replaced, and the names are still told apart."""
    names = ["a/b", "a_b", "a\\b", "a b", "A_b"]
    assert len({lock_of(path, name) for name in names}) == len(names)


async def test_its_path_shows() -> None:
    """A journal shows its path, and takes it as text too."""
    assert repr(SqliteJournal("a/j")) == "<SqliteJournal 'a/j'>"
    assert repr(SqliteJournal(Path("a/j"), "desk")) == "<SqliteJournal 'a/j', 'desk'>"
    with pytest.raises(TypeError, match="name must be a text, or None for the calendar's, not 5"):
        SqliteJournal("j", 5)


async def test_it_cannot_be_copied(path: Path) -> None:
    """A copy would share the connection, and close it under its owner."""
    journal = SqliteJournal(path)
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(
            TypeError, match="cannot be copied or pickled: make another SqliteJournal with the same path"
        ):
            duplicate(journal)


async def test_it_is_synced_at_each_commit(path: Path) -> None:
    """The connections that write are in WAL mode with full syncs, those of transactions too."""
    journal = SqliteJournal(path)
    await journal.open("XNYS")
    await journal.append(history(1))
    assert journal._connection is not None
    async with journal.transaction(history(1)[0].session, lambda: history(2)[1]) as connection:
        for each in (connection, journal._connection):
            assert each is not None
            assert each.execute("PRAGMA synchronous").fetchone() == (2,)
            assert each.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    await journal.close()


# ---- one holder ----


@pytest.mark.costly
async def test_fault_46_another_process_is_refused(path: Path) -> None:
    """While one process holds it another is refused, with the holder's pid and start; once it is closed, no more."""
    with program(HOLD, path) as holder:
        assert line_of(holder) == "held"
        for _ in range(2):
            with pytest.raises(
                JournalLocked, match=f"held by process {holder.pid} since 20.* UTC: one manager"
            ) as caught:
                await SqliteJournal(path).open("XNYS")
            assert (caught.value.journal, caught.value.pid) == (str(path), holder.pid)
            assert caught.value.since is not None
            assert "A standby that takes over needs a journal in PostgreSQL" in str(caught.value)
        answer(holder)
        assert line_of(holder) == "freed"
        assert await kept(path) == []


@pytest.mark.costly
async def test_fault_46_a_holder_that_is_killed_frees_it(path: Path) -> None:
    """After kill -9 of its holder it can be opened, and the next one refused is told the new holder's pid."""
    with program(HOLD, path) as holder:
        assert line_of(holder) == "held"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        journal = SqliteJournal(path)
        assert await journal.open("XNYS") == ()
        with pytest.raises(JournalLocked) as caught:
            await SqliteJournal(path).open("XNYS")
        assert caught.value.pid == os.getpid()
        await journal.close()


async def test_fault_46_a_second_journal_of_this_process_is_refused(path: Path) -> None:
    """Another object on the same file is refused with this process's own pid, and so is the same one again; the holder
    goes on, and after its close the other can have it."""
    first, second = SqliteJournal(path), SqliteJournal(path)
    await first.open("XNYS")
    for journal in (second, first):
        with pytest.raises(JournalLocked) as caught:
            await journal.open("XNYS")
        assert caught.value.pid == os.getpid()
    await first.append(history(1))
    await second.close()
    with pytest.raises(JournalLocked):
        await second.open("XNYS")
    await first.close()
    await first.close()
    assert await second.open("XNYS") == tuple(history(1))
    await second.close()


RACE = """
import sys, anyio
from session_lifecycle import JournalLocked, SqliteJournal

async def main():
    journal = SqliteJournal(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        await journal.open("XNYS")
    except JournalLocked as error:
        print("refused", error.pid, flush=True)
    else:
        print("held", flush=True)
    sys.stdin.readline()

anyio.run(main)
"""


@pytest.mark.costly
async def test_fault_46_of_several_at_once_one_gets_it(path: Path) -> None:
    """Processes that open it at the same moment: one holds it, and the others are refused."""
    with program(RACE, path) as one, program(RACE, path) as two, program(RACE, path) as three:
        for process in (one, two, three):
            assert line_of(process) == "ready"
        for process in (one, two, three):
            answer(process)
        results = [line_of(process).split()[0] for process in (one, two, three)]
        assert sorted(results) == ["held", "refused", "refused"]


INTRUDE = """
import os, sys, threading, anyio
from session_lifecycle import JournalLocked, SqliteJournal
from session_lifecycle._journal.sqlite_lock import OwnerLock

take, notes = OwnerLock.take, os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND)

def noted(lock):
    taken = take(lock)
    os.write(notes, b"x")
    return taken

async def main():
    OwnerLock.take = noted
    asked = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), asked.set()), daemon=True).start()
    tries, last = 0, False
    while not last:
        last = asked.is_set()
        try:
            await SqliteJournal(sys.argv[1]).open("XNYS")
        except JournalLocked:
            tries += 1
        else:
            print("stolen", 0, flush=True)
            return
        if tries == 1:
            print("refused", flush=True)
    print("tried", tries, flush=True)

anyio.run(main)
"""


@pytest.mark.costly
async def test_fault_46_no_append_lets_another_process_in(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is given up for a moment of each append, in which another process still cannot take the journal."""
    journal = SqliteJournal(path)
    await journal.open("XNYS")
    lock, before_long = journal._lock, sqlite._before_long
    assert lock is not None
    moments, notes = 0, path.with_name("attempts")
    notes.touch()

    async def until_it_has_tried() -> None:
        attempts = notes.stat().st_size
        await until(lambda: notes.stat().st_size >= attempts + 2)  # the second has begun after this

    async def late(attempt: Callable[[], bool], pause: float) -> bool:
        nonlocal moments
        if not lock.taken:
            moments += 1
            with anyio.CancelScope(shield=True):
                await until_it_has_tried()
        return await before_long(attempt, pause)

    with monkeypatch.context() as patch, program(INTRUDE, path, notes) as intruder:
        patch.setattr(sqlite, "_before_long", late)
        assert line_of(intruder) == "refused"
        for record in history(5):
            await journal.append([record])
            await until_it_has_tried()
        answer(intruder)
        result, tries = line_of(intruder).split()
    with pytest.raises(JournalLocked) as caught:
        await SqliteJournal(path).open("XNYS")
    assert caught.value.pid == os.getpid()
    await journal.close()
    assert (result, int(tries) > 1) == ("tried", True)
    assert moments == 5
    assert await kept(path) == history(5)


# ---- whose it is ----


async def test_fault_47_another_calendar_is_refused(path: Path) -> None:
    """The journal of another calendar is refused, both are named, and it is neither changed nor held."""
    await keep(path, history(3), name="desk")
    with pytest.raises(JournalMismatch, match="the calendar of the journal is XNYS, and XLON was asked for") as caught:
        await SqliteJournal(path, "desk").open("XLON")
    assert (caught.value.found, caught.value.wanted) == ("XNYS", "XLON")
    assert await kept(path, name="desk") == history(3)


@pytest.mark.parametrize("version", [0, 2, "1", -1])
async def test_fault_47_an_unknown_version_is_refused(path: Path, version: object) -> None:
    """A version that this library does not know is refused, both are named, and the records are left as they are."""
    await keep(path, history(2))
    change(path, "UPDATE session_lifecycle_journal SET version = ?", version)
    if version == "1":  # the column's affinity makes a number of it
        assert await kept(path) == history(2)
        return
    with pytest.raises(JournalMismatch, match=f"the version of the journal is {version}, and 1 was asked for"):
        await SqliteJournal(path).open("XNYS")
    change(path, "UPDATE session_lifecycle_journal SET version = ?", 1)
    assert await kept(path) == history(2)


async def test_fault_47_an_unknown_version_of_the_lock_is_refused(path: Path) -> None:
    """A later release may count differently."""
    await keep(path, history(2))
    change(lock_of(path), "PRAGMA user_version = 7")
    with pytest.raises(
        JournalMismatch, match=r"the version of the lock .*\.lock of the journal is 7, and 1 was asked for"
    ):
        await SqliteJournal(path).open("XNYS")


async def test_the_application_s_own_version_is_left_alone(path: Path) -> None:
    """`user_version` of the database belongs to the application's tables."""
    change(path, "PRAGMA user_version = 42")
    await keep(path, history(2))
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (42,)
    connection.close()


async def test_a_lock_of_another_name_is_refused(path: Path) -> None:
    """Where a file system takes two names for one, the second journal must not count on the first one's lock."""
    await keep(path, history(2))
    change(lock_of(path), "UPDATE owner SET journal = 'xnys'")
    with pytest.raises(JournalUnavailable, match=r"its lock .* is that of 'xnys', whose name differs in case only"):
        await SqliteJournal(path).open("XNYS")


def change(path: Path, statement: str, *parameters: object) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement, parameters)
    connection.commit()
    connection.close()


# ---- open, closed ----


async def test_append_needs_it_open(path: Path) -> None:
    """What is appended before the opening or after the close is refused, and does not count."""
    journal = SqliteJournal(path)
    with pytest.raises(JournalWriteFailed, match=r"'adopted' could not be written.* the journal is not open") as caught:
        await journal.append(history(1))
    assert not caught.value.uncertain
    assert list(path.parent.iterdir()) == []
    with pytest.raises(JournalUnavailable, match="it is not open"):
        await journal.find_done(history(1)[0].session)
    await journal.close()
    await journal.open("XNYS")
    await journal.append(history(1))
    await journal.close()
    await journal.close()
    with pytest.raises(JournalWriteFailed, match="not open"):
        await journal.append(history(2))
    assert await journal.open("XNYS") == tuple(history(1))
    await journal.append(history(2))
    await journal.close()
    assert await kept(path) == history(2)


async def test_a_closed_journal_leaves_the_database_and_its_lock(path: Path) -> None:
    """The logs and their indexes are gone."""
    await keep(path, history(5))
    assert {file.name for file in path.parent.iterdir()} == {path.name, lock_of(path).name}


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to count descriptors")
async def test_no_descriptor_is_left_open(path: Path) -> None:
    """Openings, appends, transactions, refusals and closings leave no descriptor behind."""

    def descriptors() -> int:
        links = [fd.readlink() for fd in Path("/proc/self/fd").iterdir() if fd.exists()]
        return sum(path.parent in link.parents for link in links)

    first, second = history(2)
    await keep(path, [first], name="desk")
    journal = SqliteJournal(path, "desk")
    await journal.open("XNYS")
    assert descriptors() == 6
    for _ in range(5):
        with pytest.raises(JournalLocked):
            await SqliteJournal(path, "desk").open("XNYS")
        await journal.append([second])
        with pytest.raises(KeyError):
            async with journal.transaction(first.session, lambda: second):
                raise KeyError
    assert descriptors() <= 6 + 2  # SQLite keeps two for the next connections, lest their close ends its locks
    await journal.close()
    assert descriptors() == 0
    for _ in range(3):
        with pytest.raises(JournalMismatch):
            await SqliteJournal(path, "desk").open("XLON")
    assert descriptors() == 0


# ---- the application beside it ----


async def test_the_application_writes_beside_it(path: Path) -> None:
    """Its own connection reads and writes the same database; an append waits while that is writing."""
    books = sqlite3.connect(path, isolation_level=None)
    books.execute("CREATE TABLE books (n INTEGER)")
    journal = SqliteJournal(path)
    await journal.open("XNYS")
    books.execute("BEGIN IMMEDIATE")
    books.execute("INSERT INTO books VALUES (1)")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(journal.append, history(2))
        await anyio.wait_all_tasks_blocked()
        assert books.execute("SELECT count(*) FROM session_lifecycle_record").fetchone() == (0,)
        books.execute("COMMIT")
    assert books.execute("SELECT count(*) FROM session_lifecycle_record").fetchone() == (2,)
    books.execute("INSERT INTO books VALUES (2)")
    books.close()
    await journal.close()
    assert await kept(path) == history(2)


async def test_an_append_that_waits_can_be_cancelled(path: Path) -> None:
    """While the application is writing; nothing is written then, nor left behind, and the same records come again."""
    journal = SqliteJournal(path)
    await journal.open("XNYS")
    books = sqlite3.connect(path, isolation_level=None)
    books.execute("BEGIN IMMEDIATE")

    async def roll() -> None:
        async with journal.transaction(history(1)[0].session, lambda: history(2)[1]):
            pytest.fail("the application is writing")

    assert await cancelled_once_it_waits(journal.append, history(2))
    assert await cancelled_once_it_waits(roll)
    books.execute("ROLLBACK")
    books.close()
    await journal.append(history(2))
    await journal.append(history(3))
    await journal.close()
    assert await kept(path) == history(3)


async def test_an_append_does_not_wait_for_the_counter_indefinitely(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that is durable is acknowledged although the application writes on and on; the next append counts it."""
    monkeypatch.setattr("session_lifecycle._journal.sqlite._COUNTER_WAIT", 0.05)
    books = sqlite3.connect(path, isolation_level=None, timeout=0)
    books.execute("CREATE TABLE books (n INTEGER)")
    journal = SqliteJournal(path)
    await journal.open("XNYS")
    raise_counter = journal._raise_counter

    async def while_the_application_writes(*args: object) -> None:
        books.execute("BEGIN IMMEDIATE")
        await raise_counter(*args)
        books.execute("COMMIT")

    monkeypatch.setattr(journal, "_raise_counter", while_the_application_writes)
    await journal.append(history(1))
    assert counted(path) == 0
    monkeypatch.setattr(journal, "_raise_counter", raise_counter)
    await journal.append(history(2))
    assert counted(path) == 2
    books.close()
    await journal.close()


def counted(path: Path) -> int:
    connection = sqlite3.connect(lock_of(path))
    (records,) = connection.execute("SELECT records FROM owner").fetchone()
    connection.close()
    return int(records)


IMPORT = """
import sys, session_lifecycle
print("sqlite3" in sys.modules)
session_lifecycle.SqliteJournal
print("sqlite3" in sys.modules)
"""


def test_the_import_costs_nothing() -> None:
    """sqlite3 is imported with the journal's own name only."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}  # which imports it
    done = subprocess.run([sys.executable, "-c", IMPORT], env=bare, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
