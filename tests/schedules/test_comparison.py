"""Several schedules at once: where they differ, and when they are open together."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from hypothesis import example, given
from msgspec.structs import replace

from session_lifecycle import (
    ConfigurationError,
    Difference,
    ExchangeSchedule,
    FixedSchedule,
    NaiveDatetimeError,
    ScheduleExhausted,
    Session,
    compare,
    overlap,
    replay,
    write_snapshot,
)
from tests.helpers.builders import (
    DAY,
    MICROSECOND,
    MONDAY,
    Clock,
    at,
    session,
    utc,
    week,
    weekdays,
)

NEW_YORK = ZoneInfo("America/New_York")
MINUTE = timedelta(minutes=1)
OPEN, CLOSE = at(MONDAY, (14, 30)), at(MONDAY, (21, 0))
FRIDAY_CLOSE = at(MONDAY + 4 * DAY, (21, 0))

# ---- compare ----


def test_a_schedule_agrees_with_itself() -> None:
    """No date differs, whatever the range."""
    new_york = ExchangeSchedule("XNYS", near=utc(2024, 7, 1))
    assert compare(new_york, new_york, date(2024, 1, 1), date(2024, 12, 31)) == ()
    assert compare(week(), week(), MONDAY - 30 * DAY, MONDAY + 30 * DAY) == ()


def test_two_schedules_given_in_full_differ_by_date_with_both_sides() -> None:
    """An earlier close, a session that only one of them has, and a break; what is equal is not mentioned."""
    a = FixedSchedule([session(MONDAY + n * DAY) for n in (0, 1, 3, 4)])
    early = session(MONDAY, close=(18, 0))
    lunch = session(MONDAY + 3 * DAY, breaks=(((16, 0), (17, 0)),))
    b = FixedSchedule([early, session(MONDAY + 2 * DAY), lunch, session(MONDAY + 4 * DAY)])
    found = compare(a, b, MONDAY, MONDAY + 6 * DAY)
    assert found == (
        Difference(MONDAY, session(MONDAY), early),
        Difference(MONDAY + DAY, session(MONDAY + DAY), None),
        Difference(MONDAY + 2 * DAY, None, session(MONDAY + 2 * DAY)),
        Difference(MONDAY + 3 * DAY, session(MONDAY + 3 * DAY), lunch),
    )
    assert [each.fields for each in found] == [("close",), ("session",), ("session",), ("breaks",)]


def test_every_field_of_a_session_counts() -> None:
    """All that differs is named, in the order of the session's fields."""
    other = session(
        open=(14, 0),
        close=(20, 0),
        breaks=(((16, 0), (17, 0)),),
        pre_market_start=at(MONDAY, (9, 0)),
        post_market_end=CLOSE,
    )
    (only,) = compare(FixedSchedule([session()]), FixedSchedule([other]), MONDAY, MONDAY)
    assert only.fields == ("open", "close", "breaks", "pre_market_start", "post_market_end")


def test_only_the_range_is_compared_both_ends_inclusive() -> None:
    """A difference outside of the range is none, one on its edge is; in a reversed range there is nothing."""
    a, b = week(), FixedSchedule([session(MONDAY), session(MONDAY + 4 * DAY)])
    assert [each.date for each in compare(a, b, MONDAY + DAY, MONDAY + 2 * DAY)] == [MONDAY + DAY, MONDAY + 2 * DAY]
    assert compare(a, b, MONDAY, MONDAY) == ()
    assert compare(a, b, MONDAY + 3 * DAY, MONDAY) == ()


def test_a_schedule_given_in_full_has_no_sessions_outside_of_it() -> None:
    """Before its first and after its last session a FixedSchedule differs from one that has sessions there."""
    found = compare(weekdays(n=7), week(), MONDAY, MONDAY + 30 * DAY)
    assert [(each.date, each.b) for each in found] == [(MONDAY + 7 * DAY, None), (MONDAY + 8 * DAY, None)]


def test_what_a_calendar_does_not_know_is_no_difference_but_an_error() -> None:
    """Beyond a calendar's knowledge nothing is compared, on whichever side it stands."""
    new_york = ExchangeSchedule("XNYS", near=utc(2024, 7, 1))
    for pair in ((week(), new_york), (new_york, week())):
        with pytest.raises(ScheduleExhausted):
            compare(*pair, MONDAY, date(2300, 1, 1))


def test_schedules_are_compared_between_dates() -> None:
    """A datetime is no session's label, though Python takes it for a date."""
    with pytest.raises(TypeError, match=r"first must be a datetime\.date"):
        compare(week(), week(), OPEN, MONDAY)
    with pytest.raises(TypeError, match=r"last must be a datetime\.date"):
        compare(week(), week(), MONDAY, OPEN)


