"""The journal in a file: what is written comes back, one holder at a time, and no damage passes for truth."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_lifecycle import (
    Entry,
    FileJournal,
    Journal,
    JournalCorrupt,
    JournalLocked,
    JournalMismatch,
    JournalUnavailable,
    JournalWriteFailed,
    Record,
)
from session_lifecycle._journal.file import KEPT_RECORDS, LONGEST_NOTE, MOST_RECORDS, MOST_SKIPPED, Files
from session_lifecycle._journal.records import journal_state_after
from tests.helpers.builders import DAY, MONDAY
from tests.helpers.file_journal import (
    NoSync,
    descriptors,
    found,
    header,
    keep,
    kept,
    needs_proc,
    opened,
    sealed,
    some_files,
)
from tests.helpers.journals import (
    NOTED,
    ONE_OF_EACH,
    adopted,
    failed,
    histories,
    intent,
    rolls,
)

MIB = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rolls.journal"


# ---- what is written comes back ----


def test_every_kind_of_record_comes_back(path: Path):
    """Each kind of record is read again as it was written."""
    keep(path, ONE_OF_EACH)
    assert kept(path) == ONE_OF_EACH


def test_a_new_journal_is_empty(path: Path):
    """A journal that does not exist is begun, without records, and stays that way until one is appended."""
    assert kept(path) == []
    assert kept(path) == []
    assert isinstance(FileJournal(path), Journal)


@some_files
@given(history=histories())
def test_any_history_comes_back(path: Path, history: list[Record]):
    """Whatever managers write, notes of any characters included, is read again as it was written."""
    keep(path, history)
    assert kept(path) == history


@some_files
@given(history=histories(), data=st.data())
def test_a_journal_goes_on_over_many_runs(path: Path, history: list[Record], data: st.DataObject):
    """Each run finds the records of all runs before it, oldest first."""
    path.unlink(missing_ok=True)
    n = 0
    while n < len(history):
        journal, records = opened(path)
        try:
            assert list(records) == history[:n]
            for record in history[n : n + data.draw(st.integers(1, 4))]:
                journal.append(record)
                n += 1
        finally:
            journal.close()
    assert kept(path) == history


@pytest.mark.parametrize("calendar", ["XNYS", "", "a desk's own, 24/7 ☃\n"])
def test_any_name_of_a_calendar(path: Path, calendar: str):
    """The calendar's name may have any characters."""
    assert kept(path, calendar=calendar) == []
    assert kept(path, calendar=calendar) == []


def test_a_person_can_read_it(path: Path):
    """One line for the header and one for each record: JSON, a space, eight hexadecimal digits; labels and times are
    plain to see."""
    lines = keep(path, ONE_OF_EACH).decode("ascii").splitlines()
    values: list[dict[str, Any]] = [json.loads(line[:-9]) for line in lines]
    assert all(line[-9] == " " and int(line[-8:], 16) >= 0 for line in lines)
    assert values[0] == header()
    assert [value["entry"] for value in values[1:]] == [record.entry.value for record in ONE_OF_EACH]
    assert values[3] == {
        "at": "2024-03-04T21:30:00.123456+00:00",
        "entry": "intent",
        "session": "2024-03-04",
        "target": "2024-03-07",
        "skipped": ["2024-03-05", "2024-03-06"],
        "hours": ["2024-03-07T14:30:00+00:00", "2024-03-07T21:00:00+00:00"],
    }
    assert values[2]["note"] == "the desk goes home"


