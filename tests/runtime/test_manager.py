"""The manager as an application holds it: starting, reading, listening, telling it things, and leaving."""

import asyncio
import functools
import json
import logging
import os
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from unittest.mock import AsyncMock

import anyio
import pytest

from session_lifecycle import (
    AlreadyStartedError,
    FixedSchedule,
    IllegalTransition,
    LifecycleConfig,
    ManagerStopped,
    NotASession,
    NotRunningError,
    ReentrancyError,
    RetryPolicy,
    RollFailed,
    RollStarted,
    RollSucceeded,
    ScheduleExhausted,
    Session,
    SessionBoundaryManager,
    SessionState,
    StateChanged,
    SubscriberOverrun,
    SystemClock,
    replay,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at, session, week
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
    PRE_MARKET,
    SECOND,
    THURSDAY,
    TIMEOUT,
    TUESDAY,
    WEDNESDAY,
    Rolls,
    changes,
    make,
    need_asyncio,
    of,
    path,
    roll_nothing,
    run,
    running,
    season,
    states,
)

pytestmark = pytest.mark.anyio

LUNCH = FixedSchedule([session(MONDAY, breaks=(((17, 0), (18, 0)),)), session(TUESDAY)])


# ---- starting ----


async def test_starting_in_mid_session_walks_the_legal_path_before_the_body_runs():
    """A start after the open walks every edge up to the present, as catch-up, before the body's first line."""
    manager, _ = make(at(MONDAY, (16, 0)))
    events = manager.events()
    async with manager:
        assert manager.state is ACTIVE
        assert manager.session == session(MONDAY)
        walked = [await anext(events), await anext(events)]
    assert walked == [
        StateChanged(
            NOT_STARTED, PRE_MARKET, "start_pre_market", MONDAY, at(MONDAY, (9, 0)), at(MONDAY, (16, 0)), catch_up=True
        ),
        StateChanged(
            PRE_MARKET, ACTIVE, "open_market", MONDAY, at(MONDAY, (14, 30)), at(MONDAY, (16, 0)), catch_up=True
        ),
    ]
    assert walked[0].lateness == 7 * HOUR


EXACT = [
    ((9, 0), -MICROSECOND, NOT_STARTED, []),
    ((9, 0), NOW, PRE_MARKET, [False]),
    ((14, 30), -MICROSECOND, PRE_MARKET, [True]),
    ((14, 30), NOW, ACTIVE, [True, False]),
    ((21, 0), -MICROSECOND, ACTIVE, [True, True]),
    ((21, 0), NOW, POST_MARKET, [True, True, False]),
    ((21, 30), -MICROSECOND, POST_MARKET, [True, True, True]),
]


@pytest.mark.parametrize(("clock_time", "offset", "state", "flags"), EXACT)
async def test_starting_around_each_boundary(clock_time, offset, state, flags):
    """A start at exactly a boundary is in the state that begins there; only edges due earlier are catch-up."""
    start = at(MONDAY, clock_time) + offset
    manager, _ = make(start)
    async with running(manager) as log:
        assert manager.state is state is manager.scheduled_state
        assert [event.catch_up for event in changes(log)] == flags
        assert log == list(replay(season(), start, start + MICROSECOND))


async def test_starting_at_the_end_of_a_session_starts_in_the_next_and_owes_nothing():
    """A start at exactly a session's end takes up the next session, and without `session=` no roll is owed."""
    manager, clock = make(at(MONDAY, (21, 30)), roll_session=(roll := AsyncMock()))
    async with running(manager) as log:
        assert manager.state is NOT_STARTED
        assert manager.session.date == TUESDAY
        await clock.advance(HOUR)
        assert log == []
    roll.assert_not_awaited()


async def test_running_in_a_task_group_of_ones_own():
    """`await tg.start(manager.run)` returns caught up, and `stop()` lets the task group end."""
    manager, _ = make(at(MONDAY, (16, 0)))
    async with anyio.create_task_group() as tasks:
        await tasks.start(manager.run)
        assert manager.state is ACTIVE
        manager.stop()
    with pytest.raises(ManagerStopped):
        manager.fail("too late")


async def test_run_returns_when_stopped_from_elsewhere():
    """`stop()` from any task ends the manager; the body of `async with` goes on."""
    manager, clock = make(at(MONDAY, (16, 0)))
    async with running(manager) as log:
        manager.stop()
        await clock.advance(DAY)
        assert manager.state is ACTIVE  # nobody drives it any more
        assert path(log) == ["start_pre_market", "open_market"]


