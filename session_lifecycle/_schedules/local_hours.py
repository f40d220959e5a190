"""The hours of a session in the exchange's local time, and their text in a line of a file.

`open=09:30 close=16:00` is a day in New York. `open=17:00-1d close=16:00` is a day in Chicago, which opens on the
evening before. The names are the fields of `Session`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, Final, NamedTuple, NoReturn

import msgspec

from session_lifecycle._model.session import Session

FIELDS: Final = ("open", "close", "breaks", "pre_market_start", "post_market_end")
ABSENT: Final = "none"
TICKS_A_DAY: Final = 86_400_000_000

_DAY: Final = timedelta(days=1)
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


class LocalHours(msgspec.Struct, frozen=True):
    """The hours of a session in local time.

    `opens`, `closes` (ticks) and `by_night` are for comparing many sessions quickly: as long as no hour of `by_night`
    is skipped or repeated on its day, local times have the same order as the instants.
    """

    open: LocalTimeOfDay
    close: LocalTimeOfDay
    breaks: tuple[tuple[LocalTimeOfDay, LocalTimeOfDay], ...]
    pre_market_start: LocalTimeOfDay | None
    post_market_end: LocalTimeOfDay | None
    opens: int
    closes: int
    by_night: tuple[LocalTimeOfDay, ...]

    def on(self, day: date, zone: tzinfo) -> Session:
        """Return the session of that date.

        Raises:
            InvalidSession: the hours are not in order.
        """
        start, end = self.pre_market_start, self.post_market_end
        return Session(
            day,
            self.open.on(day, zone),
            self.close.on(day, zone),
            tuple((pause.on(day, zone), resume.on(day, zone)) for pause, resume in self.breaks),
            None if start is None else start.on(day, zone),
            None if end is None else end.on(day, zone),
        )


def hours_from(fields: Mapping[str, Any]) -> LocalHours:
    """Return the hours with these fields, as `parse_fields` returns them.

    Raises:
        ValueError: the open or the close is missing.
    """
    for name in ("open", "close"):
        if name not in fields:
            refuse(f"{name} is missing here and in `regular`")
    opened, closed = fields["open"], fields["close"]
    breaks, start, end = fields.get("breaks", ()), fields.get("pre_market_start"), fields.get("post_market_end")
    every: list[LocalTimeOfDay | None] = [opened, closed, start, end, *(hour for pair in breaks for hour in pair)]
    by_night = tuple(hour for hour in every if hour is not None and not _DAWN <= hour.time < _LATE)
    return LocalHours(opened, closed, breaks, start, end, opened.ticks, closed.ticks, by_night)


def parse_fields(text: str) -> dict[str, Any]:
    """Return the fields in a text such as `open=09:30 close=16:00`, by their names.

    Raises:
        ValueError: a word is unknown or invalid, or a field is given twice; says which.
    """
    found: dict[str, Any] = {}
    for word in text.split():
        name, _, content = word.partition("=")
        if name not in FIELDS or not content:
            refuse(f"{word!r} is not understood; there can be {', '.join(f'{each}=...' for each in FIELDS)}")
        if name in found:
            refuse(f"{name} is given twice")
        if name == "breaks":
            found[name] = () if content == ABSENT else tuple(map(_break, content.split(",")))
        else:
            found[name] = None if content == ABSENT and name not in ("open", "close") else _hour(content)
    return found


def field_texts(session: Session, zone: tzinfo) -> tuple[str, ...]:
    """Return the text of each field of a session's hours, in the order of `FIELDS`.

    Raises:
        ValueError: an hour occurs twice on its day in the exchange's local time.
    """

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
    ends = text(session.pre_market_start), text(session.post_market_end)
    return (text(session.open), text(session.close), breaks, *ends)


def differing(texts: Sequence[str], regular: Sequence[str]) -> Iterator[str]:
    """Yield the words of a session's line: the fields that differ from the regular hours."""
    for name, text, usual in zip(FIELDS, texts, regular, strict=True):
        if text != usual:
            yield f"{name}={text}"


def refuse(why: str) -> NoReturn:
    """Raise a ValueError with that reason."""
    raise ValueError(why)


def _break(text: str) -> tuple[LocalTimeOfDay, LocalTimeOfDay]:
    start, slash, end = text.partition("/")
    if not slash:
        refuse(f"{text!r} is not a break, such as 12:00/13:00")
    return _hour(start), _hour(end)


def _hour(text: str) -> LocalTimeOfDay:
    found = _HOUR.fullmatch(text)
    if found is None:
        refuse(f"{text!r} is not a time, such as 16:00, or 17:00-1d for the evening before, 00:00+1d for midnight")
    return LocalTimeOfDay(int(found[2] or 0), time.fromisoformat(found[1]))
