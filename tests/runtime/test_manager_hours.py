"""Hours changed on a running manager: an early close at 11:00, a typhoon, a session on a Saturday."""

from datetime import date, datetime, time

import pytest

from session_lifecycle import (
    AlarmFired,
    AlarmSkipped,
    Closure,
    Entry,
    FixedSchedule,
    JournalWriteFailed,
    ManagerStopped,
    MemoryJournal,
    NotRunningError,
    OverrideRefused,
    Schedule,
    ScheduleChanged,
    ScheduleExhausted,
    Session,
    SessionBoundaryManager,
    SpecialHours,
    StateChanged,
)
from session_lifecycle.testing import SimulatedClock
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
    NOW,
    POST_MARKET,
    PRE_MARKET,
    THURSDAY,
    TIMEOUT,
    TUESDAY,
    WEDNESDAY,
    Rolls,
    changes,
    make,
    make_rolling,
    of,
    path,
    roll_nothing,
    running,
    season,
    states,
)
from tests.helpers.manager_journal import Refusing

pytestmark = pytest.mark.anyio

SATURDAY, NEXT_MONDAY = MONDAY + 5 * DAY, MONDAY + 7 * DAY
NOON = at(MONDAY, (16, 0))
"""Monday is ACTIVE: it is open from 14:30 to 21:00."""
LUNCH = FixedSchedule(session(day, breaks=(((16, 0), (17, 0)),)) for day in (MONDAY, TUESDAY, WEDNESDAY, THURSDAY))
TYPHOON = Closure(MONDAY, "typhoon")


# ---- other hours ----


async def test_an_early_close_announced_during_the_session_takes_effect_today():
    manager, clock, rolls = make_rolling(NOON)
    async with running(manager) as log:
        await manager.apply(SpecialHours(MONDAY, close=time(18), reason="power cut"))
        assert manager.next_boundary == manager.session.close == at(MONDAY, (18, 0))
        assert manager.status().close == at(MONDAY, (18, 0))
        await clock.advance_to(at(MONDAY, (23, 0)))
        assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)
    close, end = (event for event in changes(log) if event.dest in (POST_MARKET, ENDED))
    assert (close.scheduled_at, close.observed_at, close.catch_up) == (at(MONDAY, (18, 0)), at(MONDAY, (18, 0)), False)
    assert end.observed_at == at(MONDAY, (18, 30))
    assert rolls.begun == [(TUESDAY, at(MONDAY, (18, 30)))]


async def test_the_change_is_told_with_before_and_after():
    manager, clock = make(NOON, name="desk")
    async with running(manager) as log:
        await manager.apply(SpecialHours(TUESDAY, close=time(18), reason="election"))
        after = session(TUESDAY, close=(18, 0))
        assert manager.schedule.session_on(TUESDAY) == after
        await clock.advance(NOW)
        assert of(ScheduleChanged, log) == [
            ScheduleChanged(TUESDAY, session(TUESDAY), after, MONDAY, "special hours: election", NOON, name="desk")
        ]


async def test_hours_that_are_those_already_change_nothing():
    manager, _ = make(NOON)
    async with running(manager) as log:
        before = manager.schedule
        await manager.apply(SpecialHours(TUESDAY, close=time(21)))
        assert manager.schedule is before
    assert of(ScheduleChanged, log) == []


async def test_a_later_override_of_the_same_day_counts():
    manager, clock, rolls = make_rolling(NOON)
    async with running(manager):
        await manager.apply(SpecialHours(MONDAY, close=time(18)))
        await manager.apply(SpecialHours(MONDAY, close=time(19)))
        await clock.advance_to(at(TUESDAY, (0, 0)))
    assert rolls.begun == [(TUESDAY, at(MONDAY, (19, 30)))]


