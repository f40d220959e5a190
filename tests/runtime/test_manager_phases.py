"""Phases through the manager: what is read, alarms, handlers and scopes; alone, in a group, and after a restart."""

from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from functools import partial

import anyio
import pytest

from session_lifecycle import (
    Alarm,
    AlarmFired,
    ConfigurationError,
    DataStale,
    FixedSchedule,
    InvalidSession,
    LifecycleConfig,
    Phase,
    PhaseEnded,
    PhaseStarted,
    Session,
    SessionBoundaryManager,
    SessionGroup,
    StateChanged,
)
from session_lifecycle.testing import SimulatedClock, assert_legal
from tests.helpers.builders import DAY, MONDAY, at
from tests.helpers.harness import (
    ACTIVE,
    HOUR,
    MINUTE,
    NOT_STARTED,
    POST_MARKET,
    PRE_MARKET,
    TUESDAY,
    Rolls,
    make,
    of,
    roll_nothing,
    running,
)

pytestmark = pytest.mark.anyio

NIGHT, MORNING = at(MONDAY, (1, 0)), at(MONDAY, (9, 0))


def nights(n: int = 10) -> FixedSchedule:
    """Return sessions with a night, two calls of an auction, and an after-market."""
    return FixedSchedule([_session(MONDAY + day * DAY) for day in range(n)])


def _session(day: date) -> Session:
    own = (
        Phase("overnight", at(day, (1, 0)), at(day, (9, 0)), tradable=True),
        Phase("call", at(day, (16, 0)), at(day, (16, 10)), tradable=False),
        Phase("call", at(day, (18, 0)), at(day, (18, 10)), tradable=False),
        Phase("post_market", at(day, (21, 0)), at(day + DAY, (1, 0)), tradable=True),
    )
    return Session(day, at(day, (14, 30)), at(day, (21, 0)), phases=own)


async def test_the_phase_is_read_of_the_manager() -> None:
    """By name, with whether it is tradable; in the status and in the events."""
    manager, clock = make(at(MONDAY, (0, 30)), schedule=nights())
    assert (manager.phase, manager.phase_tradable) == (None, False)
    async with running(manager) as log:
        assert (manager.phase, manager.phase_tradable, manager.status().phase) == (None, False, None)
        await clock.advance_to(NIGHT)
        assert (manager.phase, manager.phase_tradable, manager.status().phase) == ("overnight", True, "overnight")
        assert (manager.state, manager.can_trade) == (NOT_STARTED, False)
        await clock.advance_to(at(MONDAY, (16, 5)))
        assert (manager.phase, manager.phase_tradable, manager.state) == ("call", False, ACTIVE)
        assert of(PhaseStarted, log)[0] == PhaseStarted("overnight", MONDAY, NIGHT, NIGHT, True)
        assert of(PhaseEnded, log)[0] == PhaseEnded("overnight", MONDAY, MORNING, MORNING)
    assert_legal(log)


async def test_alarms_are_anchored_to_a_phase() -> None:
    """To its start, which a name of its own writes out, or to its end; once for each of several."""
    manager, clock = make(at(MONDAY, (0, 30)), schedule=nights())
    seen: list[AlarmFired] = []

    async def note(alarm: AlarmFired) -> None:
        seen.append(alarm)

    manager.at("overnight", 30 * MINUTE)(note)
    manager.at("call.start", -5 * MINUTE)(note)
    manager.at("call.end")(note)
    manager.at("closing_auction")(note)  # no session has one
    async with running(manager) as log:
        await clock.advance_to(at(MONDAY, (20, 0)))
    assert [(each.alarm.key, each.scheduled_at, each.number) for each in seen] == [
        ("overnight.start+1800s", at(MONDAY, (1, 30)), 1),
        ("call.start-300s", at(MONDAY, (15, 55)), 1),
        ("call.end+0s", at(MONDAY, (16, 10)), 1),
        ("call.start-300s", at(MONDAY, (17, 55)), 2),
        ("call.end+0s", at(MONDAY, (18, 10)), 2),
    ]
    assert_legal(log)


@pytest.mark.parametrize("anchor", ["noon", "call", "call.middle", ".start", "a b.end", 7])
def test_an_anchor_that_is_no_phase_is_refused(anchor: str) -> None:
    """A name of one's own needs the edge, so that a misspelt boundary is no phase."""
    with pytest.raises(ConfigurationError, match="or a phase"):
        Alarm(anchor)


async def test_a_handler_of_a_phase_runs_unless_it_is_over() -> None:
    """Of a catch-up, with the phase that is on alone; `missed=True` asks for each."""
    manager, _clock = make(at(MONDAY, (16, 5)), schedule=nights())
    seen: list[str] = []
    every: list[str] = []

    @manager.on(PhaseStarted)
    async def note(event: PhaseStarted) -> None:
        seen.append(event.phase)

    @manager.on(PhaseStarted, missed=True)
    async def note_every(event: PhaseStarted) -> None:
        every.append(event.phase)

    async with running(manager):
        assert (seen, every) == (["call"], ["overnight", "call"])


