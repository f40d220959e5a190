"""Five years on end: a schedule extends itself where the library can know more, and else the end is an ERROR."""

from datetime import UTC, datetime, timedelta

import pytest

from session_lifecycle import Event, ExchangeSchedule, HorizonNear, LifecycleConfig, SessionState, StateChanged
from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._core.timeline import Timeline
from session_lifecycle._model.clock import Reading
from tests.labs.simulation.hours import NAMES

START = datetime(2026, 6, 1, tzinfo=UTC)
END = datetime(2031, 6, 1, tzinfo=UTC)
CONFIG = LifecycleConfig(data_timeout=None)


def five_years(name: str) -> list[Event]:
    """Run a lifecycle for five years, its rolls succeeding at once, and hold it against the schedule at every stop."""
    schedule = ExchangeSchedule(name, near=START)
    core = SessionLifecycle(schedule, config=CONFIG)
    timeline = Timeline(schedule, CONFIG)
    wall, log = START, list[Event]()
    core.begin(Reading(wall, timedelta(0)))
    while wall < END and core.state is not SessionState.ERROR:
        now = Reading(wall, wall - START)
        core.poll(now)
        while (turn := core.due_roll(now)) is not None:
            core.begin_roll(turn, now, journalled=False).apply(now)
            core.roll_succeeded(turn, now).apply(now)
        log += core.take_events()
        if core.state is not SessionState.ERROR:
            assert core.state is timeline.at(wall).state
        due, _ = core.deadlines
        assert due is not None or core.state is SessionState.ERROR
        wall = END if due is None else due
    return log


def hold(name: str) -> None:
    log = five_years(name)
    schedule = ExchangeSchedule(name, near=START)
    vouched = schedule.vouched_until
    every = [event for event in log if isinstance(event, HorizonNear)]
    by_rule = [event.session for event in every if event.vouched_until is not None]
    if vouched is not None and vouched < min(schedule.known_until, END.date()):
        entered = [event.session for event in log if isinstance(event, StateChanged) and event.trigger == "roll"]
        assert by_rule == [day for day in entered if day is not None and day > vouched], name
        assert {event.vouched_until for event in every if event.session in by_rule} == {vouched}
    else:
        assert by_rule == []
    told = [event for event in every if event.known_until - event.observed_at.date() <= timedelta(days=30)]
    errors = [event for event in log if isinstance(event, StateChanged) and event.dest is SessionState.ERROR]
    if schedule.known_until >= END.date() + timedelta(days=30):
        assert (told, errors) == ([], []), name
        return
    last = schedule.previous_session(schedule.known_until + timedelta(days=1)).date
    [error] = errors
    assert error.session == last
    assert str(last) in (error.reason or "")
    assert "does not mean that the market is closed" in (error.reason or "")
    assert {event.known_until for event in told} == {last}
    days = [event.observed_at.date() for event in told]
    assert len(set(days)) == len(days) >= 15
    assert error.observed_at - told[0].observed_at > timedelta(days=28)


@pytest.mark.parametrize("name", ["XNYS", "XSHG", "XIDX", "XTAI", "24/7"])
def test_fault_18_five_years_across_every_horizon(name):
    """Extended, or told for thirty days, once a day, and then in ERROR with the date; never in a wrong state."""
    hold(name)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_fault_18_five_years_of_every_calendar():
    """The same for all 71."""
    for name in NAMES:
        hold(name)
