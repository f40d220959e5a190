"""The result of a script: the events, the rolls, the states, and the diary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Generic, TypeVar

import msgspec

from session_lifecycle._model.errors import ConfigurationError, LifecycleError
from session_lifecycle._model.events import Event, StateChanged
from session_lifecycle._model.states import SessionState
from session_lifecycle._runtime.manager import SessionBoundaryManager
from session_lifecycle.testing.legal import assert_legal
from session_lifecycle.testing.local import Days, LocalTime

App = TypeVar("App")
E = TypeVar("E", bound=Event)


class RollAttempt(msgspec.Struct, frozen=True):
    """One attempt at the roll. `error` is the exception that it raised, None where it returned.

    `reached` is whether the application's own roll was awaited. An attempt that was killed or cancelled has that
    exception as its error. `name` is the manager's.
    """

    __module__ = "session_lifecycle.testing"

    session: date
    next_session: date
    began_at: datetime
    ended_at: datetime
    reached: bool
    error: BaseException | None = None
    name: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether it returned."""
        return self.error is None

    @property
    def duration(self) -> timedelta:
        """Its duration by the wall clock."""
        return self.ended_at - self.began_at


class Refused(msgspec.Struct, frozen=True):
    """An action of the script that the manager of that name refused."""

    __module__ = "session_lifecycle.testing"

    at: datetime
    what: str
    error: LifecycleError
    name: str | None = None


class Line(msgspec.Struct, frozen=True):
    """A line of the diary: an event, or an action of the script."""

    at: datetime
    text: str


@dataclass(frozen=True, repr=False)
class Result(Generic[App]):
    """The result of a script. Its repr is the diary, in the exchange's local time: `assert ..., result` shows it.

    `app` is the application, and `managers` are its managers by their names; the last ones where the script restarts
    them. `runs` has the events from each start of the application to its end, `events` those of all.
    Each event has the `name` of its manager. `rolls` has the attempts at the roll that were awaited. `refused` has
    the actions that the manager refused, in a script that is not strict.
    """

    __module__ = "session_lifecycle.testing"

    app: App
    managers: Mapping[str | None, SessionBoundaryManager]
    runs: tuple[tuple[Event, ...], ...]
    rolls: tuple[RollAttempt, ...]
    refused: tuple[Refused, ...]
    script: str
    days: Days = field(compare=False)
    lines: tuple[Line, ...] = field(compare=False)

    @property
    def manager(self) -> SessionBoundaryManager:
        """The application's manager, the first one where there are several."""
        return next(iter(self.managers.values()))

    @property
    def events(self) -> tuple[Event, ...]:
        """Every event, oldest first."""
        return tuple(event for run in self.runs for event in run)

    def of(self, kind: type[E], name: str | None = None) -> tuple[E, ...]:
        """Return the events of one class; with `name`, those of one manager."""
        return tuple(event for event in self.events if isinstance(event, kind) and name in (None, event.name))

    def assert_legal(self) -> None:
        """Assert that each run of the application can have emitted its events, as `assert_legal()` does for one.

        A restart begins a run in a state of its own; what survives it, such as a journal, is the application's.

        Raises:
            AssertionError: a run cannot; shows the first illegal event, its index, and the path up to it.
        """
        __tracebackhide__ = True  # pytest shows only the line that called this
        for run in self.runs:
            assert_legal(run)

    @property
    def path(self) -> tuple[str, ...]:
        """The triggers of all changes of state, in order."""
        return tuple(event.trigger for event in self.of(StateChanged))

    def state_at(self, at: LocalTime, day: date | None = None, *, name: str | None = None) -> SessionState:
        """Return the state at a local time of a day, by default the script's first. At a change it is the new state.

        `name` is the manager's, and is required where there are several. Where a step of the clock back repeats that
        time, it is the state at its last occurrence.

        Raises:
            ConfigurationError: the time lies outside the script, or `day` is not one of its sessions; or no manager has
                that name.
        """
        if name not in self.managers and (name is not None or len(self.managers) > 1):
            raise ConfigurationError("state_at", name, f"must be the name of a manager, of {[*self.managers]}")
        session = self.days.sessions[0] if day is None else self.days.on(day)
        instant = self.days.instant("state_at", at, session)
        state = SessionState.NOT_STARTED
        for event in self.of(StateChanged, name):
            if event.observed_at <= instant:
                state = event.dest
        return state

    def __repr__(self) -> str:
        return diary(self.script, self.days, self.lines)


def diary(script: str, days: Days, lines: Sequence[Line]) -> str:
    """Return the diary as text: the script, and one line for each event or action, in the exchange's local time."""
    shown, day = [script], None
    for line in lines:
        local = days.local(line.at)
        if local.date() != day:
            day = local.date()
            shown.append(f"{day:%A, %Y-%m-%d}")
        fraction = f"{local:.%f}".rstrip("0").rstrip(".")
        shown.append(f"  {local:%H:%M:%S}{fraction}  {line.text}")
    return "\n".join(shown)
