"""What the usual home-grown day clock gets wrong, one claim each: polls, fixed hours, naive times, threads."""

import threading
import time
from datetime import date, datetime, timedelta

import anyio
import anyio.lowlevel
import pytest
import time_machine

from session_lifecycle import LifecycleConfig, RollFailed, SessionBoundaryManager, SystemClock
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at, utc
from tests.helpers.harness import (
    ACTIVE,
    DEAF,
    ENDED,
    ERROR,
    FRIDAY,
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    POST_MARKET,
    TIMEOUT,
    TUESDAY,
    Rolls,
    changes,
    make,
    make_rolling,
    of,
    path,
    roll_nothing,
    running,
    season,
)

pytestmark = pytest.mark.anyio


async def test_a_day_whose_data_stops_at_the_close_still_ends_and_rolls():
    """The schedule wins over silence: data stops at the close, and the day ends and is rolled all the same."""
    manager, clock, rolls = make_rolling(at(MONDAY, (20, 50)), data_timeout=5 * MINUTE)
    async with running(manager) as log:
        while clock.now() < at(MONDAY, (21, 0)):
            manager.record_data_received()
            await clock.advance(MINUTE)
        await clock.advance_to(at(TUESDAY, (9, 0)))
        assert path(log)[2:] == ["close_market", "end_session", "roll", "start_pre_market"]
        assert rolls.begun == [(TUESDAY, at(MONDAY, (21, 30)))]


async def test_a_feed_that_never_starts_is_noticed():
    """No data yet is silence too: it is timed from the open on."""
    manager, clock, _ = make_rolling(at(MONDAY, (8, 0)), data_timeout=5 * MINUTE)
    async with running(manager):
        await clock.advance_to(at(MONDAY, (14, 35)))
        assert manager.state is TIMEOUT


async def test_after_the_evenings_roll_the_new_session_has_not_started():
    """States belong to a session's own instants: after the roll it is tomorrow's session, which rolls tomorrow."""
    manager, clock, rolls = make_rolling(at(MONDAY, (21, 0)))
    async with running(manager):
        await clock.advance_to(at(MONDAY, (21, 30)))
        while clock.now() < at(TUESDAY, (4, 29)):  # seven hours of an evening, minute by minute
            assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)
            await clock.advance(MINUTE)
        assert rolls.dates == [TUESDAY]


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone of a process cannot be set on this system")
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo", "Pacific/Kiritimati"])
async def test_the_hosts_time_zone_does_not_matter(monkeypatch, zone):
    """Instants are the exchange's, in UTC: the same host clock in any time zone gives the same state and boundary."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        with time_machine.travel(at(MONDAY, (20, 59)), tick=True):
            manager = SessionBoundaryManager(season(), roll_nothing, config=DEAF, clock=SystemClock())
            async with manager:
                assert (manager.state, manager.session.date) == (ACTIVE, MONDAY)
                assert manager.next_boundary == at(MONDAY, (21, 0))
                assert manager.next_boundary.utcoffset() == NOW
    finally:
        monkeypatch.undo()
        time.tzset()


async def test_at_exactly_the_close_the_market_is_closed():
    """Intervals are half-open: at the close it is POST_MARKET, and the roll is awaited at the very end of it."""
    manager, clock, rolls = make_rolling(at(MONDAY, (16, 0)))
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (21, 0)) - MICROSECOND)
        assert manager.state is ACTIVE
        await clock.advance(MICROSECOND)
        assert manager.state is POST_MARKET
        await clock.advance_to(at(MONDAY, (21, 30)))
        assert rolls.instants == [at(MONDAY, (21, 30))]
        assert {event.lateness for event in changes(log)[2:]} == {NOW}


@pytest.mark.parametrize(
    ("calendar", "start", "opens", "closes"),
    [
        # New York's half day before Independence Day ends at 13:00; the day after the holiday is a full one.
        ("XNYS", utc(2024, 7, 3), utc(2024, 7, 3, 13, 30), utc(2024, 7, 3, 17, 0)),
        ("XNYS", utc(2024, 7, 4), utc(2024, 7, 5, 13, 30), utc(2024, 7, 5, 20, 0)),
        # London keeps hours of its own.
        ("XLON", utc(2024, 7, 3), utc(2024, 7, 3, 7, 0), utc(2024, 7, 3, 15, 30)),
    ],
)
async def test_half_days_holidays_and_other_exchanges_have_their_own_hours(calendar, start, opens, closes):
    """Each session has its real instants, and the delay of the roll is the configuration's."""
    config = LifecycleConfig(data_timeout=None, post_market_roll_delay=45 * MINUTE)
    clock = SimulatedClock(start)
    rolls = Rolls(clock)
    manager = SessionBoundaryManager(calendar, rolls, clock=clock, config=config)
    async with running(manager) as log:
        await clock.advance_to(closes + HOUR)
        due = {event.trigger: event.observed_at for event in changes(log)}
        assert due["open_market"] == opens
        assert due["close_market"] == closes
        assert rolls.instants == [closes + 45 * MINUTE]


async def test_the_roll_runs_in_the_applications_own_loop_and_thread():
    """The roll is awaited where the application lives, so that its locks, events and connections work there."""
    lock = anyio.Lock()
    where: list[object] = []

    async def roll(next_date: date) -> None:
        async with lock:
            where.extend((threading.current_thread(), anyio.lowlevel.current_token()))

    manager, clock = make(at(MONDAY, (21, 0)), roll_session=roll)
    async with running(manager):
        async with lock:
            await clock.advance(31 * MINUTE)
            assert (manager.state, where) == (ENDED, [])  # it waits for a lock that the application holds
        await clock.advance(NOW)
        assert manager.session.date == TUESDAY
    assert where == [threading.current_thread(), anyio.lowlevel.current_token()]


async def test_boundaries_are_met_exactly_and_nothing_polls():
    """The manager wakes at each boundary and at no other time: a handful of sleeps a day, none of them late."""

    class Counting(SimulatedClock):
        sleeps = 0

        async def sleep_until(self, wall: datetime | None, monotonic: float | None) -> None:
            self.sleeps += 1
            await super().sleep_until(wall, monotonic)

    clock = Counting(at(MONDAY, (8, 0)))
    manager = SessionBoundaryManager(season(), roll_nothing, clock=clock, config=DEAF)
    async with running(manager) as log:
        await clock.advance_to(at(FRIDAY, (8, 0)))
        assert len(changes(log)) == 4 * 5
        assert {event.lateness for event in changes(log)} == {NOW}
        assert clock.sleeps <= 4 * 8


async def test_an_error_holds_until_recover():
    """A failure does not vanish at the next boundary: ERROR stays, day after day, until somebody recovers."""
    manager, clock, rolls = make_rolling(at(MONDAY, (21, 0)), *[ValueError("no disk")] * 3)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert len(of(RollFailed, log)) == 3
        for _ in range(3 * 24):
            assert manager.state is ERROR
            assert "no disk" in manager.status().reason
            await clock.advance(HOUR)
        await manager.recover()
        await clock.advance(NOW)
        assert manager.state is manager.scheduled_state
        assert rolls.done == [MONDAY + 4 * DAY]
        assert clock.now() - at(MONDAY, (22, 0)) == timedelta(days=3)
