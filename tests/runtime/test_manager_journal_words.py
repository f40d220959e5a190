"""Words of people that come while a decision of the manager is being written."""

from collections.abc import Sequence

import anyio
import pytest

from session_lifecycle import (
    ClockStepped,
    Closure,
    Entry,
    IllegalTransition,
    JournalWriteFailed,
    MemoryJournal,
    Record,
    Resolution,
    RetryPolicy,
    RollNotOwedError,
    RollSucceeded,
    SpecialHours,
    SqliteJournal,
    VenueStatus,
)
from session_lifecycle.testing import assert_legal
from tests.helpers.builders import DAY, MONDAY, at
from tests.helpers.harness import (
    ACTIVE,
    ERROR,
    HOUR,
    MINUTE,
    NOT_STARTED,
    NOW,
    POST_MARKET,
    THURSDAY,
    TUESDAY,
    WEDNESDAY,
    changes,
    of,
    path,
    running,
)
from tests.helpers.ledger import TRIES, Kept, Lost, Slow, a_while, in_background
from tests.helpers.manager_journal import (
    ADOPTED,
    DONE,
    END,
    EVENING,
    FAILED,
    FAILED_BEFORE_THE_ROLL,
    FAILED_IN_MID_ROLL,
    INTENT,
    RECOVERED,
    SKIPPED,
    begin,
    entries,
    fail_the_roll,
    numbered,
)

pytestmark = pytest.mark.anyio


# ---- words that come while a decision is written ----


@pytest.mark.parametrize("second", list(Resolution))
@pytest.mark.parametrize("first", list(Resolution))
async def test_of_two_recoveries_at_once_the_first_decides(first, second):
    """One that asks for the same returns with it; one that asks for something else is refused, and leaves no trace."""
    journal = Slow()
    manager, clock, _ = await fail_the_roll(journal)
    async with running(manager) as log:
        await clock.advance(HOUR)
        journal.shut()
        async with in_background(manager.recover, first) as one:
            await journal.writing.wait()
            async with in_background(manager.recover, second) as other:
                await a_while()
                journal.release()
        await clock.advance(HOUR)
        assert one == [None]
        if second is first:
            assert other == [None]
        else:
            assert isinstance(other[0], RollNotOwedError)
            assert f"Resolution.{first.name}" in str(other[0])
        assert path(log).count("recover") == 1
        [done] = of(RollSucceeded, log)
    decided = {
        Resolution.RETRY: (RECOVERED, DONE),
        Resolution.MARK_DONE: (DONE,),
        Resolution.SKIP: (SKIPPED, INTENT, DONE),
    }
    assert tuple(entry for entry, *_ in entries(journal)[3:]) == decided[first]
    manager, clock, _ = begin(clock.now(), journal)
    async with running(manager):
        assert (manager.session.date, manager.state) == (done.next_session, NOT_STARTED)


async def test_where_the_first_of_two_recoveries_cannot_be_written_the_second_decides():
    """It has not been made, so there is nothing that the other would contradict."""
    journal = Slow(JournalWriteFailed("in memory", "recovered", "no space left"), entries=[RECOVERED])
    journal.records.extend(numbered(FAILED_IN_MID_ROLL))
    manager, clock, rolls = begin(END + HOUR, journal)
    async with running(manager):
        journal.shut()
        async with in_background(manager.recover) as one:
            await journal.writing.wait()
            async with in_background(manager.recover, Resolution.SKIP) as other:
                await a_while()
                journal.release()
        await clock.advance(NOW)
        assert isinstance(one[0], JournalWriteFailed)
        assert other == [None]
        assert manager.session.date == WEDNESDAY
    assert rolls.dates == [WEDNESDAY]


