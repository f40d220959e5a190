"""Halts of trading and of single feeds, and data that arrives while the venue is closed."""

import logging

import pytest
from msgspec.structs import replace

from session_lifecycle import (
    Entry,
    FeedResumed,
    FeedStale,
    FixedSchedule,
    Halted,
    HaltRefused,
    JournalWriteFailed,
    MemoryJournal,
    Resumed,
    Session,
    StateChanged,
    UnexpectedData,
)
from session_lifecycle.testing import assert_legal
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at
from tests.helpers.harness import (
    ACTIVE,
    ERROR,
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    POST_MARKET,
    PRE_MARKET,
    TIMEOUT,
    TUESDAY,
    changes,
    make,
    of,
    running,
    states,
)
from tests.helpers.ledger import Kept, Lost, Slow
from tests.helpers.manager_feeds import ANY, FIVE, LUNCHING, listen, stale, timeouts

pytestmark = pytest.mark.anyio


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
        assert (manager.can_trade, manager.halted) == (False, None)  # no data has come since
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
    manager, clock = listen(at(MONDAY, (14, 0)), require_first_tick=False)
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
    manager, clock = listen(at(MONDAY, (20, 0)), require_first_tick=False)
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
        await manager.end_session("called off")
        await clock.advance(NOW)
        assert of(Resumed, log) == [Resumed(MONDAY, None, lapsed=True, observed_at=at(MONDAY, (15, 0)))]
        assert manager.halted is None


async def test_a_halt_survives_an_error():
    """A session that fails while halted is halted after recover(), until resume() or the close."""
    manager, clock = listen(at(MONDAY, (15, 0)), require_first_tick=False)
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


@pytest.mark.parametrize("resumes", [1, 2])
@pytest.mark.parametrize("single", [False, True])
async def test_a_halt_while_the_end_of_another_is_written_is_the_last_word(single, resumes):
    """It is not lost to the earlier resume(), however often that was called; a restart knows of it too."""
    journal = MemoryJournal()
    manager, clock = make(at(MONDAY, (15, 0)), journal=journal)
    feed = manager.add_feed("AAPL", timeout=FIVE)
    target = feed if single else manager
    async with running(manager) as log:
        target.halt("first")
        await clock.advance(MINUTE)
        for _ in range(resumes):
            target.resume()
        target.halt("second")
        assert target.halted == "second"
        await clock.advance(MINUTE)
        assert target.halted == "second"
        assert [type(event) for event in log if isinstance(event, Halted | Resumed)] == [Halted, Resumed, Halted]
        assert_legal(log)
    manager, clock = make(clock.now(), journal=journal)
    feed = manager.add_feed("AAPL", timeout=FIVE)
    async with running(manager):
        assert (feed if single else manager).halted == "second"


IN_DOUBT = JournalWriteFailed("in memory", "resumed", "no answer", uncertain=True)
REFUSED = JournalWriteFailed("in memory", "resumed", "no space left")


@pytest.mark.parametrize("failure", [REFUSED, IN_DOUBT, Lost(), Kept()], ids=["refused", "in doubt", "lost", "kept"])
@pytest.mark.parametrize("single", [False, True])
async def test_a_halt_after_a_resume_that_could_not_be_recorded(single, failure, caplog):
    """Trading was halted all the while: no Resumed, and a restart is halted, whatever became of the record."""
    journal = Slow(entries=[Entry.RESUMED], always=failure)
    manager, clock = make(at(MONDAY, (15, 0)), journal=journal)
    feed = manager.add_feed("AAPL", timeout=FIVE)
    target = feed if single else manager
    async with running(manager) as log:
        target.halt("first")
        await clock.advance(MINUTE)
        target.resume()
        await clock.advance(MINUTE)
        assert target.halted == "first"
        journal.always = None
        caplog.clear()
        with caplog.at_level(logging.WARNING, "session_lifecycle"):
            target.halt("second")
        assert "halted already (first)" in caplog.text
        await clock.advance(MINUTE)
        assert target.halted == "first"
        assert [type(event) for event in log if isinstance(event, Halted | Resumed)] == [Halted]
    again, _ = make(clock.now(), journal=journal)
    feed = again.add_feed("AAPL", timeout=FIVE)
    async with running(again):
        assert (feed if single else again).halted == "first"


async def test_a_resume_that_could_be_recorded_holds_where_another_was_refused():
    """Of two calls one is in the journal, so trading goes on."""
    journal = Slow(REFUSED, REFUSED, entries=[Entry.RESUMED])
    manager, clock = make(at(MONDAY, (15, 0)), journal=journal)
    async with running(manager) as log:
        manager.halt("first")
        await clock.advance(MINUTE)
        manager.resume()
        manager.resume()  # both are refused together, then one after the other
        await clock.advance(MINUTE)
        assert manager.halted is None
        assert [type(event) for event in log if isinstance(event, Halted | Resumed)] == [Halted, Resumed]
    assert [entry for entry in journal.written if entry in (Entry.HALTED, Entry.RESUMED)] == [
        Entry.HALTED,
        Entry.RESUMED,
    ]


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
    """A halt without a reason is a TypeError, and changes nothing."""
    manager, _ = listen(at(MONDAY, (15, 0)))
    feed = manager.add_feed("ticks")
    async with running(manager):
        for target in (manager, feed):
            with pytest.raises(TypeError, match="reason must be a string that is not blank"):
                target.halt(reason)
            assert target.halted is None
        feed.record()
        assert manager.can_trade


async def test_a_halt_of_one_feed():
    """A halted feed is neither stale nor watched, trading goes on, and at its end it has its whole timeout."""
    manager, clock = listen(at(MONDAY, (15, 0)), stale_when=ANY)
    feed = manager.add_feed("ticks")
    live = manager.add_feed("live", timeout=DAY)
    async with running(manager) as log:
        live.record()
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
