"""A restart takes up what the journal holds: the session, an open intent, an ERROR."""

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_lifecycle import (
    Entry,
    FixedSchedule,
    IllegalTransition,
    JournalMismatch,
    JournalWriteFailed,
    MemoryJournal,
    MissedSessions,
    Record,
    ReentrancyError,
    RollFailed,
    RollStarted,
    RollSucceeded,
    RollTimeoutError,
)
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at, session, weekdays
from tests.helpers.harness import (
    ACTIVE,
    ENDED,
    ERROR,
    FRIDAY,
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    POST_MARKET,
    PRE_MARKET,
    THURSDAY,
    TUESDAY,
    WEDNESDAY,
    changes,
    of,
    path,
    running,
)
from tests.helpers.manager_journal import (
    ADOPTED,
    DONE,
    END,
    EVENING,
    FAILED,
    INTENT,
    ONCE,
    RECOVERED,
    Refusing,
    adopted,
    answering,
    begin,
    entries,
    errors_logged,
    failed,
    holding,
    intent,
    is_free,
    numbered,
    refused,
)

pytestmark = pytest.mark.anyio


# ---- the next start ----


@pytest.mark.parametrize(
    ("when", "state"),
    [((8, 0), NOT_STARTED), ((10, 0), PRE_MARKET), ((15, 0), ACTIVE), ((21, 15), POST_MARKET)],
)
async def test_a_restart_adopts_session_and_state(when, state):
    """In mid-session nothing is owed: the session is the journal's, the state the clock's, and nothing is written."""
    journal = holding(adopted())
    manager, _, rolls = begin(at(MONDAY, when), journal)
    async with running(manager) as log:
        assert (manager.state, manager.session.date) == (state, MONDAY)
        assert all(event.catch_up for event in changes(log)[:-1])
    assert (entries(journal), rolls.begun) == ([(ADOPTED, MONDAY, None)], [])


async def test_a_restart_in_the_same_process_goes_on_where_the_first_has_stopped():
    """One journal object serves one manager after another."""
    journal = MemoryJournal()
    manager, clock, first = begin(EVENING, journal)
    async with running(manager):
        await clock.advance(HOUR)
    manager, clock, second = begin(at(MONDAY, (23, 0)), journal)
    async with running(manager):
        assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)
        await clock.advance(DAY)
        assert manager.session.date == WEDNESDAY
    assert (first.dates, second.dates) == ([TUESDAY], [WEDNESDAY])


async def test_a_restart_days_later(journals):
    """The same with a new object on the journal, which holds what was rolled in between as well."""
    manager, clock, first = begin(EVENING, journals())
    async with running(manager):
        await clock.advance(HOUR)
    manager, clock, second = begin(at(THURSDAY, (15, 0)), journals())
    async with running(manager) as log:
        assert (manager.state, manager.session.date) == (ACTIVE, THURSDAY)
        assert [event.skipped for event in of(RollSucceeded, log)] == [(WEDNESDAY,)]
    assert (first.dates, second.dates) == ([TUESDAY], [THURSDAY])
    records = await journals().open("fixed")
    assert [record.target for record in records if record.entry is DONE] == [TUESDAY, THURSDAY]


async def test_after_days_the_missed_sessions_are_skipped_by_latest():
    """One roll, to the session that owns the present; the event and the journal name the others."""
    journal = holding(adopted())
    manager, _, rolls = begin(at(THURSDAY, (15, 0)), journal)
    async with running(manager) as log:
        assert (manager.state, manager.session.date) == (ACTIVE, THURSDAY)
        [done] = of(RollSucceeded, log)
        assert (done.session, done.next_session, done.skipped) == (MONDAY, THURSDAY, (TUESDAY, WEDNESDAY))
        assert not done.resumed
    assert rolls.dates == [THURSDAY]
    assert journal.records[1].skipped == (TUESDAY, WEDNESDAY)


