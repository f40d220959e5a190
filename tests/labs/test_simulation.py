"""Years of trading days with faults, from one seed: short lives, long ones by `python -m tests.labs.simulation`."""

import hashlib
import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from session_lifecycle import (
    BreakStarted,
    ClockStepped,
    Entry,
    FixedSchedule,
    LifecycleConfig,
    MissedSessions,
    RollFailed,
    RollStarted,
    RollSucceeded,
    Session,
    SessionState,
    StateChanged,
    UnexpectedData,
)
from session_lifecycle._model.config import Resolution
from tests.labs.simulation.__main__ import Task, carry_out, main
from tests.labs.simulation.checker import Checker, Violation
from tests.labs.simulation.faults import FAULTS
from tests.labs.simulation.hours import NAMES, Hours, load
from tests.labs.simulation.managed import manage
from tests.labs.simulation.torn import Crash
from tests.labs.simulation.world import World, live

ROOT = Path(__file__).parents[2]
Line = tuple[Any, ...]
Log = list[Line]
PICKED = ("XNYS", "XHKG", "24/7", "CMES", "XSAU")
FIRST_YEAR, LAST_YEAR = 2022, 2023
SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module", autouse=True)
def quiet_logs():
    logger = logging.getLogger("session_lifecycle")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)  # which also forgets what was found to be disabled meanwhile


@pytest.fixture(scope="module")
def sessions() -> tuple[Session, ...]:
    return load("XHKG", 2023, 2023)


# ---- lives ----


@pytest.mark.parametrize("calendar", PICKED)
def test_short_lives_keep_every_promise(calendar):
    """Two years of five calendars, with everything going wrong: nothing skipped silently, nothing repeated."""
    outcome = carry_out(Task(calendar, range(1), FIRST_YEAR, LAST_YEAR, logged=False))
    assert outcome.finding == ""
    assert outcome.figures["skipped silently"] == outcome.figures["repeated"] == 0
    assert outcome.figures["rolls"] > 250
    assert outcome.faults.total() > 50


def test_every_kind_of_fault_is_injected(sessions):
    """What is drawn does happen: a fault that never struck would prove nothing."""
    faults: Counter[str] = Counter()
    for seed in range(12):
        faults.update(live(seed, "XHKG", sessions, storms=0.9).faults)
    assert set(FAULTS) - set(faults) == set()


def test_managers_keep_every_promise_on_both_event_loops(sessions):
    """Whole managers, cancelled, crashed and restarted, do the same on asyncio and on trio, to the last event."""
    for seed in range(2):
        logs = [manage(seed, "XHKG", sessions, 40, backend).log for backend in ("asyncio", "trio")]
        assert repr(logs[0]) == repr(logs[1])
        assert len(logs[0]) > 100


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_every_calendar_of_22_years_with_faults():
    """One life on each of the 71 calendars, 387,170 sessions; about a minute on an idle core."""
    figures: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    for calendar in NAMES:
        outcome = carry_out(Task(calendar, range(1), 2005, 2026, logged=False))
        assert outcome.finding == "", calendar
        figures.update(outcome.figures)
        faults.update(outcome.faults)
    assert figures["skipped silently"] == figures["repeated"] == 0
    assert figures["sessions"] > 380_000  # lived through; what was not rolled was given up by policy, and told
    assert figures["rolls"] > 250_000
    assert faults.total() > 50_000
    if version("exchange-calendars") == "4.13.2":
        assert figures["sessions known"] == 387_170


# ---- the same seed, the same life ----


