#!/usr/bin/env bash
# simplefix 1.0.17: append_utc_timestamp() writes the wall time of an aware datetime as if it were UTC.
#
# UTCTimestamp fields of FIX (SendingTime 52, TransactTime 60, ExpireTime 126) carry UTC and no offset. Given a float,
# simplefix converts it; given a datetime, it formats the fields and never reads tzinfo, so 16:00 in New York leaves
# as "16:00:00.000". append_utc_time_only() does the same. No error is raised, and the field is valid FIX.
#
# Why it matters: code that moved from utcnow() to aware datetimes, as Python asks it to, sends times that are four or
# five hours early. A counterparty that checks SendingTime rejects the message; an ExpireTime of a day order at the
# close expires the order before noon.
#
# Output seen:
#   instant: 2026-11-27T21:00:00+00:00
#   ExpireTime from the aware datetime: 20261127-16:00:00.000
#   ExpireTime from its Unix time:      20261127-21:00:00.000
#   UTCTimeOnly from the aware datetime: 16:00:00.000
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check simplefix==1.0.17 tzdata==2026.6 || exit 2

"$work/venv/bin/python" -W ignore::DeprecationWarning - <<'PY'
import sys
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import simplefix

close = datetime(2026, 11, 27, 16, 0, tzinfo=ZoneInfo("America/New_York"))
message = simplefix.FixMessage()
message.append_utc_timestamp(126, close)
message.append_utc_timestamp(126, close.timestamp())
message.append_utc_time_only(273, close)

aware, unix, time_only = message.get(126, 1).decode(), message.get(126, 2).decode(), message.get(273).decode()
print("instant:", close.astimezone(timezone.utc).isoformat())
print("ExpireTime from the aware datetime:", aware)
print("ExpireTime from its Unix time:     ", unix)
print("UTCTimeOnly from the aware datetime:", time_only)

if (aware, unix, time_only) != ("20261127-16:00:00.000", "20261127-21:00:00.000", "16:00:00.000"):
    sys.exit("the behaviour changed")
PY
