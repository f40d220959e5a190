"""Events: what has happened in a lifecycle, as frozen values named in the past tense.

Instants are aware datetimes in UTC. `session` is a session's date (its label, the trade date), `name` the manager's
name, None where it has none. `observed_at` is when the manager observed the fact, `scheduled_at` when it was due.
"""

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

from session_lifecycle._model.alarm import Alarm
from session_lifecycle._model.callback_events import CallbackOverdue, HandlerBusy
from session_lifecycle._model.errors import describe
from session_lifecycle._model.event_base import (
    DEBUG,
    ERROR,
    INFO,
    UNSET,
    WARNING,
    EventBase,
    Scheduled,
    TaggedEvent,
    hours_text,
    in_brackets,
)
from session_lifecycle._model.journal_events import (
    AlarmInterrupted,
    ClockSkew,
    LeadershipGained,
    LeadershipLost,
    OverrideLost,
    RollFollowed,
)
from session_lifecycle._model.phase_events import DataStale, PhaseEnded, PhaseStarted
from session_lifecycle._model.session import Session
from session_lifecycle._model.states import SessionState
from session_lifecycle._model.venue_events import CalendarContradicted

if TYPE_CHECKING:
    _Cause: TypeAlias = "Event"
else:
    # An annotation that names the union below would have to be quoted, and resolved in whichever module asks for it.
    _Cause = EventBase


class StateChanged(Scheduled, TaggedEvent, frozen=True, gc=False):  # no field can refer back to it
    """A transition of the state machine was made.

    For the trigger `roll`, `session` is the new session. `catch_up` marks a transition that was made after its time, on
    the way to the session's state by the clock. `reason` is given for `fail`, `data_timeout` and `end_session`.
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

    @property
    def level(self) -> int:
        """ERROR into the state ERROR, WARNING into TIMEOUT, else INFO."""
        if self.dest is SessionState.ERROR:
            return ERROR
        return WARNING if self.dest is SessionState.TIMEOUT else INFO

    def _text(self) -> str:
        notes = [self.reason] if self.reason else []
        notes += ["catch-up"] if self.catch_up else []
        return f"{self.session} {self.source.name} → {self.dest.name} by {self.trigger}{in_brackets(notes)}"


class BreakStarted(Scheduled, TaggedEvent, frozen=True, gc=False):  # no field can refer back to it
    """A break of the session (a lunch) began; data is not expected until it ends.

    If the session fails, or is ended by `end_session`, during the break, no `BreakEnded` follows.
    """

    __module__ = "session_lifecycle"

    session: date
    scheduled_at: datetime
    observed_at: datetime
    catch_up: bool = False
    name: str | None = None

    def _text(self) -> str:
        return f"{self.session} break started"


class BreakEnded(Scheduled, TaggedEvent, frozen=True, gc=False):  # no field can refer back to it
    """A break of the session ended; data is expected again, and its timeout is counted from here."""

    __module__ = "session_lifecycle"

    session: date
    scheduled_at: datetime
    observed_at: datetime
    catch_up: bool = False
    name: str | None = None

    def _text(self) -> str:
        return f"{self.session} break ended"


class RollStarted(TaggedEvent, frozen=True):
    """An attempt at the roll began: `roll_session(next_session)` is being awaited.

    `session` is the ended session, `attempt` counts from 1. With `resumed`, an earlier run of the process may have
    completed this very roll.
    """

    __module__ = "session_lifecycle"
    _level = DEBUG

    session: date
    next_session: date
    attempt: int
    resumed: bool = False
    observed_at: datetime = UNSET
    name: str | None = None

    def _text(self) -> str:
        again = " (resumed)" if self.resumed else ""
        return f"roll {self.session} → {self.next_session}, attempt {self.attempt}{again}"


class RollSucceeded(TaggedEvent, frozen=True):
    """The roll completed. It is never repeated.

    `skipped` are the dates of missed sessions that were not rolled into, oldest first. With `overrun`, the attempt
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

    @property
    def level(self) -> int:
        """WARNING where sessions were skipped or the attempt overran its timeout, else DEBUG."""
        return WARNING if self.skipped or self.overrun else DEBUG

    def _text(self) -> str:
        notes = [f"skipped {', '.join(map(str, self.skipped))}"] if self.skipped else []
        notes += ["overran roll_timeout"] if self.overrun else []
        return f"roll {self.session} → {self.next_session} completed{in_brackets(notes)}"


