"""A session that opens at the very close of the one before: the market does not close, so its data does not start anew.

The sessions are days from midnight to midnight, Monday to Sunday; then the market is closed for a day.
"""

from datetime import datetime, timedelta

import anyio
import pytest
from msgspec.structs import replace

from session_lifecycle import (
    AdaptiveTimeout,
    BreakStarted,
    Closure,
    Entry,
    FeedResumed,
    FeedStale,
    FixedSchedule,
    Halted,
    HaltRefused,
    LifecycleConfig,
    MemoryJournal,
    Resolution,
    Resumed,
    RetryPolicy,
    Session,
    SessionBoundaryManager,
    SessionGroup,
    StateChanged,
)
from session_lifecycle.testing import SimulatedClock, assert_legal
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at
from tests.helpers.harness import (
    ACTIVE,
    ENDED,
    ERROR,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    TIMEOUT,
    TUESDAY,
    WEDNESDAY,
    Rolls,
    changes,
    of,
    roll_nothing,
    running,
    states,
)
from tests.helpers.ledger import Slow, a_while, in_background
from tests.helpers.manager_feeds import ALL, ANY, FIVE, nobody, stale, timeouts
from tests.helpers.manager_journal import holding

pytestmark = pytest.mark.anyio

SUNDAY = MONDAY + 6 * DAY


def _day(day) -> Session:
    return Session(day, at(day, (0, 0)), at(day + DAY, (0, 0)))


WEEK = FixedSchedule([_day(MONDAY + n * DAY) for n in range(40) if n % 8 != 7])
MIDNIGHT = at(TUESDAY, (0, 0))
LATE = at(MONDAY, (23, 0))


def listen(start: datetime, *script, journal=None, **settings) -> tuple[SessionBoundaryManager, SimulatedClock]:
    """Return a manager of days that abut, whose roll follows a script, and its clock."""
    clock = SimulatedClock(start)
    config = LifecycleConfig(**({"data_timeout": FIVE} | settings))
    return SessionBoundaryManager(WEEK, Rolls(clock, *script), clock=clock, config=config, journal=journal), clock


async def test_fault_62_a_timeout_goes_on_over_midnight():
    """What was TIMEOUT at the close is TIMEOUT from the open on, at one instant; nothing may be traded in between."""
    manager, clock = listen(LATE)
    async with running(manager) as log:
        await clock.advance_to(MIDNIGHT)
        assert (manager.session.date, manager.state, manager.can_trade) == (TUESDAY, TIMEOUT, False)
        assert states(log)[-2:] == [ACTIVE, TIMEOUT]
        last = changes(log)[-1]
        assert (last.trigger, last.scheduled_at, last.observed_at, last.catch_up) == (
            "data_timeout",
            MIDNIGHT,
            MIDNIGHT,
            False,
        )
        await clock.advance(MINUTE)
        manager.record_data_received()
        assert (manager.state, manager.can_trade) == (ACTIVE, True)
        await clock.advance(FIVE - MICROSECOND)
        assert manager.state is ACTIVE
        await clock.advance(MICROSECOND)
        assert manager.state is TIMEOUT


async def test_fault_62_a_timeout_that_goes_on_comes_before_a_break_that_has_begun_meanwhile():
    """The roll outlasts the beginning of a break of the next session: TIMEOUT since its open, and then the break."""
    nap = (at(TUESDAY, (0, 6)), at(TUESDAY, (0, 18)))
    schedule = FixedSchedule([_day(MONDAY), replace(_day(TUESDAY), breaks=(nap,)), _day(WEDNESDAY)])
    clock = SimulatedClock(LATE)
    config = LifecycleConfig(data_timeout=FIVE, roll_timeout=None)
    manager = SessionBoundaryManager(schedule, Rolls(clock, 10 * MINUTE), clock=clock, config=config)
    async with running(manager) as log:
        await clock.advance_to(MIDNIGHT + 11 * MINUTE)
        assert (manager.session.date, manager.state, manager.on_break) == (TUESDAY, TIMEOUT, True)
        last = [(type(event), event.scheduled_at) for event in log if isinstance(event, StateChanged | BreakStarted)]
        assert last[-3:] == [(StateChanged, MIDNIGHT), (StateChanged, MIDNIGHT), (BreakStarted, nap[0])]


