"""Whom to look at when: a heap of distinct instants, each with a bucket of those that are due then.

Thousands on one schedule share their boundaries, so they share an entry of the heap: to come up costs each of them a
place in a list, not a push and a pop. Somebody whose deadline moves stays in the old bucket, and is passed over there.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from heapq import heappop, heappush
from typing import Generic, TypeVar

M = TypeVar("M")
T = TypeVar("T", datetime, timedelta)


class TimerQueue(Generic[M, T]):
    """The deadlines of many by one clock. `due_of` tells the one that somebody has by now, None for none."""

    __slots__ = ("_buckets", "_due_of", "_heap")

    def __init__(self, due_of: Callable[[M], T | None]) -> None:
        self._due_of: Callable[[M], T | None] = due_of
        self._heap: list[T] = []
        self._buckets: dict[T, list[M]] = {}

    def __len__(self) -> int:
        """Return how many distinct instants there are, those included that nobody waits for any more."""
        return len(self._heap)

    def schedule(self, due: T, host: M) -> None:
        """Have somebody come up at an instant, which is his deadline from now on."""
        bucket = self._buckets.get(due)
        if bucket is None:
            self._buckets[due] = [host]
            heappush(self._heap, due)
        else:
            bucket.append(host)

    def schedule_all(self, due: T, hosts: Iterable[M]) -> None:
        """Have many come up at an instant, likewise."""
        hosts = iter(hosts)
        for first in hosts:
            self.schedule(due, first)
            self._buckets[due].extend(hosts)

    def next_deadline(self) -> T | None:
        """Return the first instant that somebody still waits for; None where nobody waits."""
        heap, buckets, due_of = self._heap, self._buckets, self._due_of
        while heap:
            due = heap[0]
            bucket = buckets[due]
            while bucket and due_of(bucket[-1]) != due:
                bucket.pop()
            if bucket:
                return due
            del buckets[heappop(heap)]
        return None

    def pop_due(self, now: T) -> Iterator[M]:
        """Take all whose deadline has come: by their instants, and of the same instant as they were filed.

        Somebody may come up twice, where his deadline has moved away and back.
        """
        heap, due_of = self._heap, self._due_of
        while heap and heap[0] <= now:
            due = heappop(heap)
            for host in self._buckets.pop(due):
                if due_of(host) == due:
                    yield host
