"""The command line as a whole: its errors, its exit status, what it loads, and what it does without its extra."""

import json
import os
import shlex
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from platform import python_version

import pytest
from typer.testing import CliRunner

from session_lifecycle import SessionMachine
from tests.helpers.builders import utc
from tests.helpers.command_line import APP, printed, refused, run

ROOT = Path(__file__).parents[2]
NOW = utc(2026, 11, 25, 15, 56)
CALENDAR_COMMANDS = ("status", "plan", "timeline")


def python(code: str) -> "subprocess.CompletedProcess[str]":
    """Run Python code in a process of its own."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_without_a_command_it_says_what_there_is() -> None:
    """The help is a result: it is on stdout, and the exit status is 0."""
    bare, asked = run(), run("--help")
    assert (bare.exit_code, bare.stdout, bare.stderr) == (0, asked.stdout, "")
    assert "diagram" in bare.stdout


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["digram"], "No such command 'digram'. Did you mean 'diagram'?; see `python -m session_lifecycle --help`\n"),
        (["diagram", "--big"], "No such option: --big; see `python -m session_lifecycle diagram --help`\n"),
    ],
)
def test_misuse_is_one_line_on_stderr(args: list[str], text: str) -> None:
    """It says where to read on, and the exit status is 2."""
    assert refused(*args) == text


@pytest.mark.parametrize("command", CALENDAR_COMMANDS)
@pytest.mark.parametrize(
    ("args", "text"),
    [
        ([], "name at least one CALENDAR"),
        (["XNYC"], "no calendar is called 'XNYC': did you mean"),
        (["XNYS", "--hours", "nowhere.toml"], "cannot read nowhere.toml: No such file or directory"),
        (["XNYS", "--hours", str(ROOT)], f"cannot read {ROOT}: Is a directory"),
        (["XNYS", "--hours", "README.md"], "cannot read README.md: "),
        (["XNYS", "--hours", "pyproject.toml"], "must name its calendar"),
    ],
)
def test_bad_input_is_one_line_on_stderr(command: str, args: list[str], text: str) -> None:
    """Every command that asks a calendar says what is wrong with the calendars and the files that it is given."""
    assert text in refused(command, *args, now=NOW)


@pytest.mark.parametrize("command", ["plan", "timeline"])
@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--from", "20.11.2026"], "'20.11.2026' is no date: write it as 2026-11-20"),
        (["--from", "1066-10-14"], "1066-10-14 is out of range"),
        (["--from", "2026-11-20", "--to", "2026-11-19"], "--to 2026-11-19 lies before the first day, 2026-11-20"),
        (["--to", "2026-11-30", "--days", "3"], "--to and --days both say which day is the last"),
        (["--days", "0"], "'--days'"),
        (["--zone", "Mars/Base"], "'Mars/Base' is no time zone"),
        (["--zone", "../etc/passwd"], "is no time zone"),
        (["--from", "1950-01-02"], "knows sessions from 1970-01-02"),
    ],
)
def test_a_range_that_cannot_be_is_one_line_on_stderr(command: str, args: list[str], text: str) -> None:
    """Where days or zone make no sense, or nothing is known about them, it says so."""
    assert text in refused(command, "XNYS", *args, now=NOW)


def test_a_file_without_permission_is_one_line_on_stderr(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It names the file and what the system said."""

    def refuse(self: Path, *args: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    message = refused("status", "--hours", str(tmp_path / "h.toml"), now=NOW)
    assert f"cannot read {tmp_path / 'h.toml'}: Permission denied" in message


def test_two_files_for_one_calendar_are_refused(tmp_path: Path) -> None:
    """Which of them should win is a guess, so none is made."""
    for name, calendar in (("a.toml", "XNYS"), ("b.toml", "XNAS")):
        (tmp_path / name).write_text(f'calendar = "{calendar}"\n[[closure]]\ndate = 2026-11-24\n')
    args = [f"--hours={tmp_path / name}" for name in ("a.toml", "b.toml")]
    assert "2 files of --hours are for XNYS" in refused("status", *args, now=NOW)


def test_overrides_hold_for_every_name_of_their_calendar(tmp_path: Path) -> None:
    """XNAS is XNYS; a calendar that was not named is added, and its options count."""
    file = tmp_path / "hours.toml"
    file.write_text(
        'calendar = "XNYS"\nextended_hours = true\n[[special_hours]]\ndate = 2026-11-25\nclose = 14:00:00\n'
    )
    assert "close 14:00" in printed("status", "XNAS", f"--hours={file}", now=NOW)
    text = printed("status", "XLON", f"--hours={file}", now=NOW)
    assert [line.split()[0] for line in text.splitlines()[:3]] == ["market", "XLON", "XNYS"]
    assert "post-market" in printed("status", f"--hours={file}", now=utc(2026, 11, 26, 0, 30))


def test_where_no_extended_hours_are_on_record_it_says_so() -> None:
    """The other venues have theirs; the note is no result, so it is on stderr."""
    result = run("status", "XNYS", "XLON", "XHKG", "--extended-hours", now=utc(2026, 11, 26, 0, 30))
    assert result.exit_code == 0
    assert result.stderr == ("note: no extended hours are on record for XLON, XHKG; the default durations apply\n")
    states = [line.split()[:2] for line in result.stdout.splitlines()[1:4]]
    assert states == [["XNYS", "post-market"], ["XLON", "not"], ["XHKG", "pre-market~"]]
    assert result.stdout.splitlines()[4:] == [
        f"~ {name}: by configuration; the venue's own are not on record" for name in ("XLON", "XHKG")
    ]


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
    text = "the command line needs typer, which is not installed: pip install 'session_lifecycle[cli]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", text)


