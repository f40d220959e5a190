"""What is known about a venue's hours beyond exchange_calendars: a data file for each calendar, read on demand.

`hours_data/XIDX.toml` is the file of XIDX; the format is described in `hours_data/README.md`. A file is read when a
schedule of its calendar is made, and kept. Its rows act on a session only where the installed calendar still has the
hours that the row names as wrong, so a release that fixes them switches the row off.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cache
from pkgutil import get_data
from typing import Any, Final, Literal, NoReturn, cast, get_args
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import replace

from session_lifecycle._model.overrides import WEEKDAYS
from session_lifecycle._model.session import Phase, Session, require_phase_name
from session_lifecycle._schedules.local_hours import LocalHours, LocalTimeOfDay, hours_from, parse_fields, time_of_day

Kind = Literal["session", "special", "closed", "season", "regular"]
"""The kinds of rows, in the order in which they apply: the first row that acts on a day is the only one."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
NONE: Final = "none"

_PACKAGE: Final = "session_lifecycle._schedules"
_NOON: Final = time(12)
_HALF_DAY: Final = timedelta(hours=12)
# The clocks of exchanges change at night: between these hours, each local time is as far from noon as it reads.
_DAWN, _LATE = timedelta(hours=6), timedelta(hours=22)
_HEAD: Final = {
    "calendar": str,
    "means": str,
    "zone": str,
    "known_until": date,
    "vouched_until": date,
    "compared": list,
}
_SELECTORS: Final = {
    "days": list,
    "from": date,
    "until": date,
    "weekdays": list,
    "between": list,
    "except": list,
}
_EVERY_ROW: Final = {
    **_SELECTORS,
    "was": (str, list),
    "hours": str,
    "source": list,
    "note": str,
    "first_wrong": str,
    "first_fixed": str,
}
_OF_KIND: Final[Mapping[Kind, Mapping[str, Any]]] = {
    "session": {"counts_for": str},
    "special": {},
    "closed": {},
    "season": {"zone": str, "ahead": (int, float)},
    "regular": {},
}
_PHASE: Final = {
    **_SELECTORS,
    "name": str,
    "start": str,
    "end": str,
    "tradable": bool,
    "data_expected": bool,
    "hours": str,
    "venue": str,
    "source": list,
    "note": str,
}
_EDGE: Final = re.compile(r"(open|close)(?:([+-])(\d{1,3})m)?", re.ASCII)
_COMPARED: Final = {"with": str, "first": date, "last": date, "on": date}


class Compared(msgspec.Struct, frozen=True):
    """A comparison of a calendar with another source: for which days, both inclusive, and on which day it was made."""

    source: str
    first: date
    last: date
    on: date


class Season(msgspec.Struct, frozen=True):
    """The days on which the venue's clock is `ahead` of that of another zone, at the venue's noon."""

    zone: tzinfo
    ahead: timedelta

    def includes(self, day: date, own: tzinfo) -> bool:
        """Whether a day is in the season of a venue whose zone is `own`."""
        noon = datetime.combine(day, _NOON, own)
        here, there = noon.utcoffset(), noon.astimezone(self.zone).utcoffset()
        assert here is not None
        assert there is not None
        return here - there == self.ahead


class Row(msgspec.Struct, frozen=True):
    """The days on which a calendar is wrong in one way: the hours that it has, and the true ones; None is no session.

    A row is about single `days`, or about all days from `first` to `last`, both inclusive, that are `weekdays` (0 is
    Monday), lie in the part of the year `between` (month and day, both inclusive), in the `season`, and not `without`.
    `joins_next`: what trades on these days is the beginning of the next session.
    """

    kind: Kind
    was: tuple[LocalHours | None, ...]
    hours: LocalHours | None
    source: str
    days: frozenset[date] = frozenset()
    first: date = date.min
    last: date = date.max
    weekdays: frozenset[int] = frozenset()
    between: tuple[tuple[int, int], tuple[int, int]] | None = None
    without: frozenset[date] = frozenset()
    season: Season | None = None
    joins_next: bool = False
    first_wrong: str | None = None
    first_fixed: str | None = None

    def includes(self, day: date, zone: tzinfo) -> bool:
        """Whether the row is about a day, of a venue in that zone."""
        if self.days:
            return day in self.days
        return (
            self.first <= day <= self.last
            and (not self.weekdays or day.weekday() in self.weekdays)
            and (self.between is None or self.between[0] <= (day.month, day.day) <= self.between[1])
            and day not in self.without
            and (self.season is None or self.season.includes(day, zone))
        )

    @property
    def ends(self) -> tuple[date, date]:
        """The first and the last day that the row can be about."""
        return (min(self.days), max(self.days)) if self.days else (self.first, self.last)


