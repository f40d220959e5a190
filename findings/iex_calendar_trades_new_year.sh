#!/usr/bin/env bash
# pandas_market_calendars 5.5.0: the IEX calendar trades on New Year's Day and on Labor Day.
#
# The "IEX" calendar carries its own, shorter list of holidays and half-days instead of the one that it inherits
# from NYSE, although the class documents the two as the same. The list lacks New Year's Day, Labor Day and the
# closures that are ordered on short notice (9 January 2025), and it has neither the half-day of Christmas Eve nor the
# one of 3 July. schedule() returns a regular 09:30 to 16:00 row for each of these days, without a warning.
#
# Why it matters: IEX is a venue of the US equity market and closes with it. A session opened from this calendar sends
# orders into a closed market on two weekdays of most years, and on a half-day it runs three hours past the close.
#
# Output seen:
#   sessions of IEX that NYSE does not have, 2024 to 2026:
#     2024-01-01 2024-09-02 2025-01-01 2025-01-09 2025-09-01 2026-01-01 2026-09-07
#   close on 2026-12-24: NYSE 13:00, IEX 16:00
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  pandas_market_calendars==5.5.0 exchange_calendars==4.13.2 pandas==3.1.1 tzdata==2026.6 || exit 2

"$work/venv/bin/python" - <<'PY'
import sys

import pandas_market_calendars as market_calendars

START, END = "2024-01-01", "2026-12-31"
nyse = market_calendars.get_calendar("NYSE").schedule(START, END)
iex = market_calendars.get_calendar("IEX").schedule(START, END)

extra = [str(day.date()) for day in iex.index.difference(nyse.index)]
eve = [schedule.loc["2026-12-24", "market_close"] for schedule in (nyse, iex)]
closes = [close.tz_convert("America/New_York").strftime("%H:%M") for close in eve]
print("sessions of IEX that NYSE does not have, 2024 to 2026:")
print(" ", *extra)
print(f"close on 2026-12-24: NYSE {closes[0]}, IEX {closes[1]}")

expected = ["2024-01-01", "2024-09-02", "2025-01-01", "2025-01-09", "2025-09-01", "2026-01-01", "2026-09-07"]
if extra != expected or closes != ["13:00", "16:00"]:
    sys.exit("the behaviour changed")
PY
