"""The boundaries and breaks of a session, and the words and times in which the commands show them."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta, tzinfo
from typing import Final, cast

import msgspec

from session_lifecycle._cli.output import Instant
from session_lifecycle._core.timeline import Position
from session_lifecycle._model.legs import LEGS, Anchor, StateValue
from session_lifecycle._model.session import Boundaries, Session
from session_lifecycle._model.states import SessionState

STATES: Final = {leg.state: leg.label for leg in LEGS} | {SessionState.ENDED: "ended"}
BOUNDARIES: Final[dict[Anchor, str]] = {
    **{leg.boundary: leg.boundary.removesuffix("_start").replace("_", "-") for leg in LEGS},
    "break_start": "break",
    "break_end": "resume",
}
"""What people read for a boundary or a break."""

_NEXT: Final[dict[SessionState, Anchor]] = {leg.state: leg.boundary for leg in LEGS}


MARK: Final = "~"
"""What stands after a boundary or a state that the configuration makes, and no fact of the venue."""

_DEFAULTED: Final = {leg.boundary: leg.fact for leg in LEGS if leg.default is not None}


class Moment(msgspec.Struct, frozen=True):
    """A boundary or a break of a session, and when it is. The roll to the next session is due at `end`.

    `configured` says that the configuration's durations make it: it is no fact of the venue.
    """

    boundary: Anchor
    at: Instant
    configured: bool

    @property
    def text(self) -> str:
        """What people read for it, marked where the configuration makes it."""
        return f"{self.word}{MARK if self.configured else ''}"

    @property
    def word(self) -> str:
        """What people read for it."""
        return BOUNDARIES[self.boundary]


class PhaseReport(msgspec.Struct, frozen=True):
    """A phase of a session."""

    name: str
    start: Instant
    end: Instant
    tradable: bool
    data_expected: bool


def phases_of(session: Session) -> tuple[PhaseReport, ...]:
    """Return the phases of a session, in order."""
    return tuple(
        PhaseReport(each.name, each.start, each.end, each.tradable, each.data_expected) for each in session.phases
    )


def moments(session: Session, bounds: Boundaries) -> Iterator[Moment]:
    """Yield everything that a session does, in order."""
    for leg, at in zip(LEGS, bounds, strict=True):
        if leg.state is SessionState.ACTIVE:
            yield from breaks(session)
        yield Moment(leg.boundary, at, is_configured(session, leg.boundary))


def is_configured(session: Session, boundary: Anchor) -> bool:
    """Return whether a boundary of a session is made by the configuration, since the venue's own is not known."""
    fact = _DEFAULTED.get(boundary)
    return fact is not None and getattr(session, fact) is None


def is_state_configured(session: Session, state: SessionState) -> bool:
    """Return whether a state lasts for as long as the configuration has it: a pre-market, or a post-market."""
    if state is SessionState.PRE_MARKET:
        return is_configured(session, "pre_market_start")
    return state is SessionState.POST_MARKET and is_configured(session, "end")


def footnote(calendar: str, own_hours: str) -> str:
    """Return what the mark says of a calendar, and where the venue's own hours are."""
    return f"{MARK} {calendar}: by configuration; {own_hours}"


def facts(session: Session | None) -> Iterator[Moment]:
    """Yield what a session itself says, without the boundaries that the configuration's durations make."""
    if session is None:
        return
    for leg in LEGS:
        at: datetime | None = getattr(session, leg.fact)
        if at is not None:
            yield Moment(leg.boundary, at, configured=False)
    yield from breaks(session)


def breaks(session: Session) -> Iterator[Moment]:
    """Yield the starts and ends of a session's breaks, in order."""
    for start, end in session.breaks:
        yield Moment("break_start", start, configured=False)
        yield Moment("break_end", end, configured=False)


def coming(position: Position, t: datetime) -> Moment | None:
    """Return what comes next after `t`, breaks included; None where the schedule's knowledge ends."""
    if position.until is None:
        return None
    if position.state is SessionState.ACTIVE:
        for moment in breaks(position.session):
            if t < moment.at:
                return moment
    boundary = _NEXT[position.state]
    return Moment(boundary, position.until, is_configured(position.session, boundary))


def is_on_break(session: Session, t: datetime) -> bool:
    """Return whether a session is on a break at `t`."""
    return any(start <= t < end for start, end in session.breaks)


def scheduled_state(position: Position) -> StateValue:
    """Return the state of a position as `--json` prints it."""
    return cast("StateValue", position.state.value)


def day_and_time(instant: datetime, zone: tzinfo, day: date) -> str:
    """Return the time in a zone, with the day of the week where it is another one than `day`."""
    local = instant.astimezone(zone)
    return f"{local:%H:%M}" if local.date() == day else f"{local:%a %H:%M}"


def countdown(left: timedelta) -> str:
    """Return how long it is until something: seconds are rounded up; from a day on, hours are rounded down."""
    days, seconds = divmod(max(-(-left // timedelta(seconds=1)), 0), 86_400)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{days} d {hours:2} h" if days else f"{hours}:{minutes:02}:{seconds % 60:02}"


def place(timezone: str) -> str:
    """Return the place that a time zone is named for, such as `New York`; its whole name where there is none."""
    return timezone.rpartition("/")[2].replace("_", " ")
