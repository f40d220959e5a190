#!/usr/bin/env bash
# kiteconnect 5.2.2: last_trade_time is Indian time in a quote, and the machine's time in a tick, both without a zone.
#
# The broker sends a quote's times as text of the clock in India, and a tick's as seconds since 1970. The library parses
# the text as it stands; the seconds go through datetime.fromtimestamp(), which takes the zone of the machine. The
# fields have one name and one type, and agree only where the machine is set to India. (Candles, the third source, come
# as aware datetimes.) The samples of both in the documentation are naive, with no word on a zone.
#
# Why it matters: on a server in UTC, as most are, each tick looks five and a half hours older than the quote of the
# same trade: a check for stale prices fires all day, or is widened until it means nothing, and candles made of ticks do
# not meet those of history. In New York the first ticks of a session have the date of the day before.
#
# Output seen (a trade of 2026-11-27 09:15:02 in India):
#   TZ=Asia/Kolkata      quote 2026-11-27 09:15:02, tick 2026-11-27 09:15:02, tick is older by 0:00:00
#   TZ=UTC               quote 2026-11-27 09:15:02, tick 2026-11-27 03:45:02, tick is older by 5:30:00
#   TZ=America/New_York  quote 2026-11-27 09:15:02, tick 2026-11-26 22:45:02, tick is older by 10:30:00
#   a candle of that minute: 2026-11-27 09:15:00+05:30
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  kiteconnect==5.2.2 python-dateutil==2.9.0.post0 tzdata==2026.6 || exit 2

"$work/venv/bin/python" -W ignore - <<'PY'
import os
import struct
import sys
import time
from datetime import datetime, timedelta, timezone

from kiteconnect import KiteConnect, KiteTicker

INDIA = timezone(timedelta(hours=5, minutes=30))
TOKEN = 408065  # of an instrument at NSE
traded = datetime(2026, 11, 27, 9, 15, 2, tzinfo=INDIA)


class Offline(KiteConnect):
    """The client, with answers in the form of https://kite.trade/docs/connect/v3/market-quotes/ and /historical/."""

    def _get(self, route, url_args=None, params=None, is_json=False):
        if route == "market.historical":
            return {"candles": [["2026-11-27T09:15:00+0530", 1540.0, 1541.0, 1539.0, 1540.5, 1200]]}
        row = {"instrument_token": TOKEN, "last_price": 1540.5, "last_trade_time": f"{traded:%Y-%m-%d %H:%M:%S}"}
        return {"NSE:INFY": row}


# A packet of the mode "full": 184 bytes, the time of the last trade at 44, that of the exchange at 60.
packet = bytearray(184)
struct.pack_into(">I", packet, 0, TOKEN)
struct.pack_into(">I", packet, 44, int(traded.timestamp()))
struct.pack_into(">I", packet, 60, int(traded.timestamp()))
message = struct.pack(">HH", 1, len(packet)) + bytes(packet)

kite, ticker = Offline("key"), KiteTicker("key", "token")
seen = []
for zone in ("Asia/Kolkata", "UTC", "America/New_York"):
    os.environ["TZ"] = zone
    time.tzset()
    quote = kite.quote("NSE:INFY")["NSE:INFY"]["last_trade_time"]
    tick = ticker._parse_binary(message)[0]["last_trade_time"]
    seen.append((quote.tzinfo, tick.tzinfo, str(quote - tick)))
    print(f"{'TZ=' + zone:20} quote {quote}, tick {tick}, tick is older by {seen[-1][2]}")
candle = kite.historical_data(TOKEN, "2026-11-27", "2026-11-27", "minute")[0]["date"]
print("a candle of that minute:", candle)

if seen != [(None, None, behind) for behind in ("0:00:00", "5:30:00", "10:30:00")] or candle.tzinfo is None:
    sys.exit("the behaviour changed")
PY
