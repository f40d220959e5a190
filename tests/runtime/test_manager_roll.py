"""The roll: awaited once for each session, tried again when it fails, and never in the machine's way."""

import asyncio
import time
from datetime import UTC, date, datetime, timedelta

import anyio
import pytest

from session_lifecycle import (
    FixedSchedule,
    IllegalTransition,
    LifecycleConfig,
    RetryPolicy,
    RollFailed,
    RollStarted,
    RollSucceeded,
    RollTimeoutError,
    Session,
    SessionBoundaryManager,
    StateChanged,
    SystemClock,
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
    POST_MARKET,
    PRE_MARKET,
    SECOND,
    THURSDAY,
    TUESDAY,
    WEDNESDAY,
    changes,
    make,
    make_rolling,
    need_asyncio,
    of,
    path,
    run,
    running,
    season,
    states,
)
from tests.helpers.manager_roll import END, EVENING, Boom, day_of

pytestmark = pytest.mark.anyio


# ---- success ----


async def test_a_roll_that_succeeds():
    """At the session's end the roll is awaited once, for the next date, and the next session is entered."""
    manager, clock, rolls = make_rolling(EVENING, 90 * SECOND)
    async with running(manager) as log:
        log.clear()
        await clock.advance(HOUR)
        assert rolls.begun == [(TUESDAY, END)]
        assert log == [
            StateChanged(POST_MARKET, ENDED, "end_session", MONDAY, END, END),
            RollStarted(MONDAY, TUESDAY, 1, observed_at=END),
            RollSucceeded(MONDAY, TUESDAY, 1, observed_at=END + 90 * SECOND, duration=90 * SECOND),
            StateChanged(ENDED, NOT_STARTED, "roll", TUESDAY, END, END + 90 * SECOND),
        ]
        assert manager.session == season().session_on(TUESDAY)


async def test_the_driver_stays_responsive_during_a_roll():
    """While a roll is under way reads are true, calls work and readers are served."""
    manager, clock, _ = make_rolling(EVENING, 2 * MINUTE)
    async with running(manager) as log:
        await clock.advance_to(END + MINUTE)
        assert (manager.state, manager.scheduled_state) == (ENDED, NOT_STARTED)
        assert (manager.session.date, manager.can_trade) == (MONDAY, False)
        assert (manager.status().roll_owed, manager.status().roll_attempt) == (True, 1)
        assert isinstance(log[-1], RollStarted)
        manager.record_data_received()
        with pytest.raises(IllegalTransition):
            await manager.end_session("it has ended")
        with pytest.raises(IllegalTransition):
            await manager.recover()


async def test_every_session_of_a_season_is_rolled_once():
    """Over twelve weeks each session is rolled into exactly once, each at the end of the one before."""
    manager, clock, rolls = make_rolling(EVENING)
    async with running(manager) as log:
        await clock.advance(timedelta(weeks=11))
        assert rolls.dates == [day_of(number) for number in range(1, 56)]
        assert all(instant.hour == 21 and instant.minute == 30 for instant in rolls.instants)
        assert [event.session for event in of(RollSucceeded, log)] == [day_of(number) for number in range(55)]


# ---- failure ----


async def test_a_failed_roll_is_tried_again_at_growing_intervals():
    """Retries come at exactly the policy's intervals, counted from the failure, and each failure says when."""
    retry = RetryPolicy(attempts=6, initial=SECOND, factor=3, maximum=5 * SECOND)
    manager, clock, rolls = make_rolling(EVENING, *[Boom(n) for n in range(4)], roll_retry=retry)
    async with running(manager) as log:
        await clock.advance(HOUR)
        expected = [END + n * SECOND for n in (0, 1, 4, 9, 14)]
        assert rolls.begun == [(TUESDAY, instant) for instant in expected]
        failed = of(RollFailed, log)
        assert [event.retry_at for event in failed] == expected[1:]
        assert [event.attempt for event in failed] == [1, 2, 3, 4]
        assert [event.error.args for event in failed] == [(0,), (1,), (2,), (3,)]
        assert of(RollSucceeded, log) == [RollSucceeded(MONDAY, TUESDAY, 5, observed_at=expected[-1])]
        assert manager.session.date == TUESDAY


