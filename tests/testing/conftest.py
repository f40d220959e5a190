"""What the tests of simulated time share: a clock, a log, and the event loops that a test is about."""

import pytest

from session_lifecycle.testing import SimulatedClock
from tests.helpers.sleepers import T0, Log


@pytest.fixture
def clock() -> SimulatedClock:
    """Return a clock that only passes time when told to."""
    return SimulatedClock(T0)


@pytest.fixture
def log() -> Log:
    """Return an empty log: who woke, at which wall time, at which monotonic time."""
    return []


@pytest.fixture
def asyncio_only(anyio_backend_name: str) -> None:
    """Skip a test of asyncio's own ways of waiting on trio."""
    if anyio_backend_name != "asyncio":
        pytest.skip("about asyncio's own tools")
