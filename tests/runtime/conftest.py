"""What the manager's tests with a journal share: the package's journals that need no server, and their tries."""

from collections.abc import Callable
from pathlib import Path

import pytest

from session_lifecycle import Journal, MemoryJournal, SqliteJournal
from session_lifecycle._runtime import ledger


@pytest.fixture(params=["memory", "sqlite"])
def journals(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Journal]:
    """Return a function that gives the journal of the test anew; one in memory is the same object each time."""
    if request.param == "sqlite":
        return lambda: SqliteJournal(tmp_path / "journal.db", name="journal")
    journal = MemoryJournal()
    return lambda: journal


@pytest.fixture(autouse=True)
def _tries_come_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait a tenth of the time between two tries to write, which is real time."""
    monkeypatch.setattr(ledger, "_PAUSE_SECONDS", ledger._PAUSE_SECONDS / 10)
