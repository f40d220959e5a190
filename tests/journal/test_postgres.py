"""A journal in PostgreSQL, on a real server: what it holds, who leads, and what a roll's transaction commits."""

import select
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.lowlevel
import psycopg
import pytest
from msgspec.structs import replace
from psycopg.pq.abc import PGconn

from session_lifecycle import (
    ConfigurationError,
    Entry,
    Journal,
    JournalLocked,
    JournalMismatch,
    JournalUnavailable,
    JournalWriteFailed,
    PostgresJournal,
    Record,
)
from session_lifecycle._journal import postgres_connection
from session_lifecycle._journal.base import SharedJournal, TransactionalJournal
from session_lifecycle._journal.errors import NotLeadingError
from session_lifecycle._journal.postgres_connection import connect, shown
from session_lifecycle._journal.postgres_reading import read_journal
from tests.conftest import BACKENDS, Backend
from tests.helpers.journal_days import AT, DAY, FIRST, adopted, done, failed, intent, kept
from tests.helpers.ledger import napping
from tests.helpers.postgres import Database, Server, waits
from tests.helpers.postgres_journal import (
    SHORT,
    TTL,
    journal,
    led,
    opened,
    stored,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(*each.values, id=each.id, marks=pytest.mark.long if number else ())
        for number, each in enumerate(BACKENDS)
    ],
)
def anyio_backend(request: pytest.FixtureRequest) -> Backend:
    """Run on asyncio, and in the long run on each of the event loops."""
    backend: Backend = request.param
    return backend


# ---- what it holds ----


async def test_records_come_back_as_they_were(database: Database) -> None:
    """Every field, and any characters: NUL and half a surrogate pair, which no text of PostgreSQL can hold."""
    written = (
        adopted(),
        intent(FIRST, 3),
        Record(Entry.SKIPPED, FIRST, AT, FIRST + 3 * DAY, (FIRST + DAY, FIRST + 2 * DAY), note="by recover()", seq=4),
        failed(9, note="naïve ☃ 😀 \\x00 \\\\ \x00 \udcff\n\t", subject="a\\"),
    )
    async with opened(database) as one:
        await one.append(written[:1])
        await one.append(written[1:])
    async with opened(database) as again:
        await again.close()
        assert await again.open("XNYS") == written
        assert all(record.at.utcoffset() == timedelta(0) for record in written)


async def test_it_is_every_kind_of_journal(database: Database) -> None:
    """The runtime finds out by the protocols what a journal can do."""
    one = journal(database)
    assert isinstance(one, Journal)
    assert isinstance(one, SharedJournal)
    assert isinstance(one, TransactionalJournal)


async def test_an_append_that_is_repeated_is_harmless(database: Database) -> None:
    """What is there at its seq counts as appended; the rest of the batch is added."""
    async with opened(database) as one:
        await one.append([adopted(), failed(2)])
        await one.append([adopted(), failed(2)])
        await one.append([failed(2), failed(3, note="again")])
        await one.append([])
    assert [seq for seq, _, _ in stored(database)] == [1, 2, 3]


async def test_another_record_at_a_seq_is_refused(database: Database) -> None:
    """A count that two hosts have used is an error, and nothing of the batch is written."""
    async with opened(database) as one:
        await one.append([adopted(), failed(3)])
        for wrong in ([failed(3, note="another")], [failed(2)], [failed(3, subject="a feed"), failed(4)]):
            with pytest.raises(JournalWriteFailed, match="another record") as caught:
                await one.append(wrong)
            assert not caught.value.uncertain
        await one.append([failed(4)])
    assert [seq for seq, _, _ in stored(database)] == [1, 3, 4]


async def test_a_session_is_done_once_whatever_a_client_writes(database: Database) -> None:
    """The index refuses a second *done*, and the batch with it."""
    async with opened(database) as one:
        await one.append([adopted(), done(FIRST, 2)])
        with pytest.raises(JournalWriteFailed, match="record_done_once"):
            await one.append([failed(3), done(FIRST, 4)])
    assert [seq for seq, _, _ in stored(database)] == [1, 2]


