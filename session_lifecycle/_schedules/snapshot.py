"""A schedule from a reviewed and pinned file of hours, without exchange_calendars and pandas.

A process that uses it starts in a fraction of the time and memory, and its hours do not change with a package. The file
is written from any `Schedule`, and compared with the installed calendar where those packages are installed.
"""

import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from copy import copy
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final, Self

from session_lifecycle._model.clock import as_utc
from session_lifecycle._model.errors import NotASession, OverrideRefused, ScheduleExhausted, SnapshotRefused
from session_lifecycle._model.overrides import Override, summary
from session_lifecycle._model.session import Session, require_date
from session_lifecycle._schedules.base import Schedule, require_schedule
from session_lifecycle._schedules.comparison import Difference, compare
from session_lifecycle._schedules.html import schedule_html
from session_lifecycle._schedules.local_hours import LocalHours
from session_lifecycle._schedules.snapshot_format import (
    PathLike,
    SnapshotHead,
    read_snapshot,
    snapshot_text,
    write_file,
)

_DAY: Final = timedelta(days=1)
_OURS: Final = "session_lifecycle"  # the corrections belong to its release
_MADE_FROM: Final = ("exchange_calendars", "pandas", _OURS)
SUFFIXES: Final = (".toml", ".json")
"""The suffixes of snapshot files."""


class SnapshotCheck(tuple[Difference, ...]):  # noqa: SLOT001 -- a tuple cannot have slots of its own
    """The dates on which a snapshot and the installed calendar differ, as a tuple of `Difference`s.

    `not_compared` is the first and the last day of the file that the installed calendar does not cover, None where it
    covers all of them.
    """

    __module__ = "session_lifecycle"

    not_compared: tuple[date, date] | None

    def __new__(cls, differences: Iterable[Difference], not_compared: tuple[date, date] | None = None) -> Self:
        """Return the differences, which must be ascending, and the days that were not compared."""
        found = super().__new__(cls, differences)
        found.not_compared = not_compared
        return found


