"""What the tests of test_stateful share."""

from datetime import timedelta

import hypothesis.strategies as st

from session_lifecycle import (
    Session,
    SessionState,
)
from tests.helpers.builders import DAY, MONDAY, at

ZERO = timedelta(0)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
NOT_STARTED, PRE_MARKET, ACTIVE = SessionState.NOT_STARTED, SessionState.PRE_MARKET, SessionState.ACTIVE
POST_MARKET, ENDED = SessionState.POST_MARKET, SessionState.ENDED
TIMEOUT, ERROR = SessionState.TIMEOUT, SessionState.ERROR
late = st.sampled_from([0, 0, 0, -1])
WEEK = tuple(
    Session(day, at(day, (9, 0)), at(day, (10, 0)), ((at(day, (9, 20)), at(day, (9, 30))),))
    for day in (MONDAY + i * DAY for i in range(5))
)
