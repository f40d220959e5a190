"""The anyio driver: ask the core, sleep, act, tell. It decides nothing.

One task drives any number of members off two heaps of deadlines, one for each clock; a manager run alone is the case of
one. Rolls run in child tasks, so that the driver stays responsive meanwhile. Whoever changes a member from outside
(always on the loop's own thread) calls `wake`, which ends the driver's sleep.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Final

import anyio
import anyio.abc
import anyio.lowlevel

from session_lifecycle._core.feeds import FeedState
from session_lifecycle._core.lifecycle import Cohort
from session_lifecycle._core.rolls import RollRound
from session_lifecycle._model.clock import Clock, Reading, read
from session_lifecycle._model.errors import (
    ClockFailed,
    HandlerTimeoutError,
    RollTimeoutError,
    SubscriberOverrun,
    describe,
)
from session_lifecycle._model.events import Event
from session_lifecycle._runtime.callbacks import Section, guarded, takes_back_cancellation
from session_lifecycle._runtime.cohorts import keep_step
from session_lifecycle._runtime.event_log import LOGGER
from session_lifecycle._runtime.feed import Feed
from session_lifecycle._runtime.handlers import Handler
from session_lifecycle._runtime.host import DRIVEN, LEAVING, Member
from session_lifecycle._runtime.subscriptions import LIMIT, Broadcast, in_time_order
from session_lifecycle._runtime.timer_queue import Deadlines

_BROKEN_CLOCK_SECONDS: Final = 1.0
"""How long to wait, by the event loop's own time, before a clock that has failed is asked again."""

_MOST_COHORTS: Final = 1_000


