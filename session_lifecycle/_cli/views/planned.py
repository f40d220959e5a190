"""The plan of a venue for a range of days, as values: for the table, the JSON and the calendar file of `plan`."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, Literal, NamedTuple

import msgspec

from session_lifecycle._cli.output import Instant
from session_lifecycle._cli.venues import Venue
from session_lifecycle._cli.views.moments import Moment, PhaseReport, facts, moments, phases_of
from session_lifecycle._cli.views.usual import Oddity, WeeklyPattern
from session_lifecycle._model.errors import NotASession
from session_lifecycle._model.overrides import summary
from session_lifecycle._model.session import Session
from session_lifecycle._schedules.comparison import Difference
from session_lifecycle._schedules.snapshot import SnapshotSchedule

ChangeKind = Literal["corrected", "override"]
"""Why the hours are not those of exchange_calendars: corrected by this package, or overridden by a file of hours."""

_DAY: Final = timedelta(days=1)
_MINUTE: Final = timedelta(minutes=1)


class PlannedSession(msgspec.Struct, frozen=True):
    """A session, with all that it does. `next_session` is the date that its roll leads to, null where none is known."""

    session: date
    moments: tuple[Moment, ...]
    next_session: date | None
    oddities: tuple[Oddity, ...]
    phases: tuple[PhaseReport, ...]


class HoursChange(msgspec.Struct, frozen=True):
    """A session whose hours are not those of exchange_calendars. `why` is a source, or the reason of an override."""

    kind: ChangeKind
    session: date
    change: str
    why: str


class ClockChange(msgspec.Struct, frozen=True):
    """An instant at which the clocks of a zone go forward, or back where `shift_minutes` is below zero."""

    timezone: str
    at: Instant
    shift_minutes: int


class PlanReport(msgspec.Struct, frozen=True):
    """The plan of a venue from `first` to `last`, both inclusive, as far as it is known.

    The schedule covers the days up to `known_until`. Sessions after `vouched_until` are by rule, not published; null:
    nothing is on record.
    """

    calendar: str
    schedule: str
    timezone: str
    first: date
    last: date
    known_until: date
    vouched_until: date | None
    sessions: tuple[PlannedSession, ...]
    holidays: tuple[date, ...]
    changes: tuple[HoursChange, ...]
    clock_changes: tuple[ClockChange, ...]


class Plan(msgspec.Struct, frozen=True):
    """A venue's plan, with the notes and changes that the table and the calendar file also show.

    `notes` say in words what is unusual about a session. `changed` are the moments whose time was changed, and `closed`
    the dates that lost their session, each with the kinds of the changes. `own_hours` says where the
    venue's own pre-market and post-market hours are, `remedy` what adds the days after the last one that is known.
    """

    venue: PlanReport
    zone: tzinfo
    notes: Mapping[date, Sequence[str]]
    changed: Mapping[tuple[date, Moment], Sequence[ChangeKind]]
    closed: Mapping[date, ChangeKind]
    own_hours: str
    remedy: str


def planned(venue: Venue, first: date, last: date, zone: tzinfo | None) -> Plan:
    """Return what a venue does on those days; clock changes are those of its zone and of `zone`.

    Where the schedule ends on these days, the plan is of those that it knows.

    Raises:
        ScheduleExhausted: the first day lies outside what the schedule knows.
    """
    schedule, asked = venue.schedule, last
    if first <= schedule.known_until:
        last = min(last, schedule.known_until)
    pattern = WeeklyPattern(schedule, first, last)
    sessions = schedule.sessions(first, last)
    open_days = {session.date for session in sessions}
    days = [first + n * _DAY for n in range((last - first).days + 1)]
    zones = {str(each): each for each in (schedule.timezone, zone) if each is not None}
    changes = sorted(_changes(venue, first, last), key=lambda change: change.difference.date)
    changed = defaultdict[tuple[date, Moment], list[ChangeKind]](list)
    for kind, difference, _ in changes:
        for moment in set(facts(difference.a)) - set(facts(difference.b)):
            changed[difference.date, moment].append(kind)
    plan = PlanReport(
        calendar=venue.asked,
        schedule=schedule.name,
        timezone=str(schedule.timezone),
        first=first,
        last=asked,
        known_until=schedule.known_until,
        vouched_until=schedule.vouched_until,
        sessions=tuple(_planned_session(venue, session, pattern) for session in sessions),
        holidays=tuple(day for day in days if day not in open_days and pattern.on(day) is not None),
        changes=tuple(change.in_zone(schedule.timezone) for change in changes),
        clock_changes=tuple(change for each in zones.values() for change in clock_changes(each, first, last)),
    )
    return Plan(
        plan,
        schedule.timezone,
        {session.date: tuple(pattern.describe(session)) for session in sessions},
        changed,
        {change.difference.date: change.kind for change in changes if change.difference.a is None},
        venue.own_hours,
        venue.remedy,
    )


def _planned_session(venue: Venue, session: Session, pattern: WeeklyPattern) -> PlannedSession:
    following = venue.timeline.following(session)
    return PlannedSession(
        session.date,
        tuple(moments(session, venue.timeline.boundaries(session))),
        None if following is None else following.date,
        pattern.oddities(session),
        phases_of(session),
    )


class _Change(NamedTuple):
    """A date whose hours are not those of exchange_calendars, which are the second ones of `difference`."""

    kind: ChangeKind
    difference: Difference
    why: str

    def in_zone(self, zone: tzinfo) -> HoursChange:
        """Return it with the hours in that zone, such as `close 12:00 CST, not 16:00 CST`."""
        text = self.difference.in_words(zone).partition(": ")[2].replace(" / ", ", not ")
        return HoursChange(self.kind, self.difference.date, text, self.why)


def _changes(venue: Venue, first: date, last: date) -> Iterator[_Change]:
    schedule = venue.schedule
    if isinstance(schedule, SnapshotSchedule):
        return  # it holds hours, not what they were made of
    overridden = {override.date: override for override in schedule.overrides if first <= override.date <= last}
    for each in schedule.corrections_on(first, last):
        yield _Change("corrected", Difference(each.date, each.after, each.before), each.source)
    for day, override in overridden.items():
        after, before = _on(venue, day, overridden=True), _on(venue, day, overridden=False)
        yield _Change("override", Difference(day, after, before), summary(override))


def _on(venue: Venue, day: date, *, overridden: bool) -> Session | None:
    try:
        return (venue.schedule if overridden else venue.without_overrides).session_on(day)
    except NotASession:
        return None


def clock_changes(zone: tzinfo, first: date, last: date) -> Iterator[ClockChange]:
    """Yield when the clocks of a zone change on those days, both inclusive, to the minute."""
    at = datetime.combine(first, time(), zone).astimezone(UTC)
    end = datetime.combine(last + _DAY, time(), zone).astimezone(UTC)
    while at < end:
        following = min(at + _DAY, end)
        before, after = _offset(zone, at), _offset(zone, following)
        if before != after:
            low, high = at, following
            while high - low > _MINUTE:
                middle = low + (high - low) // _MINUTE // 2 * _MINUTE
                low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
            yield ClockChange(str(zone), high, (after - before) // _MINUTE)
        at = following


def _offset(zone: tzinfo, at: datetime) -> timedelta:
    offset = at.astimezone(zone).utcoffset()
    assert offset is not None
    return offset
