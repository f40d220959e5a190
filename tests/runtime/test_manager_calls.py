"""Calls that change the state: from inside the roll, `end_session`, `fail` and `recover`."""

import logging
from datetime import date

import anyio
import pytest

from session_lifecycle import (
    IllegalTransition,
    LifecycleConfig,
    ManagerStopped,
    ReentrancyError,
    RollFailed,
    RollStarted,
    RollSucceeded,
    SessionBoundaryManager,
    SessionState,
    StateChanged,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import MICROSECOND, MONDAY, at
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
    THURSDAY,
    TIMEOUT,
    TUESDAY,
    WEDNESDAY,
    Rolls,
    changes,
    make,
    of,
    path,
    running,
    season,
)

pytestmark = pytest.mark.anyio


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
            await manager.end_session("again")

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
        await manager.end_session("fire drill")
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
        await manager.end_session("the exchange is down")
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
                await manager.end_session("no")
            await clock.advance(NOW)
            assert manager.state is state
            assert len(log) == events
        manager.fail("now ERROR")
        with pytest.raises(IllegalTransition, match="ERROR"):
            await manager.end_session("no")


async def test_the_session_after_one_that_was_ended_early_waits_for_its_own_pre_market():
    """After an early end the next session stays NOT_STARTED until its own pre-market, whatever the venue still does."""
    manager, clock = make(at(MONDAY, (16, 0)))
    async with running(manager) as log:
        await manager.end_session("fire drill")
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
        with pytest.raises(TypeError, match="reason"):
            manager.fail(reason)
        with pytest.raises(TypeError, match="reason"):
            await manager.end_session(reason)
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
