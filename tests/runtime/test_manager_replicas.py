"""Managers that share a journal: one leads, the others follow it, and turn leader in place."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta

import anyio
import pytest

from session_lifecycle import (
    ClockSkew,
    Closure,
    Entry,
    Event,
    JournalUnavailable,
    LeadershipGained,
    LeadershipLost,
    LifecycleConfig,
    LifecycleError,
    NotLeadingError,
    Record,
    Resolution,
    RetryPolicy,
    RollFailed,
    RollFollowed,
    RollStarted,
    RollSucceeded,
    RollTimeoutError,
    SessionBoundaryManager,
    SessionGroup,
)
from session_lifecycle._runtime import journal_tasks
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import MONDAY, at
from tests.helpers.harness import (
    ACTIVE,
    DEAF,
    ENDED,
    ERROR,
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    POST_MARKET,
    SECOND,
    TUESDAY,
    Rolls,
    of,
    roll_nothing,
    running,
    season,
)
from tests.helpers.ledger import a_while, in_background, until
from tests.helpers.manager_journal import ADOPTED, DONE, END, EVENING, FAILED, INTENT, adopted, entries, intent
from tests.helpers.shared import SharedInMemory
from tests.helpers.transactional import Transactional

pytestmark = pytest.mark.anyio

NOON = at(MONDAY, (16, 0))
DONE_BY_THE_LEADER = Record(DONE, MONDAY, END, TUESDAY)
INTENT_BY_THE_LEADER = intent()


def replica(
    start: object, journal: SharedInMemory, *script: BaseException | timedelta | None
) -> tuple[SessionBoundaryManager, SimulatedClock, Rolls]:
    """Return a manager on a shared journal, its clock, and its roll, which follows a script."""
    clock = SimulatedClock(start)
    rolls = Rolls(clock, *script)
    config = LifecycleConfig(data_timeout=None)
    return SessionBoundaryManager(season(), rolls, config=config, clock=clock, journal=journal), clock, rolls


# ---- standing by ----


async def test_a_journal_that_refuses_is_told_once_for_each_reason(caplog, monkeypatch):
    """However often it is asked: for hours, where nobody is there to remove the reason."""
    monkeypatch.setattr(journal_tasks, "_PAUSE_SECONDS", 0)

    class Refusing(SharedInMemory):
        reasons = ["read-only"] * 3 + ["permission denied"] * 2

        async def follow(self):
            if self.reasons:
                raise JournalUnavailable("desk", self.reasons.pop(0))
            return await super().follow()

    journal = Refusing([adopted()], leads=False)
    manager, _, _ = replica(NOON, journal)
    async with running(manager):
        await until(lambda: not journal.reasons)
    told = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert ["read-only" in each for each in told] == [True, False]


async def test_a_standby_follows_the_leader_and_does_nothing_itself():
    """Its state goes on by the clock, it enters what the leader has rolled to, and it writes and awaits nothing."""
    journal = SharedInMemory([adopted()], leads=False)
    manager, clock, rolls = replica(NOON, journal)
    async with running(manager) as log:
        assert (manager.state, manager.leads, manager.can_trade, manager.term) == (ACTIVE, False, False, 1)
        await clock.advance_to(END + HOUR)
        assert (manager.state, manager.session.date) == (ENDED, MONDAY)
        journal.lead_elsewhere(INTENT_BY_THE_LEADER, DONE_BY_THE_LEADER)
        await until(lambda: manager.session.date == TUESDAY)
        await clock.advance(NOW)
        (followed,) = of(RollFollowed, log)
        assert (followed.session, followed.next_session, followed.term) == (MONDAY, TUESDAY, 1)
        assert not of(RollStarted, log)
        assert not of(RollSucceeded, log)
    assert rolls.begun == []
    assert entries(journal) == [(ADOPTED, MONDAY, None), (INTENT, MONDAY, TUESDAY), (DONE, MONDAY, TUESDAY)]


async def test_a_standby_refuses_what_only_the_leader_may_do():
    """Each call says so, and nothing has changed."""
    journal = SharedInMemory([adopted()], leads=False)
    manager, _, _ = replica(NOON, journal)
    async with running(manager):
        for call in (manager.halt, manager.fail):
            with pytest.raises(NotLeadingError, match="Do it on the replica that leads"):
                call("why not")
        with pytest.raises(NotLeadingError):
            await manager.end_session("why not")
        assert (manager.halted, manager.state) == (None, ACTIVE)
    assert entries(journal) == [(ADOPTED, MONDAY, None)]


# ---- gaining the lead ----


async def test_a_replica_that_leads_from_the_start_says_so_once():
    journal = SharedInMemory()
    manager, clock, _ = replica(NOON, journal)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert (manager.leads, [each.term for each in of(LeadershipGained, log)]) == (True, [1])
    assert entries(journal) == [(ADOPTED, MONDAY, None)]


async def test_the_heir_goes_on_from_where_the_leader_stood():
    """It finishes the open roll, flagged, and continues the count of the records."""
    journal = SharedInMemory([adopted()], leads=False)
    manager, clock, rolls = replica(EVENING, journal)
    async with running(manager) as log:
        await clock.advance(HOUR)
        journal.lead_elsewhere(INTENT_BY_THE_LEADER)
        journal.gain()
        await until(lambda: manager.session.date == TUESDAY)
        await clock.advance(NOW)
        assert [each.term for each in of(LeadershipGained, log)] == [2]
        assert [(each.next_session, each.resumed) for each in of(RollStarted, log)] == [(TUESDAY, True)]
    assert rolls.dates == [TUESDAY]
    assert [(record.entry, record.seq) for record in journal.records] == [(ADOPTED, 1), (INTENT, 2), (DONE, 3)]


async def test_the_heir_of_an_empty_journal_adopts_its_session():
    journal = SharedInMemory(leads=False)
    manager, _, _ = replica(NOON, journal)
    async with running(manager):
        assert not journal.records
        journal.gain()
        await until(lambda: journal.records)
    assert entries(journal) == [(ADOPTED, MONDAY, None)]


# ---- losing it ----


async def test_the_lead_is_lost_with_its_reason_and_term():
    """The attempt under way is cancelled, nothing is written, and what the new leader records is followed."""
    journal = SharedInMemory([adopted()])
    manager, clock, rolls = replica(EVENING, journal, timedelta(days=1))
    async with running(manager) as log:
        await clock.advance_to(END + SECOND)
        assert rolls.dates == [TUESDAY]
        journal.lose("the lease was over")
        await until(lambda: not manager.leads)
        await clock.advance(NOW)
        assert [(each.term, each.reason) for each in of(LeadershipLost, log)] == [(1, "the lease was over")]
        assert len(of(RollFailed, log)) == 1
        journal.lead_elsewhere(DONE_BY_THE_LEADER)
        await until(lambda: manager.session.date == TUESDAY)
        await clock.advance(HOUR)
        assert rolls.done == []
    assert entries(journal) == [(ADOPTED, MONDAY, None), (INTENT, MONDAY, TUESDAY), (DONE, MONDAY, TUESDAY)]


async def test_a_manual_roll_that_loses_the_lead_says_so():
    """Not that it still waits, nor that the leader's next roll was its own."""
    journal = SharedInMemory([adopted()])
    clock = SimulatedClock(EVENING)
    rolls = Rolls(clock, timedelta(days=1))
    config = LifecycleConfig(data_timeout=None, auto_roll=False)
    manager = SessionBoundaryManager(season(), rolls, config=config, clock=clock, journal=journal)
    async with running(manager) as log:
        await clock.advance_to(END + SECOND)
        async with anyio.create_task_group() as group:
            group.start_soon(lose_in_mid_roll, journal, rolls)
            with (
                anyio.fail_after(5),
                pytest.raises(NotLeadingError, match=f"completing the roll from {MONDAY} was refused"),
            ):
                await manager.roll()
        assert not manager.leads
        assert len(of(RollSucceeded, log)) == 0
    assert entries(journal) == [(ADOPTED, MONDAY, None), (INTENT, MONDAY, TUESDAY)]


