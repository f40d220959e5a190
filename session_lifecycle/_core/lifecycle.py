"""The core that decides, sans I/O: told instants, data and roll outcomes, it never awaits, logs or reads a clock.

Every input carries a `Reading` of both clocks. Each first brings the machine up to that reading, edge by edge, in the
order of the boundaries, and then acts; so an answer never depends on how often somebody looked. What came of it is
read off afterwards: events from `take_events`, the roll that is due from `take_roll`, the next instants at which a look
is needed from `deadlines`.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

from msgspec.structs import replace

from session_lifecycle._core.alarms import AlarmScheduler, Cut
from session_lifecycle._core.feeds import FeedState, FeedTable
from session_lifecycle._core.machine import (
    ACTIVE,
    ENDED,
    ERROR,
    NOT_STARTED,
    POST_MARKET,
    PRE_MARKET,
    TIMEOUT,
)
from session_lifecycle._core.progress import Progress
from session_lifecycle._core.rolls import RollRound, Rolls
from session_lifecycle._core.schedule_change import (
    cut_short,
    hold_past,
)
from session_lifecycle._core.staleness import StalenessTimer
from session_lifecycle._core.timeline import Position, Timeline
from session_lifecycle._journal.records import Entry, JournalState, Record
from session_lifecycle._model.alarm import Alarm
from session_lifecycle._model.clock import Reading, as_utc
from session_lifecycle._model.config import LifecycleConfig, Resolution
from session_lifecycle._model.errors import (
    FeedNameTaken,
    HaltRefused,
    IllegalTransition,
    InvalidSession,
    LifecycleError,
    NotASession,
    OverrideRefused,
    RollNotOwedError,
    ScheduleExhausted,
    describe,
)
from session_lifecycle._model.events import Event, HorizonNear, ScheduleChanged, UnexpectedData
from session_lifecycle._model.overrides import (
    Closure,
    Override,
    SpecialHours,
    applied,
    summary,
)
from session_lifecycle._model.session import Session
from session_lifecycle._model.states import SessionState
from session_lifecycle._model.status import Status
from session_lifecycle._schedules.base import (
    AdjustableSchedule,
    Schedule,
)

_LOST: Final = "the schedule has no such session any more"

HORIZON: Final = timedelta(days=30)
"""How far ahead of the end of the schedule's knowledge its end is told."""


Cohort = tuple[int, int, int, SessionState, int, date | None, date | None]
"""Equal for lifecycles that stand at the same place: whatever the clock brings next, it is the same for all of them.

Timeline, session and configuration are told apart as objects; each lifecycle holds its own.
"""


class Change(NamedTuple):
    """An override as it is to be applied: what it makes of a date, and the schedule that says so.

    `ends` tells that the machine's session is over with it.
    """

    override: Override
    before: Session | None
    after: Session | None
    schedule: Schedule
    position: Position
    ends: bool


