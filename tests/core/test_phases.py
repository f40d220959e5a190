"""Phases in the core: each is delivered once, in the order of time, by the clock alone, and moves no state."""

from datetime import UTC, date, datetime, timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import given
from msgspec.structs import replace

from session_lifecycle import (
    DataStale,
    Event,
    FixedSchedule,
    InvalidSession,
    LifecycleConfig,
    NaiveDatetimeError,
    Phase,
    PhaseEnded,
    PhaseStarted,
    Session,
    SessionLifecycle,
    SessionState,
    SpecialHours,
    StateChanged,
    UnexpectedData,
)
from session_lifecycle._core.phases import in_order as joined
from session_lifecycle._core.phases import stretches
from session_lifecycle._model.clock import Reading
from session_lifecycle.testing import assert_legal
from tests.helpers.builders import DAY, MONDAY, at, utc

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
MIDNIGHT = datetime(2024, 3, 4, tzinfo=UTC)


def phases(day: date) -> tuple[Phase, ...]:
    """Return a day's phases: a night, a pre-market, trading, a closing auction without data, and an after-market."""
    return (
        Phase("overnight", at(day, (1, 0)), at(day, (9, 0)), tradable=True),
        Phase("pre_market", at(day, (9, 0)), at(day, (14, 30)), tradable=True),
        Phase("continuous", at(day, (14, 30)), at(day, (20, 50)), tradable=True),
        Phase("closing_auction", at(day, (20, 50)), at(day, (21, 0)), tradable=False, data_expected=False),
        Phase("post_market", at(day, (21, 0)), at(day + DAY, (1, 0)), tradable=True),
    )


def day_with(*own: Phase, day: date = MONDAY) -> Session:
    return Session(day, at(day, (14, 30)), at(day, (21, 0)), phases=own)


WEEK = FixedSchedule([day_with(*phases(MONDAY + n * DAY), day=MONDAY + n * DAY) for n in range(5)])


class Run:
    """A core that is polled at its deadlines, with rolls that succeed at once."""

    def __init__(self, schedule: FixedSchedule, start: datetime, config: LifecycleConfig | None = None) -> None:
        self.core = SessionLifecycle(schedule, config=config or LifecycleConfig(data_timeout=None))
        self.now = self.start = start
        self.log: list[Event] = []
        self.core.begin(self.reading)
        self._settle()

    @property
    def reading(self) -> Reading:
        return Reading(self.now, self.now - self.start)

    def until(self, end: datetime) -> list[Event]:
        """Go to `end`, and return what has happened on the way."""
        before = len(self.log)
        while True:
            wall, monotonic = self.core.deadlines
            dues = [due for due in (wall, None if monotonic is None else self.start + monotonic) if due is not None]
            following = min([due for due in dues if due > self.now], default=end)
            self.now = min(following, end)
            self.core.poll(self.reading)
            self._settle()
            if self.now == end:
                return self.log[before:]

    def _settle(self) -> None:
        self.log += self.core.take_events()
        while (roll := self.core.due_roll(self.reading)) is not None:
            self.core.begin_roll(roll, self.reading, journalled=False).apply(self.reading)
            self.core.roll_succeeded(roll, self.reading).apply(self.reading)
            self.log += self.core.take_events()


def told(log: list[Event]) -> list[tuple[str, str, date, datetime]]:
    """Return the starts and ends of phases in a log."""
    return [
        (type(each).__name__.removeprefix("Phase"), each.phase, each.session, each.scheduled_at)
        for each in log
        if isinstance(each, PhaseStarted | PhaseEnded)
    ]


def in_order(schedule: FixedSchedule, first: datetime, last: datetime) -> list[tuple[str, str, date, datetime]]:
    """Return the same by the schedule: what is due from `first` to `last`, both inclusive."""
    found = [
        entry
        for session in schedule.sessions(date.min, date.max)
        for phase in session.phases
        for entry in (
            ("Started", phase.name, session.date, phase.start),
            ("Ended", phase.name, session.date, phase.end),
        )
        if first <= entry[3] <= last
    ]
    return sorted(found, key=lambda entry: (entry[3], entry[0] == "Started"))


