"""Scopes: code that lasts as long as a state does, and loops over sessions."""

import asyncio
from datetime import date, datetime, timedelta

import anyio
import anyio.lowlevel
import pytest

from session_lifecycle import (
    ConfigurationError,
    FixedSchedule,
    LifecycleConfig,
    ManagerStopped,
    MemoryJournal,
    NotRunningError,
    ReentrancyError,
    RollFailed,
    Session,
    SessionBoundaryManager,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at, session
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
    TIMEOUT,
    TUESDAY,
    WEDNESDAY,
    make,
    make_rolling,
    need_asyncio,
    of,
    roll_nothing,
    running,
    season,
)
from tests.helpers.scopes import CLOSE, EITHER, MORNING, NOON, OPEN, Boom, Life, readers

pytestmark = pytest.mark.anyio


# ---- entering, and the end ----


@pytest.mark.parametrize("start", [NOON, OPEN, CLOSE - MICROSECOND])
async def test_a_scope_is_entered_at_once_where_the_state_holds(start):
    """Where the state is one of those given, the body begins at once, with the session."""
    manager, clock = make(start)
    async with running(manager), manager.during(ACTIVE) as current:
        assert current == manager.session == session(MONDAY)
        assert clock.now() == start


async def test_a_body_lives_from_boundary_to_boundary():
    """The body begins at exactly the instant the state is entered, and is cancelled at the one it is left."""
    manager, clock = make(MORNING)
    life = Life(manager, ACTIVE)
    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(life)
        await clock.advance_to(OPEN - MICROSECOND)
        assert life.began == []
        await clock.advance(MICROSECOND)
        assert life.began == [(session(MONDAY), OPEN)]
        await clock.advance_to(CLOSE - MICROSECOND)
        assert life.ended == []
        await clock.advance(MICROSECOND)
        assert life.ended == life.left == [CLOSE]


@pytest.mark.parametrize(
    ("grace", "reason"),
    [(None, "during() is over"), (MINUTE, "the grace of during() is over")],
)
async def test_a_cancelled_body_is_told_why(grace, reason):
    """Its cancellation has the reason, which a log of the application's cleanup shows."""
    manager, clock = make(NOON)
    told: list[str] = []

    async def body() -> None:
        async with manager.during(ACTIVE, grace=grace):
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class() as cancelled:
                told.append(f"{cancelled} {getattr(cancelled, 'reason', '')}")
                raise

    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(body)
        await clock.advance_to(CLOSE + MINUTE)
    assert len(told) == 1
    assert reason in told[0]


@pytest.mark.parametrize(
    ("wanted", "begins", "ends"),
    [
        ([PRE_MARKET], at(MONDAY, (9, 0)), OPEN),
        ([POST_MARKET], CLOSE, at(MONDAY, (21, 30))),
        ([ENDED], at(MONDAY, (21, 30)), at(MONDAY, (21, 31))),
        ([PRE_MARKET, ACTIVE], at(MONDAY, (9, 0)), CLOSE),
        ([NOT_STARTED], MORNING, at(MONDAY, (9, 0))),
        ([POST_MARKET, ENDED], CLOSE, at(MONDAY, (21, 31))),
        ([PRE_MARKET, ACTIVE, POST_MARKET, ENDED], at(MONDAY, (9, 0)), at(MONDAY, (21, 31))),
    ],
)
async def test_each_state_and_several_in_a_row(wanted, begins, ends):
    """Any state, and any run of states, may be lived through, from its first boundary to its last."""
    manager, clock, _ = make_rolling(MORNING, MINUTE)
    life = Life(manager, *wanted)
    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(life)
        await clock.advance_to(at(TUESDAY, (12, 0)))
        assert [when for _, when in life.began] == [begins]
        assert life.ended == life.left == [ends]


@EITHER
async def test_a_body_that_ends_by_itself_leaves_the_block(grace):
    """A body that ends before the state does leaves the block there and then, and nothing comes after it."""
    manager, clock = make(NOON)
    left: list[datetime] = []

    async def work() -> None:
        async with manager.during(ACTIVE, grace=grace):
            await clock.sleep(HOUR)
        left.append(clock.now())
        await clock.sleep(DAY)
        left.append(clock.now())

    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await clock.advance(2 * DAY)
        assert left == [NOON + HOUR, NOON + HOUR + DAY]


