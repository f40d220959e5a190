"""Who is inside whose roll: so that a call that would wait for itself can be refused at once.

A manager awaits the application's code (its roll) inside a `Section`. A task started from there inherits the mark with
its context, but only for as long as the section lasts: a background task that a roll leaves behind is free again.
"""

from contextvars import ContextVar, Token
from types import TracebackType
from typing import Self


class Section:
    """A stretch of application code that `owner` is awaiting. Enter it in the task that runs the code."""

    __slots__ = ("_open", "_owner", "_token")

    def __init__(self, owner: object) -> None:
        self._owner = owner
        self._open = False
        self._token: Token[tuple[Section, ...]] | None = None

    def __enter__(self) -> Self:
        self._token = _sections.set((*_sections.get(), self))
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        if self._token is not None:
            _sections.reset(self._token)

    def holds(self, owner: object | None) -> bool:
        """Tell whether this section still lasts and is `owner`'s (None: anybody's)."""
        return self._open and (owner is None or owner is self._owner)


_sections: ContextVar[tuple[Section, ...]] = ContextVar("session_lifecycle_sections", default=())


def inside(owner: object | None = None) -> bool:
    """Tell whether the calling task runs inside application code that `owner` (None: anybody) is awaiting."""
    return any(section.holds(owner) for section in _sections.get())