class RollFailed(TaggedEvent, frozen=True):
    """An attempt at the roll failed with `error`. `retry_at` is when the next one is due, None after the last."""

    __module__ = "session_lifecycle"
    _level = WARNING

    session: date
    next_session: date
    attempt: int
    resumed: bool = False
    error: BaseException | None = None
    retry_at: datetime | None = None
    observed_at: datetime = UNSET
    duration: timedelta = timedelta(0)
    name: str | None = None

    def _text(self) -> str:
        then = f"next attempt at {self.retry_at}" if self.retry_at else "no further attempt"
        why = "" if self.error is None else f": {describe(self.error)}"
        return f"roll {self.session} → {self.next_session}, attempt {self.attempt} failed{why}; {then}"


class SessionAdopted(TaggedEvent, frozen=True):
    """The session was adopted anew after a step of the clock over more sessions than `max_catch_up_sessions`.

    `session`, which was adopted from the clock at the start, is left without a roll, and `next_session`, the present's,
    is entered. It happens before the first roll only, and where neither `session=` nor a journal says what is owed.
    """

    __module__ = "session_lifecycle"
    _level = WARNING

    session: date
    next_session: date
    observed_at: datetime = UNSET
    name: str | None = None

    def _text(self) -> str:
        return (
            f"session {self.next_session} adopted instead of {self.session}, without a roll: the clock stepped over "
            "more sessions than max_catch_up_sessions since the start"
        )


class ClockStepped(TaggedEvent, frozen=True):
    """The wall clock moved against the monotonic one by `delta`: positive is forward (or a suspend), negative back."""

    __module__ = "session_lifecycle"
    _level = WARNING

    delta: timedelta
    session: date | None = None
    observed_at: datetime = UNSET
    name: str | None = None

    def _text(self) -> str:
        return f"the wall clock stepped by {self.delta.total_seconds():+g} s"


class HorizonNear(TaggedEvent, frozen=True):
    """The schedule's knowledge ends within thirty days, or the session's hours are by rule, not published.

    `known_until` is the last session that it knows, or the last day that it covers. `vouched_until` is None, or the
    last day whose hours were published and compared, which lies before `session`. Emitted once per session.
    """

    __module__ = "session_lifecycle"
    _level = WARNING

    known_until: date
    session: date | None = None
    observed_at: datetime = UNSET
    vouched_until: date | None = None
    name: str | None = None

    def _text(self) -> str:
        if self.vouched_until is not None:
            return (
                f"the hours of session {self.session} are by rule, not published: they are vouched for until "
                f"{self.vouched_until}, and known until {self.known_until}. Compare them with the exchange's notices"
            )
        return f"the calendar knows no session after {self.known_until}: update its source, or add the days yourself"


class AlarmFired(Scheduled, TaggedEvent, frozen=True):
    """An alarm of a session fired: once for each session, or once for each break where a break is the anchor.

    `session` is the session whose anchor it is counted from. `state` is the machine's at that moment, which may be
    ERROR. `catch_up` marks an alarm that was missed and fires later than its grace allows. `number` counts the instants
    of the alarm in the session, from 1: of breaks, and of phases of one name, there may be several.
    """

    __module__ = "session_lifecycle"

    alarm: Alarm
    session: date
    scheduled_at: datetime
    observed_at: datetime
    state: SessionState
    catch_up: bool = False
    number: int = 1
    name: str | None = None

    @property
    def key(self) -> str:
        """What a journal calls it: `alarm.key`, and from the second instant of a session on `#` and the number.

        It stays the same where the hours of the session change.
        """
        return self.alarm.numbered_key(self.number)

    def _text(self) -> str:
        late = f", {self.lateness} late" if self.catch_up else ""
        return f"{self.session} alarm {self.alarm}{late}, in {self.state.name}"


class AlarmSkipped(TaggedEvent, frozen=True):
    """An alarm of a session was missed and will not fire for that session; `reason` says why."""

    __module__ = "session_lifecycle"
    _level = WARNING

    alarm: Alarm
    session: date
    scheduled_at: datetime
    observed_at: datetime
    reason: str
    name: str | None = None

    def _text(self) -> str:
        return f"{self.session} alarm {self.alarm} of {self.scheduled_at} was skipped: {self.reason}"