async def test_after_days_each_missed_session_is_rolled():
    """EACH rolls one by one, oldest first, each with an intent and a done of its own."""
    journal = holding(adopted())
    manager, _, rolls = begin(at(THURSDAY, (15, 0)), journal, missed_sessions=MissedSessions.EACH)
    async with running(manager) as log:
        assert (manager.state, manager.session.date) == (ACTIVE, THURSDAY)
        assert [event.skipped for event in of(RollSucceeded, log)] == [(), (), ()]
    assert rolls.dates == [TUESDAY, WEDNESDAY, THURSDAY]
    assert [entry for entry, *_ in entries(journal)] == [ADOPTED, INTENT, DONE, INTENT, DONE, INTENT, DONE]


async def test_more_missed_sessions_than_the_cap_wait_for_a_person():
    """ERROR, which a further restart does not forget; recover is the decision, and nothing is rolled before it."""
    journal = holding(adopted())
    start = at(MONDAY + 28 * DAY, (15, 0))
    manager, _, rolls = begin(start, journal)
    async with running(manager):
        assert manager.state is ERROR
        assert "max_catch_up_sessions" in manager.status().reason
    assert [entry for entry, *_ in entries(journal)] == [ADOPTED, FAILED]
    manager, clock, rolls = begin(start, journal)
    async with running(manager):
        assert (manager.state, rolls.begun) == (ERROR, [])
        await manager.recover()
        await clock.advance(NOW)
        assert (manager.state, manager.session.date) == (ACTIVE, MONDAY + 28 * DAY)
    assert rolls.dates == [MONDAY + 28 * DAY]


# ---- an open intent ----


@pytest.mark.parametrize(
    "wall",
    [
        pytest.param(at(MONDAY - 7 * DAY, (15, 0)), id="a week before"),
        pytest.param(at(MONDAY, (15, 0)), id="before the end"),
        pytest.param(END + MINUTE, id="a minute later"),
        pytest.param(at(FRIDAY, (15, 0)), id="days later"),
        pytest.param(at(MONDAY + 56 * DAY, (15, 0)), id="more than the cap later"),
    ],
)
async def test_an_open_intent_is_finished_first_for_its_own_date(wall):
    """Whatever the wall clock says, the roll that was begun is the one that is awaited, flagged as resumed."""
    journal = holding(adopted(), intent(WEDNESDAY, TUESDAY))
    manager, _, rolls = begin(
        wall, journal, schedule=weekdays(MONDAY - 14 * DAY, 60), missed_sessions=MissedSessions.EACH
    )
    async with running(manager) as log:
        assert rolls.begun[0] == (WEDNESDAY, wall)
        assert of(RollStarted, log)[0] == RollStarted(MONDAY, WEDNESDAY, 1, True, wall)
        [done, *_] = of(RollSucceeded, log)
        assert (done.next_session, done.resumed, done.skipped) == (WEDNESDAY, True, (TUESDAY,))
        assert all(not event.resumed for event in of(RollSucceeded, log)[1:])
    assert entries(journal)[:3] == [
        (ADOPTED, MONDAY, None),
        (INTENT, MONDAY, WEDNESDAY),
        (DONE, MONDAY, WEDNESDAY),
    ]


@pytest.mark.parametrize(
    ("policy", "targets", "resumed"),
    [
        (MissedSessions.LATEST, [TUESDAY, FRIDAY], [True, False]),
        (MissedSessions.EACH, [TUESDAY, WEDNESDAY, THURSDAY, FRIDAY], [True, False, False, False]),
    ],
)
async def test_after_the_open_intent_comes_the_policy(policy, targets, resumed):
    """The sessions missed since are rolled or skipped by policy, and are not resumed."""
    journal = holding(adopted(), intent())
    manager, _, rolls = begin(at(FRIDAY, (15, 0)), journal, missed_sessions=policy)
    async with running(manager) as log:
        assert (manager.state, manager.session.date) == (ACTIVE, FRIDAY)
        assert [event.resumed for event in of(RollStarted, log)] == resumed
        assert [event.resumed for event in of(RollSucceeded, log)] == resumed
    assert rolls.dates == targets


async def test_after_the_open_intent_the_cap_holds():
    """The roll that was begun is finished; more than the cap after it is an ERROR."""
    journal = holding(adopted(), intent())
    manager, _, rolls = begin(at(MONDAY + 28 * DAY, (15, 0)), journal)
    async with running(manager):
        assert (manager.state, manager.session.date) == (ERROR, TUESDAY)
        assert "max_catch_up_sessions" in manager.status().reason
    assert rolls.dates == [TUESDAY]


