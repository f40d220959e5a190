"""Replicas on a real server that fails, is cut off, or is replaced: nothing is lost, and nothing is done twice."""

import asyncio
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from session_lifecycle import JournalUnavailable, JournalWriteFailed, PostgresJournal, Record
from session_lifecycle._journal.errors import NotLeadingError
from tests.conftest import BACKENDS, PLAIN, Backend
from tests.helpers.journal_days import DAY, FIRST, adopted, done, failed, kept
from tests.helpers.postgres import Database, Server, _other_user, free_port, running_server, waits
from tests.helpers.postgres_journal import booked, held_open
from tests.helpers.tcp_proxy import TcpProxy
from tests.labs.replicas.replica import Order

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
TTL = timedelta(seconds=2)
LONG = timedelta(seconds=8)
TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
)


@pytest.fixture(
    scope="module", params=[BACKENDS[0], pytest.param(*BACKENDS[1].values, id="trio", marks=pytest.mark.long)]
)
def anyio_backend(request: pytest.FixtureRequest) -> Backend:
    """Run on asyncio, and in the long run on trio; the faults are the network's and the server's."""
    backend: Backend = request.param
    return backend


only_asyncio = pytest.mark.parametrize("anyio_backend", [PLAIN], ids=["asyncio"], indirect=True)
"""For what happens in another process, or takes long."""


@pytest.fixture
def proxy(database: Database) -> Iterator[TcpProxy]:
    with TcpProxy(database.server.port) as one:
        yield one


@pytest.fixture(scope="module")
def own_server(postgres_server: Server) -> Iterator[Server]:
    """Return a server that the test may crash."""
    with running_server() as server:
        yield server


def through(proxy: TcpProxy, database: Database) -> str:
    return make_conninfo(database.conninfo(tcp=True), port=proxy.port)


def opened(
    conninfo: str, ttl: timedelta = TTL, name: str = "desk/XNYS"
) -> AbstractAsyncContextManager[PostgresJournal]:
    return held_open(PostgresJournal(conninfo, name, ttl))


async def led(one: PostgresJournal, within: float = 15) -> tuple[Record, ...]:
    found: tuple[Record, ...] = ()
    with anyio.fail_after(within):
        while not one.leads:
            found += await one.follow()
    return found


def seqs(database: Database) -> list[int]:
    return [seq for (seq,) in database.execute("SELECT seq FROM session_lifecycle.record ORDER BY seq")]


def containing(text: bytes) -> Callable[[bytes], bool]:
    return lambda data: text in data


async def roll(one: PostgresJournal, seq: int, day: Any = FIRST) -> bool:
    """Roll from a day in the roll's transaction; return whether it had been done before."""
    async with one.transaction(day, lambda: done(day, seq)) as tx:
        if tx is None:
            return True
        await tx.execute("INSERT INTO books VALUES (%s)", (day,))
    return False


@pytest.fixture
def books(database: Database) -> None:
    database.execute("CREATE TABLE books (session date)")


# ---- a connection that is cut ----


@pytest.mark.parametrize("when", ["cut_before", "cut_after"])
async def test_fault_75_an_append_whose_connection_is_cut_is_written_once(
    database: Database, proxy: TcpProxy, when: str
) -> None:
    """Whether the server has it is found out on another connection, under a new term."""
    async with opened(through(proxy, database), LONG) as one:
        await one.append([adopted()])
        setattr(proxy, when, containing(b"session_lifecycle.append"))
        with anyio.fail_after(5):
            await one.append([failed(2), failed(3)])
        assert proxy.cuts == 1
        assert (one.term, one.leads) == (2, True)
        await one.append([failed(4)])
    assert seqs(database) == [1, 2, 3, 4]