async def test_fault_62_silence_is_timed_over_midnight():
    """A feed that fell silent three minutes before midnight is TIMEOUT two minutes after it, and may be traded till."""
    manager, clock = listen(at(MONDAY, (23, 57)))
    async with running(manager) as log:
        manager.record_data_received()
        await clock.advance_to(MIDNIGHT)
        assert (manager.session.date, manager.state, manager.can_trade) == (TUESDAY, ACTIVE, True)
        await clock.advance(2 * MINUTE - MICROSECOND)
        assert (manager.state, manager.can_trade) == (ACTIVE, True)
        await clock.advance(MICROSECOND)
        assert timeouts(log) == [at(TUESDAY, (0, 2))]


async def test_where_the_silence_is_too_long_at_the_very_close_the_close_comes_first():
    """The close wins, and the session that opens then is TIMEOUT at once."""
    manager, clock = listen(at(MONDAY, (23, 55)))
    async with running(manager) as log:
        await clock.advance_to(MIDNIGHT)
        assert (manager.session.date, manager.state) == (TUESDAY, TIMEOUT)
        assert [(event.session, event.trigger) for event in changes(log)][-1] == (TUESDAY, "data_timeout")
        assert timeouts(log) == [MIDNIGHT]


async def test_a_watch_that_still_waits_for_the_first_data_goes_on_waiting():
    """A start just before midnight, without a word: no tick is assumed at the open."""
    manager, clock = listen(at(MONDAY, (23, 58)))
    async with running(manager) as log:
        await clock.advance_to(at(TUESDAY, (0, 2)))
        assert (manager.state, manager.can_trade) == (ACTIVE, False)
        await clock.advance(MINUTE)
        assert timeouts(log) == [at(TUESDAY, (0, 3))]


@pytest.mark.parametrize(("rule", "state"), [(ALL, ACTIVE), (ANY, TIMEOUT), (2, ACTIVE)])
async def test_stale_feeds_stay_stale(rule, state):
    """No feed is found stale again, and the rule decides at the open as it did before."""
    manager, clock = listen(LATE, stale_when=rule)
    dead, alive = manager.add_feed("dead"), manager.add_feed("alive", timeout=DAY)
    async with running(manager) as log:
        alive.record()
        await clock.advance_to(MIDNIGHT)
        assert (manager.session.date, manager.state, manager.stale_feeds) == (TUESDAY, state, ("dead",))
        assert stale(log) == [("dead", LATE + FIVE)]
        assert (dead.can_trade, alive.can_trade) == (False, state is ACTIVE)
        dead.record()
        assert (manager.state, manager.stale_feeds, dead.can_trade) == (ACTIVE, (), True)
        await clock.advance(NOW)
        assert [event.silent_for for event in of(FeedResumed, log)] == [HOUR]


async def test_all_feeds_stale_is_a_timeout_from_the_open_on():
    """The line was dead before midnight, and is dead after it."""
    manager, clock = listen(LATE)
    for name in ("one", "other"):
        manager.add_feed(name)
    async with running(manager) as log:
        await clock.advance_to(MIDNIGHT)
        assert (manager.state, manager.stale_feeds) == (TIMEOUT, ("one", "other"))
        assert len(of(FeedStale, log)) == 2
        manager.feeds[0].record()
        assert manager.state is ACTIVE


async def test_a_feed_is_timed_over_midnight():
    """Its deadline, its learnt timeout, and that it has sent something before, all go on."""
    manager, clock = listen(at(MONDAY, (23, 57)))
    plain = manager.add_feed("plain")
    paced = manager.add_feed("paced", timeout=AdaptiveTimeout(MINUTE, HOUR))
    async with running(manager) as log:
        for _ in range(4):
            paced.record()
            await clock.advance(40 * SECOND)
        plain.record()
        await clock.advance_to(at(TUESDAY, (0, 30)))
        assert stale(log) == [
            ("paced", at(MONDAY, (23, 59)) + 2 * MINUTE),
            ("plain", at(MONDAY, (23, 59)) + 40 * SECOND + FIVE),
        ]
        assert [event.never for event in of(FeedStale, log)] == [False, False]


async def test_a_probe_that_is_asked_before_midnight_is_answered_after_it():
    """The question stays open over the roll, and its answer counts."""
    asked: list[datetime] = []

    async def probe(feed) -> bool:
        asked.append(clock.now())
        await clock.sleep(2 * SECOND)
        return len(asked) == 1

    manager, clock = listen(at(MONDAY, (23, 54)) + 59 * SECOND)
    manager.add_feed("idle", probe=probe)
    async with running(manager) as log:
        await clock.advance_to(at(TUESDAY, (0, 1)))
        assert (asked, stale(log)) == ([at(MONDAY, (23, 59)) + 59 * SECOND], [])
        await clock.advance_to(at(TUESDAY, (0, 6)))
        assert asked[1:] == [at(TUESDAY, (0, 5)) + SECOND]
        assert [name for name, _ in stale(log)] == ["idle"]


