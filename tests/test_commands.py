"""The command line as a whole: its errors, its exit status, what it loads, and what it does without its extra."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from session_lifecycle import SessionMachine
from session_lifecycle.__main__ import assemble

APP = assemble()
ROOT = Path(__file__).parents[1]


def run(*args: str) -> Result:
    """Run a command in this process, to its exit status."""
    return CliRunner().invoke(APP, args, prog_name="python -m session_lifecycle")


def python(code: str) -> "subprocess.CompletedProcess[str]":
    """Run Python code in a process of its own."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_without_a_command_it_says_what_there_is() -> None:
    """The help is a result: it is on stdout, and the exit status is 0."""
    bare, asked = run(), run("--help")
    assert (bare.exit_code, bare.stdout, bare.stderr) == (0, asked.stdout, "")
    assert "diagram" in bare.stdout


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["digram"], "No such command 'digram'. Did you mean 'diagram'?; see `python -m session_lifecycle --help`\n"),
        (["diagram", "--big"], "No such option: --big; see `python -m session_lifecycle diagram --help`\n"),
    ],
)
def test_misuse_is_one_line_on_stderr(args: list[str], told: str) -> None:
    """It says where to read on, and the exit status is 2."""
    result = run(*args)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", told)


def test_the_diagram_is_the_machine_s_and_nothing_else() -> None:
    """It can be piped into a file."""
    result = run("diagram")
    assert (result.exit_code, result.stdout, result.stderr) == (0, SessionMachine.mermaid(), "")


START = """
import contextlib, json, sys
from session_lifecycle.__main__ import main
sys.argv = ["session_lifecycle", {argument!r}]
with contextlib.suppress(SystemExit):
    main()
print(json.dumps(sorted(name.partition(".")[0] for name in sys.modules)))
"""


@pytest.mark.parametrize("argument", ["--help", "diagram"])
def test_what_asks_no_calendar_loads_none(argument: str) -> None:
    """Neither pandas, which takes most of a second, nor the libraries of the other commands."""
    loaded = set(json.loads(python(START.format(argument=argument)).stdout.splitlines()[-1]))
    assert "typer" in loaded
    assert not loaded & {"pandas", "numpy", "exchange_calendars", "matplotlib", "icalendar", "rich"}


MISSING = """
import sys
sys.modules[{name!r}] = None
from session_lifecycle.__main__ import main
main()
"""


def test_without_the_extra_it_says_what_to_install() -> None:
    """One line, exit status 2, no traceback; and the package itself can do without."""
    done = python(MISSING.format(name="typer"))
    told = "the command line needs typer, which is not installed: pip install 'session_lifecycle[cli]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", told)


def test_a_fault_of_our_own_stays_a_traceback() -> None:
    """A module of this package that is missing is no extra."""
    done = python(MISSING.format(name="session_lifecycle.commands.common"))
    assert done.returncode == 1
    assert "Traceback" in done.stderr


SLOW = """
import signal
from session_lifecycle import __main__
def slow():
    print("running", flush=True)
    signal.pause()
app = __main__.assemble()
app.command()(slow)
__main__.assemble = lambda: app
import sys
sys.argv = ["session_lifecycle", "slow"]
__main__.main()
"""


@pytest.mark.skipif(not hasattr(signal, "pause"), reason="needs POSIX signals")
def test_an_interrupt_ends_it_quietly() -> None:
    """Ctrl-C leaves with 130 and not a word."""
    with subprocess.Popen(
        [sys.executable, "-c", SLOW], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "")
