"""A broker's hours as a schedule: read the strings that Interactive Brokers sends, and run on them.

Run it from anywhere, with the package installed:

    python examples/broker_hours.py

Expect the sessions of three contracts, each in its own time zone: a US stock around Thanksgiving with a closed day and
a half day; a Hong Kong stock with its lunch, in the format of older versions; a future that opens on the evening before
its trade date. Then the stock's half day, step by step, and what a calendar says that differs: nothing.

Shortcomings: the strings are written down here; an application takes `liquidHours` (or `tradingHours`) and `timeZoneId`
from the contract's details each morning. They reach a few days ahead; beyond that a `FixedSchedule` raises
`ScheduleExhausted`. A session is labelled by the day on which it closes, so where an evening's trading counts for the
next day but ends before midnight, this is not enough. Of the older format it is not documented how it shows a session
over midnight, so that is refused.
"""

import re
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from session_lifecycle import ExchangeSchedule, FixedSchedule, Session, compare, replay

# The formats: https://interactivebrokers.github.io/tws-api/classIBApi_1_1ContractDetails.html
# Up to version 969 of the broker's program, a day and its ranges of hours; from 970 on, both ends with their dates.
STOCK = (
    "20241127:0930-20241127:1600;20241128:CLOSED;20241129:0930-20241129:1300;20241130:CLOSED;20241201:CLOSED;"
    "20241202:0930-20241202:1600"
)
LUNCH = "20241202:0930-1200,1300-1600;20241203:0930-1200,1300-1600"
FUTURE = "20241201:1700-20241202:1600;20241202:1700-20241203:1600;20241203:1700-20241204:1600"

DAY = re.compile(r"[0-9]{8}")
RANGE = re.compile(
    r"(?:(?P<opening_day>[0-9]{8}):)?(?P<opens>[0-9]{4})-(?:(?P<closing_day>[0-9]{8}):)?(?P<closes>[0-9]{4})"
)
MOMENT = timedelta(microseconds=1)


class BadHours(ValueError):
    """A string that says nothing, or nothing that can be."""


def schedule_of(hours: str, zone_id: str, name: str = "broker") -> FixedSchedule:
    """Return a schedule of the sessions in a string of hours.

    Raises:
        BadHours: the string is in neither format, or its hours cannot be.
        session_lifecycle.InvalidSession: all of its days are closed, or two sessions overlap.
        zoneinfo.ZoneInfoNotFoundError: there is no such time zone.
    """
    zone = ZoneInfo(zone_id)
    return FixedSchedule(sessions_of(hours, zone), name=name, timezone=zone)


def sessions_of(hours: str, zone: ZoneInfo) -> list[Session]:
    """Return the sessions in a string of hours: one for each day on which trading ends, with breaks in between."""
    entries = [entry for entry in hours.split(";") if entry]
    if not entries:
        msg = f"{hours!r} holds no day"
        raise BadHours(msg)
    ranges: dict[date, list[tuple[datetime, datetime]]] = {}
    for entry in entries:
        for opened, closed in ranges_of(entry, zone):
            # Trading up to midnight belongs to the day that ends then.
            label = (closed - MOMENT).astimezone(zone).date()
            ranges.setdefault(label, []).append((opened, closed))
    return [session_of(label, sorted(ranges[label])) for label in sorted(ranges)]


def ranges_of(entry: str, zone: ZoneInfo) -> list[tuple[datetime, datetime]]:
    """Return the ranges of one day, none where it is closed."""
    day, _, rest = entry.partition(":")
    if not DAY.fullmatch(day):
        msg = f"{entry!r} does not begin with a day such as 20241129:"
        raise BadHours(msg)
    if rest == "CLOSED":
        return []
    found: list[tuple[datetime, datetime]] = []
    for text in rest.split(","):
        match = RANGE.fullmatch(text)
        if match is None:
            msg = f"{entry!r}: {text!r} is neither CLOSED nor a range such as 0930-1600 or 0930-{day}:1600"
            raise BadHours(msg)
        opening_day = match["opening_day"] or day
        opened = instant(entry, opening_day, match["opens"], zone)
        closed = instant(entry, match["closing_day"] or opening_day, match["closes"], zone)
        if closed <= opened:
            doubt = "" if match["closing_day"] else ", and it is not said that it does so on another day"
            msg = f"{entry!r}: {text!r} does not close after it opens{doubt}"
            raise BadHours(msg)
        found.append((opened, closed))
    return found


def instant(entry: str, day: str, clock: str, zone: ZoneInfo) -> datetime:
    """Return the instant of a day and a time in the broker's notation."""
    try:
        return datetime.strptime(f"{day} {clock}", "%Y%m%d %H%M").replace(tzinfo=zone).astimezone(UTC)
    except ValueError as error:
        msg = f"{entry!r}: {day} {clock} is no day and time"
        raise BadHours(msg) from error


def session_of(label: date, ranges: list[tuple[datetime, datetime]]) -> Session:
    """Return the session that some ranges make; where two of them touch there is no break."""
    breaks: list[tuple[datetime, datetime]] = []
    for (_, closed), (opened, _) in pairwise(ranges):
        if opened < closed:
            msg = f"{label}: one range opens at {opened.isoformat()}, before another one closes ({closed.isoformat()})"
            raise BadHours(msg)
        if closed < opened:
            breaks.append((closed, opened))
    return Session(label, ranges[0][0], ranges[-1][1], tuple(breaks))


def show(title: str, schedule: FixedSchedule) -> None:
    """Print all sessions of a schedule in its own time zone."""
    zone = schedule.timezone
    print(f"---- {title}, {zone}")
    for session in schedule.sessions(date.min, date.max):
        opened, closed = session.open.astimezone(zone), session.close.astimezone(zone)
        pauses = "".join(f", break {a.astimezone(zone):%H:%M} to {b.astimezone(zone):%H:%M}" for a, b in session.breaks)
        print(f"{session.date}  {opened:%a %H:%M} to {closed:%a %H:%M}{pauses}")


def main() -> None:
    """Read the strings, replay a day, and compare."""
    stock = schedule_of(STOCK, "US/Eastern")
    show("a stock", stock)
    show("with a lunch", schedule_of(LUNCH, "Hongkong"))
    show("a future", schedule_of(FUTURE, "US/Central"))

    zone = stock.timezone
    friday = datetime(2024, 11, 29, tzinfo=zone)
    print("---- Friday by the broker's hours")
    for event in replay(stock, friday, friday + timedelta(days=1)):
        print(f"{event.scheduled_at.astimezone(zone):%H:%M}  {event.source.name} → {event.dest.name}, {event.session}")

    first, last = date(2024, 11, 27), date(2024, 12, 2)
    differences = compare(stock, ExchangeSchedule("XNYS", near=friday), first, last)
    print(f"---- differences from the calendar XNYS: {len(differences)}")
    for difference in differences:
        print(difference.in_words(zone))


if __name__ == "__main__":
    main()
