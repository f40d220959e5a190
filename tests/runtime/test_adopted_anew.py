"""A start on a clock that has not been set yet: the session that was adopted from it is adopted anew."""

from datetime import UTC, datetime, timedelta

import pytest

from session_lifecycle import (
    ExchangeSchedule,
    FixedSchedule,
    LifecycleConfig,
    MemoryJournal,
    MissedSessions,
    RollSucceeded,
    Session,
    SessionAdopted,
    SessionBoundaryManager,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MONDAY, at
from tests.helpers.harness import (
    ACTIVE,
    DEAF,
    ERROR,
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    TUESDAY,
    Rolls,
    changes,
    of,
    running,
)

pytestmark = pytest.mark.anyio
NOON = at(MONDAY, (16, 0))
YEARS = timedelta(days=4 * 365)
SECONDS = timedelta(seconds=5)


def decade() -> FixedSchedule:
    """Return ten years of sessions, each day of them, with the hours of the other tests."""
    opens = at(MONDAY, (14, 30))
    return FixedSchedule(
        [Session(MONDAY + n * DAY, opens + n * DAY, opens + n * DAY + 6.5 * HOUR) for n in range(3653)]
    )


def prepared(**options: object) -> tuple[SessionBoundaryManager, SimulatedClock, Rolls]:
    clock = SimulatedClock(NOON)
    rolls = Rolls(clock)
    options = {"config": DEAF} | options
    return SessionBoundaryManager(decade(), rolls, clock=clock, **options), clock, rolls


@pytest.mark.parametrize("policy", MissedSessions)
async def test_fault_72_a_far_step_after_a_fresh_start(policy):
    """The clock jumps by years before any roll: the present's session is adopted, and nothing is rolled."""
    config = LifecycleConfig(data_timeout=None, missed_sessions=policy)
    manager, clock, rolls = prepared(config=config)
    async with running(manager) as log:
        clock.step(YEARS)
        await clock.advance(SECONDS)
        assert manager.state is ACTIVE
        assert manager.session.date == MONDAY + YEARS
        assert of(SessionAdopted, log) == [SessionAdopted(MONDAY, MONDAY + YEARS, NOON + YEARS)]
        assert rolls.begun == of(RollSucceeded, log) == []
        assert [event.dest for event in changes(log) if event.session == MONDAY + YEARS][-1] is ACTIVE
        await clock.advance(DAY)
        assert rolls.dates == [MONDAY + YEARS + DAY]


async def test_fault_72_it_may_happen_again_until_a_roll_has_begun():
    """A clock that is set in two steps."""
    manager, clock, rolls = prepared()
    async with running(manager) as log:
        for _ in range(2):
            clock.step(YEARS)
            await clock.advance(SECONDS)
        assert manager.session.date == MONDAY + 2 * YEARS
        assert len(of(SessionAdopted, log)) == 2
        assert rolls.begun == []


async def test_fault_72_a_journal_holds_the_second_adoption():
    """And a restart begins in that session."""
    journal = MemoryJournal()
    manager, clock, _ = prepared(journal=journal)
    async with running(manager):
        clock.step(YEARS)
        await clock.advance(SECONDS)
        assert manager.state is ACTIVE
    assert [(each.entry.value, each.session) for each in journal.records] == [
        ("adopted", MONDAY),
        ("adopted", MONDAY + YEARS),
    ]
    later = SimulatedClock(NOON + YEARS + MINUTE)
    manager = SessionBoundaryManager(decade(), Rolls(later), clock=later, journal=journal, config=DEAF)
    async with running(manager):
        assert manager.session.date == MONDAY + YEARS
        assert manager.state is ACTIVE


async def test_fault_72_an_adoption_that_cannot_be_written_is_an_error():
    """The session is not entered, and the reason says which."""
    journal = MemoryJournal()
    manager, clock, _ = prepared(journal=journal)
    async with running(manager):

        async def refuse(*_: object) -> None:
            raise OSError("no space left")

        journal.append = refuse
        clock.step(YEARS)
        await clock.advance(MINUTE)
        assert manager.state is ERROR
        assert manager.session.date == MONDAY
        assert f"session {MONDAY + YEARS} was not adopted" in str(manager.status().reason)


@pytest.mark.parametrize("known", ["session=", "a journal", "a roll"])
async def test_fault_72_where_something_is_owed_it_is_an_error(known):
    """A session that was declared, that an earlier run was in, or that was rolled into, is not left without a roll."""
    journal = MemoryJournal()
    manager, clock, _ = prepared(journal=journal)
    if known == "a journal":
        async with running(manager):
            pass
    if known != "a roll":
        clock = SimulatedClock(NOON)
        options = {"session": MONDAY} if known == "session=" else {"journal": journal}
        manager = SessionBoundaryManager(decade(), Rolls(clock), clock=clock, config=DEAF, **options)
    async with running(manager) as log:
        if known == "a roll":
            await clock.advance(DAY)
            assert manager.session.date == TUESDAY
        clock.step(YEARS)
        await clock.advance(MINUTE)
        assert manager.state is ERROR
        assert "max_catch_up_sessions" in str(manager.status().reason)
        assert of(SessionAdopted, log) == []


async def test_fault_72_a_step_within_the_cap_is_rolled():
    """A few sessions are caught up with as ever."""
    manager, clock, rolls = prepared()
    async with running(manager) as log:
        clock.step(5 * DAY)
        await clock.advance(SECONDS)
        assert rolls.dates == [MONDAY + 5 * DAY]
        assert of(SessionAdopted, log) == []


async def test_fault_72_alarms_of_the_adopted_session_fire():
    """Those of the session that was left are skipped; the present's are due as after a start."""
    manager, clock, _ = prepared()
    fired: list[object] = []

    @manager.at("close", -HOUR)
    async def note(alarm: object) -> None:
        fired.append(getattr(alarm, "session", None))

    async with running(manager):
        clock.step(YEARS)
        await clock.advance_to(NOON + YEARS + 6 * HOUR)
        assert fired == [MONDAY + YEARS]


async def test_fault_72_a_clock_before_all_that_the_calendar_knows():
    """1970, and a calendar that begins in 1997: NOT_STARTED in its first session until the clock is set."""
    clock = SimulatedClock(datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC))
    manager = SessionBoundaryManager(ExchangeSchedule("XBOM"), Rolls(clock), clock=clock, config=DEAF)
    async with running(manager):
        assert manager.state is NOT_STARTED
        clock.step(datetime(2026, 1, 6, 5, 0, tzinfo=UTC) - clock.now())
        await clock.advance(NOW)
        assert manager.state is ACTIVE
        assert manager.session.date.isoformat() == "2026-01-06"
