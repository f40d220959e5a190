"""Feeds, halts and data that contradicts the calendar: what a running manager makes of them, to the microsecond."""

import json
import logging
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from session_lifecycle import (
    AdaptiveTimeout,
    BreakEnded,
    BreakStarted,
    ClockStepped,
    ConfigurationError,
    Feed,
    FeedNameTaken,
    FeedRemoved,
    FeedResumed,
    FeedStale,
    FixedSchedule,
    Halted,
    HaltRefused,
    LifecycleConfig,
    LifecycleError,
    ManagerStopped,
    NaiveDatetimeError,
    NotRunningError,
    Resumed,
    RollFailed,
    Session,
    SessionBoundaryManager,
    StaleWhen,
    StateChanged,
    UnexpectedData,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at, session
from tests.helpers.harness import (
    ACTIVE,
    ENDED,
    ERROR,
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    POST_MARKET,
    PRE_MARKET,
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
    states,
)

pytestmark = pytest.mark.anyio

FIVE = 5 * MINUTE
ALL, ANY = StaleWhen.ALL, StaleWhen.ANY
LUNCHING = FixedSchedule(
    [session(MONDAY, breaks=(((17, 0), (18, 0)),)), *season().sessions(TUESDAY, TUESDAY + 70 * DAY)]
)
"""Monday pauses from 17:00 to 18:00."""
SHORT = settings(max_examples=25, deadline=None)


def listen(start: datetime, schedule: FixedSchedule | None = None, roll=roll_nothing, **settings) -> tuple:
    """Return a manager whose feeds have five minutes by default, and its clock."""
    clock = SimulatedClock(start)
    config = LifecycleConfig(**({"data_timeout": FIVE} | settings))
    return SessionBoundaryManager(schedule or season(), roll, clock=clock, config=config), clock


def stale(log) -> list[tuple[str, datetime]]:
    """Return which feeds were told to be stale, each with the instant at which it was."""
    return [(event.feed, event.scheduled_at) for event in of(FeedStale, log)]


def timeouts(log) -> list[datetime]:
    """Return when TIMEOUT was entered."""
    return [event.observed_at for event in changes(log) if event.dest is TIMEOUT]


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


async def nobody(feed: Feed) -> bool:
    """Answer that a feed is dead."""
    return False


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("", {}, TypeError, "a name in words"),
        ("  ", {}, TypeError, "a name in words"),
        (None, {}, TypeError, "a name in words"),
        (7, {}, TypeError, "a name in words"),
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


# ---- the calendar comes first ----


async def test_stale_survives_a_break_whose_time_does_not_count():
    """A break neither ends nor causes staleness; live feeds have their whole timeout after it."""
    manager, clock = listen(at(MONDAY, (16, 50)), LUNCHING)
    mute = manager.add_feed("mute")
    live = manager.add_feed("live")
    async with running(manager) as log:
        for minute in (54, 58):
            await clock.advance_to(at(MONDAY, (16, minute)))
            live.record()
        await clock.advance_to(at(MONDAY, (17, 59)))
        assert (manager.on_break, manager.stale_feeds, manager.state) == (True, ("mute",), ACTIVE)
        await clock.advance_to(at(MONDAY, (18, 5)) - MICROSECOND)
        assert manager.stale_feeds == ("mute",)
        await clock.advance(MICROSECOND)
        assert stale(log) == [("mute", at(MONDAY, (16, 55))), ("live", at(MONDAY, (18, 5)))]
        assert timeouts(log) == [at(MONDAY, (18, 5))]
        mute.record()
        assert manager.state is ACTIVE


async def test_a_timeout_of_feeds_survives_a_break_and_data_on_it_ends_it():
    """TIMEOUT goes on through a break; data on the break ends it, and arms nothing before the break's end."""
    manager, clock = listen(at(MONDAY, (16, 50)), LUNCHING)
    feed = manager.add_feed("ticks")
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (17, 30)))
        assert (manager.state, manager.on_break) == (TIMEOUT, True)
        feed.record()
        assert (manager.state, manager.on_break, manager.can_trade) == (ACTIVE, True, False)
        await clock.advance_to(at(MONDAY, (19, 0)))
        assert stale(log) == [("ticks", at(MONDAY, (16, 55))), ("ticks", at(MONDAY, (18, 5)))]


