"""The position at any instant, and `replay`, against brute force over fixed schedules."""

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from weakref import ref
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from hypothesis import example, given
from msgspec.structs import replace

from session_lifecycle import (
    ConfigurationError,
    FixedSchedule,
    LifecycleConfig,
    MissedSessions,
    NaiveDatetimeError,
    NotASession,
    ScheduleExhausted,
    Session,
    SessionLifecycle,
    SessionState,
    StateChanged,
    replay,
)
from session_lifecycle._core.timeline import Position, SharedTimelines, Timeline
from session_lifecycle._model.clock import Reading
from session_lifecycle._model.legs import SCHEDULE_TRANSITIONS
from tests.helpers.builders import (
    DAY,
    MICROSECOND,
    MONDAY,
    at,
    utc,
    week,
    weekdays,
)
from tests.helpers.strategies import Hours, hours, instants

NAIVE = datetime(2024, 3, 4, 17)  # noqa: DTZ001 -- no time zone is the point
BEGINNING = datetime.min.replace(tzinfo=UTC)
TUESDAY, FRIDAY = MONDAY + DAY, MONDAY + 4 * DAY
LATEST, EACH = MissedSessions.LATEST, MissedSessions.EACH
WALK = [
    ("start_pre_market", SessionState.NOT_STARTED, SessionState.PRE_MARKET),
    ("open_market", SessionState.PRE_MARKET, SessionState.ACTIVE),
    ("close_market", SessionState.ACTIVE, SessionState.POST_MARKET),
    ("end_session", SessionState.POST_MARKET, SessionState.ENDED),
]
# Monday to Wednesday without a night between them: each closes when the next one opens.
SLEEPLESS = Hours(
    tuple(
        Session(MONDAY + i * DAY, at(MONDAY, (0, 0)) + i * DAY, at(MONDAY, (0, 0)) + (i + 1) * DAY) for i in range(3)
    ),
    timedelta(hours=5),
    timedelta(hours=1),
)


class Unknowing(FixedSchedule):
    """A schedule that says so when it is asked about a time before its first session."""

    last_known = FRIDAY

    def session_at(self, t: datetime) -> Session:
        first = super().session_at(BEGINNING)
        if t < first.open:
            raise ScheduleExhausted(self.name, t, first.date, self.last_known)
        return super().session_at(t)


# ---- Timeline ----


def position_of(those: Hours, t: datetime) -> Position:
    """Find the position by trying every session in turn."""
    for i, each in enumerate(those.sessions):
        if t < those.end(i):
            edges = those.edges(i)
            passed = sum(edge <= t for edge in edges)
            since = edges[passed - 1] if passed else (those.end(i - 1) if i else BEGINNING)
            return Position(each, WALK[passed][1], since, edges[passed])
    return Position(those.sessions[-1], SessionState.ENDED, those.end(len(those.sessions) - 1), None)


def test_the_edges_of_a_session() -> None:
    """The four edges of the clock are those of the state machine, in the order of the boundaries."""
    assert list(SCHEDULE_TRANSITIONS) == WALK


@given(hours(), st.data())
def test_fault_12_the_position_at_any_instant(those: Hours, data: st.DataObject) -> None:
    """Just before, at and just after every boundary, and anywhere else, the position is that of a plain search."""
    t = data.draw(instants(those))
    position = Timeline(those.schedule, those.config).at(t)
    assert position == position_of(those, t)
    assert position.covers(t) is (position.until is not None)


@given(hours())
def test_positions_leave_no_gap(those: Hours) -> None:
    """Walking from each position's end to the next passes every session, and every state that has a width."""
    timeline = Timeline(those.schedule, those.config)
    positions = [timeline.at(BEGINNING)]
    while (until := positions[-1].until) is not None:
        positions.append(timeline.at(until))
        assert positions[-1].since == until != positions[-1].until
    assert all(p.until is None or p.since < p.until for p in positions)
    assert [(p.session, p.state) for p in positions if p.state is SessionState.ACTIVE] == [
        (each, SessionState.ACTIVE) for each in those.sessions
    ]
    assert [p.state for p in positions].count(SessionState.ENDED) == 1