async def test_a_late_open_announced_during_the_pre_market():
    """The pre-market began when it began; only the open is put off."""
    manager, clock = make(at(MONDAY, (10, 0)))
    async with running(manager) as log:
        assert manager.state is PRE_MARKET
        await manager.apply(SpecialHours(MONDAY, open=time(20)))
        await clock.advance_to(at(MONDAY, (19, 0)))
        assert (manager.state, manager.scheduled_state) == (PRE_MARKET, PRE_MARKET)
        await clock.advance_to(at(MONDAY, (20, 0)))
        assert manager.can_trade
    assert path(log)[:2] == ["start_pre_market", "open_market"]


async def test_an_early_open_whose_pre_market_would_have_begun_begins_it_now():
    manager, clock = make(at(TUESDAY, (6, 0)))
    async with running(manager) as log:
        assert manager.state is NOT_STARTED
        await manager.apply(SpecialHours(TUESDAY, open=time(10)))
        assert (manager.state, manager.scheduled_state) == (PRE_MARKET, PRE_MARKET)
        await clock.advance_to(at(TUESDAY, (10, 0)))
        assert manager.state is ACTIVE
    begun, opened = changes(log)
    assert (begun.scheduled_at, begun.catch_up) == (at(TUESDAY, (6, 0)), False)
    assert opened.observed_at == at(TUESDAY, (10, 0))


async def test_a_break_is_moved_while_it_is_on():
    manager, clock = make(at(MONDAY, (16, 30)), schedule=LUNCH)
    async with running(manager):
        assert manager.on_break
        await manager.apply(SpecialHours(MONDAY, breaks=((time(16), time(18)),)))
        await clock.advance_to(at(MONDAY, (17, 30)))
        assert manager.on_break
        await clock.advance_to(at(MONDAY, (18, 0)))
        assert not manager.on_break
        assert manager.can_trade


async def test_the_post_market_is_extended_while_it_is_on():
    manager, clock, rolls = make_rolling(at(MONDAY, (21, 10)))
    async with running(manager):
        assert manager.state is POST_MARKET
        await manager.apply(SpecialHours(MONDAY, post_market_end=at(TUESDAY, (1, 0))))
        await clock.advance_to(at(TUESDAY, (0, 59)))
        assert manager.state is POST_MARKET
        await clock.advance(MINUTE)
    assert rolls.begun == [(TUESDAY, at(TUESDAY, (1, 0)))]


async def test_a_session_that_the_calendar_lacks_is_added_and_rolled_into():
    manager, clock, rolls = make_rolling(at(FRIDAY, (16, 0)))
    async with running(manager):
        await manager.apply(SpecialHours(SATURDAY, open=time(10), close=time(12)))
        await clock.advance_to(at(SATURDAY, (11, 0)))
        assert (manager.state, manager.session.date) == (ACTIVE, SATURDAY)
        await clock.advance_to(at(NEXT_MONDAY, (15, 0)))
        assert (manager.state, manager.session.date) == (ACTIVE, NEXT_MONDAY)
    assert rolls.dates == [SATURDAY, NEXT_MONDAY]


@pytest.mark.parametrize("close", [(17, 0), (15, 50)], ids=["ahead", "behind"])
async def test_an_alarm_moves_with_the_close(close):
    """Where its instant has passed by then, it goes off at once, because the state that it belongs to holds."""
    manager, clock = make(NOON - MINUTE * 20)
    fired: list[AlarmFired] = []

    @manager.at("close", -HOUR)
    async def flatten(alarm: AlarmFired) -> None:
        fired.append(alarm)

    async with running(manager):
        await manager.apply(SpecialHours(MONDAY, close=time(*close)))
        await clock.advance_to(at(MONDAY, (23, 0)))
    due = at(MONDAY, close) - HOUR
    [alarm] = fired
    assert (alarm.scheduled_at, alarm.observed_at) == (due, max(due, NOON - MINUTE * 20))
    assert alarm.state is ACTIVE