async def test_a_present_that_the_schedule_does_not_know_fails_the_start():
    """A start past the schedule's knowledge raises ScheduleExhausted itself, and ends the readers."""
    manager, _ = make(at(FRIDAY, (22, 0)), schedule=week())
    events = manager.events()
    with pytest.raises(ScheduleExhausted, match="2024-03-08"):
        async with manager:
            pytest.fail("the body must not run")
    assert [event async for event in events] == []


async def test_a_failed_start_in_ones_own_task_group_raises_from_start():
    """`tg.start(manager.run)` raises the error of the start itself."""
    manager, _ = make(at(FRIDAY, (22, 0)), schedule=week())
    async with anyio.create_task_group() as tasks:
        with pytest.raises(ScheduleExhausted):
            await tasks.start(manager.run)


# ---- misuse ----


async def test_fault_51_started_twice():
    """A second start, nested, by run() or after the end, is an AlreadyStartedError that leaves the first alone."""
    manager, _ = make(at(MONDAY, (16, 0)))
    async with manager:
        with pytest.raises(AlreadyStartedError, match="create a new"):
            async with manager:
                pytest.fail("the body must not run")
        with pytest.raises(AlreadyStartedError):
            await manager.run()
        assert manager.state is ACTIVE
        manager.end_session("still in use")
    with pytest.raises(AlreadyStartedError):
        await manager.run()
    with pytest.raises(AlreadyStartedError):
        await manager.__aenter__()