def test_a_position_covers_a_half_open_stretch() -> None:
    """A position covers its beginning, not its end; past the end of knowledge it covers nothing."""
    timeline = Timeline(week(), LifecycleConfig())
    active = timeline.at(at(MONDAY, (15, 0)))
    assert (active.since, active.until) == (at(MONDAY, (14, 30)), at(MONDAY, (21, 0)))
    covered = [
        active.covers(edge + shift) for edge in active[2:] for shift in (-MICROSECOND, timedelta(0), MICROSECOND)
    ]
    assert covered == [False, True, True, True, False, False]
    ended = timeline.at(utc(2024, 3, 9))
    assert (ended.session.date, ended.state, ended.until) == (FRIDAY, SessionState.ENDED, None)
    assert not ended.covers(utc(2024, 3, 9))


def test_a_position_before_all_knowledge_is_refused() -> None:
    """Where the schedule does not know the time before its first session, neither does the timeline."""
    timeline = Timeline(Unknowing(week().sessions(MONDAY, FRIDAY)), LifecycleConfig())
    with pytest.raises(ScheduleExhausted) as caught:
        timeline.at(at(MONDAY, (14, 29)))
    assert caught.value.first == MONDAY
    assert timeline.at(at(MONDAY, (14, 30))).state is SessionState.ACTIVE
    assert timeline.at(utc(2024, 3, 9)).state is SessionState.ENDED


class OutOfReach(Unknowing):
    """A schedule that names a last session without being able to give it."""

    def session_on(self, day: date) -> Session:
        raise ScheduleExhausted(self.name, day, MONDAY, FRIDAY)


class KnowsDays(Unknowing):
    """A schedule whose knowledge ends with a day that is no session, which is what it tells."""

    last_known = FRIDAY + DAY


@pytest.mark.parametrize("kind", [OutOfReach, KnowsDays])
def test_the_end_of_knowledge_need_not_be_a_session(kind: type[Unknowing]) -> None:
    """Where the last that a schedule knows of is no session that it can give, exhaustion is still what is told."""
    wanted = at(MONDAY, (0, 0))
    with pytest.raises(ScheduleExhausted) as caught:
        Timeline(kind(week().sessions(MONDAY, FRIDAY)), LifecycleConfig()).at(wanted)
    assert caught.value.wanted == wanted


def test_neighbours_are_none_at_either_end() -> None:
    """Beyond the first and the last session there is no neighbour, and boundaries are not clipped."""
    timeline = Timeline(weekdays(n=2), LifecycleConfig(pre_market=20 * DAY, post_market_roll_delay=20 * DAY))
    first, last = weekdays(n=2).sessions(MONDAY, TUESDAY)
    assert (timeline.previous(first), timeline.following(first)) == (None, last)
    assert (timeline.previous(last), timeline.following(last)) == (first, None)
    assert timeline.boundaries(first) == (first.open - 20 * DAY, first.open, first.close, last.open)
    assert timeline.boundaries(last) == (last.open, last.open, last.close, last.close + 20 * DAY)


# ---- replay ----


def replay_of(
    those: Hours, start: datetime, end: datetime, first: int | None, policy: MissedSessions
) -> tuple[list[StateChanged], bool]:
    """Write down every edge of every session, then strike out what is not wanted. Tell whether knowledge runs out."""
    owner = those.sessions.index(position_of(those, start).session)
    walked = list(range(owner if first is None else first, len(those.sessions)))
    if policy is LATEST:
        walked = walked[:1] + [i for i in walked[1:] if i >= owner]
    edges: list[tuple[str, SessionState, SessionState, int, datetime]] = []
    for n, i in enumerate(walked):
        if n:
            edges.append(("roll", SessionState.ENDED, SessionState.NOT_STARTED, i, those.end(walked[n - 1])))
        edges += [(*edge, i, due) for edge, due in zip(WALK, those.edges(i), strict=True)]
    events = [
        StateChanged(source, dest, trigger, those.sessions[i].date, due, max(due, start), due < start)
        for trigger, source, dest, i, due in edges
        if due < end
    ]
    return events, len(events) == len(edges)


