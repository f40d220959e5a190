"""`sessions()`, several scopes at a time, and scopes at the manager's end."""

import contextlib
import gc
from datetime import UTC, date, datetime, timedelta

import anyio
import anyio.lowlevel
import pytest

from session_lifecycle import (
    FixedSchedule,
    LifecycleConfig,
    ManagerStopped,
    MissedSessions,
    Session,
    SessionBoundaryManager,
    SystemClock,
)
from tests.helpers.builders import DAY, MONDAY, at, session
from tests.helpers.harness import (
    ACTIVE,
    ENDED,
    FRIDAY,
    HOUR,
    MINUTE,
    NOW,
    POST_MARKET,
    PRE_MARKET,
    SECOND,
    THURSDAY,
    TIMEOUT,
    TUESDAY,
    WEDNESDAY,
    cancelled_once_it_waits,
    make,
    make_rolling,
    roll_nothing,
    running,
)
from tests.helpers.scopes import CLOSE, EITHER, MORNING, NOON, OPEN, Boom, Life, readers

pytestmark = pytest.mark.anyio


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
async def test_waiting_for_a_state_when_the_manager_stops_ends_quietly(grace):
    """A body whose state did not come before the manager stopped is cancelled at its first wait, grace or not."""
    manager, clock = make(MORNING)
    told: list[object] = []

    async def work() -> None:
        async with manager.during(ACTIVE, grace=grace):
            told.append(manager.state)
            await anyio.lowlevel.checkpoint()
            pytest.fail("the state never came")
        told.append(clock.now())

    async with anyio.create_task_group() as tasks, running(manager):
        tasks.start_soon(work)
        await clock.advance(HOUR)
    assert told == [PRE_MARKET, MORNING + HOUR]


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
        assert await cancelled_once_it_waits(anext, sessions)
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
            await clock.advance(NOW)
        gc.collect()
        await clock.advance(NOW)
        assert readers(manager) == before


# ---- what it costs ----


@EITHER
async def test_a_hundred_scopes_leave_nothing_behind(grace):
    """After a hundred scopes that ended in every way, errors kept, there is no task and no reader more than before."""
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
        for number in range(100):
            try:
                await live(number)
            except Boom as error:
                errors.append(error)
        assert len(errors) == 33
        await clock.advance(NOW)
        assert readers(manager) == readers_before
        async with anyio.create_task_group() as tasks:
            for _ in range(30):
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


@pytest.mark.costly
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