async def test_a_resumed_roll_that_fails_is_retried_and_then_an_error():
    """It is an ordinary round: retries, then ERROR, and the intent stays open for the next start."""
    journal = holding(adopted(), intent())
    manager, clock, rolls = begin(END, journal, *[OSError("no disk")] * 3)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert manager.state is ERROR
        assert [event.resumed for event in of(RollFailed, log)] == [True] * 3
        await manager.recover()
        await clock.advance(NOW)
        assert of(RollStarted, log)[-1].resumed
        assert manager.session.date == TUESDAY
    assert rolls.dates == [TUESDAY] * 4
    assert [entry for entry, *_ in entries(journal)] == [ADOPTED, INTENT, FAILED, RECOVERED, DONE]


async def test_stopped_between_two_attempts_the_next_start_resumes():
    """Leaving starts no retry; the roll may have half happened, so it is resumed."""
    journal = MemoryJournal()
    manager, clock, _ = begin(EVENING, journal, OSError("no disk"))
    async with running(manager):
        await clock.advance_to(END)
    assert entries(journal)[-1] == (INTENT, MONDAY, TUESDAY)
    manager, clock, rolls = begin(END + HOUR, journal)
    async with running(manager) as log:
        assert [event.resumed for event in of(RollSucceeded, log)] == [True]
    assert rolls.dates == [TUESDAY]


LOST = "the schedule has no such session any more"
WITHOUT_TUESDAY = FixedSchedule(map(session, (MONDAY, WEDNESDAY, THURSDAY, FRIDAY)))


async def test_fault_20_the_calendar_has_lost_the_session_that_was_entered():
    """Completed labels stay completed: what is left of the session is walked at once, and rolled from as usual."""
    journal = MemoryJournal()
    manager, clock, rolls = begin(EVENING, journal)
    async with running(manager):
        await clock.advance(HOUR)
    manager, clock, rolls = begin(at(MONDAY, (23, 0)), journal, schedule=WITHOUT_TUESDAY)
    async with running(manager) as log:
        await clock.advance(NOW)
        walked = changes(log)[:4]
        assert [event.dest for event in walked] == [PRE_MARKET, ACTIVE, POST_MARKET, ENDED]
        assert all(event.catch_up and event.reason == LOST for event in walked)
        assert (manager.state, manager.session.date) == (NOT_STARTED, WEDNESDAY)
        await clock.advance_to(at(TUESDAY, (15, 0)))
        assert (manager.state, manager.can_trade) == (NOT_STARTED, False)
        await clock.advance_to(at(WEDNESDAY, (15, 0)))
        assert (manager.state, manager.session.date) == (ACTIVE, WEDNESDAY)
    assert rolls.dates == [WEDNESDAY]


async def test_fault_20_the_calendar_has_gained_a_session_before_the_one_that_was_entered():
    """What was rolled past stays behind: the journal's session holds, and nothing is rolled back to."""
    journal = MemoryJournal()
    manager, clock, rolls = begin(EVENING, journal, schedule=WITHOUT_TUESDAY)
    async with running(manager):
        await clock.advance(HOUR)
        assert manager.session.date == WEDNESDAY
    manager, clock, rolls = begin(at(TUESDAY, (15, 0)), journal)
    async with running(manager):
        assert (manager.state, manager.session.date, manager.scheduled_state) == (NOT_STARTED, WEDNESDAY, ACTIVE)
        await clock.advance_to(at(THURSDAY, (15, 0)))
    assert rolls.dates == [THURSDAY]


async def test_fault_20_the_calendar_has_lost_the_target_of_the_open_intent():
    """The roll is finished for its own date; there is nothing to wait for in that session, so it goes on from there."""
    journal = holding(adopted(), intent())
    manager, clock, rolls = begin(END, journal, schedule=WITHOUT_TUESDAY)
    async with running(manager) as log:
        await clock.advance(NOW)
        assert (manager.state, manager.session.date) == (NOT_STARTED, WEDNESDAY)
        assert {event.reason for event in changes(log) if event.session == TUESDAY} == {None, LOST}
        await clock.advance_to(at(WEDNESDAY, (15, 0)))
        assert (manager.state, manager.session.date) == (ACTIVE, WEDNESDAY)
    assert rolls.dates == [TUESDAY, WEDNESDAY]


