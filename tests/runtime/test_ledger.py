"""The ledger: what is decided becomes durable in order, in a task of its own, whatever is cancelled meanwhile."""

import asyncio
import time as real_time
from collections.abc import Sequence
from contextlib import suppress
from datetime import time, timedelta
from functools import partial

import anyio
import anyio.lowlevel
import pytest

from session_lifecycle import (
    Entry,
    GroupStopped,
    IllegalTransition,
    JournalWriteFailed,
    MemoryJournal,
    OverrideRefused,
    Record,
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
    cancelled_once_it_waits,
    changes,
    need_asyncio,
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
    tasks_named,
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


# ---- native cancellations ----


@pytest.mark.parametrize("moment", ["in the same step", "while it is written"])
async def test_cancelling_the_rolls_task_after_its_return_reaches_nothing(anyio_backend, moment):
    """Its *done* is in the ledger by then, which no cancellation of the application's reaches."""
    need_asyncio(anyio_backend)
    journal = Slow()
    clock = SimulatedClock(EVENING)
    mine: list[asyncio.Task[object]] = []

    async def roll(_: object) -> None:
        await clock.sleep(MINUTE)
        mine.append(asyncio.current_task())
        journal.shut()
        if moment == "in the same step":
            mine[0].cancel()

    manager = SessionBoundaryManager(season(), roll, clock=clock, journal=journal)
    async with running(manager) as log, anyio.create_task_group() as tasks:
        tasks.start_soon(clock.advance, HOUR)
        await until(lambda: journal.attempts[-1][0][0] is DONE)
        mine[0].cancel()
        await a_while()
        assert manager.session.date == MONDAY
        journal.release()
        await until(lambda: of(RollSucceeded, log))  # a reader hears of it in a later turn than the session has changed
        assert manager.session.date == TUESDAY
    assert len(of(RollSucceeded, log)) == 1
    assert journal.written == [ADOPTED, INTENT, DONE]


@pytest.mark.parametrize("failure", [False, True], ids=["not written", "written"])
async def test_a_native_cancellation_of_the_task_that_writes(anyio_backend, failure):
    """The append is in doubt: the same records come again, and are found where they are there already."""
    need_asyncio(anyio_backend)

    async def cancel() -> None:
        if failure:
            await MemoryJournal.append(journal, [])  # nothing is awaited by it
        [task] = tasks_named("_flush")
        task.cancel()
        await anyio.sleep(60)

    class Torn(Slow):
        async def append(self, records):
            if failure and records[0].entry is DONE and not self.done:
                self.done = True
                await MemoryJournal.append(self, records)
                self.attempts.append([(record.entry, record.seq) for record in records])
                await cancel()
            await super().append(records)

        done = False

    journal = Torn(entries=[DONE]) if failure else Torn(cancel, entries=[DONE])
    manager, clock, rolls = keeping(EVENING, journal)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert (manager.state, manager.session.date) == (NOT_STARTED, TUESDAY)
        assert len(of(RollSucceeded, log)) == 1
    assert journal.attempts == [[(ADOPTED, 1)], [(INTENT, 2)], [(DONE, 3)], [(DONE, 3)]]
    assert (journal.written, rolls.dates) == ([ADOPTED, INTENT, DONE], [TUESDAY])


async def test_a_native_cancellation_of_the_task_that_writes_before_its_first_step(anyio_backend):
    """The task is started anew: what was decided is written."""
    need_asyncio(anyio_backend)
    journal = Slow()
    manager, clock, _ = keeping(NOON, journal)
    struck: list[asyncio.Task[object]] = []

    def strike(loop, coro, **options):
        task = asyncio.Task(coro, loop=loop, **options)
        if len(struck) < 2:
            struck.append(task)
            task.cancel()
        return task

    async with running(manager):
        loop = asyncio.get_running_loop()
        loop.set_task_factory(strike)
        try:
            manager.halt("news")
            await clock.advance(NOW)
        finally:
            loop.set_task_factory(None)
        assert [task.get_name() for task in struck] == ["_flush", "_flush"]
        assert journal.written == [ADOPTED, HALTED]
        assert manager.halted == "news"


async def test_a_native_cancellation_of_every_task_of_the_journals(anyio_backend):
    """Nor does one of the task that starts those that write, again and again, keep anything from being written."""
    need_asyncio(anyio_backend)
    journal = Slow()
    manager, clock, _ = keeping(NOON, journal)
    async with running(manager):
        journal.shut()
        for number in range(3):
            manager.halt(f"number {number}")
            manager.resume()
            tasks = tasks_named("run", "_flush")
            assert tasks
            for task in tasks:
                task.cancel()
            await a_while()
        journal.release()
        await clock.advance(NOW)
        assert manager.halted is None
    assert journal.written[:3] == [ADOPTED, HALTED, RESUMED]
    assert await is_free(journal)


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


# ---- cancelling the caller ----


async def test_cancelling_the_caller_withdraws_what_has_not_begun_to_be_written():
    """Behind another append it only waits: once cancelled, nothing of it is written, and nothing happens."""
    journal = Slow()
    manager, clock, rolls = keeping(NOON, journal)
    async with running(manager):
        journal.shut()
        manager.halt("news")
        await journal.writing.wait()
        assert await cancelled_once_it_waits(manager.end_session, "never mind")
        journal.release()
        await clock.advance(NOW)
        assert (manager.state, rolls.begun) == (ACTIVE, [])
    assert journal.written == [ADOPTED, HALTED]


async def test_cancelling_the_caller_does_not_stop_what_is_being_written():
    """From then on it is decided, and happens."""
    journal = Slow()
    manager, clock, rolls = keeping(NOON, journal)

    async def cancel_once_being_written() -> None:
        await journal.writing.wait()
        scope.cancel()

    async with running(manager), anyio.create_task_group() as tasks:
        journal.shut()
        with anyio.CancelScope() as scope:
            tasks.start_soon(cancel_once_being_written)
            await manager.end_session("fire drill")
        assert scope.cancelled_caught
        assert manager.state is ACTIVE
        journal.release()
        await clock.advance(NOW)
        assert manager.session.date == TUESDAY
    assert journal.written == [ADOPTED, Entry.ENDED, INTENT, DONE]
    assert rolls.dates == [TUESDAY]


async def test_cancelling_the_caller_lets_a_simulated_clock_go_on():
    """What was withdrawn holds nothing up."""
    journal = Slow()
    manager, clock, _ = keeping(NOON, journal)
    async with running(manager):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await manager.end_session("never mind")
        with anyio.fail_after(5):
            await clock.advance(MINUTE)
        assert manager.state is ACTIVE
    assert journal.written == [ADOPTED]


# ---- leaving ----


class _Left(Exception):
    pass


async def leave_by_an_error(manager, ready):
    with pytest.raises(_Left):  # noqa: PT012 -- leaving is what raises
        async with manager:
            await ready()
            raise _Left


async def leave_by_a_scope(manager, ready):
    with anyio.CancelScope() as scope:
        async with manager:
            await ready()
            scope.cancel()
            await anyio.sleep_forever()


async def leave_natively(manager, ready):
    async def main() -> None:
        async with manager:
            await ready()
            entered.set()
            await asyncio.sleep(60)

    entered = asyncio.Event()
    task = asyncio.create_task(main())
    await entered.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def leave_normally(manager, ready):
    async with manager:
        await ready()


async def written_after(left):
    """Write in the turns in which the manager is being left: `left` is set as that begins."""
    await left.wait()
    await a_while()


@pytest.mark.parametrize("leave", [leave_by_an_error, leave_by_a_scope, leave_natively, leave_normally])
async def test_leaving_while_done_is_written_makes_it_durable(anyio_backend, leave):
    """Whatever ends the manager: the roll has returned, so its *done* is written, and reported, before the end."""
    if leave is leave_natively:
        need_asyncio(anyio_backend)
    left = anyio.Event()
    journal = Slow(partial(written_after, left), entries=[DONE])
    manager, clock, rolls = keeping(EVENING, journal)
    events = manager.events()

    async def ready() -> None:
        async def advance() -> None:
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                await clock.advance(HOUR)

        tasks.start_soon(advance)
        await until(lambda: journal.attempts[-1][0][0] is DONE)
        left.set()

    scopes: list[anyio.CancelScope] = []
    async with anyio.create_task_group() as tasks:
        await leave(manager, ready)
        for scope in scopes:
            scope.cancel()
    assert journal.written == [ADOPTED, INTENT, DONE]
    assert len(of(RollSucceeded, [event async for event in events])) == 1
    assert await is_free(journal)
    manager, clock, rolls = keeping(END + HOUR, journal)
    async with running(manager):
        assert (manager.session.date, rolls.begun) == (TUESDAY, [])


@pytest.mark.parametrize("leave", [leave_by_an_error, leave_by_a_scope, leave_natively])
async def test_leaving_while_an_intent_is_written_begins_nothing(anyio_backend, leave):
    """The intent becomes durable, but a manager that is being cancelled begins no attempt; the next run does."""
    if leave is leave_natively:
        need_asyncio(anyio_backend)
    left = anyio.Event()
    journal = Slow(partial(written_after, left), entries=[INTENT])
    manager, clock, rolls = keeping(EVENING, journal)
    events = manager.events()

    async def ready() -> None:
        clock.step(HOUR)
        await until(lambda: journal.attempts[-1][0][0] is INTENT)
        left.set()

    await leave(manager, ready)
    assert (journal.written, rolls.begun) == ([ADOPTED, INTENT], [])
    assert of(RollStarted, [event async for event in events]) == []
    manager, clock, rolls = keeping(END + HOUR, journal)
    async with running(manager) as log:
        assert [event.resumed for event in of(RollSucceeded, log)] == [True]
    assert rolls.dates == [TUESDAY]


async def test_leaving_waits_no_longer_than_a_journal_that_never_answers_may_take():
    """Three tries of `journal_timeout`, and the manager has ended."""
    journal = Slow(entries=[HALTED], always=anyio.sleep_forever)
    manager, _, _ = keeping(NOON, journal, journal_timeout=BRIEF)
    with anyio.fail_after(5):
        async with manager:
            manager.halt("news")
    assert await is_free(journal)


async def test_leaving_waits_until_the_journal_is_closed():
    """Closing may take its time, and the journal is free for the next manager."""

    class Slowly(MemoryJournal):
        async def close(self):
            await anyio.sleep(0.02)
            await super().close()

    journal = Slowly()
    manager, _, _ = keeping(NOON, journal)
    async with running(manager):
        pass
    await journal.open("fixed")


async def test_leaving_cuts_off_no_append_of_a_member_that_was_given_up():
    """It was being added when that was cancelled; its journal is closed already."""

    class Noting(Slow):
        ended = False

        async def append(self, records: Sequence[Record]) -> None:
            with suppress(JournalWriteFailed):
                await super().append(records)
            self.ended = True

    async def release() -> None:
        await anyio.wait_all_tasks_blocked()
        journal.release()

    desk = Desk(NOON)
    journal = Noting()
    journal.shut()
    group = SessionGroup([desk.manager("one")])
    with anyio.fail_after(5):
        async with anyio.create_task_group() as meanwhile, group:
            async with anyio.create_task_group() as adding:
                adding.start_soon(group.add, desk.manager("two", journal=journal))
                await journal.writing.wait()
                adding.cancel_scope.cancel()
            meanwhile.start_soon(release)
    assert journal.ended


async def test_a_journal_that_hangs_in_close_does_not_hang_the_manager():
    """It is waited for as long as for an append."""

    class Hanging(MemoryJournal):
        closing = 0

        async def close(self) -> None:
            self.closing += 1
            await anyio.sleep_forever()

    journal = Hanging()
    manager, _, _ = keeping(NOON, journal, journal_timeout=BRIEF)
    events = manager.events()
    with anyio.fail_after(5):
        async with manager:
            pass
    assert journal.closing == 1
    assert [event async for event in events]


async def test_a_native_cancellation_of_a_task_that_closes(anyio_backend):
    """The others of the group are closed all the same, after what waits for them is written."""
    need_asyncio(anyio_backend)

    class Struck(MemoryJournal):
        async def close(self) -> None:
            [task] = tasks_named("_close")
            task.cancel()
            await anyio.sleep(60)

    desk = Desk(NOON)
    slow = Slow(lambda: anyio.sleep(0.05), entries=[HALTED])
    one, two = desk.manager("one", journal=Struck()), desk.manager("two", journal=slow)
    async with SessionGroup([one, two]):
        two.halt("news")
    assert slow.written == [ADOPTED, HALTED]
    assert slow.attempts == [[(ADOPTED, 1)], [(HALTED, 2)]]
    assert await is_free(slow)


async def test_a_native_cancellation_as_the_task_that_writes_is_started(anyio_backend):
    """The task that starts it is cancelled in any of the turns until it has: what was decided is written."""
    need_asyncio(anyio_backend)
    for turns in range(8):
        journal = Slow()
        manager, clock, _ = keeping(NOON, journal)
        async with running(manager):
            await a_while()
            manager.halt("news")
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks_named("run", "_flush"):
                task.cancel()
            with anyio.fail_after(5):
                await clock.advance(NOW)
            assert journal.written == [ADOPTED, HALTED]


async def test_a_journal_that_cannot_be_closed_is_logged(caplog):
    """Leaving does not raise for it."""

    class Broken(MemoryJournal):
        async def close(self) -> None:
            raise OSError("no such connection")

    manager, _, _ = keeping(NOON, Broken())
    with errors_logged(caplog) as lines:
        async with manager:
            pass
    assert [line for line in lines if "could not be closed" in line]


# ---- in a group ----


async def test_a_journal_that_hangs_holds_up_nobody_in_a_group():
    """While one member's record waits for its journal, the others' are written, and halts act."""
    desk = Desk(NOON)
    slow, quick = Slow(), Slow()
    one, two = desk.manager("one", journal=slow), desk.manager("two", journal=quick)
    async with SessionGroup([one, two]):
        slow.shut()
        one.halt("news")
        await slow.writing.wait()
        two.halt("news")
        await until(lambda: HALTED in quick.written)
        await two.end_session("fire drill")
        await until(lambda: two.session.date == TUESDAY)
        assert slow.written == [ADOPTED]
        slow.release()
        await desk.clock.advance(NOW)
    assert slow.written == [ADOPTED, HALTED]


@pytest.mark.parametrize("where", ["as it is opened", "as the session is adopted"])
async def test_adding_to_a_group_that_stops_meanwhile_is_refused(where):
    """The manager has stopped, and its journal is free."""

    class Waiting(Slow):
        hangs = where == "as it is opened"

        async def open(self, calendar):
            records = await super().open(calendar)
            if self.hangs:
                self.writing.set()
                try:
                    await anyio.sleep_forever()
                finally:
                    await self.close()
            return records

    desk = Desk(NOON)
    journal = Waiting()
    if where == "as the session is adopted":
        journal.shut()
    late = desk.manager("late", journal=journal)
    async with anyio.create_task_group() as tasks:
        group = SessionGroup([desk.manager("one")])
        await tasks.start(group.run)
        async with in_background(group.add, late) as outcome:
            await journal.writing.wait()
            group.stop()
            await a_while()
            if where == "as the session is adopted":
                journal.release()
    assert isinstance(outcome[0], GroupStopped)
    assert late not in group.managers
    assert "stopped" in repr(late)
    journal.hangs = False
    assert await is_free(journal)


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
