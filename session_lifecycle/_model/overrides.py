"""Hours that differ from the calendar's, on single dates: what a desk knows and the calendar does not.

An override is a value. Applying it to a date's session is a pure function, which refuses what cannot be.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, tzinfo

import msgspec

from session_lifecycle._model.clock import as_utc
from session_lifecycle._model.errors import InvalidSession, OverrideRefused
from session_lifecycle._model.session import Session, require_date

Hour = time | datetime
"""A time of the exchange's own day on the override's date, or, for an evening before, an aware instant."""


class Closure(msgspec.Struct, frozen=True):
    """The venue is closed on a date on which the calendar has a session. `reason` is for people."""

    __module__ = "session_lifecycle"

    date: date
    reason: str = ""

    def __post_init__(self) -> None:
        """Validate the date."""
        require_date("Closure.date", self.date)


class SpecialHours(msgspec.Struct, frozen=True):
    """Other hours on a date: each hour that is given replaces the calendar's. `reason` is for people.

    Where the calendar has no session on that date, `open` and `close` are both needed, and there is one. Without
    `breaks`, the calendar's stay as far as they lie within the new hours; `()` is none at all.

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
        """Validate every field, as far as it can be without the session."""
        require_date("SpecialHours.date", self.date)
        given = {name: getattr(self, name) for name in ("open", "close", "pre_market_start", "post_market_end")}
        if self.breaks is not None:
            msgspec.structs.force_setattr(self, "breaks", tuple((start, end) for start, end in self.breaks))
        elif all(hour is None for hour in given.values()):
            raise OverrideRefused(self.date, "it gives no hours: use Closure for a day without a session")
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
        TypeError: something is no override.
    """
    found: dict[date, Override] = {}
    for override in overrides:
        if not isinstance(override, Closure | SpecialHours):
            msg = f"an override is a Closure or SpecialHours, not {override!r}"
            raise TypeError(msg)
        if override.date in found:
            raise OverrideRefused(override.date, f"{found[override.date]} and {override} contradict each other")
        found[override.date] = override
    return found


def applied(override: Override, session: Session | None, zone: tzinfo) -> Session | None:
    """Return what an override makes of a date's session, None where there is none.

    Raises:
        OverrideRefused: it contradicts the calendar, or its hours cannot be; nothing is guessed.
    """
    if isinstance(override, Closure):
        if session is None:
            raise OverrideRefused(override.date, f"{override} closes a date on which the calendar has no session")
        return None
    opened, closed = _instant(override, override.open, zone), _instant(override, override.close, zone)
    start, end = _instant(override, override.pre_market_start, zone), _instant(override, override.post_market_end, zone)
    breaks: tuple[tuple[datetime, datetime], ...] = ()
    if session is not None:
        opened, closed = opened or session.open, closed or session.close
        start, end = start or session.pre_market_start, end or session.post_market_end
        breaks = session.breaks
    if opened is None or closed is None:
        raise OverrideRefused(override.date, f"{override}: the calendar has no session then; give `open` and `close`")
    if override.breaks is None:
        breaks = tuple((pause, resume) for pause, resume in breaks if opened < resume and pause < closed)
    else:
        breaks = tuple((_must(override, a, zone), _must(override, b, zone)) for a, b in override.breaks)
    try:
        return Session(override.date, opened, closed, breaks, start, end)
    except InvalidSession as error:
        raise OverrideRefused(override.date, f"{override} on {session}: {error}") from error


def _instant(override: SpecialHours, hour: Hour | None, zone: tzinfo) -> datetime | None:
    return None if hour is None else _must(override, hour, zone)


def _must(override: SpecialHours, hour: Hour, zone: tzinfo) -> datetime:
    if isinstance(hour, datetime):
        return as_utc("hour", hour)
    local = datetime.combine(override.date, hour, zone)
    instant = local.astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) != local.replace(tzinfo=None):
        raise OverrideRefused(override.date, f"{hour} does not exist in {zone} on that day: the clocks go forward then")
    return instant


def summary(override: Override) -> str:
    """Return what an override is, and its reason, for messages."""
    what = "closed" if isinstance(override, Closure) else "special hours"
    return f"{what}: {override.reason}" if override.reason else what
