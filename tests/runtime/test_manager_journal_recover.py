"""`recover()` with a journal, and what ends the program in the middle of it."""

import asyncio
from collections.abc import Sequence
from datetime import date

import anyio
import anyio.lowlevel
import pytest

from session_lifecycle import (
    ClockStepped,
    Closure,
    Entry,
    IllegalTransition,
    Journal,
    JournalWriteFailed,
    ManagerStopped,
    MemoryJournal,
    Record,
    Resolution,
    RetryPolicy,
    RollFailedError,
    RollNotOwedError,
    RollSucceeded,
    ScheduleExhausted,
    SessionBoundaryManager,
    SpecialHours,
    SqliteJournal,
    VenueStatus,
)
from session_lifecycle.testing import SimulatedClock, assert_legal
from tests.helpers.builders import DAY, MONDAY, at, weekdays
from tests.helpers.harness import (
    ACTIVE,
    ENDED,
    ERROR,
    FRIDAY,
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    POST_MARKET,
    SECOND,
    THURSDAY,
    TUESDAY,
    WEDNESDAY,
    changes,
    need_asyncio,
    of,
    path,
    run,
    running,
    season,
)
from tests.helpers.ledger import TRIES, Kept, Lost, Slow, a_while, in_background
from tests.helpers.manager_journal import (
    ADOPTED,
    DONE,
    END,
    EVENING,
    FAILED,
    INTENT,
    ONCE,
    RECOVERED,
    SKIPPED,
    Refusing,
    adopted,
    begin,
    entries,
    failed,
    holding,
    intent,
    is_free,
    numbered,
)

pytestmark = pytest.mark.anyio


# ---- recover ----


FAILED_IN_MID_ROLL = (adopted(), intent(), failed())
FAILED_BEFORE_THE_ROLL = (adopted(), Record(Entry.ENDED, MONDAY, END), failed())


async def fail_the_roll(journal: MemoryJournal, **settings):
    """Return a manager whose roll to Tuesday is about to fail, its clock, and its roll."""
    return begin(EVENING, journal, OSError("no disk"), roll_retry=ONCE, **settings)


@pytest.mark.parametrize("restart", [False, True], ids=["in process", "after a restart"])
@pytest.mark.parametrize("resolution", Resolution)
async def test_recover_with_an_open_intent(resolution, restart):
    """RETRY awaits the roll again, MARK_DONE enters its target unawaited, SKIP goes to the session after it."""
    journal = MemoryJournal()
    manager, clock, rolls = await fail_the_roll(journal)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert manager.state is ERROR
        if not restart:
            await decide(manager, rolls, log, journal, resolution, resumed=False)
    if restart:
        manager, clock, rolls = begin(clock.now(), journal)
        async with running(manager) as log:
            assert manager.state is ERROR
            await decide(manager, rolls, log, journal, resolution, resumed=True)


async def decide(manager, rolls, log, journal, resolution, *, resumed):
    """Recover from a failed roll to Tuesday, and hold what comes of it against the resolution."""
    log.clear()
    rolls.begun.clear()
    assert entries(journal)[1:] == [(INTENT, MONDAY, TUESDAY), (FAILED, MONDAY, None)]
    await manager.recover(resolution)
    written = entries(journal)[3]
    await manager.clock.advance(NOW)
    [done] = of(RollSucceeded, log)
    match resolution:
        case Resolution.RETRY:
            assert written == (RECOVERED, MONDAY, None)
            assert (rolls.dates, done.next_session, done.resumed, done.skipped) == ([TUESDAY], TUESDAY, resumed, ())
            assert entries(journal)[4:] == [(DONE, MONDAY, TUESDAY)]
        case Resolution.MARK_DONE:
            assert written == (DONE, MONDAY, TUESDAY)
            assert (rolls.dates, done.next_session, done.skipped) == ([], TUESDAY, ())
            assert entries(journal)[4:] == []
        case Resolution.SKIP:
            assert written == (SKIPPED, MONDAY, TUESDAY)
            assert (rolls.dates, done.next_session, done.resumed) == ([WEDNESDAY], WEDNESDAY, False)
            assert done.skipped == (TUESDAY,)
            assert entries(journal)[4:] == [(INTENT, MONDAY, WEDNESDAY), (DONE, MONDAY, WEDNESDAY)]
    assert (manager.state, manager.session.date) == (NOT_STARTED, done.next_session)
    assert path(log) == ["recover", "roll"]
    assert all(event.reason is None for event in changes(log))
    assert manager.status().reason is None


