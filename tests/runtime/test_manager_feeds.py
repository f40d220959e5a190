"""Feeds, halts and data that contradicts the calendar: what a running manager makes of them, to the microsecond."""

import json
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_lifecycle import (
    AdaptiveTimeout,
    BreakEnded,
    BreakStarted,
    ConfigurationError,
    FeedNameTaken,
    FeedRemoved,
    FeedResumed,
    FeedStale,
    Halted,
    HaltRefused,
    LifecycleConfig,
    LifecycleError,
    ManagerStopped,
    NaiveDatetimeError,
    NotRunningError,
    Resumed,
    RollFailed,
    SessionBoundaryManager,
    StateChanged,
    UnexpectedData,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at
from tests.helpers.harness import (
    ACTIVE,
    ENDED,
    ERROR,
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    SECOND,
    TIMEOUT,
    TUESDAY,
    WEDNESDAY,
    changes,
    of,
    path,
    roll_nothing,
    running,
    season,
)
from tests.helpers.manager_feeds import ALL, ANY, FIVE, LUNCHING, SHORT, listen, nobody, stale, timeouts

pytestmark = pytest.mark.anyio


# ---- one feed ----


async def test_a_feed_goes_stale_at_its_microsecond_and_is_back_within_record():
    """A silent feed is told and the session TIMEOUT exactly at its deadline; data ends both before record() returns."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    feed = manager.add_feed("ticks", timeout=2 * MINUTE)
    async with running(manager) as log:
        await clock.advance(MINUTE)
        feed.record()
        await clock.advance(2 * MINUTE - MICROSECOND)
        assert (manager.state, feed.stale, manager.stale_feeds) == (ACTIVE, False, ())
        await clock.advance(MICROSECOND)
        due = at(MONDAY, (15, 3))
        assert (manager.state, feed.stale, manager.stale_feeds) == (TIMEOUT, True, ("ticks",))
        assert of(FeedStale, log) == [
            FeedStale("ticks", MONDAY, due, due, False, at(MONDAY, (15, 1)), "no data for 0:02:00")
        ]
        assert of(FeedStale, log)[0].lateness == NOW
        change = StateChanged(ACTIVE, TIMEOUT, "data_timeout", MONDAY, due, due, reason=manager.status().reason)
        assert log[-2:] == [*of(FeedStale, log), change]
        assert manager.status().reason == "1 of 1 feeds stale: ticks"
        await clock.advance(HOUR)
        now = clock.now()
        feed.record()
        assert (manager.state, manager.can_trade, feed.stale, manager.stale_feeds) == (ACTIVE, True, False, ())
        await clock.advance(NOW)
        assert log[-2:] == [
            FeedResumed("ticks", MONDAY, HOUR + 2 * MINUTE, now),
            StateChanged(TIMEOUT, ACTIVE, "data_resumed", MONDAY, now, now),
        ]
        await clock.advance(HOUR)
        assert stale(log) == [("ticks", due), ("ticks", now + 2 * MINUTE)]


async def test_a_feed_that_never_says_a_word_is_told_so():
    """A feed mute since the open is `never`, with no last data; one that spoke before the open, with its instant."""
    manager, clock = listen(at(MONDAY, (14, 0)))
    manager.add_feed("mute")
    early = manager.add_feed("early")
    spoke = manager.add_feed("spoke")
    async with running(manager) as log:
        await clock.advance(10 * MINUTE)
        early.record()
        await clock.advance_to(at(MONDAY, (14, 30)))
        spoke.record()
        await clock.advance(HOUR)
        assert [(event.feed, event.never, event.last_data_at) for event in of(FeedStale, log)] == [
            ("mute", True, None),
            ("early", True, at(MONDAY, (14, 10))),
            ("spoke", False, at(MONDAY, (14, 30))),
        ]
        assert {due for _, due in stale(log)} == {at(MONDAY, (14, 35))}


async def test_a_day_without_a_single_tick_says_so():
    """Where not one feed has said a word since the open, the reason of TIMEOUT says that; one word is enough not to."""
    for words in (False, True):
        manager, clock = listen(at(MONDAY, (14, 0)))
        feeds = [manager.add_feed(name) for name in "abcde"]
        async with running(manager):
            feeds[0].record()
            await clock.advance_to(at(MONDAY, (14, 30)))
            if words:
                feeds[0].record()
            await clock.advance(HOUR)
            reason = manager.status().reason
            assert reason.startswith("5 of 5 feeds stale: ")
            assert ("none at all since the open" in reason) is not words


async def test_the_managers_own_silence_says_so_too():
    """Without feeds the reason of TIMEOUT also says that not a single tick came since the open."""
    manager, clock = listen(at(MONDAY, (14, 0)))
    async with running(manager):
        manager.record_data_received()
        await clock.advance_to(at(MONDAY, (14, 35)))
        assert "none at all since the open" in manager.status().reason
        manager.record_data_received()
        await clock.advance(FIVE)
        assert manager.status().reason == "no data for 0:05:00 (data_timeout)"


async def test_what_was_said_before_an_error_was_said_since_the_open():
    """After recover() a feed that spoke this session is not called mute, nor is the manager's own data."""
    for named in (True, False):
        manager, clock = listen(at(MONDAY, (14, 0)))
        feed = manager.add_feed("ticks") if named else None
        async with running(manager) as log:
            await clock.advance_to(at(MONDAY, (14, 31)))
            manager.record_data_received() if feed is None else feed.record()
            await clock.advance(MINUTE)
            manager.fail("sunspots")
            await clock.advance(HOUR)
            await manager.recover()
            await clock.advance(FIVE)
            assert manager.state is TIMEOUT
            assert "none at all" not in manager.status().reason
            assert [event.never for event in of(FeedStale, log)] == [False] * named
            await clock.advance_to(at(TUESDAY, (15, 0)))
            assert "none at all" in manager.status().reason


async def test_a_start_in_mid_session_does_not_find_feeds_stale_at_once():
    """A start hours after the open gives every feed its whole timeout from then on."""
    manager, clock = listen(at(MONDAY, (11, 0)) + 5 * HOUR)
    manager.add_feed("ticks")
    async with running(manager) as log:
        await clock.advance(FIVE - MICROSECOND)
        assert manager.state is ACTIVE
        await clock.advance(HOUR)
        assert stale(log) == [("ticks", at(MONDAY, (16, 5)))]
        assert timeouts(log) == [at(MONDAY, (16, 5))]


async def test_a_lively_feed_is_never_stale():
    """A feed that speaks just within its timeout is never told from the open to the close."""
    manager, clock = listen(at(MONDAY, (14, 30)))
    feed = manager.add_feed("ticks")
    async with running(manager) as log:
        while clock.now() < at(MONDAY, (20, 59)):
            feed.record()
            await clock.advance(FIVE - MICROSECOND)
        assert (stale(log), timeouts(log)) == ([], [])


async def test_an_adaptive_timeout_follows_the_feed():
    """A feed that has spoken every second for long is stale after a few, and after an outage gets its time again."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    feed = manager.add_feed("ticks", timeout=AdaptiveTimeout(2 * SECOND, MINUTE, half_life=5 * SECOND))
    async with running(manager) as log:
        for _ in range(60):
            await clock.advance(SECOND)
            feed.record()
        await clock.advance(3 * SECOND - MICROSECOND)
        assert not feed.stale
        await clock.advance(MICROSECOND)
        assert stale(log) == [("ticks", at(MONDAY, (15, 1)) + 3 * SECOND)]
        assert of(FeedStale, log)[0].reason == "no data for 0:00:03"
        await clock.advance(HOUR)
        feed.record()
        assert manager.state is ACTIVE
        await clock.advance(MINUTE)
        assert stale(log)[1:] == [("ticks", clock.now())]


# ---- stamps ----


@SHORT
@given(ahead=st.timedeltas(MICROSECOND, timedelta(days=3650)))
async def test_data_from_the_future_counts_as_now(ahead):
    """A stamp ahead of the clock is as good as an arrival now, and no better, live or stale."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    feed = manager.add_feed("ticks")
    async with running(manager) as log:
        await clock.advance(MINUTE)
        feed.record(clock.now() + ahead)
        await clock.advance(10 * MINUTE)
        assert stale(log) == [("ticks", at(MONDAY, (15, 6)))]
        feed.record(clock.now() + ahead)
        assert manager.state is ACTIVE
        await clock.advance(HOUR)
        assert stale(log)[1:] == [("ticks", at(MONDAY, (15, 16)))]


@SHORT
@given(age=st.timedeltas(FIVE, timedelta(days=3650)))
async def test_old_data_neither_saves_a_feed_nor_revives_it(age):
    """Data as old on arrival as the timeout, or older, changes nothing; a microsecond younger ends the staleness."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    feed = manager.add_feed("ticks")
    async with running(manager) as log:
        await clock.advance(4 * MINUTE)
        feed.record(clock.now() - age)
        await clock.advance(2 * MINUTE)
        assert stale(log) == [("ticks", at(MONDAY, (15, 5)))]
        feed.record(clock.now() - age)
        assert (feed.stale, manager.state) == (True, TIMEOUT)
        await clock.advance(NOW)
        assert len(stale(log)) == 1
        assert of(FeedResumed, log) == []
        feed.record(clock.now() - FIVE + MICROSECOND)
        assert (feed.stale, manager.state) == (False, ACTIVE)


async def test_of_data_out_of_order_the_newest_counts():
    """Old data that comes after newer data does not bring the deadline back."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    feed = manager.add_feed("ticks")
    async with running(manager) as log:
        await clock.advance(4 * MINUTE)
        for age in (3, 1, 2):
            feed.record(clock.now() - age * MINUTE)
        await clock.advance(HOUR)
        assert stale(log) == [("ticks", at(MONDAY, (15, 8)))]


@pytest.mark.parametrize(
    ("stamp", "error"),
    [
        (datetime(2024, 3, 4, 15, 4), NaiveDatetimeError),  # noqa: DTZ001 -- naive is the point
        ("2024-03-04T15:04:00Z", TypeError),
        (1709564640.0, TypeError),
        (MONDAY, TypeError),
    ],
)
async def test_a_bad_stamp_is_refused_and_refreshes_nothing(stamp, error):
    """What is no aware datetime raises, for a live feed and for a stale one, and nothing is recorded."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    feed = manager.add_feed("ticks")
    async with running(manager) as log:
        await clock.advance(4 * MINUTE)
        with pytest.raises(error, match="timestamp"):
            feed.record(stamp)
        await clock.advance(MINUTE)
        with pytest.raises(error, match="timestamp"):
            feed.record(stamp)
        assert stale(log) == [("ticks", at(MONDAY, (15, 5)))]
        assert manager.state is TIMEOUT


# ---- several feeds ----


@pytest.mark.parametrize(
    ("rule", "silent", "back"),
    [(ALL, 3, 1), (ANY, 1, 3), (1, 1, 3), (2, 2, 2), (3, 3, 1), (4, 3, 1), (100, 3, 1)],
)
async def test_the_rule_decides_how_many_must_be_stale(rule, silent, back):
    """TIMEOUT comes with the stale feed that makes it so many, and goes with the live one that makes it fewer."""
    manager, clock = listen(at(MONDAY, (15, 0)), stale_when=rule)
    feeds = [manager.add_feed(f"{n} min", timeout=n * MINUTE) for n in (1, 2, 3)]
    async with running(manager) as log:
        await clock.advance(10 * MINUTE)
        assert stale(log) == [(f"{n} min", at(MONDAY, (15, n))) for n in (1, 2, 3)]
        assert timeouts(log) == [at(MONDAY, (15, silent))]
        assert changes(log)[-1].scheduled_at == at(MONDAY, (15, silent))
        for n, feed in enumerate(feeds, 1):
            feed.record()
            assert manager.state is (ACTIVE if n >= back else TIMEOUT)
        assert manager.stale_feeds == ()
        await clock.advance(NOW)
        assert [event.feed for event in of(FeedResumed, log)] == ["1 min", "2 min", "3 min"]
        assert path(log)[-2:] == ["data_timeout", "data_resumed"]


async def test_the_reason_names_who_is_stale():
    """The reason of TIMEOUT counts the stale feeds and names the first three of them."""
    manager, clock = listen(at(MONDAY, (15, 0)), stale_when=4)
    for n in range(1, 6):
        manager.add_feed(f"f{n}", timeout=n * MINUTE).record()
    async with running(manager):
        manager.feeds[4].record()
        await clock.advance(4 * MINUTE)
        assert manager.status().reason == "4 of 5 feeds stale: f1, f2, f3, ..."
        assert [feed.name for feed in manager.feeds] == ["f1", "f2", "f3", "f4", "f5"]


async def test_feeds_that_fall_silent_together_are_told_together():
    """Feeds of one deadline are all told at that instant; with ANY, TIMEOUT follows the first of them."""
    manager, clock = listen(at(MONDAY, (15, 0)), stale_when=ANY)
    for name in "abc":
        manager.add_feed(name)
    async with running(manager) as log:
        await clock.advance(FIVE)
        due = at(MONDAY, (15, 5))
        assert stale(log) == [("a", due), ("b", due), ("c", due)]
        assert [type(event) for event in log[-4:]] == [FeedStale, StateChanged, FeedStale, FeedStale]
        assert manager.status().reason.startswith("1 of 3 feeds stale: a")


async def test_the_feeds_alone_decide():
    """Where there are feeds, the manager's own data neither prevents a TIMEOUT nor ends it, nor causes it."""
    manager, clock = listen(at(MONDAY, (15, 0)), data_timeout=2 * MINUTE)
    feed = manager.add_feed("ticks", timeout=4 * MINUTE)
    async with running(manager) as log:
        for _ in range(5):
            await clock.advance(MINUTE)
            manager.record_data_received()
        assert timeouts(log) == [at(MONDAY, (15, 4))]
        assert manager.state is TIMEOUT
        feed.record()
        for _ in range(10):
            await clock.advance(3 * MINUTE)
            feed.record()
        assert manager.state is ACTIVE
        assert len(timeouts(log)) == 1


async def test_without_data_timeout_the_feeds_are_still_watched():
    """`data_timeout=None` switches off the manager's own watch, and no feed's."""
    manager, clock = listen(at(MONDAY, (15, 0)), data_timeout=None)
    with pytest.raises(ConfigurationError, match="timeout"):
        manager.add_feed("ticks")
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert timeouts(log) == []
        feed = manager.add_feed("ticks", timeout=FIVE)
        await clock.advance(HOUR)
        assert timeouts(log) == [at(MONDAY, (16, 5))]
        feed.record()
        assert manager.state is ACTIVE
        await clock.advance(HOUR)
        assert len(timeouts(log)) == 2


# ---- coming and going ----


async def test_the_first_feed_takes_over_while_active():
    """From the first feed on its timeout counts, from then; what was left of the manager's own does not."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    async with running(manager) as log:
        await clock.advance(4 * MINUTE)
        manager.add_feed("ticks", timeout=3 * MINUTE)
        await clock.advance(HOUR)
        assert timeouts(log) == [at(MONDAY, (15, 7))]
        assert stale(log) == [("ticks", at(MONDAY, (15, 7)))]


async def test_the_first_feed_takes_over_in_timeout():
    """A feed added in TIMEOUT is not stale, so the session is ACTIVE, and the feed has its whole timeout."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    async with running(manager) as log:
        await clock.advance(10 * MINUTE)
        assert manager.state is TIMEOUT
        manager.add_feed("ticks", timeout=3 * MINUTE)
        assert manager.state is ACTIVE
        await clock.advance(HOUR)
        assert timeouts(log) == [at(MONDAY, (15, 5)), at(MONDAY, (15, 13))]


async def test_a_feed_is_added_after_what_was_due_before():
    """Where the silence becomes too long at the very instant of the call, it is told first."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    async with running(manager) as log:
        await clock.advance(FIVE - MICROSECOND)
        clock._elapsed += 1  # a microsecond in which the loop was blocked
        manager.add_feed("ticks")
        await clock.advance(NOW)
        assert path(log)[-2:] == ["data_timeout", "data_resumed"]


async def test_after_the_last_feed_the_manager_watches_again():
    """Removed while ACTIVE, the last feed leaves the manager's own data its whole data_timeout from then."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    feed = manager.add_feed("ticks", timeout=HOUR)
    async with running(manager) as log:
        await clock.advance(40 * MINUTE)
        feed.remove()
        feed.remove()
        assert (manager.feeds, manager.state) == ((), ACTIVE)
        await clock.advance(HOUR)
        assert timeouts(log) == [at(MONDAY, (15, 45))]
        assert stale(log) == []


async def test_the_last_feed_removed_in_timeout_leaves_the_manager_to_listen():
    """TIMEOUT outlasts the last feed until the manager's own data comes, or at once where that has come meanwhile."""
    for meanwhile in (False, True):
        manager, clock = listen(at(MONDAY, (15, 0)))
        feed = manager.add_feed("ticks")
        async with running(manager) as log:
            await clock.advance(10 * MINUTE)
            if meanwhile:
                manager.record_data_received()
            assert manager.state is TIMEOUT
            feed.remove()
            assert (manager.state, manager.stale_feeds) == (ACTIVE if meanwhile else TIMEOUT, ())
            manager.record_data_received()
            assert manager.state is ACTIVE
            await clock.advance(HOUR)
            assert timeouts(log) == [at(MONDAY, (15, 5)), at(MONDAY, (15, 15))]


async def test_the_last_feed_removed_where_nobody_else_listens():
    """Without a data_timeout nothing could end a TIMEOUT any more, so it ends with its last feed."""
    manager, clock = listen(at(MONDAY, (15, 0)), data_timeout=None, error_after_timeout=HOUR)
    feed = manager.add_feed("ticks", timeout=FIVE)
    async with running(manager) as log:
        await clock.advance(10 * MINUTE)
        assert manager.state is TIMEOUT
        feed.remove()
        assert (manager.state, manager.can_trade) == (ACTIVE, True)
        await clock.advance_to(at(MONDAY, (20, 59)))
        assert path(log)[2:] == ["data_timeout", "data_resumed"]


async def test_a_removal_may_be_what_makes_it_a_timeout():
    """Where only the live feed is removed, all that are left are stale: TIMEOUT, since now."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    manager.add_feed("mute")
    live = manager.add_feed("live", timeout=HOUR)
    async with running(manager) as log:
        await clock.advance(20 * MINUTE)
        assert (manager.state, manager.stale_feeds) == (ACTIVE, ("mute",))
        live.remove()
        assert manager.state is TIMEOUT
        await clock.advance(NOW)
        assert changes(log)[-1].scheduled_at == clock.now()


async def test_a_removal_on_a_break_counts_from_its_end():
    """Data is not expected on a break: the TIMEOUT that a removal makes comes at its end, and is dated so."""
    manager, clock = listen(at(MONDAY, (16, 0)), LUNCHING)
    manager.add_feed("mute")
    live = manager.add_feed("live", timeout=5 * HOUR)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (17, 30)))
        live.remove()
        assert manager.state is ACTIVE
        await clock.advance_to(at(MONDAY, (18, 30)))
        assert [(event.scheduled_at, event.observed_at) for event in changes(log)[2:]] == [
            (at(MONDAY, (18, 0)), at(MONDAY, (18, 0)))
        ]


async def test_a_removed_feed_is_silent_for_good():
    """Its data is ignored, its halts raise FeedRemoved, and its name is free."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    feed = manager.add_feed("ticks")
    async with running(manager) as log:
        await clock.advance(10 * MINUTE)
        feed.remove()
        for stamp in (None, clock.now(), clock.now() - HOUR):
            feed.record(stamp)
        assert manager.state is TIMEOUT
        for call in (lambda: feed.halt("why"), feed.resume):
            with pytest.raises(FeedRemoved, match="'ticks' has been removed"):
                call()
        assert repr(feed) == "<Feed ticks, removed>"
        again = manager.add_feed("ticks")
        assert again is not feed
        assert manager.feeds == (again,)
        await clock.advance(NOW)
        assert of(FeedResumed, log) == []
        assert of(Halted, log) == []


async def test_a_feed_says_how_it_is():
    """A feed's repr names it and says whether it is live, stale, halted or removed."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    feed = manager.add_feed("ticks")
    async with running(manager):
        assert repr(feed) == "<Feed ticks, live>"
        await clock.advance(FIVE)
        assert repr(feed) == "<Feed ticks, stale>"
        feed.halt("auction")
        assert repr(feed) == "<Feed ticks, halted>"


async def test_a_name_is_taken_once():
    """A second feed of a name is refused and changes nothing, before the start and after it."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    feed = manager.add_feed("ticks", timeout=MINUTE)
    with pytest.raises(FeedNameTaken, match="'ticks' is registered already"):
        manager.add_feed("ticks")
    async with running(manager) as log:
        with pytest.raises(ValueError, match="ticks"):
            manager.add_feed("ticks", timeout=HOUR)
        assert manager.feeds == (feed,)
        await clock.advance(MINUTE)
        assert stale(log) == [("ticks", at(MONDAY, (15, 1)))]


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("", {}, TypeError, "must be a string that is not blank"),
        ("  ", {}, TypeError, "must be a string that is not blank"),
        (None, {}, TypeError, "must be a string that is not blank"),
        (7, {}, TypeError, "must be a string that is not blank"),
        ("x", {"timeout": 300}, ConfigurationError, "timeout = 300"),
        ("x", {"timeout": NOW}, ConfigurationError, "timeout"),
        ("x", {"timeout": -SECOND}, ConfigurationError, "timeout"),
        ("x", {"timeout": timedelta(days=10_000)}, ConfigurationError, "timeout"),
        ("x", {"timeout": "5 min"}, ConfigurationError, "timeout"),
        ("x", {"probe": lambda feed: True}, TypeError, "probe"),
        ("x", {"probe": True}, TypeError, "probe"),
        ("x", {"probe": nobody, "probe_timeout": 5}, ConfigurationError, "probe_timeout = 5"),
        ("x", {"probe": nobody, "probe_timeout": NOW}, ConfigurationError, "probe_timeout"),
        ("x", {"probe": nobody, "probe_timeout": None}, ConfigurationError, "probe_timeout"),
    ],
)
async def test_bad_input_is_refused_and_changes_nothing(name, options, error, words):
    """A feed with a bad name, timeout or probe raises with the reason, and none is registered."""
    manager, _ = listen(at(MONDAY, (15, 0)))
    async with running(manager):
        before = manager.status()
        with pytest.raises(error, match=words):
            manager.add_feed(name, **options)
        assert (manager.status(), manager.feeds) == (before, ())


