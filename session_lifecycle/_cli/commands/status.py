"""`status`: where several venues stand by the clock, at a glance."""

from session_lifecycle._cli.options import (
    Calendars,
    ExtendedHours,
    HoursFiles,
    Json,
    NoCorrections,
)
from session_lifecycle._cli.output import (
    new_console,
    now,
    show,
    show_json,
)
from session_lifecycle._cli.venues import open_venues
from session_lifecycle._cli.views.board import Board, drawn


def status(
    calendars: Calendars = None,
    *,
    hours: HoursFiles = None,
    extended_hours: ExtendedHours = False,
    no_corrections: NoCorrections = False,
    json: Json = False,
) -> None:
    """Show where sessions stand, and what is next.

    By the clock: what the schedule alone implies. Times are local to each exchange.

    For example: status XNYS XLON XHKG CMES
    """
    t = now()
    venues = open_venues(calendars, t, hours=hours, extended_hours=extended_hours, corrections=not no_corrections)
    standings = Board(venues).at(now())
    if json:
        show_json([standing.as_json() for standing in standings])
    else:
        show(drawn(standings, new_console().width))
