"""Trading sessions as plain values, and the pure rule for a session's boundaries.

A session is a snapshot of UTC instants. Intervals are half-open: at exactly `open` the market is open, at exactly
`close` it is not.
"""

from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import msgspec

from session_lifecycle._model.clock import as_utc
from session_lifecycle._model.errors import InvalidSession
from session_lifecycle._model.legs import ANCHORS, is_phase_name


class Phase(msgspec.Struct, frozen=True):
    """A named interval of a session, a fact of the venue: a night, an auction, an after-market; `start` ≤ t < `end`.

    A phase moves no boundary and no state. `name` is one of `PHASES`, or one of your own: letters, digits and
    underscores. `tradable` says whether orders can trade in it, `data_expected` whether market data comes.

    Raises:
        NaiveDatetimeError: an instant has no time zone.
        InvalidSession: `start` does not come before `end`, or the name is none, or that of a boundary.
        TypeError: `tradable` or `data_expected` is not a bool.
    """

    __module__ = "session_lifecycle"

    name: str
    start: datetime
    end: datetime
    tradable: bool
    data_expected: bool = True

    def __post_init__(self) -> None:
        """Convert both instants to UTC and validate every field."""
        require_phase_name(self.name)
        for field in ("tradable", "data_expected"):
            if type(getattr(self, field)) is not bool:
                msg = f"{field} of phase {self.name} must be a bool, not {getattr(self, field)!r}"
                raise TypeError(msg)
        put = msgspec.structs.force_setattr
        put(self, "start", as_utc(f"start of phase {self.name}", self.start))
        put(self, "end", as_utc(f"end of phase {self.name}", self.end))
        if not self.start < self.end:
            msg = f"phase {self.name}: start {self.start.isoformat()} must come before end {self.end.isoformat()}"
            raise InvalidSession(msg)


def require_phase_name(name: object) -> None:
    """Raise `InvalidSession` unless `name` can be the name of a phase."""
    if not is_phase_name(name):
        msg = (
            f"{name!r} cannot be the name of a phase: use letters, digits and underscores, and none of the boundaries "
            f"{', '.join(ANCHORS)}"
        )
        raise InvalidSession(msg)


Date = date
"""`date`, for a class that has a field of this name: from Python 3.14 on, its annotations would find the field."""


