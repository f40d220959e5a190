"""Rows and lines that fit the terminal: on a narrow one they take more lines, and nothing is cut off in silence."""

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment
    from rich.text import Text

_READABLE: Final = 40
"""The narrowest column, in characters, in which what is long is wrapped."""
_INDENT: Final = 2


class NotedRow(NamedTuple):
    """Cells in columns, and a note behind them."""

    cells: "Sequence[Text]"
    note: "Text"


class NotedRows:
    """Rows of cells, each with a note: beside them where there is room, or else on lines of its own below them.

    Where the columns do not fit either, the first one has lines of its own.
    """

    def __init__(self, rows: "Sequence[NotedRow]") -> None:
        self._rows = rows

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[Text]":
        """Yield the lines."""
        width = options.max_width
        widths = [
            max(cell.cell_len for cell in column) for column in zip(*(row.cells for row in self._rows), strict=True)
        ]
        longest = max(row.note.cell_len for row in self._rows)
        gap = next((gap for gap in (2, 1) if _sum(widths, gap) + gap * bool(longest) + longest <= width), None)
        gap = gap or (2 if _sum(widths, 2) <= width else 1)
        if _sum(widths, gap) <= width:
            for row in self._rows:
                yield from _lines(row, widths, gap, console, width)
            return
        for row in self._rows:
            if row.cells[0]:
                yield row.cells[0]
            for line in _lines(NotedRow(row.cells[1:], row.note), widths[1:], 1, console, width - _INDENT):
                yield _indented(line, _INDENT)


class FirstLines:
    """What stays in its place on the terminal: no more lines than that is high, of which the last counts the rest."""

    def __init__(self, content: "RenderableType") -> None:
        self._content = content

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[Segment]":
        """Yield the segments of the lines."""
        from rich.segment import Segment

        lines = console.render_lines(self._content, options.update(height=None), pad=False)
        most = options.size.height
        if len(lines) > most:
            rest = f"{len(lines) - most + 1} more lines: make the window higher, or name fewer calendars"
            lines[most - 1 :] = console.render_lines(rest, options.update(height=1), pad=False)
        for line in lines:
            yield from line
            yield Segment.line()


def _sum(widths: "Sequence[int]", gap: int) -> int:
    return sum(widths) + gap * (len(widths) - 1)


def _lines(row: NotedRow, widths: "Sequence[int]", gap: int, console: "Console", width: int) -> "Iterator[Text]":
    """Yield the lines of a row that has so much room, without blanks at their ends."""
    from rich.text import Text

    line, note = Text(), row.note
    for cell, size in zip(row.cells, widths, strict=True):
        line.append_text(cell).pad_right(size - cell.cell_len + gap)
    start = line.cell_len
    rest: list[Text] = []
    if note and (note.cell_len <= width - start or width - start >= _READABLE):
        beside, *rest = note.wrap(console, width - start)
        line.append_text(beside)
    elif note:
        second = widths[0] + gap
        start = (second if width - second >= _READABLE else 0) + _INDENT
        rest = [*note.wrap(console, width - start)]
    line.rstrip()
    yield line
    yield from (_indented(each, start) for each in rest)


def _indented(text: "Text", by: int) -> "Text":
    text.pad_left(by)
    return text


class HangingText:
    """A text whose lines are indented, all but the first, where it takes several."""

    def __init__(self, text: "Text") -> None:
        self._text = text

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[Text]":
        """Yield the lines."""
        if self._text.cell_len <= options.max_width:
            yield self._text
            return
        first, *rest = self._text.wrap(console, options.max_width - _INDENT)
        first.rstrip()
        yield first
        yield from (_indented(line, _INDENT) for line in rest)
