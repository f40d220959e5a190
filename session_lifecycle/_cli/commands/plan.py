"""`plan`: everything that venues will do on a stretch of days, or did."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from session_lifecycle._cli.failures import CommandRefused
from session_lifecycle._cli.options import (
    Calendars,
    ExtendedHours,
    HoursFiles,
    Json,
    NoCorrections,
)
from session_lifecycle._cli.output import (
    now,
    show,
    show_json,
)
from session_lifecycle._cli.ranges import DayCount, First, Last, Zone, days_asked_for, zone_in_words
from session_lifecycle._cli.venues import open_venues
from session_lifecycle._cli.views.days import BOUNDARIES, ODDITIES, day_and_time
from session_lifecycle._cli.views.planned import Plan, PlannedChange, planned

if TYPE_CHECKING:
    from rich.console import RenderableType

_DAYS: Final = 7
_MARKED: Final = {"open": ("late_open", "extra_session"), "close": ("half_day",)}


def plan(
    calendars: Calendars = None,
    *,
    first: First = None,
    last: Last = None,
    n: DayCount = None,
    zone: Zone = None,
    hours: HoursFiles = None,
    extended_hours: ExtendedHours = False,
    no_corrections: NoCorrections = False,
    json: Json = False,
    ics: Annotated[bool, typer.Option("--ics", help="Print a calendar file, one event for each session.")] = False,
) -> None:
    """List every boundary, by default of a week.

    With half days, holidays, changes of the clocks, corrections and overrides. Times are those of each exchange, of
    ZONE where one is given, and UTC; a day of the week stands where the time is of another day than the session.

    For example: plan XNYS --from 2026-11-20 --days 10 --zone Europe/Berlin
    """
    if json and ics:
        msg = "--json and --ics are two results: ask for one of them"
        raise CommandRefused(msg)
    span = days_asked_for(first, last, n, _DAYS)
    t = now()
    near = t if first is None else datetime.combine(first, datetime.min.time(), UTC)
    venues = open_venues(calendars, near, hours=hours, extended_hours=extended_hours, corrections=not no_corrections)
    plans = [planned(venue, *span.at(venue.schedule.timezone, t), zone) for venue in venues]
    if json:
        show_json([each.as_json() for each in plans])
    elif ics:
        from session_lifecycle._cli.views.ics import calendar_file  # which imports icalendar

        typer.echo(calendar_file(plans, t), nl=False)
    else:
        from rich.console import Group

        show(Group(*(part for each in plans for part in _drawn(each, zone, last=each is plans[-1]))))


class _Row(NamedTuple):
    day: date
    first: str
    what: str
    at: datetime | None
    note: str
    roll: str = ""


def _drawn(plan: Plan, zone: tzinfo | None, *, last: bool) -> "Iterator[RenderableType]":
    """Yield the parts of the table of a venue."""
    from rich.table import Table
    from rich.text import Text

    home = plan.venue.schedule.timezone
    zones = list({str(each): each for each in (home, zone, UTC) if each is not None}.values())
    yield Text(f"{plan.venue.asked}, {plan.first} to {plan.last}, {home}", "bold")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("session", "", *map(zone_in_words, zones)):
        table.add_column(name, no_wrap=True)
    table.add_column()
    for row in sorted([*_session_rows(plan), *_other_rows(plan)], key=lambda row: row.day):
        times = ("" if row.at is None else day_and_time(row.at, each, row.day) for each in zones)
        table.add_row(
            Text(row.first, "bold"),
            row.what,
            *times,
            Text(", ").join(note for note in (Text(row.note, "yellow"), Text(row.roll, "dim")) if note),
        )
    yield table
    for note in _footnotes(plan):
        yield Text(note)
    if not last:
        yield Text()


def _session_rows(plan: Plan) -> Iterator[_Row]:
    changes = defaultdict[date, list[PlannedChange]](list)
    for change in plan.changes:
        changes[change.date].append(change)
    for each in plan.sessions:
        day = each.session.date
        first = f"{day:%a} {day}"
        for moment in each.moments:
            notes = [ODDITIES[oddity] for oddity in each.oddities if oddity in _MARKED.get(moment.boundary, ())]
            notes += [change.kind for change in changes[day] if change.touches(moment)]
            roll = f"roll to {each.following}" if moment.boundary == "end" and each.following is not None else ""
            yield _Row(day, first, BOUNDARIES[moment.boundary], moment.at, ", ".join(notes), roll)
            first = ""


def _other_rows(plan: Plan) -> Iterator[_Row]:
    closed = {change.date: change.kind for change in plan.changes if change.difference.a is None}
    for day in {*plan.holidays, *closed}:
        yield _Row(day, f"{day:%a} {day}", "closed", None, closed.get(day, "holiday"))
    for change in plan.clock_changes:
        day = change.at.astimezone(change.zone).date()
        yield _Row(day, f"{day:%a} {day}", _shift(change.shift), change.at, zone_in_words(change.zone))


def _shift(shift: timedelta) -> str:
    minutes = abs(shift) // timedelta(minutes=1)
    size = f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"
    return f"clocks {'+' if shift > timedelta(0) else '−'}{size}"


def _footnotes(plan: Plan) -> Iterator[str]:
    """Yield what is odd or different, in words; the same difference on many dates is told once."""
    for each in plan.sessions:
        yield from each.notes
    told = defaultdict[tuple[str, str, str], list[date]](list)
    for change in plan.changes:
        told[change.kind, change.in_words(plan.venue.schedule.timezone), change.why].append(change.date)
    for (kind, words, why), dates in told.items():
        when = f"{dates[0]}" if len(dates) == 1 else f"{len(dates)} sessions from {dates[0]} on"
        yield f"{when} {kind}: {words}" + (f" ({why})" if kind == "override" else "")
