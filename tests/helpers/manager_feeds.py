"""What the tests of test_manager_feeds share."""

from datetime import datetime

from hypothesis import settings

from session_lifecycle import (
    Feed,
    FeedStale,
    FixedSchedule,
    LifecycleConfig,
    SessionBoundaryManager,
    StaleWhen,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MONDAY, session
from tests.helpers.harness import (
    MINUTE,
    TIMEOUT,
    TUESDAY,
    changes,
    of,
    roll_nothing,
    season,
)

FIVE = 5 * MINUTE
ALL, ANY = StaleWhen.ALL, StaleWhen.ANY
LUNCHING = FixedSchedule(
    [session(MONDAY, breaks=(((17, 0), (18, 0)),)), *season().sessions(TUESDAY, TUESDAY + 70 * DAY)]
)
"""Monday pauses from 17:00 to 18:00."""
SHORT = settings(max_examples=25, deadline=None)


def listen(start: datetime, schedule: FixedSchedule | None = None, roll=roll_nothing, **settings) -> tuple:
    """Return a manager whose feeds have five minutes by default, and its clock."""
    clock = SimulatedClock(start)
    config = LifecycleConfig(**({"data_timeout": FIVE} | settings))
    return SessionBoundaryManager(schedule or season(), roll, clock=clock, config=config), clock


def stale(log) -> list[tuple[str, datetime]]:
    """Return which feeds were told to be stale, each with the instant at which it was."""
    return [(event.feed, event.scheduled_at) for event in of(FeedStale, log)]


def timeouts(log) -> list[datetime]:
    """Return when TIMEOUT was entered."""
    return [event.observed_at for event in changes(log) if event.dest is TIMEOUT]


async def nobody(feed: Feed) -> bool:
    """Answer that a feed is dead."""
    return False
