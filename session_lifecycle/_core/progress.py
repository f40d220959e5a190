"""The progress of one session along its legs: the state machine, its boundaries, its breaks, and the effects of data.

The progress decides which transition is due, and in which order. What is owed at the end of the session is decided
elsewhere.
"""

from datetime import datetime, timedelta
from typing import Final, cast

from msgspec.structs import asdict, replace

from session_lifecycle._core.clock_state import ClockState, Expectation
from session_lifecycle._core.data_watch import CLOSED, DataWatch
from session_lifecycle._core.feeds import FeedState
from session_lifecycle._core.machine import (
    ACTIVE,
    ENDED,
    ERROR,
    NOT_STARTED,
    TIMEOUT,
    allowed_in,
    dest_of,
)
from session_lifecycle._core.phases import PhaseProgress, PhaseStretch, first_of
from session_lifecycle._core.timeline import Position, Timeline
from session_lifecycle._model.clock import Reading
from session_lifecycle._model.config import LifecycleConfig
from session_lifecycle._model.events import BreakEnded, BreakStarted, ClockStepped, Event, FeedStale, StateChanged
from session_lifecycle._model.legs import LEGS
from session_lifecycle._model.phase_events import PhaseEnded, PhaseStarted
from session_lifecycle._model.session import Boundaries, Session
from session_lifecycle._model.states import SessionState

_NUMBER: Final = {leg.state: number for number, leg in enumerate(LEGS)} | {
    TIMEOUT: next(number for number, leg in enumerate(LEGS) if leg.state is ACTIVE)
}
"""Which leg of the session a state is on: TIMEOUT is the leg of ACTIVE. ENDED and ERROR are on none."""

_NOT_BEGUN: Final = ClockState(NOT_STARTED, cast("Reading", None), cast("Position", None))
"""Before `begin` there is no reading, and no position."""