async def lose_in_mid_roll(journal: SharedInMemory, rolls: Rolls) -> None:
    await until(lambda: rolls.dates == [TUESDAY])
    journal.lose("the lease was over")


async def test_no_attempt_is_begun_once_the_lead_is_over():
    """It is read before each attempt: here it ends while the intent is written."""

    class Ending(SharedInMemory):
        async def append(self, records):
            await super().append(records)
            if records[-1].entry is INTENT:
                self.leads = False

    journal = Ending([adopted()])
    manager, clock, rolls = replica(EVENING, journal)
    async with running(manager):
        await clock.advance(HOUR)
        assert manager.session.date == MONDAY
    assert rolls.begun == []


async def test_a_record_that_is_refused_is_no_error_of_its_own():
    """Another replica leads, which the append finds out: this one stands by, and its state is not ERROR."""

    class Usurped(SharedInMemory):
        async def append(self, records):
            if records[-1].entry is INTENT:
                self.leads = False
            await super().append(records)

    journal = Usurped([adopted()])
    manager, clock, rolls = replica(EVENING, journal)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert (manager.state, manager.leads) == (ENDED, False)
        assert len(of(LeadershipLost, log)) == 1
    assert rolls.begun == []
    assert entries(journal) == [(ADOPTED, MONDAY, None)]