async def test_auto_roll_off_with_an_open_intent():
    """The roll waits for `roll()`, which resumes it for its own date."""
    journal = holding(adopted(), intent(WEDNESDAY, TUESDAY))
    manager, clock, rolls = begin(at(FRIDAY, (15, 0)), journal, auto_roll=False)
    async with running(manager):
        await clock.advance(HOUR)
        assert (manager.state, manager.session.date, rolls.begun) == (ENDED, MONDAY, [])
        done = await manager.roll()
        assert (done.next_session, done.resumed, done.skipped) == (WEDNESDAY, True, (TUESDAY,))
        await clock.advance(NOW)
        assert (manager.state, manager.session.date) == (ENDED, WEDNESDAY)
        done = await manager.roll()
        assert (done.next_session, done.resumed, done.skipped) == (FRIDAY, False, (THURSDAY,))
    assert rolls.dates == [WEDNESDAY, FRIDAY]


@pytest.mark.parametrize("policy", MissedSessions)
async def test_a_restart_after_any_record_comes_to_the_same_end(policy):
    """A kill after each record in turn: no done is repeated, no session is missing that the run itself had not."""
    journal = MemoryJournal()
    manager, clock, _ = begin(EVENING, journal, missed_sessions=policy)
    async with running(manager):
        await clock.advance_to(at(TUESDAY, (15, 0)))
        manager.halt("news pending")
        manager.resume()
        manager.fail("out of order")
        await manager.recover()
        await manager.end_session("early")
        await clock.advance_to(at(FRIDAY, (15, 0)))
    assert {record.entry for record in journal.records} == {
        *(ADOPTED, INTENT, DONE, FAILED, RECOVERED),
        *(Entry.ENDED, Entry.HALTED, Entry.RESUMED),
    }
    for number in range(len(journal.records) + 1):
        left = holding(*journal.records[:number])
        before = [record.target for record in left.records if record.entry is DONE]
        manager, clock, _ = begin(at(FRIDAY, (15, 0)), left, missed_sessions=policy)
        async with running(manager) as log:
            if manager.state is ERROR:
                await manager.recover()
                await clock.advance(NOW)
            assert (manager.state, manager.session.date) == (ACTIVE, FRIDAY)
            told = [day for done in of(RollSucceeded, log) for day in (*done.skipped, done.next_session)]
        if number:
            assert [*before, *told] == [TUESDAY, WEDNESDAY, THURSDAY, FRIDAY]
        else:
            assert told == []  # nothing was remembered yet, so nothing is owed


# ---- was_rolled ----


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_was_rolled_true_is_not_run_again(sync):
    """The application knows that it has happened: the roll counts as done, and is journalled and told as such."""
    asked: list[date] = []
    journal = holding(adopted(), intent())
    manager, _, rolls = begin(END, journal, was_rolled=answering(asked, True, sync=sync))
    async with running(manager) as log:
        assert manager.session.date == TUESDAY
        assert [(event.next_session, event.resumed) for event in of(RollSucceeded, log)] == [(TUESDAY, True)]
    assert (asked, rolls.begun) == ([TUESDAY], [])
    assert entries(journal)[-1] == (DONE, MONDAY, TUESDAY)


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_was_rolled_false_is_run(sync):
    """It is asked before the roll, and each time that the resumed roll is tried."""
    asked: list[date] = []
    journal = holding(adopted(), intent())
    manager, clock, rolls = begin(END, journal, OSError(), was_rolled=answering(asked, False, sync=sync))
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert manager.session.date == TUESDAY
        assert [event.resumed for event in of(RollSucceeded, log)] == [True]
    assert (asked, rolls.dates) == ([TUESDAY] * 2, [TUESDAY] * 2)


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_was_rolled_that_raises_is_a_failed_attempt(sync):
    """Without an answer nothing is rolled: it is asked again, then ERROR, the roll still owed and its intent open."""
    asked: list[date] = []
    journal = holding(adopted(), intent())
    error = ConnectionError("no database")
    manager, clock, rolls = begin(END, journal, was_rolled=answering(asked, error, sync=sync))
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert manager.state is ERROR
        assert [event.error for event in of(RollFailed, log)] == [error] * 3
        assert "no database" in manager.status().reason
    assert (asked, rolls.begun) == ([TUESDAY] * 3, [])
    assert [entry for entry, *_ in entries(journal)] == [ADOPTED, INTENT, FAILED]