@pytest.mark.parametrize(
    ("b", "words"),
    [
        (session(close=(18, 0)), "2024-03-04: close 16:00 EST / 13:00 EST"),
        (None, "2024-03-04: 09:30 EST to 16:00 EST / no session"),
        (
            session(breaks=(((16, 0), (17, 0)), ((18, 0), (18, 30)))),
            "2024-03-04: breaks none / 11:00 EST to 12:00 EST, 13:00 EST to 13:30 EST",
        ),
        (
            replace(session(), open=OPEN - DAY, pre_market_start=OPEN - DAY),
            "2024-03-04: open 09:30 EST / 03-03 09:30 EST; pre_market_start none / 03-03 09:30 EST",
        ),
    ],
)
def test_a_difference_can_be_read_in_the_venues_time(b: Session | None, words: str) -> None:
    """One line with what differs, and no hour without its zone; a day is told where it is another one."""
    assert Difference(MONDAY, session(), b).in_words(NEW_YORK) == words


def test_a_difference_is_told_in_utc_by_default() -> None:
    """Without a zone the hours are those that the session holds."""
    assert Difference(MONDAY, None, session()).in_words() == "2024-03-04: no session / 14:30 UTC to 21:00 UTC"


# ---- overlap ----


def days(month: int, numbers: range, opens: Clock, closes: Clock) -> list[tuple[datetime, datetime]]:
    """Return the same hours, in UTC, on days of a month of 2026."""
    return [(at(date(2026, month, number), opens), at(date(2026, month, number), closes)) for number in numbers]


def test_london_and_new_york_share_an_hour_more_in_the_weeks_between_their_changes_of_clocks() -> None:
    """In 2026 New York's clocks change on 8 March and 1 November, London's on 29 March and 25 October."""
    both = [ExchangeSchedule(name, near=utc(2026, 7, 1)) for name in ("XLON", "XNYS")]
    spring = [
        *days(3, range(6, 7), (14, 30), (16, 30)),
        *(each for monday in (9, 16, 23) for each in days(3, range(monday, monday + 5), (13, 30), (16, 30))),
        *days(3, range(30, 32), (13, 30), (15, 30)),
    ]
    assert overlap(both, utc(2026, 3, 6), utc(2026, 4, 1)) == tuple(spring)
    autumn = [
        *days(10, range(22, 24), (13, 30), (15, 30)),
        *days(10, range(26, 31), (13, 30), (16, 30)),
        *days(11, range(2, 4), (14, 30), (16, 30)),
    ]
    assert overlap(both, utc(2026, 10, 22), utc(2026, 11, 4)) == tuple(autumn)


def test_half_days_and_holidays_count() -> None:
    """On 2026-11-27 New York closes at 18:00 UTC, after London; on 24 December London is done before it opens."""
    both = [ExchangeSchedule(name, near=utc(2026, 7, 1)) for name in ("XLON", "XNYS")]
    thanksgiving = overlap(both, utc(2026, 11, 26), utc(2026, 11, 28))
    assert thanksgiving == ((utc(2026, 11, 27, 14, 30), utc(2026, 11, 27, 16, 30)),)
    assert overlap(both, utc(2026, 12, 24), utc(2026, 12, 26)) == ()
    assert overlap(both[1:], utc(2026, 11, 26), utc(2026, 11, 28)) == (
        (utc(2026, 11, 27, 14, 30), utc(2026, 11, 27, 18, 0)),
    )


def test_breaks_are_left_out_where_asked() -> None:
    """A session with a lunch is two intervals off breaks, and one otherwise; a range may begin in the lunch."""
    schedule = FixedSchedule([session(breaks=(((16, 0), (17, 0)),))])
    noon, one = at(MONDAY, (16, 0)), at(MONDAY, (17, 0))
    assert overlap([schedule], OPEN, CLOSE) == ((OPEN, CLOSE),)
    assert overlap([schedule], OPEN, CLOSE, off_breaks=True) == ((OPEN, noon), (one, CLOSE))
    assert overlap([schedule], noon, CLOSE - MINUTE, off_breaks=True) == ((one, CLOSE - MINUTE),)
    assert overlap([schedule], noon, one, off_breaks=True) == ()


