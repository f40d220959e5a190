"""What simulated time costs, beside the other clocks that skip what nothing happens in: looptime and trio's own."""

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from importlib.util import find_spec
from typing import Any

import anyio
import trio
import trio.testing
from msgspec.structs import replace

from session_lifecycle import (
    ExchangeSchedule,
    FixedSchedule,
    Phase,
    Schedule,
    Session,
    SessionBoundaryManager,
    StateChanged,
    replay,
)
from session_lifecycle.testing import Script, SimulatedClock
from tests.labs.benchmarks.rows import Row, interleaved, timed

SECOND = timedelta(seconds=1)
BARS, JUMPS = 2_000, 300
BLOCKED = 5_000
FEEDS, SECONDS = 500, 5
MESSAGES = 23_400
TASKS = 10_000
OPENING = datetime(2024, 11, 27, 14, 30, tzinfo=UTC)

Sleep = Callable[[], Awaitable[object]]


async def no_roll(_: date) -> None:
    """Roll nothing."""


async def bars(blocked: int = 0) -> float:
    """Return the seconds for one bar, of many that one task sleeps for, while as many others are blocked."""
    clock = SimulatedClock(OPENING)
    took = 0.0

    async def sleep() -> None:
        for _ in range(BARS):
            await clock.sleep(SECOND)

    async with anyio.create_task_group() as tasks:
        for _ in range(blocked):
            tasks.start_soon(anyio.sleep_forever)
        tasks.start_soon(sleep)
        await clock.advance(timedelta(0))
        began = time.process_time()
        await clock.advance(BARS * SECOND)
        took = time.process_time() - began
        tasks.cancel_scope.cancel()
    return took / BARS


async def messages() -> float:
    """Return the seconds for one message, of tasks that each sleep for a second before the next one."""
    clock = SimulatedClock(OPENING)
    took = 0.0

    async def feed() -> None:
        for _ in range(SECONDS):
            await clock.sleep(SECOND)

    async with anyio.create_task_group() as tasks:
        for _ in range(FEEDS):
            tasks.start_soon(feed)
        await clock.advance(timedelta(0))
        began = time.process_time()
        await clock.advance(SECONDS * SECOND)
        took = time.process_time() - began
    return took / (FEEDS * SECONDS)


async def jumps(sleep: Sleep) -> float:
    """Return the seconds for one sleep of a loop that has nothing else to do, in that loop's own simulated time."""
    began = time.process_time()
    for _ in range(JUMPS):
        await sleep()
    return (time.process_time() - began) / JUMPS


async def sleepers(sleep: Sleep) -> float:
    """Return the seconds for one message of as many tasks as in `messages`, in that loop's own simulated time."""
    left = FEEDS
    began: float = 0

    async def feed() -> None:
        nonlocal left, began
        left -= 1
        if not left:
            began = time.process_time()
        for _ in range(SECONDS):
            await sleep()

    async with anyio.create_task_group() as tasks:
        for _ in range(FEEDS):
            tasks.start_soon(feed)
    return (time.process_time() - began) / (FEEDS * SECONDS)


def by_looptime(work: Callable[[Sleep], Awaitable[float]]) -> float:
    """Run `work` on an event loop whose time looptime simulates."""
    import looptime

    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        return runner.run(_as_coroutine(work, partial(asyncio.sleep, 1)))


def by_mock_clock(work: Callable[[Sleep], Awaitable[float]]) -> float:
    """Run `work` on trio, with its own simulated clock."""
    return trio.run(_as_coroutine, work, partial(trio.sleep, 1), clock=trio.testing.MockClock(autojump_threshold=0))


async def _as_coroutine(work: Callable[[Sleep], Awaitable[float]], sleep: Sleep) -> float:
    return await work(sleep)


def ours(work: Callable[[], Awaitable[float]], loop: str = "asyncio") -> Callable[[], float]:
    """Return what runs `work` on an event loop."""
    if loop == "trio":
        return lambda: anyio.run(work, backend="trio")
    return lambda: anyio.run(work, backend_options={"use_uvloop": loop == "uvloop"})


def of_bars() -> Iterator[Row]:
    """Measure how much one deadline takes."""
    if find_spec("looptime"):
        bar, jump = interleaved(ours(bars), lambda: by_looptime(jumps))
        yield Row("a simulated bar, nothing else running", bar, "a sleep of looptime's loop", jump, 0.08)
    crowd, bar = interleaved(ours(partial(bars, BLOCKED)), ours(bars))
    yield Row(f"a simulated bar, {BLOCKED:,} blocked tasks", crowd, "with none", bar, 1.2)
    bar, jump = interleaved(ours(bars, "trio"), lambda: by_mock_clock(jumps))
    yield Row("a simulated bar on trio", bar, "trio's MockClock, autojump", jump, 2)
    uvloop, plain = interleaved(ours(bars, "uvloop"), ours(bars))
    yield Row("a simulated bar on uvloop", uvloop, "on asyncio", plain, 5)


def of_messages() -> Iterator[Row]:
    """Measure how much one of many deadlines of an instant takes."""
    path = f"a message of {FEEDS} feed tasks"
    if find_spec("looptime"):
        message, theirs = interleaved(ours(messages), lambda: by_looptime(sleepers))
        yield Row(path, message, "on looptime's loop", theirs, 2)
    message, theirs = interleaved(ours(messages, "trio"), lambda: by_mock_clock(sleepers))
    yield Row(f"{path}, on trio", message, "trio's MockClock, autojump", theirs, 2)
    uvloop, plain = interleaved(ours(messages, "uvloop"), ours(messages))
    yield Row(f"{path}, on uvloop", uvloop, "on asyncio", plain, 5)


