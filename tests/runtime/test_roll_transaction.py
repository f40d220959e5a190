"""The roll's own transaction: the application's writes and the journal's *done* commit together, or neither does."""

import asyncio
import time as real_time
from datetime import UTC, date, datetime, time, timedelta

import anyio
import pytest

from session_lifecycle import (
    Entry,
    FixedSchedule,
    HandlerFailed,
    LifecycleConfig,
    MemoryJournal,
    NoTransactionError,
    ReentrancyError,
    Resolution,
    RetryPolicy,
    RollFailed,
    RollSucceeded,
    RollTimeoutError,
    Session,
    SessionBoundaryManager,
    SpecialHours,
    SystemClock,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MONDAY, at
from tests.helpers.harness import (
    ERROR,
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    SECOND,
    TUESDAY,
    changes,
    need_asyncio,
    of,
    running,
    season,
)
from tests.helpers.ledger import a_while, tasks_named, until
from tests.helpers.manager_journal import ADOPTED, DONE, END, EVENING, FAILED, INTENT, ONCE, begin, is_free
from tests.helpers.transactional import Transactional, refusal

pytestmark = pytest.mark.anyio


class Boom(Exception):
    """What a roll of these tests fails with."""


class Desk:
    """A manager whose roll writes one row in a transaction, with room for what a test does in between."""

    def __init__(self, *, start=EVENING, clock=None, schedule=None, **settings):
        self.journal = Transactional()
        self.clock = SimulatedClock(start) if clock is None else clock
        self.attempts: list[date] = []
        self.values: list[bool] = []
        config = LifecycleConfig(**({"data_timeout": None, "roll_timeout": 5 * MINUTE} | settings))
        self.manager = SessionBoundaryManager(
            schedule or season(), self.roll, config=config, clock=self.clock, journal=self.journal
        )

    async def roll(self, next_date: date) -> None:
        """Roll in a transaction."""
        self.attempts.append(next_date)
        await self.before()
        async with self.manager.roll_transaction() as tx:
            self.values.append(tx is not None)
            if tx is not None:
                tx.write(next_date)
            await self.inside(tx)
        await self.after()

    async def before(self) -> None:
        """Do nothing before the block."""

    async def inside(self, tx: object) -> None:
        """Do nothing in the block."""

    async def after(self) -> None:
        """Do nothing after the block."""


def in_the(desk: Desk, part: str):
    """Decorate what a desk's roll does in one of its parts."""

    def decorate(function):
        setattr(desk, part, function)
        return function

    return decorate


async def hold_rolled_once(desk: Desk, log) -> None:
    """Hold that the application's row and *done* are there once, and the next session is entered."""
    assert desk.journal.books == [TUESDAY]
    assert desk.journal.written.count(DONE) == 1
    assert (desk.manager.state, desk.manager.session.date) == (NOT_STARTED, TUESDAY)
    assert [event.next_session for event in of(RollSucceeded, log)] == [TUESDAY]


# ---- one commit ----


async def test_the_writes_and_done_commit_together():
    """One transaction holds both; the next session is entered once the function has ended."""
    desk = Desk()

    @in_the(desk, "after")
    async def look() -> None:
        assert desk.journal.written[-1] is DONE
        assert (desk.manager.session.date, desk.journal.books) == (MONDAY, [TUESDAY])
        await desk.clock.sleep(MINUTE)
        assert desk.manager.session.date == MONDAY

    async with running(desk.manager) as log:
        await desk.clock.advance(HOUR)
        await hold_rolled_once(desk, log)
        [entered] = [event for event in changes(log) if event.trigger == "roll"]
        assert entered.observed_at == END + MINUTE
    assert desk.journal.trace == ["adopted", "intent", "begin", "commit"]
    assert [record.seq for record in desk.journal.records] == [1, 2, 3]
    assert desk.values == [True]


async def test_a_restart_agrees_with_the_transaction():
    """What has committed is not rolled again by the next run."""
    desk = Desk()
    async with running(desk.manager):
        await desk.clock.advance(HOUR)
    manager, _, rolls = begin(END + HOUR, desk.journal)
    async with running(manager):
        assert (manager.session.date, rolls.begun) == (TUESDAY, [])


async def test_an_exception_of_the_block_rolls_both_back():
    """It is a failed attempt; the next one writes anew."""
    desk = Desk()

    @in_the(desk, "inside")
    async def fail_once(_: object) -> None:
        if len(desk.attempts) == 1:
            raise Boom

    async with running(desk.manager) as log:
        await desk.clock.advance(HOUR)
        assert [type(event.error) for event in of(RollFailed, log)] == [Boom]
        await hold_rolled_once(desk, log)
    assert desk.journal.trace == ["adopted", "intent", "begin", "rollback", "begin", "commit"]
    assert desk.values == [True, True]


async def test_a_timeout_in_the_block_rolls_both_back():
    """The block is cancelled like the rest of the attempt: on a real clock, since a simulated one is held in it."""
    now = datetime.now(UTC)
    hours = [Session(now.date() + n * DAY, now + n * DAY - HOUR, now + n * DAY + HOUR) for n in range(3)]
    desk = Desk(
        clock=SystemClock(),
        schedule=FixedSchedule(hours),
        roll_timeout=timedelta(milliseconds=60),
        roll_retry=RetryPolicy(attempts=50, initial=timedelta(milliseconds=10)),  # a busy machine may need more than 2
    )

    @in_the(desk, "inside")
    async def hang_once(_: object) -> None:
        if len(desk.values) == 1:  # it may not have got here in the first attempt
            await anyio.sleep_forever()

    async with running(desk.manager) as log:
        await desk.manager.end_session("to roll")
        await until(lambda: desk.manager.session.date == hours[1].date)
        assert {type(event.error) for event in of(RollFailed, log)} == {RollTimeoutError}
    assert desk.journal.books == [hours[1].date]
    assert desk.journal.trace[-3:] == ["rollback", "begin", "commit"]


async def test_a_native_cancellation_in_the_block_rolls_both_back(anyio_backend):
    """It is a failed attempt, as anywhere in the roll."""
    need_asyncio(anyio_backend)
    desk = Desk()

    @in_the(desk, "inside")
    async def cancel_once(_: object) -> None:
        if len(desk.attempts) == 1:
            asyncio.current_task().cancel()
            await asyncio.sleep(60)

    async with running(desk.manager) as log:
        await desk.clock.advance(HOUR)
        assert len(of(RollFailed, log)) == 1
        await hold_rolled_once(desk, log)


async def test_leaving_in_the_block_rolls_both_back():
    """The intent is kept, and the next run resumes."""
    desk = Desk()

    @in_the(desk, "inside")
    async def leave(_: object) -> None:
        scope.cancel()
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        async with desk.manager:
            await desk.clock.advance(HOUR)
    assert (desk.journal.written, desk.journal.books) == ([ADOPTED, INTENT], [])
    assert await is_free(desk.journal)


@pytest.mark.parametrize("committed", [False, True], ids=["not committed", "committed"])
async def test_a_commit_in_doubt_is_settled_by_the_next_attempt(committed):
    """The next attempt finds *done* in the journal and calls nothing, or writes anew: once, either way."""
    desk = Desk()
    setattr(desk.journal, "lost_answer" if committed else "failure", refusal(uncertain=True))

    @in_the(desk, "before")
    async def heal() -> None:
        if len(desk.attempts) > 1:
            desk.journal.failure = None

    async with running(desk.manager) as log:
        await desk.clock.advance(HOUR)
        assert [event.error.uncertain for event in of(RollFailed, log)] == [True]
        await hold_rolled_once(desk, log)
    assert len(desk.attempts) == (1 if committed else 2)


@pytest.mark.parametrize("resolution", Resolution)
async def test_a_commit_in_doubt_at_the_last_attempt_is_settled_by_recover(resolution):
    """ERROR; whatever is resolved, *done* is found first, and the roll completed as it has committed."""
    desk = Desk(roll_retry=ONCE)
    desk.journal.lost_answer = refusal(uncertain=True)
    async with running(desk.manager) as log:
        await desk.clock.advance(HOUR)
        assert desk.manager.state is ERROR
        assert of(RollSucceeded, log) == []
        await desk.manager.recover(resolution)
        await desk.clock.advance(NOW)
        await hold_rolled_once(desk, log)
    assert desk.attempts == [TUESDAY]
    manager, _, rolls = begin(END + HOUR, desk.journal)
    async with running(manager):
        assert (manager.state, manager.session.date, rolls.begun) == (NOT_STARTED, TUESDAY, [])


# ---- once committed, it is done ----


async def test_an_exception_after_the_commit_cannot_fail_the_roll():
    """It is an event, and logged; the roll is done."""
    desk = Desk()

    @in_the(desk, "after")
    async def fail() -> None:
        raise Boom

    async with running(desk.manager) as log:
        await desk.clock.advance(HOUR)
        assert of(RollFailed, log) == []
        [failed] = of(HandlerFailed, log)
        assert isinstance(failed.error, Boom)
        await hold_rolled_once(desk, log)
    assert desk.attempts == [TUESDAY]


async def test_a_timeout_after_the_commit_cannot_fail_the_roll():
    """The function is cancelled, which is an event; the roll is done."""
    desk = Desk()

    @in_the(desk, "after")
    async def hang() -> None:
        await desk.clock.sleep(HOUR)

    async with running(desk.manager) as log:
        await desk.clock.advance(30 * MINUTE)
        assert of(RollFailed, log) == []
        assert [type(event.error) for event in of(HandlerFailed, log)] == [RollTimeoutError]
        await hold_rolled_once(desk, log)
        assert [event.duration for event in of(RollSucceeded, log)] == [5 * MINUTE]


async def test_a_native_cancellation_after_the_commit_cannot_fail_the_roll(anyio_backend):
    """No more than an exception can."""
    need_asyncio(anyio_backend)
    desk = Desk()

    @in_the(desk, "after")
    async def cancel() -> None:
        asyncio.current_task().cancel()
        await asyncio.sleep(60)

    async with running(desk.manager) as log:
        await desk.clock.advance(HOUR)
        assert of(RollFailed, log) == []
        assert len(of(HandlerFailed, log)) == 1
        await hold_rolled_once(desk, log)


async def test_leaving_after_the_commit_reports_the_roll():
    """The manager is cancelled around it: the roll is done, and said to be."""
    desk = Desk()
    events = desk.manager.events()

    @in_the(desk, "after")
    async def leave() -> None:
        scope.cancel()
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        async with desk.manager:
            await desk.clock.advance(HOUR)
    assert (desk.journal.books, desk.journal.written[-1]) == ([TUESDAY], DONE)
    assert len(of(RollSucceeded, [event async for event in events])) == 1
    manager, _, rolls = begin(END + HOUR, desk.journal)
    async with running(manager):
        assert (manager.session.date, rolls.begun) == (TUESDAY, [])


async def test_a_second_block_after_the_commit_gives_none():
    """What has committed is not written twice, within one attempt either."""
    desk = Desk()
    found: list[object] = []

    @in_the(desk, "after")
    async def again() -> None:
        async with desk.manager.roll_transaction() as tx:
            found.append(tx)

    async with running(desk.manager) as log:
        await desk.clock.advance(HOUR)
        await hold_rolled_once(desk, log)
    assert found == [None]


async def test_an_earlier_commit_gives_none():
    """Another process, or an earlier attempt, has written *done*: the block gets None, and the roll is done."""
    desk = Desk()

    @in_the(desk, "before")
    async def another() -> None:
        intent = desk.journal.records[-1]
        async with desk.journal.transaction(MONDAY, lambda: done_after(intent)) as tx:
            tx.write(TUESDAY)

    async with running(desk.manager) as log:
        await desk.clock.advance(HOUR)
        await hold_rolled_once(desk, log)
    assert desk.values == [False]


def done_after(intent):
    """Return the *done* of an intent, numbered after it."""
    return type(intent)(DONE, intent.session, intent.at, intent.target, seq=intent.seq + 1)


# ---- in the block ----


@pytest.mark.parametrize("call", ["apply", "end_session", "recover"])
async def test_what_writes_ahead_is_refused_in_the_block(call):
    """It would wait for the very transaction; nothing has changed, and the block goes on."""
    desk = Desk()
    calls = {
        "apply": lambda: desk.manager.apply(SpecialHours(TUESDAY, close=time(18))),
        "end_session": lambda: desk.manager.end_session("now"),
        "recover": desk.manager.recover,
    }

    @in_the(desk, "inside")
    async def ask(_: object) -> None:
        with pytest.raises(ReentrancyError):
            await calls[call]()

    async with running(desk.manager) as log:
        await desk.clock.advance(HOUR)
        assert of(RollFailed, log) == []
        await hold_rolled_once(desk, log)
    assert desk.journal.written == [ADOPTED, INTENT, DONE]


async def test_before_and_after_the_block_what_writes_ahead_is_not_refused():
    """Only inside of it the roll would wait for itself."""
    desk = Desk()

    @in_the(desk, "before")
    async def early() -> None:
        await desk.manager.apply(SpecialHours(TUESDAY, close=time(18)))

    @in_the(desk, "after")
    async def late() -> None:
        await desk.manager.apply(SpecialHours(TUESDAY, close=time(17)))

    async with running(desk.manager) as log:
        await desk.clock.advance(HOUR)
        assert of(HandlerFailed, log) == []
        await hold_rolled_once(desk, log)
        assert desk.manager.session.close == at(TUESDAY, (17, 0))
    assert desk.journal.written == [ADOPTED, INTENT, Entry.CHANGED, DONE, Entry.CHANGED]


async def test_a_failure_in_the_block_acts_after_the_roll_and_is_recorded_after_it():
    """`fail` needs no wait: ERROR once the attempt has ended, whose *done* comes first in the journal."""
    desk = Desk()

    @in_the(desk, "inside")
    async def fail(_: object) -> None:
        desk.manager.fail("out of order")
        await a_while()
        assert desk.journal.written == [ADOPTED, INTENT]

    async with running(desk.manager):
        await desk.clock.advance(HOUR)
        assert (desk.manager.state, desk.manager.session.date) == (ERROR, TUESDAY)
    assert desk.journal.written == [ADOPTED, INTENT, DONE, FAILED]
    assert desk.journal.books == [TUESDAY]


async def test_a_feeds_halt_is_recorded_after_the_block():
    """What is decided meanwhile waits in the ledger: within the block nothing else is written."""
    desk = Desk(start=at(MONDAY, (20, 0)))

    @in_the(desk, "inside")
    async def wait(_: object) -> None:
        desk.manager._host.note(desk.journal.records[0].__class__(Entry.HALTED, MONDAY, END, note="news"))
        await a_while()
        assert desk.journal.written == [ADOPTED, INTENT]

    async with running(desk.manager) as log:
        await desk.clock.advance_to(END + HOUR)
        await hold_rolled_once(desk, log)
    assert desk.journal.written == [ADOPTED, INTENT, DONE, Entry.HALTED]
    assert [record.seq for record in desk.journal.records] == [1, 2, 3, 4]


async def test_what_waits_is_written_before_the_block():
    """The ledger is empty as the transaction begins: the journal's order is that of the decisions."""
    desk = Desk()

    @in_the(desk, "before")
    async def note() -> None:
        desk.manager._host.note(desk.journal.records[0].__class__(Entry.HALTED, MONDAY, END, note="news"))

    async with running(desk.manager) as log:
        await desk.clock.advance(HOUR)
        await hold_rolled_once(desk, log)
    assert desk.journal.written == [ADOPTED, INTENT, Entry.HALTED, DONE]


async def test_a_transaction_in_the_block_is_refused():
    """One roll has one."""
    desk = Desk()

    @in_the(desk, "inside")
    async def nest(_: object) -> None:
        with pytest.raises(ReentrancyError, match="roll_transaction"):
            async with desk.manager.roll_transaction():
                pytest.fail("the inner block must not be entered")

    async with running(desk.manager) as log:
        await desk.clock.advance(HOUR)
        await hold_rolled_once(desk, log)


# ---- where there is none ----


async def test_outside_of_a_roll_it_is_refused():
    """In the body, in a handler, in another task during the roll: none of them is the roll."""
    desk = Desk()
    raised: list[Exception] = []

    async def ask() -> None:
        with pytest.raises(NoTransactionError, match="roll_session") as caught:
            async with desk.manager.roll_transaction():
                pytest.fail("the block must not be entered")
        raised.append(caught.value)

    @desk.manager.on(RollSucceeded)
    async def handle(_: object) -> None:
        await ask()

    @in_the(desk, "before")
    async def wait() -> None:
        await desk.clock.sleep(MINUTE)

    async with running(desk.manager) as log:
        await ask()
        await desk.clock.advance_to(END + SECOND)
        assert desk.attempts
        await ask()
        await desk.clock.advance(HOUR)
        assert of(HandlerFailed, log) == []
        await hold_rolled_once(desk, log)
    assert len(raised) == 3


@pytest.mark.parametrize("journal", [None, MemoryJournal], ids=["no journal", "in memory"])
async def test_without_a_database_it_is_refused(journal):
    """The message says what to give the manager; the attempt has failed."""

    async def roll(_: date) -> None:
        async with manager.roll_transaction():
            pytest.fail("the block must not be entered")

    clock = SimulatedClock(EVENING)
    config = LifecycleConfig(data_timeout=None, roll_retry=RetryPolicy(attempts=1))
    manager = SessionBoundaryManager(
        season(), roll, clock=clock, config=config, journal=None if journal is None else journal()
    )
    async with running(manager) as log:
        await clock.advance(HOUR)
        [failed] = of(RollFailed, log)
        assert isinstance(failed.error, NoTransactionError)
        assert "SqliteJournal" in str(failed.error)
        assert manager.state is ERROR


async def test_a_statement_for_another_driver_needs_a_journal_that_has_one():
    """A journal without placeholders of its own says so."""
    desk = Desk(roll_retry=ONCE)

    @in_the(desk, "before")
    async def ask() -> None:
        desk.manager.done_statement()

    async with running(desk.manager) as log:
        await desk.clock.advance(HOUR)
        [failed] = of(RollFailed, log)
        assert isinstance(failed.error, NoTransactionError)
        assert "PostgresJournal" in str(failed.error)
        with pytest.raises(NoTransactionError, match="roll_session"):
            desk.manager.done_statement()


# ---- real time ----


@pytest.mark.parametrize("moment", ["locking", "committing"])
async def test_a_simulated_clock_waits_for_the_lock_and_the_commit(moment):
    """No simulated time passes, so no `roll_timeout` runs out, while the database takes its real time."""
    desk = Desk(roll_timeout=MINUTE)
    instants: list[object] = []

    async def real_wait() -> None:
        instants.append(desk.clock.now())
        await anyio.sleep(0.05)
        instants.append(desk.clock.now())

    setattr(desk.journal, moment, real_wait)
    began = real_time.perf_counter()
    async with running(desk.manager) as log:
        await desk.clock.advance(HOUR)
        assert of(RollFailed, log) == []
        await hold_rolled_once(desk, log)
    assert real_time.perf_counter() - began >= 0.05
    assert instants == [END, END]


async def test_a_simulated_clock_is_held_in_the_block():
    """The block holds a real database: a sleep by the simulated clock in it would never end, and is refused."""
    desk = Desk(roll_timeout=MINUTE)
    instants: list[object] = []

    @in_the(desk, "inside")
    async def wait(_: object) -> None:
        instants.append(desk.clock.now())
        await anyio.sleep(0.03)
        instants.append(desk.clock.now())
        with pytest.raises(ReentrancyError):
            await desk.clock.sleep(MINUTE)

    async with running(desk.manager) as log:
        await desk.clock.advance(HOUR)
        assert of(RollFailed, log) == []
        await hold_rolled_once(desk, log)
    assert instants == [END, END]


async def test_a_simulated_clock_waits_while_done_is_looked_for():
    """A retry asks the journal first, in real time too."""
    desk = Desk(roll_timeout=MINUTE)
    instants: list[object] = []
    find = desk.journal.find_done

    async def slow(session: date):
        instants.append(desk.clock.now())
        await anyio.sleep(0.05)
        instants.append(desk.clock.now())
        return await find(session)

    desk.journal.find_done = slow
    desk.journal.lost_answer = refusal(uncertain=True)
    async with running(desk.manager) as log:
        await desk.clock.advance(HOUR)
        await hold_rolled_once(desk, log)
    assert instants[0] == instants[1]
    assert len(instants) == 2


async def test_waiting_for_the_lock_can_be_cancelled():
    """A manager that is left does not wait for another's transaction; the clock goes on."""
    desk = Desk()
    desk.journal.locking = anyio.sleep_forever
    with anyio.CancelScope() as scope:
        async with desk.manager, anyio.create_task_group() as tasks:
            tasks.start_soon(desk.clock.advance, HOUR)
            await until(lambda: desk.attempts)
            await a_while()
            scope.cancel()
            await anyio.sleep_forever()
    assert (desk.journal.written, desk.journal.books) == ([ADOPTED, INTENT], [])
    assert await is_free(desk.journal)
    with anyio.fail_after(5):
        await desk.clock.advance(HOUR)


async def test_a_native_cancellation_of_the_writing_task_in_the_block_reaches_nothing(anyio_backend):
    """While the block is open, the task that writes has nothing to do with it."""
    need_asyncio(anyio_backend)
    desk = Desk()

    @in_the(desk, "inside")
    async def cancel(_: object) -> None:
        for task in tasks_named("run", "_flush"):
            task.cancel()
        await a_while()

    async with running(desk.manager) as log:
        await desk.clock.advance(HOUR)
        await hold_rolled_once(desk, log)