# ---- losing it, and gaining it again ----


class Tidy:
    """A roll that waits a day, and cleans up for as long as `gate` is shut where it is cancelled; the next return."""

    def __init__(self, clock: SimulatedClock, *, swallows: bool = False) -> None:
        self.clock = clock
        self.swallows = swallows
        self.gate = anyio.Event()
        self.begun = 0
        self.running = 0
        self.most = 0

    async def __call__(self, next_date: date) -> None:
        self.begun, self.running = self.begun + 1, self.running + 1
        self.most = max(self.most, self.running)
        try:
            if self.begun == 1:
                await self.clock.sleep(timedelta(days=1))
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self.gate.wait()
            if not self.swallows:
                raise
        finally:
            self.running -= 1


@asynccontextmanager
async def regaining(
    *, swallows: bool = False, settings: LifecycleConfig = DEAF
) -> AsyncIterator[tuple[SessionBoundaryManager, SimulatedClock, Tidy, list[Event]]]:
    """Run a manager that has lost the lead in its roll and gained it again, while that roll still cleans up."""
    journal = SharedInMemory([adopted()])
    clock = SimulatedClock(EVENING)
    roll = Tidy(clock, swallows=swallows)
    manager = SessionBoundaryManager(season(), roll, config=settings, clock=clock, journal=journal)
    async with running(manager) as log:
        await clock.advance_to(END + SECOND)
        await blip(journal, manager)
        try:
            yield manager, clock, roll, log
        finally:
            roll.gate.set()


async def blip(journal: SharedInMemory, manager: SessionBoundaryManager) -> None:
    """Lose the lead, and gain it again."""
    journal.lose("a blip")
    await until(lambda: not manager.leads)
    journal.gain()
    await until(lambda: manager.leads)
    await a_while()


@pytest.mark.parametrize("swallows", [False, True], ids=["cancelled", "swallows its cancellation, and returns"])
async def test_no_attempt_is_begun_before_that_of_an_earlier_term_has_ended(swallows):
    """Then it is. What becomes of the earlier one is not asked: it has failed as the lead was lost."""
    async with regaining(swallows=swallows) as (manager, clock, roll, log):
        await clock.advance(HOUR)
        assert (manager.leads, manager.state, roll.begun) == (True, ENDED, 1)
        assert len(of(RollStarted, log)) == 1
        roll.gate.set()
        await until(lambda: manager.session.date == TUESDAY)
        await clock.advance(NOW)
        assert (roll.begun, roll.most) == (2, 1)
        assert [(each.attempt, each.resumed) for each in of(RollStarted, log)] == [(1, False), (1, True)]
        assert [type(each.error) for each in of(RollFailed, log)] == [LifecycleError]
        assert [each.next_session for each in of(RollSucceeded, log)] == [TUESDAY]