class SessionLifecycle:
    """One venue's trading day, decided. Drive it with `begin`, then `poll` at its `deadlines`.

    Args:
        schedule: where sessions come from.
        config: the policy.
        session: the date of the session that the application is in; by default the one that owns the present.
        name: put on every event.

    Raises:
        NotASession: `session` is none of the schedule's.
    """

    __module__ = "session_lifecycle"

    __slots__ = (
        "_alarms",
        "_alert",
        "_alerted",
        "_cut",
        "_failing",
        "_first",
        "_progress",
        "_rolls",
        "begun",
    )

    def __init__(
        self,
        schedule: Schedule,
        *,
        config: LifecycleConfig = LifecycleConfig(),
        session: date | None = None,
        name: str | None = None,
    ) -> None:
        self._first = None if session is None else schedule.session_on(session)
        timeline = Timeline.of(schedule, config)
        self._progress = Progress(timeline, config, name)
        self._rolls = Rolls(timeline, config, name)
        self._alarms: AlarmScheduler | None = None  # until there is an alarm
        self._cut: Cut | None = None
        self._alert: date | None = None  # every record is looked at, because the venue is closed before that session
        self._alerted: date | None = None  # ... and for that one it has been told
        self._failing: str | None = None  # fail() was called during an attempt, which ends first
        self.begun: bool = False

    # ---- what it says ----

    @property
    def schedule(self) -> Schedule:
        """Where sessions come from, with what has been changed."""
        return self._progress.timeline.schedule

    @property
    def config(self) -> LifecycleConfig:
        """The policy."""
        return self._progress.config

    @property
    def name(self) -> str | None:
        """What is put on every event."""
        return self._progress.name

    @property
    def progress(self) -> Progress:
        """What moves: for those that read it very often, and change nothing."""
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
        """The state that schedule and clock alone imply, as of the last look."""
        return self._progress.position.state

    @property
    def next_boundary(self) -> datetime | None:
        """When the scheduled state changes next; None where the schedule's knowledge ends."""
        return self._progress.position.until

    @property
    def can_trade(self) -> bool:
        """Whether the session is ACTIVE, on no break, and not halted."""
        return self._progress.state is ACTIVE and not self._progress.on_break and self._progress.halted is None

    @property
    def halted(self) -> str | None:
        """Why trading is halted; None where it is not."""
        return self._progress.halted

    @property
    def feeds(self) -> FeedTable:
        """The watch over the feeds."""
        return self._progress.make_feeds()

    @property
    def feed_states(self) -> tuple[FeedState, ...]:
        """Every feed's watch, in the order in which they were added."""
        return () if self._progress.feeds is None else tuple(self._progress.feeds.members)

    @property
    def stale_feeds(self) -> tuple[str, ...]:
        """The names of the stale feeds, the longest stale first."""
        return () if self._progress.feeds is None else self._progress.feeds.stale

    @property
    def on_break(self) -> bool:
        """Whether the session is on a break."""
        return self._progress.on_break

    @property
    def reason(self) -> str | None:
        """Why the state is ERROR or TIMEOUT."""
        return self._progress.reason

    @property
    def staleness(self) -> StalenessTimer:
        """The watch over the data."""
        return self._progress.staleness

    @property
    def roll_owed(self) -> bool:
        """Whether the machine's session has ended, by clock or by hand, and its roll is not done."""
        return self._progress.ended or self._progress.last_reading.wall >= self._progress.bounds.end

    @property
    def roll_expired(self) -> bool:
        """Whether an attempt under way has taken longer than `roll_timeout`, and is to be cancelled."""
        return self._rolls.expired

    @property
    def status(self) -> Status:
        """A snapshot, as of the last look."""
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
            last_data_at=self._progress.fresh_at(self.staleness.arrival),
            reason=self.reason,
            halted=self.halted,
            feeds=len(self.feed_states),
            stale_feeds=self.stale_feeds,
            observed_at=self._progress.last_reading.wall,
        )

    @property
    def deadlines(self) -> tuple[datetime | None, timedelta | None]:
        """The next wall and the next monotonic instant at which `poll` is needed; None where there is none."""
        progress = self._progress
        wall, edge = progress.position.until, progress.next_transition
        if edge is not None and (wall is None or edge < wall):
            wall = edge
        if self._alarms is not None:
            alarm = self._alarms.next_instant(progress.last_reading.wall)
            if alarm is not None and (wall is None or alarm < wall):
                wall = alarm
        return wall, self._rolls.deadline if progress.state is ENDED else progress.verdict_at

    @property
    def has_events(self) -> bool:
        """Whether `take_events` would return any."""
        return self._progress.events is not None

    def take_events(self) -> Sequence[Event]:
        """Return what has happened since the last call, oldest first."""
        events, self._progress.events = self._progress.events, None
        return events or ()

    # ---- what it is told ----

    def begin(self, now: Reading, journal_state: JournalState | None = None) -> None:
        """Take up the session and catch up with the clock as far as that goes without a roll.

        With a `standing`, take up what a journal tells of an earlier run: its session, an ERROR that nobody has
        recovered from, a roll that was begun.

        Raises:
            ScheduleExhausted: the schedule does not know the present.
            NotASession: the schedule has lost the standing's session, whose hours are not known either.
        """
        position = self._progress.timeline.at(now.wall)
        if position.state is ENDED:
            self.schedule.session_at(now.wall)  # raises, and says where the knowledge ends
        first, lost = position.session if self._first is None else self._first, False
        if journal_state is not None:
            first, lost = self._restore(journal_state)
        self._progress.begin(first, now, position)
        self._watch_for_any()
        if self._alarms is not None:
            self._alarms.begin(self._progress.session, self._progress.bounds, position, now.wall)
        if journal_state is not None and journal_state.ended:
            by_clock = journal_state.intent is not None or journal_state.abandoned_target is not None
            if not by_clock or now.wall < self._progress.bounds.end:
                self._cut_short(None)
        elif lost:
            self._call_off(_LOST)
        self.begun = True
        self._tell_horizon()
        self.poll(now)

    def _restore(self, journal_state: JournalState) -> tuple[Session, bool]:
        """Take up what a journal tells. Return the session, and whether the schedule has lost it since."""
        session, lost = self._remembered(journal_state.session, journal_state.open, journal_state.close)
        self._progress.ended = journal_state.ended
        self._rolls.abandoned_target = journal_state.abandoned_target
        intent = journal_state.intent
        if intent is not None and intent.target is not None:
            target, gone = self._remembered(intent.target, intent.open, intent.close)
            self._rolls.unfinished = RollRound.resumed_from(session, target, self._progress.timeline)
            self._rolls.unfinished.called_off = _LOST if gone else None
        if journal_state.error is not None:
            self._progress.stand_in(ERROR, journal_state.error)
        elif journal_state.ended:
            self._progress.stand_in(ENDED, None)
        return session, lost

    def _remembered(self, day: date, opened: datetime | None, closed: datetime | None) -> tuple[Session, bool]:
        """Return a session of the journal, by the hours noted there where the schedule has lost it since."""
        try:
            return self.schedule.session_on(day), False
        except NotASession:
            if opened is None or closed is None:
                raise
            return Session(day, opened, closed), True

    def _call_off(self, why: str) -> None:
        """Have the machine's session over by now: the venue does not hold it, or no longer."""
        now = self._progress.last_reading.wall
        if now < self._progress.bounds.end:
            self._cut_short(now, f"called off ({why})")
            self._progress.call_off(why)

    def _cut_short(self, at: datetime | None, why: str = "ended by hand") -> None:
        """Take note that the machine's session is ended early: what alarms it still has before its end are void."""
        self._cut = Cut(self._progress.session.date, at, self._progress.bounds.end, why)
        if self._alarms is not None:
            self._alarms.cut(self._cut)

    def poll(self, now: Reading) -> None:
        """Bring the machine up to `now`."""
        progress, alarms = self._progress, self._alarms
        position = progress.position
        try:
            progress.observe(now)
            while (alarms is not None and self._fire_alarm(alarms)) or progress.take_transition():
                pass
            if progress.state is ENDED:
                self._pursue_roll(now)
        except Exception as error:  # the schedule is the application's own code
            self._fail(self._blame(error))
        if progress.state is not ENDED:
            progress.catching_up = False
        if progress.position is not position:
            self._watch_for_any()

    @property
    def cohort(self) -> Cohort | None:
        """Who else would do just the same at the next boundary; None where there is anything special about this one."""
        progress = self._progress
        if self._alarms is not None or self._failing is not None or not progress.is_plain or self._rolls.stopping:
            return None
        alert, alerted = self._alert, self._alerted
        return (
            id(progress.timeline),
            id(progress.session),
            id(self.config),
            progress.state,
            progress.breaks_passed,
            alert,
            alerted,
        )

    def adopt(self, lead: "SessionLifecycle", before: Reading, now: Reading) -> bool:
        """Take over what has come of `poll(now)` for another of the same cohort, which it last saw at `before`.

        What it has told is this one's too, under its own name. Return False where that cannot be; then poll this one.
        """
        progress = self._progress
        if progress.last_reading is not before and now.step_since(progress.last_reading) is not None:
            return False
        progress.adopt(lead._progress)  # noqa: SLF001 -- another of the same kind
        self._alert = lead._alert  # noqa: SLF001 -- likewise
        return True

    def _fire_alarm(self, alarms: AlarmScheduler) -> bool:
        """Let the one alarm go off that is due before the next edge is; return False where there is none."""
        edge, now = self._progress.next_transition, self._progress.last_reading
        due = alarms.due(now.wall, self._progress.position)
        if due is None or (edge is not None and edge <= due):
            return False
        self._progress.emit(alarms.fire(self.state, now))
        return True

    def _watch_for_any(self) -> None:
        """Have all data looked at while the venue is closed by the calendar, until that has been told once."""
        position = self._progress.position
        closed = position.state is NOT_STARTED or position.state is ENDED
        alert = position.session.date if closed and position.session.date != self._alerted else None
        if alert != self._alert:
            self._alert = alert
            self.staleness.watch_for_any(alert=alert is not None)
            if self._progress.feeds is not None:
                self._progress.feeds.watch_for_any(alert=alert is not None)

    def _tell_unexpected(self, feed: str | None, now: Reading, age: timedelta) -> None:
        """Tell of data while the venue is closed, once until it opens; data of before it closed is only late."""
        self.poll(now)
        if self._alert is not None and now.wall - age >= self._progress.position.since:
            self._alerted = self._alert
            self._progress.emit(UnexpectedData(self._alert, feed, now.wall, name=self.name))
            self._watch_for_any()

    def record_data(self, now: Reading, timestamp: datetime | None = None) -> None:
        """Take note of data; where the session is TIMEOUT, data that is fresh ends that.

        Raises:
            NaiveDatetimeError: `timestamp` has no time zone. Nothing is recorded.
        """
        age = _age(timestamp, now)
        self.staleness.heard((now.monotonic - age).total_seconds())
        if self._alert is not None:
            self._tell_unexpected(None, now, age)
        if self.state is TIMEOUT:
            self.poll(now)

    def record_feed(self, feed: FeedState, now: Reading, timestamp: datetime | None = None) -> None:
        """Take note of data from a feed; where it is stale, data that is fresh ends that.

        Raises:
            NaiveDatetimeError: `timestamp` has no time zone. Nothing is recorded.
        """
        age = _age(timestamp, now)
        if feed.removed:
            return
        self.feeds.heard(feed, (now.monotonic - age).total_seconds())
        if self._alert is not None:
            self._tell_unexpected(feed.name, now, age)
        if feed.stale:
            self.poll(now)
            self._progress.revive(feed)
            self.poll(now)

    def add_feed(self, feed: FeedState, now: Reading) -> None:
        """Watch a feed from now on.

        Raises:
            FeedNameTaken: there is one of that name.
        """
        feeds = self.feeds
        if feed.name in feeds:
            raise FeedNameTaken(feed.name)
        if self.begun:
            self.poll(now)
        feeds.watch_for_any(alert=self._alert is not None)
        feeds.add(feed, now.monotonic)
        if self.begun:
            self.poll(now)

    def remove_feed(self, feed: FeedState, now: Reading) -> None:
        """Watch a feed no more. After the last one, the manager's own data is watched again, from now on."""
        if self.begun:
            self.poll(now)
        self.feeds.remove(feed, now.monotonic)
        if not self.begun:
            return
        if not self.feeds:
            self._progress.listen_anew(now.monotonic)
        self.poll(now)

    def take_questions(self) -> Sequence[tuple[FeedState, timedelta]]:
        """Return the feeds whose probe is to be asked, each with the deadline that it is asked for."""
        feeds = self._progress.feeds
        if feeds is None or not feeds.questions:
            return ()
        questions, feeds.questions = feeds.questions, []
        return questions

    def answer_probe(self, feed: FeedState, asked: timedelta, denied: str | None, now: Reading) -> None:
        """Take a probe's answer: `denied` says why the feed is dead, None that it lives and the market is quiet."""
        if self._rolls.stopping:
            return  # it is only being waited for
        self.poll(now)  # an answer at the very instant until which it was waited for comes too late
        self.feeds.answer(feed, asked, denied, now.monotonic)
        self.poll(now)

    def halt(self, reason: str, now: Reading, feed: FeedState | None = None) -> bool:
        """Halt trading, or one feed, until `resume` or the close. Return False where it is halted already.

        Raises:
            HaltRefused: the session is not open, nor about to be. Nothing has changed.
        """
        self.poll(now)
        if self.state not in (PRE_MARKET, ACTIVE, TIMEOUT, ERROR):
            raise HaltRefused(self.state)
        if feed is None:
            if self.halted is not None:
                return False
            self._progress.halt(reason)
        else:
            if feed.halted is not None:
                return False
            self._progress.halt_feed(feed, reason)
        self.poll(now)
        return True

    def resume(self, now: Reading, feed: FeedState | None = None) -> bool:
        """End a halt. Return False where there is none."""
        self.poll(now)
        if (self.halted if feed is None else feed.halted) is None:
            return False
        if feed is None:
            self._progress.resume()
        else:
            self._progress.resume_feed(feed)
        self.poll(now)
        return True

    def add_alarm(self, alarm: Alarm, now: Reading) -> None:
        """Register an alarm; instants that are past by now are over for it."""
        if self.begun:
            self.poll(now)
        if self._alarms is None:
            self._alarms = self._new_alarms(now)
        self._alarms.add(alarm, now.wall)
        if self.begun:
            self.poll(now)

    def _new_alarms(self, now: Reading) -> AlarmScheduler:
        progress = self._progress
        alarms = AlarmScheduler(progress.timeline, self.config.missed_sessions, self.name)
        if self.begun:
            alarms.begin(progress.session, progress.bounds, progress.position, now.wall)
        if self._cut is not None:
            alarms.cut(self._cut)
        return alarms

    def plan_override(self, override: Override, now: Reading) -> Change | None:
        """Return what an override comes to; None where the hours are those already.

        Raises:
            OverrideRefused: it contradicts the schedule or what has passed, or its hours cannot be. Nothing has
                changed.
            ScheduleExhausted: its date lies outside of what the schedule knows.
        """
        self.poll(now)
        if not isinstance(override, Closure | SpecialHours):  # pyright: ignore[reportUnnecessaryIsInstance] -- callers may be untyped
            msg = f"apply() takes a Closure or SpecialHours, not {override!r}"
            raise TypeError(msg)
        day, schedule, mine = override.date, self.schedule, self._progress.session
        try:
            before = schedule.session_on(day)
        except NotASession:
            before = None
        over = self._progress.ended or self._progress.called_off is not None
        if day < mine.date or (day == mine.date and over):
            raise OverrideRefused(day, f"the application is past it: its session is {mine.date}, {self.state.name}")
        after = applied(override, before, schedule.timezone)
        if after == before:
            return None
        if before is None and any(roll.target.date > day for roll in self._rolls.rounds):
            raise OverrideRefused(day, f"the roll from {mine.date} past it is under way; apply it once that is done")
        passed = self._progress.passed if day == mine.date else now.wall
        if after is not None:
            if isinstance(override, SpecialHours) and override.pre_market_start is None:
                hold_past(before, after, passed)
                after = self._pinned(before, after, passed)
            else:
                hold_past(self._begun(before), after, passed)
        elif before is not None and before.open <= passed:
            after = cut_short(before, passed)
        changed = _with_session(schedule, day, after)
        position = Timeline(changed, self.config).at(now.wall)
        return Change(override, before, after, changed, position, isinstance(override, Closure) and day == mine.date)

    def _begun(self, before: Session | None) -> Session | None:
        """Return hours with the beginning of their pre-market, be it a fact or the configuration's."""
        if before is None:
            return None
        return replace(before, pre_market_start=self._progress.timeline.boundaries(before).pre_market_start)

    def _pinned(self, before: Session | None, after: Session, passed: datetime) -> Session:
        """Return new hours whose pre-market begins when it has begun, or not before the present."""
        start = Timeline(_with_session(self.schedule, after.date, after), self.config).boundaries(after)[0]
        begun = None if before is None else self._progress.timeline.boundaries(before).pre_market_start
        pinned = begun if begun is not None and begun <= passed else max(start, passed)
        return after if pinned == start else replace(after, pre_market_start=pinned)

    def ending(self, change: Change, now: Reading) -> Record | None:
        """Return the record to be written before a change that ends the machine's session; None for any other."""
        if not change.ends:
            return None
        return Record(Entry.ENDED, self._progress.session.date, now.wall, note=summary(change.override))

    def change_schedule(self, change: Change, now: Reading) -> None:
        """Go by other hours from now on, as planned."""
        progress, day, before, after = self._progress, change.override.date, change.before, change.after
        old = progress.timeline
        progress.emit(
            ScheduleChanged(
                day, before, after, progress.session.date, summary(change.override), now.wall, name=self.name
            )
        )
        new = progress.timeline = self._rolls.timeline = Timeline.of(change.schedule, self.config)
        if self._alarms is not None:
            self._alarms.timeline = new
        if change.ends:
            self._call_off(summary(change.override))
        elif not progress.ended and progress.called_off is None:
            mine = after if day == progress.session.date and after is not None else progress.session
            progress.go_by(mine, new.boundaries(mine))
        progress.position = change.position
        for roll in self._rolls.rounds:
            if roll.target.date == day:
                roll.called_off = summary(change.override) if after is None else None
                roll.target = after or roll.target
            roll.bounds = new.boundaries(roll.target)
        if self._alarms is not None:
            touched = _around(day, old.schedule, change.schedule)
            self._alarms.reschedule(old, [each for each in touched if each != day or not change.ends])
        self._watch_for_any()
        self.poll(now)

    def plan_end(self, reason: str, now: Reading) -> Record:
        """Return the record to be written before `end_session`.

        Raises:
            IllegalTransition: the session is not ACTIVE, TIMEOUT or POST_MARKET. Nothing has changed.
        """
        self.poll(now)
        state = self.state
        if state is not ACTIVE and state is not TIMEOUT and state is not POST_MARKET:
            raise IllegalTransition(state, "end_session", self._progress.allowed)
        return Record(Entry.ENDED, self._progress.session.date, now.wall, note=reason)

    def end_session(self, reason: str, now: Reading) -> None:
        """Walk the remaining edges of an open session now, as planned."""
        self._cut_short(now.wall)
        if self.state is not POST_MARKET:
            self._progress.fire("close_market", now.wall, reason)
        self._progress.fire("end_session", now.wall, reason)
        self.poll(now)

    def fail(self, reason: str, now: Reading) -> bool:
        """Go to ERROR; during an attempt at the roll, as soon as that has ended. Return False where it is ERROR."""
        self.poll(now)
        if self.state is ERROR:
            return False
        self._fail(reason)
        return True

    def plan_recovery(self, resolution: Resolution, now: Reading) -> Record:
        """Return the record to be written before `recover`.

        Raises:
            IllegalTransition: the state is not ERROR.
            RollNotOwedError: no roll is owed that could be marked as done or skipped.
            ScheduleExhausted: no session is known that could be.
        """
        self.poll(now)
        if self.state is not ERROR:
            raise IllegalTransition(self.state, "recover", self._progress.allowed)
        session = self._progress.session.date
        if resolution is Resolution.RETRY:
            return Record(Entry.RECOVERED, session, now.wall)
        if not self.roll_owed:
            raise RollNotOwedError(
                ERROR, "none is owed, so none can be marked as done or skipped; use Resolution.RETRY"
            )
        self._rolls.waive_cap(self._progress.position)
        roll = self._rolls.plan(self._progress.session, self._progress.position)
        entry = Entry.DONE if resolution is Resolution.MARK_DONE else Entry.SKIPPED
        target = roll.target
        return Record(entry, session, now.wall, target.date, roll.skipped, target.open, target.close, "by recover()")

    def recover(self, record: Record, now: Reading) -> None:
        """Leave ERROR, as planned: to the roll where one is owed, else to the session's start, to walk it again."""
        self._progress.catching_up = True
        self._progress.fire("recover", now.wall, roll_owed=self.roll_owed)
        self._rolls.waive_cap(self._progress.position)
        if record.entry is not Entry.RECOVERED:
            roll = self._rolls.plan(self._progress.session, self._progress.position)
            if record.entry is Entry.DONE:
                self._complete(roll, now)
            else:
                self._rolls.skip(roll)
        self.poll(now)

    def request_roll(self, now: Reading) -> None:
        """Begin the round of attempts that `auto_roll=False` leaves to a person.

        Raises:
            RollNotOwedError: no roll is owed, or it is under way or automatic already.
        """
        self.poll(now)
        state = self.state
        if self.config.auto_roll:
            raise RollNotOwedError(state, "auto_roll is on, so the roll is awaited by itself")
        if state is ERROR:
            raise RollNotOwedError(state, "`await manager.recover()` first")
        if state is not ENDED:
            raise RollNotOwedError(
                state, f"session {self._progress.session.date} has not ended; end_session() ends it now"
            )
        if self._rolls.round is not None:
            raise RollNotOwedError(state, f"the roll to {self._rolls.round.target.date} is under way")
        self._rolls.waive_cap(self._progress.position)
        try:
            self._rolls.open(self._progress.session, self._progress.position, now.monotonic)
        except Exception as error:  # the schedule is the application's own code
            self._fail(self._blame(error))

    def stop(self) -> None:
        """Begin no further attempt at a roll."""
        self._rolls.stopping = True

    # ---- the roll ----

    def due_roll(self, now: Reading) -> RollRound | None:
        """Return the round whose next attempt is due; None where none is."""
        return self._rolls.due(now)

    def begin_roll(self, roll: RollRound, now: Reading) -> None:
        """Count the attempt that is due as begun. Where there is a journal, the intent is durable by now."""
        self._progress.emit(self._rolls.begin(roll, now))

    def roll_unrecorded(self, roll: RollRound, error: BaseException, now: Reading) -> None:
        """Go to ERROR: the attempt has returned, but that could not be made durable, so it must not be told."""
        self.poll(now)
        roll.resumed = True
        self._progress.emit(self._rolls.failed(roll, error, now, retry=False))
        self._fail(
            f"uncertain: the roll from {roll.ended.date} to {roll.target.date} returned, but {describe(error)}. "
            "If its effects are there, `await manager.recover(Resolution.MARK_DONE)`, else `recover(Resolution.RETRY)`"
        )

    def roll_succeeded(self, roll: RollRound, now: Reading) -> None:
        """Enter the next session: the attempt under way has returned."""
        self.poll(now)
        self._complete(roll, now)
        self.poll(now)

    def _complete(self, roll: RollRound, now: Reading) -> None:
        self._progress.emit(self._rolls.succeeded(roll, now))
        self._progress.enter(roll.target, roll.bounds)
        if self._alarms is not None:
            self._alarms.enter(roll.target, roll.bounds, roll.skipped)
        if roll.called_off is not None:
            self._call_off(roll.called_off)
        if self._progress.position.state is not NOT_STARTED:
            self._progress.catching_up = True  # the roll has outlasted the beginning of the session
        if self._failing is not None:
            self._fail(self._failing)
        self._tell_horizon()

    def roll_failed(self, roll: RollRound, error: BaseException, now: Reading) -> None:
        """Take the failure of the attempt under way: wait for the next one, or go to ERROR after the last."""
        self.poll(now)
        self._progress.emit(self._rolls.failed(roll, error, now, retry=self._failing is None))
        if self._failing is not None:
            self._fail(self._failing)
        elif self._rolls.is_spent(roll):
            self._fail(
                f"the roll from {roll.ended.date} to {roll.target.date} failed at attempt {roll.attempt}, the last: "
                f"{describe(error)}"
            )

    # ---- how it decides ----

    def _pursue_roll(self, now: Reading) -> None:
        """Open the round that is owed, or see whether its attempt takes too long."""
        if self._rolls.round is not None:
            self._rolls.expire(now)
        elif self.config.auto_roll and not self._rolls.stopping:
            self._rolls.open(self._progress.session, self._progress.position, now.monotonic)

    def _fail(self, reason: str, due: datetime | None = None) -> None:
        """Go to ERROR, once an attempt under way has ended; what was the reason before that is told too."""
        if self._rolls.running:
            self._failing = self._failing or reason
            return
        if self._failing is not None and self._failing != reason:
            reason = f"{self._failing}; and {reason}"
        self._failing = None
        if self.state is not ERROR:
            self._rolls.drop()
            self._progress.fire("fail", self._progress.last_reading.wall if due is None else due, reason)

    def _blame(self, error: Exception) -> str:
        """Return the reason for ERROR where the schedule has raised."""
        return describe(error) if isinstance(error, LifecycleError) else f"{self.schedule.name}: {describe(error)}"

    def _tell_horizon(self) -> None:
        """Look thirty days ahead, which also has the schedule load what it will need, at a quiet moment."""
        try:
            self.schedule.session_at(self._progress.last_reading.wall + HORIZON)
        except ScheduleExhausted as error:
            if error.last >= self._progress.session.date:
                self._progress.emit(
                    HorizonNear(
                        error.last, self._progress.session.date, self._progress.last_reading.wall, name=self.name
                    )
                )
        except Exception as error:  # the schedule is the application's own code
            self._fail(self._blame(error))


def _age(timestamp: datetime | None, now: Reading) -> timedelta:
    """Return how old data is on arrival; data from the future counts as of now."""
    return timedelta(0) if timestamp is None else max(now.wall - as_utc("timestamp", timestamp), timedelta(0))


def _with_session(schedule: Schedule, day: date, session: Session | None) -> Schedule:
    """Return the schedule with another session, or none, on that day."""
    if not isinstance(schedule, AdjustableSchedule):
        raise OverrideRefused(day, f"{schedule.name} has no with_session(day, session), which would return a copy")
    try:
        return schedule.with_session(day, session)
    except InvalidSession as error:
        raise OverrideRefused(day, str(error)) from error


def _around(day: date, *schedules: Schedule) -> list[date]:
    """Return that day and the sessions next to it, whose boundaries may depend on it."""
    found = {day}
    for schedule in schedules:
        for find in (schedule.previous_session, schedule.next_session):
            with suppress(ScheduleExhausted):
                found.add(find(day).date)
    return sorted(found)
