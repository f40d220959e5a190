"""The strategies of the kit: what they draw, that it shrinks to the ordinary, and what they refuse."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import find as find_with_database
from hypothesis import strategies as st

from session_lifecycle import (
    ConfigurationError,
    ExchangeSchedule,
    FixedSchedule,
    IllegalTransition,
    Resolution,
    Session,
    SessionBoundaryManager,
    SessionMachine,
    SessionState,
    SpecialHours,
)
from session_lifecycle._core.machine import TRANSITIONS
from session_lifecycle.testing import Script, assert_legal
from session_lifecycle.testing.strategies import (
    FAULTS,
    Firing,
    days,
    durations,
    fault_scripts,
    schedules,
    trigger_sequences,
)
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, utc
from tests.helpers.harness import HOUR, MINUTE, TUESDAY, roll_nothing, season

TRIGGERS = {str(edge["trigger"]) for edge in TRANSITIONS}
SEASON = season()


UNSHRUNK = settings(max_examples=1000, phases=[Phase.generate], database=None)
"""For what is only to be there: shrinking is what `find` spends its time on."""

# Without a database: its key is made of the condition's code, which is the same for every parameter of a test, so that
# what was found for another parameter would be taken for shrunk already. And what is found need not be explained, which
# takes as long as to shrink it.
find = partial(
    find_with_database, settings=settings(max_examples=2000, phases=[Phase.generate, Phase.shrink], database=None)
)


def sessions(schedule: FixedSchedule) -> tuple[Session, ...]:
    """Return all that a schedule has."""
    return schedule.sessions(date.min, date.max)


def ends_of(schedule: FixedSchedule) -> list[tuple[Session, Session]]:
    """Return each session with the next one."""
    return list(zip(sessions(schedule), sessions(schedule)[1:], strict=False))


def local(schedule: FixedSchedule, instant: Any) -> Any:
    return instant.astimezone(schedule.timezone)


# ---- hours ----


KINDS: dict[str, Callable[[FixedSchedule], bool]] = {
    "a half day": lambda s: s.name == "weekdays" and len({each.close - each.open for each in sessions(s)}) > 1,
    "a holiday": lambda s: s.name == "weekdays" and any(b.date - a.date == 2 * DAY for a, b in ends_of(s)),
    "two breaks": lambda s: s.name == "weekdays" and any(len(each.breaks) > 1 for each in sessions(s)),
    "an evening before": lambda s: any(local(s, each.open).date() < each.date for each in sessions(s)),
    "round the clock": lambda s: s.name == "round the clock" and all(a.close == b.open for a, b in ends_of(s)),
    "a change of clocks": lambda s: len({local(s, each.open).utcoffset() for each in sessions(s)}) > 1,
    "another time zone": lambda s: str(s.timezone) == "Asia/Hong_Kong",
    "a moment": lambda s: any(each.close - each.open == MICROSECOND for each in sessions(s)),
    "a gap of days": lambda s: s.name == "irregular" and any(b.open - a.close > 3 * DAY for a, b in ends_of(s)),
    "facts of the venue": lambda s: any(each.post_market_end and each.pre_market_start for each in sessions(s)),
    "facts that reach too far": lambda s: any(a.post_market_end and a.post_market_end > b.open for a, b in ends_of(s)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_schedules_are_of_every_kind(kind: str) -> None:
    """Each is found within the examples that a test has, and so a test with such hours is run."""
    assert KINDS[kind](find(schedules(), KINDS[kind], settings=UNSHRUNK))


def test_schedules_shrink_to_two_weekdays_in_utc() -> None:
    """The ordinary comes first."""
    found = find(schedules(), lambda _: True)
    hours = [Session(day, utc(2024, 3, day.day, 9, 30), utc(2024, 3, day.day, 16)) for day in (MONDAY, TUESDAY)]
    assert (found.name, str(found.timezone), sessions(found)) == ("plain weekdays", "UTC", tuple(hours))


@settings(max_examples=50)
@given(st.data(), st.integers(1, 3), st.integers(0, 3))
def test_schedules_have_as_many_sessions_as_is_said(data: st.DataObject, least: int, more: int) -> None:
    """Both bounds are inclusive."""
    drawn = data.draw(schedules(min_sessions=least, max_sessions=least + more))
    assert least <= len(sessions(drawn)) <= least + more


@pytest.mark.parametrize("bounds", [{"min_sessions": 0}, {"min_sessions": 3, "max_sessions": 2}])
def test_schedules_refuse_impossible_counts(bounds: dict[str, int]) -> None:
    """At once, not when they are drawn."""
    with pytest.raises(ConfigurationError, match="min_sessions"):
        schedules(**bounds)


def test_durations_are_none_a_moment_and_days() -> None:
    """They shrink to none."""
    assert find(durations(), lambda _: True) == timedelta(0)
    assert find(durations(), lambda d: d > timedelta(0)) == MICROSECOND
    assert find(durations(), lambda d: d > 3 * DAY) == 4 * DAY


def test_days_are_sessions_and_half_of_them_are_out_of_the_ordinary() -> None:
    """A half day is found within a few examples, and so is the morning after a change of clocks."""
    nyse = ExchangeSchedule("XNYS", near=utc(2024, 7, 1))
    few = settings(max_examples=60, phases=[Phase.generate], database=None)
    assert find(days(), lambda _: True) == date(2024, 1, 2)
    assert find(days(), lambda day: nyse.session_on(day).close - nyse.session_on(day).open < 4 * HOUR, settings=few)
    changed = find(days(), lambda day: day.isoformat() in {"2024-03-11", "2024-11-04"}, settings=few)
    assert changed.weekday() == 0


@settings(max_examples=30)
@given(days(SEASON, MONDAY, MONDAY + 3 * DAY))
def test_days_may_be_of_any_schedule_and_span(day: date) -> None:
    """Both ends are inclusive; a schedule without oddities has only ordinary days."""
    assert MONDAY <= day <= MONDAY + 3 * DAY


@pytest.mark.parametrize("day", [MONDAY, MONDAY + 3 * DAY])
def test_days_reach_both_ends(day: date) -> None:
    """The first and the last."""
    assert find(days(SEASON, MONDAY, MONDAY + 3 * DAY), lambda drawn: drawn == day)


# ---- faults ----


def faults(script: Script) -> list[str]:
    """Return the names of the calls that a script has beyond its data."""
    return [call.split("(")[0] for call in script._written.calls[2:] if not call.startswith("on(")]


@pytest.mark.parametrize("fault", [*FAULTS, "restart"])
def test_every_fault_is_drawn_and_shrinks_to_itself_alone(fault: str) -> None:
    """One line is left of the script that a property fails for."""
    found = find(
        fault_scripts(SEASON, day=MONDAY, faults=(*FAULTS, "restart"), max_faults=3), lambda s: fault in faults(s)
    )
    assert faults(found) == [fault]
    assert repr(found).startswith(
        f"Script({SEASON!r}, date(2024, 3, 4), strict=False).data_every(timedelta(minutes=1))."
    )


def test_fault_scripts_shrink_to_a_day_without_any() -> None:
    """By default of a schedule that is drawn too."""
    found = find(fault_scripts(), lambda _: True)
    assert repr(found).endswith(", date(2024, 3, 4), strict=False).data_every(timedelta(minutes=1))")
    assert found.schedule.name == "plain weekdays"


def test_fault_scripts_are_of_the_days_that_are_asked_for() -> None:
    """A date, a strategy for it, several sessions; of a calendar, its own days."""
    assert find(fault_scripts(SEASON, day=TUESDAY), lambda _: True).sessions[0].date == TUESDAY
    assert find(fault_scripts("XNYS", day=days()), lambda s: s.sessions[0].close.hour == 18, settings=UNSHRUNK)
    assert find(fault_scripts("XNYS"), lambda _: True).sessions[0].date == date(2024, 1, 2)
    two = find(fault_scripts(schedules(min_sessions=3), sessions=2), lambda s: ".on(" in repr(s), settings=UNSHRUNK)
    assert len(two.sessions) == 2


def test_the_times_of_fault_scripts_are_written_as_one_would() -> None:
    """The exchange's time of day, or the instant where that is another one."""
    assert find(fault_scripts("XNYS", faults=["fail"]), faults)._written.calls[2] == (
        "fail('09:30', 'the desk pulls the plug')"
    )
    long = FixedSchedule(
        [Session(MONDAY, utc(2024, 3, 4), utc(2024, 3, 6)), Session(TUESDAY, utc(2024, 3, 7), utc(2024, 3, 8))]
    )
    found = find(
        fault_scripts(long, day=MONDAY, faults=["fail"]),
        lambda script: any(act.at > utc(2024, 3, 5) for act in script._written.plan.acts),
    )
    assert found._written.calls[2].startswith("fail(datetime(2024, 3, ")


