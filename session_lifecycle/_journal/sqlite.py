"""A journal in a SQLite database, which may be the application's own.

The records are rows of tables with a prefix. Each append is one transaction, which is on the disk when it returns: the
log is written ahead (WAL) and synced at each commit. SQLite's calls block the event loop for as long as the disk takes;
only where another connection is writing is it waited for, asleep.

`sqlite_lock` holds who owns the journal, `sqlite_files` what may happen to its files, `sqlite_tables` the rows.
"""

import glob
import os
import sqlite3
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, Never

import anyio

from session_lifecycle._journal import sqlite_files, sqlite_tables
from session_lifecycle._journal.errors import (
    JournalCorrupt,
    JournalLocked,
    JournalMismatch,
    JournalUnavailable,
    JournalWriteFailed,
)
from session_lifecycle._journal.records import Record
from session_lifecycle._journal.sqlite_lock import VERSION as VERSION_OF_THE_LOCK
from session_lifecycle._journal.sqlite_lock import OwnerLock, begin, is_busy, primary_code

_BUSY_WAIT: Final = 0.005
"""Seconds between two tries, while another connection writes."""
_TRIES: Final = 5
"""How often the lock is found taken before it counts as held: another process may only be trying it."""
_PROBE_WAIT: Final = 0.001
"""Seconds between two tries, while another process only looks whether the lock is taken."""
_COUNTER_WAIT: Final = 1.0
"""How many seconds an append that is durable waits to raise the counter, while another connection writes."""
_PAGES_OF_THE_LOG: Final = 64
"""A short log is soon written over in place, whose sync costs less than that of one that grows."""
_STATEMENTS: Final = 16
"""How many statements a connection keeps compiled."""
_DENIED: Final = frozenset({sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH})

_open_here: "dict[SqliteJournal, tuple[int, sqlite_files.Identity]]" = {}
"""The process and the database of each journal that is open here, or was in the parent as this process was forked.

A child never closes what it has inherited: to SQLite, the parent's locks are the child's own.
"""


