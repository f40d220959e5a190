"""Events of journals: what a restart finds, and what replicas that share a journal emit about each other."""

from datetime import date, datetime, timedelta

from session_lifecycle._model.event_base import ERROR, UNSET, WARNING, TaggedEvent, hours_text, in_brackets
from session_lifecycle._model.session import Session


class AlarmInterrupted(TaggedEvent, frozen=True):
    """An alarm had begun in an earlier run, and the journal does not hold its end. It does not fire again.

    Its handlers may have done their work, part of it, or nothing: find out, and do what is missing. `key` is that of
    the `AlarmFired`, `session` the session that it fired for. Emitted at the start, or when the lead is gained.
    """

    __module__ = "session_lifecycle"
    _level = ERROR

    key: str
    session: date
    observed_at: datetime = UNSET
    name: str | None = None

    def _text(self) -> str:
        return (
            f"{self.session} alarm {self.key} was interrupted by the end of an earlier run: whether its handlers have "
            "done their work is not known, and it does not fire again"
        )


class OverrideLost(TaggedEvent, frozen=True):
    """Hours that `apply()` had changed in an earlier run, or on the leader, could not be restored; `reason` says why.

    `day` has the schedule's own hours, not `after` (None: no session). `session` is the one that the application is in.
    """

    __module__ = "session_lifecycle"
    _level = ERROR

    day: date
    after: Session | None
    session: date
    reason: str = ""
    observed_at: datetime = UNSET
    name: str | None = None

    def _text(self) -> str:
        return (
            f"{self.day} was changed to {hours_text(self.after)}, which could not be restored: {self.reason}. "
            "It has the schedule's own hours; apply what holds"
        )


class RollFollowed(TaggedEvent, frozen=True):
    """Another replica, the leader, has rolled, and this one has entered the same session. Nothing was awaited here.

    `session` is the one that was left, `skipped` are the dates of sessions in between, oldest first. `term` is the
    leader's. It is emitted too where the leader adopted a session anew, without a roll.
    """

    __module__ = "session_lifecycle"

    session: date
    next_session: date
    term: int = 0
    skipped: tuple[date, ...] = ()
    observed_at: datetime = UNSET
    name: str | None = None

    def _text(self) -> str:
        notes = [f"skipped {', '.join(map(str, self.skipped))}"] if self.skipped else []
        return f"roll {self.session} → {self.next_session} followed, of term {self.term}{in_brackets(notes)}"


class LeadershipGained(TaggedEvent, frozen=True):
    """This replica leads from now on: it rolls, fires alarms and may trade. `term` is its own."""

    __module__ = "session_lifecycle"

    term: int
    session: date | None = None
    observed_at: datetime = UNSET
    name: str | None = None

    def _text(self) -> str:
        return f"this replica leads, in term {self.term}"


class LeadershipLost(TaggedEvent, frozen=True):
    """This replica does not lead any more, for `reason`: it begins no roll and fires no alarm. `term` was its own."""

    __module__ = "session_lifecycle"
    _level = WARNING

    term: int
    reason: str
    session: date | None = None
    observed_at: datetime = UNSET
    name: str | None = None

    def _text(self) -> str:
        return f"this replica does not lead any more (its term was {self.term}): {self.reason}"


class ClockSkew(TaggedEvent, frozen=True):
    """The journal's server has another time than this replica, by more than a second. Nothing else follows from it.

    `skew` is the server's time minus this replica's. Every replica acts by its own clock.
    """

    __module__ = "session_lifecycle"
    _level = WARNING

    skew: timedelta
    session: date | None = None
    observed_at: datetime = UNSET
    name: str | None = None

    def _text(self) -> str:
        return f"the journal's server is {self.skew.total_seconds():+g} s from this clock: check both machines' time"
