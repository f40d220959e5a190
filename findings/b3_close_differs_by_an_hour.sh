#!/usr/bin/env bash
# exchange_calendars 4.13.2 and pandas_market_calendars 5.5.0 close B3 (Sao Paulo) an hour apart, and neither follows
# the exchange through the year.
#
# Brazil has had no summer time since 2019, and B3 moves its timetable with the clock of New York instead: the cash
# market closes at 17:00 local time from March to November and around 18:00 from November to March. exchange_calendars
# (BVMF) has 18:00 on every day, pandas_market_calendars (B3) has 17:00 on every day. The dates of the sessions agree.
#
# Why it matters: a close read from the first library is an hour late for eight months, so positions that should be
# flat at the close stay open overnight; one from the second library is an hour early for four months.
#
# Output seen:
#   sessions in 2026: 247 and 247, with equal dates: True
#   2026-01-15: exchange_calendars 18:00, pandas_market_calendars 17:00
#   2026-07-15: exchange_calendars 18:00, pandas_market_calendars 17:00
#   closing times of the year: ['18:00'] and ['17:00']
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  pandas_market_calendars==5.5.0 exchange_calendars==4.13.2 pandas==3.1.1 tzdata==2026.6 || exit 2

"$work/venv/bin/python" - <<'PY'
import sys

import exchange_calendars
import pandas_market_calendars as market_calendars

first = exchange_calendars.get_calendar("BVMF", start="2025-12-01", end="2026-12-31").schedule.loc["2026"]["close"]
second = market_calendars.get_calendar("B3").schedule("2026-01-01", "2026-12-31")["market_close"]
times = [closes.dt.tz_convert("America/Sao_Paulo").dt.strftime("%H:%M") for closes in (first, second)]
same = list(first.index.date) == list(second.index.date)

print(f"sessions in 2026: {len(first)} and {len(second)}, with equal dates: {same}")
for day in ("2026-01-15", "2026-07-15"):
    print(f"{day}: exchange_calendars {times[0][day]}, pandas_market_calendars {times[1][day]}")
distinct = [sorted(set(series)) for series in times]
print(f"closing times of the year: {distinct[0]} and {distinct[1]}")

if not same or distinct != [["18:00"], ["17:00"]]:
    sys.exit("the behaviour changed")
PY