TWO_AT_ONCE = """
import sys
import anyio
from tests.helpers.builders import MONDAY, at
from tests.helpers.harness import make
from session_lifecycle import AlreadyStartedError

async def enter(manager):
    try:
        async with manager:
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            manager.end_session("it runs")
            print("ran")
    except AlreadyStartedError:
        print("refused")

async def main():
    manager, _ = make(at(MONDAY, (16, 0)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(enter, manager)
        tasks.start_soon(enter, manager)

anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_fault_51_started_by_two_tasks_at_once(backend):
    """Of two tasks that enter one manager at the same moment one gets it, and the other an AlreadyStartedError."""
    # In a process of its own: what goes wrong here takes the event loop with it.
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", TWO_AT_ONCE, backend],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert sorted(done.stdout.split()) == ["ran", "refused"]
    assert done.returncode == 0


async def test_fault_51_used_before_start():
    """Before the start whatever needs a running manager says so; the rest of the reads are those of a fresh machine."""
    manager, _ = make(at(MONDAY, (16, 0)))
    for read in ("scheduled_state", "session", "next_boundary"):
        with pytest.raises(NotRunningError, match=read):
            getattr(manager, read)
    for call in (manager.stop, manager.status, lambda: manager.fail("x"), lambda: manager.end_session("x")):
        with pytest.raises(NotRunningError, match="async with"):
            call()
    for call in (manager.recover, manager.roll, lambda: manager.wait_for(ACTIVE)):
        with pytest.raises(NotRunningError, match="async with"):
            await call()
    manager.record_data_received()
    manager.record_data_received(at(MONDAY, (15, 0)))
    assert manager.state is NOT_STARTED
    assert (manager.can_trade, manager.on_break) == (False, False)
    assert "not started" in repr(manager)
    async with manager:  # and none of that has spoilt it
        assert manager.state is ACTIVE
        assert "running" in repr(manager)
    assert "stopped" in repr(manager)


async def test_fault_51_used_after_stop():
    """After the end reads give the last state, stop() does nothing, and what needs a driver is a ManagerStopped."""
    manager, _ = make(at(MONDAY, (16, 0)))
    async with manager:
        pass
    manager.stop()
    manager.stop()
    manager.record_data_received()
    assert manager.state is ACTIVE
    assert manager.status().state is ACTIVE
    assert [event async for event in manager.events()] == []
    assert await manager.wait_for(ACTIVE) is ACTIVE
    for call in (lambda: manager.fail("x"), lambda: manager.end_session("x")):
        with pytest.raises(ManagerStopped, match="ACTIVE"):
            call()
    for call in (manager.recover, manager.roll, lambda: manager.wait_for(ENDED)):
        with pytest.raises(ManagerStopped, match="ACTIVE"):
            await call()
    assert manager.state is ACTIVE


# ---- calls from inside the roll ----


async def test_fault_50_reads_inside_the_roll_work():
    """Inside the roll everything can be read, and tells of the ended session."""
    found = []

    async def roll(next_date: date) -> None:
        status = manager.status()
        found.append(
            (
                manager.state,
                manager.scheduled_state,
                manager.session.date,
                manager.next_boundary,
                manager.can_trade,
                manager.on_break,
                manager.clock.now(),
                status.roll_owed,
                status.roll_attempt,
            )
        )

    manager, clock = make(at(MONDAY, (16, 0)), roll_session=roll)
    async with running(manager):
        await clock.advance_to(at(MONDAY, (22, 0)))
    assert found == [
        (ENDED, NOT_STARTED, MONDAY, at(TUESDAY, (9, 0)), False, False, at(MONDAY, (21, 30)), True, 1),
    ]


async def test_fault_50_waiting_calls_inside_the_roll_are_refused():
    """Inside the roll whatever would wait for that very roll is a ReentrancyError at once, and the roll goes on."""
    refused: list[str] = []

    async def roll(next_date: date) -> None:
        calls = {
            "recover": manager.recover,
            "wait_for": lambda: manager.wait_for(NOT_STARTED),
            "run": manager.run,
            "roll": manager.roll,
            "async with": manager.__aenter__,
            "advance": lambda: clock.advance(HOUR),
            "advance_to": lambda: clock.advance_to(at(TUESDAY, (9, 0))),
        }
        for name, call in calls.items():
            try:
                await call()
            except ReentrancyError:
                refused.append(name)
        with pytest.raises(IllegalTransition, match="ENDED"):
            manager.end_session("again")

    manager, clock = make(at(MONDAY, (21, 0)), roll_session=roll)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert refused == ["recover", "wait_for", "run", "roll", "async with", "advance", "advance_to"]
        assert path(log)[-2:] == ["end_session", "roll"]
        assert of(RollFailed, log) == []


async def test_fault_50_waiting_calls_in_a_child_of_the_roll_are_refused_too():
    """A task that the roll waits for would wait for itself just as well, and is refused."""
    refused: list[ReentrancyError] = []

    async def wait() -> None:
        try:
            await manager.wait_for(NOT_STARTED)
        except ReentrancyError as error:
            refused.append(error)

    async def roll(next_date: date) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)

    manager, clock = make(at(MONDAY, (21, 0)), roll_session=roll)
    async with running(manager):
        await clock.advance(HOUR)
        assert manager.session.date == TUESDAY
    assert len(refused) == 1


async def test_fault_50_a_task_left_behind_by_the_roll_is_free_again():
    """A background task that a roll started may wait for the manager once that roll is over."""
    waited: list[SessionState] = []
    released = anyio.Event()

    async def background() -> None:
        await released.wait()
        waited.append(await manager.wait_for(PRE_MARKET))

    async with anyio.create_task_group() as outer:

        async def roll(next_date: date) -> None:
            outer.start_soon(background)

        manager, clock = make(at(MONDAY, (21, 0)), roll_session=roll)
        async with running(manager):
            await clock.advance(HOUR)
            released.set()
            await clock.advance_to(at(TUESDAY, (9, 0)))
    assert waited == [PRE_MARKET]


async def test_fault_50_another_managers_calls_inside_the_roll_work():
    """What is refused is waiting for oneself: inside its roll one may wait for another manager."""
    other, _ = make(at(MONDAY, (16, 0)))

    async def roll(next_date: date) -> None:
        assert await other.wait_for(ACTIVE) is ACTIVE
        other.fail("told by the first one's roll")
        await other.recover()

    async with running(other) as others_log:
        manager, clock = make(at(MONDAY, (21, 0)), roll_session=roll)
        async with running(manager) as log:
            await clock.advance(HOUR)
            assert path(log)[-1] == "roll"
    assert path(others_log)[2:] == ["fail", "recover", "start_pre_market", "open_market"]


async def test_fault_50_data_inside_the_roll_is_counted():
    """Data recorded inside the roll is taken note of and changes no state."""

    async def roll(next_date: date) -> None:
        manager.record_data_received()
        manager.record_data_received(clock.now() - SECOND)

    manager, clock = make(at(MONDAY, (21, 0)), roll_session=roll)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert path(log)[-2:] == ["end_session", "roll"]
        assert manager.status().last_data_at == at(MONDAY, (21, 30))


async def test_fault_50_stop_inside_the_roll_takes_effect_after_it():
    """stop() from inside the roll lets that roll complete, and then ends the manager."""

    async def roll(next_date: date) -> None:
        manager.stop()
        await clock.sleep(MINUTE)

    manager, clock = make(at(MONDAY, (21, 0)), roll_session=roll)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert [type(event) for event in log[-3:]] == [RollStarted, RollSucceeded, StateChanged]
        assert manager.session.date == TUESDAY
        with pytest.raises(ManagerStopped):
            manager.fail("it has ended")


@pytest.mark.parametrize("error", [None, ValueError("boom")])
async def test_fault_50_fail_inside_the_roll_takes_effect_after_it(error):
    """fail() from inside the roll comes after that attempt: entered first if it succeeds, never retried if it fails."""
    seen: list[SessionState] = []

    async def roll(next_date: date) -> None:
        manager.fail("the books do not balance")
        seen.append(manager.state)
        await clock.sleep(SECOND)
        seen.append(manager.state)
        if error is not None:
            raise error

    manager, clock = make(at(MONDAY, (21, 0)), roll_session=roll)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert seen == [ENDED, ENDED]
        assert manager.state is ERROR
        assert manager.status().reason == "the books do not balance"
        if error is None:
            assert path(log)[-3:] == ["end_session", "roll", "fail"]
            assert manager.session.date == TUESDAY
        else:
            assert path(log)[-2:] == ["end_session", "fail"]
            assert of(RollFailed, log)[0].retry_at is None
            assert manager.session.date == MONDAY
            assert manager.status().roll_owed


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
        manager.end_session("early")
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


# ---- end_session ----


@pytest.mark.parametrize(
    ("clock_time", "before", "edges"),
    [
        ((16, 0), ACTIVE, ["close_market", "end_session"]),
        ((21, 0), POST_MARKET, ["end_session"]),
    ],
)
async def test_end_session_walks_the_remaining_edges_now(clock_time, before, edges):
    """end_session() walks what is left of the session at once, with its reason, and the roll follows."""
    manager, clock = make(at(MONDAY, clock_time))
    async with running(manager) as log:
        assert manager.state is before
        log.clear()
        manager.end_session("fire drill")
        assert manager.state is ENDED
        assert not manager.can_trade
        await clock.advance(NOW)
        assert path(log) == [*edges, "roll"]
        assert {event.reason for event in changes(log)[:-1]} == {"fire drill"}
        assert {event.scheduled_at for event in changes(log)} == {at(MONDAY, clock_time)}
        assert not any(event.catch_up for event in changes(log))


async def test_end_session_in_timeout():
    """A session that is silent can be ended early as well."""
    manager, clock = make(at(MONDAY, (16, 0)), config=LifecycleConfig())
    async with running(manager) as log:
        await clock.advance(5 * MINUTE)
        assert manager.state is TIMEOUT
        manager.end_session("the exchange is down")
        await clock.advance(NOW)
        assert path(log)[-4:] == ["data_timeout", "close_market", "end_session", "roll"]


async def test_end_session_elsewhere_is_refused():
    """In NOT_STARTED, PRE_MARKET, ENDED and ERROR end_session() raises, and changes nothing."""
    manager, clock = make(at(MONDAY, (8, 0)), config=LifecycleConfig(auto_roll=False, data_timeout=None))
    async with running(manager) as log:
        for clock_time, state in [((8, 0), NOT_STARTED), ((9, 0), PRE_MARKET), ((21, 30), ENDED)]:
            await clock.advance_to(at(MONDAY, clock_time))
            events = len(log)
            with pytest.raises(IllegalTransition, match=f"end_session.*{state.name}"):
                manager.end_session("no")
            await clock.advance(NOW)
            assert manager.state is state
            assert len(log) == events
        manager.fail("now ERROR")
        with pytest.raises(IllegalTransition, match="ERROR"):
            manager.end_session("no")


async def test_the_session_after_one_that_was_ended_early_waits_for_its_own_pre_market():
    """After an early end the next session stays NOT_STARTED until its own pre-market, whatever the venue still does."""
    manager, clock = make(at(MONDAY, (16, 0)))
    async with running(manager) as log:
        manager.end_session("fire drill")
        await clock.advance(NOW)
        assert manager.session.date == TUESDAY
        for instant, scheduled in [
            (at(MONDAY, (16, 0)), ACTIVE),
            (at(MONDAY, (21, 0)), POST_MARKET),
            (at(MONDAY, (21, 30)), NOT_STARTED),
        ]:
            await clock.advance_to(instant)
            assert (manager.state, manager.scheduled_state) == (NOT_STARTED, scheduled)
        await clock.advance_to(at(TUESDAY, (9, 0)))
        assert manager.state is PRE_MARKET
        assert path(log)[4:] == ["roll", "start_pre_market"]


@pytest.mark.parametrize("reason", ["", "  ", None, 3])
async def test_fail_and_end_session_need_a_reason_in_words(reason):
    """A missing or empty reason is a TypeError, and nothing changes."""
    manager, _ = make(at(MONDAY, (16, 0)))
    async with manager:
        for call in (manager.fail, manager.end_session):
            with pytest.raises(TypeError, match="reason"):
                call(reason)
        assert manager.state is ACTIVE


# ---- fail and recover ----


@pytest.mark.parametrize("clock_time", [(8, 0), (9, 0), (16, 0), (21, 0)])
async def test_recover_walks_the_session_again_marked_as_catch_up(clock_time):
    """recover() with no roll owed begins the session anew and walks it to the present, each edge marked as catch-up."""
    manager, clock = make(at(MONDAY, clock_time))
    async with running(manager) as log:
        state, walked = manager.state, path(log)
        await clock.advance(MINUTE)
        manager.fail("sunspots")
        assert manager.state is ERROR
        await clock.advance(MINUTE)
        log.clear()
        await manager.recover()
        assert manager.state is state
        await clock.advance(NOW)
        assert path(log) == ["recover", *walked]
        assert changes(log)[0].dest is NOT_STARTED
        assert all(event.catch_up for event in changes(log)[1:])
        assert {event.observed_at for event in changes(log)} == {clock.now()}


async def test_fail_is_told_with_its_reason():
    """fail() goes to ERROR at once, with the reason in the event and in the status, gone again after recover()."""
    manager, clock = make(at(MONDAY, (16, 0)))
    async with running(manager) as log:
        manager.fail("sunspots")
        await clock.advance(NOW)
        assert log[-1] == StateChanged(
            ACTIVE, ERROR, "fail", MONDAY, clock.now(), clock.now(), catch_up=False, reason="sunspots"
        )
        assert manager.status().reason == "sunspots"
        await manager.recover()
        assert manager.status().reason is None


async def test_error_holds_while_the_schedule_is_followed():
    """In ERROR nothing moves for days, but scheduled_state and next_boundary stay true."""
    manager, clock = make(at(MONDAY, (16, 0)))
    async with running(manager) as log:
        manager.fail("sunspots")
        seen = []
        for instant in (at(MONDAY, (21, 0)), at(TUESDAY, (15, 0)), at(WEDNESDAY, (10, 0)), at(WEDNESDAY, (22, 0))):
            await clock.advance_to(instant)
            assert (manager.state, manager.session.date, manager.can_trade) == (ERROR, MONDAY, False)
            seen.append((manager.scheduled_state, manager.next_boundary, manager.status().roll_owed))
        assert path(log)[-1] == "fail"
    assert seen == [
        (POST_MARKET, at(MONDAY, (21, 30)), False),
        (ACTIVE, at(TUESDAY, (21, 0)), True),
        (PRE_MARKET, at(WEDNESDAY, (14, 30)), True),
        (NOT_STARTED, at(THURSDAY, (9, 0)), True),
    ]


async def test_recover_with_a_roll_owed_goes_to_the_roll():
    """recover() after the session's end leads to ENDED and rolls to the session that owns the present."""
    manager, clock = make(at(MONDAY, (16, 0)))
    async with running(manager) as log:
        manager.fail("sunspots")
        await clock.advance_to(at(WEDNESDAY, (15, 0)))
        log.clear()
        await manager.recover()
        assert manager.state is ENDED  # the trigger has fired; the roll is not awaited
        await clock.advance(NOW)
        assert manager.state is ACTIVE
        assert path(log) == ["recover", "roll", "start_pre_market", "open_market"]
        assert changes(log)[0].dest is ENDED
        assert of(RollSucceeded, log)[0].skipped == (TUESDAY,)