async def test_was_rolled_that_hangs_is_under_the_rolls_timeout():
    """The question is a part of the attempt."""

    async def hang(day: date) -> bool:
        await clock.sleep(DAY)
        return True

    manager, clock, rolls = begin(END, holding(adopted(), intent()), was_rolled=hang, roll_retry=ONCE)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert [type(event.error) for event in of(RollFailed, log)] == [RollTimeoutError]
    assert rolls.begun == []


async def test_was_rolled_is_inside_the_roll():
    """What would wait for the roll is refused there too."""
    raised: list[type[BaseException]] = []

    async def ask(day: date) -> bool:
        for call in (manager.recover, manager.roll, lambda: manager.wait_for(ACTIVE)):
            with pytest.raises(ReentrancyError) as caught:
                await call()
            raised.append(caught.type)
        return True

    manager, _, _ = begin(END, holding(adopted(), intent()), was_rolled=ask)
    async with running(manager):
        assert manager.session.date == TUESDAY
    assert raised == [ReentrancyError] * 3


async def test_was_rolled_is_not_asked_about_a_roll_that_this_run_begins():
    """Not at the first attempt and not at its retries: no earlier run can have completed it."""
    asked: list[date] = []
    manager, clock, rolls = begin(EVENING, MemoryJournal(), OSError(), was_rolled=answering(asked, True, sync=True))
    async with running(manager):
        await clock.advance(HOUR)
    assert (asked, rolls.dates) == ([], [TUESDAY] * 2)


async def test_was_rolled_is_asked_of_the_open_intent_only():
    """The sessions that were missed after it are rolled without a question."""
    asked: list[date] = []
    manager, _, rolls = begin(
        at(THURSDAY, (15, 0)),
        holding(adopted(), intent()),
        was_rolled=answering(asked, True, sync=True),
        missed_sessions=MissedSessions.EACH,
    )
    async with running(manager):
        assert manager.session.date == THURSDAY
    assert (asked, rolls.dates) == ([TUESDAY], [WEDNESDAY, THURSDAY])


# ---- ERROR and end_session survive ----


async def test_a_restart_in_error_stays_in_error(caplog):
    """Nobody has decided anything: same reason, nothing rolled, no event, one line in the log."""
    journal = MemoryJournal()
    manager, clock, _ = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager):
        manager.fail("the exchange halted us")
    with errors_logged(caplog) as lines:
        manager, clock, rolls = begin(at(THURSDAY, (15, 0)), journal)
        async with running(manager) as log:
            assert (manager.state, manager.session.date) == (ERROR, MONDAY)
            assert manager.status().reason == "the exchange halted us"
            assert await manager.wait_for(ERROR) is ERROR
            assert (manager.scheduled_state, manager.can_trade) == (ACTIVE, False)
            assert manager.next_boundary == at(THURSDAY, (21, 0))
            await clock.advance(7 * HOUR)
            assert (manager.state, manager.scheduled_state) == (ERROR, NOT_STARTED)
            assert (log, rolls.begun) == ([], [])
    assert [line for line in lines if "the exchange halted us" in line and "earlier run" in line]
    assert entries(journal) == [(ADOPTED, MONDAY, None), (FAILED, MONDAY, None)]


