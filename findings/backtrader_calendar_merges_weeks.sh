#!/usr/bin/env bash
# backtrader 1.9.78.123: with a trading calendar, a week that has no bar on its last day is merged with the next one.
#
# Given a TradingCalendar, a weekly resample closes its bar where today is the last trading day of the week, and no
# longer looks whether the week has changed, as it does without one. A stock that is halted on that day has no bar that
# could close the week: the next week is added to it, and the bar of two weeks comes a week late, without a warning. The
# holidays do the same if they are given as the class documents them ("datetime.datetime instances"): they are compared
# with dates, none is ever equal, and the Friday is waited for in vain. Given as dates they are right.
#
# Why it matters: the documentation offers the calendar so that the weekly bar comes with its last session. A system
# that trades on weekly closes then misses each week that ends with a holiday (at NYSE four Fridays of 2026), and its
# weekly highs, lows, volumes and averages cover nine sessions.
#
# Output seen (sessions in the weekly bars from 2026-03-02 to 2026-04-24, Good Friday on 2026-04-03):
#   no calendar:                      5 5 5 5 4 5 5 5
#   holidays as dates:                5 5 5 5 4 5 5 5
#   holidays as datetimes:            5 5 5 5 9 5 5
#   no calendar, halted on 03-13:     5 4 5 5 4 5 5 5
#   holidays as dates, halted 03-13:  5 9 5 4 5 5 5
#   the bar of 9: delivered after 2026-03-20, low 6 (the low of the week of 03-16 is 11)
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  backtrader==1.9.78.123 pandas==3.1.1 || exit 2

"$work/venv/bin/python" - <<'PY'
import sys
from datetime import date, datetime, time

import backtrader as bt
import pandas as pd

HOLIDAYS = [date(2026, 1, 1), date(2026, 1, 19), date(2026, 2, 16), date(2026, 4, 3), date(2026, 5, 25)]


class Weeks(bt.Strategy):
    def __init__(self):
        self.bars = []

    def next(self):
        week = self.data1
        if len(week) > len(self.bars):
            self.bars.append((int(week.volume[0]), str(self.data0.datetime.date(0)), int(week.low[0])))


def weeks(holidays=None, halted=None):
    days = [day for day in pd.bdate_range("2026-03-02", "2026-04-24") if day.date() not in HOLIDAYS]
    closes = pd.Series(range(1, len(days) + 1), index=days, dtype=float)
    closes = closes.drop(halted or [])
    frame = pd.DataFrame({"open": closes, "high": closes, "low": closes, "close": closes, "volume": 1.0})
    cerebro = bt.Cerebro(stdstats=False)
    if holidays is not None:
        cerebro.addcalendar(bt.TradingCalendar(holidays=holidays))
    data = bt.feeds.PandasData(dataname=frame)
    cerebro.adddata(data)
    cerebro.resampledata(data, timeframe=bt.TimeFrame.Weeks)
    cerebro.addstrategy(Weeks)
    return cerebro.run()[0].bars


documented = [datetime.combine(day, time()) for day in HOLIDAYS]
friday = [pd.Timestamp("2026-03-13")]
seen = {
    "no calendar": weeks(),
    "holidays as dates": weeks(HOLIDAYS),
    "holidays as datetimes": weeks(documented),
    "no calendar, halted on 03-13": weeks(halted=friday),
    "holidays as dates, halted 03-13": weeks(HOLIDAYS, friday),
}
sessions = {name: " ".join(str(count) for count, _, _ in bars) for name, bars in seen.items()}
for name, counts in sessions.items():
    print(f"{name + ':':33} {counts}")
count, after, low = seen["holidays as dates, halted 03-13"][1]
print(f"the bar of {count}: delivered after {after}, low {low} (the low of the week of 03-16 is 11)")

whole, halt = "5 5 5 5 4 5 5 5", "5 4 5 5 4 5 5 5"
expected = [whole, whole, "5 5 5 5 9 5 5", halt, "5 9 5 4 5 5 5"]
if list(sessions.values()) != expected or (after, low) != ("2026-03-20", 6):
    sys.exit("the behaviour changed")
PY