@pytest.mark.parametrize("restart", [False, True], ids=["in process", "after a restart"])
@pytest.mark.parametrize("resolution", Resolution)
async def test_recover_without_an_open_intent(resolution, restart):
    """The roll was never begun: RETRY begins it, MARK_DONE and SKIP take the target that policy gives."""
    journal = MemoryJournal()
    manager, clock, rolls = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager) as log:
        manager.fail("out of order")
        await clock.advance_to(at(WEDNESDAY, (15, 0)))  # two ends have gone by
        if not restart:
            await decide_unbegun(manager, rolls, log, journal, resolution)
    if restart:
        manager, clock, rolls = begin(clock.now(), journal)
        async with running(manager) as log:
            await decide_unbegun(manager, rolls, log, journal, resolution)


async def decide_unbegun(manager, rolls, log, journal, resolution):
    """Recover on Wednesday from an ERROR on Monday."""
    assert (manager.state, manager.session.date, manager.status().roll_owed) == (ERROR, MONDAY, True)
    log.clear()
    assert entries(journal)[1:] == [(FAILED, MONDAY, None)]
    await manager.recover(resolution)
    written = entries(journal)[2]
    await manager.clock.advance(NOW)
    [done] = of(RollSucceeded, log)
    assert not done.resumed
    match resolution:
        case Resolution.RETRY:
            assert written == (RECOVERED, MONDAY, None)
            assert (rolls.dates, done.next_session, done.skipped) == ([WEDNESDAY], WEDNESDAY, (TUESDAY,))
            assert (manager.state, manager.session.date) == (ACTIVE, WEDNESDAY)
        case Resolution.MARK_DONE:
            assert written == (DONE, MONDAY, WEDNESDAY)
            assert (rolls.dates, done.next_session, done.skipped) == ([], WEDNESDAY, (TUESDAY,))
            assert (manager.state, manager.session.date) == (ACTIVE, WEDNESDAY)
        case Resolution.SKIP:
            assert written == (SKIPPED, MONDAY, WEDNESDAY)
            assert (rolls.dates, done.next_session) == ([THURSDAY], THURSDAY)
            assert done.skipped == (TUESDAY, WEDNESDAY)
            assert (manager.state, manager.session.date) == (NOT_STARTED, THURSDAY)


async def test_recover_skip_that_a_restart_comes_in_between():
    """The session that was given up stays given up, though its successor's roll was not begun yet."""
    journal = MemoryJournal()
    manager, clock, _ = await fail_the_roll(journal, auto_roll=False)
    async with running(manager):
        await clock.advance(HOUR)
        with pytest.raises(RollFailedError):
            await manager.roll()
        await manager.recover(Resolution.SKIP)
        assert manager.state is ENDED
    manager, clock, rolls = begin(clock.now(), journal)
    async with running(manager) as log:
        [done] = of(RollSucceeded, log)
        assert (done.next_session, done.skipped, done.resumed) == (WEDNESDAY, (TUESDAY,), False)
    assert rolls.dates == [WEDNESDAY]


async def test_recover_skip_twice():
    """Each SKIP gives up one more session, and the roll that comes lists them all."""
    journal = MemoryJournal()
    manager, clock, rolls = begin(EVENING, journal, OSError(), OSError(), roll_retry=ONCE)
    async with running(manager) as log:
        await clock.advance(HOUR)
        await manager.recover(Resolution.SKIP)
        await clock.advance(NOW)
        assert manager.state is ERROR
        await manager.recover(Resolution.SKIP)
        await clock.advance(NOW)
        [done] = of(RollSucceeded, log)
        assert (done.next_session, done.skipped) == (THURSDAY, (TUESDAY, WEDNESDAY))
    assert rolls.dates == [TUESDAY, WEDNESDAY, THURSDAY]
    # A session that was given up and one that was begun for good: the next start agrees.
    manager, clock, rolls = begin(clock.now(), journal)
    async with running(manager):
        assert (manager.session.date, rolls.begun) == (THURSDAY, [])


async def test_recover_by_mark_done_then_restart():
    """What a person has marked as done is not rolled by a later run."""
    journal = holding(*FAILED_IN_MID_ROLL)
    manager, _, _ = begin(END, journal)
    async with running(manager):
        await manager.recover(Resolution.MARK_DONE)
    manager, _, rolls = begin(at(TUESDAY, (15, 0)), journal)
    async with running(manager):
        assert (manager.state, manager.session.date, rolls.begun) == (ACTIVE, TUESDAY, [])


async def test_recover_retry_then_restart():
    """Who recovers and is then killed in mid-roll comes back rolling, not in ERROR."""
    journal = holding(*FAILED_IN_MID_ROLL)
    manager, clock, _ = begin(END, journal, HOUR)
    with anyio.CancelScope() as scope:
        async with manager:
            await manager.recover()
            await clock.advance(MINUTE)
            scope.cancel()
            await anyio.sleep_forever()
    manager, clock, rolls = begin(END + HOUR, journal)
    async with running(manager) as log:
        assert manager.session.date == TUESDAY
        assert [event.resumed for event in of(RollSucceeded, log)] == [True]
    assert rolls.dates == [TUESDAY]


