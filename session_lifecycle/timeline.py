"""Where the clock alone says that a venue is: sessions chained end to end, and `replay` along them.

Nothing here knows anything of a run. A state machine that is late, early or in ERROR is compared with this.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from heapq import merge
from typing import Final, NamedTuple, overload
from weakref import WeakValueDictionary

from session_lifecycle.alarm import Alarm
from session_lifecycle.clock import as_utc
from session_lifecycle.config import LifecycleConfig, MissedSessions
from session_lifecycle.errors import ConfigurationError, NotASession, ScheduleExhausted
from session_lifecycle.events import AlarmFired, StateChanged
from session_lifecycle.machine import TRANSITIONS
from session_lifecycle.schedule import Boundaries, Schedule, Session, boundaries
from session_lifecycle.states import SessionState

_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)

_TARGETS: Final = {edge["trigger"]: (edge["source"], edge["dest"]) for edge in TRANSITIONS}
SCHEDULE_EDGES: Final = tuple(
    (trigger, SessionState.ACTIVE if trigger == "close_market" else _TARGETS[trigger][0], _TARGETS[trigger][1])
    for trigger in ("start_pre_market", "open_market", "close_market", "end_session")
)
"""The (trigger, source, dest) that a session's four boundaries fire, in the order of `Boundaries`."""


class Position(NamedTuple):
    """A stretch of the timeline, `since` ≤ t < `until`, in which the scheduled state does not change.

    Past the schedule's knowledge it is the last session, ENDED, with `until` None.
    """

    session: Session
    state: SessionState
    since: datetime
    until: datetime | None

    def covers(self, t: datetime) -> bool:
        """Tell whether `t` surely lies in this stretch; beyond the schedule's knowledge nothing is sure."""
        return self.until is not None and self.since <= t < self.until


class Timeline:
    """A schedule seen through a configuration: boundaries, and the position at any instant.

    What has been found is kept, since a schedule's answers do not change: what is asked again costs a bisection.
    """

    __slots__ = (
        "__weakref__",
        "_bounds",
        "_latest",
        "_positions",
        "_post_market_roll_delay",
        "_pre_market",
        "_since",
        "schedule",
    )

    def __init__(self, schedule: Schedule, config: LifecycleConfig) -> None:
        self.schedule: Final[Schedule] = schedule
        self._pre_market = config.pre_market
        self._post_market_roll_delay = config.post_market_roll_delay
        self._bounds: dict[date, tuple[Session, Boundaries]] = {}
        self._since: list[datetime] = []  # of every position that is known, ascending
        self._positions: list[Position] = []
        self._latest: Position | None = None

    @classmethod
    def of(cls, schedule: Schedule, config: LifecycleConfig) -> "Timeline":
        """Return the one timeline of all that go by the same schedule object and the same two durations."""
        key = (id(schedule), config.pre_market, config.post_market_roll_delay)  # the timeline holds the schedule
        timeline = _SHARED.get(key)
        if timeline is None:
            timeline = _SHARED[key] = cls(schedule, config)
        return timeline

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
        self._bounds[session.date] = session, bounds
        return bounds

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
                return Position(before, SessionState.POST_MARKET, previous.close, previous.end)
            previous_end = previous.end
        return _position(session, self.between(before, session, self.following(session)), previous_end, t)

    def _past_the_last(self, t: datetime, error: ScheduleExhausted) -> Position:
        try:
            last = self.schedule.session_on(error.last)
        except (ScheduleExhausted, NotASession):
            raise error from None
        if t < last.close:
            raise error
        end = self.boundaries(last).end
        if t < end:
            return Position(last, SessionState.POST_MARKET, last.close, end)
        return Position(last, SessionState.ENDED, end, None)

    def still_to_come(
        self, alarm: Alarm, session: Session, position: Position, now: datetime
    ) -> list[tuple[datetime, Session]]:
        """Return when an alarm goes off from `now` on for the sessions before `session`, the application's.

        Those that have ended may still have alarms. One that by the clock has not, because the application is ahead of
        it, has only those that lie after its end; and one that has not even begun has none.
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
        """Return a session's four boundaries, its neighbours being known."""
        return boundaries(
            session,
            previous,
            following,
            pre_market=self._pre_market,
            post_market_roll_delay=self._post_market_roll_delay,
        )


_SHARED: Final[WeakValueDictionary[tuple[int, timedelta, timedelta], Timeline]] = WeakValueDictionary()


def _position(session: Session, bounds: Boundaries, previous_end: datetime, t: datetime) -> Position:
    since = previous_end
    for (_, state, _), boundary in zip(SCHEDULE_EDGES, bounds, strict=True):
        if t < boundary:
            return Position(session, state, since, boundary)
        since = boundary
    raise AssertionError(session, t)  # pragma: no cover -- the caller has chosen a session whose end is after t


@overload
def replay(
    schedule: Schedule,
    start: datetime,
    end: datetime,
    *,
    config: LifecycleConfig = ...,
    session: date | None = ...,
) -> Iterator[StateChanged]: ...


@overload
def replay(
    schedule: Schedule,
    start: datetime,
    end: datetime,
    *,
    config: LifecycleConfig = ...,
    session: date | None = ...,
    alarms: Sequence[Alarm],
) -> Iterator[StateChanged | AlarmFired]: ...


