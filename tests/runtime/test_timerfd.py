"""The kernel's word that the wall clock was set: heeded at once, trusted for nothing else, and let go of always.

Nobody sets the real clock for a test. A pipe stands in for the kernel's timer: it is written to where the clock is set,
and reading it fails as reading the timer does.
"""

import errno
import os
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from session_lifecycle import SystemClock
from session_lifecycle._model.errors import ClockFailed
from session_lifecycle._runtime import timerfd
from tests.conftest import has_timerfd

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="nothing there waits for a pipe"),
]

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
MILLISECOND = timedelta(milliseconds=1)
SLICE = 10 * MILLISECOND


class SetClock(SystemClock):
    """A system clock that can be set, and counts how often it is looked at."""

    shift = timedelta(0)
    looks = 0
    broken = False

    def now(self) -> datetime:
        self.looks += 1
        if self.broken:
            raise OSError(errno.EIO, "no such clock")
        return super().now() + self.shift


class Timer:
    """What stands in for the kernel's timers: one pipe after another."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self._pipes: dict[int, int] = {}
        self.failure: Exception | None = OSError(errno.ECANCELED, "the clock was set")
        self._read = os.read

    def make(self) -> int:
        reader, writer = os.pipe2(os.O_NONBLOCK) if hasattr(os, "pipe2") else os.pipe()
        self.made.append(reader)
        self._pipes[reader] = writer
        return reader

    def report(self) -> None:
        """Tell that the clock was set."""
        os.write(self._pipes[self.made[-1]], b"8 bytes!")

    def read(self, fd: int, size: int) -> bytes:
        data = self._read(fd, size)
        if fd in self._pipes and self.failure is not None:
            raise self.failure
        return data

    @property
    def open(self) -> list[int]:
        """Return which of them have not been closed."""
        return [fd for fd in self.made if _is_open(fd)]

    def close(self) -> None:
        for writer in self._pipes.values():
            os.close(writer)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.fixture
def timer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Timer]:
    """Put pipes in place of the kernel's timers."""
    fake = Timer()
    monkeypatch.setattr(timerfd, "armed_timer", fake.make)
    monkeypatch.setattr("session_lifecycle._runtime.timerfd.os.read", fake.read)
    yield fake
    fake.close()


async def asleep(clock: SetClock) -> None:
    """Wait until the clock has looked and gone to sleep: once before its sleep, once for it, once with the timer."""
    while clock.looks < 3:  # noqa: ASYNC110 -- the clock under test tells nobody
        await anyio.sleep(0.001)


@pytest.mark.parametrize("deadline", ["wall", "monotonic", "none"])
@pytest.mark.parametrize("step", [2 * HOUR, -HOUR])
async def test_a_step_is_noticed_at_once(timer: Timer, step: timedelta, deadline: str) -> None:
    """A step, either way, ends the sleep when it is reported, however long the check_interval."""
    clock = SetClock(HOUR)
    wall = clock.now() + HOUR if deadline == "wall" else None
    clock.looks = 0
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(clock.sleep_until, wall, clock.monotonic() + 3600 if deadline == "monotonic" else None)
            await asleep(clock)
            clock.shift = step
            timer.report()
    assert clock.looks == 4
    assert len(timer.made) == 1
    assert timer.open == []


async def test_a_correction_is_heeded_at_once(timer: Timer) -> None:
    """By less than a second it is no step, but a deadline that it has brought is met, and no other."""
    clock = SetClock(HOUR)
    wall = clock.now() + SECOND
    clock.looks = 0
    woken: list[datetime] = []

    async def sleeper() -> None:
        await clock.sleep_until(wall, None)
        woken.append(clock.now())

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sleeper)
            await asleep(clock)
            clock.shift = 400 * MILLISECOND
            timer.report()
            await anyio.sleep(0.02)
            assert woken == []
            clock.shift = 990 * MILLISECOND
            timer.report()
    assert wall <= woken[0]
    assert timer.open == []