def drain(edges: Iterator[StateChanged]) -> tuple[list[StateChanged], bool]:
    """Read until the end, and tell whether that was the end of knowledge."""
    events: list[StateChanged] = []
    try:
        events.extend(edges)  # keeps what came before the error
    except ScheduleExhausted:
        return events, True
    return events, False


@given(hours(), st.sampled_from(MissedSessions), st.data())
@example(SLEEPLESS, EACH, None)
def test_replay_is_what_brute_force_finds(those: Hours, policy: MissedSessions, data: st.DataObject | None) -> None:
    """From any start to any end, in any session and by either policy, the edges are those written down one by one."""
    if data is None:
        start, end, first = at(MONDAY, (12, 0)), utc(2025, 1, 1), None
    else:
        known = instants(those).filter(lambda t: t < those.end(len(those.sessions) - 1))
        start = data.draw(known)
        end = max(start, data.draw(instants(those)))
        first = data.draw(st.none() | st.integers(0, len(those.sessions) - 1))
    config = replace(those.config, missed_sessions=policy)
    day = None if first is None else those.sessions[first].date
    found = drain(replay(those.schedule, start, end, config=config, session=day))
    assert found == replay_of(those, start, end, first, policy)
    assert all(one.dest is other.source and one.scheduled_at <= other.scheduled_at for one, other in pairwise(found[0]))


@pytest.mark.parametrize("policy", MissedSessions)
def test_fault_14_a_session_jumped_to_is_clipped_by_its_own_neighbour(policy: MissedSessions) -> None:
    """After a jump the pre-market is cut off at the end of the session before the target, not of the one left."""
    midnight = at(MONDAY + 2 * DAY, (0, 0))
    noon = midnight + timedelta(hours=12)
    config = replace(SLEEPLESS.config, missed_sessions=policy)
    found = drain(replay(SLEEPLESS.schedule, noon, noon, config=config, session=MONDAY))
    assert found == replay_of(SLEEPLESS, noon, noon, 0, policy)
    assert [e.scheduled_at for e in found[0] if e.trigger == "start_pre_market"][-1] == midnight


def shown(edges: Iterator[StateChanged]) -> list[tuple[str, date, datetime, bool]]:
    return [(e.trigger, e.session, e.scheduled_at, e.catch_up) for e in edges]


def test_replay_is_half_open() -> None:
    """An edge at the start belongs to the replay, and one at the end does not."""
    opens, closes = at(MONDAY, (14, 30)), at(MONDAY, (21, 0))
    assert [e[0] for e in shown(replay(week(), opens, closes)) if not e[3]] == ["open_market"]
    assert shown(replay(week(), closes, closes + MICROSECOND))[-1] == ("close_market", MONDAY, closes, False)
    assert shown(replay(week(), closes + MICROSECOND, closes + 2 * MICROSECOND))[-1] == (
        "close_market",
        MONDAY,
        closes,
        True,
    )


def test_replay_of_nothing_still_catches_up() -> None:
    """From an instant to itself only the edges before it are walked, observed at that instant."""
    noon = at(MONDAY, (16, 0))
    edges = list(replay(week(), noon, noon))
    assert [(e.trigger, e.scheduled_at, e.lateness) for e in edges] == [
        ("start_pre_market", at(MONDAY, (9, 0)), timedelta(hours=7)),
        ("open_market", at(MONDAY, (14, 30)), timedelta(minutes=90)),
    ]
    assert all(e.observed_at == noon and e.catch_up and e.reason is None and e.name is None for e in edges)


