"""Nasdaq TotalView-ITCH 5.0: the messages that say whether the market, or a stock, trades."""

from collections.abc import Mapping
from typing import Final

from session_lifecycle._model.venue_status import VenueDataRefused, VenueStatus
from session_lifecycle.venues.codes import letter_of, status_of_letter

_MESSAGES: Final[Mapping[str, tuple[str, Mapping[str, VenueStatus | None]]]] = {
    "S": (
        "the event code of an ITCH System Event (S)",
        {
            "O": None,  # start of messages
            "S": VenueStatus.PRE_OPEN,  # start of system hours, 04:00 in New York
            "Q": VenueStatus.TRADING,  # start of market hours
            "M": VenueStatus.CLOSE,  # end of market hours
            "E": VenueStatus.CLOSE,  # end of system hours
            "C": None,  # end of messages
        },
    ),
    "H": (
        "the trading state of an ITCH Stock Trading Action (H)",
        {
            "H": VenueStatus.HALT,  # across all U.S. equity markets
            "P": VenueStatus.PAUSE,  # likewise, for Nasdaq-listed stocks only
            "Q": VenueStatus.QUOTING,  # the quotation-only period before a release
            "T": VenueStatus.RESUME,  # released for trading
        },
    ),
    "h": (
        "the action of an ITCH Operational Halt (h)",
        {"H": VenueStatus.HALT, "T": VenueStatus.RESUME},
    ),
    "W": (
        "the breached level of an ITCH MWCB Status (W)",
        dict.fromkeys("123", VenueStatus.HALT),  # 15 minutes for the first two, the rest of the day for the third
    ),
}


def itch_status(message_type: str | bytes, code: str | bytes) -> VenueStatus | None:
    """Return the status that a message of ITCH 5.0 stands for; None where it says nothing of the trading.

    `message_type` and `code` are letters, as text or as bytes: System Event `S` with its event code, Stock Trading
    Action `H` with its trading state, Operational Halt `h` with its action, MWCB Status `W` with the breached level.
    An operational halt is that of one market (its market code is `Q`, `B` or `X`): leave out those of other markets. A
    market-wide circuit breaker halts every stock, with no message `H` for each.

    A stock's `T` is `RESUME` and not `TRADING`: Nasdaq sends it for every stock that may trade hours before the open.

    Source: "Nasdaq TotalView-ITCH 5.0", System Event Message and Stock Related Messages,
    https://www.nasdaqtrader.com/content/technicalsupport/specifications/dataproducts/NQTVITCHspecification.pdf

    Raises:
        VenueDataRefused: the message is of another type, or its code is unknown.
    """
    found = _MESSAGES.get(letter_of(message_type))
    if found is None:
        why = f"the messages with a status are {', '.join(_MESSAGES)}"
        raise VenueDataRefused("the ITCH message type", message_type, why)
    return status_of_letter(found[0], code, found[1])


itch_status.__module__ = "session_lifecycle.venues"
