"""Stale data: silence counts only while data is expected, and the calendar always comes first."""

import time
from datetime import UTC, datetime, timedelta, timezone

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_lifecycle import (
    BreakEnded,
    BreakStarted,
    ClockStepped,
    Event,
    FixedSchedule,
    LifecycleConfig,
    NaiveDatetimeError,
    Session,
    SessionBoundaryManager,
    StateChanged,
    SystemClock,
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
LUNCHING = FixedSchedule(
    [session(MONDAY, breaks=(((17, 0), (18, 0)), ((19, 0), (19, 30)))), *season().sessions(TUESDAY, TUESDAY + 70 * DAY)]
)
"""Monday pauses from 17:00 to 18:00 and from 19:00 to 19:30."""


def listen(start: datetime, schedule: FixedSchedule | None = None, **settings) -> tuple:
    """Return a manager that goes TIMEOUT after five minutes, and its clock."""
    clock = SimulatedClock(start)
    config = LifecycleConfig(**({"data_timeout": FIVE} | settings))
    return SessionBoundaryManager(schedule or season(), roll_nothing, clock=clock, config=config), clock


def timeouts(log) -> list[datetime]:
    """Return when TIMEOUT was entered."""
    return [event.observed_at for event in changes(log) if event.dest is TIMEOUT]


# ---- arming ----


async def test_the_watch_begins_at_the_open():
    """A feed that never says a word times out exactly data_timeout after the open, and not before it."""
    manager, clock = listen(at(MONDAY, (8, 0)))
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (14, 35)) - MICROSECOND)
        assert manager.state is ACTIVE
        await clock.advance(MICROSECOND)
        assert manager.state is TIMEOUT
        assert not manager.can_trade
        await clock.advance(NOW)
        due = at(MONDAY, (14, 35))
        assert changes(log)[-1] == StateChanged(
            ACTIVE, TIMEOUT, "data_timeout", MONDAY, due, due, reason=manager.status().reason
        )
        assert "0:05:00" in manager.status().reason


async def test_a_start_in_mid_session_does_not_time_out_at_once():
    """A start hours after the open gives the feed its whole data_timeout from then on."""
    manager, clock = listen(at(MONDAY, (16, 0)))
    async with running(manager) as log:
        await clock.advance(FIVE - MICROSECOND)
        assert manager.state is ACTIVE
        await clock.advance(HOUR)
        assert timeouts(log) == [at(MONDAY, (16, 5))]


async def test_data_before_the_open_does_not_shorten_the_watch():
    """Data in the pre-market is counted, and the watch still begins at the open."""
    manager, clock = listen(at(MONDAY, (14, 0)))
    async with running(manager) as log:
        manager.record_data_received()
        await clock.advance_to(at(MONDAY, (14, 29)))
        manager.record_data_received()
        await clock.advance_to(at(MONDAY, (15, 0)))
        assert timeouts(log) == [at(MONDAY, (14, 35))]


async def test_the_watch_begins_anew_after_recover():
    """recover() enters ACTIVE again, and the feed has its whole data_timeout from then on."""
    manager, clock = listen(at(MONDAY, (16, 0)))
    async with running(manager) as log:
        await clock.advance(FIVE)
        manager.fail("silence is no answer")
        await clock.advance(HOUR)
        await manager.recover()
        assert manager.state is ACTIVE
        await clock.advance(HOUR)
        assert timeouts(log) == [at(MONDAY, (16, 5)), at(MONDAY, (17, 10))]


async def test_nothing_is_expected_outside_active():
    """From the close to the next open no silence is too long."""
    manager, clock = listen(at(MONDAY, (20, 59)))
    async with running(manager) as log:
        await clock.advance_to(at(TUESDAY, (14, 34)))
        assert timeouts(log) == []
        assert states(log)[2:] == [POST_MARKET, ENDED, NOT_STARTED, PRE_MARKET, ACTIVE]


# ---- silence ----


