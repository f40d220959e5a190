"""Fixed schedules: what they refuse, and what they answer."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from hypothesis import given

from session_lifecycle import (
    FixedSchedule,
    InvalidSession,
    NaiveDatetimeError,
    NotASession,
    Schedule,
    ScheduleExhausted,
    Session,
)
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at, session, week, weekdays
from tests.helpers.strategies import Hours, hours, instants

OPEN = at(MONDAY, (14, 30))
NAIVE = datetime(2024, 3, 4, 17)  # noqa: DTZ001 -- no time zone is the point
FRIDAY = MONDAY + 4 * DAY
SATURDAY = MONDAY + 5 * DAY


def test_a_fixed_schedule_is_a_schedule() -> None:
    """FixedSchedule satisfies the protocol, and has the name and the zone that it is given."""
    zone = ZoneInfo("Europe/Zurich")
    mine = FixedSchedule(iter([session()]), name="mine", timezone=zone)
    assert isinstance(mine, Schedule)
    assert (mine.name, mine.timezone) == ("mine", zone)
    assert (week().name, week().timezone) == ("fixed", UTC)
    assert repr(week()) == "<FixedSchedule 'fixed' 2024-03-04 to 2024-03-08, 5 sessions>"


def test_fault_10_a_schedule_without_sessions_is_refused() -> None:
    """A schedule that knows nothing cannot be asked anything."""
    with pytest.raises(InvalidSession, match="schedule 'empty' has no sessions"):
        FixedSchedule([], name="empty")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"sessions": [MONDAY]}, r"a FixedSchedule takes Sessions, not datetime\.date\(2024, 3, 4\)"),
        ({"sessions": [session(), "close"]}, "a FixedSchedule takes Sessions, not 'close'"),
        ({"name": None}, "name must be a str, not None"),
        ({"timezone": "Europe/Zurich"}, "timezone must be a tzinfo, such as ZoneInfo.*, not 'Europe/Zurich'"),
        ({"timezone": None}, "timezone must be a tzinfo, such as ZoneInfo.*, not None"),
    ],
)
def test_what_is_of_the_wrong_kind_is_refused_at_once(arguments: dict[str, object], why: str) -> None:
    """A zone's name would be noticed at the first `apply()` only, and a name that is no text in the journal."""
    with pytest.raises(TypeError, match=why):
        FixedSchedule(**({"sessions": [session()]} | arguments))


@given(hours().filter(lambda drawn: len(drawn.sessions) > 1), st.data())
def test_fault_10_unsorted_sessions_are_refused(those: Hours, data: st.DataObject) -> None:
    """Any two neighbours in the wrong order are refused, and both are named."""
    i = data.draw(st.integers(1, len(those.sessions) - 1))
    swapped = list(those.sessions)
    swapped[i - 1 : i + 1] = swapped[i], swapped[i - 1]
    with pytest.raises(InvalidSession) as caught:
        FixedSchedule(swapped)
    assert str(swapped[i - 1].date) in str(caught.value)
    assert str(swapped[i].date) in str(caught.value)


@given(st.timedeltas(MICROSECOND, OPEN - at(MONDAY, (0, 0)) + DAY))
def test_fault_10_overlapping_sessions_are_refused(overlap: timedelta) -> None:
    """A session that opens before the one before has closed, by however little, is refused; both are named."""
    first = session(MONDAY)
    second = Session(MONDAY + DAY, first.close - overlap, first.close + DAY)
    with pytest.raises(ValueError, match=r"session 2024-03-04 .* must lie wholly before session 2024-03-05 ") as caught:
        FixedSchedule([first, second])
    assert isinstance(caught.value, InvalidSession)


def test_an_overlap_of_less_than_a_minute_is_seen_in_the_message() -> None:
    """Sessions of seconds are for a trial of a roll: minutes would say that one ends where the next begins."""
    first = session(MONDAY)
    second = Session(MONDAY + DAY, first.close - timedelta(seconds=0.5), first.close + DAY)
    with pytest.raises(InvalidSession) as caught:
        FixedSchedule([first, second])
    assert "to 2024-03-04 21:00:00 UTC) must lie" in str(caught.value)
    assert "(2024-03-04 20:59:59.500000 to" in str(caught.value)


def test_fault_10_two_sessions_of_one_date_are_refused() -> None:
    """A label is a session's identity, so it cannot stand for two."""
    morning, evening = session(close=(16, 0)), session(open=(17, 0))
    with pytest.raises(InvalidSession, match=r"2024-03-04 .* must lie wholly before session 2024-03-04"):
        FixedSchedule([morning, evening])


