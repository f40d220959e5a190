"""Code that swallows its cancellation, on real event loops: reported, cancelled again, and no core is kept busy."""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import anyio
import pytest

from session_lifecycle import (
    CallbackOverdue,
    Event,
    FixedSchedule,
    HandlerFailed,
    HandlerTimeoutError,
    LifecycleConfig,
    RetryPolicy,
    RollSucceeded,
    Session,
    SessionBoundaryManager,
)
from session_lifecycle._runtime import call_scope
from tests.helpers.harness import ACTIVE, of, roll_nothing, run
from tests.helpers.ledger import until

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MS = timedelta(milliseconds=1)
QUIET = {"data_timeout": None, "pre_market": timedelta(0), "post_market_roll_delay": timedelta(0)}
SHARE = 0.3
"""What share of a core may be used while such code goes on; anyio alone uses all of it."""
OVERDUE, PAUSE = 0.1, 0.025
"""What stands for the five seconds and the one second, in seconds."""


class Stubborn:
    """Code that goes on until it is released, whatever cancels it."""

    def __init__(self) -> None:
        self.cancelled = 0
        self.released = False
        self.began = anyio.Event()
        self.ended = anyio.Event()

    async def __call__(self, *_: object) -> None:
        self.began.set()
        end = time.monotonic() + 60  # where the test has failed
        while not self.released and time.monotonic() < end:
            try:
                await anyio.sleep(0.05)
            except anyio.get_cancelled_exc_class():
                self.cancelled += 1
        self.ended.set()


async def share_used(seconds: float) -> float:
    """Return what share of a core this process uses for a while."""
    cpu, began = time.process_time(), time.monotonic()
    await anyio.sleep(seconds)
    return (time.process_time() - cpu) / (time.monotonic() - began)


def season() -> FixedSchedule:
    """Return a schedule whose first session is open until the test ends it; the next one is tomorrow's."""
    now = datetime.now(UTC)
    return FixedSchedule(
        [Session((now + n * DAY).date(), now + n * DAY - HOUR, now + n * DAY + 12 * HOUR) for n in range(9)]
    )


