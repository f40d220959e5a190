"""Closures and special hours as values, from files, in schedules; and what they may do to a running lifecycle."""

import tomllib
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_lifecycle import (
    Closure,
    ConfigurationError,
    ExchangeSchedule,
    InvalidSession,
    NaiveDatetimeError,
    OverrideRefused,
    Schedule,
    ScheduleExhausted,
    Session,
    SessionLifecycle,
    SessionState,
    SpecialHours,
    StateChanged,
    replay,
)
from session_lifecycle._core.timeline import Timeline
from session_lifecycle._model.clock import Reading
from session_lifecycle._model.overrides import applied
from tests.helpers.builders import DAY, MONDAY, at, session, utc, weekdays
from tests.helpers.harness import DEAF, HOUR, MINUTE, SECOND

NEW_YORK, LONDON = ZoneInfo("America/New_York"), ZoneInfo("Europe/London")
TUESDAY, WEDNESDAY = MONDAY + DAY, MONDAY + 2 * DAY
LUNCH = session(breaks=(((16, 0), (17, 0)),))


# ---- values ----


def test_an_hour_of_the_day_is_the_exchanges_own():
    hours = SpecialHours(date(2024, 11, 29), open=time(10), close=time(13))
    assert applied(hours, None, NEW_YORK) == Session(date(2024, 11, 29), utc(2024, 11, 29, 15), utc(2024, 11, 29, 18))


def test_an_aware_hour_is_that_instant():
    evening = datetime(2024, 11, 28, 17, tzinfo=NEW_YORK)
    hours = SpecialHours(date(2024, 11, 29), open=evening, close=time(13))
    after = applied(hours, None, NEW_YORK)
    assert after is not None
    assert (after.open, after.open.tzinfo) == (utc(2024, 11, 28, 22), UTC)


def test_what_is_not_given_stays():
    before = session(post_market_end=at(MONDAY, (23, 0)), pre_market_start=at(MONDAY, (9, 0)))
    after = applied(SpecialHours(MONDAY, close=time(18)), before, UTC)
    assert after == session(close=(18, 0), post_market_end=at(MONDAY, (23, 0)), pre_market_start=at(MONDAY, (9, 0)))


@pytest.mark.parametrize(
    ("hours", "breaks"),
    [
        (SpecialHours(MONDAY, close=time(16)), ()),
        (SpecialHours(MONDAY, open=time(17)), ()),
        (SpecialHours(MONDAY, close=time(17, 1)), LUNCH.breaks),
        (SpecialHours(MONDAY, breaks=()), ()),
        (SpecialHours(MONDAY, breaks=((time(15), time(15, 30)),)), ((at(MONDAY, (15, 0)), at(MONDAY, (15, 30))),)),
    ],
)
def test_breaks_stay_as_far_as_they_lie_within_the_hours(hours, breaks):
    after = applied(hours, LUNCH, UTC)
    assert after is not None
    assert after.breaks == breaks


@pytest.mark.parametrize(
    ("override", "before", "why"),
    [
        (Closure(MONDAY), None, "no session"),
        (SpecialHours(MONDAY, close=time(18)), None, "give `open` and `close`"),
        (SpecialHours(MONDAY, close=time(14)), LUNCH, "open 2024-03-04T14:30:00+00:00 must come before"),
        (SpecialHours(MONDAY, close=time(16, 30)), LUNCH, "break end 2024-03-04T17:00:00+00:00 must come before close"),
        (SpecialHours(MONDAY, post_market_end=time(20)), LUNCH, "must come before post_market_end"),
    ],
)
def test_hours_that_cannot_be_name_both(override, before, why):
    with pytest.raises(OverrideRefused) as caught:
        applied(override, before, UTC)
    assert why in str(caught.value)
    assert repr(override) in str(caught.value)


def test_an_hour_that_the_clocks_leave_out_is_refused():
    with pytest.raises(OverrideRefused, match="01:30:00 does not exist in Europe/London on that day"):
        applied(SpecialHours(date(2024, 3, 31), open=time(1, 30), close=time(9)), None, LONDON)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: SpecialHours(MONDAY), OverrideRefused),
        (lambda: SpecialHours(MONDAY, open=datetime(2024, 3, 4, 9)), NaiveDatetimeError),  # noqa: DTZ001
        (lambda: SpecialHours(MONDAY, open=time(9, tzinfo=UTC)), TypeError),
        (lambda: SpecialHours(MONDAY, open="09:00"), TypeError),
        (lambda: SpecialHours(MONDAY, breaks=((time(9), "10:00"),)), TypeError),
        (lambda: SpecialHours(utc(2024, 3, 4), open=time(9)), TypeError),
        (lambda: Closure("2024-03-04"), TypeError),
    ],
)
def test_bad_values_are_refused_at_once(make, error):
    with pytest.raises(error):
        make()


