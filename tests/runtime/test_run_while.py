"""`run_while`: a function that is called while a state holds; and the quiet end of every loop at a stop."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from session_lifecycle import (
    FixedSchedule,
    LifecycleConfig,
    NotRunningError,
    ReentrancyError,
    Session,
    SessionBoundaryManager,
    SessionState,
    SystemClock,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MONDAY, at
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
    roll_nothing,
    running,
)
from tests.helpers.ledger import napping, until

pytestmark = pytest.mark.anyio
MORNING, OPEN, NOON, CLOSE = (at(MONDAY, time) for time in ((8, 0), (14, 30), (16, 0), (21, 0)))


class Boom(Exception):
    """What a function of these tests fails with."""


class Work:
    """A function that notes its calls: session, beginning and end."""

    def __init__(self, clock: SimulatedClock, lasts: timedelta | None = None) -> None:
        self.clock = clock
        self.lasts = lasts
        self.calls: list[tuple[object, datetime]] = []
        self.ends: list[datetime] = []

    async def __call__(self, current: Session) -> None:
        self.calls.append((current.date, self.clock.now()))
        try:
            await (anyio.sleep_forever() if self.lasts is None else self.clock.sleep(self.lasts))
        finally:
            self.ends.append(self.clock.now())


async def test_it_is_called_once_for_each_time_that_the_state_holds():
    """From each open to each close, and cancelled there; it returns when the manager stops."""
    manager, clock = make(MORNING)
    work, returned = Work(clock), list[datetime]()

    async def run() -> None:
        await manager.run_while(work, ACTIVE, TIMEOUT)
        returned.append(clock.now())

    async with anyio.create_task_group() as tasks, running(manager):
        tasks.start_soon(run)
        await clock.advance_to(at(WEDNESDAY, (16, 0)))
        assert work.calls == [(day, at(day, (14, 30))) for day in (MONDAY, TUESDAY, WEDNESDAY)]
        assert work.ends == [at(day, (21, 0)) for day in (MONDAY, TUESDAY)]
        assert returned == []
    assert returned == [at(WEDNESDAY, (16, 0))]


async def test_one_that_returns_early_is_not_called_again_for_the_same_time():
    """But again after a silence, which is another state."""
    manager, clock = make(MORNING, config=LifecycleConfig(data_timeout=30 * MINUTE))
    work = Work(clock, MINUTE)
    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(manager.run_while, work, ACTIVE)
        await clock.advance_to(OPEN + HOUR)
        assert [instant for _, instant in work.calls] == [OPEN]
        manager.record_data_received()
        await clock.advance(NOW)
        assert [instant for _, instant in work.calls] == [OPEN, OPEN + HOUR]
        tasks.cancel_scope.cancel()


async def test_a_new_session_always_ends_the_call():
    """Also where every state is one of those given: one call for each session."""
    manager, clock = make(NOON)
    work = Work(clock)
    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(manager.run_while, work, *SessionState)
        await clock.advance_to(at(WEDNESDAY, (12, 0)))
        rolls = [at(day, (21, 30)) for day in (MONDAY, TUESDAY)]
        assert work.calls == list(zip((MONDAY, TUESDAY, WEDNESDAY), (NOON, *rolls), strict=True))
        assert work.ends == rolls
        tasks.cancel_scope.cancel()


async def test_states_of_no_width_neither_end_a_call_nor_begin_one():
    """Around the clock POST_MARKET, PRE_MARKET and NOT_STARTED last no time."""
    midnight = at(MONDAY, (0, 0))
    schedule = FixedSchedule(
        [Session(MONDAY + n * DAY, midnight + n * DAY, midnight + (n + 1) * DAY) for n in range(20)]
    )
    config = LifecycleConfig(data_timeout=None, pre_market=NOW, post_market_roll_delay=HOUR)
    manager, clock = make(NOON, schedule=schedule, config=config)
    without_width, wide, open_ = Work(clock), Work(clock), Work(clock)
    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(manager.run_while, without_width, POST_MARKET, PRE_MARKET)
        tasks.start_soon(manager.run_while, wide, ACTIVE, ENDED)
        tasks.start_soon(manager.run_while, open_, ACTIVE)
        await clock.advance_to(NOON + 2 * DAY)
        assert without_width.calls == []
        assert wide.calls == open_.calls == [(MONDAY, NOON), *[(MONDAY + n * DAY, midnight + n * DAY) for n in (1, 2)]]
        tasks.cancel_scope.cancel()


async def test_its_exception_propagates():
    """As it is, not in a group; and nothing goes on."""
    manager, clock = make(NOON)
    error = Boom()

    async def fail(_: Session) -> None:
        raise error

    async with running(manager):
        with pytest.raises(Boom) as caught:
            await manager.run_while(fail, ACTIVE)
        assert caught.value is error
        await clock.advance(DAY)


async def test_a_cancellation_propagates():
    """Around it, and it cancels the call."""
    manager, clock = make(NOON)
    work = Work(clock)

    async def cancel_once_called() -> None:
        await until(lambda: work.calls)
        scope.cancel()

    async with running(manager), anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            tasks.start_soon(cancel_once_called)
            await manager.run_while(work, ACTIVE)
        assert scope.cancelled_caught
        assert len(work.ends) == 1


async def test_a_native_cancellation_propagates(anyio_backend):
    """`task.cancel()` ends it as cancelled."""
    need_asyncio(anyio_backend)
    import asyncio

    manager, clock = make(NOON)
    work = Work(clock)
    async with running(manager):
        task = asyncio.ensure_future(manager.run_while(work, ACTIVE))
        await clock.advance(MINUTE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work.ends == [NOON + MINUTE]


async def test_misuse():
    """Before the start, inside the roll, without states, and with what is not async: errors that say so."""
    refused: list[str] = []

    async def roll(_: object) -> None:
        try:
            await manager.run_while(Work(clock), ACTIVE)
        except ReentrancyError as error:
            refused.append(error.call)

    manager, clock = make(CLOSE, roll_session=roll)
    with pytest.raises(NotRunningError, match=r"run_while\(\)"):
        await manager.run_while(Work(clock), ACTIVE)
    async with running(manager):
        await clock.advance(HOUR)
        assert refused == ["run_while()"]
        with pytest.raises(TypeError, match=r"run_while\(\)"):
            await manager.run_while(Work(clock))
        with pytest.raises(TypeError, match="async"):
            await manager.run_while(lambda _: None, ACTIVE)
    await manager.run_while(Work(clock), *SessionState)  # after the end there is nothing to call


# ---- the quiet end ----

HOURS = {
    NOT_STARTED: MORNING,
    PRE_MARKET: at(MONDAY, (12, 0)),
    ACTIVE: NOON,
    TIMEOUT: NOON,
    POST_MARKET: CLOSE + MINUTE,
    ENDED: at(MONDAY, (21, 30)) - SECOND,
    ERROR: NOON,
}


async def bring_to(state: SessionState) -> tuple[SessionBoundaryManager, SimulatedClock]:
    """Return a manager that will be in a state a second after it was started."""
    manager, clock, _ = make_rolling(
        HOURS[state], HOUR, data_timeout=SECOND if state is TIMEOUT else None, roll_timeout=2 * HOUR
    )
    return manager, clock


@pytest.mark.parametrize("how", ["stop", "left"])
@pytest.mark.parametrize("wanted", [ACTIVE, POST_MARKET, NOT_STARTED])
@pytest.mark.parametrize("state", HOURS)
async def test_fault_65_every_loop_ends_quietly_when_the_manager_stops(state, wanted, how):
    """`sessions()`, `during` inside of it, a single `during` and `run_while`, in each state, waiting or running."""
    manager, clock = await bring_to(state)
    ended: list[str] = []
    connected = anyio.Event()  # once the manager has stopped

    async def loop() -> None:
        async for _ in manager.sessions():
            async with manager.during(wanted):
                await anyio.sleep_forever()
        ended.append("loop")

    async def connect_first() -> None:
        async for _ in manager.sessions():
            await connected.wait()
            async with manager.during(wanted, grace=MINUTE):
                await anyio.sleep_forever()
        ended.append("connect first")

    async def single() -> None:
        async with manager.during(wanted):
            await anyio.sleep_forever()
        ended.append("single")

    async def call() -> None:
        await manager.run_while(Work(clock), wanted)
        ended.append("call")

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            async with manager:
                for function in (loop, connect_first, single, call):
                    tasks.start_soon(function)
                await clock.advance(SECOND)
                if state is ERROR:
                    manager.fail("sunspots")
                assert manager.state is state
                if how == "stop":
                    manager.stop()
            connected.set()
    assert sorted(ended) == ["call", "connect first", "loop", "single"]


PATTERN = """
import json, signal, sys
from datetime import datetime, timedelta
import anyio
from session_lifecycle import LifecycleConfig, SessionBoundaryManager, SessionState
from tests.helpers.harness import season
from session_lifecycle.testing import SimulatedClock