async def test_back_off_is_counted_from_the_failure():
    """An attempt that takes a while before it fails is followed by the whole interval."""
    clock = SimulatedClock(EVENING)
    began: list[datetime] = []

    async def roll(next_date: date) -> None:
        began.append(clock.now())
        await clock.sleep(MINUTE)
        raise Boom

    manager = SessionBoundaryManager(season(), roll, clock=clock, config=DEAF)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert began == [END, END + MINUTE + SECOND, END + 2 * MINUTE + 3 * SECOND]
        assert {event.duration for event in of(RollFailed, log)} == {MINUTE}


async def test_attempts_exhausted_is_an_error_with_the_roll_still_owed():
    """After the last attempt the state is ERROR, the session unchanged, and nothing is tried again by itself."""
    manager, clock, rolls = make_rolling(EVENING, *[Boom("no disk")] * 3)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert len(rolls.begun) == 3
        assert manager.state is ERROR
        assert manager.session.date == MONDAY
        status = manager.status()
        assert status.roll_owed
        assert "Boom('no disk')" in status.reason
        assert of(RollFailed, log)[-1].retry_at is None
        assert changes(log)[-1].reason == status.reason
        await clock.advance(3 * DAY)
        assert len(rolls.begun) == 3
        assert manager.state is ERROR


async def test_recover_begins_a_new_round():
    """recover() after exhausted attempts begins again at attempt 1, with a full round of retries."""
    manager, clock, rolls = make_rolling(EVENING, *[Boom()] * 5)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert manager.state is ERROR
        await manager.recover()
        assert manager.state is ENDED
        await clock.advance(MINUTE)
        assert [event.attempt for event in of(RollStarted, log)] == [1, 2, 3, 1, 2, 3]
        assert manager.state is NOT_STARTED
        assert manager.session.date == TUESDAY
        assert rolls.done == [TUESDAY]
        assert path(log)[-4:] == ["end_session", "fail", "recover", "roll"]


async def test_the_target_of_a_round_stays_the_same_through_its_retries():
    """A round that lasts for days is for one date throughout; a new round is for the session of its own present."""
    retry = RetryPolicy(attempts=3, initial=DAY, factor=1, maximum=DAY)
    manager, clock, rolls = make_rolling(EVENING, *[Boom()] * 3, roll_retry=retry)
    async with running(manager) as log:
        await clock.advance_to(at(THURSDAY, (8, 0)))
        assert rolls.dates == [TUESDAY] * 3
        assert manager.state is ERROR
        await manager.recover()
        await clock.advance(NOW)
        assert rolls.dates == [TUESDAY] * 3 + [THURSDAY]
        assert of(RollSucceeded, log) == [
            RollSucceeded(MONDAY, THURSDAY, 1, skipped=(TUESDAY, WEDNESDAY), observed_at=clock.now())
        ]


async def test_while_a_roll_is_owed_the_next_session_does_not_start():
    """Until the roll is done nothing is traded, though the market is open; the schedule is told truly."""
    retry = RetryPolicy(attempts=2, initial=18 * HOUR, maximum=18 * HOUR)
    manager, clock, _ = make_rolling(EVENING, Boom(), roll_retry=retry)
    async with running(manager) as log:
        await clock.advance_to(at(TUESDAY, (15, 0)))
        assert (manager.state, manager.scheduled_state, manager.can_trade) == (ENDED, ACTIVE, False)
        assert manager.next_boundary == at(TUESDAY, (21, 0))
        await clock.advance(HOUR)
        assert (manager.state, manager.can_trade) == (ACTIVE, True)
        walked = changes(log)[-3:]
        assert [(event.trigger, event.lateness) for event in walked] == [
            ("roll", 18 * HOUR),
            ("start_pre_market", at(TUESDAY, (15, 30)) - at(TUESDAY, (9, 0))),
            ("open_market", HOUR),
        ]


