"""Scopes: code that lasts as long as a state does, and loops over sessions."""

import asyncio
import contextlib
import gc
from datetime import UTC, date, datetime, timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from session_lifecycle import (
    ConfigurationError,
    FixedSchedule,
    LifecycleConfig,
    ManagerStopped,
    MissedSessions,
    NotRunningError,
    ReentrancyError,
    RollFailed,
    Session,
    SessionBoundaryManager,
    SessionState,
    SystemClock,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at, session
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
    make,
    make_rolling,
    need_asyncio,
    of,
    roll_nothing,
    running,
    season,
)

pytestmark = pytest.mark.anyio

MORNING = at(MONDAY, (8, 0))
OPEN = at(MONDAY, (14, 30))
NOON = at(MONDAY, (16, 0))
CLOSE = at(MONDAY, (21, 0))

EITHER = pytest.mark.parametrize("grace", [None, HOUR], ids=["at once", "with grace"])


class Boom(Exception):
    """What a body of these tests fails with."""


class Life:
    """A body that notes when it began and when it ended, and whether it was cancelled."""

    def __init__(self, manager: SessionBoundaryManager, *states: SessionState, **options: Any) -> None:
        self.manager = manager
        self.states = states
        self.options = options
        self.began: list[tuple[Session, datetime]] = []
        self.ended: list[datetime] = []
        self.left: list[datetime] = []

    async def __call__(self) -> None:
        """Live once, until cancelled."""
        clock = self.manager.clock
        async with self.manager.during(*self.states, **self.options) as current:
            self.began.append((current, clock.now()))
            try:
                await anyio.sleep_forever()
            finally:
                self.ended.append(clock.now())
        self.left.append(clock.now())

    async def again_and_again(self) -> None:
        """Live in every session, until the manager stops."""
        with contextlib.suppress(ManagerStopped):
            while True:
                await self()


def readers(manager: SessionBoundaryManager) -> int:
    """Count those that the manager tells of its events."""
    return len(manager._host.broadcast._subscriptions)


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
            manager.end_session("in the middle of it")
            seen = manager.state
        assert seen is ENDED


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


# ---- the manager's end ----


@EITHER
@pytest.mark.parametrize("how", ["left", "stopped", "failed"])
async def test_the_managers_end_cancels_the_body(grace, how):
    """A body outside the manager is cancelled when that ends; its grace, and its cleanup, pass by themselves."""
    manager, clock = make(NOON)
    told: list[tuple[str, datetime]] = []
    left = anyio.Event()

    async def work() -> None:
        async with manager.during(ACTIVE, grace=grace):
            try:
                await anyio.sleep_forever()
            finally:
                told.append(("cancelled", clock.now()))
                with anyio.CancelScope(shield=True):
                    await clock.sleep(2 * SECOND)
        told.append(("left", clock.now()))
        left.set()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            with contextlib.suppress(Boom):
                async with manager:
                    tasks.start_soon(work)
                    await clock.advance(HOUR)
                    assert told == []
                    if how == "stopped":
                        manager.stop()
                        await left.wait()
                    if how == "failed":
                        raise Boom
    ended = NOON + HOUR + (grace or NOW)
    assert told == [("cancelled", ended), ("left", ended + 2 * SECOND)]


async def test_leaving_within_the_grace_lets_it_pass_by_itself():
    """Where the manager is left while a body outside uses its grace, the rest of that passes by itself."""
    manager, clock = make(NOON)
    life = Life(manager, ACTIVE, grace=10 * MINUTE)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks, manager:
            tasks.start_soon(life)
            await clock.advance_to(CLOSE + MINUTE)
            assert life.ended == []
    assert life.left == [CLOSE + 10 * MINUTE]


@EITHER
async def test_waiting_for_a_state_when_the_manager_stops_raises(grace):
    """A scope whose state did not come before the manager stopped raises ManagerStopped, which names the call."""
    manager, clock = make(MORNING)
    caught: list[str] = []

    async def work() -> None:
        try:
            async with manager.during(ACTIVE, grace=grace):
                pytest.fail("the state never came")
        except ManagerStopped as error:
            caught.append(str(error))

    async with anyio.create_task_group() as tasks, running(manager):
        tasks.start_soon(work)
        await clock.advance(HOUR)
    assert len(caught) == 1
    assert "during()" in caught[0]


