"""Alarms of a lifecycle: which one fires next, and what happens to one that was missed.

Each alarm has a cursor, which moves over the sessions one by one and never back. So an alarm fires at most once for a
session, whatever the clock does and however often the session is gone through. What a journal holds of earlier runs, or
of the replica that leads, counts as fired. Only `due` asks the schedule, and where that raises, nothing is lost.
"""

from collections import deque
from collections.abc import Callable, Container, Iterable
from datetime import date, datetime
from operator import itemgetter
from typing import Final

import msgspec
from msgspec.structs import replace

from session_lifecycle._core.schedule_change import hours_on
from session_lifecycle._core.timeline import Position, Timeline
from session_lifecycle._model.alarm import FURTHEST, Alarm, Misfire
from session_lifecycle._model.clock import Reading
from session_lifecycle._model.config import MissedSessions
from session_lifecycle._model.errors import ScheduleExhausted
from session_lifecycle._model.events import AlarmFired, AlarmSkipped
from session_lifecycle._model.session import Boundaries, Session
from session_lifecycle._model.states import SessionState

_BY_DUE: Final = itemgetter(0)
_REACH: Final = FURTHEST + FURTHEST / 7
"""No session that opens further than this behind the end of the machine's own has an alarm before that end."""


class _Cursor:
    """The place of one alarm in the sequence of sessions.

    `session` is the last one whose instants have been put into `queue`: the machine's, or a later one. `since`, where
    given, is when the alarm was registered: what was due by then is over. `held` are the firings of all alarms that a
    journal holds. `recall` is where, and when, the lifecycle began, as long as earlier sessions have not been searched
    for instants that are still to come.
    """

    __slots__ = ("alarm", "dry", "held", "owner", "queue", "recall", "session", "since")

    def __init__(
        self,
        alarm: Alarm,
        session: Session,
        bounds: Boundaries,
        recall: tuple[Session, Position, datetime],
        since: datetime | None,
        *,
        held: Container[tuple[date, str]],
    ) -> None:
        self.alarm = alarm
        self.held = held
        self.queue: deque[tuple[datetime, Session]] = deque()
        # The instant that was last checked, and where the clock puts the venue then.
        self.owner: tuple[datetime, Position] | None = None
        self.recall: tuple[Session, Position, datetime] | None = recall
        self.since = since
        self.place(session, bounds)

    def place(self, session: Session, bounds: Boundaries) -> None:
        """Queue the instants of a session."""
        self.session = session
        self.dry = False  # whether the schedule knows no session after that
        self.queue.extend(
            (due, session)
            for due in self.alarm.instants(session, bounds)
            if (self.since is None or self.since < due) and not self.is_held(due, session)
        )

    def is_held(self, due: datetime, session: Session) -> bool:
        """Return whether a journal holds that it has fired then, so that it is over."""
        alarm = self.alarm
        return not alarm.recurring_after_restart and (session.date, alarm.key_of(session, due)) in self.held

    def keep(self, wanted: Callable[[datetime, Session], bool]) -> None:
        """Remove from the queue what is not wanted any more."""
        if not all(wanted(*entry) for entry in self.queue):
            self.queue = deque(entry for entry in self.queue if wanted(*entry))
            self.owner = None


class Cut(msgspec.Struct, frozen=True):
    """A session that was ended early, at `at`, before its `end`. With `at` None an earlier run ended it."""

    session: date
    at: datetime | None
    end: datetime
    why: str


