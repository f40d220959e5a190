"""Many managers in one task: membership, the order of events, rolls side by side, and nobody in another's way."""

from datetime import date
from typing import Any

import anyio
import pytest

from session_lifecycle import (
    AlreadyStartedError,
    ClockStepped,
    ConfigurationError,
    FixedSchedule,
    GroupStopped,
    JournalLocked,
    LifecycleConfig,
    ManagerStopped,
    MemoryJournal,
    NotAMember,
    NotRunningError,
    ReentrancyError,
    RollSucceeded,
    SessionBoundaryManager,
    SessionGroup,
    SessionState,
    StateChanged,
    SubscriberOverrun,
    SystemClock,
)
from session_lifecycle._runtime import group as group_module
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MONDAY, at
from tests.helpers.group import EVENING, LONDON, MORNING, NOON, Desk, told
from tests.helpers.harness import (
    ACTIVE,
    DEAF,
    ENDED,
    ERROR,
    HOUR,
    MINUTE,
    NOW,
    POST_MARKET,
    SECOND,
    TUESDAY,
    Rolls,
    path,
    roll_nothing,
    season,
)

pytestmark = pytest.mark.anyio


# ---- the group as a whole ----


async def test_once_entered_every_member_has_caught_up():
    """The first line of the body finds every member where the clock says that it is."""
    desk = Desk(NOON)
    early = desk.manager("london", schedule=LONDON)
    late = desk.manager("new york")
    async with SessionGroup([early, late]) as group:
        assert (early.state, late.state) == (ACTIVE, ACTIVE)
        assert group.managers == (early, late)
        await desk.clock.advance_to(at(MONDAY, (16, 30)))
        assert (early.state, late.state) == (POST_MARKET, ACTIVE)
    assert group.managers == ()
    assert early.state is POST_MARKET


async def test_members_tell_what_they_tell_alone():
    """Of each member the group tells exactly what the manager tells where it runs alone, in that order."""
    alone = Desk(MORNING)
    expected = []
    for schedule in (season(), LONDON):
        desk = Desk(MORNING)
        manager = desk.manager(schedule.name, schedule=schedule)
        events = manager.events()
        async with manager:
            await desk.clock.advance_to(at(TUESDAY, (7, 0)))
        expected.append([event async for event in events])
    managers = [alone.manager(schedule.name, schedule=schedule) for schedule in (season(), LONDON)]
    events = await told(SessionGroup(managers), alone.clock, at(TUESDAY, (7, 0)))
    assert [[event for event in events if event.name == manager._lifecycle.name] for manager in managers] == expected


async def test_events_come_in_the_order_of_time():
    """What several are late for is told by the instants at which it was due; each keeps its own order."""
    desk = Desk(MORNING)
    group = SessionGroup([desk.manager("london", schedule=LONDON), *desk.managers("one", "two")])
    events = group.events()
    async with group:
        desk.clock.step(12 * HOUR)
        await desk.clock.advance(NOW)
    changes = [event for event in [event async for event in events] if isinstance(event, StateChanged)]
    stepped = changes[[change.observed_at for change in changes].index(MORNING + 12 * HOUR) :]
    assert [change.scheduled_at for change in stepped] == sorted(change.scheduled_at for change in stepped)
    assert len({change.name for change in stepped}) == 3


async def test_a_step_is_news_to_every_member():
    """A step of the wall clock that one member's call has seen first is told to the others too."""
    desk = Desk(NOON)
    one, two = desk.managers("one", "two")
    async with SessionGroup([one, two]) as group:
        events = group.events()
        desk.clock.step(HOUR)
        one.fail("first to look")
        await desk.clock.advance(NOW)
        assert two.status().observed_at == desk.clock.now()
    steps = [event.name for event in [event async for event in events] if isinstance(event, ClockStepped)]
    assert sorted(steps) == ["one", "two"]


async def test_an_empty_group_waits_for_members():
    """A group of nobody runs, takes in members, and goes on when the last one has left."""
    desk = Desk(NOON)
    async with SessionGroup(clock=desk.clock) as group:
        await desk.clock.advance(DAY)
        manager = desk.manager("one")
        await group.add(manager)
        assert manager.state is ACTIVE
        await group.remove(manager)
        await desk.clock.advance(HOUR)
        assert group.managers == ()
        await group.add(another := desk.manager("two"))
        await desk.clock.advance_to(at(TUESDAY, (21, 0)))
        assert another.state is POST_MARKET


