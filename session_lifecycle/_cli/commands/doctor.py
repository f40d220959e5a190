"""`doctor`: check that the packages, clocks, time zones and calendars of this machine are fit for trading."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from session_lifecycle._cli import findings
from session_lifecycle._cli.failures import CommandRefused
from session_lifecycle._cli.findings import Finding, Level
from session_lifecycle._cli.options import Calendars, Json, json_schema_of
from session_lifecycle._cli.output import Instant, show, show_json, with_progress
from session_lifecycle._cli.venues import open_venues
from session_lifecycle._cli.views.rows import NotedRow, NotedRows
from session_lifecycle._model.errors import CalendarUnavailable
from session_lifecycle._runtime.system_clock import SystemClock
from session_lifecycle._schedules.calendar_cache import ANSWERS
from session_lifecycle._schedules.other_sources import SOURCES

if TYPE_CHECKING:
    from rich.console import RenderableType

Compare = Annotated[
    str | None,
    typer.Option(
        "--compare",
        metavar="SOURCES",
        help="Compare the next 30 days of the calendars with other sources: markets, quantlib, holidays, separated by "
        "commas.",
        show_default=False,
    ),
]

_UNWELL: Final = 1
_STYLES: Final[dict[Level, str]] = {"ok": "green", "note": "yellow", "problem": "bold red"}


class DoctorReport(msgspec.Struct, frozen=True):
    """The findings of `doctor`. `well` says that no finding is a problem."""

    well: bool
    observed_at: Instant
    findings: tuple[Finding, ...]


def doctor(
    calendars: Calendars = None,
    *,
    compare: Compare = None,
    json: Json = False,
    _json_schema: Annotated[bool, json_schema_of(DoctorReport)] = False,
) -> None:
    """Check packages, clocks, time zones and calendars.

    The calendars are those that are named. Exit status 1: something needs attention.
    """
    sources = _parse_sources(compare, calendars)
    ANSWERS.keep_in(None)  # the calendars themselves are checked
    clock = SystemClock()
    t = clock.now()
    checks = (
        findings.packages(),
        findings.saturdays(),
        findings.clocks(clock),
        findings.synchronization(),
        findings.time_zones(t.year),
    )
    found = [finding for check in checks for finding in check]
    names = with_progress([*(calendars or ())], lambda name: f"checking {name}")
    found += [finding for name in names for finding in _named(name, t, sources)]
    report = DoctorReport(all(finding.level != "problem" for finding in found), t, tuple(found))
    if json:
        show_json(report)
    else:
        show(_table(found))
    if not report.well:
        raise typer.Exit(_UNWELL)


def _parse_sources(text: str | None, calendars: Sequence[str] | None) -> tuple[str, ...]:
    """Return the sources that `--compare` names, in order and each once."""
    if text is None:
        return ()
    if not calendars:
        msg = "--compare needs at least one CALENDAR, such as XNYS"
        raise CommandRefused(msg)
    sources = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    unknown = [each for each in sources if each not in SOURCES]
    if unknown:
        msg = f"{unknown[0]!r} is no source: --compare takes {', '.join(SOURCES)}, separated by commas"
        raise CommandRefused(msg)
    return sources


def _named(name: str, t: datetime, sources: Sequence[str]) -> Iterator[Finding]:
    """Yield the findings about a calendar, or a snapshot, that was named."""
    try:
        [venue] = open_venues([name], t)
    except CalendarUnavailable as error:
        if error.reason is None or error.near:
            raise  # there is no such calendar
        yield Finding("problem", name, f"it cannot be built: {error.reason}", "fix the packages above")
    else:
        yield from findings.calendar(venue, t.date())
        yield from findings.compared(venue, sources, t.date())


def _table(found: Sequence[Finding]) -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    rows = [
        NotedRow(
            [Text(finding.level, _STYLES[finding.level]), Text(finding.about)],
            Text(finding.text if finding.remedy is None else f"{finding.text}: {finding.remedy}"),
        )
        for finding in found
    ]
    problems = sum(finding.level == "problem" for finding in found)
    need = "needs" if problems == 1 else "need"
    verdict = f"{problems} of {len(found)} findings {need} attention" if problems else "all is well"
    return Group(NotedRows(rows), Text(verdict, "bold" if not problems else "bold red"))
