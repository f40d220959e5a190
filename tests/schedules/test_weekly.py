"""Hours by rule: the weeks that people trade, both changes of clocks, trade dates, overrides, and what is refused."""

import pickle
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from hypothesis import given

from session_lifecycle import (
    AdjustableSchedule,
    Closure,
    ConfigurationError,
    LifecycleConfig,
    NaiveDatetimeError,
    NotASession,
    OverrideRefused,
    Schedule,
    ScheduleExhausted,
    Session,
    SessionLifecycle,
    SessionState,
    SpecialHours,
    WeeklySchedule,
    replay,
)
from session_lifecycle._model.clock import Reading
from session_lifecycle._schedules.local_time import instant_of, zone_of
from tests.helpers.builders import DAY, MONDAY, utc

NEW_YORK, HONG_KONG = "America/New_York", "Asia/Hong_Kong"
FRIDAY, SATURDAY, SUNDAY = MONDAY + 4 * DAY, MONDAY + 5 * DAY, MONDAY + 6 * DAY
HOUR = timedelta(hours=1)


def currencies(**more: object) -> WeeklySchedule:
    return WeeklySchedule("FX", NEW_YORK, "Sun 17:00-Fri 17:00", daily_roll=time(17), **more)


def crypto(**more: object) -> WeeklySchedule:
    return WeeklySchedule("BTC", "UTC", "Mon-Sun 00:00-24:00", daily_roll=time(0), **more)


def shown(schedule: WeeklySchedule, first: date, last: date) -> list[str]:
    """Return the sessions in local time, a line each."""

    def text(t: datetime) -> str:
        return f"{t.astimezone(schedule.timezone):%a %H:%M}"

    return [
        f"{each.date:%a}: {text(each.open)} to {text(each.close)}"
        + "".join(f", break {text(start)} to {text(end)}" for start, end in each.breaks)
        for each in schedule.sessions(first, last)
    ]


# ---- weeks that people trade ----


def test_a_currency_week_is_five_days_from_roll_to_roll() -> None:
    """Monday's trade date begins on Sunday at 17:00 in New York; there is none on a weekend."""
    schedule = currencies()
    assert isinstance(schedule, Schedule)
    assert isinstance(schedule, AdjustableSchedule)
    assert (schedule.name, schedule.timezone) == ("FX", ZoneInfo(NEW_YORK))
    assert shown(schedule, MONDAY, SUNDAY) == [
        "Mon: Sun 17:00 to Mon 17:00",
        "Tue: Mon 17:00 to Tue 17:00",
        "Wed: Tue 17:00 to Wed 17:00",
        "Thu: Wed 17:00 to Thu 17:00",
        "Fri: Thu 17:00 to Fri 17:00",
    ]
    assert repr(schedule) == "<WeeklySchedule 'FX' in America/New_York>"


@pytest.mark.parametrize(
    ("day", "hours"),
    [(date(2025, 3, 10), 24), (date(2025, 3, 7), 24), (date(2025, 11, 3), 24), (date(2025, 3, 30), 0)],
)
def test_a_currency_day_has_24_hours_in_the_weeks_of_the_changes_too(day: date, hours: int) -> None:
    """The clocks change on Sunday at 02:00, while the week has not begun; the roll stays at 17:00."""
    found = currencies().sessions(day, day)
    assert [(each.close - each.open) / HOUR for each in found] == [hours] * bool(hours)
    assert all(each.close.astimezone(ZoneInfo(NEW_YORK)).time() == time(17) for each in found)


def test_a_day_around_the_clock_rolls_where_it_is_asked_to() -> None:
    """At midnight UTC; or at 17:00 in New York, with 23 hours and 25 on the days of the changes."""
    assert crypto().session_at(utc(2024, 3, 9, 12)) == Session(SATURDAY, utc(2024, 3, 9), utc(2024, 3, 10))
    evening = WeeklySchedule("BTC", NEW_YORK, "Mon-Sun 00:00-24:00", daily_roll=time(17))
    lengths = {
        day: (evening.session_on(day).close - evening.session_on(day).open) / HOUR
        for day in (date(2025, 3, 8), date(2025, 3, 9), date(2025, 11, 2))
    }
    assert lengths == {date(2025, 3, 8): 24, date(2025, 3, 9): 23, date(2025, 11, 2): 25}
    assert evening.session_at(utc(2025, 3, 8, 22)).date == date(2025, 3, 9)


