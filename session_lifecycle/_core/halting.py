"""The part of a lifecycle that stops it: halts of trading, by the application and by what the venue reports; ERROR."""

from abc import ABC
from collections.abc import Sequence
from datetime import datetime

import msgspec

from session_lifecycle._core.data_watch import CLOSED
from session_lifecycle._core.decision import Decision
from session_lifecycle._core.feeds import FeedState
from session_lifecycle._core.machine import ERROR, NOT_STARTED
from session_lifecycle._core.replica import ReplicaLifecycle
from session_lifecycle._core.venue_watch import VenueAction, VenueDecision, VenueStanding, VenueWatch
from session_lifecycle._journal.records import Entry, Record
from session_lifecycle._model.clock import Reading, as_utc
from session_lifecycle._model.errors import HaltRefused, IllegalTransition, LifecycleError, describe
from session_lifecycle._model.venue_status import VenueStatus


class _End(msgspec.Struct, eq=False):
    """The end of a halt that has been decided and does not apply yet. `failed`: its record was refused, or is in doubt.

    Then trading is halted still, and a record in doubt may come to apply at the next start.
    """

    failed: bool = False


class HaltingLifecycle(ReplicaLifecycle, ABC):
    """A lifecycle in which trading, or one feed, is halted and resumed, and that fails.

    `_venue` is the watch over the venue's statuses, None until there is one. `_unrecorded` are the records of halts
    that no call of `halt` has begun, or that are written anew. `_resuming` are the halts, by the names of their feeds,
    whose end has been decided and does not apply yet; each has one end, however often that is decided.
    `_failed_again` is the reason of the last failure in ERROR.
    """

    __slots__ = ("_failed_again", "_resuming", "_unrecorded", "error_number")

    _failed_again: str
    _unrecorded: list[Record] | None
    _resuming: dict[str, _End] | None
    error_number: int

    def halt(self, reason: str, now: Reading, feed: FeedState | None = None) -> bool:
        """Halt trading, or one feed, until `resume` or the close. Return False where it is halted already.

        Where the end of a halt has been decided and does not apply yet, that halt ends now, and this one begins. Where
        the record of that end has failed, the halt goes on, and is recorded anew: whatever becomes of the other record,
        this one comes after it.

        Raises:
            HaltRefused: the session is not open, nor about to be. Nothing has changed.
        """
        self.poll(now)
        if not self._can_halt:
            raise HaltRefused(self.state)
        end, halted = self._forget_end(feed), self.halted if feed is None else feed.halted
        if halted is not None:
            if end is not None and end.failed:
                self._record_halt(halted, now, _subject(feed))
            if end is None or end.failed:
                return False
            self._progress.resume(feed)
        self._progress.halt(reason, feed)
        self.poll(now)
        return True

    def resume(self, now: Reading, feed: FeedState | None = None) -> Decision | None:
        """Decide to end a halt; None where there is none."""
        self.poll(now)
        if (self.halted if feed is None else feed.halted) is None:
            return None

        subject = _subject(feed)
        if self._resuming is None:
            self._resuming = {}
        resuming = self._resuming
        end = resuming.setdefault(subject, _End())

        def apply(now: Reading) -> None:
            self.poll(now)
            if resuming.get(subject) is not end:
                return  # it has ended, and what halts since was decided later
            del resuming[subject]
            if (self.halted if feed is None else feed.halted) is not None:
                self._progress.resume(feed)
                self.poll(now)

        def abandon(_: Exception, __: Reading) -> None:
            end.failed = True

        return Decision((Record(Entry.RESUMED, self.session.date, now.wall, subject=subject),), apply, abandon)

    def _forget_end(self, feed: FeedState | None) -> _End | None:
        """Have the end of a halt that does not apply yet do nothing; return it, None where there is none."""
        return None if self._resuming is None else self._resuming.pop(_subject(feed), None)

    def _record_halt(self, reason: str, now: Reading, subject: str) -> None:
        record = Record(Entry.HALTED, self.session.date, now.wall, note=reason, subject=subject)
        self._unrecorded = [*(self._unrecorded or ()), record]

    def _record_halts(self, now: Reading) -> None:
        """Record the halts in force anew: they have gone on over sessions that the roll has skipped.

        By the records alone the market may have closed in between. A halt whose end is being written is left out.
        """
        halts = [(feed.name, feed.halted) for feed in self.feed_states]
        for subject, reason in [("", self.halted), *halts, *self._progress.data.absent_halts.items()]:
            end = None if self._resuming is None else self._resuming.get(subject)
            if reason is not None and (end is None or end.failed):
                self._record_halt(reason, now, subject)

    def _hold_end(self, now: Reading) -> None:
        """Record that the session has ended, where it would end later by hours that have changed since.

        By the records alone it would go on. An intent says so, too, and after *done* there is nothing to record.
        """
        progress, rolls = self._progress, self._rolls
        session, bounds = progress.session, progress.timeline.boundaries(progress.session)
        if progress.called_off is not None or bounds.end <= max(progress.bounds.end, now.wall):
            return
        recorded = self._cut is not None and self._cut.session == session.date
        progress.adopt_hours(session, bounds)
        self._cut_short(now.wall)
        pursued = all(roll is rolls.round for roll in rolls.planned)
        if pursued and not (recorded or any(roll.pending or roll.intended for roll in rolls.rounds)):
            self._unrecorded = [
                *(self._unrecorded or ()),
                Record(Entry.ENDED, session.date, now.wall, note="by the hours as they were"),
            ]

    def _stand_by(self) -> None:
        self._resuming = None  # whether a halt has ended is for the leader's records to say
        super()._stand_by()

    @property
    def _can_halt(self) -> bool:
        closed = self.state is NOT_STARTED or self.state in CLOSED
        return not closed or self._progress.clock_state.carried is not None

    # ---- failures ----

    def fail(self, reason: str, now: Reading) -> bool:
        """Go to ERROR; during an attempt at the roll, once that has ended. Return False where the state is ERROR."""
        self.poll(now)
        if self.state is ERROR:
            return False
        self._fail(reason)
        return True

    def require_error(self, now: Reading) -> int:
        """Return the number of the ERROR that a `recover` called now is about.

        Raises:
            IllegalTransition: the state is not ERROR.
        """
        self.poll(now)
        if self.state is not ERROR:
            raise IllegalTransition(self.state, "recover", self._progress.allowed)
        return self.error_number

    def fail_again(self, reason: str) -> None:
        """Take a failure in ERROR: once a `recover` that was decided before has left that, it is ERROR again."""
        self._failed_again = reason
        self.error_number += 1

    def _fail(self, reason: str) -> None:
        """Go to ERROR, once an attempt under way has ended; the reason includes an earlier one."""
        if self._rolls.running:
            self._failing = self._failing or reason
            return
        if self._failing is not None and self._failing != reason:
            reason = f"{self._failing}; and {reason}"
        self._failing = None
        if self.state is not ERROR:
            self._rolls.drop()
            self._progress.fire("fail", self._progress.last_reading.wall, reason)

    def _blame(self, error: Exception) -> str:
        """Return the reason for ERROR where the schedule has raised."""
        return describe(error) if isinstance(error, LifecycleError) else f"{self.schedule.name}: {describe(error)}"

    # ---- what the venue reports of itself ----

    def record_status(self, status: VenueStatus, at: datetime, now: Reading) -> Decision | None:
        """Take a status of the venue, as of its instant `at`: halt where it stops trading, report a contradiction.

        Return the decision to end the halt that an earlier status has begun, where this one does; None else. While
        another replica leads, the status is only remembered.

        Raises:
            NaiveDatetimeError: `at` has no time zone. Nothing is recorded.
        """
        at = as_utc("at", at)
        self.poll(now)
        if self._venue is None:
            self._venue = VenueWatch(self.config.early_close, self.name)
        decision = self._venue.record(status, at, self._venue_standing(now))
        if not self.leading:
            return None
        self._halt_by_venue(decision, now)
        if decision.contradiction is not None:
            self._progress.emit(decision.contradiction)
        self.poll(now)
        return self.resume(now) if decision.action is VenueAction.RESUME else None

    def resume_by_venue(self, now: Reading) -> Decision | None:
        """Decide to end a halt by status that the venue has ended while another replica led; None where there is none.

        That replica may have vanished before it recorded the end.
        """
        resumed = self._venue is not None and self._venue.resumed_since(self.halted)
        return self.resume(now) if resumed else None

    def _follow_venue(self, venue: VenueWatch, now: Reading) -> None:
        """Halt trading where time has passed, or the machine has moved, and an earlier status asks for it now."""
        self._halt_by_venue(venue.follow(self._venue_standing(now)), now)

    def _venue_standing(self, now: Reading) -> VenueStanding:
        ends = self._resuming is not None and _subject(None) in self._resuming
        return VenueStanding(now.wall, self._progress.timeline, self.halted, self.leading and self._can_halt, ends)

    def _halt_by_venue(self, decision: VenueDecision, now: Reading) -> None:
        """Halt trading where a status of the venue asks for it, and note the record."""
        if decision.reason:
            self._forget_end(None)
            if decision.action is VenueAction.HALT:
                self._progress.halt(decision.reason, None)
            self._record_halt(decision.reason, now, _subject(None))

    def take_records(self) -> Sequence[Record]:
        """Return the records of halts by a venue's status, and of those written anew, since the last call."""
        records, self._unrecorded = self._unrecorded, None
        return records or ()


def _subject(feed: FeedState | None) -> str:
    return "" if feed is None else feed.name