async def test_fault_26_silence_while_active_and_data_again():
    """Silence brings one TIMEOUT, at its exact instant; data brings ACTIVE back before the call returns."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    async with running(manager) as log:
        await clock.advance(MINUTE)
        manager.record_data_received()
        await clock.advance(FIVE - MICROSECOND)
        assert manager.state is ACTIVE
        await clock.advance(MICROSECOND)
        assert manager.state is TIMEOUT
        await clock.advance(HOUR)
        assert timeouts(log) == [at(MONDAY, (15, 6))]
        now = clock.now()
        manager.record_data_received()
        assert (manager.state, manager.can_trade) == (ACTIVE, True)
        await clock.advance(NOW)
        assert changes(log)[-1] == StateChanged(TIMEOUT, ACTIVE, "data_resumed", MONDAY, now, now)
        await clock.advance(FIVE)
        assert timeouts(log) == [at(MONDAY, (15, 6)), now + FIVE]


async def test_steady_data_never_times_out():
    """Data that comes just within data_timeout keeps the session ACTIVE to its close."""
    manager, clock = listen(at(MONDAY, (14, 30)))
    async with running(manager) as log:
        while clock.now() < at(MONDAY, (20, 59)):
            manager.record_data_received()
            await clock.advance(FIVE - MICROSECOND)
        assert timeouts(log) == []


async def test_without_data_timeout_silence_is_nothing():
    """With `data_timeout=None` a mute day is an ordinary one; data is still noted."""
    manager, clock = listen(at(MONDAY, (14, 0)), data_timeout=None, error_after_timeout=MINUTE)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (16, 0)))
        manager.record_data_received()
        await clock.advance_to(at(TUESDAY, (8, 0)))
        assert path(log) == ["start_pre_market", "open_market", "close_market", "end_session", "roll"]
        assert manager.status().last_data_at == at(MONDAY, (16, 0))


async def test_fault_19_a_closure_that_nobody_announced():
    """On a day on which no data comes at all the session is TIMEOUT from shortly after its open to its close."""
    manager, clock = listen(at(MONDAY, (8, 0)))
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (20, 59)))
        assert (manager.state, manager.scheduled_state, manager.can_trade) == (TIMEOUT, ACTIVE, False)
        await clock.advance_to(at(TUESDAY, (8, 0)))
        assert path(log) == [
            "start_pre_market",
            "open_market",
            "data_timeout",
            "close_market",
            "end_session",
            "roll",
        ]


# ---- the calendar comes first ----


async def test_fault_27_where_silence_and_close_fall_together_the_close_wins():
    """A stale deadline at exactly the close is no TIMEOUT."""
    manager, clock = listen(at(MONDAY, (20, 55)))
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (21, 0)))
        assert manager.state is POST_MARKET
        assert path(log) == ["start_pre_market", "open_market", "close_market"]


async def test_fault_27_a_microsecond_before_the_close_is_a_timeout():
    """A stale deadline just before the close is one, and the close follows."""
    manager, clock = listen(at(MONDAY, (20, 55)) - MICROSECOND)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (21, 0)))
        assert path(log)[2:] == ["data_timeout", "close_market"]
        assert timeouts(log) == [at(MONDAY, (21, 0)) - MICROSECOND]


async def test_fault_28_a_timeout_at_the_close_does_not_stop_the_day():
    """A session that is TIMEOUT at its close closes, ends and is rolled like any other."""
    manager, clock = listen(at(MONDAY, (20, 0)))
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (20, 59)))
        assert manager.state is TIMEOUT
        await clock.advance_to(at(MONDAY, (22, 0)))
        assert path(log)[-4:] == ["data_timeout", "close_market", "end_session", "roll"]
        assert changes(log)[-3].source is TIMEOUT
        assert changes(log)[-3].observed_at == at(MONDAY, (21, 0))
        assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)
        assert manager.status().reason is None


async def test_fault_25_the_loop_is_blocked_across_the_close():
    """When the loop was blocked past a stale deadline and the close, the close is all that happens on waking."""
    log = None
    while log is None:  # until the machine is not too busy to start it before either
        log = await blocked_across_the_close()
    assert path(log) == ["start_pre_market", "open_market", "close_market"]
    assert changes(log)[-1].lateness > NOW


async def blocked_across_the_close() -> list[Event] | None:
    """Return what a manager reports whose event loop is blocked; None where it was started too late for that."""
    now = datetime.now(UTC)
    millisecond = timedelta(milliseconds=1)
    today = Session(now.date(), now - HOUR, now + 40 * millisecond)
    tomorrow = Session(now.date() + DAY, now + HOUR, now + 2 * HOUR)
    manager = SessionBoundaryManager(
        FixedSchedule([today, tomorrow]),
        roll_nothing,
        config=LifecycleConfig(data_timeout=25 * millisecond),
        clock=SystemClock(10 * millisecond),
    )
    events = manager.events()
    async with manager:
        if manager.state is not ACTIVE:
            return None
        time.sleep(0.06)  # noqa: ASYNC251 -- blocking is the point, and with no await since the state was read
        with anyio.fail_after(5):
            await manager.wait_for(POST_MARKET)
    return [event async for event in events]


# ---- breaks ----


async def test_fault_15_no_timeout_at_lunch():
    """A break suspends the watch, and at its end the feed has its whole data_timeout again."""
    manager, clock = listen(at(MONDAY, (16, 58)), LUNCHING)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (18, 5)) - MICROSECOND)
        assert manager.state is ACTIVE
        assert timeouts(log) == []
        await clock.advance(MICROSECOND)
        assert timeouts(log) == [at(MONDAY, (18, 5))]
        assert of(BreakStarted, log) == [BreakStarted(MONDAY, at(MONDAY, (17, 0)), at(MONDAY, (17, 0)))]
        assert of(BreakEnded, log) == [BreakEnded(MONDAY, at(MONDAY, (18, 0)), at(MONDAY, (18, 0)))]


async def test_fault_15_every_break_of_the_day_counts():
    """A session may pause more than once, and each pause suspends the watch."""
    manager, clock = listen(at(MONDAY, (18, 30)), LUNCHING)
    async with running(manager) as log:
        for _ in range(8):
            manager.record_data_received()
            await clock.advance(4 * MINUTE)
        await clock.advance_to(at(MONDAY, (19, 34)))
        assert timeouts(log) == []
        assert [type(event) for event in log if not isinstance(event, StateChanged)] == [
            BreakStarted,
            BreakEnded,
            BreakStarted,
            BreakEnded,
        ]
        assert [event.catch_up for event in log if isinstance(event, BreakStarted | BreakEnded)] == [
            True,
            True,
            False,
            False,
        ]
        await clock.advance(2 * MINUTE)
        assert timeouts(log) == [at(MONDAY, (19, 35))]


async def test_fault_15_a_start_during_lunch():
    """A start during a break expects data from the break's end only."""
    manager, clock = listen(at(MONDAY, (17, 30)), LUNCHING)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (18, 30)))
        assert timeouts(log) == [at(MONDAY, (18, 5))]


