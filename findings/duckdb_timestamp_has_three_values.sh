#!/usr/bin/env bash
# DuckDB 2.0.1: one instant stored in a TIMESTAMP column has three values, after the way it arrives and the TimeZone.
#
# Text with an offset loses the offset: '2026-11-27 09:30:00-05:00' is stored as 09:30. An aware datetime that Python
# binds as a parameter is a TIMESTAMP WITH TIME ZONE, and its cast to TIMESTAMP takes the TimeZone of the connection,
# which starts as the zone of the machine: 14:30 under UTC, 23:30 under Asia/Tokyo. A DATE column cast from the same
# parameter changes its day in the same way. None of the casts raises.
#
# Why it matters: a journal of sessions in DuckDB that is written by a service on UTC, by a notebook in Tokyo and by a
# load of a CSV file holds three times for one open, and the trading date of an evening session is right in one of
# them. A TIMESTAMPTZ column keeps one instant for all three.
#
# Output seen:
#   text: 2026-11-27 09:30:00
#   parameter, TimeZone UTC: 2026-11-27 14:30:00, date of the 20:00 open 2026-11-28
#   parameter, TimeZone Asia/Tokyo: 2026-11-27 23:30:00, date of the 20:00 open 2026-11-28
#   parameter, TimeZone America/New_York: 2026-11-27 09:30:00, date of the 20:00 open 2026-11-27
#   instants in a TIMESTAMPTZ column: 1
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  duckdb==2.0.1 pytz==2026.6 tzdata==2026.6 || exit 2

"$work/venv/bin/python" - <<'PY'
import sys
from datetime import datetime
from zoneinfo import ZoneInfo

import duckdb

NEW_YORK = ZoneInfo("America/New_York")
at, evening = datetime(2026, 11, 27, 9, 30, tzinfo=NEW_YORK), datetime(2026, 11, 27, 20, 0, tzinfo=NEW_YORK)
db = duckdb.connect()
db.execute("create table plain (opened timestamp, trading_date date)")
db.execute("create table zoned (opened timestamptz)")

db.execute("insert into plain values ('2026-11-27 09:30:00-05:00', null)")
db.execute("insert into zoned values ('2026-11-27 09:30:00-05:00')")
for zone in ("UTC", "Asia/Tokyo", "America/New_York"):
    db.execute(f"set timezone = '{zone}'")
    db.execute("insert into plain values (?, ?)", [at, evening])
    db.execute("insert into zoned values (?)", [at])

rows = [(str(opened), str(day)) for opened, day in db.execute("select * from plain order by rowid").fetchall()]
instants = db.execute("select count(distinct opened) from zoned").fetchone()[0]
print("text:", rows[0][0])
for zone, (opened, day) in zip(("UTC", "Asia/Tokyo", "America/New_York"), rows[1:]):
    print(f"parameter, TimeZone {zone}: {opened}, date of the 20:00 open {day}")
print("instants in a TIMESTAMPTZ column:", instants)

times, days = [opened[11:16] for opened, _ in rows], [day[8:] for _, day in rows[1:]]
if times != ["09:30", "14:30", "23:30", "09:30"] or days != ["28", "28", "27"] or instants != 1:
    sys.exit("the behaviour changed")
PY
