"""One session at a time, walked along its edges: the machine, its boundaries and breaks, and the watch for silence.

The walk decides what is due, and in which order; what is owed at the session's end is not its business.
"""

from datetime import datetime, timedelta

from session_lifecycle._core.feeds import FeedState, FeedTable
from session_lifecycle._core.machine import (
    ACTIVE,
    ENDED,
    NOT_STARTED,
    POST_MARKET,
    PRE_MARKET,
    TIMEOUT,
    allowed_in,
    dest_of,
)
from session_lifecycle._core.staleness import StalenessTimer
from session_lifecycle._core.timeline import Position, Timeline
from session_lifecycle._model.clock import Reading
from session_lifecycle._model.config import LifecycleConfig
from session_lifecycle._model.events import (
    BreakEnded,
    BreakStarted,
    ClockStepped,
    Event,
    FeedResumed,
    FeedStale,
    Halted,
    Resumed,
    StateChanged,
)
from session_lifecycle._model.session import Boundaries, Session
from session_lifecycle._model.states import SessionState


class Progress:
    """The machine of one lifecycle, and where it stands in time.

    `state` is the machine's, which `fire` alone moves. `seen` is the last look at the clocks, `position` where schedule
    and clock alone put it then. `session` and `bounds` are the machine's, `next_edge` the wall instant of the next edge
    or break of the session, None where none is due by the clock. `feeds` is None until there is one. `catching_up`
    marks a walk to where the clock says that the session is. `ended` tells that the session has been ENDED, so that its
    roll is owed. `halted` is why trading is halted, None where it is not. `called_off` is why there is no session any
    more, None where there is. `events` is what has happened and not been taken yet, None where that is nothing.
    """

    __slots__ = (
        "bounds",
        "breaks_passed",
        "called_off",
        "catching_up",
        "config",
        "ended",
        "events",
        "feeds",
        "halted",
        "last_reading",
        "name",
        "next_transition",
        "on_break",
        "position",
        "reason",
        "session",
        "staleness",
        "state",
        "timeline",
    )

    def __init__(self, timeline: Timeline, config: LifecycleConfig, name: str | None) -> None:
        self.timeline: Timeline = timeline
        self.config: LifecycleConfig = config
        self.name: str | None = name
        self.state: SessionState = NOT_STARTED
        self.breaks_passed: int = 0
        """So many starts and ends of breaks were delivered in this session."""
        self.staleness: StalenessTimer = StalenessTimer(config.data_timeout, config.error_after_timeout)
        self.feeds: FeedTable | None = None
        self.events: list[Event] | None = None
        self.halted: str | None = None
        self.called_off: str | None = None
        self.on_break: bool = False
        self.reason: str | None = None
        self.ended: bool = False
        self.catching_up: bool = True
        self.next_transition: datetime | None = None
        self.last_reading: Reading
        self.position: Position
        self.session: Session
        self.bounds: Boundaries

    @property
    def allowed(self) -> tuple[str, ...]:
        """The triggers that the state has an edge for."""
        return allowed_in(self.state)

    def emit(self, event: Event) -> None:
        """Take note of what has happened."""
        if self.events is None:
            self.events = [event]
        else:
            self.events.append(event)

    def make_feeds(self) -> FeedTable:
        """Return the watch over the feeds, made when the first of them comes."""
        if self.feeds is None:
            staleness = self.staleness
            feeds = self.feeds = FeedTable(self.config.stale_when)
            if staleness.opened is not None:
                feeds.open(staleness.opened)
                feeds.suspend() if staleness.since is None else feeds.expect(staleness.since)
        return self.feeds

    def _reckon(self) -> None:
        """Work out when the next edge is due."""
        state, bounds = self.state, self.bounds
        if state is ACTIVE or state is TIMEOUT:
            pause = self._next_break()  # one that lies after the close is of a session that was called off
            self.next_transition = bounds.close if pause is None or bounds.close < pause else pause
        elif state is PRE_MARKET:
            self.next_transition = bounds.open
        elif state is NOT_STARTED:
            self.next_transition = bounds.pre_market_start
        else:
            self.next_transition = bounds.end if state is POST_MARKET else None

    def stand_in(self, state: SessionState, reason: str | None) -> None:
        """Take up a state that an earlier run of the process was in."""
        self.state = state
        self.reason = reason

    def begin(self, session: Session, now: Reading, position: Position) -> None:
        """Take up a session, at its start."""
        self.last_reading, self.position = now, position
        self.go_by(session, self.timeline.boundaries(session))

    def go_by(self, session: Session, bounds: Boundaries) -> None:
        """Go by these hours of the machine's session from now on."""
        self.session, self.bounds = session, bounds
        self._reckon()

    def enter(self, session: Session, bounds: Boundaries) -> None:
        """Roll into the next session."""
        due = min(self.bounds.end, self.last_reading.wall)
        self.session, self.bounds = session, bounds
        self.ended = False
        self.called_off = None
        self.fire("roll", due)  # which works out the next edge

    def call_off(self, why: str) -> None:
        """Have what is left of the session walked at once: the venue does not hold it."""
        now = self.last_reading.wall
        self.called_off = why
        self.catching_up = True
        self.go_by(self.session, Boundaries(*(min(boundary, now) for boundary in self.bounds)))

    def observe(self, now: Reading) -> None:
        """Take note of the time: tell a step of the wall clock, and find the position on the timeline."""
        delta = now.step_since(self.last_reading)
        self.last_reading = now
        if delta is not None:
            self.catching_up = self.catching_up or delta > timedelta(0)
            self.emit(ClockStepped(delta, self.session.date, now.wall, name=self.name))
        position, wall = self.position, now.wall
        if position.until is None or not position.since <= wall < position.until:
            try:
                self.position = self.timeline.at(wall)
            except Exception:
                # Nothing is known about the present: better no boundary than a past one, which would never be over.
                self.position = position._replace(since=wall, until=None)
                raise

    @property
    def is_plain(self) -> bool:
        """Whether it is on its way through an ordinary session, and nothing but the clock moves it."""
        state = self.state
        return (
            (state is ACTIVE or state is PRE_MARKET or state is POST_MARKET or state is NOT_STARTED)
            and self.feeds is None
            and self.halted is None
            and self.called_off is None
            and self.events is None
            and not self.catching_up
            and not self.ended
        )

    def adopt(self, lead: "Progress") -> None:
        """Take over an edge, or a break, of another that stood at the same place, and is plain still."""
        self.state = lead.state
        self.last_reading = lead.last_reading
        self.position = lead.position
        self.next_transition = lead.next_transition
        self.breaks_passed = lead.breaks_passed
        self.on_break = lead.on_break
        staleness, other = self.staleness, lead.staleness  # neither is quiet; what each has heard is its own
        staleness.since = other.since
        if staleness.opened is None or other.opened is None:  # else it is a break, and each may have opened at its time
            staleness.opened = other.opened
        staleness.plain = other.plain
        staleness.alert = other.alert

    @property
    def verdict_at(self) -> timedelta | None:
        """The monotonic instant at which a silence may be too long; None where there is none."""
        feeds, staleness = self.feeds, self.staleness
        if not feeds:
            return staleness.deadline
        own, theirs = staleness.deadline if staleness.stale else None, feeds.deadline
        if own is None or theirs is None:
            return own if theirs is None else theirs
        return min(own, theirs)

    def listen_anew(self, now: timedelta) -> None:
        """Time the silence of the manager's own data from now on, where data is expected."""
        if self.staleness.deadline is not None and not self.staleness.stale:
            self.staleness.expect(now)

    def take_transition(self) -> bool:
        """Take the one edge that is due next by the last look; return False when none is.

        The calendar comes first: where the silence becomes too long at the close itself, the close wins.
        """
        due, state = self.next_transition, self.state
        if due is None or self.last_reading.wall < due:
            return (state is ACTIVE or state is TIMEOUT) and self._listen()
        if state is PRE_MARKET:
            self.fire("open_market", due, self.called_off)
        elif state is NOT_STARTED:
            self.fire("start_pre_market", due, self.called_off)
        elif state is POST_MARKET:
            self.fire("end_session", due, self.called_off)
        elif self._next_break() == due:
            self._cross_break(due)
        else:
            self.fire("close_market", due, self.called_off)
        return True

    def fire(self, trigger: str, due: datetime, reason: str | None = None, *, roll_owed: bool = False) -> None:
        """Take one edge, with all that it entails.

        Raises:
            IllegalTransition: there is no such edge. Nothing has changed.
        """
        source, now = self.state, self.last_reading
        dest = self.state = dest_of(source, trigger, roll_owed=roll_owed)
        if dest is ACTIVE:
            if source is PRE_MARKET:
                self.staleness.open(now.monotonic)
                if self.feeds is not None:
                    self.feeds.open(now.monotonic)
                if self.halted is not None:
                    self._suspend()
            else:
                self.staleness.go_live(now.monotonic)
        elif dest is TIMEOUT:
            self.staleness.go_stale(now.monotonic)
        else:
            over = dest is POST_MARKET or dest is ENDED
            self.staleness.end(over=over)
            if self.feeds is not None:
                self.feeds.end(over=over)
            self.on_break = False
            self.ended = self.ended or dest is ENDED
            if dest is NOT_STARTED:
                self.breaks_passed = 0
        self.reason = reason if dest is SessionState.ERROR or dest is TIMEOUT else None
        self._reckon()
        catch_up = self._is_catch_up(due)
        self.emit(
            StateChanged(source, dest, trigger, self.session.date, due, now.wall, catch_up, reason, name=self.name)
        )
        if (dest is POST_MARKET or dest is ENDED) and (self.halted is not None or self.feeds is not None):
            self._lift_halts()

    # ---- halts ----

    def halt(self, reason: str) -> None:
        """Halt trading: no data is expected, until `resume` or the close."""
        self.halted = reason
        self._suspend()
        self.emit(Halted(reason, self.session.date, None, self.last_reading.wall, name=self.name))

    def resume(self, *, lapsed: bool = False) -> None:
        """End the halt; data is expected again, and its silence is timed from here."""
        self.halted = None
        if (self.state is ACTIVE or self.state is TIMEOUT) and not self.on_break:
            self._expect()
        self.emit(Resumed(self.session.date, None, lapsed, self.last_reading.wall, name=self.name))

    def halt_feed(self, feed: FeedState, reason: str) -> None:
        """Halt one feed: no data is expected of it, and it does not count."""
        self.make_feeds().halt(feed, reason, self.last_reading.monotonic)
        self.emit(Halted(reason, self.session.date, feed.name, self.last_reading.wall, name=self.name))

    def resume_feed(self, feed: FeedState, *, lapsed: bool = False) -> None:
        """End the halt of one feed."""
        self.make_feeds().resume(feed, self.last_reading.monotonic)
        self.emit(Resumed(self.session.date, feed.name, lapsed, self.last_reading.wall, name=self.name))

    def _lift_halts(self) -> None:
        """Let no halt survive the close."""
        if self.halted is not None:
            self.resume(lapsed=True)
        for feed in () if self.feeds is None else self.feeds.halted:
            self.resume_feed(feed, lapsed=True)

    def _expect(self) -> None:
        self.staleness.expect(self.last_reading.monotonic)
        if self.feeds is not None:
            self.feeds.expect(self.last_reading.monotonic)

    def _suspend(self) -> None:
        self.staleness.suspend(self.last_reading.monotonic)
        if self.feeds is not None:
            self.feeds.suspend()

    # ---- what is due ----

    def _next_break(self) -> datetime | None:
        """Return the next start or end of a break that is still to be delivered."""
        number, second = divmod(self.breaks_passed, 2)
        breaks = self.session.breaks
        return breaks[number][second] if number < len(breaks) else None

    def _cross_break(self, due: datetime) -> None:
        now = self.last_reading
        self.breaks_passed += 1
        self.on_break = not self.on_break
        kind: type[BreakStarted | BreakEnded]
        if self.on_break:
            kind = BreakStarted
            self._suspend()
        else:
            kind = BreakEnded
            if self.halted is None:
                self._expect()
        self._reckon()
        self.emit(kind(self.session.date, due, now.wall, self._is_catch_up(due), name=self.name))

    def _listen(self) -> bool:
        """Find a feed stale, go TIMEOUT, come back from it, or give up on it, whichever is due."""
        staleness, feeds, now = self.staleness, self.feeds, self.last_reading
        due: timedelta | None
        if feeds:
            verdict = feeds.says_timeout
            # What the feeds say by now comes before the next of them, however late the look.
            if (staleness.stale or not verdict) and (found := feeds.due(now.monotonic)) is not None:
                self._tell_stale(*found)
                return True
            back, due = not verdict, feeds.since if verdict else None
        else:
            # Without a data_timeout nobody watches any more, once the last feed has been removed.
            back = staleness.is_fresh(now.monotonic) or self.config.data_timeout is None
            due = staleness.deadline
        if staleness.stale:
            if back:
                self.fire("data_resumed", now.wall)
                return True
            due = staleness.deadline
        if due is None or now.monotonic < due:
            return False
        at = now.wall - (now.monotonic - due)
        if staleness.stale:
            limit = self.config.error_after_timeout
            self.fire("fail", at, f"no data for another {limit} after TIMEOUT (error_after_timeout)")
        else:
            self.fire("data_timeout", at, self._why_timeout())
        return True

    def _why_timeout(self) -> str:
        if self.feeds:
            stale = self.feeds.stale
            names = ", ".join(stale[:3]) + (", ..." if len(stale) > 3 else "")  # noqa: PLR2004 -- enough to see which
            reason, mute = f"{len(stale)} of {len(self.feeds)} feeds stale: {names}", self.feeds.all_mute
        else:
            reason, mute = f"no data for {self.config.data_timeout} (data_timeout)", self.staleness.is_mute
        return f"{reason}; none at all since the open: check the connection, and the calendar" if mute else reason

    def _tell_stale(self, feed: FeedState, due: timedelta) -> None:
        now, never = self.last_reading, self.make_feeds().is_mute(feed)
        reason = f"no data for {feed.timeout}"
        if feed.asked == due:
            reason += f"; {feed.denied or f'its probe did not answer within {feed.probe_timeout}'}"
        self.emit(
            FeedStale(
                feed.name,
                self.session.date,
                now.wall - (now.monotonic - due),
                now.wall,
                never,
                self.fresh_at(feed.arrival),
                reason,
                name=self.name,
            )
        )

    def fresh_at(self, arrival: float | None) -> datetime | None:
        """Return the wall instant of a monotonic second, as of the last look."""
        return (
            None
            if arrival is None
            else self.last_reading.wall - (self.last_reading.monotonic - timedelta(seconds=arrival))
        )

    def revive(self, feed: FeedState) -> None:
        """Tell that a stale feed is live again, where what came from it is fresh enough."""
        now = self.last_reading
        if feed.stale and feed.is_fresh and feed.arrival is not None:
            if timedelta(seconds=feed.arrival) + feed.timeout <= now.monotonic:
                return
            silent_for = self.make_feeds().revive(feed, now.monotonic)
            self.emit(FeedResumed(feed.name, self.session.date, silent_for, now.wall, name=self.name))

    @property
    def passed(self) -> datetime:
        """The wall instant up to which the session has been walked, or the last look, where that is later."""
        state, bounds, now = self.state, self.bounds, self.last_reading.wall
        if state is PRE_MARKET:
            return max(now, bounds.pre_market_start)
        if state is ACTIVE or state is TIMEOUT:
            number, second = divmod(self.breaks_passed - 1, 2)
            return max(now, bounds.open if self.breaks_passed == 0 else self.session.breaks[number][second])
        return max(now, bounds.close) if state is POST_MARKET else now

    def _is_catch_up(self, due: datetime) -> bool:
        """Tell whether an edge due then is walked only on the way to where the clock says that the session is."""
        return (
            self.called_off is not None
            or due < self.position.since
            or (self.catching_up and due < self.last_reading.wall)
        )
