"""What the manager's tests with a journal share: every kind of journal that comes with the package."""

from collections.abc import Callable

import pytest

from session_lifecycle import Journal, MemoryJournal


@pytest.fixture(params=["memory"])
def journals(request: pytest.FixtureRequest) -> Callable[[], Journal]:
    """Return a function that gives the journal of the test anew; one in memory is the same object each time."""
    assert request.param == "memory"
    journal = MemoryJournal()
    return lambda: journal
