"""What is kept of exchange_calendars' answers is given while all that made it is the same, and never otherwise."""

import os
import sys
import time
import warnings
import zoneinfo
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from session_lifecycle import ExchangeSchedule, Session
from session_lifecycle._schedules import calendar_cache, calendars
from session_lifecycle._schedules.calendar_cache import ANSWERS, AnswerCache, ZonedSessions, folder_in
from tests.helpers.builders import utc

QUESTION = ("sessions between", "XONE", "2026-01-01", "2026-12-31")
ANSWER = ZonedSessions(
    "America/New_York",
    [
        Session(date(2026, 1, 2), utc(2026, 1, 2, 14, 30), utc(2026, 1, 2, 21)),
        Session(date(2026, 1, 5), utc(2026, 1, 5, 1), utc(2026, 1, 5, 9), ((utc(2026, 1, 5, 4), utc(2026, 1, 5, 5)),)),
    ],
)
OTHER = ZonedSessions("America/New_York", [])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for the cache of a process that has imported nothing yet, with a package that answers."""
    package = tmp_path / "site" / "answering"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("hours = 1\n")
    (package / "deep" / "hours.py").write_text("hours = 1\n")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(calendar_cache, "_MADE_BY", {"answering": "msgspec"})
    monkeypatch.setattr(calendar_cache, "_ASKED", "imported_by_nobody")
    monkeypatch.setattr(sys, "warnoptions", [])
    return tmp_path / "deep" / "kept"


def refuse() -> ZonedSessions:
    """Stand in for exchange_calendars where it must not be asked."""
    pytest.fail("it was asked")


def cached(folder: Path, ask: Callable[[], Any], question: tuple[str, ...] = QUESTION) -> Any:
    """Ask as a process of its own does."""
    cache = AnswerCache()
    cache.keep_in(folder)
    return cache.answer(question, ZonedSessions, ask)


def keep(folder: Path) -> Path:
    """Have the answer be kept, and return its file."""
    assert cached(folder, lambda: ANSWER) == ANSWER
    [path] = folder.iterdir()
    return path


def test_a_later_process_has_the_answer_without_asking(folder: Path) -> None:
    """It is equal to the first one, in a file that no other user can read."""
    path = keep(folder)
    assert cached(folder, refuse) == ANSWER
    assert path.stat().st_mode & 0o077 == 0


def test_another_question_is_asked(folder: Path) -> None:
    """Even where its file has the other one's content."""
    path = keep(folder)
    question = (*QUESTION[:3], "2027-12-31")
    assert cached(folder, lambda: OTHER, question) == OTHER
    [other] = {*folder.iterdir()} - {path}
    other.write_bytes(path.read_bytes())
    assert cached(folder, lambda: OTHER, question) == OTHER


def test_what_has_no_answer_is_not_kept(folder: Path) -> None:
    """Neither None nor an error."""
    assert cached(folder, lambda: None) is None
    with pytest.raises(ZeroDivisionError):
        cached(folder, lambda: 1 / 0)
    assert not folder.exists()


def damaged(path: Path, how: str) -> None:
    """Damage a file of the cache."""
    content = path.read_bytes()
    match how:
        case "empty":
            path.write_bytes(b"")
        case "cut off":
            path.write_bytes(content[:-1])
        case "longer":
            path.write_bytes(content + b" ")
        case "another hour":
            path.write_bytes(content.replace(b"T14:30", b"T14:40"))
        case "no digest":
            path.write_bytes(content.partition(b"\n")[2])
        case "noise":
            path.write_bytes(os.urandom(500))
        case "no JSON":
            path.write_bytes(calendar_cache._digest(b"{").encode() + b"\n{")
        case "hours in disorder":
            text = content.partition(b"\n")[2].replace(b"T14:30", b"T23:30")
            path.write_bytes(calendar_cache._digest(text).encode() + b"\n" + text)
        case "writable by others":
            path.chmod(0o666)
        case "of another user":
            os.chown(path, 12345, 12345)
        case "too large":
            with path.open("ab") as file:
                file.truncate(64 * 1024 * 1024)
        case "a link":
            path.rename(path.with_suffix(".aside"))
            path.symlink_to(path.with_suffix(".aside"))
        case "a pipe":
            path.unlink()
            os.mkfifo(path)
        case "a folder":
            path.unlink()
            path.mkdir()
        case _:
            path.unlink()


