"""Time as it is: boundaries to the microsecond, gaps, changes of clocks, steps, suspends, and clocks that fail."""

import os
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import anyio
import pytest
import time_machine
from hypothesis import given, settings
from hypothesis import strategies as st

from session_lifecycle import (
    ClockFailed,
    ClockStepped,
    FixedSchedule,
    Halted,
    LifecycleConfig,
    MissedSessions,
    RollSucceeded,
    Session,
    SessionBoundaryManager,
    SystemClock,
    replay,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at, session, utc
from tests.helpers.harness import (
    ACTIVE,
    DEAF,
    ENDED,
    ERROR,
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    POST_MARKET,
    PRE_MARKET,
    SECOND,
    TUESDAY,
    WEDNESDAY,
    Rolls,
    ShiftedClock,
    changes,
    make,
    make_rolling,
    of,
    path,
    roll_nothing,
    running,
    season,
    states,
)
from tests.helpers.ledger import napping

pytestmark = pytest.mark.anyio

MILLISECOND = timedelta(milliseconds=1)
FULL = ["start_pre_market", "open_market", "close_market", "end_session", "roll"]


# ---- a clock that fails ----


class FragileClock:
    """A simulated clock that can be made to fail, and counts how often it is asked."""

    def __init__(self, start: datetime) -> None:
        self.time = SimulatedClock(start)
        self.failing = ""
        self.asked = 0

    def now(self) -> datetime:
        self.asked += 1
        if self.failing == "now raises":
            raise OSError("no such clock")
        if self.failing == "now is naive":
            return datetime(2024, 3, 4, 16, 0)  # noqa: DTZ001 -- naive is the point
        if self.failing == "now is no datetime":
            return 1709564400.0
        return self.time.now()

    def monotonic(self) -> float:
        if self.failing == "monotonic raises":
            raise OSError("no such clock")
        if self.failing == "monotonic is NaN":
            return float("nan")
        return self.time.monotonic()

    async def sleep_until(self, wall: datetime | None, monotonic: float | None) -> None:
        self.asked += 1
        if self.failing == "sleep_until raises":
            raise OSError("no such clock")
        await self.time.sleep_until(wall, monotonic)

    async def sleep(self, delta: timedelta) -> None:
        await self.time.sleep(delta)

    def jumping(self) -> AbstractContextManager[None]:
        return self.time.jumping()


FAILINGS = ["now raises", "now is naive", "now is no datetime", "monotonic raises", "monotonic is NaN"]


@pytest.mark.parametrize("failing", FAILINGS)
async def test_fault_04_the_clock_fails_in_mid_run(failing):
    """A clock that fails leads to ERROR with that reason and to no other edge; when it is well, recover() works."""
    clock = FragileClock(at(MONDAY, (16, 0)))
    rolls = Rolls(clock.time)
    manager = SessionBoundaryManager(season(), rolls, clock=clock, config=DEAF)
    async with running(manager) as log:
        await clock.time.advance(NOW)
        assert path(log) == ["start_pre_market", "open_market"]
        clock.failing = failing
        await clock.time.advance_to(at(MONDAY, (21, 0)))
        assert manager.state is ERROR
        assert "the clock failed" in manager.status().reason
        assert path(log)[2:] == ["fail"]
        asked = clock.asked
        await clock.time.advance_to(at(TUESDAY, (16, 0)))
        assert clock.asked - asked < 10  # it is not asked over and over
        with pytest.raises(ClockFailed):
            await manager.recover()
        with pytest.raises(ClockFailed):
            manager.record_data_received(at(TUESDAY, (16, 0)))
        manager.fail("a second time")  # needs no clock
        assert (manager.state, manager.session.date, rolls.begun) == (ERROR, MONDAY, [])
        clock.failing = ""
        await manager.recover()
        await clock.time.advance(NOW)
        assert (manager.state, manager.session.date) == (ACTIVE, TUESDAY)
        assert rolls.dates == [TUESDAY]
        await clock.time.advance_to(at(TUESDAY, (21, 0)))
        assert manager.state is POST_MARKET


async def test_fault_04_the_clock_cannot_sleep():
    """A clock whose sleep_until raises leads to ERROR, not to a busy loop; when it is well, recover() works."""
    clock = FragileClock(at(MONDAY, (8, 0)))
    manager = SessionBoundaryManager(season(), roll_nothing, clock=clock, config=DEAF)
    async with running(manager) as log:
        await clock.time.advance(NOW)
        clock.failing = "sleep_until raises"
        await clock.time.advance_to(at(MONDAY, (9, 0)))  # wakes, and cannot go to sleep again
        assert manager.state is ERROR
        assert "no such clock" in manager.status().reason
        assert path(log) == ["start_pre_market", "fail"]
        asked = clock.asked
        await clock.time.advance(DAY)
        assert clock.asked - asked < 10
        clock.failing = ""
        await manager.recover()
        await clock.time.advance(NOW)
        assert (manager.state, manager.session.date) == (PRE_MARKET, TUESDAY)


async def test_fault_04_the_clock_fails_during_a_roll():
    """A clock that fails while a roll is under way lets that roll complete, and ERROR comes after."""
    clock = FragileClock(at(MONDAY, (21, 0)))
    rolls = Rolls(clock.time, 2 * MINUTE)
    manager = SessionBoundaryManager(season(), rolls, clock=clock, config=DEAF)
    async with running(manager) as log:
        await clock.time.advance_to(at(MONDAY, (21, 31)))
        clock.failing = "now raises"
        manager.record_data_received()
        await clock.time.advance(HOUR)
        assert rolls.done == [TUESDAY]
        assert (manager.state, manager.session.date) == (ERROR, TUESDAY)
        assert path(log)[-2:] == ["roll", "fail"]


async def test_fault_04_a_broken_clock_keeps_no_manager_from_leaving():
    """With a roll that hangs and a clock that can time nothing out, leaving cancels the attempt and is over."""
    clock = FragileClock(at(MONDAY, (21, 0)))
    rolls = Rolls(clock.time, 99 * DAY)
    manager = SessionBoundaryManager(season(), rolls, clock=clock, config=DEAF)
    async with running(manager):
        await clock.time.advance_to(at(MONDAY, (21, 31)))
        clock.failing = "now raises"
    assert (rolls.dates, rolls.done) == ([TUESDAY], [])
    assert manager.session.date == MONDAY


@pytest.mark.parametrize("failing", FAILINGS)
async def test_fault_04_a_clock_that_fails_at_the_start_fails_the_start(failing):
    """With a clock that does not work the start raises ClockFailed, its cause chained."""
    clock = FragileClock(at(MONDAY, (16, 0)))
    clock.failing = failing
    manager = SessionBoundaryManager(season(), roll_nothing, clock=clock)
    with pytest.raises(ClockFailed) as info:
        async with manager:
            pytest.fail("the body must not run")
    assert info.value.__cause__ is not None


# ---- boundaries ----


async def test_fault_12_every_boundary_is_met_to_the_microsecond():
    """One microsecond before a boundary the old state holds; at it and after it the new one does."""
    manager, clock = make(at(MONDAY, (8, 0)))
    boundaries = [
        ((9, 0), NOT_STARTED, PRE_MARKET),
        ((14, 30), PRE_MARKET, ACTIVE),
        ((21, 0), ACTIVE, POST_MARKET),
        ((21, 30), POST_MARKET, NOT_STARTED),
    ]
    async with running(manager) as log:
        for day in (MONDAY, TUESDAY, WEDNESDAY):
            for clock_time, before, after in boundaries:
                await clock.advance_to(at(day, clock_time) - MICROSECOND)
                assert manager.state is before is manager.scheduled_state
                assert manager.next_boundary == at(day, clock_time)
                await clock.advance(MICROSECOND)
                assert manager.state is after is manager.scheduled_state
                assert manager.next_boundary > at(day, clock_time)
                await clock.advance(MICROSECOND)
                assert manager.state is after
        assert {event.lateness for event in changes(log)} == {NOW}
        assert not any(event.catch_up for event in changes(log))


async def test_fault_12_a_clock_that_wakes_early_delivers_nothing_early():
    """A sleep that returns too early, again and again, brings no boundary before its time."""

    class Hasty(SimulatedClock):
        async def sleep_until(self, wall: datetime | None, monotonic: float | None) -> None:
            left = NOW if wall is None else wall - self.now()
            await super().sleep_until(None if wall is None else wall - left / 2, monotonic)

    clock = Hasty(at(MONDAY, (8, 0)))
    manager = SessionBoundaryManager(season(), roll_nothing, clock=clock, config=DEAF)
    async with running(manager) as log:
        await clock.advance_to(at(TUESDAY, (8, 0)))
        assert path(log) == FULL
        assert {event.lateness for event in changes(log)} == {NOW}


def contiguous(n: int = 40) -> FixedSchedule:
    """Return a schedule that never sleeps: each session closes when the next one opens."""
    days = [MONDAY + number * DAY for number in range(n)]
    return FixedSchedule([Session(day, at(day, (0, 0)), at(day + DAY, (0, 0))) for day in days], name="24/7")


async def test_fault_13_states_of_zero_width():
    """Where a session closes when the next one opens, all five edges fire in order at that one instant, every day."""
    (
        manager,
        clock,
    ) = make(at(MONDAY, (12, 0)), schedule=contiguous())
    async with running(manager) as log:
        log.clear()
        await clock.advance_to(at(WEDNESDAY, (12, 0)))
        assert [(event.trigger, event.session, event.scheduled_at, event.observed_at) for event in changes(log)] == [
            (trigger, session, instant, instant)
            for ended, entered in ((MONDAY, TUESDAY), (TUESDAY, WEDNESDAY))
            for instant in [at(entered, (0, 0))]
            for trigger, session in [
                ("close_market", ended),
                ("end_session", ended),
                ("roll", entered),
                ("start_pre_market", entered),
                ("open_market", entered),
            ]
        ]
        assert (manager.state, manager.next_boundary) == (ACTIVE, at(WEDNESDAY + DAY, (0, 0)))


async def test_fault_13_a_start_at_an_instant_of_zero_width_states():
    """A start at exactly the instant at which one session closes and the next one opens is in the next one."""
    manager, _ = make(at(TUESDAY, (0, 0)), schedule=contiguous())
    async with running(manager) as log:
        assert (manager.state, manager.session.date) == (ACTIVE, TUESDAY)
        assert path(log) == ["start_pre_market", "open_market"]
        assert not any(event.catch_up for event in changes(log))


@pytest.mark.parametrize(
    ("delay", "ended", "pre_market"),
    [(HOUR, (22, 0), (22, 0)), (4 * HOUR, (23, 0), (23, 0)), (NOW, (21, 0), (21, 0))],
)
async def test_fault_14_the_next_pre_market_overlaps_the_post_market(delay, ended, pre_market):
    """The pre-market never reaches into the session before, and no session outlasts the next one's open."""
    # Monday closes at 21:00, Tuesday's session opens on the evening before, at 23:00.
    evening = Session(TUESDAY, at(MONDAY, (23, 0)), at(TUESDAY, (21, 0)))
    schedule = FixedSchedule([session(MONDAY), evening, *season().sessions(WEDNESDAY, WEDNESDAY + 60 * DAY)])
    config = LifecycleConfig(data_timeout=None, post_market_roll_delay=delay)
    manager, clock = make(at(MONDAY, (20, 0)), schedule=schedule, config=config)
    async with running(manager) as log:
        log.clear()
        await clock.advance_to(at(TUESDAY, (12, 0)))
        assert [(event.trigger, event.scheduled_at) for event in changes(log)] == [
            ("close_market", at(MONDAY, (21, 0))),
            ("end_session", at(MONDAY, ended)),
            ("roll", at(MONDAY, ended)),
            ("start_pre_market", at(MONDAY, pre_market)),
            ("open_market", at(MONDAY, (23, 0))),
        ]
        assert {event.lateness for event in changes(log)} == {NOW}


async def test_fault_16_a_gap_of_37_days():
    """Through a gap of 37 days there is one roll at its beginning and then silence until the next pre-market."""
    after = MONDAY + 37 * DAY
    schedule = FixedSchedule([session(MONDAY), *season().sessions(after, after + 60 * DAY)])
    manager, clock = make(at(MONDAY, (16, 0)), schedule=schedule)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (22, 0)))
        assert (manager.state, manager.session.date) == (NOT_STARTED, after)
        seen = len(log)
        await clock.advance_to(at(after, (9, 0)) - MICROSECOND)
        assert log[seen:] == []
        assert manager.state is NOT_STARTED
        await clock.advance(MICROSECOND)
        assert manager.state is PRE_MARKET
        assert [event.next_session for event in of(RollSucceeded, log)] == [after]