async def test_a_probe_that_denied_leaves_the_feed_stale_over_midnight():
    """It is not asked again for a feed that is stale already."""
    manager, clock = listen(LATE)
    manager.add_feed("dead", probe=nobody)
    async with running(manager) as log:
        await clock.advance_to(at(TUESDAY, (1, 0)))
        assert (manager.state, len(of(FeedStale, log))) == (TIMEOUT, 1)


async def test_halts_go_on_over_midnight():
    """Of trading and of a feed: nothing is lifted, nothing is timed, and the resume ends them."""
    manager, clock = listen(LATE)
    feed, other = manager.add_feed("halted"), manager.add_feed("other")
    async with running(manager) as log:
        manager.halt("limit down")
        feed.halt("gap")
        await clock.advance_to(at(TUESDAY, (1, 0)))
        assert (manager.session.date, manager.state, manager.halted) == (TUESDAY, ACTIVE, "limit down")
        assert (feed.halted, manager.halted_feeds, of(Resumed, log)) == ("gap", ("halted",), [])
        manager.resume()
        other.record()
        assert (manager.can_trade, feed.can_trade, other.can_trade) == (True, False, True)
        await clock.advance(FIVE)
        assert stale(log) == [("other", clock.now())]
        assert manager.state is TIMEOUT  # the one that is not halted is stale
        feed.resume()
        assert (manager.state, feed.can_trade) == (ACTIVE, False)
        feed.record()
        assert feed.can_trade


async def test_a_halt_in_timeout_stays_both_over_midnight():
    """TIMEOUT goes on, its time towards ERROR does not count while halted, and counts on after the halt."""
    manager, clock = listen(at(MONDAY, (23, 50)), error_after_timeout=10 * MINUTE)
    async with running(manager) as log:
        await clock.advance(FIVE + 2 * MINUTE)
        manager.halt("news")
        await clock.advance_to(at(TUESDAY, (1, 0)))
        assert (manager.session.date, manager.state, manager.halted) == (TUESDAY, TIMEOUT, "news")
        manager.resume()
        await clock.advance(8 * MINUTE - MICROSECOND)
        assert manager.state is TIMEOUT
        await clock.advance(MICROSECOND)
        assert manager.state is ERROR
        assert of(Halted, log)


@pytest.mark.parametrize("feeds", [False, True])
async def test_the_time_to_error_goes_on_over_midnight(feeds):
    """An hour of TIMEOUT is an ERROR an hour after it began, whichever day it is by then."""
    manager, clock = listen(at(MONDAY, (23, 20)), error_after_timeout=HOUR)
    if feeds:
        manager.add_feed("dead")
    async with running(manager) as log:
        await clock.advance_to(at(TUESDAY, (0, 25)) - MICROSECOND)
        assert manager.state is TIMEOUT
        await clock.advance(MICROSECOND)
        assert manager.state is ERROR
        assert changes(log)[-1].scheduled_at == at(TUESDAY, (0, 25))


async def test_a_roll_that_takes_long_does_not_restart_anything():
    """Silence, and the time to ERROR, run on while the roll is under way; TIMEOUT is due as of the open."""
    manager, clock = listen(at(MONDAY, (23, 50)), 3 * MINUTE, error_after_timeout=10 * MINUTE)
    async with running(manager) as log:
        await clock.advance_to(at(TUESDAY, (0, 2)))
        assert (manager.state, manager.can_trade) == (ENDED, False)
        await clock.advance_to(at(TUESDAY, (0, 3)))
        assert manager.state is TIMEOUT
        opened, missed = changes(log)[-2:]
        assert (opened.dest, missed.dest, missed.scheduled_at, missed.catch_up) == (ACTIVE, TIMEOUT, MIDNIGHT, True)
        await clock.advance_to(at(TUESDAY, (0, 5)))
        assert manager.state is ERROR


async def test_what_becomes_due_during_a_long_roll_is_due_when_it_was():
    """The silence becomes too long, and then lasts too long, before the next session is entered."""
    manager, clock = listen(at(MONDAY, (23, 58)), 20 * MINUTE, roll_timeout=None, error_after_timeout=10 * MINUTE)
    async with running(manager) as log:
        await clock.advance_to(at(TUESDAY, (0, 20)))
        assert [(event.dest, event.scheduled_at) for event in changes(log)[-2:]] == [
            (ACTIVE, MIDNIGHT),
            (TIMEOUT, at(TUESDAY, (0, 3))),
        ]
        await clock.advance(10 * MINUTE)
        assert manager.state is ERROR


