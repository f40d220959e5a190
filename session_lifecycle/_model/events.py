"""What a lifecycle tells: facts that have happened, as frozen values in the past tense.

Instants are aware datetimes in UTC. `session` is a session's date (its label, the trade date), `name` the manager's
name where it has one. `observed_at` is when the manager saw the fact, `scheduled_at` when it was due.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Final

from session_lifecycle._model.alarm import Alarm
from session_lifecycle._model.session import Session
from session_lifecycle._model.states import SessionState
from session_lifecycle._model.values import value

UNSET: Final = datetime.min.replace(tzinfo=UTC)
"""Stands for "no instant given" in events made by hand; the library itself always gives one."""


class _Scheduled:
    """What was due at an instant of its own."""

    __slots__ = ()
    scheduled_at: datetime
    observed_at: datetime

    @property
    def lateness(self) -> timedelta:
        """How long after its scheduled instant it was seen; never below zero."""
        return max(self.observed_at - self.scheduled_at, timedelta(0))


@value
class StateChanged(_Scheduled):
    """One edge of the state machine was taken.

    For the trigger `roll`, `session` is the new session. `catch_up` marks an edge that was walked after its time, on
    the way to where the clock says the session is. `reason` is given for `fail`, `data_timeout` and `end_session`.
    """

    __module__ = "session_lifecycle"

    source: SessionState
    dest: SessionState
    trigger: str
    session: date
    scheduled_at: datetime
    observed_at: datetime
    catch_up: bool = False
    reason: str | None = None
    name: str | None = None


@value
class BreakStarted(_Scheduled):
    """A break of the session (a lunch) began; data is not expected until it ends.

    Where the session is failed or ended by hand during the break, no `BreakEnded` follows.
    """

    __module__ = "session_lifecycle"

    session: date
    scheduled_at: datetime
    observed_at: datetime
    catch_up: bool = False
    name: str | None = None


@value
class BreakEnded(_Scheduled):
    """A break of the session ended; data is expected again, and its silence is timed from here."""

    __module__ = "session_lifecycle"

    session: date
    scheduled_at: datetime
    observed_at: datetime
    catch_up: bool = False
    name: str | None = None


@value
class RollStarted:
    """An attempt at the roll began: `roll_session(next_session)` is being awaited.

    `session` is the ended session, `attempt` counts from 1, `resumed` tells that an earlier run of the process may have
    completed this very roll.
    """

    __module__ = "session_lifecycle"

    session: date
    next_session: date
    attempt: int
    resumed: bool = False
    observed_at: datetime = UNSET
    name: str | None = None


@value
class RollSucceeded:
    """The roll completed. It is never repeated.

    `skipped` are the dates of missed sessions that were not rolled into, oldest first. `overrun` tells that the attempt
    returned only after its `roll_timeout` had passed. `duration` is the attempt's, on the monotonic clock.
    """

    __module__ = "session_lifecycle"

    session: date
    next_session: date
    attempt: int
    resumed: bool = False
    skipped: tuple[date, ...] = ()
    overrun: bool = False
    observed_at: datetime = UNSET
    duration: timedelta = timedelta(0)
    name: str | None = None


@value
class RollFailed:
    """An attempt at the roll failed with `error`. `retry_at` is when the next one is due, None after the last."""

    __module__ = "session_lifecycle"

    session: date
    next_session: date
    attempt: int
    resumed: bool = False
    error: BaseException | None = None
    retry_at: datetime | None = None
    observed_at: datetime = UNSET
    duration: timedelta = timedelta(0)
    name: str | None = None


@value
class ClockStepped:
    """The wall clock moved against the monotonic one by `delta`: forward (also a suspend) positive, back negative."""

    __module__ = "session_lifecycle"

    delta: timedelta
    session: date | None = None
    observed_at: datetime = UNSET
    name: str | None = None


@value
class HorizonNear:
    """The schedule's knowledge ends within thirty days: `known_until` is its last session. Told once for a session."""

    __module__ = "session_lifecycle"

    known_until: date
    session: date | None = None
    observed_at: datetime = UNSET
    name: str | None = None


