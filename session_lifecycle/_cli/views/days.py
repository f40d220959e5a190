"""What a session does and when, what is odd about it, and how people say that.

A schedule does not say what a venue's regular hours are on a date, so they are taken from the six weeks on either side:
those that most sessions of the same weekday have, and any that a quarter of all sessions have, which tells a change of
the hours for good from a half day. A half day closes earlier than that, and a holiday is a day of the week on which the
venue usually trades and this time does not.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Final, NamedTuple, cast

from session_lifecycle._cli.output import iso
from session_lifecycle._cli.shapes import BoundaryName, MomentJson, Oddity, State
from session_lifecycle._core.timeline import Position
from session_lifecycle._model.errors import ScheduleExhausted
from session_lifecycle._model.session import (
    Boundaries,
    Session,
)
from session_lifecycle._model.states import SessionState
from session_lifecycle._schedules.base import Schedule

_WEEK: Final = timedelta(weeks=1)
_WEEKS: Final = 6
_AROUND: Final = _WEEKS * _WEEK

STATES: Final = {state: state.value.replace("_m", "-m").replace("_", " ") for state in SessionState}
BOUNDARIES: Final[dict[BoundaryName, str]] = {
    "pre_market_start": "pre-market",
    "open": "open",
    "break_start": "break",
    "break_end": "resume",
    "close": "close",
    "end": "end",
}
ODDITIES: Final[dict[Oddity, str]] = {
    "half_day": "half day",
    "late_open": "late open",
    "extra_session": "extra session",
}
_NEXT: Final[dict[SessionState, BoundaryName]] = {
    SessionState.NOT_STARTED: "pre_market_start",
    SessionState.PRE_MARKET: "open",
    SessionState.ACTIVE: "close",
    SessionState.POST_MARKET: "end",
}


class Moment(NamedTuple):
    """Something that a session does, and when, in UTC."""

    boundary: BoundaryName
    at: datetime

    def as_json(self) -> MomentJson:
        """Return it as `--json` shows it."""
        return {"boundary": self.boundary, "at": iso(self.at)}


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
    """Return what comes next at `t`, breaks included; None where the schedule's knowledge ends."""
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


def as_state(state: SessionState) -> State:
    """Return a state as `--json` shows it."""
    return cast("State", state.value)


def day_and_time(instant: datetime, zone: tzinfo, day: date) -> str:
    """Return the time in a zone, with the day of the week where it is another one than `day`."""
    local = instant.astimezone(zone)
    return f"{local:%H:%M}" if local.date() == day else f"{local:%a %H:%M}"


def countdown(left: timedelta) -> str:
    """Return how long it is until something: in seconds that have begun or, from a day on, in hours that are full."""
    days, seconds = divmod(max(-(-left // timedelta(seconds=1)), 0), 86_400)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{days} d {hours:2} h" if days else f"{hours}:{minutes:02}:{seconds % 60:02}"


class UsualHours(NamedTuple):
    """A session's open and close by the exchange's clock, counted from the midnight that begins its date."""

    open: timedelta
    close: timedelta

    def __str__(self) -> str:
        minutes = (each // timedelta(minutes=1) % 1440 for each in self)
        return " to ".join(f"{minute // 60:02}:{minute % 60:02}" for minute in minutes)


class Usual:
    """What is usual for a venue on each day of the week, for dates from `first` to `last`, both inclusive."""

    def __init__(self, schedule: Schedule, first: date, last: date) -> None:
        self._zone = schedule.timezone
        self._first, self._last = first - _AROUND, last + _AROUND
        try:
            sessions = schedule.sessions(self._first, self._last)
        except ScheduleExhausted as error:
            self._first, self._last = max(self._first, error.first), min(self._last, error.last)
            sessions = schedule.sessions(self._first, self._last)
        self._hours = {session.date: self._hours_of(session) for session in sessions}

    def _hours_of(self, session: Session) -> UsualHours:
        midnight = datetime.combine(session.date, time())
        opened, closed = (each.astimezone(self._zone).replace(tzinfo=None) for each in (session.open, session.close))
        return UsualHours(opened - midnight, closed - midnight)

    def usual(self, day: date) -> UsualHours | None:
        """Return the hours that most sessions have on this day of the week; None where the venue usually has none."""
        weeks = (day + n * _WEEK for n in range(-_WEEKS, _WEEKS + 1))
        known = [each for each in weeks if self._first <= each <= self._last]
        hours = [self._hours[each] for each in known if each in self._hours]
        return Counter(hours).most_common(1)[0][0] if 2 * len(hours) > len(known) else None

    def _recurs(self, day: date, hours: UsualHours) -> bool:
        days = (day + timedelta(days=n) for n in range(-_AROUND.days, _AROUND.days + 1))
        around = [self._hours[each] for each in days if each in self._hours]
        return 4 * around.count(hours) >= len(around)

    def oddities(self, session: Session) -> list[Oddity]:
        """Return how a session differs from what is usual."""
        usual, hours = self.usual(session.date), self._hours_of(session)
        if usual is None:
            return ["extra_session"]
        if self._recurs(session.date, hours):
            return []
        late: list[Oddity] = ["late_open"] if hours.open > usual.open else []
        early: list[Oddity] = ["half_day"] if hours.close < usual.close else []
        return late + early

    def in_words(self, session: Session) -> Iterator[str]:
        """Yield what is odd about a session, by the exchange's clock."""
        usual = self.usual(session.date)
        for oddity in self.oddities(session):
            told = f"usually {usual}" if usual else f"usually none on a {session.date:%A}"
            yield f"{session.date} {ODDITIES[oddity]}: {self._hours_of(session)}, {told}"