def test_a_weekend_may_count_for_monday() -> None:
    """CME's cryptocurrency products: around the clock but for a pause, weekend trades dated the next business day."""
    schedule = WeeklySchedule(
        "CME crypto",
        "America/Chicago",
        ["Mon-Thu 17:00-16:00", "Fri 17:00-Sat 01:00", "Sat 03:00-Mon 16:00"],
        daily_roll=time(16),
        trade_days="Mon-Fri",
    )
    assert shown(schedule, MONDAY, SUNDAY) == [
        "Mon: Fri 17:00 to Mon 16:00, break Sat 01:00 to Sat 03:00",
        "Tue: Mon 17:00 to Tue 16:00",
        "Wed: Tue 17:00 to Wed 16:00",
        "Thu: Wed 17:00 to Thu 16:00",
        "Fri: Thu 17:00 to Fri 16:00",
    ]


def test_a_friday_night_counts_for_monday() -> None:
    """Hong Kong's index futures: 17:15 to 03:00 belongs to the next trading day; Saturday has no session."""
    schedule = WeeklySchedule(
        "HSI",
        HONG_KONG,
        "Mon-Fri 09:15-12:00, 13:00-16:30, 17:15-03:00",
        daily_roll=time(17),
        trade_days="Mon-Fri",
    )
    assert shown(schedule, FRIDAY, MONDAY + 8 * DAY) == [
        "Fri: Thu 17:15 to Fri 16:30, break Fri 03:00 to Fri 09:15, break Fri 12:00 to Fri 13:00",
        "Mon: Fri 17:15 to Mon 16:30, break Sat 03:00 to Mon 09:15, break Mon 12:00 to Mon 13:00",
        "Tue: Mon 17:15 to Tue 16:30, break Tue 03:00 to Tue 09:15, break Tue 12:00 to Tue 13:00",
    ]
    assert schedule.session_at(utc(2024, 3, 8, 14)).date == MONDAY + 7 * DAY


def test_a_week_from_sunday_to_thursday_with_a_short_day() -> None:
    """A Middle East week; days are a list, a range or one that goes round the end of the week."""
    schedule = WeeklySchedule("desk", "Asia/Riyadh", ["Sun-Wed 10:00-15:00", "Thu 10:00-13:30"])
    assert shown(schedule, MONDAY, SUNDAY) == [
        "Mon: Mon 10:00 to Mon 15:00",
        "Tue: Tue 10:00 to Tue 15:00",
        "Wed: Wed 10:00 to Wed 15:00",
        "Thu: Thu 10:00 to Thu 13:30",
        "Sun: Sun 10:00 to Sun 15:00",
    ]
    listed = WeeklySchedule("desk", "Asia/Riyadh", ["Sun,Mon-Wed 10:00-15:00", "Thu 10:00 - 13:30"])
    assert shown(listed, MONDAY, SUNDAY) == shown(schedule, MONDAY, SUNDAY)
    assert [each[:3] for each in shown(WeeklySchedule("w", "UTC", "Fri-Mon 10:00-11:00"), MONDAY, SUNDAY)] == [
        "Mon",
        "Fri",
        "Sat",
        "Sun",
    ]


def test_a_session_over_midnight_has_the_date_of_its_close() -> None:
    """Without a roll; a close at midnight is that of the day before, and ranges that touch have no break between."""
    schedule = WeeklySchedule("night", "UTC", ["Mon 22:00-04:00", "Wed 20:00-24:00", "Fri 09:00-12:00, 12:00-15:00"])
    assert shown(schedule, MONDAY, SUNDAY) == [
        "Tue: Mon 22:00 to Tue 04:00",
        "Wed: Wed 20:00 to Thu 00:00",
        "Fri: Fri 09:00 to Fri 15:00",
    ]


def test_ranges_that_touch_at_midnight_are_one_night() -> None:
    """However a night is written down, its session has the date of its close."""
    split = WeeklySchedule("night", "UTC", ["Mon 22:00-24:00", "Tue 00:00-04:00"])
    assert shown(split, MONDAY, SUNDAY) == ["Tue: Mon 22:00 to Tue 04:00"]


