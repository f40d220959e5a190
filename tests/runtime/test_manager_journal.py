"""The manager with a journal: what is written before what, what a restart takes up, and what a person decides."""

import asyncio
import errno
import logging
import os
import zlib
from contextlib import contextmanager
from datetime import date, datetime, timedelta

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_lifecycle import (
    Entry,
    FileJournal,
    FixedSchedule,
    IllegalTransition,
    JournalLocked,
    JournalMismatch,
    JournalWriteFailed,
    LifecycleConfig,
    ManagerStopped,
    MemoryJournal,
    MissedSessions,
    Record,
    ReentrancyError,
    Resolution,
    RetryPolicy,
    RollFailed,
    RollFailedError,
    RollNotOwedError,
    RollStarted,
    RollSucceeded,
    RollTimeoutError,
    ScheduleExhausted,
    SessionBoundaryManager,
)
from session_lifecycle._journal.file import Files
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at, session, weekdays
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
    PRE_MARKET,
    SECOND,
    THURSDAY,
    TUESDAY,
    WEDNESDAY,
    Rolls,
    changes,
    need_asyncio,
    of,
    path,
    run,
    running,
    season,
)

pytestmark = pytest.mark.anyio

EVENING = at(MONDAY, (21, 15))
"""Shortly before Monday's session ends."""
END = at(MONDAY, (21, 30))
ONCE = RetryPolicy(attempts=1)

ADOPTED, INTENT, DONE = Entry.ADOPTED, Entry.INTENT, Entry.DONE
FAILED, RECOVERED, SKIPPED = Entry.FAILED, Entry.RECOVERED, Entry.SKIPPED


class Tracing(MemoryJournal):
    """A journal that notes each entry in a trace which others write to as well."""

    def __init__(self, trace: list[str]) -> None:
        super().__init__()
        self.trace = trace

    def append(self, record: Record) -> None:
        super().append(record)
        self.trace.append(record.entry.value)


class Refusing(MemoryJournal):
    """A journal that refuses some entries for as long as they stand in `refused`, with an error of one's choice."""

    def __init__(self, *refused: Entry, records: tuple[Record, ...] = (), error: Exception | None = None) -> None:
        super().__init__()
        self.refused = set(refused)
        self.records.extend(records)
        self.error = error

    def append(self, record: Record) -> None:
        if record.entry in self.refused:
            raise self.error or JournalWriteFailed("in memory", record.entry.value, "no space left")
        super().append(record)


class FullDisk(Files):
    """A file system on which nothing can be written while `full` is set."""

    full = False

    def write(self, fd: int, data: bytes) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(fd, data)


def begin(start, journal, *script, session=None, was_rolled=None, schedule=None, **settings):
    """Return a deaf manager on a journal, its clock, and its roll, which follows a script."""
    clock = SimulatedClock(start)
    rolls = Rolls(clock, *script)
    config = LifecycleConfig(**({"data_timeout": None} | settings))
    manager = SessionBoundaryManager(
        schedule or season(),
        rolls,
        session=session,
        config=config,
        clock=clock,
        journal=journal,
        was_rolled=was_rolled,
    )
    return manager, clock, rolls


def holding(*records: Record) -> MemoryJournal:
    """Return a journal in which an earlier run has left these records."""
    journal = MemoryJournal()
    journal.records.extend(records)
    return journal


def adopted(day: date = MONDAY) -> Record:
    """Return the first record of a journal."""
    return Record(ADOPTED, day, at(day, (14, 0)))


def intent(target: date = TUESDAY, *skipped: date, source: date = MONDAY) -> Record:
    """Return the record of a roll that was begun."""
    opened, closed = at(target, (14, 30)), at(target, (21, 0))
    return Record(INTENT, source, at(source, (21, 30)), target, skipped, opened, closed)


def failed(reason: str = "out of order", day: date = MONDAY) -> Record:
    """Return the record of an ERROR."""
    return Record(FAILED, day, at(day, (21, 40)), note=reason)


def entries(journal: MemoryJournal) -> list[tuple[Entry, date, date | None]]:
    """Return what a journal says, without times."""
    return [(record.entry, record.session, record.target) for record in journal.records]


async def refused(manager: SessionBoundaryManager, error: type[Exception]) -> str:
    """Start a manager that must not start; return what it says."""
    with pytest.raises(error) as caught:
        async with manager:
            pytest.fail("the body must not be entered")
    return str(caught.value)


def is_free(journal: MemoryJournal | FileJournal, calendar: str = "fixed") -> bool:
    """Tell whether the next manager could open the journal."""
    try:
        journal.open(calendar)
    except JournalLocked:
        return False
    journal.close()
    return True


@contextmanager
def errors_logged(caplog: pytest.LogCaptureFixture):
    """Collect the ERROR lines of the block."""
    lines: list[str] = []
    with caplog.at_level(logging.ERROR, logger="session_lifecycle"):
        caplog.clear()
        yield lines
        lines.extend(record.getMessage() for record in caplog.records if record.levelno == logging.ERROR)


# ---- the order ----


async def test_intent_then_roll_then_done_then_entered_then_told(caplog):
    """Nothing is awaited before its intent is durable, and nothing entered or told before its done is."""
    trace: list[str] = []
    found: list[SessionBoundaryManager] = []

    class Watching(Tracing):
        def append(self, record: Record) -> None:
            super().append(record)
            if found and found[0].session.date == MONDAY:
                trace.append("not entered yet")

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.event.startswith("Roll") and record.manager is None:
                trace.append(record.event)

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
        Record(ADOPTED, MONDAY, EVENING, open=at(MONDAY, (14, 30)), close=at(MONDAY, (21, 0))),
        Record(INTENT, MONDAY, END, TUESDAY, (), at(TUESDAY, (14, 30)), at(TUESDAY, (21, 0))),
        Record(DONE, MONDAY, END + MINUTE, TUESDAY),
    ]


