"""Read calendars of exchange_calendars as plain values.

The only module that imports exchange_calendars (and, through it, pandas and numpy). It does so when a calendar is
requested, not when it is imported itself: the import takes about half a second.

pandas 2.2.3 to 3.0 are safe. From 3.1 on pandas no longer calls `_apply` of an offset that another package defines, and
`date_range` does not ask such an offset for its days. exchange_calendars 4.13.2 has some: its Orthodox Easter fails,
and its weeks with a Saturday silently lose it. The first could be repaired from here by giving that class pandas' new
private method, the second only by replacing parts of pandas. So the package requires `pandas<3.1`, and where another
one is installed all the same, a calendar that is built warns.
"""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, date, datetime, tzinfo
from functools import cache
from importlib.metadata import version
from typing import Any, Final
from warnings import warn
from zoneinfo import ZoneInfo

from session_lifecycle._model.errors import CalendarUnavailable, InvalidSession, OverrideRefused, ScheduleExhausted
from session_lifecycle._model.session import Session
from session_lifecycle._schedules.calendar_cache import ANSWERS, Span, ZonedSessions

# Where a calendar's class names no bounds, the holiday rules do: pandas.tseries.holiday.AbstractHolidayCalendar has
# start_date 1970-01-01 and end_date 2200-12-31, and outside them every weekday silently becomes a session.
RULES_START: Final = date(1970, 1, 1)
RULES_END: Final = date(2200, 12, 31)

# Aliases of CMES, each with names of pandas_market_calendars for the products that the exchange is known for.
_NOT_CMES: Final = {
    "CBOT": ("CMEGlobex_Grains", "CBOT_Bond"),
    "CME": ("CMEGlobex_FX", "CMEGlobex_Livestock"),
    "COMEX": ("CMEGlobex_Gold", "CMEGlobex_Copper"),
    "NYMEX": ("CMEGlobex_Crude", "CMEGlobex_NatGas"),
}


def calendar_names() -> list[str]:
    """Return the name of every calendar and every alias, sorted."""
    names: list[str] = _library().get_calendar_names()
    return sorted(names)


def canonical_name(name: object) -> str:
    """Return the canonical name of a calendar, given its name or an alias.

    Raises:
        CalendarUnavailable: exchange_calendars has no such calendar; suggests the names nearest to it. Or the alias is
            of a calendar that is not what the name says; suggests the names to use.
    """
    if not isinstance(name, str):
        return _canonical_name(name)
    return ANSWERS.answer(("canonical name", name), str, lambda: _canonical_name(name))


def _canonical_name(name: object) -> str:
    library, names = _library(), calendar_names()
    if not isinstance(name, str) or name not in names:
        from difflib import get_close_matches  # only for this message

        folded = {known.casefold(): known for known in names}
        near = get_close_matches(name.casefold(), folded) if isinstance(name, str) else []
        raise CalendarUnavailable(name, near=[folded[each] for each in near])
    canonical: str = library.resolve_alias(name)
    if canonical == "CMES" and name in _NOT_CMES:
        products = _NOT_CMES[name]
        reason = (
            "exchange_calendars takes it for CMES, the hours of the US equity-index futures of CME Globex, and other "
            "products of CME Group have other hours. Use 'CMES' for equity-index futures, and for others "
            f"{' or '.join(f'MarketCalendarSchedule({each!r})' for each in products)} (pip install "
            "'session_lifecycle[markets]')"
        )
        raise CalendarUnavailable(name, ["CMES", *products], reason)
    return canonical


def known_days(canonical: str) -> Span | None:
    """Return the first and last day that a calendar can be built for, or None where it is registered as an instance."""
    return ANSWERS.answer(("known days", canonical), Span, lambda: _known_days(canonical))


def _known_days(canonical: str) -> Span | None:
    # A calendar's class is not public before the calendar is built, and these bounds are needed to build it.
    dispatcher = _library().calendar_utils.global_calendar_dispatcher
    factory = getattr(dispatcher, "_calendar_factories", {}).get(canonical)
    if factory is None:
        return None
    earliest = getattr(factory, "bound_min", lambda: None)()
    latest = getattr(factory, "bound_max", lambda: None)()
    return Span(
        RULES_START if earliest is None else earliest.date(),
        RULES_END if latest is None else latest.date(),
    )


def default_calendar(canonical: str) -> Any:
    """Build a calendar for its default days; one that is registered as an instance is returned as it is."""
    warn_of_pandas()
    return _library().get_calendar(canonical)