async def test_fault_15_where_silence_and_break_fall_together_the_break_wins():
    """A stale deadline at exactly the start of a break is no TIMEOUT."""
    manager, clock = listen(at(MONDAY, (16, 55)), LUNCHING)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (18, 4)))
        assert timeouts(log) == []
        assert (manager.state, manager.can_trade) == (ACTIVE, False)
        manager.record_data_received()
        assert (manager.state, manager.can_trade) == (ACTIVE, True)


async def test_fault_15_data_during_a_break_does_not_shorten_the_watch():
    """What comes during a break is counted, and the watch still begins at the break's end."""
    manager, clock = listen(at(MONDAY, (16, 58)), LUNCHING)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (17, 30)))
        manager.record_data_received()
        assert (manager.state, manager.on_break, manager.can_trade) == (ACTIVE, True, False)
        await clock.advance_to(at(MONDAY, (18, 5)))
        assert timeouts(log) == [at(MONDAY, (18, 5))]


async def test_fault_15_the_breaks_of_every_day():
    """Each session has its own breaks, whatever the one before had; a session ended early leaves none behind."""
    pauses = (((17, 0), (18, 0)), ((19, 0), (19, 30)))
    schedule = FixedSchedule(
        [
            *(session(MONDAY + n * DAY, breaks=pauses) for n in range(3)),
            *season().sessions(WEDNESDAY + DAY, WEDNESDAY + 70 * DAY),
        ]
    )
    manager, clock = listen(at(MONDAY, (8, 0)), schedule, data_timeout=None)
    async with running(manager) as log:
        await clock.advance_to(at(TUESDAY, (17, 30)))
        assert (manager.session.date, manager.on_break) == (TUESDAY, True)
        await manager.end_session("called off")
        assert not manager.on_break
        await clock.advance_to(at(WEDNESDAY, (20, 0)))
        assert [(event.session, event.scheduled_at) for event in of(BreakStarted, log)] == [
            (MONDAY, at(MONDAY, (17, 0))),
            (MONDAY, at(MONDAY, (19, 0))),
            (TUESDAY, at(TUESDAY, (17, 0))),
            (WEDNESDAY, at(WEDNESDAY, (17, 0))),
            (WEDNESDAY, at(WEDNESDAY, (19, 0))),
        ]