@pytest.mark.parametrize(
    ("policy", "walked"), [(LATEST, [MONDAY, FRIDAY]), (EACH, [MONDAY + i * DAY for i in range(5)])]
)
def test_replay_from_a_past_session(policy: MissedSessions, walked: list[date]) -> None:
    """From a session that is over, LATEST jumps to the one that owns the start, and EACH walks every one between."""
    start = at(FRIDAY, (15, 0))
    edges = list(replay(week(), start, start, config=LifecycleConfig(missed_sessions=policy), session=MONDAY))
    assert [e.session for e in edges if e.trigger == "end_session"] == walked[:-1]
    assert [e.session for e in edges if e.trigger == "roll"] == walked[1:]
    assert all(e.catch_up and e.observed_at == start for e in edges)
    assert (edges[-1].session, edges[-1].dest) == (FRIDAY, SessionState.ACTIVE)
    rolled_at = [e.scheduled_at for e in edges if e.trigger == "roll"]
    assert rolled_at == [at(day, (21, 30)) for day in walked[:-1]]


def test_replay_from_a_future_session() -> None:
    """From a session that lies ahead, nothing happens before its own pre-market."""
    edges = shown(replay(week(), at(MONDAY, (0, 0)), at(FRIDAY, (15, 0)), session=FRIDAY))
    assert edges == [
        ("start_pre_market", FRIDAY, at(FRIDAY, (9, 0)), False),
        ("open_market", FRIDAY, at(FRIDAY, (14, 30)), False),
    ]


def test_fault_13_edges_of_no_width_come_in_order() -> None:
    """On a market that never sleeps, five edges fire in order at each midnight."""
    edges = list(replay(SLEEPLESS.schedule, at(MONDAY, (12, 0)), at(TUESDAY, (12, 0)), config=SLEEPLESS.config))
    midnight = [e.trigger for e in edges if e.scheduled_at == at(TUESDAY, (0, 0))]
    assert midnight == ["close_market", "end_session", "roll", "start_pre_market", "open_market"]


def test_replay_ignores_data_and_hands() -> None:
    """Neither `auto_roll` nor `data_timeout` nor the cap on missed sessions makes a difference."""
    odd = LifecycleConfig(
        auto_roll=False, data_timeout=MICROSECOND, error_after_timeout=MICROSECOND, max_catch_up_sessions=1
    )
    for session_date in (None, MONDAY):
        span = (at(FRIDAY, (0, 0)), at(FRIDAY, (21, 15)))
        assert list(replay(week(), *span, session=session_date)) == list(
            replay(week(), *span, session=session_date, config=odd)
        )


def test_fault_18_replay_ends_where_knowledge_does() -> None:
    """Every edge of the last session comes first; then the end of knowledge is told, and never taken for closed."""
    edges = replay(week(), at(FRIDAY, (21, 15)), utc(2025, 1, 1))
    assert next(edges).session == FRIDAY
    *_, (trigger, day, due, _) = shown(edges_until_exhausted(edges))
    assert (trigger, day, due) == ("end_session", FRIDAY, at(FRIDAY, (21, 30)))


def edges_until_exhausted(edges: Iterator[StateChanged]) -> Iterator[StateChanged]:
    with pytest.raises(ScheduleExhausted, match="does not mean that the market is closed") as caught:
        yield from edges
    assert (caught.value.first, caught.value.last) == (MONDAY, FRIDAY)


def test_replay_up_to_the_last_edge_needs_no_more_knowledge() -> None:
    """A replay that ends at the end of the last session, which it does not include, does not run out."""
    end = at(FRIDAY, (21, 30))
    assert drain(replay(week(), end - DAY, end))[1] is False
    assert drain(replay(week(), end - DAY, end + MICROSECOND))[1] is True


