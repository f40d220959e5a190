"""The guide's table of all calendars, made from the data: `python -m tests.hours_table` writes it into the page."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from session_lifecycle._schedules import other_sources
from session_lifecycle._schedules.calendars import RULES_END, known_days
from session_lifecycle._schedules.venue_hours import VenueHours, hours_of

PAGE: Final = Path(__file__).parents[1] / "examples/guide/hours.md"
HEADING: Final = "Every calendar"
_TABLE: Final = re.compile(rf"(?ms)(^## {HEADING}$.*?)^\|.*?(?=^(?!\|))")


def lines() -> Iterator[str]:
    """Yield the lines of the table, one for each calendar."""
    yield "| calendar | known until | published until | compared with |"
    yield "|---|---|---|---|"
    for name, others in other_sources.calendars().items():
        known = hours_of(name)
        bounds = known_days(name)
        assert bounds is not None
        end = min(bounds[1], known.known_until or RULES_END)
        days = _day(end if end < RULES_END else None), _day(known.vouched_until)
        yield f"| {name} | {days[0]} | {days[1]} | {_with(known, others)} |"


def _day(day: object) -> str:
    return "" if day is None else f"{day}"


def _with(known: VenueHours, others: dict[str, str]) -> str:
    if "not_compared" in others:
        return f"nothing: {others['not_compared']}"
    published = [_publication(each.source, each.first.year, each.last.year) for each in known.compared]
    return ", ".join([*published, *(f"{source} `{other}`" for source, other in others.items())])


def _publication(address: str, first: int, last: int) -> str:
    return f"[a list of {first}{'' if first == last else f' to {last}'}]({address})"


def written(text: str) -> str:
    """Return the page with the table as it should be."""
    table = "\n".join(lines()) + "\n"
    return _TABLE.sub(lambda found: found[1] + table, text, count=1)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