@pytest.mark.parametrize(
    ("instant", "owed"), [(at(MONDAY, (21, 30)) - MICROSECOND, False), (at(MONDAY, (21, 30)), True)]
)
async def test_in_error_too_a_roll_is_owed_from_the_very_end_of_the_session(instant, owed):
    """At exactly the end recover() leads to the roll, a microsecond before it to the session's start."""
    manager, clock = make(at(MONDAY, (16, 0)))
    async with running(manager) as log:
        manager.fail("sunspots")
        await clock.advance_to(instant)
        log.clear()
        assert manager.status().roll_owed is owed
        await manager.recover()
        await clock.advance(NOW)
        assert changes(log)[0].dest is (ENDED if owed else NOT_STARTED)


async def test_recover_is_refused_outside_error():
    """recover() where nothing has failed raises, and changes nothing."""
    manager, clock = make(at(MONDAY, (16, 0)))
    async with running(manager) as log:
        with pytest.raises(IllegalTransition, match=r"recover.*ACTIVE"):
            await manager.recover()
        await clock.advance(NOW)
        assert path(log) == ["start_pre_market", "open_market"]


async def test_fail_in_error_changes_nothing_and_logs_a_line(caplog):
    """fail() in ERROR keeps the first reason and leaves one line in the log."""
    manager, clock = make(at(MONDAY, (16, 0)))
    async with running(manager) as log:
        manager.fail("the first")
        await clock.advance(NOW)
        events, lines = len(log), len(caplog.records)
        with caplog.at_level(logging.WARNING, "session_lifecycle"):
            manager.fail("the second")
        await clock.advance(NOW)
        assert len(log) == events
        assert manager.status().reason == "the first"
        (line,) = caplog.records[lines:]
        assert "the second" in line.getMessage()
        assert "the first" in line.getMessage()


