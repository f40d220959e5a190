"""A decision of the core that is not carried out yet: the record to make durable first, and the action."""

from collections.abc import Callable
from typing import NamedTuple

from session_lifecycle._journal.records import Record


class Decision(NamedTuple):
    """An action that is carried out once its record is durable. Nothing has changed before `apply` is called.

    `record` is None where nothing needs to be durable first. `abandon` is called with the error instead of `apply`
    where the record could not be made durable; where it is None, the error is raised to the caller and nothing changes.
    """

    record: Record | None
    apply: Callable[[], None]
    abandon: Callable[[Exception], object] | None = None
