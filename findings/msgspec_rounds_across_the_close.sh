#!/usr/bin/env bash
# msgspec 0.22.0 rounds fractions beyond the microsecond up; the standard library and pydantic 2.14.4 cut them off.
#
# Venues stamp with nanoseconds and .NET gateways write seven digits, while a Python datetime holds microseconds. Read
# as a datetime, "15:59:59.9999999" becomes 16:00:00 in msgspec and 15:59:59.999999 in the others; at the end of the
# day the two answers have different dates. A time field rounds too, so the last instant of the day reads as 00:00.
# Neither library warns.
#
# Why it matters: the last prints of a session are the dense ones. A process that decodes with msgspec puts such a
# print after the close (or on the next trading date), one that decodes with pydantic puts it in the session, and two
# journals of one feed do not reconcile. "at < close" and the roll of the date are what breaks.
#
# Output seen:
#   2026-11-27T15:59:59.9999999-05:00: msgspec 2026-11-27T16:00:00-05:00, pydantic 2026-11-27T15:59:59.999999-05:00
#   2026-11-27T23:59:59.9999995Z: msgspec 2026-11-28T00:00:00+00:00, pydantic 2026-11-27T23:59:59.999999+00:00
#   time 23:59:59.9999999: msgspec 00:00:00, pydantic 23:59:59.999999
#   standard library agrees with pydantic: True
#   print before the close: msgspec False, pydantic True
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check msgspec==0.22.0 pydantic==2.14.4 || exit 2

"$work/venv/bin/python" - <<'PY'
import json
import sys
from datetime import datetime, time

import msgspec
from pydantic import TypeAdapter

adapter = TypeAdapter(datetime)
texts = ("2026-11-27T15:59:59.9999999-05:00", "2026-11-27T23:59:59.9999995Z")
pairs, agree = [], True
for text in texts:
    rounded = msgspec.json.decode(json.dumps(text), type=datetime)
    cut = adapter.validate_json(json.dumps(text))
    agree = agree and datetime.fromisoformat(text) == cut
    pairs.append((rounded, cut))
    print(f"{text}: msgspec {rounded.isoformat()}, pydantic {cut.isoformat()}")
close = datetime.fromisoformat("2026-11-27T16:00:00-05:00")
inside = tuple(at < close for at in pairs[0])
last = '"23:59:59.9999999"'
times = (str(msgspec.json.decode(last, type=time)), str(TypeAdapter(time).validate_json(last)))
print(f"time 23:59:59.9999999: msgspec {times[0]}, pydantic {times[1]}")
print("standard library agrees with pydantic:", agree)
print(f"print before the close: msgspec {inside[0]}, pydantic {inside[1]}")

dates = tuple(at.date().isoformat() for at in pairs[1])
rounds = inside == (False, True) and dates == ("2026-11-28", "2026-11-27") and times == ("00:00:00", "23:59:59.999999")
if not rounds or not agree:
    sys.exit("the behaviour changed")
PY