async def test_the_timeout_is_that_of_the_attempt_in_the_present_term():
    """It is counted from that one's beginning, and says so where it is over."""
    config = LifecycleConfig(data_timeout=None, roll_timeout=5 * MINUTE, roll_retry=RetryPolicy(attempts=1))
    async with regaining(settings=config) as (manager, clock, roll, log):
        await clock.advance(HOUR)
        assert (manager.state, roll.begun) == (ENDED, 1)
        roll.begun = 0  # the next one waits, too
        roll.gate.set()
        await until(lambda: len(of(RollStarted, log)) == 2)
        await clock.advance(5 * MINUTE - SECOND)
        assert manager.state is ENDED
        await clock.advance(SECOND)
        assert manager.state is ERROR
        assert str(of(RollFailed, log)[-1].error) == str(RollTimeoutError(300.0))


async def test_an_attempt_that_does_not_end_holds_up_no_other_member_of_a_group():
    """It has one of the two slots; the manager behind it has not, and waits for none."""
    journal = SharedInMemory([adopted()])
    clock = SimulatedClock(EVENING)
    roll = Tidy(clock)
    shared = SessionBoundaryManager(season(), roll, config=DEAF, clock=clock, journal=journal, name="shared")
    other = SessionBoundaryManager(season(), roll_nothing, config=DEAF, clock=clock, name="other", session=MONDAY)
    late = LifecycleConfig(data_timeout=None, post_market_roll_delay=HOUR)
    later = SessionBoundaryManager(season(), roll_nothing, config=late, clock=clock, name="later", session=MONDAY)
    async with SessionGroup([shared, other, later], max_concurrent_rolls=2):
        await clock.advance_to(END + SECOND)
        assert (roll.begun, other.session.date, later.state) == (1, TUESDAY, POST_MARKET)
        await blip(journal, shared)
        try:
            await clock.advance(HOUR)
            assert (later.session.date, later.state, shared.state) == (TUESDAY, NOT_STARTED, ENDED)
        finally:
            roll.gate.set()
        await until(lambda: shared.session.date == TUESDAY)
    assert roll.most == 1


async def test_leaving_while_an_attempt_of_an_earlier_term_cleans_up_waits_for_it_and_begins_no_other():
    async with regaining() as (manager, clock, roll, log):
        manager.stop()
        await clock.advance(NOW)
        roll.gate.set()
    assert (roll.begun, len(of(RollStarted, log))) == (1, 1)


async def test_an_attempt_of_an_earlier_term_commits_nothing():
    """Its transaction is rolled back at its end, although this replica leads again; the next attempt writes."""

    class Shared(SharedInMemory, Transactional):
        pass

    journal, gate = Shared([adopted()]), anyio.Event()
    clock = SimulatedClock(EVENING)
    errors: list[BaseException | None] = []

    async def roll(next_date: date) -> None:
        error: BaseException | None = None
        try:
            async with manager.roll_transaction() as tx:
                tx.write((next_date, len(errors)))
                if not gate.is_set():
                    with anyio.CancelScope(shield=True):
                        await gate.wait()
        except NotLeadingError as refused:
            error = refused
            raise
        finally:
            errors.append(error)

    manager = SessionBoundaryManager(season(), roll, config=DEAF, clock=clock, journal=journal)
    async with running(manager) as log:
        async with in_background(clock.advance_to, END + SECOND):  # the clock is held in the block
            await until(lambda: "begin" in journal.trace)
            await blip(journal, manager)
            gate.set()
        await until(lambda: manager.session.date == TUESDAY)
        await clock.advance(NOW)
        assert [type(error) for error in errors] == [NotLeadingError, type(None)]
        assert journal.books == [(TUESDAY, 1)]
        assert len(of(RollSucceeded, log)) == 1


class Gated(SharedInMemory):
    """One whose appends wait while `gate` is shut, and whose lead this replica hears of once `news` is set."""

    def __init__(self, *records: Record) -> None:
        super().__init__(records)
        self.gate = self.news = anyio.Event()
        self.gate.set()

    async def append(self, records):
        term = self.term
        await self.gate.wait()
        if self.term != term:
            raise NotLeadingError("append()", "in memory", self.term)
        await super().append(records)

    async def follow(self):
        followed = await super().follow()
        await self.news.wait()
        return followed


