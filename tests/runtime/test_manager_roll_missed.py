"""Sessions that were missed, and the end of what the schedule knows."""

from datetime import date, timedelta

import pytest

from session_lifecycle import (
    FixedSchedule,
    HorizonNear,
    LifecycleConfig,
    MissedSessions,
    RollSucceeded,
    Session,
)
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at, week
from tests.helpers.harness import (
    ACTIVE,
    ENDED,
    ERROR,
    FRIDAY,
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    POST_MARKET,
    PRE_MARKET,
    THURSDAY,
    TUESDAY,
    WEDNESDAY,
    changes,
    make,
    make_rolling,
    of,
    path,
    running,
    season,
    states,
)
from tests.helpers.manager_roll import Boom, day_of

pytestmark = pytest.mark.anyio


# ---- sessions missed ----


async def test_a_session_in_the_past_owes_one_roll_to_the_present_one():
    """With `session=` in the past its edges are walked, and one roll leads to the present and lists the others."""
    manager, clock, rolls = make_rolling(at(THURSDAY, (16, 0)), MINUTE, session=MONDAY)
    events = manager.events()
    async with manager:
        assert (manager.state, manager.session.date) == (ENDED, MONDAY)
        assert (manager.scheduled_state, manager.can_trade) == (ACTIVE, False)
        await clock.advance(MINUTE)
        assert (manager.state, manager.session.date) == (ACTIVE, THURSDAY)
        assert rolls.dates == [THURSDAY]
    log = [event async for event in events]
    assert path(log) == [
        "start_pre_market",
        "open_market",
        "close_market",
        "end_session",
        "roll",
        "start_pre_market",
        "open_market",
    ]
    assert all(event.catch_up for event in changes(log))
    assert of(RollSucceeded, log)[0].skipped == (TUESDAY, WEDNESDAY)


async def test_each_missed_session_is_rolled_into_oldest_first():
    """Under EACH every missed session is rolled into and walked, in order, and none is listed as skipped."""
    manager, clock, rolls = make_rolling(
        at(THURSDAY, (16, 0)), MINUTE, MINUTE, session=MONDAY, missed_sessions=MissedSessions.EACH
    )
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert rolls.done == [TUESDAY, WEDNESDAY, THURSDAY]
        full = ["start_pre_market", "open_market", "close_market", "end_session", "roll"]
        assert path(log) == full * 3 + ["start_pre_market", "open_market"]
        assert [event.session for event in changes(log) if event.trigger == "roll"] == rolls.done
        assert all(event.skipped == () for event in of(RollSucceeded, log))
        assert (manager.state, manager.session.date) == (ACTIVE, THURSDAY)


@pytest.mark.parametrize("policy", MissedSessions)
@pytest.mark.parametrize("limit", [1, 2, 10])
async def test_as_many_missed_sessions_as_allowed_are_caught_up_with(policy, limit):
    """Exactly max_catch_up_sessions to be rolled or skipped is still done without asking anybody."""
    manager, clock, rolls = make_rolling(
        at(day_of(limit), (16, 0)), session=MONDAY, missed_sessions=policy, max_catch_up_sessions=limit
    )
    async with running(manager):
        await clock.advance(NOW)
        assert (manager.state, manager.session.date) == (ACTIVE, day_of(limit))
        assert len(rolls.begun) == (1 if policy is MissedSessions.LATEST else limit)


@pytest.mark.parametrize("policy", MissedSessions)
@pytest.mark.parametrize("limit", [1, 2, 10])
async def test_more_missed_sessions_than_allowed_are_for_a_person_to_decide(policy, limit):
    """One more than max_catch_up_sessions is an ERROR with nothing rolled; a person's recover() then rolls them all."""
    manager, clock, rolls = make_rolling(
        at(day_of(limit + 1), (16, 0)), session=MONDAY, missed_sessions=policy, max_catch_up_sessions=limit
    )
    async with running(manager) as log:
        await clock.advance(NOW)
        assert manager.state is ERROR
        assert rolls.begun == []
        assert f"more than {limit} sessions (max_catch_up_sessions)" in manager.status().reason
        assert manager.status().roll_owed
        await manager.recover()
        await clock.advance(NOW)
        assert (manager.state, manager.session.date) == (ACTIVE, day_of(limit + 1))
        if policy is MissedSessions.LATEST:
            assert of(RollSucceeded, log)[0].skipped == tuple(day_of(n) for n in range(1, limit + 1))
            assert len(rolls.begun) == 1
        else:
            assert rolls.dates == [day_of(n) for n in range(1, limit + 2)]


async def test_the_cap_binds_again_after_a_persons_decision():
    """A decision about one absence is none about the next: later the cap holds as before."""
    manager, clock, rolls = make_rolling(at(day_of(3), (16, 0)), session=MONDAY, max_catch_up_sessions=2)
    async with running(manager):
        assert manager.state is ERROR
        await manager.recover()
        await clock.advance(NOW)
        assert manager.session.date == day_of(3)
        clock.step(day_of(6) - day_of(3))
        await clock.advance(NOW)
        assert manager.state is ERROR
        assert len(rolls.begun) == 1


@pytest.mark.parametrize("policy", MissedSessions)
async def test_a_roll_by_hand_is_not_capped(policy):
    """roll() is a person's decision too: it rolls however many sessions were missed."""
    manager, _, _ = make_rolling(
        at(day_of(8), (16, 0)), session=MONDAY, auto_roll=False, max_catch_up_sessions=2, missed_sessions=policy
    )
    async with running(manager):
        assert manager.state is ENDED
        done = await manager.roll()
        if policy is MissedSessions.LATEST:
            assert done.next_session == day_of(8)
            assert len(done.skipped) == 7
        else:
            assert done.next_session == day_of(1)
            assert manager.state is ENDED  # the next one is by hand, too
            assert (await manager.roll()).next_session == day_of(2)


