"""What damage, crashes and a full disk do to a journal in SQLite: it says so, and nothing acknowledged is lost."""

import random
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from session_lifecycle import JournalCorrupt, JournalUnavailable, JournalWriteFailed, SqliteJournal
from session_lifecycle._journal import sqlite as module
from session_lifecycle._journal.sqlite_files import sides
from session_lifecycle._journal.sqlite_reading import read_journal
from tests.conftest import PLAIN, Backend
from tests.helpers.builders import MONDAY
from tests.helpers.journals import done, numbered
from tests.helpers.sqlite import answer, copied, history, keep, kept, line_of, lock_of, program

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> Backend:
    """Run on one event loop: what is tested here awaits nothing."""
    return PLAIN


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "journal").mkdir()
    return tmp_path / "journal" / "books.db"


async def left_open(path: Path, n: int) -> SqliteJournal:
    """Return an open journal whose records are in the log."""
    journal = SqliteJournal(path)
    await journal.open("XNYS")
    for record in history(n):
        await journal.append([record])
    return journal


def flipped(file: Path, byte: int, bit: int) -> None:
    content = bytearray(file.read_bytes())
    content[byte] ^= 1 << bit
    file.write_bytes(content)


def verdict(path: Path, n: int = 8) -> str:
    """Return what reading a journal says of it: "sound", with all of its `n` records, or why it is damaged."""
    try:
        reading = read_journal(path, "XNYS", integrity=True)
    except ValueError as error:
        return str(error)
    if reading.damage is not None:
        return reading.damage.why
    assert reading.records == tuple(history(n))
    return "sound"


# ---- a flipped bit ----


@pytest.mark.parametrize("where", ["database", "log"])
async def test_fault_43_any_bit_flipped(path: Path, tmp_path: Path, where: str) -> None:
    """Wherever a bit has flipped, all the records are there, or the journal says that it is damaged; never fewer."""
    journal = await left_open(path, 8)
    if where == "database":
        await journal.close()
    copy = copied(path, tmp_path / "copy")
    if where == "log":
        await journal.close()
    assert verdict(copy) == "sound"
    file = copy if where == "database" else sides(copy)[0]
    original = file.read_bytes()
    choose = random.Random(43)
    used = [byte for byte in range(len(original)) if original[byte]]
    damaged = 0
    for byte in choose.sample(used, 150):
        flipped(file, byte, choose.randrange(8))
        sides(copy)[1].unlink(missing_ok=True)
        damaged += verdict(copy) != "sound"
        file.write_bytes(original)
    sides(copy)[1].unlink(missing_ok=True)
    assert verdict(copy) == "sound"
    assert damaged > 30


async def test_fault_43_a_flipped_bit_in_the_log_does_not_open(path: Path, tmp_path: Path) -> None:
    """SQLite reads it as an earlier state, without an error: the lock has counted the records."""
    journal = await left_open(path, 8)
    copy = copied(path, tmp_path / "copy")
    await journal.close()
    log = sides(copy)[0]
    content = log.read_bytes()
    flipped(log, content.index(b"the reason 5") + 4, 0)
    with pytest.raises(JournalCorrupt, match=r"it holds \d records, and 8 had been appended") as caught:
        await SqliteJournal(copy).open("XNYS")
    assert "Restore it from a copy" in str(caught.value)
    log.write_bytes(content)
    sides(copy)[1].unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("statement", "seq", "why"),
    [
        (
            "UPDATE session_lifecycle_record SET content = replace(content, 'reason 3', 'treason') WHERE seq = 4",
            4,
            "check",
        ),
        ("UPDATE session_lifecycle_record SET entry = 'ended' WHERE seq = 2", 2, "its checksum does not match"),
        ("UPDATE session_lifecycle_record SET session = '2024-03-05' WHERE seq = 8", 8, "its checksum does not match"),
        ("UPDATE session_lifecycle_record SET seq = 20 WHERE seq = 8", 20, "its checksum does not match"),
        ("UPDATE session_lifecycle_record SET checksum = checksum + 1 WHERE seq = 1", 1, "its checksum does not match"),
        ("UPDATE session_lifecycle_record SET content = x'ff00' WHERE seq = 3", 3, "its checksum does not match"),
        ("DELETE FROM session_lifecycle_record WHERE seq = 1", 2, "1 records before it are missing"),
        ("DELETE FROM session_lifecycle_record WHERE seq IN (3, 4)", 5, "2 records before it are missing"),
        ("DELETE FROM session_lifecycle_record WHERE seq = 8", 0, "it holds 7 records, and 8 had been appended"),
        ("DELETE FROM session_lifecycle_record", 0, "it holds 0 records, and 8 had been appended"),
        ("DELETE FROM session_lifecycle_journal", 0, "it holds 0 records, and 8 had been appended"),
        ("DROP TABLE session_lifecycle_journal", 0, "it holds 0 records, and 8 had been appended"),
    ],
)
async def test_fault_43_a_record_that_was_changed_is_named(path: Path, statement: str, seq: int, why: str) -> None:
    """By its seq, with what is wrong; nothing is started, and the records are left as they are."""
    await keep(path, history(8))
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(JournalCorrupt, match=f"is damaged{f' at record {seq}' if seq else ''}: .*{why}") as caught:
            await SqliteJournal(path).open("XNYS")
        assert caught.value.seq == seq
    assert path.read_bytes() == before