async def test_recover_walks_the_breaks_again():
    """recover() tells the session's breaks anew, as catch-up, and is on the break that is under way."""
    manager, clock = listen(at(MONDAY, (18, 30)), LUNCHING, data_timeout=None)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (19, 10)))
        manager.fail("sunspots")
        assert not manager.on_break
        log.clear()
        await manager.recover()
        assert (manager.state, manager.on_break) == (ACTIVE, True)
        await clock.advance(NOW)
        told = [event for event in log if isinstance(event, BreakStarted | BreakEnded)]
        assert [(type(event), event.scheduled_at) for event in told] == [
            (BreakStarted, at(MONDAY, (17, 0))),
            (BreakEnded, at(MONDAY, (18, 0))),
            (BreakStarted, at(MONDAY, (19, 0))),
        ]
        assert all(event.catch_up for event in told)


async def test_a_timeout_survives_a_break():
    """A break does not end TIMEOUT; only data does, before, during or after it."""
    manager, clock = listen(at(MONDAY, (16, 50)), LUNCHING)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (17, 30)))
        assert (manager.state, manager.on_break, manager.can_trade) == (TIMEOUT, True, False)
        await clock.advance_to(at(MONDAY, (18, 30)))
        assert (manager.state, manager.on_break) == (TIMEOUT, False)
        assert timeouts(log) == [at(MONDAY, (16, 55))]
        manager.record_data_received()
        assert (manager.state, manager.can_trade) == (ACTIVE, True)


async def test_data_during_a_break_ends_a_timeout():
    """Data that comes during a break brings a silent session back to ACTIVE, still on its break."""
    manager, clock = listen(at(MONDAY, (16, 50)), LUNCHING)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (17, 30)))
        manager.record_data_received()
        assert (manager.state, manager.on_break, manager.can_trade) == (ACTIVE, True, False)
        await clock.advance_to(at(MONDAY, (18, 30)))
        assert timeouts(log) == [at(MONDAY, (16, 55)), at(MONDAY, (18, 5))]


# ---- escalation ----


async def test_a_lasting_timeout_becomes_an_error():
    """After error_after_timeout in TIMEOUT, to the microsecond, the state is ERROR with that reason."""
    manager, clock = listen(at(MONDAY, (15, 0)), error_after_timeout=10 * MINUTE)
    async with running(manager) as log:
        await clock.advance(15 * MINUTE - MICROSECOND)
        assert manager.state is TIMEOUT
        await clock.advance(MICROSECOND)
        assert manager.state is ERROR
        assert "error_after_timeout" in manager.status().reason
        assert changes(log)[-1].scheduled_at == at(MONDAY, (15, 15))
        manager.record_data_received()
        assert manager.state is ERROR  # data does not end an ERROR


async def test_escalation_counts_only_time_in_which_data_is_expected():
    """A break in the middle of a TIMEOUT does not count towards error_after_timeout."""
    manager, clock = listen(at(MONDAY, (16, 50)), LUNCHING, error_after_timeout=10 * MINUTE)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (18, 5)) - MICROSECOND)  # TIMEOUT from 16:55, five minutes before the break
        assert manager.state is TIMEOUT
        await clock.advance(MICROSECOND)
        assert manager.state is ERROR
        assert path(log)[-2:] == ["data_timeout", "fail"]


