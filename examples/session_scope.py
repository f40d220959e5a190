"""A strategy that lives exactly as long as the market is open, one life for each session, in simulated time.

Run it from anywhere, with the package installed:

    python examples/session_scope.py

Expect three sessions of the Hong Kong Stock Exchange, in its own time. In the first the strategy is cancelled at the
close, 16:00, and its cleanup still reaches the broker. The second is a half day, the day before a holiday: 12:00. The
third is ended manually at 11:00, and the strategy with it. Between them the program waits, and rolls its books.

Shortcomings: the strategy only counts quotes, one each minute, lunch included, and the broker is a stand-in.
"""

import logging
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import anyio

from session_lifecycle import Clock, LifecycleConfig, Session, SessionBoundaryManager, SessionState
from session_lifecycle.testing import SimulatedClock

HONG_KONG = ZoneInfo("Asia/Hong_Kong")
START = datetime(2024, 12, 23, 9, 0, tzinfo=HONG_KONG)
ENDED_MANUALLY = datetime(2024, 12, 27, 11, 0, tzinfo=HONG_KONG)
FINISH = datetime(2024, 12, 27, 12, 0, tzinfo=HONG_KONG)
MINUTE = timedelta(minutes=1)


def say(clock: Clock, text: str) -> None:
    """Print a line with the time in Hong Kong."""
    print(f"{clock.now().astimezone(HONG_KONG):%a %H:%M:%S}  {text}")


class Strategy:
    """What trades while the market is open."""

    def __init__(self, clock: Clock, session: Session) -> None:
        """Begin a life."""
        self.clock = clock
        self.session = session
        self.quotes = 0

    async def live(self) -> None:
        """Trade until cancelled, then withdraw the orders."""
        say(self.clock, f"session {self.session.date} begins")
        try:
            while True:
                await self.clock.sleep(MINUTE)
                self.quotes += 1
        finally:
            # A cancelled task may await only behind a shield.
            with anyio.CancelScope(shield=True):
                await self.clock.sleep(timedelta(seconds=2))
                say(self.clock, f"orders withdrawn after {self.quotes} quotes")


async def trade(manager: SessionBoundaryManager) -> None:
    """Live once in each session."""
    async for session in manager.sessions():
        async with manager.during(SessionState.ACTIVE, SessionState.TIMEOUT):
            await Strategy(manager.clock, session).live()


async def main() -> None:
    """Run for three sessions."""
    clock = SimulatedClock(START)

    async def roll_session(next_date: date) -> None:
        say(clock, f"books are on {next_date}")

    manager = SessionBoundaryManager("XHKG", roll_session, config=LifecycleConfig(data_timeout=None), clock=clock)
    async with manager, anyio.create_task_group() as tasks:
        tasks.start_soon(trade, manager)
        await clock.advance_to(ENDED_MANUALLY)
        await manager.end_session("typhoon signal 8 is hoisted")
        await clock.advance_to(FINISH)
        say(clock, f"{manager.state.name}, session {manager.session.date}")
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    # The lines above tell everything already; without this, Python would print the library's warnings once more.
    logging.getLogger("session_lifecycle").addHandler(logging.NullHandler())
    anyio.run(main)