@pytest.mark.parametrize(("start", "what"), [((16, 55), BreakStarted), ((20, 55), StateChanged)])
async def test_where_silence_and_calendar_fall_together_the_calendar_wins(start, what):
    """A feed whose deadline is the very start of a break, or the close, is not told; a microsecond before it is."""
    for early in (NOW, MICROSECOND):
        manager, clock = listen(at(MONDAY, start) - early, LUNCHING)
        manager.add_feed("ticks")
        async with running(manager) as log:
            await clock.advance(FIVE + early)
            assert isinstance(log[-1], what)
            assert len(stale(log)) == len(timeouts(log)) == bool(early)
            assert manager.on_break or manager.state is POST_MARKET


async def test_verdicts_lapse_at_the_close():
    """After the close no feed is stale, none is told to be back, and the next day each has its whole timeout."""
    manager, clock = listen(at(MONDAY, (20, 0)))
    feed = manager.add_feed("ticks")
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (20, 59)))
        assert manager.state is TIMEOUT
        await clock.advance_to(at(MONDAY, (21, 0)))
        assert (manager.state, manager.stale_feeds, feed.stale) == (POST_MARKET, (), False)
        feed.record()
        await clock.advance_to(at(TUESDAY, (14, 40)))
        assert of(FeedResumed, log) == []
        assert stale(log) == [("ticks", at(MONDAY, (20, 5))), ("ticks", at(TUESDAY, (14, 35)))]
        assert of(FeedStale, log)[1].never


async def test_a_lasting_timeout_of_feeds_becomes_an_error():
    """error_after_timeout counts for feeds too, breaks left out; ERROR forgets who was stale."""
    manager, clock = listen(at(MONDAY, (16, 50)), LUNCHING, error_after_timeout=10 * MINUTE)
    feed = manager.add_feed("ticks")
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (18, 5)) - MICROSECOND)
        assert manager.state is TIMEOUT
        await clock.advance(MICROSECOND)
        assert (manager.state, manager.stale_feeds) == (ERROR, ())
        assert changes(log)[-1].scheduled_at == at(MONDAY, (18, 5))
        assert "error_after_timeout" in manager.status().reason
        feed.record()
        await clock.advance(HOUR)
        assert manager.state is ERROR
        assert len(stale(log)) == 1


