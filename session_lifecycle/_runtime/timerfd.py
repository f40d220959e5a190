"""The kernel's word that the wall clock was set: it comes at once, but only on Linux, and with Python 3.13.

A timer on the kernel's wall clock, for an instant that never comes, becomes readable when that clock is set, and when
the machine goes on after a suspend. Its own instant serves nobody: how long to sleep is told by the clock that sleeps,
which may be a travelled one.
"""

import errno
import os
import sys
import time
from types import TracebackType
from typing import Final, Self

import anyio

_NEVER_SECONDS: Final = 2.0**33
"""The instant that never comes, since 1970: the year 2242. The kernel's own time ends in 2262."""

if sys.platform == "linux" and sys.version_info >= (3, 13) and hasattr(os, "timerfd_create"):

    def armed_timer() -> int:
        """Return the descriptor of a timer that reports when the wall clock is set.

        Raises:
            OSError: there is none to be had: too many files are open, for one.
        """
        fd = os.timerfd_create(time.CLOCK_REALTIME, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)
        try:
            flags = os.TFD_TIMER_ABSTIME | os.TFD_TIMER_CANCEL_ON_SET
            os.timerfd_settime(fd, flags=flags, initial=_NEVER_SECONDS)
        except BaseException:
            os.close(fd)
            raise
        return fd

else:

    def armed_timer() -> int:
        """Raise: there are no such timers here."""
        raise NotImplementedError


class StepWatch:
    """Sleeps, and wakes at once when the wall clock is set, where the kernel tells. A context manager for one task."""

    __slots__ = ("_fd", "_usable")

    def __init__(self) -> None:
        self._fd: int | None = None
        self._usable = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    async def sleep(self, seconds: float) -> None:
        """Sleep for so many seconds, or less: whoever calls this has to look at the clock after it."""
        if self._fd is None and self._usable:
            try:
                self._fd = armed_timer()
            except NotImplementedError:
                self._usable = False
            except OSError:
                pass  # perhaps there is one for the next sleep
            else:
                return  # what was set before is not reported: have another look first
        if self._fd is None:
            await anyio.sleep(seconds)
            return
        with anyio.move_on_after(seconds):
            try:
                await anyio.wait_readable(self._fd)
                os.read(self._fd, 8)
            except NotImplementedError:
                pass
            except OSError as error:
                if error.errno == errno.ECANCELED:
                    return  # the clock was set; the timer goes on reporting
            # The loop cannot wait for it, or it is not what it should be. Nothing may depend on it, or spin with it.
            self._usable = False
            self._close()

    def _close(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)
