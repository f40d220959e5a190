"""Many that stand at the same place: one is brought up to date, and the others take over what came of it.

Thousands of managers on one schedule cross 09:30:00 together. Each would decide the same, so it is decided once for
each cohort of them. Whoever is special in any way (an alarm, a feed, a halt, a catch-up, a roll) belongs to no cohort.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from session_lifecycle.clock import Reading
from session_lifecycle.events import Event
from session_lifecycle.lifecycle import Cohort, SessionLifecycle
from session_lifecycle.logs import is_logged
from session_lifecycle.member import Member


class Lead:
    """What has become of the first of a cohort, and of those that have followed it.

    `followers` are all of them, the first included, and `told` what each has told. `wall` and `monotonic` are the
    deadlines of all. `apart` are those that must go by themselves; so must all where `cohort` is None.
    """

    __slots__ = ("apart", "cohort", "followers", "monotonic", "told", "wall")

    def __init__(self, members: Sequence[Member], now: Reading) -> None:
        first, *rest = members
        lifecycle = first.lifecycle
        before = lifecycle.walk.seen
        lifecycle.poll(now)
        events = first.tell()
        self.cohort: Final = lifecycle.cohort
        first.cohort = self.cohort
        self.wall: datetime | None
        self.monotonic: timedelta | None
        self.wall, self.monotonic = lifecycle.deadlines
        self.followers: Final = [first]
        self.told: Final = [events]
        self.apart: Final[list[Member]] = []
        if self.cohort is None:
            self.apart.extend(members)
        else:
            self._lead(lifecycle, rest, events, before, now)

    def _lead(
        self,
        lifecycle: SessionLifecycle,
        members: Iterable[Member],
        events: Sequence[Event],
        before: Reading,
        now: Reading,
    ) -> None:
        """Have members follow, each with the same events under its own name."""
        steps: list[tuple[Callable[..., Event], tuple[Any, ...]]] = [(type(e), _unnamed(e)) for e in events]
        unheard = not any(map(is_logged, events))
        for member in members:
            own = member.lifecycle
            if not own.follow(lifecycle, before, now):
                self.apart.append(member)
                continue
            name = own.name
            events = [kind(*fields, name) for kind, fields in steps]
            if not unheard or member.hearers is not None:
                member.hand_out(events)
            member.cohort = self.cohort
            self.told.append(events)
            self.followers.append(member)


def _unnamed(event: Event) -> tuple[Any, ...]:
    """Return an event's fields but for the last, which is whose it is."""
    return tuple([getattr(event, field) for field in event.__match_args__[:-1]])


def keep_step(members: Iterable[Member], now: Reading) -> list[Lead]:
    """Bring members of cohorts up to date, one cohort after the other."""
    cohorts: dict[Cohort | None, list[Member]] = {}
    for member in members:
        cohorts.setdefault(member.cohort, []).append(member)
    return [Lead(alike, now) for alike in cohorts.values()]
