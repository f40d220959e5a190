"""How the commands print results.

stdout carries results only, stderr everything else. Of the names and texts that files hold, no control character
reaches a terminal. A result is the same text on a terminal and in a pipe, except for colours: a pipe gets none, and
neither does a terminal where NO_COLOR is set.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import msgspec
import typer

from session_lifecycle._model.plain import plain
from session_lifecycle._model.text import one_line

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

Item = TypeVar("Item")

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""An aware datetime, of which the JSON Schema says so."""

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_ERASE_LINE: Final = "\x1b[K"
_WIDTH_OF_A_PIPE: Final = 1000  # wide enough that nothing is cut or wrapped


def notify(message: str) -> None:
    """Print a line to stderr, in place of the progress."""
    if _shows_progress():
        _show_progress("")
    typer.echo(one_line(message), err=True)


def with_progress(items: Sequence[Item], doing: Callable[[Item], str]) -> Iterator[Item]:
    """Iterate over what takes time. Where stderr is a terminal, it shows which item is being processed, on one line.

    The line is erased at the end, or when the next item is another one.
    """
    shows = _shows_progress()
    try:
        for number, item in enumerate(items, 1):
            if shows:
                _show_progress(f"{doing(item)} ({number} of {len(items)}) ...")
            yield item
    finally:
        if shows:
            _show_progress("")


def _shows_progress() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _show_progress(text: str) -> None:
    sys.stderr.write(f"\r{_ERASE_LINE}{text}")
    sys.stderr.flush()


def new_console() -> "Console":
    """Return a console for stdout. It has colours only on a terminal, and none where NO_COLOR is set."""
    from rich.console import Console

    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(highlight=False, markup=False, emoji=False, width=_WIDTH_OF_A_PIPE if piped else None)


class Printable:
    """A table or a text without the control characters that names and files may hold: they are shown escaped."""

    def __init__(self, content: "RenderableType") -> None:
        self._content = content

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[Segment]":
        """Yield the segments of the content. Colours are the segments' styles, and are not affected."""
        from rich.segment import Segment

        for segment in console.render(self._content, options):
            text = "\n".join(map(one_line, segment.text.split("\n")))
            yield segment if segment.control or text == segment.text else Segment(text, segment.style)


def show(result: "RenderableType") -> None:
    """Print a table or a text to stdout. Where stdout is no terminal, lines have no trailing blanks."""
    console, result = new_console(), Printable(result)
    if console.is_terminal:
        console.print(result)
        return
    with console.capture() as captured:
        console.print(result)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def show_json(result: object, *, indent: int | None = 2) -> None:
    """Print Structs as JSON to stdout; without `indent` on one line, flushed at once."""
    text = json.dumps(plain(result), indent=indent, ensure_ascii=False)
    typer.echo("".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text))


def show_json_schema(kind: object) -> None:
    """Print the JSON Schema of what `show_json` prints for values of that type."""
    schema: dict[str, Any] = {"$schema": _DIALECT, **msgspec.json.schema(kind)}
    for each in schema["$defs"].values():  # whose descriptions are docstrings, indented as in the code
        each["description"] = " ".join(each["description"].split())
    show_json(schema)