def test_fault_scripts_refuse_faults_that_are_none() -> None:
    """And to have none to draw from."""
    for wrong in (["rain"], []):
        with pytest.raises(ConfigurationError, match=r"faults = .* must be some of silence, roll_fails"):
            fault_scripts(faults=wrong)


def make(manager_class: type[SessionBoundaryManager]) -> SessionBoundaryManager:
    """Return a manager with an alarm and a feed, which alone is the application."""
    manager = manager_class("XNYS", roll_nothing)
    manager.at("close", -10 * MINUTE)(roll_nothing)  # any async function of one argument will do
    return manager


def hold(script: Script) -> None:
    """Play a script, hold what is told, and read the script back from what it prints."""
    result = anyio.run(script.run, make)
    for run in result.runs:
        assert_legal(run)
    known = {"Script": Script, "SpecialHours": SpecialHours, "Resolution": Resolution, "schedule": script.schedule}
    known |= {"date": date, "datetime": datetime, "time": time, "timedelta": timedelta, "UTC": UTC}
    assert eval(repr(script).replace(repr(script.schedule), "schedule"), known) == script


ANYTHING = fault_scripts(faults=(*FAULTS, "restart"), sessions=2, max_faults=6)


@settings(max_examples=12, deadline=None)
@given(ANYTHING)
def test_whatever_happens_what_is_told_is_legal(script: Script) -> None:
    """Of hours of any kind, through restarts too; and each script is written so that it can be read back."""
    hold(script)


