"""Feeds: which of them are stale, at a cost that does not grow with their messages.

A message overwrites one attribute of its feed. A heap holds a deadline for each feed, which was true when it was
scheduled. When it comes up, the deadline is computed again; where data has arrived since, the feed is rescheduled. The
deadlines of the next second are refreshed along with it, so thousands of busy feeds cost about one pass a second
together.
"""

from collections.abc import Iterable
from datetime import timedelta
from heapq import heapify, heappop, heappush
from typing import Final

from session_lifecycle._model.config import AdaptiveTimeout, StaleWhen

_AHEAD: Final = timedelta(seconds=1)


class GapEstimator:
    """The longest recent gap of a feed, fading by half with every half-life, and the timeout that follows from it."""

    __slots__ = ("_at", "_longest", "_policy")

    def __init__(self, policy: AdaptiveTimeout) -> None:
        self._policy = policy
        self._longest: float | None = None  # seconds
        self._at = 0.0  # as of this monotonic second

    def add(self, gap: float, at: float) -> None:
        """Add a gap, in seconds, that ended at a monotonic second."""
        gap = min(gap, self._policy.ceiling.total_seconds())
        if self._longest is not None:
            faded = self._longest * 0.5 ** ((at - self._at) / self._policy.half_life.total_seconds())
            gap = max(gap, faded)
        self._longest, self._at = gap, at

    @property
    def timeout(self) -> timedelta:
        """The timeout as of the last gap."""
        policy = self._policy
        if self._longest is None:
            return policy.ceiling
        # In seconds, because a timedelta cannot hold every product.
        seconds = min(self._longest * policy.factor, policy.ceiling.total_seconds())
        return max(timedelta(seconds=seconds), policy.floor)


class FeedState:
    """The state of one feed.

    `arrival` is the monotonic second of its newest data, `since` the instant from which its silence is timed at the
    earliest, beside the table's own. `resumed_at` is the end of its last halt. `inspect_all` says that every record
    must be inspected: because the feed is stale, or the venue closed. Else a record without a timestamp is a plain
    store.
    """

    __slots__ = (
        "answer_by",
        "arrival",
        "arrival_before",
        "asked",
        "denied",
        "gaps",
        "halted",
        "inspect_all",
        "name",
        "probe_timeout",
        "removed",
        "resumed_at",
        "silent_since",
        "since",
        "stale",
        "ticket",
        "timeout_policy",
    )

    def __init__(
        self, name: str, timeout: timedelta | AdaptiveTimeout, *, probe_timeout: timedelta | None = None
    ) -> None:
        self.name: str = name
        self.timeout_policy: timedelta | AdaptiveTimeout = timeout
        self.gaps: GapEstimator | None = GapEstimator(timeout) if isinstance(timeout, AdaptiveTimeout) else None
        self.probe_timeout: timedelta | None = probe_timeout
        self.arrival: float | None = None
        self.inspect_all: bool = False
        self.since: timedelta = timedelta(0)
        self.resumed_at: timedelta | None = None
        self.stale: bool = False
        self.halted: str | None = None
        self.removed: bool = False
        self.silent_since: timedelta = timedelta(0)  # once stale: what its silence was timed from
        self.arrival_before: float | None = None  # once stale: the arrival that was the newest then
        self.asked: timedelta | None = None  # the deadline for which the probe has been asked
        self.answer_by: timedelta | None = None
        self.denied: str | None = None  # the probe says that the feed is dead, and why
        self.ticket: int = 0  # of its entry in the heap; 0: none

    @property
    def timeout(self) -> timedelta:
        """How long it may be silent, as of its last data."""
        if self.gaps is not None:
            return self.gaps.timeout
        assert isinstance(self.timeout_policy, timedelta)
        return self.timeout_policy

    def no_sooner_than(self, deadline: timedelta, now: timedelta) -> timedelta:
        """Return an instant before which it cannot be stale: data from `now` on may shorten an adaptive timeout."""
        policy = self.timeout_policy
        return min(deadline, now + policy.floor) if isinstance(policy, AdaptiveTimeout) else deadline

    def has_data_since(self, since: timedelta) -> bool:
        """Return whether there has been data as of that monotonic instant or later, and since its last halt."""
        if self.resumed_at is not None and self.resumed_at > since:
            since = self.resumed_at
        return self.arrival is not None and timedelta(seconds=self.arrival) >= since

    @property
    def is_fresh(self) -> bool:
        """Whether data has arrived since it was found stale."""
        return self.arrival is not None and self.arrival != self.arrival_before


