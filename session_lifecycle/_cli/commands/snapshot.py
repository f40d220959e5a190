"""`snapshot`: write hours to a file that a desk can review and pin, or compare one with the installed calendar."""

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from session_lifecycle._cli.failures import CommandRefused, reading
from session_lifecycle._cli.options import (
    ExtendedHours,
    HoursFiles,
    Json,
    NoCorrections,
    Phases,
    json_schema_of,
    parse_date,
    require_order,
)
from session_lifecycle._cli.output import Instant, notify, show, show_json
from session_lifecycle._cli.venues import open_venues
from session_lifecycle._cli.views.moments import PhaseReport, phases_of
from session_lifecycle._model.legs import HOURS
from session_lifecycle._model.overrides import Override
from session_lifecycle._model.session import Session
from session_lifecycle._model.text import one_line
from session_lifecycle._runtime.system_clock import SystemClock
from session_lifecycle._schedules.calendar_cache import ANSWERS
from session_lifecycle._schedules.overrides_file import read_overrides
from session_lifecycle._schedules.snapshot import SnapshotCheck, SnapshotSchedule, versions, write_snapshot

if TYPE_CHECKING:
    from rich.console import RenderableType

_DIFFERS: Final = 1
_YEAR: Final = len("2026")


class SessionHours(msgspec.Struct, frozen=True):
    """The hours of a session. `breaks` are pairs of start and end."""

    open: Instant
    close: Instant
    breaks: tuple[tuple[Instant, Instant], ...]
    pre_market_start: Instant | None
    post_market_end: Instant | None
    phases: tuple[PhaseReport, ...]


class HoursDifference(msgspec.Struct, frozen=True):
    """A date on which a snapshot and the installed calendar disagree. Null stands for "no session"."""

    session: date
    fields: tuple[str, ...]
    snapshot: SessionHours | None
    installed: SessionHours | None


class SnapshotReport(msgspec.Struct, frozen=True):
    """Where a snapshot and the installed calendar disagree. The dates of `overridden` were not compared.

    `not_compared` is the first and last day that the installed calendar does not cover, null where it covers all.
    `made_from` are the versions that the snapshot was made from, `installed` those of today.
    """

    snapshot: str
    calendar: str
    first: date
    last: date
    agrees: bool
    made_from: dict[str, str]
    installed: dict[str, str]
    overridden: tuple[date, ...]
    not_compared: tuple[date, date] | None
    differences: tuple[HoursDifference, ...]


def _first_day(text: str) -> date:
    return parse_date(f"{text}-01-01" if len(text) == _YEAR else text)


def _last_day(text: str) -> date:
    return parse_date(f"{text}-12-31" if len(text) == _YEAR else text)


def snapshot(
    calendar: Annotated[
        str | None,
        typer.Argument(
            metavar="CALENDAR",
            help="A name or alias known to exchange_calendars, or a snapshot to shorten or to convert.",
            show_default=False,
        ),
    ] = None,
    *,
    first: Annotated[
        date | None,
        typer.Option(
            "--from", metavar="DATE", parser=_first_day, help="The first day, or a year; by default last year."
        ),
    ] = None,
    last: Annotated[
        date | None,
        typer.Option("--to", metavar="DATE", parser=_last_day, help="The last day, or a year; by default next year."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The file to write, .toml or .json.", show_default=False),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            "--check",
            metavar="FILE",
            help="Compare a snapshot with the installed calendar; exit status 1 where they differ.",
            show_default=False,
        ),
    ] = None,
    hours: HoursFiles = None,
    extended_hours: ExtendedHours = False,
    phases: Phases = False,
    no_corrections: NoCorrections = False,
    json: Json = False,
    _json_schema: Annotated[bool, json_schema_of(SnapshotReport)] = False,
) -> None:
    """Write the hours of a calendar to a file, or check such a file.

    A desk can review and pin the file, and a process that uses it needs no pandas.
    """
    ANSWERS.keep_in(None)  # what is pinned for years, or compared, comes from the installed calendar
    if check is not None:
        if calendar is not None or out is not None or first is not None or last is not None:
            msg = "--check reads calendar and days from the snapshot: leave out CALENDAR, --out, --from and --to"
            raise CommandRefused(msg)
        if extended_hours or phases or no_corrections:
            msg = "--check uses the snapshot's own options: leave out --extended-hours, --phases and --no-corrections"
            raise CommandRefused(msg)
        _check(check, hours, json=json)
        return
    if out is None or json:
        msg = "give --out FILE to write a snapshot, or --check FILE to check one, with or without --json"
        raise CommandRefused(msg)
    t = SystemClock().now()
    names = None if calendar is None else [calendar]
    venues = open_venues(
        names,
        t,
        hours=hours,
        extended_hours=extended_hours,
        phases=phases,
        corrections=not no_corrections,
    )
    if len(venues) > 1:
        msg = f"a snapshot is of one calendar, not of {' and '.join(venue.schedule.name for venue in venues)}: name one"
        raise CommandRefused(msg)
    schedule = venues[0].schedule
    pinned = schedule.head if isinstance(schedule, SnapshotSchedule) else None
    usual = (date(t.year - 1, 1, 1), date(t.year + 1, 12, 31)) if pinned is None else (pinned.first, pinned.last)
    start, end = first or usual[0], last or usual[1]
    if last is None and schedule.known_until < end:
        end = schedule.known_until
        notify(f"note: {schedule.name} is known until {end}, where the snapshot ends")
    require_order(start, end)
    write_snapshot(schedule, out, start, end)
    show(one_line(f"{out}: {_content(SnapshotSchedule.load(out))}"))


