"""What a journal's records add up to, and how the application's own word is held against them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_lifecycle import (
    Entry,
    Journal,
    JournalLocked,
    JournalMismatch,
    MemoryJournal,
    Record,
    Session,
)
from session_lifecycle._journal.records import JournalState, adoption, completion, journal_state_after
from tests.helpers.builders import DAY, MONDAY, session
from tests.helpers.harness import FRIDAY, THURSDAY, TUESDAY, WEDNESDAY
from tests.helpers.journals import (
    NOTED,
    ONE_OF_EACH,
    adopted,
    done,
    failed,
    histories,
    hours,
    intent,
    rolls,
    summed_up,
)

ended = Record(Entry.ENDED, MONDAY, NOTED)
recovered = Record(Entry.RECOVERED, MONDAY, NOTED)
skipped = Record(Entry.SKIPPED, MONDAY, NOTED, TUESDAY)
HOURS = (hours(MONDAY)["open"], hours(MONDAY)["close"])
HOURS_AFTER = (hours(TUESDAY)["open"], hours(TUESDAY)["close"])

unhurried = settings(deadline=None, max_examples=30)

# ---- what the records add up to ----


@pytest.mark.parametrize(
    ("records", "journal_state"),
    [
        ([], JournalState(MONDAY, *HOURS)),
        ([ended], JournalState(MONDAY, *HOURS, ended=True)),
        ([intent()], JournalState(MONDAY, *HOURS, ended=True, intent=intent())),
        ([ended, intent()], JournalState(MONDAY, *HOURS, ended=True, intent=intent())),
        ([intent(), done()], JournalState(TUESDAY, *HOURS_AFTER)),
        ([failed()], JournalState(MONDAY, *HOURS, error="the disk is full")),
        ([failed(), failed(note="again")], JournalState(MONDAY, *HOURS, error="again")),
        ([failed(), recovered], JournalState(MONDAY, *HOURS)),
        ([intent(), failed()], JournalState(MONDAY, *HOURS, ended=True, intent=intent(), error="the disk is full")),
        ([intent(), failed(), recovered], JournalState(MONDAY, *HOURS, ended=True, intent=intent())),
        ([intent(), failed(), done()], JournalState(TUESDAY, *HOURS_AFTER)),
        ([intent(), failed(), skipped], JournalState(MONDAY, *HOURS, ended=True, abandoned_target=TUESDAY)),
        ([failed(), skipped], JournalState(MONDAY, *HOURS, ended=True, abandoned_target=TUESDAY)),
        (
            [failed(), skipped, intent(target=WEDNESDAY)],
            JournalState(MONDAY, *HOURS, ended=True, abandoned_target=TUESDAY, intent=intent(target=WEDNESDAY)),
        ),
        (
            [failed(), skipped, intent(target=WEDNESDAY), done(target=WEDNESDAY)],
            JournalState(WEDNESDAY, hours(WEDNESDAY)["open"], hours(WEDNESDAY)["close"]),
        ),
        (
            [failed(), Record(Entry.DONE, MONDAY, NOTED, FRIDAY, **hours(FRIDAY))],
            JournalState(FRIDAY, hours(FRIDAY)["open"], hours(FRIDAY)["close"]),
        ),
        ([intent(), adopted(FRIDAY)], JournalState(FRIDAY, hours(FRIDAY)["open"], hours(FRIDAY)["close"])),
    ],
    ids=lambda value: "-".join(record.entry.value for record in value) if isinstance(value, list) else "",
)
def test_what_records_add_up_to(records: list[Record], journal_state: JournalState):
    """Each kind of record moves the standing as its description says."""
    assert journal_state_after([adopted(), *records]) == journal_state


def test_no_records_add_up_to_nothing():
    """A journal without records tells nothing."""
    assert journal_state_after([]) is None


@pytest.mark.parametrize("first", [each for each in ONE_OF_EACH if each.entry is not Entry.ADOPTED], ids=str)
def test_a_journal_begins_with_the_session_adopted(first: Record):
    """No other kind of record can be the first; the message says which it was."""
    with pytest.raises(ValueError, match=f"the first record is {first.entry.value}, not adopted"):
        journal_state_after([first])


@pytest.mark.parametrize("entry", [entry for entry in Entry if entry is not Entry.ADOPTED])
def test_a_record_of_another_session_is_refused(entry: Entry):
    """A record for a session that the application is not in contradicts the others; the message names both."""
    with pytest.raises(ValueError, match=f"{entry.value} for session 2024-03-05, while the session is 2024-03-04"):
        JournalState(MONDAY).after(Record(entry, TUESDAY, NOTED, WEDNESDAY))


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([intent(), done(target=WEDNESDAY)], "done to 2024-03-06 does not match the intent 2024-03-05"),
        ([intent(), Record(Entry.DONE, MONDAY, NOTED)], "done to None does not match the intent 2024-03-05"),
        ([failed(), Record(Entry.DONE, MONDAY, NOTED)], "done to None does not match the intent None"),
    ],
)
def test_done_must_match_the_intent(records: list[Record], words: str):
    """A completion of some other roll than the one that was begun contradicts it, and so does one to nowhere."""
    with pytest.raises(ValueError, match=words):
        journal_state_after([adopted(), *records])


@unhurried
@given(histories())
def test_any_history_adds_up(history: list[Record]):
    """Record by record, a history adds up to what the rules in words say."""
    for length in range(1, len(history) + 1):
        assert journal_state_after(history[:length]) == summed_up(history[:length])


@unhurried
@given(histories())
def test_a_summary_stands_for_the_past(history: list[Record]):
    """At every point the past can be put in at most four records, with the same standing there and at the end."""
    for length in range(1, len(history) + 1):
        past, recent = history[:length], history[length:]
        journal_state = journal_state_after(past)
        assert journal_state is not None
        summary = journal_state.records(NOTED)
        assert len(summary) <= 4
        assert journal_state_after(summary) == journal_state
        assert journal_state_after([*summary, *recent]) == journal_state_after(history)


@unhurried
@given(histories())
def test_a_summary_is_as_short_as_can_be(history: list[Record]):
    """No record of a summary can be left out."""
    journal_state = journal_state_after(history)
    assert journal_state is not None
    summary = journal_state.records(NOTED)
    for left_out in range(1, len(summary)):
        assert journal_state_after([*summary[:left_out], *summary[left_out + 1 :]]) != journal_state


def test_the_history_that_tests_use_is_legal():
    """Every kind of record occurs in it, and it adds up."""
    assert {record.entry for record in ONE_OF_EACH} == set(Entry)
    assert journal_state_after(ONE_OF_EACH) == summed_up(ONE_OF_EACH)
    assert journal_state_after(rolls(3)) == summed_up(rolls(3))


# ---- the application's own word ----


def test_the_first_record():
    """A journal begins with the session that the application is in, and its hours."""
    monday = session()
    assert adoption(monday, NOTED) == Record(Entry.ADOPTED, MONDAY, NOTED, open=monday.open, close=monday.close)
    journal_state = JournalState(MONDAY, monday.open, monday.close)
    assert journal_state_after([adoption(monday, NOTED)]) == journal_state


@pytest.mark.parametrize("journal_state", [JournalState(MONDAY), JournalState(MONDAY, ended=True, intent=intent())])
@pytest.mark.parametrize("word", [None, MONDAY])
def test_an_application_that_agrees_completes_nothing(journal_state: JournalState, word: object):
    """Where the application says nothing, or what the journal says, nothing is added: an open intent stays open."""
    assert completion(journal_state, word, NOTED) is None


def test_an_application_in_the_target_has_completed_the_roll():
    """An application that says it is in the target of the open intent has done that roll."""
    journal_state = JournalState(MONDAY, ended=True, intent=intent(target=THURSDAY), error="uncertain")
    record = completion(journal_state, THURSDAY, NOTED)
    assert record == Record(Entry.DONE, MONDAY, NOTED, THURSDAY, note="by session=")
    after = journal_state.after(record)
    assert after == JournalState(THURSDAY, hours(THURSDAY)["open"], hours(THURSDAY)["close"])


@pytest.mark.parametrize(
    "journal_state",
    [
        JournalState(TUESDAY),
        JournalState(TUESDAY, ended=True),
        JournalState(TUESDAY, ended=True, intent=intent(TUESDAY)),
        JournalState(TUESDAY, ended=True, abandoned_target=FRIDAY),
    ],
)
@pytest.mark.parametrize("word", [MONDAY, THURSDAY, FRIDAY])
def test_an_application_elsewhere_is_refused(journal_state: JournalState, word: object):
    """Any other session contradicts the journal: a JournalMismatch that names both."""
    with pytest.raises(JournalMismatch) as caught:
        completion(journal_state, word, NOTED)
    assert (caught.value.what, caught.value.found, caught.value.wanted) == ("the session", TUESDAY, word)
    assert str(TUESDAY) in str(caught.value)
    assert str(word) in str(caught.value)


# ---- the journal in memory ----


def test_a_journal_in_memory_keeps_its_records():
    """It returns, oldest first, what was appended in earlier runs; what is appended later is not in that answer."""
    journal = MemoryJournal()
    assert isinstance(journal, Journal)
    assert journal.open("XNYS") == ()
    for record in ONE_OF_EACH[:3]:
        journal.append(record)
    journal.close()
    records = journal.open("XNYS")
    journal.append(ONE_OF_EACH[3])
    assert records == tuple(ONE_OF_EACH[:3])
    assert journal.records == ONE_OF_EACH[:4]


def test_fault_46_a_journal_in_memory_has_one_holder():
    """While it is open a second opening is refused, and the first is none the worse; closing it twice frees it."""
    journal = MemoryJournal()
    journal.open("XNYS")
    with pytest.raises(JournalLocked, match="held by another manager") as caught:
        journal.open("XNYS")
    assert caught.value.pid is None
    journal.append(adopted())
    journal.close()
    journal.close()
    assert journal.open("XNYS") == (adopted(),)


def test_fault_47_a_journal_in_memory_belongs_to_one_calendar():
    """Another calendar's manager is refused, both are named, and nobody holds it after that."""
    journal = MemoryJournal()
    journal.open("XNYS")
    journal.close()
    with pytest.raises(JournalMismatch, match="XNYS, and XLON was asked for"):
        journal.open("XLON")
    assert journal.open("XNYS") == ()


@unhurried
@given(st.sampled_from([session(MONDAY + n * DAY) for n in range(5)]))
def test_an_adopted_session_can_be_told_again(first: Session):
    """From the first record alone the session's label and hours can be known."""
    journal_state = journal_state_after([adoption(first, NOTED)])
    assert journal_state is not None
    assert Session(journal_state.session, *filter(None, (journal_state.open, journal_state.close))) == first
