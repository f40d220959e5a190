"""Scopes of the application's code: `during` and `run_while` cancel code when a state ends; `sessions` is a loop.

All of them end quietly when the manager stops.
"""

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, suppress
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from typing import Final
from weakref import ref

import anyio
import msgspec

from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._model.clock import Clock
from session_lifecycle._model.errors import ManagerStopped, NotASession, NotRunningError, ReentrancyError
from session_lifecycle._model.events import Event, StateChanged
from session_lifecycle._model.phase_events import PhaseEnded, PhaseStarted
from session_lifecycle._model.session import Session
from session_lifecycle._model.states import SessionState
from session_lifecycle._runtime.call_scope import CallScope, oversee
from session_lifecycle._runtime.event_log import LOGGER
from session_lifecycle._runtime.subscriptions import Broadcast, Subscription
from session_lifecycle._runtime.unknown_phases import warn_of_unknown_phase

_CALL = "during()"

_looped_over: Final[ContextVar["ref[Broadcast] | None"]] = ContextVar("session_lifecycle_sessions", default=None)
"""The manager, by its broadcast, over whose `sessions()` the calling task loops."""


class Surroundings(msgspec.Struct, frozen=True):
    """What scopes need of a manager."""

    lifecycle: SessionLifecycle
    broadcast: Broadcast
    clock: Clock
    report_overdue: Callable[[str, float], None]
    """Reports code that has not ended so many seconds after its cancellation."""


class While(msgspec.Struct, frozen=True):
    """When code runs: while the state is one of `states`, where there are any, and `phase` is on, where one is given.

    There are states, or a phase, or both.
    """

    states: Collection[SessionState]
    phase: str | None = None

    def holds(self, lifecycle: SessionLifecycle) -> bool:
        """Whether it holds."""
        if self.states and lifecycle.state not in self.states:
            return False
        return self.phase is None or lifecycle.phase == self.phase

    def session(self, lifecycle: SessionLifecycle) -> Session:
        """Return the session that the code is about: that which the phase counts for, else the application's."""
        return lifecycle.session if self.phase is None else lifecycle.phase_session or lifecycle.session

    def __str__(self) -> str:
        names = [state.name for state in self.states]
        return ", ".join(names if self.phase is None else [*names, f"phase={self.phase!r}"])


class _EndingSubscription(Subscription):
    """A subscription that calls back, instead of buffering, when code is to end.

    When the manager stops, a simulated clock jumps by itself until `exit_stack` closes: the application may not advance
    it any more.
    """

    __slots__ = ("_clock", "_exit_stack", "_lifecycle", "_when", "on_end", "stopped")

    def __init__(self, when: While, around: Surroundings, exit_stack: ExitStack) -> None:
        super().__init__()
        self.stopped: bool = False
        self.on_end: Callable[[], None] | None = None
        """Called once, when the code is to end."""
        self._when = when
        self._lifecycle = around.lifecycle
        self._clock = around.clock
        self._exit_stack = exit_stack

    def end(self) -> None:
        """Call back: the manager has stopped, so its state does not change any more."""
        self.stopped = True
        jumping: Callable[[], AbstractContextManager[object]] | None = getattr(self._clock, "jumping", None)
        if jumping is not None:
            self._exit_stack.enter_context(jumping())
        self._call_back()

    def _call_back(self) -> None:
        on_end, self.on_end = self.on_end, None
        if on_end is not None:
            on_end()


class _ScopeSubscription(_EndingSubscription):
    """Calls back once it is over, however briefly."""

    __slots__ = ()

    def put(self, event: Event) -> None:
        """Call back where the event leads to a state that is none of them, or ends the phase."""
        if isinstance(event, StateChanged):
            if self._when.states and event.dest not in self._when.states:
                self._call_back()
        elif isinstance(event, PhaseEnded) and event.phase == self._when.phase:
            self._call_back()


