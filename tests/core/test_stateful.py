"""The manager against a naive model, under random advances, steps, silences, failures, rolls and restarts.

The model is written from the rules in words. A session is a script of instants that is read from top to bottom; time
passes from one instant that matters to the next; what it says is compared with what the manager says, event by event,
timeouts and retries included. A ledger holds the events by rules of its own that need no model.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

import anyio
import anyio.abc
import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from session_lifecycle import (
    BreakEnded,
    BreakStarted,
    ClockStepped,
    Event,
    FixedSchedule,
    HorizonNear,
    LifecycleConfig,
    LifecycleError,
    MissedSessions,
    RollFailed,
    RollStarted,
    RollSucceeded,
    SessionAdopted,
    SessionBoundaryManager,
    SessionState,
    StateChanged,
    UnexpectedData,
)
from session_lifecycle.testing import SimulatedClock, assert_legal
from tests.helpers.builders import DAY, MICROSECOND, MONDAY
from tests.helpers.stateful import (
    ACTIVE,
    ENDED,
    ERROR,
    HOUR,
    MINUTE,
    NOT_STARTED,
    POST_MARKET,
    SECOND,
    TIMEOUT,
    WEEK,
    ZERO,
    late,
)
from tests.helpers.stateful_model import Model, Said
from tests.helpers.stateful_plans import (
    Advance,
    Call,
    Data,
    Near,
    Op,
    Plan,
    Restart,
    Roll,
    Step,
    World,
    advances,
    asyncios,
    attempts,
    calls,
    clock_steps,
    data,
    nears,
    plans,
    restarts,
    worlds,
)

# ---- what does happen ----


class Crash(Exception):
    """The application breaks down."""


@dataclass
class Run:
    """One manager, from its beginning to its end."""

    manager: SessionBoundaryManager
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    up: anyio.Event = field(default_factory=anyio.Event)
    leave: anyio.Event = field(default_factory=anyio.Event)
    gone: anyio.Event = field(default_factory=anyio.Event)
    crashing: bool = False
    entered: tuple[SessionState, date] | None = None
    refused: str | None = None
    by_hand: "Outcome | None" = None


@dataclass
class Outcome:
    """What came of a roll by hand, so far."""

    name: str = "waiting"


class Ledger:
    """Rules for the events of any run, whatever the model says."""

    LEGAL: tuple[str, ...] = (
        "NOT_STARTED start_pre_market PRE_MARKET", "PRE_MARKET open_market ACTIVE", "ACTIVE close_market POST_MARKET",
        "TIMEOUT close_market POST_MARKET", "POST_MARKET end_session ENDED", "ENDED roll NOT_STARTED",
        "ACTIVE data_timeout TIMEOUT", "TIMEOUT data_resumed ACTIVE", "ERROR recover ENDED",
        "ERROR recover NOT_STARTED", *(f"{state.name} fail ERROR" for state in SessionState if state is not ERROR),
    )  # fmt: skip

    def __init__(self, dates: list[date]) -> None:
        self.dates = dates
        self.state, self.on_break = NOT_STARTED, False
        self.session: date | None = None
        self.passed: Counter[tuple[date, object]] = Counter()
        self.seen: datetime | None = None
        self.rolling: tuple[date, date, int] | None = None
        self.stepped_back = False
        self.unexpected: date | None = None
        self.may_adopt = True  # no roll has begun
        self.adopted: date | None = None  # the transition `roll` leads to that session, without a roll

    def take(self, event: Event) -> None:
        if self.seen is not None and not self.stepped_back:
            assert event.observed_at >= self.seen
        self.seen, self.stepped_back = event.observed_at, False
        match event:
            case StateChanged():
                self._state_changed(event)
            case BreakStarted() | BreakEnded():
                assert self.state in (ACTIVE, TIMEOUT)
                assert self.on_break is isinstance(event, BreakEnded)
                self.on_break = isinstance(event, BreakStarted)
                self._once(event.session, (type(event), event.scheduled_at))
                self._lateness(event)
            case RollStarted():
                attempt = 1 if self.rolling is None else self.rolling[2] + 1
                assert (self.state, event.session, event.attempt) == (ENDED, self.session, attempt)
                if self.rolling is not None:
                    assert event.next_session == self.rolling[1]
                self.rolling = (event.session, event.next_session, event.attempt)
                self.may_adopt = False
            case RollFailed():
                assert (event.session, event.next_session, event.attempt) == self.rolling
                assert event.error is not None
            case RollSucceeded():
                assert (event.session, event.next_session, event.attempt) == self.rolling
                assert event.session < event.next_session
                between = (day for day in self.dates if event.session < day < event.next_session)
                assert event.skipped == tuple(between)
            case SessionAdopted():
                assert self.may_adopt
                assert (self.state, event.session) == (ENDED, self.session)
                self.adopted = event.next_session
            case ClockStepped():
                assert abs(event.delta) >= SECOND
            case HorizonNear():
                self._once(event.session or MONDAY, HorizonNear)
            case UnexpectedData():
                assert event.session in self.dates
                assert event.session != self.unexpected
                self.unexpected = event.session

    def _state_changed(self, event: StateChanged) -> None:
        assert f"{event.source.name} {event.trigger} {event.dest.name}" in self.LEGAL
        assert event.source is self.state
        self._lateness(event)
        match event.trigger:
            case "roll" if self.adopted is not None:
                assert event.session == self.adopted
                self.adopted = None
            case "roll":
                assert self.rolling is not None
                assert (self.session, event.session) == self.rolling[:2]
                self.rolling = None
            case "recover":
                for key in list(self.passed):  # a recovery walks its session again
                    if key[0] == event.session and key[1] is not HorizonNear:
                        del self.passed[key]
            case "data_timeout":
                assert not self.on_break
            case "start_pre_market" | "open_market" | "close_market" | "end_session":
                self._once(event.session, event.trigger)
        if event.trigger != "roll":
            assert self.session in (None, event.session)
        if event.dest in (POST_MARKET, ERROR):
            self.on_break = False
        if event.dest is ERROR:
            self.rolling = None
        self.state, self.session = event.dest, event.session

    def _once(self, session: date, what: object) -> None:
        self.passed[session, what] += 1
        assert self.passed[session, what] == 1

    def _lateness(self, event: StateChanged | BreakStarted | BreakEnded) -> None:
        assert event.lateness == event.observed_at - event.scheduled_at >= ZERO
        assert event.lateness > ZERO or not event.catch_up


def told(event: Event) -> Said | None:  # noqa: PLR0911 -- one for each kind of event
    """Put an event in the model's words; None for one that the model knows nothing of."""
    match event:
        case StateChanged(source, dest, trigger, session, due, seen, late, _):
            return "state", source, dest, trigger, session, due, seen, late
        case BreakStarted(session, due, seen, late):
            return "break starts", session, due, seen, late
        case BreakEnded(session, due, seen, late):
            return "break ends", session, due, seen, late
        case RollStarted(ended, target, attempt, False, seen):
            return "started", ended, target, attempt, seen
        case RollSucceeded(ended, target, attempt, False, skipped, overrun, seen, lasted):
            return "succeeded", ended, target, attempt, skipped, overrun, seen, lasted
        case RollFailed(ended, target, attempt, False, error, retry_at, seen, lasted):
            name = "RuntimeError" if isinstance(error, ExceptionGroup) else type(error).__name__
            return "failed", ended, target, attempt, name, retry_at, seen, lasted
        case ClockStepped(delta, session, seen):
            return "stepped", delta, session, seen
        case UnexpectedData(session, feed, seen):
            return "unexpected", session, feed, seen
        case SessionAdopted(ended, target, seen):
            return "adopted", ended, target, seen
        case HorizonNear():
            return None
    raise AssertionError(event)