async def test_in_a_task_group_of_the_applications():
    """`await task_group.start(group.run)` returns once all have caught up, and `stop()` ends it."""
    desk = Desk(NOON)
    (manager,) = desk.managers("one")
    group = SessionGroup([manager])
    async with anyio.create_task_group() as tasks:
        await tasks.start(group.run)
        assert manager.state is ACTIVE
        group.stop()
        group.stop()
    with pytest.raises(ManagerStopped):
        manager.fail("too late")


async def test_on_the_real_clock_members_share_the_default():
    """Managers without a clock go by one `SystemClock`; of two settings the shorter interval counts."""
    slow, quick = (
        SessionBoundaryManager("XNYS", roll_nothing, config=LifecycleConfig(data_timeout=None, check_interval=interval))
        for interval in (2 * SECOND, SECOND)
    )
    async with SessionGroup([slow, quick]) as group:
        assert isinstance(group.clock, SystemClock)
        assert group.clock.check_interval == SECOND
        assert slow.scheduled_state is quick.scheduled_state


# ---- misuse ----


async def test_a_group_runs_once_and_a_manager_in_one_place():
    """What has been started, or is a member, is refused by the next that would run it; nothing changes by that."""
    desk = Desk(NOON)
    one, two, three = desk.managers("one", "two", "three")
    async with one:
        with pytest.raises(AlreadyStartedError, match="SessionBoundaryManager"):
            SessionGroup([one])
    group = SessionGroup([two])
    with pytest.raises(AlreadyStartedError):
        await group.add(two)
    other = SessionGroup([two, three])
    async with group:
        with pytest.raises(AlreadyStartedError, match="SessionGroup"):
            await group.run()
        with pytest.raises(AlreadyStartedError):
            await other.run()
        with pytest.raises(AlreadyStartedError):
            await two.run()
        assert not three.started
        assert two.state is ACTIVE
    with pytest.raises(GroupStopped, match="a new SessionGroup"):
        await group.add(three)
    assert not three.started


async def test_a_group_that_is_leaving_takes_in_nobody():
    """Between `stop()` and the end, a roll may still be under way; whoever comes then is refused."""
    desk = Desk(EVENING)
    one, late = desk.managers("one", "late")
    refused: list[str] = []

    @one.on(RollSucceeded)
    async def add(event: RollSucceeded) -> None:
        try:
            await group.add(late)
        except GroupStopped as error:
            refused.append(str(error))

    one._host.roll_session = Rolls(desk.clock, 3 * MINUTE)
    async with SessionGroup([one]) as group:
        await desk.clock.advance_to(at(MONDAY, (21, 31)))
    assert len(refused) == 1
    assert not late.started


async def test_before_it_runs_there_is_nothing_to_stop():
    """`stop()` before the start is refused, and a member removed by then is free to run elsewhere."""
    desk = Desk(NOON)
    one, two = desk.managers("one", "two")
    group = SessionGroup([one, two])
    with pytest.raises(NotRunningError, match=r"group\.stop"):
        group.stop()
    await group.remove(two)
    assert group.managers == (one,)
    async with two:
        assert two.state is ACTIVE


@pytest.mark.parametrize("limit", [0, -1, True, 1.0, "two"])
def test_a_limit_that_is_none_is_refused(limit):
    """`max_concurrent_rolls` is a whole number above zero, or None."""
    with pytest.raises(ConfigurationError, match="max_concurrent_rolls"):
        SessionGroup(max_concurrent_rolls=limit)


def test_what_is_no_manager_is_refused():
    """A name, or a schedule, is no manager."""
    with pytest.raises(TypeError, match="SessionBoundaryManagers"):
        SessionGroup(["XNYS"])


def test_members_go_by_one_clock():
    """Managers with clocks of their own cannot be of one group, and are free to run elsewhere."""
    one, two = Desk(NOON).manager("one"), Desk(NOON).manager("two")
    with pytest.raises(ConfigurationError, match="all members share one"):
        SessionGroup([one, two])
    with pytest.raises(ConfigurationError, match="all members share one"):
        SessionGroup([one], clock=SystemClock())


