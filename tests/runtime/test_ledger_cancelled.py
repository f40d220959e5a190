"""Callers that are cancelled while their record is being written, natively and by a scope."""

import asyncio

import anyio
import pytest

from session_lifecycle import (
    Entry,
    MemoryJournal,
    RollSucceeded,
    SessionBoundaryManager,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import MONDAY, at
from tests.helpers.harness import (
    ACTIVE,
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    TUESDAY,
    cancelled_once_it_waits,
    need_asyncio,
    of,
    running,
    season,
)
from tests.helpers.ledger import (
    Slow,
    a_while,
    keeping,
    tasks_named,
    until,
)
from tests.helpers.manager_journal import (
    ADOPTED,
    DONE,
    EVENING,
    INTENT,
    is_free,
)

pytestmark = pytest.mark.anyio
NOON = at(MONDAY, (16, 0))
HALTED, RESUMED, WITHDRAWN = Entry.HALTED, Entry.RESUMED, Entry.WITHDRAWN


# ---- native cancellations ----


@pytest.mark.parametrize("moment", ["in the same step", "while it is written"])
async def test_cancelling_the_rolls_task_after_its_return_reaches_nothing(anyio_backend, moment):
    """Its *done* is in the ledger by then, which no cancellation of the application's reaches."""
    need_asyncio(anyio_backend)
    journal = Slow()
    clock = SimulatedClock(EVENING)
    mine: list[asyncio.Task[object]] = []

    async def roll(_: object) -> None:
        await clock.sleep(MINUTE)
        mine.append(asyncio.current_task())
        journal.shut()
        if moment == "in the same step":
            mine[0].cancel()

    manager = SessionBoundaryManager(season(), roll, clock=clock, journal=journal)
    async with running(manager) as log, anyio.create_task_group() as tasks:
        tasks.start_soon(clock.advance, HOUR)
        await until(lambda: journal.attempts[-1][0][0] is DONE)
        mine[0].cancel()
        await a_while()
        assert manager.session.date == MONDAY
        journal.release()
        await until(lambda: of(RollSucceeded, log))  # a reader hears of it in a later turn than the session has changed
        assert manager.session.date == TUESDAY
    assert len(of(RollSucceeded, log)) == 1
    assert journal.written == [ADOPTED, INTENT, DONE]


@pytest.mark.parametrize("failure", [False, True], ids=["not written", "written"])
async def test_a_native_cancellation_of_the_task_that_writes(anyio_backend, failure):
    """The append is in doubt: the same records come again, and are found where they are there already."""
    need_asyncio(anyio_backend)

    async def cancel() -> None:
        if failure:
            await MemoryJournal.append(journal, [])  # nothing is awaited by it
        [task] = tasks_named("_flush")
        task.cancel()
        await anyio.sleep(60)

    class Torn(Slow):
        async def append(self, records):
            if failure and records[0].entry is DONE and not self.done:
                self.done = True
                await MemoryJournal.append(self, records)
                self.attempts.append([(record.entry, record.seq) for record in records])
                await cancel()
            await super().append(records)

        done = False

    journal = Torn(entries=[DONE]) if failure else Torn(cancel, entries=[DONE])
    manager, clock, rolls = keeping(EVENING, journal)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)
        assert len(of(RollSucceeded, log)) == 1
    assert journal.attempts == [[(ADOPTED, 1)], [(INTENT, 2)], [(DONE, 3)], [(DONE, 3)]]
    assert (journal.written, rolls.dates) == ([ADOPTED, INTENT, DONE], [TUESDAY])


async def test_a_native_cancellation_of_the_task_that_writes_before_its_first_step(anyio_backend):
    """The task is started anew: what was decided is written."""
    need_asyncio(anyio_backend)
    journal = Slow()
    manager, clock, _ = keeping(NOON, journal)
    struck: list[asyncio.Task[object]] = []

    def strike(loop, coro, **options):
        task = asyncio.Task(coro, loop=loop, **options)
        if len(struck) < 2:
            struck.append(task)
            task.cancel()
        return task

    async with running(manager):
        loop = asyncio.get_running_loop()
        loop.set_task_factory(strike)
        try:
            manager.halt("news")
            await clock.advance(NOW)
        finally:
            loop.set_task_factory(None)
        assert [task.get_name() for task in struck] == ["_flush", "_flush"]
        assert journal.written == [ADOPTED, HALTED]
        assert manager.halted == "news"


async def test_a_native_cancellation_of_every_task_of_the_journals(anyio_backend):
    """Nor does one of the task that starts those that write, again and again, keep anything from being written."""
    need_asyncio(anyio_backend)
    journal = Slow()
    manager, clock, _ = keeping(NOON, journal)
    async with running(manager):
        journal.shut()
        for number in range(3):
            manager.halt(f"number {number}")
            manager.resume()
            tasks = tasks_named("run", "_flush")
            assert tasks
            for task in tasks:
                task.cancel()
            await a_while()
        journal.release()
        await clock.advance(NOW)
        assert manager.halted is None
    assert journal.written[:3] == [ADOPTED, HALTED, RESUMED]
    assert await is_free(journal)


# ---- cancelling the caller ----


async def test_cancelling_the_caller_withdraws_what_has_not_begun_to_be_written():
    """Behind another append it only waits: once cancelled, nothing of it is written, and nothing happens."""
    journal = Slow()
    manager, clock, rolls = keeping(NOON, journal)
    async with running(manager):
        journal.shut()
        manager.halt("news")
        await journal.writing.wait()
        assert await cancelled_once_it_waits(manager.end_session, "never mind")
        journal.release()
        await clock.advance(NOW)
        assert (manager.state, rolls.begun) == (ACTIVE, [])
    assert journal.written == [ADOPTED, HALTED]


async def test_cancelling_the_caller_does_not_stop_what_is_being_written():
    """From then on it is decided, and happens."""
    journal = Slow()
    manager, clock, rolls = keeping(NOON, journal)

    async def cancel_once_being_written() -> None:
        await journal.writing.wait()
        scope.cancel()

    async with running(manager), anyio.create_task_group() as tasks:
        journal.shut()
        with anyio.CancelScope() as scope:
            tasks.start_soon(cancel_once_being_written)
            await manager.end_session("fire drill")
        assert scope.cancelled_caught
        assert manager.state is ACTIVE
        journal.release()
        await clock.advance(NOW)
        assert manager.session.date == TUESDAY
    assert journal.written == [ADOPTED, Entry.ENDED, INTENT, DONE]
    assert rolls.dates == [TUESDAY]


async def test_cancelling_the_caller_lets_a_simulated_clock_go_on():
    """What was withdrawn holds nothing up."""
    journal = Slow()
    manager, clock, _ = keeping(NOON, journal)
    async with running(manager):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await manager.end_session("never mind")
        with anyio.fail_after(5):
            await clock.advance(MINUTE)
        assert manager.state is ACTIVE
    assert journal.written == [ADOPTED]
