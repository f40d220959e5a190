"""The files of a journal in SQLite: where they are, what is refused, and whether they are still the ones opened."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from zlib import crc32

from session_lifecycle._journal.errors import JournalUnavailable

_KINDS: Final = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs"})
_MOUNTS: Final = Path("/proc/self/mountinfo")
_LONGEST_SLUG: Final = 40

Identity = tuple[int, int]
"""The device and the inode of a file."""


def resolved(path: str | os.PathLike[str]) -> Path:
    """Return the path without links, relative parts and `..`, so that a later `chdir` changes nothing.

    Raises:
        JournalUnavailable: it is not the path of a file that SQLite can keep durable.
    """
    text = os.fspath(path)
    file = Path(path)
    if text in ("", ":memory:") or text.startswith("file:"):
        raise JournalUnavailable(
            repr(text), "it is not the path of a file; give one, or use MemoryJournal(), which is not durable"
        )
    try:
        file = Path(os.path.realpath(file))
        found = file.stat()
    except ValueError as error:  # a null character
        raise JournalUnavailable(repr(text), str(error)) from error
    except FileNotFoundError:
        return file
    except OSError as error:
        raise JournalUnavailable(text, error.strerror or str(error)) from error
    kind = irregular(found)
    if kind is not None:
        raise JournalUnavailable(text, f"it is {kind}, not a regular file")
    return file


def refuse_what_is_not_durable(file: Path) -> None:
    """Refuse a place where SQLite cannot keep a file durable, or where links make two journals of one file.

    Raises:
        JournalUnavailable: it is such a place.
    """
    for side in (*sides(file), file):
        try:
            found = side.lstat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise JournalUnavailable(str(file), str(error)) from error
        kind = irregular(found)
        if kind is not None:
            raise JournalUnavailable(str(file), f"{side} is {kind}, not a regular file")
        if found.st_nlink > 1:
            raise JournalUnavailable(
                str(file), f"{side} has {found.st_nlink} names (hard links), and each would have a log of its own"
            )
    system = _file_system(file.parent)
    if system in _NETWORK:
        raise JournalUnavailable(
            str(file), f"it is on a network file system ({system}), whose locks and syncs SQLite cannot rely on"
        )
    try:
        sync_folder(file.parent)
    except FileNotFoundError as error:
        raise JournalUnavailable(str(file), f"there is no folder {file.parent}") from error
    except OSError as error:
        raise JournalUnavailable(str(file), f"the folder {file.parent} cannot be synced: {error.strerror}") from error


def sync_folder(folder: Path) -> None:
    """Wait until the folder's entries are on the disk. Windows has no such call."""
    if os.name == "nt":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def create_like(file: Path, other: Path) -> None:
    """Create an empty file with the owner and the mode of another, unless it is there.

    SQLite gives its own side files the owner and the mode of their database in the same way.
    """
    like = other.stat()
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    try:
        fd = os.open(file, flags, stat.S_IMODE(like.st_mode))
    except FileExistsError:
        return
    try:
        if os.name != "nt":
            if os.geteuid() == 0:
                os.fchown(fd, like.st_uid, like.st_gid)
            os.fchmod(fd, stat.S_IMODE(like.st_mode))
    finally:
        os.close(fd)


def sides(file: Path) -> tuple[Path, Path]:
    """Return the paths of the log and of its index, which SQLite keeps beside a database."""
    return file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")


def lock_path(file: Path, name: str) -> Path:
    """Return the path of the lock of the journal of that name, beside its database.

    A name with other characters than a file's name should have is told apart by a checksum.
    """
    slug = "".join(each if each.isascii() and (each.isalnum() or each in "-_") else "_" for each in name)
    if slug != name or len(slug) > _LONGEST_SLUG:
        slug = f"{slug[:_LONGEST_SLUG]}-{crc32(name.encode()):08x}"
    return file.with_name(f"{file.name}.{slug}.lock")


def identities(files: Iterable[Path]) -> dict[str, Identity]:
    """Return the identity of each file, by its path as a text, of which the system makes least.

    Raises:
        OSError: one of them is not there.
    """
    return {str(file): identity_of(file) for file in files}


def identity_of(file: str | Path) -> Identity:
    """Return the identity of the file at a path.

    Raises:
        OSError: there is none.
    """
    found = os.stat(file)  # noqa: PTH116 -- twelve times an append: a Path takes half as long again
    return found.st_dev, found.st_ino


def what_has_changed(files: dict[str, Identity]) -> str | None:
    """Return what has happened to the first of the files that is not at its path any more; None if all are."""
    for file, before in files.items():
        try:
            now = identity_of(file)
        except OSError as error:
            return f"{file} was deleted or renamed while the journal was open ({error.strerror})"
        if now != before:
            return f"{file} was replaced by another file while the journal was open"
    return None


def irregular(found: os.stat_result) -> str | None:
    """Return what kind of file it is; None for a regular one."""
    if stat.S_ISREG(found.st_mode):
        return None
    return next((word for is_kind, word in _KINDS if is_kind(found.st_mode)), "something else")


def _file_system(folder: Path) -> str:
    """Return the kind of the file system of a folder as Linux names it, "" where that is not known.

    The fields are those of proc(5): the third is the device, the kind follows a lone hyphen.
    """
    try:
        mounts, device = _MOUNTS.read_text(errors="replace"), folder.stat().st_dev
    except OSError:
        return ""
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == number:
            return after.split()[0]
    return ""