async def test_escalation_counts_across_several_breaks():
    """What a TIMEOUT has lasted before each of several breaks adds up."""
    manager, clock = listen(at(MONDAY, (16, 50)), LUNCHING, error_after_timeout=70 * MINUTE)
    async with running(manager):
        # 5 minutes before the first break, 60 between the two, 5 after the second.
        await clock.advance_to(at(MONDAY, (19, 35)) - MICROSECOND)
        assert manager.state is TIMEOUT
        await clock.advance(MICROSECOND)
        assert manager.state is ERROR


async def test_escalation_begins_anew_with_each_timeout():
    """Data in between sets error_after_timeout back to its whole."""
    manager, clock = listen(at(MONDAY, (15, 0)), error_after_timeout=10 * MINUTE)
    async with running(manager) as log:
        await clock.advance(14 * MINUTE)
        manager.record_data_received()
        await clock.advance(15 * MINUTE - MICROSECOND)
        assert manager.state is TIMEOUT
        await clock.advance(MICROSECOND)
        assert manager.state is ERROR
        assert len(timeouts(log)) == 2


async def test_where_escalation_and_close_fall_together_the_close_wins():
    """An escalation due at exactly the close does not happen."""
    manager, clock = listen(at(MONDAY, (20, 50)), error_after_timeout=FIVE)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (21, 0)))
        assert manager.state is POST_MARKET
        assert path(log)[-2:] == ["data_timeout", "close_market"]


# ---- stamps ----

SHORT = settings(max_examples=25, deadline=None)
seconds = st.integers(0, 600).map(lambda n: timedelta(seconds=n))


@SHORT
@given(ahead=st.timedeltas(MICROSECOND, timedelta(days=3650)))
async def test_fault_07_data_from_the_future_counts_as_now(ahead):
    """A stamp ahead of the clock, by however much, is as good as an arrival now, and no better."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    async with running(manager) as log:
        await clock.advance(MINUTE)
        manager.record_data_received(clock.now() + ahead)
        assert manager.status().last_data_at == clock.now()
        await clock.advance(FIVE - MICROSECOND)
        assert manager.state is ACTIVE
        await clock.advance(MICROSECOND)
        assert timeouts(log) == [at(MONDAY, (15, 6))]
        manager.record_data_received(clock.now() + ahead)
        assert manager.state is ACTIVE


@SHORT
@given(ages=st.lists(st.timedeltas(NOW, timedelta(minutes=4, seconds=59)), min_size=1, max_size=6))
async def test_fault_08_data_out_of_order(ages):
    """Of data that arrives in any order the newest counts."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    async with running(manager) as log:
        await clock.advance(4 * MINUTE + 59 * SECOND)
        now = clock.now()
        for age in ages:
            manager.record_data_received(now - age)
        assert manager.status().last_data_at == now - min(ages)
        await clock.advance(HOUR)
        assert timeouts(log) == [now - min(ages) + FIVE]


@SHORT
@given(age=st.timedeltas(FIVE, timedelta(days=3650)))
async def test_fault_09_old_stamps_do_not_refresh(age):
    """Data that is data_timeout old on arrival, or older, neither puts TIMEOUT off nor ends it."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    async with running(manager) as log:
        await clock.advance(4 * MINUTE)
        manager.record_data_received(clock.now() - age)
        await clock.advance(MINUTE)
        assert timeouts(log) == [at(MONDAY, (15, 5))]
        manager.record_data_received(clock.now() - age)
        assert manager.state is TIMEOUT
        await clock.advance(MINUTE)
        manager.record_data_received(clock.now() - age)
        assert manager.state is TIMEOUT
        manager.record_data_received(clock.now() - FIVE + MICROSECOND)
        assert manager.state is ACTIVE


@pytest.mark.costly
@settings(max_examples=40, deadline=None)
@given(
    arrivals=st.lists(st.tuples(seconds, st.one_of(st.none(), st.integers(-60, 600))), min_size=1, max_size=15),
)
async def test_faults_07_08_09_any_arrivals_against_a_naive_model(arrivals):
    """Whatever arrives, whenever, stamped however: TIMEOUT and ACTIVE alternate as a model in five lines says."""
    start = at(MONDAY, (15, 0))
    manager, clock = listen(start)
    expected: list[tuple[str, datetime]] = []
    newest = since = now = start
    silent = False

    def pass_to(instant: datetime) -> None:
        nonlocal silent
        if not silent and max(newest, since) + FIVE <= instant:
            silent = True
            expected.append(("data_timeout", max(newest, since) + FIVE))

    async with running(manager) as log:
        log.clear()
        for delay, age in arrivals:
            await clock.advance(delay)
            now += delay
            pass_to(now)
            stamp = None if age is None else now - age * SECOND
            manager.record_data_received(stamp)
            newest = max(newest, min(now, now if stamp is None else stamp))
            if silent and newest + FIVE > now:
                silent, since = False, now
                expected.append(("data_resumed", now))
            assert manager.state is (TIMEOUT if silent else ACTIVE)
        await clock.advance(FIVE)
        pass_to(now + FIVE)
        assert [(event.trigger, event.observed_at) for event in changes(log)] == expected


async def test_the_watch_begins_anew_when_data_is_back():
    """ACTIVE entered again by data of some age holds for a whole data_timeout: the entry into ACTIVE counts."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    async with running(manager) as log:
        await clock.advance(7 * MINUTE)
        manager.record_data_received(clock.now() - 4 * MINUTE)
        await clock.advance(HOUR)
        assert timeouts(log) == [at(MONDAY, (15, 5)), at(MONDAY, (15, 12))]