@pytest.mark.parametrize("feeds", [False, True])
async def test_data_during_a_long_roll_ends_the_silence(feeds):
    """What was TIMEOUT is not, at the open, where data has come during the roll."""
    manager, clock = listen(LATE, 3 * MINUTE)
    feed = manager.add_feed("ticks") if feeds else None
    async with running(manager) as log:
        await clock.advance_to(at(TUESDAY, (0, 2)))
        feed.record() if feed else manager.record_data_received()
        await clock.advance_to(at(TUESDAY, (0, 3)))
        assert (manager.state, manager.can_trade) == (ACTIVE, True)
        await clock.advance_to(at(TUESDAY, (0, 7)) - MICROSECOND)
        assert manager.state is ACTIVE
        await clock.advance(HOUR)
        assert len(timeouts(log)) == 2


async def test_halts_are_called_and_lifted_during_a_long_roll():
    """The market is open: a halt can come, or end, though the session has ended."""
    manager, clock = listen(at(MONDAY, (23, 59)), 3 * MINUTE, require_first_tick=False)
    feed = manager.add_feed("ticks")
    async with running(manager) as log:
        manager.halt("first")
        await clock.advance(2 * MINUTE)
        assert manager.state is ENDED
        manager.resume()
        feed.halt("gap")
        await clock.advance(SECOND)
        feed.resume()
        manager.halt("second")
        await clock.advance(HOUR)
        assert (manager.session.date, manager.state, manager.halted) == (TUESDAY, ACTIVE, "second")
        assert stale(log) == []
        manager.resume()
        assert manager.can_trade
        await clock.advance(FIVE)
        assert len(stale(log)) == 1


async def test_a_resume_during_a_long_roll_times_the_silence_from_there():
    """Not from the open, which is later."""
    manager, clock = listen(at(MONDAY, (23, 59)), 3 * MINUTE)
    async with running(manager) as log:
        manager.halt("news")
        await clock.advance(2 * MINUTE)
        manager.resume()
        await clock.advance(HOUR)
        assert timeouts(log) == [at(TUESDAY, (0, 6))]


@pytest.mark.parametrize("attempts", [1, 2])
async def test_a_roll_that_fails_in_between_restarts_nothing(attempts):
    """Tried again, or after ERROR and `recover()`: what was stale or halted still is."""
    manager, clock = listen(LATE, OSError("no books"), roll_retry=RetryPolicy(attempts=attempts), stale_when=ANY)
    manager.add_feed("dead")
    halted = manager.add_feed("halted")
    async with running(manager) as log:
        halted.halt("gap")
        await clock.advance_to(MIDNIGHT + MINUTE)
        if attempts == 1:
            assert manager.state is ERROR
            await clock.advance(MINUTE)
            await manager.recover()
            await clock.advance(NOW)
        assert (manager.session.date, manager.state) == (TUESDAY, TIMEOUT)
        assert (manager.stale_feeds, manager.halted_feeds) == (("dead",), ("halted",))
        assert (len(stale(log)), of(Resumed, log)) == (1, [])


async def test_a_halt_survives_an_error_over_midnight():
    """A session that failed before midnight, and was recovered from after it, has not closed the market either."""
    manager, clock = listen(LATE)
    async with running(manager) as log:
        manager.halt("limit down")
        manager.fail("sunspots")
        await clock.advance_to(at(TUESDAY, (1, 0)))
        await manager.recover()
        await clock.advance(NOW)
        assert (manager.session.date, manager.state, manager.halted) == (TUESDAY, ACTIVE, "limit down")
        manager.resume()
        assert not manager.can_trade
        await clock.advance(FIVE)
        assert timeouts(log) == [at(TUESDAY, (1, 5))]


async def test_sessions_that_are_skipped_in_between_abut_too():
    """A roll that outlasts a whole day goes to the session of the present, and the market was open all the time."""
    manager, clock = listen(LATE, DAY + HOUR, roll_timeout=None)
    async with running(manager):
        manager.halt("limit down")
        await clock.advance_to(at(WEDNESDAY, (1, 0)))
        assert (manager.session.date, manager.state, manager.halted) == (WEDNESDAY, ACTIVE, "limit down")


