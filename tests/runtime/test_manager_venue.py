"""What the venue reports of itself, held against the calendar: on a running manager, with a journal, over a restart."""

from datetime import datetime

import pytest

from session_lifecycle import (
    CalendarContradicted,
    EarlyClose,
    Entry,
    Halted,
    LifecycleConfig,
    ManagerStopped,
    MemoryJournal,
    NaiveDatetimeError,
    NotRunningError,
    Record,
    Resumed,
    SessionBoundaryManager,
    SessionGroup,
    VenueStatus,
)
from session_lifecycle.testing import SimulatedClock, assert_legal
from session_lifecycle.venues import itch_status
from tests.helpers.builders import DAY, MONDAY, at
from tests.helpers.harness import (
    ACTIVE,
    DEAF,
    ENDED,
    HOUR,
    MINUTE,
    POST_MARKET,
    PRE_MARKET,
    SECOND,
    TUESDAY,
    make,
    of,
    roll_nothing,
    running,
    season,
)
from tests.helpers.manager_journal import Refusing, begin, errors_logged, holding

pytestmark = pytest.mark.anyio

S = VenueStatus
NOON = at(MONDAY, (15, 0))
CLOSE = at(MONDAY, (21, 0))


def reason(status: VenueStatus, when: datetime) -> str:
    return f"the venue reported {status.name} at {when.isoformat()}"


async def test_the_venue_halts_and_resumes():
    """At once, by its own codes; the state stays, and what the calendar says already is no news."""
    manager, clock = make(NOON)
    async with running(manager) as log:
        for code in ("T", "H"):
            status = itch_status("H", code)
            assert status is not None
            manager.record_status(status, at=clock.now())
        assert (manager.can_trade, manager.halted, manager.state) == (False, reason(S.HALT, NOON), ACTIVE)
        await clock.advance(MINUTE)
        manager.record_status(S.QUOTING)
        assert not manager.can_trade
        manager.record_status(S.TRADING)
        assert (manager.can_trade, manager.halted) == (True, None)
        await clock.advance(MINUTE)
        assert log[-2:] == [
            Halted(reason(S.HALT, NOON), MONDAY, None, NOON),
            Resumed(MONDAY, None, lapsed=False, observed_at=NOON + MINUTE),
        ]


async def test_fault_76_a_close_before_the_calendar_s_halts_and_is_reported_and_moves_no_boundary():
    """The session ends when the calendar says; the halt lasts until then, unless the venue trades again."""
    manager, clock = make(NOON)
    async with running(manager) as log:
        manager.record_status(S.CLOSE)
        assert (manager.can_trade, manager.state, manager.next_boundary) == (False, ACTIVE, CLOSE)
        manager.record_status(S.CLOSE)
        await clock.advance_to(CLOSE)
        assert (manager.state, manager.halted) == (POST_MARKET, None)
        assert of(CalendarContradicted, log) == [
            CalendarContradicted(S.CLOSE, MONDAY, ACTIVE, NOON, CLOSE, halted=True, observed_at=NOON)
        ]


async def test_where_the_calendar_is_right_an_early_close_is_only_reported():
    """By the policy."""
    config = LifecycleConfig(data_timeout=None, early_close=EarlyClose.CALENDAR)
    manager, clock = make(NOON, config=config, name="desk")
    async with running(manager) as log:
        manager.record_status(S.CLOSE)
        await clock.advance(MINUTE)
        assert (manager.can_trade, manager.halted) == (True, None)
        assert [(event.halted, event.name) for event in of(CalendarContradicted, log)] == [(False, "desk")]


async def test_trading_after_the_close_is_reported_and_changes_nothing():
    """The calendar's hours are not changed without a decision: that is what apply() is for."""
    manager, clock = make(at(MONDAY, (21, 10)))
    async with running(manager) as log:
        manager.record_status(S.TRADING)
        await clock.advance(SECOND)
        assert manager.state is POST_MARKET
        assert [(event.status, event.state) for event in of(CalendarContradicted, log)] == [(S.TRADING, POST_MARKET)]