def test_a_week_wraps_round_its_end() -> None:
    """Sunday night touches Monday morning: one stretch, which a roll may cut."""
    joined = WeeklySchedule("wrap", "UTC", ["Sun 20:00-24:00", "Mon 00:00-06:00"])
    assert shown(joined, MONDAY, SUNDAY) == ["Mon: Sun 20:00 to Mon 06:00"]
    cut = WeeklySchedule("wrap", "UTC", ["Sun 20:00-24:00", "Mon 00:00-06:00"], daily_roll=time(0))
    assert shown(cut, MONDAY, SUNDAY) == ["Mon: Mon 00:00 to Mon 06:00", "Sun: Sun 20:00 to Mon 00:00"]


def test_seconds_are_understood() -> None:
    """An hour may have them, and so may the roll."""
    schedule = WeeklySchedule("s", "UTC", "Mon 09:00:30-17:00:15, 17:00:15-18:00", daily_roll=time(17, 0, 15))
    assert schedule.session_on(MONDAY) == Session(MONDAY, utc(2024, 3, 4, 9, 0, 30), utc(2024, 3, 4, 17, 0, 15))
    assert schedule.session_on(MONDAY + DAY).close == utc(2024, 3, 4, 18)


# ---- hours that a zone skips or repeats ----


def test_hours_that_are_skipped_do_not_exist() -> None:
    """On 9 March 2025 New York's clocks go from 02:00 to 03:00."""
    spring = date(2025, 3, 9)
    whole = WeeklySchedule("w", NEW_YORK, "Sun 02:00-03:00")
    with pytest.raises(NotASession) as caught:
        whole.session_on(spring)
    assert caught.value.near == (spring - 7 * DAY, spring + 7 * DAY)
    late = WeeklySchedule("l", NEW_YORK, "Sun 02:30-10:00").session_on(spring)
    early = WeeklySchedule("e", NEW_YORK, "Sun 01:00-02:30").session_on(spring)
    assert late == Session(spring, utc(2025, 3, 9, 7), utc(2025, 3, 9, 14))
    assert early == Session(spring, utc(2025, 3, 9, 6), utc(2025, 3, 9, 7))
    lunch = WeeklySchedule("b", NEW_YORK, "Sun 01:00-02:15, 02:45-05:00")
    assert lunch.session_on(spring) == Session(spring, utc(2025, 3, 9, 6), utc(2025, 3, 9, 9))
    assert len(lunch.session_on(spring + 7 * DAY).breaks) == 1


def test_a_close_at_an_hour_that_is_skipped_keeps_the_date_of_that_hour() -> None:
    """Santiago went from Saturday's 24:00 to Sunday's 01:00 on 11 October 2009."""
    schedule = WeeklySchedule("drawn", "America/Santiago", ["Sat 00:15-Sun 00:15"])
    session = schedule.session_at(utc(2009, 10, 10, 12))
    assert (session.date, session.close) == (date(2009, 10, 11), utc(2009, 10, 11, 4))
    assert schedule.session_at(utc(2009, 10, 3, 12)).date == date(2009, 10, 4)


def test_hours_that_occur_twice_are_their_first_occurrence() -> None:
    """On 2 November 2025 New York's clocks go from 02:00 back to 01:00; the roll between two days stays one instant."""
    schedule = WeeklySchedule("n", NEW_YORK, "Mon-Sun 00:00-24:00", daily_roll=time(1, 30))
    before, after = schedule.session_on(date(2025, 11, 2)), schedule.session_on(date(2025, 11, 3))
    assert before.close == after.open == utc(2025, 11, 2, 5, 30)
    assert (after.close - after.open) / HOUR == 25


def test_a_day_that_a_zone_left_out_has_no_session() -> None:
    """Samoa went from 29 to 31 December 2011."""
    schedule = WeeklySchedule("w", "Pacific/Apia", "Mon-Sun 09:00-17:00")
    assert [each.date.day for each in schedule.sessions(date(2011, 12, 28), date(2012, 1, 1))] == [28, 29, 31, 1]
    assert schedule.session_on(date(2011, 12, 31)).open == utc(2011, 12, 30, 19)


