"""The roll's own transaction: the application's writes and the journal's *done* commit together, or neither does."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Protocol, runtime_checkable

from session_lifecycle._core.rolls import RollRound
from session_lifecycle._journal.base import TransactionalJournal
from session_lifecycle._journal.errors import NoTransactionError
from session_lifecycle._journal.records import Entry, Record
from session_lifecycle._model.errors import ReentrancyError
from session_lifecycle._runtime.callbacks import TRANSACTION, CallbackScope, inside
from session_lifecycle._runtime.driver import Driver
from session_lifecycle._runtime.host import Host


@runtime_checkable
class StatementJournal(Protocol):
    """A journal whose *done* can be written by a statement of another driver."""

    def done_statement(self, record: Record) -> tuple[str, tuple[object, ...]]:
        """Return the statement that writes a record *done*, and its parameters."""
        ...


@asynccontextmanager
async def roll_transaction(host: Host, driver: Driver) -> AsyncGenerator[Any]:
    """Implement `manager.roll_transaction`."""
    call = "roll_transaction()"
    roll = _roll_of_caller(host, call)
    journal = host.journal
    if not isinstance(journal, TransactionalJournal):
        raise NoTransactionError(call, _without(host, "SqliteJournal or PostgresJournal"))
    ledger = host.ledger
    assert ledger is not None, "the journal of a roll is open"
    session = roll.ended.date
    if host.committed is roll:
        yield None
        return

    written: list[Record] = []

    def done() -> Record:
        _require_pursued(host, roll, "done")
        now, note = driver.observe_or_last(), "in the roll's transaction"
        written.append(ledger.numbered(Record(Entry.DONE, session, now.wall, roll.target.date, note=note)))
        return written[-1]

    async with ledger.paused():
        with ledger.holding_clock():  # the block waits for a real database
            async with journal.transaction(session, done) as value:
                host.in_transaction = True
                try:
                    with CallbackScope(TRANSACTION):
                        yield value
                finally:
                    host.in_transaction = False
        host.committed = roll
        host.record_written(written)


def done_statement(host: Host, driver: Driver) -> tuple[str, tuple[object, ...]]:
    """Implement `manager.done_statement`."""
    call = "done_statement()"
    roll = _roll_of_caller(host, call)
    journal = host.journal
    if not isinstance(journal, StatementJournal):
        raise NoTransactionError(call, _without(host, "PostgresJournal"))
    assert host.ledger is not None, "the journal of a roll is open"
    _require_pursued(host, roll, call)
    now = driver.observe_or_last()
    record = Record(Entry.DONE, roll.ended.date, now.wall, roll.target.date, note="in the application's transaction")
    return journal.done_statement(host.ledger.numbered(record))


def _roll_of_caller(host: Host, call: str) -> RollRound:
    if host.rolling is None or not inside(host):
        raise NoTransactionError(call, "it is called outside of this manager's own roll: call it in roll_session")
    if host.in_transaction:
        raise ReentrancyError(call)
    return host.rolling


def _require_pursued(host: Host, roll: RollRound, what: str) -> None:
    """Refuse what an attempt writes that has not ended since its lead was lost, also where that was gained again."""
    if host.replica is not None and not host.lifecycle.pursues(roll):
        raise host.replica.refusal(what)


def _without(host: Host, wanted: str) -> str:
    if host.journal is None:
        return f"the manager has no journal: give it a {wanted}"
    return f"its journal {host.journal!r} has no transactions: give it a {wanted}"
