"""The hours of a session in the exchange's local time, and their text in a line of a file.

`open=09:30 close=16:00` is a day in New York. `open=17:00-1d close=16:00` is a day in Chicago, which opens on the
evening before. The names are the fields of `Session` that hold its hours (`HOURS`). A phase is written as
`phases=overnight@20:00-1d/04:00/tradable`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, Final, NamedTuple, NoReturn

import msgspec

from session_lifecycle._model.legs import FACTS, HOURS, REQUIRED_FACTS
from session_lifecycle._model.session import Phase, Session, require_phase_name
from session_lifecycle._schedules.text_files import shown

ABSENT: Final = "none"
TICKS_A_DAY: Final = 86_400_000_000

_DAY: Final = timedelta(days=1)
_MOST: Final = 24
"""How many breaks, or phases, a session in a file may have: checking a day takes time by their number."""

_HOUR: Final = re.compile(r"((?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{6})?)?)(?:([+-]\d{1,2})d)?", re.ASCII)
# Clocks change at night: by day, each local time is one instant. The zones of all exchanges have one exception since
# 1970, the morning of a Sunday in Athens, 1979-04-01.
_DAWN, _LATE = time(5), time(22)


class LocalTimeOfDay(NamedTuple):
    """A local time on the day that is `days` after the session's date."""

    days: int
    time: time

    def __str__(self) -> str:
        clock = self.time.isoformat("auto" if self.time.second or self.time.microsecond else "minutes")
        return f"{clock}{self.days:+}d" if self.days else clock

    @property
    def ticks(self) -> int:
        """Microseconds of local time since the midnight at which the date begins."""
        seconds = (self.time.hour * 60 + self.time.minute) * 60 + self.time.second
        return self.days * TICKS_A_DAY + seconds * 1_000_000 + self.time.microsecond

    def on(self, day: date, zone: tzinfo) -> datetime:
        """Return the instant in UTC, for a session of that date."""
        return datetime.combine(day + self.days * _DAY, self.time, zone).astimezone(UTC)

    def is_single(self, day: date, zone: tzinfo) -> bool:
        """Whether that local time occurs on its day exactly once: it is neither skipped nor repeated."""
        local = datetime.combine(day + self.days * _DAY, self.time, zone)
        return local.utcoffset() == local.replace(fold=1).utcoffset()


class LocalPhase(NamedTuple):
    """A phase in local time."""

    name: str
    start: LocalTimeOfDay
    end: LocalTimeOfDay
    tradable: bool
    data_expected: bool

    def on(self, day: date, zone: tzinfo) -> Phase:
        """Return the phase of a session of that date."""
        start, end = self.start.on(day, zone), self.end.on(day, zone)
        return Phase(self.name, start, end, tradable=self.tradable, data_expected=self.data_expected)


class LocalHours(msgspec.Struct, frozen=True):
    """The hours of a session in local time: the instants that it has, by their names, and its breaks.

    `opens`, `closes` (ticks), `by_night` and `days` are for comparing many sessions quickly: where the clocks do not
    change from the first to the last of its `days`, counted from its date, local times have the order of the instants.
    """

    facts: Mapping[str, LocalTimeOfDay]
    breaks: tuple[tuple[LocalTimeOfDay, LocalTimeOfDay], ...]
    opens: int
    closes: int
    by_night: tuple[LocalTimeOfDay, ...]
    days: tuple[timedelta, timedelta]
    phases: tuple[LocalPhase, ...] = ()

    @property
    def close(self) -> LocalTimeOfDay:
        """When the session closes."""
        return self.facts["close"]

    def on(self, day: date, zone: tzinfo) -> Session:
        """Return the session of that date.

        Raises:
            InvalidSession: the hours are not in order.
        """
        breaks = tuple((pause.on(day, zone), resume.on(day, zone)) for pause, resume in self.breaks)
        facts: dict[str, Any] = {name: hour.on(day, zone) for name, hour in self.facts.items()}
        return Session(day, breaks=breaks, phases=tuple(each.on(day, zone) for each in self.phases), **facts)


def hours_from(fields: Mapping[str, Any]) -> LocalHours:
    """Return the hours with these fields, as `parse_fields` returns them.

    Raises:
        ValueError: the open or the close is missing.
    """
    for name in REQUIRED_FACTS:
        if name not in fields:
            refuse(f"{name} is missing here and in `regular`")
    facts: dict[str, LocalTimeOfDay] = {name: fields[name] for name in FACTS if fields.get(name) is not None}
    breaks: tuple[tuple[LocalTimeOfDay, LocalTimeOfDay], ...] = fields.get("breaks", ())
    phases: tuple[LocalPhase, ...] = fields.get("phases", ())
    every = [*facts.values(), *(hour for pair in breaks for hour in pair)]
    every += [hour for phase in phases for hour in (phase.start, phase.end)]
    by_night = tuple(hour for hour in every if not _DAWN <= hour.time < _LATE)
    days = (min(hour.days for hour in every) * _DAY, max(hour.days for hour in every) * _DAY)
    return LocalHours(facts, breaks, facts["open"].ticks, facts["close"].ticks, by_night, days, phases)