# ---- schedules ----


def test_a_fixed_schedule_with_another_session():
    schedule = weekdays(n=3, name="desk")
    early = session(TUESDAY, close=(18, 0))
    changed = schedule.with_session(TUESDAY, early)
    assert changed.sessions(MONDAY, WEDNESDAY) == (session(), early, session(WEDNESDAY))
    assert (changed.name, changed.timezone) == ("desk", UTC)
    assert changed.with_session(TUESDAY, None).next_session(MONDAY).date == WEDNESDAY
    assert schedule.session_on(TUESDAY) == session(TUESDAY)
    with pytest.raises(InvalidSession, match="must lie wholly before"):
        schedule.with_session(TUESDAY, session(TUESDAY).__class__(TUESDAY, at(MONDAY, (20, 0)), at(TUESDAY, (21, 0))))


def test_overrides_of_an_exchange_schedule():
    near = utc(2024, 11, 25)
    overrides = [
        SpecialHours(date(2024, 11, 27), close=time(14), reason="an election"),
        Closure(date(2024, 11, 26)),
        SpecialHours(date(2024, 11, 30), open=time(10), close=time(12)),
    ]
    schedule = ExchangeSchedule("XNYS", overrides=overrides, near=near)
    days = [each.date.day for each in schedule.sessions(date(2024, 11, 25), date(2024, 11, 30))]
    assert days == [25, 27, 29, 30]
    assert schedule.session_on(date(2024, 11, 27)).close == utc(2024, 11, 27, 19)
    assert schedule.session_at(utc(2024, 11, 27, 19)).date == date(2024, 11, 29)
    assert schedule.session_on(date(2024, 11, 30)).open == utc(2024, 11, 30, 15)
    assert [each.date.day for each in schedule.overrides] == [26, 27, 30]
    assert ExchangeSchedule("XNYS", near=near).session_on(date(2024, 11, 26)).date.day == 26


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        ([Closure(date(2024, 11, 29)), SpecialHours(date(2024, 11, 29), close=time(12))], "contradict each other"),
        ([Closure(date(2024, 11, 28))], "no session"),
        ([SpecialHours(date(2024, 11, 29), open=utc(2024, 11, 27, 20))], "would run into"),
        ([SpecialHours(date(2024, 12, 31), close=utc(2025, 1, 2, 15))], "would run into"),
        ([SpecialHours(date(2024, 11, 29), close=time(9))], "must come before"),
    ],
)
def test_overrides_that_cannot_be_are_refused_at_construction(overrides, why):
    with pytest.raises(OverrideRefused, match=why):
        ExchangeSchedule("XNYS", overrides=overrides, near=utc(2024, 11, 25))


def test_overrides_of_other_kinds_and_times_are_refused():
    with pytest.raises(TypeError, match="an override is a Closure or SpecialHours"):
        ExchangeSchedule("XNYS", overrides=["closed"])
    with pytest.raises(ScheduleExhausted):
        ExchangeSchedule("XNYS", overrides=[Closure(date(2300, 1, 1))])


def test_an_exchange_schedule_with_another_session_leaves_the_original_alone():
    schedule = ExchangeSchedule("XNYS", near=utc(2024, 11, 25))
    changed = schedule.with_session(date(2024, 11, 29), None)
    assert changed.next_session(date(2024, 11, 27)).date == date(2024, 12, 2)
    assert schedule.next_session(date(2024, 11, 27)).date == date(2024, 11, 29)
    assert changed.session_on(date(2029, 11, 28)) == schedule.session_on(date(2029, 11, 28))
    late = Session(date(2024, 11, 29), utc(2024, 11, 29, 15), utc(2024, 12, 2, 15))
    with pytest.raises(OverrideRefused, match="would run into"):
        schedule.with_session(date(2024, 11, 29), late)


# ---- files ----

FILE = """
calendar = "XNAS"
extended_hours = true
corrections = false

[[closure]]
date = 2024-11-26
reason = "a storm"

[[special_hours]]
date = 2024-11-27
close = 14:00:00
breaks = [[11:00:00, 11:30:00]]

[[special_hours]]
date = 2024-11-30
open = 2024-11-30T10:00:00-05:00
close = 12:00:00
"""


