"""Cohorts: of many managers in the same position, one is polled, and the others adopt the result.

Thousands of managers on one schedule cross 09:30:00 together. Each would decide the same, so it is decided once for
each cohort of them. A manager that is exceptional in any way (an alarm, a feed, a halt, a catch-up, a roll) belongs to
no cohort.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any, Final, cast

from session_lifecycle._core.clock_state import ClockState
from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._core.view import Cohort
from session_lifecycle._model.clock import Reading
from session_lifecycle._model.events import Event
from session_lifecycle._runtime.event_log import is_logged
from session_lifecycle._runtime.host import Host

_MAX_COHORTS: Final = 1_000


class SharedCohorts:
    """The cohorts of a driver's hosts, so that thousands hold one object, and one clock state."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[Cohort, tuple[Cohort, ClockState]] = {}

    def shared(self, lifecycle: SessionLifecycle) -> Cohort | None:
        """Return the cohort of a lifecycle: the one that is equal, where one is known. Its clock state becomes that's.

        None where it belongs to none.
        """
        cohort = lifecycle.cohort
        if cohort is None:
            return None
        if len(self._known) > _MAX_COHORTS:
            self._known.clear()  # of sessions long past, for the most part
        shared, clock_state = self._known.get(cohort, (cohort, None))
        if not lifecycle.progress.share(clock_state):
            self._known[shared] = shared, lifecycle.progress.clock_state
        return shared


class CohortResult:
    """The result of polling the first of a cohort, and of the others adopting it.

    `followers` are all hosts in that position, the first included, with the deadlines `wall` and `monotonic`. `moved`
    are those whose monotonic deadline is new, `subscribed` those that have subscribers. `events` are the events of all:
    the first one of each, then the second. `apart` are those that must be polled individually.
    """

    __slots__ = ("apart", "cohort", "events", "followers", "monotonic", "moved", "subscribed", "wall")

    def __init__(self, hosts: list[Host], now: Reading) -> None:
        first = hosts[0]
        lifecycle = first.lifecycle
        before = first.progress.clock_state
        lifecycle.poll(now)
        events = first.emit()
        self.cohort: Final = lifecycle.cohort
        self.wall: datetime | None
        self.monotonic: timedelta | None
        self.wall, self.monotonic = lifecycle.deadlines
        self.events: list[Event] = list(events)
        self.apart: list[Host] = []
        self.followers: list[Host] = []
        self.moved: list[Host] = []
        self.subscribed: list[Host] = []
        if self.cohort is None or not events:
            self.apart = hosts  # without a transition, each goes on with its own data
        else:
            self._followed_by(hosts, events, before, now)

    def _followed_by(self, hosts: list[Host], events: Sequence[Event], before: ClockState, now: Reading) -> None:
        """Have the other hosts adopt the result and emit the same events, each under its own name, in one pass."""
        first = hosts[0]
        cohort, wall, monotonic = self.cohort, self.wall, self.monotonic
        after = first.progress.clock_state
        names: list[str | None] = []
        followers = self.followers
        for host in hosts:
            if host is not first:
                progress = host.progress
                if not progress.adopt(before, after, now):
                    self.apart.append(host)
                    continue
                names.append(progress.name)
            followers.append(host)
            host.cohort, host.wall = cohort, wall
            if host.monotonic != monotonic:
                host.monotonic = monotonic
                self.moved.append(host)
            if host.subscribers is not None:
                self.subscribed.append(host)
        self._emit(events, names)

    def _emit(self, events: Sequence[Event], names: list[str | None]) -> None:
        if not names:
            return  # the first has emitted its own
        steps: list[list[Event]] = []
        for event in events:
            named = partial(cast("Callable[..., Event]", type(event)), *_unnamed(event))
            steps.append([event, *map(named, names)])
        logged = any(map(is_logged, events))
        if logged or self.subscribed:
            hosts_with_readers = set(self.subscribed)
            own = zip(self.followers, zip(*steps, strict=True), strict=True)
            for host, emitted in islice(own, 1, None):  # the first has emitted its own
                if logged or host in hosts_with_readers:
                    host.dispatch(emitted)
        self.events = steps[0] if len(steps) == 1 else [event for step in steps for event in step]


def _unnamed(event: Event) -> tuple[Any, ...]:
    """Return an event's fields but for the last, which is the manager's name."""
    return tuple([getattr(event, field) for field in event.__struct_fields__[:-1]])


def advance_cohorts(hosts: Iterable[Host], now: Reading) -> list[CohortResult]:
    """Poll the first host of each cohort, and have the others adopt the result."""
    cohorts: dict[Cohort | None, list[Host]] = {}
    last: Cohort | None = None
    cohort_members: list[Host] = []
    for host in hosts:
        cohort = host.cohort
        if cohort is not last:  # equal ones are one object, and most come one after the other
            last, cohort_members = cohort, cohorts.setdefault(cohort, [])
        cohort_members.append(host)
    return [CohortResult(cohort_members, now) for cohort_members in cohorts.values()]
