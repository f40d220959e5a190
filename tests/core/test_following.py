"""A lifecycle that stands by, follows the leader record by record, and gains and loses the lead. No I/O."""

from datetime import timedelta
from itertools import pairwise

import pytest

from session_lifecycle import (
    Alarm,
    AlarmFired,
    AlarmSkipped,
    Closure,
    Entry,
    FixedSchedule,
    Halted,
    HaltRefused,
    LifecycleConfig,
    OverrideLost,
    Record,
    Resolution,
    Resumed,
    RollFollowed,
    RollStarted,
    RollSucceeded,
    ScheduleChanged,
    Session,
    SpecialHours,
    StateChanged,
    VenueStatus,
)
from session_lifecycle._core.feeds import FeedState
from session_lifecycle.testing import assert_legal
from tests.helpers.alarm_scheduler import Counting
from tests.helpers.builders import DAY, MONDAY, at, session, weekdays
from tests.helpers.harness import (
    ACTIVE,
    DEAF,
    ENDED,
    ERROR,
    FRIDAY,
    HOUR,
    MINUTE,
    NOT_STARTED,
    POST_MARKET,
    SECOND,
    THURSDAY,
    TIMEOUT,
    TUESDAY,
    WEDNESDAY,
    of,
)
from tests.helpers.replicas import (
    FLATTEN,
    NOON,
    SCHEDULE,
    Leader,
    Replica,
    follow,
    pair,
)

# ---- standing by ----


def test_a_standby_goes_on_by_the_clock() -> None:
    """State, session and boundaries are what they are for the leader, up to the end; only trading is not allowed."""
    leader, standby = pair()
    assert (leader.core.leading, standby.core.leading) == (True, False)
    for clock in ((20, 0), (21, 0), (21, 30), (22, 0)):
        leader.pass_to(at(MONDAY, clock))
        standby.pass_to(at(MONDAY, clock))
        assert standby.core.state is leader.core.state
        assert standby.core.next_boundary == leader.core.next_boundary
    assert leader.core.due_roll(leader.now) is not None
    assert standby.core.due_roll(standby.now) is None
    assert standby.core.deadlines[1] is None


@pytest.mark.parametrize(("allowed", "can_trade"), [(False, False), (True, True)])
def test_a_standby_may_trade_only_where_it_is_configured(allowed: bool, can_trade: bool) -> None:
    """`trade_on_standby` is for applications that know what they do."""
    config = LifecycleConfig(data_timeout=None, trade_on_standby=allowed)
    leader, standby = pair(config=config)
    assert leader.core.can_trade
    assert standby.core.can_trade is can_trade
    leader.halt()
    follow(leader, standby)
    assert not standby.core.can_trade


def test_a_standby_begins_no_round_of_a_roll_that_it_cannot_plan() -> None:
    """Where the schedule ends, the leader goes to ERROR; the standby does once the leader has recorded that."""
    short = weekdays(n=1)
    leader = Leader(short, NOON)
    standby = Replica(short, NOON, records=leader.records, leads=False)
    for replica in (standby, leader):
        replica.pass_to(at(MONDAY, (21, 30)))
    assert (leader.core.state, standby.core.state) == (ERROR, ENDED)
    follow(leader, standby)
    assert (standby.core.state, standby.core.reason) == (ERROR, leader.core.reason)


def test_silence_is_no_error_on_a_standby() -> None:
    """It may have no data at all: it is TIMEOUT, and ERROR is the leader's to decide; its time begins with the lead."""
    config = LifecycleConfig(data_timeout=10 * SECOND, error_after_timeout=20 * SECOND)
    standby = Replica(SCHEDULE, NOON, config=config, leads=False)
    standby.pass_to(NOON + HOUR)
    assert (standby.core.state, standby.core.deadlines[1]) == (TIMEOUT, None)
    standby.lead()
    assert standby.core.state is TIMEOUT
    standby.pass_to(NOON + HOUR + 19 * SECOND)
    assert standby.core.state is TIMEOUT
    standby.pass_to(NOON + HOUR + 20 * SECOND)
    assert standby.core.state is ERROR