async def test_an_alarm_that_has_gone_off_does_not_go_off_again():
    manager, clock = make(at(MONDAY, (20, 30)))
    alarms = manager.alarms("close", -HOUR)
    async with running(manager):
        await manager.apply(SpecialHours(MONDAY, close=time(23)))
        await clock.advance_to(at(TUESDAY, (20, 30)))
    assert [alarm.session async for alarm in alarms] == [MONDAY, TUESDAY]


async def test_an_alarm_of_a_break_that_is_over_does_not_go_off_again_with_one_that_moves():
    breaks = (((15, 0), (15, 30)), ((18, 0), (18, 30)))
    schedule = FixedSchedule(session(day, breaks=breaks) for day in (MONDAY, TUESDAY, WEDNESDAY))
    manager, clock = make(at(MONDAY, (14, 50)), schedule=schedule)
    alarms = manager.alarms("break_start")
    async with running(manager):
        await clock.advance_to(NOON)
        await manager.apply(SpecialHours(MONDAY, breaks=((time(15), time(15, 30)), (time(19), time(20)))))
        await clock.advance_to(at(MONDAY, (22, 0)))
    assert [alarm.scheduled_at async for alarm in alarms] == [at(MONDAY, (15, 0)), at(MONDAY, (19, 0))]


async def test_alarms_of_days_far_ahead_move_too():
    """Those that have been taken up already, because they go off long before their session."""
    manager, clock = make(at(MONDAY, (14, 0)))
    alarms = manager.alarms("open", -3 * DAY)
    async with running(manager):
        await manager.apply(SpecialHours(FRIDAY, open=time(12)))
        await manager.apply(Closure(THURSDAY))
        await manager.apply(SpecialHours(SATURDAY, open=time(10), close=time(12)))
        await clock.advance_to(at(WEDNESDAY, (23, 0)))
    fired = [(alarm.session, alarm.scheduled_at) async for alarm in alarms]
    assert fired == [(FRIDAY, at(TUESDAY, (12, 0))), (SATURDAY, at(WEDNESDAY, (10, 0)))]


# ---- closures ----


async def test_a_closure_of_a_day_to_come():
    manager, clock, rolls = make_rolling(NOON)
    async with running(manager) as log:
        await manager.apply(Closure(TUESDAY, "state funeral"))
        await clock.advance_to(at(WEDNESDAY, (15, 0)))
        assert (manager.state, manager.session.date) == (ACTIVE, WEDNESDAY)
    assert rolls.dates == [WEDNESDAY]
    assert {event.session for event in changes(log)} == {MONDAY, WEDNESDAY}


@pytest.mark.parametrize(
    ("start", "before"),
    [(at(MONDAY, (2, 0)), NOT_STARTED), (at(MONDAY, (10, 0)), PRE_MARKET), (NOON, ACTIVE)],
    ids=["not_started", "pre_market", "active"],
)
async def test_fault_19_a_closure_of_the_session_of_the_day_ends_it_now(start, before):
    """The legal path is walked at once, told as such, and the next session is rolled to."""
    manager, clock, rolls = make_rolling(start)
    async with running(manager) as log:
        assert manager.state is before
        log.clear()
        await manager.apply(TYPHOON)
        assert manager.state is ENDED
        assert not manager.can_trade
        await clock.advance(NOW)
        assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)
        await clock.advance_to(at(MONDAY, (20, 0)))
        assert (manager.state, manager.scheduled_state) == (NOT_STARTED, NOT_STARTED)
        await clock.advance_to(at(TUESDAY, (15, 0)))
        assert manager.state is ACTIVE
    assert rolls.begun == [(TUESDAY, start)]
    walked = [event for event in changes(log) if event.session == MONDAY]
    order = [NOT_STARTED, PRE_MARKET, ACTIVE, POST_MARKET, ENDED]
    assert [event.dest for event in walked] == order[order.index(before) + 1 :]
    assert all(event.reason == "closed: typhoon" and event.catch_up for event in walked)
    assert isinstance(log[0], ScheduleChanged)


