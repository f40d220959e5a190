"""Hypothesis strategies for sessions, schedules and durations, drawn so that instants often coincide."""

from datetime import datetime, timedelta
from typing import NamedTuple

import hypothesis.strategies as st

from session_lifecycle import FixedSchedule, LifecycleConfig, Session
from tests.builders import DAY, MICROSECOND, MONDAY, at

HOUR = timedelta(hours=1)
durations = st.sampled_from([timedelta(0), MICROSECOND, HOUR, 2 * HOUR, 5 * HOUR, DAY, 4 * DAY]) | st.timedeltas(
    timedelta(0), 3 * DAY
)
lengths = durations.map(lambda length: length or HOUR)


class Hours(NamedTuple):
    """A schedule, its sessions, and the durations that it is seen through."""

    sessions: tuple[Session, ...]
    pre_market: timedelta
    post_market_roll_delay: timedelta

    @property
    def schedule(self) -> FixedSchedule:
        return FixedSchedule(self.sessions)

    @property
    def config(self) -> LifecycleConfig:
        return LifecycleConfig(pre_market=self.pre_market, post_market_roll_delay=self.post_market_roll_delay)

    def around(self, i: int) -> tuple[Session | None, Session, Session | None]:
        """Return a session between its neighbours."""
        before = self.sessions[i - 1] if i else None
        return before, self.sessions[i], self.sessions[i + 1] if i + 1 < len(self.sessions) else None

    def end(self, i: int) -> datetime:
        """Return the instant at which a session ends, by the rule in words: fact or delay, at most the next open."""
        _, session, following = self.around(i)
        end = session.post_market_end or session.close + self.post_market_roll_delay
        return end if following is None else min(end, following.open)

    def edges(self, i: int) -> tuple[datetime, datetime, datetime, datetime]:
        """Return a session's four boundaries, by the rule in words."""
        session = self.sessions[i]
        start = session.pre_market_start or session.open - self.pre_market
        return max(start, self.end(i - 1)) if i else start, session.open, session.close, self.end(i)


@st.composite
def hours(draw: st.DrawFn, *, most: int = 5) -> Hours:
    """Draw sessions of any length with gaps of any width, none included; some have facts, some have a break."""
    sessions: list[Session] = []
    day, opens = MONDAY, at(MONDAY, (0, 0))
    for _ in range(draw(st.integers(1, most))):
        opens += draw(durations)
        closes = opens + draw(lengths)
        third = (closes - opens) / 3
        breaks = ((opens + third, closes - third),) if third > MICROSECOND and draw(st.booleans()) else ()
        early, late = draw(st.none() | durations), draw(st.none() | durations)
        sessions.append(
            Session(
                day,
                opens,
                closes,
                breaks,
                None if early is None else opens - early,
                None if late is None else closes + late,
            )
        )
        day, opens = day + draw(st.integers(1, 4)) * DAY, closes
    return Hours(tuple(sessions), draw(durations), draw(durations))


def instants(those: Hours) -> st.SearchStrategy[datetime]:
    """Draw instants at, and one microsecond to either side of, every boundary; and any others."""
    edges = [edge for i in range(len(those.sessions)) for edge in those.edges(i)]
    near = [edge + shift for edge in edges for shift in (-MICROSECOND, timedelta(0), MICROSECOND)]
    anywhere = st.timedeltas(timedelta(0), edges[-1] - edges[0] + 4 * DAY).map(lambda d: edges[0] - 2 * DAY + d)
    return st.sampled_from(near) | anywhere
