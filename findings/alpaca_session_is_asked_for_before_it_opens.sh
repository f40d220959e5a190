#!/usr/bin/env bash
# alpaca-py 0.44.0: asking for the bars of a session by the calendar's own open and close asks for the hours before it.
#
# The calendar of Alpaca has the open and the close as "09:30" and "13:00", the clock of New York
# (https://alpaca.markets/deprecated/docs/api-documentation/api-v2/calendar/). get_calendar() makes datetimes of them
# that have no zone, and the documentation of the model names none. The requests of the same library take a datetime
# without a zone for UTC ("Timezone naive inputs assumed to be in UTC"). So start=day.open, end=day.close is a valid
# request for four or five hours earlier. get_clock() has the same open with its offset.
#
# Why it matters: on a half-day the whole answer lies before the open: thin trades, no error, and an opening price that
# is none. On a regular day in summer it has four hours too many at the start and lacks the last four, with
# the close. A job on a machine in UTC that waits until day.close flattens that much too early.
#
# Output seen:
#   calendar: open 2026-11-27 09:30:00, close 2026-11-27 13:00:00, zone None
#   clock:    next open 2026-11-27 09:30:00-05:00
#   the same open: False, the open is past: TypeError
#   bars asked for: 2026-11-27T09:30:00+00:00 to 2026-11-27T13:00:00+00:00
#   in New York:    04:30 to 08:00
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  alpaca-py==0.44.0 pandas==3.1.1 pydantic==2.14.4 tzdata==2026.6 || exit 2

"$work/venv/bin/python" -W ignore - <<'PY'
import sys
from datetime import datetime
from zoneinfo import ZoneInfo

from alpaca.data.requests import StockBarsRequest
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.client import TradingClient


class Offline(TradingClient):
    """The client, with the broker's answers for the day after Thanksgiving, which is a half-day."""

    def get(self, path, data=None, **kwargs):
        if path == "/calendar":
            return [{"date": "2026-11-27", "open": "09:30", "close": "13:00"}]
        opens, closes = "2026-11-27T09:30:00-05:00", "2026-11-27T13:00:00-05:00"
        now = "2026-11-27T08:00:00-05:00"
        return {"timestamp": now, "is_open": False, "next_open": opens, "next_close": closes}


client = Offline("key", "secret")
(day,) = client.get_calendar()
clock = client.get_clock()
try:
    past = str(day.open <= clock.timestamp)
except TypeError as error:
    past = type(error).__name__
bars = StockBarsRequest(symbol_or_symbols="SPY", timeframe=TimeFrame.Minute, start=day.open, end=day.close)
asked = [bars.to_request_fields()[name] for name in ("start", "end")]
local = [f"{datetime.fromisoformat(at).astimezone(ZoneInfo('America/New_York')):%H:%M}" for at in asked]

print(f"calendar: open {day.open}, close {day.close}, zone {day.open.tzinfo}")
print(f"clock:    next open {clock.next_open}")
print(f"the same open: {day.open == clock.next_open}, the open is past: {past}")
print(f"bars asked for: {asked[0]} to {asked[1]}")
print(f"in New York:    {local[0]} to {local[1]}")

if day.open.tzinfo is not None or day.open == clock.next_open or past != "TypeError" or local != ["04:30", "08:00"]:
    sys.exit("the behaviour changed")
PY
