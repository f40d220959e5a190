"""How the commands print results.

stdout is for results alone, stderr for everything else. Results are the same text on a terminal and in a pipe, but for
colours, which are left out in a pipe and where NO_COLOR is set.
"""

import json
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import typer

from session_lifecycle._runtime.system_clock import SystemClock

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_WIDTH_OF_A_PIPE: Final = 1000  # nothing is cut or wrapped where nobody sees a screen


def now() -> datetime:
    """Return the present, by the library's own clock, in UTC."""
    return SystemClock().now()


def notify(message: str) -> None:
    """Print a line that is no result."""
    typer.echo(message, err=True)


def new_console() -> "Console":
    """Return a console for stdout. Colours only on a terminal, and none where NO_COLOR is set."""
    from rich.console import Console

    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(highlight=False, markup=False, emoji=False, width=_WIDTH_OF_A_PIPE if piped else None)


def show(result: "RenderableType") -> None:
    """Print a table or a text to stdout, without blanks at the ends of its lines where it is no terminal."""
    console = new_console()
    if console.is_terminal:
        console.print(result)
        return
    with console.capture() as captured:
        console.print(result)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def show_json(result: object, *, indent: int | None = 2) -> None:
    """Print a result as JSON to stdout; without indent, on one line, at once."""
    text = json.dumps(result, indent=indent, ensure_ascii=False)
    # Lone surrogates, by which Python writes bytes of file names, have no UTF-8; escaped like this they are JSON.
    typer.echo(text.encode(errors="backslashreplace").decode())


def iso(instant: datetime) -> str:
    """Return an instant as JSON has it: ISO 8601, in UTC."""
    return instant.astimezone(UTC).isoformat()