async def test_removing_a_stranger_is_refused():
    """Only a member can be removed; one that has left is no stranger."""
    desk = Desk(NOON)
    one, stranger = desk.managers("one", "stranger")
    async with SessionGroup([one]) as group:
        with pytest.raises(NotAMember, match="not a member of this group"):
            await group.remove(stranger)
        one.stop()
        await desk.clock.advance(NOW)
        await group.remove(one)


# ---- beginning ----


async def test_one_that_cannot_begin_keeps_the_group_from_starting():
    """Where one member cannot begin, none runs, nothing is reported, and no journal stays locked."""
    desk = Desk(NOON)
    journals = {"one": MemoryJournal(), "two": MemoryJournal()}
    await journals["two"].open("fixed")
    managers = [desk.manager(name, journal=journal) for name, journal in journals.items()]
    events = managers[0].events()
    with pytest.raises(JournalLocked):
        await SessionGroup(managers).run()
    await journals["two"].close()
    assert [event async for event in events] == []
    again = [desk.manager(name, journal=journal) for name, journal in journals.items()]
    async with SessionGroup(again):
        assert [manager.state for manager in again] == [ACTIVE, ACTIVE]


async def test_one_that_cannot_be_added_changes_nothing(journals):
    """A manager that cannot begin has stopped, and the group goes on without it."""
    desk = Desk(NOON)
    one = desk.manager("one", journal=journals())
    late = desk.manager("late", journal=journals())
    async with SessionGroup([one]) as group:
        with pytest.raises(JournalLocked):
            await group.add(late)
        assert group.managers == (one,)
        with pytest.raises(AlreadyStartedError):
            await late.run()
        await desk.clock.advance_to(EVENING)
        assert one.state is POST_MARKET


# ---- leaving ----


async def test_a_member_that_stops_leaves_the_others_alone():
    """`manager.stop()` ends that manager's events, frees its journal, and stops nobody else."""
    desk = Desk(NOON)
    journal = MemoryJournal()
    one, two = desk.manager("one", journal=journal), desk.manager("two")
    events = one.events()
    async with SessionGroup([one, two]) as group:
        one.stop()
        await desk.clock.advance_to(EVENING)
        assert group.managers == (two,)
        assert (one.state, two.state) == (ACTIVE, POST_MARKET)
        assert path([event async for event in events]) == ["start_pre_market", "open_market"]
        await group.add(desk.manager("three", journal=journal))  # whose journal is free again
        with pytest.raises(ManagerStopped):
            one.fail("too late")


async def test_remove_waits_for_a_roll_under_way_and_for_handlers():
    """A removed member's attempt may finish, and its handlers may see to what they have been told."""
    desk = Desk(EVENING)
    rolls = Rolls(desk.clock, 3 * MINUTE)
    one, two = desk.manager("one", roll_session=rolls), desk.manager("two")
    seen: list[str] = []

    @one.on(RollSucceeded)
    async def write_down(event: RollSucceeded) -> None:
        await desk.clock.sleep(MINUTE)
        seen.append(f"rolled to {event.next_session}")

    async with SessionGroup([one, two]) as group:
        await desk.clock.advance_to(at(MONDAY, (21, 31)))
        assert one.state is ENDED
        await group.remove(one)
        assert rolls.done == [TUESDAY]
        assert seen == ["rolled to 2024-03-05"]
        assert one.session.date == TUESDAY
        assert group.managers == (two,)
    assert two.session.date == TUESDAY


async def test_remove_from_inside_itself_is_refused():
    """A handler, or a roll, cannot wait for its own manager to leave; it may remove another."""
    desk = Desk(EVENING)
    one, two = desk.managers("one", "two")
    refused: list[str] = []

    @one.on(SessionState.ENDED)
    async def leave(event: StateChanged) -> None:
        try:
            await group.remove(one)
        except ReentrancyError as error:
            refused.append(str(error))
        await group.remove(two)

    async with SessionGroup([one, two]) as group:
        await desk.clock.advance(HOUR)
        assert len(refused) == 1
        assert "group.remove()" in refused[0]
        assert group.managers == (one,)


async def test_an_error_of_the_body_cancels_every_roll():
    """Leaving by an exception waits for nobody, and the exception comes out as it is."""
    desk = Desk(EVENING)
    rolls = [Rolls(desk.clock, DAY) for _ in range(2)]
    managers = [desk.manager(str(n), roll_session=roll) for n, roll in enumerate(rolls)]

    async def body() -> None:
        async with SessionGroup(managers):
            await desk.clock.advance_to(at(MONDAY, (21, 31)))
            assert [roll.begun != [] for roll in rolls] == [True, True]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await body()
    assert [roll.done for roll in rolls] == [[], []]


