"""The checks of `doctor`: the packages, the clocks, the time zones and the calendars of this machine.

Each check yields findings, and every finding that needs attention says what to do. Nothing here prints.
"""

import ctypes
import sys
import time
import zoneinfo
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from session_lifecycle._cli.venues import NOT_COMPARED, Venue
from session_lifecycle._model.clock import Clock, read
from session_lifecycle._model.errors import CalendarUnavailable, NotASession, ScheduleExhausted
from session_lifecycle._schedules import other_sources
from session_lifecycle._schedules.corrections import reach
from session_lifecycle._schedules.exchange import ExchangeSchedule
from session_lifecycle._schedules.snapshot import SnapshotSchedule, versions

if TYPE_CHECKING:
    from packaging.requirements import Requirement

TESTED: Final = {
    "anyio": "4.16",
    "exchange-calendars": "4.13.2",
    "msgspec": "0.23",
    "pandas": "3.0",
    "transitions": "0.9.3",
}
"""The newest versions that the package was tested with."""

SATURDAY: Final = date(2025, 2, 1)
"""A session of Bombay, for the Union Budget, which pandas 3.1 loses."""

WRITTEN: Final = datetime(2026, 11, 1, tzinfo=UTC)
"""When this code was written: a wall clock that shows an earlier time is wrong."""

_NEAR: Final = timedelta(days=60)
_YEAR: Final = timedelta(days=365)
_COMPARED: Final = timedelta(days=30)
_PAUSE_SECONDS: Final = 0.02
_STA_UNSYNC: Final = 0x40  # of `timex.status`
_MOST_MICROSECONDS_OFF: Final = 1_000_000
_OLDEST: Final = 2  # years
# Offsets in January and July, in hours, which every copy of the time zone database has.
_OFFSETS: Final = {"America/New_York": (-5, -4), "Europe/London": (0, 1), "Asia/Tokyo": (9, 9)}


Level = Literal["ok", "note", "problem"]
"""What a finding is: as it should be, worth knowing, or in need of attention."""


class Finding(msgspec.Struct, frozen=True):
    """The result of one check. `remedy` is what to do, null where there is nothing to do."""

    level: Level
    about: str
    text: str = msgspec.field(name="told")
    remedy: str | None


# ---- packages ----


def packages() -> Iterator[Finding]:
    """Compare the installed versions with those that the package requires, and with those that were tested."""
    from packaging.requirements import Requirement  # slow to import, and only `doctor` needs it

    own = version("session_lifecycle")
    yield Finding("ok", "session_lifecycle", f"{own}, with Python {python_version()}", None)
    for each in map(Requirement, requires("session_lifecycle") or ()):
        if each.marker is None:
            yield _package(each)


def _package(needed: "Requirement") -> Finding:
    from packaging.version import Version

    name, wanted = needed.name, str(needed.specifier)
    fix = f"pip install '{needed}'"
    try:
        found = version(name)
    except PackageNotFoundError:
        return Finding("problem", name, f"it is not installed, and {wanted} is required", fix)
    if not needed.specifier.contains(found, prereleases=True):
        return Finding("problem", name, f"{found} is installed, and {wanted} is required", fix)
    tested = TESTED.get(name)
    if tested is not None and Version(found).release[: len(Version(tested).release)] > Version(tested).release:
        remedy = "compare the hours with an earlier snapshot: `snapshot --check FILE`"
        text = f"{found}, newer than {tested}, the newest that was tested"
        return Finding("note", name, text, remedy if name in ("exchange-calendars", "pandas") else None)
    return Finding("ok", name, f"{found}, and {wanted} is required", None)


def saturdays() -> Iterator[Finding]:
    """Check that calendars have their Saturday sessions, which pandas 3.1 loses silently."""
    about, found = "Saturday sessions", version("pandas")
    remedy = "pip install 'pandas<3.1', and recreate the snapshots that were made with it"
    try:
        near = datetime.combine(SATURDAY, datetime.min.time(), UTC)
        ExchangeSchedule("XBOM", corrections=False, near=near).session_on(SATURDAY)
    except NotASession:
        text = f"XBOM has lost its session of {SATURDAY} with pandas {found}, and other calendars have lost theirs"
        yield Finding("problem", about, text, remedy)
    except CalendarUnavailable as error:
        yield Finding("problem", about, f"XBOM cannot be built with pandas {found}: {error}", remedy)
    else:
        yield Finding("ok", about, f"XBOM has its session of {SATURDAY}, which pandas 3.1 loses", None)


# ---- clocks ----


