"""A handler that is still busy when its next event is due: reported, and judged again when the call comes."""

from datetime import datetime, timedelta
from typing import Any

import anyio
import pytest

from session_lifecycle import (
    AlarmFired,
    AlarmSkipped,
    BreakStarted,
    FixedSchedule,
    HandlerBusy,
    HandlerFailed,
    MemoryJournal,
    Misfire,
    SessionBoundaryManager,
    StateChanged,
)
from tests.helpers.builders import MONDAY, at, session
from tests.helpers.harness import (
    ACTIVE,
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    TUESDAY,
    WEDNESDAY,
    changes,
    make,
    of,
    running,
)

pytestmark = pytest.mark.anyio
MORNING, OPEN, CLOSE = (at(MONDAY, time) for time in ((8, 0), (14, 30), (21, 0)))


class Hanging:
    """A handler that hangs until it is released; it notes its calls, and when they began."""

    def __init__(self, manager: SessionBoundaryManager) -> None:
        self.manager = manager
        self.calls: list[tuple[Any, datetime]] = []
        self.released = anyio.Event()

    async def __call__(self, event: Any) -> None:
        self.calls.append((event, self.manager.clock.now()))
        await self.released.wait()


async def test_fault_61_the_next_event_of_a_busy_handler_is_reported_once():
    """At the instant at which it is due, and once until the handler has caught up; then again."""
    manager, clock = make(MORNING)
    hanging = manager.on(ACTIVE)(Hanging(manager))
    async with running(manager) as log:
        await clock.advance_to(at(WEDNESDAY, (22, 0)))
        (busy,) = of(HandlerBusy, log)
        assert isinstance(busy.cause, StateChanged)
        assert busy.cause.session == busy.session == TUESDAY
        assert busy.observed_at == at(TUESDAY, (14, 30))
        assert "Hanging" in busy.handler
        assert len(hanging.calls) == 1
        hanging.released.set()
        await clock.advance(NOW)
        hanging.released = anyio.Event()
        await clock.advance_to(at(MONDAY + 4 * timedelta(days=1), (15, 0)))
        assert len(of(HandlerBusy, log)) == 2
        hanging.released.set()


async def test_fault_61_a_state_that_is_over_at_the_call_is_not_handled(caplog):
    """The handler on ACTIVE hangs over Tuesday's open: it is not called for that once Tuesday has closed."""
    manager, clock = make(MORNING)
    hanging = manager.on(ACTIVE)(Hanging(manager))
    async with running(manager):
        await clock.advance_to(at(TUESDAY, (21, 30)))
        hanging.released.set()
        await clock.advance_to(at(TUESDAY, (22, 0)))
        assert [event.session for event, _ in hanging.calls] == [MONDAY]
        assert "is not called" in caplog.text
        await clock.advance_to(at(WEDNESDAY, (15, 0)))
        assert [event.session for event, _ in hanging.calls] == [MONDAY, WEDNESDAY]


async def test_fault_61_a_state_that_holds_is_handled_with_the_lateness_of_the_call():
    """The handler comes back an hour after Tuesday's open: what it is called with is an hour late."""
    manager, clock = make(MORNING)
    hanging = manager.on(ACTIVE)(Hanging(manager))
    async with running(manager) as log:
        await clock.advance_to(at(TUESDAY, (15, 30)))
        hanging.released.set()
        await clock.advance(NOW)
        (_, first), (event, second) = hanging.calls
        assert (first, second) == (OPEN, at(TUESDAY, (15, 30)))
        assert event.observed_at == second
        assert event.lateness == HOUR
        assert max(each.lateness for each in changes(log)) == NOW  # what others get is as it was


async def test_fault_61_with_missed_every_event_is_handled_late():
    """`missed=True` asks for every one: those that are over too, each with its true lateness."""
    manager, clock = make(MORNING)
    hanging = manager.on(ACTIVE, missed=True)(Hanging(manager))
    async with running(manager):
        await clock.advance_to(at(WEDNESDAY, (22, 0)))
        hanging.released.set()
        await clock.advance(NOW)
        assert [event.session for event, _ in hanging.calls] == [MONDAY, TUESDAY, WEDNESDAY]
        assert [event.lateness for event, _ in hanging.calls] == [NOW, timedelta(hours=31.5), timedelta(hours=7.5)]