async def test_fault_16_a_gap_counts_as_one_session():
    """What is counted against the cap is sessions, not days: across a gap of 37 days one session was missed."""
    after = MONDAY + 37 * DAY
    schedule = FixedSchedule([session(MONDAY), *season().sessions(after, after + 60 * DAY)])
    config = LifecycleConfig(data_timeout=None, max_catch_up_sessions=1)
    manager, _ = make(at(after, (16, 0)), schedule=schedule, session=MONDAY, config=config)
    async with running(manager) as log:
        assert (manager.state, manager.session.date) == (ACTIVE, after)
        assert of(RollSucceeded, log)[0].skipped == ()


def local_days(zone: str, opens: tuple[int, int], closes: tuple[int, int], first: date, n: int) -> FixedSchedule:
    """Return a schedule with the same local hours on each weekday."""
    tz = ZoneInfo(zone)
    days = [day for number in range(n) if (day := first + number * DAY).weekday() < 5]
    return FixedSchedule(
        [
            Session(
                day,
                datetime(day.year, day.month, day.day, *opens, tzinfo=tz),
                datetime(day.year, day.month, day.day, *closes, tzinfo=tz),
            )
            for day in days
        ],
        name=zone,
        timezone=tz,
    )


@pytest.mark.parametrize(
    ("friday", "before", "after"),
    [
        (date(2024, 3, 8), (14, 30), (13, 30)),  # New York springs forward on Sunday the 10th
        (date(2024, 11, 1), (13, 30), (14, 30)),  # and falls back on Sunday the 3rd
    ],
)
async def test_fault_17_changes_of_clocks_both_ways(friday, before, after):
    """Over a weekend on which the clocks change, Friday and Monday open at the same local time, exact in UTC."""
    monday = friday + 3 * DAY
    schedule = local_days("America/New_York", (9, 30), (16, 0), friday, 60)
    manager, clock = make(at(friday, (0, 0)), schedule=schedule)
    async with running(manager) as log:
        await clock.advance_to(at(monday, (20, 0)))
        opened = [event for event in changes(log) if event.trigger == "open_market"]
        assert [event.scheduled_at for event in opened] == [at(friday, before), at(monday, after)]
        started = [event for event in changes(log) if event.trigger == "start_pre_market"]
        assert [event.scheduled_at for event in started] == [
            at(friday, before) - timedelta(hours=5, minutes=30),
            at(monday, after) - timedelta(hours=5, minutes=30),
        ]
        assert {event.lateness for event in changes(log)} == {NOW}


