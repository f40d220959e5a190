"""Events and snapshots as values: fields in their order, defaults, lateness, plain JSON."""

import json
import logging
import pickle
from datetime import date, datetime, timedelta
from typing import Any, get_args
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from hypothesis import given
from msgspec import NODEFAULT
from msgspec.structs import fields, replace

from session_lifecycle import (
    Alarm,
    AlarmFired,
    AlarmInterrupted,
    AlarmSkipped,
    BreakEnded,
    BreakStarted,
    CalendarContradicted,
    CallbackOverdue,
    ClockSkew,
    ClockStepped,
    DataStale,
    Event,
    FeedResumed,
    FeedStale,
    Halted,
    HandlerBusy,
    HandlerFailed,
    HorizonNear,
    LeadershipGained,
    LeadershipLost,
    ManagerStopped,
    OverrideLost,
    PhaseEnded,
    PhaseStarted,
    Resumed,
    RollFailed,
    RollFollowed,
    RollStarted,
    RollSucceeded,
    ScheduleChanged,
    Session,
    SessionAdopted,
    SessionState,
    StateChanged,
    Status,
    UnexpectedData,
    VenueStatus,
)
from tests.helpers.builders import DAY, MONDAY, utc

NOON, LATER = utc(2024, 3, 4, 12), utc(2024, 3, 4, 12, 0, 1)
ZERO = timedelta(0)


