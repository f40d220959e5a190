"""Thousands of managers in one task: one driver, one clock, one heap of distinct deadlines."""

from collections.abc import Iterable
from typing import Final

import anyio
import anyio.abc
import anyio.lowlevel

from session_lifecycle._core.timeline import SharedTimelines
from session_lifecycle._model.clock import Clock
from session_lifecycle._model.errors import (
    AlreadyStartedError,
    ConfigurationError,
    GroupStopped,
    NotAMember,
    NotRunningError,
    ReentrancyError,
)
from session_lifecycle._runtime.driver import Driver
from session_lifecycle._runtime.host import Host
from session_lifecycle._runtime.lifespan import Lifespan
from session_lifecycle._runtime.manager import SessionBoundaryManager
from session_lifecycle._runtime.subscriptions import Broadcast, Subscription
from session_lifecycle._runtime.system_clock import SystemClock

LIMIT: Final = 1_000_000
"""How many events a reader of a group may leave unread: a hundred for each of ten thousand members."""

_CHECK_EVERY: Final = 32


class SessionGroup(Lifespan):
    """Runs many managers in one task: one for each venue, or one for each symbol.

    Run it with `async with group:` or with `await task_group.start(group.run)`; once only. Once entered, every manager
    has caught up as far as that goes without a roll. Each is the manager that it would be alone: its own `events()`,
    handlers, alarms, feeds, journal and `stop()` work, and a slow or failing one delays no other. Give each a `name`,
    which is on its events.

    Managers with one `Schedule` object and the same `pre_market` and `post_market_roll_delay` share their timeline,
    so make the schedule once. All go by one clock: the same object for all, or the default one.

    Args:
        managers: those to begin with; none of them has been started.
        clock: for a group that begins empty. By default the managers', or a `SystemClock`.
        max_concurrent_rolls: so many rolls are awaited at a time, at most; of those that are due, the first come first.
            A roll that waits its turn is owed meanwhile, and its `roll_timeout` has not begun. None: no limit.

    Raises:
        AlreadyStartedError: a manager has been started already, or is in a group.
        ConfigurationError: the managers go by different clocks, or the limit is no whole number above zero.
        TypeError: one of them is no manager.
    """

    __module__ = "session_lifecycle"

    __slots__ = ("_broadcast", "_clock", "_driver", "_leavers", "_managers", "_most_rolls", "_stopped", "_timelines")

    def __init__(
        self,
        managers: Iterable[SessionBoundaryManager] = (),
        *,
        clock: Clock | None = None,
        max_concurrent_rolls: int | None = None,
    ) -> None:
        super().__init__()
        most = max_concurrent_rolls
        if most is not None and (type(most) is not int or most < 1):
            rule = "must be a whole number above zero, or None for no limit"
            raise ConfigurationError("max_concurrent_rolls", most, rule)
        self._most_rolls = max_concurrent_rolls
        self._clock = clock
        self._driver: Driver | None = None
        self._stopped = False
        self._broadcast = Broadcast()
        self._timelines = SharedTimelines()
        self._managers: dict[Host, SessionBoundaryManager] = {}
        self._leavers: dict[Host, anyio.Event] = {}
        for manager in managers:
            self._take(manager)

    def __repr__(self) -> str:
        phase = "stopped" if self._stopped else "running" if self._started else "not started"
        return f"<SessionGroup of {len(self._managers)}, {phase}>"

    # ---- running ----

    def _claim(self, call: str) -> None:
        if self.started:
            raise AlreadyStartedError(type(self).__name__)
        if any(manager.started for manager in self._managers.values()):
            raise AlreadyStartedError
        super()._claim(call)

    async def _drive(self, task_status: "anyio.abc.TaskStatus[None]") -> None:
        self._driver = Driver(
            self.clock,
            lasting=True,
            max_concurrent_rolls=self._most_rolls,
            broadcast=self._broadcast,
            left=self._forget,
        )
        try:
            await self._driver.run([self._join(self._driver, manager) for manager in self.managers], task_status)
        finally:
            self._stopped = True
            self._broadcast.close()

    def stop(self) -> None:
        """Stop every manager: a roll under way may finish within its timeout, none is retried, none begins.

        A second call does nothing.

        Raises:
            NotRunningError: it was never started.
        """
        if self._driver is None:
            call = "group.stop()"
            raise NotRunningError(call)
        self._driver.stop()

    # ---- members ----

    @property
    def clock(self) -> Clock:
        """The clock that all members go by."""
        if self._clock is None:
            self._clock = SystemClock()
        return self._clock

    @property
    def managers(self) -> tuple[SessionBoundaryManager, ...]:
        """The managers that are in the group, in the order in which they came. One that has stopped has left."""
        return tuple(self._managers.values())

    def add(self, manager: SessionBoundaryManager) -> None:
        """Take in a manager, at any time. In a running group it has caught up on return, as far as without a roll.

        Raises:
            AlreadyStartedError: it has been started already, or is in this group.
            ConfigurationError: it goes by another clock than the group.
            GroupStopped: the group does not run any more.
            LifecycleError: it cannot begin: all that `manager.run` raises. It has stopped then; the others go on.
        """
        if self._stopped or (self._driver is not None and self._driver.stopping):
            call = "add()"
            raise GroupStopped(call)
        self._take(manager)
        if self._driver is not None:
            host = self._join(self._driver, manager)
            try:
                self._driver.add(host)
            except BaseException:
                self._forget(host)
                raise

    async def remove(self, manager: SessionBoundaryManager) -> None:
        """Stop a manager and wait until it has left, as on leaving `async with manager:`. The others go on.

        Cancelling the wait does not keep it. One that has stopped by itself has left already.

        Raises:
            NotAMember: it is not in this group. Nothing has changed.
            ReentrancyError: called from inside this manager's own roll or handler, which it would wait for.
        """
        host = manager._host  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] -- a manager and its group are of one piece
        if host not in self._managers:
            if host.stopped:
                await anyio.lowlevel.checkpoint()
                return
            raise NotAMember(repr(manager))
        if host.runs_here:
            call = "group.remove()"
            raise ReentrancyError(call)
        driver = self._driver
        if driver is None:
            self._forget(host)
            await anyio.lowlevel.checkpoint()
            return
        gone = self._leavers.setdefault(host, anyio.Event())
        driver.leave(host)
        with driver.passing_time():
            await gone.wait()

    def events(self) -> Subscription:
        """Return an async iterator over the events of all members from this call on; it ends with the group.

        In the order of time: what several were late for, by a suspend or a step, is told by the instants at which it
        was due. After 1,000,000 unread events a reader gets those, then `SubscriberOverrun`. A reader that is cancelled
        while it has unread events may be given up to 32 of them before that is heeded: to look each time would take
        longer than all the rest.
        """
        return self._broadcast.subscribe(limit=LIMIT, check_every=_CHECK_EVERY)

    # ---- helpers ----

    def _take(self, manager: SessionBoundaryManager) -> None:
        if not isinstance(manager, SessionBoundaryManager):
            msg = f"a SessionGroup takes SessionBoundaryManagers, not {manager!r}"
            raise TypeError(msg)
        host = manager._host  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] -- a manager and its group are of one piece
        if manager.started or host in self._managers:
            raise AlreadyStartedError
        self._clock = self._agreed(manager.clock)
        host.lifecycle.share_timeline(self._timelines)
        self._managers[host] = manager

    def _agreed(self, clock: Clock) -> Clock:
        """Return the one clock that the group and a manager go by: of two real ones, the one that looks more often."""
        ours = self._clock
        if ours is None or ours is clock:
            return clock
        if type(ours) is not SystemClock or type(clock) is not SystemClock:
            raise ConfigurationError("clock", clock, f"must be the group's, {ours!r}: all members go by one")
        return clock if clock.check_interval < ours.check_interval else ours

    def _join(self, driver: Driver, manager: SessionBoundaryManager) -> Host:
        return manager._join(driver, "SessionGroup")  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] -- a manager and its group are of one piece

    def _forget(self, host: Host) -> None:
        """Take note that a member has left."""
        self._managers.pop(host, None)
        gone = self._leavers.pop(host, None)
        if gone is not None:
            gone.set()
