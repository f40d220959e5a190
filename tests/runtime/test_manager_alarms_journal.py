"""Alarms with a journal: it holds that one has begun before its handlers are called, and that they have ended."""

import anyio
import pytest

from session_lifecycle import AlarmFired, AlarmInterrupted, Entry, MemoryJournal, Record
from tests.helpers.builders import MONDAY, at
from tests.helpers.harness import HOUR, MINUTE, NOW, make, of, running
from tests.helpers.ledger import Slow
from tests.helpers.manager_alarms import register
from tests.helpers.manager_journal import Refusing, adopted, holding

pytestmark = pytest.mark.anyio

BEGUN, ENDED = Entry.ALARM_BEGUN, Entry.ALARM_ENDED
NOON = at(MONDAY, (16, 0))


def alarms(journal: MemoryJournal) -> list[tuple[Entry, str]]:
    """Return what a journal holds of alarms."""
    return [(record.entry, record.subject) for record in journal.records if record.entry in (BEGUN, ENDED)]


async def test_it_has_begun_before_its_handlers_and_ended_after_the_last():
    """Two handlers of one alarm are one beginning and one end."""
    journal = MemoryJournal()
    manager, clock = make(at(MONDAY, (15, 0)), journal=journal)
    held: list[list[tuple[Entry, str]]] = []
    goes_on = anyio.Event()

    @manager.at("open", HOUR)
    async def slow(event: AlarmFired) -> None:
        held.append(alarms(journal))
        await goes_on.wait()

    @manager.at("open", HOUR)
    async def quick(event: AlarmFired) -> None:
        held.append(alarms(journal))

    async with running(manager) as log:
        await clock.advance_to(NOON)
        (event,) = of(AlarmFired, log)
        assert held == [[(BEGUN, event.key)]] * 2
        assert alarms(journal) == [(BEGUN, event.key)]
        goes_on.set()
        await clock.advance(NOW)
        assert alarms(journal) == [(BEGUN, event.key), (ENDED, event.key)]


async def test_a_handler_waits_for_as_long_as_its_beginning_is_being_written():
    """However long the disk takes."""
    journal = Slow()
    manager, clock = make(at(MONDAY, (15, 0)), journal=journal)
    calls = register(manager, "open", HOUR)
    async with running(manager), anyio.create_task_group() as tasks:
        journal.shut()
        tasks.start_soon(clock.advance_to, NOON)
        await journal.writing.wait()
        await anyio.wait_all_tasks_blocked()
        meanwhile = len(calls)
        journal.release()
    assert (meanwhile, len(calls)) == (0, 1)


async def test_a_handler_that_raises_has_ended():
    journal = MemoryJournal()
    manager, clock = make(at(MONDAY, (15, 0)), journal=journal)

    @manager.at("open", HOUR)
    async def fail(event: AlarmFired) -> None:
        raise ValueError

    async with running(manager):
        await clock.advance_to(NOON)
        assert [entry for entry, _ in alarms(journal)] == [BEGUN, ENDED]


async def test_one_that_recurs_after_a_restart_is_not_recorded():
    """It may fire again, so a record of it would say nothing."""
    journal = MemoryJournal()
    manager, clock = make(at(MONDAY, (15, 0)), journal=journal)
    calls = register(manager, "open", HOUR, recurring_after_restart=True)
    async with running(manager):
        await clock.advance_to(NOON)
    assert len(calls) == 1
    assert alarms(journal) == []


async def test_one_that_was_interrupted_is_reported_once():
    """The next start reports it, records that, and does not fire it; the one after that hears nothing of it."""
    manager, _ = make(at(MONDAY, (15, 0)))
    register(manager, "open", HOUR)
    key = manager._lifecycle._alarms._registered.popitem()[0].key
    journal = holding(adopted(), Record(BEGUN, MONDAY, NOON, subject=key))
    for reported in (1, 0):
        manager, clock = make(at(MONDAY, (15, 0)), journal=journal)
        calls = register(manager, "open", HOUR)
        async with running(manager) as log:
            await clock.advance_to(NOON)
            assert [(each.key, each.session) for each in of(AlarmInterrupted, log)] == [(key, MONDAY)] * reported
            assert calls == []
    assert alarms(journal) == [(BEGUN, key), (ENDED, key)]


async def test_what_is_due_now_is_done_though_it_cannot_be_recorded():
    """A full disk does not keep positions open over night."""
    journal = Refusing(BEGUN)
    manager, clock = make(at(MONDAY, (15, 0)), journal=journal)
    calls = register(manager, "open", HOUR)
    async with running(manager):
        await clock.advance_to(NOON + MINUTE)
    assert len(calls) == 1
