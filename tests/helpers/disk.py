"""A disk in memory that forgets what was never synced, and processes on it whose every call can fail or be the last.

What is on the disk is told apart from what only the system's memory holds: a process that is killed loses nothing that
it wrote, a power cut loses any part of what was not synced. A file's content is safe once the file is synced, its name
once the folder is: until then a name may stand for any of the files that it has stood for since.

A failed sync is as it is on Linux: what was to be written counts as written from then on, so that a later sync
succeeds, and is on the disk as zeros.
"""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, unique
from itertools import count
from pathlib import Path

from session_lifecycle._journal.file import Files

Choose = Callable[[int], int]
"""Given n, returns one of 0 … n − 1: how much of what is unsure a power cut spares."""


def least(n: int) -> int:
    """Choose that a power cut spares as little as it can."""
    return 0


def most(n: int) -> int:
    """Choose that a power cut spares everything."""
    return n - 1


class ProcessEnds(BaseException):
    """The process ends here; no code of it runs any more."""


@unique
class Fault(Enum):
    """What befalls one call."""

    REFUSED = "an error, without effect"
    LATE = "an error, though it took effect"
    HALF = "a write is short"
    HALF_REFUSED = "a write is short, and the next call an error"
    DEAD_BEFORE = "the process ends before it"
    DEAD_WITHIN = "the process ends when half of it is done"
    DEAD_AFTER = "the process ends after it"


ERRORS = (Fault.REFUSED, Fault.LATE, Fault.HALF, Fault.HALF_REFUSED)
DEATHS = (Fault.DEAD_BEFORE, Fault.DEAD_WITHIN, Fault.DEAD_AFTER)


@dataclass(eq=False)
class File:
    """A file's content: as every process sees it, as it is on the disk, and what lies in between."""

    seen: bytearray = field(default_factory=bytearray)
    safe: bytearray = field(default_factory=bytearray)
    unsure: list[tuple[int, bytes | None]] = field(default_factory=list)  # at an offset: bytes, or the end of the file
    holes: list[tuple[int, int]] = field(default_factory=list)

    def write(self, data: bytes) -> None:
        self.unsure.append((len(self.seen), data))
        self.seen += data

    def truncate(self, size: int) -> None:
        self.unsure.append((size, None))
        del self.seen[size:]
        self.holes = [(start, min(end, size)) for start, end in self.holes if start < size]

    def sync(self) -> None:
        self.safe, self.unsure = bytearray(self.seen), []
        for start, end in self.holes:
            self.safe[start:end] = bytes(end - start)

    def fail_to_sync(self) -> None:
        self.holes += [(start, start + len(data)) for start, data in self.unsure if data is not None]
        self.unsure = []

    def after_power_cut(self, choose: Choose) -> "File":
        content = bytearray(self.safe)
        for n, (offset, data) in enumerate(self.unsure[: choose(len(self.unsure) + 1)], 1):
            if data is None:
                del content[offset:]
            else:
                content += bytes(max(offset - len(content), 0))
                last = n == len(self.unsure)
                content[offset:] = data[: choose(len(data)) + 1] if last else data
        return File(bytearray(content), content)


class Disk:
    """One folder of files, and what is sure about it."""

    def __init__(self) -> None:
        self.names: dict[str, File] = {}
        self.once: dict[str, list[File | None]] = {}  # what a name may stand for after a power cut, the surest first

    def point(self, name: str, file: File | None) -> None:
        """Have a name stand for a file, or for none."""
        self.once.setdefault(name, [self.names.get(name)]).append(file)
        if file is None:
            self.names.pop(name, None)
        else:
            self.names[name] = file

    def sync_names(self) -> None:
        self.once.clear()

    def cut_power(self, names: Choose, contents: Choose) -> None:
        """Lose what a power cut may lose: of the names' changes and of the files' contents, as chosen for each."""
        for name, files in self.once.items():
            kept = files[names(len(files))]
            self.names.pop(name, None)
            if kept is not None:
                self.names[name] = kept
        self.once.clear()
        self.names = {name: file.after_power_cut(contents) for name, file in self.names.items()}

    def outcomes(self, name: str) -> Iterator[bytes | None]:
        """Iterate over the extremes of what may be found under a name after a power cut."""
        for file in self.once.get(name, [self.names.get(name)]):
            if file is None:
                yield None
            else:
                yield bytes(file.safe)
                yield bytes(file.seen)


