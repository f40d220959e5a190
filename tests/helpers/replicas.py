"""Lifecycles that share a journal, without I/O: one leads and records, others follow it or restart from it."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from session_lifecycle import (
    Alarm,
    AlarmFired,
    AlarmInterrupted,
    AlarmSkipped,
    Entry,
    Event,
    Halted,
    LifecycleConfig,
    LifecycleError,
    Override,
    Record,
    Resolution,
    Schedule,
    SessionState,
    StateChanged,
)
from session_lifecycle._core.decision import Decision
from session_lifecycle._core.feeds import FeedState
from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._core.rolls import RollRound
from session_lifecycle._journal.records import adoption, changed, intent
from session_lifecycle._journal.standing import Standing
from session_lifecycle._model.clock import Reading
from tests.helpers.builders import MONDAY, at, weekdays
from tests.helpers.harness import (
    DEAF,
    ERROR,
    MINUTE,
)


class Replica:
    """One replica: its lifecycle, what it knows of the journal, and every event since the last look."""

    def __init__(
        self,
        schedule: Schedule,
        start: datetime,
        *,
        records: Iterable[Record] = (),
        alarms: Sequence[Alarm] = (),
        config: LifecycleConfig = DEAF,
        leads: bool = True,
    ) -> None:
        self.standing = Standing(records)
        self.core = SessionLifecycle(schedule, config=config)
        self.wall, self.elapsed = start, timedelta(0)
        self.log: list[Event] = []
        for alarm in alarms:
            self.core.add_alarm(alarm, self.now)
        if not leads:
            self.core.stand_by(self.now)
        self.core.begin(self.now, self.standing.state)
        self.take()

    @property
    def now(self) -> Reading:
        return Reading(self.wall, self.elapsed)

    def take(self) -> list[Event]:
        """Take the events that are new, and check that nothing is due any more."""
        fresh = list(self.core.take_events())
        self.log += fresh
        wall, _ = self.core.deadlines
        assert wall is None or wall > self.wall, "a deadline that is over makes the driver spin"
        return fresh

    def pass_to(self, wall: datetime) -> list[Event]:
        """Let time pass, with one look at its end."""
        self.elapsed += wall - self.wall
        self.wall = wall
        self.core.poll(self.now)
        return self.take()

    def follow(self, *records: Record, term: int = 0) -> list[Event]:
        """Follow records of the leader, one by one."""
        for record in records:
            state = self.standing.add(record)
            assert state is not None
            self.core.follow(record, state, self.now, term=term)
        return self.take()

    def lead(self) -> list[Event]:
        self.core.lead(self.now, self.standing.state)
        return self.take()

    def stand_by(self) -> list[Event]:
        self.core.stand_by(self.now, LifecycleError("the lease was over"))
        return self.take()

    @property
    def reflected(self) -> dict[str, object]:
        """What it reflects of the journal: all that a restart restores."""
        core = self.core
        unfinished = core._rolls.unfinished
        days = core.schedule.sessions(core.session.date, core.session.date + timedelta(days=14))
        return {
            "session": core.session.date,
            "state": core.state,
            "reason": core.reason,
            "roll owed": core.roll_owed,
            # In ERROR the close does not pass, so that a halt may be there until ERROR is left; nothing depends on it.
            "halted": None if core.state is ERROR and core.session.close <= self.wall else core.halted,
            "halts of feeds": {feed.name: feed.halted for feed in core.feed_states} | core.progress.data.absent_halts,
            "abandoned": core._rolls.abandoned_target,
            "unfinished": unfinished and (unfinished.target, unfinished.resumed),
            "hours": days,
            "by the clock": (core.scheduled_state, core.next_boundary),
            "can trade": core.can_trade,
        }

    @property
    def due(self) -> tuple[object, ...] | None:
        """The roll that it would begin now."""
        roll = self.core.due_roll(self.now)
        return None if roll is None else (roll.ended.date, roll.target, roll.skipped, roll.resumed)

    @property
    def alarms(self) -> list[tuple[object, ...]]:
        """What has become of alarms, in order, but for those skipped of a day that was closed since."""
        found: list[tuple[object, ...]] = []
        for each in self.log:
            if isinstance(each, AlarmSkipped) and not self.core.schedule.sessions(each.session, each.session):
                continue
            if isinstance(each, AlarmFired | AlarmSkipped):
                found.append((type(each), each.alarm.key, each.session, each.scheduled_at))
            elif isinstance(each, AlarmInterrupted):
                found.append((AlarmInterrupted, each.key, each.session))
        return found


class Leader(Replica):
    """The replica that leads, with the records that its decisions and events make."""

    def __init__(
        self, schedule: Schedule, start: datetime, *, alarms: Sequence[Alarm] = (), config: LifecycleConfig = DEAF
    ) -> None:
        self.records: list[Record] = []
        super().__init__(schedule, start, alarms=alarms, config=config)
        self._add(adoption(self.core.session, self.wall))
        self.rolling: RollRound | None = None
        self.finishes_alarms = True
        self._record(self.log)

    def _add(self, *records: Record) -> None:
        for record in records:
            numbered = Record(
                record.entry, record.session, record.at, record.target, record.skipped, record.open, record.close,
                record.note, record.subject, len(self.records) + 1,
            )  # fmt: skip
            self.records.append(numbered)
            self.standing.add(numbered)

    def _record(self, events: Iterable[Event]) -> None:
        """Record what events say, as it is after them."""
        for event in events:
            match event:
                case StateChanged(dest=SessionState.ERROR):
                    self._add(Record(Entry.FAILED, event.session, self.wall, note=event.reason or ""))
                case Halted():
                    self._add(
                        Record(Entry.HALTED, event.session, self.wall, note=event.reason, subject=event.feed or "")
                    )
                case AlarmFired():
                    self._add(Record(Entry.ALARM_BEGUN, event.session, self.wall, subject=event.key))
                    if self.finishes_alarms:
                        self._add(Record(Entry.ALARM_ENDED, event.session, self.wall, subject=event.key))
                case _:
                    pass
        self._add(*self.core.take_records())

    def _carry_out(self, decision: Decision) -> None:
        """Make a decision's records durable, then apply it."""
        for record in decision.records:
            self._add(record)
        decision.apply(self.now)
        self._record(self.take())

    def withdraw(self, entry: Entry) -> None:
        """Record something of the present session that does not happen after all."""
        core = self.core
        day, after = core.session.date, core.schedule.next_session(core.session.date)
        record = Record(entry, day, self.wall, note="too late")
        if entry is Entry.CHANGED:
            record = changed(after.date, None, day, self.wall)
        elif entry is Entry.INTENT:
            record = intent(core.session, after, (), self.wall)
        elif entry is Entry.ALARM_BEGUN:
            record = Record(entry, day, self.wall, subject=Alarm("close", -timedelta(minutes=15)).key)
        self._add(record)
        self._add(Record(Entry.WITHDRAWN, day, self.wall, subject=str(len(self.records))))

    def pass_to(self, wall: datetime) -> list[Event]:
        fresh = super().pass_to(wall)
        self._record(fresh)
        return fresh

    def halt(self, reason: str = "news") -> None:
        self.core.halt(reason, self.now)
        self._record(self.take())

    def resume(self, feed: FeedState | None = None) -> None:
        decision = self.core.resume(self.now, feed)
        if decision is not None:
            self._carry_out(decision)

    def fail(self, reason: str = "the book does not add up") -> None:
        self.core.fail(reason, self.now)
        self._record(self.take())

    def end(self, reason: str = "the desk goes home") -> None:
        self._carry_out(self.core.end_session(reason, self.now))

    def recover(self, resolution: Resolution = Resolution.RETRY) -> None:
        self._carry_out(self.core.recover(resolution, self.now))

    def apply(self, override: Override) -> None:
        decision = self.core.change_schedule(override, self.now)
        if decision is not None:
            self._carry_out(decision)

    def begin_roll(self) -> None:
        """Begin the roll that is due, if one is."""
        roll = self.core.due_roll(self.now)
        if roll is not None:
            self._carry_out(self.core.begin_roll(roll, self.now, journalled=True))
            self.rolling = roll

    def end_roll(self, error: Exception | None = None) -> None:
        """End the roll that is under way, if one is."""
        roll, self.rolling = self.rolling, None
        if roll is not None and error is not None:
            self.core.roll_failed(roll, error, self.now)
            self._record(self.take())
        elif roll is not None:
            self._carry_out(self.core.roll_succeeded(roll, self.now))

    def roll(self) -> None:
        self.begin_roll()
        self.end_roll()


NOON = at(MONDAY, (17, 0))
SCHEDULE = weekdays(n=20)
FLATTEN = Alarm("close", -15 * MINUTE)


def pair(
    start: datetime = NOON, *, alarms: Sequence[Alarm] = (), config: LifecycleConfig = DEAF
) -> tuple[Leader, Replica]:
    """Return a leader, and a replica that stands by and has read all of its records."""
    leader = Leader(SCHEDULE, start, alarms=alarms, config=config)
    return leader, Replica(SCHEDULE, start, records=leader.records, alarms=alarms, config=config, leads=False)


def follow(leader: Leader, replica: Replica, *, term: int = 1) -> list[Event]:
    """Bring a replica to the leader's instant, and have it follow what it has not followed yet."""
    new = [record for record in leader.records if record.seq > replica.standing.last_seq]
    return [*replica.pass_to(leader.wall), *replica.follow(*new, term=term)]