@pytest.mark.parametrize("records", [FAILED_IN_MID_ROLL, FAILED_BEFORE_THE_ROLL], ids=["in mid-roll", "before"])
@pytest.mark.parametrize("resolution", Resolution)
async def test_a_failure_while_a_recovery_is_written_is_the_last_word(resolution, records, caplog):
    """The decision about the roll stands, and it is ERROR again before anything else happens; a restart agrees."""
    journal = Slow()
    journal.records.extend(numbered(records))
    manager, clock, rolls = begin(END + HOUR, journal)
    session = TUESDAY if resolution is Resolution.MARK_DONE else MONDAY
    async with running(manager) as log:
        journal.shut()
        async with in_background(manager.recover, resolution) as outcome:
            await journal.writing.wait()
            caplog.clear()
            manager.fail("the risk desk says no")
            assert "recover() that is under way" in caplog.text
            journal.release()
        await clock.advance(HOUR)
        assert outcome == [None]
        assert (manager.state, manager.session.date) == (ERROR, session)
        assert manager.status().reason == "the risk desk says no"
        assert (path(log)[0], path(log)[-1], rolls.begun) == ("recover", "fail", [])
    assert [entry for entry, *_ in entries(journal)[-2:]] == [
        {Resolution.RETRY: RECOVERED, Resolution.MARK_DONE: DONE, Resolution.SKIP: SKIPPED}[resolution],
        FAILED,
    ]
    manager, clock, rolls = begin(clock.now(), journal)
    async with running(manager):
        assert (manager.state, manager.session.date) == (ERROR, session)
        assert manager.status().reason == "the risk desk says no"
        await manager.recover()
        await clock.advance(NOW)
        assert manager.session.date == (WEDNESDAY if resolution is Resolution.SKIP else TUESDAY)


async def test_a_failure_while_a_recovery_is_written_keeps_the_market_shut():
    """In mid-session nothing is walked again: neither handlers nor orders see a state in between that trades."""
    journal = Slow()
    manager, clock, _ = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager) as log:
        manager.fail("out of order")
        await clock.advance(NOW)
        log.clear()
        journal.shut()
        async with in_background(manager.recover):
            await journal.writing.wait()
            manager.fail("one")
            manager.fail("two")
            journal.release()
        await clock.advance(NOW)
        assert path(log) == ["recover", "fail"]
        assert manager.status().reason == "two"
        await manager.recover()  # a word that comes later still
        await clock.advance(NOW)
        assert manager.state is ACTIVE


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (("recover", "fail"), ERROR),
        (("recover", "recover", "fail"), ERROR),
        (("recover", "fail", "recover"), ACTIVE),
        (("recover", "fail", "recover", "fail"), ERROR),
        (("fail", "recover"), ACTIVE),
    ],
)
@pytest.mark.parametrize("waiting_for", ["its own record", "another decision"])
async def test_of_recoveries_and_failures_at_once_the_last_word_stands(words, state, waiting_for):
    """However they come, and whether the first call's record is being written, or waits for a change of hours."""
    journal = Slow()
    manager, clock, _ = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager):
        manager.fail("out of order")
        await clock.advance(NOW)
        journal.shut()
        async with anyio.create_task_group() as tasks:
            if waiting_for == "another decision":
                tasks.start_soon(manager.apply, Closure(TUESDAY))
                await journal.writing.wait()
            for word in words:
                if word == "fail":
                    manager.fail("again")
                else:
                    tasks.start_soon(manager.recover)
                await a_while()
            journal.release()
        await clock.advance(NOW)
        assert manager.state is state
    manager, _, _ = begin(clock.now(), journal)
    async with running(manager):
        assert manager.state is state