@pytest.mark.parametrize(
    ("start", "end", "options", "error"),
    [
        (NAIVE, utc(2024, 3, 5), {}, NaiveDatetimeError),
        (utc(2024, 3, 4), NAIVE, {}, NaiveDatetimeError),
        (utc(2024, 3, 5), utc(2024, 3, 5) - MICROSECOND, {}, ConfigurationError),
        (utc(2024, 3, 5), utc(2024, 3, 6), {"session": date(2024, 3, 9)}, NotASession),
        (utc(2024, 3, 5), utc(2024, 3, 6), {"session": utc(2024, 3, 5)}, TypeError),
        (MONDAY, utc(2024, 3, 6), {}, TypeError),
        (at(FRIDAY, (21, 30)), utc(2025, 1, 1), {}, ScheduleExhausted),
    ],
)
def test_fault_03_replay_refuses_at_once(
    start: datetime, end: datetime, options: dict[str, date], error: type[Exception]
) -> None:
    """What can be seen to be wrong is refused by the call itself, before the first edge is asked for."""
    with pytest.raises(error):
        replay(week(), start, end, **options)


def test_replay_refuses_a_start_before_knowledge_at_once() -> None:
    """A start that the schedule knows nothing about is refused by the call itself."""
    with pytest.raises(ScheduleExhausted):
        replay(Unknowing(week().sessions(MONDAY, FRIDAY)), utc(2024, 3, 1), utc(2024, 3, 5))


def test_replay_is_lazy() -> None:
    """A year costs nothing until it is read: only the start is looked at, and then one session at a time."""
    asked: list[date] = []

    class Counting(FixedSchedule):
        def next_session(self, day: date) -> Session:
            asked.append(day)
            return super().next_session(day)

    edges = replay(Counting(weekdays(n=50).sessions(MONDAY, date(2025, 1, 1))), utc(2024, 3, 4), utc(2025, 1, 1))
    assert len(asked) <= 2
    for _ in range(6):  # a session's four edges, the roll, and the first of the next
        next(edges)
    assert max(asked) <= TUESDAY


def test_replay_takes_any_zone() -> None:
    """Start and end may be in any zone; the edges are in UTC."""
    tokyo = ZoneInfo("Asia/Tokyo")
    span = at(MONDAY, (9, 0)), at(MONDAY, (15, 0))
    local = list(replay(week(), *(t.astimezone(tokyo) for t in span)))
    assert local == list(replay(week(), *span))
    assert all(e.scheduled_at.tzinfo is UTC and e.observed_at.tzinfo is UTC for e in local)


# ---- long runs, and several threads ----


class Arithmetic:
    """A schedule that knows one session for each day, of hours that are computed, and holds none of them."""

    name = "arithmetic"
    timezone = UTC

    def session_on(self, day: date) -> Session:
        return Session(day, at(day, (9, 0)), at(day, (17, 0)))

    def session_at(self, t: datetime) -> Session:
        session = self.session_on(t.date())
        return session if t < session.close else self.session_on(t.date() + DAY)

    def next_session(self, day: date) -> Session:
        return self.session_on(day + DAY)

    def previous_session(self, day: date) -> Session:
        return self.session_on(day - DAY)

    def sessions(self, first: date, last: date) -> tuple[Session, ...]:
        return tuple(self.session_on(first + n * DAY) for n in range((last - first).days + 1))


def lived(core: SessionLifecycle, start: datetime, days: int) -> list[StateChanged]:
    """Run a lifecycle for some days from its beginning, or on; every roll succeeds at once."""
    log: list[StateChanged] = []
    now = start
    while now < start + days * DAY:
        reading = Reading(now, now - at(MONDAY, (0, 0)))
        core.poll(reading) if core.begun else core.begin(reading)
        if (roll := core.due_roll(reading)) is not None:
            core.begin_roll(roll, reading, journalled=False).apply(reading)
            core.roll_succeeded(roll, reading).apply(reading)
        log += [event for event in core.take_events() if isinstance(event, StateChanged)]
        wall, _ = core.deadlines
        assert wall is not None
        now = max(wall, now)
    return log


