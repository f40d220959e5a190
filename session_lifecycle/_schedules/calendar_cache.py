"""Keep what exchange_calendars has answered in files, so that a later process of the command line need not import it.

That import takes most of the time of a short command. What is kept are answers of exchange_calendars alone, as values:
corrections and everything else is applied to them as to an answer that was just given. An answer is used only while
its digest is right, and all that it was made with is the same: the Python, the versions of the packages, the path, size
and time of each of their files, and the content of the time zone's file. Whatever is wrong with a file, or with the
folder, exchange_calendars is asked instead.

Only the command line calls `ANSWERS.keep_in`: without it, nothing is read or written.
"""

import os
import sys
import warnings
import zoneinfo
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date
from functools import cached_property
from pathlib import Path
from stat import S_ISREG
from typing import Final, NamedTuple, TypeVar

import msgspec

from session_lifecycle._model.errors import LifecycleError
from session_lifecycle._model.session import Session

VARIABLE: Final = "SESSION_LIFECYCLE_CACHE"
"""The environment variable with the folder; empty: nothing is kept."""

_ASKED: Final = "exchange_calendars"
# What it imports that is no part of Python: the module, and the distribution that has its version.
_MADE_BY: Final = {
    _ASKED: "exchange_calendars",
    "dateutil": "python-dateutil",
    "korean_lunar_calendar": "korean_lunar_calendar",
    "numpy": "numpy",
    "pandas": "pandas",
    "pyluach": "pyluach",
    "session_lifecycle": "session_lifecycle",
    "toolz": "toolz",
    "tzdata": "tzdata",
}
_NO_CODE: Final = ("__pycache__", "tests", "zoneinfo")  # folders; the file of the time zone is read instead
_MOST_BYTES: Final = 2 * 1024 * 1024  # half a century

Answer = TypeVar("Answer")
Asked = TypeVar("Asked")


class Span(NamedTuple):
    """The first and the last day of a time."""

    first: date
    last: date


class ZonedSessions(msgspec.Struct, frozen=True):
    """A calendar's sessions on some days, and the name of its time zone."""

    zone: str
    sessions: list[Session]


class _Entry(msgspec.Struct, frozen=True):
    made_with: str
    question: tuple[str, ...]
    answer: msgspec.Raw


class AnswerCache:
    """Answers of exchange_calendars in a folder. Without a folder, each question is asked."""

    def __init__(self) -> None:
        self._folder: Path | None = None

    def keep_in(self, folder: Path | None) -> None:
        """Use a folder from now on, or none.

        It is not used where something has imported exchange_calendars already, and may have registered calendars, or
        where Python was asked to show warnings, which an answer that was kept does not repeat.
        """
        self._folder = None if _ASKED in sys.modules or sys.warnoptions else folder

    def answer(self, question: tuple[str, ...], kind: type[Answer], ask: Callable[[], Asked]) -> Answer | Asked:
        """Return the answer that was kept, or else ask, and keep what is answered, unless it is None.

        Once exchange_calendars is imported, it is asked. Nothing is kept from the first warning on that is shown.
        """
        if self._folder is None:
            return ask()
        path = self._folder / f"{_digest(repr(question).encode())[:32]}.json"
        kept = None if _ASKED in sys.modules else self._read(path, question, kind)
        if kept is not None:
            return kept
        with _shown_warnings() as shown:
            answer = ask()
        if shown:
            self._folder = None
        elif answer is not None:
            self._write(path, question, answer)
        return answer

    def _read(self, path: Path, question: tuple[str, ...], kind: type[Answer]) -> Answer | None:
        try:
            digest, _, content = _read_own(path).partition(b"\n")
            if digest != _digest(content).encode():
                return None
            entry = msgspec.json.decode(content, type=_Entry)
            answer = msgspec.json.decode(entry.answer, type=kind)
            fits = entry.question == question and entry.made_with == self._made_with(answer)
        except (OSError, ValueError, LifecycleError):  # there is none, or it is damaged
            return None
        return answer if fits else None

    def _write(self, path: Path, question: tuple[str, ...], answer: object) -> None:
        """Write an answer to its file, whole or not at all. Without room or permission it is not kept."""
        from tempfile import mkstemp  # slow to import

        with suppress(OSError, ValueError):
            entry = _Entry(self._made_with(answer), question, msgspec.Raw(msgspec.json.encode(answer)))
            text = msgspec.json.encode(entry)
            content = _digest(text).encode() + b"\n" + text
            if len(content) > _MOST_BYTES:
                return
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            number, name = mkstemp(suffix=".tmp", dir=path.parent)
            try:
                with os.fdopen(number, "wb") as file:
                    file.write(content)
                Path(name).replace(path)
            finally:
                Path(name).unlink(missing_ok=True)

    def _made_with(self, answer: object) -> str:
        zone = _zone_file(answer.zone) if isinstance(answer, ZonedSessions) else b""
        return f"{self._packages} {_digest(zone)}"

    @cached_property
    def _packages(self) -> str:
        """A digest of Python and of the packages that make an answer. It imports none of them."""
        from importlib.metadata import PackageNotFoundError, version

        found: list[object] = [sys.version, zoneinfo.TZPATH]
        for module, distribution in _MADE_BY.items():
            with suppress(PackageNotFoundError):
                found.append((distribution, version(distribution)))
            for folder in _folders(module):
                found.extend(sorted(_files(folder)))
        return _digest(repr(found).encode())