class SnapshotSchedule:
    """The sessions of a snapshot file: load one with `SnapshotSchedule.load(path)`.

    It covers the days from `first` to `last` of the file's head. A date between them without a line has no session.
    """

    __module__ = "session_lifecycle"

    def __init__(self, head: SnapshotHead, zone: tzinfo, days: list[date], hours: list[LocalHours | Session]) -> None:
        self._head = head
        self._timezone = zone
        self._days = days
        self._hours = hours

    @classmethod
    def load(cls, path: PathLike) -> Self:
        """Return the schedule in a TOML or JSON file, as `write_snapshot` or the command `snapshot` writes it.

        Raises:
            SnapshotRefused: the file cannot be read, or has an unknown or invalid entry; says where.
        """
        content = read_snapshot(path)
        return cls(content.head, content.zone, content.days, [*content.hours])

    def __repr__(self) -> str:
        head = self._head
        return f"<SnapshotSchedule {head.calendar!r}, knows {head.first} to {head.last}, {len(self._days)} sessions>"

    def _repr_html_(self) -> str:
        return schedule_html(self)

    @property
    def head(self) -> SnapshotHead:
        """The head of the file: what it contains, and the versions that it was made from."""
        return self._head

    @property
    def name(self) -> str:
        """The name of the calendar that the file was made from."""
        return self._head.calendar

    @property
    def timezone(self) -> tzinfo:
        """The exchange's time zone, which the file's hours are in."""
        return self._timezone

    @property
    def known_until(self) -> date:
        """The last day that the file covers, a session or not. Later days raise `ScheduleExhausted`."""
        return self._head.last

    @property
    def vouched_until(self) -> date | None:
        """The last day whose hours had been published and compared when the file was made; None: not on record.

        Sessions after it were made from rules. It may lie outside of the file's days.
        """
        return self._head.vouched_until

    def session_at(self, t: datetime) -> Session:
        """Return the first session whose `close` is after `t`.

        Raises:
            ScheduleExhausted: the last session has closed by `t`, or `t` lies before the first known day, in UTC.
            NaiveDatetimeError: `t` has no time zone.
        """
        instant = as_utc("t", t)
        at = bisect_right(range(len(self._days)), instant, key=self._close)
        session = self._found(at, t)
        if instant < session.open and instant < datetime.combine(self._head.first, time(), UTC):
            raise self._exhausted(t)
        return session

    def session_on(self, day: date) -> Session:
        """Return the session labelled `day`.

        Raises:
            NotASession: there is none; names the nearest session on either side.
            ScheduleExhausted: `day` lies outside the known days.
        """
        self._require_known("day", day)
        at = bisect_left(self._days, day)
        if self._days[at : at + 1] == [day]:
            return self._get(at)
        raise NotASession(self.name, day, self._days[max(at - 1, 0) : at + 1])

    def next_session(self, day: date) -> Session:
        """Return the first session labelled after `day`, or raise `ScheduleExhausted`. `day` need not be a session."""
        require_date("day", day)
        wanted = f"the session after {day}"
        if day < self._head.first - _DAY:
            raise self._exhausted(wanted)
        return self._found(bisect_right(self._days, day), wanted)

    def previous_session(self, day: date) -> Session:
        """Return the last session labelled before `day`, or raise `ScheduleExhausted`. `day` need not be a session."""
        require_date("day", day)
        wanted = f"the session before {day}"
        if day > self._head.last + _DAY:
            raise self._exhausted(wanted)
        return self._found(bisect_left(self._days, day) - 1, wanted)

    def sessions(self, first: date, last: date) -> tuple[Session, ...]:
        """Return the sessions labelled from `first` to `last`, both inclusive. Empty where `first` is after `last`.

        Raises:
            ScheduleExhausted: part of the range lies outside the known days.
        """
        require_date("first", first)
        require_date("last", last)
        if first > last:
            return ()
        self._require_known("first", first)
        self._require_known("last", last)
        return tuple(map(self._get, range(bisect_left(self._days, first), bisect_right(self._days, last))))

    def with_session(self, day: date, session: Session | None) -> Self:
        """Return a copy of this schedule with another session on one date, or with none.

        Raises:
            ScheduleExhausted: `day` lies outside the known days.
            OverrideRefused: the session would overlap a neighbour, or none would be left.
        """
        self._require_known("day", day)
        at = bisect_left(self._days, day)
        here = slice(at, bisect_right(self._days, day))
        other = copy(self)
        other._days, other._hours = self._days.copy(), self._hours.copy()  # noqa: SLF001 -- a copy of self
        other._days[here] = [] if session is None else [day]  # noqa: SLF001 -- a copy of self
        other._hours[here] = [] if session is None else [session]  # noqa: SLF001 -- a copy of self
        if not other._days:  # noqa: SLF001 -- a copy of self
            raise OverrideRefused(day, f"{self.name} would have no session left")
        if session is not None:
            around = [other._get(each) for each in (at - 1, at, at + 1) if 0 <= each < len(other._days)]  # noqa: SLF001 -- a copy of self
            for earlier, later in pairwise(around):
                if earlier.close > later.open:
                    raise OverrideRefused(day, f"{earlier} would overlap {later}")
        return other

    def check(self, overrides: Iterable[Override] | None = None) -> SnapshotCheck:
        """Return the dates on which the installed calendar differs from this file: `a` is the file, `b` the calendar.

        The calendar is built with corrections, extended hours and phases as the file's head says. Dates whose hours
        come from overrides are skipped; pass the overrides to compare them too, and the days that they add to the
        calendar. Days that the installed calendar does not cover are not compared: see `not_compared`. This loads
        exchange_calendars.

        Raises:
            CalendarUnavailable, ConfigurationError, OverrideRefused: as raised by `ExchangeSchedule`.
        """
        from session_lifecycle._schedules.exchange import ExchangeSchedule  # slow; a snapshot is for running without it

        head = self._head
        installed = ExchangeSchedule(
            head.calendar,
            overrides=() if overrides is None else overrides,
            corrections=head.corrections,
            extended_hours=head.extended_hours,
            phases=head.phases,
            night=head.night,
            until=None if overrides is None else head.last,
            near=datetime.combine(head.last, time(), UTC),
        )
        own = {each[:10] for each in head.overrides} if overrides is None else set[str]()
        last = min(head.last, installed.known_until)
        found = () if last < head.first else compare(self, installed, head.first, last)
        rest = None if last == head.last else (max(head.first, last + _DAY), head.last)
        return SnapshotCheck((each for each in found if f"{each.date}" not in own), rest)

    def _get(self, at: int) -> Session:
        hours = self._hours[at]
        return hours if isinstance(hours, Session) else hours.on(self._days[at], self._timezone)

    def _close(self, at: int) -> datetime:
        hours = self._hours[at]
        return hours.close if isinstance(hours, Session) else hours.close.on(self._days[at], self._timezone)

    def _found(self, at: int, wanted: object) -> Session:
        if 0 <= at < len(self._days):
            return self._get(at)
        raise self._exhausted(wanted)

    def _require_known(self, what: str, day: date) -> None:
        require_date(what, day)
        if not self._head.first <= day <= self._head.last:
            raise self._exhausted(day)

    def _exhausted(self, wanted: object) -> ScheduleExhausted:
        remedy = "Recreate the snapshot, with the days that are needed"
        return ScheduleExhausted(self.name, wanted, self._days[0], self._days[-1], remedy)


