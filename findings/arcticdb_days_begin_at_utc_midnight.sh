#!/usr/bin/env bash
# arcticdb 6.28.2: resample("1D") cuts the days of an exchange at midnight in UTC, and tells them in its own zone.
#
# A frame whose index is in the zone of an exchange comes back from a library in that zone, and so does what resample()
# makes of it. But the buckets are days of UTC, and only their beginnings are told in the zone: 19:00 of the evening
# before in New York, 11:00 in Sydney. The documentation of resample() says that its results match those of pandas with
# origin="epoch"; pandas begins each day at midnight in the zone of the index. origin="start_day", by the documentation
# "the first day at midnight of the timeseries", is midnight in UTC as well.
#
# Why it matters: in America each daily bar has the date of the day before, so that a join by date, or a signal of
# "yesterday", sees the close of today: a backtest that looks ahead. In Sydney the first bars of each session are in the
# day before, and the open and the close of every day are wrong. Nothing warns, and the bars are about as many.
#
# Output seen:
#   New York: the session of the 24th goes from 100 to 106, the one of the 25th from 200 to 206
#     pandas             11-24 00:00-0500 100 to 106, 11-25 00:00-0500 200 to 206
#     arcticdb           11-23 19:00-0500 100 to 106, 11-24 19:00-0500 200 to 206
#     arcticdb start_day 11-23 19:00-0500 100 to 106, 11-24 19:00-0500 200 to 206
#   Sydney: the session of the 24th goes from 100 to 106, the one of the 25th from 200 to 206
#     pandas             11-24 00:00+1100 100 to 106, 11-25 00:00+1100 200 to 206
#     arcticdb           11-23 11:00+1100 100 to 100, 11-24 11:00+1100 101 to 200, 11-25 11:00+1100 201 to 206
#     arcticdb start_day 11-23 11:00+1100 100 to 100, 11-24 11:00+1100 101 to 200, 11-25 11:00+1100 201 to 206
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  arcticdb==6.28.2 pandas==2.3.3 tzdata==2026.6 || exit 2

HOME="$work" "$work/venv/bin/python" -W ignore - "$work/store" <<'PY'
import sys

import pandas as pd
from arcticdb import Arctic, QueryBuilder

BARS = {"opens": ("price", "first"), "closes": ("price", "last")}
library = Arctic(f"lmdb://{sys.argv[1]}").get_library("bars", create_if_missing=True)


def told(bars):
    """Each bar: when it begins, its first price and its last."""
    return ", ".join(f"{at:%m-%d %H:%M%z} {row.opens:.0f} to {row.closes:.0f}" for at, row in bars.dropna().iterrows())


seen = {}
for city, zone, opening in (("New York", "America/New_York", "09:30"), ("Sydney", "Australia/Sydney", "10:00")):
    first, second = (pd.date_range(f"2026-11-{day} {opening}", periods=7, freq="1h", tz=zone) for day in (24, 25))
    frame = pd.DataFrame({"price": [*range(100, 107), *range(200, 207)]}, index=first.append(second))
    library.write(city, frame)
    if str(library.read(city).data.index.tz) != zone:
        sys.exit("the behaviour changed")
    seen[city] = [told(frame.resample("1D", origin="epoch").agg(**BARS))]
    for options in ({}, {"origin": "start_day"}):
        query = QueryBuilder().resample("1D", **options).agg(BARS)
        seen[city].append(told(library.read(city, query_builder=query).data))
    print(f"{city}: the session of the 24th goes from 100 to 106, the one of the 25th from 200 to 206")
    for name, bars in zip(("pandas", "arcticdb", "arcticdb start_day"), seen[city], strict=True):
        print(f"  {name:18} {bars}")

new_york = "11-23 19:00-0500 100 to 106, 11-24 19:00-0500 200 to 206"
sydney = "11-23 11:00+1100 100 to 100, 11-24 11:00+1100 101 to 200, 11-25 11:00+1100 201 to 206"
if seen != {
    "New York": ["11-24 00:00-0500 100 to 106, 11-25 00:00-0500 200 to 206", new_york, new_york],
    "Sydney": ["11-24 00:00+1100 100 to 106, 11-25 00:00+1100 200 to 206", sydney, sydney],
}:
    sys.exit("the behaviour changed")
PY
