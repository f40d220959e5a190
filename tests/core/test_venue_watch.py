"""The venue's word against the calendar's: what halts, what resumes, what contradicts, and what changes nothing."""

from datetime import datetime, timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import given

from session_lifecycle import FixedSchedule, LifecycleConfig, NaiveDatetimeError, Session, SessionState, VenueStatus
from session_lifecycle._core.timeline import Timeline
from session_lifecycle._core.venue_watch import NOTHING, TOLERANCE, Standing, VenueAction, VenueDecision, VenueWatch
from session_lifecycle._model.venue_events import CalendarContradicted
from session_lifecycle._model.venue_status import EarlyClose
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at, session

S = VenueStatus
HALT, RESUME = VenueAction.HALT, VenueAction.RESUME
MINUTE = timedelta(minutes=1)
TUESDAY = MONDAY + DAY

# Monday to Friday, 14:30 to 21:00 with a lunch; the pre-market from 09:00, the end at 21:30.
WEEK = FixedSchedule([session(MONDAY + i * DAY, breaks=(((17, 0), (18, 0)),)) for i in range(5)])
OPEN, LUNCH, AFTERNOON, CLOSE = (at(MONDAY, clock) for clock in ((14, 30), (17, 0), (18, 0), (21, 0)))
MORNING, NOON = at(MONDAY, (10, 0)), at(MONDAY, (15, 0))
EVENING, NIGHT = at(MONDAY, (21, 10)), at(MONDAY, (23, 0))


class Desk:
    """A lifecycle in small: it follows the decisions, and halts and resumes on its own."""

    def __init__(self, schedule: FixedSchedule = WEEK, early_close: EarlyClose = EarlyClose.VENUE) -> None:
        self.timeline = Timeline(schedule, LifecycleConfig())
        self.watch = VenueWatch(early_close, "desk")
        self.now = MORNING
        self.session = self.timeline.at(MORNING).session
        self.halted: str | None = None
        self.events: list[CalendarContradicted] = []

    @property
    def standing(self) -> Standing:
        session, state, *_ = self.timeline.at(self.now)
        can_halt = state in {SessionState.PRE_MARKET, SessionState.ACTIVE}
        if not can_halt or (session != self.session and session.open != self.session.close):
            self.halted = None  # no halt outlasts the close
        self.session = session
        return Standing(self.now, self.timeline, self.halted, can_halt)

    def says(self, status: VenueStatus, when: datetime, *, arrives: datetime | None = None) -> VenueAction:
        """Take a status that arrives at once, or later, and do what is decided."""
        self.now = arrives or when
        return self._carry_out(self.watch.record(status, when, self.standing))

    def is_at(self, now: datetime) -> VenueAction:
        self.now = now
        return self._carry_out(self.watch.follow(self.standing))

    def _carry_out(self, decision: VenueDecision) -> VenueAction:
        if decision.action is HALT:
            assert self.standing.can_halt
            assert self.halted is None
            self.halted = decision.reason
        elif decision.action is RESUME:
            assert self.halted is not None
            self.halted = None
        if decision.contradiction is not None:
            self.events.append(decision.contradiction)
        return decision.action


# ---- halts ----


@pytest.mark.parametrize("status", [S.HALT, S.PAUSE])
@pytest.mark.parametrize("end", [S.TRADING, S.RESUME])
@pytest.mark.parametrize("when", [MORNING, NOON, LUNCH + MINUTE, CLOSE - MICROSECOND])
def test_a_halt_halts_and_a_resumption_resumes(status: VenueStatus, end: VenueStatus, when: datetime) -> None:
    """From the pre-market to the close, breaks included; the reason names the status and its instant."""
    desk = Desk()
    assert desk.says(status, when) is HALT
    assert desk.halted == f"the venue reported {status.name} at {when.isoformat()}"
    assert desk.says(end, when) is RESUME
    assert (desk.halted, desk.events) == (None, [])


def test_the_way_back_from_a_halt_is_still_the_halt() -> None:
    """Quotes and an auction come before trading."""
    desk = Desk()
    assert desk.says(S.HALT, NOON) is HALT
    for status in (S.QUOTING, S.PRE_OPEN, S.AUCTION, S.PRE_CLOSE):
        assert desk.says(status, NOON + MINUTE) is VenueAction.NOTHING
    assert desk.says(S.TRADING, NOON + 2 * MINUTE) is RESUME


