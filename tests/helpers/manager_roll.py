"""What the tests of test_manager_roll share."""

from datetime import date, timedelta

from tests.helpers.builders import MONDAY, at

EVENING = at(MONDAY, (21, 15))
"""Shortly before Monday's session ends."""
END = at(MONDAY, (21, 30))


def day_of(number: int) -> date:
    """Return the date of the season's session of that number, Monday the 4th being number 0."""
    return MONDAY + timedelta(weeks=number // 5, days=number % 5)


class Boom(Exception):
    pass