async def test_one_intent_for_all_attempts_of_a_round():
    """Retries are for the same date, so they need no intent of their own."""
    journal = MemoryJournal()
    manager, clock, rolls = begin(EVENING, journal, OSError(), OSError())
    async with running(manager):
        await clock.advance(HOUR)
    assert rolls.dates == [TUESDAY] * 3
    assert entries(journal) == [(ADOPTED, MONDAY, None), (INTENT, MONDAY, TUESDAY), (DONE, MONDAY, TUESDAY)]


async def test_a_failure_is_written_before_it_is_told():
    """Who hears of an ERROR can rely on its surviving a restart."""
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
    finally:
        logger.removeHandler(handler)
    assert trace == ["adopted", "failed", "ERROR by fail (by hand)"]


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
    assert is_free(journal)


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


# ---- the next start ----


@pytest.mark.parametrize(
    ("when", "state"),
    [((8, 0), NOT_STARTED), ((10, 0), PRE_MARKET), ((15, 0), ACTIVE), ((21, 15), POST_MARKET)],
)
async def test_a_restart_adopts_session_and_state(when, state):
    """In mid-session nothing is owed: the session is the journal's, the state the clock's, and nothing is written."""
    journal = holding(adopted())
    manager, _, rolls = begin(at(MONDAY, when), journal)
    async with running(manager) as log:
        assert (manager.state, manager.session.date) == (state, MONDAY)
        assert all(event.catch_up for event in changes(log)[:-1])
    assert (entries(journal), rolls.begun) == ([(ADOPTED, MONDAY, None)], [])


async def test_a_restart_in_the_same_process_goes_on_where_the_first_has_stopped():
    """One journal object serves one manager after another."""
    journal = MemoryJournal()
    manager, clock, first = begin(EVENING, journal)
    async with running(manager):
        await clock.advance(HOUR)
    manager, clock, second = begin(at(MONDAY, (23, 0)), journal)
    async with running(manager):
        assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)
        await clock.advance(DAY)
        assert manager.session.date == WEDNESDAY
    assert (first.dates, second.dates) == ([TUESDAY], [WEDNESDAY])


async def test_a_restart_from_a_file(tmp_path):
    """The same with a file, which a new object opens."""
    path_of_journal = tmp_path / "journal"
    manager, clock, first = begin(EVENING, FileJournal(path_of_journal))
    async with running(manager):
        await clock.advance(HOUR)
    manager, clock, second = begin(at(THURSDAY, (15, 0)), FileJournal(path_of_journal))
    async with running(manager) as log:
        assert (manager.state, manager.session.date) == (ACTIVE, THURSDAY)
        assert [event.skipped for event in of(RollSucceeded, log)] == [(WEDNESDAY,)]
    assert (first.dates, second.dates) == ([TUESDAY], [THURSDAY])
    assert path_of_journal.read_text().count('"done"') == 2


async def test_after_days_the_missed_sessions_are_skipped_by_latest():
    """One roll, to the session that owns the present; the event and the journal name the others."""
    journal = holding(adopted())
    manager, _, rolls = begin(at(THURSDAY, (15, 0)), journal)
    async with running(manager) as log:
        assert (manager.state, manager.session.date) == (ACTIVE, THURSDAY)
        [done] = of(RollSucceeded, log)
        assert (done.session, done.next_session, done.skipped) == (MONDAY, THURSDAY, (TUESDAY, WEDNESDAY))
        assert not done.resumed
    assert rolls.dates == [THURSDAY]
    assert journal.records[1].skipped == (TUESDAY, WEDNESDAY)


async def test_after_days_each_missed_session_is_rolled():
    """EACH rolls one by one, oldest first, each with an intent and a done of its own."""
    journal = holding(adopted())
    manager, _, rolls = begin(at(THURSDAY, (15, 0)), journal, missed_sessions=MissedSessions.EACH)
    async with running(manager) as log:
        assert (manager.state, manager.session.date) == (ACTIVE, THURSDAY)
        assert [event.skipped for event in of(RollSucceeded, log)] == [(), (), ()]
    assert rolls.dates == [TUESDAY, WEDNESDAY, THURSDAY]
    assert [entry for entry, *_ in entries(journal)] == [ADOPTED, INTENT, DONE, INTENT, DONE, INTENT, DONE]


async def test_more_missed_sessions_than_the_cap_wait_for_a_person():
    """ERROR, which a further restart does not forget; recover is the decision, and nothing is rolled before it."""
    journal = holding(adopted())
    start = at(MONDAY + 28 * DAY, (15, 0))
    manager, _, rolls = begin(start, journal)
    async with running(manager):
        assert manager.state is ERROR
        assert "max_catch_up_sessions" in manager.status().reason
    assert [entry for entry, *_ in entries(journal)] == [ADOPTED, FAILED]
    manager, clock, rolls = begin(start, journal)
    async with running(manager):
        assert (manager.state, rolls.begun) == (ERROR, [])
        await manager.recover()
        await clock.advance(NOW)
        assert (manager.state, manager.session.date) == (ACTIVE, MONDAY + 28 * DAY)
    assert rolls.dates == [MONDAY + 28 * DAY]


# ---- an open intent ----


