"""Hold the schedules against pandas_market_calendars, and print where they differ: `python -m tests.compared`.

pandas_market_calendars keeps calendars of its own for these venues, beside those that it takes from exchange_calendars.
So a difference is an error of one of the two, or of both; which one it is, only the venue can tell.
"""

from collections import Counter
from datetime import UTC, date, datetime
from typing import Any

import pandas as pd
import pandas_market_calendars

from session_lifecycle import Difference, ExchangeSchedule, FixedSchedule, Session, compare

PAIRS = {"XNYS": "NYSE", "XLON": "LSE", "XTKS": "JPX", "XHKG": "HKEX", "CMES": "CME_Equity"}
"""Names of calendars in exchange_calendars, and of those in pandas_market_calendars for the same venue."""
FIRST, LAST = date(2024, 1, 1), date(2026, 12, 31)
MOST_SHOWN = 12


def pandas_market_schedule(name: str, first: date, last: date) -> FixedSchedule:
    """Return a calendar of pandas_market_calendars as a schedule."""
    calendar: Any = pandas_market_calendars.get_calendar(name)
    table = calendar.schedule(first, last)
    sessions = [session_of(label.date(), row) for label, row in zip(table.index, table.to_dict("records"), strict=True)]
    return FixedSchedule(sessions, name=name, timezone=calendar.tz)


def session_of(day: date, row: dict[str, Any]) -> Session:
    """Return the session in a row. Where it closes early, a break that it never comes to has no width there."""
    start, end = row.get("break_start"), row.get("break_end")
    breaks = () if start is None or pd.isna(start) or start >= end else ((start, end),)
    return Session(day, row["market_open"], row["market_close"], breaks)


def differences(name: str, first: date = FIRST, last: date = LAST) -> tuple[Difference, ...]:
    """Return where our schedule (`a`) and pandas_market_calendars (`b`) differ."""
    ours = ExchangeSchedule(name, near=datetime(last.year, 7, 1, tzinfo=UTC))
    return compare(ours, pandas_market_schedule(PAIRS[name], first, last), first, last)


def main() -> None:
    """Print what differs for each pair: how many sessions in what, and the first of them in the venue's own time."""
    for name, other in PAIRS.items():
        schedule = ExchangeSchedule(name, near=datetime(LAST.year, 7, 1, tzinfo=UTC))
        found = differences(name)
        kinds = Counter(", ".join(each.fields) for each in found)
        told = "; ".join(f"{kind}: {n}" for kind, n in kinds.most_common()) or "none"
        print(
            f"{name} / {other}, {len(schedule.sessions(FIRST, LAST))} sessions, {FIRST} to {LAST}: differences {told}"
        )
        for each in found[:MOST_SHOWN]:
            print(f"    {each.in_words(schedule.timezone)}")
        if len(found) > MOST_SHOWN:
            print(f"    and {len(found) - MOST_SHOWN} more")


if __name__ == "__main__":
    main()