@pytest.mark.parametrize("when", ["cut_before", "cut_after"])
@pytest.mark.usefixtures("books")
async def test_a_commit_that_is_cut_has_come_through_or_not(database: Database, proxy: TcpProxy, when: str) -> None:
    """Either the block ends as if nothing had happened, or it raises and can be repeated."""
    async with opened(through(proxy, database), LONG) as one:
        await one.append([adopted()])
        setattr(proxy, when, containing(b"COMMIT"))
        with anyio.fail_after(10):
            if when == "cut_after":
                assert not await roll(one, 2)
                assert await roll(one, 3)
            else:
                with pytest.raises(JournalWriteFailed, match="not committed") as caught:
                    await roll(one, 2)
                assert not caught.value.uncertain
                assert booked(database) == 0
                assert not await roll(one, 3)
        assert proxy.cuts == 1
        assert one.leads
        found = await one.find_done(FIRST)
        assert found == done(FIRST, 2 if when == "cut_after" else 3)
    assert booked(database) == 1


@pytest.mark.parametrize("when", ["cut_before", "cut_after"])
@pytest.mark.usefixtures("books")
async def test_a_done_that_is_cut_is_not_committed(database: Database, proxy: TcpProxy, when: str) -> None:
    """COMMIT was not sent, so the server has rolled it back."""
    async with opened(through(proxy, database), LONG) as one:
        await one.append([adopted()])
        setattr(proxy, when, containing(b"session_lifecycle.complete"))
        with anyio.fail_after(10):
            with pytest.raises(JournalWriteFailed) as caught:
                await roll(one, 2)
            assert not caught.value.uncertain
            assert not await roll(one, 2)
    assert booked(database) == 1


@pytest.mark.usefixtures("books")
async def test_fault_75_terminated_backends_cost_no_record_and_not_the_lead(database: Database) -> None:
    """While records are appended and a roll is open, every connection is ended ten times."""
    async with opened(database.conninfo(), LONG) as one:
        await one.append([adopted()])
        seq, rolled, uncertain = 1, 0, 0
        with anyio.fail_after(20):
            for number in range(10):
                seq += 1
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(one.append, [failed(seq)])
                    await anyio.sleep(0.002 * number)
                    database.execute(TERMINATE)
                seq += 1
                try:
                    rolled += not await roll(one, seq, FIRST + number * DAY)
                except JournalWriteFailed as error:
                    uncertain += error.uncertain
        assert one.leads
        assert seqs(database)[:2] == [1, 2]
        assert (
            booked(database)
            == rolled
            == len(database.execute("SELECT FROM session_lifecycle.record WHERE entry = 'done'"))
        )


# ---- a server that crashes ----


@only_asyncio
async def test_a_server_that_crashes_and_comes_back_costs_no_record(own_server: Server) -> None:
    """Within the lease the leader goes on; the appends wait. What was acknowledged is there."""
    database = Database(own_server)
    async with opened(database.conninfo(), LONG) as one:
        await one.append([adopted()])
        for seq in range(2, 5):
            own_server.crash()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one.append, [failed(seq)])
                await anyio.wait_all_tasks_blocked()
                await anyio.to_thread.run_sync(own_server.start)
        assert one.leads
    assert seqs(database) == [1, 2, 3, 4]


@only_asyncio
async def test_a_server_that_is_away_for_longer_than_the_lease(own_server: Server) -> None:
    """The leader stops by itself, its append stays in doubt, and it leads again when the server is back."""
    database = Database(own_server)
    async with opened(database.conninfo()) as one:
        await one.append([adopted()])
        own_server.crash()
        try:
            with anyio.move_on_after(2.0) as scope:
                await one.append([failed(2)])
            assert scope.cancelled_caught
            assert not one.leads
            assert "ran out" in await kept(one)
            with pytest.raises(JournalUnavailable):
                await PostgresJournal(database.conninfo(), "desk/other", TTL).open("XNYS")
        finally:
            await anyio.to_thread.run_sync(own_server.start)
        assert await led(one) == ()
        await one.append([failed(2)])
    assert seqs(database) == [1, 2]


@only_asyncio
async def test_an_append_that_outlives_its_lead_does_not_gain_another(own_server: Server) -> None:
    """It settles what became of its records; whoever asks follow() is told that this replica leads again."""
    database = Database(own_server)
    async with opened(database.conninfo()) as one:
        await one.append([adopted()])
        own_server.crash()
        refused: list[NotLeadingError] = []

        async def write() -> None:
            try:
                await one.append([failed(2)])
            except NotLeadingError as error:
                refused.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            assert "ran out" in await kept(one)
            await anyio.to_thread.run_sync(own_server.start)
        assert len(refused) == 1
        assert not one.leads
        with waits(one) as waited:
            assert await led(one) == ()
        assert sum(waited) < TTL.total_seconds() / 2  # no other one has taken it
        await one.append([failed(2)])
    assert seqs(database) == [1, 2]


