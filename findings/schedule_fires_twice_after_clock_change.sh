#!/usr/bin/env bash
# schedule 1.2.2: a daily job at 02:30 New York time runs twice on the day after the clocks go forward.
#
# On Sunday, 8 March 2026, New York has no 02:30. The library runs the job at 03:30 that day, which is defensible. The
# next run that it plans is an hour early: on Monday the job runs at 01:30 and again at 02:30. From Tuesday on the times
# are right. The zone of the machine plays no part.
#
# Why it matters: jobs at that hour are the ones that roll the trading date, load instruments or reset limits before
# the week begins. The first run on Monday is an hour early and the second one repeats work that was meant to happen
# once; a test of the night of the change alone does not find it.
#
# Output seen:
#   Sat 2026-03-07 02:30
#   Sun 2026-03-08 03:30
#   Mon 2026-03-09 01:30
#   Mon 2026-03-09 02:30
#   Tue 2026-03-10 02:30
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  schedule==1.2.2 pytz==2026.6 time-machine==3.6.0 tzdata==2026.6 || exit 2

"$work/venv/bin/python" - <<'PY'
import sys
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import schedule
import time_machine

runs = []
start = datetime(2026, 3, 6, 12, tzinfo=timezone.utc)
with time_machine.travel(start, tick=False) as clock:
    scheduler = schedule.Scheduler()
    scheduler.every().day.at("02:30", "America/New_York").do(lambda: runs.append(datetime.now(timezone.utc)))
    for minute in range(0, 4 * 24 * 60, 5):
        clock.move_to(start + timedelta(minutes=minute))
        scheduler.run_pending()

seen = [f"{at.astimezone(ZoneInfo('America/New_York')):%a %Y-%m-%d %H:%M}" for at in runs]
print(*seen, sep="\n")

expected = [
    "Sat 2026-03-07 02:30",
    "Sun 2026-03-08 03:30",
    "Mon 2026-03-09 01:30",
    "Mon 2026-03-09 02:30",
    "Tue 2026-03-10 02:30",
]
if seen != expected:
    sys.exit("the behaviour changed")
PY
