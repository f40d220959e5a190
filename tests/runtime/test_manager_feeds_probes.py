"""Feeds beside the calendar, and probes that are asked before a feed counts as stale."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_lifecycle import (
    BreakStarted,
    ClockStepped,
    Feed,
    FeedResumed,
    FeedStale,
    StateChanged,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at
from tests.helpers.harness import (
    ACTIVE,
    ERROR,
    HOUR,
    MINUTE,
    NOW,
    POST_MARKET,
    SECOND,
    TIMEOUT,
    TUESDAY,
    changes,
    of,
    running,
)
from tests.helpers.manager_feeds import FIVE, LUNCHING, SHORT, listen, stale, timeouts

pytestmark = pytest.mark.anyio


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
