#!/usr/bin/env bash
# holidays 0.109: the calendar of the Taiwan Stock Exchange counts the government's make-up Saturdays as working days.
#
# The financial calendar XTAI inherits the rules of the country. In Taiwan some Saturdays were office days in exchange
# for a bridge day, and is_working_day() answers True for them, get_nth_working_day() lands on them and
# get_working_days_count() counts them. The exchange does not trade on these Saturdays: exchange_calendars 4.13.2 has
# no session there. The Shanghai calendar of the library, for a country with the same custom, answers False.
#
# Why it matters: "is it a holiday" and "is it a working day" are the two questions of a session scheduler, and for
# this one exchange the second answer opens a session on a Saturday and shifts every day count that crosses it.
#
# Output seen:
#   2025-02-08 (Saturday): XTAI working day True, XSHG working day False, session of exchange_calendars False
#   first working day after Friday 2025-02-07: 2025-02-08
#   Saturdays that XTAI counts as working days, 2023 to 2025: 8
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  holidays==0.109 exchange_calendars==4.13.2 pandas==3.1.1 tzdata==2026.6 || exit 2

"$work/venv/bin/python" - <<'PY'
import sys
from datetime import date, timedelta

import exchange_calendars
import holidays

saturday = date(2025, 2, 8)
taipei = holidays.financial_holidays("XTAI", years=range(2023, 2026))
shanghai = holidays.financial_holidays("XSHG", years=range(2023, 2026))
sessions = exchange_calendars.get_calendar("XTAI", start="2023-01-03", end="2025-12-31")

answers = (taipei.is_working_day(saturday), shanghai.is_working_day(saturday), bool(sessions.is_session(str(saturday))))
after_friday = str(taipei.get_nth_working_day(date(2025, 2, 7), 1))
days = (date(2023, 1, 1) + timedelta(days=n) for n in range(3 * 365 + 1))
working = [day for day in days if day.weekday() == 5 and taipei.is_working_day(day)]

print(
    f"{saturday} (Saturday): XTAI working day {answers[0]}, XSHG working day {answers[1]},"
    f" session of exchange_calendars {answers[2]}"
)
print("first working day after Friday 2025-02-07:", after_friday)
print("Saturdays that XTAI counts as working days, 2023 to 2025:", len(working))

if answers != (True, False, False) or after_friday != "2025-02-08" or len(working) != 8:
    sys.exit("the behaviour changed")
PY
