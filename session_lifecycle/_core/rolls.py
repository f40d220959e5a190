"""Rolls: the choice of the session to roll to, and the attempts that lead there.

A round is the work owed at one session's end. Its target is fixed before the first attempt and stays the same through
every retry, so that an attempt which succeeded in part is repeated for its own date and no other.
"""

from datetime import date, timedelta
from itertools import chain, pairwise
from typing import Self

import msgspec
from msgspec.structs import replace

from session_lifecycle._core.timeline import Position, Timeline
from session_lifecycle._journal.records import Entry, Record
from session_lifecycle._model.clock import Reading
from session_lifecycle._model.config import LifecycleConfig, MissedSessions, Resolution
from session_lifecycle._model.errors import RollNotOwedError, ScheduleExhausted, TooManySessionsMissed
from session_lifecycle._model.events import RollFailed, RollStarted, RollSucceeded
from session_lifecycle._model.session import Boundaries, Session
from session_lifecycle._model.states import SessionState
from session_lifecycle._schedules.base import Schedule


class RollRound(msgspec.Struct, eq=False):
    """One roll, from `ended` to `target`, with all its attempts. Instants are monotonic."""

    ended: Session
    target: Session
    bounds: Boundaries
    skipped: tuple[date, ...] = ()
    resumed: bool = False
    attempt: int = 0
    started_at: timedelta | None = None
    """When the attempt under way began, or None between attempts."""
    expires_at: timedelta | None = None
    """When the attempt under way will have taken too long, or None for never."""
    expired: bool = False
    """Whether it has taken too long: the driver is to cancel it."""
    due_at: timedelta | None = None
    """When the next attempt may begin, or None while one is under way."""
    called_off: str | None = None
    """Why the venue does not hold the target's session, None where it does. It is entered, and left again at once."""
    stayed_open: bool = False
    """Whether the market does not close in between: every session opens at the very close of the one before."""
    intended: bool = False
    """Whether a journal holds the intent: from then on the target is fixed until the roll is done or abandoned."""
    pending: bool = False
    """Whether the intent is being made durable: the attempt begins once it is."""
    returned: Reading | None = None
    """When the attempt returned, while *done* is being made durable, or was in doubt; None before."""
    recorded: bool = False
    """Whether the journal holds *done*, which was in doubt: the roll is completed once ERROR is left."""

    @classmethod
    def resumed_from(cls, ended: Session, target: Session, timeline: Timeline) -> Self:
        """Return the round that an earlier run has begun and may have completed."""
        skipped = skipped_between(timeline.schedule, ended.date, target.date)
        stayed_open = stays_open(timeline.schedule, ended, target, skipped)
        bounds = timeline.boundaries(target)
        return cls(ended, target, bounds, skipped, resumed=True, stayed_open=stayed_open, intended=True)

    def settled(self, resolution: Resolution, now: Reading) -> Record:
        """Return the record of a decision of `recover`: that the roll is done, or that it is skipped."""
        entry = Entry.DONE if resolution is Resolution.MARK_DONE else Entry.SKIPPED
        target, note = self.target, "by recover()"
        return Record(entry, self.ended.date, now.wall, target.date, self.skipped, target.open, target.close, note)

    def duration(self, now: Reading) -> timedelta:
        """Return how long the attempt under way has taken."""
        assert self.started_at is not None, "only an attempt that is under way can have an outcome"
        return (self.returned or now).monotonic - self.started_at