def test_a_seed_gives_the_same_life_in_every_process(tmp_path):
    """The log is the same byte for byte, whatever the process and its hash seed; another seed gives another."""
    log = tmp_path / "log"
    command = [sys.executable, "-m", "tests.labs.simulation", "--calendars", "XHKG"]
    command += ["--from", "2023", "--to", "2023"]
    done = subprocess.run(
        [*command, "--first-seed", "3", "--log", str(log)],
        env={**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": str(ROOT)},  # this process has another
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert hashlib.sha256(log.read_bytes()).hexdigest() in done.stdout
    here, other = (carry_out(Task("XHKG", range(seed, seed + 1), 2023, 2023, logged=True)).log for seed in (3, 4))
    assert log.read_bytes() == here.encode()
    assert other != here


def test_a_finding_is_told_with_all_that_is_needed_to_see_it_again(monkeypatch, capsys):
    """The command line exits 1 and prints the seed, the calendar, the last of the log, and the command to repeat it."""
    monkeypatch.setattr(Checker, "_hold_target", lambda self, *_: self.wrong("target", "made up"))
    assert main(["--calendars", "XHKG", "--from", "2023", "--to", "2023", "--first-seed", "7"]) == 1
    told = capsys.readouterr().out
    assert "FAILED: calendar XHKG, seed 7\nViolation: target: made up" in told
    assert "the last that happened:" in told
    assert (
        "again: python -m tests.labs.simulation --calendars XHKG --seeds 1 --first-seed 7 --from 2023 --to 2023" in told
    )


# ---- the checker can fail ----


def tame(sessions: tuple[Session, ...], **settings: Any) -> World:
    """Return a world to be driven by hand, in which nothing goes wrong by itself, with a log in `world.lines`."""
    log: Log = []
    world = World(0, "XHKG", sessions, log.append)
    config = LifecycleConfig(**({"data_timeout": timedelta(minutes=5)} | settings))
    world.config, world.hours = config, Hours("XHKG", sessions, config)
    world.checker = Checker(world.hours, config, journal=True)
    world.asks_first = False
    world.wall = world.hours.edges[3][0] - SECOND
    world.lines = log
    assert world.journal is not None
    return world


@pytest.fixture(scope="module")
def days(sessions) -> tuple[World, Log]:
    """Live some days in which a roll fails, one crashes, and the clock steps over two sessions; then calm ones."""
    world = tame(sessions)
    world.start()
    looks(world, 12)
    world.script = ["roll raises"]
    looks(world, 12)
    world.armed = {"crash after the roll": 0}
    with pytest.raises(Crash):
        looks(world, 20)
    world.leave(crash=True)
    world.start()
    looks(world, 10)
    world.step(world.hours.edges[world.checker.i + 2][2] - world.wall)
    looks(world, 10)
    world.fail()
    looks(world, 2)
    world.settle()
    while world.member.lifecycle.scheduled_state is not SessionState.NOT_STARTED:
        looks(world, 1)
    world.pass_time(SECOND)
    for stamp in (world.wall - 2 * SECOND, None, None):  # late, unexpected, and told already
        world.hear_data(stamp)
    world.armed = {"done in doubt": 0}
    while world.member.lifecycle.state is not SessionState.ERROR:
        looks(world, 1)
    world.recover(Resolution.RETRY)
    world.settle()
    world.calm(4)
    world.note("gone")
    return world, world.lines


def looks(world: World, n: int) -> None:
    """Meet the next `n` deadlines."""
    for _ in range(n):
        world.pass_time(world.due())
        world.serve()


def hold(world: World, log: Log, **settings: Any) -> None:
    """Hold a log by a checker that has seen nothing yet."""
    config = replace(world.config, **settings)
    Checker(Hours("XHKG", world.hours.sessions, config), config, journal=True).hold(log)


def at(log: Log, wanted: Callable[[Line], bool], n: int = 0) -> int:
    """Return the place of the n-th line that is wanted."""
    return [i for i, line in enumerate(log) if wanted(line)][n]


def tells(kind: type, **fields: Any) -> Callable[[Line], bool]:
    """Tell whether a line is such an event."""
    return lambda line: (
        line[0] == "told"
        and isinstance(line[1], kind)
        and all(getattr(line[1], field) == value for field, value in fields.items())
    )


def changed(log: Log, place: int, **fields: Any) -> Log:
    """Return the log with other fields in one event."""
    return [*log[:place], ("told", replace(log[place][1], **fields)), *log[place + 1 :]]


def without(log: Log, place: int, n: int = 1) -> Log:
    """Return the log without a line."""
    return [*log[:place], *log[place + n :]]


def twice(log: Log, place: int) -> Log:
    """Return the log with a line repeated."""
    return [*log[: place + 1], *log[place:]]


def delayed(log: Log, place: int) -> Log:
    """Return the log with an event, and the look just before it, a second later."""
    _, wall, mono = log[place - 1]
    late = replace(log[place][1], observed_at=wall + SECOND)
    return [*log[: place - 1], ("look", wall + SECOND, mono + SECOND), ("told", late), *log[place + 1 :]]


def writes(entry: Entry) -> Callable[[Line], bool]:
    """Tell whether a line is such a record."""
    return lambda line: line[0] == "wrote" and line[1].entry is entry


def refusal(log: Log) -> Line:
    """Return the line in which the first intent is refused."""
    return "refused", log[at(log, writes(Entry.INTENT))][1], "for good"


DOUBTED = lambda log: log[at(log, lambda line: line[0] == "refused" and line[1].entry is Entry.DONE)][1].seq  # noqa: E731 -- a short word for it
A_ROLL = tells(RollSucceeded, skipped=())
SKIPPING = lambda line: tells(RollSucceeded)(line) and bool(line[1].skipped)  # noqa: E731 -- a short word for it
OPENING = tells(StateChanged, trigger="open_market")
QUIET = tells(StateChanged, trigger="data_timeout")
FAILING = tells(StateChanged, trigger="fail")
RECOVERING = tells(StateChanged, trigger="recover")
RETRY = tells(RollStarted, attempt=2)
RESUMED = tells(RollStarted, resumed=True)
LOOK = lambda line: line[0] == "look"  # noqa: E731 -- a short word for it
SETTLED = lambda line: line[0] == "settled"  # noqa: E731 -- a short word for it
DATA = lambda line: line[0] == "data"  # noqa: E731 -- a short word for it
UNEXPECTED = tells(UnexpectedData)
CLOSED = tells(StateChanged, trigger="end_session")


def with_data(log: Log, place: int, stamp: datetime | None, *, told: bool) -> Log:
    """Return the log with data just after the look at a place has settled, told as unexpected or not."""
    place = at(log[place:], SETTLED) + place
    _, wall, mono = log[at(log[:place], LOOK, -1)]
    event = UnexpectedData(log[place][2], None, wall)
    return [*log[: place + 1], ("data", wall, mono, stamp), *[("told", event)] * told, *log[place:]]


DOCTORED: dict[str, tuple[str, Callable[[Log], Log]]] = {
    "an edge that does not exist": ("legal", lambda log: changed(log, at(log, OPENING), source=SessionState.ENDED)),
    "an edge that was not told": ("chained", lambda log: without(log, at(log, OPENING))),
    "an edge of another session": (
        "chained",
        lambda log: changed(log, at(log, OPENING), session=log[at(log, A_ROLL, 3)][1].next_session),
    ),
    "a boundary that is a second off": (
        "instants",
        lambda log: changed(log, at(log, OPENING), scheduled_at=log[at(log, OPENING)][1].scheduled_at + SECOND),
    ),
    "an edge told with another instant": (
        "instants",
        lambda log: changed(log, at(log, OPENING), observed_at=log[at(log, OPENING)][1].observed_at + SECOND),
    ),
    "a catch-up that was none": ("catch-up", lambda log: changed(log, at(log, OPENING), catch_up=True)),
    "an edge told late where nothing went wrong": (
        "replay",
        lambda log: delayed(log, at(log, tells(StateChanged, trigger="start_pre_market"), -1)),
    ),
    "a roll told twice": ("announced and repeated", lambda log: twice(log, at(log, A_ROLL))),
    "a roll begun again after it was told": (
        "announced and repeated",
        lambda log: [
            *log[: at(log, tells(StateChanged, trigger="end_session"), 1) + 1],
            (
                "told",
                replace(log[at(log, tells(RollStarted), 1)][1], next_session=log[at(log, A_ROLL)][1].next_session),
            ),
        ],
    ),
    "a session entered without a roll": ("chained", lambda log: without(log, at(log, A_ROLL))),
    "a roll that nobody entered by": (
        "chained",
        lambda log: without(log, at(log, tells(StateChanged, trigger="roll"))),
    ),
    "skipped sessions that are not listed": (
        "skipped silently",
        lambda log: changed(log, at(log, SKIPPING), skipped=()),
    ),
    "a roll that is told before it is done": (
        "rolls",
        lambda log: without(log, at(log, lambda line: line == ("returned",))),
    ),
    "a roll that is told before it is durable": ("durable", lambda log: without(log, at(log, writes(Entry.DONE)))),
    "a roll that is begun without an intent": ("durable", lambda log: without(log, at(log, writes(Entry.INTENT)))),
    "a roll in doubt that is told before it is known": (
        "rolls",
        lambda log: without(log, at(log, lambda line: writes(Entry.DONE)(line) and line[1].seq == DOUBTED(log))),
    ),
    "a roll in doubt whose ERROR is left by nobody": (
        "ERROR holds",
        lambda log: without(log, at(log, lambda line: line[:2] == ("asked", "recover"), -1)),
    ),
    "a record that was refused, and is written": (
        "durable",
        lambda log: [*log[: at(log, writes(Entry.INTENT))], refusal(log), *log[at(log, writes(Entry.INTENT)) :]],
    ),
    "an intent beside an open one": ("unfinished", lambda log: twice(log, at(log, writes(Entry.INTENT)))),
    "a resumed roll without its flag": ("resumed", lambda log: changed(log, at(log, RESUMED), resumed=False)),
    "a flag on a roll that is not resumed": (
        "resumed",
        lambda log: changed(log, at(log, tells(RollStarted, resumed=False)), resumed=True),
    ),
    "attempts that do not count up": (
        "rolls",
        lambda log: changed(log, at(log, tells(RollStarted, attempt=2)), attempt=1),
    ),
    "a failure with another delay": (
        "rolls",
        lambda log: changed(
            log, at(log, tells(RollFailed)), retry_at=log[at(log, tells(RollFailed))][1].retry_at + SECOND
        ),
    ),
    "a retry that never came": (
        "liveness",
        lambda log: [*log[: at(log, RETRY)], [line for line in log[: at(log, RETRY)] if SETTLED(line)][-1]],
    ),
    "a roll that nobody was seen to begin": ("rolls", lambda log: without(log, at(log, RETRY))),
    "a session ended by hand, and by nobody's": (
        "early end",
        lambda log: changed(log, at(log, tells(StateChanged, trigger="close_market")), reason="trading is over"),
    ),
    "an ERROR that was left by nobody": (
        "ERROR holds",
        lambda log: without(log, at(log, lambda line: line[:2] == ("asked", "recover"))),
    ),
    "an ERROR that was not written down": ("durable", lambda log: without(log, at(log, writes(Entry.FAILED)))),
    "an ERROR that was not told": ("durable", lambda log: without(log, at(log, FAILING))),
    "a recovery to the wrong place": (
        "recover",
        lambda log: changed(log, at(log, RECOVERING), dest=SessionState.ENDED),
    ),
    "a TIMEOUT before its time": (
        "TIMEOUT",
        lambda log: [
            *log[: at(log, QUIET)],
            ("data", *[line for line in log[: at(log, QUIET)] if LOOK(line)][-1][1:], None),
            *log[at(log, QUIET) :],
        ],
    ),
    "a TIMEOUT that was not told": ("chained", lambda log: without(log, at(log, QUIET))),
    "a break that was not told": ("breaks", lambda log: without(log, at(log, tells(BreakStarted)))),
    "a step that was not told": ("steps", lambda log: without(log, at(log, tells(ClockStepped)))),
    "another step than was told": (
        "steps",
        lambda log: changed(log, at(log, tells(ClockStepped)), delta=SECOND),
    ),
    "unexpected data that was not told": ("unexpected data", lambda log: without(log, at(log, UNEXPECTED))),
    "unexpected data that was told twice": ("unexpected data", lambda log: twice(log, at(log, UNEXPECTED))),
    "unexpected data before another session": (
        "unexpected data",
        lambda log: changed(log, at(log, UNEXPECTED), session=log[at(log, OPENING)][1].session),
    ),
    "unexpected data of a feed that there is not": (
        "unexpected data",
        lambda log: changed(log, at(log, UNEXPECTED), feed="trades"),
    ),
    "unexpected data that never came": (
        "unexpected data",
        lambda log: without(log, at(log[: at(log, UNEXPECTED)], DATA, -1)),
    ),
    "unexpected data that was only late": (
        "unexpected data",
        lambda log: [
            (*line[:3], line[1] - 2 * SECOND) if i == at(log[: at(log, UNEXPECTED)], DATA, -1) else line
            for i, line in enumerate(log)
        ],
    ),
    "unexpected data that came as the venue closed, and was not told": (
        "unexpected data",
        lambda log: with_data(log, at(log, CLOSED), log[at(log, CLOSED)][1].scheduled_at, told=False),
    ),
    "unexpected data once it has been told": (
        "unexpected data",
        lambda log: with_data(log, at(log, UNEXPECTED), None, told=True),
    ),
    "unexpected data while the market is open": (
        "unexpected data",
        lambda log: with_data(log, at(log, OPENING), None, told=True),
    ),
    "unexpected data in the pre-market": (
        "unexpected data",
        lambda log: with_data(log, at(log, tells(StateChanged, trigger="start_pre_market")), None, told=True),
    ),
    "unexpected data after the close, before the end": (
        "unexpected data",
        lambda log: with_data(log, at(log, tells(StateChanged, trigger="close_market")), None, told=True),
    ),
    "a state that the clock does not imply": (
        "scheduled state",
        lambda log: [
            (*line[:3], SessionState.ENDED, *line[4:]) if i == at(log, SETTLED, 3) else line
            for i, line in enumerate(log)
        ],
    ),
    "a roll that is owed and not said to be": (
        "owed",
        lambda log: [
            (*line[:6], not line[6], line[7]) if i == at(log, SETTLED, 3) else line for i, line in enumerate(log)
        ],
    ),
}


@pytest.mark.parametrize("doctored", DOCTORED)
def test_the_checker_finds_what_was_doctored(days, doctored):
    """A log of real days passes; with one line changed, the promise that is broken is found by its name."""
    world, log = days
    hold(world, log)
    invariant, doctor = DOCTORED[doctored]
    with pytest.raises(Violation) as found:
        hold(world, doctor(log))
    assert found.value.invariant == invariant


def test_the_checker_finds_a_machine_that_stands_still(days):
    """A log in which an edge and the look at it are missing ends off schedule."""
    world, log = days
    opening = at(log, OPENING)
    look = at(log[: opening + 1], LOOK, -1)
    still = (*log[look - 1][:1], SessionState.PRE_MARKET, *log[look - 1][2:3], SessionState.ACTIVE)
    settled = log[opening + 1]
    with pytest.raises(Violation, match="on schedule"):
        hold(world, [*log[: look + 1], (*still, *settled[4:])])


def test_the_checker_finds_a_timeout_that_never_came(days):
    """Silence that lasts too long, and a state that is still ACTIVE."""
    world, log = days
    quiet = at(log, QUIET)
    settled = log[quiet + 1]
    with pytest.raises(Violation, match="TIMEOUT: silent since"):
        hold(world, [*log[:quiet], (settled[0], SessionState.ACTIVE, *settled[2:])])


def test_the_checker_finds_policies_that_were_not_kept(days):
    """The same log breaks another policy's promises: none skipped under EACH, no more than the cap."""
    world, log = days
    hold(world, log)
    with pytest.raises(Violation, match="target: rolls to"):
        hold(world, log, missed_sessions=MissedSessions.EACH)
    with pytest.raises(Violation, match=r"cap: \d+ sessions"):
        hold(world, log, max_catch_up_sessions=1)


def test_the_checker_finds_what_an_end_of_faults_does_not_mend(days):
    """A machine that is not where the clock is, a session after the last fault, is found."""
    world, log = days
    with pytest.raises(Violation, match="liveness: still"):
        hold(world, [*log, ("overdue", SessionState.ENDED, world.hours.sessions[3].date)])


def test_the_tally_finds_what_was_skipped_silently(days):
    """The sessions entered and listed are counted apart from the checker, at the end of a life."""
    world, _ = days
    assert world._unlisted() == 0
    world.listed.clear()
    assert world._unlisted() > 0
    assert isinstance(world.hours.schedule, FixedSchedule)
