"""Time moves on only when every task is blocked: what follows from one deadline happens before the next."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from session_lifecycle._model.errors import NeverSettledError
from session_lifecycle.testing import SimulatedClock
from session_lifecycle.testing import clock as clock_module
from tests.helpers.sleepers import DAY, HOUR, MICROSECOND, T0, Log, names, sleeper

pytestmark = pytest.mark.anyio


async def test_a_chain_of_tasks_settles(clock: SimulatedClock, log: Log) -> None:
    """What one task hands to the next, and that one to the next, has all happened on return."""
    sends, receives = zip(*(anyio.create_memory_object_stream[int](1) for _ in range(10)), strict=True)

    async def link(index: int) -> None:
        value = await receives[index].receive()
        if index + 1 < len(sends):
            await sends[index + 1].send(value + 1)
        else:
            log.append((value, clock.now(), clock.monotonic()))

    async def first() -> None:
        await clock.sleep(HOUR)
        await sends[0].send(0)

    async with anyio.create_task_group() as tg:
        for index in reversed(range(10)):
            tg.start_soon(link, index)
        tg.start_soon(first)
        tg.start_soon(sleeper, clock, log, "later", HOUR + MICROSECOND)
        await clock.advance(2 * HOUR)
    for stream in (*sends, *receives):
        stream.close()
    assert log == [(9, T0 + HOUR, 3600.0), ("later", T0 + HOUR + MICROSECOND, 3600.000001)]


async def test_nested_task_groups_settle(clock: SimulatedClock, log: Log) -> None:
    """A group inside a group inside a group, each of which ends when the one within does."""

    async def nest(depth: int) -> None:
        if depth:
            async with anyio.create_task_group() as tg:
                tg.start_soon(nest, depth - 1)
        else:
            await clock.sleep(HOUR)

    async def outermost() -> None:
        await nest(8)
        log.append(("done", clock.now(), clock.monotonic()))

    async with anyio.create_task_group() as tg:
        tg.start_soon(outermost)
        tg.start_soon(sleeper, clock, log, "later", HOUR + MICROSECOND)
        await clock.advance(2 * HOUR)
    assert names(log) == ["done", "later"]
    assert log[0][1] == T0 + HOUR


Wrap = Callable[[Awaitable[None]], Awaitable[Any]]


async def _gathered(inner: Awaitable[None]) -> None:
    await asyncio.gather(inner)


async def _shielded(inner: Awaitable[None]) -> None:
    await asyncio.shield(inner)


async def _waited_for(inner: Awaitable[None]) -> None:
    await asyncio.wait_for(inner, 3600)


async def _timed(inner: Awaitable[None]) -> None:
    async with asyncio.timeout(3600):
        await inner


async def _grouped(inner: Awaitable[None]) -> None:
    async def run() -> None:
        await inner

    async with asyncio.TaskGroup() as group:
        group.create_task(run())


async def _waited(inner: Awaitable[None]) -> None:
    await asyncio.wait([asyncio.ensure_future(inner)])


def _shield_of_gather(inner: Awaitable[None]) -> Awaitable[Any]:
    return asyncio.shield(asyncio.gather(asyncio.shield(inner)))


@pytest.fixture(params=["found", "hidden"])
def queue(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with the loop's ready queue, and as on a loop where that is not found."""
    if request.param == "hidden":
        monkeypatch.setattr(clock_module, "_ready_queue", lambda: None)


@pytest.mark.usefixtures("asyncio_only", "queue")
@pytest.mark.parametrize(
    "wraps",
    [
        [_gathered],
        [_shielded],
        [_waited_for],
        [_timed],
        [_grouped],
        [_waited],
        [_shield_of_gather],
        [_gathered, _shielded, _waited_for, _grouped, _waited, _shield_of_gather],
        [_shielded] * 10,
        [_shield_of_gather, _grouped] * 5,
    ],
    ids=lambda wraps: "+".join(dict.fromkeys(wrap.__name__.strip("_") for wrap in wraps)),
)
async def test_asyncios_own_ways_of_waiting_settle(clock: SimulatedClock, log: Log, wraps: list[Wrap]) -> None:
    """A result travels outwards through futures that no task waits on, and still arrives before time moves on."""

    async def outermost() -> None:
        inner: Awaitable[Any] = clock.sleep(HOUR)
        for wrap in wraps:
            inner = wrap(inner)
        await inner
        log.append(("done", clock.now(), clock.monotonic()))

    async with anyio.create_task_group() as tg:
        tg.start_soon(outermost)
        tg.start_soon(sleeper, clock, log, "later", HOUR + MICROSECOND)
        await clock.advance(2 * HOUR)
    assert names(log) == ["done", "later"]
    assert log[0][1] == T0 + HOUR


