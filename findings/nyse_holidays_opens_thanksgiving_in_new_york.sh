#!/usr/bin/env bash
# nyse-holidays 1.2.0 (npm): on a machine in New York, Thanksgiving is a trading day and the Friday after it a holiday.
#
# isHoliday() compares the date that the machine's zone gives to an instant. Its documentation asks with a plain date,
# isHoliday(new Date("2021-01-01")), and says true; JavaScript takes a plain date for midnight in UTC, which west of
# Greenwich is the evening before. So that line is false in all of America, and true in Europe and Asia. Asked with the
# time of day instead, it is right in America and wrong in Asia: there the last hours of Thanksgiving are Friday.
#
# Why it matters: a holiday is a day of the exchange, and here it goes by the region that a job runs in. In the zone of
# the exchange itself, with the call as it is documented, orders are sent into a closed market on each holiday, and the
# session after it is left out. Tests pass where they mostly run, in UTC.
#
# Output seen:
#   TZ=UTC               2021-01-01 true   2026-11-26 true   2026-11-27 false  Thanksgiving 15:59 true
#   TZ=Asia/Hong_Kong    2021-01-01 true   2026-11-26 true   2026-11-27 false  Thanksgiving 15:59 false
#   TZ=America/New_York  2021-01-01 false  2026-11-26 false  2026-11-27 true   Thanksgiving 15:59 true
#   TZ=America/Chicago   2021-01-01 false  2026-11-26 false  2026-11-27 true   Thanksgiving 15:59 true
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
command -v npm >/dev/null || exit 2
npm install --silent --no-audit --no-fund --no-update-notifier --prefix "$work" --cache "$work/cache" \
  nyse-holidays@1.2.0 dayjs@1.11.13 || exit 2

cat >"$work/ask.cjs" <<'JS'
const { isHoliday } = require("nyse-holidays");

const days = ["2021-01-01", "2026-11-26", "2026-11-27"].map((day) => [day, isHoliday(new Date(day))]);
const late = isHoliday(new Date("2026-11-26T15:59:00-05:00"));
const cells = [...days, ["Thanksgiving 15:59", late]].map(([name, answer]) => `${name} ${String(answer).padEnd(5)}`);
console.log(`${`TZ=${process.env.TZ}`.padEnd(20)} ${cells.join("  ").trimEnd()}`);
JS

seen=$(for zone in UTC Asia/Hong_Kong America/New_York America/Chicago; do TZ=$zone node "$work/ask.cjs"; done)
echo "$seen"
expected="\
TZ=UTC               2021-01-01 true   2026-11-26 true   2026-11-27 false  Thanksgiving 15:59 true
TZ=Asia/Hong_Kong    2021-01-01 true   2026-11-26 true   2026-11-27 false  Thanksgiving 15:59 false
TZ=America/New_York  2021-01-01 false  2026-11-26 false  2026-11-27 true   Thanksgiving 15:59 true
TZ=America/Chicago   2021-01-01 false  2026-11-26 false  2026-11-27 true   Thanksgiving 15:59 true"
if [[ $seen != "$expected" ]]; then
  echo "the behaviour changed" >&2
  exit 1
fi
