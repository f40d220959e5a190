"""A phase that may never come is warned of: a misspelt name, or a schedule without phases. It is never refused."""

from datetime import UTC, date, datetime

import anyio
import pytest

from session_lifecycle import (
    ExchangeSchedule,
    FixedSchedule,
    LifecycleConfig,
    Phase,
    Session,
    SessionBoundaryManager,
    SessionGroup,
    SessionState,
    SpecialHours,
)
from tests.helpers.builders import DAY, MONDAY, at
from tests.helpers.harness import ACTIVE, ERROR, MINUTE, NOW, TUESDAY, make, roll_nothing, running
from tests.helpers.manager_journal import adopted
from tests.helpers.shared import SharedInMemory

pytestmark = pytest.mark.anyio

NOON, FIVE_WEEKS = at(MONDAY, (12, 0)), MONDAY + 35 * DAY
BUDGET = {"overnite": MINUTE}


def nightly(*days: date, n: int = 60) -> FixedSchedule:
    """Return sessions of which those on some days have a night: by default all."""
    every = [MONDAY + number * DAY for number in range(n)]
    return FixedSchedule([_session(day, nightly=not days or day in days) for day in every])


def _session(day: date, *, nightly: bool) -> Session:
    night = Phase("overnight", at(day, (1, 0)), at(day, (9, 0)), tradable=True)
    return Session(day, at(day, (14, 30)), at(day, (21, 0)), phases=(night,) if nightly else ())


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what has been warned of phases since the last call."""
    found = [each.getMessage() for each in caplog.records if "may never come" in each.getMessage()]
    caplog.clear()
    return found


async def enter(manager: SessionBoundaryManager, *states: SessionState, phase: str) -> None:
    """Wait in `during` for a phase that does not come within this test."""
    async with manager.during(*states, phase=phase):
        raise AssertionError


async def never(_: object) -> None:
    """Do what is never done."""
    raise AssertionError


async def test_a_misspelt_phase_is_warned_of_with_the_nearest_name(caplog: pytest.LogCaptureFixture) -> None:
    """By every call that waits for one, at once: also where a state is waited for first."""
    manager, clock = make(NOON, schedule=nightly(), name="desk")
    why = "names a phase that may never come: no session from 2024-03-04 to 2024-04-03 has it; did you mean overnight?"
    async with running(manager), anyio.create_task_group() as tasks:
        for named, states in (("phase='overnite'", ()), ("ACTIVE, phase='Overnite'", (ACTIVE,))):
            name = named.split("'")[1]
            tasks.start_soon(lambda states=states, name=name: enter(manager, *states, phase=name))
            await clock.advance(NOW)
            assert warnings(caplog) == [f"desk: during({named}) {why}"]
        tasks.start_soon(lambda: manager.run_while(never, phase="OVERNITE"))
        await clock.advance(NOW)
        assert warnings(caplog) == [f"desk: run_while(phase='OVERNITE') {why}"]
        manager.at("overnite.end", -MINUTE)(never)
        assert warnings(caplog) == [f"desk: the alarm at overnite.end - 0:01:00 {why}"]
        manager.alarms("overnite.start")
        assert warnings(caplog) == [f"desk: the alarm at overnite.start {why}"]
        tasks.cancel_scope.cancel()


async def test_what_names_a_phase_before_the_start_is_warned_of_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    """The configuration's timeouts and the alarms, once, by each manager; a name that has nothing near it, too."""
    config = LifecycleConfig(data_timeouts={"overnight": MINUTE, "lunch_call": MINUTE})
    manager, clock = make(NOON, schedule=nightly(), config=config)
    manager.at("overnight")(never)
    manager.at("close")(never)
    manager.at("overnigth.start")(never)
    assert warnings(caplog) == []
    other = SessionBoundaryManager(nightly(), roll_nothing, config=config, clock=clock, name="other")
    async with SessionGroup([manager, other]):
        await clock.advance(NOW)
    none = "names a phase that may never come: no session from 2024-03-04 to 2024-04-03 has it;"
    assert warnings(caplog) == [
        f"fixed: data_timeouts['lunch_call'] {none} they have overnight",
        f"fixed: the alarm at overnigth.start {none} did you mean overnight?",
        f"other: data_timeouts['lunch_call'] {none} they have overnight",
    ]


async def test_the_way_out_of_a_schedule_without_phases_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """It is `phases=True`; with that, `night`. Where neither helps, neither is named."""
    config, near = (
        LifecycleConfig(data_timeout=None, data_timeouts={"overnight": MINUTE}),
        datetime(2026, 6, 1, tzinfo=UTC),
    )
    head = "data_timeouts['overnight'] names a phase that may never come: no session from 2026-06-01 to 2026-07-01 has"
    on_record = "; ExchangeSchedule(..., phases=True) has those on record"
    nights = "; nights are those of another venue, `night=`"
    us = "they have pre_market, opening_auction, closing_auction, post_market"
    for schedule, expected in (
        (ExchangeSchedule("XNYS", near=near), [f"XNYS: {head} any phase{on_record}"]),
        (ExchangeSchedule("XNYS", near=near, phases=True), [f"XNYS: {head} it; {us}{nights}"]),
        (ExchangeSchedule("XNYS", near=near, phases=True, night="BLUE"), []),
        (ExchangeSchedule("XSWX", near=near, phases=True), [f"XSWX: {head} any phase"]),
    ):
        manager, _clock = make(near, schedule=schedule, config=config)
        async with running(manager):
            assert warnings(caplog) == expected


