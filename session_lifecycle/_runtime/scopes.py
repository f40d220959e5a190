"""Scopes of the application's code: `during` cancels its body when a state ends; `sessions` iterates over sessions."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, suppress
from datetime import timedelta

import anyio

from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._model.clock import Clock
from session_lifecycle._model.errors import ManagerStopped, NotASession, NotRunningError, ReentrancyError
from session_lifecycle._model.events import Event, PhaseEnded, PhaseStarted, StateChanged
from session_lifecycle._model.session import Session
from session_lifecycle._model.states import SessionState
from session_lifecycle._runtime.event_log import LOGGER
from session_lifecycle._runtime.subscriptions import Broadcast, Subscription

_CALL = "during()"


class _StateSubscription(Subscription):
    """A subscription that calls back, instead of buffering, once the scope is over or the manager stops.

    The scope is over once the state is none of `states` or, where a phase is given, that phase has ended.

    When the manager stops, a simulated clock jumps by itself until `exit_stack` closes: the application may not advance
    it any more.
    """

    __slots__ = ("_clock", "_exit_stack", "_on_end", "_phase", "_states", "stopped")

    def __init__(
        self,
        states: Collection[SessionState],
        phase: str | None,
        on_end: Callable[[], None],
        clock: Clock,
        exit_stack: ExitStack,
    ) -> None:
        super().__init__()
        self.stopped = False
        self._states = states
        self._phase = phase
        self._on_end: Callable[[], None] | None = on_end
        self._clock = clock
        self._exit_stack = exit_stack

    def put(self, event: Event) -> None:
        """Call back where the event ends the scope."""
        if isinstance(event, StateChanged):
            if self._states and event.dest not in self._states:
                self._call_back()
        elif self._phase is not None and isinstance(event, PhaseEnded) and event.phase == self._phase:
            self._call_back()

    def end(self) -> None:
        """Call back: the manager has stopped, so its state does not change any more."""
        self.stopped = True
        jumping: Callable[[], AbstractContextManager[object]] | None = getattr(self._clock, "jumping", None)
        if jumping is not None:
            self._exit_stack.enter_context(jumping())
        self._call_back()

    def _call_back(self) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end()


@asynccontextmanager
async def during(
    states: Collection[SessionState],
    grace: timedelta | None,
    *,
    phase: str | None,
    lifecycle: SessionLifecycle,
    broadcast: Broadcast,
    clock: Clock,
    wait_for: Callable[..., Awaitable[SessionState]],
) -> AsyncGenerator[Session]:
    """Implement `manager.during`."""
    await _wait_for_scope(states, phase, lifecycle, broadcast, wait_for)
    ended = anyio.Event()
    with ExitStack() as exit_stack, anyio.CancelScope() as body:
        subscription = _StateSubscription(states, phase, body.cancel if grace is None else ended.set, clock, exit_stack)
        broadcast.add(subscription)
        try:
            if subscription.stopped:  # the state is one of `states`, and no event will ever end it
                raise ManagerStopped(_CALL, lifecycle.state)
            if grace is None:
                yield lifecycle.session
            else:
                async with _grace_timer(ended, clock, grace, body):
                    yield lifecycle.session
        finally:
            broadcast.remove(subscription)  # a reference to the body's error keeps this frame, and so the subscription


async def _wait_for_scope(
    states: Collection[SessionState],
    phase: str | None,
    lifecycle: SessionLifecycle,
    broadcast: Broadcast,
    wait_for: Callable[..., Awaitable[SessionState]],
) -> None:
    """Wait until the state is one of `states`, where there are any, and the phase is on, where one is given."""
    while True:
        await _wait_for_state(states or tuple(SessionState), lifecycle, wait_for)
        if phase is None or lifecycle.phase == phase:
            return
        started = broadcast.subscribe(lambda event: isinstance(event, PhaseStarted) and event.phase == phase)
        try:
            async for _ in started:
                if lifecycle.phase == phase:
                    break
            else:
                raise ManagerStopped(_CALL, lifecycle.state)
        finally:
            broadcast.remove(started)


async def _wait_for_state(
    states: Collection[SessionState], lifecycle: SessionLifecycle, wait_for: Callable[..., Awaitable[SessionState]]
) -> None:
    """Wait until the state is one of `states`; raise the errors of `wait_for` with the name of the public call."""
    try:
        while True:
            await wait_for(*states)
            if lifecycle.state in states:  # it may have been passed through
                return
    except ManagerStopped:
        raise ManagerStopped(_CALL, lifecycle.state) from None
    except NotRunningError:
        raise NotRunningError(_CALL) from None
    except ReentrancyError:
        raise ReentrancyError(_CALL) from None


@asynccontextmanager
async def _grace_timer(
    ended: "anyio.Event", clock: Clock, grace: timedelta, body: "anyio.CancelScope"
) -> AsyncGenerator[None]:
    """Time the grace beside the body. The body's exception is raised as it is, not wrapped in a group."""
    failure: BaseException | None = None
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_after, ended, clock, grace, body)
            try:
                yield
            except BaseException as error:
                failure = error
                raise
            finally:
                tasks.cancel_scope.cancel()
    except BaseExceptionGroup:
        if failure is None:
            raise
    try:
        if failure is not None:
            raise failure
    finally:
        del failure  # it refers to this frame


async def _cancel_after(ended: "anyio.Event", clock: Clock, grace: timedelta, body: "anyio.CancelScope") -> None:
    await ended.wait()
    try:
        await clock.sleep(grace)
    except Exception:  # the clock may be the application's own code
        LOGGER.exception("the clock failed during the grace of during(), which ends now")
    body.cancel()


class _Sessions(AsyncIterator[Session]):
    """The session at the time of the call, unless it has ended, and then each that is rolled into."""

    __slots__ = ("_first", "_lifecycle", "_rolls")

    def __init__(self, lifecycle: SessionLifecycle, rolls: Subscription) -> None:
        self._lifecycle = lifecycle
        self._rolls = rolls
        self._first = None if lifecycle.roll_owed else lifecycle.session

    async def __anext__(self) -> Session:
        await anyio.lowlevel.checkpoint_if_cancelled()
        first, self._first = self._first, None
        if first is not None:
            return first
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
    rolls = broadcast.subscribe(lambda event: isinstance(event, StateChanged) and event.trigger == "roll")
    return _Sessions(lifecycle, rolls)
