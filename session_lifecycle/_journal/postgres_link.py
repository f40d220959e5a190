"""The pair of connections that all journals of one database share on one event loop: a writer and a keeper.

The writer appends. The keeper renews the leases of all journals in one statement, observes the others' in another, and
waits for notifications in between. Neither waits for the transaction of a roll, which has a connection of its own.
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import anyio
import anyio.lowlevel
import psycopg

from session_lifecycle._journal.postgres_connection import Connection, connect, connected, with_defaults
from session_lifecycle._journal.postgres_lease import Lease, uptime

BROKEN: Final = (psycopg.OperationalError, psycopg.InterfaceError, OSError, TimeoutError)
"""What a connection raises that is broken or cannot be had; a refusal of the server may be among them."""

BROKEN_OR_REFUSED: Final = (psycopg.Error, OSError, TimeoutError)
"""What any statement raises."""

_TRANSACTIONS: Final = 16
"""How many transactions of rolls may be open at a time; more wait. Servers allow some hundred connections in all."""

_RENEW: Final = "SELECT holder, extract(epoch FROM server_time)::float8 FROM session_lifecycle.renew(%s, %s, %s, %s)"
_OBSERVE: Final = """
SELECT j.name, j.seq, j.term, j.holder, extract(epoch FROM l.expires_at - clock_timestamp())::float8,
       extract(epoch FROM l.ttl)::float8
  FROM session_lifecycle.journal j JOIN session_lifecycle.lease l USING (name) WHERE j.name = ANY(%s)
"""


class Observed(NamedTuple):
    """What the database says of a journal: its newest record, its leader, and the seconds for which the lease lasts."""

    seq: int
    term: int
    holder: str
    remaining: float
    ttl: float

    @property
    def is_over(self) -> bool:
        """Whether the lease can be acquired, or is to be shortened because the server's clock has been set back."""
        return self.remaining <= 0 or self.remaining > self.ttl + 1