class HandlerFailed(TaggedEvent, frozen=True):
    """A handler of the application raised `error`, timed out, or could not keep up. Nothing else is affected.

    `handler` is the function's qualified name, `cause` the event that it was called with.
    """

    __module__ = "session_lifecycle"
    _level = ERROR

    handler: str
    error: BaseException
    cause: _Cause | None = None
    session: date | None = None
    observed_at: datetime = UNSET
    name: str | None = None

    def _text(self) -> str:
        on = "" if self.cause is None else f" on {type(self.cause).__name__}"
        return f"handler {self.handler} failed{on}: {describe(self.error)}"


class FeedStale(Scheduled, TaggedEvent, frozen=True):
    """A feed has been silent for too long while data was expected; `scheduled_at` is when its timeout ran out.

    With `never`, it has sent nothing since the open, or since it was added, if that was later. `last_data_at` is when
    its newest data was fresh, None where there has been none.
    """

    __module__ = "session_lifecycle"
    _level = WARNING

    feed: str
    session: date
    scheduled_at: datetime
    observed_at: datetime
    never: bool = False
    last_data_at: datetime | None = None
    reason: str = ""
    name: str | None = None

    def _text(self) -> str:
        return f"{self.session} feed {self.feed} is stale: {self.reason}"


class FeedResumed(TaggedEvent, frozen=True):
    """Fresh data arrived from a feed that was stale.

    It was silent for `silent_for`, on the monotonic clock: since its last data, or since data was expected of it.
    """

    __module__ = "session_lifecycle"

    feed: str
    session: date
    silent_for: timedelta
    observed_at: datetime = UNSET
    name: str | None = None

    def _text(self) -> str:
        return f"{self.session} feed {self.feed} is back after {self.silent_for}"


class Halted(TaggedEvent, frozen=True):
    """Trading was halted by `halt(reason)`: at the venue, or on one feed where `feed` is given."""

    __module__ = "session_lifecycle"
    _level = WARNING

    reason: str
    session: date
    feed: str | None = None
    observed_at: datetime = UNSET
    name: str | None = None

    def _text(self) -> str:
        return f"{self.session} {_halted(self.feed)} halted: {self.reason}"


class Resumed(TaggedEvent, frozen=True):
    """A halt ended: by `resume()`, or, with `lapsed`, because the session has closed."""

    __module__ = "session_lifecycle"

    session: date
    feed: str | None = None
    lapsed: bool = False
    observed_at: datetime = UNSET
    name: str | None = None

    def _text(self) -> str:
        how = " at the close" if self.lapsed else ""
        return f"{self.session} {_halted(self.feed)} resumed{how}"


class UnexpectedData(TaggedEvent, frozen=True):
    """Data arrived while the venue is closed by the calendar, which may be wrong. Emitted once until the next open.

    `session` is the one that the calendar expects next, `feed` the feed that the data came from, None without one.
    """

    __module__ = "session_lifecycle"
    _level = WARNING

    session: date
    feed: str | None = None
    observed_at: datetime = UNSET
    name: str | None = None

    def _text(self) -> str:
        source = "" if self.feed is None else f" from feed {self.feed}"
        return (
            f"data{source} while the calendar says that the venue is closed, before session {self.session}: "
            "check its hours, and pre_market and post_market_roll_delay"
        )


class ScheduleChanged(TaggedEvent, frozen=True):
    """The hours of `day` were changed by `apply()`. None stands for "no session".

    `session` is the one that the application was in. Instants of `before` that are past are the same in `after`.
    """

    __module__ = "session_lifecycle"
    _level = WARNING

    day: date
    before: Session | None
    after: Session | None
    session: date
    reason: str = ""
    observed_at: datetime = UNSET
    name: str | None = None

    def _text(self) -> str:
        return f"{self.day} changed ({self.reason}): was {hours_text(self.before)}, is {hours_text(self.after)}"


def _halted(feed: str | None) -> str:
    return "trading" if feed is None else f"feed {feed}"


Event = (
    StateChanged
    | BreakStarted
    | BreakEnded
    | PhaseStarted
    | PhaseEnded
    | DataStale
    | RollStarted
    | RollSucceeded
    | RollFailed
    | SessionAdopted
    | ClockStepped
    | HorizonNear
    | AlarmFired
    | AlarmSkipped
    | AlarmInterrupted
    | HandlerFailed
    | HandlerBusy
    | CallbackOverdue
    | FeedStale
    | FeedResumed
    | Halted
    | Resumed
    | UnexpectedData
    | CalendarContradicted
    | ScheduleChanged
    | OverrideLost
    | RollFollowed
    | LeadershipGained
    | LeadershipLost
    | ClockSkew
)
"""Anything that `events()` may yield."""