class Session(msgspec.Struct, frozen=True):
    """One trading session: its label and the instants of its regular hours, in UTC.

    `date` is the trade date; an overnight session opens on the evening before. `breaks` are (start, end) pairs inside
    the session, in order. `pre_market_start` and `post_market_end` are the venue's own, or None where the
    configuration's durations apply. `phases` are in order and do not overlap. They may lie before the open and after
    the close, a night on the evening before, and move no boundary.

    Raises:
        NaiveDatetimeError: an instant has no time zone.
        InvalidSession: the instants are not in order.
        TypeError: `phases` holds something else than a `Phase`.
    """

    __module__ = "session_lifecycle"

    date: Date
    open: datetime
    close: datetime
    breaks: tuple[tuple[datetime, datetime], ...] = ()
    pre_market_start: datetime | None = None
    post_market_end: datetime | None = None
    phases: tuple[Phase, ...] = ()

    def __post_init__(self) -> None:
        """Convert every instant to UTC and validate their order."""
        require_date("Session.date", self.date)
        put = msgspec.structs.force_setattr
        put(self, "open", self._utc("open", self.open))
        put(self, "close", self._utc("close", self.close))
        if self.breaks != ():
            put(self, "breaks", tuple((self._utc("break", a), self._utc("break", b)) for a, b in self.breaks))
        previous, what = self.open, "open"
        for start, end in self.breaks:
            self._ascending(what, previous, "break start", start)
            self._ascending("break start", start, "break end", end)
            previous, what = end, "break end"
        self._ascending(what, previous, "close", self.close)
        if self.pre_market_start is not None:
            put(self, "pre_market_start", self._utc("pre_market_start", self.pre_market_start))
            if self.pre_market_start > self.open:
                self._refuse("pre_market_start", self.pre_market_start, "open", self.open)
        if self.post_market_end is not None:
            put(self, "post_market_end", self._utc("post_market_end", self.post_market_end))
            if self.post_market_end < self.close:
                self._refuse("close", self.close, "post_market_end", self.post_market_end)
        if self.phases != ():
            put(self, "phases", tuple(self.phases))
            self._validate_phases()

    def _validate_phases(self) -> None:
        earlier: Phase | None = None
        for phase in self.phases:
            if not isinstance(phase, Phase):
                msg = f"Session.phases must hold Phase values, not {phase!r}"
                raise TypeError(msg)
            if earlier is not None and phase.start < earlier.end:
                msg = (
                    f"session {self.date}: phase {phase.name} starts at {phase.start.isoformat()}, before phase "
                    f"{earlier.name} ends at {earlier.end.isoformat()}"
                )
                raise InvalidSession(msg)
            earlier = phase

    def _repr_html_(self) -> str:
        from session_lifecycle._model.html import html_table  # only a notebook needs it

        instants = [("pre_market_start", self.pre_market_start), ("open", self.open)]
        for start, end in self.breaks:
            instants += [("break", start), ("resume", end)]
        instants += [("close", self.close), ("post_market_end", self.post_market_end)]
        for phase in self.phases:
            instants += [(phase.name, phase.start), (f"{phase.name}.end", phase.end)]
        rows = [(what, f"{at:%a %Y-%m-%d %H:%M:%S}") for what, at in instants if at is not None]
        return html_table(f"Session {self.date:%a} {self.date}", ("", "UTC"), rows)

    def _utc(self, what: str, instant: datetime) -> datetime:
        if type(instant) is datetime and instant.tzinfo is UTC:
            return instant  # the common case, without the text of a message
        return as_utc(f"{what} of {self.date}", instant)

    def _ascending(self, what: str, earlier: datetime, next_what: str, later: datetime) -> None:
        if not earlier < later:
            self._refuse(what, earlier, next_what, later)

    def _refuse(self, what: str, earlier: datetime, next_what: str, later: datetime) -> None:
        msg = f"session {self.date}: {what} {earlier.isoformat()} must come before {next_what} {later.isoformat()}"
        raise InvalidSession(msg)


class Boundaries(NamedTuple):
    """The four instants at which a session changes state, in ascending order; neighbours may be equal."""

    pre_market_start: datetime
    open: datetime
    close: datetime
    end: datetime


Boundaries.__module__ = "session_lifecycle"


def end_of(session: Session, following: Session | None, post_market_roll_delay: timedelta) -> datetime:
    """Return the instant at which a session ends: `post_market_end` or the delay, at most the next session's open."""
    end = session.post_market_end
    if end is None:
        end = session.close + post_market_roll_delay
    return end if following is None or end <= following.open else following.open


def boundaries(
    session: Session,
    previous: Session | None,
    following: Session | None,
    *,
    pre_market: timedelta,
    post_market_roll_delay: timedelta,
) -> Boundaries:
    """Return a session's boundaries: a pure function of the session, its neighbours and two durations.

    The pre-market never overlaps the previous session, and a session never outlasts the next one's open. States of zero
    width are normal: the session of a market without pauses ends at the instant at which the next one opens.
    """
    start = session.pre_market_start
    if start is None:
        start = session.open - pre_market
    if previous is not None:
        ended = end_of(previous, session, post_market_roll_delay)
        if ended > start:  # noqa: PLR1730 -- max() takes twice as long, and replays do this for decades
            start = ended
    return Boundaries(start, session.open, session.close, end_of(session, following, post_market_roll_delay))


boundaries.__module__ = "session_lifecycle"


def require_date(what: str, value: date) -> None:
    """Raise TypeError unless `value` is a plain date. A datetime is refused, although it is a subclass of date."""
    if not isinstance(value, date) or isinstance(value, datetime):
        msg = f"{what} must be a datetime.date (a session's label), not {value!r}"
        raise TypeError(msg)
