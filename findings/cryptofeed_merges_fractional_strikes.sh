#!/usr/bin/env bash
# cryptofeed 2.4.1: options of Deribit whose strikes share their whole part become one symbol, and the last one wins.
#
# The linear options of Deribit (XRP, TRX and others against USDC) have fractional strikes; the venue writes them with
# a "d" for the decimal point: XRP_USDC-30JUN23-0d625-C (https://docs.deribit.com, on the naming of instruments).
# cryptofeed makes its own name from int(strike): 1.15, 1.35 and 1.52 are all "1", 0.95 is "0". The names are the keys
# of a dict, so that of the calls from 1 up to 2 of one expiry only the last one listed is left. No error, no log line.
#
# Why it matters: whoever subscribes to the call at 1 gets the quotes of the call at 1.52, under a name (and, for code
# that values them, a strike) that says 1. The other strikes cannot be asked for, not even the listed strike 1.
#
# Output seen:
#   5 options listed, 2 symbols:
#   XRP-USDC-1-26U25-call is XRP_USDC-25SEP26-1d52-C
#   XRP-USDC-0-26U25-call is XRP_USDC-25SEP26-0d95-C
#   XRP-USDC-1-26U25-call subscribes to quote.XRP_USDC-25SEP26-1d52-C
#   a quote of XRP_USDC-25SEP26-1d52-C arrives as XRP-USDC-1-26U25-call
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check cryptofeed==2.4.1 || exit 2

"$work/venv/bin/python" - <<'PY'
import asyncio
import json
import sys

from cryptofeed.defines import L1_BOOK
from cryptofeed.exchanges import Deribit
from cryptofeed.symbols import Symbols


def listed(strike):
    """One row of public/get_instruments, cut to what is read."""
    name = f"XRP_USDC-25SEP26-{strike:g}-C".replace(".", "d")
    return {
        "instrument_name": name,
        "kind": "option",
        "base_currency": "XRP",
        "quote_currency": "USDC",
        "settlement_period": "month",
        "option_type": "call",
        "strike": strike,
        "expiration_timestamp": 1790323200000,
        "tick_size": 0.0001,
    }


rows = [listed(strike) for strike in (0.95, 1.0, 1.15, 1.35, 1.52)]
names, info = Deribit._parse_symbol_data([{"result": rows}])
options = {ours: theirs for ours, theirs in names.items() if info["instrument_type"][ours] == "option"}
print(f"{len(rows)} options listed, {len(options)} symbols:")
for ours, theirs in sorted(options.items(), reverse=True):
    print(ours, "is", theirs)

Symbols.set("DERIBIT", names, info)
wanted, last = "XRP-USDC-1-26U25-call", rows[-1]["instrument_name"]
asked, arrived = [], []


class Connection:
    uuid = "none"

    async def write(self, message):
        asked.extend(json.loads(message)["params"]["channels"])


async def on_book(book, receipt_timestamp):
    arrived.append(book.symbol)


async def main():
    feed = Deribit(symbols=[wanted], channels=[L1_BOOK], callbacks={L1_BOOK: on_book})
    await feed.subscribe(Connection())
    quote = {"best_bid_price": 0.05, "best_bid_amount": 1.0, "best_ask_price": 0.06, "best_ask_amount": 1.0}
    await feed._quote({"instrument_name": last, "timestamp": 1790000000000, **quote}, 0.0)


asyncio.run(main())
print(f"{wanted} subscribes to {', '.join(asked)}")
print(f"a quote of {last} arrives as {', '.join(arrived)}")

merged = {wanted: last, "XRP-USDC-0-26U25-call": rows[0]["instrument_name"]}
if (options, asked, arrived) != (merged, [f"quote.{last}"], [wanted]):
    sys.exit("the behaviour changed")
PY
