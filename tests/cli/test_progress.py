"""Progress on stderr: one line on a terminal, erased at the end; nothing anywhere else."""

import io
import sys

import pytest

from session_lifecycle._cli.output import notify, with_progress


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Replace stderr, in the test itself: pytest sets it anew for each phase of one."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    return stream


def test_a_terminal_shows_what_is_under_way_and_ends_with_an_empty_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each text replaces the one before."""
    stream = terminal(monkeypatch)
    assert list(with_progress(["XNYS", "XLON"], lambda name: f"checking {name}")) == ["XNYS", "XLON"]
    line, *shown = stream.getvalue().split("\r\x1b[K")
    assert (line, shown) == ("", ["checking XNYS (1 of 2) ...", "checking XLON (2 of 2) ...", ""])


def test_it_is_erased_where_the_work_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message of the error stands alone on its line."""
    stream = terminal(monkeypatch)
    work = with_progress(["XNYS"], str)
    next(work)
    with pytest.raises(OSError, match="full"):
        work.throw(OSError("full"))
    assert stream.getvalue().endswith("\r\x1b[K")


def test_what_is_reported_meanwhile_has_its_own_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is raised by what is done with an item leaves the progress where it is."""
    stream = terminal(monkeypatch)
    work = with_progress(["XNYS"], str)
    next(work)
    notify("no calendar is called that")
    assert stream.getvalue() == "\r\x1b[KXNYS (1 of 1) ...\r\x1b[Kno calendar is called that\n"


def test_a_pipe_and_a_dumb_terminal_get_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log must not have it."""
    stream = terminal(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    assert list(with_progress([1, 2], str)) == [1, 2]
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert list(with_progress([1, 2], str)) == [1, 2]
    assert (stream.getvalue(), sys.stderr.getvalue()) == ("", "")