async def test_fault_19_a_closure_in_timeout_ends_it():
    config = DEAF.__class__(data_timeout=HOUR)
    manager, clock = make(NOON, config=config)
    async with running(manager):
        await clock.advance(HOUR)
        assert manager.state is TIMEOUT
        await manager.apply(TYPHOON)
        await clock.advance(NOW)
        assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)


async def test_what_was_stays_in_the_schedule():
    """A session that is closed while it is on has been one, until then; one that has not opened has not."""
    manager, clock = make(NOON)
    async with running(manager):
        await manager.apply(TYPHOON)
        was = manager.schedule.session_on(MONDAY)
        assert (was.open, was.close, was.post_market_end) == (at(MONDAY, (14, 30)), NOON, NOON)
        await clock.advance_to(at(TUESDAY, (10, 0)))
        await manager.apply(Closure(TUESDAY))
        assert manager.schedule.next_session(MONDAY).date == WEDNESDAY


async def test_a_closure_during_a_break_closes_where_the_break_began():
    manager, clock = make(at(MONDAY, (16, 30)), schedule=LUNCH)
    async with running(manager):
        await manager.apply(TYPHOON)
        was = manager.schedule.session_on(MONDAY)
        assert (was.close, was.breaks, was.post_market_end) == (NOON, (), at(MONDAY, (16, 30)))
        await clock.advance(NOW)
        assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)


async def test_what_is_to_start_at_the_open_does_not_start_on_a_day_that_is_closed():
    manager, clock = make(at(MONDAY, (10, 0)))
    entered: list[date] = []

    @manager.on(ACTIVE)
    async def trade(event: StateChanged) -> None:
        entered.append(event.session)

    async with running(manager):
        await manager.apply(TYPHOON)
        await clock.advance_to(at(TUESDAY, (15, 0)))
    assert entered == [TUESDAY]


async def test_the_alarms_of_a_session_that_is_closed_are_void():
    manager, clock = make(NOON)
    alarms = manager.alarms("close", -HOUR)
    async with running(manager) as log:
        await manager.apply(TYPHOON)
        await clock.advance_to(at(TUESDAY, (20, 30)))
    assert [alarm.session async for alarm in alarms] == [TUESDAY]
    [skipped] = of(AlarmSkipped, log)
    assert (skipped.session, skipped.reason[:43]) == (MONDAY, "its session was called off (closed: typhoon")


async def test_a_closure_in_error_has_the_roll_owed():
    manager, clock, rolls = make_rolling(NOON)
    async with running(manager):
        manager.fail("broker down")
        await manager.apply(TYPHOON)
        await clock.advance(MINUTE)
        assert (manager.state, rolls.dates) == (ERROR, [])
        assert manager.status().roll_owed
        await manager.recover()
        await clock.advance(NOW)
        assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)
    assert rolls.dates == [TUESDAY]


async def test_closing_the_target_of_a_roll_under_way():
    """The roll is finished for its own date, told, and goes on from there: nothing is skipped in silence."""
    manager, clock, rolls = make_rolling(at(MONDAY, (21, 15)), HOUR, roll_timeout=2 * HOUR)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (22, 0)))
        await manager.apply(Closure(TUESDAY, "typhoon"))
        assert rolls.done == []
        await clock.advance_to(at(MONDAY, (23, 0)))
        assert (manager.state, manager.session.date) == (NOT_STARTED, WEDNESDAY)
    assert rolls.done == [TUESDAY, WEDNESDAY]
    tuesday = [event for event in changes(log) if event.session == TUESDAY]
    assert [event.dest for event in tuesday] == [NOT_STARTED, PRE_MARKET, ACTIVE, POST_MARKET, ENDED]
    assert all(event.catch_up for event in tuesday[1:])


