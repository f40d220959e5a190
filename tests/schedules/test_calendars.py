"""Every calendar of exchange_calendars, held against what the package promises of sessions.

By default one year of each calendar is looked at, chosen by its name; `-m long` looks at every session of 22 years.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from itertools import pairwise
from typing import Any, NamedTuple
from zlib import crc32

import exchange_calendars
import pytest

from session_lifecycle import (
    Alarm,
    AlarmFired,
    LifecycleConfig,
    SessionBoundaryManager,
    SessionMachine,
    SessionState,
    StateChanged,
    replay,
)
from session_lifecycle._model.session import (
    Boundaries,
    Session,
    boundaries,
)
from session_lifecycle._schedules.exchange import ExchangeSchedule
from session_lifecycle._schedules.fixed import FixedSchedule
from session_lifecycle.testing import SimulatedClock

NAMES = exchange_calendars.get_calendar_names(include_aliases=False)
FIRST_YEAR, LAST_YEAR = 2005, 2026
KNOWN_YEARS = {"AIXK": (2017, 2026), "XSAU": (2021, 2026)}
NEVER_SLEEP = {"24/5", "24/7", "CMES", "us_futures"}
WITH_BREAKS = {"XHKG", "XSHG", "XTKS"}
MICROSECOND = timedelta(microseconds=1)
QUARTER = timedelta(minutes=15)
PRE_MARKET = timedelta(hours=5, minutes=30)
ROLL_DELAY = timedelta(minutes=30)


class Sample(NamedTuple):
    """A schedule, the sessions that one build gave it, and the tables that they were taken from."""

    name: str
    schedule: ExchangeSchedule
    sessions: tuple[Session, ...]
    frames: list[Any]


def sample_of(name: str, first_year: int, last_year: int) -> Sample:
    """Build a calendar for those years, once, and keep what exchange_calendars itself gave."""
    built: list[Any] = []
    get_calendar = exchange_calendars.get_calendar

    def kept(*args: Any, **kwargs: Any) -> Any:
        built.append(get_calendar(*args, **kwargs))
        return built[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange_calendars, "get_calendar", kept)
        schedule = ExchangeSchedule(name, corrections=False, near=datetime(last_year, 7, 1, tzinfo=UTC))
        if first_year < last_year:
            schedule.sessions(date(first_year, 1, 1), date(last_year - 1, 12, 31))
        sessions = schedule.sessions(date(first_year, 1, 1), date(last_year, 12, 31))
    assert len(built) == (1 if first_year == last_year else 2)
    frames = [calendar.schedule for calendar in reversed(built)]
    return Sample(name, schedule, sessions, frames)


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.sampled) for name in NAMES])
def sample(request: pytest.FixtureRequest) -> Sample:
    """One year of each calendar."""
    first, last = KNOWN_YEARS.get(request.param, (FIRST_YEAR, LAST_YEAR))
    year = first + crc32(request.param.encode()) % (last - first + 1)
    return sample_of(request.param, year, year)


def chain(sessions: Sequence[Session], pre_market: timedelta = PRE_MARKET) -> list[Boundaries]:
    """Return the boundaries of every session but the first and the last, whose neighbours are not at hand."""
    return [
        boundaries(session, before, after, pre_market=pre_market, post_market_roll_delay=ROLL_DELAY)
        for before, session, after in zip(sessions, sessions[1:], sessions[2:], strict=False)
    ]


def hold_plain(sessions: Sequence[Session]) -> None:
    """Hold sessions to be plain values, ascending, not overlapping."""
    for session in sessions:
        instants = [session.open, session.close, *(instant for pair in session.breaks for instant in pair)]
        assert type(session.date) is date
        assert all(type(instant) is datetime and instant.tzinfo is UTC for instant in instants)
    for earlier, later in pairwise(sessions):
        assert earlier.date < later.date
        assert earlier.close <= later.open


def hold_equal(sessions: Sequence[Session], frames: Sequence[Any]) -> None:
    """Hold sessions to have the values that exchange_calendars gives in its own table."""
    for column, mine in (
        ("open", [session.open for session in sessions]),
        ("close", [session.close for session in sessions]),
        ("break_start", [session.breaks[0][0] if session.breaks else None for session in sessions]),
        ("break_end", [session.breaks[0][1] if session.breaks else None for session in sessions]),
    ):
        theirs = [
            None if instant != instant else instant.to_pydatetime()  # noqa: PLR0124 -- NaT alone differs from itself
            for frame in frames
            for instant in frame[column]
        ]
        assert mine == theirs
    assert [session.date for session in sessions] == [label.date() for frame in frames for label in frame.index]


def hold_gapless(sessions: Sequence[Session]) -> None:
    """Hold each session's boundaries to be in order, and to begin where the last session's end or later."""
    spans = chain(sessions)
    for span in spans:
        assert list(span) == sorted(span)
    for earlier, later in pairwise(spans):
        assert earlier.end <= later.pre_market_start
        assert earlier.end <= later.open


def hold_half_open(schedule: ExchangeSchedule, sessions: Sequence[Session]) -> None:
    """Hold `session_at` to answer half-open around every instant of every session."""
    for before, session, after in zip(sessions, sessions[1:], sessions[2:], strict=False):
        assert schedule.session_at(before.close - MICROSECOND) == before
        assert schedule.session_at(before.close) == session
        assert schedule.session_at(session.open - MICROSECOND) == (before if before.close == session.open else session)
        for instant in (session.open, *(instant for pair in session.breaks for instant in pair)):
            for shift in (timedelta(0), MICROSECOND):
                assert schedule.session_at(instant + shift) == session
        assert schedule.session_at(session.close - MICROSECOND) == session
        assert schedule.session_at(session.close) == after
        assert schedule.session_at(session.close + MICROSECOND) == after


def hold_zero_width(name: str, sessions: Sequence[Session]) -> None:
    """Hold sessions that touch to have post- and pre-markets of no width, and only four calendars to have such."""
    spans = chain(sessions)
    touching = [(earlier, later) for earlier, later in pairwise(spans) if earlier.close == later.open]
    for earlier, later in touching:
        assert earlier.close == earlier.end == later.pre_market_start == later.open
    assert bool(touching) == (name in NEVER_SLEEP)


def test_every_calendar_loads_as_plain_sessions_in_order(sample: Sample) -> None:
    """Whatever the calendar, its sessions are plain values in ascending order, and do not overlap."""
    assert len(sample.sessions) > 200
    hold_plain(sample.sessions)
    assert any(session.breaks for session in sample.sessions) == (sample.name in WITH_BREAKS)


def test_values_are_those_of_exchange_calendars(sample: Sample) -> None:
    """Every label, open, break and close is the one in exchange_calendars' own table."""
    hold_equal(sample.sessions, sample.frames)