class Bench:
    """A manager in simulated time beside its model. `do` acts on both, and compares them in everything."""

    def __init__(self, world: World, tasks: anyio.abc.TaskGroup) -> None:
        self.world, self.tasks = world, tasks
        self.model = Model(world)
        self.clock = SimulatedClock(world.start)
        self.plan, self.planned = self.model.plan, 0
        self.completed: list[date] = []
        self.log: list[Event] = []
        self.compared = self.begun = 0

    @property
    def manager(self) -> SessionBoundaryManager:
        return self.run.manager

    async def roll(self, day: date) -> None:
        """Be the application's roll."""
        what = self.plan[self.planned % len(self.plan)]
        self.planned += 1
        match what.kind:
            case "returns" if not what.after:
                return
            case "returns":
                await self.clock.sleep(what.after)
            case "raises":
                await self.clock.sleep(what.after)
                error = RuntimeError(f"no roll to {day}")
                raise error if what.after else ExceptionGroup("at once", [error])
            case "hangs":
                await anyio.Event().wait()
            case "yields":
                try:
                    await anyio.Event().wait()
                except anyio.get_cancelled_exc_class():
                    return
            case "shields":
                with anyio.CancelScope(shield=True):
                    await self.clock.sleep(what.after)
            case "foreign":
                other = asyncio.ensure_future(asyncio.Event().wait())
                other.cancel()
                await other

    # Beginning and leaving.

    async def start(self, session: date | None) -> None:
        """Have a new manager begin, at `session` where one is given."""
        dates = [each.date for each in self.world.sessions]
        known = self.model.start(None if session is None else dates.index(session))
        run = await self._begin(session)
        if not known:
            # Where nothing is known about the present, it says so and does not begin.
            assert run.refused == "ScheduleExhausted"
            await run.gone.wait()
            back = self.world.start - self.clock.now()
            self.clock.step(back)
            self.model.wall += back
            assert self.model.start(None if session is None else dates.index(session))
            run = await self._begin(session)
        self.run, self.ledger = run, Ledger(dates)
        assert run.refused is None
        before = (self.model.state, self.model.date)
        await self.settle()
        # A roll that is owed may have been awaited by then; nothing else may be open.
        assert run.entered == before or before[0] is ENDED
        self.compare()

    async def _begin(self, session: date | None) -> Run:
        schedule = FixedSchedule(self.world.sessions)
        manager = SessionBoundaryManager(
            schedule, self.roll, session=session, config=self.world.config, clock=self.clock
        )
        run, self.begun = Run(manager), len(self.log)
        self.tasks.start_soon(self._listen, manager.events())
        self.tasks.start_soon(self._host, run)
        await run.up.wait()
        return run

    async def _listen(self, events: Any) -> None:
        async for event in events:
            self.log.append(event)

    async def _host(self, run: Run) -> None:
        try:
            with run.scope:
                async with run.manager:
                    run.entered = (run.manager.state, run.manager.session.date)
                    run.up.set()
                    await run.leave.wait()
                    if run.crashing:
                        raise Crash  # noqa: TRY301 -- out of the body of `async with`, which is the point
        except Crash:
            pass
        except LifecycleError as error:
            run.refused = type(error).__name__
        finally:
            run.up.set()
            run.gone.set()

    async def _leave(self, how: str) -> None:
        run = self.run
        if how == "stop":
            run.manager.stop()
        if how == "cancel":
            run.scope.cancel()
        run.crashing = how == "raise"
        run.leave.set()
        with anyio.move_on_after(5):  # simulated time passes by itself while a manager leaves, so this is ample
            await run.gone.wait()
        assert run.gone.is_set(), "it leaves without anybody's advance"

    async def close(self) -> None:
        """Leave nothing behind, whatever has gone wrong."""
        with self.clock.jumping():
            self.run.scope.cancel()
            await self.run.gone.wait()
        self.tasks.cancel_scope.cancel()

    # Acting.

    async def settle(self) -> None:
        self.model.settle()
        await self.clock.advance(ZERO)

    async def do(self, op: Op) -> None:
        """Act on the manager and on its model alike, and compare them."""
        match op:
            case Advance(by):
                delta = by if isinstance(by, timedelta) else self._up_to(by)
                self.model.advance(delta)
                await self.clock.advance(delta)
            case Step(by, call):
                delta = by if isinstance(by, timedelta) else self._onto(by)
                self.ledger.stepped_back |= delta < ZERO
                self.model.wall += delta
                self.clock.step(delta)
                if call is not None:
                    await self._act(call)
                await self.settle()
            case Data() | Call():
                await self._act(op)
                await self.settle()
            case Plan(attempts):
                if self.model.begun is None:
                    self.plan = self.model.plan = attempts
                    self.planned = self.model.planned = 0
            case Restart(how):
                await self._restart(how)
        self.compare()

    def _up_to(self, near: Near) -> timedelta:
        """Return how long it is to one of the next instants that matter."""
        model = self.model
        choice = {"silence": model.silences, "roll": model.turns}.get(near.to, [])
        if not choice:
            script = [model.mono + (due - model.wall) for script in model.scripts for due, _ in script]
            choice = sorted({instant for instant in script if instant > model.mono})[:4]
        if not choice:
            return HOUR
        return max(choice[near.number % len(choice)] - model.mono + near.off * MICROSECOND, ZERO)

    def _onto(self, near: Near) -> timedelta:
        """Return how far it is, either way, to one of the boundaries nearest to the present."""
        model = self.model
        instants = sorted({due for script in model.scripts for due, _ in script}, key=lambda due: abs(due - model.wall))
        return instants[near.number % len(instants)] - model.wall + near.off * MICROSECOND

    async def _act(self, op: Data | Call) -> None:
        match op:
            case Data(age):
                was_quiet = self.model.state is TIMEOUT
                self.model.record_data(age)
                self.manager.record_data_received(None if age is None else self.clock.now() - age)
                if was_quiet:  # fresh data has ended that before the call returns
                    assert self.manager.state is self.model.state
            case Call(name):
                expected = self.model.call(name)
                assert await self._call(name) == expected
                if expected is None and name in ("fail", "end_session"):
                    assert self.manager.state is self.model.state

    async def _call(self, name: str) -> str | None:
        """Make the call, and return the name of the error that it raises."""
        manager = self.manager
        try:
            match name:
                case "fail":
                    manager.fail("told to")
                case "end_session":
                    await manager.end_session("told to")
                case "recover":
                    await manager.recover()
                case "naive":
                    manager.record_data_received(datetime(2024, 3, 4, 12))  # noqa: DTZ001 -- which is the point
                case _:
                    outcome = Outcome()
                    self.tasks.start_soon(self._roll_by_hand, outcome)
                    await self.clock.advance(ZERO)
                    if outcome.name == "RollNotOwedError":
                        return outcome.name
                    self.run.by_hand = outcome
        except LifecycleError as error:
            return type(error).__name__
        return None

    async def _roll_by_hand(self, outcome: Outcome) -> None:
        try:
            outcome.name = type(await self.manager.roll()).__name__
        except LifecycleError as error:
            outcome.name = type(error).__name__

    async def _restart(self, how: str) -> None:
        model = self.model
        if how in ("stop", "return") and not model.never_ends:
            model.stop()
        else:
            how = "raise" if how == "return" else "cancel" if how == "stop" else how
            model.crash()
        await self._leave(how)
        await anyio.lowlevel.checkpoint()
        await self.clock.advance(ZERO)
        self.compare()
        await self.start(self.manager.session.date)

    # Comparing.

    def compare(self) -> None:
        """Hold the manager against the model in everything that it says."""
        model, manager = self.model, self.manager
        if self.compared < len(self.log):
            assert_legal(self.log[self.begun :])
        for event in self.log[self.compared :]:
            self.ledger.take(event)
            if isinstance(event, RollSucceeded):  # over all restarts, the application's days only ever go up
                assert not self.completed or self.completed[-1] <= event.session < event.next_session
                self.completed.append(event.next_session)
        said = [words for event in self.log[self.compared :] if (words := told(event)) is not None]
        assert [_as_far_as_known(*pair) for pair in zip(said, model.said, strict=False)] == model.said[: len(said)]
        assert len(said) == len(model.said), "\n".join(["", *map(repr, said), "--", *map(repr, model.said)])
        self.compared = len(self.log)
        model.said.clear()

        assert (self.clock.now(), self.clock.monotonic()) == (model.wall, model.mono.total_seconds())
        owner, scheduled, until = model.by_the_clock
        assert (manager.state, manager.session) == (model.state, self.world.sessions[model.i])
        assert (manager.scheduled_state, manager.next_boundary) == (scheduled, until)
        assert manager.on_break is (model.in_market and model.on_break)
        assert manager.can_trade is (model.state is ACTIVE and not model.on_break and model.has_first_tick)
        assert self.planned == model.planned
        by_hand = None if self.run.by_hand is None else self.run.by_hand.name
        assert by_hand == model.by_hand
        status = manager.status()
        assert (status.state, status.session, status.roll_owed) == (model.state, model.date, model.owed)
        assert owner >= 0
        # For each message nothing is done but to note it, unless it can matter by itself.
        assert manager._progress.clock_state.inspect_all is (model.state is TIMEOUT or model.wary_of is not None)


