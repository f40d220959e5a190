"""A decision of the core that is not carried out yet: the records to make durable first, and the action."""

from collections.abc import Callable
from typing import Final, NamedTuple

from session_lifecycle._journal.records import Record
from session_lifecycle._model.clock import Reading


class Decision(NamedTuple):
    """An action that is carried out once its records are durable. Nothing has changed before `apply` is called.

    Time may pass while the records are written, so `apply` judges anew at the reading that it is given: what has
    happened meanwhile is not done again, and what is not possible any more raises a `LifecycleError`. It may come after
    `abandon`, where records that were in doubt have turned out to be durable.

    `records` is empty where nothing needs to be durable first. `abandon` is called with the error where the records
    could not be made durable, or that is not known.
    """

    records: tuple[Record, ...]
    apply: Callable[[Reading], None]
    abandon: Callable[[Exception, Reading], None] | None = None


def _do_nothing(now: Reading) -> None:
    pass


NOTHING: Final = Decision((), _do_nothing)
"""The decision that there is nothing to do."""
