"""The journals that a command is given: each kind is read without being opened, and opened to record a decision."""

from pathlib import Path
from typing import Protocol

import anyio

from session_lifecycle._cli.failures import CommandRefused, reading
from session_lifecycle._journal.base import Journal
from session_lifecycle._journal.errors import JournalMismatch, JournalUnavailable
from session_lifecycle._journal.reading import JournalReading
from session_lifecycle._model.errors import ConfigurationError


class JournalSource(Protocol):
    """A journal by the address that the command was given."""

    @property
    def shown(self) -> str:
        """The address for people and reports, without a password."""
        ...

    def read(self, *, integrity: bool) -> JournalReading:
        """Return what it holds, without holding it; with `integrity`, check also what its records do not need.

        Raises:
            CommandRefused: it cannot be read.
        """
        ...

    def journal(self, name: str) -> Journal:
        """Return a handle to the journal of that name, which is not open."""
        ...


class _SqliteSource:
    """A journal in a file, which is a SQLite database."""

    def __init__(self, file: Path, name: str | None) -> None:
        self._file = file
        self._name = name

    @property
    def shown(self) -> str:
        return str(self._file)

    def read(self, *, integrity: bool) -> JournalReading:
        # Slow to import, and of no use to the other commands.
        from session_lifecycle._journal.sqlite_reading import read_journal

        try:
            with reading(self._file):
                return read_journal(self._file, self._name, integrity=integrity)
        except JournalMismatch as error:
            msg = f"{self._file} is a journal of version {error.found}, and this release reads version {error.wanted}"
            raise CommandRefused(msg) from error

    def journal(self, name: str) -> Journal:
        from session_lifecycle._journal.sqlite import SqliteJournal  # as above

        return SqliteJournal(self._file, name)


class _PostgresSource:
    """A journal in a PostgreSQL database. Reading takes no lead; a decision is recorded only where no replica leads."""

    def __init__(self, conninfo: str, name: str | None) -> None:
        self._conninfo = conninfo
        self._name = name

    @property
    def shown(self) -> str:
        from session_lifecycle._journal.postgres_tables import place_of  # needs the extra

        return place_of(self._conninfo)

    def read(self, *, integrity: bool) -> JournalReading:  # noqa: ARG002 -- the server checks its own pages
        try:
            from session_lifecycle._journal.postgres_reading import read_journal
        except ModuleNotFoundError as error:
            msg = "a journal in PostgreSQL needs psycopg: pip install 'session_lifecycle[postgres]'"
            raise CommandRefused(msg) from error
        try:
            return anyio.run(read_journal, self._conninfo, self._name)
        except JournalMismatch as error:
            msg = f"{self.shown} is a journal of version {error.found}, and this release reads version {error.wanted}"
            raise CommandRefused(msg) from error
        except JournalUnavailable as error:
            msg = f"cannot read {self.shown}: {error.reason}"
            raise CommandRefused(msg) from error
        except ConfigurationError:
            raise
        except ValueError as error:
            msg = f"cannot read {self.shown}: {error}"
            raise CommandRefused(msg) from error

    def journal(self, name: str) -> Journal:
        from session_lifecycle._journal.postgres import PostgresJournal  # as above

        return PostgresJournal(self._conninfo, name)


def journal_source(address: str, name: str | None) -> JournalSource:
    """Return the journal at an address: what PostgresJournal was given, or the path of a SQLite database.

    As for libpq, what has a `=` is no mere name: `host=db.example dbname=books`. A file of such a name comes first.
    """
    if address.startswith(("postgresql://", "postgres://")) or ("=" in address and not Path(address).exists()):
        return _PostgresSource(address, name)
    return _SqliteSource(Path(address), name)
