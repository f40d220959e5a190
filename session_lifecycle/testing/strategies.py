"""Hypothesis strategies for tests of applications: hours, days of an exchange, faults, triggers.

All of them shrink towards the ordinary: five weekdays in UTC, a full day, a script without faults, the five transitions
of a day.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from session_lifecycle._core.machine import TRANSITIONS, SessionMachine
from session_lifecycle._model.config import Resolution
from session_lifecycle._model.errors import ConfigurationError, ScheduleExhausted
from session_lifecycle._model.overrides import SpecialHours
from session_lifecycle._model.session import Session
from session_lifecycle._model.states import SessionState
from session_lifecycle._schedules.base import Schedule
from session_lifecycle._schedules.fixed import FixedSchedule
from session_lifecycle.testing.local import Days, LocalTime
from session_lifecycle.testing.script import Script

if find_spec("hypothesis") is None:
    raise ImportError("session_lifecycle.testing.strategies needs Hypothesis: pip install 'session_lifecycle[testing]'")

import hypothesis.strategies as st

__all__ = ["FAULTS", "Firing", "days", "durations", "fault_scripts", "schedules", "trigger_sequences"]

_MICROSECOND: Final = timedelta(microseconds=1)
_SECOND: Final = timedelta(seconds=1)
_MINUTES: Final = tuple(n * timedelta(minutes=1) for n in (1, 5, 10, 60))
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_MONDAY: Final = date(2024, 3, 4)
"""The first date of most schedules, not near any change of clocks."""
_FRIDAYS: Final = (date(2024, 3, 8), date(2024, 3, 29), date(2024, 4, 5))
"""Clocks change on the Sundays after these: in New York, in Europe and in Australia (on Lord Howe by half an hour)."""


class Firing(NamedTuple):
    """The arguments of `SessionMachine.fire`."""

    trigger: str
    roll_owed: bool = False


# ---- hours ----


def schedules(*, min_sessions: int = 2, max_sessions: int = 5) -> st.SearchStrategy[FixedSchedule]:
    """Draw schedules: weekdays, overnight, round the clock, and irregular ones.

    Weekdays have full and half days, holidays and up to two breaks, in one of several time zones, in weeks in which
    clocks change. Overnight sessions open on the evening before. Round the clock, each session opens when the previous
    one closes. Irregular schedules have lengths from a microsecond to days, gaps from none to days, breaks, and
    extended hours that may overlap the neighbours. Their instants often coincide.

    Raises:
        ConfigurationError: `min_sessions` is not from 1 to `max_sessions`.
    """
    if not 1 <= min_sessions <= max_sessions:
        raise ConfigurationError("min_sessions", min_sessions, f"must be from 1 to max_sessions, {max_sessions}")
    counts = st.integers(min_sessions, max_sessions)
    return st.one_of(
        counts.map(_plain), _weekdays(counts), _overnight(counts), _round_the_clock(counts), _irregular(counts)
    )


def _plain(count: int) -> FixedSchedule:
    """Return plain weekdays. This takes one draw, so the other schedules shrink to it."""
    zone = ZoneInfo("UTC")
    days = _weekdays_from(_MONDAY, count, set())
    sessions = [Session(day, _at(day, time(9, 30), zone), _at(day, time(16), zone)) for day in days]
    return FixedSchedule(sessions, name="plain weekdays", timezone=zone)


_zones = st.sampled_from(["UTC", "America/New_York", "Europe/London", "Asia/Hong_Kong", "Australia/Lord_Howe"])


@st.composite
def _weekdays(draw: st.DrawFn, counts: st.SearchStrategy[int]) -> FixedSchedule:
    zone = ZoneInfo(draw(_zones))
    opens = draw(st.sampled_from([time(9, 30), time(9), time(10, 15)]))
    breaks = draw(
        st.sampled_from([(), ((time(12), time(13)),), ((time(10, 30), time(10, 45)), (time(11, 30), time(13)))])
    )
    first = draw(st.sampled_from([_MONDAY, *_FRIDAYS]))
    days = _weekdays_from(first, draw(counts), draw(st.sets(st.integers(1, 6), max_size=2)))
    sessions: list[Session] = []
    for day in days:
        half = draw(st.booleans())
        pauses = () if half else tuple((_at(day, a, zone), _at(day, b, zone)) for a, b in breaks)
        close = time(12) if half else time(16)
        sessions.append(Session(day, _at(day, opens, zone), _at(day, close, zone), pauses))
    return FixedSchedule(sessions, name="weekdays", timezone=zone)


def _weekdays_from(day: date, count: int, holidays: set[int]) -> list[date]:
    """Return `count` weekdays from `day` on. `holidays` are the positions of weekdays to skip."""
    days: list[date] = []
    number = 0
    while len(days) < count:
        if day.weekday() < 5 and (number := number + 1) - 1 not in holidays:  # noqa: PLR2004 -- Saturday
            days.append(day)
        day += _DAY
    return days


def _at(day: date, clock: time, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, clock, zone).astimezone(UTC)


@st.composite
def _overnight(draw: st.DrawFn, counts: st.SearchStrategy[int]) -> FixedSchedule:
    zone = ZoneInfo(draw(_zones))
    closes = draw(st.sampled_from([time(16), time(17), time(5)]))
    days = _weekdays_from(draw(st.sampled_from([_MONDAY, *_FRIDAYS])), draw(counts), set())
    sessions = [Session(day, _at(day - _DAY, time(17), zone), _at(day, closes, zone)) for day in days]
    return FixedSchedule(sessions, name="overnight", timezone=zone)


@st.composite
def _round_the_clock(draw: st.DrawFn, counts: st.SearchStrategy[int]) -> FixedSchedule:
    days = [_MONDAY + n * _DAY for n in range(draw(counts))]
    sessions = [
        Session(day, _at(day, time(0), ZoneInfo("UTC")), _at(day + _DAY, time(0), ZoneInfo("UTC"))) for day in days
    ]
    return FixedSchedule(sessions, name="round the clock")


def durations() -> st.SearchStrategy[timedelta]:
    """Draw durations from zero to days, often the same few ones, so that instants coincide."""
    few = st.sampled_from([timedelta(0), _MICROSECOND, _HOUR, 2 * _HOUR, 5 * _HOUR, _DAY, 4 * _DAY])
    return few | st.timedeltas(timedelta(0), 3 * _DAY)


@st.composite
def _irregular(draw: st.DrawFn, counts: st.SearchStrategy[int]) -> FixedSchedule:
    spans = durations()
    sessions: list[Session] = []
    day, opens = _MONDAY, datetime.combine(_MONDAY, time(0), UTC)
    for _ in range(draw(counts)):
        opens += draw(spans)
        closes = opens + (draw(spans) or _HOUR)
        pauses = draw(st.integers(0, 2))
        part = (closes - opens) / (2 * pauses + 1)
        breaks = tuple((opens + (2 * n + 1) * part, opens + (2 * n + 2) * part) for n in range(pauses))
        early, late = draw(st.none() | spans), draw(st.none() | spans)
        sessions.append(
            Session(
                day,
                opens,
                closes,
                breaks if part > _MICROSECOND else (),
                None if early is None else opens - early,
                None if late is None else closes + late,
            )
        )
        day, opens = day + draw(st.integers(1, 4)) * _DAY, closes
    return FixedSchedule(sessions, name="irregular")


def days(
    schedule: Schedule | str = "XNYS", first: date = date(2024, 1, 2), last: date = date(2024, 12, 30)
) -> st.SearchStrategy[date]:
    """Draw dates of sessions from `first` to `last`, both inclusive. About half of them are unusual days.

    An unusual session has another length than the one before (a half day), or opens at another time of the day in UTC,
    because clocks have changed. It shrinks to the first session.
    """
    known = Days.of(schedule, first, 1).schedule
    sessions = known.sessions(first, last)
    odd = [
        session.date
        for before, session in pairwise(sessions)
        if session.close - session.open != before.close - before.open or session.open.time() != before.open.time()
    ]
    ordinary = st.sampled_from([session.date for session in sessions])
    return ordinary | st.sampled_from(odd) if odd else ordinary


# ---- faults ----

FAULTS: Final = ("silence", "roll_fails", "slow_roll", "step_clock", "halt", "apply", "end_session", "fail", "recover")
"""The default faults of `fault_scripts`: names of methods of `Script`. It supports `restart` too."""


def fault_scripts(
    schedule: Schedule | str | st.SearchStrategy[FixedSchedule] | None = None,
    *,
    day: date | st.SearchStrategy[date] | None = None,
    sessions: int = 1,
    faults: Sequence[str] = FAULTS,
    max_faults: int = 4,
) -> st.SearchStrategy[Script]:
    """Draw scripts that an application must survive: data once a minute, and some faults.

    The scripts are not strict: what the manager refuses (such as a halt after the close, because of a step of the
    clock) is in `Result.refused`. After a fault that leads to ERROR the state stays so, unless a `recover` follows.
    No `restart` is drawn that may come after the schedule's last close, where no application can start.

    Args:
        schedule: a schedule, a calendar's name, or a strategy for schedules; by default `schedules()`.
        day: the date of the first session, or a strategy for it; by default any session of a `FixedSchedule` that has
            another one to roll to, and `days()` of other schedules.
        sessions: the number of sessions.
        faults: the possible faults, as names of methods of `Script`.
        max_faults: the largest number of faults.

    Raises:
        ConfigurationError: `faults` is empty, or has another name.
    """
    unknown = [fault for fault in faults if fault not in _FAULTS]
    if unknown or not faults:
        raise ConfigurationError("faults", faults, f"must be some of {', '.join(_FAULTS)}")
    if schedule is None:
        schedule = schedules(min_sessions=sessions + 1, max_sessions=sessions + 3)
    return _fault_scripts(schedule=schedule, day=day, count=sessions, faults=tuple(faults), max_faults=max_faults)


@st.composite
def _fault_scripts(
    draw: st.DrawFn,
    *,
    schedule: Schedule | str | st.SearchStrategy[FixedSchedule],
    day: date | st.SearchStrategy[date] | None,
    count: int,
    faults: Sequence[str],
    max_faults: int,
) -> Script:
    known = draw(schedule) if isinstance(schedule, st.SearchStrategy) else schedule
    if day is None:
        day = _first_of(known, count) if isinstance(known, FixedSchedule) else days(known)
    first = draw(day) if isinstance(day, st.SearchStrategy) else day
    script = Script(known, first, days=count, strict=False).data_every(_MINUTE)
    at = script.sessions[0]
    drawn = draw(st.lists(_faults_of(script, faults), max_size=max_faults))
    ahead = sum((_leap(method, arguments) for _, method, arguments in drawn), timedelta(0))
    for session, method, arguments in drawn:
        turned = script if session == at else script.on(session.date)
        # A silence that overlaps another, or has no length; a restart where no application can start any more.
        with suppress(ConfigurationError, ScheduleExhausted):
            if method == "restart":
                start = Days(script.schedule, script.sessions).instant("at", arguments["at"], session)
                script.schedule.session_at(start + ahead)
            script, at = getattr(turned, method)(**arguments), session
    return script


def _leap(method: str, arguments: Mapping[str, Any]) -> timedelta:
    """Return by how much a fault may put the clock ahead of the script's own times."""
    leap: timedelta = arguments.get({"step_clock": "delta", "restart": "down"}.get(method, ""), timedelta(0))
    return max(leap, timedelta(0))


