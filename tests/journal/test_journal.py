"""What a journal's records add up to, and how the application's own word is held against them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

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
from tests.helpers.histories import histories
from tests.helpers.journals import (
    NOTED,
    ONE_OF_EACH,
    adopted,
    done,
    failed,
    hours,
    intent,
    numbered,
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
        ([ended], JournalState(MONDAY, *HOURS, ended=True, closed=True)),
        ([intent()], JournalState(MONDAY, *HOURS, ended=True, intent=intent())),
        ([ended, intent()], JournalState(MONDAY, *HOURS, ended=True, closed=True, intent=intent())),
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
            JournalState(WEDNESDAY, hours(WEDNESDAY)["open"], hours(WEDNESDAY)["close"], skipped=(TUESDAY,)),
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


@pytest.mark.parametrize("withdrawn", [2, 3])
def test_a_withdrawn_record_does_not_count(withdrawn: int):
    """What was too late by the time that it was durable is left out; everything else counts."""
    late = Record(Entry.WITHDRAWN, MONDAY, NOTED, subject=f"{withdrawn}")
    records = numbered([adopted(), ended, failed(), late])
    kept = [record for record in records if record.seq != withdrawn]
    assert journal_state_after(records) == journal_state_after(kept) != journal_state_after(records[:-1])


def test_a_halt_ends_with_the_session():
    """It goes on where the next session opens as this one closes, and until it is resumed."""
    halt = Record(Entry.HALTED, MONDAY, NOTED, note="news")
    feed = Record(Entry.HALTED, MONDAY, NOTED, note="no data", subject="prices")
    resumed = Record(Entry.RESUMED, MONDAY, NOTED, subject="prices")
    for records, halts in (
        ([halt, feed], {"": "news", "prices": "no data"}),
        ([halt, feed, resumed], {"": "news"}),
        ([halt, intent(), done()], {}),
        ([halt, replace(intent(), open=HOURS[1]), done()], {"": "news"}),
    ):
        journal_state = journal_state_after([adopted(), *records])
        assert journal_state is not None
        assert journal_state.halts == halts


def test_no_records_add_up_to_nothing():
    """A journal without records tells nothing."""
    assert journal_state_after([]) is None


@pytest.mark.parametrize("first", [each for each in ONE_OF_EACH if each.entry is not Entry.ADOPTED], ids=str)
def test_a_journal_begins_with_the_session_adopted(first: Record):
    """No other kind of record can be the first; the message says which it was."""
    with pytest.raises(ValueError, match=f"the first record is {first.entry.value}, not adopted"):
        journal_state_after([first])


@pytest.mark.parametrize("entry", [Entry.ENDED, Entry.INTENT, Entry.DONE, Entry.SKIPPED])
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
    opens, closes = hours(THURSDAY)["open"], hours(THURSDAY)["close"]
    assert after == JournalState(THURSDAY, opens, closes, skipped=(TUESDAY, WEDNESDAY))


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


@pytest.mark.anyio
async def test_a_journal_in_memory_keeps_its_records():
    """It returns, oldest first, what was appended in earlier runs; what is appended later is not in that answer."""
    journal = MemoryJournal()
    assert isinstance(journal, Journal)
    assert await journal.open("XNYS") == ()
    await journal.append(ONE_OF_EACH[:3])
    await journal.close()
    records = await journal.open("XNYS")
    await journal.append(ONE_OF_EACH[2:4])
    assert records == tuple(ONE_OF_EACH[:3])
    assert journal.records == ONE_OF_EACH[:4]


@pytest.mark.anyio
async def test_fault_46_a_journal_in_memory_has_one_holder():
    """While it is open a second opening is refused, and the first is none the worse; closing it twice frees it."""
    journal = MemoryJournal()
    await journal.open("XNYS")
    with pytest.raises(JournalLocked, match="held by another manager") as caught:
        await journal.open("XNYS")
    assert caught.value.pid is None
    await journal.append(ONE_OF_EACH[:1])
    await journal.close()
    await journal.close()
    assert await journal.open("XNYS") == tuple(ONE_OF_EACH[:1])


@pytest.mark.anyio
async def test_fault_47_a_journal_in_memory_belongs_to_one_calendar():
    """Another calendar's manager is refused, both are named, and nobody holds it after that."""
    journal = MemoryJournal()
    await journal.open("XNYS")
    await journal.close()
    with pytest.raises(JournalMismatch, match="XNYS, and XLON was asked for"):
        await journal.open("XLON")
    assert await journal.open("XNYS") == ()


# ---- the plain form ----


@unhurried
@given(histories())
def test_a_record_has_a_plain_form(history: list[Record]):
    """JSON holds every record, notes of any characters included, and gives it back."""
    for record in history:
        assert Record.from_dict(json.loads(json.dumps(record.as_dict()))) == record


@pytest.mark.parametrize(
    "wrong",
    [
        {"what": 1},
        {"entry": "forgotten"},
        {"session": "yesterday"},
        {"seq": "1"},
        {"at": "2024-03-04T21:30:00"},
        {"open": "2024-03-04T21:30:00"},
        {"close": "2024-03-04T21:30:00"},
        {"skipped": "2024-03-04"},
    ],
    ids=str,
)
def test_what_is_no_record_is_refused(wrong: dict[str, object]):
    """A field that is unknown, missing, or of another kind, or an instant without a time zone."""
    content = adopted().as_dict()
    assert Record.from_dict(content) == adopted()
    with pytest.raises(ValueError, match=r"field|`|time zone"):
        Record.from_dict({**content, **wrong})
    with pytest.raises(ValueError, match="missing required field"):
        Record.from_dict({"entry": "adopted"})


@unhurried
@given(st.sampled_from([session(MONDAY + n * DAY) for n in range(5)]))
def test_an_adopted_session_can_be_told_again(first: Session):
    """From the first record alone the session's label and hours can be known."""
    journal_state = journal_state_after([adoption(first, NOTED)])
    assert journal_state is not None
    assert Session(journal_state.session, *filter(None, (journal_state.open, journal_state.close))) == first
