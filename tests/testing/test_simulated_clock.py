"""Simulated time: everything due happens, in order, at its exact microsecond, on every kind of event loop."""

import math
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_lifecycle._model.clock import Clock, read
from session_lifecycle._model.errors import (
    ConcurrentAdvanceError,
    NaiveDatetimeError,
    NegativeAdvanceError,
    ReentrancyError,
)
from session_lifecycle._runtime.callbacks import CallbackScope
from session_lifecycle.testing import SimulatedClock
from tests.helpers.sleepers import DAY, HOUR, MICROSECOND, SECOND, T0, ZERO, Log, names, sleeper, until

pytestmark = pytest.mark.anyio

NAIVE = datetime(2026, 1, 5, 14, 30)  # noqa: DTZ001 -- what is refused


# ---- the two clocks ----


async def test_it_is_a_clock(clock: SimulatedClock) -> None:
    """SimulatedClock fulfils the port, for the type checker and at run time."""
    port: Clock = clock
    assert isinstance(port, Clock)


async def test_it_starts_where_it_is_told_and_monotonic_at_zero() -> None:
    """The start may be in any zone; now() is in UTC, and monotonic() counts from 0.0."""
    clock = SimulatedClock(T0.astimezone(timezone(-5 * HOUR)))
    assert (clock.now(), clock.now().tzinfo, clock.monotonic()) == (T0, UTC, 0.0)
    assert isinstance(clock.monotonic(), float)


async def test_time_does_not_pass_by_itself(clock: SimulatedClock) -> None:
    """However long the real clock runs."""
    await anyio.sleep(0.002)
    assert (clock.now(), clock.monotonic()) == (T0, 0.0)


async def test_both_times_pass_exactly(clock: SimulatedClock) -> None:
    """After k microseconds monotonic() is k / 1e6, and a reading of it is exact."""
    elapsed = ZERO
    for delta in (MICROSECOND, SECOND / 10, SECOND / 5, 3 * DAY + 7 * MICROSECOND, 10_000 * DAY):
        elapsed += delta
        await clock.advance(delta)
        assert clock.now() == T0 + elapsed
        assert clock.monotonic() == elapsed // MICROSECOND / 1e6
        assert read(clock).monotonic == elapsed


async def test_repr_tells_the_time(clock: SimulatedClock) -> None:
    """A failing test shows where its clock stands."""
    await clock.advance(90 * SECOND)
    assert repr(clock) == "<SimulatedClock 2026-01-05T14:31:30+00:00, 90.000000 s after its start>"


# ---- sleeping and advancing ----


async def test_deadlines_happen_in_order_each_at_its_own_instant(clock: SimulatedClock, log: Log) -> None:
    """One advance over many deadlines meets each of them exactly, by time and not by registration."""
    async with anyio.create_task_group() as tg:
        for hours in (3, 1, 2, 5):
            tg.start_soon(sleeper, clock, log, hours, hours * HOUR)
        await clock.advance(4 * HOUR)
        assert log == [(hours, T0 + hours * HOUR, hours * 3600.0) for hours in (1, 2, 3)]
        assert clock.now() == T0 + 4 * HOUR
        await clock.advance(HOUR)
        assert log[3:] == [(5, T0 + 5 * HOUR, 5 * 3600.0)]


async def test_equal_deadlines_happen_in_the_order_of_registration(clock: SimulatedClock, log: Log) -> None:
    """On trio too, which runs a batch of woken tasks in an order of its own."""
    async with anyio.create_task_group() as tg:
        for name in range(20):
            if name % 2:
                tg.start_soon(sleeper, clock, log, name, HOUR)
            else:
                tg.start_soon(until, clock, log, name, T0 + HOUR, None)
            await clock.advance(ZERO)
        await clock.advance(HOUR)
    assert names(log) == list(range(20))


async def test_each_sleeper_has_finished_before_the_next_is_woken(clock: SimulatedClock, log: Log) -> None:
    """What follows from one wake-up happens before the next, even at one and the same instant."""

    async def two_steps(name: str) -> None:
        await sleeper(clock, log, name, HOUR)
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        log.append((name + " after", clock.now(), clock.monotonic()))

    async with anyio.create_task_group() as tg:
        for name in "ab":
            tg.start_soon(two_steps, name)
            await clock.advance(ZERO)
        await clock.advance(HOUR)
    assert names(log) == ["a", "a after", "b", "b after"]


