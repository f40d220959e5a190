"""Sessions as values, fixed schedules, and the rule for a session's boundaries."""

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
    boundaries,
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
from tests.helpers.strategies import Hours, durations, hours, instants

OPEN, CLOSE = at(MONDAY, (14, 30)), at(MONDAY, (21, 0))
NAIVE = datetime(2024, 3, 4, 17)  # noqa: DTZ001 -- no time zone is the point
FRIDAY = MONDAY + 4 * DAY
SATURDAY = MONDAY + 5 * DAY
ZERO = timedelta(0)

# ---- Session ----


def test_a_session_keeps_what_it_is_given() -> None:
    """A session's fields are those given, and what is not given is nothing."""
    plain = Session(MONDAY, OPEN, CLOSE)
    assert (plain.date, plain.open, plain.close) == (MONDAY, OPEN, CLOSE)
    assert (plain.breaks, plain.pre_market_start, plain.post_market_end) == ((), None, None)
    with pytest.raises(AttributeError):
        plain.close = OPEN
    assert plain == Session(MONDAY, OPEN, CLOSE)
    assert hash(plain) == hash(Session(MONDAY, OPEN, CLOSE))


def test_the_trade_date_may_differ_from_the_day_of_the_open() -> None:
    """An overnight session opens on the evening before its date."""
    overnight = Session(MONDAY, OPEN - DAY, CLOSE)
    assert overnight.date == MONDAY
    assert overnight.open.date() == MONDAY - DAY


@pytest.mark.parametrize(
    ("opens", "closes", "breaks", "words"),
    [
        ((21, 0), (14, 30), (), r"open 2024-03-04T21:00:00\+00:00 must come before close 2024-03-04T14:30:00\+00:00"),
        ((14, 30), (14, 30), (), "open .* must come before close"),
        ((14, 30), (21, 0), (((14, 0), (15, 0)),), "open .* must come before break start"),
        ((14, 30), (21, 0), (((14, 30), (15, 0)),), "open .* must come before break start"),
        ((14, 30), (21, 0), (((16, 0), (15, 0)),), "break start .* must come before break end"),
        ((14, 30), (21, 0), (((16, 0), (16, 0)),), "break start .* must come before break end"),
        ((14, 30), (21, 0), (((16, 0), (21, 0)),), "break end .* must come before close"),
        ((14, 30), (21, 0), (((16, 0), (22, 0)),), "break end .* must come before close"),
        ((14, 30), (21, 0), (((16, 0), (17, 0)), ((17, 0), (18, 0))), "break end .* must come before break start"),
        ((14, 30), (21, 0), (((18, 0), (19, 0)), ((16, 0), (17, 0))), "break end .* must come before break start"),
    ],
)
def test_hours_out_of_order_are_refused(
    opens: Clock, closes: Clock, breaks: tuple[tuple[Clock, Clock], ...], words: str
) -> None:
    """Open, breaks and close must ascend strictly; the message names the session and the two that do not."""
    with pytest.raises(InvalidSession, match=f"^session 2024-03-04: {words}"):
        session(MONDAY, opens, closes, breaks)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"pre_market_start": OPEN + MICROSECOND}, "pre_market_start .* must come before open"),
        ({"post_market_end": CLOSE - MICROSECOND}, "close .* must come before post_market_end"),
    ],
)
def test_facts_out_of_order_are_refused(facts: dict[str, datetime], words: str) -> None:
    """A pre-market cannot start after the open, nor a post-market end before the close."""
    with pytest.raises(InvalidSession, match=words):
        session(MONDAY, **facts)


def test_facts_may_have_no_width() -> None:
    """A pre-market that starts at the open and a post-market that ends at the close are facts as good as any."""
    bare = session(pre_market_start=OPEN, post_market_end=CLOSE)
    assert (bare.pre_market_start, bare.post_market_end) == (OPEN, CLOSE)


@pytest.mark.parametrize("n", range(4))
def test_a_session_has_any_number_of_breaks(n: int) -> None:
    """Breaks are kept in order, however many there are."""
    breaks = tuple(((15 + i, 0), (15 + i, 30)) for i in range(n))
    kept = session(MONDAY, breaks=breaks).breaks
    assert kept == tuple((at(MONDAY, start), at(MONDAY, end)) for start, end in breaks)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("open", NAIVE),
        ("close", NAIVE),
        ("breaks", ((NAIVE, CLOSE - MICROSECOND),)),
        ("breaks", ((OPEN + MICROSECOND, NAIVE),)),
        ("pre_market_start", NAIVE),
        ("post_market_end", NAIVE),
    ],
)
def test_fault_03_a_naive_instant_is_refused(field: str, value: object) -> None:
    """An instant without a time zone makes no session, and the message says which it is."""
    with pytest.raises(NaiveDatetimeError, match=f"^{field.removesuffix('s')} of 2024-03-04 is 2024-03-04T17:00:00"):
        Session(**{"date": MONDAY, "open": OPEN, "close": CLOSE, field: value})


@pytest.mark.parametrize("field", ["open", "close", "pre_market_start", "post_market_end"])
@pytest.mark.parametrize("value", [MONDAY, "2024-03-04T17:00Z", 1_709_571_600])
def test_something_that_is_no_datetime_is_refused(field: str, value: object) -> None:
    """A date, a string and a number are no instants."""
    with pytest.raises(TypeError, match=f"{field} of 2024-03-04 must be an aware datetime, not"):
        Session(**{"date": MONDAY, "open": OPEN, "close": CLOSE, field: value})