async def trade(session):
    await anyio.sleep_forever()

async def roll(day):
    await clock.sleep(timedelta(hours=1))

async def main(state, number):
    global clock
    clock = SimulatedClock(HOURS[state])
    timeout = timedelta(seconds=1) if state is SessionState.TIMEOUT else None
    manager = SessionBoundaryManager(season(), roll, clock=clock, config=LifecycleConfig(data_timeout=timeout))

    async def loop():
        async for session in manager.sessions():
            async with manager.during(SessionState.ACTIVE):
                await anyio.sleep_forever()

    async def interrupt():
        await clock.advance(timedelta(seconds=1))
        if state is SessionState.ERROR:
            manager.fail("sunspots")
        assert manager.state is state, manager.state
        signal.raise_signal(number)

    async with manager, anyio.create_task_group() as tasks:
        tasks.start_soon(loop)
        tasks.start_soon(stop_on_sigterm, manager) if number == signal.SIGTERM else None
        await anyio.sleep(0)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(interrupt)
        await manager.run_while(trade, SessionState.ACTIVE, SessionState.TIMEOUT)
        tasks.cancel_scope.cancel()

async def stop_on_sigterm(manager):
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            manager.stop()

backend, options, number = sys.argv[1], {"use_uvloop": True} if sys.argv[2] else {}, signal.Signals[sys.argv[3]]
HOURS = {SessionState[name]: datetime.fromisoformat(instant) for name, instant in json.loads(sys.argv[4]).items()}
interrupted = 0
for state in HOURS:
    try:
        anyio.run(main, state, number, backend=backend, backend_options=options)
    except* KeyboardInterrupt:  # trio raises it in a group
        interrupted += 1