async def test_late_repeated_and_out_of_order_statuses_are_harmless():
    """Each is judged at the venue's instant: what has been overtaken, and what was said already, changes nothing."""
    manager, clock = make(NOON)
    async with running(manager) as log:
        manager.record_status(S.TRADING, at=NOON)
        manager.record_status(S.HALT, at=NOON - MINUTE)
        manager.record_status(S.CLOSE, at=NOON - DAY)
        manager.record_status(S.TRADING, at=NOON)
        assert manager.can_trade
        await clock.advance(HOUR)
        manager.record_status(S.HALT, at=NOON + MINUTE)
        manager.record_status(S.HALT, at=NOON + MINUTE)
        assert manager.halted == reason(S.HALT, NOON + MINUTE)
        assert [type(event) for event in log if not hasattr(event, "dest")] == []
        await clock.advance_to(CLOSE + 5 * MINUTE)
        manager.record_status(S.CLOSE, at=CLOSE)
        manager.record_status(S.HALT, at=NOON + 2 * MINUTE)
        await clock.advance(MINUTE)
        assert [type(event) for event in log if not hasattr(event, "dest")] == [Halted, Resumed]


async def test_a_halt_in_the_night_holds_from_the_pre_market_on():
    """No call is needed: it waits for the first state that can be halted, in a group too."""
    clock, schedule = SimulatedClock(at(TUESDAY, (1, 0))), season()
    manager, other = (SessionBoundaryManager(schedule, roll_nothing, clock=clock, config=DEAF) for _ in range(2))
    async with SessionGroup([manager, other]):
        manager.record_status(S.HALT)
        assert manager.halted is None
        await clock.advance_to(at(TUESDAY, (9, 0)))
        assert (manager.state, manager.halted) == (PRE_MARKET, reason(S.HALT, at(TUESDAY, (1, 0))))
        assert (other.state, other.halted) == (PRE_MARKET, None)
        await clock.advance_to(at(TUESDAY, (15, 0)))
        assert (manager.can_trade, other.can_trade) == (False, True)


async def test_the_application_and_the_venue_each_lift_their_own_halt():
    """The venue's resumption ends no halt of the application; where the application resumes, the venue's goes on."""
    manager, clock = make(NOON)
    async with running(manager):
        manager.halt("our own")
        manager.record_status(S.HALT)
        manager.record_status(S.TRADING)
        assert manager.halted == "our own"
        await clock.advance(MINUTE)
        manager.record_status(S.PAUSE)
        manager.resume()
        assert manager.halted == reason(S.PAUSE, NOON + MINUTE)
        manager.resume()
        assert manager.halted is None
        await clock.advance(MINUTE)
        assert manager.can_trade


async def test_a_halt_by_status_is_journalled_and_so_is_its_end():
    """A restart holds it, and lifts it by the venue's word, however that word is dated after the halt."""
    journal = MemoryJournal()
    manager, clock, _ = begin(NOON, journal)
    async with manager:
        manager.record_status(S.HALT)
        await clock.advance(MINUTE)
    assert [(each.entry, each.note) for each in journal.records[1:]] == [(Entry.HALTED, reason(S.HALT, NOON))]

    again, clock, _ = begin(NOON + 10 * MINUTE, journal)
    async with again:
        assert again.halted == reason(S.HALT, NOON)
        again.record_status(S.TRADING, at=NOON - MINUTE)  # what the feed said before
        again.record_status(S.HALT, at=NOON)
        assert again.halted == reason(S.HALT, NOON)
        again.record_status(S.TRADING, at=NOON + 5 * MINUTE)
        await clock.advance(SECOND)
        assert again.halted is None
    assert [each.entry for each in journal.records[1:]] == [Entry.HALTED, Entry.RESUMED]


