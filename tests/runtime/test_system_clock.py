"""The machine's own clocks. The only tests that wait for real time."""

import random
import time
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from itertools import count, pairwise
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import time_machine

from session_lifecycle._model.clock import Clock
from session_lifecycle._model.errors import ClockFailed, ConfigurationError, NaiveDatetimeError
from session_lifecycle._runtime.system_clock import SystemClock

T0 = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
NAIVE = datetime(2026, 1, 5, 14, 30)  # noqa: DTZ001 -- what is refused
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
TICK = timedelta(milliseconds=1)

wall_clock_alone = pytest.mark.skipif(
    int(version("time-machine").split(".")[0]) < 3, reason="time-machine 2 moves the monotonic clock as well"
)
SLICE = timedelta(milliseconds=10)


class CountingClock(SystemClock):
    """Counts how often it looks at the wall clock."""

    looks = 0

    def now(self) -> datetime:
        self.looks += 1
        return super().now()


class BrokenClock(SystemClock):
    """Cannot be read."""

    def now(self) -> datetime:
        raise OSError("no such clock")


class StagedClock(SystemClock):
    """Its time passes by ten microseconds a reading, and by timers, which fire a millisecond late."""

    reading = timedelta(microseconds=10)
    lateness = TICK
    readings = 0
    elapsed = timedelta(0)

    def __init__(self, *, spin: timedelta) -> None:
        super().__init__(HOUR, spin=spin)
        self.monotonic = lambda: self.elapsed.total_seconds()  # noqa: PLW0108 -- of what `elapsed` is by then

    def now(self) -> datetime:
        self.readings += 1
        self.elapsed += self.reading
        return T0 + self.elapsed

    async def fire_late(self, seconds: float) -> None:
        self.elapsed += timedelta(seconds=seconds) + self.lateness
        await anyio.lowlevel.checkpoint()


class FrozenClock(SystemClock):
    """Stands still, by both clocks, as freezegun makes it do; counts how often it is read."""

    readings = 0

    def __init__(self, *, spin: timedelta) -> None:
        super().__init__(HOUR, spin=spin)
        self.monotonic = lambda: 5.0

    def now(self) -> datetime:
        self.readings += 1
        return T0


def test_the_system_clock_is_a_clock() -> None:
    """SystemClock fulfils the port, for the type checker and at run time."""
    clock: Clock = SystemClock()
    assert isinstance(clock, Clock)


def test_now_is_the_real_time_in_utc() -> None:
    """now() is aware, and between two looks at the machine's own clock."""
    before = datetime.now(UTC)
    now = SystemClock().now()
    assert now.tzinfo is UTC
    assert before <= now <= datetime.now(UTC)


def test_monotonic_is_the_machines_own_function() -> None:
    """The hot path pays for no wrapper around time.monotonic."""
    assert SystemClock().monotonic is time.monotonic


@pytest.mark.parametrize("bad", [timedelta(0), -TICK, 1, 0.5, None, "1 s"])
def test_a_bad_check_interval_is_refused(bad: Any) -> None:
    """The error names the field, the value and the rule."""
    with pytest.raises(ConfigurationError, match=r"check_interval = .* above zero") as caught:
        SystemClock(bad)
    assert (caught.value.field, caught.value.value) == ("check_interval", bad)


@pytest.mark.anyio
async def test_a_wall_deadline_is_met_exactly_and_never_early() -> None:
    """Timers may fire early, on uvloop by a millisecond; a sleep still ends at or after its deadline."""
    clock = SystemClock(SLICE)
    rng = random.Random(7)
    for _ in range(20):
        wall = clock.now() + timedelta(microseconds=rng.randrange(1, 3000))
        await clock.sleep_until(wall, None)
        assert clock.now() >= wall


# ---- the last of the way to a wall instant ----


@pytest.mark.parametrize("bad", [None, 0.002, -TICK, 11 * TICK, "2"])
def test_a_bad_spin_is_refused(bad: Any) -> None:
    """It is a timedelta, from zero to ten milliseconds."""
    with pytest.raises(ConfigurationError, match=r"spin = .* must be a timedelta of zero to 10 ms"):
        SystemClock(spin=bad)