@pytest.mark.skipif(os.name != "posix", reason="makes links, pipes and owners")
@pytest.mark.parametrize(
    "how",
    [
        "empty", "cut off", "longer", "another hour", "no digest", "noise", "no JSON", "hours in disorder",
        "writable by others", "of another user", "too large", "a link", "a pipe", "a folder", "gone",
    ],
)  # fmt: skip
def test_a_file_that_is_not_as_it_was_written_is_passed_over(folder: Path, how: str) -> None:
    """exchange_calendars is asked, and the file is made anew where that is possible."""
    if how == "of another user" and os.geteuid() != 0:
        pytest.skip("needs root")
    path = keep(folder)
    damaged(path, how)
    assert cached(folder, lambda: OTHER) == OTHER
    if how != "a folder":
        assert cached(folder, refuse) == OTHER
    assert not [*folder.glob("*.tmp")]


def changed(what: str, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change something that an answer was made with."""
    module = package / "deep" / "hours.py"
    match what:
        case "Python":
            monkeypatch.setattr(sys, "version", "3.99.0")
        case "a version":
            monkeypatch.setattr("importlib.metadata.version", lambda _: "99.0")
        case "a package that is gone":
            monkeypatch.setattr(calendar_cache, "_MADE_BY", {"answering": "no_such_distribution"})
        case "a file's size":
            found = module.stat()
            module.write_text("hours = 22\n")
            os.utime(module, ns=(found.st_atime_ns, found.st_mtime_ns))
        case "a file's time":
            os.utime(module, ns=(0, time.time_ns() + 1_000_000_000))
        case "another file":
            (package / "deep" / "more.py").write_text("")
        case "a file less":
            module.unlink()
        case "another copy of the package":
            copy = package.parent.parent / "elsewhere" / "answering"
            copy.parent.mkdir()
            package.rename(copy)
            monkeypatch.syspath_prepend(copy.parent)
        case _:
            zones = package.parent / "zones" / "America"
            zones.mkdir(parents=True)
            (zones / "New_York").write_bytes(b"TZif, of another year")
            monkeypatch.setattr(zoneinfo, "TZPATH", (str(zones.parent), *zoneinfo.TZPATH))


@pytest.mark.parametrize(
    "what",
    [
        "Python", "a version", "a package that is gone", "a file's size", "a file's time", "another file",
        "a file less", "another copy of the package", "the time zone's path",
    ],
)  # fmt: skip
def test_what_was_made_with_something_else_is_asked_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The new answer then takes the place of the old one."""
    path = keep(folder)
    changed(what, tmp_path / "site" / "answering", monkeypatch)
    assert cached(folder, lambda: OTHER) == OTHER
    assert cached(folder, refuse) == OTHER
    assert [*folder.iterdir()] == [path]


def test_a_time_zone_of_another_content_is_noticed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the same path, with the same size and time."""
    zone = tmp_path / "zones" / "America" / "New_York"
    zone.parent.mkdir(parents=True)
    monkeypatch.setattr(zoneinfo, "TZPATH", (str(tmp_path / "zones"),))
    for number, answer in enumerate((ANSWER, OTHER)):
        zone.write_bytes(b"TZif%d" % number)
        os.utime(zone, ns=(0, 0))
        assert cached(folder, lambda answer=answer: answer) == answer
    assert cached(folder, refuse) == OTHER


def test_a_time_zone_without_a_file_is_not_kept(folder: Path) -> None:
    """A calendar's zone may have any name."""
    odd = ZonedSessions("Nowhere/At_All", [])
    assert cached(folder, lambda: odd) == odd
    assert not folder.exists()


def test_without_a_folder_that_can_be_written_it_is_asked_each_time(folder: Path) -> None:
    """A home that is read-only, or whose place something else has."""
    folder.parent.mkdir()
    folder.write_text("in the way")
    for answer in (ANSWER, OTHER):
        assert cached(folder, lambda answer=answer: answer) == answer
    assert folder.read_text() == "in the way"


def test_two_that_write_at_once_leave_a_whole_answer(folder: Path) -> None:
    """Whoever reads meanwhile has one of the two."""
    keep(folder)

    def write(answer: ZonedSessions) -> None:
        cache = AnswerCache()
        cache.keep_in(folder)
        for _ in range(50):
            cache._write(next(folder.glob("*.json")), QUESTION, answer)

    with ThreadPoolExecutor() as pool:
        writing = [pool.submit(write, answer) for answer in (ANSWER, OTHER)]
        while not all(each.done() for each in writing):
            assert cached(folder, refuse) in (ANSWER, OTHER)
        for each in writing:
            each.result()
    assert len([*folder.iterdir()]) == 1


def test_after_a_warning_nothing_is_kept(folder: Path) -> None:
    """The warning is shown as ever, and again by the next process."""

    def ask() -> ZonedSessions:
        warnings.warn("it may be wrong", UserWarning, stacklevel=1)
        return ANSWER

    cache = AnswerCache()
    cache.keep_in(folder)
    with pytest.warns(UserWarning, match="it may be wrong"):
        assert cache.answer(QUESTION, ZonedSessions, ask) == ANSWER
    assert cache.answer(("another",), ZonedSessions, lambda: OTHER) == OTHER  # the same warning is not shown twice
    assert not folder.exists()


def test_where_warnings_were_asked_for_nothing_is_read_or_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By `python -W`, whose warnings an answer that was kept would not repeat."""
    keep(folder)
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    assert cached(folder, lambda: OTHER) == OTHER


def test_where_exchange_calendars_is_imported_it_is_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, someone may have registered calendars; later, it takes no import any more."""
    keep(folder)
    cache = AnswerCache()
    cache.keep_in(folder)
    monkeypatch.setattr(calendar_cache, "_ASKED", "sys")
    assert cache.answer(QUESTION, ZonedSessions, lambda: OTHER) == OTHER
    assert cached(folder, lambda: ANSWER) == ANSWER  # which is not kept
    monkeypatch.setattr(calendar_cache, "_ASKED", "imported_by_nobody")
    assert cached(folder, refuse) == OTHER


def test_the_library_keeps_nothing_by_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A schedule in an application reads and writes no cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(calendar_cache.VARIABLE)
    assert ANSWERS._folder is None
    ExchangeSchedule("XNYS", near=utc(2024, 7, 1))
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["XNYS", "XHKG", "CMES", "XTAE", "24/7"])
def test_real_answers_come_back_equal(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With breaks, evenings before, and time zones of many rules."""
    first, last = date(2026, 1, 1), date(2026, 12, 31)
    asked = calendars.sessions_between(name, first, last), calendars.known_days(name), calendars.canonical_name(name)
    for _ in range(2):
        cache = AnswerCache()
        cache.keep_in(folder)
        monkeypatch.setattr(calendars, "ANSWERS", cache)
        answers = (
            calendars.sessions_between(name, first, last),
            calendars.known_days(name),
            calendars.canonical_name(name),
        )
        assert answers == asked
        monkeypatch.setattr(calendars, "_library", lambda: pytest.fail("it was asked"))


def test_a_century_is_not_kept(folder: Path) -> None:
    """So that the folder stays small, whatever days are asked for."""
    long = ZonedSessions("America/New_York", ANSWER.sessions * 10_000)
    assert cached(folder, lambda: long) == long
    assert not folder.exists()


def test_the_folder_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own variable, else XDG's where that is a full path, else the home."""
    home = Path("/home/one")
    monkeypatch.setattr(Path, "home", lambda: home)
    xdg = {"XDG_CACHE_HOME": "/xdg"}
    assert folder_in({"SESSION_LIFECYCLE_CACHE": "kept", **xdg}) == Path("kept")
    assert folder_in({"SESSION_LIFECYCLE_CACHE": "", **xdg}) is None
    assert folder_in(xdg) == Path("/xdg/session_lifecycle")
    for odd in ("", "relative"):
        assert folder_in({"XDG_CACHE_HOME": odd}) == home / ".cache" / "session_lifecycle"

    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", homeless)
    assert folder_in({}) is None
