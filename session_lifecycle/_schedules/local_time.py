"""Local times of a zone as instants, over both changes of its clocks."""

from bisect import bisect_left
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

_SECOND: Final = timedelta(seconds=1)


def zone_of(timezone: object) -> tzinfo | None:
    """Return a time zone, given as one or by its name in the time zone database; None where there is no such zone."""
    if isinstance(timezone, tzinfo):
        return timezone
    if not isinstance(timezone, str):
        return None
    try:
        return ZoneInfo(timezone)
    except (LookupError, ValueError, OSError):  # unknown; not a relative path; a folder of the database
        return None


def instant_of(day: date, seconds: int, zone: tzinfo) -> datetime:
    """Return the instant, in UTC, at which the clocks of a zone reach `seconds` of local time after a day's midnight.

    `seconds` may be negative or beyond the day's end. A time that occurs twice is its first occurrence. A time that the
    clocks skip is the instant at which they skip it. So later local times are never earlier instants.
    """
    local = datetime.combine(day, time()) + seconds * _SECOND
    instant = local.replace(tzinfo=zone).astimezone(UTC)
    if _local(instant, zone) == local:
        return instant
    # The clocks have gone forward over it, by the difference of the two readings.
    earliest = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    span = range((instant - earliest) // _SECOND + 1)
    return earliest + bisect_left(span, local, key=lambda passed: _local(earliest + passed * _SECOND, zone)) * _SECOND


def _local(instant: datetime, zone: tzinfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None)