async def test_a_session_in_the_future_is_waited_for():
    """With `session=` in the future the manager waits for its pre-market, and rolls nothing."""
    manager, clock, rolls = make_rolling(at(MONDAY, (16, 0)), session=WEDNESDAY)
    async with running(manager) as log:
        assert (manager.state, manager.session.date, manager.scheduled_state) == (NOT_STARTED, WEDNESDAY, ACTIVE)
        await clock.advance_to(at(WEDNESDAY, (9, 0)) - MICROSECOND)
        assert (manager.state, manager.scheduled_state) == (NOT_STARTED, NOT_STARTED)
        assert changes(log) == []
        await clock.advance(MICROSECOND)
        assert manager.state is PRE_MARKET
        assert changes(log)[0].lateness == NOW
        assert rolls.begun == []


async def test_the_present_session_given_by_hand_is_no_different():
    """`session=` naming the present session starts like no `session=` at all."""
    manager, clock, rolls = make_rolling(at(MONDAY, (16, 0)), session=MONDAY)
    async with running(manager) as log:
        await clock.advance(NOW)
        assert path(log) == ["start_pre_market", "open_market"]
        assert rolls.begun == []


async def test_fault_23_the_wall_clock_jumps_ten_years():
    """A forward step of ten years is an ERROR that names the cap: no roll, and no walk through the years."""
    manager, clock, rolls = make_rolling(at(MONDAY, (16, 0)))
    async with running(manager) as log:
        log.clear()
        clock.step(timedelta(days=3653))
        await clock.advance(DAY)
        assert manager.state is ERROR
        assert rolls.begun == []
        assert "max_catch_up_sessions" in manager.status().reason
        assert path(log) == ["close_market", "end_session", "fail"]
        assert manager.session.date == MONDAY
        clock.step(-timedelta(days=3653))
        await clock.advance(NOW)
        await manager.recover()  # the clock was wrong: the roll is still done once
        await clock.advance(NOW)
        assert rolls.dates == [TUESDAY]


# ---- the end of knowledge ----


async def test_fault_18_the_end_of_knowledge_is_told_thirty_days_ahead():
    """Each session that begins within thirty days of the end of the schedule's knowledge tells that it ends."""
    last = season().session_on(day_of(59))
    first_told = last.close - timedelta(days=30)
    manager, clock, _ = make_rolling(first_told - timedelta(days=3))
    async with running(manager) as log:
        await clock.advance_to(first_told - timedelta(days=1))
        assert of(HorizonNear, log) == []
        await clock.advance(timedelta(days=5))
        told = of(HorizonNear, log)
        assert told != []
        assert {event.known_until for event in told} == {last.date}
        assert len({event.session for event in told}) == len(told)
        assert all(first_told <= event.observed_at for event in told)
        assert told[0].observed_at - first_told < DAY


@pytest.mark.parametrize("policy", MissedSessions)
async def test_fault_18_at_the_end_of_knowledge_is_error_not_closed(policy):
    """When the last known session has ended the state is ERROR, which says so; no next boundary is known."""
    manager, clock = make(
        at(THURSDAY, (16, 0)), schedule=week(), config=LifecycleConfig(data_timeout=None, missed_sessions=policy)
    )
    async with running(manager) as log:
        await clock.advance_to(at(FRIDAY, (21, 15)))
        assert manager.state is POST_MARKET
        assert manager.next_boundary == at(FRIDAY, (21, 30))
        await clock.advance(15 * MINUTE)
        assert manager.state is ERROR
        assert "which does not mean that the market is closed" in manager.status().reason
        assert "2024-03-08" in manager.status().reason
        assert (manager.scheduled_state, manager.next_boundary) == (ENDED, None)
        assert manager.session.date == FRIDAY
        assert path(log)[-2:] == ["end_session", "fail"]
        await clock.advance(30 * DAY)
        assert manager.state is ERROR
        assert path(log).count("fail") == 1
        await manager.recover()  # no schedule has come to know more
        await clock.advance(NOW)
        assert manager.state is ERROR


async def test_fault_18_a_schedule_that_learns_more_is_asked_again():
    """A schedule that knows more by the time of recover() takes the manager on."""

    class Growing(FixedSchedule):
        pass

    growing = Growing(week().sessions(MONDAY, FRIDAY))
    manager, clock = make(at(FRIDAY, (16, 0)), schedule=growing)
    async with running(manager):
        await clock.advance_to(at(FRIDAY, (22, 0)))
        assert manager.state is ERROR
        growing.__init__(season().sessions(MONDAY, day_of(9)))
        await manager.recover()
        await clock.advance(NOW)
        assert (manager.state, manager.session.date) == (NOT_STARTED, day_of(5))
        assert manager.next_boundary == at(day_of(5), (9, 0))


async def test_a_schedule_that_raises_is_an_error_with_its_reason():
    """A schedule whose own code fails in mid-run leads to ERROR, and recover() works once it is well again."""

    class Fragile(FixedSchedule):
        broken = False

        def next_session(self, day: date) -> Session:
            if self.broken:
                raise Boom("no network")
            return super().next_session(day)

    fragile = Fragile(season().sessions(MONDAY, day_of(50)))
    manager, clock = make(at(MONDAY, (16, 0)), schedule=fragile)
    async with running(manager) as log:
        fragile.broken = True
        await clock.advance_to(at(TUESDAY, (16, 0)))
        assert manager.state is ERROR
        assert "Boom('no network')" in manager.status().reason
        fragile.broken = False
        await manager.recover()
        await clock.advance(NOW)
        assert (manager.state, manager.session.date) == (ACTIVE, TUESDAY)
        assert states(log).count(ERROR) == 1