async def test_fail_between_two_attempts_ends_the_round():
    """fail() while a retry is waited for goes to ERROR at once; recover() then starts at attempt 1."""
    clock = SimulatedClock(at(MONDAY, (21, 0)))
    rolls = Rolls(clock, ValueError("once"))
    manager = SessionBoundaryManager(season(), rolls, clock=clock, config=DEAF)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (21, 30)) + SECOND / 2)
        manager.fail("stop trying")
        await clock.advance(HOUR)
        assert (manager.state, len(rolls.begun)) == (ERROR, 1)
        await manager.recover()
        await clock.advance(NOW)
        assert of(RollStarted, log)[-1].attempt == 1
        assert manager.session.date == TUESDAY


# ---- leaving ----


class Oops(Exception):
    pass


async def test_the_bodys_exception_comes_out_as_it_is():
    """What the body raises leaves `async with` as the very same object, wrapped in no group."""
    for error in (ValueError("boom"), Oops(), ExceptionGroup("mine", [ValueError("a")]), KeyError("k")):
        manager, _ = make(at(MONDAY, (16, 0)))
        with pytest.raises(type(error)) as info:
            async with manager:
                raise error
        assert info.value is error
        with pytest.raises(ManagerStopped):
            manager.fail("it has ended")


async def test_an_error_of_the_body_does_not_wait_for_the_roll():
    """With an exception in the body a roll under way is cancelled, and no time passes."""
    cancelled: list[date] = []

    async def roll(next_date: date) -> None:
        try:
            await clock.sleep(HOUR)
        except anyio.get_cancelled_exc_class():
            cancelled.append(next_date)
            raise

    manager, clock = make(at(MONDAY, (21, 0)), roll_session=roll)
    events = manager.events()
    with pytest.raises(Oops):  # noqa: PT012 -- leaving is what raises
        async with manager:
            await clock.advance(30 * MINUTE)
            assert manager.state is ENDED
            raise Oops
    assert cancelled == [TUESDAY]
    assert clock.now() == at(MONDAY, (21, 30))
    assert manager.state is ENDED
    assert path([event async for event in events])[-1] == "end_session"


