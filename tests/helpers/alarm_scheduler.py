"""What the tests of test_alarms share."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta

from session_lifecycle import (
    Alarm,
    AlarmFired,
    AlarmSkipped,
    Event,
    FixedSchedule,
    LifecycleConfig,
    Misfire,
    MissedSessions,
    Session,
    StateChanged,
)
from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._journal.records import JournalState
from session_lifecycle._model.clock import Reading
from tests.helpers.harness import (
    DEAF,
    of,
)

ZERO = timedelta(0)
SKIP, RUN_ONCE = Misfire.SKIP, Misfire.RUN_ONCE
LATEST, EACH = MissedSessions.LATEST, MissedSessions.EACH


class Counting(FixedSchedule):
    """A schedule that counts how often it is asked, and can be made to raise."""

    asked = 0
    broken = False

    def _get(self, at: int, wanted: object) -> Session:
        self.asked += 1
        if self.broken:
            raise ConnectionError("no calendar")
        return super()._get(at, wanted)


class Life:
    """A lifecycle whose clock is turned by hand, with a log. Rolls succeed at once, unless `holds` them."""

    def __init__(
        self,
        schedule: FixedSchedule,
        start: datetime,
        alarms: Iterable[Alarm],
        *,
        config: LifecycleConfig = DEAF,
        session: date | None = None,
        journal_state: JournalState | None = None,
    ) -> None:
        self.core = SessionLifecycle(schedule, config=config, session=session)
        self.wall, self.monotonic = start, ZERO
        self.holds = False
        self.looks = 0
        self.log: list[Event] = []
        self.fresh: list[Event] = []
        for alarm in alarms:
            self.core.add_alarm(alarm, self.now)
        self.core.begin(self.now, journal_state)
        self.look()

    @property
    def now(self) -> Reading:
        return Reading(self.wall, self.monotonic)

    @property
    def alarms(self) -> list[AlarmFired | AlarmSkipped]:
        return [each for each in self.log if isinstance(each, AlarmFired | AlarmSkipped)]

    @property
    def fired(self) -> list[tuple[date, datetime]]:
        """The session and the instant of every alarm that went off."""
        return [(each.session, each.scheduled_at) for each in of(AlarmFired, self.log)]

    @property
    def skipped(self) -> list[tuple[date, datetime]]:
        return [(each.session, each.scheduled_at) for each in of(AlarmSkipped, self.log)]

    @property
    def story(self) -> list[str]:
        """Edges by their trigger, alarms by their text."""
        told = {StateChanged: lambda e: e.trigger, AlarmFired: lambda e: str(e.alarm)}
        return [told[type(each)](each) for each in self.log if type(each) in told]

    def look(self) -> None:
        """Look at the clock, see to the rolls that are due, and check that nothing is due any more."""
        self.looks += 1
        self.core.poll(self.now)
        while not self.holds and (turn := self.core.due_roll(self.now)) is not None:
            self.core.begin_roll(turn, self.now, journalled=False).apply(self.now)
            self.core.roll_succeeded(turn, self.now).apply(self.now)
        self.take()
        wall, _ = self.core.deadlines
        assert wall is None or wall > self.wall, "a deadline that is over makes the driver spin"

    def take(self) -> None:
        self.fresh = self.core.take_events()
        self.log += self.fresh

    def add(self, alarm: Alarm) -> None:
        self.core.add_alarm(alarm, self.now)
        self.look()

    def sleep_to(self, wall: datetime, *, suspended: bool = False) -> None:
        """Let time pass without a look, then look once. Where it is suspended, the monotonic clock stands still."""
        self.monotonic += ZERO if suspended else wall - self.wall
        self.wall = wall
        self.look()

    def run_to(self, wall: datetime) -> None:
        """Let time pass with a look at every deadline."""
        while (deadline := self.core.deadlines[0]) is not None and deadline <= wall:
            self.sleep_to(deadline)
        self.sleep_to(wall)
