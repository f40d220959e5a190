#!/usr/bin/env bash
# oandapyV20 0.7.2: InstrumentsCandlesFactory() takes the granularity "M", a month, for a minute.
#
# The factory cuts a range into requests of 500 candles by the length of a candle. Granularities are a letter and a
# number, and where the number is missing it is 1: right for D and W, but "M" becomes M1, sixty seconds. The library's
# own definitions say of it "1 month candlesticks, aligned to first day of the month". Every request is valid: it asks
# for monthly candles, within 500 minutes.
#
# Why it matters: ten years of monthly candles, 120 rows, are one request. The factory yields 10,518 of them, each for a
# third of a day: a download of many minutes instead of a moment, counted against what the broker lets an account ask,
# and again at each start of what draws the chart. None of it raises.
#
# Output seen:
#   M: 1 month candlesticks, aligned to first day of the month
#   a candle of M lasts 60 s, of M1 60 s, of D 86400 s, of W 604800 s
#   2016 to 2025 in D: 8 requests, the first from 2016-01-01T00:00:00Z to 2017-05-15T00:00:00Z
#   2016 to 2025 in W: 2 requests, the first from 2016-01-01T00:00:00Z to 2025-08-01T00:00:00Z
#   2016 to 2025 in M: 10518 requests, the first from 2016-01-01T00:00:00Z to 2016-01-01T08:20:00Z
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  oandapyV20==0.7.2 requests==2.34.2 six==1.17.0 || exit 2

"$work/venv/bin/python" -W ignore - <<'PY'
import sys

from oandapyV20.contrib.factories import InstrumentsCandlesFactory
from oandapyV20.contrib.generic import granularity_to_time
from oandapyV20.definitions.instruments import CandlestickGranularity

meaning = CandlestickGranularity().definitions["M"]
lengths = {name: granularity_to_time(name) for name in ("M", "M1", "D", "W")}
print("M:", meaning)
print("a candle of", ", of ".join(f"{name} {'lasts ' * (name == 'M')}{length} s" for name, length in lengths.items()))

counts = {}
for name in ("D", "W", "M"):
    params = {"granularity": name, "from": "2016-01-01T00:00:00Z", "to": "2025-12-31T00:00:00Z"}
    requests = [request.params for request in InstrumentsCandlesFactory("EUR_USD", params)]
    counts[name] = len(requests)
    first = requests[0]
    print(f"2016 to 2025 in {name}: {counts[name]} requests, the first from {first['from']} to {first['to']}")

if lengths["M"] != 60 or counts != {"D": 8, "W": 2, "M": 10518} or not meaning.startswith("1 month"):
    sys.exit("the behaviour changed")
PY