async def test_a_cancel_scope_around_the_manager_is_obeyed():
    """Cancelling a scope around `async with` ends the manager, and the scope has caught it."""
    manager, _ = make(at(MONDAY, (16, 0)))
    with anyio.CancelScope() as scope:
        async with manager:
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    with pytest.raises(ManagerStopped):
        manager.fail("it has ended")


async def test_an_error_of_the_body_is_not_hidden_by_a_cancellation():
    """A body that raises while a scope around it is being cancelled leaves with its own error."""
    manager, _ = make(at(MONDAY, (16, 0)))
    with anyio.CancelScope() as scope, pytest.raises(Oops):  # noqa: PT012 -- leaving is what raises
        async with manager:
            scope.cancel()
            raise Oops


async def test_a_task_group_around_the_manager_is_cancelled_as_usual():
    """A sibling's failure cancels the manager's body, and only that failure comes out."""
    manager, _ = make(at(MONDAY, (16, 0)))

    async def fail() -> None:
        raise Oops

    with pytest.raises(ExceptionGroup) as info:  # noqa: PT012 -- leaving is what raises
        async with anyio.create_task_group() as tasks, manager:
            tasks.start_soon(fail)
            await anyio.sleep_forever()
    assert [type(error) for error in info.value.exceptions] == [Oops]