def managed(**config: Any) -> SessionBoundaryManager:
    return SessionBoundaryManager(season(), roll_nothing, config=LifecycleConfig(**QUIET, **config))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have it reported, and cancelled again, sooner."""
    monkeypatch.setattr(call_scope, "OVERDUE_SECONDS", OVERDUE)
    monkeypatch.setattr(call_scope, "_PAUSE_SECONDS", PAUSE)


async def collect(manager: SessionBoundaryManager, log: list[Event]) -> None:
    async for event in manager.events():
        log.append(event)  # noqa: PERF401 -- each is to be read as soon as it has come


async def rolls(stubborn: Stubborn) -> tuple[SessionBoundaryManager, Callable[[], Awaitable[object]]]:
    config = LifecycleConfig(**QUIET, roll_timeout=100 * MS, roll_retry=RetryPolicy(attempts=1))
    manager = SessionBoundaryManager(season(), stubborn, config=config)
    return manager, partial(manager.end_session, "to roll")


async def handles(stubborn: Stubborn) -> tuple[SessionBoundaryManager, Callable[[], Awaitable[object]]]:
    manager = managed()
    manager.on(ACTIVE, timeout=100 * MS)(stubborn)
    return manager, partial(manager.wait_for, ACTIVE)


async def lives(stubborn: Stubborn) -> tuple[SessionBoundaryManager, Callable[[], Awaitable[object]]]:
    manager = managed()

    async def life() -> None:
        async with manager.during(ACTIVE):
            await stubborn()

    return manager, life


async def is_called(stubborn: Stubborn) -> tuple[SessionBoundaryManager, Callable[[], Awaitable[object]]]:
    manager = managed()
    return manager, partial(manager.run_while, stubborn, ACTIVE)


@pytest.mark.costly
@pytest.mark.parametrize("kind", [rolls, handles, lives, is_called], ids=lambda kind: kind.__name__)
def test_fault_66_code_that_swallows_its_cancellation(kind, anyio_backend):
    """A roll, a handler, a body and a call: `CallbackOverdue` once, several deliveries, and an idle core meanwhile."""
    log, used = list[Event](), list[float]()
    stubborn = Stubborn()

    async def main() -> None:
        manager, begin = await kind(stubborn)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collect, manager, log)
            async with manager:
                tasks.start_soon(begin)
                await stubborn.began.wait()
                if kind in (lives, is_called):
                    await manager.end_session("to cancel it")
                await until(lambda: stubborn.cancelled >= 2)
                used.append(await share_used(0.3))
                await until(lambda: stubborn.cancelled >= 5 and of(CallbackOverdue, log))
                stubborn.released = True
                await stubborn.ended.wait()
                await until(lambda: of(HandlerFailed if kind is handles else RollSucceeded, log))
                await anyio.sleep(PAUSE)  # in which nothing more is reported

    run(main, anyio_backend)
    (overdue,) = of(CallbackOverdue, log)
    assert overdue.waited >= timedelta(seconds=OVERDUE)
    assert overdue.callback
    assert used[0] < SHARE
    assert [type(event.error) for event in of(HandlerFailed, log)] == [HandlerTimeoutError] * (kind is handles)
    assert [event.overrun for event in of(RollSucceeded, log)] == (
        [True] if kind is rolls else [False] * (kind in (lives, is_called))
    )


def test_fault_66_a_manager_that_is_left_by_an_exception(anyio_backend, caplog):
    """Everything of the application's is cancelled then: what swallows that is logged, and keeps no core busy."""
    used = list[float]()
    stubborn = Stubborn()

    async def watch() -> None:
        await until(lambda: stubborn.cancelled >= 2)
        used.append(await share_used(0.3))
        await until(lambda: stubborn.cancelled >= 5 and "has not ended" in caplog.text)
        stubborn.released = True

    async def main() -> None:
        manager = managed()
        manager.on(ACTIVE)(stubborn)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            with pytest.raises(ZeroDivisionError):  # noqa: PT012 -- what is left is the block
                async with manager:
                    await stubborn.began.wait()
                    raise ZeroDivisionError

    run(main, anyio_backend)
    assert stubborn.ended.is_set()
    assert used[0] < SHARE


def test_fault_66_a_shielded_commit_is_overdue_and_ends_by_itself(anyio_backend):
    """What waits behind a shield of its own is left alone, and reported all the same."""
    log, done = list[Event](), list[float]()
    began = anyio.Event()

    async def commit(_: object) -> None:
        began.set()
        with anyio.CancelScope(shield=True):
            await until(lambda: of(CallbackOverdue, log))
            await anyio.sleep(2 * PAUSE)
            done.append(time.monotonic())

    async def main() -> None:
        manager = managed()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collect, manager, log)
            async with manager:
                tasks.start_soon(manager.run_while, commit, ACTIVE)
                await began.wait()
                await manager.end_session("to cancel it")
                await until(lambda: done)

    run(main, anyio_backend)
    assert len(done) == 1
    assert len(of(CallbackOverdue, log)) == 1


@pytest.mark.anyio
async def test_a_body_that_ends_in_time_is_not_overdue(monkeypatch):
    """Cleanup that ends within the time is nobody's business, and is cancelled at each of its waits as ever."""
    monkeypatch.setattr(call_scope, "OVERDUE_SECONDS", 30)
    log, waits = list[Event](), list[str]()
    manager = managed()
    began, ended = anyio.Event(), anyio.Event()

    async def clean(_: object) -> None:
        began.set()
        try:
            await anyio.sleep_forever()
        finally:
            for _ in range(3):
                try:
                    await anyio.sleep(1)
                except anyio.get_cancelled_exc_class():
                    waits.append("cancelled")
            with anyio.CancelScope(shield=True):
                await anyio.sleep(4 * PAUSE)
            ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(collect, manager, log)
        async with manager:
            tasks.start_soon(manager.run_while, clean, ACTIVE)
            await began.wait()
            await manager.end_session("to cancel it")
            await ended.wait()
    assert waits == ["cancelled"] * 3
    assert of(CallbackOverdue, log) == []
