"""A file that is damaged, or cannot be opened, is refused with the place and the reason."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_lifecycle import (
    Entry,
    FileJournal,
    JournalCorrupt,
    JournalMismatch,
    JournalUnavailable,
    JournalWriteFailed,
    Record,
)
from tests.helpers.builders import DAY, MONDAY
from tests.helpers.disk import Memory
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
    written,
)
from tests.helpers.harness import TUESDAY
from tests.helpers.journals import (
    NOTED,
    ONE_OF_EACH,
    adopted,
    done,
    failed,
    histories,
    intent,
    rolls,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rolls.journal"


# ---- damage ----


def test_fault_42_truncated_at_every_byte(path: Path):
    """Cut off after any number of bytes, a journal comes back as its first records, and goes on from there."""
    whole = written(path, ONE_OF_EACH)
    ends = [n + 1 for n, byte in enumerate(whole) if byte == ord("\n")]
    for length in range(len(whole) + 1):
        left = ONE_OF_EACH[: max(sum(end <= length for end in ends) - 1, 0)]
        more = ONE_OF_EACH[len(left) :]
        records, content = found(path, whole[:length], more=tuple(more))
        assert records == left, f"after {length} bytes"
        assert content == whole


@some_files
@given(history=histories(most=6), data=st.data())
def test_fault_42_truncated_anywhere(path: Path, history: list[Record], data: st.DataObject):
    """Of any history some first records come back, all those whose lines are whole, and the rest can be added again."""
    whole = written(path, history)
    length = data.draw(st.integers(0, len(whole)))
    n = max(whole[:length].count(b"\n") - 1, 0)
    records, content = found(path, whole[:length], more=tuple(history[n:]))
    assert records == history[:n]
    assert content == whole


def test_fault_42_the_torn_end_is_gone(path: Path):
    """What was cut off is not there any more, even where nothing is written after it."""
    whole = keep(path, rolls(1))
    path.write_bytes(whole[:-3])
    assert kept(path) == rolls(1)[:-1]
    assert path.read_bytes() == whole[: whole.rindex(b"\n", 0, -1) + 1]


def refuse(path: Path, content: bytes) -> JournalCorrupt:
    """Hold that a journal is refused, left as it is, and not held."""
    files = Memory({path.name: content})
    journal = FileJournal(path, files=files)
    with pytest.raises(JournalCorrupt) as caught:
        journal.open("XNYS")
    assert files.names == {path.name: content}
    files.check_closed()
    error = caught.value
    assert error.journal == str(path)
    assert f"damaged at byte {error.offset}" in str(error)
    assert 0 <= error.offset <= len(content)
    return error


def refuse_flipped(path: Path, records: list[Record]) -> None:
    """Hold that a journal is refused with any single bit flipped, and the line told, or the byte in it."""
    whole = written(path, records)
    assert found(path, whole) == (records, whole)
    for place in range(len(whole)):
        start = whole.rfind(b"\n", 0, place) + 1
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            error = refuse(path, bytes(damaged))
            assert start <= error.offset <= place, (place, bit)


def test_fault_43_any_bit_flipped(path: Path):
    """With any single bit flipped the journal is refused, and told the line, or the byte in it, that is damaged."""
    refuse_flipped(path, [adopted(), done()])
    refuse_flipped(path, [])


@pytest.mark.long
def test_fault_43_any_bit_flipped_in_records_of_every_kind(path: Path):
    """With any single bit flipped in a journal with records of every kind it is refused."""
    refuse_flipped(path, ONE_OF_EACH)


@some_files
@given(history=histories(most=6), data=st.data())
def test_fault_43_any_byte_changed(path: Path, history: list[Record], data: st.DataObject):
    """With any byte changed to any other the journal is refused."""
    whole = written(path, history)
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[place] ^= data.draw(st.integers(1, 255))
    refuse(path, bytes(damaged))


def lines_of(content: bytes) -> list[bytes]:
    return content.splitlines(keepends=True)


def test_fault_43_a_line_that_is_missing(path: Path):
    """Without one of its lines, other than the last, the journal is refused."""
    lines = lines_of(written(path, ONE_OF_EACH))
    for n in range(len(lines) - 1):
        refuse(path, b"".join([*lines[:n], *lines[n + 1 :]]))


def test_fault_43_a_line_that_is_there_twice(path: Path):
    """With one of its lines repeated, there or anywhere later, the journal is refused."""
    lines = lines_of(written(path, ONE_OF_EACH))
    for n, line in enumerate(lines):
        for later in range(n + 1, len(lines) + 1):
            refuse(path, b"".join([*lines[:later], line, *lines[later:]]))


def test_fault_43_lines_out_of_order(path: Path):
    """With any two of its lines exchanged the journal is refused."""
    lines = lines_of(written(path, ONE_OF_EACH))
    for n in range(len(lines)):
        for m in range(n):
            exchanged = lines.copy()
            exchanged[n], exchanged[m] = lines[m], lines[n]
            refuse(path, b"".join(exchanged))


def test_fault_43_a_line_of_another_journal(path: Path):
    """A line that another journal had in the same place is refused, though it is whole."""
    ours = lines_of(written(path, [adopted(), failed(), Record(Entry.RECOVERED, MONDAY, NOTED)]))
    theirs = lines_of(written(path, [adopted(), failed(note="another"), Record(Entry.RECOVERED, MONDAY, NOTED)]))
    refuse(path, b"".join([*ours[:3], theirs[3]]))


@pytest.mark.parametrize(
    "content",
    [
        b"\n",
        b"not a journal\n",
        sealed({"journal": "somebody else's", "version": 1, "calendar": "XNYS"}),
        sealed({"version": 1, "calendar": "XNYS"}),
        sealed({"journal": "session_lifecycle", "version": 1}),
        sealed({"journal": "session_lifecycle", "calendar": "XNYS"}),
        sealed([]),
        sealed(header(), b"{"),
        sealed(header(), b"\xff"),
        sealed(header(), {}),
        sealed(header(), {"entry": "adopted", "session": "2024-03-04"}),
        sealed(header(), {"entry": "adopted", "session": "yesterday", "at": NOTED.isoformat()}),
        sealed(header(), {"entry": "bought", "session": "2024-03-04", "at": NOTED.isoformat()}),
        sealed(header(), {"entry": "adopted", "session": 20240304, "at": NOTED.isoformat()}),
        sealed(header(), {"entry": "adopted", "session": "2024-03-04", "at": NOTED.isoformat(), "hours": []}),
        sealed(header(), {"entry": "done", "session": "2024-03-04", "at": NOTED.isoformat(), "target": "2024-03-05"}),
    ],
    ids=lambda content: content.decode("ascii", "replace")[-60:].strip(),
)
def test_what_is_no_journal_is_refused(path: Path, content: bytes):
    """A file that makes no sense as a journal is refused and left as it is, though its checksums be right."""
    refuse(path, content)


@pytest.mark.parametrize("value", [None, [], 1, "a"], ids=repr)
def test_a_record_of_the_wrong_kind_is_refused(path: Path, value: object):
    """A line that is JSON, but no object, is refused like any other that makes no sense."""
    refuse(path, sealed(header(), value))


@pytest.mark.parametrize("content", [b"my diary", b"\x00", b"{}", sealed(header(calendar="XLON"))[:-12]])
def test_a_file_of_somebody_else_is_not_written_over(path: Path, content: bytes):
    """A file that is not the beginning of this journal's first line is refused, and left as it is."""
    path.write_bytes(content)
    with pytest.raises((JournalCorrupt, JournalMismatch)):
        opened(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "records", [[done()], [adopted(), done(TUESDAY)], [adopted(), intent(), done(target=MONDAY + 2 * DAY)]]
)
def test_records_that_contradict_each_other_are_refused(path: Path, records: list[Record]):
    """Lines that are whole, but tell a history that cannot have been, are refused, and the contradiction is told."""
    assert "contradict each other" in refuse(path, written(path, records)).why