async def test_fault_43_records_that_contradict_each_other_are_refused(path: Path) -> None:
    """Each of them may be whole."""
    await keep(path, numbered([*history(2), done(MONDAY.replace(day=20))]))
    with pytest.raises(JournalCorrupt, match="its records contradict each other: done for session 2024-03-20"):
        await SqliteJournal(path).open("XNYS")


async def test_fault_43_a_file_that_is_no_database_any_more_is_damaged(path: Path) -> None:
    """Where it was one with a journal, by the lock beside it."""
    await keep(path, history(2))
    path.write_bytes(b"x" * 8192)
    with pytest.raises(JournalCorrupt, match="file is not a database"):
        await SqliteJournal(path).open("XNYS")
    assert verdict(path) == "file is not a database"


async def test_a_damaged_lock_is_named(path: Path) -> None:
    """It is the lock that cannot be opened."""
    await keep(path, history(2))
    lock_of(path).write_bytes(b"x" * 8192)
    with pytest.raises(
        JournalUnavailable, match=r"the journal .*\.lock cannot be opened or read: file is not a database"
    ):
        await SqliteJournal(path).open("XNYS")


async def test_a_damaged_done_is_not_found(path: Path) -> None:
    """It is neither None nor a record."""
    journal = SqliteJournal(path)
    await journal.open("XNYS")
    record = numbered([done()], 2)[0]
    await journal.append([*history(1), record])
    connection = sqlite3.connect(path)
    connection.execute("UPDATE session_lifecycle_record SET content = '{}' WHERE seq = 2")
    connection.commit()
    connection.close()
    with pytest.raises(JournalUnavailable, match="record 2 is damaged: its checksum does not match"):
        await journal.find_done(MONDAY)
    with pytest.raises(JournalWriteFailed, match="record 2 is damaged"):
        async with journal.transaction(MONDAY, lambda: record):
            pytest.fail("the block must not be entered")
    await journal.close()


# ---- cut off ----


async def test_fault_42_cut_off_at_any_byte(path: Path, tmp_path: Path) -> None:
    """What was acknowledged before the cut is there; where something acknowledged is missing, it is damaged."""
    journal = await left_open(path, first := 20)  # by now the log grows with each append; at first it was written anew
    log = sides(path)[0]
    sizes = [log.stat().st_size]
    for record in history(first + 8)[first:]:
        await journal.append([record])
        sizes.append(log.stat().st_size)
    assert sizes == sorted({*sizes})
    copy = copied(path, tmp_path / "copy")
    await journal.close()
    whole = sides(copy)[0].read_bytes()
    without_lock = tmp_path / "without"
    without_lock.mkdir()
    choose = random.Random(42)
    cuts = {*sizes, *(size - 1 for size in sizes[1:]), *(size + 1 for size in sizes[:-1])}
    for cut in sorted({*cuts, *choose.sample(range(sizes[0], sizes[-1]), 20)}):
        acknowledged = first - 1 + sum(size <= cut for size in sizes)
        sides(copy)[0].write_bytes(whole[:cut])
        sides(copy)[1].unlink(missing_ok=True)
        assert (verdict(copy, first + 8) == "sound") == (acknowledged == first + 8)
        for tail in (b"", bytes(5_000), b"\xff" * 5_000):  # what a power cut may leave of a write that was not synced
            alone = without_lock / "books.db"
            shutil.copyfile(copy, alone)
            sides(alone)[0].write_bytes(whole[:cut] + tail)
            sides(alone)[1].unlink(missing_ok=True)
            assert read_journal(alone, "XNYS").records == tuple(history(acknowledged))


async def test_fault_41_a_power_cut_that_the_counter_survives_late(path: Path) -> None:
    """The counter is not synced: where it is behind the journal, that is no damage, and the next append raises it."""
    await keep(path, history(5))
    connection = sqlite3.connect(lock_of(path))
    connection.execute("UPDATE owner SET records = 2")
    connection.commit()
    connection.close()
    assert await kept(path) == history(5)
    connection = sqlite3.connect(lock_of(path))
    assert connection.execute("SELECT records FROM owner").fetchone() == (5,)
    connection.close()


