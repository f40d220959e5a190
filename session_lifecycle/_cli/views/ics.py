"""A calendar file (RFC 5545) of planned sessions, written by icalendar."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from icalendar import Calendar, Event

from session_lifecycle._cli.views.planned import Plan, PlannedSession
from session_lifecycle._cli.views.usual import ODDITIES
from session_lifecycle._model.text import one_line


def calendar_file(plans: Iterable[Plan], written_at: datetime) -> bytes:
    """Return the file: one event for each session, from its open to its close.

    An event is identified by its calendar, as it was asked for, and its date, so that importing a later file updates
    it.
    """
    calendar: Any = Calendar()  # icalendar declares what is added as "anything"
    calendar.add("prodid", "-//session_lifecycle//plan//EN")
    calendar.add("version", "2.0")
    for plan in plans:
        for session in plan.venue.sessions:
            calendar.add_component(_event(plan, session, written_at))
    content: bytes = calendar.to_ical()
    return content


def _event(plan: Plan, planned: PlannedSession, written_at: datetime) -> Any:  # noqa: ANN401 -- as above
    name, at = plan.venue.calendar, {moment.boundary: moment.at for moment in planned.moments}
    event: Any = Event()
    event.add("uid", f"{planned.session}.{name}@session-lifecycle")
    event.add("dtstamp", written_at)
    event.add("last-modified", written_at)
    event.add("dtstart", at["open"])
    event.add("dtend", at["close"])
    odd = ", ".join(ODDITIES[each] for each in planned.oddities)
    event.add("summary", f"{name} {odd}" if odd else name)
    event.add("description", "\n".join(map(one_line, _description(plan, planned))))
    event.add("categories", ["trading session"])
    event.add("transp", "TRANSPARENT")  # an open market does not make its reader busy
    return event


def _description(plan: Plan, planned: PlannedSession) -> list[str]:
    lines = [f"session {planned.session} of {plan.venue.schedule}", *plan.notes[planned.session]]
    for moment in planned.moments:
        local, utc = moment.at.astimezone(plan.zone), moment.at.astimezone(UTC)
        by = " (by configuration)" if moment.configured else ""
        lines.append(f"{moment.word}{by}: {local:%a %H:%M %Z} ({utc:%a %H:%M} UTC)")
    for phase in planned.phases:
        start, end = phase.start.astimezone(plan.zone), phase.end.astimezone(plan.zone)
        lines.append(f"{phase.name}: {start:%a %H:%M} to {end:%a %H:%M %Z}{'' if phase.tradable else ', not tradable'}")
    if planned.next_session is not None:
        lines.append(f"then the roll to {planned.next_session}")
    lines += [f"{each.kind}: {each.change}" for each in plan.venue.changes if each.session == planned.session]
    return lines
