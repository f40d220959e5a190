#!/usr/bin/env bash
# backtesting 0.6.6: a market that trades from Sunday to Thursday is annualised as if it traded on 365 days a year.
#
# To tell crypto from stocks, the statistics look how many bars fall on Saturday or Sunday: above 17.1 % a year has 365
# trading days, otherwise 252. One day of a five-day week is 20 %, so that Riyadh ("Sunday through Thursday", says
# https://www.saudiexchange.sa under Trading Times) counts as a market that never closes. Six daily bars a week, as the
# forex feeds of some brokers have them (Sunday to Friday), are 16.7 %, and their 313 days become 252. No setting
# changes the number. "CAGR [%]" of the same table goes by the calendar, and is right in each case.
#
# Why it matters: the same prices and the same trades have half as much return again in Riyadh as in New York, and a
# Sharpe ratio that is higher by a sixth. Strategies are ranked by these numbers, and optimize() searches by them.
#
# Output seen (520 daily bars, bought once and held, +28.77 % in all):
#   Monday to Friday:   Return (Ann.) 13.06 %, CAGR 13.59 %, Volatility (Ann.) 10.68 %, Sharpe 1.22
#   Sunday to Thursday: Return (Ann.) 19.46 %, CAGR 13.55 %, Volatility (Ann.) 13.60 %, Sharpe 1.43
#   Sunday to Friday:   Return (Ann.) 13.06 %, CAGR 16.49 %, Volatility (Ann.) 10.68 %, Sharpe 1.22
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  backtesting==0.6.6 bokeh==3.9.2 pandas==3.1.1 numpy==2.4.6 || exit 2

"$work/venv/bin/python" - <<'PY'
import sys

import numpy as np
import pandas as pd
from backtesting import Backtest, Strategy

BARS = 520
NAMES = ("Return (Ann.) [%]", "CAGR [%]", "Volatility (Ann.) [%]", "Sharpe Ratio", "Return [%]")
WEEKS = {
    "Monday to Friday": "Mon Tue Wed Thu Fri",
    "Sunday to Thursday": "Sun Mon Tue Wed Thu",
    "Sunday to Friday": "Sun Mon Tue Wed Thu Fri",
}


class Hold(Strategy):
    def init(self):
        pass

    def next(self):
        if not self.position:
            self.buy(size=0.99)


def run(weekmask):
    days = pd.bdate_range("2024-01-01", periods=BARS, freq="C", weekmask=weekmask)
    close = 100 * np.cumprod(np.where(np.arange(BARS) % 2, 1.0065, 0.9945))
    frame = pd.DataFrame({"Open": close, "High": close, "Low": close, "Close": close}, index=days)
    stats = Backtest(frame, Hold, cash=1_000_000, finalize_trades=True).run()
    return [f"{stats[name]:.2f}" for name in NAMES]


seen = {name: run(weekmask) for name, weekmask in WEEKS.items()}
for name, (annual, growth, volatility, sharpe, _) in seen.items():
    print(
        f"{name + ':':19} Return (Ann.) {annual} %, CAGR {growth} %, Volatility (Ann.) {volatility} %, Sharpe {sharpe}"
    )

expected = [
    ["13.06", "13.59", "10.68", "1.22", "28.77"],
    ["19.46", "13.55", "13.60", "1.43", "28.77"],
    ["13.06", "16.49", "10.68", "1.22", "28.77"],
]
if list(seen.values()) != expected:
    sys.exit("the behaviour changed")
PY
