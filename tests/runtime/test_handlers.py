"""Handlers: the application's own functions, called with the events they are for, and never in the machine's way."""

import functools
from datetime import date, datetime, time
from typing import get_args
from unittest.mock import AsyncMock

import pytest
from msgspec.structs import replace

from session_lifecycle import (
    AlarmFired,
    AlarmInterrupted,
    AlarmSkipped,
    BreakEnded,
    BreakStarted,
    CalendarContradicted,
    CallbackOverdue,
    ClockSkew,
    ClockStepped,
    ConfigurationError,
    DataStale,
    Entry,
    Event,
    FeedResumed,
    FeedStale,
    FixedSchedule,
    Halted,
    HandlerBusy,
    HandlerFailed,
    HorizonNear,
    LeadershipGained,
    LeadershipLost,
    LifecycleConfig,
    ManagerStopped,
    MissedSessions,
    OverrideLost,
    Phase,
    PhaseEnded,
    PhaseStarted,
    Record,
    Resumed,
    RetryPolicy,
    RollFailed,
    RollFollowed,
    RollStarted,
    RollSucceeded,
    ScheduleChanged,
    ScheduleExhausted,
    Session,
    SessionAdopted,
    SessionState,
    SpecialHours,
    StateChanged,
    UnexpectedData,
)
from session_lifecycle._journal.records import changed
from tests.helpers.builders import DAY, MONDAY, at, session, week
from tests.helpers.handlers import MORNING, NOON, OPEN, Boom, Calls, listen
from tests.helpers.harness import (
    ACTIVE,
    ENDED,
    FRIDAY,
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    POST_MARKET,
    PRE_MARKET,
    SECOND,
    THURSDAY,
    TUESDAY,
    WEDNESDAY,
    changes,
    make,
    make_rolling,
    of,
    roll_nothing,
    running,
)
from tests.helpers.journals import adopted, done, intent
from tests.helpers.ledger import until
from tests.helpers.shared import SharedInMemory

pytestmark = pytest.mark.anyio
LUNCH = FixedSchedule([session(MONDAY, breaks=(((17, 0), (18, 0)),)), session(TUESDAY), session(WEDNESDAY)])


# ---- what a handler is called with ----


async def test_every_state_calls_its_handlers_with_each_entry():
    """Through a day with a silence, a failure and a roll, each state's handler gets the entries into it alone."""
    manager, clock = make(MORNING, config=LifecycleConfig(data_timeout=5 * MINUTE))
    heard = {state: listen(manager, state) for state in SessionState}
    async with running(manager) as log:
        await clock.advance_to(OPEN + 6 * MINUTE)
        manager.record_data_received()
        await clock.advance(MINUTE)
        manager.fail("sunspots")
        await clock.advance(MINUTE)
        await manager.recover()
        await clock.advance_to(at(MONDAY, (22, 0)))
        assert {event.dest for event in changes(log)} == set(SessionState)
        for state, calls in heard.items():
            entries = [event for event in changes(log) if event.dest is state]
            holds = [event for event in entries if not event.catch_up or state is ACTIVE]  # ACTIVE is where a walk ends
            assert calls.events == holds
            assert calls.instants == [event.observed_at for event in holds]