async def test_halts_go_on_over_skipped_sessions_that_abut_and_over_a_restart():
    """The market has not closed in between, which the records of the roll alone do not say."""
    journal = MemoryJournal()
    manager, clock = listen(LATE, data_timeout=None, journal=journal)
    feed, gone = manager.add_feed("AAPL", timeout=FIVE), manager.add_feed("IBM", timeout=FIVE)
    async with running(manager):
        manager.halt("volatility")
        feed.halt("limit up")
        gone.halt("limit down")
        manager.fail("no database")
        await clock.advance(2 * DAY)
        await manager.recover()
        await clock.advance(NOW)
        assert (manager.session.date, manager.halted, feed.halted) == (WEDNESDAY, "volatility", "limit up")
    manager, _ = listen(clock.now(), data_timeout=None, journal=journal)
    feed = manager.add_feed("AAPL", timeout=FIVE)
    async with running(manager):
        assert (manager.session.date, manager.halted, feed.halted) == (WEDNESDAY, "volatility", "limit up")
        assert manager.add_feed("IBM", timeout=FIVE).halted == "limit down"


async def test_a_halt_that_is_lifted_over_skipped_sessions_stays_lifted():
    """Its end is being written while the roll is: it is not recorded anew."""
    journal = Slow()
    manager, clock = listen(LATE, data_timeout=None, journal=journal)
    async with running(manager):
        manager.halt("volatility")
        manager.fail("no database")
        await clock.advance(2 * DAY)
        journal.shut()
        async with in_background(manager.recover, Resolution.MARK_DONE):
            await journal.writing.wait()
            manager.resume()
            journal.release()
        await clock.advance(NOW)
        assert (manager.session.date, manager.halted) == (WEDNESDAY, None)
    manager, _ = listen(clock.now(), data_timeout=None, journal=journal)
    async with running(manager):
        assert manager.halted is None


async def test_a_halt_over_a_midnight_that_closes_is_lifted_before_the_roll():
    """Where a closed day lies in between that was only found out at the roll: `Resumed`, then the roll, at once."""
    manager, clock = listen(LATE, OSError("no database"), data_timeout=None, roll_retry=RetryPolicy(attempts=1))
    async with running(manager) as log:
        manager.halt("volatility")
        await clock.advance_to(MIDNIGHT)
        assert (manager.state, manager.halted) == (ERROR, "volatility")
        await clock.advance_to(at(SUNDAY + DAY, (12, 0)))  # the day that is none
        await manager.recover(Resolution.SKIP)
        await clock.advance(NOW)
        assert manager.halted is None
        assert_legal(log)


async def test_a_day_on_which_the_market_was_closed_ends_everything():
    """A roll from Saturday that skips to beyond the closed day: halts lapse at the roll, and data is expected anew."""
    manager, clock = listen(at(SUNDAY - DAY, (23, 0)), OSError("no books"), roll_retry=RetryPolicy(attempts=1))
    dead, halted = manager.add_feed("dead"), manager.add_feed("halted")
    async with running(manager) as log:
        await clock.advance(10 * MINUTE)
        manager.halt("limit down")
        halted.halt("gap")
        entered = at(SUNDAY + 3 * DAY, (6, 0))
        await clock.advance_to(entered)
        assert (manager.state, manager.halted, manager.halted_feeds) == (ERROR, "limit down", ("halted",))
        assert manager.stale_feeds == ("dead",)
        await manager.recover()
        await clock.advance(NOW)
        assert (manager.session.date, manager.state) == (SUNDAY + 3 * DAY, ACTIVE)
        assert (manager.halted, manager.halted_feeds, manager.stale_feeds) == (None, (), ())
        assert [event.lapsed for event in of(Resumed, log)] == [True, True]
        assert_legal(log)
        halted.record()
        assert (manager.can_trade, dead.can_trade) == (True, False)
        await clock.advance(FIVE)
        assert sorted(stale(log)[2:]) == [("dead", entered + FIVE), ("halted", entered + FIVE)]


async def test_the_last_session_before_a_closed_day_closes():
    """Sunday's close is followed by no open: halts lapse, and a halt after it is refused."""
    manager, clock = listen(at(SUNDAY, (23, 0)))
    async with running(manager) as log:
        manager.halt("limit down")
        await clock.advance_to(at(SUNDAY + DAY, (0, 0)))
        assert (manager.halted, len(of(Resumed, log))) == (None, 1)
        with pytest.raises(HaltRefused):
            manager.halt("again")
        await clock.advance_to(at(SUNDAY + 2 * DAY, (0, 4)))
        assert (manager.state, manager.can_trade) == (ACTIVE, False)