class PhaseEdge(msgspec.Struct, frozen=True):
    """A start or end of a phase: a local time, or minutes from the open or the close."""

    local: LocalTimeOfDay | None
    fact: str = ""
    offset: timedelta = timedelta(0)

    def of(self, session: Session, zone: tzinfo) -> datetime:
        """Return the instant in a session."""
        if self.local is not None:
            return self.local.on(session.date, zone)
        instant: datetime = getattr(session, self.fact)
        return instant + self.offset


class PhaseRow(msgspec.Struct, frozen=True):
    """A phase of every session from `first` to `last`, both inclusive, which has the local `hours`, where given.

    `venue` is the other venue on which the same securities trade then; None: it is the calendar's own.
    """

    name: str
    start: PhaseEdge
    end: PhaseEdge
    tradable: bool
    data_expected: bool
    first: date
    last: date
    hours: Mapping[str, LocalTimeOfDay]
    weekdays: frozenset[int]
    venue: str | None
    source: str

    def of(self, session: Session, zone: tzinfo) -> Phase | None:
        """Return the phase of a session, None where the row is not about it."""
        day = session.date
        if not self.first <= day <= self.last or (self.weekdays and day.weekday() not in self.weekdays):
            return None
        if any(getattr(session, fact) != hour.on(day, zone) for fact, hour in self.hours.items()):
            return None
        start, end = self.start.of(session, zone), self.end.of(session, zone)
        return Phase(self.name, start, end, tradable=self.tradable, data_expected=self.data_expected)


def with_phases(
    rows: Iterable[PhaseRow], night: str | None, sessions: Iterable[Session], zone: tzinfo
) -> Iterator[Session]:
    """Yield the sessions with the phases of the rows that are the calendar's own, and those of the venue `night`."""
    acting = [row for row in rows if row.venue is None or row.venue == night]
    for session in sessions:
        found = [phase for row in acting if (phase := row.of(session, zone)) is not None]
        found.sort(key=lambda phase: phase.start)
        yield replace(session, phases=tuple(found)) if found else session


class VenueHours(msgspec.Struct, frozen=True):
    """The content of a calendar's data file.

    `means` says what open and close stand for. `known_until` is the last day that the calendar can be relied on for,
    where lists of feasts end; `vouched_until` the last day whose holidays the exchange has published and that has been
    compared with them. `zone` is the venue's own zone where the calendar has another one.
    """

    calendar: str
    means: str = ""
    zone: tzinfo | None = None
    known_until: date | None = None
    vouched_until: date | None = None
    compared: tuple[Compared, ...] = ()
    rows: tuple[Row, ...] = ()
    phases: tuple[PhaseRow, ...] = ()

    @property
    def nights(self) -> tuple[str, ...]:
        """The other venues whose phases are on record."""
        return tuple(sorted({row.venue for row in self.phases if row.venue is not None}))

    @property
    def joins(self) -> bool:
        """Whether there are rows whose hours are the beginning of the next session."""
        return any(row.joins_next for row in self.rows)


@cache
def hours_of(calendar: str) -> VenueHours:
    """Return what is known about a calendar's hours, by its canonical name; it is empty where there is no data file.

    Raises:
        ValueError: the file has an unknown or invalid entry; names it.
    """
    name = file_name(calendar)
    try:
        found = get_data(_PACKAGE, f"hours_data/{name}")
    except OSError:  # there is none, or the name cannot be a file's
        found = None
    if found is None:
        return VenueHours(calendar)
    content = parsed_hours(name, found.decode())
    # A file system that does not distinguish cases, or a calendar that the application has registered.
    return content if content.calendar == calendar else VenueHours(calendar)


def file_name(calendar: str) -> str:
    """Return the name of a calendar's data file: `24-7.toml` for 24/7."""
    return calendar.replace("/", "-").replace("\\", "-") + ".toml"


