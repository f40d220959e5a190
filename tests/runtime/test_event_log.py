"""One log line for each event, with the event's fields as structured extras."""

import logging
import pickle
from datetime import timedelta

import pytest
from msgspec.structs import fields, replace

from session_lifecycle import (
    Alarm,
    AlarmFired,
    AlarmInterrupted,
    AlarmSkipped,
    BreakEnded,
    BreakStarted,
    ClockSkew,
    ClockStepped,
    Event,
    FeedResumed,
    FeedStale,
    Halted,
    HandlerFailed,
    HorizonNear,
    LeadershipGained,
    LeadershipLost,
    ManagerStopped,
    OverrideLost,
    Resumed,
    RollFailed,
    RollFollowed,
    RollStarted,
    RollSucceeded,
    ScheduleChanged,
    Session,
    SessionState,
    StateChanged,
    UnexpectedData,
)
from session_lifecycle._runtime.event_log import LOGGER, log_event
from tests.helpers.builders import DAY, MONDAY, utc, weekdays

DUE, SEEN = utc(2024, 3, 4, 14, 30), utc(2024, 3, 4, 14, 31)
TUESDAY = MONDAY + DAY
OOPS = ValueError("oops")
SOON = Alarm("close", timedelta(minutes=-15))
STOPPED = ManagerStopped("roll()", SessionState.ENDED)
CLOSED = (
    "while the calendar says that the venue is closed, before session 2024-03-04: check its hours, and pre_market and "
    "post_market_roll_delay"
)


def change(source: str, dest: str, trigger: str, *, catch_up: bool = False, reason: str | None = None) -> StateChanged:
    return StateChanged(SessionState[source], SessionState[dest], trigger, MONDAY, DUE, SEEN, catch_up, reason)