@pytest.mark.parametrize("records", [FAILED_IN_MID_ROLL, FAILED_BEFORE_THE_ROLL], ids=["in mid-roll", "before"])
@pytest.mark.parametrize("resolution", Resolution)
async def test_recover_that_cannot_be_journalled_changes_nothing(resolution, records):
    """The decision is written before it acts: where that fails, the caller hears of it and the state is ERROR still."""
    journal = Refusing(RECOVERED, DONE, SKIPPED, records=records)
    manager, clock, rolls = begin(END + HOUR, journal)
    async with running(manager) as log:
        before = manager.status()
        with pytest.raises(JournalWriteFailed):
            await manager.recover(resolution)
        await clock.advance(NOW)
        assert manager.status() == before
        assert (log, rolls.begun, journal.records) == ([], [], numbered(records))
        journal.refused.clear()
        await manager.recover(resolution)
        await clock.advance(NOW)
        assert manager.session.date == (WEDNESDAY if resolution is Resolution.SKIP else TUESDAY)


@pytest.mark.parametrize("resolution", [Resolution.MARK_DONE, Resolution.SKIP])
async def test_recover_where_no_roll_is_owed(resolution):
    """There is nothing to mark or to skip: refused, nothing written, ERROR; RETRY walks the session again."""
    journal = MemoryJournal()
    manager, clock, rolls = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager) as log:
        manager.fail("out of order")
        await clock.advance(NOW)
        log.clear()
        with pytest.raises(RollNotOwedError, match="RETRY"):
            await manager.recover(resolution)
        await clock.advance(NOW)
        assert (manager.state, log) == (ERROR, [])
        assert entries(journal)[1:] == [(FAILED, MONDAY, None)]
        await manager.recover()
        await clock.advance(NOW)
        assert manager.state is ACTIVE
        assert entries(journal)[2:] == [(RECOVERED, MONDAY, None)]
    assert rolls.begun == []


async def test_recover_outside_error_writes_nothing():
    """A call that is refused leaves no trace in the journal."""
    journal = MemoryJournal()
    manager, _, _ = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager):
        for resolution in Resolution:
            with pytest.raises(IllegalTransition):
                await manager.recover(resolution)
        with pytest.raises(TypeError, match="Resolution"):
            await manager.recover("retry")
    assert entries(journal) == [(ADOPTED, MONDAY, None)]
    with pytest.raises(ManagerStopped):
        await manager.recover()
    assert entries(journal) == [(ADOPTED, MONDAY, None)]


async def test_recover_without_a_journal():
    """The resolutions are decisions with or without one."""
    manager, clock, rolls = begin(EVENING, None, OSError("no disk"), roll_retry=ONCE)
    async with running(manager) as log:
        await clock.advance(HOUR)
        await manager.recover(Resolution.MARK_DONE)
        assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)
        await clock.advance(NOW)
        assert [event.next_session for event in of(RollSucceeded, log)] == [TUESDAY]
    assert rolls.dates == [TUESDAY]


async def test_recover_mark_done_past_the_cap():
    """The person's decision covers the sessions that were missed, however many."""
    start = at(MONDAY + 28 * DAY, (15, 0))
    journal = holding(adopted())
    manager, clock, rolls = begin(start, journal)
    async with running(manager) as log:
        assert manager.state is ERROR
        await manager.recover(Resolution.MARK_DONE)
        assert (manager.state, manager.session.date) == (ACTIVE, MONDAY + 28 * DAY)
        await clock.advance(NOW)
        assert len(of(RollSucceeded, log)[0].skipped) == 19
    assert rolls.begun == []


async def test_recover_mark_done_where_the_schedule_ends():
    """No session is known that could be entered: refused, and nothing written."""
    journal = MemoryJournal()
    manager, clock, _ = begin(at(FRIDAY, (15, 0)), journal, schedule=weekdays())
    async with running(manager):
        await clock.advance_to(at(FRIDAY, (22, 0)))
        assert manager.state is ERROR
        for resolution in (Resolution.MARK_DONE, Resolution.SKIP):
            with pytest.raises(ScheduleExhausted):
                await manager.recover(resolution)
            assert manager.state is ERROR
    assert entries(journal) == [(ADOPTED, FRIDAY, None), (FAILED, FRIDAY, None)]


