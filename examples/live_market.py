"""Which session is it at this exchange, and what comes next? On the real clock.

Run it from anywhere, with the package installed:

    python examples/live_market.py                      # London, for 5 seconds
    python examples/live_market.py XHKG --seconds 60
    python examples/live_market.py 24/7 --seconds inf   # until Ctrl-C

Expect a few lines on the session and its state, a countdown to the next boundary, and in between whatever happens. The
first events are marked "catch-up": the state machine makes every transition up to the present, and never jumps. A
calendar that does not exist is answered in one line, with exit status 2.

Shortcomings: it receives no market data, so the watch for silent data is switched off. Its roll only prints a line.
Halts and other surprises of the day are in no calendar.
"""

import argparse
import logging
import sys
from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta, tzinfo

import anyio

from session_lifecycle import Event, LifecycleConfig, LifecycleError, SessionBoundaryManager, StateChanged


async def roll_session(next_date: date) -> None:
    """Stand in for what an application does at the end of its trading day."""
    print(f"rolling the books to {next_date}")


async def watch(manager: SessionBoundaryManager, seconds: float) -> None:
    """Run the manager for so long, and tell what it says."""
    zone = manager.schedule.timezone
    events = manager.events()
    async with manager:
        show(manager, zone)
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(print_events, events, zone)
                while True:
                    print(countdown(manager))
                    await anyio.sleep(1)
    print(f"stopped in {manager.state.name}")


def show(manager: SessionBoundaryManager, zone: tzinfo) -> None:
    """Print where the exchange is now."""
    session = manager.session
    print(f"{manager.schedule.name}, {zone}")
    print(f"session        {session.date}, {both(session.open, zone)} to {both(session.close, zone)}")
    print(f"state          {manager.state.name}{', on a break' if manager.on_break else ''}")
    if manager.next_boundary is not None:
        print(f"next boundary  {both(manager.next_boundary, zone)}")


def both(instant: datetime, zone: tzinfo) -> str:
    """Return an instant in the exchange's time and in UTC."""
    return f"{instant.astimezone(zone):%a %Y-%m-%d %H:%M:%S %Z} ({instant:%H:%M:%S} UTC)"


def countdown(manager: SessionBoundaryManager) -> str:
    """Return how long it is to the next boundary, in whole seconds."""
    if manager.next_boundary is None:
        return f"{manager.state.name}, and the calendar knows no further"
    left = manager.next_boundary - manager.clock.now()
    return f"{manager.state.name} for another {timedelta(seconds=max(0, round(left.total_seconds())))}"


async def print_events(events: AsyncIterator[Event], zone: tzinfo) -> None:
    """Print each event as it comes."""
    async for event in events:
        if isinstance(event, StateChanged):
            note = "  (catch-up)" if event.catch_up else ""
            print(f"event: {both(event.scheduled_at, zone)}  {event.source.name} → {event.dest.name}{note}")
        else:
            print(f"event: {event}")


def positive(text: str) -> float:
    """Read a number above zero; "inf" is one."""
    seconds = float(text)
    if not seconds > 0:
        raise ValueError
    return seconds


def main() -> int:
    """Read the command line, and return the exit status."""
    parser = argparse.ArgumentParser(description="Show an exchange's trading session, live.")
    parser.add_argument("calendar", nargs="?", default="XLON", help="a name known to exchange_calendars")
    parser.add_argument("--seconds", type=positive, default=5.0, help="how long to watch; inf: until Ctrl-C")
    arguments = parser.parse_args()
    try:
        # Made before the event loop runs: building a calendar takes a moment, and would block it.
        manager = SessionBoundaryManager(arguments.calendar, roll_session, config=LifecycleConfig(data_timeout=None))
        anyio.run(watch, manager, arguments.seconds)
    except LifecycleError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped by Ctrl-C")
    return 0


if __name__ == "__main__":
    # All that happens is printed already; without this, Python would print the library's warnings once more.
    logging.getLogger("session_lifecycle").addHandler(logging.NullHandler())
    sys.exit(main())