async def test_fault_17_two_zones_out_of_step():
    """In the weeks in which New York has changed its clocks and London has not, each keeps its own hours."""
    wednesday = date(2024, 3, 20)
    clock = SimulatedClock(at(wednesday, (0, 0)))
    new_york = SessionBoundaryManager(
        local_days("America/New_York", (9, 30), (16, 0), wednesday, 60), roll_nothing, clock=clock, config=DEAF
    )
    london = SessionBoundaryManager(
        local_days("Europe/London", (8, 0), (16, 30), wednesday, 60), roll_nothing, clock=clock, config=DEAF
    )
    both: list[datetime] = []
    async with new_york, london:
        for _ in range(24 * 60):
            await clock.advance(MINUTE)
            if new_york.state is ACTIVE is london.state:
                both.append(clock.now())
    assert (both[0], both[-1]) == (at(wednesday, (13, 30)), at(wednesday, (16, 29)))


# ---- steps ----


BACK = st.timedeltas(SECOND, 7 * DAY)
INTO = st.timedeltas(NOW, 5 * DAY)
START = at(MONDAY + 7 * DAY, (0, 0))


@pytest.mark.costly
@settings(max_examples=40, deadline=None)
@given(into=INTO, back=BACK)
async def test_fault_21_the_wall_clock_steps_back(into, back):
    """After a step back of a second to a week nothing is undone, nothing happens twice, and the day goes on in time."""
    manager, clock, rolls = make_rolling(START)
    async with running(manager) as log:
        await clock.advance(into)
        before = (manager.state, manager.session.date)
        events, stepped_at = len(log), clock.now()
        clock.step(-back)
        await clock.advance(NOW)
        assert (manager.state, manager.session.date) == before
        (step,) = log[events:]
        assert isinstance(step, ClockStepped)
        assert step.delta == -back
        await clock.advance(back - MICROSECOND)
        assert (manager.state, manager.session.date) == before
        assert len(log) == events + 1  # it waits until the wall clock has caught up
        await clock.advance_to(stepped_at + 4 * DAY)
        edges = [(event.session, event.trigger) for event in changes(log)]
        assert len(set(edges)) == len(edges)
        assert rolls.dates == sorted(set(rolls.dates))
        assert manager.state is manager.scheduled_state
        assert changes(log) == list(replay(season(), START, clock.now() + MICROSECOND))


