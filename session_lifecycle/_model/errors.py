"""The root of every error of the package, and the errors of managers and schedules; each builds its own message.

One root, `LifecycleError`. A message says what was tried, in which state, and what to do next. An error that is also a
built-in one, such as `ValueError`, is caught by code that knows only the built-in kind. Typed arguments are kept as
attributes and as `args`, so that errors survive pickling.
"""

from collections.abc import Sequence
from datetime import date, datetime

from session_lifecycle._model.states import SessionState


def describe(error: BaseException) -> str:
    """Return an error as text: a `LifecycleError` by its message, another with its type, even if its `repr` fails."""
    try:
        return str(error) if isinstance(error, LifecycleError) else repr(error)
    except Exception:  # the application's own exception
        return f"{type(error).__name__} (which cannot be shown)"


class LifecycleError(Exception):
    """The root of every error that this package raises on purpose."""

    __module__ = "session_lifecycle"


class NaiveDatetimeError(LifecycleError, ValueError):
    """A datetime without a time zone was given. It names no single instant, and none is guessed."""

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
    """A setting has a value outside its allowed range."""

    __module__ = "session_lifecycle"

    def __init__(self, field: str, value: object, rule: str) -> None:
        super().__init__(field, value, rule)
        self.field = field
        self.value = value
        self.rule = rule

    def __str__(self) -> str:
        return f"{self.field} = {self.value!r} is refused: {self.rule}"


class IllegalTransition(LifecycleError):
    """A trigger was fired that has no transition from the present state. The state is unchanged."""

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
    """Impossible hours: a close before the open, breaks outside the session, sessions that overlap."""

    __module__ = "session_lifecycle"


class CalendarUnavailable(LifecycleError, LookupError):
    """A calendar is not available: its name is unknown or would mislead, or building it failed.

    `near` are names to use instead. `reason` is None where no calendar has the name. `source` is the package
    that was asked for it.
    """

    __module__ = "session_lifecycle"

    def __init__(
        self, name: object, near: Sequence[str] = (), reason: str | None = None, source: str = "exchange_calendars"
    ) -> None:
        super().__init__(name, near, reason, source)
        self.name = name
        self.near: tuple[str, ...] = tuple(near)
        self.reason = reason
        self.source = source

    def __str__(self) -> str:
        if self.reason is not None and self.near:
            return f"the name {self.name!r} is refused: {self.reason}"
        if self.reason is not None:
            return f"the calendar {self.name!r} could not be built: {self.reason}"
        hint = f"did you mean {' or '.join(self.near)}?" if self.near else f"see {self.source}.get_calendar_names()"
        return f"no calendar is called {self.name!r}: {hint}"


class ScheduleExhausted(LifecycleError):
    """The schedule was asked about a time outside its knowledge. This never means "closed".

    `first` and `last` are the dates of the first and last sessions that it knows, or of the days that it covers.
    `remedy` says in words what adds the missing days.
    """

    __module__ = "session_lifecycle"

    def __init__(
        self, schedule: str, wanted: object, first: date, last: date, remedy: str = "Update the calendar's source"
    ) -> None:
        super().__init__(schedule, wanted, first, last, remedy)
        self.remedy = remedy
        self.schedule = schedule
        self.wanted = wanted
        self.first = first
        self.last = last

    def __str__(self) -> str:
        return (
            f"{self.schedule} knows sessions from {self.first} to {self.last} only, and was asked for {self.wanted}: "
            f"its knowledge ends there, which does not mean that the market is closed. {self.remedy}"
        )


class NotASession(LifecycleError, ValueError):
    """A date is not a trading session of the schedule."""

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
    """Hours contradict the calendar, each other or the past, or are impossible. Nothing has changed.

    `date` is the date of the override, None where a file could not be understood.
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

    `place` is the place in the file, None where the error concerns all of it.
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


class CancelledBeforeStart(LifecycleError):
    """A task of the application's code was cancelled from outside before its first step: none of that code ran."""

    __module__ = "session_lifecycle"

    def __init__(self, task: str) -> None:
        super().__init__(task)
        self.task = task

    def __str__(self) -> str:
        return (
            f"the task {self.task!r} was cancelled natively before its first step, so none of its code ran: something "
            "in the application cancels tasks that are not its own"
        )


class ReentrancyError(LifecycleError):
    """A call from inside a roll or handler would wait for that roll or handler to return."""

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
    """The manager stopped before a call could complete."""

    __module__ = "session_lifecycle"

    def __init__(self, call: str, state: SessionState) -> None:
        super().__init__(call, state)
        self.call = call
        self.state = state

    def __str__(self) -> str:
        return (
            f"the manager has stopped, in {self.state.name}, and {self.call} has no effect any more: create a new one"
        )


