"""The seven states of a trading session, and what holds in each.

The transitions between them are the table in `session_lifecycle._core.machine`.
"""

from enum import Enum, unique


@unique
class SessionState(Enum):
    """The state of a trading session. Every session passes through the first five, in this order."""

    __module__ = "session_lifecycle"

    NOT_STARTED = "not_started"
    """The session is ahead: its pre-market has not begun."""

    PRE_MARKET = "pre_market"
    """From the start of the pre-market, inclusive, to the open, exclusive."""

    ACTIVE = "active"
    """From the open, inclusive, to the close, exclusive; breaks included, data expected outside them."""

    POST_MARKET = "post_market"
    """From the close, inclusive, to the session's end, exclusive."""

    ENDED = "ended"
    """The session is over and the roll to the next one is owed."""

    TIMEOUT = "timeout"
    """The market is open by the calendar, but data has stopped. The next data returns to ACTIVE."""

    ERROR = "error"
    """A failure that needs attention. Nothing moves until `recover()`."""
