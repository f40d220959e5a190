"""Trading sessions as plain values, the port that supplies them, and the pure rule for a session's boundaries.

A session is a snapshot of UTC instants. Intervals are half-open: at exactly `open` the market is open, at exactly
`close` it is not.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import NamedTuple, Protocol, runtime_checkable

from session_lifecycle.clock import as_utc
from session_lifecycle.errors import InvalidSession, NotASession, ScheduleExhausted
from session_lifecycle.values import value


@value
class Session:
    """One trading session: its label and the instants of its regular hours, in UTC.

    `date` is the trade date; an overnight session opens on the evening before. `breaks` are (start, end) pairs inside
    the session, in order. `pre_market_start` and `post_market_end` are facts of the venue, or None where the
    configuration's durations apply.

    Raises:
        NaiveDatetimeError: an instant has no time zone.
        InvalidSession: the instants are not in order.
    """

    date: date
    open: datetime
    close: datetime
    breaks: tuple[tuple[datetime, datetime], ...] = ()
    pre_market_start: datetime | None = None
    post_market_end: datetime | None = None

    def __post_init__(self) -> None:
        """Bring every instant to UTC and hold them in order."""
        require_date("Session.date", self.date)
        put = object.__setattr__
        put(self, "open", as_utc(f"open of {self.date}", self.open))
        put(self, "close", as_utc(f"close of {self.date}", self.close))
        put(
            self,
            "breaks",
            tuple((as_utc(f"break of {self.date}", a), as_utc(f"break of {self.date}", b)) for a, b in self.breaks),
        )
        previous, what = self.open, "open"
        for start, end in self.breaks:
            self._ascending(what, previous, "break start", start)
            self._ascending("break start", start, "break end", end)
            previous, what = end, "break end"
        self._ascending(what, previous, "close", self.close)
        if self.pre_market_start is not None:
            put(self, "pre_market_start", as_utc(f"pre_market_start of {self.date}", self.pre_market_start))
            if self.pre_market_start > self.open:
                self._refuse("pre_market_start", self.pre_market_start, "open", self.open)
        if self.post_market_end is not None:
            put(self, "post_market_end", as_utc(f"post_market_end of {self.date}", self.post_market_end))
            if self.post_market_end < self.close:
                self._refuse("close", self.close, "post_market_end", self.post_market_end)

    def _ascending(self, what: str, earlier: datetime, next_what: str, later: datetime) -> None:
        if not earlier < later:
            self._refuse(what, earlier, next_what, later)

    def _refuse(self, what: str, earlier: datetime, next_what: str, later: datetime) -> None:
        msg = f"session {self.date}: {what} {earlier.isoformat()} must come before {next_what} {later.isoformat()}"
        raise InvalidSession(msg)


class Boundaries(NamedTuple):
    """The four instants at which a session changes state, in ascending order; neighbours may be equal."""

    pre_market_start: datetime
    open: datetime
    close: datetime
    end: datetime


def end_of(session: Session, following: Session | None, post_market_roll_delay: timedelta) -> datetime:
    """Return the instant at which a session ends: its own fact or delay, cut off at the next session's open."""
    end = session.post_market_end
    if end is None:
        end = session.close + post_market_roll_delay
    return end if following is None or end <= following.open else following.open


def boundaries(
    session: Session,
    previous: Session | None,
    following: Session | None,
    *,
    pre_market: timedelta,
    post_market_roll_delay: timedelta,
) -> Boundaries:
    """Return a session's boundaries: a pure function of the session, its neighbours and two durations.

    The pre-market never reaches into the previous session, and a session never outlasts the next one's open. States of
    zero width are normal: a market that never sleeps ends at the instant at which the next session opens.
    """
    start = session.pre_market_start
    if start is None:
        start = session.open - pre_market
    if previous is not None:
        start = max(start, end_of(previous, session, post_market_roll_delay))
    return Boundaries(start, session.open, session.close, end_of(session, following, post_market_roll_delay))


@runtime_checkable
class Schedule(Protocol):
    """Where sessions come from. Implement this to plug in hours of your own.

    Answers must be consistent and immutable; the lifecycle asks at session changes, never in a hot path.
    """

    @property
    def name(self) -> str:
        """The name that messages and logs call it by."""
        ...

    @property
    def timezone(self) -> tzinfo:
        """The venue's time zone, for showing local times. No decision depends on it."""
        ...

    def session_at(self, t: datetime) -> Session:
        """Return the first session whose `close` is after `t`; else raise `ScheduleExhausted`."""
        ...

    def session_on(self, day: date) -> Session:
        """Return the session labelled `day`.

        Raises:
            NotASession: there is none.
            ScheduleExhausted: `day` lies outside what the schedule knows, for a schedule that goes on beyond it.
        """
        ...

    def next_session(self, day: date) -> Session:
        """Return the first session labelled after `day` (itself a session or not); else raise `ScheduleExhausted`."""
        ...

    def previous_session(self, day: date) -> Session:
        """Return the last session labelled before `day` (itself a session or not); else raise `ScheduleExhausted`."""
        ...

    def sessions(self, first: date, last: date) -> tuple[Session, ...]:
        """Return the sessions labelled from `first` to `last`, both inclusive.

        Raises:
            ScheduleExhausted: a part of the range lies outside what the schedule knows, for one that goes on beyond it.
        """
        ...


