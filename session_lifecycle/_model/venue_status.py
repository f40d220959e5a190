"""What a venue's own feed says of its trading, in one vocabulary, and the error for what is not understood.

Each feed has codes of its own, which `session_lifecycle.venues` translates into these words.
"""

from enum import Enum, unique

from session_lifecycle._model.errors import LifecycleError


@unique
class VenueStatus(Enum):
    """The status of a market, or of an instrument, as its venue reports it."""

    __module__ = "session_lifecycle"

    PRE_OPEN = "pre_open"
    """Orders are accepted, and none is matched yet."""

    AUCTION = "auction"
    """Orders are collected for one price, or are being matched at it: an opening, closing or reopening auction."""

    QUOTING = "quoting"
    """Quotes are published without trading, as before a halted stock is released."""

    TRADING = "trading"
    """Continuous trading."""

    HALT = "halt"
    """Trading is stopped, and the venue decides when it goes on."""

    PAUSE = "pause"
    """Trading is stopped for a short time, as after a sudden move of the price."""

    RESUME = "resume"
    """A halt or a pause is over. It does not say that the market is open: a stock is released before the open too."""

    PRE_CLOSE = "pre_close"
    """The last minutes before the close."""

    CLOSE = "close"
    """Trading has ended for the day."""

    POST_CLOSE = "post_close"
    """After the close, while orders may still be placed."""


@unique
class EarlyClose(Enum):
    """What holds where the venue reports its close before the calendar's."""

    __module__ = "session_lifecycle"

    VENUE = "venue"
    """Trading is halted until the venue reports that it trades again, at most until the calendar's close."""

    CALENDAR = "calendar"
    """Nothing changes: the contradiction is only reported."""


class VenueDataRefused(LifecycleError, ValueError):
    """A feed's code or row is not understood. Nothing is guessed.

    `source` is what was read, `value` the code, or the part of a text, that is not understood, `why` the reason.
    """

    __module__ = "session_lifecycle"

    def __init__(self, source: str, value: object, why: str) -> None:
        super().__init__(source, value, why)
        self.source = source
        self.value = value
        self.why = why

    def __str__(self) -> str:
        return f"{self.source} {self.value!r} is not understood: {self.why}. Nothing was guessed"
