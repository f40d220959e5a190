#!/usr/bin/env bash
# ib_async 2.1.0: the time format by which Interactive Brokers means UTC is parsed to a datetime without a zone.
#
# Since TWS 10.17 a time may be written in two ways: with a space and the name of a zone, or as yyyymmdd-hh:mm:ss, where
# the dash says that it is UTC (https://interactivebrokers.github.io/tws-api/orders.html, "Changes in the date/time
# field"). parseIBDatetime() reads the first as an aware datetime and removes the dash of the second: what comes out is
# naive, which the rest of Python takes for local time.
#
# Why it matters: the same execution has another instant by the format that TWS is set to, and by the machine's zone.
# On a desk in Chicago 14:30 UTC, the open of New York, becomes 14:30 in Chicago, half an hour before the close. And
# times of both formats cannot be compared or sorted: that raises TypeError, for the first day on which both occur.
#
# Output seen:
#   20261127 09:30:00 US/Eastern  2026-11-27T09:30:00-05:00  is 2026-11-27 14:30 UTC
#   20261127-14:30:00             2026-11-27T14:30:00        is 2026-11-27 20:30 UTC on a machine in Chicago
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check ib_async==2.1.0 tzdata==2025.3 || exit 2

TZ=America/Chicago "$work/venv/bin/python" - <<'PY'
import sys
from datetime import datetime, timezone

from ib_async.util import parseIBDatetime

with_zone = parseIBDatetime("20261127 09:30:00 US/Eastern")
in_utc = parseIBDatetime("20261127-14:30:00")
utc = [datetime.fromtimestamp(each.timestamp(), timezone.utc) for each in (with_zone, in_utc)]
print(f"20261127 09:30:00 US/Eastern  {with_zone.isoformat()}  is {utc[0]:%Y-%m-%d %H:%M} UTC")
print(f"20261127-14:30:00             {in_utc.isoformat()}        is {utc[1]:%Y-%m-%d %H:%M} UTC on a machine in Chicago")

if in_utc.tzinfo is not None or f"{utc[0]:%H:%M} {utc[1]:%H:%M}" != "14:30 20:30":
    sys.exit("the behaviour changed")
PY
