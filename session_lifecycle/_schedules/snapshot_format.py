"""The format of snapshot files, which are reviewed, diffed and pinned: read and write them.

A head names the calendar, the known days, and the versions that the hours were made from. One line for each session
follows, in the exchange's local time: the date, and the fields that differ from the regular hours. So a changed early
close is one changed line. The file is TOML or JSON. In TOML the lines are one literal string, because tomllib is
written in Python and takes twenty times as long for an array.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import date, datetime, time, timedelta, tzinfo
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, cast
from zoneinfo import ZoneInfo

import msgspec

from session_lifecycle._model.errors import SnapshotRefused
from session_lifecycle._model.legs import HOURS
from session_lifecycle._model.session import Session
from session_lifecycle._schedules.local_hours import (
    ABSENT,
    TICKS_A_DAY,
    LocalHours,
    differing,
    field_texts,
    hours_from,
    parse_fields,
    refuse,
)
from session_lifecycle._schedules.text_files import parse_toml, read_text, require_size, shown

FORMAT: Final = 1
PathLike = str | os.PathLike[str]

_ISO: Final = len("2026-11-27")
_EARLIEST, _LATEST = date(1000, 1, 1), date(8999, 12, 31)
_MOST_SHOWN: Final = 5
_NEXT_DAYS: Final = timedelta(days=2)
_MIDNIGHT, _LAST_MINUTE = time(0), time(23, 59)
_ABOUT: Final = (
    "A session a line, in the exchange's own time: its date, and what differs from `regular`. 17:00-1d is the evening",
    "before. `python -m session_lifecycle snapshot --check FILE` holds it against the installed calendar.",
)
_AGAIN: Final = "create it again with `python -m session_lifecycle snapshot`"


class SnapshotHead(msgspec.Struct, frozen=True):
    """The head of a snapshot.

    `first` and `last` are the known days, both inclusive. `overrides` has a line for each override that is included,
    which begins with its date. `made_from` has the versions of the packages that the hours come from. `vouched_until`
    is the last day whose hours had been published and compared, None where that is not on record.
    `phases` and `night` are the arguments of `ExchangeSchedule`.
    """

    calendar: str
    timezone: str
    first: date
    last: date
    corrections: bool
    extended_hours: bool
    overrides: tuple[str, ...]
    made_from: dict[str, str]
    vouched_until: date | None = None
    phases: bool = False
    night: str | None = None


class Content(NamedTuple):
    """The content of a file: the head, the time zone, and the sessions' dates with their hours, ascending."""

    head: SnapshotHead
    zone: tzinfo
    days: list[date]
    hours: list[LocalHours]


# ---- reading ----


def read_snapshot(path: PathLike) -> Content:
    """Return the content of a file.

    Raises:
        SnapshotRefused: the file cannot be read, or has an unknown or invalid entry; says where.
    """
    where = os.fspath(path)
    try:
        text = read_text(path)
        content = _decoded(text)
    except OSError as error:
        raise SnapshotRefused(
            where, None, f"it cannot be read ({error.strerror})", "check the file and its permissions"
        ) from error
    except ValueError as error:
        raise SnapshotRefused(where, None, f"it is neither TOML nor JSON ({error})", _AGAIN) from error
    try:
        head, regular, lines = _parts(content)
        standard = parse_fields(regular)
    except ValueError as error:
        raise SnapshotRefused(where, None, str(error), _AGAIN) from error
    try:
        zone = ZoneInfo(head.timezone)
    except (LookupError, ValueError, OSError) as error:
        why = f"there is no time zone {shown(head.timezone)} on this machine"
        raise SnapshotRefused(where, None, why, "fix the name, or install tzdata") from error

    def refusal(number: int, why: str) -> SnapshotRefused:
        return SnapshotRefused(where, _place(text, lines, number), why, "fix that line")

    days, hours = _sessions(lines, standard, zone, head, refusal)
    if not days:
        raise SnapshotRefused(where, None, "it has no session", _AGAIN)
    return Content(head, zone, days, hours)


def _decoded(text: str) -> dict[str, Any]:
    if text.lstrip().startswith("{"):
        try:
            return cast("dict[str, Any]", json.loads(text))
        except RecursionError:
            refuse("it is nested too deeply")
    return parse_toml(text)