async def test_after_a_cancellation_a_member_that_was_leaving_has_let_go_of_its_journal():
    """A member whose handler still runs when the group is cancelled is over, and its journal is free."""
    desk = Desk(NOON)
    journal = MemoryJournal()
    one, two = desk.manager("one", journal=journal), desk.manager("two")

    @one.on(SessionState.ERROR)
    async def never_ends(event: StateChanged) -> None:
        await anyio.sleep_forever()

    async def body() -> None:
        async with SessionGroup([one, two]):
            one.fail("to call the handler")
            one.stop()
            await desk.clock.advance(MINUTE)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await body()
    await journal.open("fixed")
    await journal.close()


# ---- one in nobody's way ----


async def test_a_failing_member_disturbs_no_other():
    """A roll that fails for good, a handler that raises and a schedule that breaks are their own manager's affair."""

    class Broken(FixedSchedule):
        broken = False

        def next_session(self, day: date) -> Any:
            if self.broken:
                raise RuntimeError("out of order")
            return super().next_session(day)

    desk = Desk(NOON)
    schedule = Broken(season().sessions(MONDAY, MONDAY + 20 * DAY))
    bad_roll = desk.manager("bad roll", roll_session=Rolls(desk.clock, *[OSError("down")] * 3))
    bad_handler, bad_schedule = desk.manager("bad handler"), desk.manager("bad schedule", schedule=schedule)
    good = desk.manager("good")

    @bad_handler.on(StateChanged)
    async def explode(event: StateChanged) -> None:
        raise ValueError("bad handler")

    async with SessionGroup([bad_roll, bad_handler, bad_schedule, good]):
        schedule.broken = True
        await desk.clock.advance_to(at(TUESDAY, (16, 0)))
        assert (bad_roll.state, bad_schedule.state) == (ERROR, ERROR)
        assert (bad_handler.state, good.state) == (ACTIVE, ACTIVE)


async def test_a_clock_that_fails_is_an_error_of_all():
    """Without a clock nothing can be known of anybody; each recovers by itself once it is well."""

    class Failing(SimulatedClock):
        broken = False

        def now(self) -> Any:
            if self.broken:
                raise OSError("no clock")
            return super().now()

    clock = Failing(NOON)
    managers = [
        SessionBoundaryManager(season(), roll_nothing, config=DEAF, clock=clock, name=name) for name in ("one", "two")
    ]
    async with SessionGroup(managers):
        clock.broken = True
        managers[0]._driver.wake(managers[0]._host)
        await anyio.wait_all_tasks_blocked()
        assert [manager.state for manager in managers] == [ERROR, ERROR]
        clock.broken = False
        for manager in managers:
            await manager.recover()
        assert [manager.state for manager in managers] == [ACTIVE, ACTIVE]


async def test_a_slow_reader_of_the_group_is_overrun(monkeypatch):
    """A reader that leaves too many unread gets those, then `SubscriberOverrun`; others and the members go on."""
    monkeypatch.setattr(group_module, "LIMIT", 5)
    desk = Desk(MORNING)
    group = SessionGroup(desk.managers("one", "two"))
    slow = group.events()
    async with group:
        await desk.clock.advance_to(at(TUESDAY, (16, 0)))
        kept = [await anext(slow) for _ in range(5)]
        assert all(isinstance(event, StateChanged) for event in kept)
        with pytest.raises(SubscriberOverrun):
            await anext(slow)


async def test_a_cancelled_reader_of_the_group_is_cancelled_soon():
    """A cancellation is heeded at once where nothing is unread, and after 32 events where much is."""
    desk = Desk(MORNING)
    group = SessionGroup([desk.manager(str(n)) for n in range(50)])
    events = group.events()
    read = 0
    async with group:
        await desk.clock.advance_to(NOON)
        with anyio.CancelScope() as scope:
            await anext(events)
            scope.cancel()
            while True:
                await anext(events)
                read += 1
        assert scope.cancelled_caught
        assert read <= 32
    assert len([event async for event in events]) == 100 - 1 - read