@pytest.mark.parametrize(
    "wall",
    [
        pytest.param(at(MONDAY - 7 * DAY, (15, 0)), id="a week before"),
        pytest.param(at(MONDAY, (15, 0)), id="before the end"),
        pytest.param(END + MINUTE, id="a minute later"),
        pytest.param(at(FRIDAY, (15, 0)), id="days later"),
        pytest.param(at(MONDAY + 56 * DAY, (15, 0)), id="more than the cap later"),
    ],
)
async def test_an_open_intent_is_finished_first_for_its_own_date(wall):
    """Whatever the wall clock says, the roll that was begun is the one that is awaited, flagged as resumed."""
    journal = holding(adopted(), intent(WEDNESDAY, TUESDAY))
    manager, _, rolls = begin(
        wall, journal, schedule=weekdays(MONDAY - 14 * DAY, 60), missed_sessions=MissedSessions.EACH
    )
    async with running(manager) as log:
        assert rolls.begun[0] == (WEDNESDAY, wall)
        assert of(RollStarted, log)[0] == RollStarted(MONDAY, WEDNESDAY, 1, True, wall)
        [done, *_] = of(RollSucceeded, log)
        assert (done.next_session, done.resumed, done.skipped) == (WEDNESDAY, True, (TUESDAY,))
        assert all(not event.resumed for event in of(RollSucceeded, log)[1:])
    assert entries(journal)[:3] == [
        (ADOPTED, MONDAY, None),
        (INTENT, MONDAY, WEDNESDAY),
        (DONE, MONDAY, WEDNESDAY),
    ]


@pytest.mark.parametrize(
    ("policy", "targets", "resumed"),
    [
        (MissedSessions.LATEST, [TUESDAY, FRIDAY], [True, False]),
        (MissedSessions.EACH, [TUESDAY, WEDNESDAY, THURSDAY, FRIDAY], [True, False, False, False]),
    ],
)
async def test_after_the_open_intent_comes_the_policy(policy, targets, resumed):
    """The sessions missed since are rolled or skipped by policy, and are not resumed."""
    journal = holding(adopted(), intent())
    manager, _, rolls = begin(at(FRIDAY, (15, 0)), journal, missed_sessions=policy)
    async with running(manager) as log:
        assert (manager.state, manager.session.date) == (ACTIVE, FRIDAY)
        assert [event.resumed for event in of(RollStarted, log)] == resumed
        assert [event.resumed for event in of(RollSucceeded, log)] == resumed
    assert rolls.dates == targets


async def test_after_the_open_intent_the_cap_holds():
    """The roll that was begun is finished; more than the cap after it is an ERROR."""
    journal = holding(adopted(), intent())
    manager, _, rolls = begin(at(MONDAY + 28 * DAY, (15, 0)), journal)
    async with running(manager):
        assert (manager.state, manager.session.date) == (ERROR, TUESDAY)
        assert "max_catch_up_sessions" in manager.status().reason
    assert rolls.dates == [TUESDAY]


async def test_a_resumed_roll_that_fails_is_retried_and_then_an_error():
    """It is an ordinary round: retries, then ERROR, and the intent stays open for the next start."""
    journal = holding(adopted(), intent())
    manager, clock, rolls = begin(END, journal, *[OSError("no disk")] * 3)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert manager.state is ERROR
        assert [event.resumed for event in of(RollFailed, log)] == [True] * 3
        await manager.recover()
        await clock.advance(NOW)
        assert of(RollStarted, log)[-1].resumed
        assert manager.session.date == TUESDAY
    assert rolls.dates == [TUESDAY] * 4
    assert [entry for entry, *_ in entries(journal)] == [ADOPTED, INTENT, FAILED, RECOVERED, DONE]


async def test_stopped_between_two_attempts_the_next_start_resumes():
    """Leaving starts no retry; the roll may have half happened, so it is resumed."""
    journal = MemoryJournal()
    manager, clock, _ = begin(EVENING, journal, OSError("no disk"))
    async with running(manager):
        await clock.advance_to(END)
    assert entries(journal)[-1] == (INTENT, MONDAY, TUESDAY)
    manager, clock, rolls = begin(END + HOUR, journal)
    async with running(manager) as log:
        assert [event.resumed for event in of(RollSucceeded, log)] == [True]
    assert rolls.dates == [TUESDAY]


LOST = "the schedule has no such session any more"
WITHOUT_TUESDAY = FixedSchedule(map(session, (MONDAY, WEDNESDAY, THURSDAY, FRIDAY)))


async def test_fault_20_the_calendar_has_lost_the_session_that_was_entered():
    """Completed labels stay completed: what is left of the session is walked at once, and rolled from as usual."""
    journal = MemoryJournal()
    manager, clock, rolls = begin(EVENING, journal)
    async with running(manager):
        await clock.advance(HOUR)
    manager, clock, rolls = begin(at(MONDAY, (23, 0)), journal, schedule=WITHOUT_TUESDAY)
    async with running(manager) as log:
        await clock.advance(NOW)
        walked = changes(log)[:4]
        assert [event.dest for event in walked] == [PRE_MARKET, ACTIVE, POST_MARKET, ENDED]
        assert all(event.catch_up and event.reason == LOST for event in walked)
        assert (manager.state, manager.session.date) == (NOT_STARTED, WEDNESDAY)
        await clock.advance_to(at(TUESDAY, (15, 0)))
        assert (manager.state, manager.can_trade) == (NOT_STARTED, False)
        await clock.advance_to(at(WEDNESDAY, (15, 0)))
        assert (manager.state, manager.session.date) == (ACTIVE, WEDNESDAY)
    assert rolls.dates == [WEDNESDAY]


