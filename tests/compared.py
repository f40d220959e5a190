"""Hold every calendar against three other sources, and print what differs: `python -m tests.compared [CALENDAR ...]`.

`session_lifecycle/_schedules/other_sources.py` has the sources. Each difference is either fixed, by a row of
`hours_data`, or judged, by a row of `other_data/judged.toml` with the reason. Exit status 1: one of them is neither.
"""

import sys
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Final

from session_lifecycle import ExchangeSchedule
from session_lifecycle._schedules import other_sources
from session_lifecycle._schedules.other_sources import SOURCES, Found, Judged

FIRST, PUBLISHED = other_sources.span()
NEAR: Final = datetime(2026, 1, 1, tzinfo=UTC)


def last_day(schedule: ExchangeSchedule) -> date:
    """Return the last day to compare: the last that is vouched for, else the end of the published year."""
    return min(schedule.vouched_until or PUBLISHED, schedule.known_until)


def differences(name: str, sources: Iterable[str] = SOURCES, *, corrections: bool = True) -> list[Found]:
    """Return where a calendar differs from the sources that it is held against."""
    ours = ExchangeSchedule(name, corrections=corrections, near=NEAR)
    last = last_day(ours)
    return [each for source in sources for each in other_sources.differences(ours, source, FIRST, last)]


def main(names: list[str]) -> int:
    """Print the differences that are neither fixed nor judged, and a line for each calendar."""
    rows, table = other_sources.judged(), other_sources.calendars()
    used: set[Judged] = set()
    unjudged = 0
    for name in names or table:
        if "not_compared" in table[name]:
            print(f"{name}: not compared, since {table[name]['not_compared']}")
            continue
        found = differences(name)
        why = {each: row for each in found if (row := next((row for row in rows if row.includes(each)), None))}
        used |= {*why.values()}
        left = [each for each in found if each not in why]
        unjudged += len(left)
        last = last_day(ExchangeSchedule(name, near=NEAR))
        sources = ", ".join(f"{source} {other}" for source, other in table[name].items())
        print(f"{name}, {FIRST} to {last}, with {sources}: {len(left)} differences, and {len(why)} that were judged")
        for each in left:
            print(f"    {each}")
    if not names:
        for row in rows:
            if row not in used:
                print(f"no such difference any more: {', '.join(sorted(row.calendars))}: {row.why}")
    print(f"{unjudged} differences are neither fixed nor judged")
    return 1 if unjudged else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