@settings(max_examples=25, deadline=None)
@given(back=BACK)
async def test_fault_21_the_wall_clock_steps_back_during_a_roll(back):
    """A step back while a roll is under way changes neither its target nor that there is one."""
    manager, clock, rolls = make_rolling(at(MONDAY + 7 * DAY, (21, 15)), 2 * MINUTE)
    async with running(manager) as log:
        await clock.advance(16 * MINUTE)
        assert manager.state is ENDED
        clock.step(-back)
        await clock.advance(HOUR)
        assert rolls.dates == [MONDAY + 8 * DAY]
        assert of(RollSucceeded, log)[0].duration == 2 * MINUTE
        await clock.advance_to(at(MONDAY + 9 * DAY, (8, 0)))
        assert rolls.dates == [MONDAY + 8 * DAY, MONDAY + 9 * DAY]
        edges = [(event.session, event.trigger) for event in changes(log)]
        assert len(set(edges)) == len(edges)


@pytest.mark.costly
@settings(max_examples=40, deadline=None)
@given(into=INTO, forward=st.timedeltas(SECOND, 12 * DAY))
async def test_fault_22_the_wall_clock_steps_forward_within_the_cap(into, forward):
    """After a step forward every missed edge is taken in order, each with its true lateness; EACH leaves no gap."""
    clock = SimulatedClock(START)
    rolls = Rolls(clock)
    config = LifecycleConfig(data_timeout=None, missed_sessions=MissedSessions.EACH)
    manager = SessionBoundaryManager(season(), rolls, clock=clock, config=config)
    async with running(manager) as log:
        await clock.advance(into)
        known, past = len(changes(log)), clock.now()
        clock.step(forward)
        await clock.advance(NOW)
        present = clock.now()
        (step,) = of(ClockStepped, log)
        assert (step.delta, step.observed_at) == (forward, present)
        expected = list(replay(season(), START, present + MICROSECOND))
        walked = changes(log)
        assert [(e.trigger, e.session, e.scheduled_at) for e in walked] == [
            (e.trigger, e.session, e.scheduled_at) for e in expected
        ]
        for event in walked[known:]:
            assert past < event.scheduled_at <= event.observed_at == present
            assert event.lateness == present - event.scheduled_at
            assert event.catch_up == (event.scheduled_at < present)
        assert manager.state is manager.scheduled_state
        assert rolls.dates == [event.session for event in walked if event.trigger == "roll"]