async def test_deadlines_registered_on_the_way_count(clock: SimulatedClock, log: Log) -> None:
    """A loop that sleeps again and again gets every one of its turns from a single advance."""

    async def ticker() -> None:
        while True:
            await sleeper(clock, log, "tick", 10 * SECOND)

    async with anyio.create_task_group() as tg:
        tg.start_soon(ticker)
        tg.start_soon(sleeper, clock, log, "once", 25 * SECOND)
        await clock.advance(timedelta(minutes=1))
        tg.cancel_scope.cancel()
    assert [(name, seconds) for name, _, seconds in log] == [
        ("tick", 10.0),
        ("tick", 20.0),
        ("once", 25.0),
        ("tick", 30.0),
        ("tick", 40.0),
        ("tick", 50.0),
        ("tick", 60.0),
    ]


async def test_a_task_started_just_before_is_seen(clock: SimulatedClock, log: Log) -> None:
    """An advance settles before the first instant, so what was only just started sleeps from now on."""
    async with anyio.create_task_group() as tg:
        tg.start_soon(sleeper, clock, log, "new", HOUR)
        await clock.advance(HOUR)
        assert log == [("new", T0 + HOUR, 3600.0)]


async def test_what_happens_at_the_end_has_happened_on_return(clock: SimulatedClock) -> None:
    """An advance settles at its last instant, whether a deadline lies there or not."""
    done: list[datetime] = []

    async def worker() -> None:
        await clock.sleep(HOUR)
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        done.append(clock.now())

    async with anyio.create_task_group() as tg:
        tg.start_soon(worker)
        await clock.advance(HOUR)
        assert done == [T0 + HOUR]


async def test_advancing_by_nothing_settles(clock: SimulatedClock) -> None:
    """advance(0) lets everything happen that can happen now."""
    done: list[str] = []

    async def worker() -> None:
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        done.append("worker")

    async with anyio.create_task_group() as tg:
        tg.start_soon(worker)
        await clock.advance(ZERO)
        assert done == ["worker"]
        assert (clock.now(), clock.monotonic()) == (T0, 0.0)


async def test_advance_to_reaches_the_instant_exactly(clock: SimulatedClock, log: Log) -> None:
    """The instant may be in any zone, and may be now."""
    async with anyio.create_task_group() as tg:
        tg.start_soon(until, clock, log, "open", T0 + HOUR, None)
        await clock.advance_to((T0 + HOUR).astimezone(timezone(9 * HOUR)))
        assert log == [("open", T0 + HOUR, 3600.0)]
        await clock.advance_to(T0 + HOUR)
        assert clock.now() == T0 + HOUR


async def test_the_earlier_of_two_deadlines_counts(clock: SimulatedClock, log: Log) -> None:
    """Wall and monotonic deadlines are held against each other."""
    async with anyio.create_task_group() as tg:
        tg.start_soon(until, clock, log, "wall", T0 + SECOND, 3600.0)
        tg.start_soon(until, clock, log, "monotonic", T0 + HOUR, 2.0)
        tg.start_soon(until, clock, log, "no monotonic", T0 + 3 * SECOND, math.inf)
        await clock.advance(DAY)
    assert [(name, seconds) for name, _, seconds in log] == [("wall", 1.0), ("monotonic", 2.0), ("no monotonic", 3.0)]


@pytest.mark.parametrize("deadline", [(T0, None), (None, 0.0), (T0 - DAY, 5.0), (T0 + DAY, -1.0), (T0, 0.0)])
async def test_what_is_due_already_is_a_checkpoint(
    clock: SimulatedClock, deadline: tuple[datetime | None, float | None]
) -> None:
    """It returns at once, without an advance, but is a checkpoint for cancellation."""
    await clock.sleep_until(*deadline)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await clock.sleep_until(*deadline)
    assert scope.cancelled_caught


@pytest.mark.parametrize("delta", [ZERO, -MICROSECOND, -DAY])
async def test_a_sleep_of_nothing_or_less_is_a_checkpoint(clock: SimulatedClock, delta: timedelta) -> None:
    """As with the real clock."""
    await clock.sleep(delta)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await clock.sleep(delta)
    assert scope.cancelled_caught


async def test_without_a_deadline_it_waits_for_cancellation(clock: SimulatedClock, log: Log) -> None:
    """No advance wakes it."""
    async with anyio.create_task_group() as tg:
        tg.start_soon(until, clock, log, "never", None, None)
        tg.start_soon(until, clock, log, "infinity", None, math.inf)
        await clock.advance(100_000 * DAY)
        assert log == []
        tg.cancel_scope.cancel()
    assert log == []