async def test_a_body_without_a_wait_runs_through():
    """A body that never waits is not interrupted, whatever it does, and the state's end is seen after it."""
    manager, _ = make(NOON)
    async with running(manager):
        async with manager.during(ACTIVE):
            manager.fail("in the middle of it")
            seen = manager.state
        assert seen is ERROR


@pytest.mark.parametrize("make_journal", [lambda: None, MemoryJournal], ids=["without a journal", "with a journal"])
async def test_a_body_that_ends_its_session_is_cancelled(make_journal):
    """In its own call, or at the next wait: the block is left without an error."""
    manager, clock = make(NOON, journal=make_journal())
    async with running(manager):
        async with manager.during(ACTIVE):
            await manager.end_session("in the middle of it")
            await anyio.sleep_forever()
        await clock.advance(NOW)
        assert manager.session.date == TUESDAY


async def test_the_cleanup_of_a_cancelled_body_may_wait_behind_a_shield():
    """What a cancelled body does behind a shield is finished before the block is left."""
    manager, clock = make(NOON)
    told: list[tuple[str, datetime]] = []

    async def work() -> None:
        async with manager.during(ACTIVE):
            try:
                await anyio.sleep_forever()
            finally:
                told.append(("cancelled", clock.now()))
                with anyio.CancelScope(shield=True):
                    await clock.sleep(2 * SECOND)
                    told.append(("orders withdrawn", clock.now()))
        told.append(("left", clock.now()))

    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await clock.advance_to(at(MONDAY, (22, 0)))
        done = CLOSE + 2 * SECOND
        assert told == [("cancelled", CLOSE), ("orders withdrawn", done), ("left", done)]


async def test_tasks_of_the_body_end_with_it():
    """Tasks that the body has started in a task group of its own are cancelled with it."""
    manager, clock = make(NOON)
    ended: list[tuple[int, datetime]] = []

    async def child(number: int) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append((number, clock.now()))

    async def work() -> None:
        async with manager.during(ACTIVE), anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(child, number)

    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await clock.advance_to(at(MONDAY, (22, 0)))
        assert sorted(ended) == [(number, CLOSE) for number in range(3)]


@EITHER
async def test_a_nursery_of_trio_in_the_body_is_left_without_error(anyio_backend, grace):
    """On trio the body may use a nursery: its cancellation, which comes as a group, is no error."""
    if anyio_backend[0] != "trio":
        pytest.skip("nurseries are trio's")
    import trio

    manager, clock = make(NOON)
    left: list[datetime] = []

    async def work() -> None:
        async with manager.during(ACTIVE, grace=grace), trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)
        left.append(clock.now())

    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await clock.advance_to(at(TUESDAY, (8, 0)))
        assert left == [CLOSE + (grace or NOW)]


# ---- which states ----


async def test_the_market_is_open_through_a_silence():
    """`during(ACTIVE, TIMEOUT)` goes on through TIMEOUT and back, to the close."""
    manager, clock = make(MORNING, config=LifecycleConfig(data_timeout=5 * MINUTE))
    open_, live = Life(manager, ACTIVE, TIMEOUT), Life(manager, ACTIVE)
    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(open_)
        tasks.start_soon(live)
        await clock.advance_to(OPEN + 6 * MINUTE)
        assert manager.state is TIMEOUT
        assert (open_.ended, live.ended) == ([], [OPEN + 5 * MINUTE])
        manager.record_data_received()
        await clock.advance_to(OPEN + 10 * MINUTE)
        assert manager.state is ACTIVE
        assert open_.ended == []
        await clock.advance_to(CLOSE)
        assert open_.left == [CLOSE]


async def test_an_error_ends_the_scope_at_once():
    """ERROR is a state like any other: where it is not one of those given, the body is cancelled as it comes."""
    manager, clock = make(NOON)
    life, waiting = Life(manager, ACTIVE, TIMEOUT), Life(manager, ERROR)
    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(life)
        tasks.start_soon(waiting)
        await clock.advance(HOUR)
        manager.fail("sunspots")
        await clock.advance(NOW)
        assert life.left == [NOON + HOUR]
        await clock.advance(MINUTE)
        await manager.recover()
        await clock.advance(NOW)
        assert waiting.began[0][1] == NOON + HOUR
        assert waiting.left == [NOON + HOUR + MINUTE]


async def test_a_walk_out_of_the_state_and_back_ends_the_scope():
    """A body does not survive that the state was left and entered again, even at one instant."""
    manager, clock = make(NOON)
    life = Life(manager, ACTIVE)
    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(life)
        await clock.advance(HOUR)
        manager.fail("sunspots")
        await manager.recover()
        assert manager.state is ACTIVE
        await clock.advance(NOW)
        assert life.left == [NOON + HOUR]


