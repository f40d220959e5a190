"""Alarms along real calendars, and along `replay`, which must be what a manager in simulated time tells.

By default the core runs over three years of some calendars with a look at every deadline, and managers over some weeks;
`-m long` runs the core over all calendars. One year of each is in test_calendars.py.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import exchange_calendars
import hypothesis.strategies as st
import pytest
from hypothesis import given

from session_lifecycle import (
    Alarm,
    AlarmFired,
    Event,
    FixedSchedule,
    LifecycleConfig,
    Misfire,
    MissedSessions,
    ScheduleExhausted,
    Session,
    SessionBoundaryManager,
    StateChanged,
    replay,
)
from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._core.timeline import Timeline
from session_lifecycle._model.alarm import ANCHORS, FURTHEST
from session_lifecycle._model.clock import Reading
from session_lifecycle._schedules.exchange import ExchangeSchedule
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import (
    DAY,
    MICROSECOND,
    MONDAY,
    at,
    session,
    utc,
    week,
    weekdays,
)
from tests.helpers.harness import (
    ACTIVE,
    DEAF,
    ENDED,
    FRIDAY,
    HOUR,
    MINUTE,
    NOT_STARTED,
    POST_MARKET,
    THURSDAY,
    TUESDAY,
    WEDNESDAY,
    of,
    roll_nothing,
)
from tests.helpers.strategies import Hours, hours, instants

NAMES = exchange_calendars.get_calendar_names(include_aliases=False)
PICKED = ("XNYS", "XHKG", "CMES", "24/7")
FIRST, LAST = date(2024, 1, 1), date(2026, 12, 31)
QUARTER = timedelta(minutes=15)
BEFORE_CLOSE = Alarm("close", -QUARTER)
ZERO = timedelta(0)

Told = StateChanged | AlarmFired


def years_of(name: str) -> tuple[FixedSchedule, tuple[Session, ...]]:
    """Return a calendar from December 2023 to January 2027, as a fixed schedule, and its sessions of 2024 to 2026."""
    schedule = ExchangeSchedule(name, near=utc(2023, 12, 15))
    known = schedule.sessions(date(2023, 12, 1), min(schedule.known_until, date(2027, 1, 31)))
    return FixedSchedule(known, name=name), tuple(each for each in known if FIRST <= each.date <= LAST)


def hold_before_close(rings: Sequence[AlarmFired], sessions: Sequence[Session]) -> None:
    """Hold alarms to be one for each session, a quarter of an hour before its close, in ACTIVE, and no others."""
    assert [(each.session, each.scheduled_at) for each in rings] == [
        (each.date, each.close - QUARTER) for each in sessions
    ]
    assert all(each.state is ACTIVE and not each.catch_up and each.lateness == ZERO for each in rings)


# ---- whole calendars ----


def run_through(schedule: FixedSchedule, sessions: Sequence[Session]) -> tuple[list[Event], int]:
    """Run the core over a calendar with a look at every deadline; return its events, and the number of looks."""
    core = SessionLifecycle(schedule, config=DEAF)
    for alarm in (BEFORE_CLOSE, Alarm("break_start"), Alarm("open", -HOUR), Alarm("end", 3 * DAY)):
        core.add_alarm(alarm, Reading(sessions[0].open, ZERO))
    start = now = sessions[0].open - 8 * DAY
    looks, log = 0, list[Event]()
    core.begin(Reading(start, ZERO))
    end = sessions[-1].close
    while True:
        reading = Reading(now, now - start)
        core.poll(reading)
        looks += 1
        while (turn := core.due_roll(reading)) is not None:
            core.begin_roll(turn, reading, journalled=False).apply(reading)
            core.roll_succeeded(turn, reading).apply(reading)
        log += core.take_events()
        deadline, _ = core.deadlines
        assert deadline is not None
        assert deadline > now
        if deadline >= end:
            return log, looks
        now = deadline


def hold_through(name: str) -> None:
    """Hold a run of three years to have every alarm, once, on time, and to be what `replay` says."""
    schedule, sessions = years_of(name)
    log, looks = run_through(schedule, sessions)
    assert len(sessions) > 700
    rings = [each for each in of(AlarmFired, log) if not each.catch_up]
    mine = {sessions[0].date + n * DAY for n in range((LAST - sessions[0].date).days + 1)}
    hold_before_close([each for each in rings if each.alarm == BEFORE_CLOSE and each.session in mine], sessions)
    pauses = [each for each in rings if each.alarm.anchor == "break_start" and each.session in mine]
    assert [(each.session, each.scheduled_at) for each in pauses] == [
        (each.date, start) for each in sessions for start, _ in each.breaks
    ]
    start = sessions[0].open - 8 * DAY
    alarms = (BEFORE_CLOSE, Alarm("break_start"), Alarm("open", -HOUR), Alarm("end", 3 * DAY))
    told = [
        each for each in log if isinstance(each, StateChanged) or (isinstance(each, AlarmFired) and not each.catch_up)
    ]
    assert told == list(replay(schedule, start, sessions[-1].close, alarms=alarms, config=DEAF))
    assert looks <= len(told) + 5


@pytest.mark.parametrize("name", PICKED)
def test_the_core_over_three_years(name: str) -> None:
    """With a look at every deadline and no others, three years tell every alarm on time, and what `replay` tells."""
    hold_through(name)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_core_over_three_years_of_every_calendar() -> None:
    """What holds for the picked calendars holds for all 71; about a minute on an idle core."""
    for name in NAMES:
        hold_through(name)


# ---- managers in simulated time ----

STRETCHES = [
    ("XNYS", utc(2024, 11, 20, 12), utc(2024, 12, 10)),  # the half day after Thanksgiving
    ("XNYS", utc(2024, 3, 1), utc(2024, 3, 20)),  # a change of clocks
    ("XHKG", utc(2024, 12, 18), utc(2025, 1, 10)),  # half days at Christmas and New Year, without the second half
    ("CMES", utc(2024, 11, 20), utc(2024, 12, 6)),  # early closes
    ("24/7", utc(2024, 12, 24, 18), utc(2025, 1, 8)),
]
MANY = [
    BEFORE_CLOSE,
    Alarm("pre_market_start", -HOUR),
    Alarm("pre_market_start"),
    Alarm("open", -HOUR),
    Alarm("open", -30 * HOUR),
    Alarm("break_start", -QUARTER),
    Alarm("break_end"),
    Alarm("close"),
    Alarm("close", 30 * HOUR),
    Alarm("end"),
    Alarm("end", MICROSECOND),
    Alarm("end", FURTHEST),
    Alarm("open", -FURTHEST),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("name", "start", "end"), STRETCHES)
async def test_replay_is_what_a_manager_tells(name, start, end):
    """Over some weeks with half days and changes of clocks, every edge and alarm is the same, in the same order."""
    schedule = ExchangeSchedule(name, near=start)
    clock = SimulatedClock(start)
    manager = SessionBoundaryManager(schedule, roll_nothing, clock=clock, config=DEAF)
    events = manager.events()
    for alarm in MANY:
        manager.alarms(alarm.anchor, alarm.offset)
    async with manager:
        await clock.advance_to(end)
    told = [
        event
        async for event in events
        if isinstance(event, StateChanged) or (isinstance(event, AlarmFired) and event.scheduled_at >= start)
    ]
    assert told == list(replay(schedule, start, end + MICROSECOND, config=DEAF, alarms=MANY))
    assert {each.alarm for each in told if isinstance(each, AlarmFired)} >= {
        alarm for alarm in MANY if not alarm.anchor.startswith("break") or name == "XHKG"
    }


@pytest.mark.anyio
async def test_a_half_day_moves_the_alarm():
    """On the day after Thanksgiving New York closes at 13:00, and the alarm comes at 12:45."""
    clock = SimulatedClock(utc(2024, 11, 27, 12))
    manager = SessionBoundaryManager("XNYS", roll_nothing, clock=clock, config=DEAF)
    found: list[tuple[datetime, Any]] = []

    @manager.at("close", -QUARTER)
    async def flatten(event: AlarmFired) -> None:
        found.append((clock.now(), event.session))

    async with manager:
        await clock.advance_to(utc(2024, 12, 3))
    assert found == [
        (utc(2024, 11, 27, 20, 45), date(2024, 11, 27)),
        (utc(2024, 11, 29, 17, 45), date(2024, 11, 29)),
        (utc(2024, 12, 2, 20, 45), date(2024, 12, 2)),
    ]


# ---- replay with alarms ----


def rings(told: Iterator[Told]) -> list[tuple[date, datetime]]:
    return [(each.session, each.scheduled_at) for each in told if isinstance(each, AlarmFired)]


def test_replay_of_alarms_is_half_open() -> None:
    """An alarm at the start belongs to the replay, and one at the end does not."""
    due = at(MONDAY, (20, 45))
    for start, end, found in (
        (due, due, 0),
        (due, due + MICROSECOND, 1),
        (due - HOUR, due, 0),
        (due - HOUR, due + MICROSECOND, 1),
        (due + MICROSECOND, due + HOUR, 0),
    ):
        assert rings(replay(week(), start, end, alarms=[BEFORE_CLOSE])) == [(MONDAY, due)] * found


def test_replay_tells_alarms_after_the_edges_of_their_instant() -> None:
    """Edges come first at a shared instant, alarms of one instant in the order given, each in the state reached."""
    alarms = [
        Alarm("close", 30 * MINUTE),
        Alarm("end"),
        Alarm("close"),
        Alarm("close", -MICROSECOND),
        Alarm("open", -DAY),
    ]
    told = list(replay(week(), at(MONDAY, (14, 30)), at(MONDAY, (22, 0)), alarms=alarms))
    names = [each.trigger if isinstance(each, StateChanged) else str(each.alarm) for each in told]
    assert names == [
        "start_pre_market",
        "open_market",
        "open - 1 day, 0:00:00",
        "close - 0:00:00.000001",
        "close_market",
        "close",
        "end_session",
        "roll",
        "close + 0:30:00",
        "end",
    ]
    assert [each.state for each in told if isinstance(each, AlarmFired)] == [
        ACTIVE,
        ACTIVE,
        POST_MARKET,
        NOT_STARTED,
        NOT_STARTED,
    ]
    assert all(each.observed_at == each.scheduled_at for each in told if isinstance(each, AlarmFired))


def test_replay_tells_an_alarm_once_however_often_it_is_given() -> None:
    """Equal alarms are one, as they are for a manager."""
    assert len(rings(replay(week(), utc(2024, 3, 4), utc(2024, 3, 5), alarms=[BEFORE_CLOSE, BEFORE_CLOSE]))) == 1


def test_replay_refuses_what_is_no_alarm() -> None:
    """`manager.at()` takes an anchor; here it is an `Alarm`, and the message says how to make one."""
    for wrong in ("close", None, Alarm):
        with pytest.raises(TypeError, match=r"alarms= takes Alarms, such as Alarm\('close'\), not"):
            replay(week(), utc(2024, 3, 4), utc(2024, 3, 5), alarms=[BEFORE_CLOSE, wrong])


def test_replay_without_alarms_tells_edges_only() -> None:
    """No alarms given are no alarms told, and misfire and grace make no difference to an alarm that is on time."""
    span = (utc(2024, 3, 4), utc(2024, 3, 8))
    assert list(replay(week(), *span, alarms=[])) == list(replay(week(), *span))
    odd = Alarm("close", -QUARTER, Misfire.RUN_ONCE, ZERO)
    assert rings(replay(week(), *span, alarms=[odd])) == rings(replay(week(), *span, alarms=[BEFORE_CLOSE]))


def test_replay_takes_the_alarms_of_sessions_before_and_after() -> None:
    """Alarms may belong to sessions that have ended before the start, or that begin after the end."""
    span = (at(WEDNESDAY, (12, 0)), at(WEDNESDAY, (13, 0)))
    alarms = [Alarm("close", timedelta(hours=39, minutes=30)), Alarm("open", timedelta(days=-2, minutes=-120))]
    assert rings(replay(week(), *span, alarms=alarms)) == [
        (MONDAY, at(WEDNESDAY, (12, 30))),
        (FRIDAY, at(WEDNESDAY, (12, 30))),
    ]


def test_replay_finds_a_session_that_closed_long_ago() -> None:
    """A session that closed weeks before, and has but now ended, has its alarms after that."""
    config = LifecycleConfig(post_market_roll_delay=20 * DAY)
    schedule = FixedSchedule([session(MONDAY), session(MONDAY + 30 * DAY), session(MONDAY + 90 * DAY)])
    end = at(MONDAY, (21, 0)) + 20 * DAY
    assert rings(replay(schedule, end + MINUTE, end + DAY, config=config, alarms=[Alarm("end", HOUR)])) == [
        (MONDAY, end + HOUR)
    ]


def test_replay_finds_a_pre_market_of_weeks() -> None:
    """A session that opens weeks after the end of the replay has the alarms that its long pre-market brings."""
    config = LifecycleConfig(pre_market=20 * DAY)
    schedule = FixedSchedule([session(MONDAY), session(MONDAY + 30 * DAY), session(MONDAY + 31 * DAY)])
    start = at(MONDAY + 10 * DAY, (14, 30))
    alarm = Alarm("pre_market_start", -HOUR)
    assert rings(replay(schedule, start - DAY, start, config=config, alarms=[alarm])) == [
        (MONDAY + 30 * DAY, start - HOUR)
    ]


def test_replay_where_knowledge_begins_a_few_days_ago() -> None:
    """A schedule that knows only some days before the start gives the alarms of those."""

    class Unknowing(FixedSchedule):
        def session_at(self, t: datetime) -> Session:
            if t < at(MONDAY, (0, 0)):
                raise ScheduleExhausted(self.name, t, MONDAY, FRIDAY)
            return super().session_at(t)

    schedule = Unknowing(week().sessions(MONDAY, FRIDAY))
    found = rings(replay(schedule, at(WEDNESDAY, (0, 0)), at(THURSDAY, (0, 0)), alarms=[Alarm("close", 40 * HOUR)]))
    assert found == [(MONDAY, at(WEDNESDAY, (13, 0)))]


def test_fault_18_replay_tells_the_last_alarms_before_knowledge_ends() -> None:
    """Where the knowledge ends, every alarm up to the last edge is told, that of the same instant too."""
    alarms = [Alarm("close", MINUTE), Alarm("end"), Alarm("end", MICROSECOND)]
    told: list[Told] = []
    with pytest.raises(ScheduleExhausted):
        told.extend(replay(week(), at(FRIDAY, (20, 0)), utc(2025, 1, 1), alarms=alarms))
    assert [each.trigger if isinstance(each, StateChanged) else str(each.alarm) for each in told[2:]] == [
        "close_market",
        "close + 0:01:00",
        "end_session",
        "end",
    ]
    assert isinstance(told[-1], AlarmFired)
    assert told[-1].state is ENDED


@pytest.mark.parametrize("policy", MissedSessions)
def test_replay_from_a_past_session_leaves_out_what_is_skipped(policy: MissedSessions) -> None:
    """From a session that is over, those that LATEST skips have no alarms either; under EACH they have."""
    start = at(THURSDAY, (12, 0))
    alarm = Alarm("close", timedelta(hours=75))
    found = rings(
        replay(
            weekdays(n=20),
            start,
            start + 5 * DAY,
            config=LifecycleConfig(missed_sessions=policy),
            session=MONDAY,
            alarms=[alarm],
        )
    )
    days = (
        [MONDAY, THURSDAY, FRIDAY]
        if policy is MissedSessions.LATEST
        else [MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY]
    )
    assert found == [(day, at(day, (21, 0)) + timedelta(hours=75)) for day in days][: len(found)]
    assert {day for day, _ in found} == {day for day in days if at(day, (0, 0)) + 4 * DAY < start + 5 * DAY}


def test_replay_with_alarms_is_lazy() -> None:
    """Alarms cost the schedule no more than the days that are read, even where a break never comes."""
    asked: list[date] = []

    class Counting(FixedSchedule):
        def next_session(self, day: date) -> Session:
            asked.append(day)
            return super().next_session(day)

    schedule = Counting(weekdays(n=500).sessions(MONDAY, date(2030, 1, 1)))
    told = replay(schedule, utc(2024, 3, 4), utc(2026, 1, 1), alarms=[Alarm("break_start"), Alarm("open", -DAY)])
    for _ in range(6):
        next(told)
    assert max(asked) <= FRIDAY


def test_replay_may_begin_at_the_beginning_of_time() -> None:
    """From the first instant that there is, alarms are told as from any other."""
    start = datetime.min.replace(tzinfo=UTC)
    found = rings(replay(week(), start, at(TUESDAY, (0, 0)), alarms=[Alarm("close", -FURTHEST), BEFORE_CLOSE]))
    assert found == [(day, at(day, (21, 0)) - FURTHEST) for day in (MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY)] + [
        (MONDAY, at(MONDAY, (20, 45)))
    ]


offsets = st.sampled_from([ZERO, MICROSECOND, HOUR, DAY, 4 * DAY, FURTHEST]).flatmap(
    lambda offset: st.sampled_from([offset, -offset])
) | st.timedeltas(-FURTHEST, FURTHEST)


@given(hours(), st.lists(st.builds(Alarm, st.sampled_from(ANCHORS), offsets), min_size=1, max_size=4), st.data())
def test_replay_of_alarms_is_what_brute_force_finds(those: Hours, alarms: list[Alarm], data: st.DataObject) -> None:
    """From any start to any end, alarms are those of every session written down; the edges are as without them."""
    last = those.end(len(those.sessions) - 1)
    start = data.draw(instants(those).filter(lambda t: t < last))
    end = min(last, max(start, data.draw(instants(those))))
    timeline = Timeline(those.schedule, those.config)
    told = list(replay(those.schedule, start, end, config=those.config, alarms=alarms))
    edges = [each for each in told if isinstance(each, StateChanged)]
    assert edges == list(replay(those.schedule, start, end, config=those.config))
    owner = timeline.at(start).session.date
    expected = sorted(
        (
            (due, n, alarm, each.date)
            for n, alarm in enumerate(dict.fromkeys(alarms))
            for i, each in enumerate(those.sessions)
            for due in alarm.instants(each, timeline.boundaries(each))
            if start <= due < end and (each.date >= owner or those.end(i) <= start)
        ),
        key=lambda ring: ring[:2],
    )
    assert [(each.scheduled_at, each.alarm, each.session) for each in told if isinstance(each, AlarmFired)] == [
        (due, alarm, day) for due, _, alarm, day in expected
    ]
    keys = [(each.observed_at, isinstance(each, AlarmFired)) for each in told]
    assert keys == sorted(keys)
    for each in told:
        if isinstance(each, AlarmFired):
            assert each.state is timeline.at(each.scheduled_at).state
