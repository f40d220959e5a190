"""The journals that a command is given: each kind is read without being opened, and opened to record a decision."""

from pathlib import Path
from typing import Protocol

from session_lifecycle._cli.failures import CommandRefused, reading
from session_lifecycle._journal.base import Journal
from session_lifecycle._journal.errors import JournalMismatch
from session_lifecycle._journal.reading import JournalReading


class JournalSource(Protocol):
    """A journal by the address that the command was given."""

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


def journal_source(address: str, name: str | None) -> JournalSource:
    """Return the journal at an address: the path of a SQLite database."""
    return _SqliteSource(Path(address), name)
