"""Many that stand at the same place: one is brought up to date, and the others take over what came of it.

Thousands of managers on one schedule cross 09:30:00 together. Each would decide the same, so it is decided once for
each cohort of them. Whoever is special in any way (an alarm, a feed, a halt, a catch-up, a roll) belongs to no cohort.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final, cast

from session_lifecycle.clock import Reading
from session_lifecycle.events import Event
from session_lifecycle.lifecycle import Cohort
from session_lifecycle.logs import is_logged
from session_lifecycle.member import Member


class Lead:
    """What has become of the first of a cohort, and of those that have followed it.

    `followers` are all of them, the first included. `told` is what they have told: the first step of each, then the
    second. `wall` and `monotonic` are the deadlines of all. `apart` are those that must go by themselves; so must all
    where `cohort` is None.
    """

    __slots__ = ("apart", "cohort", "followers", "monotonic", "told", "wall")

    def __init__(self, members: list[Member], now: Reading) -> None:
        first = members[0]
        lifecycle = first.lifecycle
        before = lifecycle.walk.seen
        lifecycle.poll(now)
        events = first.tell()
        self.cohort: Final = lifecycle.cohort
        first.cohort = self.cohort
        self.wall: datetime | None
        self.monotonic: timedelta | None
        self.wall, self.monotonic = lifecycle.deadlines
        self.told: list[Event] = list(events)
        self.apart: list[Member] = []
        self.followers: list[Member] = []
        if self.cohort is None:
            self.apart = members
        else:
            self.followers = [first, *self._follow(members, before, now)]
            self._tell(events)

    def _follow(self, members: list[Member], before: Reading, now: Reading) -> Iterator[Member]:
        lead, cohort = members[0].lifecycle, self.cohort
        for member in islice(members, 1, None):
            if member.lifecycle.follow(lead, before, now):
                member.cohort = cohort
                yield member
            else:
                self.apart.append(member)

    def _tell(self, events: Sequence[Event]) -> None:
        """Have every follower tell the same, under its own name."""
        if not events:
            return
        members = self.followers[1:]
        names = [member.lifecycle.walk.name for member in members]
        steps: list[list[Event]] = []
        for event in events:
            kind = cast("Callable[..., Event]", type(event))
            fields = _unnamed(event)
            steps.append([kind(*fields, name) for name in names])
        if any(map(is_logged, events)) or any(member.hearers is not None for member in members):
            for member, own in zip(members, zip(*steps, strict=True), strict=True):
                member.hand_out(own)
        self.told = [each for event, step in zip(events, steps, strict=True) for each in (event, *step)]


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
