"""`watch`: the board of `status`, kept up to date until Ctrl-C."""

from datetime import timedelta
from typing import Final

import anyio

from session_lifecycle._cli.failures import CommandRefused
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
    show_json,
)
from session_lifecycle._cli.venues import open_venues
from session_lifecycle._cli.views.board import Board, StatusRow, drawn
from session_lifecycle._model.clock import Clock
from session_lifecycle._runtime.system_clock import SystemClock

_SECOND: Final = timedelta(seconds=1)


def watch(
    calendars: Calendars = None,
    *,
    hours: HoursFiles = None,
    extended_hours: ExtendedHours = False,
    no_corrections: NoCorrections = False,
    json: Json = False,
) -> None:
    """Keep the board of `status` up to date.

    Until Ctrl-C. With --json it prints a line for each calendar, and another one whenever something has changed.

    For example: watch XNYS XLON XHKG CMES
    """
    if not json and not new_console().is_terminal:
        msg = "watch draws on a terminal, and this is none: use `status`, or `watch --json` for a line at each change"
        raise CommandRefused(msg)
    venues = open_venues(calendars, now(), hours=hours, extended_hours=extended_hours, corrections=not no_corrections)
    # The countdowns show whole seconds, for which the timers of the event loop are good enough.
    clock = SystemClock(spin=timedelta(0))
    anyio.run(_tell if json else _redraw, Board(venues), clock)


async def _redraw(board: Board, clock: Clock) -> None:
    """Draw the board at every full second."""
    from rich.live import Live

    console = new_console()
    with Live(console=console, auto_refresh=False) as live:  # which would otherwise start a thread
        while True:
            t = clock.now()
            live.update(drawn(board.at(t), console.width), refresh=True)
            await clock.sleep_until(t.replace(microsecond=0) + _SECOND, None)


async def _tell(board: Board, clock: Clock) -> None:
    """Print where each venue stands, and again when that changes."""
    told: list[StatusRow] = []
    while True:
        standings = board.at(clock.now())
        known = [(each.position, each.next) for each in told]
        for n, standing in enumerate(standings):
            if known[n : n + 1] != [(standing.position, standing.next)]:
                show_json(standing.as_json(), indent=None)
        told = standings
        await clock.sleep_until(min((each.next.at for each in standings if each.next is not None), default=None), None)
