"""A decision is made durable by the host, in one place, before it acts."""

from collections.abc import Sequence
from datetime import date, time, timedelta
from typing import Any

import pytest

from session_lifecycle import (
    ClockStepped,
    Entry,
    IllegalTransition,
    JournalWriteFailed,
    LifecycleConfig,
    MemoryJournal,
    OverrideRefused,
    Record,
    Resolution,
    RollNotOwedError,
    SessionLifecycle,
    SessionState,
    SpecialHours,
    StateChanged,
    SystemClock,
)
from session_lifecycle._core.decision import NOTHING, Decision
from session_lifecycle._model.clock import Reading
from session_lifecycle._runtime.host import Host
from tests.helpers.builders import MONDAY, at, weekdays

pytestmark = pytest.mark.anyio

NOON = Reading(at(MONDAY, (16, 0)), at(MONDAY, (16, 0)) - at(MONDAY, (0, 0)))


LATER = Reading(NOON.wall + timedelta(hours=1), NOON.monotonic + timedelta(hours=1))
EVENING = Reading(at(MONDAY, (21, 10)), at(MONDAY, (21, 10)) - at(MONDAY, (0, 0)))
NIGHT = Reading(at(MONDAY, (23, 0)), at(MONDAY, (23, 0)) - at(MONDAY, (0, 0)))


class Full(MemoryJournal):
    """A journal whose disk is full, once that is said."""

    full = False

    async def append(self, records: Sequence[Record]) -> None:
        if self.full:
            raise JournalWriteFailed("/data/j", records[0].entry.value, "no space left")
        await super().append(records)


async def roll_nothing(_: date) -> None:
    """Roll nothing."""


async def running(journal: Full | None, **settings: Any) -> Host:
    """Return a host in an open session."""
    config = LifecycleConfig(data_timeout=None, **settings)
    host = Host(SessionLifecycle(weekdays(), config=config), roll_nothing, None, journal)
    await host.open_journal(SystemClock(), lambda: None)
    host.begin(NOON)
    host.emit()
    await written(host)
    return host


async def written(host: Host, now: Reading = NOON) -> None:
    """Write what waits, as the task of the journals does, and emit what comes of it."""

    def emit() -> None:
        host.emit()

    if host.ledger is not None:
        assert await host.ledger.flush(lambda: now, emit) is None


def state_of(host: Host) -> SessionState:
    """Return the state, read anew."""
    return host.lifecycle.state


async def executed(host: Host, decision: Decision, now: Reading = NOON) -> None:
    """Wait for the outcome of a decision."""
    entry = host.execute(decision, now)
    await written(host, now)
    if entry is not None and host.ledger is not None:
        await host.ledger.wait(entry)


def kinds(decision: Decision) -> list[Entry]:
    """Return what a decision records."""
    return [record.entry for record in decision.records]


async def test_a_decision_changes_nothing_before_it_is_executed() -> None:
    """Deciding only plans: the record and what follows wait for the host."""
    host = await running(None)
    decision = host.lifecycle.end_session("fire drill", NOON)
    assert (kinds(decision), host.lifecycle.state) == ([Entry.ENDED], SessionState.ACTIVE)
    assert host.execute(decision, NOON) is None
    assert host.lifecycle.state is SessionState.ENDED


async def test_the_record_is_durable_before_anything_is_applied() -> None:
    """The journal has the record when the decision is applied; one without a record writes nothing."""
    journal = Full()
    host = await running(journal)
    written_by_then: list[Entry] = []
    decision = host.lifecycle.end_session("fire drill", NOON)
    kept = journal.records
    await executed(host, decision._replace(apply=lambda _: written_by_then.extend(record.entry for record in kept)))
    assert written_by_then[-1] is Entry.ENDED
    before = len(kept)
    assert host.execute(NOTHING, NOON) is None
    assert len(kept) == before


async def test_without_the_record_a_decision_raises_and_changes_nothing() -> None:
    """A decision of the application is refused where it cannot be made durable."""
    journal = Full()
    host = await running(journal)
    journal.full = True
    with pytest.raises(JournalWriteFailed):
        await executed(host, host.lifecycle.end_session("fire drill", NOON))
    assert state_of(host) is SessionState.ACTIVE
    assert host.lifecycle.fail("a person", NOON)
    with pytest.raises(JournalWriteFailed):
        await executed(host, host.lifecycle.recover(Resolution.RETRY, NOON))
    assert state_of(host) is SessionState.ERROR


async def test_without_the_record_a_roll_is_abandoned() -> None:
    """A roll whose intent cannot be made durable is not begun: the state is ERROR, and no attempt runs."""
    journal = Full()
    host = await running(journal)
    await executed(host, host.lifecycle.end_session("fire drill", NOON))
    roll = host.lifecycle.due_roll(NOON)
    assert roll is not None
    journal.full = True
    with pytest.raises(JournalWriteFailed):
        await executed(host, host.lifecycle.begin_roll(roll, NOON, journalled=True))
    assert (host.lifecycle.state, roll.attempt, roll.intended) == (SessionState.ERROR, 0, False)
    assert "was not begun" in (host.lifecycle.reason or "")