async def test_a_stamp_in_any_time_zone_is_an_instant():
    """A stamp's zone does not matter, only the instant that it means."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    async with running(manager) as log:
        await clock.advance(4 * MINUTE)
        stamp = (clock.now() - MINUTE).astimezone(timezone(timedelta(hours=-5)))
        manager.record_data_received(stamp)
        assert manager.status().last_data_at == at(MONDAY, (15, 3))
        await clock.advance(HOUR)
        assert timeouts(log) == [at(MONDAY, (15, 8))]


async def test_fault_03_a_naive_stamp_is_refused_and_changes_nothing():
    """A stamp without a time zone raises NaiveDatetimeError, in ACTIVE and in TIMEOUT, and refreshes nothing."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    async with running(manager) as log:
        await clock.advance(4 * MINUTE)
        before = manager.status()
        with pytest.raises(NaiveDatetimeError, match="timestamp"):
            manager.record_data_received(datetime(2024, 3, 4, 15, 4))  # noqa: DTZ001 -- naive is the point
        assert manager.status() == before
        await clock.advance(MINUTE)
        assert timeouts(log) == [at(MONDAY, (15, 5))]
        with pytest.raises(ValueError, match="time zone"):
            manager.record_data_received(datetime(2024, 3, 4, 15, 5))  # noqa: DTZ001 -- naive is the point
        assert manager.state is TIMEOUT


@pytest.mark.parametrize("stamp", ["2024-03-04T15:00:00Z", 1709564400.0, MONDAY])
async def test_a_stamp_of_another_kind_is_refused_and_changes_nothing(stamp):
    """A stamp that is no datetime is a TypeError, and refreshes nothing."""
    manager, _ = listen(at(MONDAY, (15, 0)))
    async with running(manager):
        before = manager.status()
        with pytest.raises(TypeError, match="timestamp"):
            manager.record_data_received(stamp)
        assert manager.status() == before


# ---- data when none is expected ----


@SHORT
@given(minutes=st.integers(1, 12 * 60), age=st.one_of(st.none(), st.integers(-10, 300)))
async def test_fault_29_data_when_the_market_is_closed(minutes, age):
    """Data after the close, or before the open, is counted and opens nothing."""
    manager, clock = listen(at(MONDAY, (20, 58)), post_market_roll_delay=4 * HOUR)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (21, 0)) + minutes * MINUTE)
        before, walked = manager.state, path(log)
        assert before in {POST_MARKET, NOT_STARTED, PRE_MARKET}
        manager.record_data_received(None if age is None else clock.now() - age * SECOND)
        await clock.advance(NOW)
        assert manager.state is before
        assert path(log) == walked
        assert manager.status().last_data_at == clock.now() - max(age or 0, 0) * SECOND
        await clock.advance_to(at(TUESDAY, (14, 35)))
        assert timeouts(log) == [clock.now()]