async def test_a_session_that_is_ended_manually_closes():
    """`end_session` closes what the schedule leaves open: halts lapse, and the next open is a new one."""
    manager, clock = listen(LATE)
    async with running(manager) as log:
        manager.halt("limit down")
        await manager.end_session("enough")
        await clock.advance_to(at(TUESDAY, (0, 4)))
        assert (manager.halted, manager.state, manager.can_trade) == (None, ACTIVE, False)
        assert timeouts(log) == []


async def test_a_next_session_that_is_called_off_leaves_nothing_open():
    """The closure of the target, announced during the roll, closes the market after all."""
    manager, clock = listen(LATE, MINUTE)
    async with running(manager) as log:
        manager.halt("limit down")
        await clock.advance_to(MIDNIGHT + 30 * SECOND)
        await manager.apply(Closure(TUESDAY))
        await clock.advance_to(at(WEDNESDAY, (0, 1)))
        assert (manager.session.date, manager.state, manager.halted) == (WEDNESDAY, ACTIVE, None)
        assert [event.lapsed for event in of(Resumed, log)] == [True]


async def halted_after_a_restart(journal: MemoryJournal, clock: SimulatedClock) -> tuple[str | None, str | None]:
    """Return what halts trading, and one feed, in the run that follows."""
    manager, _ = listen(clock.now(), data_timeout=None, journal=journal)
    feed = manager.add_feed("AAPL", timeout=FIVE)
    async with running(manager):
        return manager.halted, feed.halted


async def test_halts_that_end_session_lifts_stay_lifted_after_a_restart():
    """The market has closed by the application's word, though the next session opens at the very close."""
    journal = MemoryJournal()
    manager, clock = listen(LATE, data_timeout=None, journal=journal)
    feed = manager.add_feed("AAPL", timeout=FIVE)
    async with running(manager):
        manager.halt("limit down")
        feed.halt("gap")
        await manager.end_session("enough")
        await clock.advance_to(at(TUESDAY, (0, 4)))
        assert (manager.session.date, manager.halted, feed.halted) == (TUESDAY, None, None)
        manager.halt("another")
        await clock.advance_to(at(WEDNESDAY, (0, 4)))  # which closes by the clock
        assert (manager.session.date, manager.halted) == (WEDNESDAY, "another")
    assert await halted_after_a_restart(journal, clock) == ("another", None)


async def test_a_halt_while_the_end_of_the_session_is_written_ends_with_it_after_a_restart_too():
    """Its record comes after that of the end."""
    journal = Slow()
    manager, clock = listen(LATE, data_timeout=None, journal=journal)
    async with running(manager):
        journal.shut()
        async with in_background(manager.end_session, "enough"):
            await journal.writing.wait()
            manager.halt("limit down")
            journal.release()
        await clock.advance_to(at(TUESDAY, (0, 4)))
        assert (manager.session.date, manager.halted) == (TUESDAY, None)
    assert await halted_after_a_restart(journal, clock) == (None, None)


async def test_a_session_that_ends_by_the_clock_while_its_end_is_written_has_closed_too():
    """The word was given before midnight: halts lapse, and nothing can be halted until the next session opens."""
    journal = Slow()
    manager, clock = listen(LATE, MINUTE, data_timeout=None, journal=journal)
    async with running(manager) as log:
        manager.halt("limit down")
        await clock.advance(NOW)
        journal.shut()
        async with in_background(manager.end_session, "enough"):
            await journal.writing.wait()
            clock.step(HOUR)
            await a_while()
            assert (manager.state, manager.halted) == (ENDED, "limit down")
            journal.release()
        assert (manager.state, manager.halted) == (ENDED, None)
        await clock.advance(2 * MINUTE)
        assert (manager.session.date, manager.state, manager.halted) == (TUESDAY, ACTIVE, None)
        assert_legal(log)
    assert await halted_after_a_restart(journal, clock) == (None, None)


async def test_a_next_session_that_is_called_off_leaves_nothing_open_after_a_restart():
    """The closure of the target is in the journal before the roll is done."""
    journal = MemoryJournal()
    manager, clock = listen(LATE, MINUTE, data_timeout=None, journal=journal)
    async with running(manager):
        manager.halt("limit down")
        await clock.advance_to(MIDNIGHT)
        await manager.apply(Closure(TUESDAY))
        await clock.advance_to(at(WEDNESDAY, (0, 1)))
        assert (manager.session.date, manager.halted) == (WEDNESDAY, None)
    assert await halted_after_a_restart(journal, clock) == (None, None)


