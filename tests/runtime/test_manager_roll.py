"""The roll: awaited once for each session, tried again when it fails, and never in the machine's way."""

import asyncio
import time
from datetime import UTC, date, datetime, timedelta

import anyio
import pytest

from session_lifecycle import (
    FixedSchedule,
    HorizonNear,
    IllegalTransition,
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
    Session,
    SessionBoundaryManager,
    StateChanged,
    SystemClock,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at, week
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

pytestmark = pytest.mark.anyio

EVENING = at(MONDAY, (21, 15))
"""Shortly before Monday's session ends."""
END = at(MONDAY, (21, 30))


def day_of(number: int) -> date:
    """Return the date of the season's session of that number, Monday the 4th being number 0."""
    return MONDAY + timedelta(weeks=number // 5, days=number % 5)


class Boom(Exception):
    pass


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
            manager.end_session("it has ended")
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
        EVENING, 20 * HOUR, roll_timeout=None, data_timeout=5 * MINUTE
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
        async with asyncio.timeout(0.02), manager:
            await clock.advance_to(END + MINUTE)
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
        manager.end_session("early")
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
        manager.end_session("fire drill")
        await clock.advance_to(at(TUESDAY, (8, 0)))
        assert rolls.begun == [(TUESDAY, at(MONDAY, (16, 0)))]
        await clock.advance_to(at(TUESDAY, (22, 0)))
        assert rolls.dates == [TUESDAY, WEDNESDAY]


# ---- sessions missed ----


async def test_a_session_in_the_past_owes_one_roll_to_the_present_one():
    """With `session=` in the past its edges are walked, and one roll leads to the present and lists the others."""
    manager, clock, rolls = make_rolling(at(THURSDAY, (16, 0)), MINUTE, session=MONDAY)
    events = manager.events()
    async with manager:
        assert (manager.state, manager.session.date) == (ENDED, MONDAY)
        assert (manager.scheduled_state, manager.can_trade) == (ACTIVE, False)
        await clock.advance(MINUTE)
        assert (manager.state, manager.session.date) == (ACTIVE, THURSDAY)
        assert rolls.dates == [THURSDAY]
    log = [event async for event in events]
    assert path(log) == [
        "start_pre_market",
        "open_market",
        "close_market",
        "end_session",
        "roll",
        "start_pre_market",
        "open_market",
    ]
    assert all(event.catch_up for event in changes(log))
    assert of(RollSucceeded, log)[0].skipped == (TUESDAY, WEDNESDAY)


async def test_each_missed_session_is_rolled_into_oldest_first():
    """Under EACH every missed session is rolled into and walked, in order, and none is listed as skipped."""
    manager, clock, rolls = make_rolling(
        at(THURSDAY, (16, 0)), MINUTE, MINUTE, session=MONDAY, missed_sessions=MissedSessions.EACH
    )
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert rolls.done == [TUESDAY, WEDNESDAY, THURSDAY]
        full = ["start_pre_market", "open_market", "close_market", "end_session", "roll"]
        assert path(log) == full * 3 + ["start_pre_market", "open_market"]
        assert [event.session for event in changes(log) if event.trigger == "roll"] == rolls.done
        assert all(event.skipped == () for event in of(RollSucceeded, log))
        assert (manager.state, manager.session.date) == (ACTIVE, THURSDAY)


@pytest.mark.parametrize("policy", MissedSessions)
@pytest.mark.parametrize("limit", [1, 2, 10])
async def test_as_many_missed_sessions_as_allowed_are_caught_up_with(policy, limit):
    """Exactly max_catch_up_sessions to be rolled or skipped is still done without asking anybody."""
    manager, clock, rolls = make_rolling(
        at(day_of(limit), (16, 0)), session=MONDAY, missed_sessions=policy, max_catch_up_sessions=limit
    )
    async with running(manager):
        await clock.advance(NOW)
        assert (manager.state, manager.session.date) == (ACTIVE, day_of(limit))
        assert len(rolls.begun) == (1 if policy is MissedSessions.LATEST else limit)


@pytest.mark.parametrize("policy", MissedSessions)
@pytest.mark.parametrize("limit", [1, 2, 10])
async def test_more_missed_sessions_than_allowed_are_for_a_person_to_decide(policy, limit):
    """One more than max_catch_up_sessions is an ERROR with nothing rolled; a person's recover() then rolls them all."""
    manager, clock, rolls = make_rolling(
        at(day_of(limit + 1), (16, 0)), session=MONDAY, missed_sessions=policy, max_catch_up_sessions=limit
    )
    async with running(manager) as log:
        await clock.advance(NOW)
        assert manager.state is ERROR
        assert rolls.begun == []
        assert f"more than {limit} sessions (max_catch_up_sessions)" in manager.status().reason
        assert manager.status().roll_owed
        await manager.recover()
        await clock.advance(NOW)
        assert (manager.state, manager.session.date) == (ACTIVE, day_of(limit + 1))
        if policy is MissedSessions.LATEST:
            assert of(RollSucceeded, log)[0].skipped == tuple(day_of(n) for n in range(1, limit + 1))
            assert len(rolls.begun) == 1
        else:
            assert rolls.dates == [day_of(n) for n in range(1, limit + 2)]


async def test_the_cap_binds_again_after_a_persons_decision():
    """A decision about one absence is none about the next: later the cap holds as before."""
    manager, clock, rolls = make_rolling(at(day_of(3), (16, 0)), session=MONDAY, max_catch_up_sessions=2)
    async with running(manager):
        assert manager.state is ERROR
        await manager.recover()
        await clock.advance(NOW)
        assert manager.session.date == day_of(3)
        clock.step(day_of(6) - day_of(3))
        await clock.advance(NOW)
        assert manager.state is ERROR
        assert len(rolls.begun) == 1


@pytest.mark.parametrize("policy", MissedSessions)
async def test_a_roll_by_hand_is_not_capped(policy):
    """roll() is a person's decision too: it rolls however many sessions were missed."""
    manager, _, _ = make_rolling(
        at(day_of(8), (16, 0)), session=MONDAY, auto_roll=False, max_catch_up_sessions=2, missed_sessions=policy
    )
    async with running(manager):
        assert manager.state is ENDED
        done = await manager.roll()
        if policy is MissedSessions.LATEST:
            assert done.next_session == day_of(8)
            assert len(done.skipped) == 7
        else:
            assert done.next_session == day_of(1)
            assert manager.state is ENDED  # the next one is by hand, too
            assert (await manager.roll()).next_session == day_of(2)


async def test_a_session_in_the_future_is_waited_for():
    """With `session=` in the future the manager waits for its pre-market, and rolls nothing."""
    manager, clock, rolls = make_rolling(at(MONDAY, (16, 0)), session=WEDNESDAY)
    async with running(manager) as log:
        assert (manager.state, manager.session.date, manager.scheduled_state) == (NOT_STARTED, WEDNESDAY, ACTIVE)
        await clock.advance_to(at(WEDNESDAY, (9, 0)) - MICROSECOND)
        assert (manager.state, manager.scheduled_state) == (NOT_STARTED, NOT_STARTED)
        assert changes(log) == []
        await clock.advance(MICROSECOND)
        assert manager.state is PRE_MARKET
        assert changes(log)[0].lateness == NOW
        assert rolls.begun == []


async def test_the_present_session_given_by_hand_is_no_different():
    """`session=` naming the present session starts like no `session=` at all."""
    manager, clock, rolls = make_rolling(at(MONDAY, (16, 0)), session=MONDAY)
    async with running(manager) as log:
        await clock.advance(NOW)
        assert path(log) == ["start_pre_market", "open_market"]
        assert rolls.begun == []


async def test_fault_23_the_wall_clock_jumps_ten_years():
    """A forward step of ten years is an ERROR that names the cap: no roll, and no walk through the years."""
    manager, clock, rolls = make_rolling(at(MONDAY, (16, 0)))
    async with running(manager) as log:
        log.clear()
        clock.step(timedelta(days=3653))
        await clock.advance(DAY)
        assert manager.state is ERROR
        assert rolls.begun == []
        assert "max_catch_up_sessions" in manager.status().reason
        assert path(log) == ["close_market", "end_session", "fail"]
        assert manager.session.date == MONDAY
        clock.step(-timedelta(days=3653))
        await clock.advance(NOW)
        await manager.recover()  # the clock was wrong: the roll is still done once
        await clock.advance(NOW)
        assert rolls.dates == [TUESDAY]


# ---- the end of knowledge ----


async def test_fault_18_the_end_of_knowledge_is_told_thirty_days_ahead():
    """Each session that begins within thirty days of the end of the schedule's knowledge tells that it ends."""
    last = season().session_on(day_of(59))
    first_told = last.close - timedelta(days=30)
    manager, clock, _ = make_rolling(first_told - timedelta(days=3))
    async with running(manager) as log:
        await clock.advance_to(first_told - timedelta(days=1))
        assert of(HorizonNear, log) == []
        await clock.advance(timedelta(days=5))
        told = of(HorizonNear, log)
        assert told != []
        assert {event.known_until for event in told} == {last.date}
        assert len({event.session for event in told}) == len(told)
        assert all(first_told <= event.observed_at for event in told)
        assert told[0].observed_at - first_told < DAY


@pytest.mark.parametrize("policy", MissedSessions)
async def test_fault_18_at_the_end_of_knowledge_is_error_not_closed(policy):
    """When the last known session has ended the state is ERROR, which says so; no next boundary is known."""
    manager, clock = make(
        at(THURSDAY, (16, 0)), schedule=week(), config=LifecycleConfig(data_timeout=None, missed_sessions=policy)
    )
    async with running(manager) as log:
        await clock.advance_to(at(FRIDAY, (21, 15)))
        assert manager.state is POST_MARKET
        assert manager.next_boundary == at(FRIDAY, (21, 30))
        await clock.advance(15 * MINUTE)
        assert manager.state is ERROR
        assert "which does not mean that the market is closed" in manager.status().reason
        assert "2024-03-08" in manager.status().reason
        assert (manager.scheduled_state, manager.next_boundary) == (ENDED, None)
        assert manager.session.date == FRIDAY
        assert path(log)[-2:] == ["end_session", "fail"]
        await clock.advance(30 * DAY)
        assert manager.state is ERROR
        assert path(log).count("fail") == 1
        await manager.recover()  # no schedule has come to know more
        await clock.advance(NOW)
        assert manager.state is ERROR


async def test_fault_18_a_schedule_that_learns_more_is_asked_again():
    """A schedule that knows more by the time of recover() takes the manager on."""

    class Growing(FixedSchedule):
        pass

    growing = Growing(week().sessions(MONDAY, FRIDAY))
    manager, clock = make(at(FRIDAY, (16, 0)), schedule=growing)
    async with running(manager):
        await clock.advance_to(at(FRIDAY, (22, 0)))
        assert manager.state is ERROR
        growing.__init__(season().sessions(MONDAY, day_of(9)))
        await manager.recover()
        await clock.advance(NOW)
        assert (manager.state, manager.session.date) == (NOT_STARTED, day_of(5))
        assert manager.next_boundary == at(day_of(5), (9, 0))


async def test_a_schedule_that_raises_is_an_error_with_its_reason():
    """A schedule whose own code fails in mid-run leads to ERROR, and recover() works once it is well again."""

    class Fragile(FixedSchedule):
        broken = False

        def next_session(self, day: date) -> Session:
            if self.broken:
                raise Boom("no network")
            return super().next_session(day)

    fragile = Fragile(season().sessions(MONDAY, day_of(50)))
    manager, clock = make(at(MONDAY, (16, 0)), schedule=fragile)
    async with running(manager) as log:
        fragile.broken = True
        await clock.advance_to(at(TUESDAY, (16, 0)))
        assert manager.state is ERROR
        assert "Boom('no network')" in manager.status().reason
        fragile.broken = False
        await manager.recover()
        await clock.advance(NOW)
        assert (manager.state, manager.session.date) == (ACTIVE, TUESDAY)
        assert states(log).count(ERROR) == 1
