"""The ports that supply sessions."""

from datetime import date, datetime, tzinfo
from typing import Protocol, runtime_checkable

from session_lifecycle._model.session import Session


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


Schedule.__module__ = "session_lifecycle"


@runtime_checkable
class AdjustableSchedule(Schedule, Protocol):
    """A schedule that can be had with other hours on a date: what `manager.apply()` needs."""

    def with_session(self, day: date, session: Session | None) -> Schedule:
        """Return a schedule that is like this one, but for one date: that has this session, or none.

        Raises:
            InvalidSession, OverrideRefused: the session would overlap a neighbour.
        """
        ...


AdjustableSchedule.__module__ = "session_lifecycle"
