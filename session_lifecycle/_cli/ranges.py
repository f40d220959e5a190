"""The options that say which days and in which time zone: `--from`, `--to`, `--days` and `--zone`."""

from datetime import date, datetime, timedelta, tzinfo
from typing import Annotated, Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from session_lifecycle._cli.failures import CommandRefused

_MOST_DAYS: Final = 3660
_EARLIEST: Final = date(1900, 1, 1)
_LATEST: Final = date(2200, 12, 31)


def a_date(text: str) -> date:
    """Return the date that an option holds."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        msg = f"{text!r} is no date: write it as 2026-11-20"
        raise typer.BadParameter(msg) from None
    if not _EARLIEST <= day <= _LATEST:
        msg = f"{text} is out of reach: the days are from {_EARLIEST} to {_LATEST}"
        raise typer.BadParameter(msg)
    return day


def a_zone(text: str) -> ZoneInfo:
    """Return the time zone that an option names."""
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        msg = f"{text!r} is no time zone that is known here: name one such as Europe/Berlin"
        raise typer.BadParameter(msg) from None


def zone_in_words(zone: tzinfo) -> str:
    """Return what people call a time zone: the place, where it is named for one."""
    return str(zone).rpartition("/")[2].replace("_", " ")


class DayRange(NamedTuple):
    """A range of dates as it was asked for; without `first` it begins with the day that it is at each venue."""

    first: date | None
    last: date | None
    n: int

    def at(self, zone: tzinfo, t: datetime) -> tuple[date, date]:
        """Return the first and the last day, both inclusive, for a venue in that zone."""
        first = t.astimezone(zone).date() if self.first is None else self.first
        last = first + timedelta(days=self.n - 1) if self.last is None else self.last
        hold_in_order(first, last)
        return first, last


def hold_in_order(first: date, last: date) -> None:
    """Refuse a range that ends before it begins."""
    if last < first:
        msg = f"--to {last} lies before the first day, {first}: give a later one, or an earlier --from"
        raise CommandRefused(msg)


def days_asked_for(first: date | None, last: date | None, n: int | None, default: int) -> DayRange:
    """Return the range that `--from`, `--to` and `--days` ask for."""
    if last is not None and n is not None:
        msg = "--to and --days both say where to stop: give one of them"
        raise CommandRefused(msg)
    if first is not None and last is not None:
        hold_in_order(first, last)
    return DayRange(first, last, default if n is None else n)


First = Annotated[
    date | None,
    typer.Option("--from", metavar="DATE", parser=a_date, help="The first day; by default today."),
]
Last = Annotated[date | None, typer.Option("--to", metavar="DATE", parser=a_date, help="The last day, inclusive.")]
DayCount = Annotated[
    int | None, typer.Option("--days", metavar="N", min=1, max=_MOST_DAYS, help="So many days, instead of --to.")
]
Zone = Annotated[
    ZoneInfo | None, typer.Option("--zone", metavar="ZONE", parser=a_zone, help="A time zone, such as Europe/Berlin.")
]
