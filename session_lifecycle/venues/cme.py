"""CME Globex market data, MDP 3.0: Security Status (message `f`), field SecurityTradingStatus (326)."""

from collections.abc import Mapping
from typing import Final

from session_lifecycle._model.venue_status import VenueStatus
from session_lifecycle.venues.codes import Number, status_of_number

_SECURITY_TRADING_STATUS: Final[Mapping[int, VenueStatus | None]] = {
    2: VenueStatus.HALT,  # of a group: a pause; orders can only be cancelled
    4: VenueStatus.CLOSE,
    15: VenueStatus.AUCTION,  # new price indication: the opening, in which orders of the pre-open are matched
    17: VenueStatus.TRADING,
    18: VenueStatus.CLOSE,  # not available for trading: the end of the session
    20: None,  # unknown or invalid
    21: VenueStatus.PRE_OPEN,  # with or without cancellations
    24: VenueStatus.AUCTION,  # pre-cross
    25: VenueStatus.AUCTION,  # cross
    26: VenueStatus.POST_CLOSE,
    103: None,  # no change: the trade date rolls, or implied matching goes on or off
    255: None,  # the null value of the binary encoding
}


def cme_status(security_trading_status: Number) -> VenueStatus | None:
    """Return the status that a SecurityTradingStatus (326) of CME's MDP 3.0 stands for; None where it states none.

    It takes the number or its text. Other gateways use the same field with other codes, which are refused.

    Source: the enumeration SecurityTradingStatus of CME's schema `templates_FixBinary.xml`, and "MDP 3.0 - Market Data
    Security Status", https://cmegroupclientsite.atlassian.net/wiki/spaces/EPICSANDBOX/pages/46183831

    Raises:
        VenueDataRefused: the code is unknown.
    """
    return status_of_number("a CME SecurityTradingStatus (326)", security_trading_status, _SECURITY_TRADING_STATUS)


cme_status.__module__ = "session_lifecycle.venues"
