"""Kill an application at random, thousands of times: `python -m tests.labs.crashlab --kills 5000`.

A finding names its story. `--story` tells that one again: kills at points and at calls come where they came before,
kills by the clock only about there.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tests.labs.crashlab.child import POINTS
from tests.labs.crashlab.lab import ROOT, Figures, every_point, many


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500, help="how many (default: 500)")
    parser.add_argument("--points", action="store_true", help="instead: four kills at each of the named points")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes to share the work (default: 1)")
    parser.add_argument(
        "--books", choices=("transaction", "elsewhere"), help="where the work is (default: both, drawn)"
    )
    parser.add_argument("--story", type=int, metavar="K", help="tell only the story of this number")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave every story's files there")
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    begun = time.perf_counter()
    if options.points:
        figures = every_point()
    elif options.jobs > 1:
        figures = share(options)
    else:
        figures = many(options.seed, options.kills, options.keep, options.story, options.books)
    if options.json:
        print(json.dumps(vars(figures)))
        return 0
    for failure in figures.failures:
        print(failure)
    print(closing(figures, time.perf_counter() - begun))
    if not figures.failures:
        return 0
    if not options.points:
        books = f" --books {options.books}" if options.books else ""
        print(f"story S/K again: python -m tests.labs.crashlab --seed S --story K --keep FOLDER{books}")
    return 1


def share(options: argparse.Namespace) -> Figures:
    """Have several processes work at once, each with a seed of its own."""
    parts = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.labs.crashlab", "--json"]
            + ["--seed", f"{options.seed + n}", "--kills", f"{options.kills // options.jobs + 1}"]
            + (["--keep", str(options.keep)] if options.keep else [])
            + (["--books", options.books] if options.books else []),
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for n in range(options.jobs)
    ]
    figures = Figures()
    for part in parts:
        value = json.loads(part.communicate()[0])
        figures.merge(Figures(**value | {"points": Counter(value["points"])}))
    return figures


def closing(figures: Figures, seconds: float) -> str:
    rows = {
        "kills": figures.kills,
        "at named points": f"{figures.points.total()}, {len(figures.points)} of {len(POINTS)} points",
        "restarts": figures.restarts,
        "rolls": figures.rolls,
        "resumed": figures.resumed,
        "doubled": figures.doubled,
        "skipped": figures.skipped,
        "announced and repeated": figures.repeated,
        "other findings": figures.others,
        "seconds": f"{seconds:.1f}",
    }
    return "\n".join(f"{name:<24}{value}" for name, value in rows.items())


if __name__ == "__main__":
    sys.exit(main())
