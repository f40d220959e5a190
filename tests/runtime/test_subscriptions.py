"""Events on their way to their readers: order, overrun, end, and readers that go away."""

import gc
from collections.abc import AsyncIterator

import anyio
import pytest

from session_lifecycle import ClockStepped, Event, HorizonNear, SubscriberOverrun
from session_lifecycle._runtime.subscriptions import LIMIT, Broadcast, Subscription
from tests.helpers.builders import DAY, MONDAY

pytestmark = pytest.mark.anyio


def event(number: int) -> Event:
    return ClockStepped(number * DAY)


def numbers(events: list[Event]) -> list[int]:
    return [each.delta.days for each in events if isinstance(each, ClockStepped)]


async def read(subscription: AsyncIterator[Event]) -> list[int]:
    """Read to the end."""
    with anyio.fail_after(10):
        return numbers([each async for each in subscription])


@pytest.fixture
async def broadcast() -> Broadcast:
    return Broadcast()


async def test_events_come_in_order_and_end(broadcast: Broadcast) -> None:
    """A reader gets what was published since it subscribed, in order, what was unread at the end too; then it ends."""
    broadcast.publish(event(0))
    reader = broadcast.subscribe()
    assert aiter(reader) is reader
    for number in (1, 2, 3):
        broadcast.publish(event(number))
    broadcast.close()
    broadcast.publish(event(4))
    assert await read(reader) == [1, 2, 3]
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await anext(reader)


async def test_a_late_reader_has_ended(broadcast: Broadcast) -> None:
    """Who subscribes after the end gets nothing, and does not wait for it."""
    broadcast.close()
    assert await read(broadcast.subscribe()) == []
    broadcast.close()


async def test_readers_are_independent(broadcast: Broadcast) -> None:
    """Each reader has every event for itself, from its own beginning and at its own pace."""
    early = broadcast.subscribe()
    broadcast.publish(event(1))
    late = broadcast.subscribe()
    broadcast.publish(event(2))
    assert numbers([await anext(early)]) == [1]
    assert numbers([await anext(late)]) == [2]
    broadcast.close()
    assert (await read(early), await read(late)) == ([2], [])


async def test_a_reader_may_want_some_only(broadcast: Broadcast) -> None:
    """An event that the reader does not want is not kept for it, and does not wake it."""
    reader = broadcast.subscribe(lambda each: isinstance(each, HorizonNear))
    for number in range(LIMIT + 1):
        broadcast.publish(event(number))
    broadcast.publish(HorizonNear(MONDAY))
    broadcast.close()
    assert [each async for each in reader] == [HorizonNear(MONDAY)]


async def test_waiting_readers_wake_in_the_order_of_subscription(broadcast: Broadcast) -> None:
    """An event wakes everybody who waits for one, and each gets it."""
    got: list[tuple[str, int]] = []

    async def wait(name: str, reader: Subscription) -> None:
        async for each in reader:
            got.extend((name, number) for number in numbers([each]))

    async with anyio.create_task_group() as tasks:
        for name in "ab":
            tasks.start_soon(wait, name, broadcast.subscribe())
        for number in (1, 2):
            await anyio.wait_all_tasks_blocked()
            broadcast.publish(event(number))
        await anyio.wait_all_tasks_blocked()
        broadcast.close()
    assert sorted(got) == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    assert [number for _, number in got] == [1, 1, 2, 2]


async def test_fault_49_a_reader_that_falls_behind_is_overrun(broadcast: Broadcast) -> None:
    """After 10,000 unread events a reader gets those, then SubscriberOverrun, then its end; others miss nothing."""
    assert LIMIT == 10_000
    slow, quick = broadcast.subscribe(), broadcast.subscribe()
    for number in range(LIMIT + 5):
        broadcast.publish(event(number))
        assert numbers([await anext(quick)]) == [number]
    assert numbers([await anext(slow) for _ in range(LIMIT)]) == list(range(LIMIT))
    with pytest.raises(SubscriberOverrun) as caught:
        await anext(slow)
    assert caught.value.limit == LIMIT
    broadcast.publish(event(0))
    assert await read(slow) == []
    broadcast.close()
    assert numbers([each async for each in quick]) == [0]