async def test_fault_20_the_calendar_has_gained_a_session_before_the_one_that_was_entered():
    """What was rolled past stays behind: the journal's session holds, and nothing is rolled back to."""
    journal = MemoryJournal()
    manager, clock, rolls = begin(EVENING, journal, schedule=WITHOUT_TUESDAY)
    async with running(manager):
        await clock.advance(HOUR)
        assert manager.session.date == WEDNESDAY
    manager, clock, rolls = begin(at(TUESDAY, (15, 0)), journal)
    async with running(manager):
        assert (manager.state, manager.session.date, manager.scheduled_state) == (NOT_STARTED, WEDNESDAY, ACTIVE)
        await clock.advance_to(at(THURSDAY, (15, 0)))
    assert rolls.dates == [THURSDAY]


async def test_fault_20_the_calendar_has_lost_the_target_of_the_open_intent():
    """The roll is finished for its own date; there is nothing to wait for in that session, so it goes on from there."""
    journal = holding(adopted(), intent())
    manager, clock, rolls = begin(END, journal, schedule=WITHOUT_TUESDAY)
    async with running(manager) as log:
        await clock.advance(NOW)
        assert (manager.state, manager.session.date) == (NOT_STARTED, WEDNESDAY)
        assert {event.reason for event in changes(log) if event.session == TUESDAY} == {None, LOST}
        await clock.advance_to(at(WEDNESDAY, (15, 0)))
        assert (manager.state, manager.session.date) == (ACTIVE, WEDNESDAY)
    assert rolls.dates == [TUESDAY, WEDNESDAY]


async def test_auto_roll_off_with_an_open_intent():
    """The roll waits for `roll()`, which resumes it for its own date."""
    journal = holding(adopted(), intent(WEDNESDAY, TUESDAY))
    manager, clock, rolls = begin(at(FRIDAY, (15, 0)), journal, auto_roll=False)
    async with running(manager):
        await clock.advance(HOUR)
        assert (manager.state, manager.session.date, rolls.begun) == (ENDED, MONDAY, [])
        done = await manager.roll()
        assert (done.next_session, done.resumed, done.skipped) == (WEDNESDAY, True, (TUESDAY,))
        await clock.advance(NOW)
        assert (manager.state, manager.session.date) == (ENDED, WEDNESDAY)
        done = await manager.roll()
        assert (done.next_session, done.resumed, done.skipped) == (FRIDAY, False, (THURSDAY,))
    assert rolls.dates == [WEDNESDAY, FRIDAY]


@pytest.mark.parametrize("policy", MissedSessions)
async def test_a_restart_after_any_record_comes_to_the_same_end(policy):
    """A kill after each record in turn: no done is repeated, no session is missing that the run itself had not."""
    journal = MemoryJournal()
    manager, clock, _ = begin(EVENING, journal, missed_sessions=policy)
    async with running(manager):
        await clock.advance_to(at(TUESDAY, (15, 0)))
        manager.fail("out of order")
        await manager.recover()
        manager.end_session("early")
        await clock.advance_to(at(FRIDAY, (15, 0)))
    assert {record.entry for record in journal.records} == set(Entry) - {SKIPPED}
    for number in range(len(journal.records) + 1):
        left = holding(*journal.records[:number])
        before = [record.target for record in left.records if record.entry is DONE]
        manager, clock, _ = begin(at(FRIDAY, (15, 0)), left, missed_sessions=policy)
        async with running(manager) as log:
            if manager.state is ERROR:
                await manager.recover()
                await clock.advance(NOW)
            assert (manager.state, manager.session.date) == (ACTIVE, FRIDAY)
            told = [day for done in of(RollSucceeded, log) for day in (*done.skipped, done.next_session)]
        if number:
            assert [*before, *told] == [TUESDAY, WEDNESDAY, THURSDAY, FRIDAY]
        else:
            assert told == []  # nothing was remembered yet, so nothing is owed


# ---- was_rolled ----


def answering(asked: list[date], answer: object, *, sync: bool):
    """Return a `was_rolled` of either kind, that gives or raises the answer."""

    def now(day: date) -> bool:
        asked.append(day)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def later(day: date) -> bool:
        await anyio.lowlevel.checkpoint()
        return now(day)

    return now if sync else later


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_was_rolled_true_is_not_run_again(sync):
    """The application knows that it has happened: the roll counts as done, and is journalled and told as such."""
    asked: list[date] = []
    journal = holding(adopted(), intent())
    manager, _, rolls = begin(END, journal, was_rolled=answering(asked, True, sync=sync))
    async with running(manager) as log:
        assert manager.session.date == TUESDAY
        assert [(event.next_session, event.resumed) for event in of(RollSucceeded, log)] == [(TUESDAY, True)]
    assert (asked, rolls.begun) == ([TUESDAY], [])
    assert entries(journal)[-1] == (DONE, MONDAY, TUESDAY)


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_was_rolled_false_is_run(sync):
    """It is asked before the roll, and each time that the resumed roll is tried."""
    asked: list[date] = []
    journal = holding(adopted(), intent())
    manager, clock, rolls = begin(END, journal, OSError(), was_rolled=answering(asked, False, sync=sync))
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert manager.session.date == TUESDAY
        assert [event.resumed for event in of(RollSucceeded, log)] == [True]
    assert (asked, rolls.dates) == ([TUESDAY] * 2, [TUESDAY] * 2)


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_was_rolled_that_raises_is_a_failed_attempt(sync):
    """Without an answer nothing is rolled: it is asked again, then ERROR, the roll still owed and its intent open."""
    asked: list[date] = []
    journal = holding(adopted(), intent())
    error = ConnectionError("no database")
    manager, clock, rolls = begin(END, journal, was_rolled=answering(asked, error, sync=sync))
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert manager.state is ERROR
        assert [event.error for event in of(RollFailed, log)] == [error] * 3
        assert "no database" in manager.status().reason
    assert (asked, rolls.begun) == ([TUESDAY] * 3, [])
    assert [entry for entry, *_ in entries(journal)] == [ADOPTED, INTENT, FAILED]


