"""A journal in PostgreSQL, which replicas on several hosts share: one leads, fenced by its term.

Everything that decides is in the functions of `postgres_schema.sql`, which a server executes under a lock of the
journal's row. This side keeps the lease, and finds out after a broken connection what has come through.
"""

import os
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from math import inf
from typing import Final, NamedTuple, NoReturn

import anyio
import psycopg
from psycopg.rows import tuple_row

from session_lifecycle._journal.errors import (
    JournalLocked,
    JournalMismatch,
    JournalUnavailable,
    JournalWriteFailed,
    NotLeadingError,
)
from session_lifecycle._journal.postgres_connection import Connection, committed, first_line
from session_lifecycle._journal.postgres_lease import Lease, uptime
from session_lifecycle._journal.postgres_link import BROKEN, BROKEN_OR_REFUSED, Link
from session_lifecycle._journal.postgres_records import (
    as_json,
    one_as_json,
    read_after,
    read_done,
    read_these,
)
from session_lifecycle._journal.postgres_tables import VERSION, create_tables, place_of
from session_lifecycle._journal.records import Record
from session_lifecycle._model.errors import ConfigurationError
from session_lifecycle._model.uncopyable import Uncopyable

_TERM_IS_OVER: Final = "SL001"
_OTHER_CALENDAR: Final = "SL002"
_PASSING: Final = frozenset({"40001", "40P01", "55P03", "57014"})
"""Refusals that the same statement may not meet again: serialization, a deadlock, a lock, a statement's timeout."""

_SOON: Final = 0.02
_AGAIN: Final = 0.1
_POLL: Final = 1.0
_LONGEST_NAME: Final = 200

_ACQUIRE: Final = (
    "SELECT term, led, busy, version, extract(epoch FROM server_time)::float8 "
    "FROM session_lifecycle.acquire(%s, %s, %s, %s, %s)"
)
_APPEND: Final = ("session_lifecycle.append", "$1, $2::bigint, $3, $4::jsonb")
_COMPLETE: Final = "SELECT session_lifecycle.complete($1, $2, $3, $4::jsonb, $5)"
# No row where the block has ended its transaction, and with it the setting.
_COMPLETE_HERE: Final = (
    "SELECT session_lifecycle.complete(%s::text, %s::bigint, %s::text, %s::jsonb, %s::int) "
    "WHERE current_setting('session_lifecycle.roll', true) = %s"
)
# No query, before which the block could not set the level of isolation any more.
_BEGIN_HERE: Final = "SET LOCAL session_lifecycle.roll = '{}'; SET LOCAL idle_in_transaction_session_timeout = {:.0f}"
_RELEASE: Final = "SELECT session_lifecycle.release(%s, %s, %s)"


class _Acquired(NamedTuple):
    led: bool
    busy: bool


