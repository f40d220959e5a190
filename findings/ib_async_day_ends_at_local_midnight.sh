#!/usr/bin/env bash
# ib_async 2.1.0: a date given as the end of a request is the last second of that day in the machine's own zone.
#
# reqHistoricalData() and its kin take `endDateTime` as a date, a datetime or a string. formatIBDatetime() makes a date
# 23:59:59 of a naive datetime and converts that to UTC, which Python does by the zone of the machine. What goes to the
# broker is an instant in UTC, valid and complete: no error, no warning. One would expect the end of that day at the
# contract's exchange, or UTC's.
#
# Why it matters: the same backfill of Friday, 2026-11-27, for a New York stock asks for the whole session on a machine
# in New York or UTC; on one in Hong Kong or Tokyo it ends at 10:59:59 or 09:59:59 in New York, within the first ninety
# minutes of the session, and the bars that are missing look as if there had been no trade. Moving a job to another
# region changes what it stores.
#
# Output seen:
#   TZ=America/New_York  20261128 04:59:59 UTC  23:59:59 in New York
#   TZ=UTC               20261127 23:59:59 UTC  18:59:59 in New York
#   TZ=Asia/Hong_Kong    20261127 15:59:59 UTC  10:59:59 in New York
#   TZ=Asia/Tokyo        20261127 14:59:59 UTC  09:59:59 in New York
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check ib_async==2.1.0 tzdata==2025.3 || exit 2

"$work/venv/bin/python" - <<'PY'
import os
import sys
import time
from datetime import date, datetime, timezone
from zoneinfo import ZoneInfo

from ib_async.util import formatIBDatetime

seen = {}
for zone in ("America/New_York", "UTC", "Asia/Hong_Kong", "Asia/Tokyo"):
    os.environ["TZ"] = zone
    time.tzset()
    sent = formatIBDatetime(date(2026, 11, 27))
    instant = datetime.strptime(sent, "%Y%m%d %H:%M:%S UTC").replace(tzinfo=timezone.utc)
    seen[zone] = f"{instant.astimezone(ZoneInfo('America/New_York')):%H:%M:%S}"
    print(f"{'TZ=' + zone:20} {sent}  {seen[zone]} in New York")

if list(seen.values()) != ["23:59:59", "18:59:59", "10:59:59", "09:59:59"]:
    sys.exit("the behaviour changed")
PY
