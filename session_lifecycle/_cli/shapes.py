"""What `--json` prints: the one declaration that the commands build, the guide shows and the tests hold.

Instants are ISO 8601 in UTC, dates are ISO 8601, states are the values of `SessionState`.
"""

from typing import Literal, TypedDict

State = Literal["not_started", "pre_market", "active", "post_market", "ended"]
"""A state that schedule and clock alone imply."""

BoundaryName = Literal["pre_market_start", "open", "break_start", "break_end", "close", "end"]
"""What happens at an instant of a session. The roll to the next session is due at `end`."""

Oddity = Literal["half_day", "late_open", "extra_session"]
"""How a session differs from what is usual for the venue on that day of the week."""

ChangeKind = Literal["corrected", "override"]
"""Why the hours are not those of exchange_calendars: put right by this package, or by whoever gave a file of hours."""


class MomentJson(TypedDict):
    """Something that a session does."""

    boundary: BoundaryName
    at: str


class StatusJson(TypedDict):
    """One venue of `status`, which prints a list of them."""

    calendar: str
    schedule: str
    timezone: str
    state: State
    session: str
    open: str
    close: str
    on_break: bool
    oddities: list[Oddity]
    next: MomentJson | None
    observed_at: str


class SessionJson(TypedDict):
    """A session of `plan`. `next_session` is the date that its roll leads to, None where none is known."""

    session: str
    moments: list[MomentJson]
    next_session: str | None
    oddities: list[Oddity]


class ChangeJson(TypedDict):
    """A session whose hours are not those of exchange_calendars. `why` is a source, or the reason of an override."""

    kind: ChangeKind
    session: str
    change: str
    why: str


class ClockChangeJson(TypedDict):
    """An instant at which the clocks of a zone go forward, or back where `shift_minutes` is below zero."""

    timezone: str
    at: str
    shift_minutes: int


class PlanJson(TypedDict):
    """One venue of `plan`, which prints a list of them. `first` and `last` are inclusive."""

    calendar: str
    schedule: str
    timezone: str
    first: str
    last: str
    sessions: list[SessionJson]
    holidays: list[str]
    changes: list[ChangeJson]
    clock_changes: list[ClockChangeJson]


class BandJson(TypedDict):
    """A stretch of time, `start` inclusive and `end` exclusive, in which neither state nor break changes."""

    session: str
    state: State
    on_break: bool
    start: str
    end: str


class TimelineJson(TypedDict):
    """One venue of `timeline`, which prints a list of them."""

    calendar: str
    schedule: str
    timezone: str
    bands: list[BandJson]


class DamageJson(TypedDict):
    """Where a journal does not add up. `byte` counts from 0, `line` from 1."""

    byte: int
    line: int
    why: str


class RecordJson(TypedDict):
    """A record of a journal: what is not in it is None, or empty."""

    at: str
    entry: str
    session: str
    target: str | None
    skipped: list[str]
    note: str


class StandingJson(TypedDict):
    """What the records of a journal add up to; see `Standing`. `intent` is the target of the roll that was begun."""

    session: str
    open: str | None
    close: str | None
    ended: bool
    intent: str | None
    beyond: str | None
    error: str | None


class JournalJson(TypedDict):
    """What `journal` prints. `standing` is None where there is no record, or the journal is not sound."""

    journal: str
    calendar: str | None
    sound: bool
    damage: DamageJson | None
    torn_bytes: int
    records: list[RecordJson]
    standing: StandingJson | None


class HoursJson(TypedDict):
    """The hours of a session. `breaks` are pairs of start and end."""

    open: str
    close: str
    breaks: list[list[str]]
    pre_market_start: str | None
    post_market_end: str | None


class DifferenceJson(TypedDict):
    """A session about which a snapshot and the installed calendar disagree; None stands for "no session"."""

    session: str
    fields: list[str]
    snapshot: HoursJson | None
    installed: HoursJson | None


class SnapshotCheckJson(TypedDict):
    """What `snapshot --check` prints. The dates of `overridden` were not compared."""

    snapshot: str
    calendar: str
    first: str
    last: str
    agrees: bool
    made_from: dict[str, str]
    installed: dict[str, str]
    overridden: list[str]
    differences: list[DifferenceJson]


Level = Literal["ok", "note", "problem"]
"""What a finding of `doctor` is: as it should be, worth knowing, or in need of a person."""


class FindingJson(TypedDict):
    """A finding of `doctor`. `remedy` is what to do, None where there is nothing."""

    level: Level
    about: str
    told: str
    remedy: str | None


class DoctorJson(TypedDict):
    """What `doctor` prints. `well` tells that no finding is a problem."""

    well: bool
    observed_at: str
    findings: list[FindingJson]
