#!/usr/bin/env bash
# One code, two exchanges: "OSE" is Oslo in exchange_calendars 4.13.2 and in pandas_market_calendars 5.5.0, and Osaka
# in holidays 0.109.
#
# The three libraries accept short names next to the four-letter market codes, and most of the short names that they
# share agree (NYSE, LSE, JPX, SSE, SIX). OSE does not: the first two return the Oslo exchange, with the clock of
# Oslo, and the third returns the Japanese calendar. Each library answers without an error.
#
# Why it matters: a configuration that names venues by one code and takes hours from one library and closures from
# another closes Oslo on Japan's Golden Week and opens it on Norwegian holidays. The market codes XOSL and XOSE are
# distinct, and only they are safe to share between libraries.
#
# Output seen:
#   OSE: exchange_calendars Europe/Oslo, pandas_market_calendars Europe/Oslo, holidays JapanExchange
#   2026-05-05: session True, closed in holidays True (Children's Day)
#   2026-05-14: session False, closed in holidays False (Ascension Day in Norway)
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check holidays==0.109 \
  pandas_market_calendars==5.5.0 exchange_calendars==4.13.2 pandas==3.1.1 tzdata==2026.6 || exit 2

"$work/venv/bin/python" - <<'PY'
import sys

import exchange_calendars
import holidays
import pandas_market_calendars as market_calendars

first = exchange_calendars.get_calendar("OSE", start="2026-01-05", end="2026-12-18")
second = market_calendars.get_calendar("OSE")
third = holidays.financial_holidays("OSE", years=2026)
family = type(third).__mro__[1].__name__
print(f"OSE: exchange_calendars {first.tz.key}, pandas_market_calendars {second.tz.key}, holidays {family}")

seen = []
for day, name in (("2026-05-05", "Children's Day"), ("2026-05-14", "Ascension Day in Norway")):
    seen.append((bool(first.is_session(day)), day in third))
    print(f"{day}: session {seen[-1][0]}, closed in holidays {seen[-1][1]} ({name})")

zones = (first.tz.key, second.tz.key, family)
if zones != ("Europe/Oslo", "Europe/Oslo", "JapanExchange") or seen != [(True, True), (False, False)]:
    sys.exit("the behaviour changed")
PY
