"""The real clock. It sleeps in slices: a monotonic sleep sees neither a suspend nor a step of the wall clock."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Final

import anyio
import anyio.lowlevel

from session_lifecycle._model.clock import Reading, as_utc, read
from session_lifecycle._model.errors import ConfigurationError
from session_lifecycle._runtime.timerfd import StepWatch

_LONGEST_SPIN: Final = timedelta(milliseconds=10)


class SystemClock:
    """The machine's own clocks: `datetime.now(UTC)` and `time.monotonic`.

    A monotonic sleep sees neither a suspend nor a step of the wall clock, so this clock sleeps in slices of at most
    `check_interval` and looks at the wall clock after each. A boundary is met exactly; a step within one interval, or
    at once where the kernel reports it: on Linux, with Python 3.13.

    A timer of the event loop fires about a millisecond late, so the last of a sleep to a wall instant, `spin`, is spent
    looking at the clock again and again, with a turn for every other task between two looks. That is the most it may
    take of any one sleep, whatever the wall clock does meanwhile; zero is never. Deadlines by the monotonic clock alone
    are not worth it, and get none.

    Raises:
        ConfigurationError: `check_interval` is not a positive timedelta, or `spin` none from zero to 10 ms.
    """

    __module__ = "session_lifecycle"

    def __init__(
        self, check_interval: timedelta = timedelta(seconds=1), *, spin: timedelta = timedelta(milliseconds=2)
    ) -> None:
        if not isinstance(check_interval, timedelta) or check_interval <= timedelta(0):  # pyright: ignore[reportUnnecessaryIsInstance] -- callers may be untyped
            raise ConfigurationError("check_interval", check_interval, "must be a timedelta above zero")
        if not isinstance(spin, timedelta) or not timedelta(0) <= spin <= _LONGEST_SPIN:  # pyright: ignore[reportUnnecessaryIsInstance] -- callers may be untyped
            raise ConfigurationError("spin", spin, "must be a timedelta of zero to 10 ms")
        self.check_interval = check_interval
        self._slice_seconds = check_interval.total_seconds()
        self._spin_seconds = spin.total_seconds()
        self.monotonic: Callable[[], float] = time.monotonic

    def now(self) -> datetime:
        """Return the wall time in UTC."""
        return datetime.now(UTC)

    async def sleep_until(self, wall: datetime | None, monotonic: float | None) -> None:
        """Wait for the earlier of the two; return early when the wall clock has stepped.

        Raises:
            NaiveDatetimeError: `wall` has no time zone.
        """
        if wall is not None:
            wall = as_utc("wall", wall)
        before = read(self)
        await anyio.lowlevel.checkpoint()
        with StepWatch() as watch:
            await self._sleep(before, wall, monotonic, watch)

    async def _sleep(self, before: Reading, wall: datetime | None, monotonic: float | None, watch: StepWatch) -> None:
        spin, spin_end = self._spin_seconds, inf
        while True:
            now = read(self)
            if now.step_since(before) is not None:
                return
            before = now
            at = self.monotonic()
            left = self._slice_seconds if monotonic is None else min(self._slice_seconds, monotonic - at)
            to_wall = inf if wall is None else (wall - now.wall).total_seconds()
            if left <= 0 or to_wall <= 0:
                return
            if to_wall <= spin:
                spin_end = min(spin_end, at + spin)
                if at < spin_end:
                    await anyio.lowlevel.checkpoint()
                    continue
                spin = 0.0  # spent: the wall clock has stood still, or gone back by too little for a step
            # A timer may fire a hair early, so look again rather than trust it.
            await watch.sleep(min(left, to_wall - spin))

    async def sleep(self, delta: timedelta) -> None:
        """Wait for `delta`, by the monotonic clock."""
        deadline = self.monotonic() + delta.total_seconds()
        await anyio.lowlevel.checkpoint()
        while (left := deadline - self.monotonic()) > 0:  # noqa: ASYNC110 -- a timer may fire a hair early
            await anyio.sleep(left)
