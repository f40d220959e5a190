"""Installing the tables and functions of `PostgresJournal`."""

from importlib.resources import files
from typing import Final

import psycopg

from session_lifecycle._journal.errors import JournalUnavailable
from session_lifecycle._journal.postgres_connection import Connection, connected, first_line, shown
from session_lifecycle._model.errors import ConfigurationError

VERSION: Final = 1
"""The layout of the tables that this release reads and writes."""

_OLDEST_SERVER: Final = 140_000
_WITHIN: Final = 10.0
# Two replicas that create the schema at once would meet in its unique indexes.
_ONE_AT_A_TIME: Final = "SELECT pg_advisory_xact_lock(hashtext('session_lifecycle'))"


def place_of(conninfo: str) -> str:
    """Return the server and database of a conninfo, for messages.

    Raises:
        ConfigurationError: it is no string, or cannot be parsed.
    """
    if not isinstance(conninfo, str):
        raise ConfigurationError("conninfo", "(not shown)", f"must be a string, not of type {type(conninfo).__name__}")
    try:
        return shown(conninfo)
    except ValueError as error:
        raise ConfigurationError("conninfo", "(not shown)", str(error)) from None


async def create_tables(conninfo: str) -> None:
    """Create the schema with its tables and functions, as `PostgresJournal.create_tables` describes."""
    place = place_of(conninfo)
    script = files("session_lifecycle._journal").joinpath("postgres_schema.sql").read_bytes()
    try:
        async with connected(conninfo, _WITHIN) as connection:
            _check_server(place, connection)
            async with connection.transaction():
                await connection.execute(_ONE_AT_A_TIME)
                await connection.execute(script)
    except (psycopg.Error, OSError, TimeoutError) as error:
        raise JournalUnavailable(place, f"its tables could not be created: {first_line(error)}") from error


def _check_server(place: str, connection: Connection) -> None:
    version = connection.info.server_version
    encoding = connection.info.parameter_status("server_encoding")
    if version < _OLDEST_SERVER:
        raise JournalUnavailable(place, f"the server is PostgreSQL {version // 10_000}, and 14 or later is needed")
    if encoding != "UTF8":
        reason = f"the database is in {encoding}, and UTF8 is needed: create one with ENCODING 'UTF8'"
        raise JournalUnavailable(place, reason)
