"""Simulate years of trading days with faults, print figures, and exit 1 where a promise was not kept.

`python -m tests.labs.simulation --seeds 10 --calendars all` lives ten lives on each calendar of exchange_calendars.
"""

import argparse
import gc
import hashlib
import logging
import shlex
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tests.labs.simulation.checker import Violation
from tests.labs.simulation.hours import NAMES, load
from tests.labs.simulation.world import live


class Task(NamedTuple):
    """The lives on one calendar."""

    calendar: str
    seeds: range
    first_year: int
    last_year: int
    logged: bool


class Outcome(NamedTuple):
    """What came of them: figures, faults, the log, and the finding that ended them, if any, with its seed."""

    calendar: str
    figures: Counter[str]
    faults: Counter[str]
    log: str
    seed: int
    finding: str


def carry_out(task: Task) -> Outcome:
    """Live the lives on one calendar, one after the other, until a promise is not kept."""
    logging.getLogger("session_lifecycle").setLevel(logging.CRITICAL)
    began = time.process_time()
    sessions = load(task.calendar, task.first_year, task.last_year)
    frozen = gc.get_freeze_count() > 0
    gc.collect()
    gc.freeze()  # the sessions stay, and need not be looked through again and again
    loaded = time.process_time()
    figures: Counter[str] = Counter({"sessions known": len(sessions), "loading_ms": int(1000 * (loaded - began))})
    faults: Counter[str] = Counter()
    lines: list[str] = []
    note = (lambda line: lines.append(f"{line!r}\n")) if task.logged else None
    finding = ""
    for seed in task.seeds:
        if note is not None:
            note(("life", seed, task.calendar))
        try:
            world = live(seed, task.calendar, sessions, note)
        except (Exception, Violation) as error:  # noqa: BLE001 -- the finding, or whatever else went wrong: both end the run
            finding = f"{type(error).__name__}: {error}\n" + "\n".join(getattr(error, "__notes__", []))
            break
        figures.update(world.figures)
        figures["lives"] += 1
        faults.update(world.faults)
    if not frozen:  # what its caller has frozen stays so
        gc.unfreeze()
    figures["living_ms"] = int(1000 * (time.process_time() - loaded))
    return Outcome(task.calendar, figures, faults, "".join(lines), seed, finding)


def outcomes(tasks: list[Task], jobs: int) -> Iterator[Outcome]:
    """Carry out the tasks, in order, on so many cores."""
    if jobs == 1:
        yield from map(carry_out, tasks)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(carry_out, tasks)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.labs.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="lives on each calendar")
    parser.add_argument("--first-seed", type=int, default=0, metavar="S", help="the first of those seeds")
    parser.add_argument("--calendars", default="all", help="names, separated by commas")
    parser.add_argument("--from", dest="first_year", type=int, default=2005, metavar="YEAR")
    parser.add_argument("--to", dest="last_year", type=int, default=2026, metavar="YEAR")
    parser.add_argument("--jobs", type=int, default=1, metavar="N")
    parser.add_argument("--log", type=Path, metavar="FILE", help="write down all that happens, and print its SHA-256")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run, print, and return the exit code."""
    options = parse(arguments)
    names = NAMES if options.calendars == "all" else tuple(options.calendars.split(","))
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    years = (options.first_year, options.last_year)
    began = time.perf_counter()
    figures: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    digest = hashlib.sha256()
    failed = False
    log = None if options.log is None else options.log.open("w", encoding="utf-8")
    try:
        for outcome in outcomes([Task(name, seeds, *years, log is not None) for name in names], options.jobs):
            figures.update(outcome.figures)
            figures["calendars"] += 1
            faults.update(outcome.faults)
            print(
                f"{time.perf_counter() - began:7.0f} s  {outcome.calendar:12}{figures['rolls']:>11,} rolls "
                f"{faults.total():>11,} faults so far",
                file=sys.stderr,
                flush=True,
            )
            if log is not None:
                log.write(outcome.log)
                digest.update(outcome.log.encode())
            if outcome.finding:
                failed = True
                again = ["python", "-m", "tests.labs.simulation", "--calendars", outcome.calendar]
                again += [
                    "--seeds",
                    "1",
                    "--first-seed",
                    str(outcome.seed),
                    "--from",
                    str(years[0]),
                    "--to",
                    str(years[1]),
                ]
                print(f"FAILED: calendar {outcome.calendar}, seed {outcome.seed}\n{outcome.finding}")
                print(f"again: {shlex.join(again)}\n", flush=True)
    except KeyboardInterrupt:
        print("interrupted: the figures are those of the calendars that were finished")
    report(figures, faults, options, time.perf_counter() - began)
    if log is not None:
        log.close()
        print(f"SHA-256 of the log: {digest.hexdigest()}")
    return 1 if failed or figures["skipped silently"] or figures["repeated"] else 0


def report(figures: Counter[str], faults: Counter[str], options: argparse.Namespace, seconds: float) -> None:
    """Print the figures."""
    rows: list[tuple[str, Any]] = [
        ("calendars", figures["calendars"]),
        ("sessions of these calendars", figures["sessions known"]),
        ("lives", figures["lives"]),
        ("sessions lived through", figures["sessions"]),
        ("rolls completed", figures["rolls"]),
        ("attempts at rolls", figures["attempts"]),
        ("of these resumed", figures["resumed"]),
        ("looks", figures["looks"]),
        ("processes started", figures["starts"]),
        ("crashes", figures["crashes"]),
        ("recovered by retry", figures["recovered by retry"]),
        ("recovered by mark-done", figures["recovered by mark-done"]),
        ("recovered by skip", figures["recovered by skip"]),
        ("sessions skipped silently", figures["skipped silently"]),
        ("rolls announced and repeated", figures["repeated"]),
        ("faults injected", sum(faults.values())),
    ]
    rows += [(f"  {fault}", number) for fault, number in sorted(faults.items())]
    for what, number in rows:
        print(f"{what:48}{number:>12,}")
    print(
        f"{seconds:.1f} s on {options.jobs} core(s); of processor time {figures['loading_ms'] / 1000:.1f} s loading "
        f"calendars and {figures['living_ms'] / 1000:.1f} s living",
        flush=True,
    )


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell has its background jobs ignore SIGINT
        signal.signal(number, signal.default_int_handler)
    sys.exit(main())