@pytest.mark.parametrize("failure", [Lost(), Kept()], ids=["not there", "there"])
async def test_a_failure_after_a_recovery_in_doubt_is_the_last_word(failure):
    """Once the journal answers again, the recovery is there, and the failure after it, for a restart too."""
    journal = Slow(*[failure] * TRIES, entries=[RECOVERED])
    manager, clock, _ = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager):
        manager.fail("out of order")
        await clock.advance(NOW)
        with pytest.raises(JournalWriteFailed):
            await manager.recover()
        assert manager.state is ERROR
        manager.fail("the risk desk says no")
        await clock.advance(NOW)
        assert manager.status().reason == "the risk desk says no"
    assert journal.written == [ADOPTED, FAILED, RECOVERED, FAILED]
    manager, clock, _ = begin(clock.now(), journal)
    async with running(manager):
        assert (manager.state, manager.status().reason) == (ERROR, "the risk desk says no")


async def test_a_failure_before_recover_is_called_is_left_by_it():
    """In ERROR it changes nothing, and is forgotten: what is recovered from stays recovered."""
    journal = MemoryJournal()
    manager, clock, _ = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager):
        for _ in range(2):
            manager.fail("out of order")
            manager.fail("still out of order")
            await clock.advance(NOW)
            assert manager.status().reason == "out of order"
            await manager.recover()
            await clock.advance(NOW)
            assert manager.state is ACTIVE


async def test_a_recovery_that_was_asked_for_before_the_error_does_not_leave_it():
    """At the call there was nothing to leave. That it waits for another decision does not make it a later word."""
    journal = Slow()
    manager, clock, _ = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager):
        journal.shut()
        async with in_background(manager.apply, Closure(TUESDAY)):
            await journal.writing.wait()
            async with in_background(manager.recover) as outcome:
                await a_while()
                manager.fail("the risk desk says no")
                journal.release()
        await clock.advance(NOW)
        assert isinstance(outcome[0], IllegalTransition)
        assert (manager.state, manager.status().reason) == (ERROR, "the risk desk says no")


async def test_a_roll_marked_as_done_after_a_recovery_that_a_failure_has_ended_is_legal():
    """The attempt was made before two recoveries, without another in between."""
    journal = Slow()
    manager, clock, _ = await fail_the_roll(journal)
    async with running(manager) as log:
        await clock.advance(HOUR)
        journal.shut()
        async with in_background(manager.recover):
            await journal.writing.wait()
            manager.fail("the risk desk says no")
            journal.release()
        await manager.recover(Resolution.MARK_DONE)
        await clock.advance(NOW)
        [done] = of(RollSucceeded, log)
        assert (done.attempt, path(log)[-4:]) == (1, ["recover", "fail", "recover", "roll"])
        assert_legal(log)


@pytest.mark.parametrize("by", ["the application", "the venue"])
async def test_a_halt_while_a_roll_is_marked_as_done_ends_with_its_session(by):
    """Its record comes after that of the roll, and is of the session before: a restart is not halted in the next."""
    journal = Slow()
    manager, clock, _ = await fail_the_roll(journal)
    async with running(manager):
        await clock.advance_to(at(TUESDAY, (12, 0)))
        journal.shut()
        async with in_background(manager.recover, Resolution.MARK_DONE):
            await journal.writing.wait()
            if by == "the venue":
                manager.record_status(VenueStatus.HALT)
                manager.record_status(VenueStatus.TRADING)
            manager.halt("volatility")
            journal.release()
        await clock.advance(NOW)
        assert (manager.session.date, manager.halted) == (TUESDAY, None)
    assert Entry.HALTED in journal.written[journal.written.index(DONE) :]
    manager, clock, _ = begin(clock.now(), journal)
    async with running(manager):
        assert (manager.session.date, manager.halted) == (TUESDAY, None)


async def test_a_closure_of_the_session_that_is_being_entered_ends_it():
    """It is announced while the end of the roll is being written: once that is, that session is the present one."""
    entering, announced = anyio.Event(), anyio.Event()

    async def wait() -> None:
        entering.set()
        await announced.wait()

    journal = Slow(wait, entries=[DONE])
    manager, clock, _ = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager):
        await manager.end_session("enough")
        await entering.wait()
        async with in_background(manager.apply, Closure(TUESDAY)) as outcome:
            await a_while()
            announced.set()
        assert outcome == [None]
        await clock.advance_to(at(TUESDAY, (15, 0)))
        assert (manager.state, manager.session.date) == (NOT_STARTED, WEDNESDAY)
    manager, clock, _ = begin(clock.now(), journal)
    async with running(manager):
        assert (manager.state, manager.session.date) == (NOT_STARTED, WEDNESDAY)


