"""Exchange hours from exchange_calendars, as plain sessions, with corrections and overrides applied."""

import os
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final, Self

from session_lifecycle._model.clock import as_utc
from session_lifecycle._model.errors import ConfigurationError, OverrideRefused
from session_lifecycle._model.overrides import Closure, Override
from session_lifecycle._model.session import Session, require_date
from session_lifecycle._schedules.calendars import (
    RULES_END,
    all_sessions,
    calendar_errors,
    canonical_name,
    default_calendar,
    known_days,
    sessions_between,
    time_zone,
)
from session_lifecycle._schedules.corrections import Correction, corrected, reach
from session_lifecycle._schedules.extended_hours import TABLE as EXTENDED_HOURS
from session_lifecycle._schedules.extended_hours import extended
from session_lifecycle._schedules.html import schedule_html
from session_lifecycle._schedules.overrides_file import naming, read_overrides
from session_lifecycle._schedules.regular_week import YEAR, continued
from session_lifecycle._schedules.venue_hours import hours_of, with_phases
from session_lifecycle._schedules.years import BY_DATE, DAY, LOADING, KeptYears

# Hours on a day that is no trade date are the beginning of a session at most this much later.
_JOINING: Final = timedelta(days=16)
_REMEDY: Final = (
    "Update exchange_calendars and session_lifecycle, or add the days yourself: an hours file with `until`, their last "
    "day, and their closures and special hours"
)


