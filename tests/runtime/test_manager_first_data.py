"""Whether one may trade: not before data has come, for the line or for one symbol; and whether the market is open."""

import threading
from datetime import timedelta

import pytest

from session_lifecycle import (
    Closure,
    LifecycleConfig,
    NotRunningError,
    SessionBoundaryManager,
    SessionGroup,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at
from tests.helpers.harness import (
    ACTIVE,
    ENDED,
    ERROR,
    HOUR,
    MINUTE,
    NOW,
    POST_MARKET,
    SECOND,
    TIMEOUT,
    TUESDAY,
    Rolls,
    roll_nothing,
    running,
    season,
)
from tests.helpers.manager_feeds import ALL, ANY, FIVE, LUNCHING, listen

pytestmark = pytest.mark.anyio

OPEN = at(MONDAY, (14, 30))


# ---- the manager's own data ----


async def test_fault_63_the_open_waits_for_the_first_data():
    """Yesterday's data, and data just before the open, is no reason to trade; the first message after it is."""
    manager, clock = listen(OPEN - MINUTE)
    async with running(manager):
        manager.record_data_received()
        await clock.advance_to(OPEN)
        assert (manager.state, manager.can_trade) == (ACTIVE, False)
        assert manager.status().awaiting_first_tick
        manager.record_data_received()
        assert manager.can_trade
        assert not manager.status().awaiting_first_tick
        await clock.advance_to(at(MONDAY, (14, 34)))
        assert manager.can_trade
        await clock.advance_to(at(TUESDAY, (14, 30)))
        assert (manager.state, manager.can_trade) == (ACTIVE, False)


async def test_data_stamped_before_the_open_does_not_count():
    """It is yesterday's price, however late it comes."""
    manager, clock = listen(OPEN)
    async with running(manager):
        await clock.advance(MINUTE)
        manager.record_data_received(OPEN - MICROSECOND)
        assert not manager.can_trade
        manager.record_data_received(OPEN)
        assert manager.can_trade


async def test_a_start_after_the_open_waits_too():
    """The manager cannot know what came before it."""
    manager, clock = listen(at(MONDAY, (16, 0)))
    manager.record_data_received()
    await clock.advance(SECOND)
    async with running(manager):
        assert (manager.state, manager.can_trade) == (ACTIVE, False)
        manager.record_data_received()
        assert manager.can_trade


async def test_fault_63_the_end_of_a_break_waits():
    """What came before lunch, or during it, is not of the afternoon."""
    manager, clock = listen(at(MONDAY, (16, 58)), LUNCHING)
    async with running(manager):
        manager.record_data_received()
        assert manager.can_trade
        await clock.advance_to(at(MONDAY, (17, 59)))
        manager.record_data_received()
        assert (manager.on_break, manager.can_trade, manager.status().awaiting_first_tick) == (True, False, False)
        await clock.advance_to(at(MONDAY, (18, 0)))
        assert (manager.on_break, manager.can_trade) == (False, False)
        manager.record_data_received()
        assert manager.can_trade


async def test_the_end_of_a_halt_waits():
    """An auction's price comes after it."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    async with running(manager):
        manager.record_data_received()
        manager.halt("auction")
        await clock.advance(MINUTE)
        manager.record_data_received()
        await clock.advance(MINUTE)
        assert not manager.status().awaiting_first_tick  # the halt is what one waits for
        manager.resume()
        assert (manager.can_trade, manager.status().awaiting_first_tick) == (False, True)
        manager.record_data_received()
        assert manager.can_trade


async def test_a_session_that_is_recovered_waits():
    """`recover()` goes through the open again."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    async with running(manager):
        manager.record_data_received()
        await clock.advance(MINUTE)
        manager.fail("sunspots")
        await manager.recover()
        assert (manager.state, manager.can_trade) == (ACTIVE, False)
        manager.record_data_received()
        assert manager.can_trade


async def test_data_that_ends_a_timeout_is_enough():
    """Once there was data since the open, a TIMEOUT and its end ask for no more, though the data be older."""
    manager, clock = listen(OPEN)
    async with running(manager):
        await clock.advance(10 * MINUTE)
        assert manager.state is TIMEOUT
        manager.record_data_received(clock.now() - 4 * MINUTE)
        assert (manager.state, manager.can_trade) == (ACTIVE, True)


@pytest.mark.parametrize("settings", [{"require_first_tick": False}, {"data_timeout": None}])
async def test_where_nothing_is_required_or_watched_nothing_is_waited_for(settings):
    """By the setting, or because there is no watch for data at all."""
    manager, clock = listen(at(MONDAY, (16, 59)), LUNCHING, **settings)
    async with running(manager):
        assert (manager.can_trade, manager.status().awaiting_first_tick) == (True, False)
        await clock.advance_to(at(MONDAY, (18, 0)))
        assert manager.can_trade


async def test_a_feed_is_watched_also_where_the_manager_s_own_data_is_not():
    """Then the feeds decide; and once they have been removed, nothing is waited for again."""
    manager, _ = listen(at(MONDAY, (15, 0)), data_timeout=None)
    feed = manager.add_feed("ticks", timeout=MINUTE)
    async with running(manager):
        manager.record_data_received()
        assert not manager.can_trade
        feed.record()
        assert manager.can_trade
        manager.add_feed("other", timeout=MINUTE)
        feed.remove()
        assert not manager.can_trade
        manager.feeds[0].remove()
        assert manager.can_trade


async def test_members_of_a_cohort_wait_each_for_its_own():
    """They cross the open together, and each needs data of its own."""
    clock = SimulatedClock(OPEN - HOUR)
    config = LifecycleConfig(data_timeout=FIVE)
    managers = [
        SessionBoundaryManager(LUNCHING, roll_nothing, clock=clock, config=config, name=str(n)) for n in range(3)
    ]
    async with SessionGroup(managers, clock=clock):
        for instant in (OPEN, at(MONDAY, (18, 0))):
            await clock.advance_to(instant)
            managers[1].record_data_received()
            assert [manager.can_trade for manager in managers] == [False, True, False]
            managers[0].record_data_received()
            managers[2].record_data_received()
            assert [manager.can_trade for manager in managers] == [True] * 3


# ---- feeds ----


@pytest.mark.parametrize(
    ("rule", "trades"), [(ALL, [False, True, True, True]), (ANY, [False] * 3 + [True]), (2, [False, False, True, True])]
)
async def test_with_feeds_the_rule_decides_how_many_must_have_spoken(rule, trades):
    """With ALL one, with ANY each, with two of three so many that only one is missing."""
    manager, clock = listen(OPEN, stale_when=rule)
    feeds = [manager.add_feed(name) for name in ("one", "two", "three")]
    async with running(manager):
        found = [manager.can_trade]
        for feed in feeds:
            await clock.advance(SECOND)
            assert not feed.can_trade
            feed.record()
            found.append(manager.can_trade)
            assert feed.can_trade is manager.can_trade
        assert found == trades
        for feed in feeds:
            assert (manager.can_trade, feed.can_trade) == (True, True)


async def test_a_symbol_needs_data_of_its_own():
    """One that has not opened yet may not be traded, though the line may."""
    manager, clock = listen(OPEN - MINUTE)
    opened, waiting = manager.add_feed("opened"), manager.add_feed("waiting")
    async with running(manager):
        opened.record()
        await clock.advance_to(OPEN)
        assert (manager.can_trade, opened.can_trade, waiting.can_trade) == (False, False, False)
        opened.record()
        assert (manager.can_trade, opened.can_trade, waiting.can_trade) == (True, True, False)
        waiting.record(OPEN - SECOND)
        assert not waiting.can_trade
        waiting.record(OPEN)
        assert waiting.can_trade


async def test_a_symbol_that_is_stale_halted_or_removed_cannot_be_traded():
    """Each by itself; after a halt of its own it waits for data, and the line does not."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    feed, other = manager.add_feed("feed", timeout=MINUTE), manager.add_feed("other")
    async with running(manager):
        feed.record()
        other.record()
        assert feed.can_trade
        await clock.advance(MINUTE)
        assert (feed.stale, feed.can_trade, manager.can_trade) == (True, False, True)
        feed.record()
        assert feed.can_trade
        feed.halt("limit up")
        assert (manager.halted_feeds, feed.can_trade, other.can_trade) == (("feed",), False, True)
        assert manager.status().halted_feeds == ("feed",)
        await clock.advance(MINUTE)
        feed.record()
        await clock.advance(SECOND)
        feed.resume()
        assert (manager.halted_feeds, feed.can_trade, manager.can_trade) == ((), False, True)
        feed.record()
        assert feed.can_trade
        manager.halt("all")
        assert (feed.can_trade, manager.halted_feeds) == (False, ())
        manager.resume()
        feed.record()
        assert feed.can_trade
        feed.remove()
        assert not feed.can_trade


async def test_without_the_first_tick_a_symbol_is_traded_from_the_open_on():
    """But never while it is stale or halted."""
    manager, clock = listen(OPEN, require_first_tick=False)
    feed, other = manager.add_feed("feed"), manager.add_feed("other", timeout=DAY)
    async with running(manager):
        assert feed.can_trade
        await clock.advance(FIVE)
        assert (feed.can_trade, other.can_trade) == (False, True)
        other.halt("gap")
        assert not other.can_trade


async def test_feeds_that_are_added_halted_and_removed_change_what_is_waited_for():
    """With ANY: what is not watched is not waited for, what is added is."""
    manager, _ = listen(at(MONDAY, (15, 0)), stale_when=ANY)
    first, mute = manager.add_feed("first"), manager.add_feed("mute")
    async with running(manager):
        first.record()
        assert not manager.can_trade
        mute.halt("not opened")
        assert manager.can_trade
        mute.resume()
        assert not manager.can_trade
        mute.remove()
        assert manager.can_trade
        added = manager.add_feed("added")
        assert not manager.can_trade
        added.record()
        assert manager.can_trade
        first.halt("gap")
        added.halt("gap")
        assert manager.can_trade  # none is watched


async def test_a_probe_is_no_data():
    """A feed that is alive in an idle market has no price of today."""

    async def alive(feed) -> bool:
        return True

    manager, clock = listen(OPEN)
    feed = manager.add_feed("idle", probe=alive)
    async with running(manager):
        await clock.advance(HOUR)
        assert (manager.state, feed.stale, feed.can_trade, manager.can_trade) == (ACTIVE, False, False, False)


async def test_the_last_data_of_a_feed():
    """In UTC, by its own stamp; None before there is any, and before the manager has started."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    feed, mute = manager.add_feed("feed"), manager.add_feed("mute")
    feed.record()
    assert (feed.last_data_at, feed.can_trade) == (None, False)
    async with running(manager):
        assert (feed.last_data_at, mute.last_data_at) == (at(MONDAY, (15, 0)), None)
        await clock.advance(MINUTE)
        feed.record()
        assert feed.last_data_at == at(MONDAY, (15, 1))
        await clock.advance(MINUTE)
        feed.record(at(MONDAY, (15, 1)) + SECOND)
        assert feed.last_data_at == at(MONDAY, (15, 1)) + SECOND
        clock.step(HOUR)
        await clock.advance(NOW)
        assert feed.last_data_at == at(MONDAY, (16, 1)) + SECOND  # what has passed since is what the clock cannot step


async def test_any_thread_may_ask():
    """While feeds come and go on the loop's thread, questions from another are answered."""
    manager, _ = listen(at(MONDAY, (15, 0)), stale_when=ANY)
    feeds = [manager.add_feed(str(n)) for n in range(50)]
    stop, errors, answers = threading.Event(), [], set[bool]()

    def ask() -> None:
        try:
            while not stop.is_set():
                answers.add(manager.can_trade)
                answers.add(feeds[0].can_trade)
                assert len(manager.halted_feeds) <= len(manager.feeds)
        except Exception as error:  # noqa: BLE001 -- the thread reports whatever goes wrong in it
            errors.append(error)

    async with running(manager):
        thread = threading.Thread(target=ask)
        thread.start()
        try:
            for n in range(500):
                added = manager.add_feed(f"more {n}")
                for feed in manager.feeds:
                    feed.record()
                added.remove()
        finally:
            stop.set()
            thread.join()
        assert (errors, manager.can_trade) == ([], True)
        manager.add_feed("mute")
        assert not manager.can_trade


# ---- whether the market is open ----


async def test_the_market_is_open_by_the_schedule_whatever_the_state():
    """From the open to the close, over TIMEOUT, ERROR and a halt; not in breaks, which an ERROR does not hide."""
    manager, clock = listen(at(MONDAY, (14, 0)), LUNCHING)
    with pytest.raises(NotRunningError, match="market_open"):
        _ = manager.market_open
    async with running(manager):
        assert not manager.market_open
        await clock.advance_to(OPEN - MICROSECOND)
        assert not manager.market_open
        await clock.advance(MICROSECOND)
        assert (manager.market_open, manager.status().market_open) == (True, True)
        await clock.advance(FIVE)
        assert (manager.state, manager.market_open) == (TIMEOUT, True)
        manager.halt("news")
        assert manager.market_open
        manager.fail("sunspots")
        assert (manager.state, manager.market_open) == (ERROR, True)
        await clock.advance_to(at(MONDAY, (17, 0)) - MICROSECOND)
        assert manager.market_open
        await clock.advance(MICROSECOND)
        assert (manager.state, manager.market_open) == (ERROR, False)
        await clock.advance_to(at(MONDAY, (18, 0)))
        assert manager.market_open
        await clock.advance_to(at(MONDAY, (21, 0)))
        assert (manager.state, manager.market_open) == (ERROR, False)


async def test_the_market_is_closed_once_the_session_has_been_ended():
    """`end_session` ends it for the application, before and after the roll, up to the next open."""
    clock = SimulatedClock(at(MONDAY, (15, 0)))
    manager = SessionBoundaryManager(season(), Rolls(clock, MINUTE), clock=clock)
    async with running(manager):
        assert manager.market_open
        await manager.end_session("enough")
        assert (manager.state, manager.scheduled_state, manager.market_open) == (ENDED, ACTIVE, False)
        await clock.advance(HOUR)
        assert (manager.session.date, manager.scheduled_state, manager.market_open) == (TUESDAY, ACTIVE, False)
        await clock.advance_to(at(TUESDAY, (14, 30)))
        assert manager.market_open


async def test_the_market_is_open_while_the_roll_is_late():
    """The next session is open by the schedule, though it cannot be traded yet."""
    clock = SimulatedClock(at(MONDAY, (20, 0)))
    manager = SessionBoundaryManager(
        season(), Rolls(clock, DAY), clock=clock, config=LifecycleConfig(roll_timeout=None)
    )
    async with running(manager):
        await clock.advance_to(at(TUESDAY, (14, 30)))
        assert (manager.state, manager.market_open, manager.can_trade) == (ENDED, True, False)


async def test_a_closure_closes_the_market():
    """The hours as they are now decide."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    async with running(manager):
        await manager.apply(Closure(MONDAY))
        await clock.advance(NOW)
        assert not manager.market_open


async def test_the_close_is_the_close():
    """At exactly the close neither is True; the session may go on."""
    manager, clock = listen(at(MONDAY, (20, 59)))
    async with running(manager):
        manager.record_data_received()
        assert (manager.market_open, manager.can_trade) == (True, True)
        await clock.advance(MINUTE)
        assert (manager.state, manager.market_open, manager.can_trade) == (POST_MARKET, False, False)
        assert clock.now() - at(MONDAY, (21, 0)) == timedelta(0)