async def test_recover_expects_data_from_then_on():
    """After an ERROR in TIMEOUT, recover() gives every feed its whole timeout again."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    manager.add_feed("ticks")
    async with running(manager) as log:
        await clock.advance(10 * MINUTE)
        manager.fail("sunspots")
        await clock.advance(HOUR)
        await manager.recover()
        assert (manager.state, manager.stale_feeds) == (ACTIVE, ())
        await clock.advance(HOUR)
        assert stale(log) == [("ticks", at(MONDAY, (15, 5))), ("ticks", at(MONDAY, (16, 15)))]


@SHORT
@given(steps=st.lists(st.integers(-3600, 1800).map(lambda n: timedelta(seconds=n)), min_size=1, max_size=3))
async def test_a_step_of_the_wall_clock_alone_never_makes_a_feed_stale(steps):
    """However the wall clock steps, a feed is stale after its timeout of time that has really passed."""
    manager, clock = listen(at(MONDAY, (17, 0)))
    feed = manager.add_feed("ticks")
    async with running(manager) as log:
        await clock.advance(2 * MINUTE)
        feed.record()
        for delta in steps:
            await clock.advance(MINUTE)
            clock.step(delta)
            await clock.advance(NOW)
            assert not feed.stale
        await clock.advance(FIVE - len(steps) * MINUTE - MICROSECOND)
        assert manager.state is ACTIVE
        await clock.advance(MICROSECOND)
        assert (manager.state, stale(log)) == (TIMEOUT, [("ticks", clock.now())])
        assert len(of(ClockStepped, log)) == sum(abs(delta) >= SECOND for delta in steps)


# ---- probes ----


class Probe:
    """Answers as told, notes when it was asked, and may take its time."""

    def __init__(self, clock: SimulatedClock, answer: object = True, takes: timedelta = NOW) -> None:
        self.clock, self.answer, self.takes = clock, answer, takes
        self.asked: list[tuple[str, datetime]] = []

    async def __call__(self, feed: Feed) -> bool:
        self.asked.append((feed.name, self.clock.now()))
        await self.clock.sleep(self.takes)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


async def test_a_probe_that_says_alive_means_a_quiet_market():
    """As long as the probe says that the feed lives, it is asked once a timeout and the feed is never stale."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    probe = Probe(clock, takes=SECOND)
    manager.add_feed("ticks", probe=probe)
    async with running(manager) as log:
        await clock.advance(16 * MINUTE)
        assert probe.asked == [
            ("ticks", at(MONDAY, (15, 5))),
            ("ticks", at(MONDAY, (15, 10)) + SECOND),
            ("ticks", at(MONDAY, (15, 15)) + 2 * SECOND),
        ]
        assert (stale(log), manager.state) == ([], ACTIVE)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (False, "its probe says that it is dead"),
        (None, "its probe says that it is dead"),
        (OSError("no route"), "its probe failed: OSError('no route')"),
        (ExceptionGroup("many", [ValueError("one")]), "its probe failed: "),
    ],
)
async def test_a_probe_that_does_not_say_alive_makes_it_stale(answer, words):
    """No, an error, or nothing at all: the feed is stale from its deadline, told when the answer comes, with why."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    probe = Probe(clock, answer, takes=2 * SECOND)
    feed = manager.add_feed("ticks", probe=probe)
    async with running(manager) as log:
        await clock.advance(FIVE + 2 * SECOND - MICROSECOND)
        assert (feed.stale, manager.state) == (False, ACTIVE)
        await clock.advance(MICROSECOND)
        (event,) = of(FeedStale, log)
        assert (event.scheduled_at, event.lateness) == (at(MONDAY, (15, 5)), 2 * SECOND)
        assert event.reason.startswith("no data for 0:05:00; " + words)
        assert manager.state is TIMEOUT
        await clock.advance(HOUR)
        assert len(probe.asked) == 1
        feed.record()
        assert manager.state is ACTIVE
        await clock.advance(FIVE)
        assert len(probe.asked) == 2


async def test_a_probe_that_hangs_is_bounded_by_the_managers_clock():
    """After probe_timeout of simulated time, to the microsecond, no answer is a no, and the probe is cancelled."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    probe = Probe(clock, takes=DAY)
    feed = manager.add_feed("ticks", probe=probe, probe_timeout=7 * SECOND)
    async with running(manager) as log:
        await clock.advance(FIVE + 7 * SECOND - MICROSECOND)
        assert not feed.stale
        await clock.advance(MICROSECOND)
        (event,) = of(FeedStale, log)
        assert (event.scheduled_at, event.observed_at) == (at(MONDAY, (15, 5)), clock.now())
        assert event.reason == "no data for 0:05:00; its probe did not answer within 0:00:07"
        assert manager.state is TIMEOUT


async def test_an_answer_at_the_very_end_comes_too_late():
    """A probe that says alive at exactly probe_timeout has not said so within it, on every event loop."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    manager.add_feed("ticks", probe=Probe(clock, takes=7 * SECOND), probe_timeout=7 * SECOND)
    async with running(manager) as log:
        await clock.advance(FIVE + 7 * SECOND)
        assert [event.reason for event in of(FeedStale, log)] == [
            "no data for 0:05:00; its probe did not answer within 0:00:07"
        ]


@pytest.mark.parametrize("answer", [True, False, OSError("no route")])
async def test_data_that_comes_while_the_probe_is_asked_counts(answer):
    """Data settles the question, whatever the answer: the feed is not stale, and timed from the later of the two."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    probe = Probe(clock, answer, takes=2 * SECOND)
    feed = manager.add_feed("ticks", probe=probe)
    async with running(manager) as log:
        await clock.advance(FIVE + SECOND)
        feed.record()
        await clock.advance(FIVE - MICROSECOND)
        assert (stale(log), len(probe.asked)) == ([], 1)
        await clock.advance(2 * SECOND)
        assert len(probe.asked) == 2


@pytest.mark.parametrize("answer", [True, False])
async def test_the_close_settles_the_question(answer):
    """Where the session closes while the probe is asked, its answer concerns nobody, the next session least."""
    manager, clock = listen(at(MONDAY, (20, 55)) - SECOND)
    probe = Probe(clock, answer, takes=2 * SECOND)
    manager.add_feed("ticks", probe=probe)
    async with running(manager) as log:
        await clock.advance(FIVE)
        assert len(probe.asked) == 1
        await clock.advance(2 * SECOND)
        assert (manager.state, manager.stale_feeds) == (POST_MARKET, ())
        await clock.advance_to(at(TUESDAY, (14, 35)))
        assert stale(log) == []
        assert len(probe.asked) == 2