async def of_a_restart(journal: MemoryJournal, start: datetime) -> tuple[object, ...]:
    """Return the session, the halt, and whether one may halt, of a run from the same records while this one goes on."""
    manager, clock = listen(start, HOUR, data_timeout=None, journal=holding(*journal.records))
    async with running(manager):
        await clock.advance(NOW)
        return manager.session.date, manager.halted, may_halt(manager)


def may_halt(manager: SessionBoundaryManager) -> bool:
    try:
        manager.halt("another")
    except HaltRefused:
        return False
    return True


@pytest.mark.parametrize("written_over_midnight", [True, False])
async def test_the_closure_of_the_target_closes_the_market_at_once(written_over_midnight):
    """Not only at the end of the roll: of a restart during the roll, by the same records, the market has closed."""
    journal = Slow()
    manager, clock = listen(LATE, 2 * MINUTE, data_timeout=None, journal=journal)
    async with running(manager) as log:
        manager.halt("limit down")
        if written_over_midnight:
            await clock.advance(NOW)
            journal.shut()
            async with in_background(manager.apply, Closure(TUESDAY)):
                await journal.writing.wait()
                clock.step(HOUR)
                await a_while()
                journal.release()
        else:
            await clock.advance_to(MIDNIGHT)
            await manager.apply(Closure(TUESDAY))
        await clock.advance(NOW)
        assert [event.lapsed for event in of(Resumed, log)] == [True]
        for minutes in (0, 1, 3, 60):
            await clock.advance_to(MIDNIGHT + minutes * MINUTE)
            restart = await of_a_restart(journal, clock.now())
            assert (manager.session.date, manager.halted, may_halt(manager)) == restart
            assert restart[1:] == (None, False)
        await clock.advance_to(at(WEDNESDAY, (0, 3)))
        assert (manager.session.date, manager.state, manager.halted) == (WEDNESDAY, ACTIVE, None)
        assert_legal(log)


async def test_a_session_that_is_called_off_in_error_has_closed():
    """The recovery leads to its end, which lifts halts; so it is after a restart."""
    journal = MemoryJournal()
    manager, clock = listen(LATE, data_timeout=None, journal=journal)
    async with running(manager):
        manager.halt("limit down")
        manager.fail("sunspots")
        await manager.apply(Closure(MONDAY))
        await manager.recover()
        assert (manager.state, manager.halted) == (ENDED, None)
        await clock.advance_to(at(TUESDAY, (1, 0)))
        assert (manager.session.date, manager.state, manager.halted) == (TUESDAY, ACTIVE, None)
    assert await halted_after_a_restart(journal, clock) == (None, None)


async def test_a_session_that_is_called_off_while_it_is_being_entered_has_closed_after_a_restart_too():
    """The record of the closure comes after that of the roll, and was decided on before."""
    entering, announced = anyio.Event(), anyio.Event()

    async def wait() -> None:
        entering.set()
        await announced.wait()

    journal = Slow(wait, entries=[Entry.DONE])
    manager, clock = listen(LATE, data_timeout=None, journal=journal)
    async with running(manager):
        manager.halt("limit down")
        await clock.advance(NOW)
        clock.step(HOUR)
        await entering.wait()
        async with in_background(manager.apply, Closure(TUESDAY)) as outcome:
            await a_while()
            announced.set()
        assert outcome == [None]
        await clock.advance_to(at(WEDNESDAY, (1, 0)))
        assert (manager.session.date, manager.state, manager.halted) == (WEDNESDAY, ACTIVE, None)
    assert await halted_after_a_restart(journal, clock) == (None, None)


@pytest.mark.parametrize("resolution", [Resolution.RETRY, Resolution.MARK_DONE, Resolution.SKIP])
async def test_halts_go_on_over_a_restart_in_an_error_of_the_roll(resolution):
    """The session has ended, and the market has not closed: neither the restart nor the recovery lifts a halt."""
    journal = MemoryJournal()
    once = RetryPolicy(attempts=1)
    manager, clock = listen(LATE, OSError("no books"), data_timeout=None, roll_retry=once, journal=journal)
    async with running(manager):
        manager.halt("limit down")
        await clock.advance_to(at(TUESDAY, (1, 0)))
        assert manager.state is ERROR
    manager, clock = listen(clock.now(), data_timeout=None, journal=journal)
    async with running(manager) as log:
        assert (manager.state, manager.halted) == (ERROR, "limit down")
        await clock.advance(DAY)
        await manager.recover(resolution)
        await clock.advance(NOW)
        assert (manager.session.date, manager.state, manager.halted) == (WEDNESDAY, ACTIVE, "limit down")
        assert of(Resumed, log) == []
        assert_legal(log)
    assert await halted_after_a_restart(journal, clock) == ("limit down", None)


