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
from session_lifecycle._runtime.host import Member


class Lead:
    """What has become of the first of a cohort, and of those that have followed it.

    `followers` are all of them, the first included, with the deadlines `wall` and `monotonic`; `moved` are those whose
    monotonic one is new, `heard` those that have readers. `told` is what they have told: the first step of each, then
    the second. `apart` are those that must go by themselves.
    """

    __slots__ = ("apart", "cohort", "followers", "heard", "monotonic", "moved", "told", "wall")

    def __init__(self, members: list[Member], now: Reading) -> None:
        first = members[0]
        lifecycle = first.lifecycle
        before = lifecycle.progress.last_reading
        lifecycle.poll(now)
        events = first.tell()
        self.cohort: Final = lifecycle.cohort
        self.wall: datetime | None
        self.monotonic: timedelta | None
        self.wall, self.monotonic = lifecycle.deadlines
        self.told: list[Event] = list(events)
        self.apart: list[Member] = []
        self.followers: list[Member] = []
        self.moved: list[Member] = []
        self.heard: list[Member] = []
        if self.cohort is None or not events:
            self.apart = members  # where no edge was taken, each goes on with what it has heard itself
        else:
            self._lead(members, events, before, now)

    def _lead(self, members: list[Member], events: Sequence[Event], before: Reading, now: Reading) -> None:
        """Have members follow, and tell the same, each under its own name. One pass: memory is what takes time here."""
        first = members[0]
        lead, cohort, wall, monotonic = first.lifecycle, self.cohort, self.wall, self.monotonic
        names: list[str | None] = []
        followers = self.followers
        for member in members:
            if member is not first:
                if not member.lifecycle.adopt(lead, before, now):
                    self.apart.append(member)
                    continue
                names.append(member.lifecycle.progress.name)
            followers.append(member)
            member.cohort, member.wall = cohort, wall
            if member.monotonic != monotonic:
                member.monotonic = monotonic
                self.moved.append(member)
            if member.hearers is not None:
                self.heard.append(member)
        self._tell(events, names)

    def _tell(self, events: Sequence[Event], names: list[str | None]) -> None:
        steps: list[list[Event]] = []
        for event in events:
            kind = cast("Callable[..., Event]", type(event))
            fields = _unnamed(event)
            steps.append([event, *[kind(*fields, name) for name in names]])
        logged = any(map(is_logged, events))
        if logged or self.heard:
            hearers = set(self.heard)
            own = zip(self.followers, zip(*steps, strict=True), strict=True)
            for member, told in islice(own, 1, None):  # the first has told its own
                if logged or member in hearers:
                    member.hand_out(told)
        self.told = steps[0] if len(steps) == 1 else [event for step in steps for event in step]


def _unnamed(event: Event) -> tuple[Any, ...]:
    """Return an event's fields but for the last, which is whose it is."""
    return tuple([getattr(event, field) for field in event.__match_args__[:-1]])


def keep_step(members: Iterable[Member], now: Reading) -> list[Lead]:
    """Bring members of cohorts up to date, one cohort after the other."""
    cohorts: dict[Cohort | None, list[Member]] = {}
    last: Cohort | None = None
    alike: list[Member] = []
    for member in members:
        cohort = member.cohort
        if cohort is not last:  # equal ones are one object, and most come one after the other
            last, alike = cohort, cohorts.setdefault(cohort, [])
        alike.append(member)
    return [Lead(alike, now) for alike in cohorts.values()]
