"""Alarms that have fired: a journal holds that one has begun, before its handlers are called, and that it has ended."""

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final

from session_lifecycle._journal.records import Entry, Record
from session_lifecycle._model.errors import LifecycleError
from session_lifecycle._model.events import AlarmFired, Event
from session_lifecycle._model.journal_events import AlarmInterrupted
from session_lifecycle._runtime.handlers import Handler
from session_lifecycle._runtime.ledger import LedgerEntry


class _Calls:
    """The calls of one alarm's handlers that have not ended."""

    __slots__ = ("begun", "event", "left")

    def __init__(self, event: AlarmFired, begun: LedgerEntry, left: int) -> None:
        self.event: Final = event  # held, so that its identity stays its own
        self.begun: Final = begun
        self.left = left


class AlarmCalls:
    """Records the alarms of one host.

    Args:
        note: has a record made durable; returns None where none is to be written.
    """

    __slots__ = ("_calls", "_note")

    def __init__(self, note: Callable[[Record], LedgerEntry | None]) -> None:
        self._note: Final = note
        self._calls: dict[int, _Calls] = {}  # by the identity of the event

    def observe(self, event: Event, handlers: Iterable[Handler]) -> None:
        """Have it recorded that an alarm fires, or that one which was interrupted has been reported."""
        if isinstance(event, AlarmInterrupted):
            self._note(Record(Entry.ALARM_ENDED, event.session, event.observed_at, subject=event.key))
        elif isinstance(event, AlarmFired) and not event.alarm.recurring_after_restart:
            begun = self._note(Record(Entry.ALARM_BEGUN, event.session, event.observed_at, subject=event.key))
            calls = sum(handler.takes(event) for handler in handlers)
            if begun is not None and calls:
                self._calls[id(event)] = _Calls(event, begun, calls)
            else:
                self._end(event)

    @asynccontextmanager
    async def recorded(self, event: AlarmFired) -> AsyncGenerator[None]:
        """Wait until it is durable that the alarm fires; after the last such block record that its handlers have ended.

        Where that cannot be made durable, the block is entered all the same: what the handler does is due now.
        """
        calls = self._calls.get(id(event))
        if calls is None:
            yield
            return
        with suppress(LifecycleError):  # it is logged
            await calls.begun.outcome()
        try:
            yield
        finally:
            self.call_ended(event)

    def call_ended(self, event: AlarmFired) -> None:
        """Count a call as ended; after the last one, record that the alarm has."""
        calls = self._calls.get(id(event))
        if calls is not None:
            calls.left -= 1
            if not calls.left:
                del self._calls[id(event)]
                self._end(event)

    def _end(self, event: AlarmFired) -> None:
        self._note(Record(Entry.ALARM_ENDED, event.session, event.observed_at, subject=event.key))