def test_questions_by_date_agree_with_the_list(sample: Sample) -> None:
    """Each session is found by its label, and is its neighbours' neighbour."""
    inner = sample.sessions[1:-1]
    for before, session, after in zip(sample.sessions, inner, sample.sessions[2:], strict=False):
        assert sample.schedule.session_on(session.date) == session
        assert sample.schedule.next_session(session.date) == after
        assert sample.schedule.previous_session(session.date) == before


def test_fault_12_every_boundary_is_half_open(sample: Sample) -> None:
    """One microsecond before a close the session is still the answer; at the close the next one is."""
    # From the second week on: the first days of January would ask for the year before.
    hold_half_open(sample.schedule, [each for each in sample.sessions if (each.date.month, each.date.day) >= (1, 9)])


def test_boundaries_are_ordered_and_leave_no_overlap(sample: Sample) -> None:
    """A session's four boundaries ascend, and it has ended when the next one's pre-market starts."""
    hold_gapless(sample.sessions)


def test_fault_13_sessions_that_touch_have_states_of_zero_width(sample: Sample) -> None:
    """Where a session opens as the last one closes, end, pre-market and open are one instant; four calendars do."""
    hold_zero_width(sample.name, sample.sessions)


def test_fault_14_the_pre_market_is_clipped_by_the_session_before(sample: Sample) -> None:
    """A pre-market longer than the night begins exactly where the session before has ended."""
    spans = chain(sample.sessions, pre_market=timedelta(days=60))
    for earlier, later in pairwise(spans):
        assert later.pre_market_start == earlier.end