ZONES = [
    "America/New_York",
    "Europe/London",
    "Australia/Lord_Howe",  # half an hour
    "America/Santiago",  # at midnight
    "Pacific/Apia",
    "Africa/Casablanca",  # two changes around Ramadan
    "Asia/Tehran",
    "UTC",
]


@cache
def changes(name: str) -> list[datetime]:
    """Return hours of 2009 to 2026 before which a zone's offset changes, and one in which it does not."""
    zone = ZoneInfo(name)

    def changed(before: datetime, after: datetime) -> bool:
        return before.astimezone(zone).utcoffset() != after.astimezone(zone).utcoffset()

    days = [utc(2009, 1, 1) + number * DAY for number in range(18 * 366)]
    changing = [before for before, after in pairwise(days) if changed(before, after)]
    hours = [(day + (n - 1) * 6 * HOUR, day + n * 6 * HOUR) for day in changing for n in (1, 2, 3, 4)]
    return [utc(2020, 6, 1), *(after for before, after in hours if changed(before, after))]


moments = st.timedeltas(-3 * DAY, 3 * DAY)


@st.composite
def weeks(draw: st.DrawFn) -> tuple[WeeklySchedule, list[tuple[int, int]], time | None]:
    """Draw a schedule, its stretches in minutes of the week, and its roll."""
    zone = draw(st.sampled_from(ZONES))
    numbers = draw(st.lists(st.integers(0, 7 * 96 - 1), min_size=2, max_size=10, unique=True).map(sorted))
    stretches = [(15 * a, 15 * b) for a, b in zip(numbers[::2], numbers[1::2], strict=False)]
    roll = draw(st.none() | st.sampled_from([time(0), time(17), time(2), time(1, 30)]))
    if roll is None:
        stretches = [(a, min(b, a + 1440)) for a, b in stretches]
    hours = [f"{text(a)}-{text(b)}" for a, b in stretches]
    return WeeklySchedule("drawn", zone, draw(st.permutations(hours)), daily_roll=roll), stretches, roll


def text(minute: int) -> str:
    names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    return f"{names[minute // 1440 % 7]} {minute % 1440 // 60:02}:{minute % 60:02}"


@given(weeks(), st.data())
def test_it_is_open_exactly_while_the_clocks_show_its_hours(
    drawn: tuple[WeeklySchedule, list[tuple[int, int]], time | None], data: st.DataObject
) -> None:
    """At any instant, but for the second time that an hour occurs."""
    schedule, stretches, _ = drawn
    t = data.draw(st.sampled_from(changes(schedule.timezone.key))) + data.draw(moments)
    local = t.astimezone(schedule.timezone)
    if local.fold:
        return
    minutes = (local.weekday() * 24 + local.hour) * 60 + local.minute
    session = schedule.session_at(t)
    inside = session.open <= t and not any(start <= t < end for start, end in session.breaks)
    assert inside == any(a <= minutes < b for a, b in stretches)


@given(weeks(), st.data())
def test_sessions_follow_each_other_and_every_query_agrees(
    drawn: tuple[WeeklySchedule, list[tuple[int, int]], time | None], data: st.DataObject
) -> None:
    """They never overlap, `session_at` is the first to close after an instant, and each has its trade date."""
    schedule, _, roll = drawn
    around = data.draw(st.sampled_from(changes(schedule.timezone.key))).date()
    found = schedule.sessions(around - 15 * DAY, around + 15 * DAY)
    assert all(earlier.close <= later.open for earlier, later in pairwise(found))
    t = datetime.combine(around, time(), UTC) + data.draw(moments)
    assert schedule.session_at(t) == next(each for each in found if each.close > t)
    for earlier, later in pairwise(found):
        assert schedule.next_session(earlier.date) == later == schedule.session_on(later.date)
        assert schedule.previous_session(later.date) == earlier
    for each in found:
        close = each.close.astimezone(schedule.timezone)
        last = (each.close - timedelta(microseconds=1)).astimezone(schedule.timezone)
        day = last.date() if roll in {None, time(0)} or last.time() < roll else last.date() + DAY
        noon = datetime.combine(each.date, time(12), schedule.timezone)
        left_out = noon.astimezone(UTC).astimezone(schedule.timezone).date() != each.date  # Samoa's 30 December 2011
        # What closes at an hour that is left out, closes as the clocks are put forward: its date is that hour's.
        forward = close.utcoffset() > last.utcoffset() and each.date == close.date()
        assert each.date == day or last.fold or left_out or forward  # what closes at the second occurrence of its hour