async def test_fault_41_an_opening_syncs_what_it_returns(path: Path, tmp_path: Path) -> None:
    """What a process that was killed had written and not synced is in the database itself before it is relied on."""
    journal = await left_open(path, 3)
    copy = copied(path, tmp_path / "copy")
    await journal.close()
    reopened = SqliteJournal(copy)
    assert await reopened.open("XNYS") == tuple(history(3))
    alone = copied(copy, tmp_path / "alone", lock=False)
    sides(alone)[0].unlink()
    await reopened.close()
    assert read_journal(alone, "XNYS").records == tuple(history(3))


# ---- killed ----

WRITER = """
import sqlite3, sys
import anyio
from msgspec.structs import replace
from session_lifecycle import SqliteJournal
from tests.helpers.builders import DAY, MONDAY
from tests.helpers.journals import adopted, done, failed

async def main():
    books = sqlite3.connect(sys.argv[1])
    books.execute("CREATE TABLE IF NOT EXISTS books (day TEXT UNIQUE)")
    books.commit()
    books.close()
    journal = SqliteJournal(sys.argv[1])
    records = await journal.open("XNYS")
    seq = records[-1].seq if records else 0
    if not records:
        seq += 1
        await journal.append([replace(adopted(), seq=seq)])
    day = max((record.target for record in records if record.target), default=MONDAY)
    print("ready", flush=True)
    while True:
        await journal.append([replace(failed(day, note=str(seq)), seq=(seq := seq + 1))])
        print("appended", seq, flush=True)
        record = replace(done(day), seq=(seq := seq + 1))
        async with journal.transaction(day, lambda: record) as connection:
            connection.execute("INSERT INTO books VALUES (?)", (str(day),))
        print("rolled", seq, flush=True)
        day += DAY

anyio.run(main)
"""


async def test_fault_40_nothing_acknowledged_is_lost_by_a_kill(path: Path) -> None:
    """A writer is killed at random, again and again: what it has announced is there, and each roll with its books."""
    choose = random.Random()
    acknowledged = 0
    for _ in range(6):
        with program(WRITER, path) as writer:
            assert line_of(writer) == "ready"
            for _ in range(choose.randrange(1, 12)):
                acknowledged = int(line_of(writer).split()[1])
            writer.kill()
            assert writer.stdout is not None
            for line in writer.stdout:
                if line.endswith("\n"):
                    acknowledged = int(line.split()[1])
            writer.wait()
        reading = read_journal(path)
        assert reading.damage is None
        records = await kept(path)
        assert [record.seq for record in records] == list(range(1, len(records) + 1))
        assert acknowledged <= len(records) <= acknowledged + 1
        connection = sqlite3.connect(path)
        books = [day for (day,) in connection.execute("SELECT day FROM books ORDER BY day")]
        connection.close()
        assert books == [f"{record.session}" for record in records if record.entry.value == "done"]


# ---- a full or broken disk ----


async def test_fault_44_a_full_disk_is_definite(path: Path) -> None:
    """None of the records is there; when there is room again, the same append succeeds."""
    journal = await left_open(path, 2)
    assert journal._connection is not None
    (pages,) = journal._connection.execute("PRAGMA page_count").fetchone()
    journal._connection.execute(f"PRAGMA max_page_count = {pages}")
    rest = history(400)[2:]
    with pytest.raises(JournalWriteFailed, match="database or disk is full") as caught:
        await journal.append(rest)
    assert not caught.value.uncertain
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    journal._connection.execute("PRAGMA max_page_count = 100000")
    await journal.append(rest)
    await journal.close()
    assert await kept(path) == history(400)