async def test_states_of_zero_width_are_waited_past():
    """A state that is over as it begins is not entered; a run of states with some width is, at its first instant."""
    days = [MONDAY + n * DAY for n in range(3)]
    always = FixedSchedule([Session(day, at(day, (0, 0)), at(day + DAY, (0, 0))) for day in days])
    manager, clock = make(at(MONDAY, (12, 0)), schedule=always)
    thin = [Life(manager, state) for state in (PRE_MARKET, POST_MARKET, NOT_STARTED)]
    wide = Life(manager, PRE_MARKET, ACTIVE)
    async with running(manager), anyio.create_task_group() as tasks:
        await clock.advance(NOW)
        for life in (*thin, wide):
            tasks.start_soon(life.again_and_again)
        await clock.advance_to(at(WEDNESDAY, (12, 0)))
        assert [life.began for life in thin] == [[], [], []]
        assert [(current.date, when) for current, when in wide.began] == [
            (MONDAY, at(MONDAY, (12, 0))),
            (TUESDAY, at(TUESDAY, (0, 0))),
            (WEDNESDAY, at(WEDNESDAY, (0, 0))),
        ]
        manager.stop()


async def test_what_a_suspend_has_passed_through_is_not_entered():
    """A scope that waits for a state is not entered for one that a catch-up walked through."""
    manager, clock = make(MORNING)
    life = Life(manager, ACTIVE)
    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(life)
        await clock.advance(NOW)
        clock.step(14 * HOUR)
        await clock.advance(NOW)
        assert life.began == []
        await clock.advance_to(at(TUESDAY, (15, 0)))
        assert life.began == [(session(TUESDAY), at(TUESDAY, (14, 30)))]
        tasks.cancel_scope.cancel()


# ---- errors and cancellations ----