@pytest.mark.anyio
@pytest.mark.parametrize("spin", [2 * TICK, 10 * TICK, TICK * 0])
async def test_the_last_of_a_sleep_to_a_wall_instant_is_spent_looking(
    monkeypatch: pytest.MonkeyPatch, spin: timedelta
) -> None:
    """Again and again, so that it is met within one reading; with a spin of zero a late timer is all there is."""
    clock = StagedClock(spin=spin)
    monkeypatch.setattr(anyio, "sleep", clock.fire_late)
    due = T0 + 8 * TICK
    await clock.sleep_until(due, None)
    late = T0 + clock.elapsed - due
    if spin:
        assert clock.readings > 20
        assert timedelta(0) <= late <= 2 * clock.reading
    else:
        assert clock.readings < 8
        assert late >= clock.lateness


@pytest.mark.anyio
async def test_others_have_their_turns_meanwhile() -> None:
    """Between two looks every other task gets a turn."""
    clock = CountingClock(HOUR, spin=10 * TICK)
    turns = 0
    done = anyio.Event()

    async def other() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        with anyio.fail_after(30):
            while clock.looks < 20:  # a busy machine may let the instant pass between two of them
                clock.looks = turns = 0
                await clock.sleep_until(clock.now() + 5 * TICK, None)
        done.set()
    assert turns > clock.looks / 2


@pytest.mark.anyio
@pytest.mark.parametrize("wall", [None, HOUR])
async def test_a_monotonic_deadline_is_not_worth_it(wall: timedelta | None) -> None:
    """Neither alone nor beside a wall instant that is far away."""
    clock = CountingClock(HOUR)
    looks: list[int] = []
    for _ in range(5):
        clock.looks = 0
        await clock.sleep_until(None if wall is None else clock.now() + wall, clock.monotonic() + 0.006)
        looks.append(clock.looks)
    assert min(looks) < 8  # a timer may fire early


@pytest.mark.anyio
async def test_a_wall_clock_that_stands_still_is_not_looked_at_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `spin`, by the monotonic clock, the sleep goes on by a timer, and does not spin again."""
    clock = StagedClock(spin=2 * TICK)
    in_a_spin = 2 * TICK // clock.reading
    read = clock.now
    readings: list[int] = []

    def stands_still() -> datetime:
        read()
        return T0 if len(readings) < 4 else T0 + TICK

    async def fire_late(seconds: float) -> None:
        readings.append(clock.readings)
        await clock.fire_late(seconds)

    monkeypatch.setattr(clock, "now", stands_still)
    monkeypatch.setattr(anyio, "sleep", fire_late)
    await clock.sleep_until(T0 + TICK, None)
    assert in_a_spin <= readings[0] <= in_a_spin + 5
    assert [later - earlier for earlier, later in pairwise(readings)] == [1, 1, 1]


@pytest.mark.anyio
@pytest.mark.parametrize("spin", [TICK, 2 * TICK])
@pytest.mark.parametrize("deadline", [None, 3600.0])
async def test_a_frozen_monotonic_clock_is_not_read_indefinitely(
    monkeypatch: pytest.MonkeyPatch, spin: timedelta, deadline: float | None
) -> None:
    """The spin ends after so many readings too, where no time passes by the clock that bounds it; then timers sleep."""
    clock = FrozenClock(spin=spin)
    naps: list[float] = []
    readings: list[int] = []
    slept = anyio.Event()
    sleep = anyio.sleep

    async def counted(seconds: float) -> None:
        naps.append(seconds)
        readings.append(clock.readings)
        if len(naps) == 3:
            slept.set()
        await sleep(seconds)

    monkeypatch.setattr("session_lifecycle._runtime.system_clock.anyio.sleep", counted)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(clock.sleep_until, T0 + TICK / 1000, deadline)
            await slept.wait()
            tasks.cancel_scope.cancel()
    assert min(naps) >= 0.001
    assert readings[0] <= spin / TICK * 1000 + 5
    assert readings[2] - readings[0] == 2


@pytest.mark.anyio
async def test_a_monotonic_deadline_ends_the_spin() -> None:
    """The earlier deadline counts during the spin too."""
    clock = FrozenClock(spin=10 * TICK)
    clock.monotonic = (calls / 1000 for calls in count()).__next__  # a millisecond passes with every call
    await clock.sleep_until(T0 + 5 * TICK, 0.008)
    assert 0.008 <= clock.monotonic() <= 0.012


@pytest.mark.anyio
async def test_a_wall_clock_that_goes_back_ends_the_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    """By less than a step it ends no sleep, but a timer waits for the rest."""
    clock = FrozenClock(spin=2 * TICK)
    walls = iter([T0, T0, T0 - SECOND / 2, T0 + TICK])
    monkeypatch.setattr(clock, "now", walls.__next__)
    naps: list[float] = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)

    monkeypatch.setattr("session_lifecycle._runtime.system_clock.anyio.sleep", nap)
    await clock.sleep_until(T0 + TICK, None)
    assert naps == [pytest.approx(0.501)]
    assert next(walls, None) is None


@pytest.mark.anyio
async def test_a_step_back_during_the_spin_ends_the_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step is reported at once, also within the last `spin` before an instant: no timer waits for the rest."""
    clock = FrozenClock(spin=2 * TICK)
    walls = iter([T0, T0, T0, T0 - 2 * SECOND])
    monkeypatch.setattr(clock, "now", walls.__next__)
    naps: list[float] = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)

    monkeypatch.setattr("session_lifecycle._runtime.system_clock.anyio.sleep", nap)
    await clock.sleep_until(T0 + TICK, None)
    assert (naps, next(walls, None)) == ([], None)


