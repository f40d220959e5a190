"""Phases by the clock: which one is on, and which comes next. They never move a state.

A phase may lie outside its session's own states: an after-market outlasts the roll, a night begins on the evening
before. So phases follow the clock and the schedule, not the machine. Each is delivered once; the clock's going back
changes nothing.
"""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import date, datetime
from operator import attrgetter
from typing import Final

import msgspec
from msgspec.structs import replace

from session_lifecycle._model.session import Phase, Session

_START: Final = attrgetter("start")


class PhaseStretch(msgspec.Struct, frozen=True):
    """A phase of a session: from its start to its end, or to the start of the next one where they overlap."""

    session: Session
    phase: Phase
    start: datetime
    end: datetime

    @property
    def key(self) -> tuple[date, str, datetime]:
        """What stays the same where the phase lasts longer, or not as long."""
        return self.session.date, self.phase.name, self.start


def stretches(session: Session) -> tuple[PhaseStretch, ...]:
    """Return the phases of a session in order of time."""
    return tuple(PhaseStretch(session, phase, phase.start, phase.end) for phase in session.phases)


def in_order(of_sessions: Sequence[Sequence[PhaseStretch]]) -> tuple[PhaseStretch, ...]:
    """Return the phases of several sessions in order of time. One that overlaps the next is cut short there."""
    found = [each for own in of_sessions for each in own]
    if all(found[n].start >= found[n - 1].end for n in range(1, len(found))):
        return tuple(found)
    found.sort(key=lambda each: (each.start, each.session.date))
    for n in range(1, len(found)):
        if found[n].start < found[n - 1].end:
            found[n - 1] = replace(found[n - 1], end=found[n].start)
    return tuple(each for each in found if each.start < each.end)


class PhaseProgress(msgspec.Struct, frozen=True):
    """How far the phases have been delivered. `stretch` is on, or comes next; None where none is known.

    `due` is the instant of what is delivered next: the start of the stretch, or its end once it is `on`. `through` is
    the instant up to which phases have been delivered. `quiet` says that one is on in which no data is expected.
    `known` are the phases near the present, in order, and `following` the number of the one after the stretch.
    """

    stretch: PhaseStretch | None = None
    on: bool = False
    due: datetime | None = None
    through: datetime | None = None
    quiet: bool = False
    known: tuple[PhaseStretch, ...] = ()
    following: int = 0

    def crossed(self) -> "PhaseProgress":
        """Return it after what is due: the phase is on, or over; then the next one is on where it starts at once."""
        stretch, known, number = self.stretch, self.known, self.following
        assert stretch is not None
        if not self.on:
            return _on(stretch, known, number)
        if number < len(known) and known[number].start == stretch.end:
            return _on(known[number], known, number + 1)
        return _before(known, number, stretch.end)

    def moved(self, known: tuple[PhaseStretch, ...]) -> "PhaseProgress":
        """Return it with the phases that are known near another session. The one that is on stays as it is."""
        if self.on:
            assert self.stretch is not None
            return replace(self, known=known, following=bisect_left(known, self.stretch.end, key=_START))
        return _before(known, 0 if self.through is None else bisect_left(known, self.through, key=_START), self.through)

    def changed(self, now: datetime, known: tuple[PhaseStretch, ...]) -> "PhaseProgress":
        """Return it after the hours have changed. One that is on stays on where the new hours have it as well."""
        number = next((n for n, each in enumerate(known) if each.end > now), len(known))
        if self.on and number < len(known) and self.stretch is not None and known[number].key == self.stretch.key:
            return _on(known[number], known, number + 1)
        through = now if self.on else self.through
        if through is not None and through > now:
            number = next((n for n, each in enumerate(known) if each.end > through), len(known))
        return _before(known, number, through)


NO_PHASES: Final = PhaseProgress()
"""Where there is no phase."""


def first_of(known: tuple[PhaseStretch, ...], session: date, now: datetime) -> PhaseProgress:
    """Return the progress at a beginning: a session's phases from its first one on, after an earlier one that is on."""
    for number, each in enumerate(known):
        if each.session.date >= session or each.end > now:
            return _before(known, number, each.start)
    return NO_PHASES


def _on(stretch: PhaseStretch, known: tuple[PhaseStretch, ...], following: int) -> PhaseProgress:
    quiet = not stretch.phase.data_expected
    return PhaseProgress(stretch, True, stretch.end, stretch.start, quiet, known, following)  # noqa: FBT003 -- fast


def _before(known: tuple[PhaseStretch, ...], number: int, through: datetime | None) -> PhaseProgress:
    if number >= len(known):
        return PhaseProgress(through=through, known=known, following=number)
    following = known[number]
    return PhaseProgress(following, due=following.start, through=through, known=known, following=number + 1)
