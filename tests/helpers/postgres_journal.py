"""Journals in a database of the test's, opened and kept."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta

import anyio

from session_lifecycle import (
    PostgresJournal,
    Record,
)
from tests.helpers.journal_days import kept
from tests.helpers.postgres import Database

TTL = timedelta(seconds=10)
"""Of what no lease is to end in, however busy the machine is."""
SHORT = timedelta(seconds=2)

BOOKS = "CREATE TABLE books (session date)"


def journal(database: Database, name: str = "desk/XNYS", ttl: timedelta = TTL) -> PostgresJournal:
    return PostgresJournal(database.conninfo(), name, ttl)


@asynccontextmanager
async def held_open(one: PostgresJournal) -> AsyncIterator[PostgresJournal]:
    """Open a journal, which leads unless another one does, and keep its lease."""
    await one.open("XNYS")
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kept, one)
            yield one
            tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await one.close()


def opened(
    database: Database, name: str = "desk/XNYS", ttl: timedelta = TTL
) -> AbstractAsyncContextManager[PostgresJournal]:
    return held_open(journal(database, name, ttl))


async def led(one: PostgresJournal) -> tuple[Record, ...]:
    """Follow until `one` leads, and return the records that came in."""
    found: tuple[Record, ...] = ()
    with anyio.fail_after(10):
        while not one.leads:
            found += await one.follow()
    return found


def stored(database: Database) -> list[tuple[int, str, int]]:
    return database.execute("SELECT seq, entry, term FROM session_lifecycle.record ORDER BY name, seq")


def booked(database: Database) -> int:
    ((count,),) = database.execute("SELECT count(*) FROM books")
    return count