# ---- following ----


def test_a_roll_is_followed() -> None:
    """The leader's *done* enters the same session, as after a roll, and is emitted as `RollFollowed` of its term."""
    leader, standby = pair()
    leader.pass_to(at(MONDAY, (21, 30)))
    leader.roll()
    events = follow(leader, standby, term=7)
    moved, followed, entered = [event for event in events if isinstance(event, StateChanged | RollFollowed)][-3:]
    assert isinstance(moved, StateChanged)
    assert moved.dest is ENDED
    assert followed == RollFollowed(MONDAY, TUESDAY, 7, (), standby.wall)
    assert isinstance(entered, StateChanged)
    assert (entered.trigger, entered.session, entered.dest) == ("roll", TUESDAY, NOT_STARTED)
    assert not [event for event in standby.log if isinstance(event, RollStarted | RollSucceeded)]
    assert_legal(standby.log)


def test_rolls_are_followed_in_their_order() -> None:
    """A replica that reads the records of three days at once emits each roll, and reaches the leader's state."""
    leader, standby = pair()
    for day in (MONDAY, TUESDAY, WEDNESDAY):
        leader.pass_to(at(day, (21, 30)))
        leader.roll()
    leader.pass_to(at(THURSDAY, (15, 0)))
    events = follow(leader, standby)
    rolled = [(event.session, event.next_session) for event in events if isinstance(event, RollFollowed)]
    assert rolled == [(MONDAY, TUESDAY), (TUESDAY, WEDNESDAY), (WEDNESDAY, THURSDAY)]
    assert standby.core.state is leader.core.state is ACTIVE
    assert_legal(standby.log)


def test_sessions_that_the_leader_skipped_are_named() -> None:
    """A roll over several sessions is one, and says which were skipped."""
    leader, standby = pair()
    leader.pass_to(at(THURSDAY, (12, 0)))
    leader.roll()
    (followed,) = [event for event in follow(leader, standby) if isinstance(event, RollFollowed)]
    assert (followed.next_session, followed.skipped) == (THURSDAY, (TUESDAY, WEDNESDAY))


def test_what_is_reflected_already_changes_nothing() -> None:
    """Each record a second time, in any state: no event, and nothing moves."""
    leader, standby = pair(alarms=[FLATTEN])
    leader.halt()
    leader.apply(SpecialHours(TUESDAY, close=at(TUESDAY, (18, 0))))
    leader.pass_to(at(MONDAY, (20, 45)))
    leader.pass_to(at(MONDAY, (22, 0)))
    leader.begin_roll()
    leader.fail()
    leader.end_roll(TimeoutError())
    follow(leader, standby)
    before, state = standby.reflected, standby.standing.state
    assert state is not None
    for record in leader.records:
        standby.core.follow(record, state, standby.now)
        assert not standby.take()
    assert standby.reflected == before


def test_a_session_that_was_ended_is_ended() -> None:
    """With the leader's own reason; what was ended is owed a roll, here too."""
    leader, standby = pair()
    leader.end("the desk goes home")
    events = follow(leader, standby)
    assert [(event.dest, event.reason) for event in events if isinstance(event, StateChanged)] == [
        (POST_MARKET, "the desk goes home"),
        (ENDED, "the desk goes home"),
    ]
    assert standby.core.roll_owed
    leader.roll()
    follow(leader, standby)
    assert (standby.core.session.date, standby.core.state) == (TUESDAY, NOT_STARTED)


def test_an_intent_that_comes_before_the_end_ends_the_session() -> None:
    """The leader's clock may be ahead: its roll has begun, so the session is over."""
    leader, standby = pair()
    leader.pass_to(at(MONDAY, (21, 30)))
    leader.begin_roll()
    standby.pass_to(at(MONDAY, (21, 30)) - SECOND)
    standby.follow(*leader.records[1:])
    assert standby.core.state is ENDED
    leader.end_roll()
    standby.follow(*leader.records[2:])
    assert standby.core.session.date == TUESDAY
    assert_legal(standby.log)


