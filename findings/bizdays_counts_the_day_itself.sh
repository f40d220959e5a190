#!/usr/bin/env bash
# bizdays 1.0.19: getdate("first bizday before last day", 2026) is the last day itself.
#
# getdate() takes an expression and a year, or a year and a month. For a month, "before" is strict: asked for December
# it answers 30 December. For the year, whose last day is the same, it answers 31 December: every "Nth bizday before
# Mth day" of a year comes one business day late, whatever N and M, and where the reference is a holiday "before" even
# answers with a day after it. "after", and references to a bizday ("before last bizday"), are right for both. No error
# is raised, and each answer is a business day.
#
# Why it matters: notice days, fixings and last days of delivery are defined as so many business days before a date,
# and ANBIMA's calendar, which the package brings along, is what Brazilian bonds and futures are counted by. A roll or
# a notice that is due on the business day before the year's end is planned for one day after it was due.
#
# Output seen:
#   first bizday before last day:  2026 2026-12-31, December 2026 2026-12-30
#   third bizday before last day:  2026 2026-12-29, December 2026 2026-12-28
#   first bizday before first day: 2026 2026-01-02, January 2026 2025-12-31
#   first bizday before last bizday: 2026 2026-12-30, December 2026 2026-12-30
#   first bizday after first day: 2026 2026-01-02, January 2026 2026-01-02
#   years from 2001 to 2050 with another answer than their December: 50
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  bizdays==1.0.19 pandas==2.3.3 pandas_market_calendars==4.6.1 || exit 2

"$work/venv/bin/python" - <<'PY'
import sys

from bizdays import Calendar

calendar = Calendar.load("ANBIMA")
questions = (
    ("first bizday before last day", 12),
    ("third bizday before last day", 12),
    ("first bizday before first day", 1),
    ("first bizday before last bizday", 12),
    ("first bizday after first day", 1),
)
seen = []
for expression, month in questions:
    seen.append((str(calendar.getdate(expression, 2026)), str(calendar.getdate(expression, 2026, month))))
    name = {1: "January", 12: "December"}[month]
    print(f"{expression}: 2026 {seen[-1][0]}, {name} 2026 {seen[-1][1]}")
before = questions[0][0]
differ = sum(calendar.getdate(before, year) != calendar.getdate(before, year, 12) for year in range(2001, 2051))
print("years from 2001 to 2050 with another answer than their December:", differ)

expected = [
    ("2026-12-31", "2026-12-30"),
    ("2026-12-29", "2026-12-28"),
    ("2026-01-02", "2025-12-31"),
    ("2026-12-30", "2026-12-30"),
    ("2026-01-02", "2026-01-02"),
]
if seen != expected or differ != 50:
    sys.exit("the behaviour changed")
PY
