"""Narrow terminals: nothing is cut off, no word is divided, and no line is wider than the screen."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import anyio
import pytest

from session_lifecycle import SqliteJournal
from tests.helpers.builders import MONDAY, utc
from tests.helpers.command_line import printed, run
from tests.helpers.harness import TUESDAY
from tests.helpers.journals import adopted, failed, intent, numbered

ROOT = Path(__file__).parents[2]
NOW = utc(2026, 11, 27, 4, 30)
"""The day after Thanksgiving."""
REASON = "RuntimeError('connection to db.example.com (10.11.12.13), port 5432 failed: no password for user desk_books')"
SCREENS = [
    "status XNYS XLON XHKG CMES",
    "status XNYS us_futures 24/7 --extended-hours",
    "status XTKS XNYS --phases",
    "plan XNYS --from 2026-11-25 --days 3",
    "plan XNYS --from 2026-10-30 --days 4 --zone Europe/Berlin",
    "plan XTKS --days 2 --phases",
    "plan CMES XHKG --days 2 --phases --zone America/Argentina/Buenos_Aires",
    "plan XBOM --from 2026-12-28 --days 10",
    "plan CMES --from 2026-12-22 --days 4 --extended-hours",
    "plan XNYS --from 2098-01-01",
    "journal JOURNAL",
    "doctor XNYS XBOM CMES",
]


@pytest.fixture
def journal(tmp_path: Path) -> str:
    """A journal with a long reason of a halt, and of an ERROR."""
    path = tmp_path / "books.db"
    records = [adopted(), failed(note="the disk is full"), intent(MONDAY, TUESDAY), failed(note=REASON)]

    async def write() -> None:
        held = SqliteJournal(path, "XNYS")
        await held.open("XNYS")
        await held.append(numbered(records))
        await held.close()

    anyio.run(write)
    return str(path)


def words(text: str) -> "Counter[str]":
    """Count words, without the marks that a layout may put behind them."""
    return Counter(word.rstrip(",") for word in text.split())


@pytest.mark.parametrize("screen", SCREENS)
def test_every_word_of_a_pipe_is_on_the_screen(screen: str, journal: str) -> None:
    """A pipe has the whole text. A screen has every word of it in one piece, on lines that fit it."""
    args = screen.replace("JOURNAL", journal).split()
    whole = run(*args, now=NOW)
    for width in (60, 80, 120):
        shown = run(*args, now=NOW, width=width)
        assert shown.exit_code == whole.exit_code
        assert words(whole.stdout) - words(shown.stdout) == Counter(), width
        assert "…" not in shown.stdout
        assert max(map(len, shown.stdout.splitlines())) <= width


def test_a_plan_puts_what_has_no_room_beside_a_row_below_it() -> None:
    """The columns keep their places."""
    assert printed("plan", "XNYS", "--from", "2026-11-26", "--days", "2", "--zone", "Europe/Berlin", width=56) == (
        "XNYS, 2026-11-26 to 2026-11-27, America/New_York\n"
        "session                      New York  Berlin  UTC\n"
        "Thu 2026-11-26  closed\n"
        "                  holiday\n"
        "Fri 2026-11-27  pre-market~  04:00     10:00   09:00\n"
        "                open         09:30     15:30   14:30\n"
        "                close        13:00     19:00   18:00\n"
        "                  half day\n"
        "                end~         13:30     19:30   18:30\n"
        "                  roll to 2026-11-30\n"
        "2026-11-27 half day: 09:30 to 13:00, usually 09:30 to\n"
        "  16:00\n"
        "~ XNYS: by configuration; the venue's own are on\n"
        "  record: --extended-hours\n"
    )


def test_a_plan_whose_columns_do_not_fit_has_the_sessions_on_lines_of_their_own() -> None:
    """Three places with long names, and a phase with another."""
    args = ("--from", "2026-11-27", "--days", "1", "--phases", "--zone", "America/Argentina/Buenos_Aires")
    assert "\nFri 2026-11-27\n  pre-market~     04:00     Thu 17:00    Thu 20:00\n" in printed(
        "plan", "XHKG", *args, now=NOW, width=60
    )


def test_the_note_of_a_record_is_below_it_where_the_column_would_be_too_narrow_to_read_in(journal: str) -> None:
    """Beside it is what fits on one line, and on a wide screen also what does not."""
    narrow, wide = (printed("journal", journal, width=width) for width in (72, 120))
    assert "failed   2024-03-04              the disk is full\n" in narrow
    assert "failed   2024-03-04\n                       RuntimeError('connection to" in narrow
    assert "failed   2024-03-04              RuntimeError('connection to" in wide


def test_the_legend_of_a_timeline_is_not_divided_within_an_item() -> None:
    """A block stays beside its word, and a letter beside the name of its phase."""
    lines = printed("timeline", "XTKS", "XNYS", "--phases", "--days", "2", now=NOW, width=60).splitlines()
    legend = lines[next(n for n, line in enumerate(lines) if line.startswith("░ pre-market")) :]
    assert legend == [
        "░ pre-market   █ active   ─ break   ▒ post-market",
        "· not started",
        "o opening_auction   c closing_auction   p pre_market",
        "s post_market   capitals: not tradable",
        "~ pre-market and post-market by configuration: XTKS, XNYS",
    ]


def test_the_help_has_the_whole_of_each_line() -> None:
    """A narrow terminal gets no command with a text that ends in dots."""
    done = subprocess.run(
        [sys.executable, "-m", "session_lifecycle"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "60"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "..." not in done.stdout.replace("[ARGS]...", "")
    assert "Show the board of `status`, and keep it up to date until Ctrl-C." in re.sub(r"\s+", " ", done.stdout)
    assert max(map(len, done.stdout.splitlines())) <= 60