@EITHER
async def test_a_scope_cannot_be_entered_after_the_end(grace):
    """Once the manager has stopped, no body begins, not even where the last state is the one asked for."""
    manager, _ = make(NOON)
    async with manager:
        pass
    for state in (ACTIVE, ENDED):
        with pytest.raises(ManagerStopped, match=r"during\(\)"):
            async with manager.during(state, grace=grace):
                pytest.fail("nobody would end it")


async def test_a_loop_of_scopes_ends_with_the_manager():
    """A loop that enters a scope again and again does not spin when the manager stops in that very state."""
    manager, clock = make(NOON)
    life = Life(manager, ACTIVE)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks, running(manager):
            tasks.start_soon(life.again_and_again)
            await clock.advance(HOUR)
    assert len(life.began) == len(life.ended) == 1


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


# ---- several ----


async def test_nested_scopes_end_each_at_its_own_time():
    """Of nested scopes the inner ends when its state does, and the outer goes on to its own end."""
    manager, clock = make(MORNING, config=LifecycleConfig(data_timeout=5 * MINUTE))
    told: list[tuple[str, datetime]] = []

    async def work() -> None:
        async with manager.during(ACTIVE, TIMEOUT):
            async with manager.during(ACTIVE):
                told.append(("live", clock.now()))
                await anyio.sleep_forever()
            told.append(("silent", clock.now()))
            await anyio.sleep_forever()
        told.append(("closed", clock.now()))

    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await clock.advance_to(at(MONDAY, (22, 0)))
        assert told == [("live", OPEN), ("silent", OPEN + 5 * MINUTE), ("closed", CLOSE)]


@EITHER
async def test_the_end_of_an_outer_scope_ends_the_inner(grace):
    """Where the outer scope's state is over first, the inner body is cancelled, and the inner block is not left."""
    manager, clock = make(NOON)
    told: list[str] = []

    async def work() -> None:
        async with manager.during(ACTIVE):
            async with manager.during(ACTIVE, POST_MARKET, grace=grace):
                try:
                    await anyio.sleep_forever()
                finally:
                    told.append(f"cancelled {clock.now() - CLOSE}")
            told.append("this must not run")
        told.append("left")

    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await clock.advance_to(at(MONDAY, (23, 0)))
        assert told == ["cancelled 0:00:00", "left"]


async def test_parallel_scopes_do_not_disturb_each_other():
    """Any number of scopes, for any states, begin and end each at its own time."""
    manager, clock = make(MORNING)
    lives = [Life(manager, state) for state in (PRE_MARKET, ACTIVE, POST_MARKET) for _ in range(50)]
    async with running(manager), anyio.create_task_group() as tasks:
        for life in lives:
            tasks.start_soon(life)
        await clock.advance_to(at(MONDAY, (23, 0)))
        for number, (begins, ends) in enumerate(
            [(at(MONDAY, (9, 0)), OPEN), (OPEN, CLOSE), (CLOSE, at(MONDAY, (21, 30)))]
        ):
            for life in lives[50 * number : 50 * (number + 1)]:
                assert life.began == [(session(MONDAY), begins)]
                assert life.left == [ends]


@EITHER
async def test_a_loop_of_scopes_lives_once_in_each_session(grace):
    """A scope in a loop has one life in each session, from its open on."""
    manager, clock = make(MORNING)
    life = Life(manager, ACTIVE, TIMEOUT, grace=grace)
    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(life.again_and_again)
        await clock.advance_to(at(FRIDAY, (23, 0)))
        days = [MONDAY + n * DAY for n in range(5)]
        assert life.began == [(session(day), at(day, (14, 30))) for day in days]
        assert life.left == [at(day, (21, 0)) + (grace or NOW) for day in days]
        tasks.cancel_scope.cancel()


# ---- sessions ----


class Visits:
    """A loop over sessions that notes each, and when, and takes its time with it."""

    def __init__(self, manager: SessionBoundaryManager, pause: timedelta = NOW) -> None:
        self.manager = manager
        self.pause = pause
        self.dates: list[date] = []
        self.instants: list[datetime] = []
        self.ended = False

    async def __call__(self) -> None:
        async for current in self.manager.sessions():
            self.dates.append(current.date)
            self.instants.append(self.manager.clock.now())
            if self.pause:
                await self.manager.clock.sleep(self.pause)
        self.ended = True


