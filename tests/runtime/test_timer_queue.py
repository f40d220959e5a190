"""The timer queue: buckets of entries by instant, and lazy deletion of entries whose deadline has changed."""

from dataclasses import dataclass
from operator import attrgetter

from hypothesis import given
from hypothesis import strategies as st

from session_lifecycle._runtime.timer_queue import TimerQueue
from tests.helpers.builders import DAY, MONDAY, at

INSTANTS = [at(MONDAY + n * DAY, (9, 30)) for n in range(5)]


@dataclass(eq=False)
class Entry:
    """Has a deadline, and a number."""

    number: int
    due: object = None


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("schedule"), st.integers(0, 5), st.sampled_from(INSTANTS)),
            st.tuples(st.just("cancel"), st.integers(0, 5), st.none()),
            st.tuples(st.just("pop"), st.none(), st.sampled_from(INSTANTS)),
        ),
        max_size=40,
    )
)
def test_the_entries_that_are_due_come_up_and_no_others(acts):
    """However deadlines are scheduled, moved and cancelled: exactly the entries that are due come up."""
    entries = [Entry(number) for number in range(6)]
    queue: TimerQueue[Entry, object] = TimerQueue(attrgetter("due"))
    for what, who, instant in acts:
        if what == "schedule":
            entries[who].due = instant
            queue.schedule(instant, entries[who])
        elif what == "cancel":
            entries[who].due = None
        else:
            expected = {each.number for each in entries if each.due is not None and each.due <= instant}
            taken = []
            for each in queue.pop_due(instant):
                taken.append((each.due, each.number))
                each.due = None
            assert {number for _, number in taken} == expected
            assert len(taken) == len(expected)
            assert [due for due, _ in taken] == sorted(due for due, _ in taken)
        waiting = [each.due for each in entries if each.due is not None]
        assert queue.next_deadline() == (min(waiting) if waiting else None)


def test_entries_of_one_instant_share_an_element_of_the_heap():
    """Ten thousand with one deadline are one element; they come up in the order of scheduling."""
    queue: TimerQueue[Entry, object] = TimerQueue(attrgetter("due"))
    entries = [Entry(number, INSTANTS[0]) for number in range(10_000)]
    queue.schedule_all(INSTANTS[0], entries[:5_000])
    for each in entries[5_000:]:
        queue.schedule(INSTANTS[0], each)
    assert len(queue) == 1
    assert [each.number for each in queue.pop_due(INSTANTS[0])] == list(range(10_000))
    assert len(queue) == 0


def test_what_has_moved_away_is_deleted_lazily():
    """An instant without entries does not stay once it is the earliest."""
    queue: TimerQueue[Entry, object] = TimerQueue(attrgetter("due"))
    one = Entry(1)
    for instant in INSTANTS:
        one.due = instant
        queue.schedule(instant, one)
    assert queue.next_deadline() == INSTANTS[-1]
    assert len(queue) == 1
