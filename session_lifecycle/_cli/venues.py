"""The venues that a command is given, and how their schedules are opened."""

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Final, NamedTuple

from session_lifecycle._cli.failures import CommandRefused, reading
from session_lifecycle._cli.output import notify, with_progress
from session_lifecycle._core.timeline import Timeline
from session_lifecycle._model.config import LifecycleConfig
from session_lifecycle._model.errors import ConfigurationError
from session_lifecycle._model.overrides import Override
from session_lifecycle._model.text import one_line
from session_lifecycle._schedules.exchange import ExchangeSchedule
from session_lifecycle._schedules.extended_hours import TABLE as EXTENDED_HOURS
from session_lifecycle._schedules.overrides_file import naming, read_overrides
from session_lifecycle._schedules.snapshot import SUFFIXES, SnapshotSchedule

NOT_COMPARED: Final = "no comparison with what the exchange has published is on record"
"""What is said of a calendar whose `vouched_until` is None."""


class Venue(NamedTuple):
    """A calendar that a command was given: its schedule, and the schedule's timeline with the default configuration.

    `asked` is its name as it was given, on one line. `lacks_extended_hours` says that extended hours were asked for and
    none are on record.
    """

    asked: str
    schedule: ExchangeSchedule | SnapshotSchedule
    without_overrides: ExchangeSchedule | SnapshotSchedule
    timeline: Timeline
    lacks_extended_hours: bool = False

    @property
    def own_hours(self) -> str:
        """Where the venue's own pre-market and post-market hours are, if it is not given them."""
        schedule = self.schedule
        if isinstance(schedule, SnapshotSchedule):
            return "the venue's own are not in the snapshot"
        if schedule.name in EXTENDED_HOURS and not schedule.extends:
            return "the venue's own are on record: --extended-hours"
        return "the venue's own are not on record"

    @property
    def remedy(self) -> str:
        """What adds the days after the last one that is known."""
        if isinstance(self.schedule, SnapshotSchedule):
            return "recreate the snapshot"
        return "update exchange_calendars and session_lifecycle, or add the days: a file of hours with `until`"


def open_venues(
    calendars: Iterable[str] | None,
    near: datetime,
    *,
    hours: Iterable[Path] | None = None,
    extended_hours: bool = False,
    phases: bool = False,
    corrections: bool = True,
) -> list[Venue]:
    """Return the venues that a command was given, in the order in which they were named.

    A file of hours applies to every name of its calendar, and adds the calendar where it was not named. A snapshot has
    its own hours.

    Raises:
        CommandRefused: there is nothing to open, a file cannot be read, or two files are for the same calendar.
        CalendarUnavailable, ConfigurationError, OverrideRefused: as by `ExchangeSchedule`.
        SnapshotRefused: as by `SnapshotSchedule.load`.
    """
    by_file = [
        _open_file(path, near, extended_hours=extended_hours, phases=phases, corrections=corrections)
        for path in hours or ()
    ]
    overridden = {venue.schedule.name: venue for venue in by_file}
    for name, count in Counter(venue.schedule.name for venue in by_file).items():
        if count > 1:
            msg = f"{count} files of --hours are for {name}: merge them into one"
            raise CommandRefused(msg)
    venues: list[Venue] = []
    for name in with_progress([*(calendars or ())], lambda name: f"reading the hours of {name}"):
        if is_snapshot(name):
            venues.append(_open_snapshot(name, overridden, has_options=extended_hours or phases or not corrections))
            continue
        venue = overridden.get(name) or _open(
            name, near, (), extended_hours=extended_hours, phases=phases, corrections=corrections
        )
        venues.append(overridden.get(venue.schedule.name, venue)._replace(asked=name))
    named = {venue.schedule.name for venue in venues}
    venues += [venue for venue in by_file if venue.schedule.name not in named]
    if not venues:
        msg = "name at least one CALENDAR, such as XNYS, or a file with --hours"
        raise CommandRefused(msg)
    lacking = ", ".join(venue.asked for venue in venues if venue.lacks_extended_hours)
    if lacking:
        notify(f"note: no extended hours are on record for {lacking}; the default durations apply")
    return venues


def is_snapshot(name: str) -> bool:
    """Return whether a name is the path of a snapshot, by its suffix, which no calendar's name has."""
    return Path(name).suffix.lower() in SUFFIXES


def _open_snapshot(path: str, overridden: Container[str], *, has_options: bool) -> Venue:
    loaded = SnapshotSchedule.load(path)
    if loaded.name in overridden:
        msg = f"both {path} and a file of --hours are for {loaded.name}: make the snapshot with `--hours`"
        raise CommandRefused(msg)
    if has_options:
        notify(f"note: {path} is a snapshot, which --extended-hours, --phases and --no-corrections do not change")
    return Venue(one_line(Path(path).name), loaded, loaded, Timeline(loaded, LifecycleConfig()))


def _open_file(path: Path, near: datetime, *, extended_hours: bool, phases: bool, corrections: bool) -> Venue:
    with reading(path):
        content = read_overrides(path)
    with naming(path):
        return _open(
            content.calendar,
            near,
            content.overrides,
            until=content.until,
            night=content.night,
            phases=phases or content.options.get("phases", False),
            extended_hours=extended_hours or content.options.get("extended_hours", False),
            corrections=corrections and content.options.get("corrections", True),
        )


def _open(
    name: str,
    near: datetime,
    overrides: Sequence[Override],
    *,
    extended_hours: bool,
    phases: bool,
    corrections: bool,
    until: date | None = None,
    night: str | None = None,
) -> Venue:
    def schedule(overrides: Sequence[Override], *, extended_hours: bool) -> ExchangeSchedule:
        return ExchangeSchedule(
            name,
            overrides=overrides,
            corrections=corrections,
            extended_hours=extended_hours,
            phases=phases,
            night=night,
            until=until,
            near=near,
        )

    lacking = False
    try:
        opened = schedule(overrides, extended_hours=extended_hours)
    except ConfigurationError:  # extended_hours, or else it is refused again
        lacking = True
        opened = schedule(overrides, extended_hours=False)
    plain = schedule((), extended_hours=extended_hours and not lacking) if overrides else opened
    return Venue(name, opened, plain, Timeline(opened, LifecycleConfig()), lacking)