async def test_other_hours_for_the_target_of_a_roll_under_way():
    manager, clock, rolls = make_rolling(at(MONDAY, (21, 15)), HOUR, roll_timeout=2 * HOUR)
    async with running(manager):
        await clock.advance_to(at(MONDAY, (22, 0)))
        await manager.apply(SpecialHours(TUESDAY, close=time(17)))
        await clock.advance_to(at(TUESDAY, (17, 0)))
        assert (manager.state, manager.session) == (POST_MARKET, session(TUESDAY, close=(17, 0)))
    assert rolls.done == [TUESDAY]


async def test_a_pre_market_start_is_changed_as_long_as_it_lies_ahead():
    """Before its instant it moves either way; once it has begun, it can be made a fact, and nothing else."""
    manager, clock, _ = make_rolling(at(MONDAY, (8, 0)))
    async with running(manager) as log:
        await manager.apply(SpecialHours(MONDAY, pre_market_start=time(9, 15)))
        await clock.advance_to(at(MONDAY, (9, 15)))
        assert manager.state is PRE_MARKET
        await clock.advance_to(at(TUESDAY, (9, 5)))
        await manager.apply(SpecialHours(TUESDAY, pre_market_start=time(9)))
        assert (manager.state, manager.session.pre_market_start) == (PRE_MARKET, at(TUESDAY, (9, 0)))
        with pytest.raises(OverrideRefused):
            await manager.apply(SpecialHours(TUESDAY, pre_market_start=time(9, 15)))
        assert manager.state is manager.scheduled_state is PRE_MARKET
    assert [event.observed_at for event in changes(log) if event.dest is PRE_MARKET] == [
        at(MONDAY, (9, 15)),
        at(TUESDAY, (9, 0)),
    ]


# ---- what is refused ----


@pytest.mark.parametrize(
    ("start", "override", "why"),
    [
        (NOON, SpecialHours(MONDAY, open=time(15)), "open was at 2024-03-04T14:30:00+00:00, which has passed"),
        (NOON, SpecialHours(MONDAY, close=time(15)), "close would be at 2024-03-04T15:00:00+00:00, which has passed"),
        (NOON, SpecialHours(MONDAY, close=time(16)), "close would be at 2024-03-04T16:00:00+00:00, which has passed"),
        (NOON, SpecialHours(MONDAY, pre_market_start=time(8)), "pre_market_start was at 2024-03-04T09:00:00+00:00"),
        (at(MONDAY, (9, 5)), SpecialHours(MONDAY, pre_market_start=time(9, 15)), "pre_market_start was at"),
        (at(MONDAY, (8, 5)), SpecialHours(MONDAY, pre_market_start=time(8)), "pre_market_start would be at"),
        (NOON, SpecialHours(MONDAY, breaks=((time(15), time(17)),)), "break start would be at"),
        (NOON, SpecialHours(TUESDAY, open=time(22)), "must come before close"),
        (NOON, SpecialHours(TUESDAY, open=at(MONDAY, (20, 0))), "must lie wholly before session 2024-03-05"),
        (NOON, SpecialHours(SATURDAY, open=time(10)), "Give `open` and `close`"),
        (NOON, Closure(SATURDAY), "no session"),
        (at(MONDAY, (21, 10)), SpecialHours(MONDAY, close=time(23)), "close was at"),
        (at(MONDAY, (21, 10)), TYPHOON, "has closed at 2024-03-04T21:00:00+00:00; end_session()"),
        (at(TUESDAY, (16, 0)), Closure(MONDAY), "the application is past it: its session is 2024-03-05, ACTIVE"),
        (at(SATURDAY, (9, 0)), SpecialHours(SATURDAY, open=time(10), close=time(12)), "its session is 2024-03-11"),
    ],
)
async def test_what_contradicts_the_past_or_the_schedule_is_refused_and_changes_nothing(start, override, why):
    manager, _ = make(start)
    async with running(manager) as log:
        before = (manager.schedule, manager.session, manager.state, manager.next_boundary)
        with pytest.raises(OverrideRefused) as caught:
            await manager.apply(override)
        assert why in str(caught.value)
        assert str(caught.value).endswith("Nothing was changed")
        assert caught.value.date == override.date
        assert (manager.schedule, manager.session, manager.state, manager.next_boundary) == before
    assert of(ScheduleChanged, log) == []


