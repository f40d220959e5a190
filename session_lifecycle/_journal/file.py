"""A journal in a text file, which a crash cannot leave inconsistent.

Each append is written, then synced, before it counts. A crash can tear the last line only, which is then ignored; any
other inconsistency is refused. When a journal is opened, when it has become long, and after a failed append, the file
is rewritten: a new file is written, synced and renamed over the old one, so that a complete file exists at every
instant. Then the folder is synced too.
"""

import json
import os
import zlib
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from msgspec.structs import replace

from session_lifecycle._journal.errors import (
    JournalCorrupt,
    JournalLocked,
    JournalMismatch,
    JournalUnavailable,
    JournalWriteFailed,
)
from session_lifecycle._journal.records import Entry, Record, journal_state_after

VERSION: Final = 1
LONGEST_NOTE: Final = 1_000
"""How many bytes of a note are kept, counted as they are in the file."""

_SEAL: Final = 10
"""How many bytes end a line: a space, eight hexadecimal digits and a newline."""


class Damage(NamedTuple):
    """The first inconsistency of a file. `line` counts from 1."""

    offset: int
    line: int
    why: str


class Lines(NamedTuple):
    """The content of a file up to its first damage. `calendar` is None where there is no first line yet.

    `checksum` is the last line's, `torn` the number of bytes of an incomplete last line.
    """

    calendar: str | None
    records: list[Record]
    checksum: int
    torn: int
    damage: Damage | None


def read_lines(content: bytes) -> Lines:
    """Parse the content of a file, up to its first damage.

    Raises:
        JournalMismatch: it is of an unknown version.
    """
    end = content.rfind(b"\n") + 1
    calendar: str | None = None
    records: list[Record] = []
    checksum = offset = 0

    def result(why: str | None, at: int, line: int) -> Lines:
        damage = None if why is None else Damage(at, line, why)
        return Lines(calendar, records, checksum, len(content) - end, damage)

    lines = [line + b"\n" for line in content[:end].split(b"\n")[:-1]]
    for number, line in enumerate(lines, 1):
        text = line[:-_SEAL]
        sealed, following = sealed_line(text, checksum)
        if sealed != line:
            return result("its checksum does not match", offset, number)
        try:
            value = _object(text)
            if number == 1:
                calendar = _calendar(value)
            else:
                records.append(_record(value))
        except (ValueError, KeyError, TypeError) as error:
            return result(f"it cannot be parsed: {error}", offset, number)
        checksum = following
        offset += len(line)
    # A last line that is complete except for a damaged newline is not a torn write, and is refused.
    tail = content[end:]
    if lines and sealed_line(tail[:-_SEAL], checksum)[0][:-1] == tail[:-1]:
        return result("its newline is damaged", len(content) - 1, len(lines) + 1)
    try:
        journal_state_after(records)
    except ValueError as error:
        return result(f"its records contradict each other: {error}", offset, len(lines))
    return result(None, 0, 0)


def sealed_line(text: bytes, previous: int) -> tuple[bytes, int]:
    """Return the line for a text, and its checksum, which continues that of the previous line."""
    checksum = zlib.crc32(text, previous)
    return b"%s %08x\n" % (text, checksum), checksum


def header_text(calendar: str) -> bytes:
    """Return the text of a file's first line."""
    return json.dumps({"journal": "session_lifecycle", "version": VERSION, "calendar": calendar}).encode()


def record_text(record: Record) -> bytes:
    """Return the text of a record's line."""
    value: dict[str, object] = {
        "at": record.at.isoformat(),
        "entry": record.entry.value,
        "session": f"{record.session}",
    }
    if record.target is not None:
        value["target"] = f"{record.target}"
    if record.skipped:
        value["skipped"] = [f"{day}" for day in record.skipped]
    if record.open is not None and record.close is not None:
        value["hours"] = [record.open.isoformat(), record.close.isoformat()]
    if record.note:
        value["note"] = record.note
    return json.dumps(value).encode()