@pytest.mark.anyio
async def test_a_cancellation_ends_the_looking_at_once() -> None:
    """A driver that is woken does not wait for the boundary: the clock is not read again after a cancellation."""
    clock = CountingClock(HOUR, spin=10 * TICK)
    finished = False

    async def sleeper() -> None:
        nonlocal finished
        await clock.sleep_until(clock.now() + 9 * TICK, None)
        finished = True

    for _ in range(50):  # on a busy machine the boundary may come before the cancellation
        clock.looks, finished = 0, False
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sleeper)
            while clock.looks < 5 and not finished:
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
            looks = clock.looks
        if not finished:
            break
    assert not finished
    assert clock.looks == looks


@pytest.mark.anyio
async def test_a_monotonic_deadline_is_never_early() -> None:
    """The same for monotonic deadlines, and for sleeps of a duration."""
    clock = SystemClock(SLICE)
    rng = random.Random(7)
    for _ in range(10):
        deadline = clock.monotonic() + rng.random() * 0.003
        await clock.sleep_until(None, deadline)
        assert clock.monotonic() >= deadline
        delta = timedelta(microseconds=rng.randrange(1, 3000))
        before = clock.monotonic()
        await clock.sleep(delta)
        assert clock.monotonic() >= before + delta.total_seconds()


@pytest.mark.anyio
@pytest.mark.parametrize(("wall", "monotonic"), [(HOUR, 0.002), (2 * TICK, 3600.0)])
async def test_the_earlier_deadline_counts(wall: timedelta, monotonic: float) -> None:
    """With two deadlines given, the sleep ends at the first."""
    clock = SystemClock()
    with anyio.fail_after(5):
        await clock.sleep_until(clock.now() + wall, clock.monotonic() + monotonic)


@pytest.mark.anyio
async def test_a_deadline_beyond_many_slices_is_met() -> None:
    """A sleep longer than check_interval goes on slice after slice."""
    clock = CountingClock(TICK)
    for _ in range(50):  # on a busy machine a single slice may take as long
        clock.looks = 0
        deadline = clock.monotonic() + 0.02
        await clock.sleep_until(None, deadline)
        assert clock.monotonic() >= deadline
        if clock.looks > 3:
            break
    assert clock.looks > 3


@pytest.mark.anyio
@pytest.mark.parametrize("wait", ["wall", "monotonic", "negative", "zero"])
async def test_what_is_due_already_is_a_checkpoint(wait: str) -> None:
    """Even then another task gets a turn, and nothing is waited for."""
    clock = SystemClock()
    ran: list[str] = []

    async def other() -> None:
        ran.append("other")

    async with anyio.create_task_group() as tg:
        tg.start_soon(other)
        match wait:
            case "wall":
                await clock.sleep_until(clock.now() - HOUR, None)
            case "monotonic":
                await clock.sleep_until(None, clock.monotonic() - 1)
            case "negative":
                await clock.sleep(-HOUR)
            case _:
                await clock.sleep(timedelta(0))
        ran.append("sleeper")
    assert sorted(ran) == ["other", "sleeper"]


@pytest.mark.anyio
async def test_a_cancelled_scope_cancels_what_is_due_already() -> None:
    """A checkpoint is one for cancellation too."""
    clock = SystemClock()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await clock.sleep_until(clock.now() - HOUR, None)
    assert scope.cancelled_caught


@pytest.mark.anyio
async def test_with_no_deadline_it_waits_for_cancellation() -> None:
    """Both None: nothing but a step or a cancellation ends it."""
    clock = CountingClock(SLICE)
    async with anyio.create_task_group() as tg:
        with anyio.CancelScope() as scope:
            tg.start_soon(cancel_after_looks, clock, scope)
            await clock.sleep_until(None, None)
    assert scope.cancelled_caught