@value
class AlarmFired(_Scheduled):
    """An alarm of a session went off; once for each session, and for each of its breaks where those are the anchor.

    `session` is the session whose anchor it is counted from. `state` is the machine's at that moment, ERROR for one.
    `catch_up` marks an alarm that comes later than its grace allows, because it was missed.
    """

    __module__ = "session_lifecycle"

    alarm: Alarm
    session: date
    scheduled_at: datetime
    observed_at: datetime
    state: SessionState
    catch_up: bool = False
    name: str | None = None


@value
class AlarmSkipped:
    """An alarm of a session was missed, and will not go off for that session any more; `reason` says why."""

    __module__ = "session_lifecycle"

    alarm: Alarm
    session: date
    scheduled_at: datetime
    observed_at: datetime
    reason: str
    name: str | None = None


@value
class HandlerFailed:
    """A handler of the application's raised `error`, timed out, or could not keep up. Nothing else is affected.

    `handler` is the function's qualified name, `cause` the event that it was called with.
    """

    __module__ = "session_lifecycle"

    handler: str
    error: BaseException
    cause: "Event | None" = None
    session: date | None = None
    observed_at: datetime = UNSET
    name: str | None = None


@value
class FeedStale(_Scheduled):
    """A feed has been silent for too long, while data was expected; `scheduled_at` is when that was so.

    `never` tells that it has not said a word since the open, or since it was added, if that was later. `last_data_at`
    is when its newest data was fresh, None where there never was any.
    """

    __module__ = "session_lifecycle"

    feed: str
    session: date
    scheduled_at: datetime
    observed_at: datetime
    never: bool = False
    last_data_at: datetime | None = None
    reason: str = ""
    name: str | None = None


@value
class FeedResumed:
    """Fresh data came from a feed that was stale.

    It was silent for `silent_for`, on the monotonic clock: since its last data, or since data was expected of it.
    """

    __module__ = "session_lifecycle"

    feed: str
    session: date
    silent_for: timedelta
    observed_at: datetime = UNSET
    name: str | None = None


@value
class Halted:
    """Trading was halted, by `halt(reason)`: of the venue, or, where `feed` is given, of that feed alone."""

    __module__ = "session_lifecycle"

    reason: str
    session: date
    feed: str | None = None
    observed_at: datetime = UNSET
    name: str | None = None


@value
class Resumed:
    """A halt ended: by `resume()`, or, where `lapsed` is set, because the session has closed."""

    __module__ = "session_lifecycle"

    session: date
    feed: str | None = None
    lapsed: bool = False
    observed_at: datetime = UNSET
    name: str | None = None


@value
class UnexpectedData:
    """Data came while the calendar says that the venue is closed: is the calendar wrong? Told once until it opens.

    `session` is the one that the calendar expects next, `feed` the feed that the data came from, where it is one.
    """

    __module__ = "session_lifecycle"

    session: date
    feed: str | None = None
    observed_at: datetime = UNSET
    name: str | None = None


@value
class ScheduleChanged:
    """The hours of `day` were changed by `apply()`. None stands for "no session".

    `session` is the one that the application was in. What `before` says of the past, `after` says too.
    """

    __module__ = "session_lifecycle"

    day: date
    before: Session | None
    after: Session | None
    session: date
    reason: str = ""
    observed_at: datetime = UNSET
    name: str | None = None


Event = (
    StateChanged
    | BreakStarted
    | BreakEnded
    | RollStarted
    | RollSucceeded
    | RollFailed
    | ClockStepped
    | HorizonNear
    | AlarmFired
    | AlarmSkipped
    | HandlerFailed
    | FeedStale
    | FeedResumed
    | Halted
    | Resumed
    | UnexpectedData
    | ScheduleChanged
)
"""Anything that `events()` may yield."""