@pytest.mark.parametrize(("seconds", "microseconds"), [(0.1 + 0.2, 300_001), (0.3, 300_000), (1e-9, 1), (2.5e-6, 3)])
async def test_a_monotonic_deadline_between_microseconds_is_rounded_up(
    clock: SimulatedClock, log: Log, seconds: float, microseconds: int
) -> None:
    """Never early by a hair: 0.1 + 0.2 lies above 300,000 µs, 0.3 does not."""
    async with anyio.create_task_group() as tg:
        tg.start_soon(until, clock, log, "it", None, seconds)
        await clock.advance((microseconds - 1) * MICROSECOND)
        assert log == []
        await clock.advance(MICROSECOND)
        assert log == [("it", T0 + microseconds * MICROSECOND, microseconds / 1e6)]


@settings(max_examples=25, deadline=None)
@given(
    deadlines=st.lists(
        st.one_of(
            st.timedeltas(MICROSECOND, DAY),
            st.floats(1e-6, 86_400.0),
            st.sampled_from([0.1 + 0.2, 0.7 + 0.1, 1.1 + 2.2, SECOND, SECOND, 1.0]),
        ),
        max_size=12,
    ),
    advances=st.lists(st.timedeltas(ZERO, HOUR), max_size=4),
)
async def test_any_deadlines_are_met_exactly_and_in_order(
    deadlines: list[timedelta | float], advances: list[timedelta]
) -> None:
    """However time passes: each at the first microsecond not before its deadline, ties in order of registration."""
    clock = SimulatedClock(T0)
    log: Log = []
    expected: list[tuple[timedelta, int]] = []
    async with anyio.create_task_group() as tg:
        for index, deadline in enumerate(deadlines):
            if isinstance(deadline, timedelta):
                due = deadline
                tg.start_soon(until, clock, log, index, T0 + deadline, None)
            else:
                due = -(-deadline // 1e-6) * MICROSECOND  # about; then looked for exactly
                while (due - MICROSECOND) // MICROSECOND / 1e6 >= deadline:
                    due -= MICROSECOND
                while due // MICROSECOND / 1e6 < deadline:
                    due += MICROSECOND
                tg.start_soon(until, clock, log, index, None, deadline)
            expected.append((due, index))
            await clock.advance(ZERO)
        for delta in (*advances, 2 * DAY):
            await clock.advance(delta)
    expected.sort()
    assert log == [(index, T0 + due, due // MICROSECOND / 1e6) for due, index in expected]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_ten_thousand_deadlines_from_one_advance(backend: str) -> None:
    """A long simulation is a matter of a moment."""
    woken = 0

    async def main() -> None:
        clock = SimulatedClock(T0)

        async def ticker() -> None:
            nonlocal woken
            for _ in range(5_000):
                await clock.sleep(timedelta(minutes=1))
                woken += 1

        async with anyio.create_task_group() as tg:
            tg.start_soon(ticker)
            tg.start_soon(ticker)
            await clock.advance(timedelta(minutes=5_000))

    anyio.run(main, backend=backend)
    assert woken == 10_000


# ---- cancellation ----


async def test_a_cancelled_sleeper_leaves_nothing_behind(clock: SimulatedClock, log: Log) -> None:
    """The others wake as if it had never been there."""
    doomed = anyio.CancelScope()

    async def cancelled() -> None:
        with doomed:
            async with anyio.create_task_group() as group:
                group.start_soon(sleeper, clock, log, "cancelled", HOUR)
                group.start_soon(until, clock, log, "cancelled", None, None)

    async with anyio.create_task_group() as tg:
        tg.start_soon(sleeper, clock, log, "before", HOUR)
        tg.start_soon(cancelled)
        await clock.advance(HOUR / 2)
        tg.start_soon(sleeper, clock, log, "after", HOUR / 2)
        doomed.cancel()
        await clock.advance(HOUR)
    assert names(log) == ["before", "after"]
    assert clock._queue == []  # a leak shows nowhere else


async def test_a_sleeper_that_another_cancels_at_its_own_instant(clock: SimulatedClock, log: Log) -> None:
    """A deadline met first may cancel one due at the same instant."""
    doomed = anyio.CancelScope()

    async def canceller() -> None:
        await clock.sleep(HOUR)
        doomed.cancel()

    async def cancelled() -> None:
        with doomed:
            await sleeper(clock, log, "cancelled", HOUR)

    async with anyio.create_task_group() as tg:
        tg.start_soon(canceller)
        await clock.advance(ZERO)
        tg.start_soon(cancelled)
        await clock.advance(HOUR)
    assert log == []
    assert doomed.cancelled_caught


async def test_a_cancelled_advance_leaves_the_clock_usable(clock: SimulatedClock, log: Log) -> None:
    """It stands at the deadline that it had reached, and the next advance goes on from there."""
    with anyio.CancelScope() as scope:

        async def canceller() -> None:
            await sleeper(clock, log, "canceller", HOUR)
            scope.cancel()

        async with anyio.create_task_group() as tg:
            tg.start_soon(canceller)
            await clock.advance(DAY)
    assert scope.cancelled_caught
    assert (clock.now(), clock.monotonic()) == (T0 + HOUR, 3600.0)
    async with anyio.create_task_group() as tg:
        tg.start_soon(sleeper, clock, log, "again", HOUR)
        await clock.advance(2 * HOUR)
    assert log[1:] == [("again", T0 + 2 * HOUR, 7200.0)]
    assert clock.now() == T0 + 3 * HOUR


# ---- steps ----


@pytest.mark.parametrize("delta", [HOUR, -HOUR, MICROSECOND, ZERO])
async def test_a_step_moves_the_wall_clock_and_passes_no_time(clock: SimulatedClock, delta: timedelta) -> None:
    """Either way, by any amount."""
    await clock.advance(SECOND)
    clock.step(delta)
    assert (clock.now(), clock.monotonic()) == (T0 + SECOND + delta, 1.0)


@pytest.mark.parametrize("delta", [HOUR, -HOUR])
async def test_a_step_wakes_all_sleepers_to_look_again(clock: SimulatedClock, log: Log, delta: timedelta) -> None:
    """Whatever they wait for; a sleep of a duration goes on undisturbed."""
    async with anyio.create_task_group() as tg:
        tg.start_soon(until, clock, log, "wall", T0 + DAY, None)
        tg.start_soon(until, clock, log, "monotonic", None, 86_400.0)
        tg.start_soon(until, clock, log, "none", None, None)
        tg.start_soon(sleeper, clock, log, "sleep", 2 * HOUR)
        await clock.advance(ZERO)
        clock.step(delta)
        await clock.advance(ZERO)
        assert sorted(map(str, names(log))) == ["monotonic", "none", "wall"]
        assert {(wall, monotonic) for _, wall, monotonic in log} == {(T0 + delta, 0.0)}
        await clock.advance(2 * HOUR)
    assert log[3:] == [("sleep", T0 + delta + 2 * HOUR, 7200.0)]


async def test_wall_deadlines_follow_a_step_on_the_way(clock: SimulatedClock, log: Log) -> None:
    """A sleeper that looks again meets its wall deadline by the stepped clock, inside one advance."""

    async def stepper() -> None:
        await clock.sleep(HOUR)
        clock.step(-HOUR)

    async def stubborn() -> None:
        while clock.now() < T0 + 2 * HOUR:
            await clock.sleep_until(T0 + 2 * HOUR, None)
        log.append(("met", clock.now(), clock.monotonic()))

    async with anyio.create_task_group() as tg:
        tg.start_soon(stepper)
        tg.start_soon(stubborn)
        await clock.advance(4 * HOUR)
    assert log == [("met", T0 + 2 * HOUR, 3 * 3600.0)]
    assert clock.now() == T0 + 3 * HOUR


@pytest.mark.parametrize(("delta", "monotonic"), [(-HOUR, 3 * 3600.0), (HOUR / 2, 1.5 * 3600.0), (DAY, 3600.0)])
async def test_advance_to_heeds_a_step_on_the_way(clock: SimulatedClock, delta: timedelta, monotonic: float) -> None:
    """It ends when the wall clock has reached the instant, or has been stepped past it."""

    async def stepper() -> None:
        await clock.sleep(HOUR)
        clock.step(delta)

    async with anyio.create_task_group() as tg:
        tg.start_soon(stepper)
        await clock.advance_to(T0 + 2 * HOUR)
        assert clock.monotonic() == monotonic
        assert clock.now() == max(T0 + 2 * HOUR, T0 + HOUR + delta)


# ---- errors ----


BadCall = Callable[[SimulatedClock], Coroutine[Any, Any, None]]


async def _bad_step(clock: SimulatedClock, delta: Any) -> None:
    clock.step(delta)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda clock: clock.advance(-MICROSECOND), NegativeAdvanceError, r"time cannot pass backwards \(-1e-06 s\)"),
        (lambda clock: clock.advance_to(T0 - HOUR), NegativeAdvanceError, r"time cannot pass backwards \(-3600 s\)"),
        (lambda clock: clock.advance(60), TypeError, r"advance\(\) takes a timedelta, not 60"),
        (lambda clock: clock.advance(timedelta.max), OverflowError, None),
        (lambda clock: clock.advance_to(NAIVE), NaiveDatetimeError, "instant is 2026-01-05T14:30:00"),
        (lambda clock: clock.advance_to("noon"), TypeError, "instant must be an aware datetime"),
        (lambda clock: _bad_step(clock, 60), TypeError, r"step\(\) takes a timedelta, not 60"),
        (lambda clock: _bad_step(clock, timedelta.max), OverflowError, None),
        (lambda clock: _bad_step(clock, timedelta.min), OverflowError, None),
        (lambda clock: clock.sleep_until(NAIVE, None), NaiveDatetimeError, "wall is 2026-01-05T14:30:00"),
        (lambda clock: clock.sleep_until(None, math.nan), ValueError, None),
        (lambda clock: clock.sleep(60), TypeError, r"sleep\(\) takes a timedelta, not 60"),
    ],
)
async def test_bad_input_raises_and_changes_nothing(
    clock: SimulatedClock, log: Log, call: BadCall, error: type[Exception], message: str | None
) -> None:
    """No time passes, nobody wakes, and the clock goes on working."""
    async with anyio.create_task_group() as tg:
        tg.start_soon(until, clock, log, "it", T0 + HOUR, None)
        await clock.advance(ZERO)
        with pytest.raises(error, match=message):
            await call(clock)
        await anyio.wait_all_tasks_blocked()
        assert (clock.now(), clock.monotonic(), log) == (T0, 0.0, [])
        await clock.advance(HOUR)
    assert log == [("it", T0 + HOUR, 3600.0)]


