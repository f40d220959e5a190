"""A slice of the same through whole managers, in simulated time, on a real event loop, with real cancellations.

What is noted of a look is read off the clock when an event is told or a record written, and whenever time has passed.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import date, timedelta
from random import Random
from typing import Any

import anyio

from session_lifecycle import (
    Entry,
    Event,
    IllegalTransition,
    JournalWriteFailed,
    Record,
    RollNotOwedError,
    RollSucceeded,
    Session,
    SessionBoundaryManager,
    SessionState,
)
from session_lifecycle._model.config import Resolution
from session_lifecycle.testing import SimulatedClock
from tests.labs.simulation.checker import Checker, Violation
from tests.labs.simulation.faults import DAY, HOUR, MINUTE, SECOND, ZERO, draw_config
from tests.labs.simulation.hours import Hours
from tests.labs.simulation.torn import Crash, TornJournal

ENDED, ERROR = SessionState.ENDED, SessionState.ERROR


class _Left(Exception):
    pass


def _raised(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, or those of a group."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _raised(each)
    else:
        yield error


class ManagedWorld:
    """One application with its managers, one after the other, each on the journal of the last."""

    def __init__(self, seed: int, calendar: str, sessions: tuple[Session, ...]) -> None:
        self.rng = rng = Random(f"managed {seed} {calendar}")
        self.config = draw_config(rng)
        self.hours = Hours(calendar, sessions, self.config)
        self.checker = Checker(self.hours, self.config, journal=True)
        self.clock = SimulatedClock(self.hours.edges[3][1] + rng.random() * DAY)
        self.journal = TornJournal()
        self.journal.strike = self._strike
        self.journal.wrote = lambda record: self._journalled("wrote", record)
        self.journal.refused = lambda record, how: self._journalled("refused", record, how)
        self.journal.surfaced = lambda record: self.note("surfaced", record)
        self.log: list[tuple[Any, ...]] = []
        self.faults: Counter[str] = Counter()
        self.rolls = 0
        self.has_started = True
        self.crashed = False
        self.calm = False
        self.manager: SessionBoundaryManager

    def note(self, *line: Any) -> None:
        """Note what happens, and hold it. After a crash nothing does."""
        if self.crashed:
            return
        self.log.append(line)
        getattr(self.checker, line[0])(*line[1:])

    def _look(self) -> None:
        if not self.has_started:
            self.has_started = True
            self.note("started")
        self.note("look", self.clock.now(), timedelta(seconds=self.clock.monotonic()))

    def _hear(self, event: Event) -> bool:
        self._look()
        self.note("told", event)
        self.rolls += isinstance(event, RollSucceeded)
        return False

    def _journalled(self, what: str, record: Record, *how: str) -> None:
        if record.entry is not Entry.ADOPTED or self.has_started:
            self._look()
        self.note(what, record, *how)
        self.crashed = self.journal.dead

    def _strike(self, records: Sequence[Record]) -> str:
        if self.calm or records[0].entry is Entry.ADOPTED or self.rng.random() > 0.06:
            return ""
        how = self.rng.choice(("fails", "in doubt, kept", "in doubt, lost", "lost", "kept"))
        self.faults[f"{records[-1].entry.value}: {how}"] += 1
        self.crashed = how == "lost"
        return how

    async def roll(self, next_date: date) -> None:
        """Roll, or fail to."""
        kind = (
            "returns"
            if self.calm or self.rng.random() < 0.6
            else self.rng.choice(("raises", "lasts", "hangs", "yields"))
        )
        self.faults[f"roll {kind}"] += kind != "returns"
        if kind == "raises":
            raise OSError(5, f"no roll to {next_date}")
        try:
            if kind != "returns":
                await self.clock.sleep(30 * DAY if kind == "hangs" else self.rng.random() * HOUR)
        except anyio.get_cancelled_exc_class():
            if kind != "yields" or self.config.roll_timeout is None:
                raise
        self._look()
        self.note("returned")

    async def live(self, until: int) -> None:
        """Live until that session, through all that goes wrong."""
        session: date | None = None
        while self.hours.owner(self.clock.now()) < until:
            self.manager = SessionBoundaryManager(
                self.hours.schedule,
                self.roll,
                session=session,
                config=self.config,
                clock=self.clock,
                journal=self.journal,
            )
            ears = self.manager._host.broadcast.subscribe(self._hear)
            self.has_started = False
            self.note("starting", self.clock.now(), timedelta(seconds=self.clock.monotonic()), session)
            try:
                await self._run(until)
            except BaseException as error:
                if any(isinstance(each, Violation) for each in _raised(error)):
                    raise
                if not all(isinstance(each, _Left | JournalWriteFailed | Crash) for each in _raised(error)):
                    raise
            del ears
            self.has_started = True
            if self.crashed:  # nothing has let go of the clock, nor of anything else
                self.clock = SimulatedClock(self.clock.now())
            self.crashed = False
            self.note("gone")
            self.journal.leave()
            if self.rng.random() < 0.3:
                await self.clock.advance(self.rng.random() * 3 * DAY)

    async def _run(self, until: int) -> None:
        with anyio.CancelScope() as scope:
            async with self.manager:
                await self._pass(ZERO)
                for _ in range(self.rng.randrange(5, 60)):
                    if self.hours.owner(self.clock.now()) >= until:
                        break
                    await self._op()
                leaves = self.rng.choice(("returns", "raises", "is cancelled"))
                self.faults[f"manager {leaves}"] += 1
                if leaves == "raises":
                    raise _Left
                if leaves == "is cancelled":
                    scope.cancel()
                    await anyio.sleep_forever()
                self.note("asked", "stop")

    async def _pass(self, delta: timedelta) -> None:
        await self.clock.advance(delta)
        self._look()
        manager, lifecycle = self.manager, self.manager._lifecycle
        began, timeout = self.checker.began, self.config.roll_timeout
        if began is not None and timeout is not None and self.checker.mono >= began[1] + timeout:
            self.checker.wrong("rolls", f"begun at {began[1]}, and not cancelled")  # no roll here fails to notice
        self.note(
            "settled",
            manager.state,
            manager.session.date,
            manager.scheduled_state,
            manager.next_boundary,
            manager.on_break,
            lifecycle.roll_owed,
            lifecycle.roll_expired,
        )

    async def _op(self) -> None:
        """Let something happen, and some time pass."""
        rng, manager, clock = self.rng, self.manager, self.clock
        draw = rng.random()
        if draw < 0.12:
            self.faults["clock steps"] += 1
            clock.step(rng.choice((-DAY, -HOUR, -MINUTE, -SECOND, SECOND, HOUR, DAY)) * (1 + rng.random()))
            await self._pass(ZERO)
        elif draw < 0.3:
            stamp = rng.choice((None, clock.now() - rng.random() * HOUR, clock.now() + HOUR))
            self._look()
            self.note("data", clock.now(), timedelta(seconds=clock.monotonic()), stamp)
            manager.record_data_received(stamp)
            await self._pass(ZERO)
        elif draw < 0.34:
            self.faults["failed by hand"] += 1
            self._look()
            self.note("asked", "fail")
            manager.fail("somebody says so")
            await self._pass(ZERO)
        elif draw < 0.38:
            self._look()
            self.note("asked", "end")
            with suppress(IllegalTransition, JournalWriteFailed):
                await manager.end_session("trading is over")
            await self._pass(ZERO)
        if manager.state is ERROR and rng.random() < 0.5:
            await self._recover()
        elif manager.state is ENDED and not self.config.auto_roll:
            self._ask_roll()
            await self._pass(ZERO)
        await self._pass(rng.choice((MINUTE, HOUR, 6 * HOUR, 2 * DAY)) * rng.random())

    async def _recover(self) -> None:
        lifecycle = self.manager._lifecycle
        with suppress(JournalWriteFailed):
            await self.manager._host.resolve_doubt()
            if self.manager.state is ERROR:
                resolution = self.rng.choice(tuple(Resolution)) if lifecycle.roll_owed else Resolution.RETRY
                self._look()
                (record,) = lifecycle.recover(resolution, self.manager._driver.observe()).records
                self.note("asked", "recover", record.entry, record.target)
                await self.manager.recover(resolution)
        await self._pass(ZERO)

    def _ask_roll(self) -> None:
        """Roll by hand, without a task that waits for it."""
        try:
            self.manager._lifecycle.request_roll(self.manager._driver.observe())
        except RollNotOwedError:
            return
        self._look()
        self.note("asked", "roll")
        self.manager._emit()


def manage(seed: int, calendar: str, sessions: tuple[Session, ...], until: int, backend: str) -> ManagedWorld:
    """Live one such life on an event loop of its own, and return it.

    Raises:
        Violation: a promise was not kept; the last lines of the log are in its notes.
    """
    world = ManagedWorld(seed, calendar, sessions)

    async def main() -> None:
        await world.live(until)

    try:
        anyio.run(main, backend=backend)
    except BaseException as error:
        error.add_note("\n".join(["the last that happened:", *(f"  {line}" for line in world.log[-40:])]))
        raise
    return world
