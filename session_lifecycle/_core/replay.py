"""The edges that a schedule alone implies, with no event loop: a plan, a backtest's clock, an oracle for tests."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from heapq import merge
from typing import Final, NamedTuple, overload

from session_lifecycle._core.timeline import SCHEDULE_TRANSITIONS, Position, Timeline
from session_lifecycle._model.alarm import Alarm
from session_lifecycle._model.clock import as_utc
from session_lifecycle._model.config import LifecycleConfig, MissedSessions
from session_lifecycle._model.errors import ConfigurationError, ScheduleExhausted
from session_lifecycle._model.events import AlarmFired, StateChanged
from session_lifecycle._model.session import (
    Session,
)
from session_lifecycle._model.states import SessionState
from session_lifecycle._schedules.base import Schedule

_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)


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
    return _with_alarms(edges, merge(*rings, key=lambda fire: fire.due))


replay.__module__ = "session_lifecycle"


class _Ring(NamedTuple):
    """An alarm's going off; without an alarm, a session's lack of one, so that looking ahead goes no further."""

    due: datetime
    session: date
    alarm: Alarm | None


def _with_alarms(edges: Iterator[StateChanged], rings: Iterator[_Ring]) -> Iterator[StateChanged | AlarmFired]:
    """Yield edges and alarms by their instants; of those at the same instant, edges first."""
    state, reached = SessionState.NOT_STARTED, _BEGINNING
    fire = next(rings, None)
    exhausted: ScheduleExhausted | None = None
    while True:
        try:
            edge = next(edges, None)
        except ScheduleExhausted as error:
            edge, exhausted = None, error
        while fire is not None and (
            fire.due <= reached if exhausted is not None else edge is None or fire.due < edge.observed_at
        ):
            if fire.alarm is not None:
                yield AlarmFired(fire.alarm, fire.session, fire.due, fire.due, state)
            fire = next(rings, None)
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
        for (trigger, source, dest), due in zip(SCHEDULE_TRANSITIONS, bounds, strict=True):
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