class FeedTable:
    """All feeds of one lifecycle, and the rule by which they decide about the session."""

    __slots__ = (
        "_awaited",
        "_build_at",
        "_expected",
        "_feeds",
        "_found",
        "_halted",
        "_heap",
        "_inspect_all",
        "_opened",
        "_revision",
        "_rule",
        "_shortest",
        "_stale",
        "_swept_to",
        "_tickets",
        "questions",
    )

    def __init__(self, rule: StaleWhen | int) -> None:
        self._rule = rule
        self._feeds: dict[str, FeedState] = {}
        self._stale: dict[FeedState, None] = {}  # in the order in which they went stale
        self._heap: list[tuple[timedelta, int, FeedState]] = []
        self._tickets = 0
        self._expected: timedelta | None = None  # data is expected since then; None: it is not
        self._opened: timedelta | None = None  # ... for the first time in this session
        self._shortest: timedelta | None = None  # no feed has a shorter timeout
        self._build_at: timedelta | None = None  # the heap is made then: no deadline lies before
        self._swept_to = timedelta(0)
        self._found = timedelta(0)
        self._halted = 0  # how many feeds are halted
        self._inspect_all = False
        self._revision = 0  # changes with the feeds that are watched
        self._awaited: tuple[tuple[timedelta, int], tuple[FeedState, ...]] | None = None
        self.questions: list[tuple[FeedState, timedelta]] = []
        """The feeds whose probe is to be asked, each with the deadline that it is asked for."""

    # ---- verdicts ----

    def __len__(self) -> int:
        return len(self._feeds)

    def __contains__(self, name: str) -> bool:
        return name in self._feeds

    @property
    def all(self) -> Iterable[FeedState]:
        """Every feed, in the order in which they were added."""
        return self._feeds.values()

    @property
    def halted(self) -> tuple[FeedState, ...]:
        """The feeds that are halted."""
        return tuple(feed for feed in self._feeds.values() if feed.halted is not None) if self._halted else ()

    @property
    def stale(self) -> tuple[str, ...]:
        """The names of the stale feeds, the longest stale first."""
        return tuple(feed.name for feed in self._stale)

    @property
    def since(self) -> timedelta | None:
        """Since when, with data expected, as many feeds are stale as are by now; None where none is, or it is not."""
        return max(self._found, self._expected) if self._stale and self._expected is not None else None

    @property
    def says_timeout(self) -> bool:
        """Whether so many feeds are stale that the session is to be TIMEOUT."""
        stale = len(self._stale)
        return stale > 0 and stale >= self._enough

    @property
    def _enough(self) -> int:
        """How many feeds decide for all of them. A feed that is halted does not count."""
        if self._rule is StaleWhen.ANY:
            return 1
        watched = len(self._feeds) - self._halted
        return watched if isinstance(self._rule, StaleWhen) else min(self._rule, watched)

    def awaits_data(self, since: timedelta) -> bool:
        """Return whether so many feeds have had no data since then that, were they stale, the session were TIMEOUT.

        It may be read very often, and in any thread: the feeds that had none are remembered, as one value, until one is
        added, removed, halted or resumed; and once data has come, that is.
        """
        key = since, self._revision
        known, enough = self._awaited, self._enough
        if known is None or known[0] != key:
            known = self._awaited = key, self._watched
        feeds = known[1]
        if 0 < enough <= len(feeds) and not any(feed.has_data_since(since) for feed in feeds[:enough]):
            return True
        awaited = tuple(feed for feed in feeds if not feed.has_data_since(since))
        still = 0 < enough <= len(awaited)
        self._awaited = key, awaited if still else ()
        return still

    @property
    def _watched(self) -> tuple[FeedState, ...]:
        feeds = tuple(self._feeds.values())
        return tuple(feed for feed in feeds if feed.halted is None) if self._halted else feeds

    def is_mute(self, feed: FeedState) -> bool:
        """Return whether there has been no data of a feed since the open, or since it was added."""
        opened = self._opened
        return feed.arrival is None or (opened is not None and timedelta(seconds=feed.arrival) < opened)

    @property
    def all_mute(self) -> bool:
        """Whether there has been no data of any feed since the open."""
        return all(map(self.is_mute, self._feeds.values()))

    @property
    def deadline(self) -> timedelta | None:
        """The monotonic instant at which `due` is to be called next, None where there is none."""
        if self._expected is None or not self._feeds:
            return None
        if self._build_at is not None:
            return self._build_at
        heap = self._heap
        while heap and heap[0][2].ticket != heap[0][1]:
            heappop(heap)
        return heap[0][0] if heap else None

    # ---- membership ----

    def add(self, feed: FeedState, now: timedelta) -> None:
        """Watch a feed from now on."""
        self._feeds[feed.name] = feed
        self._revision += 1
        feed.since = now
        self._mark(feed)
        policy = feed.timeout_policy
        shortest = policy.floor if isinstance(policy, AdaptiveTimeout) else policy
        if self._shortest is None or shortest < self._shortest:
            self._shortest = shortest
        self._arm(feed)

    def remove(self, feed: FeedState, now: timedelta) -> None:
        """Stop watching a feed."""
        feed.removed = True
        self._found = now  # where the rest is enough for a TIMEOUT, it is so from now on
        self._halted -= feed.halted is not None
        del self._feeds[feed.name]
        self._revision += 1
        self._disarm(feed)
        if not self._feeds:
            self._heap.clear()
        feed.inspect_all = False  # nothing would ever reset it

    def halt(self, feed: FeedState, reason: str, now: timedelta) -> None:
        """Expect no data of a feed for a while; it does not count, and is not stale."""
        feed.halted = reason
        self._found = now  # as in `remove`
        self._halted += 1
        self._revision += 1
        self._disarm(feed)

    def resume(self, feed: FeedState, now: timedelta) -> None:
        """Expect data of a halted feed again, from now on."""
        feed.halted = None
        feed.since = feed.resumed_at = now
        self._halted -= 1
        self._revision += 1
        self._arm(feed)

    def inspect_all_data(self, *, inspect: bool) -> None:
        """Inspect every record of every feed, or only those of stale feeds."""
        if inspect is not self._inspect_all:
            self._inspect_all = inspect
            for feed in self._feeds.values():
                self._mark(feed)

    # ---- when data is expected ----

    def open(self, now: timedelta) -> None:
        """Expect data from now on, as of the open; where the session is gone through again, its first open counts."""
        if self._opened is None:
            self._opened = now
        self.expect(now)

    def expect(self, now: timedelta) -> None:
        """Expect data from now on."""
        self._expected = now
        self._heap.clear()
        for feed in self._stale:
            feed.ticket = 0
        self._build_at = None if self._shortest is None else now + self._shortest

    def suspend(self) -> None:
        """Expect no data during a break or a halt. Feeds that are stale stay stale."""
        self._expected = None

    def end(self, *, over: bool = True) -> None:
        """Expect no data until the next open; no feed is stale any more. Where the session is over, forget its open."""
        self._expected = None
        if over:
            self._opened = None
        for feed in self._stale:
            feed.stale = False
            self._mark(feed)
        self._stale.clear()
        self.questions.clear()

    # ---- silence ----

    def due(self, now: timedelta) -> tuple[FeedState, timedelta] | None:
        """Return the next feed that goes stale, with the instant at which it did; None where none does."""
        if self._expected is None:
            return None
        if self._build_at is not None:
            if now < self._build_at:
                return None
            self._build()
        heap = self._heap
        while heap and heap[0][0] <= now:
            until, ticket, feed = heappop(heap)
            if feed.ticket != ticket:
                continue
            silent_from = self._silent_from(feed)
            deadline = silent_from + feed.timeout
            if deadline > now:
                self._put(feed, feed.no_sooner_than(deadline, now))
                self._sweep(now)
            elif deadline > until:
                self._put(feed, deadline)  # others may have been due before: in order, however late the reading
            elif feed.probe_timeout is not None and feed.asked != deadline:
                feed.asked, feed.answer_by, feed.denied = deadline, now + feed.probe_timeout, None
                self.questions.append((feed, deadline))
                self._put(feed, feed.answer_by)
            elif feed.asked == deadline and feed.answer_by is not None and now < feed.answer_by:
                self._put(feed, feed.answer_by)
            else:
                self._find_stale(feed, silent_from)
                self._found = max(self._found, deadline)  # a probe may have taken longer than the next feed's silence
                return feed, deadline
        return None

    def answer(self, feed: FeedState, asked: timedelta, denied: str | None, now: timedelta) -> None:
        """Take a probe's answer: `denied` says why the feed is dead, None that it is alive and the market idle."""
        if feed.asked != asked or feed.removed or feed.stale or feed.halted is not None or self._expected is None:
            return  # the question does not matter any more
        if denied is None:
            feed.since = now
        else:
            feed.denied, feed.answer_by = denied, now
        self._arm(feed)

    def revive(self, feed: FeedState, now: timedelta) -> timedelta:
        """Count a stale feed as live again; return how long it was silent."""
        feed.stale = False
        del self._stale[feed]
        self._mark(feed)
        self._arm(feed)
        return now - feed.silent_since

    def record(self, feed: FeedState, arrival: float) -> None:
        """Record data as of a monotonic second; the newest counts, whatever the order of arrival."""
        if feed.arrival is None or arrival > feed.arrival:
            self.learn(feed, arrival)
            feed.arrival = arrival

    def learn(self, feed: FeedState, arrival: float) -> None:
        """Add the gap before an arrival to a feed's adaptive timeout, where data was expected during the gap."""
        if feed.arrival is not None and arrival <= feed.arrival:
            return  # as in `record`: only newer data ends a gap
        if feed.gaps is not None and self._expected is not None and feed.halted is None:
            # In whole microseconds, as every instant is: the difference of two floats would depend on the uptime.
            gap = (timedelta(seconds=arrival) - self._silent_from(feed)).total_seconds()
            if gap >= 0:
                feed.gaps.add(gap, arrival)

    # ---- helpers ----

    def _silent_from(self, feed: FeedState) -> timedelta:
        """Return the instant that a feed's silence is timed from."""
        silent_from = feed.since
        if self._expected is not None and self._expected > silent_from:
            silent_from = self._expected
        if feed.arrival is not None:
            silent_from = max(silent_from, timedelta(seconds=feed.arrival))
        return silent_from

    def _find_stale(self, feed: FeedState, silent_from: timedelta) -> None:
        feed.stale = True
        feed.ticket = 0
        feed.silent_since = silent_from
        feed.arrival_before = feed.arrival
        self._stale[feed] = None
        self._mark(feed)

    def _mark(self, feed: FeedState) -> None:
        feed.inspect_all = feed.stale or self._inspect_all

    def _arm(self, feed: FeedState) -> None:
        """Put a feed's deadline into the heap, where data is expected of it."""
        if self._expected is None or feed.stale or feed.halted is not None:
            return
        silent_from = self._silent_from(feed)
        deadline = silent_from + feed.timeout
        if feed.asked == deadline and feed.answer_by is not None:
            deadline = feed.answer_by
        deadline = feed.no_sooner_than(deadline, silent_from)
        if self._build_at is not None:
            self._build_at = min(self._build_at, deadline)
        else:
            self._put(feed, deadline)

    def _disarm(self, feed: FeedState) -> None:
        feed.ticket = 0
        feed.asked = None
        feed.stale = False
        self._stale.pop(feed, None)
        self._mark(feed)

    def _put(self, feed: FeedState, deadline: timedelta) -> None:
        self._tickets += 1
        feed.ticket = self._tickets
        heappush(self._heap, (deadline, feed.ticket, feed))

    def _build(self) -> None:
        """Compute every deadline at once."""
        self._build_at = None
        self._heap = []
        for feed in self._feeds.values():
            if not feed.stale and feed.halted is None:
                self._tickets += 1
                feed.ticket = self._tickets
                silent_from = self._silent_from(feed)
                deadline = feed.no_sooner_than(silent_from + feed.timeout, silent_from)
                self._heap.append((deadline, feed.ticket, feed))
        heapify(self._heap)

    def _sweep(self, now: timedelta) -> None:
        """Refresh the deadlines of the next second, and defer those of feeds that have had data since.

        Where timeouts are short, those of half the shortest: a deferred one comes up again after that.
        """
        if now < self._swept_to:
            return
        self._swept_to = now + (_AHEAD if self._shortest is None else min(_AHEAD, self._shortest / 2))
        heap = self._heap
        ahead: list[FeedState] = []
        while heap and heap[0][0] <= self._swept_to:
            _, ticket, feed = heappop(heap)
            if feed.ticket == ticket:
                ahead.append(feed)
        for feed in ahead:
            self._arm(feed)
