"""What a restart restores of a journal: halts, changed hours, and alarms that have fired. No I/O, no event loop."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import pytest

from session_lifecycle import (
    Alarm,
    AlarmFired,
    AlarmInterrupted,
    AlarmSkipped,
    Entry,
    FixedSchedule,
    Halted,
    Misfire,
    OverrideLost,
    Record,
    Resumed,
    Session,
    SpecialHours,
)
from session_lifecycle._core.feeds import FeedState
from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._journal.records import ChangedHours, JournalState, journal_state_after
from session_lifecycle._model.clock import Reading
from tests.helpers.alarm_scheduler import Life
from tests.helpers.builders import MONDAY, at, session, week, weekdays
from tests.helpers.harness import (
    ACTIVE,
    ERROR,
    FRIDAY,
    HOUR,
    MINUTE,
    NOT_STARTED,
    POST_MARKET,
    TUESDAY,
    WEDNESDAY,
    of,
)

NOON = at(MONDAY, (17, 0))
HOURS = {"open": at(MONDAY, (14, 30)), "close": at(MONDAY, (21, 0))}
FLATTEN = Alarm("close", -15 * MINUTE)
TIMEOUT_FREE = timedelta(days=1)


def held(**facts: object) -> JournalState:
    return JournalState(MONDAY, **{**HOURS, **facts})


def restarted(
    journal_state: JournalState,
    start: datetime = NOON,
    *,
    alarms: Sequence[Alarm] = (),
    schedule: FixedSchedule | None = None,
) -> Life:
    return Life(schedule or week(), start, alarms, journal_state=journal_state)


# ---- halts ----


def test_fault_64_a_halt_survives_a_restart() -> None:
    """The session is replayed to ACTIVE with trading halted all the way, and nothing is emitted of it a second time."""
    life = restarted(held(halts={"": "daily loss limit"}))
    assert (life.core.state, life.core.halted, life.core.can_trade) == (ACTIVE, "daily loss limit", False)
    assert not of(Halted, life.log)
    decision = life.core.resume(life.now)
    assert decision is not None
    decision.apply(life.now)
    assert life.core.can_trade


def test_the_close_ends_a_restored_halt() -> None:
    """As ever: the next session may be traded, and the end of the halt is an event."""
    life = restarted(held(halts={"": "daily loss limit"}))
    life.run_to(at(MONDAY, (21, 0)))
    assert (life.core.state, life.core.halted) == (POST_MARKET, None)
    assert [(each.lapsed, each.feed) for each in of(Resumed, life.log)] == [(True, None)]
    life.run_to(at(TUESDAY, (15, 0)))
    assert life.core.can_trade


@pytest.mark.parametrize("clock", [(21, 0), (21, 20), (23, 0)])
def test_a_halt_does_not_outlast_a_close_that_passed_meanwhile(clock: tuple[int, int]) -> None:
    """Restarted after the close, the replay ends the halt where the close would have."""
    life = restarted(held(halts={"": "news", "quotes": "mute"}), at(MONDAY, clock))
    assert life.core.halted is None
    life.core.add_feed(quotes := FeedState("quotes", TIMEOUT_FREE), life.now)
    assert quotes.halted is None


@pytest.mark.parametrize("facts", [{"ended": True}, {"error": "the disk is full"}, {"ended": True, "error": "again"}])
def test_no_halt_is_restored_after_its_session(facts: dict[str, object]) -> None:
    """Once the session has ended, or its close passed in ERROR, trading is not halted any more."""
    life = Life(week(), at(MONDAY, (22, 0)), [], journal_state=held(halts={"": "news"}, **facts))
    assert life.core.halted is None


def test_a_halt_is_restored_in_error() -> None:
    """ERROR and a halt are two things, and both are remembered; out of ERROR, trading is still halted."""
    life = restarted(held(halts={"": "news"}, error="the disk is full"))
    assert (life.core.state, life.core.halted) == (ERROR, "news")


def test_a_halt_goes_on_where_the_next_session_opens_at_the_close() -> None:
    """A market without a pause has not closed, so the halt is restored with the roll that is owed."""
    days = [Session(day, at(day, (0, 0)), at(day + (TUESDAY - MONDAY), (0, 0))) for day in (MONDAY, TUESDAY, WEDNESDAY)]
    state = JournalState(MONDAY, days[0].open, days[0].close, ended=True, halts={"": "news"})
    life = Life(FixedSchedule(days), at(TUESDAY, (0, 0)), [], journal_state=state)
    assert (life.core.session.date, life.core.halted) == (TUESDAY, "news")


@pytest.mark.parametrize("registered", ["before the start", "later"])
def test_halts_of_feeds_wait_for_their_feeds(registered: str) -> None:
    """A feed that the journal holds as halted is halted as soon as it is there; others are not."""
    quotes, trades = (FeedState(name, TIMEOUT_FREE) for name in ("quotes", "trades"))
    core, now, state = SessionLifecycle(week()), Reading(NOON, timedelta(0)), held(halts={"quotes": "mute"})
    if registered == "later":
        core.begin(now, state)
    for feed in (quotes, trades):
        core.add_feed(feed, now)
    if registered == "before the start":
        core.begin(now, state)
    assert (quotes.halted, trades.halted, core.halted) == ("mute", None, None)
    assert [feed.name for feed in core.feeds.halted] == ["quotes"]


def test_a_halt_of_a_feed_that_never_comes_ends_at_the_close() -> None:
    """Registered in the next session, the feed is not halted."""
    life = restarted(held(halts={"quotes": "mute"}))
    life.run_to(at(TUESDAY, (15, 0)))
    quotes = FeedState("quotes", TIMEOUT_FREE)
    life.core.add_feed(quotes, life.now)
    assert quotes.halted is None


# ---- changed hours ----


def changed(day: date, to: Session | None) -> JournalState:
    return held(changes=(ChangedHours(day, to),))


def test_an_early_close_survives_a_restart() -> None:
    """Restarted five minutes after it, the market has closed."""
    life = restarted(changed(MONDAY, session(close=(18, 0))), at(MONDAY, (18, 5)))
    assert (life.core.state, life.core.can_trade) == (POST_MARKET, False)
    assert life.core.session.close == at(MONDAY, (18, 0))
    assert not of(OverrideLost, life.log)


def test_hours_of_later_days_survive_a_restart() -> None:
    """A closure of Tuesday is one for the roll, too: it goes to Wednesday."""
    life = restarted(changed(TUESDAY, None), at(MONDAY, (20, 0)))
    life.run_to(at(MONDAY, (22, 0)))
    assert life.core.session.date == WEDNESDAY


def test_changes_of_one_day_are_applied_in_their_order() -> None:
    """The last one holds; one that a later one replaces is not lost."""
    changes = (
        ChangedHours(MONDAY, session(close=(18, 0))),
        ChangedHours(TUESDAY, Session(TUESDAY, at(MONDAY, (20, 0)), at(TUESDAY, (21, 0)))),  # overlaps Monday, later on
        ChangedHours(MONDAY, session(close=(19, 0))),
    )
    life = restarted(held(changes=changes))
    assert life.core.session.close == at(MONDAY, (19, 0))
    assert life.core.schedule.session_on(TUESDAY).open == at(MONDAY, (20, 0))
    assert not of(OverrideLost, life.log)


def test_hours_that_the_schedule_has_already_change_nothing() -> None:
    """Where the application has given the override to its schedule, the very same schedule is followed."""
    schedule = week().with_session(MONDAY, session(close=(18, 0)))
    life = restarted(changed(MONDAY, session(close=(18, 0))), schedule=schedule)
    assert life.core.schedule is schedule


class Rigid:
    """A schedule without `with_session`."""

    def __init__(self) -> None:
        self._kept = week()
        self.name, self.timezone = self._kept.name, self._kept.timezone
        self.session_at, self.session_on = self._kept.session_at, self._kept.session_on
        self.next_session, self.previous_session = self._kept.next_session, self._kept.previous_session
        self.sessions = self._kept.sessions


@pytest.mark.parametrize(
    ("schedule", "day", "to", "why"),
    [
        (Rigid(), MONDAY, session(close=(18, 0)), "no with_session"),
        (week(), TUESDAY, Session(TUESDAY, at(MONDAY, (20, 0)), at(TUESDAY, (21, 0))), "2024-03-05"),
    ],
)
def test_hours_that_are_impossible_now_are_reported(schedule: object, day: date, to: Session, why: str) -> None:
    """The lifecycle goes on by the schedule's own hours, and says at the start which change is lost, and why."""
    life = Life(schedule, NOON, [], journal_state=changed(day, to))
    (lost,) = of(OverrideLost, life.log)
    assert (lost.day, lost.after, lost.session, lost.observed_at) == (day, to, MONDAY, NOON)
    assert why in lost.reason
    assert life.core.schedule is schedule
    assert life.core.can_trade


