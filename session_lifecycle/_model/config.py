"""Policy as validated values. Durations are timedeltas; a bare number is refused, because its unit would be a guess."""

import os
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum, unique
from math import inf
from typing import Any, Final

import msgspec

from session_lifecycle._model.errors import ConfigurationError
from session_lifecycle._model.legs import is_phase_name
from session_lifecycle._model.log import LOGGER
from session_lifecycle._model.venue_status import EarlyClose

_ZERO: Final = timedelta(0)
_MICROSECOND: Final = timedelta(microseconds=1)
_LONGEST: Final = timedelta(days=3650)  # far from where sums of instants would overflow


@unique
class MissedSessions(Enum):
    """What to do about sessions that were missed while a roll was owed."""

    __module__ = "session_lifecycle"

    LATEST = "latest"
    """Roll once, to the session that owns the present; the event lists those skipped."""

    EACH = "each"
    """Roll into every missed session, one by one, oldest first."""


@unique
class Resolution(Enum):
    """The decision about a roll that is owed when the state is ERROR: the argument of `recover()`."""

    __module__ = "session_lifecycle"

    RETRY = "retry"
    """Await the roll again, for the same date."""

    MARK_DONE = "mark-done"
    """The roll has happened: enter the session without awaiting it."""

    SKIP = "skip"
    """Abandon the roll: roll to the next session after it instead."""


@unique
class StaleWhen(Enum):
    """How many of the registered feeds must be stale for a TIMEOUT. A whole number instead is a quorum."""

    __module__ = "session_lifecycle"

    ALL = "all"
    """Every watched feed."""

    ANY = "any"
    """At least one feed."""


def require_duration(field: str, value: object, *, zero: bool = False, never: bool = False) -> None:
    """Raise `ConfigurationError` unless `value` is a timedelta in the allowed range."""
    rule = (
        f"must be a timedelta {'of zero or more' if zero else 'above zero'}, at most {_LONGEST.days} days"
        f"{', or None for never' if never else ''}"
    )
    if value is None and never:
        return
    if not isinstance(value, timedelta) or not _ZERO <= value <= _LONGEST or (value == _ZERO and not zero):
        raise ConfigurationError(field, value, rule)


def _whole(field: str, value: object) -> None:
    if type(value) is not int or value < 1:
        raise ConfigurationError(field, value, "must be a whole number of at least 1")