EARLY = SpecialHours(TUESDAY, open=at(TUESDAY, (14, 30)), close=at(TUESDAY, (19, 0)))


@pytest.mark.parametrize("doubt", [False, True])
async def test_hours_that_change_before_an_intent_is_durable_are_those_of_the_roll(doubt):
    """The state becomes ERROR in between, so the roll is not pursued; once it is, its target has the new hours."""
    journal = Slow()
    manager, clock, rolls = begin(at(MONDAY, (15, 0)), journal)
    async with running(manager):
        journal.shut()
        async with in_background(manager.apply, EARLY):
            await journal.writing.wait()
            clock.step(7 * HOUR)  # past the end: the intent waits behind the change
            await a_while()
            if doubt:
                journal.script = [Lost()] * TRIES
            else:
                manager.fail("no power")
            journal.release()
        await clock.advance(NOW)
        assert (manager.state, rolls.begun) == (ERROR, [])
        await manager.recover()
        await clock.advance(NOW)
        assert manager.session.date == TUESDAY
        await clock.advance_to(at(TUESDAY, (19, 0)))
        assert (manager.state, manager.session.close) == (POST_MARKET, at(TUESDAY, (19, 0)))


async def test_hours_that_change_before_a_roll_is_marked_as_done_are_those_of_its_target():
    """The change is being written when `recover()` is called, about a roll that has no intent."""
    journal = Slow()
    manager, clock, _ = begin(at(MONDAY, (15, 0)), journal, auto_roll=False)
    async with running(manager):
        await manager.end_session("enough")
        manager.fail("no power")
        await clock.advance(NOW)
        journal.shut()
        async with in_background(manager.apply, EARLY):
            await journal.writing.wait()
            async with in_background(manager.recover, Resolution.MARK_DONE):
                await a_while()
                journal.release()
        assert manager.session.date == TUESDAY
        await clock.advance_to(at(TUESDAY, (19, 0)))
        assert (manager.state, manager.session.close) == (POST_MARKET, at(TUESDAY, (19, 0)))


async def test_a_closure_of_a_session_that_the_roll_skips_changes_nothing_else():
    """It was given up by `recover(Resolution.SKIP)`, and is closed while the roll past it is under way."""
    failed_roll = OSError("no books")
    retry = RetryPolicy(attempts=1)
    manager, clock, _ = begin(at(MONDAY, (21, 0)), MemoryJournal(), failed_roll, 2 * MINUTE, roll_retry=retry)
    async with running(manager):
        await clock.advance(HOUR)
        await manager.recover(Resolution.SKIP)
        await clock.advance(MINUTE)
        await manager.apply(Closure(TUESDAY))
        await clock.advance(2 * MINUTE)
        assert (manager.state, manager.session.date) == (NOT_STARTED, WEDNESDAY)


async def test_a_step_of_the_clock_while_an_intent_is_written_comes_before_the_roll_begins():
    """The attempt is observed by the clock as it is then, so the step is an event before that."""

    async def step() -> None:
        clock.step(-HOUR)

    journal = Slow(step, entries=[INTENT])
    manager, clock, rolls = begin(EVENING, journal)
    async with running(manager) as log:
        await clock.advance(HOUR)
        assert rolls.dates == [TUESDAY]
        assert [event.delta for event in of(ClockStepped, log)] == [-HOUR]
        assert_legal(log)


class SlowFile(SqliteJournal):
    """A journal in a file, whose appends wait for a gate where there is one; with `answers` False they seem to fail."""

    gate: anyio.Event | None = None
    answers = True

    async def append(self, records: Sequence[Record]) -> None:
        if self.gate is not None:
            await self.gate.wait()
        await super().append(records)
        if not self.answers:
            raise Kept