@pytest.mark.parametrize("day", [OPEN, "2024-03-04", None, 20240304])
def test_a_session_is_labelled_by_a_date(day: object) -> None:
    """A datetime is no label, though Python takes it for a date; nor is anything else."""
    with pytest.raises(TypeError, match=r"Session\.date must be a datetime\.date"):
        Session(day, OPEN, CLOSE)


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", "Pacific/Apia", "UTC"])
def test_instants_of_other_zones_become_utc(zone: str) -> None:
    """Every instant is brought to UTC, so that equal sessions compare equal and show alike."""
    local = ZoneInfo(zone)
    given_local = Session(
        MONDAY,
        OPEN.astimezone(local),
        CLOSE.astimezone(local),
        ((at(MONDAY, (17, 0)).astimezone(local), at(MONDAY, (18, 0)).astimezone(local)),),
        (OPEN - DAY).astimezone(local),
        (CLOSE + DAY).astimezone(local),
    )
    assert given_local == session(
        breaks=(((17, 0), (18, 0)),), pre_market_start=OPEN - DAY, post_market_end=CLOSE + DAY
    )
    (pause,) = given_local.breaks
    instants = (given_local.open, given_local.close, *pause, given_local.pre_market_start, given_local.post_market_end)
    assert all(instant is not None and instant.tzinfo is UTC for instant in instants)


def test_the_hour_that_occurs_twice_is_told_apart() -> None:
    """On the night when clocks go back, `fold` decides which of two equal wall times is meant."""
    local = ZoneInfo("America/New_York")
    first = datetime(2024, 11, 3, 1, 30, tzinfo=local)
    both = Session(date(2024, 11, 3), first, first.replace(fold=1))
    assert both.close - both.open == timedelta(hours=1)


# ---- FixedSchedule ----


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


# ---- boundaries ----


@given(hours())
def test_boundaries_follow_the_rule(those: Hours) -> None:
    """Boundaries are the fact or the duration, clipped by the previous session's end and the next session's open."""
    for i in range(len(those.sessions)):
        before, this, after = those.around(i)
        found = boundaries(
            this, before, after, pre_market=those.pre_market, post_market_roll_delay=those.post_market_roll_delay
        )
        assert found == those.edges(i)


@given(hours())
def test_boundaries_make_an_unbroken_chain(those: Hours) -> None:
    """Boundaries ascend, no session starts before the one before has ended, and none outlasts the next open."""
    previous_end = None
    for i in range(len(those.sessions)):
        before, this, after = those.around(i)
        found = boundaries(
            this, before, after, pre_market=those.pre_market, post_market_roll_delay=those.post_market_roll_delay
        )
        assert list(found) == sorted(found)
        assert (found.open, found.close) == (this.open, this.close)
        assert previous_end is None or previous_end <= found.pre_market_start
        assert after is None or found.end <= after.open
        previous_end = found.end


@given(durations, durations)
def test_boundaries_without_neighbours_are_not_clipped(pre_market: timedelta, delay: timedelta) -> None:
    """With no neighbour known, a session has its durations in full."""
    found = boundaries(session(), None, None, pre_market=pre_market, post_market_roll_delay=delay)
    assert found == (OPEN - pre_market, OPEN, CLOSE, CLOSE + delay)
    assert found._fields == ("pre_market_start", "open", "close", "end")


@given(durations, durations)
def test_facts_of_the_venue_override_the_durations(pre_market: timedelta, delay: timedelta) -> None:
    """Where the venue says when pre-market starts and post-market ends, the configured durations do not matter."""
    told = session(pre_market_start=OPEN - timedelta(hours=1), post_market_end=CLOSE + timedelta(hours=2))
    found = boundaries(told, None, None, pre_market=pre_market, post_market_roll_delay=delay)
    assert found == (told.pre_market_start, OPEN, CLOSE, told.post_market_end)


def test_fault_14_a_pre_market_is_clipped_by_the_previous_end() -> None:
    """A pre-market, configured or a fact, never reaches into the session before."""
    first, second = session(MONDAY), session(MONDAY + DAY)
    tight = {"pre_market": 2 * DAY, "post_market_roll_delay": timedelta(hours=3)}
    assert boundaries(second, first, None, **tight).pre_market_start == utc(2024, 3, 5)
    early = session(MONDAY + DAY, pre_market_start=OPEN)
    assert boundaries(early, first, None, **tight).pre_market_start == utc(2024, 3, 5)
    # The end of the first is cut off at the second's open, so nothing is left of the pre-market.
    long = {"pre_market": 2 * DAY, "post_market_roll_delay": 2 * DAY}
    assert boundaries(second, first, None, **long).pre_market_start == second.open
    assert boundaries(first, None, second, **long).end == second.open


def test_fault_13_states_may_have_no_width() -> None:
    """On a market that never sleeps, end, next pre-market and next open are one instant."""
    first, second = Session(MONDAY, OPEN, OPEN + DAY), Session(MONDAY + DAY, OPEN + DAY, OPEN + 2 * DAY)
    durations = {"pre_market": timedelta(hours=5), "post_market_roll_delay": timedelta(hours=1)}
    one, two = boundaries(first, None, second, **durations), boundaries(second, first, None, **durations)
    assert one.close == one.end == two.pre_market_start == two.open == OPEN + DAY
    none = boundaries(session(), None, None, pre_market=ZERO, post_market_roll_delay=ZERO)
    assert none == (OPEN, OPEN, CLOSE, CLOSE)
