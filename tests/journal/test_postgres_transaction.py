"""The roll's own transaction on a PostgresJournal: the books and *done* commit together or not at all."""

from contextlib import suppress
from datetime import timedelta

import anyio
import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.string import StrDumperVarchar

from session_lifecycle import (
    JournalWriteFailed,
)
from session_lifecycle._journal.errors import NotLeadingError
from session_lifecycle.testing.journals import check_journal
from tests.conftest import BACKENDS, PLAIN, TRIO, Backend
from tests.helpers.journal_days import DAY, FIRST, adopted, done, failed, halted, intent
from tests.helpers.postgres import Database
from tests.helpers.postgres_journal import (
    BOOKS,
    booked,
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


# ---- the roll's own transaction ----


async def test_the_books_and_done_commit_together(database: Database) -> None:
    database.execute(BOOKS)
    async with opened(database) as one:
        await one.append([adopted(), intent(FIRST, 2)])
        assert await one.find_done(FIRST) is None
        async with one.transaction(FIRST, lambda: done(FIRST, 4)) as tx:
            assert tx is not None
            await tx.execute("INSERT INTO books VALUES (%s)", (FIRST,))
            await one.append([halted(FIRST, 3)])  # a halt in mid-roll waits for nothing
            assert await one.find_done(FIRST) is None
        assert booked(database) == 1
        assert await one.find_done(FIRST) == done(FIRST, 4)
        async with one.transaction(FIRST, lambda: pytest.fail("asked for another done")) as tx:
            assert tx is None
        await one.append([done(FIRST, 4)])  # the host repeats it: it is there
        await one.append([halted(FIRST + DAY, 5)])
    assert [seq for seq, _, _ in stored(database)] == [1, 2, 3, 4, 5]


async def test_a_block_that_raises_writes_nothing(database: Database) -> None:
    database.execute(BOOKS)
    async with opened(database) as one:
        await one.append([adopted()])
        with pytest.raises(ZeroDivisionError):
            async with one.transaction(FIRST, lambda: done(FIRST, 2)) as tx:
                assert tx is not None
                await tx.execute("INSERT INTO books VALUES (%s)", (FIRST,))
                raise ZeroDivisionError
        with pytest.raises(psycopg.errors.UndefinedTable):
            async with one.transaction(FIRST, lambda: done(FIRST, 2)) as tx:
                assert tx is not None
                await tx.execute("INSERT INTO nowhere VALUES (1)")
        with pytest.raises(JournalWriteFailed, match="aborted"):  # an error that the block hid
            async with one.transaction(FIRST, lambda: done(FIRST, 2)) as tx:
                assert tx is not None
                with pytest.raises(psycopg.Error):
                    await tx.execute("INSERT INTO nowhere VALUES (1)")
        assert (booked(database), await one.find_done(FIRST)) == (0, None)
        async with one.transaction(FIRST, lambda: done(FIRST, 2)) as tx:
            assert tx is not None
        assert await one.find_done(FIRST) == done(FIRST, 2)


@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK", "COMMIT; BEGIN"])
async def test_a_block_that_ends_its_transaction_is_refused(database: Database, statement: str) -> None:
    """What it wrote before is its own affair; *done* is not written with half of it."""
    async with opened(database) as one:
        await one.append([adopted()])
        with pytest.raises(JournalWriteFailed, match="COMMIT or ROLLBACK"):
            async with one.transaction(FIRST, lambda: done(FIRST, 2)) as tx:
                assert tx is not None
                await tx.execute(statement)
        with pytest.raises(psycopg.ProgrammingError, match="forbidden"):
            async with one.transaction(FIRST, lambda: done(FIRST, 2)) as tx:
                assert tx is not None
                await tx.commit()
        assert await one.find_done(FIRST) is None


async def test_a_deferred_constraint_refuses_at_commit(database: Database) -> None:
    """Then neither the books nor *done* are there, and that is certain."""
    database.execute("CREATE TABLE books (session date UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    async with opened(database) as one:
        await one.append([adopted()])
        with pytest.raises(JournalWriteFailed, match="unique") as caught:
            async with one.transaction(FIRST, lambda: done(FIRST, 2)) as tx:
                assert tx is not None
                await tx.execute("INSERT INTO books VALUES (%s), (%s)", (FIRST, FIRST))
        assert not caught.value.uncertain
        assert (booked(database), await one.find_done(FIRST)) == (0, None)


async def test_a_roll_of_a_leader_that_is_replaced_commits_nothing(database: Database) -> None:
    """Neither by the transaction nor by the statement for another driver."""
    database.execute(BOOKS)
    async with opened(database) as old:
        await old.append([adopted()])
        statement, parameters = old.done_statement(done(FIRST, 2))
        with pytest.raises(NotLeadingError):
            async with old.transaction(FIRST, lambda: done(FIRST, 2)) as tx:
                assert tx is not None
                await tx.execute("INSERT INTO books VALUES (%s)", (FIRST,))
                database.execute("UPDATE session_lifecycle.lease SET expires_at = 'epoch'")
                new = journal(database)
                await new.open("XNYS")
        await new.close()
        assert booked(database) == 0
        with psycopg.connect(database.conninfo(), cursor_factory=psycopg.RawCursor) as other:
            other.execute("INSERT INTO books VALUES ($1)", (FIRST,))
            with pytest.raises(psycopg.Error) as caught:
                other.execute(statement.encode(), parameters)
            assert caught.value.sqlstate == "SL001"
            other.rollback()
    assert booked(database) == 0


async def test_the_statement_for_another_driver_commits_once(database: Database) -> None:
    """In the application's own transaction, with `$1` placeholders; a second one is refused in the server."""
    database.execute(BOOKS)
    async with opened(database) as one:
        await one.append([adopted()])
        for expected in (None, "SL003"):
            statement, parameters = one.done_statement(done(FIRST, 2))
            with psycopg.connect(database.conninfo(), cursor_factory=psycopg.RawCursor) as other:
                other.execute("INSERT INTO books VALUES ($1)", (FIRST,))
                if expected is None:
                    other.execute(statement.encode(), parameters)
                    continue
                with pytest.raises(psycopg.Error) as caught:
                    other.execute(statement.encode(), parameters)
                assert caught.value.sqlstate == expected
                other.rollback()
        assert (booked(database), await one.find_done(FIRST)) == (1, done(FIRST, 2))
        await one.append([done(FIRST, 2)])
        await one.append([failed(3)])
        statement, parameters = one.done_statement(done(FIRST + DAY, 3))
        with psycopg.connect(database.conninfo(), cursor_factory=psycopg.RawCursor) as other:
            with pytest.raises(psycopg.Error) as caught:
                other.execute(statement.encode(), parameters)
            assert caught.value.sqlstate == "SL004"


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_a_roll_may_outlast_renewals_at_every_isolation_level(database: Database, level: str) -> None:
    """The roll's transaction and a renewal since its snapshot are never refused for one another."""
    database.execute(BOOKS)
    database.execute(f"ALTER DATABASE {database.name} SET default_transaction_isolation = '{level}'")
    async with opened(database, ttl=timedelta(seconds=10)) as one:
        await one.append([adopted()])
        async with one.transaction(FIRST, lambda: done(FIRST, 2)) as tx:
            assert tx is not None
            await tx.execute("INSERT INTO books VALUES (%s)", (FIRST,))
            await one._link.renew(one._lease)
        statement, parameters = one.done_statement(done(FIRST + DAY, 3))
        with psycopg.connect(database.conninfo(), cursor_factory=psycopg.RawCursor) as other:
            other.execute("INSERT INTO books VALUES ($1)", (FIRST + DAY,))
            await one._link.renew(one._lease)
            other.execute(statement.encode(), parameters)
    assert booked(database) == 2


async def test_a_block_may_set_its_level_of_isolation(database: Database) -> None:
    """As the first statement of a transaction, which that of the block is."""
    async with opened(database) as one:
        await one.append([adopted()])
        async with one.transaction(FIRST, lambda: done(FIRST, 2)) as tx:
            assert tx is not None
            await tx.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            level = await (await tx.execute("SHOW transaction_isolation")).fetchone()
    assert (level, len(stored(database))) == (("serializable",), 2)


async def test_a_block_may_have_cursors_and_types_of_its_own(database: Database) -> None:
    """*done* is written whatever the connection is set to for the block's own statements."""
    database.execute(BOOKS)
    async with opened(database) as one:
        await one.append([adopted()])
        async with one.transaction(FIRST, lambda: done(FIRST, 2)) as tx:
            assert tx is not None
            tx.cursor_factory = psycopg.AsyncRawCursor
            tx.row_factory = dict_row
            tx.adapters.register_dumper(str, StrDumperVarchar)
            await tx.execute("INSERT INTO books VALUES ($1)", (FIRST,))
    assert (booked(database), len(stored(database))) == (1, 2)


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_an_opening_is_not_refused_for_what_another_writes(database: Database, level: str) -> None:
    """At such a level a statement may be refused for a write since its snapshot; it is sent again."""
    database.execute(f"ALTER DATABASE {database.name} SET default_transaction_isolation = '{level}'")
    database.execute(
        "CREATE SEQUENCE tries; CREATE FUNCTION refuse_twice() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF nextval('public.tries') < 3 THEN RAISE EXCEPTION 'late' USING ERRCODE = '40001'; END IF; RETURN NEW; "
        "END $$; CREATE TRIGGER refuse BEFORE INSERT ON session_lifecycle.journal "
        "FOR EACH ROW EXECUTE FUNCTION refuse_twice()"
    )
    async with opened(database) as one:
        assert one.leads
    assert database.execute("SELECT last_value FROM tries") == [(3,)]


@pytest.mark.parametrize("anyio_backend", [PLAIN, TRIO], ids=["asyncio", "trio"], indirect=True)
async def test_tasks_of_a_block_take_turns_at_its_connection(database: Database) -> None:
    """On each event loop, as they do at a connection of psycopg's own."""
    database.execute(BOOKS)
    async with opened(database) as one:
        await one.append([adopted()])
        async with one.transaction(FIRST, lambda: done(FIRST, 2)) as tx, anyio.create_task_group() as tasks:
            assert tx is not None
            for _ in range(3):
                tasks.start_soon(tx.execute, "INSERT INTO books VALUES ('2024-01-02')")
    assert (booked(database), len(stored(database))) == (3, 2)


async def test_two_rolls_are_open_at_once_and_hold_up_no_halt(database: Database) -> None:
    """Each has a connection of its own; what another member writes waits for neither."""
    async with opened(database, "desk/1") as one, opened(database, "desk/2") as two:
        await one.append([adopted()])
        await two.append([adopted()])
        async with (
            one.transaction(FIRST, lambda: done(FIRST, 3)) as first,
            two.transaction(FIRST, lambda: done(FIRST, 3)) as second,
        ):
            assert first is not None
            assert second is not None
            await first.execute("SELECT 1")
            await second.execute("SELECT 1")
            with anyio.fail_after(30):
                await one.append([halted(FIRST, 2)])
                await two.append([halted(FIRST, 2)])
        assert await one.find_done(FIRST) == await two.find_done(FIRST) == done(FIRST, 3)


async def test_another_driver_on_the_loop_of_the_roll(database: Database, anyio_backend: Backend) -> None:
    """asyncpg, which knows `$1` alone: the books and *done* commit together, and a second time neither does."""
    if anyio_backend != PLAIN:
        pytest.skip("asyncpg runs on asyncio alone")
    asyncpg = pytest.importorskip("asyncpg")
    database.execute(BOOKS)
    server = database.server
    async with opened(database, ttl=timedelta(seconds=10)) as one:
        await one.append([adopted()])
        other = await asyncpg.connect(
            host="127.0.0.1", port=server.port, user="postgres", database=database.name, ssl=False
        )
        for _ in range(2):
            statement, parameters = one.done_statement(done(FIRST, 2))
            with suppress(asyncpg.PostgresError):
                async with other.transaction():
                    await other.execute("INSERT INTO books VALUES ($1)", FIRST)
                    await other.execute(statement, *parameters)
        await other.close()
        assert (booked(database), await one.find_done(FIRST)) == (1, done(FIRST, 2))


@pytest.mark.parametrize("loop", BACKENDS)
def test_it_keeps_every_rule_of_a_journal(database: Database, loop: Backend) -> None:
    """The check that a journal of one's own is put to, and a hand-over, on each of the event loops."""

    async def checked() -> None:
        await check_journal(lambda: journal(database, "desk/checked"))
        async with opened(database) as leader, opened(database) as standby:
            await leader.append([adopted()])
            await leader.close()
            assert await led(standby) == (adopted(),)

    name, options = loop
    anyio.run(checked, backend=name, backend_options=options)
