#!/usr/bin/env bash
# futu-api 10.11.7108: on a machine in Singapore, get_future_info() moves the trading hours of futures by thirty hours.
#
# The gateway sends the hours as minutes since midnight, in the zone of the venue. The library formats a minute as if it
# were a second of 1970: time.strftime("%M:%S", time.localtime(minutes)). That is right where the machine's zone was
# whole hours from UTC on 1 January 1970, for the hours cancel out. Singapore and Malaysia have UTC+8 today, but had
# UTC+7:30 then, and its half hour becomes thirty hours; India's UTC+5:30 does the same. moomoo-api 10.11.7108, the
# same library under the broker's other name, has the same lines.
#
# Why it matters: the field is the broker's own word on when a contract trades, and it differs with the region that a
# job runs in. A parser of clock times refuses 39:15, but a duration that is added to midnight takes it: the session
# opens at 15:15 on the next day, and on a Friday that is a Saturday. The hours expected are those that the broker's
# documentation shows for HK.MPImain: https://openapi.moomoo.com/futu-api-doc/en/quote/get-future-info.html
#
# Output seen:
#   Asia/Hong_Kong   (17:15(T-1) - 03:00), (09:15 - 12:00), (13:00 - 16:30)  opens 2026-11-27 09:15
#   UTC              (17:15(T-1) - 03:00), (09:15 - 12:00), (13:00 - 16:30)  opens 2026-11-27 09:15
#   Asia/Singapore   (47:15(T-1) - 33:00), (39:15 - 42:00), (43:00 - 46:30)  opens 2026-11-28 15:15
#   Asia/Kolkata     (47:15(T-1) - 33:00), (39:15 - 42:00), (43:00 - 46:30)  opens 2026-11-28 15:15
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  futu-api==10.11.7108 protobuf==7.36.2 pandas==3.1.1 tzdata==2026.6 || exit 2

HOME="$work" "$work/venv/bin/python" - <<'PY'
import os
import sys
import time

import pandas as pd
from futu.common.pb.Qot_GetFutureInfo_pb2 import Response
from futu.quote.quote_query import GetFutureInfoQuery

# An answer for HK.HSImain in the form of the gateway: minutes since midnight, negative for the day before.
answer = Response(retType=0)
info = answer.s2c.futureInfoList.add(
    name="HSI Futures", lastTradeTime="", ownerOther="HSI", exchange="HKEX", contractType="Index", contractSize=50,
    contractSizeUnit="", quoteCurrency="HKD", minVar=1, minVarUnit="", timeZone="CCT", exchangeFormatUrl="",
)  # fmt: skip
info.security.market, info.security.code = 1, "HSImain"
for begin, end in ((-405, 180), (555, 720), (780, 990)):
    info.tradeTime.add(begin=begin, end=end)

seen = {}
for zone in ("Asia/Hong_Kong", "UTC", "Asia/Singapore", "Asia/Kolkata"):
    os.environ["TZ"] = zone
    time.tzset()
    _, _, (row,) = GetFutureInfoQuery.unpack(answer)
    seen[zone] = row["trade_time"]
    first = seen[zone].split("(")[3].split(" - ")[0]
    opens = pd.Timestamp("2026-11-27") + pd.Timedelta(f"{first}:00")
    print(f"{zone:16} {seen[zone]}  opens {opens:%Y-%m-%d %H:%M}")

right = "(17:15(T-1) - 03:00), (09:15 - 12:00), (13:00 - 16:30)"
moved = "(47:15(T-1) - 33:00), (39:15 - 42:00), (43:00 - 46:30)"
if list(seen.values()) != [right, right, moved, moved]:
    sys.exit("the behaviour changed")
PY