def shortened(note: str) -> str:
    """Return a note, cut so that it takes at most `LONGEST_NOTE` bytes in the file; a character may take twelve."""
    kept = note
    while (size := len(json.dumps(kept)) - 2) > LONGEST_NOTE:
        kept = kept[: len(kept) * (LONGEST_NOTE - 12) // size]
        note = kept + "…"
    return note


def _calendar(value: dict[str, Any]) -> str:
    if value["journal"] != "session_lifecycle":
        raise ValueError("it is not a journal of session_lifecycle")
    if value["version"] != VERSION:
        raise JournalMismatch("the version", value["version"], VERSION)
    return cast("str", value["calendar"])


def _object(text: bytes) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        msg = "the line is not a JSON object"
        raise TypeError(msg)
    return cast("dict[str, Any]", value)


def _record(value: dict[str, Any]) -> Record:
    opened, closed = value.get("hours", (None, None))
    target = value.get("target")
    return Record(
        Entry(value["entry"]),
        date.fromisoformat(value["session"]),
        datetime.fromisoformat(value["at"]),
        None if target is None else date.fromisoformat(target),
        tuple(date.fromisoformat(day) for day in value.get("skipped", ())),
        None if opened is None else datetime.fromisoformat(opened),
        None if closed is None else datetime.fromisoformat(closed),
        value.get("note", ""),
    )


MOST_RECORDS: Final = 400
"""A file with more records than this is compacted."""
KEPT_RECORDS: Final = 200
"""How many of the newest records compaction keeps unchanged; the older ones become at most four."""
MOST_SKIPPED: Final = 50
"""How many dates of skipped sessions are kept. With these four limits, a journal always stays below 1 MiB."""


class Files:
    """The file system calls of a journal, in one place, where tests can make any of them fail."""

    def open(self, path: Path, flags: int) -> int:
        """Open a file and return its descriptor."""
        return os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o600)

    def read(self, fd: int) -> bytes:
        """Return the whole content."""
        parts: list[bytes] = []
        while part := os.read(fd, 1 << 20):
            parts.append(part)
        return b"".join(parts)

    def write(self, fd: int, data: bytes) -> int:
        """Write some of the data at the end, and return how much."""
        return os.write(fd, data)

    def sync(self, fd: int) -> None:
        """Wait until the content is on the disk."""
        os.fsync(fd)

    def replace(self, source: Path, target: Path) -> None:
        """Rename a file over another."""
        source.replace(target)

    def sync_folder(self, folder: Path) -> None:
        """Wait until the folder's entries are on the disk."""
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)


