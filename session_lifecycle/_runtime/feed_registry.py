"""The registry of one manager's feeds: it creates them, and carries out the calls of their methods."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from session_lifecycle._journal.records import Entry, Record
from session_lifecycle._model.clock import Clock, Reading, as_utc, read
from session_lifecycle._model.config import AdaptiveTimeout, require_duration
from session_lifecycle._model.errors import ConfigurationError
from session_lifecycle._runtime.arguments import require_async, require_feed_name, require_reason
from session_lifecycle._runtime.driver import Driver
from session_lifecycle._runtime.event_log import LOGGER
from session_lifecycle._runtime.feed import AdaptiveFeed, Feed, Probe
from session_lifecycle._runtime.home import Home
from session_lifecycle._runtime.host import Host


class FeedRegistry:
    """Makes the feeds of a manager, and carries out the calls of their methods.

    Args:
        host: the manager's.
        clock: the manager's.
        emit: emits what a call has brought about, and wakes the driver.
        observe_for: reads the clock for data with a timestamp, or without.
        require_running: returns the driver, or raises for a call, which it names, where the manager does not run.
        home: returns where the manager has started.
    """

    __slots__ = ("_clock", "_emit", "_home", "_host", "_lifecycle", "_observe_for", "_require_running")

    def __init__(
        self,
        host: Host,
        clock: Clock,
        *,
        emit: Callable[[], None],
        observe_for: Callable[[datetime | None], Reading],
        require_running: Callable[[str], Driver],
        home: Callable[[], Home | None],
    ) -> None:
        self._host: Final = host
        self._lifecycle: Final = host.lifecycle
        self._clock: Final = clock
        self._emit: Final = emit
        self._observe_for: Final = observe_for
        self._require_running: Final = require_running
        self._home: Final = home

    @property
    def home(self) -> Home | None:
        """Where the manager has started; None before that."""
        return self._home()

    def add(
        self, name: str, timeout: timedelta | AdaptiveTimeout | None, *, probe: Probe | None, probe_timeout: timedelta
    ) -> Feed:
        """Make a feed and watch it from now on; see `manager.add_feed`."""
        require_feed_name(name)
        policy = self._lifecycle.config.data_timeout if timeout is None else timeout
        if policy is None:
            raise ConfigurationError("timeout", None, "must be given for a feed where data_timeout is None")
        if probe is not None:
            require_async("probe", "the feed", probe)
        require_duration("probe_timeout", probe_timeout)
        monotonic = self._clock.monotonic
        if isinstance(policy, AdaptiveTimeout):
            feed: Feed = AdaptiveFeed(
                name,
                policy,
                probe=probe,
                probe_timeout=probe_timeout,
                monotonic=monotonic,
                owner=self,
                learn=self._lifecycle.feeds.learn,
            )
        else:
            require_duration("timeout", policy)
            feed = Feed(name, policy, probe=probe, probe_timeout=probe_timeout, monotonic=monotonic, owner=self)
        self._lifecycle.add_feed(feed, read(self._clock))
        self._emit()
        return feed

    def record(self, feed: Feed, timestamp: datetime | None) -> None:
        """Record data that needs more than a store; from another thread, in the loop's next turn.

        Raises:
            NaiveDatetimeError: `timestamp` has no time zone. Nothing is recorded.
        """
        home = self._home()
        if home is not None and home.elsewhere:
            timestamp = None if timestamp is None else as_utc("timestamp", timestamp)
            home.hand_over(feed, lambda freshest: self._take(feed, freshest), timestamp)
        else:
            self._record(feed, timestamp)

    def _take(self, feed: Feed, timestamp: datetime | None) -> None:
        if not self._host.stopped:
            self._record(feed, timestamp)

    def _record(self, feed: Feed, timestamp: datetime | None) -> None:
        self._lifecycle.record_feed(feed, self._observe_for(timestamp), timestamp)
        if self._lifecycle.has_events:
            self._emit()

    def halt(self, feed: Feed, reason: str) -> None:
        """Halt a feed; where it is halted already, log a warning."""
        now = self._require_running("feed.halt()").observe()
        if not self._host.halt(require_reason(reason), now, feed):
            LOGGER.warning("%r: halt(%r) has no effect: the feed is halted already (%s)", feed, reason, feed.halted)
        self._emit()

    def resume(self, feed: Feed) -> None:
        """End the halt of a feed; where there is none, log a warning."""
        now = self._require_running("feed.resume()").observe()
        if not self._host.resume(now, feed):
            LOGGER.warning("%r: resume() has no effect: there is no halt", feed)
        self._emit()

    def remove(self, feed: Feed) -> None:
        """Stop watching a feed, halted or not."""
        now = read(self._clock)
        if feed.halted is not None:  # else a restart would halt it again
            self._host.note(Record(Entry.RESUMED, self._lifecycle.session.date, now.wall, subject=feed.name))
        self._lifecycle.remove_feed(feed, now)
        self._emit()

    def can_trade(self, feed: Feed) -> bool:
        """Return whether one can trade on a feed's data."""
        return self._lifecycle.feed_can_trade(feed)

    def last_data_at(self, feed: Feed) -> datetime | None:
        """Return when a feed's newest data was fresh."""
        return self._lifecycle.feed_last_data_at(feed)
