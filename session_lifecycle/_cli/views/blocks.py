"""The timeline as text: a row of blocks for each venue, readable without colours."""

import shutil
import string
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from session_lifecycle._cli.failures import CommandRefused
from session_lifecycle._cli.views.bands import APPEARANCES, Band, Kind, Stretch, TimelineReport
from session_lifecycle._cli.views.moments import MARK, PhaseReport

if TYPE_CHECKING:
    from rich.text import Text

_BLOCKS: Final[dict[Kind, str]] = {kind: each.block for kind, each in APPEARANCES.items()}
_PLAIN: Final[dict[Kind, str]] = {kind: each.plain for kind, each in APPEARANCES.items()}
_GAP: Final = 2


def draw(rows: Sequence[TimelineReport], stretch: Stretch, now: datetime) -> "Text":
    """Return the timeline as lines that fit the terminal.

    Raises:
        CommandRefused: there are more days than characters, so that a day would have none of its own.
    """
    from rich.text import Text

    blocks = _BLOCKS if _can_show("".join(_BLOCKS.values()) + "▲") else _PLAIN
    margin = max(len(row.calendar) for row in rows) + _GAP
    width = max(shutil.get_terminal_size().columns - margin, 24)
    days = (stretch.last - stretch.first).days + 1
    if days > width:
        msg = f"{days} days do not fit into {width} characters: ask for fewer days, or for a picture with --output"
        raise CommandRefused(msg)
    marks = _marks([phase for row in rows for phase in row.phases])
    lines = [Text(str(stretch), "bold"), Text(" " * margin + _days(stretch, width))]
    for row in rows:
        line = Text(row.calendar.ljust(margin))
        for kind in _cells(row.bands, stretch, width):
            line.append(blocks[kind], APPEARANCES[kind].style)
        lines.append(line)
        if row.phases:
            lines.append(Text(" " * margin + _phases(row.phases, marks, stretch, width), "dim"))
    if stretch.start <= now < stretch.end:
        lines.append(_now(stretch, now, margin, width, "▲" if blocks is _BLOCKS else "^"))
    legend = [Text.assemble((block, APPEARANCES[kind].style), f" {kind}") for kind, block in blocks.items()]
    lines += _filled(legend, "   ", margin + width)
    if marks:
        letters = [Text(f"{mark} {name}") for name, mark in marks.items()]
        if not all(phase.tradable for row in rows for phase in row.phases):
            letters.append(Text("capitals: not tradable"))
        lines += _filled(letters, "   ", margin + width)
    configured = [Text(row.calendar) for row in rows if any(band.configured for band in row.bands)]
    if configured:
        configured[0] = Text(f"{MARK} pre-market and post-market by configuration: ").append_text(configured[0])
        lines += _filled(configured, ", ", margin + width)
    return Text("\n").join(lines)


def _filled(items: "Sequence[Text]", between: str, width: int) -> "Iterator[Text]":
    """Yield lines of so many characters with the items in them, none of which is divided."""
    from rich.text import Text

    line = items[0]
    for item in items[1:]:
        if line.cell_len + len(between) + item.cell_len > width:
            yield line.append(between.rstrip())
            line = item
        else:
            line = Text().append_text(line).append(between).append_text(item)
    yield line


def _can_show(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _column(at: datetime, stretch: Stretch, width: int) -> int:
    """Return the cell that an instant lies in."""
    return int((at - stretch.start) / (stretch.end - stretch.start) * width)


def _days(stretch: Stretch, width: int) -> str:
    """Return the line that names the days, as many of them as there is room for."""
    line = ""
    for day, at in stretch.midnights:
        column = _column(at, stretch, width)
        if column >= len(line) and column + len(label := _label(day)) <= width:
            line = f"{line.ljust(column)}{label} "
    return line.rstrip()


def _label(day: date) -> str:
    return f"|{day:%a} {day.day}"


def _cells(bands: Sequence[Band], stretch: Stretch, width: int) -> list[Kind]:
    """Return what each cell shows: the band that fills most of it. A band that is not tiny has at least one cell.

    Where it fills most of none, it takes the cell of which it fills most, unless that is the only cell of a band that
    is as important.
    """
    size = (stretch.end - stretch.start) / width
    shares: list[dict[Band, timedelta]] = [{} for _ in range(width)]
    cells_of: dict[Band, range] = {}
    for band in bands:
        first, last = (_column(at, stretch, width) for at in (band.start, band.end))
        cells_of[band] = range(first, min(last + 1, width))
        for n in cells_of[band]:
            shares[n][band] = band.within(stretch.start + n * size, stretch.start + (n + 1) * size)
    owners = [max(share, key=share.__getitem__) for share in shares]
    cells = Counter(owners)
    for band in sorted(bands, key=lambda band: APPEARANCES[band.kind].rank):
        is_tiny = 4 * (band.end - band.start) < size and band.kind != "active"
        if not cells[band] and not is_tiny:
            n = max(cells_of[band], key=lambda n: shares[n][band])
            owner = owners[n]
            if cells[owner] > 1 or APPEARANCES[owner.kind].rank > APPEARANCES[band.kind].rank:
                owners[n] = band
                cells.update({owner: -1, band: 1})
    return [owner.kind for owner in owners]


def _marks(phases: Sequence[PhaseReport]) -> dict[str, str]:
    """Return a letter for each name of a phase: the first one of it that no other name has, else the next that is free.

    Where there are more names than letters, the last ones share a `?`.
    """
    marks: dict[str, str] = {}
    for name in dict.fromkeys(phase.name for phase in phases):
        free = (letter for letter in name.lower() + string.ascii_lowercase if letter not in marks.values())
        marks[name] = next((letter for letter in free if letter in string.ascii_lowercase), "?")
    return marks


def _phases(phases: Sequence[PhaseReport], marks: Mapping[str, str], stretch: Stretch, width: int) -> str:
    """Return the line of a row's phases. Each has at least one cell; a short one is drawn over a long one."""
    cells = [" "] * width
    for phase in sorted(phases, key=lambda phase: phase.end - phase.start, reverse=True):
        first = _column(max(phase.start, stretch.start), stretch, width)
        last = max(_column(min(phase.end, stretch.end), stretch, width), first + 1)
        mark = marks[phase.name]
        cells[first:last] = [mark if phase.tradable else mark.upper()] * (min(last, width) - first)
    return "".join(cells).rstrip()


def _now(stretch: Stretch, now: datetime, margin: int, width: int, mark: str) -> "Text":
    """Return the line that marks the present."""
    from rich.text import Text

    column = _column(now, stretch, width)
    label = f"now, {now.astimezone(stretch.zone):%a %H:%M}"
    before = column > width // 2
    text = f"{label} {mark}".rjust(column + 1) if before else f"{' ' * column}{mark} {label}"
    return Text(" " * margin + text, "bold")