async def test_journals_of_one_database_are_apart_and_share_two_connections(database: Database) -> None:
    """Thirty members of a group have one writer and one keeper, which renews all of their leases in one statement."""
    journals = [journal(database, f"desk/{number}", ttl=timedelta(seconds=3)) for number in range(30)]
    async with anyio.create_task_group() as tasks:
        for number, one in enumerate(journals):
            await one.open("XNYS")
            tasks.start_soon(kept, one)
            await one.append([adopted(), failed(2, note=str(number))])
        await database.renewed()
        assert all(one.leads for one in journals)
        ((connections, terms),) = database.execute(
            "SELECT (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'session_lifecycle'), "
            "(SELECT max(term) FROM session_lifecycle.journal)"
        )
        assert (connections, terms) == (2, 1)
        tasks.cancel_scope.cancel()
    await journals[0].close()
    assert [record.note for record in await journals[0].open("XNYS")] == ["", "0"]
    for one in journals:
        await one.close()
    with anyio.fail_after(30):
        while database.execute("SELECT FROM pg_stat_activity WHERE application_name = 'session_lifecycle'"):
            await anyio.sleep(0.01)


# ---- opening ----


async def test_two_calendars_under_one_name_are_refused(database: Database) -> None:
    async with opened(database):
        with pytest.raises(JournalMismatch) as caught:
            await journal(database).open("XLON")
        assert (caught.value.found, caught.value.wanted) == ("XNYS", "XLON")


async def test_a_layout_of_another_version_is_refused(database: Database) -> None:
    async with opened(database):
        pass
    database.execute("UPDATE session_lifecycle.journal SET version = 2")
    with pytest.raises(JournalMismatch, match="the version of the journal is 2"):
        await journal(database).open("XNYS")


async def test_one_object_is_open_once(database: Database) -> None:
    async with opened(database) as one:
        with pytest.raises(JournalLocked):
            await one.open("XNYS")
        await one.append([adopted()])
        await one.close()
        await one.close()
        with pytest.raises(JournalWriteFailed, match="not open"):
            await one.append([failed(2)])
        with pytest.raises(JournalUnavailable, match="not open"):
            await one.find_done(FIRST)
        assert not one.leads


async def test_without_tables_it_says_how_to_create_them(postgres_server: Server) -> None:
    """And creating them twice, or by two replicas at once, changes nothing that is there."""
    name = f"bare_{time.monotonic_ns()}"
    postgres_server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    conninfo = postgres_server.conninfo(name)
    one = PostgresJournal(conninfo, "desk/XNYS")
    with pytest.raises(JournalUnavailable, match="create_tables"):
        await one.open("XNYS")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(PostgresJournal.create_tables, conninfo)
        tasks.start_soon(PostgresJournal.create_tables, conninfo)
    await one.open("XNYS")
    await one.append([adopted()])
    await PostgresJournal.create_tables(conninfo)
    await one.append([failed(2)])
    await one.close()
    postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_roll_says_how_to_bring_the_tables_up_to_date(database: Database) -> None:
    """Of an earlier version they may open, and lack what a roll calls."""
    async with opened(database) as one:
        await one.append([adopted()])
        database.execute("ALTER FUNCTION session_lifecycle.complete RENAME TO complete_earlier")
        try:
            with pytest.raises(JournalWriteFailed, match="create_tables"):
                async with one.transaction(FIRST, lambda: done(FIRST, 2)):
                    pass
        finally:
            database.execute("ALTER FUNCTION session_lifecycle.complete_earlier RENAME TO complete")