async def test_a_return_that_cannot_be_made_durable_is_uncertain() -> None:
    """Its *done* is not in the journal: the session stays, the state is ERROR, and the next attempt says resumed."""
    journal = Full()
    host = await running(journal)
    await executed(host, host.lifecycle.end_session("fire drill", NOON))
    roll = host.lifecycle.due_roll(NOON)
    assert roll is not None
    await executed(host, host.lifecycle.begin_roll(roll, NOON, journalled=True))
    journal.full = True
    host.end_roll(roll, None, NOON)
    await written(host)
    assert (host.lifecycle.state, host.lifecycle.session.date, roll.resumed) == (SessionState.ERROR, MONDAY, True)
    assert (host.lifecycle.reason or "").startswith("uncertain: ")


async def test_what_cannot_be_decided_raises_at_once() -> None:
    """A decision that the state does not allow is none."""
    host = await running(None)
    with pytest.raises(IllegalTransition):
        host.lifecycle.recover(Resolution.RETRY, NOON)


# ---- judged anew, as it is applied ----


async def test_an_end_is_dated_when_it_is_applied() -> None:
    """The session ends once its record is durable, an hour after it was asked for here."""
    host = await running(None)
    decision = host.lifecycle.end_session("fire drill", NOON)
    decision.apply(LATER)
    [ended] = [event for event in host.emit() if isinstance(event, StateChanged) and event.dest is SessionState.ENDED]
    assert ended.observed_at == LATER.wall


@pytest.mark.parametrize("twice", [False, True], ids=["by the clock", "by another call"])
async def test_a_session_that_has_ended_meanwhile_is_not_ended_again(twice: bool) -> None:
    """What has happened by itself, or by another call, is not done twice."""
    host = await running(None, auto_roll=False)
    decision = host.lifecycle.end_session("fire drill", EVENING if twice else NOON)
    if twice:
        host.lifecycle.end_session("by another", EVENING).apply(EVENING)
    decision.apply(NIGHT)
    ends = [event for event in host.emit() if isinstance(event, StateChanged) and event.dest is SessionState.ENDED]
    assert [event.reason for event in ends] == ["by another" if twice else None]


async def test_an_end_that_is_not_possible_any_more_raises() -> None:
    """ERROR in between: there is no open session to be ended."""
    host = await running(None)
    decision = host.lifecycle.end_session("fire drill", NOON)
    host.lifecycle.fail("a person", NOON)
    with pytest.raises(IllegalTransition):
        decision.apply(LATER)
    assert host.lifecycle.state is SessionState.ERROR


async def test_an_error_that_was_left_meanwhile_is_not_left_again() -> None:
    """Two recoveries are decided; the second finds its work done."""
    host = await running(None)
    host.lifecycle.fail("a person", NOON)
    first, second = (host.lifecycle.recover(Resolution.RETRY, NOON) for _ in range(2))
    first.apply(NOON)
    host.emit()
    second.apply(NOON)
    assert (host.lifecycle.state, list(host.emit())) == (SessionState.ACTIVE, [])


async def test_an_error_is_left_once_also_where_another_one_has_followed() -> None:
    """SKIP, asked for twice at once, gives up one session: the second call has not seen the ERROR that came of it."""
    lifecycle = (await running(None)).lifecycle
    lifecycle.fail("a person", NIGHT)
    seen = lifecycle.error_number
    lifecycle.recover(Resolution.SKIP, NIGHT, seen).apply(NIGHT)
    lifecycle.fail("the roll has failed", NIGHT)
    assert lifecycle.recover(Resolution.SKIP, NIGHT, seen) is NOTHING
    with pytest.raises(RollNotOwedError, match=r"in ERROR: another call .* Resolution\.SKIP"):
        lifecycle.recover(Resolution.RETRY, NIGHT, seen)
    assert kinds(lifecycle.recover(Resolution.SKIP, NIGHT)) == [Entry.SKIPPED]


@pytest.mark.parametrize("resolution", [Resolution.MARK_DONE, Resolution.SKIP])
async def test_a_roll_that_is_not_owed_any_more_is_not_resolved(resolution: Resolution) -> None:
    """The clock steps back to before the session's end while that is written: it raises, and nothing is announced."""
    host = await running(Full())
    host.lifecycle.fail("out of order", NOON)
    decision = host.lifecycle.recover(resolution, NIGHT)
    host.lifecycle.take_events()
    with pytest.raises(RollNotOwedError, match=r"stepped back .*use Resolution\.RETRY"):
        decision.apply(Reading(NOON.wall, NIGHT.monotonic))
    assert state_of(host) is SessionState.ERROR
    assert [type(event) for event in host.lifecycle.take_events()] == [ClockStepped]


async def test_a_halt_that_has_ended_meanwhile_is_not_ended_again() -> None:
    """The close has ended it; there is nothing to resume."""
    host = await running(None)
    assert host.lifecycle.halt("news", NOON)
    decision = host.lifecycle.resume(NOON)
    assert decision is not None
    assert kinds(decision) == [Entry.RESUMED]
    host.lifecycle.poll(EVENING)
    host.emit()
    decision.apply(EVENING)
    assert list(host.emit()) == []


async def test_an_override_that_has_come_too_late_raises() -> None:
    """An early close that was decided before it and is applied after it would rewrite the past."""
    host = await running(None)
    close = SpecialHours(MONDAY, close=time(16, 30))
    decision = host.lifecycle.change_schedule(close, NOON)
    assert decision is not None
    with pytest.raises(OverrideRefused):
        decision.apply(LATER)
    assert host.lifecycle.session.close == at(MONDAY, (21, 0))
