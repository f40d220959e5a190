"""Native cancellations at chosen turns of the event loop, in an application that lives in simulated time.

A callback that schedules itself once a turn counts the turns and throws: `task.cancel()` on the application's own task,
or on one of the manager's. What must hold afterwards is the same wherever it strikes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Any

import anyio

from session_lifecycle import (
    DriverCancelled,
    Event,
    FeedStale,
    JournalLocked,
    LifecycleConfig,
    MemoryJournal,
    MissedSessions,
    Record,
    RetryPolicy,
    RollSucceeded,
    SessionBoundaryManager,
    SessionGroup,
    StateChanged,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import MONDAY, at
from tests.helpers.harness import ACTIVE, HOUR, MINUTE, NOT_STARTED, SECOND, season

CONFIG = LifecycleConfig(
    data_timeout=None,
    roll_timeout=MINUTE,
    missed_sessions=MissedSessions.EACH,
    roll_retry=RetryPolicy(attempts=6, initial=SECOND),
)
TURNS_AFTER = 30
"""How many turns everything may take to end once the application has."""

TURNS_AT_MOST = 5_000
"""A life takes a few hundred; one that takes so many hangs."""


class Boom(Exception):
    """The application's own error."""


class PausingJournal(MemoryJournal):
    """A journal in memory that takes a turn or two of the loop for each call."""

    async def open(self, calendar: str) -> tuple[Record, ...]:
        await asyncio.sleep(0)
        return await super().open(calendar)

    async def append(self, records: Sequence[Record]) -> None:
        await asyncio.sleep(0)
        await super().append(records)
        await asyncio.sleep(0)

    async def close(self) -> None:
        await asyncio.sleep(0)
        await super().close()


class Stage:
    """One life of an application: its clock, its managers with their journals, and what they have told."""

    def __init__(self) -> None:
        self.clock = SimulatedClock(at(MONDAY, (20, 59)), autojump=True)
        self.managers: list[tuple[SessionBoundaryManager, PausingJournal, Any]] = []
        self.finished = False

    def manager(
        self, roll: Callable[[date], Awaitable[object]] | None = None, config: LifecycleConfig = CONFIG
    ) -> SessionBoundaryManager:
        journal = PausingJournal()
        manager = SessionBoundaryManager(
            season(), roll or self.roll, config=config, clock=self.clock, journal=journal, name=str(len(self.managers))
        )
        self.managers.append((manager, journal, manager.events()))
        return manager

    async def roll(self, _: date) -> None:
        await self.clock.sleep(SECOND)

    async def live(self, situation: "Situation") -> None:
        """Be in a situation, and then wait for whatever may come."""
        await situation(self)
        self.finished = True
        await asyncio.get_running_loop().create_future()


Situation = Callable[[Stage], Awaitable[None]]


# ---- the situations ----


async def start(stage: Stage) -> None:
    manager = stage.manager()
    await manager.start()
    try:
        await stage.clock.sleep(HOUR)
    finally:
        await manager.aclose()


async def run(stage: Stage) -> None:
    manager = stage.manager()

    @manager.on(NOT_STARTED)
    async def stop(_: StateChanged) -> None:
        manager.stop()

    await manager.run()


async def roll(stage: Stage) -> None:
    async with stage.manager():
        await stage.clock.sleep(HOUR)


async def retry(stage: Stage) -> None:
    attempts = 0

    async def fail(_: date) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise Boom
        if attempts == 2:
            await anyio.sleep_forever()
        await stage.clock.sleep(SECOND)

    async with stage.manager(fail):
        await stage.clock.sleep(HOUR)


async def leave(stage: Stage) -> None:
    async with stage.manager():
        await stage.clock.sleep(31 * MINUTE + SECOND / 2)


async def leave_with_an_error(stage: Stage) -> None:
    async def slow_to_end(_: date) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await stage.clock.sleep(SECOND)

    with suppress(Boom):
        async with stage.manager(slow_to_end):
            await stage.clock.sleep(31 * MINUTE + SECOND)
            raise Boom


async def group(stage: Stage) -> None:
    one, two = stage.manager(), stage.manager()
    async with SessionGroup([one, two], max_concurrent_rolls=1) as members:
        await members.add(stage.manager())
        await members.remove(one)
        await stage.clock.sleep(31 * MINUTE + SECOND / 2)
        await members.remove(two)


async def scope(stage: Stage) -> None:
    with anyio.CancelScope() as around:
        async with stage.manager():
            await stage.clock.sleep(31 * MINUTE + SECOND / 2)
            around.cancel()
            await anyio.sleep_forever()


async def timeout(stage: Stage) -> None:
    try:
        async with asyncio.timeout(None) as around, stage.manager():
            await stage.clock.sleep(31 * MINUTE + SECOND / 2)
            around.reschedule(0)
            await anyio.sleep_forever()
    except TimeoutError:
        pass


async def handler(stage: Stage) -> None:
    manager = stage.manager()

    @manager.on(StateChanged, missed=True)
    async def waiting(_: StateChanged) -> None:
        await stage.clock.sleep(SECOND)

    @manager.on(StateChanged, timeout=SECOND)
    async def hanging(_: StateChanged) -> None:
        await anyio.sleep_forever()

    @manager.at("close", 2 * MINUTE)
    async def alarm(_: Event) -> None:
        await asyncio.sleep(0)

    async with manager:
        await stage.clock.sleep(40 * MINUTE)


