"""A feed as the application holds it: the hot path, and the calls that concern this feed alone."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from session_lifecycle._core.feeds import FeedState
from session_lifecycle._model.config import AdaptiveTimeout
from session_lifecycle._model.errors import FeedRemoved

Probe = Callable[["Feed"], Awaitable[bool]]
"""Asked, before a feed is found stale, whether it is alive after all: True means that the market is quiet."""


class FeedCalls(NamedTuple):
    """What a feed has its manager do."""

    heard: Callable[["Feed", datetime | None], None]
    halt: Callable[["Feed", str], None]
    resume: Callable[["Feed"], None]
    remove: Callable[["Feed"], None]


class Feed(FeedState):
    """A source of market data whose silence is watched. Made by `manager.add_feed`.

    All calls belong on the event loop's own thread.
    """

    __module__ = "session_lifecycle"

    __slots__ = ("_calls", "_monotonic", "probe")

    def __init__(
        self,
        name: str,
        timeout: timedelta | AdaptiveTimeout,
        *,
        probe: Probe | None,
        probe_timeout: timedelta,
        monotonic: Callable[[], float],
        calls: FeedCalls,
    ) -> None:
        super().__init__(name, timeout, probe_timeout=None if probe is None else probe_timeout)
        self.probe: Probe | None = probe
        self._monotonic = monotonic
        self._calls = calls

    def __repr__(self) -> str:
        how = "removed" if self.removed else "halted" if self.halted else "stale" if self.stale else "live"
        return f"<{type(self).__name__} {self.name}, {how}>"

    def record(self, timestamp: datetime | None = None) -> None:
        """Record that data has arrived from this feed. Call it once for each message: it only stores the arrival.

        `timestamp` is the data's own time, as in `manager.record_data_received`. Where the feed is stale, fresh data
        ends that before this returns, and a TIMEOUT with it where the feeds do not say so any more. Data for a feed
        that has been removed is ignored.

        Raises:
            NaiveDatetimeError: `timestamp` has no time zone. Nothing is recorded.
        """
        if timestamp is None and not self.inspect_all:
            monotonic = self._monotonic  # a local, because to call an attribute that is no method is slower
            self.arrival: float | None = monotonic()
        else:
            self._calls.heard(self, timestamp)

    def halt(self, reason: str) -> None:
        """Expect no data of this feed until `resume()`, or the close; it does not count meanwhile.

        Where it is halted already, that changes nothing and logs a line.

        Raises:
            HaltRefused: the session is not open, nor about to be.
            FeedRemoved: it has been removed.
            NotRunningError, ManagerStopped: the manager does not run.
        """
        self._refuse_removed("halt()")
        self._calls.halt(self, reason)

    def resume(self) -> None:
        """End the halt of this feed: its silence is timed from here. Where there is none, a line is logged.

        Raises:
            FeedRemoved: it has been removed.
            NotRunningError, ManagerStopped: the manager does not run.
        """
        self._refuse_removed("resume()")
        self._calls.resume(self)

    def remove(self) -> None:
        """Watch this feed no more. A second call does nothing."""
        if not self.removed:
            self._calls.remove(self)

    def _refuse_removed(self, call: str) -> None:
        if self.removed:
            raise FeedRemoved(self.name, call)


class AdaptiveFeed(Feed):
    """A feed whose timeout follows its own pace: every message is a gap to learn from."""

    __slots__ = ("_learn",)

    def __init__(
        self,
        name: str,
        timeout: AdaptiveTimeout,
        *,
        probe: Probe | None,
        probe_timeout: timedelta,
        monotonic: Callable[[], float],
        calls: FeedCalls,
        learn: Callable[[FeedState, float], None],
    ) -> None:
        super().__init__(name, timeout, probe=probe, probe_timeout=probe_timeout, monotonic=monotonic, calls=calls)
        self._learn = learn

    def record(self, timestamp: datetime | None = None) -> None:
        """Record that data has arrived, as every feed does."""
        if timestamp is None and not self.inspect_all:
            now = self._monotonic()
            self._learn(self, now)
            self.arrival: float | None = now
        else:
            self._calls.heard(self, timestamp)
