"""Break the package on purpose, and see that the tests notice: `python -m tests.labs.mutants`.

Each mutant is one small change that breaks one promise. It is made in a copy of the project, where the few tests that
hold the promise are run: the first that fails has killed the mutant. One that survives is a gap in the tests.
"""

import argparse
import sys
import time

from tests.labs.mutants.catalogue import MUTANTS
from tests.labs.mutants.trials import Unusable, trials


def main() -> int:
    """Try the mutants that are asked for; return 1 where one survives."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="only mutants whose file, function, operator has it")
    parser.add_argument("--list", action="store_true", help="print only which there are, and what they break")
    parser.add_argument("--jobs", type=int, default=1, help="how many to try at once (default: 1)")
    options = parser.parse_args()
    mutants = [each for each in MUTANTS if options.only is None or any(text in str(each) for text in options.only)]
    if not mutants:
        parser.error(f"no mutant has {' or '.join(options.only)}")
    if options.list:
        for mutant in mutants:
            print(f"{mutant}\n    {mutant.breaks}")
        return 0
    begun = time.perf_counter()
    outcomes = []
    try:
        for outcome in trials(mutants, options.jobs):
            print(outcome, flush=True)
            outcomes.append(outcome)
    except Unusable as error:
        print(error)
        return 1
    killed = sum(outcome.killed for outcome in outcomes)
    print(f"{killed} of {len(mutants)} mutants killed in {time.perf_counter() - begun:.0f} s")
    return 0 if killed == len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main())
