"""What the venue's own feed says of its trading, held against the calendar: halts, resumptions, contradictions.

A status is judged by the calendar at the venue's instant of it, not at its arrival, so that one that comes late is
judged rightly. One that is older than the newest, that repeats it, or that belongs to an earlier session changes
nothing. The calendar's states are never changed here: a contradiction is reported, and at most halts trading.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import Enum, unique
from typing import Final

import msgspec
from msgspec.structs import replace

from session_lifecycle._core.machine import ACTIVE, ENDED, NOT_STARTED
from session_lifecycle._core.timeline import Position, Timeline
from session_lifecycle._model.clock import as_utc
from session_lifecycle._model.errors import ScheduleExhausted
from session_lifecycle._model.session import Session
from session_lifecycle._model.states import SessionState
from session_lifecycle._model.venue_events import CalendarContradicted
from session_lifecycle._model.venue_status import EarlyClose, VenueStatus

TOLERANCE: Final = timedelta(seconds=5)
"""How far the venue's instants and the calendar's may lie apart at a boundary without a contradiction."""

_STOPPED: Final = (VenueStatus.HALT, VenueStatus.PAUSE)
"""Trading is stopped, at whatever hour."""

_NOT_TRADING: Final = (VenueStatus.PRE_OPEN, VenueStatus.QUOTING)
"""There is no trading, which is news only where the calendar has the market open."""

_CLOSED: Final = (VenueStatus.CLOSE, VenueStatus.POST_CLOSE)

_REASON: Final = r"the venue reported ([A-Z_]+) at (\S+)"
"""The reason of a halt by status, which a journal keeps."""


@unique
class VenueAction(Enum):
    """What is to be done about a status."""

    NOTHING = "nothing"
    HALT = "halt"
    RESUME = "resume"


class VenueDecision(msgspec.Struct, frozen=True):
    """What is to be done: halt trading for `reason`, resume, or nothing; and the contradiction to report, if any.

    With NOTHING, a `reason` is that of the halt in force from now on, which it is to be recorded for.
    """

    action: VenueAction
    reason: str = ""
    contradiction: CalendarContradicted | None = None


class _Stop(msgspec.Struct, frozen=True):
    """The status that has stopped trading, and the venue's instant of it."""

    status: VenueStatus
    at: datetime

    @property
    def reason(self) -> str:
        """The reason of the halt."""
        return f"the venue reported {self.status.name} at {self.at.isoformat()}"

    @classmethod
    def of(cls, reason: str | None) -> "_Stop | None":
        """Return what the reason of a halt says, None where that is the application's own."""
        found = None if reason is None else re.fullmatch(_REASON, reason)
        try:
            return None if found is None else cls(VenueStatus[found[1]], as_utc("at", datetime.fromisoformat(found[2])))
        except (KeyError, ValueError):
            return None


NOTHING: Final = VenueDecision(VenueAction.NOTHING)


class VenueStanding(msgspec.Struct, frozen=True):
    """Where the lifecycle stands: the wall time, its timeline, why trading is halted, and whether it can be.

    `halted` is the reason of the halt in force, the application's own included, or None. `can_halt` is whether the
    machine's state admits a halt. `ends` is whether the end of that halt has been decided, and is being written.
    """

    now: datetime
    timeline: Timeline
    halted: str | None
    can_halt: bool
    ends: bool = False