def clocks(clock: Clock) -> Iterator[Finding]:
    """Check that the wall clock can be right, and that both clocks advance together."""
    before = read(clock)
    time.sleep(_PAUSE_SECONDS)  # in real time, which the clocks are compared with
    after = read(clock)
    local = after.wall.astimezone()
    shown = f"{after.wall:%Y-%m-%d %H:%M:%S} UTC, {local:%H:%M} {local.tzname()} on this machine"
    if after.wall < WRITTEN or after.wall > WRITTEN + 20 * _YEAR:
        yield Finding(
            "problem", "wall clock", f"{shown}, which cannot be right", "set the clock, and keep it synchronized by NTP"
        )
    else:
        yield Finding("ok", "wall clock", shown, None)
    passed, step = after.monotonic - before.monotonic, after.step_since(before)
    if passed < timedelta(seconds=_PAUSE_SECONDS) / 2:
        text = f"it has advanced by {passed} while {_PAUSE_SECONDS * 1000:.0f} ms passed"
        remedy = "check the host: this clock times staleness, roll timeouts and retries"
        yield Finding("problem", "monotonic clock", text, remedy)
    elif step is not None:
        text = f"the wall clock stepped by {step} against it during the check"
        yield Finding("problem", "monotonic clock", text, "check NTP: it should slew the clock while markets are open")
    else:
        yield Finding("ok", "monotonic clock", "it advances with the wall clock", None)


