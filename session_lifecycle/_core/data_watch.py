"""The watch over a lifecycle's data: whether it is expected, missing for too long, back, or arrives while closed.

The watch holds the lifecycle's own arrivals, feeds and halts. What the clock moves is passed in as the `ClockState`;
the outcome is returned: new values for the state, an event, or a transition to take.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import Final

import msgspec
from msgspec.structs import replace

from session_lifecycle._core.clock_state import ClockState, Expectation
from session_lifecycle._core.feeds import FeedState, FeedTable
from session_lifecycle._core.machine import ACTIVE, ENDED, NOT_STARTED, TIMEOUT
from session_lifecycle._core.phases import PhaseStretch
from session_lifecycle._core.staleness import StalenessTimer
from session_lifecycle._model.clock import Reading, as_utc
from session_lifecycle._model.config import LifecycleConfig
from session_lifecycle._model.errors import FeedNameTaken
from session_lifecycle._model.events import FeedResumed, FeedStale, Halted, Resumed, UnexpectedData
from session_lifecycle._model.legs import LEGS
from session_lifecycle._model.phase_events import DataStale
from session_lifecycle._model.states import SessionState

_NO_HALTS: Final[Mapping[str, str]] = MappingProxyType({})

CLOSED: Final = (*(leg.state for leg in LEGS[[leg.state for leg in LEGS].index(ACTIVE) + 1 :]), ENDED)
"""The states after the close: no data is expected any more, and no halt lasts."""

_NAMED: Final = 3
"""How many stale feeds a reason names: enough to see which."""


class Verdict(msgspec.Struct, frozen=True):
    """A transition that is due because of data: what fires it, when it was due by the wall clock, and why.

    `due` is None for the open: of what was so before, since the market has not closed.
    """

    trigger: str
    due: datetime | None
    reason: str | None = None


class DataWatch:
    """The watch over the data of one lifecycle: the manager's own, and that of each feed.

    `halted` is why trading is halted, None where it is not. `feeds` is None until there is one. `absent_halts` are the
    halts, by a journal, of feeds that are not registered, with their reasons. `reported_for` is the session before
    which unexpected data has been reported.
    """

    __slots__ = (
        "_budget",
        "_config",
        "_name",
        "_reported",
        "absent_halts",
        "feeds",
        "halted",
        "reported_for",
        "staleness",
    )

    def __init__(self, config: LifecycleConfig, name: str | None) -> None:
        self._config = config
        self._name = name
        self.staleness: StalenessTimer = StalenessTimer(config.data_timeout, config.error_after_timeout)
        self.feeds: FeedTable | None = None
        self.halted: str | None = None
        self.absent_halts: Mapping[str, str] = _NO_HALTS
        self.reported_for: date | None = None
        self._budget: tuple[timedelta, timedelta] | None = None  # of the phase that is on: since when, and how long
        self._reported: tuple[PhaseStretch, float | None] | None = None  # the silence that was reported last

    # ---- when data is expected ----

    def on_transition(
        self, source: SessionState, dest: SessionState, clock: ClockState, *, stays_open: bool
    ) -> Expectation:
        """Follow a transition. Return since when data is expected after it.

        `stays_open` says that the market is open though the state says closed: the next session opens at that instant.
        Then everything stays as it is up to that open. Where a session is gone through again, its first open counts.
        """
        now = clock.last_reading.monotonic
        same = Expectation(clock.expected_since, clock.opened, clock.awaited_since)
        if dest is ACTIVE and source is not TIMEOUT:
            return self._open(clock)
        if dest is ACTIVE:
            return replace(same, expected_since=None if clock.expected_since is None else now)
        if dest is TIMEOUT:
            if clock.carried is TIMEOUT:
                return same
            self.staleness.go_stale()
            return replace(same, expected_since=now)
        if stays_open:
            return replace(same, carried=TIMEOUT if is_stale(clock) else ACTIVE)
        return self.end(clock, over=dest in CLOSED)

    def _open(self, clock: ClockState) -> Expectation:
        """Expect data as of the open. Where the market has not closed before, all that was known of it still holds."""
        now, since, awaited = clock.last_reading.monotonic, clock.expected_since, clock.awaited_since
        stale = clock.carried is TIMEOUT and not self._is_back(now)
        if clock.carried is None or since is None or clock.opened is None:
            if self.feeds is not None:
                self.feeds.open(now)
            if self.halted is not None or clock.phases.quiet:
                self.suspend(clock)
            awaited = now if self.halted is None else None
            since = None if clock.phases.quiet else awaited
        elif clock.carried is TIMEOUT and not stale:
            since = now
        return Expectation(since, now if clock.opened is None else clock.opened, awaited, TIMEOUT if stale else None)

    def end(self, clock: ClockState, *, over: bool = True) -> Expectation:
        """Expect no data until the next open, and forget what is stale; with `over`, the market has closed."""
        if self.feeds is not None:
            self.feeds.end(over=over)
        return Expectation(opened=None if over else clock.opened)

    def expect(self, clock: ClockState) -> timedelta | None:
        """Expect data from now on: after a break, a halt, or a phase without data. Return since when it is.

        None: trading is halted, or a phase is on in which no data comes.
        """
        if self.halted is not None or clock.phases.quiet:
            return None
        now = clock.last_reading.monotonic
        if self.feeds is not None:
            self.feeds.expect(now)
        return now

    def suspend(self, clock: ClockState) -> None:
        """Expect no data during a break or a halt. What is stale stays stale, but that time does not count."""
        if is_stale(clock) and clock.expected_since is not None:
            self.staleness.add_stale_time(clock.last_reading.monotonic - clock.expected_since)
        if self.feeds is not None:
            self.feeds.suspend()

    def expect_anew(self, clock: ClockState) -> timedelta | None:
        """Return since when the manager's own data is expected, once the last feed has been removed."""
        if not is_stale(clock) and self.staleness.deadline(clock.expected_since, stale=False) is not None:
            return clock.last_reading.monotonic
        return clock.expected_since

    # ---- halts ----

    def halt(self, reason: str, clock: ClockState, day: date, feed: FeedState | None) -> Halted:
        """Halt trading, so that no data is expected; or one feed, which then does not count."""
        now = clock.last_reading
        if feed is None:
            self.halted = reason
            self.suspend(clock)
        else:
            self.table(clock).halt(feed, reason, now.monotonic)
        return Halted(reason, day, None if feed is None else feed.name, now.wall, name=self._name)

    def resume(self, clock: ClockState, day: date, feed: FeedState | None, *, lapsed: bool = False) -> Resumed:
        """End the halt of trading, or of one feed. Staleness is timed from here, where data is expected."""
        now = clock.last_reading
        if feed is None:
            self.halted = None
            if self._budget is not None:
                self._budget = now.monotonic, self._budget[1]
        else:
            self.table(clock).resume(feed, now.monotonic)
        return Resumed(day, None if feed is None else feed.name, lapsed, now.wall, name=self._name)

    def lift_halts(self, clock: ClockState, day: date) -> list[Resumed]:
        """End every halt: none outlasts the close of the market."""
        self.absent_halts = _NO_HALTS
        lifted: list[FeedState | None] = [] if self.halted is None else [None]
        if self.feeds is not None:
            lifted += self.feeds.halted
        return [self.resume(clock, day, feed, lapsed=True) for feed in lifted]

    def restore_halts(self, halts: Mapping[str, str], clock: ClockState) -> None:
        """Adopt the halts of an earlier run, before its session is replayed. Those of feeds wait for their feeds."""
        self.halted = halts.get("")
        self.absent_halts = {name: reason for name, reason in halts.items() if name}
        if self.feeds is not None:
            for feed in self.feeds.all:
                self._restore_halt(feed, clock.last_reading.monotonic)

    def _restore_halt(self, feed: FeedState, now: timedelta) -> None:
        reason = self.absent_halts.get(feed.name)
        if reason is not None and self.feeds is not None:
            self.absent_halts = {name: why for name, why in self.absent_halts.items() if name != feed.name}
            self.feeds.halt(feed, reason, now)

    # ---- feeds ----

    def table(self, clock: ClockState) -> FeedTable:
        """Return the table of feeds, which is created with the first of them."""
        if self.feeds is None:
            self.feeds = FeedTable(self._config.stale_when)
            if clock.opened is not None:
                self.feeds.open(clock.opened)
                self.feeds.suspend() if clock.expected_since is None else self.feeds.expect(clock.expected_since)
        return self.feeds

    def add_feed(self, feed: FeedState, clock: ClockState, now: timedelta) -> None:
        """Watch a feed from now on.

        Raises:
            FeedNameTaken: there is one of that name.
        """
        feeds = self.table(clock)
        self.require_new(feed)
        feeds.inspect_all_data(inspect=clock.closed_before is not None)
        feeds.add(feed, now)
        self._restore_halt(feed, now)

    def require_new(self, feed: FeedState) -> None:
        """Raise `FeedNameTaken` where there is a feed of that name."""
        if self.feeds is not None and feed.name in self.feeds:
            raise FeedNameTaken(feed.name)

    def take_questions(self) -> Sequence[tuple[FeedState, timedelta]]:
        """Return the feeds whose probe is to be asked, each with the deadline that it is asked for."""
        feeds = self.feeds
        if feeds is None or not feeds.questions:
            return ()
        questions, feeds.questions = feeds.questions, []
        return questions

    def revive(self, feed: FeedState, clock: ClockState, day: date) -> FeedResumed | None:
        """Count a stale feed as live again where its newest data is fresh enough; None where it is not."""
        now = clock.last_reading
        if not feed.stale or not feed.is_fresh or feed.arrival is None:
            return None
        if timedelta(seconds=feed.arrival) + feed.timeout <= now.monotonic:
            return None
        silent_for = self.table(clock).revive(feed, now.monotonic)
        return FeedResumed(feed.name, day, silent_for, now.wall, name=self._name)

    # ---- verdicts ----

    def deadline(self, clock: ClockState) -> timedelta | None:
        """Return the monotonic instant at which `evaluate` is to be called next; None where there is none."""
        feeds, stale = self.feeds, clock.state is TIMEOUT
        if not stale and clock.state is not ACTIVE:
            return None
        own = self.staleness.deadline(clock.expected_since, stale=stale) if stale or not feeds else None
        theirs = feeds.deadline if feeds else None
        if own is None or theirs is None:
            return own if theirs is None else theirs
        return min(own, theirs)

    def evaluate(self, clock: ClockState, day: date) -> Verdict | FeedStale | None:
        """Return the next thing that is due: a stale feed, TIMEOUT, the end of TIMEOUT, or the failure after it."""
        staleness, feeds, now = self.staleness, self.feeds, clock.last_reading
        stale = clock.state is TIMEOUT
        due: timedelta | None
        if clock.carried is TIMEOUT:  # it was TIMEOUT at a close at which the market did not close
            return Verdict("data_timeout", None, self._why_timeout(clock))
        if feeds:
            verdict = feeds.says_timeout
            # The verdict of the feeds so far comes before the next stale feed, however late the reading.
            if (stale or not verdict) and (found := feeds.due(now.monotonic)) is not None:
                return self._stale_feed(*found, clock, day)
            due = feeds.since if verdict else None
        else:
            due = staleness.deadline(clock.expected_since, stale=stale)
        if stale:
            if self._is_back(now.monotonic):
                return Verdict("data_resumed", now.wall)
            due = staleness.deadline(clock.expected_since, stale=True)
        if due is None or now.monotonic < due:
            return None
        at = now.wall - (now.monotonic - due)
        if stale:
            limit = self._config.error_after_timeout
            return Verdict("fail", at, f"no data for another {limit} after TIMEOUT (error_after_timeout)")
        return Verdict("data_timeout", at, self._why_timeout(clock))

    def _is_back(self, now: timedelta) -> bool:
        """Return whether data is not missing any more."""
        if self.feeds:
            return not self.feeds.says_timeout
        # Without a data_timeout there is no watch any more, once the last feed has been removed.
        return self.staleness.is_fresh(now) or self.staleness.timeout is None

    def _why_timeout(self, clock: ClockState) -> str:
        if self.feeds:
            stale = self.feeds.stale
            names = ", ".join(stale[:_NAMED]) + (", ..." if len(stale) > _NAMED else "")
            reason, mute = f"{len(stale)} of {len(self.feeds)} feeds stale: {names}", self.feeds.all_mute
        else:
            reason = f"no data for {self.staleness.timeout} ({self._timeout_source(clock)})"
            mute = self.staleness.is_mute(clock.opened)
        return f"{reason}; none at all since the open: check the connection, and the calendar" if mute else reason

    def _timeout_source(self, clock: ClockState) -> str:
        stretch = clock.phases.stretch
        if clock.phases.on and stretch is not None and stretch.phase.name in self._config.data_timeouts:
            return f"data_timeouts of {stretch.phase.name}"
        return "data_timeout"

    # ---- the budgets of phases ----

    def follow_phase(self, clock: ClockState) -> bool:
        """Adopt the timeout of the phase that is on, or the general one. Return whether it is shorter than before."""
        config, stretch = self._config, clock.phases.stretch
        timeout, own = config.data_timeout, None
        if clock.phases.on and stretch is not None and stretch.phase.name in config.data_timeouts:
            timeout = own = config.data_timeouts[stretch.phase.name]
            own = None if clock.phases.quiet else own
        before, self.staleness.timeout = self.staleness.timeout, timeout
        self._budget = None if own is None else (clock.last_reading.monotonic, own)
        return timeout is not None and (before is None or timeout < before)

    def phase_deadline(self, clock: ClockState) -> timedelta | None:
        """Return the monotonic instant at which the data of a phase outside of ACTIVE is missing for too long."""
        budget = self._budget
        if budget is None or clock.state is ACTIVE or clock.state is TIMEOUT or clock.carried is not None:
            return None
        if self.halted is not None:
            return None
        since, timeout = budget
        arrival = self._newest()
        return (since if arrival is None else max(since, timedelta(seconds=arrival))) + timeout

    def phase_stale(self, clock: ClockState) -> DataStale | None:
        """Return the event that the data of a phase outside of ACTIVE is missing; None where it is not.

        Once emitted, silence is not reported again until data has come.
        """
        due, now = self.phase_deadline(clock), clock.last_reading
        if due is None or now.monotonic < due or self._budget is None or clock.phases.stretch is None:
            return None
        arrival, timeout = self._newest(), self._budget[1]
        self._budget = now.monotonic, timeout  # data that comes is looked for as often
        if self._reported is not None and self._reported == (clock.phases.stretch, arrival):
            return None
        self._reported = clock.phases.stretch, arrival
        session, phase = clock.phases.stretch.session.date, clock.phases.stretch.phase
        at, fresh_at = now.wall - (now.monotonic - due), wall_instant(arrival, now)
        return DataStale(phase.name, session, at, now.wall, timeout, fresh_at, name=self._name)

    def _newest(self) -> float | None:
        """Return the monotonic second of the newest data, of the manager's own or of a feed."""
        arrivals = [self.staleness.arrival]
        if self.feeds is not None:
            arrivals += [feed.arrival for feed in self.feeds.all]
        return max((each for each in arrivals if each is not None), default=None)

    def _stale_feed(self, feed: FeedState, due: timedelta, clock: ClockState, day: date) -> FeedStale:
        now, never = clock.last_reading, self.table(clock).is_mute(feed)
        reason = f"no data for {feed.timeout}"
        if feed.asked == due:
            reason += f"; {feed.denied or f'its probe did not answer within {feed.probe_timeout}'}"
        at, fresh_at = now.wall - (now.monotonic - due), wall_instant(feed.arrival, now)
        return FeedStale(feed.name, day, at, now.wall, never, fresh_at, reason, name=self._name)

    # ---- the first data ----

    def awaits_data(self, clock: ClockState) -> bool:
        """Return whether data has yet to come since the open, or since the last break or halt, before one may trade."""
        since = clock.awaited_since
        if not self._config.require_first_tick:
            return False
        if self.feeds:
            return since is None or self.feeds.awaits_data(since)
        if self._config.data_timeout is None:
            return False
        return since is None or not self.staleness.has_data_since(since)

    def feed_awaits_data(self, feed: FeedState, clock: ClockState) -> bool:
        """Return the same for one feed."""
        since = clock.awaited_since
        return self._config.require_first_tick and (since is None or not feed.has_data_since(since))

    # ---- data while the venue is closed ----

    def closed_before(self, clock: ClockState) -> date | None:
        """Return the session before which the venue is closed, until unexpected data has been reported for it.

        In a phase with data, such as a night, the venue is not closed.
        """
        position = clock.position
        if clock.phases.on and not clock.phases.quiet:
            return None
        day = position.session.date
        closed = position.state is NOT_STARTED or position.state is ENDED
        return day if closed and day != self.reported_for else None

    def report_unexpected(self, feed: FeedState | None, age: timedelta, clock: ClockState) -> UnexpectedData | None:
        """Report data while the venue is closed, once until it opens; data from before it closed is only late."""
        day, now = clock.closed_before, clock.last_reading.wall
        closed = (
            clock.position.since if clock.phases.through is None else max(clock.position.since, clock.phases.through)
        )
        if day is None or now - age < closed:
            return None
        self.reported_for = day
        return UnexpectedData(day, None if feed is None else feed.name, now, name=self._name)


def is_stale(clock: ClockState) -> bool:
    """Return whether the session is TIMEOUT, or was when it closed and the market did not."""
    return clock.state is TIMEOUT or clock.carried is TIMEOUT


def age_of(timestamp: datetime | None, now: Reading) -> timedelta:
    """Return how old data is on arrival; data from the future counts as of now.

    Raises:
        NaiveDatetimeError: `timestamp` has no time zone.
    """
    return timedelta(0) if timestamp is None else max(now.wall - as_utc("timestamp", timestamp), timedelta(0))


def wall_instant(arrival: float | None, now: Reading) -> datetime | None:
    """Return the wall instant of a monotonic second, by the skew of a reading; None for None."""
    return None if arrival is None else now.wall - (now.monotonic - timedelta(seconds=arrival))
