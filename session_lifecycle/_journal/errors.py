"""The errors of journals. Each says what was tried, on which journal, and the next step."""

from session_lifecycle._model.errors import LifecycleError


class JournalLocked(LifecycleError):
    """Another manager holds the journal."""

    __module__ = "session_lifecycle"

    def __init__(self, journal: str, pid: int | None) -> None:
        super().__init__(journal, pid)
        self.journal = journal
        self.pid = pid

    def __str__(self) -> str:
        holder = "another manager" if self.pid is None else f"process {self.pid}"
        return (
            f"the journal {self.journal} is held by {holder}: one manager at a time may use it. "
            "Stop the other one, or give this one a journal of its own"
        )


class JournalCorrupt(LifecycleError):
    """The journal is damaged before its last line, which is the only one that a crash can leave incomplete."""

    __module__ = "session_lifecycle"

    def __init__(self, journal: str, offset: int, why: str) -> None:
        super().__init__(journal, offset, why)
        self.journal = journal
        self.offset = offset
        self.why = why

    def __str__(self) -> str:
        return (
            f"the journal {self.journal} is damaged at byte {self.offset}: {self.why}. Nothing was started. "
            "Restore it from a copy. Or find out which session the application is in, move the file away, "
            "and start with session= that date"
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
            f"the journal {self.journal} cannot be opened: {self.reason}. Nothing was started. "
            "Check the path and its permissions"
        )


class JournalWriteFailed(LifecycleError):
    """A record could not be made durable, so it does not count. The system's error is the `__cause__`."""

    __module__ = "session_lifecycle"

    def __init__(self, journal: str, entry: str, reason: str) -> None:
        super().__init__(journal, entry, reason)
        self.journal = journal
        self.entry = entry
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"{self.entry!r} could not be written to the journal {self.journal}: {self.reason}. "
            "Free space or fix the disk. In ERROR, call `await manager.recover()` to try again"
        )