async def test_every_class_of_event_calls_its_handlers():
    """A day with everything in it: each class's handler gets all events of the class, in order, and no other."""
    budgets = {"early": 30 * MINUTE}
    config = LifecycleConfig(data_timeout=5 * MINUTE, data_timeouts=budgets, roll_retry=RetryPolicy(attempts=2))
    early = Phase("early", at(MONDAY, (12, 0)), at(MONDAY, (13, 0)), tradable=True)
    monday = replace(session(MONDAY, breaks=(((17, 0), (18, 0)),)), phases=(early,))
    schedule = FixedSchedule([monday, session(TUESDAY), session(WEDNESDAY)])
    fails = [Boom("first attempt")]

    async def roll(next_date: date) -> None:
        if fails:
            raise fails.pop()

    overlapping = Session(TUESDAY, at(MONDAY, (15, 0)), at(TUESDAY, (21, 0)))
    interrupted = Record(Entry.ALARM_BEGUN, MONDAY, MORNING, subject="flatten")
    earlier = adopted(MONDAY), changed(TUESDAY, overlapping, MONDAY, MORNING), interrupted
    journal = SharedInMemory(earlier, skew=2 * SECOND)
    manager, clock = make(at(MONDAY, (10, 0)), schedule=schedule, config=config, roll_session=roll, journal=journal)
    heard = {kind: listen(manager, kind, missed=True) for kind in get_args(Event)}
    manager.at("pre_market_start", -30 * MINUTE)(Calls())
    manager.at("open", MINUTE)(Calls())

    @manager.on(ACTIVE)
    async def fail(event: StateChanged) -> None:
        raise Boom

    feed = manager.add_feed("trades")
    async with running(manager) as log:
        await clock.advance_to(OPEN + 6 * MINUTE)
        feed.record()
        manager.halt("news pending")
        manager.resume()
        await clock.advance(SECOND)
        clock.step(2 * SECOND)
        await manager.apply(SpecialHours(TUESDAY, close=time(20)))
        await clock.advance_to(at(TUESDAY, (2, 0)))
        feed.record()
        await clock.advance(NOW)
        journal.lose("the lease was over")
        await until(lambda: not manager.leads)
        journal.lead_elsewhere(intent(TUESDAY), done(TUESDAY))
        await until(lambda: manager.session.date == WEDNESDAY)
        await clock.advance(NOW)
        # Those of a busy or stubborn handler, of a clock that was not set, and of the venue have tests of their own.
        elsewhere = {HandlerBusy, CallbackOverdue, SessionAdopted, CalendarContradicted}
        assert {type(event) for event in log} == set(get_args(Event)) - elsewhere
        assert set(heard) == set(get_args(Event))
        for kind, calls in heard.items():
            assert calls.events == of(kind, log)


KINDS = {
    StateChanged,
    BreakStarted,
    BreakEnded,
    PhaseStarted,
    PhaseEnded,
    DataStale,
    ClockSkew,
    RollStarted,
    RollSucceeded,
    RollFailed,
    ClockStepped,
    HorizonNear,
    AlarmFired,
    AlarmInterrupted,
    AlarmSkipped,
    HandlerFailed,
    FeedStale,
    FeedResumed,
    Halted,
    Resumed,
    ScheduleChanged,
    UnexpectedData,
    HandlerBusy,
    CallbackOverdue,
    SessionAdopted,
    CalendarContradicted,
    OverrideLost,
    RollFollowed,
    LeadershipGained,
    LeadershipLost,
}


async def test_every_class_of_event_may_be_asked_for():
    """`on` takes each class that is part of `Event`, and this list is all of them."""
    assert set(get_args(Event)) == KINDS
    manager, _ = make(MORNING)
    for kind in KINDS:
        manager.on(kind)(roll_nothing)


async def test_states_of_zero_width_are_told_on_time():
    """On a venue that never sleeps the close, the end and the next open are one instant, and each handler is called."""
    days = [MONDAY + n * DAY for n in range(3)]
    always = FixedSchedule([Session(day, at(day, (0, 0)), at(day + DAY, (0, 0))) for day in days])
    manager, clock = make(at(MONDAY, (12, 0)), schedule=always)
    heard = {state: listen(manager, state) for state in SessionState}
    async with running(manager):
        await clock.advance_to(at(TUESDAY, (12, 0)))
        midnight = at(TUESDAY, (0, 0))
        for state in (POST_MARKET, ENDED, NOT_STARTED, PRE_MARKET, ACTIVE):
            (event,) = [event for event in heard[state].events if event.observed_at == midnight]
            assert not event.catch_up
            assert midnight in heard[state].instants


