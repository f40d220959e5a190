"""What the commands share: how they open schedules, print results, and put what went wrong into one line.

stdout is for results alone, stderr for everything else. Results are the same text on a terminal and in a pipe, but for
colours, which a pipe does not get, nor anybody who has set NO_COLOR.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Container, Generator, Iterable, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer
from typer.core import TyperGroup

from session_lifecycle.clock import SystemClock
from session_lifecycle.config import LifecycleConfig
from session_lifecycle.errors import ConfigurationError, LifecycleError
from session_lifecycle.exchange import ExchangeSchedule
from session_lifecycle.overrides import Override, read_overrides
from session_lifecycle.snapshot import SUFFIXES, SnapshotSchedule
from session_lifecycle.timeline import Timeline

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_WIDTH_OF_A_PIPE: Final = 1000  # nothing is cut or wrapped where nobody sees a screen

Calendars = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CALENDAR",
        help="Names or aliases known to exchange_calendars, such as XNYS, or paths of snapshots, such as hours.toml.",
        show_default=False,
    ),
]
HoursFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--hours",
        metavar="FILE",
        help="A TOML file of overrides, for the calendar that it names. Can be repeated.",
        show_default=False,
    ),
]
ExtendedHours = Annotated[
    bool, typer.Option("--extended-hours", help="Go by the venue's published pre-market and post-market hours.")
]
NoCorrections = Annotated[
    bool, typer.Option("--no-corrections", help="Show the raw calendar, without what is known to be wrong put right.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, in the shape that the guide documents.")]


class Refused(typer.TyperException):
    """What was asked cannot be done: a message that says what to do instead, and exit status 2."""

    exit_code = 2


class OneLineErrors(TyperGroup):
    """Commands whose errors are one line on stderr. What is no error of the user's stays a traceback."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,  # noqa: ANN401 -- the signature of the base class
    ) -> Any:  # noqa: ANN401 -- likewise
        """Run a command and leave with its exit status."""
        given = list(sys.argv[1:] if args is None else args)
        try:
            status = super().main(
                given or ["--help"],  # without a command there is nothing else to tell
                prog_name,
                complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
        except (typer.TyperException, LifecycleError, OSError) as error:
            tell(in_one_line(error))
            status = Refused.exit_code
        if standalone_mode:
            sys.exit(status)
        return status


def in_one_line(error: Exception) -> str:
    """Return an error as one line that says what to do."""
    if isinstance(error, OSError):
        return f"{error.filename or 'cannot write the result'}: {error.strerror or error}"
    if not isinstance(error, typer.TyperException):
        return " ".join(str(error).split())
    context = getattr(error, "ctx", None)
    hint = "" if context is None else f"; see `{context.command_path} --help`"
    return f"{' '.join(error.format_message().split()).rstrip('.')}{hint}"


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
        """What are the hours of a market, where does its session stand, and what comes next?"""

    return app


def now() -> datetime:
    """Return the present, by the library's own clock, in UTC."""
    return SystemClock().now()


def tell(message: str) -> None:
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


class Venue(NamedTuple):
    """A calendar as it was asked for, its schedule, the schedule seen through the default configuration.

    `lacks_extended_hours`: they were asked for, and none are on record.
    """

    asked: str
    schedule: ExchangeSchedule | SnapshotSchedule
    without_overrides: ExchangeSchedule | SnapshotSchedule
    timeline: Timeline
    lacks_extended_hours: bool = False


def open_venues(
    calendars: Iterable[str] | None,
    near: datetime,
    *,
    hours: Iterable[Path] | None = None,
    extended_hours: bool = False,
    corrections: bool = True,
) -> list[Venue]:
    """Return the venues that a command was asked about, in the order in which they were named.

    A file of hours holds for every name of its calendar; that of a calendar that was not named adds it. A snapshot has
    its own hours.

    Raises:
        Refused: there is nothing to open, a file cannot be read, or two files are for the same calendar.
        CalendarUnavailable, ConfigurationError, OverrideRefused: as by `ExchangeSchedule`.
        SnapshotRefused: as by `SnapshotSchedule.load`.
    """
    by_file = [_open_file(path, near, extended_hours=extended_hours, corrections=corrections) for path in hours or ()]
    overridden = {venue.schedule.name: venue for venue in by_file}
    for name, count in Counter(venue.schedule.name for venue in by_file).items():
        if count > 1:
            msg = f"{count} files of --hours are for {name}: put them into one"
            raise Refused(msg)
    venues: list[Venue] = []
    for name in calendars or ():
        if is_snapshot(name):
            venues.append(_open_snapshot(name, overridden, has_options=extended_hours or not corrections))
            continue
        venue = overridden.get(name) or _open(name, near, (), extended_hours=extended_hours, corrections=corrections)
        venues.append(overridden.get(venue.schedule.name, venue)._replace(asked=name))
    seen = {venue.schedule.name for venue in venues}
    venues += [venue for venue in by_file if venue.schedule.name not in seen]
    if not venues:
        msg = "name at least one CALENDAR, such as XNYS, or a file with --hours"
        raise Refused(msg)
    lacking = ", ".join(venue.asked for venue in venues if venue.lacks_extended_hours)
    if lacking:
        tell(f"note: no extended hours are on record for {lacking}; the default durations apply")
    return venues


def is_snapshot(name: str) -> bool:
    """Tell whether what stands in a calendar's place is a snapshot's path; no calendar's name ends like a file's."""
    return Path(name).suffix.lower() in SUFFIXES


def _open_snapshot(path: str, overridden: Container[str], *, has_options: bool) -> Venue:
    loaded = SnapshotSchedule.load(path)
    if loaded.name in overridden:
        msg = f"both {path} and a file of --hours are for {loaded.name}: make the snapshot with `--hours`"
        raise Refused(msg)
    if has_options:
        tell(f"note: {path} is a snapshot, which --extended-hours and --no-corrections do not change")
    return Venue(Path(path).name, loaded, loaded, Timeline(loaded, LifecycleConfig()))


def _open_file(path: Path, near: datetime, *, extended_hours: bool, corrections: bool) -> Venue:
    with reading(path):
        content = read_overrides(path)
    return _open(
        content.calendar,
        near,
        content.overrides,
        extended_hours=extended_hours or content.options.get("extended_hours", False),
        corrections=corrections and content.options.get("corrections", True),
    )


def _open(
    name: str, near: datetime, overrides: Sequence[Override], *, extended_hours: bool, corrections: bool
) -> Venue:
    def schedule(overrides: Sequence[Override], *, extended_hours: bool) -> ExchangeSchedule:
        return ExchangeSchedule(
            name, overrides=overrides, corrections=corrections, extended_hours=extended_hours, near=near
        )

    lacking = False
    try:
        opened = schedule(overrides, extended_hours=extended_hours)
    except ConfigurationError:  # the only setting that is given here is this one
        lacking = True
        opened = schedule(overrides, extended_hours=False)
    plain = schedule((), extended_hours=extended_hours and not lacking) if overrides else opened
    return Venue(name, opened, plain, Timeline(opened, LifecycleConfig()), lacking)


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Turn what goes wrong while a file is read into one line."""
    try:
        yield
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror}"
        raise Refused(msg) from error
    except LifecycleError:
        raise
    except ValueError as error:  # no TOML, or no UTF-8
        msg = f"cannot read {path}: {error}"
        raise Refused(msg) from error


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Turn what goes wrong while a file is written into one line."""
    try:
        yield
    except FileNotFoundError as error:
        msg = f"cannot write {path}: there is no folder {path.parent}; make it first"
        raise Refused(msg) from error
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror}"
        raise Refused(msg) from error