@only_asyncio
async def test_a_commit_that_meets_a_dead_server_is_uncertain(own_server: Server) -> None:
    """It is found out as soon as there is a server again: here it had not been sent."""
    database = Database(own_server)
    database.execute("CREATE TABLE books (session date)")
    with TcpProxy(own_server.port) as proxy:

        def crash(data: bytes) -> bool:
            if b"COMMIT" not in data:
                return False
            own_server.crash()
            return True

        async with opened(through(proxy, database)) as one:
            await one.append([adopted()])
            proxy.cut_before = crash
            try:
                with pytest.raises(JournalWriteFailed) as caught:
                    await roll(one, 2)
                assert caught.value.uncertain
                with pytest.raises(JournalUnavailable):
                    await one.find_done(FIRST)
            finally:
                await anyio.to_thread.run_sync(own_server.start)
            await led(one)
            assert await one.find_done(FIRST) is None
            assert not await roll(one, 3)
    assert booked(database) == 1


# ---- a leader that is cut off, stopped or killed ----


@pytest.mark.usefixtures("books")
async def test_a_partitioned_leader_stops_first_and_writes_nothing_afterwards(
    database: Database, proxy: TcpProxy
) -> None:
    """Its sockets stay open. The next one leads within ttl + 0.2 s; what was under way is refused."""
    async with opened(through(proxy, database)) as old, opened(database.conninfo(), LONG) as new:
        await old.append([adopted()])
        refused: list[BaseException] = []

        async def write() -> None:
            try:
                await old.append([failed(2, note="sent into the partition")])
            except NotLeadingError as error:
                refused.append(error)

        async with anyio.create_task_group() as tasks:
            with pytest.raises((NotLeadingError, JournalWriteFailed)):  # the second where its server ended it before
                async with old.transaction(FIRST, lambda: done(FIRST, 3)) as tx:
                    assert tx is not None
                    await tx.execute("INSERT INTO books VALUES (%s)", (FIRST,))
                    await unanswered(old, proxy)
                    tasks.start_soon(write)
                    with waits(new) as waited:
                        records = await led(new)
                    assert sum(waited) < TTL.total_seconds() + 0.2
                    assert not old.leads
                    assert records == (adopted(),)
                    await new.append([failed(2, note="by the new one")])
                    proxy.heal()
            with anyio.fail_after(5):
                while not refused:
                    await anyio.sleep(0.01)
        assert await new.find_done(FIRST) is None
        assert await led_or_news(old) == (failed(2, note="by the new one"),)
    assert booked(database) == 0


async def unanswered(one: PostgresJournal, proxy: TcpProxy) -> None:
    """Cut a journal off while none of its renewals is under way: the server has executed the last one."""
    assert one._link is not None
    async with one._link.keeper.use(10):
        proxy.partition()


def hold_answers(proxy: TcpProxy, text: bytes) -> None:
    """Cut the client off as it sends a text: the server executes that, and its answer is held."""

    def cut_off(sent: bytes) -> bool:
        if text in sent:
            proxy.partition()
        return False

    proxy.cut_before = cut_off


async def test_an_opening_that_is_not_answered_says_so(database: Database, proxy: TcpProxy) -> None:
    """For whoever reads it at 09:31, a TimeoutError without a word is no reason."""
    hold_answers(proxy, b"session_lifecycle.acquire")
    with anyio.fail_after(15), pytest.raises(JournalUnavailable, match="the server has not answered in time"):
        await PostgresJournal(through(proxy, database), "desk/XNYS", TTL).open("XNYS")