assert interrupted == (len(HOURS) if number == signal.SIGINT else 0)
sys.exit(130 if interrupted else 0)
"""


@pytest.mark.costly
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to receive")
@pytest.mark.parametrize(("number", "status"), [("SIGTERM", 0), ("SIGINT", 130)])
def test_fault_65_signals_in_every_state(number, status, anyio_backend):
    """SIGTERM by the pattern of the guide ends with the status 0, Ctrl-C with 130; no traceback, no hang."""
    name, options = anyio_backend
    root = str(Path(__file__).parents[2])
    hours = json.dumps({state.name: instant.isoformat() for state, instant in HOURS.items()})
    done = subprocess.run(
        [sys.executable, "-c", PATTERN, name, "uvloop" if options.get("use_uvloop") else "", number, hours],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr[-2000:]


# ---- whether it lives ----


async def test_alive_at_is_when_the_driver_has_last_turned():
    """None before the start; on a simulated clock at each deadline."""
    manager, clock = make(MORNING)
    assert manager.alive_at is None
    async with running(manager):
        assert manager.alive_at == MORNING
        await clock.advance_to(OPEN)
        assert manager.alive_at == OPEN


async def test_alive_at_is_never_older_than_the_check_interval_on_the_real_clock():
    """Hours before the next boundary it turns all the same."""
    now = datetime.now(UTC)
    schedule = FixedSchedule(
        [Session((now + n * DAY).date(), now + n * DAY - HOUR, now + n * DAY + HOUR) for n in range(9)]
    )
    manager = SessionBoundaryManager(schedule, roll_nothing, config=DEAF, clock=SystemClock(timedelta(milliseconds=20)))
    async with manager:
        for _ in range(20):
            asked = datetime.now(UTC)
            async with napping() as naps:
                await until(lambda asked=asked: manager.alive_at is not None and manager.alive_at >= asked)
            assert sum(naps) < 2
