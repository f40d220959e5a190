"""The ledger: what is decided becomes durable in order, in a task of its own, whatever is cancelled meanwhile."""

import time as real_time
from datetime import time, timedelta

import anyio
import pytest

from session_lifecycle import (
    Entry,
    IllegalTransition,
    JournalWriteFailed,
    MemoryJournal,
    OverrideRefused,
    Resolution,
    RollStarted,
    RollSucceeded,
    SessionBoundaryManager,
    SessionGroup,
    SpecialHours,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import MONDAY, at
from tests.helpers.group import Desk
from tests.helpers.harness import (
    ACTIVE,
    ENDED,
    ERROR,
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    TUESDAY,
    Rolls,
    changes,
    of,
    path,
    running,
    season,
)
from tests.helpers.ledger import (
    BRIEF,
    TRIES,
    Kept,
    Lost,
    Slow,
    a_while,
    in_background,
    keeping,
    until,
)
from tests.helpers.manager_journal import (
    ADOPTED,
    DONE,
    END,
    EVENING,
    FAILED,
    INTENT,
    RECOVERED,
    Refusing,
    entries,
    errors_logged,
    is_free,
    refused,
)

pytestmark = pytest.mark.anyio

NOON = at(MONDAY, (16, 0))
HALTED, RESUMED, WITHDRAWN = Entry.HALTED, Entry.RESUMED, Entry.WITHDRAWN
EITHER_WAY = pytest.mark.parametrize("failure", [Lost(), Kept()], ids=["not written", "written"])


# ---- the order ----


async def test_what_waits_is_written_in_one_commit_in_its_order():
    """While one append is under way, what is decided gathers, and comes next, all of it at once."""
    journal = Slow()
    manager, clock, _ = keeping(NOON, journal)
    async with running(manager):
        journal.shut()
        manager.halt("first")
        await journal.writing.wait()
        manager.resume()
        manager.fail("second")
        async with in_background(manager.recover) as recovered:
            await a_while()
            assert (journal.written, recovered) == ([ADOPTED], [])
            journal.release()
        await clock.advance(NOW)
        assert recovered == [None]
    assert journal.attempts == [[(ADOPTED, 1)], [(HALTED, 2)], [(RESUMED, 3), (FAILED, 4)], [(RECOVERED, 5)]]
    assert [record.seq for record in journal.records] == [1, 2, 3, 4, 5]


async def test_what_is_decided_in_one_step_is_one_commit():
    """Three calls without a wait in between cost one append."""
    journal = Slow()
    manager, clock, _ = keeping(NOON, journal)
    async with running(manager):
        manager.halt("first")
        manager.resume()
        manager.fail("second")
        await clock.advance(NOW)
        assert (manager.halted, manager.state) == (None, ERROR)
    assert journal.attempts[1:] == [[(HALTED, 2), (RESUMED, 3), (FAILED, 4)]]


async def test_the_count_goes_on_at_the_next_start():
    """Each run numbers its records after those that the journal holds."""
    journal = Slow()
    for start in (EVENING, at(TUESDAY, (21, 15))):
        manager, clock, _ = keeping(start, journal)
        async with running(manager):
            await clock.advance(HOUR)
    assert [record.seq for record in journal.records] == [1, 2, 3, 4, 5]
    assert journal.written == [ADOPTED, INTENT, DONE, INTENT, DONE]


async def test_one_that_is_refused_does_not_take_the_others_with_it():
    """A commit that is refused is taken apart: only what cannot be written fails."""
    journal = Refusing(Entry.ENDED)
    manager, clock, _ = keeping(NOON, journal)
    async with running(manager):
        manager.halt("first")
        async with in_background(manager.end_session, "fire drill") as outcome:
            pass
        await clock.advance(NOW)
        assert isinstance(outcome[0], JournalWriteFailed)
        assert (manager.halted, manager.state) == ("first", ACTIVE)
        manager.resume()
        await clock.advance(NOW)
        assert manager.halted is None
    assert [record.entry for record in journal.records] == [ADOPTED, HALTED, RESUMED]


async def test_what_was_refused_together_with_one_in_doubt_waits_for_nothing():
    """The first is in doubt for good, so what comes after it cannot be written: its caller is told, and does not hang.

    It is kept, in its order, and withdrawn once it is there, because it came too late.
    """
    refused = JournalWriteFailed("in memory", "two", "no space left")
    in_doubt = JournalWriteFailed("in memory", "one", "no answer", uncertain=True)
    journal = Slow(refused, in_doubt, entries=[HALTED])
    manager, clock, _ = keeping(NOON, journal)
    async with running(manager):
        manager.halt("first")
        async with in_background(manager.end_session, "fire drill") as outcome:
            await until(lambda: outcome)
        assert outcome == [in_doubt]
        await clock.advance(NOW)
        assert manager.state is ERROR
        await manager.recover()
        assert manager.state is ACTIVE
    assert journal.written == [ADOPTED, HALTED, Entry.ENDED, FAILED, WITHDRAWN, RECOVERED]


async def test_an_intent_that_was_in_doubt_and_then_refused_is_written_anew():
    """No roll is begun on the strength of a record that is not in the journal after all."""
    refused = JournalWriteFailed("in memory", "intent", "no space left")
    in_doubt = JournalWriteFailed("in memory", "intent", "no answer", uncertain=True)
    journal = Slow(in_doubt, refused, refused, entries=[INTENT])
    manager, clock, rolls = keeping(EVENING, journal)
    async with running(manager):
        await clock.advance(HOUR)
        assert (manager.state, rolls.dates) == (ERROR, [])
        assert INTENT not in journal.written
        await manager.recover()
        await clock.advance(NOW)
        assert (manager.session.date, rolls.dates) == (TUESDAY, [TUESDAY])
    assert journal.written == [ADOPTED, FAILED, RECOVERED, INTENT, DONE]


async def test_no_wait_lies_between_a_commit_and_what_it_allows():
    """Once *done* is durable, the next session is entered before anything else runs."""
    seen: list[object] = []

    class Watching(Slow):
        async def append(self, records):
            await super().append(records)
            if records[-1].entry is DONE:
                tasks.start_soon(look)

    async def look() -> None:
        seen.append(manager.session.date)

    manager, clock, _ = keeping(EVENING, Watching())
    async with running(manager), anyio.create_task_group() as tasks:
        await clock.advance(HOUR)
    assert seen == [TUESDAY]


# ---- what acts at once, and what acts once it is durable ----


async def test_halt_fail_and_stop_act_at_once():
    """They are not waited for; their records follow, also as the manager leaves."""
    journal = Slow()
    manager, _, _ = keeping(NOON, journal)
    async with running(manager):
        journal.shut()
        manager.halt("news")
        assert (manager.halted, manager.can_trade) == ("news", False)
        manager.fail("out of order")
        assert manager.state is ERROR
        manager.stop()
        await journal.writing.wait()
        assert journal.written == [ADOPTED]
        journal.release()
    assert journal.written == [ADOPTED, HALTED, FAILED]


async def test_resume_acts_once_it_is_durable():
    """Trading does not go on before a restart would know that it has."""
    journal = Slow()
    manager, clock, _ = keeping(NOON, journal)
    async with running(manager):
        manager.halt("news")
        await clock.advance(NOW)
        journal.shut()
        manager.resume()
        await journal.writing.wait()
        await a_while()
        assert (manager.halted, manager.can_trade) == ("news", False)
        journal.release()
        await clock.advance(NOW)
        assert (manager.halted, manager.can_trade) == (None, True)
    assert journal.written == [ADOPTED, HALTED, RESUMED]


async def test_resume_that_cannot_be_journalled_leaves_the_halt(caplog):
    """The log says so, and the call can be made again."""
    journal = Refusing(RESUMED)
    manager, clock, _ = keeping(NOON, journal)
    async with running(manager):
        manager.halt("news")
        with errors_logged(caplog) as lines:
            manager.resume()
            await clock.advance(NOW)
        assert manager.halted == "news"
        assert [line for line in lines if "'resumed'" in line and "could not be journalled" in line]
        journal.refused.clear()
        manager.resume()
        await clock.advance(NOW)
        assert manager.halted is None


# ---- in doubt ----


@EITHER_WAY
async def test_an_append_in_doubt_is_repeated_with_the_same_records(failure):
    """Any error but a `JournalWriteFailed` is in doubt; the same numbers come again, and each is there once."""
    journal = Slow(failure, failure, entries=[DONE])
    manager, clock, rolls = keeping(EVENING, journal)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)
        assert len(of(RollSucceeded, log)) == 1
    assert journal.attempts[2:] == [[(DONE, 3)]] * TRIES
    assert (journal.written, rolls.dates) == ([ADOPTED, INTENT, DONE], [TUESDAY])


