"""A broker's hours as a schedule: run on the strings that Interactive Brokers sends.

Run it from anywhere, with the package installed:

    python examples/broker_hours.py

Expect the sessions of three contracts, each in its own time zone: a US stock around Thanksgiving with a closed day and
a half day; a Hong Kong future, whose Friday night counts for Monday; a US future in the format of older versions. Then
the stock's half day, step by step, and what a calendar says that differs: nothing.

Shortcomings: the strings are written down here; an application takes `liquidHours` (or `tradingHours`) and `timeZoneId`
from the contract's details each morning. They reach a few days ahead; beyond that a `FixedSchedule` raises
`ScheduleExhausted`.
"""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from session_lifecycle import ExchangeSchedule, FixedSchedule, compare, replay
from session_lifecycle.venues import ibkr_sessions

STOCK = (
    "20241127:0930-20241127:1600;20241128:CLOSED;20241129:0930-20241129:1300;20241130:CLOSED;20241201:CLOSED;"
    "20241202:0930-20241202:1600"
)
NIGHT = (
    "20241205:1715-20241206:0300;20241206:0915-20241206:1200;20241206:1300-20241206:1630;20241207:CLOSED;"
    "20241206:1715-20241207:0300;20241209:0915-20241209:1200;20241209:1300-20241209:1630"
)
FUTURE = "20130114:1700-1515,1530-1615;20130115:1700-1515,1530-1615"


def schedule_of(hours: str, zone_id: str, name: str = "broker") -> FixedSchedule:
    """Return a schedule of the sessions in a string of hours."""
    return FixedSchedule(ibkr_sessions(hours, zone_id), name=name, timezone=ZoneInfo(zone_id))


def show(title: str, schedule: FixedSchedule) -> None:
    """Print all sessions of a schedule in its own time zone."""
    zone = schedule.timezone
    print(f"---- {title}, {zone}")
    for session in schedule.sessions(date.min, date.max):
        opened, closed = session.open.astimezone(zone), session.close.astimezone(zone)
        pauses = "".join(
            f", break {a.astimezone(zone):%a %H:%M} to {b.astimezone(zone):%a %H:%M}" for a, b in session.breaks
        )
        print(f"{session.date:%a %Y-%m-%d}  {opened:%a %H:%M} to {closed:%a %H:%M}{pauses}")


def main() -> None:
    """Read the strings, replay a day, and compare."""
    stock = schedule_of(STOCK, "US/Eastern")
    show("a stock", stock)
    show("a future with a night session", schedule_of(NIGHT, "Hongkong"))
    show("a future, older format", schedule_of(FUTURE, "US/Central"))

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