async def test_recover_retry_with_auto_roll_off():
    """The state is ENDED again, and the roll waits for `roll()`."""
    journal = holding(*FAILED_IN_MID_ROLL)
    manager, clock, rolls = begin(END, journal, auto_roll=False)
    async with running(manager):
        with pytest.raises(RollNotOwedError, match="recover"):
            await manager.roll()
        await manager.recover()
        await clock.advance(HOUR)
        assert (manager.state, rolls.begun) == (ENDED, [])
        assert (await manager.roll()).resumed


# ---- what ends the program ----


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_fault_32_what_ends_the_program_keeps_the_intent(anyio_backend, error):
    """The journal is closed with the intent open, and the next start resumes the roll."""
    journal = MemoryJournal()

    async def interrupted() -> None:
        manager, clock, _ = begin(EVENING, journal, error("stop everything"))
        async with manager:
            await clock.advance(HOUR)
            pytest.fail("the body must not go on")

    with pytest.raises(error):
        run(interrupted, anyio_backend)
    assert entries(journal) == [(ADOPTED, MONDAY, None), (INTENT, MONDAY, TUESDAY)]

    async def resumed() -> None:
        assert await is_free(journal)
        manager, _, rolls = begin(at(TUESDAY, (15, 0)), journal)
        async with running(manager) as log:
            assert [event.resumed for event in of(RollSucceeded, log)] == [True]
            assert (manager.state, manager.session.date) == (ACTIVE, TUESDAY)
        assert rolls.dates == [TUESDAY]

    run(resumed, anyio_backend)


async def is_resumed_by_the_next(journal: Journal) -> None:
    """Hold that the journal is free, and that a manager on it resumes the roll to Tuesday."""
    assert await is_free(journal)
    manager, _, rolls = begin(at(TUESDAY, (15, 0)), journal)
    async with running(manager) as log:
        assert [event.resumed for event in of(RollSucceeded, log)] == [True]
        assert (manager.state, manager.session.date) == (ACTIVE, TUESDAY)
    assert rolls.dates == [TUESDAY]


async def test_fault_37_cancelled_by_a_scope_the_intent_is_kept(journals):
    """A cancel scope cancelled in mid-roll: the journal is closed with the intent open, and a restart resumes."""
    manager, clock, rolls = begin(EVENING, journals(), HOUR)
    with anyio.CancelScope() as scope:
        async with manager:
            await clock.advance_to(END + MINUTE)
            scope.cancel()
            await anyio.sleep_forever()
    assert (manager.state, rolls.done) == (ENDED, [])
    await is_resumed_by_the_next(journals())


