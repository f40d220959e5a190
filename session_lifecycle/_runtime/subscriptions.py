"""Events on their way to their readers: buffered for each, bounded, and never in the machine's way."""

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Final, Self
from weakref import ref

import anyio
import anyio.lowlevel

from session_lifecycle._model.errors import SubscriberOverrun
from session_lifecycle._model.events import Event

LIMIT: Final = 10_000
"""How many events a reader may leave unread before later ones are dropped for it."""


class Subscription:
    """One reader's events, as an async iterator. It misses nothing from its creation on, and ends with the manager.

    Raises:
        SubscriberOverrun: (on iteration) the reader left `limit` events unread; it gets those first, then this.
    """

    __module__ = "session_lifecycle"

    __slots__ = (
        "__weakref__",
        "_check_every",
        "_ended",
        "_events",
        "_limit",
        "_news",
        "_overrun",
        "_unchecked",
        "_wanted",
        "number",
    )

    def __init__(
        self, wanted: Callable[[Event], bool] | None = None, *, limit: int = LIMIT, check_every: int = 1
    ) -> None:
        self._wanted: Final = wanted or _anything
        self._limit: Final = limit
        self._check_every: Final = check_every
        self._events: deque[Event] = deque()
        self._news: anyio.Event | None = None
        self._overrun = False
        self._ended = False
        self._unchecked = 0  # so many more unread events are handed out before a cancellation is looked for
        self.number: int = 0
        """What its broadcast knows it by."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Return the oldest unread event: at once where there is one, without yielding to other tasks."""
        if self._unchecked:
            self._unchecked -= 1
        else:
            await anyio.lowlevel.checkpoint_if_cancelled()
            self._unchecked = self._check_every - 1
        while not self._events:
            self._unchecked = 0
            if self._overrun:
                self._overrun = False
                raise SubscriberOverrun(self._limit)
            if self._ended:
                raise StopAsyncIteration
            if self._news is None:
                self._news = anyio.Event()
            await self._news.wait()
        return self._events.popleft()

    def put(self, event: Event) -> None:
        """Add an event, unless the reader does not want it or has been overrun."""
        if self._ended or not self._wanted(event):
            return
        if len(self._events) < self._limit:
            self._events.append(event)
        else:
            self._overrun = self._ended = True
        self._wake()

    def put_all(self, events: Sequence[Event]) -> None:
        """Add events, likewise."""
        if self._wanted is _anything and not self._ended and len(self._events) + len(events) <= self._limit:
            self._events.extend(events)
            self._wake()
        else:
            for event in events:
                self.put(event)

    def end(self) -> None:
        """Tell the reader that nothing more will come."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None


def _anything(_: Event) -> bool:
    return True


class Broadcast:
    """Hands each event to every reader. A reader that nobody holds any more is forgotten."""

    __slots__ = ("_closed", "_count", "_readers")

    def __init__(self) -> None:
        # In the order of subscription, so that wakes are deterministic. None until there is one.
        self._readers: dict[int, ref[Subscription]] | None = None
        self._count = 0
        self._closed = False

    def subscribe(
        self, wanted: Callable[[Event], bool] | None = None, *, limit: int = LIMIT, check_every: int = 1
    ) -> Subscription:
        """Return a new reader's subscription, which has ended already where the manager has."""
        subscription = Subscription(wanted, limit=limit, check_every=check_every)
        self.add(subscription)
        return subscription

    def add(self, subscription: Subscription) -> None:
        """Add a reader, for as long as somebody holds it."""
        if self._closed:
            subscription.end()
        else:
            number = subscription.number = self._count = self._count + 1
            readers = self._readers = self._readers or {}
            readers[number] = ref(subscription, lambda _: readers.pop(number, None))

    def remove(self, subscription: Subscription) -> None:
        """Forget a reader now, whoever still holds it."""
        if self._readers is not None:
            self._readers.pop(subscription.number, None)

    def publish(self, event: Event) -> None:
        """Hand an event to every reader."""
        if not self._readers:
            return
        for reader in tuple(self._readers.values()):
            if (subscription := reader()) is not None:
                subscription.put(event)

    def publish_all(self, events: Sequence[Event]) -> None:
        """Hand events to every reader."""
        for reader in tuple((self._readers or {}).values()):
            if (subscription := reader()) is not None:
                subscription.put_all(events)

    def close(self) -> None:
        """End every reader's iteration, once it has read what it has."""
        self._closed = True
        readers, self._readers = self._readers, None
        for reader in tuple((readers or {}).values()):
            if (subscription := reader()) is not None:
                subscription.end()


def in_time_order(emitted: Sequence[Sequence[Event]]) -> list[Event]:
    """Return what several have told in one turn, by the instants at which it was due, each one's own order kept.

    What has no such instant goes with its teller's event before it, or else the one after it.
    """
    if len(emitted) == 1:
        return list(emitted[0])
    dated: list[tuple[datetime, Event]] = []
    for events in emitted:
        instants = [getattr(event, "scheduled_at", None) for event in events]
        due = next((instant for instant in instants if instant is not None), events[0].observed_at)
        for event, instant in zip(events, instants, strict=True):
            due = due if instant is None else max(due, instant)
            dated.append((due, event))
    dated.sort(key=itemgetter(0))
    return [event for _, event in dated]
