"""`SessionGroup`: thousands of managers in one task, with one driver and one clock."""

from collections.abc import Iterable, Iterator
from typing import Final

import anyio

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
from session_lifecycle._runtime.arguments import require_clock
from session_lifecycle._runtime.callbacks import CallbackScope, open_scopes
from session_lifecycle._runtime.driver import Driver
from session_lifecycle._runtime.home import Home, at_home
from session_lifecycle._runtime.host import Host
from session_lifecycle._runtime.lifespan import Lifespan
from session_lifecycle._runtime.manager import SessionBoundaryManager
from session_lifecycle._runtime.subscriptions import Broadcast, Subscription
from session_lifecycle._runtime.system_clock import SystemClock

LIMIT: Final = 1_000_000
"""How many unread events a group's subscription buffers: a hundred for each of ten thousand members."""

_CHECK_EVERY: Final = 32


class SessionGroup(Lifespan):
    """Runs many managers in one task, such as one for each venue or one for each symbol.

    Run it with `async with group:`, with `await task_group.start(group.run)`, or with `await group.start()` and `await
    group.aclose()`; once only, and in one event loop, as a manager. Once entered, every manager
    has caught up to the first roll that is due. A member behaves as it does alone: its own `events()`, handlers,
    alarms, feeds, journal and `stop()` work, and a slow or failing one delays no other. Give each a `name`, which is on
    its events.

    Managers with the same `Schedule` object and the same `pre_market` and `post_market_roll_delay` share a timeline,
    so make the schedule once. All members have one clock: the same object, or the default one.

    Args:
        managers: the first members; none of them has been started.
        clock: for a group that begins empty. By default the managers' clock, or a `SystemClock`.
        max_concurrent_rolls: how many rolls are awaited at a time, first come, first served. A roll that waits for a
            slot is owed meanwhile, and its `roll_timeout` has not begun. None: any number.

    Raises:
        AlreadyStartedError: a manager has been started already, or is in a group.
        ConfigurationError: the managers have different clocks, or the limit is not a whole number above zero.
        TypeError: one of `managers` is not a manager, or `clock` not a clock.
    """

    __module__ = "session_lifecycle"

    __slots__ = (
        "_broadcast",
        "_clock",
        "_departures",
        "_driver",
        "_managers",
        "_max_concurrent_rolls",
        "_removals",
        "_stopped",
        "_timelines",
    )

    def __init__(
        self,
        managers: Iterable[SessionBoundaryManager] = (),
        *,
        clock: Clock | None = None,
        max_concurrent_rolls: int | None = None,
    ) -> None:
        super().__init__()
        limit = max_concurrent_rolls
        if limit is not None and (type(limit) is not int or limit < 1):
            rule = "must be a whole number above zero, or None for no limit"
            raise ConfigurationError("max_concurrent_rolls", limit, rule)
        require_clock(clock)
        self._max_concurrent_rolls = limit
        self._clock = clock
        self._driver: Driver | None = None
        self._stopped = False
        self._broadcast = Broadcast()
        self._timelines = SharedTimelines()
        self._managers: dict[Host, SessionBoundaryManager] = {}
        self._departures: dict[Host, anyio.Event] = {}
        # The calls of `remove` that wait: for which host, and inside which callbacks.
        self._removals: list[tuple[Host, tuple[CallbackScope, ...]]] = []
        for manager in managers:
            self._register(manager)

    def __repr__(self) -> str:
        phase = "stopped" if self._stopped else "running" if self._started else "not started"
        return f"<SessionGroup of {len(self._managers)}, {phase}>"

    # ---- running ----

    def _mark_started(self, call: str, home: Home | None = None) -> None:
        if self.started:
            raise AlreadyStartedError(type(self).__name__)
        if any(manager.started for manager in self._managers.values()):
            raise AlreadyStartedError
        super()._mark_started(call, home)

    async def _drive(self, task_status: "anyio.abc.TaskStatus[None]") -> None:
        assert self._home is not None
        self._driver = Driver(
            self.clock,
            self._home,
            keep_running=True,
            max_concurrent_rolls=self._max_concurrent_rolls,
            broadcast=self._broadcast,
            on_stopped=self._unregister,
        )
        try:
            await self._driver.run([self._attach(self._driver, manager) for manager in self.managers], task_status)
        finally:
            self._stopped = True
            self._broadcast.close()

    def _abandon(self) -> None:
        self._stopped = True
        for host in self._managers:
            host.end()
        self._broadcast.close()

    def _refusal(self, call: str) -> GroupStopped:
        error = GroupStopped(call)
        error.__cause__ = None if self._driver is None else self._driver.failure
        return error

    def _in_own_callback(self) -> bool:
        return any(host.in_callback for host in self._managers)

    @at_home
    def stop(self) -> None:
        """Stop every manager: a roll under way may finish within its timeout, and is not retried; no other begins.

        A second call does nothing.

        Raises:
            NotRunningError: the group has not started.
        """
        if self._driver is None:
            call = "group.stop()"
            raise NotRunningError(call)
        self._driver.stop()

    # ---- members ----

    @property
    def clock(self) -> Clock:
        """The clock of all members."""
        if self._clock is None:
            self._clock = SystemClock()
        return self._clock

    @property
    def managers(self) -> tuple[SessionBoundaryManager, ...]:
        """The members, in the order in which they were added. A manager that has stopped is not a member any more."""
        return tuple(self._managers.values())

    @at_home
    async def add(self, manager: SessionBoundaryManager) -> None:
        """Add a manager, at any time. In a running group it has caught up on return, to the first roll that is due.

        Raises:
            AlreadyStartedError: the manager has been started already, or is in this group.
            ConfigurationError: the manager has another clock than the group.
            GroupStopped: the group has stopped.
            LifecycleError: the manager cannot begin; all that `manager.run` raises. It has stopped then; the others go
                on.
            TypeError: it is not a manager.
        """
        if self._stopped or (self._driver is not None and self._driver.stopping):
            raise self._refusal("add()")
        self._register(manager)
        if self._driver is None:
            await anyio.lowlevel.checkpoint()
        else:
            host = self._attach(self._driver, manager)
            try:
                await self._driver.add(host)
            except BaseException:
                self._unregister(host)
                raise

    @at_home
    async def remove(self, manager: SessionBoundaryManager) -> None:
        """Stop a manager and wait until it has stopped, as on leaving `async with manager:`. The others go on.

        A cancellation of this call does not keep the manager in the group. For a manager that has stopped by itself,
        return at once.

        Raises:
            NotAMember: the manager is not in this group. Nothing has changed.
            ReentrancyError: called from inside a roll or a handler of this manager, which it would wait for; or of one
                that such a call waits for, so that both would wait indefinitely.
            TypeError: it is not a manager.
        """
        _require_manager("group.remove()", manager)
        host = manager._host  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] -- a manager and its group are of one piece
        if host not in self._managers:
            if host.stopped:
                await anyio.lowlevel.checkpoint()
                return
            raise NotAMember(repr(manager))
        if any(each.in_callback for each in self._waited_for_by(host)):
            call = "group.remove()"
            raise ReentrancyError(call)
        driver = self._driver
        if driver is None:
            self._unregister(host)
            await anyio.lowlevel.checkpoint()
            return
        departed = self._departures.setdefault(host, anyio.Event())
        driver.stop_host(host)
        removal = host, open_scopes()
        self._removals.append(removal)
        try:
            with driver.let_clock_jump():
                await departed.wait()
        finally:
            self._removals.remove(removal)

    @at_home
    def events(self) -> Subscription:
        """Return an async iterator over the events of all members from this call on; it ends with the group.

        The events are in the order of time: after a suspend or a step, those of several members are merged by the
        instants at which they were due. After 1,000,000 unread events a reader gets those, then `SubscriberOverrun`. A
        reader that is cancelled while it has unread events may get up to 32 of them first: a check for cancellation at
        each event would take longer than all the rest.
        """
        return self._broadcast.subscribe(limit=LIMIT, check_every=_CHECK_EVERY)

    # ---- helpers ----

    def _register(self, manager: SessionBoundaryManager) -> None:
        _require_manager("a SessionGroup", manager)
        host = manager._host  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] -- a manager and its group are of one piece
        if manager.started or host in self._managers:
            raise AlreadyStartedError
        self._clock = self._common_clock(manager.clock)
        host.lifecycle.share_timeline(self._timelines)
        self._managers[host] = manager

    def _common_clock(self, clock: Clock) -> Clock:
        """Return the common clock of group and manager; of two real ones, the one with the shorter check_interval."""
        ours = self._clock
        if ours is None or ours is clock:
            return clock
        if type(ours) is not SystemClock or type(clock) is not SystemClock:
            raise ConfigurationError("clock", clock, f"must be the group's, {ours!r}: all members share one")
        return clock if clock.check_interval < ours.check_interval else ours

    def _attach(self, driver: Driver, manager: SessionBoundaryManager) -> Host:
        return manager._attach(driver, "SessionGroup")  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] -- a manager and its group are of one piece

    def _waited_for_by(self, host: Host) -> Iterator[Host]:
        """Yield a host, and those whose end its own rolls and handlers wait for, by calls of `remove`."""
        found, waiting = {host: None}, [host]
        while waiting:
            host = waiting.pop()
            yield host
            for target, scopes in self._removals:
                if target not in found and host.awaits(scopes):
                    found[target] = None
                    waiting.append(target)

    def _unregister(self, host: Host) -> None:
        """Remove a member that has stopped, and wake the calls of `remove` for it."""
        self._managers.pop(host, None)
        departed = self._departures.pop(host, None)
        if departed is not None:
            departed.set()


def _require_manager(call: str, manager: object) -> None:
    """Refuse what is not a manager."""
    if not isinstance(manager, SessionBoundaryManager):
        msg = f"{call} takes SessionBoundaryManagers, not {manager!r}"
        raise TypeError(msg)
