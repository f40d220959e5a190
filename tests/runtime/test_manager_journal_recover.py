"""`recover()` with a journal, and what ends the program in the middle of it."""

import asyncio
from datetime import date

import anyio
import pytest

from session_lifecycle import (
    IllegalTransition,
    Journal,
    JournalWriteFailed,
    ManagerStopped,
    MemoryJournal,
    Resolution,
    RetryPolicy,
    RollFailedError,
    RollNotOwedError,
    RollSucceeded,
    ScheduleExhausted,
    SessionBoundaryManager,
)
from session_lifecycle.testing import SimulatedClock
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
from tests.helpers.manager_journal import (
    ADOPTED,
    DONE,
    END,
    EVENING,
    FAILED,
    FAILED_BEFORE_THE_ROLL,
    FAILED_IN_MID_ROLL,
    INTENT,
    ONCE,
    RECOVERED,
    SKIPPED,
    Refusing,
    adopted,
    begin,
    entries,
    fail_the_roll,
    holding,
    is_free,
    numbered,
)

pytestmark = pytest.mark.anyio


# ---- recover ----


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