async def test_a_handler_is_called_for_all_it_is_registered_for():
    """One function may be registered for several things, and twice for one, and is called for each registration."""
    manager, clock = make(MORNING)
    calls = Calls(clock)
    for what in (PRE_MARKET, PRE_MARKET, ACTIVE, StateChanged):
        assert manager.on(what)(calls) is calls
    async with running(manager):
        await clock.advance_to(OPEN)
        assert calls.states == [PRE_MARKET] * 3 + [ACTIVE] * 2


# ---- order ----


async def test_handlers_of_one_event_start_in_order_up_to_their_first_wait():
    """Handlers of one event start in the order of their registration, each up to its first wait, before any goes on."""
    manager, clock = make(MORNING)
    order: list[str] = []

    def register(number: int) -> None:
        @manager.on(PRE_MARKET if number % 2 else StateChanged, timeout=HOUR if number % 3 else None)
        async def handler(event: StateChanged) -> None:
            order.append(f"start {number}")
            await clock.sleep(SECOND)
            order.append(f"end {number}")

    for number in range(20):
        register(number)
    async with running(manager):
        await clock.advance_to(at(MONDAY, (9, 0)))
        assert order == [f"start {number}" for number in range(20)]
        await clock.advance(SECOND)
        assert sorted(order[20:]) == sorted(f"end {number}" for number in range(20))


async def test_a_handler_gets_events_in_order_one_after_the_other():
    """A handler slower than the day is called for each event in turn, never twice at a time, and misses none.

    What it is called with late was observed at the call.
    """
    manager, clock = make(MORNING)
    begun: list[StateChanged] = []
    instants: list[datetime] = []
    busy = [0]
    most = [0]

    @manager.on(StateChanged)
    async def slow(event: StateChanged) -> None:
        begun.append(event)
        instants.append(clock.now())
        busy[0] += 1
        most[0] = max(most[0], busy[0])
        await clock.sleep(7 * HOUR)
        busy[0] -= 1

    async with running(manager) as log:
        await clock.advance_to(at(THURSDAY, (0, 0)))
        assert len(begun) < len(changes(log)) == 15
        await clock.advance_to(at(FRIDAY, (8, 0)))
        due = changes(log)[: len(begun)]
        assert begun == [replace(event, observed_at=instant) for event, instant in zip(due, instants, strict=True)]
        assert len(begun) >= 14
        assert most == [1]


async def test_a_slow_handler_delays_neither_the_machine_nor_others():
    """While a handler sleeps for days, each boundary is met on time, and so is every other handler."""
    manager, clock = make(MORNING)

    @manager.on(PRE_MARKET)
    async def slow(event: StateChanged) -> None:
        await clock.sleep(30 * DAY)

    others = listen(manager, StateChanged)
    async with running(manager) as log:
        await clock.advance_to(at(FRIDAY, (8, 0)))
        assert len(changes(log)) == 20
        assert {event.lateness for event in changes(log)} == {NOW}
        assert others.events == changes(log)
        assert others.instants == [event.scheduled_at for event in changes(log)]


async def test_handlers_follow_the_roll_in_order():
    """Handlers of the roll's events are called as it goes: begun, failed, begun anew, done, and the session rolled."""
    manager, clock, _ = make_rolling(at(MONDAY, (21, 0)), Boom(), MINUTE)
    calls = Calls(clock)
    for kind in (RollStarted, RollFailed, RollSucceeded, NOT_STARTED):
        manager.on(kind)(calls)
    async with running(manager):
        await clock.advance(HOUR)
        end = at(MONDAY, (21, 30))
        assert [(type(event), when - end) for event, when in zip(calls.events, calls.instants, strict=True)] == [
            (RollStarted, NOW),
            (RollFailed, NOW),
            (RollStarted, SECOND),
            (RollSucceeded, SECOND + MINUTE),
            (StateChanged, SECOND + MINUTE),
        ]


# ---- what may be registered ----


def unwritable(event: object) -> None:
    """Be no handler: it is not async."""