@given(st.sampled_from(ZONES), st.data())
def test_later_local_times_are_never_earlier_instants(name: str, data: st.DataObject) -> None:
    """Over every change of clocks, so that no session can close before it opens."""
    zone = ZoneInfo(name)
    day = data.draw(st.sampled_from(changes(name))).date() - 2 * DAY
    seconds = sorted(data.draw(st.lists(st.integers(-86_400, 5 * 86_400), min_size=2, max_size=20)))
    found = [instant_of(day, each, zone) for each in seconds]
    assert found == sorted(found)


def test_what_names_no_zone_is_none() -> None:
    """Neither an unknown name, nor a path, nor a folder of the database."""
    assert zone_of("UTC") == ZoneInfo("UTC")
    assert zone_of(UTC) is UTC
    assert [zone_of(name) for name in ("Mars/Olympus", "/etc/localtime", "America", "", None, 5)] == [None] * 6


# ---- the machine on it ----


def test_a_replay_walks_a_currency_week_over_the_change_of_clocks() -> None:
    """Each day rolls into the next at 17:00, and the weekend lies between Friday's end and Sunday's open."""
    config = LifecycleConfig(pre_market=HOUR, post_market_roll_delay=HOUR)
    friday, tuesday = utc(2025, 3, 7, 21), utc(2025, 3, 11)
    zone = ZoneInfo(NEW_YORK)
    walked = [
        f"{event.scheduled_at.astimezone(zone):%a %H:%M} {event.trigger} {event.session:%a}"
        for event in replay(currencies(), friday, tuesday, config=config)
        if not event.catch_up
    ]
    assert walked == [
        "Fri 17:00 close_market Fri",
        "Fri 18:00 end_session Fri",
        "Fri 18:00 roll Mon",
        "Sun 16:00 start_pre_market Mon",
        "Sun 17:00 open_market Mon",
        "Mon 17:00 close_market Mon",
        "Mon 17:00 end_session Mon",
        "Mon 17:00 roll Tue",
        "Mon 17:00 start_pre_market Tue",
        "Mon 17:00 open_market Tue",
    ]


def test_a_lifecycle_on_it_follows_an_override() -> None:
    """As on any schedule that can replace the session of a date: the currency day closes at 13:00 in New York."""
    noon = Reading(utc(2025, 12, 24, 17), timedelta(0))
    lifecycle = SessionLifecycle(currencies())
    lifecycle.begin(noon)
    decision = lifecycle.change_schedule(SpecialHours(date(2025, 12, 24), close=time(13)), noon)
    assert decision is not None
    decision.apply(noon)
    assert (lifecycle.state, lifecycle.session.close) == (SessionState.ACTIVE, utc(2025, 12, 24, 18))
    lifecycle.poll(Reading(utc(2025, 12, 24, 18), HOUR))
    assert lifecycle.state is SessionState.POST_MARKET


# ---- closures and special hours ----


def test_closures_and_special_hours_lie_on_top() -> None:
    """Christmas 2025 in the currency market: an early close, no session, and a session on a Saturday."""
    overrides = [
        SpecialHours(date(2025, 12, 27), open=time(10), close=time(12), reason="a test"),
        Closure(date(2025, 12, 25)),
        SpecialHours(date(2025, 12, 24), close=time(13)),
    ]
    schedule = currencies(overrides=overrides)
    assert shown(schedule, date(2025, 12, 24), date(2025, 12, 29)) == [
        "Wed: Tue 17:00 to Wed 13:00",
        "Fri: Thu 17:00 to Fri 17:00",
        "Sat: Sat 10:00 to Sat 12:00",
        "Mon: Sun 17:00 to Mon 17:00",
    ]
    assert schedule.overrides == tuple(sorted(overrides, key=lambda each: each.date))
    assert schedule.session_at(utc(2025, 12, 24, 18)).date == date(2025, 12, 26)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (Closure(SATURDAY), "closes a date on which the calendar has no session"),
        (SpecialHours(SATURDAY, close=time(12)), "Give `open` and `close`"),
        (SpecialHours(MONDAY, close=datetime(2024, 3, 5, 12, tzinfo=UTC)), "would overlap"),
    ],
)
def test_an_override_that_cannot_be_is_refused(override: Closure | SpecialHours, words: str) -> None:
    """As on any schedule: it contradicts the rule, or overlaps a neighbour."""
    with pytest.raises(OverrideRefused, match=words):
        currencies(overrides=[override])