@pytest.mark.parametrize("rule", [0, -1, True, 1.5, "all", None])
async def test_a_bad_rule_is_refused(rule):
    """`stale_when` is a StaleWhen or a whole number of at least one."""
    with pytest.raises(ConfigurationError, match="stale_when"):
        LifecycleConfig(stale_when=rule)


async def test_outside_its_run_a_manager_takes_no_halts():
    """Before the start and after the stop a halt raises and changes nothing; a stopped manager takes no feed."""
    manager, _ = listen(at(MONDAY, (15, 0)))
    feed = manager.add_feed("ticks")
    halts = (lambda: manager.halt("why"), manager.resume, lambda: feed.halt("why"), feed.resume)
    for call in halts:
        with pytest.raises(NotRunningError):
            call()
    async with running(manager):
        pass
    for call in (*halts, lambda: manager.add_feed("more")):
        with pytest.raises(ManagerStopped):
            call()
    feed.record()
    assert (manager.halted, feed.halted, manager.feeds) == (None, None, (feed,))


# ---- status ----


async def test_the_status_tells_of_feeds_and_halts():
    """A snapshot has the number of feeds, the stale ones, the longest stale first, and the halt; all of it JSON."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    for name, timeout in (("b", MINUTE), ("a", 2 * MINUTE), ("c", HOUR)):
        manager.add_feed(name, timeout=timeout)
    async with running(manager):
        status = manager.status()
        assert (status.feeds, status.stale_feeds, status.halted) == (3, (), None)
        await clock.advance(3 * MINUTE)
        manager.halt("news")
        status = manager.status()
        assert (status.feeds, status.stale_feeds, status.halted) == (3, ("b", "a"), "news")
        assert (status.state, status.can_trade, status.last_data_at) == (ACTIVE, False, None)
        plain = json.loads(json.dumps(status.as_dict()))
        assert (plain["feeds"], plain["stale_feeds"], plain["halted"]) == (3, ["b", "a"], "news")
        manager.feeds[0].record()
        assert manager.status().stale_feeds == ("a",)


async def test_events_carry_the_managers_name():
    """Where the manager has a name, everything that is told of feeds and halts has it too."""
    clock = SimulatedClock(at(MONDAY, (15, 0)))
    manager = SessionBoundaryManager(season(), roll_nothing, clock=clock, name="nyse")
    feed = manager.add_feed("ticks")
    async with running(manager) as log:
        await clock.advance(FIVE)
        feed.record()
        manager.halt("news")
        manager.resume()
        await clock.advance_to(at(MONDAY, (22, 0)))
        feed.record()
        await clock.advance(NOW)
        kinds = (FeedStale, FeedResumed, Halted, Resumed, UnexpectedData)
        assert {type(event) for event in log if event.name == "nyse"} >= set(kinds)
        assert {event.name for event in log} == {"nyse"}


# ---- from inside ----


async def test_data_and_halts_from_inside_the_roll():
    """From inside the roll data is recorded, a halt is refused as there is nothing to halt, and the roll goes on."""
    refused: list[str] = []

    async def roll(next_date) -> None:
        feed.record()
        manager.record_data_received()
        for call in (manager.halt, feed.halt):
            try:
                call("while we are at it")
            except HaltRefused as error:
                refused.append(str(error))
        manager.add_feed(f"of {next_date}")
        await clock.sleep(SECOND)

    manager, clock = listen(at(MONDAY, (20, 50)), roll=roll)
    feed = manager.add_feed("ticks")
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (22, 0)))
        assert (manager.session.date, manager.state) == (TUESDAY, NOT_STARTED)
        assert ["ENDED" in message for message in refused] == [True, True]
        assert [feed.name for feed in manager.feeds] == ["ticks", f"of {TUESDAY}"]
        assert of(RollFailed, log) == []
        assert manager.status().last_data_at == at(MONDAY, (21, 30))


async def test_a_halt_that_the_roll_lets_through_fails_the_attempt():
    """A refused halt is an error like any other: where the roll does not catch it, the attempt has failed."""

    async def roll(next_date) -> None:
        manager.halt("in vain")

    manager, clock = listen(at(MONDAY, (21, 0)), roll=roll)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (22, 0)))
        assert manager.state is ERROR
        assert all(isinstance(event.error, HaltRefused) for event in of(RollFailed, log))


async def test_handlers_may_halt_record_and_remove():
    """A handler of FeedStale may halt trading, of Halted record data, of FeedResumed remove the feed: all in order."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    feed = manager.add_feed("ticks")
    other = manager.add_feed("other", timeout=DAY)

    @manager.on(FeedStale)
    async def stop_trading(event: FeedStale) -> None:
        manager.halt(event.reason)

    @manager.on(Halted)
    async def look_again(event: Halted) -> None:
        feed.record()

    @manager.on(FeedResumed)
    async def give_up(event: FeedResumed) -> None:
        feed.remove()
        manager.resume()

    async with running(manager) as log:
        await clock.advance(FIVE)
        assert [type(event) for event in log[-4:]] == [FeedStale, Halted, FeedResumed, Resumed]
        assert (manager.can_trade, [each.name for each in manager.feeds]) == (False, ["other"])
        other.record()
        assert manager.can_trade


