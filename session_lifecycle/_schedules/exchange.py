"""Exchange hours from exchange_calendars, as plain sessions, with corrections and overrides applied."""

import os
from collections.abc import Iterable
from datetime import UTC, date, datetime, tzinfo
from typing import Self

from session_lifecycle._model.clock import as_utc
from session_lifecycle._model.errors import ConfigurationError
from session_lifecycle._model.overrides import Override
from session_lifecycle._model.session import Session
from session_lifecycle._schedules.calendars import (
    all_sessions,
    calendar_between,
    calendar_errors,
    canonical_name,
    default_calendar,
    known_days,
    time_zone,
)
from session_lifecycle._schedules.corrections import Correction, corrected, reach
from session_lifecycle._schedules.extended_hours import TABLE as EXTENDED_HOURS
from session_lifecycle._schedules.extended_hours import extended
from session_lifecycle._schedules.overrides_file import read_overrides
from session_lifecycle._schedules.years import BY_DATE, DAY, LOADING, KeptYears


class ExchangeSchedule(KeptYears):
    """The sessions of a calendar of exchange_calendars.

    It covers the days between its calendar's `bound_min()` and `bound_max()`. A missing bound is 1970 or 2200, where
    the holiday rules end. A calendar registered as an instance covers the days that it was built for. Every query may
    build a calendar, which blocks, and raises `CalendarUnavailable` where that fails.

    Args:
        name: a name or alias of exchange_calendars, in its exact case. Registered calendars are included.
        overrides: hours that differ from the calendar's, at most one override for each date. Their years are loaded
            at once, so that an invalid override is refused here.
        corrections: fix the known errors of exchange_calendars; see the property `corrections`.
        extended_hours: give sessions the pre-market and post-market hours that the venue publishes, where its regular
            hours are the usual ones. Overrides are applied afterwards; hours that they do not mention stay.
        near: an instant near which queries are expected, by default the present. Its year is loaded at once. Only
            a hint: every answer is the same without it.

    Raises:
        CalendarUnavailable: there is no such calendar, or building it failed (chained to the cause).
        OverrideRefused: an override contradicts the calendar or another override, or its hours are not in order.
        ConfigurationError: no extended hours are on record for this venue.
        NaiveDatetimeError: `near` has no time zone.
    """

    __module__ = "session_lifecycle"

    def __init__(
        self,
        name: str,
        *,
        overrides: Iterable[Override] = (),
        corrections: bool = True,
        extended_hours: bool = False,
        near: datetime | None = None,
    ) -> None:
        super().__init__(overrides)
        day = (datetime.now(UTC) if near is None else as_utc("near", near)).date()
        self._name = canonical_name(name)
        if extended_hours and self._name not in EXTENDED_HOURS:
            known = ", ".join(sorted(EXTENDED_HOURS))
            raise ConfigurationError(
                "extended_hours", extended_hours, f"none are on record for {self._name}, only for {known}"
            )
        self._extended = EXTENDED_HOURS[self._name] if extended_hours else None
        self._corrects = corrections
        self._corrections: dict[date, Correction] = {}
        with calendar_errors(name):
            bounds = known_days(self._name)
            if bounds is None:
                calendar = default_calendar(self._name)
                sessions, zone = all_sessions(calendar), time_zone(calendar)
                self._first_day, self._last_day = sessions[0].date, sessions[-1].date
                self._keep(self._first_day.year, self._last_day.year, sessions, zone)
            else:
                self._first_day, self._last_day = bounds
                # Where there is no session around that day, the time zone comes from the default window.
                zone = self._load_around(self._clipped(day)) or time_zone(default_calendar(self._name))
        self._timezone: tzinfo = zone
        self._apply_overrides()

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, near: datetime | None = None) -> Self:
        """Return the schedule that a TOML file describes.

        The file has `calendar = "XNYS"` and optionally `corrections = false` or `extended_hours = true`, then tables
        `[[closure]]` and `[[special_hours]]` with the fields of `Closure` and `SpecialHours`. Hours are local times of
        the exchange (`13:00:00`) or datetimes with an offset; `breaks` is an array of pairs of them.

        Raises:
            OverrideRefused: the file has an unknown or invalid entry, or the constructor refuses an override.
            OSError, tomllib.TOMLDecodeError: the file cannot be read, or is not TOML.
            CalendarUnavailable, ConfigurationError: as raised by the constructor.
        """
        content = read_overrides(path)
        return cls(content.calendar, overrides=content.overrides, near=near, **content.options)

    @property
    def name(self) -> str:
        """The calendar's canonical name in exchange_calendars: XNYS for the alias XNAS."""
        return self._name

    @property
    def corrects(self) -> bool:
        """Whether it fixes the known errors of exchange_calendars."""
        return self._corrects

    @property
    def extends(self) -> bool:
        """Whether it gives sessions the pre-market and post-market hours that the venue publishes."""
        return self._extended is not None

    @property
    def corrections(self) -> tuple[Correction, ...]:
        """The corrections applied so far, by date: all of the past, and those of the future years that are loaded.

        Loads the years that have known corrections first, which may build the calendar.
        """
        span = reach(self._name) if self._corrects else None
        with LOADING:
            if span is not None:
                first, last = self._clipped(span[0]), self._clipped(min(span[1], date(max(self._years), 12, 31)))
                self.sessions(first, max(first, last))
            return tuple(sorted(self._corrections.values(), key=BY_DATE))

    def _load(self, first_year: int, last_year: int) -> tzinfo | None:
        """Build the calendar once and keep its sessions of those years. Return its zone, or None without a session."""
        start = max(date(first_year, 1, 1), self._first_day)
        end = min(date(last_year, 12, 31), self._last_day)
        if start == end:  # exchange_calendars builds no calendar of a single day
            start, end = max(start - DAY, self._first_day), min(end + DAY, self._last_day)
        with calendar_errors(self._name):
            calendar = calendar_between(self._name, start, end)
            if calendar is None:
                self._keep(first_year, last_year, (), None)
                return None
            zone = time_zone(calendar)
            self._keep(first_year, last_year, all_sessions(calendar), zone)
            return zone

    def _keep(self, first_year: int, last_year: int, sessions: Iterable[Session], zone: tzinfo | None) -> None:
        """Correct, extend and replace the sessions of those years, and keep them. A year that is loaded stays."""
        if self._corrects and zone is not None:
            first, last = date(first_year, 1, 1), date(last_year, 12, 31)
            sessions, made = corrected(self._name, sessions, zone, first, last)
            self._corrections.update((each.date, each) for each in made)
        if self._extended is not None and zone is not None:
            sessions = extended(self._extended, sessions, zone)
        self._keep_years(first_year, last_year, sessions)
