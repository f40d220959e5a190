"""A roll in one database transaction, which not even a crash right after the commit repeats.

Run it from anywhere, with the package installed:

    python examples/roll_in_transaction.py

Expect two runs on one database and one journal, in simulated time. The first commits its roll and is killed before the
journal can record that. The second resumes that roll on Monday: it asks the database first, which has the trade date
already, and the roll counts as done without being awaited again. The last line shows the positions, moved once.

Shortcomings: an exception stands in for the power cut, and SQLite in memory for the database. A transaction of a few
milliseconds may block the event loop; a long one needs an asynchronous driver. There is no such lock as the journal's
on Windows.
"""

import logging
import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import anyio

from session_lifecycle import FileJournal, RollSucceeded, SessionBoundaryManager
from session_lifecycle.testing import SimulatedClock


class Killed(BaseException):
    """Stands in for a power cut."""


class Books:
    """The application's books: positions, and one row for each trade date that has been rolled to."""

    def __init__(self, database: sqlite3.Connection, *, doomed: bool = False) -> None:
        """Open the books; those that are `doomed` kill the process after the commit."""
        self.database = database
        self.doomed = doomed

    async def roll(self, next_date: date) -> None:
        """Move the positions overnight and store the trade date, both or neither."""
        with self.database:  # one transaction
            self.database.execute("UPDATE positions SET overnight = overnight + today, today = 0")
            self.database.execute("INSERT INTO trade_dates VALUES (?)", [next_date.isoformat()])
        print(f"rolled to {next_date}")
        if self.doomed:
            raise Killed  # committed, and not yet in the journal

    async def was_rolled(self, day: date) -> bool:
        """Return whether the roll to a date has been committed."""
        found = self.database.execute("SELECT 1 FROM trade_dates WHERE day = ?", [day.isoformat()]).fetchone()
        print(f"rolled to {day} before: {found is not None}")
        return found is not None


async def run(books: Books, journal: FileJournal, start: datetime) -> None:
    """Run until the roll is done."""
    clock = SimulatedClock(start, autojump=True)
    manager = SessionBoundaryManager("XNYS", books.roll, clock=clock, journal=journal, was_rolled=books.was_rolled)
    events = manager.events()
    async with manager:
        async for event in events:
            if isinstance(event, RollSucceeded):
                print(f"in session {manager.session.date}, resumed={event.resumed}")
                break


def main() -> None:
    """Run twice on one database and one journal, the first time until the power cut."""
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE positions (symbol TEXT, overnight INTEGER, today INTEGER)")
        database.execute("CREATE TABLE trade_dates (day TEXT PRIMARY KEY)")
        database.execute("INSERT INTO positions VALUES ('AAPL', 100, 25)")
        database.commit()
        path = Path(folder) / "journal"
        try:
            friday = datetime(2024, 11, 29, 18, 0, tzinfo=UTC)
            anyio.run(run, Books(database, doomed=True), FileJournal(path), friday)
        except Killed:
            print("killed; on Monday:")
        anyio.run(run, Books(database), FileJournal(path), datetime(2024, 12, 2, 15, 0, tzinfo=UTC))
        print(*database.execute("SELECT * FROM positions"))


if __name__ == "__main__":
    # The lines above show everything already; without this, Python would print the library's warnings once more.
    logging.getLogger("session_lifecycle").addHandler(logging.NullHandler())
    main()