async def test_halts_lapse_at_a_roll_past_a_closed_day_after_a_restart_too():
    """As without the restart: `Resumed`, and then the roll."""
    journal = MemoryJournal()
    once = RetryPolicy(attempts=1)
    start = at(SUNDAY - DAY, (23, 0))
    fails = OSError("no books")
    manager, clock = listen(start, fails, fails, data_timeout=None, roll_retry=once, journal=journal)
    async with running(manager):
        manager.halt("limit down")
        await clock.advance_to(at(SUNDAY, (1, 0)))
        await manager.recover(Resolution.SKIP)
        await clock.advance(NOW)
        assert (manager.state, manager.halted) == (ERROR, "limit down")
    manager, clock = listen(at(SUNDAY + 2 * DAY, (6, 0)), data_timeout=None, journal=journal)
    async with running(manager) as log:
        await manager.recover()
        await clock.advance(NOW)
        assert (manager.session.date, manager.halted) == (SUNDAY + 2 * DAY, None)
        assert_legal(log)
    assert await halted_after_a_restart(journal, clock) == (None, None)


async def test_a_halt_is_called_after_a_restart_during_a_roll():
    """The market is open for that run, too."""
    journal = MemoryJournal()
    manager, clock = listen(LATE, OSError("no books"), data_timeout=None, journal=journal)
    async with running(manager):
        await clock.advance_to(MIDNIGHT)
    manager, clock = listen(clock.now(), MINUTE, data_timeout=None, journal=journal)
    async with running(manager):
        await clock.advance(SECOND)
        assert manager.state is ENDED
        manager.halt("limit down")
        await clock.advance(HOUR)
        assert (manager.session.date, manager.state, manager.halted) == (TUESDAY, ACTIVE, "limit down")
    assert await halted_after_a_restart(journal, clock) == ("limit down", None)


async def test_members_of_a_group_each_go_on_with_their_own_data():
    """A cohort crosses midnight together: one is silent since before, one is waiting, one is live."""
    clock = SimulatedClock(at(MONDAY, (23, 50)))
    config = LifecycleConfig(data_timeout=FIVE)
    dead, silent, live, halted = managers = [
        SessionBoundaryManager(WEEK, roll_nothing, clock=clock, config=config, name=name)
        for name in ("dead", "silent", "live", "halted")
    ]
    async with SessionGroup(managers, clock=clock):
        halted.halt("limit down")
        for minute in range(10):
            live.record_data_received()
            if minute < 8:
                silent.record_data_received()
            await clock.advance(MINUTE)
        assert [manager.session.date for manager in managers] == [TUESDAY] * 4
        assert [manager.state for manager in managers] == [TIMEOUT, ACTIVE, ACTIVE, ACTIVE]
        assert [manager.can_trade for manager in managers] == [False, True, True, False]
        assert halted.halted == "limit down"
        await clock.advance(2 * MINUTE)
        live.record_data_received()
        assert [manager.state for manager in managers] == [TIMEOUT, TIMEOUT, ACTIVE, ACTIVE]
        dead.record_data_received()
        assert (dead.state, dead.can_trade, silent.can_trade) == (ACTIVE, True, False)


async def test_a_timeout_that_goes_on_says_the_same_as_before():
    """It is not new: data of the day before is none of 'none at all since the open'."""
    manager, clock = listen(at(MONDAY, (23, 40)))
    async with running(manager) as log:
        await clock.advance(SECOND)
        manager.record_data_received()
        await clock.advance_to(at(TUESDAY, (0, 10)))
        first, second = (event.reason for event in changes(log) if event.dest is TIMEOUT)
        assert first == second == "no data for 0:05:00 (data_timeout)"
        assert manager.status().reason == first


async def test_the_driver_sleeps_while_the_session_is_in_error_over_midnight():
    """What carries over asks for no look while the state is none in which data counts."""
    manager, clock = listen(at(MONDAY, (23, 58)), OSError("no books"), roll_retry=RetryPolicy(attempts=1))
    async with running(manager):
        await clock.advance_to(at(TUESDAY, (2, 0)))
        assert manager.state is ERROR
        before = manager.status().observed_at
        await clock.advance(timedelta(hours=3))
        assert manager.status().observed_at == before == MIDNIGHT
