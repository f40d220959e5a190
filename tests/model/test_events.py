"""Events and snapshots as values: fields in their order, defaults, lateness, plain JSON."""

import json
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
    AlarmSkipped,
    BreakEnded,
    BreakStarted,
    ClockStepped,
    Event,
    FeedResumed,
    FeedStale,
    Halted,
    HandlerFailed,
    HorizonNear,
    Resumed,
    RollFailed,
    RollStarted,
    RollSucceeded,
    ScheduleChanged,
    Session,
    SessionState,
    StateChanged,
    Status,
    UnexpectedData,
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
    RollStarted: {"session": MONDAY, "next_session": MONDAY + DAY, "attempt": 1},
    RollSucceeded: {"session": MONDAY, "next_session": MONDAY + DAY, "attempt": 1},
    RollFailed: {"session": MONDAY, "next_session": MONDAY + DAY, "attempt": 1},
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
    FeedStale: {"feed": "trades", "session": MONDAY, "scheduled_at": NOON, "observed_at": LATER},
    FeedResumed: {"feed": "trades", "session": MONDAY, "silent_for": DAY},
    Halted: {"reason": "news pending", "session": MONDAY},
    Resumed: {"session": MONDAY},
    UnexpectedData: {"session": MONDAY},
    ScheduleChanged: {"day": MONDAY, "before": Session(MONDAY, NOON, LATER), "after": None, "session": MONDAY},
}
UNSET = datetime.min.replace(tzinfo=NOON.tzinfo)
DEFAULTS: dict[type[Any], dict[str, object]] = {
    StateChanged: {"catch_up": False, "reason": None},
    BreakStarted: {"catch_up": False},
    BreakEnded: {"catch_up": False},
    RollStarted: {"resumed": False, "observed_at": UNSET},
    RollSucceeded: {"resumed": False, "skipped": (), "overrun": False, "observed_at": UNSET, "duration": ZERO},
    RollFailed: {"resumed": False, "error": None, "retry_at": None, "observed_at": UNSET, "duration": ZERO},
    ClockStepped: {"session": None, "observed_at": UNSET},
    HorizonNear: {"session": None, "observed_at": UNSET},
    AlarmFired: {"catch_up": False},
    AlarmSkipped: {},
    HandlerFailed: {"cause": None, "session": None, "observed_at": UNSET},
    FeedStale: {"never": False, "last_data_at": None, "reason": ""},
    FeedResumed: {"observed_at": UNSET},
    Halted: {"feed": None, "observed_at": UNSET},
    Resumed: {"feed": None, "lapsed": False, "observed_at": UNSET},
    UnexpectedData: {"feed": None, "observed_at": UNSET},
    ScheduleChanged: {"reason": "", "observed_at": UNSET},
}
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
    assert [ids(event) for event in LATE] == ["StateChanged", "BreakStarted", "BreakEnded", "AlarmFired", "FeedStale"]


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
    }
    assert list(STATUS.as_dict()) == [field.name for field in fields(Status)]


def test_a_status_made_without_feeds_or_halts_has_none() -> None:
    """Feeds and halts have defaults, which say that there are none: a list that is empty, not null."""
    required = {field.name: getattr(STATUS, field.name) for field in fields(Status) if field.default is NODEFAULT}
    defaults = {"halted": None, "feeds": 0, "stale_feeds": ()}
    assert {field.name for field in fields(Status)} == {*required, *defaults}
    assert {name: getattr(Status(**required), name) for name in defaults} == defaults
    assert json.loads(json.dumps(Status(**required).as_dict()))["stale_feeds"] == []


def test_what_a_status_does_not_know_is_null() -> None:
    """What is not known is None in the dict, and null in JSON."""
    unknown = ("name", "next_boundary", "last_data_at", "reason", "halted")
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