# ---- what cannot be opened ----


def missing_folder(path: Path) -> Path:
    return path / "deeper" / "rolls.journal"


def folder_in_its_place(path: Path) -> Path:
    path.mkdir()
    return path


def folder_for_lock(path: Path) -> Path:
    Path(f"{path}.lock").mkdir()
    return path


def folder_for_new(path: Path) -> Path:
    Path(f"{path}.new").mkdir()
    return path


def file_for_folder(path: Path) -> Path:
    path.write_bytes(b"")
    return path / "rolls.journal"


def link_in_a_circle(path: Path) -> Path:
    path.symlink_to(path)
    return path


def name_too_long(path: Path) -> Path:
    return path.with_name("x" * 300)


@pytest.mark.parametrize(
    "prepare",
    [
        missing_folder,
        folder_in_its_place,
        folder_for_lock,
        folder_for_new,
        file_for_folder,
        link_in_a_circle,
        name_too_long,
    ],
)
@needs_proc
def test_what_cannot_be_opened_is_told(path: Path, prepare: Callable[[Path], Path]):
    """Where the system refuses, that is a JournalUnavailable with the system's own error, and nothing is left open."""
    wanted = prepare(path)
    before = descriptors()
    journal = FileJournal(wanted)
    for _ in range(2):
        with pytest.raises(JournalUnavailable) as caught:
            journal.open("XNYS")
        assert isinstance(caught.value.__cause__, OSError)
        assert str(wanted) in str(caught.value)
        assert descriptors() == before
        with pytest.raises(JournalWriteFailed, match="not open"):
            journal.append(adopted())


@pytest.mark.parametrize("path", ["", "/", "."])
def test_a_path_that_names_no_file(path: str):
    """A path that cannot be a file's is told like any other that cannot be opened."""
    with pytest.raises(JournalUnavailable):
        FileJournal(path).open("XNYS")


class Unreadable(NoSync):
    """A disk that opens and does not read."""

    def read(self, fd: int) -> bytes:
        raise OSError(5, "Input/output error")


@needs_proc
def test_what_cannot_be_read_is_told(path: Path):
    """A file that the disk does not give back is a JournalUnavailable, not a new journal; the lock is free again."""
    content = keep(path, rolls(1))
    before = descriptors()
    with pytest.raises(JournalUnavailable, match="Input/output error"):
        FileJournal(path, files=Unreadable()).open("XNYS")
    assert descriptors() == before
    assert path.read_bytes() == content
    assert kept(path) == rolls(1)