class SqliteJournal:
    """A durable journal in the SQLite database at `path`, which is created where there is none.

    The application may keep its own tables in the same database, and write to them from connections of its own. Several
    journals live in one database by `name`, by default the calendar's. The database is put into WAL mode. Beside it
    stands the lock of each journal, a small database of its own.

    Use it on a local disk, by one manager at a time.

    Args:
        path: of the database. No file is touched before `open`.
        name: of the journal in the database; None is the calendar's.

    Raises:
        TypeError: `path` is no path, or `name` no text.
    """

    __module__ = "session_lifecycle"

    def __init__(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        if not isinstance(name, str | None):
            msg = f"name must be a text, or None for the calendar's, not {name!r}"
            raise TypeError(msg)
        self.path: Path = Path(path)
        self._path = path  # as it was given: Path("") is "."
        self.name = name
        self._pid = 0
        self._file = self.path
        self._name = name or ""
        self._connection: sqlite3.Connection | None = None
        self._lock: OwnerLock | None = None
        self._files: dict[str, sqlite_files.Identity] = {}
        self._number: int | None = None  # of the last record; None where it has to be read
        self._in_doubt = 0  # the last `seq` of which an append has ended in doubt

    def __repr__(self) -> str:
        name = "" if self.name is None else f", {self.name!r}"
        return f"<SqliteJournal {str(self.path)!r}{name}>"

    def __reduce__(self) -> Never:
        """Refuse to be copied or pickled: a copy would share the connection, and close it."""
        msg = f"{self!r} cannot be copied or pickled: make another SqliteJournal with the same path"
        raise TypeError(msg)

    # ---- opening and closing ----

    async def open(self, calendar: str) -> tuple[Record, ...]:
        """Acquire the journal of this calendar, and return its records in the order of `seq`; a new one has none.

        Where another connection is writing to the database, it is waited for.

        Raises:
            JournalLocked: another process, or another manager of this one, holds it.
            JournalMismatch: it is another calendar's, or of an unknown version.
            JournalCorrupt: it is damaged, or has lost records.
            JournalUnavailable: it cannot be opened, created or read, or cannot be durable there.
        """
        if self._connection is not None and self._pid == os.getpid():
            raise JournalLocked(str(self._file), self._pid)
        file = sqlite_files.resolved(self._path)
        name = calendar if self.name is None else self.name
        for each in (name, calendar):
            _refuse_name(file, each)
        _refuse_after_fork(file)
        sqlite_files.refuse_what_is_not_durable(file)
        self._file, self._name, self._pid = file, name, os.getpid()
        while True:
            try:
                with _unavailable(file):
                    return await self._open(file, calendar)
            except BaseException as error:
                await self.close()
                if not _is_momentary(error):
                    raise
            await anyio.sleep(_BUSY_WAIT)

    async def _open(self, file: Path, calendar: str) -> tuple[Record, ...]:
        connection = self._connection = _connect(file)
        _put_into_wal_mode(file, connection)
        _open_here[self] = self._pid, sqlite_files.identity_of(file)
        lock = self._lock_beside(file)
        await self._acquire(connection, lock)
        owner = lock.owner()
        appended = 0 if owner is None else owner.records
        content = sqlite_tables.read_content(connection, self._name, appended, lock.path)
        if content is not None and content.calendar not in (None, calendar):
            raise JournalMismatch("the calendar", content.calendar, calendar)
        if content is not None and content.damage is not None:
            raise JournalCorrupt(str(file), *content.damage)
        lock.introduce(self._name)
        await _take_again(lock)
        sqlite_tables.create_tables(connection)
        # A process that was killed may have left records that are in the log and not yet on the disk. This commit syncs
        # the log, and the checkpoint writes anew what an earlier sync may have failed for.
        sqlite_tables.note_opening(connection, self._name, calendar, datetime.now(UTC).isoformat())
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        sqlite_files.sync_folder(file.parent)
        records = () if content is None else content.records
        self._number = len(records)
        await self._raise_counter(connection, lock, self._number)
        self._files = sqlite_files.identities(
            (file, *sqlite_files.sides(file), lock.path, *sqlite_files.sides(lock.path))
        )
        return records

    async def close(self) -> None:
        """Release the journal. A second call has no effect, and neither has a call in a forked child."""
        if self._pid != os.getpid():
            return
        connection, self._connection = self._connection, None
        lock, self._lock = self._lock, None
        self._files, self._number, self._in_doubt = {}, None, 0
        _open_here.pop(self, None)
        try:
            if connection is not None:
                connection.close()
        finally:
            if lock is not None:
                lock.close()

    def _lock_beside(self, file: Path) -> OwnerLock:
        path = sqlite_files.lock_path(file, self._name)
        sqlite_files.refuse_what_is_not_durable(path)
        sqlite_files.create_like(path, file)
        with _unavailable(path):
            connection = _connect(path)
            self._lock = lock = OwnerLock(path, connection)
            # Not synced: after a power cut the counter may be behind the journal, which is, and never ahead of it.
            connection.execute("PRAGMA synchronous = NORMAL")
            _put_into_wal_mode(path, connection)
        return lock

    async def _acquire(self, connection: sqlite3.Connection, lock: OwnerLock) -> None:
        """Take the lock, and the right to write to the database.

        A holder gives its lock up for moments in which it has that right: who has both has not come in between.
        """
        tries = 0
        while True:
            with _unavailable(lock.path):
                taken = lock.take()
            if not taken:
                tries += 1
                if tries == _TRIES:
                    owner = lock.owner()
                    raise JournalLocked(str(self._file), owner and owner.pid, None if owner is None else owner.since)
            else:
                tries = 0
                if begin(connection, "IMMEDIATE"):
                    break
                lock.release()
            await anyio.sleep(_BUSY_WAIT)
        if lock.version not in (0, VERSION_OF_THE_LOCK):
            what = f"the version of the lock {lock.path}"
            raise JournalMismatch(what, lock.version, VERSION_OF_THE_LOCK)
        owner = lock.owner()
        if owner is not None and owner.journal != self._name:
            raise JournalUnavailable(
                str(self._file), f"its lock {lock.path} is that of {owner.journal!r}, whose name differs in case only"
            )

    # ---- appending ----

    async def append(self, records: Sequence[Record]) -> None:
        """Append records, in the order of their `seq`: all or none. They are durable when this returns.

        A record whose `seq` is there already counts as appended. Where another connection is writing to the database,
        it is waited for; nothing is written before that, and from then on nothing is awaited until the commit.

        Raises:
            JournalWriteFailed: none of them is in the journal; or it is in doubt, where it is `uncertain`.
        """
        what = ", ".join(record.entry.value for record in records)
        connection, lock = self._checked(what)
        try:
            await self._begin(connection, what)
            await self._commit(connection, lock, records, what)
        except JournalWriteFailed as error:
            if error.uncertain:
                self._in_doubt = max(self._in_doubt, *(record.seq for record in records))
            elif any(record.seq <= self._in_doubt for record in records):
                # This one has written nothing; the one before it may have.
                raise JournalWriteFailed(error.journal, what, error.reason, uncertain=True) from error
            raise

    @asynccontextmanager
    async def transaction(self, session: date, done: Callable[[], Record]) -> AsyncGenerator[sqlite3.Connection | None]:
        """Open a transaction for the writes of the roll from `session`; its value is a connection in autocommit mode.

        The value is None where *done* of that session is in the journal already. The connection is the block's own, and
        closed after it. It refuses BEGIN, COMMIT and ROLLBACK, which would commit or lose one half, and ATTACH, whose
        database would not commit with this one; savepoints are allowed. Nothing else can write to the database until
        the block ends.

        Raises:
            JournalWriteFailed: neither is in the database; or that is not known, where it is `uncertain`.
        """
        what = "done"
        _, lock = self._checked(what)
        with self._definite(what):
            # Without a cache each statement is shown to the authorizer, also one that was executed before.
            connection = _connect(self._file, cached_statements=0)
        try:
            await self._begin(connection, what)
            with self._definite(what):
                completed = sqlite_tables.find_done(connection, self._name, session) is not None
            if completed:
                connection.close()
                yield None
                return
            connection.set_authorizer(_authorizer_of(connection))
            with _explaining():
                yield connection
            with self._definite(what):
                connection.set_authorizer(None)
                connection.row_factory = None
                connection.text_factory = str
                if not connection.in_transaction:
                    raise sqlite3.OperationalError("SQLite has rolled the transaction back inside the block")
            self._checked(what)
            await self._commit(connection, lock, (done(),), what)
        finally:
            with suppress(sqlite3.Error):  # the block may have closed it
                connection.set_authorizer(None)
                connection.rollback()
            connection.close()

    async def find_done(self, session: date) -> Record | None:
        """Return the record *done* of the roll from `session`; None where the journal does not hold it.

        Raises:
            JournalUnavailable: it cannot be read.
        """
        while True:
            connection = self._connection
            if connection is None or self._pid != os.getpid():
                raise JournalUnavailable(str(self._file), "it is not open in this process")
            try:
                with _unavailable(self._file):
                    return sqlite_tables.find_done(connection, self._name, session)
            except JournalUnavailable as error:
                if not _is_momentary(error):
                    raise
            await anyio.sleep(_BUSY_WAIT)

    async def _begin(self, connection: sqlite3.Connection, what: str) -> None:
        """Begin to write, as soon as no other connection does."""
        while True:
            with self._definite(what):
                if begin(connection, "IMMEDIATE"):
                    return
            await anyio.sleep(_BUSY_WAIT)

    async def _commit(
        self, connection: sqlite3.Connection, lock: OwnerLock, records: Sequence[Record], what: str
    ) -> None:
        """Write records at the end of the open transaction, commit it, and raise the counter."""
        committing = False
        number, self._number = self._number, None  # until it is known again
        try:
            lock.hold()
            if number is None:
                number = sqlite_tables.last_number(connection, self._name)
            number = sqlite_tables.insert(connection, self._name, number, records)
            committing = True
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            # A log that cannot be synced may hold the commit all the same, and the next process would find it.
            in_the_log = committing and primary_code(error) == sqlite3.SQLITE_IOERR
            uncertain = not _rolled_back(connection) or in_the_log
            raise JournalWriteFailed(str(self._file), what, str(error), uncertain=uncertain) from error
        except BaseException:
            _rolled_back(connection)
            raise
        self._number = number
        self._check_files(what)
        try:
            await self._raise_counter(connection, lock, number)
        except sqlite3.Error as error:
            msg = f"it is in the database, and its lock could not be written: {error}"
            raise JournalWriteFailed(str(self._file), what, msg, uncertain=True) from error

    @staticmethod
    async def _raise_counter(connection: sqlite3.Connection, lock: OwnerLock, number: int) -> None:
        """Raise the counter of records to those that are durable, unless other connections go on writing.

        The lock is given up for the moment of this commit. Another process must not get it then, so it takes no lock
        without the right to write to the database, which this one has meanwhile. The records are durable: a caller that
        is cancelled is not interrupted here.
        """
        if await _before_long(lambda: begin(connection, "IMMEDIATE"), _BUSY_WAIT):
            try:
                lock.count(number)
                await _before_long(lock.take, _PROBE_WAIT)
            finally:
                connection.rollback()

    # ---- checks ----

    def _checked(self, what: str) -> tuple[sqlite3.Connection, OwnerLock]:
        """Return the connection and the lock, if this process and the files are the ones of the opening."""
        if self._pid not in (0, os.getpid()):
            raise JournalWriteFailed(
                str(self._file), what, f"process {self._pid} opened it, and this is a fork of it", uncertain=True
            )
        if self._connection is None or self._lock is None:
            raise JournalWriteFailed(str(self._file), what, "the journal is not open")
        self._check_files(what)
        return self._connection, self._lock

    def _check_files(self, what: str) -> None:
        changed = sqlite_files.what_has_changed(self._files)
        if changed is not None:
            raise JournalWriteFailed(str(self._file), what, changed, uncertain=True)

    @contextmanager
    def _definite(self, what: str) -> Generator[None]:
        """Turn an error before anything is committed into one that says so."""
        try:
            yield
        except sqlite3.Error as error:
            raise JournalWriteFailed(str(self._file), what, str(error)) from error


def _connect(file: Path, cached_statements: int = _STATEMENTS) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=0, isolation_level=None, cached_statements=cached_statements)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # on macOS a plain sync leaves the data in the drive's cache
        connection.execute(f"PRAGMA wal_autocheckpoint = {_PAGES_OF_THE_LOG}")
    except BaseException:
        connection.close()
        raise
    return connection


