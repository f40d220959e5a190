"""What a venue does on a stretch of days, as values: for the table, the JSON and the calendar file of `plan`."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

from session_lifecycle._cli.output import iso
from session_lifecycle._cli.shapes import (
    BoundaryName,
    ChangeJson,
    ChangeKind,
    ClockChangeJson,
    Oddity,
    PlanJson,
    SessionJson,
)
from session_lifecycle._cli.venues import Venue
from session_lifecycle._cli.views.days import Moment, Usual, moments
from session_lifecycle._model.errors import NotASession
from session_lifecycle._model.overrides import summary
from session_lifecycle._model.session import Session
from session_lifecycle._schedules.comparison import Difference
from session_lifecycle._schedules.corrections import reach
from session_lifecycle._schedules.snapshot import SnapshotSchedule

DAY: Final = timedelta(days=1)
_MINUTE: Final = timedelta(minutes=1)
_BREAK: Final[tuple[BoundaryName, BoundaryName]] = ("break_start", "break_end")


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """A date whose hours are not those of exchange_calendars. `kind` is "corrected" or "override"."""

    kind: ChangeKind
    difference: Difference
    why: str

    @property
    def date(self) -> date:
        """The session's date."""
        return self.difference.date

    def in_words(self, zone: tzinfo) -> str:
        """Return what is different, such as `close 12:00 CST, not 16:00 CST`."""
        return self.difference.in_words(zone).partition(": ")[2].replace(" / ", ", not ")

    def touches(self, moment: Moment) -> bool:
        """Tell whether this boundary of the session is one that is different."""
        after, before = self.difference.a, self.difference.b
        return moment in _facts(after) - _facts(before)

    def as_json(self, zone: tzinfo) -> ChangeJson:
        """Return it as `--json` shows it."""
        return {"kind": self.kind, "session": self.date.isoformat(), "change": self.in_words(zone), "why": self.why}


def _facts(session: Session | None) -> set[Moment]:
    """Return the moments that are the session's own, not those that the configuration makes."""
    if session is None:
        return set()
    breaks = {Moment(name, at) for pause in session.breaks for name, at in zip(_BREAK, pause, strict=True)}
    facts = {Moment("open", session.open), Moment("close", session.close)} | breaks
    if session.pre_market_start is not None:
        facts.add(Moment("pre_market_start", session.pre_market_start))
    if session.post_market_end is not None:
        facts.add(Moment("end", session.post_market_end))
    return facts


@dataclass(frozen=True, slots=True)
class ClockChange:
    """An instant at which the clocks of a zone are moved by `shift`."""

    zone: tzinfo
    at: datetime
    shift: timedelta

    def as_json(self) -> ClockChangeJson:
        """Return it as `--json` shows it."""
        return {"timezone": str(self.zone), "at": iso(self.at), "shift_minutes": self.shift // _MINUTE}


@dataclass(frozen=True, slots=True)
class PlannedSession:
    """A session with all that it does. `following` is the date that its roll leads to, None where none is known."""

    session: Session
    moments: tuple[Moment, ...]
    following: date | None
    oddities: tuple[Oddity, ...]
    notes: tuple[str, ...]

    def as_json(self) -> SessionJson:
        """Return it as `--json` shows it."""
        return {
            "session": self.session.date.isoformat(),
            "moments": [moment.as_json() for moment in self.moments],
            "next_session": None if self.following is None else self.following.isoformat(),
            "oddities": list(self.oddities),
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """What a venue does from `first` to `last`, both inclusive."""

    venue: Venue
    first: date
    last: date
    sessions: tuple[PlannedSession, ...]
    holidays: tuple[date, ...]
    changes: tuple[PlannedChange, ...]
    clock_changes: tuple[ClockChange, ...]

    def as_json(self) -> PlanJson:
        """Return it as `--json` shows it."""
        zone = self.venue.schedule.timezone
        return {
            "calendar": self.venue.asked,
            "schedule": self.venue.schedule.name,
            "timezone": str(zone),
            "first": self.first.isoformat(),
            "last": self.last.isoformat(),
            "sessions": [session.as_json() for session in self.sessions],
            "holidays": [day.isoformat() for day in self.holidays],
            "changes": [change.as_json(zone) for change in self.changes],
            "clock_changes": [change.as_json() for change in self.clock_changes],
        }


def planned(venue: Venue, first: date, last: date, zone: tzinfo | None) -> Plan:
    """Return what a venue does on those days; clock changes are those of its zone and of `zone`.

    Raises:
        ScheduleExhausted: a part of the range lies outside what the schedule knows.
    """
    schedule, usual = venue.schedule, Usual(venue.schedule, first, last)
    sessions = schedule.sessions(first, last)
    open_days = {session.date for session in sessions}
    days = [first + n * DAY for n in range((last - first).days + 1)]
    zones = {str(each): each for each in (schedule.timezone, zone) if each is not None}
    return Plan(
        venue,
        first,
        last,
        tuple(_planned_session(venue, session, usual) for session in sessions),
        tuple(day for day in days if day not in open_days and usual.usual(day) is not None),
        tuple(sorted(_changes(venue, first, last), key=lambda change: change.date)),
        tuple(change for each in zones.values() for change in clock_changes(each, first, last)),
    )


def _planned_session(venue: Venue, session: Session, usual: Usual) -> PlannedSession:
    following = venue.timeline.following(session)
    return PlannedSession(
        session,
        tuple(moments(session, venue.timeline.boundaries(session))),
        None if following is None else following.date,
        tuple(usual.oddities(session)),
        tuple(usual.in_words(session)),
    )


def _changes(venue: Venue, first: date, last: date) -> Iterator[PlannedChange]:
    schedule = venue.schedule
    if isinstance(schedule, SnapshotSchedule):
        return  # it tells what its hours are, not what they were made of
    overridden = {override.date: override for override in schedule.overrides if first <= override.date <= last}
    known = reach(schedule.name)
    if known is not None and known[0] <= last and first <= known[1]:
        for each in schedule.corrections:
            if first <= each.date <= last:
                yield PlannedChange("corrected", Difference(each.date, each.after, each.before), each.source)
    for day, override in overridden.items():
        after, before = _on(venue, day, overridden=True), _on(venue, day, overridden=False)
        yield PlannedChange("override", Difference(day, after, before), summary(override))


def _on(venue: Venue, day: date, *, overridden: bool) -> Session | None:
    try:
        return (venue.schedule if overridden else venue.without_overrides).session_on(day)
    except NotASession:
        return None


def clock_changes(zone: tzinfo, first: date, last: date) -> Iterator[ClockChange]:
    """Yield when the clocks of a zone change on those days, both inclusive, to the minute."""
    at = datetime.combine(first, time(), zone).astimezone(UTC)
    end = datetime.combine(last + DAY, time(), zone).astimezone(UTC)
    while at < end:
        following = min(at + DAY, end)
        before, after = _offset(zone, at), _offset(zone, following)
        if before != after:
            low, high = at, following
            while high - low > _MINUTE:
                middle = low + (high - low) // _MINUTE // 2 * _MINUTE
                low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
            yield ClockChange(zone, high, after - before)
        at = following


def _offset(zone: tzinfo, at: datetime) -> timedelta:
    offset = at.astimezone(zone).utcoffset()
    assert offset is not None
    return offset
