#!/usr/bin/env bash
# ccxt 4.5.90: parse8601() drops an offset without minutes ("-05") and reads the wall time as UTC.
#
# The function searches the text for a date, a time and an offset of hours and minutes. An offset that it does not
# recognise is not an error: the part before it matches, and the rest is ignored. So "-05:00" is applied, "-05" and
# " -05:00" are not, while a time without seconds ("09:30-05:00") gives None. The short form is what PostgreSQL prints
# for a timestamptz.
#
# Why it matters: timestamps that a journal in PostgreSQL hands to ccxt as text (the "since" of a request for candles or
# trades, the check of the age of a quote) are hours off, with no error, and only for zones with whole hours: India's
# "+05:30" is right.
#
# Output seen:
#   2026-11-27T09:30:00-05:00 -> 2026-11-27T14:30:00.000Z
#   2026-11-27 09:30:00-05    -> 2026-11-27T09:30:00.000Z
#   2026-11-27 09:30:00 -0500 -> 2026-11-27T09:30:00.000Z
#   2026-11-27 09:30:00+05:30 -> 2026-11-27T04:00:00.000Z
#   2026-11-27T09:30-05:00    -> None
#   datetime.fromisoformat for the second: 2026-11-27T14:30:00+00:00
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check ccxt==4.5.90 || exit 2

"$work/venv/bin/python" - <<'PY'
import sys
from datetime import datetime, timezone

from ccxt.base.exchange import Exchange

expected = {
    "2026-11-27T09:30:00-05:00": "2026-11-27T14:30:00.000Z",
    "2026-11-27 09:30:00-05": "2026-11-27T09:30:00.000Z",
    "2026-11-27 09:30:00 -0500": "2026-11-27T09:30:00.000Z",
    "2026-11-27 09:30:00+05:30": "2026-11-27T04:00:00.000Z",
    "2026-11-27T09:30-05:00": None,
}
seen = {}
for text in expected:
    at = Exchange.parse8601(text)
    seen[text] = None if at is None else Exchange.iso8601(at)
    print(f"{text:25} -> {seen[text]}")
other = datetime.fromisoformat("2026-11-27 09:30:00-05").astimezone(timezone.utc).isoformat()
print("datetime.fromisoformat for the second:", other)

if seen != expected or other != "2026-11-27T14:30:00+00:00":
    sys.exit("the behaviour changed")
PY
