"""A process that is killed in the middle of a roll, and the next one, which finds out from the journal.

Run it from anywhere, with the package installed:

    python examples/crash_and_restart.py

Expect two runs of one application, each a process of its own, in New York time. The first is rolling its books on
Monday evening when it is killed with SIGKILL: the statement for Monday is written, the books are not moved yet. What is
left is a journal that ends with an intent. The second run starts on Wednesday. It repeats the roll of Monday evening
first, for its own date and flagged as resumed, finds that the statement is there, and moves the books. Then it rolls
on to Wednesday, since Tuesday has gone by meanwhile. After each run the records of the journal are shown. It takes
about three seconds, most of which goes into importing pandas twice.

Shortcomings: time is simulated, so that Wednesday need not be waited for. The process kills itself, at a place that was
chosen to be instructive. The books are a file of one line; where yours are in the journal's database, its transaction
does the whole roll or nothing (roll_in_transaction.py). There is no SIGKILL on Windows.
"""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from session_lifecycle import (
    Event,
    LifecycleConfig,
    Record,
    RollStarted,
    RollSucceeded,
    SessionBoundaryManager,
    SqliteJournal,
    StateChanged,
)
from session_lifecycle.testing import SimulatedClock

NEW_YORK = ZoneInfo("America/New_York")
MONDAY_AFTERNOON = datetime(2024, 12, 2, 15, 0, tzinfo=NEW_YORK)
WEDNESDAY_MORNING = datetime(2024, 12, 4, 10, 0, tzinfo=NEW_YORK)


class Books:
    """The application's books: a file that says on which trade date they are, and a statement for each day closed."""

    def __init__(self, folder: Path, *, doomed: bool) -> None:
        """Open the books; those that are `doomed` kill the process between the two steps of a roll."""
        self.folder = folder
        self.trade_date = folder / "trade_date"
        self.doomed = doomed
        if not self.trade_date.exists():
            self.trade_date.write_text("2024-12-02")

    async def roll_session(self, next_date: date) -> None:
        """Close the books of the day and open those of `next_date`; done twice for one date, it does no harm."""
        today = self.trade_date.read_text()
        if today == str(next_date):
            say(f"    books: on {next_date} already")
            return
        statement = self.folder / f"statement of {today}"
        if statement.exists():
            say(f"    books: the {statement.name} is there already")
        else:
            statement.write_text("all is well")
            say(f"    books: the {statement.name} is written")
        if self.doomed:
            say("    books: (the process is killed here)")
            os.kill(os.getpid(), signal.SIGKILL)
        self.trade_date.write_text(str(next_date))
        say(f"    books: moved from {today} to {next_date}")


def say(line: str) -> None:
    """Print a line that outlives the process: what is in a buffer dies with it."""
    print(line, flush=True)


async def tell(events: AsyncIterator[Event]) -> None:
    """Print the transitions and the rolls as they come."""
    async for event in events:
        match event:
            case StateChanged():
                text = f"{event.source.name} → {event.dest.name}, session {event.session}"
                text += "  (catch-up)" if event.catch_up else ""
            case RollStarted():
                text = f"roll to {event.next_session} begins, resumed={event.resumed}"
            case RollSucceeded():
                text = f"roll to {event.next_session} is done, resumed={event.resumed}"
            case _:
                text = str(event)
        say(f"{event.observed_at.astimezone(NEW_YORK):%a %H:%M:%S}  {text}")


async def application(folder: Path, start: datetime, *, doomed: bool) -> None:
    """Run the application for two hours, if it lives that long."""
    clock = SimulatedClock(start)
    books = Books(folder, doomed=doomed)
    manager = SessionBoundaryManager(
        "XNYS",
        books.roll_session,
        config=LifecycleConfig(data_timeout=None),  # no market data in this program
        clock=clock,
        journal=SqliteJournal(folder / "journal.db"),
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(tell(manager.events()))
        async with manager:
            await clock.advance(timedelta(hours=2))
            say(f"now {manager.state.name} in session {manager.session.date}, books on {books.trade_date.read_text()}")


async def records(path: Path) -> tuple[Record, ...]:
    """Return the records of a journal that no manager holds."""
    journal = SqliteJournal(path)
    try:
        return await journal.open("XNYS")
    finally:
        await journal.close()


def run(folder: Path, number: str) -> int:
    """Run the application in a process of its own, and show what it leaves in the journal."""
    say(f"---- run {number}")
    command = [sys.executable, __file__, str(folder), number]
    status = subprocess.run(command, check=False).returncode  # noqa: S603 -- it is this very file
    say(f"---- run {number} {'was killed by SIGKILL' if status == -signal.SIGKILL else f'ended with status {status}'}")
    say("the journal:")
    for record in asyncio.run(records(folder / "journal.db")):
        say(f"    {record.entry.value:7}  session {record.session}{f', to {record.target}' if record.target else ''}")
    return status


def main() -> None:
    """Run the application twice; as a child, be the application."""
    if len(sys.argv) == 1:
        with tempfile.TemporaryDirectory() as scratch:
            run(Path(scratch), "1")
            sys.exit(run(Path(scratch), "2"))
    folder, number = Path(sys.argv[1]), sys.argv[2]
    start = MONDAY_AFTERNOON if number == "1" else WEDNESDAY_MORNING
    asyncio.run(application(folder, start, doomed=number == "1"))


if __name__ == "__main__":
    # What happens is printed already; without this, Python would print the library's warnings once more.
    logging.getLogger("session_lifecycle").addHandler(logging.NullHandler())
    main()
