"""The ports that provide sessions."""

from datetime import date, datetime, tzinfo
from typing import Protocol, runtime_checkable

from session_lifecycle._model.session import Session


@runtime_checkable
class Schedule(Protocol):
    """A source of sessions. Implement it to provide hours of your own.

    Answers must be consistent and immutable. The lifecycle queries it at session changes, never in a hot path.
    """

    @property
    def name(self) -> str:
        """The name in messages and logs."""
        ...

    @property
    def timezone(self) -> tzinfo:
        """The venue's time zone, for displaying local times. No decision depends on it."""
        ...

    def session_at(self, t: datetime) -> Session:
        """Return the first session whose `close` is after `t`, or raise `ScheduleExhausted`."""
        ...

    def session_on(self, day: date) -> Session:
        """Return the session labelled `day`.

        Raises:
            NotASession: there is none.
            ScheduleExhausted: `day` lies outside the known days of a schedule that continues beyond them.
        """
        ...

    def next_session(self, day: date) -> Session:
        """Return the first session labelled after `day`, or raise `ScheduleExhausted`. `day` need not be a session."""
        ...

    def previous_session(self, day: date) -> Session:
        """Return the last session labelled before `day`, or raise `ScheduleExhausted`. `day` need not be a session."""
        ...

    def sessions(self, first: date, last: date) -> tuple[Session, ...]:
        """Return the sessions labelled from `first` to `last`, both inclusive.

        Raises:
            ScheduleExhausted: part of the range lies outside the known days of a schedule that continues beyond them.
        """
        ...


Schedule.__module__ = "session_lifecycle"


def require_schedule(schedule: object) -> None:
    """Refuse what does not fulfil `Schedule`, such as a calendar's name, or a class of schedules.

    Raises:
        TypeError: it is refused.
    """
    if isinstance(schedule, type) or not isinstance(schedule, Schedule):
        msg = f"a Schedule is needed, such as ExchangeSchedule('XNYS'), not {schedule!r}"
        raise TypeError(msg)


@runtime_checkable
class AdjustableSchedule(Schedule, Protocol):
    """A schedule that can replace the session of a date, as `manager.apply()` needs."""

    def with_session(self, day: date, session: Session | None) -> Schedule:
        """Return a copy of this schedule with another session on one date, or with none.

        Raises:
            InvalidSession, OverrideRefused: the session would overlap a neighbour.
        """
        ...


AdjustableSchedule.__module__ = "session_lifecycle"