@settings(max_examples=25, deadline=None)
@given(into=INTO, forward=st.timedeltas(SECOND, 12 * DAY))
async def test_fault_22_forward_under_latest_skips_what_it_lists(into, forward):
    """Under LATEST a step forward leads by at most one roll to the present; every session is entered or listed."""
    manager, clock, rolls = make_rolling(START)
    async with running(manager) as log:
        await clock.advance(into)
        session_before, rolled = manager.session.date, len(rolls.begun)
        clock.step(forward)
        await clock.advance(NOW)
        assert manager.state is manager.scheduled_state
        assert len(rolls.begun) - rolled <= 1
        done = of(RollSucceeded, log)[rolled:]
        covered = [day for event in done for day in (*event.skipped, event.next_session)]
        after = season().sessions(session_before + DAY, manager.session.date)
        assert covered == [missed.date for missed in after]


async def test_a_step_of_less_than_a_second_is_none():
    """The wall clock may be disciplined by fractions of a second without anybody being told."""
    manager, clock = make(at(MONDAY, (16, 0)))
    async with running(manager) as log:
        for _ in range(5):
            clock.step(SECOND - MICROSECOND)
            await clock.advance(MINUTE)
            clock.step(-SECOND + MICROSECOND)
            await clock.advance(MINUTE)
        assert of(ClockStepped, log) == []
        clock.step(SECOND)
        await clock.advance(NOW)
        assert [event.delta for event in of(ClockStepped, log)] == [SECOND]


