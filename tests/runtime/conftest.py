"""What the manager's tests with a journal share: every journal of the package that needs no server."""

from collections.abc import Callable
from pathlib import Path

import pytest

from session_lifecycle import Journal, MemoryJournal, SqliteJournal


@pytest.fixture(params=["memory", "sqlite"])
def journals(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Journal]:
    """Return a function that gives the journal of the test anew; one in memory is the same object each time."""
    if request.param == "sqlite":
        return lambda: SqliteJournal(tmp_path / "journal.db", name="journal")
    journal = MemoryJournal()
    return lambda: journal
