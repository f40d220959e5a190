"""A schedule whose sessions are all given in advance."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from datetime import UTC, date, datetime, tzinfo

from session_lifecycle._model.clock import as_utc
from session_lifecycle._model.errors import InvalidSession, NotASession, ScheduleExhausted
from session_lifecycle._model.session import Session, require_date


def _hours(session: Session) -> str:
    opens, closes = (instant.replace(tzinfo=None).isoformat(" ") for instant in (session.open, session.close))
    return f"{opens} to {closes} UTC"


class FixedSchedule:
    """A schedule whose sessions are all given in advance: for tests, and for venues of your own.

    Args:
        sessions: at least one, in ascending order, not overlapping.
        name: the name in messages.
        timezone: the venue's time zone: for display, and for the local times of an override.

    Raises:
        InvalidSession: there is no session, or two are out of order or overlap; names both.
        TypeError: an argument is of the wrong kind, such as a zone's name.
    """

    __module__ = "session_lifecycle"

    def __init__(self, sessions: Iterable[Session], *, name: str = "fixed", timezone: tzinfo = UTC) -> None:
        self._sessions = tuple(sessions)
        for each in self._sessions:
            if not isinstance(each, Session):
                msg = f"a FixedSchedule takes Sessions, not {each!r}"
                raise TypeError(msg)
        if not isinstance(name, str):
            msg = f"name must be a str, not {name!r}"
            raise TypeError(msg)
        if not isinstance(timezone, tzinfo):
            msg = f"timezone must be a tzinfo, such as ZoneInfo('Europe/London'), not {timezone!r}"
            raise TypeError(msg)
        if not self._sessions:
            msg = f"schedule {name!r} has no sessions"
            raise InvalidSession(msg)
        for earlier, later in zip(self._sessions, self._sessions[1:], strict=False):
            if earlier.date >= later.date or earlier.close > later.open:
                msg = (
                    f"schedule {name!r}: session {earlier.date} ({_hours(earlier)}) must lie wholly before session "
                    f"{later.date} ({_hours(later)})"
                )
                raise InvalidSession(msg)
        self._dates = [session.date for session in self._sessions]
        self._closes = [session.close for session in self._sessions]
        self._name = name
        self._timezone = timezone

    def __repr__(self) -> str:
        return f"<FixedSchedule {self._name!r} {self._dates[0]} to {self._dates[-1]}, {len(self._dates)} sessions>"

    def _repr_html_(self) -> str:
        from session_lifecycle._schedules.html import schedule_html  # only a notebook needs it

        return schedule_html(self)

    @property
    def name(self) -> str:
        """The name passed to the constructor."""
        return self._name

    @property
    def timezone(self) -> tzinfo:
        """The time zone passed to the constructor."""
        return self._timezone

    def session_at(self, t: datetime) -> Session:
        """Return the first session whose `close` is after `t`, or raise `ScheduleExhausted`."""
        return self._get(bisect_right(self._closes, as_utc("t", t)), t)

    def session_on(self, day: date) -> Session:
        """Return the session labelled `day`, or raise `NotASession`."""
        require_date("day", day)
        at = bisect_left(self._dates, day)
        if at < len(self._dates) and self._dates[at] == day:
            return self._sessions[at]
        raise NotASession(self._name, day, self._dates[max(at - 1, 0) : at + 1])

    def next_session(self, day: date) -> Session:
        """Return the first session labelled after `day`, or raise `ScheduleExhausted`."""
        require_date("day", day)
        return self._get(bisect_right(self._dates, day), f"the session after {day}")

    def previous_session(self, day: date) -> Session:
        """Return the last session labelled before `day`, or raise `ScheduleExhausted`."""
        require_date("day", day)
        return self._get(bisect_left(self._dates, day) - 1, f"the session before {day}")

    def sessions(self, first: date, last: date) -> tuple[Session, ...]:
        """Return the sessions labelled from `first` to `last`, both inclusive."""
        require_date("first", first)
        require_date("last", last)
        return self._sessions[bisect_left(self._dates, first) : bisect_right(self._dates, last)]

    def with_session(self, day: date, session: Session | None) -> "FixedSchedule":
        """Return a copy of this schedule with another session on one date, or with none.

        Raises:
            InvalidSession: the session would overlap a neighbour, or none would be left.
        """
        require_date("day", day)
        kept = [each for each in self._sessions if each.date != day]
        added = [] if session is None else [session]
        return FixedSchedule(sorted(kept + added, key=lambda each: each.date), name=self._name, timezone=self._timezone)

    def _get(self, at: int, wanted: object) -> Session:
        if 0 <= at < len(self._sessions):
            return self._sessions[at]
        raise ScheduleExhausted(self._name, wanted, self._dates[0], self._dates[-1])