@pytest.mark.usefixtures("books")
async def test_a_block_that_fails_while_cut_off_raises_its_own_error(database: Database, proxy: TcpProxy) -> None:
    """ROLLBACK is waited for as long as the lease lasts at most, and is made by closing the connection."""
    async with opened(through(proxy, database)) as one:
        await one.append([adopted()])
        with anyio.fail_after(15), pytest.raises(ZeroDivisionError):
            async with one.transaction(FIRST, lambda: done(FIRST, 2)) as tx:
                assert tx is not None
                await tx.execute("INSERT INTO books VALUES (%s)", (FIRST,))
                proxy.partition()
                raise ZeroDivisionError
        proxy.heal()
        await led(one)
        assert await one.find_done(FIRST) is None
    assert booked(database) == 0


@pytest.mark.usefixtures("books")
async def test_a_transaction_whose_begin_is_not_answered_is_refused(database: Database, proxy: TcpProxy) -> None:
    """The block is not entered, and the error says why."""
    async with opened(through(proxy, database)) as one:
        await one.append([adopted()])
        hold_answers(proxy, b"BEGIN")
        with anyio.fail_after(15), pytest.raises(JournalWriteFailed, match="the server has not answered in time"):
            async with one.transaction(FIRST, lambda: done(FIRST, 2)):
                pytest.fail("the block was entered")
        proxy.cut_before = None
        proxy.heal()
        await led(one)
        assert not await roll(one, 2)
    assert booked(database) == 1


async def led_or_news(one: PostgresJournal) -> tuple[Record, ...]:
    """Return the next records of the leader elsewhere."""
    with anyio.fail_after(5):
        found = await one.follow()
    assert not one.leads
    return found


@only_asyncio
@pytest.mark.usefixtures("books")
async def test_a_process_that_stops_between_done_and_commit_keeps_nobody_out(database: Database) -> None:
    """The server ends its transaction with the lease, and the next one leads at once."""
    old = PostgresJournal(database.conninfo(), "desk/XNYS", TTL)
    await old.open("XNYS")
    await old.append([adopted()])
    statement, parameters = old.done_statement(done(FIRST, 2))
    with psycopg.connect(database.conninfo(), cursor_factory=psycopg.RawCursor) as stopped:
        stopped.execute("INSERT INTO books VALUES ($1)", (FIRST,))
        stopped.execute(statement.encode(), parameters)
        async with opened(database.conninfo(), LONG) as new:
            with waits(new) as waited:
                await led(new)
            assert sum(waited) < TTL.total_seconds() + 0.3
            assert await new.find_done(FIRST) is None
            with pytest.raises(psycopg.Error):
                stopped.execute("SELECT 1")
            assert not await roll(new, 2)
    await old.close()
    assert booked(database) == 1


async def test_a_standby_opens_while_a_roll_stands_between_done_and_commit(database: Database) -> None:
    """It waits for nothing: another leads, and until the commit nothing of the roll is to be seen."""
    leader = PostgresJournal(database.conninfo(), "desk/XNYS", LONG)
    await leader.open("XNYS")
    await leader.append([adopted()])
    statement, parameters = leader.done_statement(done(FIRST, 2))
    with psycopg.connect(database.conninfo(), cursor_factory=psycopg.RawCursor) as rolling:
        rolling.execute(statement.encode(), parameters)
        async with opened(database.conninfo(), LONG) as standby:
            assert (standby.leads, await standby.find_done(FIRST)) == (False, None)
            rolling.commit()
            assert await standby.find_done(FIRST) is not None
    await leader.close()


@contextmanager
def replica(order: Order) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a replica in a process of its own."""
    process = subprocess.Popen([sys.executable, "-m", "tests.labs.replicas.replica", order.as_json()], cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def told(log: Path, what: str, count: int = 1) -> list[dict[str, Any]]:
    """Wait until a replica's log has `what`, so many times."""
    with anyio.fail_after(30):
        while True:
            text = log.read_text() if log.exists() else ""
            found = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
            if len(found := [line for line in found if line["what"] == what]) >= count:
                return found
            await anyio.sleep(0.01)


