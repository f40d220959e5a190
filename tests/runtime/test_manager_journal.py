"""The manager with a journal: what is written before what, what a restart takes up, and what a person decides."""

import logging
from collections.abc import Sequence
from datetime import date, datetime, timedelta

import anyio
import anyio.lowlevel
import pytest

from session_lifecycle import (
    Entry,
    JournalLocked,
    JournalMismatch,
    JournalWriteFailed,
    MemoryJournal,
    Record,
    Resolution,
    RollFailedError,
    RollStarted,
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
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    TUESDAY,
    WEDNESDAY,
    Rolls,
    of,
    path,
    running,
    season,
)
from tests.helpers.manager_journal import (
    ADOPTED,
    DONE,
    END,
    EVENING,
    FAILED,
    INTENT,
    ONCE,
    Refusing,
    adopted,
    answering,
    begin,
    entries,
    errors_logged,
    holding,
    intent,
    is_free,
    refused,
)

pytestmark = pytest.mark.anyio


class Tracing(MemoryJournal):
    """A journal that notes each entry in a trace which others write to as well."""

    def __init__(self, trace: list[str]) -> None:
        super().__init__()
        self.trace = trace

    async def append(self, records: Sequence[Record]) -> None:
        await super().append(records)
        self.trace.extend(record.entry.value for record in records)


# ---- the order ----


async def test_intent_then_roll_then_done_then_entered_then_told(caplog):
    """Nothing is awaited before its intent is durable, and nothing entered or told before its done is."""
    trace: list[str] = []
    found: list[SessionBoundaryManager] = []

    class Watching(Tracing):
        async def append(self, records: Sequence[Record]) -> None:
            await super().append(records)
            if found and found[0].session.date == MONDAY:
                trace.append("not entered yet")

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.session_event.startswith("Roll") and record.manager is None:
                trace.append(record.session_event)

    async def roll(next_date: date) -> None:
        trace.append("roll begins")
        await clock.sleep(MINUTE)
        trace.append("roll returns")

    clock = SimulatedClock(EVENING)
    manager = SessionBoundaryManager(season(), roll, clock=clock, journal=Watching(trace))
    handler, logger = Told(), logging.getLogger("session_lifecycle")
    async with running(manager):
        found.append(manager)
        logger.addHandler(handler)
        try:
            with caplog.at_level(logging.DEBUG, logger="session_lifecycle"):
                await clock.advance(HOUR)
        finally:
            logger.removeHandler(handler)
        assert manager.session.date == TUESDAY
    assert trace == [
        "adopted",
        "intent",
        "not entered yet",
        "RollStarted",
        "roll begins",
        "roll returns",
        "done",
        "not entered yet",
        "RollSucceeded",
    ]


async def test_the_records_of_a_day():
    """What is written, to the field: the session adopted with its hours, the intent with the target's, and done."""
    journal = MemoryJournal()
    manager, clock, _ = begin(EVENING, journal, MINUTE)
    async with running(manager):
        await clock.advance(HOUR)
    assert journal.records == [
        Record(ADOPTED, MONDAY, EVENING, open=at(MONDAY, (14, 30)), close=at(MONDAY, (21, 0)), seq=1),
        Record(INTENT, MONDAY, END, TUESDAY, (), at(TUESDAY, (14, 30)), at(TUESDAY, (21, 0)), seq=2),
        Record(DONE, MONDAY, END + MINUTE, TUESDAY, seq=3),
    ]


async def test_one_intent_for_all_attempts_of_a_round():
    """Retries are for the same date, so they need no intent of their own."""
    journal = MemoryJournal()
    manager, clock, rolls = begin(EVENING, journal, OSError(), OSError())
    async with running(manager):
        await clock.advance(HOUR)
    assert rolls.dates == [TUESDAY] * 3
    assert entries(journal) == [(ADOPTED, MONDAY, None), (INTENT, MONDAY, TUESDAY), (DONE, MONDAY, TUESDAY)]


async def test_a_failure_acts_at_once_and_its_record_follows():
    """ERROR is not waited for: it is reported in the same step, and then survives a restart."""
    trace: list[str] = []
    manager, _, _ = begin(at(MONDAY, (15, 0)), Tracing(trace))

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            trace.append(record.getMessage().rpartition("→ ")[2])

    handler, logger = Told(logging.ERROR), logging.getLogger("session_lifecycle")
    logger.addHandler(handler)
    try:
        async with running(manager):
            manager.fail("by hand")
            assert trace == ["adopted", "ERROR by fail (by hand)"]
            await manager.clock.advance(NOW)
            assert trace == ["adopted", "ERROR by fail (by hand)", "failed"]
    finally:
        logger.removeHandler(handler)


# ---- the first start ----


