"""What the tests of test_file_journal share."""

import json
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from session_lifecycle import (
    FileJournal,
    Record,
)
from session_lifecycle._journal.file import Files
from tests.helpers.disk import Memory

some_files = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=25
)
"""The folder is shared by the examples of a test: each begins with a file of its own making."""


class NoSync(Files):
    """Real files, never synced: for tests of what is in them."""

    def sync(self, fd: int) -> None:
        pass

    def sync_folder(self, folder: Path) -> None:
        pass


def opened(path: Path, *, calendar: str = "XNYS") -> tuple[FileJournal, tuple[Record, ...]]:
    """Return a journal that is open, without the syncs, and its records."""
    journal = FileJournal(path, files=NoSync())
    return journal, journal.open(calendar)


def keep(path: Path, records: list[Record]) -> bytes:
    """Write a journal anew, and return its bytes."""
    path.unlink(missing_ok=True)
    journal, _ = opened(path)
    for record in records:
        journal.append(record)
    journal.close()
    return path.read_bytes()


def kept(path: Path, *, calendar: str = "XNYS") -> list[Record]:
    """Return the records of a journal that nobody holds."""
    journal, records = opened(path, calendar=calendar)
    journal.close()
    return list(records)


def found(path: Path, content: bytes, *, more: tuple[Record, ...] = ()) -> tuple[list[Record], bytes]:
    """Open a journal of this content, in memory, append to it, and return its records and what it is now."""
    files = Memory({path.name: content})
    journal = FileJournal(path, files=files)
    try:
        records = journal.open("XNYS")
        for record in more:
            journal.append(record)
    finally:
        journal.close()
        files.check_closed()
    return list(records), bytes(files.names[path.name])


def written(path: Path, records: list[Record]) -> bytes:
    """Return the bytes of a journal, made in memory."""
    return found(path, b"", more=tuple(records))[1]


def sealed(*values: object) -> bytes:
    """Return a journal of these lines with checksums as they should be."""
    checksum, content = 0, b""
    for value in values:
        text = value if isinstance(value, bytes) else json.dumps(value).encode()
        checksum = zlib.crc32(text, checksum)
        content += b"%s %08x\n" % (text, checksum)
    return content


def header(**changed: object) -> dict[str, object]:
    return {"journal": "session_lifecycle", "version": 1, "calendar": "XNYS"} | changed


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to count descriptors")
