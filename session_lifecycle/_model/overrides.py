"""Overrides: hours of single dates that differ from the calendar's.

An override is a value. Applying it to a date's session is a pure function, which refuses impossible hours.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, tzinfo

import msgspec

from session_lifecycle._model.clock import as_utc
from session_lifecycle._model.errors import InvalidSession, OverrideRefused
from session_lifecycle._model.legs import FACTS, REQUIRED_FACTS
from session_lifecycle._model.session import Session, require_date

Hour = time | datetime
"""A time of the exchange's own day on the override's date, or an aware instant, as for the evening before."""


class Closure(msgspec.Struct, frozen=True):
    """The venue is closed on a date on which the calendar has a session. `reason` is for people."""

    __module__ = "session_lifecycle"

    date: date
    reason: str = ""

    def __post_init__(self) -> None:
        """Validate the date."""
        require_date("Closure.date", self.date)


class SpecialHours(msgspec.Struct, frozen=True):
    """Special hours on a date: each hour that is given replaces the calendar's. `reason` is for people.

    On a date without a session, `open` and `close` are both required, and add one. Without `breaks`, the calendar's
    breaks within the new hours stay; `()` removes them.

    Raises:
        NaiveDatetimeError: an hour is a datetime without a time zone.
        TypeError: an hour is neither a time without a time zone nor a datetime.
        OverrideRefused: no hour is given.
    """

    __module__ = "session_lifecycle"

    date: date
    open: Hour | None = None
    close: Hour | None = None
    breaks: tuple[tuple[Hour, Hour], ...] | None = None
    pre_market_start: Hour | None = None
    post_market_end: Hour | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        """Validate every field; what depends on the session is validated by `applied`."""
        require_date("SpecialHours.date", self.date)
        given: dict[str, Hour | None] = {name: getattr(self, name) for name in FACTS}
        if self.breaks is not None:
            msgspec.structs.force_setattr(self, "breaks", tuple((start, end) for start, end in self.breaks))
        elif all(hour is None for hour in given.values()):
            raise OverrideRefused(self.date, "it has no hours. Use Closure for a day without a session")
        for name, hour in [*given.items(), *(("break", hour) for pair in self.breaks or () for hour in pair)]:
            if isinstance(hour, datetime):
                as_utc(f"{name} of {self.date}", hour)
            elif hour is not None and (not isinstance(hour, time) or hour.tzinfo is not None):
                msg = f"{name} of {self.date} must be a time of the exchange's day or an aware datetime, not {hour!r}"
                raise TypeError(msg)


Override = Closure | SpecialHours
"""Anything that changes the hours of a date."""


def by_date(overrides: Iterable[Override]) -> dict[date, Override]:
    """Return overrides by their dates.

    Raises:
        OverrideRefused: two of them are for the same date.
        TypeError: an element is not an override.
    """
    found: dict[date, Override] = {}
    for override in overrides:
        if not isinstance(override, Closure | SpecialHours):
            msg = f"an override must be a Closure or SpecialHours, not {override!r}"
            raise TypeError(msg)
        if override.date in found:
            raise OverrideRefused(override.date, f"{found[override.date]} and {override} contradict each other")
        found[override.date] = override
    return found


def applied(override: Override, session: Session | None, zone: tzinfo) -> Session | None:
    """Return a date's session with an override applied, None where there is none.

    Raises:
        OverrideRefused: it contradicts the calendar, or its hours are impossible. Nothing is guessed.
    """
    if isinstance(override, Closure):
        if session is None:
            raise OverrideRefused(override.date, f"{override} closes a date on which the calendar has no session")
        return None
    facts: dict[str, datetime] = {}
    for name in FACTS:
        hour: Hour | None = getattr(override, name)
        instant = getattr(session, name, None) if hour is None else _as_instant(override, hour, zone)
        if instant is not None:
            facts[name] = instant
    if not facts.keys() >= set(REQUIRED_FACTS):
        raise OverrideRefused(
            override.date, f"{override}: the calendar has no session on that date. Give `open` and `close`"
        )
    if override.breaks is None:
        calendar_breaks = () if session is None else session.breaks
        opened, closed = facts["open"], facts["close"]
        breaks = tuple((pause, resume) for pause, resume in calendar_breaks if opened < resume and pause < closed)
    else:
        breaks = tuple((_as_instant(override, a, zone), _as_instant(override, b, zone)) for a, b in override.breaks)
    try:
        return Session(override.date, breaks=breaks, **facts)
    except InvalidSession as error:
        raise OverrideRefused(override.date, f"{override} on {session}: {error}") from error


def _as_instant(override: SpecialHours, hour: Hour, zone: tzinfo) -> datetime:
    if isinstance(hour, datetime):
        return as_utc("hour", hour)
    local = datetime.combine(override.date, hour, zone)
    instant = local.astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) != local.replace(tzinfo=None):
        raise OverrideRefused(override.date, f"{hour} does not exist in {zone} on that day: the clocks go forward then")
    return instant


def summary(override: Override) -> str:
    """Return the kind of an override and its reason, for messages."""
    what = "closed" if isinstance(override, Closure) else "special hours"
    return f"{what}: {override.reason}" if override.reason else what
