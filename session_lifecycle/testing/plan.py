"""What a script says, as values: what happens when, what data comes, and what the roll meets."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final

import msgspec

from session_lifecycle.testing.local import Days

_NO_TIME: Final = timedelta(0)


class Act(msgspec.Struct, frozen=True):
    """Something that a script does at an instant; where there is nothing to be done, it is only told."""

    at: datetime
    words: str
    do: Callable[[Any], object] | None = None


class Restart(Act, frozen=True):
    """The application is killed, and made again after a while."""

    down: timedelta = _NO_TIME


class DataFeed(msgspec.Struct, frozen=True):
    """Data that comes so often: into a function, a feed, or all that there is."""

    interval: timedelta
    feed: str | None = None
    into: Callable[[Any], object] | None = None


class Silence(msgspec.Struct, frozen=True):
    """A time in which no data comes, of one feed or of all."""

    start: datetime
    end: datetime
    feed: str | None
    words: str


class RollFault(msgspec.Struct, frozen=True):
    """What is done to one attempt at the roll."""

    delay: timedelta = _NO_TIME
    error: Exception | None = None
    after: bool = False


class ScriptPlan(msgspec.Struct, frozen=True):
    """All that a script says."""

    days: Days
    strict: bool
    acts: tuple[Act, ...] = ()
    data: tuple[DataFeed, ...] = ()
    silences: tuple[Silence, ...] = ()
    roll_faults: Mapping[date, tuple[RollFault, ...]] = msgspec.field(default_factory=dict[date, tuple[RollFault, ...]])
