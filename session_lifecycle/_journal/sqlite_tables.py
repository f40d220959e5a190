"""The tables of a journal in SQLite, its rows, and how they are read and checked.

The tables have a prefix, because the database is the application's. Its `user_version` is the application's too, so the
version of the layout stands in a column.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, cast

from session_lifecycle._journal.errors import JournalMismatch
from session_lifecycle._journal.reading import Damage, JournalReading
from session_lifecycle._journal.records import Entry, Record, journal_state_after

VERSION: Final = 1
"""The layout of the tables."""

_CREATE: Final = """
    CREATE TABLE IF NOT EXISTS session_lifecycle_journal (
        name TEXT PRIMARY KEY, calendar TEXT NOT NULL, version INTEGER NOT NULL, opened TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS session_lifecycle_record (
        journal TEXT NOT NULL, seq INTEGER NOT NULL, number INTEGER NOT NULL, entry TEXT NOT NULL,
        session TEXT NOT NULL, content TEXT NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (journal, seq)
    ) WITHOUT ROWID
"""
_INSERT: Final = "INSERT INTO session_lifecycle_record VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"

Row = tuple[Any, ...]


# ---- rows ----


def row_of(journal: str, number: int, record: Record) -> Row:
    """Return the row of a record; `number` counts the records of a journal from 1, in the order of their writing."""
    row = (journal, record.seq, number, record.entry.value, record.session.isoformat(), _content_of(record))
    return (*row, _checksum(row))


def _content_of(record: Record) -> str:
    """Return what no column has of its own, as `Record.as_dict` has it, in JSON: at a third of its cost.

    It is in ASCII: SQLite refuses the lone surrogates that a note may hold.
    """
    values = {"at": f'"{_in_utc(record.at)}"'}
    if record.target is not None:
        values["target"] = f'"{record.target}"'
    if record.skipped:
        values["skipped"] = "[" + ", ".join([f'"{day}"' for day in record.skipped]) + "]"
    if record.open is not None:
        values["open"] = f'"{_in_utc(record.open)}"'
    if record.close is not None:
        values["close"] = f'"{_in_utc(record.close)}"'
    if record.note:
        values["note"] = json.dumps(record.note)
    if record.subject:
        values["subject"] = json.dumps(record.subject)
    return "{" + ", ".join([f'"{name}": {value}' for name, value in values.items()]) + "}"


def _in_utc(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat()


def _checksum(row: Iterable[object]) -> int:
    return zlib.crc32("\0".join(map(str, row)).encode(errors="surrogateescape"))


def _record_of(row: Row) -> Record:
    """Return the record of a row.

    Raises:
        ValueError: it is damaged.
    """
    if _checksum(row[:-1]) != row[-1]:
        raise ValueError("its checksum does not match")
    _, seq, _, entry, session, content, _ = row
    try:
        values = cast("dict[str, object]", json.loads(content))
        return Record.from_dict({**values, "seq": seq, "entry": entry, "session": session})
    except (ValueError, TypeError) as error:
        msg = f"it cannot be parsed: {error}"
        raise ValueError(msg) from error


# ---- writing ----


def create_tables(connection: sqlite3.Connection) -> None:
    """Create the tables that are not there, in the open transaction."""
    for statement in _CREATE.split(";"):
        connection.execute(statement)


def note_opening(connection: sqlite3.Connection, name: str, calendar: str, at: str) -> None:
    """Note in the open transaction that the journal is opened, and begin it where it is new."""
    connection.execute(
        "INSERT INTO session_lifecycle_journal VALUES (?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET opened = excluded.opened",
        (name, calendar, VERSION, at),
    )


def insert(connection: sqlite3.Connection, journal: str, number: int, records: Iterable[Record]) -> int:
    """Insert records after the one with that number, without those whose `seq` is there; return the last number."""
    for record in records:
        number += connection.execute(_INSERT, row_of(journal, number + 1, record)).rowcount
    return number


# ---- reading ----


def has_tables(connection: sqlite3.Connection) -> bool:
    """Return whether the database has a journal of any name."""
    names = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'session_lifecycle_journal'"
    return connection.execute(names).fetchone() is not None


def names_of(connection: sqlite3.Connection) -> list[str]:
    """Return the names of the database's journals."""
    if not has_tables(connection):
        return []
    return [name for (name,) in connection.execute("SELECT name FROM session_lifecycle_journal ORDER BY name")]


def last_number(connection: sqlite3.Connection, journal: str) -> int:
    """Return how many records were written."""
    statement = "SELECT coalesce(max(number), 0) FROM session_lifecycle_record WHERE journal = ?"
    return cast("int", connection.execute(statement, (journal,)).fetchone()[0])


def find_done(connection: sqlite3.Connection, journal: str, session: date) -> Record | None:
    """Return the last record *done* of that session which was not withdrawn.

    Raises:
        sqlite3.Error: the records cannot be read.
    """
    rows = connection.execute(
        "SELECT * FROM session_lifecycle_record"
        " WHERE journal = ? AND (entry = ? OR (entry = ? AND session = ?)) ORDER BY seq DESC",
        (journal, Entry.WITHDRAWN.value, Entry.DONE.value, f"{session}"),
    )
    withdrawn: set[str] = set()
    for row in rows:
        try:
            record = _record_of(row)
        except ValueError as error:
            msg = f"record {row[1]} is damaged: {error}"
            raise sqlite3.DatabaseError(msg) from error
        if record.entry is Entry.WITHDRAWN:
            withdrawn.add(record.subject)
        elif f"{record.seq}" not in withdrawn:
            return record
    return None


def read_content(connection: sqlite3.Connection, name: str, appended: int, lock: Path) -> JournalReading | None:
    """Return what the tables hold of a journal, None where there is no such journal and none was lost.

    `appended` is how many records the lock has counted.

    Raises:
        JournalMismatch: it is of an unknown version.
        sqlite3.Error: it cannot be read.
    """
    kept = connection.text_factory
    connection.text_factory = _text  # a damaged text is refused by its checksum
    try:
        of_the_name = "SELECT calendar, version FROM session_lifecycle_journal WHERE name = ?"
        found = connection.execute(of_the_name, (name,)).fetchone() if has_tables(connection) else None
        if found is None:
            return None if appended == 0 else JournalReading(name, None, (), _behind(0, appended, lock))
        calendar, version = found
        if version != VERSION:
            raise JournalMismatch("the version", version, VERSION)
        all_rows = "SELECT * FROM session_lifecycle_record WHERE journal = ? ORDER BY number"
        rows = connection.execute(all_rows, (name,)).fetchall()
    finally:
        connection.text_factory = kept
    records, damage = _checked(rows)
    if damage is None and len(records) < appended:
        damage = _behind(len(records), appended, lock)
    return JournalReading(name, calendar, tuple(sorted(records, key=lambda record: record.seq)), damage)


def _behind(n: int, appended: int, lock: Path) -> Damage:
    return Damage(
        0,
        f"it holds {n} records, and {appended} had been appended. If that is meant (it was restored from a copy, or "
        f"is to begin anew), remove {lock} too",
    )


def _checked(rows: list[Row]) -> tuple[list[Record], Damage | None]:
    records: list[Record] = []
    for row in rows:
        seq, number = row[1:3]
        try:
            record = _record_of(row)
        except ValueError as error:
            return records, Damage(seq if isinstance(seq, int) else 0, str(error))
        if number != len(records) + 1:
            return records, Damage(seq, f"{number - len(records) - 1} records before it are missing")
        records.append(record)
    try:
        journal_state_after(sorted(records, key=lambda record: record.seq))
    except ValueError as error:
        return records, Damage(0, f"its records contradict each other: {error}")
    return records, None


def _text(content: bytes) -> str:
    return content.decode(errors="replace")
