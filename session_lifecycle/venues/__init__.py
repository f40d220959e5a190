"""What brokers and venues send, as sessions and as `VenueStatus`: one pure function for each feed.

A function takes what the feed gives and needs no client library. What it does not know it refuses with
`VenueDataRefused`, which has the code. A status of None is a message that says nothing of the trading: it changes
nothing.
"""

from session_lifecycle.venues.alpaca import alpaca_sessions
from session_lifecycle.venues.cme import cme_status
from session_lifecycle.venues.databento import databento_status
from session_lifecycle.venues.fix import fix_status
from session_lifecycle.venues.ibkr import ibkr_sessions
from session_lifecycle.venues.itch import itch_status

__all__ = ["alpaca_sessions", "cme_status", "databento_status", "fix_status", "ibkr_sessions", "itch_status"]
