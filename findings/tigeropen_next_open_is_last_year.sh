#!/usr/bin/env bash
# tigeropen 3.8.0: on the evening of New Year's Eve, get_market_status() puts the next open of a market a year back.
#
# The broker sends the time of the next open without a year; "08-12 09:30:00 EDT" is the sample in the library's own
# tests. dateutil, which parses it, takes the missing year from the clock of the machine. So after the last close of a
# year, when "01-04 09:30:00 EST" arrives, the open is in the January that has passed. The value is complete and aware,
# and documented as "datetime object with tzinfo, indicating the next opening time". It is right again once the
# machine's own year has changed.
#
# Why it matters: what waits until the next open does not wait at all: a negative delay is due at once. A scheduler
# that asks after the close on 31 December opens the session of 4 January there and then, or arms its orders for it.
#
# Output seen:
#   2026-12-30 17:00 in New York: US opens 2026-12-31 09:30 EST, in 16.5 hours
#   2026-12-31 17:00 in New York: US opens 2026-01-04 09:30 EST, in -8671.5 hours
#   2026-12-31 17:00 in New York: HK opens 2026-01-04 09:30 HKT, in -8684.5 hours
#   2027-01-01 17:00 in New York: US opens 2027-01-04 09:30 EST, in 64.5 hours
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  tigeropen==3.8.0 python-dateutil==4.0.0 pandas==3.1.1 pytz==2026.6 time-machine==3.6.0 tzdata==2026.6 || exit 2

HOME="$work" TZ=America/New_York "$work/venv/bin/python" - <<'PY'
import sys
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import time_machine
from tigeropen.quote.response.market_status_response import MarketStatusResponse

NEW_YORK = ZoneInfo("America/New_York")


def status(market, opens):
    """The status of a market that is closed, in the form that the broker sends it."""
    row = {"market": market, "marketStatus": "Closed", "status": "CLOSED", "openTime": opens}
    response = MarketStatusResponse()
    response.parse_response_content({"code": 0, "message": "success", "data": [row]})
    return response.markets[0]


seen = []
for day, market, opens in (
    (datetime(2026, 12, 30, 17, tzinfo=NEW_YORK), "US", "12-31 09:30:00 EST"),
    (datetime(2026, 12, 31, 17, tzinfo=NEW_YORK), "US", "01-04 09:30:00 EST"),
    (datetime(2026, 12, 31, 17, tzinfo=NEW_YORK), "HK", "01-04 09:30:00"),
    (datetime(2027, 1, 1, 17, tzinfo=NEW_YORK), "US", "01-04 09:30:00 EST"),
):
    with time_machine.travel(day, tick=False):
        at = status(market, opens).open_time
        hours = (at - datetime.now(timezone.utc)).total_seconds() / 3600
    seen.append(f"{at:%Y-%m-%d}")
    print(f"{day:%Y-%m-%d %H:%M} in New York: {market} opens {at:%Y-%m-%d %H:%M %Z}, in {hours:.1f} hours")

if seen != ["2026-12-31", "2026-01-04", "2026-01-04", "2027-01-04"]:
    sys.exit("the behaviour changed")
PY
