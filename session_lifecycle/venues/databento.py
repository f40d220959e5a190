"""Databento's status records (schema `status`, `rtype` 18)."""

from collections.abc import Mapping
from typing import Final

from session_lifecycle._model.venue_status import VenueStatus
from session_lifecycle.venues.codes import Number, status_of_number

_ACTIONS: Final[Mapping[int, VenueStatus | None]] = {
    0: None,  # no change
    1: VenueStatus.PRE_OPEN,
    2: VenueStatus.AUCTION,  # pre-cross
    3: VenueStatus.QUOTING,
    4: VenueStatus.AUCTION,  # cross
    5: VenueStatus.AUCTION,  # opened through a rotation
    6: VenueStatus.AUCTION,  # a new price indication; on GLBX.MDP3 it is CME's opening
    7: VenueStatus.TRADING,
    8: VenueStatus.HALT,
    9: VenueStatus.PAUSE,
    10: VenueStatus.HALT,  # suspended
    11: VenueStatus.PRE_CLOSE,
    12: VenueStatus.CLOSE,
    13: VenueStatus.POST_CLOSE,
    14: None,  # a change of short-selling restrictions
    15: VenueStatus.CLOSE,  # not available for trading: closed or halted
}


def databento_status(action: Number) -> VenueStatus | None:
    """Return the status that a status record's `action` stands for; None where it says nothing of the trading.

    It takes the number, its text in a CSV file, or a `databento_dbn.StatusAction`. "Not available for trading" (15)
    can be a close or a halt at Databento; it is read as a close.

    Source: https://databento.com/docs/schemas/status and `StatusAction` of https://docs.rs/dbn/0.60.0.

    Raises:
        VenueDataRefused: the code is unknown.
    """
    return status_of_number("the action of a Databento status record", action, _ACTIONS)


databento_status.__module__ = "session_lifecycle.venues"
