#!/usr/bin/env bash
# ccxt 4.5.90: build_ohlcvc() makes weekly candles that begin on Thursday, and monthly ones of thirty days since 1970.
#
# The candle of a trade is found by dividing its Unix time by the length of the timeframe. 1 January 1970 was a
# Thursday, so that is where a week begins; a month has 30 days, counted from the same day. round_timeframe() in the
# same release knows that weeks begin on Monday and months on the first: it divided as well, until that was reported as
# a bug (https://github.com/ccxt/ccxt/issues/30242). Days and shorter timeframes are right.
#
# Why it matters: the function makes candles of the trades as they arrive, to go on from those of fetch_ohlcv(). For
# "1w" each lies across two calendar weeks, and for "1M" November's trades go into two candles, one of which begins in
# October. The week's open, high and low by which a strategy trades are those of another week.
#
# Output seen (a trade every six hours in November 2026):
#   1d: build_ohlcvc 2026-11-01 2026-11-02 2026-11-03, round_timeframe 2026-11-01 2026-11-02 2026-11-03
#   1w: build_ohlcvc 2026-10-29 2026-11-05 2026-11-12, round_timeframe 2026-10-26 2026-11-02 2026-11-09
#   1M: build_ohlcvc 2026-10-04 2026-11-03, round_timeframe 2026-11-01
#   weekdays on which a week begins: build_ohlcvc Thu, round_timeframe Mon
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check ccxt==4.5.90 || exit 2

"$work/venv/bin/python" - <<'PY'
import sys
from datetime import datetime, timezone

import ccxt

exchange = ccxt.Exchange()
first, hour = exchange.parse8601("2026-11-01T00:00:00Z"), 3_600_000
trades = [{"timestamp": first + 6 * n * hour, "price": 100.0 + n, "amount": 1.0} for n in range(4 * 30)]


def days(instants):
    return [f"{datetime.fromtimestamp(at / 1000, timezone.utc):%Y-%m-%d %a}" for at in sorted(set(instants))]


built, rounded = {}, {}
for timeframe in ("1d", "1w", "1M"):
    built[timeframe] = days(candle[0] for candle in exchange.build_ohlcvc(trades, timeframe))
    rounded[timeframe] = days(exchange.round_timeframe(timeframe, trade["timestamp"]) for trade in trades)
    lines = [" ".join(day[:10] for day in each[timeframe][:3]) for each in (built, rounded)]
    print(f"{timeframe}: build_ohlcvc {lines[0]}, round_timeframe {lines[1]}")
weekdays = [" ".join(sorted({day[-3:] for day in each["1w"]})) for each in (built, rounded)]
print(f"weekdays on which a week begins: build_ohlcvc {weekdays[0]}, round_timeframe {weekdays[1]}")

months = [[day[:10] for day in each["1M"]] for each in (built, rounded)]
if (
    built["1d"] != rounded["1d"]
    or weekdays != ["Thu", "Mon"]
    or months != [["2026-10-04", "2026-11-03"], ["2026-11-01"]]
):
    sys.exit("the behaviour changed")
PY