async def test_a_step_over_a_break_walks_it():
    """A step over a whole break tells its start and its end, late, and leaves the session off it."""
    lunch = FixedSchedule(
        [session(MONDAY, breaks=(((17, 0), (18, 0)),)), *season().sessions(TUESDAY, TUESDAY + 60 * DAY)]
    )
    manager, clock = make(at(MONDAY, (16, 0)), schedule=lunch)
    async with running(manager) as log:
        log.clear()
        clock.step(3 * HOUR)
        await clock.advance(NOW)
        assert [type(event).__name__ for event in log] == ["ClockStepped", "BreakStarted", "BreakEnded"]
        assert [event.lateness for event in log[1:]] == [2 * HOUR, HOUR]
        assert all(event.catch_up for event in log[1:])
        assert manager.can_trade


# ---- the real clock and the real loop ----


async def test_fault_24_a_suspend_is_caught_up_within_a_check_interval():
    """When the wall clock has moved on by an hour in a moment, edge after edge is taken within a check_interval."""
    now = datetime.now(UTC)
    sessions = [
        Session(now.date(), now - HOUR, now + 10 * MINUTE),
        Session(now.date() + DAY, now + 50 * MINUTE, now + 2 * HOUR),
        *(Session(now.date() + n * DAY, now + n * DAY, now + n * DAY + HOUR) for n in range(2, 60)),
    ]
    clock = ShiftedClock(10 * MILLISECOND)
    manager = SessionBoundaryManager(FixedSchedule(sessions), roll_nothing, clock=clock, config=DEAF)
    events = manager.events()
    async with manager:
        assert manager.state is ACTIVE
        await anyio.sleep(0.005)
        clock.shift = HOUR
        with anyio.fail_after(30):
            async with napping() as naps:
                await manager.wait_for(PRE_MARKET)
                await manager.wait_for(ACTIVE)
                assert sum(naps) < 0.1
        assert manager.session.date == sessions[1].date
    log = [event async for event in events]
    assert path(log)[2:] == ["close_market", "end_session", "roll", "start_pre_market", "open_market"]
    (step,) = of(ClockStepped, log)
    assert abs(step.delta - HOUR) < SECOND
    assert all(event.catch_up for event in changes(log))


async def test_a_step_that_crosses_no_boundary_is_told_within_a_check_interval():
    """A step of the real wall clock is told soon, and once, though no boundary is anywhere near."""
    now = datetime.now(UTC)
    sessions = [Session(now.date() + n * DAY, now + n * DAY - HOUR, now + n * DAY + HOUR) for n in range(60)]
    clock = ShiftedClock(10 * MILLISECOND)
    manager = SessionBoundaryManager(FixedSchedule(sessions), roll_nothing, clock=clock, config=DEAF)
    async with manager:
        events = manager.events()
        for shift in (10 * MINUTE, NOW):
            await anyio.sleep(0.005)
            change = shift - clock.shift
            clock.shift = shift
            with anyio.fail_after(30):
                step = await anext(events)
            assert isinstance(step, ClockStepped)
            assert abs(step.delta - change) < SECOND
        assert manager.state is ACTIVE
    assert [event async for event in events] == []


