"""Connections of psycopg that wait by anyio: on asyncio, on uvloop and on trio, without a thread.

psycopg's own `AsyncConnection` waits by asyncio alone. Here libpq's non-blocking connect is polled, and the generators
of psycopg's protocol are driven, by `anyio.wait_readable` and `anyio.wait_writable`; only public names are used.
"""

import ipaddress
import secrets
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar, cast

import anyio
import psycopg
from psycopg import pq
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import tuple_row
from psycopg.waiting import Ready, Wait

_Value = TypeVar("_Value")

_WAITED: Final = (
    "the roll's block waited for longer than `ttl` between two statements, so the server has ended its transaction. "
    "Wait before the block, or begin it with `SET LOCAL idle_in_transaction_session_timeout`"
)

NOT_INSTALLED: Final = frozenset({"3F000", "42883", "42P01"})
"""What the server says where a schema, a function or a table is missing."""


class Connection(psycopg.AsyncConnection[tuple[Any, ...]]):
    """A connection in autocommit mode that waits by anyio. Tasks that use it take turns."""

    def __init__(self, raw: pq.abc.PGconn) -> None:
        super().__init__(raw, tuple_row)
        # psycopg's lock is asyncio's. One of anyio would not be released by whoever finalizes a generator, as here.
        self.lock = cast("Any", anyio.Semaphore(1, fast_acquire=True))
        self._names_of_calls: dict[str, bytes] = {}
        self._prepares_calls = True
        self._last_word: psycopg.Error | None = None
        self.add_notice_handler(self._hear)

    def _hear(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "FATAL":
            try:
                kind = psycopg.errors.lookup(notice.sqlstate or "")
            except KeyError:  # a code that psycopg does not know, of a pooler say
                kind = psycopg.OperationalError
            self._last_word = kind(notice.message_primary or "")

    def reason_of(self, error: Exception) -> Exception:
        """Return what the server closed the connection with, where `error` tells only that it is closed.

        libpq takes it for a notice where it arrives together with the answer to the last statement, as it does where
        the event loop was held up meanwhile.
        """
        if self._last_word is None or (isinstance(error, psycopg.Error) and error.sqlstate is not None):
            return error
        return self._last_word

    async def wait(self, gen: PQGen[_Value], interval: float = 0.0, timeout: float | None = None) -> _Value:  # noqa: ARG002, ASYNC109 -- psycopg's signature
        """Drive a generator of psycopg's protocol; with a `timeout` in seconds, no longer than that.

        A connection whose statement is cut off by a cancellation is closed: the server may still execute it.
        """
        try:
            if timeout is None:  # as for every statement: a scope costs half of what waiting does
                return await _driven(gen, self.pgconn.socket)
            with anyio.fail_after(timeout):
                return await _driven(gen, self.pgconn.socket)
        except BaseException:
            if self.pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
                self.abandon()
            raise

    async def call(self, function: str, arguments: str, *values: str) -> None:
        """Call a function of the server that returns nothing, by a statement that is prepared as it is first called.

        `arguments` are the placeholders, such as `$1, $2::bigint`. What is prepared has a name that no other client
        gives: a pooler in transaction mode may take the call to a session in which it is another's, or is not. There
        nothing is executed, and from then on the statement itself is sent with each call.
        """
        raw, encoding = self.pgconn, self.info.encoding
        statement = f"SELECT {function}({arguments})".encode(encoding)
        given = [value.encode(encoding) for value in values]
        if self._prepares_calls:
            name = self._names_of_calls.get(function)
            if name is None:
                name = f"{function} {secrets.token_hex(8)}".encode(encoding)
                raw.send_prepare(name, statement)
                await self.wait(_answer(raw, encoding))
                self._names_of_calls[function] = name
            try:
                raw.send_query_prepared(name, given)
                await self.wait(_answer(raw, encoding))
            except psycopg.errors.InvalidSqlStatementName:
                self._prepares_calls = False
            else:
                return
        raw.send_query_params(statement, given)
        await self.wait(_answer(raw, encoding))

    def abandon(self) -> None:
        """Close the connection at once, whatever is under way on it. A second call has no effect."""
        self.pgconn.finish()

    @property
    def answers(self) -> bool:
        """Whether the server has answered the last statement, so that what it raised is known to have failed."""
        return self.pgconn.transaction_status in (pq.TransactionStatus.IDLE, pq.TransactionStatus.INERROR)


def _answer(raw: pq.abc.PGconn, encoding: str) -> PQGen[None]:
    """Send what is queued, and read the whole answer; raise the error that it tells."""
    while raw.flush():
        if (yield Wait.RW) & Ready.R:
            raw.consume_input()
    answer: pq.abc.PGresult | None = None
    while True:
        while raw.is_busy():
            yield Wait.R
            raw.consume_input()
        result = raw.get_result()
        if result is None:
            break
        answer = answer or result  # of two, the second says that the server has closed the connection
    if answer is None:
        raise psycopg.OperationalError("the server has not answered")
    if answer.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
        raise psycopg.errors.error_from_result(answer, encoding)


async def _driven(gen: PQGen[_Value], fd: int) -> _Value:
    try:
        wanted = next(gen)
        while True:
            wanted = gen.send(await _ready(fd, wanted))
    except StopIteration as returned:
        value: _Value = returned.value
        return value


async def _ready(fd: int, wanted: Wait) -> Ready:
    if wanted == Wait.R:
        await anyio.wait_readable(fd)
        return Ready.R
    if wanted == Wait.W:
        await anyio.wait_writable(fd)
        return Ready.W
    found = Ready.NONE

    async def one(wait: Callable[[int], Awaitable[None]], ready: Ready) -> None:
        nonlocal found
        await wait(fd)
        found = Ready(found | ready)
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(one, anyio.wait_readable, Ready.R)
        group.start_soon(one, anyio.wait_writable, Ready.W)
    return found


def shown(conninfo: str) -> str:
    """Return the server and database of a conninfo, for messages: never a password.

    Raises:
        ValueError: it cannot be parsed, or has another one for its database. The message does not repeat it.
    """
    try:
        values = _defaults() | _given(conninfo)
    except psycopg.Error as error:
        msg = "it is neither a postgresql:// URL nor a list of key=value"
        raise ValueError(msg) from error
    if "://" in values.get("dbname", ""):  # libpq takes it for a name, and it may hold a password
        msg = "its dbname is a URL: pass the URL alone"
        raise ValueError(msg)
    service = f"?service={values['service']}" if "service" in values else ""
    server = ",".join(values[name] for name in ("host", "hostaddr") if name in values) or ("" if service else "local")
    port = f":{values['port']}" if values.get("port", "5432") != "5432" else ""
    return f"postgresql://{server}{port}/{values.get('dbname', '')}{service}"


def _given(conninfo: str) -> dict[str, str]:
    return {name: str(value) for name, value in conninfo_to_dict(conninfo).items() if value is not None}


def _defaults() -> dict[str, str]:
    """Return what libpq takes from the environment, and from the service that PGSERVICE names."""
    options = pq.Conninfo.get_defaults()
    return {option.keyword.decode(): option.val.decode() for option in options if option.val is not None}


def with_defaults(conninfo: str, seconds: float) -> str:
    """Return a conninfo by which the system notices within about so many seconds that the server is gone.

    What the conninfo sets itself stays.
    """
    probe = max(1, int(seconds / 3))
    defaults: dict[str, Any] = {
        "fallback_application_name": "session_lifecycle",
        "keepalives_idle": probe,
        "keepalives_interval": probe,
        "keepalives_count": 2,
        "tcp_user_timeout": max(1000, int(seconds * 1000)),
    }
    return make_conninfo("", **(defaults | _given(conninfo)))


async def connect(conninfo: str, within: float) -> Connection:
    """Connect to the first server of a conninfo that takes the connection, within so many seconds in all.

    Each server, and each address of a name, has an equal share of what is left, so that a host that has vanished, and
    does not even refuse, leaves time for the next one. Host names are resolved by `anyio.getaddrinfo`; an address and
    the path of a socket need no resolving, and so no thread. Hosts that only `service=` names are left to libpq, which
    blocks while it resolves, and waits for the first one that does not answer.

    Raises:
        psycopg.OperationalError: there is none; the message is the last one's.
    """
    failure: Exception | None = None
    for (server, name), until in _shared(_servers(conninfo), anyio.current_time() + within):
        try:
            attempts = [server] if name is None else await _addresses(server, name, until)
        except OSError as error:
            failure = psycopg.OperationalError(f"{name} could not be resolved: {error or 'no answer'}")
            failure.__cause__ = error
            continue
        for attempt, ends in _shared(attempts, until):
            seconds = ends - anyio.current_time()
            try:
                with anyio.fail_after(seconds):
                    return await _connect_to(attempt)
            except TimeoutError:
                failure = psycopg.OperationalError(f"no answer within {seconds:.3g} s")
            except (psycopg.OperationalError, OSError) as error:
                failure = error
    if isinstance(failure, psycopg.OperationalError):
        raise failure
    msg = f"no server could be reached: {failure}"
    raise psycopg.OperationalError(msg) from failure


def _shared(each: Sequence[_Value], until: float) -> Iterator[tuple[_Value, float]]:
    """Iterate over some, each with the instant to which it has its share of the time that is left."""
    for number, one in enumerate(each):
        now = anyio.current_time()
        yield one, now + max(0.0, until - now) / (len(each) - number)


def _servers(conninfo: str) -> list[tuple[str, str | None]]:
    """Return a conninfo for each host, in their order, and the name that is to be resolved, if there is one."""
    given = _given(conninfo)
    if "service" in given and not given.keys() & {"host", "hostaddr"}:
        return [(conninfo, None)]  # the service's host is before PGHOST
    values = _defaults() | given
    lists = {keyword: values[keyword].split(",") for keyword in ("host", "hostaddr", "port") if values.get(keyword)}
    count = len(lists.get("hostaddr") or lists.get("host") or ())
    if not count or any(len(each) not in {1, count} for each in lists.values()):
        return [(conninfo, None)]  # the default socket; or libpq says that the lists do not match
    servers = list[tuple[str, str | None]]()
    for number in range(count):
        one = {keyword: each[number % len(each)] for keyword, each in lists.items()}
        name = one.get("host", "")
        servers.append((make_conninfo(conninfo, **one), name if not one.get("hostaddr") and _is_a_name(name) else None))
    return servers


async def _addresses(server: str, name: str, until: float) -> list[str]:
    """Return a conninfo for each address of a host; a TimeoutError, which is an OSError, where there is no answer."""
    with anyio.fail_after(until - anyio.current_time()):
        found = await anyio.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [make_conninfo(server, hostaddr=address) for address in dict.fromkeys(str(each[4][0]) for each in found)]


def _is_a_name(host: str) -> bool:
    if not host or host.startswith(("/", "@")):
        return False
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return True
    return False


async def _connect_to(conninfo: str) -> Connection:
    # The journal's texts are in any script, whatever PGCLIENTENCODING, the role or the database say.
    raw = pq.PGconn.connect_start(make_conninfo(conninfo, client_encoding="UTF8").encode())
    try:
        await _poll(raw)
        raw.nonblocking = 1
        connection = Connection(raw)
        await connection.set_autocommit(True)
        # A pooler in transaction mode gives each transaction another session, without what was prepared.
        connection.prepare_threshold = None
    except BaseException:
        raw.finish()
        raise
    return connection


async def _poll(raw: pq.abc.PGconn) -> None:
    wanted = pq.PollingStatus.FAILED if raw.status == pq.ConnStatus.BAD else pq.PollingStatus.WRITING
    while wanted != pq.PollingStatus.OK:
        if wanted == pq.PollingStatus.FAILED:
            raise psycopg.OperationalError(raw.get_error_message("utf-8").strip())
        # The socket may be another one each time: libpq tries several addresses, and again without TLS.
        wait = anyio.wait_readable if wanted == pq.PollingStatus.READING else anyio.wait_writable
        await wait(raw.socket)
        wanted = pq.PollingStatus(raw.connect_poll())


def first_line(error: Exception) -> str:
    """Return what a driver's error says, without the statement and the context, and what to do where that is known."""
    text = str(error).strip()
    named = "the server has not answered in time" if isinstance(error, TimeoutError) else type(error).__name__
    line = text.splitlines()[0] if text else named
    if isinstance(error, psycopg.errors.IdleInTransactionSessionTimeout):
        return f"{line}: {_WAITED}"
    if isinstance(error, psycopg.Error) and error.sqlstate in NOT_INSTALLED and "session_lifecycle" in line:
        return (
            f"its tables are missing or of an earlier version ({line}): call "
            "`await PostgresJournal.create_tables(conninfo)` once, as a role that may create a schema"
        )
    return line


@asynccontextmanager
async def committed(connection: Connection, within: float) -> AsyncGenerator[anyio.CancelScope]:
    """Commit what a block does; its value is the scope of the whole transaction, whose deadline the block moves.

    The scope ends after `within` seconds, BEGIN included, unless the block gives it longer. Where the block raises, its
    error is raised after the ROLLBACK, which may take `within` seconds again. That the connection is closed then, if it
    is not answered, has the same effect.

    Raises:
        TimeoutError: the server has not answered by the deadline.
        psycopg.OperationalError: the connection was closed before COMMIT, which psycopg passes over.
    """
    transaction: psycopg.AsyncTransaction | None = None
    failure: BaseException | None = None
    with anyio.CancelScope(deadline=anyio.current_time() + within) as scope:
        async with connection.transaction() as transaction:
            try:
                yield scope
            except BaseException as error:
                if not scope.cancel_called:
                    failure, scope.deadline = error, anyio.current_time() + within
                raise
    if failure is not None:
        raise failure
    if scope.cancelled_caught:
        raise TimeoutError
    if transaction is None or transaction.status is not psycopg.AsyncTransaction.Status.COMMITTED:
        raise psycopg.OperationalError("the connection was closed before COMMIT was sent")


@asynccontextmanager
async def connected(conninfo: str, within: float) -> AsyncGenerator[Connection]:
    """Connect for the length of a block."""
    connection = await connect(conninfo, within)
    try:
        yield connection
    finally:
        connection.abandon()