def _first_of(schedule: FixedSchedule, count: int) -> st.SearchStrategy[date]:
    """Draw the first of `count` sessions that another session follows."""
    return st.sampled_from([session.date for session in schedule.sessions(date.min, date.max)[:-count]])


@st.composite
def _faults_of(draw: st.DrawFn, script: Script, faults: Sequence[str]) -> tuple[Session, str, Mapping[str, Any]]:
    """Draw one fault: a session, a method of the script, and its arguments."""
    fault, session = draw(st.sampled_from(faults)), draw(st.sampled_from(script.sessions))
    return session, fault, _FAULTS[fault](_Scene(draw, Days(script.schedule, script.sessions), session))


class _Scene(NamedTuple):
    """The session of a fault, and the draws of its arguments."""

    draw: st.DrawFn
    days: Days
    session: Session

    def instant(self) -> datetime:
        """Draw a whole minute of the session, or one near its ends."""
        length = (self.session.close - self.session.open) // _MINUTE
        minute = st.integers(0, length) | st.sampled_from([0, -1, -30, length, length + 1, length + 29, length + 31])
        return self.session.open + self.draw(minute) * _MINUTE

    def written(self, instant: datetime) -> LocalTime:
        """Return an instant of the script as a local time such as "10:15", where that is the same instant."""
        instant = min(max(instant, self.days.start), self.days.end)
        text = f"{self.days.local(instant):%H:%M}"
        with suppress(ConfigurationError):  # without its seconds the time may lie outside of the script
            if self.days.instant("at", text, self.session) == instant:
                return text
        return instant

    def at(self) -> LocalTime:
        """Draw the time of the fault."""
        return self.written(self.instant())

    def span(self) -> dict[str, LocalTime]:
        """Draw the start and the end of the fault."""
        start = self.instant()
        return {"start": self.written(start), "end": self.written(start + self.draw(st.sampled_from(_MINUTES)))}

    def early_close(self) -> dict[str, object]:
        """Draw when an early close is announced, and its time."""
        announced = self.instant()
        close = announced + self.draw(st.sampled_from((timedelta(0), *_MINUTES)))
        return {
            "at": self.written(announced),
            "override": SpecialHours(self.session.date, close=close, reason="announced"),
        }

    def halt(self) -> dict[str, LocalTime]:
        """Draw the start, and possibly the end, of a halt."""
        span = self.span()
        return span if self.draw(st.booleans()) else {"start": span["start"]}