async def test_a_scope_lasts_for_a_phase() -> None:
    """The body begins with the phase, and is cancelled at its end; its states do not matter."""
    manager, clock = make(at(MONDAY, (0, 30)), schedule=nights())
    steps: list[tuple[str, object]] = []

    async def night_desk() -> None:
        async with manager.during(phase="overnight") as session:
            steps.append(("begins", (session.date, clock.now())))
            await anyio.sleep_forever()
        steps.append(("ends", clock.now()))

    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(night_desk)
        await clock.advance_to(at(MONDAY, (8, 59)))
        assert steps == [("begins", (MONDAY, NIGHT))]
        await clock.advance_to(MORNING)
        assert steps[1:] == [("ends", MORNING)]


async def test_a_scope_of_a_phase_and_a_state_needs_both() -> None:
    """It begins once both hold, and ends with the first that does not."""
    manager, clock = make(at(MONDAY, (0, 30)), schedule=nights())
    begun: list[object] = []

    async def desk() -> None:
        async with manager.during(PRE_MARKET, phase="post_market"):
            begun.append("never")
        begun.append("left")

    async def call() -> None:
        async with manager.during(ACTIVE, phase="call"):
            begun.append(clock.now())
            await anyio.sleep_forever()
        begun.append(clock.now())

    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await clock.advance_to(at(TUESDAY, (12, 0)))
        assert begun == [at(MONDAY, (16, 0)), at(MONDAY, (16, 10))]
        tasks.start_soon(desk)
        await clock.advance_to(at(TUESDAY + DAY, (12, 0)))
        assert begun[2:] == []
        tasks.cancel_scope.cancel()


async def test_a_scope_that_waits_for_a_phase_ends_with_the_manager() -> None:
    """As one that waits for a state does: its body is cancelled at its first wait. `run_while` calls nothing then."""
    manager, _clock = make(at(MONDAY, (2, 0)), schedule=nights())
    steps: list[str] = []

    async def wait() -> None:
        async with manager.during(phase="closing_auction"):
            steps.append("entered")
            await anyio.sleep_forever()
        steps.append("left")

    async def never(_: Session) -> None:
        raise AssertionError

    async def call() -> None:
        await manager.run_while(never, phase="closing_auction")
        steps.append("returned")

    async with anyio.create_task_group() as tasks, manager:
        tasks.start_soon(wait)
        tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        manager.stop()
    assert sorted(steps) == ["entered", "left", "returned"]


async def test_what_is_no_phase_is_refused_at_the_call() -> None:
    """A boundary's name, and neither a state nor a phase."""
    manager, _clock = make(at(MONDAY, (2, 0)), schedule=nights())

    async def never(_: Session) -> None:
        raise AssertionError

    with pytest.raises(InvalidSession):
        manager.during(phase="close")
    with pytest.raises(TypeError):
        manager.during()
    with pytest.raises(TypeError):
        manager.during("overnight")  # a phase is named by its keyword
    async with running(manager):
        with pytest.raises(InvalidSession):
            await manager.run_while(never, phase="close")
        with pytest.raises(TypeError):
            await manager.run_while(never)


async def test_a_function_runs_while_a_phase_is_on() -> None:
    """Once for each time that it is on, with the session that it counts for; no roll ends the call."""
    manager, clock = make(at(MONDAY, (0, 30)), schedule=nights(3))
    calls: list[tuple[str, date, object]] = []

    def noting(name: str, *, wait: bool = True) -> Callable[[Session], Awaitable[None]]:
        async def note(session: Session) -> None:
            calls.append((name, session.date, clock.now()))
            try:
                if wait:
                    await anyio.sleep_forever()
            finally:
                calls.append((f"{name} over", session.date, clock.now()))

        return note

    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(partial(manager.run_while, noting("after"), phase="post_market"))
        tasks.start_soon(partial(manager.run_while, noting("call", wait=False), phase="call"))
        await clock.advance_to(at(MONDAY, (23, 0)))
        assert manager.session.date == TUESDAY  # it has rolled, and the after-market goes on
        assert calls[-1] == ("after", MONDAY, at(MONDAY, (21, 0)))
        await clock.advance_to(at(TUESDAY, (22, 0)))
        manager.stop()
    assert calls == [
        ("call", MONDAY, at(MONDAY, (16, 0))),
        ("call over", MONDAY, at(MONDAY, (16, 0))),
        ("call", MONDAY, at(MONDAY, (18, 0))),
        ("call over", MONDAY, at(MONDAY, (18, 0))),
        ("after", MONDAY, at(MONDAY, (21, 0))),
        ("after over", MONDAY, at(TUESDAY, (1, 0))),
        ("call", TUESDAY, at(TUESDAY, (16, 0))),
        ("call over", TUESDAY, at(TUESDAY, (16, 0))),
        ("call", TUESDAY, at(TUESDAY, (18, 0))),
        ("call over", TUESDAY, at(TUESDAY, (18, 0))),
        ("after", TUESDAY, at(TUESDAY, (21, 0))),
        ("after over", TUESDAY, at(TUESDAY, (22, 0))),
    ]