async def test_sessions_are_the_present_one_and_then_each_as_it_is_rolled_into():
    """The loop passes at once with the present session, and then at each roll, and ends with the manager."""
    manager, clock = make(NOON)
    visits = Visits(manager)
    async with anyio.create_task_group() as tasks, running(manager):
        tasks.start_soon(visits)
        await clock.advance_to(at(THURSDAY, (12, 0)))
        assert visits.dates == [MONDAY, TUESDAY, WEDNESDAY, THURSDAY]
        assert visits.instants == [NOON, *(at(MONDAY + n * DAY, (21, 30)) for n in range(3))]
        assert not visits.ended
    assert visits.ended


async def test_sessions_and_a_scope_in_them_make_a_day():
    """Sessions and a scope in each make one life a day: the strategy's whole frame in two lines."""
    manager, clock = make(MORNING)
    lives: list[tuple[date, datetime, datetime]] = []

    async def trade() -> None:
        async for current in manager.sessions():
            async with manager.during(ACTIVE, TIMEOUT) as same:
                assert same == current
                began = clock.now()
                try:
                    await anyio.sleep_forever()
                finally:
                    lives.append((current.date, began, clock.now()))

    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(trade)
        await clock.advance_to(at(WEDNESDAY, (8, 0)))
        assert lives == [(day, at(day, (14, 30)), at(day, (21, 0))) for day in (MONDAY, TUESDAY)]
        tasks.cancel_scope.cancel()


async def test_a_slow_loop_finds_the_next_session_waiting():
    """A body that takes longer than a session delays nobody and misses none: those in between are waiting for it."""
    manager, clock = make(NOON)
    visits = Visits(manager, pause=30 * HOUR)
    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(visits)
        await clock.advance_to(NOON + 8 * DAY)
        assert manager.session.date == MONDAY + 8 * DAY
        assert visits.dates == [MONDAY + n * DAY for n in (0, 1, 2, 3, 4, 7, 8)]
        assert visits.instants == [NOON + n * 30 * HOUR for n in range(7)]
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("policy", "seen"),
    [
        (MissedSessions.LATEST, [MONDAY, THURSDAY]),
        (MissedSessions.EACH, [MONDAY, TUESDAY, WEDNESDAY, THURSDAY]),
    ],
)
async def test_sessions_that_went_by_are_passed_by_the_policy(policy, seen):
    """After a suspend of days the loop passes for each session that is rolled into: LATEST skips, EACH does not."""
    manager, clock, _ = make_rolling(NOON, missed_sessions=policy)
    visits = Visits(manager)
    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(visits)
        await clock.advance(NOW)
        clock.step(3 * DAY)
        await clock.advance(MINUTE)
        assert visits.dates == seen
        tasks.cancel_scope.cancel()


async def test_sessions_count_from_the_call_and_not_from_the_first_pass():
    """An iterator made on Monday and read on Wednesday gives Monday, Tuesday and Wednesday, each once."""
    manager, clock = make(NOON)
    async with anyio.create_task_group() as tasks, running(manager):
        sessions = manager.sessions()
        await clock.advance_to(at(WEDNESDAY, (12, 0)))
        seen = [(await anext(sessions)).date for _ in range(3)]
        assert seen == [MONDAY, TUESDAY, WEDNESDAY]
        rest: list[date] = []

        async def read() -> None:
            rest.extend([current.date async for current in sessions])

        tasks.start_soon(read)
        await clock.advance(HOUR)
    assert rest == []


async def test_a_session_that_has_ended_is_not_passed():
    """While a roll is awaited there is no present session, and the loop begins with the next."""
    manager, clock, _ = make_rolling(at(MONDAY, (21, 0)), MINUTE)
    visits = Visits(manager)
    async with running(manager), anyio.create_task_group() as tasks:
        await clock.advance_to(at(MONDAY, (21, 30)))
        assert manager.state is ENDED
        tasks.start_soon(visits)
        await clock.advance(SECOND)
        assert visits.dates == []
        await clock.advance(MINUTE)
        assert visits.dates == [TUESDAY]
        tasks.cancel_scope.cancel()


async def test_in_error_the_session_is_passed_while_it_lasts():
    """In ERROR the session is the present one until its end; once its roll is owed, the loop begins with the next."""
    manager, clock = make(NOON)
    during, after = Visits(manager), Visits(manager)
    async with running(manager), anyio.create_task_group() as tasks:
        manager.fail("sunspots")
        tasks.start_soon(during)
        await clock.advance_to(at(MONDAY, (22, 0)))
        tasks.start_soon(after)
        await clock.advance(MINUTE)
        assert (during.dates, after.dates) == ([MONDAY], [])
        await manager.recover()
        await clock.advance(NOW)
        assert (during.dates, after.dates) == ([MONDAY, TUESDAY], [TUESDAY])
        tasks.cancel_scope.cancel()