@pytest.mark.parametrize("status", [S.PRE_OPEN, S.QUOTING])
def test_no_trading_in_the_market_s_hours_is_a_halt(status: VenueStatus) -> None:
    """A pause that the venue reports as its pre-open, or a late open; before the open and in a break it is normal."""
    for when in (MORNING, OPEN - MINUTE, OPEN + TOLERANCE - MICROSECOND, LUNCH + MINUTE, LUNCH - MICROSECOND, EVENING):
        desk = Desk()
        assert desk.says(status, when) is VenueAction.NOTHING
        assert desk.halted is None
    desk = Desk()
    desk.says(status, OPEN - MINUTE)
    assert desk.says(status, OPEN + TOLERANCE) is HALT  # it says so again: the open is late
    assert desk.says(S.TRADING, OPEN + MINUTE) is RESUME


@pytest.mark.parametrize("status", [S.AUCTION, S.PRE_CLOSE, S.TRADING, S.RESUME])
def test_the_other_statuses_change_nothing_in_the_market_s_hours(status: VenueStatus) -> None:
    """An auction takes orders too."""
    desk = Desk()
    assert desk.says(status, NOON) is VenueAction.NOTHING
    assert (desk.halted, desk.events) == (None, [])


def test_a_halt_after_the_close_is_none() -> None:
    """There is no trading to halt; nor does it halt the next session."""
    desk = Desk()
    assert desk.says(S.HALT, EVENING) is VenueAction.NOTHING
    assert desk.is_at(at(TUESDAY, (15, 0))) is VenueAction.NOTHING


def test_a_halt_before_the_pre_market_waits_for_it() -> None:
    """The venue reports in the night that a stock is halted: it is halted as soon as it can be, unless it is not."""
    desk = Desk()
    assert desk.says(S.HALT, NIGHT) is VenueAction.NOTHING
    assert desk.is_at(NIGHT + MINUTE) is VenueAction.NOTHING
    assert desk.is_at(at(TUESDAY, (9, 0))) is HALT
    assert desk.halted == f"the venue reported HALT at {NIGHT.isoformat()}"
    assert desk.is_at(at(TUESDAY, (9, 1))) is VenueAction.NOTHING
    for status, when in ((S.AUCTION, at(TUESDAY, (9, 0))), (S.HALT, NOON), (S.TRADING, NIGHT - MINUTE)):
        desk = Desk()
        desk.says(S.HALT, NIGHT)
        assert desk.says(status, when, arrives=at(TUESDAY, (9, 0))) is HALT
    desk = Desk()
    desk.says(S.HALT, NIGHT)
    desk.says(S.RESUME, NIGHT + MINUTE)
    assert desk.is_at(at(TUESDAY, (9, 0))) is VenueAction.NOTHING


def test_no_halt_outlasts_its_session() -> None:
    """On the next day the same status is a new one."""
    desk = Desk()
    assert desk.says(S.HALT, NOON) is HALT
    assert desk.is_at(EVENING) is VenueAction.NOTHING
    assert desk.is_at(at(TUESDAY, (15, 0))) is VenueAction.NOTHING
    assert desk.says(S.HALT, at(TUESDAY, (15, 1))) is HALT


def test_a_halt_goes_on_where_the_market_does() -> None:
    """Around the clock the next session opens at the close: the venue's resumption ends the halt of the day before."""
    days = [Session(MONDAY + i * DAY, at(MONDAY + i * DAY, (0, 0)), at(TUESDAY + i * DAY, (0, 0))) for i in range(3)]
    midnight = days[1].open
    desk = Desk(FixedSchedule(days))
    assert desk.says(S.HALT, midnight - MINUTE) is HALT
    assert desk.is_at(midnight) is VenueAction.NOTHING
    assert desk.says(S.TRADING, midnight + MINUTE) is RESUME
    late = Desk(FixedSchedule(days))
    late.is_at(midnight)
    assert late.says(S.HALT, midnight - MICROSECOND, arrives=midnight + MICROSECOND) is HALT


