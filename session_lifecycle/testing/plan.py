"""The content of a script as values: actions at instants, data feeds, silences and faults of the roll."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final

import msgspec

from session_lifecycle._runtime.manager import SessionBoundaryManager
from session_lifecycle.testing.local import Days

_NO_TIME: Final = timedelta(0)


class Act(msgspec.Struct, frozen=True):
    """An action of a script at an instant: on the stage, or of the manager of that name, None for each.

    `text` is its line in the diary; without `do` and `call` it is only that line.
    """

    at: datetime
    text: str
    do: Callable[[Any], object] | None = None
    call: Callable[[SessionBoundaryManager], object] | None = None
    manager: str | None = None


class Restart(Act, frozen=True):
    """The application is killed, and created again after `down`."""

    down: timedelta = _NO_TIME


class DataFeed(msgspec.Struct, frozen=True):
    """Data that arrives at an interval: in a function, in one feed, or in the manager and all its feeds."""

    interval: timedelta
    feed: str | None = None
    into: Callable[[Any], object] | None = None


class Silence(msgspec.Struct, frozen=True):
    """An interval without data, of one feed or of all."""

    start: datetime
    end: datetime
    feed: str | None
    text: str


class RollFault(msgspec.Struct, frozen=True):
    """A fault in one attempt at the roll: a delay, or an error instead of the application's roll or `after` it.

    With `down` the application is killed there, and created again after that. The fault is in the roll of the manager
    of that name, None for each.
    """

    delay: timedelta = _NO_TIME
    error: Exception | None = None
    after: bool = False
    down: timedelta | None = None
    manager: str | None = None


class ScriptPlan(msgspec.Struct, frozen=True):
    """The content of a script."""

    days: Days
    strict: bool
    acts: tuple[Act, ...] = ()
    data: tuple[DataFeed, ...] = ()
    silences: tuple[Silence, ...] = ()
    roll_faults: Mapping[date, tuple[RollFault, ...]] = msgspec.field(default_factory=dict[date, tuple[RollFault, ...]])
