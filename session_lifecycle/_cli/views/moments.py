"""What a session does and when, and the words and times in which the commands show it."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta, tzinfo
from typing import Final, Literal, cast

import msgspec

from session_lifecycle._cli.output import Instant
from session_lifecycle._core.timeline import Position
from session_lifecycle._model.session import Boundaries, Session
from session_lifecycle._model.states import SessionState

State = Literal["not_started", "pre_market", "active", "post_market", "ended"]
"""A state that schedule and clock alone imply."""

BoundaryName = Literal["pre_market_start", "open", "break_start", "break_end", "close", "end"]
"""What happens at an instant of a session. The roll to the next session is due at `end`."""

STATES: Final = {state: state.value.replace("_m", "-m").replace("_", " ") for state in SessionState}
BOUNDARIES: Final[dict[BoundaryName, str]] = {
    "pre_market_start": "pre-market",
    "open": "open",
    "break_start": "break",
    "break_end": "resume",
    "close": "close",
    "end": "end",
}
_NEXT: Final[dict[SessionState, BoundaryName]] = {
    SessionState.NOT_STARTED: "pre_market_start",
    SessionState.PRE_MARKET: "open",
    SessionState.ACTIVE: "close",
    SessionState.POST_MARKET: "end",
}


class Moment(msgspec.Struct, frozen=True):
    """Something that a session does, and when."""

    boundary: BoundaryName
    at: Instant


def moments(session: Session, bounds: Boundaries) -> Iterator[Moment]:
    """Yield everything that a session does, in order."""
    yield Moment("pre_market_start", bounds.pre_market_start)
    yield Moment("open", bounds.open)
    for start, end in session.breaks:
        yield Moment("break_start", start)
        yield Moment("break_end", end)
    yield Moment("close", bounds.close)
    yield Moment("end", bounds.end)


def coming(position: Position, t: datetime) -> Moment | None:
    """Return what comes next after `t`, breaks included; None where the schedule's knowledge ends."""
    if position.until is None:
        return None
    if position.state is SessionState.ACTIVE:
        for start, end in position.session.breaks:
            if t < start:
                return Moment("break_start", start)
            if t < end:
                return Moment("break_end", end)
    return Moment(_NEXT[position.state], position.until)


def is_on_break(session: Session, t: datetime) -> bool:
    """Tell whether a session is on a break at `t`."""
    return any(start <= t < end for start, end in session.breaks)


def scheduled_state(position: Position) -> State:
    """Return the state of a position as `--json` prints it."""
    return cast("State", position.state.value)


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