class FileJournal:
    """A durable journal in the file at `path`; `path`.lock beside it is locked while the journal is open.

    Several months of history are kept; the file stays below 1 MiB. The folder must exist. Do not use it on a network
    file system, where locks and syncs guarantee less.
    """

    __module__ = "session_lifecycle"

    def __init__(self, path: str | os.PathLike[str], *, files: Files | None = None) -> None:
        self.path: Path = Path(path)
        self._files = Files() if files is None else files
        self._calendar = ""
        self._records: list[Record] = []
        self._checksum = 0
        self._fd: int | None = None
        self._lock: int | None = None
        self._in_doubt = False

    def __repr__(self) -> str:
        return f"<FileJournal {str(self.path)!r}>"

    def open(self, calendar: str) -> tuple[Record, ...]:
        """Acquire the journal, and return its records, oldest first.

        Raises:
            JournalLocked: another process, or another manager of this one, holds it.
            JournalMismatch: it is another calendar's, or of an unknown version.
            JournalCorrupt: it is damaged; the message says where.
            JournalUnavailable: the file cannot be opened, created or read.
        """
        if self._lock is not None:
            raise JournalLocked(str(self.path), os.getpid())
        if not self.path.name:
            raise JournalUnavailable(str(self.path), "the path has no file name")
        self._calendar = calendar
        try:
            self._take_lock()
            self._load()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise JournalUnavailable(str(self.path), str(error)) from error
            raise
        return tuple(self._records)

    def append(self, record: Record) -> None:
        """Append a record. It is on the disk when this returns.

        Raises:
            JournalWriteFailed: it could not be written, or the journal is not open. The record does not count.
        """
        if self._lock is None:
            raise JournalWriteFailed(str(self.path), record.entry.value, "the journal is not open")
        record = replace(record, note=shortened(record.note), skipped=record.skipped[:MOST_SKIPPED])
        try:
            if self._in_doubt or self._fd is None or len(self._records) >= MOST_RECORDS:
                self._rewrite([*self._compacted(), record])
                return
            line, checksum = sealed_line(record_text(record), self._checksum)
            self._in_doubt = True
            self._write(self._fd, line)
            self._files.sync(self._fd)
        except OSError as error:
            raise JournalWriteFailed(str(self.path), record.entry.value, str(error)) from error
        self._in_doubt = False
        self._checksum = checksum
        self._records.append(record)

    def close(self) -> None:
        """Release the journal. A second call has no effect."""
        for fd in (self._fd, self._lock):
            if fd is not None:
                self._files.close(fd)
        self._fd = self._lock = None

    def _take_lock(self) -> None:
        """Lock the lock file. `flock` refuses a second lock in this process too, and the lock ends with the process."""
        try:
            import fcntl
        except ImportError as error:  # Windows
            raise JournalUnavailable(str(self.path), "this system has no flock") from error

        lock = self._files.open(self._beside(".lock"), os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 32).decode("ascii", "replace").strip()
            self._files.close(lock)
            raise JournalLocked(str(self.path), int(holder) if holder.isdigit() else None) from None
        except OSError:
            self._files.close(lock)
            raise
        self._lock = lock
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)

    def _load(self) -> None:
        """Read the file without a torn last line, and rewrite it.

        What was read may exist only in a cache, which a power cut can lose, even after a sync that succeeds where an
        earlier one failed. Only content that this process has written and synced is relied on.
        """
        self._beside(".new").unlink(missing_ok=True)
        try:
            fd = self._files.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            content = b""
        else:
            try:
                content = self._files.read(fd)
            finally:
                self._files.close(fd)
        lines = read_lines(content)
        if lines.calendar not in (None, self._calendar):
            raise JournalMismatch("the calendar", lines.calendar, self._calendar)
        if lines.damage is not None:
            raise JournalCorrupt(str(self.path), lines.damage.offset, lines.damage.why)
        if lines.calendar is None and not sealed_line(header_text(self._calendar), 0)[0].startswith(content):
            raise JournalCorrupt(str(self.path), 0, "it is not the beginning of a journal of this calendar")
        self._rewrite(lines.records)

    def _compacted(self) -> list[Record]:
        """Return the records, with the oldest compacted where there are too many."""
        if len(self._records) < MOST_RECORDS:
            return self._records
        past, recent = self._records[:-KEPT_RECORDS], self._records[-KEPT_RECORDS:]
        journal_state = journal_state_after(past)
        assert journal_state is not None, "a journal with records has a first one"
        return [*journal_state.records(past[-1].at), *recent]

    def _rewrite(self, records: list[Record]) -> None:
        """Write a new file, and rename it over the old one."""
        line, checksum = sealed_line(header_text(self._calendar), 0)
        lines = [line]
        for record in records:
            line, checksum = sealed_line(record_text(record), checksum)
            lines.append(line)
        new = self._beside(".new")
        self._in_doubt = True
        fd = self._files.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        try:
            self._write(fd, b"".join(lines))
            self._files.sync(fd)
            self._files.replace(new, self.path)
            self._files.sync_folder(self.path.parent)
        except BaseException:
            self._files.close(fd)
            raise
        if self._fd is not None:
            self._files.close(self._fd)
        self._fd, self._checksum, self._records, self._in_doubt = fd, checksum, records, False

    def _write(self, fd: int, data: bytes) -> None:
        while data:  # a write may be short
            written = self._files.write(fd, data)
            if written <= 0:
                raise OSError("no byte could be written")
            data = data[written:]

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)
