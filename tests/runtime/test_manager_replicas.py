"""Managers that share a journal: one leads, the others follow it, and turn leader in place."""

from datetime import timedelta

import anyio
import pytest

from session_lifecycle import (
    ClockSkew,
    Entry,
    LeadershipGained,
    LeadershipLost,
    LifecycleConfig,
    NotLeadingError,
    Record,
    RollFailed,
    RollFollowed,
    RollStarted,
    RollSucceeded,
    SessionBoundaryManager,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import MONDAY, at
from tests.helpers.harness import ACTIVE, ENDED, HOUR, NOW, SECOND, TUESDAY, Rolls, of, running, season
from tests.helpers.ledger import until
from tests.helpers.manager_journal import ADOPTED, DONE, END, EVENING, INTENT, adopted, entries, intent
from tests.helpers.shared import SharedInMemory

pytestmark = pytest.mark.anyio

NOON = at(MONDAY, (16, 0))
DONE_BY_THE_LEADER = Record(DONE, MONDAY, END, TUESDAY)
INTENT_BY_THE_LEADER = intent()


def replica(
    start: object, journal: SharedInMemory, *script: BaseException | timedelta | None
) -> tuple[SessionBoundaryManager, SimulatedClock, Rolls]:
    """Return a manager on a shared journal, its clock, and its roll, which follows a script."""
    clock = SimulatedClock(start)  # type: ignore[arg-type]
    rolls = Rolls(clock, *script)
    config = LifecycleConfig(data_timeout=None)
    return SessionBoundaryManager(season(), rolls, config=config, clock=clock, journal=journal), clock, rolls


# ---- standing by ----


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
