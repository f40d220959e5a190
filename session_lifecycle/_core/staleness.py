"""When has data been silent for too long? Counted on the monotonic clock, and only while data is expected.

The newest arrival is one attribute that the hot path overwrites; nothing is armed for a message. A deadline is worked
out when somebody asks for it, so a driver that slept to an outdated one simply finds a later one and sleeps again.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

_ZERO = timedelta(0)

ALL_ARE_LOOKED_AT: Final = datetime.min.replace(tzinfo=UTC)
"""An instant that nobody passes: a hot path that compares a timestamp with it by identity never finds it plain."""


class StalenessTimer:
    """The watch over one source of data.

    Args:
        timeout: silence after which the source counts as quiet; None: never.
        limit: how long it may stay quiet, in time during which data is expected, before that is fatal; None: for ever.
    """

    __slots__ = (
        "_heard_before",
        "_lasted",
        "_limit",
        "_timeout",
        "alert",
        "arrival",
        "opened",
        "plain",
        "since",
        "stale",
    )

    def __init__(self, timeout: timedelta | None, limit: timedelta | None) -> None:
        self._timeout = timeout
        self._limit = limit
        self.arrival: float | None = None
        """Monotonic seconds of the newest data: an arrival less the age that the data had on arrival."""
        self.stale: bool = False
        """Whether the silence has been found too long."""
        self.plain: datetime | None = None
        """None while nothing but the arrival matters; else an instant that nobody passes."""
        self.alert: bool = False
        """Whether every record is looked at, whatever else there is."""
        self.since: timedelta | None = None
        """Data has been expected since then; None: it is not expected."""
        self._lasted = _ZERO  # how long it has been quiet, up to the last break
        self._heard_before: float | None = None  # the arrival that was the newest when it went quiet
        self.opened: timedelta | None = None
        """Data was expected for the first time in this session then; None: it has not been yet."""

    def open(self, now: timedelta) -> None:
        """Expect data from now on, as of the open; where the session is walked anew, the first open counts."""
        if self.opened is None:
            self.opened = now
        self.expect(now)

    @property
    def is_mute(self) -> bool:
        """Whether there has been no data since the open."""
        opened = self.opened
        return self.arrival is None or (opened is not None and timedelta(seconds=self.arrival) < opened)

    def watch_for_any(self, *, alert: bool) -> None:
        """Have every record looked at, or only those that matter by themselves."""
        self.alert = alert
        self._mark()

    def _mark(self) -> None:
        self.plain = ALL_ARE_LOOKED_AT if self.stale or self.alert else None

    def expect(self, now: timedelta) -> None:
        """Expect data from now on: the end of a break, or of a halt."""
        self.since = now

    def suspend(self, now: timedelta) -> None:
        """Expect none for a while: a break, or a halt. Being quiet outlasts it, but its time does not count."""
        if self.stale and self.since is not None:
            self._lasted += now - self.since
        self.since = None

    def end(self, *, over: bool = True) -> None:
        """Expect none until further notice, and forget about being quiet; where the session is over, the open too."""
        self.since = None
        if over:
            self.opened = None
        self.stale = False
        self._mark()

    def go_stale(self, now: timedelta) -> None:
        """Take note that the silence is too long, as of now."""
        self.stale = True
        self._mark()
        self._lasted = _ZERO
        self.since = now
        self._heard_before = self.arrival

    def go_live(self, now: timedelta) -> None:
        """Take note that data is back; the silence is timed from here, where data is expected."""
        self.stale = False
        self._mark()
        if self.since is not None:
            self.since = now

    def heard(self, arrival: float) -> None:
        """Record data as of a monotonic second; the newest counts, whatever the order of arrival."""
        if self.arrival is None or arrival > self.arrival:
            self.arrival = arrival

    def is_fresh(self, now: timedelta) -> bool:
        """Tell whether data has come since it went quiet that is young enough to end that."""
        arrival = self.arrival
        if arrival is None or arrival == self._heard_before or self._timeout is None:
            return False
        return timedelta(seconds=arrival) + self._timeout > now

    @property
    def deadline(self) -> timedelta | None:
        """The monotonic instant of the next verdict (quiet; or, once quiet, fatal), None where none is due."""
        if self.since is None:
            return None
        if self.stale:
            return None if self._limit is None else self.since + self._limit - self._lasted
        if self._timeout is None:
            return None
        newest = self.since
        if self.arrival is not None:
            newest = max(newest, timedelta(seconds=self.arrival))
        return newest + self._timeout