@pytest.mark.parametrize("days", [(TUESDAY,), (MONDAY + 29 * DAY,), (MONDAY,)])
async def test_a_phase_of_few_sessions_is_not_warned_of(caplog: pytest.LogCaptureFixture, days: tuple[date]) -> None:
    """A half day, or a day on which options expire: it is enough that one session within a month has the phase."""
    config = LifecycleConfig(data_timeouts={"overnight": MINUTE})
    manager, clock = make(NOON, schedule=nightly(*days), config=config)
    manager.at("overnight")(never)
    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: enter(manager, phase="overnight"))
        await clock.advance(NOW)
        assert warnings(caplog) == []
        tasks.cancel_scope.cancel()


async def test_a_phase_that_is_on_is_not_looked_for(caplog: pytest.LogCaptureFixture) -> None:
    """An after-market of the session before, at the end of a schedule's knowledge."""
    late = Phase("post_market", at(MONDAY, (21, 0)), at(TUESDAY, (1, 0)), tradable=True)
    monday = Session(MONDAY, at(MONDAY, (14, 30)), at(MONDAY, (21, 0)), phases=(late,))
    manager, clock = make(at(MONDAY, (20, 0)), schedule=FixedSchedule([monday, _session(TUESDAY, nightly=False)]))
    async with running(manager):
        await clock.advance_to(at(MONDAY, (23, 0)))
        assert manager.session.date == TUESDAY
        async with manager.during(phase="post_market") as session:
            assert session.date == MONDAY
        assert warnings(caplog) == []
        await clock.advance_to(at(TUESDAY, (2, 0)))
        with anyio.move_on_after(0):
            await enter(manager, phase="post_market")
        why = "no session from 2024-03-05 to 2024-03-05 has any phase"
        assert [each.partition("come: ")[2].partition(";")[0] for each in warnings(caplog)] == [why]


async def test_a_phase_that_comes_with_later_facts_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """Beyond the month that is looked at, or with hours that are only announced: the warning refuses nothing."""
    manager, clock = make(NOON, schedule=nightly(FIVE_WEEKS))
    entered: list[object] = []

    async def desk() -> None:
        async with manager.during(phase="overnight") as session:
            entered.append((session.date, clock.now()))

    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(desk)
        await clock.advance(NOW)
        assert len(warnings(caplog)) == 1
        night = Phase("overnight", at(TUESDAY, (1, 0)), at(TUESDAY, (9, 0)), tradable=True)
        await manager.apply(SpecialHours(TUESDAY, phases=(night,)))
        await clock.advance_to(night.start)
        assert entered == [(TUESDAY, night.start)]
        await clock.advance_to(at(TUESDAY + DAY, (10, 0)))
        tasks.start_soon(desk)
        await clock.advance(NOW)
        assert len(warnings(caplog)) == 1
        await clock.advance_to(at(FIVE_WEEKS, (1, 0)))
        assert entered[1:] == [(FIVE_WEEKS, at(FIVE_WEEKS, (1, 0)))]
    assert warnings(caplog) == []


class Broken(FixedSchedule):
    """Fails on what lies further ahead than anything else asks."""

    def next_session(self, day: date) -> Session:
        """Return the session, or fail."""
        if day > MONDAY + 3 * DAY:
            raise ZeroDivisionError
        return super().next_session(day)


async def test_a_schedule_that_fails_ahead_is_not_blamed_for_it(caplog: pytest.LogCaptureFixture) -> None:
    """Then it is not known whether the phase comes: no warning, and no ERROR."""
    sessions = nightly(MONDAY + 9 * DAY).sessions(MONDAY, MONDAY + 59 * DAY)
    manager, _clock = make(NOON, schedule=Broken(sessions), config=LifecycleConfig(data_timeouts=BUDGET))
    async with running(manager):
        assert manager.state is not ERROR
    assert warnings(caplog) == []


async def test_a_replica_that_stands_by_warns_too(caplog: pytest.LogCaptureFixture) -> None:
    """It may lead one day."""
    config = LifecycleConfig(data_timeout=None, data_timeouts=BUDGET)
    manager, _clock = make(NOON, schedule=nightly(), config=config, journal=SharedInMemory([adopted()], leads=False))
    async with running(manager):
        assert not manager.leads
        assert len(warnings(caplog)) == 1
