"""Hours from pandas_market_calendars, as plain sessions.

The only module that imports pandas_market_calendars, the extra `markets`. It does so when a calendar is requested.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, tzinfo
from typing import Any, Final
from warnings import catch_warnings, simplefilter

from session_lifecycle._model.clock import as_utc
from session_lifecycle._model.errors import CalendarUnavailable, InvalidSession
from session_lifecycle._model.overrides import Override
from session_lifecycle._model.session import Session
from session_lifecycle._schedules.calendars import (
    RULES_END,
    RULES_START,
    calendar_errors,
    known_days,
    warn_of_pandas,
)
from session_lifecycle._schedules.html import schedule_html
from session_lifecycle._schedules.venue_hours import hours_of
from session_lifecycle._schedules.years import LOADING, KeptYears

_SOURCE: Final = "pandas_market_calendars"
_INSTALL: Final = f"{_SOURCE} is not installed: pip install 'session_lifecycle[markets]'"
_WEEK_FROM_SUNDAY_EVENING: Final = "FOREX"
_SUNDAY: Final = 6
# Shanghai's class has lists up to the year before the one from which, it says, its rules are guesswork.
_GUESSES_AFTER_LISTS: Final = ("SSE",)
# What trades on these holidays of CME's trade dates is, where there is any, a session of its own.
_OWN_TRADE_DATE: Final = ("New Years Day", "Good Friday", "Christmas")

_Interval = tuple[datetime, datetime]


class MarketCalendarSchedule(KeptYears):
    """The sessions of a calendar of pandas_market_calendars, such as "CME Globex Gold" (extra `markets`).

    It has calendars that exchange_calendars lacks, CME's product groups among them. Its breaks and interruptions are
    the breaks of a session. Pre-market and post-market hours are left to the configuration, and the corrections of
    `ExchangeSchedule` do not apply: prefer `ExchangeSchedule` for a venue that both have.

    It covers the days that the calendar has holidays for. Rules cover 1970 to 2200, a list of holidays its own years; a
    calendar that is taken over from exchange_calendars covers what it covers there. Beyond them `ScheduleExhausted` is
    raised. Every query may build a calendar, which blocks, and raises `CalendarUnavailable` where that fails.

    On a US holiday that is no trade date of CME, its calendars for the products of Globex have a session up to the
    halt. What trades there counts for the next trade date, so both are one session here, with a break between them
    (https://www.cmegroup.com/tools-information/holiday-calendar.html). "FOREX" has no session on Sundays: the week
    begins on Sunday at 17:00 New York, which is Monday's session.

    Args:
        name: a name of pandas_market_calendars. Case, spaces, hyphens and underscores make no difference.
        overrides: hours that differ from the calendar's, at most one override for each date. Their years are loaded
            at once, so that an invalid override is refused here.
        near: an instant near which queries are expected, by default the present. Its year is loaded at once. Only
            a hint: every answer is the same without it.

    Raises:
        CalendarUnavailable: there is no such calendar, building it failed (chained to the cause), or the extra is
            missing.
        OverrideRefused: an override contradicts the calendar or another override, or its hours are not in order.
        ScheduleExhausted: an override is of a day that the calendar does not know.
        NaiveDatetimeError: `near` has no time zone.
        TypeError: an argument is of the wrong kind.
    """

    __module__ = "session_lifecycle"
    _remedy = f"Update {_SOURCE} once it knows more"

    def __init__(self, name: str, *, overrides: Iterable[Override] = (), near: datetime | None = None) -> None:
        super().__init__(overrides)
        day = (datetime.now(UTC) if near is None else as_utc("near", near)).date()
        self._name = _registered(name)
        with LOADING, _reading(name):
            calendar = _calendar(self._name)
            self._first_day, self._last_day = _known_days(calendar)
            self._timezone: tzinfo = calendar.tz
        self._load_around(self._clipped(day))
        self._apply_overrides()

    def _repr_html_(self) -> str:
        return schedule_html(self)

    @property
    def name(self) -> str:
        """The calendar's name, spelled as in pandas_market_calendars."""
        return self._name

    def _load(self, first_year: int, last_year: int) -> tzinfo:
        first = max(date(first_year, 1, 1), self._first_day)
        last = min(date(last_year, 12, 31), self._last_day)
        warn_of_pandas()
        with _reading(self._name):
            calendar = _calendar(self._name)
            sessions = list(_sessions(calendar, first, last))
            if calendar.name == _WEEK_FROM_SUNDAY_EVENING:
                sessions = [each for each in sessions if each.date.weekday() != _SUNDAY]
            holidays = _holidays_without_trade_date(calendar, first, last)
            self._keep_years(first_year, last_year, _apart(_merged(sessions, holidays)))
        return self._timezone


def _registered(name: object) -> str:
    """Return a calendar's registered name.

    Raises:
        CalendarUnavailable: there is no such name, or pandas_market_calendars is not installed.
    """
    names: list[str] = _library(name).get_calendar_names()
    if isinstance(name, str):
        if name in names:
            return name
        folded = {_folded(known): known for known in names}
        if (found := folded.get(_folded(name))) is not None:
            return found
        from difflib import get_close_matches  # only for this message

        near = get_close_matches(_folded(name), folded)
        raise CalendarUnavailable(name, near=[folded[each] for each in near], source=_SOURCE)
    raise CalendarUnavailable(name, source=_SOURCE)


def _folded(name: str) -> str:
    return "".join(filter(str.isalnum, name)).casefold()


def _library(name: object) -> Any:
    """Import pandas_market_calendars, slowly; its types are those of pandas, so it is `Any`."""
    try:
        import pandas_market_calendars  # type: ignore[import-untyped]  # late on purpose; see the module's docstring
    except ImportError as error:
        raise CalendarUnavailable(name, reason=_INSTALL) from error
    return pandas_market_calendars


@contextmanager
def _reading(name: str) -> Generator[None, None, None]:
    """Read a calendar: errors become `CalendarUnavailable`, and what it warns of is dealt with here."""
    with calendar_errors(name), catch_warnings():
        simplefilter("ignore")
        yield


def _calendar(name: str) -> Any:
    return _library(name).get_calendar(name)


def _known_days(calendar: Any) -> tuple[date, date]:
    """Return the first and last day that the calendar has holidays for."""
    if "ec" in dir(calendar):  # taken over from exchange_calendars; to read it would build that one, up to two seconds
        [canonical] = calendar.aliases
        first, last = known_days(canonical) or (RULES_START, RULES_END)
        return first, min(last, hours_of(canonical).known_until or last)
    years: list[int] = [each.year for each in calendar.adhoc_holidays]
    if years and (calendar.regular_holidays is None or calendar.name in _GUESSES_AFTER_LISTS):
        return date(min(years), 1, 1), date(max(years), 12, 31)
    return RULES_START, RULES_END


def _sessions(calendar: Any, first: date, last: date) -> Iterator[Session]:
    """Yield the sessions from `first` to `last`, each with its breaks and interruptions."""
    if "market_close" not in calendar.market_times:
        instead = f"use ExchangeSchedule({calendar.name!r})"
        raise CalendarUnavailable(
            calendar.name, reason=f"{_SOURCE} takes it over from exchange_calendars without its closes: {instead}"
        )
    wanted: list[str] = [
        each for each in calendar.market_times if each in ("market_open", "break_start", "break_end", "market_close")
    ]
    table: Any = calendar.schedule(first, last, market_times=wanted, interruptions=True)
    names: list[str] = [*table.columns]
    starts = [name for name in names if "_start" in name]
    no_break_from: Any = calendar.discontinued_market_times.get("break_start")
    for label, row in zip(table.index, table.to_dict("records"), strict=True):
        times: dict[str, Any] = {name: each.to_pydatetime() for name, each in row.items() if each == each}  # noqa: PLR0124 -- not NaT
        day: date = label.date()
        if no_break_from is not None and day >= date.fromisoformat(str(no_break_from)[:10]):
            times.pop("break_start", None)
        pauses = [(times[start], times[start.replace("_start", "_end")]) for start in starts if start in times]
        opened, closed = times["market_open"], times["market_close"]
        yield Session(day, opened, closed, _breaks(opened, closed, pauses))


def _breaks(opened: datetime, closed: datetime, pauses: Iterable[_Interval]) -> tuple[_Interval, ...]:
    """Return the pauses that lie in a session, in order. One that the session never comes to has no width there."""
    breaks: list[_Interval] = []
    for start, end in sorted(pauses):
        if opened < start < end < closed:
            if breaks and start <= breaks[-1][1]:
                breaks[-1] = (breaks[-1][0], max(end, breaks[-1][1]))
            else:
                breaks.append((start, end))
    return tuple(breaks)


def _holidays_without_trade_date(calendar: Any, first: date, last: date) -> frozenset[date]:
    """Return the holidays on which what CME trades counts for the next trade date; none for other exchanges."""
    module = type(calendar).__module__
    if ".cme" not in module or "agriculture" in module or calendar.name == "CME_TradeDate":  # those do not trade then
        return frozenset()
    rules: Any = _calendar("CME_TradeDate").regular_holidays
    named: Any = rules.holidays(str(first), str(last), return_name=True)
    return frozenset(day.date() for day, name in named.items() if name not in _OWN_TRADE_DATE)


def _merged(sessions: Iterable[Session], holidays: frozenset[date]) -> Iterator[Session]:
    """Join a holiday's session with the next one, with a break between them."""
    held: Session | None = None
    for session in sessions:
        joined = session
        if held is not None:
            pause = ((held.close, session.open),) if held.close < session.open else ()
            breaks = (*held.breaks, *pause, *session.breaks)
            joined = Session(session.date, held.open, session.close, breaks)
        held = joined if session.date in holidays else None
        if held is None:
            yield joined
    if held is not None:
        yield held


def _apart(sessions: Iterable[Session]) -> Iterator[Session]:
    """Refuse sessions that overlap."""
    before: Session | None = None
    for session in sessions:
        if before is not None and before.close > session.open:
            msg = f"session {session.date} opens before session {before.date} has closed"
            raise InvalidSession(msg)
        yield session
        before = session