async def cancel_after_looks(clock: CountingClock, scope: anyio.CancelScope) -> None:
    with anyio.fail_after(30):
        while clock.looks < 4:  # noqa: ASYNC110 -- the clock under test tells nobody
            await anyio.sleep(0.005)
    scope.cancel()


@pytest.mark.anyio
async def test_a_naive_wall_instant_is_refused() -> None:
    """Which instant a naive one means is a guess, so none is made."""
    with pytest.raises(NaiveDatetimeError):
        await SystemClock().sleep_until(NAIVE, None)


@pytest.mark.anyio
async def test_seconds_as_a_number_are_refused() -> None:
    """As every other clock and duration of the package refuses them."""
    with pytest.raises(TypeError, match=r"sleep\(\) takes a timedelta, not 60"):
        await SystemClock().sleep(60)


@pytest.fixture
def steps_of_minutes(monkeypatch: pytest.MonkeyPatch) -> timedelta:
    """Take no less than a minute for a step: where the wall clock stands still, a machine that stalls makes others."""
    monkeypatch.setattr("session_lifecycle._model.clock.STEP", MINUTE)
    return MINUTE


@pytest.mark.anyio
@wall_clock_alone
@pytest.mark.usefixtures("steps_of_minutes")
@pytest.mark.parametrize("tick", [True, False])
@pytest.mark.parametrize("step", [2 * HOUR, -HOUR])
@pytest.mark.parametrize("deadline", ["wall", "monotonic", "none"])
async def test_a_step_ends_the_sleep_at_the_next_look(*, tick: bool, step: timedelta, deadline: str) -> None:
    """A step, either way, wakes within one check_interval, whatever the sleep was for."""
    with time_machine.travel(T0, tick=tick) as traveller:
        clock = CountingClock(SLICE)
        wall = T0 + HOUR if deadline == "wall" else None
        monotonic = clock.monotonic() + 3600 if deadline == "monotonic" else None
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tg:
                tg.start_soon(clock.sleep_until, wall, monotonic)
                while clock.looks < 4:  # noqa: ASYNC110 -- the clock under test tells nobody
                    await anyio.sleep(0.005)
                traveller.shift(step)
                looks = clock.looks
        assert clock.looks == looks + 1


@pytest.mark.anyio
@wall_clock_alone
async def test_a_stopped_wall_clock_does_not_stop_a_monotonic_deadline() -> None:
    """The two clocks are waited for independently."""
    with time_machine.travel(T0, tick=False):
        clock = SystemClock(SLICE)
        deadline = clock.monotonic() + 0.025
        await clock.sleep_until(T0 + HOUR, deadline)
        assert clock.monotonic() >= deadline
        assert clock.now() == T0


@pytest.mark.anyio
@wall_clock_alone
async def test_drift_that_is_no_step_ends_no_sleep_but_is_heeded(steps_of_minutes: timedelta) -> None:
    """A wall clock set forward by little is no step, and a deadline that it reaches is met all the same."""
    with time_machine.travel(T0, tick=False) as traveller:
        clock = CountingClock(SLICE)
        done = anyio.Event()

        async def sleeper() -> None:
            await clock.sleep_until(T0 + steps_of_minutes, None)
            done.set()

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tg:
                tg.start_soon(sleeper)
                traveller.shift(steps_of_minutes / 2)
                looks = clock.looks
                while clock.looks < looks + 4:  # noqa: ASYNC110 -- the clock under test tells nobody
                    await anyio.sleep(0.005)
                assert not done.is_set()
                traveller.shift(steps_of_minutes / 2)
        assert clock.now() == T0 + steps_of_minutes


@pytest.mark.anyio
@wall_clock_alone
async def test_a_step_does_not_touch_a_sleep_of_a_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    """sleep() goes by the monotonic clock alone."""
    sleep, naps = anyio.sleep, list[float]()
    with time_machine.travel(T0, tick=True) as traveller:

        async def step_meanwhile(seconds: float) -> None:
            naps.append(seconds)
            traveller.shift(HOUR)
            await sleep(seconds)

        monkeypatch.setattr(anyio, "sleep", step_meanwhile)
        clock = SystemClock(SLICE)
        while not naps:  # a busy machine may let the duration pass before the sleep waits
            before = clock.monotonic()
            await clock.sleep(30 * TICK)
            assert clock.monotonic() >= before + 0.03


@pytest.mark.anyio
async def test_a_clock_that_fails_ends_the_sleep_with_clock_failed() -> None:
    """A sleep does not go on blindly."""
    with pytest.raises(ClockFailed):
        await BrokenClock().sleep_until(T0, None)