@pytest.mark.parametrize("how", ["halt", "halt all", "remove", "stop"])
async def test_other_ends_of_the_question(how):
    """A halt, a removal or the end of the manager while the probe is asked: nobody waits for its answer."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    feed = manager.add_feed("ticks", probe=Probe(clock, answer=False, takes=2 * SECOND))
    other = manager.add_feed("other", timeout=HOUR)
    async with running(manager) as log:
        await clock.advance(FIVE + SECOND)
        match how:
            case "halt":
                feed.halt("auction")
            case "halt all":
                manager.halt("auction")
            case "remove":
                feed.remove()
            case _:
                manager.stop()
        await clock.advance(30 * MINUTE)
    assert stale(log) == []
    assert not feed.stale
    assert not other.stale


async def test_a_probe_does_not_delay_the_others():
    """While one feed's probe is asked, another's silence is told at its own instant."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    manager.add_feed("slow", probe=Probe(clock, answer=False, takes=4 * SECOND))
    manager.add_feed("other", timeout=FIVE + SECOND)
    async with running(manager) as log:
        await clock.advance(10 * MINUTE)
        assert [(event.feed, event.observed_at) for event in of(FeedStale, log)] == [
            ("other", at(MONDAY, (15, 5)) + SECOND),
            ("slow", at(MONDAY, (15, 5)) + 4 * SECOND),
        ]
        # All were stale only once both were: the slow one's silence was too long before the other's.
        assert changes(log)[-1].scheduled_at == at(MONDAY, (15, 5)) + SECOND
        assert changes(log)[-1].observed_at == at(MONDAY, (15, 5)) + 4 * SECOND


async def test_a_probe_may_speak_for_its_feed():
    """A probe that records data for the feed, as one that sends a ping may, has answered by that."""
    manager, clock = listen(at(MONDAY, (15, 0)))

    async def ping(feed: Feed) -> bool:
        feed.record()
        return False

    manager.add_feed("ticks", probe=ping)
    async with running(manager) as log:
        await clock.advance(30 * MINUTE)
        assert (stale(log), manager.state) == ([], ACTIVE)


# ---- halts ----


async def test_a_halt_stops_trading_and_expects_no_data():
    """While halted nobody may trade, the state stays, and no silence counts; then all have their whole timeout."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    feed = manager.add_feed("ticks")
    async with running(manager) as log:
        await clock.advance(4 * MINUTE)
        now = clock.now()
        manager.halt("circuit breaker, level 1")
        assert (manager.can_trade, manager.state, manager.halted) == (False, ACTIVE, "circuit breaker, level 1")
        await clock.advance(HOUR)
        assert (manager.can_trade, manager.state, feed.stale) == (False, ACTIVE, False)
        manager.resume()
        assert (manager.can_trade, manager.halted) == (True, None)
        await clock.advance(FIVE - MICROSECOND)
        assert log[-2:] == [
            Halted("circuit breaker, level 1", MONDAY, None, now),
            Resumed(MONDAY, None, lapsed=False, observed_at=now + HOUR),
        ]
        await clock.advance(MICROSECOND)
        assert stale(log) == [("ticks", now + HOUR + FIVE)]


async def test_a_halt_suspends_the_managers_own_watch():
    """Without feeds a halt suspends the manager's own watch likewise, and restarts it at its end."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    async with running(manager) as log:
        await clock.advance(4 * MINUTE)
        manager.halt("news pending")
        await clock.advance(HOUR)
        manager.resume()
        await clock.advance(FIVE)
        assert timeouts(log) == [at(MONDAY, (16, 9))]


async def test_a_halt_in_timeout():
    """TIMEOUT outlasts a halt, whose time does not count towards ERROR; data ends it, and trading stays halted."""
    manager, clock = listen(at(MONDAY, (15, 0)), error_after_timeout=10 * MINUTE)
    feed = manager.add_feed("ticks")
    async with running(manager) as log:
        await clock.advance(FIVE + 4 * MINUTE)
        manager.halt("news pending")
        await clock.advance(HOUR)
        assert manager.state is TIMEOUT
        manager.resume()
        await clock.advance(6 * MINUTE - MICROSECOND)
        assert manager.state is TIMEOUT
        manager.halt("more news")
        feed.record()
        assert (manager.state, manager.can_trade, manager.halted) == (ACTIVE, False, "more news")
        await clock.advance(HOUR)
        manager.resume()
        await clock.advance(15 * MINUTE)
        assert manager.state is ERROR
        assert [state for state in states(log) if state in (TIMEOUT, ERROR)] == [TIMEOUT, TIMEOUT, ERROR]


