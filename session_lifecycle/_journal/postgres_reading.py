"""Read a journal in PostgreSQL without taking the lead, and change nothing: also while a manager leads."""

from typing import Final

import psycopg

from session_lifecycle._journal.errors import JournalCorrupt, JournalMismatch, JournalUnavailable
from session_lifecycle._journal.postgres_connection import NOT_INSTALLED, Connection, connected, first_line
from session_lifecycle._journal.postgres_records import read_after
from session_lifecycle._journal.postgres_tables import VERSION, place_of
from session_lifecycle._journal.reading import Damage, JournalReading, only_name
from session_lifecycle._journal.records import journal_state_after

_WITHIN: Final = 10.0
_JOURNALS: Final = "SELECT name, calendar, version, seq FROM session_lifecycle.journal ORDER BY name"
_BEYOND: Final = "SELECT min(seq) FROM session_lifecycle.record WHERE name = %s AND seq > %s"


async def read_journal(conninfo: str, name: str | None = None) -> JournalReading:
    """Return what the database holds of the journal of that name, or of its only one.

    Raises:
        ConfigurationError: `conninfo` cannot be parsed.
        JournalUnavailable: the server cannot be reached, or refuses; the tables may be missing.
        JournalMismatch: the journal is of an unknown version.
        ValueError: the database holds no such journal, or several and none is named.
    """
    place = place_of(conninfo)
    try:
        async with connected(conninfo, _WITHIN) as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            return await _read(connection, name)
    except (psycopg.Error, OSError) as error:
        missing = isinstance(error, psycopg.Error) and error.sqlstate in NOT_INSTALLED
        reason = "it has no tables of a journal" if missing else first_line(error)
        raise JournalUnavailable(place, reason) from error


async def _read(connection: Connection, name: str | None) -> JournalReading:
    rows = await (await connection.execute(_JOURNALS)).fetchall()
    journals = {row[0]: row[1:] for row in rows}
    if name is None:
        name = only_name(list(journals))
    if name not in journals:
        found = ", ".join(map(repr, journals)) or "none"
        msg = f"it holds no journal of the name {name!r}; the journals in it: {found}"
        raise ValueError(msg)
    calendar, version, seq = journals[name]
    if version != VERSION:
        raise JournalMismatch("the version", version, VERSION)
    try:
        records = await read_after(connection, name, 0)
    except JournalCorrupt as error:
        return JournalReading(name, calendar, (), Damage(error.seq, error.why))
    ((beyond,),) = await (await connection.execute(_BEYOND, (name, seq))).fetchall()
    if beyond is not None:
        return JournalReading(name, calendar, records, Damage(beyond, "it is newer than the journal's own count"))
    if seq and (not records or records[-1].seq != seq):
        return JournalReading(name, calendar, records, Damage(seq, "the newest record is missing"))
    try:
        journal_state_after(records)
    except ValueError as error:
        return JournalReading(name, calendar, records, Damage(0, str(error)))
    return JournalReading(name, calendar, records, None)
