"""What a journal in PostgreSQL costs, on a real server: an append, a clean hand-over, a take-over."""

import statistics
import time
from datetime import UTC, date, datetime, timedelta

import anyio
import psycopg

from session_lifecycle import Entry, PostgresJournal, Record
from tests.helpers.postgres import Database, Server, binaries, running_server

APPENDS = 400
DAY = date(2024, 11, 29)
AT = datetime(2024, 11, 29, 21, 30, tzinfo=UTC)
NOTE = "as long as a reason usually is: " + "x" * 60
TTL = timedelta(seconds=1)

BARE = (
    "WITH fence AS (SELECT term FROM fence WHERE name = %s AND term = %s FOR NO KEY UPDATE) "
    "INSERT INTO bare SELECT %s, %s, term, %s, %s, %s, %s FROM fence"
)


def figures() -> tuple[float, float, float, float] | None:
    """Return the seconds of an append, of a bare fenced INSERT, of a hand-over, and of a take-over less the `ttl`.

    None where there is no server.
    """
    if binaries() is None:
        return None
    with running_server(fsync="on") as server:
        append, bare = anyio.run(_appends, server)
        handed = statistics.median(anyio.run(_handed_over, server) for _ in range(5))
        taken = statistics.median(anyio.run(_taken_over, server) for _ in range(3))
    return append, bare, handed, taken - TTL.total_seconds()


async def _appends(server: Server) -> tuple[float, float]:
    conninfo = Database(server).conninfo()
    journal = PostgresJournal(conninfo, "desk/XNYS", timedelta(hours=1))
    await journal.open("XNYS")
    ours, floor = [], []
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as bare:
        await bare.execute("CREATE TABLE fence (name text PRIMARY KEY, term bigint)")
        await bare.execute(
            "CREATE TABLE bare (name text, seq bigint, term bigint, entry text, session date, at timestamptz, "
            "note text, PRIMARY KEY (name, seq))"
        )
        await bare.execute("INSERT INTO fence VALUES ('desk', 1)")

        async def by_journal(seq: int) -> None:
            await journal.append([Record(Entry.FAILED, DAY, AT, note=NOTE, seq=seq)])

        async def by_statement(seq: int) -> None:
            await bare.execute(BARE, ("desk", 1, "desk", seq, "failed", DAY, AT, NOTE))

        for seq in range(1, APPENDS):
            arms = [(by_journal, ours), (by_statement, floor)]
            for arm, seconds in arms if seq % 2 else reversed(arms):  # neither always follows the other's fsync
                began = time.perf_counter()
                await arm(seq)
                seconds.append(time.perf_counter() - began)
    await journal.close()
    return statistics.median(ours), statistics.median(floor)


async def _handed_over(server: Server) -> float:
    """Return the seconds from the leader's `close()` until a standby leads."""
    return await _next_leads(server, release=True)


async def _taken_over(server: Server) -> float:
    """Return the seconds from a leader's last renewal until a standby leads."""
    return await _next_leads(server, release=False)


async def _next_leads(server: Server, *, release: bool) -> float:
    conninfo = Database(server).conninfo()
    leader, standby = (PostgresJournal(conninfo, "desk/XNYS", TTL) for _ in range(2))
    began = time.perf_counter()
    await leader.open("XNYS")
    await standby.open("XNYS")

    async def follow() -> None:
        while not standby.leads:
            await standby.follow()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        if release:
            await anyio.sleep(0.2)  # the standby waits for a notification by now
            began = time.perf_counter()
            await leader.close()
    seconds = time.perf_counter() - began
    await leader.close()
    await standby.close()
    return seconds


if __name__ == "__main__":
    print(figures())
