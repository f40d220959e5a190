"""The roll's own transaction in SQLite: the application's writes and *done*, or neither."""

import sqlite3
from collections.abc import Callable
from datetime import date
from pathlib import Path

import anyio
import pytest

from session_lifecycle import Entry, JournalWriteFailed, Record, SqliteJournal
from tests.helpers.builders import DAY, MONDAY
from tests.helpers.journals import NOTED, adopted, done, numbered
from tests.helpers.sqlite import history, kept

pytestmark = pytest.mark.anyio

FIRST = numbered([adopted()])[0]
DONE = numbered([done()], 2)[0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database in which the application has a table of its own."""
    path = tmp_path / "books.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE books (day TEXT UNIQUE)")
    connection.commit()
    connection.close()
    return path


def books(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    found = [day for (day,) in connection.execute("SELECT day FROM books ORDER BY day")]
    connection.close()
    return found


async def opened(path: Path) -> SqliteJournal:
    journal = SqliteJournal(path)
    if await journal.open("XNYS") == ():
        await journal.append([FIRST])
    return journal


def entered(connection: sqlite3.Connection | None) -> sqlite3.Connection:
    assert connection is not None
    return connection


def fill(connection: sqlite3.Connection, day: date = MONDAY) -> None:
    connection.execute("INSERT INTO books VALUES (?)", (f"{day}",))


async def test_both_are_committed(path: Path) -> None:
    """The application's writes and *done*, in one transaction; a second attempt is told that it is done."""
    journal = await opened(path)
    async with journal.transaction(MONDAY, lambda: DONE) as connection:
        fill(entered(connection))
        await anyio.sleep(0.01)
        assert books(path) == []
    assert books(path) == [f"{MONDAY}"]
    async with journal.transaction(MONDAY, lambda: pytest.fail("it is done")) as connection:
        assert connection is None
        other = sqlite3.connect(path, timeout=0)  # nothing is locked in such a block
        fill(other, MONDAY + DAY)
        other.commit()
        other.close()
    await journal.close()
    assert await kept(path) == [FIRST, DONE]


async def test_a_block_that_raises_leaves_neither(path: Path) -> None:
    """The transaction is rolled back, and the next attempt finds everything as it was."""
    journal = await opened(path)
    with pytest.raises(KeyError):
        async with journal.transaction(MONDAY, lambda: DONE) as connection:
            fill(entered(connection))
            raise KeyError
    assert books(path) == []
    with pytest.raises(ZeroDivisionError):
        async with journal.transaction(MONDAY, lambda: 1 // 0) as connection:
            fill(entered(connection))
    assert books(path) == []
    assert await journal.find_done(MONDAY) is None
    async with journal.transaction(MONDAY, lambda: DONE) as connection:
        fill(entered(connection))
    assert (books(path), await journal.find_done(MONDAY)) == ([f"{MONDAY}"], DONE)
    await journal.close()


def commits(connection: sqlite3.Connection) -> None:
    connection.commit()


def rolls_back(connection: sqlite3.Connection) -> None:
    connection.rollback()


def runs_a_script(connection: sqlite3.Connection) -> None:
    connection.executescript("INSERT INTO books VALUES ('script');")


def uses_it_as_a_context(connection: sqlite3.Connection) -> None:
    with connection:
        connection.execute("INSERT INTO books VALUES ('with')")


def executes(statement: str) -> Callable[[sqlite3.Connection], None]:
    def execute(connection: sqlite3.Connection) -> None:
        connection.execute(statement)

    return execute


def sets_the_isolation_level(connection: sqlite3.Connection) -> None:
    connection.isolation_level = "DEFERRED"
    connection.isolation_level = None  # which commits


ENDS = {
    "commit()": commits,
    "rollback()": rolls_back,
    "executescript()": runs_a_script,
    "with": uses_it_as_a_context,
    "isolation_level": sets_the_isolation_level,
    **{
        statement: executes(statement)
        for statement in ("BEGIN", "COMMIT", "END", "ROLLBACK", "ATTACH ':memory:' AS other", "/* */ commit;")
    },
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_nothing_in_the_block_can_commit_one_half(path: Path, end: Callable[[sqlite3.Connection], None]) -> None:
    """Whatever would end the transaction raises and says what to do, and what was written is not committed."""
    journal = await opened(path)
    with pytest.raises(sqlite3.DatabaseError, match=r"not authorized: .* leave the block to commit, raise to undo"):
        async with journal.transaction(MONDAY, lambda: DONE) as connection:
            fill(entered(connection))
            end(entered(connection))
    assert books(path) == []
    assert await journal.find_done(MONDAY) is None
    await journal.close()


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_a_refusal_that_is_caught_costs_nothing(path: Path, end: Callable[[sqlite3.Connection], None]) -> None:
    """The transaction goes on, and commits as a whole."""
    journal = await opened(path)
    async with journal.transaction(MONDAY, lambda: DONE) as connection:
        fill(entered(connection))
        with pytest.raises(sqlite3.DatabaseError):
            end(entered(connection))
        assert entered(connection).in_transaction
        fill(entered(connection), MONDAY + DAY)
    assert {f"{MONDAY}", f"{MONDAY + DAY}"} <= {*books(path)}
    assert await journal.find_done(MONDAY) == DONE
    await journal.close()


async def test_savepoints_are_allowed(path: Path) -> None:
    """A part of the block can be undone."""
    journal = await opened(path)
    async with journal.transaction(MONDAY, lambda: DONE) as connection:
        fill(entered(connection))
        entered(connection).execute("SAVEPOINT part")
        fill(entered(connection), MONDAY + DAY)
        entered(connection).execute("ROLLBACK TO part")
        entered(connection).execute("RELEASE part")
    assert books(path) == [f"{MONDAY}"]
    await journal.close()


async def test_a_transaction_that_sqlite_has_rolled_back_commits_nothing_more(path: Path) -> None:
    """`OR ROLLBACK` ends it without a word; what is written after that would be committed alone, and is refused."""
    journal = await opened(path)
    with pytest.raises(JournalWriteFailed, match="SQLite has rolled the transaction back inside the block") as caught:
        async with journal.transaction(MONDAY, lambda: DONE) as connection:
            fill(entered(connection))
            with pytest.raises(sqlite3.IntegrityError):
                entered(connection).execute("INSERT OR ROLLBACK INTO books VALUES (?)", (f"{MONDAY}",))
            with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
                fill(entered(connection))
    assert not caught.value.uncertain
    assert books(path) == []
    assert await journal.find_done(MONDAY) is None
    await journal.close()


async def test_a_connection_that_the_block_has_closed_commits_nothing(path: Path) -> None:
    """It is a failure, and not uncertain."""
    journal = await opened(path)
    with pytest.raises(JournalWriteFailed, match="closed database") as caught:
        async with journal.transaction(MONDAY, lambda: DONE) as connection:
            fill(entered(connection))
            entered(connection).close()
    assert not caught.value.uncertain
    assert books(path) == []
    await journal.close()


async def test_a_commit_that_is_refused_leaves_neither(path: Path) -> None:
    """A constraint that is checked at the commit: definite, because the transaction was rolled back."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE owed (day TEXT REFERENCES books (day) DEFERRABLE INITIALLY DEFERRED)")
    connection.close()
    journal = await opened(path)
    connect = sqlite3.connect

    def with_foreign_keys(*args: object, **options: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **options)
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", with_foreign_keys)
        with pytest.raises(JournalWriteFailed, match="FOREIGN KEY constraint failed") as caught:
            async with journal.transaction(MONDAY, lambda: DONE) as connection:
                fill(entered(connection))
                entered(connection).execute("INSERT INTO owed VALUES ('never')")
    assert not caught.value.uncertain
    assert isinstance(caught.value.__cause__, sqlite3.IntegrityError)
    assert books(path) == []
    await journal.append([DONE])
    await journal.close()
    assert await kept(path) == [FIRST, DONE]


async def test_what_the_block_sets_on_its_connection_is_its_own(path: Path) -> None:
    """Row factories and open cursors disturb neither *done* nor the next transaction."""
    journal = await opened(path)
    journal._number = None  # to be read in the transaction
    cursors = []
    for number in range(3):
        record = numbered([done(MONDAY + number * DAY)], 2 + number)[0]
        async with journal.transaction(record.session, lambda record=record: record) as connection:
            entered(connection).row_factory = lambda cursor, row: {"row": row}
            entered(connection).text_factory = bytes
            fill(entered(connection), MONDAY + number * DAY)
            cursors.append(entered(connection).execute("SELECT 1 UNION SELECT 2"))
            next(cursors[-1])
    with pytest.raises(KeyError):
        async with journal.transaction(MONDAY - DAY, lambda: DONE) as connection:
            fill(entered(connection), MONDAY - DAY)
            cursors.append(entered(connection).execute("SELECT * FROM books"))
            next(cursors[-1])
            raise KeyError
    assert len(books(path)) == 3
    await journal.append([Record(Entry.FAILED, MONDAY + 3 * DAY, NOTED, seq=9)])
    await journal.close()
    assert [record.seq for record in await kept(path)] == [1, 2, 3, 4, 9]


async def test_a_withdrawn_done_is_none(path: Path) -> None:
    """A roll whose *done* was withdrawn is owed, and can be done."""
    journal = await opened(path)
    await journal.append([DONE, Record(Entry.WITHDRAWN, MONDAY, NOTED, subject=f"{DONE.seq}", seq=3)])
    assert await journal.find_done(MONDAY) is None
    again = numbered([done()], 4)[0]
    async with journal.transaction(MONDAY, lambda: again) as connection:
        fill(entered(connection))
    assert await journal.find_done(MONDAY) == again
    await journal.close()


async def test_a_journal_that_is_closed_has_no_transactions(path: Path) -> None:
    """Neither before its opening, nor where it is closed within the block."""
    with pytest.raises(JournalWriteFailed, match="the journal is not open"):
        async with SqliteJournal(path).transaction(MONDAY, lambda: DONE):
            pytest.fail("the block must not be entered")
    journal = await opened(path)
    with pytest.raises(JournalWriteFailed, match="the journal is not open") as caught:
        async with journal.transaction(MONDAY, lambda: DONE) as connection:
            fill(entered(connection))
            await journal.close()
    assert not caught.value.uncertain
    assert books(path) == []
    assert await kept(path) == [FIRST]
    assert history(1) == [FIRST]
