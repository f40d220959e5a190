"""The progress of a host under its driver."""

from enum import Enum, unique
from typing import Final


@unique
class HostState(Enum):
    """The progress of a host under its driver, in the order in which it passes these states."""

    NEW = "new"
    """It has not begun."""
    RUNNING = "running"
    """It has begun, and is driven."""
    STOPPING = "stopping"
    """It is driven until its attempt to roll, if one is under way, has ended."""
    DRAINING = "draining"
    """It is not driven any more, and its handlers finish the events in their queues."""
    STOPPED = "stopped"
    """None of its tasks runs, and its journal is closed."""


NEW: Final = HostState.NEW
RUNNING: Final = HostState.RUNNING
STOPPING: Final = HostState.STOPPING
DRAINING: Final = HostState.DRAINING
STOPPED: Final = HostState.STOPPED