ANSWERS: Final = AnswerCache()
"""The cache of this process."""


def folder_in(environment: Mapping[str, str]) -> Path | None:
    """Return the folder of the cache that the environment says, None for no cache."""
    given = environment.get(VARIABLE)
    if given is not None:
        return Path(given) if given else None
    base = Path(environment.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():
        return base / "session_lifecycle"
    try:
        return Path.home() / ".cache" / "session_lifecycle"
    except RuntimeError:  # it has no home
        return None


@contextmanager
def _shown_warnings() -> Generator[list[object]]:
    """Note the warnings that are shown inside the block, which are shown as ever."""
    shown: list[object] = []
    show: Callable[..., None] = warnings.showwarning

    def note(*args: object) -> None:
        shown.append(args)
        show(*args)

    warnings.showwarning = note  # type: ignore[assignment]  # its parameters are passed on as they are
    try:
        yield shown
    finally:
        warnings.showwarning = show


def _digest(content: bytes) -> str:
    from hashlib import sha256  # slow to import

    return sha256(content).hexdigest()


def _folders(module: str) -> list[str]:
    """Return the folders of a package, none where it is not installed."""
    from importlib.util import find_spec

    spec = find_spec(module)
    return [*((spec and spec.submodule_search_locations) or ())]


def _files(folder: str) -> Iterator[tuple[str, int, int]]:
    """Yield the path, size and time of each file in a package's folder, of subfolders too."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir():
                found = entry.stat()
                yield entry.path, found.st_size, found.st_mtime_ns
            elif entry.name not in _NO_CODE:
                yield from _files(entry.path)


def _zone_file(key: str) -> bytes:
    """Return the content of the file that `ZoneInfo(key)` reads; OSError where there is none."""
    for folder in (*zoneinfo.TZPATH, *(f"{each}/zoneinfo" for each in _folders("tzdata"))):
        path = Path(folder, key)
        if path.is_file():
            return path.read_bytes()
    raise FileNotFoundError(key)


def _read_own(path: Path) -> bytes:
    """Return the content of a regular file that this user owns and no other can write, or raise OSError."""
    found = path.lstat()
    owner = os.geteuid() if hasattr(os, "geteuid") else found.st_uid
    if not S_ISREG(found.st_mode) or found.st_uid != owner or found.st_mode & 0o022 or found.st_size > _MOST_BYTES:
        raise PermissionError(path)
    return path.read_bytes()
