"""Schedules with all the years that several modules ask about, each from one build, which takes up to a second.

A schedule builds its calendar anew for each run of years that it has not loaded, at the same price for one year as for
twenty. How it does so is tested with the schedule; here it is told the years beforehand.
"""

from datetime import date
from functools import cache

import pytest

from session_lifecycle import ExchangeSchedule
from session_lifecycle._schedules.corrections import reach

FIRST, LAST = date(2010, 1, 1), date(2026, 12, 31)
FIRST_LOADED, LAST_LOADED = date(2009, 1, 1), date(2027, 12, 31)


def with_years(name: str, first: date, last: date, *, corrections: bool = True) -> ExchangeSchedule:
    """Return a schedule that has loaded the years from one day to another, as far as they are known, and no others."""

    def load_them(schedule: ExchangeSchedule, _: date) -> object:
        return schedule._load(schedule._clipped(first).year, schedule._clipped(last).year)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExchangeSchedule, "_load_around", load_them)
        return ExchangeSchedule(name, corrections=corrections)


def _first_day_of_interest(name: str) -> date:
    span = reach(name)
    return FIRST_LOADED if span is None else min(FIRST_LOADED, span[0])


@cache
def raw(name: str) -> ExchangeSchedule:
    """Return a calendar as exchange_calendars has it, with every year that the tables of hours are about."""
    return with_years(name, _first_day_of_interest(name), LAST_LOADED, corrections=False)


@cache
def fixed(name: str) -> ExchangeSchedule:
    """Return a calendar with the known errors fixed, with the same years."""
    return with_years(name, _first_day_of_interest(name), LAST_LOADED)
