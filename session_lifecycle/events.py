"""What a lifecycle tells: facts that have happened, as frozen values in the past tense.

Instants are aware datetimes in UTC. `session` is a session's date (its label, the trade date), `name` the manager's
name where it has one. `observed_at` is when the manager saw the fact, `scheduled_at` when it was due.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from session_lifecycle.states import SessionState

UNSET: Final = datetime.min.replace(tzinfo=UTC)
"""Stands for "no instant given" in events made by hand; the library itself always gives one."""


def _lateness(scheduled_at: datetime, observed_at: datetime) -> timedelta:
    return max(observed_at - scheduled_at, timedelta(0))


@dataclass(frozen=True, slots=True)
class StateChanged:
    """One edge of the state machine was taken.

    For the trigger `roll`, `session` is the new session. `catch_up` marks an edge that was walked after its time, on
    the way to where the clock says the session is. `reason` is given for `fail`, `data_timeout` and `end_session`.
    """

    source: SessionState
    dest: SessionState
    trigger: str
    session: date
    scheduled_at: datetime
    observed_at: datetime
    catch_up: bool = False
    reason: str | None = None
    name: str | None = None

    @property
    def lateness(self) -> timedelta:
        """How long after its scheduled instant the edge was taken; never below zero."""
        return _lateness(self.scheduled_at, self.observed_at)


@dataclass(frozen=True, slots=True)
class BreakStarted:
    """A break of the session (a lunch) began; data is not expected until it ends.

    Where the session is failed or ended by hand during the break, no `BreakEnded` follows.
    """

    session: date
    scheduled_at: datetime
    observed_at: datetime
    catch_up: bool = False
    name: str | None = None

    @property
    def lateness(self) -> timedelta:
        """How long after its scheduled instant the break was seen to begin; never below zero."""
        return _lateness(self.scheduled_at, self.observed_at)


@dataclass(frozen=True, slots=True)
class BreakEnded:
    """A break of the session ended; data is expected again, and its silence is timed from here."""

    session: date
    scheduled_at: datetime
    observed_at: datetime
    catch_up: bool = False
    name: str | None = None

    @property
    def lateness(self) -> timedelta:
        """How long after its scheduled instant the break was seen to end; never below zero."""
        return _lateness(self.scheduled_at, self.observed_at)


@dataclass(frozen=True, slots=True)
class RollStarted:
    """An attempt at the roll began: `roll_session(next_session)` is being awaited.

    `session` is the ended session, `attempt` counts from 1, `resumed` tells that an earlier run of the process may have
    completed this very roll.
    """

    session: date
    next_session: date
    attempt: int
    resumed: bool = False
    observed_at: datetime = UNSET
    name: str | None = None


@dataclass(frozen=True, slots=True)
class RollSucceeded:
    """The roll completed. It is never repeated.

    `skipped` are the dates of missed sessions that were not rolled into, oldest first. `overrun` tells that the attempt
    returned only after its `roll_timeout` had passed. `duration` is the attempt's, on the monotonic clock.
    """

    session: date
    next_session: date
    attempt: int
    resumed: bool = False
    skipped: tuple[date, ...] = ()
    overrun: bool = False
    observed_at: datetime = UNSET
    duration: timedelta = timedelta(0)
    name: str | None = None


@dataclass(frozen=True, slots=True)
class RollFailed:
    """An attempt at the roll failed with `error`. `retry_at` is when the next one is due, None after the last."""

    session: date
    next_session: date
    attempt: int
    resumed: bool = False
    error: BaseException | None = None
    retry_at: datetime | None = None
    observed_at: datetime = UNSET
    duration: timedelta = timedelta(0)
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ClockStepped:
    """The wall clock moved against the monotonic one by `delta`: forward (also a suspend) positive, back negative."""

    delta: timedelta
    session: date | None = None
    observed_at: datetime = UNSET
    name: str | None = None


@dataclass(frozen=True, slots=True)
class HorizonNear:
    """The schedule's knowledge ends within thirty days: `known_until` is its last session. Told once for a session."""

    known_until: date
    session: date | None = None
    observed_at: datetime = UNSET
    name: str | None = None


Event = StateChanged | BreakStarted | BreakEnded | RollStarted | RollSucceeded | RollFailed | ClockStepped | HorizonNear
"""Anything that `events()` may yield."""