# ---- alarms ----


def fired(day: date = MONDAY, key: str = FLATTEN.key, *, ended: bool = True) -> JournalState:
    return held(alarms={(day, key): ended})


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("clock", [(20, 40), (20, 45), (20, 50), (21, 10)])
def test_an_alarm_that_has_fired_does_not_fire_again(ended: bool, clock: tuple[int, int]) -> None:
    """Whether its handlers ended or not, and where the clock was set back before it, too; the next session's fires."""
    life = restarted(fired(ended=ended), at(MONDAY, clock), alarms=[FLATTEN])
    life.run_to(at(TUESDAY, (20, 50)))
    assert life.fired == [(TUESDAY, at(TUESDAY, (20, 45)))]
    assert not life.skipped


def test_one_that_may_recur_fires_again() -> None:
    """`recurring_after_restart` is for what is harmless twice; each alarm decides for itself."""
    harmless = Alarm("close", -15 * MINUTE, recurring_after_restart=True)
    life = restarted(fired(), at(MONDAY, (20, 50)), alarms=[FLATTEN, harmless])
    (told,) = of(AlarmFired, life.log)
    assert (told.alarm, told.catch_up) == (harmless, True)


def test_another_alarm_fires() -> None:
    """What the journal holds of one alarm, or of another session, says nothing of the rest."""
    life = restarted(fired(key="close-600s"), at(MONDAY, (20, 50)), alarms=[FLATTEN])
    assert life.fired == [(MONDAY, at(MONDAY, (20, 45)))]
    life = restarted(fired(day=FRIDAY), at(MONDAY, (20, 50)), alarms=[FLATTEN])
    assert life.fired == [(MONDAY, at(MONDAY, (20, 45)))]


