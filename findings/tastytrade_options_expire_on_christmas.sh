#!/usr/bin/env bash
# tastytrade 13.2.3: the options on grain futures that expire in December 2026 expire on Christmas Day.
#
# get_future_grain_monthly() counts the business days of the month, and from there goes back to a Friday that need not
# be one of them. The exchange goes on by one day: "If such Friday is not a business day, then the last day of trading
# in such option shall be the business day prior to such Friday" (Last Trade Date of
# http://www.cmegroup.com/trading/agricultural/grain-and-oilseed/corn_contractSpecs_options.html). Christmas and Good
# Friday are closed days by the library's own is_market_open_on() too. The functions for treasuries and for the third
# Friday, in the same file, do step back.
#
# Why it matters: whoever closes or rolls "on the day of expiration" is a session late. An option in the money has been
# exercised by then, into a futures position over the holiday; one out of the money is worth nothing.
#
# Output seen:
#   grain options that expire in 2026-12: 2026-12-25 Fri, market open False, on the day before True
#   grain options that expire in 2027-03: 2027-03-26 Fri, market open False, on the day before True
#   grain options that expire in 2027-12: 2027-12-24 Fri, market open False, on the day before True
#   the third Friday of 2026-06: 2026-06-18 Thu, market open True
#   expirations on a closed day, 2025 to 2028: grain 3, treasury 0, metal 0, third Friday 0
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check tastytrade==13.2.3 \
  pandas_market_calendars==5.5.0 exchange_calendars==4.13.2 pandas==3.1.1 tzdata==2026.6 || exit 2

"$work/venv/bin/python" - <<'PY'
import sys
from datetime import date, timedelta

from tastytrade import utils

RULES = {
    "grain": utils.get_future_grain_monthly,
    "treasury": utils.get_future_treasury_monthly,
    "metal": utils.get_future_metal_monthly,
    "third Friday": utils.get_third_friday,
}

seen = []
for year, month in ((2026, 12), (2027, 3), (2027, 12)):
    day = utils.get_future_grain_monthly(date(year, month, 1))
    seen.append((str(day), utils.is_market_open_on(day), utils.is_market_open_on(day - timedelta(days=1))))
    print(
        f"grain options that expire in {year}-{month:02}: {day:%Y-%m-%d %a}, market open {seen[-1][1]},"
        f" on the day before {seen[-1][2]}"
    )
juneteenth = utils.get_third_friday(date(2026, 6, 1))
print(f"the third Friday of 2026-06: {juneteenth:%Y-%m-%d %a}, market open {utils.is_market_open_on(juneteenth)}")
months = [date(year, month, 1) for year in range(2025, 2029) for month in range(1, 13)]
closed = {name: sum(not utils.is_market_open_on(rule(each)) for each in months) for name, rule in RULES.items()}
print("expirations on a closed day, 2025 to 2028:", ", ".join(f"{name} {count}" for name, count in closed.items()))

days = ["2026-12-25", "2027-03-26", "2027-12-24"]
if seen != [(day, False, True) for day in days] or [closed[name] for name in RULES] != [3, 0, 0, 0]:
    sys.exit("the behaviour changed")
PY