class Process(Files):
    """The files of one process on a disk. `faults` says what befalls which of its calls, counted from 1.

    `until_mended` has every later call refused too, once one was, until `mend` is called. Locks are real.
    """

    def __init__(self, disk: Disk, faults: dict[int, Fault] | None = None, *, until_mended: bool = False) -> None:
        self.disk = disk
        self.faults = {} if faults is None else faults
        self.until_mended = until_mended
        self.calls: list[str] = []
        self.dead = False
        self._broken = False
        self._files: dict[int, File] = {}
        self._locks: set[int] = set()
        self._numbers = count(1 << 30)

    def mend(self) -> None:
        """Have no more faults."""
        self._broken = False
        self.faults = {}

    def end(self) -> None:
        """End the process: nothing is changed any more, and its locks are free."""
        self.dead = True
        for lock in self._locks:
            os.close(lock)
        self._locks.clear()

    def open(self, path: Path, flags: int) -> int:
        if path.name.endswith(".lock"):
            lock = super().open(path, flags)
            self._locks.add(lock)
            return lock
        self._call("open", lambda: self._open(path.name, flags))
        fd = next(self._numbers)
        self._files[fd] = self.disk.names[path.name]
        return fd

    def _open(self, name: str, flags: int) -> None:
        file = self.disk.names.get(name)
        if file is None:
            if not flags & os.O_CREAT:
                raise FileNotFoundError(errno.ENOENT, "No such file or directory", name)
            file = File()
            self.disk.point(name, file)
        elif flags & os.O_TRUNC:
            file.truncate(0)

    def read(self, fd: int) -> bytes:
        self._call("read", lambda: None)
        return bytes(self._files[fd].seen)

    def write(self, fd: int, data: bytes) -> int:
        half = data[: (len(data) + 1) // 2]
        written = [data]

        def some() -> None:
            written[0] = half
            self._files[fd].write(half)

        self._call("write", lambda: self._files[fd].write(data), some)
        return len(written[0])

    def sync(self, fd: int) -> None:
        file = self._files[fd]
        self._call("sync", file.sync, refused=file.fail_to_sync)

    def replace(self, source: Path, target: Path) -> None:
        def rename() -> None:
            file = self.disk.names[source.name]
            self.disk.point(source.name, None)
            self.disk.point(target.name, file)

        self._call("replace", rename)

    def sync_folder(self, folder: Path) -> None:
        self._call("sync_folder", self.disk.sync_names)

    def close(self, fd: int) -> None:
        if fd in self._locks:
            self._locks.remove(fd)
            os.close(fd)
        elif not self.dead:
            del self._files[fd]

    @property
    def open_files(self) -> int:
        """How many descriptors the process holds."""
        return len(self._files) + len(self._locks)

    def _call(
        self,
        name: str,
        act: Callable[[], None],
        half: Callable[[], None] | None = None,
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        """Make a call, with the fault that is its own."""
        if self.dead:
            raise ProcessEnds
        self.calls.append(name)
        fault = Fault.REFUSED if self._broken else self.faults.get(len(self.calls))
        match fault:
            case None:
                act()
            case Fault.HALF:
                (half or act)()
            case Fault.HALF_REFUSED:
                (half or act)()
                self.faults[len(self.calls) + 1] = Fault.REFUSED
            case Fault.REFUSED | Fault.LATE:
                self._broken = self.until_mended
                if fault is Fault.LATE:
                    act()
                else:
                    refused()
                code = errno.EIO if "sync" in name else errno.ENOSPC
                raise OSError(code, os.strerror(code), name)
            case Fault.DEAD_BEFORE | Fault.DEAD_WITHIN | Fault.DEAD_AFTER:
                if fault is Fault.DEAD_AFTER:
                    act()
                elif fault is Fault.DEAD_WITHIN and half is not None:
                    half()
                self.end()
                raise ProcessEnds


class Memory(Files):
    """Files in memory, locks included: for tests of content by the thousand."""

    def __init__(self, content: dict[str, bytes] | None = None) -> None:
        self.names = {name: bytearray(data) for name, data in (content or {}).items()}
        self._files: dict[int, bytearray] = {}
        self._locks: set[int] = set()
        self._numbers = count(1 << 30)

    def open(self, path: Path, flags: int) -> int:
        if path.name.endswith(".lock"):
            lock = os.memfd_create("lock") if hasattr(os, "memfd_create") else super().open(path, flags)
            self._locks.add(lock)
            return lock
        if path.name not in self.names:
            if not flags & os.O_CREAT:
                raise FileNotFoundError(errno.ENOENT, "No such file or directory", path.name)
            self.names[path.name] = bytearray()
        elif flags & os.O_TRUNC:
            self.names[path.name] = bytearray()
        fd = next(self._numbers)
        self._files[fd] = self.names[path.name]
        return fd

    def read(self, fd: int) -> bytes:
        return bytes(self._files[fd])

    def write(self, fd: int, data: bytes) -> int:
        self._files[fd] += data
        return len(data)

    def sync(self, fd: int) -> None:
        pass

    def replace(self, source: Path, target: Path) -> None:
        self.names[target.name] = self.names.pop(source.name)

    def sync_folder(self, folder: Path) -> None:
        pass

    def close(self, fd: int) -> None:
        if fd in self._locks:
            self._locks.remove(fd)
            os.close(fd)
        else:
            del self._files[fd]

    def check_closed(self) -> None:
        """Hold that nothing is left open."""
        assert not self._files
        assert not self._locks