def test_error_and_the_way_out_of_it_are_followed() -> None:
    """ERROR with its reason, and a recovery that replays the session; data of one's own plays no part."""
    leader, standby = pair()
    leader.fail("the book does not add up")
    follow(leader, standby)
    assert (standby.core.state, standby.core.reason) == (ERROR, "the book does not add up")
    leader.recover()
    events = follow(leader, standby)
    assert next(event.trigger for event in events if isinstance(event, StateChanged)) == "recover"
    assert standby.core.state is ACTIVE
    assert_legal(standby.log)


@pytest.mark.parametrize("resolution", Resolution)
def test_how_a_failed_roll_was_resolved_is_followed(resolution: Resolution) -> None:
    """Tried again, marked as done, or skipped: the replica is where the leader is, with the same roll owed."""
    config = LifecycleConfig(data_timeout=None, roll_retry=DEAF.roll_retry)
    leader, standby = pair(config=config)
    leader.pass_to(at(MONDAY, (22, 0)))
    leader.begin_roll()
    leader.fail()
    leader.end_roll(TimeoutError())
    follow(leader, standby)
    assert standby.core.state is ERROR
    leader.recover(resolution)
    follow(leader, standby)
    assert standby.core.state is leader.core.state
    standby.lead()
    assert standby.core.session.date == leader.core.session.date
    mine, its = standby.due, leader.due
    assert (mine and mine[:3]) == (its and its[:3])


def test_halts_are_followed() -> None:
    """Of trading and of feeds, those that are not registered here included, until they are resumed."""
    leader, standby = pair()
    quotes = [FeedState("quotes", HOUR) for _ in range(2)]
    leader.core.add_feed(quotes[0], leader.now)
    leader.halt("news")
    leader.core.halt("mute", leader.now, quotes[0])
    leader._record(leader.take())
    events = follow(leader, standby)
    assert [type(event) for event in events] == [Halted]
    standby.core.add_feed(quotes[1], standby.now)
    assert (standby.core.halted, quotes[1].halted) == ("news", "mute")
    leader.resume()
    leader.resume(quotes[0])
    events = follow(leader, standby)
    assert [event.feed for event in events if isinstance(event, Resumed)] == [None, "quotes"]
    assert (standby.core.halted, quotes[1].halted) == (None, None)
    assert_legal(standby.log)


def test_another_reason_is_another_halt() -> None:
    """A halt that was resumed and called again while the replica did not read is the later one."""
    leader, standby = pair()
    leader.halt("news")
    follow(leader, standby)
    leader.resume()
    leader.halt("limit")
    state = leader.standing.state
    assert state is not None
    standby.core.follow(leader.records[-1], state, standby.now)
    assert standby.core.halted == "limit"
    assert_legal([*standby.log, *standby.take()])


def test_the_end_of_a_halt_that_was_lost_with_the_lead_is_forgotten() -> None:
    """Leading again it is halted still, by the records: another halt has no effect, and nothing is resumed."""
    leader, _ = pair()
    leader.halt("news")
    assert leader.core.resume(leader.now) is not None
    leader.core.stand_by(leader.now)  # before it was written
    leader.core.lead(leader.now, leader.standing.state)
    leader.take()
    assert not leader.core.halt("limit", leader.now)
    assert (leader.core.halted, leader.take()) == ("news", [])


def test_a_halt_that_comes_after_the_close_halts_nothing() -> None:
    """The replica's clock may be ahead: for it the session has closed."""
    leader, standby = pair()
    leader.halt()
    standby.pass_to(at(MONDAY, (21, 0)))
    standby.follow(*leader.records[1:])
    assert standby.core.halted is None


MIDNIGHTS = [at(MONDAY + n * DAY, (0, 0)) for n in range(6)]
ABUTTING = FixedSchedule([Session(opens.date(), opens, closes) for opens, closes in pairwise(MIDNIGHTS)])


