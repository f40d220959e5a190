"""The board of venues that `status` prints and `watch` keeps up to date."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from session_lifecycle._cli.output import Instant
from session_lifecycle._cli.venues import Venue
from session_lifecycle._cli.views.bands import APPEARANCES
from session_lifecycle._cli.views.moments import (
    MARK,
    STATES,
    Moment,
    coming,
    countdown,
    day_and_time,
    footnote,
    is_on_break,
    is_state_configured,
    scheduled_state,
)
from session_lifecycle._cli.views.rows import HangingText, NotedRow, NotedRows
from session_lifecycle._cli.views.usual import Oddity, WeeklyPattern
from session_lifecycle._core.timeline import Position
from session_lifecycle._model.legs import StateValue
from session_lifecycle._model.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType

_STYLES: Final[dict[str, str]] = {kind: each.row_style for kind, each in APPEARANCES.items()}
_ENDS: Final = "{} ends with {}, which does not mean that the market is closed: {}"
HEADER: Final = ("market", "state", "session", "local time", "next", "in")
_MOVED: Final[tuple[tuple[str, ...], ...]] = ((), ("local time",), ("session", "local time"))
"""Which of them are below the row where there is no room for all of them, in this order."""


class StatusReport(msgspec.Struct, frozen=True):
    """The state of a venue by the clock. `next` is null where the calendar's knowledge ends, `phase` between phases.

    `configured` says that the state lasts for as long as the configuration has it: no fact of the venue.
    """

    calendar: str
    schedule: str
    timezone: str
    state: StateValue
    configured: bool
    session: date
    open: Instant
    close: Instant
    on_break: bool
    oddities: tuple[Oddity, ...]
    next: Moment | None
    observed_at: Instant
    phase: str | None


class StatusRow(msgspec.Struct, frozen=True):
    """A row of the board. `notes` say in words what is unusual about the session."""

    venue: Venue
    position: Position
    notes: tuple[str, ...]
    status: StatusReport

    def cells(self) -> list[str]:
        """Return the row's cells, in the order of `HEADER`."""
        status, zone = self.status, self.venue.schedule.timezone
        local = status.observed_at.astimezone(zone)
        state = "break" if status.on_break else STATES[self.position.state] + MARK * status.configured
        if status.phase is not None:
            state += f", {status.phase}"
        session = f"{status.session}{'*' if self.notes else ''}"
        cells = [status.calendar, state, session, f"{local:%a %H:%M %Z}"]
        if status.next is None:
            return [*cells, "not known", ""]
        what = f"{status.next.text} {day_and_time(status.next.at, zone, local.date())}"
        return [*cells, what, countdown(status.next.at - status.observed_at)]

    @property
    def is_marked(self) -> bool:
        """Whether anything in the row is made by the configuration."""
        return self.status.configured or (self.status.next is not None and self.status.next.configured)

    def end_of_knowledge(self) -> str:
        """Return a line that says where the schedule's knowledge has ended, and what to do."""
        return _ENDS.format(self.status.calendar, self.status.session, self.venue.remedy)


class Board:
    """Venues that can be observed repeatedly: a calendar is queried only when a state or session changes."""

    def __init__(self, venues: Iterable[Venue]) -> None:
        self._venues = tuple(venues)
        self._last: dict[Venue, StatusRow] = {}

    def at(self, t: datetime) -> list[StatusRow]:
        """Return the row of every venue at `t`.

        Raises:
            ScheduleExhausted: `t` lies before all that a schedule knows.
        """
        for venue in self._venues:
            self._last[venue] = self._observe(venue, t)
        return [self._last[venue] for venue in self._venues]

    def _observe(self, venue: Venue, t: datetime) -> StatusRow:
        last = self._last.get(venue)
        position = last.position if last is not None and last.position.covers(t) else venue.timeline.at(t)
        session = position.session
        if last is not None and last.position.session == session:
            notes, oddities = last.notes, last.status.oddities
        else:
            pattern = WeeklyPattern(venue.schedule, session.date, session.date)
            notes, oddities = tuple(pattern.describe(session)), pattern.oddities(session)
        status = StatusReport(
            calendar=venue.asked,
            schedule=venue.schedule.name,
            timezone=str(venue.schedule.timezone),
            state=scheduled_state(position),
            configured=is_state_configured(session, position.state),
            session=session.date,
            open=session.open,
            close=session.close,
            on_break=is_on_break(session, t),
            oddities=oddities,
            next=coming(position, t),
            observed_at=t,
            phase=_phase(venue, session, t),
        )
        return StatusRow(venue, position, notes, status)


def _phase(venue: Venue, session: Session, t: datetime) -> str | None:
    """Return the name of the phase that is on; it may be of a session next to this one."""
    near = venue.timeline.phases_near(session)
    return next((each.phase.name for each in near if each.start <= t < each.end), None)


def next_phase_edge(row: StatusRow) -> datetime | None:
    """Return when the next phase starts, or the present one ends; None where none is known."""
    near = row.venue.timeline.phases_near(row.position.session)
    edges = (edge for each in near for edge in (each.start, each.end))
    return min((edge for edge in edges if edge > row.status.observed_at), default=None)


def _style(cell: str) -> str:
    return _STYLES.get(cell.partition(",")[0].removesuffix(MARK), "")


def _cell(n: int, text: str, widths: Sequence[int]) -> str:
    return text.rjust(widths[n]) if HEADER[n] == "in" else text


def draw(rows: Sequence[StatusRow], width: int) -> "RenderableType":
    """Return the board as a table, or as a list where there is not even room for the shortest one.

    In a narrow one, what its columns have no room for is below each row.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    texts = [row.cells() for row in rows]
    widths = [max(map(len, column)) for column in zip(HEADER, *texts, strict=True)]
    footnotes = [f"* {row.status.calendar} {note}" for row in rows for note in row.notes]
    footnotes += [footnote(row.status.calendar, row.venue.own_hours) for row in rows if row.is_marked]
    footnotes += [row.end_of_knowledge() for row in rows if row.status.next is None]
    below = [HangingText(Text(note)) for note in footnotes]
    for moved in _MOVED:
        kept = [n for n, name in enumerate(HEADER) if name not in moved]
        if sum(widths[n] + 1 for n in kept) - 1 > width:
            continue
        lines = [NotedRow([Text(_cell(n, HEADER[n], widths), "bold") for n in kept], Text())]
        for cells in texts:
            note = ", ".join(f"{name} {cells[HEADER.index(name)]}" for name in moved)
            lines.append(
                NotedRow([Text(_cell(n, cells[n], widths), _style(cells[n])) for n in kept], Text(note, "dim"))
            )
        return Group(NotedRows(lines), *below)
    lists = Table(box=None, pad_edge=False, show_header=False)
    for cells in texts:
        lists.add_row(Text(cells[0], "bold"), "")
        for name, cell in zip(HEADER[1:], cells[1:], strict=True):
            lists.add_row(f"  {name}", Text(cell, _style(cell)))
    return Group(lists, *below)