async def test_fault_37_cancelled_natively_the_intent_is_kept(anyio_backend):
    """`task.cancel()` in mid-roll: the same."""
    need_asyncio(anyio_backend)
    journal = MemoryJournal()
    manager, clock, rolls = begin(EVENING, journal, HOUR)
    entered = asyncio.Event()

    async def main() -> None:
        async with manager:
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(main())
    await entered.wait()
    await clock.advance_to(END + MINUTE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert rolls.done == []
    await is_resumed_by_the_next(journal)


async def test_fault_37_cancelled_in_the_back_off_the_intent_is_kept():
    """Between two attempts it is open just as well."""
    journal = MemoryJournal()
    manager, clock, _ = begin(
        EVENING, journal, OSError("no disk"), roll_retry=RetryPolicy(initial=MINUTE, maximum=HOUR)
    )
    with anyio.CancelScope() as scope:
        async with manager:
            await clock.advance_to(END + 30 * SECOND)
            scope.cancel()
            await anyio.sleep_forever()
    await is_resumed_by_the_next(journal)


async def test_fault_38_cancelled_by_a_scope_as_the_roll_returns():
    """The roll's last act is to cancel everything around it: it has returned, so done is durable."""
    journal = MemoryJournal()
    clock = SimulatedClock(EVENING)
    scope = anyio.CancelScope()

    async def roll(next_date: date) -> None:
        await clock.sleep(SECOND)
        scope.cancel()

    manager = SessionBoundaryManager(season(), roll, clock=clock, journal=journal)
    with scope:
        async with manager:
            await clock.advance(HOUR)
            pytest.fail("the body must not go on")
    assert entries(journal)[-1] == (DONE, MONDAY, TUESDAY)
    assert await is_free(journal)


@pytest.mark.parametrize("whom", ["the roll's own task", "the manager's task"])
async def test_fault_38_cancelled_natively_as_the_roll_returns(anyio_backend, whom):
    """`task.cancel()` breaks through every shield, but nothing is awaited between the roll's return and done."""
    need_asyncio(anyio_backend)
    journal = MemoryJournal()
    clock = SimulatedClock(EVENING)

    async def roll(next_date: date) -> None:
        await clock.sleep(SECOND)
        (asyncio.current_task() if whom == "the roll's own task" else task).cancel()

    async def main() -> None:
        async with manager:
            entered.set()
            await asyncio.sleep(60)

    manager = SessionBoundaryManager(season(), roll, clock=clock, journal=journal)
    entered = asyncio.Event()
    task = asyncio.create_task(main())
    await entered.wait()
    await clock.advance(HOUR)
    assert entries(journal)[-1] == (DONE, MONDAY, TUESDAY)
    if whom == "the roll's own task":
        assert manager.session.date == TUESDAY
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    manager, _, rolls = begin(at(TUESDAY, (15, 0)), journal)
    async with running(manager):
        assert (manager.session.date, rolls.begun) == (TUESDAY, [])


# ---- words that come while a decision is written ----


@pytest.mark.parametrize("second", list(Resolution))
@pytest.mark.parametrize("first", list(Resolution))
async def test_of_two_recoveries_at_once_the_first_decides(first, second):
    """One that asks for the same returns with it; one that asks for something else is refused, and leaves no trace."""
    journal = Slow()
    manager, clock, _ = await fail_the_roll(journal)
    async with running(manager) as log:
        await clock.advance(HOUR)
        journal.shut()
        async with in_background(manager.recover, first) as one:
            await journal.writing.wait()
            async with in_background(manager.recover, second) as other:
                await a_while()
                journal.release()
        await clock.advance(HOUR)
        assert one == [None]
        if second is first:
            assert other == [None]
        else:
            assert isinstance(other[0], RollNotOwedError)
            assert f"Resolution.{first.name}" in str(other[0])
        assert path(log).count("recover") == 1
        [done] = of(RollSucceeded, log)
    decided = {
        Resolution.RETRY: (RECOVERED, DONE),
        Resolution.MARK_DONE: (DONE,),
        Resolution.SKIP: (SKIPPED, INTENT, DONE),
    }
    assert tuple(entry for entry, *_ in entries(journal)[3:]) == decided[first]
    manager, clock, _ = begin(clock.now(), journal)
    async with running(manager):
        assert (manager.session.date, manager.state) == (done.next_session, NOT_STARTED)


async def test_where_the_first_of_two_recoveries_cannot_be_written_the_second_decides():
    """It has not been made, so there is nothing that the other would contradict."""
    journal = Slow(JournalWriteFailed("in memory", "recovered", "no space left"), entries=[RECOVERED])
    journal.records.extend(numbered(FAILED_IN_MID_ROLL))
    manager, clock, rolls = begin(END + HOUR, journal)
    async with running(manager):
        journal.shut()
        async with in_background(manager.recover) as one:
            await journal.writing.wait()
            async with in_background(manager.recover, Resolution.SKIP) as other:
                await a_while()
                journal.release()
        await clock.advance(NOW)
        assert isinstance(one[0], JournalWriteFailed)
        assert other == [None]
        assert manager.session.date == WEDNESDAY
    assert rolls.dates == [WEDNESDAY]


@pytest.mark.parametrize("records", [FAILED_IN_MID_ROLL, FAILED_BEFORE_THE_ROLL], ids=["in mid-roll", "before"])
@pytest.mark.parametrize("resolution", Resolution)
async def test_a_failure_while_a_recovery_is_written_is_the_last_word(resolution, records, caplog):
    """The decision about the roll stands, and it is ERROR again before anything else happens; a restart agrees."""
    journal = Slow()
    journal.records.extend(numbered(records))
    manager, clock, rolls = begin(END + HOUR, journal)
    session = TUESDAY if resolution is Resolution.MARK_DONE else MONDAY
    async with running(manager) as log:
        journal.shut()
        async with in_background(manager.recover, resolution) as outcome:
            await journal.writing.wait()
            caplog.clear()
            manager.fail("the risk desk says no")
            assert "recover() that is under way" in caplog.text
            journal.release()
        await clock.advance(HOUR)
        assert outcome == [None]
        assert (manager.state, manager.session.date) == (ERROR, session)
        assert manager.status().reason == "the risk desk says no"
        assert (path(log)[0], path(log)[-1], rolls.begun) == ("recover", "fail", [])
    assert [entry for entry, *_ in entries(journal)[-2:]] == [
        {Resolution.RETRY: RECOVERED, Resolution.MARK_DONE: DONE, Resolution.SKIP: SKIPPED}[resolution],
        FAILED,
    ]
    manager, clock, rolls = begin(clock.now(), journal)
    async with running(manager):
        assert (manager.state, manager.session.date) == (ERROR, session)
        assert manager.status().reason == "the risk desk says no"
        await manager.recover()
        await clock.advance(NOW)
        assert manager.session.date == (WEDNESDAY if resolution is Resolution.SKIP else TUESDAY)


async def test_a_failure_while_a_recovery_is_written_keeps_the_market_shut():
    """In mid-session nothing is walked again: neither handlers nor orders see a state in between that trades."""
    journal = Slow()
    manager, clock, _ = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager) as log:
        manager.fail("out of order")
        await clock.advance(NOW)
        log.clear()
        journal.shut()
        async with in_background(manager.recover):
            await journal.writing.wait()
            manager.fail("one")
            manager.fail("two")
            journal.release()
        await clock.advance(NOW)
        assert path(log) == ["recover", "fail"]
        assert manager.status().reason == "two"
        await manager.recover()  # a word that comes later still
        await clock.advance(NOW)
        assert manager.state is ACTIVE


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (("recover", "fail"), ERROR),
        (("recover", "recover", "fail"), ERROR),
        (("recover", "fail", "recover"), ACTIVE),
        (("recover", "fail", "recover", "fail"), ERROR),
        (("fail", "recover"), ACTIVE),
    ],
)
@pytest.mark.parametrize("waiting_for", ["its own record", "another decision"])
async def test_of_recoveries_and_failures_at_once_the_last_word_stands(words, state, waiting_for):
    """However they come, and whether the first call's record is being written, or waits for a change of hours."""
    journal = Slow()
    manager, clock, _ = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager):
        manager.fail("out of order")
        await clock.advance(NOW)
        journal.shut()
        async with anyio.create_task_group() as tasks:
            if waiting_for == "another decision":
                tasks.start_soon(manager.apply, Closure(TUESDAY))
                await journal.writing.wait()
            for word in words:
                if word == "fail":
                    manager.fail("again")
                else:
                    tasks.start_soon(manager.recover)
                await a_while()
            journal.release()
        await clock.advance(NOW)
        assert manager.state is state
    manager, _, _ = begin(clock.now(), journal)
    async with running(manager):
        assert manager.state is state