def _parts(content: dict[str, Any]) -> tuple[SnapshotHead, str, list[str]]:
    """Return the head, the regular hours, and the sessions' lines.

    Raises:
        ValueError: an entry is missing, unknown, or of the wrong type.
    """
    version = _take(content, "format", int, "a whole number")
    if version != FORMAT:
        refuse(f"its format is {shown(version)}, and this release of session_lifecycle reads format {FORMAT}")
    head = SnapshotHead(
        calendar=_take(content, "calendar", str, "a name"),
        timezone=_take(content, "timezone", str, "a name"),
        first=_take_day(content, "first"),
        last=_take_day(content, "last"),
        corrections=_take(content, "corrections", bool, "true or false"),
        extended_hours=_take(content, "extended_hours", bool, "true or false"),
        overrides=tuple(_take(content, "overrides", list, "an array")),
        made_from=_take(content, "made_from", dict, "a table"),
        vouched_until=_take_day(content, "vouched_until") if "vouched_until" in content else None,
        phases=_take(content, "phases", bool, "true or false") if "phases" in content else False,
        night=_take(content, "night", str, "a name") if "night" in content else None,
    )
    require_days(head.first, head.last)
    for each in head.overrides:
        if not isinstance(each, str):
            refuse(f"`overrides` must have a text for each override, not {shown(each)}")
        _day(each[:_ISO])
    for name, each in head.made_from.items():
        if not isinstance(each, str):
            refuse(f"`made_from`: {shown(name)[1:-1]} must be a version, not {shown(each)}")
    regular = _take(content, "regular", str, "hours, such as open=09:30 close=16:00")
    lines = _take(content, "sessions", (str, list), "a line for each session")
    lines = lines.splitlines() if isinstance(lines, str) else cast("list[str]", lines)
    if not all(isinstance(line, str) for line in lines):
        refuse("`sessions` must have a text for each session")
    if content:
        refuse(f"{', '.join(map(shown, islice(content, _MOST_SHOWN)))} is not understood")
    return head, regular, lines


def require_days(first: date, last: date) -> None:
    """Raise ValueError unless the days are in order, and far from where sums of instants would overflow."""
    if first > last:
        refuse(f"`first` ({first}) lies after `last` ({last})")
    if not _EARLIEST <= first <= last <= _LATEST:
        refuse(f"the days from `first` ({first}) to `last` ({last}) must lie between {_EARLIEST} and {_LATEST}")


def _take(content: dict[str, Any], name: str, kind: type | tuple[type, ...], what: str) -> Any:  # noqa: ANN401 -- of that kind
    if name not in content:
        refuse(f"`{name}` is missing")
    found = content.pop(name)
    # In Python a bool is an int, and a datetime is a date.
    if not isinstance(found, kind) or (isinstance(found, bool | datetime) and kind is not bool):
        refuse(f"`{name}` must be {what}, not {shown(found)}")
    return found


def _take_day(content: dict[str, Any], name: str) -> date:
    found: date | str = _take(content, name, (date, str), "a date")
    return found if isinstance(found, date) else _day(found)


def _day(text: str) -> date:
    days = len(text) == _ISO and text[4] == text[7] == "-"  # fromisoformat also accepts weeks
    try:
        return date.fromisoformat(text if days else "")
    except ValueError:
        refuse(f"{shown(text)} is not a date, such as 2026-11-27")


def _sessions(
    lines: list[str],
    standard: dict[str, Any],
    zone: tzinfo,
    head: SnapshotHead,
    refusal: Callable[[int, str], SnapshotRefused],
) -> tuple[list[date], list[LocalHours]]:
    """Return the sessions' dates and hours. They are converted to instants on demand.

    Local times have the same order as the instants, as long as the zone's offset is the same at both ends of the days
    that are compared. Where it changes, and where hours are of distant days, the instants are compared.
    """
    days: list[date] = []
    found: list[LocalHours] = []
    known: dict[str, LocalHours] = {}
    clocks_change = zone.utcoffset(None) is None
    before, closed, even = date.min, 0, True
    offset: timedelta | None = None
    for number, line in enumerate(lines):
        if not line or line[0] == "#":
            continue
        try:
            day, text = _day(line[:_ISO]), line[_ISO:]
            hours = known.get(text)
            if hours is None:
                hours = known[text] = _parsed(standard, text)
                hours.on(day, zone)  # raises where they are not in order
            midnight = day.toordinal() * TICKS_A_DAY
            if day <= before or midnight + hours.opens < closed or not head.first <= day <= head.last:
                _refuse_order(day, before, head)
            if clocks_change:
                first, last = hours.days
                start = datetime.combine(day + first, _MIDNIGHT, zone).utcoffset()
                end = datetime.combine(day + last, _LAST_MINUTE, zone).utcoffset()
                was_even, even = even, start == end and last - first <= _NEXT_DAYS
                if not (even and was_even and offset == start):
                    opened = hours.on(day, zone).open
                    if days and opened < found[-1].close.on(before, zone):
                        _refuse_overlap(day, before)
                offset = end
                if hours.by_night:
                    _refuse_double(day, hours, zone)
        except (ValueError, OverflowError) as error:
            raise refusal(number, str(error)) from error
        days.append(day)
        found.append(hours)
        before, closed = day, midnight + hours.closes
    return days, found