class Oops(ValueError):
    """An error that equals another of the same words, so that events which carry one can be compared when copied."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Oops) and other.args == self.args

    def __hash__(self) -> int:
        return hash(self.args)


OOPS = Oops("oops")
LUNCH = Alarm("open", timedelta(hours=2))

# Every kind of event: its required arguments, and its other fields with their defaults, both in their order.
REQUIRED: dict[type[Any], dict[str, object]] = {
    StateChanged: {
        "source": SessionState.ACTIVE,
        "dest": SessionState.TIMEOUT,
        "trigger": "data_timeout",
        "session": MONDAY,
        "scheduled_at": NOON,
        "observed_at": LATER,
    },
    BreakStarted: {"session": MONDAY, "scheduled_at": NOON, "observed_at": LATER},
    BreakEnded: {"session": MONDAY, "scheduled_at": NOON, "observed_at": LATER},
    PhaseStarted: {
        "phase": "overnight",
        "session": MONDAY,
        "scheduled_at": NOON,
        "observed_at": LATER,
        "tradable": True,
    },
    PhaseEnded: {"phase": "overnight", "session": MONDAY, "scheduled_at": NOON, "observed_at": LATER},
    DataStale: {
        "phase": "overnight",
        "session": MONDAY,
        "scheduled_at": NOON,
        "observed_at": LATER,
        "timeout": timedelta(hours=1),
    },
    RollStarted: {"session": MONDAY, "next_session": MONDAY + DAY, "attempt": 1},
    RollSucceeded: {"session": MONDAY, "next_session": MONDAY + DAY, "attempt": 1},
    RollFailed: {"session": MONDAY, "next_session": MONDAY + DAY, "attempt": 1},
    SessionAdopted: {"session": MONDAY, "next_session": MONDAY + DAY},
    ClockStepped: {"delta": DAY},
    HorizonNear: {"known_until": MONDAY},
    AlarmFired: {
        "alarm": LUNCH,
        "session": MONDAY,
        "scheduled_at": NOON,
        "observed_at": LATER,
        "state": SessionState.ACTIVE,
    },
    AlarmSkipped: {
        "alarm": LUNCH,
        "session": MONDAY,
        "scheduled_at": NOON,
        "observed_at": LATER,
        "reason": "the session was skipped",
    },
    HandlerFailed: {"handler": "desk.flatten", "error": OOPS},
    HandlerBusy: {"handler": "desk.flatten"},
    CallbackOverdue: {"callback": "the roll to 2024-03-05"},
    FeedStale: {"feed": "trades", "session": MONDAY, "scheduled_at": NOON, "observed_at": LATER},
    FeedResumed: {"feed": "trades", "session": MONDAY, "silent_for": DAY},
    Halted: {"reason": "news pending", "session": MONDAY},
    Resumed: {"session": MONDAY},
    UnexpectedData: {"session": MONDAY},
    CalendarContradicted: {
        "status": VenueStatus.CLOSE,
        "session": MONDAY,
        "state": SessionState.ACTIVE,
        "reported_at": NOON,
    },
    ScheduleChanged: {"day": MONDAY, "before": Session(MONDAY, NOON, LATER), "after": None, "session": MONDAY},
    AlarmInterrupted: {"key": "close-900s", "session": MONDAY},
    OverrideLost: {"day": MONDAY, "after": None, "session": MONDAY},
    RollFollowed: {"session": MONDAY, "next_session": MONDAY + DAY},
    LeadershipGained: {"term": 2},
    LeadershipLost: {"term": 2, "reason": "the lease was over"},
    ClockSkew: {"skew": -DAY},
}
UNSET = datetime.min.replace(tzinfo=NOON.tzinfo)
DEFAULTS: dict[type[Any], dict[str, object]] = {
    StateChanged: {"catch_up": False, "reason": None},
    BreakStarted: {"catch_up": False},
    BreakEnded: {"catch_up": False},
    PhaseStarted: {"data_expected": True, "catch_up": False},
    PhaseEnded: {"catch_up": False},
    DataStale: {"last_data_at": None},
    RollStarted: {"resumed": False, "observed_at": UNSET},
    RollSucceeded: {"resumed": False, "skipped": (), "overrun": False, "observed_at": UNSET, "duration": ZERO},
    RollFailed: {"resumed": False, "error": None, "retry_at": None, "observed_at": UNSET, "duration": ZERO},
    SessionAdopted: {"observed_at": UNSET},
    ClockStepped: {"session": None, "observed_at": UNSET},
    HorizonNear: {"session": None, "observed_at": UNSET, "vouched_until": None},
    AlarmFired: {"catch_up": False, "number": 1},
    AlarmSkipped: {},
    HandlerFailed: {"cause": None, "session": None, "observed_at": UNSET},
    HandlerBusy: {"cause": None, "session": None, "observed_at": UNSET},
    CallbackOverdue: {"waited": ZERO, "session": None, "observed_at": UNSET},
    FeedStale: {"never": False, "last_data_at": None, "reason": ""},
    FeedResumed: {"observed_at": UNSET},
    Halted: {"feed": None, "observed_at": UNSET},
    Resumed: {"feed": None, "lapsed": False, "observed_at": UNSET},
    UnexpectedData: {"feed": None, "observed_at": UNSET},
    CalendarContradicted: {"until": None, "halted": False, "observed_at": UNSET},
    ScheduleChanged: {"reason": "", "observed_at": UNSET},
    AlarmInterrupted: {"observed_at": UNSET},
    OverrideLost: {"reason": "", "observed_at": UNSET},
    RollFollowed: {"term": 0, "skipped": (), "observed_at": UNSET},
    LeadershipGained: {"session": None, "observed_at": UNSET},
    LeadershipLost: {"session": None, "observed_at": UNSET},
    ClockSkew: {"session": None, "observed_at": UNSET},
}
PLAIN_STATES = ("NOT_STARTED", "PRE_MARKET", "ACTIVE", "POST_MARKET", "ENDED")
EVENTS = [kind(**required) for kind, required in REQUIRED.items()]
FULL = [
    RollFailed(MONDAY, MONDAY + DAY, 2, True, OOPS, LATER, NOON, DAY, "desk"),
    HandlerFailed("desk.flatten", OOPS, RollStarted(MONDAY, MONDAY + DAY, 1), MONDAY, NOON, "desk"),
]
LATE = [event for event in EVENTS if hasattr(event, "lateness")]


def ids(event: Event) -> str:
    return type(event).__name__


def test_every_event_is_held() -> None:
    """The kinds of event are those below, and `Event` is all of them."""
    assert set(get_args(Event)) == set(REQUIRED) == set(DEFAULTS)
    assert [ids(event) for event in LATE] == [
        "StateChanged", "BreakStarted", "BreakEnded", "PhaseStarted", "PhaseEnded", "DataStale", "AlarmFired",
        "FeedStale",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", REQUIRED)
def test_fields_keep_their_order_and_defaults(kind: type[Any]) -> None:
    """An event can be built by position, required fields first, and the manager's name comes last."""
    required, defaults = REQUIRED[kind], DEFAULTS[kind] | {"name": None}
    assert [field.name for field in fields(kind)] == [*required, *defaults]
    assert {field.name for field in fields(kind) if field.default is NODEFAULT} == set(required)
    event = kind(*required.values())
    assert {name: getattr(event, name) for name in [*required, *defaults]} == required | defaults
    assert event == kind(**required)
    assert kind(*required.values(), *defaults.values()) == event
    assert replace(event, name="desk").name == "desk"


