"""What the tests of the ledger and of the roll's transaction share: a journal that takes real time, or fails."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import date, timedelta

import anyio
import anyio.lowlevel

from session_lifecycle import Entry, LifecycleConfig, MemoryJournal, Record, SessionBoundaryManager
from session_lifecycle.testing import SimulatedClock
from tests.helpers.harness import Rolls, season

BRIEF = timedelta(milliseconds=40)
"""A `journal_timeout`, in real time."""
TRIES = 3

Step = BaseException | Callable[[], Awaitable[object]] | None
"""What happens to an append: it raises, it awaits something first, or nothing."""


class Lost(Exception):
    """The append has failed, and its records are not in the journal, which the caller cannot know."""


class Kept(Exception):
    """The append has failed, and its records are in the journal, which the caller cannot know."""


class Slow(MemoryJournal):
    """A journal whose appends wait for a gate, then follow a script; it notes each attempt.

    The script is of one step for each append that contains one of `entries` (any, without); afterwards every append
    succeeds. With `always`, each of them goes the same way.
    """

    def __init__(self, *script: Step, entries: Sequence[Entry] = (), always: Step = None) -> None:
        super().__init__()
        self.script = list(script)
        self.entries = frozenset(entries)
        self.always = always
        self.attempts: list[list[tuple[Entry, int]]] = []
        self.writing = anyio.Event()
        self._gate: anyio.Event | None = None

    @property
    def written(self) -> list[Entry]:
        """The entries that it holds."""
        return [record.entry for record in self.records]

    def shut(self) -> None:
        """Have appends wait from now on."""
        self._gate, self.writing = anyio.Event(), anyio.Event()

    def release(self) -> None:
        """Let those that wait go on."""
        assert self._gate is not None
        self._gate.set()
        self._gate = None

    async def append(self, records: Sequence[Record]) -> None:
        self.attempts.append([(record.entry, record.seq) for record in records])
        self.writing.set()
        if self._gate is not None:
            await self._gate.wait()
        if not self.entries or self.entries & {record.entry for record in records}:
            step = self.script.pop(0) if self.script else self.always
            if isinstance(step, Kept):
                await super().append(records)
            if isinstance(step, BaseException):
                raise step
            if step is not None:
                await step()
        await super().append(records)


def keeping(
    start: object, journal: MemoryJournal | None, *script: BaseException | timedelta | None, **settings: object
) -> tuple[SessionBoundaryManager, SimulatedClock, Rolls]:
    """Return a deaf manager on a journal, its clock, and its roll, which follows a script."""
    clock = SimulatedClock(start)
    rolls = Rolls(clock, *script)
    config = LifecycleConfig(**({"data_timeout": None} | settings))
    return SessionBoundaryManager(season(), rolls, config=config, clock=clock, journal=journal), clock, rolls


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait in real time, while the simulated clock may be held."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 -- of anything
            await anyio.sleep(0.001)


@asynccontextmanager
async def napping() -> AsyncIterator[list[float]]:
    """Sleep in slices beside the block, and note the seconds of each.

    Their sum is how long the block has taken, but for the time in which a busy machine let this process stand still.
    """
    naps: list[float] = []

    async def nap() -> None:
        while True:
            await anyio.sleep(0.01)
            naps.append(0.01)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(nap)
        yield naps
        tasks.cancel_scope.cancel()


async def a_while() -> None:
    """Let everything happen that can without the journal."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()
    await anyio.sleep(0.02)


@asynccontextmanager
async def in_background(function: Callable[..., Awaitable[object]], *args: object) -> AsyncIterator[list[object]]:
    """Run a call beside the block, which is left once it has ended; the list gets its result, or its exception."""
    outcome: list[object] = []

    async def call() -> None:
        try:
            outcome.append(await function(*args))
        except Exception as error:  # noqa: BLE001 -- the test looks at it
            outcome.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        yield outcome


def tasks_named(*names: str) -> "list[asyncio.Task[object]]":
    """Return the event loop's tasks of these names, of which there is one at least."""
    found = [task for task in asyncio.all_tasks() if task.get_name() in names]
    assert found, sorted(task.get_name() for task in asyncio.all_tasks())
    return found


def days(log: Sequence[object], kind: type) -> list[date]:
    """Return the sessions that events of a kind lead to."""
    return [event.next_session for event in log if isinstance(event, kind)]
