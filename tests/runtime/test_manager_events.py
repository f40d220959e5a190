"""What a manager reports: events, `wait_for`, and what can be read at any time."""

import json
import logging
from datetime import UTC, datetime, timedelta, timezone
from unittest.mock import AsyncMock

import anyio
import pytest

from session_lifecycle import (
    FixedSchedule,
    LifecycleConfig,
    ManagerStopped,
    SessionBoundaryManager,
    SessionState,
    SubscriberOverrun,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import MONDAY, at, session
from tests.helpers.harness import (
    ACTIVE,
    DEAF,
    ENDED,
    ERROR,
    MINUTE,
    NOT_STARTED,
    NOW,
    POST_MARKET,
    PRE_MARKET,
    THURSDAY,
    TIMEOUT,
    TUESDAY,
    WEDNESDAY,
    make,
    path,
    roll_nothing,
    running,
    season,
)
from tests.helpers.manager import Oops

pytestmark = pytest.mark.anyio
LUNCH = FixedSchedule([session(MONDAY, breaks=(((17, 0), (18, 0)),)), session(TUESDAY)])


# ---- events ----


async def test_events_from_before_the_start_include_the_start_and_end_with_the_manager():
    """An iterator taken before the start yields everything, in order, and ends by itself when the manager does."""
    manager, clock = make(at(MONDAY, (16, 0)))
    events = manager.events()
    async with manager:
        await clock.advance_to(at(TUESDAY, (16, 0)))
    assert path([event async for event in events]) == [
        "start_pre_market",
        "open_market",
        "close_market",
        "end_session",
        "roll",
        "start_pre_market",
        "open_market",
    ]


async def test_events_yields_from_the_call_on_and_each_reader_has_its_own():
    """A reader sees what happens after its call, and no reader takes anything from another."""
    manager, clock = make(at(MONDAY, (16, 0)))
    early = manager.events()
    async with manager:
        late = manager.events()
        await clock.advance_to(at(MONDAY, (21, 0)))
    assert path([event async for event in early]) == ["start_pre_market", "open_market", "close_market"]
    assert path([event async for event in late]) == ["close_market"]
    assert [event async for event in late] == []


async def test_a_reader_that_is_cancelled_loses_nothing():
    """Giving up waiting for the next event, as move_on_after does, does not lose it."""
    manager, clock = make(at(MONDAY, (16, 0)))
    async with manager:
        events = manager.events()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anext(events)
        assert scope.cancelled_caught
        await manager.end_session("early")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anext(events)
        assert scope.cancelled_caught
        assert (await anext(events)).trigger == "close_market"
        await clock.advance(NOW)


async def test_events_carry_the_managers_name():
    """Every kind of event names the manager that it comes from."""
    manager, clock = make(
        at(MONDAY, (16, 0)), schedule=LUNCH, name="desk 3", roll_session=AsyncMock(side_effect=[ValueError("x"), None])
    )
    async with running(manager) as log:
        clock.step(timedelta(minutes=5))
        await clock.advance_to(at(MONDAY, (22, 0)))
        kinds = {type(event).__name__ for event in log}
    assert kinds == {
        "StateChanged",
        "HorizonNear",
        "BreakStarted",
        "BreakEnded",
        "ClockStepped",
        "RollStarted",
        "RollFailed",
        "RollSucceeded",
    }
    assert {event.name for event in log} == {"desk 3"}


@pytest.mark.costly
async def test_fault_49_a_reader_that_never_reads_is_bounded_and_hinders_nobody(caplog):
    """A reader that never reads gets its first 10,000 events and then SubscriberOverrun; another one misses nothing."""
    caplog.set_level(logging.CRITICAL, "session_lifecycle")  # thousands of failures are made on purpose
    manager, _ = make(at(MONDAY, (16, 0)))
    read = 0
    async with manager:
        lazy, keen = manager.events(), manager.events()
        for number in range(2_501):
            manager.fail(f"number {number}")
            await manager.recover()
            for _ in range(4):
                await anext(keen)
                read += 1
        assert read == 10_004
        assert manager.state is ACTIVE
        count = 0
        with pytest.raises(SubscriberOverrun, match="10000"):  # noqa: PT012 -- iterating is what raises
            async for _ in lazy:
                count += 1
        assert count == 10_000
        assert [event async for event in lazy] == []


async def test_fault_49_a_reader_that_leaves_or_raises_hinders_nobody():
    """A reader whose own code raises affects neither the machine nor the other readers."""
    manager, clock = make(at(MONDAY, (16, 0)))
    async with running(manager) as log:

        async def read() -> None:
            async for _ in manager.events():
                raise Oops

        async with anyio.create_task_group() as tasks:

            async def survive() -> None:
                with pytest.raises(Oops):
                    await read()

            tasks.start_soon(survive)
            await clock.advance_to(at(MONDAY, (22, 0)))
        assert path(log)[-2:] == ["end_session", "roll"]


async def test_a_reader_that_nobody_holds_costs_nothing():
    """An iterator that was thrown away is forgotten at once, not fed for the rest of the year."""
    manager, _ = make(at(MONDAY, (16, 0)))
    async with manager:
        for _ in range(100):
            manager.events()
        assert len(manager._host.broadcast._subscriptions) == 0


# ---- wait_for ----


async def test_wait_for_returns_at_once_where_it_is_there():
    """wait_for() of the present state returns it without waiting."""
    manager, clock = make(at(MONDAY, (16, 0)))
    async with manager:
        assert await manager.wait_for(ACTIVE) is ACTIVE
        assert await manager.wait_for(ENDED, ACTIVE) is ACTIVE
        assert clock.monotonic() == 0.0


async def test_wait_for_waits_for_the_first_of_several():
    """wait_for() returns the first of its states that is entered, as soon as it is."""
    manager, clock = make(at(MONDAY, (16, 0)))
    got: list[tuple[SessionState, datetime]] = []

    async def wait() -> None:
        got.append((await manager.wait_for(ENDED, POST_MARKET, TIMEOUT), clock.now()))

    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await clock.advance_to(at(MONDAY, (20, 59)))
        assert got == []
        await clock.advance_to(at(MONDAY, (22, 0)))
    assert got == [(POST_MARKET, at(MONDAY, (21, 0)))]


async def test_wait_for_sees_states_of_zero_width():
    """wait_for() returns a state that was passed through in an instant, though it is over by then."""
    round_the_clock = FixedSchedule(
        [session(day, (0, 0), (23, 59)) for day in (MONDAY, TUESDAY)]
        # closes at the very instant at which the next one opens
        + [session(WEDNESDAY, (0, 0), (12, 0)), session(THURSDAY)]
    )
    config = LifecycleConfig(data_timeout=None, post_market_roll_delay=NOW, pre_market=NOW)
    manager, clock = make(at(MONDAY, (12, 0)), schedule=round_the_clock, config=config)
    got: list[SessionState] = []

    async def wait(state: SessionState) -> None:
        got.append(await manager.wait_for(state))

    async with running(manager), anyio.create_task_group() as tasks:
        for state in (POST_MARKET, ENDED, PRE_MARKET):
            tasks.start_soon(wait, state)
        await clock.advance_to(at(TUESDAY, (0, 0)))
        assert manager.state is ACTIVE
    assert sorted(state.name for state in got) == ["ENDED", "POST_MARKET", "PRE_MARKET"]


async def test_wait_for_raises_when_the_manager_stops_first():
    """A wait that can no longer be answered ends in ManagerStopped, not in silence."""
    manager, _ = make(at(MONDAY, (16, 0)))
    raised: list[ManagerStopped] = []

    async def wait() -> None:
        with pytest.raises(ManagerStopped, match=r"wait_for\(\)") as info:
            await manager.wait_for(ENDED)
        raised.append(info.value)

    async with anyio.create_task_group() as tasks, running(manager):
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
    assert [error.state for error in raised] == [ACTIVE]


@pytest.mark.parametrize("arguments", [(), ("active",), (ACTIVE, None), ([ACTIVE],)])
async def test_wait_for_refuses_what_is_no_state(arguments):
    """wait_for() of nothing, or of something that is no SessionState, is a TypeError."""
    manager, _ = make(at(MONDAY, (16, 0)))
    async with manager:
        with pytest.raises(TypeError, match="SessionState"):
            await manager.wait_for(*arguments)


# ---- reading ----


async def test_reads_over_two_days():
    """At every stage of the day the reads tell what machine, schedule and clock imply, and the next boundary."""
    manager, clock = make(at(MONDAY, (8, 0)), schedule=LUNCH)
    seen = []
    async with running(manager):
        for day, clock_time in [
            (MONDAY, (8, 0)),
            (MONDAY, (9, 0)),
            (MONDAY, (14, 30)),
            (MONDAY, (17, 0)),
            (MONDAY, (18, 0)),
            (MONDAY, (21, 0)),
            (MONDAY, (21, 30)),
        ]:
            await clock.advance_to(at(day, clock_time))
            assert manager.state is manager.scheduled_state
            seen.append((manager.state, manager.next_boundary, manager.can_trade, manager.on_break))
        assert manager.session == LUNCH.session_on(TUESDAY)
    assert seen == [
        (NOT_STARTED, at(MONDAY, (9, 0)), False, False),
        (PRE_MARKET, at(MONDAY, (14, 30)), False, False),
        (ACTIVE, at(MONDAY, (21, 0)), True, False),
        (ACTIVE, at(MONDAY, (21, 0)), False, True),
        (ACTIVE, at(MONDAY, (21, 0)), True, False),
        (POST_MARKET, at(MONDAY, (21, 30)), False, False),
        (NOT_STARTED, at(TUESDAY, (9, 0)), False, False),
    ]


async def test_a_break_in_progress_is_known_from_the_start():
    """A start during lunch is on the break; it cannot trade until the break's end."""
    manager, clock = make(at(MONDAY, (17, 30)), schedule=LUNCH)
    async with running(manager):
        assert (manager.state, manager.on_break, manager.can_trade) == (ACTIVE, True, False)
        await clock.advance_to(at(MONDAY, (18, 0)))
        assert (manager.state, manager.on_break, manager.can_trade) == (ACTIVE, False, True)


async def test_status_is_a_snapshot_that_json_can_hold():
    """status() is frozen, and as_dict() holds nothing but JSON's own types, instants as ISO 8601 in UTC."""
    manager, clock = make(at(MONDAY, (16, 0)), name="desk 3")
    async with running(manager):
        await clock.advance(MINUTE)
        manager.record_data_received(at(MONDAY, (16, 0)))
        manager.fail("sunspots")
        status = manager.status()
        with pytest.raises(AttributeError):
            status.state = ACTIVE
        await manager.recover()
        assert status.state is ERROR  # a snapshot stays what it was
        assert manager.status().state is ACTIVE
    assert json.loads(json.dumps(status.as_dict())) == {
        "name": "desk 3",
        "schedule": "fixed",
        "state": "error",
        "scheduled_state": "active",
        "session": "2024-03-04",
        "open": "2024-03-04T14:30:00+00:00",
        "close": "2024-03-04T21:00:00+00:00",
        "next_boundary": "2024-03-04T21:00:00+00:00",
        "on_break": False,
        "can_trade": False,
        "roll_owed": False,
        "roll_attempt": 0,
        "last_data_at": "2024-03-04T16:00:00+00:00",
        "reason": "sunspots",
        "observed_at": "2024-03-04T16:01:00+00:00",
        "halted": None,
        "feeds": 0,
        "stale_feeds": [],
        "halted_feeds": [],
        "market_open": True,
        "awaiting_first_tick": False,
        "running": True,
        "leads": True,
        "phase": None,
    }


async def test_instants_are_utc_whatever_the_clock_speaks():
    """A clock with another time zone changes nothing: what the manager tells is UTC."""

    class Tokyo(SimulatedClock):
        def now(self) -> datetime:
            return super().now().astimezone(timezone(timedelta(hours=9)))

    clock = Tokyo(at(MONDAY, (16, 0)))
    manager = SessionBoundaryManager(season(), roll_nothing, clock=clock, config=DEAF)
    async with running(manager) as log:
        assert manager.state is ACTIVE
        assert {event.observed_at.tzinfo for event in log} == {UTC}
        assert manager.status().observed_at.tzinfo is UTC
        assert manager.next_boundary.tzinfo is UTC


async def test_reads_never_query_the_calendar():
    """Any read costs attribute reads only: not one call reaches the schedule."""
    queried: list[str] = []

    class Counting(FixedSchedule):
        def __getattribute__(self, name: str):
            queried.append(name)
            return super().__getattribute__(name)

    manager, _ = make(at(MONDAY, (16, 0)), schedule=Counting([session(MONDAY), session(TUESDAY)]))
    async with manager:
        queried.clear()
        for _ in range(3):
            _ = manager.state, manager.scheduled_state, manager.session, manager.on_break, manager.can_trade
            _ = manager.next_boundary, manager.clock, manager.schedule
            manager.status()
            manager.record_data_received()
        assert set(queried) <= {"name", "_name"}
