"""`journal postgresql://…`: what it shows, whether the journal is sound, and a decision that a restart follows."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

from session_lifecycle import PostgresJournal, Record, write_snapshot
from tests.helpers.builders import DAY, MONDAY, at, week
from tests.helpers.command_line import as_json, printed, refused, run
from tests.helpers.harness import FRIDAY
from tests.helpers.journals import adopted, failed, intent
from tests.helpers.postgres import Database

NAME = "desk/fixed"
LATE = at(MONDAY, (22, 0))


@pytest.fixture
def address(database: Database) -> str:
    server = database.server
    return f"postgresql://postgres:secret@127.0.0.1:{server.port}/{database.name}"


def write(address: str, *records: Record, name: str = NAME) -> None:
    async def written() -> None:
        journal = PostgresJournal(address, name)
        await journal.open("fixed")
        await journal.append([replace(record, seq=seq) for seq, record in enumerate(records, 1)])
        await journal.close()

    anyio.run(written)


def test_it_shows_what_happened_without_the_password(address: str) -> None:
    """By its name, or by none where it is the only one; a leader may be at work."""
    write(address, adopted(), intent(MONDAY, MONDAY + 2 * DAY), failed(note="no route\nto the broker"))
    text = printed("journal", address, "--name", NAME)
    assert text.startswith("journal desk/fixed of fixed, sound: 3 records\n")
    assert "ERROR: no route to the broker" in text
    assert printed("journal", address) == text
    report = as_json("journal", address)
    assert report["journal"] == address.replace("postgres:secret@", "")
    assert [record["entry"] for record in report["records"]] == ["adopted", "intent", "failed"]
    assert report["standing"]["error"] == "no route\nto the broker"


def test_it_may_be_given_as_the_words_that_the_journal_was_given(address: str, database: Database) -> None:
    """A `=` makes them a conninfo, as it does for libpq; what is no file either is refused as one of the two."""
    write(address, adopted())
    words = database.conninfo(tcp=True)
    assert "=" in words
    assert printed("journal", words) == printed("journal", address)
    assert "cannot read books.db: No such file" in refused("journal", "books.db")


def test_a_name_is_needed_where_there_are_several(address: str) -> None:
    assert "a database without a journal" in refused("journal", address)
    write(address, adopted())
    write(address, adopted(), name="desk/other")
    assert "give one with --name: desk/fixed, desk/other" in refused("journal", address)
    assert "no journal of the name 'nope'" in refused("journal", address, "--name", "nope")


def test_what_cannot_be_reached_or_has_no_tables_is_said_in_a_line(address: str, database: Database) -> None:
    assert "has no tables" in refused("journal", address.replace(database.name, "postgres"))
    message = refused("journal", "postgresql://me:secret@127.0.0.1:1/nowhere")
    assert "cannot read postgresql://127.0.0.1:1/nowhere" in message
    assert "secret" not in message


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("DELETE FROM session_lifecycle.record WHERE seq = 3", "record 3: the newest record is missing"),
        ("UPDATE session_lifecycle.journal SET seq = 2", "record 3: it is newer than the journal's own count"),
        ("DELETE FROM session_lifecycle.record WHERE seq = 1", "the first record is intent"),
        ("UPDATE session_lifecycle.record SET entry = 'dreamt' WHERE seq = 2", "record 2: 'dreamt'"),
    ],
)
def test_check_finds_what_was_changed(address: str, database: Database, statement: str, why: str) -> None:
    write(address, adopted(), intent(MONDAY, MONDAY + DAY), failed())
    assert printed("journal", address, "--check") == "sound: 3 records\n"
    database.execute(statement)
    done = run("journal", address, "--check")
    assert (done.exit_code, why in done.output) == (1, True)


def test_a_decision_is_recorded_where_no_replica_leads(address: str, tmp_path: Path) -> None:
    """It is refused while one does: `recover()` is to be called there."""
    hours = str(tmp_path / "hours.toml")
    write_snapshot(week(), hours, MONDAY, FRIDAY)
    write(address, adopted(), intent(MONDAY, MONDAY + DAY), failed())
    command = ("journal", address, "--resolve", "mark-done", "--calendar", hours)

    async def while_one_leads(work: Callable[[], str]) -> str:
        journal = PostgresJournal(address, NAME)
        await journal.open("fixed")
        try:
            return await anyio.to_thread.run_sync(work)
        finally:
            await journal.close()

    assert "does not lead" in anyio.run(while_one_leads, partial(refused, *command, now=LATE))
    assert "2024-03-05" in printed(*command, now=LATE)
    assert "by `journal --resolve`" in printed("journal", address)
