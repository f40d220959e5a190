"""Whom to look at when: buckets of members, and members whose deadline has moved."""

from dataclasses import dataclass
from operator import attrgetter

from hypothesis import given
from hypothesis import strategies as st

from session_lifecycle._runtime.timer_queue import TimerQueue
from tests.helpers.builders import DAY, MONDAY, at

INSTANTS = [at(MONDAY + n * DAY, (9, 30)) for n in range(5)]


@dataclass(eq=False)
class Somebody:
    """Has a deadline, and a number."""

    number: int
    due: object = None


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("file"), st.integers(0, 5), st.sampled_from(INSTANTS)),
            st.tuples(st.just("forget"), st.integers(0, 5), st.none()),
            st.tuples(st.just("take"), st.none(), st.sampled_from(INSTANTS)),
        ),
        max_size=40,
    )
)
def test_who_is_due_comes_up_and_nobody_else(acts):
    """However deadlines are filed, moved and given up: exactly those come up whose deadline has come."""
    everybody = [Somebody(number) for number in range(6)]
    deadlines: TimerQueue[Somebody, object] = TimerQueue(attrgetter("due"))
    for what, who, instant in acts:
        if what == "file":
            everybody[who].due = instant
            deadlines.schedule(instant, everybody[who])
        elif what == "forget":
            everybody[who].due = None
        else:
            expected = {each.number for each in everybody if each.due is not None and each.due <= instant}
            taken = []
            for each in deadlines.pop_due(instant):
                taken.append((each.due, each.number))
                each.due = None
            assert {number for _, number in taken} == expected
            assert len(taken) == len(expected)
            assert [due for due, _ in taken] == sorted(due for due, _ in taken)
        waiting = [each.due for each in everybody if each.due is not None]
        assert deadlines.next_deadline() == (min(waiting) if waiting else None)


def test_those_who_share_an_instant_share_an_entry():
    """Ten thousand with one deadline are one entry; they come up in the order in which they were filed."""
    deadlines: TimerQueue[Somebody, object] = TimerQueue(attrgetter("due"))
    everybody = [Somebody(number, INSTANTS[0]) for number in range(10_000)]
    deadlines.schedule_all(INSTANTS[0], everybody[:5_000])
    for each in everybody[5_000:]:
        deadlines.schedule(INSTANTS[0], each)
    assert len(deadlines) == 1
    assert [each.number for each in deadlines.pop_due(INSTANTS[0])] == list(range(10_000))
    assert len(deadlines) == 0


def test_what_has_moved_away_is_let_go_of():
    """A deadline that nobody has any more does not stay once it is the earliest."""
    deadlines: TimerQueue[Somebody, object] = TimerQueue(attrgetter("due"))
    one = Somebody(1)
    for instant in INSTANTS:
        one.due = instant
        deadlines.schedule(instant, one)
    assert deadlines.next_deadline() == INSTANTS[-1]
    assert len(deadlines) == 1