async def test_was_rolled_that_hangs_is_under_the_rolls_timeout():
    """The question is a part of the attempt."""

    async def hang(day: date) -> bool:
        await clock.sleep(DAY)
        return True

    manager, clock, rolls = begin(END, holding(adopted(), intent()), was_rolled=hang, roll_retry=ONCE)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert [type(event.error) for event in of(RollFailed, log)] == [RollTimeoutError]
    assert rolls.begun == []


async def test_was_rolled_is_inside_the_roll():
    """What would wait for the roll is refused there too."""
    raised: list[type[BaseException]] = []

    async def ask(day: date) -> bool:
        for call in (manager.recover, manager.roll, lambda: manager.wait_for(ACTIVE)):
            with pytest.raises(ReentrancyError) as caught:
                await call()
            raised.append(caught.type)
        return True

    manager, _, _ = begin(END, holding(adopted(), intent()), was_rolled=ask)
    async with running(manager):
        assert manager.session.date == TUESDAY
    assert raised == [ReentrancyError] * 3


async def test_was_rolled_is_not_asked_about_a_roll_that_this_run_begins():
    """Not at the first attempt and not at its retries: no earlier run can have completed it."""
    asked: list[date] = []
    manager, clock, rolls = begin(EVENING, MemoryJournal(), OSError(), was_rolled=answering(asked, True, sync=True))
    async with running(manager):
        await clock.advance(HOUR)
    assert (asked, rolls.dates) == ([], [TUESDAY] * 2)


async def test_was_rolled_is_asked_of_the_open_intent_only():
    """The sessions that were missed after it are rolled without a question."""
    asked: list[date] = []
    manager, _, rolls = begin(
        at(THURSDAY, (15, 0)),
        holding(adopted(), intent()),
        was_rolled=answering(asked, True, sync=True),
        missed_sessions=MissedSessions.EACH,
    )
    async with running(manager):
        assert manager.session.date == THURSDAY
    assert (asked, rolls.dates) == ([TUESDAY], [WEDNESDAY, THURSDAY])


# ---- ERROR and end_session survive ----


async def test_a_restart_in_error_stays_in_error(caplog):
    """Nobody has decided anything: same reason, nothing rolled, no event, one line in the log."""
    journal = MemoryJournal()
    manager, clock, _ = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager):
        manager.fail("the exchange halted us")
    with errors_logged(caplog) as lines:
        manager, clock, rolls = begin(at(THURSDAY, (15, 0)), journal)
        async with running(manager) as log:
            assert (manager.state, manager.session.date) == (ERROR, MONDAY)
            assert manager.status().reason == "the exchange halted us"
            assert await manager.wait_for(ERROR) is ERROR
            assert (manager.scheduled_state, manager.can_trade) == (ACTIVE, False)
            assert manager.next_boundary == at(THURSDAY, (21, 0))
            await clock.advance(7 * HOUR)
            assert (manager.state, manager.scheduled_state) == (ERROR, NOT_STARTED)
            assert (log, rolls.begun) == ([], [])
    assert [line for line in lines if "the exchange halted us" in line and "earlier run" in line]
    assert entries(journal) == [(ADOPTED, MONDAY, None), (FAILED, MONDAY, None)]


async def test_a_failed_roll_survives_as_an_error():
    """After the last attempt the state is ERROR at the next start too, the roll still owed; recover resumes it."""
    journal = MemoryJournal()
    manager, clock, _ = begin(EVENING, journal, *[OSError("no disk")] * 3)
    async with running(manager):
        await clock.advance(HOUR)
        reason = manager.status().reason
    manager, clock, rolls = begin(at(TUESDAY, (10, 0)), journal)
    async with running(manager) as log:
        status = manager.status()
        assert (status.state, status.reason, status.roll_owed, status.session) == (ERROR, reason, True, MONDAY)
        await manager.recover()
        await clock.advance(NOW)
        assert path(log)[:2] == ["recover", "roll"]
        assert (manager.state, manager.session.date) == (PRE_MARKET, TUESDAY)
        assert [event.resumed for event in of(RollSucceeded, log)] == [True]
    assert rolls.dates == [TUESDAY]


async def test_end_session_by_hand_survives_a_restart():
    """It is journalled before it acts, and what is ended stays ended although by the clock the session is on."""
    journal = MemoryJournal()
    manager, clock, _ = begin(at(MONDAY, (15, 0)), journal, auto_roll=False)
    async with running(manager):
        manager.end_session("fire drill")
        assert manager.state is ENDED
    assert journal.records[1:] == [Record(Entry.ENDED, MONDAY, at(MONDAY, (15, 0)), note="fire drill")]
    manager, clock, rolls = begin(at(MONDAY, (16, 0)), journal, auto_roll=False)
    async with running(manager):
        assert (manager.state, manager.session.date, manager.scheduled_state) == (ENDED, MONDAY, ACTIVE)
        assert manager.status().roll_owed
        assert (await manager.roll()).next_session == TUESDAY
        await clock.advance(NOW)
        assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)
    manager, clock, rolls = begin(at(MONDAY, (17, 0)), journal)
    async with running(manager):
        await clock.advance_to(at(MONDAY, (23, 0)))
        assert (manager.state, manager.session.date, rolls.begun) == (NOT_STARTED, TUESDAY, [])


