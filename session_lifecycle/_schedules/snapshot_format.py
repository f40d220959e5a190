"""A file of hours for a desk to review, diff and pin: the format, read and written.

A head says which calendar it is, which days are known, and what the hours were made from. Then comes one line a
session, in the exchange's own time: the date, and what differs from the regular hours, so that a changed early close is
one changed line. The file is TOML or JSON. In TOML the lines stand in one literal string, because tomllib is written in
Python, and takes twenty times as long for an array.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import date, datetime, tzinfo
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, cast
from zoneinfo import ZoneInfo

import msgspec

from session_lifecycle._model.errors import SnapshotRefused
from session_lifecycle._model.session import Session
from session_lifecycle._schedules.local_hours import (
    ABSENT,
    FIELDS,
    TICKS_A_DAY,
    LocalHours,
    differing,
    hours_of,
    in_words,
    refuse,
    words_in,
)

FORMAT: Final = 1
PathLike = str | os.PathLike[str]

_ISO: Final = len("2026-11-27")
_ABOUT: Final = (
    "A session a line, in the exchange's own time: its date, and what differs from `regular`. 17:00-1d is the evening",
    "before. `python -m session_lifecycle snapshot --check FILE` holds it against the installed calendar.",
)
_AGAIN: Final = "make it anew with `python -m session_lifecycle snapshot`"


class SnapshotHead(msgspec.Struct, frozen=True):
    """What a snapshot says about itself.

    `first` and `last` are the days that it knows, inclusive. `overrides` has a line for each override that is in it,
    which begins with its date. `made_from` has the versions of what the hours came from.
    """

    calendar: str
    timezone: str
    first: date
    last: date
    corrections: bool
    extended_hours: bool
    overrides: tuple[str, ...]
    made_from: dict[str, str]


class Content(NamedTuple):
    """What a file holds: the head, the time zone, and the sessions' dates with their hours, ascending."""

    head: SnapshotHead
    zone: tzinfo
    days: list[date]
    hours: list[LocalHours]


# ---- reading ----


