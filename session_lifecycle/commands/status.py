"""`status`: where several venues stand by the clock, at a glance."""

from session_lifecycle.commands.board import Board, drawn
from session_lifecycle.commands.common import (
    Calendars,
    ExtendedHours,
    HoursFiles,
    Json,
    NoCorrections,
    new_console,
    now,
    open_venues,
    show,
    show_json,
)


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