def test_a_naive_start_is_refused() -> None:
    """Which instant it means would be a guess."""
    with pytest.raises(NaiveDatetimeError, match="start is 2026-01-05T14:30:00"):
        SimulatedClock(NAIVE)


async def test_a_second_advance_at_once_is_refused(clock: SimulatedClock) -> None:
    """The first is not disturbed by it."""
    errors: list[Exception] = []

    async def second() -> None:
        await clock.sleep(HOUR)
        for call in (clock.advance(DAY), clock.advance_to(T0 + DAY)):
            with pytest.raises(ConcurrentAdvanceError) as caught:
                await call
            errors.append(caught.value)

    async with anyio.create_task_group() as tg:
        tg.start_soon(second)
        await clock.advance(2 * HOUR)
    assert len(errors) == 2
    assert clock.now() == T0 + 2 * HOUR


async def test_an_advance_from_inside_application_code_is_refused(clock: SimulatedClock) -> None:
    """It would wait for the very code that calls it. Afterwards, and elsewhere, it is allowed."""
    with CallbackScope(object()):
        for call in (clock.advance(HOUR), clock.advance_to(T0 + HOUR)):
            with pytest.raises(ReentrancyError, match=r"SimulatedClock\.advance\(\) was called from inside a roll"):
                await call
    assert (clock.now(), clock.monotonic()) == (T0, 0.0)
    await clock.advance(HOUR)
    assert clock.now() == T0 + HOUR


