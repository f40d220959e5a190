"""One log line for each event, with the event's fields as structured extras."""

import io
import json
import logging
import pickle
import sys
from collections.abc import Generator
from datetime import timedelta

import anyio
import pytest
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
    LifecycleConfig,
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
    SessionBoundaryManager,
    SessionGroup,
    SessionState,
    StateChanged,
    UnexpectedData,
    VenueStatus,
)
from session_lifecycle._model.event_base import Scheduled
from session_lifecycle._runtime.event_log import LOGGER, log_event
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MONDAY, utc, weekdays
from tests.helpers.harness import roll_nothing

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
    (PhaseStarted("overnight", MONDAY, DUE, SEEN, tradable=True), logging.INFO, "2024-03-04 overnight started"),
    (PhaseEnded("overnight", MONDAY, DUE, SEEN), logging.INFO, "2024-03-04 overnight ended"),
    (
        DataStale("overnight", MONDAY, DUE, SEEN, timedelta(minutes=30)),
        logging.WARNING,
        "2024-03-04 no data for 0:30:00 in overnight",
    ),
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
    (
        HorizonNear(MONDAY),
        logging.WARNING,
        "the calendar knows no session after 2024-03-04: update its source, or add the days yourself",
    ),
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
    (
        HandlerBusy(
            "app.flatten", StateChanged(SessionState.PRE_MARKET, SessionState.ACTIVE, "open_market", MONDAY, DUE, SEEN)
        ),
        logging.WARNING,
        "handler app.flatten is still busy, and StateChanged waits for it",
    ),
    (
        CallbackOverdue("app.flatten", timedelta(seconds=5), MONDAY),
        logging.ERROR,
        (
            "app.flatten has not ended 5 s after its cancellation: let CancelledError pass, and bound what "
            "waits behind a shield"
        ),
    ),
    (
        SessionAdopted(MONDAY, TUESDAY),
        logging.WARNING,
        (
            "session 2024-03-05 adopted instead of 2024-03-04, without a roll: the clock stepped over more sessions "
            "than max_catch_up_sessions since the start"
        ),
    ),
    (
        CalendarContradicted(VenueStatus.CLOSE, MONDAY, SessionState.ACTIVE, DUE, halted=True),
        logging.WARNING,
        (
            f"2024-03-04 the venue reported CLOSE at {DUE.isoformat()}, where the calendar says ACTIVE; trading is "
            "halted: check its hours, and apply() an override"
        ),
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


def test_fault_67_a_line_stays_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """Control characters in a name or a reason are escaped in the line, and stay as they are in the fields."""
    (record,) = log(caplog, Halted("a\nb", MONDAY, name="desk\x1b[2J"))
    assert record.getMessage() == r"desk\x1b[2J: 2024-03-04 trading halted: a\nb"
    assert (record.reason, record.manager) == ("a\nb", "desk\x1b[2J")


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_is_structured(caplog: pytest.LogCaptureFixture, event: Event) -> None:
    """The event's fields are attributes of the record, beside its kind, the calendar and the manager's name."""
    (record,) = log(caplog, replace(event, name="desk"))
    expected = {field.name: getattr(event, field.name) for field in fields(event) if field.name != "name"}
    durations = {name: value for name, value in expected.items() if isinstance(value, timedelta)}
    expected |= {f"{name}_seconds": value.total_seconds() for name, value in durations.items()}
    if isinstance(event, Scheduled):
        expected["lateness_seconds"] = event.lateness.total_seconds()
    expected |= {"session_event": type(event).__name__, "calendar": "XNYS", "manager": "desk"}
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
    monkeypatch.setattr(LOGGER.logger, "log", lambda level, *_, **__: handed.append(level))
    log(caplog, event, level + 1)
    assert handed == []
    log(caplog, event, level)
    assert handed == [level]


def test_a_record_survives_pickling(caplog: pytest.LogCaptureFixture) -> None:
    """A record can be sent to another process, as QueueHandler does."""
    for event in EVENTS:
        (record,) = log(caplog, event)
        record.exc_info = None  # a traceback cannot be pickled; QueueHandler drops it too
        assert pickle.loads(pickle.dumps(record)).session_event == type(event).__name__


# ---- the application's own logging ----


class Broken(logging.Filter):
    """A filter of the application's with a defect."""

    def filter(self, record: logging.LogRecord) -> bool:
        raise RuntimeError("a broken filter")


class BrokenHandler(logging.Handler):
    """A handler whose own lock, filters and `emit` work, and whose `handle` does not."""

    def handle(self, record: logging.LogRecord) -> bool:
        raise OSError("a broken handler")


@pytest.fixture
def logger() -> Generator[logging.Logger]:
    """Return the library's logger, and remove afterwards what a test adds to it."""
    logger = logging.getLogger("session_lifecycle")
    filters, handlers, level = logger.filters[:], logger.handlers[:], logger.level
    LOGGER._reported.clear()
    yield logger
    logger.filters[:], logger.handlers[:] = filters, handlers
    logger.setLevel(level)
    LOGGER._reported.clear()


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("error", [RuntimeError, OSError])
def test_fault_69_logging_that_raises_ends_no_manager(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str], grouped: bool, error: type[Exception]
) -> None:
    """It goes on through a roll and a warning, emits the failure once, and stderr has its traceback once."""
    if error is RuntimeError:
        logger.addFilter(Broken())
    else:
        logger.addHandler(BrokenHandler())
    logger.setLevel(logging.DEBUG)

    async def main() -> list[Event]:
        clock = SimulatedClock(utc(2024, 3, 4, 14, 0))
        config = LifecycleConfig(data_timeout=None)
        manager = SessionBoundaryManager(weekdays(name="XNYS"), roll_nothing, clock=clock, config=config)
        group = SessionGroup([manager]) if grouped else None
        events = manager.events() if group is None else group.events()
        async with manager if group is None else group:
            await clock.advance(timedelta(hours=1))
            manager.halt("a")
            manager.halt("b")  # no effect, and a warning
            await clock.advance(timedelta(hours=10))
            assert manager.session.date == TUESDAY
        return [event async for event in events]

    failed = [event for event in anyio.run(main) if isinstance(event, HandlerFailed)]
    assert [(event.handler, type(event.error)) for event in failed] == [("logging", error)]
    shown = capsys.readouterr().err
    assert shown.count("session_lifecycle goes on") == shown.count("Traceback") == 1