def test_phases_are_validated() -> None:
    """Aware instants in order, a name that is none of a boundary, Booleans; and no overlap within a session."""
    start, end = at(MONDAY, (9, 0)), at(MONDAY, (10, 0))
    with pytest.raises(TypeError, match="tradable"):
        Phase("overnight", start, end)
    with pytest.raises(TypeError, match="tradable of phase overnight must be a bool, not 1"):
        Phase("overnight", start, end, 1)
    with pytest.raises(InvalidSession, match="must come before"):
        Phase("overnight", end, end, tradable=True)
    with pytest.raises(NaiveDatetimeError):
        Phase("overnight", start.replace(tzinfo=None), end, tradable=True)
    for name in ("", "a b", "close", "a-b", "é", 3):
        with pytest.raises(InvalidSession, match="cannot be the name of a phase"):
            Phase(name, start, end, tradable=True)
    with pytest.raises(InvalidSession, match=r"phase b starts at .*, before phase a ends"):
        day_with(Phase("a", start, end, tradable=True), Phase("b", end - MINUTE, end + HOUR, tradable=True))
    with pytest.raises(TypeError, match="Phase values"):
        day_with((start, end))


def test_a_phase_is_a_fact_of_the_clock() -> None:
    """Each starts and ends at its instant, for its own trade date: the after-market of a day outlasts the roll."""
    run = Run(WEEK, MIDNIGHT)
    log = run.until(MIDNIGHT + 3 * DAY)
    assert told(log) == in_order(WEEK, MIDNIGHT, MIDNIGHT + 3 * DAY)
    assert all(each.lateness == timedelta(0) for each in log if isinstance(each, PhaseStarted | PhaseEnded))
    assert not any(each.catch_up for each in log if isinstance(each, PhaseStarted | PhaseEnded))
    assert (run.core.phase, run.core.phase_tradable, run.core.state) == ("post_market", True, SessionState.NOT_STARTED)
    assert run.core.session.date == MONDAY + 3 * DAY
    assert_legal(run.log)


def test_a_late_start_catches_up() -> None:
    """Started at 15:00, the session's phases follow with the transitions in the order of time, as a catch-up."""
    run = Run(WEEK, at(MONDAY + DAY, (15, 0)))
    names = [
        each.trigger if isinstance(each, StateChanged) else f"{each.phase} {type(each).__name__.removeprefix('Phase')}"
        for each in run.log
        if isinstance(each, StateChanged | PhaseStarted | PhaseEnded)
    ]
    assert names == [
        "overnight Started", "start_pre_market", "overnight Ended", "pre_market Started", "open_market",
        "pre_market Ended", "continuous Started",
    ]  # fmt: skip
    assert all(each.catch_up for each in run.log if isinstance(each, StateChanged | PhaseStarted | PhaseEnded))
    assert run.core.phase == "continuous"


def test_a_start_in_the_after_market_knows_it() -> None:
    """Started at 22:00, in the next session, the phase that is on is that of the session before."""
    run = Run(WEEK, at(MONDAY, (22, 0)))
    assert told(run.log) == [("Started", "post_market", MONDAY, at(MONDAY, (21, 0)))]
    assert (run.core.phase, run.core.session.date) == ("post_market", MONDAY + DAY)


def test_time_that_goes_back_undoes_nothing() -> None:
    """A phase that has started is not started again, and ends when the clock has caught up."""
    run = Run(WEEK, at(MONDAY, (20, 55)))
    run.start -= 2 * HOUR  # the wall clock goes back by two hours
    run.now -= 2 * HOUR
    assert told(run.until(at(MONDAY, (20, 59)))) == []
    assert run.core.phase == "closing_auction"
    assert told(run.until(at(MONDAY, (21, 0)))) == [
        ("Ended", "closing_auction", MONDAY, at(MONDAY, (21, 0))),
        ("Started", "post_market", MONDAY, at(MONDAY, (21, 0))),
    ]


def test_a_phase_without_data_is_no_timeout() -> None:
    """Silence does not count in it; after it, it counts from its end."""
    quiet = Phase("opening_auction", at(MONDAY, (14, 30)), at(MONDAY, (15, 0)), tradable=False, data_expected=False)
    run = Run(FixedSchedule([day_with(quiet)]), at(MONDAY, (14, 0)), LifecycleConfig(data_timeout=5 * MINUTE))
    log = run.until(at(MONDAY, (16, 0)))
    [timeout] = [each for each in log if isinstance(each, StateChanged) and each.trigger == "data_timeout"]
    assert timeout.scheduled_at == at(MONDAY, (15, 5))