def _as_far_as_known(said: Said, expected: Said) -> Said:
    """Leave out of what was said whether it was catching up, where the model does not know."""
    knows = said[0] == expected[0] and expected[-1] is None
    return (*said[:-1], None) if knows else said


# ---- the tests ----


@pytest.fixture(scope="module", autouse=True)
def _staleness() -> Iterator[None]:
    """Have nothing logged: a log of thousands of lives takes longer than the lives do."""
    logger = logging.getLogger("session_lifecycle")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


# An example is a life, with an event loop of its own: how long it takes says nothing about it.
SHORT = settings(derandomize=True, database=None, deadline=None)
# Whoever runs it by hand looks where nobody has looked yet. Where CI is set, Hypothesis draws the same for the same
# code, because the verdict of a gate must not depend on luck.
LONG = settings(database=None, deadline=None, print_blob=True)
pauses = st.sampled_from([ZERO, 10 * SECOND])
meddling = st.builds(Call, st.sampled_from(["fail", "fail", "recover", "roll", "end_session"])) | restarts


class Life(RuleBasedStateMachine):
    """A manager's life on asyncio: one event loop, which runs only while a rule does."""

    @initialize(world=worlds())
    def begin(self, world: World) -> None:
        self.runner = asyncio.Runner()
        self.runner.run(self._begin(world))

    async def _begin(self, world: World) -> None:
        up = asyncio.Event()

        async def hold() -> None:
            async with anyio.create_task_group() as tasks:
                self.bench = Bench(world, tasks)
                up.set()
                await anyio.Event().wait()

        self.holder = asyncio.create_task(hold())
        await up.wait()
        await self.bench.start(world.session)

    def do(self, op: Op) -> None:
        self.runner.run(self.bench.do(op))
        assert not self.holder.done()

    @rule(op=advances)
    def time_passes(self, op: Advance) -> None:
        self.do(op)

    @rule(op=st.builds(Advance, nears), then=data | calls)
    def something_happens_near_a_deadline(self, op: Advance, then: Data | Call) -> None:
        self.do(op)
        self.do(then)

    @precondition(lambda self: self.bench.model.state not in (ENDED, ERROR))
    @rule(before=st.lists(data, max_size=2), off=late, then=data, pauses=st.tuples(pauses, pauses), again=st.booleans())
    def data_arrives_late(
        self, before: list[Data], off: int, then: Data, pauses: tuple[timedelta, timedelta], again: bool
    ) -> None:
        for _ in range(3):
            if not self.bench.model.silences:  # go on to where data is expected, if that is not far
                self.do(Advance(Near("anything", 0, 0)))
        silence = Advance(Near("silence", 0, off))
        ops: list[Op] = [Advance(pauses[0]), *before, silence, Advance(pauses[1]), then, *[silence] * again]
        for op in ops:
            self.do(op)

    @precondition(lambda self: self.bench.model.state in (ACTIVE, TIMEOUT, POST_MARKET, ENDED))
    @rule(op=meddling, number=st.integers(0, 1), off=late)
    def somebody_meddles_with_a_roll(self, op: Call | Restart, number: int, off: int) -> None:
        if self.bench.model.state is not ENDED:
            self.do(Call("end_session"))
        self.do(op)
        self.do(Advance(Near("roll", number, off)))

    @precondition(lambda self: self.bench.model.failed)
    @rule()
    def somebody_mends_it(self) -> None:
        self.do(Call("recover"))

    @rule(op=clock_steps)
    def the_clock_steps(self, op: Step) -> None:
        self.do(op)

    @rule(op=data)
    def data_arrives(self, op: Data) -> None:
        self.do(op)

    @precondition(lambda self: self.bench.model.closed_before is not None)
    @rule(off=st.sampled_from([0, 0, -1, 1]), then=data, step=clock_steps | st.none())
    def data_arrives_that_is_as_old_as_the_close(self, off: int, then: Data, step: Step | None) -> None:
        if step is not None:  # so that nobody has had a look at where the clock is
            self.do(replace(step, call=then))
        model = self.bench.model
        age = model.wall - model.last_edge
        if age < 30 * DAY:
            self.do(Data(age + off * MICROSECOND))
        self.do(then)

    @rule(op=calls)
    def somebody_calls(self, op: Call) -> None:
        self.do(op)

    @rule(op=st.builds(Plan, attempts(asyncios)) | restarts)
    def it_starts_again_or_rolls_go_otherwise(self, op: Plan | Restart) -> None:
        self.do(op)

    def teardown(self) -> None:
        if hasattr(self, "holder"):
            with self.runner:
                self.runner.run(self.bench.close())


