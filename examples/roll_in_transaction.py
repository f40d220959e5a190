"""A roll in one database transaction, which no crash at any instant repeats or loses.

Run it from anywhere, with the package installed:

    python examples/roll_in_transaction.py

Expect two runs on one database, in simulated time. The application's positions and the manager's journal are tables of
it. The first run commits the roll, and with it the journal's *done*, and is killed at once, before the manager hears of
it. The second starts on Monday, in Monday's session: there is nothing to repeat. The last line shows the positions,
moved once.

Shortcomings: an exception stands in for the power cut. The block holds the database's write lock and its statements
block the event loop for some milliseconds; with `PostgresJournal` they are awaited.
"""

import logging
import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import anyio

from session_lifecycle import SessionBoundaryManager, SqliteJournal
from session_lifecycle.testing import SimulatedClock


class Killed(BaseException):
    """Stands in for a power cut."""


class Books:
    """The application's books: positions, in the database that has the journal too."""

    def __init__(self, path: Path, start: datetime, *, doomed: bool = False) -> None:
        """Open the books; those that are `doomed` kill the process after the commit."""
        self.clock = SimulatedClock(start, autojump=True)
        self.manager = SessionBoundaryManager("XNYS", self.roll, clock=self.clock, journal=SqliteJournal(path))
        self.doomed = doomed

    async def roll(self, next_date: date) -> None:
        """Move the positions overnight; that, and that the roll is done, are committed together."""
        async with self.manager.roll_transaction() as tx:
            if tx is not None:  # None: an earlier attempt has committed
                tx.execute("UPDATE positions SET overnight = overnight + today, today = 0")
        print(f"rolled to {next_date}")
        if self.doomed:
            raise Killed

    async def run(self) -> None:
        """Run until the clock is past the next morning."""
        async with self.manager:
            print(f"in session {self.manager.session.date}")
            while self.clock.now() < datetime(2024, 12, 2, 16, 0, tzinfo=UTC):
                await self.clock.sleep_until(datetime(2024, 12, 2, 16, 0, tzinfo=UTC), None)


def main() -> None:
    """Run twice on one database, the first time until the power cut."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "books.db"
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("CREATE TABLE positions (symbol TEXT, overnight INTEGER, today INTEGER)")
            database.execute("INSERT INTO positions VALUES ('AAPL', 100, 25)")
        try:
            anyio.run(Books(path, datetime(2024, 11, 29, 18, 0, tzinfo=UTC), doomed=True).run)
        except Killed:
            print("killed; on Monday:")
        anyio.run(Books(path, datetime(2024, 12, 2, 15, 0, tzinfo=UTC)).run)
        with closing(sqlite3.connect(path)) as database:
            print(*database.execute("SELECT * FROM positions"))


if __name__ == "__main__":
    # The lines above show everything already; without this, Python would print the library's warnings once more.
    logging.getLogger("session_lifecycle").addHandler(logging.NullHandler())
    main()
