"""`run_due`: rolls what is owed and leaves, for processes that a scheduler starts."""

from datetime import date
from pathlib import Path

import anyio
import pytest

from session_lifecycle import (
    AlreadyStartedError,
    ConfigurationError,
    Entry,
    Journal,
    JournalLocked,
    LifecycleConfig,
    ManagerStopped,
    MemoryJournal,
    MissedSessions,
    Record,
    RetryPolicy,
    RollFailedError,
    SessionBoundaryManager,
    SessionState,
    SqliteJournal,
    run_due,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import MONDAY, at
from tests.helpers.harness import FRIDAY, HOUR, MINUTE, THURSDAY, TUESDAY, WEDNESDAY, Rolls, season
from tests.helpers.manager_journal import ADOPTED, DONE, INTENT, adopted, entries, failed, holding, intent, is_free
from tests.helpers.shared import SharedInMemory

pytestmark = pytest.mark.anyio


class Oops(Exception):
    pass


def due(when, journal: Journal | None, *script, session=None, **settings):
    """Return a manager whose time passes by itself, and its roll, which follows a script."""
    clock = SimulatedClock(when, autojump=True)
    rolls = Rolls(clock, *script)
    config = LifecycleConfig(**({"data_timeout": None} | settings))
    return SessionBoundaryManager(season(), rolls, session=session, config=config, clock=clock, journal=journal), rolls


async def test_in_mid_session_nothing_is_owed():
    """It starts, sees that, and leaves; the journal is free, and holds the session."""
    for when in (at(MONDAY, (8, 0)), at(MONDAY, (15, 0)), at(MONDAY, (21, 15))):
        journal = MemoryJournal()
        manager, rolls = due(when, journal)
        assert await run_due(manager) == ()
        assert (rolls.dates, entries(journal)) == ([], [(ADOPTED, MONDAY, None)])
        assert await is_free(journal)


async def test_what_is_owed_is_rolled_once_however_often_it_is_started():
    """The night's job rolls, and each further one finds nothing to do."""
    journal = holding(adopted())
    manager, rolls = due(at(MONDAY, (22, 0)), journal, HOUR)
    (event,) = await run_due(manager)
    assert (event.session, event.next_session, rolls.done) == (MONDAY, TUESDAY, [TUESDAY])
    assert manager.state is SessionState.NOT_STARTED
    for when in (at(MONDAY, (23, 10)), at(TUESDAY, (8, 0)), at(TUESDAY, (15, 0))):
        manager, rolls = due(when, journal)
        assert (await run_due(manager), rolls.dates) == ((), [])
    assert entries(journal) == [(ADOPTED, MONDAY, None), (INTENT, MONDAY, TUESDAY), (DONE, MONDAY, TUESDAY)]


@pytest.mark.parametrize(
    ("missed", "dates"),
    [(MissedSessions.LATEST, [FRIDAY]), (MissedSessions.EACH, [TUESDAY, WEDNESDAY, THURSDAY, FRIDAY])],
)
@pytest.mark.parametrize("auto_roll", [True, False])
async def test_after_days_without_a_run_all_of_them_are_owed(missed, dates, auto_roll):
    """By the policy for missed sessions; with `auto_roll=False` the call is what asks for the rolls."""
    manager, rolls = due(at(FRIDAY, (10, 0)), holding(adopted()), missed_sessions=missed, auto_roll=auto_roll)
    assert [event.next_session for event in await run_due(manager)] == rolls.done == dates


async def test_an_attempt_that_fails_is_tried_again_before_it_leaves():
    """As by any manager: the back-off is waited for."""
    manager, rolls = due(at(MONDAY, (22, 0)), holding(adopted()), Oops("down"), Oops("down"))
    (event,) = await run_due(manager)
    assert (event.attempt, rolls.dates) == (3, [TUESDAY] * 3)


@pytest.mark.parametrize("auto_roll", [True, False])
async def test_a_roll_that_fails_for_good_is_raised_and_so_it_is_at_each_further_start(auto_roll):
    """The exit status of the job says so, until somebody has decided; nothing is tried meanwhile."""
    journal = holding(adopted())
    settings = {"roll_retry": RetryPolicy(attempts=1), "auto_roll": auto_roll}
    manager, _ = due(at(MONDAY, (22, 0)), journal, Oops("down"), **settings)
    with pytest.raises(
        RollFailedError, match="the roll from 2024-03-04 to 2024-03-05 did not complete after 1"
    ) as caught:
        await run_due(manager)
    assert isinstance(caught.value.__cause__, Oops)
    again, rolls = due(at(MONDAY, (23, 0)), journal, **settings)
    with pytest.raises(RollFailedError, match=r"the roll from 2024-03-04 did not complete after 0 attempts: .*down"):
        await run_due(again)
    assert (rolls.dates, await is_free(journal)) == ([], True)


async def test_an_error_of_an_earlier_run_in_which_nothing_is_owed_is_left():
    """It is for the application; the job has nothing to do."""
    manager, rolls = due(at(MONDAY, (15, 0)), holding(adopted(), failed()))
    assert (await run_due(manager), rolls.dates) == ((), [])


async def test_an_intent_that_was_interrupted_is_finished_first():
    """The job before it was killed in mid-roll."""
    manager, rolls = due(at(MONDAY, (23, 0)), holding(adopted(), intent()))
    (event,) = await run_due(manager)
    assert (event.resumed, rolls.done) == (True, [TUESDAY])


async def test_without_a_journal_the_application_says_in_which_session_it_is():
    """Else nothing would ever be owed, and the job would do nothing, forever and without a word."""
    manager, rolls = due(at(MONDAY, (22, 0)), None, session=MONDAY)
    assert [event.next_session for event in await run_due(manager)] == rolls.done == [TUESDAY]
    with pytest.raises(AlreadyStartedError):
        await run_due(manager)
    manager, _ = due(at(MONDAY, (22, 0)), None)
    with pytest.raises(ConfigurationError, match=r"journal = None is refused: must be given to the manager of run_due"):
        await run_due(manager)
    assert not manager.started


async def test_two_at_a_time_on_a_sqlite_journal_make_one_roll(tmp_path: Path):
    """The second one is refused before anything happens."""
    path = tmp_path / "journal.db"
    journal = SqliteJournal(path)
    await journal.open("fixed")
    await journal.append([Record(Entry.ADOPTED, MONDAY, at(MONDAY, (14, 0)), seq=1)])
    await journal.close()
    begun, go_on, rolled = anyio.Event(), anyio.Event(), list[date]()

    async def roll_session(next_date: date) -> None:
        begun.set()
        await go_on.wait()
        rolled.append(next_date)

    first, second = (
        SessionBoundaryManager(
            season(), roll_session, clock=SimulatedClock(at(MONDAY, (22, 0))), journal=SqliteJournal(path)
        )
        for _ in range(2)
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_due, first)
        await begun.wait()
        with pytest.raises(JournalLocked):
            await run_due(second)
        go_on.set()
    assert rolled == [TUESDAY]


@pytest.mark.parametrize("auto_roll", [True, False])
async def test_with_the_lead_lost_in_mid_roll_it_returns_what_it_has_rolled(auto_roll):
    """The other replica finishes that roll; where there is none any more, the next start does."""
    journal = SharedInMemory([adopted()])
    begun = list[date]()

    async def roll_session(next_date: date) -> None:
        begun.append(next_date)
        if next_date == WEDNESDAY:
            journal.lose("the lease was over")
            await anyio.sleep_forever()

    clock = SimulatedClock(at(THURSDAY, (10, 0)), autojump=True)
    config = LifecycleConfig(
        data_timeout=None, auto_roll=auto_roll, missed_sessions=MissedSessions.EACH, roll_timeout=None
    )
    manager = SessionBoundaryManager(season(), roll_session, config=config, clock=clock, journal=journal)
    assert [event.next_session for event in await run_due(manager)] == [TUESDAY]
    assert begun == [TUESDAY, WEDNESDAY]
    assert entries(journal)[-1] == (INTENT, TUESDAY, WEDNESDAY)


@pytest.mark.parametrize("auto_roll", [True, False])
async def test_where_another_replica_leads_it_returns_at_once(auto_roll):
    manager, rolls = due(at(MONDAY, (22, 0)), SharedInMemory([adopted()], leads=False), auto_roll=auto_roll)
    assert (await run_due(manager), rolls.dates) == ((), [])


async def test_a_manager_that_is_stopped_meanwhile_says_so():
    """The roll is still owed."""
    clock = SimulatedClock(at(MONDAY, (22, 0)))
    rolls = Rolls(clock, Oops("down"))
    config = LifecycleConfig(data_timeout=None, roll_retry=RetryPolicy(initial=MINUTE, maximum=MINUTE))
    manager = SessionBoundaryManager(season(), rolls, session=MONDAY, config=config, clock=clock)

    @manager.on(SessionState.ENDED, missed=True)
    async def stop(event: object) -> None:
        manager.stop()

    with pytest.raises(ManagerStopped, match=r"run_due\(\)"):
        await run_due(manager)
    assert not rolls.done