async def test_an_early_close_is_still_one_after_a_restart():
    """The end of a stock's halt does not open a market that has closed; its trading does."""
    journal = holding(
        Record(Entry.ADOPTED, MONDAY, at(MONDAY, (14, 0))),
        Record(Entry.HALTED, MONDAY, NOON, note=reason(S.CLOSE, NOON)),
    )
    manager, clock, _ = begin(NOON + MINUTE, journal)
    async with manager:
        manager.record_status(S.RESUME)
        await clock.advance(SECOND)
        assert manager.halted == reason(S.CLOSE, NOON)
        manager.record_status(S.TRADING)
        await clock.advance(SECOND)
        assert manager.halted is None


@pytest.mark.parametrize("restart", [False, True], ids=["in process", "after a restart"])
@pytest.mark.parametrize("close", [S.CLOSE, S.POST_CLOSE])
async def test_a_close_during_a_halt_outlasts_the_halt(close, restart):
    """The end of the halt does not open a market that has closed meanwhile, with a restart in between or without."""
    journal = MemoryJournal()
    manager, clock, _ = begin(NOON, journal)
    async with running(manager) as log:
        manager.record_status(S.HALT)
        await clock.advance(MINUTE)
        manager.record_status(close)
        await clock.advance(MINUTE)
        if not restart:
            await resume_and_trade(manager, clock)
        assert of(Halted, log) == [Halted(reason(S.HALT, NOON), MONDAY, None, NOON)]
    if restart:
        manager, clock, _ = begin(clock.now(), journal)
        async with running(manager):
            assert manager.halted == reason(close, NOON + MINUTE)
            await resume_and_trade(manager, clock)


async def resume_and_trade(manager, clock):
    """Report the end of the halt, which is not that of the close; then trading, which is."""
    manager.record_status(S.RESUME)
    await clock.advance(SECOND)
    assert manager.halted is not None
    manager.record_status(S.TRADING)
    await clock.advance(SECOND)
    assert manager.halted is None


@pytest.mark.parametrize("restart", [False, True], ids=["in process", "after a restart"])
@pytest.mark.parametrize("status", [S.PAUSE, S.QUOTING, S.CLOSE])
async def test_a_stop_while_the_application_lifts_the_venue_s_halt_is_the_last_word(restart, status):
    """The end of the halt is still being written as the venue reports another one: trading does not go on."""
    journal = MemoryJournal()
    manager, clock, _ = begin(NOON, journal)
    async with running(manager) as log:
        manager.record_status(S.HALT)
        await clock.advance(MINUTE)
        manager.resume()
        manager.record_status(status)
        await clock.advance(MINUTE)
        if not restart:
            assert (manager.halted, of(Resumed, log)) == (reason(S.HALT, NOON), [])
            manager.record_status(S.TRADING)
            await clock.advance(SECOND)
            assert (manager.halted, len(of(Resumed, log))) == (None, 1)
    if restart:
        manager, clock, _ = begin(clock.now(), journal)
        async with running(manager):
            assert manager.halted == reason(status, NOON + MINUTE)
            manager.record_status(S.TRADING)
            await clock.advance(SECOND)
            assert manager.halted is None


async def test_a_halt_of_the_application_is_none_of_the_venue_s_after_a_restart():
    """Its reason says so, also where it looks alike."""
    for words in ("our own", "the venue reported trouble at noon", "the venue reported HALT at noon"):
        journal = holding(
            Record(Entry.ADOPTED, MONDAY, at(MONDAY, (14, 0))), Record(Entry.HALTED, MONDAY, NOON, note=words)
        )
        manager, clock, _ = begin(NOON + MINUTE, journal)
        async with manager:
            manager.record_status(S.TRADING)
            await clock.advance(SECOND)
            assert manager.halted == words


