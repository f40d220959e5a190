"""The anyio driver: ask the core, sleep, act, tell. It decides nothing.

One task drives any number of members off two heaps of deadlines, one for each clock; a manager run alone is the case of
one. Rolls run in child tasks, so that the driver stays responsive meanwhile. Whoever changes a member from outside
(always on the loop's own thread) calls `wake`, which ends the driver's sleep.
"""

import inspect
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from datetime import date, datetime, timedelta
from heapq import heappop, heappush
from math import inf
from typing import Final

import anyio
import anyio.lowlevel

from session_lifecycle.clock import Clock, Reading, read
from session_lifecycle.errors import (
    ClockFailed,
    HandlerTimeoutError,
    LifecycleError,
    RollTimeoutError,
    SubscriberOverrun,
    in_words,
)
from session_lifecycle.events import Event
from session_lifecycle.feed import Feed
from session_lifecycle.feeds import Watch
from session_lifecycle.handlers import Handler
from session_lifecycle.logs import LOGGER
from session_lifecycle.member import Member
from session_lifecycle.reentrancy import Section
from session_lifecycle.roll import Round
from session_lifecycle.stream import LIMIT

_BROKEN_CLOCK_SECONDS: Final = 1.0
"""How long to wait, by the event loop's own time, before a clock that has failed is asked again."""


