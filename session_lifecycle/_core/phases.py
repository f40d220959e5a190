"""Phases by the clock: which one is on, and which comes next. They never move a state.

A phase may lie outside its session's own states: an after-market outlasts the roll, a night begins on the evening
before. So phases follow the clock and the schedule, not the machine. Each is delivered once; the clock's going back
changes nothing.
"""

from collections.abc import Iterable
from datetime import date, datetime
from typing import NamedTuple

from session_lifecycle._model.session import Phase, Session


class PhaseStretch(NamedTuple):
    """A phase of a session, and until when it lasts: its end, or the start of the next one where they overlap."""

    session: Session
    phase: Phase
    end: datetime

    @property
    def start(self) -> datetime:
        """When the phase starts."""
        return self.phase.start

    @property
    def key(self) -> tuple[date, str, datetime]:
        """What stays the same where the phase lasts longer, or not as long."""
        return self.session.date, self.phase.name, self.phase.start

    @property
    def name(self) -> str:
        """The name of the phase."""
        return self.phase.name


def stretches(sessions: Iterable[Session]) -> tuple[PhaseStretch, ...]:
    """Return the phases of consecutive sessions in order of time. One that overlaps the next is cut short there."""
    found = [
        PhaseStretch(session, phase, phase.end) for session in sessions if session.phases for phase in session.phases
    ]
    if not found:
        return ()
    found.sort(key=lambda each: (each.phase.start, each.session.date))
    cut = (
        each if at + 1 == len(found) or each.end <= found[at + 1].start else each._replace(end=found[at + 1].start)
        for at, each in enumerate(found)
    )
    return tuple(each for each in cut if each.start < each.end)


class PhaseProgress(NamedTuple):
    """How far the phases have been delivered. `stretch` is on, or comes next; None where none is known.

    `due` is the instant of what is delivered next: the start of the stretch, or its end once it is `on`. `through` is
    the instant up to which phases have been delivered.
    """

    stretch: PhaseStretch | None = None
    on: bool = False
    due: datetime | None = None
    through: datetime | None = None

    def next_of(self, known: Iterable[PhaseStretch]) -> "PhaseProgress":
        """Return it with the next of the known phases, unless one is on."""
        if self.on:
            return self
        found = next((each for each in known if self.through is None or each.start >= self.through), None)
        if found is self.stretch:
            return self
        return PhaseProgress(found, on=False, due=None if found is None else found.start, through=self.through)

    def changed(self, stretch: PhaseStretch) -> "PhaseProgress":
        """Return it with the stretch that is on replaced by the same one of other hours."""
        return PhaseProgress(stretch, on=True, due=stretch.end, through=self.through)

    def anew(self, known: Iterable[PhaseStretch], now: datetime) -> "PhaseProgress":
        """Return it, with none on, after the phases have changed: what is on, or comes next, is delivered next."""
        over = now if self.through is None else max(now, self.through)
        found = next((each for each in known if each.end > over), None)
        return PhaseProgress(found, on=False, due=None if found is None else found.start, through=self.through)

    def begun(self) -> "PhaseProgress":
        """Return it with the stretch on."""
        assert self.stretch is not None
        return PhaseProgress(self.stretch, on=True, due=self.stretch.end, through=self.stretch.start)

    def ended(self, known: Iterable[PhaseStretch], at: datetime) -> "PhaseProgress":
        """Return it with the stretch over at that instant, and the next of the known phases."""
        return PhaseProgress(through=at).next_of(known)


NO_PHASES = PhaseProgress()
"""Where there is no phase."""


def first_of(known: Iterable[PhaseStretch], session: date, now: datetime) -> PhaseProgress:
    """Return the progress at a beginning: a session's phases from its first one on, after an earlier one that is on."""
    found = next((each for each in known if each.session.date >= session or each.end > now), None)
    if found is None:
        return NO_PHASES
    return PhaseProgress(found, on=False, due=found.start, through=found.start)
