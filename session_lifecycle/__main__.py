"""The command line: `python -m session_lifecycle COMMAND`. This module assembles it from `commands`."""

import os
import sys
from inspect import getdoc
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typer import Typer

_INSTALL: Final = "pip install 'session_lifecycle[cli]'"
_MISUSED: Final = 2
_INTERRUPTED: Final = 130  # what a shell expects of a process that Ctrl-C ended: 128 + SIGINT


def assemble() -> "Typer":
    """Return the application with all of its commands.

    Raises:
        ModuleNotFoundError: the extra `cli` is not installed.
    """
    from session_lifecycle._cli.app import new_app
    from session_lifecycle._cli.commands import (
        diagram,
        doctor,
        journal,
        plan,
        run,
        snapshot,
        status,
        timeline,
        watch,
    )

    app = new_app()
    for command in (
        status.status,
        plan.plan,
        timeline.timeline,
        watch.watch,
        run.run,
        snapshot.snapshot,
        journal.journal,
        doctor.doctor,
        diagram.diagram,
    ):
        summary, *_ = (getdoc(command) or "").splitlines()
        app.command(short_help=summary)(command)  # else a narrow terminal would get only its first words
    return app


def main() -> None:
    """Run the command line and exit with its status: 0, 1 for what needs attention, 2 for bad input, 130 for Ctrl-C."""
    if sys.stdout is None:  # where a shell has closed it
        sys.stderr.write("there is no stdout to print to\n")
        sys.exit(_MISUSED)
    try:
        from session_lifecycle._schedules.calendar_cache import ANSWERS, folder_in

        ANSWERS.keep_in(folder_in(os.environ))
        assemble()()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == __package__:
            raise
        sys.stderr.write(f"the command line needs {error.name}, which is not installed: {_INSTALL}\n")
        sys.exit(_MISUSED)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