@pytest.mark.parametrize("late", [False, True], ids=["at once", "after the end by the clock"])
def test_halts_that_the_leader_has_ended_with_the_session_end_here(late: bool) -> None:
    """The next session opens at the very close, and the market has closed by the application's word nevertheless."""
    start = at(MONDAY, (23, 0))
    leader = Leader(ABUTTING, start)
    standby = Replica(ABUTTING, start, records=leader.records, leads=False)
    leader.halt("news")
    follow(leader, standby)
    if late:
        standby.pass_to(at(TUESDAY, (0, 0)))
        assert (standby.core.state, standby.core.halted) == (ENDED, "news")
    leader.end()
    standby.follow(leader.records[-1])
    assert (standby.core.state, standby.core.halted) == (ENDED, None)
    leader.pass_to(at(TUESDAY, (0, 0)))
    leader.roll()
    follow(leader, standby)
    assert (standby.core.session.date, standby.core.state, standby.core.halted) == (TUESDAY, ACTIVE, None)
    assert standby.reflected == Replica(ABUTTING, leader.wall, records=leader.records, leads=False).reflected
    assert_legal(standby.log)


@pytest.mark.parametrize("heir", [False, True])
def test_halts_during_a_roll_at_which_the_market_does_not_close_are_followed(heir: bool) -> None:
    """So they are in force where the leader is lost in that roll, as they are after a restart."""
    start = at(MONDAY, (23, 0))
    leader = Leader(ABUTTING, start)
    standby = Replica(ABUTTING, start, records=leader.records, leads=False)
    leader.halt("news")
    leader.pass_to(at(TUESDAY, (0, 0)))
    leader.begin_roll()
    leader.resume()
    follow(leader, standby)
    assert (standby.core.state, standby.core.halted) == (ENDED, None)
    leader.halt("limit down")
    follow(leader, standby)
    assert standby.core.halted == leader.core.halted == "limit down"
    if heir:
        standby.lead()
        roll = standby.core.due_roll(standby.now)
        assert roll is not None
        standby.core.begin_roll(roll, standby.now, journalled=True).apply(standby.now)
        standby.core.roll_succeeded(roll, standby.now).apply(standby.now)
    else:
        leader.end_roll()
        follow(leader, standby)
    assert (standby.core.session.date, standby.core.state, standby.core.halted) == (TUESDAY, ACTIVE, "limit down")
    standby.take()
    assert_legal(standby.log)


@pytest.mark.parametrize("failed", [False, True])
def test_a_halt_goes_on_where_the_session_ends_here_by_what_the_leader_has_recorded(failed: bool) -> None:
    """By an intent that comes a second before its end, or by a roll that was skipped in ERROR: no market has closed."""
    start = at(MONDAY, (23, 0))
    leader = Leader(ABUTTING, start)
    standby = Replica(ABUTTING, start, records=leader.records, leads=False)
    leader.halt("limit down")
    if failed:
        leader.fail()
    follow(leader, standby)
    leader.pass_to(at(TUESDAY, (0, 0)))
    if failed:
        leader.recover(Resolution.SKIP)
    else:
        leader.begin_roll()
    standby.pass_to(leader.wall - SECOND)
    standby.follow(*leader.records[standby.standing.last_seq :])
    assert (standby.core.state, standby.core.halted) == (ENDED, "limit down")
    standby.pass_to(leader.wall)
    assert standby.reflected == Replica(ABUTTING, leader.wall, records=leader.records, leads=False).reflected
    standby.lead()
    assert standby.reflected == Replica(ABUTTING, leader.wall, records=leader.records).reflected
    assert_legal(standby.log)


