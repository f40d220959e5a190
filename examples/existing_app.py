"""An application of several tasks that shares a lock and a queue with its roll, in simulated time.

Run it from anywhere, with the package installed:

    python examples/existing_app.py

Expect two trading days of New York in a second. A strategy sends an order every hour while the market is open, a
broker's desk fills them from a queue, and a report takes the lock from half a minute before the session ends to half a
minute after. The roll first waits for the queue to be empty and then for the lock. It can use both as they are, because
it runs in the application's own event loop and thread: the lines that it prints say so.

Shortcomings: there are no prices and no positions. No market data is received either, so the watch for silent data is
switched off. The strategy asks `can_trade` when it sends; an order that is still queued at the close is filled all the
same.
"""

import asyncio
import logging
import threading
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from session_lifecycle import Clock, LifecycleConfig, SessionBoundaryManager, SessionState
from session_lifecycle.testing import SimulatedClock

NEW_YORK = ZoneInfo("America/New_York")
START = datetime(2024, 12, 2, 9, 0, tzinfo=NEW_YORK)
FINISH = datetime(2024, 12, 3, 17, 0, tzinfo=NEW_YORK)


class App:
    """What its tasks share. The lock guards `trade_date` and `fills`."""

    def __init__(self, clock: Clock) -> None:
        """Make everything in the loop that runs."""
        self.clock = clock
        self.loop = asyncio.get_running_loop()
        self.lock = asyncio.Lock()
        self.orders: asyncio.Queue[int] = asyncio.Queue()
        self.trade_date = date(2024, 12, 2)
        self.fills: dict[date, int] = {}

    def say(self, what: str) -> None:
        """Print a line with New York time."""
        print(f"{self.clock.now().astimezone(NEW_YORK):%a %H:%M:%S}  {what}")

    async def send_orders(self, manager: SessionBoundaryManager) -> None:
        """Send an order at the open, and every hour from then on while the market is open."""
        number = 0
        while True:
            await manager.wait_for(SessionState.ACTIVE)
            while manager.can_trade:
                number += 1
                await self.orders.put(number)
                await self.clock.sleep(timedelta(hours=1))

    async def fill_orders(self) -> None:
        """Take orders off the queue, and book each when the broker has answered."""
        while True:
            await self.orders.get()
            await self.clock.sleep(timedelta(seconds=3))
            async with self.lock:
                self.fills[self.trade_date] = self.fills.get(self.trade_date, 0) + 1
            self.orders.task_done()

    async def write_report(self, manager: SessionBoundaryManager) -> None:
        """Hold the lock for a minute around the end of each session."""
        while True:
            await manager.wait_for(SessionState.POST_MARKET)
            await self.clock.sleep(timedelta(minutes=29, seconds=30))
            async with self.lock:
                self.say(f"report on {self.trade_date} begins, and holds the lock")
                await self.clock.sleep(timedelta(minutes=1))
                self.say(f"report on {self.trade_date} is done")

    async def roll_session(self, next_date: date) -> None:
        """Book what is still queued on the old date, then move to the next."""
        thread, loop = threading.current_thread().name, asyncio.get_running_loop()
        self.say(f"roll to {next_date} begins, in {thread}, in the application's own loop: {loop is self.loop}")
        await self.orders.join()
        async with self.lock:
            self.say(f"roll to {next_date} has the lock: {self.fills[self.trade_date]} fills on {self.trade_date}")
            self.trade_date = next_date


async def main() -> None:
    """Run the application for two days."""
    clock = SimulatedClock(START)
    app = App(clock)
    manager = SessionBoundaryManager("XNYS", app.roll_session, config=LifecycleConfig(data_timeout=None), clock=clock)
    async with asyncio.TaskGroup() as tasks, manager:
        workers = [
            tasks.create_task(app.send_orders(manager)),
            tasks.create_task(app.fill_orders()),
            tasks.create_task(app.write_report(manager)),
        ]
        await clock.advance_to(FINISH)
        for worker in workers:
            worker.cancel()
    fills = ", ".join(f"{count} on {day}" for day, count in app.fills.items())
    print(f"fills: {fills}; books on {app.trade_date}; threads: {threading.active_count()}")


if __name__ == "__main__":
    logging.getLogger("session_lifecycle").addHandler(logging.NullHandler())
    asyncio.run(main())
