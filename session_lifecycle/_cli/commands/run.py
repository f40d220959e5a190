"""`run`: a command of the application for as long as a session is in some state."""

import os
import shutil
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import anyio
import typer

from session_lifecycle._cli.failures import CommandRefused
from session_lifecycle._cli.options import ExtendedHours, HoursFiles, NoCorrections
from session_lifecycle._cli.output import notify
from session_lifecycle._cli.venues import Venue, open_venues
from session_lifecycle._cli.views.moments import STATES
from session_lifecycle._core.timeline import Position
from session_lifecycle._model.clock import Clock
from session_lifecycle._model.states import SessionState
from session_lifecycle._runtime.system_clock import SystemClock

_WHEN: Final = {label: state for state, label in STATES.items() if state is not SessionState.ENDED and " " not in label}
"""The states of a session that has begun, by their labels."""

_NOT_EXECUTABLE: Final = 126
_NOT_FOUND: Final = 127
_KILLED: Final = 128  # plus the number of the signal: these three are what a shell returns


def _parse_state(text: str) -> SessionState:
    try:
        return _WHEN[text]
    except KeyError:
        msg = f"{text!r} is no state to run in: give one of {', '.join(_WHEN)}"
        raise typer.BadParameter(msg) from None


def run(
    calendar: Annotated[str, typer.Argument(metavar="CALENDAR", help="A name, an alias, or the path of a snapshot.")],
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND", help="What to run, with its arguments, after `--`.")
    ],
    *,
    when: Annotated[
        list[SessionState] | None,
        typer.Option(
            "--when",
            metavar="STATE",
            parser=_parse_state,
            help="pre-market, active, which is the default, or post-market. Can be repeated.",
            show_default=False,
        ),
    ] = None,
    hours: HoursFiles = None,
    extended_hours: ExtendedHours = False,
    no_corrections: NoCorrections = False,
) -> None:
    """Run a command while a session is in a state.

    The command is started when the state begins, or at once where it lasts already, and gets a SIGTERM when it ends, or
    when `run` gets one. Breaks do not end it. The exit status is the command's own: 128 and the signal's number where a
    signal has ended it, 127 where there is no such command.

    For example: run --when active XNYS -- python desk.py
    """
    clock = SystemClock(spin=timedelta(0))
    venues = open_venues(
        [calendar], clock.now(), hours=hours, extended_hours=extended_hours, corrections=not no_corrections
    )
    if len(venues) > 1:
        msg = f"run follows one calendar: the files of --hours must be for {calendar}"
        raise CommandRefused(msg)
    raise typer.Exit(anyio.run(_run, venues[0], frozenset(when or [SessionState.ACTIVE]), command, clock))


async def _run(venue: Venue, states: frozenset[SessionState], command: Sequence[str], clock: Clock) -> int:
    """Run a command during the present or the next stretch of some states; return its exit status.

    One that does not exist is found out at once, and not when its time has come.
    """
    if not _exists(command[0]):
        return _not_found(command[0])
    position = venue.timeline.at(clock.now())
    if position.state not in states:
        _say_when(venue, position, states)
    position = await _reach(venue, clock, lambda each: each.state in states)
    session, status = position.session.date, 0
    with _terminations() as received:
        try:
            process = await anyio.open_process(command, stdin=None, stdout=None, stderr=None)
        except FileNotFoundError:
            return _not_found(command[0])
        except OSError as error:
            notify(f"cannot run {command[0]}: {error.strerror}")
            return _NOT_EXECUTABLE
        async with process, anyio.create_task_group() as tasks:

            async def stop_at_the_end() -> None:
                await _reach(venue, clock, lambda each: each.state not in states or each.session.date != session)
                _terminate(process)

            async def forward() -> None:
                async for number in received:
                    if number == signal.SIGTERM:  # a terminal sends SIGINT to the command too
                        _terminate(process)

            tasks.start_soon(stop_at_the_end)
            tasks.start_soon(forward)
            status = await process.wait()
            tasks.cancel_scope.cancel()
    return status if status >= 0 else _KILLED - status


def _exists(command: str) -> bool:
    """Return whether there is such a command; a file that cannot be run is found out when it is."""
    return shutil.which(command) is not None or Path(command).exists()


def _not_found(command: str) -> int:
    notify(f"there is no command {command}: give its path, or one that is on the PATH")
    return _NOT_FOUND


async def _reach(venue: Venue, clock: Clock, wanted: Callable[[Position], bool]) -> Position:
    """Sleep until the venue's position is as wanted, and return it.

    Raises:
        ScheduleExhausted: the schedule's knowledge ends before that.
    """
    while not wanted(position := venue.timeline.at(clock.now())):
        if position.until is None:
            venue.schedule.session_at(clock.now())  # raises, and says where the knowledge ends
        await clock.sleep_until(position.until, None)
    return position


def _say_when(venue: Venue, position: Position, states: frozenset[SessionState]) -> None:
    """Print to stderr what is waited for, where it is known."""
    while position.state not in states and position.until is not None:
        position = venue.timeline.at(position.until)
    if position.state in states:
        local = position.since.astimezone(venue.schedule.timezone)
        notify(f"{venue.asked} is {STATES[position.state]} from {local:%a %Y-%m-%d %H:%M %Z} on")


def _terminate(process: "anyio.abc.Process") -> None:
    """Send SIGTERM, unless the command has ended.

    `Process.terminate` would take up its exit status on the way, and asyncio would not find it any more.
    """
    if sys.platform == "win32":
        process.terminate()
    elif process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)


@contextmanager
def _terminations() -> Generator[AsyncIterator[signal.Signals]]:
    """Receive SIGTERM and SIGINT instead of being ended by them; on Windows there is nothing to receive."""
    if sys.platform == "win32":
        yield _never()
    else:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
            yield received


async def _never() -> AsyncGenerator[signal.Signals]:
    """Yield nothing, and end at once."""
    nothing: tuple[signal.Signals, ...] = ()
    for each in nothing:
        yield each