@pytest.mark.parametrize("heard", [True, False], ids=["at once", "later"])
@pytest.mark.parametrize("call", ["recover", "apply"])
async def test_what_waits_for_another_decision_while_the_lead_is_lost_and_gained_again_is_refused(call, heard):
    """It was asked for in the standing of its own term, and nothing of it is written in a later one."""
    journal = Gated(adopted(), Record(FAILED, MONDAY, NOON, note="for a while"))
    manager, clock, _ = replica(END + HOUR, journal)
    async with running(manager):
        journal.gate = anyio.Event()
        outcomes: dict[int, str] = {}
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                for n in range(2):
                    tasks.start_soon(note_outcome, manager, call, n, outcomes)
                    await a_while()
                if not heard:
                    journal.news = anyio.Event()
                journal.lose("a blip")
                journal.gain()
                journal.gate.set()
                await a_while()
                journal.news.set()
        assert outcomes == {0: "NotLeadingError", 1: "NotLeadingError"}
        await until(lambda: manager.leads)
        await clock.advance(NOW)
        assert manager.state is ERROR
    assert entries(journal) == [(ADOPTED, MONDAY, None), (FAILED, MONDAY, None)]


async def test_a_recovery_that_waits_for_the_journal_while_the_lead_is_lost_and_gained_again_is_refused():
    """Whether the roll was committed is found out in the earlier term; the ERROR of the later one may be another."""

    class Slow(SharedInMemory, Transactional):
        gate = anyio.Event()

        async def find_done(self, session):
            await self.gate.wait()
            return await super().find_done(session)

    journal = Slow([adopted(), INTENT_BY_THE_LEADER, Record(FAILED, MONDAY, END, note="for a while")])
    manager, clock, _ = replica(END + HOUR, journal)
    async with running(manager):
        outcomes: dict[int, str] = {}
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(note_outcome, manager, "recover", 0, outcomes)
                await a_while()
                await blip(journal, manager)
                journal.gate.set()
        assert outcomes == {0: "NotLeadingError"}
        await clock.advance(NOW)
        assert manager.state is ERROR
        await manager.recover(Resolution.MARK_DONE)
        assert manager.session.date == TUESDAY
    assert entries(journal)[3:] == [(DONE, MONDAY, TUESDAY)]


async def note_outcome(manager: SessionBoundaryManager, call: str, n: int, outcomes: dict[int, str]) -> None:
    """Call, and note what it raised."""
    try:
        if call == "recover":
            await manager.recover(Resolution.MARK_DONE)
        else:
            await manager.apply(Closure(date(2024, 3, 6 + n)))
    except LifecycleError as error:
        outcomes[n] = type(error).__name__
    else:
        outcomes[n] = "done"


async def test_it_is_refused_until_this_replica_has_taken_up_what_the_journal_holds():
    """The journal says that it leads, and its records have not been read yet."""
    journal = Gated(adopted(), Record(FAILED, MONDAY, NOON, note="for a while"))
    manager, _, _ = replica(END + HOUR, journal)
    async with running(manager):
        journal.news = anyio.Event()
        journal.lose("a blip")
        await until(lambda: not manager.leads)
        journal.gain()
        await a_while()
        with pytest.raises(NotLeadingError):
            await manager.recover(Resolution.MARK_DONE)
        with pytest.raises(NotLeadingError):
            manager.fail("why not")
        journal.news.set()
        await until(lambda: manager.leads)
        await manager.recover(Resolution.MARK_DONE)
    assert entries(journal)[2:] == [(DONE, MONDAY, TUESDAY)]


# ---- clocks ----


async def test_a_clock_that_is_apart_is_reported_once_and_again_once_it_was_not():
    """More than a second is; what is not known, or within it, is nothing."""
    journal = SharedInMemory([adopted()], leads=False, skew=-2 * SECOND)
    manager, clock, _ = replica(NOON, journal)
    skews = [-2 * SECOND, -3 * SECOND, SECOND, 2 * SECOND, None, 3 * SECOND]
    async with running(manager) as log:
        for number, skew in enumerate(skews):
            journal.skew = skew
            journal.lead_elsewhere(Record(Entry.HALTED, MONDAY, NOON, note=f"halt {number}"))
            await until(lambda reason=f"halt {number}": manager.halted == reason)
        await clock.advance(NOW)
        assert [each.skew for each in of(ClockSkew, log)] == [-2 * SECOND, 2 * SECOND, 3 * SECOND]