def _put_into_wal_mode(file: Path, connection: sqlite3.Connection) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise JournalUnavailable(str(file), f"SQLite cannot write ahead there: the journal mode stays {mode!r}")


async def _take_again(lock: OwnerLock) -> None:
    """Take the lock after a commit; another process that only tries it gives it back at once."""
    while not lock.take():  # noqa: ASYNC110 -- another process sets no event
        await anyio.sleep(_PROBE_WAIT)


async def _before_long(attempt: Callable[[], bool], pause: float) -> bool:
    """Repeat an attempt until it succeeds, or for `_COUNTER_WAIT`; return whether it did. It is not cancelled."""
    if attempt():  # as it nearly always does: a scope costs more than the attempt
        return True
    with anyio.move_on_after(_COUNTER_WAIT, shield=True):
        while True:
            await anyio.sleep(pause)
            if attempt():
                return True
    return False


def _rolled_back(connection: sqlite3.Connection) -> bool:
    with suppress(sqlite3.Error):
        connection.rollback()
        return True
    return False


@contextmanager
def _explaining() -> Generator[None]:
    """Say what to do where a statement was refused: SQLite's own words end with "not authorized"."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if str(error) == "not authorized":
            msg = (
                "not authorized: the transaction ends with the block of roll_transaction(): leave the block to commit, "
                "raise to undo, and use savepoints for a part. ATTACH is refused too, and all that follows where "
                "SQLite has rolled the transaction back"
            )
            error.args = (msg,)
        raise


def _authorizer_of(connection: sqlite3.Connection) -> Callable[..., int]:
    """Return what refuses to end the transaction, and to write once SQLite itself has rolled it back."""

    def authorize(action: int, *_: object) -> int:
        refused = action in _DENIED or not connection.in_transaction
        return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK

    return authorize


def _refuse_name(file: Path, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise JournalUnavailable(str(file), f"SQLite cannot store the name {name!r}: {error.reason}") from error


def _refuse_after_fork(file: Path) -> None:
    """Refuse a database that a forked child has inherited open: SQLite cannot tell its locks from its parent's."""
    with suppress(OSError):
        found = sqlite_files.identity_of(file)
        for pid, identity in _open_here.values():
            if pid != os.getpid() and identity == found:
                raise JournalUnavailable(
                    str(file),
                    f"this process was forked from process {pid} while that had it open; start it as a new program "
                    "instead (multiprocessing's 'spawn')",
                )


@contextmanager
def _unavailable(file: Path) -> Generator[None]:
    """Turn SQLite's and the system's errors of opening and reading into ours."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        code = primary_code(error) if isinstance(error, sqlite3.Error) else None
        was_a_journal = code == sqlite3.SQLITE_NOTADB and any(file.parent.glob(f"{glob.escape(file.name)}.*.lock"))
        if code == sqlite3.SQLITE_CORRUPT or was_a_journal:
            raise JournalCorrupt(str(file), 0, str(error)) from error
        raise JournalUnavailable(str(file), str(error)) from error


def _is_momentary(error: BaseException) -> bool:
    """Return whether SQLite could do something at that moment only: another process recovers a log, for instance."""
    return isinstance(error.__cause__, sqlite3.Error) and is_busy(error.__cause__)