async def test_a_break_that_is_over_is_refused_another_end():
    manager, _ = make(at(MONDAY, (18, 0)), schedule=LUNCH)
    async with running(manager):
        with pytest.raises(OverrideRefused, match="break end was at"):
            await manager.apply(SpecialHours(MONDAY, breaks=((time(16), time(19)),)))


async def test_what_the_machine_has_passed_is_past_though_the_clock_was_set_back():
    manager, clock = make(at(MONDAY, (21, 10)))
    async with running(manager):
        clock.step(-HOUR)
        await clock.advance(NOW)
        assert manager.state is POST_MARKET
        with pytest.raises(OverrideRefused, match="close was at"):
            await manager.apply(SpecialHours(MONDAY, close=time(20, 30)))


async def test_a_close_that_the_machine_has_passed_is_not_undone_by_the_next_open():
    """Halts have lapsed with it. Were the next session to open at that close, a restart would find them in force."""
    journal = MemoryJournal()
    manager, clock = make(NOON, journal=journal)
    async with running(manager):
        manager.halt("news")
        await clock.advance_to(at(MONDAY, (21, 10)))
        clock.step(-HOUR)
        await clock.advance(NOW)
        assert (manager.state, manager.halted) == (POST_MARKET, None)
        with pytest.raises(OverrideRefused, match="open would be at 2024-03-04T21:00:00"):
            await manager.apply(SpecialHours(TUESDAY, open=at(MONDAY, (21, 0))))
        await clock.advance(HOUR)
    manager, _ = make(clock.now(), journal=journal)
    async with running(manager):
        assert (manager.state, manager.halted) == (POST_MARKET, None)


async def test_a_session_cannot_be_put_before_one_that_is_being_rolled_to():
    manager, clock, _ = make_rolling(at(FRIDAY, (21, 15)), HOUR, roll_timeout=2 * HOUR)
    async with running(manager):
        await clock.advance(HOUR)
        with pytest.raises(OverrideRefused, match="the roll from 2024-03-08 past it is under way"):
            await manager.apply(SpecialHours(SATURDAY, open=time(10), close=time(12)))
        await clock.advance(HOUR)


async def test_an_ended_session_is_not_changed():
    manager, _, _ = make_rolling(NOON, auto_roll=False)
    async with running(manager):
        await manager.apply(TYPHOON)
        for override in (TYPHOON, SpecialHours(MONDAY, open=time(19), close=time(20))):
            with pytest.raises(OverrideRefused, match="the application is past it: its session is 2024-03-04, ENDED"):
                await manager.apply(override)


async def test_a_day_beyond_all_knowledge_is_refused():
    manager, _ = make(NOON, schedule=weekdays(n=5))
    async with running(manager):
        with pytest.raises(OverrideRefused, match="no session"):
            await manager.apply(Closure(date(2030, 1, 1)))
        await manager.apply(SpecialHours(date(2030, 1, 1), open=time(10), close=time(12)))
        assert manager.schedule.session_on(date(2030, 1, 1)).open == at(date(2030, 1, 1), (10, 0))


class Rigid(Schedule):
    """A schedule of one's own that cannot be had with other hours."""

    def __init__(self, inner: FixedSchedule) -> None:
        self.inner = inner

    name = property(lambda self: self.inner.name)
    timezone = property(lambda self: self.inner.timezone)

    def session_at(self, t: datetime) -> Session:
        return self.inner.session_at(t)

    def session_on(self, day: date) -> Session:
        return self.inner.session_on(day)

    def next_session(self, day: date) -> Session:
        return self.inner.next_session(day)

    def previous_session(self, day: date) -> Session:
        return self.inner.previous_session(day)

    def sessions(self, first: date, last: date) -> tuple[Session, ...]:
        return self.inner.sessions(first, last)


