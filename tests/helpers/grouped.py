"""Managers that run as members of a group wherever a test runs them alone: nothing else may change for them."""

from datetime import date
from types import TracebackType
from typing import Self

import anyio.abc

from session_lifecycle import SessionBoundaryManager, SessionGroup

COMPANION = "companion"
"""The name of the members beside the one that a test is about."""


async def _roll_nothing(next_date: date) -> None:
    """Succeed at once."""


class Grouped(SessionBoundaryManager):
    """A manager that runs in a group, beside another with the same schedule, configuration and clock.

    The other one's roll comes after its own: what the roll of a test does to the event loop is that test's affair.
    """

    __slots__ = ("_group",)

    def _make_group(self) -> SessionGroup:
        config = self._lifecycle.config
        companion = SessionBoundaryManager(
            self.schedule, _roll_nothing, config=config, clock=self.clock, name=COMPANION
        )
        self._group = SessionGroup([self, companion], max_concurrent_rolls=1)
        return self._group

    async def __aenter__(self) -> Self:
        self._refuse_inside("`async with`")
        await self._make_group().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._group.__aexit__(kind, error, trace)

    async def run(self, *, task_status: "anyio.abc.TaskStatus[None] | None" = None) -> None:
        """Run as a member; the group stops with it."""
        self._refuse_inside("run()")
        await self._make_group().run(task_status=task_status)

    def stop(self) -> None:
        """Stop. Within `async with` the group goes on until that is left; else nobody else would stop it."""
        super().stop()
        if self._group._block is None:
            self._group.stop()
