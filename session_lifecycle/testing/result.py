"""What came of a script: the events, the rolls, the states, and the diary of it all."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Generic, TypeVar

import msgspec

from session_lifecycle._model.errors import LifecycleError
from session_lifecycle._model.events import Event, StateChanged
from session_lifecycle._model.states import SessionState
from session_lifecycle._runtime.manager import SessionBoundaryManager
from session_lifecycle.testing.local import Days, LocalTime

App = TypeVar("App")
E = TypeVar("E", bound=Event)


class RollAttempt(msgspec.Struct, frozen=True):
    """One attempt at the roll, as the application's side saw it; `error` is what it raised, None where it returned.

    `reached` tells whether the application's own roll was awaited. One that was killed or cancelled has that as error.
    """

    __module__ = "session_lifecycle.testing"

    session: date
    next_session: date
    began_at: datetime
    ended_at: datetime
    reached: bool
    error: BaseException | None = None

    @property
    def succeeded(self) -> bool:
        """Whether it returned."""
        return self.error is None

    @property
    def duration(self) -> timedelta:
        """How long it took, by the wall clock."""
        return self.ended_at - self.began_at


class Refused(msgspec.Struct, frozen=True):
    """Something that the script did and the manager refused."""

    __module__ = "session_lifecycle.testing"

    at: datetime
    what: str
    error: LifecycleError


class Line(msgspec.Struct, frozen=True):
    """A line of the diary: an event, or what the script did."""

    at: datetime
    text: str


@dataclass(frozen=True, repr=False)
class Result(Generic[App]):
    """What came of a script. It prints as a diary, in the exchange's time: `assert ..., result` shows that.

    `app` is the application and `manager` its manager, both the last ones where the script restarts them. `runs` are
    the events of each of them, `events` those of all. `rolls` are the attempts at the roll that were awaited. `refused`
    is what the script did and the manager would not have, in a script that is not strict.
    """

    __module__ = "session_lifecycle.testing"

    app: App
    manager: SessionBoundaryManager
    runs: tuple[tuple[Event, ...], ...]
    rolls: tuple[RollAttempt, ...]
    refused: tuple[Refused, ...]
    script: str
    days: Days = field(compare=False)
    lines: tuple[Line, ...] = field(compare=False)

    @property
    def events(self) -> tuple[Event, ...]:
        """Every event, oldest first."""
        return tuple(event for run in self.runs for event in run)

    def of(self, kind: type[E]) -> tuple[E, ...]:
        """Return the events of one class."""
        return tuple(event for event in self.events if isinstance(event, kind))

    @property
    def path(self) -> tuple[str, ...]:
        """The triggers of all changes of state, in their order."""
        return tuple(event.trigger for event in self.of(StateChanged))

    def state_at(self, at: LocalTime, day: date | None = None) -> SessionState:
        """Return the state at a local time of a day, by default the script's first; at a change, the new one.

        After a step of the clock back, the later of two passes is told.

        Raises:
            ConfigurationError: the time lies outside of the script, or `day` is none of its sessions.
        """
        session = self.days.sessions[0] if day is None else self.days.on(day)
        instant = self.days.instant("state_at", at, session)
        state = SessionState.NOT_STARTED
        for event in self.of(StateChanged):
            if event.observed_at <= instant:
                state = event.dest
        return state

    def __repr__(self) -> str:
        return diary(self.script, self.days, self.lines)


def diary(script: str, days: Days, lines: Sequence[Line]) -> str:
    """Return what happened as text: the script, and a line for each fact, with the exchange's time."""
    shown, day = [script], None
    for line in lines:
        local = days.local(line.at)
        if local.date() != day:
            day = local.date()
            shown.append(f"{day:%A, %Y-%m-%d}")
        fraction = f"{local:.%f}".rstrip("0").rstrip(".")
        shown.append(f"  {local:%H:%M:%S}{fraction}  {line.text}")
    return "\n".join(shown)