async def test_another_halt_while_the_end_of_the_last_is_being_written():
    """The end is recorded first, then the next halt: trading is halted throughout, or again."""
    journal = MemoryJournal()
    manager, clock, _ = begin(NOON, journal)
    async with manager:
        manager.record_status(S.HALT)
        manager.record_status(S.TRADING, at=NOON)
        manager.record_status(S.PAUSE, at=NOON)
        assert manager.halted is not None
        await clock.advance(SECOND)
        assert manager.halted == reason(S.PAUSE, NOON)
    assert [each.entry for each in journal.records[1:]] == [Entry.HALTED, Entry.RESUMED, Entry.HALTED]


async def test_an_end_that_cannot_be_journalled_is_logged_and_the_halt_goes_on(caplog):
    """The next word of the venue tries again."""
    journal = Refusing(Entry.RESUMED)
    manager, clock, _ = begin(NOON, journal)
    with errors_logged(caplog) as lines:
        async with manager:
            manager.record_status(S.HALT)
            manager.record_status(S.TRADING)
            await clock.advance(SECOND)
            assert manager.halted is not None
            journal.refused.clear()
            manager.record_status(S.TRADING)
            await clock.advance(SECOND)
            assert manager.halted is None
    (line,) = lines
    assert "'resumed' of session 2024-03-04 could not be journalled" in line


async def test_bad_input_changes_nothing():
    """A naive instant, and a feed's own code; before the start and after the end there is nothing to record for."""
    manager, clock = make(NOON)
    with pytest.raises(NotRunningError, match=r"^record_status\(\)"):
        manager.record_status(S.HALT)
    async with running(manager) as log:
        with pytest.raises(NaiveDatetimeError, match=r"^at is 2024-03-04"):
            manager.record_status(S.HALT, at=NOON.replace(tzinfo=None))
        with pytest.raises(TypeError, match=r"^record_status\(\) takes a VenueStatus, not 'H': session_lifecycle\.ven"):
            manager.record_status("H")
        await clock.advance(SECOND)
        assert (manager.halted, of(Halted, log)) == (None, [])
    with pytest.raises(ManagerStopped):
        manager.record_status(S.HALT)


async def test_a_session_that_was_ended_manually_is_not_halted():
    """There is no trading to halt, and the next session is not halted by what was said of this one."""
    manager, clock = make(NOON)
    async with running(manager) as log:
        await manager.end_session("enough")
        await clock.advance(SECOND)
        manager.record_status(S.HALT)
        await clock.advance_to(at(TUESDAY, (15, 0)))
        assert (manager.halted, manager.can_trade, of(Halted, log)) == (None, True, [])
        assert ENDED in {event.dest for event in log if hasattr(event, "dest")}


@pytest.mark.parametrize("last", [S.HALT, S.CLOSE])
@pytest.mark.parametrize("between", [[S.TRADING, S.TRADING], [S.RESUME, S.TRADING], [S.TRADING, S.RESUME]])
async def test_a_feed_that_repeats_all_of_it_at_once_is_believed_in_its_last_word(between, last):
    """Also with a journal, where the end of the first halt is not written yet when the last one is reported."""
    manager, clock = make(NOON, journal=MemoryJournal())
    async with running(manager):
        for status in (S.HALT, *between, last):
            manager.record_status(status)
        await clock.advance(SECOND)
        assert manager.halted == f"the venue reported {last.name} at {NOON.isoformat()}"


@pytest.mark.parametrize("how", ["resume", "halt"])
async def test_a_halt_that_has_waited_is_recorded_before_what_comes_after_it(how):
    """A status of the night halts as soon as it can, which is found out in the very call that ends that halt."""
    journal = MemoryJournal()
    manager, clock, _ = begin(at(MONDAY, (8, 0)), journal)
    async with running(manager) as log:
        manager.record_status(S.HALT)
        manager.fail("no database")  # from here on it can
        manager.resume()
        if how == "halt":
            manager.halt("our own")
        await clock.advance(SECOND)
        halted = manager.halted
        assert halted == (None if how == "resume" else "our own")
        assert_legal(log)
    manager, clock, _ = begin(clock.now(), journal)
    async with running(manager):
        assert manager.halted == halted