def parsed_hours(name: str, text: str) -> VenueHours:
    """Return the content of a data file. `name` is the file's, for messages.

    Raises:
        ValueError: the file has an unknown or invalid entry; names it.
    """
    content = _toml(text)
    tables: dict[Kind, list[dict[str, Any]]] = {kind: content.pop(kind, []) for kind in KINDS}
    of_phases: list[dict[str, Any]] = content.pop("phase", [])
    try:
        _require(content, _HEAD, ("calendar",))
        zone = content.get("zone")
        head = VenueHours(
            content["calendar"],
            content.get("means", ""),
            None if zone is None else ZoneInfo(zone),
            content.get("known_until"),
            content.get("vouched_until"),
            tuple(_compared(each) for each in content.get("compared", ())),
        )
    except (ValueError, LookupError) as error:
        msg = f"{name}: {error}"
        raise ValueError(msg) from error
    rows: list[Row] = []
    for kind in KINDS:
        for number, table in enumerate(tables[kind], 1):
            try:
                rows.append(_row(kind, table))
            except (ValueError, LookupError) as error:
                msg = f"{name}, [[{kind}]] {number}: {error}"
                raise ValueError(msg) from error
    phases: list[PhaseRow] = []
    for number, table in enumerate(of_phases, 1):
        try:
            phases.append(_phase_row(table))
        except (ValueError, LookupError) as error:
            msg = f"{name}, [[phase]] {number}: {error}"
            raise ValueError(msg) from error
    return replace(head, rows=tuple(rows), phases=tuple(phases))


def _toml(text: str) -> dict[str, Any]:
    import tomllib  # slow to import, and a process with snapshots alone does not need it

    return tomllib.loads(text)


def _compared(table: dict[str, Any]) -> Compared:
    _require(table, _COMPARED, tuple(_COMPARED))
    return Compared(table["with"], table["first"], table["last"], table["on"])


def _row(kind: Kind, table: dict[str, Any]) -> Row:
    needed = ("source", "was") if kind == "closed" else ("source", "was", "hours")
    needed = (
        *needed,
        "from" if kind in ("regular", "season") else "",
        *(("zone", "ahead") if kind == "season" else ()),
    )
    _require(table, {**_EVERY_ROW, **_OF_KIND[kind]}, tuple(filter(None, needed)))
    if kind == "closed" and "hours" in table:
        _refuse("`hours` are not possible where there is no session")
    if ("days" in table) == ("from" in table):
        _refuse("give either `days` or `from`")
    if "days" in table and len(table.keys() & _SELECTORS.keys()) > 1:
        _refuse("`days` and a rule exclude each other")
    if table.get("counts_for", "next") != "next":
        _refuse(f'`counts_for` can only be "next", not {table["counts_for"]!r}')
    was = [table["was"]] if isinstance(table["was"], str) else _texts("was", table["was"])
    row = Row(
        kind,
        tuple(map(_hours, was)),
        None if kind == "closed" else _hours(table["hours"]),
        " ".join(_texts("source", table["source"])),
        frozenset(_dates("days", table.get("days", ()))),
        table.get("from", date.min),
        table.get("until", date.max),
        frozenset(map(_weekday, _texts("weekdays", table.get("weekdays", ())))),
        _between(table["between"]) if "between" in table else None,
        frozenset(_dates("except", table.get("except", ()))),
        Season(ZoneInfo(table["zone"]), timedelta(hours=table["ahead"])) if kind == "season" else None,
        "counts_for" in table,
        table.get("first_wrong"),
        table.get("first_fixed"),
    )
    if len(row.days) < len(table.get("days", ())):
        _refuse("`days` has a day twice")
    if row.first > row.last:
        _refuse(f"`from` ({row.first}) lies after `until` ({row.last})")
    if not row.source.startswith("http"):
        _refuse("`source` needs the address of the evidence")
    if kind != "closed" and row.hours is None:
        _refuse("`hours` need an open and a close")
    if row.hours in row.was and not row.joins_next:
        _refuse("`hours` are among the hours that are wrong")
    return row


def _phase_row(table: dict[str, Any]) -> PhaseRow:
    known = {name: kind for name, kind in _PHASE.items() if name not in ("days", "between", "except")}
    for name in ("tradable", "data_expected"):
        if type(table.get(name, True)) is not bool:
            _refuse(f"`{name}` must be true or false")
    flags = {name: table[name] for name in ("tradable", "data_expected") if name in table}
    if "tradable" not in flags:
        _refuse("`tradable` is missing")
    others = {name: entry for name, entry in table.items() if name not in flags}
    _require(others, known, ("name", "from", "start", "end", "source"))
    source = " ".join(_texts("source", table["source"]))
    if not source.startswith("http"):
        _refuse("`source` needs the address of the evidence")
    require_phase_name(table["name"])
    hours = {fact: hour for fact, hour in parse_fields(table.get("hours", "")).items() if fact in ("open", "close")}
    return PhaseRow(
        table["name"],
        _edge(table["start"]),
        _edge(table["end"]),
        flags["tradable"],
        flags.get("data_expected", True),
        table["from"],
        table.get("until", date.max),
        hours,
        frozenset(map(_weekday, _texts("weekdays", table.get("weekdays", ())))),
        table.get("venue"),
        source,
    )