def test_intervals_are_cut_to_the_range_and_half_open() -> None:
    """A range that begins at a close has nothing of that session, one that ends at an open nothing of the next."""
    two = [week()]
    assert overlap(two, OPEN + MINUTE, CLOSE - MINUTE) == ((OPEN + MINUTE, CLOSE - MINUTE),)
    assert overlap(two, CLOSE - MICROSECOND, OPEN + DAY) == ((CLOSE - MICROSECOND, CLOSE),)
    assert overlap(two, CLOSE, OPEN + DAY) == ()
    assert overlap(two, CLOSE, OPEN + DAY + MICROSECOND) == ((OPEN + DAY, OPEN + DAY + MICROSECOND),)


def test_sessions_that_touch_are_one_interval() -> None:
    """A market that never sleeps is open all the time, and one that does is not, however its days are cut."""
    always = ExchangeSchedule("24/7", near=utc(2024, 7, 1))
    assert overlap([always], utc(2024, 3, 1, 5), utc(2024, 3, 4, 6)) == ((utc(2024, 3, 1, 5), utc(2024, 3, 4, 6)),)
    weekly = ExchangeSchedule("24/5", near=utc(2024, 7, 1))
    assert overlap([always, weekly], utc(2024, 2, 28, 12), utc(2024, 3, 5, 12)) == (
        (utc(2024, 2, 28, 12), utc(2024, 3, 2)),
        (utc(2024, 3, 4), utc(2024, 3, 5, 12)),
    )


def test_markets_that_take_turns_share_nothing() -> None:
    """Where one market closes as another opens, there is no instant at which both are open."""
    morning = FixedSchedule([Session(MONDAY, OPEN - DAY, OPEN), Session(MONDAY + DAY, CLOSE, CLOSE + DAY)])
    midday = FixedSchedule([Session(MONDAY, OPEN - DAY, OPEN - MINUTE), Session(MONDAY + DAY, OPEN, CLOSE + DAY)])
    assert overlap([morning, midday], OPEN - MINUTE, CLOSE) == ()


def test_an_empty_range_has_no_overlap_and_asks_nobody() -> None:
    """Nothing lies in a range of no width, wherever it is."""
    for instant in (OPEN, CLOSE, FRIDAY_CLOSE, utc(1900, 1, 1), utc(2300, 1, 1)):
        assert overlap([week()], instant, instant) == ()


def test_a_range_must_make_sense() -> None:
    """No schedule at all, a range that is reversed, and instants without a zone are refused."""
    with pytest.raises(ConfigurationError, match=r"end = '2024-03-03T.* must not lie before start \(2024-03-04T14:30"):
        overlap([week()], OPEN, OPEN - DAY)
    with pytest.raises(ConfigurationError, match="at least one schedule"):
        overlap([], OPEN, CLOSE)
    for start, end in ((OPEN.replace(tzinfo=None), CLOSE), (OPEN, CLOSE.replace(tzinfo=None))):
        with pytest.raises(NaiveDatetimeError):
            overlap([week()], start, end)


def test_instants_of_other_zones_become_utc_and_any_iterable_will_do() -> None:
    """The zone in which the range is given does not matter, nor what holds the schedules."""
    found = overlap(iter([week(), week()]), OPEN.astimezone(NEW_YORK), CLOSE.astimezone(NEW_YORK))
    assert found == ((OPEN, CLOSE),)
    assert all(instant.tzinfo is UTC for instant in found[0])


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (OPEN, FRIDAY_CLOSE),
        (OPEN, FRIDAY_CLOSE - MICROSECOND),
        (OPEN + MINUTE, CLOSE),
        (CLOSE, OPEN + DAY),
        (FRIDAY_CLOSE - MINUTE, FRIDAY_CLOSE),
    ],
)
def test_a_schedule_knows_the_time_from_its_first_open_to_its_last_close(start: datetime, end: datetime) -> None:
    """Within it every question has an answer, up to the edges."""
    assert overlap([week()], start, end) == overlap([week(), weekdays(MONDAY - 7 * DAY, 20)], start, end)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (OPEN, FRIDAY_CLOSE + MICROSECOND),
        (FRIDAY_CLOSE, FRIDAY_CLOSE + MICROSECOND),
        (FRIDAY_CLOSE + DAY, FRIDAY_CLOSE + 2 * DAY),
        (OPEN - MICROSECOND, CLOSE),
        (OPEN - MICROSECOND, OPEN),
        (OPEN - 2 * DAY, OPEN - DAY),
        (OPEN - DAY, FRIDAY_CLOSE + DAY),
    ],
)
def test_outside_of_it_there_is_no_answer(start: datetime, end: datetime) -> None:
    """Before the first open and after the last close nothing is known, which does not mean that nothing is open."""
    longer = weekdays(MONDAY - 7 * DAY, 20, name="longer")
    closed = FixedSchedule([Session(MONDAY, OPEN - 9 * DAY, OPEN - 8 * DAY), session(MONDAY + 30 * DAY)], name="closed")
    for markets in ([week()], [longer, week()], [week(), longer], [closed, week()]):
        with pytest.raises(ScheduleExhausted) as caught:
            overlap(markets, start, end)
        assert caught.value.schedule == "fixed"
    assert overlap([closed, longer], start, end) == ()


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (utc(2200, 12, 29), utc(2201, 1, 3)),
        (utc(2201, 1, 1), utc(2201, 1, 3)),
        (utc(1969, 12, 29), utc(1970, 1, 6)),
        (utc(1969, 12, 29), utc(1969, 12, 30)),
    ],
)
def test_a_calendar_is_exhausted_likewise(start: datetime, end: datetime) -> None:
    """The rules of a calendar reach from 1970 to 2200; outside of that, too, there is no answer."""
    with pytest.raises(ScheduleExhausted, match="XNYS knows"):
        overlap([ExchangeSchedule("XNYS", near=start)], start, end)