# ---- the time until something is due ----


async def test_for_how_long_nobody_will_wake_is_told() -> None:
    """Until the next deadline, or the end of an advance; None where there is neither."""
    clock = SimulatedClock(T0)
    told: list[timedelta | None] = [clock.idle_for()]

    async def sleep_on() -> None:
        told.append(clock.idle_for())
        await clock.sleep(timedelta(seconds=1))
        told.append(clock.idle_for())
        await clock.sleep(timedelta(seconds=60))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleep_on)
        await clock.advance(ZERO)
        told.append(clock.idle_for())
        await clock.advance_to(T0 + timedelta(seconds=5))
        told.append(clock.idle_for())
        tasks.cancel_scope.cancel()
    assert told == [None, *(timedelta(seconds=n) for n in (0, 1, 4, 56))]


async def test_the_end_of_an_advance_is_known_from_its_beginning() -> None:
    """Also to a task that has not run before, and after a step that moves it."""
    clock = SimulatedClock(T0)
    told: list[timedelta | None] = []

    async def start() -> None:
        told.append(clock.idle_for())
        clock.step(3 * SECOND)
        told.append(clock.idle_for())
        clock.step(HOUR)
        told.append(clock.idle_for())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(start)
        await clock.advance_to(T0 + 5 * SECOND)
    assert told == [5 * SECOND, 2 * SECOND, ZERO]
    assert clock.idle_for() is None


async def test_who_sleeps_for_ever_will_not_wake() -> None:
    """A deadline at infinity is none."""
    clock = SimulatedClock(T0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.sleep_until, None, math.inf)
        await clock.advance(ZERO)
        assert clock.idle_for() is None
        tasks.cancel_scope.cancel()
