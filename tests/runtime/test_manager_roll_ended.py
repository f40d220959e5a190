"""Rolls that the application cancels, stops or fails, and those that it begins itself."""

import asyncio
from datetime import date

import anyio
import pytest

from session_lifecycle import (
    ClockFailed,
    LifecycleConfig,
    ManagerStopped,
    MissedSessions,
    RetryPolicy,
    RollFailed,
    RollFailedError,
    RollNotOwedError,
    RollStarted,
    RollSucceeded,
    RollTimeoutError,
    SessionBoundaryManager,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at
from tests.helpers.harness import (
    ACTIVE,
    DEAF,
    ENDED,
    ERROR,
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    SECOND,
    THURSDAY,
    TUESDAY,
    WEDNESDAY,
    Rolls,
    changes,
    make_rolling,
    need_asyncio,
    of,
    path,
    running,
    season,
)
from tests.helpers.manager_roll import END, EVENING, Boom

pytestmark = pytest.mark.anyio


# ---- the application cancels, stops, fails ----


async def test_fault_37_cancelled_by_a_scope_during_the_roll():
    """A cancel scope cancelled during a roll cancels the roll too: it is neither done nor failed."""
    manager, clock, rolls = make_rolling(EVENING, HOUR)
    events = manager.events()
    with anyio.CancelScope() as scope:
        async with manager:
            await clock.advance_to(END + MINUTE)
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert (manager.state, manager.session.date, rolls.done) == (ENDED, MONDAY, [])
    assert clock.now() == END + MINUTE
    assert isinstance([event async for event in events][-1], RollStarted)


async def test_fault_37_cancelled_natively_during_the_roll(anyio_backend):
    """`task.cancel()` during a roll cancels the roll too, and the task ends as cancelled."""
    need_asyncio(anyio_backend)
    manager, clock, rolls = make_rolling(EVENING, HOUR)
    events = manager.events()
    entered = asyncio.Event()

    async def main() -> None:
        async with manager:
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(main())
    await entered.wait()
    await clock.advance_to(END + MINUTE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (manager.state, manager.session.date, rolls.done) == (ENDED, MONDAY, [])
    assert isinstance([event async for event in events][-1], RollStarted)


async def test_fault_37_asyncio_timeout_during_the_roll(anyio_backend):
    """`asyncio.timeout` around a manager that is rolling cancels the roll, and raises its TimeoutError."""
    need_asyncio(anyio_backend)
    manager, clock, rolls = make_rolling(EVENING, HOUR)
    with pytest.raises(TimeoutError):  # noqa: PT012 -- leaving is what raises
        async with asyncio.timeout(None) as timeout, manager:
            await clock.advance_to(END + MINUTE)
            timeout.reschedule(asyncio.get_running_loop().time())  # it is over, now that the roll is under way
            await asyncio.sleep(60)
    assert (manager.state, rolls.done) == (ENDED, [])
    assert asyncio.current_task().cancelling() == 0


async def test_fault_37_ones_own_task_group_cancelled_during_the_roll():
    """Cancelling the task group that `run` was started in cancels the roll too."""
    manager, clock, rolls = make_rolling(EVENING, HOUR)
    async with anyio.create_task_group() as tasks:
        await tasks.start(manager.run)
        await clock.advance_to(END + MINUTE)
        tasks.cancel_scope.cancel()
    assert (manager.state, manager.session.date, rolls.done) == (ENDED, MONDAY, [])
    with pytest.raises(ManagerStopped):
        manager.fail("it has ended")


async def test_leaving_lets_a_roll_under_way_finish():
    """Leaving the body waits for the roll; simulated time passes by itself meanwhile, and no further."""
    manager, clock, rolls = make_rolling(EVENING, 3 * MINUTE)
    async with running(manager) as log:
        await clock.advance_to(END + MINUTE)
    assert rolls.done == [TUESDAY]
    assert clock.now() == END + 3 * MINUTE
    assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)
    assert path(log)[-1] == "roll"


async def test_leaving_waits_for_the_roll_no_longer_than_its_timeout():
    """A roll that does not come to an end is cancelled at its timeout while leaving, and not tried again."""
    manager, clock, rolls = make_rolling(EVENING, HOUR)
    async with running(manager) as log:
        await clock.advance_to(END + MINUTE)
    assert clock.now() == END + 5 * MINUTE
    assert rolls.done == []
    assert len(rolls.begun) == 1
    (failed,) = of(RollFailed, log)
    assert isinstance(failed.error, RollTimeoutError)
    assert failed.retry_at is None
    assert manager.status().roll_owed


async def test_leaving_does_not_wait_for_a_roll_without_a_timeout_where_the_clock_fails():
    """It is cancelled: nobody can tell how long it takes. The attempt has failed for the clock."""

    class Broken(SimulatedClock):
        broken = False

        def now(self):
            if self.broken:
                raise OSError("no time")
            return super().now()

    clock = Broken(EVENING)
    config = LifecycleConfig(data_timeout=None, roll_timeout=None)
    manager = SessionBoundaryManager(season(), Rolls(clock, DAY), config=config, clock=clock)
    async with running(manager) as log:
        await clock.advance(HOUR)
        manager.stop()
        clock.broken = True
    assert [type(each.error) for each in of(RollFailed, log)] == [ClockFailed]
    assert manager.state is ERROR


async def test_leaving_starts_no_retry():
    """A roll that fails while leaving is not tried again."""
    clock = SimulatedClock(EVENING)
    began: list[date] = []

    async def roll(next_date: date) -> None:
        began.append(next_date)
        await clock.sleep(MINUTE)
        raise Boom

    manager = SessionBoundaryManager(season(), roll, clock=clock, config=DEAF)
    async with running(manager) as log:
        await clock.advance_to(END + SECOND)
    assert began == [TUESDAY]
    assert clock.now() == END + MINUTE
    assert of(RollFailed, log)[0].retry_at is None


async def test_leaving_between_two_attempts_does_not_wait():
    """Leaving while a retry is waited for ends the manager at once, without that retry."""
    manager, clock, rolls = make_rolling(EVENING, Boom())
    async with running(manager):
        await clock.advance_to(END + SECOND / 2)
    assert len(rolls.begun) == 1
    assert clock.now() == END + SECOND / 2
    assert manager.state is ENDED


async def test_stop_begins_no_next_roll():
    """After stop() the roll under way leads into its session, and no further one is begun."""
    manager, clock, rolls = make_rolling(
        at(THURSDAY, (16, 0)), MINUTE, session=MONDAY, missed_sessions=MissedSessions.EACH
    )
    async with running(manager) as log:
        assert rolls.dates == [TUESDAY]
        manager.stop()
        manager.stop()
        await clock.advance(HOUR)
        assert rolls.done == [TUESDAY]
        assert path(log)[-5:] == ["roll", "start_pre_market", "open_market", "close_market", "end_session"]
        assert manager.session.date == TUESDAY


async def test_stop_before_a_roll_is_due_begins_none():
    """A manager that was stopped rolls nothing, however far time advances afterwards."""
    manager, clock, rolls = make_rolling(EVENING)
    async with running(manager):
        manager.stop()
        await clock.advance(3 * DAY)
    assert rolls.begun == []


async def test_fail_during_a_roll_that_succeeds():
    """fail() during a roll waits for that attempt: it succeeds, is entered, and ERROR comes after."""
    manager, clock, rolls = make_rolling(EVENING, 2 * MINUTE)
    async with running(manager) as log:
        await clock.advance_to(END + MINUTE)
        manager.fail("the first")
        manager.fail("the second")
        assert manager.state is ENDED
        await clock.advance(MINUTE)
        assert (manager.state, manager.session.date) == (ERROR, TUESDAY)
        assert path(log)[-2:] == ["roll", "fail"]
        assert changes(log)[-1].reason == "the first"
        await manager.recover()
        assert manager.state is NOT_STARTED
        await clock.advance(HOUR)
        assert rolls.dates == [TUESDAY]


async def test_fail_during_a_roll_that_fails():
    """fail() during a roll that then fails leads to ERROR with fail()'s reason, and there is no retry."""
    clock = SimulatedClock(EVENING)

    async def roll(next_date: date) -> None:
        await clock.sleep(2 * MINUTE)
        raise Boom

    manager = SessionBoundaryManager(season(), roll, clock=clock, config=DEAF)
    async with running(manager) as log:
        await clock.advance_to(END + MINUTE)
        manager.fail("enough")
        await clock.advance(HOUR)
        (failed,) = of(RollFailed, log)
        assert failed.retry_at is None
        assert (manager.state, manager.status().reason, manager.status().roll_owed) == (ERROR, "enough", True)


async def test_fail_during_a_roll_that_never_ends_waits_for_its_timeout():
    """fail() during a roll takes effect at the latest when the attempt times out."""
    manager, clock, _ = make_rolling(EVENING, HOUR)
    async with running(manager) as log:
        await clock.advance_to(END + MINUTE)
        manager.fail("enough")
        await clock.advance_to(END + 5 * MINUTE - MICROSECOND)
        assert manager.state is ENDED
        await clock.advance(MICROSECOND)
        assert manager.state is ERROR
        assert changes(log)[-1].reason == "enough"


# ---- by hand ----


async def test_without_auto_roll_the_session_waits_for_roll():
    """With auto_roll off ENDED holds for days, and roll() rolls to the session that owns the present."""
    manager, clock, rolls = make_rolling(EVENING, auto_roll=False)
    async with running(manager) as log:
        await clock.advance_to(at(WEDNESDAY, (15, 0)))
        assert (manager.state, manager.scheduled_state, rolls.begun) == (ENDED, ACTIVE, [])
        assert manager.status().roll_owed
        done = await manager.roll()
        assert done == RollSucceeded(MONDAY, WEDNESDAY, 1, skipped=(TUESDAY,), observed_at=clock.now())
        assert (manager.state, manager.session.date) == (ACTIVE, WEDNESDAY)
        await clock.advance(NOW)
        assert done in log


async def test_roll_returns_after_its_retries():
    """roll() returns the RollSucceeded of whichever attempt succeeded."""
    manager, clock, _ = make_rolling(EVENING, Boom(), MINUTE, auto_roll=False)
    outcomes: list[RollSucceeded] = []

    async def roll() -> None:
        outcomes.append(await manager.roll())

    async with running(manager), anyio.create_task_group() as tasks:
        await clock.advance_to(END)
        tasks.start_soon(roll)
        await clock.advance(HOUR)
        assert [(done.attempt, done.observed_at) for done in outcomes] == [(2, END + MINUTE + SECOND)]


async def test_roll_raises_after_the_last_attempt():
    """roll() that fails for good raises RollFailedError, its cause the last error; recover() allows another one."""
    manager, clock, _ = make_rolling(EVENING, Boom(1), Boom(2), auto_roll=False, roll_retry=RetryPolicy(attempts=2))
    raised: list[RollFailedError] = []

    async def roll() -> None:
        with pytest.raises(RollFailedError, match=r"2024-03-04 to 2024-03-05.*2 attempts.*recover\(\)") as info:
            await manager.roll()
        raised.append(info.value)

    async with running(manager) as log:
        await clock.advance_to(END)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(roll)
            await clock.advance(HOUR)
        (error,) = raised
        assert (error.session, error.next_session, error.attempts) == (MONDAY, TUESDAY, 2)
        assert isinstance(error.__cause__, Boom)
        assert error.__cause__.args == (2,)
        assert manager.state is ERROR
        with pytest.raises(RollNotOwedError, match="recover"):
            await manager.roll()
        await manager.recover()
        await clock.advance(HOUR)
        assert manager.state is ENDED  # still by hand
        assert path(log)[-2:] == ["fail", "recover"]
        assert (await manager.roll()).attempt == 1


async def test_roll_is_refused_where_none_can_be_begun_by_hand():
    """roll() while auto_roll is on, or before the session has ended, raises and changes nothing."""
    manager, clock, rolls = make_rolling(EVENING)
    async with running(manager):
        with pytest.raises(RollNotOwedError, match="auto_roll is on"):
            await manager.roll()
    manager, clock, rolls = make_rolling(at(MONDAY, (8, 0)), auto_roll=False)
    async with running(manager) as log:
        for clock_time, state in [((8, 0), "NOT_STARTED"), ((9, 0), "PRE_MARKET"), ((16, 0), "ACTIVE")]:
            await clock.advance_to(at(MONDAY, clock_time))
            with pytest.raises(RollNotOwedError, match=rf"{state}.*has not ended; end_session\(\)"):
                await manager.roll()
        await clock.advance(NOW)
        assert rolls.begun == []
        assert "fail" not in path(log)
        await manager.end_session("early")
        assert (await manager.roll()).next_session == TUESDAY


async def test_a_second_roll_at_the_same_time_is_refused():
    """roll() while another one is under way, or waits for its retry, raises; the first is not disturbed."""
    manager, clock, _ = make_rolling(EVENING, MINUTE, auto_roll=False)
    first: list[RollSucceeded] = []

    async def roll() -> None:
        first.append(await manager.roll())

    async with running(manager), anyio.create_task_group() as tasks:
        await clock.advance_to(END)
        tasks.start_soon(roll)
        await clock.advance(SECOND)
        with pytest.raises(RollNotOwedError, match="2024-03-05 is under way"):
            await manager.roll()
        await clock.advance(MINUTE)
        assert [done.next_session for done in first] == [TUESDAY]


async def test_giving_up_on_roll_does_not_cancel_it():
    """Cancelling the wait in roll() leaves the roll itself alone."""
    manager, clock, rolls = make_rolling(EVENING, MINUTE, auto_roll=False)
    async with running(manager):
        await clock.advance_to(END)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(manager.roll)
            await clock.advance(SECOND)
            tasks.cancel_scope.cancel()
        assert rolls.done == []
        await clock.advance(MINUTE)
        assert rolls.done == [TUESDAY]
        assert manager.session.date == TUESDAY


async def test_roll_raises_when_the_manager_stops_first():
    """A roll() that can no longer be answered, since the manager stopped before the retry, is a ManagerStopped."""
    manager, clock, _ = make_rolling(EVENING, Boom(), auto_roll=False)
    raised: list[bool] = []

    async def roll() -> None:
        with pytest.raises(ManagerStopped, match=r"roll\(\)"):
            await manager.roll()
        raised.append(True)

    async with anyio.create_task_group() as tasks, running(manager):
        await clock.advance_to(END)
        tasks.start_soon(roll)
        await clock.advance(SECOND / 2)
    assert raised == [True]


async def test_fail_while_roll_waits_is_told_by_it():
    """fail() between two attempts of a roll() makes that call raise RollFailedError with the reason."""
    manager, clock, _ = make_rolling(EVENING, Boom(), auto_roll=False)
    raised: list[bool] = []

    async def roll() -> None:
        with pytest.raises(RollFailedError, match="called off"):
            await manager.roll()
        raised.append(True)

    async with running(manager), anyio.create_task_group() as tasks:
        await clock.advance_to(END)
        tasks.start_soon(roll)
        await clock.advance(SECOND / 2)
        manager.fail("called off")
        await clock.advance(NOW)
        assert raised == [True]


async def test_a_session_that_was_ended_early_is_not_rolled_again_at_its_own_end():
    """After end_session() and its roll the session's scheduled end brings no second roll."""
    manager, clock, rolls = make_rolling(at(MONDAY, (16, 0)))
    async with running(manager):
        await manager.end_session("fire drill")
        await clock.advance_to(at(TUESDAY, (8, 0)))
        assert rolls.begun == [(TUESDAY, at(MONDAY, (16, 0)))]
        await clock.advance_to(at(TUESDAY, (22, 0)))
        assert rolls.dates == [TUESDAY, WEDNESDAY]
