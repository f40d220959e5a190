"""Let replicas fail by chance: `python -m tests.labs.replicas --rolls 1000`; `--unfenced` is the control.

`--faults 300` and `--seconds 900` are the defaults.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.helpers.postgres import running_server
from tests.labs.replicas.lab import Audit, Lab


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rolls", type=int, default=1000, help="at least so many (default: 1000)")
    parser.add_argument("--faults", type=int, default=300, help="at least so many (default: 300)")
    parser.add_argument("--seconds", type=float, default=900, help="at most so long (default: 900)")
    parser.add_argument("--ttl", type=float, default=0.5, help="of the lease, in seconds (default: 0.5)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the replicas' logs there")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--managers", action="store_true", help="replicas are managers, not simple loops")
    parser.add_argument("--unfenced", action="store_true", help="the control, without terms: it must double")
    options = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, running_server() as server:
        lab = Lab(
            server,
            options.keep or Path(folder),
            options.seed,
            fenced=not options.unfenced,
            ttl=options.ttl,
            managers=options.managers,
        )
        audit = lab.run(options.rolls, options.faults, options.seconds)
    print(closing(audit, time.perf_counter() - began))
    if options.unfenced:
        return 0 if audit.doubled else 1
    for complaint in audit.complaints:
        print(complaint)
    return 1 if audit.complaints else 0


def closing(audit: Audit, seconds: float) -> str:
    rows = {
        "rolls": audit.rolls,
        "faults": f"{audit.faults.total()}: {', '.join(f'{count} {name}' for name, count in audit.faults.items())}",
        "terms": audit.terms,
        "lost": len(audit.lost),
        "booked twice": len(audit.doubled),
        "announced twice": len(audit.announced_twice),
        "other findings": len(audit.others),
        "seconds": f"{seconds:.1f}",
    }
    return "\n".join(f"{name:<24}{value}" for name, value in rows.items())


if __name__ == "__main__":
    sys.exit(main())