def test_a_session_can_be_replaced_in_a_copy() -> None:
    """As `manager.apply()` does it; the schedule itself stays as it is, and an overlap is refused."""
    schedule = currencies(overrides=[Closure(FRIDAY)])
    short = Session(MONDAY, utc(2024, 3, 3, 22), utc(2024, 3, 4, 12))
    other = schedule.with_session(MONDAY, short).with_session(MONDAY + DAY, None)
    assert other.sessions(MONDAY, FRIDAY)[0] == short
    assert [each.date for each in other.sessions(MONDAY, SUNDAY)] == [MONDAY, MONDAY + 2 * DAY, MONDAY + 3 * DAY]
    assert len(schedule.sessions(MONDAY, SUNDAY)) == 4
    with pytest.raises(OverrideRefused, match="would overlap"):
        schedule.with_session(MONDAY, Session(MONDAY, utc(2024, 3, 3, 22), utc(2024, 3, 5, 12)))


# ---- its ends, and what is refused ----


def test_it_has_no_end_but_that_of_the_calendar() -> None:
    """The years 2 to 9998 are known; beyond them nothing is guessed."""
    schedule = crypto()
    first, last = date(2, 1, 1), date(9998, 12, 31)
    assert schedule.session_on(first).date == first
    assert schedule.session_at(datetime(9998, 12, 31, 12, tzinfo=UTC)).date == last
    for ask in (
        lambda: schedule.next_session(last),
        lambda: schedule.previous_session(first),
        lambda: schedule.next_session(date.max),
        lambda: schedule.session_on(date.max),
        lambda: schedule.session_at(datetime(1, 6, 1, tzinfo=UTC)),
        lambda: schedule.sessions(date(1, 12, 31), first),
        lambda: schedule.with_session(date.min, None),
        lambda: crypto(overrides=[Closure(date.max)]),
        lambda: WeeklySchedule("m", "UTC", "Mon 09:00-10:00").session_at(datetime(9998, 12, 31, tzinfo=UTC)),
    ):
        with pytest.raises(ScheduleExhausted) as caught:
            ask()
        assert (caught.value.schedule in {"BTC", "m"}, caught.value.first, caught.value.last) == (True, first, last)
    assert schedule.sessions(last, first) == ()


def test_it_keeps_a_bounded_number_of_sessions() -> None:
    """A backtest of decades does not grow without end, and the answers stay the same."""
    schedule = crypto()
    twice = [schedule.sessions(date(2000, 1, 1), date(2024, 1, 1)) for _ in range(2)]
    assert twice[0] == twice[1]
    assert len(schedule._kept) <= 4_096


def test_it_can_be_pickled_and_has_the_same_answers() -> None:
    """A schedule is a value of other processes too."""
    schedule = currencies(overrides=[Closure(FRIDAY)])
    assert pickle.loads(pickle.dumps(schedule)).sessions(MONDAY, SUNDAY) == schedule.sessions(MONDAY, SUNDAY)