@pytest.mark.parametrize("event", [*EVENTS, *FULL], ids=ids)
def test_events_are_frozen_values(event: Event) -> None:
    """An event cannot be changed or added to; it can be compared, hashed and pickled."""
    with pytest.raises(AttributeError):
        event.session = MONDAY + DAY
    with pytest.raises(AttributeError):
        event.unheard_of = 1
    assert not hasattr(event, "__dict__")
    assert pickle.loads(pickle.dumps(event)) == event
    assert hash(event) == hash(replace(event))


LINES = {
    StateChanged: "2024-03-04 ACTIVE → TIMEOUT by data_timeout",
    BreakStarted: "2024-03-04 break started",
    BreakEnded: "2024-03-04 break ended",
    PhaseStarted: "2024-03-04 overnight started",
    PhaseEnded: "2024-03-04 overnight ended",
    DataStale: "2024-03-04 no data for 1:00:00 in overnight",
    RollStarted: "roll 2024-03-04 → 2024-03-05, attempt 1",
    RollSucceeded: "roll 2024-03-04 → 2024-03-05 completed",
    RollFailed: "roll 2024-03-04 → 2024-03-05, attempt 1 failed; no further attempt",
    SessionAdopted: (
        "session 2024-03-05 adopted instead of 2024-03-04, without a roll: the clock stepped over more sessions than "
        "max_catch_up_sessions since the start"
    ),
    ClockStepped: "the wall clock stepped by +86400 s",
    HorizonNear: "the calendar knows no session after 2024-03-04: update its source, or add the days yourself",
    AlarmFired: "2024-03-04 alarm open + 2:00:00, in ACTIVE",
    AlarmSkipped: "2024-03-04 alarm open + 2:00:00 of 2024-03-04 12:00:00+00:00 was skipped: the session was skipped",
    HandlerFailed: "handler desk.flatten failed: Oops('oops')",
    HandlerBusy: "handler desk.flatten is still busy, and an event waits for it",
    CallbackOverdue: (
        "the roll to 2024-03-05 has not ended 0 s after its cancellation: let CancelledError pass, and bound what "
        "waits behind a shield"
    ),
    FeedStale: "2024-03-04 feed trades is stale: ",
    FeedResumed: "2024-03-04 feed trades is back after 1 day, 0:00:00",
    Halted: "2024-03-04 trading halted: news pending",
    Resumed: "2024-03-04 trading resumed",
    UnexpectedData: (
        "data while the calendar says that the venue is closed, before session 2024-03-04: check its hours, "
        "and pre_market and post_market_roll_delay"
    ),
    CalendarContradicted: (
        "2024-03-04 the venue reported CLOSE at 2024-03-04T12:00:00+00:00, where the calendar says ACTIVE; nothing has "
        "changed: check its hours, and apply() an override"
    ),
    ScheduleChanged: (
        "2024-03-04 changed (): was 2024-03-04T12:00:00+00:00 to 2024-03-04T12:00:01+00:00, is no session"
    ),
    AlarmInterrupted: (
        "2024-03-04 alarm close-900s was interrupted by the end of an earlier run: whether its handlers have done "
        "their work is not known, and it does not fire again"
    ),
    OverrideLost: (
        "2024-03-04 was changed to no session, which could not be restored: . It has the schedule's own hours; apply "
        "what holds"
    ),
    RollFollowed: "roll 2024-03-04 → 2024-03-05 followed, of term 0",
    LeadershipGained: "this replica leads, in term 2",
    LeadershipLost: "this replica does not lead any more (its term was 2): the lease was over",
    ClockSkew: "the journal's server is -86400 s from this clock: check both machines' time",
}


@pytest.mark.parametrize("event", EVENTS, ids=ids)
def test_an_event_has_a_summary(event: Event) -> None:
    """Each kind of event says in one line what has happened."""
    assert event.summary() == LINES[type(event)]


@pytest.mark.parametrize("event", EVENTS, ids=ids)
@pytest.mark.parametrize("text", ["a\nb", "a\r\x1b[2Jb", "a\u2028b", "a\ud800b", "a\x00b"])
def test_a_summary_is_one_line_without_control_characters(event: Event, text: str) -> None:
    """Whatever a name, a reason or an error holds, it is escaped, and the same text stays in the fields."""
    texts = {field.name: text for field in fields(type(event)) if field.type in (str, str | None)}
    texts |= {"error": ManagerStopped(text, SessionState.ENDED)} if hasattr(event, "error") else {}
    changed = replace(event, **texts)
    assert changed.summary().isprintable()
    if set(texts) - {"name"}:
        escaped = text.encode("unicode_escape").decode()
        assert escaped in changed.summary()
        assert changed.summary().encode()