def test_a_file_describes_a_schedule(tmp_path):
    path = tmp_path / "hours.toml"
    path.write_text(FILE)
    schedule = ExchangeSchedule.from_file(path, near=utc(2024, 11, 25))
    assert schedule.name == "XNYS"
    assert schedule.session_on(date(2024, 11, 25)).pre_market_start == utc(2024, 11, 25, 9)
    assert schedule.overrides == (
        Closure(date(2024, 11, 26), "a storm"),
        SpecialHours(date(2024, 11, 27), close=time(14), breaks=((time(11), time(11, 30)),)),
        SpecialHours(date(2024, 11, 30), open=utc(2024, 11, 30, 15), close=time(12)),
    )
    assert schedule.next_session(date(2024, 11, 25)).breaks == ((utc(2024, 11, 27, 16), utc(2024, 11, 27, 16, 30)),)
    assert schedule.session_on(date(2024, 11, 30)).close == utc(2024, 11, 30, 17)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "must say which calendar it is for"),
        ("calendar = 5", "must say which calendar it is for"),
        ('calendar = "XNYS"\nextended_hours = "yes"', "extended_hours must be true or false, not 'yes'"),
        ('calendar = "XNYS"\n[closure]\ndate = 2024-11-26', "'closure' is not understood"),
        ('calendar = "XNYS"\n[[holiday]]\ndate = 2024-11-26', "'holiday' is not understood"),
        ('calendar = "XNYS"\nclosure = [3]', "3 needs `date`"),
        ('calendar = "XNYS"\n[[closure]]\nreason = "x"', "needs `date`"),
        ('calendar = "XNYS"\n[[closure]]\ndate = 2024-11-26\nday = 3', "can have date, reason"),
        ('calendar = "XNYS"\n[[closure]]\ndate = "Tuesday"', "must be a datetime.date"),
        ('calendar = "XNYS"\n[[special_hours]]\ndate = 2024-11-26\nclose = "14:00"', "must be a time"),
        ('calendar = "XNYS"\n[[special_hours]]\ndate = 2024-11-26\nclose = 2024-11-26T14:00:00', "no time zone"),
        ('calendar = "XNYS"\n[[special_hours]]\ndate = 2024-11-26\nbreaks = [3]', "breaks"),
    ],
)
def test_a_file_that_is_not_understood_is_refused(tmp_path, text, why):
    path = tmp_path / "hours.toml"
    path.write_text(text)
    with pytest.raises(OverrideRefused) as caught:
        ExchangeSchedule.from_file(path)
    assert why in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_no_toml_or_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        ExchangeSchedule.from_file(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("calendar = ")
    with pytest.raises(tomllib.TOMLDecodeError):
        ExchangeSchedule.from_file(tmp_path / "bad.toml")


# ---- extended hours ----


@pytest.mark.parametrize(
    ("calendar", "day", "start", "end"),
    [
        ("XNYS", date(2026, 11, 25), utc(2026, 11, 25, 9), utc(2026, 11, 26, 1)),
        ("XNAS", date(2026, 11, 27), utc(2026, 11, 27, 9), utc(2026, 11, 27, 22)),
        ("XNYS", date(2026, 7, 2), utc(2026, 7, 2, 8), utc(2026, 7, 3)),
        ("XNYS", date(2012, 7, 2), None, None),  # before the hours on record
        ("XETR", date(2026, 1, 5), utc(2026, 1, 5, 7), utc(2026, 1, 5, 21)),
        ("XETR", date(2025, 11, 28), None, None),
        ("XETR", date(2025, 12, 30), utc(2025, 12, 30, 7), None),  # a short day: its evening is not on record
        ("XTSE", date(2026, 1, 5), None, utc(2026, 1, 5, 22)),
    ],
)
def test_extended_hours_are_those_that_the_venue_publishes(calendar, day, start, end):
    schedule = ExchangeSchedule(calendar, extended_hours=True, near=datetime.combine(day, time(12), UTC))
    found = schedule.session_on(day)
    assert (found.pre_market_start, found.post_market_end) == (start, end)
    plain = ExchangeSchedule(calendar, near=datetime.combine(day, time(12), UTC)).session_on(day)
    assert (plain.pre_market_start, plain.post_market_end) == (None, None)
    assert (plain.open, plain.close, plain.breaks) == (found.open, found.close, found.breaks)


def test_extended_hours_of_a_venue_without_an_entry():
    with pytest.raises(ConfigurationError, match="none are on record for XLON, only for XETR, XNYS, XTSE"):
        ExchangeSchedule("XLON", extended_hours=True)


# ---- on a lifecycle, against a plan of the changed schedule ----

CLOCK_TIMES = st.integers(0, 95).map(lambda quarter: time(quarter // 4, quarter % 4 * 15))
DAYS = st.sampled_from([MONDAY + n * DAY for n in range(7)])
OVERRIDES = st.one_of(
    st.builds(Closure, DAYS),
    st.builds(SpecialHours, DAYS, close=CLOCK_TIMES),
    st.builds(SpecialHours, DAYS, open=CLOCK_TIMES),
    st.builds(SpecialHours, DAYS, open=CLOCK_TIMES, close=CLOCK_TIMES),
    st.builds(SpecialHours, DAYS, post_market_end=CLOCK_TIMES),
    st.builds(SpecialHours, DAYS, pre_market_start=CLOCK_TIMES),
    st.builds(
        lambda day, start, length: SpecialHours(
            day, breaks=((at(day, (0, 0)) + start, at(day, (0, 0)) + start + length),)
        ),
        DAYS,
        st.integers(0, 1439).map(lambda n: n * MINUTE),
        st.integers(1, 300).map(lambda n: n * MINUTE),
    ),
)
STEPS = st.lists(st.tuples(st.integers(1, 24 * 60).map(lambda n: n * MINUTE), OVERRIDES), max_size=8)


class Life:
    """A lifecycle with rolls that succeed at once, and a log of its edges."""

    def __init__(self, schedule: Schedule, start: datetime) -> None:
        self.core = SessionLifecycle(schedule, config=DEAF)
        self.start = self.wall = start
        self.log: list[StateChanged] = []
        self.core.begin(self.now)
        self.settle()

    @property
    def now(self) -> Reading:
        return Reading(self.wall, self.wall - self.start)

    def settle(self) -> None:
        while True:
            self.core.poll(self.now)
            turn = self.core.due_roll(self.now)
            if turn is None:
                break
            self.core.begin_roll(turn, self.now, journalled=False).apply()
            self.core.roll_succeeded(turn, self.now).apply()
        self.log += [event for event in self.core.take_events() if isinstance(event, StateChanged)]

    def run_to(self, end: datetime) -> None:
        while self.wall < end:
            due, _ = self.core.deadlines
            self.wall = end if due is None else min(due, end)
            self.settle()

    def apply(self, override: Closure | SpecialHours) -> bool:
        try:
            decision = self.core.change_schedule(override, self.now)
        except OverrideRefused:
            self.settle()
            return False
        if decision is not None:
            decision.apply()
        self.settle()
        return True


@given(steps=STEPS, hours=st.integers(0, 30))
def test_any_overrides_keep_the_machine_with_the_schedule_and_leave_the_past_alone(steps, hours):
    """After every change the machine is where the changed schedule says, and what it had said of the past it says."""
    life = Life(weekdays(n=30), at(MONDAY, (0, 0)) + hours * HOUR)
    for wait, override in steps:
        life.run_to(life.wall + wait)
        before, core = life.core.schedule, life.core
        closes_today = isinstance(override, Closure) and override.date == core.session.date
        if not life.apply(override):
            assert core.schedule is before
        assert core.state is core.scheduled_state is Timeline(core.schedule, DEAF).at(life.wall).state
        assert core.session == Timeline(core.schedule, DEAF).at(life.wall).session
        if not closes_today:
            assert list(replay(core.schedule, life.start, life.wall, config=DEAF)) == list(
                replay(before, life.start, life.wall, config=DEAF)
            )
    end = at(MONDAY + 14 * DAY, (16, 0))
    life.run_to(end)
    assert core_path(life.log) == legal(life.log)
    assert life.core.state is SessionState.ACTIVE
    sessions = [event.session for event in life.log if event.trigger == "roll"]
    assert sessions == sorted(set(sessions))
    last = life.log[-1]
    assert life.core.session.date == end.date() == last.session
    assert last.observed_at - last.scheduled_at < SECOND


def core_path(log: list[StateChanged]) -> list[tuple[str, SessionState, SessionState]]:
    return [(event.trigger, event.source, event.dest) for event in log]


def legal(log: list[StateChanged]) -> list[tuple[str, SessionState, SessionState]]:
    """Return the edges of the log as far as each begins where the one before ended, and is one that there is."""
    found: list[tuple[str, SessionState, SessionState]] = []
    state = SessionState.NOT_STARTED
    table = {
        "start_pre_market": (SessionState.NOT_STARTED, SessionState.PRE_MARKET),
        "open_market": (SessionState.PRE_MARKET, SessionState.ACTIVE),
        "close_market": (SessionState.ACTIVE, SessionState.POST_MARKET),
        "end_session": (SessionState.POST_MARKET, SessionState.ENDED),
        "roll": (SessionState.ENDED, SessionState.NOT_STARTED),
    }
    for event in log:
        if (event.source, event.dest) != table[event.trigger] or event.source is not state:
            break
        found.append((event.trigger, event.source, event.dest))
        state = event.dest
    return found