class GroupStopped(LifecycleError):
    """A group was called after it had stopped."""

    __module__ = "session_lifecycle"

    def __init__(self, call: str) -> None:
        super().__init__(call)
        self.call = call

    def __str__(self) -> str:
        return f"the group has stopped, and {self.call} has no effect any more: create a new SessionGroup"


class NotAMember(LifecycleError, LookupError):
    """A manager is not a member of the group."""

    __module__ = "session_lifecycle"

    def __init__(self, manager: str) -> None:
        super().__init__(manager)
        self.manager = manager

    def __str__(self) -> str:
        return (
            f"{self.manager} is not a member of this group: `group.managers` lists them. Call remove() on its own group"
        )


class RollNotOwedError(LifecycleError):
    """There is no roll to start, to mark as done or to skip, or another call has decided that. Nothing has changed."""

    __module__ = "session_lifecycle"

    def __init__(self, state: SessionState, why: str) -> None:
        super().__init__(state, why)
        self.state = state
        self.why = why

    def __str__(self) -> str:
        return f"there is no roll to act on in {self.state.name}: {self.why}"


class RollFailedError(LifecycleError):
    """A roll started by `roll()` failed at its last attempt. The manager is in ERROR and the roll is still owed.

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
            f"{self.reason}. The roll is still owed. Fix the cause, then call `await manager.recover()`"
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
    """A handler or a probe took longer than its own timeout and was cancelled."""

    __module__ = "session_lifecycle"

    def __init__(self, handler: str, seconds: float) -> None:
        super().__init__(handler, seconds)
        self.handler = handler
        self.seconds = seconds

    def __str__(self) -> str:
        return f"{self.handler} did not return within its timeout of {self.seconds:g} s and was cancelled"


class FeedNameTaken(LifecycleError, ValueError):
    """A feed of that name is registered already."""

    __module__ = "session_lifecycle"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"a feed {self.name!r} is registered already: use it, call its remove() first, or choose another name"


class FeedRemoved(LifecycleError):
    """A method of a removed feed was called. Nothing has changed."""

    __module__ = "session_lifecycle"

    def __init__(self, name: str, call: str) -> None:
        super().__init__(name, call)
        self.name = name
        self.call = call

    def __str__(self) -> str:
        return (
            f"feed {self.name!r} has been removed, so {self.call} has no effect: call add_feed() to register it again"
        )


class HaltRefused(LifecycleError):
    """`halt()` was called outside the pre-market and the market's hours. Nothing has changed."""

    __module__ = "session_lifecycle"

    def __init__(self, state: SessionState) -> None:
        super().__init__(state)
        self.state = state

    def __str__(self) -> str:
        return (
            f"halt() was called in {self.state.name}, where there is no trading to halt: "
            "call it from PRE_MARKET to the close, or in ERROR"
        )


class TooManySessionsMissed(LifecycleError):
    """More sessions were missed than may be rolled or skipped automatically."""

    __module__ = "session_lifecycle"

    def __init__(self, session: date, owner: date, limit: int) -> None:
        super().__init__(session, owner, limit)
        self.session = session
        self.owner = owner
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"more than {self.limit} sessions (max_catch_up_sessions) lie between the ended session {self.session} and "
            f"{self.owner}, the session by the clock. Check the clock. If it is right, call `await manager.recover()`"
        )


class SubscriberOverrun(LifecycleError):
    """A reader of `events()` left so many events unread that later ones were dropped."""

    __module__ = "session_lifecycle"

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"this reader left {self.limit} events unread, and later ones were dropped: "
            "read faster, or move slow work out of the loop, then call events() again"
        )


class ClockFailed(LifecycleError):
    """The clock raised, or returned something that is not an aware datetime. Its exception is the `__cause__`."""

    __module__ = "session_lifecycle"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the clock failed: {self.reason}"


class NegativeAdvanceError(LifecycleError, ValueError):
    """Simulated time was advanced by a negative amount."""

    __module__ = "session_lifecycle"

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return (
            f"time cannot pass backwards ({self.seconds:g} s): "
            "call step(delta) to move the wall clock back, as NTP would"
        )


class ConcurrentAdvanceError(LifecycleError):
    """Two tasks advanced the same simulated clock at once."""

    __module__ = "session_lifecycle"

    def __str__(self) -> str:
        return "another task is advancing this clock: advance simulated time from one task only"


class NeverSettledError(LifecycleError):
    """Simulated time could not pass, because a task never waits."""

    __module__ = "session_lifecycle"

    def __init__(self, task: str, passes: int) -> None:
        super().__init__(task, passes)
        self.task = task
        self.passes = passes

    def __str__(self) -> str:
        return f"{self.task} was still running after {self.passes} passes of the event loop: make it wait on something"