CHILD = """
import os, signal
from datetime import UTC, datetime, timedelta
import anyio
from session_lifecycle import *
from tests.helpers.ledger import napping

async def roll(next_date): ...

async def stopped_while_active():
    now = datetime.now(UTC)
    first = Session(now.date(), now - timedelta(hours=1), now + timedelta(seconds=0.4))
    second = Session(now.date() + timedelta(days=1), now + timedelta(days=1), now + timedelta(days=1, hours=1))
    config = LifecycleConfig(data_timeout=timedelta(seconds=0.3), check_interval=timedelta(seconds=0.05))
    async with SessionBoundaryManager(FixedSchedule([first, second]), roll, config=config) as manager:
        events = manager.events()
        if manager.state is not SessionState.ACTIVE:  # the machine was too busy to start it before the close
            return False
        print(first.close.timestamp(), flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)  # with no await since: the manager has looked at no clock meanwhile
        async with napping() as naps:
            event = await anext(events)
            print(event.trigger, event.observed_at.timestamp(), sum(naps), flush=True)
        return True

async def main():
    while not await stopped_while_active():
        pass

anyio.run(main)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="there is no SIGSTOP on this system")
def test_fault_24_a_process_that_was_stopped_catches_up():
    """A process that was stopped across the close closes within a check_interval of going on, with no TIMEOUT."""
    root = str(Path(__file__).parents[2])
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root}
    )
    with child:
        try:
            close = float(child.stdout.readline())
            os.waitpid(child.pid, os.WUNTRACED)  # until it has stopped itself
            time.sleep(max(0.0, close + 0.05 - time.time()))
            went_on = time.time()
            child.send_signal(signal.SIGCONT)
            trigger, observed, naps = child.stdout.readline().split()
        finally:
            child.kill()
    assert trigger == "close_market"
    assert float(observed) >= went_on
    assert float(naps) < 0.25


@pytest.fixture
def travelled_manager():
    """Return a function that makes a manager on a SystemClock, to be called once the time machine runs."""

    def create() -> SessionBoundaryManager:
        return SessionBoundaryManager(season(), roll_nothing, config=DEAF, clock=SystemClock(10 * MILLISECOND))

    return create


async def test_fault_52_travelling_to_an_instant(travelled_manager):
    """Under time_machine.travel() the manager on a SystemClock starts in the state of the destination."""
    with time_machine.travel(at(MONDAY, (16, 0)), tick=True):
        async with travelled_manager() as manager:
            assert (manager.state, manager.session.date) == (ACTIVE, MONDAY)
            assert manager.next_boundary == at(MONDAY, (21, 0))


async def test_fault_52_a_boundary_in_travelled_time_is_met(travelled_manager):
    """A boundary shortly after the destination is met when the ticking clock gets there, and not before."""
    closed = None
    while closed is None:  # a busy machine may start it after the close
        with time_machine.travel(at(MONDAY, (21, 0)) - 30 * MILLISECOND, tick=True):
            async with travelled_manager() as manager:
                if manager.state is ACTIVE:
                    events = manager.events()
                    with anyio.fail_after(5):
                        closed = await anext(events)
    assert closed.trigger == "close_market"
    assert closed.observed_at >= closed.scheduled_at == at(MONDAY, (21, 0))


async def test_fault_52_a_shift_over_a_boundary_is_noticed(travelled_manager):
    """traveller.shift() over a boundary is noticed within a check_interval, though the manager was asleep."""
    with time_machine.travel(at(MONDAY, (16, 0)), tick=True) as traveller:
        async with travelled_manager() as manager:
            await anyio.sleep(0.005)
            traveller.shift(timedelta(hours=5, minutes=10))
            with anyio.fail_after(5):
                assert await manager.wait_for(POST_MARKET) is POST_MARKET
            assert manager.session.date == MONDAY


async def test_fault_52_a_move_to_another_day_rolls_once(travelled_manager):
    """traveller.move_to() another day leads there by one roll, and moving back undoes nothing."""
    with time_machine.travel(at(MONDAY, (16, 0)), tick=True) as traveller:
        async with travelled_manager() as manager:
            events = manager.events()
            traveller.move_to(at(WEDNESDAY, (16, 0)))
            rolled = []
            with anyio.fail_after(5):
                async for event in events:
                    rolled += of(RollSucceeded, [event])
                    if states([event]) == [ACTIVE]:
                        break
            assert manager.session.date == WEDNESDAY
            traveller.move_to(at(MONDAY, (16, 0)))
            manager.halt("look at the clock")  # a time machine that turns the monotonic one back as well makes no step
            with anyio.fail_after(5):
                while not isinstance(await anext(events), Halted):
                    pass
            assert (manager.state, manager.session.date) == (ACTIVE, WEDNESDAY)
            assert [event.skipped for event in rolled] == [(TUESDAY,)]


async def test_fault_52_simulated_time_does_not_mind_a_time_machine():
    """A SimulatedClock goes its own way under a time machine, so that the two can be used side by side."""
    with time_machine.travel(utc(1999, 12, 31), tick=False):
        manager, clock = make(at(MONDAY, (16, 0)))
        async with running(manager):
            await clock.advance_to(at(MONDAY, (21, 0)))
            assert manager.state is POST_MARKET