@pytest.mark.parametrize(
    ("argument", "value", "words"),
    [
        ("name", "", "must be a text"),
        ("name", None, "must be a text"),
        ("timezone", "Mars/Olympus", "such as 'America/New_York'"),
        ("timezone", "", "such as 'America/New_York'"),
        ("timezone", None, "such as 'America/New_York'"),
        ("hours", "", "'' is not of the form 'Mon-Fri 09:30-16:00' or 'Sun 17:00-Fri 17:00'"),
        ("hours", [], "must have an entry"),
        ("hours", None, "must have an entry"),
        ("hours", ["Mon 09:00-10:00", 7], "7 is not of the form"),
        ("hours", "Mon-Fri", "'Mon-Fri' is not of the form"),
        ("hours", "Mon-Fri 9:30-16:00", "is not of the form"),
        ("hours", "Mon-Fri 09:30-16:60", "is not of the form"),
        ("hours", "Mon-Fri 09:30-25:00", "is not of the form"),
        ("hours", "Mon-Fri 09:30-16:00,", "is not of the form"),
        ("hours", "Mon-Fri ٠٩:٣٠-16:00", "is not of the form"),
        ("hours", "Mon-Foo 09:30-16:00", "'Mon-Foo' is not a list of days such as 'Mon-Fri' or 'Sun,Tue,Thu'"),
        ("hours", "Mon,, 09:30-16:00", "'Mon,,' is not a list of days"),
        ("hours", "Monday 09:30-16:00", "'Monday' is not a list of days"),
        ("hours", ["Mon-Fri 09:30-16:00", "Fri 09:30-13:00"], "Fri 09:30-Fri 13:00 and Fri 09:30-Fri 16:00 overlap"),
        ("hours", ["Sun 20:00-04:00", "Mon 03:00-10:00"], "Sun 20:00-Mon 04:00 and Mon 03:00-Mon 10:00 overlap"),
        ("hours", "Mon 09:00-12:00, 11:00-13:00", "Mon 09:00-Mon 12:00 and Mon 11:00-Mon 13:00 overlap"),
        ("hours", "Mon-Sun 00:00-24:00", "is longer than a day: give `daily_roll`"),
        ("hours", "Sun 17:00-Fri 17:00", "Sun 17:00-Fri 17:00 is longer than a day: give `daily_roll`"),
        ("daily_roll", "17:00", "must be a time of the zone's day"),
        ("daily_roll", time(17, tzinfo=UTC), "must be a time of the zone's day"),
        ("daily_roll", time(17, 0, 0, 1), "must be a time of the zone's day, in whole seconds"),
        ("trade_days", "", "'' is not a list of days"),
        ("trade_days", 5, "5 is not a list of days"),
    ],
)
def test_bad_input_is_refused_by_the_name_of_its_argument(argument: str, value: object, words: str) -> None:
    """With the value, and with what is right."""
    good = {"name": "x", "timezone": "UTC", "hours": "Mon-Fri 09:00-17:00"}
    with pytest.raises(ConfigurationError) as caught:
        WeeklySchedule(**{**good, argument: value})
    assert (caught.value.field, caught.value.value) == (argument, value)
    assert words in caught.value.rule


def test_a_question_of_the_wrong_kind_is_refused() -> None:
    """A naive instant, and a datetime where a date belongs."""
    schedule = currencies()
    with pytest.raises(NaiveDatetimeError):
        schedule.session_at(datetime(2024, 3, 4))  # noqa: DTZ001 -- no time zone is the point
    for ask in (schedule.session_on, schedule.next_session, schedule.previous_session):
        with pytest.raises(TypeError, match=r"day must be a datetime\.date"):
            ask(utc(2024, 3, 4))
    with pytest.raises(TypeError, match=r"first must be a datetime\.date"):
        schedule.sessions(utc(2024, 3, 4), MONDAY)
    with pytest.raises(TypeError, match=r"an override must be a Closure or SpecialHours"):
        currencies(overrides=[MONDAY])


def test_a_zone_may_be_a_fixed_offset() -> None:
    """Any tzinfo will do."""
    schedule = WeeklySchedule("o", timezone(-5 * HOUR), "Mon 09:00-10:00")
    assert schedule.session_on(MONDAY).open == utc(2024, 3, 4, 14)


def test_a_season_of_overrides_is_one_row() -> None:
    """Its days are those of the rule; an override of a single date comes first."""
    summer = SpecialHours(date(2025, 7, 1), until=date(2025, 7, 4), close=time(13))
    late = SpecialHours(date(2025, 7, 2), close=time(15))
    desk = WeeklySchedule("desk", "UTC", "Mon-Fri 09:00-17:00", overrides=[summer, late])
    closes = [session.close.hour for session in desk.sessions(date(2025, 6, 30), date(2025, 7, 7))]
    assert closes == [17, 13, 15, 13, 13, 17]
    assert desk.overrides == (summer, late)
    with pytest.raises(OverrideRefused, match="has no session"):
        WeeklySchedule("desk", "UTC", "Mon 09:00-17:00", overrides=[summer])