def test_fault_16_the_longest_gap_is_one_step() -> None:
    """Athens was shut from 2015-06-29 to 2015-08-02: 37 days, over which the next session is the next one."""
    schedule = ExchangeSchedule("ASEX", near=datetime(2015, 7, 1, tzinfo=UTC))
    before, after = schedule.session_on(date(2015, 6, 26)), schedule.session_on(date(2015, 8, 3))
    assert (after.open - before.close).days == 37
    assert schedule.session_at(before.close) == after
    assert schedule.session_at(datetime(2015, 7, 15, tzinfo=UTC)) == after
    assert schedule.next_session(before.date) == after
    assert schedule.previous_session(after.date) == before
    assert schedule.sessions(date(2015, 6, 27), date(2015, 8, 2)) == ()


def test_no_calendar_is_missing() -> None:
    """The 71 calendars of exchange_calendars 4.13.2 are all there; later releases may add to them."""
    assert len(NAMES) >= 71
    assert set(NAMES) >= NEVER_SLEEP | WITH_BREAKS


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_fault_12_over_every_session_of_22_years() -> None:
    """All that holds for the sampled years holds for each of the 387,170 sessions from 2005 to 2026."""
    total, longest = 0, timedelta(0)
    for name in NAMES:
        first, last = KNOWN_YEARS.get(name, (FIRST_YEAR, LAST_YEAR))
        sample = sample_of(name, first, last)
        hold_plain(sample.sessions)
        hold_equal(sample.sessions, sample.frames)
        hold_gapless(sample.sessions)
        hold_zero_width(name, sample.sessions)
        hold_half_open(sample.schedule, sample.sessions[5:])
        total += len(sample.sessions)
        longest = max(longest, *(later.open - earlier.close for earlier, later in pairwise(sample.sessions)))
    assert longest.days == 37
    if version("exchange-calendars") == "4.13.2":
        assert total == 387_170


def test_a_year_of_every_calendar_replays_legally(sample: Sample) -> None:
    """The edges that a schedule implies are edges of the machine, in the order of time, five to each session."""
    sessions = sample.sessions[1:-1]
    known = FixedSchedule(sample.sessions, name=sample.name)
    machine, last = SessionMachine(), sessions[0].open - PRE_MARKET
    walked: list[StateChanged] = []
    for edge in replay(known, sample.sessions[1].open, sample.sessions[-1].open + MICROSECOND):
        assert edge.source is machine.state
        assert edge.dest is machine.fire(edge.trigger)
        assert last <= edge.scheduled_at
        last = edge.scheduled_at
        walked.append(edge)
    closed = [edge for edge in walked if edge.trigger == "close_market"]
    assert [edge.session for edge in closed] == [session.date for session in sessions]
    assert [edge.scheduled_at for edge in closed] == [session.close for session in sessions]


def test_a_year_of_every_calendar_has_one_alarm_before_each_close(sample: Sample) -> None:
    """A quarter of an hour before the close comes once for each session, in ACTIVE and on time, and never else."""
    sessions = sample.sessions[1:-1]
    known = FixedSchedule(sample.sessions, name=sample.name)
    told = replay(known, sessions[0].open - MICROSECOND, sessions[-1].close, alarms=[Alarm("close", -QUARTER)])
    rings = [each for each in told if isinstance(each, AlarmFired)]
    assert [(each.session, each.scheduled_at) for each in rings] == [
        (each.date, each.close - QUARTER) for each in sessions
    ]
    assert all(each.state is SessionState.ACTIVE and not each.catch_up and not each.lateness for each in rings)


@pytest.mark.anyio
async def test_a_year_of_new_york_through_the_manager() -> None:
    """In simulated time the manager takes every edge of a year that `replay` lists, at its instant, and rolls each."""
    start, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
    schedule = ExchangeSchedule("XNYS", near=datetime(2024, 7, 1, tzinfo=UTC))
    clock = SimulatedClock(start)
    rolled: list[date] = []

    async def roll(next_date: date) -> None:
        rolled.append(next_date)

    manager = SessionBoundaryManager(schedule, roll, clock=clock, config=LifecycleConfig(data_timeout=None))
    events = manager.events()
    async with manager:
        await clock.advance_to(end)
    changes = [event async for event in events if isinstance(event, StateChanged)]
    assert changes == list(replay(schedule, start, end))
    assert len(rolled) == len(schedule.sessions(date(2024, 1, 1), date(2024, 12, 31))) == 252