# ---- the application's own halts ----


def test_what_the_application_has_halted_the_application_resumes() -> None:
    """The venue's resumption lifts the venue's halt alone."""
    desk = Desk()
    desk.halted = "our own"
    assert desk.says(S.HALT, NOON) is VenueAction.NOTHING
    assert desk.says(S.TRADING, NOON + MINUTE) is VenueAction.NOTHING
    assert desk.halted == "our own"


def test_the_venue_s_halt_takes_over_where_the_application_resumes_its_own() -> None:
    """Both had halted; the venue still does."""
    desk = Desk()
    desk.halted = "our own"
    desk.says(S.HALT, NOON)
    desk.halted = None
    assert desk.is_at(NOON + MINUTE) is HALT


def test_the_application_may_lift_the_venue_s_halt() -> None:
    """It stays lifted until the venue reports another; and what it then halts, no resumption lifts."""
    desk = Desk()
    assert desk.says(S.HALT, NOON) is HALT
    desk.halted = None
    assert desk.says(S.HALT, NOON + MINUTE) is VenueAction.NOTHING
    assert desk.is_at(NOON + 2 * MINUTE) is VenueAction.NOTHING
    assert desk.says(S.PAUSE, NOON + 3 * MINUTE) is HALT
    desk.halted = "our own"
    assert desk.says(S.TRADING, NOON + 4 * MINUTE) is VenueAction.NOTHING
    assert desk.halted == "our own"


# ---- contradictions ----


@pytest.mark.parametrize("status", [S.CLOSE, S.POST_CLOSE])
def test_a_close_before_the_calendar_s_is_a_contradiction_and_halts(status: VenueStatus) -> None:
    """By default the venue is right, until it trades again; a resumption of halts is not that."""
    desk = Desk()
    assert desk.says(status, NOON) is HALT
    assert desk.events == [
        CalendarContradicted(
            status, MONDAY, SessionState.ACTIVE, NOON, CLOSE, halted=True, observed_at=NOON, name="desk"
        )
    ]
    assert desk.says(S.RESUME, NOON + MINUTE) is VenueAction.NOTHING
    assert desk.says(S.TRADING, NOON + 2 * MINUTE) is RESUME
    assert desk.says(S.CLOSE, CLOSE) is VenueAction.NOTHING
    assert len(desk.events) == 1


@pytest.mark.parametrize("status", [S.CLOSE, S.POST_CLOSE])
def test_where_the_calendar_is_right_a_contradiction_is_only_reported(status: VenueStatus) -> None:
    """As the policy says."""
    desk = Desk(early_close=EarlyClose.CALENDAR)
    assert desk.says(status, NOON) is VenueAction.NOTHING
    assert [(each.status, each.halted) for each in desk.events] == [(status, False)]
    assert desk.halted is None


def test_a_halt_does_not_hide_an_early_close() -> None:
    """A stock is halted, then the venue closes: the end of the halt does not open it."""
    desk = Desk()
    assert desk.says(S.HALT, NOON) is HALT
    assert desk.says(S.CLOSE, NOON + MINUTE) is VenueAction.NOTHING
    assert [(each.status, each.halted) for each in desk.events] == [(S.CLOSE, False)]
    for status in (S.HALT, S.RESUME):
        assert desk.says(status, NOON + 2 * MINUTE) is VenueAction.NOTHING
    assert desk.halted is not None
    assert desk.says(S.TRADING, NOON + 3 * MINUTE) is RESUME


@pytest.mark.parametrize(
    "when",
    [CLOSE, CLOSE - TOLERANCE, CLOSE + MINUTE, LUNCH + MINUTE, LUNCH - TOLERANCE, OPEN, MORNING, NIGHT],
)
def test_a_close_at_a_boundary_or_out_of_hours_is_none(when: datetime) -> None:
    """The clocks of venue and calendar need not agree to the second; some venues close for their breaks."""
    desk = Desk()
    assert desk.says(S.CLOSE, when) is VenueAction.NOTHING
    assert desk.events == []