class _StretchSubscription(_EndingSubscription):
    """Counts the stretches of time in which code runs, and calls back at the end of each.

    Events are published where a catch-up pauses, so a state of no width ends none. A new session always does, where
    there are states.
    """

    __slots__ = ("_changed", "stretch")

    def __init__(self, when: While, around: Surroundings, exit_stack: ExitStack) -> None:
        super().__init__(when, around, exit_stack)
        self._changed = anyio.Event()
        self.stretch: int = 0

    @property
    def holds(self) -> bool:
        """Whether code is to run."""
        return self._when.holds(self._lifecycle)

    def put(self, event: Event) -> None:
        """Begin another stretch where the session is new, or code is not to run any more; call back."""
        if isinstance(event, StateChanged):
            over = bool(self._when.states) and event.trigger == "roll"
        elif isinstance(event, PhaseStarted | PhaseEnded) and event.phase == self._when.phase:
            over = isinstance(event, PhaseEnded)
        else:
            return
        if over or not self.holds:
            self.stretch += 1
            self._call_back()
        self._changed.set()

    def end(self) -> None:
        """Call back, and end `wait`."""
        super().end()
        self._changed.set()

    async def wait(self) -> None:
        """Wait for a change."""
        await self._changed.wait()
        self._changed = anyio.Event()


@asynccontextmanager
async def during(
    when: While,
    grace: timedelta | None,
    *,
    around: Surroundings,
    wait_for: Callable[..., Awaitable[SessionState]],
) -> AsyncGenerator[Session]:
    """Implement `manager.during`."""
    lifecycle, broadcast = around.lifecycle, around.broadcast
    if broadcast.closed:
        _allow_in_loop(broadcast, lifecycle)
    elif lifecycle.begun:
        _warn_of_unknown_phase("during", when, lifecycle)
    entered = await _wait_until(when, lifecycle, broadcast, wait_for)
    ended = anyio.Event()
    body = CallScope(lambda _: ended.set())
    with ExitStack() as exit_stack:
        subscription = _ScopeSubscription(when, around, exit_stack)
        subscription.on_end = partial(body.cancel, "during() is over") if grace is None else ended.set
        broadcast.add(subscription)
        try:
            if not entered or subscription.stopped:
                body.cancel("during() was over before it began")
            async with _overseen(body, ended, around, f"the body of during({when})", grace):
                with body:
                    yield when.session(lifecycle)
        finally:
            broadcast.remove(subscription)  # a reference to the body's error keeps this frame, and so the subscription


def _warn_of_unknown_phase(call: str, when: While, lifecycle: SessionLifecycle) -> None:
    if when.phase is not None and not when.holds(lifecycle):
        warn_of_unknown_phase(lifecycle, f"{call}({when})", when.phase)


async def _wait_until(
    when: While,
    lifecycle: SessionLifecycle,
    broadcast: Broadcast,
    wait_for: Callable[..., Awaitable[SessionState]],
) -> bool:
    """Wait until code is to run; return False where the manager has stopped before."""
    while await _wait_for_state(when.states or tuple(SessionState), lifecycle, wait_for):
        if when.holds(lifecycle):
            return True
        started = broadcast.subscribe(lambda event: isinstance(event, PhaseStarted) and event.phase == when.phase)
        try:
            await anext(started, None)
        finally:
            broadcast.remove(started)
        if broadcast.closed:
            return False
    return False


async def _wait_for_state(
    states: Collection[SessionState], lifecycle: SessionLifecycle, wait_for: Callable[..., Awaitable[SessionState]]
) -> bool:
    """Wait until the state is one of `states`; return False where the manager has stopped before.

    The errors of `wait_for` are raised with the name of the public call.
    """
    try:
        while True:
            await wait_for(*states)
            if lifecycle.state in states:  # it may have been passed through
                return True
    except ManagerStopped:
        return False
    except NotRunningError:
        raise NotRunningError(_CALL) from None
    except ReentrancyError:
        raise ReentrancyError(_CALL) from None


def _allow_in_loop(broadcast: Broadcast, lifecycle: SessionLifecycle) -> None:
    """Allow a block of a manager that has stopped inside a loop over its `sessions()`, once: that loop ends.

    Raises:
        ManagerStopped: it is in no such loop. Where it is in another one, that would never end.
    """
    looped_over = _looped_over.get()
    if looped_over is None or looped_over() is not broadcast:
        raise ManagerStopped(_CALL, lifecycle.state)
    _looped_over.set(None)


