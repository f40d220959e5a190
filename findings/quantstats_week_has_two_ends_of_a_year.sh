#!/usr/bin/env bash
# quantstats 0.0.86: weekly figures add the last days of December to the first week of January of the same year.
#
# Weeks are grouped by the calendar's year and the ISO number of the week. From 29 to 31 December 2025 it is ISO week 1,
# of 2026; paired with the year 2025 they fall into the first week of 2025, a year earlier, and the week of New Year is
# cut in two. Three years of seven end so. Nothing is lost, so that totals agree. "W" is among the periods that the
# docstrings offer ("Aggregation period ('D', 'W', 'M', 'Q', 'Y')"); empyrical-reloaded 0.7.1 groups by the ISO year.
#
# Why it matters: best() and worst() report a week that never was, of returns twelve months apart, and win_rate(),
# avg_win() and avg_loss() by week count it. Limits ("no week worse than five percent") are set and checked by them.
#
# Output seen (daily returns of 2025, zero but for -3 % on 2 January and -3 % on 30 December):
#   quantstats: weeks 52, worst week -5.91 %
#   pandas, weeks that end on Friday: weeks 53, worst week -3.00 %
#   empyrical-reloaded: weeks 53, worst week -3.00 %
#   year and week of 2025-12-30: quantstats (2025, 1), empyrical-reloaded (2026, 1)
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  quantstats==0.0.86 empyrical-reloaded==0.7.1 pandas==3.1.1 numpy==2.4.6 scipy==1.17.1 || exit 2

MPLCONFIGDIR="$work" HOME="$work" "$work/venv/bin/python" -W ignore - <<'PY'
import sys

import empyrical
import pandas as pd
import quantstats as qs


def year_of(year):
    return pd.Series(0.0, index=pd.bdate_range(f"{year}-01-01", f"{year}-12-31"))


def total(returns):
    return (1 + returns).prod() - 1


returns = year_of(2025)
returns[["2025-01-02", "2025-12-30"]] = -0.03
weeks = {
    "quantstats": qs.utils.aggregate_returns(returns, "W"),
    "pandas, weeks that end on Friday": returns.resample("W-FRI").apply(total),
    "empyrical-reloaded": empyrical.aggregate_returns(returns, "weekly"),
}
seen = {name: f"weeks {len(each)}, worst week {100 * each.min():.2f} %" for name, each in weeks.items()}
for name, line in seen.items():
    print(f"{name}: {line}")


late = year_of(2025)
late["2025-12-30"] = 0.01
places = []
for aggregated in (qs.utils.aggregate_returns(late, "W"), empyrical.aggregate_returns(late, "weekly")):
    places.append(tuple(map(int, aggregated[aggregated > 0].index[0])))
print(f"year and week of 2025-12-30: quantstats {places[0]}, empyrical-reloaded {places[1]}")

worst = f"{100 * qs.stats.worst(returns, aggregate='W', prepare_returns=False):.2f}"
expected = ["weeks 52, worst week -5.91 %", "weeks 53, worst week -3.00 %", "weeks 53, worst week -3.00 %"]
if list(seen.values()) != expected or worst != "-5.91" or places != [(2025, 1), (2026, 1)]:
    sys.exit("the behaviour changed")
PY
