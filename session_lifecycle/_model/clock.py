"""The clock port, through which all time is read, and a reading of both clocks.

Wall time decides boundaries; monotonic time decides staleness, roll timeouts and back-off.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, runtime_checkable

from session_lifecycle._model.errors import ClockFailed, NaiveDatetimeError, describe

STEP: Final = timedelta(seconds=1)
"""A change of wall − monotonic of at least this much between two readings is a step of the wall clock."""


@runtime_checkable
class Clock(Protocol):
    """The methods that a lifecycle needs of a clock. Any object that has them is a clock."""

    def now(self) -> datetime:
        """Return the wall time, aware."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start, never decreasing."""
        ...

    async def sleep_until(self, wall: datetime | None, monotonic: float | None) -> None:
        """Wait for the earlier of a wall instant and a monotonic second; None means "not for this one".

        May return early, and must do so soon after a step of the wall clock. With both None it waits for a step or a
        cancellation. It is always a checkpoint.
        """
        ...

    async def sleep(self, delta: timedelta) -> None:
        """Wait for `delta` of monotonic time, never less: for the application's own waits. Below zero is zero."""
        ...


Clock.__module__ = "session_lifecycle"


class Reading:
    """A reading of both clocks. `monotonic` is kept as a timedelta, so that sums of it are exact to the microsecond.

    `skew` is the wall time at which the monotonic clock would have begun: it changes where the wall clock steps.
    """

    __slots__ = ("monotonic", "skew", "wall")

    def __init__(self, wall: datetime, monotonic: timedelta) -> None:
        self.wall: datetime = wall
        self.monotonic: timedelta = monotonic
        self.skew: datetime = wall - monotonic

    def __repr__(self) -> str:
        return f"Reading({self.wall!r}, {self.monotonic!r})"

    def step_since(self, earlier: "Reading") -> timedelta | None:
        """Return by how much the wall clock has stepped since `earlier`, or None where it has not."""
        delta = self.skew - earlier.skew
        return None if -STEP < delta < STEP else delta


def as_utc(what: str, instant: datetime) -> datetime:
    """Return the instant in UTC.

    Raises:
        NaiveDatetimeError: it has no time zone; `what` names it in the message.
        TypeError: it is not a datetime.
    """
    if not isinstance(instant, datetime):
        msg = f"{what} must be an aware datetime, not {instant!r}"
        raise TypeError(msg)
    if type(instant) is datetime and instant.tzinfo is UTC:
        return instant
    if instant.utcoffset() is None:
        raise NaiveDatetimeError(what, instant)
    utc = instant.astimezone(UTC)
    # A subclass (a pandas Timestamp has nanoseconds) becomes the plain value.
    return utc if type(utc) is datetime else datetime.combine(utc.date(), utc.time(), UTC)


def require_timedelta(call: str, delta: object) -> None:
    """Refuse what a clock's method has been given instead of a timedelta.

    Raises:
        TypeError: always then; it names the `call`.
    """
    if not isinstance(delta, timedelta):
        msg = f"{call}() takes a timedelta, not {delta!r}"
        raise TypeError(msg)


def read(clock: Clock) -> Reading:
    """Read a clock.

    Raises:
        ClockFailed: the clock raised, or did not return an aware datetime; chained to the cause.
    """
    try:
        return Reading(as_utc("the clock's now()", clock.now()), timedelta(seconds=clock.monotonic()))
    except Exception as error:  # the clock may be the application's own code
        raise ClockFailed(describe(error)) from error