@pytest.mark.timeout(600)  # where it fails, most of the time goes into finding a short way to fail
def test_a_manager_does_what_the_model_says() -> None:
    """Whatever happens, in whatever order, a manager says and is what the rules in words imply."""
    run_state_machine_as_test(Life, settings=settings(SHORT, max_examples=40, stateful_step_count=30))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_manager_does_what_the_model_says_at_length() -> None:
    """The same holds for many more and longer lives, new ones on each run by hand."""
    run_state_machine_as_test(Life, settings=settings(LONG, max_examples=1600, stateful_step_count=50))


async def live(world: World, ops: list[Op]) -> str:
    """Return all events of a life."""
    async with anyio.create_task_group() as tasks:
        bench = Bench(world, tasks)
        try:
            await bench.start(world.session)
            for op in ops:
                await bench.do(op)
        finally:
            await bench.close()
    return "\n".join(map(repr, bench.log))


TO_SILENCE = Advance(Near("silence", 0, 0))
TO_FIRST_ROLL: tuple[Op, ...] = (Advance(90 * MINUTE + SECOND),)  # a second into it
PATIENT = LifecycleConfig(data_timeout=4 * MINUTE, roll_timeout=20 * MINUTE)
IMPATIENT = msgspec.structs.replace(PATIENT, error_after_timeout=10 * MINUTE)
LIVES: dict[str, tuple[Roll, tuple[Op, ...]]] = {
    "data that is not quite stale ends the silence": (
        Roll("returns"),
        (TO_SILENCE, Advance(10 * SECOND), Data(230 * SECOND), TO_SILENCE, Advance(HOUR)),
    ),
    "data is just too old, and then just not": (
        Roll("returns"),
        (TO_SILENCE, Data(4 * MINUTE), Data(4 * MINUTE - MICROSECOND), TO_SILENCE),
    ),
    "the silence has lasted too long at a break's start, and at the close": (
        Roll("returns"),
        (Advance(16 * MINUTE), Data(None), Advance(40 * MINUTE), Data(None), Advance(HOUR)),
    ),
    "data comes out of order": (
        Roll("returns"),
        (Advance(MINUTE), Data(None), Data(30 * SECOND), TO_SILENCE),
    ),
    "data comes while the venue is closed": (
        Roll("returns"),
        (Advance(2 * HOUR), Data(None), Data(ZERO), Advance(DAY), Data(-HOUR), Restart("return"), Data(None)),
    ),
    "data of before the close comes while the venue is closed": (
        Roll("returns"),
        (
            Advance(90 * MINUTE),
            Data(MICROSECOND),
            Data(ZERO),
            Data(None),
            Advance(DAY),
            Advance(SECOND),
            Data(HOUR),
            Data(SECOND + MICROSECOND),
            Data(SECOND),
            Data(None),
        ),
    ),
    "data comes before the open and after the close": (
        Roll("returns"),
        (Advance(70 * MINUTE), Data(None), Advance(19 * HOUR), Data(None), Advance(4 * HOUR), Data(None)),
    ),
    "data comes before anybody has seen that the venue has opened": (
        Roll("returns"),
        (Advance(2 * HOUR), Step(22 * HOUR + 30 * MINUTE, Data(None)), Advance(2 * HOUR), Data(None)),
    ),
    "data comes before anybody has seen that it is another day": (
        Roll("returns"),
        (Advance(2 * HOUR), Step(DAY, Data(2 * HOUR)), Step(DAY, Data(None)), Step(MINUTE, Data(None)), Advance(DAY)),
    ),
    "data comes before anybody has seen that the venue has closed": (
        Roll("returns"),
        (Step(2 * HOUR, Data(None)), Data(None), Step(DAY, Data(None)), Step(-DAY, Data(None)), Advance(HOUR)),
    ),
    "data comes while the venue is closed, in ERROR and while a roll is owed": (
        Roll("raises", 10 * MINUTE),
        (Call("fail"), Advance(2 * HOUR), Data(None), Call("recover"), Advance(DAY), Data(None), Advance(DAY)),
    ),
    "data comes once nothing is known any more": (
        Roll("returns"),
        (
            Advance(4 * DAY + 90 * MINUTE - MICROSECOND),
            Data(None),
            Advance(MICROSECOND),
            Data(MICROSECOND),
            Data(ZERO),
            Advance(DAY),
            Data(None),
        ),
    ),
    "a silence outlasts a break, which does not count": (
        Roll("returns"),
        (Advance(13 * MINUTE), Data(None), Advance(HOUR), Call("recover"), Advance(HOUR)),
    ),
    "data comes on a break": (
        Roll("returns"),
        (Advance(13 * MINUTE), Data(None), Advance(10 * MINUTE), Data(None), Advance(HOUR)),
    ),
    "a failure is told of during an attempt that fails": (
        Roll("raises", 10 * MINUTE),
        (*TO_FIRST_ROLL, Call("fail"), Advance(HOUR), Call("recover"), Advance(HOUR)),
    ),
    "a failure is told of during an attempt that succeeds": (
        Roll("returns", 10 * MINUTE),
        (*TO_FIRST_ROLL, Call("fail"), Advance(HOUR), Call("recover"), Advance(DAY)),
    ),
    "it stops during an attempt that fails": (Roll("raises", MINUTE), (*TO_FIRST_ROLL, Restart("stop"))),
    "it stops during an attempt that hangs": (Roll("hangs"), (*TO_FIRST_ROLL, Restart("return"), Advance(DAY))),
    "it breaks down during an attempt that hangs": (Roll("hangs"), (*TO_FIRST_ROLL, Restart("raise"))),
    "it breaks down during an attempt that returns then": (Roll("yields"), (*TO_FIRST_ROLL, Restart("raise"))),
    "it breaks down during an attempt that is shielded": (Roll("shields", HOUR), (*TO_FIRST_ROLL, Restart("cancel"))),
    "the clock steps over two sessions during a roll": (
        Roll("returns", MINUTE),
        (*TO_FIRST_ROLL, Step(2 * DAY), Advance(HOUR), Step(-DAY), Advance(DAY), Advance(DAY)),
    ),
}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("missed", MissedSessions)
@pytest.mark.parametrize("config", [PATIENT, IMPATIENT], ids=["patient", "impatient"])
@pytest.mark.parametrize("name", LIVES)
def test_what_chance_seldom_finds(name: str, config: LifecycleConfig, missed: MissedSessions, backend: str) -> None:
    """The model is right about happenings that take several coincidences, too."""
    roll, ops = LIVES[name]
    world = World(WEEK, msgspec.structs.replace(config, missed_sessions=missed), WEEK[0].open, None, (roll,))
    anyio.run(live, world, list(ops), backend=backend)


def hold_reproducible(world: World, ops: list[Op]) -> None:
    lives = [anyio.run(live, world, ops, backend=backend) for backend in ("asyncio", "trio") * 2]
    assert lives == lives[:1] * 4


whole_lives = st.lists(
    st.one_of(advances, advances, clock_steps, data, calls, plans, restarts), min_size=5, max_size=20
)


@pytest.mark.timeout(600)
@settings(SHORT, max_examples=30)
@given(world=worlds(), ops=whole_lives)
def test_a_life_can_be_lived_again(world: World, ops: list[Op]) -> None:
    """The same happenings give the same events, to the byte, on asyncio and on trio, at every run."""
    hold_reproducible(world, ops)


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(LONG, max_examples=300)
@given(world=worlds(), ops=whole_lives)
def test_many_lives_can_be_lived_again(world: World, ops: list[Op]) -> None:
    """The same holds for ten times as many lives, new ones on each run by hand."""
    hold_reproducible(world, ops)