class Driver:
    """Runs members in one task until `stop`, or until cancelled."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._members: dict[Member, None] = {}
        self._dirty: dict[Member, None] = {}  # a dict, because it keeps its order
        self._walls: list[tuple[datetime, int, Member]] = []
        self._monotonics: list[tuple[timedelta, int, Member]] = []
        self._pushes = 0
        self._nap: anyio.CancelScope | None = None
        self._stopping = False
        self._broken = False
        self._seen: Reading
        self._tasks: anyio.abc.TaskGroup

    async def run(self, member: Member, session: date | None, task_status: "anyio.abc.TaskStatus[None]") -> None:
        """Drive a member from its beginning until the driver is stopped."""
        try:
            self._seen = read(self._clock)
            member.begin(self._seen, session)
            member.tell()
            with ExitStack() as leaving:
                async with anyio.create_task_group() as self._tasks:
                    self._members[member] = self._dirty[member] = None
                    self._serve(self._seen)
                    task_status.started()
                    try:
                        while not self._stopping:
                            await self._turn()
                    finally:
                        leaving.enter_context(self._passing_time())
                    while any(m.attempt is not None for m in self._members):
                        await self._turn()
                    self._call_handlers(member)
                    member.broadcast.close()  # handlers may see to what they have been told; nothing more comes
        finally:
            member.end()

    def stop(self) -> None:
        """Leave as soon as the attempts under way have ended; begin no other."""
        self._stopping = True
        for member in self._members:
            member.lifecycle.stop()
            self.wake(member)

    def wake(self, member: Member) -> None:
        """Look at a member that was changed from outside."""
        self._dirty[member] = None
        if self._nap is not None:
            self._nap.cancel()

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

    async def _turn(self) -> None:
        """Sleep until something is due, then see to it."""
        before = self._seen
        try:
            if not self._dirty:
                await self._sleep()
            now = self.look()
        except ClockFailed as error:
            self._give_up(error)
            return
        self._broken = False
        woken = bool(self._dirty)
        self._collect(now)
        if now.step_since(before) is not None or not (woken or self._dirty):
            # The clock stepped, or woke early for a reason of its own: everybody has a look.
            self._dirty.update(self._members)
        self._serve(now)

    def _serve(self, now: Reading) -> None:
        """Bring every dirty member up to date, begin the rolls that are due, and file the new deadlines."""
        while self._dirty:
            member = next(iter(self._dirty))
            del self._dirty[member]
            member.lifecycle.poll(now)
            turn = member.lifecycle.due_roll(now)
            begun = turn is not None and member.begin_roll(turn, now)
            member.tell()
            self._call_handlers(member)
            for feed, asked in member.lifecycle.take_questions():
                self._tasks.start_soon(self._probe, member, feed, asked, name=f"probe of feed {feed.name}")
            if begun and turn is not None:
                member.attempt = anyio.CancelScope()
                self._tasks.start_soon(self._attempt, member, turn, member.attempt, name=f"roll to {turn.target.date}")
            elif member.attempt is not None and member.lifecycle.roll_expired:
                member.attempt.cancel()
            self._file(member)

    def _file(self, member: Member) -> None:
        wall, monotonic = member.lifecycle.deadlines
        self._pushes += 1
        if wall != member.wall:
            member.wall = wall
            if wall is not None:
                heappush(self._walls, (wall, self._pushes, member))
        if monotonic != member.monotonic:
            member.monotonic = monotonic
            if monotonic is not None:
                heappush(self._monotonics, (monotonic, self._pushes, member))

    def _collect(self, now: Reading) -> None:
        """Take every deadline that has come off the heaps."""
        while (wall := self._next_wall()) is not None and wall <= now.wall:
            member = heappop(self._walls)[2]
            member.wall = None
            self._dirty[member] = None
        while (monotonic := self._next_monotonic()) is not None and monotonic <= now.monotonic:
            member = heappop(self._monotonics)[2]
            member.monotonic = None
            self._dirty[member] = None

    def _next_wall(self) -> datetime | None:
        """Return the earliest deadline by the wall clock. One that its member has replaced is forgotten."""
        while self._walls and self._walls[0][2].wall != self._walls[0][0]:
            heappop(self._walls)
        return self._walls[0][0] if self._walls else None

    def _next_monotonic(self) -> timedelta | None:
        """Return the earliest deadline by the monotonic clock, likewise."""
        while self._monotonics and self._monotonics[0][2].monotonic != self._monotonics[0][0]:
            heappop(self._monotonics)
        return self._monotonics[0][0] if self._monotonics else None

    async def _sleep(self) -> None:
        """Sleep to the earliest deadline, or until woken. A clock that has failed is given a second to get well."""
        wall, elapsed = self._next_wall(), self._next_monotonic()
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
                raise ClockFailed(in_words(error)) from error
            finally:
                self._nap = None

    def _give_up(self, error: ClockFailed) -> None:
        """Put every member in ERROR: without a clock, nothing can be known."""
        self._broken = True
        self._dirty.clear()
        for member in self._members:
            member.lifecycle.fail(str(error), self._seen)
            member.tell()
            self._call_handlers(member)  # whoever is to be called in ERROR needs that most of all
            if self._stopping and member.attempt is not None:
                member.attempt.cancel()  # nobody could tell when its timeout has passed

    async def _attempt(self, member: Member, turn: Round, scope: "anyio.CancelScope") -> None:
        """Await the application's roll once and report what came of it."""
        error: BaseException | None = None
        try:
            with scope, Section(member):
                if not await self._was_rolled(member, turn):
                    outcome = member.roll_session(turn.target.date)
                    if inspect.isawaitable(outcome):
                        await outcome
                    else:
                        error = TypeError(f"roll_session returned {outcome!r}, which cannot be awaited: make it async")
        except Exception as failure:  # the application's own code
            error = failure
        except anyio.get_cancelled_exc_class() as cancelled:
            if not _takes_back_cancellation():
                raise
            error = cancelled
        finally:
            member.attempt = None
        if error is None and scope.cancelled_caught:
            error = RollTimeoutError(_seconds(turn))
        member.end_roll(turn, error, self.look_or_last())
        member.tell()
        self.wake(member)
        try:
            # Whoever cancelled this very task after its last await, natively, must not end the group by that.
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class():
            if not _takes_back_cancellation():
                raise

    def _call_handlers(self, member: Member) -> None:
        """Have the handlers called that are ready, if nobody sees to that already."""
        if member.ready and not member.dispatching:
            member.dispatching = True
            self._tasks.start_soon(self._dispatch, member, name="handlers")

    async def _dispatch(self, member: Member) -> None:
        """Start the handlers that are ready, one after the other, each up to its first wait."""
        try:
            while member.ready:
                handler = member.ready.popleft()
                if handler.overrun:
                    handler.overrun = False
                    member.handler_failed(handler, SubscriberOverrun(LIMIT), None, self.look_or_last())
                if handler.begin():
                    await self._tasks.start(self._handle, member, handler, name=f"handler {handler.label}")
        finally:
            member.dispatching = False

    async def _handle(self, member: Member, handler: Handler, *, task_status: "anyio.abc.TaskStatus[None]") -> None:
        """Call a handler for all the events that wait for it."""
        task_status.started()
        while (event := handler.take()) is not None:
            await anyio.lowlevel.checkpoint_if_cancelled()
            await self._call_handler(member, handler, event)

    async def _call_handler(self, member: Member, handler: Handler, event: Event) -> None:
        """Call a handler once; its failure is told, and concerns nobody else."""
        error = await self._guarded(handler, handler.label, handler.timeout, lambda: handler.function(event))
        if error is not None:
            member.handler_failed(handler, error, event, self.look_or_last())
            self.wake(member)

    async def _probe(self, member: Member, watch: Watch, asked: timedelta) -> None:
        """Ask the application whether a feed is alive; whatever goes wrong means that it is not."""
        assert isinstance(watch, Feed)
        feed, probe, answer = watch, watch.probe, False
        assert probe is not None

        async def ask() -> None:
            nonlocal answer
            answer = bool(await probe(feed))

        error = await self._guarded(feed, f"the probe of feed {feed.name}", feed.probe_timeout, ask)
        denied = None if answer else "its probe says that it is dead"
        if error is not None:
            LOGGER.warning(
                "%s: the probe of feed %s failed: %s", member.lifecycle.schedule.name, feed.name, in_words(error)
            )
            denied = (
                in_words(error) if isinstance(error, HandlerTimeoutError) else f"its probe failed: {in_words(error)}"
            )
        member.lifecycle.answer_probe(feed, asked, denied, self.look_or_last())
        member.tell()
        self.wake(member)

    async def _guarded(
        self, owner: object, label: str, limit: timedelta | None, call: Callable[[], Awaitable[object]]
    ) -> BaseException | None:
        """Await the application's code, for less than `limit` by the clock; return what it raised, or its timeout."""
        failure: BaseException | None = None
        late: LifecycleError | None = None
        done = False
        began = self.look_or_last().monotonic if limit is not None else timedelta(0)

        async def expire(limit: timedelta) -> None:
            nonlocal late
            try:
                await self._clock.sleep(limit)
            except Exception as error:  # the clock may be the application's own code
                verdict: LifecycleError = ClockFailed(in_words(error))  # nobody can tell when the time has passed
            else:
                verdict = HandlerTimeoutError(label, limit.total_seconds())
            if not done:
                late = verdict
                scope.cancel()

        try:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    if limit is not None:
                        tasks.start_soon(expire, limit)
                    failure = await _outcome_of(owner, label, call)
                    done = True
                    tasks.cancel_scope.cancel()
        except anyio.get_cancelled_exc_class() as cancelled:
            # Whoever cancelled this very task after its last await, natively, must not end the group by that.
            if not _takes_back_cancellation():
                raise
            failure = cancelled if failure is None else failure
        if failure is None and late is None and limit is not None and self.look_or_last().monotonic - began >= limit:
            late = HandlerTimeoutError(label, limit.total_seconds())  # it has blocked the event loop, for one
        return late if failure is None else failure

    async def _was_rolled(self, member: Member, turn: Round) -> bool:
        """Ask the application whether a roll that an earlier run may have completed has in fact happened."""
        if not turn.resumed or member.was_rolled is None:
            return False
        answer = member.was_rolled(turn.target.date)
        return bool(await answer if inspect.isawaitable(answer) else answer)

    def _passing_time(self) -> AbstractContextManager[object]:
        """Let a simulated clock jump by itself while leaving: nobody will advance it any more."""
        jumping: Callable[[], AbstractContextManager[object]] | None = getattr(self._clock, "jumping", None)
        return nullcontext() if jumping is None else jumping()


