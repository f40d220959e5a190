"""Simulated time, for people's own tests as much as for ours: a year passes in a second, and nothing sleeps."""

import asyncio
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final, cast

import anyio
import anyio.lowlevel

from session_lifecycle._model.clock import as_utc
from session_lifecycle._model.errors import (
    ConcurrentAdvanceError,
    NegativeAdvanceError,
    NeverSettledError,
    ReentrancyError,
)
from session_lifecycle._runtime import callbacks as reentrancy

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_NEVER: Final = 2**62  # microseconds: fourteen times what lies between datetime.min and datetime.max

# Where the ready queue is hidden (uvloop), one clean pass is no proof: the result of a task inside shield, gather,
# wait_for or a task group moves through callbacks of futures, one pass each, and meanwhile every task seems blocked.
_CLEAN_PASSES: Final = 5
_MAX_PASSES: Final = 100_000
_NAMING_PASSES: Final = 10  # how many more a ready queue that never empties gets, to find a task to name


class SimulatedClock:
    """A `Clock` whose time passes only when told to.

    `start` is the wall time at the beginning; `monotonic()` starts at 0.0. Time is kept in whole microseconds, and each
    sleeper wakes exactly at its deadline.

    With `autojump` time also passes by itself: whenever every task is blocked it jumps to the next deadline. No task
    runs in the background for that: one of the sleeping tasks does it.

    Where it misleads:

    * Only this clock is simulated: `datetime.now()`, `anyio.sleep` and `anyio.fail_after` go by real time. What waits
      on the outside (a socket, a thread, a bare `anyio.sleep`) counts as blocked, and simulated time passes over its
      head: a wait that is to take simulated time belongs in `clock.sleep`.
    * A task that is never blocked stops simulated time. On asyncio that is a `NeverSettledError`, raised by whoever was
      passing the time: `advance`, or with autojump a sleep. On trio time just never passes.
    * "Blocked" is exact on trio, and on asyncio where the event loop shows its ready queue, as asyncio's own loops do.
      On uvloop it is several passes of the loop in which every task waits on a pending future: a result that is handed
      through a longer chain of bare futures or `call_soon`s arrives too late there.
    * `step` wakes its sleepers all at once, and trio runs such a batch in an order of its own.
    * Two clocks with autojump in one event loop wait for each other; use one.

    One clock serves one event loop, from the loop's own thread.

    Raises:
        NaiveDatetimeError: `start` has no time zone.
    """

    __module__ = "session_lifecycle.testing"

    def __init__(self, start: datetime, *, autojump: bool = False) -> None:
        self._elapsed = 0  # microseconds
        self._origin = _since_epoch(as_utc("start", start))  # the wall time at which `_elapsed` would be 0
        self._jumping = int(autojump)
        self._advancing = False
        self._goal: int | None = None  # where the advance under way ends, in elapsed microseconds
        self._jumper: _Sleeper | None = None
        # Sorted by deadline, then by registration. None in it is ever overdue.
        self._queue: list[tuple[int, int, _Sleeper]] = []
        self._registrations = count()

    def __repr__(self) -> str:
        return f"<SimulatedClock {self.now().isoformat()}, {self.monotonic():.6f} s after its start>"

    def now(self) -> datetime:
        """Return the simulated wall time in UTC."""
        return _EPOCH + timedelta(microseconds=self._origin + self._elapsed)

    def monotonic(self) -> float:
        """Return the simulated seconds that have passed; a step is none."""
        return self._elapsed / 1e6

    async def sleep_until(self, wall: datetime | None, monotonic: float | None) -> None:
        """Wait until exactly the earlier of the two, or less long if the wall clock steps. Infinity means None.

        Raises:
            NaiveDatetimeError: `wall` has no time zone.
        """
        due = _NEVER
        if wall is not None:
            due = _since_epoch(as_utc("wall", wall)) - self._origin
        if monotonic is not None and not monotonic >= _NEVER / 1e6:
            microseconds = round(monotonic * 1e6)
            due = min(due, microseconds + (microseconds / 1e6 < monotonic))
        await self._sleep(due, heeds_steps=True)

    async def sleep(self, delta: timedelta) -> None:
        """Wait until exactly `delta` has passed; steps of the wall clock make no difference."""
        await self._sleep(self._elapsed + delta // _MICROSECOND, heeds_steps=False)

    async def advance(self, delta: timedelta) -> None:
        """Let `delta` pass. On return everything due by then has happened, in order, one deadline at a time.

        Deadlines that come up on the way count. `advance(timedelta(0))` lets everything happen that is due now. After
        a cancellation the clock stands at the last deadline reached and can be used again.

        Raises:
            NegativeAdvanceError: `delta` is below zero.
            ConcurrentAdvanceError: another task is advancing this clock.
            ReentrancyError: called from inside a roll or handler, which `advance` would wait for.
            NeverSettledError: some task never blocks (asyncio only); the clock stands at the last deadline reached.
            OverflowError: `delta` leads out of the range of datetime.
        """
        _require_timedelta("advance", delta)
        self._may_advance(delta)
        await self._advance(self._elapsed + delta // _MICROSECOND, on_wall=False)

    async def advance_to(self, instant: datetime) -> None:
        """Let time pass until the wall clock reaches `instant`; like `advance`, and a step on the way is heeded.

        Raises:
            NaiveDatetimeError: `instant` has no time zone.
            NegativeAdvanceError: `instant` is past.
            Exception: all that `advance` raises.
        """
        instant = as_utc("instant", instant)
        self._may_advance(instant - self.now())
        await self._advance(_since_epoch(instant), on_wall=True)

    def step(self, delta: timedelta) -> None:
        """Step the wall clock by `delta`, either way, as NTP or an operator would: no time passes.

        Wakes whoever is in `sleep_until`; `sleep` is not affected.

        Raises:
            OverflowError: `delta` leads out of the range of datetime.
        """
        _require_timedelta("step", delta)
        _ = self.now() + delta  # an overflow is refused here, while nothing has changed
        self._origin += delta // _MICROSECOND
        stepped = [entry for entry in self._queue if entry[2].heeds_steps]
        self._queue = [entry for entry in self._queue if not entry[2].heeds_steps]
        for _, _, sleeper in stepped:
            sleeper.wake()

    def idle_for(self) -> timedelta | None:
        """Return how long nobody will wake: until the next deadline, or the end of an advance; None where neither is.

        For who plays a market in simulated time, and need not do what nobody is awake to see.
        """
        ahead = [due for due in (self._queue[0][0] if self._queue else _NEVER, self._goal) if due is not None]
        return None if min(ahead) >= _NEVER else timedelta(microseconds=min(ahead) - self._elapsed)

    @contextmanager
    def jumping(self) -> Generator[None]:
        """Have autojump in force inside the block, for the calling task and all others. May be nested.

        For a driver that is leaving, so that nothing waits for an advance that nobody will make.
        """
        self._jumping += 1
        self._hand_over()
        try:
            yield
        finally:
            self._jumping -= 1

    def _may_advance(self, delta: timedelta) -> None:
        if delta < timedelta(0):
            raise NegativeAdvanceError(delta.total_seconds())
        if reentrancy.inside():
            call = "SimulatedClock.advance()"
            raise ReentrancyError(call)
        if self._advancing:
            raise ConcurrentAdvanceError
        _ = self.now() + delta  # an overflow is refused here, while nothing has changed

    async def _advance(self, end: int, *, on_wall: bool) -> None:
        self._advancing = True
        try:
            while True:
                await self._settle()
                # A step on the way moves `_origin`, and may move the end of advance_to() into the past.
                until = self._goal = max(self._elapsed, end - self._origin if on_wall else end)
                if not self._pass_to_next(until):
                    if until == self._elapsed:
                        return
                    self._elapsed = until
        finally:
            self._advancing, self._goal = False, None
            self._hand_over()

    def _pass_to_next(self, until: int) -> bool:
        """Move time on to the next deadline and wake its first sleeper; False if none is due by `until`.

        Never two at once: trio would run them in an order of its own.
        """
        if not self._queue or self._queue[0][0] > until:
            return False
        self._elapsed, _, sleeper = self._queue.pop(0)
        sleeper.wake()
        return True

    async def _sleep(self, due: int, *, heeds_steps: bool) -> None:
        if due <= self._elapsed:
            await anyio.lowlevel.checkpoint()
            return
        me = _Sleeper(heeds_steps=heeds_steps)
        entry = (due, next(self._registrations), me)
        insort(self._queue, entry)
        try:
            while not me.woken:
                if self._jumper is None and self._should_jump():
                    await self._jump(me)
                else:
                    await me.wait()
        finally:
            if not me.woken:
                del self._queue[bisect_left(self._queue, entry)]
            self._hand_over()

    def _should_jump(self) -> bool:
        """Tell whether time should jump, and has somewhere to jump to."""
        return self._jumping > 0 and not self._advancing and bool(self._queue) and self._queue[0][0] < _NEVER

    def _hand_over(self) -> None:
        """Have a sleeper see to the jumping, if there is to be any and nobody does it."""
        if self._jumper is None and self._should_jump():
            self._queue[0][2].kick()

    async def _jump(self, me: "_Sleeper") -> None:
        """Wake others at their deadlines until `me` is woken, or until there is nothing more to do.

        It gives way to an advance at once, which waits until all are blocked and so would wait for this one too.
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
        """Wait until every other task is blocked, or until there is no jumping left to do for `jumper`."""
        try:
            this = asyncio.current_task()
        except RuntimeError:  # no asyncio loop runs here: this is trio
            this = None
        if this is None:  # trio again, as a guest of an asyncio loop
            await anyio.wait_all_tasks_blocked()
            return
        # anyio's wait_all_tasks_blocked() would do here too, but sleeps for 0.1 real seconds between two passes.
        ready = _ready_queue(asyncio.get_running_loop())
        passes = clean = 0
        while True:
            await asyncio.sleep(0)
            if jumper is not None and (jumper.woken or not self._should_jump()):
                return
            passes += 1
            if ready is None:
                busy = _busy_task(this)
                clean = clean + 1 if busy is None else 0
                if clean == _CLEAN_PASSES:
                    return
            elif ready:
                busy = _busy_task(this) if passes >= _MAX_PASSES else None
            else:
                return
            if passes >= _MAX_PASSES and busy is not None:
                raise NeverSettledError(busy.get_name(), passes)
            if passes >= _MAX_PASSES + _NAMING_PASSES:
                raise NeverSettledError("a callback of the event loop", passes)


class _Sleeper:
    """A task that waits for its deadline: woken when it has come, kicked when it should look around."""

    __slots__ = ("_event", "heeds_steps", "woken")

    def __init__(self, *, heeds_steps: bool) -> None:
        self.heeds_steps = heeds_steps
        self.woken = False
        self._event = anyio.Event()

    def wake(self) -> None:
        self.woken = True
        self._event.set()

    def kick(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event = anyio.Event()


def _ready_queue(loop: asyncio.AbstractEventLoop) -> deque[Any] | None:
    """Return the queue of all callbacks that `loop` runs next, or None where the loop does not show it (uvloop).

    After `asyncio.sleep(0)` an empty queue proves that every other task is blocked: a step of a task, a callback of a
    future and an expired timer each pass through it, and the loop polls its sockets and timers before that sleep ends.
    """
    # A loop with a call_soon() of its own (qasync) inherits the queue and does not use it.
    if not isinstance(loop, asyncio.BaseEventLoop) or type(loop).call_soon is not asyncio.BaseEventLoop.call_soon:
        return None
    # Private, as `_fut_waiter` below is; a loop without it is scanned.
    ready: deque[Any] | None = getattr(loop, "_ready", None)
    return ready if isinstance(ready, deque) else None


def _busy_task(this: asyncio.Task[Any]) -> asyncio.Task[Any] | None:
    """Return some task of this loop, other than `this`, that is not blocked."""
    for task in asyncio.all_tasks():
        if task is not this:
            # Private, but there is no public way to ask, and anyio's wait_all_tasks_blocked() relies on it as well.
            waiter = cast("asyncio.Future[Any] | None", task._fut_waiter)  # type: ignore[attr-defined]  # noqa: SLF001
            if waiter is None or waiter.done():
                return task
    return None


def _since_epoch(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND


def _require_timedelta(call: str, delta: object) -> None:
    if not isinstance(delta, timedelta):
        msg = f"{call}() takes a timedelta, not {delta!r}"
        raise TypeError(msg)
