"""Every error of the package, each building its own message.

One root, `LifecycleError`. A message says what was tried, in which state, and what to do next. Where an error is also a
`ValueError` or the like, it is so that code which knows only the built-in kind still catches it. Typed arguments are
kept as attributes and as `args`, so that errors survive pickling.
"""

from collections.abc import Sequence
from datetime import date, datetime

from session_lifecycle._model.states import SessionState


def describe(error: BaseException) -> str:
    """Return an error as text: our own by its message, another with its type; also one that cannot show itself."""
    try:
        return str(error) if isinstance(error, LifecycleError) else repr(error)
    except Exception:  # the application's own exception
        return f"{type(error).__name__} (which cannot be shown)"


class LifecycleError(Exception):
    """The root of every error that this package raises on purpose."""

    __module__ = "session_lifecycle"


class NaiveDatetimeError(LifecycleError, ValueError):
    """An instant without a time zone was given; which instant it means is a guess, so none is made."""

    __module__ = "session_lifecycle"

    def __init__(self, what: str, value: datetime) -> None:
        super().__init__(what, value)
        self.what = what
        self.value = value

    def __str__(self) -> str:
        return (
            f"{self.what} is {self.value.isoformat()}, which has no time zone: "
            "pass an aware datetime, such as datetime.now(timezone.utc)"
        )


class ConfigurationError(LifecycleError, ValueError):
    """A setting has a value that it cannot have."""

    __module__ = "session_lifecycle"

    def __init__(self, field: str, value: object, rule: str) -> None:
        super().__init__(field, value, rule)
        self.field = field
        self.value = value
        self.rule = rule

    def __str__(self) -> str:
        return f"{self.field} = {self.value!r} is refused: {self.rule}"


class IllegalTransition(LifecycleError):
    """A trigger was fired that the present state has no edge for. The state is unchanged."""

    __module__ = "session_lifecycle"

    def __init__(self, state: SessionState, trigger: str, allowed: Sequence[str] = ()) -> None:
        super().__init__(state, trigger, allowed)
        self.state = state
        self.trigger = trigger
        self.allowed: tuple[str, ...] = tuple(allowed)

    def __str__(self) -> str:
        hint = f"; from here: {', '.join(self.allowed)}" if self.allowed else ""
        return f"{self.trigger!r} is not possible in {self.state.name}{hint}. Nothing was changed"


class InvalidSession(LifecycleError, ValueError):
    """Hours that cannot be: a close before the open, breaks outside the session, sessions that overlap."""

    __module__ = "session_lifecycle"


class CalendarUnavailable(LifecycleError, LookupError):
    """A calendar cannot be had, because its name is unknown or because building it failed."""

    __module__ = "session_lifecycle"

    def __init__(self, name: object, near: Sequence[str] = (), reason: str | None = None) -> None:
        super().__init__(name, near, reason)
        self.name = name
        self.near: tuple[str, ...] = tuple(near)
        self.reason = reason

    def __str__(self) -> str:
        if self.reason is not None:
            return f"the calendar {self.name!r} could not be built: {self.reason}"
        hint = f"did you mean {' or '.join(self.near)}?" if self.near else "see exchange_calendars.get_calendar_names()"
        return f"no calendar is called {self.name!r}: {hint}"


class ScheduleExhausted(LifecycleError):
    """The schedule was asked about a time that it knows nothing of. This never means "closed".

    `first` and `last` are the dates of the first and last sessions that it knows, or of the days that it can know.
    """

    __module__ = "session_lifecycle"

    def __init__(self, schedule: str, wanted: object, first: date, last: date) -> None:
        super().__init__(schedule, wanted, first, last)
        self.schedule = schedule
        self.wanted = wanted
        self.first = first
        self.last = last

    def __str__(self) -> str:
        return (
            f"{self.schedule} knows sessions from {self.first} to {self.last} only, and was asked for {self.wanted}: "
            "its knowledge ends there, which does not mean that the market is closed. Update the calendar's source"
        )


class NotASession(LifecycleError, ValueError):
    """A date was given that is no trading session of the schedule."""

    __module__ = "session_lifecycle"

    def __init__(self, schedule: str, day: date, near: Sequence[date] = ()) -> None:
        super().__init__(schedule, day, near)
        self.schedule = schedule
        self.date = day
        self.near: tuple[date, ...] = tuple(near)

    def __str__(self) -> str:
        hint = f"; the nearest are {' and '.join(map(str, self.near))}" if self.near else ""
        return f"{self.date} ({self.date:%A}) is not a session of {self.schedule}{hint}"


class OverrideRefused(LifecycleError, ValueError):
    """Hours were given that contradict the calendar, each other or the past, or that cannot be. Nothing has changed.

    `date` is the date that they are for, None where a file could not be understood.
    """

    __module__ = "session_lifecycle"

    def __init__(self, day: date | None, why: str) -> None:
        super().__init__(day, why)
        self.date = day
        self.why = why

    def __str__(self) -> str:
        where = "" if self.date is None else f" for {self.date}"
        return f"the override{where} is refused: {self.why}. Nothing was changed"


class SnapshotRefused(LifecycleError, ValueError):
    """A file of hours could not be read, understood or written. Nothing has changed.

    `place` says where in the file, None where it is not about one place.
    """

    __module__ = "session_lifecycle"

    def __init__(self, path: str, place: str | None, why: str, remedy: str) -> None:
        super().__init__(path, place, why, remedy)
        self.path = path
        self.place = place
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        where = self.path if self.place is None else f"{self.path}, {self.place}"
        return f"{where}: {self.why}. Nothing was changed; {self.remedy}"


class ReentrancyError(LifecycleError):
    """A call was made from inside the roll that would have to wait for that very roll."""

    __module__ = "session_lifecycle"

    def __init__(self, call: str) -> None:
        super().__init__(call)
        self.call = call

    def __str__(self) -> str:
        return (
            f"{self.call} was called from inside a roll or handler and would wait for itself: "
            "return first, and call it from a task of its own"
        )


class NotRunningError(LifecycleError):
    """The manager was used before it was started."""

    __module__ = "session_lifecycle"

    def __init__(self, call: str) -> None:
        super().__init__(call)
        self.call = call

    def __str__(self) -> str:
        return (
            f"{self.call} needs a running manager: enter `async with manager:` or `await tg.start(manager.run)` first, "
            "or start its SessionGroup"
        )


class AlreadyStartedError(LifecycleError):
    """A manager, or a group, was started a second time."""

    __module__ = "session_lifecycle"

    def __init__(self, kind: str = "SessionBoundaryManager") -> None:
        super().__init__(kind)
        self.kind = kind

    def __str__(self) -> str:
        return (
            f"this {self.kind} has been started already, and runs once only (a member counts as started): "
            f"create a new {self.kind}"
        )


class ManagerStopped(LifecycleError):
    """The manager stopped before what was awaited, or asked for, could happen."""

    __module__ = "session_lifecycle"

    def __init__(self, call: str, state: SessionState) -> None:
        super().__init__(call, state)
        self.call = call
        self.state = state

    def __str__(self) -> str:
        return (
            f"the manager has stopped, in {self.state.name}, and {self.call} can do nothing any more: create a new one"
        )


class GroupStopped(LifecycleError):
    """A group was asked for something that it can do only while it runs, or before."""

    __module__ = "session_lifecycle"

    def __init__(self, call: str) -> None:
        super().__init__(call)
        self.call = call

    def __str__(self) -> str:
        return f"the group has stopped, and {self.call} can do nothing any more: create a new SessionGroup"


class NotAMember(LifecycleError, LookupError):
    """A group was asked about a manager that is not in it."""

    __module__ = "session_lifecycle"

    def __init__(self, manager: str) -> None:
        super().__init__(manager)
        self.manager = manager

    def __str__(self) -> str:
        return f"{self.manager} is not in this group, whose `managers` are those that are: remove it from its own"


class RollNotOwedError(LifecycleError):
    """There is no roll to be started, marked as done or skipped by hand. Nothing has changed."""

    __module__ = "session_lifecycle"

    def __init__(self, state: SessionState, why: str) -> None:
        super().__init__(state, why)
        self.state = state
        self.why = why

    def __str__(self) -> str:
        return f"there is no roll to act on in {self.state.name}: {self.why}"


class RollFailedError(LifecycleError):
    """A roll asked for by `roll()` failed at its last attempt. The manager is in ERROR, the roll still owed.

    The last attempt's own exception is the `__cause__`.
    """

    __module__ = "session_lifecycle"

    def __init__(self, session: date, next_session: date | None, attempts: int, reason: str) -> None:
        super().__init__(session, next_session, attempts, reason)
        self.session = session
        self.next_session = next_session
        self.attempts = attempts
        self.reason = reason

    def __str__(self) -> str:
        target = f" to {self.next_session}" if self.next_session is not None else ""
        return (
            f"the roll from {self.session}{target} did not complete after {self.attempts} attempts: "
            f"{self.reason}. The roll is still owed: mend the cause, then `await manager.recover()`"
        )


class RollTimeoutError(LifecycleError, TimeoutError):
    """An attempt of the roll took longer than `roll_timeout` and was cancelled."""

    __module__ = "session_lifecycle"

    def __init__(self, timeout_seconds: float) -> None:
        super().__init__(timeout_seconds)
        self.timeout_seconds = timeout_seconds

    def __str__(self) -> str:
        return f"the attempt took longer than roll_timeout ({self.timeout_seconds:g} s) and was cancelled"


class HandlerTimeoutError(LifecycleError, TimeoutError):
    """A handler or a probe took longer than its own timeout, and was cancelled."""

    __module__ = "session_lifecycle"

    def __init__(self, handler: str, seconds: float) -> None:
        super().__init__(handler, seconds)
        self.handler = handler
        self.seconds = seconds

    def __str__(self) -> str:
        return f"{self.handler} did not return within its timeout of {self.seconds:g} s, and was cancelled"


