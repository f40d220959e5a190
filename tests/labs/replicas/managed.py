"""A replica that is a `SessionBoundaryManager`: sessions of a few milliseconds, one after the other, by the real clock.

What it writes is what the simple replica writes: books in the roll's transaction, and "announced" for each
`RollSucceeded`.
"""

import logging
import os
import random
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

import anyio

from session_lifecycle import (
    FixedSchedule,
    HandlerFailed,
    HorizonNear,
    JournalUnavailable,
    LifecycleConfig,
    LifecycleError,
    MissedSessions,
    PostgresJournal,
    RetryPolicy,
    RollFailed,
    RollFollowed,
    RollStarted,
    RollSucceeded,
    Session,
    SessionBoundaryManager,
    SessionState,
    StateChanged,
)
from tests.helpers.journal_days import DAY, FIRST
from tests.labs.replicas.replica import Log, Order

SPACING = timedelta(milliseconds=150)
COUNT = 8000

CONFIG = LifecycleConfig(
    pre_market=timedelta(0),
    post_market_roll_delay=timedelta(0),
    data_timeout=None,
    missed_sessions=MissedSessions.EACH,
    max_catch_up_sessions=COUNT,
    roll_timeout=timedelta(seconds=5),
    roll_retry=RetryPolicy(attempts=20, initial=timedelta(milliseconds=50), maximum=timedelta(milliseconds=200)),
    journal_timeout=timedelta(seconds=1),
)


def schedule(start: float) -> FixedSchedule:
    """Return the sessions of all replicas, from an instant in seconds since 1970 on."""
    opens = [datetime.fromtimestamp(start, UTC) + SPACING * number for number in range(COUNT)]
    sessions = [Session(FIRST + n * DAY, opened, opened + SPACING / 2) for n, opened in enumerate(opens)]
    return FixedSchedule(sessions, name="LAB")


class ManagedReplica:
    """One manager after the other, for as long as the process lives."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.schedule = schedule(order.start)
        logging.getLogger("session_lifecycle").addHandler(logging.NullHandler())
        self.log = Log(order.log)
        self.manager: SessionBoundaryManager | None = None

    async def roll(self, _: date) -> None:
        """Write a row of the books, in the transaction of the roll."""
        assert self.manager is not None
        session = self.manager.session.date
        async with self.manager.roll_transaction() as tx:
            if tx is not None:
                if not self.order.fenced:
                    await tx.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
                await tx.execute("INSERT INTO books VALUES (%s, %s)", (session, os.getpid()))
                await anyio.sleep(random.uniform(0, self.order.pause))

    async def run(self) -> None:
        """Run managers, each until it stops."""
        while True:
            journal = PostgresJournal(self.order.conninfo, self.order.name, timedelta(seconds=self.order.ttl))
            self.manager = SessionBoundaryManager(self.schedule, self.roll, config=CONFIG, journal=journal)
            events = self.manager.events()
            try:
                async with self.manager, anyio.create_task_group() as tasks:
                    async for event in events:
                        match event:
                            case RollSucceeded(session=session):
                                self.log.note("announced", day=session.isoformat(), term=self.manager.term)
                            case StateChanged(dest=SessionState.ERROR, reason=reason):
                                self.log.note("error", why=reason)
                                tasks.start_soon(self._recover, self.manager)
                            case RollFollowed(session=session):
                                self.log.note("followed", day=session.isoformat())
                            case RollFailed() | HandlerFailed():
                                self.log.note("failed", why=event.summary())
                            case StateChanged() | RollStarted() | HorizonNear():
                                pass
                            case _:
                                self.log.note(type(event).__name__, why=event.summary())
            except JournalUnavailable as error:
                self.log.note("unavailable", why=str(error))
                await anyio.sleep(0.1)

    async def _recover(self, manager: SessionBoundaryManager) -> None:
        await anyio.sleep(0.3)
        with suppress(LifecycleError):
            await manager.recover()
