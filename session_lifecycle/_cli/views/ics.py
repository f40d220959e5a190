"""A calendar file (RFC 5545) of planned sessions, written by icalendar."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from icalendar import Calendar, Event

from session_lifecycle._cli.views.days import BOUNDARIES, ODDITIES
from session_lifecycle._cli.views.planned import Plan, PlannedSession


def calendar_file(plans: Iterable[Plan], written_at: datetime) -> bytes:
    """Return the file: one event for each session, from its open to its close.

    An event is known by its calendar, as it was asked for, and its date, so that importing a later file updates it.
    """
    calendar: Any = Calendar()  # what is added may be anything, says icalendar, and nothing else
    calendar.add("prodid", "-//session_lifecycle//plan//EN")
    calendar.add("version", "2.0")
    for plan in plans:
        for session in plan.sessions:
            calendar.add_component(_event(plan, session, written_at))
    content: bytes = calendar.to_ical()
    return content


def _event(plan: Plan, planned: PlannedSession, written_at: datetime) -> Any:  # noqa: ANN401 -- as above
    name, session = plan.venue.asked, planned.session
    event: Any = Event()
    event.add("uid", f"{session.date}.{name}@session-lifecycle")
    event.add("dtstamp", written_at)
    event.add("last-modified", written_at)
    event.add("dtstart", session.open)
    event.add("dtend", session.close)
    odd = ", ".join(ODDITIES[each] for each in planned.oddities)
    event.add("summary", f"{name} {odd}" if odd else name)
    event.add("description", "\n".join(_described(plan, planned)))
    event.add("categories", ["trading session"])
    event.add("transp", "TRANSPARENT")  # an open market does not make its reader busy
    return event


def _described(plan: Plan, planned: PlannedSession) -> list[str]:
    zone = plan.venue.schedule.timezone
    lines = [f"session {planned.session.date} of {plan.venue.schedule.name}", *planned.notes]
    for what, at in planned.moments:
        local, utc = at.astimezone(zone), at.astimezone(UTC)
        lines.append(f"{BOUNDARIES[what]}: {local:%a %H:%M %Z} ({utc:%a %H:%M} UTC)")
    if planned.following is not None:
        lines.append(f"then the roll to {planned.following}")
    lines += [f"{each.kind}: {each.in_words(zone)}" for each in plan.changes if each.date == planned.session.date]
    return lines
