"""Tasks that sleep on a simulated clock, and a log of when each of them woke."""

from datetime import UTC, datetime, timedelta

from session_lifecycle.testing import SimulatedClock

T0 = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
ZERO = timedelta(0)
MICROSECOND = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

Log = list[tuple[object, datetime, float]]
"""Who woke, at which wall time, at which monotonic time."""


async def sleeper(clock: SimulatedClock, log: Log, name: object, delta: timedelta) -> None:
    """Sleep once, and note when it was over."""
    await clock.sleep(delta)
    log.append((name, clock.now(), clock.monotonic()))


async def until(clock: SimulatedClock, log: Log, name: object, wall: datetime | None, monotonic: float | None) -> None:
    """Sleep until a deadline once, and note when it was over."""
    await clock.sleep_until(wall, monotonic)
    log.append((name, clock.now(), clock.monotonic()))


def names(log: Log) -> list[object]:
    """Return who woke, in order."""
    return [name for name, _, _ in log]
