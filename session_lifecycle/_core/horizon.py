"""How far the schedule's knowledge reaches, from where a session stands."""

from datetime import date, datetime, timedelta
from typing import Final

from session_lifecycle._model.errors import ScheduleExhausted
from session_lifecycle._model.events import HorizonNear
from session_lifecycle._schedules.base import Schedule

HORIZON: Final = timedelta(days=30)
"""How far ahead of the end of the schedule's knowledge its end is reported."""


def horizon_near(schedule: Schedule, day: date, wall: datetime, name: str | None) -> HorizonNear | None:
    """Return the event that the schedule ends within thirty days, or that `day` lies beyond the published hours.

    The query also loads those days before they are needed. What the schedule raises, but `ScheduleExhausted`,
    propagates.
    """
    known: date | None = None
    vouched: date | None = getattr(schedule, "vouched_until", None)
    if vouched is not None and vouched < day:
        known = getattr(schedule, "known_until", day)
    else:
        vouched = None
    try:
        schedule.session_at(wall + HORIZON)
    except ScheduleExhausted as error:
        if error.first <= (wall + HORIZON).date() and error.last >= day:
            known = error.last
    return None if known is None else HorizonNear(known, day, wall, name=name, vouched_until=vouched)
