"""One native cancellation at every turn of the event loop, and two a few turns apart, wherever the application is."""

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import pytest

from session_lifecycle._runtime import ledger
from session_lifecycle.testing import clock as simulated
from tests.helpers.bomb import SITUATIONS, Situation, explode

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
if find_spec("uvloop"):  # there is none for Windows
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop
if sys.version_info >= (3, 12):

    def eager_loop() -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        return loop

    LOOPS["eager"] = eager_loop

VICTIMS = {
    "driver": ("roll", "leave", "group", "during"),
    "watch": ("roll", "handler", "probe"),
    "roll to": ("start", "roll", "retry", "leave", "group"),
    "handlers": ("handler", "run"),
    "handler ": ("handler", "run"),
    "probe of": ("probe",),
    "run": ("leave", "group"),
    "_flush": ("start", "roll", "leave", "group"),
    "_close": ("start", "leave", "group"),
}
"""The manager's own tasks, as their names begin, and the situations in which they are cancelled."""


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Log nothing, pause for no real time, and settle by a scan of the tasks: the bomb's callback is always ready."""
    monkeypatch.setattr(simulated, "_EXACT_PASSES", 0)
    monkeypatch.setattr(ledger, "_PAUSE_SECONDS", 0)
    logger = logging.getLogger("session_lifecycle")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(level)


async def _bombard(situation: Situation, victim: str, stride: int, gaps: tuple[int, ...]) -> list[str]:
    """Live once undisturbed, and then once for every `stride`th turn and each gap; return what was wrong."""
    length, wrong = await explode(situation, ())
    found = [f"undisturbed: {each}" for each in wrong]
    for turn in range(0, length + 2, stride):
        for gap in gaps:
            turns = (turn, turn + gap) if gap else (turn,)
            _, wrong = await explode(situation, turns, victim)
            found += [f"turns {turns}: {each}" for each in wrong]
    return found


def bombard(loop: str, situation: str, victim: str = "app", stride: int = 1, gaps: tuple[int, ...] = (0,)) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        assert runner.run(_bombard(SITUATIONS[situation], victim, stride, gaps)) == []


@pytest.mark.parametrize("situation", SITUATIONS)
def test_fault_59_the_application_is_cancelled_now_and_then(situation):
    """No cancellation is lost, nothing hangs, no task is left, nothing announced repeats."""
    bombard("asyncio", situation, stride=13)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_fault_59_the_application_is_cancelled_at_every_turn(situation, loop):
    """The same, at every turn of the loop, and twice up to three turns apart."""
    bombard(loop, situation, gaps=(0, 1, 2, 3))


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("victim", VICTIMS)
def test_faults_58_60_a_task_of_the_managers_is_cancelled_at_every_turn(victim, loop):
    """The manager goes on, or its end is loud; the application is not cancelled itself."""
    for situation in VICTIMS[victim]:
        bombard(loop, situation, victim, gaps=(0, 1))
