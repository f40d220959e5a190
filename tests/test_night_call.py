"""The guide's call at night, step by step, on the command line: read, check, decide, start again."""

from datetime import date, datetime, time, timedelta
from pathlib import Path

import anyio
import pytest

from session_lifecycle import (
    AlarmFired,
    LifecycleConfig,
    Misfire,
    RetryPolicy,
    SessionBoundaryManager,
    SessionState,
    SpecialHours,
    SqliteJournal,
)
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MONDAY, at
from tests.helpers.command_line import printed, run

TUESDAY_NIGHT = at(MONDAY + DAY, (3, 0))
CONFIG = LifecycleConfig(data_timeout=None, roll_retry=RetryPolicy(attempts=1))


async def failed_night(file: Path) -> None:
    """Run a Monday whose roll fails for good, up to the process's end."""

    async def roll(_: date) -> None:
        raise ConnectionError("the books' server is away")

    clock = SimulatedClock(at(MONDAY, (15, 0)))
    async with SessionBoundaryManager("XNYS", roll, config=CONFIG, clock=clock, journal=SqliteJournal(file)) as manager:
        await clock.advance(timedelta(hours=8))
        status = manager.status()
        assert (status.state, status.roll_owed, status.can_trade) == (SessionState.ERROR, True, False)
        assert "the books' server is away" in (status.reason or "")
        assert "the books' server is away" in printed("journal", str(file))  # beside the manager


async def next_start(file: Path) -> tuple[list[date], SessionState, date]:
    """Start again on Tuesday before the open; return what was rolled to, and where the manager then is."""
    rolled: list[date] = []

    async def roll(next_date: date) -> None:
        rolled.append(next_date)

    clock = SimulatedClock(TUESDAY_NIGHT)
    async with SessionBoundaryManager("XNYS", roll, config=CONFIG, clock=clock, journal=SqliteJournal(file)) as manager:
        await clock.advance(timedelta(0))
        return rolled, manager.state, manager.session.date


@pytest.mark.parametrize(
    ("decision", "rolled"), [("retry", [MONDAY + DAY]), ("mark-done", [])], ids=["retry", "mark-done"]
)
def test_a_call_at_night_ends_in_the_next_session(tmp_path: Path, decision: str, rolled: list[date]) -> None:
    """A restart alone is in the same ERROR; a decision that is recorded is followed by the next start."""
    file = tmp_path / "books.db"
    anyio.run(failed_night, file)
    said = printed("journal", str(file))
    assert "error" in said.lower()
    assert "the books' server is away" in said
    assert run("journal", str(file), "--check").exit_code == 0
    assert anyio.run(next_start, file)[1:] == (SessionState.ERROR, MONDAY)
    resolved = run("journal", str(file), "--resolve", decision, now=TUESDAY_NIGHT)
    assert (resolved.exit_code, resolved.stderr) == (0, "")
    assert anyio.run(next_start, file) == (rolled, SessionState.NOT_STARTED, MONDAY + DAY)


def test_a_restart_keeps_a_halt_changed_hours_and_which_alarms_have_fired(tmp_path: Path) -> None:
    """What the guide's table of what survives says of them; feeds and handlers are the application's to register."""
    fired: list[date] = []
    early = SpecialHours(MONDAY, close=time(15))

    async def run_until(start: datetime, minutes: int, *, first: bool) -> tuple[str | None, datetime, int]:
        async def roll(_: date) -> None:
            pytest.fail("the session has not ended")

        clock = SimulatedClock(start)
        journal = SqliteJournal(tmp_path / "books.db")
        manager = SessionBoundaryManager("XNYS", roll, config=CONFIG, clock=clock, journal=journal)

        @manager.at("open", timedelta(minutes=5), misfire=Misfire.RUN_ONCE)
        async def buy(alarm: AlarmFired) -> None:
            fired.append(alarm.session)

        async with manager:
            if first:
                manager.halt("volatility")
                await manager.apply(early)
            await clock.advance(timedelta(minutes=minutes))
            return manager.halted, manager.session.close, len(manager.feeds)

    before = anyio.run(lambda: run_until(at(MONDAY, (14, 30)), 10, first=True))
    after = anyio.run(lambda: run_until(at(MONDAY, (14, 45)), 10, first=False))
    assert before == after == ("volatility", at(MONDAY, (20, 0)), 0)
    assert fired == [MONDAY]