def calendar_between(canonical: str, first: date, last: date) -> Any | None:
    """Build a calendar for some days, both inclusive and not the same; None where it has no session on them."""
    warn_of_pandas()
    library = _library()
    try:
        return library.get_calendar(canonical, start=first.isoformat(), end=last.isoformat())
    except library.errors.NoSessionsError:
        return None


def sessions_between(canonical: str, first: date, last: date) -> tuple[list[Session], tzinfo] | None:
    """Return the sessions of some days, both inclusive and not the same, with the time zone; None without a session.

    Raises:
        InvalidSession: the hours of a session are not in order, or two sessions overlap.
    """
    zone: tzinfo | None = None

    def build() -> ZonedSessions | None:
        nonlocal zone
        calendar = calendar_between(canonical, first, last)
        if calendar is None:
            return None
        zone = time_zone(calendar)
        return ZonedSessions(str(zone), all_sessions(calendar))

    question = ("sessions between", canonical, first.isoformat(), last.isoformat())
    found = ANSWERS.answer(question, ZonedSessions, build)
    return None if found is None else (found.sessions, zone or ZoneInfo(found.zone))


def time_zone(calendar: Any) -> tzinfo:
    """Return the exchange's time zone."""
    zone: tzinfo = calendar.tz
    return zone


def all_sessions(calendar: Any) -> list[Session]:
    """Return a calendar's sessions as plain values.

    Raises:
        InvalidSession: the hours of a session are not in order, or two sessions overlap.
    """
    nanos = (calendar.opens_nanos, calendar.break_starts_nanos, calendar.break_ends_nanos, calendar.closes_nanos)
    columns = [column.astype("datetime64[ns]").astype("datetime64[us]").tolist() for column in nanos]
    sessions: list[Session] = []
    days: list[date] = calendar.sessions.date.tolist()
    for day, opened, break_start, break_end, closed in zip(days, *columns, strict=True):
        breaks = () if break_start is None else ((_in_utc(break_start), _in_utc(break_end)),)
        session = Session(day, _in_utc(opened), _in_utc(closed), breaks)
        if sessions and sessions[-1].close > session.open:
            msg = f"session {session.date} opens before session {sessions[-1].date} has closed"
            raise InvalidSession(msg)
        sessions.append(session)
    return sessions


@contextmanager
def calendar_errors(name: str) -> Generator[None, None, None]:
    """Raise `CalendarUnavailable`, from its cause, where building or reading a calendar fails inside the block."""
    try:
        yield
    except (CalendarUnavailable, OverrideRefused, ScheduleExhausted):
        raise
    except Exception as error:  # a registered calendar runs third-party code
        unsafe = unsafe_pandas()
        reason = _description(error) if unsafe is None else f"{_description(error)}. {unsafe}"
        raise CalendarUnavailable(name, reason=reason) from error


def warn_of_pandas() -> None:
    """Warn where the installed pandas loses sessions. Python shows such a warning once."""
    unsafe = unsafe_pandas()
    if unsafe is not None:
        warn(unsafe, UserWarning, stacklevel=2)


@cache
def unsafe_pandas() -> str | None:
    """Return what the installed pandas does wrong and what to do, or None where it is safe.

    It is tried out and not decided by the version: a later release of either package may be safe again.
    """
    import pandas as pd  # type: ignore[import-untyped]  # late on purpose; it comes with exchange_calendars

    library: Any = pd
    monday, sunday = library.Timestamp("2025-01-27"), library.Timestamp("2025-02-02")
    try:
        offset = _library().pandas_extensions.offsets.MultipleWeekmaskCustomBusinessDay
    except AttributeError:  # another exchange_calendars, which does it in another way
        return None
    week = offset(weekmask="1111100", weekmasks=[(monday, sunday, "1111110")])
    if library.Timestamp("2025-02-01") in library.date_range(monday, sunday, freq=week):
        return None
    return (
        f"pandas {version('pandas')} is not safe with exchange_calendars {version('exchange-calendars')}: calendars "
        "lose sessions on Saturdays, and those with an Orthodox Easter cannot be built. pip install 'pandas<3.1'"
    )


def _library() -> Any:
    """Import exchange_calendars. It has no types, so it is `Any`."""
    import exchange_calendars  # type: ignore[import-untyped]  # late on purpose; see the module's docstring

    return exchange_calendars


def _in_utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC)


def _description(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # some errors of exchange_calendars raise from their own __str__
        return f"{type(error).__name__}, which has no message"