async def test_a_wrong_call_is_a_lifecycle_error():
    """Everything that feeds and halts refuse has the one root."""
    for kind in (FeedNameTaken, FeedRemoved, HaltRefused):
        assert issubclass(kind, LifecycleError)


async def test_a_feed_in_an_ended_session_waits_for_the_next():
    """From the close through the roll to the next open no feed is stale, however long the roll takes."""

    async def roll(next_date) -> None:
        await clock.sleep(2 * MINUTE)

    manager, clock = listen(at(MONDAY, (20, 59)), roll=roll)
    manager.add_feed("ticks")
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (21, 31)))
        assert manager.state is ENDED
        await clock.advance_to(at(TUESDAY, (14, 35)) - MICROSECOND)
        assert stale(log) == []
        await clock.advance(MICROSECOND)
        assert stale(log) == [("ticks", at(TUESDAY, (14, 35)))]


async def test_a_step_over_the_night_expects_data_anew():
    """A step from a stale session into a later one leaves nobody stale, and everybody its whole timeout."""
    manager, clock = listen(at(MONDAY, (16, 0)))
    manager.add_feed("ticks")
    async with running(manager) as log:
        manager.halt("news")
        await clock.advance(NOW)
        clock.step(2 * DAY)
        await clock.advance(FIVE - MICROSECOND)
        assert (manager.session.date, manager.state, manager.halted) == (WEDNESDAY, ACTIVE, None)
        assert not manager.can_trade  # nothing has come on Wednesday
        assert [(event.session, event.lapsed) for event in of(Resumed, log)] == [(MONDAY, True)]
        await clock.advance(MICROSECOND)
        assert stale(log) == [("ticks", clock.now())]


async def test_breaks_are_told_whatever_is_halted():
    """A halt hides no break: both are told, in their order."""
    manager, clock = listen(at(MONDAY, (16, 50)), LUNCHING)
    async with running(manager) as log:
        manager.halt("news")
        await clock.advance_to(at(MONDAY, (18, 0)))
        manager.resume()
        await clock.advance(NOW)
        kinds = [type(event) for event in log if not isinstance(event, StateChanged)]
        assert kinds == [Halted, BreakStarted, BreakEnded, Resumed]