class Driver:
    """Runs members in one task until the last has left, or until cancelled.

    Args:
        clock: what all of them go by.
        lasting: go on where no member is left, until `stop`: others may come.
        max_concurrent_rolls: so many rolls are awaited at a time, at most; the others wait their turn. None: all.
        broadcast: whoever hears of the events of all members.
        left: called when a member has left, and is over.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        lasting: bool = False,
        max_concurrent_rolls: int | None = None,
        broadcast: Broadcast | None = None,
        left: Callable[[Member], None] | None = None,
    ) -> None:
        self._clock = clock
        self._lasting = lasting
        self._most_rolls = max_concurrent_rolls
        self._broadcast = broadcast
        self._left = left
        self._members: dict[Member, None] = {}
        self._ending: dict[Member, None] = {}  # they have left, and something of theirs still runs
        self._dirty: dict[Member, None] = {}  # a dict, because it keeps its order
        self._walls: Deadlines[Member, datetime] = Deadlines(attrgetter("wall"))
        self._monotonics: Deadlines[Member, timedelta] = Deadlines(attrgetter("monotonic"))
        self._cohorts: dict[Cohort | None, Cohort | None] = {}
        self._rolls = 0  # so many are awaited
        self._queue: dict[Member, None] = {}  # whose rolls are due, and wait their turn
        self._untold: list[Sequence[Event]] | None = None  # what members have told in this turn; None between turns
        self._nap: anyio.CancelScope | None = None
        self._stopping = False
        self._broken = False
        self._seen: Reading
        self._tasks: anyio.abc.TaskGroup

    async def run(self, members: Iterable[Member], task_status: "anyio.abc.TaskStatus[None]") -> None:
        """Drive members from their beginning until they have left, or, where it is to last, until `stop`.

        Raises:
            LifecycleError: a member cannot begin. All of them have ended then.
        """
        members = tuple(members)
        try:
            self.look()
            for member in members:
                self._begin(member)
            with ExitStack() as leaving:
                async with anyio.create_task_group() as self._tasks:
                    self._serve(self._seen)
                    task_status.started()
                    try:
                        while not self._stopping:
                            await self._turn()
                    finally:
                        leaving.enter_context(self.passing_time())
                    while self._members:
                        await self._turn()
        finally:
            for member in dict.fromkeys((*members, *self._members, *self._ending)):
                self._end(member)

    def add(self, member: Member) -> None:
        """Take in a member while running. On return it has caught up as far as that goes without a roll.

        Raises:
            LifecycleError: it cannot begin. It has ended then, and nothing else is affected.
        """
        try:
            self.look()
            self._begin(member)
        except BaseException:
            member.end()
            raise
        self.wake(member)

    def stop(self) -> None:
        """Have all leave, and do not last any longer."""
        self._stopping = True
        for member in self._members:
            self.leave(member)
        self._end_nap()

    def leave(self, member: Member) -> None:
        """Have a member leave as soon as its attempt under way, if any, has ended; begin no other."""
        if not member.driven:
            return
        if not self._lasting:
            self._stopping = True
        member.stage = LEAVING
        member.lifecycle.stop()
        self.wake(member)

    def wake(self, member: Member) -> None:
        """Look at a member that was changed from outside."""
        self._dirty[member] = None
        self._end_nap()

    @property
    def stopping(self) -> bool:
        """Whether all are leaving, so that nobody can come any more."""
        return self._stopping

    def look(self) -> Reading:
        """Read the clock; where it fails, raise `ClockFailed`."""
        self._seen = read(self._clock)
        return self._seen

    def look_or_last(self) -> Reading:
        """Read the clock; where it fails, go by the last time that it did not."""
        try:
            return self.look()
        except ClockFailed:
            return self._seen

    def tell(self, member: Member) -> None:
        """Log and hand out what has happened to a member."""
        self._hand_on(member.tell())

    def passing_time(self) -> AbstractContextManager[object]:
        """Let a simulated clock jump by itself while somebody is leaving: nobody may advance it meanwhile."""
        jumping: Callable[[], AbstractContextManager[object]] | None = getattr(self._clock, "jumping", None)
        return nullcontext() if jumping is None else jumping()

    # ---- turns ----

    def _begin(self, member: Member) -> None:
        member.begin(self._seen)
        member.stage = DRIVEN
        self._members[member] = self._dirty[member] = None
        self.tell(member)

    async def _turn(self) -> None:
        """Sleep until something is due, then see to it."""
        before = self._seen  # a step since then is news to everybody, whoever looks meanwhile
        try:
            if not self._dirty:
                await self._sleep()
            now = self.look()
        except ClockFailed as error:
            self._give_up(error)
            return
        self._broken = False
        for member in self._monotonics.take(now.monotonic):
            member.monotonic = None
            self._dirty[member] = None
        alike: list[Member] = []
        for member in self._walls.take(now.wall):
            member.wall = None
            if member.cohort is None or member in self._dirty:
                self._dirty[member] = None
            else:
                alike.append(member)
        if now.step_since(before) is not None or not (self._dirty or alike):
            # The clock stepped, or woke early for a reason of its own: everybody has a look.
            self._dirty.update(self._members)
            alike = []
        self._serve(now, alike)

    def _serve(self, now: Reading, alike: Iterable[Member] = ()) -> None:
        """Bring members up to date, begin the rolls that are due, and file the new deadlines."""
        self._untold = []
        self._keep_step(now, alike)
        while self._dirty:
            dirty, self._dirty = self._dirty, {}
            for member in dirty:
                if member.driven:
                    self._bring_up(member, now)
        untold, self._untold = self._untold, None
        if untold and self._broadcast is not None:
            self._broadcast.publish_all(in_time_order(untold))

    def _keep_step(self, now: Reading, alike: Iterable[Member]) -> None:
        """See to members that may be alike, cohort by cohort; whoever is not is left to be seen to by himself."""
        for lead in keep_step(alike, now):
            self._hand_on(lead.told)
            self._dirty.update(dict.fromkeys(lead.apart))
            for member in lead.heard:
                self._call_handlers(member)
            if lead.wall is not None:
                self._walls.file_all(lead.wall, lead.followers)
            if lead.monotonic is not None:
                self._monotonics.file_all(lead.monotonic, lead.moved)

    def _bring_up(self, member: Member, now: Reading) -> None:
        lifecycle = member.lifecycle
        lifecycle.poll(now)
        roll = lifecycle.due_roll(now)
        if roll is None:
            self._queue.pop(member, None)
        elif not (self._may_roll(member) and member.begin_roll(roll, now)):
            roll = None
        if lifecycle.has_events:
            self.tell(member)
        if member.ready:
            self._call_handlers(member)
        for feed, asked in lifecycle.take_questions():
            self._spawn(member, self._probe, feed, asked, name=f"probe of feed {feed.name}")
        if roll is not None:
            member.attempt = anyio.CancelScope()
            self._rolls += 1
            self._spawn(member, self._attempt, roll, member.attempt, name=f"roll to {roll.target.date}")
        elif member.attempt is not None and lifecycle.roll_expired:
            member.attempt.cancel()
        if self._queue:
            self._call_up()
        if member.stage is LEAVING and member.attempt is None:
            self._let_go(member)
        else:
            self._file(member)

    def _may_roll(self, member: Member) -> bool:
        """Tell whether a roll that is due may begin. Otherwise it waits its turn: first come, first served."""
        queue = self._queue
        if self._most_rolls is None:
            return True
        if self._rolls < self._most_rolls and next(iter(queue), member) is member:
            queue.pop(member, None)
            return True
        queue[member] = None
        return False

    def _call_up(self) -> None:
        """Have a look at the first of those that wait to roll, where there is room for it."""
        if self._queue and self._most_rolls is not None and self._rolls < self._most_rolls:
            self._dirty[next(iter(self._queue))] = None

    def _file(self, member: Member) -> None:
        member.cohort = self._shared(member.lifecycle.cohort)
        wall, monotonic = member.lifecycle.deadlines
        if wall != member.wall:
            member.wall = wall
            if wall is not None:
                self._walls.file(wall, member)
        if member in self._queue:
            monotonic = None  # its attempt has been due for long
        if monotonic != member.monotonic:
            member.monotonic = monotonic
            if monotonic is not None:
                self._monotonics.file(monotonic, member)

    def _shared(self, cohort: Cohort | None) -> Cohort | None:
        """Return one object for equal cohorts: thousands hold it."""
        if len(self._cohorts) > _MOST_COHORTS:
            self._cohorts.clear()  # sessions come and go
        return self._cohorts.setdefault(cohort, cohort)

    def _let_go(self, member: Member) -> None:
        """Have a member leave; its handlers may see to what they have been told, but nothing more comes."""
        del self._members[member]
        self._queue.pop(member, None)
        member.wall = member.monotonic = None
        member.close()
        if member.tasks:
            self._ending[member] = None
        else:
            self._end(member)

    def _end(self, member: Member) -> None:
        member.end()
        if self._left is not None:
            self._left(member)

    async def _sleep(self) -> None:
        """Sleep to the earliest deadline, or until woken. A clock that has failed is given a second to get well."""
        wall, elapsed = self._walls.earliest(), self._monotonics.earliest()
        monotonic = None if elapsed is None else elapsed.total_seconds()
        with anyio.CancelScope() as scope:
            self._nap = scope
            try:
                if self._broken:
                    await anyio.sleep(_BROKEN_CLOCK_SECONDS)
                    return
                await self._clock.sleep_until(wall, monotonic)
            except ClockFailed:
                raise
            except Exception as error:  # the clock may be the application's own code
                raise ClockFailed(describe(error)) from error
            finally:
                self._nap = None

    def _end_nap(self) -> None:
        if self._nap is not None:
            self._nap.cancel()

    def _give_up(self, error: ClockFailed) -> None:
        """Put every member in ERROR: without a clock, nothing can be known."""
        self._broken = True
        self._dirty.clear()
        for member in tuple(self._members):
            member.lifecycle.fail(str(error), self._seen)
            self.tell(member)
            self._call_handlers(member)  # whoever is to be called in ERROR needs that most of all
            if member.stage is LEAVING:
                if member.attempt is not None:
                    member.attempt.cancel()  # nobody could tell when its timeout has passed
                else:
                    self._let_go(member)

    def _hand_on(self, events: Sequence[Event]) -> None:
        """Tell those who hear of all members: at the end of the turn, so that they hear in the order of time."""
        if self._broadcast is None or not events:
            return
        if self._untold is not None:
            self._untold.append(events)
        else:
            for event in events:
                self._broadcast.publish(event)

    # ---- the application's code ----

    def _spawn(self, member: Member, function: Callable[..., Awaitable[None]], *args: object, name: str) -> None:
        """Run something of a member in a task of its own. The member has not ended before that has."""
        member.tasks += 1
        self._tasks.start_soon(self._counted, member, function, args, name=name)

    async def _counted(self, member: Member, function: Callable[..., Awaitable[None]], args: Sequence[object]) -> None:
        try:
            await function(member, *args)
        finally:
            self._done(member)

    def _done(self, member: Member) -> None:
        """Count down the tasks of a member; the last one ends a member that has left."""
        member.tasks -= 1
        if not member.tasks and member in self._ending:
            del self._ending[member]
            self._end(member)

    async def _attempt(self, member: Member, roll: RollRound, scope: "anyio.CancelScope") -> None:
        """Await the application's roll once and report what came of it."""
        error: BaseException | None = None
        try:
            with scope, Section(member):
                if not await self._was_rolled(member, roll):
                    outcome = member.roll_session(roll.target.date)
                    if inspect.isawaitable(outcome):
                        await outcome
                    else:
                        error = TypeError(f"roll_session returned {outcome!r}, which cannot be awaited: make it async")
        except Exception as failure:  # the application's own code
            error = failure
        except anyio.get_cancelled_exc_class() as cancelled:
            if not takes_back_cancellation():
                raise
            error = cancelled
        finally:
            member.attempt = None
            self._rolls -= 1
        if error is None and scope.cancelled_caught:
            error = RollTimeoutError(_seconds(roll))
        member.end_roll(roll, error, self.look_or_last())
        self.tell(member)
        self.wake(member)
        if self._queue:
            self.wake(next(iter(self._queue)))
        try:
            # Whoever cancelled this very task after its last await, natively, must not end the group by that.
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class():
            if not takes_back_cancellation():
                raise

    async def _was_rolled(self, member: Member, roll: RollRound) -> bool:
        """Ask the application whether a roll that an earlier run may have completed has in fact happened."""
        if not roll.resumed or member.was_rolled is None:
            return False
        answer = member.was_rolled(roll.target.date)
        return bool(await answer if inspect.isawaitable(answer) else answer)

    def _call_handlers(self, member: Member) -> None:
        """Have the handlers called that are ready, if nobody sees to that already."""
        if member.ready and not member.dispatching:
            member.dispatching = True
            self._spawn(member, self._dispatch, name="handlers")

    async def _dispatch(self, member: Member) -> None:
        """Start the handlers that are ready, one after the other, each up to its first wait."""
        ready = member.ready
        try:
            while ready:
                handler = ready.popleft()
                if handler.overrun:
                    handler.overrun = False
                    self._handler_failed(member, handler, SubscriberOverrun(LIMIT), None)
                if handler.begin():
                    member.tasks += 1
                    await self._tasks.start(self._handle, member, handler, name=f"handler {handler.label}")
        finally:
            member.dispatching = False

    async def _handle(self, member: Member, handler: Handler, *, task_status: "anyio.abc.TaskStatus[None]") -> None:
        """Call a handler for all the events that wait for it."""
        try:
            task_status.started()
            while (event := handler.take()) is not None:
                await anyio.lowlevel.checkpoint_if_cancelled()
                await self._call_handler(member, handler, event)
        finally:
            self._done(member)

    async def _call_handler(self, member: Member, handler: Handler, event: Event) -> None:
        """Call a handler once; its failure is told, and concerns nobody else."""
        error = await guarded(
            handler,
            handler.label,
            handler.timeout,
            lambda: handler.function(event),
            clock=self._clock,
            look=self.look_or_last,
        )
        if error is not None:
            self._handler_failed(member, handler, error, event)
            self.wake(member)

    def _handler_failed(self, member: Member, handler: Handler, error: BaseException, cause: Event | None) -> None:
        self._hand_on(member.handler_failed(handler, error, cause, self.look_or_last()))

    async def _probe(self, member: Member, watch: FeedState, asked: timedelta) -> None:
        """Ask the application whether a feed is alive; whatever goes wrong means that it is not."""
        assert isinstance(watch, Feed)
        feed, probe, answer = watch, watch.probe, False
        assert probe is not None

        async def ask() -> None:
            nonlocal answer
            answer = bool(await probe(feed))

        error = await guarded(
            feed,
            f"the probe of feed {feed.name}",
            feed.probe_timeout,
            ask,
            clock=self._clock,
            look=self.look_or_last,
        )
        denied = None if answer else "its probe says that it is dead"
        if error is not None:
            LOGGER.warning(
                "%s: the probe of feed %s failed: %s", member.lifecycle.schedule.name, feed.name, describe(error)
            )
            denied = (
                describe(error) if isinstance(error, HandlerTimeoutError) else f"its probe failed: {describe(error)}"
            )
        member.lifecycle.answer_probe(feed, asked, denied, self.look_or_last())
        self.tell(member)
        self.wake(member)


def _seconds(roll: RollRound) -> float:
    assert roll.expires_at is not None
    assert roll.started_at is not None
    return (roll.expires_at - roll.started_at).total_seconds()