@only_asyncio
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no such signal")
@pytest.mark.parametrize("kind", ["SIGKILL", "SIGSTOP"])
async def test_a_leader_that_is_killed_or_stopped_is_replaced(database: Database, tmp_path: Path, kind: str) -> None:
    """The next one leads within ttl + 0.2 s; a stopped one, when it is woken, commits nothing and follows."""
    database.execute("CREATE TABLE books (session date, pid int)")
    log = tmp_path / "log"
    order = Order(database.conninfo(), str(log), "desk/XNYS", ttl=1.0, pause=0.05)
    with replica(order) as process:
        await told(log, "announced", 3)
        standby = PostgresJournal(database.conninfo(), "desk/XNYS", TTL)
        with pytest.raises(Exception, match="LAB"):
            await standby.open("XNYS")
        await standby.open("LAB")
        async with anyio.create_task_group() as tasks:
            process.send_signal(getattr(signal, kind))
            with waits(standby) as waited:
                await led(standby)
            assert sum(waited) < TTL.total_seconds() + 0.2
            tasks.start_soon(kept, standby)
            before = booked(database)
            done_before = len(database.execute("SELECT FROM session_lifecycle.record WHERE entry = 'done'"))
            assert before == done_before
            if kind == "SIGSTOP":
                process.send_signal(signal.SIGCONT)
                await told(log, "lost")
                assert booked(database) == before
                await standby.close()
                await told(log, "leads", 2)
            await standby.close()


# ---- cancelling ----


@contextmanager
def cancelling(moment: int, cancel: Callable[[], object]) -> Iterator[list[int]]:
    """Cancel what this task does in a wait for the server; the value is empty where there were fewer moments.

    Each wait has two: as it begins, with what was sent on its way, and as it ends, with the answer there.
    """
    mine, made, moments = anyio.get_current_task().id, list[int](), itertools.count()

    def pass_moment() -> None:
        if anyio.get_current_task().id == mine and next(moments) == moment:
            made.append(moment)
            cancel()

    def counted(wait: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        async def waited(socket: Any) -> None:
            pass_moment()
            await wait(socket)
            pass_moment()

        return waited

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anyio, "wait_readable", counted(anyio.wait_readable))
        patch.setattr(anyio, "wait_writable", counted(anyio.wait_writable))
        yield made


@pytest.mark.usefixtures("books")
async def test_what_is_cancelled_in_mid_statement_is_in_doubt_not_failed(database: Database) -> None:
    """Repeated after a cancellation at any moment, each append is there once, and each roll is booked once."""
    async with opened(database.conninfo(), LONG) as one:
        await one.append([adopted()])
        cancelled = 0
        for number in itertools.count():
            seq = 2 + 2 * number
            day = FIRST + number * DAY
            with anyio.CancelScope() as scope, cancelling(number % 4, scope.cancel):
                await one.append([failed(seq)])
            cancelled += scope.cancelled_caught
            await one.append([failed(seq)])
            with anyio.CancelScope() as scope, cancelling(number, scope.cancel) as made:
                await roll(one, seq + 1, day)
            cancelled += scope.cancelled_caught
            await roll(one, seq + 1, day)
            if not made:
                break
        assert cancelled > 5
        assert one.leads
    assert seqs(database) == list(range(1, seq + 2))
    assert booked(database) == number + 1


@only_asyncio
@pytest.mark.usefixtures("books")
async def test_a_native_cancellation_breaks_nothing_either(database: Database) -> None:
    """`task.cancel()` goes through the shields of anyio: of appends, of rolls, of keep and of close."""

    async def cancelled(work: Callable[[], Awaitable[object]], moment: int) -> bool:
        async def work_on() -> None:
            task = asyncio.current_task()
            assert task is not None
            with cancelling(moment, task.cancel) as made:
                try:
                    await work()
                finally:
                    moments.extend(made)

        moments = list[int]()
        await asyncio.wait([asyncio.ensure_future(work_on())])
        return bool(moments)

    one = PostgresJournal(database.conninfo(), "desk/XNYS", 2 * TTL)
    await one.open("XNYS")
    await one.append([adopted()])
    for number in itertools.count():
        seq, day = 2 + 2 * number, FIRST + number * DAY
        await cancelled(lambda seq=seq: one.append([failed(seq)]), number % 4)
        await one.append([failed(seq)])
        more = await cancelled(lambda seq=seq, day=day: roll(one, seq + 1, day), number)
        keeping = asyncio.ensure_future(kept(one))
        await asyncio.sleep(0.0006 * number)
        keeping.cancel()
        await asyncio.wait([keeping])
        await roll(one, seq + 1, day)
        if not more:
            break
    assert number > 5
    assert seqs(database) == list(range(1, seq + 2))
    assert booked(database) == number + 1
    assert await cancelled(one.close, 0)
    await one.close()
    async with opened(database.conninfo(), LONG) as again:
        await led(again)