def test_sessions_may_touch() -> None:
    """A session may open at the very instant at which the one before closes, as on a market that never sleeps."""
    first = Session(MONDAY, OPEN, OPEN + DAY)
    second = Session(MONDAY + DAY, OPEN + DAY, OPEN + 2 * DAY)
    assert FixedSchedule([first, second]).session_at(OPEN + DAY) == second


@given(hours(), st.data())
def test_session_at_is_the_first_to_close_after(those: Hours, data: st.DataObject) -> None:
    """`session_at` gives the first session whose close lies after the instant, and at the close gives the next."""
    t = data.draw(instants(those) | st.sampled_from([each.close for each in those.sessions]))
    later = [each for each in those.sessions if each.close > t]
    if later:
        assert those.schedule.session_at(t) == later[0]
    else:
        with pytest.raises(ScheduleExhausted):
            those.schedule.session_at(t)


@given(hours(), st.integers(-3, 25))
def test_neighbours_are_found_from_any_date(those: Hours, days: int) -> None:
    """From any date, a session or not, the neighbours and the session itself are those of a plain search."""
    day, schedule = MONDAY + days * DAY, those.schedule
    for ask, found in (
        (schedule.next_session, [each for each in those.sessions if each.date > day][:1]),
        (schedule.previous_session, [each for each in those.sessions if each.date < day][-1:]),
        (schedule.session_on, [each for each in those.sessions if each.date == day]),
    ):
        if found:
            assert ask(day) == found[0]
        else:
            with pytest.raises((ScheduleExhausted, NotASession)):
                ask(day)


@given(hours(), st.integers(-3, 25), st.integers(-3, 25))
def test_a_range_of_sessions_is_inclusive(those: Hours, first: int, last: int) -> None:
    """`sessions` includes both of its ends, and is empty where there are none."""
    days = MONDAY + first * DAY, MONDAY + last * DAY
    assert those.schedule.sessions(*days) == tuple(each for each in those.sessions if days[0] <= each.date <= days[1])


@pytest.mark.parametrize(
    ("day", "near"),
    [
        (SATURDAY, (FRIDAY, MONDAY + 7 * DAY)),
        (MONDAY - DAY, (MONDAY,)),
        (MONDAY + 30 * DAY, (MONDAY + 8 * DAY,)),
    ],
)
def test_a_day_without_a_session_has_near_ones(day: date, near: tuple[date, ...]) -> None:
    """NotASession carries the schedule, the date, and the nearest sessions on either side."""
    with pytest.raises(NotASession) as caught:
        weekdays(n=7).session_on(day)
    assert (caught.value.schedule, caught.value.date, caught.value.near) == ("fixed", day, near)


@pytest.mark.parametrize(
    "ask",
    [
        lambda s: s.session_at(at(FRIDAY, (21, 0))),
        lambda s: s.next_session(FRIDAY),
        lambda s: s.next_session(SATURDAY),
        lambda s: s.previous_session(MONDAY),
        lambda s: s.previous_session(MONDAY - DAY),
    ],
)
def test_the_end_of_knowledge_names_what_is_known(ask: object) -> None:
    """Past either end ScheduleExhausted carries the first and last dates known."""
    with pytest.raises(ScheduleExhausted) as caught:
        ask(week())
    assert (caught.value.schedule, caught.value.first, caught.value.last) == ("fixed", MONDAY, FRIDAY)


def test_fault_03_a_schedule_is_asked_by_aware_instants_and_dates() -> None:
    """A naive instant raises; a datetime where a date belongs, or the reverse, is a TypeError."""
    schedule = week()
    with pytest.raises(NaiveDatetimeError, match=r"^t is 2024-03-04T17:00:00, which has no time zone"):
        schedule.session_at(NAIVE)
    with pytest.raises(TypeError, match="t must be an aware datetime"):
        schedule.session_at(MONDAY)
    for ask in (schedule.session_on, schedule.next_session, schedule.previous_session):
        with pytest.raises(TypeError, match=r"day must be a datetime\.date"):
            ask(OPEN)
    with pytest.raises(TypeError, match=r"first must be a datetime\.date"):
        schedule.sessions(OPEN, MONDAY)
    with pytest.raises(TypeError, match=r"last must be a datetime\.date"):
        schedule.sessions(MONDAY, OPEN)
