"""Plan a change of hours at run time. Boundaries that have passed stay as they were."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import date, datetime
from operator import itemgetter

import msgspec
from msgspec.structs import replace

from session_lifecycle._core.progress import Progress
from session_lifecycle._core.rolls import RollRound, skipped_between, stays_open
from session_lifecycle._core.timeline import Position, Timeline
from session_lifecycle._model.clock import Reading
from session_lifecycle._model.errors import InvalidSession, NotASession, OverrideRefused, ScheduleExhausted
from session_lifecycle._model.events import ScheduleChanged
from session_lifecycle._model.legs import LEGS
from session_lifecycle._model.overrides import Closure, Override, SpecialHours, applied, summary
from session_lifecycle._model.session import Session
from session_lifecycle._schedules.base import AdjustableSchedule, Schedule


class Change(msgspec.Struct, frozen=True):
    """A change of a date's hours that is ready to be applied: the hours before and after, and the new timeline.

    `why` is for people. `ends` says that the machine's session ends with it.
    """

    day: date
    why: str
    before: Session | None
    after: Session | None
    old: Timeline
    timeline: Timeline
    position: Position
    ends: bool

    @property
    def touched(self) -> list[date]:
        """The dates whose boundaries may change: the day, unless its session ends, and the sessions next to it."""
        found = {self.day}
        for schedule in (self.old.schedule, self.timeline.schedule):
            for find in (schedule.previous_session, schedule.next_session):
                with suppress(ScheduleExhausted):
                    found.add(find(self.day).date)
        return sorted(day for day in found if day != self.day or not self.ends)

    def at(self, now: Reading, *, ends: bool) -> "Change":
        """Return the change as it is applied at `now`; that session may have been entered meanwhile."""
        return replace(self, position=self.timeline.at(now.wall), ends=ends)

    def hours_of(self, session: Session) -> Session:
        """Return a session with its hours as they are now."""
        return self.after if self.after is not None and self.day == session.date else session

    def event(self, session: date, now: Reading, name: str | None) -> ScheduleChanged:
        """Return the event that reports it, in a session."""
        return ScheduleChanged(self.day, self.before, self.after, session, self.why, now.wall, name=name)

    def retarget(self, rolls: Sequence[RollRound]) -> None:
        """Point the rolls that are owed to the hours as they are now."""
        for roll in rolls:
            if roll.ended.date < self.day < roll.target.date:  # a session that it skips, or one that it would have
                roll.skipped = skipped_between(self.timeline.schedule, roll.ended.date, roll.target.date)
            if roll.target.date == self.day:
                roll.called_off = self.why if self.after is None else None
                roll.target = self.after or roll.target
            roll.bounds = self.timeline.boundaries(roll.target)
            roll.stayed_open = roll.called_off is None and stays_open(
                self.timeline.schedule, roll.ended, roll.target, roll.skipped
            )


def plan_change(override: Override, progress: Progress, rolls: Sequence[RollRound], now: Reading) -> Change | None:
    """Return the change that an override makes; None where the hours are those already. Nothing changes.

    Raises:
        OverrideRefused: it contradicts the schedule or what has passed, or its hours are impossible.
        ScheduleExhausted: its date lies outside of what the schedule knows.
    """
    day, timeline, mine = override.date, progress.timeline, progress.session
    schedule = timeline.schedule
    before = hours_on(schedule, day)
    over = progress.ended or progress.called_off is not None
    if day < mine.date or (day == mine.date and over):
        raise OverrideRefused(day, f"the application is past it: its session is {mine.date}, {progress.state.name}")
    if isinstance(override, SpecialHours) and override.until is not None:
        why = f"{override} is a season. Apply an override of each date, or make a schedule with the season"
        raise OverrideRefused(override.date, why)
    after = applied(override, before, schedule.timezone)
    if after == before:
        return None
    if before is None and any(roll.target.date > day for roll in rolls):
        raise OverrideRefused(day, f"the roll from {mine.date} past it is under way; apply it once that is done")
    passed = progress.passed
    if after is not None:
        if isinstance(override, SpecialHours) and override.pre_market_start is None:
            hold_past(before, after, passed)
            after = _pinned(timeline, progress, before, after, passed)
        else:
            hold_past(_with_pre_market(timeline, before), after, passed)
    elif before is not None and before.open < passed:
        after = cut_short(before, passed)
    changed = Timeline(with_session(schedule, day, after), progress.config)
    ends = isinstance(override, Closure) and day == mine.date
    return Change(day, summary(override), before, after, timeline, changed, changed.at(now.wall), ends)


def recorded_change(day: date, after: Session | None, progress: Progress, now: Reading) -> Change | None:
    """Return the change to hours that the leader has recorded; None where they are those already, or the day is over.

    The leader has judged it by what had passed for it.

    Raises:
        OverrideRefused: the schedule cannot be changed, or refuses this session.
        ScheduleExhausted: the date lies outside of what the schedule knows.
    """
    timeline = progress.timeline
    before = hours_on(timeline.schedule, day)
    if day < progress.session.date or before == after:
        return None
    changed = Timeline(with_session(timeline.schedule, day, after), progress.config)
    ends = after is None and day == progress.session.date
    return Change(day, "applied by the leader", before, after, timeline, changed, changed.at(now.wall), ends)


def hours_on(schedule: Schedule, day: date) -> Session | None:
    """Return the session of a date, None where there is none.

    Raises:
        ScheduleExhausted: the date lies outside of what the schedule knows.
    """
    try:
        return schedule.session_on(day)
    except NotASession:
        return None


def _with_pre_market(timeline: Timeline, session: Session | None) -> Session | None:
    """Return hours with the start of their pre-market as a fact, where it is the configuration's."""
    if session is None:
        return None
    return replace(session, pre_market_start=timeline.boundaries(session).pre_market_start)