ERRORS = [
    ValueError("boom"),
    Boom(),
    ExceptionGroup("several", [ValueError("a"), ExceptionGroup("inner", [Boom()])]),
    StopAsyncIteration(),
    LookupError(),
    AssertionError("the books do not balance"),
    OSError(28, "No space left on device"),
    IllegalTransition(ACTIVE, "roll"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_fault_30_the_roll_raises_any_exception(error):
    """Any Exception, a group too, is a failed attempt: told as it is, tried again, and then ERROR."""
    manager, clock, rolls = make_rolling(EVENING, *[error] * 3)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert len(rolls.begun) == 3
        assert [event.error for event in of(RollFailed, log)] == [error] * 3
        assert manager.state is ERROR
        await manager.recover()
        await clock.advance(NOW)
        assert manager.session.date == TUESDAY


async def test_fault_30_the_roll_raises_from_a_task_group_of_its_own():
    """An error in a child of the roll arrives as the group that the child's task group makes of it."""

    async def child() -> None:
        raise Boom

    async def roll(next_date: date) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)

    manager, clock = make(EVENING, roll_session=roll)
    async with running(manager) as log:
        await clock.advance(HOUR)
        for event in of(RollFailed, log):
            assert isinstance(event.error, ExceptionGroup)
            assert [type(inner) for inner in event.error.exceptions] == [Boom]
        assert manager.state is ERROR


async def test_fault_30_an_error_that_cannot_even_be_shown():
    """An exception whose repr and str raise is a failed attempt like any other: the machine does not die of it."""

    class Unspeakable(Exception):
        def __repr__(self) -> str:
            raise Boom

        __str__ = __repr__

    manager, clock, _ = make_rolling(EVENING, *[Unspeakable()] * 3)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert len(of(RollFailed, log)) == 3
        assert manager.state is ERROR


async def test_fault_31_the_roll_raises_a_foreign_cancelled_error(anyio_backend):
    """A roll that awaited somebody else's cancelled task has failed; manager, retries and sibling tasks live on."""
    need_asyncio(anyio_backend)
    began: list[int] = []

    async def roll(next_date: date) -> None:
        began.append(1)
        if len(began) < 3:
            task = asyncio.create_task(asyncio.sleep(60))
            task.cancel()
            await task

    lived: list[bool] = []

    async def sibling() -> None:
        await manager.wait_for(PRE_MARKET)
        lived.append(True)

    manager, clock = make(EVENING, roll_session=roll)
    events = manager.events()
    async with anyio.create_task_group() as tasks:
        await tasks.start(manager.run)
        tasks.start_soon(sibling)
        await clock.advance_to(at(TUESDAY, (9, 0)))
        assert lived == [True]
        assert manager.state is PRE_MARKET
        manager.stop()
    log = [event async for event in events]
    assert [type(event.error) for event in of(RollFailed, log)] == [asyncio.CancelledError] * 2
    assert len(of(RollSucceeded, log)) == 1


async def test_fault_31_exhausted_by_foreign_cancellation(anyio_backend):
    """Attempts that all end in a foreign CancelledError lead to ERROR with that reason, not to silence."""
    need_asyncio(anyio_backend)
    manager, clock, _ = make_rolling(EVENING, *[asyncio.CancelledError("not ours")] * 3)
    async with running(manager):
        await clock.advance(HOUR)
        assert manager.state is ERROR
        assert "CancelledError('not ours')" in manager.status().reason


async def test_fault_31_a_roll_whose_own_task_is_cancelled_natively_is_not_lost_in_silence(anyio_backend):
    """When somebody cancels the very task that the roll runs in, nobody is left with a manager that died unnoticed."""
    need_asyncio(anyio_backend)

    async def roll(next_date: date) -> None:
        asyncio.current_task().cancel("from inside")
        await clock.sleep(SECOND)

    manager, clock = make(EVENING, roll_session=roll)
    went_on = False
    try:
        async with manager:
            await clock.advance(HOUR)
            went_on = True
            manager.fail("raises ManagerStopped if it has died")
    except asyncio.CancelledError:
        assert not went_on


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_fault_32_what_ends_the_program_propagates(anyio_backend, error):
    """KeyboardInterrupt and SystemExit in a roll come out as themselves, and the roll is neither done nor failed."""
    found = []

    async def roll(next_date: date) -> None:
        raise error("stop everything")

    async def main() -> None:
        manager, clock = make(EVENING, roll_session=roll)
        events = manager.events()
        found.extend((manager, events))
        async with manager:
            await clock.advance(HOUR)
            pytest.fail("the body must not go on")

    with pytest.raises(error):
        run(main, anyio_backend)
    manager, events = found
    assert manager.state is ENDED
    assert manager.session.date == MONDAY
    assert not any(isinstance(event, RollFailed | RollSucceeded) for event in events._events)


# ---- time ----


async def test_fault_33_a_roll_that_takes_too_long_is_cancelled():
    """At exactly roll_timeout an attempt is cancelled and has failed with RollTimeoutError, also a TimeoutError."""
    manager, clock, rolls = make_rolling(EVENING, HOUR, HOUR, HOUR)
    async with running(manager) as log:
        await clock.advance(HOUR)
        failed = of(RollFailed, log)
        assert [type(event.error) for event in failed] == [RollTimeoutError] * 3
        assert isinstance(failed[0].error, TimeoutError)
        assert "300 s" in str(failed[0].error)
        assert [event.observed_at for event in failed] == [
            END + 5 * MINUTE,
            END + 10 * MINUTE + SECOND,
            END + 15 * MINUTE + 3 * SECOND,
        ]
        assert {event.duration for event in failed} == {5 * MINUTE}
        assert rolls.done == []
        assert manager.state is ERROR
        assert "roll_timeout (300 s)" in manager.status().reason


async def test_fault_33_a_roll_just_within_its_timeout_succeeds():
    """An attempt that returns a microsecond before roll_timeout is a success, and no overrun."""
    manager, clock, _ = make_rolling(EVENING, 5 * MINUTE - MICROSECOND)
    async with running(manager) as log:
        await clock.advance(HOUR)
        (done,) = of(RollSucceeded, log)
        assert not done.overrun
        assert of(RollFailed, log) == []


async def test_fault_33_what_the_roll_raises_on_being_cancelled_is_told():
    """A roll that answers its cancellation with an error of its own has failed with that error."""

    async def roll(next_date: date) -> None:
        try:
            await clock.sleep(HOUR)
        except anyio.get_cancelled_exc_class() as cancelled:
            raise Boom from cancelled

    manager, clock = make(EVENING, roll_session=roll)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert [type(event.error) for event in of(RollFailed, log)] == [Boom] * 3


async def test_fault_33_without_a_timeout_a_roll_may_take_for_ever():
    """With `roll_timeout=None` nothing is ever cancelled."""
    manager, clock, rolls = make_rolling(EVENING, 20 * DAY, roll_timeout=None)
    async with running(manager) as log:
        await clock.advance(20 * DAY)
        assert rolls.done == []
        await clock.advance(15 * MINUTE)
        assert rolls.done[0] == TUESDAY
        assert not of(RollSucceeded, log)[0].overrun


async def test_fault_34_the_rolls_own_timeout_error_is_an_ordinary_failure():
    """A TimeoutError of the roll's own making is told as it is, and not taken for roll_timeout."""

    async def roll(next_date: date) -> None:
        with anyio.fail_after(0):
            await anyio.sleep_forever()

    manager, clock = make(EVENING, roll_session=roll)
    async with running(manager) as log:
        await clock.advance(HOUR)
        for event in of(RollFailed, log):
            assert type(event.error) is TimeoutError
            assert event.duration == NOW
        assert len(of(RollFailed, log)) == 3
        assert manager.state is ERROR


async def test_fault_34_a_deadline_of_asyncio_inside_the_roll(anyio_backend):
    """`asyncio.timeout` inside the roll, which cancels the roll's task, is an ordinary failure as well."""
    need_asyncio(anyio_backend)

    async def roll(next_date: date) -> None:
        async with asyncio.timeout(0):
            await asyncio.sleep(60)

    manager, clock = make(EVENING, roll_session=roll)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert [type(event.error) for event in of(RollFailed, log)] == [TimeoutError] * 3
        assert manager.state is ERROR


async def test_fault_35_a_roll_that_swallows_its_cancellation_has_succeeded_with_an_overrun():
    """A roll that returns in spite of its cancellation has rolled: success, flagged as overrun, never repeated."""
    began: list[date] = []

    async def roll(next_date: date) -> None:
        began.append(next_date)
        try:
            await clock.sleep(HOUR)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await clock.sleep(MINUTE)

    manager, clock = make(EVENING, roll_session=roll)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert began == [TUESDAY]
        assert of(RollSucceeded, log) == [
            RollSucceeded(MONDAY, TUESDAY, 1, overrun=True, observed_at=END + 6 * MINUTE, duration=6 * MINUTE)
        ]
        assert of(RollFailed, log) == []
        assert manager.session.date == TUESDAY


async def test_fault_36_a_roll_that_blocks_the_loop():
    """A roll that blocks the event loop is accepted, and what came late because of it tells its lateness."""
    now = datetime.now(UTC)
    milliseconds = timedelta(milliseconds=1)
    ending = Session(now.date(), now - HOUR, now + 20 * milliseconds)
    following = Session(now.date() + DAY, now + 40 * milliseconds, now + HOUR)

    async def roll(next_date: date) -> None:
        time.sleep(0.06)  # noqa: ASYNC251 -- blocking is the point

    config = LifecycleConfig(data_timeout=None, post_market_roll_delay=NOW, pre_market=10 * milliseconds)
    manager = SessionBoundaryManager(
        FixedSchedule([ending, following]),
        roll,
        config=config,
        session=ending.date,  # also where a busy machine starts it after the close
        clock=SystemClock(10 * milliseconds),
    )
    events = manager.events()  # from before the start: the roll may be over before the body runs
    log = []
    async with manager:
        with anyio.fail_after(5):
            async for event in events:
                log.append(event)
                if states([event]) == [ACTIVE] and event.session == following.date:
                    break
    log += [event async for event in events]
    (done,) = of(RollSucceeded, log)
    assert done.duration >= 60 * milliseconds
    assert not done.overrun
    roll_change, pre_market, opened = changes(log)[-3:]
    assert [roll_change.trigger, pre_market.trigger, opened.trigger] == ["roll", "start_pre_market", "open_market"]
    assert roll_change.lateness >= 60 * milliseconds
    assert pre_market.lateness >= 50 * milliseconds
    assert opened.lateness >= 40 * milliseconds


async def test_fault_39_a_roll_that_overruns_the_next_open():
    """A roll that lasts past the next open is one roll; the session is entered late, edge by edge, in order."""
    manager, clock, rolls = make_rolling(
        EVENING, 20 * HOUR, roll_timeout=None, data_timeout=5 * MINUTE, require_first_tick=False
    )  # returns on Tuesday at 17:30
    async with running(manager) as log:
        await clock.advance_to(at(TUESDAY, (17, 0)))
        assert (manager.state, manager.scheduled_state, manager.can_trade) == (ENDED, ACTIVE, False)
        await clock.advance_to(at(TUESDAY, (17, 30)))
        assert (manager.state, manager.can_trade) == (ACTIVE, True)
        assert rolls.dates == [TUESDAY]
        walked = changes(log)[-3:]
        assert [event.trigger for event in walked] == ["roll", "start_pre_market", "open_market"]
        assert [event.scheduled_at for event in walked] == [END, at(TUESDAY, (9, 0)), at(TUESDAY, (14, 30))]
        assert [event.catch_up for event in walked] == [True, True, True]
        await clock.advance(5 * MINUTE - MICROSECOND)
        assert manager.state is ACTIVE  # the silence is timed from the entry into ACTIVE
        await clock.advance(MICROSECOND)
        assert path(log)[-1] == "data_timeout"


async def test_fault_39_a_roll_that_overruns_the_next_sessions_end():
    """A roll that outlasts the whole next session leads through that one, and one more roll leads out of it."""
    manager, clock, rolls = make_rolling(EVENING, 30 * HOUR, roll_timeout=None)
    async with running(manager) as log:
        await clock.advance_to(at(WEDNESDAY, (3, 30)))
        assert rolls.dates == [TUESDAY, WEDNESDAY]
        assert path(log)[-6:] == [
            "roll",
            "start_pre_market",
            "open_market",
            "close_market",
            "end_session",
            "roll",
        ]
        assert (manager.state, manager.session.date) == (NOT_STARTED, WEDNESDAY)


async def test_a_step_of_the_wall_clock_neither_times_a_roll_out_nor_hurries_its_retry():
    """Timeout and back-off go by the monotonic clock: steps of the wall clock make no difference to them."""
    manager, clock, rolls = make_rolling(EVENING, Boom(), 4 * MINUTE)
    async with running(manager) as log:
        await clock.advance_to(END + SECOND / 2)
        clock.step(HOUR)
        await clock.advance(NOW)
        assert len(rolls.begun) == 1
        await clock.advance(SECOND / 2)
        assert len(rolls.begun) == 2
        clock.step(-HOUR)
        await clock.advance(4 * MINUTE - MICROSECOND)
        clock.step(3 * HOUR)
        await clock.advance(MICROSECOND)
        assert len(of(RollFailed, log)) == 1
        assert of(RollSucceeded, log)[0].duration == 4 * MINUTE
        assert manager.session.date == TUESDAY
