"""Interactive Brokers: the strings `tradingHours` and `liquidHours` of a contract's details."""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta, tzinfo
from itertools import pairwise
from typing import Final, NamedTuple

from session_lifecycle._model.session import Session
from session_lifecycle._model.venue_status import VenueDataRefused
from session_lifecycle._schedules.local_time import instant_of, zone_of

_DAY: Final = timedelta(days=1)
_MOMENT: Final = timedelta(microseconds=1)
_LONGEST: Final = timedelta(days=31)
_YEARS: Final = range(1000, 9000)  # as in a snapshot: at either end of time a neighbour does not exist

# A contract that trades between these hours of a date trades on that date by day. Night sessions end by 08:00: that of
# Sydney's index futures at 07:00 or 08:00, that of Hong Kong's at 03:00. Days begin later, or go on for longer.
_DAYTIME: Final = (time(8), time(18))

_ENTRY: Final = re.compile(r"([0-9]{8}):(.*)", re.ASCII)
_RANGE: Final = re.compile(r"(?:([0-9]{8}):)?([0-9]{4})-(?:([0-9]{8}):)?([0-9]{4})", re.ASCII)

# In the time zone database these are fixed offsets, without the summer time of the exchanges in those places.
_WITHOUT_SUMMER_TIME: Final = {"EST", "HST", "MST"}


class _Range(NamedTuple):
    """A range of hours in local time; `label` is its trade date where the text states it."""

    opened: datetime
    closed: datetime
    label: date | None


def ibkr_sessions(hours: str, time_zone_id: str, *, zone: str | tzinfo | None = None) -> tuple[Session, ...]:
    """Return the sessions in a contract's `tradingHours` or `liquidHours`, by date.

    Both forms are read. `20241129:0930-20241129:1300;20241130:CLOSED` has the date of each end. In the short form of
    older versions, `20130114:1700-1515,1530-1615`, the date is the trade date, and an open that is later than its close
    is of the evening before. Ranges of one trade date are one session, with breaks; a range that is given twice counts
    once.

    In the long form the trade date is that of the close; a close at midnight is that of the day before. But where a
    range over midnight closes on a date on which the contract does not trade by day, between 08:00 and 18:00, it counts
    for the next date on which it does: a Friday night in Hong Kong for Monday. Where the string ends before that date,
    the night is left out, since its session is not known. The broker does not say so where a date that trades by day is
    no trade date, as at CME on US holidays.

    Args:
        hours: the string, as the broker sends it.
        time_zone_id: the contract's `timeZoneId`. It can be empty, or a text that is no zone's name.
        zone: the zone, or its name, to use instead of `time_zone_id`.

    Source: https://interactivebrokers.github.io/tws-api/classIBApi_1_1ContractDetails.html; the short form and its
    evenings, https://github.com/cbilson/ib-re-actor/issues/8 and https://github.com/erdewit/ib_insync/issues/56; an
    empty zone, https://github.com/ib-api-reloaded/ib_async/issues/46.

    Raises:
        VenueDataRefused: the string is in neither form or has no day, its hours cannot be, such as a range of more than
            31 days, or the zone is not known.
        InvalidSession: nothing is left of a session in the hour that the zone's clocks skip.
    """
    entries = [entry for entry in hours.split(";") if entry] if isinstance(hours, str) else []
    if not entries:
        raise VenueDataRefused(_HOURS, hours, "it has no day")
    local_zone = _zone(time_zone_id, zone)
    by_label: dict[date, set[_Range]] = {}
    for label, each in _labelled([each for entry in entries for each in _ranges(entry)]):
        by_label.setdefault(label, set()).add(each)
    return tuple(_session(label, sorted(by_label[label]), local_zone) for label in sorted(by_label))


ibkr_sessions.__module__ = "session_lifecycle.venues"

_HOURS: Final = "the IBKR string of hours"