async def test_end_session_by_hand_is_rolled_by_the_next_start():
    """With auto_roll the restart goes on to the roll that is owed; it was not begun before, so it is not resumed."""
    journal = holding(adopted(), Record(Entry.ENDED, MONDAY, at(MONDAY, (15, 0)), note="fire drill"))
    manager, _, rolls = begin(at(MONDAY, (16, 0)), journal)
    async with running(manager) as log:
        assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)
        assert [event.resumed for event in of(RollSucceeded, log)] == [False]
    assert rolls.dates == [TUESDAY]


async def test_end_session_that_cannot_be_journalled_changes_nothing():
    """The error is the caller's; the session goes on, and the call can be made again."""
    journal = Refusing(Entry.ENDED)
    manager, clock, rolls = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager) as log:
        log.clear()
        with pytest.raises(JournalWriteFailed, match="'ended'"):
            manager.end_session("fire drill")
        await clock.advance(NOW)
        assert (manager.state, log, rolls.begun) == (ACTIVE, [], [])
        journal.refused.clear()
        manager.end_session("fire drill")
        await clock.advance(NOW)
        assert manager.session.date == TUESDAY


async def test_end_session_out_of_hours_writes_nothing():
    """What is refused leaves no trace in the journal."""
    journal = MemoryJournal()
    manager, _, _ = begin(at(MONDAY, (10, 0)), journal)
    async with running(manager):
        with pytest.raises(IllegalTransition):
            manager.end_session("too early")
    assert entries(journal) == [(ADOPTED, MONDAY, None)]


# ---- the wall clock before the journal ----


async def test_fault_48_a_wall_clock_before_the_journal_holds():
    """The session is the journal's, NOT_STARTED until its own pre-market; what was rolled is not rolled again."""
    journal = MemoryJournal()
    manager, clock, first = begin(EVENING, journal)
    async with running(manager):
        await clock.advance(HOUR)
    manager, clock, second = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager):
        assert (manager.state, manager.session.date, manager.scheduled_state) == (NOT_STARTED, TUESDAY, ACTIVE)
        assert not manager.can_trade
        assert not manager.status().roll_owed
        await clock.advance_to(at(TUESDAY, (9, 0)) - MICROSECOND)
        assert (manager.state, second.begun) == (NOT_STARTED, [])
        await clock.advance_to(at(TUESDAY, (15, 0)))
        assert manager.state is ACTIVE
        await clock.advance_to(at(WEDNESDAY, (9, 0)))
    assert (first.dates, second.dates) == ([TUESDAY], [WEDNESDAY])


moves = st.lists(st.tuples(st.timedeltas(-7 * DAY, 2 * DAY), st.timedeltas(NOW, 2 * DAY)), min_size=1, max_size=5)


@settings(max_examples=25, deadline=None)
@given(moves=moves)
async def test_fault_48_whatever_the_wall_clock_says_at_each_restart_nothing_is_rolled_twice(moves):
    """Restarts with the wall clock moved either way: the dates that are rolled to only ever ascend, none twice."""
    journal = MemoryJournal()
    now = at(MONDAY + 14 * DAY, (15, 0))
    rolled: list[date] = []
    for jump, stay in moves:
        now = max(now + jump, at(MONDAY, (15, 0)))
        manager, clock, rolls = begin(now, journal, missed_sessions=MissedSessions.EACH, max_catch_up_sessions=50)
        async with running(manager):
            await clock.advance(stay)
        now = clock.now()
        rolled += rolls.dates
    assert rolled == sorted(set(rolled))
    assert rolled == [record.target for record in journal.records if record.entry is DONE]


# ---- session= beside a journal ----


async def test_session_that_agrees_with_the_journal():
    """The application and its journal say the same: nothing is written."""
    journal = holding(adopted())
    manager, _, _ = begin(at(MONDAY, (15, 0)), journal, session=MONDAY)
    async with running(manager):
        assert (manager.state, manager.session.date) == (ACTIVE, MONDAY)
    assert entries(journal) == [(ADOPTED, MONDAY, None)]


async def test_session_that_is_the_target_of_the_open_intent_counts_as_done():
    """The application has stored the new date, so the roll has happened: it is not awaited again."""
    journal = holding(adopted(), intent())
    manager, _, rolls = begin(at(TUESDAY, (15, 0)), journal, session=TUESDAY)
    async with running(manager) as log:
        assert (manager.state, manager.session.date) == (ACTIVE, TUESDAY)
        assert of(RollStarted, log) == []
    assert rolls.begun == []
    assert entries(journal)[-1] == (DONE, MONDAY, TUESDAY)


async def test_session_that_is_the_source_of_the_open_intent_resumes():
    """The application has not stored the new date: the roll is resumed."""
    journal = holding(adopted(), intent())
    manager, _, rolls = begin(END, journal, session=MONDAY)
    async with running(manager) as log:
        assert [event.resumed for event in of(RollSucceeded, log)] == [True]
    assert rolls.dates == [TUESDAY]


