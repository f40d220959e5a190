"""The lines of a journal's file: what they say, and whether they add up. Sans I/O, so that anybody may look.

One record a line: JSON, a space, a checksum. The checksum is the CRC-32 of the JSON, begun with the checksum of the
line before, so that a line which is damaged, missing or out of its place is noticed. The first line names the format,
its version and the calendar.

What can be torn by a crash is the last line alone: an end of file without a newline is the rest of a write that never
counted, and is left out. Anything else that does not add up is damage.
"""

import json
import zlib
from datetime import date, datetime
from typing import Any, Final, NamedTuple, cast

from session_lifecycle.errors import JournalMismatch
from session_lifecycle.journal import Entry, Record, standing_after

VERSION: Final = 1
LONGEST_NOTE: Final = 1_000
"""How many bytes of a reason are kept, as it stands in the file."""

_SEAL: Final = 10
"""How many bytes end a line: a space, eight hexadecimal digits and a newline."""


class Damage(NamedTuple):
    """Where a file does not add up, and why. `line` counts from 1."""

    offset: int
    line: int
    why: str


class Lines(NamedTuple):
    """What a file says as far as it adds up: `calendar` is None where there is no first line yet.

    `checksum` is the last line's, `torn` how many bytes at the end never counted.
    """

    calendar: str | None
    records: list[Record]
    checksum: int
    torn: int
    damage: Damage | None


def read_lines(content: bytes) -> Lines:
    """Return what the content of a file says, up to the first damage.

    Raises:
        JournalMismatch: it is of a version that is not known.
    """
    end = content.rfind(b"\n") + 1
    calendar: str | None = None
    records: list[Record] = []
    checksum = offset = 0

    def so_far(why: str | None, at: int, line: int) -> Lines:
        damage = None if why is None else Damage(at, line, why)
        return Lines(calendar, records, checksum, len(content) - end, damage)

    lines = [line + b"\n" for line in content[:end].split(b"\n")[:-1]]
    for number, line in enumerate(lines, 1):
        text = line[:-_SEAL]
        sealed, following = sealed_line(text, checksum)
        if sealed != line:
            return so_far("its checksum does not match", offset, number)
        try:
            value = _object(text)
            if number == 1:
                calendar = _calendar(value)
            else:
                records.append(_record(value))
        except (ValueError, KeyError, TypeError) as error:
            return so_far(f"it makes no sense: {error}", offset, number)
        checksum = following
        offset += len(line)
    # An end of file which is no torn write but a whole line whose newline has been damaged is refused.
    tail = content[end:]
    if lines and sealed_line(tail[:-_SEAL], checksum)[0][:-1] == tail[:-1]:
        return so_far("its newline is damaged", len(content) - 1, len(lines) + 1)
    try:
        standing_after(records)
    except ValueError as error:
        return so_far(f"its records contradict each other: {error}", offset, len(lines))
    return so_far(None, 0, 0)


def sealed_line(text: bytes, previous: int) -> tuple[bytes, int]:
    """Return the whole line for a text, and its checksum, which continues that of the line before."""
    checksum = zlib.crc32(text, previous)
    return b"%s %08x\n" % (text, checksum), checksum


def header_text(calendar: str) -> bytes:
    """Return the text of a file's first line."""
    return json.dumps({"journal": "session_lifecycle", "version": VERSION, "calendar": calendar}).encode()


def record_text(record: Record) -> bytes:
    """Return the text of a record's line."""
    value: dict[str, object] = {
        "at": record.at.isoformat(),
        "entry": record.entry.value,
        "session": f"{record.session}",
    }
    if record.target is not None:
        value["target"] = f"{record.target}"
    if record.skipped:
        value["skipped"] = [f"{day}" for day in record.skipped]
    if record.open is not None and record.close is not None:
        value["hours"] = [record.open.isoformat(), record.close.isoformat()]
    if record.note:
        value["note"] = record.note
    return json.dumps(value).encode()


def shortened(note: str) -> str:
    """Return as much of a note as may stand in the file, where a character can take twelve bytes."""
    kept = note
    while (size := len(json.dumps(kept)) - 2) > LONGEST_NOTE:
        kept = kept[: len(kept) * (LONGEST_NOTE - 12) // size]
        note = kept + "…"
    return note


def _calendar(value: dict[str, Any]) -> str:
    if value["journal"] != "session_lifecycle":
        raise ValueError("it is no journal of session_lifecycle")
    if value["version"] != VERSION:
        raise JournalMismatch("the version", value["version"], VERSION)
    return cast("str", value["calendar"])


def _object(text: bytes) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        msg = "a line holds no object"
        raise TypeError(msg)
    return cast("dict[str, Any]", value)


def _record(value: dict[str, Any]) -> Record:
    opened, closed = value.get("hours", (None, None))
    target = value.get("target")
    return Record(
        Entry(value["entry"]),
        date.fromisoformat(value["session"]),
        datetime.fromisoformat(value["at"]),
        None if target is None else date.fromisoformat(target),
        tuple(date.fromisoformat(day) for day in value.get("skipped", ())),
        None if opened is None else datetime.fromisoformat(opened),
        None if closed is None else datetime.fromisoformat(closed),
        value.get("note", ""),
    )
