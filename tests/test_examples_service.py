"""The service of the guide's page on operating, as systemd runs it: notifications, health, logs and exit status."""

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from session_lifecycle import LifecycleConfig
from session_lifecycle.testing import SimulatedClock
from tests.test_examples import ENVIRONMENT, ROOT, Run, command, ran

__all__ = ["ran"]  # a fixture

UNIT = ROOT / "examples/deploy/session.service"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM to handle there, nor AF_UNIX")


@contextmanager
def service(*arguments: str, **environment: str) -> Generator["subprocess.Popen[str]"]:
    """Start the service, and kill it at the end if it still runs."""
    process = subprocess.Popen(
        command("systemd_service.py", *arguments),
        cwd=ROOT,
        env={**ENVIRONMENT, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def logged(process: "subprocess.Popen[str]", text: str) -> dict[str, Any]:
    """Return the first line of the log whose message has a text."""
    assert process.stdout is not None
    for line in process.stdout:
        record: dict[str, Any] = json.loads(line)
        if re.search(text, record["message"]):
            return record
    pytest.fail(f"the service has ended without {text!r}")


def get(address: str) -> tuple[int, Any]:
    """Return the status and the JSON of an answer."""
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.fixture
def systemd(tmp_path: Path) -> Generator[socket.socket]:
    """Listen where a service reports to."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(20)
        yield channel


def read_until_it_stops(channel: socket.socket, reports: list[str]) -> None:
    """Read as systemd does, at once."""
    while "STOPPING=1" not in reports:
        reports.append(channel.recv(1000).decode())


def test_it_reports_to_systemd_answers_health_checks_and_ends_with_0_on_sigterm(
    systemd: socket.socket, tmp_path: Path
) -> None:
    """READY once it runs, then the watchdog several times, STOPPING at the signal; each line of the log is JSON."""
    journal = tmp_path / "books.db"
    reporting = {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "300000"}
    reports: list[str] = []
    reader = Thread(target=read_until_it_stops, args=(systemd, reports))
    reader.start()
    with service("24/7", "--journal", str(journal), **reporting) as process:
        address = logged(process, "health checks on")["message"].split()[-1]
        deadline = time.monotonic() + 20
        while reports.count("WATCHDOG=1") < 2:
            assert time.monotonic() < deadline, reports
            time.sleep(0.01)
        assert get(f"{address}/live") == (200, {"alive": True})
        assert get(f"{address}/ready") == (200, {"ready": True, "reason": None})
        code, status = get(f"{address}/status")
        assert (code, status["state"], status["running"], status["leads"]) == (200, "active", True, True)
        assert get(f"{address}/nothing")[0] == 404
        with service("24/7", "--journal", str(journal)) as second:  # while the first one holds the journal
            output, errors = second.communicate(timeout=60)
            assert (second.returncode, errors) == (75, "")
            assert str(process.pid) in json.loads(output.splitlines()[-1])["message"]
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "SIGTERM in ACTIVE" in [json.loads(line)["message"] for line in output.splitlines()]
    reader.join(timeout=20)
    assert re.fullmatch(r"READY=1\nSTATUS=ACTIVE in session \S+", reports[0])
    assert reports[-1] == "STOPPING=1"


def test_a_log_line_has_the_fields_of_its_event(ran: Run) -> None:
    """A state's source and destination, the session and the calendar are members of the object."""
    result = ran("systemd_service.py", "24/7", "--seconds", "1")
    records = [json.loads(line) for line in result.stdout.splitlines()]
    [record] = [each for each in records if "PRE_MARKET → ACTIVE" in each["message"]]
    assert (record["session_event"], record["calendar"], record["dest"]) == ("StateChanged", "24/7", "active")
    assert result.returncode == 0


@pytest.mark.parametrize(
    ("calendar", "exit_status", "text"), [("XNSY", 78, "did you mean XNYS"), ("XNYS", 75, "file is not a database")]
)
def test_the_exit_status_says_whether_a_restart_may_help(
    tmp_path: Path, calendar: str, exit_status: int, text: str, ran: Run
) -> None:
    """Not with a calendar that does not exist; with a file that cannot be opened, which may be another one later."""
    file = tmp_path / "books.db"
    file.write_bytes(b"this is no database " * 500)
    result = ran("systemd_service.py", calendar, "--journal", str(file))
    assert result.stderr == ""
    last = json.loads(result.stdout.splitlines()[-1])
    assert (result.returncode, last["level"]) == (exit_status, "ERROR")
    assert text in last["message"]


def test_the_watchdog_follows_the_manager_s_driver() -> None:
    """A driver that last ran an hour ago is an hour old, however well the event loop runs; before the start, new."""
    spec = importlib.util.spec_from_file_location("systemd_service", ROOT / "examples/systemd_service.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    clock = SimulatedClock(datetime(2024, 11, 29, 15, 0, tzinfo=UTC))
    hour_ago = clock.now() - timedelta(hours=1)
    assert module.alive_at(SimpleNamespace(clock=clock, alive_at=hour_ago)) == hour_ago
    assert module.alive_at(SimpleNamespace(clock=clock, alive_at=None)) == clock.now()


def test_the_unit_is_one_that_systemd_understands(tmp_path: Path) -> None:
    """And it waits for longer than a roll may take before it kills."""
    text = UNIT.read_text(encoding="utf-8")
    [stop] = re.findall(r"(?m)^TimeoutStopSec=(\d+)$", text)
    roll_timeout = LifecycleConfig().roll_timeout
    assert roll_timeout is not None
    assert timedelta(seconds=int(stop)) > roll_timeout
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze here")
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", text).replace("User=desk\n", ""))
    verify = [analyze, "verify", "--man=no", str(unit)]  # the manual's pages may not be installed
    result = subprocess.run(verify, env=os.environ, capture_output=True, text=True, check=False)
    ours = [line for line in result.stderr.splitlines() if unit.name in line]  # others are the machine's
    assert (result.returncode, ours) == (0, [])