def _content(loaded: SnapshotSchedule) -> str:
    head = loaded.head
    n = len(loaded.sessions(head.first, head.last))
    return f"{one_line(loaded.name)}, {n} sessions from {head.first} to {head.last}"


def _check(file: Path, hours: Iterable[Path] | None, *, json: bool) -> None:
    loaded = SnapshotSchedule.load(file)
    overrides = _overrides(loaded.name, hours)
    differences = loaded.check(overrides)
    overridden = () if overrides is not None else _dates(loaded.head.overrides)
    result = SnapshotReport(
        snapshot=str(file),
        calendar=loaded.head.calendar,
        first=loaded.head.first,
        last=loaded.head.last,
        agrees=not differences and differences.not_compared != (loaded.head.first, loaded.head.last),
        made_from=loaded.head.made_from,
        installed=versions(),
        overridden=overridden,
        not_compared=differences.not_compared,
        differences=tuple(
            HoursDifference(each.date, each.fields, _hours(each.a), _hours(each.b)) for each in differences
        ),
    )
    if json:
        show_json(result)
    else:
        show(_text(loaded, result, differences))
    if not result.agrees:
        raise typer.Exit(_DIFFERS)


def _dates(summaries: Iterable[str]) -> tuple[date, ...]:
    """Return the dates of overrides, with which their summaries in a snapshot begin."""
    return tuple(date.fromisoformat(each[:10]) for each in summaries)


def _hours(session: Session | None) -> SessionHours | None:
    if session is None:
        return None
    hours: dict[str, Any] = {name: getattr(session, name) for name in HOURS}
    hours["phases"] = phases_of(session)
    return SessionHours(**hours)


def _overrides(calendar: str, hours: Iterable[Path] | None) -> list[Override] | None:
    """Return the overrides that the snapshot should have; None where no file of overrides was given."""
    found: list[Override] | None = None
    for path in hours or ():
        with reading(path):
            content = read_overrides(path)
        if content.calendar != calendar:
            msg = f"{path} is for {content.calendar}, and the snapshot is of {calendar}: give a file for that"
            raise CommandRefused(msg)
        found = [*(found or ()), *content.overrides]
    return found


def _text(loaded: SnapshotSchedule, result: SnapshotReport, differences: SnapshotCheck) -> "RenderableType":
    from rich.text import Text

    file, text = one_line(result.snapshot), Text()
    if result.agrees:
        text.append(f"{file} agrees with the installed calendar: {_content(loaded)}", "bold green")
    elif not result.differences:
        text.append(f"{file} cannot be compared with the installed calendar, which covers none of its days", "bold red")
    else:
        text.append(f"{file} differs from the installed calendar (first the file, then the calendar):\n", "bold red")
        text.append("\n".join(difference.in_words(loaded.timezone) for difference in differences))
    if result.not_compared is not None:
        start, end = result.not_compared
        text.append(f"\nnot compared, because the installed calendar ends before them: {start} to {end}")
    if result.overridden:
        dates = ", ".join(map(str, result.overridden))
        text.append(f"\nnot compared, because overrides are in force: {dates}; --hours compares them too")
    was, now = result.made_from, result.installed
    changed = [f"{name} {was[name]}, now {now[name]}" for name in was if was[name] != now.get(name, was[name])]
    if changed:
        text.append(f"\nmade from {'; '.join(map(one_line, changed))}")
    return text