@pytest.mark.parametrize("length", [LONGEST_NOTE, LONGEST_NOTE + 1, 100 * LONGEST_NOTE])
def test_a_long_reason_is_cut(path: Path, length: int):
    """A reason is kept up to a length, and beyond that its beginning is, with a sign that it was cut."""
    note = "x" * length
    keep(path, [adopted(), failed(note=note)])
    again = kept(path)[1].note
    assert len(again) <= LONGEST_NOTE
    assert again == note or (again[-1] == "…" and note.startswith(again[:-1]) and len(again) > LONGEST_NOTE // 2)
    assert (again == note) == (length == LONGEST_NOTE)


def test_a_long_list_of_skipped_sessions_is_cut(path: Path):
    """Of very many skipped sessions the first are kept, so that a catch-up over years takes no more than a line."""
    record = intent(target=MONDAY + 1_000 * DAY)
    keep(path, [adopted(), record])
    again = kept(path)[1]
    assert again.skipped == record.skipped[:MOST_SKIPPED]
    assert again.target == record.target


def test_only_its_owner_can_read_it(path: Path):
    """The file and its lock are readable and writable by their owner alone, after compaction too."""
    journal, _ = opened(path)
    for record in rolls(MOST_RECORDS):
        journal.append(record)
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    journal.close()


def test_its_path_shows(tmp_path: Path):
    """A journal shows its path, and takes it as text too."""
    assert repr(FileJournal(f"{tmp_path}/j")) == f"<FileJournal '{tmp_path}/j'>"
    assert FileJournal(f"{tmp_path}/j").path == tmp_path / "j"


# ---- one holder ----


HOLD = """
import sys
from session_lifecycle import FileJournal
journal = FileJournal(sys.argv[1])
journal.open("XNYS")
print("held", flush=True)
sys.stdin.readline()
journal.close()
print("freed", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def holder(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the journal until it gets a line."""
    command = [sys.executable, "-W", "error", "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_fault_46_another_process_is_refused(path: Path, holder: "subprocess.Popen[str]"):
    """While one process holds the journal another is refused, with the holder's pid; once it is closed, no more."""
    assert holder.stdin is not None
    assert holder.stdout is not None
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(JournalLocked, match=f"is held by process {holder.pid}") as caught:
            FileJournal(path).open("XNYS")
        assert (caught.value.journal, caught.value.pid) == (str(path), holder.pid)
    assert path.read_bytes() == before
    holder.stdin.write("\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "freed\n"
    assert kept(path) == []


def test_fault_46_a_holder_that_is_killed_frees_it(path: Path, holder: "subprocess.Popen[str]"):
    """After kill -9 of its holder the journal can be opened, and the next one refused is told the new holder's pid."""
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    journal, records = opened(path)
    assert records == ()
    with pytest.raises(JournalLocked) as caught:
        opened(path)
    assert caught.value.pid == os.getpid()
    journal.close()


def test_fault_46_a_second_journal_of_this_process_is_refused(path: Path):
    """Another object on the same file is refused with this process's own pid, and so is the same one again; the holder
    goes on, and after its close the other can have it."""
    first, second = FileJournal(path, files=NoSync()), FileJournal(path, files=NoSync())
    first.open("XNYS")
    for journal in (second, first):
        with pytest.raises(JournalLocked) as caught:
            journal.open("XNYS")
        assert caught.value.pid == os.getpid()
    first.append(adopted())
    second.close()
    with pytest.raises(JournalLocked):
        second.open("XNYS")
    first.close()
    first.close()
    assert second.open("XNYS") == (adopted(),)
    second.close()


def test_fault_46_a_holder_without_a_pid(path: Path):
    """A holder that has not written its pid yet is another manager, as far as can be told."""
    import fcntl

    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(JournalLocked, match="is held by another manager") as caught:
        opened(path)
    assert caught.value.pid is None
    os.close(lock)


def test_a_system_without_flock_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where two managers could not be kept apart, none may have a journal in a file."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(JournalUnavailable, match="no flock"):
        opened(path)


# ---- whose it is ----


def test_fault_47_another_calendar_is_refused(path: Path):
    """The journal of another calendar is refused, both are named, and it is neither changed nor held."""
    before = keep(path, rolls(2))
    with pytest.raises(JournalMismatch, match="the calendar of the journal is XNYS, and XLON was asked for") as caught:
        opened(path, calendar="XLON")
    assert (caught.value.found, caught.value.wanted) == ("XNYS", "XLON")
    assert path.read_bytes() == before
    assert kept(path) == rolls(2)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_fault_47_an_unknown_version_is_refused(path: Path, version: object):
    """A version that this library does not know is refused, both are named, and the file is left as it is."""
    before = sealed(header(version=version), {"what": "nobody knows"})
    path.write_bytes(before)
    with pytest.raises(JournalMismatch, match=f"the version of the journal is {version}, and 1 was asked for"):
        opened(path)
    assert path.read_bytes() == before


# ---- open, closed ----


def test_append_needs_it_open(path: Path):
    """What is appended before the opening or after the close is refused, and does not count."""
    journal = FileJournal(path, files=NoSync())
    with pytest.raises(JournalWriteFailed, match=r"'adopted' could not be written.* the journal is not open"):
        journal.append(adopted())
    assert not path.exists()
    journal.close()
    journal.open("XNYS")
    journal.append(adopted())
    journal.close()
    journal.close()
    with pytest.raises(JournalWriteFailed, match="not open"):
        journal.append(intent())
    assert journal.open("XNYS") == (adopted(),)
    journal.append(intent())
    journal.close()
    assert kept(path) == [adopted(), intent()]


@needs_proc
def test_no_descriptor_is_left_open(path: Path):
    """Openings, appends, compactions, refusals and closings leave no descriptor behind, and hold two in between."""
    keep(path, rolls(1))
    before = descriptors()
    for _ in range(30):
        journal, _ = opened(path)
        assert descriptors() == before + 2
        journal.append(failed(MONDAY + DAY))
        with pytest.raises(JournalLocked):
            opened(path)
        assert descriptors() == before + 2
        journal.close()
        with pytest.raises(JournalMismatch):
            opened(path, calendar="XLON")
        assert descriptors() == before
    path.write_bytes(path.read_bytes()[:-30] + b"\n")
    for _ in range(30):
        with pytest.raises(JournalCorrupt):
            opened(path)
    assert descriptors() == before


@needs_proc
def test_compaction_leaves_no_descriptor_open(path: Path):
    """However often it is compacted, an open journal holds two descriptors, and beside it stands its lock alone."""
    before = descriptors()
    journal, _ = opened(path)
    for record in rolls(5 * MOST_RECORDS):
        journal.append(record)
    assert descriptors() == before + 2
    assert {file.name for file in path.parent.iterdir()} == {path.name, f"{path.name}.lock"}
    journal.close()
    assert descriptors() == before


def test_a_child_process_does_not_inherit_it(path: Path):
    """A program started meanwhile gets neither the file nor its lock."""
    journal, _ = opened(path)
    for fd in (journal._fd, journal._lock):
        assert fd is not None
        assert not os.get_inheritable(fd)
    journal.close()


# ---- compaction ----


class Measured(NoSync):
    """Real files, with the largest size and the number of times that one was put in place."""

    def __init__(self) -> None:
        self.largest = self.replaced = 0

    def write(self, fd: int, data: bytes) -> int:
        written = super().write(fd, data)
        self.largest = max(self.largest, os.fstat(fd).st_size)
        return written

    def replace(self, source: Path, target: Path) -> None:
        self.replaced += 1
        super().replace(source, target)


def count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") - 1


@pytest.mark.parametrize("n", [2_000, pytest.param(20_000, marks=pytest.mark.long)])
def test_a_journal_stays_small(path: Path, n: int):
    """However many rolls there are, it never has more records than its bound, stays below 1 MiB, and keeps the newest
    ones word for word; it is put in place anew now and then only."""
    files = Measured()
    journal = FileJournal(path, files=files)
    journal.open("XNYS")
    for number, record in enumerate(rolls(n)):
        journal.append(record)
        if number % 97 == 0:
            assert count_lines(path) <= MOST_RECORDS
    journal.close()
    assert files.largest < MIB
    assert files.replaced < 2 * n / (MOST_RECORDS - KEPT_RECORDS - 10) + 2
    records = kept(path)
    assert len(records) >= KEPT_RECORDS
    assert records[-KEPT_RECORDS:] == rolls(n)[-KEPT_RECORDS:]
    assert journal_state_after(records) == journal_state_after(rolls(n))


LONG_NOTES = {
    "latin": "x" * 2_000,
    "quotes": '"\\' * 1_000,
    "newlines": "\n" * 2_000,
    "controls": "\x01" * 2_000,
    "cyrillic": "ж" * 2_000,
    "emoji": "😀" * 2_000,
    "surrogates": "\ud800" * 2_000,
}


@pytest.mark.parametrize("note", [pytest.param(note, id=name) for name, note in LONG_NOTES.items()])
def test_a_journal_stays_small_whatever_happens(path: Path, note: str):
    """With the longest of reasons, in any script, and errors and recoveries without end, it stays below 1 MiB."""
    files = Measured()
    journal = FileJournal(path, files=files)
    journal.open("XNYS")
    journal.append(adopted())
    journal.append(intent())
    for _ in range(MOST_RECORDS):
        journal.append(failed(note=note))
        journal.append(Record(Entry.RECOVERED, MONDAY, NOTED, note=note))
    journal.close()
    assert count_lines(path) <= MOST_RECORDS
    assert files.largest < MIB
    journal_state = journal_state_after(kept(path))
    assert journal_state is not None
    assert (journal_state.intent, journal_state.error) == (intent(), None)


@some_files
@given(history=histories(most=20), limit=st.integers(4, 10), data=st.data())
def test_compaction_keeps_the_standing(
    path: Path, history: list[Record], limit: int, data: st.DataObject, monkeypatch: pytest.MonkeyPatch
):
    """However early and often a journal is compacted, it adds up to what the whole history does, after each record."""
    recent = data.draw(st.integers(1, limit - 1))
    monkeypatch.setattr("session_lifecycle._journal.file.MOST_RECORDS", limit)
    monkeypatch.setattr("session_lifecycle._journal.file.KEPT_RECORDS", recent)
    content = b""
    for n, record in enumerate(history, 1):
        _, content = found(path, content, more=(record,))
        records, content = found(path, content)
        assert journal_state_after(records) == journal_state_after(history[:n])
        assert records[-recent:] == history[:n][-recent:]
        assert len(records) <= max(limit, recent + 5)


MANY = 1_000


class Stopped(Exception):
    """The process ends here."""


class Stopping(Files):
    """Real files, until after a number of calls every further one fails as if the process had ended."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Stopped

    def open(self, path: Path, flags: int) -> int:
        self.count()
        return super().open(path, flags)

    def write(self, fd: int, data: bytes) -> int:
        self.count()
        if self.left == 0:
            return super().write(fd, data[: len(data) // 2])
        return super().write(fd, data)

    def sync(self, fd: int) -> None:
        self.count()

    def sync_folder(self, folder: Path) -> None:
        self.count()

    def replace(self, source: Path, target: Path) -> None:
        self.count()
        super().replace(source, target)


@pytest.mark.parametrize("stray", [b"", b"half a li", b"a stray file\n"])
def test_a_file_left_by_an_earlier_run_is_cleared_away(path: Path, stray: bytes):
    """What a run left that was killed during a compaction is not read, and does not stay."""
    keep(path, rolls(2))
    new = Path(f"{path}.new")
    new.write_bytes(stray)
    assert kept(path) == rolls(2)
    assert not new.exists()


def test_compaction_may_be_stopped_at_every_step(path: Path, monkeypatch: pytest.MonkeyPatch):
    """Stopped after any call on the file system, a compaction leaves the old records, or the new with the one added:
    the same standing, or that of one record later."""
    monkeypatch.setattr("session_lifecycle._journal.file.MOST_RECORDS", 9)
    monkeypatch.setattr("session_lifecycle._journal.file.KEPT_RECORDS", 4)
    history = rolls(4)
    assert len(history) == 9
    outcomes = set()
    for calls in range(7):
        keep(path, history)
        files = Stopping(MANY)
        journal = FileJournal(path, files=files)
        assert len(journal.open("XNYS")) == 9
        files.left = calls
        try:
            journal.append(failed(MONDAY + 4 * DAY))
        except Stopped:
            stopped = True
        else:
            stopped = False
        journal.close()
        records = kept(path)
        added = records[-1].entry is Entry.FAILED
        assert added or stopped
        assert journal_state_after(records) == journal_state_after(
            [*history, failed(MONDAY + 4 * DAY)] if added else history
        )
        outcomes.add((stopped, added))
    assert outcomes == {(True, False), (True, True), (False, True)}


@pytest.mark.long
@given(history=histories(most=30), data=st.data())
@settings(some_files, max_examples=400)
def test_fault_42_43_any_damage_to_any_history(path: Path, history: list[Record], data: st.DataObject):
    """Damage of any kind in any place either is refused or costs the last records alone, never one in between."""
    whole = keep(path, history)
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 200)))
    content = whole[:start] + data.draw(st.binary(max_size=60)) + whole[end:]
    path.write_bytes(content)
    try:
        records = kept(path)
    except (JournalCorrupt, JournalMismatch):
        return
    assert records == history[: len(records)]
    assert whole.startswith(path.read_bytes())


def test_dates_far_apart(path: Path):
    """Labels from the first year to the last come back."""
    history = [Record(Entry.ADOPTED, date.min, NOTED), Record(Entry.ADOPTED, date.max, NOTED)]
    keep(path, history)
    assert kept(path) == history