def _pinned(
    timeline: Timeline, progress: Progress, before: Session | None, after: Session, passed: datetime
) -> Session:
    """Return new hours whose pre-market starts when it has started, or not before the present."""
    changed = Timeline(with_session(timeline.schedule, after.date, after), progress.config)
    start = changed.boundaries(after).pre_market_start
    started = None if before is None else timeline.boundaries(before).pre_market_start
    pinned = started if started is not None and started <= passed else max(start, passed)
    return after if pinned == start else replace(after, pre_market_start=pinned)


def with_session(schedule: Schedule, day: date, session: Session | None) -> Schedule:
    """Return the schedule with another session, or none, on that day.

    Raises:
        OverrideRefused: the schedule cannot be changed, or refuses this session.
    """
    if not isinstance(schedule, AdjustableSchedule):
        raise OverrideRefused(day, f"{schedule.name} has no with_session(day, session), which would return a copy")
    try:
        return schedule.with_session(day, session)
    except InvalidSession as error:
        raise OverrideRefused(day, str(error)) from error


def cut_short(session: Session, at: datetime) -> Session:
    """Return what is left of a session that is closed after its open; where a break is on, trading ended with that.

    Raises:
        OverrideRefused: it has closed already.
    """
    if session.close <= at:
        raise OverrideRefused(
            session.date, f"the session has closed at {session.close.isoformat()}; end_session() ends it now"
        )
    close = next((start for start, end in session.breaks if start < at <= end), at)
    breaks = tuple((start, end) for start, end in session.breaks if end < close)
    phases = tuple(phase if phase.end <= at else replace(phase, end=at) for phase in session.phases if phase.start < at)
    return replace(session, close=close, breaks=breaks, post_market_end=at, phases=phases)


def hold_past(before: Session | None, after: Session, passed: datetime) -> None:
    """Raise `OverrideRefused` where an hour that has passed would change."""
    was = set(_hours(before)) if before is not None else set[tuple[str, datetime]]()
    will = set(_hours(after))
    for what, instant in sorted(was - will, key=itemgetter(1)):
        if instant <= passed:
            why = f"{what} was at {instant.isoformat()}, which has passed, and would be another one"
            raise OverrideRefused(after.date, f"{why} in {after}")
    for what, instant in sorted(will - was, key=itemgetter(1)):
        if instant <= passed:
            raise OverrideRefused(
                after.date, f"{what} would be at {instant.isoformat()}, which has passed; end_session() ends it now"
            )


def _hours(session: Session) -> Iterator[tuple[str, datetime]]:
    for leg in LEGS:
        instant: datetime | None = getattr(session, leg.fact)
        if instant is not None:
            yield leg.fact, instant
    for start, end in session.breaks:
        yield "break start", start
        yield "break end", end