async def test_a_halt_before_the_open():
    """A session halted in its pre-market opens halted, and its feeds are timed from the end of the halt."""
    manager, clock = listen(at(MONDAY, (14, 0)))
    manager.add_feed("ticks")
    async with running(manager) as log:
        manager.halt("delayed opening")
        assert manager.state is PRE_MARKET
        await clock.advance_to(at(MONDAY, (14, 50)))
        assert (manager.state, manager.can_trade, stale(log)) == (ACTIVE, False, [])
        manager.resume()
        assert manager.can_trade
        await clock.advance(FIVE)
        assert stale(log) == [("ticks", at(MONDAY, (14, 55)))]


async def test_a_halt_that_ends_before_the_open():
    """A halt that begins and ends in the pre-market leaves the open as it is."""
    manager, clock = listen(at(MONDAY, (14, 0)))
    manager.add_feed("ticks")
    async with running(manager) as log:
        manager.halt("delayed opening, perhaps")
        await clock.advance(MINUTE)
        manager.resume()
        await clock.advance(HOUR)
        assert stale(log) == [("ticks", at(MONDAY, (14, 35)))]


@pytest.mark.parametrize(
    ("begin", "end", "due"),
    [
        ((16, 30), (17, 30), (18, 5)),  # over the start of the break
        ((17, 30), (18, 30), (18, 35)),  # over its end
        ((16, 30), (18, 30), (18, 35)),  # over all of it
        ((17, 10), (17, 20), (18, 5)),  # within it
        ((17, 0), (18, 0), (18, 5)),  # exactly
    ],
)
async def test_halts_and_breaks_cross(begin, end, due):
    """Data is expected when there is neither halt nor break, and its silence is timed from the end of the later."""
    manager, clock = listen(at(MONDAY, (16, 26)), LUNCHING)
    manager.add_feed("ticks")
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, begin))
        if begin > (16, 59):
            assert len(stale(log)) == 1
            manager.feeds[0].record()
        manager.halt("auction")
        await clock.advance_to(at(MONDAY, end))
        assert not manager.can_trade
        manager.resume()
        log.clear()
        await clock.advance_to(at(MONDAY, (20, 0)))
        assert stale(log) == [("ticks", at(MONDAY, due))]


async def test_no_halt_survives_the_close():
    """At the close halts lapse, of the venue and of feeds, and say so; the next session can be traded."""
    manager, clock = listen(at(MONDAY, (20, 0)))
    feed = manager.add_feed("ticks")
    other = manager.add_feed("other")
    async with running(manager) as log:
        manager.halt("limit down")
        feed.halt("gap")
        await clock.advance(NOW)
        log.clear()
        await clock.advance_to(at(MONDAY, (21, 0)))
        closed = at(MONDAY, (21, 0))
        assert [type(event) for event in log] == [StateChanged, Resumed, Resumed]
        assert log[1:] == [
            Resumed(MONDAY, None, lapsed=True, observed_at=closed),
            Resumed(MONDAY, "ticks", lapsed=True, observed_at=closed),
        ]
        assert (manager.halted, feed.halted, other.halted) == (None, None, None)
        await clock.advance_to(at(TUESDAY, (14, 34)))
        assert manager.can_trade
        assert stale(log) == []


async def test_a_halt_lapses_when_the_session_is_ended_by_hand():
    """end_session() closes too: the halt lapses."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    async with running(manager) as log:
        manager.halt("limit down")
        manager.end_session("called off")
        await clock.advance(NOW)
        assert of(Resumed, log) == [Resumed(MONDAY, None, lapsed=True, observed_at=at(MONDAY, (15, 0)))]
        assert manager.halted is None


async def test_a_halt_survives_an_error():
    """A session that fails while halted is halted after recover(), until resume() or the close."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    manager.add_feed("ticks")
    async with running(manager) as log:
        manager.halt("limit down")
        manager.fail("sunspots")
        await clock.advance(HOUR)
        assert (manager.state, manager.halted) == (ERROR, "limit down")
        await manager.recover()
        assert (manager.state, manager.can_trade) == (ACTIVE, False)
        await clock.advance(HOUR)
        assert stale(log) == []
        manager.resume()
        assert manager.can_trade
        await clock.advance(HOUR)
        assert stale(log) == [("ticks", at(MONDAY, (17, 5)))]


