"""The alarm scheduler against its rules in words, what it costs, and schedules that fail."""

from collections import Counter
from datetime import date, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import event, given, settings

from session_lifecycle import (
    Alarm,
    AlarmFired,
    AlarmSkipped,
    Event,
    FixedSchedule,
    LifecycleConfig,
    Misfire,
    MissedSessions,
    Resolution,
    RollSucceeded,
    ScheduleExhausted,
    Session,
    StateChanged,
)
from session_lifecycle._core.alarms import AlarmScheduler
from session_lifecycle._core.timeline import Timeline
from session_lifecycle._model.alarm import ANCHORS, FURTHEST
from session_lifecycle._model.clock import Reading
from tests.helpers.alarm_scheduler import LATEST, RUN_ONCE, SKIP, ZERO, Counting, Life
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at, weekdays
from tests.helpers.harness import (
    ACTIVE,
    DEAF,
    ERROR,
    FRIDAY,
    HOUR,
    MINUTE,
    POST_MARKET,
    PRE_MARKET,
    SECOND,
    THURSDAY,
    TUESDAY,
    WEDNESDAY,
    of,
)
from tests.helpers.strategies import Hours, durations, hours, instants

# ---- what it costs, and schedules that fail ----


def test_an_alarm_that_never_goes_off_costs_little() -> None:
    """Looking for a break in sessions without breaks asks for some days ahead, not for the whole schedule."""
    known = weekdays(n=1000).sessions(MONDAY, date(2030, 1, 1))
    counts: list[int] = []
    for alarms in ([], [Alarm("break_start"), Alarm("break_end", -FURTHEST)]):
        schedule = Counting(known)
        life = Life(schedule, at(MONDAY, (15, 0)), alarms)
        begun = schedule.asked
        life.run_to(at(MONDAY, (15, 0)) + 28 * DAY)
        assert life.alarms == []
        counts += [begun, schedule.asked - begun]
    assert counts[2] - counts[0] < 80
    assert counts[3] - counts[1] < 20 * 2 * 8  # twenty rolls, two alarms, a session and its neighbours for each


def test_looking_costs_the_schedule_nothing() -> None:
    """Between two alarms, any number of looks asks the schedule nothing."""
    schedule = Counting(weekdays(n=100).sessions(MONDAY, date(2025, 1, 1)))
    life = Life(schedule, at(MONDAY, (15, 0)), [Alarm("close", -MINUTE), Alarm("break_start"), Alarm("open", -DAY)])
    asked = schedule.asked
    for minute in range(300):
        life.sleep_to(at(MONDAY, (15, 0)) + minute * MINUTE)
    assert schedule.asked == asked


def test_the_last_session_has_its_alarms() -> None:
    """Where the schedule's knowledge ends, alarms of the last session go off all the same, those after its end too."""
    schedule = Counting(weekdays(n=2).sessions(MONDAY, TUESDAY))
    life = Life(schedule, at(MONDAY, (15, 0)), [Alarm("close", -MINUTE), Alarm("end"), Alarm("close", 30 * HOUR)])
    life.run_to(at(FRIDAY, (0, 0)))
    assert life.core.state is ERROR
    told = [(each.session, each.scheduled_at) for each in of(AlarmFired, life.log)][-4:]
    assert told == [
        (TUESDAY, at(TUESDAY, (20, 59))),
        (TUESDAY, at(TUESDAY, (21, 30))),
        (MONDAY, at(WEDNESDAY, (3, 0))),
        (TUESDAY, at(THURSDAY, (3, 0))),
    ]
    asked = schedule.asked
    for hour in range(24):
        life.sleep_to(at(FRIDAY, (0, 0)) + hour * HOUR)
    assert schedule.asked - asked <= 24 * 8
    assert life.skipped == []