async def test_a_server_that_cannot_be_used_is_refused_with_its_reason(postgres_server: Server) -> None:
    """No such port, database, or name; a database whose encoding cannot hold every note."""
    for conninfo, reason in [
        ("host=127.0.0.1 port=1 user=x", "refused"),
        (postgres_server.conninfo("nowhere"), "does not exist"),
        ("host=name.invalid user=x", "resolved"),
    ]:
        with pytest.raises(JournalUnavailable, match=reason):
            await PostgresJournal(conninfo, "desk").open("XNYS")
        with pytest.raises(JournalUnavailable, match=reason):
            await PostgresJournal.create_tables(conninfo)
    name = f"latin_{time.monotonic_ns()}"
    postgres_server.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1'")
    with pytest.raises(JournalUnavailable, match="LATIN1"):
        await PostgresJournal.create_tables(postgres_server.conninfo(name))
    postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_name_is_resolved_and_several_hosts_are_tried(database: Database) -> None:
    """The first address that takes the connection is used, whether it is given by name, number or socket."""
    port = database.server.port
    for host in ("localhost", "name.invalid,localhost", f"{database.server.folder}", "127.0.0.1"):
        one = PostgresJournal(f"host={host} port={port} user=postgres dbname={database.name}", host[-20:])
        await one.open("XNYS")
        assert one.leads
        await one.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_host_that_does_not_answer_leaves_time_for_the_next_one(
    database: Database, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """A machine that has vanished does not even refuse: it has a share of the time, by name and by address."""
    shares, poll = list[float](), postgres_connection._poll

    async def silent(raw: PGconn) -> None:
        if raw.port == b"1":
            shares.append(anyio.current_effective_deadline() - anyio.current_time())
            raise TimeoutError  # as if they had passed
        await poll(raw)

    monkeypatch.setattr(postgres_connection, "_poll", silent)
    servers = f"host={host},{host} port=1,{database.server.port} user=postgres dbname={database.name}"
    connection = await connect(servers, 60)
    connection.abandon()
    assert 0 < sum(shares) <= 30


async def test_lists_of_hosts_and_ports_that_do_not_match_are_refused(database: Database) -> None:
    """As libpq refuses them, in place of leaving a host out."""
    servers = f"host=localhost,localhost,localhost port=1,{database.server.port} dbname={database.name}"
    with pytest.raises(JournalUnavailable, match="could not match 2 port numbers to 3 hosts"):
        await PostgresJournal(servers, "desk").open("XNYS")


async def test_a_service_is_before_the_environment_as_in_libpq(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages name the server that is meant, also where the conninfo does not."""
    server, services = database.server, tmp_path / "services"
    services.write_text(
        f"[books]\nhost={server.folder}\nport={server.port}\ndbname={database.name}\nuser=postgres\n", encoding="utf-8"
    )
    for variable, value in (("PGSERVICEFILE", f"{services}"), ("PGHOST", "name.invalid"), ("PGDATABASE", "other")):
        monkeypatch.setenv(variable, value)
    assert shown("") == "postgresql://name.invalid/other"
    one = PostgresJournal("service=books", "desk")
    assert "service=books" in repr(one)
    await one.open("XNYS")
    assert one.leads
    await one.close()


def test_arguments_are_checked() -> None:
    for arguments, field in [
        (("host=", ""), "name"),
        (("host=", "a\nb"), "name"),
        (("host=", "x" * 201), "name"),
        (("this is no conninfo", "desk"), "conninfo"),
        ((5432, "desk"), "conninfo"),
        (("host=", "desk", 10), "ttl"),
        (("host=", "desk", timedelta(0)), "ttl"),
        (("host=", "desk", timedelta(days=2)), "ttl"),
    ]:
        with pytest.raises(ConfigurationError) as caught:
            PostgresJournal(*arguments)
        assert caught.value.field == field


def test_no_message_repeats_a_password() -> None:
    one = PostgresJournal("postgresql://me:secret@db.example:5433/books", "desk/XNYS")
    assert repr(one) == "PostgresJournal('postgresql://db.example:5433/books', 'desk/XNYS')"
    assert shown("dbname=books password=secret") == "postgresql://local/books"
    for conninfo in ("password=secret nonsense", "dbname=postgresql://me:secret@db.example/books"):
        with pytest.raises(ConfigurationError) as caught:
            PostgresJournal(conninfo, "desk")
        assert "secret" not in str(caught.value)


# ---- who leads ----


async def test_a_standby_has_the_records_and_may_not_write(database: Database) -> None:
    """`open` does not wait; the standby follows in order, and is refused what only the leader may do."""
    async with opened(database) as leader:
        await leader.append([adopted()])
        async with opened(database) as standby:
            assert (leader.leads, standby.leads) == (True, False)
            assert await standby.keep() == "this replica has not led yet"
            with pytest.raises(NotLeadingError):
                await standby.append([failed(2)])
            with pytest.raises(NotLeadingError):
                async with standby.transaction(FIRST, lambda: done(FIRST, 2)):
                    pytest.fail("the block was entered")
            with pytest.raises(NotLeadingError):
                standby.done_statement(done(FIRST, 2))
            await leader.append([failed(2), failed(3)])
            with anyio.fail_after(30):
                assert await standby.follow() == (failed(2), failed(3))
                assert standby.term == leader.term == 1
                with waits(standby) as waited:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(leader.append, [failed(4)])
                        assert await standby.follow() == (failed(4),)
                assert max(waited, default=0) < 0.9  # by the notification, not by polling


async def test_a_leader_that_leaves_is_followed_at_once(database: Database) -> None:
    """The standby leads within 100 ms, unless the machine is busy; the ttl is much longer."""
    took = 1.0
    for attempt in range(5):
        if took >= 0.1:
            took = await handed_over(database, f"desk/{attempt}")
    assert took < 0.1


async def handed_over(database: Database, name: str) -> float:
    """Return the seconds until a standby leads, under a later term, with every record."""
    long = timedelta(seconds=30)
    async with opened(database, name, long) as leader, opened(database, name, long) as standby:
        await leader.append([adopted()])
        found: list[Record] = []

        async def follow() -> None:
            found.extend(await led(standby))

        async with napping() as naps:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(follow)
                await anyio.sleep(0.2)
                naps.clear()
                await leader.close()
            took = sum(naps)
        assert (found, standby.term) == ([adopted()], 2)
        await standby.append([failed(2)])
        assert await kept(leader) == "the journal was closed"
    assert stored(database)[-2:] == [(1, "adopted", 1), (2, "failed", 2)]
    return took


async def test_a_leader_that_is_not_renewed_stops_by_itself_first(database: Database) -> None:
    """The lease ends here before it ends on the server, and the standby leads within ttl + 0.2 s."""
    leader = journal(database, ttl=SHORT)
    began = time.monotonic()
    await leader.open("XNYS")
    async with opened(database, ttl=SHORT) as standby:
        with waits(standby) as waited:
            await led(standby)
        assert not leader.leads
        assert time.monotonic() - began >= SHORT.total_seconds()
        assert sum(waited) <= SHORT.total_seconds() + 0.2
        with pytest.raises(NotLeadingError):
            await leader.append([adopted()])
        assert "ran out" in await kept(leader)
    await leader.close()
    assert stored(database) == []


async def test_the_term_fences_not_the_clock(database: Database) -> None:
    """A leader whose own clock says that it leads writes nothing once another term has begun."""
    async with opened(database) as old:
        await old.append([adopted()])
        database.execute("UPDATE session_lifecycle.lease SET expires_at = 'epoch'")
        async with opened(database) as new:
            assert new.leads
            assert old.leads  # it has not been refused yet
            with pytest.raises(NotLeadingError):
                await old.append([failed(2)])
            assert not old.leads
            assert await kept(old) == "another replica leads"
            await new.append([failed(2, note="by the new one")])


async def test_one_term_that_a_failover_gave_out_twice_has_one_writer(database: Database) -> None:
    """Where the database has lost the newest term, the holder tells the two leaders apart."""
    async with opened(database) as old:
        await old.append([adopted()])
        database.execute("UPDATE session_lifecycle.journal SET holder = 'another'")
        with pytest.raises(NotLeadingError):
            await old.append([failed(2)])


async def test_a_renewal_that_is_refused_ends_the_lead(database: Database) -> None:
    """`keep` says so as soon as it hears of it, a third of the ttl later."""
    async with opened(database, ttl=SHORT) as old:
        database.execute("UPDATE session_lifecycle.journal SET term = 7, holder = 'another'")
        with anyio.fail_after(30):
            assert await kept(old) == "another replica leads"


async def test_a_refusal_for_which_a_lead_is_lost_or_not_taken_is_told(database: Database) -> None:
    """Else a right that was taken away, or a server that became read-only, looks like a network that is cut."""
    role = f"plain_{time.monotonic_ns()}"
    database.execute(f"CREATE ROLE {role} LOGIN")
    grants(database, role)
    one = PostgresJournal(database.conninfo(user=role), "desk/XNYS", SHORT)
    await one.open("XNYS")
    database.execute(f"REVOKE USAGE ON SCHEMA session_lifecycle FROM {role}")
    with anyio.fail_after(30):
        assert "permission denied" in await kept(one)
        with pytest.raises(JournalUnavailable, match="permission denied"):
            await one.follow()
    await one.close()
    database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_a_server_clock_that_was_set_back_keeps_no_lease_alive(database: Database) -> None:
    """A lease that would last a day longer is cut to its ttl."""
    leader = journal(database, ttl=SHORT)
    await leader.open("XNYS")
    database.execute("UPDATE session_lifecycle.lease SET expires_at = expires_at + interval '1 day'")
    async with opened(database, ttl=SHORT) as standby:
        with anyio.fail_after(30):
            await led(standby)
    await leader.close()


async def test_the_server_s_clock_is_compared(database: Database) -> None:
    """One machine, so the two clocks agree to within a round trip."""
    began = time.monotonic()
    async with opened(database) as one:
        took = time.monotonic() - began
        assert one.skew is not None
        assert abs(one.skew) < timedelta(seconds=took)
    assert one.skew is None


# ---- servers that refuse ----


async def test_a_server_that_became_read_only_refuses_and_recovers(database: Database) -> None:
    """The record is not written, and that is certain; once the server takes it, it is."""
    async with opened(database) as one:
        await one.append([adopted()])
        server = database.server
        server.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        try:
            server.execute("SELECT pg_reload_conf()")
            with pytest.raises(JournalWriteFailed, match="read-only") as caught, anyio.fail_after(30):
                for seq in range(2, 1000):
                    await one.append([failed(seq)])
        finally:
            may_write = server.conninfo("postgres", options="-c default_transaction_read_only=off")
            with psycopg.connect(may_write, autocommit=True) as connection:
                connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
                connection.execute("SELECT pg_reload_conf()")
        assert not caught.value.uncertain
        written = len(stored(database))
        with anyio.fail_after(30):
            while not one.leads:
                await one.follow()
            while len(stored(database)) == written:
                with suppress(JournalWriteFailed):  # the server reloads its settings in its own time
                    await one.append([failed(5000)])


async def test_a_role_that_commits_asynchronously_is_made_to_wait(database: Database) -> None:
    """`synchronous_commit = off` of the role would lose what was acknowledged; a stronger setting stays."""
    role = f"hasty_{time.monotonic_ns()}"
    database.execute(f"CREATE ROLE {role} LOGIN")
    grants(database, role)
    for setting, found in [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")]:
        database.execute(f"ALTER ROLE {role} SET synchronous_commit = '{setting}'")
        one = PostgresJournal(database.conninfo(user=role), f"desk/{setting}", TTL)
        await one.open("XNYS")
        await one.append([adopted()])
        async with one.transaction(FIRST, lambda: done(FIRST, 2)) as tx:
            assert tx is not None
            statement, parameters = one.done_statement(done(FIRST, 2))
        with psycopg.connect(database.conninfo(user=role), cursor_factory=psycopg.RawCursor) as other:
            statement, parameters = one.done_statement(done(FIRST + DAY, 3))
            other.execute(statement.encode(), parameters)
            cursor = other.execute("SHOW synchronous_commit")
            assert cursor.fetchone() == (found,)
            limit = "SELECT setting::int FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'"
            (left,) = other.execute(limit.encode()).fetchone() or (0,)
            assert 0 < left <= TTL.total_seconds() * 1000  # of the lease
        await one.close()
    database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_block_that_waits_for_too_long_is_said_to_have(database: Database, *, at_once: bool) -> None:
    """The server ends it, and the error says why, and what to do; a shorter limit than `ttl` stands for it here.

    At once, its last word arrives together with the answer to the last statement: nothing is read before the server
    has closed the connection.
    """
    one = PostgresJournal(database.conninfo(), "desk/XNYS", TTL)
    await one.open("XNYS")
    try:
        await one.append([adopted()])
        with pytest.raises(
            JournalWriteFailed, match=r"idle-in-transaction timeout: the roll's block waited .* Wait before"
        ):
            async with one.transaction(FIRST, lambda: done(FIRST, 2)) as tx:
                assert tx is not None
                hung_up = select.poll()
                hung_up.register(tx.fileno(), select.POLLHUP)
                limit = b"SET LOCAL idle_in_transaction_session_timeout = 20"
                if at_once:
                    tx.pgconn.send_query(limit)
                    tx.pgconn.flush()
                    hung_up.poll()
                    await tx.wait(psycopg.generators.fetch_many(tx.pgconn))
                else:
                    await tx.execute(limit)
                    while not hung_up.poll(0):
                        await anyio.lowlevel.checkpoint()
        assert await one.find_done(FIRST) is None
    finally:
        await one.close()


def grants(database: Database, role: str) -> None:
    """Grant what the guide says that a role needs."""
    database.execute(
        f"GRANT USAGE ON SCHEMA session_lifecycle TO {role}; "
        f"GRANT SELECT ON ALL TABLES IN SCHEMA session_lifecycle TO {role}; "
        f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA session_lifecycle TO {role}"
    )


async def test_a_role_needs_no_more_than_it_is_granted(database: Database) -> None:
    """Without a grant it is refused with the server's words; with them it writes by the functions alone."""
    role = f"plain_{time.monotonic_ns()}"
    database.execute(f"CREATE ROLE {role} LOGIN")
    one = PostgresJournal(database.conninfo(user=role), "desk/XNYS", TTL)
    with pytest.raises(JournalUnavailable, match="permission denied"):
        await one.open("XNYS")
    grants(database, role)
    await one.open("XNYS")
    await one.append([adopted()])
    await one.close()
    with psycopg.connect(database.conninfo(user=role)) as other, pytest.raises(psycopg.errors.InsufficientPrivilege):
        other.execute("UPDATE session_lifecycle.journal SET term = 9")
    database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
@pytest.mark.parametrize("set_by", ["database", "environment", "conninfo"])
async def test_names_and_notes_are_in_any_script(
    database: Database, monkeypatch: pytest.MonkeyPatch, set_by: str, encoding: str
) -> None:
    """Whatever encoding a client would have by default."""
    conninfo = database.conninfo()
    if set_by == "database":
        database.execute(f"ALTER DATABASE {database.name} SET client_encoding = '{encoding}'")
    elif set_by == "environment":
        monkeypatch.setenv("PGCLIENTENCODING", encoding)
    else:
        conninfo = database.conninfo(client_encoding=encoding)
    one = PostgresJournal(conninfo, "机/東京 é")
    await one.open("XTKS")
    written = replace(failed(2), note="→ 東京 é")
    await one.append([adopted(), written])
    await one.close()
    assert (await read_journal(conninfo)).records == (adopted(), written)


async def test_sessions_with_settings_of_their_own_change_nothing(database: Database) -> None:
    """Another time zone, date style and isolation level: the records are the same."""
    for setting in (
        "timezone = 'Asia/Kathmandu'",
        "datestyle = 'German'",
        "default_transaction_isolation = serializable",
    ):
        database.execute(f"ALTER DATABASE {database.name} SET {setting}")
    written = (adopted(), intent(FIRST, 2), done(FIRST, 3))
    async with opened(database) as one:
        await one.append(written)
        async with one.transaction(FIRST + DAY, lambda: done(FIRST + DAY, 4)) as tx:
            assert tx is not None
            await tx.execute("CREATE TABLE one (n int)")
        await one.close()
        assert await one.open("XNYS") == (*written, done(FIRST + DAY, 4))