async def test_a_function_runs_while_a_phase_and_a_state_hold() -> None:
    """Begun in the after-market of POST_MARKET, it ends with that state, long before the phase."""
    manager, clock = make(at(MONDAY, (20, 0)), schedule=nights(2))
    calls: list[tuple[str, object]] = []

    async def note(session: Session) -> None:
        calls.append((f"{session.date}", clock.now()))
        try:
            await anyio.sleep_forever()
        finally:
            calls.append(("over", clock.now()))

    async with running(manager), anyio.create_task_group() as tasks:
        tasks.start_soon(partial(manager.run_while, note, POST_MARKET, phase="post_market"))
        await clock.advance_to(at(TUESDAY, (0, 30)))
        assert manager.phase == "post_market"
        tasks.cancel_scope.cancel()
    assert calls == [("2024-03-04", at(MONDAY, (21, 0))), ("over", at(MONDAY, (21, 30)))]


async def test_a_scope_entered_after_the_roll_gives_the_session_of_the_phase() -> None:
    """The after-market of Monday, in Tuesday's session."""
    manager, _clock = make(at(MONDAY, (23, 0)), schedule=nights())
    async with running(manager), manager.during(phase="post_market") as session:
        assert (session.date, manager.session.date) == (MONDAY, TUESDAY)


async def test_a_group_decides_phases_once_for_all() -> None:
    """Members on one schedule see the same phases at the same instants as one alone."""
    schedule, config = nights(), LifecycleConfig(data_timeout=None)
    logs: list[list[object]] = []
    for n in (1, 5):
        clock = SimulatedClock(at(MONDAY, (0, 30)))
        members = [SessionBoundaryManager(schedule, roll_nothing, config=config, clock=clock) for _ in range(n)]
        readers = [member.events() for member in members]
        async with SessionGroup(members):
            await clock.advance_to(at(MONDAY + 3 * DAY, (2, 0)))
            assert {member.phase for member in members} == {"overnight"}
        kinds = PhaseStarted | PhaseEnded | StateChanged
        logs += [[each async for each in reader if isinstance(each, kinds)] for reader in readers]
    assert len(logs[0]) > 20
    assert all(log == logs[0] for log in logs)


async def test_the_silence_of_a_phase_is_timed_while_a_roll_waits_for_its_turn() -> None:
    """What the after-market lacks is told when it is due, also by the member whose roll is the second one."""
    clock = SimulatedClock(at(MONDAY, (20, 0)))
    rolls = Rolls(clock, 2 * HOUR)
    config = LifecycleConfig(data_timeout=None, data_timeouts={"post_market": 20 * MINUTE}, roll_timeout=None)
    members = [
        SessionBoundaryManager(nights(), rolls, config=config, clock=clock, name=name) for name in ("1st", "2nd")
    ]
    readers = [member.events() for member in members]
    async with SessionGroup(members, max_concurrent_rolls=1):
        await clock.advance_to(at(MONDAY, (21, 15)))
        for member in members:
            member.record_data_received()
        await clock.advance_to(at(MONDAY, (22, 0)))
        assert len(rolls.begun) == 1
        members[1].record_data_received()
        await clock.advance_to(at(TUESDAY, (0, 30)))
    stale = [[each.observed_at async for each in reader if isinstance(each, DataStale)] for reader in readers]
    assert stale == [[at(MONDAY, (21, 35))], [at(MONDAY, (21, 35)), at(MONDAY, (22, 20))]]
    assert rolls.instants == [at(MONDAY, (21, 30)), at(MONDAY, (23, 30))]


async def test_phases_go_on_in_error_and_while_a_roll_is_owed() -> None:
    """They follow the clock, whatever becomes of the application."""
    manager, clock = make(at(MONDAY, (15, 0)), schedule=nights(), config=LifecycleConfig(auto_roll=False))
    async with running(manager) as log:
        await clock.advance_to(at(TUESDAY, (2, 0)))
        assert (manager.session.date, manager.phase) == (MONDAY, "overnight")
        manager.fail("the desk said so")
        await clock.advance_to(at(TUESDAY, (9, 0)) + HOUR)
        assert manager.phase is None
        assert of(PhaseEnded, log)[-1].session == TUESDAY
    assert timedelta(0) == of(PhaseEnded, log)[-1].lateness
