"""Any overrides on a lifecycle, compared with a plan of the changed schedule."""

from datetime import datetime, time

from hypothesis import example, given
from hypothesis import strategies as st

from session_lifecycle import (
    Closure,
    OverrideRefused,
    Schedule,
    SessionLifecycle,
    SessionState,
    SpecialHours,
    StateChanged,
    replay,
)
from session_lifecycle._core.timeline import Timeline
from session_lifecycle._model.clock import Reading
from tests.helpers.builders import DAY, MONDAY, at, weekdays
from tests.helpers.harness import DEAF, HOUR, MINUTE, SECOND

CLOCK_TIMES = st.integers(0, 95).map(lambda quarter: time(quarter // 4, quarter % 4 * 15))
DAYS = st.sampled_from([MONDAY + n * DAY for n in range(7)])
OVERRIDES = st.one_of(
    st.builds(Closure, DAYS),
    st.builds(SpecialHours, DAYS, close=CLOCK_TIMES),
    st.builds(SpecialHours, DAYS, open=CLOCK_TIMES),
    st.builds(SpecialHours, DAYS, open=CLOCK_TIMES, close=CLOCK_TIMES),
    st.builds(SpecialHours, DAYS, post_market_end=CLOCK_TIMES),
    st.builds(SpecialHours, DAYS, pre_market_start=CLOCK_TIMES),
    st.builds(
        lambda day, start, length: SpecialHours(
            day, breaks=((at(day, (0, 0)) + start, at(day, (0, 0)) + start + length),)
        ),
        DAYS,
        st.integers(0, 1439).map(lambda n: n * MINUTE),
        st.integers(1, 300).map(lambda n: n * MINUTE),
    ),
)
STEPS = st.lists(st.tuples(st.integers(1, 24 * 60).map(lambda n: n * MINUTE), OVERRIDES), max_size=8)


class Life:
    """A lifecycle with rolls that succeed at once, and a log of its edges."""

    def __init__(self, schedule: Schedule, start: datetime) -> None:
        self.core = SessionLifecycle(schedule, config=DEAF)
        self.start = self.wall = start
        self.log: list[StateChanged] = []
        self.core.begin(self.now)
        self.settle()

    @property
    def now(self) -> Reading:
        return Reading(self.wall, self.wall - self.start)

    def settle(self) -> None:
        while True:
            self.core.poll(self.now)
            turn = self.core.due_roll(self.now)
            if turn is None:
                break
            self.core.begin_roll(turn, self.now, journalled=False).apply(self.now)
            self.core.roll_succeeded(turn, self.now).apply(self.now)
        self.log += [event for event in self.core.take_events() if isinstance(event, StateChanged)]

    def run_to(self, end: datetime) -> None:
        while self.wall < end:
            due, _ = self.core.deadlines
            self.wall = end if due is None else min(due, end)
            self.settle()

    def apply(self, override: Closure | SpecialHours) -> bool:
        try:
            decision = self.core.change_schedule(override, self.now)
        except OverrideRefused:
            self.settle()
            return False
        if decision is not None:
            decision.apply(self.now)
        self.settle()
        return True


@given(steps=STEPS, hours=st.integers(0, 30))
@example(steps=[(870 * MINUTE, Closure(MONDAY))], hours=0)  # at the very open
def test_any_overrides_keep_the_machine_with_the_schedule_and_leave_the_past_alone(steps, hours):
    """After every change the machine is where the changed schedule says, and what it had said of the past it says."""
    life = Life(weekdays(n=30), at(MONDAY, (0, 0)) + hours * HOUR)
    for wait, override in steps:
        life.run_to(life.wall + wait)
        before, core = life.core.schedule, life.core
        closes_today = isinstance(override, Closure) and override.date == core.session.date
        if not life.apply(override):
            assert core.schedule is before
        assert core.state is core.scheduled_state is Timeline(core.schedule, DEAF).at(life.wall).state
        assert core.session == Timeline(core.schedule, DEAF).at(life.wall).session
        if not closes_today:
            assert list(replay(core.schedule, life.start, life.wall, config=DEAF)) == list(
                replay(before, life.start, life.wall, config=DEAF)
            )
    end = at(MONDAY + 14 * DAY, (16, 0))
    life.run_to(end)
    assert core_path(life.log) == legal(life.log)
    assert life.core.state is SessionState.ACTIVE
    sessions = [event.session for event in life.log if event.trigger == "roll"]
    assert sessions == sorted(set(sessions))
    last = life.log[-1]
    assert life.core.session.date == end.date() == last.session
    assert last.observed_at - last.scheduled_at < SECOND


def core_path(log: list[StateChanged]) -> list[tuple[str, SessionState, SessionState]]:
    return [(event.trigger, event.source, event.dest) for event in log]


def legal(log: list[StateChanged]) -> list[tuple[str, SessionState, SessionState]]:
    """Return the edges of the log as far as each begins where the one before ended, and is one that there is."""
    found: list[tuple[str, SessionState, SessionState]] = []
    state = SessionState.NOT_STARTED
    table = {
        "start_pre_market": (SessionState.NOT_STARTED, SessionState.PRE_MARKET),
        "open_market": (SessionState.PRE_MARKET, SessionState.ACTIVE),
        "close_market": (SessionState.ACTIVE, SessionState.POST_MARKET),
        "end_session": (SessionState.POST_MARKET, SessionState.ENDED),
        "roll": (SessionState.ENDED, SessionState.NOT_STARTED),
    }
    for event in log:
        if (event.source, event.dest) != table[event.trigger] or event.source is not state:
            break
        found.append((event.trigger, event.source, event.dest))
        state = event.dest
    return found
