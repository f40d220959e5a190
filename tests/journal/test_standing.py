"""What a journal adds up to, kept up to date record by record; and what it holds of hours, halts and alarms."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from session_lifecycle import Closure, Entry, Record, Session
from session_lifecycle._journal import standing as module
from session_lifecycle._journal.records import ChangedHours, JournalState, changed, journal_state_after
from session_lifecycle._journal.standing import Standing
from tests.helpers.builders import DAY, MONDAY, at, session
from tests.helpers.harness import FRIDAY, TUESDAY, WEDNESDAY
from tests.helpers.histories import histories
from tests.helpers.journals import NOTED, adopted, done, failed, intent

CLOSE, OPEN_AFTER = at(MONDAY, (21, 0)), at(TUESDAY, (14, 30))


def in_order(*records: Record) -> list[Record]:
    return [replace(record, seq=seq) for seq, record in enumerate(records, 1)]


def held(*records: Record) -> JournalState:
    state = journal_state_after(in_order(adopted(), *records))
    assert state is not None
    return state


def halted(note: str = "news", feed: str = "") -> Record:
    return Record(Entry.HALTED, MONDAY, NOTED, note=note, subject=feed)


def alarm(entry: Entry, key: str = "close-900s", day: object = MONDAY) -> Record:
    return Record(entry, day, NOTED, subject=key)


# ---- record by record ----


@settings(max_examples=60)
@given(histories(), st.data())
def test_it_is_what_all_records_add_up_to(history: list[Record], data: st.DataObject) -> None:
    """After each record, withdrawn ones among them, it is the sum of all so far; a known one changes nothing."""
    records = list(history)
    for n in reversed(range(1, len(records) + 1)):
        if data.draw(st.booleans()):
            records[n:n] = [failed(day=records[n - 1].session), Record(Entry.WITHDRAWN, MONDAY, NOTED)]
    records = in_order(*records)
    records = [
        replace(record, subject=str(record.seq - 1)) if record.entry is Entry.WITHDRAWN else record
        for record in records
    ]
    standing = Standing()
    for n, record in enumerate(records, 1):
        assert standing.add(record) == standing.state == journal_state_after(records[:n])
        assert standing.add(record) == standing.state
        assert standing.last_seq == n
    assert Standing(records).state == standing.state


def test_a_record_that_does_not_follow_changes_nothing() -> None:
    """It raises, and the next one that does follow counts."""
    standing = Standing(in_order(adopted()))
    before = standing.state
    with pytest.raises(ValueError, match="ended for session 2024-03-05, while the session is 2024-03-04"):
        standing.add(Record(Entry.ENDED, TUESDAY, NOTED, seq=2))
    with pytest.raises(ValueError, match="record 9 is withdrawn, and is not among the last 1"):
        standing.add(Record(Entry.WITHDRAWN, MONDAY, NOTED, subject="9", seq=2))
    assert (standing.state, standing.last_seq) == (before, 1)
    standing.add(replace(failed(), seq=2))
    assert standing.state is not None
    assert standing.state.error == "the disk is full"
    with pytest.raises(ValueError, match="the first record is failed, not adopted"):
        Standing([failed()])


def test_it_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """After thousands of records it holds the last ones, of which each can still be withdrawn."""
    monkeypatch.setattr(module, "_MOST_RECENT", 10)
    standing = Standing(in_order(adopted(), *(halted(f"halt {n}") for n in range(99))))
    assert 10 <= len(standing._recent) < 20
    standing.add(Record(Entry.WITHDRAWN, MONDAY, NOTED, subject="100", seq=101))
    assert standing.state is not None
    assert standing.state.halts == {"": "halt 97"}


# ---- halts ----


@pytest.mark.parametrize(
    ("records", "halts"),
    [
        ([halted()], {"": "news"}),
        ([halted(), halted("again")], {"": "again"}),
        ([halted(), halted("mute", "quotes")], {"": "news", "quotes": "mute"}),
        ([halted(), halted("mute", "quotes"), Record(Entry.RESUMED, MONDAY, NOTED)], {"quotes": "mute"}),
        ([halted("mute", "quotes"), Record(Entry.RESUMED, MONDAY, NOTED, subject="quotes")], {}),
        ([Record(Entry.RESUMED, MONDAY, NOTED)], {}),
        ([halted(), failed()], {"": "news"}),
        ([halted(), intent(), done()], {}),
        ([halted(), intent(), failed()], {"": "news"}),
        ([halted(), adopted(FRIDAY)], {}),
    ],
)
def test_halts_last_until_they_are_resumed_or_the_session_is_left(records: list[Record], halts: object) -> None:
    """Each feed's, and the manager's own; a later reason replaces the one before."""
    assert held(*records).halts == halts


def test_a_halt_goes_over_a_close_of_no_width() -> None:
    """Where the next session opens at the instant at which this one closes, the market has not closed."""
    following = replace(intent(), open=CLOSE)
    assert held(halted(), following, done()).halts == {"": "news"}
    assert held(halted(), replace(following, open=OPEN_AFTER), done()).halts == {}


def test_a_halt_ends_at_a_close_that_has_become_early() -> None:
    """By the hours as they were changed, the market has closed, or has not."""
    early, late = session(close=(18, 0)), session(close=(21, 30))
    following = replace(intent(), open=CLOSE)
    assert held(halted(), changed(MONDAY, early, MONDAY, NOTED), following, done()).halts == {}
    assert held(halted(), changed(MONDAY, late, MONDAY, NOTED), replace(intent(), open=late.close), done()).halts


# ---- hours ----


def test_changed_hours_are_in_their_order() -> None:
    """Each change with its date, a session or none, in the order in which they were applied."""
    early = session(WEDNESDAY, close=(18, 0), breaks=(((16, 0), (16, 30)),))
    state = held(changed(WEDNESDAY, early, MONDAY, NOTED), changed(TUESDAY, None, MONDAY, NOTED))
    assert state.changes == (ChangedHours(WEDNESDAY, early), ChangedHours(TUESDAY, None))
    assert state == replace(held(), changes=state.changes)
    with pytest.raises(ValueError, match="changed hours without a date"):
        held(Record(Entry.CHANGED, MONDAY, NOTED, note="null"))


def test_the_hours_of_the_session_are_those_that_it_has_now() -> None:
    """The hours that a journal holds of a session, in case the calendar loses it, follow each change of them."""
    early = session(close=(18, 0))
    assert held(changed(MONDAY, early, MONDAY, NOTED)).close == early.close
    assert held(changed(MONDAY, None, MONDAY, NOTED)).close == CLOSE
    late = session(TUESDAY, open=(15, 0))
    for records in ([intent(), changed(TUESDAY, late, MONDAY, NOTED)], [changed(TUESDAY, late, MONDAY, NOTED)]):
        state = held(*records, replace(done(), open=OPEN_AFTER))
        assert (state.session, state.open, state.close) == (TUESDAY, late.open, late.close)


def test_changes_and_alarms_are_kept_for_two_weeks() -> None:
    """A change of hours says where the venue was; an alarm may fire a week after its session. After that both go."""
    first = [changed(MONDAY, session(close=(18, 0)), MONDAY, NOTED), alarm(Entry.ALARM_BEGUN)]
    for days, kept in ((14, True), (15, False)):
        later = MONDAY + days * DAY
        for records in ([intent(MONDAY, later), done(MONDAY, later)], [adopted(later)]):
            state = held(*first, *records)
            assert (bool(state.changes), bool(state.alarms)) == (kept, kept)


def test_an_override_of_a_day_to_come_survives_a_second_adoption() -> None:
    """A journal that adopts a session anew, since too much was missed, still holds the hours of later days."""
    state = held(changed(FRIDAY, None, MONDAY, NOTED), adopted(WEDNESDAY))
    assert state.changes == (ChangedHours(FRIDAY, None),)


# ---- alarms ----


@pytest.mark.parametrize(
    ("records", "alarms"),
    [
        ([alarm(Entry.ALARM_BEGUN)], {(MONDAY, "close-900s"): False}),
        ([alarm(Entry.ALARM_BEGUN), alarm(Entry.ALARM_ENDED)], {(MONDAY, "close-900s"): True}),
        (
            [alarm(Entry.ALARM_BEGUN), alarm(Entry.ALARM_BEGUN, "open+0s", TUESDAY)],
            {(MONDAY, "close-900s"): False, (TUESDAY, "open+0s"): False},
        ),
        ([alarm(Entry.ALARM_BEGUN), intent(), done()], {(MONDAY, "close-900s"): False}),
    ],
)
def test_alarms_have_begun_or_ended(records: list[Record], alarms: object) -> None:
    """Each by its session and key, also once the session has been left."""
    assert held(*records).alarms == alarms


# ---- what is withdrawn ----


@pytest.mark.parametrize(
    "record",
    [
        Record(Entry.ENDED, MONDAY, NOTED),
        intent(),
        halted(),
        changed(FRIDAY, None, MONDAY, NOTED),
        alarm(Entry.ALARM_BEGUN),
    ],
    ids=lambda record: record.entry.value,
)
def test_what_is_withdrawn_does_not_count(record: Record) -> None:
    """With others before it and after it, the journal adds up to what it would without."""
    withdrawal = Record(Entry.WITHDRAWN, MONDAY, NOTED, subject="3")
    other = Record(Entry.HALTED, MONDAY, NOTED, note="other", subject="quotes")
    assert held(failed(), record, other) != held(failed(), other)
    assert held(failed(), record, other, withdrawal) == held(failed(), other)


def test_closures_are_changes_to_no_session() -> None:
    """The record of a closure holds no session, and says so as JSON."""
    record = changed(Closure(FRIDAY).date, None, MONDAY, NOTED)
    assert (record.note, record.target) == ("null", FRIDAY)
    hours = Session(FRIDAY, at(FRIDAY, (14, 30)), at(FRIDAY, (18, 0)))
    assert held(changed(FRIDAY, hours, MONDAY, NOTED)).changes[0].session == hours