async def test_an_append_that_takes_too_long_is_in_doubt():
    """`journal_timeout` is real time: a hanging append is cancelled, and the same records come again."""
    journal = Slow(anyio.sleep_forever, entries=[DONE])
    manager, clock, rolls = keeping(EVENING, journal, journal_timeout=BRIEF)
    async with running(manager):
        await clock.advance(HOUR)
        assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)
    assert journal.attempts[2:] == [[(DONE, 3)]] * 2
    assert rolls.dates == [TUESDAY]


async def test_an_append_that_takes_too_long_for_good_is_uncertain():
    """The reason says how long was waited."""
    journal = Slow(entries=[DONE], always=anyio.sleep_forever)
    manager, clock, _ = keeping(EVENING, journal, journal_timeout=BRIEF)
    async with running(manager):
        await clock.advance(HOUR)
        assert manager.state is ERROR
        assert "uncertain" in manager.status().reason
        assert "longer than 0.04 s" in manager.status().reason


@EITHER_WAY
async def test_a_done_in_doubt_for_good_is_an_error_that_says_uncertain(failure):
    """Three tries, then ERROR: nothing is announced, and the roll is owed."""
    journal = Slow(entries=[DONE], always=failure)
    manager, clock, rolls = keeping(EVENING, journal)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert (manager.state, manager.session.date) == (ERROR, MONDAY)
        assert manager.status().reason.startswith("uncertain")
        assert of(RollSucceeded, log) == []
        assert manager.status().roll_owed
    assert journal.attempts[2 : 2 + TRIES] == [[(DONE, 3)]] * TRIES
    assert rolls.dates == [TUESDAY]


