"""A timer queue that groups entries by instant: a heap of distinct instants, each with a bucket of entries.

Thousands of hosts on one schedule share their boundaries, and so one element of the heap: a timer costs each of them a
place in a list, not a push and a pop. An entry whose deadline has changed is skipped when its old instant comes up
(lazy deletion).
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from heapq import heappop, heappush
from typing import Generic, TypeVar

E = TypeVar("E")
T = TypeVar("T", datetime, timedelta)


class TimerQueue(Generic[E, T]):
    """The deadlines of many entries by one clock.

    Args:
        deadline_of: returns the present deadline of an entry, None for none. An entry in the bucket of any other
            instant has been deleted lazily.
    """

    __slots__ = ("_buckets", "_deadline_of", "_heap")

    def __init__(self, deadline_of: Callable[[E], T | None]) -> None:
        self._deadline_of: Callable[[E], T | None] = deadline_of
        self._heap: list[T] = []
        self._buckets: dict[T, list[E]] = {}

    def __len__(self) -> int:
        """Return the number of distinct instants, those included whose entries have all been deleted lazily."""
        return len(self._heap)

    def schedule(self, deadline: T, entry: E) -> None:
        """Add an entry at an instant, which is its deadline from now on."""
        bucket = self._buckets.get(deadline)
        if bucket is None:
            self._buckets[deadline] = [entry]
            heappush(self._heap, deadline)
        else:
            bucket.append(entry)

    def schedule_all(self, deadline: T, entries: Iterable[E]) -> None:
        """Add entries at one instant, which is the deadline of each from now on."""
        entries = iter(entries)
        for first in entries:
            self.schedule(deadline, first)
            self._buckets[deadline].extend(entries)

    def next_deadline(self) -> T | None:
        """Return the earliest deadline of any entry; None where no entry has one."""
        heap, buckets, deadline_of = self._heap, self._buckets, self._deadline_of
        while heap:
            deadline = heap[0]
            bucket = buckets[deadline]
            while bucket and deadline_of(bucket[-1]) != deadline:
                bucket.pop()
            if bucket:
                return deadline
            del buckets[heappop(heap)]
        return None

    def pop_due(self, now: T) -> Iterator[E]:
        """Remove and yield the entries whose deadline is `now` or earlier, by deadline and then in order of scheduling.

        An entry whose deadline was moved away and back is yielded twice, unless its deadline changes in between.
        """
        heap, deadline_of = self._heap, self._deadline_of
        while heap and heap[0] <= now:
            deadline = heappop(heap)
            for entry in self._buckets.pop(deadline):
                if deadline_of(entry) == deadline:
                    yield entry