async def test_a_schedule_that_cannot_be_changed_says_so():
    manager, _ = make(NOON, schedule=Rigid(season()))
    async with running(manager):
        with pytest.raises(OverrideRefused, match="fixed has no with_session"):
            await manager.apply(TYPHOON)
        assert manager.state is ACTIVE


async def test_misuse():
    manager, _ = make(NOON)
    with pytest.raises(NotRunningError):
        await manager.apply(TYPHOON)
    async with running(manager):
        with pytest.raises(TypeError, match="apply\\(\\) takes a Closure or SpecialHours"):
            await manager.apply("typhoon")
    with pytest.raises(ManagerStopped):
        await manager.apply(TYPHOON)


async def test_closing_all_that_is_known_is_refused():
    manager, _ = make(NOON, schedule=FixedSchedule([session()]))
    async with running(manager):
        await manager.apply(TYPHOON)  # it has been a session until now
        assert manager.state is ENDED or manager.state is ERROR  # there is nothing to roll to
    manager, _ = make(at(MONDAY, (2, 0)), schedule=FixedSchedule([session()]))
    async with running(manager):
        with pytest.raises((OverrideRefused, ScheduleExhausted)):
            await manager.apply(TYPHOON)
        assert manager.state is NOT_STARTED


# ---- journals and restarts ----


async def test_a_closure_is_journalled_as_the_end_of_the_session():
    """Killed before its roll, the next run does not open the day again, though nobody tells it of the closure."""
    journal = MemoryJournal()
    manager, _, rolls = begin_with(journal, at(MONDAY, (10, 0)), OSError("broker down"), OSError("broker down"))
    async with running(manager):
        await manager.apply(TYPHOON)
    assert rolls.done == []
    assert [record.note for record in journal.records if record.entry is Entry.ENDED] == ["closed: typhoon"]
    manager, clock, rolls = begin_with(journal, at(MONDAY, (15, 0)))
    async with running(manager) as log:
        await clock.advance(NOW)
        assert ACTIVE not in states(log)
        assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)
    assert rolls.done == [TUESDAY]


async def test_a_closure_given_on_the_restart_is_honoured():
    """The journal's session is closed by the schedule that the next run has: it is not opened."""
    journal = MemoryJournal()
    manager, _, _ = begin_with(journal, at(MONDAY, (2, 0)))
    async with running(manager):
        pass
    clock = SimulatedClock(at(MONDAY, (3, 0)))
    closed = season().with_session(MONDAY, None)
    manager = SessionBoundaryManager(closed, roll_nothing, config=DEAF, clock=clock, journal=journal)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (15, 0)))
        assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)
    assert all(event.catch_up for event in changes(log) if event.session == MONDAY)


@pytest.mark.parametrize("override", [TYPHOON, SpecialHours(MONDAY, close=time(18))], ids=["closure", "hours"])
async def test_a_change_that_cannot_be_journalled_changes_nothing(override):
    journal = Refusing()
    manager, clock, _ = begin_with(journal, NOON)
    async with running(manager) as log:
        journal.refused = set(Entry)
        with pytest.raises(JournalWriteFailed):
            await manager.apply(override)
        await clock.advance(NOW)
        assert (manager.state, manager.session, manager.schedule.session_on(MONDAY)) == (ACTIVE, session(), session())
        assert of(ScheduleChanged, log) == []
        journal.refused.clear()
        await manager.apply(SpecialHours(MONDAY, close=time(18)))
        assert manager.session.close == at(MONDAY, (18, 0))
    assert len(of(ScheduleChanged, log)) == 1


def begin_with(
    journal: MemoryJournal, start: datetime, *script: BaseException
) -> tuple[SessionBoundaryManager, SimulatedClock, Rolls]:
    clock = SimulatedClock(start)
    rolls = Rolls(clock, *script)
    manager = SessionBoundaryManager(season(), rolls, config=DEAF, clock=clock, journal=journal)
    return manager, clock, rolls
