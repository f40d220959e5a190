"""The files of a journal in SQLite: what is refused, what is noticed, and what a fork does."""

import os
import socket
import sqlite3
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from session_lifecycle import JournalCorrupt, JournalLocked, JournalUnavailable, JournalWriteFailed, SqliteJournal
from session_lifecycle._journal import sqlite_files, sqlite_tables
from tests.conftest import PLAIN, Backend
from tests.helpers.journals import done, numbered
from tests.helpers.sqlite import all_files, history, keep, kept, line_of, lock_of, program

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> Backend:
    """Run on one event loop: what is tested here awaits nothing."""
    return PLAIN


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "books.db"


# ---- a file that is not the one that was opened any more ----


def deleted(file: Path) -> None:
    file.unlink()


def renamed(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))


def replaced(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(b"")
    other.rename(file)


WAYS = {
    deleted: "was deleted or renamed while the journal was open",
    renamed: "was deleted or renamed while the journal was open",
    replaced: "was replaced by another file while the journal was open",
}


@pytest.mark.parametrize("which", range(6), ids=["database", "wal", "shm", "lock", "lock-wal", "lock-shm"])
@pytest.mark.parametrize("way", WAYS)
async def test_fault_55_a_file_that_is_gone_is_noticed(path: Path, which: int, way: Callable[[Path], None]) -> None:
    """By the next append and by the next transaction, as uncertain, whichever file of the journal it is."""
    journal = SqliteJournal(path)
    await journal.open("XNYS")
    await journal.append(history(1))
    file = all_files(path)[which]
    way(file)
    for _ in range(2):
        with pytest.raises(JournalWriteFailed) as caught:
            await journal.append(history(2))
        assert caught.value.uncertain
        assert f"{file} {WAYS[way]}" in str(caught.value)
    with pytest.raises(JournalWriteFailed) as caught:
        async with journal.transaction(history(1)[0].session, lambda: history(2)[1]):
            pytest.fail("the block must not be entered")
    assert caught.value.uncertain
    await journal.close()


@pytest.mark.parametrize("which", range(6), ids=["database", "wal", "shm", "lock", "lock-wal", "lock-shm"])
async def test_fault_55_a_file_that_goes_during_the_append_is_noticed(
    path: Path, which: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite commits into a file without a name: the append checks again after that."""
    journal = SqliteJournal(path)
    await journal.open("XNYS")
    await journal.append(history(1))
    insert = sqlite_tables.insert

    def late(*args: object) -> int:
        all_files(path)[which].unlink()
        return insert(*args)

    monkeypatch.setattr(sqlite_tables, "insert", late)
    with pytest.raises(JournalWriteFailed, match="was deleted or renamed") as caught:
        await journal.append(history(2))
    assert caught.value.uncertain
    await journal.close()


async def test_fault_55_a_file_that_goes_during_the_block_is_noticed(path: Path) -> None:
    """*done* is not written into a file without a name."""
    journal = SqliteJournal(path)
    await journal.open("XNYS")
    record = numbered([done()], 1)[0]
    with pytest.raises(JournalWriteFailed, match="was deleted or renamed") as caught:
        async with journal.transaction(record.session, lambda: record):
            deleted(path)
    assert caught.value.uncertain
    await journal.close()


async def test_fault_55_a_journal_that_was_deleted_is_not_begun_anew(path: Path) -> None:
    """Its lock still counts the records; where it is meant, the lock is removed too."""
    await keep(path, history(5))
    path.unlink()
    wanted = rf"it holds 0 records, and 5 had been appended.* remove .*{lock_of(path).name} too"
    with pytest.raises(JournalCorrupt, match=wanted) as caught:
        await SqliteJournal(path).open("XNYS")
    assert caught.value.seq == 0
    lock_of(path).unlink()
    assert await kept(path) == []


async def test_fault_55_an_older_copy_in_its_place_is_noticed(path: Path) -> None:
    """A journal that is behind what was appended has lost records; a copy that is meant is used without the lock."""
    await keep(path, history(3))
    older = path.read_bytes()
    await keep(path, history(5))
    path.write_bytes(older)
    with pytest.raises(JournalCorrupt, match="it holds 3 records, and 5 had been appended"):
        await SqliteJournal(path).open("XNYS")
    lock_of(path).unlink()
    assert await kept(path) == history(3)


# ---- paths ----


async def test_fault_56_a_link_is_resolved_once(path: Path, tmp_path: Path) -> None:
    """Two links are one journal with one lock, which stands beside the file itself; a link stays a link."""
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "real.db"
    path.symlink_to(file)
    other = tmp_path / "other.db"
    other.symlink_to(path)
    journal = SqliteJournal(path)
    await journal.open("XNYS")
    await journal.append(history(2))
    assert lock_of(file).is_file()
    assert path.is_symlink()
    for same in (other, file):
        with pytest.raises(JournalLocked):
            await SqliteJournal(same).open("XNYS")
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere.db")
    await journal.append(history(3))
    await journal.close()
    assert await kept(file) == history(3)


async def test_fault_56_a_relative_path_survives_chdir(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is resolved when the journal is opened."""
    monkeypatch.chdir(tmp_path)
    journal = SqliteJournal(path.name)
    await journal.open("XNYS")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    await journal.append(history(2))
    record = numbered([done()], 3)[0]
    async with journal.transaction(record.session, lambda: record):
        pass
    await journal.close()
    assert list(Path.cwd().iterdir()) == []
    assert await kept(path) == [*history(2), record]


def a_directory(path: Path) -> str | Path:
    path.mkdir()
    return path


def a_fifo(path: Path) -> str | Path:
    os.mkfifo(path)
    return path


def a_socket(path: Path) -> str | Path:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
    return path


def a_loop(path: Path) -> str | Path:
    path.symlink_to(path)
    return path


def a_text(path: Path) -> str | Path:
    path.write_text("not a database " * 1_000)
    return path


def with_two_names(path: Path) -> str | Path:
    sqlite3.connect(path).close()
    path.touch()
    path.with_name("backup").hardlink_to(path)
    return path


def with_a_planted_log(path: Path) -> str | Path:
    path.touch()
    path.with_name(f"{path.name}-wal").symlink_to(path.with_name("precious"))
    return path


def with_a_planted_lock(path: Path) -> str | Path:
    lock_of(path).symlink_to(path.with_name("precious"))
    return path


def with_a_fifo_for_its_lock(path: Path) -> str | Path:
    os.mkfifo(lock_of(path))
    return path


REFUSED: dict[Callable[[Path], str | Path], str] = {
    a_directory: "it is a directory, not a regular file",
    a_fifo: "it is a FIFO, not a regular file",
    a_socket: "it is a socket, not a regular file",
    a_loop: "Too many levels of symbolic links",
    a_text: "file is not a database",
    with_two_names: r"has 2 names \(hard links\)",
    with_a_planted_log: "books.db-wal is a symbolic link, not a regular file",
    with_a_planted_lock: r"\.lock is a symbolic link, not a regular file",
    with_a_fifo_for_its_lock: r"\.lock is a FIFO, not a regular file",
    lambda _: "/dev/zero": "it is a device, not a regular file",
    lambda _: "/dev/null": "it is a device, not a regular file",
    lambda path: path / "no" / "folder": "there is no folder",
    lambda _: "": "it is not the path of a file; give one, or use MemoryJournal",
    lambda _: ":memory:": "it is not the path of a file; give one, or use MemoryJournal",
    lambda _: "file:books?mode=memory": "it is not the path of a file; give one, or use MemoryJournal",
    lambda _: "a\0b": "embedded null",
}


@pytest.mark.parametrize(("made", "words"), REFUSED.items(), ids=[f"{words[:20]}" for words in REFUSED.values()])
async def test_fault_56_what_cannot_be_a_journal_is_refused(
    path: Path, tmp_path: Path, made: Callable[[Path], str | Path], words: str
) -> None:
    """With a sentence that says why, at once, and nothing is created, overwritten or held."""
    wanted = made(path)
    before = {file.name: file.lstat().st_mtime_ns for file in tmp_path.iterdir()}
    for _ in range(2):
        with pytest.raises(JournalUnavailable, match=words):
            await SqliteJournal(wanted).open("XNYS")
    after = {file.name: file.lstat().st_mtime_ns for file in tmp_path.iterdir()}
    after.pop(path.name if path.name not in before else "", None)  # the database itself, where its lock was refused
    assert after == before


async def test_fault_56_a_file_system_that_cannot_keep_it_is_refused(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system, by the table of mounts; and a folder that cannot be synced."""
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    line = f"36 35 {os.major(device)}:{os.minor(device)} / {tmp_path} rw,noatime shared:1 - {{}} server:/ rw\n"
    monkeypatch.setattr(sqlite_files, "_MOUNTS", mounts)
    for system in ("nfs4", "cifs", "fuse.sshfs"):
        mounts.write_text(line.format(system))
        with pytest.raises(JournalUnavailable, match=rf"on a network file system \({system}\)"):
            await SqliteJournal(path).open("XNYS")
    mounts.write_text(line.format("ext4"))
    assert await kept(path) == []
    mounts.unlink()
    assert await kept(path) == []

    def refused(fd: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refused)
    with pytest.raises(JournalUnavailable, match="cannot be synced: Invalid argument"):
        await SqliteJournal(path).open("XNYS")


async def test_fault_56_what_sqlite_cannot_keep_in_wal_mode_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the journal mode stays another, as it does on file systems without shared memory."""
    monkeypatch.setattr(sqlite_files, "resolved", lambda _: Path(":memory:"))
    with pytest.raises(JournalUnavailable, match="SQLite cannot write ahead there: the journal mode stays 'memory'"):
        await SqliteJournal(path).open("XNYS")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
async def test_fault_56_a_file_that_cannot_be_written_is_refused(path: Path) -> None:
    """Its permissions are the system's to give."""
    await keep(path, history(1))
    path.chmod(0o400)
    with pytest.raises(JournalUnavailable, match="readonly"):
        await SqliteJournal(path).open("XNYS")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
async def test_fault_56_owner_and_mode_stay(path: Path, mode: int) -> None:
    """Every file beside the database has its mode, and where root opens it, its owner."""
    sqlite3.connect(path).close()
    path.touch()
    path.chmod(mode)
    owner = os.geteuid()
    if owner == 0:
        owner = 12_345
        os.chown(path, owner, owner)
    for number in range(2):
        journal = SqliteJournal(path)
        await journal.open("XNYS")
        await journal.append(history(number + 1))
        for file in all_files(path):
            found = file.stat()
            assert (stat.S_IMODE(found.st_mode), found.st_uid) == (mode, owner), file
        await journal.close()
    assert {(stat.S_IMODE(file.stat().st_mode), file.stat().st_uid) for file in path.parent.iterdir()} == {
        (mode, owner)
    }


async def test_a_name_that_sqlite_cannot_store_is_refused(path: Path) -> None:
    """Half of a pair of surrogates has no UTF-8."""
    with pytest.raises(JournalUnavailable, match=r"SQLite cannot store the name '\\udcff'"):
        await SqliteJournal(path, "\udcff").open("XNYS")
    with pytest.raises(JournalUnavailable, match=r"SQLite cannot store the name '\\udcff'"):
        await SqliteJournal(path, "desk").open("\udcff")


# ---- fork ----

FORK = """
import anyio, os, sys, time
from session_lifecycle import JournalUnavailable, JournalWriteFailed, SqliteJournal
from tests.helpers.sqlite import history

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # whole lines: two processes write them

async def refused(journal, path):
    for _ in range(2):
        try:
            await journal.append(history(2))
        except JournalWriteFailed as error:
            reason = f"process {os.getppid()} opened it, and this is a fork of it"
            say("append", error.uncertain, reason in str(error))
    try:
        async with journal.transaction(history(1)[0].session, lambda: history(2)[1]):
            say("entered")
    except JournalWriteFailed as error:
        say("transaction", error.uncertain)
    await journal.close()
    for each in (journal, SqliteJournal(path), SqliteJournal(path, "other")):
        try:
            await each.open("XNYS")
        except JournalUnavailable as error:
            say("open", f"was forked from process {os.getppid()}" in str(error))
    try:
        await journal.find_done(history(1)[0].session)
    except JournalUnavailable as error:
        say("find", "not open in this process" in str(error))
    say("child")

async def main(path):
    journal = SqliteJournal(path)
    await journal.open("XNYS")
    await journal.append(history(1))
    return journal

path = sys.argv[1]
journal = anyio.run(main, path)
child = os.fork()
if child == 0:
    anyio.run(refused, journal, path)
    if sys.argv[2] == "ends":
        sys.exit(0)  # in order: whatever it has inherited is finalized
    time.sleep(60)
    os._exit(0)
if sys.argv[2] == "ends":
    os.waitpid(child, 0)
anyio.run(journal.append, history(3))
say("parent", child)
sys.stdin.readline()
"""

CHILD = ["append True True"] * 2 + ["transaction True"] + ["open True"] * 3 + ["find True", "child"]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
async def test_fault_57_a_forked_child_is_refused(path: Path) -> None:
    """It can neither append nor open it again; its close and its end leave it to the parent, which goes on."""
    with program(FORK, path, "ends") as parent:
        assert [line_of(parent) for _ in CHILD] == CHILD
        assert line_of(parent).startswith("parent ")
        with pytest.raises(JournalLocked) as caught:
            await SqliteJournal(path).open("XNYS")
        assert caught.value.pid == parent.pid
        parent.kill()
        parent.wait()
        assert await kept(path) == history(3)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
async def test_fault_57_a_child_that_outlives_its_parent_does_not_keep_the_journal(path: Path) -> None:
    """The parent's death frees it, although the child still has its files open."""
    with program(FORK, path, "stays") as parent:
        lines = sorted(line_of(parent) for _ in range(len(CHILD) + 1))
        child = int(next(line for line in lines if line.startswith("parent ")).split()[1])
        try:
            parent.kill()
            parent.wait()
            os.kill(child, 0)  # it is alive
            assert await kept(path) == history(3)
        finally:
            os.kill(child, 9)
