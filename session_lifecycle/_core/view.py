"""The readable properties of a lifecycle. Reading changes nothing, and costs attribute reads."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta

from session_lifecycle._core.alarms import AlarmScheduler
from session_lifecycle._core.data_watch import wall_instant
from session_lifecycle._core.feeds import FeedState, FeedTable
from session_lifecycle._core.machine import ACTIVE, ENDED
from session_lifecycle._core.phase_names import unknown_phase
from session_lifecycle._core.progress import Progress
from session_lifecycle._core.rolls import Rolls
from session_lifecycle._core.staleness import StalenessTimer
from session_lifecycle._core.timeline import Position
from session_lifecycle._core.venue_watch import VenueWatch
from session_lifecycle._model.clock import Reading
from session_lifecycle._model.config import LifecycleConfig
from session_lifecycle._model.events import AlarmFired, AlarmSkipped
from session_lifecycle._model.session import Session
from session_lifecycle._model.states import SessionState
from session_lifecycle._model.status import Status
from session_lifecycle._schedules.base import Schedule

Cohort = tuple[int, int, int, SessionState, int, date | None, datetime | None, date | None]
"""Equal for lifecycles that stand at the same place: whatever the clock brings next, it is the same for all of them.

Timeline, session and configuration are compared as objects; each lifecycle holds its own.
"""


class LifecycleView:
    """The properties of a lifecycle, as of the last reading of the clocks."""

    __slots__ = ("_alarms", "_declared_session", "_failing", "_progress", "_rolls", "_venue", "begun", "leading")

    _alarms: AlarmScheduler | None
    _declared_session: Session | None
    _failing: str | None
    _progress: Progress
    _rolls: Rolls
    _venue: VenueWatch | None
    begun: bool
    leading: bool

    @property
    def schedule(self) -> Schedule:
        """Where sessions come from, with what has been changed."""
        return self._progress.timeline.schedule

    @property
    def config(self) -> LifecycleConfig:
        """The policy that it follows."""
        return self._progress.config

    @property
    def name(self) -> str | None:
        """The name that is put on every event."""
        return self._progress.name

    @property
    def progress(self) -> Progress:
        """The progress, for callers that read it very often and change nothing."""
        return self._progress

    @property
    def state(self) -> SessionState:
        """The machine's state."""
        return self._progress.state

    @property
    def session(self) -> Session:
        """The machine's session."""
        return self._progress.session

    @property
    def scheduled_state(self) -> SessionState:
        """The state that schedule and clock alone imply, as of the last reading."""
        return self._progress.position.state

    @property
    def next_boundary(self) -> datetime | None:
        """When the scheduled state changes next; None where the schedule's knowledge ends."""
        return self._progress.position.until

    @property
    def can_trade(self) -> bool:
        """Whether the session is ACTIVE, on no break, not halted, data has come since, and this replica leads."""
        if not (self.leading or self.config.trade_on_standby):
            return False
        clock, data = self._progress.clock_state, self._progress.data
        return clock.state is ACTIVE and not clock.on_break and data.halted is None and not data.awaits_data(clock)

    @property
    def awaiting_first_tick(self) -> bool:
        """Whether `can_trade` waits for nothing but data since the open, or since the last break or halt."""
        clock, data = self._progress.clock_state, self._progress.data
        return clock.state is ACTIVE and not clock.on_break and data.halted is None and data.awaits_data(clock)

    def feed_can_trade(self, feed: FeedState) -> bool:
        """Return whether one can trade on a feed's data: it is watched, neither halted nor stale, and data has come."""
        clock, data = self._progress.clock_state, self._progress.data
        dead = feed.removed or feed.stale or feed.halted is not None
        return not dead and self.can_trade and not data.feed_awaits_data(feed, clock)

    def feed_last_data_at(self, feed: FeedState) -> datetime | None:
        """Return when a feed's newest data was fresh; None before the beginning, and where there has been none."""
        return wall_instant(feed.arrival, self._progress.last_reading) if self.begun else None

    def judge_alarm(self, fired: AlarmFired, now: Reading) -> AlarmFired | AlarmSkipped:
        """Judge an alarm again at the call of its handler, which was busy until now."""
        assert self._alarms is not None, "it has fired"
        return self._alarms.judge(fired, self.state, now)

    @property
    def market_open(self) -> bool:
        """Whether the market is open by the schedule: the state may be TIMEOUT or ERROR, or a roll late."""
        progress = self._progress
        position, wall = progress.position, progress.last_reading.wall
        day, mine = position.session.date, progress.session.date
        if day < mine or (day == mine and progress.ended):
            return False
        return _is_open(position, wall)

    @property
    def halted(self) -> str | None:
        """Why trading is halted; None where it is not."""
        return self._progress.data.halted

    @property
    def feeds(self) -> FeedTable:
        """The table of the feeds."""
        return self._progress.data.table(self._progress.clock_state)

    @property
    def feed_states(self) -> tuple[FeedState, ...]:
        """Every feed, in the order in which they were added."""
        feeds = self._progress.data.feeds
        return () if feeds is None else tuple(feeds.all)

    @property
    def stale_feeds(self) -> tuple[str, ...]:
        """The names of the stale feeds, the longest stale first."""
        feeds = self._progress.data.feeds
        return () if feeds is None else feeds.stale

    @property
    def halted_feeds(self) -> tuple[str, ...]:
        """The names of the halted feeds, in the order in which they were added."""
        feeds = self._progress.data.feeds
        return () if feeds is None else tuple(feed.name for feed in feeds.halted)

    @property
    def on_break(self) -> bool:
        """Whether the session is on a break."""
        return self._progress.clock_state.on_break

    @property
    def phase(self) -> str | None:
        """The name of the venue's phase; None where none is on."""
        phases = self._progress.clock_state.phases
        return phases.stretch.phase.name if phases.on and phases.stretch is not None else None

    @property
    def phase_session(self) -> Session | None:
        """The session that the venue's phase counts for; None where none is on."""
        phases = self._progress.clock_state.phases
        return phases.stretch.session if phases.on and phases.stretch is not None else None

    @property
    def phase_tradable(self) -> bool:
        """Whether a phase is on in which orders can trade."""
        phases = self._progress.clock_state.phases
        return phases.on and phases.stretch is not None and phases.stretch.phase.tradable

    def unknown_phase(self, name: str) -> str | None:
        """Return in words that no coming session has a phase of that name; None where one has, or that is not known."""
        progress = self._progress
        try:
            return unknown_phase(name, progress.timeline, progress.position.session, progress.last_reading.wall)
        except Exception:  # the schedule is the application's own code; its failure is reported by a poll
            return None

    @property
    def named_phases(self) -> Iterator[tuple[str, str]]:
        """What names a phase, in words, and which: timeouts of the configuration, and alarms."""
        for name in self.config.data_timeouts:
            yield f"data_timeouts[{name!r}]", name
        for alarm in () if self._alarms is None else self._alarms.registered:
            if alarm.phase is not None:
                yield f"the alarm at {alarm}", alarm.phase

    @property
    def reason(self) -> str | None:
        """Why the state is ERROR or TIMEOUT."""
        return self._progress.reason

    @property
    def staleness(self) -> StalenessTimer:
        """The timer of the manager's own data."""
        return self._progress.data.staleness

    @property
    def roll_owed(self) -> bool:
        """Whether the machine's session has ended, by clock or by `end_session`, and its roll is not done."""
        return self._progress.ended or self._progress.last_reading.wall >= self._progress.bounds.end

    @property
    def roll_expired(self) -> bool:
        """Whether an attempt under way has taken longer than `roll_timeout`, and is to be cancelled."""
        return self._rolls.expired

    @property
    def status(self) -> Status:
        """A snapshot, as of the last reading."""
        return Status(
            name=self.name,
            schedule=self.schedule.name,
            state=self.state,
            scheduled_state=self.scheduled_state,
            session=self._progress.session.date,
            open=self._progress.session.open,
            close=self._progress.session.close,
            next_boundary=self.next_boundary,
            on_break=self.on_break,
            can_trade=self.can_trade,
            roll_owed=self.roll_owed,
            roll_attempt=0 if self._rolls.round is None else self._rolls.round.attempt,
            last_data_at=wall_instant(self.staleness.arrival, self._progress.last_reading),
            reason=self.reason,
            halted=self.halted,
            feeds=len(self.feed_states),
            stale_feeds=self.stale_feeds,
            halted_feeds=self.halted_feeds,
            market_open=self.market_open,
            awaiting_first_tick=self.awaiting_first_tick,
            phase=self.phase,
            observed_at=self._progress.last_reading.wall,
            leads=self.leading,
        )

    def status_before_start(self, now: datetime) -> Status:
        """Return what is known before the beginning, by the schedule alone: no journal has been read.

        Raises:
            ScheduleExhausted: the schedule does not know the present.
        """
        position = self._progress.timeline.at(now)
        if position.state is ENDED:
            self.schedule.session_at(now)  # raises, and says where the knowledge ends
        session = self._declared_session or position.session
        return Status(
            name=self.name,
            schedule=self.schedule.name,
            state=SessionState.NOT_STARTED,
            scheduled_state=position.state,
            session=session.date,
            open=session.open,
            close=session.close,
            next_boundary=position.until,
            on_break=False,
            can_trade=False,
            roll_owed=False,
            roll_attempt=0,
            last_data_at=None,
            reason=None,
            observed_at=now,
            feeds=len(self.feed_states),
            market_open=_is_open(position, now),
            running=False,
            leads=False,
        )

    @property
    def deadlines(self) -> tuple[datetime | None, timedelta | None]:
        """The next wall and the next monotonic instant at which `poll` is needed; None where there is none."""
        clock = self._progress.clock_state
        wall, due = clock.position.until, self._progress.next_due
        if due is not None and (wall is None or due < wall):
            wall = due
        if clock.position.state is ACTIVE:  # then `until` is the close; `market_open` follows the clock over breaks too
            pause = _next_break(clock.position.session, clock.last_reading.wall)
            if pause is not None and (wall is None or pause < wall):
                wall = pause
        if self._alarms is not None:
            alarm = self._alarms.next_instant(clock.last_reading.wall)
            if alarm is not None and (wall is None or alarm < wall):
                wall = alarm
        monotonic = self._rolls.deadline if clock.state is ENDED else self._progress.data.deadline(clock)
        stale = self.phase_deadline
        if stale is not None and (monotonic is None or stale < monotonic):
            monotonic = stale
        return wall, monotonic

    @property
    def phase_deadline(self) -> timedelta | None:
        """The next monotonic instant at which a phase's data is missing for too long; None where none is expected."""
        clock = self._progress.clock_state
        return self._progress.data.phase_deadline(clock) if clock.phases.on and self.config.data_timeouts else None

    @property
    def has_events(self) -> bool:
        """Whether `take_events` would return any."""
        return self._progress.events is not None

    @property
    def cohort(self) -> Cohort | None:
        """The key of lifecycles that do the same at the next boundary; None for an exceptional one."""
        progress = self._progress
        if self._alarms is not None or self._failing is not None or not progress.is_plain or self._rolls.stopping:
            return None
        if progress.config.data_timeouts or (self._venue is not None and self._venue.waits):
            return None
        clock = progress.clock_state
        return (
            id(progress.timeline),
            id(progress.session),
            id(progress.config),
            clock.state,
            clock.breaks_passed,
            clock.closed_before,
            clock.phases.due,
            progress.data.reported_for,
        )


def _is_open(position: Position, t: datetime) -> bool:
    """Return whether the market is open at `t`, which lies in that position."""
    return position.state is ACTIVE and not any(start <= t < end for start, end in position.session.breaks)


def _next_break(session: Session, now: datetime) -> datetime | None:
    """Return the next start or end of a break after `now`; None where there is none."""
    return next((instant for pause in session.breaks for instant in pause if instant > now), None)
