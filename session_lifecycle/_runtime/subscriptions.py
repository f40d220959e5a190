"""Subscriptions to events: a bounded buffer for each, so that a slow reader never delays the machine."""

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Final, Self
from weakref import ref

import anyio

from session_lifecycle._model.errors import SubscriberOverrun
from session_lifecycle._model.events import Event

EventFilter = Callable[[Event], bool]
"""Returns whether a subscription takes an event."""

LIMIT: Final = 10_000
"""How many unread events a subscription buffers; those that come after are dropped."""


class Subscription:
    """An async iterator over events. It misses none from its creation on, and ends with the manager or the group.

    Raises:
        SubscriberOverrun: (on iteration) more events came than the buffer holds. Those in the buffer are returned
            first, then this is raised, and the iteration ends.
    """

    __module__ = "session_lifecycle"

    __slots__ = (
        "__weakref__",
        "_check_every",
        "_ended",
        "_events",
        "_filter",
        "_limit",
        "_overrun",
        "_unchecked",
        "_wakeup",
        "key",
    )

    def __init__(self, event_filter: EventFilter | None = None, *, limit: int = LIMIT, check_every: int = 1) -> None:
        self._filter: Final = event_filter or _any_event
        self._limit: Final = limit
        self._check_every: Final = check_every
        self._events: deque[Event] = deque()
        self._wakeup: anyio.Event | None = None
        self._overrun = False
        self._ended = False
        self._unchecked = 0  # how many more events are returned before the next check for a cancellation
        self.key: int = 0
        """Its key in its broadcast."""

    def __aiter__(self) -> Self:
        return self

    @property
    def ended(self) -> bool:
        """Whether no more events are buffered: the manager has stopped, or the buffer has overrun."""
        return self._ended

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
            if self._wakeup is None:
                self._wakeup = anyio.Event()
            await self._wakeup.wait()
        return self._events.popleft()

    def put(self, event: Event) -> None:
        """Buffer an event, unless the filter refuses it or the subscription has ended or been overrun."""
        if self._ended or not self._filter(event):
            return
        if len(self._events) < self._limit:
            self._events.append(event)
        else:
            self._overrun = self._ended = True
        self._wake()

    def put_all(self, events: Sequence[Event]) -> None:
        """Buffer events, each as `put` does."""
        if self._filter is _any_event and not self._ended and len(self._events) + len(events) <= self._limit:
            self._events.extend(events)
            self._wake()
        else:
            for event in events:
                self.put(event)

    def end(self) -> None:
        """End the iteration once the buffered events have been read."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._wakeup is not None:
            self._wakeup.set()
            self._wakeup = None


def _any_event(_: Event) -> bool:
    return True


class Broadcast:
    """Publishes events to its subscriptions. It holds them weakly: one without a reference elsewhere is removed."""

    __slots__ = ("__weakref__", "_closed", "_last_key", "_subscriptions")

    def __init__(self) -> None:
        # In the order of subscription, so that wakes are deterministic. None until there is one.
        self._subscriptions: dict[int, ref[Subscription]] | None = None
        self._last_key = 0
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it publishes nothing any more."""
        return self._closed

    def subscribe(
        self, event_filter: EventFilter | None = None, *, limit: int = LIMIT, check_every: int = 1
    ) -> Subscription:
        """Return a new subscription; one to a closed broadcast has ended already."""
        subscription = Subscription(event_filter, limit=limit, check_every=check_every)
        self.add(subscription)
        return subscription

    def add(self, subscription: Subscription) -> None:
        """Add a subscription, for as long as the caller holds it. One to a closed broadcast ends at once."""
        if self._closed:
            subscription.end()
        else:
            key = subscription.key = self._last_key = self._last_key + 1
            subscriptions = self._subscriptions = self._subscriptions or {}
            subscriptions[key] = ref(subscription, lambda _: subscriptions.pop(key, None))

    def remove(self, subscription: Subscription) -> None:
        """Remove a subscription now: it gets no more events, and does not end."""
        if self._subscriptions is not None:
            self._subscriptions.pop(subscription.key, None)

    def publish(self, event: Event) -> None:
        """Put an event into every subscription."""
        if not self._subscriptions:
            return
        for reference in tuple(self._subscriptions.values()):
            if (subscription := reference()) is not None:
                subscription.put(event)

    def publish_all(self, events: Sequence[Event]) -> None:
        """Put events into every subscription."""
        for reference in tuple((self._subscriptions or {}).values()):
            if (subscription := reference()) is not None:
                subscription.put_all(events)

    def close(self) -> None:
        """End every subscription; the events that are buffered can still be read."""
        self._closed = True
        subscriptions, self._subscriptions = self._subscriptions, None
        for reference in tuple((subscriptions or {}).values()):
            if (subscription := reference()) is not None:
                subscription.end()


def in_time_order(emitted: Sequence[Sequence[Event]]) -> list[Event]:
    """Merge what several hosts emitted in one iteration, by the instants at which it was due; keep the order of each.

    An event without such an instant takes that of its host's event before it, or else of the one after it.
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