def test_changed_hours_are_followed() -> None:
    """An early close takes effect at once, and a closure of the present session ends it."""
    leader, standby = pair()
    leader.apply(SpecialHours(MONDAY, close=at(MONDAY, (18, 0))))
    (change,) = [event for event in follow(leader, standby) if isinstance(event, ScheduleChanged)]
    assert (change.day, change.after) == (MONDAY, leader.core.session)
    standby.pass_to(at(MONDAY, (18, 0)))
    assert standby.core.state is POST_MARKET
    leader.apply(Closure(TUESDAY))
    leader.pass_to(at(MONDAY, (18, 10)))
    leader.apply(SpecialHours(WEDNESDAY, open=at(WEDNESDAY, (16, 0))))
    follow(leader, standby)
    days = [leader.core.schedule.sessions(MONDAY, FRIDAY), standby.core.schedule.sessions(MONDAY, FRIDAY)]
    assert days[0] == days[1]
    assert_legal(standby.log)


def test_a_close_that_has_passed_here_before_it_was_put_off_has_not_passed() -> None:
    """The record comes late: the session is replayed by its hours as they are, by way of ERROR."""
    leader, standby = pair(at(MONDAY, (20, 40)))
    leader.apply(SpecialHours(MONDAY, close=at(MONDAY, (21, 10))))
    leader.pass_to(at(MONDAY, (21, 0)))
    standby.pass_to(at(MONDAY, (21, 0)))
    assert standby.core.state is POST_MARKET
    follow(leader, standby)
    assert standby.core.state is leader.core.state is ACTIVE
    standby.pass_to(at(MONDAY, (21, 10)))
    assert standby.core.state is POST_MARKET
    assert_legal(standby.log)


@pytest.mark.parametrize("being_written", [False, True])
@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize("lag", [timedelta(0), SECOND])
def test_a_session_that_has_ended_does_not_go_on_where_the_one_that_ended_it_is_closed(
    being_written: bool, failed: bool, lag: timedelta
) -> None:
    """By its hours it would end with its delay now: it has ended, for a restart and for a standby as well."""
    config, start = LifecycleConfig(data_timeout=None, post_market_roll_delay=HOUR), at(MONDAY, (23, 0))
    flatten = Alarm("end", -MINUTE)
    leader = Leader(ABUTTING, start, config=config, alarms=[flatten])
    standby = Replica(ABUTTING, start, records=leader.records, config=config, alarms=[flatten], leads=False)
    leader.pass_to(at(MONDAY, (23, 59)))
    closure = Closure(TUESDAY)
    decision = leader.core.change_schedule(closure, leader.now) if being_written else None
    if decision is not None:
        leader._add(*decision.records)
    leader.pass_to(at(TUESDAY, (0, 0)) + (MINUTE if being_written else timedelta(0)))
    if decision is None:
        leader.apply(closure)
    else:
        decision.apply(leader.now)
        leader._record(leader.take())
    if failed:
        leader.fail()
    standby.pass_to(leader.wall - lag)
    follow(leader, standby)
    for minutes in (0, 30, 120):
        leader.pass_to(at(TUESDAY, (0, 1)) + minutes * MINUTE)
        standby.pass_to(leader.wall)
        assert (leader.core.state, leader.core.roll_owed) == (ERROR if failed else ENDED, True)
        restarted = Replica(ABUTTING, leader.wall, records=leader.records, config=config, alarms=[flatten])
        assert leader.reflected == restarted.reflected
        assert {**standby.reflected, "can trade": leader.core.can_trade} == leader.reflected
    assert [each[0] for each in leader.alarms] == [AlarmFired]
    assert_legal(standby.log)


def test_alarms_of_a_session_that_was_ended_are_over_where_it_would_end_later_now() -> None:
    """The closure of the next session moves the end of this one, and its alarms: the application has ended it."""
    config, alarms = (
        LifecycleConfig(data_timeout=None, post_market_roll_delay=HOUR),
        [Alarm("end", -MINUTE), Alarm("close")],
    )
    leader = Leader(ABUTTING, at(MONDAY, (22, 0)), config=config, alarms=alarms)
    leader.end()
    leader.apply(Closure(TUESDAY))
    assert [record.entry for record in leader.records].count(Entry.ENDED) == 1
    restarted = Replica(ABUTTING, leader.wall, records=leader.records, config=config, alarms=alarms)
    for replica in (leader, restarted):
        for minutes in (0, 59, 60):
            replica.pass_to(at(TUESDAY, (0, 0)) + minutes * MINUTE)
        assert [each[0] for each in replica.alarms] == [AlarmSkipped, AlarmSkipped]


