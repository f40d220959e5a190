"""Alpaca's market calendar: `GET /v2/calendar` and `GET /v3/calendar/{market}`."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time
from typing import Final, NoReturn, cast
from zoneinfo import ZoneInfo

from session_lifecycle._model.session import Session
from session_lifecycle._model.venue_status import VenueDataRefused

Row = Mapping[str, object]
Reader = Callable[[Row, date, str], datetime | None]

_NEW_YORK: Final = ZoneInfo("America/New_York")
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):?([0-5]\d)", re.ASCII)

_V2: Final = {"open": "open", "close": "close", "pre_market_start": "session_open", "post_market_end": "session_close"}
_V3: Final = {"open": "core_start", "close": "core_end", "pre_market_start": "pre_start", "post_market_end": "post_end"}
_NO_DAYS: Final = "it is neither a list of days, nor has it one in `calendar`"
_LUNCH: Final = ("lunch_start", "lunch_end")


def alpaca_sessions(calendar: Row | Iterable[Row]) -> tuple[Session, ...]:
    """Return the sessions in an answer of Alpaca's calendar, decoded from JSON.

    A list of days is `/v2/calendar`: `open` and `close` in New York, such as 09:30; `session_open` and `session_close`,
    such as 0400, become `pre_market_start` and `post_market_end`. An object with a `calendar` is
    `/v3/calendar/{market}`: `core_start` and `core_end`, instants with an offset; `pre_start` and `post_end` likewise,
    and `lunch_start` to `lunch_end` is a break. Hours that are missing, or null, are not known; other fields, such as
    `settlement_date`, are ignored.

    Source: https://alpaca.markets/deprecated/docs/api-documentation/api-v2/calendar/ (v2) and
    https://docs.alpaca.markets/us/reference/calendar-2 (v3).

    Raises:
        VenueDataRefused: it is no calendar, or a day of it lacks its date, its open or its close, or one of its hours
            is not understood.
        InvalidSession: the hours of a day are not in order.
    """
    if not isinstance(calendar, Mapping):
        if isinstance(calendar, str | bytes) or not isinstance(calendar, Iterable):
            raise VenueDataRefused("Alpaca's answer", calendar, _NO_DAYS)
        return tuple(_session(row, _V2, _clock) for row in calendar)
    answer = cast("Row", calendar)
    days = answer.get("calendar")
    if not isinstance(days, list):
        raise VenueDataRefused("Alpaca's answer", answer, _NO_DAYS)
    return tuple(_session(row, _V3, _instant) for row in cast("list[object]", days))


alpaca_sessions.__module__ = "session_lifecycle.venues"


def _session(day: object, fields: Mapping[str, str], read: Reader) -> Session:
    """Return the session of a day, whose fields are named by the facts of a `Session`."""
    if not isinstance(day, Mapping):
        raise VenueDataRefused("Alpaca's day", day, "it is no object with a date and hours")
    row = cast("Row", day)
    try:
        label = date.fromisoformat(str(row.get("date")))
    except ValueError:
        _refuse(row, "date", "it must be like 2024-11-29")
    facts = {fact: read(row, label, field) for fact, field in fields.items()}
    opened, closed = facts["open"], facts["close"]
    if opened is None or closed is None:
        _refuse(row, fields["open" if opened is None else "close"], "every day must have it")
    start, end = (read(row, label, field) if fields is _V3 else None for field in _LUNCH)
    if (start is None) != (end is None):
        _refuse(row, _LUNCH[start is not None], "a lunch must have its start and its end")
    breaks = () if start is None or end is None else ((start, end),)
    return Session(label, opened, closed, breaks, facts["pre_market_start"], facts["post_market_end"])


def _clock(row: Row, label: date, field: str) -> datetime | None:
    """Return a time of the day in New York, such as 09:30 or 0930, as an instant."""
    value = row.get(field)
    if value is None:
        return None
    found = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        _refuse(row, field, "it must be like 09:30 or 0930")
    return datetime.combine(label, time(int(found[1]), int(found[2])), _NEW_YORK)


def _instant(row: Row, label: date, field: str) -> datetime | None:  # noqa: ARG001 -- it has its own date
    """Return an instant with an offset, such as 2025-01-02T09:30:00-05:00."""
    value = row.get(field)
    if value is None:
        return None
    try:
        instant = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        _refuse(row, field, "it must be an instant with an offset, like 2025-01-02T09:30:00-05:00")
    return instant


def _refuse(row: Row, field: str, why: str) -> NoReturn:
    source = f"the `{field}` of Alpaca's day {row.get('date')}"
    raise VenueDataRefused(source, row.get(field), why)