def test_an_alarm_before_all_knowledge_is_missed() -> None:
    """Due before anything that the schedule knows, an alarm belongs to no state that could still hold."""

    class Unknowing(FixedSchedule):
        def session_at(self, t: datetime) -> Session:
            if t < at(MONDAY, (0, 0)):
                raise ScheduleExhausted(self.name, t, MONDAY, FRIDAY)
            return super().session_at(t)

    alarms = [Alarm("open", -2 * DAY), Alarm("open", -2 * DAY, RUN_ONCE)]
    life = Life(Unknowing(weekdays().sessions(MONDAY, FRIDAY)), at(MONDAY, (10, 0)), alarms)
    assert life.core.state is PRE_MARKET
    assert [(type(each), each.alarm) for each in life.alarms][:2] == [
        (AlarmSkipped, alarms[0]),
        (AlarmFired, alarms[1]),
    ]


@pytest.mark.parametrize("offset", [-2 * HOUR, 26 * HOUR, timedelta(days=-6)])
def test_a_schedule_that_raises_leads_to_error_and_loses_nothing(offset: timedelta) -> None:
    """Where looking ahead raises, that is an ERROR without a spin; once the schedule is well, all is made up for."""
    schedule = Counting(weekdays(n=20).sessions(MONDAY, date(2025, 1, 1)))
    life = Life(schedule, at(MONDAY, (15, 0)), [Alarm("close", offset, RUN_ONCE)])
    before = len(life.alarms)
    schedule.broken = True
    life.run_to(at(TUESDAY, (18, 0)))
    assert life.core.state is ERROR
    assert "no calendar" in (life.core.reason or "")
    assert life.looks < 30
    schedule.broken = False
    life.core.recover(Resolution.RETRY, life.now).apply(life.now)
    life.run_to(at(FRIDAY, (22, 0)))
    well = Life(weekdays(n=20), at(MONDAY, (15, 0)), [Alarm("close", offset, RUN_ONCE)])
    assert len(well.alarms) == before
    well.run_to(at(FRIDAY, (22, 0)))
    assert life.fired == well.fired


def test_registering_on_a_schedule_that_raises() -> None:
    """An alarm registered while the schedule fails is no error of the caller's: the machine goes to ERROR, and back."""
    schedule = Counting(weekdays(n=20).sessions(MONDAY, date(2025, 1, 1)))
    life = Life(schedule, at(MONDAY, (22, 0)), [])
    schedule.broken = True
    life.add(Alarm("close", 2 * HOUR))
    assert life.core.state is ERROR
    schedule.broken = False
    life.core.recover(Resolution.RETRY, life.now).apply(life.now)
    life.run_to(at(TUESDAY, (23, 0)))
    assert [day for day, _ in life.fired] == [MONDAY, TUESDAY]


def test_the_name_is_on_every_alarm() -> None:
    """A lifecycle's name is put on what it tells of its alarms."""
    timeline = Timeline(weekdays(), DEAF)
    monday = weekdays().session_on(MONDAY)
    agenda = AlarmScheduler(timeline, LATEST, "XFIX")
    early, late = Alarm("open"), Alarm("pre_market_start")
    for alarm in (early, late):
        agenda.add(alarm, at(MONDAY, (0, 0)))
    now = Reading(at(MONDAY, (14, 30)), ZERO)
    position = timeline.at(now.wall)
    agenda.begin(monday, timeline.boundaries(monday), position, now.wall, held=(), leading=True)
    told: list[Any] = []
    while agenda.due(now.wall, position) is not None:
        told.append(agenda.fire(ACTIVE, now))
    assert [(type(each), each.name) for each in told] == [(AlarmSkipped, "XFIX"), (AlarmFired, "XFIX")]
    assert agenda.next_instant(now.wall) == at(TUESDAY, (9, 0))


def test_an_agenda_without_alarms_has_nothing_to_say() -> None:
    """Nothing is due, and nothing is next."""
    timeline = Timeline(weekdays(), DEAF)
    agenda = AlarmScheduler(timeline, LATEST, None)
    noon = at(MONDAY, (12, 0))
    assert agenda.next_instant(noon) is None
    assert agenda.due(noon, timeline.at(noon)) is None