async def test_native_cancellation_of_the_body_comes_out_as_such(anyio_backend):
    """`task.cancel()` on the task in the body ends it as cancelled, and the manager with it."""
    need_asyncio(anyio_backend)
    manager, _ = make(at(MONDAY, (16, 0)))
    entered = asyncio.Event()

    async def main() -> None:
        async with manager:
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(main())
    await entered.wait()
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    with pytest.raises(ManagerStopped):
        manager.fail("it has ended")


async def test_asyncio_timeout_around_the_manager(anyio_backend):
    """`asyncio.timeout()` around the manager raises its TimeoutError, and leaves the task not cancelled."""
    need_asyncio(anyio_backend)
    manager, _ = make(at(MONDAY, (16, 0)))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), manager:
            await asyncio.sleep(60)
    assert asyncio.current_task().cancelling() == 0


async def test_leaving_by_return_or_break_stops():
    """Leaving the body early by `return` or `break` stops the manager like its end does."""
    manager, _ = make(at(MONDAY, (16, 0)))

    async def main() -> SessionState:
        async with manager:
            return manager.state

    assert await main() is ACTIVE
    with pytest.raises(ManagerStopped):
        manager.fail("it has ended")


# ---- arguments ----


def plain(next_date: date) -> None: ...


class Desk:
    async def roll(self, next_date: date) -> None: ...

    def roll_plainly(self, next_date: date) -> None: ...

    @staticmethod
    async def roll_statically(next_date: date) -> None: ...


class CallableDesk:
    async def __call__(self, next_date: date) -> None: ...


class PlainCallableDesk:
    def __call__(self, next_date: date) -> None: ...


async def two_arguments(desk: str, next_date: date) -> None: ...


@pytest.mark.parametrize(
    "roll",
    [
        plain,
        lambda next_date: None,
        functools.partial(plain),
        functools.partial(functools.partial(plain)),
        Desk().roll_plainly,
        PlainCallableDesk(),
        None,
        "roll",
        3,
    ],
)
def test_fault_06_a_roll_that_is_not_async_is_refused_at_construction(roll):
    """A roll_session that can be seen not to be async is a TypeError before anything runs."""
    with pytest.raises(TypeError, match=r"roll_session must be .*async"):
        SessionBoundaryManager(season(), roll)


@pytest.mark.parametrize(
    "roll",
    [
        roll_nothing,
        functools.partial(two_arguments, "desk"),
        functools.partial(functools.partial(two_arguments), "desk"),
        Desk().roll,
        Desk.roll_statically,
        CallableDesk(),
        functools.partial(CallableDesk()),
        AsyncMock(),
    ],
    ids=lambda roll: type(roll).__name__,
)
async def test_fault_06_every_form_of_an_async_roll_is_awaited(roll):
    """Functions, methods, partials, callable objects and mocks will do, as long as what they return can be awaited."""
    manager, clock = make(at(MONDAY, (21, 0)), roll_session=roll)
    async with running(manager):
        await clock.advance(HOUR)
        assert manager.session.date == TUESDAY


async def test_fault_06_a_result_that_cannot_be_awaited_is_a_failed_attempt():
    """A roll that turns out to return no awaitable fails like any other, with a TypeError that says so."""
    config = LifecycleConfig(data_timeout=None, roll_retry=RetryPolicy(attempts=1))
    manager, clock = make(at(MONDAY, (21, 0)), roll_session=str, config=config)
    async with running(manager) as log:
        await clock.advance(HOUR)
        (failed,) = of(RollFailed, log)
        assert isinstance(failed.error, TypeError)
        assert "'2024-03-05', which cannot be awaited" in str(failed.error)
        assert manager.state is ERROR
        assert "cannot be awaited" in manager.status().reason


