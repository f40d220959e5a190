"""`assert_legal`: what managers tell is legal, and every edit of it that breaks the chain is found."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import zip_longest
from typing import Any

import anyio
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from session_lifecycle import (
    AlarmFired,
    AlarmSkipped,
    BreakEnded,
    BreakStarted,
    ClockStepped,
    Closure,
    Event,
    FeedResumed,
    FeedStale,
    FixedSchedule,
    Halted,
    HandlerFailed,
    HorizonNear,
    LifecycleConfig,
    Misfire,
    Phase,
    PhaseEnded,
    PhaseStarted,
    Resolution,
    Resumed,
    RollFailed,
    RollStarted,
    RollSucceeded,
    ScheduleChanged,
    Session,
    SessionAdopted,
    SessionBoundaryManager,
    SessionMachine,
    SessionState,
    SpecialHours,
    StateChanged,
    UnexpectedData,
)
from session_lifecycle._core.machine import TRANSITIONS
from session_lifecycle.testing import Script, assert_legal
from tests.helpers.builders import DAY, MONDAY, session
from tests.helpers.harness import MINUTE, SECOND, TUESDAY, of

LUNCH = (((12, 0), (13, 0)),)
WEEK = FixedSchedule([session(MONDAY + n * DAY, (9, 0), (17, 0), LUNCH) for n in range(5)])
DAYS = Script(WEEK, MONDAY, days=2).data_every(MINUTE)


def with_phases(each: Session) -> Session:
    """Return a session with a closing auction, and an after-market that follows it at once."""
    minutes = 10 * MINUTE
    auction = Phase("closing_auction", each.close - minutes, each.close, tradable=False)
    return replace(each, phases=(auction, Phase("post_market", each.close, each.close + minutes, tradable=True)))


PHASES = FixedSchedule(map(with_phases, WEEK.sessions(MONDAY, MONDAY + 4 * DAY)))


class App:
    """Something of everything: a feed, alarms, a handler that fails."""

    name: str | None = None
    config = LifecycleConfig()

    def __init__(self, manager_class: type[SessionBoundaryManager]) -> None:
        self.manager = manager_class("", self.roll, config=self.config, name=self.name)
        self.manager.add_feed("AAPL", timeout=5 * MINUTE)
        self.manager.at("break_start", MINUTE)(self.handle)
        self.manager.at("close", -15 * MINUTE, misfire=Misfire.RUN_ONCE)(self.handle)
        self.manager.on(Halted)(self.break_down)

    async def roll(self, next_date: date) -> None:
        await self.manager.clock.sleep(SECOND)

    async def handle(self, event: AlarmFired) -> None:
        """Take note."""

    async def break_down(self, event: Halted) -> None:
        raise ValueError


class Named(App):
    name = "equities"


AT_THREE = SpecialHours(MONDAY, close=time(15))
SCRIPTS = {
    "plain": DAYS,
    "faults": DAYS.silence("10:15", "10:25")
    .halt("14:00", "14:10")
    .roll_fails(2)
    .on(TUESDAY)
    .roll_fails()
    .slow_roll(MINUTE),
    "by hand": DAYS.end_session("11:00", "done").on(TUESDAY).fail("12:30", "a person").recover("15:00"),
    "an ERROR": DAYS.roll_fails(3)
    .recover("18:00")
    .on(TUESDAY)
    .roll_fails(3)
    .halt("18:30")
    .recover("19:00", Resolution.MARK_DONE),
    "skipped": DAYS.halt("16:00").roll_fails(3).recover("18:00", Resolution.SKIP),
    "steps": DAYS.step_clock("10:00", timedelta(hours=3)).on(TUESDAY).step_clock("10:00", timedelta(hours=-2)),
    "phases": Script(PHASES, MONDAY, days=2).data_every(MINUTE),
    "hours": DAYS.apply("12:30", AT_THREE).on(TUESDAY).apply("12:30", Closure(TUESDAY, "a storm")),
}


@cache
def log(name: str) -> tuple[Event, ...]:
    """Return the events of one run."""
    return anyio.run(SCRIPTS[name].run, App).events


def refused(events: list[Event]) -> str:
    """Return what is said of events that are illegal."""
    with pytest.raises(AssertionError) as caught:
        assert_legal(events)
    return str(caught.value)


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_a_manager_tells_is_legal_and_so_is_every_part_of_it(name: str) -> None:
    """A log may begin and end anywhere."""
    events = log(name)
    assert len(events) > 10
    for at in range(len(events)):
        assert_legal(events[at:])
        assert_legal(events[:at])


def test_the_logs_hold_every_kind_of_event_that_has_a_rule() -> None:
    """The tests below would not notice a kind that is missing."""
    told = {type(event) for name in SCRIPTS for event in log(name)}
    assert {StateChanged, BreakStarted, BreakEnded, RollStarted, RollSucceeded, RollFailed, ClockStepped} <= told
    assert {AlarmFired, AlarmSkipped, Halted, Resumed, FeedStale, FeedResumed, HandlerFailed, ScheduleChanged} <= told
    assert {PhaseStarted, PhaseEnded} <= told
    assert {event.trigger for name in SCRIPTS for event in of(StateChanged, log(name))} == {
        str(edge["trigger"]) for edge in TRANSITIONS
    }


def test_several_managers_are_held_by_their_names() -> None:
    """Their events may be mixed; each name has a chain of its own, and the message shows that one alone."""
    one = anyio.run(DAYS.run, Named).events
    other = log("faults")
    mixed = [event for pair in zip_longest(one, other) for event in pair if event is not None]
    assert_legal(mixed)
    spoilt = mixed.index(of(StateChanged, one)[1])
    del mixed[spoilt]
    said = refused(mixed)
    assert "the path of equities up to it" in said
    assert "AAPL" not in said


# ---- edits ----

CHAIN = (StateChanged, RollStarted, RollSucceeded, RollFailed, BreakStarted, BreakEnded)
names = st.sampled_from(sorted(SCRIPTS))


@st.composite
def places(draw: st.DrawFn) -> tuple[list[Event], int]:
    """Draw a log, and the place in it of an event that belongs to the chain, with others of it before and behind."""
    events = list(log(draw(names)))
    chain = [at for at, event in enumerate(events) if isinstance(event, CHAIN)]
    return events, draw(st.sampled_from(chain[1:-1]))


def is_found(events: list[Event], at: int) -> bool:
    """Tell whether an edit is found, where it was made or at a later event, which the message shows."""
    said = refused(events)
    index = int(said.split()[1])
    return index >= at - 1 and repr(events[index]) in said


@settings(max_examples=150, deadline=None)
@given(places())
def test_an_event_of_the_chain_that_is_dropped_is_found(place: tuple[list[Event], int]) -> None:
    """All but the first and the last: nobody can tell that those were there."""
    events, at = place
    after = next(event for event in events[at + 1 :] if isinstance(event, CHAIN))
    cut_short = isinstance(events[at], BreakStarted) and not isinstance(after, BreakEnded)
    assume(not cut_short)  # nobody can tell that a break was there whose end is not
    del events[at]
    assert is_found(events, at)


@settings(max_examples=150, deadline=None)
@given(places())
def test_an_event_of_the_chain_that_is_told_twice_is_found(place: tuple[list[Event], int]) -> None:
    """Right after itself, whatever it is."""
    events, at = place
    events.insert(at, events[at])
    assert is_found(events, at)


@settings(max_examples=150, deadline=None)
@given(places())
def test_neighbours_in_the_chain_that_have_changed_places_are_found(place: tuple[list[Event], int]) -> None:
    """An event of the chain and the next one of it."""
    events, at = place
    other = next(n for n in range(at + 1, len(events)) if isinstance(events[n], CHAIN))
    events[at], events[other] = events[other], events[at]
    assert is_found(events, at)


@settings(max_examples=300, deadline=None)
@given(places(), st.data())
def test_a_state_or_trigger_that_is_altered_is_found(place: tuple[list[Event], int], data: st.DataObject) -> None:
    """To any other value: the neighbours, or the machine, contradict."""
    events, at = place
    event = events[at]
    assume(isinstance(event, StateChanged))
    field = data.draw(st.sampled_from(["source", "dest", "trigger", "session"]))
    triggers = st.sampled_from([str(edge["trigger"]) for edge in TRANSITIONS]) | st.text(max_size=3)
    sessions = st.sampled_from([MONDAY + n * DAY for n in range(-1, 7)])
    value = data.draw({"trigger": triggers, "session": sessions}.get(field, st.sampled_from(SessionState)))
    assume(value != getattr(event, field))
    events[at] = replace(event, **{field: value})
    assert is_found(events, at)


@settings(max_examples=150, deadline=None)
@given(places(), st.data())
def test_a_roll_that_is_altered_is_found(place: tuple[list[Event], int], data: st.DataObject) -> None:
    """Its session, its target and its attempt hold together."""
    events, at = place
    rolls = [n for n, event in enumerate(events) if isinstance(event, RollStarted | RollSucceeded | RollFailed)]
    at = data.draw(st.sampled_from(rolls))
    event: Any = events[at]
    field = data.draw(st.sampled_from(["session", "next_session", "attempt"]))
    numbers = st.integers(0, 5)
    sessions = st.sampled_from([MONDAY + n * DAY for n in range(-1, 7)])
    value = data.draw(numbers if field == "attempt" else sessions)
    assume(value != getattr(event, field))
    settled = isinstance(event, RollSucceeded) and not isinstance(events[at - 1], RollStarted | RollFailed)
    assume(field != "attempt" or not settled)  # a person has settled it: there was no attempt that could be counted
    events[at] = replace(event, **{field: value})
    assert is_found(events, at)


# ---- each rule by itself ----

Edit = Callable[[list[Event]], None]


def first(kind: type[Any], events: list[Event], *, skip: int = 0) -> int:
    """Return the place of the first event of a kind, or of a later one."""
    return [at for at, event in enumerate(events) if isinstance(event, kind)][skip]


def altered(kind: type[Any], *, skip: int = 0, **changes: Any) -> Edit:
    """Return an edit that alters an event; a function is given the old value."""

    def edit(events: list[Event]) -> None:
        at = first(kind, events, skip=skip)
        old: Any = events[at]
        new = {field: value(getattr(old, field)) if callable(value) else value for field, value in changes.items()}
        events[at] = replace(old, **new)

    return edit


def dropped(kind: type[Any], *, skip: int = 0) -> Edit:
    """Return an edit that drops an event."""
    return lambda events: events.pop(first(kind, events, skip=skip)) and None


def later(instant: Any) -> Any:
    return instant + timedelta(hours=20)


def earlier(instant: Any) -> Any:
    return instant - timedelta(hours=20)


def repeated(kind: type[Any], *, skip: int = 0) -> Edit:
    """Return an edit that tells an event twice."""

    def edit(events: list[Event]) -> None:
        at = first(kind, events, skip=skip)
        events.insert(at, events[at])

    return edit


def break_after_the_close(events: list[Event]) -> None:
    at = first(RollStarted, events)
    events.insert(at - 1, replace(events[first(BreakStarted, events)], observed_at=events[at].observed_at))


def without_a_roll(events: list[Event]) -> None:
    dropped(RollStarted)(events)
    dropped(RollSucceeded)(events)


def test_a_session_that_is_adopted_anew_stands_for_a_roll() -> None:
    """In ENDED, and with the session that is then entered."""
    events = list(log("plain"))
    without_a_roll(events)
    entered = first(StateChanged, events, skip=4)
    adopted = SessionAdopted(MONDAY, TUESDAY, events[entered].observed_at)
    assert_legal([*events[:entered], adopted, *events[entered:]])
    for wrong in (replace(adopted, next_session=WEDNESDAY), replace(adopted, session=SUNDAY)):
        with pytest.raises(AssertionError, match="is illegal"):
            assert_legal([*events[:entered], wrong, *events[entered:]])
    with pytest.raises(AssertionError, match="a roll happens in ENDED"):
        assert_legal([*events[: entered - 1], adopted])


SUNDAY, WEDNESDAY = MONDAY - DAY, MONDAY + 2 * DAY
RULES: dict[str, list[tuple[Edit, str]]] = {
    "plain": [
        (altered(StateChanged, trigger="open_bar"), "'open_bar' is not possible in NOT_STARTED"),
        (altered(StateChanged, dest=SessionState.ACTIVE), "leads from NOT_STARTED to PRE_MARKET, not to ACTIVE"),
        (dropped(StateChanged, skip=2), "it leaves POST_MARKET, but the state was ACTIVE"),
        (altered(StateChanged, skip=1, session=TUESDAY), "of session 2024-03-05, but the session was 2024-03-04"),
        (altered(StateChanged, scheduled_at=later), "before it was due"),
        (altered(RollStarted, observed_at=earlier), "no clock has stepped back"),
        (altered(BreakStarted, catch_up=True), "marked as a catch-up, but is not late"),
        (break_after_the_close, "breaks happen in an open market, but the state was POST_MARKET"),
        (repeated(BreakStarted), "the market was on a break"),
        (repeated(BreakEnded), "the market was not on a break"),
        (altered(BreakStarted, session=TUESDAY), "it is of session 2024-03-05, but the session was 2024-03-04"),
        (dropped(BreakEnded), "which must end before the close"),
        (altered(RollStarted, attempt=2), "it is attempt 2, but must be the first"),
        (altered(RollSucceeded, attempt=2), "attempt 1, to 2024-03-05, was under way"),
        (altered(RollSucceeded, next_session=WEDNESDAY), "attempt 1, to 2024-03-05, was under way"),
        (dropped(RollStarted), "no attempt at the roll was under way"),
        (without_a_roll, "there was no RollSucceeded, RollFollowed or SessionAdopted before it"),
        (dropped(StateChanged, skip=4), "must follow its RollSucceeded at once"),
        (altered(StateChanged, skip=4, session=WEDNESDAY), "it enters 2024-03-06, but the roll was to 2024-03-05"),
        (altered(RollStarted, next_session=SUNDAY), "2024-03-03 does not lie after 2024-03-04"),
        (altered(RollStarted, session=SUNDAY), "it is of session 2024-03-03, but the session was 2024-03-04"),
        (dropped(StateChanged, skip=3), "a roll happens in ENDED, but the state was POST_MARKET"),
        (altered(AlarmFired, state=SessionState.TIMEOUT), "it says TIMEOUT, but the state was ACTIVE"),
        (repeated(AlarmFired), "or been skipped, for session 2024-03-04"),
        (repeated(AlarmFired, skip=1), "or been skipped, for session 2024-03-04"),
    ],
    "faults": [
        (altered(RollStarted, skip=1, attempt=3), "attempt 2, to 2024-03-05, must follow"),
        (altered(RollStarted, skip=1, next_session=WEDNESDAY), "attempt 2, to 2024-03-05, must follow"),
        (altered(RollFailed, retry_at=None), "attempt 1 was the last one"),
        (altered(RollFailed, retry_at=earlier), "its retry is due before its failure"),
        (dropped(RollFailed), "attempt 1 is under way, without an outcome"),
        (dropped(RollStarted), "no attempt at the roll was under way"),
        (repeated(Halted), "trading was halted before"),
        (repeated(Resumed), "trading was not halted before"),
        (repeated(FeedResumed), "feed AAPL has resumed already"),
    ],
    "phases": [
        (repeated(PhaseStarted), "phase closing_auction of 2024-03-04 is on, and must end before another one starts"),
        (dropped(PhaseEnded), "phase closing_auction of 2024-03-04 is on, and must end before another one starts"),
        (dropped(PhaseStarted, skip=1), "this phase was not on"),
        (altered(PhaseEnded, phase="post_market"), "this phase was not on"),
        (altered(PhaseStarted, scheduled_at=later), "before it was due"),
    ],
    "an ERROR": [(dropped(RollFailed, skip=2), "attempt 3 at the roll is under way")],
    "steps": [(dropped(ClockStepped, skip=1), "no clock has stepped back")],
    "skipped": [
        (altered(RollSucceeded, skipped=(MONDAY,)), "do not lie between 2024-03-04 and 2024-03-06"),
        (
            altered(RollSucceeded, skipped=(TUESDAY, TUESDAY)),
            "do not lie between 2024-03-04 and 2024-03-06, in order",
        ),
    ],
}


@pytest.mark.parametrize(
    ("name", "edit", "words"),
    [pytest.param(name, *rule, id=f"{rule[1]}-{n}") for name, rules in RULES.items() for n, rule in enumerate(rules)],
)
def test_each_rule_says_what_is_wrong_where_and_how_it_came_to_that(name: str, edit: Edit, words: str) -> None:
    """The message has the rule in words, the event itself, its index, and the path up to it."""
    events = list(log(name))
    edit(events)
    said = refused(events)
    heading, event, path, *lines = said.splitlines()
    assert words in heading
    index = int(heading.split()[1])
    assert event.strip() == repr(events[index])
    assert path == "the path up to it, in UTC:"
    assert lines[-1].split()[0] == str(index)
    assert len(lines) == min(index + 1, 21)


def test_steps_that_nobody_is_told_of_may_add_up() -> None:
    """A clock that goes back by half a second, twice, tells of no step; one that goes back a minute must have."""
    at = datetime(2024, 3, 4, 8, 30, tzinfo=UTC)
    horizon = HorizonNear(MONDAY + 4 * DAY, MONDAY, at)
    assert_legal([horizon, UnexpectedData(MONDAY, None, at - SECOND)])
    with pytest.raises(AssertionError, match="no clock has stepped back"):
        assert_legal([horizon, UnexpectedData(MONDAY, None, at - MINUTE)])


def test_a_long_path_shows_its_end() -> None:
    """Twenty events, and how many there were before."""
    events = list(log("faults"))
    events.append(events[-1])
    events.append(replace(of(StateChanged, events)[-1], observed_at=events[-1].observed_at))
    lines = refused(events).splitlines()
    assert lines[3] == f"  ...  {len(events) - 20} earlier ones"
    assert len(lines) == 24


def test_the_machine_is_the_only_table() -> None:
    """Every edge of the machine is legal, alone, and no other triple of states and trigger is."""
    triggers = {str(edge["trigger"]) for edge in TRANSITIONS}
    legal = set()
    for source in SessionState:
        for trigger in SessionMachine(source).allowed:
            legal |= {(source, trigger, SessionMachine(source).fire(trigger, roll_owed=owed)) for owed in (True, False)}
    some = of(StateChanged, log("plain"))[0]
    for source in SessionState:
        for trigger in triggers:
            for dest in SessionState:
                event = replace(some, source=source, trigger=trigger, dest=dest)
                if (source, trigger, dest) in legal:
                    assert_legal([event])
                else:
                    refused([event])
    assert len(legal) == 16
