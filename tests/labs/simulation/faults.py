"""What can go wrong, by name, and the policies under which it does."""

from datetime import timedelta
from random import Random

from session_lifecycle import Entry, LifecycleConfig, MissedSessions, RetryPolicy

ZERO = timedelta(0)
MICROSECOND = timedelta(microseconds=1)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MARGIN = 45
"""How many sessions at the end of the known ones are left out, so that no run comes to the end of knowledge."""

ROLL_FAULTS = (
    "roll raises", "roll raises", "roll raises late", "roll cancelled from elsewhere", "roll hangs", "roll hangs",
    "roll swallows its timeout", "roll does not notice its timeout", "roll is slow", "roll outlasts the next open",
    "roll fails for good",
)  # fmt: skip
CRASHES = (
    "crash before the intent", "crash in the intent, lost", "crash in the intent, kept", "crash after the intent",
    "crash in the roll", "crash in the roll", "crash after the roll", "crash in done, lost", "crash in done, kept",
    "crash after done", "crash after telling", "crash in the decision, lost", "crash in the decision, kept",
)  # fmt: skip
WRITES = ("intent refused", "intent in doubt", "done refused", "done in doubt", "record refused", "record in doubt")
SLOW = ("journal is slow", "journal is slow")
LOOK_FAULTS = (
    "clock steps forward", "clock steps forward", "clock steps over days", "clock steps over years", "clock steps back",
    "clock steps back", "clock steps back", "looks late", "looks late", "looks late by days", "crash between looks",
    "crash between looks", "cancelled", "cancelled", "stopped", "failed by hand", "failed by hand", "ended by hand",
    "ended by hand", "old data", "future data", "data out of order",
)  # fmt: skip
DURING = ("stopped during a roll", "cancelled during a roll", "failed during a roll")
FAULTS = (*LOOK_FAULTS, *ROLL_FAULTS, *ROLL_FAULTS, *CRASHES, *WRITES, *WRITES, *SLOW, *DURING)
HOOKS = frozenset((*CRASHES, *WRITES, *SLOW, *DURING))
ROLLS = frozenset(ROLL_FAULTS)
DECISIONS = (Entry.RECOVERED, Entry.SKIPPED, Entry.ENDED)


def draw_config(rng: Random) -> LifecycleConfig:
    """Draw the policy of a life."""
    data_timeout, error_after = rng.choice(
        ((None, None), (5 * MINUTE, None), (5 * MINUTE, None), (30 * MINUTE, None), (3 * HOUR, None), (2 * HOUR, HOUR))
    )
    return LifecycleConfig(
        auto_roll=rng.random() < 0.9,
        data_timeout=data_timeout,
        error_after_timeout=error_after,
        pre_market=rng.choice((ZERO, 330 * MINUTE, 330 * MINUTE, 20 * HOUR)),
        post_market_roll_delay=rng.choice((ZERO, 30 * MINUTE, 30 * MINUTE, 3 * HOUR)),
        roll_timeout=rng.choice((None, 5 * MINUTE, 5 * MINUTE, 40 * MINUTE)),
        roll_retry=rng.choice(
            (RetryPolicy(attempts=1), RetryPolicy(), RetryPolicy(attempts=5, initial=10 * SECOND, maximum=10 * MINUTE))
        ),
        missed_sessions=rng.choice(tuple(MissedSessions)),
        max_catch_up_sessions=rng.choice((1, 2, 3, 5, 10)),
    )
