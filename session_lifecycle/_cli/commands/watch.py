"""`watch`: the board of `status`, kept up to date until Ctrl-C."""

from datetime import timedelta
from typing import Annotated, Final

import anyio

from session_lifecycle._cli.failures import CommandRefused
from session_lifecycle._cli.options import (
    Calendars,
    ExtendedHours,
    HoursFiles,
    Json,
    NoCorrections,
    Phases,
    json_schema_of,
)
from session_lifecycle._cli.output import Printable, new_console, show_json
from session_lifecycle._cli.venues import open_venues
from session_lifecycle._cli.views.board import Board, StatusReport, StatusRow, draw, next_phase_edge
from session_lifecycle._cli.views.rows import FirstLines
from session_lifecycle._model.clock import Clock
from session_lifecycle._runtime.system_clock import SystemClock

_SECOND: Final = timedelta(seconds=1)


def watch(
    calendars: Calendars = None,
    *,
    hours: HoursFiles = None,
    extended_hours: ExtendedHours = False,
    phases: Phases = False,
    no_corrections: NoCorrections = False,
    json: Json = False,
    _json_schema: Annotated[bool, json_schema_of(StatusReport)] = False,
) -> None:
    """Show the board of `status`, and keep it up to date until Ctrl-C.

    With --json it prints a line for each calendar, and another line whenever its status changes.

    For example: watch XNYS XLON XHKG CMES
    """
    if not json and not new_console().is_terminal:
        msg = "watch draws on a terminal, and this is none: use `status`, or `watch --json` for a line at each change"
        raise CommandRefused(msg)
    # The countdowns show whole seconds, for which the timers of the event loop are good enough.
    clock = SystemClock(spin=timedelta(0))
    venues = open_venues(
        calendars,
        clock.now(),
        hours=hours,
        extended_hours=extended_hours,
        phases=phases,
        corrections=not no_corrections,
    )
    anyio.run(_print_changes if json else _redraw, Board(venues), clock)


async def _redraw(board: Board, clock: Clock) -> None:
    """Draw the board at every full second."""
    from rich.live import Live

    console = new_console()
    with Live(console=console, auto_refresh=False) as live:  # with auto_refresh it would start a thread
        while True:
            t = clock.now()
            live.update(FirstLines(Printable(draw(board.at(t), console.width))), refresh=True)
            await clock.sleep_until(t.replace(microsecond=0) + _SECOND, None)


async def _print_changes(board: Board, clock: Clock) -> None:
    """Print where each venue stands, and again when that changes."""
    printed: list[StatusRow] = []
    while True:
        rows = board.at(clock.now())
        known = [(each.position, each.status.next, each.status.phase) for each in printed]
        for n, row in enumerate(rows):
            if known[n : n + 1] != [(row.position, row.status.next, row.status.phase)]:
                show_json(row.status, indent=None)
        printed = rows
        coming = [row.status.next.at for row in rows if row.status.next is not None]
        coming += [edge for row in rows if (edge := next_phase_edge(row)) is not None]
        await clock.sleep_until(min(coming, default=None), None)
