"""The part of a lifecycle that takes data, and feeds with their probes, and hands out what has happened."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime, timedelta

from session_lifecycle._core.data_watch import age_of
from session_lifecycle._core.feeds import FeedState
from session_lifecycle._core.machine import TIMEOUT
from session_lifecycle._core.view import LifecycleView
from session_lifecycle._model.clock import Reading
from session_lifecycle._model.events import Event


class DataLifecycle(LifecycleView, ABC):
    """A lifecycle that market data arrives at. Data may end a TIMEOUT."""

    __slots__ = ()

    @abstractmethod
    def poll(self, now: Reading) -> None:
        """Bring the machine up to `now`."""

    def take_events(self) -> Sequence[Event]:
        """Return what has happened since the last call, oldest first."""
        events, self._progress.events = self._progress.events, None
        return events or ()

    def record_data(self, now: Reading, timestamp: datetime | None = None) -> None:
        """Record data; where the session is TIMEOUT, data that is fresh ends that.

        Raises:
            NaiveDatetimeError: `timestamp` has no time zone. Nothing is recorded.
        """
        age = age_of(timestamp, now)
        self.staleness.record((now.monotonic - age).total_seconds())
        self._report_unexpected(None, age, now)
        if self.state is TIMEOUT:
            self.poll(now)

    def record_feed(self, feed: FeedState, now: Reading, timestamp: datetime | None = None) -> None:
        """Record data from a feed; where it is stale, data that is fresh ends that.

        Raises:
            NaiveDatetimeError: `timestamp` has no time zone. Nothing is recorded.
        """
        age = age_of(timestamp, now)
        if feed.removed:
            return
        self.feeds.record(feed, (now.monotonic - age).total_seconds())
        self._report_unexpected(feed, age, now)
        if feed.stale:
            self.poll(now)
            self._progress.revive(feed)
            self.poll(now)

    def _report_unexpected(self, feed: FeedState | None, age: timedelta, now: Reading) -> None:
        if self._progress.clock_state.closed_before is not None:
            self.poll(now)
            self._progress.report_unexpected(feed, age)

    def add_feed(self, feed: FeedState, now: Reading) -> None:
        """Watch a feed from now on.

        Raises:
            FeedNameTaken: there is one of that name.
        """
        data = self._progress.data
        data.require_new(feed)
        self._poll_once_begun(now)
        data.add_feed(feed, self._progress.clock_state, now.monotonic)
        self._poll_once_begun(now)

    def remove_feed(self, feed: FeedState, now: Reading) -> None:
        """Stop watching a feed. After the last one, the manager's own data is watched again, from now on."""
        self._poll_once_begun(now)
        self.feeds.remove(feed, now.monotonic)
        if self.begun and not self.feeds:
            self._progress.expect_own_data()
        self._poll_once_begun(now)

    def take_questions(self) -> Sequence[tuple[FeedState, timedelta]]:
        """Return the feeds whose probe is to be asked, each with the deadline that it is asked for."""
        return self._progress.data.take_questions()

    def answer_probe(self, feed: FeedState, asked: timedelta, denied: str | None, now: Reading) -> None:
        """Take a probe's answer: `denied` says why the feed is dead, None that it is alive and the market idle."""
        if self._rolls.stopping:
            return  # only its end is awaited
        self.poll(now)  # an answer at the very instant of its deadline comes too late
        self.feeds.answer(feed, asked, denied, now.monotonic)
        self.poll(now)

    def _poll_once_begun(self, now: Reading) -> None:
        if self.begun:
            self.poll(now)