def test_a_session_beyond_the_published_hours_says_so() -> None:
    """Hours by rule name the last day that is vouched for, and the last known one."""
    event = HorizonNear(date(2200, 12, 31), MONDAY, NOON, MONDAY - DAY)
    assert event.summary() == (
        "the hours of session 2024-03-04 are by rule, not published: they are vouched for until 2024-03-03, and known "
        "until 2200-12-31. Compare them with the exchange's notices"
    )


def test_the_level_is_that_of_logging() -> None:
    """INFO where it is ordinary, more where it needs attention, and a roll's own steps are left to DEBUG."""
    levels = {type(event): event.level for event in EVENTS}
    assert {levels.pop(kind) for kind in (HandlerFailed, CallbackOverdue, AlarmInterrupted, OverrideLost)} == {
        logging.ERROR
    }
    assert {levels.pop(kind) for kind in (RollStarted, RollSucceeded)} == {logging.DEBUG}
    ordinary = (
        BreakStarted,
        BreakEnded,
        PhaseStarted,
        PhaseEnded,
        AlarmFired,
        FeedResumed,
        Resumed,
        RollFollowed,
        LeadershipGained,
    )
    assert {levels.pop(kind) for kind in ordinary} == {logging.INFO}
    assert set(levels.values()) == {logging.WARNING}
    change = EVENTS[0]
    assert replace(change, dest=SessionState.ERROR).level == logging.ERROR
    assert {replace(change, dest=SessionState[name]).level for name in PLAIN_STATES} == {logging.INFO}
    succeeded = RollSucceeded(MONDAY, MONDAY + DAY, 1)
    assert {replace(succeeded, overrun=True).level, replace(succeeded, skipped=(MONDAY,)).level} == {logging.WARNING}


@pytest.mark.parametrize("event", [*EVENTS, *FULL], ids=ids)
def test_an_event_is_plain_json(event: Event) -> None:
    """It begins with its class's name, goes on with its fields in their order, and JSON gives it back as it was."""
    plain = event.as_dict()
    assert list(plain) == ["event", *(field.name for field in fields(type(event)))]
    assert plain["event"] == type(event).__name__
    assert json.loads(json.dumps(plain)) == plain


def test_an_event_s_plain_values() -> None:
    """Instants, dates, durations, states, errors, and an event in an event."""
    roll = RollFailed(MONDAY, MONDAY + DAY, 2, True, OOPS, LATER, NOON, 1.5 * timedelta(seconds=1), "desk")
    told = HandlerFailed("desk.flatten", KeyError("book"), roll, MONDAY, NOON.astimezone(ZoneInfo("Asia/Tokyo")))
    assert told.as_dict() == {
        "event": "HandlerFailed",
        "handler": "desk.flatten",
        "error": {"type": "KeyError", "message": "'book'"},
        "cause": {
            "event": "RollFailed",
            "session": "2024-03-04",
            "next_session": "2024-03-05",
            "attempt": 2,
            "resumed": True,
            "error": {"type": "Oops", "message": "oops"},
            "retry_at": "2024-03-04T12:00:01+00:00",
            "observed_at": "2024-03-04T12:00:00+00:00",
            "duration": 1.5,
            "name": "desk",
        },
        "session": "2024-03-04",
        "observed_at": "2024-03-04T12:00:00+00:00",
        "name": None,
    }
    fired = EVENTS[list(REQUIRED).index(AlarmFired)].as_dict()
    assert (fired["state"], fired["alarm"]) == (
        "active",
        {"anchor": "open", "offset": 7200.0, "misfire": "skip", "grace": 1.0, "recurring_after_restart": False},
    )


def test_outcomes_of_a_roll_tell_more() -> None:
    """A roll's outcome carries what was skipped or what went wrong, at the places that positional code relies on."""
    succeeded = RollSucceeded(MONDAY, MONDAY + 2 * DAY, 2, True, (MONDAY + DAY,), True, NOON, DAY, "desk")
    assert (succeeded.resumed, succeeded.skipped, succeeded.overrun) == (True, (MONDAY + DAY,), True)
    failed = RollFailed(MONDAY, MONDAY + DAY, 2, True, OOPS, LATER, NOON, DAY, "desk")
    assert (failed.error, failed.retry_at, failed.observed_at, failed.duration) == (OOPS, LATER, NOON, DAY)


@given(st.sampled_from(LATE), st.timedeltas(-400 * DAY, 400 * DAY))
def test_lateness_is_never_below_zero(event: StateChanged, delay: timedelta) -> None:
    """Lateness is what lies between schedule and observation; seen early, because the clock went back, is not late."""
    seen = replace(event, observed_at=NOON + delay)
    assert seen.lateness == max(delay, ZERO)