async def test_a_halt_begun_in_an_error_holds_after_it():
    """In ERROR a halt can be told, and holds for the session that recover() walks."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    async with running(manager) as log:
        manager.fail("sunspots")
        manager.halt("limit down")
        await manager.recover()
        assert (manager.state, manager.can_trade) == (ACTIVE, False)
        await clock.advance(HOUR)
        assert timeouts(log) == []


@pytest.mark.parametrize(
    ("when", "state"), [((8, 0), NOT_STARTED), ((21, 0), POST_MARKET), ((21, 29), POST_MARKET), ((23, 0), NOT_STARTED)]
)
async def test_a_halt_of_what_is_not_open_is_refused(when, state):
    """Where the session is not open, nor about to be, HaltRefused says so, and nothing has changed."""
    manager, clock = listen(at(MONDAY, (7, 0)))
    feed = manager.add_feed("ticks")
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, when))
        log.clear()
        before = replace(manager.status(), observed_at=clock.now())
        for call in (manager.halt, feed.halt):
            with pytest.raises(HaltRefused, match=state.name):
                call("why not")
        await clock.advance(NOW)
        assert (manager.status(), feed.halted, log) == (before, None, [])


@pytest.mark.parametrize("single", [False, True])
async def test_a_second_halt_or_resume_is_a_log_line(single, caplog):
    """What is halted already, or not halted, stays as it is: no event, and a line in the log that says so."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    feed = manager.add_feed("ticks")
    target = feed if single else manager
    async with running(manager) as log:
        with caplog.at_level(logging.WARNING, "session_lifecycle"):
            target.halt("first")
            caplog.clear()
            target.halt("second")
            assert target.halted == "first"
            assert ["halted already" in record.getMessage() for record in caplog.records] == [True]
            target.resume()
            caplog.clear()
            target.resume()
            assert ["there is no halt" in record.getMessage() for record in caplog.records] == [True]
        await clock.advance(NOW)
        assert [event.reason for event in of(Halted, log)] == ["first"]
        assert len(of(Resumed, log)) == 1


@pytest.mark.parametrize("reason", ["", " ", None, 7])
async def test_a_halt_needs_a_reason(reason):
    """A halt without a reason in words is a TypeError, and changes nothing."""
    manager, _ = listen(at(MONDAY, (15, 0)))
    feed = manager.add_feed("ticks")
    async with running(manager):
        for target in (manager, feed):
            with pytest.raises(TypeError, match="reason in words"):
                target.halt(reason)
            assert target.halted is None
        assert manager.can_trade


async def test_a_halt_of_one_feed():
    """A halted feed is neither stale nor watched, trading goes on, and at its end it has its whole timeout."""
    manager, clock = listen(at(MONDAY, (15, 0)), stale_when=ANY)
    feed = manager.add_feed("ticks")
    live = manager.add_feed("live", timeout=DAY)
    async with running(manager) as log:
        await clock.advance(10 * MINUTE)
        assert (manager.state, manager.stale_feeds) == (TIMEOUT, ("ticks",))
        now = clock.now()
        feed.halt("auction")
        assert (manager.state, manager.can_trade, manager.stale_feeds) == (ACTIVE, True, ())
        assert (feed.halted, live.halted, manager.halted) == ("auction", None, None)
        await clock.advance(HOUR)
        feed.resume()
        await clock.advance(FIVE)
        assert stale(log)[1:] == [("ticks", now + HOUR + FIVE)]
        assert of(Halted, log) == [Halted("auction", MONDAY, "ticks", now)]
        assert of(Resumed, log) == [Resumed(MONDAY, "ticks", lapsed=False, observed_at=now + HOUR)]
        assert of(FeedResumed, log) == []