class PostgresJournal(Uncopyable):
    """A journal in PostgreSQL 14 or later, for one process or for replicas on several hosts, of which one leads.

    Needs the extra `postgres`, and the tables that `create_tables` installs. Journals of one database and one `ttl`, on
    one event loop, share a pair of connections; each open transaction of a roll has a connection of its own.

    Args:
        conninfo: what libpq accepts: a `postgresql://` URL or `key=value` pairs. With several hosts, add
            `target_session_attrs=read-write`.
        name: of the journal in the database; the same for all replicas of one manager, another for every other manager.
        ttl: how long a leader that has vanished keeps the lead, from 0.2 seconds to a day. A leader that has not
            reached the server for that long leads no more.

    Raises:
        ConfigurationError: an argument is out of range, or `conninfo` cannot be parsed.
    """

    __module__ = "session_lifecycle"

    def __init__(self, conninfo: str, name: str, ttl: timedelta = timedelta(seconds=10)) -> None:
        self._place = place_of(conninfo)
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
            raise ConfigurationError("name", name, f"must be 1 to {_LONGEST_NAME} printable characters")
        if not isinstance(ttl, timedelta) or not timedelta(seconds=0.2) <= ttl <= timedelta(days=1):
            raise ConfigurationError("ttl", ttl, "must be a timedelta of 0.2 seconds to a day")
        self._label = f"{name} in {self._place}"
        self._conninfo = conninfo
        self._name = name
        self._seconds = ttl.total_seconds()
        self._calendar = ""
        self._link: Link | None = None
        self._lease = Lease(name, self._seconds)
        self._pen = anyio.Lock(fast_acquire=True)
        self._seq = 0
        self._in_doubt = False

    def __repr__(self) -> str:
        return f"PostgresJournal({self._place!r}, {self._name!r})"

    @property
    def name(self) -> str:
        """The journal's name in the database."""
        return self._name

    @property
    def leads(self) -> bool:
        """Whether this replica leads. False too where the lease is over by this host's clock. Does no I/O."""
        return self._lease.leads

    @property
    def term(self) -> int:
        """The term of the present leader, as far as it is known here; each change of leader begins a new one."""
        return self._lease.known_term

    @property
    def skew(self) -> timedelta | None:
        """How far the server's clock is ahead of this host's, within a round trip; None before the first answer."""
        return None if self._link is None else self._link.skew

    # ---- installing ----

    @staticmethod
    async def create_tables(conninfo: str) -> None:
        """Create the schema `session_lifecycle` with its tables and functions. What is there already stays.

        The role owns what it creates. Another role that writes journals needs USAGE on the schema, EXECUTE on its
        functions, and SELECT on its tables.

        Raises:
            ConfigurationError: `conninfo` cannot be parsed.
            JournalUnavailable: the server cannot be reached, is older than 14 or not in UTF-8, or refuses it.
        """
        await create_tables(conninfo)

    # ---- opening and closing ----

    async def open(self, calendar: str) -> tuple[Record, ...]:
        """Return the records so far, leading where no other replica does. Never waits for the lead.

        Raises:
            JournalLocked: this object is open already.
            JournalMismatch: the journal is another calendar's, or of an unknown version.
            JournalUnavailable: the server cannot be reached, or refuses; the tables may be missing.
            JournalCorrupt: a record cannot be understood.
        """
        if self._link is not None:
            raise JournalLocked(self._label, os.getpid())
        self._calendar = calendar
        self._lease = lease = Lease(self._name, self._seconds)
        self._in_doubt = False
        self._link = link = Link.join(self._conninfo, lease)
        try:
            async with link.keeper.use(self._seconds) as connection:
                records: tuple[Record, ...] | None = None
                while records is None:
                    with suppress(psycopg.errors.SerializationFailure):  # where that is the sessions' default
                        await self._acquire(connection, again=False)
                        records = await read_after(connection, self._name, 0)
        except BaseException as error:
            await self.close()
            if isinstance(error, BROKEN_OR_REFUSED):
                self._refuse(error)
            raise
        self._seq = records[-1].seq if records else 0
        return records

    def _refuse(self, error: Exception) -> NoReturn:
        if isinstance(error, psycopg.Error) and error.sqlstate == _OTHER_CALENDAR:
            raise JournalMismatch("the calendar", error.diag.message_detail, self._calendar) from error
        raise JournalUnavailable(self._label, first_line(error)) from error

    async def close(self) -> None:
        """Give up the lead, so that a standby takes it at once, and close the connections. Takes a second at most."""
        link, lease = self._link, self._lease
        if link is None:
            return
        self._link = None
        led = lease.leads
        lease.lose("the journal was closed")
        try:
            if led:
                with anyio.move_on_after(1, shield=True):
                    async with link.keeper.use(1) as connection:
                        await connection.execute(_RELEASE, (self._name, lease.term, lease.holder))
        except BROKEN_OR_REFUSED:
            pass  # then the lease ends by itself
        finally:
            link.leave(lease)

    # ---- writing ----

    async def append(self, records: Sequence[Record]) -> None:
        """Append records: all or none, in one round trip. They are durable when this returns.

        After a broken connection it connects again and finds out, for as long as that takes: the caller bounds it.

        Raises:
            JournalWriteFailed: the server refused; none of them is in the journal.
            NotLeadingError: another replica leads. None of them is in the journal.
        """
        if not records:
            return
        names = ", ".join(record.entry.value for record in records)
        content = as_json(records)
        async with self._pen:
            link, lease = self._opened(names), self._lease
            tenure = lease.tenure
            while True:
                if self._in_doubt:
                    await self._settle(link)
                    if not self._may_write(tenure) and await self._holds(link, records):
                        break
                if not self._may_write(tenure):
                    raise NotLeadingError(names, self._label, lease.known_term)
                try:
                    async with link.writer.use(max(lease.remaining, _AGAIN)) as connection:
                        try:
                            self._in_doubt = True
                            await connection.call(*_APPEND, self._name, f"{lease.term}", lease.holder, content)
                            self._in_doubt = False
                        except psycopg.Error as error:
                            self._in_doubt = not connection.answers
                            if not self._in_doubt:
                                self._judge(error, names)
                            raise
                    break
                except BROKEN_OR_REFUSED:
                    await anyio.sleep(_SOON if self._in_doubt else _AGAIN)
            self._seq = max(self._seq, records[-1].seq)

    def _may_write(self, tenure: int) -> bool:
        self._lease.expire()
        return self._lease.leads and self._lease.tenure == tenure

    def _opened(self, what: str) -> Link:
        if self._link is None:
            raise JournalWriteFailed(self._label, what, "the journal is not open")
        return self._link

    def _judge(self, error: Exception, names: str) -> None:
        """Raise what a refusal of the server means; return where the same statement may succeed next time."""
        state = error.sqlstate if isinstance(error, psycopg.Error) else None
        if state == _TERM_IS_OVER:
            self._lease.lose("another replica leads")
            raise NotLeadingError(names, self._label, self._lease.known_term) from error
        if state not in _PASSING:
            raise JournalWriteFailed(self._label, names, first_line(error)) from error

    async def _holds(self, link: Link, records: Sequence[Record]) -> bool:
        """Return whether the journal holds these very records."""
        while True:
            try:
                async with link.writer.use(self._seconds) as connection:
                    return await read_these(connection, self._name, records) == tuple(records)
            except BROKEN_OR_REFUSED:
                await anyio.sleep(_AGAIN)

    async def _settle(self, link: Link) -> None:
        """Begin a new term after a broken connection, so that nothing sent on it can come through any more.

        Tries for as long as the server cannot be reached, or executes what was sent.
        """
        lease = self._lease
        lease.settling = True
        try:
            while self._in_doubt:
                lease.expire()
                try:
                    async with link.writer.use(self._seconds) as connection:
                        acquired = await self._acquire(connection, again=True, gain=False)
                except BROKEN_OR_REFUSED:
                    await anyio.sleep(_AGAIN)
                    continue
                if acquired.busy:
                    await anyio.sleep(_SOON)
                elif not acquired.led:
                    lease.lose("another replica leads")
                    self._in_doubt = False
        finally:
            lease.settling = False

    async def _acquire(self, connection: Connection, *, again: bool, gain: bool = True) -> _Acquired:
        """Ask for the lead; with `again`, where this replica holds it already, for a later term.

        Without `gain`, a lead that was lost meanwhile stays lost: only `open` and `follow` begin another one, so that
        its records are read first.
        """
        lease, sent, wall = self._lease, uptime(), datetime.now(UTC)
        parameters = (self._name, self._calendar, lease.holder, timedelta(seconds=lease.seconds), again)
        row = await (await connection.execute(_ACQUIRE, parameters)).fetchone()
        assert row is not None  # a function with OUT parameters returns one row
        term, led, busy, version, server_time = row
        if version != VERSION:
            raise JournalMismatch("the version", version, VERSION)
        if self._link is not None:
            self._link.measure_skew(wall, server_time)
        if led:
            (lease.gain if gain else lease.change_term)(term, sent)
            self._in_doubt = False  # what was sent under an earlier term has come through, or is refused
        lease.learn_term(term)
        return _Acquired(led, busy)

    # ---- leading and following ----

    async def keep(self) -> str | None:
        """Renew the lease when a third of its `ttl` has passed, and return None; the reason once it is over."""
        lease = self._lease
        while lease.leads and (link := self._link) is not None:
            due = lease.remaining - 2 / 3 * lease.seconds
            with anyio.move_on_after(max(due, 0)):
                await lease.ended.wait()
            if due > 0:
                continue
            try:
                with anyio.move_on_after(lease.remaining):
                    await link.renew(lease)
                    return None
            except BROKEN_OR_REFUSED as error:
                lease.failure = f": {first_line(error)}"
                await anyio.sleep(_AGAIN)
        lease.expire()
        return lease.reason

    async def follow(self) -> tuple[Record, ...]:
        """Wait for the leader's records, or for the lead: `leads` says which. Survives the server's restarts.

        Notifications end the waiting at once; each second, and as the leader's lease ends, the database is read anyway.
        The records are those after the last one that was returned or appended here; with the lead there may be none.
        Raises as `open` does where the server answers and refuses, as a read-only one does; it may be called again.
        """
        lease = self._lease
        while (link := self._link) is not None:
            try:
                heard = link.keeper.heard(self._name)
                observed = None if lease.leads else await link.observe(lease)
                if observed is not None:
                    lease.learn_term(observed.term)
                if (lease.leads or observed is None or observed.seq > self._seq) and (news := await self._news(link)):
                    return news
                if lease.leads:
                    return ()
                wait = _POLL if observed is None else min(_POLL, observed.remaining + 0.005)
                # Where this replica has lost a lead that no other one has taken, it need not wait for its own lease.
                mine = observed is not None and observed.holder == lease.holder
                if observed is None or observed.is_over or mine:
                    async with link.keeper.use(self._seconds) as connection:
                        acquired = await self._acquire(connection, again=mine)
                    if acquired.led:
                        continue  # and read what came in before
                    wait = _SOON
                await link.keeper.notified(self._name, heard, wait)
            except BROKEN:
                await anyio.sleep(_AGAIN)
            except psycopg.Error as error:
                self._refuse(error)
        return ()

    async def _news(self, link: Link) -> tuple[Record, ...]:
        async with link.keeper.use(self._seconds) as connection:
            records = await read_after(connection, self._name, self._seq)
        if records:
            self._seq = records[-1].seq
        return records

    # ---- the roll's own transaction ----

    @asynccontextmanager
    async def transaction(
        self, session: date, done: Callable[[], Record]
    ) -> AsyncGenerator[psycopg.AsyncConnection[tuple[object, ...]] | None]:
        """Open a transaction for the writes of the roll from `session`, on a connection of its own.

        Its value is None where *done* of that session is in the journal already. *done* is appended as the last
        statement, under this replica's term, and committed with the block's writes. Between two statements the block
        may be idle for `ttl`: a replica that is stopped in it must not keep the others out of the application's tables.
        The server has `ttl` for BEGIN and, where the block raises, for ROLLBACK. A block that sends COMMIT or ROLLBACK
        itself is refused at its end.

        Raises:
            JournalWriteFailed: neither is in the database; or that is not known, where it is `uncertain`.
            NotLeadingError: another replica leads. Neither is in the database.
        """
        link = self._opened("done")
        if await self.find_done(session) is not None:
            yield None
            return
        if not self._lease.leads:
            raise NotLeadingError("done", self._label, self._lease.known_term)
        record: Record | None = None
        entered = False
        token = secrets.token_hex(8)
        async with AsyncExitStack() as stack:
            connection = await self._transaction_connection(stack, link)
            try:
                async with committed(connection, self._seconds) as scope:
                    await connection.execute(_BEGIN_HERE.format(token, self._seconds * 1000).encode())
                    entered, scope.deadline = True, inf
                    yield connection
                    await self._pen.acquire()
                    stack.callback(self._pen.release)
                    await self._settle(link)  # an append that was cancelled meanwhile
                    record = done()
                    scope.deadline = anyio.current_time() + self._lease.remaining
                    await self._complete(connection, record, token)
                    self._in_doubt = True  # from here on the COMMIT may be on its way
                assert record is not None  # the block has ended
                self._in_doubt = False
                self._seq = max(self._seq, record.seq)
            except BROKEN_OR_REFUSED as error:
                if record is None:
                    if entered:  # the block's own
                        raise
                    raise JournalWriteFailed(self._label, "done", first_line(connection.reason_of(error))) from error
                if not self._in_doubt or connection.answers:
                    self._in_doubt = False
                    reason = connection.reason_of(error)
                    self._judge(reason, "done")
                    raise JournalWriteFailed(self._label, "done", first_line(reason)) from error
                connection.abandon()
                await self._decide(link, record, error)

    async def _transaction_connection(self, stack: AsyncExitStack, link: Link) -> Connection:
        try:
            return await stack.enter_async_context(link.transaction_connection(self._seconds))
        except BROKEN as error:
            raise JournalWriteFailed(self._label, "done", first_line(error)) from error

    async def _complete(self, connection: Connection, record: Record, token: str) -> None:
        parameters = (self._name, self._lease.term, self._lease.holder, one_as_json(record), self._lease.rest, token)
        # Whatever cursors and types the block has set for its own statements.
        cursor = await psycopg.AsyncCursor(connection, row_factory=tuple_row).execute(_COMPLETE_HERE, parameters)
        if cursor.rowcount != 1:
            reason = "the block has ended its transaction itself, by COMMIT or ROLLBACK; leave both to the journal"
            raise JournalWriteFailed(self._label, "done", reason)

    async def _decide(self, link: Link, record: Record, error: Exception) -> None:
        """Return if the COMMIT that was cut off came through."""
        try:
            with anyio.fail_after(self._seconds):
                await self._settle(link)
                held = await self._holds(link, [record])
        except TimeoutError:
            raise JournalWriteFailed(self._label, "done", first_line(error), uncertain=True) from error
        if held:
            self._seq = max(self._seq, record.seq)
            return
        if not self._lease.leads:
            raise NotLeadingError("done", self._label, self._lease.known_term) from error
        raise JournalWriteFailed(self._label, "done", f"not committed: {first_line(error)}") from error

    async def find_done(self, session: date) -> Record | None:
        """Return the record *done* of the roll from `session`; None where the journal does not hold it.

        After a broken connection, what was sent on it has come through or never will, when this returns.

        Raises:
            JournalUnavailable: it cannot be read.
        """
        link = self._link
        if link is None:
            raise JournalUnavailable(self._label, "the journal is not open")
        failure: Exception = TimeoutError("the server has not answered")
        with anyio.move_on_after(self._seconds):
            while True:
                try:
                    async with self._pen:
                        await self._settle(link)
                    async with link.writer.use(self._seconds) as connection:
                        return await read_done(connection, self._name, session)
                except BROKEN as error:  # the shared connection may have been cut while it was idle
                    failure = error
                    await anyio.sleep(_AGAIN)
                except psycopg.Error as error:
                    raise JournalUnavailable(self._label, first_line(error)) from error
        raise JournalUnavailable(self._label, first_line(failure)) from failure

    def done_statement(self, record: Record) -> tuple[str, tuple[str, int, str, str, int]]:
        """Return the statement that appends *done*, and its parameters, for another driver: `$1`, `$2` and so on.

        Execute it last in the application's own transaction. Where this replica leads no more, or *done* of that
        session is in the journal already, it raises in the server, so that the whole transaction is rolled back.

        Raises:
            NotLeadingError: another replica leads already.
        """
        if not self._lease.leads:
            raise NotLeadingError("done", self._label, self._lease.known_term)
        return _COMPLETE, (self._name, self._lease.term, self._lease.holder, one_as_json(record), self._lease.rest)
