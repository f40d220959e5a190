"""`doctor`: whether the packages, clocks, time zones and calendars of this machine are fit to trade by."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

import typer

from session_lifecycle._cli.options import (
    Calendars,
    Json,
)
from session_lifecycle._cli.output import (
    iso,
    now,
    show,
    show_json,
)
from session_lifecycle._cli.shapes import DoctorJson
from session_lifecycle._cli.venues import open_venues
from session_lifecycle._model.errors import CalendarUnavailable
from session_lifecycle._runtime.system_clock import SystemClock

if TYPE_CHECKING:
    from rich.console import RenderableType

    from session_lifecycle._cli.findings import Finding

_UNWELL: Final = 1
_STYLES: Final = {"ok": "green", "note": "yellow", "problem": "bold red"}


def doctor(
    calendars: Calendars = None,
    *,
    json: Json = False,
) -> None:
    """Look for what needs a person: packages, clocks, time zones, and the calendars that are named.

    Exit status 1: something does.
    """
    from session_lifecycle._cli.findings import clocks, packages, saturdays, time_zones  # imports packaging

    t = now()
    findings = [*packages(), *saturdays(), *clocks(SystemClock()), *time_zones(t.year)]
    findings += [finding for name in calendars or () for finding in _named(name, t)]
    well = all(finding.level != "problem" for finding in findings)
    if json:
        result: DoctorJson = {
            "well": well,
            "observed_at": iso(t),
            "findings": [finding.as_json() for finding in findings],
        }
        show_json(result)
    else:
        show(_drawn(findings))
    if not well:
        raise typer.Exit(_UNWELL)


def _named(name: str, t: datetime) -> "Iterator[Finding]":
    """Yield what there is to say of a calendar, or a snapshot, that was named."""
    from session_lifecycle._cli.findings import Finding, calendar

    try:
        [venue] = open_venues([name], t)
    except CalendarUnavailable as error:
        if error.reason is None:
            raise  # there is no such calendar
        yield Finding("problem", name, f"it cannot be built: {error.reason}", "see to the packages above")
    else:
        yield from calendar(venue, t.date())


def _drawn(findings: "Sequence[Finding]") -> "RenderableType":
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    for wraps in (False, False, True):
        table.add_column(no_wrap=not wraps, overflow="fold")
    for finding in findings:
        told = finding.told if finding.remedy is None else f"{finding.told}: {finding.remedy}"
        table.add_row(Text(finding.level, _STYLES[finding.level]), finding.about, told)
    problems = sum(finding.level == "problem" for finding in findings)
    need = "needs" if problems == 1 else "need"
    verdict = f"{problems} of {len(findings)} findings {need} a person" if problems else "all is well"
    return Group(table, Text(verdict, "bold" if not problems else "bold red"))
