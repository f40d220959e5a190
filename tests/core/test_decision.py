"""A decision is made durable by the host, in one place, before it acts."""

from datetime import date

import pytest

from session_lifecycle import (
    Entry,
    IllegalTransition,
    JournalWriteFailed,
    LifecycleConfig,
    MemoryJournal,
    Record,
    Resolution,
    SessionLifecycle,
    SessionState,
)
from session_lifecycle._core.decision import Decision
from session_lifecycle._model.clock import Reading
from session_lifecycle._runtime.host import Host
from tests.helpers.builders import MONDAY, at, weekdays

NOON = Reading(at(MONDAY, (16, 0)), at(MONDAY, (16, 0)) - at(MONDAY, (0, 0)))


class Full(MemoryJournal):
    """A journal whose disk is full, once that is said."""

    full = False

    def append(self, record: Record) -> None:
        if self.full:
            raise JournalWriteFailed("/data/j", record.entry.value, "no space left")
        super().append(record)


async def roll_nothing(_: date) -> None:
    """Roll nothing."""


def running(journal: Full | None) -> Host:
    """Return a host in an open session."""
    host = Host(SessionLifecycle(weekdays(), config=LifecycleConfig(data_timeout=None)), roll_nothing, None, journal)
    host.begin(NOON)
    host.emit()
    return host


def test_a_decision_changes_nothing_before_it_is_executed() -> None:
    """Deciding only plans: the record and what follows wait for the host."""
    host = running(None)
    decision = host.lifecycle.end_session("fire drill", NOON)
    assert (decision.record and decision.record.entry, host.lifecycle.state) == (Entry.ENDED, SessionState.ACTIVE)
    assert host.execute(decision)
    assert host.lifecycle.state is SessionState.ENDED


def test_the_record_is_durable_before_anything_is_applied() -> None:
    """The journal has the record when the decision is applied; one without a record writes nothing."""
    journal = Full()
    host = running(journal)
    written: list[Entry] = []
    decision = host.lifecycle.end_session("fire drill", NOON)
    kept = journal.records
    host.execute(decision._replace(apply=lambda: written.extend(record.entry for record in kept)))
    assert written[-1] is Entry.ENDED
    before = len(kept)
    assert host.execute(Decision(None, lambda: None))
    assert len(kept) == before


def test_without_the_record_a_decision_raises_and_changes_nothing() -> None:
    """A decision of the application is refused where it cannot be made durable."""
    journal = Full()
    host = running(journal)
    journal.full = True
    with pytest.raises(JournalWriteFailed):
        host.execute(host.lifecycle.end_session("fire drill", NOON))
    assert host.lifecycle.state is SessionState.ACTIVE
    assert host.lifecycle.fail("a person", NOON)
    with pytest.raises(JournalWriteFailed):
        host.execute(host.lifecycle.recover(Resolution.RETRY, NOON))
    assert host.lifecycle.state is SessionState.ERROR


def test_without_the_record_a_roll_is_abandoned() -> None:
    """A roll whose intent cannot be made durable is not begun: the state is ERROR, and no attempt runs."""
    journal = Full()
    host = running(journal)
    host.execute(host.lifecycle.end_session("fire drill", NOON))
    roll = host.lifecycle.due_roll(NOON)
    assert roll is not None
    journal.full = True
    assert not host.begin_roll(roll, NOON)
    assert (host.lifecycle.state, roll.attempt, roll.intended) == (SessionState.ERROR, 0, False)
    assert "was not begun" in (host.lifecycle.reason or "")


def test_a_return_that_cannot_be_made_durable_is_uncertain() -> None:
    """Its *done* is not in the journal: the session stays, the state is ERROR, and the next attempt says resumed."""
    journal = Full()
    host = running(journal)
    host.execute(host.lifecycle.end_session("fire drill", NOON))
    roll = host.lifecycle.due_roll(NOON)
    assert roll is not None
    assert host.begin_roll(roll, NOON)
    journal.full = True
    host.end_roll(roll, None, NOON)
    assert (host.lifecycle.state, host.lifecycle.session.date, roll.resumed) == (SessionState.ERROR, MONDAY, True)
    assert (host.lifecycle.reason or "").startswith("uncertain: ")


def test_what_cannot_be_decided_raises_at_once() -> None:
    """A decision that the state does not allow is none."""
    host = running(None)
    with pytest.raises(IllegalTransition):
        host.lifecycle.recover(Resolution.RETRY, NOON)
