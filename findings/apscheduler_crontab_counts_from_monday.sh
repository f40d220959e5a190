#!/usr/bin/env bash
# APScheduler 3.11.3: from_crontab("0 17 * * 1-5") fires from Tuesday to Saturday.
#
# from_crontab() takes a line in the form of a crontab, but counts the days of the week from Monday = 0, where a
# crontab (and croniter 7.0.0) counts from Sunday = 0. The line for weekdays moves by one day, and the usual line for
# the evenings of a futures week (Sunday to Thursday, 0-4) becomes Monday to Friday. A second difference is as silent:
# with a day of the month and a weekday both given, a crontab fires on either, and APScheduler only where both hold.
# Names (mon-fri) mean the same in both.
#
# Why it matters: a job that opens or flattens a session runs on a dead Saturday and skips Monday, and the line reads
# as correct in review, since it is correct everywhere else.
#
# Output seen:
#   1-5: croniter Mon Tue Wed Thu Fri, APScheduler Tue Wed Thu Fri Sat
#   0-4: croniter Sun Mon Tue Wed Thu, APScheduler Mon Tue Wed Thu Fri
#   mon-fri: croniter Mon Tue Wed Thu Fri, APScheduler Mon Tue Wed Thu Fri
#   "0 17 1 * mon" in June 2026: croniter 1 8 15 22 29, APScheduler 1
#   "0 17 1 * mon" in July 2026: croniter 1 6 13 20 27, APScheduler none
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  APScheduler==3.11.3 croniter==7.0.0 tzdata==2026.6 || exit 2

"$work/venv/bin/python" - <<'PY'
import sys
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger
from croniter import croniter

ZONE = ZoneInfo("America/Chicago")


def by_croniter(line, start, end):
    fires, times = [], croniter(line, start)
    while (at := times.get_next(datetime)) < end:
        fires.append(at)
    return fires


def by_apscheduler(line, start, end):
    fires, trigger, at = [], CronTrigger.from_crontab(line, timezone=ZONE), start
    while (at := trigger.get_next_fire_time(None, at)) is not None and at < end:
        fires.append(at)
        at += timedelta(minutes=1)
    return fires


seen = {}
sunday = datetime(2026, 7, 12, tzinfo=ZONE)
for days in ("1-5", "0-4", "mon-fri"):
    weeks = [read(f"0 17 * * {days}", sunday, sunday + timedelta(days=7)) for read in (by_croniter, by_apscheduler)]
    seen[days] = [" ".join(f"{at:%a}" for at in week) for week in weeks]
    print(f"{days}: croniter {seen[days][0]}, APScheduler {seen[days][1]}")
for month, name in ((6, "June"), (7, "July")):
    first, last = datetime(2026, month, 1, tzinfo=ZONE), datetime(2026, month + 1, 1, tzinfo=ZONE)
    fires = [read("0 17 1 * mon", first, last) for read in (by_croniter, by_apscheduler)]
    seen[name] = [" ".join(str(at.day) for at in each) or "none" for each in fires]
    print(f'"0 17 1 * mon" in {name} 2026: croniter {seen[name][0]}, APScheduler {seen[name][1]}')

numbered = (seen["1-5"][1], seen["0-4"][1])
if numbered != ("Tue Wed Thu Fri Sat", "Mon Tue Wed Thu Fri") or (seen["June"][1], seen["July"][1]) != ("1", "none"):
    sys.exit("the behaviour changed")
PY