class ExchangeSchedule(KeptYears):
    """The sessions of a calendar of exchange_calendars.

    It covers the days between its calendar's `bound_min()` and `bound_max()`. A missing bound is 1970 or 2200, where
    the holiday rules end. Where a calendar has lists of feasts that no rule gives, it covers the days up to the end of
    the shortest list: a later feast would be a session. A calendar registered as an instance covers the days that it
    was built for. Every query may build a calendar, which blocks, and raises `CalendarUnavailable` where that fails.

    Args:
        name: a name or alias of exchange_calendars, in its exact case. Registered calendars are included. Of CMES, the
            US equity-index futures, the aliases CME, CBOT, COMEX and NYMEX are refused: they say more than it is.
        overrides: hours that differ from the calendar's, at most one override for each date, and seasons. Their years
            are loaded at once, so that an invalid override is refused here.
        corrections: fix the known errors of exchange_calendars; see the property `corrections`.
        extended_hours: give sessions the pre-market and post-market hours that the venue publishes, where its regular
            hours are the usual ones. Overrides are applied afterwards; hours that they do not mention stay.
        phases: give sessions the phases of the venue that are on record, such as auctions and an after-market. They
            move no boundary. An override keeps those that no hour of it touches.
        night: with `phases`, another venue on which the same securities trade at night, whose phases are added: for
            XNYS, "BLUE" is Blue Ocean ATS, and "IBKR" Interactive Brokers.
        until: the last day, inclusive, of a time that the calendar does not know yet and that `overrides` describe:
            on the days after the calendar's end, each weekday of the regular week is a session with its regular
            hours, except as the overrides say. A closure may then be of a day without a session.
        near: an instant near which queries are expected, by default the present. Its year is loaded at once. Only
            a hint: every answer is the same without it.

    Raises:
        CalendarUnavailable: there is no such calendar, or building it failed (chained to the cause).
        OverrideRefused: an override contradicts the calendar or another override, its hours are not in order, or
            `until` lies after 2200.
        ScheduleExhausted: an override is of a day that the calendar does not know.
        ConfigurationError: no extended hours, or no such night, are on record for this venue.
        NaiveDatetimeError: `near` has no time zone.
        TypeError: an argument is of the wrong kind.
    """

    __module__ = "session_lifecycle"
    _remedy = _REMEDY

    def __init__(
        self,
        name: str,
        *,
        overrides: Iterable[Override] = (),
        corrections: bool = True,
        extended_hours: bool = False,
        phases: bool = False,
        night: str | None = None,
        until: date | None = None,
        near: datetime | None = None,
    ) -> None:
        super().__init__(overrides)
        if until is not None:
            require_date("until", until)
            if until > RULES_END:
                raise OverrideRefused(until, f"`until` cannot be later than {RULES_END}, where all rules end")
        day = (datetime.now(UTC) if near is None else as_utc("near", near)).date()
        self._name = canonical_name(name)
        if extended_hours and self._name not in EXTENDED_HOURS:
            known = ", ".join(sorted(EXTENDED_HOURS))
            raise ConfigurationError(
                "extended_hours", extended_hours, f"none are on record for {self._name}, only for {known}"
            )
        self._phases = phases
        self._night = night
        self._extended = EXTENDED_HOURS[self._name] if extended_hours else None
        self._corrects = corrections
        self._corrections: dict[date, Correction] = {}
        with calendar_errors(name):
            self._hours = hours_of(self._name)
        if night is not None and (not phases or night not in self._hours.nights):
            nights = ", ".join(self._hours.nights) or "none"
            raise ConfigurationError("night", night, f"needs phases=True; on record for {self._name}: {nights}")
        with calendar_errors(name):
            bounds = known_days(self._name)
            if bounds is None:
                calendar = default_calendar(self._name)
                sessions, zone = all_sessions(calendar), self._hours.zone or time_zone(calendar)
                self._set_days(sessions[0].date, sessions[-1].date, until)
                if self._last_day > self._calendar_end:
                    sessions += continued(sessions, zone, self._calendar_end, self._last_day)
                self._keep(self._first_day.year, self._last_day.year, sessions, zone)
            else:
                self._set_days(*bounds, until)
                # Where there is no session around that day, the time zone comes from the default window.
                found = self._load_around(self._clipped(day)) or self._hours.zone
                zone = found or time_zone(default_calendar(self._name))
        self._timezone: tzinfo = zone
        # The list of an added year's closures has those that the calendar knows, and those of a Sunday, too.
        self._apply_overrides(skip=lambda override: until is not None and isinstance(override, Closure))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, near: datetime | None = None) -> Self:
        """Return the schedule that a TOML file describes.

        The file has `calendar = "XNYS"` and optionally `corrections = false`, `extended_hours = true`,
        `phases = true`, `night = "BLUE"` or `until = 2027-12-31`, the constructor's arguments of these names. Then
        follow tables `[[closure]]` and `[[special_hours]]` with the fields of `Closure` and `SpecialHours`. Hours are
        local times of the exchange (`13:00:00`) or datetimes with an offset; `breaks` is an array of pairs of them.
        `phases` is an array of tables with the fields of `Phase`, whose instants are datetimes with an offset.

        Raises:
            OverrideRefused: the file cannot be read, is not TOML, or has an unknown or invalid entry; or the
                constructor refuses it, of which that error is the cause. Names the file.
        """
        content = read_overrides(path)
        with naming(path):
            return cls(
                content.calendar,
                overrides=content.overrides,
                until=content.until,
                night=content.night,
                near=near,
                **content.options,
            )

    def _repr_html_(self) -> str:
        return schedule_html(self)

    @property
    def name(self) -> str:
        """The calendar's canonical name in exchange_calendars: XNYS for the alias XNAS."""
        return self._name

    @property
    def known_until(self) -> date:
        """The last day that the schedule covers, a session or not. Later days raise `ScheduleExhausted`.

        It is the calendar's last day, or the day at which its lists of feasts end, or the constructor's `until`.
        """
        return self._last_day

    @property
    def vouched_until(self) -> date | None:
        """The last day whose holidays the exchange has published and that has been compared with what it published.

        Sessions after it follow from rules, such as "the last Monday in May". A year that overrides and `until` have
        added counts as published. None: nothing is on record about this calendar.
        """
        return self._last_day if self._last_day > self._calendar_end else self._hours.vouched_until

    @property
    def means(self) -> str:
        """What open and close stand for in this calendar, in words; empty where it is not on record."""
        return self._hours.means

    @property
    def corrects(self) -> bool:
        """Whether it fixes the known errors of exchange_calendars."""
        return self._corrects

    @property
    def extends(self) -> bool:
        """Whether it gives sessions the pre-market and post-market hours that the venue publishes."""
        return self._extended is not None

    @property
    def phases(self) -> bool:
        """Whether it gives sessions the phases that are on record for the venue."""
        return self._phases

    @property
    def night(self) -> str | None:
        """The other venue whose nights its sessions have; None where there is none."""
        return self._night

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

    def corrections_on(self, first: date, last: date) -> tuple[Correction, ...]:
        """Return the corrections applied from `first` to `last`, both inclusive, by date. Loads no other years.

        Raises:
            ScheduleExhausted: part of the range lies outside the known days.
        """
        with LOADING:
            self.sessions(first, last)
            made = [each for each in self._corrections.values() if first <= each.date <= last]
        return tuple(sorted(made, key=BY_DATE))

    def _set_days(self, first: date, last: date, until: date | None) -> None:
        """Set the known days: those of the calendar, up to where its lists of feasts end, or to `until`."""
        listed = self._hours.known_until
        self._first_day = first
        self._calendar_end = last if listed is None else max(first, min(last, listed))
        self._last_day = self._calendar_end if until is None else max(until, self._calendar_end)

    def _load(self, first_year: int, last_year: int) -> tzinfo | None:
        """Build the calendar once and keep its sessions of those years. Return its zone, or None without a session."""
        start = max(date(first_year, 1, 1), self._first_day)
        end = min(date(last_year, 12, 31), self._last_day)
        beyond = end > self._calendar_end
        if beyond:
            start, end = min(start, self._calendar_end - YEAR), self._calendar_end
        elif self._corrects and self._hours.joins:
            start -= _JOINING
        start = max(start, self._first_day)
        if start == end:  # exchange_calendars builds no calendar of a single day
            start, end = max(start - DAY, self._first_day), min(end + DAY, self._calendar_end)
        with calendar_errors(self._name):
            found = sessions_between(self._name, start, end)
            if found is None:
                self._keep(first_year, last_year, (), None)
                return None
            sessions, zone = found[0], self._hours.zone or found[1]
            if beyond:
                sessions += continued(sessions, zone, self._calendar_end, self._clipped(date(last_year, 12, 31)))
            self._keep(first_year, last_year, sessions, zone)
            return zone

    def _keep(self, first_year: int, last_year: int, sessions: Iterable[Session], zone: tzinfo | None) -> None:
        """Correct, extend and replace the sessions of those years, and keep them. A year that is loaded stays."""
        if self._corrects and zone is not None:
            first, last = self._clipped(date(first_year, 1, 1)), self._clipped(date(last_year, 12, 31))
            sessions, made = corrected(self._hours, sessions, zone, min(first, self._clipped(first - _JOINING)), last)
            self._corrections.update((each.date, each) for each in made if first <= each.date)
        if self._extended is not None and zone is not None:
            sessions = extended(self._extended, sessions, zone)
        if self._phases and zone is not None:
            sessions = with_phases(self._hours.phases, self._night, sessions, zone)
        self._keep_years(first_year, last_year, sessions)
