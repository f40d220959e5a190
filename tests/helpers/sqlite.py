"""What the tests of journals in SQLite share: other processes, copies, and what a journal holds."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from session_lifecycle import Record, SqliteJournal
from session_lifecycle._journal.sqlite_files import lock_path, sides
from tests.helpers.journals import adopted, failed, numbered


def lock_of(path: Path, name: str = "XNYS") -> Path:
    """Return where the lock of a journal is."""
    return lock_path(path, name)


def all_files(path: Path, name: str = "XNYS") -> list[Path]:
    """Return every file of an open journal."""
    return [path, *sides(path), lock_of(path, name), *sides(lock_of(path, name))]


def history(n: int) -> list[Record]:
    """Return a journal of `n` records."""
    return numbered([adopted(), *(failed(note=f"the reason {number}") for number in range(1, n))])


async def keep(path: Path, records: Sequence[Record], *, calendar: str = "XNYS", name: str | None = None) -> None:
    """Append records to a journal, and close it."""
    journal = SqliteJournal(path, name)
    await journal.open(calendar)
    await journal.append(records)
    await journal.close()


async def kept(path: Path, *, calendar: str = "XNYS", name: str | None = None) -> list[Record]:
    """Return the records of a journal that is free."""
    journal = SqliteJournal(path, name)
    records = await journal.open(calendar)
    await journal.close()
    return list(records)


def copied(path: Path, folder: Path, *, lock: bool = True) -> Path:
    """Copy the files of a journal as they are, without the indexes of the logs, and return the copy's path.

    No file of an open database may be opened in its own process: that would end its locks.
    """
    folder.mkdir()
    for file in path.parent.iterdir():
        if file.is_file() and not file.name.endswith("-shm") and (lock or ".lock" not in file.name):
            shutil.copyfile(file, folder / file.name)
    return folder / path.name


HOLD = """
import sys, anyio
from session_lifecycle import SqliteJournal

async def main():
    journal = SqliteJournal(sys.argv[1])
    await journal.open("XNYS")
    print("held", flush=True)
    sys.stdin.readline()
    await journal.close()
    print("freed", flush=True)
    sys.stdin.readline()

anyio.run(main)
"""


@contextmanager
def program(text: str, *args: object) -> Iterator["subprocess.Popen[str]"]:
    """Run a program of its own, and kill it in the end."""
    command = [sys.executable, "-W", "error", "-c", text, *map(str, args)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: "subprocess.Popen[str]") -> str:
    """Wait for the next line that a program prints."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def answer(process: "subprocess.Popen[str]") -> None:
    """Let a program go on that waits for a line."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