@EITHER_WAY
@pytest.mark.parametrize("resolution", Resolution)
async def test_recover_finds_out_and_completes_the_roll_once(failure, resolution):
    """The same records come once more: then *done* is there, and the roll is completed, not awaited again."""
    journal = Slow(entries=[DONE], always=failure)
    manager, clock, rolls = keeping(EVENING, journal)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert manager.state is ERROR
        journal.always = None
        await manager.recover(resolution)
        await clock.advance(NOW)
        assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)
        assert [event.next_session for event in of(RollSucceeded, log)] == [TUESDAY]
        assert path(log)[-2:] == ["recover", "roll"]
    assert rolls.dates == [TUESDAY]
    assert journal.written.count(DONE) == 1
    manager, clock, rolls = keeping(END + HOUR, journal)
    async with running(manager):
        assert (manager.state, manager.session.date, rolls.dates) == (NOT_STARTED, TUESDAY, [])


@EITHER_WAY
async def test_recover_while_it_is_still_in_doubt(failure):
    """It raises what is uncertain, changes nothing, and may be called again."""
    journal = Slow(entries=[DONE], always=failure)
    manager, clock, rolls = keeping(EVENING, journal)
    async with running(manager) as log:
        await clock.advance(HOUR)
        told = len(log)
        with pytest.raises(JournalWriteFailed) as caught:
            await manager.recover()
        assert caught.value.uncertain
        await clock.advance(NOW)
        assert (manager.state, len(log)) == (ERROR, told)
        journal.always = None
        await manager.recover()
        await clock.advance(NOW)
        assert manager.session.date == TUESDAY
    assert rolls.dates == [TUESDAY]


@EITHER_WAY
async def test_a_restart_finds_out_as_well(failure):
    """Where *done* is there, the session is the next one; else the roll is resumed, and says so."""
    journal = Slow(entries=[DONE], always=failure)
    manager, clock, _ = keeping(EVENING, journal)
    async with running(manager):
        await clock.advance(HOUR)
        assert manager.state is ERROR
    manager, clock, rolls = keeping(END + HOUR, journal)
    journal.always = None
    async with running(manager) as log:
        if manager.state is ERROR:
            await manager.recover()
            await clock.advance(NOW)
        assert manager.session.date == TUESDAY
        resumed = [event.resumed for event in of(RollSucceeded, log)]
    there = isinstance(failure, Kept)
    assert (rolls.dates, resumed) == (([], []) if there else ([TUESDAY], [True]))


@EITHER_WAY
async def test_an_intent_in_doubt_for_good_begins_nothing(failure):
    """ERROR, no attempt; `recover` finds out, and begins the roll once."""
    journal = Slow(entries=[INTENT], always=failure)
    manager, clock, rolls = keeping(EVENING, journal)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert (manager.state, rolls.begun) == (ERROR, [])
        assert "was not begun" in manager.status().reason
        assert "uncertain" in manager.status().reason
        assert of(RollStarted, log) == []
        journal.always = None
        await manager.recover()
        await clock.advance(NOW)
        assert manager.session.date == TUESDAY
    assert (rolls.dates, journal.written.count(INTENT)) == ([TUESDAY], 1)