def test_a_phase_without_data_leaves_a_timeout_as_it_is() -> None:
    """A TIMEOUT outlasts it, and its time does not count towards ERROR."""
    quiet = Phase("intraday_auction", at(MONDAY, (14, 40)), at(MONDAY, (15, 0)), tradable=False, data_expected=False)
    config = LifecycleConfig(data_timeout=5 * MINUTE, error_after_timeout=10 * MINUTE)
    run = Run(FixedSchedule([day_with(quiet)]), at(MONDAY, (14, 0)), config)
    changes = [each for each in run.until(at(MONDAY, (16, 0))) if isinstance(each, StateChanged)]
    assert [(each.trigger, each.scheduled_at) for each in changes[1:]] == [
        ("data_timeout", at(MONDAY, (14, 35))),
        ("fail", at(MONDAY, (15, 5))),  # five minutes before the auction, five after it
    ]


def test_a_phase_has_a_timeout_of_its_own() -> None:
    """In ACTIVE it replaces `data_timeout`, and a shorter one counts from the phase's start."""
    auction = Phase("closing_auction", at(MONDAY, (20, 0)), at(MONDAY, (21, 0)), tradable=True)
    config = LifecycleConfig(data_timeout=12 * HOUR, data_timeouts={"closing_auction": MINUTE})
    run = Run(FixedSchedule([day_with(auction)]), at(MONDAY, (14, 0)), config)
    [timeout] = [each for each in run.until(at(MONDAY, (20, 30))) if isinstance(each, StateChanged)][-1:]
    assert (timeout.trigger, timeout.scheduled_at) == ("data_timeout", at(MONDAY, (20, 1)))
    assert timeout.reason is not None
    assert "no data for 0:01:00 (data_timeouts of closing_auction)" in timeout.reason


def test_a_budget_outside_of_active_fires_no_transition() -> None:
    """Silence at night is a `DataStale`, once until data has come; the state stays NOT_STARTED."""
    config = LifecycleConfig(data_timeout=None, data_timeouts={"overnight": HOUR})
    run = Run(WEEK, MIDNIGHT, config)
    log = run.until(at(MONDAY, (4, 30)))
    assert [each for each in log if isinstance(each, DataStale)] == [
        DataStale("overnight", MONDAY, at(MONDAY, (2, 0)), at(MONDAY, (2, 0)), HOUR)
    ]
    run.core.record_data(run.reading)
    [stale] = [each for each in run.until(at(MONDAY, (8, 0))) if isinstance(each, DataStale)]
    assert (stale.scheduled_at, stale.last_data_at) == (at(MONDAY, (5, 30)), at(MONDAY, (4, 30)))
    assert not [each for each in run.log if isinstance(each, StateChanged)]


def test_a_budget_outside_of_active_does_not_count_while_trading_is_halted() -> None:
    """No data is expected of a halted market, in the pre-market either; silence counts from the resumption on."""
    config = LifecycleConfig(data_timeout=None, data_timeouts={"pre_market": 20 * MINUTE})
    run = Run(WEEK, at(MONDAY, (9, 5)), config)
    run.core.halt("news pending", run.reading)
    run.until(at(MONDAY, (14, 0)))
    resumption = run.core.resume(run.reading)
    assert resumption is not None
    resumption.apply(run.reading)
    [stale] = [each for each in run.until(at(MONDAY, (14, 25))) if isinstance(each, DataStale)]
    assert (stale.phase, stale.scheduled_at) == ("pre_market", at(MONDAY, (14, 20)))
    assert [each for each in run.log if isinstance(each, DataStale)] == [stale]


def test_data_at_night_is_not_unexpected() -> None:
    """While a phase with data is on the venue is not closed; between phases it is."""
    run = Run(WEEK, MIDNIGHT)
    run.until(at(MONDAY, (3, 0)))
    run.core.record_data(run.reading)
    assert not run.core.take_events()
    bare = Run(FixedSchedule([day_with()]), at(MONDAY, (3, 0)))
    bare.core.record_data(bare.reading)
    assert [type(each) for each in bare.core.take_events()] == [UnexpectedData]


