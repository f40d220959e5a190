#!/usr/bin/env bash
# QuantLib 1.44: a holiday added to one calendar object is a holiday of every object of that market.
#
# The Python objects of one market are views of one calendar in the process. addHoliday() on a private copy changes
# the copies that other code holds, the copies that are built later, and the joint calendars that were built before
# from another copy. The addition outlives the object that made it; only resetAddedAndRemovedHolidays() undoes it.
#
# Why it matters: a desk that marks its own quiet day, or a test that tries a closure, moves the settlement dates and
# the session plans of every other strategy in the same process, with no trace in the code that reads them.
#
# Output seen:
#   before: desk False, joint False
#   after addHoliday on another object, since deleted: desk True, joint True, new object True
#   two business days after 2026-11-30: 2026-12-02 before, 2026-12-03 after
#   after resetAddedAndRemovedHolidays on one object: desk False
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check QuantLib==1.44 || exit 2

"$work/venv/bin/python" - <<'PY'
import gc
import sys

import QuantLib as ql


def new_york():
    return ql.UnitedStates(ql.UnitedStates.NYSE)


day, trade = ql.Date(1, 12, 2026), ql.Date(30, 11, 2026)
desk = new_york()
joint = ql.JointCalendar(new_york(), ql.TARGET())
before = (desk.isHoliday(day), joint.isHoliday(day), desk.advance(trade, 2, ql.Days).ISO())

private = new_york()
private.addHoliday(day)
del private
gc.collect()
after = (desk.isHoliday(day), joint.isHoliday(day), desk.advance(trade, 2, ql.Days).ISO())
fresh = new_york().isHoliday(day)
new_york().resetAddedAndRemovedHolidays()
reset = desk.isHoliday(day)

print(f"before: desk {before[0]}, joint {before[1]}")
print(f"after addHoliday on another object, since deleted: desk {after[0]}, joint {after[1]}, new object {fresh}")
print(f"two business days after 2026-11-30: {before[2]} before, {after[2]} after")
print(f"after resetAddedAndRemovedHolidays on one object: desk {reset}")

if (before, after, fresh, reset) != ((False, False, "2026-12-02"), (True, True, "2026-12-03"), True, False):
    sys.exit("the behaviour changed")
PY