async def test_what_was_set_while_the_timer_was_made_is_seen(timer: Timer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens before the timer is armed is not reported, so the clock has another look after it."""
    clock = SetClock(HOUR)

    def make() -> int:
        clock.shift = -HOUR
        return timer.make()

    monkeypatch.setattr(timerfd, "armed_timer", make)
    with anyio.fail_after(5):
        await clock.sleep_until(None, None)
    assert timer.open == []


async def test_the_slices_go_on_all_the_same(timer: Timer) -> None:
    """A clock that moves without the kernel's knowledge, as a travelled one does, is seen within a check_interval."""
    clock = SetClock(SLICE)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(clock.sleep_until, None, None)
            await asleep(clock)
            clock.shift = HOUR
    assert len(timer.made) == 1
    assert timer.open == []


@pytest.mark.parametrize("end", ["wall", "monotonic", "cancelled", "failed"])
async def test_the_timer_is_closed_however_the_sleep_ends(timer: Timer, end: str) -> None:
    """At its deadline, by a cancellation, and by an error."""
    clock = SetClock(SLICE)
    wall = clock.now() + SLICE if end == "wall" else None
    monotonic = clock.monotonic() + 0.01 if end == "monotonic" else None
    with anyio.fail_after(5):
        if end == "cancelled":
            with anyio.move_on_after(0.03):
                await clock.sleep_until(None, None)
        elif end == "failed":
            clock.looks = 0
            with pytest.raises(ClockFailed):
                await _failing(clock)
        else:
            await clock.sleep_until(wall, monotonic)
    assert len(timer.made) == 1
    assert timer.open == []


async def _failing(clock: SetClock) -> None:
    """Sleep, with the clock failing in the middle."""
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(clock.sleep_until, None, None)
            await asleep(clock)
            clock.broken = True
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


@pytest.mark.parametrize("failure", [OSError(errno.EMFILE, "too many open files"), NotImplementedError()])
async def test_without_a_timer_it_is_slices(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    """Where none can be made the sleep is as good as anywhere else."""

    def make() -> int:
        raise failure

    monkeypatch.setattr(timerfd, "armed_timer", make)
    clock = SetClock(SLICE)
    wall = clock.now() + 3 * SLICE
    await clock.sleep_until(wall, None)
    assert clock.now() >= wall
    assert clock.looks > 3


@pytest.mark.parametrize("failure", [NotImplementedError(), PermissionError(errno.EPERM, "not for this one")])
async def test_a_loop_that_cannot_wait_for_it_sleeps_in_slices(
    timer: Timer, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    """The timer is closed at once, and not made again."""

    async def wait_readable(_: Any) -> None:
        raise failure

    monkeypatch.setattr("session_lifecycle._runtime.timerfd.anyio.wait_readable", wait_readable)
    clock = SetClock(SLICE)
    wall = clock.now() + 3 * SLICE
    await clock.sleep_until(wall, None)
    assert clock.now() >= wall
    assert len(timer.made) == 1
    assert timer.open == []


@pytest.mark.parametrize("failure", [None, BlockingIOError(errno.EAGAIN, "nothing there")])
async def test_a_timer_that_reports_anything_else_is_not_listened_to(timer: Timer, failure: Exception | None) -> None:
    """It cannot make the sleep spin: the rest is slices."""
    timer.failure = failure
    clock = SetClock(SLICE)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(clock.sleep_until, None, None)
            await asleep(clock)
            timer.report()
            await anyio.sleep(5 * SLICE.total_seconds())
            assert timer.open == []
            tasks.cancel_scope.cancel()
    assert clock.looks < 20
    assert len(timer.made) == 1


@pytest.mark.skipif(not has_timerfd(), reason="no timerfd: it takes Linux and Python 3.13")
async def test_the_kernels_own_timer_keeps_quiet_and_is_closed() -> None:
    """While nobody sets the clock the sleep is as long as it should be, with one descriptor that goes away."""
    descriptors = Path("/proc/self/fd")
    before = len(os.listdir(descriptors))  # noqa: PTH208 -- iterating opens one
    clock = SetClock(HOUR)
    during = 0
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(clock.sleep_until, None, clock.monotonic() + 0.05)
            await asleep(clock)
            during = len(os.listdir(descriptors))  # noqa: PTH208 -- likewise
    assert during == before + 1
    assert len(os.listdir(descriptors)) == before  # noqa: PTH208 -- likewise
    assert clock.looks <= 6


def test_a_timer_that_cannot_be_armed_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old kernel may make one that it cannot arm."""
    if not has_timerfd():
        pytest.skip("no timerfd: it takes Linux and Python 3.13")
    made: list[int] = []
    create = os.timerfd_create  # type: ignore[attr-defined]

    def created(*args: Any, **kwargs: Any) -> int:
        made.append(create(*args, **kwargs))
        return made[-1]

    def settime(*_: Any, **__: Any) -> None:
        raise OSError(errno.EINVAL, "unknown flags")

    monkeypatch.setattr(os, "timerfd_create", created)
    monkeypatch.setattr(os, "timerfd_settime", settime)
    with pytest.raises(OSError, match="unknown flags"):
        timerfd.armed_timer()
    assert [fd for fd in made if _is_open(fd)] == []


def test_no_timer_is_what_other_systems_have() -> None:
    """Elsewhere there is nothing to arm."""
    if has_timerfd():
        pytest.skip("there is one here")
    with pytest.raises(NotImplementedError):
        timerfd.armed_timer()