class FeedNameTaken(LifecycleError, ValueError):
    """A feed of that name is registered already."""

    __module__ = "session_lifecycle"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"a feed {self.name!r} is registered already: use that one, remove() it first, or pick another name"


class FeedRemoved(LifecycleError):
    """A call on a feed that has been removed. Nothing has changed."""

    __module__ = "session_lifecycle"

    def __init__(self, name: str, call: str) -> None:
        super().__init__(name, call)
        self.name = name
        self.call = call

    def __str__(self) -> str:
        return f"feed {self.name!r} has been removed, so {self.call} does nothing: add_feed() registers it anew"


class HaltRefused(LifecycleError):
    """A halt of a session that is not open, nor about to be. Nothing has changed."""

    __module__ = "session_lifecycle"

    def __init__(self, state: SessionState) -> None:
        super().__init__(state)
        self.state = state

    def __str__(self) -> str:
        return (
            f"halt() in {self.state.name}: there is no trading to be halted; it can be from PRE_MARKET to the close, "
            "and in ERROR"
        )


class TooManySessionsMissed(LifecycleError):
    """More sessions went by than may be rolled or skipped without a person's decision."""

    __module__ = "session_lifecycle"

    def __init__(self, session: date, owner: date, limit: int) -> None:
        super().__init__(session, owner, limit)
        self.session = session
        self.owner = owner
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"more than {self.limit} sessions (max_catch_up_sessions) lie between the ended session {self.session} and "
            f"{self.owner}, which the clock says it is: check the clock; if it is right, `await manager.recover()`"
        )


class JournalLocked(LifecycleError):
    """Somebody else holds the journal."""

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
    """The journal has been damaged, elsewhere than at its end, where a crash can tear it."""

    __module__ = "session_lifecycle"

    def __init__(self, journal: str, offset: int, why: str) -> None:
        super().__init__(journal, offset, why)
        self.journal = journal
        self.offset = offset
        self.why = why

    def __str__(self) -> str:
        return (
            f"the journal {self.journal} is damaged at byte {self.offset}: {self.why}. Nothing was started. "
            "Restore it from a copy; or find out which session the application is in, move the file away, "
            "and start with session=that date"
        )


class JournalMismatch(LifecycleError):
    """The journal is not the one for what is being started."""

    __module__ = "session_lifecycle"

    def __init__(self, what: str, found: object, wanted: object) -> None:
        super().__init__(what, found, wanted)
        self.what = what
        self.found = found
        self.wanted = wanted

    def __str__(self) -> str:
        return (
            f"{self.what} of the journal is {self.found}, and {self.wanted} was asked for. Nothing was started. "
            "Give the manager the journal that belongs to it, or what belongs to this journal"
        )


class JournalUnavailable(LifecycleError):
    """The journal cannot be opened, created or read. The system's own error is the `__cause__`."""

    __module__ = "session_lifecycle"

    def __init__(self, journal: str, reason: str) -> None:
        super().__init__(journal, reason)
        self.journal = journal
        self.reason = reason

    def __str__(self) -> str:
        return f"the journal {self.journal} cannot be opened: {self.reason}. Nothing was started"


class JournalWriteFailed(LifecycleError):
    """A record could not be made durable, so it does not count. The system's own error is the `__cause__`."""

    __module__ = "session_lifecycle"

    def __init__(self, journal: str, entry: str, reason: str) -> None:
        super().__init__(journal, entry, reason)
        self.journal = journal
        self.entry = entry
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"{self.entry!r} could not be written to the journal {self.journal}: {self.reason}. "
            "Make room or mend the disk; in ERROR, `await manager.recover()` tries again"
        )


class SubscriberOverrun(LifecycleError):
    """A reader of `events()` fell so far behind that events had to be dropped for it."""

    __module__ = "session_lifecycle"

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"this reader left {self.limit} events unread, and later ones were dropped for it: "
            "read faster, or move slow work out of the loop; then call events() again"
        )


class ClockFailed(LifecycleError):
    """The clock raised, or gave something that is no instant. Its own exception is the `__cause__`."""

    __module__ = "session_lifecycle"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the clock failed: {self.reason}"


class NegativeAdvanceError(LifecycleError, ValueError):
    """Simulated time was asked to pass backwards."""

    __module__ = "session_lifecycle"

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return f"time cannot pass backwards ({self.seconds:g} s): step(delta) moves the wall clock back, as NTP would"


class ConcurrentAdvanceError(LifecycleError):
    """Two tasks asked the same simulated clock to advance at once."""

    __module__ = "session_lifecycle"

    def __str__(self) -> str:
        return "another task is advancing this clock: let one task alone drive simulated time"


class NeverSettledError(LifecycleError):
    """Simulated time could not pass because some task is never blocked."""

    __module__ = "session_lifecycle"

    def __init__(self, task: str, passes: int) -> None:
        super().__init__(task, passes)
        self.task = task
        self.passes = passes

    def __str__(self) -> str:
        return f"{self.task} was still running after {self.passes} passes of the event loop: it must wait on something"