def read_snapshot(path: PathLike) -> Content:
    """Return what a file holds.

    Raises:
        SnapshotRefused: it cannot be read, or something in it is not understood or cannot be; says where.
    """
    where = os.fspath(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        content = _decoded(text)
    except OSError as error:
        raise SnapshotRefused(where, None, f"it cannot be read ({error.strerror})", "see to the file") from error
    except (ValueError, RecursionError) as error:
        raise SnapshotRefused(where, None, f"it is neither TOML nor JSON ({error})", _AGAIN) from error
    try:
        head, regular, lines = _parts(content)
        standard = words_in(regular)
    except ValueError as error:
        raise SnapshotRefused(where, None, str(error), _AGAIN) from error
    try:
        zone = ZoneInfo(head.timezone)
    except (LookupError, ValueError, OSError) as error:
        why = f"there is no time zone {head.timezone!r} on this machine"
        raise SnapshotRefused(where, None, why, "mend the name, or install tzdata") from error

    def refusal(number: int, why: str) -> SnapshotRefused:
        return SnapshotRefused(where, _place(text, lines, number), why, "mend that line")

    days, hours = _sessions(lines, standard, zone, head, refusal)
    if not days:
        raise SnapshotRefused(where, None, "it has no session", _AGAIN)
    return Content(head, zone, days, hours)


def _decoded(text: str) -> dict[str, Any]:
    if text.lstrip().startswith("{"):
        return cast("dict[str, Any]", json.loads(text))
    import tomllib  # takes longer to import than a file to read, and JSON has no need of it

    return tomllib.loads(text)


def _parts(content: dict[str, Any]) -> tuple[SnapshotHead, str, list[str]]:
    """Return the head, the regular hours, and the sessions' lines.

    Raises:
        ValueError: something is missing, of the wrong kind, or not understood.
    """
    version = _take(content, "format", int, "a whole number")
    if version != FORMAT:
        refuse(f"its format is {version}, and this release of session_lifecycle reads format {FORMAT}")
    head = SnapshotHead(
        calendar=_take(content, "calendar", str, "a name"),
        timezone=_take(content, "timezone", str, "a name"),
        first=_take_day(content, "first"),
        last=_take_day(content, "last"),
        corrections=_take(content, "corrections", bool, "true or false"),
        extended_hours=_take(content, "extended_hours", bool, "true or false"),
        overrides=tuple(_take(content, "overrides", list, "an array")),
        made_from=_take(content, "made_from", dict, "a table"),
    )
    if head.first > head.last:
        refuse(f"`first` ({head.first}) lies after `last` ({head.last})")
    for each in head.overrides:
        _day(f"{each}"[:_ISO])
    for name, each in head.made_from.items():
        if not isinstance(each, str):  # pyright: ignore[reportUnnecessaryIsInstance] -- a file may hold anything
            refuse(f"`made_from`: {name} must be a version, not {each!r}")
    regular = _take(content, "regular", str, "hours, such as open=09:30 close=16:00")
    lines = _take(content, "sessions", (str, list), "a line for each session")
    lines = lines.splitlines() if isinstance(lines, str) else cast("list[str]", lines)
    if not all(isinstance(line, str) for line in lines):  # pyright: ignore[reportUnnecessaryIsInstance] -- likewise
        refuse("`sessions` must have a text for each session")
    if content:
        refuse(f"{', '.join(map(repr, content))} is not understood")
    return head, regular, lines


def _take(content: dict[str, Any], name: str, kind: type | tuple[type, ...], what: str) -> Any:  # noqa: ANN401 -- of that kind
    if name not in content:
        refuse(f"`{name}` is missing")
    found = content.pop(name)
    # To Python a truth value is a number, and a datetime a date.
    if not isinstance(found, kind) or (isinstance(found, bool | datetime) and kind is not bool):
        refuse(f"`{name}` must be {what}, not {found!r}")
    return found


def _take_day(content: dict[str, Any], name: str) -> date:
    found: date | str = _take(content, name, (date, str), "a date")
    return found if isinstance(found, date) else _day(found)


def _day(text: str) -> date:
    if len(text) != _ISO or text[4] != "-" or text[7] != "-":  # fromisoformat takes weeks, too
        refuse(f"{text!r} is no date, such as 2026-11-27")
    return date.fromisoformat(text)


def _sessions(
    lines: list[str],
    standard: dict[str, Any],
    zone: tzinfo,
    head: SnapshotHead,
    refusal: Callable[[int, str], SnapshotRefused],
) -> tuple[list[date], list[LocalHours]]:
    """Return the sessions' dates and hours, held apart in local time; none of them is made into instants yet."""
    days: list[date] = []
    found: list[LocalHours] = []
    known: dict[str, LocalHours] = {}
    clocks_change = zone.utcoffset(None) is None
    before, closed = date.min, 0
    for number, line in enumerate(lines):
        if not line or line[0] == "#":
            continue
        try:
            day, told = _day(line[:_ISO]), line[_ISO:]
            hours = known.get(told)
            if hours is None:
                hours = known[told] = _told(standard, told)
                hours.on(day, zone)  # refuses what is out of order
            midnight = day.toordinal() * TICKS_A_DAY
            if day <= before or midnight + hours.opens < closed or not head.first <= day <= head.last:
                _refuse_order(day, before, head)
            if hours.by_night and clocks_change:
                _refuse_double(day, hours, zone)
        except (ValueError, OverflowError) as error:
            raise refusal(number, str(error)) from error
        days.append(day)
        found.append(hours)
        before, closed = day, midnight + hours.closes
    return days, found


def _told(standard: dict[str, Any], text: str) -> LocalHours:
    if text and text[0] != " ":
        refuse(f"{text!r} must follow the date after a blank")
    return hours_of({**standard, **words_in(text.partition("#")[0])})


def _refuse_order(day: date, before: date, head: SnapshotHead) -> NoReturn:
    if day <= before:
        refuse(f"{day} does not come after {before}")
    if not head.first <= day <= head.last:
        refuse(f"{day} does not lie between `first` ({head.first}) and `last` ({head.last})")
    refuse(f"session {day} opens before session {before} has closed")


def _refuse_double(day: date, hours: LocalHours, zone: tzinfo) -> None:
    for hour in hours.by_night:
        if not hour.is_single(day, zone):
            refuse(f"{hour} is skipped or comes twice on that day, because the clocks change")


def _place(text: str, lines: list[str], number: int) -> str:
    """Return where a session's line stands: its number in the file, where the file is laid out as it was written."""
    rows = text.splitlines()
    start = next((at for at, row in enumerate(rows) if row.strip().strip('"').startswith("sessions")), 0) + 1
    at, line = start + number, lines[number]
    return f"line {at + 1} ({line!r})" if line in "".join(rows[at : at + 1]) else f"session {number + 1} ({line!r})"


# ---- writing ----


def written(head: SnapshotHead, zone: tzinfo, sessions: Iterable[Session], *, as_json: bool) -> str:
    """Return the text of a file.

    Raises:
        ValueError: an hour comes twice in the exchange's own time; says which.
    """
    rows = [(session.date, in_words(session, zone)) for session in sessions]
    # Of hours that are as frequent, the later ones: they are more likely to be the regular ones of what is added.
    regular = Counter(words for _, words in reversed(rows)).most_common(1)[0][0]
    lines = [" ".join((f"{day}", *differing(words, regular))) for day, words in rows]
    usual = " ".join(f"{name}={word}" for name, word in zip(FIELDS, regular, strict=True) if word != ABSENT)
    return (_json if as_json else _toml)(head, usual, lines)


def _entries(head: SnapshotHead) -> dict[str, Any]:
    return {"format": FORMAT, **{name: getattr(head, name) for name in head.__struct_fields__}}


def _toml(head: SnapshotHead, regular: str, lines: list[str]) -> str:
    parts = [f"# {line}" for line in _ABOUT]
    for name, entry in _entries(head).items():
        if isinstance(entry, dict):
            parts += [f"{name}.{key} = {_text(told)}" for key, told in cast("dict[str, str]", entry).items()]
        elif isinstance(entry, tuple):
            told = "".join(f"\n  {_text(each)}," for each in cast("tuple[str, ...]", entry))
            parts.append(f"{name} = [{told}\n]" if told else f"{name} = []")
        else:
            parts.append(f"{name} = {entry if isinstance(entry, date) else _text(entry)}")
    return "\n".join((*parts, f"regular = {_text(regular)}", "sessions = '''", *lines, "'''", ""))


def _json(head: SnapshotHead, regular: str, lines: list[str]) -> str:
    told = {name: f"{value}" if isinstance(value, date) else value for name, value in _entries(head).items()}
    parts = [f"  {_text(name)}: {_text(value)}," for name, value in {**told, "regular": regular}.items()]
    sessions = ",\n".join(f"    {_text(line)}" for line in lines)
    return "\n".join(("{", *parts, '  "sessions": [', sessions, "  ]", "}", ""))


def _text(value: object) -> str:
    """Return a value as JSON has it, which for texts, numbers and truth values is TOML as well."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def put(path: Path, text: str) -> None:
    """Write a file as a whole, or leave everything as it was; an existing file keeps its permissions.

    Raises:
        OSError: it could not be written.
    """
    target = path.resolve()  # a link stays a link
    new = target.with_name(f".{target.name}.{os.getpid()}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        with open(fd, "w", encoding="utf-8", newline="\n") as file:  # noqa: PTH123 -- a descriptor has no path
            with suppress(FileNotFoundError):
                new.chmod(target.stat().st_mode & 0o7777)
            file.write(text)
            file.flush()
            os.fsync(fd)
        new.replace(target)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
