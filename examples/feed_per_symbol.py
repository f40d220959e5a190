"""A watch over each symbol's data, where one silent or halted symbol is no reason to stop trading the others.

Run it from anywhere, with the package installed:

    python examples/feed_per_symbol.py

Expect a minute of quotes, in simulated time. IBM never sends any, so it may not be quoted. After 20 seconds the quotes
of AAPL stop; 30 seconds later its feed is stale, and its orders are withdrawn. GME is halted after 30 seconds. MSFT
goes on, so the state stays ACTIVE and it may be quoted.

Shortcomings: quotes carry no prices, and what withdraws the orders only prints a line. Two hundred feeds, with a
probe and timeouts that adapt, are in `watch_feeds.py`.
"""

import logging
from datetime import UTC, date, datetime, timedelta

import anyio

from session_lifecycle import FeedStale, LifecycleConfig, SessionBoundaryManager, StaleWhen
from session_lifecycle.testing import SimulatedClock


async def roll_session(next_date: date) -> None:
    """Roll nothing: this program ends before the close."""


async def withdraw(event: FeedStale) -> None:
    """Withdraw the orders in a symbol."""
    print(f"{event.observed_at:%H:%M:%S} orders in {event.feed} withdrawn: {event.reason}")


async def main() -> None:
    """Quote two symbols for a minute."""
    clock = SimulatedClock(datetime(2024, 11, 29, 14, 30, tzinfo=UTC))
    config = LifecycleConfig(stale_when=StaleWhen.ALL)  # TIMEOUT stands for the line, not for one symbol
    manager = SessionBoundaryManager("XNYS", roll_session, config=config, clock=clock)
    symbols = ("AAPL", "GME", "IBM", "MSFT")
    feeds = {symbol: manager.add_feed(symbol, timeout=timedelta(seconds=30)) for symbol in symbols}
    manager.on(FeedStale)(withdraw)

    def on_quote(symbol: str) -> None:  # what your connection calls
        feeds[symbol].record()

    def may_quote(symbol: str) -> bool:
        return feeds[symbol].can_trade

    async with manager:
        for second in range(0, 60, 10):
            await clock.advance(timedelta(seconds=10))
            on_quote("MSFT")
            if second < 20:
                on_quote("AAPL")
                on_quote("GME")
            if second == 10:
                print({symbol: may_quote(symbol) for symbol in feeds})
            if second == 20:
                feeds["GME"].halt("limit up")
        print({symbol: may_quote(symbol) for symbol in feeds})
        print(f"{manager.state.name}, stale: {manager.stale_feeds}, halted: {manager.halted_feeds}")


if __name__ == "__main__":
    # The lines above show everything already; without this, Python would print the library's warnings once more.
    logging.getLogger("session_lifecycle").addHandler(logging.NullHandler())
    anyio.run(main)
