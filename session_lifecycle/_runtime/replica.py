"""One of several replicas that share a journal: it leads, or follows the records of the one that does."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._journal.base import SharedJournal
from session_lifecycle._journal.errors import NotLeadingError
from session_lifecycle._journal.records import JournalState, Record, adoption
from session_lifecycle._journal.standing import Standing
from session_lifecycle._model.clock import Reading
from session_lifecycle._model.journal_events import ClockSkew, LeadershipGained, LeadershipLost
from session_lifecycle._runtime.ledger import Ledger

_SKEW: Final = timedelta(seconds=1)
"""How far the clocks of a replica and of the journal's server may be apart before that is reported."""


class Replica:
    """The part of one host among the replicas that share its journal."""

    __slots__ = ("_ledger", "_lifecycle", "_skewed", "_standing", "journal", "tenure")

    def __init__(self, journal: SharedJournal, lifecycle: SessionLifecycle, ledger: Ledger) -> None:
        self.journal: Final = journal
        self.tenure: int = 0
        """How often it has lost the lead; the term may rise without that, after a broken connection."""
        self._lifecycle: Final = lifecycle
        self._ledger: Final = ledger
        self._standing = Standing()
        self._skewed = False

    @property
    def leads(self) -> bool:
        """Whether this replica leads; False too where it cannot know, or has not read yet what was written before."""
        return self.journal.leads and self._lifecycle.leading

    def require_lead(self, call: str) -> None:
        """Raise `NotLeadingError` where another replica leads, or this one cannot know."""
        if not self.leads:
            raise self.refusal(call)

    def refusal(self, what: str) -> NotLeadingError:
        """Return the error of a call, or of a record, that is refused because this replica does not lead."""
        return NotLeadingError(what, repr(self.journal), self.journal.term)

    def add(self, records: Sequence[Record]) -> None:
        """Count records that the journal held, or that this replica has written."""
        for record in records:
            self._add(record)

    def follow(self, records: Sequence[Record], now: Reading) -> None:
        """Adopt the records of the replica that leads, and the lead, where this one has gained it."""
        journal, lifecycle = self.journal, self._lifecycle
        self._ledger.adopt(records)
        for record in records:
            journal_state = self._add(record)
            if journal_state is not None:
                lifecycle.follow(record, journal_state, now, term=journal.term)
        if journal.leads and not lifecycle.leading:
            self.report_lead(now)
            lifecycle.lead(now, self._standing.state)
            resumption = lifecycle.resume_by_venue(now)
            if resumption is not None:
                self._ledger.submit(*resumption)
            if self._standing.state is None:
                self._ledger.submit((adoption(lifecycle.session, now.wall),))

    def _add(self, record: Record) -> JournalState | None:
        """Count a record; where it contradicts those before it, go to ERROR and leave it out."""
        try:
            return self._standing.add(record)
        except ValueError as error:
            if self._lifecycle.begun:
                reason = f"the records of {self.journal!r} contradict each other at {record.seq}: {error}"
                self._lifecycle.fail(reason, self._lifecycle.progress.last_reading)
            return None

    def report_lead(self, now: Reading) -> None:
        """Emit that this replica leads."""
        lifecycle = self._lifecycle
        event = LeadershipGained(self.journal.term, lifecycle.session.date, now.wall, name=lifecycle.name)
        lifecycle.progress.emit(event)

    def lose_lead(self, reason: str, now: Reading) -> None:
        """Emit that this replica does not lead any more, and stand by."""
        lifecycle = self._lifecycle
        event = LeadershipLost(self.journal.term, reason, lifecycle.session.date, now.wall, name=lifecycle.name)
        lifecycle.progress.emit(event)
        self.tenure += 1
        lifecycle.stand_by(now)

    def report_skew(self, now: Reading) -> None:
        """Emit that the journal's server has another time, once, and again once it had not."""
        skew, lifecycle = self.journal.skew, self._lifecycle
        apart = skew is not None and abs(skew) > _SKEW
        if skew is not None and apart and not self._skewed:
            lifecycle.progress.emit(ClockSkew(skew, lifecycle.session.date, now.wall, name=lifecycle.name))
        self._skewed = apart