# ---- servers and poolers of other kinds ----


async def test_a_server_without_space_refuses_for_certain(database: Database) -> None:
    """PostgreSQL rolls the statement back where it cannot extend a file (53100), and answers."""
    async with opened(database.conninfo(), LONG) as one:
        await one.append([adopted()])
        database.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
            "$$BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = '53100'; END$$; "
            "CREATE TRIGGER full_disk BEFORE INSERT ON session_lifecycle.record EXECUTE FUNCTION full_disk()"
        )
        try:
            with pytest.raises(JournalWriteFailed, match="No space") as caught:
                await one.append([failed(2)])
            assert not caught.value.uncertain
        finally:
            database.execute("DROP TRIGGER full_disk ON session_lifecycle.record")
        await one.append([failed(2)])
    assert seqs(database) == [1, 2]


async def test_after_a_week_without_replicas_the_first_one_leads_at_once(database: Database) -> None:
    async with opened(database.conninfo(), LONG) as one:
        await one.append([adopted(), failed(2)])
    database.execute("UPDATE session_lifecycle.lease SET expires_at = clock_timestamp() - interval '7 days'")
    one = PostgresJournal(database.conninfo(), "desk/XNYS", LONG)
    assert await one.open("XNYS") == (adopted(), failed(2))
    assert one.leads
    await one.close()


FORK = """
import os, sys
from datetime import timedelta
import anyio
from session_lifecycle import PostgresJournal
from tests.helpers.journal_days import adopted, kept

async def main():
    one = PostgresJournal(sys.argv[1], "desk/XNYS", timedelta(seconds=8))
    await one.open("XNYS")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(kept, one)
        child = os.fork()
        if child == 0:
            os._exit(0 if not one.leads else 1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert one.leads
        await one.append([adopted()])
        tasks.cancel_scope.cancel()
    await one.close()

anyio.run(main)
"""
"""In a process of its own: Python warns of a fork beside a thread, such as another test may have left here."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_does_not_lead(database: Database) -> None:
    """It has the parent's sockets, and would write into the parent's conversation."""
    line = [sys.executable, "-W", "error", "-c", FORK, database.conninfo()]
    forked = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (forked.returncode, forked.stderr) == (0, "")
    assert seqs(database) == [1]


@contextmanager
def pooled(database: Database, folder: Path) -> Iterator[str]:
    """Run pgbouncer in transaction mode before a database, and return the conninfo by way of it."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    port, settings = free_port(), folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n* = host=127.0.0.1 port={database.server.port} user=postgres\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\npool_mode = transaction\n"
        f"default_pool_size = 4\nunix_socket_dir =\nlogfile = {folder}/pgbouncer.log\n"
    )
    user = _other_user()
    options: dict[str, Any] = {} if user is None else {"user": user, "extra_groups": []}
    if user is not None:
        for each in (folder, settings):
            shutil.chown(each, user)
        for each in (folder, *folder.parents):
            if each.stat().st_uid == os.getuid() and each != Path("/"):
                each.chmod(each.stat().st_mode | 0o011)
    process = subprocess.Popen([program, "-q", str(settings)], cwd="/", stderr=subprocess.DEVNULL, **options)
    try:
        conninfo = database.conninfo(tcp=True, user="postgres")
        yield make_conninfo(conninfo, port=port)
    finally:
        process.kill()
        process.wait()