# ---- against the rules in words ----


offsets = st.sampled_from([ZERO, MICROSECOND, HOUR, 2 * HOUR, 5 * HOUR, DAY, 4 * DAY, FURTHEST]).flatmap(
    lambda offset: st.sampled_from([offset, -offset])
) | st.timedeltas(-FURTHEST, FURTHEST)
alarms_of_any_kind = st.builds(
    Alarm, st.sampled_from(ANCHORS), offsets, st.sampled_from(Misfire), st.sampled_from([ZERO, SECOND, HOUR, 2 * DAY])
)
moves = st.tuples(
    st.sampled_from(["run", "run", "sleep", "suspend", "back", "fail", "recover", "end", "add", "hold"]), durations
)


class Ledger:
    """What may and what must be told, by the rules in words, without any of the product's bookkeeping."""

    def __init__(self, those: Hours, life: Life, start: datetime, first: date, missed: MissedSessions) -> None:
        self.those, self.life, self.missed = those, life, missed
        self.timeline = Timeline(those.schedule, those.config)
        self.first = first
        self.may: dict[Alarm, dict[tuple[date, datetime], None]] = {}
        self.cut: dict[date, tuple[datetime, int]] = {}

    def register(self, alarm: Alarm, now: datetime, session: date, *, running: bool) -> None:
        if alarm in self.may:
            return
        owner = self.timeline.at(now).session.date
        mine: dict[tuple[date, datetime], None] = {}
        for i, each in enumerate(self.those.sessions):
            end = self.those.end(i)
            for due in self._instants(alarm, i):
                if each.date >= session:
                    allowed = due > now if running else True
                else:
                    allowed = each.date <= owner and (due > now or (due == now and not running))
                    allowed = allowed and (end <= now or due > end)
                if allowed:
                    mine[each.date, due] = None
        self.may[alarm] = mine

    def _instants(self, alarm: Alarm, i: int) -> list[datetime]:
        each, (start, opens, closes, end) = self.those.sessions[i], self.those.edges(i)
        anchors = {
            "pre_market_start": [start],
            "open": [opens],
            "close": [closes],
            "end": [end],
            "break_start": [a for a, _ in each.breaks],
            "break_end": [b for _, b in each.breaks],
        }
        return [anchor + alarm.offset for anchor in anchors[alarm.anchor]]

    def check(self) -> None:
        """Hold all that has been told to the rules."""
        told = Counter((each.alarm, each.session, each.scheduled_at) for each in self.life.alarms)
        assert not told or max(told.values()) == 1
        for n, each in enumerate(self.life.alarms):
            assert (each.session, each.scheduled_at) in self.may[each.alarm]
            lateness = each.observed_at - each.scheduled_at
            assert lateness >= ZERO
            until = self.timeline.at(each.scheduled_at).until
            holds = until is None or each.observed_at < until
            missed = lateness > each.alarm.grace
            cut_at, told_before = self.cut.get(each.session, (each.observed_at, 0))
            void = told_before <= n and cut_at < each.scheduled_at <= self._end(each.session)
            if isinstance(each, AlarmFired):
                assert each.catch_up is missed
                assert not void
                assert holds or not missed or each.alarm.misfire is RUN_ONCE
            else:
                assert void or (missed and not holds and each.alarm.misfire is SKIP)
                assert ("ended manually" in each.reason) is void

    def check_all_told(self) -> None:
        """Hold everything that is due, and waits for no roll, to have been told."""
        core = self.life.core
        told = {(each.alarm, each.session, each.scheduled_at) for each in self.life.alarms}
        skipped = {day for each in of(RollSucceeded, self.life.log) for day in each.skipped}
        owner = self.timeline.at(self.life.wall).session.date
        for alarm, mine in self.may.items():
            for day, due in mine:
                waits = self.timeline.at(due).session.date > core.session.date
                open_question = self.missed is LATEST and core.session.date < day < owner
                if due <= self.life.wall and not waits and not open_question and day not in skipped:
                    assert (alarm, day, due) in told

    def _end(self, day: date) -> datetime:
        return next(self.those.end(i) for i, each in enumerate(self.those.sessions) if each.date == day)