async def test_a_failed_roll_survives_as_an_error():
    """After the last attempt the state is ERROR at the next start too, the roll still owed; recover resumes it."""
    journal = MemoryJournal()
    manager, clock, _ = begin(EVENING, journal, *[OSError("no disk")] * 3)
    async with running(manager):
        await clock.advance(HOUR)
        reason = manager.status().reason
    manager, clock, rolls = begin(at(TUESDAY, (10, 0)), journal)
    async with running(manager) as log:
        status = manager.status()
        assert (status.state, status.reason, status.roll_owed, status.session) == (ERROR, reason, True, MONDAY)
        await manager.recover()
        await clock.advance(NOW)
        assert path(log)[:2] == ["recover", "roll"]
        assert (manager.state, manager.session.date) == (PRE_MARKET, TUESDAY)
        assert [event.resumed for event in of(RollSucceeded, log)] == [True]
    assert rolls.dates == [TUESDAY]


async def test_end_session_by_hand_survives_a_restart():
    """It is journalled before it acts, and what is ended stays ended although by the clock the session is on."""
    journal = MemoryJournal()
    manager, clock, _ = begin(at(MONDAY, (15, 0)), journal, auto_roll=False)
    async with running(manager):
        await manager.end_session("fire drill")
        assert manager.state is ENDED
    assert journal.records[1:] == [Record(Entry.ENDED, MONDAY, at(MONDAY, (15, 0)), note="fire drill", seq=2)]
    manager, clock, rolls = begin(at(MONDAY, (16, 0)), journal, auto_roll=False)
    async with running(manager):
        assert (manager.state, manager.session.date, manager.scheduled_state) == (ENDED, MONDAY, ACTIVE)
        assert manager.status().roll_owed
        assert (await manager.roll()).next_session == TUESDAY
        await clock.advance(NOW)
        assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)
    manager, clock, rolls = begin(at(MONDAY, (17, 0)), journal)
    async with running(manager):
        await clock.advance_to(at(MONDAY, (23, 0)))
        assert (manager.state, manager.session.date, rolls.begun) == (NOT_STARTED, TUESDAY, [])


async def test_end_session_by_hand_is_rolled_by_the_next_start():
    """With auto_roll the restart goes on to the roll that is owed; it was not begun before, so it is not resumed."""
    journal = holding(adopted(), Record(Entry.ENDED, MONDAY, at(MONDAY, (15, 0)), note="fire drill"))
    manager, _, rolls = begin(at(MONDAY, (16, 0)), journal)
    async with running(manager) as log:
        assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)
        assert [event.resumed for event in of(RollSucceeded, log)] == [False]
    assert rolls.dates == [TUESDAY]


async def test_end_session_that_cannot_be_journalled_changes_nothing():
    """The error is the caller's; the session goes on, and the call can be made again."""
    journal = Refusing(Entry.ENDED)
    manager, clock, rolls = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager) as log:
        log.clear()
        with pytest.raises(JournalWriteFailed, match="'ended'"):
            await manager.end_session("fire drill")
        await clock.advance(NOW)
        assert (manager.state, log, rolls.begun) == (ACTIVE, [], [])
        journal.refused.clear()
        await manager.end_session("fire drill")
        await clock.advance(NOW)
        assert manager.session.date == TUESDAY


async def test_end_session_out_of_hours_writes_nothing():
    """What is refused leaves no trace in the journal."""
    journal = MemoryJournal()
    manager, _, _ = begin(at(MONDAY, (10, 0)), journal)
    async with running(manager):
        with pytest.raises(IllegalTransition):
            await manager.end_session("too early")
    assert entries(journal) == [(ADOPTED, MONDAY, None)]


# ---- the wall clock before the journal ----


async def test_fault_48_a_wall_clock_before_the_journal_holds():
    """The session is the journal's, NOT_STARTED until its own pre-market; what was rolled is not rolled again."""
    journal = MemoryJournal()
    manager, clock, first = begin(EVENING, journal)
    async with running(manager):
        await clock.advance(HOUR)
    manager, clock, second = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager):
        assert (manager.state, manager.session.date, manager.scheduled_state) == (NOT_STARTED, TUESDAY, ACTIVE)
        assert not manager.can_trade
        assert not manager.status().roll_owed
        await clock.advance_to(at(TUESDAY, (9, 0)) - MICROSECOND)
        assert (manager.state, second.begun) == (NOT_STARTED, [])
        await clock.advance_to(at(TUESDAY, (15, 0)))
        assert manager.state is ACTIVE
        await clock.advance_to(at(WEDNESDAY, (9, 0)))
    assert (first.dates, second.dates) == ([TUESDAY], [WEDNESDAY])