def test_a_fault_of_our_own_stays_a_traceback() -> None:
    """A module of this package that is missing is no extra."""
    done = python(MISSING.format(name="session_lifecycle._cli.venues"))
    assert done.returncode == 1
    assert "Traceback" in done.stderr


SLOW = """
import signal, socket
from session_lifecycle import __main__
def slow():
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())  # a signal ends the wait even where it comes before that has begun
    print("running", flush=True)
    woken.recv(1)
app = __main__.assemble()
app.command()(slow)
__main__.assemble = lambda: app
import sys
sys.argv = ["session_lifecycle", "slow"]
__main__.main()
"""


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
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


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    ("target", "line"),
    [
        (">&-", "there is no stdout to print to\n"),
        pytest.param(
            "> /dev/full",
            "cannot write the result: No space left on device\n",
            marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full"),
        ),
    ],
)
def test_a_result_that_cannot_be_written_is_one_line(target: str, line: str) -> None:
    """A script that goes on would take silence for an answer."""
    command = f"{shlex.quote(sys.executable)} -m session_lifecycle diagram {target}"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


def test_the_version_is_that_of_the_package_and_of_python() -> None:
    """On one line, without a command."""
    assert printed("--version") == f"session_lifecycle {version('session_lifecycle')}, with Python {python_version()}\n"


def completing(typed: str) -> dict[str, str]:
    """Return what the script sets that `--show-completion` prints."""
    words = {"COMP_WORDS": f"session-lifecycle {typed}", "COMP_CWORD": str(len(typed.split()))}
    return {**words, "_SESSION_LIFECYCLE_COMPLETE": "complete_bash"}


def test_the_shell_completes_commands() -> None:
    """In a process, which knows what it is called."""
    code = "import sys; sys.argv[0] = 'session-lifecycle'; from session_lifecycle.__main__ import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **completing("tim")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.stdout.split(), result.stderr) == (["timeline"], "")


def test_the_shell_completes_the_names_of_calendars() -> None:
    """Those that begin as typed."""
    result = CliRunner(env=completing("status XN")).invoke(APP, prog_name="session-lifecycle")
    assert (result.stdout.split(), result.stderr) == (["XNAS", "XNYS", "XNZE"], "")