@pytest.mark.parametrize("failure", [Lost(), Kept()], ids=["not there", "there"])
async def test_a_failure_after_a_recovery_in_doubt_is_the_last_word(failure):
    """Once the journal answers again, the recovery is there, and the failure after it, for a restart too."""
    journal = Slow(*[failure] * TRIES, entries=[RECOVERED])
    manager, clock, _ = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager):
        manager.fail("out of order")
        await clock.advance(NOW)
        with pytest.raises(JournalWriteFailed):
            await manager.recover()
        assert manager.state is ERROR
        manager.fail("the risk desk says no")
        await clock.advance(NOW)
        assert manager.status().reason == "the risk desk says no"
    assert journal.written == [ADOPTED, FAILED, RECOVERED, FAILED]
    manager, clock, _ = begin(clock.now(), journal)
    async with running(manager):
        assert (manager.state, manager.status().reason) == (ERROR, "the risk desk says no")


async def test_a_failure_before_recover_is_called_is_left_by_it():
    """In ERROR it changes nothing, and is forgotten: what is recovered from stays recovered."""
    journal = MemoryJournal()
    manager, clock, _ = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager):
        for _ in range(2):
            manager.fail("out of order")
            manager.fail("still out of order")
            await clock.advance(NOW)
            assert manager.status().reason == "out of order"
            await manager.recover()
            await clock.advance(NOW)
            assert manager.state is ACTIVE


async def test_a_recovery_that_was_asked_for_before_the_error_does_not_leave_it():
    """At the call there was nothing to leave. That it waits for another decision does not make it a later word."""
    journal = Slow()
    manager, clock, _ = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager):
        journal.shut()
        async with in_background(manager.apply, Closure(TUESDAY)):
            await journal.writing.wait()
            async with in_background(manager.recover) as outcome:
                await a_while()
                manager.fail("the risk desk says no")
                journal.release()
        await clock.advance(NOW)
        assert isinstance(outcome[0], IllegalTransition)
        assert (manager.state, manager.status().reason) == (ERROR, "the risk desk says no")


async def test_a_roll_marked_as_done_after_a_recovery_that_a_failure_has_ended_is_legal():
    """The attempt was made before two recoveries, without another in between."""
    journal = Slow()
    manager, clock, _ = await fail_the_roll(journal)
    async with running(manager) as log:
        await clock.advance(HOUR)
        journal.shut()
        async with in_background(manager.recover):
            await journal.writing.wait()
            manager.fail("the risk desk says no")
            journal.release()
        await manager.recover(Resolution.MARK_DONE)
        await clock.advance(NOW)
        [done] = of(RollSucceeded, log)
        assert (done.attempt, path(log)[-4:]) == (1, ["recover", "fail", "recover", "roll"])
        assert_legal(log)


