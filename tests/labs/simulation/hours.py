"""Real sessions, loaded once for each calendar, and the checker's own tables of where the clock puts them."""

from bisect import bisect_right
from datetime import UTC, date, datetime

import exchange_calendars

from session_lifecycle import (
    ExchangeSchedule,
    FixedSchedule,
    LifecycleConfig,
    ScheduleExhausted,
    Session,
    SessionState,
)

NAMES = tuple(exchange_calendars.get_calendar_names(include_aliases=False))
STATES = (SessionState.NOT_STARTED, SessionState.PRE_MARKET, SessionState.ACTIVE, SessionState.POST_MARKET)
ENDED = SessionState.ENDED


def load(name: str, first_year: int, last_year: int) -> tuple[Session, ...]:
    """Return a calendar's sessions of those years, or of as many of them as it knows."""
    schedule = ExchangeSchedule(name, corrections=False, near=datetime(last_year, 7, 1, tzinfo=UTC))
    first, last = date(first_year, 1, 1), date(last_year, 12, 31)
    try:
        return schedule.sessions(first, last)
    except ScheduleExhausted as known:
        return schedule.sessions(max(first, known.first), min(last, known.last))


class Hours:
    """Sessions seen through a configuration, by the rule in words; every instant is found by bisection.

    By the clock the current session is the first whose end is after the instant. A session ends at its close and the
    delay, but no later than the next one opens; its pre-market starts no earlier than the one before has ended.
    """

    def __init__(self, name: str, sessions: tuple[Session, ...], config: LifecycleConfig) -> None:
        self.sessions = sessions
        self.schedule = FixedSchedule(sessions, name=name)
        self.index = {session.date: i for i, session in enumerate(sessions)}
        self.ends: list[datetime] = []
        self.edges: list[tuple[datetime, datetime, datetime, datetime]] = []
        last = len(sessions) - 1
        for i, session in enumerate(sessions):
            end = session.close + config.post_market_roll_delay
            start = session.open - config.pre_market
            if i < last and end > sessions[i + 1].open:
                end = sessions[i + 1].open
            if i and start < self.ends[-1]:
                start = self.ends[-1]
            self.ends.append(end)
            self.edges.append((start, session.open, session.close, end))
        self.marks = [tuple(mark for pause in session.breaks for mark in pause) for session in sessions]

    def owner(self, wall: datetime) -> int:
        """Return the session that the clock says it is."""
        return bisect_right(self.ends, wall)

    def stage(self, i: int, wall: datetime) -> SessionState:
        """Return the state of that session at an instant, by its own boundaries."""
        edges = self.edges[i]
        if wall >= edges[2]:
            return ENDED if wall >= edges[3] else STATES[3]
        if wall >= edges[1]:
            return STATES[2]
        return STATES[1] if wall >= edges[0] else STATES[0]

    def until(self, i: int, wall: datetime) -> datetime:
        """Return the first boundary of that session after an instant."""
        for edge in self.edges[i]:
            if wall < edge:
                return edge
        raise AssertionError(i, wall)

    def since(self, wall: datetime) -> datetime:
        """Return the last boundary of any session at or before an instant."""
        i = self.owner(wall)
        return max((edge for edge in (self.ends[i - 1], *self.edges[i]) if edge <= wall), default=self.ends[i - 1])
