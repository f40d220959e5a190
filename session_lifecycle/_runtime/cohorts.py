"""Many that stand at the same place: one is brought up to date, and the others take over what came of it.

Thousands of managers on one schedule cross 09:30:00 together. Each would decide the same, so it is decided once for
each cohort of them. Whoever is special in any way (an alarm, a feed, a halt, a catch-up, a roll) belongs to no cohort.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final, cast

from session_lifecycle._core.lifecycle import Cohort
from session_lifecycle._model.clock import Reading
from session_lifecycle._model.events import Event
from session_lifecycle._runtime.event_log import is_logged
from session_lifecycle._runtime.host import Host


class CohortResult:
    """What has become of the first of a cohort, and of those that have followed it.

    `followers` are all of them, the first included, with the deadlines `wall` and `monotonic`; `moved` are those whose
    monotonic one is new, `heard` those that have readers. `told` is what they have told: the first step of each, then
    the second. `apart` are those that must go by themselves.
    """

    __slots__ = ("apart", "cohort", "followers", "heard", "monotonic", "moved", "told", "wall")

    def __init__(self, hosts: list[Host], now: Reading) -> None:
        first = hosts[0]
        lifecycle = first.lifecycle
        before = lifecycle.progress.clock_state.last_reading
        lifecycle.poll(now)
        events = first.emit()
        self.cohort: Final = lifecycle.cohort
        self.wall: datetime | None
        self.monotonic: timedelta | None
        self.wall, self.monotonic = lifecycle.deadlines
        self.told: list[Event] = list(events)
        self.apart: list[Host] = []
        self.followers: list[Host] = []
        self.moved: list[Host] = []
        self.heard: list[Host] = []
        if self.cohort is None or not events:
            self.apart = hosts  # where no edge was taken, each goes on with what it has heard itself
        else:
            self._lead(hosts, events, before, now)

    def _lead(self, hosts: list[Host], events: Sequence[Event], before: Reading, now: Reading) -> None:
        """Have members follow, and tell the same, each under its own name. One pass: memory is what takes time here."""
        first = hosts[0]
        lead, cohort, wall, monotonic = first.lifecycle, self.cohort, self.wall, self.monotonic
        names: list[str | None] = []
        followers = self.followers
        for host in hosts:
            if host is not first:
                if not host.lifecycle.adopt(lead, before, now):
                    self.apart.append(host)
                    continue
                names.append(host.lifecycle.progress.name)
            followers.append(host)
            host.cohort, host.wall = cohort, wall
            if host.monotonic != monotonic:
                host.monotonic = monotonic
                self.moved.append(host)
            if host.subscribers is not None:
                self.heard.append(host)
        self._tell(events, names)

    def _tell(self, events: Sequence[Event], names: list[str | None]) -> None:
        steps: list[list[Event]] = []
        for event in events:
            kind = cast("Callable[..., Event]", type(event))
            fields = _unnamed(event)
            steps.append([event, *[kind(*fields, name) for name in names]])
        logged = any(map(is_logged, events))
        if logged or self.heard:
            subscribers = set(self.heard)
            own = zip(self.followers, zip(*steps, strict=True), strict=True)
            for host, emitted in islice(own, 1, None):  # the first has told its own
                if logged or host in subscribers:
                    host.dispatch(emitted)
        self.told = steps[0] if len(steps) == 1 else [event for step in steps for event in step]


def _unnamed(event: Event) -> tuple[Any, ...]:
    """Return an event's fields but for the last, which is whose it is."""
    return tuple([getattr(event, field) for field in event.__struct_fields__[:-1]])


def advance_cohorts(hosts: Iterable[Host], now: Reading) -> list[CohortResult]:
    """Bring members of cohorts up to date, one cohort after the other."""
    cohorts: dict[Cohort | None, list[Host]] = {}
    last: Cohort | None = None
    cohort_members: list[Host] = []
    for host in hosts:
        cohort = host.cohort
        if cohort is not last:  # equal ones are one object, and most come one after the other
            last, cohort_members = cohort, cohorts.setdefault(cohort, [])
        cohort_members.append(host)
    return [CohortResult(cohort_members, now) for cohort_members in cohorts.values()]
