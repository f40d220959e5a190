"""Alarms: an anchor of each session and an offset from it. When an alarm fires is a pure function of these two."""

from datetime import datetime, timedelta
from enum import Enum, unique
from typing import Final

import msgspec

from session_lifecycle._model.config import require_duration
from session_lifecycle._model.errors import ConfigurationError
from session_lifecycle._model.legs import ANCHORS, PHASES, Anchor, is_phase_name
from session_lifecycle._model.session import Boundaries, Session

FURTHEST: Final = timedelta(days=7)
"""The largest offset of an alarm, either way."""

_SECOND: Final = timedelta(seconds=1)
_MICROSECOND: Final = timedelta(microseconds=1)


@unique
class Misfire(Enum):
    """What to do about an alarm that could not fire in time: the process was asleep, down, or owed a roll."""

    __module__ = "session_lifecycle"

    SKIP = "skip"
    """Fire it late if the state that it belongs to still holds by the clock; otherwise emit `AlarmSkipped`."""

    RUN_ONCE = "run-once"
    """Fire it late, once for each session, even if that state is over."""


class Alarm(msgspec.Struct, frozen=True):
    """An instant of each session, given by its offset from an anchor; a negative offset is before it.

    An anchor is a boundary or the start of a phase, such as "closing_auction"; "closing_auction.end" is its end. For a
    phase with a name of its own write "lunch_call.start" and "lunch_call.end". A session without the phase has no
    instant.

    On a half day it moves with the anchor. It may lie before its session's pre-market, even during the previous
    session, or after its session's end, and fires at exactly its instant. It belongs to the state that the clock alone
    implies at its instant, in whichever session: at exactly the close that is POST_MARKET.

    An alarm that is observed at most `grace` after its instant is on time. After that, `misfire` decides.

    With a journal, an alarm that has fired for a session does not fire again for it after a restart, nor after another
    replica has taken over; with `recurring_after_restart` it may, for what is harmless twice.

    Raises:
        ConfigurationError: a value is out of range; names the field, the value and the rule.
    """

    __module__ = "session_lifecycle"

    anchor: Anchor | str
    offset: timedelta = timedelta(0)
    misfire: Misfire = Misfire.SKIP
    grace: timedelta = timedelta(seconds=1)
    recurring_after_restart: bool = False

    def __post_init__(self) -> None:
        """Validate every field."""
        if self.anchor in PHASES:
            msgspec.structs.force_setattr(self, "anchor", f"{self.anchor}.start")
        if self.anchor not in ANCHORS and not _is_of_phase(self.anchor):
            raise ConfigurationError(
                "anchor",
                self.anchor,
                f"must be one of {', '.join(ANCHORS)}, or a phase: one of {', '.join(PHASES)}, or NAME.start or "
                "NAME.end with the name of any phase",
            )
        offset = self.offset
        if not isinstance(offset, timedelta) or abs(offset) > FURTHEST:
            raise ConfigurationError(
                "offset", offset, f"must be a timedelta of at most {FURTHEST.days} days either way"
            )
        if not isinstance(self.misfire, Misfire):
            raise ConfigurationError("misfire", self.misfire, "must be a Misfire")
        require_duration("grace", self.grace, zero=True)
        if not isinstance(self.recurring_after_restart, bool):
            raise ConfigurationError("recurring_after_restart", self.recurring_after_restart, "must be a bool")

    def __str__(self) -> str:
        seconds = self.offset.total_seconds()
        return self.anchor if not seconds else f"{self.anchor} {'-' if seconds < 0 else '+'} {abs(self.offset)}"

    @property
    def key(self) -> str:
        """Its anchor and offset as a word without spaces, such as `close-900s`. A journal names it by that.

        Alarms of the same anchor and offset have the same key, whatever else differs. Offsets are exact: `open+0.5s`.
        """
        seconds, part = divmod(abs(self.offset), _SECOND)
        fraction = f".{part // _MICROSECOND:06}".rstrip("0") if part else ""
        return f"{self.anchor}{'-' if self.offset < timedelta(0) else '+'}{seconds}{fraction}s"

    def instants(self, session: Session, bounds: Boundaries) -> tuple[datetime, ...]:
        """Return the instants at which it fires in a session, ascending: one, or one for each break."""
        return tuple(anchor + self.offset for anchor in self._anchors(session, bounds))

    def key_of(self, session: Session, instant: datetime) -> str:
        """Return what a journal calls it at one of its instants in a session: `key`, from the second on with `#2`."""
        return self.numbered_key(self.number_of(session, instant))

    def numbered_key(self, number: int) -> str:
        """Return the same for the number of an instant."""
        return self.key if number == 1 else f"{self.key}#{number}"

    def number_of(self, session: Session, instant: datetime) -> int:
        """Return which of its instants in a session that one is, from 1: with a break as anchor there may be several.

        Where the hours of the session change, an instant keeps its number.
        """
        if not self.may_repeat:
            return 1
        return 1 + self._anchors_in(session).index(instant - self.offset)

    def _anchors(self, session: Session, bounds: Boundaries) -> tuple[datetime, ...]:
        if self.may_repeat:
            return self._anchors_in(session)
        return (getattr(bounds, self.anchor),)

    @property
    def may_repeat(self) -> bool:
        """Whether a session can have several instants, or none: the anchor is one of its breaks or phases."""
        return self.anchor.startswith("break") or "." in self.anchor

    @property
    def phase(self) -> str | None:
        """The name of the phase that is its anchor; None where that is no phase."""
        name, _, edge = self.anchor.partition(".")
        return name if edge else None

    def _anchors_in(self, session: Session) -> tuple[datetime, ...]:
        name, _, edge = self.anchor.partition(".")
        if edge:
            phases = [phase for phase in session.phases if phase.name == name]
            return tuple(phase.end if edge == "end" else phase.start for phase in phases)
        return tuple(start if self.anchor == "break_start" else end for start, end in session.breaks)


def _is_of_phase(anchor: object) -> bool:
    if not isinstance(anchor, str):
        return False
    name, _, edge = anchor.partition(".")
    return edge in ("start", "end") and is_phase_name(name)