@pytest.mark.parametrize("by", ["the application", "the venue"])
async def test_a_halt_while_a_roll_is_marked_as_done_ends_with_its_session(by):
    """Its record comes after that of the roll, and is of the session before: a restart is not halted in the next."""
    journal = Slow()
    manager, clock, _ = await fail_the_roll(journal)
    async with running(manager):
        await clock.advance_to(at(TUESDAY, (12, 0)))
        journal.shut()
        async with in_background(manager.recover, Resolution.MARK_DONE):
            await journal.writing.wait()
            if by == "the venue":
                manager.record_status(VenueStatus.HALT)
                manager.record_status(VenueStatus.TRADING)
            manager.halt("volatility")
            journal.release()
        await clock.advance(NOW)
        assert (manager.session.date, manager.halted) == (TUESDAY, None)
    assert Entry.HALTED in journal.written[journal.written.index(DONE) :]
    manager, clock, _ = begin(clock.now(), journal)
    async with running(manager):
        assert (manager.session.date, manager.halted) == (TUESDAY, None)


async def test_a_closure_of_the_session_that_is_being_entered_ends_it():
    """It is announced while the end of the roll is being written: once that is, that session is the present one."""
    entering, announced = anyio.Event(), anyio.Event()

    async def wait() -> None:
        entering.set()
        await announced.wait()

    journal = Slow(wait, entries=[DONE])
    manager, clock, _ = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager):
        await manager.end_session("enough")
        await entering.wait()
        async with in_background(manager.apply, Closure(TUESDAY)) as outcome:
            await a_while()
            announced.set()
        assert outcome == [None]
        await clock.advance_to(at(TUESDAY, (15, 0)))
        assert (manager.state, manager.session.date) == (NOT_STARTED, WEDNESDAY)
    manager, clock, _ = begin(clock.now(), journal)
    async with running(manager):
        assert (manager.state, manager.session.date) == (NOT_STARTED, WEDNESDAY)


EARLY = SpecialHours(TUESDAY, open=at(TUESDAY, (14, 30)), close=at(TUESDAY, (19, 0)))


@pytest.mark.parametrize("doubt", [False, True])
async def test_hours_that_change_before_an_intent_is_durable_are_those_of_the_roll(doubt):
    """The state becomes ERROR in between, so the roll is not pursued; once it is, its target has the new hours."""
    journal = Slow()
    manager, clock, rolls = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager):
        journal.shut()
        async with in_background(manager.apply, EARLY):
            await journal.writing.wait()
            clock.step(7 * HOUR)  # past the end: the intent waits behind the change
            await a_while()
            if doubt:
                journal.script = [Lost()] * TRIES
            else:
                manager.fail("no power")
            journal.release()
        await clock.advance(NOW)
        assert (manager.state, rolls.begun) == (ERROR, [])
        await manager.recover()
        await clock.advance(NOW)
        assert manager.session.date == TUESDAY
        await clock.advance_to(at(TUESDAY, (19, 0)))
        assert (manager.state, manager.session.close) == (POST_MARKET, at(TUESDAY, (19, 0)))


async def test_hours_that_change_before_a_roll_is_marked_as_done_are_those_of_its_target():
    """The change is being written when `recover()` is called, about a roll that has no intent."""
    journal = Slow()
    manager, clock, _ = begin(at(MONDAY, (15, 0)), journal, auto_roll=False)
    async with running(manager):
        await manager.end_session("enough")
        manager.fail("no power")
        await clock.advance(NOW)
        journal.shut()
        async with in_background(manager.apply, EARLY):
            await journal.writing.wait()
            async with in_background(manager.recover, Resolution.MARK_DONE):
                await a_while()
                journal.release()
        assert manager.session.date == TUESDAY
        await clock.advance_to(at(TUESDAY, (19, 0)))
        assert (manager.state, manager.session.close) == (POST_MARKET, at(TUESDAY, (19, 0)))


async def test_a_closure_of_a_session_that_the_roll_skips_changes_nothing_else():
    """It was given up by `recover(Resolution.SKIP)`, and is closed while the roll past it is under way."""
    failed_roll = OSError("no books")
    retry = RetryPolicy(attempts=1)
    manager, clock, _ = begin(at(MONDAY, (21, 0)), MemoryJournal(), failed_roll, 2 * MINUTE, roll_retry=retry)
    async with running(manager):
        await clock.advance(HOUR)
        await manager.recover(Resolution.SKIP)
        await clock.advance(MINUTE)
        await manager.apply(Closure(TUESDAY))
        await clock.advance(2 * MINUTE)
        assert (manager.state, manager.session.date) == (NOT_STARTED, WEDNESDAY)