def _factor(field: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < inf:
        raise ConfigurationError(field, value, "must be a finite number of at least 1")


def _kind(field: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise ConfigurationError(field, value, f"must be {article} {kind.__name__}")


class RetryPolicy(msgspec.Struct, frozen=True):
    """How often a failed roll is tried again, and the wait between the attempts (exponential back-off).

    `attempts` counts the first one. The wait after attempt *n* is `initial` × `factor` ** (n − 1), at most `maximum`.

    Raises:
        ConfigurationError: a value is out of range.
    """

    __module__ = "session_lifecycle"

    attempts: int = 3
    initial: timedelta = timedelta(seconds=1)
    factor: float = 2
    maximum: timedelta = timedelta(seconds=30)

    def __post_init__(self) -> None:
        """Validate every field."""
        _whole("RetryPolicy.attempts", self.attempts)
        require_duration("RetryPolicy.initial", self.initial)
        require_duration("RetryPolicy.maximum", self.maximum)
        _factor("RetryPolicy.factor", self.factor)
        if self.maximum < self.initial:
            raise ConfigurationError("RetryPolicy.maximum", self.maximum, f"must be at least initial ({self.initial})")

    def delay_after(self, attempt: int) -> timedelta:
        """Return how long to wait after the given failed attempt, counted from 1."""
        try:
            grown = (self.initial // _MICROSECOND) * float(self.factor) ** (attempt - 1)
        except OverflowError:
            return self.maximum
        if grown >= self.maximum // _MICROSECOND:
            return self.maximum
        return max(self.initial, round(grown) * _MICROSECOND)


class AdaptiveTimeout(msgspec.Struct, frozen=True):
    """A feed's timeout, learnt from its recent gaps: `factor` × the longest of them, within `floor` and `ceiling`.

    A gap fades with time: after a `half_life` without a gap as long, it counts half. Until a first gap is known, the
    timeout is `ceiling`. Only time in which data is expected counts, and a silence counts as at most `ceiling`.

    Raises:
        ConfigurationError: a value is out of range.
    """

    __module__ = "session_lifecycle"

    floor: timedelta
    ceiling: timedelta
    factor: float = 3
    half_life: timedelta = timedelta(minutes=10)

    def __post_init__(self) -> None:
        """Validate every field."""
        require_duration("AdaptiveTimeout.floor", self.floor)
        require_duration("AdaptiveTimeout.ceiling", self.ceiling)
        require_duration("AdaptiveTimeout.half_life", self.half_life)
        _factor("AdaptiveTimeout.factor", self.factor)
        if self.ceiling < self.floor:
            raise ConfigurationError("AdaptiveTimeout.ceiling", self.ceiling, f"must be at least floor ({self.floor})")


class LifecycleConfig(msgspec.Struct, frozen=True):
    """The settings of one manager. Defaults suit a US equities desk.

    Args:
        auto_roll: await the roll automatically at the end of the session; otherwise wait for `manager.roll()`.
        data_timeout: silence, while data is expected, after which the session goes TIMEOUT. None: never.
        data_timeouts: the same for phases, by their names: while such a phase is on, it replaces `data_timeout`.
            Outside of ACTIVE and TIMEOUT, silence in such a phase is a `DataStale`, and fires no transition. At the
            start, a name that no session of the coming thirty days has is a warning in the log.
        check_interval: how often the default `SystemClock` checks for a step of the wall clock.
        pre_market: how long before the open the pre-market starts, where the schedule does not say. Zero is allowed.
        post_market_roll_delay: how long after the close the session ends, where the schedule does not say. Zero is
            allowed.
        roll_timeout: how long one attempt of the roll may take. None: no limit.
        roll_retry: how a failed roll is tried again.
        missed_sessions: what to do about sessions that were missed.
        max_catch_up_sessions: how many missed sessions may be rolled or skipped automatically. More than that is an
            ERROR until `recover()`.
        error_after_timeout: how long a TIMEOUT may last before it becomes an ERROR, counting only time in which data is
            expected. None: no limit.
        require_first_tick: `can_trade` is False until data has come since the open, or since the end of a break or a
            halt. Ignored where no data is watched: `data_timeout` is None, and there is no feed. With feeds,
            `stale_when` decides: ANY requires data of each feed, ALL of one, a quorum that fewer than it are missing.
        stale_when: how many of the registered feeds must be stale for the session to be TIMEOUT: a `StaleWhen`, or a
            quorum, a whole number of feeds (all of them, where there are fewer).
        journal_timeout: how long one append to the journal may take, in real time, before it is in doubt and is
            repeated.
        early_close: what holds where the venue reports its close before the calendar's: by VENUE trading is halted, by
            CALENDAR that is only reported. See `manager.record_status`.
        trade_on_standby: whether `can_trade` may be True while another replica leads the journal.

    Raises:
        ConfigurationError: a value is out of range; names the field, the value and the rule.
    """

    __module__ = "session_lifecycle"

    auto_roll: bool = True
    data_timeout: timedelta | None = timedelta(seconds=300)
    check_interval: timedelta = timedelta(seconds=1)
    pre_market: timedelta = timedelta(hours=5, minutes=30)
    post_market_roll_delay: timedelta = timedelta(minutes=30)
    roll_timeout: timedelta | None = timedelta(minutes=5)
    roll_retry: RetryPolicy = RetryPolicy()
    missed_sessions: MissedSessions = MissedSessions.LATEST
    max_catch_up_sessions: int = 10
    error_after_timeout: timedelta | None = None
    stale_when: StaleWhen | int = StaleWhen.ALL
    journal_timeout: timedelta = timedelta(seconds=5)
    trade_on_standby: bool = False
    require_first_tick: bool = True
    early_close: EarlyClose = EarlyClose.VENUE
    data_timeouts: dict[str, timedelta | None] = {}

    def __post_init__(self) -> None:
        """Validate every field."""
        _kind("auto_roll", self.auto_roll, bool)
        _kind("require_first_tick", self.require_first_tick, bool)
        require_duration("data_timeout", self.data_timeout, never=True)
        if not isinstance(self.data_timeouts, dict):
            raise ConfigurationError(
                "data_timeouts", self.data_timeouts, "must be a dict of phases' names to timedeltas"
            )
        for phase, timeout in self.data_timeouts.items():
            if not is_phase_name(phase):
                raise ConfigurationError("data_timeouts", phase, "must have the names of phases as keys")
            require_duration(f"data_timeouts[{phase!r}]", timeout, never=True)
        if self.data_timeouts:
            msgspec.structs.force_setattr(self, "data_timeouts", dict(self.data_timeouts))
        require_duration("check_interval", self.check_interval)
        require_duration("pre_market", self.pre_market, zero=True)
        require_duration("post_market_roll_delay", self.post_market_roll_delay, zero=True)
        require_duration("roll_timeout", self.roll_timeout, never=True)
        require_duration("error_after_timeout", self.error_after_timeout, never=True)
        require_duration("journal_timeout", self.journal_timeout)
        _whole("max_catch_up_sessions", self.max_catch_up_sessions)
        _kind("roll_retry", self.roll_retry, RetryPolicy)
        _kind("missed_sessions", self.missed_sessions, MissedSessions)
        quorum = self.stale_when
        if not isinstance(quorum, StaleWhen) and (type(quorum) is not int or quorum < 1):
            raise ConfigurationError("stale_when", quorum, "must be a StaleWhen, or a whole number of at least 1")
        _kind("trade_on_standby", self.trade_on_standby, bool)
        _kind("early_close", self.early_close, EarlyClose)

    def __hash__(self) -> int:
        """Hash every field, the timeouts of phases whatever their order."""
        others = (getattr(self, name) for name in self.__struct_fields__ if name != "data_timeouts")
        return hash((*others, frozenset(self.data_timeouts.items())))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "LifecycleConfig":
        """Read the settings from the environment (by default `os.environ`). One that is not set keeps the default.

        `SESSION_AUTO_ROLL` is one of true, false, yes, no, on, off, 1, 0. `SESSION_TIMEOUT_SECONDS` and
        `SESSION_BOUNDARY_CHECK_INTERVAL` are numbers of seconds above zero, `SESSION_POST_MARKET_ROLL_DELAY` a number
        of minutes, zero included. A variable whose name is nearly one of these is logged as a warning, without its
        value.

        Raises:
            ConfigurationError: a variable holds something else; an empty one is refused too.
        """
        env = os.environ if environ is None else environ
        _warn_of_misspelt_names(env)
        settings: dict[str, Any] = {}
        if (text := env.get("SESSION_AUTO_ROLL")) is not None:
            settings["auto_roll"] = _switch("SESSION_AUTO_ROLL", text)
        for field, variable, unit, zero in _DURATIONS:
            if (text := env.get(variable)) is not None:
                settings[field] = _number(variable, text, unit, zero=zero)
        return cls(**settings)


_DURATIONS: Final = (
    ("data_timeout", "SESSION_TIMEOUT_SECONDS", "seconds", False),
    ("check_interval", "SESSION_BOUNDARY_CHECK_INTERVAL", "seconds", False),
    ("post_market_roll_delay", "SESSION_POST_MARKET_ROLL_DELAY", "minutes", True),
)
_NEARLY: Final = 0.9
"""The ratio of difflib from which a name counts as misspelt; SESSION_TIMEOUT, of web frameworks, is below."""

_SWITCHES: Final = {
    "true": True, "yes": True, "on": True, "1": True,
    "false": False, "no": False, "off": False, "0": False,
}  # fmt: skip


def _warn_of_misspelt_names(env: Mapping[str, str]) -> None:
    from difflib import get_close_matches  # only used here

    ours = ("SESSION_AUTO_ROLL", *(variable for _, variable, *_ in _DURATIONS))
    for name in env:
        near = () if name in ours else get_close_matches(name.upper(), ours, 1, _NEARLY)
        for variable in near:
            LOGGER.warning("the environment variable %s is not read; did you mean %s?", name, variable)


def _switch(variable: str, text: str) -> bool:
    try:
        return _SWITCHES[text.strip().lower()]
    except KeyError:
        raise ConfigurationError(variable, text, f"must be one of {', '.join(_SWITCHES)}") from None


def _number(variable: str, text: str, unit: str, *, zero: bool) -> timedelta:
    rule = f"must be a number of {unit}, {'zero or more' if zero else 'above zero'}, at most {_LONGEST.days} days"
    try:
        value = timedelta(**{unit: float(text)})
    except (ValueError, OverflowError):  # no number, NaN, infinity, or more than a timedelta holds
        raise ConfigurationError(variable, text, rule) from None
    if not _ZERO <= value <= _LONGEST or (value == _ZERO and not zero):
        raise ConfigurationError(variable, text, rule)
    return value
