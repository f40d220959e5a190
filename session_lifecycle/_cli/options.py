"""The arguments and options that several commands take, and how their values are parsed."""

from datetime import date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from session_lifecycle._cli.failures import CommandRefused
from session_lifecycle._cli.output import show_json_schema

_MOST_DAYS: Final = 3660
_EARLIEST: Final = date(1900, 1, 1)
_LATEST: Final = date(2200, 12, 31)


# ---- calendars ----


def complete_calendar(incomplete: str) -> list[str]:
    """Return the names that the shell offers. exchange_calendars is imported for it."""
    from session_lifecycle._schedules.calendars import calendar_names

    return [name for name in calendar_names() if name.startswith(incomplete)]


Calendars = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CALENDAR",
        help="Names or aliases known to exchange_calendars, such as XNYS, or paths of snapshots, such as hours.toml.",
        show_default=False,
        autocompletion=complete_calendar,
    ),
]
HoursFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--hours",
        metavar="FILE",
        help="A TOML file of overrides, for the calendar that it names. Can be repeated.",
        show_default=False,
    ),
]
ExtendedHours = Annotated[
    bool, typer.Option("--extended-hours", help="Use the venue's published pre-market and post-market hours.")
]
Phases = Annotated[
    bool, typer.Option("--phases", help="Show the venue's phases that are on record: auctions, an after-market.")
]
NoCorrections = Annotated[
    bool, typer.Option("--no-corrections", help="Use the raw calendar, without the corrections of known errors.")
]


# ---- JSON ----

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def json_schema_of(kind: object) -> Any:  # noqa: ANN401 -- typer's own type for what `Annotated` holds
    """Return the option `--json-schema` of a command whose `--json` prints values of that type.

    The option is processed before every other argument, so that none of them has to be given.
    """

    def print_schema(asked: bool) -> None:
        if asked:
            show_json_schema(kind)
            raise typer.Exit

    return typer.Option(
        "--json-schema",
        help="Print the JSON Schema of what --json prints, and exit.",
        is_eager=True,
        callback=print_schema,
    )


# ---- days and time zones ----


def parse_date(text: str) -> date:
    """Return the date that an option holds."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        msg = f"{text!r} is no date: write it as 2026-11-20"
        raise typer.BadParameter(msg) from None
    if not _EARLIEST <= day <= _LATEST:
        msg = f"{text} is out of range: give a day from {_EARLIEST} to {_LATEST}"
        raise typer.BadParameter(msg)
    return day


def parse_zone(text: str) -> ZoneInfo:
    """Return the time zone that an option names."""
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        msg = f"{text!r} is no time zone known on this machine: name one such as Europe/Berlin"
        raise typer.BadParameter(msg) from None


First = Annotated[
    date | None,
    typer.Option("--from", metavar="DATE", parser=parse_date, help="The first day; by default today."),
]
Last = Annotated[date | None, typer.Option("--to", metavar="DATE", parser=parse_date, help="The last day, inclusive.")]
DayCount = Annotated[
    int | None, typer.Option("--days", metavar="N", min=1, max=_MOST_DAYS, help="How many days, instead of --to.")
]
Zone = Annotated[
    ZoneInfo | None,
    typer.Option("--zone", metavar="ZONE", parser=parse_zone, help="A time zone, such as Europe/Berlin."),
]


class DayRange(NamedTuple):
    """The range of dates that `--from`, `--to` and `--days` ask for. Without `first` it begins today at each venue."""

    first: date | None
    last: date | None
    n: int

    def at(self, zone: tzinfo, t: datetime) -> tuple[date, date]:
        """Return the first and the last day, both inclusive, for a venue in that zone at `t`."""
        first = t.astimezone(zone).date() if self.first is None else self.first
        last = first + timedelta(days=self.n - 1) if self.last is None else self.last
        require_order(first, last)
        return first, last


def require_order(first: date, last: date) -> None:
    """Refuse a range that ends before it begins."""
    if last < first:
        msg = f"--to {last} lies before the first day, {first}: give a later one, or an earlier --from"
        raise CommandRefused(msg)


def day_range(first: date | None, last: date | None, n: int | None, default: int) -> DayRange:
    """Return the range that `--from`, `--to` and `--days` ask for, by default of `default` days."""
    if last is not None and n is not None:
        msg = "--to and --days both say which day is the last: give one of them"
        raise CommandRefused(msg)
    if first is not None and last is not None:
        require_order(first, last)
    return DayRange(first, last, default if n is None else n)
