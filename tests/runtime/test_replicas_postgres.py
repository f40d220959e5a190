"""Managers on a journal in PostgreSQL, by the real clock: one leads and rolls, the other follows and takes over."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta

import anyio
import pytest

from session_lifecycle import (
    Clock,
    Event,
    FixedSchedule,
    LeadershipGained,
    LeadershipLost,
    LifecycleConfig,
    NotLeadingError,
    PostgresJournal,
    RollFollowed,
    RollSucceeded,
    Session,
    SessionBoundaryManager,
    Subscription,
    run_due,
)
from tests.conftest import BACKENDS, Backend
from tests.helpers.harness import ShiftedClock
from tests.helpers.journal_days import DAY, FIRST
from tests.helpers.ledger import napping
from tests.helpers.postgres import Database

pytestmark = pytest.mark.anyio


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(*each.values, id=each.id, marks=pytest.mark.long if number else ())
        for number, each in enumerate(BACKENDS)
    ],
)
def anyio_backend(request: pytest.FixtureRequest) -> Backend:
    """Run on asyncio, and in the long run on each of the event loops."""
    backend: Backend = request.param
    return backend


CONFIG = LifecycleConfig(pre_market=timedelta(0), post_market_roll_delay=timedelta(0), data_timeout=None)
TTL = timedelta(seconds=2)


def two_sessions(first: timedelta) -> FixedSchedule:
    """Return a session that has opened, and closes after `first`, and one that lasts an hour from then on."""
    now = datetime.now(UTC)
    close = now + first
    return FixedSchedule(
        [Session(FIRST, now - timedelta(hours=1), close), Session(FIRST + DAY, close, close + timedelta(hours=1))]
    )


def replica(
    database: Database,
    schedule: FixedSchedule,
    roll: Callable[[date], Awaitable[None]],
    ttl: timedelta = TTL,
    *,
    session: date | None = None,
    clock: Clock | None = None,
) -> SessionBoundaryManager:
    journal = PostgresJournal(database.conninfo(), "desk", ttl)
    return SessionBoundaryManager(schedule, roll, session=session, config=CONFIG, clock=clock, journal=journal)


async def until(events: Subscription, kind: type[Event]) -> Event:
    with anyio.fail_after(10):
        async for event in events:
            if isinstance(event, kind):
                return event
    pytest.fail("the manager has stopped")


async def test_the_standby_follows_the_roll_and_takes_over_at_once(database: Database) -> None:
    """The roll is awaited on the leader alone. A leader that leaves is replaced within 100 ms, much less than ttl.

    A busy machine may take longer, but not time and again.
    """
    rolled: list[str] = []
    schedule, clock = two_sessions(timedelta(hours=1)), ShiftedClock(timedelta(milliseconds=50))

    def rolling(name: str) -> Callable[[date], Awaitable[None]]:
        async def roll(_: date) -> None:
            rolled.append(name)

        return roll

    long = timedelta(seconds=30)
    leader, standby = (replica(database, schedule, rolling(name), long, clock=clock) for name in ("leader", "standby"))
    of_leader, of_standby = leader.events(), standby.events()
    async with standby_after(leader, standby), AsyncExitStack() as stack:
        assert (leader.leads, standby.leads) == (True, False)
        seen = standby.status()
        assert (seen.running, seen.leads, seen.can_trade, seen.session) == (True, False, False, leader.session.date)
        assert leader.can_trade
        assert not standby.can_trade
        with pytest.raises(NotLeadingError):
            await standby.end_session("not mine to end")
        clock.shift = timedelta(hours=1)
        await until(of_leader, RollSucceeded)
        followed = await until(of_standby, RollFollowed)
        assert (followed.session, standby.session.date, rolled) == (FIRST, FIRST + DAY, ["leader"])
        for _ in range(5):
            async with napping() as naps:
                leader.stop()
                await until(of_standby, LeadershipGained)
                took = sum(naps)
            assert standby.can_trade
            if took < 0.1:
                break
            leader, standby = standby, replica(database, schedule, rolling("standby"), long, clock=clock)
            of_standby = standby.events()
            await stack.enter_async_context(standby)
        assert took < 0.1


class standby_after:  # noqa: N801 -- read as a function
    """Run a leader, then a standby; leave the standby last."""

    def __init__(self, leader: SessionBoundaryManager, standby: SessionBoundaryManager) -> None:
        self._managers = (leader, standby)

    async def __aenter__(self) -> None:
        for manager in self._managers:
            await manager.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        for manager in reversed(self._managers):
            await manager.__aexit__(*error)


async def test_a_roll_under_way_ends_with_the_lead_and_is_done_later(database: Database) -> None:
    """It is cancelled, and is no failure of the manager, which rolls once it leads again."""
    begun = 0
    first = anyio.Event()

    async def roll(_: date) -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            first.set()
            await anyio.sleep_forever()

    schedule = two_sessions(timedelta(seconds=0.3))
    manager = replica(database, schedule, roll, session=FIRST)  # also where a busy machine starts it after the close
    events = manager.events()
    async with manager:
        with anyio.fail_after(10):
            await first.wait()
        database.execute("UPDATE session_lifecycle.journal SET term = 9, holder = 'another'")
        database.execute("UPDATE session_lifecycle.lease SET term = 9")
        lost = await until(events, LeadershipLost)
        assert "another replica leads" in lost.reason
        database.execute("UPDATE session_lifecycle.lease SET expires_at = 'epoch'")
        gained = await until(events, LeadershipGained)
        assert gained.term == 10
        succeeded = await until(events, RollSucceeded)
        assert (succeeded.session, begun) == (FIRST, 2)


async def test_two_jobs_at_a_time_make_one_roll(database: Database) -> None:
    """`run_due` returns at once where another process leads, and finds nothing to do after it."""
    ttl, schedule = timedelta(seconds=10), two_sessions(timedelta(0))
    begun, go_on, rolled = anyio.Event(), anyio.Event(), list[str]()

    async def slow(_: date) -> None:
        begun.set()
        await go_on.wait()
        rolled.append("first")

    async def other(_: date) -> None:
        rolled.append("other")

    assert await run_due(replica(database, two_sessions(timedelta(hours=1)), other, ttl)) == ()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_due, replica(database, schedule, slow, ttl))
        await begun.wait()
        with anyio.fail_after(10):
            assert await run_due(replica(database, schedule, other, ttl)) == ()
        go_on.set()
    assert await run_due(replica(database, schedule, other, ttl)) == ()
    assert rolled == ["first"]
