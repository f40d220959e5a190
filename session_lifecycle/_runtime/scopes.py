"""Application code that lasts as long as a state does: the body is cancelled the moment that state is over."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, suppress
from datetime import timedelta

import anyio
import anyio.lowlevel

from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._model.clock import Clock
from session_lifecycle._model.errors import ManagerStopped, NotASession, NotRunningError, ReentrancyError
from session_lifecycle._model.events import Event, StateChanged
from session_lifecycle._model.session import Session
from session_lifecycle._model.states import SessionState
from session_lifecycle._runtime.event_log import LOGGER
from session_lifecycle._runtime.subscriptions import Broadcast, Subscription

_CALL = "during()"


class _Ending(Subscription):
    """A reader that acts instead of keeping: it calls back as soon as the state is none of those given, or at the end.

    Once the manager has stopped, `leaving` has a simulated clock jump by itself: nobody may advance it any more.
    """

    __slots__ = ("_clock", "_leave", "_leaving", "_states", "stopped")

    def __init__(
        self, states: Collection[SessionState], leave: Callable[[], None], clock: Clock, leaving: ExitStack
    ) -> None:
        super().__init__()
        self.stopped = False
        self._states = states
        self._leave: Callable[[], None] | None = leave
        self._clock = clock
        self._leaving = leaving

    def put(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, StateChanged) and event.dest not in self._states:
            self._call_back()

    def end(self) -> None:
        """Call back: the manager is over, and with it whoever could tell that the state is."""
        self.stopped = True
        jumping: Callable[[], AbstractContextManager[object]] | None = getattr(self._clock, "jumping", None)
        if jumping is not None:
            self._leaving.enter_context(jumping())
        self._call_back()

    def _call_back(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()


@asynccontextmanager
async def during(
    states: Collection[SessionState],
    grace: timedelta | None,
    *,
    lifecycle: SessionLifecycle,
    broadcast: Broadcast,
    clock: Clock,
    wait_for: Callable[..., Awaitable[SessionState]],
) -> AsyncGenerator[Session]:
    """Be the context manager behind `manager.during`."""
    await _wait(states, lifecycle, wait_for)
    stopped = anyio.Event()
    with ExitStack() as leaving, anyio.CancelScope() as body:
        ending = _Ending(states, body.cancel if grace is None else stopped.set, clock, leaving)
        broadcast.add(ending)
        try:
            if ending.stopped:  # the state is what it was when the manager stopped, for ever
                raise ManagerStopped(_CALL, lifecycle.state)
            if grace is None:
                yield lifecycle.session
            else:
                async with _timer(stopped, clock, grace, body):
                    yield lifecycle.session
        finally:
            broadcast.remove(ending)  # whoever keeps the body's error keeps this frame, and with it the reader


async def _wait(
    states: Collection[SessionState], lifecycle: SessionLifecycle, wait_for: Callable[..., Awaitable[SessionState]]
) -> None:
    """Wait until the state is one of those; where that cannot be, name the call that the application has made."""
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
async def _timer(
    stopped: "anyio.Event", clock: Clock, grace: timedelta, body: "anyio.CancelScope"
) -> AsyncGenerator[None]:
    """Time the grace beside the body. What the body raises stays as it is, not wrapped in a group of our own."""
    failure: BaseException | None = None
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_after, stopped, clock, grace, body)
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


async def _cancel_after(stopped: "anyio.Event", clock: Clock, grace: timedelta, body: "anyio.CancelScope") -> None:
    await stopped.wait()
    try:
        await clock.sleep(grace)
    except Exception:  # the clock may be the application's own code
        LOGGER.exception("the clock failed during the grace of a scope, which ends it")
    body.cancel()


class _Sessions(AsyncIterator[Session]):
    """The session of the moment of the call, where it has not ended, and then each that is rolled into."""

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
            with suppress(NotASession):  # it was called off meanwhile
                return self._lifecycle.schedule.session_on(roll.session)


def sessions(*, lifecycle: SessionLifecycle, broadcast: Broadcast) -> AsyncIterator[Session]:
    """Return the iterator behind `manager.sessions`."""
    rolls = broadcast.subscribe(lambda event: isinstance(event, StateChanged) and event.trigger == "roll")
    return _Sessions(lifecycle, rolls)
