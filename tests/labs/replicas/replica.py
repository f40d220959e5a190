"""One replica: it rolls a day at a time while it leads, and follows while it does not.

Each roll is a row of the table `books`, written in the roll's transaction, and a line "announced" in the replica's own
log once the transaction has committed. Run as `python -m tests.labs.replicas.replica JSON`.
"""

import json
import os
import random
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date, timedelta

import anyio

from session_lifecycle import (
    Entry,
    JournalUnavailable,
    JournalWriteFailed,
    PostgresJournal,
    Record,
)
from session_lifecycle._journal.errors import NotLeadingError
from session_lifecycle._journal.postgres_lease import Lease
from tests.helpers.journal_days import DAY, FIRST, adopted, done, intent, kept

UNFENCED = "SET LOCAL idle_in_transaction_session_timeout = 0"


@dataclass(frozen=True)
class Order:
    """What a replica is to do. `pause` is the seconds, at most, for which a roll waits in its transaction."""

    conninfo: str
    log: str
    name: str = "desk/LAB"
    ttl: float = 0.5
    pause: float = 0.02
    rest: float = 0.0
    fenced: bool = True
    backend: str = "asyncio"
    days: int = 1_000_000
    start: float = 0.0
    """Seconds since 1970 at which the first session of managers opens. 0: the simple replica, which needs no clock."""

    def as_json(self) -> str:
        return json.dumps(asdict(self))


class Log:
    """A file of lines. What is written survives a SIGKILL at once."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, what: str, **more: object) -> None:
        line = {"what": what, "at": time.time(), "pid": os.getpid()} | more
        os.write(self._file, json.dumps(line).encode() + b"\n")


class Replica:
    """The simplest host of a journal: a count of records, and the session that the records add up to."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.journal = PostgresJournal(order.conninfo, order.name, timedelta(seconds=order.ttl))
        self.seq = 0
        self.session: date | None = None
        self._log = Log(order.log)

    def note(self, what: str, **more: object) -> None:
        self._log.note(what, term=self.journal.term, **more)

    def take_up(self, records: Sequence[Record]) -> None:
        """Bring the session and the count up to these records."""
        for record in records:
            self.seq = max(self.seq, record.seq)
            if record.entry is Entry.ADOPTED:
                self.session = record.session
            elif record.entry is Entry.DONE:
                self.session = record.target

    async def run(self) -> None:
        """Lead and follow until the last day is rolled."""
        while True:
            try:
                self.take_up(await self.journal.open("LAB"))
                break
            except JournalUnavailable as error:
                self.note("unavailable", why=str(error))
                await anyio.sleep(0.1)
        self.note("opened")
        try:
            while not self._over():
                if self.journal.leads:
                    self.note("leads")
                    await self._lead()
                    self.note("lost", why=await kept(self.journal))
                self.take_up(await self.journal.follow())
        finally:
            with anyio.CancelScope(shield=True):
                await self.journal.close()
        self.note("finished")

    def _over(self) -> bool:
        return self.session is not None and self.session >= FIRST + self.order.days * DAY

    async def _lead(self) -> None:
        async with anyio.create_task_group() as tasks:

            async def keep() -> None:
                await kept(self.journal)
                if self.order.fenced:
                    tasks.cancel_scope.cancel()

            tasks.start_soon(keep)
            with suppress(NotLeadingError):
                await self._rolls()
            tasks.cancel_scope.cancel()

    async def _rolls(self) -> None:
        if self.session is None:
            await self.journal.append([adopted(self._next())])
            self.session = FIRST
        while not self._over() and self.journal.leads:
            day = self.session
            await self.journal.append([intent(day, self._next())])
            while not await self._rolled(day):
                self.note("failed", day=day.isoformat())
            self.session = day + DAY
            self.note("announced", day=day.isoformat())
            await anyio.sleep(self.order.rest)

    async def _rolled(self, day: date) -> bool:
        """Roll once; return whether it is done."""
        try:
            async with self.journal.transaction(day, lambda: done(day, self._next())) as tx:
                if tx is not None:
                    if not self.order.fenced:
                        await tx.execute(UNFENCED.encode())
                    await tx.execute("INSERT INTO books VALUES (%s, %s)", (day, os.getpid()))
                    await anyio.sleep(random.uniform(0, self.order.pause))
        except NotLeadingError:
            raise
        except (JournalWriteFailed, JournalUnavailable, *_DATABASE) as error:
            self.note("error", why=f"{type(error).__name__}: {error}")
            return False
        return True

    def _next(self) -> int:
        self.seq += 1
        return self.seq


def remove_fence() -> None:
    """Let this process believe that it leads until the server says otherwise, and finish the roll that it is in."""
    Lease.leads = property(lambda lease: lease._leading)
    Lease.remaining = property(lambda _: 60.0)


def _database_errors() -> tuple[type[Exception], ...]:
    import psycopg

    return psycopg.Error, OSError, TimeoutError


_DATABASE = _database_errors()


def main() -> None:
    order = Order(**json.loads(sys.argv[1]))
    if not order.fenced:
        remove_fence()
    if order.start:
        from tests.labs.replicas.managed import ManagedReplica

        anyio.run(ManagedReplica(order).run, backend=order.backend)
    else:
        anyio.run(Replica(order).run, backend=order.backend)


if __name__ == "__main__":
    main()
