"""Names of phases that application code waits for, held against the phases of the coming sessions.

A phase may have any name, and may come with hours that are not known yet. So a name that no coming session has is not
refused; but it may be misspelt.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from session_lifecycle._core.timeline import Timeline
from session_lifecycle._model.session import Session
from session_lifecycle._schedules.base import Schedule

_AHEAD: Final = timedelta(days=30)
"""How far ahead phases are looked for: past half days and holidays, and no further than the horizon's report loads."""


def unknown_phase(name: str, timeline: Timeline, session: Session, now: datetime) -> str | None:
    """Return in words that no session from this one on has a phase of that name; None where one of them has.

    The last one that is looked at is the first that opens more than thirty days after `now`, or the last that the
    schedule knows.
    """
    last, known = session, dict[str, None]()
    for last in _coming(timeline, session, now + _AHEAD):
        known.update((phase.name, None) for phase in last.phases)
        if name in known:
            return None
    which = f"no session from {session.date} to {last.date}"
    if known:
        return f"{which} has it; {_hint(name, known, timeline.schedule)}"
    on_record = getattr(timeline.schedule, "phases", False)
    return f"{which} has any phase{'' if on_record else '; ExchangeSchedule(..., phases=True) has those on record'}"


def _coming(timeline: Timeline, session: Session, until: datetime) -> Iterator[Session]:
    following: Session | None = session
    while following is not None:
        yield following
        following = None if following.open > until else timeline.following(following)


def _hint(name: str, known: Iterable[str], schedule: Schedule) -> str:
    from difflib import get_close_matches  # only for this message

    folded = {each.casefold(): each for each in known}
    near = [folded[each] for each in get_close_matches(name.casefold(), folded)]
    if near:
        return f"did you mean {' or '.join(near)}?"
    nightless = name == "overnight" and getattr(schedule, "night", "") is None
    return f"they have {', '.join(known)}{'; nights are those of another venue, `night=`' if nightless else ''}"