async def probe(stage: Stage) -> None:
    manager = stage.manager()
    answers = [True, False]

    async def ask(_: object) -> bool:
        await stage.clock.sleep(SECOND)
        return answers.pop(0) if answers else True

    manager.add_feed("trades", timeout=10 * SECOND, probe=ask, probe_timeout=MINUTE)
    stale: list[Event] = []

    @manager.on(FeedStale)
    async def note(event: FeedStale) -> None:
        stale.append(event)

    async with manager:
        await stage.clock.sleep(2 * MINUTE)


async def during(stage: Stage) -> None:
    manager = stage.manager()

    async def serve(_: object) -> None:
        await anyio.sleep_forever()

    async with manager:
        async with manager.during(ACTIVE):
            await anyio.sleep_forever()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(manager.run_while, serve, NOT_STARTED)
            await manager.wait_for(NOT_STARTED)
            async for _ in manager.sessions():
                break
            async with manager.during(NOT_STARTED, grace=SECOND):
                manager.stop()
                await anyio.sleep_forever()


SITUATIONS: dict[str, Situation] = {
    each.__name__.replace("_", " "): each
    for each in (start, run, roll, retry, leave, leave_with_an_error, group, scope, timeout, handler, probe, during)
}


# ---- what must hold ----


async def explode(situation: Situation, turns: Sequence[int], victim: str = "app") -> tuple[int, list[str]]:
    """Live a life in which the victim is cancelled at these turns of the loop; return its turns, and what was wrong.

    A victim other than the application is the first task whose name begins so, where there is one at the time.
    """
    loop = asyncio.get_running_loop()
    wrong: list[str] = []
    loop.set_exception_handler(lambda _, context: wrong.append(f"the loop says: {context}"))
    stage, thrown, turn = Stage(), 0, 0
    app = asyncio.create_task(stage.live(situation), name="app")
    over = loop.create_future()
    end = 0

    def tick() -> None:
        nonlocal turn, thrown, end
        if turn in turns:
            target = app if victim == "app" else _named(victim)
            thrown += target is not None and target.cancel()
        turn += 1
        if stage.finished and not end:
            end = turn
        if app.done() or turn > TURNS_AT_MOST or (end and turn > max([end, *turns]) + TURNS_AFTER):
            over.set_result(None)
        else:
            loop.call_soon(tick)

    loop.call_soon(tick)
    await over
    if victim == "app" and thrown:
        if not app.done():
            wrong.append("a cancellation is lost" if stage.finished else "it hangs")
        elif not app.cancelled():
            wrong.append(f"it is not cancelled, but raises {app.exception()!r}")
    elif not stage.finished and not (app.done() and _is_loud(app, victim)):
        wrong.append(f"it ends otherwise: {app}")
    elif not app.done() and app.cancelling():
        wrong.append("a stray cancellation is left")
    app.cancel()
    for _ in range(TURNS_AFTER):
        await asyncio.sleep(0)
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    if left:
        wrong.append(f"tasks are left: {left}")
        for task in left:
            task.cancel()
        await asyncio.sleep(0)
        return turn, wrong
    for manager, journal, events in stage.managers:
        wrong += await _after(manager, journal, events, stage.clock.now())
    return end or turn, wrong


def _named(prefix: str) -> "asyncio.Task[Any] | None":
    named = [task for task in asyncio.all_tasks() if task.get_name().startswith(prefix)]
    return min(named, key=lambda task: task.get_name(), default=None)


def _is_loud(app: "asyncio.Task[None]", victim: str) -> bool:
    """Whether the application was told that a task of the driver's own was cancelled."""
    ours = not victim.startswith(("roll", "handler", "probe"))
    return ours and not app.cancelled() and isinstance(app.exception(), DriverCancelled)


async def _after(manager: SessionBoundaryManager, journal: PausingJournal, events: Any, now: datetime) -> list[str]:
    """Return what is wrong with a manager that is over, and with one that begins with its journal."""
    wrong: list[str] = []
    if manager.started and (not manager._host.stopped or manager._host.tasks):
        wrong.append(f"it is not over: {manager}, {manager._host.tasks} tasks")
        return wrong
    if not manager.started:
        return wrong
    announced = [event.next_session async for event in events if isinstance(event, RollSucceeded)]
    clock = SimulatedClock(now)

    async def roll_again(day: date) -> None:
        if day in announced:
            wrong.append(f"the roll to {day} was announced, and is repeated")

    heir = SessionBoundaryManager(season(), roll_again, config=CONFIG, clock=clock, journal=journal)
    told = heir.events()
    try:
        async with heir:
            await clock.advance(timedelta(days=1))
    except JournalLocked:
        wrong.append("its journal is still held")
    announced += [event.next_session async for event in told if isinstance(event, RollSucceeded)]
    days = [session.date for session in season().sessions(MONDAY, MONDAY + timedelta(days=7))]
    if announced != days[1 : len(announced) + 1]:
        wrong.append(f"rolls announced: {announced}")
    return wrong
