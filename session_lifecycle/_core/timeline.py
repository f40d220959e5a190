"""The state of a venue at any instant, by schedule and clock alone: sessions chained end to end.

A timeline has no state of a run. A state machine that is late, early or in ERROR is compared with it.
"""

from bisect import bisect_right
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

from session_lifecycle._core.phases import PhaseStretch, in_order, stretches
from session_lifecycle._model.alarm import Alarm
from session_lifecycle._model.config import LifecycleConfig
from session_lifecycle._model.errors import NotASession, ScheduleExhausted
from session_lifecycle._model.legs import LEGS
from session_lifecycle._model.session import Boundaries, Session, boundaries
from session_lifecycle._model.states import SessionState
from session_lifecycle._schedules.base import Schedule

_UNSET_CLOCK: Final = timedelta(days=365)
"""No schedule is in use that begins further ahead than this."""

_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)

_MOST_POSITIONS: Final = 4_096
"""How many positions a timeline keeps: four years, at four in a session."""

_MOST_BOUNDS: Final = 1_024
"""For how many sessions a timeline keeps the boundaries: four years."""


class Position(NamedTuple):
    """A stretch of the timeline, `since` ≤ t < `until`, in which the scheduled state does not change.

    Past the schedule's knowledge it is the last session, ENDED, with `until` None.
    """

    session: Session
    state: SessionState
    since: datetime
    until: datetime | None

    def covers(self, t: datetime) -> bool:
        """Return whether `t` is known to lie in this stretch. Past the schedule's knowledge that is not known."""
        return self.until is not None and self.since <= t < self.until


Position.__module__ = "session_lifecycle"


