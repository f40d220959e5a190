"""What a notebook shows of a schedule: the coming sessions in the venue's own time."""

from datetime import UTC, datetime, timedelta
from typing import Final

from session_lifecycle._model.errors import ScheduleExhausted
from session_lifecycle._model.html import html_table, local_text
from session_lifecycle._model.session import Session
from session_lifecycle._schedules.base import Schedule

_MOST: Final = 7
_BEFORE_THE_END: Final = timedelta(days=14)


def coming_sessions(schedule: Schedule) -> list[Session]:
    """Return the present session and those after it; seven at most.

    Where the schedule does not know the present, they are the last that it knows.
    """
    try:
        found = [schedule.session_at(datetime.now(UTC))]
    except ScheduleExhausted as error:
        first = max(error.first, error.last - _BEFORE_THE_END)
        return list(schedule.sessions(first, error.last))[-_MOST:]
    while len(found) < _MOST:
        try:
            found.append(schedule.next_session(found[-1].date))
        except ScheduleExhausted:
            break
    return found


def schedule_html(schedule: Schedule) -> str:
    """Return what the schedule is, and its coming sessions, as a table."""
    zone = schedule.timezone
    rows: list[list[str]] = []
    for each in coming_sessions(schedule):
        breaks = ", ".join("–".join(local_text(at, zone, each.date) for at in pause) for pause in each.breaks)
        opens, closes = (local_text(at, zone, each.date) for at in (each.open, each.close))
        rows.append([f"{each.date:%a} {each.date}", opens, closes, breaks])
    return html_table(f"{schedule!r}, times of {zone}", ["session", "open", "close", "breaks"], rows)
