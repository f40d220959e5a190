"""Three replicas, each behind a proxy of its own, faults by chance, and the audit of their books."""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from psycopg.conninfo import make_conninfo

from tests.helpers.journal_days import DAY, FIRST
from tests.helpers.postgres import Database, Server
from tests.helpers.tcp_proxy import TcpProxy
from tests.labs.replicas.replica import Order

ROOT = Path(__file__).parents[3]
BACKENDS = ("asyncio", "trio", "asyncio")
TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
)

# The control: no term is asked about, and no index refuses a second *done*.
UNFENCE = """
DROP INDEX session_lifecycle.record_done_once;
ALTER TABLE session_lifecycle.record DROP CONSTRAINT record_pkey;
CREATE OR REPLACE FUNCTION session_lifecycle.append(p_name text, p_term bigint, p_holder text, p_records jsonb)
RETURNS void LANGUAGE sql SECURITY DEFINER AS $$
    INSERT INTO session_lifecycle.record
        (name, seq, term, entry, session, at, target, skipped, open, close, note, subject)
    SELECT p_name, g.seq, p_term, g.entry, g.session, g.at, g.target, g.skipped, g.open, g.close, g.note, g.subject
      FROM jsonb_populate_recordset(NULL::session_lifecycle.record, p_records) g;
    UPDATE session_lifecycle.journal j SET seq = greatest(j.seq, (p_records -> -1 ->> 'seq')::bigint)
     WHERE j.name = p_name;
    SELECT pg_notify('session_lifecycle', p_name);
$$;
CREATE OR REPLACE FUNCTION session_lifecycle.complete(
    p_name text, p_term bigint, p_holder text, p_record jsonb, p_rest int)
RETURNS void LANGUAGE sql SECURITY DEFINER AS $$
    SELECT session_lifecycle.append(p_name, p_term, p_holder, jsonb_build_array(p_record));
$$;
"""


@dataclass
class Audit:
    """What the books, the records and the announcements add up to. What must not be is a finding."""

    rolls: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    terms: int = 0
    doubled: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    announced_twice: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    @property
    def complaints(self) -> list[str]:
        return (
            [f"booked twice: {day}" for day in self.doubled]
            + [f"lost: {day}" for day in self.lost]
            + [f"announced twice: {day}" for day in self.announced_twice]
            + self.others
        )