async def test_the_session_is_journalled_before_the_body_runs():
    """From the first line of the body on, a restart would know which session this is."""
    journal = MemoryJournal()
    manager, _, _ = begin(at(MONDAY, (15, 0)), journal)
    async with manager:
        assert entries(journal) == [(ADOPTED, MONDAY, None)]


async def test_the_session_is_journalled_before_anybody_hears_of_it():
    """A journal that refuses it stops the start, before any event."""
    journal = Refusing(ADOPTED)
    manager, _, rolls = begin(EVENING, journal)
    events = manager.events()
    assert "'adopted'" in await refused(manager, JournalWriteFailed)
    assert [event async for event in events] == []
    assert (journal.records, rolls.begun) == ([], [])
    assert await is_free(journal)


async def test_the_first_start_adopts_the_session_that_is_passed():
    """`session=` beside a new journal is where the journal begins; what is owed since is rolled, and journalled."""
    journal = MemoryJournal()
    manager, _, rolls = begin(at(WEDNESDAY, (15, 0)), journal, session=MONDAY)
    async with running(manager):
        assert manager.session.date == WEDNESDAY
    assert rolls.dates == [WEDNESDAY]
    assert entries(journal) == [(ADOPTED, MONDAY, None), (INTENT, MONDAY, WEDNESDAY), (DONE, MONDAY, WEDNESDAY)]
    assert journal.records[1].skipped == (TUESDAY,)


async def test_without_a_journal_nothing_is_remembered():
    """A restart without one begins in the session that owns the present."""
    manager, clock, rolls = begin(EVENING, None, KeyError(), roll_retry=ONCE)
    async with running(manager):
        await clock.advance(HOUR)
        assert manager.state is ERROR
    manager, _, rolls = begin(at(TUESDAY, (15, 0)), None)
    async with running(manager):
        assert (manager.state, manager.session.date, rolls.begun) == (ACTIVE, TUESDAY, [])


# ---- the wrong journal, and one that is held ----


async def test_fault_47_another_calendars_journal(journals):
    """Refused, both calendars named, nothing started, nothing changed; its own calendar can still use it."""
    for _ in range(2):
        manager, _, _ = begin(at(MONDAY, (15, 0)), journals())
        async with running(manager):
            assert manager.session.date == MONDAY
        manager, _, rolls = begin(at(MONDAY, (15, 0)), journals(), schedule=weekdays(name="elsewhere"))
        message = await refused(manager, JournalMismatch)
        assert "fixed" in message
        assert "elsewhere" in message
        assert rolls.begun == []


async def test_fault_46_a_second_manager_on_the_journal(journals):
    """The second is refused; the first is unaffected, and rolls and journals on."""
    manager, clock, rolls = begin(EVENING, journals())
    async with running(manager) as log:
        second, _, others = begin(EVENING, journals())
        await refused(second, JournalLocked)
        assert not await is_free(journals())
        await clock.advance(HOUR)
        assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)
        assert len(of(RollSucceeded, log)) == 1
    assert (rolls.dates, others.begun) == ([TUESDAY], [])
    third, _, others = begin(at(TUESDAY, (15, 0)), journals())
    async with running(third):
        assert (third.session.date, others.begun) == (TUESDAY, [])


# ---- a journal that fails ----


async def test_fault_44_an_intent_that_cannot_be_written():
    """The roll is not begun: ERROR that says so; recover begins it once the journal takes it."""
    journal = Refusing(INTENT)
    manager, clock, rolls = begin(EVENING, journal)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert (manager.state, manager.session.date, rolls.begun) == (ERROR, MONDAY, [])
        assert "no space left" in manager.status().reason
        assert manager.status().roll_owed
        assert not [event for event in log if isinstance(event, RollStarted | RollSucceeded)]
        await manager.recover()
        await clock.advance(NOW)
        assert (manager.state, rolls.begun) == (ERROR, [])
        journal.refused.clear()
        await manager.recover()
        await clock.advance(NOW)
        assert manager.session.date == TUESDAY
        assert [event.resumed for event in of(RollSucceeded, log)] == [False]
    assert rolls.dates == [TUESDAY]


async def test_fault_44_on_a_full_disk(caplog):
    """With no room at all, the ERROR cannot be written either, which is logged; with room, all is well."""
    journal = Refusing(*Entry, records=(adopted(),))
    manager, clock, rolls = begin(EVENING, journal)
    async with running(manager):
        with errors_logged(caplog) as lines:
            await clock.advance(HOUR)
        assert (manager.state, rolls.begun) == (ERROR, [])
        assert "no space left" in manager.status().reason
        assert [line for line in lines if "could not be journalled" in line]
        with pytest.raises(JournalWriteFailed, match="no space left"):
            await manager.recover()
        assert manager.state is ERROR
        journal.refused.clear()
        await manager.recover()
        await clock.advance(NOW)
        assert (manager.session.date, rolls.dates) == (TUESDAY, [TUESDAY])
    manager, _, rolls = begin(at(TUESDAY, (15, 0)), journal)
    async with running(manager):
        assert (manager.session.date, rolls.begun) == (TUESDAY, [])