class VenueWatch:
    """The watch over one venue's statuses.

    It lifts the halts that it has asked for and no other: what the application halts, the application resumes. A halt
    of its own that the application has lifted is not asked for again until the venue reports another. No halt outlasts
    its session, but where the next one opens at its close. A halt that a journal has kept, or that another replica has
    begun, is its own by the reason.
    """

    __slots__ = ("_early_close", "_name", "_newest", "_reason", "_reported", "_session", "_stop")

    def __init__(self, early_close: EarlyClose = EarlyClose.VENUE, name: str | None = None) -> None:
        self._early_close = early_close
        self._name = name
        self._newest: datetime | None = None  # the venue's instant of the newest status
        self._session: Session | None = None  # by the clock; what follows is of that session
        self._stop: _Stop | None = None  # what has stopped trading
        self._reason: str | None = None  # of the halt that it has asked for
        self._reported: set[VenueStatus] = set()

    def record(self, status: VenueStatus, at: datetime, standing: VenueStanding) -> VenueDecision:
        """Take a status with the venue's instant of it, and decide. An instant in the future counts as now.

        Raises:
            NaiveDatetimeError: `at` has no time zone. Nothing is recorded.
        """
        instant = min(as_utc("at", at), standing.now)
        session, position = self._follow_session(standing), _position(instant, standing)
        if session is None:
            return NOTHING
        newest = instant if self._newest is None else min(self._newest, standing.now)  # the wall clock may step back
        if position is None or instant < newest:
            return self._halt(standing)
        self._newest = instant
        if position.session.date != session.date and position.session.close != session.open:
            return self._halt(standing)  # of an earlier session
        decision = self._decide(status, instant, position, standing)
        if status in self._reported or not _contradicts(status, instant, position, standing.timeline):
            return decision
        self._reported.add(status)
        contradiction = CalendarContradicted(
            status,
            position.session.date,
            position.state,
            instant,
            position.until,
            decision.action is VenueAction.HALT,
            standing.now,
            name=self._name,
        )
        return replace(decision, contradiction=contradiction)

    @property
    def waits(self) -> bool:
        """Whether something has stopped trading, so that time alone may bring a halt."""
        return self._stop is not None

    def resumed_since(self, halted: str | None) -> bool:
        """Return whether a halt by status is in force that the venue has ended, as by what this watch has taken."""
        stop = _Stop.of(halted)
        return stop is not None and self._stop is None and self._newest is not None and stop.at <= self._newest

    def follow(self, standing: VenueStanding) -> VenueDecision:
        """Decide anew where time has passed, or the machine has moved: a halt that was not possible yet may be."""
        return NOTHING if self._follow_session(standing) is None else self._halt(standing)

    def _follow_session(self, standing: VenueStanding) -> Session | None:
        """Return the session by the clock, having forgotten what was of an earlier one.

        None where the schedule does not know it, or the wall clock has stepped back over a session.
        """
        position, known = _position(standing.now, standing), self._session
        if position is None or (known is not None and position.session.date < known.date):
            return None
        session = position.session
        if known is None or session.date != known.date:
            if known is None:
                self._adopt(standing)
            elif known.close != session.open:
                self._stop = self._reason = None
            self._reported.clear()
        self._session = session
        return session

    def _adopt(self, standing: VenueStanding) -> None:
        """Take up the halt by status that is in force at the first status: an earlier run has begun it."""
        stop = self._stop = _Stop.of(standing.halted)
        if stop is not None:
            self._reason, self._newest = standing.halted, stop.at

    def _decide(self, status: VenueStatus, at: datetime, position: Position, standing: VenueStanding) -> VenueDecision:
        """Decide what is to be done about a status, whatever it contradicts."""
        stopped_by = None if self._stop is None else self._stop.status
        if status is VenueStatus.TRADING or (status is VenueStatus.RESUME and stopped_by not in _CLOSED):
            # Where the application has halted trading too, or has resumed it, its word holds.
            own = _Stop.of(standing.halted) is not None
            self._stop = self._reason = None
            return VenueDecision(VenueAction.RESUME) if own else NOTHING
        news = status is not stopped_by and self._stops(status, at, position)
        if news and stopped_by not in _CLOSED:
            self._stop = _Stop(status, at)
            if standing.halted != self._reason:
                self._reason = None  # the application has lifted the last halt, and this is another
            elif self._reason is not None and (standing.ends or status in _CLOSED):
                return VenueDecision(VenueAction.NOTHING, self._stop.reason)  # what would end the last does not end it
        return self._halt(standing)

    def _stops(self, status: VenueStatus, at: datetime, position: Position) -> bool:
        """Return whether by a status there is no trading, where the calendar has the market open, or will have."""
        if status in _STOPPED:
            return at < position.session.close
        if status in _NOT_TRADING or (status in _CLOSED and self._early_close is EarlyClose.VENUE):
            return _is_settled(at, position)
        return False

    def _halt(self, standing: VenueStanding) -> VenueDecision:
        """Ask for a halt where something has stopped trading, once, and not beside another halt."""
        if standing.halted is not None and not standing.can_halt and _Stop.of(standing.halted) is not None:
            self._reason = standing.halted  # another replica leads, and has begun it
        if self._stop is None or self._reason is not None or standing.halted is not None or not standing.can_halt:
            return NOTHING
        self._reason = self._stop.reason
        return VenueDecision(VenueAction.HALT, self._reason)


def _position(t: datetime, standing: VenueStanding) -> Position | None:
    """Return the calendar's position at an instant; None where the schedule does not know it."""
    try:
        position = standing.timeline.at(t)
    except ScheduleExhausted:
        return None
    return None if position.state is ENDED else position


def _segments(session: Session) -> Iterator[tuple[datetime, datetime]]:
    """Yield the intervals of a session's regular hours between its breaks."""
    start = session.open
    for pause, resume in session.breaks:
        yield start, pause
        start = resume
    yield start, session.close


def _is_settled(at: datetime, position: Position) -> bool:
    """Return whether the calendar has the market open at an instant that is at no boundary, within the tolerance."""
    return position.state is ACTIVE and any(
        start + TOLERANCE <= at < end - TOLERANCE for start, end in _segments(position.session)
    )


def _is_closed(at: datetime, position: Position, timeline: Timeline) -> bool:
    """Return whether the calendar has the market closed at an instant that is at no boundary, within the tolerance.

    The pre-market is not closed: many venues trade before the open. Neither is what lies before the first session, or
    after the last one, which the schedule does not know.
    """
    if position.state in {ACTIVE, SessionState.PRE_MARKET} or position.until is None:
        return False
    if position.state is NOT_STARTED and timeline.previous(position.session) is None:
        return False
    return at - position.since >= TOLERANCE and position.until - at > TOLERANCE


def _contradicts(status: VenueStatus, at: datetime, position: Position, timeline: Timeline) -> bool:
    """Return whether a status is a close while the calendar has the market open, or trading while it is closed."""
    if status in _CLOSED:
        return _is_settled(at, position)
    return status is VenueStatus.TRADING and _is_closed(at, position, timeline)
