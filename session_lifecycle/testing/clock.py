"""Simulated time for tests: a year passes in a second, and nothing sleeps."""

import asyncio
import gc
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final, cast

import anyio

from session_lifecycle._model.clock import as_utc, require_timedelta
from session_lifecycle._model.errors import (
    ConcurrentAdvanceError,
    NegativeAdvanceError,
    NeverSettledError,
    ReentrancyError,
)
from session_lifecycle._model.uncopyable import Uncopyable
from session_lifecycle._runtime.callbacks import TRANSACTION, inside
from session_lifecycle._runtime.home import Home, at_home

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_NEVER: Final = 2**62  # microseconds: fourteen times the range of datetime

# Where the ready queue is not found, one clean pass is no proof: the result of a task inside shield, gather,
# wait_for or a task group moves through callbacks of futures, one pass each, and meanwhile every task seems blocked.
_CLEAN_PASSES: Final = 5
_MAX_PASSES: Final = 100_000
_EXACT_PASSES: Final = 1_000  # then a callback that schedules itself again and again fills the queue: scan the tasks


class SimulatedClock(Uncopyable):
    """A `Clock` whose time passes only when the test advances it.

    `start` is the wall time at the beginning; `monotonic()` starts at 0.0 seconds. Time is kept in whole microseconds,
    and each sleeper wakes exactly at its deadline.

    With `autojump` time also passes by itself: whenever every task is blocked, it jumps to the next deadline. One of
    the sleeping tasks makes the jump; there is no background task.

    Time passes to the next deadline only when it has settled, which means that every other task is blocked:

    * On trio, on asyncio's own event loops and on uvloop this is exact: one pass of the loop that leaves its queue of
      callbacks empty. The cost does not depend on the number of blocked tasks.
    * On other loops of asyncio (qasync), whose queue is not found, it is several consecutive passes in which every task
      waits on a pending future. Each pass scans all tasks, and a result that is passed through a longer chain of bare
      futures or `call_soon`s arrives too late.

    Limits:

    * Only this clock is simulated: `datetime.now()`, `anyio.sleep` and `anyio.fail_after` use real time. A task that
      waits for the outside (a socket, a thread, a bare `anyio.sleep`) counts as blocked, and simulated time passes
      without it; so does a callback of the event loop that schedules itself again and again. Use `clock.sleep` for a
      wait in simulated time.
    * A task that never blocks stops simulated time. On asyncio the task that passes the time, in `advance` or in a
      sleep with autojump, then raises `NeverSettledError`. On trio time just never passes.
    * `step` wakes its sleepers all at once, and trio runs such a batch in an arbitrary order.
    * Two clocks whose time passes at once in one event loop, in `advance` or by autojump, wait for each other; use one.

    A clock belongs to the event loop that it is first slept or advanced in. From then on it is advanced, stepped and
    slept by there only: another thread gets `WrongThreadError`, another loop `WrongLoopError`, and nothing changes. It
    may be read anywhere.

    Raises:
        NaiveDatetimeError: `start` has no time zone.
    """

    __module__ = "session_lifecycle.testing"

    def __init__(self, start: datetime, *, autojump: bool = False) -> None:
        self._elapsed = 0  # microseconds
        self._origin = _since_epoch(as_utc("start", start))  # the wall time at which `_elapsed` would be 0
        self._jumping = int(autojump)
        self._end: tuple[int, bool] | None = None  # that of the current advance, and whether it is by the wall clock
        self._jumper: _Sleeper | None = None
        # Sorted by deadline, then by registration. No entry is overdue.
        self._queue: list[tuple[int, int, _Sleeper]] = []
        self._registrations = count()
        self._holds = 0
        self._home: Home | None = None
        self._ready: deque[Any] | None = None  # the queue of its event loop, where that is found
        self._released = anyio.Event()

    def __repr__(self) -> str:
        return f"<SimulatedClock {self.now().isoformat()}, {self.monotonic():.6f} s after its start>"

    def now(self) -> datetime:
        """Return the simulated wall time in UTC."""
        return _EPOCH + timedelta(microseconds=self._origin + self._elapsed)

    def monotonic(self) -> float:
        """Return the simulated seconds that have passed; a step does not change them."""
        return self._elapsed / 1e6

    @at_home
    async def sleep_until(self, wall: datetime | None, monotonic: float | None) -> None:
        """Wait exactly until the earlier of the two, or until the wall clock steps. Infinity is the same as None.

        `wall` is an aware datetime, `monotonic` is in seconds; one between two microseconds is rounded up.

        Raises:
            NaiveDatetimeError: `wall` has no time zone.
            ReentrancyError: called in the block of `roll_transaction`, where no time passes, and the wait would be one.
        """
        due = _NEVER
        if wall is not None:
            due = _since_epoch(as_utc("wall", wall)) - self._origin
        if monotonic is not None and not monotonic >= _NEVER / 1e6:
            microseconds = round(monotonic * 1e6)
            due = min(due, microseconds + (microseconds / 1e6 < monotonic))
        await self._sleep(due, heeds_steps=True)

    @at_home
    async def sleep(self, delta: timedelta) -> None:
        """Wait until exactly `delta` has passed. Steps of the wall clock do not affect it.

        Raises:
            TypeError: `delta` is no timedelta.
            ReentrancyError: called in the block of `roll_transaction`, where no time passes, and the wait would be one.
        """
        require_timedelta("sleep", delta)
        await self._sleep(self._elapsed + delta // _MICROSECOND, heeds_steps=False)

    @at_home
    async def advance(self, delta: timedelta) -> None:
        """Let `delta` pass. On return everything due by then has happened, in order, one deadline at a time.

        Deadlines that are registered on the way are included. `advance(timedelta(0))` runs everything that is due
        now. After a cancellation the clock is at the last deadline reached and can be used again.

        Raises:
            NegativeAdvanceError: `delta` is below zero.
            ConcurrentAdvanceError: another task is advancing this clock.
            ReentrancyError: called from inside a roll or handler, which `advance` would wait for.
            NeverSettledError: a task never blocks (asyncio only); the clock is at the last deadline reached.
            OverflowError: the time would leave the range of datetime.
            TypeError: `delta` is no timedelta.
        """
        require_timedelta("advance", delta)
        self._may_advance(delta)
        await self._advance(self._elapsed + delta // _MICROSECOND, on_wall=False)

    @at_home
    async def advance_to(self, instant: datetime) -> None:
        """Let time pass until the wall clock reaches `instant`, as `advance` does. Steps on the way count.

        Raises:
            NaiveDatetimeError: `instant` has no time zone.
            NegativeAdvanceError: `instant` is in the past.
            Exception: as raised by `advance`.
        """
        instant = as_utc("instant", instant)
        self._may_advance(instant - self.now())
        await self._advance(_since_epoch(instant), on_wall=True)

    @at_home
    def step(self, delta: timedelta) -> None:
        """Step the wall clock by `delta`, forward or back, as NTP or an operator does. No time passes.

        Wakes every task in `sleep_until`. Tasks in `sleep` are not affected.

        Raises:
            OverflowError: the time would leave the range of datetime.
            TypeError: `delta` is no timedelta.
        """
        require_timedelta("step", delta)
        _ = self.now() + delta  # raises OverflowError while nothing has changed
        self._origin += delta // _MICROSECOND
        stepped = [entry for entry in self._queue if entry[2].heeds_steps]
        self._queue = [entry for entry in self._queue if not entry[2].heeds_steps]
        for _, _, sleeper in stepped:
            sleeper.wake()

    def idle_for(self) -> timedelta | None:
        """Return the time until the next deadline or the end of the current advance, or None where there is neither.

        A simulated market can skip messages that arrive while every task sleeps.
        """
        ahead = min(self._queue[0][0] if self._queue else _NEVER, self._goal)
        return None if ahead >= _NEVER else timedelta(microseconds=ahead - self._elapsed)

    @at_home
    @contextmanager
    def jumping(self) -> Generator[None]:
        """Enable autojump inside the block, for all tasks. May be nested.

        A driver uses it while it stops, so that no task waits for an advance that does not come.
        """
        self._jumping += 1
        self._hand_over()
        try:
            yield
        finally:
            self._jumping -= 1

    @at_home
    @contextmanager
    def holding(self) -> Generator[None]:
        """Let no time pass inside the block, which waits for something real, such as a database. May be nested.

        A manager uses it while something is being made durable, and in the block of `roll_transaction()`: `advance`
        waits for that in real time. To sleep by this clock inside the block is refused, since it would never end.
        """
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            if not self._holds:
                self._released.set()
                self._released = anyio.Event()
                if self._jumper is not None:
                    self._jumper.kick()

    def _may_advance(self, delta: timedelta) -> None:
        if delta < timedelta(0):
            raise NegativeAdvanceError(delta.total_seconds())
        if inside():
            call = "SimulatedClock.advance()"
            raise ReentrancyError(call)
        if self._end is not None:
            raise ConcurrentAdvanceError
        _ = self.now() + delta  # raises OverflowError while nothing has changed

    def _settle_down(self) -> None:
        """Belong to this event loop, unless it belongs to one already."""
        if self._home is None:
            self._home = Home()
            self._ready = _ready_queue()

    async def _advance(self, end: int, *, on_wall: bool) -> None:
        self._settle_down()
        self._end = end, on_wall
        try:
            while True:
                await self._settle()
                until = self._goal
                if not self._pass_to_next(until):
                    if until == self._elapsed:
                        return
                    self._elapsed = until
        finally:
            self._end = None
            self._hand_over()

    @property
    def _goal(self) -> int:
        """The end of the current advance in elapsed microseconds, or never where there is none."""
        if self._end is None:
            return _NEVER
        end, on_wall = self._end
        # A step on the way moves `_origin`, possibly beyond the end of advance_to().
        return max(self._elapsed, end - self._origin if on_wall else end)

    def _pass_to_next(self, until: int) -> bool:
        """Move time to the next deadline and wake its first sleeper. Return False if no deadline is due by `until`.

        It never wakes two at once, because trio would run them in an arbitrary order.
        """
        if not self._queue or self._queue[0][0] > until:
            return False
        self._elapsed, _, sleeper = self._queue.pop(0)
        sleeper.wake()
        return True

    async def _sleep(self, due: int, *, heeds_steps: bool) -> None:
        self._settle_down()
        if due <= self._elapsed:
            await anyio.lowlevel.checkpoint()
            return
        if self._holds and inside(TRANSACTION):
            call = "a sleep by the SimulatedClock in the block of roll_transaction(), where no time passes,"
            raise ReentrancyError(call)
        me = _Sleeper(heeds_steps=heeds_steps)
        entry = (due, next(self._registrations), me)
        insort(self._queue, entry)
        try:
            while not me.woken:
                if self._jumper is None and self._should_jump():
                    await self._jump(me)
                else:
                    await me.wait(anyio.Event() if self._ready is None else _Signal())
        finally:
            if not me.woken:
                del self._queue[bisect_left(self._queue, entry)]
            self._hand_over()

    def _should_jump(self) -> bool:
        """Whether autojump is enabled, no advance is under way, and there is a deadline to jump to."""
        return self._jumping > 0 and self._end is None and bool(self._queue) and self._queue[0][0] < _NEVER

    def _hand_over(self) -> None:
        """Wake the first sleeper to make the jumps, if time should jump and no sleeper does so yet."""
        if self._jumper is None and self._should_jump():
            self._queue[0][2].kick()

    async def _jump(self, me: "_Sleeper") -> None:
        """Wake other sleepers at their deadlines until `me` is woken or time should not jump.

        It stops as soon as an advance begins, because the advance waits until every task is blocked, also this one.
        """
        self._jumper = me
        try:
            while not me.woken and self._should_jump():
                await self._settle(jumper=me)
                if not me.woken and self._should_jump():
                    self._pass_to_next(_NEVER - 1)
        finally:
            self._jumper = None

    async def _settle(self, jumper: "_Sleeper | None" = None) -> None:
        """Wait until every other task is blocked and nothing holds the clock, or until `jumper` need not jump."""
        while True:
            if self._ready is None and _asyncio_task() is None:
                await anyio.wait_all_tasks_blocked()
            else:
                await self._settle_tasks(jumper)
            if not self._holds or (jumper is not None and (jumper.woken or not self._should_jump())):
                return
            # A jumper is woken by a step, too.
            await (self._released.wait() if jumper is None else jumper.wait(anyio.Event()))

    async def _settle_tasks(self, jumper: "_Sleeper | None") -> None:
        # Not anyio's wait_all_tasks_blocked(): on asyncio it sleeps for 0.1 real seconds between two passes.
        ready = self._ready
        passes = clean = 0
        while True:
            await asyncio.sleep(0)
            if jumper is not None and (jumper.woken or not self._should_jump()):
                return
            passes += 1
            if ready is not None and not ready:
                return
            # (The lesser of the two: a busy task is named after _MAX_PASSES, whichever way it is found.)
            if ready is None or passes >= min(_EXACT_PASSES, _MAX_PASSES):
                busy = _busy_task()
                clean = clean + 1 if busy is None else 0
                if clean == _CLEAN_PASSES:
                    return
                if passes >= _MAX_PASSES and busy is not None:
                    raise NeverSettledError(busy.get_name(), passes)


class _Sleeper:
    """A task that waits for its deadline. `wake` ends its sleep; `kick` makes it check whether to jump."""

    __slots__ = ("_event", "heeds_steps", "woken")

    def __init__(self, *, heeds_steps: bool) -> None:
        self.heeds_steps = heeds_steps
        self.woken = False
        self._event: anyio.Event | _Signal | None = None  # while it waits

    def wake(self) -> None:
        self.woken = True
        self.kick()

    def kick(self) -> None:
        if self._event is not None:
            self._event.set()

    async def wait(self, event: "anyio.Event | _Signal") -> None:
        self._event = event
        await event.wait()
        self._event = None


class _Signal:
    """What of an event of asyncio one sleeper needs, which is a future, at a third of what `anyio.Event` takes."""

    __slots__ = ("_future",)

    def __init__(self) -> None:
        self._future = asyncio.get_running_loop().create_future()

    def set(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    def wait(self) -> asyncio.Future[None]:
        return self._future


def _asyncio_task() -> asyncio.Task[Any] | None:
    """Return the current task, or None on trio, also where that is a guest of an asyncio loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:  # no asyncio loop is running
        return None


def _ready_queue() -> deque[Any] | None:
    """Return the queue of all callbacks that asyncio's loop runs next, or None where it is not found, and on trio.

    After `asyncio.sleep(0)` an empty queue proves that every other task is blocked: a step of a task, a callback of a
    future and an expired timer each pass through it, and the loop polls its sockets and timers before that sleep ends.
    """
    if _asyncio_task() is None:
        return None
    # There is no public way. It is the deque of the loop in which a new callback is found: a loop with a call_soon()
    # of its own (qasync) inherits a queue and does not use it.
    loop = asyncio.get_running_loop()
    probe = loop.call_soon(_nothing)
    for each in gc.get_referents(loop, getattr(loop, "__dict__", None)):
        if isinstance(each, deque) and probe in each:
            return each  # pyright: ignore[reportUnknownVariableType] -- of handles, which are not typed
    return None


def _nothing() -> None: ...


def _busy_task() -> asyncio.Task[Any] | None:
    """Return a task of this loop, other than the current one, that is not blocked, or None."""
    this = asyncio.current_task()
    for task in asyncio.all_tasks():
        if task is not this:
            # Private, but there is no public way, and anyio's wait_all_tasks_blocked() relies on it too.
            waiter = cast("asyncio.Future[Any] | None", task._fut_waiter)  # type: ignore[attr-defined]  # noqa: SLF001  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] -- asyncio tells it nowhere else
            if waiter is None or waiter.done():
                return task
    return None


def _since_epoch(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND
