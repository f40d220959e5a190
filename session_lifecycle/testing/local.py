"""The days of a script, and the instants of its local times."""

from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

from session_lifecycle._model.clock import as_utc
from session_lifecycle._model.errors import ConfigurationError, ScheduleExhausted
from session_lifecycle._model.session import Session, require_date
from session_lifecycle._schedules.base import Schedule

LocalTime = str | time | datetime
"""A local time at the exchange, `"10:15"` or a `time`; or an aware datetime for any other instant."""

_MARGIN = timedelta(hours=6)
"""The time from the beginning of a scripted day to the first open, and from the last close to its end."""
_A_DAY = timedelta(days=1)


class Days:
    """Consecutive sessions of a schedule, as the days of a script.

    The script runs from six hours before the first open (not before the previous close) to six hours after the last
    close.
    """

    def __init__(self, schedule: Schedule, sessions: tuple[Session, ...]) -> None:
        self.schedule = schedule
        self.sessions = sessions
        self.start: datetime = sessions[0].open - _MARGIN
        with suppress(ScheduleExhausted):
            self.start = max(self.start, schedule.previous_session(sessions[0].date).close)
        self.end: datetime = sessions[-1].close + _MARGIN

    @classmethod
    def of(cls, schedule: Schedule | str, day: date, days: int) -> "Days":
        """Return that number of sessions of a schedule, the first one on `day`."""
        if type(days) is not int or days < 1:
            raise ConfigurationError("days", days, "must be a whole number of at least 1")
        require_date("day", day)
        if not isinstance(schedule, Schedule):
            schedule = _exchange(schedule, day.year)
        sessions = [schedule.session_on(day)]
        while len(sessions) < days:
            sessions.append(schedule.next_session(sessions[-1].date))
        return cls(schedule, tuple(sessions))

    def on(self, day: date) -> Session:
        """Return the script's session of that date."""
        for session in self.sessions:
            if session.date == day:
                return session
        raise ConfigurationError("on", day, f"must be one of the script's sessions, {self._span}")

    def instant(self, field: str, value: LocalTime, session: Session) -> datetime:
        """Return the instant, in UTC, of a local time in a session."""
        instant = as_utc(field, value) if isinstance(value, datetime) else self._nearest(field, value, session)
        if not self.start <= instant <= self.end:
            raise ConfigurationError(field, value, f"must lie within the script, which is {self._span}")
        return instant

    def local(self, instant: datetime) -> datetime:
        """Return an instant in the exchange's local time."""
        return instant.astimezone(self.schedule.timezone)

    def _nearest(self, field: str, value: str | time, session: Session) -> datetime:
        """Return the instant of that local time in the session, or the one nearest to the session."""
        try:
            clock = time.fromisoformat(value) if isinstance(value, str) else value
        except ValueError:
            clock = None
        if not isinstance(clock, time) or clock.tzinfo is not None:
            raise ConfigurationError(field, value, "must be a local time at the exchange, such as '10:15'")
        zone = self.schedule.timezone
        days = (self.local(session.open).date() - _A_DAY, self.local(session.close).date() + _A_DAY)
        found: list[datetime] = []
        for n in range((days[1] - days[0]).days + 1):
            local = datetime.combine(days[0] + n * _A_DAY, clock, zone)
            instant = local.astimezone(UTC)
            if self.local(instant).replace(tzinfo=None) == local.replace(
                tzinfo=None
            ):  # it is not skipped by a change of clocks
                found.append(instant)
        return min(found, key=lambda t: (max(session.open - t, t - session.close, timedelta(0)), t))

    @property
    def _span(self) -> str:
        return f"from {self.local(self.start):%Y-%m-%d %H:%M} to {self.local(self.end):%Y-%m-%d %H:%M} local time"


@lru_cache(maxsize=32)
def _exchange(name: str, year: int) -> Schedule:
    """Return an exchange's schedule, cached: building one takes longer than running a script."""
    # Slow to import, and not needed for other schedules.
    from session_lifecycle._schedules.exchange import ExchangeSchedule

    return ExchangeSchedule(name, near=datetime(year, 7, 1, tzinfo=UTC))