_STEPS: Final = st.sampled_from([sign * delta for delta in (*_MINUTES, 6 * _HOUR) for sign in (1, -1)])
_DOWN: Final = st.sampled_from((timedelta(0), *_MINUTES))

# The arguments of each method of `Script` that is a fault.
_FAULTS: Final[Mapping[str, Callable[[_Scene], Mapping[str, object]]]] = {
    "silence": _Scene.span,
    "roll_fails": lambda scene: {"times": scene.draw(st.integers(1, 3)), "after": scene.draw(st.booleans())},
    "slow_roll": lambda scene: {"delta": scene.draw(st.sampled_from((_SECOND, *_MINUTES)))},
    "step_clock": lambda scene: {"at": scene.at(), "delta": scene.draw(_STEPS)},
    "halt": _Scene.halt,
    "apply": _Scene.early_close,
    "end_session": lambda scene: {"at": scene.at(), "reason": "the desk goes home"},
    "fail": lambda scene: {"at": scene.at(), "reason": "the desk pulls the plug"},
    "recover": lambda scene: {"at": scene.at(), "resolution": scene.draw(st.sampled_from(Resolution))},
    "restart": lambda scene: {"at": scene.at(), "down": scene.draw(_DOWN)},
}


# ---- triggers ----

_TRIGGERS: Final = tuple(dict.fromkeys(str(each["trigger"]) for each in TRANSITIONS))