CASES: list[tuple[Event, int, str]] = [
    (
        change("PRE_MARKET", "ACTIVE", "open_market"),
        logging.INFO,
        "2024-03-04 PRE_MARKET → ACTIVE by open_market",
    ),
    (
        change("ACTIVE", "POST_MARKET", "close_market", catch_up=True, reason="fire drill"),
        logging.INFO,
        "2024-03-04 ACTIVE → POST_MARKET by close_market (fire drill; catch-up)",
    ),
    (
        change("ACTIVE", "TIMEOUT", "data_timeout", reason="no data"),
        logging.WARNING,
        "2024-03-04 ACTIVE → TIMEOUT by data_timeout (no data)",
    ),
    (change("TIMEOUT", "ACTIVE", "data_resumed"), logging.INFO, "2024-03-04 TIMEOUT → ACTIVE by data_resumed"),
    (
        change("ENDED", "ERROR", "fail", reason="disk full"),
        logging.ERROR,
        "2024-03-04 ENDED → ERROR by fail (disk full)",
    ),
    (BreakStarted(MONDAY, DUE, SEEN), logging.INFO, "2024-03-04 break started"),
    (BreakEnded(MONDAY, DUE, SEEN), logging.INFO, "2024-03-04 break ended"),
    (RollStarted(MONDAY, TUESDAY, 2), logging.DEBUG, "roll 2024-03-04 → 2024-03-05, attempt 2"),
    (RollStarted(MONDAY, TUESDAY, 1, True), logging.DEBUG, "roll 2024-03-04 → 2024-03-05, attempt 1 (resumed)"),
    (RollSucceeded(MONDAY, TUESDAY, 1), logging.DEBUG, "roll 2024-03-04 → 2024-03-05 completed"),
    (
        RollSucceeded(MONDAY, TUESDAY + DAY, 1, skipped=(TUESDAY,), overrun=True),
        logging.WARNING,
        "roll 2024-03-04 → 2024-03-06 completed (skipped 2024-03-05; overran roll_timeout)",
    ),
    (
        RollFailed(MONDAY, TUESDAY, 1, error=OOPS, retry_at=SEEN),
        logging.WARNING,
        "roll 2024-03-04 → 2024-03-05, attempt 1 failed: ValueError('oops'); next attempt at 2024-03-04 14:31:00+00:00",
    ),
    (
        RollFailed(MONDAY, TUESDAY, 3, error=OOPS),
        logging.WARNING,
        "roll 2024-03-04 → 2024-03-05, attempt 3 failed: ValueError('oops'); no further attempt",
    ),
    (ClockStepped(timedelta(hours=-1), MONDAY), logging.WARNING, "the wall clock stepped by -3600 s"),
    (ClockStepped(timedelta(seconds=1.5)), logging.WARNING, "the wall clock stepped by +1.5 s"),
    (HorizonNear(MONDAY), logging.WARNING, "the calendar knows no session after 2024-03-04: update its source"),
    (
        AlarmFired(SOON, MONDAY, DUE, DUE, SessionState.ACTIVE),
        logging.INFO,
        "2024-03-04 alarm close - 0:15:00, in ACTIVE",
    ),
    (
        AlarmFired(SOON, MONDAY, DUE, SEEN, SessionState.ERROR, catch_up=True),
        logging.INFO,
        "2024-03-04 alarm close - 0:15:00, 0:01:00 late, in ERROR",
    ),
    (
        AlarmSkipped(Alarm("open"), MONDAY, DUE, SEEN, "its state is over"),
        logging.WARNING,
        "2024-03-04 alarm open of 2024-03-04 14:30:00+00:00 was skipped: its state is over",
    ),
    (HandlerFailed("desk.flatten", OOPS), logging.ERROR, "handler desk.flatten failed: ValueError('oops')"),
    (
        HandlerFailed("desk.flatten", STOPPED, BreakStarted(MONDAY, DUE, SEEN), MONDAY, SEEN),
        logging.ERROR,
        f"handler desk.flatten failed on BreakStarted: {STOPPED}",
    ),
    (
        FeedStale("trades", MONDAY, DUE, SEEN, never=True, reason="no data for 0:05:00"),
        logging.WARNING,
        "2024-03-04 feed trades is stale: no data for 0:05:00",
    ),
    (
        FeedResumed("trades", MONDAY, timedelta(minutes=6)),
        logging.INFO,
        "2024-03-04 feed trades is back after 0:06:00",
    ),
    (Halted("news pending", MONDAY), logging.WARNING, "2024-03-04 trading halted: news pending"),
    (Halted("a gap", MONDAY, "trades"), logging.WARNING, "2024-03-04 feed trades halted: a gap"),
    (Resumed(MONDAY), logging.INFO, "2024-03-04 trading resumed"),
    (Resumed(MONDAY, "trades", lapsed=True), logging.INFO, "2024-03-04 feed trades resumed at the close"),
    (
        UnexpectedData(MONDAY),
        logging.WARNING,
        f"data {CLOSED}",
    ),
    (
        UnexpectedData(MONDAY, "trades"),
        logging.WARNING,
        f"data from feed trades {CLOSED}",
    ),
    (
        ScheduleChanged(TUESDAY, Session(TUESDAY, DUE + DAY, SEEN + DAY), None, MONDAY, "closed: typhoon"),
        logging.WARNING,
        f"2024-03-05 changed (closed: typhoon): was {DUE + DAY:%FT%T}+00:00 to {SEEN + DAY:%FT%T}+00:00, is no session",
    ),
    (
        AlarmInterrupted("flatten", MONDAY),
        logging.ERROR,
        (
            "2024-03-04 alarm flatten was interrupted by the end of an earlier run: whether its handlers have done "
            "their work is not known, and it does not fire again"
        ),
    ),
    (
        OverrideLost(TUESDAY, None, MONDAY, "the schedule ends before"),
        logging.ERROR,
        (
            "2024-03-05 was changed to no session, which could not be restored: the schedule ends before. It has the "
            "schedule's own hours; apply what holds"
        ),
    ),
    (RollFollowed(MONDAY, TUESDAY, 7), logging.INFO, "roll 2024-03-04 → 2024-03-05 followed, of term 7"),
    (
        RollFollowed(MONDAY, TUESDAY + DAY, 7, skipped=(TUESDAY,)),
        logging.INFO,
        "roll 2024-03-04 → 2024-03-06 followed, of term 7 (skipped 2024-03-05)",
    ),
    (LeadershipGained(7, MONDAY), logging.INFO, "this replica leads, in term 7"),
    (
        LeadershipLost(7, "the lease was over", MONDAY),
        logging.WARNING,
        "this replica does not lead any more (its term was 7): the lease was over",
    ),
    (
        ClockSkew(timedelta(seconds=-2.5), MONDAY),
        logging.WARNING,
        "the journal's server is -2.5 s from this clock: check both machines' time",
    ),
]
EVENTS = [event for event, *_ in CASES]