class Timeline:
    """A schedule with the durations of a configuration: boundaries, and the position at any instant.

    A schedule's answers do not change, so they are kept: a second query costs a bisection. The earliest ones are
    dropped after some years, so that a process that runs for decades does not grow.
    """

    __module__ = "session_lifecycle"

    __slots__ = (
        "__weakref__",
        "_bounds",
        "_latest",
        "_phases",
        "_positions",
        "_post_market_roll_delay",
        "_pre_market",
        "_since",
        "has_phases",
        "schedule",
    )

    def __init__(self, schedule: Schedule, config: LifecycleConfig) -> None:
        self.schedule: Final[Schedule] = schedule
        self._pre_market = config.pre_market
        self._post_market_roll_delay = config.post_market_roll_delay
        self._bounds: dict[date, tuple[Session, Boundaries]] = {}
        self.has_phases: bool = False
        """Whether any session that it has looked at has phases, or the one after it."""
        self._phases: dict[date, tuple[Session, tuple[PhaseStretch, ...]]] = {}
        self._since: list[datetime] = []  # of every position that is known, ascending
        self._positions: list[Position] = []
        self._latest: Position | None = None

    def _repr_html_(self) -> str:
        from session_lifecycle._model.html import html_table, local_text  # only a notebook needs these
        from session_lifecycle._schedules.html import coming_sessions

        rows: list[list[str]] = []
        zone = self.schedule.timezone
        for session in coming_sessions(self.schedule):
            times = [local_text(at, zone, session.date) for at in self.boundaries(session)]
            rows.append([f"{session.date:%a} {session.date}", *times])
        header = ["session", *(leg.boundary for leg in LEGS)]
        return html_table(f"Boundaries of {self.schedule.name}, times of {zone}", header, rows)

    @property
    def key(self) -> tuple[int, timedelta, timedelta]:
        """The key of equal timelines, while they exist: the schedule object, and durations."""
        return id(self.schedule), self._pre_market, self._post_market_roll_delay

    def previous(self, session: Session) -> Session | None:
        """Return the session before, or None where the schedule knows none."""
        try:
            return self.schedule.previous_session(session.date)
        except ScheduleExhausted:
            return None

    def following(self, session: Session) -> Session | None:
        """Return the session after, or None where the schedule knows none."""
        try:
            return self.schedule.next_session(session.date)
        except ScheduleExhausted:
            return None

    def boundaries(self, session: Session) -> Boundaries:
        """Return a session's four boundaries."""
        known = self._bounds.get(session.date)
        if known is not None and known[0] is session:
            return known[1]
        bounds = self.between(self.previous(session), session, self.following(session))
        self._bounds.pop(session.date, None)  # so that the oldest entry comes first
        self._bounds[session.date] = session, bounds
        if len(self._bounds) > _MOST_BOUNDS:
            del self._bounds[next(iter(self._bounds))]
        return bounds

    def phases_near(self, session: Session) -> tuple[PhaseStretch, ...]:
        """Return the phases of a session and of the two next to it, in order of time."""
        if not self.has_phases:
            return ()
        known = self._phases.get(session.date)
        if known is not None and known[0] is session:
            return known[1]
        near = self.previous(session), session, self.following(session)
        found = in_order([stretches(each) for each in near if each is not None])
        self._phases.pop(session.date, None)
        self._phases[session.date] = session, found
        if len(self._phases) > _MOST_BOUNDS:
            del self._phases[next(iter(self._phases))]
        return found

    def at(self, t: datetime) -> Position:
        """Return the position at `t`: by the clock, the current session is the first whose `end` is after `t`.

        Raises:
            ScheduleExhausted: `t` lies before all that the schedule knows.
        """
        latest = self._latest
        if latest is not None and latest.covers(t):
            return latest
        number = bisect_right(self._since, t)
        if number and self._positions[number - 1].covers(t):
            self._latest = self._positions[number - 1]
            return self._latest
        found = self._find(t)
        if found.until is not None:
            self._latest = found
            self._since.insert(number, found.since)
            self._positions.insert(number, found)
            if len(self._positions) > _MOST_POSITIONS:
                del self._since[: _MOST_POSITIONS // 2], self._positions[: _MOST_POSITIONS // 2]
        return found

    def _find(self, t: datetime) -> Position:
        try:
            session = self.schedule.session_at(t)
        except ScheduleExhausted as error:
            return self._past_the_last(t, error)
        before = self.previous(session)
        previous_end = _BEGINNING
        if before is not None:
            previous = self.between(self.previous(before), before, session)
            if t < previous.end:
                return _position(before, previous, _BEGINNING, t)
            previous_end = previous.end
        return _position(session, self.between(before, session, self.following(session)), previous_end, t)

    def _past_the_last(self, t: datetime, error: ScheduleExhausted) -> Position:
        try:
            last = self.schedule.session_on(error.last)
        except (ScheduleExhausted, NotASession):
            raise error from None
        if t < last.close:
            raise error
        bounds = self.boundaries(last)
        if t < bounds.end:
            return _position(last, bounds, _BEGINNING, t)
        return Position(last, SessionState.ENDED, bounds.end, None)

    def at_start(self, t: datetime) -> Position:
        """Return the position at `t` for a start that has no other source of its session.

        Where `t` lies more than a year before all that the schedule knows, the clock has not been set: it is the first
        session, NOT_STARTED, until the clock is stepped.

        Raises:
            ScheduleExhausted: `t` lies less than that before it.
        """
        try:
            return self.at(t)
        except ScheduleExhausted as error:
            begins = datetime.combine(error.first, time(0), UTC)
            if t + _UNSET_CLOCK > begins:
                raise
            first = self._first_from(begins, error)
        return Position(first, SessionState.NOT_STARTED, _BEGINNING, self.boundaries(first).pre_market_start)

    def _first_from(self, begins: datetime, error: ScheduleExhausted) -> Session:
        """Return the first session; the day on which knowledge begins need not be known everywhere on earth."""
        for days in range(3):
            with suppress(ScheduleExhausted):
                return self.schedule.session_at(begins + timedelta(days=days))
        raise error

    def still_to_come(
        self, alarm: Alarm, session: Session, position: Position, now: datetime
    ) -> list[tuple[datetime, Session]]:
        """Return when an alarm fires from `now` on for the sessions before `session`, the application's.

        Sessions that have ended may still have alarms. One that by the clock has not ended, because the application is
        ahead of it, has only the alarms after its end; one that has not even begun has none.
        """
        found: list[tuple[datetime, Session]] = []
        earlier = position.session if position.session.date < session.date else self.previous(session)
        while earlier is not None:
            bounds = self.boundaries(earlier)
            if now - bounds.end > alarm.offset:
                break
            found += [
                (due, earlier)
                for due in reversed(alarm.instants(earlier, bounds))
                if now <= due and (bounds.end <= now or bounds.end < due)
            ]
            earlier = self.previous(earlier)
        return found[::-1]

    def between(self, previous: Session | None, session: Session, following: Session | None) -> Boundaries:
        """Return a session's four boundaries; its neighbours are given."""
        if session.phases or (following is not None and following.phases):
            self.has_phases = True
        return boundaries(
            session,
            previous,
            following,
            pre_market=self._pre_market,
            post_market_roll_delay=self._post_market_roll_delay,
        )


class SharedTimelines:
    """The timelines of one group, so that members with one schedule object and the same durations share theirs.

    A group belongs to one thread, and so does what it shares. A timeline is kept as long as a member follows it.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: WeakValueDictionary[tuple[int, timedelta, timedelta], Timeline] = WeakValueDictionary()

    def shared(self, timeline: Timeline) -> Timeline:
        """Return the group's timeline that is equal to this one: this one, where it is the first."""
        return self._known.setdefault(timeline.key, timeline)


def _position(session: Session, bounds: Boundaries, previous_end: datetime, t: datetime) -> Position:
    since = previous_end
    for leg, boundary in zip(LEGS, bounds, strict=True):
        if t < boundary:
            return Position(session, leg.state, since, boundary)
        since = boundary
    raise AssertionError(session, t)  # pragma: no cover -- the caller has chosen a session whose end is after t