@EITHER
@pytest.mark.parametrize(
    "error",
    [
        Boom("as it is"),
        ExceptionGroup("the body's own", [Boom(), ValueError()]),
        ExceptionGroup("of one", [Boom()]),
        TimeoutError("late"),
        StopAsyncIteration("no more"),
        StopIteration("no more"),
        ManagerStopped("of another", ACTIVE),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_the_body_raises_comes_out_as_it_is(grace, error):
    """The body's own error passes through, that very object, in no group and with no cause that it had not."""
    manager, clock = make(NOON)
    async with running(manager):
        with pytest.raises(type(error)) as info:  # noqa: PT012 -- leaving is what raises
            async with manager.during(ACTIVE, grace=grace):
                await anyio.lowlevel.checkpoint()
                raise error
        assert info.value is error
        assert error.__cause__ is None
        assert not isinstance(error.__context__, BaseExceptionGroup)
        await clock.advance_to(CLOSE)
        assert manager.state is POST_MARKET


@EITHER
async def test_the_error_of_a_task_group_in_the_body_comes_out_as_its_group(grace):
    """A task group in the body raises the group that it would raise anywhere."""
    manager, _ = make(NOON)

    async def child() -> None:
        raise Boom

    async with running(manager):
        with pytest.raises(ExceptionGroup) as info:  # noqa: PT012 -- leaving is what raises
            async with manager.during(ACTIVE, grace=grace), anyio.create_task_group() as tasks:
                tasks.start_soon(child)
                await anyio.sleep_forever()
        assert [type(error) for error in info.value.exceptions] == [Boom]


@EITHER
async def test_an_error_in_the_cleanup_of_a_cancelled_body_comes_out(grace):
    """A body that answers its cancellation with an error leaves the block with that error."""
    manager, clock = make(NOON)
    caught: list[tuple[str, datetime]] = []

    async def work() -> None:
        try:
            async with manager.during(ACTIVE, grace=grace):
                try:
                    await anyio.sleep_forever()
                finally:
                    raise Boom("no broker")
        except Boom as error:
            caught.append((str(error), clock.now()))

    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await clock.advance_to(at(TUESDAY, (8, 0)))
        assert caught == [("no broker", CLOSE + (grace or NOW))]


@EITHER
async def test_an_error_among_the_cancelled_tasks_of_the_body_comes_out_alone(grace):
    """Where one of the body's tasks fails on being cancelled, its error comes out, and no cancellation with it."""
    manager, clock = make(NOON)
    caught: list[BaseException] = []

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise Boom("no broker")

    async def work() -> None:
        try:
            async with manager.during(ACTIVE, grace=grace), anyio.create_task_group() as tasks:
                tasks.start_soon(child)
                tasks.start_soon(anyio.sleep_forever)
                await anyio.sleep_forever()
        except BaseException as error:  # noqa: BLE001 -- which kind it is, is the question
            caught.append(error)

    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await clock.advance_to(at(TUESDAY, (8, 0)))
        (group,) = caught
        assert isinstance(group, ExceptionGroup)
        assert [type(error) for error in group.exceptions] == [Boom]


@EITHER
async def test_a_cancellation_from_outside_passes_through(grace):
    """A cancellation of what the block is in passes through the block, and ends what comes after it too."""
    manager, clock = make(NOON)
    after: list[str] = []
    async with running(manager):
        with anyio.CancelScope() as outer:
            async with manager.during(ACTIVE, grace=grace):
                outer.cancel()
                await anyio.sleep_forever()
            after.append("this must not run")
        assert outer.cancelled_caught
        assert after == []
        await clock.advance_to(CLOSE)
        assert manager.state is POST_MARKET


@EITHER
async def test_a_cancellation_while_waiting_passes_through(grace):
    """A cancellation while the state is waited for passes through, and leaves no reader."""
    manager, clock = make(MORNING)
    async with running(manager):
        before = readers(manager)
        with anyio.CancelScope() as outer:
            outer.cancel()
            async with manager.during(ACTIVE, grace=grace):
                pytest.fail("the state has not come")
        assert outer.cancelled_caught
        await clock.advance_to(OPEN)
        assert readers(manager) == before
        assert manager.state is ACTIVE


@EITHER
async def test_an_error_in_the_cleanup_after_a_cancellation_from_outside_is_not_lost(grace):
    """A body cancelled from outside that fails in its cleanup leaves the block with that error."""
    manager, _ = make(NOON)
    caught: list[str] = []
    async with running(manager):
        with anyio.CancelScope() as outer:
            try:
                async with manager.during(ACTIVE, grace=grace):
                    outer.cancel()
                    try:
                        await anyio.sleep_forever()
                    finally:
                        raise Boom("no broker")
            except Boom as error:
                caught.append(str(error))
        assert caught == ["no broker"]


@EITHER
async def test_a_native_cancellation_passes_through(anyio_backend, grace):
    """On asyncio a native `task.cancel()` of the body's task ends that task as it would anywhere."""
    need_asyncio(anyio_backend)
    manager, clock = make(NOON)
    after: list[str] = []

    async def work() -> None:
        async with manager.during(ACTIVE, grace=grace):
            await asyncio.sleep(3600)
        after.append("this must not run")

    async with running(manager):
        task = asyncio.ensure_future(work())
        await clock.advance(MINUTE)
        task.cancel()
        await clock.advance(MINUTE)
        assert task.cancelled()
        assert after == []


@EITHER
async def test_a_deadline_of_asyncio_around_the_block_works(anyio_backend, grace):
    """`asyncio.timeout` around the block raises its TimeoutError."""
    need_asyncio(anyio_backend)
    manager, _ = make(NOON)
    async with running(manager):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001), manager.during(ACTIVE, grace=grace):
                await asyncio.sleep(3600)


# ---- grace ----


async def test_with_grace_the_body_may_go_on_for_exactly_so_long():
    """A body with grace is told nothing when the state is over, and cancelled when its grace is."""
    manager, clock = make(NOON)
    life = Life(manager, ACTIVE, grace=10 * MINUTE)
    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(life)
        await clock.advance_to(CLOSE + 10 * MINUTE - MICROSECOND)
        assert manager.state is POST_MARKET
        assert life.ended == []
        await clock.advance(MICROSECOND)
        assert life.ended == life.left == [CLOSE + 10 * MINUTE]


async def test_a_body_may_end_by_itself_within_its_grace():
    """A body that looks at the state, and ends within its grace, is not cancelled."""
    manager, clock = make(NOON)
    told: list[tuple[str, datetime]] = []

    async def work() -> None:
        async with manager.during(ACTIVE, grace=10 * MINUTE):
            while manager.state is ACTIVE:
                await clock.sleep(7 * MINUTE)
            told.append(("closing", clock.now()))
            await clock.sleep(MINUTE)
            told.append(("closed", clock.now()))
        told.append(("left", clock.now()))

    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await clock.advance_to(at(MONDAY, (23, 0)))
        seen = NOON + 43 * 7 * MINUTE  # the first look after the close
        assert told == [("closing", seen), ("closed", seen + MINUTE), ("left", seen + MINUTE)]


async def test_an_error_within_the_grace_comes_out_as_it_is():
    """A body that fails within its grace leaves the block with its own error, there and then."""
    manager, clock = make(NOON)
    error = Boom("too late")
    caught: list[tuple[BaseException, datetime]] = []

    async def work() -> None:
        try:
            async with manager.during(ACTIVE, grace=10 * MINUTE):
                await manager.wait_for(POST_MARKET)
                await clock.sleep(MINUTE)
                raise error
        except Boom as raised:
            caught.append((raised, clock.now()))

    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await clock.advance_to(at(MONDAY, (23, 0)))
        assert caught == [(error, CLOSE + MINUTE)]


async def test_a_cancellation_from_outside_within_the_grace_passes_through():
    """Within the grace, a cancellation from outside ends the body at once, and what comes after it."""
    manager, clock = make(NOON)
    life = Life(manager, ACTIVE, grace=10 * MINUTE)
    async with running(manager):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(life)
            await clock.advance_to(CLOSE + MINUTE)
            tasks.cancel_scope.cancel()
        assert life.ended == [CLOSE + MINUTE]
        assert life.left == []


async def test_the_grace_runs_from_the_first_end_of_the_state():
    """The grace runs from the moment the state is over, and does not end because the state comes back."""
    manager, clock = make(MORNING, config=LifecycleConfig(data_timeout=5 * MINUTE))
    life = Life(manager, ACTIVE, grace=10 * MINUTE)
    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(life)
        await clock.advance_to(OPEN + 6 * MINUTE)
        assert manager.state is TIMEOUT
        while clock.now() < OPEN + 15 * MINUTE:
            manager.record_data_received()
            assert life.ended == []
            await clock.advance(MINUTE)
        assert manager.state is ACTIVE
        assert life.left == [OPEN + 15 * MINUTE]


async def test_a_clock_that_cannot_time_the_grace_ends_it(caplog):
    """Where the clock's `sleep` fails there is no grace: the body is cancelled, without an error but a log line."""

    class Broken(SimulatedClock):
        async def sleep(self, delta: timedelta) -> None:
            raise OSError("no such clock")

    clock = Broken(NOON)
    manager = SessionBoundaryManager(season(), roll_nothing, config=DEAF, clock=clock)
    life = Life(manager, ACTIVE, grace=10 * MINUTE)
    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(life)
        await clock.advance_to(CLOSE)
        assert life.left == [CLOSE]
    assert "no such clock" in caplog.text


# ---- misuse ----


async def test_a_scope_needs_a_running_manager():
    """Entering before the start is a NotRunningError which names the call; making the scope is not."""
    manager, _ = make(NOON)
    scope = manager.during(ACTIVE)
    with pytest.raises(NotRunningError, match=r"during\(\)"):
        async with scope:
            pytest.fail("it does not run")
    later = manager.during(ACTIVE)
    with pytest.raises(NotRunningError, match=r"sessions\(\)"):
        manager.sessions()
    async with running(manager), later as current:
        assert current.date == MONDAY


async def test_a_scope_inside_the_roll_is_refused():
    """Inside the roll, waiting for a state would be waiting for itself: a ReentrancyError at once."""
    refused: list[str] = []

    async def roll(next_date: date) -> None:
        for state in (NOT_STARTED, ENDED):
            try:
                async with manager.during(state):
                    pytest.fail("it would wait for itself")
            except ReentrancyError as error:
                refused.append(error.call)

    manager, clock = make(at(MONDAY, (21, 0)), roll_session=roll)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert refused == ["during()", "during()"]
        assert of(RollFailed, log) == []
        assert manager.session.date == TUESDAY


@pytest.mark.parametrize("states", [(), ("ACTIVE",), (ACTIVE, None), ([ACTIVE],), (2,)])
async def test_a_scope_takes_states(states):
    """Anything but one or more states is a TypeError, before the scope is entered."""
    manager, _ = make(NOON)
    with pytest.raises(TypeError, match=r"during\(\) takes one or more SessionState"):
        manager.during(*states)


@pytest.mark.parametrize("grace", [-SECOND, 5, "5"])
async def test_a_bad_grace_is_refused(grace):
    """A grace is a timedelta; a bare number, or one below zero, is refused before the scope is entered."""
    manager, _ = make(NOON)
    with pytest.raises(ConfigurationError, match="grace"):
        manager.during(ACTIVE, grace=grace)
