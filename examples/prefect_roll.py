"""A flow of Prefect that rolls the books where a roll is owed. Here it runs three times, in simulated time.

Run it from anywhere, with the package and Prefect 3 installed (pip install prefect):

    python examples/prefect_roll.py

Expect Monday 2024-07-01 in New York: at 16:05 nothing is owed yet, at 17:05 the books are rolled to Tuesday, at 18:05
there is nothing left to do. Prefect logs each run of the flow on stderr.

In earnest the flow is served, every hour of a working day, without a word of half days, holidays or New York's clocks:

    roll_flow.serve(name="XNYS", cron="5 * * * 1-5")

Prefect may start it twice, late, or again after a failure: what has been rolled is not owed any more, and while one run
is at work another one is refused (SqliteJournal) or has nothing to do (PostgresJournal).

Shortcomings: the books are a list. Without a Prefect server it starts one of its own, which takes some seconds. Runs on
several machines need a PostgresJournal.
"""

import asyncio
import tempfile
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from prefect import flow

from session_lifecycle import SessionBoundaryManager, SqliteJournal, run_due
from session_lifecycle.testing import SimulatedClock

NEW_YORK = ZoneInfo("America/New_York")


async def roll_books(next_date: date) -> None:
    """Move the application's books to the next session; safe to repeat for the same date."""
    print(f"    the books are rolled to {next_date:%a %Y-%m-%d}")


@flow(name="roll the books", retries=3, retry_delay_seconds=300)
async def roll_flow(journal: Path, now: datetime | None = None) -> list[date]:
    """Roll what is owed; return the sessions that were rolled to. An error is a failed run, which Prefect repeats."""
    clock = None if now is None else SimulatedClock(now, autojump=True)
    manager = SessionBoundaryManager("XNYS", roll_books, clock=clock, journal=SqliteJournal(journal))
    return [roll.next_session for roll in await run_due(manager)]


async def main() -> None:
    """Run the flow as its schedule would."""
    with tempfile.TemporaryDirectory() as folder:
        for hour in (16, 17, 18):
            now = datetime(2024, 7, 1, hour, 5, tzinfo=NEW_YORK)
            print(f"{now:%a %H:%M}")
            rolled = await roll_flow(Path(folder) / "journal.db", now)
            print(f"    {len(rolled)} owed")


if __name__ == "__main__":
    asyncio.run(main())