@pytest.mark.parametrize("late", [timedelta(0), MINUTE])
def test_a_session_that_was_called_off_has_closed_also_where_it_is_entered_after_its_end(late: timedelta) -> None:
    """The next one opens at its very close, but the venue does not hold it: none halts there, nor after a restart."""
    leader = Leader(ABUTTING, at(MONDAY, (23, 0)))
    leader.pass_to(at(TUESDAY, (0, 0)))
    leader.begin_roll()
    standby = Replica(ABUTTING, leader.wall, records=leader.records, leads=False)
    leader.apply(Closure(TUESDAY))
    leader.pass_to(at(WEDNESDAY, (0, 0)) + late)
    leader.end_roll()
    follow(leader, standby)
    assert (leader.core.session.date, leader.core.state) == (TUESDAY, ENDED)
    restarted = Replica(ABUTTING, leader.wall, records=leader.records)
    assert (leader.core.reason, leader.core.halted) == (None, None)
    for replica in (leader, standby, restarted):
        with pytest.raises(HaltRefused):
            replica.core.halt("news", replica.now)
    leader.roll()
    follow(leader, standby)
    assert standby.core.state is leader.core.state is ACTIVE
    assert_legal(leader.log)


def test_a_session_that_has_ended_here_has_closed_where_it_was_cut_short_before() -> None:
    """The record comes late: the next session does not open at its close any more, so that no halt goes on."""
    leader = Leader(ABUTTING, at(MONDAY, (23, 0)))
    standby = Replica(ABUTTING, leader.wall, records=leader.records, leads=False)
    leader.halt("news")
    follow(leader, standby)
    leader.apply(SpecialHours(MONDAY, close=at(MONDAY, (23, 30))))
    for replica in (leader, standby):
        replica.pass_to(at(TUESDAY, (0, 1)))
    follow(leader, standby)
    assert (leader.core.halted, standby.core.halted) == (None, None)
    with pytest.raises(HaltRefused):
        standby.core.halt("news", standby.now)
    assert_legal(standby.log)


def test_a_session_that_was_closed_has_the_hours_that_are_left_of_it() -> None:
    """It has closed when it was called off, for whoever asks: the leader, a standby, and a restart."""
    leader, standby = pair()
    leader.apply(Closure(MONDAY))
    follow(leader, standby)
    for replica in (leader, standby, Replica(SCHEDULE, leader.wall, records=leader.records)):
        assert replica.core.state is ENDED
        assert (replica.core.session.open, replica.core.session.close) == (at(MONDAY, (14, 30)), NOON)
        assert replica.core.session == replica.core.schedule.session_on(MONDAY)


def test_a_session_that_was_closed_on_a_break_ends_with_that_here_too() -> None:
    """Its hours end with the break's start, so that no end of the break is to come: the reason says why it closes."""
    lunch = FixedSchedule([session(MONDAY + n * DAY, breaks=(((17, 0), (18, 0)),)) for n in range(3)])
    leader = Leader(lunch, NOON - MINUTE)
    standby = Replica(lunch, leader.wall, records=leader.records, leads=False)
    leader.pass_to(NOON + MINUTE)
    standby.pass_to(leader.wall)
    assert (leader.core.on_break, standby.core.on_break) == (True, True)
    leader.apply(Closure(MONDAY))
    for replica in (leader, standby):
        follow(leader, standby)
        assert (replica.core.state, replica.core.on_break) == (ENDED, False)
        assert_legal(replica.log)


