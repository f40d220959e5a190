"""The port of time: aware instants, readings of both clocks, and steps between two readings."""

import math
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from session_lifecycle._model.clock import STEP, Reading, as_utc, read
from session_lifecycle._model.errors import ClockFailed, NaiveDatetimeError, describe
from session_lifecycle._runtime.system_clock import SystemClock

T0 = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
NAIVE = datetime(2026, 1, 5, 14, 30)  # noqa: DTZ001 -- what is refused
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


class BrokenClock(SystemClock):
    """Gives, or raises, what it is made with."""

    def __init__(self, now: Any) -> None:
        super().__init__()
        self._now = now

    def now(self) -> datetime:
        if isinstance(self._now, Exception):
            raise self._now
        result: datetime = self._now
        return result


@pytest.mark.parametrize(
    "instant",
    [
        T0,
        T0.astimezone(ZoneInfo("America/New_York")),
        T0.astimezone(timezone(timedelta(hours=5, minutes=45))),
    ],
)
def test_as_utc_keeps_the_instant_and_gives_it_in_utc(instant: datetime) -> None:
    """Whatever the zone, the answer is the same instant in UTC."""
    result = as_utc("it", instant)
    assert (result, result.tzinfo) == (T0, UTC)


def test_as_utc_tells_the_two_half_past_ones_of_a_dst_night_apart() -> None:
    """An ambiguous local time is read by its fold."""
    first = datetime(2026, 11, 1, 1, 30, tzinfo=ZoneInfo("America/New_York"))
    assert as_utc("it", first.replace(fold=1)) - as_utc("it", first) == HOUR


def test_as_utc_refuses_a_naive_instant() -> None:
    """The error says what was naive and how to do better, and is a ValueError."""
    with pytest.raises(NaiveDatetimeError, match=r"opening is 2026-01-05T14:30:00, which has no time zone") as caught:
        as_utc("opening", NAIVE)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("bad", [None, 0, "2026-01-05", T0.date()])
def test_as_utc_refuses_what_is_no_datetime(bad: Any) -> None:
    """A date or a string is a TypeError, not an AttributeError from within."""
    with pytest.raises(TypeError, match=r"opening must be an aware datetime, not "):
        as_utc("opening", bad)


def test_read_looks_at_both_clocks() -> None:
    """A reading has the wall time and the monotonic time, exact to the microsecond."""
    before = timedelta(seconds=time.monotonic())
    reading = read(SystemClock())
    assert reading.wall.tzinfo is UTC
    assert before <= reading.monotonic <= timedelta(seconds=time.monotonic())


@pytest.mark.parametrize(
    ("now", "cause"),
    [(OSError("no such clock"), OSError), (NAIVE, NaiveDatetimeError), (None, TypeError)],
)
def test_read_wraps_whatever_a_clock_does_wrong(now: Any, cause: type[Exception]) -> None:
    """A clock that raises, or gives no instant, is a ClockFailed chained to the cause."""
    with pytest.raises(ClockFailed) as caught:
        read(BrokenClock(now))
    assert type(caught.value.__cause__) is cause
    assert describe(caught.value.__cause__) in str(caught.value)


def test_read_wraps_a_monotonic_time_that_is_no_number() -> None:
    """Not a number is no time."""
    clock = SystemClock()
    clock.monotonic = lambda: math.nan
    with pytest.raises(ClockFailed):
        read(clock)


@pytest.mark.parametrize(
    ("wall", "expected"),
    [
        (timedelta(0), None),
        (STEP - timedelta(microseconds=1), None),
        (timedelta(microseconds=1) - STEP, None),
        (STEP, STEP),
        (-STEP, -STEP),
        (HOUR, HOUR),
    ],
)
def test_a_step_is_a_second_or_more(wall: timedelta, expected: timedelta | None) -> None:
    """Only what the wall clock moves beyond the monotonic one counts, and less than a second is drift."""
    earlier = Reading(T0, SECOND)
    later = Reading(T0 + HOUR + wall, SECOND + HOUR)
    assert later.step_since(earlier) == expected