async def test_session_that_agrees_does_not_end_an_error():
    """It tells where the application is, not that somebody has looked at the failure."""
    manager, _, rolls = begin(END, holding(adopted(), intent(), failed()), session=MONDAY)
    async with running(manager):
        assert (manager.state, manager.status().reason, rolls.begun) == (ERROR, "out of order", [])


@pytest.mark.parametrize("records", [(adopted(),), (adopted(), intent())], ids=["at rest", "in mid-roll"])
@pytest.mark.parametrize("stored", [MONDAY + 7 * DAY, FRIDAY], ids=["next week", "Friday"])
async def test_session_that_contradicts_the_journal(records, stored):
    """Which of the two is wrong, a person must find out: nothing is started, nothing is written, both are named."""
    journal = holding(*records)
    manager, _, rolls = begin(at(FRIDAY, (15, 0)), journal, session=stored)
    message = await refused(manager, JournalMismatch)
    assert str(MONDAY) in message
    assert str(stored) in message
    assert journal.records == list(records)
    assert rolls.begun == []
    assert is_free(journal)


async def test_session_done_that_cannot_be_journalled_stops_the_start():
    """The start is refused as a whole."""
    journal = Refusing(DONE, records=(adopted(), intent()))
    manager, _, rolls = begin(END, journal, session=TUESDAY)
    await refused(manager, JournalWriteFailed)
    assert (entries(journal)[-1], rolls.begun) == ((INTENT, MONDAY, TUESDAY), [])
    assert is_free(journal)


# ---- the wrong journal, and one that is held ----


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_fault_47_another_calendars_journal(kind, tmp_path):
    """Refused, both calendars named, nothing started, nothing changed; its own calendar can still use it."""
    journal = MemoryJournal() if kind == "memory" else FileJournal(tmp_path / "journal")
    for _ in range(2):
        manager, _, _ = begin(at(MONDAY, (15, 0)), journal)
        async with running(manager):
            assert manager.session.date == MONDAY
        manager, _, rolls = begin(at(MONDAY, (15, 0)), journal, schedule=weekdays(name="elsewhere"))
        message = await refused(manager, JournalMismatch)
        assert "fixed" in message
        assert "elsewhere" in message
        assert rolls.begun == []


async def test_fault_47_a_journal_of_an_unknown_version(tmp_path):
    """A file written by a later version is refused, both versions named, and left as it is."""
    journal = FileJournal(tmp_path / "journal")
    journal.open("fixed")
    journal.close()
    text = journal.path.read_bytes().splitlines()[0][:-9].replace(b'"version": 1', b'"version": 2')
    content = b"%s %08x\n" % (text, zlib.crc32(text))
    journal.path.write_bytes(content)
    manager, _, _ = begin(at(MONDAY, (15, 0)), journal)
    message = await refused(manager, JournalMismatch)
    assert "version of the journal is 2" in message
    assert "1 was asked for" in message
    assert journal.path.read_bytes() == content


@pytest.mark.parametrize("kind", ["memory", "one object", "one file"])
async def test_fault_46_a_second_manager_on_the_journal(kind, tmp_path):
    """The second is refused; the first is unaffected, and rolls and journals on."""
    first_journal = MemoryJournal() if kind == "memory" else FileJournal(tmp_path / "journal")
    second_journal = FileJournal(tmp_path / "journal") if kind == "one file" else first_journal
    manager, clock, rolls = begin(EVENING, first_journal)
    async with running(manager) as log:
        second, _, others = begin(EVENING, second_journal)
        await refused(second, JournalLocked)
        assert not is_free(second_journal)
        await clock.advance(HOUR)
        assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)
        assert len(of(RollSucceeded, log)) == 1
    assert (rolls.dates, others.begun) == ([TUESDAY], [])
    third, _, others = begin(at(TUESDAY, (15, 0)), second_journal)
    async with running(third):
        assert (third.session.date, others.begun) == (TUESDAY, [])


async def test_fault_46_the_holder_is_named(tmp_path):
    """Of a file, the message says which process holds it."""
    manager, _, _ = begin(EVENING, FileJournal(tmp_path / "journal"))
    async with running(manager):
        second, _, _ = begin(EVENING, FileJournal(tmp_path / "journal"))
        message = await refused(second, JournalLocked)
    assert f"process {os.getpid()}" in message
    assert str(tmp_path / "journal") in message


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
        assert (log, rolls.begun, journal.records) == ([], [], list(records))
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


# ---- a journal that fails ----


@pytest.mark.parametrize("error", [None, RuntimeError("the application's own journal")], ids=["refused", "raised"])
async def test_fault_44_an_intent_that_cannot_be_written(error):
    """The roll is not begun: ERROR that says so; recover begins it once the journal takes it."""
    journal = Refusing(INTENT, error=error)
    manager, clock, rolls = begin(EVENING, journal)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert (manager.state, manager.session.date, rolls.begun) == (ERROR, MONDAY, [])
        assert str(error or "no space left") in manager.status().reason
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


async def test_fault_44_on_a_full_disk(tmp_path, caplog):
    """With a file and no room at all, the ERROR cannot be written either, which is logged; with room, all is well."""
    files = FullDisk()
    journal = FileJournal(tmp_path / "journal", files=files)
    manager, clock, rolls = begin(EVENING, journal)
    async with running(manager):
        files.full = True
        with errors_logged(caplog) as lines:
            await clock.advance(HOUR)
        assert (manager.state, rolls.begun) == (ERROR, [])
        assert "No space left on device" in manager.status().reason
        assert [line for line in lines if "could not be journalled" in line]
        with pytest.raises(JournalWriteFailed, match="No space left"):
            await manager.recover()
        assert manager.state is ERROR
        files.full = False
        await manager.recover()
        await clock.advance(NOW)
        assert (manager.session.date, rolls.dates) == (TUESDAY, [TUESDAY])
    manager, _, rolls = begin(at(TUESDAY, (15, 0)), FileJournal(tmp_path / "journal"))
    async with running(manager):
        assert (manager.session.date, rolls.begun) == (TUESDAY, [])


