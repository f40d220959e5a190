"""The board of venues that `status` prints and `watch` keeps up to date."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

from session_lifecycle._cli.output import iso
from session_lifecycle._cli.shapes import Oddity, StatusJson
from session_lifecycle._cli.venues import Venue
from session_lifecycle._cli.views.days import (
    BOUNDARIES,
    STATES,
    Moment,
    Usual,
    as_state,
    coming,
    countdown,
    day_and_time,
    is_on_break,
)
from session_lifecycle._core.timeline import Position
from session_lifecycle._schedules.snapshot import SnapshotSchedule

if TYPE_CHECKING:
    from rich.console import RenderableType

_STYLES: Final = {"active": "bold green", "break": "bold yellow", "pre-market": "cyan", "post-market": "cyan"}

_ENDS: Final = "{} ends with {}, which does not mean that the market is closed: {}"
HEADER: Final = ("market", "state", "session", "local time", "next", "in")


@dataclass(frozen=True, slots=True)
class StatusRow:
    """Where a venue stood at `t`, by the clock. `next` is None where the schedule's knowledge ends."""

    venue: Venue
    t: datetime
    position: Position
    next: Moment | None
    notes: tuple[str, ...]
    oddities: tuple[Oddity, ...]

    @property
    def on_break(self) -> bool:
        """Whether the session is on a break."""
        return is_on_break(self.position.session, self.t)

    def as_json(self) -> StatusJson:
        """Return it as `--json` shows it."""
        session = self.position.session
        return {
            "calendar": self.venue.asked,
            "schedule": self.venue.schedule.name,
            "timezone": str(self.venue.schedule.timezone),
            "state": as_state(self.position.state),
            "session": session.date.isoformat(),
            "open": iso(session.open),
            "close": iso(session.close),
            "on_break": self.on_break,
            "oddities": list(self.oddities),
            "next": None if self.next is None else self.next.as_json(),
            "observed_at": iso(self.t),
        }

    def end_in_words(self) -> str:
        """Return that the schedule's knowledge has ended, and what to do."""
        pinned = isinstance(self.venue.schedule, SnapshotSchedule)
        remedy = "make the snapshot anew" if pinned else "update exchange_calendars"
        return _ENDS.format(self.venue.asked, self.position.session.date, remedy)

    def as_row(self) -> list[str]:
        """Return it as the row of a table."""
        zone = self.venue.schedule.timezone
        local = self.t.astimezone(zone)
        state = "break" if self.on_break else STATES[self.position.state]
        date = f"{self.position.session.date}{'*' if self.notes else ''}"
        row = [self.venue.asked, state, date, f"{local:%a %H:%M %Z}"]
        if self.next is None:
            return [*row, "not known", ""]
        what = f"{BOUNDARIES[self.next.boundary]} {day_and_time(self.next.at, zone, local.date())}"
        return [*row, what, countdown(self.next.at - self.t)]


class Board:
    """Venues that can be looked at again and again: calendars are asked only when a state or session changes."""

    def __init__(self, venues: Iterable[Venue]) -> None:
        self._venues = tuple(venues)
        self._last: dict[Venue, StatusRow] = {}

    def at(self, t: datetime) -> list[StatusRow]:
        """Return where every venue stands at `t`.

        Raises:
            ScheduleExhausted: `t` lies before all that a schedule knows.
        """
        for venue in self._venues:
            self._last[venue] = self._look(venue, t)
        return [self._last[venue] for venue in self._venues]

    def _look(self, venue: Venue, t: datetime) -> StatusRow:
        last = self._last.get(venue)
        if last is not None and last.position.covers(t):
            return replace(last, t=t, next=coming(last.position, t))
        position = venue.timeline.at(t)
        session = position.session
        if last is not None and last.position.session == session:
            return replace(last, t=t, position=position, next=coming(position, t))
        usual = Usual(venue.schedule, session.date, session.date)
        notes = tuple(usual.in_words(session))
        return StatusRow(venue, t, position, coming(position, t), notes, tuple(usual.oddities(session)))


def drawn(standings: Sequence[StatusRow], width: int) -> "RenderableType":
    """Return the board as a table or, where even a tight one is wider than `width`, as a list."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    rows = [standing.as_row() for standing in standings]
    widths = [max(map(len, column)) for column in zip(HEADER, *rows, strict=True)]
    notes = [Text(f"* {each.venue.asked} {note}") for each in standings for note in each.notes]
    notes += [Text(each.end_in_words()) for each in standings if not each.next]
    room = (width - sum(widths)) // (len(widths) - 1)
    if room >= 1:
        table = Table(box=None, pad_edge=False, padding=(0, min(room, 2), 0, 0), header_style="bold")
        for name in HEADER:
            table.add_column(name, no_wrap=True, justify="right" if name == "in" else "left")
        for row in rows:
            table.add_row(*row[:1], Text(row[1], _STYLES.get(row[1], "")), *row[2:])
        return Group(table, *notes)
    lists = Table(box=None, pad_edge=False, show_header=False)
    for row in rows:
        lists.add_row(Text(row[0], "bold"), "")
        for name, cell in zip(HEADER[1:], row[1:], strict=True):
            lists.add_row(f"  {name}", Text(cell, _STYLES.get(cell, "")))
    return Group(lists, *notes)