async def test_fault_61_a_break_that_is_over_is_not_handled():
    """The start of a lunch that has ended meanwhile is no news."""
    lunches = tuple((at(MONDAY, (hour, 0)), at(MONDAY, (hour, 30))) for hour in (16, 18))
    schedule = FixedSchedule([session(MONDAY, breaks=(((16, 0), (16, 30)), ((18, 0), (18, 30)))), session(TUESDAY)])
    manager, clock = make(MORNING, schedule=schedule)
    hanging = manager.on(BreakStarted)(Hanging(manager))
    async with running(manager):
        await clock.advance_to(lunches[1][1] + MINUTE)
        hanging.released.set()
        await clock.advance(HOUR)
        assert [event.scheduled_at for event, _ in hanging.calls] == [lunches[0][0]]


@pytest.mark.parametrize(
    ("misfire", "back", "called"),
    [
        (Misfire.SKIP, (20, 50), [ACTIVE]),  # late, and the state that it belongs to still holds
        (Misfire.SKIP, (21, 0), []),
        (Misfire.SKIP, (23, 0), []),
        (Misfire.RUN_ONCE, (21, 31), [NOT_STARTED]),
    ],
)
async def test_fault_61_an_alarm_is_judged_again_at_the_call(misfire, back, called):
    """An alarm that has waited behind a busy handler is late: where it would misfire, it is skipped."""
    manager, clock = make(MORNING)
    hanging = manager.at("close", -15 * MINUTE, misfire=misfire)(Hanging(manager))
    async with running(manager) as log:
        await clock.advance_to(CLOSE)
        assert hanging.calls.pop()[1] == CLOSE - 15 * MINUTE
        await clock.advance_to(at(TUESDAY, back))
        hanging.released.set()
        await clock.advance(NOW)
        assert [event.state for event, _ in hanging.calls] == called
        assert [event.catch_up for event, _ in hanging.calls] == [True] * len(called)
        assert [event.observed_at for event, _ in hanging.calls] == [at(TUESDAY, back)] * len(called)
        skipped = of(AlarmSkipped, log)
        assert [each.session for each in skipped] == [TUESDAY] * (not called)
        assert all("busy" in each.reason for each in skipped)


async def test_fault_61_an_alarm_that_is_skipped_at_the_call_has_ended():
    """With a journal it does not come back as interrupted."""
    journal = MemoryJournal()
    manager, clock = make(MORNING, journal=journal)
    hanging = manager.at("close", -15 * MINUTE)(Hanging(manager))
    async with manager:
        await clock.advance_to(at(TUESDAY, (22, 0)))
        hanging.released.set()
        await clock.advance(NOW)
    alarms = [(record.entry.value, record.session) for record in journal.records if "alarm" in record.entry.value]
    assert alarms == [
        ("alarm_begun", MONDAY),
        ("alarm_begun", TUESDAY),
        ("alarm_ended", MONDAY),
        ("alarm_ended", TUESDAY),
    ]


async def test_events_that_come_together_keep_no_handler_busy():
    """A catch-up's events are due at once: a handler that takes each in turn is not behind."""
    manager, _ = make(at(MONDAY, (22, 0)))
    heard: list[AlarmFired | StateChanged] = []

    @manager.on(StateChanged, missed=True)
    async def note(event: StateChanged) -> None:
        heard.append(event)
        await anyio.lowlevel.checkpoint()

    async with running(manager) as log:
        assert heard == changes(log)
        assert of(HandlerBusy, log) == []


async def test_a_busy_handler_of_busy_handlers_is_reported_once():
    """The chain ends: a handler of `HandlerBusy` that is busy itself is reported once."""
    manager, clock = make(MORNING)
    hanging = Hanging(manager)
    for what in (ACTIVE, HandlerBusy, StateChanged):
        manager.on(what)(hanging)
    async with running(manager) as log:
        await clock.advance_to(at(WEDNESDAY, (22, 0)))
        hanging.released.set()
        assert len({each.handler for each in of(HandlerBusy, log)}) == 1
        assert len(of(HandlerBusy, log)) == 3
        assert of(HandlerFailed, log) == []
