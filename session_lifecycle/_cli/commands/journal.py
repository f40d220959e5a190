"""`journal`: show a journal, check that it is sound, and record the decision for a service that restarts into ERROR.

Reading takes no lock and changes nothing. A decision is planned by the same core as `manager.recover()`, and written by
the same journal, which only one process holds at a time.
"""

from collections.abc import Callable
from datetime import UTC, date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import anyio
import msgspec
import typer
from msgspec.structs import replace

from session_lifecycle._cli.failures import CommandRefused
from session_lifecycle._cli.journals import JournalSource, journal_source
from session_lifecycle._cli.options import HoursFiles, Json, json_schema_of
from session_lifecycle._cli.output import Instant, notify, show, show_json
from session_lifecycle._cli.venues import open_venues
from session_lifecycle._cli.views.rows import HangingText, NotedRow, NotedRows
from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._journal.base import Journal
from session_lifecycle._journal.errors import JournalCorrupt
from session_lifecycle._journal.reading import JournalReading
from session_lifecycle._journal.records import Entry, JournalState, Record, journal_state_after
from session_lifecycle._model.clock import Reading, read
from session_lifecycle._model.config import LifecycleConfig, MissedSessions, Resolution
from session_lifecycle._model.states import SessionState
from session_lifecycle._runtime.system_clock import SystemClock
from session_lifecycle._schedules.base import Schedule

if TYPE_CHECKING:
    from rich.console import RenderableType

_SHOWN: Final = 20
_NOT_SOUND: Final = 1
_BY_COMMAND: Final = "by `journal --resolve`"
_STYLES: Final = {Entry.FAILED: "bold red", Entry.INTENT: "yellow", Entry.DONE: "green"}
_WAYS: Final = "|".join(resolution.value for resolution in Resolution)


class JournalRecord(msgspec.Struct, frozen=True):
    """A record of a journal. What is not in it is null, or empty.

    `subject` is what the record is about, where that is not the session: a feed, an alarm, the `seq` of a withdrawn
    record.
    """

    seq: int
    at: Instant
    entry: Entry
    session: date
    target: date | None
    skipped: tuple[date, ...]
    subject: str
    note: str


class JournalDamage(msgspec.Struct, frozen=True):
    """What is damaged. `seq` is that of the first damaged record, null where the damage is not one record's."""

    seq: int | None
    why: str


class JournalStanding(msgspec.Struct, frozen=True):
    """The state that the records of a journal add up to: the session that the application is in, and what is owed.

    `ended` says that the session was ended manually or its roll was begun. `intent` is the target of the roll that was
    begun, `beyond` the last session that was given up: the next roll goes past it. `halts` are the reasons of the halts
    that last, by feed; "" is the manager's own.
    """

    session: date
    open: Instant | None
    close: Instant | None
    ended: bool
    intent: date | None
    abandoned_target: date | None = msgspec.field(name="beyond")
    error: str | None
    halts: dict[str, str]


class JournalReport(msgspec.Struct, frozen=True):
    """The content of a journal. `standing` is null where there is no record, or the journal is not sound."""

    journal: str
    name: str
    calendar: str | None
    sound: bool
    damage: JournalDamage | None
    records: tuple[JournalRecord, ...]
    standing: JournalStanding | None


def journal(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="The database: the path that SqliteJournal was given, or the address that PostgresJournal was given.",
        ),
    ],
    *,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Which journal, if there are several in it.", show_default=False),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Check the whole database, and report only whether it is sound; exit status 1 if not."
        ),
    ] = False,
    resolve: Annotated[
        Resolution | None,
        typer.Option(
            "--resolve",
            help="Record the decision that takes a manager out of ERROR while it is not running.",
            show_default=False,
        ),
    ] = None,
    calendar: Annotated[
        str | None,
        typer.Option(
            metavar="CALENDAR",
            help="With --resolve: a snapshot's path instead of the journal's calendar.",
            show_default=False,
        ),
    ] = None,
    hours: HoursFiles = None,
    missed_sessions: Annotated[
        MissedSessions, typer.Option(help="With --resolve: as in the manager's configuration.")
    ] = MissedSessions.LATEST,
    every: Annotated[bool, typer.Option("--all", help=f"Show every record, not only the last {_SHOWN}.")] = False,
    json: Json = False,
    _json_schema: Annotated[bool, json_schema_of(JournalReport)] = False,
) -> None:
    """Show a journal, check that it is sound, or resolve an ERROR.

    Exit status 1: the journal is not sound.
    """
    source = journal_source(file, name)
    content = source.read(integrity=check)
    if resolve is not None:
        if check or json:
            msg = "--resolve records a decision, and goes with neither --check nor --json: leave them out"
            raise CommandRefused(msg)
        _resolve(
            source.shown, source, content, resolve, calendar=calendar, hours=hours, missed_sessions=missed_sessions
        )
        return
    if json:
        show_json(_report(source.shown, content))
    elif check:
        show(_soundness(content))
    else:
        show(_table(content, len(content.records) if every else _SHOWN))
    if content.damage is not None:
        raise typer.Exit(_NOT_SOUND)