def test_hours_that_change_take_their_phases_along() -> None:
    """A phase that the new hours do not have ends at once; one that lasts longer goes on."""
    run = Run(WEEK, at(MONDAY, (15, 0)))
    continuous = phases(MONDAY)[2]
    longer = (replace(continuous, end=at(MONDAY, (20, 59))),)
    change = run.core.change_schedule(SpecialHours(MONDAY, phases=longer), run.reading)
    assert change is not None
    change.apply(run.reading)
    assert told(list(run.core.take_events())) == []
    assert told(run.until(at(MONDAY, (22, 0)))) == [("Ended", "continuous", MONDAY, at(MONDAY, (20, 59)))]
    run = Run(WEEK, at(MONDAY, (15, 0)))
    change = run.core.change_schedule(SpecialHours(MONDAY, close=at(MONDAY, (18, 0)).time()), run.reading)
    assert change is not None
    change.apply(run.reading)
    assert told(list(run.core.take_events())) == [("Ended", "continuous", MONDAY, at(MONDAY, (15, 0)))]
    assert told(run.until(at(MONDAY + DAY, (1, 0)))) == [
        ("Started", "overnight", MONDAY + DAY, at(MONDAY + DAY, (1, 0)))
    ]


def test_a_phase_that_is_over_does_not_start_again_where_hours_change_after_time_went_back() -> None:
    """The clock stands in a phase that has been delivered: the next one is what follows."""
    day = MONDAY + DAY
    run = Run(FixedSchedule([day_with(*phases(MONDAY)[:2]), day_with(day=day)]), at(MONDAY, (9, 10)))
    run.until(at(MONDAY, (14, 30)))
    run.start -= 6 * HOUR
    run.now -= 6 * HOUR
    change = run.core.change_schedule(SpecialHours(day, close=at(day, (20, 0)).time()), run.reading)
    assert change is not None
    change.apply(run.reading)
    assert told(list(run.core.take_events())) == told(run.until(at(day, (1, 0)))) == []


def test_overlapping_phases_of_two_sessions_are_cut() -> None:
    """The earlier one ends where the later one starts, so that one is on at most."""
    late = day_with(Phase("post_market", at(MONDAY, (21, 0)), at(MONDAY + DAY, (3, 0)), tradable=True))
    found = joined([stretches(late), stretches(day_with(*phases(MONDAY + DAY), day=MONDAY + DAY))])
    assert [(each.phase.name, each.end) for each in found[:2]] == [
        ("post_market", at(MONDAY + DAY, (1, 0))),
        ("overnight", at(MONDAY + DAY, (9, 0))),
    ]


@st.composite
def with_phases(draw: st.DrawFn) -> FixedSchedule:
    """Draw three sessions with phases at any hours, from the evening before to the next morning."""
    days: list[Session] = []
    for n in range(3):
        day = MONDAY + n * DAY
        hours = sorted(draw(st.sets(st.integers(-24, 72), max_size=8)))
        edges = [utc(day.year, day.month, day.day) + hour * HOUR / 3 for hour in hours]
        own = [
            Phase(f"phase_{at}", *pair, tradable=True, data_expected=draw(st.booleans()))
            for at, pair in enumerate(zip(edges[::2], edges[1::2], strict=False))
        ]
        days.append(day_with(*own, day=day))
    return FixedSchedule(days)


@given(with_phases(), st.integers(-5, 60), st.lists(st.integers(0, 5000), max_size=12))
def test_phases_move_no_state(schedule: FixedSchedule, start: int, polls: list[int]) -> None:
    """Whatever the phases: they never overlap, and every other event is to the letter as without them."""
    begin = MIDNIGHT + start * HOUR
    bare = FixedSchedule([replace(each, phases=()) for each in schedule.sessions(date.min, date.max)])
    ours, theirs = Run(schedule, begin), Run(bare, begin)
    for minutes in sorted(polls):
        for run in (ours, theirs):
            if run.now < begin + minutes * MINUTE:
                run.now = begin + minutes * MINUTE
                run.core.poll(run.reading)
                run._settle()
        assert (ours.core.state, ours.core.next_boundary) == (theirs.core.state, theirs.core.next_boundary)
    assert [each for each in ours.log if not isinstance(each, PhaseStarted | PhaseEnded)] == theirs.log
    on: PhaseStarted | None = None
    for each in ours.log:
        if isinstance(each, PhaseStarted):
            assert on is None
            on = each
        elif isinstance(each, PhaseEnded):
            assert on is not None
            assert (on.phase, on.session) == (each.phase, each.session)
            on = None
    assert_legal(ours.log)
