"""`timeline`: draw the sessions of several markets, as a picture, or as text for the terminal."""

from pathlib import Path
from typing import Annotated, Final
from zoneinfo import ZoneInfo

import typer

from session_lifecycle._cli.failures import (
    CommandRefused,
    writing,
)
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
from session_lifecycle._cli.venues import open_venues
from session_lifecycle._cli.views import blocks
from session_lifecycle._cli.views.bands import Stretch, TimelineReport, timeline_report
from session_lifecycle._runtime.system_clock import SystemClock

_DAYS: Final = 5
_FORMATS: Final = (".png", ".svg")


def timeline(
    calendars: Calendars = None,
    *,
    first: First = None,
    last: Last = None,
    n: DayCount = None,
    zone: Zone = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Draw a picture instead: a .svg or a .png.")
    ] = None,
    hours: HoursFiles = None,
    extended_hours: ExtendedHours = False,
    phases: Phases = False,
    no_corrections: NoCorrections = False,
    json: Json = False,
    _json_schema: Annotated[bool, json_schema_of(list[TimelineReport])] = False,
) -> None:
    """Draw sessions side by side, by default of five days.

    There is a row for each calendar and a band for each state, from midnight to midnight in ZONE, by default in UTC.

    For example: timeline XNYS XLON XTKS XHKG --days 5 --output week.svg
    """
    if output is not None and json:
        msg = "--json and --output are two results: ask for one of them"
        raise CommandRefused(msg)
    if output is not None and output.suffix not in _FORMATS:
        msg = f"cannot draw {output}: name a file that ends in .svg or .png"
        raise CommandRefused(msg)
    zone = zone or ZoneInfo("UTC")
    clock = SystemClock()
    first_day, last_day = day_range(first, last, n, _DAYS).at(zone, clock.now())
    stretch = Stretch.of_days(first_day, last_day, zone)
    venues = open_venues(
        calendars,
        stretch.start,
        hours=hours,
        extended_hours=extended_hours,
        phases=phases,
        corrections=not no_corrections,
    )
    rows = [timeline_report(venue, stretch) for venue in with_progress(venues, lambda venue: f"dividing {venue.asked}")]
    if json:
        show_json(rows)
    elif output is not None:
        from session_lifecycle._cli.views import picture  # imports matplotlib

        with writing(output):
            for _ in with_progress([output], lambda path: f"drawing {path}"):
                picture.draw(output, rows, stretch, clock.now())
        show(f"{output}: {', '.join(row.calendar for row in rows)}, {stretch}")
    else:
        show(blocks.draw(rows, stretch, clock.now()))