# ---- reading ----


def _soundness(content: JournalReading) -> str:
    if content.damage is not None:
        where = f"record {content.damage.seq}: " if content.damage.seq else ""
        return f"not sound: {where}{_on_one_line(content.damage.why)}"
    return f"sound: {len(content.records)} records"


def _state(content: JournalReading) -> JournalState | None:
    return None if content.damage is not None else journal_state_after(content.records)


def _table(content: JournalReading, most: int) -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    title = f"journal {_on_one_line(_title(content))}, {_soundness(content)}"
    parts: list[RenderableType] = [HangingText(Text(title, "" if content.damage is None else "bold red"))]
    if len(content.records) > most:
        parts.append(Text(f"{len(content.records) - most} earlier records; --all shows them"))
    if content.records:
        header = NotedRow([Text(name, "bold") for name in ("written (UTC)", "entry", "session", "to")], Text())
        parts.append(NotedRows([header, *map(_row, content.records[-most:])]))
    state = _state(content)
    if content.damage is not None:
        parts.append(HangingText(Text("only the records before the damage are shown; restore the journal from a copy")))
    elif state is None:
        parts.append(Text("no session yet: the next start adopts one"))
    else:
        parts += [HangingText(Text(line, style)) for line, style in _state_lines(state)]
    return Group(*parts)


def _row(record: Record) -> NotedRow:
    from rich.text import Text

    at = f"{record.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    entry = Text(record.entry.value, _STYLES.get(record.entry, ""))
    to = "" if record.target is None else f"{record.target}"
    return NotedRow([Text(at), entry, Text(f"{record.session}"), Text(to)], Text(_note(record)))


def _title(content: JournalReading) -> str:
    if content.calendar in (None, content.name):
        return content.name
    return f"{content.name} of {content.calendar}"


def _note(record: Record) -> str:
    skipped = f"skipping {', '.join(map(str, record.skipped))}" if record.skipped else ""
    return "; ".join(part for part in (_on_one_line(record.subject), skipped, _on_one_line(record.note)) if part)


