"""Records as the database holds them, and the statements that read them."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, LiteralString

import msgspec
from msgspec.structs import replace

from session_lifecycle._journal.errors import JournalCorrupt
from session_lifecycle._journal.postgres_connection import Connection
from session_lifecycle._journal.records import Entry, Record

_COLUMNS: Final[LiteralString] = """
SELECT seq, entry, session, at AT TIME ZONE 'UTC', target, skipped, open AT TIME ZONE 'UTC', close AT TIME ZONE 'UTC',
       note, subject FROM session_lifecycle.record WHERE name = %s AND """

_AFTER: Final[LiteralString] = _COLUMNS + "seq > %s ORDER BY seq"
_THESE: Final[LiteralString] = _COLUMNS + "seq = ANY(%s) ORDER BY seq"
_DONE: Final[LiteralString] = _COLUMNS + "entry = 'done' AND session = %s ORDER BY seq"

_ESCAPED: Final = re.compile(r"\\(?:\\|x00|u[0-9a-f]{4})")


async def read_after(connection: Connection, name: str, seq: int) -> tuple[Record, ...]:
    """Return the records of a journal after `seq`, in their order."""
    return await _read(connection, _AFTER, name, seq)


async def read_these(connection: Connection, name: str, records: Sequence[Record]) -> tuple[Record, ...]:
    """Return what a journal holds at the places of these records."""
    return await _read(connection, _THESE, name, [record.seq for record in records])


async def read_done(connection: Connection, name: str, session: date) -> Record | None:
    """Return the record *done* of the roll from `session`, None where there is none."""
    found = await _read(connection, _DONE, name, session)
    return found[0] if found else None


async def _read(connection: Connection, statement: LiteralString, name: str, value: object) -> tuple[Record, ...]:
    rows = await (await connection.execute(statement, (name, value))).fetchall()
    return tuple(_record(name, row) for row in rows)


def _record(name: str, row: tuple[Any, ...]) -> Record:
    seq, entry, session, at, target, skipped, opened, closed, note, subject = row
    try:
        return Record(
            Entry(entry),
            session,
            at.replace(tzinfo=UTC),
            target,
            tuple(skipped),
            _in_utc(opened),
            _in_utc(closed),
            _unescaped(note),
            _unescaped(subject),
            seq,
        )
    except ValueError as error:
        raise JournalCorrupt(name, seq, str(error)) from error


def as_json(records: Sequence[Record]) -> str:
    """Return records as the JSON of which the database's functions make rows."""
    return msgspec.json.encode([_row(record) for record in records]).decode()


def one_as_json(record: Record) -> str:
    """Return one record as such JSON."""
    return msgspec.json.encode(_row(record)).decode()


def _row(record: Record) -> Record:
    return replace(
        record,
        at=record.at.astimezone(UTC),
        open=record.open and record.open.astimezone(UTC),
        close=record.close and record.close.astimezone(UTC),
        note=_escaped(record.note),
        subject=_escaped(record.subject),
    )


def _in_utc(instant: datetime | None) -> datetime | None:
    return None if instant is None else instant.replace(tzinfo=UTC)


def _escaped(text: str) -> str:
    """Return text without NUL and without halves of surrogate pairs, which PostgreSQL cannot hold."""
    if text.isascii() and "\\" not in text and "\0" not in text:
        return text
    return text.replace("\\", "\\\\").replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(_original, text) if "\\" in text else text


def _original(found: re.Match[str]) -> str:
    escape = found.group()
    return "\\" if escape == "\\\\" else chr(int(f"0x{escape[2:]}", base=0))
