"""`plan`: list every boundary of venues on a range of days."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, tzinfo
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple
from zoneinfo import ZoneInfo

import typer

from session_lifecycle._cli.failures import CommandRefused
from session_lifecycle._cli.options import (
    Calendars,
    DayCount,
    ExtendedHours,
    First,
    HoursFiles,
    Json,
    Last,
    NoCorrections,
    Phases,
    Zone,
    day_range,
    json_schema_of,
)
from session_lifecycle._cli.output import show, show_json, with_progress
from session_lifecycle._cli.venues import NOT_COMPARED, open_venues
from session_lifecycle._cli.views.moments import day_and_time, footnote, place
from session_lifecycle._cli.views.planned import Plan, PlanReport, planned
from session_lifecycle._cli.views.rows import HangingText, NotedRow, NotedRows
from session_lifecycle._cli.views.usual import ODDITIES
from session_lifecycle._model.text import one_line
from session_lifecycle._runtime.system_clock import SystemClock

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
    phases: Phases = False,
    no_corrections: NoCorrections = False,
    json: Json = False,
    _json_schema: Annotated[bool, json_schema_of(list[PlanReport])] = False,
    ics: Annotated[bool, typer.Option("--ics", help="Print a calendar file, one event for each session.")] = False,
) -> None:
    """List every boundary, by default of a week.

    Half days, holidays, changes of the clocks, corrections and overrides are marked. Times are those of each exchange,
    of ZONE where one is given, and UTC; a time on another day than the session's has its day of the week.

    For example: plan XNYS --from 2026-11-20 --days 10 --zone Europe/Berlin
    """
    if json and ics:
        msg = "--json and --ics are two results: ask for one of them"
        raise CommandRefused(msg)
    days = day_range(first, last, n, _DAYS)
    t = SystemClock().now()
    near = t if first is None else datetime.combine(first, datetime.min.time(), UTC)
    venues = open_venues(
        calendars,
        near,
        hours=hours,
        extended_hours=extended_hours,
        phases=phases,
        corrections=not no_corrections,
    )
    plans = [
        planned(venue, *days.at(venue.schedule.timezone, t), zone)
        for venue in with_progress(venues, lambda venue: f"planning {venue.asked}")
    ]
    if json:
        show_json([each.venue for each in plans])
    elif ics:
        from session_lifecycle._cli.views.ics import calendar_file  # imports icalendar

        typer.echo(calendar_file(plans, t), nl=False)
    else:
        from rich.console import Group

        show(Group(*(part for each in plans for part in _table(each, zone, last=each is plans[-1]))))


class _PlanRow(NamedTuple):
    day: date
    first: str
    what: str
    at: datetime | None
    note: str
    roll: str = ""


def _table(plan: Plan, zone: tzinfo | None, *, last: bool) -> "Iterator[RenderableType]":
    """Yield the parts of the table of a venue."""
    from rich.text import Text

    venue = plan.venue
    zones = {str(each): each for each in (plan.zone, zone, UTC) if each is not None}
    yield Text(f"{venue.calendar}, {venue.first} to {venue.last}, {venue.timezone}", "bold")
    lines = [NotedRow([Text(name, "bold") for name in ("session", "", *map(place, zones))], Text())]
    for row in sorted([*_session_rows(plan), *_other_rows(plan)], key=lambda row: row.day):
        times = ("" if row.at is None else day_and_time(row.at, each, row.day) for each in zones.values())
        lines.append(
            NotedRow(
                [Text(row.first, "bold"), *map(Text, (row.what, *times))],
                Text(", ").join(note for note in (Text(row.note, "yellow"), Text(row.roll, "dim")) if note),
            )
        )
    yield NotedRows(lines)
    for note in _footnotes(plan):
        yield HangingText(Text(one_line(note)))
    if not last:
        yield Text()


def _session_rows(plan: Plan) -> Iterator[_PlanRow]:
    for each in plan.venue.sessions:
        day = each.session
        first = f"{day:%a} {day}"
        for moment in each.moments:
            notes = [ODDITIES[oddity] for oddity in each.oddities if oddity in _MARKED.get(moment.boundary, ())]
            notes += plan.changed.get((day, moment), ())
            roll = f"roll to {each.next_session}" if moment.boundary == "end" and each.next_session is not None else ""
            yield _PlanRow(day, first, moment.text, moment.at, ", ".join(notes), roll)
            first = ""
        for phase in each.phases:
            until = f"until {day_and_time(phase.end, plan.zone, day)}{'' if phase.tradable else ', not tradable'}"
            yield _PlanRow(day, first, phase.name, phase.start, "", until)


def _other_rows(plan: Plan) -> Iterator[_PlanRow]:
    for day in {*plan.venue.holidays, *plan.closed}:
        yield _PlanRow(day, f"{day:%a} {day}", "closed", None, plan.closed.get(day, "holiday"))
    for change in plan.venue.clock_changes:
        day = change.at.astimezone(ZoneInfo(change.timezone)).date()
        yield _PlanRow(day, f"{day:%a} {day}", _shift(change.shift_minutes), change.at, place(change.timezone))


def _shift(minutes: int) -> str:
    size = f"{abs(minutes) // 60} h" if minutes % 60 == 0 else f"{abs(minutes)} min"
    return f"clocks {'+' if minutes > 0 else '−'}{size}"


def _footnotes(plan: Plan) -> Iterator[str]:
    """Yield what is unusual or changed, in words; a difference that many dates share is one line.

    Then how far the hours are published, and known, where that ends on the days of the plan.
    """
    for each in plan.venue.sessions:
        yield from plan.notes[each.session]
    days = defaultdict[tuple[str, str, str], list[date]](list)
    for change in plan.venue.changes:
        days[change.kind, change.change, change.why].append(change.session)
    for (kind, text, why), dates in days.items():
        when = f"{dates[0]}" if len(dates) == 1 else f"{len(dates)} sessions from {dates[0]} on"
        yield f"{when} {kind}: {text}" + (f" ({why})" if kind == "override" else "")
    venue = plan.venue
    if any(moment.configured for each in venue.sessions for moment in each.moments):
        yield footnote(venue.calendar, plan.own_hours)
    if venue.vouched_until is None:
        if venue.sessions:
            yield NOT_COMPARED
    elif any(each.session > venue.vouched_until for each in venue.sessions):
        yield f"after {venue.vouched_until} by rule, not published"
    if venue.known_until < venue.last:
        yield f"known until {venue.known_until}: later days are not known, which does not mean closed: {plan.remedy}"