@pytest.mark.parametrize("answers", [True, False], ids=["durable", "in doubt"])
@pytest.mark.parametrize("resolution", Resolution)
async def test_words_that_come_while_a_recovery_is_written_to_a_file_are_there_after_a_restart(
    tmp_path, resolution, answers
):
    """The failure, and the halt, are the last words, whatever became of the answer to the recovery."""
    journal = SlowFile(tmp_path / "journal.db", name="journal")
    await journal.open("fixed")
    await journal.append(numbered(FAILED_IN_MID_ROLL))
    await journal.close()
    session = TUESDAY if resolution is Resolution.MARK_DONE else MONDAY
    manager, clock, rolls = begin(END + HOUR, journal)
    async with running(manager) as log:
        journal.gate, journal.answers = anyio.Event(), answers
        async with in_background(manager.recover, resolution) as outcome:
            await a_while()
            manager.halt("volatility")
            manager.fail("the risk desk says no")
            journal.gate.set()
        assert isinstance(outcome[0], JournalWriteFailed) is not answers
        journal.gate, journal.answers = None, True
        manager.fail("the risk desk says no")  # with it, what is in doubt is found out
        await clock.advance(HOUR)
        assert (manager.state, manager.session.date, manager.halted) == (ERROR, session, None)
        assert_legal(log)
    manager, clock, again = begin(clock.now(), SlowFile(tmp_path / "journal.db", name="journal"))
    async with running(manager) as log:
        assert (manager.state, manager.session.date, manager.halted) == (ERROR, session, None)
        assert manager.status().reason == "the risk desk says no"
        await manager.recover()
        await clock.advance(NOW)
        assert manager.session.date == (WEDNESDAY if resolution is Resolution.SKIP else TUESDAY)
        assert_legal(log)
    assert rolls.begun == []
    assert len(again.begun) == (0 if resolution is Resolution.MARK_DONE else 1)


async def test_an_error_that_recover_is_the_first_to_find_is_left():
    """The clock has stepped over more sessions than may be missed, and nothing has looked at it since."""
    journal = MemoryJournal()
    manager, clock, _ = begin(at(MONDAY, (15, 0)), journal, session=MONDAY, max_catch_up_sessions=1)
    async with running(manager) as log:
        clock.step(3 * DAY)
        assert manager.state is ACTIVE
        await manager.recover()
        await clock.advance(NOW)
        triggers = [event.trigger for event in changes(log)]
        assert triggers[triggers.index("fail") + 1] == "recover"
        assert [record.entry for record in journal.records] == [ADOPTED, FAILED, RECOVERED, INTENT, DONE]
        assert manager.session.date == THURSDAY
        assert_legal(log)


async def test_a_resume_in_a_file_whose_answer_is_lost_ends_the_halt_once_that_is_known(tmp_path):
    """A halt after it is recorded after it, so that a restart is halted; without one, the end of the halt holds."""
    for halted in (True, False):
        path = tmp_path / f"{halted}.db"
        journal = SlowFile(path, name="journal")
        manager, clock, _ = begin(at(MONDAY, (15, 0)), journal)
        async with running(manager) as log:
            manager.halt("first")
            await clock.advance(MINUTE)
            journal.answers = False
            manager.resume()
            await clock.advance(MINUTE)
            assert manager.state is ERROR  # in doubt for good
            journal.answers = True
            if halted:
                manager.halt("second")  # recorded anew, for the reason in force
            manager.fail("still")
            await clock.advance(MINUTE)
            reason = "first" if halted else None
            assert manager.halted == reason
            assert_legal(log)
        manager, _, _ = begin(clock.now(), SlowFile(path, name="journal"))
        async with running(manager):
            assert (manager.state, manager.halted) == (ERROR, reason)
