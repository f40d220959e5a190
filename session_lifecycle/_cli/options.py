"""The options that several commands take."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    pass

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