@EITHER_WAY
async def test_a_decision_in_doubt_for_good_raises_and_is_an_error(failure):
    """Whether the session has ended is not known: the caller's error says so, and nothing goes on before it is."""
    journal = Slow(entries=[Entry.ENDED], always=failure)
    manager, clock, rolls = keeping(NOON, journal)
    async with running(manager):
        with pytest.raises(JournalWriteFailed) as caught:
            await manager.end_session("fire drill")
        assert caught.value.uncertain
        await clock.advance(NOW)
        assert (manager.state, rolls.begun) == (ERROR, [])
        assert "uncertain" in manager.status().reason


@EITHER_WAY
async def test_an_adoption_in_doubt_for_good_stops_the_start(failure):
    """Nothing was started, nothing is reported, and the journal is free."""
    journal = Slow(always=failure)
    manager, _, rolls = keeping(EVENING, journal)
    events = manager.events()
    assert "uncertain" in await refused(manager, JournalWriteFailed)
    assert ([event async for event in events], rolls.begun) == ([], [])
    assert journal.attempts == [[(ADOPTED, 1)]] * TRIES
    assert await is_free(journal)


async def test_in_doubt_for_good_is_an_error_of_its_host_only():
    """In a group the others go on, and roll."""
    desk = Desk(EVENING)
    rolls = Rolls(desk.clock)
    broken = desk.manager("broken", journal=Slow(entries=[DONE], always=Lost()))
    whole = desk.manager("whole", journal=Slow(), roll_session=rolls)
    async with SessionGroup([broken, whole]):
        await desk.clock.advance(HOUR)
        assert (broken.state, broken.session.date) == (ERROR, MONDAY)
        assert (whole.state, whole.session.date) == (NOT_STARTED, TUESDAY)
    assert rolls.dates == [TUESDAY]


# ---- real time, and the simulated clock ----


@pytest.mark.parametrize("autojump", [False, True], ids=["advance", "autojump"])
async def test_a_simulated_clock_does_not_move_while_something_is_written(autojump):
    """`advance`, and a sleep with autojump, wait for the journal in real time; no simulated time passes."""
    took: list[timedelta] = []

    async def real_wait() -> None:
        before = clock.now()
        await anyio.sleep(0.03)
        took.append(clock.now() - before)

    journal = Slow(*[real_wait] * 3)
    clock = SimulatedClock(EVENING, autojump=autojump)
    manager = SessionBoundaryManager(season(), Rolls(clock), clock=clock, journal=journal)
    async with manager, anyio.create_task_group() as tasks:
        ticks: list[object] = []

        async def tick() -> None:
            while True:
                await clock.sleep(MINUTE)
                ticks.append(clock.now())

        tasks.start_soon(tick)
        began = real_time.perf_counter()
        if autojump:
            await clock.sleep(HOUR)
        else:
            await clock.advance(HOUR)
        assert real_time.perf_counter() - began >= 0.06
        assert manager.session.date == TUESDAY
        tasks.cancel_scope.cancel()
    assert took == [NOW] * 3
    assert [record.at for record in journal.records] == [EVENING, END, END]


async def test_advance_goes_on_once_what_is_in_doubt_is_given_up():
    """A journal that never answers holds the clock no longer than its timeout and tries."""
    journal = Slow(entries=[HALTED], always=anyio.sleep_forever)
    manager, clock, _ = keeping(NOON, journal, journal_timeout=BRIEF)
    async with running(manager):
        manager.halt("news")
        with anyio.fail_after(5):
            await clock.advance(HOUR)
        assert clock.now() == NOON + HOUR


# ---- judged anew ----


async def test_the_close_comes_while_an_end_is_written():
    """The clock has ended the session meanwhile: the call returns, and it is not ended twice."""
    journal = Slow()
    manager, clock, rolls = keeping(at(MONDAY, (21, 10)), journal)
    async with running(manager) as log:
        journal.shut()
        async with in_background(manager.end_session, "a little early") as outcome:
            await journal.writing.wait()
            clock.step(HOUR)
            await until(lambda: manager.state is ENDED)
            journal.release()
        await clock.advance(NOW)
        assert outcome == [None]
        assert [event.reason for event in changes(log) if event.dest is ENDED] == [None]
        assert manager.session.date == TUESDAY
    assert rolls.dates == [TUESDAY]


async def test_two_ends_at_once_are_one():
    """Both calls return, and the session ends once."""
    journal = Slow()
    manager, clock, rolls = keeping(NOON, journal)
    async with running(manager) as log:
        journal.shut()
        async with in_background(manager.end_session, "one") as first:
            await journal.writing.wait()
            async with in_background(manager.end_session, "two") as second:
                await a_while()
                journal.release()
        await clock.advance(NOW)
        assert (first, second) == ([None], [None])
        assert [event.reason for event in changes(log) if event.dest is ENDED] == ["one"]
        assert manager.session.date == TUESDAY
    assert rolls.dates == [TUESDAY]
    assert journal.written == [ADOPTED, Entry.ENDED, Entry.ENDED, INTENT, DONE]


