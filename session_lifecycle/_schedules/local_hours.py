"""The hours of a session in the exchange's own time, and the words in which a line of a file tells them.

`open=09:30 close=16:00` are the hours of a day in New York, `open=17:00-1d close=16:00` those of one in Chicago that
begins on the evening before. The names are those of the fields of `Session`.
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
# Clocks are changed at night: by day, each local time is one instant. In the zones of all exchanges since 1970 there is
# one exception, the morning of a Sunday in Athens, 1979-04-01.
_DAWN, _LATE = time(5), time(22)


class LocalTimeOfDay(NamedTuple):
    """A local time, so many days after the session's date."""

    days: int
    time: time

    def __str__(self) -> str:
        clock = self.time.isoformat("auto" if self.time.second or self.time.microsecond else "minutes")
        return f"{clock}{self.days:+}d" if self.days else clock

    @property
    def ticks(self) -> int:
        """How many microseconds of local time lie between the midnight that the date begins with and this."""
        seconds = (self.time.hour * 60 + self.time.minute) * 60 + self.time.second
        return self.days * TICKS_A_DAY + seconds * 1_000_000 + self.time.microsecond

    def on(self, day: date, zone: tzinfo) -> datetime:
        """Return the instant, in UTC, for a session of that date."""
        return datetime.combine(day + self.days * _DAY, self.time, zone).astimezone(UTC)

    def is_single(self, day: date, zone: tzinfo) -> bool:
        """Whether that local time is there on its day, and once only."""
        local = datetime.combine(day + self.days * _DAY, self.time, zone)
        return local.utcoffset() == local.replace(fold=1).utcoffset()


class LocalHours(msgspec.Struct, frozen=True):
    """The hours of a session in local time; `opens`, `closes` and `by_night` are for holding many apart quickly.

    While no hour of `by_night` is skipped or comes twice on its day, the order of local times is that of the instants.
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


def hours_of(told: Mapping[str, Any]) -> LocalHours:
    """Return the hours that have been told, by their names, as `words_in` gives them.

    Raises:
        ValueError: the open or the close is missing.
    """
    for name in ("open", "close"):
        if name not in told:
            refuse(f"{name} is told neither here nor in `regular`")
    opened, closed = told["open"], told["close"]
    breaks, start, end = told.get("breaks", ()), told.get("pre_market_start"), told.get("post_market_end")
    every: list[LocalTimeOfDay | None] = [opened, closed, start, end, *(hour for pair in breaks for hour in pair)]
    by_night = tuple(hour for hour in every if hour is not None and not _DAWN <= hour.time < _LATE)
    return LocalHours(opened, closed, breaks, start, end, opened.ticks, closed.ticks, by_night)


def words_in(text: str) -> dict[str, Any]:
    """Return the hours that a text tells, by their names.

    Raises:
        ValueError: a word is not understood, or an hour is told twice; says which.
    """
    told: dict[str, Any] = {}
    for word in text.split():
        name, _, value = word.partition("=")
        if name not in FIELDS or not value:
            refuse(f"{word!r} is not understood; there can be {', '.join(f'{each}=...' for each in FIELDS)}")
        if name in told:
            refuse(f"{name} is told twice")
        if name == "breaks":
            told[name] = () if value == ABSENT else tuple(map(_break, value.split(",")))
        else:
            told[name] = None if value == ABSENT and name not in ("open", "close") else _hour(value)
    return told


def in_words(session: Session, zone: tzinfo) -> tuple[str, ...]:
    """Return a session's hours as words for the values, in the order of the fields.

    Raises:
        ValueError: an hour comes twice in the exchange's own time.
    """

    def told(instant: datetime | None) -> str:
        if instant is None:
            return ABSENT
        local = instant.astimezone(zone)
        hour = LocalTimeOfDay((local.date() - session.date).days, local.time())
        if not hour.is_single(session.date, zone):
            refuse(
                f"{local:%H:%M} of {local:%Y-%m-%d} comes twice in {zone}, because the clocks change, so session "
                f"{session.date} cannot be told; that of a schedule whose timezone is UTC can be"
            )
        return f"{hour}"

    breaks = ",".join(f"{told(start)}/{told(end)}" for start, end in session.breaks) or ABSENT
    ends = told(session.pre_market_start), told(session.post_market_end)
    return (told(session.open), told(session.close), breaks, *ends)


def differing(words: Sequence[str], regular: Sequence[str]) -> Iterator[str]:
    """Return the words of a line: those of a session's that are not the regular ones."""
    for name, mine, usual in zip(FIELDS, words, regular, strict=True):
        if mine != usual:
            yield f"{name}={mine}"


def refuse(why: str) -> NoReturn:
    """Raise a ValueError."""
    raise ValueError(why)


def _break(text: str) -> tuple[LocalTimeOfDay, LocalTimeOfDay]:
    start, slash, end = text.partition("/")
    if not slash:
        refuse(f"{text!r} is no break, such as 12:00/13:00")
    return _hour(start), _hour(end)


def _hour(text: str) -> LocalTimeOfDay:
    found = _HOUR.fullmatch(text)
    if found is None:
        refuse(f"{text!r} is no time, such as 16:00, or 17:00-1d for the evening before, 00:00+1d for midnight")
    return LocalTimeOfDay(int(found[2] or 0), time.fromisoformat(found[1]))