@pytest.mark.parametrize(
    ("when", "day", "state", "until"),
    [
        (CLOSE + TOLERANCE, MONDAY, SessionState.POST_MARKET, at(MONDAY, (21, 30))),
        (EVENING, MONDAY, SessionState.POST_MARKET, at(MONDAY, (21, 30))),
        (NIGHT, TUESDAY, SessionState.NOT_STARTED, at(TUESDAY, (9, 0))),
    ],
)
def test_trading_while_the_calendar_has_it_closed_is_a_contradiction(
    when: datetime, day: object, state: SessionState, until: datetime
) -> None:
    """After the close, and in the night; it changes nothing, since the calendar's hours are no one's guess."""
    desk = Desk()
    assert desk.says(S.TRADING, when) is VenueAction.NOTHING
    assert desk.events == [CalendarContradicted(S.TRADING, day, state, when, until, observed_at=when, name="desk")]


@pytest.mark.parametrize("when", [MORNING, CLOSE, CLOSE + TOLERANCE - MICROSECOND, at(TUESDAY, (9, 0)) - TOLERANCE])
def test_trading_before_the_open_or_at_a_boundary_is_none(when: datetime) -> None:
    """Many venues trade in the pre-market."""
    desk = Desk()
    desk.says(S.TRADING, when)
    assert desk.events == []


def test_a_contradiction_is_reported_once_a_session_and_status() -> None:
    """A feed of a thousand stocks says it a thousand times."""
    desk = Desk(early_close=EarlyClose.CALENDAR)
    for minute in range(5):
        desk.says(S.CLOSE, NOON + minute * MINUTE)
        desk.says(S.TRADING, NOON + minute * MINUTE)
    desk.says(S.POST_CLOSE, NOON + 5 * MINUTE)
    desk.says(S.TRADING, EVENING)
    desk.says(S.CLOSE, NOON + DAY)
    assert [(each.session.day, each.status) for each in desk.events] == [
        (4, S.CLOSE),
        (4, S.POST_CLOSE),
        (4, S.TRADING),
        (5, S.CLOSE),
    ]


def test_a_contradiction_reads_as_one_line() -> None:
    """With what has followed from it, and what to do."""
    desk = Desk()
    desk.says(S.CLOSE, NOON)
    desk.says(S.TRADING, NIGHT)
    early, late = (each.summary() for each in desk.events)
    assert early == (
        "2024-03-04 the venue reported CLOSE at 2024-03-04T15:00:00+00:00, where the calendar says ACTIVE until "
        "2024-03-04T21:00:00+00:00; trading is halted: check its hours, and apply() an override"
    )
    assert late == (
        "2024-03-05 the venue reported TRADING at 2024-03-04T23:00:00+00:00, where the calendar says NOT_STARTED until "
        "2024-03-05T09:00:00+00:00; nothing has changed: check its hours, and apply() an override"
    )
    assert desk.events[0].as_dict()["status"] == "close"
    assert desk.events[0].level == 30


# ---- late, repeated, out of order ----


def test_a_status_is_judged_by_the_instant_at_which_the_venue_says_it() -> None:
    """A close on time that arrives late is none before the close, and a close before it is one, however late."""
    desk = Desk()
    assert desk.says(S.CLOSE, CLOSE, arrives=EVENING) is VenueAction.NOTHING
    assert desk.events == []
    desk = Desk()
    assert desk.says(S.CLOSE, NOON, arrives=NOON + 30 * MINUTE) is HALT
    assert (desk.events[0].reported_at, desk.events[0].observed_at) == (NOON, NOON + 30 * MINUTE)
    desk = Desk()
    assert desk.says(S.TRADING, CLOSE - MINUTE, arrives=EVENING) is VenueAction.NOTHING
    assert desk.events == []


def test_a_status_of_an_earlier_session_changes_nothing() -> None:
    """A feed repeats its last word at the log-in of the next morning."""
    for status in S:
        desk = Desk()
        assert desk.says(status, NOON, arrives=at(TUESDAY, (15, 0))) is VenueAction.NOTHING
        assert desk.events == []