async def test_two_loops_over_sessions_have_each_their_own():
    """Each call is a loop of its own, which misses nothing because of the other."""
    manager, clock = make(NOON)
    quick, slow = Visits(manager), Visits(manager, pause=20 * HOUR)
    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(quick)
        tasks.start_soon(slow)
        await clock.advance_to(at(THURSDAY, (23, 0)))
        assert quick.dates == [MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY]
        assert slow.dates == [MONDAY, TUESDAY, WEDNESDAY, THURSDAY]
        assert slow.instants[1] == at(MONDAY, (21, 30)) + 14 * HOUR + 30 * MINUTE
        tasks.cancel_scope.cancel()


async def test_a_cancelled_wait_for_a_session_loses_none():
    """A wait for the next session may be given up, and the session is there at the next attempt."""
    manager, clock = make(NOON)
    async with running(manager):
        sessions = manager.sessions()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anext(sessions)
        assert (await anext(sessions)).date == MONDAY
        with anyio.move_on_after(0.001):
            await anext(sessions)
        await clock.advance(DAY)
        assert (await anext(sessions)).date == TUESDAY


async def test_a_loop_over_sessions_may_be_broken_off():
    """Breaking the loop off leaves nothing behind: no reader, and no half-run generator to complain about."""
    manager, clock = make(NOON)
    async with running(manager):
        before = readers(manager)
        for _ in range(10):
            async for current in manager.sessions():
                assert current.date == MONDAY
                break
            gc.collect()
            await clock.advance(NOW)
        assert readers(manager) == before


# ---- what it costs ----


@EITHER
async def test_a_thousand_scopes_leave_nothing_behind(grace):
    """After a thousand scopes that ended in every way, errors kept, there is no task and no reader more than before."""
    manager, clock = make(NOON)
    errors: list[BaseException] = []

    async def cancelled() -> None:
        async with manager.during(ACTIVE, grace=grace):
            await anyio.sleep_forever()

    async def live(number: int) -> None:
        with anyio.CancelScope() as outer:
            async with manager.during(ACTIVE, grace=grace):
                if number % 3 == 1:
                    raise Boom
                if number % 3 == 2:
                    outer.cancel()
                    await anyio.lowlevel.checkpoint()

    async with running(manager):
        tasks_before, readers_before = len(anyio.get_running_tasks()), readers(manager)
        for number in range(1000):
            try:
                await live(number)
            except Boom as error:
                errors.append(error)
        assert len(errors) == 333
        await clock.advance(NOW)
        assert readers(manager) == readers_before
        async with anyio.create_task_group() as tasks:
            for _ in range(300):
                tasks.start_soon(cancelled)
            await clock.advance_to(at(TUESDAY, (8, 0)))
        assert readers(manager) == readers_before
        await anyio.wait_all_tasks_blocked()
        assert len(anyio.get_running_tasks()) == tasks_before


async def test_scopes_that_were_never_entered_leave_nothing_behind():
    """A scope that is made and not entered costs nothing and complains about nothing."""
    manager, _ = make(NOON)
    async with running(manager):
        before = readers(manager)
        for _ in range(1000):
            manager.during(ACTIVE)
        gc.collect()
        assert readers(manager) == before


# ---- by the real clock ----


async def test_scopes_by_the_real_clock():
    """On the machine's own clock a body lives within a session of 100 ms, and is not cancelled before its close."""
    now = datetime.now(UTC)
    tenth = timedelta(milliseconds=100)
    # A slow machine skips sessions until it catches one.
    schedule = FixedSchedule(
        [Session(now.date() + n * DAY, now + (2 * n + 1) * tenth, now + (2 * n + 2) * tenth) for n in range(400)]
    )
    config = LifecycleConfig(
        data_timeout=None,
        pre_market=tenth / 4,
        post_market_roll_delay=tenth / 4,
        max_catch_up_sessions=400,
    )
    manager = SessionBoundaryManager(schedule, roll_nothing, config=config, clock=SystemClock(tenth / 10))
    lives: list[tuple[bool, bool]] = []
    with anyio.fail_after(60):
        async with manager:
            while len(lives) < 2:
                async with manager.during(ACTIVE) as current:
                    on_time = datetime.now(UTC) >= current.open
                    try:
                        await anyio.sleep_forever()
                    finally:
                        lives.append((on_time, datetime.now(UTC) >= current.close))
    assert lives == [(True, True)] * 2