class Desk:
    """Handlers in all the forms that methods have."""

    heard: list[str]

    def __init__(self) -> None:
        self.heard = []

    async def method(self, event: StateChanged) -> None:
        self.heard.append(f"method {event.dest.name}")

    async def named(self, name: str, event: StateChanged, *, also: str) -> None:
        self.heard.append(f"{name} {also} {event.dest.name}")

    async def __call__(self, event: StateChanged) -> None:
        self.heard.append(f"object {event.dest.name}")

    @staticmethod
    async def static(event: StateChanged) -> None:
        raise Boom

    def blocking(self, event: StateChanged) -> None:
        """Be no handler."""


class Blocking:
    """An object that is called, and not async."""

    def __call__(self, event: object) -> None:
        """Be no handler."""


async def test_all_that_is_async_and_callable_will_do():
    """Bound and static methods, callable objects, partials of those and mocks are handlers, and are given back."""
    manager, clock = make(MORNING)
    desk, mock = Desk(), AsyncMock()
    for handler in (
        desk.method,
        desk,
        functools.partial(desk.named, "partial", also="of a method"),
        functools.partial(functools.partial(desk.named, "partial"), also="of a partial"),
        functools.partial(desk),
        Desk.static,
        mock,
    ):
        assert manager.on(PRE_MARKET)(handler) is handler
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (9, 0)))
        assert desk.heard == [
            "method PRE_MARKET",
            "object PRE_MARKET",
            "partial of a method PRE_MARKET",
            "partial of a partial PRE_MARKET",
            "object PRE_MARKET",
        ]
        mock.assert_awaited_once_with(changes(log)[0])
        assert [event.handler for event in of(HandlerFailed, log)] == [f"{__name__}.Desk.static"]


async def test_failures_name_the_handler_whatever_it_is():
    """A failure names a partial's function, and an object's class."""
    manager, clock = make(MORNING)

    class Failing:
        async def __call__(self, event: StateChanged) -> None:
            raise Boom

    manager.on(PRE_MARKET)(functools.partial(Desk.static))
    manager.on(PRE_MARKET)(Failing())
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (9, 0)))
        assert [event.handler for event in of(HandlerFailed, log)] == [
            f"{__name__}.Desk.static",
            f"{__name__}.{Failing.__qualname__}",
        ]


@pytest.mark.parametrize(
    "function",
    [unwritable, lambda event: None, functools.partial(unwritable), Blocking(), Desk().blocking, 42, None, "flatten"],
    ids=["function", "lambda", "partial", "object", "method", "number", "None", "str"],
)
async def test_what_is_not_async_is_refused(function):
    """A handler that would block the event loop, or cannot be called, is a TypeError when it is registered."""
    manager, _ = make(MORNING)
    with pytest.raises(TypeError, match=r"a handler must be.* async"):
        manager.on(ACTIVE)(function)
    assert manager._host.handlers == ()


async def test_what_only_shows_at_the_call_is_a_failure():
    """A callable that cannot be seen not to be async, and returns nothing to await, fails when it is called."""
    manager, clock = make(MORNING)
    seen: list[Event] = []
    manager.on(PRE_MARKET)(seen.append)
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (9, 0)))
        (failed,) = of(HandlerFailed, log)
        assert isinstance(failed.error, TypeError)
        assert "returned None, which cannot be awaited: make it async" in str(failed.error)
        assert seen == [log[0]]


@pytest.mark.parametrize(
    "what", ["ACTIVE", 2, None, object, Event, Boom, SessionState, [ACTIVE], roll_nothing, StateChanged | RollFailed]
)
async def test_what_is_neither_a_state_nor_an_event_is_refused(what):
    """`on` takes a SessionState or a class of event, and says so."""
    manager, _ = make(MORNING)
    with pytest.raises(TypeError, match="SessionState or an event class"):
        manager.on(what)


@pytest.mark.parametrize("limit", [NOW, -SECOND, 5, 5.0, "5"])
async def test_a_bad_timeout_is_refused(limit):
    """A timeout is a timedelta above zero."""
    manager, _ = make(MORNING)
    with pytest.raises(ConfigurationError, match="timeout"):
        manager.on(ACTIVE, timeout=limit)


