"""Events on their way to their readers: buffered for each, bounded, and never in the machine's way."""

from collections import deque
from collections.abc import Callable
from typing import Final, Self
from weakref import ref

import anyio
import anyio.lowlevel

from session_lifecycle.errors import SubscriberOverrun
from session_lifecycle.events import Event

LIMIT: Final = 10_000
"""How many events a reader may leave unread before later ones are dropped for it."""


class Subscription:
    """One reader's events, as an async iterator. It misses nothing from its creation on, and ends with the manager.

    Raises:
        SubscriberOverrun: (on iteration) the reader left `LIMIT` events unread; it gets those first, then this.
    """

    def __init__(self, wanted: Callable[[Event], bool] | None = None) -> None:
        self._wanted: Final = wanted or _anything
        self._events: deque[Event] = deque()
        self._news: anyio.Event | None = None
        self._overrun = False
        self._ended = False
        self.number = 0
        """What its broadcast knows it by."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Return the oldest unread event: at once where there is one, without yielding to other tasks."""
        await anyio.lowlevel.checkpoint_if_cancelled()
        while not self._events:
            if self._overrun:
                self._overrun = False
                raise SubscriberOverrun(LIMIT)
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
        if len(self._events) < LIMIT:
            self._events.append(event)
        else:
            self._overrun = self._ended = True
        self._wake()

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

    def __init__(self) -> None:
        self._readers: dict[int, ref[Subscription]] = {}  # in order of subscription, so that wakes are deterministic
        self._count = 0
        self._closed = False

    def subscribe(self, wanted: Callable[[Event], bool] | None = None) -> Subscription:
        """Return a new reader's subscription, which has ended already where the manager has."""
        subscription = Subscription(wanted)
        self.add(subscription)
        return subscription

    def add(self, subscription: Subscription) -> None:
        """Add a reader, for as long as somebody holds it."""
        if self._closed:
            subscription.end()
        else:
            number = subscription.number = self._count = self._count + 1
            readers = self._readers
            readers[number] = ref(subscription, lambda _: readers.pop(number, None))

    def remove(self, subscription: Subscription) -> None:
        """Forget a reader now, whoever still holds it."""
        self._readers.pop(subscription.number, None)

    def publish(self, event: Event) -> None:
        """Hand an event to every reader."""
        for reader in tuple(self._readers.values()):
            if (subscription := reader()) is not None:
                subscription.put(event)

    def close(self) -> None:
        """End every reader's iteration, once it has read what it has."""
        self._closed = True
        for reader in tuple(self._readers.values()):
            if (subscription := reader()) is not None:
                subscription.end()
        self._readers.clear()
