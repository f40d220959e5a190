"""A bound on how many rolls are awaited at a time: first come, first served; and of one host one at a time."""

from typing import Final

from session_lifecycle._runtime.host import Host


class RollSlots:
    """The slots in which rolls are awaited, and the queue of hosts whose rolls are due.

    Args:
        limit: how many rolls may be awaited at a time. None: any number.
    """

    __slots__ = ("_limit", "_taken", "_waiting")

    def __init__(self, limit: int | None) -> None:
        self._limit: Final = limit
        self._taken = 0
        self._waiting: dict[Host, None] = {}  # a dict, because it keeps its order

    def __contains__(self, host: Host) -> bool:
        """Return whether a host's roll is due and waits for a slot, or for the end of its earlier attempt."""
        return host in self._waiting

    def request(self, host: Host) -> bool:
        """Return whether a roll that is due may begin; where it may not, its host waits in the queue.

        An attempt is under way still where the lead was lost in it, and gained again before it has ended.
        """
        self._waiting.setdefault(host)
        if self.next_host is not host:
            return False
        del self._waiting[host]
        return True

    def withdraw(self, host: Host) -> None:
        """Remove a host from the queue: its roll is not due any more."""
        self._waiting.pop(host, None)

    def take(self) -> None:
        """Count a roll that has begun."""
        self._taken += 1

    def free(self) -> None:
        """Count a roll that has ended."""
        self._taken -= 1

    @property
    def next_host(self) -> Host | None:
        """The host that waits longest, of those with no attempt under way, where there is a slot for it."""
        if self._limit is not None and self._taken >= self._limit:
            return None
        return next((host for host in self._waiting if host.attempt is None), None)