# ---- when it is registered ----


async def test_a_handler_registered_while_running_hears_what_comes():
    """A handler registered while the manager runs is called from the next event on, not for the present state."""
    manager, clock = make(at(MONDAY, (10, 0)))
    async with running(manager):
        calls = [listen(manager, what, missed=True) for what in (PRE_MARKET, ACTIVE, StateChanged)]
        await clock.advance_to(OPEN)
        assert [each.states for each in calls] == [[], [ACTIVE], [ACTIVE]]


async def test_a_handler_registered_from_inside_a_handler_hears_what_comes():
    """A handler may register another, which is called from the next event on."""
    manager, clock = make(MORNING)
    inner: list[Calls] = []

    @manager.on(PRE_MARKET)
    async def outer(event: StateChanged) -> None:
        inner.append(listen(manager, StateChanged))

    async with running(manager):
        await clock.advance_to(at(MONDAY, (21, 0)))
        assert [calls.states for calls in inner] == [[ACTIVE, POST_MARKET]]


async def test_a_handler_cannot_be_registered_after_the_end():
    """Once the manager has stopped, registering a handler is a ManagerStopped."""
    manager, _ = make(NOON)
    decorate = manager.on(ACTIVE)
    async with manager:
        pass
    for register in (decorate, manager.on(ACTIVE), manager.on(StateChanged)):
        with pytest.raises(ManagerStopped, match=r"on\(\)"):
            register(roll_nothing)


async def test_a_start_that_fails_calls_nobody():
    """Where the manager cannot be started, no handler is called."""
    manager, _ = make(at(FRIDAY, (22, 0)), schedule=week())
    calls = [listen(manager, kind) for kind in get_args(Event)]
    with pytest.raises(ScheduleExhausted):
        async with manager:
            pytest.fail("the body must not run")
    assert [each.events for each in calls if each.events] == []


# ---- catching up ----


async def test_a_late_start_calls_handlers_only_for_what_holds():
    """At 11:00 in New York the handler of PRE_MARKET is called with `missed` only, and that of ACTIVE, as catch-up."""
    manager, _ = make(NOON)
    passed, asked = listen(manager, PRE_MARKET), listen(manager, PRE_MARKET, missed=True)
    holds, every = listen(manager, ACTIVE), listen(manager, StateChanged)
    each = listen(manager, StateChanged, missed=True)
    async with running(manager) as log:
        before, opened = changes(log)
        assert passed.events == []
        assert asked.events == [before]
        assert holds.events == every.events == [opened]
        assert each.events == [before, opened]
        assert before.catch_up
        assert opened.catch_up


async def test_a_suspend_calls_handlers_only_for_what_holds():
    """After a night's suspend handlers are called for where the catch-up pauses: at the roll, and at its end."""
    manager, clock = make(MORNING)
    heard, every = listen(manager, StateChanged), listen(manager, StateChanged, missed=True)
    async with running(manager) as log:
        await clock.advance_to(NOON)
        heard.events.clear()
        every.events.clear()
        clock.step(DAY)
        await clock.advance(NOW)
        assert [(event.session, event.dest) for event in heard.events] == [(MONDAY, ENDED), (TUESDAY, ACTIVE)]
        assert every.events == changes(log)[2:]
        assert [event.dest for event in every.events] == [POST_MARKET, ENDED, NOT_STARTED, PRE_MARKET, ACTIVE]
        assert all(event.catch_up for event in every.events)


