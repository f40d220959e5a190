"""An application's day, written down in a few lines: what the market, the clock and the roll do to it, and when.

A script is a value: each method returns a longer one and checks what it is given at once. `run` plays it.
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
    """A script so far: the plan, the session that times are of, and the calls that have made it."""

    plan: ScriptPlan
    day: date
    calls: tuple[str, ...]


class Script:
    """Some days of an exchange, and what happens on them, for `run` to play with an application.

    Times are the exchange's own: `"10:15"`, a `time`, or an aware datetime. Each is the one in the session, or the
    nearest to it; `on` turns to the next session. The script runs from six hours before the first open (not before the
    previous close) to six hours after the last close, or to an hour after the last session's end, where that is later.

    A script is immutable: each method returns a new one, so that one may be the beginning of many.

    Args:
        schedule: a `Schedule`, or the name of an exchange_calendars calendar. The application runs by this one,
            whatever it asks for.
        day: the date of the first session.
        days: how many sessions.
        strict: whether `run` raises what the manager refuses, such as a halt after the close. Otherwise that stands in
            `Result.refused`.

    Raises:
        NotASession: `day` is none.
        ScheduleExhausted: there are not so many sessions.
        ConfigurationError: (this and every method) a value cannot be; it is named.
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
        """The schedule that the application runs by."""
        return self._written.plan.days.schedule

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The sessions that the script is of."""
        return self._written.plan.days.sessions

    async def run(self, factory: Callable[[type[SessionBoundaryManager]], App]) -> Result[App]:
        """Play the script with an application, in simulated time, and return what happened.

        `factory` makes the application, and is given a class to make its manager of. That has the arguments of
        `SessionBoundaryManager`, but goes by the script's schedule and clock, and puts the script's faults before the
        application's roll. What it makes is the manager itself, or has it as its attribute `manager`. It is run as it
        is meant to be: entered, where it is an async context manager; by its async method `run()`, where it has one;
        else its manager is entered.

        Raises:
            ConfigurationError: the factory makes no manager or several, or a silence interrupts no data.
            Exception: what the application or a `call` raises, and in a strict script what the manager refuses; with
                the diary so far as a note.
        """
        for silence in self._written.plan.silences:
            if not any(silence.feed is None or data.feed in (None, silence.feed) for data in self._written.plan.data):
                rule = "must interrupt data; say with data_every() how often that comes"
                raise ConfigurationError("silence", silence.words, rule)
        return await Stage(self._written.plan, repr(self)).play(factory)

    # ---- days ----

    def on(self, day: date) -> "Script":
        """Turn to another of the script's sessions: what follows, times and faults of the roll, is that one's."""
        session = self._written.plan.days.on(day)
        return self._next(f"on({_shown(day)})", day=session.date)

    # ---- the market ----

    def data_every(
        self, interval: timedelta, *, feed: str | None = None, into: Callable[[Any], object] | None = None
    ) -> "Script":
        """Have data come at each open, and then so often, while the market is open and on no break.

        It is recorded with the manager, and with each of its feeds, or with the one that is named. With `into` that is
        called instead, with the application: sync or async.
        """
        require_duration("interval", interval)
        taken = [data for data in self._written.plan.data if data.feed == feed and data.into == into]
        if taken:
            raise ConfigurationError("data_every", feed, "comes from there already")
        data = DataFeed(interval, feed, into)
        return self._next(_call("data_every", interval, feed=feed, into=into), data=(*self._written.plan.data, data))

    def silence(self, start: LocalTime, end: LocalTime, *, feed: str | None = None) -> "Script":
        """Have no data come from `start` on, inclusive, until `end`, exclusive; from one feed, where it is named."""
        begins, ends = self._span("silence", start, end)
        for other in self._written.plan.silences:
            if begins < other.end and other.start < ends and (feed == other.feed or None in (feed, other.feed)):
                raise ConfigurationError("silence", (start, end), f"must not overlap that of {other.words}")
        silence = Silence(begins, ends, feed, f"{start} to {end}")
        of_whom = "" if feed is None else f" of {feed}"
        told = (Act(begins, f"the data{of_whom} stops"), Act(ends, f"the data{of_whom} is back"))
        call = _call("silence", start, end, feed=feed)
        return self._next(call, silences=(*self._written.plan.silences, silence), acts=told)

    def halt(self, start: LocalTime, end: LocalTime | None = None, *, reason: str = _HALTED) -> "Script":
        """Halt trading at `start`, and resume it at `end`; with none, the close does."""
        begins, ends = (self._at("halt", start), None) if end is None else self._span("halt", start, end)
        acts = [Act(begins, f"halt({reason!r})", lambda stage: stage.manager.halt(reason))]
        if ends is not None:
            acts.append(Act(ends, "resume()", lambda stage: stage.manager.resume()))
        told = {} if reason == _HALTED else {"reason": reason}
        return self._next(_call("halt", start, *(() if end is None else (end,)), **told), acts=tuple(acts))

    def apply(self, at: LocalTime, override: Override) -> "Script":
        """Announce other hours: an early close, a closure."""
        return self._doing("apply", at, (override,), lambda stage: stage.manager.apply(override))

    # ---- the clock ----

    def step_clock(self, at: LocalTime, delta: timedelta) -> "Script":
        """Step the wall clock, either way; no time passes. What follows goes by the wall clock as it then is."""
        if not isinstance(delta, timedelta) or not delta:  # pyright: ignore[reportUnnecessaryIsInstance] -- callers may be untyped
            raise ConfigurationError("step_clock", delta, "must be a timedelta other than zero")
        return self._doing("step_clock", at, (delta,), lambda stage: stage.clock.step(delta))

    # ---- the roll ----

    def roll_fails(self, times: int = 1, *, error: Exception | None = None, after: bool = False) -> "Script":
        """Have the next attempts at the session's roll fail, so many, instead of the application's roll.

        With `after` the application's roll is awaited first: it has done its work, and yet has failed. The attempts
        that `roll_fails` and `slow_roll` speak of come in the order of these calls.
        """
        if type(times) is not int or times < 1:
            raise ConfigurationError("roll_fails", times, "must be a whole number of at least 1")
        error = ConnectionError("the script fails the roll") if error is None else error
        if not isinstance(error, Exception):  # pyright: ignore[reportUnnecessaryIsInstance] -- callers may be untyped
            raise ConfigurationError("roll_fails", error, "must be an Exception to be raised")
        call = _call("roll_fails", *(() if times == 1 else (times,)), after=after)
        return self._faults(call, times * (RollFault(error=error, after=after),))

    def slow_roll(self, delta: timedelta) -> "Script":
        """Have the next attempt at the session's roll take so long before the application's roll is awaited."""
        require_duration("slow_roll", delta)
        return self._faults(_call("slow_roll", delta), (RollFault(delay=delta),))

    # ---- people ----

    def fail(self, at: LocalTime, reason: str) -> "Script":
        """Call `manager.fail(reason)`."""
        return self._doing("fail", at, (reason,), lambda stage: stage.manager.fail(reason))

    def recover(self, at: LocalTime, resolution: Resolution = Resolution.RETRY) -> "Script":
        """Await `manager.recover(resolution)`."""
        return self._doing("recover", at, (resolution,), lambda stage: stage.manager.recover(resolution))

    def end_session(self, at: LocalTime, reason: str) -> "Script":
        """Call `manager.end_session(reason)`."""
        return self._doing("end_session", at, (reason,), lambda stage: stage.manager.end_session(reason))

    def call(self, at: LocalTime, function: Callable[[Any], object]) -> "Script":
        """Call a function with the application, sync or async: to do something, or to look.

        What it raises ends the play, and is raised by `run`.
        """
        return self._doing("call", at, (function,), lambda stage: function(stage.app))

    def restart(self, at: LocalTime, down: timedelta = _NO_TIME) -> "Script":
        """Kill the application, without a chance to clean up by `stop()`, and make another one after `down`.

        The factory is called again. What is to survive, such as a journal, is kept by whoever keeps the factory.
        """
        require_duration("restart", down, zero=True)
        call = _call("restart", at, *((down,) if down else ()))
        return self._next(call, acts=(Restart(self._at("restart", at), "restart", None, down),))

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
        words = _call(name, *arguments)
        return self._next(_call(name, at, *arguments), acts=(Act(self._at(name, at), words, do),))

    def _faults(self, call: str, faults: tuple[RollFault, ...]) -> "Script":
        day, plan = self._written.day, self._written.plan
        return self._next(call, roll_faults={**plan.roll_faults, day: (*plan.roll_faults.get(day, ()), *faults)})

    def _next(
        self,
        call: str,
        *,
        day: date | None = None,
        acts: tuple[Act, ...] = (),
        **changes: Any,  # noqa: ANN401 -- as those of msgspec.structs.replace
    ) -> "Script":
        written, longer = self._written, copy(self)
        plan = msgspec.structs.replace(written.plan, acts=(*written.plan.acts, *acts), **changes)
        object.__setattr__(longer, "_written", _Written(plan, day or written.day, (*written.calls, call)))
        return longer


def _call(name: str, *arguments: object, **options: object) -> str:
    """Return a call as one would write it; options that are not set are left out."""
    shown = [_shown(argument) for argument in arguments]
    shown += [f"{option}={_shown(value)}" for option, value in options.items() if value not in (None, False)]
    return f"{name}({', '.join(shown)})"


def _shown(value: object) -> str:
    """Return a value as one would write it, with the usual imports."""
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