class Lab:
    """Replicas of one journal, on a server that the lab may crash."""

    def __init__(
        self, server: Server, folder: Path, seed: int, *, fenced: bool = True, ttl: float = 0.5, managers: bool = False
    ) -> None:
        self.rng = random.Random(seed)
        self.server = server
        self.database = Database(server)
        self.database.execute("CREATE TABLE books (session date, pid int)")
        if not fenced:
            self.database.execute(UNFENCE)
        self.fenced = fenced
        self.ttl = ttl
        self.faults: Counter[str] = Counter()
        start = time.time() if managers else 0.0
        self.proxies = [TcpProxy(server.port) for _ in BACKENDS]
        self.orders = [
            Order(
                make_conninfo(self.database.conninfo(tcp=True), port=proxy.port),
                str(folder / f"replica-{number}"),
                ttl=ttl,
                pause=0.03,
                fenced=fenced,
                backend=backend,
                start=start,
            )
            for number, (proxy, backend) in enumerate(zip(self.proxies, BACKENDS, strict=True))
        ]
        self.processes = [self._started(order) for order in self.orders]
        self._later: list[threading.Timer] = []
        self._serving = threading.Lock()

    def _started(self, order: Order) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, "-m", "tests.labs.replicas.replica", order.as_json()], cwd=ROOT)

    def run(self, rolls: int, faults: int, seconds: float) -> Audit:
        """Inflict faults until there are enough of them and of rolls, or the time is over; then audit."""
        try:
            end = time.monotonic() + seconds
            while time.monotonic() < end and (self.faults.total() < faults or self.count() < rolls):
                time.sleep(self.rng.uniform(0.05, 1.2 * self.ttl))
                self.inflict()
            self._recover()
            return self._drained()
        finally:
            self._recover()
            for process in self.processes:
                process.kill()
                process.wait()
            for proxy in self.proxies:
                proxy.close()

    def count(self) -> int:
        """Return how many rows the books have."""
        with self._serving:
            ((count,),) = self.database.execute("SELECT count(*) FROM books")
            return count

    def inflict(self) -> None:
        """Inflict one fault, on a replica or on the server."""
        number = self.rng.randrange(len(self.processes))
        faults: list[tuple[str, Callable[[int], None], int]] = [
            ("killed", self._kill, 3),
            ("stopped", self._stop, 5 if self.fenced else 20),
            ("partitioned", self._partition, 4),
            ("backends terminated", self._terminate, 3),
            ("server crashed", self._crash, 1 if self.fenced else 0),
        ]
        names, works, weights = zip(*faults, strict=True)
        (index,) = self.rng.choices(range(len(faults)), weights)
        works[index](number)
        self.faults[names[index]] += 1

    def _kill(self, number: int) -> None:
        self.processes[number].kill()
        self.processes[number].wait()
        self.processes[number] = self._started(self.orders[number])

    def _stop(self, number: int) -> None:
        process = self.processes[number]
        process.send_signal(signal.SIGSTOP)
        self._after(self.rng.uniform(0.2, 2.5) * self.ttl, lambda: process.send_signal(signal.SIGCONT))

    def _partition(self, number: int) -> None:
        self.proxies[number].partition()
        self._after(self.rng.uniform(0.2, 2.5) * self.ttl, self.proxies[number].heal)

    def _terminate(self, _: int) -> None:
        with self._serving:
            self.database.execute(TERMINATE)

    def _crash(self, _: int) -> None:
        with self._serving:
            self.server.crash()
            time.sleep(self.rng.uniform(0, 1.5) * self.ttl)
            self.server.start()

    def _after(self, seconds: float, work: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, work)
        timer.start()
        self._later.append(timer)

    def _recover(self) -> None:
        for timer in self._later:
            timer.join()
        self._later.clear()

    def _drained(self) -> Audit:
        """Let the replicas roll in peace for a moment, stop them, and audit."""
        calm, limit = self.count() + 3, time.monotonic() + 20 * self.ttl + 10
        while self.count() < calm and time.monotonic() < limit:
            time.sleep(0.05)
        stuck = self.count() < calm
        for process in self.processes:
            process.send_signal(signal.SIGKILL)
            process.wait()
        self.database.execute(TERMINATE)
        audit = self.audit()
        if stuck:
            audit.others.append("the replicas did not roll any more once there were no faults")
        return audit

    def audit(self) -> Audit:
        """Compare the books, the records and what was announced."""
        booked = Counter(day for (day,) in self.database.execute("SELECT session FROM books"))
        done = Counter(
            day for (day,) in self.database.execute("SELECT session FROM session_lifecycle.record WHERE entry = 'done'")
        )
        announced: Counter[date] = Counter()
        lines = [line for order in self.orders for line in _lines(Path(order.log))]
        announced.update(date.fromisoformat(line["day"]) for line in lines if line["what"] == "announced")
        ((term,),) = self.database.execute("SELECT term FROM session_lifecycle.journal")
        audit = Audit(len(booked), self.faults, term)
        audit.doubled = [str(day) for day, times in booked.items() if times > 1]
        audit.announced_twice = [str(day) for day, times in announced.items() if times > 1]
        # Managers adopt the session of the moment at which the first of them starts.
        first = min(booked, default=FIRST) if self.orders[0].start else FIRST
        days = [first + n * DAY for n in range((max(booked, default=first) - first).days + 1)] if booked else []
        audit.lost = [str(day) for day in days if not booked[day]]
        audit.lost += [f"{day}, which was announced" for day in announced if not (booked[day] and done[day])]
        if self.fenced and booked != done:
            audit.others.append(f"books and records differ: {booked - done} and {done - booked}")
        return audit


def _lines(log: Path) -> list[dict[str, str]]:
    text = log.read_text() if log.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
