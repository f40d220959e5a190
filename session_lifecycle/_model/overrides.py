"""Overrides: hours of single dates, or of a range of them, that differ from the calendar's.

An override is a value. Applying it to a date's session is a pure function, which refuses impossible hours.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, tzinfo
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from session_lifecycle._model.clock import as_utc
from session_lifecycle._model.errors import InvalidSession, OverrideRefused
from session_lifecycle._model.legs import FACTS, REQUIRED_FACTS
from session_lifecycle._model.session import Date, Phase, Session, require_date

Hour = time | datetime
"""A time of the exchange's own day on the override's date, or an aware instant, as for the evening before."""

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""The names of the days of the week, from Monday on."""

_OF_USUAL: Final = 4  # hours that one session in this many has are usual in a season


class Closure(msgspec.Struct, frozen=True):
    """The venue is closed on a date on which the calendar has a session. `reason` is for people.

    Raises:
        TypeError: `date` is no date.
    """

    __module__ = "session_lifecycle"

    date: Date
    reason: str = ""

    def __post_init__(self) -> None:
        """Validate the date."""
        require_date("Closure.date", self.date)


class SpecialHours(msgspec.Struct, frozen=True):
    """Special hours on a date: each hour that is given replaces the calendar's. `reason` is for people.

    On a date without a session, `open` and `close` are both required, and add one. Without `breaks`, the calendar's
    breaks within the new hours stay; `()` removes them. The calendar's `pre_market_start` and `post_market_end` stay
    where they lie before the new open and after the new close. Without `phases`, the calendar's phases stay that no
    changed open or close touches; `()` removes them.

    With `until`, the hours are those of a season: of every session from `date` to `until`, both inclusive, or of those
    on `weekdays` alone, such as `("mon", "tue")`. It adds no session. An override of a single date in it comes first,
    and a session whose open and close fewer than a quarter of the season's sessions have, such as a half day, keeps its
    hours. The hours of a season are times.

    Raises:
        NaiveDatetimeError: an hour is a datetime without a time zone.
        TypeError: an hour is neither a time without a time zone nor a datetime, `date` or `until` is no date, or one of
            `phases` no `Phase`.
        OverrideRefused: no hour is given, `until` lies before `date`, `weekdays` has another word or no `until`, an
            hour of a season is a datetime, or a season has `phases`.
    """

    __module__ = "session_lifecycle"

    date: Date
    open: Hour | None = None
    close: Hour | None = None
    breaks: tuple[tuple[Hour, Hour], ...] | None = None
    pre_market_start: Hour | None = None
    post_market_end: Hour | None = None
    reason: str = ""
    until: Date | None = None
    weekdays: tuple[str, ...] = ()
    phases: tuple[Phase, ...] | None = None

    def __post_init__(self) -> None:
        """Validate every field; what depends on the session is validated by `applied`."""
        self._validate_hours()
        self._validate_season()

    def _validate_hours(self) -> None:
        require_date("SpecialHours.date", self.date)
        given: dict[str, Hour | None] = {name: getattr(self, name) for name in FACTS}
        if self.breaks is not None:
            msgspec.structs.force_setattr(self, "breaks", tuple((start, end) for start, end in self.breaks))
        elif self.phases is None and all(hour is None for hour in given.values()):
            raise OverrideRefused(self.date, "it has no hours. Use Closure for a day without a session")
        if self.phases is not None:
            msgspec.structs.force_setattr(self, "phases", tuple(self.phases))
            if self.until is not None:
                raise OverrideRefused(self.date, "phases are of a single date, not of a season")
            if not all(isinstance(phase, Phase) for phase in self.phases or ()):
                msg = f"phases of {self.date} must be Phase values, not {self.phases!r}"
                raise TypeError(msg)
        for name, hour in [*given.items(), *(("break", hour) for pair in self.breaks or () for hour in pair)]:
            if isinstance(hour, datetime):
                as_utc(f"{name} of {self.date}", hour)
            elif hour is not None and (not isinstance(hour, time) or hour.tzinfo is not None):
                msg = f"{name} of {self.date} must be a time of the exchange's day or an aware datetime, not {hour!r}"
                raise TypeError(msg)
            if isinstance(hour, datetime) and self.until is not None:
                raise OverrideRefused(self.date, f"{name} is {hour}, and hours of a season are times without a date")

    def _validate_season(self) -> None:
        msgspec.structs.force_setattr(self, "weekdays", tuple(self.weekdays))
        if self.until is None:
            if self.weekdays:
                raise OverrideRefused(self.date, "`weekdays` need `until`, the last day of the season")
            return
        require_date("SpecialHours.until", self.until)
        if self.until < self.date:
            raise OverrideRefused(self.date, f"the season would end on {self.until}, before it begins")
        for name in self.weekdays:
            if name not in WEEKDAYS:
                raise OverrideRefused(self.date, f"{name!r} is not a weekday; there can be {', '.join(WEEKDAYS)}")

    def on(self, day: Date) -> "SpecialHours | None":
        """Return the hours of a season as those of one of its days; None where that is another day of the week."""
        if self.weekdays and WEEKDAYS[day.weekday()] not in self.weekdays:
            return None
        return replace(self, date=day, until=None, weekdays=())