LIMITED = """
import resource, signal, sys
import anyio
from session_lifecycle import JournalWriteFailed, SqliteJournal
from session_lifecycle._journal.sqlite_files import sides
from tests.helpers.sqlite import history
from pathlib import Path

async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    path = Path(sys.argv[1])
    journal = SqliteJournal(path)
    await journal.open("XNYS")
    for record in history(20):
        await journal.append([record])
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (sides(path)[0].stat().st_size + 100, hard))
    try:
        await journal.append(history(21))
    except JournalWriteFailed as error:
        print("failed", error.uncertain, flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await journal.append(history(21))
    print("appended", flush=True)
    sys.stdin.readline()
    await journal.close()

anyio.run(main)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit of a file's size")
async def test_fault_44_a_write_that_fails_is_uncertain(path: Path) -> None:
    """The log may hold it, for the next process to find; the same append settles it."""
    with program(LIMITED, path) as writer:
        assert line_of(writer) == "failed True"
        assert line_of(writer) == "appended"
        answer(writer)
        writer.wait()
    assert await kept(path) == history(21)


class Failing(sqlite3.Connection):
    """A connection whose COMMIT, and whose ROLLBACK if wanted, fail."""

    error: sqlite3.Error | None = None
    late = False
    stuck = False

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        if statement == "COMMIT" and self.error is not None:
            if self.late:
                super().execute(statement)
            raise self.error
        return super().execute(statement, *parameters)

    def rollback(self) -> None:
        if self.stuck and self.in_transaction:
            raise sqlite3.OperationalError("disk I/O error")
        super().rollback()


def failure(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("as made up")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "late", "stuck", "uncertain"),
    [
        (sqlite3.SQLITE_FULL, False, False, False),
        (sqlite3.SQLITE_FULL, False, True, True),
        (sqlite3.SQLITE_IOERR_FSYNC, False, False, True),
        (sqlite3.SQLITE_IOERR_FSYNC, True, False, True),
        (sqlite3.SQLITE_IOERR_WRITE, False, False, True),
    ],
)
async def test_fault_45_a_commit_that_fails(  # noqa: PLR0917 -- the table's columns
    path: Path, code: int, late: bool, stuck: bool, uncertain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Definite after a rollback, unless the log may hold it; the same records again find out, and are there once."""
    connect = sqlite3.connect

    def failing(*args: Any, **options: Any) -> sqlite3.Connection:
        return connect(*args, **options, factory=Failing)

    monkeypatch.setattr(module.sqlite3, "connect", failing)
    journal = await left_open(path, 2)
    connection = journal._connection
    assert isinstance(connection, Failing)
    connection.error, connection.late, connection.stuck = failure(code), late, stuck
    for _ in range(1 if stuck else 2):
        with pytest.raises(JournalWriteFailed, match="as made up") as caught:
            await journal.append(history(4)[2:])
        assert caught.value.uncertain is uncertain
        if late:
            connection.error = None
            break
    connection.error, connection.stuck = None, False
    if stuck:
        connection.rollback()
    await journal.append(history(4)[2:])
    await journal.append(history(5)[4:])
    await journal.close()
    assert await kept(path) == history(5)


async def test_fault_45_a_lock_that_cannot_be_written_is_uncertain(path: Path) -> None:
    """The record is in the journal; that it is counted is not known, and the next append counts it."""
    journal = await left_open(path, 1)
    lock = journal._lock
    assert lock is not None
    lock._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(JournalWriteFailed, match="it is in the database, and its lock could not be written") as caught:
        await journal.append(history(2))
    assert caught.value.uncertain
    lock._connection.execute("PRAGMA query_only = OFF")
    await journal.append(history(2))
    await journal.close()
    assert await kept(path) == history(2)


async def test_fault_45_what_is_in_doubt_stays_so_until_it_is_appended(path: Path) -> None:
    """A second try that certainly writes nothing does not say that the first has not: here it has."""
    journal = await left_open(path, 1)
    lock, connection = journal._lock, journal._connection
    assert lock is not None
    assert connection is not None
    lock._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(JournalWriteFailed, match="its lock could not be written"):
        await journal.append(history(2))
    lock._connection.execute("PRAGMA query_only = OFF")
    connection.execute("PRAGMA query_only = ON")
    with pytest.raises(JournalWriteFailed, match="readonly") as caught:
        await journal.append(history(2))
    assert caught.value.uncertain
    with pytest.raises(JournalWriteFailed, match="readonly") as caught:
        await journal.append(history(3)[2:])
    assert not caught.value.uncertain
    connection.execute("PRAGMA query_only = OFF")
    await journal.append(history(3))
    await journal.close()
    assert await kept(path) == history(3)


async def test_a_lock_that_another_process_has_taken_is_noticed(path: Path) -> None:
    """Where the lock was lost in between, nothing is written; where nobody has had it, it is taken again."""
    journal = await left_open(path, 1)
    lock = journal._lock
    assert lock is not None
    lock.release()
    other = sqlite3.connect(lock_of(path), isolation_level=None, timeout=0)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(JournalWriteFailed, match="another process has taken the lock") as caught:
        await journal.append(history(2))
    assert not caught.value.uncertain
    other.execute("ROLLBACK")
    await journal.append(history(2))
    lock.release()
    other.execute("UPDATE owner SET token = 'another'")
    other.close()
    with pytest.raises(JournalWriteFailed, match="another process has taken the lock"):
        await journal.append(history(3))
    await journal.close()
    assert await kept(path) == history(2)
