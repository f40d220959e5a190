"""A job that cron starts: it rolls the books where a roll is owed, and leaves. Here it is started four times.

Run it from anywhere, with the package installed:

    python examples/cron_roll.py

Expect Monday 2024-07-01: at 16:00 in New York nothing is owed yet, at 17:00 the books are rolled to Tuesday, at 18:00
there is nothing left to do. On Tuesday the machine is down. It is back on Wednesday, a half day, at 14:00: the session
of Tuesday has ended meanwhile, and that of Wednesday too, so that the books are rolled to Friday, past the holiday.

The lines of a crontab for it, without a word of half days, holidays or New York's clocks; the second run of an hour
waits for the first one:

    # after each hour, on working days, and at the start of the machine
    5 * * * 1-5  flock /var/lock/desk.lock python -m desk.roll
    @reboot      flock /var/lock/desk.lock python -m desk.roll

Shortcomings: time is simulated, and the books are a list. A serverless function has no disk of its own: use
PostgresJournal there. Windows lacks the kind of lock that the journal needs.
"""

import tempfile
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import anyio

from session_lifecycle import Clock, JournalLocked, SessionBoundaryManager, SqliteJournal, SystemClock, run_due
from session_lifecycle.testing import SimulatedClock

NEW_YORK = ZoneInfo("America/New_York")
STARTS = [(1, 16), (1, 17), (1, 18), (3, 14)]


async def roll_books(next_date: date) -> None:
    """Move the application's books to the next session; safe to repeat for the same date."""
    print(f"    the books are rolled to {next_date:%a %Y-%m-%d}")


async def job(journal: Path, clock: Clock | None = None) -> int:
    """Roll what is owed; return the exit status. An error ends the process with another one, and cron sends a mail."""
    manager = SessionBoundaryManager(
        "XNYS", roll_books, clock=SystemClock() if clock is None else clock, journal=SqliteJournal(journal)
    )
    try:
        rolls = await run_due(manager)
    except JournalLocked:
        print("    another run is at work")
        return 75  # EX_TEMPFAIL of sysexits.h
    print(f"    {len(rolls)} owed, now in the session of {manager.session.date:%a %Y-%m-%d}")
    return 0


def main() -> None:
    """Start the job as cron would, in simulated time."""
    with tempfile.TemporaryDirectory() as folder:
        for day, hour in STARTS:
            now = datetime(2024, 7, day, hour, 5, tzinfo=NEW_YORK)
            print(f"{now:%a %H:%M}")
            anyio.run(job, Path(folder) / "journal.db", SimulatedClock(now, autojump=True))


if __name__ == "__main__":
    main()
