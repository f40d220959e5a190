"""The machine's own clocks, and a sleep that notices when the wall clock steps.

A monotonic timer sees neither a suspend nor a step of the wall clock, so a long sleep is cut into slices (the coarse
sleep). A timer of the event loop fires about a millisecond late, so the end of a sleep to a wall instant is spent
reading the clock (the fine wait).
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Final

import anyio

from session_lifecycle._model.clock import Reading, as_utc, read, require_timedelta
from session_lifecycle._model.errors import ConfigurationError
from session_lifecycle._model.uncopyable import Uncopyable

_LONGEST_SPIN: Final = timedelta(milliseconds=10)
_READINGS_PER_SECOND: Final = 1_000_000
"""How often the fine wait may read the clock. A checkpoint and a reading take longer, unless the clock is frozen."""

_TIMER_RESOLUTION_SECONDS: Final = 0.001


class SystemClock(Uncopyable):
    """The machine's own clocks: `datetime.now(UTC)` and `time.monotonic`.

    A monotonic timer sees neither a suspend nor a step of the wall clock, so a sleep is made of slices of at most
    `check_interval`, and the wall clock is read after each: a step is noticed within one `check_interval`. An instant
    that is reached within a slice is met exactly.

    A timer of the event loop fires about a millisecond late. So the last `spin` before a wall instant is spent reading
    the clock, alternating with every other task. One sleep spins for at most `spin`, whatever the clocks do meanwhile;
    zero disables spinning. A deadline by the monotonic clock alone is met by a timer, without a spin.

    Raises:
        ConfigurationError: `check_interval` is not a timedelta above zero, or `spin` not one of zero to 10 ms.
    """

    __module__ = "session_lifecycle"

    def __init__(
        self, check_interval: timedelta = timedelta(seconds=1), *, spin: timedelta = timedelta(milliseconds=2)
    ) -> None:
        if not isinstance(check_interval, timedelta) or check_interval <= timedelta(0):
            raise ConfigurationError("check_interval", check_interval, "must be a timedelta above zero")
        if not isinstance(spin, timedelta) or not timedelta(0) <= spin <= _LONGEST_SPIN:
            raise ConfigurationError("spin", spin, "must be a timedelta of zero to 10 ms")
        self.check_interval = check_interval
        self._slice_seconds = check_interval.total_seconds()
        self._spin_seconds = spin.total_seconds()
        self.monotonic: Callable[[], float] = time.monotonic

    def now(self) -> datetime:
        """Return the wall time in UTC."""
        return datetime.now(UTC)

    async def sleep_until(self, wall: datetime | None, monotonic: float | None) -> None:
        """Wait for the earlier of a wall instant and a monotonic second; return early once the wall clock has stepped.

        With both None, wait for a step or a cancellation. Always a checkpoint.

        Raises:
            NaiveDatetimeError: `wall` has no time zone.
            ClockFailed: the clock cannot be read.
        """
        if wall is not None:
            wall = as_utc("wall", wall)
        near = await self._sleep_coarse(read(self), wall, monotonic, margin=self._spin_seconds)
        if near is None or wall is None:
            return
        rest = await self._wait_fine(near, wall, monotonic)
        if rest is not None:  # the wall clock has stood still, or gone back by too little for a step
            await self._sleep_coarse(rest, wall, monotonic, shortest=_TIMER_RESOLUTION_SECONDS)

    async def sleep(self, delta: timedelta) -> None:
        """Wait for `delta` by the monotonic clock.

        Raises:
            TypeError: `delta` is no timedelta.
        """
        require_timedelta("sleep", delta)
        deadline = self.monotonic() + delta.total_seconds()
        await anyio.lowlevel.checkpoint()
        while (left := deadline - self.monotonic()) > 0:  # noqa: ASYNC110 -- a timer may fire a hair early
            await anyio.sleep(left)

    async def _sleep_coarse(
        self,
        now: Reading,
        wall: datetime | None,
        monotonic: float | None,
        *,
        margin: float = 0.0,
        shortest: float = 0.0,
    ) -> Reading | None:
        """Sleep in slices, from a reading on, until `margin` seconds before `wall`, and return the reading of then.

        Return None once a deadline has passed or the wall clock has stepped, after a checkpoint. `shortest` is the
        least to sleep for `wall` at a time, so that a wall clock that stands still does not make this a spin.
        """
        last, slept = now, False
        while True:
            left = self._slice_seconds if monotonic is None else min(self._slice_seconds, monotonic - self.monotonic())
            to_wall = inf if wall is None else (wall - now.wall).total_seconds()
            if left <= 0 or to_wall <= 0 or now.step_since(last) is not None:
                break
            if to_wall <= margin:
                return now
            # A timer may fire a hair early, so the loop reads the clock again rather than trust it.
            await anyio.sleep(min(left, max(to_wall - margin, shortest)))
            last, now, slept = now, read(self), True
        if not slept:
            await anyio.lowlevel.checkpoint()
        return None

    async def _wait_fine(self, last: Reading, wall: datetime, monotonic: float | None) -> Reading | None:
        """Read the clock again and again until `wall`, with a checkpoint before each reading.

        Return None once a deadline has passed or the wall clock has stepped; the last reading where `spin` is used up.
        The number of readings is bounded too: where the monotonic clock is frozen, no time ever passes by it.
        """
        end = self.monotonic() + self._spin_seconds
        for _ in range(round(self._spin_seconds * _READINGS_PER_SECOND)):
            await anyio.lowlevel.checkpoint()
            now = read(self)
            if now.step_since(last) is not None or now.wall >= wall:
                return None
            last = now
            elapsed = self.monotonic()
            if monotonic is not None and elapsed >= monotonic:
                return None
            if elapsed >= end or (wall - now.wall).total_seconds() > self._spin_seconds:
                break
        return last