@pytest.mark.usefixtures("asyncio_only", "queue")
async def test_a_task_that_never_blocks_is_reported(clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the task; time has not moved, and the clock can be used again."""
    monkeypatch.setattr(clock_module, "_MAX_PASSES", 500)

    async def spin() -> None:
        while True:  # noqa: ASYNC110 -- the bad manners are the subject
            await asyncio.sleep(0)

    task = asyncio.create_task(spin(), name="spinner")
    with pytest.raises(NeverSettledError, match=r"spinner was still running after 500 passes") as caught:
        await clock.advance(HOUR)
    assert (caught.value.task, caught.value.passes) == ("spinner", 500)
    assert (clock.now(), clock.monotonic()) == (T0, 0.0)
    task.cancel()
    await clock.advance(HOUR)
    assert clock.now() == T0 + HOUR


@pytest.mark.usefixtures("asyncio_only", "queue")
async def test_a_task_that_blocks_for_single_passes_only_is_reported(
    clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking blocked now and then is not enough: the count is of all passes, not of those in a row."""
    monkeypatch.setattr(clock_module, "_MAX_PASSES", 500)

    async def flicker() -> None:
        loop = asyncio.get_running_loop()
        while True:
            future = loop.create_future()
            loop.call_soon(loop.call_soon, future.set_result, None)
            await future

    task = asyncio.create_task(flicker(), name="flicker")
    with pytest.raises(NeverSettledError, match="flicker"):
        await clock.advance(HOUR)
    task.cancel()


@pytest.mark.usefixtures("asyncio_only")
@pytest.mark.parametrize("length", [1, 5, 6, 50])
async def test_a_chain_of_callbacks_of_any_length_settles(clock: SimulatedClock, log: Log, length: int) -> None:
    """Every task waits on a pending future meanwhile; the ready queue shows that the chain still runs."""

    async def outermost() -> None:
        await clock.sleep(HOUR)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def hand_on(left: int) -> None:
            if left:
                loop.call_soon(hand_on, left - 1)
            else:
                future.set_result(None)

        hand_on(length)
        await future
        log.append(("done", clock.now(), clock.monotonic()))

    async with anyio.create_task_group() as tg:
        tg.start_soon(outermost)
        tg.start_soon(sleeper, clock, log, "later", HOUR + MICROSECOND)
        await clock.advance(2 * HOUR)
    assert log[0] == ("done", T0 + HOUR, 3600.0)


@pytest.mark.usefixtures("asyncio_only")
async def test_blocked_tasks_cost_an_advance_nothing(clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """An advance looks at the ready queue and at no task, however many there are."""

    def scan(_: object) -> None:
        pytest.fail("the tasks were scanned")

    monkeypatch.setattr(clock_module, "_busy_task", scan)
    async with anyio.create_task_group() as tg:
        for _ in range(100):
            tg.start_soon(anyio.sleep_forever)
        await clock.advance(HOUR)
        tg.cancel_scope.cancel()


@pytest.mark.usefixtures("asyncio_only")
@pytest.mark.parametrize("again", ["call_soon", "call_later", "add_reader"])
async def test_a_callback_that_is_called_again_and_again_does_not_stop_time(
    clock: SimulatedClock, log: Log, again: str
) -> None:
    """It is no task that something waits for: a heartbeat of a library, or a socket that is not read."""
    loop = asyncio.get_running_loop()
    beating = True
    ours, theirs = socket.socketpair()

    def beat() -> None:
        if beating and again == "call_soon":
            loop.call_soon(beat)
        elif beating and again == "call_later":
            loop.call_later(0, beat)

    if again == "add_reader":
        theirs.send(b"never read")
        loop.add_reader(ours, beat)
    beat()
    with ours, theirs:
        async with anyio.create_task_group() as tg:
            tg.start_soon(sleeper, clock, log, "sleeper", HOUR)
            await clock.advance(HOUR)
        loop.remove_reader(ours)
    beating = False
    assert log == [("sleeper", T0 + HOUR, 3600.0)]


def test_a_loop_with_a_ready_queue_of_its_own_settles() -> None:
    """A loop that overrides `call_soon` may leave the inherited queue empty: there the tasks are scanned."""
    elsewhere: list[asyncio.Handle] = []

    class OwnQueue(asyncio.SelectorEventLoop):
        def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
            handle = asyncio.Handle(callback, args, self, context)
            elsewhere.append(handle)
            return handle

        def _run_once(self) -> None:
            self._ready.extend(elsewhere)
            elsewhere.clear()
            super()._run_once()

    async def main() -> Log:
        clock, log = SimulatedClock(T0), Log()

        async def busy() -> None:
            await clock.sleep(HOUR)
            for _ in range(5):
                await asyncio.sleep(0)
            log.append(("busy", clock.now(), clock.monotonic()))

        async with anyio.create_task_group() as tg:
            tg.start_soon(sleeper, clock, log, "first", HOUR)
            tg.start_soon(busy)
            tg.start_soon(sleeper, clock, log, "second", 2 * HOUR)
            await clock.advance(3 * HOUR)
        return log

    log = anyio.run(main, backend_options={"loop_factory": OwnQueue})
    assert names(log) == ["first", "busy", "second"]
    assert log[1] == ("busy", T0 + HOUR, 3600.0), "time has passed while a task was running"


async def test_what_waits_on_the_outside_counts_as_blocked(clock: SimulatedClock) -> None:
    """Real time is not waited for: simulated time passes over the head of a bare anyio.sleep."""
    async with anyio.create_task_group() as tg:
        tg.start_soon(anyio.sleep, 60)
        await clock.advance(DAY)
        assert clock.now() == T0 + DAY
        tg.cancel_scope.cancel()
