"""Errors of a command, and how they become one line."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import typer

from session_lifecycle._model.errors import LifecycleError
from session_lifecycle._model.text import one_line


class CommandRefused(typer.TyperException):
    """A command cannot do what was asked. The message says what to do instead; the exit status is 2."""

    exit_code = 2


def in_one_line(error: Exception) -> str:
    """Return an error as one line that says what to do."""
    if isinstance(error, OSError):
        return one_line(f"{error.filename or 'cannot write the result'}: {error.strerror or error}")
    if not isinstance(error, typer.TyperException):
        return one_line(" ".join(str(error).split()))
    context = getattr(error, "ctx", None)
    hint = "" if context is None else f"; see `{context.command_path} --help`"
    return one_line(f"{' '.join(error.format_message().split()).rstrip('.')}{hint}")


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Report an error of reading a file in one line."""
    try:
        yield
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror}"
        raise CommandRefused(msg) from error
    except LifecycleError:
        raise
    except ValueError as error:  # not TOML, or not UTF-8
        msg = f"cannot read {path}: {error}"
        raise CommandRefused(msg) from error


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Report an error of writing a file in one line."""
    try:
        yield
    except FileNotFoundError as error:
        msg = f"cannot write {path}: there is no folder {path.parent}; create it first"
        raise CommandRefused(msg) from error
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror}"
        raise CommandRefused(msg) from error
