"""Members in step: what a cohort takes over, what stays each member's own, and rolls side by side."""

import logging
from datetime import date, timedelta
from typing import Any

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from session_lifecycle import (
    ClockStepped,
    Entry,
    FixedSchedule,
    LifecycleConfig,
    LifecycleError,
    MissedSessions,
    RollStarted,
    SessionBoundaryManager,
    SessionGroup,
    SessionState,
    StateChanged,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MONDAY, at, session
from tests.helpers.group import EVENING, LONDON, MORNING, NOON, Desk, told
from tests.helpers.harness import (
    ACTIVE,
    DEAF,
    ENDED,
    ERROR,
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    POST_MARKET,
    SECOND,
    TIMEOUT,
    TUESDAY,
    WEDNESDAY,
    Rolls,
    roll_nothing,
    season,
)
from tests.helpers.manager_journal import Refusing

pytestmark = pytest.mark.anyio


# ---- rolls side by side ----


async def test_rolls_run_side_by_side():
    """A member's roll that takes an hour keeps no other from rolling and going on."""
    desk = Desk(EVENING)
    slow = desk.manager("slow", roll_session=Rolls(desk.clock, timedelta(minutes=4)))
    quick = desk.manager("quick")
    async with SessionGroup([slow, quick]):
        await desk.clock.advance_to(at(MONDAY, (21, 31)))
        assert (slow.state, quick.state) == (ENDED, NOT_STARTED)


@pytest.mark.parametrize(("limit", "seconds"), [(1, [0, 10, 20, 30, 40]), (2, [0, 0, 10, 10, 20]), (None, [0] * 5)])
async def test_at_most_so_many_rolls_at_a_time(limit, seconds):
    """The others wait their turn, first come first served; nobody's `roll_timeout` runs meanwhile."""
    config = LifecycleConfig(data_timeout=None, roll_timeout=15 * SECOND)
    desk = Desk(EVENING, config=config)
    rolls = [Rolls(desk.clock, 10 * SECOND) for _ in range(5)]
    managers = [desk.manager(str(n), roll_session=roll) for n, roll in enumerate(rolls)]
    events = await told(SessionGroup(managers, max_concurrent_rolls=limit), desk.clock, at(MONDAY, (22, 0)))
    end = at(MONDAY, (21, 30))
    assert [roll.instants for roll in rolls] == [[end + second * SECOND] for second in seconds]
    started = [event.observed_at for event in events if isinstance(event, RollStarted)]
    assert started == sorted(end + second * SECOND for second in seconds)
    assert [manager.session.date for manager in managers] == [TUESDAY] * 5


async def test_a_failed_attempt_gives_its_place_to_the_next():
    """While one waits to retry, another rolls; the retry waits its turn again."""
    desk = Desk(EVENING)
    failing = Rolls(desk.clock, OSError("down"), None)
    waiting = Rolls(desk.clock, 10 * SECOND)
    managers = [desk.manager("failing", roll_session=failing), desk.manager("waiting", roll_session=waiting)]
    async with SessionGroup(managers, max_concurrent_rolls=1):
        await desk.clock.advance_to(at(MONDAY, (21, 31)))
    end = at(MONDAY, (21, 30))
    assert failing.instants == [end, end + 10 * SECOND]
    assert waiting.instants == [end]


async def test_who_waits_goes_before_who_comes():
    """A roll that becomes due at the moment at which a place is free waits behind those that have waited."""
    desk = Desk(EVENING)
    order: list[str] = []

    def rolling(name: str) -> Any:
        async def roll(next_date: date) -> None:
            order.append(name)
            await desk.clock.sleep(MINUTE)
            if name == "first":
                tasks.start_soon(late.end_session, "as the first is done")

        return roll

    night = FixedSchedule([session(MONDAY, (20, 0), (23, 30)), session(TUESDAY, (20, 0), (23, 30))], name="night")
    first, second = (desk.manager(name, roll_session=rolling(name)) for name in ("first", "second"))
    late = desk.manager("late", schedule=night, roll_session=rolling("late"))
    async with SessionGroup([first, second, late], max_concurrent_rolls=1), anyio.create_task_group() as tasks:
        await desk.clock.advance_to(at(MONDAY, (21, 40)))
    assert order == ["first", "second", "late"]


async def test_who_catches_up_lets_the_others_go_between():
    """A member whose next roll is due as soon as one has ended waits behind those that have waited for their first."""
    desk = Desk(at(WEDNESDAY, (16, 0)), session=MONDAY, config=replace(DEAF, missed_sessions=MissedSessions.EACH))
    order: list[tuple[str, date]] = []

    def rolling(name: str) -> Any:
        async def roll(next_date: date) -> None:
            order.append((name, next_date))

        return roll

    managers = [desk.manager(name, roll_session=rolling(name)) for name in ("first", "second")]
    async with SessionGroup(managers, max_concurrent_rolls=1):
        await desk.clock.advance(NOW)
    assert order == [(name, day) for day in (TUESDAY, WEDNESDAY) for name in ("first", "second")]


async def test_rolls_that_end_together_make_way_for_as_many():
    """Where several places become free in one iteration, as many of those that wait begin."""
    desk = Desk(EVENING)
    begun: list[str] = []
    goes_on = anyio.Event()

    def rolling(name: str) -> Any:
        async def roll(next_date: date) -> None:
            begun.append(name)
            if len(begun) <= 2:
                await goes_on.wait()
            else:
                await desk.clock.sleep(MINUTE)

        return roll

    managers = [desk.manager(name, roll_session=rolling(name)) for name in "abcd"]
    async with SessionGroup(managers, max_concurrent_rolls=2):
        await desk.clock.advance_to(at(MONDAY, (21, 30)))
        assert len(begun) == 2
        goes_on.set()
        await desk.clock.advance(NOW)
        assert len(begun) == 4


@pytest.mark.parametrize("how", ["fail", "stop", "remove"])
async def test_who_gives_up_waiting_holds_up_nobody(how):
    """A member that fails, stops or leaves while it waits its turn frees the way for those behind it."""
    desk = Desk(EVENING)
    rolls = {name: Rolls(desk.clock, MINUTE) for name in ("first", "second", "third")}
    managers = {name: desk.manager(name, roll_session=roll) for name, roll in rolls.items()}
    second = managers["second"]
    async with SessionGroup(managers.values(), max_concurrent_rolls=1) as group:
        await desk.clock.advance_to(at(MONDAY, (21, 30)))
        assert [bool(roll.begun) for roll in rolls.values()] == [True, False, False]
        if how == "fail":
            second.fail("enough")
        elif how == "stop":
            second.stop()
        else:
            await group.remove(second)
        await desk.clock.advance(10 * MINUTE)
    assert [roll.done for roll in rolls.values()] == [[TUESDAY], [], [TUESDAY]]
    assert second.state is (ERROR if how == "fail" else ENDED)


@pytest.mark.parametrize("error", [None, OSError("no space left")], ids=["refused", "in doubt"])
async def test_an_intent_that_cannot_be_written_frees_its_place(error):
    """A member whose journal fails goes to ERROR, and the next in the queue rolls."""
    desk = Desk(EVENING)
    journal = Refusing(error=error)
    first = Rolls(desk.clock, MINUTE)
    managers = [
        desk.manager("first", roll_session=first),
        desk.manager("full", journal=journal),
        desk.manager("last"),
    ]
    async with SessionGroup(managers, max_concurrent_rolls=1):
        journal.refused = set(Entry)
        await desk.clock.advance(HOUR)
        assert [manager.state for manager in managers] == [NOT_STARTED, ERROR, NOT_STARTED]


async def test_stopping_begins_no_roll_that_waits():
    """On leaving the group, the rolls under way finish; those that wait their turn are owed to the next run."""
    desk = Desk(EVENING)
    rolls = [Rolls(desk.clock, MINUTE) for _ in range(3)]
    managers = [desk.manager(str(n), roll_session=roll) for n, roll in enumerate(rolls)]
    async with SessionGroup(managers, max_concurrent_rolls=1):
        await desk.clock.advance_to(at(MONDAY, (21, 30)))
    assert [roll.done for roll in rolls] == [[TUESDAY], [], []]


# ---- in step ----


def variants(desk: Desk, number: int) -> list[SessionBoundaryManager]:
    """Return as many managers, some alike and some special."""
    quick = LifecycleConfig(data_timeout=20 * MINUTE, error_after_timeout=2 * HOUR)
    lunch = FixedSchedule([session(MONDAY + n * DAY, breaks=(((17, 0), (18, 0)),)) for n in range(4)], name="lunch")
    always = FixedSchedule([session(MONDAY + n * DAY, (0, 0), (23, 59)) for n in range(4)], name="always")
    schedules = [season(), lunch, always]
    made = []
    for n in range(number):
        config = [DEAF, quick][n % 2]
        made.append(desk.manager(f"{n}", schedule=schedules[n // 2 % 3], config=config))
    return made


CALLS = st.sampled_from(["data", "data", "fail", "recover", "halt", "resume", "end", "feed", "alarm", "roll fails"])
ACTS = st.lists(
    st.tuples(st.integers(0, 23), CALLS, st.integers(0, 600).map(lambda n: n * MINUTE)), min_size=0, max_size=12
)


@settings(max_examples=25, deadline=None)
@given(acts=ACTS, steps=st.lists(st.integers(-10_000, 10_000), max_size=3))
@example(acts=[(6, "halt", 8 * HOUR)], steps=[])  # one of four that are alike otherwise, in mid-session
def test_in_step_or_alone_a_member_does_the_same(acts, steps):
    """Whatever is done to some of many, each tells what it tells where it runs alone under the same acts."""

    async def act(managers: dict[str, SessionBoundaryManager], clock: SimulatedClock) -> None:
        elapsed = NOW
        planned = sorted(acts, key=lambda each: each[2])
        for number, (who, what, when) in enumerate(planned):
            await clock.advance(when - elapsed)
            elapsed = when
            if number < len(steps):
                clock.step(steps[number] * SECOND)
            manager = managers.get(str(who))
            if manager is not None:
                await do(manager, what, number)
        await clock.advance(30 * HOUR - elapsed)

    async def do(manager: SessionBoundaryManager, what: str, number: int) -> None:
        try:
            match what:
                case "data":
                    manager.record_data_received()
                case "fail":
                    manager.fail("an act")
                case "recover":
                    await manager.recover()
                case "halt":
                    manager.halt("an act")
                case "resume":
                    manager.resume()
                case "end":
                    await manager.end_session("an act")
                case "feed":
                    manager.add_feed(f"feed {number}", timeout=HOUR)
                case "alarm":
                    manager.at("close", -15 * MINUTE)(ignore)
                case _:
                    manager.fail("a roll, let us say")
        except LifecycleError:
            pass

    async def ignore(event: Any) -> None:
        pass

    async def grouped() -> dict[str, list[Any]]:
        desk = Desk(MORNING)
        managers = {str(n): manager for n, manager in enumerate(variants(desk, 24))}
        heard = {name: manager.events() for name, manager in managers.items()}
        async with SessionGroup(managers.values()):
            await act(managers, desk.clock)
        return {name: [event async for event in events] for name, events in heard.items()}

    async def alone(name: str) -> list[Any]:
        desk = Desk(MORNING)
        manager = variants(desk, 24)[int(name)]
        events = manager.events()
        async with manager:
            await act({name: manager}, desk.clock)
        return [event async for event in events]

    together = anyio.run(grouped)
    for name in {str(who) for who, *_ in acts} | {"0", "1", "2", "5"}:
        assert together[name] == anyio.run(alone, name)


async def test_a_drift_that_one_has_not_seen_is_a_step_for_that_one_alone():
    """Of two that are alike but were seen last at different times, one sees a step where the other sees none."""
    desk = Desk(at(MONDAY, (14, 0)))
    one, two = desk.managers("one", "two")
    group = SessionGroup([one, two])
    events = group.events()

    def drift() -> None:
        desk.clock._origin += 600_000  # microseconds; unlike `step`, this wakes nobody

    async with group:
        drift()
        one.resume()  # which changes nothing, but looks at the clock
        await desk.clock.advance(SECOND)
        drift()
        await desk.clock.advance(HOUR)
        assert (one.state, two.state) == (ACTIVE, ACTIVE)
    assert [event.name for event in [event async for event in events] if isinstance(event, ClockStepped)] == ["two"]


async def test_after_a_step_back_each_is_timed_by_what_it_has_heard_itself():
    """At a boundary that the machines have behind them already, nobody takes over another's silence."""
    desk = Desk(at(MONDAY, (15, 0)), config=LifecycleConfig(data_timeout=4 * HOUR))
    one, two = desk.managers("one", "two")
    async with SessionGroup([one, two]):
        desk.clock.step(-2 * HOUR)
        await desk.clock.advance(HOUR)
        one.record_data_received()
        await desk.clock.advance(HOUR)  # past 14:30 once more
        assert (one.state, two.state) == (ACTIVE, ACTIVE)
        await desk.clock.advance(2 * HOUR)
        assert (one.state, two.state) == (ACTIVE, TIMEOUT)
        await desk.clock.advance(HOUR)
        assert (one.state, two.state) == (TIMEOUT, TIMEOUT)


async def test_on_a_break_each_keeps_its_own_open():
    """A member that came late takes a break together with one that has been there since the open, and stays its own."""
    lunch = FixedSchedule([session(MONDAY, breaks=(((16, 0), (17, 0)),))], name="lunch")
    desk = Desk(at(MONDAY, (14, 0)), schedule=lunch, config=LifecycleConfig(data_timeout=2 * HOUR))
    one, late = desk.managers("one", "late")
    async with SessionGroup([one]) as group:
        await desk.clock.advance_to(at(MONDAY, (14, 40)))
        late.record_data_received()  # before it runs, and so before it has seen the open
        await desk.clock.advance_to(at(MONDAY, (15, 0)))
        await group.add(late)
        await desk.clock.advance_to(at(MONDAY, (20, 0)))
        assert (one.state, late.state) == (TIMEOUT, TIMEOUT)
        assert "none at all since the open" in (late.status().reason or "")


async def test_alike_members_cross_together_and_are_told_apart(caplog):
    """Members that are alike each tell, log, and hand to their own readers and handlers, under their own name."""
    desk = Desk(MORNING, config=LifecycleConfig(data_timeout=HOUR))
    managers = desk.managers("one", "two", "three")
    called: list[str | None] = []

    @managers[1].on(SessionState.ACTIVE)
    async def note(event: StateChanged) -> None:
        called.append(event.name)

    own = managers[2].events()
    group = SessionGroup(managers)
    with caplog.at_level(logging.INFO, logger="session_lifecycle"):
        events = await told(group, desk.clock, at(MONDAY, (14, 30)))
    opened = [event.name for event in events if isinstance(event, StateChanged) and event.trigger == "open_market"]
    assert opened == ["one", "two", "three"]
    assert called == ["two"]
    assert [event.name async for event in own] == ["three", "three"]
    logged = [record.manager for record in caplog.records if getattr(record, "trigger", "") == "open_market"]
    assert logged == ["one", "two", "three"]


async def test_alike_members_tell_their_own_readers_where_nothing_is_logged(caplog):
    """A member's own reader hears of what its member has crossed together with others, logging or not."""
    caplog.set_level(logging.CRITICAL, logger="session_lifecycle")
    desk = Desk(MORNING)
    managers = desk.managers("one", "two", "three")
    own = managers[2].events()
    async with SessionGroup(managers):
        await desk.clock.advance_to(NOON)
    assert [event.name async for event in own] == ["three", "three"]


async def test_silence_is_each_members_own():
    """Of members that have opened together, those that hear nothing go TIMEOUT, and those that do stay."""
    desk = Desk(at(MONDAY, (14, 0)), config=LifecycleConfig(data_timeout=HOUR))
    heard, mute = desk.managers("heard", "mute")
    async with SessionGroup([heard, mute]):
        await desk.clock.advance_to(at(MONDAY, (15, 0)))
        heard.record_data_received()
        await desk.clock.advance_to(at(MONDAY, (15, 30)))
        assert (heard.state, mute.state) == (ACTIVE, TIMEOUT)
        await desk.clock.advance_to(at(MONDAY, (21, 0)))
        assert (heard.state, mute.state) == (POST_MARKET, POST_MARKET)


async def test_a_thousand_share_what_they_can():
    """Managers of a group with one schedule and configuration share their timeline and the default clock."""
    schedule = season()
    one, two, alone = (SessionBoundaryManager(schedule, roll_nothing) for _ in range(3))
    other = SessionBoundaryManager(LONDON, roll_nothing)
    await SessionGroup([one, other]).add(two)
    assert one._progress.timeline is two._progress.timeline
    assert one._progress.timeline is not other._progress.timeline
    assert one._progress.timeline is not alone._progress.timeline
    assert one.clock is two.clock