def parse_fields(text: str) -> dict[str, Any]:
    """Return the fields in a text such as `open=09:30 close=16:00`, by their names.

    Raises:
        ValueError: a word is unknown or invalid, or a field is given twice; says which.
    """
    found: dict[str, Any] = {}
    for word in text.split():
        name, _, content = word.partition("=")
        if name not in HOURS or not content:
            refuse(f"{shown(word)} is not understood; there can be {', '.join(f'{each}=...' for each in HOURS)}")
        if name in found:
            refuse(f"{name} is given twice")
        if name == "breaks":
            found[name] = () if content == ABSENT else _breaks(content)
        elif name == "phases":
            found[name] = () if content == ABSENT else _phases(content)
        else:
            found[name] = None if content == ABSENT and name not in REQUIRED_FACTS else time_of_day(content)
    return found


def field_texts(session: Session, zone: tzinfo) -> tuple[str, ...]:
    """Return the text of each field of a session's hours, in the order of `HOURS`.

    Raises:
        ValueError: an hour occurs twice on its day in the exchange's local time, or there are too many breaks or
            phases.
    """
    _require_few("breaks", len(session.breaks))
    _require_few("phases", len(session.phases))

    def text(instant: datetime | None) -> str:
        if instant is None:
            return ABSENT
        local = instant.astimezone(zone)
        hour = LocalTimeOfDay((local.date() - session.date).days, local.time())
        if not hour.is_single(session.date, zone):
            refuse(
                f"{local:%H:%M} of {local:%Y-%m-%d} occurs twice in {zone}, because the clocks change, so session "
                f"{session.date} cannot be written in local time; use a schedule whose timezone is UTC"
            )
        return f"{hour}"

    breaks = ",".join(f"{text(start)}/{text(end)}" for start, end in session.breaks) or ABSENT
    phases = ",".join(_phase_text(each, text(each.start), text(each.end)) for each in session.phases) or ABSENT
    several = {"breaks": breaks, "phases": phases}
    return tuple(several[name] if name in several else text(getattr(session, name)) for name in HOURS)


def differing(texts: Sequence[str], regular: Sequence[str]) -> Iterator[str]:
    """Yield the words of a session's line: the fields that differ from the regular hours."""
    for name, text, usual in zip(HOURS, texts, regular, strict=True):
        if text != usual:
            yield f"{name}={text}"


def refuse(why: str) -> NoReturn:
    """Raise a ValueError with that reason."""
    raise ValueError(why)


def _phase_text(phase: Phase, start: str, end: str) -> str:
    flags = f"{'/tradable' if phase.tradable else ''}{'' if phase.data_expected else '/no_data'}"
    return f"{phase.name}@{start}/{end}{flags}"


def _phase(text: str) -> LocalPhase:
    name, at, rest = text.partition("@")
    start, *others = rest.split("/")
    if not at or not others or not set(others[1:]) <= {"tradable", "no_data"}:
        refuse(
            f"{shown(text)} is not a phase, such as closing_auction@15:25/15:30, with /tradable and /no_data where it "
            "is so"
        )
    require_phase_name(name)
    return LocalPhase(name, time_of_day(start), time_of_day(others[0]), "tradable" in others, "no_data" not in others)


def _breaks(text: str) -> tuple[tuple[LocalTimeOfDay, LocalTimeOfDay], ...]:
    return tuple(map(_break, _few("breaks", text)))


def _phases(text: str) -> tuple[LocalPhase, ...]:
    return tuple(map(_phase, _few("phases", text)))


def _few(what: str, text: str) -> list[str]:
    parts = text.split(",")
    _require_few(what, len(parts))
    return parts


def _require_few(what: str, number: int) -> None:
    if number > _MOST:
        refuse(f"there are {number} {what}; in a file a session can have {_MOST}")


def _break(text: str) -> tuple[LocalTimeOfDay, LocalTimeOfDay]:
    start, slash, end = text.partition("/")
    if not slash:
        refuse(f"{shown(text)} is not a break, such as 12:00/13:00")
    return time_of_day(start), time_of_day(end)


def time_of_day(text: str) -> LocalTimeOfDay:
    """Return the local time of a text such as `16:00` or `20:00-1d`.

    Raises:
        ValueError: it is none.
    """
    found = _HOUR.fullmatch(text)
    if found is None:
        refuse(f"{shown(text)} is not a time, such as 16:00, or 17:00-1d for the evening before, 00:00+1d for midnight")
    return LocalTimeOfDay(int(found[2] or 0), time.fromisoformat(found[1]))
