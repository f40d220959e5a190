"""Compare schedules: the dates on which they differ, and the times at which their markets are open together.

Both work with any `Schedule` and use instants only, never the time of day. So the answers are also right in the weeks
in which only one of two venues has changed its clocks.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, tzinfo

import msgspec

from session_lifecycle._model.clock import as_utc
from session_lifecycle._model.errors import ConfigurationError
from session_lifecycle._model.legs import HOURS
from session_lifecycle._model.session import Date, Phase, Session, require_date
from session_lifecycle._schedules.base import Schedule, require_schedule

Interval = tuple[datetime, datetime]
"""A half-open interval of time: the first instant is in it, the second is not."""


class Difference(msgspec.Struct, frozen=True):
    """A date on which two schedules differ. None means "no session"."""

    __module__ = "session_lifecycle"

    date: Date
    a: Session | None
    b: Session | None

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields of `Session` that differ; `("session",)` where only one schedule has a session."""
        if self.a is None or self.b is None:
            return ("session",)
        return tuple(name for name in HOURS if getattr(self.a, name) != getattr(self.b, name))

    def in_words(self, zone: tzinfo = UTC) -> str:
        """Describe the difference in one line, `a` before `b`, with local times in `zone`.

        For example `2024-12-24: close 13:00 EST / 16:00 EST`. A time on another day than `date` includes that day.
        """
        if self.a is None or self.b is None:
            texts = (
                "no session" if each is None else self._times(zone, each.open, each.close) for each in (self.a, self.b)
            )
            return f"{self.date}: {' / '.join(texts)}"
        parts: list[str] = []
        for name in self.fields:
            texts = (self._field(zone, getattr(each, name)) for each in (self.a, self.b))
            parts.append(f"{name} {' / '.join(texts)}")
        return f"{self.date}: {'; '.join(parts)}"

    def _field(self, zone: tzinfo, content: datetime | tuple[Interval | Phase, ...] | None) -> str:
        if isinstance(content, datetime):
            return self._times(zone, content)
        return ", ".join(self._interval(zone, each) for each in content or ()) or "none"

    def _interval(self, zone: tzinfo, interval: Interval | Phase) -> str:
        if isinstance(interval, Phase):
            return f"{interval.name} {self._times(zone, interval.start, interval.end)}"
        return self._times(zone, *interval)

    def _times(self, zone: tzinfo, *instants: datetime) -> str:
        local = [instant.astimezone(zone) for instant in instants]
        return " to ".join(
            f"{each:%H:%M %Z}" if each.date() == self.date else f"{each:%m-%d %H:%M %Z}" for each in local
        )


def compare(a: Schedule, b: Schedule, first: date, last: date) -> tuple[Difference, ...]:
    """Return the dates on which two schedules differ, ascending, from `first` to `last`, both inclusive.

    Every field of a session is compared. A `FixedSchedule` has no sessions before its first one and after its last
    one, so it differs there from a schedule that has some.

    Raises:
        ScheduleExhausted: part of the range lies outside the known days of a schedule that continues beyond them.
        TypeError: `a` or `b` is no `Schedule`, or `first` or `last` no date.
    """
    require_schedule(a)
    require_schedule(b)
    require_date("first", first)
    require_date("last", last)
    ours = {session.date: session for session in a.sessions(first, last)}
    theirs = {session.date: session for session in b.sessions(first, last)}
    days = sorted(ours.keys() | theirs.keys())
    return tuple(Difference(day, ours.get(day), theirs.get(day)) for day in days if ours.get(day) != theirs.get(day))


compare.__module__ = "session_lifecycle"


def overlap(
    schedules: Iterable[Schedule], start: datetime, end: datetime, *, off_breaks: bool = False
) -> tuple[Interval, ...]:
    """Return when all markets are open at once, `start` ≤ t < `end`, as ascending intervals in UTC that do not touch.

    A market is open from a session's open to its close; with `off_breaks`, except during its breaks. A schedule covers
    the time from its first session's open to its last session's close. Time outside is unknown and not "closed": a
    range that reaches it raises, even where another market is closed then. An empty range queries no schedule.

    Raises:
        NaiveDatetimeError: `start` or `end` has no time zone.
        ConfigurationError: `end` lies before `start`, or there is no schedule.
        ScheduleExhausted: part of the range lies before the first session of a schedule, or after its last one.
        TypeError: one of them is no `Schedule`.
    """
    start, end, markets = as_utc("start", start), as_utc("end", end), tuple(schedules)
    for market in markets:
        require_schedule(market)
    if end < start:
        raise ConfigurationError("end", end.isoformat(), f"must not lie before start ({start.isoformat()})")
    if not markets:
        raise ConfigurationError("schedules", markets, "must hold at least one schedule")
    if start == end:
        return ()
    common: list[Interval] = [(start, end)]
    for market in markets:
        common = list(_intersection(common, _open(market, start, end, off_breaks=off_breaks)))
    return tuple(common)


overlap.__module__ = "session_lifecycle"


def _open(schedule: Schedule, start: datetime, end: datetime, *, off_breaks: bool) -> list[Interval]:
    """Return a market's open intervals that overlap the range, not cut off at its ends. Adjacent ones are merged."""
    session = schedule.session_at(start)
    if start < session.open:
        # The range begins in a gap between sessions. The gap is known only if there is a session before it.
        schedule.previous_session(session.date)
    intervals: list[Interval] = []
    while session.open < end:
        for since, until in _pieces(session, off_breaks=off_breaks):
            if intervals and intervals[-1][1] == since:
                intervals[-1] = (intervals[-1][0], until)
            else:
                intervals.append((since, until))
        if session.close >= end:
            break
        session = schedule.next_session(session.date)
    return intervals


def _pieces(session: Session, *, off_breaks: bool) -> Iterator[Interval]:
    since = session.open
    for pause, resume in session.breaks if off_breaks else ():
        yield since, pause
        since = resume
    yield since, session.close


def _intersection(a: list[Interval], b: list[Interval]) -> Iterator[Interval]:
    i = j = 0
    while i < len(a) and j < len(b):
        since, until = max(a[i][0], b[j][0]), min(a[i][1], b[j][1])
        if since < until:
            yield since, until
        if a[i][1] < b[j][1]:
            i += 1
        else:
            j += 1