moves = st.lists(st.tuples(st.timedeltas(-7 * DAY, 2 * DAY), st.timedeltas(NOW, 2 * DAY)), min_size=1, max_size=5)


@pytest.mark.costly
@settings(max_examples=25, deadline=None)
@given(moves=moves)
async def test_fault_48_whatever_the_wall_clock_says_at_each_restart_nothing_is_rolled_twice(moves):
    """Restarts with the wall clock moved either way: the dates that are rolled to only ever ascend, none twice."""
    journal = MemoryJournal()
    now = at(MONDAY + 14 * DAY, (15, 0))
    rolled: list[date] = []
    for jump, stay in moves:
        now = max(now + jump, at(MONDAY, (15, 0)))
        manager, clock, rolls = begin(now, journal, missed_sessions=MissedSessions.EACH, max_catch_up_sessions=50)
        async with running(manager):
            await clock.advance(stay)
        now = clock.now()
        rolled += rolls.dates
    assert rolled == sorted(set(rolled))
    assert rolled == [record.target for record in journal.records if record.entry is DONE]


# ---- session= beside a journal ----


async def test_session_that_agrees_with_the_journal():
    """The application and its journal say the same: nothing is written."""
    journal = holding(adopted())
    manager, _, _ = begin(at(MONDAY, (15, 0)), journal, session=MONDAY)
    async with running(manager):
        assert (manager.state, manager.session.date) == (ACTIVE, MONDAY)
    assert entries(journal) == [(ADOPTED, MONDAY, None)]


async def test_session_that_is_the_target_of_the_open_intent_counts_as_done():
    """The application has stored the new date, so the roll has happened: it is not awaited again."""
    journal = holding(adopted(), intent())
    manager, _, rolls = begin(at(TUESDAY, (15, 0)), journal, session=TUESDAY)
    async with running(manager) as log:
        assert (manager.state, manager.session.date) == (ACTIVE, TUESDAY)
        assert of(RollStarted, log) == []
    assert rolls.begun == []
    assert entries(journal)[-1] == (DONE, MONDAY, TUESDAY)


async def test_session_that_is_the_source_of_the_open_intent_resumes():
    """The application has not stored the new date: the roll is resumed."""
    journal = holding(adopted(), intent())
    manager, _, rolls = begin(END, journal, session=MONDAY)
    async with running(manager) as log:
        assert [event.resumed for event in of(RollSucceeded, log)] == [True]
    assert rolls.dates == [TUESDAY]


async def test_session_that_agrees_does_not_end_an_error():
    """It tells where the application is, not that somebody has looked at the failure."""
    manager, _, rolls = begin(END, holding(adopted(), intent(), failed()), session=MONDAY)
    async with running(manager):
        assert (manager.state, manager.status().reason, rolls.begun) == (ERROR, "out of order", [])


@pytest.mark.parametrize("records", [(adopted(),), (adopted(), intent())], ids=["at rest", "in mid-roll"])
@pytest.mark.parametrize("stored", [MONDAY + 7 * DAY, FRIDAY], ids=["next week", "Friday"])
async def test_session_that_contradicts_the_journal(records, stored):
    """Which of the two is wrong, a person must find out: nothing is started, nothing is written, both are named."""
    journal = holding(*records)
    manager, _, rolls = begin(at(FRIDAY, (15, 0)), journal, session=stored)
    message = await refused(manager, JournalMismatch)
    assert str(MONDAY) in message
    assert str(stored) in message
    assert journal.records == numbered(records)
    assert rolls.begun == []
    assert await is_free(journal)


async def test_session_done_that_cannot_be_journalled_stops_the_start():
    """The start is refused as a whole."""
    journal = Refusing(DONE, records=(adopted(), intent()))
    manager, _, rolls = begin(END, journal, session=TUESDAY)
    await refused(manager, JournalWriteFailed)
    assert (entries(journal)[-1], rolls.begun) == ((INTENT, MONDAY, TUESDAY), [])
    assert await is_free(journal)