class Timex(ctypes.Structure):
    """The first members of the kernel's `struct timex`, and room for the others: adjtimex(2)."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 512),
    )


def synchronization() -> Iterator[Finding]:
    """Check whether the system says that its clock is synchronized. It is silent where the system does not say."""
    timex = _timex()
    if timex is None:
        return
    if timex.status & _STA_UNSYNC:
        text = "the kernel says that nothing synchronizes it"
        yield Finding("note", "clock synchronization", text, "run chrony, or timedatectl set-ntp true")
        return
    text = f"the kernel says that it is synchronized, and off by {timex.maxerror / 1000:.0f} ms at most"
    if timex.maxerror > _MOST_MICROSECONDS_OFF:
        yield Finding("note", "clock synchronization", text, "check the NTP servers: `chronyc tracking`")
    else:
        yield Finding("ok", "clock synchronization", text, None)


def _timex() -> Timex | None:
    """Return what adjtimex(2) says without changing anything (`modes` is 0); None where there is no such call."""
    if sys.platform != "linux":
        return None
    timex = Timex()
    try:
        failed = ctypes.CDLL(None).adjtimex(ctypes.byref(timex)) < 0
    except (AttributeError, OSError):
        return None
    return None if failed else timex


# ---- time zones ----


def time_zones(year: int) -> Iterator[Finding]:
    """Check which copy of the time zone database is in use, how old it is, and whether it has a few known zones."""
    for name, offsets in _OFFSETS.items():
        wrong = _wrong_offset(name, offsets)
        if wrong is not None:
            yield Finding("problem", "time zones", wrong, "install the package tzdata, or the system's time zones")
            return
    system, package = _system_tzdata(), _package_tzdata()
    used, where = (package, "the package tzdata") if system is None else (system[1], str(system[0]))
    if used is None:
        yield Finding(
            "note",
            "time zones",
            f"the version of {where} is not known",
            "make sure that the system keeps it up to date",
        )
    elif int(used[:4]) <= year - _OLDEST:
        yield Finding(
            "problem", "time zones", f"tzdata {used} of {where} is old", "update it: countries change their clocks"
        )
    elif system is not None and package is not None and _release(package) > _release(used):
        text = f"tzdata {used} of {where} is in use, and not the newer {package} that is installed as a package"
        yield Finding("note", "time zones", text, "update the system's copy, or set PYTHONTZPATH to an empty string")
    else:
        yield Finding("ok", "time zones", f"tzdata {used} of {where}", None)


def _wrong_offset(name: str, offsets: tuple[int, int]) -> str | None:
    try:
        zone = ZoneInfo(name)
    except zoneinfo.ZoneInfoNotFoundError:
        return f"{name} is not known"
    for month, hours in zip((1, 7), offsets, strict=True):
        found = datetime(2026, month, 15, tzinfo=zone).utcoffset()
        if found != timedelta(hours=hours):
            return f"{name} is {found} ahead of UTC in month {month}, and should be {hours} h"
    return None


def _system_tzdata() -> tuple[Path, str | None] | None:
    """Return the folder that zoneinfo reads, and its version where known; None where zoneinfo reads the package."""
    for folder in map(Path, zoneinfo.TZPATH):
        if (folder / "America" / "New_York").is_file():
            try:
                with (folder / "tzdata.zi").open(encoding="utf-8") as file:
                    found = file.readline().rpartition(" ")[2].strip()
            except OSError:
                return folder, None
            return folder, found if found[:4].isdecimal() else None
    return None


def _package_tzdata() -> str | None:
    try:
        return version("tzdata")
    except PackageNotFoundError:
        return None


def _release(text: str) -> tuple[int, int]:
    """Return a version as a pair that can be compared: 2025b is what the package calls 2025.2."""
    rest = text[4:].lstrip(".")
    return int(text[:4]), int(rest) if rest.isdecimal() else ord(rest[:1] or "`") - ord("`")


# ---- calendars ----


def calendar(venue: Venue, today: date) -> Iterator[Finding]:
    """Check how far a calendar is known, and report what is corrected in it."""
    schedule = venue.schedule
    left = schedule.known_until - today
    text = f"known until {schedule.known_until}, {left.days} days from now"
    level: Level = "problem" if left < _NEAR else "note" if left < _YEAR else "ok"
    yield Finding(level, venue.asked, text, None if level == "ok" else venue.remedy)
    yield _published(venue.asked, schedule.vouched_until, today)
    if isinstance(schedule, SnapshotSchedule):
        yield from _made_from(venue.asked, schedule)
        return
    if schedule.means:
        yield Finding("ok", venue.asked, f"what its hours mean: {schedule.means}", None)
    if schedule.corrects and reach(schedule.name) is not None:
        made = schedule.corrections
        if made:
            span = f"from {made[0].date} to {made[-1].date}"
            yield Finding("ok", venue.asked, f"{len(made)} of its sessions corrected, {span}", None)
        else:
            yield Finding("note", venue.asked, "the installed calendar has none of the known errors any more", None)


def _published(about: str, vouched: date | None, today: date) -> Finding:
    """Report how far the hours are published, and which are by rule."""
    if vouched is None:
        return Finding("note", about, NOT_COMPARED, None)
    text = f"compared with what the exchange has published until {vouched}; later days are by rule, not published"
    if vouched < today:
        return Finding("note", about, text, "compare them with the exchange's notices")
    return Finding("ok", about, text, None)


def compared(venue: Venue, sources: Sequence[str], today: date) -> Iterator[Finding]:
    """Compare the next 30 days of a calendar, today included, with what other sources say.

    A difference needs attention, except where it was judged: then it is worth knowing, once for all days of its kind.
    """
    schedule = venue.schedule
    last = min(today + _COMPARED, schedule.known_until)
    held_against = other_sources.calendars().get(schedule.name, {})
    for source in sources:
        about = f"{venue.asked}, {source}"
        if source not in held_against:
            yield Finding("note", about, f"there is no calendar of this source for {schedule.name}", None)
            continue
        try:
            found = other_sources.differences(schedule, source, today, last)
        except CalendarUnavailable as error:
            yield Finding("problem", about, str(error), "see the guide, Hours, for what to install")
            continue
        except ScheduleExhausted as error:
            yield Finding("note", about, str(error), None)
            continue
        why: dict[other_sources.Judged, list[other_sources.Found]] = {}
        for each in found:
            row = next((row for row in other_sources.judged() if row.includes(each)), None)
            if row is None:
                text = f"{each.date:%Y-%m-%d %a}: ours {each.ours}; {held_against[source]}: {each.theirs}"
                remedy = "ask the exchange's calendar, and correct ours with an override where it is wrong"
                yield Finding("problem", about, text, remedy)
            else:
                why.setdefault(row, []).append(each)
        for row, days in why.items():
            text = f"{days[0].date:%Y-%m-%d %a}: ours {days[0].ours}; {held_against[source]}: {days[0].theirs}"
            more = f", and {len(days) - 1} more" if len(days) > 1 else ""
            yield Finding("note", about, f"{text}{more}; judged: {row.why} {row.source[0]}", None)
        if not found:
            yield Finding("ok", about, f"no difference from {held_against[source]} up to {last}", None)


def _made_from(about: str, schedule: SnapshotSchedule) -> Iterator[Finding]:
    try:
        installed = versions()
    except PackageNotFoundError:
        return  # a snapshot needs no exchange_calendars
    was = schedule.head.made_from
    changed = [
        f"{name} {was[name]}, now {installed[name]}" for name in was if installed.get(name, was[name]) != was[name]
    ]
    if changed:
        yield Finding(
            "note",
            about,
            f"made from {'; '.join(changed)}",
            "compare it with the installed calendar: `snapshot --check FILE`",
        )