@pytest.mark.parametrize("error", [None, RuntimeError("the application's own journal")], ids=["refused", "raised"])
async def test_fault_45_a_done_that_cannot_be_written(error):
    """The roll has returned and nobody may hear of it: ERROR that says "uncertain", the session unchanged."""
    journal = Refusing(DONE, error=error)
    manager, clock, rolls = begin(EVENING, journal)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert (manager.state, manager.session.date) == (ERROR, MONDAY)
        reason = manager.status().reason
        assert reason.startswith("uncertain")
        assert str(error or "no space left") in reason
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
        await clock.advance(NOW)
        assert manager.state is ERROR
        assert path(log)[-1] == "fail"
    assert [line for line in lines if "could not be journalled" in line]


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
    assert is_free(journal)

    async def resumed() -> None:
        manager, _, rolls = begin(at(TUESDAY, (15, 0)), journal)
        async with running(manager) as log:
            assert [event.resumed for event in of(RollSucceeded, log)] == [True]
            assert (manager.state, manager.session.date) == (ACTIVE, TUESDAY)
        assert rolls.dates == [TUESDAY]

    run(resumed, anyio_backend)


async def is_resumed_by_the_next(journal: MemoryJournal | FileJournal) -> None:
    """Hold that the journal is free, and that a manager on it resumes the roll to Tuesday."""
    assert is_free(journal)
    manager, _, rolls = begin(at(TUESDAY, (15, 0)), journal)
    async with running(manager) as log:
        assert [event.resumed for event in of(RollSucceeded, log)] == [True]
        assert (manager.state, manager.session.date) == (ACTIVE, TUESDAY)
    assert rolls.dates == [TUESDAY]


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_fault_37_cancelled_by_a_scope_the_intent_is_kept(kind, tmp_path):
    """A cancel scope cancelled in mid-roll: the journal is closed with the intent open, and a restart resumes."""
    journal = MemoryJournal() if kind == "memory" else FileJournal(tmp_path / "journal")
    manager, clock, rolls = begin(EVENING, journal, HOUR)
    with anyio.CancelScope() as scope:
        async with manager:
            await clock.advance_to(END + MINUTE)
            scope.cancel()
            await anyio.sleep_forever()
    assert (manager.state, rolls.done) == (ENDED, [])
    await is_resumed_by_the_next(journal)


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
    assert is_free(journal)


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


# ---- the journal's end ----


async def test_the_journal_is_closed_after_the_roll_that_leaving_waits_for():
    """The done of a roll under way is written before the journal is let go."""
    trace: list[str] = []

    class Closing(Tracing):
        def close(self) -> None:
            super().close()
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


@pytest.mark.parametrize("kind", ["memory", "file"])
@pytest.mark.parametrize("leave", WAYS_OUT, ids=lambda leave: leave.__name__)
async def test_the_journal_is_closed_on_every_way_out(leave, kind, tmp_path):
    """The next manager can open it, by a new object too."""
    journal = MemoryJournal() if kind == "memory" else FileJournal(tmp_path / "journal")
    manager, clock, _ = begin(at(MONDAY, (15, 0)), journal)
    await leave(manager, clock)
    assert is_free(journal)
    assert kind == "memory" or is_free(FileJournal(tmp_path / "journal"))


async def test_the_journal_is_closed_when_the_start_fails():
    """Beyond the schedule's knowledge nothing can be started, and nothing is held."""
    journal = MemoryJournal()
    manager, _, _ = begin(at(MONDAY + 28 * DAY, (15, 0)), journal, schedule=weekdays())
    await refused(manager, ScheduleExhausted)
    assert is_free(journal)
    assert journal.records == []


async def test_a_journal_that_cannot_be_opened_is_not_closed():
    """It is somebody else's, or nobody's: what was not opened is not let go of."""

    class Unavailable(MemoryJournal):
        closed = 0

        def open(self, calendar: str) -> tuple[Record, ...]:
            raise PermissionError("not yours")

        def close(self) -> None:
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


async def test_an_aliass_journal_is_its_calendars(tmp_path):
    """A calendar by another of its names is the same calendar."""
    for name in ("XNYS", "NYSE"):
        clock = SimulatedClock(datetime(2024, 11, 29, 15, 0, tzinfo=EVENING.tzinfo))
        manager = SessionBoundaryManager(name, Rolls(clock), clock=clock, journal=FileJournal(tmp_path / "journal"))
        async with manager:
            assert manager.state is ACTIVE


async def test_a_year_in_one_journal(tmp_path):
    """A file stays small, and a restart at any time agrees with the run that never stopped."""
    journal = FileJournal(tmp_path / "journal")
    manager, clock, rolls = begin(at(MONDAY, (15, 0)), journal, schedule=weekdays(n=520))
    async with running(manager):
        await clock.advance(timedelta(days=700))
        last = manager.session.date
    assert len(rolls.done) == 500
    assert journal.path.stat().st_size < 200_000
    manager, clock, rolls = begin(clock.now(), journal, schedule=weekdays(n=520))
    async with running(manager):
        assert (manager.session.date, rolls.begun) == (last, [])
