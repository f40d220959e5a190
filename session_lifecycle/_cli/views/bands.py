"""A stretch of time divided into bands, one for each state and break of a venue's sessions: what `timeline` draws."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from session_lifecycle._cli.output import Instant
from session_lifecycle._cli.venues import Venue
from session_lifecycle._cli.views.moments import (
    PhaseReport,
    coming,
    is_on_break,
    is_state_configured,
    scheduled_state,
)
from session_lifecycle._model.legs import LEGS, Label, StateValue

_DAY: Final = timedelta(days=1)
_MICROSECOND: Final = timedelta(microseconds=1)

Kind = Label | Literal["break"]
"""What a band shows: the label of its session's leg, or a break, which looks like a leg of its own."""

_KINDS: Final[dict[str, Kind]] = {leg.state.value: leg.label for leg in LEGS}


class Appearance(NamedTuple):
    """How a kind of band is drawn.

    `block` and `plain` are its characters, the second one where a terminal shows only ASCII. `style` is that of the
    blocks, `row_style` that of the word on the board of `status`, both in the terms of rich. A band with a lower `rank`
    keeps a cell that others share. `colour` and `height` are the picture's: RGB, and the share of a row.
    """

    block: str
    plain: str
    style: str
    row_style: str
    rank: int
    colour: str
    height: float


APPEARANCES: Final[dict[Kind, Appearance]] = {
    "pre-market": Appearance("░", "-", "cyan", "cyan", 3, "#56B4E9", 0.36),
    "active": Appearance("█", "#", "green", "bold green", 0, "#009E73", 0.72),
    "break": Appearance("─", "=", "yellow", "bold yellow", 1, "#F0E442", 0.36),
    "post-market": Appearance("▒", "+", "magenta", "cyan", 2, "#E69F00", 0.36),
    "not started": Appearance("·", ".", "dim", "", 4, "#E8E8E8", 0.08),
}
"""How each kind is drawn, in the order of the legend.

The colours are from the palette of Okabe and Ito, which is safe for every kind of colour vision, and the heights differ
as well: https://jfly.uni-koeln.de/color/
"""


class Stretch(NamedTuple):
    """The time that is drawn, `start` ≤ t < `end` in UTC: whole days of a zone."""

    start: datetime
    end: datetime
    zone: ZoneInfo

    @classmethod
    def of_days(cls, first: date, last: date, zone: ZoneInfo) -> "Stretch":
        """Return the stretch of those days, both inclusive."""
        return cls(_midnight(first, zone), _midnight(last + _DAY, zone), zone)

    @property
    def first(self) -> date:
        """The first day."""
        return self.start.astimezone(self.zone).date()

    @property
    def last(self) -> date:
        """The last day."""
        return (self.end - _MICROSECOND).astimezone(self.zone).date()

    @property
    def midnights(self) -> Iterator[tuple[date, datetime]]:
        """Every day, and when it begins."""
        for n in range((self.last - self.first).days + 1):
            yield (day := self.first + n * _DAY), _midnight(day, self.zone)

    def __str__(self) -> str:
        first, last = self.first, self.last
        days = f"{first:%a} {first}" + (f" to {last:%a} {last}" if last != first else "")
        return f"{days}, {self.zone}"


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


class Band(msgspec.Struct, frozen=True):
    """A stretch of time, `start` inclusive and `end` exclusive, in which neither state nor break changes.

    `configured` says that the state lasts for as long as the configuration has it: no fact of the venue.
    """

    session: date
    state: StateValue
    on_break: bool
    configured: bool
    start: Instant
    end: Instant

    @property
    def kind(self) -> Kind:
        """What is drawn."""
        return "break" if self.on_break else _KINDS[self.state]

    def within(self, start: datetime, end: datetime) -> timedelta:
        """Return for how long the band lies within a stretch."""
        return max(min(self.end, end) - max(self.start, start), timedelta(0))


class TimelineReport(msgspec.Struct, frozen=True):
    """The bands of a venue, which fill the time that is drawn, and its phases that begin or end in it."""

    calendar: str
    schedule: str
    timezone: str
    bands: tuple[Band, ...]
    phases: tuple[PhaseReport, ...]


def timeline_report(venue: Venue, stretch: Stretch) -> TimelineReport:
    """Return a venue's row: the bands that fill a stretch of time.

    Raises:
        ScheduleExhausted: a part of the stretch lies outside what the schedule knows.
    """
    schedule = venue.schedule
    bands = tuple(_bands(venue, stretch))
    found = {phase: None for band in bands for phase in _phases(venue, band)}  # in order, each once
    phases = tuple(each for each in found if each.start < stretch.end and stretch.start < each.end)
    return TimelineReport(venue.asked, schedule.name, str(schedule.timezone), bands, phases)


def _phases(venue: Venue, band: Band) -> Iterator[PhaseReport]:
    for stretch in venue.timeline.phases_near(venue.timeline.at(band.start).session):
        phase = stretch.phase
        yield PhaseReport(phase.name, phase.start, phase.end, phase.tradable, phase.data_expected)


def _bands(venue: Venue, stretch: Stretch) -> Iterator[Band]:
    start, end, _ = stretch
    while start < end:
        position = venue.timeline.at(start)
        following = coming(position, start)
        if following is None:
            venue.schedule.session_at(start)  # raises, and says where the knowledge ends
            raise AssertionError(venue.asked, start)  # pragma: no cover -- a schedule that knows on has a boundary
        until = min(following.at, end)
        session = position.session
        configured = is_state_configured(session, position.state)
        yield Band(session.date, scheduled_state(position), is_on_break(session, start), configured, start, until)
        start = until
