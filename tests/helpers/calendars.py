"""Schedules with all the years that a module asks about, from one build, which takes up to a second; and data files.

A schedule builds its calendar anew for each run of years that it has not loaded. How it does so is tested with the
schedule; here it is told the years beforehand.
"""

import tomllib
from collections.abc import Iterator
from datetime import date
from importlib.resources import files

import pytest

from session_lifecycle import ExchangeSchedule


def calendars_with_hours() -> Iterator[str]:
    """Yield the calendars that have a data file of their venue's hours, by their canonical names."""
    for each in files("session_lifecycle._schedules").joinpath("hours_data").iterdir():
        if each.name.endswith(".toml"):
            yield str(tomllib.loads(each.read_text(encoding="utf-8"))["calendar"])


def with_years(name: str, first: date, last: date, *, corrections: bool = True) -> ExchangeSchedule:
    """Return a schedule that has loaded the years from one day to another, as far as they are known, and no others."""

    def load_them(schedule: ExchangeSchedule, _: date) -> object:
        return schedule._load(schedule._clipped(first).year, schedule._clipped(last).year)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExchangeSchedule, "_load_around", load_them)
        return ExchangeSchedule(name, corrections=corrections)