def _parsed(standard: dict[str, Any], text: str) -> LocalHours:
    if text and text[0] != " ":
        refuse(f"{shown(text)} must follow the date after a space")
    return hours_from({**standard, **parse_fields(text.partition("#")[0])})


def _refuse_order(day: date, before: date, head: SnapshotHead) -> NoReturn:
    if day <= before:
        refuse(f"{day} does not come after {before}")
    if not head.first <= day <= head.last:
        refuse(f"{day} does not lie between `first` ({head.first}) and `last` ({head.last})")
    _refuse_overlap(day, before)


def _refuse_overlap(day: date, before: date) -> NoReturn:
    refuse(f"session {day} opens before session {before} has closed")


def _refuse_double(day: date, hours: LocalHours, zone: tzinfo) -> None:
    for hour in hours.by_night:
        if not hour.is_single(day, zone):
            refuse(f"{hour} is skipped or occurs twice on that day, because the clocks change")


def _place(text: str, lines: list[str], number: int) -> str:
    """Return the place of a session's line: its line number, or its session number in a file with another layout."""
    rows = text.splitlines()
    start = next((at for at, row in enumerate(rows) if row.strip().strip('"').startswith("sessions")), 0) + 1
    at, line = start + number, lines[number]
    quoted = shown(line)
    return f"line {at + 1} ({quoted})" if line in "".join(rows[at : at + 1]) else f"session {number + 1} ({quoted})"


# ---- writing ----


def snapshot_text(head: SnapshotHead, zone: tzinfo, sessions: Iterable[Session], *, as_json: bool) -> str:
    """Return the text of a file.

    Raises:
        ValueError: an hour occurs twice on its day in the exchange's local time, or `read_snapshot` would refuse the
            file; says why.
    """
    require_days(head.first, head.last)
    rows = [(session.date, field_texts(session, zone)) for session in sessions]
    # Of equally frequent hours take the later ones: the next sessions are more likely to have them.
    regular = Counter(texts for _, texts in reversed(rows)).most_common(1)[0][0]
    lines = [" ".join((f"{day}", *differing(texts, regular))) for day, texts in rows]
    usual = " ".join(f"{name}={text}" for name, text in zip(HOURS, regular, strict=True) if text != ABSENT)
    text = (_json if as_json else _toml)(head, usual, lines)
    require_size(text.encode())
    return text


def _entries(head: SnapshotHead) -> dict[str, Any]:
    entries = {name: getattr(head, name) for name in head.__struct_fields__}
    if not head.phases:  # as every file was before there were any
        del entries["phases"]
    return {"format": FORMAT, **{name: entry for name, entry in entries.items() if entry is not None}}


def _toml(head: SnapshotHead, regular: str, lines: list[str]) -> str:
    parts = [f"# {line}" for line in _ABOUT]
    for name, entry in _entries(head).items():
        if isinstance(entry, dict):
            parts += [f"{name}.{key} = {_quoted(text)}" for key, text in cast("dict[str, str]", entry).items()]
        elif isinstance(entry, tuple):
            items = "".join(f"\n  {_quoted(each)}," for each in cast("tuple[str, ...]", entry))
            parts.append(f"{name} = [{items}\n]" if items else f"{name} = []")
        else:
            parts.append(f"{name} = {entry if isinstance(entry, date) else _quoted(entry)}")
    return "\n".join((*parts, f"regular = {_quoted(regular)}", "sessions = '''", *lines, "'''", ""))


def _json(head: SnapshotHead, regular: str, lines: list[str]) -> str:
    entries = {name: f"{entry}" if isinstance(entry, date) else entry for name, entry in _entries(head).items()}
    parts = [f"  {_quoted(name)}: {_quoted(entry)}," for name, entry in {**entries, "regular": regular}.items()]
    sessions = ",\n".join(f"    {_quoted(line)}" for line in lines)
    return "\n".join(("{", *parts, '  "sessions": [', sessions, "  ]", "}", ""))


def _quoted(entry: object) -> str:
    """Return an entry as JSON, which for strings, numbers and Booleans is TOML too."""
    return json.dumps(entry, ensure_ascii=False).replace("\x7f", "\\u007f")


def write_file(path: Path, text: str) -> None:
    """Write a file completely or not at all. An existing file keeps its permissions.

    Raises:
        OSError: it could not be written.
    """
    target = path.resolve()  # a symbolic link stays one
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