def test_an_alarm_registered_after_the_start_is_held_too() -> None:
    """Where its instant is still to come by a clock that was set back, it does not fire again."""
    life = restarted(fired(), at(MONDAY, (20, 40)))
    life.add(FLATTEN)
    life.run_to(at(TUESDAY, (20, 45)))
    assert life.fired == [(TUESDAY, at(TUESDAY, (20, 45)))]


@pytest.mark.parametrize(
    ("alarm", "day", "start"),
    [
        (Alarm("end", 3 * HOUR), MONDAY, at(TUESDAY, (0, 0))),  # of the session before, still to come
        (Alarm("open", -20 * HOUR), TUESDAY, at(MONDAY, (18, 0))),  # of the session after, still to come
        (Alarm("open", -20 * HOUR, Misfire.RUN_ONCE), TUESDAY, at(MONDAY, (19, 0))),  # of the session after, past
    ],
)
def test_alarms_of_neighbours_are_held(alarm: Alarm, day: date, start: datetime) -> None:
    """An alarm fires once for its session, whichever session the application is in by then."""
    state = fired(day, alarm.key)
    if day == MONDAY:
        state = JournalState(TUESDAY, at(TUESDAY, (14, 30)), at(TUESDAY, (21, 0)), alarms=state.alarms)
    for journal_state, times in ((state, 0), (JournalState(state.session, state.open, state.close), 1)):
        life = restarted(journal_state, start, alarms=[alarm])
        life.run_to(start + 2 * HOUR)
        assert [session for session, _ in life.fired].count(day) == times


def test_a_break_that_was_over_does_not_hold_the_next() -> None:
    """Of an alarm on breaks, each has a key of its own: what fired for the first leaves the second to fire."""
    two_breaks = FixedSchedule([session(breaks=(((16, 0), (16, 30)), ((18, 0), (18, 30)))), session(TUESDAY)])
    alarm = Alarm("break_end", -5 * MINUTE)
    life = restarted(fired(key=alarm.key), at(MONDAY, (16, 20)), alarms=[alarm], schedule=two_breaks)
    life.run_to(at(MONDAY, (20, 0)))
    (told,) = of(AlarmFired, life.log)
    assert (told.scheduled_at, told.number, told.key) == (at(MONDAY, (18, 25)), 2, "break_end-300s#2")
    life = restarted(fired(key=told.key), at(MONDAY, (16, 20)), alarms=[alarm], schedule=two_breaks)
    life.run_to(at(MONDAY, (20, 0)))
    assert life.fired == [(MONDAY, at(MONDAY, (16, 25)))]


