"""A service with everything that belongs to one, and a clean shutdown on SIGTERM, in simulated time.

Run it from anywhere, with the package installed:

    python examples/service.py

Expect two runs of one service, in New York time. The first is started on 2024-11-29, the half day after Thanksgiving:
messages arrive and orders go out while the market is open, the position is flattened a quarter of an hour before the
close at 13:00, and the books are rolled at 13:30. Five seconds into that roll the service gets a SIGTERM. It finishes
the roll, which takes 20 seconds, and ends. The second run is started on Monday and finds the session in the journal.

Shortcomings: messages and orders are counted, not handled. The process sends the SIGTERM to itself, at an instant that
was chosen to be instructive. Windows has no such signal, nor the kind of lock that the journal needs.
"""

import logging
import signal
import tempfile
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import anyio

from session_lifecycle import AlarmFired, Clock, RollFailed, SessionBoundaryManager, SessionState, SqliteJournal
from session_lifecycle.testing import SimulatedClock

NEW_YORK = ZoneInfo("America/New_York")
FRIDAY_MORNING = datetime(2024, 11, 29, 10, 0, tzinfo=NEW_YORK)
IN_THE_ROLL = datetime(2024, 11, 29, 13, 30, 5, tzinfo=NEW_YORK)
MONDAY_MORNING = datetime(2024, 12, 2, 10, 0, tzinfo=NEW_YORK)


class Service:
    """The application: messages come in, orders go out, books are rolled."""

    def __init__(self, clock: Clock, journal: Path) -> None:
        """Register what happens at an instant of the session, and on an event."""
        self.clock = clock
        self.orders = 0
        self.market = SessionBoundaryManager("XNYS", self.roll_books, clock=clock, journal=SqliteJournal(journal))
        self.market.at("close", timedelta(minutes=-15))(self.flatten)
        self.market.on(RollFailed)(self.page)

    def say(self, text: str) -> None:
        """Print a line with the time in New York."""
        print(f"{self.clock.now().astimezone(NEW_YORK):%a %H:%M:%S}  {text}")

    async def roll_books(self, next_date: date) -> None:
        """Move the books to the next trade date."""
        self.say(f"roll to {next_date} begins, after {self.orders} orders")
        await self.clock.sleep(timedelta(seconds=20))
        self.say(f"roll to {next_date} is done")

    async def flatten(self, alarm: AlarmFired) -> None:
        """Close all positions."""
        self.say(f"flat before the close of {alarm.session}")

    async def page(self, event: RollFailed) -> None:
        """Page the operator."""
        self.say(f"the roll failed: {event.error}")

    async def receive(self) -> None:
        """Subscribe in each session, for as long as its market is open."""
        async for session in self.market.sessions():
            async with self.market.during(SessionState.ACTIVE, SessionState.TIMEOUT):
                self.say(f"subscribed for {session.date}")
                while True:
                    await self.clock.sleep(timedelta(minutes=1))  # a message arrives
                    self.market.record_data_received()
                    if self.market.can_trade:
                        self.orders += 1

    async def run(self) -> None:
        """Run until SIGINT or SIGTERM; a roll under way is finished first."""
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with self.market, anyio.create_task_group() as tasks:
                self.say(f"started: {self.market.state.name} in session {self.market.session.date}")
                tasks.start_soon(self.receive)
                async for number in signals:
                    self.say(f"{signal.Signals(number).name} in {self.market.state.name}")
                    tasks.cancel_scope.cancel()  # the application's own tasks end first, then the manager is left
            self.say(f"stopped in session {self.market.session.date}")


async def main() -> None:
    """Run the service twice on one journal, each time until the signal."""
    with tempfile.TemporaryDirectory() as folder:
        for start, finish in (
            (FRIDAY_MORNING, IN_THE_ROLL),
            (MONDAY_MORNING, MONDAY_MORNING + timedelta(hours=1)),
        ):
            clock = SimulatedClock(start, autojump=True)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(Service(clock, Path(folder) / "session.journal").run)
                await clock.sleep(finish - start)
                signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    # The lines above show everything already; without this, Python would print the library's warnings once more.
    logging.getLogger("session_lifecycle").addHandler(logging.NullHandler())
    anyio.run(main)