def test_a_session_that_has_ended_here_goes_on_where_the_next_one_was_closed_before() -> None:
    """The record comes late: by the hours as they are, the session ends with its delay."""
    config, start = LifecycleConfig(data_timeout=None, post_market_roll_delay=HOUR), at(MONDAY, (23, 0))
    leader = Leader(ABUTTING, start, config=config)
    standby = Replica(ABUTTING, start, records=leader.records, config=config, leads=False)
    leader.apply(Closure(TUESDAY))
    for replica in (leader, standby):
        replica.pass_to(at(TUESDAY, (0, 1)))
    assert (leader.core.state, standby.core.state) == (POST_MARKET, ENDED)
    follow(leader, standby)
    assert (standby.core.state, standby.core.roll_owed) == (POST_MARKET, False)
    standby.pass_to(at(TUESDAY, (1, 0)))
    assert (standby.core.state, standby.core.roll_owed) == (ENDED, True)
    assert_legal(standby.log)


def test_a_closure_of_the_present_session_ends_it() -> None:
    """Before its open there is no session left of it, and the replica waits for the roll."""
    leader, standby = pair(at(MONDAY, (12, 0)))
    leader.apply(Closure(MONDAY))
    follow(leader, standby)
    assert (standby.core.state, standby.core.session.date) == (ENDED, MONDAY)
    leader.roll()
    follow(leader, standby)
    assert standby.core.session.date == TUESDAY
    assert_legal(standby.log)


def test_hours_that_cannot_be_followed_are_reported() -> None:
    """Once, and the replica goes on by its own."""
    leader = Leader(SCHEDULE, NOON)
    standby = Replica(Refusing(), NOON, records=leader.records, leads=False)
    leader.apply(SpecialHours(TUESDAY, close=at(TUESDAY, (18, 0))))
    standby.follow(*leader.records[1:])
    (lost,) = of(OverrideLost, standby.log)
    assert (lost.day, lost.after, lost.session) == (TUESDAY, leader.core.schedule.session_on(TUESDAY), MONDAY)
    assert "no with_session" in lost.reason
    leader.halt()
    standby.follow(*leader.records[2:])
    assert len(of(OverrideLost, standby.log)) == 1
    assert standby.core.schedule.session_on(TUESDAY) == session(TUESDAY)


class Refusing(Counting):
    """A schedule that cannot be changed."""

    def __init__(self) -> None:
        super().__init__(weekdays(n=5).sessions(MONDAY, FRIDAY))

    with_session = None


def test_a_second_adoption_is_followed() -> None:
    """Where the leader adopts a session anew, the replica goes there, as after a roll."""
    leader, standby = pair()
    later = SCHEDULE.session_on(FRIDAY)
    leader._add(Record(Entry.ADOPTED, FRIDAY, leader.wall, open=later.open, close=later.close))
    events = follow(leader, standby)
    assert [event.next_session for event in events if isinstance(event, RollFollowed)] == [FRIDAY]
    assert standby.core.session.date == FRIDAY
    assert_legal(standby.log)


def test_a_schedule_that_raises_is_an_error_of_this_replica_alone() -> None:
    """It says which schedule; the next record that it can follow leads out of it."""
    leader = Leader(SCHEDULE, NOON)
    schedule = Counting(SCHEDULE.sessions(MONDAY, FRIDAY))
    standby = Replica(schedule, NOON, records=leader.records, leads=False)
    leader.pass_to(at(MONDAY, (22, 0)))
    leader.begin_roll()
    standby.pass_to(at(MONDAY, (21, 29)))
    schedule.broken = True
    standby.follow(*leader.records[1:])
    assert standby.core.state is ERROR
    assert "no calendar" in (standby.core.reason or "")
    schedule.broken = False
    leader.end_roll()
    standby.pass_to(leader.wall)
    standby.follow(*leader.records[2:])
    assert (standby.core.session.date, standby.core.state) == (TUESDAY, NOT_STARTED)
    assert_legal(standby.log)


# ---- what is withdrawn ----


