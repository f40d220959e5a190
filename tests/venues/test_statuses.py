"""The codes by which feeds say that a market trades: their tables against the lists of their sources, and real rows."""

import pickle
from collections.abc import Callable
from enum import IntEnum

import pytest

from session_lifecycle import LifecycleError, VenueDataRefused, VenueStatus
from session_lifecycle.venues import cme_status, databento_status, fix_status, itch_status

S = VenueStatus

# Every code of each source, by the name that it has there.
DATABENTO = {
    "None": (0, None),
    "PreOpen": (1, S.PRE_OPEN),
    "PreCross": (2, S.AUCTION),
    "Quoting": (3, S.QUOTING),
    "Cross": (4, S.AUCTION),
    "Rotation": (5, S.AUCTION),
    "NewPriceIndication": (6, S.AUCTION),
    "Trading": (7, S.TRADING),
    "Halt": (8, S.HALT),
    "Pause": (9, S.PAUSE),
    "Suspend": (10, S.HALT),
    "PreClose": (11, S.PRE_CLOSE),
    "Close": (12, S.CLOSE),
    "PostClose": (13, S.POST_CLOSE),
    "SsrChange": (14, None),
    "NotAvailableForTrading": (15, S.CLOSE),
}
FIX = {
    "Unknown": (0, None),
    "Halted": (1, S.HALT),
    "Open": (2, S.TRADING),
    "Closed": (3, S.CLOSE),
    "PreOpen": (4, S.PRE_OPEN),
    "PreClose": (5, S.PRE_CLOSE),
    "RequestRejected": (6, None),
}
CME = {
    "TradingHalt": (2, S.HALT),
    "Close": (4, S.CLOSE),
    "NewPriceIndication": (15, S.AUCTION),
    "ReadyToTrade": (17, S.TRADING),
    "NotAvailableForTrading": (18, S.CLOSE),
    "UnknownorInvalid": (20, None),
    "PreOpen": (21, S.PRE_OPEN),
    "PreCross": (24, S.AUCTION),
    "Cross": (25, S.AUCTION),
    "PostClose": (26, S.POST_CLOSE),
    "NoChange": (103, None),
    "NULL_VALUE": (255, None),
}
NUMBERS = {databento_status: DATABENTO, fix_status: FIX, cme_status: CME}
ITCH = {
    ("S", "O"): None,
    ("S", "S"): S.PRE_OPEN,
    ("S", "Q"): S.TRADING,
    ("S", "M"): S.CLOSE,
    ("S", "E"): S.CLOSE,
    ("S", "C"): None,
    ("H", "H"): S.HALT,
    ("H", "P"): S.PAUSE,
    ("H", "Q"): S.QUOTING,
    ("H", "T"): S.RESUME,
    ("h", "H"): S.HALT,
    ("h", "T"): S.RESUME,
    ("W", "1"): S.HALT,
    ("W", "2"): S.HALT,
    ("W", "3"): S.HALT,
}

Adapter = Callable[[object], VenueStatus | None]
each_feed = pytest.mark.parametrize("adapter", NUMBERS, ids=lambda adapter: adapter.__name__)


@each_feed
def test_every_code_has_its_status(adapter: Adapter) -> None:
    """As a number, as the text of a field, and as a member of an enumeration."""
    for name, (code, status) in NUMBERS[adapter].items():
        member = IntEnum("Code", {name: code})(code)
        assert [adapter(code), adapter(str(code)), adapter(float(code)), adapter(member)] == [status] * 4, name


@each_feed
def test_every_other_code_is_refused_with_its_number(adapter: Adapter) -> None:
    """Those of other gateways too: what such a code means is not guessed."""
    known = {code for code, _ in NUMBERS[adapter].values()}
    for code in {*range(-2, 300)} - known:
        with pytest.raises(VenueDataRefused) as caught:
            adapter(code)
        assert caught.value.value == code
        assert f"the known codes are {', '.join(map(str, sorted(known)))}" in str(caught.value)


@each_feed
@pytest.mark.parametrize("code", ["", "seven", None, 2.5, True, float("nan"), float("inf"), [2]])
def test_what_is_no_whole_number_is_refused(adapter: Adapter, code: object) -> None:
    """Neither 2.5 nor True is a code."""
    with pytest.raises(VenueDataRefused, match=r"it is no number|it must be a whole number") as caught:
        adapter(code)
    assert caught.value.value is code


