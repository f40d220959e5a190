"""The timeline as a picture, which matplotlib draws into a file, without a window."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib import dates
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator

from session_lifecycle._cli.views.bands import APPEARANCES, Band, Stretch, TimelineReport
from session_lifecycle._cli.views.moments import PhaseReport, place

_MATPLOTLIB: Final[Any] = mpl  # it has some types
_DATES: Final[Any] = dates  # matplotlib.dates has no types

_NOW: Final = "#D55E00"
_GREY: Final = "#707070"
_PALE: Final = 0.4
"""The opacity of a band that the configuration makes, and no fact of the venue."""

_PHASE: Final = {True: "#0072B2", False: "#CC79A7"}
"""The colours of phases in which orders can trade, and of those in which they cannot."""

_STRIP: Final = (0.4, 0.2)
"""Where the strip of a row's phases begins, below the middle of the row, and its height."""

_INCHES: Final = 10.5
"""About how wide the axes are."""

_INCHES_A_LETTER: Final = 0.048
_THINNEST: Final = 0.05
"""The inches of a phase up to which it has no white edge."""

_GRID: Final = "#C8C8C8"
_HOURS: Final = (0, 6, 12, 18)
_MOST_LABELS: Final = 10
_MOST_DAYS_WITH_HOURS: Final = 8
_MOST_DAYS_WITH_EDGES: Final = 20


def draw(path: Path, rows: Sequence[TimelineReport], stretch: Stretch, now: datetime) -> None:
    """Write the picture, in the format that the file's name ends in.

    Raises:
        OSError: the file cannot be written.
    """
    figure: Any = Figure(figsize=(12, 1.8 + 0.6 * len(rows)), layout="constrained", dpi=150)  # it has hardly any types
    axes = figure.subplots()
    edge = 0.7 if len(list(stretch.midnights)) <= _MOST_DAYS_WITH_EDGES else 0  # an edge would cover narrow bands
    for n, row in enumerate(rows):
        for kind, each in APPEARANCES.items():
            where = (n - each.height / 2, each.height)
            for configured, alpha in ((False, 1), (True, _PALE)):
                spans = [_span(band) for band in row.bands if band.kind == kind and band.configured is configured]
                style = {"facecolors": each.colour, "edgecolors": "white", "linewidth": edge, "alpha": alpha}
                axes.broken_barh(spans, where, **style, zorder=2)
        _draw_phases(axes, n, row.phases, stretch)
    # matplotlib would read what stands between two dollar signs as a formula.
    names = [f"{row.calendar}\n{place(row.timezone)}".replace("$", r"\$") for row in rows]
    axes.set_yticks(range(len(rows)), names)
    phases = [phase for row in rows for phase in row.phases]
    axes.set_ylim(len(rows) - (0.0 if phases else 0.2), -0.55)  # room for the present at the bottom
    axes.set_xlim(_DATES.date2num(stretch.start), _DATES.date2num(stretch.end))
    axes.tick_params(length=0)
    for side in ("top", "left", "right", "bottom"):
        axes.spines[side].set_visible(False)
    _mark_days(axes, stretch)
    if stretch.start <= now < stretch.end:
        _mark_now(axes, stretch, now)
    axes.set_title(f"Trading sessions, {stretch}", loc="left", pad=26, fontsize=13, fontweight="bold")
    patches = [Patch(color=each.colour, label=kind) for kind, each in APPEARANCES.items()]
    for tradable, label in ((True, "phase"), (False, "phase, not tradable")):
        if any(phase.tradable is tradable for phase in phases):
            patches.append(Patch(color=_PHASE[tradable], label=label))
    if any(band.configured for row in rows for band in row.bands):
        patches.append(Patch(color=_GREY, alpha=_PALE, label="pale: by configuration"))
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False)
    # Else a picture would have the time in it at which it was drawn, and names that are drawn by lot.
    with _MATPLOTLIB.rc_context({"svg.hashsalt": "session_lifecycle"}):
        figure.savefig(path, format=path.suffix[1:], metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_phases(axes: Any, row: int, phases: Sequence[PhaseReport], stretch: Stretch) -> None:  # noqa: ANN401 -- as above
    """Draw a strip of phases below a row, with the names that there is room for."""
    start, end = _DATES.date2num(stretch.start), _DATES.date2num(stretch.end)
    top, height = row + _STRIP[0], _STRIP[1]
    for phase in phases:
        first, last = max(_DATES.date2num(phase.start), start), min(_DATES.date2num(phase.end), end)
        inches, colour = (last - first) / (end - start) * _INCHES, _PHASE[phase.tradable]
        edge = "white" if inches > _THINNEST else colour  # a white one would cover an auction of some minutes
        axes.broken_barh(
            [(first, last - first)], (top, height), facecolors=colour, edgecolors=edge, linewidth=0.5, zorder=2
        )
        if inches > _INCHES_A_LETTER * len(phase.name):
            middle = ((first + last) / 2, top + height / 2)
            axes.text(*middle, phase.name, fontsize=5.5, color="white", ha="center", va="center", zorder=3)


def _span(band: Band) -> tuple[float, float]:
    start: float = _DATES.date2num(band.start)
    return start, _DATES.date2num(band.end) - start


def _mark_days(axes: Any, stretch: Stretch) -> None:  # noqa: ANN401 -- as above
    """Draw a line at every midnight; label the days above and the hours below where there is room."""
    days = list(stretch.midnights)
    for day, at in days[:: -(-len(days) // _MOST_LABELS)]:
        where = (_DATES.date2num(at), 1.0)
        axes.axvline(where[0], color=_GRID, linewidth=0.8, zorder=1)
        text = f"{day:%a} {day.day} {day:%b}"
        axes.annotate(text, where, (2, 5), xycoords=("data", "axes fraction"), textcoords="offset points")
    hours = _HOURS if len(days) <= _MOST_DAYS_WITH_HOURS else ()
    axes.xaxis.set_major_locator(_DATES.HourLocator(byhour=hours, tz=stretch.zone) if hours else NullLocator())
    axes.xaxis.set_major_formatter(_DATES.DateFormatter("%H", tz=stretch.zone))
    axes.tick_params(axis="x", labelsize=8, labelcolor=_GREY)


def _mark_now(axes: Any, stretch: Stretch, now: datetime) -> None:  # noqa: ANN401 -- as above
    at = _DATES.date2num(now)
    axes.axvline(at, color=_NOW, linewidth=1.5, zorder=3)
    text = f"now, {now.astimezone(stretch.zone):%a %H:%M}"
    late = now > stretch.start + 0.85 * (stretch.end - stretch.start)
    axes.annotate(
        text,
        (at, 0.0),
        (-4 if late else 4, 3),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="right" if late else "left",
        color=_NOW,
        fontsize=9,
    )