def versions() -> dict[str, str]:
    """Return the installed versions of the packages that a calendar's hours are made from."""
    return {name: _version(name) for name in _MADE_FROM}


@cache
def _version(package: str) -> str:
    """Return an installed version. It takes milliseconds to find, in metadata that have the package's README too."""
    from importlib.metadata import version  # slow to import, and not needed to load a file

    return version(package)


def write_snapshot(schedule: Schedule, path: PathLike, first: date, last: date) -> None:
    """Write the hours of the days from `first` to `last`, both inclusive, to a file for `SnapshotSchedule.load`.

    The file's suffix is `.toml` or `.json`. It is written completely or not at all, and an existing file keeps its
    permissions. The head lists the overrides of an `ExchangeSchedule`, but not what `with_session` has changed. A
    snapshot of a `SnapshotSchedule` keeps the versions that the first one was made from.

    Raises:
        SnapshotRefused: the suffix is another one, the file cannot be written, there is no session in that range, the
            schedule's time zone has no name, or an hour occurs twice on its day in that zone.
        ScheduleExhausted: part of the range lies outside the known days.
        TypeError: `schedule` is no `Schedule`.
    """
    from session_lifecycle._schedules.exchange import ExchangeSchedule

    require_schedule(schedule)
    where, suffix = os.fspath(path), Path(path).suffix.lower()
    sessions = schedule.sessions(first, last)
    zone = "UTC" if schedule.timezone is UTC else getattr(schedule.timezone, "key", None)
    if suffix not in SUFFIXES:
        raise SnapshotRefused(where, None, "a snapshot is TOML or JSON", f"use the suffix {' or '.join(SUFFIXES)}")
    if not sessions:
        raise SnapshotRefused(where, None, "it would have no session", "choose other days")
    if not isinstance(zone, str):
        why = f"the time zone {schedule.timezone!r} has no name that a file can refer to"
        raise SnapshotRefused(where, None, why, "use a ZoneInfo")
    corrections, extended_hours, overrides = False, False, tuple[str, ...]()
    phases, night = False, None
    vouched: date | None = getattr(schedule, "vouched_until", None)
    made_from = {_OURS: versions()[_OURS]}
    if isinstance(schedule, SnapshotSchedule):
        was = schedule.head
        corrections, extended_hours, made_from = was.corrections, was.extended_hours, was.made_from
        phases, night = was.phases, was.night
        overrides = tuple(each for each in was.overrides if f"{first}" <= each[: len(f"{first}")] <= f"{last}")
    elif isinstance(schedule, ExchangeSchedule):
        corrections, extended_hours, made_from = schedule.corrects, schedule.extends, versions()
        phases, night = schedule.phases, schedule.night
        overrides = tuple(f"{each.date} {summary(each)}" for each in schedule.overrides if first <= each.date <= last)
    head = SnapshotHead(
        schedule.name, zone, first, last, corrections, extended_hours, overrides, made_from, vouched, phases, night
    )
    try:
        write_file(Path(path), snapshot_text(head, schedule.timezone, sessions, as_json=suffix == ".json"))
    except OSError as error:
        why = f"it cannot be written ({error.strerror})"
        raise SnapshotRefused(where, None, why, "check the folder and its permissions") from error
    except ValueError as error:
        raise SnapshotRefused(where, None, str(error), "no file was written") from error


write_snapshot.__module__ = "session_lifecycle"
