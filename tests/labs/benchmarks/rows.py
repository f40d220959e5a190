"""A row of the table: two things measured there and then, their ratio, and the goal."""

import gc
import statistics
import time
from collections.abc import Callable

import msgspec

REPEATS = 5


class Row(msgspec.Struct, frozen=True):
    """One comparison, in seconds, or in another unit, and the ratio that is the goal.

    `crowded` is the ratio in a process that has had ten thousand tasks and holds a million objects; None where the path
    is not measured there.
    """

    path: str
    ours: float
    against: str
    floor: float
    goal: float | None = None
    unit: str = "s"
    crowded: float | None = None

    @property
    def ratio(self) -> float:
        """How many times the floor it takes."""
        return self.ours / self.floor

    @property
    def holds(self) -> bool | None:
        """Whether the goal is met in both processes; None where there is none."""
        return None if self.goal is None else max(self.ratio, self.crowded or 0) <= self.goal

    def __str__(self) -> str:
        goal = "" if self.goal is None else f"{self.goal:>6.4g} × {'yes' if self.holds else 'NO':<3}"
        ours, floor = scaled(self.ours, self.unit), scaled(self.floor, self.unit)
        left = f"{self.path:<52} {ours:>11}   {self.against:<39} {floor:>11}"
        crowded = "" if self.crowded is None else f"{_short(self.crowded)} ×"
        return f"{left} {_short(self.ratio):>8} × {crowded:>10} {goal}".rstrip()


def _short(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= 0.01 else f"{ratio:.5f}"


def scaled(value: float, unit: str = "s") -> str:
    """Return seconds in the unit in which they read well, and anything else in its own."""
    if unit != "s":
        return f"{value:,.0f} {unit}"
    for name, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if abs(value) * scale >= 1:
            return f"{value * scale:.2f} {name}"
    return f"{value * 1e9:.0f} ns"


def interleaved(*arms: Callable[[], float], repeats: int = REPEATS) -> list[float]:
    """Run the arms in turn, after each other's garbage is collected, and return each one's median."""
    rounds: list[list[float]] = []
    for _ in range(repeats):
        rounds.append([])
        for arm in arms:
            gc.collect()
            rounds[-1].append(arm())
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
