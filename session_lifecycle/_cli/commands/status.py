"""`status`: show the state of several venues by the clock."""

from typing import Annotated

from session_lifecycle._cli.options import (
    Calendars,
    ExtendedHours,
    HoursFiles,
    Json,
    NoCorrections,
    Phases,
    json_schema_of,
)
from session_lifecycle._cli.output import new_console, show, show_json
from session_lifecycle._cli.venues import open_venues
from session_lifecycle._cli.views.board import Board, StatusReport, draw
from session_lifecycle._runtime.system_clock import SystemClock


def status(
    calendars: Calendars = None,
    *,
    hours: HoursFiles = None,
    extended_hours: ExtendedHours = False,
    phases: Phases = False,
    no_corrections: NoCorrections = False,
    json: Json = False,
    _json_schema: Annotated[bool, json_schema_of(list[StatusReport])] = False,
) -> None:
    """Show where sessions stand, and what is next.

    The state is what the clock and the calendar alone imply. Times are local to each exchange.

    For example: status XNYS XLON XHKG CMES
    """
    clock = SystemClock()
    venues = open_venues(
        calendars,
        clock.now(),
        hours=hours,
        extended_hours=extended_hours,
        phases=phases,
        corrections=not no_corrections,
    )
    rows = Board(venues).at(clock.now())
    if json:
        show_json([row.status for row in rows])
    else:
        show(draw(rows, new_console().width))
