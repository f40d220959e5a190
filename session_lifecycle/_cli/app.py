"""The application that the commands are added to."""

import sys
from collections.abc import Sequence
from importlib.metadata import version
from platform import python_version
from typing import Annotated, Any

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


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"session_lifecycle {version('session_lifecycle')}, with Python {python_version()}")
        raise typer.Exit


def new_app() -> typer.Typer:
    """Return an application without commands."""
    app = typer.Typer(
        cls=OneLineErrors,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        epilog="The guide: examples/guide/command-line.md",
    )

    @app.callback()
    def about(
        *,
        _version: Annotated[
            bool,
            typer.Option(
                "--version",
                help="Print the versions of the package and of Python, and exit.",
                is_eager=True,
                callback=_print_version,
            ),
        ] = False,
    ) -> None:
        """Show the hours of markets, where their sessions stand, and what comes next."""

    return app
