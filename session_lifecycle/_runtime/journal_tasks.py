"""The tasks that write the journals of all hosts, keep their leadership, and close them.

They run outside of the task group of the application's code, and no cancellation from outside ends them: what has been
submitted to a ledger is written, within the bounds of the journal, before the driver returns.
"""

from collections.abc import Callable
from typing import Final

import anyio

from session_lifecycle._runtime.app_tasks import Scheduler
from session_lifecycle._runtime.callbacks import absorb_foreign_cancellation
from session_lifecycle._runtime.event_log import LOGGER
from session_lifecycle._runtime.host import Host
from session_lifecycle._runtime.host_state import NEW
from session_lifecycle._runtime.sure_start import start_surely

_PAUSE_SECONDS: Final = 1.0


class JournalTasks:
    """Writes, leads and closes the journals of all hosts.

    Args:
        scheduler: the driver.
        on_closed: called with each host once its journal is closed.
    """

    __slots__ = (
        "_closing",
        "_event",
        "_flushing",
        "_held",
        "_leading",
        "_on_closed",
        "_ready",
        "_scheduler",
        "_sharing",
        "_stopping",
    )

    def __init__(self, scheduler: Scheduler, on_closed: Callable[[Host], None]) -> None:
        self._scheduler: Final = scheduler
        self._on_closed: Final = on_closed
        self._ready: dict[Host, None] = {}
        self._closing: dict[Host, None] = {}
        self._sharing: dict[Host, None] = {}
        self._leading: dict[Host, anyio.CancelScope] = {}
        self._flushing: set[Host] = set()
        self._event = anyio.Event()
        self._held = False
        self._stopping = False

    def request(self, host: Host) -> None:
        """Write what waits in a host's ledger."""
        self._ready[host] = None
        self._event.set()

    def close(self, host: Host) -> None:
        """Write what waits in a host's ledger, and close its journal."""
        self._closing[host] = None
        self._event.set()

    def share(self, host: Host) -> None:
        """Keep or follow the lead of a journal that other replicas share."""
        self._sharing[host] = None
        self._event.set()

    def hold(self) -> None:
        """Go on until `stop`, whatever is cancelled meanwhile: journals will be opened."""
        self._held = True
        self._event.set()

    def stop(self) -> None:
        """Return from `run` once everything that was asked for is done."""
        self._stopping = True
        self._event.set()

    async def run(self, *, task_status: "anyio.abc.TaskStatus[None]") -> None:
        """Run until `stop`."""
        task_status.started()
        while not self._held:
            try:
                await self._wait()
            except anyio.get_cancelled_exc_class():
                if not self._held:  # no journal is open yet, and this start may not have succeeded
                    raise
        self._event.set()  # for what has been asked for together with `hold`
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as group:
                while self._ready or self._closing or self._flushing or not self._stopping:
                    await self._wait()
                    await self._start_tasks(group)
                group.cancel_scope.cancel("the driver ends")

    async def _wait(self) -> None:
        try:
            await self._event.wait()
        except anyio.get_cancelled_exc_class():
            if not absorb_foreign_cancellation():
                raise
        self._event = anyio.Event()

    async def _start_tasks(self, group: "anyio.abc.TaskGroup") -> None:
        """Start a task for each host that has something to write or is to be closed; one at a time for each."""
        for host in [host for host in self._ready if host not in self._flushing]:
            del self._ready[host]
            await start_surely(group, self._flush, host)
        while self._sharing:
            host, _ = self._sharing.popitem()
            await start_surely(group, self._lead, host)
        for host in [host for host in self._closing if host not in self._flushing and host not in self._ready]:
            leading = self._leading.get(host)
            if leading is not None:
                leading.cancel("the manager stops")  # comes again once that has ended
                continue
            del self._closing[host]
            await start_surely(group, self._close, host)

    async def _flush(self, host: Host, *, task_status: "anyio.abc.TaskStatus[None]") -> None:
        self._flushing.add(host)
        try:
            task_status.started()
            await self._write(host)
        finally:
            self._flushing.discard(host)
            self._event.set()

    async def _write(self, host: Host) -> None:
        ledger = host.ledger
        if ledger is None:
            return

        def settled() -> None:
            if host.state is not NEW:  # its beginning is emitted once all of it is durable
                self._scheduler.emit(host)
                self._scheduler.wake(host)

        error = await ledger.flush(self._scheduler.observe_or_last, settled)
        if error is not None:
            host.journal_failed(error, self._scheduler.observe_or_last())
            settled()

    async def _lead(self, host: Host, *, task_status: "anyio.abc.TaskStatus[None]") -> None:
        """Keep the lead of a shared journal, or follow the replica that has it, until the host stops."""
        with anyio.CancelScope() as scope:
            self._leading[host] = scope
            try:
                task_status.started()
                told = ""
                while True:
                    told = await self._lead_once(host, told)
            finally:
                del self._leading[host]
                self._event.set()

    async def _lead_once(self, host: Host, told: str) -> str:
        """Do so until something has changed. Return what has failed, which is not told again where it is `told`."""
        replica, failed = host.replica, ""
        assert replica is not None
        try:
            if host.lifecycle.leading:  # not `journal.leads`, which ends by itself: the host hears of it from keep()
                reason = await replica.journal.keep()
                if reason is not None:
                    host.lose_lead(reason, self._scheduler.observe_or_last())
            else:
                records = await replica.journal.follow()
                replica.follow(records, self._scheduler.observe_or_last())
        except Exception as error:  # the journal may be the application's own code
            failed = f"{type(error).__name__}: {error}"
            if failed != told:
                name = host.lifecycle.schedule.name
                LOGGER.exception("%s: the lead of the journal could not be kept or followed", name)
            await anyio.sleep(_PAUSE_SECONDS)
        except anyio.get_cancelled_exc_class():
            if not absorb_foreign_cancellation():
                raise
        replica.report_skew(self._scheduler.observe_or_last())
        self._scheduler.emit(host)
        self._scheduler.wake(host)
        return failed

    async def _close(self, host: Host, *, task_status: "anyio.abc.TaskStatus[None]") -> None:
        self._flushing.add(host)
        try:
            task_status.started()
            await host.close_journal()  # although `TaskGroup.start` cancels this task where its caller is cancelled
        finally:
            self._flushing.discard(host)
            self._event.set()
            self._on_closed(host)