async def test_halted_feeds_do_not_count():
    """With ALL, TIMEOUT comes where all that are not halted are stale, and goes when one more is watched."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    manager.add_feed("mute")
    live = manager.add_feed("live", timeout=2 * HOUR)
    async with running(manager) as log:
        await clock.advance(10 * MINUTE)
        assert manager.state is ACTIVE
        live.halt("auction")
        assert manager.state is TIMEOUT
        await clock.advance(MINUTE)
        assert changes(log)[-1].scheduled_at == at(MONDAY, (15, 10))
        live.resume()
        assert manager.state is ACTIVE
        for feed in manager.feeds:
            feed.halt("all of them")
        assert (manager.state, manager.stale_feeds) == (ACTIVE, ())
        await clock.advance(2 * HOUR)
        assert manager.state is ACTIVE


async def test_data_of_a_halted_feed_is_no_end_of_its_halt():
    """What a halted feed says is noted, and it stays halted."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    feed = manager.add_feed("ticks")
    async with running(manager) as log:
        feed.halt("auction")
        await clock.advance(MINUTE)
        feed.record()
        assert feed.halted == "auction"
        feed.resume()
        await clock.advance(FIVE)
        assert [(event.scheduled_at, event.never) for event in of(FeedStale, log)] == [(at(MONDAY, (15, 6)), False)]


# ---- data while the venue is closed ----


@pytest.mark.parametrize("named", [True, False])
async def test_data_while_the_venue_is_closed_is_told_once_until_it_opens(named):
    """Data at night, from the manager or a feed, is told once; after the next session it is news again."""
    manager, clock = listen(at(MONDAY, (20, 0)))
    feed = manager.add_feed("ticks") if named else None
    record = manager.record_data_received if feed is None else feed.record
    async with running(manager) as log:
        record()  # while it is open
        await clock.advance_to(at(MONDAY, (21, 15)))
        record()  # after the close: some comes late, as ever
        assert of(UnexpectedData, log) == []
        told = []
        for day in (MONDAY, TUESDAY):
            await clock.advance_to(at(day, (23, 0)))
            told.append(UnexpectedData(day + DAY, "ticks" if named else None, clock.now()))
            for _ in range(3):
                record()
                await clock.advance(HOUR)
            await clock.advance_to(at(day + DAY, (9, 30)))
            record()  # in the pre-market
        await clock.advance(NOW)
        assert of(UnexpectedData, log) == told


async def test_whoever_is_first_tells_of_unexpected_data():
    """Once one source has told of it, the others do not tell again; a feed that was removed never does."""
    manager, clock = listen(at(MONDAY, (22, 0)))
    gone = manager.add_feed("gone")
    feeds = [manager.add_feed(name) for name in "ab"]
    async with running(manager) as log:
        gone.remove()
        gone.record()
        feeds[1].record()
        feeds[0].record()
        manager.record_data_received()
        late = manager.add_feed("late")
        late.record()
        await clock.advance(NOW)
        assert of(UnexpectedData, log) == [UnexpectedData(TUESDAY, "b", at(MONDAY, (22, 0)))]


async def test_late_data_of_before_the_close_is_not_unexpected():
    """A stamp from before the session's end is late data; one from after it is unexpected."""
    manager, clock = listen(at(MONDAY, (20, 0)))
    feed = manager.add_feed("ticks")
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (22, 0)))
        feed.record(at(MONDAY, (20, 59)))
        manager.record_data_received(at(MONDAY, (21, 30)) - MICROSECOND)
        await clock.advance(NOW)
        assert of(UnexpectedData, log) == []
        feed.record(at(MONDAY, (21, 30)))
        await clock.advance(NOW)
        assert of(UnexpectedData, log) == [UnexpectedData(TUESDAY, "ticks", at(MONDAY, (22, 0)))]


async def test_a_venue_that_never_closes_gets_no_unexpected_data():
    """Around the clock there is no closed stretch, at no second of the day, rolls included."""
    days = [MONDAY + n * DAY for n in range(40)]
    schedule = FixedSchedule([Session(day, at(day, (0, 0)), at(day + DAY, (0, 0))) for day in days])
    manager, clock = listen(at(MONDAY, (0, 0)), schedule)
    feed = manager.add_feed("ticks")
    async with running(manager) as log:
        for _ in range(3 * 24 * 4 + 1):
            feed.record()
            manager.record_data_received()
            await clock.advance(15 * MINUTE)
        assert of(UnexpectedData, log) == []
        assert manager.session.date == MONDAY + 3 * DAY


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
    manager.add_feed("other", timeout=DAY)

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
        assert (manager.can_trade, [each.name for each in manager.feeds]) == (True, ["other"])


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
        assert (manager.session.date, manager.state, manager.can_trade) == (WEDNESDAY, ACTIVE, True)
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