def log(caplog: pytest.LogCaptureFixture, event: Event, level: int = logging.DEBUG) -> list[logging.LogRecord]:
    """Log an event and return what has come of it."""
    caplog.clear()
    with caplog.at_level(level, LOGGER.name):
        log_event(event, weekdays(name="XNYS"))
    return caplog.records


def test_every_kind_of_event_is_held() -> None:
    """No kind of event is left out above."""
    assert {type(event) for event in EVENTS} == set(Event.__args__)


@pytest.mark.parametrize(("event", "level", "message"), CASES)
def test_an_event_is_one_line(caplog: pytest.LogCaptureFixture, event: Event, level: int, message: str) -> None:
    """Each event is one line on the package's logger, at its level, under the calendar's or the manager's name."""
    (record,) = log(caplog, event)
    assert (record.name, record.levelno, record.getMessage()) == ("session_lifecycle", level, f"XNYS: {message}")
    (record,) = log(caplog, replace(event, name="desk"))
    assert record.getMessage() == f"desk: {message}"
    assert "\n" not in record.getMessage()


def test_a_line_stays_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """Control characters in a name or a reason are escaped in the line, and stay as they are in the fields."""
    (record,) = log(caplog, Halted("a\nb", MONDAY, name="desk\x1b[2J"))
    assert record.getMessage() == r"desk\x1b[2J: 2024-03-04 trading halted: a\nb"
    assert (record.reason, record.manager) == ("a\nb", "desk\x1b[2J")


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_is_structured(caplog: pytest.LogCaptureFixture, event: Event) -> None:
    """The event's fields are attributes of the record, beside its kind, the calendar and the manager's name."""
    (record,) = log(caplog, replace(event, name="desk"))
    expected = {field.name: getattr(event, field.name) for field in fields(event) if field.name != "name"}
    expected |= {"event": type(event).__name__, "calendar": "XNYS", "manager": "desk"}
    bare = vars(logging.makeLogRecord({})).keys()
    # "message" and "asctime" are set by formatters, "taskName" since Python 3.12.
    assert {key: value for key, value in vars(record).items() if key not in {*bare, "message", "taskName"}} == expected
    assert not {*bare, "message", "asctime"} & set(expected)
    (record,) = log(caplog, event)
    assert record.manager is None


@pytest.mark.parametrize("event", EVENTS)
def test_only_a_failure_that_is_final_has_a_traceback(caplog: pytest.LogCaptureFixture, event: Event) -> None:
    """A roll after which no attempt follows, and a handler, fail with their exception; no other event has one."""
    (record,) = log(caplog, event)
    final = isinstance(event, HandlerFailed) or (isinstance(event, RollFailed) and event.retry_at is None)
    error = event.error if final else None
    assert record.exc_info == (None if error is None else (type(error), error, error.__traceback__))
    assert final == (error is not None)


def test_a_failure_without_an_error_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A failure made by hand, with no exception, is logged without a traceback."""
    (record,) = log(caplog, RollFailed(MONDAY, TUESDAY, 1))
    assert record.exc_info is None


def test_the_traceback_shows_the_cause(caplog: pytest.LogCaptureFixture) -> None:
    """A handler that formats the record shows where the roll went wrong, and why."""

    def roll() -> None:
        raise OOPS from KeyError("book")

    with pytest.raises(ValueError, match="oops") as caught:
        roll()
    log(caplog, RollFailed(MONDAY, TUESDAY, 1, error=caught.value))
    assert "in roll" in caplog.text
    assert "KeyError: 'book'" in caplog.text


@pytest.mark.parametrize(("event", "level"), [case[:2] for case in CASES])
def test_what_nobody_wants_costs_no_record(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, event: Event, level: int
) -> None:
    """Below the logger's level nothing is handed to it, so that no record is made; at its level, one is."""
    handed: list[int] = []
    monkeypatch.setattr(LOGGER, "log", lambda level, *_, **__: handed.append(level))
    log(caplog, event, level + 1)
    assert handed == []
    log(caplog, event, level)
    assert handed == [level]


def test_a_record_survives_pickling(caplog: pytest.LogCaptureFixture) -> None:
    """A record can be sent to another process, as QueueHandler does."""
    for event in EVENTS:
        (record,) = log(caplog, event)
        record.exc_info = None  # a traceback cannot be pickled; QueueHandler drops it too
        assert pickle.loads(pickle.dumps(record)).event == type(event).__name__