class Drawn(NamedTuple):
    """Sessions, in minutes from a common start: what is open, and what of it is a break."""

    sessions: tuple[tuple[int, int, int, int], ...]

    @property
    def schedule(self) -> FixedSchedule:
        zero = at(MONDAY, (0, 0))
        made: list[Session] = []
        for number, (opens, pause, resume, closes) in enumerate(self.sessions):
            breaks = ((zero + pause * MINUTE, zero + resume * MINUTE),) if pause < resume else ()
            made.append(Session(MONDAY + number * DAY, zero + opens * MINUTE, zero + closes * MINUTE, breaks))
        return FixedSchedule(made)

    def is_open(self, minute: int, *, off_breaks: bool) -> bool:
        return any(
            opens <= minute < closes and not (off_breaks and pause <= minute < resume)
            for opens, pause, resume, closes in self.sessions
        )


@st.composite
def markets(draw: st.DrawFn) -> Drawn:
    """Draw up to five short sessions, which may touch; some have a break."""
    sessions: list[tuple[int, int, int, int]] = []
    minute = 0
    for _ in range(draw(st.integers(1, 5))):
        opens = minute + draw(st.integers(0, 8))
        pause = opens + draw(st.integers(1, 6))
        resume = pause + draw(st.integers(0, 4))
        minute = resume + draw(st.integers(1, 6))
        sessions.append((opens, pause, resume, minute))
    return Drawn(tuple(sessions))


@given(st.lists(markets(), min_size=1, max_size=3), st.integers(-3, 60), st.integers(0, 60), st.booleans())
@example([Drawn(((0, 1, 1, 9), (9, 10, 10, 20)))], 0, 20, True)
@example([Drawn(((0, 3, 5, 9), (12, 14, 15, 20))), Drawn(((0, 4, 4, 30),))], 3, 13, True)
def test_an_instant_is_in_the_overlap_exactly_if_every_market_is_open(
    drawn: list[Drawn], start: int, width: int, off_breaks: bool
) -> None:
    """Minute by minute against the plainest model there is, and an error exactly where one of them does not know."""
    zero = at(MONDAY, (0, 0))
    end = start + width
    schedules = [each.schedule for each in drawn]
    known = all(each.sessions[0][0] <= start and end <= each.sessions[-1][-1] for each in drawn)
    if width and not known:
        with pytest.raises(ScheduleExhausted):
            overlap(schedules, zero + start * MINUTE, zero + end * MINUTE, off_breaks=off_breaks)
        return
    found = overlap(schedules, zero + start * MINUTE, zero + end * MINUTE, off_breaks=off_breaks)
    edges = [(instant - zero) / MINUTE for interval in found for instant in interval]
    assert all(earlier < later for earlier, later in pairwise(edges))
    covered = [minute for a, b in zip(edges[::2], edges[1::2], strict=True) for minute in range(int(a), int(b))]
    together = [n for n in range(start, end) if all(each.is_open(n, off_breaks=off_breaks) for each in drawn)]
    assert covered == together


@pytest.mark.parametrize("wrong", ["XNYS", None, FixedSchedule])
def test_what_is_no_schedule_is_refused(wrong, tmp_path):
    """The manager takes a calendar's name; what takes a schedule says so."""
    for call in (
        lambda: replay(wrong, OPEN, CLOSE),
        lambda: compare(week(), wrong, MONDAY, MONDAY),
        lambda: compare(wrong, week(), MONDAY, MONDAY),
        lambda: overlap([week(), wrong], OPEN, CLOSE),
        lambda: write_snapshot(wrong, tmp_path / "hours.toml", MONDAY, MONDAY),
    ):
        with pytest.raises(TypeError, match="a Schedule is needed"):
            call()
