"""A stretch of time cut into bands, one for each state and break of a venue's sessions: what `timeline` draws."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from session_lifecycle._cli.output import iso
from session_lifecycle._cli.shapes import BandJson, TimelineJson
from session_lifecycle._cli.venues import Venue
from session_lifecycle._cli.views.days import as_state, coming, is_on_break
from session_lifecycle._model.states import SessionState

_DAY: Final = timedelta(days=1)
_MICROSECOND: Final = timedelta(microseconds=1)

Kind = Literal["not started", "pre-market", "active", "break", "post-market"]
KINDS: Final[dict[SessionState, Kind]] = {
    SessionState.NOT_STARTED: "not started",
    SessionState.PRE_MARKET: "pre-market",
    SessionState.ACTIVE: "active",
    SessionState.POST_MARKET: "post-market",
}


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


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch, `start` ≤ t < `end`, in which neither state nor break changes."""

    session: date
    state: SessionState
    on_break: bool
    start: datetime
    end: datetime

    @property
    def kind(self) -> Kind:
        """What is drawn: a break looks like a state of its own."""
        return "break" if self.on_break else KINDS[self.state]

    def within(self, start: datetime, end: datetime) -> timedelta:
        """Return for how long the band lies within a stretch."""
        return max(min(self.end, end) - max(self.start, start), timedelta(0))

    def as_json(self) -> BandJson:
        """Return it as `--json` shows it."""
        return {
            "session": self.session.isoformat(),
            "state": as_state(self.state),
            "on_break": self.on_break,
            "start": iso(self.start),
            "end": iso(self.end),
        }


def bands(venue: Venue, stretch: Stretch) -> Iterator[Band]:
    """Yield the bands of a venue that fill a stretch of time.

    Raises:
        ScheduleExhausted: a part of the stretch lies outside what the schedule knows.
    """
    start, end, _ = stretch
    while start < end:
        position = venue.timeline.at(start)
        following = coming(position, start)
        if following is None:
            venue.schedule.session_at(start)  # raises, and says where the knowledge ends
            raise AssertionError(venue.asked, start)  # pragma: no cover -- a schedule that knows on has a boundary
        until = min(following.at, end)
        yield Band(position.session.date, position.state, is_on_break(position.session, start), start, until)
        start = until


def as_json(venue: Venue, drawn: tuple[Band, ...]) -> TimelineJson:
    """Return a venue's bands as `--json` shows them."""
    return {
        "calendar": venue.asked,
        "schedule": venue.schedule.name,
        "timezone": str(venue.schedule.timezone),
        "bands": [band.as_json() for band in drawn],
    }
