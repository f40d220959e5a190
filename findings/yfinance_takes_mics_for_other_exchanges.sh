#!/usr/bin/env bash
# yfinance 1.7.0: the MICs of NYSE Chicago, of Eurex and of Korea's futures get the suffix of another exchange.
#
# Ticker() takes "a tuple of (symbol, MIC) e.g. ('OR','XPAR') (MIC = market identifier code)", and makes Yahoo's symbol
# of it. Three codes of the standard, ISO 10383, are in its table with another exchange: XCHI has the suffix of Cboe in
# London (CHIX, once Chi-X), XEUR the one of Euronext, XKFE the one of Kuwait (XKUW). Eight more are no MICs at all,
# among them KQKS for KOSDAQ (XKOS), XVIL for Vilnius (XLIT) and CNSX for the Canadian Securities Exchange (XCNQ). The
# real codes are refused as unknown, those of Madrid and Milan too. The package iso10383 has the list of the standard.
#
# Why it matters: brokers, FIX and regulators say by its MIC where something is listed. What trades in Chicago is looked
# for in London, and where that symbol exists, its price in pence comes back without a word. Positions in Madrid, in
# Milan or on KOSDAQ have no price, although Yahoo covers these markets.
#
# Output seen:
#   XCHI AAPL.XC NYSE CHICAGO, INC., chicago
#   XEUR FDAX.NX EUREX DEUTSCHLAND, frankfurt
#   XKFE A01W.KW KOREA EXCHANGE (FUTURES MARKET), seoul
#   no MIC: CNSX, EUTL, ILSE, KQKS, XAUS, XBMS, XQAT, XVIL
#   Unknown MIC code: 'CHIX', CBOE EUROPE
#   Unknown MIC code: 'XCNQ', CANADIAN SECURITIES EXCHANGE
#   Unknown MIC code: 'XKOS', KOREA EXCHANGE (KOSDAQ)
#   Unknown MIC code: 'XKUW', KUWAIT STOCK EXCHANGE
#   Unknown MIC code: 'XLIT', AB NASDAQ VILNIUS
#   Unknown MIC code: 'XMAD', BOLSA DE MADRID
#   Unknown MIC code: 'XMIL', BORSA ITALIANA S.P.A.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
  yfinance==1.7.0 iso10383==2025.2.10 pandas==3.1.1 || exit 2

HOME="$work" "$work/venv/bin/python" -W ignore - <<'PY'
import sys

from iso10383 import MIC, Status
from yfinance import Ticker
from yfinance.const import _MIC_TO_YAHOO_SUFFIX

standard = {each.value.mic: each.value for each in MIC}


def symbol(name, mic):
    """What the library asks Yahoo for, or why it does not."""
    try:
        return Ticker((name, mic)).ticker
    except ValueError as error:
        return str(error)


seen = {}
for name, mic in (("AAPL", "XCHI"), ("FDAX", "XEUR"), ("A01W", "XKFE")):
    seen[mic] = symbol(name, mic)
    print(mic, seen[mic], f"{standard[mic].market_name}, {standard[mic].city.name}")
strangers = sorted(set(_MIC_TO_YAHOO_SUFFIX) - set(standard))
print("no MIC:", ", ".join(strangers))
refused = [mic for mic in ("CHIX", "XCNQ", "XKOS", "XKUW", "XLIT", "XMAD", "XMIL") if "Unknown" in symbol("A", mic)]
for mic in refused:
    print(f"{symbol('A', mic)}, {standard[mic].market_name}")

if (
    seen != {"XCHI": "AAPL.XC", "XEUR": "FDAX.NX", "XKFE": "A01W.KW"}
    or strangers != ["CNSX", "EUTL", "ILSE", "KQKS", "XAUS", "XBMS", "XQAT", "XVIL"]
    or len(refused) != 7
    or any(standard[mic].status is not Status.active for mic in [*seen, *refused])
):
    sys.exit("the behaviour changed")
PY