def _edge(text: str) -> PhaseEdge:
    found = _EDGE.fullmatch(text)
    if found is None:
        return PhaseEdge(time_of_day(text))
    minutes = timedelta(minutes=int(found[3] or 0))
    return PhaseEdge(None, found[1], -minutes if found[2] == "-" else minutes)


def _hours(text: object) -> LocalHours | None:
    if not isinstance(text, str):
        _refuse(f'{text!r} are not hours, such as "open=09:00 close=15:00"')
    return None if text == NONE else hours_from(parse_fields(text))


def _weekday(name: str) -> int:
    if name not in WEEKDAYS:
        _refuse(f"{name!r} is not a weekday; there can be {', '.join(WEEKDAYS)}")
    return WEEKDAYS.index(name)


def _between(texts: object) -> tuple[tuple[int, int], tuple[int, int]]:
    days = [date.fromisoformat(f"2000-{each}") for each in _texts("between", texts)]
    if len(days) != 2 or days[0] > days[1]:  # noqa: PLR2004 -- a pair
        _refuse(f'`between` needs two days of a year in order, such as ["11-23", "11-29"], not {texts!r}')
    return (days[0].month, days[0].day), (days[1].month, days[1].day)


def _texts(name: str, entries: object) -> list[str]:
    found = list(cast("list[object]", entries))
    if not all(isinstance(each, str) for each in found):
        _refuse(f"`{name}` must be an array of strings, not {found!r}")
    return cast("list[str]", found)


def _dates(name: str, entries: object) -> list[date]:
    found = list(cast("list[object]", entries))
    if not all(isinstance(each, date) and not isinstance(each, datetime) for each in found):
        _refuse(f"`{name}` must be an array of dates, not {found!r}")
    return cast("list[date]", found)


def _require(table: Mapping[str, Any], known: Mapping[str, Any], needed: tuple[str, ...]) -> None:
    for name in needed:
        if name not in table:
            _refuse(f"`{name}` is missing")
    for name, entry in table.items():
        if name not in known:
            _refuse(f"{name!r} is not understood; there can be {', '.join(known)}")
        if not isinstance(entry, known[name]) or isinstance(entry, datetime | bool):
            _refuse(f"`{name}` cannot be {entry!r}")


def _refuse(why: str) -> NoReturn:
    raise ValueError(why)


def local_key(session: Session, zone: tzinfo) -> tuple[timedelta, ...]:
    """Return a session's open, close and breaks by the venue's clock, counted from the midnight of its date."""
    start = _start(session.date, zone)
    edges = (session.open, session.close, *(edge for pair in session.breaks for edge in pair))
    key = tuple(edge - start for edge in edges)
    if _by_day(key):
        return key
    midnight = datetime.combine(session.date, time())
    return tuple(edge.astimezone(zone).replace(tzinfo=None) - midnight for edge in edges)


def sessions_of(hours: LocalHours, zone: tzinfo) -> Callable[[date], Session]:
    """Return what makes the session of a day with these hours. It is `hours.on(day, zone)`, faster for hours by day."""
    delays = {name: timedelta(microseconds=hour.ticks) for name, hour in hours.facts.items()}
    pauses = [tuple(timedelta(microseconds=edge.ticks) for edge in pair) for pair in hours.breaks]
    if hours.phases or not _by_day(delays.values()):
        return lambda day: hours.on(day, zone)

    def session(day: date) -> Session:
        start = _start(day, zone)
        breaks = tuple((start + pause, start + resume) for pause, resume in pauses)
        facts: dict[str, Any] = {name: start + delay for name, delay in delays.items()}
        return Session(day, breaks=breaks, **facts)

    return session


def _start(day: date, zone: tzinfo) -> datetime:
    """Return a day's midnight, counted back from its noon by the clock."""
    return datetime.combine(day, _NOON, zone).astimezone(UTC) - _HALF_DAY


def _by_day(delays: Iterable[timedelta]) -> bool:
    return all(_DAWN <= delay < _LATE for delay in delays)


def row_key(hours: LocalHours | None) -> tuple[timedelta, ...] | None:
    """Return hours in the form of `local_key`, None where there is no session."""
    if hours is None:
        return None
    edges = (hours.facts["open"], hours.facts["close"], *(edge for pair in hours.breaks for edge in pair))
    return tuple(timedelta(microseconds=edge.ticks) for edge in edges)