def test_every_message_of_itch_has_its_status() -> None:
    """As text, and as the bytes of the message."""
    for (message, code), status in ITCH.items():
        assert itch_status(message, code) is itch_status(message.encode(), code.encode()) is status


def test_every_other_code_of_itch_is_refused() -> None:
    """With the letter, and the message whose code it is."""
    for message in "SHhW":
        known = {code for each, code in ITCH if each == message}
        for code in {*map(chr, range(128)), "", "HH", b"\xff", 7, None} - known:
            with pytest.raises(VenueDataRefused) as caught:
                itch_status(message, code)
            assert caught.value.value == code
            assert f"({message})" in caught.value.source
    for other in ("A", "s", "", "SS", None, 83):
        with pytest.raises(VenueDataRefused, match="the messages with a status are S, H, h, W") as caught:
            itch_status(other, "H")
        assert caught.value.value == other


# ---- rows of public data ----


def test_the_s_and_p_future_around_its_pause() -> None:
    """Databento's own sample of GLBX.MDP3, ESH1 on 28 December 2020, with the codes of CME that it is made from.

    15:15 in Chicago begins the pause: a pre-open, from 15:29:30 without cancellations; at 15:30 the opening.
    """
    rows = ["7,1,0,Y,Y,~", "1,1,0,N,Y,~", "1,1,1,N,Y,~", "6,1,0,Y,Y,~"]  # action,reason,trading_event,is_trading,...
    expected = [S.TRADING, S.PRE_OPEN, S.PRE_OPEN, S.AUCTION]
    assert [databento_status(row.split(",")[0]) for row in rows] == expected
    assert [cme_status(code) for code in (17, 21, 21, 15)] == expected


def test_a_session_status_of_a_currency_venue() -> None:
    """A message of June 2014, its parties replaced: TradSesStatus 2 is open."""
    message = (
        "8=FIX.4.4|9=107|35=h|34=10|49=SENDER|52=20140605-17:13:28.568|56=RECEIVER|335=242131811009569|"
        "336=SESS#1401988408564|340=2|10=152|"
    )
    fields = dict(field.split("=", 1) for field in message.strip("|").split("|"))
    assert fix_status(fields["340"]) is S.TRADING


def test_a_stock_that_is_halted_and_released() -> None:
    """Binary messages, built as the specification lays them out: the spin before the open, a pause, its release."""
    stock = b"\x00\x01\x00\x02" + (12_345).to_bytes(6, "big") + b"AAPL    "
    day = [
        b"S\x00\x00\x00\x00" + (10_800_000_000_000).to_bytes(6, "big") + b"O",
        b"H" + stock + b"T\x00    ",
        b"S\x00\x00\x00\x00" + (34_200_000_000_000).to_bytes(6, "big") + b"Q",
        b"H" + stock + b"P\x00LUDP",
        b"H" + stock + b"Q\x00LUDP",
        b"H" + stock + b"T\x00LUDP",
        b"W\x00\x00\x00\x02" + (35_000_000_000_000).to_bytes(6, "big") + b"1",
        b"h" + stock + b"QH",
    ]
    assert [len(message) for message in day] == [12, 25, 12, 25, 25, 25, 12, 21]  # as the specification says
    places = {b"S": 11, b"H": 19, b"W": 11, b"h": 20}
    statuses = [itch_status(each[:1], each[places[each[:1]] :][:1]) for each in day]
    assert statuses == [None, S.RESUME, S.TRADING, S.PAUSE, S.QUOTING, S.RESUME, S.HALT, S.HALT]


# ---- the error ----


def test_what_is_refused_says_what_it_was() -> None:
    """The feed, its code and the reason; in another process too."""
    error = VenueDataRefused("a FIX TradSesStatus (340)", 7, "the known codes are 0 to 6")
    assert str(error) == (
        "a FIX TradSesStatus (340) 7 is not understood: the known codes are 0 to 6. Nothing was guessed"
    )
    assert isinstance(error, LifecycleError)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