async def test_fault_45_a_done_that_cannot_be_written():
    """The roll has returned and nobody may hear of it: ERROR that says "uncertain", the session unchanged."""
    journal = Refusing(DONE)
    manager, clock, rolls = begin(EVENING, journal)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert (manager.state, manager.session.date) == (ERROR, MONDAY)
        reason = manager.status().reason
        assert reason.startswith("uncertain")
        assert "no space left" in reason
        assert manager.status().roll_owed
        assert of(RollSucceeded, log) == []
        assert path(log)[-1] == "fail"
    assert rolls.dates == [TUESDAY]
    assert [entry for entry, *_ in entries(journal)] == [ADOPTED, INTENT, FAILED]


@pytest.mark.parametrize("restart", [False, True], ids=["in process", "after a restart"])
@pytest.mark.parametrize("resolution", Resolution)
async def test_fault_45_is_decided_by_a_person(resolution, restart):
    """RETRY asks `was_rolled` and repeats the roll, flagged as resumed; MARK_DONE and SKIP do not repeat it."""
    asked: list[date] = []
    was_rolled = answering(asked, False, sync=True)
    journal = Refusing(DONE)
    manager, clock, rolls = begin(EVENING, journal, was_rolled=was_rolled)
    async with running(manager) as log:
        await clock.advance(HOUR)
        journal.refused.clear()
        if not restart:
            await settle_uncertain(manager, rolls, log, asked, resolution)
    if restart:
        manager, clock, rolls = begin(clock.now(), journal, was_rolled=was_rolled)
        async with running(manager) as log:
            assert manager.status().reason.startswith("uncertain")
            await settle_uncertain(manager, rolls, log, asked, resolution)


async def settle_uncertain(manager, rolls, log, asked, resolution):
    """Recover from a roll that returned and could not be journalled."""
    rolls.begun.clear()
    await manager.recover(resolution)
    await manager.clock.advance(NOW)
    [done] = of(RollSucceeded, log)
    match resolution:
        case Resolution.RETRY:
            assert (rolls.dates, asked, done.next_session, done.resumed) == ([TUESDAY], [TUESDAY], TUESDAY, True)
        case Resolution.MARK_DONE:
            assert (rolls.dates, asked, done.next_session) == ([], [], TUESDAY)
        case Resolution.SKIP:
            assert (rolls.dates, asked, done.next_session) == ([WEDNESDAY], [], WEDNESDAY)
    assert manager.session.date == done.next_session


async def test_fault_45_with_a_failure_asked_for_meanwhile():
    """`fail` during that very roll takes nothing away: that the roll is uncertain must be said."""
    journal = Refusing(DONE)
    manager, clock, _ = begin(EVENING, journal, HOUR, roll_timeout=None)
    async with running(manager):
        await clock.advance_to(END + MINUTE)
        manager.fail("by hand")
        await clock.advance(HOUR)
        assert manager.state is ERROR
        assert "uncertain" in manager.status().reason


async def test_fault_45_by_hand():
    """`roll()` raises: the roll did not complete as far as anybody may know."""
    manager, _, _ = begin(at(MONDAY, (22, 0)), Refusing(DONE), session=MONDAY, auto_roll=False)
    async with running(manager):
        with pytest.raises(RollFailedError, match="uncertain"):
            await manager.roll()
        assert manager.state is ERROR


async def test_an_error_that_cannot_be_journalled_is_an_error_all_the_same(caplog):
    """A failing journal does not keep the state from being ERROR; the log says that it was not written."""
    journal = Refusing(FAILED)
    manager, clock, _ = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager) as log:
        with errors_logged(caplog) as lines:
            manager.fail("out of order")
            assert manager.state is ERROR
            await clock.advance(NOW)
        assert manager.state is ERROR
        assert path(log)[-1] == "fail"
    assert [line for line in lines if "could not be journalled" in line]


# ---- the journal's end ----


async def test_the_journal_is_closed_after_the_roll_that_leaving_waits_for():
    """The done of a roll under way is written before the journal is let go."""
    trace: list[str] = []

    class Closing(Tracing):
        async def close(self) -> None:
            await super().close()
            trace.append("closed")

    journal = Closing(trace)
    manager, clock, _ = begin(EVENING, journal, 3 * MINUTE)
    async with running(manager):
        await clock.advance_to(END + MINUTE)
    assert trace == ["adopted", "intent", "done", "closed"]


async def leave_normally(manager, clock):
    async with manager:
        await clock.advance(MINUTE)


async def leave_by_stop(manager, clock):
    async with manager:
        manager.stop()
        await clock.advance(MINUTE)