async def test_exactly_the_limit_is_no_overrun(broadcast: Broadcast) -> None:
    """10,000 unread events are within bounds, and room made by reading can be filled again."""
    reader = broadcast.subscribe()
    for number in range(LIMIT):
        broadcast.publish(event(number))
    assert numbers([await anext(reader)]) == [0]
    broadcast.publish(event(LIMIT))
    broadcast.close()
    assert await read(reader) == list(range(1, LIMIT + 1))


async def test_an_overrun_outlasts_the_end(broadcast: Broadcast) -> None:
    """A reader that was overrun is told so even when the manager has stopped meanwhile."""
    reader = broadcast.subscribe()
    for number in range(LIMIT + 1):
        broadcast.publish(event(number))
    broadcast.close()
    with pytest.raises(SubscriberOverrun):
        await read(reader)


async def test_fault_49_a_reader_that_nobody_holds_is_forgotten(broadcast: Broadcast) -> None:
    """A subscription that is dropped, waited on or not, takes no memory and gets no more events."""
    kept = broadcast.subscribe()
    for _ in range(100):
        broadcast.subscribe()

    async def give_up() -> None:
        dropped = broadcast.subscribe()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dropped.__anext__)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()

    await give_up()
    await anyio.wait_all_tasks_blocked()  # a loop may hold on to a task until its next pass
    gc.collect()
    assert list(broadcast._subscriptions) == [1]
    broadcast.publish(event(1))
    broadcast.publish(event(2))
    broadcast.close()
    assert await read(kept) == [1, 2]


async def test_a_reader_may_go_away_while_events_are_handed_out(broadcast: Broadcast) -> None:
    """A reader that vanishes, or one that appears, in the middle of a publication disturbs nobody."""
    readers: dict[str, Subscription] = {}

    def drop_the_other_and_subscribe(_: Event) -> bool:
        readers.pop("other", None)
        readers.setdefault("new", broadcast.subscribe())
        return True

    readers["first"] = broadcast.subscribe(drop_the_other_and_subscribe)
    readers["other"] = broadcast.subscribe()
    readers["last"] = broadcast.subscribe()
    broadcast.publish(event(1))
    broadcast.close()
    assert {name: await read(reader) for name, reader in readers.items()} == {"first": [1], "last": [1], "new": []}


async def test_two_tasks_may_share_a_subscription(broadcast: Broadcast) -> None:
    """Two tasks that wait on one subscription share its events: each event goes to one of them, and both end."""
    shared = broadcast.subscribe()
    got: list[int] = []

    async def work() -> None:
        got.extend(await read(shared))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        tasks.start_soon(work)
        for number in range(4):
            await anyio.wait_all_tasks_blocked()
            broadcast.publish(event(number))
        broadcast.close()
    assert sorted(got) == [0, 1, 2, 3]


async def test_a_cancelled_wait_loses_nothing(broadcast: Broadcast) -> None:
    """A reader cancelled while it waits, even as the event arrives, finds the event at its next attempt."""
    reader = broadcast.subscribe()
    scopes: list[anyio.CancelScope] = []
    got: list[Event] = []

    async def wait() -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            got.append(await anext(reader))

    for number in (1, 2):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            if number == 2:  # the event and the cancellation arrive together
                broadcast.publish(event(number))
            scopes[-1].cancel()
    broadcast.close()
    assert numbers(got) + await read(reader) == [2]


async def test_reading_what_is_there_heeds_cancellation(broadcast: Broadcast) -> None:
    """A cancelled reader is cancelled even where an event is at hand, which stays unread."""
    reader = broadcast.subscribe()
    broadcast.publish(event(1))
    with anyio.CancelScope() as scope:
        scope.cancel()
        await anext(reader)
    assert scope.cancelled_caught
    broadcast.close()
    assert await read(reader) == [1]