def replay(
    schedule: Schedule,
    start: datetime,
    end: datetime,
    *,
    config: LifecycleConfig = LifecycleConfig(),
    session: date | None = None,
    alarms: Sequence[Alarm] = (),
) -> Iterator[StateChanged] | Iterator[StateChanged | AlarmFired]:
    """Iterate over the edges that the schedule alone implies, `start` ≤ instant < `end`, with no event loop at all.

    A plan, a backtest's clock, an oracle for tests. It knows no data: only the four boundaries of each session and the
    roll, which succeeds at once; `auto_roll`, `data_timeout` and the cap on missed sessions do not matter. The edges of
    the first session that lie before `start` come first, with `catch_up=True`, their true `scheduled_at`, and
    `observed_at=start`. `session` is the date of the session to begin in, by default the one that owns `start`; where
    `start` is past it, sessions are caught up with by `config.missed_sessions`.

    With `alarms`, those go off too, `start` ≤ instant < `end`, each after the edges of the same instant, in the state
    that the edges before it have led to; none for a session that `session` and the policy leave out.

    Raises:
        NaiveDatetimeError: `start` or `end` has no time zone.
        ConfigurationError: `end` lies before `start`.
        NotASession: `session` is none.
        ScheduleExhausted: at once where `start` is unknown to the schedule; else on arriving where its knowledge ends.
    """
    start, end = as_utc("start", start), as_utc("end", end)
    if end < start:
        raise ConfigurationError("end", end.isoformat(), f"must not lie before start ({start.isoformat()})")
    timeline = Timeline(schedule, config)
    owner = timeline.at(start)
    if owner.state is SessionState.ENDED:
        schedule.session_at(start)  # raises, and says where the knowledge ends
    first = owner.session if session is None else schedule.session_on(session)
    jump = owner.session if config.missed_sessions is MissedSessions.LATEST else None
    edges = _replay(timeline, first, jump, start, end)
    if not alarms:
        return edges
    rings = [_ringing(timeline, alarm, first, jump, owner, start=start, end=end) for alarm in dict.fromkeys(alarms)]
    return _with_alarms(edges, merge(*rings, key=lambda ring: ring.due))


class _Ring(NamedTuple):
    """An alarm's going off; without an alarm, a session's lack of one, so that looking ahead goes no further."""

    due: datetime
    session: date
    alarm: Alarm | None


def _with_alarms(edges: Iterator[StateChanged], rings: Iterator[_Ring]) -> Iterator[StateChanged | AlarmFired]:
    """Yield edges and alarms by their instants; of those at the same instant, edges first."""
    state, reached = SessionState.NOT_STARTED, _BEGINNING
    ring = next(rings, None)
    exhausted: ScheduleExhausted | None = None
    while True:
        try:
            edge = next(edges, None)
        except ScheduleExhausted as error:
            edge, exhausted = None, error
        while ring is not None and (
            ring.due <= reached if exhausted is not None else edge is None or ring.due < edge.observed_at
        ):
            if ring.alarm is not None:
                yield AlarmFired(ring.alarm, ring.session, ring.due, ring.due, state)
            ring = next(rings, None)
        if exhausted is not None:
            raise exhausted
        if edge is None:
            return
        state, reached = edge.dest, edge.observed_at
        yield edge


def _ringing(
    timeline: Timeline,
    alarm: Alarm,
    session: Session,
    jump: Session | None,
    position: Position,
    *,
    start: datetime,
    end: datetime,
) -> Iterator[_Ring]:
    """Yield the goings-off of one alarm, `start` ≤ instant < `end`, ascending, in the sessions that are walked."""
    for due, earlier in timeline.still_to_come(alarm, session, position, start):
        if due >= end:
            return
        yield _Ring(due, earlier.date, alarm)
    walked: Session | None = session
    while walked is not None:
        bounds = timeline.boundaries(walked)
        instants = alarm.instants(walked, bounds)
        for due in instants or (bounds.open + alarm.offset,):
            if due >= end:
                return
            if due >= start:
                yield _Ring(due, walked.date, alarm if instants else None)
        jumps = walked is session and jump is not None and jump.date > walked.date
        walked = jump if jumps else timeline.following(walked)


def _replay(
    timeline: Timeline, session: Session, jump: Session | None, start: datetime, end: datetime
) -> Iterator[StateChanged]:
    """Yield edges from `session` on; a session that ended before `start` is followed by `jump`, where given."""
    previous = timeline.previous(session)
    while True:
        following = timeline.following(session)
        bounds = timeline.between(previous, session, following)
        for (trigger, source, dest), due in zip(SCHEDULE_EDGES, bounds, strict=True):
            if due >= end:
                return
            late = due < start
            yield StateChanged(source, dest, trigger, session.date, due, start if late else due, late)
        due, late = bounds.end, bounds.end < start
        if jump is not None and late and jump.date > session.date:
            previous, session = timeline.previous(jump), jump
        elif following is not None:
            previous, session = session, following
        else:
            timeline.schedule.next_session(session.date)  # raises, and says where the knowledge ends
            return
        ended, begun = SessionState.ENDED, SessionState.NOT_STARTED
        yield StateChanged(ended, begun, "roll", session.date, due, start if late else due, late)
