"""Questions about several schedules at once: where they differ, and when their markets are open together.

They ask any `Schedule` and compute nothing by the time of day: sessions are instants, so the answers are right also in
the weeks in which the clocks of two venues have not changed together.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, tzinfo

import msgspec

from session_lifecycle._model.clock import as_utc
from session_lifecycle._model.errors import ConfigurationError
from session_lifecycle._model.session import (
    Session,
    require_date,
)
from session_lifecycle._schedules.base import Schedule

Interval = tuple[datetime, datetime]
"""A stretch of time, half-open: from the first instant on, up to but without the second."""


class Difference(msgspec.Struct, frozen=True):
    """A session date about which two schedules disagree; None stands for "no session"."""

    __module__ = "session_lifecycle"

    date: date
    a: Session | None
    b: Session | None

    @property
    def fields(self) -> tuple[str, ...]:
        """What differs: `("session",)` where only one of them has it, else the names of the `Session`'s fields."""
        if self.a is None or self.b is None:
            return ("session",)
        names = ("open", "close", "breaks", "pre_market_start", "post_market_end")
        return tuple(name for name in names if getattr(self.a, name) != getattr(self.b, name))

    def in_words(self, zone: tzinfo = UTC) -> str:
        """Return one line that says what differs, first `a`, then `b`, with the hours in that zone.

        For example `2024-12-24: close 13:00 EST / 16:00 EST`. An hour of another day than the date has its day too.
        """
        if self.a is None or self.b is None:
            told = (
                "no session" if each is None else self._hours(zone, each.open, each.close) for each in (self.a, self.b)
            )
            return f"{self.date}: {' / '.join(told)}"
        parts: list[str] = []
        for name in self.fields:
            told = (self._value(zone, getattr(each, name)) for each in (self.a, self.b))
            parts.append(f"{name} {' / '.join(told)}")
        return f"{self.date}: {'; '.join(parts)}"

    def _value(self, zone: tzinfo, value: datetime | tuple[Interval, ...] | None) -> str:
        if isinstance(value, datetime):
            return self._hours(zone, value)
        return ", ".join(self._hours(zone, *pause) for pause in value or ()) or "none"

    def _hours(self, zone: tzinfo, *instants: datetime) -> str:
        local = [instant.astimezone(zone) for instant in instants]
        return " to ".join(
            f"{each:%H:%M %Z}" if each.date() == self.date else f"{each:%m-%d %H:%M %Z}" for each in local
        )


def compare(a: Schedule, b: Schedule, first: date, last: date) -> tuple[Difference, ...]:
    """Return where two schedules differ, by date, for the sessions labelled from `first` to `last`, both inclusive.

    Every field of a session counts. A schedule that is given in full, as a `FixedSchedule` is, has no sessions before
    its first and after its last, so there it differs from one that has.

    Raises:
        ScheduleExhausted: a part of the range lies outside of what one of them knows, and it goes on beyond that.
    """
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
    """Return when all of the markets are open, `start` ≤ t < `end`, as intervals in UTC that ascend and do not touch.

    Open is from a session's open to its close; with `off_breaks`, less its breaks. A schedule is taken to know the time
    from its first session's open to its last session's close. What lies outside is not "closed": a range that reaches
    there raises, even where the other markets are closed by then. An empty range asks nobody.

    Raises:
        NaiveDatetimeError: `start` or `end` has no time zone.
        ConfigurationError: `end` lies before `start`, or there is no schedule.
        ScheduleExhausted: a part of the range lies before the first session of a schedule, or after its last one.
    """
    start, end, markets = as_utc("start", start), as_utc("end", end), tuple(schedules)
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
    """Return a market's open intervals that reach into the range, and maybe beyond; those that touch are one."""
    session = schedule.session_at(start)
    if start < session.open:
        # The range begins in a gap, which is known only if there is a session on its other side too.
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