class Rolls:
    """The rolls of one lifecycle: at most one round at a time, and the events of its attempts."""

    __slots__ = (
        "_config",
        "_name",
        "_waived_to",
        "abandoned_target",
        "planned",
        "round",
        "stopping",
        "timeline",
        "unfinished",
    )

    def __init__(self, timeline: Timeline, config: LifecycleConfig, name: str | None) -> None:
        self.timeline: Timeline = timeline
        self._config = config
        self._name = name
        self._waived_to: date | None = None
        self.round: RollRound | None = None
        self.unfinished: RollRound | None = None
        """A round whose intent a journal holds, while it is not being pursued."""
        self.planned: tuple[RollRound, ...] = ()
        """All rounds from the present session: a record about one that is not pursued may be on its way still."""
        self.abandoned_target: date | None = None
        """The last session whose roll was skipped by `recover`; the next roll goes past it."""
        self.stopping: bool = False
        """Whether no further attempt may begin."""

    @property
    def rounds(self) -> tuple[RollRound, ...]:
        """The round that is pursued, and the one that must be finished before another; mostly none."""
        return tuple(roll for roll in (self.round, self.unfinished) if roll is not None)

    @property
    def running(self) -> bool:
        """Whether an attempt is under way."""
        return self.round is not None and self.round.started_at is not None

    @property
    def expired(self) -> bool:
        """Whether the attempt under way has taken longer than `roll_timeout`, and is to be cancelled."""
        return self.round is not None and self.round.expired and self.round.returned is None

    @property
    def deadline(self) -> timedelta | None:
        """The monotonic instant at which an attempt is due to begin or to be cancelled; None where neither is."""
        roll = self.round
        if roll is None or roll.pending or roll.returned is not None:
            return None
        if roll.started_at is not None:
            return None if roll.expired else roll.expires_at
        return None if self.stopping else roll.due_at

    def waive_cap(self, position: Position) -> None:
        """Allow catching up to the session that owns the present, however many sessions were missed."""
        self._waived_to = position.session.date

    def require_owed(self, state: SessionState, session: Session) -> None:
        """Raise `RollNotOwedError` unless the application is to begin a round now, since `auto_roll` is off."""
        if self._config.auto_roll:
            raise RollNotOwedError(state, "auto_roll is on, so the roll is awaited by itself")
        if state is SessionState.ERROR:
            raise RollNotOwedError(state, "`await manager.recover()` first")
        if state is not SessionState.ENDED:
            raise RollNotOwedError(state, f"session {session.date} has not ended; end_session() ends it now")
        if self.round is not None:
            raise RollNotOwedError(state, f"the roll to {self.round.target.date} is under way")

    def open(self, ended: Session, position: Position, now: timedelta) -> None:
        """Open the round that is owed by `ended`, its first attempt due now.

        Raises:
            ScheduleExhausted: the schedule knows no session to roll to.
            TooManySessionsMissed: there are more than `max_catch_up_sessions`, and `waive_cap` has not allowed it.
        """
        roll = self.plan(ended, position)
        roll.attempt, roll.due_at = 0, now
        self.round, self.unfinished = roll, None

    def plan(self, ended: Session, position: Position) -> RollRound:
        """Return the round that is owed by `ended`: the unfinished one, or a new one by the policy.

        Raises:
            ScheduleExhausted: the schedule knows no session to roll to.
            TooManySessionsMissed: there are more than `max_catch_up_sessions`, and `waive_cap` has not allowed it.
        """
        if self.unfinished is not None:
            return self.unfinished
        config = self._config
        waived = self._waived_to is not None and position.session.date <= self._waived_to
        limit = None if waived else config.max_catch_up_sessions
        target, skipped = choose_target(
            self.timeline, ended, position, config.missed_sessions, limit, abandoned_target=self.abandoned_target
        )
        # The boundaries are worked out now, so that entering the session after the roll cannot fail.
        stayed_open = stays_open(self.timeline.schedule, ended, target, skipped)
        roll = RollRound(ended, target, self.timeline.boundaries(target), skipped, stayed_open=stayed_open)
        self.planned = (*self.planned, roll)
        return roll

    def drop(self) -> None:
        """Stop pursuing the round. Where a journal holds its intent, it comes first when rolls go on."""
        if self.round is not None and self.round.intended:
            self.unfinished = self.round
        self.round = None

    def disown(self) -> None:
        """Have an attempt that has not ended be none at the round that is to be finished, which is another one now.

        No record about a round of before is on its way any more: the journal refuses those of a lead that is lost.
        """
        self.planned = ()
        if self.unfinished is not None:
            self.unfinished = replace(self.unfinished)

    def intent_written(self, roll: RollRound) -> bool:
        """Record that a journal holds the round's intent. Return whether its attempt is still to begin."""
        roll.pending, roll.intended = False, True
        if self.round is roll and not self.stopping:
            return True
        if self.round is roll:
            self.drop()
        elif self.unfinished is None:
            self.unfinished = roll
        return False

    def skip(self, roll: RollRound) -> None:
        """Abandon the round's target."""
        self.unfinished = None
        self.abandoned_target = roll.target.date

    def due(self, now: Reading) -> RollRound | None:
        """Return the round whose next attempt is due, if one is."""
        roll = self.round
        if roll is None or roll.pending or roll.due_at is None or now.monotonic < roll.due_at or self.stopping:
            return None
        return roll

    def begin(self, roll: RollRound, now: Reading) -> RollStarted:
        """Begin the attempt that is due."""
        timeout = self._config.roll_timeout
        roll.attempt += 1
        roll.started_at, roll.due_at, roll.expired = now.monotonic, None, False
        roll.expires_at = None if timeout is None else now.monotonic + timeout
        return RollStarted(roll.ended.date, roll.target.date, roll.attempt, roll.resumed, now.wall, name=self._name)

    def expire(self, now: Reading) -> None:
        """Mark the attempt under way, if any, as expired where it has taken too long."""
        roll = self.round
        if roll is not None and roll.expires_at is not None and roll.started_at is not None and roll.returned is None:
            roll.expired = now.monotonic >= roll.expires_at

    def succeeded(self, roll: RollRound, now: Reading) -> RollSucceeded:
        """Close the round: its attempt under way has returned, or it was marked as done."""
        self.round = self.unfinished = self.abandoned_target = None
        self.planned = ()
        ended = (roll.returned or now).monotonic
        return RollSucceeded(
            roll.ended.date,
            roll.target.date,
            roll.attempt,
            roll.resumed,
            roll.skipped,
            roll.expires_at is not None and ended >= roll.expires_at,
            now.wall,
            timedelta(0) if roll.started_at is None else roll.duration(now),
            name=self._name,
        )

    def failed(self, roll: RollRound, error: BaseException, now: Reading, *, retry: bool) -> RollFailed:
        """End the attempt under way, and fix when the next one is due, if there is to be one."""
        policy = self._config.roll_retry
        duration, delay = roll.duration(now), policy.delay_after(roll.attempt)
        again = retry and roll.attempt < policy.attempts and not self.stopping
        roll.started_at = roll.expires_at = roll.returned = None
        roll.due_at = now.monotonic + delay if again else None
        return RollFailed(
            roll.ended.date,
            roll.target.date,
            roll.attempt,
            roll.resumed,
            error,
            now.wall + delay if again else None,
            now.wall,
            duration,
            name=self._name,
        )

    def is_spent(self, roll: RollRound) -> bool:
        """Return whether the round has had its last attempt."""
        return roll.attempt >= self._config.roll_retry.attempts