def _zone(time_zone_id: str, zone: str | tzinfo | None) -> tzinfo:
    if zone is not None:
        found = zone_of(zone)
        if found is None:
            raise VenueDataRefused(
                "the argument `zone`", zone, "it must be a zone of the time zone database, or a tzinfo"
            )
        return found
    found = None if time_zone_id in _WITHOUT_SUMMER_TIME else zone_of(time_zone_id)
    if found is None:
        why = "it names no zone with its summer time. Pass the exchange's as `zone`, such as zone='America/New_York'"
        raise VenueDataRefused("the IBKR timeZoneId", time_zone_id, why)
    return found


def _ranges(entry: str) -> Iterator[_Range]:
    """Yield the ranges of one day, none where it is closed."""
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise VenueDataRefused(_HOURS, entry, "it does not begin with a day, such as 20241129:")
    day, rest = match.groups()
    if rest == "CLOSED":
        return
    for text in rest.split(","):
        found = _RANGE.fullmatch(text)
        if found is None:
            why = f"{text!r} is neither CLOSED nor a range such as 0930-1600 or 0930-{day}:1600"
            raise VenueDataRefused(_HOURS, entry, why)
        opening_day, opens, closing_day, closes = found.groups()
        short = opening_day is closing_day is None
        opened = _local(entry, opening_day or day, opens)
        closed = _local(entry, closing_day or opening_day or day, closes)
        label = closed.date() if short else None
        if short and closed < opened:
            opened -= _DAY
        if closed <= opened:
            raise VenueDataRefused(_HOURS, entry, f"{text!r} does not close after it opens")
        if closed - opened > _LONGEST:
            raise VenueDataRefused(_HOURS, entry, f"{text!r} is longer than {_LONGEST.days} days")
        yield _Range(opened, closed, label)


def _local(entry: str, day: str, clock: str) -> datetime:
    try:
        found = datetime.strptime(f"{day} {clock}", "%Y%m%d %H%M")  # noqa: DTZ007 -- the clocks of the exchange
    except ValueError as error:
        raise VenueDataRefused(_HOURS, entry, f"{day} {clock} is no day and time") from error
    if found.year not in _YEARS:
        raise VenueDataRefused(_HOURS, entry, f"{day} is not in the years {_YEARS[0]} to {_YEARS[-1]}")
    return found


def _labelled(ranges: Iterable[_Range]) -> Iterator[tuple[date, _Range]]:
    """Yield each range with its trade date, in order; a night whose trade date is not in the string is left out."""
    found = sorted(ranges, key=lambda each: each.opened)
    by_day = sorted({day for each in found for day in _dates(each) if _trades_by_day(each, day)})
    earlier = date.min
    for each in found:
        label = each.label or (each.closed - _MOMENT).date()
        if each.label is None and each.opened.date() < label and by_day:
            at = bisect_left(by_day, label)
            if at == len(by_day):
                continue
            label = by_day[at]
        if each.label is None:  # what follows a night counts for its date at the earliest
            earlier = label = max(label, earlier)
        yield label, each


def _dates(each: _Range) -> Iterator[date]:
    """Yield the dates that a range touches."""
    day = each.opened.date()
    while day <= (each.closed - _MOMENT).date():
        yield day
        day += _DAY


def _trades_by_day(each: _Range, day: date) -> bool:
    start, end = (datetime.combine(day, hour) for hour in _DAYTIME)
    return each.opened < end and start < each.closed


def _session(label: date, ranges: list[_Range], zone: tzinfo) -> Session:
    """Return the session that some ranges make; where two of them touch there is no break."""
    for earlier, later in pairwise(ranges):
        if later.opened < earlier.closed:
            why = f"on {label} a range opens at {later.opened} before another one closes, at {earlier.closed}"
            raise VenueDataRefused(_HOURS, f"{later.opened:%Y%m%d:%H%M}", why)
    breaks = tuple(
        (_instant(earlier.closed, zone), _instant(later.opened, zone))
        for earlier, later in pairwise(ranges)
        if earlier.closed < later.opened
    )
    return Session(label, _instant(ranges[0].opened, zone), _instant(ranges[-1].closed, zone), breaks)


def _instant(local: datetime, zone: tzinfo) -> datetime:
    return instant_of(local.date(), (local - datetime.combine(local.date(), time())) // timedelta(seconds=1), zone)