# ---- Status ----

STATUS = Status(
    name="desk",
    schedule="XNYS",
    state=SessionState.TIMEOUT,
    scheduled_state=SessionState.POST_MARKET,
    session=MONDAY,
    open=utc(2024, 3, 4, 14, 30),
    close=utc(2024, 3, 4, 21).astimezone(ZoneInfo("America/New_York")),
    next_boundary=utc(2024, 3, 4, 21, 30, 0, 5),
    on_break=False,
    can_trade=False,
    roll_owed=True,
    roll_attempt=2,
    last_data_at=utc(2024, 3, 4, 20, 55),
    reason="no data",
    observed_at=utc(2024, 3, 4, 21, 0, 1),
    halted="news pending",
    feeds=3,
    stale_feeds=("trades", "quotes"),
    halted_feeds=("orders",),
    market_open=True,
    awaiting_first_tick=True,
    running=False,
    leads=False,
    phase="continuous",
)


def test_a_status_is_plain_json() -> None:
    """A snapshot as a dict has one plain value for each field: states by value, instants as ISO 8601 in UTC."""
    assert json.loads(json.dumps(STATUS.as_dict())) == {
        "name": "desk",
        "schedule": "XNYS",
        "state": "timeout",
        "scheduled_state": "post_market",
        "session": "2024-03-04",
        "open": "2024-03-04T14:30:00+00:00",
        "close": "2024-03-04T21:00:00+00:00",
        "next_boundary": "2024-03-04T21:30:00.000005+00:00",
        "on_break": False,
        "can_trade": False,
        "roll_owed": True,
        "roll_attempt": 2,
        "last_data_at": "2024-03-04T20:55:00+00:00",
        "reason": "no data",
        "observed_at": "2024-03-04T21:00:01+00:00",
        "halted": "news pending",
        "feeds": 3,
        "stale_feeds": ["trades", "quotes"],
        "halted_feeds": ["orders"],
        "market_open": True,
        "awaiting_first_tick": True,
        "running": False,
        "leads": False,
        "phase": "continuous",
    }
    assert list(STATUS.as_dict()) == [field.name for field in fields(Status)]


def test_a_status_made_without_feeds_or_halts_has_none() -> None:
    """Feeds and halts have defaults, which say that there are none: a list that is empty, not null."""
    required = {field.name: getattr(STATUS, field.name) for field in fields(Status) if field.default is NODEFAULT}
    defaults = {
        "halted": None,
        "feeds": 0,
        "stale_feeds": (),
        "halted_feeds": (),
        "market_open": False,
        "awaiting_first_tick": False,
        "running": True,
        "leads": True,
        "phase": None,
    }
    assert {field.name for field in fields(Status)} == {*required, *defaults}
    assert {name: getattr(Status(**required), name) for name in defaults} == defaults
    assert json.loads(json.dumps(Status(**required).as_dict()))["stale_feeds"] == []


def test_what_a_status_does_not_know_is_null() -> None:
    """What is not known is None in the dict, and null in JSON."""
    unknown = ("name", "next_boundary", "last_data_at", "reason", "halted", "phase")
    told = replace(STATUS, **dict.fromkeys(unknown)).as_dict()
    assert {name for name, value in told.items() if value is None} == set(unknown)


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.timezones()), st.dates())  # noqa: DTZ001 -- bounds
def test_a_status_can_be_read_back(instant: datetime, day: date) -> None:
    """Instants of any zone and dates of any year come back from the text as they were."""
    told = json.loads(json.dumps(replace(STATUS, open=instant, session=day).as_dict()))
    assert told["open"].endswith("+00:00")
    assert datetime.fromisoformat(told["open"]) == instant.astimezone(NOON.tzinfo)
    assert date.fromisoformat(told["session"]) == day


@pytest.mark.parametrize("state", SessionState)
def test_states_are_told_by_value(state: SessionState) -> None:
    """Each state's text is its name in lower case, and leads back to it."""
    told = replace(STATUS, state=state).as_dict()["state"]
    assert told == state.name.lower()
    assert SessionState(told) is state


def test_a_status_is_frozen() -> None:
    """A snapshot cannot be changed or added to."""
    with pytest.raises(AttributeError):
        STATUS.state = SessionState.ACTIVE
    assert not hasattr(STATUS, "__dict__")
    assert hash(STATUS) == hash(replace(STATUS))
