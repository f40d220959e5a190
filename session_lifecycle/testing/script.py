"""Script the day of an application in a few lines: what the market, the clock and the roll do, and when.

A script is a value: each method checks its arguments at once and returns a longer script. `run` plays it.
"""

from collections.abc import Callable
from copy import copy
from datetime import date, datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from session_lifecycle._model.config import Resolution, require_duration
from session_lifecycle._model.errors import ConfigurationError
from session_lifecycle._model.overrides import Override
from session_lifecycle._model.session import Session
from session_lifecycle._runtime.manager import SessionBoundaryManager
from session_lifecycle._schedules.base import Schedule
from session_lifecycle.testing.local import Days, LocalTime
from session_lifecycle.testing.plan import Act, DataFeed, Restart, RollFault, ScriptPlan, Silence
from session_lifecycle.testing.result import Result
from session_lifecycle.testing.stage import Stage

App = TypeVar("App")

_NO_TIME: Final = timedelta(0)
_HALTED: Final = "halted by the script"


class _Written(msgspec.Struct, frozen=True):
    """The state of a script: the plan, the session and the manager that calls refer to, and the calls that built it."""

    plan: ScriptPlan
    day: date
    calls: tuple[str, ...]
    manager: str | None = None


class Script:
    """Some days of an exchange, and what happens on them. `run` plays them with an application.

    Times are local times of the exchange: `"10:15"`, a `time`, or an aware datetime. A local time is the one in the
    session, or the nearest to it; `on` selects another session. The script runs from six hours before the first open
    (not before the previous close) to six hours after the last close, or to an hour after the last session's end,
    whichever is later.

    A script is immutable: each method returns a new one, so several scripts can share a beginning.

    Args:
        schedule: a `Schedule`, or the name of an exchange_calendars calendar. The application always uses this one,
            instead of its own.
        day: the date of the first session.
        days: the number of sessions.
        strict: whether `run` raises what the manager refuses, such as a halt after the close. Otherwise the refusals
            are in `Result.refused`.

    Raises:
        CalendarUnavailable: there is no calendar of that name, or building it failed.
        NotASession: there is no session on `day`.
        ScheduleExhausted: the schedule has fewer sessions.
        TypeError: `day` is no date.
        ConfigurationError: (this and every method) a value is invalid; names it.
    """

    __module__ = "session_lifecycle.testing"

    __slots__ = ("_written",)

    def __init__(self, schedule: Schedule | str, day: date, *, days: int = 1, strict: bool = True) -> None:
        plan = ScriptPlan(Days.of(schedule, day, days), strict)
        options = f"{f', days={days}' if days != 1 else ''}{'' if strict else ', strict=False'}"
        self._written = _Written(plan, day, (f"Script({schedule!r}, {_shown(day)}{options})",))

    def __repr__(self) -> str:
        return ".".join(self._written.calls)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Script) and self._written.calls == other._written.calls

    def __hash__(self) -> int:
        return hash(self._written.calls)

    @property
    def schedule(self) -> Schedule:
        """The schedule that the application uses."""
        return self._written.plan.days.schedule

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The sessions of the script."""
        return self._written.plan.days.sessions

    async def run(self, factory: Callable[[type[SessionBoundaryManager]], App]) -> Result[App]:
        """Play the script with an application, in simulated time, and return the result.

        `factory` creates the application, and is called with the class of its manager. That class has the arguments of
        `SessionBoundaryManager`, but uses the script's schedule and clock, and applies the script's faults before the
        application's roll. The factory returns the manager itself, a `SessionGroup`, or an application that creates
        them. An application that is an async context manager, as a group is, is entered; one with an async method
        `run()` is run by that; for any other, its managers are entered. Several managers need names of their own.

        Raises:
            ConfigurationError: the factory creates no manager, or two of the same name; or a silence interrupts no
                data.
            AssertionError: as raised in a roll or a handler of the application, with the diary so far as a note. The
                manager survives it, and the script does not.
            Exception: as raised by the application or a `call`, and in a strict script what the manager refuses, with
                such a note too.
        """
        for silence in self._written.plan.silences:
            if not any(silence.feed is None or data.feed in (None, silence.feed) for data in self._written.plan.data):
                rule = "must interrupt data; add the data with data_every()"
                raise ConfigurationError("silence", silence.text, rule)
        return await Stage(self._written.plan, repr(self)).play(factory)

    # ---- days ----

    def on(self, day: date) -> "Script":
        """Select another session of the script: the times and roll faults of the following calls refer to it."""
        session = self._written.plan.days.on(day)
        return self._next(f"on({_shown(day)})", day=session.date)

    def for_manager(self, name: str | None) -> "Script":
        """Select one of several managers, by its name: the following calls and faults of the roll refer to it.

        Without a selection, or with None, they refer to every manager. Data and the clock belong to all of them.
        """
        calls = (*self._written.calls, f"for_manager({name!r})")
        return self._with(msgspec.structs.replace(self._written, calls=calls, manager=name))

    # ---- the market ----

    def data_every(
        self, interval: timedelta, *, feed: str | None = None, into: Callable[[Any], object] | None = None
    ) -> "Script":
        """Deliver data at each open, and then at that interval, while the market is open and not on a break.

        The data is recorded in the manager and in each of its feeds, or in `feed` only. With `into` that function is
        called instead, with the application as its argument. It may be sync or async.
        """
        require_duration("interval", interval)
        if into is not None:
            _require_function("into", into)
        taken = [data for data in self._written.plan.data if data.feed == feed and data.into == into]
        if taken:
            raise ConfigurationError("data_every", feed, "has data in this script already")
        data = DataFeed(interval, feed, into)
        return self._next(_call("data_every", interval, feed=feed, into=into), data=(*self._written.plan.data, data))

    def silence(self, start: LocalTime, end: LocalTime, *, feed: str | None = None) -> "Script":
        """Deliver no data from `start`, inclusive, to `end`, exclusive; of one feed if `feed` is given."""
        begins, ends = self._span("silence", start, end)
        for other in self._written.plan.silences:
            if begins < other.end and other.start < ends and (feed == other.feed or None in (feed, other.feed)):
                raise ConfigurationError("silence", (start, end), f"must not overlap the silence {other.text}")
        silence = Silence(begins, ends, feed, f"{start} to {end}")
        of_feed = "" if feed is None else f" of {feed}"
        acts = (Act(begins, f"the data{of_feed} stops"), Act(ends, f"the data{of_feed} is back"))
        call = _call("silence", start, end, feed=feed)
        return self._next(call, silences=(*self._written.plan.silences, silence), acts=acts)

    def halt(self, start: LocalTime, end: LocalTime | None = None, *, reason: str = _HALTED) -> "Script":
        """Halt trading at `start`, and resume it at `end`. Without `end`, the halt lasts until the close."""
        begins, ends = (self._at("halt", start), None) if end is None else self._span("halt", start, end)
        name = self._written.manager
        acts = [Act(begins, f"halt({reason!r})", call=lambda manager: manager.halt(reason), manager=name)]
        if ends is not None:
            acts.append(Act(ends, "resume()", call=lambda manager: manager.resume(), manager=name))
        options = {} if reason == _HALTED else {"reason": reason}
        return self._next(_call("halt", start, *(() if end is None else (end,)), **options), acts=tuple(acts))

    def apply(self, at: LocalTime, override: Override) -> "Script":
        """Await `manager.apply(override)`: an early close or a closure is announced."""
        return self._calling("apply", at, (override,), lambda manager: manager.apply(override))

    # ---- the clock ----

    def step_clock(self, at: LocalTime, delta: timedelta) -> "Script":
        """Step the wall clock, forward or back. No time passes. Later local times refer to the stepped clock."""
        if not isinstance(delta, timedelta) or not delta:
            raise ConfigurationError("step_clock", delta, "must be a timedelta other than zero")
        return self._doing("step_clock", at, (delta,), lambda stage: stage.clock.step(delta))

    # ---- the roll ----

    def roll_fails(self, times: int = 1, *, error: Exception | None = None, after: bool = False) -> "Script":
        """Fail the next attempts at the session's roll, `times` of them, instead of awaiting the application's roll.

        With `after` the application's roll is awaited first: it completes its work, and the attempt fails anyway.
        Several calls of `roll_fails` and `slow_roll` apply to the attempts in the order of the calls.
        """
        if type(times) is not int or times < 1:
            raise ConfigurationError("roll_fails", times, "must be a whole number of at least 1")
        if error is not None and not isinstance(error, Exception):
            raise ConfigurationError("roll_fails", error, "must be an Exception")
        call = _call("roll_fails", *(() if times == 1 else (times,)), error=error, after=after)
        error = ConnectionError("the script fails the roll") if error is None else error
        return self._faults(call, times * (RollFault(error=error, after=after),))

    def slow_roll(self, delta: timedelta) -> "Script":
        """Delay the next attempt at the session's roll by `delta`, before the application's roll is awaited."""
        require_duration("slow_roll", delta)
        return self._faults(_call("slow_roll", delta), (RollFault(delay=delta),))

    def kill_in_roll(self, down: timedelta = _NO_TIME, *, after: bool = False) -> "Script":
        """Kill the application in the next attempt at the session's roll, and create another one after `down`.

        By default the application's roll is not awaited. With `after` it has completed, and the manager does not get to
        know: this is the crash that a journal resumes, and for which a roll must be idempotent.
        """
        require_duration("kill_in_roll", down, zero=True)
        call = _call("kill_in_roll", *((down,) if down else ()), after=after)
        return self._faults(call, (RollFault(after=after, down=down),))

    # ---- the operator and the application ----

    def fail(self, at: LocalTime, reason: str) -> "Script":
        """Call `manager.fail(reason)`."""
        return self._calling("fail", at, (reason,), lambda manager: manager.fail(reason))

    def recover(self, at: LocalTime, resolution: Resolution = Resolution.RETRY) -> "Script":
        """Await `manager.recover(resolution)`."""
        return self._calling("recover", at, (resolution,), lambda manager: manager.recover(resolution))

    def end_session(self, at: LocalTime, reason: str) -> "Script":
        """Await `manager.end_session(reason)`."""
        return self._calling("end_session", at, (reason,), lambda manager: manager.end_session(reason))

    def call(self, at: LocalTime, function: Callable[[Any], object]) -> "Script":
        """Call a function with the application, to act on it or to check it. It may be sync or async.

        An exception ends the script, and `run` raises it.
        """
        _require_function("call", function)
        return self._doing("call", at, (function,), lambda stage: function(stage.app))

    def restart(self, at: LocalTime, down: timedelta = _NO_TIME) -> "Script":
        """Kill the application, without a `stop()` to clean up, and create another one after `down`.

        The factory is called again. Keep what must survive, such as a journal, outside of the application.
        """
        require_duration("restart", down, zero=True)
        call = _call("restart", at, *((down,) if down else ()))
        return self._next(call, acts=(Restart(self._at("restart", at), "restart", down=down),))

    # ---- helpers ----

    def _at(self, field: str, at: LocalTime) -> datetime:
        plan = self._written.plan
        return plan.days.instant(field, at, plan.days.on(self._written.day))

    def _span(self, field: str, start: LocalTime, end: LocalTime) -> tuple[datetime, datetime]:
        begins, ends = self._at(field, start), self._at(field, end)
        if begins >= ends:
            raise ConfigurationError(field, (start, end), "must end after it begins")
        return begins, ends

    def _doing(
        self, name: str, at: LocalTime, arguments: tuple[object, ...], do: Callable[[Stage], object]
    ) -> "Script":
        text = _call(name, *arguments)
        return self._next(_call(name, at, *arguments), acts=(Act(self._at(name, at), text, do),))

    def _calling(
        self, name: str, at: LocalTime, arguments: tuple[object, ...], call: Callable[[SessionBoundaryManager], object]
    ) -> "Script":
        act = Act(self._at(name, at), _call(name, *arguments), call=call, manager=self._written.manager)
        return self._next(_call(name, at, *arguments), acts=(act,))

    def _faults(self, call: str, faults: tuple[RollFault, ...]) -> "Script":
        day, plan = self._written.day, self._written.plan
        named = [msgspec.structs.replace(fault, manager=self._written.manager) for fault in faults]
        return self._next(call, roll_faults={**plan.roll_faults, day: (*plan.roll_faults.get(day, ()), *named)})

    def _next(
        self,
        call: str,
        *,
        day: date | None = None,
        acts: tuple[Act, ...] = (),
        **changes: Any,  # noqa: ANN401 -- as those of msgspec.structs.replace
    ) -> "Script":
        written = self._written
        plan = msgspec.structs.replace(written.plan, acts=(*written.plan.acts, *acts), **changes)
        return self._with(_Written(plan, day or written.day, (*written.calls, call), written.manager))

    def _with(self, written: _Written) -> "Script":
        longer = copy(self)
        object.__setattr__(longer, "_written", written)
        return longer


def _require_function(field: str, function: object) -> None:
    if not callable(function):
        raise ConfigurationError(field, function, "must be a function that takes the application")


def _call(name: str, *arguments: object, **options: object) -> str:
    """Return a call as source text, without options that are not set."""
    shown = [_shown(argument) for argument in arguments]
    shown += [f"{option}={_shown(value)}" for option, value in options.items() if value not in (None, False)]
    return f"{name}({', '.join(shown)})"


def _shown(value: object) -> str:
    """Return a value as source text, with the usual imports."""
    if isinstance(value, timedelta):
        return _shown_duration(value)
    if isinstance(value, Resolution):
        return str(value)
    text = getattr(value, "__qualname__", None) or repr(value)
    return text.replace("datetime.timezone.utc", "UTC").replace("datetime.", "")


def _shown_duration(delta: timedelta) -> str:
    size, parts = abs(delta), list[str]()
    for unit in ("days", "hours", "minutes", "seconds", "microseconds"):
        count, size = divmod(size, timedelta(**{unit: 1}))
        parts += [f"{unit}={count}"] if count else []
    return f"{'-' if delta < _NO_TIME else ''}timedelta({', '.join(parts)})"
