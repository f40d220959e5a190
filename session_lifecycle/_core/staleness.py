"""The timeout of a source of data, timed by the monotonic clock while data is expected.

The newest arrival is one attribute that the hot path overwrites; nothing is armed for a message. The deadline is
computed when it is read: a driver that slept to an outdated one finds a later one and sleeps again.
"""

from datetime import timedelta

_ZERO = timedelta(0)


class StalenessTimer:
    """Times one source of data.

    It holds the state of this source alone. The caller passes in what moves with the clock and the session: since when
    data is expected, and whether the source is stale.

    Args:
        timeout: how long data may be missing before the source is stale; None: indefinitely.
        limit: how long it may then stay stale, in time during which data is expected, before that is fatal; None:
            indefinitely.
    """

    __slots__ = ("_arrival_before", "_lasted", "_limit", "arrival", "escalates", "timeout")

    def __init__(self, timeout: timedelta | None, limit: timedelta | None) -> None:
        self.timeout: timedelta | None = timeout
        """How long data may be missing before the source is stale; None: indefinitely."""
        self._limit = limit
        self.arrival: float | None = None
        """Monotonic seconds of the newest data: an arrival less the age that the data had on arrival."""
        self.escalates: bool = True
        """Whether it is fatal to stay stale for too long."""
        self._lasted = _ZERO  # how long it has been stale, up to the last break
        self._arrival_before: float | None = None  # the newest arrival when it went stale

    def is_mute(self, opened: timedelta | None) -> bool:
        """Return whether there has been no data since the open."""
        return self.arrival is None or (opened is not None and timedelta(seconds=self.arrival) < opened)

    def has_data_since(self, since: timedelta) -> bool:
        """Return whether there has been data as of that monotonic instant or later."""
        return self.arrival is not None and timedelta(seconds=self.arrival) >= since

    def go_stale(self) -> None:
        """Become stale now."""
        self._lasted = _ZERO
        self._arrival_before = self.arrival

    def add_stale_time(self, lasted: timedelta) -> None:
        """Add up how long data was expected of the stale source, when a break or a halt interrupts that."""
        self._lasted += lasted

    def record(self, arrival: float) -> None:
        """Record data as of a monotonic second; the newest counts, whatever the order of arrival."""
        if self.arrival is None or arrival > self.arrival:
            self.arrival = arrival

    def is_fresh(self, now: timedelta) -> bool:
        """Return whether data has arrived since the source went stale, and is recent enough to end that."""
        arrival = self.arrival
        if arrival is None or arrival == self._arrival_before or self.timeout is None:
            return False
        return timedelta(seconds=arrival) + self.timeout > now

    def deadline(self, since: timedelta | None, *, stale: bool) -> timedelta | None:
        """Return the monotonic instant at which the source goes stale, or, once stale, at which that is fatal.

        `since` is when data began to be expected. None: no data is expected. Then nothing is due, nor without a limit.
        """
        if since is None:
            return None
        if stale:
            return None if self._limit is None or not self.escalates else since + self._limit - self._lasted
        if self.timeout is None:
            return None
        newest = since
        if self.arrival is not None:
            newest = max(newest, timedelta(seconds=self.arrival))
        return newest + self.timeout
