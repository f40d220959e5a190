"""What the clock alone moves is one value; everything else is each lifecycle's own."""

from datetime import date, timedelta

import pytest
from msgspec import Struct
from msgspec.structs import replace

from session_lifecycle import LifecycleConfig, SessionLifecycle, SessionState
from session_lifecycle._core.clock_state import ClockState
from session_lifecycle._core.data_watch import DataWatch
from session_lifecycle._core.progress import Progress
from session_lifecycle._core.staleness import StalenessTimer
from session_lifecycle._model.clock import Reading
from tests.helpers.builders import MONDAY, at, weekdays

SHARED = {
    "state",
    "last_reading",
    "position",
    "next_transition",
    "breaks_passed",
    "on_break",
    "expected_since",
    "opened",
    "awaited_since",
    "carried",
    "closed_before",
    "inspect_all",
    "phases",
}
"""The fields of `ClockState`: the clock moves them for all members of a cohort alike."""

OWN = {
    Progress: {
        # What members of a cohort have in common before, since it is in the cohort's key, or since they are plain.
        "timeline",
        "config",
        "session",
        "called_off",
        "catching_up",
        "ended",
        "events",
        # What a boundary does not move in a plain session.
        "bounds",
        "name",
        "reason",
        # What holds the rest.
        "clock_state",
        "data",
    },
    DataWatch: {
        "_config",
        "_name",
        "absent_halts",
        "feeds",
        "halted",
        "reported_for",
        "staleness",
        # Where phases have timeouts of their own there is no cohort.
        "_budget",
        "_reported",
    },
    StalenessTimer: {"_arrival_before", "_lasted", "_limit", "arrival", "escalates", "timeout"},
}
"""What a follower keeps when it adopts the result of another. A new slot has to be put here, or into `ClockState`."""


def test_every_field_of_the_clock_state_is_known() -> None:
    """What followers adopt is these fields, all of them, in one frozen value."""
    assert issubclass(ClockState, Struct)
    assert set(ClockState.__struct_fields__) == SHARED
    assert ClockState.__struct_config__.frozen


@pytest.mark.parametrize("kind", OWN, ids=lambda kind: kind.__name__)
def test_every_slot_is_shared_or_own(kind: type) -> None:
    """No slot of what moves is forgotten: it is each lifecycle's own, or a field of the shared value."""
    assert set(kind.__slots__) == OWN[kind]
    assert not OWN[kind] & SHARED


def reading(day: date, hour: int, minute: int = 0) -> Reading:
    wall = at(day, (hour, minute))
    return Reading(wall, wall - at(MONDAY, (0, 0)))


def pair(begun: Reading, later: Reading) -> tuple[SessionLifecycle, SessionLifecycle]:
    """Return two lifecycles of one schedule, begun one after the other, at one reading now."""
    schedule, config = weekdays(), LifecycleConfig()
    one, other = (SessionLifecycle(schedule, config=config, name=name) for name in ("one", "other"))
    one.begin(begun)
    other.begin(later)
    other.progress.timeline = one.progress.timeline
    for each in (one, other):
        each.poll(later)
        each.take_events()
    return one, other


def test_a_follower_adopts_one_object() -> None:
    """After a boundary the follower holds the very value of the one that was polled; its data is its own."""
    one, other = pair(reading(MONDAY, 10), reading(MONDAY, 10))
    other.record_data(reading(MONDAY, 10))
    before, now = one.progress.clock_state, reading(MONDAY, 14, 30)
    one.poll(now)
    assert other.progress.adopt(before, one.progress.clock_state, now)
    assert one.state is other.state is SessionState.ACTIVE
    assert one.progress.clock_state is other.progress.clock_state
    assert (one.staleness.arrival, other.staleness.arrival) == (None, reading(MONDAY, 10).monotonic.total_seconds())


def test_a_follower_keeps_the_time_of_its_own_open_over_a_break() -> None:
    """Members that began at different times of an open session each know when data was first expected of them."""
    one, other = pair(reading(MONDAY, 15), reading(MONDAY, 16))
    assert one.progress.clock_state.opened == reading(MONDAY, 15).monotonic
    opened = other.progress.clock_state.opened
    assert opened == reading(MONDAY, 16).monotonic
    before, now = one.progress.clock_state, reading(MONDAY, 16)
    paused = replace(before, on_break=True, breaks_passed=1, expected_since=None)
    assert other.progress.adopt(before, paused, now)
    assert other.progress.clock_state == replace(paused, opened=opened)
    assert other.progress.adopt(before, replace(paused, opened=None), now)
    assert other.progress.clock_state.opened is None


def test_equal_clock_states_are_held_as_one_object() -> None:
    """What is equal is shared, what differs is not."""
    one, other = pair(reading(MONDAY, 10), reading(MONDAY, 10))
    clock_state = other.progress.clock_state
    assert not other.progress.share(None)
    assert not other.progress.share(replace(clock_state, breaks_passed=7))
    assert other.progress.clock_state is clock_state
    assert other.progress.share(replace(clock_state))
    assert other.progress.clock_state is not clock_state
    assert other.progress.clock_state == clock_state
    assert one.progress.timeline is other.progress.timeline


def test_records_are_inspected_where_it_matters() -> None:
    """While the session is TIMEOUT, or the venue closed: then a record is more than a plain store."""
    core = SessionLifecycle(weekdays(), config=LifecycleConfig(data_timeout=timedelta(minutes=5)))
    core.begin(reading(MONDAY, 1))
    assert (core.state, core.progress.clock_state.inspect_all) == (SessionState.NOT_STARTED, True)
    core.record_data(reading(MONDAY, 2))
    assert not core.progress.clock_state.inspect_all
    core.poll(reading(MONDAY, 14, 30))
    core.poll(reading(MONDAY, 14, 35))
    assert (core.state, core.progress.clock_state.inspect_all) == (SessionState.TIMEOUT, True)
    core.record_data(reading(MONDAY, 14, 36))
    assert (core.state, core.progress.clock_state.inspect_all) == (SessionState.ACTIVE, False)
