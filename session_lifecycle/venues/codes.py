"""Codes of a feed, looked up in its table."""

from collections.abc import Mapping
from typing import SupportsInt

from session_lifecycle._model.errors import describe
from session_lifecycle._model.venue_status import VenueDataRefused, VenueStatus

Number = int | float | str | SupportsInt
"""A numeric code as feeds give it: a number, an enumeration's member, or the text of a field."""


def status_of_number(source: str, code: Number, table: Mapping[int, VenueStatus | None]) -> VenueStatus | None:
    """Return the status of a numeric code, or raise `VenueDataRefused`."""
    try:
        number = int(code)
    except (TypeError, ValueError, OverflowError) as error:
        raise VenueDataRefused(source, code, f"it is no number: {describe(error)}") from error
    if isinstance(code, bool) or (isinstance(code, float) and not code.is_integer()):
        raise VenueDataRefused(source, code, "it must be a whole number")
    if number not in table:
        raise VenueDataRefused(source, code, f"the known codes are {', '.join(map(str, table))}")
    return table[number]


def status_of_letter(source: str, code: str | bytes, table: Mapping[str, VenueStatus | None]) -> VenueStatus | None:
    """Return the status of a code of one letter, as text or as a byte, or raise `VenueDataRefused`."""
    letter = letter_of(code)
    if letter not in table:
        raise VenueDataRefused(source, code, f"the known codes are {', '.join(table)}")
    return table[letter]


def letter_of(code: object) -> str:
    """Return a letter as text; what is none is the empty text, which no table has."""
    if isinstance(code, bytes):
        return code.decode("ascii", "replace")
    return code if isinstance(code, str) else ""