@SHORT
@given(age=st.one_of(st.none(), st.integers(-10, 300)), silent=st.booleans())
async def test_fault_29_data_during_the_roll(age, silent):
    """Data during a roll is counted and reopens nothing, though the session may have been TIMEOUT at its close."""
    clock = SimulatedClock(at(MONDAY, (20, 50)))

    async def roll(next_date) -> None:
        await clock.sleep(2 * MINUTE)

    manager = SessionBoundaryManager(season(), roll, clock=clock, config=LifecycleConfig(data_timeout=FIVE))
    async with running(manager) as log:
        if not silent:
            await clock.advance(4 * MINUTE)
            manager.record_data_received()
            await clock.advance(4 * MINUTE)
            manager.record_data_received()
        await clock.advance_to(at(MONDAY, (21, 31)))
        assert manager.state is ENDED
        manager.record_data_received(None if age is None else clock.now() - age * SECOND)
        assert manager.state is ENDED
        assert manager.status().last_data_at == clock.now() - max(age or 0, 0) * SECOND
        await clock.advance(MINUTE)
        assert path(log)[-3:] == ["close_market", "end_session", "roll"]
        assert len(timeouts(log)) == silent


# ---- steps of the wall clock ----


@SHORT
@given(steps=st.lists(st.integers(-3600, 1800).map(lambda n: timedelta(seconds=n)), min_size=1, max_size=3))
async def test_a_step_of_the_wall_clock_alone_never_causes_a_timeout(steps):
    """However the wall clock steps, TIMEOUT comes after data_timeout of time that has really passed."""
    manager, clock = listen(at(MONDAY, (17, 0)))
    async with running(manager) as log:
        await clock.advance(2 * MINUTE)
        manager.record_data_received()
        for delta in steps:
            await clock.advance(MINUTE)
            clock.step(delta)
            await clock.advance(NOW)
            assert manager.state is ACTIVE
        await clock.advance(FIVE - len(steps) * MINUTE - MICROSECOND)
        assert manager.state is ACTIVE
        await clock.advance(MICROSECOND)
        assert manager.state is TIMEOUT
        assert len(timeouts(log)) == 1
        assert len(of(ClockStepped, log)) == sum(abs(delta) >= SECOND for delta in steps)


async def test_the_age_of_data_is_taken_once_on_arrival():
    """A step after the arrival does not make data older or younger; a stamp is judged by the clock of its arrival."""
    manager, clock = listen(at(MONDAY, (15, 0)))
    async with running(manager) as log:
        await clock.advance(4 * MINUTE)
        manager.record_data_received(clock.now() - MINUTE)
        clock.step(2 * HOUR)
        await clock.advance(4 * MINUTE - MICROSECOND)
        assert manager.state is ACTIVE
        await clock.advance(MICROSECOND)
        assert manager.state is TIMEOUT
        manager.record_data_received(clock.now() - MINUTE)
        assert manager.state is ACTIVE
        assert len(timeouts(log)) == 1


async def test_a_step_into_the_session_expects_data_from_then_on():
    """When the wall clock steps past the open, the feed has its whole data_timeout from the entry into ACTIVE."""
    manager, clock = listen(at(MONDAY, (12, 0)))
    async with running(manager) as log:
        clock.step(5 * HOUR)
        await clock.advance(NOW)
        assert manager.state is ACTIVE
        await clock.advance(FIVE - MICROSECOND)
        assert manager.state is ACTIVE
        await clock.advance(MICROSECOND)
        assert timeouts(log) == [at(MONDAY, (17, 5))]


async def test_a_step_from_a_silent_session_into_the_next_one():
    """A TIMEOUT that a forward step leaves behind is gone: the next session begins with a whole data_timeout."""
    manager, clock = listen(at(MONDAY, (16, 0)))
    async with running(manager) as log:
        await clock.advance(FIVE)
        assert manager.state is TIMEOUT
        clock.step(2 * DAY)
        await clock.advance(NOW)
        assert (manager.state, manager.session.date) == (ACTIVE, WEDNESDAY)
        await clock.advance(FIVE - MICROSECOND)
        assert manager.state is ACTIVE
        assert len(timeouts(log)) == 1
