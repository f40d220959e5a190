"""Leaving while records are being written, and journals in a group."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import anyio
import pytest

from session_lifecycle import (
    Entry,
    GroupStopped,
    JournalWriteFailed,
    MemoryJournal,
    Record,
    RollStarted,
    RollSucceeded,
    SessionGroup,
)
from tests.helpers.builders import MONDAY, at
from tests.helpers.group import Desk
from tests.helpers.harness import (
    HOUR,
    NOW,
    TUESDAY,
    need_asyncio,
    of,
    running,
)
from tests.helpers.ledger import (
    BRIEF,
    Slow,
    a_while,
    in_background,
    keeping,
    tasks_named,
    until,
)
from tests.helpers.manager_journal import (
    ADOPTED,
    DONE,
    END,
    EVENING,
    INTENT,
    errors_logged,
    is_free,
)

pytestmark = pytest.mark.anyio
NOON = at(MONDAY, (16, 0))
HALTED, RESUMED, WITHDRAWN = Entry.HALTED, Entry.RESUMED, Entry.WITHDRAWN


# ---- leaving ----


class _Left(Exception):
    pass


async def leave_by_an_error(manager, ready):
    with pytest.raises(_Left):  # noqa: PT012 -- leaving is what raises
        async with manager:
            await ready()
            raise _Left


async def leave_by_a_scope(manager, ready):
    with anyio.CancelScope() as scope:
        async with manager:
            await ready()
            scope.cancel()
            await anyio.sleep_forever()


async def leave_natively(manager, ready):
    async def main() -> None:
        async with manager:
            await ready()
            entered.set()
            await asyncio.sleep(60)

    entered = asyncio.Event()
    task = asyncio.create_task(main())
    await entered.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def leave_normally(manager, ready):
    async with manager:
        await ready()


async def written_after(left):
    """Write in the turns in which the manager is being left: `left` is set as that begins."""
    await left.wait()
    await a_while()


@pytest.mark.parametrize("leave", [leave_by_an_error, leave_by_a_scope, leave_natively, leave_normally])
async def test_leaving_while_done_is_written_makes_it_durable(anyio_backend, leave):
    """Whatever ends the manager: the roll has returned, so its *done* is written, and reported, before the end."""
    if leave is leave_natively:
        need_asyncio(anyio_backend)
    left = anyio.Event()
    journal = Slow(partial(written_after, left), entries=[DONE])
    manager, clock, rolls = keeping(EVENING, journal)
    events = manager.events()

    async def ready() -> None:
        async def advance() -> None:
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                await clock.advance(HOUR)

        tasks.start_soon(advance)
        await until(lambda: journal.attempts[-1][0][0] is DONE)
        left.set()

    scopes: list[anyio.CancelScope] = []
    async with anyio.create_task_group() as tasks:
        await leave(manager, ready)
        for scope in scopes:
            scope.cancel()
    assert journal.written == [ADOPTED, INTENT, DONE]
    assert len(of(RollSucceeded, [event async for event in events])) == 1
    assert await is_free(journal)
    manager, clock, rolls = keeping(END + HOUR, journal)
    async with running(manager):
        assert (manager.session.date, rolls.begun) == (TUESDAY, [])


@pytest.mark.parametrize("leave", [leave_by_an_error, leave_by_a_scope, leave_natively])
async def test_leaving_while_an_intent_is_written_begins_nothing(anyio_backend, leave):
    """The intent becomes durable, but a manager that is being cancelled begins no attempt; the next run does."""
    if leave is leave_natively:
        need_asyncio(anyio_backend)
    left = anyio.Event()
    journal = Slow(partial(written_after, left), entries=[INTENT])
    manager, clock, rolls = keeping(EVENING, journal)
    events = manager.events()

    async def ready() -> None:
        clock.step(HOUR)
        await until(lambda: journal.attempts[-1][0][0] is INTENT)
        left.set()

    await leave(manager, ready)
    assert (journal.written, rolls.begun) == ([ADOPTED, INTENT], [])
    assert of(RollStarted, [event async for event in events]) == []
    manager, clock, rolls = keeping(END + HOUR, journal)
    async with running(manager) as log:
        assert [event.resumed for event in of(RollSucceeded, log)] == [True]
    assert rolls.dates == [TUESDAY]


async def test_leaving_waits_no_longer_than_a_journal_that_never_answers_may_take():
    """Three tries of `journal_timeout`, and the manager has ended."""
    journal = Slow(entries=[HALTED], always=anyio.sleep_forever)
    manager, _, _ = keeping(NOON, journal, journal_timeout=BRIEF)
    with anyio.fail_after(5):
        async with manager:
            manager.halt("news")
    assert await is_free(journal)


async def test_leaving_waits_until_the_journal_is_closed():
    """Closing may take its time, and the journal is free for the next manager."""

    class Slowly(MemoryJournal):
        async def close(self):
            await anyio.sleep(0.02)
            await super().close()

    journal = Slowly()
    manager, _, _ = keeping(NOON, journal)
    async with running(manager):
        pass
    await journal.open("fixed")


async def test_leaving_cuts_off_no_append_of_a_member_that_was_given_up():
    """It was being added when that was cancelled; its journal is closed already."""

    class Noting(Slow):
        ended = False

        async def append(self, records: Sequence[Record]) -> None:
            with suppress(JournalWriteFailed):
                await super().append(records)
            self.ended = True

    async def release() -> None:
        await anyio.wait_all_tasks_blocked()
        journal.release()

    desk = Desk(NOON)
    journal = Noting()
    journal.shut()
    group = SessionGroup([desk.manager("one")])
    with anyio.fail_after(5):
        async with anyio.create_task_group() as meanwhile, group:
            async with anyio.create_task_group() as adding:
                adding.start_soon(group.add, desk.manager("two", journal=journal))
                await journal.writing.wait()
                adding.cancel_scope.cancel()
            meanwhile.start_soon(release)
    assert journal.ended


async def test_a_journal_that_hangs_in_close_does_not_hang_the_manager():
    """It is waited for as long as for an append."""

    class Hanging(MemoryJournal):
        closing = 0

        async def close(self) -> None:
            self.closing += 1
            await anyio.sleep_forever()

    journal = Hanging()
    manager, _, _ = keeping(NOON, journal, journal_timeout=BRIEF)
    events = manager.events()
    with anyio.fail_after(5):
        async with manager:
            pass
    assert journal.closing == 1
    assert [event async for event in events]


async def test_a_native_cancellation_of_a_task_that_closes(anyio_backend):
    """The others of the group are closed all the same, after what waits for them is written."""
    need_asyncio(anyio_backend)

    class Struck(MemoryJournal):
        async def close(self) -> None:
            [task] = tasks_named("_close")
            task.cancel()
            await anyio.sleep(60)

    desk = Desk(NOON)
    slow = Slow(lambda: anyio.sleep(0.05), entries=[HALTED])
    one, two = desk.manager("one", journal=Struck()), desk.manager("two", journal=slow)
    async with SessionGroup([one, two]):
        two.halt("news")
    assert slow.written == [ADOPTED, HALTED]
    assert slow.attempts == [[(ADOPTED, 1)], [(HALTED, 2)]]
    assert await is_free(slow)


async def test_a_native_cancellation_as_the_task_that_writes_is_started(anyio_backend):
    """The task that starts it is cancelled in any of the turns until it has: what was decided is written."""
    need_asyncio(anyio_backend)
    for turns in range(8):
        journal = Slow()
        manager, clock, _ = keeping(NOON, journal)
        async with running(manager):
            await a_while()
            manager.halt("news")
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks_named("run", "_flush"):
                task.cancel()
            with anyio.fail_after(5):
                await clock.advance(NOW)
            assert journal.written == [ADOPTED, HALTED]


async def test_a_journal_that_cannot_be_closed_is_logged(caplog):
    """Leaving does not raise for it."""

    class Broken(MemoryJournal):
        async def close(self) -> None:
            raise OSError("no such connection")

    manager, _, _ = keeping(NOON, Broken())
    with errors_logged(caplog) as lines:
        async with manager:
            pass
    assert [line for line in lines if "could not be closed" in line]


# ---- in a group ----


async def test_a_journal_that_hangs_holds_up_nobody_in_a_group():
    """While one member's record waits for its journal, the others' are written, and halts act."""
    desk = Desk(NOON)
    slow, quick = Slow(), Slow()
    one, two = desk.manager("one", journal=slow), desk.manager("two", journal=quick)
    async with SessionGroup([one, two]):
        slow.shut()
        one.halt("news")
        await slow.writing.wait()
        two.halt("news")
        await until(lambda: HALTED in quick.written)
        await two.end_session("fire drill")
        await until(lambda: two.session.date == TUESDAY)
        assert slow.written == [ADOPTED]
        slow.release()
        await desk.clock.advance(NOW)
    assert slow.written == [ADOPTED, HALTED]


@pytest.mark.parametrize("where", ["as it is opened", "as the session is adopted"])
async def test_adding_to_a_group_that_stops_meanwhile_is_refused(where):
    """The manager has stopped, and its journal is free."""

    class Waiting(Slow):
        hangs = where == "as it is opened"

        async def open(self, calendar):
            records = await super().open(calendar)
            if self.hangs:
                self.writing.set()
                try:
                    await anyio.sleep_forever()
                finally:
                    await self.close()
            return records

    desk = Desk(NOON)
    journal = Waiting()
    if where == "as the session is adopted":
        journal.shut()
    late = desk.manager("late", journal=journal)
    async with anyio.create_task_group() as tasks:
        group = SessionGroup([desk.manager("one")])
        await tasks.start(group.run)
        async with in_background(group.add, late) as outcome:
            await journal.writing.wait()
            group.stop()
            await a_while()
            if where == "as the session is adopted":
                journal.release()
    assert isinstance(outcome[0], GroupStopped)
    assert late not in group.managers
    assert "stopped" in repr(late)
    journal.hangs = False
    assert await is_free(journal)