Override = Closure | SpecialHours
"""Anything that changes the hours of a date."""


def by_date(overrides: Iterable[Override]) -> tuple[dict[date, Override], list[SpecialHours]]:
    """Return the overrides of single dates by their dates, and the seasons.

    Raises:
        OverrideRefused: two are for the same date.
        TypeError: an element is not an override.
    """
    found: dict[date, Override] = {}
    seasons: list[SpecialHours] = []
    for override in overrides:
        if not isinstance(override, Closure | SpecialHours):
            msg = f"an override must be a Closure or SpecialHours, not {override!r}"
            raise TypeError(msg)
        if isinstance(override, SpecialHours) and override.until is not None:
            seasons.append(override)
        elif override.date in found:
            raise OverrideRefused(override.date, f"{found[override.date]} and {override} contradict each other")
        else:
            found[override.date] = override
    return found, seasons


def of_seasons(
    seasons: Iterable[SpecialHours], sessions: Callable[[date, date], Iterable[Session]], zone: tzinfo
) -> dict[date, SpecialHours]:
    """Return the hours of seasons by the dates of the sessions in them, which `sessions(first, last)` returns.

    Raises:
        OverrideRefused: two seasons are for the same date, or one has no session.
    """
    found: dict[date, SpecialHours] = {}
    for season in seasons:
        assert season.until is not None
        days = {session.date: _clock(session, zone) for session in sessions(season.date, season.until)}
        shares = Counter(days.values())
        hours = [season.on(day) for day, clock in days.items() if _OF_USUAL * shares[clock] >= len(days)]
        of_days = {each.date: each for each in hours if each is not None}
        if not of_days:
            raise OverrideRefused(season.date, f"{season} has no session: check its days and weekdays")
        for day in of_days.keys() & found.keys():
            raise OverrideRefused(day, f"{found[day]} and {of_days[day]}, of two seasons, contradict each other")
        found |= of_days
    return found


def _clock(session: Session, zone: tzinfo) -> tuple[time, time]:
    opened, closed = session.open.astimezone(zone), session.close.astimezone(zone)
    return opened.time(), closed.time()


def applied(override: Override, session: Session | None, zone: tzinfo) -> Session | None:
    """Return a date's session with an override applied, None where there is none.

    Raises:
        OverrideRefused: it contradicts the calendar, or its hours are impossible. Nothing is guessed.
    """
    if isinstance(override, Closure):
        if session is None:
            raise OverrideRefused(override.date, f"{override} closes a date on which the calendar has no session")
        return None
    facts: dict[str, Any] = {}
    for name in FACTS:
        hour: Hour | None = getattr(override, name)
        instant: datetime | None
        if hour is not None:
            instant = _as_instant(override, hour, zone)
        else:
            instant = getattr(session, name, None)
            if instant is not None and name not in REQUIRED_FACTS and not _fits(name, instant, facts):
                instant = None  # as a break outside the new hours: the venue's own no longer holds
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
        phases = _kept_phases(session, facts) if override.phases is None else override.phases
        return Session(override.date, breaks=breaks, phases=phases, **facts)
    except InvalidSession as error:
        raise OverrideRefused(override.date, f"{override} on {session}: {error}") from error


def _kept_phases(session: Session | None, hours: dict[str, datetime]) -> tuple[Phase, ...]:
    """Return the calendar's phases that no changed hour touches: of the others it is not known what becomes of them."""
    if session is None:
        return ()
    moved = [(getattr(session, name), hours[name]) for name in REQUIRED_FACTS if hours[name] != getattr(session, name)]
    return tuple(
        phase
        for phase in session.phases
        if not any(phase.start <= max(was, becomes) and phase.end >= min(was, becomes) for was, becomes in moved)
    )


def _fits(name: str, instant: datetime, hours: dict[str, datetime]) -> bool:
    """Whether the calendar's own begin of the pre-market, or end of the post-market, is possible with the hours."""
    opened, closed = hours.get("open"), hours.get("close")
    if name == "pre_market_start":
        return opened is None or instant <= opened
    return closed is None or instant >= closed


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