def of_script() -> Iterator[Row]:
    """Measure a scripted session of six and a half hours with data each second, all of it delivered."""
    days = [timedelta(days=number) for number in range(60)]
    length = MESSAGES * SECOND
    hours = FixedSchedule([Session((OPENING + day).date(), OPENING + day, OPENING + day + length) for day in days])
    script = Script(hours, OPENING.date()).data_every(SECOND, into=SessionBoundaryManager.record_data_received)

    def made(manager: type[SessionBoundaryManager]) -> SessionBoundaryManager:
        return manager(hours, no_roll)

    def scripted() -> None:
        anyio.run(script.run, made)

    async def bare() -> None:
        clock = SimulatedClock(OPENING)
        async with SessionBoundaryManager(hours, no_roll, clock=clock) as manager:
            for _ in range(MESSAGES):
                manager.record_data_received()
                await clock.advance(SECOND)

    script_took, loop_took = interleaved(lambda: timed(scripted), lambda: timed(lambda: anyio.run(bare)))
    yield Row(
        f"a scripted session, {MESSAGES:,} messages", script_took, "record, advance in a bare loop", loop_took, 1.5
    )


def year(schedule: Schedule) -> int:
    """Run XNYS through 2024 with a manager in simulated time, and return the number of transitions."""

    async def run() -> int:
        clock = SimulatedClock(datetime(2024, 1, 1, tzinfo=UTC))
        manager = SessionBoundaryManager(schedule, no_roll, clock=clock)
        events = manager.events()
        async with manager:
            await clock.advance_to(datetime(2025, 1, 1, tzinfo=UTC))
        return sum([1 async for event in events if isinstance(event, StateChanged)])

    return anyio.run(run)


def xnys() -> ExchangeSchedule:
    """Return XNYS with the days of the benchmarks built."""
    schedule = ExchangeSchedule("XNYS", near=datetime(2024, 6, 1, tzinfo=UTC))
    schedule.sessions(date(2004, 12, 1), date(2025, 2, 1))
    return schedule


def with_six_phases(schedule: ExchangeSchedule) -> FixedSchedule:
    """Return two years of a schedule with a night, a pre-market, two auctions, trading, and an after-market."""
    hour = timedelta(hours=1)

    def session(each: Session) -> Session:
        opened, closed, minutes = each.open, each.close, timedelta(minutes=10)
        edges = (
            ("overnight", opened - 13.5 * hour, opened - 5.5 * hour),
            ("pre_market", opened - 5.5 * hour, opened - minutes),
            ("opening_auction", opened - minutes, opened),
            ("continuous", opened, closed - minutes),
            ("closing_auction", closed - minutes, closed),
            ("post_market", closed, closed + 2 * hour),
        )
        return replace(each, phases=tuple(Phase(*edge, tradable=True) for edge in edges))

    return FixedSchedule(map(session, schedule.sessions(date(2023, 6, 1), date(2025, 6, 1))))


def of_year() -> Iterator[Row]:
    """Measure a year of a manager beside the same year without one."""
    schedule = xnys()
    transitions = year(schedule)

    def replayed() -> None:
        for _ in replay(schedule, datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)):
            pass

    managed, bare = interleaved(lambda: timed(lambda: year(schedule)), lambda: timed(replayed))
    path = f"a year of XNYS, {transitions} transitions"
    yield Row(path, managed, "replay of the same year", bare, 40)
    phased = with_six_phases(schedule)
    plain = FixedSchedule(replace(each, phases=()) for each in phased.sessions(date.min, date.max))
    with_phases, without = interleaved(lambda: timed(lambda: year(phased)), lambda: timed(lambda: year(plain)))
    yield Row("a year with six phases a session", with_phases, "the same year without them", without, 1.3)


def of_year_after_tasks() -> Iterator[Row]:
    """Measure the same year in processes that have had many tasks, and in fresh ones."""

    def arm(tasks: int) -> Callable[[], float]:
        command = [sys.executable, "-m", "tests.labs.benchmarks.simulated", str(tasks)]
        return lambda: float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    after, fresh = interleaved(arm(TASKS), arm(0), repeats=9)
    yield Row(f"a year of XNYS after {TASKS:,} tasks", after, "in a fresh process", fresh, 1.1)


async def _sleep_many(number: int) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(number):
            tasks.start_soon(anyio.sleep, 0.01)


def crowd() -> list[Any]:
    """Run ten thousand tasks, and return a million objects that the garbage collector walks."""
    anyio.run(_sleep_many, TASKS)
    return [[number] for number in range(1_000_000)]


def quiet_logs() -> None:
    """Have log records made, as in an application, but not shown."""
    logger = logging.getLogger("session_lifecycle")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False


def main() -> None:
    """Print the seconds of a year, after as many tasks as asked for: the median of three."""
    quiet_logs()
    schedule = xnys()
    anyio.run(_sleep_many, int(sys.argv[1]))
    (took,) = interleaved(lambda: timed(lambda: year(schedule)), repeats=3)
    print(took)


if __name__ == "__main__":
    main()
