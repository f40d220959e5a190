#!/usr/bin/env bash
# aiocron 2.1: once a machine has slept or its clock was set, every job is late by that much, until the process ends.
#
# A job reads the wall clock and the clock of the event loop once, as it starts, and from then on counts all its runs on
# the loop's, which is monotonic. On Linux that one stands still while the machine is suspended, and takes no part when
# NTP sets the time. The difference is never looked at again: not the next run only is off, but each one after it.
# APScheduler, beside it, is late once and then on time. "Run function at time", says the README.
#
# Why it matters: a virtual machine that was paused for two minutes, or a notebook that slept over lunch, sends its
# orders for the closing auction after the close, that day and every day, while each log line looks as it always did.
# A process that starts at boot, before the time is set, is off from its first run.
#
# Here the wall clock moves on by one second, and the monotonic one does not, as after a suspension of one second.
#
# Output seen:
#   jobs for each even second; the second of each run, modulo 2, before and after the clock moves on by 1
#   aiocron:     0 0 | 1 1 1 1
#   APScheduler: 0 0 | 1 0 0 0
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  aiocron==2.1 cronsim==2.8 APScheduler==3.11.3 time-machine==3.6.0 || exit 2

"$work/venv/bin/python" - <<'PY'
import asyncio
import sys
import time
from datetime import datetime, timedelta, timezone

import aiocron
import time_machine
from apscheduler.schedulers.asyncio import AsyncIOScheduler

runs = {"aiocron": [], "APScheduler": []}


def run(name):
    """Note the second of the wall clock, modulo 2."""
    runs[name].append(int(time.time()) % 2)


async def main():
    """Both schedulers, in one process; the clock moves halfway between two runs."""
    await asyncio.sleep(1.3 - time.time() % 1)
    aiocron.crontab("*/2 * * * * *", func=run, args=("aiocron",), tz=timezone.utc)
    scheduler = AsyncIOScheduler(timezone=timezone.utc)
    scheduler.add_job(run, "cron", second="*/2", args=("APScheduler",), misfire_grace_time=None)
    scheduler.start()
    while min(map(len, runs.values())) < 2:
        await asyncio.sleep(0.1)
    with time_machine.travel(datetime.now(timezone.utc) + timedelta(seconds=1)):
        time.time()  # the time travel begins with the first look at the clock
        while min(map(len, runs.values())) < 6:
            await asyncio.sleep(0.1)
    scheduler.shutdown()


asyncio.run(asyncio.wait_for(main(), 60))
print("jobs for each even second; the second of each run, modulo 2, before and after the clock moves on by 1")
for name, seconds in runs.items():
    print(f"{name + ':':12} {' '.join(map(str, seconds[:2]))} | {' '.join(map(str, seconds[2:6]))}")
if [each[:6] for each in runs.values()] != [[0, 0, 1, 1, 1, 1], [0, 0, 1, 0, 0, 0]]:
    sys.exit("the behaviour changed")
PY
