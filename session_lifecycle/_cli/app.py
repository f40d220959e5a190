"""The application that the commands are added to."""

import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from session_lifecycle._cli.failures import CommandRefused, in_one_line
from session_lifecycle._cli.output import notify
from session_lifecycle._model.errors import LifecycleError


class OneLineErrors(TyperGroup):
    """A group of commands that reports errors of the user in one line on stderr. Others keep their traceback."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,  # noqa: ANN401 -- the signature of the base class
    ) -> Any:  # noqa: ANN401 -- as above
        """Run a command and exit with its status."""
        given = list(sys.argv[1:] if args is None else args)
        try:
            status = super().main(
                given or ["--help"],  # without a command the help is the result
                prog_name,
                complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
        except (typer.TyperException, LifecycleError, OSError) as error:
            notify(in_one_line(error))
            status = CommandRefused.exit_code
        if standalone_mode:
            sys.exit(status)
        return status


def new_app() -> typer.Typer:
    """Return an application without commands."""
    app = typer.Typer(
        cls=OneLineErrors,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        epilog="The guide: examples/guide/command-line.md",
    )

    @app.callback()
    def about() -> None:  # pyright: ignore[reportUnusedFunction] -- typer keeps it, for `--help`
        """Show the hours of markets, where their sessions stand, and what comes next."""

    return app