def test_fault_69_errors_of_logging_are_silent_where_logging_says_so(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `logging.raiseExceptions` False nothing is printed; without a stderr nothing can be."""
    logger.addFilter(Broken())
    with monkeypatch.context() as patch:
        patch.setattr(logging, "raiseExceptions", False)
        LOGGER.error("one")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", None)
        LOGGER.error("two")
    assert capsys.readouterr().err == ""
    LOGGER.error("three")
    assert "a broken filter" in capsys.readouterr().err


def test_fault_67_other_lines_stay_lines_too(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    """A message with arguments, of which some are errors, keeps where it was logged, and the exception."""
    with caplog.at_level(logging.WARNING, LOGGER.name):
        LOGGER.warning("%s: %r of %s", "a\nb", "c\n", ValueError("\x1b[2J\u2028\u202e"))
        try:
            raise OOPS
        except ValueError:
            LOGGER.exception("100 %\n")
    first, second = caplog.records
    assert first.getMessage() == r"a\nb: 'c\n' of \x1b[2J\u2028\u202e"
    assert first.funcName == second.funcName == "test_fault_67_other_lines_stay_lines_too"
    assert (second.getMessage(), second.levelname, second.exc_info and second.exc_info[1]) == (
        r"100 %\n",
        "ERROR",
        OOPS,
    )


def test_structlog_keeps_the_message_beside_the_fields() -> None:
    """Its `ExtraAdder` copies extras over its own keys, of which `event` is the message."""
    structlog = pytest.importorskip("structlog")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    adder, renderer = structlog.stdlib.ExtraAdder(), structlog.processors.JSONRenderer(default=str)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=[adder]))
    logger = logging.getLogger("session_lifecycle")
    logger.addHandler(handler)
    try:
        log_event(replace(ClockStepped(timedelta(hours=-1), MONDAY), name="desk"), weekdays(name="XNYS"))
    finally:
        logger.removeHandler(handler)
    line = json.loads(stream.getvalue())
    assert line["event"] == "desk: the wall clock stepped by -3600 s"
    assert (line["session_event"], line["delta_seconds"], line["manager"]) == ("ClockStepped", -3600.0, "desk")
