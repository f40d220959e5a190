"""Schedules with all the years that a module asks about, from one build, which takes up to a second.

A schedule builds its calendar anew for each run of years that it has not loaded. How it does so is tested with the
schedule; here it is told the years beforehand.
"""

from datetime import date

import pytest

from session_lifecycle import ExchangeSchedule


def with_years(name: str, first: date, last: date, *, corrections: bool = True) -> ExchangeSchedule:
    """Return a schedule that has loaded the years from one day to another, as far as they are known, and no others."""

    def load_them(schedule: ExchangeSchedule, _: date) -> object:
        return schedule._load(schedule._clipped(first).year, schedule._clipped(last).year)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExchangeSchedule, "_load_around", load_them)
        return ExchangeSchedule(name, corrections=corrections)