def test_a_withdrawn_end_is_undone_by_way_of_error() -> None:
    """There is no other transition back: the session fails, is replayed, and is where it is for the leader."""
    leader, standby = pair()
    leader.withdraw(Entry.ENDED)
    standby.follow(leader.records[1])
    assert standby.core.state is ENDED
    standby.follow(leader.records[2])
    assert standby.core.state is ACTIVE
    assert [event.trigger for event in of(StateChanged, standby.log)][-4:] == [
        "fail", "recover", "start_pre_market", "open_market",
    ]  # fmt: skip
    assert_legal(standby.log)


def test_withdrawn_hours_are_the_given_ones_again() -> None:
    """Those of the schedule as the application has given it, or of an earlier change of that day."""
    leader, standby = pair()
    leader.withdraw(Entry.CHANGED)  # a closure of Tuesday
    standby.follow(leader.records[1])
    assert not standby.core.schedule.sessions(TUESDAY, TUESDAY)
    standby.follow(leader.records[2])
    assert standby.core.schedule.session_on(TUESDAY) == SCHEDULE.session_on(TUESDAY)
    leader.apply(SpecialHours(TUESDAY, close=at(TUESDAY, (18, 0))))
    leader.withdraw(Entry.CHANGED)
    follow(leader, standby)
    assert standby.core.schedule.session_on(TUESDAY).close == at(TUESDAY, (18, 0))


def test_a_withdrawn_alarm_may_fire_here() -> None:
    """What did not begin after all is not over."""
    leader, standby = pair(at(MONDAY, (20, 0)), alarms=[FLATTEN])
    leader.withdraw(Entry.ALARM_BEGUN)
    standby.follow(*leader.records[1:])
    standby.pass_to(at(MONDAY, (20, 50)))
    standby.lead()
    assert [event.session for event in of(AlarmFired, standby.log)] == [MONDAY]


# ---- what the venue reports of itself ----


def test_a_standby_remembers_what_the_venue_reports_and_the_leader_halts() -> None:
    """Each replica reads the feed, one acts; the standby's halt is the leader's, and lifting it is no new halt."""
    leader, standby = pair()
    for replica in (leader, standby):
        assert replica.core.record_status(VenueStatus.HALT, NOON, replica.now) is None
    assert (leader.core.halted is None, standby.core.halted) == (False, None)
    leader._record([])
    assert [(each.entry, each.note) for each in leader.records[1:]] == [(Entry.HALTED, leader.core.halted)]
    follow(leader, standby)
    assert standby.core.halted == leader.core.halted
    assert standby.core.take_records() == ()
    standby.core.lead(standby.now, standby.standing.state)
    resumption = standby.core.resume(standby.now)
    assert resumption is not None
    resumption.apply(standby.now)
    standby.core.poll(standby.now)
    assert standby.core.halted is None


def test_a_standby_that_gains_the_lead_halts_by_what_it_remembers() -> None:
    """The leader has vanished before it could."""
    _, standby = pair()
    standby.core.record_status(VenueStatus.HALT, NOON, standby.now)
    standby.core.lead(standby.now, standby.standing.state)
    assert standby.core.halted == f"the venue reported HALT at {NOON.isoformat()}"
    assert [record.entry for record in standby.core.take_records()] == [Entry.HALTED]
    assert standby.core.resume_by_venue(standby.now) is None


def test_a_standby_that_gains_the_lead_resumes_by_what_it_remembers() -> None:
    """The leader has halted, and has vanished before it could resume; a halt of the application stays."""
    for words, lifted in ((f"the venue reported HALT at {NOON.isoformat()}", True), ("our own", False)):
        leader, standby = pair()
        leader.halt(words)
        leader._record(leader.take())
        follow(leader, standby)
        standby.core.record_status(VenueStatus.TRADING, NOON, standby.now)
        assert standby.core.halted == words
        standby.core.lead(standby.now, standby.standing.state)
        resumption = standby.core.resume_by_venue(standby.now)
        assert (resumption is not None) is lifted
        if resumption is not None:
            resumption.apply(standby.now)
            assert standby.core.halted is None
