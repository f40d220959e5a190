"""The seven states of a trading session, and what holds in each.

This file says what a state *means*; which edges lead from one to the next is the table in `machine`.
"""

from enum import Enum, unique


@unique
class SessionState(Enum):
    """Where a trading session stands. Every session passes the first five in this order."""

    __module__ = "session_lifecycle"

    NOT_STARTED = "not_started"
    """The session is known and lies ahead: its pre-market has not begun."""

    PRE_MARKET = "pre_market"
    """From the start of the pre-market, inclusive, to the open, exclusive."""

    ACTIVE = "active"
    """From the open, inclusive, to the close, exclusive; breaks included, data expected outside them."""

    POST_MARKET = "post_market"
    """From the close, inclusive, to the session's end, exclusive."""

    ENDED = "ended"
    """The session is over and the roll to the next one is owed."""

    TIMEOUT = "timeout"
    """The market is open by the calendar, but data has stopped. The next data leads back to ACTIVE."""

    ERROR = "error"
    """Something that a person must look at. Nothing moves until `recover()`."""
