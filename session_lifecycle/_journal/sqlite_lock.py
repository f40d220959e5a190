"""Who owns a journal in SQLite: a lock in a small database of its own, beside the journal's.

The owner holds `BEGIN EXCLUSIVE` there, which ends with its connection and with any death of its process, and which a
forked child does not inherit. The database is in WAL mode, so that others can read meanwhile who the owner is. It also
counts the records that were appended: a flipped bit in a log reads as an earlier state of the database without an
error, and a journal that is behind this counter has lost records.
"""

import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

VERSION: Final = 1
"""The layout of the lock's database, as its `user_version`."""

_CREATE: Final = (
    "CREATE TABLE IF NOT EXISTS owner"
    " (id INTEGER PRIMARY KEY CHECK (id = 1), journal TEXT NOT NULL, pid INTEGER, since TEXT, token TEXT,"
    " records INTEGER NOT NULL)"
)
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_PRIMARY: Final = 0xFF
"""The part of an extended error code that is the error's own; the rest says where it came from."""


class Owner(NamedTuple):
    """What stands in a lock's database. `pid` and `since` are None where the last owner has left in order."""

    journal: str
    pid: int | None
    since: datetime | None
    records: int


class OwnerLock:
    """The lock of one journal, on a file that is there."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._token = os.urandom(8).hex()

    def take(self) -> bool:
        """Take the lock without waiting; return False where another connection has it."""
        return begin(self._connection, "EXCLUSIVE")

    def release(self) -> None:
        """Give the lock back, with what was written since it was taken undone."""
        self._connection.rollback()

    @property
    def taken(self) -> bool:
        """Whether this process has the lock."""
        return self._connection.in_transaction

    def hold(self) -> None:
        """Take the lock again where it could not be taken after a commit.

        Raises:
            sqlite3.OperationalError: another process has it, or had it meanwhile.
        """
        if not self.taken and not (self.take() and self._is_still_ours):
            self.release()
            raise sqlite3.OperationalError("another process has taken the lock")

    def introduce(self, journal: str) -> None:
        """Write who the owner is, for others to read; the lock is not taken after that, and must be taken again."""
        connection = self._connection
        connection.execute(_CREATE)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        since = datetime.now(UTC).isoformat(timespec="seconds")
        connection.execute(
            "INSERT INTO owner VALUES (1, ?, ?, ?, ?, 0)"
            " ON CONFLICT (id) DO UPDATE SET pid = excluded.pid, since = excluded.since, token = excluded.token",
            (journal, os.getpid(), since, self._token),
        )
        connection.commit()

    def count(self, records: int) -> None:
        """Raise the counter of records; the lock is not taken after that, and must be taken again."""
        self._connection.execute("UPDATE owner SET records = max(records, ?)", (records,))
        self._connection.commit()

    @property
    def _is_still_ours(self) -> bool:
        """Whether this process is the last that has introduced itself."""
        found = self._connection.execute("SELECT token FROM owner").fetchone()
        return found is not None and found[0] == self._token

    def owner(self) -> Owner | None:
        """Return what the lock's database says, None where it says nothing yet."""
        return read_owner(self._connection)

    @property
    def version(self) -> int:
        """The version of the layout, 0 where there is none yet."""
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def close(self) -> None:
        """Release the lock; in order, where it is taken."""
        try:
            if self.taken and self._is_still_ours:
                self._connection.execute("UPDATE owner SET pid = NULL, since = NULL, token = NULL")
                self._connection.commit()
        except sqlite3.Error:
            pass  # the next owner finds the name of this one, and the lock free
        finally:
            self._connection.close()


def read_owner(connection: sqlite3.Connection) -> Owner | None:
    """Return what a lock's database says, None where it says nothing yet."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'owner'").fetchone() is None:
        return None
    found = connection.execute("SELECT journal, pid, since, records FROM owner").fetchone()
    if found is None:
        return None
    journal, pid, since, records = found
    try:
        since = None if since is None else datetime.fromisoformat(since)
    except ValueError as error:
        msg = f"the owner's start is damaged: {error}"
        raise sqlite3.DatabaseError(msg) from error
    return Owner(journal, pid, since, records)


def begin(connection: sqlite3.Connection, how: str) -> bool:
    """Begin a transaction that writes, without waiting; return False where another connection is in one.

    Two tasks of one connection count as two: it can have one transaction at a time.

    Raises:
        sqlite3.Error: it cannot begin for another reason.
    """
    if connection.in_transaction:
        return False
    try:
        connection.execute(f"BEGIN {how}")
    except sqlite3.OperationalError as error:
        if is_busy(error):
            return False
        raise
    return True


def is_busy(error: sqlite3.Error) -> bool:
    """Return whether a statement may succeed a moment later, when another connection has ended what it does."""
    return primary_code(error) in _BUSY


def primary_code(error: sqlite3.Error) -> int | None:
    """Return SQLite's error code without its extension, None for an error of the module itself."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & _PRIMARY