ENDS_SOON = FixedSchedule(
    [
        Session(MONDAY, utc(2024, 3, 4), utc(2024, 3, 4, 1)),
        Session(TUESDAY, utc(2024, 3, 4, 1), utc(2024, 3, 4, 2)),
        Session(TUESDAY + DAY, utc(2024, 3, 4, 2), utc(2024, 3, 4, 2, 1)),
    ]
)


@settings(max_examples=50, deadline=None)
@given(fault_scripts(ENDS_SOON, faults=["restart", "step_clock", "slow_roll"], sessions=2))
def test_no_restart_is_drawn_beyond_the_end_of_the_schedule(script: Script) -> None:
    """Neither by its own time, nor because the clock is stepped or the application is down: nothing can start there."""
    hold(script)


@pytest.mark.long
@pytest.mark.timeout(1200)
@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(ANYTHING)
def test_whatever_happens_for_long_what_is_told_is_legal(script: Script) -> None:
    """As above, for as long as it takes to find what is rare."""
    hold(script)


# ---- triggers ----


def fire(machine: SessionMachine, firings: list[Firing]) -> list[SessionState]:
    """Fire them one after the other, and return the states."""
    return [machine.fire(trigger, roll_owed=owed) for trigger, owed in firings]


@given(trigger_sequences("legal"))
def test_legal_triggers_are_all_taken(firings: list[Firing]) -> None:
    """And a roll is owed where the session has ended, and not elsewhere."""
    owed, machine = False, SessionMachine()
    for firing in firings:
        assert firing.roll_owed is (owed and firing.trigger == "recover")
        [state] = fire(machine, [firing])
        owed = state is SessionState.ENDED or (owed and firing.trigger != "roll")


@given(trigger_sequences("illegal"))
def test_illegal_triggers_are_refused_at_the_last(firings: list[Firing]) -> None:
    """What comes before it is legal."""
    machine = SessionMachine()
    fire(machine, firings[:-1])
    with pytest.raises(IllegalTransition):
        fire(machine, firings[-1:])


@pytest.mark.parametrize("kind", ["legal", "illegal", "mixed"])
def test_every_trigger_is_drawn_in_every_kind(kind: Any) -> None:
    """None of them is out of reach."""
    for trigger in TRIGGERS:
        assert find(trigger_sequences(kind), lambda d, wanted=trigger: wanted in dict(d), settings=UNSHRUNK)


@settings(max_examples=50)
@given(st.data(), st.sampled_from(["legal", "illegal", "mixed"]), st.integers(1, 4))
def test_triggers_are_never_more_than_is_said(data: st.DataObject, kind: Any, most: int) -> None:
    """The bound is inclusive."""
    assert len(data.draw(trigger_sequences(kind, max_size=most))) <= most


def test_triggers_shrink_to_the_edges_of_a_day() -> None:
    """The shortest way to a roll is the ordinary one."""
    found = find(trigger_sequences("legal"), lambda drawn: Firing("roll") in drawn)
    assert [firing.trigger for firing in found] == [
        "start_pre_market",
        "open_market",
        "close_market",
        "end_session",
        "roll",
    ]


def test_triggers_of_no_such_kind_are_refused() -> None:
    """When they are asked for."""
    with pytest.raises(ConfigurationError, match="kind = 'any' is refused"):
        trigger_sequences("any")