async def test_a_step_of_the_clock_while_an_intent_is_written_comes_before_the_roll_begins():
    """The attempt is observed by the clock as it is then, so the step is an event before that."""

    async def step() -> None:
        clock.step(-HOUR)

    journal = Slow(step, entries=[INTENT])
    manager, clock, rolls = begin(EVENING, journal)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert rolls.dates == [TUESDAY]
        assert [event.delta for event in of(ClockStepped, log)] == [-HOUR]
        assert_legal(log)


class SlowFile(SqliteJournal):
    """A journal in a file, whose appends wait for a gate where there is one; with `answers` False they seem to fail."""

    gate: anyio.Event | None = None
    answers = True

    async def append(self, records: Sequence[Record]) -> None:
        if self.gate is not None:
            await self.gate.wait()
        await super().append(records)
        if not self.answers:
            raise Kept


@pytest.mark.parametrize("answers", [True, False], ids=["durable", "in doubt"])
@pytest.mark.parametrize("resolution", Resolution)
async def test_words_that_come_while_a_recovery_is_written_to_a_file_are_there_after_a_restart(
    tmp_path, resolution, answers
):
    """The failure, and the halt, are the last words, whatever became of the answer to the recovery."""
    journal = SlowFile(tmp_path / "journal.db", name="journal")
    await journal.open("fixed")
    await journal.append(numbered(FAILED_IN_MID_ROLL))
    await journal.close()
    session = TUESDAY if resolution is Resolution.MARK_DONE else MONDAY
    manager, clock, rolls = begin(END + HOUR, journal)
    async with running(manager) as log:
        journal.gate, journal.answers = anyio.Event(), answers
        async with in_background(manager.recover, resolution) as outcome:
            await a_while()
            manager.halt("volatility")
            manager.fail("the risk desk says no")
            journal.gate.set()
        assert isinstance(outcome[0], JournalWriteFailed) is not answers
        journal.gate, journal.answers = None, True
        manager.fail("the risk desk says no")  # with it, what is in doubt is found out
        await clock.advance(HOUR)
        assert (manager.state, manager.session.date, manager.halted) == (ERROR, session, None)
        assert_legal(log)
    manager, clock, again = begin(clock.now(), SlowFile(tmp_path / "journal.db", name="journal"))
    async with running(manager) as log:
        assert (manager.state, manager.session.date, manager.halted) == (ERROR, session, None)
        assert manager.status().reason == "the risk desk says no"
        await manager.recover()
        await clock.advance(NOW)
        assert manager.session.date == (WEDNESDAY if resolution is Resolution.SKIP else TUESDAY)
        assert_legal(log)
    assert rolls.begun == []
    assert len(again.begun) == (0 if resolution is Resolution.MARK_DONE else 1)


async def test_an_error_that_recover_is_the_first_to_find_is_left():
    """The clock has stepped over more sessions than may be missed, and nothing has looked at it since."""
    journal = MemoryJournal()
    manager, clock, _ = begin(at(MONDAY, (15, 0)), journal, session=MONDAY, max_catch_up_sessions=1)
    async with running(manager) as log:
        clock.step(3 * DAY)
        assert manager.state is ACTIVE
        await manager.recover()
        await clock.advance(NOW)
        triggers = [event.trigger for event in changes(log)]
        assert triggers[triggers.index("fail") + 1] == "recover"
        assert [record.entry for record in journal.records] == [ADOPTED, FAILED, RECOVERED, INTENT, DONE]
        assert manager.session.date == THURSDAY
        assert_legal(log)


async def test_a_resume_in_a_file_whose_answer_is_lost_ends_the_halt_once_that_is_known(tmp_path):
    """A halt after it is recorded after it, so that a restart is halted; without one, the end of the halt holds."""
    for halted in (True, False):
        path = tmp_path / f"{halted}.db"
        journal = SlowFile(path, name="journal")
        manager, clock, _ = begin(at(MONDAY, (15, 0)), journal)
        async with running(manager) as log:
            manager.halt("first")
            await clock.advance(MINUTE)
            journal.answers = False
            manager.resume()
            await clock.advance(MINUTE)
            assert manager.state is ERROR  # in doubt for good
            journal.answers = True
            if halted:
                manager.halt("second")  # recorded anew, for the reason in force
            manager.fail("still")
            await clock.advance(MINUTE)
            reason = "first" if halted else None
            assert manager.halted == reason
            assert_legal(log)
        manager, _, _ = begin(clock.now(), SlowFile(path, name="journal"))
        async with running(manager):
            assert (manager.state, manager.halted) == (ERROR, reason)