@runtime_checkable
class AdjustableSchedule(Schedule, Protocol):
    """A schedule that can be had with other hours on a date: what `manager.apply()` needs."""

    def with_session(self, day: date, session: Session | None) -> Schedule:
        """Return a schedule that is like this one, but for one date: that has this session, or none.

        Raises:
            InvalidSession, OverrideRefused: the session would run into a neighbour.
        """
        ...


def require_date(what: str, value: date) -> None:
    """Raise TypeError unless `value` is a plain date; a datetime is none, though Python calls it one."""
    if not isinstance(value, date) or isinstance(value, datetime):  # pyright: ignore[reportUnnecessaryIsInstance] -- callers may be untyped
        msg = f"{what} must be a datetime.date (a session's label), not {value!r}"
        raise TypeError(msg)


class FixedSchedule:
    """A schedule of sessions given in full: for tests, and for venues of one's own.

    Args:
        sessions: in ascending order, not overlapping, at least one.
        name: what messages call it.
        timezone: the venue's, for display.

    Raises:
        InvalidSession: no session at all, or two that are out of order or overlap; the message names both.
    """

    def __init__(self, sessions: Iterable[Session], *, name: str = "fixed", timezone: tzinfo = UTC) -> None:
        self._sessions = tuple(sessions)
        if not self._sessions:
            msg = f"schedule {name!r} has no sessions"
            raise InvalidSession(msg)
        for earlier, later in zip(self._sessions, self._sessions[1:], strict=False):
            if earlier.date >= later.date or earlier.close > later.open:
                msg = (
                    f"schedule {name!r}: session {earlier.date} ({earlier.open:%Y-%m-%d %H:%M} to "
                    f"{earlier.close:%Y-%m-%d %H:%M} UTC) must lie wholly before session {later.date} "
                    f"({later.open:%Y-%m-%d %H:%M} to {later.close:%Y-%m-%d %H:%M} UTC)"
                )
                raise InvalidSession(msg)
        self._dates = [session.date for session in self._sessions]
        self._closes = [session.close for session in self._sessions]
        self._name = name
        self._timezone = timezone

    def __repr__(self) -> str:
        return f"<FixedSchedule {self._name!r} {self._dates[0]} to {self._dates[-1]}, {len(self._dates)} sessions>"

    @property
    def name(self) -> str:
        """The name given at construction."""
        return self._name

    @property
    def timezone(self) -> tzinfo:
        """The time zone given at construction."""
        return self._timezone

    def session_at(self, t: datetime) -> Session:
        """Return the first session whose `close` is after `t`; else raise `ScheduleExhausted`."""
        return self._get(bisect_right(self._closes, as_utc("t", t)), t)

    def session_on(self, day: date) -> Session:
        """Return the session labelled `day`; else raise `NotASession`."""
        require_date("day", day)
        at = bisect_left(self._dates, day)
        if at < len(self._dates) and self._dates[at] == day:
            return self._sessions[at]
        raise NotASession(self._name, day, self._dates[max(at - 1, 0) : at + 1])

    def next_session(self, day: date) -> Session:
        """Return the first session labelled after `day`; else raise `ScheduleExhausted`."""
        require_date("day", day)
        return self._get(bisect_right(self._dates, day), f"the session after {day}")

    def previous_session(self, day: date) -> Session:
        """Return the last session labelled before `day`; else raise `ScheduleExhausted`."""
        require_date("day", day)
        return self._get(bisect_left(self._dates, day) - 1, f"the session before {day}")

    def sessions(self, first: date, last: date) -> tuple[Session, ...]:
        """Return the sessions labelled from `first` to `last`, both inclusive; none where there are none."""
        require_date("first", first)
        require_date("last", last)
        return self._sessions[bisect_left(self._dates, first) : bisect_right(self._dates, last)]

    def with_session(self, day: date, session: Session | None) -> "FixedSchedule":
        """Return a schedule that is like this one, but for one date: that has this session, or none.

        Raises:
            InvalidSession: the session would run into a neighbour, or none would be left.
        """
        require_date("day", day)
        kept = [each for each in self._sessions if each.date != day]
        added = [] if session is None else [session]
        return FixedSchedule(sorted(kept + added, key=lambda each: each.date), name=self._name, timezone=self._timezone)

    def _get(self, at: int, wanted: object) -> Session:
        if 0 <= at < len(self._sessions):
            return self._sessions[at]
        raise ScheduleExhausted(self._name, wanted, self._dates[0], self._dates[-1])
