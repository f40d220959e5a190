"""Cancel application code that may not end at its cancellation, without keeping a core busy.

On asyncio anyio delivers a cancellation in every turn of the event loop until the code has ended; on trio every wait of
such code fails at once. Code that swallows it, as a reconnect loop with a bare `except` does, then runs in circles. So
after some turns in vain the code is shielded, and its cancellation delivered once a second.
"""

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

import anyio

_TURNS: Final = 100
"""In how many turns of the event loop a cancellation is delivered before the code counts as stubborn."""

_PAUSE_SECONDS: Final = 1.0
"""How long a stubborn body is left alone between two deliveries, by the event loop's own time."""

OVERDUE_SECONDS: Final = 5.0
"""How long after its cancellation code that has not ended is reported, by the event loop's own time."""


class CallScope:
    """A cancel scope around application code. Enter it in the task that runs the code; `oversee` repeats its cancel.

    Args:
        on_cancel: called by the first `cancel`.
    """

    __slots__ = ("_inner", "_left", "_on_cancel", "_outer", "_stack", "left")

    def __init__(self, on_cancel: Callable[["CallScope"], None] | None = None) -> None:
        self._outer: Final = anyio.CancelScope()
        self._inner: Final = anyio.CancelScope()
        self._stack: Final = ExitStack()
        self._on_cancel = on_cancel
        self._left: anyio.Event | None = None
        self.left: bool = False
        """Whether the code has ended."""

    def __enter__(self) -> Self:
        self._stack.enter_context(self._outer)
        self._stack.enter_context(self._inner)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self.left, self._on_cancel = True, None
        if self._left is not None:
            self._left.set()
        return self._stack.__exit__(kind, error, trace)

    @property
    def cancel_called(self) -> bool:
        """Whether it has been cancelled."""
        return self._outer.cancel_called

    @property
    def cancelled_caught(self) -> bool:
        """Whether the code has ended by this scope's cancellation."""
        return self._outer.cancelled_caught

    def cancel(self, reason: str | None = None) -> None:
        """Cancel the code, which gets the reason in its cancellation. A second call does nothing."""
        self._outer.cancel(reason)
        on_cancel, self._on_cancel = self._on_cancel, None
        if on_cancel is not None:
            on_cancel(self)

    def expose(self) -> None:
        """Deliver what cancellations there are, of this scope or of one around it."""
        self._inner.shield = False

    def hide(self) -> None:
        """Deliver no cancellation for now."""
        self._inner.shield = True

    async def wait_left(self, seconds: float) -> None:
        """Wait until the code has ended, for so long at most, by the event loop's own time."""
        if self._left is None:
            self._left = anyio.Event()
        with anyio.move_on_after(seconds):
            await self._left.wait()


async def oversee(scope: CallScope, report: Callable[[float], None]) -> None:
    """Return once the code in a cancelled scope has ended; repeat the cancellation until then.

    `report` is called once, with the seconds since, where that takes `OVERDUE_SECONDS`. Where this call is cancelled
    itself, anyio delivers the cancellation as ever.
    """
    began = anyio.current_time()
    for _ in range(_TURNS):
        if scope.left:
            return
        await anyio.lowlevel.checkpoint()
    reported = False
    try:
        while not scope.left:
            scope.hide()
            await scope.wait_left(_PAUSE_SECONDS)
            elapsed = anyio.current_time() - began
            if scope.left:
                return
            if elapsed >= OVERDUE_SECONDS and not reported:
                reported = True
                report(elapsed)
            scope.expose()
            await anyio.lowlevel.checkpoint()  # in which it is delivered
    finally:
        scope.expose()