class AlarmScheduler:
    """Schedules all alarms of one lifecycle."""

    __slots__ = (
        "_bounds",
        "_cursors",
        "_cut",
        "_held",
        "_jumps",
        "_leading",
        "_name",
        "_owner",
        "_registered",
        "_session",
        "_skipped",
        "timeline",
    )

    def __init__(self, timeline: Timeline, missed_sessions: MissedSessions, name: str | None) -> None:
        self.timeline: Timeline = timeline
        self._jumps = missed_sessions is MissedSessions.LATEST
        self._name = name
        self._registered: dict[Alarm, datetime | None] = {}  # and when, where the lifecycle had begun
        self._cursors: list[_Cursor] = []
        self._session: Session | None = None  # the machine's
        self._bounds: Boundaries
        self._owner: Position  # the present's, by the last reading
        self._cut: Cut | None = None
        self._held: Container[tuple[date, str]] = ()
        self._skipped: Container[date] = ()
        self._leading = True

    def begin(
        self,
        session: Session,
        bounds: Boundaries,
        position: Position,
        now: datetime,
        *,
        held: Container[tuple[date, str]],
        skipped: Container[date] = (),
        leading: bool,
    ) -> None:
        """Adopt the machine's session: its alarms from the first on, and those of others that are still to come.

        What a journal holds counts as over: the session and the key of each firing, and the sessions that rolls have
        `skipped`. Alarms fire while this replica is `leading` alone; one that stands by begins anew when it gains the
        lead.
        """
        self._session, self._bounds, self._owner, self._held, self._leading = session, bounds, position, held, leading
        self._skipped = skipped
        recall = (session, position, now)
        self._cursors = [
            _Cursor(alarm, session, bounds, recall, since, held=held)
            for alarm, since in self._registered.items()
            if leading
        ]

    def stand_by(self) -> None:
        """Fire no alarm until the lifecycle begins anew."""
        self._leading = False
        self._cursors = []

    def add(self, alarm: Alarm, now: datetime) -> None:
        """Register an alarm, once. Where the lifecycle has begun, instants up to `now` are over for it."""
        if alarm in self._registered:
            return
        self._registered[alarm] = None if self._session is None else now
        if self._session is not None and self._leading:
            recall = (self._session, self._owner, now)
            self._cursors.append(_Cursor(alarm, self._session, self._bounds, recall, now, held=self._held))

    @property
    def registered(self) -> Iterable[Alarm]:
        """Every alarm, in the order of registration."""
        return self._registered

    def enter(self, session: Session, bounds: Boundaries, skipped: tuple[date, ...]) -> None:
        """Enter the machine's next session; sessions that it skipped have no alarms."""
        self._session, self._bounds = session, bounds
        for cursor in self._cursors:
            cursor.keep(lambda _, owner: owner.date not in skipped)
            cursor.dry = False
            if cursor.session.date < session.date:
                cursor.place(session, bounds)

    def cut(self, cut: Cut | None) -> None:
        """Void the alarms before the end of a session that has been ended early; None: of no session."""
        self._cut = cut

    def reschedule(self, old: Timeline, touched: Iterable[date]) -> None:
        """Adopt changed hours of some dates, from the timeline as it was to the one as it is.

        What has fired stays as it is. The remaining alarms of the machine's own session, and of later ones that are
        queued, move along; one that moves into the past is late.
        """
        for cursor in self._cursors:
            for day in touched:
                if day <= cursor.session.date:
                    self._replace(cursor, old, day)
            cursor.queue = deque(sorted(cursor.queue, key=_BY_DUE))
            cursor.owner, cursor.dry = None, False

    def _replace(self, cursor: _Cursor, old: Timeline, day: date) -> None:
        before, after = hours_on(old.schedule, day), hours_on(self.timeline.schedule, day)
        queued = [entry for entry in cursor.queue if entry[1].date == day]
        fired = 0 if before is None else len(cursor.alarm.instants(before, old.boundaries(before))) - len(queued)
        cursor.queue = deque(entry for entry in cursor.queue if entry[1].date != day)
        if after is not None:
            instants = cursor.alarm.instants(after, self.timeline.boundaries(after))
            cursor.queue.extend((due, after) for due in instants[fired:] if not cursor.is_held(due, after))
        if after is not None and cursor.session.date == day:
            cursor.session = after

    def next_instant(self, after: datetime) -> datetime | None:
        """Return the first wall instant of an alarm after the last reading. Earlier ones wait for a roll."""
        first: datetime | None = None
        for cursor in self._cursors:
            if cursor.queue and after < cursor.queue[0][0] and (first is None or cursor.queue[0][0] < first):
                first = cursor.queue[0][0]
        return first

    def due(self, wall: datetime, position: Position) -> datetime | None:
        """Return the instant of the next alarm that is due and waits for no roll; None where there is none."""
        self._owner = position
        for cursor in self._cursors:
            self._fill(cursor)
        first = self._first()
        if first is None:
            return None
        cursor, place = first
        due = cursor.queue[place][0]
        return None if due > wall or self._waits(cursor, due) else due

    def fire(self, state: SessionState, now: Reading) -> AlarmFired | AlarmSkipped:
        """Take the alarm that is due off its queue, and return its event."""
        first = self._first()
        assert first is not None
        cursor, place = first
        alarm, (due, session) = cursor.alarm, cursor.queue[place]
        owner = None if cursor.owner is None else cursor.owner[1]
        del cursor.queue[place]
        cursor.owner = None
        late = now.wall - due > alarm.grace
        why = self._why_void(session.date, due)
        if why is None and late and alarm.misfire is Misfire.SKIP and not _holds(owner, now.wall):
            why = f"{now.wall - due} late, and the state that it belongs to has gone"
        if why is not None:
            return AlarmSkipped(alarm, session.date, due, now.wall, why, name=self._name)
        number = alarm.number_of(session, due)
        return AlarmFired(alarm, session.date, due, now.wall, state, late, number, name=self._name)

    def judge(self, fired: AlarmFired, state: SessionState, now: Reading) -> AlarmFired | AlarmSkipped:
        """Judge an alarm that has fired again, at the call of a handler that was busy until now."""
        alarm, due = fired.alarm, fired.scheduled_at
        late = now.wall - due > alarm.grace
        if late and alarm.misfire is Misfire.SKIP and not self._holds_still(due, now.wall):
            why = f"its handler was busy until {now.wall - due} later, and the state that it belongs to has gone"
            return AlarmSkipped(alarm, fired.session, due, now.wall, why, name=self._name)
        return replace(fired, observed_at=now.wall, state=state, catch_up=late)

    # ---- helpers ----

    def _holds_still(self, due: datetime, wall: datetime) -> bool:
        try:
            return _holds(self.timeline.at(due), wall)
        except Exception:  # the schedule is the application's own code; its failure is reported by a poll
            return False

    def _why_void(self, session: date, due: datetime) -> str | None:
        cut = self._cut
        if cut is None or session != cut.session or due > cut.end or (cut.at is not None and due <= cut.at):
            return None
        when = "in an earlier run" if cut.at is None else f"at {cut.at.isoformat()}"
        return f"its session was {cut.why} {when}"

    def _first(self) -> tuple[_Cursor, int] | None:
        """Return the cursor with the earliest instant that no roll can skip, and the place of that in its queue."""
        first: tuple[_Cursor, int] | None = None
        for cursor in self._cursors:
            place = self._first_place(cursor)
            if place is None:
                continue
            if first is None or cursor.queue[place][0] < first[0].queue[first[1]][0]:
                first = cursor, place
        return first

    def _first_place(self, cursor: _Cursor) -> int | None:
        """Return the place of the first instant in a cursor's queue that no roll can skip; None where there is none."""
        for place, (_, session) in enumerate(cursor.queue):
            if not self._may_be_skipped(session):
                return place
        return None

    def _may_be_skipped(self, session: Session) -> bool:
        """Return whether the next roll may skip a session: until that is known, its alarms wait."""
        assert self._session is not None
        return self._jumps and self._session.date < session.date < self._owner.session.date

    def _waits(self, cursor: _Cursor, due: datetime) -> bool:
        """Return whether a due alarm belongs to a session that has yet to be rolled into."""
        assert self._session is not None
        if cursor.owner is None or cursor.owner[0] != due:
            try:
                position = self.timeline.at(due)
            except ScheduleExhausted:  # before the schedule's knowledge: an unknown state, which is over
                position = Position(self._session, SessionState.NOT_STARTED, due, due)
            cursor.owner = due, position
        return cursor.owner[1].session.date > self._session.date

    def _fill(self, cursor: _Cursor) -> None:
        """Queue a cursor's next instants, but no further ahead than can matter before the next roll."""
        if cursor.recall is not None:
            earlier = self.timeline.still_to_come(cursor.alarm, *cursor.recall)
            cursor.queue.extendleft(
                (due, session)
                for due, session in reversed(earlier)
                if due != cursor.since and session.date not in self._skipped and not cursor.is_held(due, session)
            )
            cursor.recall = None
        while not cursor.dry and cursor.session.open - self._bounds.end <= _REACH and self._first_place(cursor) is None:
            following = self.timeline.following(cursor.session)
            if following is None:
                cursor.dry = True
            else:
                cursor.place(following, self.timeline.boundaries(following))


def _holds(owner: Position | None, wall: datetime) -> bool:
    return owner is not None and (owner.until is None or wall < owner.until)
