"""What an alarm is: an anchor of each session, and a distance from it. When it goes off is a pure function of those."""

from datetime import datetime, timedelta
from enum import Enum, unique
from typing import Final

import msgspec

from session_lifecycle._model.errors import ConfigurationError
from session_lifecycle._model.legs import ANCHORS, Anchor
from session_lifecycle._model.session import Boundaries, Session

FURTHEST: Final = timedelta(days=7)
"""How far from its anchor an alarm may lie, either way."""

_LONGEST_GRACE: Final = timedelta(days=3650)  # as for every duration of the configuration


@unique
class Misfire(Enum):
    """What to do about an alarm that could not go off in time: the process was asleep, down, or owed a roll."""

    __module__ = "session_lifecycle"

    SKIP = "skip"
    """Let it go off late if the state that it belongs to still holds by the clock; else tell that it was skipped."""

    RUN_ONCE = "run-once"
    """Let it go off late, once for each session, even where that state has gone."""


class Alarm(msgspec.Struct, frozen=True):
    """An instant of each session, told by its distance from an anchor; negative is before it.

    On a half day it moves with the anchor. It may lie before its session's pre-market, even while the session before is
    still on, or after its session's end, and goes off at that very instant. It belongs to the state that the clock
    alone implies at its instant, whatever the session: at exactly the close that is POST_MARKET.

    An alarm seen at most `grace` after its instant is on time; later, `misfire` decides.

    Raises:
        ConfigurationError: a value is out of range; names the field, the value and the rule.
    """

    __module__ = "session_lifecycle"

    anchor: Anchor
    offset: timedelta = timedelta(0)
    misfire: Misfire = Misfire.SKIP
    grace: timedelta = timedelta(seconds=1)

    def __post_init__(self) -> None:
        """Validate every field."""
        if self.anchor not in ANCHORS:
            raise ConfigurationError("anchor", self.anchor, f"must be one of {', '.join(ANCHORS)}")
        offset, grace = self.offset, self.grace
        if not isinstance(offset, timedelta) or abs(offset) > FURTHEST:
            raise ConfigurationError(
                "offset", offset, f"must be a timedelta of at most {FURTHEST.days} days either way"
            )
        if not isinstance(self.misfire, Misfire):
            raise ConfigurationError("misfire", self.misfire, "must be a Misfire")
        if not isinstance(grace, timedelta) or not timedelta(0) <= grace <= _LONGEST_GRACE:
            raise ConfigurationError(
                "grace", grace, f"must be a timedelta of zero or more, at most {_LONGEST_GRACE.days} days"
            )

    def __str__(self) -> str:
        seconds = self.offset.total_seconds()
        return self.anchor if not seconds else f"{self.anchor} {'-' if seconds < 0 else '+'} {abs(self.offset)}"

    def instants(self, session: Session, bounds: Boundaries) -> tuple[datetime, ...]:
        """Return when it goes off for a session, ascending: once, or once for each break."""
        return tuple(anchor + self.offset for anchor in self._anchors(session, bounds))

    def _anchors(self, session: Session, bounds: Boundaries) -> tuple[datetime, ...]:
        if self.anchor == "break_start":
            return tuple(start for start, _ in session.breaks)
        if self.anchor == "break_end":
            return tuple(end for _, end in session.breaks)
        return (getattr(bounds, self.anchor),)
