"""Read a journal in SQLite without its lock, and change nothing: also while a manager holds it."""

import glob
import sqlite3
from pathlib import Path
from typing import Final

from session_lifecycle._journal import sqlite_files, sqlite_tables
from session_lifecycle._journal.reading import Damage, JournalReading, only_name
from session_lifecycle._journal.sqlite_lock import primary_code, read_owner

_SECONDS: Final = 5.0
"""How long a moment is waited for in which another connection lets nothing be read."""


def read_journal(path: Path, name: str | None = None, *, integrity: bool = False) -> JournalReading:
    """Return what the database at `path` holds of the journal of that name, or of its only one.

    With `integrity` the whole database is checked as well, the application's tables included.

    Raises:
        OSError: there is no such file.
        ValueError: it is no regular file, or SQLite cannot read it; it holds no such journal, or several and none is
            named.
        JournalMismatch: it is of an unknown version.
    """
    file = path.resolve()
    kind = sqlite_files.irregular(file.stat())  # never opened by us: closing it would end the locks of this process
    if kind is not None:
        msg = f"it is {kind}"
        raise ValueError(msg)
    try:
        try:
            return _read(file, name, integrity=integrity)
        except sqlite3.Error:
            if sqlite_files.sides(file)[0].exists():
                return _read(file, name, integrity=integrity)  # a manager may have started meanwhile
            raise
    except sqlite3.Error as error:
        was_a_journal = any(file.parent.glob(f"{glob.escape(file.name)}.*.lock"))
        code = primary_code(error)
        if code == sqlite3.SQLITE_CORRUPT or (code == sqlite3.SQLITE_NOTADB and was_a_journal):
            return JournalReading(name or "", None, (), Damage(0, str(error)))
        raise ValueError(str(error)) from error


def _read(file: Path, name: str | None, *, integrity: bool) -> JournalReading:
    connection = _connect(file)
    try:
        if name is None:
            name = only_name(sqlite_tables.names_of(connection))
        lock = sqlite_files.lock_path(file, name)
        content = sqlite_tables.read_content(connection, name, _counted(lock), lock)
        if content is None:
            found = ", ".join(map(repr, sqlite_tables.names_of(connection))) or "none"
            msg = f"it holds no journal of the name {name!r}; the journals in it: {found}"
            raise ValueError(msg)
        if integrity and content.damage is None:
            return content._replace(damage=_integrity(connection))
        return content
    finally:
        connection.close()


def _counted(lock: Path) -> int:
    """Return how many records were appended, as the lock counts; 0 where it cannot be read."""
    if not lock.is_file():
        return 0
    connection = _connect(lock)
    try:
        owner = read_owner(connection)
    except (sqlite3.Error, ValueError):
        return 0
    finally:
        connection.close()
    return 0 if owner is None else owner.records


def _integrity(connection: sqlite3.Connection) -> Damage | None:
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    return None if verdict == "ok" else Damage(0, f"the database is damaged: {' '.join(str(verdict).split())}")


def _connect(file: Path) -> sqlite3.Connection:
    """Open a database that is read and left as it is.

    Where there is no log, no process has the database open, or has died with it open. SQLite would create a log even to
    read it, so it is then read as one that does not change.
    """
    how = "mode=ro" if sqlite_files.sides(file)[0].exists() else "immutable=1"
    return sqlite3.connect(f"{file.as_uri()}?{how}", uri=True, isolation_level=None, timeout=_SECONDS)
