"""Instants of every venue that has a file of hours, with what its sources say of them: see `instants.toml`."""

import re
import tomllib
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from session_lifecycle import ExchangeSchedule
from session_lifecycle._schedules.venue_hours import hours_of
from tests.helpers.calendars import calendars_with_hours, with_years

GROUPS = tomllib.loads((Path(__file__).parent / "instants.toml").read_text(encoding="utf-8"))["group"]

AROUND = timedelta(days=45)
"""How far a query looks beyond the day that it is about: those years are loaded too."""


@cache
def schedule_of(calendar: str) -> ExchangeSchedule:
    """Return a venue's schedule, with the years that have instants from one build."""
    days = [
        datetime.fromisoformat(each[:10]).date()
        for group in GROUPS
        if group["calendar"] == calendar
        for each in group["at"]
    ]
    return with_years(calendar, min(days) - AROUND, max(days) + AROUND)


def state_at(schedule: ExchangeSchedule, instant: datetime) -> str:
    """Return whether the venue is open at an instant, closed, or at a break."""
    session = schedule.session_at(instant)
    if instant < session.open:
        return "closed"
    return "break" if any(start <= instant < end for start, end in session.breaks) else "open"


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: f"{group['calendar']}-{group['at'][0][:10]}")
def test_the_venue_is_what_its_source_says(group: dict[str, str]) -> None:
    """All instants of a source; a wrong one is named with what the schedule has."""
    schedule = schedule_of(group["calendar"])
    wrong: list[str] = []
    for each in group["at"]:
        text, _, expected = each.rpartition(" ")
        instant = datetime.fromisoformat(text).replace(tzinfo=schedule.timezone)
        if (found := state_at(schedule, instant)) != expected:
            wrong.append(f"{each}, and not {found}: {schedule.session_at(instant)}")
    assert not wrong, f"{group['calendar']}, {group['source']}: {wrong}"


def test_there_are_enough_of_them_and_no_venue_is_left_out() -> None:
    """Three hundred or more, each with its source and its state, and some for every file that corrects or vouches."""
    instants = [(group["calendar"], each) for group in GROUPS for each in group["at"]]
    assert len(instants) == len(set(instants)) >= 300
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d (open|closed|break)", each) for _, each in instants)
    assert all(group["source"].startswith("http") for group in GROUPS)
    files = [hours_of(name) for name in calendars_with_hours()]
    assert {each.calendar for each in files if each.rows or each.vouched_until} <= {
        group["calendar"] for group in GROUPS
    }


def test_an_hour_more_or_less_is_noticed() -> None:
    """An instant at which the venue is open is not one at which it is closed, and likewise for a break."""
    schedule = schedule_of("XTKS")
    noon = datetime(2026, 9, 16, 12, tzinfo=schedule.timezone)
    assert [state_at(schedule, noon + timedelta(hours=n)) for n in (-4, -2, 0, 2, 4)] == [
        "closed", "open", "break", "open", "closed",
    ]  # fmt: skip
