"""The errors of journals. Each says what was tried, on which journal, and the next step."""

from datetime import datetime

from session_lifecycle._model.errors import LifecycleError


class JournalLocked(LifecycleError):
    """Another manager holds the journal: of process `pid` and since then, in UTC, where that is known."""

    __module__ = "session_lifecycle"

    def __init__(self, journal: str, pid: int | None, since: datetime | None = None) -> None:
        super().__init__(journal, pid, since)
        self.journal = journal
        self.pid = pid
        self.since = since

    def __str__(self) -> str:
        holder = "another manager" if self.pid is None else f"process {self.pid}"
        since = "" if self.since is None else f" since {self.since:%Y-%m-%d %H:%M:%S} UTC"
        return (
            f"the journal {self.journal} is held by {holder}{since}: one manager at a time may use it. "
            "Stop the other one, or give this one a journal of its own. A standby that takes over needs a journal in "
            "PostgreSQL"
        )


class JournalCorrupt(LifecycleError):
    """The journal is damaged: a record has changed, is missing, or does not follow from those before it.

    `seq` is that of the first damaged record, 0 where the damage is not one record's.
    """

    __module__ = "session_lifecycle"

    def __init__(self, journal: str, seq: int, why: str) -> None:
        super().__init__(journal, seq, why)
        self.journal = journal
        self.seq = seq
        self.why = why

    def __str__(self) -> str:
        where = f" at record {self.seq}" if self.seq else ""
        return (
            f"the journal {self.journal} is damaged{where}: {self.why}. Nothing was started. "
            "Restore it from a copy. Or find out which session the application is in, give the manager a journal of "
            "another name or path, and start with session= that date"
        )


class JournalMismatch(LifecycleError):
    """The journal belongs to another calendar, session or version than the one being started."""

    __module__ = "session_lifecycle"

    def __init__(self, what: str, found: object, wanted: object) -> None:
        super().__init__(what, found, wanted)
        self.what = what
        self.found = found
        self.wanted = wanted

    def __str__(self) -> str:
        return (
            f"{self.what} of the journal is {self.found}, and {self.wanted} was asked for. Nothing was started. "
            "Pass the manager its own journal, or start it with what the journal records"
        )


class JournalUnavailable(LifecycleError):
    """The journal cannot be opened, created or read. The system's error is the `__cause__`."""

    __module__ = "session_lifecycle"

    def __init__(self, journal: str, reason: str) -> None:
        super().__init__(journal, reason)
        self.journal = journal
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"the journal {self.journal} cannot be opened or read: {self.reason}. Nothing was recorded. "
            "Check the path, or the address of the server, and the permissions"
        )


class JournalWriteFailed(LifecycleError):
    """Records could not be made durable. The engine's error is the `__cause__`.

    They do not count; or, where it is `uncertain`, they may or may not be in the journal, and the next start reads
    which.
    """

    __module__ = "session_lifecycle"

    def __init__(self, journal: str, entry: str, reason: str, *, uncertain: bool = False) -> None:
        super().__init__(journal, entry, reason, uncertain)
        self.journal = journal
        self.entry = entry
        self.reason = reason
        self.uncertain = uncertain

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with `uncertain`, which is a keyword."""
        return _write_failed, (self.journal, self.entry, self.reason, self.uncertain), vars(self)

    def __str__(self) -> str:
        if self.uncertain:
            return (
                f"whether {self.entry!r} was written to the journal {self.journal} is uncertain: {self.reason}. "
                "Fix the database or the disk. In ERROR, call `await manager.recover()`, or restart: both find out"
            )
        return (
            f"{self.entry!r} could not be written to the journal {self.journal}: {self.reason}. "
            "Remove the cause; where it is the disk, free space or fix the disk. "
            "In ERROR, call `await manager.recover()` to try again"
        )


def _write_failed(journal: str, entry: str, reason: str, uncertain: bool) -> JournalWriteFailed:  # noqa: FBT001 -- as pickled
    return JournalWriteFailed(journal, entry, reason, uncertain=uncertain)


class NotLeadingError(LifecycleError):
    """Another replica leads, or this one cannot know whether it leads: it must not write."""

    __module__ = "session_lifecycle"

    def __init__(self, what: str, journal: str, term: int) -> None:
        super().__init__(what, journal, term)
        self.what = what
        self.journal = journal
        self.term = term

    def __str__(self) -> str:
        return (
            f"{self.what} was refused: this replica does not lead the journal {self.journal} (its last term is "
            f"{self.term}). Nothing was written. Do it on the replica that leads"
        )


class NoTransactionError(LifecycleError):
    """There is no roll, or no database, for the transaction that was asked for."""

    __module__ = "session_lifecycle"

    def __init__(self, call: str, why: str) -> None:
        super().__init__(call, why)
        self.call = call
        self.why = why

    def __str__(self) -> str:
        return f"{self.call} was refused: {self.why}. Nothing was written"