class SharedConnection:
    """A connection that tasks use in turn. It is opened when it is needed, and given up when a statement is cut off."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._turn = anyio.Lock(fast_acquire=True)
        self._connection: Connection | None = None

    @asynccontextmanager
    async def use(self, within: float) -> AsyncGenerator[Connection]:
        """Use the connection for a block, which takes at most `within` seconds from its turn on.

        Raises:
            psycopg.OperationalError: it cannot be opened.
            TimeoutError: the block took longer.
        """
        async with self._turn:
            with anyio.fail_after(within):
                connection = self._connection
                if connection is None or connection.closed:
                    connection = self._connection = await self._opened(within)
                try:
                    yield connection
                except BaseException:
                    if not connection.answers:
                        self.abandon()
                    raise

    async def _opened(self, within: float) -> Connection:
        return await connect(self._conninfo, within)

    def abandon(self) -> None:
        """Close the connection at once; the next use opens another one."""
        if self._connection is not None:
            self._connection.abandon()
            self._connection = None


class Keeper(SharedConnection):
    """The connection that also listens. Whoever uses it interrupts the waiting, which goes on afterwards."""

    def __init__(self, conninfo: str) -> None:
        super().__init__(conninfo)
        self._claims = 0
        self._listening: anyio.CancelScope | None = None
        self._watching = anyio.Lock()
        self._waiting: dict[anyio.CancelScope, str] = {}
        self._heard: dict[str, int] = {}

    @asynccontextmanager
    async def use(self, within: float) -> AsyncGenerator[Connection]:
        """Use the connection for a block, as `SharedConnection.use`."""
        self._claims += 1
        if self._listening is not None:
            self._listening.cancel()
        claimed = True
        try:
            async with super().use(within) as connection:
                self._claims -= 1
                claimed = False
                yield connection
        finally:
            self._claims -= claimed

    async def _opened(self, within: float) -> Connection:
        connection = await connect(self._conninfo, within)
        try:
            connection.add_notify_handler(lambda notify: self._notify(notify.payload))
            await connection.execute("LISTEN session_lifecycle")
        except psycopg.Error:  # a server in recovery does not listen; then polling alone has to do
            if not connection.answers:
                connection.abandon()
                raise
        except BaseException:
            connection.abandon()
            raise
        return connection

    def heard(self, name: str) -> int:
        """Return how many notifications about the journal `name` have arrived."""
        return self._heard.get(name, 0)

    async def notified(self, name: str, heard: int, within: float) -> None:
        """Return when another notification about the journal `name` than the `heard` ones has arrived.

        Returns after `within` seconds at the latest.
        """
        if self.heard(name) != heard:  # one came in with the answer to a statement
            return
        with anyio.move_on_after(within) as scope:
            self._waiting[scope] = name
            try:
                async with self._watching:  # the first of several waits for all
                    while True:
                        await self._listen()
            finally:
                del self._waiting[scope]

    async def _listen(self) -> None:
        async with self._turn:
            connection = self._connection
            if self._claims:  # statements wait for their turn, and are before this in the queue
                return
            if connection is not None:
                try:
                    with anyio.CancelScope() as self._listening:
                        await anyio.wait_readable(connection.pgconn.socket)
                    connection.pgconn.consume_input()
                    while (notify := connection.pgconn.notifies()) is not None:
                        self._notify(notify.extra.decode("utf-8", "replace"))
                except BROKEN:
                    self.abandon()
                finally:
                    self._listening = None
                return
        await anyio.sleep_forever()  # the next statement opens a connection; until then only the time ends this

    def _notify(self, name: str) -> None:
        self._heard[name] = self.heard(name) + 1
        for scope, waited_for in self._waiting.items():
            if waited_for == name:
                scope.cancel()


class Link:
    """The connections that the journals of one database share on one event loop, and those journals' leases."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._pid = os.getpid()
        self._leases: dict[Lease, None] = {}
        self._observed: dict[str, Observed] = {}
        self._observed_at = 0.0
        self._transactions = anyio.Semaphore(_TRANSACTIONS)
        self.writer = SharedConnection(conninfo)
        self.keeper = Keeper(conninfo)
        self.skew: timedelta | None = None

    @staticmethod
    def join(conninfo: str, lease: Lease) -> "Link":
        """Return the link of this database on this event loop, which the lease is a part of from now on."""
        links = _links()
        key = with_defaults(conninfo, lease.seconds)
        link = links.get(key)
        if link is None:
            link = links[key] = Link(key)
        link._leases[lease] = None
        return link

    def leave(self, lease: Lease) -> None:
        """Take a lease out; with the last one the connections are closed."""
        self._leases.pop(lease, None)
        if self._leases:
            return
        links = _links()
        if links.get(self._conninfo) is self:
            del links[self._conninfo]
        if os.getpid() == self._pid:  # else they are the parent's
            self.writer.abandon()
            self.keeper.abandon()

    @asynccontextmanager
    async def transaction_connection(self, within: float) -> AsyncGenerator[Connection]:
        """Open a connection for the transaction of one roll."""
        async with self._transactions, connected(self._conninfo, within) as connection:
            yield connection

    async def renew(self, lease: Lease) -> None:
        """Renew the leases of all journals that lead, in one statement.

        Where another journal's call has renewed this one while it waited for its turn, nothing more is done.
        """
        asked = uptime()
        async with self.keeper.use(lease.seconds) as connection:
            if lease.sent >= asked:
                return
            terms = {each: each.term for each in self._leases if each.leads}
            sent, wall = uptime(), datetime.now(UTC)
            cursor = await connection.execute(
                _RENEW,
                (
                    [each.name for each in terms],
                    list(terms.values()),
                    [each.holder for each in terms],
                    [timedelta(seconds=each.seconds) for each in terms],
                ),
            )
            renewed: dict[str, float] = dict(await cursor.fetchall())
        for each, term in terms.items():
            if each.holder in renewed:
                self.measure_skew(wall, renewed[each.holder])
                each.extend(sent)
            elif term == each.term and not each.settling:  # else a later term of its own has begun meanwhile
                each.lose("another replica leads")

    async def observe(self, lease: Lease) -> Observed | None:
        """Return what the database says of a journal; the journals of all standbys are read in one statement."""
        asked = uptime()
        async with self.keeper.use(lease.seconds) as connection:
            if self._observed_at < asked:
                sent = uptime()
                names = [each.name for each in self._leases if not each.leads]
                rows = await (await connection.execute(_OBSERVE, (names,))).fetchall()
                self._observed = {row[0]: Observed(*row[1:]) for row in rows}
                self._observed_at = sent
        return self._observed.get(lease.name)

    def measure_skew(self, sent: datetime, server_time: float) -> None:
        """Keep how far the server's clock is ahead of this host's, to within the length of the round trip.

        `server_time` is in seconds since 1970; an instant as text would depend on the session's settings.
        """
        self.skew = datetime.fromtimestamp(server_time, UTC) - (sent + (datetime.now(UTC) - sent) / 2)


_registry: Final = anyio.lowlevel.RunVar[dict[str, Link]]("session_lifecycle.postgres")


def _links() -> dict[str, Link]:
    """Return the links of the running event loop, by conninfo."""
    links = _registry.get(None)
    if links is None:
        links = dict[str, Link]()
        _registry.set(links)
    return links