def test_fault_74_a_process_of_twenty_years_does_not_grow() -> None:
    """What a lifecycle keeps of its timeline after five years is all that it ever keeps."""
    core, year = SessionLifecycle(Arithmetic(), config=LifecycleConfig(data_timeout=None)), 365
    counts: list[int] = []
    for start, years in ((0, 5), (5, 15)):
        assert len(lived(core, at(MONDAY, (0, 0)) + start * year * DAY, years * year)) >= 5 * years * year - 5
        gc.collect()
        counts.append(len(gc.get_objects()))
    assert counts[1] < counts[0] + 500, "a session has several objects, and thousands have passed"


def test_what_was_dropped_is_found_again() -> None:
    """Positions and boundaries long past are forgotten, and found again where they are asked for."""
    timeline = Timeline(Arithmetic(), LifecycleConfig())
    first = timeline.at(at(MONDAY, (10, 0))), timeline.boundaries(timeline.schedule.session_on(MONDAY))
    for number in range(2_500):
        timeline.at(at(MONDAY + number * DAY, (10, 0)))
        timeline.at(at(MONDAY + number * DAY, (18, 0)))
        timeline.boundaries(timeline.schedule.session_on(MONDAY + number * DAY))
    assert (timeline.at(at(MONDAY, (10, 0))), timeline.boundaries(timeline.schedule.session_on(MONDAY))) == first
    assert timeline.at(at(MONDAY, (18, 0))).state is SessionState.NOT_STARTED


def test_other_hours_of_a_date_have_boundaries_of_their_own() -> None:
    """The boundaries that are kept are those of one session object, not of its date."""
    timeline = Timeline(weekdays(), LifecycleConfig())
    session = timeline.schedule.session_on(MONDAY)
    short = replace(session, close=session.close - timedelta(hours=1))
    assert timeline.boundaries(session).close == session.close
    assert timeline.boundaries(short).close == short.close
    assert timeline.boundaries(session).close == session.close


@pytest.mark.parametrize("duration", ["pre_market", "post_market_roll_delay"])
def test_timelines_that_differ_are_not_shared(duration: str) -> None:
    """Members of a group share a timeline where the schedule object and both durations are the same."""
    schedule, config = weekdays(), LifecycleConfig()
    others = LifecycleConfig(**{duration: getattr(config, duration) + timedelta(minutes=1)})
    timelines = SharedTimelines()
    first, other = timelines.shared(Timeline(schedule, config)), Timeline(schedule, others)
    assert timelines.shared(Timeline(schedule, config)) is first
    assert timelines.shared(other) is other
    assert timelines.shared(elsewhere := Timeline(weekdays(n=3), config)) is elsewhere


def test_a_shared_timeline_is_kept_while_it_is_followed() -> None:
    """What no member follows any more is dropped, with its schedule."""
    timelines = SharedTimelines()
    followed = timelines.shared(Timeline(weekdays(), LifecycleConfig()))
    kept = ref(followed)
    gc.collect()
    assert kept() is followed
    del followed
    gc.collect()
    assert kept() is None


def test_two_threads_may_use_one_schedule_object() -> None:
    """Lifecycles in two threads share the schedule and nothing else: each says what it would say alone."""
    schedule = weekdays(n=400)
    alone = lived(SessionLifecycle(schedule), at(MONDAY, (0, 0)), 500)
    cores = [SessionLifecycle(schedule) for _ in range(4)]
    assert len({id(core.progress.timeline) for core in cores}) == 4
    with ThreadPoolExecutor(4) as threads:
        logs = list(threads.map(lambda core: lived(core, at(MONDAY, (0, 0)), 500), cores))
    assert logs == [alone] * 4
