"""Schedules that several modules ask about many years, each built as few times as can be: a build takes up to a second.

A calendar is built anew for each run of years that is not loaded yet, at the same price for one year as for twenty.
"""

from datetime import date
from functools import cache

from session_lifecycle import ExchangeSchedule
from session_lifecycle._schedules.corrections import reach
from tests.helpers.builders import utc

FIRST, LAST = date(2010, 1, 1), date(2026, 12, 31)


def with_years(schedule: ExchangeSchedule, first: date, last: date) -> ExchangeSchedule:
    """Return a schedule with the years loaded that are known between two days."""
    schedule.sessions(max(first, schedule._first_day), min(last, schedule.known_until))
    return schedule


def _first_day_of_interest(name: str) -> date:
    span = reach(name)
    return FIRST if span is None else min(FIRST, span[0])


@cache
def raw(name: str) -> ExchangeSchedule:
    """Return a calendar as exchange_calendars has it, with every year that the tables of hours are about."""
    schedule = ExchangeSchedule(name, corrections=False, near=utc(2026, 6, 1))
    return with_years(schedule, _first_day_of_interest(name), LAST)


@cache
def fixed(name: str) -> ExchangeSchedule:
    """Return a calendar with the known errors fixed, with the same years."""
    return with_years(ExchangeSchedule(name, near=utc(2026, 6, 1)), _first_day_of_interest(name), LAST)