@pytest.mark.parametrize("roll_time", [None, SECOND])
async def test_a_catch_up_over_several_sessions_calls_handlers_only_for_what_holds(roll_time):
    """Under EACH no handler is called for an open long over; each ENDED holds while its roll is awaited, if briefly."""
    manager, clock, rolls = make_rolling(
        at(THURSDAY, (16, 0)), *[roll_time] * 3, session=MONDAY, missed_sessions=MissedSessions.EACH
    )
    heard = {state: listen(manager, state) for state in SessionState}
    every = {state: listen(manager, state, missed=True) for state in SessionState}
    async with running(manager):
        await clock.advance(MINUTE)
        assert rolls.done == [TUESDAY, WEDNESDAY, THURSDAY]
        days = {state: [event.session for event in calls.events] for state, calls in heard.items() if calls.events}
        assert days == {ENDED: [MONDAY, TUESDAY, WEDNESDAY], ACTIVE: [THURSDAY]}
        walked = [MONDAY, TUESDAY, WEDNESDAY, THURSDAY]
        missed = {state: [event.session for event in calls.events] for state, calls in every.items() if calls.events}
        assert missed == {
            NOT_STARTED: walked[1:],
            PRE_MARKET: walked,
            ACTIVE: walked,
            POST_MARKET: walked[:-1],
            ENDED: walked[:-1],
        }


@pytest.mark.parametrize(
    ("start", "held"),
    [
        ((16, 59), []),
        ((17, 1), [BreakStarted]),
        ((18, 1), [BreakEnded]),
        ((21, 1), []),
    ],
)
async def test_breaks_in_a_catch_up(start, held):
    """In a catch-up a break's start is told to handlers while it lasts, its end while the market is open after it."""
    manager, _ = make(at(MONDAY, start), schedule=LUNCH)
    heard = Calls()
    for kind in (BreakStarted, BreakEnded):
        manager.on(kind)(heard)
    missed = Calls()
    for kind in (BreakStarted, BreakEnded):
        manager.on(kind, missed=True)(missed)
    async with running(manager) as log:
        assert [type(event) for event in heard.events] == held
        assert all(event.catch_up for event in heard.events)
        assert missed.events == [event for event in log if isinstance(event, BreakStarted | BreakEnded)]


async def test_the_breaks_of_a_day_on_time():
    """A break's start and end call their handlers on time."""
    manager, clock = make(MORNING, schedule=LUNCH)
    starts, ends = listen(manager, BreakStarted), listen(manager, BreakEnded)
    async with running(manager):
        await clock.advance_to(at(MONDAY, (20, 0)))
        assert (starts.instants, ends.instants) == ([at(MONDAY, (17, 0))], [at(MONDAY, (18, 0))])


async def test_what_the_handler_is_too_busy_for_at_the_time_is_not_lost():
    """What held when a catch-up paused is told to a handler that was busy then, once it is free."""
    manager, clock = make(MORNING)
    heard: list[tuple[date, SessionState, bool]] = []

    @manager.on(StateChanged)
    async def slow(event: StateChanged) -> None:
        heard.append((event.session, event.dest, event.catch_up))
        await clock.sleep(10 * HOUR)

    async with running(manager):
        await clock.advance_to(at(MONDAY, (10, 0)))
        clock.step(6 * HOUR)
        await clock.advance(2 * DAY)
        assert heard[:3] == [(MONDAY, PRE_MARKET, False), (MONDAY, ACTIVE, True), (MONDAY, POST_MARKET, False)]


async def test_a_walk_after_recover_calls_handlers_as_a_catch_up_does():
    """recover() walks the session anew: handlers are called for the state that it leads to, again."""
    manager, clock = make(MORNING)
    passed, holds = listen(manager, PRE_MARKET), listen(manager, ACTIVE)
    every = listen(manager, PRE_MARKET, missed=True)
    started = listen(manager, NOT_STARTED)
    async with running(manager):
        await clock.advance_to(NOON)
        manager.fail("sunspots")
        await clock.advance(MINUTE)
        await manager.recover()
        await clock.advance(NOW)
        assert [event.catch_up for event in passed.events] == [False]
        assert [event.catch_up for event in every.events] == [False, True]
        assert [event.catch_up for event in holds.events] == [False, True]
        assert started.states == [NOT_STARTED]  # the edge of recover() is its own, and on time