def _seconds(turn: Round) -> float:
    assert turn.expires_at is not None
    assert turn.started_at is not None
    return (turn.expires_at - turn.started_at).total_seconds()


async def _outcome_of(owner: object, label: str, call: Callable[[], Awaitable[object]]) -> BaseException | None:
    """Await the application's code and return what it raised; a cancellation that is the manager's own goes on."""
    try:
        with Section(owner):
            outcome = call()
            if inspect.isawaitable(outcome):
                await outcome
                return None
            return TypeError(f"{label} returned {outcome!r}, which cannot be awaited: make it async")
    except Exception as error:  # the application's own code
        return error
    except anyio.get_cancelled_exc_class() as cancelled:
        if not _takes_back_cancellation():
            raise
        return cancelled
    except BaseExceptionGroup as group:
        # On trio a task group hands on errors and cancellations together. The latter will come again.
        ours, errors = group.split(anyio.get_cancelled_exc_class())
        if ours is None or not isinstance(errors, Exception):
            raise
        return errors


def _takes_back_cancellation() -> bool:
    """Tell whether a cancellation just caught ends the attempt alone, and if so, take it back.

    The roll may have awaited a task that was cancelled elsewhere, or its own task may have been cancelled natively by
    somebody who found it. On asyncio that CancelledError would end the task group, and the manager, without a word. The
    manager is meant only where a scope around this task is cancelled: the driver's group is, once its host task is.
    """
    asyncio = sys.modules.get("asyncio")  # not imported here: who runs on trio need not load it
    try:
        task = None if asyncio is None else asyncio.current_task()
    except RuntimeError:  # trio, where nobody else's cancellation can arrive here
        return False
    if task is None or anyio.current_effective_deadline() == -inf:
        return False
    while task.cancelling():
        task.uncancel()
    return True
