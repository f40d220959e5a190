"""Check a sequence of events against the table of the state machine and the promises of the events."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta

from session_lifecycle._core.machine import SessionMachine
from session_lifecycle._model.errors import IllegalTransition
from session_lifecycle._model.events import (
    AlarmFired,
    AlarmSkipped,
    BreakEnded,
    BreakStarted,
    ClockStepped,
    Event,
    FeedResumed,
    FeedStale,
    Halted,
    HandlerFailed,
    Resumed,
    RollFailed,
    RollStarted,
    RollSucceeded,
    SessionAdopted,
    StateChanged,
)
from session_lifecycle._model.journal_events import LeadershipGained, LeadershipLost, RollFollowed
from session_lifecycle._model.phase_events import PhaseEnded, PhaseStarted
from session_lifecycle._model.states import SessionState

_NO_TIME = timedelta(0)
_ON_SCHEDULE = (StateChanged, BreakStarted, BreakEnded, PhaseStarted, PhaseEnded, AlarmFired, FeedStale)
_SHOWN = 20
"""The most events in the path of a message: the last ones matter."""

# A step of less than a second between two readings of the clock is not an event, and there may be many readings between
# two events.
_UNREPORTED_STEPS = timedelta(minutes=1)


def assert_legal(events: Iterable[Event]) -> None:
    """Assert that a manager, or several of different names, can have emitted these events in this order.

    The events of each name are checked separately. They belong to one run and may begin and end anywhere in it, but no
    event in between may be missing.

    * Each change of state is a transition of the machine, from the state that the last one led to, in the same session.
      Only `roll` leaves a session, and only forward.
    * A roll begins in ENDED. Its attempts are numbered from 1 and have one target, and each has one outcome. No attempt
      follows the last one or a success, unless the lead has changed. The transition `roll` follows its `RollSucceeded`,
      or the `RollFollowed` of a replica that does not lead, at once, and no other event does. Before the first roll of
      a start, a `SessionAdopted` can stand for it.
    * Phases start and end alternately, each one of them.
    * Breaks begin and end alternately, while the market is open, and the clock alone does not close the market on a
      break. A halt is lifted before the next one, and a feed is stale before it resumes.
    * No event is observed before it is due, nor before an earlier event was, unless the wall clock has stepped back.
      Steps that are too small to be reported may add up to less than a minute. An event marked as a catch-up is late.
      An alarm fires in the present state, once for a session (and break).

    Raises:
        AssertionError: they cannot; shows the first illegal event, its index, and the path up to it.
    """
    __tracebackhide__ = True  # pytest shows only the line that called this
    checkers: dict[str | None, _EventChecker] = {}
    checked: list[Event] = []
    for index, event in enumerate(events):
        checked.append(event)
        fault = checkers.setdefault(event.name, _EventChecker()).take(event)
        if fault is not None:
            raise AssertionError(_message(checked, index, fault))


assert_legal.__module__ = "session_lifecycle.testing"


def _message(checked: list[Event], index: int, fault: str) -> str:
    name = checked[index].name
    path = [
        f"{number:>5}  {each.observed_at:%Y-%m-%d %H:%M:%S}  {each.summary()}"
        for number, each in enumerate(checked)
        if each.name == name
    ]
    earlier = [f"  ...  {len(path) - _SHOWN} earlier ones"] if len(path) > _SHOWN else []
    of_name = "" if name is None else f" of {name}"
    lines = [f"event {index} is illegal: {fault}", f"  {checked[index]!r}", f"the path{of_name} up to it, in UTC:"]
    return "\n".join([*lines, *earlier, *path[-_SHOWN:]])


class _EventChecker:
    """The state that the events of one name have led to. `take` returns the fault of the next event, or None."""

    def __init__(self) -> None:
        self.state: SessionState | None = None  # None: unknown so far
        self.session: date | None = None
        self.observed: datetime | None = None
        self.rolling: RollStarted | None = None  # the attempt under way
        self.failed: RollFailed | None = None  # the attempt before the next one
        self.attempts = 0  # at the roll that is owed, up to the last failure
        self.succeeded: RollSucceeded | RollFollowed | SessionAdopted | None = None  # its transition `roll` must follow
        self.recovered: tuple[int, ...] = ()  # the possible attempts of a roll that a recovery has just settled
        self.on_break = False
        self.halted: bool | None = None  # None: unknown so far
        self.phase: tuple[date, str] | None = None  # the one that is on
        self.phases_known = False  # one has started or ended, so that it is known which one is on
        self.live: set[str] = set()  # the feeds that have resumed
        self.alarms: set[tuple[object, ...]] = set()

    def take(self, event: Event) -> str | None:
        """Check the next event and take it into account."""
        if isinstance(event, HandlerFailed):
            return None  # emitted when a handler fails, at any time
        return self._time(event) or self._order(event) or self._fact(event)

    def _time(self, event: Event) -> str | None:
        last, self.observed = self.observed, event.observed_at
        if isinstance(event, _ON_SCHEDULE):
            if event.scheduled_at > event.observed_at:
                return f"it was observed {event.scheduled_at - event.observed_at} before it was due"
            # Transitions of a closed session are made at once: due now, and a catch-up. They have a reason.
            at_once = isinstance(event, StateChanged) and event.reason is not None
            if not isinstance(event, FeedStale) and event.catch_up and not event.lateness and not at_once:
                return "it is marked as a catch-up, but is not late"
        stepped_back = isinstance(event, ClockStepped) and event.delta < _NO_TIME
        if last is not None and not stepped_back and event.observed_at <= last - _UNREPORTED_STEPS:
            return f"it was observed {last - event.observed_at} before the last event, and no clock has stepped back"
        return None

    def _order(self, event: Event) -> str | None:
        """Check what may follow a success, and what a recovery has settled."""
        recovered = self.recovered
        if isinstance(event, StateChanged | RollStarted | RollSucceeded | RollFailed):
            self.recovered = ()
        if self.succeeded is not None and not (isinstance(event, StateChanged) and event.trigger == "roll"):
            return f"the transition `roll` must follow its {type(self.succeeded).__name__} at once"
        if isinstance(event, RollSucceeded) and self.rolling is None and self.state is not None:
            # Marked as done: it has the number of attempts before, or none, and took no time.
            marked = event.attempt in recovered and not event.duration
            return None if marked else "no attempt at the roll was under way"
        return None

    def _fact(self, event: Event) -> str | None:  # noqa: C901, PLR0911, PLR0912 -- one return for each kind of event
        match event:
            case StateChanged():
                return self._changed(event)
            case RollStarted():
                return self._started(event)
            case RollSucceeded() | RollFailed():
                return self._ended(event)
            case RollFollowed() | SessionAdopted():
                self.succeeded = event
                return self._of_the_ended(event)
            case LeadershipGained() | LeadershipLost():
                self.failed = None
            case BreakStarted() | BreakEnded():
                return self._break(event)
            case PhaseStarted() | PhaseEnded():
                return self._phase(event)
            case Halted() | Resumed() if event.feed is None:
                was, self.halted = self.halted, isinstance(event, Halted)
                return f"trading was {'' if was else 'not '}halted before" if was is self.halted else None
            case FeedStale():
                self.live.discard(event.feed)
            case FeedResumed():
                if event.feed in self.live:
                    return f"feed {event.feed} has resumed already"
                self.live.add(event.feed)
            case AlarmFired() | AlarmSkipped():
                return self._alarm(event)
            case _:
                pass
        return None

    def _changed(self, event: StateChanged) -> str | None:
        fault = self._transition(event) or (self._rolled(event) if event.trigger == "roll" else self._stayed(event))
        if fault is None:
            self.state, self.session = event.dest, event.session
            if event.dest not in (SessionState.ACTIVE, SessionState.TIMEOUT):
                self.on_break = False
            if event.trigger == "recover":
                self.recovered, self.failed = (0, self.attempts), None
            elif event.trigger == "roll":
                self.attempts, self.failed = 0, None
        return fault

    def _transition(self, event: StateChanged) -> str | None:
        if self.state not in (None, event.source):
            return f"it leaves {event.source.name}, but the state was {self.state and self.state.name}"
        dests: set[SessionState] = set()
        for owed in (False, True):
            try:
                dests.add(SessionMachine(event.source).fire(event.trigger, roll_owed=owed))
            except IllegalTransition as error:
                return str(error).removesuffix(". Nothing was changed")
        if event.dest not in dests:
            return f"{event.trigger!r} leads from {event.source.name} to {_names(dests)}, not to {event.dest.name}"
        if self.rolling is not None:
            return f"attempt {self.rolling.attempt} at the roll is under way, without an outcome"
        return None

    def _stayed(self, event: StateChanged) -> str | None:
        if self.session not in (None, event.session):
            return f"it is of session {event.session}, but the session was {self.session}"
        if self.on_break and event.trigger == "close_market" and event.reason is None:
            return "the market is on a break, which must end before the close"
        return None

    def _rolled(self, event: StateChanged) -> str | None:
        success, self.succeeded = self.succeeded, None
        if success is None and self.state is not None:
            return "there was no RollSucceeded, RollFollowed or SessionAdopted before it"
        target = event.session if success is None else success.next_session
        return None if event.session == target else f"it enters {event.session}, but the roll was to {target}"

    def _started(self, event: RollStarted) -> str | None:
        fault = self._of_the_ended(event)
        if fault is not None:
            return fault
        if self.rolling is not None:
            return f"attempt {self.rolling.attempt} is under way, without an outcome"
        before, known = self.failed, self.state is not None
        if before is None:
            if known and event.attempt != 1:
                return f"it is attempt {event.attempt}, but must be the first"
        elif before.retry_at is None:
            return f"attempt {before.attempt} was the last one"
        elif (event.attempt, event.next_session) != (before.attempt + 1, before.next_session):
            return f"attempt {before.attempt + 1}, to {before.next_session}, must follow"
        self.rolling, self.state = event, SessionState.ENDED
        return None

    def _ended(self, event: RollSucceeded | RollFailed) -> str | None:
        fault = self._of_the_ended(event)
        if fault is not None:
            return fault
        begun, self.rolling = self.rolling, None
        if isinstance(event, RollFailed):
            if begun is None and self.state is not None:
                return "no attempt at the roll was under way"
            if event.retry_at is not None and event.retry_at < event.observed_at:
                return "its retry is due before its failure"
            self.failed, self.attempts = event, event.attempt
        else:
            if list(event.skipped) != sorted(
                day for day in set(event.skipped) if event.session < day < event.next_session
            ):
                return f"the skipped sessions do not lie between {event.session} and {event.next_session}, in order"
            self.succeeded = event
        self.state = SessionState.ENDED
        if begun is not None and (begun.attempt, begun.next_session) != (event.attempt, event.next_session):
            return f"attempt {begun.attempt}, to {begun.next_session}, was under way"
        return None

    def _of_the_ended(
        self, event: RollStarted | RollSucceeded | RollFailed | RollFollowed | SessionAdopted
    ) -> str | None:
        if self.state not in (None, SessionState.ENDED):
            return f"a roll happens in ENDED, but the state was {self.state and self.state.name}"
        if self.session not in (None, event.session):
            return f"it is of session {event.session}, but the session was {self.session}"
        self.session = event.session
        return (
            None if event.session < event.next_session else f"{event.next_session} does not lie after {event.session}"
        )

    def _break(self, event: BreakStarted | BreakEnded) -> str | None:
        starts = isinstance(event, BreakStarted)
        if self.state is None:
            self.on_break = not starts
        elif self.state not in (SessionState.ACTIVE, SessionState.TIMEOUT):
            return f"breaks happen in an open market, but the state was {self.state.name}"
        if self.session not in (None, event.session):
            return f"it is of session {event.session}, but the session was {self.session}"
        if self.on_break is starts:
            return f"the market was {'' if starts else 'not '}on a break"
        self.on_break = starts
        return None

    def _phase(self, event: PhaseStarted | PhaseEnded) -> str | None:
        key, starts = (event.session, event.phase), isinstance(event, PhaseStarted)
        if starts and self.phase is not None:
            return f"phase {self.phase[1]} of {self.phase[0]} is on, and must end before another one starts"
        if not starts and self.phase != key and self.phases_known:
            return "this phase was not on"
        self.phase, self.phases_known = key if starts else None, True
        return None

    def _alarm(self, event: AlarmFired | AlarmSkipped) -> str | None:
        if isinstance(event, AlarmFired) and self.state not in (None, event.state):
            return f"it says {event.state.name}, but the state was {self.state and self.state.name}"
        in_breaks = event.alarm.may_repeat
        key = (event.alarm, event.session, event.scheduled_at if in_breaks else None)
        if key in self.alarms:
            return f"it has already fired, or been skipped, for session {event.session}"
        self.alarms.add(key)
        return None


def _names(states: Iterable[SessionState]) -> str:
    return " or ".join(sorted(state.name for state in states))
