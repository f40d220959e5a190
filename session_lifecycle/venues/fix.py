"""FIX: TradingSessionStatus (message `h`), field TradSesStatus (340)."""

from collections.abc import Mapping
from typing import Final

from session_lifecycle._model.venue_status import VenueStatus
from session_lifecycle.venues.codes import Number, status_of_number

_TRAD_SES_STATUS: Final[Mapping[int, VenueStatus | None]] = {
    0: None,  # unknown
    1: VenueStatus.HALT,
    2: VenueStatus.TRADING,
    3: VenueStatus.CLOSE,
    4: VenueStatus.PRE_OPEN,
    5: VenueStatus.PRE_CLOSE,
    6: None,  # the request for the status was rejected
}


def fix_status(trad_ses_status: Number) -> VenueStatus | None:
    """Return the status that a TradSesStatus (340) stands for; None where it is unknown, or its request rejected.

    It takes the number or its text. The values are those of FIX 4.2 to FIX Latest; a venue's own, from 100 on, are
    refused.

    Source: FIX 5.0 SP2, field 340, as in
    https://docs.rs/easyfix-messages/latest/easyfix_messages/fields/enum.TradSesStatus.html

    Raises:
        VenueDataRefused: the code is unknown.
    """
    return status_of_number("a FIX TradSesStatus (340)", trad_ses_status, _TRAD_SES_STATUS)


fix_status.__module__ = "session_lifecycle.venues"