def test_changed_hours_do_not_bring_back_a_held_alarm() -> None:
    """An early close moves the alarms that are left, and not one that fired in an earlier run."""
    life = restarted(fired(), at(MONDAY, (16, 0)), alarms=[FLATTEN, Alarm("close", -10 * MINUTE)])
    decision = life.core.change_schedule(SpecialHours(MONDAY, close=at(MONDAY, (18, 0))), life.now)
    assert decision is not None
    decision.apply(life.now)
    life.run_to(at(MONDAY, (20, 59)))
    assert life.fired == [(MONDAY, at(MONDAY, (17, 50)))]


@pytest.mark.parametrize("rolling", [False, True])
@pytest.mark.parametrize("start", [(17, 0), (23, 0)])
def test_alarms_of_a_session_that_was_ended_are_over(rolling: bool, start: tuple[int, int]) -> None:
    """Whether its roll was begun, and however late it is: the application has ended it before they were due."""
    roll = Record(Entry.INTENT, MONDAY, NOON, TUESDAY) if rolling else None
    alarm = Alarm("close", -15 * MINUTE, Misfire.RUN_ONCE)
    life = restarted(held(ended=True, closed=True, intent=roll), at(MONDAY, start), alarms=[alarm], schedule=weekdays())
    life.run_to(at(TUESDAY, (20, 45)))
    assert life.fired == [(TUESDAY, at(TUESDAY, (20, 45)))]


@pytest.mark.parametrize("start", [(8, 0), (15, 10), (23, 0)])
def test_alarms_of_a_session_that_was_called_off_before_it_was_entered_are_over(start: tuple[int, int]) -> None:
    """Its roll was under way as the venue closed it; however late the restart is, it has none."""
    state = held(closed=True, changes=(ChangedHours(MONDAY, None),))
    alarm = Alarm("open", 30 * MINUTE, Misfire.RUN_ONCE)
    life = restarted(state, at(MONDAY, start), alarms=[alarm], schedule=weekdays())
    life.run_to(at(TUESDAY, (15, 0)))
    assert life.fired == [(TUESDAY, at(TUESDAY, (15, 0)))]


def test_sessions_that_a_roll_has_skipped_have_no_alarms_after_a_restart_either() -> None:
    """Though their alarms after the end are still to come."""
    alarm = Alarm("end", 2 * HOUR)
    life = Life(weekdays(), at(TUESDAY, (22, 0)), [alarm], journal_state=held(ended=True))
    assert life.core.session.date == WEDNESDAY
    records = [
        Record(Entry.ADOPTED, MONDAY, NOON, open=HOURS["open"], close=HOURS["close"]),
        Record(Entry.INTENT, MONDAY, NOON, WEDNESDAY, (TUESDAY,)),
        Record(Entry.DONE, MONDAY, NOON, WEDNESDAY),
    ]
    again = Life(weekdays(), at(TUESDAY, (22, 0)), [alarm], journal_state=journal_state_after(records))
    for each in (life, again):
        each.run_to(at(WEDNESDAY, (23, 30)))
        assert each.fired == [(WEDNESDAY, at(WEDNESDAY, (23, 30)))]


def test_an_interrupted_alarm_is_reported() -> None:
    """Begun and not ended: it is emitted at the start, for each session, and one that ended is not."""
    alarms = {(FRIDAY, "open+0s"): True, (MONDAY, FLATTEN.key): False, (TUESDAY, "open-7200s"): False}
    life = restarted(held(alarms=alarms), at(MONDAY, (20, 50)), alarms=[FLATTEN])
    assert of(AlarmInterrupted, life.log) == [
        AlarmInterrupted(FLATTEN.key, MONDAY, at(MONDAY, (20, 50))),
        AlarmInterrupted("open-7200s", TUESDAY, at(MONDAY, (20, 50))),
    ]
    assert not of(AlarmFired, life.log)
    assert not of(AlarmSkipped, life.log)


def test_everything_at_once_is_restored_in_the_roll_that_is_owed() -> None:
    """A roll whose intent is open, its session's alarms that have fired, and hours of the target."""
    state = held(
        ended=True, alarms={(MONDAY, FLATTEN.key): True}, changes=(ChangedHours(TUESDAY, session(TUESDAY, (15, 0))),)
    )
    life = Life(weekdays(n=5), at(MONDAY, (22, 0)), [FLATTEN], journal_state=state)
    assert (life.core.session.date, life.core.session.open) == (TUESDAY, at(TUESDAY, (15, 0)))
    assert life.core.state is NOT_STARTED
    assert not life.fired