async def run_while(
    function: Callable[[Session], Awaitable[object]],
    when: While,
    label: str,
    *,
    around: Surroundings,
) -> None:
    """Implement `manager.run_while`."""
    _warn_of_unknown_phase("run_while", when, around.lifecycle)
    with ExitStack() as exit_stack:
        subscription = _StretchSubscription(when, around, exit_stack)
        around.broadcast.add(subscription)
        served: int | None = None
        try:
            await anyio.lowlevel.checkpoint()
            while not subscription.stopped:
                if subscription.stretch == served or not subscription.holds:
                    await subscription.wait()
                    continue
                served = subscription.stretch
                await _call_until(subscription, function, when, label, around)
        finally:
            around.broadcast.remove(subscription)


async def _call_until(
    subscription: _EndingSubscription,
    function: Callable[[Session], Awaitable[object]],
    when: While,
    label: str,
    around: Surroundings,
) -> None:
    """Await a function until it ends, or is to end."""
    ended = anyio.Event()
    call = CallScope(lambda _: ended.set())
    subscription.on_end = partial(call.cancel, "run_while() ends it")
    async with _overseen(call, ended, around, label, None):
        with call:
            outcome = function(when.session(around.lifecycle))
            if not inspect.isawaitable(outcome):
                msg = f"{label} returned {outcome!r}, which cannot be awaited: make it async"
                raise TypeError(msg)
            await outcome
    subscription.on_end = None


@asynccontextmanager
async def _overseen(
    body: CallScope, ended: "anyio.Event", around: Surroundings, label: str, grace: timedelta | None
) -> AsyncGenerator[None]:
    """Time the grace beside the body, and oversee its end. Its exception is raised as it is, not wrapped in a group."""
    failure: BaseException | None = None
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_oversee, body, ended, around, label, grace)
            try:
                yield
            except BaseException as error:
                failure = error
                raise
            finally:
                tasks.cancel_scope.cancel("the body has ended")
    except BaseExceptionGroup:
        if failure is None:
            raise
    try:
        if failure is not None:
            raise failure
    finally:
        del failure  # it refers to this frame


async def _oversee(
    body: CallScope, ended: "anyio.Event", around: Surroundings, label: str, grace: timedelta | None
) -> None:
    await ended.wait()
    if grace is not None and not body.cancel_called:
        try:
            await around.clock.sleep(grace)
        except Exception:  # the clock may be the application's own code
            LOGGER.exception("the clock failed during the grace of during(), which ends now")
        body.cancel("the grace of during() is over")
    with anyio.CancelScope(shield=True):
        await oversee(body, lambda seconds: around.report_overdue(label, seconds))


class _Sessions(AsyncIterator[Session]):
    """The session at the time of the call, unless it has ended, and then each that is rolled into."""

    __slots__ = ("_broadcast", "_first", "_lifecycle", "_rolls")

    def __init__(self, lifecycle: SessionLifecycle, broadcast: Broadcast) -> None:
        self._lifecycle = lifecycle
        self._broadcast = ref(broadcast)
        self._rolls = broadcast.subscribe(lambda event: isinstance(event, StateChanged) and event.trigger == "roll")
        self._first = None if lifecycle.roll_owed else lifecycle.session

    async def __anext__(self) -> Session:
        await anyio.lowlevel.checkpoint_if_cancelled()
        first, self._first = self._first, None
        _looped_over.set(None)
        session = await self._next_rolled_into() if first is None or self._rolls.ended else first
        _looped_over.set(self._broadcast)
        return session

    async def _next_rolled_into(self) -> Session:
        while True:
            roll = await anext(self._rolls)
            assert isinstance(roll, StateChanged)
            now = self._lifecycle.session
            if now.date == roll.session:
                return now
            with suppress(NotASession):  # called off meanwhile
                return self._lifecycle.schedule.session_on(roll.session)


def sessions(*, lifecycle: SessionLifecycle, broadcast: Broadcast) -> AsyncIterator[Session]:
    """Implement `manager.sessions`."""
    return _Sessions(lifecycle, broadcast)