class Progress:
    """The state machine of one lifecycle, and its place in time.

    `clock_state` is what the clock alone moves, a frozen value. `session` and `bounds` are the machine's, `data` is the
    watch over its data. `catching_up` marks transitions on the way to where the clock says that the session is. `ended`
    says that the session has been ENDED, so that its roll is owed. `called_off` is why the venue does not hold the
    session any more, None where it does. `reason` is why the state is ERROR or TIMEOUT. `events` is what has happened
    and has not been taken yet, None where that is nothing.
    """

    __slots__ = (
        "bounds",
        "called_off",
        "catching_up",
        "clock_state",
        "config",
        "data",
        "ended",
        "events",
        "name",
        "reason",
        "session",
        "timeline",
    )

    def __init__(self, timeline: Timeline, config: LifecycleConfig, name: str | None) -> None:
        self.timeline: Timeline = timeline
        self.config: LifecycleConfig = config
        self.name: str | None = name
        self.clock_state: ClockState = _NOT_BEGUN
        self.data: DataWatch = DataWatch(config, name)
        self.events: list[Event] | None = None
        self.called_off: str | None = None
        self.reason: str | None = None
        self.ended: bool = False
        self.catching_up: bool = True
        self.session: Session
        self.bounds: Boundaries

    # ---- reading ----

    @property
    def state(self) -> SessionState:
        """The machine's state, which `fire` alone moves."""
        return self.clock_state.state

    @property
    def last_reading(self) -> Reading:
        """The last reading of the clocks."""
        return self.clock_state.last_reading

    @property
    def position(self) -> Position:
        """Where schedule and clock alone put the venue at the last reading."""
        return self.clock_state.position

    @property
    def allowed(self) -> tuple[str, ...]:
        """The triggers that lead out of the state."""
        return allowed_in(self.clock_state.state)

    @property
    def is_open(self) -> bool:
        """Whether the market is open: ACTIVE, or TIMEOUT."""
        state = self.clock_state.state
        return state is ACTIVE or state is TIMEOUT

    @property
    def _is_trading(self) -> bool:
        """Whether the market is open, off breaks; also up to the next open, where it does not close in between."""
        return (self.is_open or self.clock_state.carried is not None) and not self.clock_state.on_break

    @property
    def has_opened(self) -> bool:
        """Whether the session is on a leg from the open on: it has not ended, nor failed."""
        return _NUMBER.get(self.clock_state.state, -1) >= _NUMBER[ACTIVE]

    @property
    def is_plain(self) -> bool:
        """Whether it is on its way through an ordinary session, and nothing but the clock moves it."""
        state = self.clock_state.state
        return (
            (state is not TIMEOUT and state is not ENDED and state is not ERROR)
            and self.data.feeds is None
            and self.data.halted is None
            and not self.data.absent_halts
            and self.called_off is None
            and self.clock_state.carried is None
            and self.events is None
            and not self.catching_up
            and not self.ended
        )

    @property
    def passed(self) -> datetime:
        """The wall instant up to which the session has progressed, or the last reading, where that is later."""
        clock = self.clock_state
        now, number = clock.last_reading.wall, _NUMBER.get(clock.state, 0)
        if number == 0:
            return now
        if self.is_open and clock.breaks_passed:
            passed, second = divmod(clock.breaks_passed - 1, 2)
            return max(now, self.session.breaks[passed][second])
        return max(now, self.bounds[number - 1])

    def emit(self, event: Event) -> None:
        """Add an event to those that are to be taken."""
        if self.events is None:
            self.events = [event]
        else:
            self.events.append(event)

    # ---- beginning, and other hours ----

    def begin(self, session: Session, now: Reading, position: Position) -> None:
        """Adopt a session, at its start."""
        phases = first_of(self.timeline.phases_near(position.session), position.session.date, now.wall)
        self.clock_state = replace(self.clock_state, last_reading=now, position=position, phases=phases)
        self.adopt_hours(session, self.timeline.boundaries(session))

    def restore(self, state: SessionState, reason: str | None) -> None:
        """Adopt a state that an earlier run of the process was in."""
        self.clock_state = replace(self.clock_state, state=state)
        self.reason = reason

    def adopt_hours(self, session: Session, bounds: Boundaries) -> None:
        """Follow these hours of the machine's session from now on."""
        self.session, self.bounds = session, bounds
        clock = self.clock_state
        due = self._next_transition(clock.state, clock.breaks_passed)
        self.clock_state = replace(clock, next_transition=due)

    def relocate(self, position: Position) -> None:
        """Adopt another position at the last reading: the hours have changed, and with them perhaps the phases.

        Where the next session was to open at the close of this one, which has ended, and is not any more, that has
        closed the market.
        """
        self.clock_state = replace(self.clock_state, position=position)
        if self.ended and not self._is_followed_at_once:
            self.close()
        before, wall = self.clock_state.phases, self.last_reading.wall
        after = before.changed(wall, self.timeline.phases_near(position.session))
        if after.on:  # the one that is on goes on
            self.clock_state = replace(self.clock_state, phases=after)
            return
        self._follow_phase(after)
        if before.on and before.stretch is not None:
            self._emit_end(before.stretch, wall)

    def enter(self, session: Session, bounds: Boundaries, why: Event, *, stayed_open: bool) -> None:
        """Roll into the next session, once `why` is emitted.

        `stayed_open` says that the market has not closed in between, by the schedule.
        """
        due = min(self.bounds.end, self.last_reading.wall)
        if not stayed_open:
            self.close()
        self.emit(why)
        self.session, self.bounds = session, bounds
        self.ended = False
        self.called_off = None
        self.fire("roll", due)  # which computes the next transition

    def close(self) -> None:
        """Take the market to have closed after all, where the next session opens at the close of this one."""
        if self.clock_state.carried is not None:
            self.clock_state = self._expecting(self.data.end(self.clock_state))
            self._lift_halts()

    @property
    def planned(self) -> Boundaries:
        """The session's boundaries by the timeline, also where it has been called off since."""
        return self.bounds if self.called_off is None else self.timeline.boundaries(self.session)

    def call_off(self, why: str) -> None:
        """Make every transition that is left of the session due at once: the venue does not hold it."""
        now = self.last_reading.wall
        self.called_off = why
        self.catching_up = True
        self.adopt_hours(self.session, Boundaries(*(min(boundary, now) for boundary in self.bounds)))

    # ---- time ----

    def observe(self, now: Reading) -> None:
        """Take a reading of the clocks: report a step of the wall clock, and find the position on the timeline."""
        clock = self.clock_state
        delta, position, wall = now.step_since(clock.last_reading), clock.position, now.wall
        if delta is not None:
            self.catching_up = self.catching_up or delta > timedelta(0)
            self.emit(ClockStepped(delta, self.session.date, wall, name=self.name))
        phases = clock.phases
        if position.until is None or not position.since <= wall < position.until:
            try:
                position = self.timeline.at(wall)
                if position.session is not clock.position.session and self.timeline.has_phases:
                    phases = phases.moved(self.timeline.phases_near(position.session))
            except Exception:
                # Nothing is known about the present: better no boundary than a past one, which would stay due.
                self.clock_state = replace(clock, last_reading=now, position=position._replace(since=wall, until=None))
                raise
        self.clock_state = replace(clock, last_reading=now, position=position, phases=phases)

    def adopt(self, before: ClockState, after: ClockState, now: Reading) -> bool:
        """Adopt the clock state `after` of another lifecycle of the same cohort, which had `before` until `now`.

        The other's events are this one's too, under its own name. Return False where that cannot be: poll this one.
        """
        own = self.clock_state
        if own is not before:  # most hold the same object, see `share`
            if own.last_reading is not before.last_reading and now.step_since(own.last_reading) is not None:
                return False
            if own.opened is not None and after.opened is not None and own.opened != after.opened:
                after = replace(after, opened=own.opened)  # a break: each may have opened at a time of its own
        self.clock_state = after
        return True

    def share(self, clock_state: ClockState | None) -> bool:
        """Hold an equal clock state as one object; return False where it differs."""
        if clock_state is None or clock_state != self.clock_state:
            return False
        self.clock_state = clock_state
        return True

    # ---- transitions ----

    def take_transition(self) -> bool:
        """Take the one transition that is due next by the last reading; return False when none is.

        The calendar comes first: where data is missing for too long at the close itself, the close wins. Before the
        breaks of a session comes the TIMEOUT that has come with it over a close at which the market did not close.
        """
        clock = self.clock_state
        if clock.carried is TIMEOUT and clock.state is ACTIVE and self.bounds.close > clock.last_reading.wall:
            return self._follow_data()
        due, phase_due = clock.next_transition, clock.phases.due
        if phase_due is not None and phase_due <= clock.last_reading.wall and (due is None or phase_due < due):
            self._cross_phase(phase_due)
            return True
        if due is None or clock.last_reading.wall < due:
            return self._follow_data() if self.is_open else self._watch_phase()
        if self.is_open and self._next_break(clock.breaks_passed) == due:
            self._cross_break(due)
        else:
            self.fire(LEGS[_NUMBER[clock.state]].trigger, due, self.called_off)
        return True

    def fire(self, trigger: str, due: datetime, reason: str | None = None, *, roll_owed: bool = False) -> None:
        """Take one transition, with its effects on data, breaks and halts.

        Raises:
            IllegalTransition: there is no such transition. Nothing has changed.
        """
        clock = self.clock_state
        source, now = clock.state, clock.last_reading
        dest = dest_of(source, trigger, roll_owed=roll_owed)
        stays_open = self._stays_open(source, dest, reason)
        expectation = self.data.on_transition(source, dest, clock, stays_open=stays_open)
        breaks_passed = 0 if dest is NOT_STARTED else clock.breaks_passed
        self.ended = self.ended or dest is ENDED
        self.reason = reason if dest is ERROR or dest is TIMEOUT else None
        self.clock_state = replace(
            self._expecting(expectation),
            state=dest,
            next_transition=self._next_transition(dest, breaks_passed),
            breaks_passed=breaks_passed,
            on_break=clock.on_break and (dest is ACTIVE or dest is TIMEOUT),
            inspect_all=dest is TIMEOUT or clock.closed_before is not None,
        )
        catch_up = trigger != "recover" and self._is_catch_up(due)
        self.emit(
            StateChanged(source, dest, trigger, self.session.date, due, now.wall, catch_up, reason, name=self.name)
        )
        if dest in CLOSED and not stays_open:
            self._lift_halts()

    def finish(self, due: datetime, reason: str) -> None:
        """Take every transition that is left of the session, up to ENDED."""
        while (number := _NUMBER.get(self.clock_state.state)) is not None:
            self.fire(LEGS[number].trigger, due, reason)

    def _stays_open(self, source: SessionState, dest: SessionState, reason: str | None) -> bool:
        """Return whether the market is open though the state says closed.

        The session closes by the clock, and by the schedule the next one opens at that instant: up to that open.
        """
        if source is ACTIVE or source is TIMEOUT or (source is ERROR and dest is ENDED and not self.ended):
            by_word = reason is not None or self.called_off is not None
            if by_word or dest not in CLOSED or self.bounds.close < self.bounds.end:
                return False
            return self._is_followed_at_once
        return self.clock_state.carried is not None

    @property
    def _is_followed_at_once(self) -> bool:
        """Whether the next session opens at the very close of this one."""
        following = self.timeline.following(self.session)
        return following is not None and following.open == self.session.close

    def _expecting(self, expectation: Expectation) -> ClockState:
        return replace(self.clock_state, **asdict(expectation))

    def _lift_halts(self) -> None:
        for lifted in self.data.lift_halts(self.clock_state, self.session.date):
            self.emit(lifted)

    def _next_transition(self, state: SessionState, breaks_passed: int) -> datetime | None:
        number = _NUMBER.get(state)
        if number is None:
            return None
        boundary = self.bounds[number]
        if state is ACTIVE or state is TIMEOUT:
            pause = self._next_break(breaks_passed)
            if pause is not None and pause <= boundary:  # one after the close is of a session that was called off
                return pause
        return boundary

    def _next_break(self, passed: int) -> datetime | None:
        """Return the next start or end of a break that is still to be delivered."""
        number, second = divmod(passed, 2)
        breaks = self.session.breaks
        return breaks[number][second] if number < len(breaks) else None

    @property
    def next_due(self) -> datetime | None:
        """The wall instant of what is due next by the clock: a transition, a break or a phase; None: nothing."""
        due, phase_due = self.clock_state.next_transition, self.clock_state.phases.due
        return phase_due if due is None or (phase_due is not None and phase_due < due) else due

    def _cross_phase(self, due: datetime) -> None:
        before = self.clock_state.phases
        after = before.crossed()
        self._follow_phase(after)
        if before.on and before.stretch is not None:
            self._emit_end(before.stretch, due)
        if after.on and after.stretch is not None:
            session, phase, wall = after.stretch.session.date, after.stretch.phase, self.clock_state.last_reading.wall
            about = phase.tradable, phase.data_expected, self._is_late(due), self.name
            self.emit(PhaseStarted(phase.name, session, due, wall, *about))

    def _emit_end(self, stretch: PhaseStretch, due: datetime) -> None:
        wall = self.clock_state.last_reading.wall
        self.emit(PhaseEnded(stretch.phase.name, stretch.session.date, due, wall, self._is_late(due), self.name))

    def _follow_phase(self, phases: PhaseProgress) -> None:
        """Enter or leave a phase, with its effects on the watch over data."""
        before = self.clock_state
        clock = self.clock_state = replace(before, phases=phases)
        if phases.quiet and clock.expected_since is not None:
            self.data.suspend(clock)
            self.clock_state = replace(clock, expected_since=None)
        elif before.phases.quiet and not phases.quiet and self._is_trading:
            self.clock_state = replace(clock, expected_since=self.data.expect(clock))
        if not self.config.data_timeouts:
            return
        clock, shorter = self.clock_state, self.data.follow_phase(self.clock_state)
        if shorter and clock.state is ACTIVE and clock.expected_since is not None:
            self.clock_state = replace(clock, expected_since=clock.last_reading.monotonic)  # it counts from here

    def _watch_phase(self) -> bool:
        stale = self.data.phase_stale(self.clock_state)
        if stale is not None:
            self.emit(stale)
        return stale is not None

    def _is_late(self, due: datetime) -> bool:
        clock = self.clock_state
        return due < clock.position.since or (self.catching_up and due < clock.last_reading.wall)

    def _cross_break(self, due: datetime) -> None:
        clock = self.clock_state
        now, passed, on_break = clock.last_reading, clock.breaks_passed + 1, not clock.on_break
        kind: type[BreakStarted | BreakEnded]
        if on_break:
            kind, since, awaited = BreakStarted, None, None
            self.data.suspend(clock)
        else:
            kind, since = BreakEnded, self.data.expect(clock)
            awaited = None if self.data.halted is not None else now.monotonic
        self.clock_state = replace(
            clock,
            next_transition=self._next_transition(clock.state, passed),
            breaks_passed=passed,
            on_break=on_break,
            expected_since=since,
            awaited_since=awaited,
        )
        self.emit(kind(self.session.date, due, now.wall, self._is_catch_up(due), name=self.name))

    def _is_catch_up(self, due: datetime) -> bool:
        """Return whether a transition that was due then is made late, on the way to the state by the clock."""
        return self.called_off is not None or self._is_late(due)

    # ---- data ----

    def _follow_data(self) -> bool:
        """Take the transition or event that is due because of data; return False where nothing is due."""
        verdict = self.data.evaluate(self.clock_state, self.session.date)
        if verdict is None:
            return False
        if isinstance(verdict, FeedStale):
            self.emit(verdict)
        else:
            opened = min(self.bounds.open, self.last_reading.wall)
            due = opened if verdict.due is None else max(verdict.due, opened)  # of this session nothing is due before
            self.fire(verdict.trigger, due, verdict.reason)
        return True

    def watch_closed_market(self) -> None:
        """Have all data inspected while the venue is closed by the calendar, until that has been reported once."""
        clock = self.clock_state
        before = self.data.closed_before(clock)
        if before != clock.closed_before:
            closed = before is not None
            self.clock_state = replace(clock, closed_before=before, inspect_all=closed or clock.state is TIMEOUT)
            if self.data.feeds is not None:
                self.data.feeds.inspect_all_data(inspect=closed)

    def report_unexpected(self, feed: FeedState | None, age: timedelta) -> None:
        """Report data that arrives while the venue is closed, once."""
        event = self.data.report_unexpected(feed, age, self.clock_state)
        if event is not None:
            self.emit(event)
            self.watch_closed_market()

    def revive(self, feed: FeedState) -> None:
        """Count a stale feed as live again, where its newest data is fresh enough."""
        event = self.data.revive(feed, self.clock_state, self.session.date)
        if event is not None:
            self.emit(event)

    def escalate(self, *, escalates: bool) -> None:
        """Let a lasting TIMEOUT become an ERROR, in time that counts from now on; or not."""
        clock, staleness = self.clock_state, self.data.staleness
        staleness.escalates = escalates
        if clock.state is TIMEOUT and clock.expected_since is not None:
            staleness.go_stale()
            self.clock_state = replace(clock, expected_since=clock.last_reading.monotonic)

    def expect_own_data(self) -> None:
        """Time the manager's own data from now on, where data is expected: there is no feed any more."""
        self.clock_state = replace(self.clock_state, expected_since=self.data.expect_anew(self.clock_state))

    def halt(self, reason: str, feed: FeedState | None) -> None:
        """Halt trading, or one feed: no data is expected, until `resume` or the close."""
        halted = self.data.halt(reason, self.clock_state, self.session.date, feed)
        if feed is None:
            self.clock_state = replace(self.clock_state, expected_since=None)
        self.emit(halted)

    def resume(self, feed: FeedState | None) -> None:
        """End the halt of trading, or of one feed."""
        clock = self.clock_state
        resumed = self.data.resume(clock, self.session.date, feed)
        if feed is None and self._is_trading:
            since, awaited = self.data.expect(clock), clock.last_reading.monotonic
            self.clock_state = replace(clock, expected_since=since, awaited_since=awaited)
        self.emit(resumed)