def _on_one_line(reason: str) -> str:
    """Return a reason on one line, safe for a terminal: an exception's message may hold escape sequences."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in " ".join(reason.split()))


def _state_lines(state: JournalState) -> list[tuple[str, str]]:
    """Return what the records add up to, a line for each fact, with a style."""
    closes = "" if state.close is None else f", which closes at {state.close:%Y-%m-%d %H:%M} UTC"
    lines = [(f"the application is in session {state.session}{closes}", "bold")]
    if state.intent is not None:
        target = state.intent.target
        lines.append(
            (f"the roll to {target} was begun and may have happened: it is owed, and finished first", "yellow")
        )
    elif state.abandoned_target is not None:
        lines.append((f"the roll to {state.abandoned_target} was given up: one to a later session is owed", "yellow"))
    elif state.ended:
        lines.append(("the session was ended manually: a roll is owed", "yellow"))
    for feed, reason in state.halts.items():
        halted = f"feed {_on_one_line(feed)}" if feed else "trading"
        lines.append((f"{halted} is halted: {_on_one_line(reason)}", "yellow"))
    if state.error is not None:
        lines.append((f"ERROR: {_on_one_line(state.error)}", "bold red"))
        lines.append((f"it lasts until recover(), or `journal FILE --resolve {_WAYS}` while no manager runs", ""))
    return lines


def _report(file: str, content: JournalReading) -> JournalReport:
    damage = content.damage
    return JournalReport(
        journal=file,
        name=content.name,
        calendar=content.calendar,
        sound=damage is None,
        damage=None if damage is None else JournalDamage(damage.seq or None, damage.why),
        records=tuple(
            JournalRecord(
                each.seq, each.at, each.entry, each.session, each.target, each.skipped, each.subject, each.note
            )
            for each in content.records
        ),
        standing=_standing(_state(content)),
    )


def _standing(state: JournalState | None) -> JournalStanding | None:
    if state is None:
        return None
    return JournalStanding(
        session=state.session,
        open=state.open,
        close=state.close,
        ended=state.ended,
        intent=None if state.intent is None else state.intent.target,
        abandoned_target=state.abandoned_target,
        error=state.error,
        halts=state.halts,
    )


# ---- deciding ----


def _resolve(
    file: str,
    source: JournalSource,
    content: JournalReading,
    resolution: Resolution,
    *,
    calendar: str | None,
    hours: list[Path] | None,
    missed_sessions: MissedSessions,
) -> None:
    """Record a decision, as `manager.recover()` does."""
    if content.damage is not None:
        raise JournalCorrupt(file, *content.damage)
    state = journal_state_after(content.records)
    if state is None or state.error is None:
        msg = f"{file} holds no ERROR, so there is nothing to resolve: {_next_start(state)}"
        raise CommandRefused(msg)
    now = read(SystemClock())
    schedule = open_venues([calendar or content.calendar or ""], now.wall, hours=hours)[0].schedule
    config = LifecycleConfig(missed_sessions=missed_sessions)

    def decide(state: JournalState) -> Record:
        (record,) = _restarted(schedule, config, state, now).recover(resolution, now).records
        return record if resolution is Resolution.RETRY else replace(record, note=_BY_COMMAND)

    decide(state)  # what is refused is refused before anything is opened
    record, state = anyio.run(_recorded, source.journal(content.name), schedule.name, decide)
    show(_decision(record))
    _show_restart(_restarted(schedule, config, state, now), now)


async def _recorded(
    journal: Journal, calendar: str, decide: Callable[[JournalState], Record]
) -> tuple[Record, JournalState]:
    """Append the record that is decided on what the journal holds; return it, and the state after it."""
    try:
        records = await journal.open(calendar)
        state = journal_state_after(records)
        assert state is not None, "a journal loses no records"
        record = replace(decide(state), seq=records[-1].seq + 1)
        await journal.append((record,))
        return record, state.after(record)
    finally:
        await journal.close()


def _next_start(state: JournalState | None) -> str:
    if state is None:
        return "no session was adopted yet"
    if state.intent is not None:
        target = state.intent.target
        return f"the next start finishes the roll to {target}, or counts it as done where it is given session={target}"
    return "the next start goes on by itself"


def _restarted(schedule: Schedule, config: LifecycleConfig, state: JournalState, now: Reading) -> SessionLifecycle:
    """Return the lifecycle of a manager that starts now with that state of its journal."""
    lifecycle = SessionLifecycle(schedule, config=config)
    lifecycle.begin(now, state)
    return lifecycle


def _decision(record: Record) -> str:
    match record.entry:
        case Entry.DONE:
            return f"recorded: the roll from {record.session} to {record.target} is done"
        case Entry.SKIPPED:
            return f"recorded: the roll from {record.session} to {record.target} is given up"
        case _:
            return f"recorded: ERROR is left, in session {record.session}"


def _show_restart(lifecycle: SessionLifecycle, now: Reading) -> None:
    """Print what a manager with the default configuration does if it is started now."""
    roll, session = lifecycle.due_roll(now), lifecycle.session.date
    if lifecycle.state is SessionState.ERROR:
        why = _on_one_line(lifecycle.reason or "")
        notify(f"note: with the default configuration, a manager that is started now is in ERROR again: {why}")
    elif roll is not None:
        resumed = ", which may have happened (resumed=True)" if roll.resumed else ""
        show(f"a manager that is started now rolls from {session} to {roll.target.date}{resumed}")
    else:
        show(f"a manager that is started now is {lifecycle.state.name} in session {session}")
