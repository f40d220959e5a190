"""The kit's hours as our own tests need them: with the durations that they are seen through, and the rules in words."""

from datetime import date, datetime, timedelta
from typing import NamedTuple

import hypothesis.strategies as st

from session_lifecycle import FixedSchedule, LifecycleConfig, Session
from session_lifecycle.testing import strategies
from tests.helpers.builders import DAY, MICROSECOND

durations = strategies.durations()


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
    """Draw a schedule of any kind, and the durations that it is seen through."""
    drawn = draw(strategies.schedules(min_sessions=1, max_sessions=most))
    return Hours(drawn.sessions(date.min, date.max), draw(durations), draw(durations))


def instants(those: Hours) -> st.SearchStrategy[datetime]:
    """Draw instants at, and one microsecond to either side of, every boundary; and any others."""
    edges = [edge for i in range(len(those.sessions)) for edge in those.edges(i)]
    near = [edge + shift for edge in edges for shift in (-MICROSECOND, timedelta(0), MICROSECOND)]
    anywhere = st.timedeltas(timedelta(0), edges[-1] - edges[0] + 4 * DAY).map(lambda d: edges[0] - 2 * DAY + d)
    return st.sampled_from(near) | anywhere