async def leave_by_an_error(manager, clock):
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 -- leaving is what raises
        async with manager:
            await clock.advance(MINUTE)
            raise ZeroDivisionError


async def leave_by_a_scope(manager, clock):
    with anyio.CancelScope() as scope:
        async with manager:
            scope.cancel()
            await anyio.sleep_forever()


async def leave_ones_own_task_group(manager, clock):
    async with anyio.create_task_group() as tasks:
        await tasks.start(manager.run)
        await clock.advance(MINUTE)
        tasks.cancel_scope.cancel()


async def leave_in_error(manager, clock):
    async with manager:
        manager.fail("out of order")
        await clock.advance(MINUTE)


WAYS_OUT = [
    leave_normally,
    leave_by_stop,
    leave_by_an_error,
    leave_by_a_scope,
    leave_ones_own_task_group,
    leave_in_error,
]


@pytest.mark.parametrize("leave", WAYS_OUT, ids=lambda leave: leave.__name__)
async def test_the_journal_is_closed_on_every_way_out(leave, journals):
    """The next manager can open it, by a new object too."""
    journal = journals()
    manager, clock, _ = begin(at(MONDAY, (15, 0)), journal)
    await leave(manager, clock)
    assert await is_free(journal)
    assert await is_free(journals())


async def test_the_journal_is_closed_when_the_start_fails():
    """Beyond the schedule's knowledge nothing can be started, and nothing is held."""
    journal = MemoryJournal()
    manager, _, _ = begin(at(MONDAY + 28 * DAY, (15, 0)), journal, schedule=weekdays())
    await refused(manager, ScheduleExhausted)
    assert await is_free(journal)
    assert journal.records == []


async def test_a_journal_that_cannot_be_opened_is_not_closed():
    """It is somebody else's, or nobody's: what was not opened is not let go of."""

    class Unavailable(MemoryJournal):
        closed = 0

        async def open(self, calendar: str) -> tuple[Record, ...]:
            raise PermissionError("not yours")

        async def close(self) -> None:
            self.closed += 1

    journal = Unavailable()
    manager, _, _ = begin(at(MONDAY, (15, 0)), journal)
    events = manager.events()
    await refused(manager, PermissionError)
    assert journal.closed == 0
    assert [event async for event in events] == []


# ---- status ----


async def test_status_in_mid_roll_and_after():
    """A snapshot tells of a resumed roll as of any other."""
    manager, clock, _ = begin(END, holding(adopted(), intent()), MINUTE)
    async with running(manager):
        status = manager.status()
        assert (status.state, status.session, status.roll_owed, status.roll_attempt) == (ENDED, MONDAY, True, 1)
        assert status.reason is None
        await clock.advance(MINUTE)
        status = manager.status()
        assert (status.state, status.session, status.roll_owed, status.roll_attempt) == (NOT_STARTED, TUESDAY, False, 0)
        assert status.as_dict()["session"] == str(TUESDAY)


async def test_status_of_a_session_ended_by_hand_in_an_earlier_run():
    """ENDED is ENDED, whoever ended it and when."""
    journal = holding(adopted(), Record(Entry.ENDED, MONDAY, at(MONDAY, (15, 0))))
    manager, _, _ = begin(at(MONDAY, (16, 0)), journal, auto_roll=False)
    async with manager:
        status = manager.status()
        assert (status.state, status.scheduled_state, status.roll_owed, status.can_trade) == (
            ENDED,
            ACTIVE,
            True,
            False,
        )


# ---- names ----


async def test_an_aliass_journal_is_its_calendars(journals):
    """A calendar by another of its names is the same calendar."""
    for name in ("XNYS", "NYSE"):
        clock = SimulatedClock(datetime(2024, 11, 29, 15, 0, tzinfo=EVENING.tzinfo))
        manager = SessionBoundaryManager(name, Rolls(clock), clock=clock, journal=journals())
        async with manager:
            assert manager.state is ACTIVE


@pytest.mark.costly
@pytest.mark.parametrize("journals", ["memory"], indirect=True)  # a thousand commits to a disk take seconds
@pytest.mark.parametrize("weeks", [20, pytest.param(100, marks=pytest.mark.long)])
async def test_years_in_one_journal(journals, weeks):
    """A restart after a hundred rolls, or five hundred, agrees with the run that never stopped."""
    manager, clock, rolls = begin(at(MONDAY, (15, 0)), journals(), schedule=weekdays(n=520))
    async with running(manager):
        await clock.advance(timedelta(weeks=weeks))
        last = manager.session.date
    assert len(rolls.done) == 5 * weeks
    manager, clock, rolls = begin(clock.now(), journals(), schedule=weekdays(n=520))
    async with running(manager):
        assert (manager.session.date, rolls.begun) == (last, [])
