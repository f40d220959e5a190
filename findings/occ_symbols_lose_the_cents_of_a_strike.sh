#!/usr/bin/env bash
# schwab-py 1.5.1 and tastytrade 13.2.3: an option whose strike has cents comes back from its own symbol as another one.
#
# The symbol of an option (OCC) ends with the strike times a thousand, in eight digits. schwab-py multiplies as a float
# and cuts off the rest: OptionSymbol.parse_symbol() reads 16.08 from 00016080, and build() makes 00016079 of it.
# tastytrade multiplies the digits after the point by a hundred, be they one or two: streamer_symbol_to_occ(), "the OCC
# 2010 symbol equivalent to the given streamer symbol", makes 16.80 of 16.08 and nine digits of 256.78, of symbols that
# occ_to_streamer_symbol() of the same class has written. Strikes in whole and in half dollars are right in both.
#
# Cents are common: a special dividend lowers every strike by itself, to the cent, as that of QQQ did in December 2023
# (https://kb.esignal.com/hc/en-us/articles/21590433441819-SYMBOL-UPDATE-12-28-2023-QQQ-Special-Cash-Dividend).
#
# Why it matters: by this symbol an option is ordered, priced and found in the account. Where the other strike is
# listed, the wrong option is traded; where it is not, the order is refused, and what was to be closed stays open.
#
# Output seen:
#   XYZ   261218C00016080: schwab-py XYZ   261218C00016079, tastytrade XYZ   261218C00016800
#   XYZ   261218C00064100: schwab-py XYZ   261218C00064099, tastytrade XYZ   261218C00064100
#   QQQ   261218C00256780: schwab-py QQQ   261218C00256779, tastytrade QQQ   261218C002567800
#   changed, of 2000 strikes in half dollars: schwab-py 0, tastytrade 0
#   changed, of 8000 in dimes: schwab-py 46, tastytrade 0
#   changed, of 90000 in cents: schwab-py 544, tastytrade 90000
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  schwab-py==1.5.1 tastytrade==13.2.3 || exit 2

HOME="$work" "$work/venv/bin/python" -W ignore - <<'PY'
import sys
from collections import Counter

from schwab.orders.options import OptionSymbol
from tastytrade.instruments import Option


def by_schwab(symbol):
    """The symbol after it has been read and built again."""
    return OptionSymbol.parse_symbol(symbol).build()


def by_tastytrade(symbol):
    """The symbol after it has been the streamer's."""
    return Option.streamer_symbol_to_occ(Option.occ_to_streamer_symbol(symbol))


seen = []
for symbol in ("XYZ   261218C00016080", "XYZ   261218C00064100", "QQQ   261218C00256780"):
    seen.append((by_schwab(symbol), by_tastytrade(symbol)))
    print(f"{symbol}: schwab-py {seen[-1][0]}, tastytrade {seen[-1][1]}")

strikes, changed = Counter(), Counter()
for cents in range(1, 100_001):
    kind = "strikes in half dollars" if cents % 50 == 0 else "in dimes" if cents % 10 == 0 else "in cents"
    symbol = f"XYZ   261218C{cents * 10:08}"
    strikes[kind] += 1
    changed[kind, "schwab-py"] += by_schwab(symbol) != symbol
    changed[kind, "tastytrade"] += by_tastytrade(symbol) != symbol
counts = []
for kind in ("strikes in half dollars", "in dimes", "in cents"):
    counts.append((changed[kind, "schwab-py"], changed[kind, "tastytrade"]))
    print(f"changed, of {strikes[kind]} {kind}: schwab-py {counts[-1][0]}, tastytrade {counts[-1][1]}")

if seen != [
    ("XYZ   261218C00016079", "XYZ   261218C00016800"),
    ("XYZ   261218C00064099", "XYZ   261218C00064100"),
    ("QQQ   261218C00256779", "QQQ   261218C002567800"),
] or counts != [(0, 0), (46, 0), (544, 90000)]:
    sys.exit("the behaviour changed")
PY
