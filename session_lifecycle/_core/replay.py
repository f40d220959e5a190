"""`replay`: the transitions that a schedule alone implies, without an event loop, for plans, backtests and tests."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from heapq import merge
from typing import Final, NamedTuple, overload

from session_lifecycle._core.machine import ENDED, NOT_STARTED
from session_lifecycle._core.timeline import Position, Timeline
from session_lifecycle._model.alarm import Alarm
from session_lifecycle._model.clock import as_utc
from session_lifecycle._model.config import LifecycleConfig, MissedSessions
from session_lifecycle._model.errors import ConfigurationError, ScheduleExhausted
from session_lifecycle._model.events import AlarmFired, StateChanged
from session_lifecycle._model.legs import SCHEDULE_TRANSITIONS
from session_lifecycle._model.session import Session
from session_lifecycle._schedules.base import Schedule, require_schedule

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
    """Iterate over the transitions that the schedule alone implies, `start` ≤ instant < `end`, with no event loop.

    A plan, a backtest's clock, an oracle for tests. It knows no data: only the boundaries of each session and the roll,
    which succeeds at once; `auto_roll`, `data_timeout` and the cap on missed sessions do not matter. The transitions of
    the first session that lie before `start` come first, with `catch_up=True`, their true `scheduled_at`, and
    `observed_at=start`. `session` is the date of the session to begin in, by default the one that owns `start`; where
    `start` is past it, sessions are caught up with by `config.missed_sessions`.

    With `alarms`, those fire too, `start` ≤ instant < `end`, each after the transitions of the same instant, in the
    state that those before it have led to; none for a session that `session` and the policy leave out.

    Raises:
        NaiveDatetimeError: `start` or `end` has no time zone.
        ConfigurationError: `end` lies before `start`.
        NotASession: `session` is none.
        ScheduleExhausted: at once where `start` is unknown to the schedule; else where its knowledge ends.
        TypeError: `schedule` is no `Schedule`, or one of `alarms` no `Alarm`.
    """
    require_schedule(schedule)
    for alarm in alarms:
        if not isinstance(alarm, Alarm):
            msg = f"alarms= takes Alarms, such as Alarm('close'), not {alarm!r}"
            raise TypeError(msg)
    start, end = as_utc("start", start), as_utc("end", end)
    if end < start:
        raise ConfigurationError("end", end.isoformat(), f"must not lie before start ({start.isoformat()})")
    timeline = Timeline(schedule, config)
    owner = timeline.at(start)
    if owner.state is ENDED:
        schedule.session_at(start)  # raises, and says where the knowledge ends
    first = owner.session if session is None else schedule.session_on(session)
    jump = owner.session if config.missed_sessions is MissedSessions.LATEST else None
    transitions = _replay(timeline, first, jump, start, end)
    if not alarms:
        return transitions
    firings = [_firings(timeline, alarm, first, jump, owner, start=start, end=end) for alarm in dict.fromkeys(alarms)]
    return _with_alarms(transitions, merge(*firings, key=lambda firing: firing.due))


replay.__module__ = "session_lifecycle"


class _Firing(NamedTuple):
    """The firing of an alarm; without an alarm, a session that has none, so that the search goes no further ahead."""

    due: datetime
    session: Session
    alarm: Alarm | None


def _with_alarms(
    transitions: Iterator[StateChanged], firings: Iterator[_Firing]
) -> Iterator[StateChanged | AlarmFired]:
    """Yield transitions and alarms by their instants; of those at the same instant, transitions first."""
    state, reached = NOT_STARTED, _BEGINNING
    firing = next(firings, None)
    exhausted: ScheduleExhausted | None = None
    while True:
        try:
            transition = next(transitions, None)
        except ScheduleExhausted as error:
            transition, exhausted = None, error
        while firing is not None and (
            firing.due <= reached
            if exhausted is not None
            else transition is None or firing.due < transition.observed_at
        ):
            if firing.alarm is not None:
                alarm, session, due = firing.alarm, firing.session, firing.due
                yield AlarmFired(alarm, session.date, due, due, state, number=alarm.number_of(session, due))
            firing = next(firings, None)
        if exhausted is not None:
            raise exhausted
        if transition is None:
            return
        state, reached = transition.dest, transition.observed_at
        yield transition


def _firings(
    timeline: Timeline,
    alarm: Alarm,
    session: Session,
    jump: Session | None,
    position: Position,
    *,
    start: datetime,
    end: datetime,
) -> Iterator[_Firing]:
    """Yield the firings of one alarm, `start` ≤ instant < `end`, ascending, in the sessions that are gone through."""
    for due, earlier in timeline.still_to_come(alarm, session, position, start):
        if due >= end:
            return
        yield _Firing(due, earlier, alarm)
    passed: Session | None = session
    while passed is not None:
        bounds = timeline.boundaries(passed)
        instants = alarm.instants(passed, bounds)
        for due in instants or (bounds.open + alarm.offset,):
            if due >= end:
                return
            if due >= start:
                yield _Firing(due, passed, alarm if instants else None)
        jumps = passed is session and jump is not None and jump.date > passed.date
        passed = jump if jumps else timeline.following(passed)


def _replay(
    timeline: Timeline, session: Session, jump: Session | None, start: datetime, end: datetime
) -> Iterator[StateChanged]:
    """Yield transitions from `session` on; a session that ended before `start` is followed by `jump`, where given."""
    previous = timeline.previous(session)
    while True:
        following = timeline.following(session)
        bounds, day = timeline.between(previous, session, following), session.date
        # Of most sessions no boundary need be compared: a Boolean takes a third of the time.
        begins_early, ends_late = bounds.pre_market_start < start, bounds.end >= end
        due, late = bounds.end, begins_early
        for (trigger, source, dest), due in zip(SCHEDULE_TRANSITIONS, bounds, strict=True):
            if ends_late and due >= end:
                return
            late = begins_early and due < start
            yield StateChanged(source, dest, trigger, day, due, start if late else due, late)
        # `due` is the session's end again.
        if jump is not None and late and jump.date > session.date:
            previous, session = timeline.previous(jump), jump
        elif following is not None:
            previous, session = session, following
        else:
            timeline.schedule.next_session(session.date)  # raises, and says where the knowledge ends
            return
        yield StateChanged(ENDED, NOT_STARTED, "roll", session.date, due, start if late else due, late)