async def test_an_append_in_a_session_that_has_not_prepared_it(database: Database) -> None:
    """A pooler that gives a transaction another session costs no record: the append is sent again, as it stands."""
    async with opened(database.conninfo(), LONG) as one:
        await one.append([adopted()])
        ((name,),) = await prepared(one)
        assert name.startswith("session_lifecycle.append ")
        await one.append([failed(2)])
        assert await prepared(one) == [(name,)]
        await executed(one, "DEALLOCATE ALL")
        for seq in (3, 4):
            await one.append([failed(seq)])
        assert await prepared(one) == []
    assert seqs(database) == [1, 2, 3, 4]


async def executed(one: PostgresJournal, statement: str) -> list[tuple[str, ...]]:
    """Execute a statement in the session in which a journal appends."""
    assert one._link is not None
    async with one._link.writer.use(10) as connection:
        cursor = await connection.execute(statement.encode())
        return [] if cursor.description is None else await cursor.fetchall()


async def prepared(one: PostgresJournal) -> list[tuple[str, ...]]:
    return await executed(one, "SELECT name FROM pg_prepared_statements")


@only_asyncio
@pytest.mark.usefixtures("books")
async def test_it_works_behind_pgbouncer_in_transaction_mode(database: Database, tmp_path: Path) -> None:
    """Without notifications, which such a pooler does not deliver: then a standby polls each second."""
    with pooled(database, tmp_path) as conninfo:
        with anyio.fail_after(10):
            while True:
                try:
                    await PostgresJournal.create_tables(conninfo)
                    break
                except JournalUnavailable:  # the pooler is starting
                    await anyio.sleep(0.05)
        ttl = timedelta(seconds=3)
        async with opened(conninfo, ttl) as leader, opened(conninfo, ttl) as standby:
            await leader.append([adopted()])
            for number in range(10):
                assert not await roll(leader, 2 * number + 2, FIRST + number * DAY)
                await leader.append([failed(2 * number + 3)])
            await database.renewed()
            assert leader.leads
            await leader.close()
            found = await led(standby)
            assert len(found) == 21
            assert not await roll(standby, 22, FIRST + 10 * DAY)
    assert booked(database) == 11


@only_asyncio
@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_synchronous_standby_that_is_promoted_has_every_record(postgres_server: Server) -> None:
    """The journal finds the promoted server by itself, by `target_session_attrs`, and appends there."""
    with running_server(wal_level="replica", max_wal_senders="4", hot_standby="on") as primary:
        database = Database(primary)
        database.execute("CREATE TABLE books (session date)")
        with standby_of(primary) as standby:
            primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            primary.execute("SELECT pg_reload_conf()")
            conninfo = (
                f"host={primary.folder},{standby.folder} port={primary.port},{standby.port} user=postgres "
                f"dbname={database.name} target_session_attrs=read-write"
            )
            async with opened(conninfo, LONG) as one:
                await one.append([adopted()])
                for number in range(20):
                    assert not await roll(one, 2 * number + 2, FIRST + number * DAY)
                    await one.append([failed(2 * number + 3)])
                primary.crash()
                await anyio.to_thread.run_sync(lambda: standby.run("pg_ctl", "promote", "-D", str(standby.data), "-w"))
                standby.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
                standby.execute("SELECT pg_reload_conf()")
                await led(one)
                with anyio.fail_after(20):
                    await one.append([failed(42)])
                rows = standby.execute("SELECT seq FROM session_lifecycle.record ORDER BY seq", database.name)
                assert rows == [(seq,) for seq in range(1, 43)]
                assert standby.execute("SELECT count(*) FROM books", database.name) == [(20,)]


@contextmanager
def standby_of(primary: Server) -> Iterator[Server]:
    """Run a server that replicates another one, and answers read-only statements until it is promoted."""
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as name:
        standby = Server(primary.programs, Path(name))
        if standby.user is not None:
            shutil.chown(standby.folder, standby.user)
        source = ("-h", str(primary.folder), "-p", str(primary.port), "-U", "postgres")
        standby.run("pg_basebackup", *source, "-D", str(standby.data), "-R", "-X", "stream", "--no-sync", "-c", "fast")
        standby.start()
        try:
            yield standby
        finally:
            standby.stop()