async def test_two_recoveries_at_once_are_one():
    """Both calls return, and ERROR is left once."""
    journal = Slow()
    manager, clock, _ = keeping(NOON, journal)
    async with running(manager) as log:
        manager.fail("out of order")
        await clock.advance(NOW)
        journal.shut()
        async with in_background(manager.recover) as first, in_background(manager.recover) as second:
            await journal.writing.wait()
            await a_while()
            journal.release()
        await clock.advance(NOW)
        assert (first, second) == ([None], [None])
        assert path(log).count("recover") == 1
        assert manager.state is ACTIVE


async def test_an_end_that_a_failure_overtakes_is_withdrawn_before_it_raises():
    """There is no open session any more: the caller hears of it once the record is withdrawn, and durably so."""
    journal = Slow()
    manager, clock, rolls = keeping(NOON, journal)
    written: list[list[Entry]] = []

    async def end() -> None:
        try:
            await manager.end_session("fire drill")
        finally:
            written.append(journal.written)

    async with running(manager):
        journal.shut()
        async with in_background(end) as outcome:
            await journal.writing.wait()
            manager.fail("out of order")
            await a_while()
            journal.release()
        assert isinstance(outcome[0], IllegalTransition)
        await clock.advance(NOW)
        assert manager.state is ERROR
    assert WITHDRAWN in written[0]
    ended, withdrawn = (next(r for r in journal.records if r.entry is entry) for entry in (Entry.ENDED, WITHDRAWN))
    assert withdrawn.subject == str(ended.seq)
    manager, clock, rolls = keeping(NOON + HOUR, journal)
    async with running(manager):
        assert manager.state is ERROR
        await manager.recover()
        await clock.advance(NOW)
        assert (manager.state, manager.session.date, rolls.begun) == (ACTIVE, MONDAY, [])


async def test_an_override_that_comes_too_late_is_withdrawn_before_it_raises():
    """The new close has passed while it was written: the hours stay, and a restart does not take it up."""
    journal = Slow()
    manager, clock, _ = keeping(NOON, journal)
    async with running(manager):
        journal.shut()
        async with in_background(manager.apply, SpecialHours(MONDAY, close=time(16, 30))) as outcome:
            await journal.writing.wait()
            clock.step(HOUR)
            await a_while()
            journal.release()
        assert isinstance(outcome[0], OverrideRefused)
        await clock.advance(NOW)
        assert manager.session.close == at(MONDAY, (21, 0))
    assert journal.written == [ADOPTED, Entry.CHANGED, WITHDRAWN]


async def test_overrides_at_once_come_one_after_the_other():
    """The second is planned on the hours of the first."""
    journal = Slow()
    manager, clock, _ = keeping(NOON, journal)
    async with running(manager):
        journal.shut()
        later, earlier = (SpecialHours(MONDAY, close=time(hour)) for hour in (19, 18))
        async with in_background(manager.apply, later) as first, in_background(manager.apply, earlier) as second:
            await journal.writing.wait()
            await a_while()
            journal.release()
        await clock.advance(NOW)
        assert (first, second) == ([None], [None])
        assert manager.session.close in (at(MONDAY, (18, 0)), at(MONDAY, (19, 0)))
        final = [record for record in journal.records if record.entry is Entry.CHANGED][-1]
        assert str(manager.session.close.hour) in final.note


# ---- the port ----


@pytest.mark.parametrize("call", ["open", "append", "close"])
async def test_a_journal_that_would_block_is_refused_by_name(call):
    """As the manager is made, and nothing is opened."""

    class Blocking(MemoryJournal):
        pass

    setattr(Blocking, call, lambda *_: ())
    with pytest.raises(TypeError, match=rf"Blocking\.{call} must be async"):
        keeping(NOON, Blocking())


async def test_a_record_that_is_there_already_counts_as_written():
    """A repeated append is harmless: the seq is the host's own."""
    journal = MemoryJournal()
    manager, clock, _ = keeping(EVENING, journal)
    async with running(manager):
        await clock.advance(HOUR)
        await journal.append(journal.records)
        await journal.append(journal.records[-1:])
    assert entries(journal) == [(ADOPTED, MONDAY, None), (INTENT, MONDAY, TUESDAY), (DONE, MONDAY, TUESDAY)]