def trigger_sequences(
    kind: Literal["legal", "illegal", "mixed"] = "mixed", *, max_size: int = 20
) -> st.SearchStrategy[list[Firing]]:
    """Draw triggers to fire one after the other, from NOT_STARTED on.

    In a `"legal"` sequence each trigger is allowed, and a roll is owed exactly where the session has ended. In an
    `"illegal"` one that holds up to the last trigger, which the machine refuses. A `"mixed"` one has any triggers.

    Raises:
        ConfigurationError: `kind` is another word.
    """
    if kind not in ("legal", "illegal", "mixed"):
        raise ConfigurationError("kind", kind, "must be 'legal', 'illegal' or 'mixed'")
    if kind == "mixed":
        return st.lists(st.builds(Firing, st.sampled_from(_TRIGGERS), st.booleans()), max_size=max_size)
    return _along_the_edges(max_size, illegal=kind == "illegal")


@st.composite
def _along_the_edges(draw: st.DrawFn, max_size: int, *, illegal: bool) -> list[Firing]:
    machine, owed, fired = SessionMachine(), False, list[Firing]()
    for _ in range(draw(st.integers(0, max_size - illegal))):
        trigger = draw(st.sampled_from(machine.allowed))
        fired.append(Firing(trigger, owed and trigger == "recover"))
        state = machine.fire(trigger, roll_owed=owed)
        owed = state is SessionState.ENDED or (owed and trigger != "roll")
    if illegal:
        fired.append(Firing(draw(st.sampled_from([each for each in _TRIGGERS if each not in machine.allowed]))))
    return fired