def test_a_status_that_is_older_than_the_newest_changes_nothing() -> None:
    """Whatever has been overtaken on its way."""
    desk = Desk()
    assert desk.says(S.TRADING, NOON + MINUTE) is VenueAction.NOTHING
    assert desk.says(S.HALT, NOON, arrives=NOON + 2 * MINUTE) is VenueAction.NOTHING
    assert desk.says(S.HALT, NOON + MINUTE, arrives=NOON + 3 * MINUTE) is HALT  # of one instant, the later word
    assert desk.says(S.TRADING, NOON, arrives=NOON + 4 * MINUTE) is VenueAction.NOTHING


def test_a_status_from_the_future_counts_as_now() -> None:
    """A clock that is ahead, or a wrong date, does not shut out what follows."""
    desk = Desk()
    assert desk.says(S.HALT, NOON + 400 * DAY, arrives=NOON) is HALT
    assert desk.halted == f"the venue reported HALT at {NOON.isoformat()}"
    assert desk.says(S.TRADING, NOON + MINUTE) is RESUME


def test_a_wall_clock_that_steps_back_shuts_nothing_out() -> None:
    """Within the session the next status counts; over a session nothing does, until the clock has caught up."""
    desk = Desk()
    desk.says(S.TRADING, AFTERNOON + MINUTE)
    assert desk.says(S.HALT, NOON) is HALT
    desk = Desk()
    desk.says(S.TRADING, NOON + DAY)
    assert desk.says(S.HALT, NOON) is VenueAction.NOTHING
    assert desk.is_at(NOON) is VenueAction.NOTHING
    assert desk.says(S.HALT, NOON + DAY + MINUTE) is HALT


@pytest.mark.parametrize("when", [MORNING - 30 * DAY, MORNING + 30 * DAY])
def test_what_the_schedule_does_not_know_contradicts_nothing(when: datetime) -> None:
    """Its knowledge ends there; that does not mean that the market is closed."""
    for status in S:
        desk = Desk()
        standing = Standing(when, desk.timeline, None, can_halt=False)
        assert desk.watch.record(status, when, standing) == desk.watch.follow(standing) == NOTHING


def test_an_instant_needs_a_time_zone() -> None:
    """And nothing is recorded."""
    desk = Desk()
    with pytest.raises(NaiveDatetimeError, match=r"^at is 2024-03-04"):
        desk.watch.record(S.HALT, NOON.replace(tzinfo=None), desk.standing)
    assert desk.is_at(NOON) is VenueAction.NOTHING


words = st.tuples(st.sampled_from(S), st.timedeltas(-timedelta(hours=6), timedelta(hours=40)))


@given(st.lists(words, max_size=12), st.data(), st.sampled_from(EarlyClose))
def test_repeated_and_overtaken_statuses_change_no_decision(
    said: list[tuple[VenueStatus, timedelta]], data: st.DataObject, early_close: EarlyClose
) -> None:
    """The same story with each status repeated, and older ones in between, has the same halts and events."""
    story = sorted(((status, NOON + offset) for status, offset in said), key=lambda word: word[1])
    plain, noisy = Desk(early_close=early_close), Desk(early_close=early_close)
    for number, (status, when) in enumerate(story):
        expected = plain.says(status, when)
        assert noisy.says(status, when) is expected
        for _ in range(data.draw(st.integers(0, 2))):
            old, then = data.draw(st.sampled_from(story[: number + 1]))
            if then < when or old is status:
                assert noisy.says(old, then if old is not status else when, arrives=when) is VenueAction.NOTHING
            assert noisy.is_at(when) is VenueAction.NOTHING
    assert (plain.halted, plain.events) == (noisy.halted, noisy.events)


@given(st.lists(words, max_size=20), st.sampled_from(EarlyClose))
def test_every_halt_is_ended_by_the_venue_or_the_close(
    said: list[tuple[VenueStatus, timedelta]], early_close: EarlyClose
) -> None:
    """However they come: a halt only where trading is not halted, a resumption only of its own; trading ends it."""
    desk = Desk(early_close=early_close)
    for status, offset in said:
        desk.now = max(desk.now, NOON + offset)
        desk.says(status, NOON + offset, arrives=desk.now)
    desk.says(S.TRADING, desk.now, arrives=desk.now)
    assert desk.halted is None
