"""A feed as the application holds it: the hot path, and the calls for this feed alone."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Protocol

from session_lifecycle._core.feeds import FeedState
from session_lifecycle._model.config import AdaptiveTimeout
from session_lifecycle._model.errors import FeedRemoved
from session_lifecycle._model.uncopyable import Uncopyable
from session_lifecycle._runtime.home import Home, at_home

Probe = Callable[["Feed"], Awaitable[bool]]
"""Called before a feed is found stale: True means that the feed is alive and the market idle."""


class FeedOwner(Protocol):
    """What a feed needs of its manager."""

    @property
    def home(self) -> Home | None:
        """Where the manager has started; None before that."""
        ...

    def record(self, feed: "Feed", timestamp: datetime | None) -> None:
        """Record data that needs more than a store: it has a timestamp, or the feed's state may change."""
        ...

    def halt(self, feed: "Feed", reason: str) -> None:
        """Halt the feed."""
        ...

    def resume(self, feed: "Feed") -> None:
        """End the halt of the feed."""
        ...

    def remove(self, feed: "Feed") -> None:
        """Remove the feed."""
        ...

    def can_trade(self, feed: "Feed") -> bool:
        """Return whether one can trade on the feed's data."""
        ...

    def last_data_at(self, feed: "Feed") -> datetime | None:
        """Return when the feed's newest data was fresh."""
        ...


class Feed(Uncopyable, FeedState):
    """A source of market data that is watched for silence. Made by `manager.add_feed`.

    `record()` may be called in any thread, and what is read too. The other methods are for the manager's own event
    loop: elsewhere they raise `WrongThreadError` or `WrongLoopError`, and change nothing.
    """

    __module__ = "session_lifecycle"

    __slots__ = ("_monotonic", "_owner", "probe")

    def __init__(
        self,
        name: str,
        timeout: timedelta | AdaptiveTimeout,
        *,
        probe: Probe | None,
        probe_timeout: timedelta,
        monotonic: Callable[[], float],
        owner: FeedOwner,
    ) -> None:
        super().__init__(name, timeout, probe_timeout=None if probe is None else probe_timeout)
        self.probe: Probe | None = probe
        self._monotonic = monotonic
        self._owner = owner

    def __repr__(self) -> str:
        how = "removed" if self.removed else "halted" if self.halted else "stale" if self.stale else "live"
        return f"<{type(self).__name__} {self.name}, {how}>"

    def record(self, timestamp: datetime | None = None) -> None:
        """Record that data has arrived from this feed. Call it once for each message: it only stores the arrival.

        `timestamp` is the data's own time, as in `manager.record_data_received`. Where the feed is stale, fresh data
        ends that before this returns; it also ends a TIMEOUT that the feeds do not imply any more. Data for a feed that
        has been removed is ignored. In another thread than the event loop's, what is more than a store takes effect in
        the loop's next turn, and is dropped once the manager has stopped.

        Raises:
            NaiveDatetimeError: `timestamp` has no time zone. Nothing is recorded.
            ClockFailed: (with `timestamp`) the clock cannot be read.
        """
        if timestamp is None and not self.inspect_all:
            monotonic = self._monotonic  # a local, because to call an attribute that is no method is slower
            self.arrival: float | None = monotonic()
        else:
            self._owner.record(self, timestamp)

    @property
    def _home(self) -> Home | None:
        return self._owner.home

    @property
    def can_trade(self) -> bool:
        """Whether one can trade on this feed's data, such as in its symbol.

        The manager's `can_trade` is True, and the feed is neither stale nor halted, nor removed. With
        `LifecycleConfig.require_first_tick` it has also had data of its own since the open, or since the end of a break
        or halt, the manager's or its own. Reading it costs attribute reads, and is allowed in any thread.
        """
        return self._owner.can_trade(self)

    @property
    def last_data_at(self) -> datetime | None:
        """When its newest data was fresh, in UTC; None where it has had none, or the manager has not started."""
        return self._owner.last_data_at(self)

    @at_home
    def halt(self, reason: str) -> None:
        """Halt this feed: no data is expected of it until `resume()` or the close, and it does not count meanwhile.

        On a feed that is halted already the call has no effect, and is logged as a warning.

        Raises:
            HaltRefused: the session is not open, nor about to be.
            TypeError: the reason is not a string, or blank.
            FeedRemoved: it has been removed.
            ClockFailed: the clock cannot be read.
            NotLeadingError: another replica leads.
            NotRunningError, ManagerStopped: the manager does not run.
        """
        self._refuse_removed("halt()")
        self._owner.halt(self, reason)

    @at_home
    def resume(self) -> None:
        """End the halt of this feed: its silence is timed from now on.

        On a feed that is not halted the call has no effect, and is logged as a warning.

        Raises:
            FeedRemoved: it has been removed.
            ClockFailed: the clock cannot be read.
            NotLeadingError: another replica leads.
            NotRunningError, ManagerStopped: the manager does not run.
        """
        self._refuse_removed("resume()")
        self._owner.resume(self)

    @at_home
    def remove(self) -> None:
        """Stop watching this feed. A second call does nothing.

        Raises:
            ClockFailed: the clock cannot be read.
        """
        if not self.removed:
            self._owner.remove(self)

    def _refuse_removed(self, call: str) -> None:
        if self.removed:
            raise FeedRemoved(self.name, call)


class AdaptiveFeed(Feed):
    """A feed whose timeout adapts to its own pace: the gap before each message is observed."""

    __slots__ = ("_learn",)

    def __init__(
        self,
        name: str,
        timeout: AdaptiveTimeout,
        *,
        probe: Probe | None,
        probe_timeout: timedelta,
        monotonic: Callable[[], float],
        owner: FeedOwner,
        learn: Callable[[FeedState, float], None],
    ) -> None:
        super().__init__(name, timeout, probe=probe, probe_timeout=probe_timeout, monotonic=monotonic, owner=owner)
        self._learn = learn

    def record(self, timestamp: datetime | None = None) -> None:
        """Record that data has arrived; see `Feed.record`."""
        if timestamp is None and not self.inspect_all:
            now = self._monotonic()
            self._learn(self, now)
            self.arrival: float | None = now
        else:
            self._owner.record(self, timestamp)