def choose_target(
    timeline: Timeline,
    ended: Session,
    position: Position,
    policy: MissedSessions,
    limit: int | None,
    *,
    abandoned_target: date | None = None,
) -> tuple[Session, tuple[date, ...]]:
    """Return the session to roll to from `ended`, and the dates of those that are skipped.

    Args:
        timeline: where sessions come from.
        ended: the session that the application is in.
        position: where the clock says that the venue is.
        policy: what to do about missed sessions.
        limit: how many sessions may be rolled or skipped at most; None: as many as there are.
        abandoned_target: a session that is not to be rolled to, nor any before it.

    Raises:
        ScheduleExhausted: the schedule knows no session to roll to.
        TooManySessionsMissed: there are more than `limit`.
    """
    schedule = timeline.schedule
    first = schedule.next_session(ended.date)
    following = first if abandoned_target is None else schedule.next_session(abandoned_target)
    owner = position.session
    if limit is not None and owner.date > following.date:
        _hold_to(limit, schedule, ended, following, owner)
    target = following
    if policy is MissedSessions.LATEST:
        if position.state is SessionState.ENDED and owner.date >= following.date:
            wanted = "the session that owns the present"
            raise ScheduleExhausted(schedule.name, wanted, owner.date, owner.date)
        if owner.date > following.date:
            target = owner
    return target, skipped_between(schedule, ended.date, target.date)


def skipped_between(schedule: Schedule, ended: date, target: date) -> tuple[date, ...]:
    """Return the dates of the sessions that lie strictly between the two."""
    first = schedule.next_session(ended).date
    if first >= target:
        return ()
    return tuple(session.date for session in schedule.sessions(first, target) if session.date != target)


def stays_open(schedule: Schedule, ended: Session, target: Session, skipped: tuple[date, ...]) -> bool:
    """Return whether the market does not close between two sessions: each opens at the very close of the one before."""
    sessions = chain([ended], map(schedule.session_on, skipped), [target])
    return all(one.close == other.open for one, other in pairwise(sessions))


def _hold_to(limit: int, schedule: Schedule, ended: Session, following: Session, owner: Session) -> None:
    """Raise where too many were missed. It counts no further than the limit, so that ten years need not be loaded."""
    at = following
    for _ in range(limit - 1):
        at = schedule.next_session(at.date)
        if at.date >= owner.date:
            return
    raise TooManySessionsMissed(ended.date, owner.date, limit)