def hold_order(fresh: list[Event]) -> None:
    """Hold what one look has told to be in the order of time, edges first at the same instant.

    Where sessions were skipped, alarms of the session that was rolled to may have waited for that to be known.
    """
    keys: list[tuple[datetime, bool]] = []
    jumped = False
    for each in fresh:
        jumped = jumped or (isinstance(each, RollSucceeded) and bool(each.skipped))
        if isinstance(each, StateChanged) and each.trigger != "fail":
            keys.append((each.scheduled_at, False))
        elif isinstance(each, AlarmFired | AlarmSkipped) and not (jumped and (each.scheduled_at, True) < keys[-1]):
            keys.append((each.scheduled_at, True))
    assert keys == sorted(keys)


@settings(max_examples=300, deadline=None)
@given(hours(), st.sampled_from(MissedSessions), st.data())
def test_whatever_happens_alarms_keep_their_promises(those: Hours, missed: MissedSessions, data: st.DataObject) -> None:
    """At most once, never early, on time at every deadline, and everything due is fired or skipped, by the rules.

    Under random schedules, alarms, looks, sleeps, suspends, steps back, failures, hands and rolls that take their time.
    """
    start = data.draw(instants(those).filter(lambda t: t < those.end(len(those.sessions) - 1)))
    alarms = data.draw(st.lists(alarms_of_any_kind, max_size=4))
    first = data.draw(st.none() | st.sampled_from([each.date for each in those.sessions]))
    config = LifecycleConfig(
        data_timeout=None,
        pre_market=those.pre_market,
        post_market_roll_delay=those.post_market_roll_delay,
        missed_sessions=missed,
    )
    life = Life(those.schedule, start, alarms, config=config, session=first)
    began_in = Timeline(those.schedule, config).at(start).session.date if first is None else first
    ledger = Ledger(those, life, start, began_in, missed)
    for alarm in alarms:
        ledger.register(alarm, start, began_in, running=False)
    hold_order(life.log)
    ledger.check()
    ledger.check_all_told()
    for move, by in data.draw(st.lists(moves, max_size=12)):
        behind = life.holds or life.core.state is ERROR
        if move == "run":
            known, seen = len(life.alarms), life.wall
            life.run_to(life.wall + by)
            if not behind:
                assert all(each.observed_at == max(each.scheduled_at, seen) for each in life.alarms[known:])
        elif move in ("sleep", "suspend"):
            life.sleep_to(life.wall + by, suspended=move == "suspend")
            if not behind and life.core.state is not ERROR:
                hold_order(life.fresh)
        elif move == "back":
            life.wall -= by
            life.look()
        elif move == "fail":
            life.core.fail("by hand", life.now)
            life.look()
        elif move == "recover" and life.core.state is ERROR:
            life.core.recover(Resolution.RETRY, life.now).apply(life.now)
            life.look()
        elif move == "end" and life.core.state in (ACTIVE, POST_MARKET):
            day = life.core.session.date
            decision = life.core.end_session("by hand", life.now)
            if life.core.state in (ACTIVE, POST_MARKET) and life.core.session.date == day:
                life.take()
                ledger.cut[day] = life.wall, len(life.alarms)
                decision.apply(life.now)
            life.look()
        elif move == "add":
            alarm = data.draw(alarms_of_any_kind)
            session_then = life.core.session.date
            ledger.register(alarm, life.wall, session_then, running=True)
            life.add(alarm)
        elif move == "hold":
            life.holds = not life.holds
            life.look()
        ledger.check()
        ledger.check_all_told()
    event(f"{min(len(of(AlarmFired, life.log)), 3)} fired, {min(len(of(AlarmSkipped, life.log)), 3)} skipped")
    event(life.core.state.name)
