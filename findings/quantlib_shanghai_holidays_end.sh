#!/usr/bin/env bash
# QuantLib 1.44: the Shanghai calendar answers for years whose holidays it does not have.
#
# The holidays of China(SSE) are a table in the library that ends with 2026. Past the last year of the table only
# 1 January is left as a rule, so isBusinessDay() answers True for the Spring Festival and for National Day, and
# nothing (an error, a warning, a bound to ask for) separates a known year from an unknown one. exchange_calendars
# 4.13.2 refuses a date past the end that it computed.
#
# Why it matters: settlement dates, expiries and session plans are computed for the year ahead. A plan for 2027 made
# from this calendar puts more than a dozen sessions and settlement days on dates on which Shanghai is closed.
#
# Output seen:
#   weekday holidays a year: 2024: 20, 2025: 18, 2026: 19, 2027: 1, 2028: 0
#   business day on 2027-02-08 (Spring Festival): True
#   business day on 2027-10-01 (National Day): True
#   the same question to exchange_calendars, loaded to the end of 2026: DateOutOfBounds
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  QuantLib==1.44 exchange_calendars==4.13.2 pandas==3.1.1 tzdata==2026.6 || exit 2

"$work/venv/bin/python" - <<'PY'
import sys

import exchange_calendars
import QuantLib as ql

shanghai = ql.China(ql.China.SSE)
counts = {
    year: len(shanghai.holidayList(ql.Date(1, 1, year), ql.Date(31, 12, year), False)) for year in range(2024, 2029)
}
spring = shanghai.isBusinessDay(ql.Date(8, 2, 2027))
national = shanghai.isBusinessDay(ql.Date(1, 10, 2027))
try:
    other = str(exchange_calendars.get_calendar("XSHG", start="2026-01-05", end="2026-12-31").is_session("2027-02-08"))
except exchange_calendars.errors.DateOutOfBounds as error:
    other = type(error).__name__

print("weekday holidays a year:", ", ".join(f"{year}: {count}" for year, count in counts.items()))
print("business day on 2027-02-08 (Spring Festival):", spring)
print("business day on 2027-10-01 (National Day):", national)
print("the same question to exchange_calendars, loaded to the end of 2026:", other)

if counts[2026] != 19 or counts[2027] != 1 or not (spring and national) or other != "DateOutOfBounds":
    sys.exit("the behaviour changed")
PY