async def test_fault_06_a_roll_that_takes_no_date_is_a_failed_attempt():
    """A roll with the wrong signature fails like any other."""

    async def roll() -> None: ...

    config = LifecycleConfig(data_timeout=None, roll_retry=RetryPolicy(attempts=1))
    manager, clock = make(at(MONDAY, (21, 0)), roll_session=roll, config=config)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert isinstance(of(RollFailed, log)[0].error, TypeError)
        assert manager.state is ERROR


@pytest.mark.parametrize("config", [None, {}, LifecycleConfig, 3])
def test_a_config_of_another_kind_is_refused(config):
    """Anything but a LifecycleConfig is a TypeError at construction."""
    with pytest.raises(TypeError, match="config must be a LifecycleConfig"):
        SessionBoundaryManager(season(), roll_nothing, config=config)


def test_a_date_that_is_no_session_is_refused_at_construction():
    """`session=` with a date that is none of the schedule's is NotASession, naming near ones."""
    with pytest.raises(NotASession, match="Saturday"):
        SessionBoundaryManager(season(), roll_nothing, session=date(2024, 3, 9))


@pytest.mark.parametrize("value", ["2024-03-04", datetime(2024, 3, 4, tzinfo=UTC), 3])
def test_a_session_that_is_no_date_is_refused_at_construction(value):
    """`session=` takes a date; a datetime or a string is a TypeError."""
    with pytest.raises(TypeError, match="date"):
        SessionBoundaryManager(season(), roll_nothing, session=value)


def test_the_default_clock_follows_the_configuration():
    """Without `clock=` the manager runs on a SystemClock with the configuration's check_interval."""
    manager = SessionBoundaryManager(
        season(), roll_nothing, config=LifecycleConfig(check_interval=timedelta(milliseconds=20))
    )
    assert isinstance(manager.clock, SystemClock)
    assert manager.clock._slice_seconds == 0.02


# ---- no threads ----


@pytest.fixture
def no_threads(monkeypatch):
    """Let any start of a thread fail, and see that none has come to be."""

    def start(self: threading.Thread) -> None:
        msg = f"{self} was started"
        raise AssertionError(msg)

    before = set(threading.enumerate())
    monkeypatch.setattr(threading.Thread, "start", start)
    yield
    assert set(threading.enumerate()) == before


@pytest.mark.usefixtures("no_threads")
def test_no_thread_is_started_in_simulated_time(anyio_backend):
    """Start, a whole day, a retried roll and the end take place in the application's own thread."""
    rolled_in: list[threading.Thread] = []

    async def roll(next_date: date) -> None:
        rolled_in.append(threading.current_thread())
        if len(rolled_in) == 1:
            raise Oops

    async def main() -> None:
        manager, clock = make(at(MONDAY, (16, 0)), roll_session=roll)
        async with running(manager):
            await clock.advance(DAY)
            assert manager.session.date == TUESDAY

    run(main, anyio_backend)
    assert rolled_in == [threading.current_thread()] * 2


@pytest.mark.usefixtures("no_threads")
def test_no_thread_is_started_on_the_real_clock(anyio_backend):
    """On the real clock, across a close and a roll, there is no thread but the application's own."""

    async def main() -> None:
        now = datetime.now(UTC)
        today = Session(now.date(), now - HOUR, now + timedelta(milliseconds=20))
        tomorrow = Session(now.date() + DAY, now + HOUR, now + 2 * HOUR)
        config = LifecycleConfig(data_timeout=None, post_market_roll_delay=timedelta(milliseconds=10))
        # A machine so slow that the session is over by the start catches up with it: `session` says so.
        manager = SessionBoundaryManager(
            FixedSchedule([today, tomorrow]), roll_nothing, session=today.date, config=config
        )
        events = manager.events()
        log = []
        async with manager:
            with anyio.fail_after(5):
                async for event in events:
                    log.append(event)
                    if isinstance(event, RollSucceeded):
                        break
        assert "close_market" in path(log)

    run(main, anyio_backend)


async def test_events_of_a_quiet_week_are_what_replay_says():
    """Day by day the manager takes the very edges that replay() lists, each on time."""
    start = at(MONDAY, (8, 0))
    manager, clock = make(start)
    async with running(manager) as log:
        await clock.advance_to(at(FRIDAY, (21, 15)))
        assert changes(log) == list(replay(season(), start, clock.now()))
        assert states(log).count(ACTIVE) == 5
        assert {event.lateness for event in changes(log)} == {NOW}
