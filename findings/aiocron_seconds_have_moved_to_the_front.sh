#!/usr/bin/env bash
# aiocron 2.1: with the seconds in the place that its README gives them, a job for 09:30 on weekdays runs on Sundays.
#
# The README says that "unlike standard unix crontab you can specify seconds at the 6th position", and refers to
# croniter for the format. Since version 2.0 cronsim reads the expression, and there the seconds are the first of six
# fields. All of them move by one: the minute is read as the second, the hour as the minute, the weekdays as months, and
# the seconds as the day of the week, where 0 is Sunday. The changes for 2.0 say "Use cronsim instead of croniter".
#
# Why it matters: the expression is still valid, so nothing is said at the start, and the job is not there at the open.
# Those that must not run in between do: on each hour of a Sunday, or each second, where every ten seconds was meant.
# Only where a field is out of range in its new place ("mon-fri" as a month) does it fail.
#
# Output seen:
#   30 9 * * * 0   croniter: Mon 11-30 09:30:00, Tue 12-01 09:30:00; aiocron: Sun 12-06 00:09:30, Sun 12-06 01:09:30
#   30 9 * * 1-5 0 croniter: Mon 11-30 09:30:00, Tue 12-01 09:30:00; aiocron: Sun 01-03 00:09:30, Sun 01-03 01:09:30
#   * * * * * */10 croniter: Mon 11-30 08:00:10, Mon 11-30 08:00:20; aiocron: Sun 12-06 00:00:00, Sun 12-06 00:00:01
#   30 9 * * 1-5   croniter: Mon 11-30 09:30:00, Tue 12-01 09:30:00; aiocron: Mon 11-30 09:30:00, Tue 12-01 09:30:00
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  aiocron==2.1 cronsim==2.8 croniter==7.0.0 time-machine==3.6.0 tzdata==2026.6 || exit 2

TZ=America/New_York "$work/venv/bin/python" - <<'PY'
import asyncio
import sys
from datetime import datetime
from zoneinfo import ZoneInfo

import aiocron
import time_machine
from croniter import croniter

NEW_YORK = ZoneInfo("America/New_York")
MONDAY = datetime(2026, 11, 30, 8, tzinfo=NEW_YORK)
OPENS = "Mon 11-30 09:30:00, Tue 12-01 09:30:00"
EXPECTED = {
    "30 9 * * * 0": (OPENS, "Sun 12-06 00:09:30, Sun 12-06 01:09:30"),
    "30 9 * * 1-5 0": (OPENS, "Sun 01-03 00:09:30, Sun 01-03 01:09:30"),
    "* * * * * */10": ("Mon 11-30 08:00:10, Mon 11-30 08:00:20", "Sun 12-06 00:00:00, Sun 12-06 00:00:01"),
    "30 9 * * 1-5": (OPENS, OPENS),
}


def told(times):
    """Two times, by the clock of New York."""
    return ", ".join(f"{at:%a %m-%d %H:%M:%S}" for at in times)


async def by_aiocron(expression):
    """When the next two runs would be, from the times for which the job is put on the event loop."""
    with time_machine.travel(MONDAY, tick=False):
        job = aiocron.crontab(expression, start=False, tz=NEW_YORK)
        job.initialize()
        seconds = [job.get_next() - job.loop_time for _ in range(2)]
    return told(datetime.fromtimestamp(MONDAY.timestamp() + round(each), NEW_YORK) for each in seconds)


seen = {}
for expression in EXPECTED:
    other = croniter(expression, MONDAY)
    seen[expression] = told(other.get_next(datetime) for _ in range(2)), asyncio.run(by_aiocron(expression))
    print(f"{expression:14} croniter: {seen[expression][0]}; aiocron: {seen[expression][1]}")
if seen != EXPECTED:
    sys.exit("the behaviour changed")
PY
